"""The estimator with the learners that it chose from the data, for use on changed data.

Choosing them anew for each change would take most of the time, and would test another thing: not
the estimate, but the choice.
"""

import warnings
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple

import numpy as np

from causalppl.estimation.adjustment_design import AdjustmentDesign
from causalppl.estimation.adjustment_estimator import FEWEST_DRAWS
from causalppl.estimation.doubly_robust import DoublyRobust
from causalppl.estimation.estimate import Array, Estimate
from causalppl.estimation.estimator import Estimator, Problem
from causalppl.estimation.features import Features
from causalppl.estimation.nuisance import choose_learner
from causalppl.estimation.outcome_regression import outcome_jobs
from causalppl.estimation.partially_linear import PartiallyLinear, doses
from causalppl.estimation.refutation_form import CHOSEN

__all__ = ["has_slow_learners", "with_fixed_learners"]

_FOLDS = 3


def with_fixed_learners(estimate: Estimate, rng: np.random.Generator) -> Estimate:
    """Choose the learners that were left open once, and draw no more rows than errors ask for.

    Args:
        estimate: What was computed, with its problem and estimator.
        rng: For the choice.

    Returns:
        The same estimate, whose estimator has its learners.
    """
    estimator, problem = estimate.estimator, estimate.problem
    assert estimator is not None
    assert problem is not None
    if isinstance(estimator, DoublyRobust):
        if estimator.outcome is None and estimator.propensity is None:
            estimate = replace(estimate, diagnostics={**estimate.diagnostics, CHOSEN: True})
        estimator = _doubly_robust(estimator, problem, rng)
    elif isinstance(estimator, PartiallyLinear):
        estimator = _partially_linear(estimator, problem, rng)
    return replace(estimate, estimator=_with_few_draws(estimator, estimate))


def has_slow_learners(estimate: Estimate) -> bool:
    """Say whether a learner is an ensemble, or a search: fitting it takes a hundred other fits."""
    estimator: Any = estimate.estimator
    return any(_is_slow(getattr(estimator, field.name)) for field in fields(estimator))


def _is_slow(learner: Any) -> bool:
    steps = getattr(learner, "steps", None)
    last = steps[-1][1] if steps else learner
    module = type(last).__module__
    is_search = module.startswith("sklearn.model_selection")
    return is_search or module.startswith("sklearn.ensemble") or hasattr(last, "n_estimators")


def _with_few_draws(estimator: Estimator, estimate: Estimate) -> Estimator:
    """Checks look at estimates only, not at their errors."""
    if estimate.draws is None or "bootstrap" not in [f.name for f in fields(estimator)]:  # type: ignore[arg-type]
        return estimator
    return replace(estimator, bootstrap=FEWEST_DRAWS)  # type: ignore[type-var]


class _Task(NamedTuple):
    """What a learner is to predict, from what."""

    matrix: Array
    target: Array
    classes: bool


def _doubly_robust(
    estimator: DoublyRobust, problem: Problem, rng: np.random.Generator
) -> DoublyRobust:
    design = AdjustmentDesign.from_problem(problem, estimator.covariates)
    features = Features(design, tuple(estimator.terms))
    pooled = estimator.pooled or features.treats
    arm = _Task(features.covariates, np.asarray(design.arm, float), True)
    jobs = outcome_jobs(design, features, pooled=pooled)
    tasks = [_Task(*job.training[:2], job.target.classes) for job in jobs]
    return replace(
        estimator,
        propensity=_chosen(estimator.propensity, [arm], rng),
        outcome=_chosen(estimator.outcome, tasks, rng),
    )


def _partially_linear(
    estimator: PartiallyLinear, problem: Problem, rng: np.random.Generator
) -> PartiallyLinear:
    design = AdjustmentDesign.from_problem(problem, estimator.covariates)
    matrix = Features(design, tuple(estimator.terms)).covariates
    outcomes = [design.response(event) for event in design.events]
    return replace(
        estimator,
        treatment=_chosen(estimator.treatment, [_slope_task(matrix, doses(design)[0])], rng),
        outcome=_chosen(estimator.outcome, [_slope_task(matrix, y) for y in outcomes], rng),
    )


def _slope_task(matrix: Array, target: Array) -> _Task:
    return _Task(matrix, target, bool(np.isin(target, (0.0, 1.0)).all()))


def _chosen(given: Any, tasks: Sequence[_Task], rng: np.random.Generator) -> Any:
    """One learner for all tasks: of those chosen for each, that with the least loss over all.

    None, to be chosen each time, where some tasks need a classifier and others a regressor.
    """
    if given is not None or len({task.classes for task in tasks}) != 1:
        return given
    learners = [choose_learner(m, y, rng, classes=classes) for m, y, classes in tasks]
    different = list({repr(learner): learner for learner in learners}.values())
    if len(different) == 1:
        return different[0]
    scores = [np.nansum([_score(learner, task) for task in tasks]) for learner in different]
    return different[int(np.argmax(scores))]


def _score(learner: Any, task: _Task) -> float:
    """Minus the loss of predictions of other rows, summed over the rows."""
    from sklearn.model_selection import KFold, cross_val_score

    labels: Any = np.unique(task.target, return_inverse=True)[1] if task.classes else task.target
    scoring = "neg_log_loss" if task.classes else "neg_mean_squared_error"
    split = KFold(_FOLDS, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = cross_val_score(learner, task.matrix, labels, cv=split, scoring=scoring)
    return float(found.mean()) * len(labels)
