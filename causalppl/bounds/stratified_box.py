"""A mean over strata of known shares, each stratum at its own worst weights.

As `WeightBox`, for all strata at once: every step of Newton's method is a pass over all rows.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.commonest import hardly_vary
from causalppl.bounds.weight_box import FEWEST, Overlap
from causalppl.exceptions import DataError

__all__ = ["StratifiedBox"]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]
Ends: TypeAlias = tuple[float, float]
_MOST_STEPS = 100


class _Sums(NamedTuple):
    """Sums over the rows of each stratum; outcomes are counted from its centre."""

    fixed: Array
    fixed_y: Array
    free: Array
    free_y: Array


@dataclass(frozen=True, eq=False)
class StratifiedBox:
    """Rows in strata, and the box in which their weights lie.

    Attributes:
        y: Outcomes, shape ``(rows,)``.
        fixed: What each row weighs for sure.
        free: What the odds ratio multiplies.
        codes: The stratum of each row, from 0; below 0: it is no part of the target.
        shares: What each stratum counts, non-negative.
        constant: What is added to the ends, for strata without rows.

    Raises:
        DataError: All weights of a stratum are 0.

    Example:
        >>> one = np.ones(4)
        >>> found = StratifiedBox(
        ...     np.array([0.0, 1.0, 2.0, 4.0]), one, one, np.array([0, 0, 1, 1]), np.full(2, 0.5))
        >>> [round(end, 12) for end in found.ends(2.0)]
        [1.5, 2.0]
    """

    y: Array
    fixed: Array
    free: Array
    codes: Codes
    shares: Array
    constant: Ends = (0.0, 0.0)

    @cached_property
    def _used(self) -> NDArray[np.bool_]:
        return np.asarray(self.codes >= 0)

    @cached_property
    def _rows(self) -> "StratifiedBox":
        """The rows of the target alone."""
        if self._used.all():
            return self
        kept = self._used
        return StratifiedBox(
            self.y[kept],
            self.fixed[kept],
            self.free[kept],
            self.codes[kept],
            self.shares,
            self.constant,
        )

    def _sum(self, values: Array) -> Array:
        return np.asarray(np.bincount(self.codes, values, len(self.shares)), dtype=float)

    @cached_property
    def _centres(self) -> Array:
        weight = self.fixed + self.free
        total = self._sum(weight)
        if not (total > 0).all():
            raise DataError(
                "the weights of all rows of a stratum are 0, so there is nothing to take a mean "
                "of; expected rows in each stratum"
            )
        first = np.zeros(len(total))
        first[self.codes] = self.y  # some outcome of each, so that sums far from 0 are exact
        return np.asarray(first + self._sum(weight * (self.y - first[self.codes])) / total)

    @cached_property
    def _from_centre(self) -> Array:
        return np.asarray(self.y - self._centres[self.codes])

    @cached_property
    def _free_y(self) -> Array:
        return np.asarray(self.free * self._from_centre)

    @cached_property
    def _sums(self) -> _Sums:
        y = self._from_centre
        columns = (self.fixed, self.fixed * y, self.free, self._free_y)
        return _Sums(*map(self._sum, columns))

    @property
    def in_order(self) -> "StratifiedBox":
        """Itself."""
        return self

    def ends(self, odds_ratio: float, near: Ends | None = None) -> Ends:
        """The smallest and the largest mean over strata."""
        low, high = (self._rows._end(odds_ratio, sign) for sign in (-1, 1))
        return (
            self.constant[0] + float(self.shares @ low),
            self.constant[1] + float(self.shares @ high),
        )

    def _end(self, odds_ratio: float, sign: int) -> Array:
        """The end of each stratum, see `WeightBox`."""
        if odds_ratio == 1:
            return self._centres
        sums, codes, size = self._sums, self.codes, len(self.shares)
        base = 1 / odds_ratio if sign > 0 else odds_ratio
        gain = sign * (odds_ratio - 1 / odds_ratio)
        point, seen = np.zeros(size), None
        for _ in range(_MOST_STEPS):
            above = self._from_centre > point[codes]
            free, free_y = (
                np.bincount(codes[above], part[above], size) for part in (self.free, self._free_y)
            )
            mass = sums.fixed + base * sums.free + gain * free
            point = (sums.fixed_y + base * sums.free_y + gain * free_y) / mass
            if seen is not None and np.array_equal(above, seen):
                break
            seen = above
        return np.asarray(self._centres + sign * np.maximum(sign * point, 0.0))

    def influence(self, odds_ratio: float, ends: Ends) -> Array:
        """By how much each row moves the ends, shape ``(2, rows)``."""
        found, rows = np.zeros((2, len(self.y))), self._rows
        least, codes = 1 / odds_ratio, rows.codes
        for place, sign in enumerate((-1, 1)):
            away = rows.y - rows._end(odds_ratio, sign)[codes]
            weight = rows.fixed + rows.free * (least + (odds_ratio - least) * (sign * away > 0))
            scale = self.shares / rows._sum(weight)
            found[place, self._used] = weight * away * scale[codes]
        return found

    def overlap(self, repeats: Array) -> Overlap:
        """The effective sample size of the stratum where it is least of the rows."""
        if not len(self.shares):
            return Overlap(0.0, 0, 0)
        rows, repeats = self._rows, repeats[self._used]
        used = rows.fixed + rows.free > 0
        ess, num_used = rows._sizes(repeats), rows._sum(repeats * used)
        least = int(np.argmin(ess / np.maximum(num_used, 1)))
        return Overlap(float(ess[least]), int(num_used[least]), int(rows._sum(repeats)[least]))

    def _sizes(self, repeats: Array) -> Array:
        """The effective sample size of each stratum at odds ratio 1."""
        weight = self.fixed + self.free
        most = np.zeros(len(self.shares))
        np.maximum.at(most, self.codes, weight)
        weight = weight / np.maximum(most, 1e-300)[self.codes]
        squares = self._sum(np.where(weight > 0, weight**2 / np.maximum(repeats, 1e-300), 0.0))
        return np.asarray(self._sum(weight) ** 2 / np.maximum(squares, 1e-300))

    def unseen(self, odds_ratio: float, repeats: Array, span: Ends) -> Array:
        """Standard errors of the ends that rows do not show, of strata that hardly vary.

        See `WeightBox.unseen`. Where some strata vary, the others are few rows by chance alike.
        """
        rows, size = self._rows, len(self.shares)
        kept = rows.fixed + rows.free > 0
        repeats = repeats[self._used]
        sizes = rows._sizes(repeats)
        few = hardly_vary(rows.y[kept], repeats[kept], rows.codes[kept], size)
        constant, counted = rows._constant(kept), self.shares > 0
        is_told = span[0] < span[1] and (sizes[counted] >= FEWEST).all()
        if counted.any() and constant[counted].all() and not is_told:
            return np.full(2, np.inf)
        lacking = np.flatnonzero((few | constant) & counted)
        if not len(lacking):
            return np.zeros(2)
        more = [2 * part[lacking] / sizes[lacking] for part in (rows._sums.fixed, rows._sums.free)]
        found = np.empty(2)
        for side, (worst, sign) in enumerate(zip(span, (-1, 1), strict=True)):
            added = replace(
                rows,
                y=np.append(rows.y, np.full(len(lacking), worst)),
                fixed=np.append(rows.fixed, more[0]),
                free=np.append(rows.free, more[1]),
                codes=np.append(rows.codes, lacking),
            )
            moved = added._end(odds_ratio, sign) - rows._end(odds_ratio, sign)
            found[side] = np.sqrt(np.sum((self.shares * moved)[lacking] ** 2))
        return found

    def _constant(self, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The strata whose outcomes are all alike."""
        lowest, highest = np.full(len(self.shares), np.inf), np.full(len(self.shares), -np.inf)
        np.minimum.at(lowest, self.codes[kept], self.y[kept])
        np.maximum.at(highest, self.codes[kept], self.y[kept])
        return np.asarray(lowest >= highest)

    def slack(self, odds_ratio: float) -> float:
        """None: the ends are solved for."""
        return 0.0

    def counted(self, counts: Array) -> "StratifiedBox":
        """The same, with each row as often as it was drawn."""
        return replace(self, fixed=self.fixed * counts, free=self.free * counts)
