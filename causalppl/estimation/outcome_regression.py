"""Outcome regression: what is predicted from what, and its average over a population."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from causalppl.estimation.adjustment_design import AdjustmentDesign
from causalppl.estimation.adjustment_estimator import AdjustmentEstimator, Computed
from causalppl.estimation.adjustment_question import Mean, Tests
from causalppl.estimation.coefficient_influence import (
    class_curvature,
    coefficient_influence,
    with_constant,
)
from causalppl.estimation.column_values import MOST_STATES, numbers
from causalppl.estimation.estimate import Array
from causalppl.estimation.features import Features
from causalppl.estimation.folds import Fold
from causalppl.estimation.nuisance import (
    Fitted,
    check_learner,
    choose_learner,
    given_or,
    is_parametric,
    name_of,
    plain_learner,
    warn_of_trouble,
)
from causalppl.estimation.outcome_support import describe_support
from causalppl.estimation.row_weights import few_rows_worth, freedom_left
from causalppl.estimation.settings import check_flags
from causalppl.exceptions import DataError, OverlapWarning
from causalppl.user_warning import warn_user

__all__ = ["GFormula"]


@dataclass(frozen=True)
class GFormula(AdjustmentEstimator):
    """The parametric g-formula: ``E[Y_x] = E[E[Y | X=x, Z]]`` with a model of the outcome.

    Attributes:
        outcome: A regressor or classifier of scikit-learn for the outcome. By default a linear
            regression, for binary and categorical outcomes a logistic one, without penalty.
        pooled: Fit one model for all arms, with indicators of the arms, rather than one for each;
            so it is when a term names the treatment, or when this is a number with more than 20
            values. It enters as that number then, linearly unless terms such as ``"X^2"`` and
            ``"X*Z"`` say more.
        covariates: What to adjust for instead of the formula's covariates; must be an adjustment
            set of the diagram. The table must hold them.
        terms: Powers and products beside the covariates themselves: ``"age^2"``, ``"age*sex"``. One
            that names the treatment enters the outcome model only, which is then one for all arms.
        bootstrap: How many times to draw the rows anew for the errors, at least 20; 0: errors by
            formula, or none; None: by formula where there is one, else 200 draws.

    The model answers also where nobody can contradict it. A logistic regression of the treatment
    (of a number: a linear one) says where that is: it warns, and is in ``diagnostics``; the
    effective sample size is that of inverse probability weights, which are not used otherwise.

    Errors are by sandwich (HC2 for linear regressions), for regressions without penalty; by
    bootstrap for other learners.

    Raises:
        DataError: A setting is out of range, or a learner lacks the methods of scikit-learn.

    References:
        Robins (1986); Hernán and Robins (2020), Causal Inference: What If, chapter 13.

    Example:
        >>> from causalppl.data import Table
        >>> from causalppl.estimation.estimator import Problem
        >>> from causalppl.graphs import ADMG
        >>> from causalppl.identification import identify
        >>> table = Table.from_any({"Z": [0, 0, 0, 1, 1, 1] * 2, "X": [0, 0, 1, 0, 1, 1] * 2,
        ...                         "Y": [1.0, 2.0, 3.0, 2.5, 3.5, 4.5] * 2})
        >>> asked = identify(ADMG.parse("Z -> X -> Y; Z -> Y"), "ATE(X -> Y)")
        >>> round(float(GFormula().solve(Problem(asked, table), seed=0)), 3)
        1.5
    """

    outcome: Any = None
    pooled: bool = False
    name: ClassVar[str] = "g-formula"
    takes_numeric: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_learner("outcome", self.outcome)
        check_flags(self, "pooled")

    def model_assumption(self) -> str:
        """Say which models must be right."""
        return "the model of the outcome is right"

    def assumptions(self, design: AdjustmentDesign) -> tuple[str, ...]:
        """Say what an answer rests on."""
        found = super().assumptions(design)
        if not design.is_numeric:
            return found
        features = Features(design, tuple(self.terms))
        own = [term for term in self.terms if features.treats_in(term)]
        terms = f"with the terms {', '.join(own)}" if own else "linear in it"
        is_logistic = any(target.classes for target in find_targets(design))
        scale = " on the logistic scale" if is_logistic else ""
        regression = f"one regression with {design.treatment} as a number, {terms}{scale}"
        return (*found, f"{regression}, holds for all its values")

    def check(self, design: AdjustmentDesign) -> None:
        """Raise if a term is none, or one model cannot tell the arms apart."""
        treats = Features(design, tuple(self.terms)).treats
        self.check_pooled(design, pooled=self.pooled or treats)

    def compute(self, design: AdjustmentDesign, rng: np.random.Generator) -> Computed:
        """Estimate the means of a design, and say where there are no counterparts."""
        features = Features(design, tuple(self.terms))
        found = self._fitted(design, features)
        support = describe_support(design, features)
        trouble = (support.trouble,) if support.trouble else few_rows_worth(design.row_weights)
        for note in trouble:
            warn_user(note, OverlapWarning)
        return replace(
            found,
            ess=support.ess,
            notes=trouble,
            freedom=freedom_left(design.row_weights),
            diagnostics={**support.table, **found.diagnostics},
        )

    def values(self, design: AdjustmentDesign, rng: np.random.Generator) -> Array:
        """Estimate the means of a design, and nothing else."""
        return self._fitted(design, Features(design, tuple(self.terms))).values

    def _fitted(self, design: AdjustmentDesign, features: Features) -> Computed:
        pooled = self.pooled or features.treats or design.is_numeric
        values = np.zeros(len(design.means))
        influence = np.zeros((design.num_rows, len(values)))
        fits, parametric = [], True
        for job in outcome_jobs(design, features, pooled=pooled):
            learner = given_or(self.outcome, plain_learner(classes=job.target.classes))
            known, terms = job.training[0].shape
            if is_parametric(learner, terms) and known <= terms + 1:
                where = "" if pooled else f" with {design.arm_name(job.arms[0])}"
                raise DataError(
                    f"the model of {design.outcome} has {terms} terms and {known} rows{where}; "
                    "expected more rows: use fewer covariates, or a learner with a penalty"
                )
            fit = Fitted(learner, *job.training, classes=job.target.classes)
            fits.append(fit)
            parametric = parametric and is_parametric(learner, job.own.shape[1])
            for number, mean in enumerate(design.means):
                if mean.arm in job.arms and mean.event in job.events:
                    regression = _Regression(design, job, fit, mean)
                    values[number] = regression.value
                    if parametric:
                        influence[:, number] = regression.influence()
        warn_of_trouble(fits, design.outcome)
        names = list(dict.fromkeys(name_of(fit.learner) for fit in fits))
        found = {"outcome model": names}
        own = 0 if pooled else features.covariates.shape[1]
        return Computed(values, influence if parametric else None, diagnostics=found, terms=own)


@dataclass(frozen=True, eq=False)
class _Regression:
    """One mean by one fitted regression, and how each row moves it."""

    design: AdjustmentDesign
    job: "OutcomeJob"
    fit: Fitted
    mean: Mean

    @cached_property
    def there(self) -> Array:
        """What is predicted were everyone in the arm, one column for each state."""
        return self.fit.predict(self.job.matrix(self.mean.arm))

    @property
    def column(self) -> int | None:
        """The column asked about; None for a state never seen."""
        return self.fit.column(self.job.state(self.mean.event))

    @cached_property
    def weights(self) -> Array:
        """The share of each row in the population, with mean 1."""
        weights = self.design.population(self.mean) * self.design.row_weights
        return weights / weights.mean()

    @cached_property
    def value(self) -> float:
        if self.column is None:
            return 0.0
        return float(np.average(self.there[:, self.column], weights=self.weights))

    def influence(self) -> Array:
        if self.column is None:
            return np.zeros(self.design.num_rows)
        direct = self.weights * (self.there[:, self.column] - self.value)
        if len(self.fit.states) == 1:
            return direct
        own, there = with_constant(self.job.own), with_constant(self.job.matrix(self.mean.arm))
        residual, curvature, slope = self._logistic() if self.fit.is_logistic else self._linear()
        slope = (slope * self.weights[:, None]).T @ there / len(there)
        moved = coefficient_influence(
            own, self.job.rows, residual, curvature, slope, corrected=not self.fit.is_logistic
        )
        return direct + moved

    def _linear(self) -> tuple[Array, Array, Array]:
        column = slice(self.column, (self.column or 0) + 1)
        seen = self.job.target.values[:, None]
        if self.job.target.classes:
            seen = seen == self.fit.states[column]
        residual = seen - self.fit.predict(self.job.own)[:, column]
        return residual, np.ones((len(residual), 1, 1)), np.ones((len(residual), 1))

    def _logistic(self) -> tuple[Array, Array, Array]:
        own = self.fit.predict(self.job.own)
        seen = self.job.target.values[:, None] == self.fit.states
        return (
            (seen - own)[:, 1:],
            class_curvature(own)[:, 1:, 1:],
            class_curvature(self.there)[:, self.column or 0, 1:],
        )


# What is fitted to what.


class Target(NamedTuple):
    """One variable to predict: all states of a discrete outcome at once, or one number.

    Attributes:
        values: Shape ``(rows,)``.
        classes: Whether the values are states.
        picks: The events that it answers, by number, each with the state whose probability it is.
    """

    values: Array
    classes: bool
    picks: tuple[tuple[int, float], ...]


def find_targets(design: AdjustmentDesign) -> list[Target]:
    """Say what to predict, so that probabilities of all states add up to one."""
    outcome = numbers(design.table, design.outcome)
    few = len(np.unique(outcome[design.observed])) <= MOST_STATES
    equal = [
        (number, event[0][1])
        for number, event in enumerate(design.events)
        if few and len(event) == 1 and event[0][0] == "="
    ]
    targets = [Target(outcome, True, tuple(equal))] if equal else []
    for number, event in enumerate(design.events):
        if number not in dict(equal):
            values = design.response(event)
            binary = bool(np.isin(values[design.observed], (0.0, 1.0)).all())
            targets.append(Target(values, binary, ((number, 1.0),)))
    return targets


@dataclass(frozen=True, eq=False)
class OutcomeJob:
    """One regression of the outcome: what is predicted, from which rows, for which arms.

    Attributes:
        design: The rows.
        features: Their columns.
        target: What is predicted.
        arms: The arms that it predicts for.
        pooled: Whether it is fitted on all arms, with the treatment among the features.
    """

    design: AdjustmentDesign
    features: Features
    target: Target
    arms: tuple[int, ...]
    pooled: bool

    @cached_property
    def own(self) -> Array:
        """The features of the rows as they are."""
        return self.features.as_seen if self.pooled else self.features.covariates

    def matrix(self, arm: int) -> Array:
        """The features with the treatment set."""
        return self.features.with_arm(arm) if self.pooled else self.features.covariates

    @cached_property
    def rows(self) -> Array:
        """The weight of each row in the fit, 0 for those not used."""
        used = self.design.row_weights * self.design.observed
        return used if self.pooled else used * np.isin(self.design.arm, self.arms)

    @property
    def training(self) -> tuple[Array, Array, Array]:
        """Features, target and weights of the rows to fit on."""
        return self.part(np.ones(len(self.rows), bool))

    def part(self, rows: NDArray[np.bool_]) -> tuple[Array, Array, Array]:
        """Features, target and weights of those of some rows that can be fitted on."""
        used = rows & (self.rows > 0)
        return self.own[used], self.target.values[used], self.rows[used]

    @property
    def events(self) -> list[Tests]:
        """The events that it predicts."""
        return [self.design.events[number] for number, _ in self.target.picks]

    def state(self, event: Tests) -> float:
        """The state that an event is, among those of the target."""
        return dict(self.target.picks)[self.design.events.index(event)]


def outcome_jobs(
    design: AdjustmentDesign, features: Features, *, pooled: bool
) -> Iterator[OutcomeJob]:
    """List the regressions that the means of a design need."""
    for target in find_targets(design):
        for arms in [design.asked_arms] if pooled else [(arm,) for arm in design.asked_arms]:
            yield OutcomeJob(design, features, target, arms, pooled)


def predict_outcome(
    design: AdjustmentDesign,
    features: Features,
    learner: Any,
    folds: Sequence[Fold],
    rng: np.random.Generator,
    *,
    pooled: bool = False,
) -> tuple[Array, list[str]]:
    """Predict each event in each arm asked about, shape ``(rows, arms, events)``, else NaN.

    Args:
        design: The rows and events.
        features: Their columns.
        learner: From scikit-learn; None: chosen by cross-validation.
        folds: The rows to fit on and to predict.
        rng: For the choice.
        pooled: Fit one model for all arms, not one for each.

    Returns:
        The predictions, and the names of the learners used.
    """
    found = np.full((design.num_rows, len(design.arms), len(design.events)), np.nan)
    fits = []
    for job in outcome_jobs(design, features, pooled=pooled):
        classes = job.target.classes
        used = learner
        if used is None:
            used = choose_learner(*job.training[:2], rng, classes=classes)
        for fold in folds:
            fit = Fitted(used, *job.part(fold.train), classes=classes)
            fits.append(fit)
            for arm in job.arms:
                predicted = fit.predict(job.matrix(arm)[fold.test])
                for number, state in job.target.picks:
                    column = fit.column(state)
                    found[fold.test, arm, number] = 0 if column is None else predicted[:, column]
    warn_of_trouble(fits, design.outcome)
    return found, list(dict.fromkeys(name_of(fit.learner) for fit in fits))
