"""Doubly robust estimators: right in large samples if either of two models is."""

import warnings
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from scipy.special import expit, logit

from causalppl.estimation.adjustment_design import AdjustmentDesign
from causalppl.estimation.adjustment_estimator import (
    AdjustmentEstimator,
    Computed,
    described,
)
from causalppl.estimation.adjustment_question import Mean
from causalppl.estimation.column_values import numbers
from causalppl.estimation.estimate import Array, Estimate
from causalppl.estimation.estimator import Problem
from causalppl.estimation.features import Features
from causalppl.estimation.folds import find_folds
from causalppl.estimation.nuisance import check_learner, choose_learner, name_of
from causalppl.estimation.outcome_regression import predict_outcome
from causalppl.estimation.overlap import (
    balancing_weights,
    describe_overlap,
    overlap_table,
    warn_of_poor_overlap,
)
from causalppl.estimation.propensity import TreatmentModel
from causalppl.estimation.repeated_splits import median_over_splits
from causalppl.estimation.settings import check_count, check_flags, check_fraction
from causalppl.estimation.weighting import rows_to_keep, spread_out
from causalppl.exceptions import DataError
from causalppl.inference.progress import progress_bar

__all__ = ["AIPW", "TMLE", "DoublyRobust"]

_STRIDE = 1_000_003  # between the seeds of splits, so that those of two answers differ


@dataclass(frozen=True)
class DoublyRobust(AdjustmentEstimator):
    """What AIPW and TMLE have in common: two models, cross-fitted.

    Attributes:
        outcome: A regressor or classifier of scikit-learn for the outcome. By default
            cross-validation chooses among regression on main effects, regression on squares and
            products, and boosted trees, for each arm.
        propensity: A classifier of scikit-learn for the treatment; by default chosen likewise.
        folds: In how many parts to split the rows; each is predicted by models fitted on the
            others, so that learners may be flexible. 1: models are fitted and used on all rows.
        pooled: Fit one outcome model for all arms, with indicators of the arms, rather than one
            for each; so it is when a term names the treatment.
        clip: Raise chances below this to it.
        trim: Leave out rows with a chance below this of an arm asked about, then fit anew; the
            answer is about the rows that stay.
        repeats: How often to split the rows anew. With 2 or more the answer is the median over
            the splits (of a law the split in the middle, so that it sums to 1), and its error
            allows for their spread: where overlap is poor, one split can move it by a good part
            of its error. The interval is by formula then.

    References:
        Chernozhukov et al. (2018), Double/debiased machine learning for treatment and structural
        parameters, section 3.4, for the median over splits.
    """

    outcome: Any = None
    propensity: Any = None
    folds: int = 5
    pooled: bool = False
    clip: float = 0.01
    trim: float = 0.0
    repeats: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_learner("outcome", self.outcome)
        check_learner("propensity", self.propensity, for_classes=True)
        check_fraction("clip", self.clip)
        check_fraction("trim", self.trim)
        check_count("folds", self.folds, 1, 5)
        check_count("repeats", self.repeats, 1, 5)
        check_flags(self, "pooled")
        if self.repeats > 1 and self.bootstrap:
            raise DataError(
                f"repeats is {self.repeats} and bootstrap {self.bootstrap}; expected one of them: "
                "errors over repeats are by formula, leave bootstrap out"
            )

    def model_assumption(self) -> str:
        """Say which models must be right."""
        return (
            "the model of the outcome or that of the treatment is right (for the interval: both "
            "come close fast enough)"
        )

    def check(self, design: AdjustmentDesign) -> None:
        """Raise if a term is none, or an arm has too few rows for the folds."""
        treats = Features(design, tuple(self.terms)).treats
        self.check_pooled(design, pooled=self.pooled or treats)
        find_folds(design, self.folds, np.random.default_rng(0))

    def solve(self, problem: Problem, *, seed: int, progress: bool = False) -> Estimate:
        """Estimate the means, by one split of the rows or several, see `Estimator.solve`."""
        if self.repeats == 1:
            return super().solve(problem, seed=seed, progress=progress)
        once, found = replace(self, repeats=1), list[Estimate]()
        with progress_bar(self.repeats, "splits", progress=progress) as bar:
            for number in range(self.repeats):
                with warnings.catch_warnings():
                    if number:
                        warnings.simplefilter("ignore")  # said once
                    found.append(once.solve(problem, seed=seed + _STRIDE * number))
                bar.update()
        return median_over_splits(found, described(self))

    def treatment_model(
        self, design: AdjustmentDesign, features: Features, rng: np.random.Generator
    ) -> TreatmentModel:
        """Fit the model of the treatment, cross-fitted."""
        learner = self.propensity
        if learner is None:
            arm = np.asarray(design.arm, float)
            learner = choose_learner(features.covariates, arm, rng, classes=True)
        folds = find_folds(design, self.folds, rng)
        return TreatmentModel.fitted(design, features, learner, folds)

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
        overlaps = describe_overlap(design, raw, clip=self.clip)
        warn_of_poor_overlap(design, overlaps)
        pooled = self.pooled or features.treats
        predicted, names = predict_outcome(
            design, features, self.outcome, model.folds, rng, pooled=pooled
        )
        propensities = np.maximum(raw, self.clip)
        parts = []
        for mean in design.means:
            guess = predicted[:, mean.arm, design.events.index(mean.event)]
            weights = balancing_weights(design, propensities, mean)
            parts.append(self.mean(design, mean, guess, weights))
        values, influence = _with_unit_mass(
            design,
            np.array([value for value, _ in parts]),
            np.stack([influence for _, influence in parts], 1),
        )
        clipped = float((raw[:, list(design.asked_arms)] < self.clip).any(1).mean())
        note = f"in {clipped:.1%} of the rows a chance below {self.clip:g} was raised to it"
        return Computed(
            values,
            influence,
            ess=tuple(overlap.ess for overlap in overlaps),
            notes=(note,) if clipped else (),
            diagnostics={
                **overlap_table(overlaps),
                "clipped": clipped,
                "folds": self.folds,
                "outcome model": names,
                "treatment model": name_of(model.learner),
            },
        )

    @abstractmethod
    def mean(
        self, design: AdjustmentDesign, mean: Mean, predicted: Array, weights: Array
    ) -> tuple[float, Array]:
        """Estimate one mean, and the influence of each row.

        Args:
            design: The rows.
            mean: The mean.
            predicted: The outcome predicted for each row in the arm of the mean.
            weights: What the rows of the arm weigh to stand for the population.
        """


