"""Runs of a program on units that have begun: what no action reaches keeps its value."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from causalppl.envs.arms import Settings
from causalppl.envs.own_chance import can_invert
from causalppl.envs.running import run_units
from causalppl.envs.settable import integer_levels
from causalppl.envs.streams import Stream
from causalppl.programs import SCM

__all__ = ["ProgramRuns"]


class ProgramRuns:
    """Runs a program for units whose chance is that of a stream.

    Sites that no later action reaches are held at the values of an earlier run; the others are
    drawn anew, which is their law given all that was seen. Sites are drawn by inversion, from a
    stream of each unit's own, where all can be.

    Args:
        scm: The model.

    Attributes:
        has_streams: Whether each unit may have a stream of its own.
        levels: The values of sites that are drawn from finitely many integers.
    """

    def __init__(self, scm: SCM) -> None:
        self._scm = scm
        self.has_streams = can_invert(scm)
        found = {name: integer_levels(law) for name, law in scm.laws.items()}
        self.levels = {name: known for name, known in found.items() if known is not None}

    def draw(
        self,
        count: int,
        stream: Stream,
        settings: Settings | None = None,
        held: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Run the program once, for all units."""
        chance = stream if self.has_streams else stream.seed()
        return run_units(self._scm, count, settings, chance=chance, held=held)

    def beyond(self, reached: Collection[str]) -> list[str]:
        """List the sites that are drawn and not among those that actions reach."""
        structure = self._scm.structure
        drawn = [n for n in structure.unit_sites if structure.sites[n].kind == "sample"]
        return [name for name in drawn if name not in reached]

    def column(self, name: str, value: Tensor) -> NDArray[Any]:
        """Return the values of a variable as an array: integers where its law has only these."""
        kind = torch.int64 if name in self.levels else torch.float64
        found: NDArray[Any] = value.to(kind).cpu().numpy().copy()
        return found
