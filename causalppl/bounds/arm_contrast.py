"""A contrast of two arms, over strata, under hidden confounding up to an odds ratio."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from causalppl.bounds.weight_box import WeightBox

__all__ = ["ArmContrast"]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]
Ends: TypeAlias = tuple[float, float]


@dataclass(frozen=True, eq=False)
class ArmContrast:
    """Mean outcome in arm 1 less that in arm 0, within strata, over the strata of all rows.

    Attributes:
        y: Outcomes, shape ``(rows,)``.
        arm: 0 or 1 for each row.
        stratum: The number of each row's stratum.
        odds: The recorded odds of not having the arm that a row has.
        counts: How often each row counts: whole numbers are equal rows, others sampling weights.
        span: The smallest and the largest outcome that can be.

    Example:
        >>> y, arm = np.array([0, 0, 1, 1, 1, 0.0]), np.array([0, 0, 0, 1, 1, 1])
        >>> same = np.zeros(6, dtype=int)
        >>> found = ArmContrast(y, arm, same, np.ones(6), np.ones(6), (0.0, 1.0))
        >>> [round(end, 3) for end in found.ends(1.0)], [round(end, 3) for end in found.ends(2.0)]
        ([0.333, 0.333], [0.0, 0.6])
    """

    y: Array
    arm: Codes
    stratum: Codes
    odds: Array
    counts: Array
    span: Ends
    _worst: dict[int, "list[Cell]"] = field(default_factory=dict, init=False)

    @cached_property
    def shares(self) -> Array:
        """The share of each stratum."""
        found = np.bincount(self.stratum, self.counts).astype(float)
        return found / found.sum()

    @cached_property
    def cells(self) -> "list[Cell]":
        """The rows by stratum and arm: arm 0 and arm 1 of each stratum in turn."""
        return self._cells(None)

    @cached_property
    def repeats(self) -> Array:
        """How many equal rows each stands for: its count, or one for sampling weights."""
        whole = bool((self.counts == np.floor(self.counts)).all())
        return np.maximum(self.counts, 1.0) if whole else np.ones(len(self.counts))

    @cached_property
    def ess(self) -> float:
        """The effective sample size of the smaller arm, at odds ratio 1.

        The smaller of that of the rows in the arm, and of what its chances in all rows lead to
        expect: rows that hardly ever have it may lack it altogether, and then do not show.
        """
        return min(
            min(self._size(1 + self.odds, self.arm == arm), self._expected_size(arm))
            for arm in (0, 1)
        )

    def _expected_size(self, arm: int) -> float:
        squares = float(self.counts**2 / self.repeats @ self._inverse_chances(arm))
        return float(self.counts.sum()) ** 2 / max(squares, 1e-300)

    def _inverse_chances(self, arm: int) -> Array:
        """One over each row's chance of an arm; 0 where there is none, so that it is not asked."""
        odds = np.where(self.odds > 0, self.odds, np.inf)
        return np.where(self.arm == arm, 1 + self.odds, np.where(self.odds > 0, 1 + 1 / odds, 0.0))

    @cached_property
    def imbalance(self) -> tuple[float, float]:
        """The sum of an arm's inverse chances over the number of rows, and by how many errors off.

        Of the arm that is further off: far off, the chances are not those of the rows' arms.
        """
        total, found = float(self.counts.sum()), []
        for arm in (0, 1):
            own = self.arm == arm
            summed = float(self.counts[own] @ (1 + self.odds[own]))
            inverse = np.maximum(self._inverse_chances(arm) - 1, 0.0)
            error = float(np.sqrt(self.counts**2 / self.repeats @ inverse))
            found.append((summed / total, abs(summed - total) / max(error, 1e-9 * total)))
        return max(found, key=lambda each: each[1])

    @cached_property
    def scarcity(self) -> float:
        """By how much the standard error, at least, exceeds what rows in the arms show; from 1.

        Rows with a small chance of an arm weigh much if they have it; where by chance few or none
        have it, the rows in the arm understate the error. The outcomes of all rows, whatever their
        arm, with their chances of each arm, give an error that does not depend on that.
        """
        cell = 2 * self.stratum + self.arm
        weights = self.counts * (1 + self.odds)
        mass = np.bincount(cell, weights)
        means = np.bincount(cell, weights * self.y) / np.where(mass > 0, mass, 1.0)
        squares = self.counts**2 / self.repeats * (self.y - means[cell]) ** 2
        expected = squares @ (self._inverse_chances(0) + self._inverse_chances(1))
        shown = max(self._end(1.0, side)[1] for side in (0, 1))
        if shown == 0:
            return 1.0
        return max(float(np.sqrt(expected)) / float(self.counts.sum()) / shown, 1.0)

    def _size(self, weights: Array, kept: NDArray[np.bool_]) -> float:
        """How many equally weighted rows tell as much as these."""
        weights = weights[kept] * self.counts[kept]
        squares = float(weights**2 @ (1 / self.repeats[kept]))
        return float(weights.sum()) ** 2 / max(squares, 1e-300)

    def ends(self, odds_ratio: float) -> Ends:
        """The smallest and the largest contrast; a stratum without an arm has the whole range."""
        low, high = self._difference(self.cells, odds_ratio)
        return float(self.shares @ low), float(self.shares @ high)

    def limits(self, odds_ratio: float, level: float) -> Ends:
        """Confidence limits of the ends, each missed with probability ``level / 2`` at most.

        Student's limits, with one more row in each arm and stratum at the worst value that an
        outcome can have: with few rows the limit is then not too narrow where, by chance, rows look
        alike.
        """
        critical = self.scarcity * float(stdtrit(max(self.ess - 1, 1.0), 1 - level / 2))
        (low, below), (high, above) = (self._end(odds_ratio, side) for side in (0, 1))
        ends = self.ends(odds_ratio)
        return min(low - critical * below, ends[0]), max(high + critical * above, ends[1])

    def error(self, odds_ratio: float) -> float:
        """The larger standard error of the two ends."""
        return self.scarcity * max(self._end(odds_ratio, side)[1] for side in (0, 1))

    def _with_worst(self, side: int) -> "list[Cell]":
        if side not in self._worst:
            self._worst[side] = self._cells(side)
        return self._worst[side]

    def _cells(self, side: int | None) -> "list[Cell]":
        """Sort rows into cells; for a side, with a row more at its worst value."""
        place = 2 * self.stratum + self.arm
        order = np.argsort(place, kind="stable")
        starts = np.searchsorted(place[order], np.arange(2 * len(self.shares) + 1))
        found = []
        for cell in range(2 * len(self.shares)):
            rows = order[starts[cell] : starts[cell + 1]]
            y, counts, repeats = self.y[rows], self.counts[rows], self.repeats[rows]
            total = counts.sum()
            if not total:
                found.append(Cell(None, repeats, self.span))
                continue
            odds = self.odds[rows]
            if side is not None:
                is_low = (cell % 2 == 1) == (side == 0)
                y = np.append(y, self.span[0] if is_low else self.span[1])
                odds = np.append(odds, counts @ odds / total)
                counts = np.append(counts, total / repeats.sum())
                repeats = np.append(repeats, 1.0)
            found.append(Cell(WeightBox(y, counts, counts * odds), repeats, self.span))
        return found

    def _difference(self, cells: "list[Cell]", odds_ratio: float) -> tuple[Array, Array]:
        """The ends of the contrast in each stratum."""
        low, high = np.array([cell.ends(odds_ratio) for cell in cells]).T.reshape(2, -1, 2)
        return low[:, 1] - high[:, 0], high[:, 1] - low[:, 0]

    def _end(self, odds_ratio: float, side: int) -> tuple[float, float]:
        """One end, with a row more in each cell, and its standard error.

        The error is that of the means in cells, and of the shares of strata.
        """
        cells = self._with_worst(side)
        ends = self._difference(cells, odds_ratio)[side]
        centre = float(self.shares @ ends)
        size = self._size(np.ones(len(self.y)), np.ones(len(self.y), dtype=bool))
        variance = float(self.shares @ (ends - centre) ** 2) / size
        for number, cell in enumerate(cells):
            # the lower end takes the lower end of arm 1 and the upper one of arm 0
            at = side if number % 2 else 1 - side
            variance += float(self.shares[number // 2]) ** 2 * cell.variance(odds_ratio, at)
        return centre, float(np.sqrt(variance))


@dataclass(frozen=True, eq=False)
class Cell:
    """The rows of an arm in a stratum.

    Attributes:
        box: The rows and their weights; None where there are none.
        repeats: How many equal rows each stands for.
        span: The ends of the mean where there are none.
    """

    box: WeightBox | None
    repeats: Array
    span: Ends

    def ends(self, odds_ratio: float) -> Ends:
        """The smallest and the largest mean."""
        return self.span if self.box is None else self.box.ends(odds_ratio)

    def variance(self, odds_ratio: float, side: int) -> float:
        """The sampling variance of an end."""
        if self.box is None:
            return 0.0
        influence = self.box.influence(odds_ratio, self.box.ends(odds_ratio))[side]
        rows = float(self.repeats.sum())
        return float(influence**2 @ (1 / self.repeats)) * rows / max(rows - 1, 1.0)