@dataclass(frozen=True)
class AIPW(DoublyRobust):
    """Augmented inverse probability weighting, cross-fitted: double machine learning.

    The mean of the outcome predicted, corrected by the weighted residuals of the arm, as the
    efficient influence function says. For ATE this is the interactive model of Chernozhukov et al.

    Attributes:
        outcome: A regressor or classifier of scikit-learn for the outcome. By default
            cross-validation chooses among regression on main effects, regression on squares and
            products, and boosted trees, for each arm.
        propensity: A classifier of scikit-learn for the treatment; by default chosen likewise.
        folds: In how many parts to split the rows; each is predicted by models fitted on the
            others, so that learners may be flexible. 1: models are fitted and used on all rows.
        pooled: Fit one outcome model for all arms, with indicators of the arms, rather than one for
            each; so it is when a term names the treatment.
        clip: Raise chances below this to it.
        trim: Leave out rows with a chance below this of an arm asked about, then fit anew; the
            answer is about the rows that stay.
        repeats: How often to split the rows anew. With 2 or more the answer is the median over the
            splits, its error allows for their spread, and ``bootstrap`` must be left out.
        covariates: What to adjust for instead of the formula's covariates; must be an adjustment
            set of the diagram. The table must hold them.
        terms: Powers and products beside the covariates themselves: ``"age^2"``, ``"age*sex"``. One
            that names the treatment enters the outcome model only, which is then one for all arms.
        bootstrap: How many times to draw the rows anew for the errors, at least 20; 0: errors by
            formula, or none; None: by formula where there is one, else 200 draws.

    Raises:
        DataError: A setting is out of range, or a learner lacks the methods of scikit-learn; or
            both ``repeats`` and ``bootstrap`` are given.

    References:
        Robins, Rotnitzky and Zhao (1994); Hahn (1998) for the effect on the treated; Chernozhukov
        et al. (2018), Double/debiased machine learning for treatment and structural parameters.

    Example:
        >>> import numpy as np
        >>> from causalppl.estimation.estimator import Problem
        >>> from causalppl.data import Table
        >>> from causalppl.graphs import ADMG
        >>> from causalppl.identification import identify
        >>> rng = np.random.default_rng(0)
        >>> z = rng.normal(size=400)
        >>> x = (rng.random(400) < 1 / (1 + np.exp(-z))) * 1
        >>> table = Table.from_any({"Z": z, "X": x, "Y": 2.0 * x + z + rng.normal(size=400)})
        >>> asked = identify(ADMG.parse("Z -> X -> Y; Z -> Y"), "ATE(X -> Y)")
        >>> low, high = AIPW(folds=2).solve(Problem(asked, table), seed=0).interval()
        >>> bool(low < 2 < high)
        True
    """

    name: ClassVar[str] = "AIPW"

    def mean(
        self, design: AdjustmentDesign, mean: Mean, predicted: Array, weights: Array
    ) -> tuple[float, Array]:
        """Estimate one mean by the efficient influence function."""
        population = design.population(mean) * design.row_weights
        scores = population * predicted + _residuals(design, mean, predicted, weights)
        value = float(scores.sum() / population.sum())
        return value, (scores - value * population) / population.mean()


