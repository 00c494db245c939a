"""Sums over rows that weigh most on one side of a plane, and least on the other.

A search that only turns the plane a little leaves most rows on their side. They are added up once;
what is left are few rows, and a sum takes time that grows with these alone.
"""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["CornerSums", "Lagrangian", "Region"]

Array: TypeAlias = NDArray[np.float64]
_FEW = 500  # rows, for which reducing costs more than it saves


class Lagrangian(NamedTuple):
    """The plane ``first (y - goal) - multiplier second (y - held)`` over rows.

    Attributes:
        held: What the second mean is held to.
        multiplier: What an excess of it costs, from 0.
        goal: What the first mean, less that cost, is to reach.
    """

    held: float
    multiplier: float
    goal: float

    @property
    def plane(self) -> Array:
        """Its coefficients."""
        m = self.multiplier
        return np.array([1.0, -self.goal, -m, m * self.held])


class Region(NamedTuple):
    """Lagrangians with each number in a range."""

    least: Lagrangian
    most: Lagrangian

    @classmethod
    def around(cls, one: Lagrangian, other: Lagrangian, share: float = 0.5) -> "Region":
        """Those between two, and further by a share of their distance."""
        low = Lagrangian(*map(min, one, other))
        high = Lagrangian(*map(max, one, other))
        held = share * (high.held - low.held)
        more = [share * (b - a) + 0.1 * held for a, b in zip(low, high, strict=True)]
        return cls(
            Lagrangian(low.held, max(low.multiplier - more[1], 0.0), low.goal - more[2]),
            Lagrangian(high.held, high.multiplier + more[1], high.goal + more[2]),
        )

    def holds(self, at: Lagrangian) -> bool:
        """Whether one is among them."""
        return all(a <= x <= b for a, x, b in zip(self.least, at, self.most, strict=True))


@dataclass(frozen=True, eq=False)
class CornerSums:
    """Rows whose side is open, and sums of those whose side is known.

    Attributes:
        rows: Shape ``(4, rows)``: ``first y``, ``first``, ``second y``, ``second``.
        gain: How much more a row weighs at most than at least.
        base: Sums of what is known, shape ``(4,)``.
        region: For which Lagrangians; None: for any plane.
        whole: What it was reduced from.

    Example:
        >>> rows = np.array([[0.0, 3.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
        >>> whole = CornerSums(rows, np.ones(2), np.zeros(4))
        >>> whole.at(Lagrangian(0.0, 0.0, 1.0))
        array([3., 1., 0., 0.])
    """

    rows: Array
    gain: Array
    base: Array
    region: Region | None = None
    whole: "CornerSums | None" = None

    def above(self, plane: Array) -> Array:
        """Sums where rows above a plane weigh most."""
        return np.asarray(self.base + self.rows @ (self.gain * (plane @ self.rows > 0)))

    def at(self, lagrangian: Lagrangian) -> Array:
        """Sums where rows with a positive Lagrangian weigh most."""
        found = self
        while found.whole is not None and not _holds(found.region, lagrangian):
            found = found.whole
        return found.above(lagrangian.plane)

    def within(self, region: Region) -> "CornerSums":
        """The same sums for a region, from as few rows as are open there."""
        found = self
        while found.whole is not None and not (
            _holds(found.region, region.least) and _holds(found.region, region.most)
        ):
            found = found.whole
        if len(found.gain) <= _FEW:
            return found
        is_above, is_open = found._sides(region)
        if np.count_nonzero(is_open) > 0.8 * len(is_open):
            return found
        base = found.base + found.rows @ (found.gain * is_above)
        return CornerSums(found.rows[:, is_open], found.gain[is_open], base, region, found)

    def _sides(self, region: Region) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which rows are above all planes of a region, and which above some only."""
        low, high = region
        first_y, first, second_y, second = self.rows
        away = second_y - low.held * second
        least = first_y - high.goal * first
        least -= np.maximum(low.multiplier * away, high.multiplier * away)
        away = second_y - high.held * second
        most = first_y - low.goal * first
        most -= np.minimum(low.multiplier * away, high.multiplier * away)
        is_above = least > 0
        return is_above, (most > 0) & ~is_above


def _holds(region: Region | None, at: Lagrangian) -> bool:
    return region is None or region.holds(at)
