"""Where a program's values hold units, plates and events."""

import math
from typing import Any

import torch
from pyro.poutine.messenger import Messenger

from causalppl.inference.quiet_run import quiet
from causalppl.programs.scm import SCM


class ValueLayout:
    """Turn a site's values into rows (one per unit) of coordinates, and back.

    Args:
        scm: The model; it must run for two units if it has plates inside the units.
    """

    def __init__(self, scm: SCM) -> None:
        self.structure = scm.structure
        self.nesting = scm.structure.plate_nesting
        assert scm.structure.units_dim is not None
        self.units = self.nesting + scm.structure.units_dim
        self._plates: dict[str, dict[int, int]] = {}
        own = [site.plates for site in self.structure.sites.values()]
        if any(set(plates) - {"units"} for plates in own):
            self._plates = _plate_sizes(scm, self.nesting)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one unit's value, other plates first."""
        plates = self._plates.get(name, {})
        return tuple(plates[d] for d in sorted(plates)) + self.structure.sites[name].event_shape

    def size(self, name: str) -> int:
        """Number of coordinates of a site."""
        return math.prod(self.shape(name))

    def to_rows(
        self, value: torch.Tensor, name: str, rows: int, extra: tuple[int, ...] = ()
    ) -> torch.Tensor:
        """Arrange a program's tensor as ``(draws, rows, coordinates)``."""
        event = (*self.structure.sites[name].event_shape, *extra)
        missing = 1 + self.nesting + len(event) - value.dim()
        value = value.reshape((1,) * missing + value.shape)
        value = value.expand(value.shape[0], *self._batch(name, rows), *event)
        return value.movedim(1 + self.units, 1).reshape(len(value), rows, -1)

    def to_program(self, rows: torch.Tensor, name: str) -> torch.Tensor:
        """Arrange ``(rows, coordinates)`` as the program expects the site's value."""
        batch = self._batch(name, len(rows))
        others = batch[: self.units] + batch[self.units + 1 :]
        event = self.structure.sites[name].event_shape
        value = rows.reshape(len(rows), *others, *event).movedim(0, self.units)
        while value.dim() > len(event) + self.nesting - self.units and value.shape[0] == 1:
            value = value[0]
        return value

    def rows_of(self, value: torch.Tensor, name: str) -> int:
        """Number of units that a value tells apart."""
        dim = self.units - self.nesting - len(self.structure.sites[name].event_shape)
        return value.shape[dim] if value.dim() >= -dim else 1

    def with_draws(self, value: torch.Tensor, name: str) -> torch.Tensor:
        """Put the draw axis of a parameter to the left of all plates."""
        missing = 1 + self.nesting + self.structure.sites[name].event_dim - value.dim()
        return value.reshape(value.shape[:1] + (1,) * missing + value.shape[1:])

    def _batch(self, name: str, rows: int) -> tuple[int, ...]:
        plates = self._plates.get(name, {})
        return tuple(rows if d == self.units else plates.get(d, 1) for d in range(self.nesting))


def _plate_sizes(scm: SCM, nesting: int) -> dict[str, dict[int, int]]:
    """Run the program on two units to see the sizes of its inner plates."""
    sizes: dict[str, dict[int, int]] = {}

    class Reader(Messenger):
        def _pyro_post_sample(self, msg: Any) -> None:
            frames = [f for f in msg["cond_indep_stack"] if f.vectorized and f.name != "units"]
            sizes[msg["name"]] = {nesting + f.dim: f.size for f in frames}

    with quiet(scm), Reader():
        scm.program(2)
    return sizes
