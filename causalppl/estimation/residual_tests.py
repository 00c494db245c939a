"""Tests of independence by what regressions on the given columns leave over."""

from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from causalppl.estimation.independence_contract import Found, IndependenceTest
from causalppl.estimation.missed_means import missed_products
from causalppl.estimation.nested_curves import LEVELS, Fit
from causalppl.estimation.sample import Question, scaled
from causalppl.exceptions import DataError

__all__ = ["PartialCorrelation", "ResidualCovariance"]

Array: TypeAlias = NDArray[np.float64]
MISSED = "both regressions missed a part of the mean, for which the p-value allows"
_SUSPECT = 0.2  # the p-value up to which it matters what the regressions missed


@final
@dataclass(frozen=True)
class PartialCorrelation(IndependenceTest):
    """Partial correlation and its t law: exact for normal columns, in the limit for linear ones.

    Dependence that is not linear is not seen, and a nonlinear influence of what is given can look
    like dependence: `ResidualCovariance` is for these.

    References:
        Fisher (1924), The distribution of the partial correlation coefficient.

    Example:
        >>> data = {"x": [1.0, 2, 3, 4, 5, 6], "y": [1.2, 1.9, 3.1, 4.2, 4.8, 6.1]}
        >>> PartialCorrelation().test(data, "x", "y").p_value < 0.001
        True
    """

    @property
    def assumes(self) -> str:
        """What the test takes for granted, besides rows drawn independently."""
        return "numbers that are linear in each other"

    def __str__(self) -> str:
        return "partial correlation"

    def _run(self, question: Question) -> Found:
        names, free = question.names, question.num_rows - len(question.names)
        if unordered := [name for name in names if name in question.sample.unordered]:
            raise DataError(f"{unordered[0]!r} has categories without an order; use another test")
        if free < 1:
            raise DataError(
                f"{question.num_rows} rows for {len(names)} columns; expected more rows"
            )
        if question.rows is None:
            all_names, matrix = question.sample.correlations
            chosen = [all_names.index(name) for name in names]
            matrix = matrix[np.ix_(chosen, chosen)]
        else:
            matrix = np.corrcoef([scaled(question.values(name)) for name in names])
        if np.linalg.eigvalsh(matrix)[0] < 1e-10:
            raise DataError(f"among {', '.join(names)} one is a linear function of the others")
        precision = np.linalg.inv(matrix)
        r = -precision[0, 1] / np.sqrt(precision[0, 0] * precision[1, 1])
        statistic = r * np.sqrt(free / max(1 - r * r, 1e-15))
        p_value = 2 * special.stdtr(free, -abs(statistic))
        return Found(statistic, p_value, min(1.0, abs(float(r))))


