"""What the front door's influence function needs: models of some rows, asked about others."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.estimation.front_door_models import Codes, Predict, fit_classes, fit_mean
from causalppl.estimation.front_door_sample import Sample
from causalppl.estimation.overlap import RARE

Array: TypeAlias = NDArray[np.float64]

_TINY = 1e-12


@dataclass(frozen=True)
class Models:
    """The scikit-learn models; None is the default."""

    outcome: Any = None
    treatment: Any = None
    mediator: Any = None


@dataclass(frozen=True, eq=False)
class Nuisance:
    """What models fitted to some rows say of others; K values of the treatment.

    Attributes:
        sample: The others.
        treatment: ``P(X=k | C)``, ``(rows, K)``.
        outcome: ``E[Y | X=k, M, C]``, ``(rows, K)``.
        mean: Level to the mean of the outcome model over ``P(M | level, C)``, ``(rows, K)``.
        law: ``P(M | X=k, C)``, or ``P(X=k | M, C)`` where M has many values; ``(rows, K)``.
    """

    sample: Sample
    treatment: Array
    outcome: Array
    mean: dict[int, Array]
    law: Array

    @classmethod
    def fit(
        cls,
        train: Sample,
        test: Sample,
        wanted: list[int],
        models: Models,
        seed: int,
        weights: Array | None = None,
    ) -> "Nuisance":
        """Fit models.

        Args:
            train: The rows to fit to.
            test: The rows to ask about.
            wanted: The levels of the treatment that are asked for.
            models: What to fit.
            seed: For models that take one.
            weights: How often each row of ``train`` counts; for the default models alone.
        """
        fit = _Fit(train, models, seed, weights)
        return (fit.finite if train.cells is not None else fit.continuous)(test, wanted)

    def _at_x(self, values: Array) -> Array:
        return np.asarray(values[np.arange(len(values)), self.sample.x])

    @property
    def least(self) -> Array:
        """The smallest probability of a treatment, or of these mediators, in each row."""
        cells = self.sample.cells
        scale = 1.0 if cells is None else float(len(cells))
        return np.asarray(np.minimum(self.treatment, scale * self.law).min(axis=1))

    @property
    def lacking(self) -> Array:
        """The share of the other treatments that hardly go with a row's own M and C, ``(rows,)``.

        That is where the likelihood of M, or the chance given C over the share of the treatment,
        is below a hundredth of its largest among the treatments.
        """
        marginal = np.bincount(self.sample.x, minlength=self.law.shape[1]) / len(self.sample.x)
        given_c = self.treatment / marginal
        of_m = self.law if self.sample.cells is not None else self.law / np.maximum(given_c, _TINY)
        rare = np.zeros(self.law.shape, dtype=bool)
        for likelihood in (of_m, given_c):
            rare |= likelihood < RARE * likelihood.max(axis=1, keepdims=True)
        others = np.tile(marginal, (len(rare), 1))
        others[np.arange(len(rare)), self.sample.x] = 0.0
        return np.asarray((rare * others).sum(axis=1) / others.sum(axis=1))

    def plug_in(self, level: int, weights: Array | None = None) -> float:
        """The mean outcome had the treatment been ``level``, as the models have it."""
        return float(np.average(self._at_x(self.mean[level]), weights=weights))

    def ratio(self, level: int, clip: float) -> Array:
        """``P(M | X=level, C) / P(M | X, C)``, shape ``(rows,)``."""
        cells, own = self.sample.cells, self._at_x(self.law)
        if cells is not None:
            return np.asarray(self.law[:, level] / np.maximum(own, clip / len(cells)))
        below = np.maximum(own, clip) * np.maximum(self.treatment[:, level], clip)
        return np.asarray(self.law[:, level] * self._at_x(self.treatment) / below)

    def contributions(self, level: int, clip: float) -> Array:
        """The influence function plus the mean, Fulcher et al. (2020), theorem 1."""
        mean, in_arm = self.mean[level], self.sample.x == level
        share = np.maximum(self.treatment[:, level], clip)
        mediated = (self.treatment * (self.outcome - mean)).sum(axis=1)
        residual = self.sample.y - self._at_x(self.outcome)
        return self.ratio(level, clip) * residual + in_arm / share * mediated + self._at_x(mean)


@dataclass(frozen=True, eq=False)
class _Fit:
    """Rows to fit to, and how."""

    train: Sample
    models: Models
    seed: int
    weights: Array | None

    @property
    def _arms(self) -> list[Codes]:
        return [np.flatnonzero(self.train.x == k) for k in range(len(self.train.levels))]

    def _weights_of(self, rows: Codes) -> Array | None:
        return None if self.weights is None else self.weights[rows]

    def _mean(self, features: Array, y: Array, rows: Codes) -> Predict:
        weights = self._weights_of(rows)
        return fit_mean(self.models.outcome, features[rows], y[rows], self.seed, weights)

    def _treatment(self, features: Array) -> Predict:
        count, weights = len(self.train.levels), self.weights
        model = self.models.treatment
        return fit_classes(model, features, self.train.x, count, self.seed, weights)

    def _mediator(self, count: int, rows: Codes) -> Predict:
        features, codes = self.train.c[rows], self.train.cell[rows]
        weights = self._weights_of(rows)
        return fit_classes(self.models.mediator, features, codes, count, self.seed, weights)

    def finite(self, test: Sample, wanted: list[int]) -> Nuisance:
        """For mediators with few values: a model of them in each arm."""
        train, cells = self.train, self.train.cells
        assert cells is not None
        places, at = _places(test)
        share = self._treatment(train.c)(places)
        # arms, places, cells
        laws = np.stack([self._mediator(len(cells), arm)(places) for arm in self._arms])
        both = np.column_stack([train.m, train.c])
        at_cells = [np.column_stack([np.tile(cell, (len(places), 1)), places]) for cell in cells]
        means = [self._mean(both, train.y, arm) for arm in self._arms]
        surface = np.stack([[predict(new) for new in at_cells] for predict in means])
        averages = {k: np.einsum("kjn,nj->nk", surface, laws[k])[at] for k in wanted}
        outcome, own = surface[:, test.cell, at].T, laws[:, at, test.cell].T
        return Nuisance(test, share[at], outcome, averages, own)

    def continuous(self, test: Sample, wanted: list[int]) -> Nuisance:
        """For other mediators: their ratio by Bayes' rule, and a second regression."""
        train, arms = self.train, self._arms
        both, new = (np.column_stack([part.m, part.c]) for part in (train, test))
        share, law = self._treatment(train.c)(test.c), self._treatment(both)(new)
        means = [self._mean(both, train.y, arm) for arm in arms]
        outcome = np.stack([predict(new) for predict in means], axis=1)
        inside = [predict(both) for predict in means]
        averages = {}
        for k in wanted:
            second = [self._mean(train.c, part, arms[k]) for part in inside]
            averages[k] = np.stack([predict(test.c) for predict in second], axis=1)
        return Nuisance(test, share, outcome, averages, law)


def _places(sample: Sample) -> tuple[Array, Codes]:
    """Where to ask models of the covariates, and the place of each row."""
    if sample.strata is not None and len(sample.strata) < len(sample.y):
        return sample.strata, sample.stratum
    return sample.c, np.arange(len(sample.y))
