"""The axis of rows: draws of everything that run at once, to the left of worlds and plates."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import pyro
from torch import Tensor

from causalppl.programs.structure import Structure


class RowAxis:
    """Where rows, units, plates and events stand in the values of a program's run.

    A run has the shape ``(rows, world, *plates, *event)``; a run of a single row has no row axis.

    Args:
        structure: The program's structure; it has units.
        num_units: Number of units.

    Attributes:
        nesting: Number of plate dimensions.
        units_dim: Plate dimension of the units, counted from the right.
        dim: Dimension of the rows, counted from the right of the plates.
    """

    def __init__(self, structure: Structure, num_units: int) -> None:
        assert structure.units_dim is not None
        self._structure, self.num_units = structure, num_units
        self.nesting: int = structure.plate_nesting
        self.units_dim: int = structure.units_dim
        self.dim = -(self.nesting + 2)

    def plate(self, rows: int) -> Any:
        """Return a plate of the rows; nothing for a single one."""
        return pyro.plate("_rows", rows, dim=self.dim) if rows > 1 else nullcontext()

    def place(self, value: Tensor, event: Sequence[int], *, has_axis: bool = False) -> Tensor:
        """Bring ``(rows, *plates, *event)`` to the shape of a run.

        Args:
            value: What to place.
            event: Shape of one event.
            has_axis: Keep the row axis of a single row.
        """
        if len(value) == 1 and not has_axis:
            return value[0]
        missing = self.nesting + 1 - (value.dim() - len(event) - 1)
        return value.reshape(value.shape[:1] + (1,) * missing + value.shape[1:])

    def spread(self, value: Tensor, event: Sequence[int], rows: int) -> Tensor:
        """Repeat ``(*plates, *event)`` for every row, without copying it."""
        if rows == 1:
            return value
        missing = self.nesting + 1 - (value.dim() - len(event))
        return value.reshape((1,) * (missing + 1) + value.shape).expand(
            (rows,) + (1,) * missing + value.shape
        )

    def collect(
        self, value: Tensor, batch: tuple[int, ...], event: tuple[int, ...], rows: int
    ) -> Tensor:
        """Bring a value of a run to the shape ``(rows, *batch, *event)``."""
        axes = (1,) * (self.nesting + 1 - len(batch))
        full = (rows, *axes, *batch, *event) if rows > 1 else (*batch, *event)
        if value.dim() > len(full):  # dimensions of size 1 that enumeration leaves behind
            value = value.reshape(value.shape[value.dim() - len(full) :])
        return value.expand(full).reshape((rows, *batch, *event))

    def to_plates(self, name: str, value: Tensor) -> Tensor:
        """Bring a site's ``(units, *plates, *event)`` to the order of the program's plates."""
        event_dim = self._structure.sites[name].event_dim
        batch_dims = value.dim() - event_dim
        if batch_dims < -self.units_dim:
            inserted = -self.units_dim - batch_dims
            return value.reshape(value.shape[:1] + (1,) * inserted + value.shape[1:])
        return value.movedim(0, self.units_dim - event_dim) if batch_dims > 1 else value

    def to_units(self, name: str, value: Tensor, rows: int) -> Tensor:
        """Bring a site's value of a run to the shape ``(rows, units, *plates, *event)``."""
        site = self._structure.sites[name]
        full = self.nesting + 2 + site.event_dim
        value = value.reshape((1,) * (full - value.dim()) + value.shape).squeeze(1)
        units = self.units_dim - site.event_dim
        shape = list(value.shape)
        shape[0], shape[units] = rows, self.num_units
        value = value.expand(shape).movedim(units, 1)
        inner = [d for d in range(2, 1 + self.nesting) if len(site.plates) < self.nesting]
        return value.squeeze(inner) if inner else value
