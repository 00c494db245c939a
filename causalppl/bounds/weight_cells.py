"""Means in many cells at once, under weights that are known up to an odds ratio: their extremes.

Each cell is a `WeightBox`: a row weighs ``fixed + free * r`` with ``r`` between ``1 / odds_ratio``
and ``odds_ratio``. Newton's steps are taken in all cells together, so that thousands of small cells
take the time of one large one.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["WeightCells"]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]
_MOST_STEPS = 100  # each lands on another piece; in practice 3 to 8


@dataclass(frozen=True, eq=False)
class WeightCells:
    """Rows in cells, and the boxes in which their weights lie.

    Attributes:
        y: Outcomes, shape ``(rows,)``.
        fixed: What each row weighs for sure.
        free: What the odds ratio multiplies.
        cell: The number of each row's cell.
        num_cells: How many cells there are; some may have no rows.

    Example:
        >>> y, cell = np.array([0, 1, 5.0]), np.array([0, 0, 1])
        >>> cells = WeightCells(y, np.ones(3), np.ones(3), cell, 2)
        >>> [round(float(end), 12) for end in cells.ends(2.0, np.ones(2))]
        [0.666666666667, 5.0]
    """

    y: Array
    fixed: Array
    free: Array
    cell: Codes
    num_cells: int

    def sums(self, values: Array) -> Array:
        """Sums over the rows of each cell."""
        return np.bincount(self.cell, values, self.num_cells).astype(float)

    @cached_property
    def centres(self) -> Array:
        """The mean of each cell at odds ratio 1; 0 where it has no rows."""
        shift = float(self.y.mean())
        weights = self.fixed + self.free
        total = self.sums(weights)
        return shift + self.sums(weights * (self.y - shift)) / np.where(total > 0, total, 1.0)

    @cached_property
    def away(self) -> Array:
        """Outcomes less the centre of their cell."""
        return np.asarray(self.y - self.centres[self.cell])

    def ends(
        self,
        odds_ratio: float,
        signs: Array,
        worst: Array | None = None,
        added: Array | None = None,
    ) -> Array:
        """The largest mean of each cell, or the smallest.

        Args:
            odds_ratio: From 1.
            signs: 1 for the largest, -1 for the smallest; one for each cell.
            worst: For each cell, an outcome that no other lies beyond.
            added: How much weight it has, as a share of that of the cell's rows.
        """
        # rows beyond the end weigh `gain` more than those before it
        least, gain = 1 / odds_ratio, odds_ratio - 1 / odds_ratio
        fixed, free = self._totals
        mass = fixed + least * free
        total = least * self._free_away - self._free_away  # the centre balances both parts
        if worst is not None and added is not None:
            more = added * (fixed + odds_ratio * free)
            mass, total = mass + more, total + more * (worst - self.centres)
        point = total / mass
        if odds_ratio > 1:
            point = self._newton(point, total, mass, gain, signs)
        return np.asarray(self.centres + signs * np.maximum(signs * point, 0.0))

    def influence(self, odds_ratio: float, signs: Array, ends: Array) -> Array:
        """By how much each row moves the end of its cell, shape ``(rows,)``."""
        away = self.y - ends[self.cell]
        beyond = away * signs[self.cell] > 0
        weights = self.fixed + self.free * np.where(beyond, odds_ratio, 1 / odds_ratio)
        total = self.sums(weights)
        return np.asarray(weights * away / np.where(total > 0, total, 1.0)[self.cell])

    def _newton(self, point: Array, total: Array, mass: Array, gain: float, signs: Array) -> Array:
        towards = signs[self.cell]
        for _ in range(_MOST_STEPS):
            beyond = towards * (self.away - point[self.cell]) > 0
            free, away = self.sums(self.free * beyond), self.sums(self._free_y * beyond)
            seen, point = point, (total + gain * away) / (mass + gain * free)
            if (point == seen).all():  # the same rows lie beyond it
                break
        return point

    @cached_property
    def _totals(self) -> tuple[Array, Array]:
        """Sums of both parts of the weights; one where a cell has no rows."""
        fixed, free = self.sums(self.fixed), self.sums(self.free)
        return np.where(fixed + free > 0, fixed, 1.0), free

    @cached_property
    def _free_y(self) -> Array:
        return np.asarray(self.free * self.away)

    @cached_property
    def _free_away(self) -> Array:
        return self.sums(self._free_y)