@dataclass(frozen=True)
class TMLE(DoublyRobust):
    """Targeted maximum likelihood, cross-fitted.

    Predictions are moved, on the logistic scale between the smallest and the largest outcome, until
    their weighted residuals in the arm sum to zero; then they are averaged. The estimate therefore
    stays where outcomes can be.

    Attributes:
        outcome: A regressor or classifier of scikit-learn for the outcome. By default
            cross-validation chooses among regression on main effects, regression on squares and
            products, and boosted trees, for each arm.
        propensity: A classifier of scikit-learn for the treatment; by default chosen likewise.
        folds: In how many parts to split the rows; each is predicted by models fitted on the
            others, so that learners may be flexible. 1: models are fitted and used on all rows.
        pooled: Fit one outcome model for all arms, with indicators of the arms, rather than one for
            each; so it is when a term names the treatment.
        clip: Raise chances below this to it.
        trim: Leave out rows with a chance below this of an arm asked about, then fit anew; the
            answer is about the rows that stay.
        repeats: How often to split the rows anew. With 2 or more the answer is the median over the
            splits, its error allows for their spread, and ``bootstrap`` must be left out.
        covariates: What to adjust for instead of the formula's covariates; must be an adjustment
            set of the diagram. The table must hold them.
        terms: Powers and products beside the covariates themselves: ``"age^2"``, ``"age*sex"``. One
            that names the treatment enters the outcome model only, which is then one for all arms.
        bootstrap: How many times to draw the rows anew for the errors, at least 20; 0: errors by
            formula, or none; None: by formula where there is one, else 200 draws.

    Raises:
        DataError: A setting is out of range, or a learner lacks the methods of scikit-learn; or
            both ``repeats`` and ``bootstrap`` are given.

    References:
        van der Laan and Rubin (2006); Gruber and van der Laan (2010) for the logistic scale; Zheng
        and van der Laan (2011) for cross-fitting.

    Example:
        >>> TMLE(folds=2).folds
        2
    """

    name: ClassVar[str] = "TMLE"

    def mean(
        self, design: AdjustmentDesign, mean: Mean, predicted: Array, weights: Array
    ) -> tuple[float, Array]:
        """Estimate one mean by predictions that solve the efficient influence function."""
        y = design.response(mean.event)
        low, high = y[design.observed].min(), y[design.observed].max()
        if low < high:
            start = logit(np.clip((predicted - low) / (high - low), 1e-3, 1 - 1e-3))
            shift = _solve_shift(start, (y - low) / (high - low), weights)
            predicted = low + (high - low) * expit(start + shift)
        population = design.population(mean) * design.row_weights
        value = float(np.average(predicted, weights=population))
        residuals = _residuals(design, mean, predicted, weights)
        return value, (population * (predicted - value) + residuals) / population.mean()


def _with_unit_mass(
    design: AdjustmentDesign, values: Array, influence: Array
) -> tuple[Array, Array]:
    """Hold probabilities of all states of the outcome at 0 or above; divide them by their sum.

    AIPW's sum is one already, and some may be below 0; TMLE moves each probability by itself.
    """
    states = set(numbers(design.table, design.outcome)[design.observed].tolist())
    groups: dict[Mean, list[int]] = {}
    for number, mean in enumerate(design.means):
        groups.setdefault(mean._replace(event=()), []).append(number)
    for group in groups.values():
        events = [design.means[number].event for number in group]
        asked = {bound for event in events for op, bound in event if op == "="}
        if asked == states and all(len(event) == 1 for event in events):
            values[group] = np.maximum(values[group], 0.0)
            mass = values[group].sum()
            moved = influence[:, group].sum(1, keepdims=True) * (values[group] / mass)
            influence[:, group] = (influence[:, group] - moved) / mass
            values[group] = values[group] / mass
    return values, influence


def _residuals(design: AdjustmentDesign, mean: Mean, predicted: Array, weights: Array) -> Array:
    return np.asarray(weights * (design.response(mean.event) - predicted))


def _solve_shift(start: Array, y: Array, weights: Array) -> float:
    """Find the shift of the linear predictors at which weighted residuals sum to zero.

    Residuals fall in the shift, and at most 40 either way moves every prediction to its end.
    """
    from scipy.optimize import brentq

    rows = weights > 0
    start, y, weights = start[rows], y[rows], weights[rows]

    def remaining(shift: float) -> float:
        return float(weights @ (y - expit(start + shift)))

    if remaining(40.0) >= 0:
        return 40.0
    return -40.0 if remaining(-40.0) <= 0 else float(brentq(remaining, -40.0, 40.0, xtol=1e-12))
