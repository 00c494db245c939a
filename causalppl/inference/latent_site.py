"""One latent of a program given evidence: its shape, and the way to unconstrained numbers."""

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.distributions import biject_to, constraints

from causalppl.programs.structure import UNITS


@dataclass(frozen=True)
class LatentSite:
    """One sample site to be inferred.

    Attributes:
        name: Its name in the evidence program.
        is_unit: One value per unit; otherwise a parameter that all units share.
        is_discrete: Whether its values are discrete.
        batch_shape: Plate dimensions in the program, without the row axis.
        event_shape: Shape of one value.
        free_shape: Shape of one value in unconstrained space.
        units_dim: Where the units stand in ``batch_shape``, counted from the right.
        is_static: Its support does not depend on other sites.
        like: An example value, for dtype and device.
        law: The distribution in the traced run.
    """

    name: str
    is_unit: bool
    is_discrete: bool
    batch_shape: tuple[int, ...]
    event_shape: tuple[int, ...]
    free_shape: tuple[int, ...]
    units_dim: int
    is_static: bool
    like: Tensor
    law: Any

    @classmethod
    def read(cls, node: Any, units_dim: int) -> "LatentSite":
        """Read a site from its node in a trace of one row.

        Args:
            node: The node.
            units_dim: Where the program's units stand, counted from the right.
        """
        fn, value = node["fn"], node["value"]
        is_unit = any(frame.name == UNITS for frame in node["cond_indep_stack"])
        is_discrete = bool(getattr(fn.support, "is_discrete", False))
        batch = tuple(fn.batch_shape)
        free = tuple(fn.event_shape)
        if not is_discrete:
            free = tuple(biject_to(fn.support).inverse_shape(batch + free)[len(batch) :])
        return cls(
            node["name"],
            is_unit,
            is_discrete,
            batch,
            tuple(fn.event_shape),
            free,
            units_dim if is_unit else 0,
            is_static(fn.support),
            value[(0,) * value.dim()].detach(),
            fn,
        )

    @property
    def size(self) -> int:
        """Unconstrained numbers for one unit (or in all, for a parameter)."""
        batch = math.prod(self.batch_shape)
        units = self.batch_shape[self.units_dim] if self.is_unit else 1
        return batch // units * math.prod(self.free_shape)

    def to_program(self, flat: Tensor) -> Tensor:
        """Turn ``(rows, units, size)``, or ``(rows, size)``, into ``(rows, *batch, *free)``."""
        flat = flat.to(self.like.dtype if self.like.is_floating_point() else flat.dtype)
        if not self.is_unit:
            return flat.reshape(flat.shape[:1] + self.batch_shape + self.free_shape)
        inner = list(self.batch_shape)
        del inner[self.units_dim]
        value = flat.reshape(*flat.shape[:2], *inner, *self.free_shape)
        return value.movedim(1, self.units_dim - len(self.free_shape))

    def to_flat(self, value: Tensor) -> Tensor:
        """Invert `to_program`."""
        if not self.is_unit:
            return value.reshape(len(value), -1)
        value = value.movedim(self.units_dim - len(self.free_shape), 1)
        return value.reshape(*value.shape[:2], -1)

    def to_units(self, value: Tensor) -> Tensor:
        """Turn ``(rows, *batch, *event)`` into ``(rows, units, *plates, *event)``."""
        return value.movedim(self.units_dim - len(self.event_shape), 1)

    def take(self, values: Tensor, chosen: Tensor) -> Tensor:
        """Pick draws, for each unit its own.

        Args:
            values: Shape ``(parameter draws * draws, *batch, *event)``.
            chosen: Indices of draws, shape ``(parameter draws, kept, units)``, or with 1 for the
                units where all keep the same ones.

        Returns:
            Shape ``(parameter draws * kept, *batch, *event)``.
        """
        draws, kept, _ = chosen.shape
        if not self.is_unit:
            values = values.reshape(draws, -1, *values.shape[1:])
            rows = chosen[..., 0].reshape(draws, kept, *(1,) * (values.dim() - 2))
            return values.gather(1, rows.expand(draws, kept, *values.shape[2:])).flatten(0, 1)
        units_at = self.units_dim - len(self.event_shape)
        values = self.to_units(values)
        values = values.reshape(draws, -1, *values.shape[1:])
        at = chosen.reshape(*chosen.shape, *(1,) * (values.dim() - 3))
        taken = values.gather(1, at.expand(draws, kept, *values.shape[2:]))
        return taken.flatten(0, 1).movedim(1, units_at)


def is_static(support: Any) -> bool:
    """Whether a support has no bounds that could come from other sites."""
    return all(_is_constant(value) for value in vars(support).values())


def _is_constant(value: Any) -> bool:
    if isinstance(value, constraints.Constraint):
        return is_static(value)
    return value is None or isinstance(value, bool | int | float | str)
