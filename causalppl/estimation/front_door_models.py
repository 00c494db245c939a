"""The default models of the front door: linear and logistic regression on squares and products.

They are small and are fitted thousands of times in a bootstrap, so they are written out here: each
solves the same penalised problem as scikit-learn's model of that name behind a scaler.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]
Predict: TypeAlias = Callable[[Array], Array]

_MOST_CROSSED = 15  # features whose squares and products are taken
_MEAN_PENALTY = 0.1  # on squared coefficients of standardised terms, beside the sum of squares
_CLASS_PENALTY = 0.1  # the same, twice, beside the sum of log losses
_MOST_STEPS = 100
_SMALL_GAIN = 1e-12  # of a step of Newton's method, in nats a row


@dataclass(frozen=True, eq=False)
class _Terms:
    """Features with their squares and products, standardised as they were in the fit."""

    crosses: bool
    centre: Array
    scale: Array

    @classmethod
    def of(cls, features: Array, weights: Array | None = None) -> "_Terms":
        crosses = features.shape[1] <= _MOST_CROSSED
        raw = _crossed(features) if crosses else features
        centre = np.average(raw, axis=0, weights=weights)
        spread = np.sqrt(np.average((raw - centre) ** 2, axis=0, weights=weights))
        return cls(crosses, centre, np.where(spread > 1e-12, spread, 1.0))

    def __call__(self, new: Array) -> Array:
        raw = _crossed(new) if self.crosses else np.array(new)
        raw -= self.centre
        raw /= self.scale
        return raw


def _crossed(features: Array) -> Array:
    """Append squares and products; a new array, column by column in memory."""
    rows, size = features.shape
    first, second = np.triu_indices(size)
    found = np.empty((rows, size + len(first)), order="F")
    found[:, :size] = features
    for place, (i, j) in enumerate(zip(first, second, strict=True), start=size):
        np.multiply(found[:, i], found[:, j], out=found[:, place])
    return found


def fit_mean(
    model: Any, features: Array, y: Array, seed: int, weights: Array | None = None
) -> Predict:
    """Fit a mean: by a scikit-learn model or, for None, ridge regression.

    Without features it is the average.

    Args:
        model: A regressor, or None.
        features: Shape ``(rows, features)``.
        y: Shape ``(rows,)``.
        seed: For a model that takes one.
        weights: How often each row counts, ``(rows,)``; for the default model alone.

    Returns:
        What predicts means, ``(new rows,)``, from ``(new rows, features)``.
    """
    average = float(np.average(y, weights=weights))
    if not features.shape[1]:
        return lambda new: np.full(len(new), average)
    if model is not None:
        fitted = _copied(model, seed).fit(features, y)
        return lambda new: np.asarray(fitted.predict(new), dtype=float)
    terms = _Terms.of(features, weights)
    z = terms(features)
    weighted = z if weights is None else z * weights[:, None]
    bend = weighted.T @ z + _MEAN_PENALTY * np.eye(z.shape[1])
    slopes = np.linalg.solve(bend, weighted.T @ (y - average))
    return lambda new: np.asarray(average + terms(new) @ slopes)


def fit_classes(
    model: Any,
    features: Array,
    codes: Codes,
    count: int,
    seed: int,
    weights: Array | None = None,
) -> Predict:
    """Fit probabilities of classes: by a scikit-learn model or, for None, logistic regression.

    Without features, or where one class alone occurs, they are the frequencies.

    Args:
        model: A classifier, or None.
        features: Shape ``(rows, features)``.
        codes: Classes from 0 up, ``(rows,)``.
        count: Number of classes.
        seed: For a model that takes one.
        weights: How often each row counts, ``(rows,)``; for the default model alone.

    Returns:
        What predicts probabilities, ``(new rows, count)``, from ``(new rows, features)``.
    """
    present = np.unique(codes)
    if not features.shape[1] or len(present) == 1:
        frequency = np.bincount(codes, weights, minlength=count)
        frequency = frequency / frequency.sum()
        return lambda new: np.tile(frequency, (len(new), 1))
    if model is None and len(present) == 2:
        return _two_classes(features, codes, present, count, weights)
    prepare: Callable[[Array], Array] = np.asarray
    if model is None:
        from sklearn.linear_model import LogisticRegression

        prepare = _Terms.of(features, weights)
        model = LogisticRegression(C=1 / _CLASS_PENALTY, max_iter=1000)
    options = {} if weights is None else {"sample_weight": weights}
    fitted = _copied(model, seed).fit(prepare(features), codes, **options)

    def predict(new: Array) -> Array:
        found = np.zeros((len(new), count))
        found[:, fitted.classes_] = fitted.predict_proba(prepare(new))
        return found

    return predict


def _two_classes(
    features: Array, codes: Codes, present: Codes, count: int, weights: Array | None
) -> Predict:
    terms = _Terms.of(features, weights)
    each = np.ones(len(codes)) if weights is None else weights
    slopes = _logistic(_with_one(terms(features)), codes == present[1], each)

    def predict(new: Array) -> Array:
        found = np.zeros((len(new), count))
        found[:, present[1]] = expit(_with_one(terms(new)) @ slopes)
        found[:, present[0]] = 1 - found[:, present[1]]
        return found

    return predict


def _with_one(z: Array) -> Array:
    return np.asfortranarray(np.column_stack([z, np.ones(len(z))]))


def _logistic(z: Array, holds: NDArray[np.bool_], weights: Array) -> Array:
    """Penalised logistic regression by Newton's method; the last column is not penalised."""
    penalty = np.full(z.shape[1], _CLASS_PENALTY)
    penalty[-1] = 0.0
    slopes = np.zeros(z.shape[1])
    slopes[-1] = logit(np.average(holds, weights=weights))
    linear = z @ slopes

    def loss(linear: Array, slopes: Array) -> float:
        # log(1 + exp(t)) without overflow
        costs = np.log1p(np.exp(-np.abs(linear))) + np.maximum(linear, 0) - linear * holds
        return float(weights @ costs + penalty @ slopes**2 / 2)

    now = loss(linear, slopes)
    for _ in range(_MOST_STEPS):
        p = expit(linear)
        rise = z.T @ (weights * (p - holds)) + penalty * slopes
        bend = (z * (weights * p * (1 - p))[:, None]).T @ z + np.diag(penalty + 1e-10)
        step = np.linalg.solve(bend, rise)
        if rise @ step <= _SMALL_GAIN * len(z):
            break
        moved = z @ step
        while (then := loss(linear - moved, slopes - step)) > now:
            step, moved = step / 2, moved / 2
        slopes, linear, now = slopes - step, linear - moved, then
    return slopes


def _copied(model: Any, seed: int) -> Any:
    """Copy a model, with a seed where it takes one."""
    from sklearn.base import clone

    copy = clone(model)
    if copy.get_params().get("random_state", 0) is None:
        copy.set_params(random_state=seed % 2**32)
    return copy
