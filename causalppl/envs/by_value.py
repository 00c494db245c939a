"""Pickling of what holds programs, which are closures."""

from typing import Any, Self

import cloudpickle  # type: ignore[import-untyped]

__all__ = ["ByValue"]


class ByValue:
    """A class whose objects are pickled with the functions they hold."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), cloudpickle.dumps(self.__dict__))

    @classmethod
    def _from_state(cls, state: bytes) -> Self:
        found = cls.__new__(cls)
        found.__dict__.update(cloudpickle.loads(state))
        return found


def _restored(kind: type[ByValue], state: bytes) -> ByValue:
    return kind._from_state(state)
