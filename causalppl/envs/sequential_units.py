"""Units of a program that is acted on in several stages."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from causalppl.envs.arms import Settings
from causalppl.envs.own_chance import can_invert
from causalppl.envs.running import run_units
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

    Sites that no later action reaches keep the values of their last run; the others are drawn
    anew under the actions so far, which is their law given all that was seen.

    Args:
        scm: The model.
        plan: The stages.
        integers: Observed variables with integer values.
    """

    def __init__(self, scm: SCM, plan: Plan, integers: frozenset[str]) -> None:
        self.has_streams = can_invert(scm)
        self._scm, self._plan, self._integers = scm, plan, integers
        sites = scm.structure.sites
        sampled = [n for n in scm.structure.unit_sites if sites[n].kind == "sample"]
        self._fixed = []
        for settable in plan.settable:
            reached = frozenset[str]().union(
                *(scm.diagram.descendants({name}) | {name} for name in settable)
            )
            self._fixed.append([name for name in sampled if name not in reached])

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
        scm, count = self._scm, begun.count
        chance = stream if self.has_streams else stream.seed()
        settings = _joined(begun.settings)
        values = run_units(scm, count, settings, chance=chance, held=begun.held)
        held = {name: values[name].clone() for name in self._fixed[stage]}
        known = self._plan.revealed(stage) if stage < len(self._plan) else scm.observed
        columns = {name: self._column(name, values[name]) for name in known}
        return _Begun(count, held, begun.settings), columns

    def _column(self, name: str, value: Tensor) -> NDArray[Any]:
        found: NDArray[Any] = value.double().cpu().numpy().copy()
        return found.astype(np.int64) if name in self._integers else found


def _joined(settings: tuple[Settings, ...]) -> Settings | None:
    if not settings:
        return None
    return Settings(
        tuple(name for each in settings for name in each.names),
        np.concatenate([each.mask for each in settings], 1),
        np.concatenate([each.values for each in settings], 1),
    )
