"""The difference of two weighted means of the same rows, over all weights that are possible."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.joint_contrast import JointMaximum, largest_difference
from causalppl.bounds.weight_box import Overlap, WeightBox

__all__ = ["LARGEST", "Difference"]

Array: TypeAlias = NDArray[np.float64]
Ends: TypeAlias = tuple[float, float]
LARGEST = 1e6  # odds ratio, up to which common rows are looked at
_SAMPLE = 4_000  # rows that say about where a search over many rows will end
_MOST_STEPS = 200


@dataclass(frozen=True, eq=False)
class Difference:
    """The difference of two means of the same rows, whose unknown weights they share.

    Attributes:
        y: Outcomes, shape ``(rows,)``.
        fixed: What each row weighs for sure, before targets.
        free: What the odds ratio multiplies.
        first: The share of each row in the first mean.
        second: Its share in the second.
    """

    y: Array
    fixed: Array
    free: Array
    first: Array
    second: Array

    @cached_property
    def parts(self) -> tuple[WeightBox, WeightBox]:
        """The two means by themselves."""
        return tuple(
            WeightBox(self.y, self.fixed * share, self.free * share)
            for share in (self.first, self.second)
        )  # type: ignore[return-value]

    def overlap(self, repeats: Array) -> Overlap:
        """The effective sample size of the mean where it is less of the rows."""
        return min((part.overlap(repeats) for part in self.parts), key=lambda found: found.share)

    @property
    def in_order(self) -> "Difference":
        """The same; sorted rows help only where no row is in both means."""
        found = Difference(self.y, self.fixed, self.free, self.first, self.second)
        if self.is_disjoint:
            found.__dict__["parts"] = tuple(part.in_order for part in self.parts)
        return found

    @cached_property
    def is_disjoint(self) -> bool:
        """Whether no row counts in both means, so that each has its own weights."""
        return not np.any((self.first > 0) & (self.second > 0))

    def ends(self, odds_ratio: float, near: Ends | None = None) -> Ends:
        """The smallest and the largest difference."""
        first, second = self.parts
        if odds_ratio == 1:
            return (first.centre - second.centre,) * 2
        if self.is_disjoint:
            one, other = first.ends(odds_ratio), second.ends(odds_ratio)
            return one[0] - other[1], one[1] - other[0]
        high, low = self.maximum(odds_ratio), self.maximum(odds_ratio, sign=-1)
        return -low.value, high.value

    def maximum(self, odds_ratio: float, *, sign: int = 1) -> JointMaximum:
        """The largest difference, or less the smallest; both means see the same weights."""
        key = (odds_ratio, sign)
        if key not in self._solved:
            self._solved[key] = self._maximum(odds_ratio, sign)
        return self._solved[key]

    @cached_property
    def _solved(self) -> dict[tuple[float, int], JointMaximum]:
        return {}

    @cached_property
    def _used(self) -> NDArray[np.bool_]:
        return np.asarray((self.fixed + self.free > 0) & (self.first + self.second > 0))

    def _maximum(self, odds_ratio: float, sign: int, floor: float = -math.inf) -> JointMaximum:
        used = self._used
        first, second = (self.first, self.second) if sign > 0 else (self.second, self.first)
        fixed, free = self.fixed[used], self.free[used]
        least, most = fixed + free / odds_ratio, fixed + free * odds_ratio
        columns = self.y[used], first[used], second[used], least, most
        return largest_difference(*columns, floor=floor)

    def influence(self, odds_ratio: float, ends: Ends) -> Array:
        """By how much each row moves the ends."""
        if odds_ratio == 1 or self.is_disjoint:
            one, other = (part.ends(odds_ratio) for part in self.parts)
            first, second = self.parts
            return first.influence(odds_ratio, one) - second.influence(odds_ratio, other)[::-1]
        found = np.zeros((2, len(self.y)))
        used = self._used
        for place, sign in enumerate((-1, 1)):
            best = self.maximum(odds_ratio, sign=sign)
            shares = (self.first, self.second) if sign > 0 else (self.second, self.first)
            for share, mean, side in zip(shares, (best.first, best.second), (1, -1), strict=True):
                weight = best.weights * share[used]
                found[place, used] += sign * side * weight * (self.y[used] - mean) / weight.sum()
        return found

    def unseen(self, odds_ratio: float, repeats: Array, span: Ends) -> Array:
        """Standard errors of the ends that rows do not show: those of the means, added up."""
        one, other = (part.unseen(odds_ratio, repeats, span) for part in self.parts)
        same = (self.first == self.second) | (self.fixed + self.free == 0)
        return np.zeros(2) if same.all() else one + other[::-1]

    def counted(self, counts: Array) -> "Difference":
        """The same, with each row as often as it was drawn."""
        return Difference(self.y, self.fixed * counts, self.free * counts, self.first, self.second)

    def slack(self, odds_ratio: float) -> float:
        """By how much an end may lie outside: the gap that a search over common rows left."""
        if odds_ratio == 1 or self.is_disjoint:
            return 0.0
        return max(self.maximum(odds_ratio, sign=sign).gap for sign in (-1, 1))

    def reaching(self, value: float) -> float:
        """The smallest odds ratio at which a value is possible; infinite if none is found."""
        return self._reaching_apart(value) if self.is_disjoint else self._reaching_jointly(value)

    def _reaching_jointly(self, value: float) -> float:
        """Newton's method on the end that must move, in the logarithm of the ratio.

        Whether any ratio is enough is asked first: that takes far less than the largest difference.
        """
        start = self.ends(1.0)[0]
        if start == value:
            return 1.0
        sign = 1 if value > start else -1
        if self._maximum(LARGEST, sign, floor=sign * value).value < sign * value:
            return math.inf
        left, right, most = 0.0, math.inf, math.log(LARGEST)
        at = self._first_guess(value)
        for _ in range(_MOST_STEPS):
            lacking = sign * value - self.maximum(math.exp(at), sign=sign).value
            left, right = (at, right) if lacking > 0 else (left, at)
            if left >= most:
                return math.inf
            slope = self._slope(math.exp(at), sign)
            moved = at + lacking / slope if slope > 0 else math.inf
            if abs(moved - at) <= 1e-14 or right - left <= 1e-14:
                return math.exp(moved if left <= moved <= right else right)
            if not left < moved < right:
                moved = (left + right) / 2 if right < math.inf else max(2 * at, 0.25)
            at = min(moved, 2 * at + 0.25, most)
        return math.exp(right)

    def _first_guess(self, value: float) -> float:
        """The logarithm of about the ratio that is needed, from some of many rows."""
        every = len(self.y) // _SAMPLE
        columns = (self.y, self.fixed, self.free, self.first, self.second)
        some = Difference(*(column[:: max(every, 1)] for column in columns))
        weight = some.fixed + some.free
        if every < 10 or not (weight @ some.first and weight @ some.second):
            return 0.25
        found = some.reaching(value)
        return math.log(found) if 1 < found < math.inf else 0.25

    def _slope(self, odds_ratio: float, sign: int) -> float:
        """By how much the largest difference rises with the logarithm of the odds ratio.

        The best weights move the difference to second order only, so it is what their ends move.
        """
        best, used = self.maximum(odds_ratio, sign=sign), self._used
        first, second = (self.first, self.second)[::sign]
        y, free = self.y[used], self.free[used]
        first, second = best.weights * first[used], best.weights * second[used]
        pull = first * (y - best.first) / first.sum() - second * (y - best.second) / second.sum()
        high = free * odds_ratio
        low = free / odds_ratio
        share = (best.weights - self.fixed[used] - low) / np.maximum(high - low, 1e-300)
        moved = share * high - (1 - share) * low
        return float(pull / best.weights @ moved)

    def _reaching_apart(self, value: float) -> float:
        """For means without common rows.

        The first mean must rise to ``t + value`` and the second fall to ``t`` (or the other way):
        the ratio that the one needs grows with ``t`` and that of the other falls.
        """
        first, second = self.parts
        # from where the first mean is right already to where the second is
        left, right = sorted((first.centre - value, second.centre))
        if left == right:
            return 1.0
        rises = first.centre - second.centre < value

        def needs(t: float) -> tuple[float, float]:
            # where a mean is right already, whatever rounding says of it
            one = 1.0 if t == first.centre - value else first.reaching(t + value)
            return one, 1.0 if t == second.centre else second.reaching(t)

        def gap(t: float) -> float:
            one, other = needs(t)
            if np.isinf(one) and np.isinf(other):
                return 0.0  # then no other place serves either
            return float(np.clip(np.log(one) - np.log(other), -1e3, 1e3))

        from scipy.optimize import brentq

        sign = 1 if rises else -1
        t = brentq(
            lambda t: gap(t) * sign, left, right, xtol=1e-15 * (right - left), rtol=1e-15,
            maxiter=1_000, disp=False,
        )  # fmt: skip
        # a mean of one outcome is right at one end alone, where the search jumps
        return min(max(needs(each)) for each in (t, left, right))
