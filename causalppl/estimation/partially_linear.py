"""The partially linear model: one slope for the treatment, any function of the covariates."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from causalppl.estimation.adjustment_design import AdjustmentDesign
from causalppl.estimation.adjustment_estimator import AdjustmentEstimator, Computed
from causalppl.estimation.dose import describe_doses, find_bend
from causalppl.estimation.estimate import Array
from causalppl.estimation.features import Features
from causalppl.estimation.folds import Fold, find_folds
from causalppl.estimation.nuisance import (
    Fitted,
    check_learner,
    choose_learner,
    name_of,
    warn_of_trouble,
)
from causalppl.estimation.overlap import effective_size
from causalppl.estimation.propensity import find_separation
from causalppl.estimation.settings import check_count
from causalppl.exceptions import (
    AssumptionError,
    DataError,
    HeuristicWarning,
    OverlapWarning,
    QueryError,
)
from causalppl.user_warning import warn_user

__all__ = ["PartiallyLinear"]

NOTHING_LEFT = 1e-4  # a share of the treatment's variance that cannot tell a slope
LITTLE_LEFT = 0.02
BENT = 0.01  # the level of the test that the effect is a line


@dataclass(frozen=True)
class PartiallyLinear(AdjustmentEstimator):
    """Double machine learning of a slope, for treatments that are numbers or have two values.

    The model says ``Y = slope * X + g(Z) + noise``. What the covariates predict is taken off both
    outcome and treatment, by models fitted on other rows, and what is left of the one is regressed
    on what is left of the other; the interval allows for noise of any spread (HC3, with quantiles
    of Student's t, of fewer degrees of freedom the more rests on few rows). The effect of b against
    a is ``slope * (b - a)``; of two values that are no numbers, the slope itself.

    Where effects differ between units, the slope is an average of theirs, weighted by how much the
    treatment varies given the covariates; where they are not linear, of the slopes along the curve.
    Whether one straight line does is tested for a treatment that is a number: where a score test
    for bends at the thirds of its values rejects at a level of 1 %, the answer stays and says so,
    with a `HeuristicWarning`. A curve is not taken in its place: which, is for the user to say,
    by the terms of `GFormula`. ``diagnostics["linearity p"]`` holds the p-value.

    Attributes:
        outcome: A regressor or classifier of scikit-learn for the outcome given the covariates. By
            default cross-validation chooses among regression on main effects, regression on
            squares and products, and boosted trees.
        treatment: The same for the treatment; a classifier if it has two values.
        folds: In how many parts to split the rows; each is predicted by models fitted on the
            others. 1: models are fitted and used on all rows, which only simple ones allow.
        covariates: What to adjust for instead of the formula's covariates; must be an adjustment
            set of the diagram. The table must hold them.
        terms: Powers and products beside the covariates themselves: ``"age^2"``,
            ``"age*sex"``.
        bootstrap: How many times to draw the rows anew for the errors, at least 20; 0: errors by
            formula, or none; None: by formula where there is one, else 200 draws.

    Raises:
        DataError: A setting is out of range, or a learner lacks the methods of scikit-learn.

    References:
        Robinson (1988), Root-n-consistent semiparametric regression; Chernozhukov et al. (2018),
        Double/debiased machine learning, section 4.1; MacKinnon and White (1985) for HC3;
        Imbens and Kolesár (2016) for the degrees of freedom.

    Example:
        >>> from causalppl.data import Table
        >>> from causalppl.estimation.estimator import Problem
        >>> from causalppl.graphs import ADMG
        >>> from causalppl.identification import identify
        >>> rng = np.random.default_rng(0)
        >>> z = rng.normal(size=500)
        >>> x = z**2 + rng.normal(size=500)
        >>> table = Table.from_any({"Z": z, "X": x, "Y": 2 * x - z**2 + rng.normal(size=500)})
        >>> asked = identify(ADMG.parse("Z -> X -> Y; Z -> Y"), "ATE(X: 2 vs 0 -> Y)")
        >>> low, high = PartiallyLinear().solve(Problem(asked, table), seed=0).interval()
        >>> bool(low < 4 < high)
        True
    """

    outcome: Any = None
    treatment: Any = None
    folds: int = 5
    name: ClassVar[str] = "partially linear model"
    takes_numeric: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_learner("outcome", self.outcome)
        check_learner("treatment", self.treatment)
        check_count("folds", self.folds, 1, 5)

    def model_assumption(self) -> str:
        """Say what the effect is taken to be."""
        return (
            "the effect is linear in the treatment and the same for all units (otherwise the "
            "answer is an average of slopes, weighted by how much the treatment varies given the "
            "covariates), and the models of outcome and treatment come close fast enough"
        )

    def check(self, design: AdjustmentDesign) -> None:
        """Raise if the question is no difference, or the treatment no number."""
        doses(design)
        if any(mean.seen is not None or mean.strata for mean in design.means):
            raise QueryError(
                f"{design.estimand.query} is about some units, but the slope is one for all; ask "
                "for ATE, or use AIPW"
            )
        for event in design.events:
            inside = [mean.event == event for mean in design.means]
            if np.abs(design.weights[:, inside].sum(1)).max() > 1e-9:
                raise QueryError(
                    f"{design.estimand.query} asks for a level, but a slope tells only "
                    "differences; ask for an effect such as ATE, or use GFormula"
                )
        if Features(design, tuple(self.terms)).treats:
            raise DataError(
                "a term names the treatment, but the model has one slope; expected terms of "
                "covariates, use GFormula for others"
            )
        find_folds(design, self.folds, np.random.default_rng(0))

    def compute(self, design: AdjustmentDesign, rng: np.random.Generator) -> Computed:
        """Estimate the means up to a constant: the slope times the value set."""
        matrix = Features(design, tuple(self.terms)).covariates
        folds = find_folds(design, self.folds, rng)
        received, levels = doses(design)
        treated, treatment_model = self._predict(
            self.treatment, design, design.treatment, matrix, received, folds, rng
        )
        _check_separation(design, received, treated)
        left, weights = received - treated, design.row_weights
        share = _check_left(design, received, left)
        _check_doses(design, matrix)
        slopes, columns, outcome_models, bends = {}, {}, [], []
        size = np.average(left**2, weights=weights)
        leverage = weights * left**2 / (design.num_rows * size)
        for event in design.events:
            y = design.response(event)
            expected, model = self._predict(
                self.outcome, design, design.outcome, matrix, y, folds, rng
            )
            outcome_models.append(model)
            slopes[event] = float(np.average(left * (y - expected), weights=weights) / size)
            residual = y - expected - slopes[event] * left
            columns[event] = weights * left * residual / size / (1 - leverage)
            if design.is_numeric:
                bends.append(find_bend(received, treated, matrix, residual, weights))
        straight = min(1.0, min(bends) * len(bends)) if bends else None
        worth = effective_size(weights * left**2)
        pairs = [(mean.event, levels[mean.arm]) for mean in design.means]
        return Computed(
            np.array([slopes[event] * level for event, level in pairs]),
            np.stack([columns[event] * level for event, level in pairs], 1),
            ess=(worth,),
            freedom=max(worth - 1, 1.0),
            notes=(
                f"covariates leave {share:.1%} of the variance of {design.treatment}",
                *_check_line(design, straight),
            ),
            diagnostics={
                "slopes": list(slopes.values()),
                "variance left": share,
                **({} if straight is None else {"linearity p": straight}),
                "folds": self.folds,
                "outcome model": list(dict.fromkeys(outcome_models)),
                "treatment model": treatment_model,
            },
        )

    def _predict(
        self,
        learner: Any,
        design: AdjustmentDesign,
        name: str,
        matrix: Array,
        target: Array,
        folds: list[Fold],
        rng: np.random.Generator,
    ) -> tuple[Array, str]:
        """Predict the mean of a column from the others' rows; returns it and the model's name."""
        from sklearn.base import is_regressor

        is_binary = bool(np.isin(target, (0.0, 1.0)).all())
        classes = is_binary and (learner is None or not is_regressor(learner))
        if learner is None:
            learner = choose_learner(matrix, target, rng, classes=classes)
        found, fits, weights = np.zeros(len(target)), [], design.row_weights
        for train, test in folds:
            rows = train & (weights > 0)
            fit = Fitted(learner, matrix[rows], target[rows], weights[rows], classes=classes)
            values = fit.predict(matrix[test])
            found[test] = values @ fit.states if classes else values[:, 0]
            fits.append(fit)
        warn_of_trouble(fits, name)
        return found, name_of(learner)


def doses(design: AdjustmentDesign) -> tuple[Array, Array]:
    """The treatment of each row and of each arm as numbers; of two other values 0 and 1.

    Raises:
        DataError: It has more than two values, which are no numbers, or several variables.
    """
    if design.is_numeric:
        return design.received, design.levels
    if all(isinstance(arm, int | float) for arm in design.arms):
        levels = np.array(design.arms, dtype=float)
    elif len(design.arms) == 2:
        levels = np.array([0.0, 1.0])
    else:
        raise DataError(
            f"{design.treatment} takes the values {design.arms}; expected numbers, or two values: "
            "use AIPW"
        )
    return levels[design.arm], levels


def _check_doses(design: AdjustmentDesign, matrix: Array) -> None:
    """Warn of values asked about that lie where there are no rows."""
    described = describe_doses(design, matrix) if design.is_numeric else []
    poor = [dose for dose in described if dose.is_poor]
    if poor:
        worst = max(poor, key=lambda dose: dose.far_share)
        warn_user(
            f"{worst}: the answer extrapolates by the slope; ask about values nearer to those "
            "received",
            OverlapWarning,
        )


def _check_line(design: AdjustmentDesign, p: float | None) -> tuple[str, ...]:
    """Warn of an effect that is not one straight line."""
    if p is None or p >= BENT:
        return ()
    x = design.treatment
    found = (
        f"the effect of {x} on {design.outcome} is not one straight line for all, or the models of "
        f"the covariates miss a bend (a score test of bends in {x} gives p = {p:.2g}, below "
        f"{BENT:g}): the slope is an average along a curve at best"
    )
    warn_user(
        f"{found}; expected a line, use GFormula(terms=['{x}^2']) for a curve, bands of {x}, or "
        "more flexible models",
        HeuristicWarning,
    )
    return (found,)


def _check_separation(design: AdjustmentDesign, received: Array, expected: Array) -> None:
    """Refuse covariates that tell which of two values nearly every row received."""
    if design.is_numeric or len(design.arms) != 2:
        return
    chance = (expected - received.min()) / np.ptp(received)
    if separation := find_separation(design, np.stack([1 - chance, chance], 1)):
        raise AssumptionError(
            f"{separation}: nothing shows what another value would have done; expected overlap, "
            "adjust for less or bound the effect"
        )


def _check_left(design: AdjustmentDesign, received: Array, left: Array) -> float:
    """The share of the treatment's variance that covariates leave; refuses next to none."""
    weights = design.row_weights
    centred = received - np.average(received, weights=weights)
    share = np.average(left**2, weights=weights) / np.average(centred**2, weights=weights)
    said = f"{', '.join(design.covariates)} leave {share:.2g} of the variance of {design.treatment}"
    if share < NOTHING_LEFT:
        raise AssumptionError(
            f"{said}: nothing shows what another value would have done; expected a treatment that "
            "varies given the covariates, adjust for less"
        )
    if share < LITTLE_LEFT:
        warn_user(
            f"overlap is poor: {said}; the slope rests on little, and on the models being close",
            OverlapWarning,
        )
    return float(min(share, 1.0))
