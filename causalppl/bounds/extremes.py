"""From extremes over weights to `Bounds`: several odds ratios, sampling error, draws."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.bounds import Bounds
from causalppl.bounds.joint_contrast import JointMaximum, largest_difference
from causalppl.bounds.sensitivity_rows import read_odds_ratios
from causalppl.bounds.weight_box import Overlap, WeightBox
from causalppl.estimation.row_weights import are_whole
from causalppl.estimation.settings import check_count
from causalppl.estimation.user_warning import warn_user
from causalppl.exceptions import OverlapWarning
from causalppl.seeding import checked_seed

__all__ = ["UNKNOWN", "UNSEEN", "Difference", "Extremes", "Sum", "bounds_of"]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]
Ends: TypeAlias = tuple[float, float]

_POOR = 0.05  # share of the rows that the effective sample size should reach
_FEW = 30  # rows, from which no share is asked of those without a weight
_MOST_DRAWN = 10_000_000  # rows that are drawn one by one
_MANY = 6  # odds ratios for which sorting once pays
UNSEEN = (
    "the outcomes of a mean are all alike and do not show its sampling error, which was taken to "
    "be what two more rows at the worst outcome would change"
)
UNKNOWN = (
    "the outcomes of a mean are all alike in so few rows, or in all, that nothing tells its "
    "sampling error: there is no interval that allows for it"
)


class Extremes(Protocol):
    """Something whose smallest and largest value are known for each odds ratio."""

    def overlap(self, repeats: Array) -> Overlap:
        """The effective sample size at odds ratio 1; of several parts that of the worst."""

    @property
    def in_order(self) -> "Extremes":
        """The same, prepared for many odds ratios."""

    def ends(self, odds_ratio: float, near: Ends | None = None) -> Ends:
        """The smallest and the largest value."""

    def influence(self, odds_ratio: float, ends: Ends) -> Array:
        """By how much each row moves the ends, shape ``(2, rows)``."""

    def unseen(self, odds_ratio: float, repeats: Array, span: Ends) -> Array:
        """Standard errors of the ends that rows do not show, see `WeightBox.unseen`; ``(2,)``."""

    def counted(self, counts: Array) -> "Extremes":
        """The same, with each row as often as it was drawn."""


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

    def _maximum(self, odds_ratio: float, sign: int) -> JointMaximum:
        used = (self.fixed + self.free > 0) & (self.first + self.second > 0)
        first, second = (self.first, self.second) if sign > 0 else (self.second, self.first)
        fixed, free = self.fixed[used], self.free[used]
        least, most = fixed + free / odds_ratio, fixed + free * odds_ratio
        return largest_difference(self.y[used], first[used], second[used], least, most)

    def influence(self, odds_ratio: float, ends: Ends) -> Array:
        """By how much each row moves the ends."""
        if odds_ratio == 1 or self.is_disjoint:
            one, other = (part.ends(odds_ratio) for part in self.parts)
            first, second = self.parts
            return first.influence(odds_ratio, one) - second.influence(odds_ratio, other)[::-1]
        found = np.zeros((2, len(self.y)))
        used = (self.fixed + self.free > 0) & (self.first + self.second > 0)
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

    def reaching(self, value: float) -> float:
        """The smallest odds ratio at which a value is possible, for disjoint targets.

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


@dataclass(frozen=True, eq=False)
class Sum:
    """A weighted sum of extremes, each at its own worst weights, and of intervals that are fixed.

    Attributes:
        parts: What is summed.
        shares: What each counts, non-negative.
        rows: The rows of each part among all; None: each part has them all.
        num_rows: How many rows there are.
        constant: What is added to the ends.
    """

    parts: tuple[WeightBox, ...]
    shares: tuple[float, ...]
    rows: tuple[Codes, ...] | None
    num_rows: int
    constant: Ends = (0.0, 0.0)

    def overlap(self, repeats: Array) -> Overlap:
        """The effective sample size of the part where it is least of the rows."""
        rows: tuple[Any, ...] = self.rows or (slice(None),) * len(self.parts)
        found = [part.overlap(repeats[r]) for part, r in zip(self.parts, rows, strict=True)]
        return min(found, key=lambda each: each.share, default=Overlap(0.0, 0, 0))

    @property
    def in_order(self) -> "Sum":
        """The same, with all parts sorted."""
        parts = tuple(part.in_order for part in self.parts)
        return Sum(parts, self.shares, self.rows, self.num_rows, self.constant)

    def ends(self, odds_ratio: float, near: Ends | None = None) -> Ends:
        """The smallest and the largest sum."""
        low, high = self.constant
        for share, part in zip(self.shares, self.parts, strict=True):
            ends = part.ends(odds_ratio)
            low, high = low + share * ends[0], high + share * ends[1]
        return low, high

    def influence(self, odds_ratio: float, ends: Ends) -> Array:
        """By how much each row moves the ends."""
        found = np.zeros((2, self.num_rows))
        for number, (share, part) in enumerate(zip(self.shares, self.parts, strict=True)):
            place: Any = slice(None) if self.rows is None else self.rows[number]
            found[:, place] += share * part.influence(odds_ratio, part.ends(odds_ratio))
        return found

    def unseen(self, odds_ratio: float, repeats: Array, span: Ends) -> Array:
        """Standard errors of the ends that rows do not show, where no part shows any."""
        rows: tuple[Any, ...] = self.rows or (slice(None),) * len(self.parts)
        found = [
            share * part.unseen(odds_ratio, repeats[place], span)
            for share, part, place in zip(self.shares, self.parts, rows, strict=True)
            if share > 0
        ]
        # parts that vary tell of the others, which are alike by chance
        return np.zeros(2) if any(not each.any() for each in found) else sum(found, np.zeros(2))

    def counted(self, counts: Array) -> "Sum":
        """The same, with each row as often as it was drawn."""
        rows: tuple[Any, ...] = self.rows or (slice(None),) * len(self.parts)
        parts = tuple(
            part.counted(counts[place]) for part, place in zip(self.parts, rows, strict=True)
        )
        return Sum(parts, self.shares, self.rows, self.num_rows, self.constant)


