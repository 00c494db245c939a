"""Bounds with the ends of the law of the rows, and an interval for that of the population."""

from dataclasses import dataclass, replace
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.bounds import Bounds
from causalppl.queries import Value

__all__ = ["SharpBounds"]

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class SharpBounds(Bounds):
    """Bounds whose ends are those of the law of the rows, with an interval that is told apart.

    Attributes:
        held_out: The ends where no row helps to find its own quantile, shape ``(2, *values)``; from
            there the interval goes outwards. None: the ends themselves.

    Example:
        >>> from causalppl.bounds import sharp_mean
        >>> y, arm = np.tile([0.0, 1.0, 2.0], 20), np.repeat([0, 1], 30)
        >>> found = sharp_mean(y, arm, None, 2.0)
        >>> bool(found.held_out[1] >= found.upper), bool(found.interval()[1] > found.held_out[1])
        (True, True)
    """

    held_out: Array | None = None

    def interval(self, prob: float = 0.95) -> tuple[Array, Array]:
        """Return ends that allow for sampling error, see `Bounds.interval`."""
        low, high = super().interval(prob)
        if self.held_out is None:
            return low, high
        return (
            np.asarray(low - np.maximum(self.lower - self.held_out[0], 0.0)),
            np.asarray(high + np.maximum(self.held_out[1] - self.upper, 0.0)),
        )

    def at(self, **values: Value) -> "SharpBounds":
        """Fix open values, see `Bounds.at`."""
        found = cast(SharpBounds, super().at(**values))
        if self.held_out is None:
            return found
        ends = [replace(self, lower=e, upper=e, held_out=None) for e in self.held_out]
        held_out = np.stack([Bounds.at(each, **values).lower for each in ends])
        return replace(found, held_out=held_out)
