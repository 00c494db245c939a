"""Tails of outcomes by learners, cross-fitted."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.tail_learners import Learners, at_level
from causalppl.bounds.tail_models import Tail, TailModels, tail_outcome
from causalppl.estimation.nuisance import Fitted, choose_learner, one_thread, warn_of_trouble
from causalppl.exceptions import DataError

__all__ = ["LearnedModels"]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]

_FEW = 2_000  # rows, up to which a linear program fits the quantiles


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
        learner = at_level(learner, level)
        extra = {} if np.ptp(weights) == 0 else {"sample_weight": weights}
        with one_thread(len(weights)):
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
