"""Rows drawn anew with replacement, all together or within groups."""

from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Resampling"]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]
_MOST_DRAWN = 10_000_000  # rows that are drawn one by one


@dataclass(frozen=True, eq=False)
class Resampling:
    """How often each row is drawn; the same draws as if equal rows were written out.

    Attributes:
        repeats: How many equal rows each row stands for, groups one after the other.
        order: The place of each of these among all rows.
        sizes: How many rows each group has, equal ones counted.
        num_rows: How many rows there are; those in no group are never drawn.

    Example:
        >>> draw = Resampling.of(np.array([2.0, 1.0, 5.0]), np.array([0, 0, 1]))
        >>> drawn = draw(np.random.default_rng(0))
        >>> float(drawn[:2].sum()), float(drawn[2])
        (3.0, 5.0)
    """

    repeats: Array
    order: Codes
    sizes: Codes
    num_rows: int

    @classmethod
    def of(cls, repeats: Array, groups: Codes | None = None) -> "Resampling":
        """Prepare draws.

        Args:
            repeats: How many equal rows each row stands for, whole numbers from 0.
            groups: The group of each row; below 0: it is not drawn. None: one group.
        """
        if groups is None:
            groups = np.zeros(len(repeats), dtype=np.int64)
        order = np.argsort(groups, kind="stable")
        order = order[groups[order] >= 0]
        sizes = np.bincount(groups[order], repeats[order]).astype(np.int64)
        return cls(repeats[order], order, sizes[sizes > 0], len(repeats))

    def __call__(self, rng: np.random.Generator) -> Array:
        """Draw as many rows as there are, in each group."""
        found = np.zeros(self.num_rows)
        found[self.order] = self._drawn(rng)
        return found

    def _drawn(self, rng: np.random.Generator) -> Array:
        total, num_rows = int(self.sizes.sum()), len(self.repeats)
        below = np.cumsum(self.repeats)
        starts = np.cumsum(self.sizes) - self.sizes
        if total > _MOST_DRAWN:
            return self._counted(rng, below, starts)
        if len(self.sizes) == 1:
            drawn = rng.integers(total, size=total)
        else:
            drawn = rng.integers(np.repeat(self.sizes, self.sizes))
            drawn += np.repeat(starts, self.sizes)
        if total == num_rows and self.repeats.all():
            return np.bincount(drawn, minlength=total).astype(float)
        places = np.searchsorted(below, drawn, side="right")
        return np.bincount(places, minlength=num_rows).astype(float)

    def _counted(self, rng: np.random.Generator, below: Array, starts: Codes) -> Array:
        """A draw of counts for each group, where rows are too many to be drawn one by one."""
        edges = [0, *np.searchsorted(below, starts[1:], side="right"), len(self.repeats)]
        parts = [self.repeats[a:b] for a, b in pairwise(edges)]
        drawn = [
            rng.multinomial(int(size), part / size)
            for size, part in zip(self.sizes, parts, strict=True)
        ]
        return np.concatenate(drawn).astype(float)
