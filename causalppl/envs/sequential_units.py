"""Units of a program that is acted on in several stages."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from causalppl.envs.arms import Settings
from causalppl.envs.program_runs import ProgramRuns
from causalppl.envs.stages import Plan
from causalppl.envs.streams import Stream
from causalppl.programs import SCM

__all__ = ["SequentialProgramUnits", "SequentialUnits"]

Columns: TypeAlias = dict[str, NDArray[Any]]


class SequentialUnits(ABC):
    """Draws units stage by stage."""

    has_streams: bool
    """Whether each unit may have a random stream of its own."""

    @abstractmethod
    def begin(self, count: int, stream: Stream) -> tuple[Any, Columns]:
        """Draw units, and what is known of them before the first action, ``(count,)`` each."""

    @abstractmethod
    def act(
        self, begun: Any, stage: int, actions: NDArray[np.int64], stream: Stream
    ) -> tuple[Any, Columns]:
        """Act at a stage, and draw what is known next; after the last, all observed variables."""


@dataclass(frozen=True)
class _Begun:
    count: int
    held: Mapping[str, Tensor]
    settings: tuple[Settings, ...] = field(default=())


class SequentialProgramUnits(SequentialUnits):
    """Units of any program, which is run once for all units at each stage.

    Args:
        scm: The model.
        plan: The stages.

    Attributes:
        levels: The values of observed variables that are drawn from finitely many integers.
    """

    def __init__(self, scm: SCM, plan: Plan) -> None:
        self._runs = ProgramRuns(scm)
        self.has_streams = self._runs.has_streams
        self._plan, self._observed = plan, scm.observed
        self.levels = {n: known for n, known in self._runs.levels.items() if n in scm.observed}
        self._fixed = [
            self._runs.beyond(scm.diagram.descendants(settable)) for settable in plan.settable
        ]

    def begin(self, count: int, stream: Stream) -> tuple[Any, Columns]:
        """Run the program without an action."""
        return self._run(_Begun(count, {}), 0, stream)

    def act(
        self, begun: Any, stage: int, actions: NDArray[np.int64], stream: Stream
    ) -> tuple[Any, Columns]:
        """Run the program under the actions so far."""
        chosen = self._plan.arms[stage].settings(actions)
        acted = _Begun(begun.count, begun.held, (*begun.settings, chosen))
        return self._run(acted, stage + 1, stream)

    def _run(self, begun: _Begun, stage: int, stream: Stream) -> tuple[Any, Columns]:
        values = self._runs.draw(begun.count, stream, _joined(begun.settings), begun.held)
        held = {name: values[name].clone() for name in self._fixed[stage]}
        known = self._plan.revealed(stage) if stage < len(self._plan) else self._observed
        columns = {name: self._runs.column(name, values[name]) for name in known}
        return _Begun(begun.count, held, begun.settings), columns


def _joined(settings: tuple[Settings, ...]) -> Settings | None:
    if not settings:
        return None
    return Settings(
        tuple(name for each in settings for name in each.names),
        np.concatenate([each.mask for each in settings], 1),
        np.concatenate([each.values for each in settings], 1),
    )
