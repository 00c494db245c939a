"""Inverse probability weighting: each arm weighted until it looks like the population."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from causalppl.estimation.adjustment_design import AdjustmentDesign
from causalppl.estimation.adjustment_estimator import AdjustmentEstimator, Computed
from causalppl.estimation.adjustment_question import Mean
from causalppl.estimation.coefficient_influence import (
    class_curvature,
    coefficient_influence,
    with_constant,
)
from causalppl.estimation.estimate import Array
from causalppl.estimation.features import Features
from causalppl.estimation.folds import find_folds
from causalppl.estimation.nuisance import (
    Fitted,
    check_learner,
    given_or,
    is_parametric,
    plain_learner,
    warn_of_trouble,
)
from causalppl.estimation.overlap import (
    balancing_weights,
    describe_overlap,
    overlap_table,
    warn_of_poor_overlap,
)
from causalppl.estimation.propensity import TreatmentModel
from causalppl.estimation.settings import check_flags, check_fraction
from causalppl.exceptions import AssumptionError, DataError

__all__ = ["IPW", "CensoringModel"]


@dataclass(frozen=True)
class IPW(AdjustmentEstimator):
    """Inverse probability weighting: ``E[Y_x] = E[1{X=x} Y / P(X=x | Z)]``.

    Attributes:
        propensity: A classifier of scikit-learn for the treatment; by default a logistic regression
            without penalty.
        normalised: Divide by the sum of the weights (Hájek) rather than by the number of rows
            (Horvitz and Thompson). Normalised, the answer is that of a marginal structural model
            with one coefficient for each arm.
        stabilised: Report weights multiplied by the share of their arm. Within an arm this is one
            factor, so normalised answers stay the same.
        trim: Leave out rows with a chance below this of an arm asked about, then fit anew; the
            answer is about the rows that stay.
        clip: Raise chances below this to it.
        censoring: Weight rows with an outcome by the inverse of their chance to have one, given
            treatment and covariates; the table must hold the rows without an outcome too.
        fixed_weights: Compute errors as if the weights were known. They are then too large, as the
            weights of most textbooks. Otherwise the sandwich knows that propensities are estimated,
            if they come from logistic regression without penalty; with other learners weights count
            as known.
        covariates: What to adjust for instead of the formula's covariates; must be an adjustment
            set of the diagram. The table must hold them.
        terms: Powers and products beside the covariates themselves: ``"age^2"``,
            ``"age*sex"``.
        bootstrap: How many times to draw the rows anew for the errors, at least 20; 0: errors by
            formula, or none; None: by formula where there is one, else 200 draws.

    Raises:
        DataError: A setting is out of range, or a learner lacks the methods of scikit-learn.

    References:
        Hernán and Robins (2020), Causal Inference: What If, chapter 12; Lunceford and Davidian
        (2004) for the sandwich; Crump et al. (2009) for trimming.

    Example:
        >>> from causalppl.data import Table
        >>> from causalppl.estimation.estimator import Problem
        >>> from causalppl.graphs import ADMG
        >>> from causalppl.identification import identify
        >>> table = Table.from_any({"Z": [0, 0, 0, 1, 1, 1] * 2, "X": [0, 0, 1, 0, 1, 1] * 2,
        ...                         "Y": [1.0, 2.0, 3.0, 2.5, 3.5, 4.5] * 2})
        >>> asked = identify(ADMG.parse("Z -> X -> Y; Z -> Y"), "ATE(X -> Y)")
        >>> round(float(IPW().solve(Problem(asked, table), seed=0)), 3)
        1.5
    """

    propensity: Any = None
    normalised: bool = True
    stabilised: bool = True
    trim: float = 0.0
    clip: float = 0.0
    censoring: bool = False
    fixed_weights: bool = False
    name: ClassVar[str] = "inverse probability weighting"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_learner("propensity", self.propensity, for_classes=True)
        check_fraction("trim", self.trim)
        check_fraction("clip", self.clip)
        check_flags(self, "normalised", "stabilised", "censoring", "fixed_weights")

    def model_assumption(self) -> str:
        """Say which models must be right."""
        also = " and the model of who has an outcome" if self.censoring else ""
        return f"the model of the treatment{also} is right"

    def check(self, design: AdjustmentDesign) -> None:
        """Raise if a term is none, or the rows without an outcome are gone."""
        _ = Features(design, tuple(self.terms)).treats
        if self.censoring:
            check_censoring(design)

    def treatment_model(
        self, design: AdjustmentDesign, features: Features, rng: np.random.Generator
    ) -> TreatmentModel:
        """Fit the model of the treatment on all rows, which it predicts too."""
        learner = given_or(self.propensity, plain_learner(classes=True))
        return TreatmentModel.fitted(design, features, learner, find_folds(design, 1, rng))

    def compute(self, design: AdjustmentDesign, rng: np.random.Generator) -> Computed:
        """Estimate the means of a design."""
        features = Features(design, tuple(self.terms))
        model = self.treatment_model(design, features, rng)
        model.check(design)
        raw = model.chances
        kept = rows_to_keep(design, raw, self.trim)
        if not kept.all():
            inner = replace(self, trim=0.0).compute(design.take(kept), rng)
            return spread_out(inner, kept, self.trim)
        censoring = CensoringModel.fitted(design, features) if self.censoring else None
        extra = np.asarray(design.observed, float) if censoring is None else censoring.weights
        propensities = np.maximum(raw, self.clip)
        overlaps = describe_overlap(design, raw, extra, clip=self.clip)
        warn_of_poor_overlap(design, overlaps)
        smooth = is_parametric(model.learner, features.covariates.shape[1])
        values, columns = np.zeros(len(design.means)), []
        for number, mean in enumerate(design.means):
            weights = balancing_weights(design, propensities, mean) * extra
            values[number], weighted, rest = self._mean(design, mean, weights)
            column = weighted + rest
            if smooth and not self.fixed_weights:
                column = column + _through_propensity(design, features, raw, mean, weighted)
            if censoring is not None and not self.fixed_weights:
                column = column + censoring.influence(weighted)
            columns.append(column)
        return Computed(
            values,
            np.stack(columns, 1),
            ess=tuple(overlap.ess for overlap in overlaps),
            diagnostics=overlap_table(overlaps) | self._weight_ranges(design, propensities, extra),
        )

    def _mean(
        self, design: AdjustmentDesign, mean: Mean, weights: Array
    ) -> tuple[float, Array, Array]:
        """The mean, and its influence: the part that the weights multiply, and the rest."""
        y = design.response(mean.event)
        if self.normalised:
            value = float(np.average(y, weights=weights))
            return value, weights * (y - value) / weights.mean(), np.zeros(len(y))
        population = design.population(mean) * design.row_weights
        value = float((weights * y).sum() / population.sum())
        return value, weights * y / population.mean(), -population * value / population.mean()

    def _weight_ranges(
        self, design: AdjustmentDesign, propensities: Array, extra: Array
    ) -> dict[str, Any]:
        found = {}
        for mean in design.means:
            weights = balancing_weights(design, propensities, mean) * extra
            if self.stabilised:
                weights = weights * np.average(design.arm == mean.arm, weights=design.row_weights)
            weights = weights[weights > 0]
            found[design.arms[mean.arm]] = (float(weights.mean()), float(weights.max()))
        return {"mean and largest weight": found}


def rows_to_keep(design: AdjustmentDesign, propensities: Array, trim: float) -> NDArray[np.bool_]:
    """Say which rows have at least the chance ``trim`` of each arm asked about.

    Raises:
        AssumptionError: Trimming leaves no row of some arm.
    """
    kept = np.asarray((propensities[:, list(design.asked_arms)] >= trim).all(1))
    left = set(design.arm[kept].tolist())
    if gone := [design.arm_name(arm) for arm in design.asked_arms if arm not in left]:
        raise AssumptionError(
            f"trim={trim} leaves no row with {gone[0]}; expected some of each arm, trim less"
        )
    return kept


def spread_out(found: Computed, kept: NDArray[np.bool_], trim: float) -> Computed:
    """Put what was found on the rows kept among all rows."""
    influence = None
    if found.influence is not None:
        influence = np.zeros((len(kept), found.influence.shape[1]))
        influence[kept] = found.influence * (len(kept) / kept.sum())
    note = (
        f"{(~kept).sum():,} of {len(kept):,} rows with a chance of an arm below {trim:g} were left "
        "out: the answer is about the others"
    )
    return replace(found, influence=influence, notes=(*found.notes, note))


def _through_propensity(
    design: AdjustmentDesign, features: Features, propensities: Array, mean: Mean, weighted: Array
) -> Array:
    """The influence of the estimated coefficients of the propensity model."""
    matrix = with_constant(features.covariates)
    classes = np.arange(1, len(design.arms))
    fitted = propensities[:, 1:]
    # the derivative of the logarithm of the weights by the linear predictors
    moved = fitted - (classes == mean.arm)
    if mean.seen is not None:
        moved = moved + (classes == mean.seen) - fitted
    return coefficient_influence(
        matrix,
        design.row_weights,
        (design.arm[:, None] == classes) - fitted,
        class_curvature(propensities)[:, 1:, 1:],
        (moved * weighted[:, None]).T @ matrix / len(matrix),
    )


def check_censoring(design: AdjustmentDesign) -> None:
    """Refuse to model who has an outcome when everyone at hand has one."""
    if design.observed.all():
        gone = f" ({design.table.dropped} were dropped)" if design.table.dropped else ""
        raise DataError(
            f"every row has {design.outcome}{gone}; censoring=True expects the rows without an "
            "outcome too: pass the whole table, or leave censoring out"
        )


@dataclass(frozen=True, eq=False)
class CensoringModel:
    """Who has an outcome, by logistic regression on treatment, covariates and terms.

    Attributes:
        design: The rows, also those without an outcome.
        matrix: The features.
        chance: The chance of each row to have an outcome.
    """

    design: AdjustmentDesign
    matrix: Array
    chance: Array

    @classmethod
    def fitted(cls, design: AdjustmentDesign, features: Features) -> "CensoringModel":
        """Fit the model."""
        matrix = features.as_seen
        learner = plain_learner(classes=True)
        seen = np.asarray(design.observed, float)
        fit = Fitted(learner, matrix, seen, design.row_weights, classes=True)
        warn_of_trouble([fit], f"who has {design.outcome}")
        return cls(design, matrix, fit.predict(matrix)[:, -1])

    @property
    def weights(self) -> Array:
        """The inverse of the chance for rows with an outcome, else 0."""
        return np.asarray(self.design.observed / np.maximum(self.chance, 1e-9))

    def influence(self, weighted: Array) -> Array:
        """The influence of the estimated coefficients on what these weights multiply."""
        matrix = with_constant(self.matrix)
        spread = self.chance * (1 - self.chance)
        slope = -(weighted * (1 - self.chance)) @ matrix / len(matrix)
        return coefficient_influence(
            matrix,
            self.design.row_weights,
            (self.design.observed - self.chance)[:, None],
            spread[:, None, None],
            slope[None],
        )
