"""Quantiles of the averages of two differences (each with itself too), of many differences."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["walsh_quantiles"]

Array: TypeAlias = NDArray[np.float64]
_FEW = 1_000  # different values, up to which all averages are written out
_MOST_LISTED = 2_000_000  # averages that are sorted
_USUAL = 6  # steps in which the range should become short enough, unless many are tied


class _Cut(NamedTuple):
    """A value; for each place of the order its partners above it in the order; their number."""

    value: float
    ends: NDArray[np.int64]
    total: int


def walsh_quantiles(differences: Array, shares: Sequence[float]) -> list[float]:
    """The values with given shares of the averages of two differences below them.

    Where a share falls between two averages, their midpoint.

    Example:
        >>> walsh_quantiles(np.array([1.0, 2.0, 4.0]), [0.5])
        [2.25]
    """
    averages = _Averages(np.sort(differences))
    return [averages.quantile(share) for share in shares]


@dataclass(frozen=True, eq=False)
class _Averages:
    ordered: Array

    def quantile(self, share: float) -> float:
        n = len(self.ordered)
        wanted = share * n * (n + 1) / 2
        place = round(wanted)
        if abs(wanted - place) > 1e-9 * max(wanted, 1):
            return self.at(int(np.floor(wanted)))
        low = self.at(max(place - 1, 0))
        return (low + self.at(min(place, n * (n + 1) // 2 - 1))) / 2

    def at(self, place: int) -> float:
        """The average at a place of the order, from 0."""
        if len(self._distinct[0]) > _FEW:
            return self._search(place)
        values, below = self._listed
        return float(values[np.searchsorted(below, place, side="right")])

    @cached_property
    def _distinct(self) -> tuple[Array, NDArray[np.int64]]:
        """Different values, and how often each occurs."""
        return np.unique(self.ordered, return_counts=True)

    @cached_property
    def _listed(self) -> tuple[Array, NDArray[np.int64]]:
        """All averages of different values in order, and how many there are up to each."""
        values, counts = self._distinct
        i, j = np.triu_indices(len(values))
        number = np.where(i == j, counts[i] * (counts[i] + 1) // 2, counts[i] * counts[j])
        averages = (values[i] + values[j]) / 2
        order = np.argsort(averages)
        return averages[order], np.cumsum(number[order])

    def _search(self, place: int) -> float:
        """Narrow the range, as if averages were spread evenly in it, until few are left."""
        low, high = self._start(place)
        for step in range(1, 1_000):
            if high.total - low.total <= _MOST_LISTED:
                break
            if step > _USUAL and step % 3 == 0:
                high = self._cut(self._largest_below(high))
                under = self._cut(float(np.nextafter(high.value, -np.inf)))
                if under.total <= place:
                    return high.value
                high = under
                continue
            share = (place + 0.5 - low.total) / (high.total - low.total)
            # aim past the place, in turns on each side, so that both ends come near
            share += (0.01 if step % 2 else -0.01) * min(share, 1 - share)
            share = 0.5 if step > _USUAL and step % 3 == 1 else share
            middle = low.value + share * (high.value - low.value)
            if not low.value < middle < high.value:
                return high.value
            cut = self._cut(middle)
            low, high = (low, cut) if cut.total > place else (cut, high)
        listed = self._between(low, high)
        return float(np.partition(listed, place - low.total)[place - low.total])

    def _start(self, place: int) -> tuple[_Cut, _Cut]:
        """A range that holds the average: about where it is among some of the differences."""
        n = len(self.ordered)
        some = _Averages(self.ordered[np.linspace(0, n - 1, _FEW).round().astype(np.int64)])
        values, below = some._listed
        total = int(below[-1])
        near = place / (n * (n + 1) / 2) * total
        reach = 2 * _FEW
        low = self._cut(float(np.nextafter(self.ordered[0], -np.inf)))
        high = self._cut(float(self.ordered[-1]))
        for at in (near - reach, near + reach):
            if 0 <= at < total:
                cut = self._cut(float(values[np.searchsorted(below, at, side="right")]))
                low, high = (low, cut) if cut.total > place else (cut, high)
        return low, high

    def _cut(self, value: float) -> _Cut:
        """Count the averages up to a value."""
        ordered = self.ordered
        first = ordered[: int(np.searchsorted(ordered, value, side="right"))]
        ends = np.searchsorted(ordered, 2 * value - first, side="right")
        ends = np.maximum(ends, np.arange(len(first)))
        return _Cut(value, ends, int((ends - np.arange(len(first))).sum()))

    def _largest_below(self, cut: _Cut) -> float:
        """The largest average up to a value."""
        places = np.flatnonzero(cut.ends > np.arange(len(cut.ends)))
        return float(((self.ordered[places] + self.ordered[cut.ends[places] - 1]) / 2).max())

    def _between(self, low: _Cut, high: _Cut) -> Array:
        """All averages above a value, up to another."""
        starts = np.arange(len(high.ends))
        starts[: len(low.ends)] = low.ends
        sizes = np.maximum(high.ends - starts, 0)
        one = np.repeat(np.arange(len(sizes)), sizes)
        skipped = np.repeat(np.cumsum(sizes) - sizes, sizes)
        other = np.arange(len(one)) - skipped + starts[one]
        return np.asarray((self.ordered[one] + self.ordered[other]) / 2)
