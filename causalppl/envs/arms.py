"""What an agent may do: which variables are set, and to which values."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from causalppl.exceptions import DataError, QueryError
from causalppl.programs import SCM

__all__ = ["Arms", "Settings"]

Index: TypeAlias = NDArray[np.int64]
WHICH = "set"
"""The key of an action that says which set of variables it sets."""


@dataclass(frozen=True)
class Settings:
    """What is set to what, for each of ``n`` units.

    Attributes:
        names: The variables that any arm sets.
        mask: Whether a unit's variable is set, shape ``(n, names)``.
        values: To what, float64, shape ``(n, names)``; zero where nothing is set.
    """

    names: tuple[str, ...]
    mask: NDArray[np.bool_]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.mask)


class Arms:
    """The interventions among which an agent chooses.

    Args:
        scm: The model.
        actions: A sequence of arms, each a mapping from variable to value (``{}`` observes). A
            value may be left open: a Gymnasium space of one number, or its bounds
            ``(low, high)``. One such mapping alone is the only arm.

    Attributes:
        arms: The arms; category names are replaced by codes.
        names: The variables that any arm sets, in causal order.
        space: ``Discrete`` if no value is open. Else a ``Dict`` with one entry for each open
            variable and, with several arms, ``"set"``: which one. Values of variables that the
            chosen arm does not leave open are ignored.

    Raises:
        QueryError: There is no arm, a variable is not observed, or a variable is open twice with
            different bounds.
        DataError: A value is no number.
    """

    def __init__(self, scm: SCM, actions: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> None:
        listed = [actions] if isinstance(actions, Mapping) else list(actions)
        if not listed:
            raise QueryError("there are no actions; expected at least one arm, {} to observe")
        self.arms = tuple(scm.encode(dict(arm)) for arm in listed)
        used = {name for arm in self.arms for name in arm}
        if unknown := sorted(used - set(scm.observed)):
            raise QueryError(
                f"{', '.join(unknown)} is set, but is not an observed site; the program observes "
                f"{', '.join(scm.observed)}"
            )
        self.names = scm.graph.in_order(used)
        self.open = self._open()
        self.space = self._space()
        self._mask, self._free, self._values = self._tables()

    def __len__(self) -> int:
        return len(self.arms)

    @property
    def is_finite(self) -> bool:
        """Whether every value of every arm is given."""
        return not self.open

    def index(self, actions: Any) -> Index:
        """Read which arm each unit's action chooses.

        Raises:
            DataError: A number is none of the arms.
        """
        if self.open:
            found = actions.get(WHICH, np.zeros(len(next(iter(actions.values()))), dtype=np.int64))
        else:
            found = actions
        chosen = np.asarray(found, dtype=np.int64)
        if (chosen.view(np.uint64) >= len(self.arms)).any():
            bad = chosen[(chosen < 0) | (chosen >= len(self.arms))][0]
            raise DataError(f"action {bad} was taken; expected 0 to {len(self.arms) - 1}")
        return chosen

    def settings(self, actions: Any) -> Settings:
        """Read actions, one for each unit, in the form of the batched space.

        Raises:
            DataError: An action lies outside its space.
        """
        chosen = self.index(actions)
        values = self._values[chosen]
        for name, space in self.open.items():
            place = self.names.index(name)
            given, free = np.asarray(actions[name], dtype=np.float64), self._free[chosen, place]
            low, high = _bounds(space)
            if bool((free & ~((given >= low) & (given <= high))).any()):
                bad = given[free & ~((given >= low) & (given <= high))][0]
                raise DataError(f"{name} is set to {bad:g}; expected {low:g} to {high:g}")
            values[:, place] = np.where(free, given, values[:, place])
        return Settings(self.names, self._mask[chosen], values)

    def batch(self, action: Any) -> Any:
        """Turn the action of one unit into those of a batch of one."""
        if not self.open:
            return np.asarray([action], dtype=np.int64)
        return {name: np.asarray(value)[None] for name, value in action.items()}

    def fixed(self, arms: Iterable[Mapping[str, float]]) -> Settings:
        """Return the settings of arms whose values are all given."""
        listed = list(arms)
        mask = np.array([[name in arm for name in self.names] for arm in listed], dtype=bool)
        values = [[float(arm.get(name, 0.0)) for name in self.names] for arm in listed]
        shape = (len(listed), len(self.names))
        return Settings(self.names, mask.reshape(shape), np.array(values).reshape(shape))

    def _open(self) -> dict[str, spaces.Space[Any]]:
        found: dict[str, spaces.Space[Any]] = {}
        for arm in self.arms:
            for name, value in arm.items():
                if not _is_open(value):
                    _number(name, value)
                    continue
                space = _one_number(name, value)
                if found.setdefault(name, space) != space:
                    raise QueryError(
                        f"{name} is open with {found[name]} and with {space}; expected the same "
                        "bounds in each arm"
                    )
        if WHICH in found and len(self.arms) > 1:
            raise QueryError(f"a variable is named {WHICH!r}, which is a key of the action")
        return {name: found[name] for name in self.names if name in found}

    def _space(self) -> spaces.Space[Any]:
        if not self.open:
            return spaces.Discrete(len(self.arms))
        which = {WHICH: spaces.Discrete(len(self.arms))} if len(self.arms) > 1 else {}
        return spaces.Dict({**which, **self.open})

    def _tables(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float64]]:
        free = np.zeros((len(self.arms), len(self.names)), dtype=bool)
        given = []
        for row, arm in enumerate(self.arms):
            opened = [name for name, value in arm.items() if _is_open(value)]
            free[row] = [name in opened for name in self.names]
            given.append({name: 0.0 if name in opened else v for name, v in arm.items()})
        settings = self.fixed(given)
        return settings.mask, free, settings.values


def _is_open(value: Any) -> bool:
    return isinstance(value, spaces.Space | tuple | list)


def _one_number(name: str, value: Any) -> spaces.Space[Any]:
    if isinstance(value, tuple | list):
        if len(value) != 2 or not value[0] < value[1]:
            raise QueryError(f"{name} is open with {value!r}; expected bounds (low, high)")
        return spaces.Box(float(value[0]), float(value[1]), (), np.float64)
    if isinstance(value, spaces.Discrete) or (isinstance(value, spaces.Box) and value.shape == ()):
        return value
    raise QueryError(f"{name} is open with {value}; expected a space of one number, or its bounds")


def _bounds(space: spaces.Space[Any]) -> tuple[float, float]:
    if isinstance(space, spaces.Discrete):
        return float(space.start), float(space.start + space.n - 1)
    assert isinstance(space, spaces.Box)
    return float(space.low), float(space.high)


def _number(name: str, value: Any) -> None:
    try:
        float(value)
    except (TypeError, ValueError):
        raise DataError(
            f"{name} is set to {value!r}; expected a number, a space or bounds (low, high)"
        ) from None
