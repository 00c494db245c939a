"""The largest difference of two weighted means that share their unknown weights.

Each mean is a ratio of sums that are linear in the weights, and the weights lie in a box. The
difference of two ratios is no linear-fractional program, its maximum may lie inside an edge of the
box, and there may be several local ones. Hold the second mean to at most ``t``: then the first has
a largest value ``F(t)``, whose dual is a search over one multiplier ``m``, and the answer is the
largest ``F(t) - t``. An interval of ``t`` is bounded by its ends in two ways, both with an error
that falls with the square of its length:

- one multiplier for both ends: for a fixed one the dual is convex in ``t``;
- each end its own: along the line between them the dual's terms are quadratic in ``t``, and exceed
  their chord by at most ``(m_a - m_b) (b - a) / 4`` times the second mass, where that is positive.

Intervals are cut until the gap is closed (branch and bound). In a short one the side of most rows
is known, and these are added up once; of many rows a sample says first where to cut. Of very few
rows all edges of the box are looked at.
"""

import heapq
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.corner_sums import CornerSums, Lagrangian, Region
from causalppl.bounds.edge_maximum import edge_maximum, share_of_edge

__all__ = ["JointMaximum", "largest_difference"]

Array: TypeAlias = NDArray[np.float64]
_MOST_STEPS = 100
_MOST_CUTS = 60
_MOST_PARTS = 3_000
_LARGEST = 1e9  # multiplier, of the one at the start
_TOLERANCE = 1e-11  # of the spread of outcomes
_FEW = 1_000  # open rows, for which a second bound is cheap
_FEWEST = 12  # rows, up to which all edges of the box are looked at
_SAMPLE = 4_000  # rows that are looked at first, to know where to look
_MANY = 10 * _SAMPLE  # rows, from which that pays
_CLIMB = 3  # steps from where the sample has its maximum
_COARSE = 1e-3  # tolerance for the sample


class JointMaximum(NamedTuple):
    """What was found.

    Attributes:
        value: The largest difference; understated by 1e-11 of the spread of outcomes at most.
        gap: By how much it may be overstated.
        first: The first mean there, and ``second`` the other.
        weights: Weights that give a difference within the gap, shape ``(rows,)``.
    """

    value: float
    gap: float
    first: float
    second: float
    weights: Array


class _Point(NamedTuple):
    """Sums under some weights, of the first target, then of the second; and how to weigh.

    Rows above the plane weigh most; or the weights lie between those of two planes.
    """

    sums: Array  # first_y, first, second_y, second
    plane: Array
    other: Array
    share: float = 0.0

    @property
    def means(self) -> tuple[float, float]:
        return float(self.sums[0] / self.sums[1]), float(self.sums[2] / self.sums[3])

    @property
    def value(self) -> float:
        first, second = self.means
        return first - second

    @property
    def lagrangian(self) -> Lagrangian:
        """The plane that the weights would be a corner of, were they the best."""
        first, second = self.means
        return Lagrangian(second, float(self.sums[1] / self.sums[3]), first)


def largest_difference(
    y: Array,
    first: Array,
    second: Array,
    least: Array,
    most: Array,
    *,
    floor: float = -np.inf,
) -> JointMaximum:
    """Maximise the difference of two weighted means over a box of weights.

    Args:
        y: Outcomes, shape ``(rows,)``.
        first: The share of each row in the first mean, non-negative.
        second: Its share in the second.
        least: The smallest weight of each row, positive.
        most: The largest.
        floor: A value; the search then ends as soon as it is known whether some are above it.

    Returns:
        The maximum.

    Example:
        >>> one = np.ones(2)
        >>> found = largest_difference(
        ...     np.array([0.0, 1.0]), one, np.array([1.0, 0.0]), one, 3 * one)
        >>> round(found.value, 12)
        0.75
    """
    centre = float(first @ y / first.sum())  # so that sums are exact where outcomes are far from 0
    columns = (y - centre, first, second, least, most)
    if len(y) <= _FEWEST:
        rows = np.stack([first * columns[0], first, second * columns[0], second])
        one, other, weights = edge_maximum(rows, least, most)
        return JointMaximum(one - other, 0.0, one + centre, other + centre, weights)
    known: dict[float, _Cut] = {}
    if len(y) >= _MANY and floor == -np.inf:
        every = len(y) // _SAMPLE
        if first[::every].any() and second[::every].any():
            sample = _Search(*(column[::every] for column in columns))
            sample.tolerance *= _COARSE / _TOLERANCE
            sample.run()
            known = sample.at
    found = _Search(*columns, guesses=known, floor=floor).run()
    return found._replace(first=found.first + centre, second=found.second + centre)


class _Cut(NamedTuple):
    """A tangent of the bound in the multiplier: its value and slope there, and who attains it."""

    value: float
    slope: float
    at: Lagrangian
    point: _Point
    slack: float = 0.0


