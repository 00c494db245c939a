"""g-estimation: the effect that makes the outcome without treatment independent of treatment."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from causalppl.estimation.adjustment_design import AdjustmentDesign
from causalppl.estimation.adjustment_estimator import AdjustmentEstimator, Computed
from causalppl.estimation.coefficient_influence import coefficient_influence, with_constant
from causalppl.estimation.estimate import Array
from causalppl.estimation.features import Features
from causalppl.estimation.folds import find_folds
from causalppl.estimation.nuisance import check_learner, given_or, is_parametric, plain_learner
from causalppl.estimation.propensity import predict_treatment
from causalppl.estimation.row_weights import few_rows_worth, freedom_left
from causalppl.estimation.settings import check_flags
from causalppl.estimation.weighting import CensoringModel, check_censoring
from causalppl.exceptions import DataError, OverlapWarning, QueryError
from causalppl.user_warning import warn_user

__all__ = ["GEstimation"]


@dataclass(frozen=True)
class GEstimation(AdjustmentEstimator):
    """g-estimation of a structural nested mean model with one parameter.

    The model says ``E[Y_1 - Y_0 | X, Z] = effect``, the same for all. Were the effect known, then
    ``H = Y - effect * X`` would be the outcome without treatment, up to noise, and independent of X
    given Z; the estimate is the effect for which ``sum H (X - P(X=1 | Z)) = 0``.

    Attributes:
        propensity: A classifier of scikit-learn for the treatment; by default a logistic regression
            without penalty, whose estimation the errors know of.
        censoring: Weight rows with an outcome by the inverse of their chance to have one, given
            treatment and covariates; the table must hold the rows without an outcome too.
        covariates: What to adjust for instead of the formula's covariates; must be an adjustment
            set of the diagram. The table must hold them.
        terms: Powers and products beside the covariates themselves: ``"age^2"``,
            ``"age*sex"``.
        bootstrap: How many times to draw the rows anew for the errors, at least 20; 0: errors by
            formula, or none; None: by formula where there is one, else 200 draws.

    Raises:
        DataError: A setting is out of range, or a learner lacks the methods of scikit-learn.

    References:
        Robins (1994), Correcting for non-compliance in randomized trials using structural nested
        mean models; Hernán and Robins (2020), Causal Inference: What If, chapter 14.

    Example:
        >>> from causalppl.data import Table
        >>> from causalppl.estimation.estimator import Problem
        >>> from causalppl.graphs import ADMG
        >>> from causalppl.identification import identify
        >>> table = Table.from_any({"Z": [0, 0, 0, 1, 1, 1] * 2, "X": [0, 0, 1, 0, 1, 1] * 2,
        ...                         "Y": [1.0, 2.0, 3.0, 2.5, 3.5, 4.5] * 2})
        >>> asked = identify(ADMG.parse("Z -> X -> Y; Z -> Y"), "ATE(X -> Y)")
        >>> round(float(GEstimation().solve(Problem(asked, table), seed=0)), 3)
        1.5
    """

    propensity: Any = None
    censoring: bool = False
    name: ClassVar[str] = "g-estimation"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_learner("propensity", self.propensity, for_classes=True)
        check_flags(self, "censoring")

    def model_assumption(self) -> str:
        """Say which models must be right."""
        also = " and of who has an outcome" if self.censoring else ""
        return f"the effect is the same for all, and the model of the treatment{also} is right"

    def check(self, design: AdjustmentDesign) -> None:
        """Raise if the question is no difference between the two values of the treatment."""
        if len(design.arms) != 2:
            more = "many" if design.has_others else len(design.arms)
            raise DataError(
                f"{design.treatment} takes {more} values; g-estimation expects two, "
                "use GFormula, IPW or AIPW"
            )
        if np.abs(_coefficients(design).sum(2)).max() > 1e-9:
            raise QueryError(
                f"{design.estimand.query} asks for more than a difference between arms, which is "
                "all that g-estimation finds; ask for an effect such as ATE, or use AIPW"
            )
        if Features(design, tuple(self.terms)).treats:
            raise DataError("a term names the treatment; the model of the treatment has none such")
        if self.censoring:
            check_censoring(design)

    def compute(self, design: AdjustmentDesign, rng: np.random.Generator) -> Computed:
        """Estimate the means up to a constant: 0 without treatment, the effect with it."""
        features = Features(design, tuple(self.terms))
        learner = given_or(self.propensity, plain_learner(classes=True))
        censoring = CensoringModel.fitted(design, features) if self.censoring else None
        extra = np.asarray(design.observed, float) if censoring is None else censoring.weights
        weights = design.row_weights * extra
        folds = find_folds(design, 1, rng)
        chance = predict_treatment(design, features, learner, folds, weights)[:, 1]
        smooth = is_parametric(learner, features.covariates.shape[1])
        arm = np.asarray(design.arm, float)
        effects = {}
        for event in design.events:
            equation = _Equation(design.response(event), arm, chance, weights)
            influence = equation.influence(with_constant(features.covariates), smooth=smooth)
            if censoring is not None:
                influence = influence + censoring.influence(influence)
            effects[event] = equation.effect, influence
        values = np.array([mean.arm * effects[mean.event][0] for mean in design.means])
        columns = [mean.arm * effects[mean.event][1] for mean in design.means]
        found = {"propensity range": (float(chance.min()), float(chance.max()))}
        notes = few_rows_worth(design.row_weights)
        for note in notes:
            warn_user(note, OverlapWarning)
        return Computed(
            values,
            np.stack(columns, 1),
            notes=notes,
            diagnostics=found,
            freedom=freedom_left(design.row_weights),
        )


@dataclass(frozen=True, eq=False)
class _Equation:
    """The estimating equation ``sum w (y - effect x) (x - chance) = 0``."""

    y: Array
    x: Array
    chance: Array
    weights: Array

    @property
    def effect(self) -> float:
        instrument = self.weights * (self.x - self.chance)
        return float((instrument * self.y).sum() / (instrument * self.x).sum())

    def influence(self, matrix: Array, *, smooth: bool) -> Array:
        """The influence of rows; with ``smooth`` also through the logistic regression."""
        rest = self.y - self.effect * self.x
        slope = (self.weights * self.x * (self.x - self.chance)).mean()
        direct = self.weights * rest * (self.x - self.chance) / slope
        if not smooth:
            return direct
        spread = self.chance * (1 - self.chance)
        moved = -(self.weights * rest * spread / slope) @ matrix / len(matrix)
        residual, curvature = (self.x - self.chance)[:, None], spread[:, None, None]
        return direct + coefficient_influence(
            matrix, self.weights, residual, curvature, moved[None]
        )


def _coefficients(design: AdjustmentDesign) -> Array:
    """The weights of the means by answer, event with population, and arm."""
    groups = list(dict.fromkeys(mean._replace(arm=0) for mean in design.means))
    found = np.zeros((len(design.weights), len(groups), len(design.arms)))
    for number, mean in enumerate(design.means):
        found[:, groups.index(mean._replace(arm=0)), mean.arm] = design.weights[:, number]
    return found
