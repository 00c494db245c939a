"""Rows with cross-fitted guesses: losses of effects, their averages, a test of calibration."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.special import ndtr

from causalppl.estimation.adjustment_design import AdjustmentDesign
from causalppl.estimation.adjustment_question import Mean
from causalppl.estimation.doubly_robust import AIPW
from causalppl.estimation.estimate import Array, Estimate
from causalppl.estimation.features import Features
from causalppl.estimation.folds import Fold
from causalppl.estimation.nuisance import choose_learner, name_of
from causalppl.estimation.outcome_surfaces import MOST_FOR_SCALES, EffectProcess, find_surfaces
from causalppl.estimation.overlap import (
    balancing_weights,
    describe_overlap,
    overlap_table,
    warn_of_poor_overlap,
)
from causalppl.estimation.propensity import predict_treatment

__all__ = ["EffectSample"]

Rows: TypeAlias = NDArray[np.int64]
Effect: TypeAlias = Callable[[Array], Array]
CLIP = 0.01  # chances below this are raised to it


@dataclass(frozen=True, eq=False)
class EffectSample:
    """The rows, with cross-fitted guesses of both outcomes and of the treatment.

    Attributes:
        design: The question and its rows.
        matrix: The covariates, shape ``(rows, columns)``.
        arm: 1 for the treated, 0 for the controls, -1 for other values.
        y: The outcome.
        chances: The chance of each arm of the design, shape ``(rows, arms)``.
        surfaces: Models of the outcome, each with its guesses, shape ``(rows, 2)``.
        shares: What each surface counts in the combination, for control and treated.
        guesses: The combination, shape ``(rows, 2)``.
        folds: The rows to fit on and to predict.
        treatment_model: The name of the model of the treatment.
    """

    design: AdjustmentDesign
    matrix: Array
    arm: Rows
    y: Array
    chances: Array
    surfaces: Mapping[str, tuple[Any, Array]]
    shares: Array
    guesses: Array
    folds: Sequence[Fold]
    treatment_model: str

    @classmethod
    def fitted(
        cls,
        design: AdjustmentDesign,
        matrix: Array,
        learner: Any,
        folds: Sequence[Fold],
        rng: np.random.Generator,
    ) -> "EffectSample":
        """Fit what the effects need."""
        up, down = _up_and_down(design)
        arm = np.where(design.arm == up.arm, 1, np.where(design.arm == down.arm, 0, -1))
        y = design.response(())
        model = choose_learner(matrix, np.asarray(design.arm, float), rng, classes=True)
        chances = predict_treatment(design, Features(design), model, folds)
        surfaces = {}
        for name, surface in find_surfaces(matrix, learner).items():
            if isinstance(surface, EffectProcess):
                some = rng.permutation(np.flatnonzero(arm >= 0))[:MOST_FOR_SCALES]
                surface.learn(matrix[some], arm[some], y[some])
            found = np.zeros((len(y), 2))
            for train, test in folds:
                rows = train & (arm >= 0)
                found[test] = surface.fit(matrix[rows], arm[rows], y[rows]).predict(matrix[test])
            surfaces[name] = surface, found
        stacked = np.stack([found for _, found in surfaces.values()], 2)
        shares = np.stack([_shares(stacked[arm == a, a], y[arm == a]) for a in (0, 1)])
        guesses = np.einsum("nas,as->na", stacked, shares)
        return cls(
            *(design, matrix, arm, y, chances, surfaces, shares, guesses, folds, name_of(model))
        )

    def guessed_from(self, rows: Rows) -> "EffectSample":
        """The same with guesses from some rows only."""
        guesses = np.zeros((len(self.y), 2))
        for (surface, _), share in zip(self.surfaces.values(), self.shares.T, strict=True):
            if share.any():
                surface.fit(self.matrix[rows], self.arm[rows], self.y[rows])
                guesses += share * surface.predict(self.matrix)
        return replace(self, guesses=guesses)

    @property
    def names(self) -> dict[str, Any]:
        """The models of treatment and outcome."""
        shares = dict(zip(self.surfaces, self.shares.T.round(2).tolist(), strict=True))
        used = {name: tuple(share) for name, share in shares.items() if any(share)}
        return {"treatment model": self.treatment_model, "shares of outcome models": used}

    @property
    def means(self) -> tuple[Mean, Mean]:
        """The means whose difference was asked for."""
        return _up_and_down(self.design)

    @cached_property
    def clipped(self) -> tuple[Array, Array]:
        """The chances to be treated and control."""
        up, down = (np.maximum(self.chances[:, mean.arm], CLIP) for mean in self.means)
        return up, down

    @cached_property
    def residuals(self) -> tuple[Array, Array]:
        """What covariates leave of outcome and treatment; 0 for rows of other arms."""
        up, down = self.clipped
        chance, inside = up / (up + down), self.arm >= 0
        mean = chance * self.guesses[:, 1] + (1 - chance) * self.guesses[:, 0]
        return inside * (self.y - mean), inside * (self.arm - chance)

    @cached_property
    def scores(self) -> Array:
        """The doubly robust score of the effect on each row."""
        up, down = self.clipped
        weights = (self.arm == 1) / up - (self.arm == 0) / down
        own = np.where(self.arm == 1, self.guesses[:, 1], self.guesses[:, 0])
        return self.guesses[:, 1] - self.guesses[:, 0] + weights * (self.y - own)

    def losses(self, effects: Array) -> Array:
        """The R-loss of each row."""
        outcome, treatment = self.residuals
        return np.asarray((outcome - treatment * effects) ** 2)

    def calibration(self, effects: Array) -> tuple[float, float, float]:
        """The slope of effects on cross-fitted ones, its standard error, and its p."""
        outcome, treatment = self.residuals
        if np.ptp(effects) < 1e-3 * np.abs(self.y).std() or np.unique(effects).size <= len(
            self.folds
        ):
            return 0.0, 0.0, 1.0
        columns = np.stack([treatment, treatment * (effects - effects.mean())], 1)
        inverse = np.linalg.inv(columns.T @ columns)
        both = inverse @ columns.T @ outcome
        leverage = np.einsum("ni,ij,nj->n", columns, inverse, columns)
        moved = columns @ inverse[1] * (outcome - columns @ both) / (1 - leverage)
        error = float(np.sqrt((moved**2).sum()))
        return float(both[1]), error, float(ndtr(-both[1] / error))

    def shift(self, effects: Array) -> float:
        """How far to move effects towards the doubly robust average: James and Stein's share."""
        gaps = self.scores - effects
        gap, variance = float(gaps.mean()), float(gaps.var() / len(gaps))
        return gap * max(0.0, 1 - variance / gap**2) if gap else 0.0

    def average(self, query: Any, means: tuple[Mean, Mean]) -> Estimate:
        """Average over a population by doubly robust scores."""
        design = replace(self.design, means=means)
        overlaps = describe_overlap(design, self.chances, clip=CLIP)
        if query == self.design.estimand.query:
            warn_of_poor_overlap(design, overlaps)
        parts = [
            AIPW().mean(
                *(design, mean, self.guesses[:, 1 - place]),
                balancing_weights(design, np.maximum(self.chances, CLIP), mean),
            )
            for place, mean in enumerate(means)
        ]
        influence = parts[0][1] - parts[1][1]
        overlap = overlap_table(overlaps)
        return Estimate(
            *(query, "AIPW", np.array(parts[0][0] - parts[1][0])),
            error=np.array(influence.std() / math.sqrt(len(influence))),
            num_rows=len(self.y),
            num_dropped=design.table.dropped,
            ess=4 / sum(1 / one.ess for one in overlaps),
            influence=influence,
            estimand=design.estimand,
            assumptions=AIPW().assumptions(design),
            diagnostics={"covariates": design.covariates, **self.names, **overlap},
        )


def _shares(guesses: Array, y: Array) -> Array:
    """The convex combination of guesses that comes closest, nearly."""
    found = np.asarray(nnls(guesses, y)[0])
    found = found if found.any() else np.ones(len(found))
    return found / found.sum()


def _up_and_down(design: AdjustmentDesign) -> tuple[Mean, Mean]:
    """The mean that is added, and the one that is taken off."""
    up, down = sorted(design.means, key=lambda mean: -design.weights[0][design.means.index(mean)])
    return up, down
