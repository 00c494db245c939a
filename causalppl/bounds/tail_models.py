"""Tail means of an outcome given covariates: what the worst hidden cause does within each stratum.

Given covariates, a hidden cause that changes odds by at most ``L`` can reweigh the outcomes of an
arm by ``r`` between ``1 / L`` and ``L``, with mean 1: covariates fix how many units there are. The
largest reweighed mean puts ``L`` on the upper tail of probability ``1 / (1 + L)``.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.estimation.nuisance import Fitted, choose_learner, warn_of_trouble
from causalppl.estimation.nuisance import one_thread as _one_thread
from causalppl.exceptions import DataError

__all__ = ["CellModels", "LearnedModels", "Learners", "Tail", "TailModels", "tail_outcome"]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]

_BEYOND = 1  # rows beyond a quantile, at least, where it is taken without a row
_FEW = 2_000  # rows, up to which a linear program fits the quantiles


class Tail(NamedTuple):
    """For each row, given its covariates: a quantile of the outcome, and the reweighed mean."""

    quantile: Array
    mean: Array


@dataclass(frozen=True)
class Learners:
    """How tails are learned where covariates have many values.

    Attributes:
        quantile: A quantile regression of scikit-learn (with a parameter ``quantile``, or
            ``alpha`` for ``GradientBoostingRegressor(loss="quantile")``); None: linear up to 2,000
            rows, boosted trees beyond. A poor one makes bounds wider, not invalid.
        outcome: A regressor for the reweighed mean (a classifier for outcomes of two values);
            None: chosen by cross-validation.
        propensity: A classifier for the arm; None: chosen likewise.
        folds: In how many parts to split the rows; each is predicted by models of the others.
        clip: Raise chances of an arm below this to it.

    Example:
        >>> from sklearn.linear_model import QuantileRegressor
        >>> Learners(quantile=QuantileRegressor(alpha=0.0), folds=2).folds
        2
    """

    quantile: Any = None
    outcome: Any = None
    propensity: Any = None
    folds: int = 5
    clip: float = 0.01

    def __post_init__(self) -> None:
        from causalppl.estimation.nuisance import check_learner
        from causalppl.estimation.settings import check_count, check_fraction

        check_learner("quantile", self.quantile)
        check_learner("outcome", self.outcome)
        check_learner("propensity", self.propensity, for_classes=True)
        check_count("folds", self.folds, 2, 5)
        check_fraction("clip", self.clip)
        if self.quantile is not None:
            _at_level(self.quantile, 0.5)


def tail_outcome(y: Array, quantile: Array, odds_ratio: float, sign: int) -> Array:
    """What each outcome counts in the reweighed mean, for a quantile that need not be right.

    Its mean given covariates is the largest (``sign`` 1) or smallest reweighed mean where the
    quantile, at level ``L / (1 + L)`` or ``1 / (1 + L)``, is right, and lies outside where it is
    not.

    References:
        Dorn and Guo (2022), Sharp sensitivity analysis for inverse propensity weighting via
        quantile balancing; Dorn, Guo and Kallus (2024), Doubly-valid/doubly-sharp sensitivity
        analysis for causal inference with unmeasured confounding.
    """
    beyond = np.maximum(sign * (y - quantile), 0.0)
    tail = quantile + sign * (1 + odds_ratio) * beyond
    return np.asarray(y / odds_ratio + (1 - 1 / odds_ratio) * tail)


class TailModels(ABC):
    """Chances of arms, and tails of outcomes in an arm, for each row.

    Attributes:
        arm: The arm of each row, from 0.
        weights: How often each row counts.
    """

    arm: Codes
    weights: Array

    @property
    def repeats(self) -> Array:
        """How many equal rows each row stands for: one."""
        return np.ones(len(self.arm))

    @abstractmethod
    def chance(self, arm: int) -> Array:
        """The chance of an arm given the covariates of each row."""

    @abstractmethod
    def tail(self, y: Array, arm: int, odds_ratio: float, sign: int) -> Tail:
        """The tail of an outcome in an arm given the covariates of each row."""

    @abstractmethod
    def held_out_tail(self, y: Array, arm: int, odds_ratio: float, sign: int) -> Tail:
        """The same, where the quantile of a row, and its mean, do not depend on its outcome."""

    def span(self, y: Array) -> tuple[float, float]:
        """Where outcomes can be; as seen, if it is not known."""
        seen = y[self.weights > 0]
        return float(seen.min()), float(seen.max())

    def rows_beyond(self, arm: int, odds_ratio: float) -> float:
        """How many rows of an arm the scarcest tail has; infinite where it is not known."""
        return np.inf


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


@dataclass(frozen=True, eq=False)
class LearnedModels(TailModels):
    """Learners, cross-fitted.

    Attributes:
        arm: The arm of each row, from 0.
        weights: How often each row counts.
        matrix: Covariates as numbers, shape ``(rows, columns)``.
        learners: The learners.
        rng: Source of folds and of the choice of learners.
        chances: The chances of the arms, where they are known.
    """

    arm: Codes
    weights: Array
    matrix: Array
    learners: Learners
    rng: np.random.Generator
    chances: Array | None = None

    @cached_property
    def folds(self) -> Codes:
        """The part of each row; arms are spread evenly."""
        order = self.rng.permutation(len(self.arm))
        order = order[np.argsort(self.arm[order], kind="stable")]
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order)) % self.learners.folds
        least = int(np.bincount(self.arm).min())
        if least < self.learners.folds:
            raise DataError(
                f"an arm has {least} rows; expected at least one for each of "
                f"{self.learners.folds} folds"
            )
        return place

    @cached_property
    def _chances(self) -> Array:
        if self.chances is not None:
            return self.chances
        target = np.asarray(self.arm, dtype=float)
        learner = self.learners.propensity
        matrix = self.matrix
        if learner is None:
            matrix = _scaled(matrix)
            learner = choose_learner(matrix, target, self.rng, classes=True)
        found = np.zeros((len(self.arm), int(self.arm.max()) + 1))
        fits = []
        for part in range(self.learners.folds):
            train, test = self.folds != part, self.folds == part
            fit = Fitted(learner, matrix[train], target[train], self.weights[train], classes=True)
            found[np.ix_(test, fit.states.astype(int))] = fit.predict(matrix[test])
            fits.append(fit)
        warn_of_trouble(fits, "the arm")
        return np.maximum(found, self.learners.clip)

    def chance(self, arm: int) -> Array:
        """The chance of an arm, by models of the other folds."""
        return np.asarray(self._chances[:, arm])

    def tail(self, y: Array, arm: int, odds_ratio: float, sign: int) -> Tail:
        """A quantile, and the reweighed mean, by models of the other folds."""
        rows = self.arm == arm
        quantile, mean = np.empty((2, len(y)))
        values = np.unique(y[rows])
        learner = self._outcome_learner(y, arm, is_binary=len(values) == 2)
        fits = []
        for part in range(self.learners.folds):
            train, test = rows & (self.folds != part), self.folds == part
            if len(values) == 2:
                fit = self._fit(learner, train, y, classes=True)
                column = fit.column(values[1])
                high = fit.predict(self.matrix[test])[:, column] if column is not None else 0.0
                quantile[test], mean[test] = _binary_tail(high, values, odds_ratio, sign)
            else:
                inside, quantile[test] = self._quantiles(y, train, test, odds_ratio, sign)
                shown = np.zeros(len(y))
                shown[train] = tail_outcome(y[train], inside, odds_ratio, sign)
                fit = self._fit(learner, train, shown, classes=False)
                mean[test] = fit.predict(self.matrix[test])[:, 0]
            fits.append(fit)
        warn_of_trouble(fits, "the outcome")
        return Tail(quantile, mean)

    def held_out_tail(self, y: Array, arm: int, odds_ratio: float, sign: int) -> Tail:
        """The same as `tail`, whose models are of the other folds."""
        return self.tail(y, arm, odds_ratio, sign)

    def _outcome_learner(self, y: Array, arm: int, *, is_binary: bool) -> Any:
        if self.learners.outcome is not None:
            return self.learners.outcome
        key = (arm, y.tobytes())
        if key not in self._chosen:  # one choice for all odds ratios and both ends
            rows = self.arm == arm
            self._chosen[key] = choose_learner(
                self.matrix[rows], y[rows], self.rng, classes=is_binary
            )
        return self._chosen[key]

    @cached_property
    def _chosen(self) -> dict[Any, Any]:
        return {}

    def _fit(self, learner: Any, train: Any, target: Array, *, classes: bool) -> Fitted:
        return Fitted(
            learner, self.matrix[train], target[train], self.weights[train], classes=classes
        )

    def _quantiles(
        self, y: Array, train: Any, test: Any, odds_ratio: float, sign: int
    ) -> tuple[Array, Array]:
        """Predict the quantile of the rows that are learned from, and of the others."""
        level = odds_ratio / (1 + odds_ratio) if sign > 0 else 1 / (1 + odds_ratio)
        matrix, weights = self.matrix[train], self.weights[train]
        if matrix.shape[1] == 0:
            order = np.argsort(y[train])
            mass = np.cumsum(weights[order])
            place = min(int(np.searchsorted(mass, level * mass[-1])), len(order) - 1)
            constant = y[train][order][place]
            return np.full(len(weights), constant), np.full(int(test.sum()), constant)
        learner = self.learners.quantile
        learner = _default_quantile(len(weights), level) if learner is None else learner
        learner = _at_level(learner, level)
        extra = {} if np.ptp(weights) == 0 else {"sample_weight": weights}
        with _one_thread(len(weights)):
            learner.fit(matrix, y[train], **extra)
            return learner.predict(matrix), learner.predict(self.matrix[test])


def _scaled(matrix: Array) -> Array:
    """Covariates with mean 0 and standard deviation 1, for learners whose search needs it."""
    spread = matrix.std(axis=0)
    return np.asarray((matrix - matrix.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def _binary_tail(high: Any, values: Array, odds_ratio: float, sign: int) -> tuple[Array, Array]:
    """The tail of an outcome of two values, from the chance of the larger one: a formula."""
    chance = np.asarray(high, dtype=float)
    level = odds_ratio / (1 + odds_ratio) if sign > 0 else 1 / (1 + odds_ratio)
    if sign > 0:
        moved = np.minimum(odds_ratio * chance, 1 - (1 - chance) / odds_ratio)
    else:
        moved = np.maximum(chance / odds_ratio, 1 - odds_ratio * (1 - chance))
    span = values[1] - values[0]
    quantile = values[0] + span * (chance > 1 - level)
    return quantile, values[0] + span * moved


def _default_quantile(num_rows: int, level: float) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import QuantileRegressor

    if num_rows <= _FEW:
        return QuantileRegressor(alpha=0.0, solver="highs")
    leaf = max(20, round(10 / min(level, 1 - level)))
    return HistGradientBoostingRegressor(
        loss="quantile",
        quantile=level,
        max_iter=100,
        max_leaf_nodes=8,
        min_samples_leaf=leaf,
        random_state=0,
    )


def _at_level(learner: Any, level: float) -> Any:
    """A copy of a quantile regression, at a level."""
    from sklearn.base import clone

    settings = learner.get_params()
    names = [n for n in settings if n == "quantile" or n.endswith("__quantile")]
    if not names and settings.get("loss") == "quantile":
        names = ["alpha"]
    if not names:
        raise DataError(
            f"quantile is {learner!r}, which has no parameter 'quantile'; expected a quantile "
            "regression, such as QuantileRegressor(alpha=0)"
        )
    return clone(learner).set_params(**{names[0]: level})
