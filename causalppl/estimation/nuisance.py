"""What estimators of effects need on the way: columns, features, folds, learners, their errors."""

import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from causalppl.data import Column, Table
from causalppl.estimation.estimate import Array
from causalppl.exceptions import ConvergenceWarning, DataError
from causalppl.queries import Value

if TYPE_CHECKING:
    from causalppl.estimation.adjustment_design import AdjustmentDesign

__all__ = ["Features", "Fitted", "Fold", "coefficient_influence", "find_folds", "is_parametric"]

Codes: TypeAlias = NDArray[np.int64]
MOST_STATES = 20
MOST_ROWS = 20_000_000
_TERM = re.compile(r"\s*([^\W\d][\w.]*)\s*(?:\^\s*(\d+))?\s*")
_ENOUGH_TO_CHOOSE = 5_000


# Columns.


def numbers(table: Table, name: str) -> Array:
    """The values or codes of a column, as float64."""
    return table[name].detach().cpu().numpy().astype(float)


def encoded(table: Table, value: Value | None, name: str) -> float:
    """A value as the column holds it, rounded as its numbers are."""
    return float(torch.tensor(table.encode(value, name), dtype=table[name].dtype))


def states(name: str, column: Column) -> tuple[Value, ...]:
    """The values that occur; refuses a column with too many."""
    if column.values.dim() > 1:
        raise DataError(f"{name} has several values in each row; expected one")
    found = np.unique(column.values.detach().cpu().numpy())
    if len(found) > MOST_STATES:
        raise DataError(
            f"{name} takes {len(found)} values; expected at most {MOST_STATES}, cut it into bands"
        )
    if column.categories is not None:
        return tuple(column.categories[code] for code in found if code >= 0)
    # the shortest text that is read back as the value: 0.1, not 0.10000000149
    kinds: dict[str, Any] = {"integer": int, "boolean": bool}
    read = kinds.get(column.kind, lambda value: float(str(value)))
    return tuple(read(value) for value in found if value == value)


def weighted_rows(table: Table, given: Any, complete: Iterable[str]) -> tuple[Table, Array]:
    """Keep complete rows, with their weights; counts become that many rows.

    Args:
        table: The rows.
        given: A weight for each, or None; whole numbers are counts, others sampling weights.
        complete: The columns that must have no gap.

    Returns:
        The rows, and weights with mean 1.

    Raises:
        DataError: The weights are no non-negative numbers, one for each row.
    """
    weights = np.ones(table.num_rows) if given is None else np.asarray(given, dtype=float)
    if weights.shape != (table.num_rows,) or not (weights >= 0).all() or not weights.any():
        raise DataError(
            f"the weights have shape {weights.shape}; expected ({table.num_rows},), one "
            "non-negative number for each row, not all 0"
        )
    are_counts = given is not None and bool((weights == weights.round()).all())
    if are_counts and weights.sum() > MOST_ROWS:
        raise DataError(
            f"the weights are counts of {weights.sum():,.0f} rows in all; expected at most "
            f"{MOST_ROWS:,} for models of rows: use Dirichlet() for tables of counts, or make "
            "sampling weights fractions"
        )
    if are_counts:
        place = np.repeat(np.arange(len(weights)), weights.astype(int))
        table, weights = table.rows(place), np.ones(len(place))
    masks = [table.column(name).missing for name in complete]
    gaps = [mask.cpu().numpy() for mask in masks if mask is not None]
    if gaps:
        weights = weights[~np.any(gaps, axis=0)]
    return table.drop_missing(complete), weights / weights.mean()


# Features.


