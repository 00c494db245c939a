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

Intervals are cut until the gap is closed (branch and bound).
"""

import heapq
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["JointMaximum", "largest_difference"]

Array: TypeAlias = NDArray[np.float64]
_MOST_STEPS = 100
_MOST_CUTS = 60
_MOST_PARTS = 3_000
_LARGEST = 1e9  # multiplier, of the one at the start
_TOLERANCE = 1e-11  # of the spread of outcomes


class JointMaximum(NamedTuple):
    """What was found.

    Attributes:
        value: The largest difference; never understated.
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
    """Sums under some weights: of the first target, then of the second; and the weights."""

    sums: Array  # first_y, first, second_y, second
    weights: Array

    @property
    def means(self) -> tuple[float, float]:
        return float(self.sums[0] / self.sums[1]), float(self.sums[2] / self.sums[3])

    @property
    def value(self) -> float:
        first, second = self.means
        return first - second


def largest_difference(
    y: Array, first: Array, second: Array, least: Array, most: Array
) -> JointMaximum:
    """Maximise the difference of two weighted means over a box of weights.

    Args:
        y: Outcomes, shape ``(rows,)``.
        first: The share of each row in the first mean, non-negative.
        second: Its share in the second.
        least: The smallest weight of each row, positive.
        most: The largest.

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
    found = _Search(y - centre, first, second, least, most).run()
    return found._replace(first=found.first + centre, second=found.second + centre)


@dataclass
class _Search:
    y: Array
    first: Array
    second: Array
    least: Array
    most: Array

    def __post_init__(self) -> None:
        rows = np.stack([self.first * self.y, self.first, self.second * self.y, self.second])
        self._rows = rows
        self._floor = rows @ self.least
        self._gain = self.most - self.least
        self._gains = rows * self._gain
        self.tolerance = _TOLERANCE * max(float(np.ptp(self.y)), 1e-300)
        self.best = self._point(self._gain > 0)
        # what a multiplier moves the bound by: the largest second mass over the least first
        self.most_mass = float(self.second @ self.most) / float(self.first @ self.least)
        self.at: dict[float, tuple[float, float]] = {}

    def run(self) -> JointMaximum:
        low, high = self._range_of_second()
        heap: list[tuple[float, float, float]] = []
        self._push(heap, low, high, np.inf)
        closed = -np.inf  # the largest bound of parts too short to be cut
        for _ in range(_MOST_PARTS):
            if not heap or -heap[0][0] <= self.best.value + self.tolerance:
                break
            bound, left, right = heapq.heappop(heap)
            if right - left <= 1e-15 * (abs(left) + abs(right)):
                closed = max(closed, -bound)
                continue
            for a, b in self._split(left, right):
                self._push(heap, a, b, -bound)
        bound = max([self.best.value, closed, *(-part[0] for part in heap[:1])])
        first, second = self.best.means
        return JointMaximum(bound, bound - self.best.value, first, second, self.best.weights)

    def _push(
        self, heap: list[tuple[float, float, float]], a: float, b: float, at_most: float
    ) -> None:
        bound = min(self._by_chord(a, b), at_most)
        if bound > self.best.value + self.tolerance:
            bound = min(self._minimise((a, b))[0], bound)
        if bound > self.best.value + self.tolerance:
            heapq.heappush(heap, (-bound, a, b))

    def _by_chord(self, a: float, b: float) -> float:
        """Bound the difference where the second mean lies between two values: a multiplier each."""
        for t in (a, b):
            if t not in self.at:
                self.at[t] = self._minimise((t,))
        (left, m_left), (right, m_right) = self.at[a], self.at[b]
        return max(left, right) + max(m_left - m_right, 0.0) * (b - a) / 4 * self.most_mass

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
        for sign in (-1.0, 1.0):
            point = self.best
            for _ in range(_MOST_STEPS):
                mean = point.means[1]
                moved = self._point(sign * self.second * (self.y - mean) > 0)
                if sign * (moved.means[1] - mean) <= 0:
                    break
                point = moved
            self._keep(point)
            ends.append(point.means[1])
        return ends[0], ends[1]

    def _minimise(self, ends: tuple[float, ...]) -> tuple[float, float]:
        """An upper bound of the difference where the second mean lies at or between values.

        The largest of convex functions of the multiplier, minimised by tangents.

        Returns:
            The bound, and the multiplier that gives it; any multiplier gives a valid bound.
        """
        start = float(self.best.sums[1] / self.best.sums[3])
        left: _Cut | None = None
        right: _Cut | None = None
        lowest, m = (np.inf, start), start
        for _ in range(_MOST_CUTS):
            cut = max((self._dual(t, m) for t in ends), key=lambda found: found.value)
            lowest = min(lowest, (cut.value, m))
            if cut.slope < 0:
                left = cut
            else:
                right = cut
            if cut.slope == 0 or m == 0 or m >= _LARGEST * start:
                break
            if left is not None and right is not None:
                self._mix(left.point, right.point)
                m, below = _meet(left, right)
                if lowest[0] - below <= 0.1 * self.tolerance or not (
                    left.multiplier < m < right.multiplier
                ):
                    break
            elif left is None:
                m = m / 8 if m > start / _LARGEST else 0.0
            else:
                m = 8 * m
        return lowest

    def _dual(self, t: float, m: float) -> "_Cut":
        """The largest ``first mean - m (second_y - t second) / first - t`` over the box."""
        away = m * self.second * (self.y - t)
        goal, point = -np.inf, self.best
        for _ in range(_MOST_STEPS):
            sums = point.sums
            reached = float((sums[0] - m * (sums[2] - t * sums[3])) / sums[1])
            if reached <= goal:
                break
            goal = reached
            point = self._point(self.first * (self.y - goal) > away)
        slope = -float((point.sums[2] - t * point.sums[3]) / point.sums[1])
        self._keep(point)
        return _Cut(goal - t, slope, m, point)

    def _point(self, high: NDArray[np.bool_]) -> _Point:
        shown = high.astype(float)
        return _Point(self._floor + self._gains @ shown, self.least + self._gain * shown)

    def _keep(self, point: _Point) -> None:
        if point.value > self.best.value:
            self.best = point

    def _mix(self, one: _Point, other: _Point) -> None:
        """Keep the best point between two: the derivative is zero where a linear equation says."""
        p, d = one.sums, other.sums - one.sums
        first = d[0] * p[1] - p[0] * d[1]
        second = d[2] * p[3] - p[2] * d[3]
        if first * second <= 0:
            return
        ratio = np.sqrt(second / first)  # second mass / first mass there
        slope = d[3] - ratio * d[1]
        share = (ratio * p[1] - p[3]) / slope if slope else -1.0
        if 0 < share < 1:
            weights = one.weights + share * (other.weights - one.weights)
            self._keep(_Point(p + share * d, weights))


class _Cut(NamedTuple):
    """A tangent of the bound: its value and slope at a multiplier, and who attains it."""

    value: float
    slope: float
    multiplier: float
    point: _Point


def _meet(left: _Cut, right: _Cut) -> tuple[float, float]:
    """Where two tangents meet, and how high; kept off the ends, so that the bracket shrinks."""
    gap = right.multiplier - left.multiplier
    at = (right.value - left.value - right.slope * gap) / (left.slope - right.slope)
    value = left.value + left.slope * at
    at = min(max(at, 1e-3 * gap), (1 - 1e-3) * gap)
    return left.multiplier + at, float(value)