def bounds_of(
    found: Extremes,
    query: str,
    method: str,
    odds_ratio: Any,
    *,
    num_rows: int,
    counts: Array | None = None,
    span: Ends = (0.0, 0.0),
    num_draws: int = 0,
    seed: int | None = None,
    groups: Sequence[Codes] | None = None,
    assumptions: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
    is_sharp: bool = False,
) -> Bounds:
    """Put an answer together.

    Args:
        found: The extremes.
        query: What was asked, in words.
        method: The method, in words.
        odds_ratio: One odds ratio, or several, which become an axis.
        num_rows: How many rows there are.
        counts: How often each counts: whole numbers are equal rows, others sampling weights.
        span: The smallest and the largest outcome, for rows whose outcomes are all alike.
        num_draws: How often to draw the rows anew; 0: errors by the influence of the rows.
        seed: Seed of these draws.
        groups: Rows that are drawn among themselves; None: all.
        assumptions: As in `Bounds`.
        notes: As in `Bounds`.
        is_sharp: As in `Bounds`.
    """
    ratios, is_one = read_odds_ratios(odds_ratio)
    if num_draws != 0 or num_draws is False:
        check_count("num_draws", num_draws, 20, 500)
    shape = () if is_one else (len(ratios),)
    prepared = found.in_order if len(ratios) >= _MANY else found
    ends = _ends(prepared, ratios)
    # 0 for rows that count as none; sampling weights are of one row each, whatever they are
    repeats = np.ones(num_rows) if counts is None or not are_whole(counts) else counts
    draws = error = None
    unseen = np.array([found.unseen(r, repeats, span) for r in ratios])
    if unseen.any():
        notes = (*notes, UNSEEN if np.isfinite(unseen).all() else UNKNOWN)
    if num_draws and not unseen.any():
        draws = _draws(found, ratios, ends, repeats, num_draws, seed, groups)
        draws = draws.reshape(num_draws, 2, *shape)
    elif np.isfinite(unseen).all():
        influences = [prepared.influence(r, tuple(e)) for r, e in zip(ratios, ends, strict=True)]
        each = 1 / np.maximum(repeats, 1.0)
        error = np.array([np.sqrt(np.einsum("er,er,r->e", i, i, each)) for i in influences])
        error = np.hypot(error, unseen).T.reshape(2, *shape)
    overlap = found.overlap(repeats)
    _warn_of(overlap)
    return Bounds(
        query,
        method + (f" at odds ratio {ratios[0]:g}" if is_one else ""),
        ends[:, 0].reshape(shape),
        ends[:, 1].reshape(shape),
        axes={} if is_one else {"odds_ratio": ratios},
        is_sharp=is_sharp,
        draws=draws,
        error=error,
        num_rows=int(repeats.sum()),
        assumptions=assumptions,
        notes=notes,
        diagnostics={"ess": overlap.ess},
    )


def _warn_of(overlap: Overlap) -> None:
    is_few = overlap.ess < min(_FEW, _POOR * overlap.num_rows)
    if is_few or overlap.ess < _POOR * overlap.num_used:
        warn_user(
            f"the effective sample size is {overlap.ess:.1f}, of {overlap.num_used:,} rows with a "
            f"weight and {overlap.num_rows:,} in all: few rows carry the mean, and its sampling "
            "error is not to be trusted; expected more overlap",
            OverlapWarning,
        )


def _ends(found: Extremes, ratios: Sequence[float], near: Array | None = None) -> Array:
    """Ends at each ratio, each search started from those before; shape ``(ratios, 2)``."""
    ends = np.empty((len(ratios), 2))
    last: Ends | None = None
    for place in np.argsort(ratios, kind="stable"):
        start = last if near is None else (float(near[place, 0]), float(near[place, 1]))
        last = found.ends(ratios[place], start)
        ends[place] = last
    return ends


def _draws(
    found: Extremes,
    ratios: Sequence[float],
    ends: Array,
    repeats: Array,
    num_draws: int,
    seed: int | None,
    groups: Sequence[Codes] | None,
) -> Array:
    """Ends for rows drawn anew; Zhao, Small and Bhattacharya (2019) show that quantiles serve."""
    rng = np.random.default_rng(checked_seed(seed))
    draws = np.empty((num_draws, len(ratios), 2))
    for number in range(num_draws):
        drawn = np.zeros(len(repeats))
        for rows in groups or [np.arange(len(repeats))]:
            drawn[rows] = _drawn(rng, repeats[rows])
        counted = found.counted(drawn / np.maximum(repeats, 1.0))
        draws[number] = _ends(counted, ratios, ends)
    return draws.transpose(0, 2, 1)


def _drawn(rng: np.random.Generator, repeats: Array) -> Array:
    """How often each row is drawn; the same draws as if equal rows were written out."""
    total = int(repeats.sum())
    if total > _MOST_DRAWN:
        return rng.multinomial(total, repeats / total).astype(float)
    drawn = rng.integers(total, size=total)
    if total == len(repeats) and repeats.all():
        return np.bincount(drawn, minlength=total).astype(float)
    places = np.searchsorted(np.cumsum(repeats), drawn, side="right")
    return np.bincount(places, minlength=len(repeats)).astype(float)
