"""Means under weights that are known up to an odds ratio: their extremes.

A row weighs ``fixed + free * r`` with ``r`` between ``1 / odds_ratio`` and ``odds_ratio``. The
largest weighted mean ``t`` is where the largest ``sum of weight * (y - t)`` is zero, and that sum
is largest when rows above ``t`` weigh most and the others least. As a function of ``t`` it is
convex, falls, and is linear between outcomes: Newton's method ends, after few steps, at the exact
root.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.commonest import hardly_vary
from causalppl.exceptions import DataError

__all__ = ["FEWEST", "Overlap", "WeightBox"]

Array: TypeAlias = NDArray[np.float64]
FEWEST = 10.0  # effective rows, from which equal outcomes tell of others
_MOST_STEPS = 100  # each lands on another piece; in practice 3 to 6


class Overlap(NamedTuple):
    """The effective sample size, how many rows have a weight, and how many there are."""

    ess: float
    num_used: int
    num_rows: int

    @property
    def share(self) -> float:
        """What the one is of the other."""
        return self.ess / max(self.num_used, 1)


class _Sums(NamedTuple):
    """Sums over all rows; outcomes are counted from the centre."""

    fixed: float
    fixed_y: float
    free: float
    free_y: float


class _Sorted(NamedTuple):
    """Outcomes in order, and sums of the free weights from each place to the end."""

    y: Array
    free: Array
    free_y: Array


@dataclass(frozen=True, eq=False)
class WeightBox:
    """Rows, and the box in which their weights lie.

    Attributes:
        y: Outcomes, shape ``(rows,)``.
        fixed: What each row weighs for sure.
        free: What the odds ratio multiplies.

    Raises:
        DataError: All weights are 0.

    Example:
        >>> box = WeightBox(np.array([0.0, 1.0]), np.ones(2), np.ones(2))
        >>> box.centre, round(box.upper(2.0), 12)
        (0.5, 0.666666666667)
    """

    y: Array
    fixed: Array
    free: Array

    @cached_property
    def centre(self) -> float:
        """The weighted mean at odds ratio 1, between the smallest and the largest outcome."""
        weight = self.fixed + self.free
        total = float(weight.sum())
        if not total > 0:
            raise DataError(
                "the weights of all rows are 0, so there is nothing to take a mean of; expected "
                "rows in the arm, or of actions that the policy takes"
            )
        shift = float(self.y[0])
        return shift + float((self.y - shift) @ weight) / total

    def ends(
        self, odds_ratio: float, near: tuple[float, float] | None = None
    ) -> tuple[float, float]:
        """The smallest and the largest mean.

        Args:
            odds_ratio: From 1.
            near: Where to start looking; it makes no difference to what is found.
        """
        low, high = near or (self.centre, self.centre)
        return self.lower(odds_ratio, low), self.upper(odds_ratio, high)

    def upper(self, odds_ratio: float, near: float | None = None) -> float:
        """The largest mean."""
        return self._end(odds_ratio, self.centre if near is None else near, sign=1)

    def lower(self, odds_ratio: float, near: float | None = None) -> float:
        """The smallest mean."""
        return self._end(odds_ratio, self.centre if near is None else near, sign=-1)

    def reaching(self, value: float) -> float:
        """The smallest odds ratio at which a value is a possible mean; infinite if it never is.

        The largest ``sum of weight * (y - value)`` is ``odds_ratio * above + known - below /
        odds_ratio``, with sums over rows above and below the value: the ratio at which it is zero
        solves a quadratic equation.
        """
        away = self.y - value
        known = float(self.fixed @ away)
        total = float(self.free @ away)
        above = float(self.free @ np.maximum(away, 0.0))
        below = max(above - total, 0.0)
        now = known + total  # its sign says on which side of the value the mean lies
        if now > 0:
            known, above, below = -known, below, above
        elif now == 0:
            return 1.0
        root = float(np.hypot(known, 2 * np.sqrt(above) * np.sqrt(below)))
        if known > 0:  # the form without cancellation
            return max(2 * below / (known + root), 1.0)
        return max((root - known) / (2 * above), 1.0) if above > 0 else np.inf

    def weights(self, odds_ratio: float, end: float, *, sign: int) -> Array:
        """The weights that give an end."""
        least = 1 / odds_ratio
        above = self.y > end if sign > 0 else self.y < end
        return np.asarray(self.fixed + self.free * (least + (odds_ratio - least) * above))

    def influence(self, odds_ratio: float, ends: tuple[float, float]) -> Array:
        """By how much each row moves the ends, shape ``(2, rows)``; what they were drawn from."""
        found = np.empty((2, len(self.y)))
        for place, (end, sign) in enumerate(zip(ends, (-1, 1), strict=True)):
            weight = self.weights(odds_ratio, end, sign=sign)
            np.multiply(weight, self.y - end, out=found[place])
            found[place] /= weight.sum()
        return found

    def unseen(self, odds_ratio: float, repeats: Array, span: tuple[float, float]) -> Array:
        """Standard errors of the ends that outcomes do not show, as too few differ.

        By how far two more rows at the worst outcome would move the ends: twice that is about what
        rows that were all alike leave possible at 95 % ("rule of three"), and added to the error
        that few others show about the limits of Clopper and Pearson. 0 where ten rows are apart
        from the commonest outcome, infinite where all are alike and fewer than ten, or no outcome
        in the span, tell anything.
        """
        used = self.fixed + self.free > 0
        y = self.y[used]
        is_alike = y.min() == y.max()
        if not is_alike and not hardly_vary(y, repeats[used], np.zeros(len(y), np.int64), 1)[0]:
            return np.zeros(2)
        size = self.overlap(repeats).ess
        if is_alike and (size < FEWEST or span[0] == span[1]):
            return np.full(2, np.inf)
        more = [2 * float(part.sum()) / size for part in (self.fixed, self.free)]
        found = np.empty(2)
        for side, worst in enumerate(span):
            added = type(self)(
                np.append(y, worst),
                np.append(self.fixed[used], more[0]),
                np.append(self.free[used], more[1]),
            )
            found[side] = abs(added.ends(odds_ratio)[side] - self.ends(odds_ratio)[side])
        return found

    def slack(self, odds_ratio: float) -> float:
        """None: the ends are solved for."""
        return 0.0

    def counted(self, counts: Array) -> "WeightBox":
        """The same rows, each as often as it was drawn."""
        return WeightBox(self.y, self.fixed * counts, self.free * counts)

    def overlap(self, repeats: Array) -> "Overlap":
        """The effective sample size of the weights at odds ratio 1.

        Args:
            repeats: How many equal rows each stands for, shape ``(rows,)``; 0 for none.
        """
        weight = self.fixed + self.free
        weight = weight / max(float(weight.max()), 1e-300)
        used = weight > 0
        squares = float(weight[used] ** 2 @ (1 / repeats[used]))
        ess = float(weight.sum()) ** 2 / max(squares, 1e-300)
        return Overlap(ess, int(repeats[used].sum()), int(repeats.sum()))

    @cached_property
    def sums(self) -> _Sums:
        """Sums over all rows."""
        y = self.from_centre
        return _Sums(
            float(self.fixed.sum()),
            float(self.fixed @ y),
            float(self.free.sum()),
            float(self.free @ y),
        )

    @cached_property
    def from_centre(self) -> Array:
        """Outcomes less the centre, which keeps sums exact where outcomes are far from 0."""
        return np.asarray(self.y - self.centre)

    @cached_property
    def in_order(self) -> "InOrder":
        """The same rows, sorted once: then each end takes time that grows as log(rows)."""
        return InOrder(self.y, self.fixed, self.free)

    @cached_property
    def _free_y(self) -> Array:
        return np.asarray(self.free * self.from_centre)

    def _end(self, odds_ratio: float, near: float, *, sign: int) -> float:
        if odds_ratio == 1:
            return self.centre
        sums = self.sums
        # rows above count `gain` more than those below; below the smallest mean, `gain` less
        base = 1 / odds_ratio if sign > 0 else odds_ratio
        gain = sign * (odds_ratio - 1 / odds_ratio)
        point, seen = near - self.centre, -1
        for _ in range(_MOST_STEPS):
            free, free_y, count = self._tail(point)
            mass = sums.fixed + base * sums.free + gain * free
            point = (sums.fixed_y + base * sums.free_y + gain * free_y) / mass
            if count == seen:
                break
            seen = count
        moved = max(sign * point, 0.0)
        return self.centre + sign * moved

    def _tail(self, point: float) -> tuple[float, float, int]:
        """Sum of the free weights above a point, of their outcomes, and how many there are."""
        above = self.from_centre > point
        shown = above.astype(float)
        return float(self.free @ shown), float(self._free_y @ shown), int(np.count_nonzero(above))


@dataclass(frozen=True, eq=False)
class InOrder(WeightBox):
    """A box whose rows were sorted, for many odds ratios."""

    @cached_property
    def in_order(self) -> "InOrder":
        """Itself."""
        return self

    @cached_property
    def _sorted(self) -> _Sorted:
        order = np.argsort(self.from_centre)
        y, free = self.from_centre[order], self.free[order]
        return _Sorted(y, _from_end(free), _from_end(free * y))

    def _tail(self, point: float) -> tuple[float, float, int]:
        held = self._sorted
        place = int(np.searchsorted(held.y, point, side="right"))
        return float(held.free[place]), float(held.free_y[place]), len(held.y) - place


def _from_end(values: Array) -> Array:
    """Sums from each place to the end, and 0 past it."""
    return np.append(np.cumsum(values[::-1])[::-1], 0.0)
