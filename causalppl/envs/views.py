"""A list of all that can be seen, and the place of an observation in it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalppl.exceptions import AssumptionError, DataError

__all__ = ["Views"]


class Views:
    """Distinct combinations of values that can be seen.

    Args:
        columns: Key of an observation to its values, shape ``(views,)`` each; empty where nothing
            is seen, which counts as one view.

    Attributes:
        columns: As given.
    """

    def __init__(self, columns: Mapping[str, NDArray[Any]]) -> None:
        self.columns = dict(columns)
        self._levels = {key: np.unique(values) for key, values in self.columns.items()}
        size = int(np.prod([len(known) for known in self._levels.values()]))
        self._row = np.zeros(size, dtype=np.int64)
        if self.columns:
            place = self._place(self.columns)
            self._row[place] = np.arange(len(place))

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), np.zeros(1)))

    def number(self, observation: Any) -> NDArray[np.int64]:
        """Find the row of an observation, or those of a batch.

        Raises:
            AssumptionError: An observation is needed.
            DataError: It is none that can be seen.
        """
        if not self.columns:
            return np.zeros(np.shape(observation), dtype=np.int64)
        if not isinstance(observation, Mapping):
            raise AssumptionError(
                f"what is best depends on {', '.join(self.columns)}; expected an observation with "
                f"these entries, found {observation!r}"
            )
        found = self._row[np.minimum(self._place(observation), len(self._row) - 1)]
        for key, values in self.columns.items():
            if np.any(values[found] != observation[key]):
                raise DataError(f"{key} is seen as {observation[key]!r}, which has probability 0")
        return found

    def _place(self, observation: Mapping[str, Any]) -> Any:
        place: Any = 0
        for key, known in self._levels.items():
            place = place * len(known) + np.searchsorted(known, observation[key])
        return place
