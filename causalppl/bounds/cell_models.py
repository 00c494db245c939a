"""Tails of outcomes by frequencies, within cells of equal covariates."""

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.tail_models import Tail, TailModels, tail_outcome
from causalppl.exceptions import DataError

__all__ = ["CellModels"]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]

_BEYOND = 1  # rows beyond a quantile, at least, where it is taken without a row


@dataclass(frozen=True, eq=False)
class CellModels(TailModels):
    """Frequencies within cells of equal covariates: exact for the law of the rows.

    A quantile that is taken from the rows whose tail is then averaged makes that tail too thin, by
    much where a cell has few rows beyond it. `held_out_tail` leaves each row out of its own
    quantile: its mean is never too small on average, however poor that quantile.

    Attributes:
        arm: The arm of each row, from 0.
        weights: How often each row counts.
        cells: The cell of each row, from 0.
        chances: The chances of the arms, where they are known; shape ``(rows, arms)``.
        outcome_range: Where outcomes can be, for cells that lack an arm.
        counts: How many equal rows each row stands for; None: one.

    Raises:
        DataError: A cell lacks an arm that is asked about, and there is no range.
    """

    arm: Codes
    weights: Array
    cells: Codes
    chances: Array | None = None
    outcome_range: tuple[float, float] | None = None
    counts: Array | None = None

    @property
    def repeats(self) -> Array:
        """How many equal rows each row stands for."""
        return np.ones(len(self.arm)) if self.counts is None else self.counts

    @cached_property
    def num_cells(self) -> int:
        """How many cells there are."""
        return int(self.cells.max()) + 1

    def chance(self, arm: int) -> Array:
        """The share of an arm in each row's cell."""
        if self.chances is not None:
            return np.asarray(self.chances[:, arm])
        inside = self._sum(self.weights * (self.arm == arm))
        return np.asarray((inside / self._sum(self.weights))[self.cells])

    def tail(self, y: Array, arm: int, odds_ratio: float, sign: int) -> Tail:
        """The weighted quantile in each cell, and the mean beyond it."""
        weights = self.weights * (self.arm == arm)
        mass = self._sum(weights)
        level = odds_ratio / (1 + odds_ratio)
        rows = self._in_order(y, arm)
        quantile = self._quantile(y, rows, mass, level if sign > 0 else 1 - level)
        found = quantile[self.cells]
        return Tail(found, self._means(y, arm, found, odds_ratio, sign))

    def _means(self, y: Array, arm: int, quantile: Array, odds_ratio: float, sign: int) -> Array:
        """The reweighed mean of each row's cell; without rows of the arm the end of the range."""
        weights = self.weights * (self.arm == arm)
        mass = self._sum(weights)
        shown = tail_outcome(y, quantile, odds_ratio, sign)
        means = self._sum(weights * shown) / np.where(mass > 0, mass, 1.0)
        if (mass == 0).any():
            means = np.where(mass > 0, means, self._end(mass, sign))
        return means[self.cells]

    def held_out_tail(self, y: Array, arm: int, odds_ratio: float, sign: int) -> Tail:
        """Each row's quantile from the others of its cell, and the mean beyond these.

        At least one of the other rows is left beyond a quantile, whatever the level: else the
        sampling error of the tail could not be told. A row that is alone has the end of the range.
        """
        rows = self._in_order(y, arm)
        quantile = np.zeros(len(y))
        quantile[rows] = self._others_quantile(y, rows, odds_ratio, sign)
        return Tail(quantile, self._means(y, arm, quantile, odds_ratio, sign))

    def rows_beyond(self, arm: int, odds_ratio: float) -> float:
        """How many rows an arm has beyond the quantile, in the cell where they are fewest."""
        own = (self.arm == arm) & (self.weights > 0)
        held = self._sum(self.repeats * own)
        return float(held[held > 0].min(initial=np.inf)) / (1 + odds_ratio)

    def _others_quantile(self, y: Array, rows: Codes, odds_ratio: float, sign: int) -> Array:
        """The quantile in each row's cell without one of the equal rows that it stands for."""
        cells, unit = self.cells[rows], (self.weights / self.repeats)[rows]
        below = np.cumsum(self.weights[rows])
        first = np.searchsorted(cells, cells, side="left")
        last = np.searchsorted(cells, cells, side="right") - 1
        before = np.append(0.0, below)[first]
        mass = below[last] - before
        held = np.bincount(cells, self.repeats[rows], self.num_cells)[cells]
        beyond = np.maximum(
            1 / (1 + odds_ratio), np.minimum(_BEYOND / np.maximum(held - 1, 1), 0.5)
        )
        level = 1 - beyond if sign > 0 else beyond
        slack = 1e-12 * mass

        def reached(target: Array) -> Codes:
            found = np.searchsorted(below, before + target - slack, side="left")
            return np.clip(found, first, last)

        without = level * (mass - unit)
        place, after = reached(without), reached(without + unit)
        quantile = y[rows[np.where(place < np.arange(len(rows)), place, after)]]
        return np.where(held > 1, quantile, self.span(y)[1 if sign > 0 else 0])

    def span(self, y: Array) -> tuple[float, float]:
        """Where outcomes can be; as seen, if it is not known."""
        return self.outcome_range or super().span(y)

    def _end(self, mass: Array, sign: int) -> float:
        if self.outcome_range is None:
            raise DataError(
                f"{int((mass == 0).sum())} of {len(mass)} cells of equal covariates have no rows "
                "in an arm; expected both arms in each, outcome_range=(smallest, largest), or "
                "coarser covariates"
            )
        return self.outcome_range[1 if sign > 0 else 0]

    def _sum(self, values: Array) -> Array:
        return np.asarray(np.bincount(self.cells, values, self.num_cells), dtype=float)

    def _in_order(self, y: Array, arm: int) -> Codes:
        """The rows of an arm by cell and outcome; sorted once for all odds ratios and both ends."""
        key = (arm, id(y))
        if key not in self._orders:
            rows = np.flatnonzero((self.arm == arm) & (self.weights > 0))
            self._orders[key] = (y, rows[np.lexsort((y[rows], self.cells[rows]))])
        return self._orders[key][1]

    @cached_property
    def _orders(self) -> dict[tuple[int, int], tuple[Array, Codes]]:
        return {}  # outcomes are kept with their order, so that no other array takes their id

    def _quantile(self, y: Array, rows: Codes, mass: Array, level: float) -> Array:
        cells = self.cells[rows]
        below = np.cumsum(self.weights[rows])
        before = np.append(0.0, np.cumsum(mass))[cells]
        reached = below - before >= level * mass[cells] - 1e-12 * mass[cells]
        reached |= np.append(cells[1:] != cells[:-1], True)  # the last of a cell, whatever rounding
        first = np.unique(cells[reached], return_index=True)
        found = np.zeros(self.num_cells)
        found[first[0]] = y[rows[reached][first[1]]]
        return found
