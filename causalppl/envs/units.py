"""Where units come from: drawn by running the program, or from a table of its exact law."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from causalppl.envs.arms import Arms
from causalppl.envs.enumeration import Cells
from causalppl.envs.program_runs import ProgramRuns
from causalppl.envs.sampler import CellSampler
from causalppl.envs.settable import integer_levels
from causalppl.envs.shown import Shown
from causalppl.envs.streams import Stream
from causalppl.estimation.program_law import ProgramLaw, why_infinite
from causalppl.programs import SCM

__all__ = ["ProgramUnits", "TabulatedUnits", "UnitSource"]

Columns: TypeAlias = dict[str, NDArray[Any]]


class UnitSource(ABC):
    """Draws units: first what is seen of them, then what becomes of them under an action."""

    has_streams: bool
    """Whether each unit may have a random stream of its own."""
    levels: Mapping[str, NDArray[Any]]
    """Key of an observation to its possible values, where they are finitely many."""

    @abstractmethod
    def begin(self, count: int, stream: Stream) -> tuple[Any, Columns]:
        """Draw units; what `finish` needs to know of them, and what is seen, ``(count,)`` each."""

    @abstractmethod
    def finish(self, begun: Any, actions: Any, stream: Stream) -> Columns:
        """Act on the units, and return the values of the observed variables, ``(count,)`` each."""


class TabulatedUnits(UnitSource):
    """Units of a finite program, by inversion of the distribution function of its cells.

    Args:
        cells: The exact law.
        arms: What may be set.
    """

    has_streams = True

    def __init__(self, cells: Cells, arms: Arms) -> None:
        self.cells, self.levels = cells, {k: np.unique(v) for k, v in cells.views.items()}
        self._arms = arms
        every = np.zeros(len(cells.view_weights), dtype=np.int64)
        self._views = CellSampler(every, cells.view_weights)
        self._cells = CellSampler(cells.pair, cells.weights)

    def begin(self, count: int, stream: Stream) -> tuple[Any, Columns]:
        """Draw units; nothing is drawn where nothing is seen."""
        if not self.cells.views:
            return np.zeros(count, dtype=np.int64), {}
        view = self._views.draw(np.zeros(count, dtype=np.int64), stream.uniforms())
        return view, {key: values[view] for key, values in self.cells.views.items()}

    def finish(self, begun: Any, actions: Any, stream: Stream) -> Columns:
        """Act on the units."""
        pair = begun * len(self._arms) + self._arms.index(actions)
        cell = self._cells.draw(pair, stream.uniforms())
        return {name: values[cell] for name, values in self.cells.values.items()}


class ProgramUnits(UnitSource):
    """Units of any program, by running it once for all.

    What is seen before acting is held while the program runs again under the action.

    Args:
        scm: The model.
        arms: What may be set.
        shown: What is seen.
    """

    def __init__(self, scm: SCM, arms: Arms, shown: Shown) -> None:
        self._runs = ProgramRuns(scm)
        self.has_streams = self._runs.has_streams
        self._arms, self._shown, self._observed = arms, shown, scm.observed
        reached = frozenset[str]().union(*(scm.diagram.descendants({n}) - {n} for n in arms.names))
        self._held = self._runs.beyond(reached)
        self.levels = _finite_levels(scm, shown)

    def begin(self, count: int, stream: Stream) -> tuple[Any, Columns]:
        """Draw units; the program is not run where nothing is seen."""
        if self._shown.is_empty:
            return (count, {}), {}
        values = self._runs.draw(count, stream)
        held = {name: values[name].clone() for name in self._held}
        seen = {key: self._seen(key, values) for key in self._shown.keys}
        return (count, held), seen

    def finish(self, begun: Any, actions: Any, stream: Stream) -> Columns:
        """Act on the units."""
        count, held = begun
        values = self._runs.draw(count, stream, self._arms.settings(actions), held)
        return {name: self._runs.column(name, values[name]) for name in self._observed}

    def _seen(self, key: str, values: Mapping[str, Tensor]) -> NDArray[Any]:
        name = self._shown.variable(key)
        column = self._runs.column(name, values[name])
        return column.astype(self.levels[key].dtype) if key in self.levels else column


def _finite_levels(scm: SCM, shown: Shown) -> dict[str, NDArray[Any]]:
    """List the values of what is seen, where they are finitely many integers."""
    found, computed = {}, []
    for key in shown.keys:
        law = scm.laws.get(shown.variable(key))
        levels = integer_levels(law)
        if levels is not None:
            found[key] = levels
        elif law is None:
            computed.append(key)
    if computed and why_infinite(scm) is None:
        states = ProgramLaw(scm).states
        found |= {key: np.array(states[shown.variable(key)]) for key in computed}
    return found