@dataclass(frozen=True, eq=False)
class Features:
    """The covariates of a design as columns of numbers.

    Numbers are standardised, categories become one indicator each but the first that occurs.
    Powers and products are taken first and standardised then, so a term is what it says.

    Attributes:
        design: The rows.
        terms: Powers and products, such as ``"age^2"`` and ``"age*sex"``.
    """

    design: "AdjustmentDesign"
    terms: tuple[str, ...] = ()

    @cached_property
    def covariates(self) -> Array:
        """The columns that do not depend on the treatment, shape ``(rows, columns)``."""
        table = self.design.table
        columns = [_columns(table, name) for name in self.design.covariates]
        columns += [_product(table, parts) for parts in self._parts if not self._treats(parts)]
        return _standardised(np.concatenate([*columns, np.empty((self.design.num_rows, 0))], 1))

    @property
    def treats(self) -> bool:
        """Whether some term names the treatment."""
        return any(self._treats(parts) for parts in self._parts)

    def with_arm(self, arm: Codes | int) -> Array:
        """The columns with the treatment set: covariates, indicators of arms, products."""
        codes = np.broadcast_to(arm, self.design.num_rows)
        states = range(1, len(self.design.arms))
        indicators = np.stack([codes == state for state in states], 1) * 1.0
        products = [_times(indicators, factor) for factor in self._factors]
        return np.concatenate([self.covariates, indicators, *products], 1)

    @cached_property
    def _factors(self) -> list[Array]:
        """What the indicators of the arms are multiplied by in the terms that name it."""
        own = self.design.treatment
        rest = [[p for p in parts if p[0] != own] for parts in self._parts if self._treats(parts)]
        return [_standardised(_product(self.design.table, parts)) for parts in rest]

    @cached_property
    def _parts(self) -> list[list[tuple[str, int]]]:
        return [self._parsed(term) for term in self.terms]

    def _parsed(self, term: str) -> list[tuple[str, int]]:
        known = (*self.design.covariates, self.design.treatment)
        parts = [_TERM.fullmatch(part) for part in str(term).split("*")]
        for part in parts:
            if part is None:
                raise DataError(f"the term {term!r} is none; expected such as 'age^2' or 'age*sex'")
            if part[1] not in known:
                raise DataError(
                    f"the term {term!r} names {part[1]}, which is neither the treatment nor a "
                    f"covariate; expected among {', '.join(known)}"
                )
        return [(part[1], int(part[2] or 1)) for part in parts if part is not None]

    def _treats(self, parts: list[tuple[str, int]]) -> bool:
        return any(name == self.design.treatment for name, _ in parts)


def _columns(table: Table, name: str) -> Array:
    values = numbers(table, name)
    if table.column(name).categories is None:
        return values.reshape(len(values), -1)
    return np.stack([values == code for code in np.unique(values)[1:]] or [values * 0], 1) * 1.0


def _product(table: Table, parts: Sequence[tuple[str, int]]) -> Array:
    found = np.ones((table.num_rows, 1))
    for name, power in parts:
        found = _times(found, _columns(table, name) ** power)
    return found


def _times(first: Array, second: Array) -> Array:
    """All products of a column of the one with a column of the other."""
    return (first[:, :, None] * second[:, None, :]).reshape(len(first), -1)


def _standardised(columns: Array) -> Array:
    """Centre and scale; constant columns are left out."""
    spread = columns.std(0)
    kept = spread > 1e-12 * np.abs(columns).max(0, initial=1.0)
    return (columns[:, kept] - columns[:, kept].mean(0)) / spread[kept]


# Folds and learners.


class Fold(NamedTuple):
    """Rows to fit on, and rows to predict; the same rows where there is no cross-fitting."""

    train: NDArray[np.bool_]
    test: NDArray[np.bool_]