@dataclass
class _Search:
    y: Array
    first: Array
    second: Array
    least: Array
    most: Array
    guesses: dict[float, "_Cut"] = field(default_factory=dict, kw_only=True)
    floor: float = field(default=-np.inf, kw_only=True)

    def __post_init__(self) -> None:
        rows = np.stack([self.first * self.y, self.first, self.second * self.y, self.second])
        self._gain = self.most - self.least
        self._rows = CornerSums(rows, self._gain, rows @ self.least)
        self.tolerance = _TOLERANCE * max(float(np.ptp(self.y)), 1e-300)
        self.best = self._corner(np.array([0.0, 1.0, 0.0, 1.0]))
        self._masses = float(self._rows.base[1]), float(self.best.sums[1])
        # what a multiplier moves the bound by: the largest second mass over the least first
        self.most_mass = float(self.best.sums[3]) / self._masses[0]
        self.at: dict[float, _Cut] = {}

    @property
    def _settled(self) -> float:
        """What a bound need not be told from."""
        return max(self.best.value, self.floor)

    @property
    def _open_from(self) -> float:
        """Parts whose bound is no higher are closed."""
        return max(self.best.value + self.tolerance, self.floor)

    def run(self) -> JointMaximum:
        low, high = self._range_of_second()
        self._climb()
        heap: list[tuple[float, float, float, CornerSums]] = []
        for a, b in pairwise([low, *(t for t in sorted(self.guesses) if low < t < high), high]):
            self._push(heap, a, b, np.inf, self._rows)
        closed = -np.inf  # the largest bound of parts too short to be cut
        for _ in range(_MOST_PARTS):
            if not heap or -heap[0][0] <= self._open_from or self.best.value > self.floor > -np.inf:
                break
            bound, left, right, rows = heapq.heappop(heap)
            if right - left <= 1e-15 * (abs(left) + abs(right)):
                closed = max(closed, -bound)
                continue
            for a, b in self._split(left, right):
                self._push(heap, a, b, -bound, rows)
        bound = max([self.best.value, closed, *(-part[0] for part in heap[:1])])
        first, second = self.best.means
        return JointMaximum(bound, bound - self.best.value, first, second, self._weights())

    def _push(
        self,
        heap: list[tuple[float, float, float, CornerSums]],
        a: float,
        b: float,
        at_most: float,
        rows: CornerSums,
    ) -> None:
        gap = min(at_most - self.best.value, b - a)
        slack = max(0.1 * self.tolerance, 0.01 * gap)
        left, right = (self._lowest(t, rows, slack) for t in (a, b))
        bound = min(self._by_chord(left, right), at_most)
        if bound <= self._open_from:
            return
        rows = rows.within(Region.around(left.at, right.at))
        if len(self.y) <= _FEW:
            bound = min(self._minimise((left.at, right.at), rows, 1.5, slack).value, bound)
        if bound > self._open_from:
            heapq.heappush(heap, (-bound, a, b, rows))

    def _lowest(self, t: float, rows: CornerSums, slack: float) -> _Cut:
        """The bound where the second mean is held to a value, as low as the slack asks for."""
        if t not in self.at or self.at[t].slack > slack:
            start, step = self._start(t)
            self.at[t] = self._minimise((start,), rows, step, slack)
        return self.at[t]

    def _start(self, t: float) -> tuple[Lagrangian, float]:
        """Where to look for the multiplier, and in what steps."""
        if t in self.at:
            return self.at[t].at, 1.01
        known = self.at if len(self.at) > 2 else self.guesses
        if not known:
            return self.best.lagrangian._replace(held=t), 8.0
        places = np.array(sorted(known))
        near = [known[place].at for place in places.tolist()]
        m = np.interp(t, places, [each.multiplier for each in near])
        goal = np.interp(t, places, [each.goal for each in near])
        return Lagrangian(t, float(m), float(goal)), 1.1

    def _by_chord(self, left: _Cut, right: _Cut) -> float:
        """Bound the difference where the second mean lies between two values: a multiplier each."""
        gap = max(left.at.multiplier - right.at.multiplier, 0.0)
        length = right.at.held - left.at.held
        return max(left.value, right.value) + gap * length / 4 * self.most_mass

    def _split(self, left: float, right: float) -> list[tuple[float, float]]:
        """Cut near the best point known, so that what is far from it is closed at once."""
        width = right - left
        at = self.best.means[1]
        if left + 0.1 * width < at < right - 0.1 * width:
            cut = at
        else:
            cut = left + 0.25 * width if at <= left + 0.5 * width else right - 0.25 * width
        return [(left, cut), (cut, right)]

    def _range_of_second(self) -> tuple[float, float]:
        ends = []
        for sign, guess in zip((-1.0, 1.0), self._guessed_range(), strict=True):
            point, mean = self.best, guess
            for _ in range(_MOST_STEPS):
                moved = self._corner(np.array([0.0, 0.0, sign, -sign * mean]))
                if sign * (moved.means[1] - point.means[1]) <= 0:
                    break
                point, mean = moved, moved.means[1]
            self._keep(point)
            ends.append(point.means[1])
        return ends[0], ends[1]

    def _guessed_range(self) -> tuple[float, float]:
        mean = self.best.means[1]
        return min(self.guesses, default=mean), max(self.guesses, default=mean)

    def _climb(self) -> None:
        """Start where a sample has its maximum, and take the best corner nearby."""
        if not self.guesses:
            return
        at = max(self.guesses.values(), key=lambda cut: cut.point.value).point.lagrangian
        for _ in range(_CLIMB):
            self._keep(self._corner(at.plane))
            at = self.best.lagrangian

    def _minimise(
        self,
        starts: tuple[Lagrangian, ...],
        rows: CornerSums,
        step: float,
        slack: float,
    ) -> _Cut:
        """An upper bound of the difference where the second mean lies at or between values.

        The largest of convex functions of the multiplier, minimised by tangents; any multiplier
        gives a valid bound.
        """
        scale = self.best.lagrangian.multiplier
        near = list(starts)
        m = max(sum(at.multiplier for at in starts) / len(starts), scale / _LARGEST)
        left = right = lowest = None
        for number in range(_MOST_CUTS):
            cuts = [self._dual(at._replace(multiplier=m), rows, slack) for at in near]
            near = [each.at for each in cuts]
            cut = max(cuts, key=lambda found: found.value)
            lowest = cut if lowest is None or cut.value < lowest.value else lowest
            if cut.slope < 0:
                left = cut
            else:
                right = cut
            if cut.slope == 0 or m == 0 or m >= _LARGEST * scale or cut.value <= self._settled:
                break
            if left is not None and right is not None:
                self._mix(left.point, right.point)
                m, below = _meet(left, right, is_smooth=number % 2 == 1)
                if lowest.value - below <= slack or not (
                    left.at.multiplier < m < right.at.multiplier
                ):
                    break
            else:
                m = m * step if right is None else m / step if m > scale / _LARGEST else 0.0
                step = min(step**3, 8.0)
        assert lowest is not None
        # a part that ends below the best is closed, or cut on its other side
        return lowest._replace(slack=0.0 if lowest.value <= self._settled else slack)

    def _dual(self, at: Lagrangian, rows: CornerSums, slack: float) -> _Cut:
        """The largest ``first mean - m (second_y - t second) / first - t`` over the box."""
        t, m, goal = at
        for _ in range(_MOST_STEPS):
            at = Lagrangian(t, m, goal)
            sums = rows.at(at)
            reached = float((sums[0] - m * (sums[2] - t * sums[3])) / sums[1])
            mass = self._masses[0] if reached > goal else self._masses[1]
            above = goal + (reached - goal) * float(sums[1]) / mass
            if above - reached <= 0.1 * slack or max(above, reached) - t <= self._settled:
                break
            goal = reached
        plane = at.plane
        point = _Point(sums, plane, plane)
        self._keep(point)
        slope = -float((sums[2] - t * sums[3]) / sums[1])
        return _Cut(max(above, reached) - t, slope, Lagrangian(t, m, reached), point)

    def _corner(self, plane: Array) -> _Point:
        return _Point(self._rows.above(plane), plane, plane)

    def _keep(self, point: _Point) -> None:
        if point.value > self.best.value:
            self.best = point

    def _mix(self, one: _Point, other: _Point) -> None:
        """Keep the best point between two: the derivative is zero where a linear equation says."""
        p, d = one.sums, other.sums - one.sums
        share = float(share_of_edge(p, d))
        if share:
            self._keep(_Point(p + share * d, one.plane, other.plane, share))

    def _weights(self) -> Array:
        one, other = (plane @ self._rows.rows > 0 for plane in (self.best.plane, self.best.other))
        share = self.best.share
        return np.asarray(self.least + self._gain * ((1 - share) * one + share * other))


def _meet(left: _Cut, right: _Cut, *, is_smooth: bool) -> tuple[float, float]:
    """Where two tangents meet, and how high; or where the slope is zero, if it is about linear.

    Kept off the ends, so that the bracket shrinks.
    """
    gap = right.at.multiplier - left.at.multiplier
    at = (right.value - left.value - right.slope * gap) / (left.slope - right.slope)
    value = left.value + left.slope * at
    if is_smooth:
        at = gap * left.slope / (left.slope - right.slope)
    at = min(max(at, 1e-3 * gap), (1 - 1e-3) * gap)
    return left.at.multiplier + at, float(value)