@final
@dataclass(frozen=True)
class ResidualCovariance(IndependenceTest):
    """The generalised covariance measure: are the residuals of two regressions correlated?

    Valid if the product of the errors of the two regressions vanishes faster than the sampling
    error, whatever the law of the noise. It does not see dependence that leaves the mean residual
    product at zero. Categories count as one column for each but one, jointly tested.

    By default each side is regressed on the family of `NestedCurves` (lines, splines, surfaces)
    that predicts best by leave-one-out. The smaller family is a part of the larger one, so
    the test is valid if the larger describes either mean. Products are weighted by leverage, which
    makes their variance right in small samples where noise is even.

    Whether both regressions missed a part of the mean shows where residuals of rows that lie close
    together agree (see `missed_products`). The p-value then allows for it: a dependence counts only
    as far as it is larger than what was missed explains, and the result says so. In more than six
    columns, or in none that are numbers, this does not show.

    Args:
        regressor: A scikit-learn regressor, fitted on four fifths of the rows at a time; None:
            least squares as above.

    References:
        Shah and Peters (2020), The hardness of conditional independence testing; MacKinnon and
        White (1985), for the leverage.

    Example:
        >>> z, a, b = np.random.default_rng(0).normal(size=(3, 500))
        >>> data = {"x": z**2 + a, "y": np.exp(z) + b, "z": z}
        >>> [ResidualCovariance().test(data, "x", "y", z).p_value < 0.01 for z in ((), ("z",))]
        [True, False]
    """

    regressor: Any = None

    @property
    def assumes(self) -> str:
        """What the test takes for granted, besides rows drawn independently."""
        if self.regressor is None:
            return (
                "means that are smooth, linear or curved, in what is given, one or two at a time, "
                "beside products of three (where at most six numbers are given), or whose rest "
                "shows in neighbouring rows"
            )
        return f"means that {type(self.regressor).__name__} can learn"

    def __str__(self) -> str:
        how = "" if self.regressor is None else f" by {type(self.regressor).__name__}"
        return f"residual covariance{how}"

    def _run(self, question: Question) -> Found:
        first, second = question.encoded(question.left), question.encoded(question.right)
        sides = [self._left_over(question, side) for side in (first, second)]
        a, b = (fit.residuals for fit in sides)
        is_left = [(r.var(0) > 1e-12 * y.var(0)).all() for r, y in ((a, first), (b, second))]
        if not all(is_left):
            raise DataError(
                f"what is given leaves no variation in {question.left} or {question.right}"
            )
        leverage = np.minimum(*(fit.leverage for fit in sides))
        used = max(fit.used for fit in sides)
        studentised, doubt = _studentised(a, b, leverage, used), ""
        if studentised[1] <= _SUSPECT:
            missed = missed_products(question, a, b)
            if missed.any():
                studentised = _studentised(a, b, leverage, used, missed)
                doubt = MISSED
        is_curve = self.regressor is None and question.given
        level = LEVELS[max(fit.level for fit in sides)] if is_curve else ""
        return Found(*studentised, _correlation(a, b), level, doubt)

    def _left_over(self, question: Question, targets: Array) -> Fit:
        if self.regressor is None or not question.given:
            return question.curves().fit(targets)
        features = np.hstack([question.encoded(name) for name in question.given])
        residuals = targets - self._cross_fitted(features, targets)
        return Fit(residuals, np.zeros(len(targets)), 1, 0)

    def _cross_fitted(self, features: Array, targets: Array) -> Array:
        from sklearn.model_selection import KFold, cross_val_predict

        if len(targets) < 10:
            raise DataError(f"{len(targets)} rows for a regression; expected at least 10")
        folds = KFold(5, shuffle=True, random_state=0)
        fitted = [cross_val_predict(self.regressor, features, y, cv=folds) for y in targets.T]
        return np.stack(fitted, axis=1)


def _studentised(
    first: Array, second: Array, leverage: Array, used: int, missed: Array | None = None
) -> tuple[float, float]:
    """Hotelling's statistic of the products of residuals, and its p-value.

    The sums are taken nearer to zero by what the means that were missed may have put in, if given.
    Of products with variance in proportion to (1 - leverage) squared, the sum has variance in
    proportion to the sum of (1 - leverage).
    """
    products = (first[:, :, None] * second[:, None, :]).reshape(len(first), -1)
    size = np.sqrt(np.square(products).mean(0))
    products = products / size
    rows, width = len(products) - used, products.shape[1]
    if (free := rows - width) < 1:
        raise DataError(f"{len(products)} rows for {used} features; expected more rows")
    total = products.sum(0)
    if missed is not None:
        total = np.sign(total) * np.maximum(np.abs(total) - len(products) * missed / size, 0.0)
    covariance = (products / np.maximum(1 - leverage, 1e-8)[:, None]).T @ products
    if np.linalg.matrix_rank(covariance, hermitian=True) < width:
        raise DataError("the products of residuals are collinear; merge rare values")
    statistic = min(float(total @ np.linalg.solve(covariance, total)), rows * (1 - 1e-12))
    scaled_up = statistic / (1 - statistic / rows) * free / (rows * width)
    return statistic, float(special.fdtrc(width, free, scaled_up))


def _correlation(first: Array, second: Array) -> float | None:
    if first.shape[1] > 1 or second.shape[1] > 1:
        return None
    size = np.sqrt((first * first).sum() * (second * second).sum())
    return min(1.0, abs(float((first * second).sum() / size)))
