"""The sampling variance of means in cells, where some cells have too few rows to show it."""

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.commonest import numbers_alike
from causalppl.bounds.weight_cells import WeightCells

__all__ = ["CellSpread"]

Array: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class CellSpread:
    """Rows of two arms in strata; cells are arm 0 and arm 1 of each stratum in turn.

    A cell with fewer than two effective rows cannot show its variance; it is taken to have the
    mean variance of the other cells of its arm.

    Attributes:
        boxes: The rows of each cell, and their weights.
        repeats: How many equal rows each stands for.

    Example:
        >>> y, cell = np.array([0, 2, 1, 3, 9.0]), np.array([0, 0, 1, 1, 3])
        >>> boxes = WeightCells(y, np.ones(5), np.ones(5), cell, 4)
        >>> CellSpread(boxes, np.ones(5)).shown.tolist()
        [1.0, 1.0, 0.0, 2.0]
    """

    boxes: WeightCells
    repeats: Array

    def variances(self, moved: Array) -> Array:
        """The variance of the mean of each cell, by the squares of how rows move it."""
        found = self.boxes.sums(moved) * self._inflation
        arms = np.tile(self._of_arms, len(found) // 2)
        squares = self._second / np.where(self.mass > 0, self.mass, 1.0) ** 2
        return np.where(self.is_told, found, arms * squares)

    @cached_property
    def shown(self) -> Array:
        """The variance of the mean of each cell at odds ratio 1."""
        total = np.where(self.mass > 0, self.mass, 1.0)[self.boxes.cell]
        return self.variances((self._weights * self.boxes.away / total) ** 2 / self.repeats)

    @cached_property
    def squares(self) -> Array:
        """For each row, what it tells of the variance of outcomes in its cell."""
        arms = np.tile(self._of_arms, len(self.mass) // 2)
        own = self.boxes.away**2 * self._inflation[self.boxes.cell]
        return np.where(self.is_told[self.boxes.cell], own, arms[self.boxes.cell])

    def freedom(self, parts: Array) -> float:
        """Degrees of freedom of the sum of what each cell adds to a variance.

        The smaller of Satterthwaite's, for unequal cells, and those of the smaller arm, with which
        Student's quantile is large enough whatever the variances (Mickey and Brown 1966).
        """
        told = np.where(self.is_told, parts, 0.0)
        spread = float(told**2 @ (1 / self._freedoms))
        of_arms = []
        for arm in (0, 1):  # cells that borrow their variance have it in common
            freedoms = self._freedoms[arm::2][self.is_told[arm::2]]
            alone = float(self.sizes[arm::2].sum()) - 1
            of_arms.append(max(float(freedoms.sum()) if len(freedoms) else alone, 1.0))
            spread += float((parts - told)[arm::2].sum()) ** 2 / of_arms[arm]
        return max(min(float(parts.sum()) ** 2 / spread, *of_arms), 1.0)

    @cached_property
    def apart(self) -> Array:
        """How many rows of each arm have another outcome than the commonest of their cell.

        Where no outcome of an arm occurs twice, all its rows. With uneven weights, the effective
        number. Few of them: outcomes may be rare ones, of which the rows need not show all.
        """
        y, cell = self.boxes.y, self.boxes.cell
        number = self.repeats * (self._weights > 0)
        common = np.zeros(len(self.mass))
        np.maximum.at(common, *numbers_alike(y, number, cell))
        rows, common = (each.reshape(-1, 2).sum(0) for each in (self.boxes.sums(number), common))
        for arm in (0, 1):
            if numbers_alike(y, number * (cell % 2 == arm), cell % 2)[1].max() <= 1:
                common[arm] = 0.0
        weights, squares = (each.reshape(-1, 2).sum(0) for each in (self.mass, self._second))
        effective = weights**2 / np.maximum(squares, 1e-300) / np.maximum(rows, 1.0)
        return np.asarray((rows - common) * np.minimum(effective, 1.0))

    @cached_property
    def mass(self) -> Array:
        """The weight of each cell."""
        return self.boxes.sums(self._weights)

    @cached_property
    def sizes(self) -> Array:
        """The effective number of rows of each cell."""
        return np.asarray(self.mass**2 / np.maximum(self._second, 1e-300))

    @cached_property
    def is_told(self) -> Flags:
        """Whether a cell has two effective rows or more."""
        return np.asarray(self.sizes > 2 - 1e-9)

    @cached_property
    def _weights(self) -> Array:
        return np.asarray(self.boxes.fixed + self.boxes.free)

    @cached_property
    def _second(self) -> Array:
        return self._power(2)

    def _power(self, power: int) -> Array:
        """Sums of powers of weights, a weight of many equal rows counting as many."""
        return self.boxes.sums(self._weights**power / self.repeats ** (power - 1))

    @cached_property
    def _inflation(self) -> Array:
        """By how much squares about a weighted mean fall short; n / (n - 1) for equal weights."""
        second, total = self._second, np.where(self.mass > 0, self.mass, 1.0)
        left = second - 2 * self._power(3) / total + (second / total) ** 2
        return np.where(self.is_told, second / np.where(self.is_told, left, 1.0), 0.0)

    @cached_property
    def _freedoms(self) -> Array:
        """Degrees of freedom of each cell that tells its variance."""
        found = self._second**2 / np.maximum(self._power(4), 1e-300) - 1
        return np.maximum(found, 1.0)

    @cached_property
    def _of_arms(self) -> Array:
        """The variance of outcomes in each arm, within cells if any has two rows; shape (2,)."""
        weighed = self._weights**2 / self.repeats
        squares = self.boxes.sums(weighed * self.boxes.away**2) * self._inflation
        found = np.zeros(2)
        for arm in (0, 1):
            told = self.is_told[arm::2]
            if told.any():
                found[arm] = squares[arm::2].sum() / self._second[arm::2][told].sum()
            elif self.mass[arm::2].any():
                rows = self.boxes.cell % 2 == arm
                mean = np.average(self.boxes.y[rows], weights=self._weights[rows])
                found[arm] = np.average((self.boxes.y[rows] - mean) ** 2, weights=weighed[rows])
        return found
