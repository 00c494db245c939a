"""Learners of scikit-learn for outcome and treatment: which to take, how they are fitted."""

import importlib
import sys
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import numpy as np

from causalppl.estimation.estimate import Array
from causalppl.exceptions import ConvergenceWarning, DataError
from causalppl.user_warning import warn_user

__all__ = ["Fitted", "check_learner", "choose_learner", "is_parametric", "plain_learner"]

_ENOUGH_TO_CHOOSE = 5_000
_FEW = 30  # rows, or rows of a class, from which little can be learned
_FOLDS = 3
_LARGEST = 1_000  # a penalty that leaves the shares of the classes


def is_parametric(learner: Any, num_columns: int) -> bool:
    """Whether it is a regression without penalty, whose errors have a formula."""
    from sklearn.linear_model import LinearRegression, LogisticRegression

    if num_columns == 0:
        return True  # a mean, whatever the learner
    if isinstance(learner, LogisticRegression):
        return (learner.C == np.inf or learner.penalty is None) and learner.fit_intercept
    return isinstance(learner, LinearRegression) and learner.fit_intercept and not learner.positive


def check_learner(name: str, learner: Any, *, for_classes: bool = False) -> None:
    """Refuse a setting that is no learner of scikit-learn, or gives no probabilities."""
    if learner is None:
        return
    if isinstance(learner, type) or not (
        hasattr(learner, "fit") and hasattr(learner, "get_params")
    ):
        raise DataError(
            f"{name} is {learner!r}; expected an estimator of scikit-learn, such as "
            "LinearRegression()"
        )
    if for_classes and not hasattr(learner, "predict_proba"):
        raise DataError(
            f"{name} is {learner!r}, which gives no probabilities; expected a classifier with "
            "predict_proba, such as LogisticRegression()"
        )


def given_or(learner: Any, default: Any) -> Any:
    """The learner, if one was given; an ensemble that is not fitted has no truth value."""
    return default if learner is None else learner


def plain_learner(*, classes: bool) -> Any:
    """A regression on main effects without penalty."""
    from sklearn.linear_model import LinearRegression, LogisticRegression

    if not classes:
        return LinearRegression()
    return LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=100)


def choose_learner(matrix: Array, target: Array, rng: np.random.Generator, *, classes: bool) -> Any:
    """Choose by cross-validation: main effects, squares and products, or boosted trees.

    The choice is made on at most 5,000 rows. A choice among three costs cross-fitting nothing
    that matters in large samples (van der Laan, Polley and Hubbard, 2007). From fewer than 30 rows,
    or rows of a class, little can be learned but a mean: the choice is then among regressions on
    main effects whose penalties are the larger the fewer rows there are, up to one that leaves
    the mean.
    """
    from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score

    labels: Any = np.unique(target, return_inverse=True)[1] if classes else target
    rows = rng.permutation(len(matrix))[:_ENOUGH_TO_CHOOSE]
    counts = np.unique(labels[rows], return_counts=True)[1]
    if matrix.shape[1] == 0 or len(counts) == 1:
        return plain_learner(classes=classes)
    fewest = int(counts.min()) if classes else len(rows)
    if fewest < _FEW:
        candidates = _cautious_learners(fewest, matrix.shape[1], classes=classes)
    else:
        candidates = _candidates(len(matrix), matrix.shape[1], classes=classes)
    if len(candidates) == 1 or fewest < _FOLDS:
        return candidates[-1]
    split = (StratifiedKFold if classes else KFold)(_FOLDS)
    scoring = "neg_log_loss" if classes else "neg_mean_squared_error"
    with warnings.catch_warnings(), one_thread(len(rows)):
        warnings.simplefilter("ignore")
        scores = [
            cross_val_score(learner, matrix[rows], labels[rows], cv=split, scoring=scoring).mean()
            for learner in candidates
        ]
    return candidates[int(np.nanargmax(scores))]


def _cautious_learners(count: int, num_columns: int, *, classes: bool) -> list[Any]:
    """List learners for few rows, the first with a penalty that allows for ten rows a column."""
    from sklearn.linear_model import LogisticRegression, RidgeCV

    penalty = max(10 * num_columns / count, 1)
    if classes:
        return [LogisticRegression(C=1 / p) for p in (penalty, 10 * penalty, _LARGEST)]
    return [RidgeCV(np.geomspace(penalty, 1e6, 16))]


