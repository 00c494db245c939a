"""A contrast of two arms, over strata, under hidden confounding up to an odds ratio."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from causalppl.bounds.cell_spread import CellSpread
from causalppl.bounds.sensitivity_rows import row_counts
from causalppl.bounds.weight_cells import WeightCells

__all__ = ["ArmContrast", "share_odds"]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]
Ends: TypeAlias = tuple[float, float]
_FEWEST = 10.0  # rows apart from the commonest outcome, from which an arm shows its spread


class _Reach(NamedTuple):
    """The standard error of an end, and how far a confidence limit lies beyond it.

    The limit is the end, moved by the shift, and by the error times Student's quantile, to which
    skewness adds.
    """

    error: float
    skewness: float
    freedom: float
    shift: float

    def at(self, level: float) -> float:
        """How far a limit lies beyond its end that is missed with probability ``level / 2``."""
        critical = float(stdtrit(self.freedom, 1 - level / 2))
        tail = max(self.skewness, 0.0) * (1 + 2 * float(ndtri(1 - level / 2)) ** 2) / 6
        return self.shift + (critical + tail) * self.error


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
        >>> found = ArmContrast.naive(y, arm, np.ones(6), (0.0, 1.0))
        >>> [round(end, 3) for end in found.ends(1.0)], [round(end, 3) for end in found.ends(2.0)]
        ([0.333, 0.333], [0.0, 0.6])
    """

    y: Array
    arm: Codes
    stratum: Codes
    odds: Array
    counts: Array
    span: Ends

    @classmethod
    def naive(cls, y: Array, arm: Codes, counts: Array, span: Ends) -> "ArmContrast":
        """The contrast of plain means."""
        stratum = np.zeros(len(y), dtype=np.int64)
        return cls(y, arm, stratum, share_odds(stratum, arm, counts), counts, span)

    @cached_property
    def shares(self) -> Array:
        """The share of each stratum."""
        found = np.bincount(self.stratum, self.counts).astype(float)
        return found / found.sum()

    @cached_property
    def repeats(self) -> Array:
        """How many equal rows each stands for: its count, or one for sampling weights."""
        return row_counts(self.counts)

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

    def ends(self, odds_ratio: float) -> Ends:
        """The smallest and the largest contrast; a stratum without an arm has the whole range."""
        low, high = (self._contrast(self._means(odds_ratio, side)) for side in (0, 1))
        return low, max(low, high)

    def limits(self, odds_ratio: float, level: float) -> Ends:
        """Confidence limits of the ends, each missed with probability ``level / 2`` at most.

        Student's limits, with the degrees of freedom of the smaller arm at most. They hold for
        normal outcomes and in large samples, and are made to hold in smaller ones in three ways.
        The variance is at least what the outcomes of both arms together lead to expect, if the
        action does not change their spread. A limit is moved out, never in, by what skewness adds
        to it. And an arm in which fewer than ten rows have another outcome than the commonest of
        their stratum (no outcome is common if all in the arm differ) gets one row more, at the
        worst outcome that can be, as outcomes may be rare ones that it does not show.

        References:
            Mickey and Brown (1966), for the degrees of freedom; Hall (1992), On the removal of
            skewness by transformation; Gaffke (2005), for the row more.
        """
        return self.limit(odds_ratio, level, 0), self.limit(odds_ratio, level, 1)

    def limit(self, odds_ratio: float, level: float, side: int) -> float:
        """The lower confidence limit (side 0), or the upper one (side 1)."""
        end, reach = self._end(odds_ratio, side)
        return end + reach.at(level) * (1 if side else -1)

    def error(self, odds_ratio: float) -> float:
        """The larger standard error of the two ends."""
        return max(self._end(odds_ratio, side)[1].error for side in (0, 1))

    @cached_property
    def freedom(self) -> float:
        """The degrees of freedom of the standard error at odds ratio 1."""
        return min(self._end(1.0, side)[1].freedom for side in (0, 1))

    @cached_property
    def skewness(self) -> float:
        """The skewness of an arm's mean at odds ratio 1, in size; of the more skewed one."""
        moved = self._boxes.influence(1.0, self._signs(0), self._means(1.0, 0))
        cubes = self._weights**3 * self._boxes.sums(moved**3 / self.repeats**2)
        squares = self._weights**2 * self._spread.shown
        third, second = (each.reshape(-1, 2).sum(0) for each in (cubes, squares))
        return float((abs(third) / np.maximum(second**1.5, 1e-300)).max())

    def _end(self, odds_ratio: float, side: int) -> tuple[float, _Reach]:
        """One end, and its sampling error: of the means in cells, and of the shares of strata."""
        means = self._means(odds_ratio, side)
        moved = self._boxes.influence(odds_ratio, self._signs(side), means)
        squares = moved**2 / self.repeats
        parts = self._spread.variances(squares)
        within = self._weights**2 * parts * np.tile(self._shrinkage, len(self.shares))
        shifts = self._shifts(odds_ratio, side, means)
        variance = (
            float(within.sum())
            + self._unshown
            + self._among(_differences(means), parts)
            + float(shifts @ shifts)
        )
        cubes = self._boxes.sums(squares * moved / self.repeats) * self._weights**3
        third = float(_differences(cubes).sum() + (shifts**3).sum()) * (1 if side else -1)
        freedom = self._spread.freedom(within) if within.any() else max(self.ess - 1, 1.0)
        return self._contrast(means), _Reach(
            float(np.sqrt(variance)),
            third / max(variance**1.5, 1e-300),
            freedom,
            float(abs(shifts).sum()),
        )

    def _contrast(self, means: Array) -> float:
        return float(self.shares @ _differences(means))

    def _means(self, odds_ratio: float, side: int) -> Array:
        """The ends of the means in cells that make an end of the contrast."""
        found = self._boxes.ends(odds_ratio, self._signs(side))
        return np.where(self._weights > 0, found, self._beyond(side))

    def _signs(self, side: int) -> Array:
        """Whether a cell's largest mean (1) is taken or its smallest (-1), for an end."""
        # the lower end takes the smallest means of arm 1 and the largest of arm 0
        return np.tile([-1.0, 1.0] if side else [1.0, -1.0], len(self.shares))

    def _beyond(self, side: int) -> Array:
        """The worst outcome that can be in each cell, for an end."""
        low, high = self.span
        return np.where(self._signs(side) > 0, high, low)

    def _among(self, differences: Array, parts: Array) -> float:
        """The variance that the shares of strata add, where their contrasts differ."""
        seen = self.shares @ (differences - self.shares @ differences) ** 2
        by_chance = self.shares @ parts.reshape(-1, 2).sum(1)
        return max(float(seen - by_chance), 0.0) / self._num_rows

    def _shifts(self, odds_ratio: float, side: int, means: Array) -> Array:
        """How far an end would move by one row more in each arm that hardly shows its spread."""
        if not self._is_lacking.any():
            return np.zeros(2)
        weights = self._weights.reshape(-1, 2)
        portions = weights / np.maximum(weights.sum(0), 1e-300) * self._is_lacking
        added = portions.ravel() / np.maximum(self._spread.sizes, 1.0)
        moved = self._boxes.ends(odds_ratio, self._signs(side), self._beyond(side), added) - means
        return (self._weights * moved).reshape(-1, 2).sum(0) * [-1.0, 1.0]

    @cached_property
    def _is_lacking(self) -> NDArray[np.bool_]:
        """Whether an arm has too few rows apart from the commonest outcomes."""
        return np.asarray(self._spread.apart < _FEWEST)

    @cached_property
    def _shrinkage(self) -> Array:
        """By how much a row more lessens the variance that the other rows add, for each arm."""
        sizes = np.maximum(self._spread.sizes.reshape(-1, 2).sum(0), 1.0)
        return np.where(self._is_lacking, (sizes - 1) / (sizes + 1), 1.0)

    @cached_property
    def _unshown(self) -> float:
        """What is missing in the variance that the rows of each arm show at odds ratio 1.

        The outcomes of all rows, whatever their arm, with their chances of each arm, give a
        variance that does not depend on which rows have it: where few have a small chance and by
        luck none of those with large outcomes, the rows in the arm understate it.
        """
        squares = self.counts**2 / self.repeats * self._spread.squares
        inverse = self._inverse_chances(0) + self._inverse_chances(1)
        expected = float(squares @ inverse) / float(self.counts.sum()) ** 2
        return max(expected - float(self._weights**2 @ self._spread.shown), 0.0)

    @cached_property
    def _num_rows(self) -> float:
        return self._size(np.ones(len(self.y)), self.counts > 0)

    @cached_property
    def _weights(self) -> Array:
        """The share of each cell's stratum; 0 where the cell has no rows."""
        return np.repeat(self.shares, 2) * (self._spread.mass > 0)

    @cached_property
    def _spread(self) -> CellSpread:
        return CellSpread(self._boxes, self.repeats)

    @cached_property
    def _boxes(self) -> WeightCells:
        cell = 2 * self.stratum + self.arm
        free = self.counts * self.odds
        return WeightCells(self.y, self.counts, free, cell, 2 * len(self.shares))

    def _expected_size(self, arm: int) -> float:
        squares = float(self.counts**2 / self.repeats @ self._inverse_chances(arm))
        return float(self.counts.sum()) ** 2 / max(squares, 1e-300)

    def _inverse_chances(self, arm: int) -> Array:
        """One over each row's chance of an arm; 0 where there is none, so that it is not asked."""
        odds = np.where(self.odds > 0, self.odds, np.inf)
        return np.where(self.arm == arm, 1 + self.odds, np.where(self.odds > 0, 1 + 1 / odds, 0.0))

    def _size(self, weights: Array, kept: NDArray[np.bool_]) -> float:
        """How many equally weighted rows tell as much as these."""
        weights = weights[kept] * self.counts[kept]
        squares = float(weights**2 @ (1 / self.repeats[kept]))
        return float(weights.sum()) ** 2 / max(squares, 1e-300)


def share_odds(stratum: Codes, arm: Codes, counts: Array) -> Array:
    """The odds of not having the arm that a row has, by the shares of arms in its stratum.

    Example:
        >>> share_odds(np.zeros(4, dtype=int), np.array([0, 0, 0, 1]), np.ones(4)).tolist()
        [0.3333333333333333, 0.3333333333333333, 0.3333333333333333, 3.0]
    """
    cell = np.bincount(2 * stratum + arm, counts, 2 * int(stratum.max()) + 2)
    mine, others = cell[2 * stratum + arm], cell[2 * stratum + 1 - arm]
    return np.asarray(others / np.where(mine > 0, mine, 1.0))


def _differences(cells: Array) -> Array:
    """Of what arm 1 has in each stratum, and arm 0."""
    return np.asarray(cells[1::2] - cells[::2])
