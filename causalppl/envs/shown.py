"""What an agent sees before it acts."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from causalppl.envs.arms import Arms
from causalppl.envs.settable import check_number
from causalppl.exceptions import AssumptionError, QueryError
from causalppl.programs import SCM
from causalppl.programs.do import NATURAL

__all__ = ["Shown", "number_space", "one_unit"]

Context: TypeAlias = Sequence[str] | Mapping[str, tuple[float, float]]


class Shown:
    """The variables that are seen before acting: a context, and a natural value (the intent).

    Args:
        scm: The model.
        arms: What may be set.
        context: Observed variables that nothing which may be set can change; or a mapping from
            them to their bounds ``(low, high)``, for the space.
        intent: The variable whose natural value is seen.

    Attributes:
        keys: Names of the entries of an observation: ``"Z"``, and ``"X@natural"`` for an intent.

    Raises:
        QueryError: A variable is not observed.
        AssumptionError: What is seen depends on what may be set.
    """

    def __init__(self, scm: SCM, arms: Arms, context: Context, intent: str | None) -> None:
        self.context, self.intent = tuple(context), intent
        self._bounds = dict(context) if isinstance(context, Mapping) else {}
        asked = [*self.context, *([intent] if intent else [])]
        if unknown := sorted(set(asked) - set(scm.observed)):
            raise QueryError(
                f"{', '.join(unknown)} is to be seen, but is not an observed site; the program "
                f"observes {', '.join(scm.observed)}"
            )
        for name in asked:
            check_number(scm, name)
            causes = scm.diagram.ancestors({name}) & set(arms.names)
            if name == intent:
                causes -= {name}
            if causes:
                raise AssumptionError(
                    f"{name} is seen before acting, but {', '.join(sorted(causes))} may be set and "
                    "changes it; expected variables that no action reaches; show it as intent if "
                    "it is the natural value of what is set"
                )
        self.keys = (*self.context, *([intent + NATURAL] if intent else []))

    def __len__(self) -> int:
        return len(self.keys)

    def variable(self, key: str) -> str:
        """Return the variable that an entry of an observation shows."""
        return key.removesuffix(NATURAL)

    def space(self, known: Mapping[str, NDArray[Any]]) -> spaces.Space[Any]:
        """Return the space of observations; ``Discrete(1)`` where nothing is seen.

        Args:
            known: Key to the values it takes, where they are finitely many.
        """
        if not self.keys:
            return spaces.Discrete(1)
        return spaces.Dict({key: self._space(key, known) for key in self.keys})

    def observation(self, columns: Mapping[str, NDArray[Any]], count: int) -> Any:
        """Put what is seen of ``count`` units into the form of the space."""
        return dict(columns) if self.keys else np.zeros(count, dtype=np.int64)

    def _space(self, key: str, known: Mapping[str, NDArray[Any]]) -> spaces.Space[Any]:
        if key in self._bounds:
            low, high = self._bounds[key]
            return spaces.Box(float(low), float(high), (), np.float64)
        return number_space(known.get(key))

    @property
    def is_empty(self) -> bool:
        """Whether nothing is seen."""
        return not self.keys


def one_unit(columns: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return what is seen of a single unit: a Discrete space holds numbers, a Box arrays."""
    return {
        key: column[0] if column.dtype == np.int64 else np.array(column[0])
        for key, column in columns.items()
    }


def number_space(levels: NDArray[Any] | None) -> spaces.Space[Any]:
    """Return the space of a variable: ``Discrete`` for consecutive integers, else a ``Box``."""
    if levels is None:
        return spaces.Box(-np.inf, np.inf, (), np.float64)
    low, high = levels.min(), levels.max()
    if levels.dtype.kind == "i" and high - low + 1 == len(levels):
        return spaces.Discrete(len(levels), start=int(low))
    return spaces.Box(float(low), float(high), (), np.float64)