def find_folds(design: "AdjustmentDesign", count: int, rng: np.random.Generator) -> list[Fold]:
    """Split the rows at random into folds that hold equal shares of each arm.

    Raises:
        DataError: An arm has fewer rows than there are folds.
    """
    everywhere = np.ones(design.num_rows, bool)
    if count == 1:
        return [Fold(everywhere, everywhere)]
    sizes = np.bincount(design.arm, minlength=len(design.arms))
    if sizes.min() < count:
        raise DataError(
            f"{design.treatment} is {design.arms[sizes.argmin()]!r} in {sizes.min()} rows; "
            f"expected at least one for each of {count} folds, use fewer folds"
        )
    place = np.empty(design.num_rows, int)
    order = rng.permutation(design.num_rows)
    order = order[np.argsort(design.arm[order], kind="stable")]
    place[order] = np.arange(design.num_rows) % count
    return [Fold(place != number, place == number) for number in range(count)]


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
    that matters in large samples (van der Laan, Polley and Hubbard, 2007).
    """
    from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score

    labels: Any = np.unique(target, return_inverse=True)[1] if classes else target
    rows = rng.permutation(len(matrix))[:_ENOUGH_TO_CHOOSE]
    counts = np.unique(labels[rows], return_counts=True)[1]
    if matrix.shape[1] == 0 or len(rows) < 10 or len(counts) == 1 or (classes and counts.min() < 3):
        return plain_learner(classes=classes)
    split = (StratifiedKFold if classes else KFold)(3)
    scoring = "neg_log_loss" if classes else "neg_mean_squared_error"
    candidates = _candidates(matrix.shape[1], len(matrix), classes=classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = [
            cross_val_score(learner, matrix[rows], labels[rows], cv=split, scoring=scoring).mean()
            for learner in candidates
        ]
    return candidates[int(np.nanargmax(scores))]


def _candidates(num_columns: int, num_rows: int, *, classes: bool) -> list[Any]:
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
        with warnings.catch_warnings(record=True) as log:
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
        warnings.warn(
            f"the model of {what} has not converged ({trouble[0]}); give a learner with more "
            "iterations or a penalty",
            ConvergenceWarning,
            stacklevel=2,
        )


def name_of(learner: Any) -> str:
    """A short name for results: the class, of a pipeline its steps."""
    steps = getattr(learner, "steps", None)
    return " + ".join(type(s).__name__ for _, s in steps) if steps else type(learner).__name__


# Errors of regressions without penalty.


def coefficient_influence(
    matrix: Array,
    rows: Array,
    residual: Array,
    curvature: Array,
    slope: Array,
    *,
    corrected: bool = False,
) -> Array:
    """How each row moves a number through the coefficients of a regression.

    Args:
        matrix: Shape ``(rows, columns)``, with the constant.
        rows: The weight of each row in the fit; 0 for those not used.
        residual: Shape ``(rows, equations)``: of a linear regression one, of a logistic one for
            each class but the first.
        curvature: Shape ``(rows, equations, equations)``: the derivative of the fitted values by
            the linear predictors; ones for a linear regression.
        slope: Shape ``(equations, columns)``: the derivative of the number by the coefficients.
        corrected: Divide residuals by the root of one minus the leverage, for one equation.

    Returns:
        Shape ``(rows,)``.

    References:
        White (1980); MacKinnon and White (1985) for the correction, HC2; Stefanski and Boos (2002).
    """
    each = range(len(slope))
    weights = curvature * (rows / len(matrix))[:, None, None]
    bread = np.block([[(matrix.T * weights[:, j, k]) @ matrix for k in each] for j in each])
    inverse = np.linalg.pinv(bread, hermitian=True)
    moved = matrix @ (inverse @ slope.reshape(-1)).reshape(slope.shape).T
    if corrected and residual.shape[1] == 1:
        leverage = np.einsum("ni,ij,nj->n", matrix, inverse, matrix) / len(matrix)
        leverage *= curvature[:, 0, 0] * rows
        residual = residual / np.sqrt(np.maximum(1 - leverage, 1e-6))[:, None]
    return np.asarray(rows * (moved * residual).sum(1))


def class_curvature(probabilities: Array) -> Array:
    """The derivative of class probabilities by their linear predictors, ``(rows, k, k)``."""
    k = probabilities.shape[1]
    return probabilities[:, :, None] * (np.eye(k) - probabilities[:, None, :])


def with_constant(matrix: Array) -> Array:
    """Put a column of ones first."""
    return np.concatenate([np.ones((len(matrix), 1)), matrix], 1)