def _candidates(num_rows: int, num_columns: int, *, classes: bool) -> list[Any]:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    squares = num_columns * (num_columns + 3) // 2
    ridge = RidgeCV(np.logspace(-2, 3, 6)) if num_rows <= 2 * _ENOUGH_TO_CHOOSE else Ridge(1.0)
    final = LogisticRegression(solver="newton-cholesky") if classes else ridge
    boosted = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    found = [LogisticRegression() if classes else Ridge(1.0)]
    if squares < min(num_rows / 4, 300):
        quadratic = PolynomialFeatures(2, include_bias=False)
        found.append(make_pipeline(quadratic, StandardScaler(), final))
    return [*found, boosted(max_iter=100, max_leaf_nodes=8, random_state=0)]


def one_thread(num_rows: int) -> AbstractContextManager[Any]:
    """Keep learners to one thread on few rows, where several cost more than they save."""
    if num_rows > _ENOUGH_TO_CHOOSE:
        return nullcontext()
    limited: AbstractContextManager[Any] = _thread_pools(len(sys.modules)).limit(limits=1)
    return limited


@lru_cache(maxsize=1)
def _thread_pools(num_modules: int) -> Any:
    """Find the libraries with threads; anew once modules were imported, which may bring others."""
    threads: Any = importlib.import_module("threadpoolctl")  # scikit-learn needs it
    return threads.ThreadpoolController()


class Fitted:
    """A learner fitted to a target.

    A target that is constant, or a matrix without columns, needs no learner.

    Attributes:
        learner: The learner, not fitted.
        states: The classes, in the order of the columns that are predicted; empty for numbers.
        is_logistic: Whether it predicts classes as classes (a mean counts as such).
        trouble: What the learner said if it did not converge.
    """

    def __init__(
        self, learner: Any, matrix: Array, target: Array, weights: Array, *, classes: bool
    ) -> None:
        from sklearn.base import clone, is_classifier

        self.learner = learner
        self.states = np.unique(target) if classes else np.empty(0)
        self.trouble: str | None = None
        self.constant: Array | None = None
        shown = (target[:, None] == self.states) * 1.0 if classes else target[:, None]
        if matrix.shape[1] == 0 or len(self.states) == 1:
            self.constant = np.average(shown, axis=0, weights=weights)
            self.is_logistic = classes
            return
        if is_classifier(learner) and not classes:
            raise DataError(
                f"{learner} predicts classes, but the outcome is a number; expected a regressor"
            )
        self.is_logistic = self._by_class = classes and is_classifier(learner)
        with warnings.catch_warnings(record=True) as log, one_thread(len(matrix)):
            warnings.simplefilter("always")
            codes: Any = np.searchsorted(self.states, target) if classes else target
            goals = [codes] if self._by_class else list(shown.T)
            self._models = [_fit(clone(learner), matrix, goal, weights) for goal in goals]
        failed = [str(w.message) for w in log if "onverge" in w.category.__name__]
        self.trouble = failed[0] if failed else None

    def column(self, state: float) -> int | None:
        """The column that a state has in predictions; None if it was never seen."""
        if not len(self.states):
            return 0
        return next((place for place, seen in enumerate(self.states) if seen == state), None)

    def predict(self, matrix: Array) -> Array:
        """Predict the probabilities of the states, or the mean in one column."""
        if self.constant is not None:
            return np.tile(self.constant, (len(matrix), 1))
        if self._by_class:
            return np.asarray(self._models[0].predict_proba(matrix))
        return np.stack([np.asarray(m.predict(matrix)).reshape(-1) for m in self._models], 1)


def _fit(learner: Any, matrix: Array, target: Array, weights: Array) -> Any:
    settings = learner.get_params()
    seeds = {k: 0 for k, v in settings.items() if k.endswith("random_state") and v is None}
    learner.set_params(**seeds)
    if np.ptp(weights) == 0:
        return learner.fit(matrix, target)
    from sklearn.pipeline import Pipeline
    from sklearn.utils.validation import has_fit_parameter

    last, prefix = learner, ""
    if isinstance(learner, Pipeline):
        name, last = learner.steps[-1]
        prefix = f"{name}__"
    if not has_fit_parameter(last, "sample_weight"):
        raise DataError(f"{learner} takes no sample_weight, but the rows have weights; use another")
    return learner.fit(matrix, target, **{f"{prefix}sample_weight": weights})


def warn_of_trouble(fits: Sequence[Fitted], what: str) -> None:
    """Warn once if some fit has not converged."""
    trouble = [fit.trouble for fit in fits if fit.trouble]
    if trouble:
        warn_user(
            f"the model of {what} has not converged ({trouble[0]}); give a learner with more "
            "iterations or a penalty",
            ConvergenceWarning,
        )


def name_of(learner: Any) -> str:
    """A short name for results: the class, of a pipeline its steps."""
    steps = getattr(learner, "steps", None)
    return " + ".join(type(s).__name__ for _, s in steps) if steps else type(learner).__name__
