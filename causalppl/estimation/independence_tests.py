"""Tests of conditional independence, each valid at its level under the conditions that it states.

`choose_test` takes one by the kinds of columns. What cannot be tested is a `DataError`, never NaN.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special

from causalppl.data import Table
from causalppl.exceptions import DataError
from causalppl.graphs.local_markov import DormantIndependence

__all__ = [
    "ChiSquared",
    "IndependenceResult",
    "IndependenceTest",
    "PartialCorrelation",
    "ResidualCovariance",
    "Sample",
    "StratifiedPermutation",
    "choose_test",
    "verma_test",
]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]
Names: TypeAlias = Iterable[str]
MAX_STATES = 10  # whole numbers with more different values are taken for measurements
MIN_ROWS = 5  # for each cell: with fewer, the limit law of a table's statistic does not hold
MAX_CELLS, MAX_TABLE = 1024, 2**24  # for Verma constraints, for all strata of a table


@final
class Sample:
    """Columns ready for many tests: codes, correlations and gaps are found once.

    A column is discrete if it holds categories or booleans, or at most ten different whole
    numbers; unordered if it holds three or more categories, whose codes are no numbers. Rows with
    a gap are left out of the tests that use the column, and of no others.

    Args:
        data: Anything that `Table.from_any` reads.
        columns: The columns to use; None: all.

    Raises:
        DataError: A column is missing, or holds more than one number in each row.

    Example:
        >>> Sample({"dose": [0.5, 1.5, None], "arm": ["b", "a", "b"]}).is_discrete("arm")
        True
    """

    def __init__(self, data: Any, columns: Sequence[str] | None = None) -> None:
        table = Table.from_any(data, columns, dtype=torch.float64)
        self.names, self.num_rows = table.names, table.num_rows
        self.values: dict[str, Array] = {}
        self.gaps: dict[str, NDArray[np.bool_]] = {}
        self.unordered = {name for name, c in table.columns.items() if c.num_states > 2}
        self._codes: dict[str, Codes | None] = {}
        for name, column in table.columns.items():
            if column.values.dim() != 1:
                raise DataError(f"column {name!r} has vectors; give each part a column of its own")
            self.values[name] = column.values.detach().cpu().double().numpy()
            if column.missing is not None:
                self.gaps[name] = column.missing.cpu().numpy()

    def is_discrete(self, name: str) -> bool:
        """Say whether a column is taken for discrete."""
        return self.codes(name) is not None

    def codes(self, name: str) -> Codes | None:
        """Return codes 0, 1, ..., and -1 in gaps; None if the column is not discrete."""
        if name not in self._codes:
            self._codes[name] = self._numbered(name)
        return self._codes[name]

    def _numbered(self, name: str) -> Codes | None:
        complete = ~self.gaps.get(name, np.zeros(self.num_rows, dtype=bool))
        present = self.values[name][complete]
        if not np.array_equal(present, np.round(present)):
            return None
        states, found = np.unique(present, return_inverse=True)
        codes = np.full(self.num_rows, -1)
        codes[complete] = found
        return codes if len(states) <= MAX_STATES or name in self.unordered else None

    @cached_property
    def correlations(self) -> tuple[list[str], Array]:
        """The columns without gaps that vary, and their correlations."""
        whole = [name for name in self.names if name not in self.gaps]
        names = [name for name in whole if np.ptp(self.values[name]) > 0]
        return names, np.corrcoef([self.values[name] for name in names])


class _Asked(NamedTuple):
    """One question: two columns, those given, and the rows without gaps in any (None: all)."""

    sample: Sample
    left: str
    right: str
    given: tuple[str, ...]
    rows: Codes | None

    @property
    def names(self) -> tuple[str, ...]:
        return (self.left, self.right, *self.given)

    @property
    def num_rows(self) -> int:
        return self.sample.num_rows if self.rows is None else len(self.rows)

    def values(self, name: str) -> Array:
        return self.sample.values[name][slice(None) if self.rows is None else self.rows]

    def codes(self, name: str) -> Codes:
        codes = self.sample.codes(name)
        if codes is None:
            raise DataError(f"{name!r} is not discrete; use another test")
        return codes if self.rows is None else codes[self.rows]

    def encoded(self, name: str) -> Array:
        """Numbers as they are, categories as one column for each but one."""
        is_number = name not in self.sample.unordered
        return self.values(name)[:, None] if is_number else self.one_hot(name)[:, 1:]

    def one_hot(self, name: str) -> Array:
        codes = self.codes(name)
        states = np.unique(codes)
        if len(states) > self.num_rows / 5:
            raise DataError(
                f"{name!r} has {len(states)} values in {self.num_rows} rows; merge some"
            )
        return np.asarray(codes[:, None] == states, dtype=float)


def _asked(sample: Sample, left: str, right: str, given: Names) -> _Asked:
    """Find the complete rows; a constant that is given changes nothing and is left out."""
    names = (left, right, *given)
    gaps = [sample.gaps[name] for name in names if name in sample.gaps]
    asked = _Asked(sample, left, right, (), np.flatnonzero(~np.any(gaps, 0)) if gaps else None)
    if asked.num_rows < 2:
        raise DataError(f"{asked.num_rows} rows without gaps in {', '.join(names)}; expected more")
    varying = [name for name in names if np.ptp(asked.values(name)) > 0]
    if lost := [name for name in (left, right) if name not in varying]:
        raise DataError(f"{lost[0]!r} is constant in {asked.num_rows} rows; expected two values")
    return asked._replace(given=tuple(name for name in varying if name not in (left, right)))


@dataclass(frozen=True)
class IndependenceResult:
    """What one test found.

    Attributes:
        test, statistic: The test with its settings, and its statistic.
        p_value: The probability of a statistic at least as large, if the two are independent.
        num_rows, num_dropped: How many rows it used, and left out because of gaps.
        effect: Absolute partial correlation, or Cramér's V; None where there is no such measure.
    """

    test: str
    statistic: float
    p_value: float
    num_rows: int
    num_dropped: int = 0
    effect: float | None = None


class IndependenceTest(ABC):
    """The contract of a test: columns in, `IndependenceResult` or `DataError` out."""

    def test(self, data: Any, left: str, right: str, given: Names = ()) -> IndependenceResult:
        """Test whether two columns are independent given others.

        Args:
            data: A `Sample`, or anything that `Table.from_any` reads.
            left: One column.
            right: The other.
            given: What is conditioned on.

        Raises:
            DataError: A column is unknown, or the test cannot be made.
        """
        names = (left, right, *((given,) if isinstance(given, str) else given))
        if len(set(names)) < len(names):
            raise DataError(f"{', '.join(names)} names a column twice; expected different ones")
        sample = data if isinstance(data, Sample) else Sample(data, names)
        if unknown := [name for name in names if name not in sample.names]:
            raise DataError(f"there is no column {unknown[0]!r}; the data have {sample.names}")
        asked = _asked(sample, left, right, names[2:])
        statistic, p_value, effect = self._run(asked)
        if not (np.isfinite(statistic) and 0 <= p_value <= 1):
            raise DataError(f"{self} has no finite statistic on these {asked.num_rows} rows")
        rows = asked.num_rows, sample.num_rows - asked.num_rows
        return IndependenceResult(str(self), float(statistic), float(p_value), *rows, effect)

    @abstractmethod
    def _run(self, asked: _Asked) -> tuple[float, float, float | None]:
        """Return statistic, p-value and effect."""


@final
@dataclass(frozen=True)
class PartialCorrelation(IndependenceTest):
    """Partial correlation and its t law: exact for normal columns, in the limit for linear ones.

    Dependence that is not linear is not seen, and a nonlinear influence of what is given can look
    like dependence: `ResidualCovariance` is for these. Source: Fisher (1924).

    Example:
        >>> data = {"x": [1.0, 2, 3, 4, 5, 6], "y": [1.2, 1.9, 3.1, 4.2, 4.8, 6.1]}
        >>> PartialCorrelation().test(data, "x", "y").p_value < 0.001
        True
    """

    def __str__(self) -> str:
        return "partial correlation"

    def _run(self, asked: _Asked) -> tuple[float, float, float | None]:
        names, free = asked.names, asked.num_rows - len(asked.names)
        if unordered := [name for name in names if name in asked.sample.unordered]:
            raise DataError(f"{unordered[0]!r} has categories without an order; use another test")
        if free < 1:
            raise DataError(f"{asked.num_rows} rows for {len(names)} columns; expected more rows")
        if asked.rows is None:
            all_names, matrix = asked.sample.correlations
            chosen = [all_names.index(name) for name in names]
            matrix = matrix[np.ix_(chosen, chosen)]
        else:
            matrix = np.corrcoef([asked.values(name) for name in names])
        if np.linalg.eigvalsh(matrix)[0] < 1e-10:
            raise DataError(f"among {', '.join(names)} one is a linear function of the others")
        precision = np.linalg.inv(matrix)
        r = -precision[0, 1] / np.sqrt(precision[0, 0] * precision[1, 1])
        statistic = r * np.sqrt(free / max(1 - r * r, 1e-15))
        return statistic, 2 * special.stdtr(free, -abs(statistic)), min(1.0, abs(float(r)))


@final
@dataclass(frozen=True)
class ChiSquared(IndependenceTest):
    """Contingency tables in strata; degrees of freedom count the rows and columns that occur.

    The limit law needs some five expected rows in each cell; where there are fewer, small p-values
    are far too small, and `choose_test` takes `StratifiedPermutation`.

    Args:
        power: Of the family of Cressie and Read (1984): 1 is Pearson's statistic, 0 the G-test's.

    Example:
        >>> data = {"x": [0, 0, 1, 1] * 10, "y": [0, 1, 0, 1] * 10}
        >>> ChiSquared().test(data, "x", "y").p_value
        1.0
    """

    power: float = 1.0

    def __str__(self) -> str:
        return "chi-squared" if self.power == 1 else f"power divergence {self.power:g}"

    def _run(self, asked: _Asked) -> tuple[float, float, float | None]:
        tables = _tables(asked)
        rows, columns = _occurring(tables)
        statistic = max(0.0, _divergence(tables, self.power).sum())
        effect = np.sqrt(statistic / tables.sum() / (min(rows.max(), columns.max()) - 1))
        p_value = special.chdtrc(((rows - 1) * (columns - 1)).sum(), statistic)
        return statistic, p_value, min(1.0, float(effect))


@final
@dataclass(frozen=True)
class StratifiedPermutation(IndependenceTest):
    """Pearson's statistic against its law when one column is permuted within strata.

    For sparse tables and many small strata. By default the permutation law is replaced by the
    gamma law (Mielke and Berry 1985) with its exact mean and variance (Dawson 1954). With a number
    of draws the p-value is never too small, whatever the sample size.

    Args:
        draws, seed: How many permutations, and their seed; None: the gamma law, whose tail is a
            little light where values are very rare.

    Example:
        >>> data = {"x": [0, 0, 1, 1, 2, 2], "y": [0, 1, 0, 1, 0, 1]}
        >>> StratifiedPermutation(draws=99, seed=0).test(data, "x", "y").p_value
        1.0
    """

    draws: int | None = None
    seed: int = 0

    def __str__(self) -> str:
        return f"permutation in strata ({f'{self.draws} draws' if self.draws else 'gamma law'})"

    def _run(self, asked: _Asked) -> tuple[float, float, float | None]:
        tables = _tables(asked)
        statistic = _divergence(tables, 1.0).sum()
        if self.draws is not None:
            return statistic, self._drawn(tables, statistic, np.zeros(self.draws)), None
        mean, variance = _permutation_moments(tables)
        if variance <= 1e-12:
            raise DataError("all permutations give the same table; expected more rows")
        return statistic, special.gammaincc(mean**2 / variance, statistic * mean / variance), None

    def _drawn(self, tables: Array, statistic: float, total: Array) -> float:
        rng = np.random.default_rng(self.seed)
        for table in tables.astype(np.int64):
            from scipy import stats

            law = stats.random_table(table.sum(1), table.sum(0), seed=rng)
            total += _divergence(law.rvs(len(total)).astype(float), 1.0)
        # what is equal may differ by rounding
        return float((1 + (total >= statistic * (1 - 1e-9)).sum()) / (1 + len(total)))


@final
@dataclass(frozen=True)
class ResidualCovariance(IndependenceTest):
    """The generalised covariance measure: are the residuals of two regressions correlated?

    Valid if the product of the errors of the two regressions vanishes faster than the sampling
    error, whatever the law of the noise. It does not see dependence that leaves the mean
    residual product at zero. Categories count as one column for each but one, jointly tested.
    Source: Shah and Peters (2020), The hardness of conditional independence testing.

    Args:
        regressor: A scikit-learn regressor, fitted on four fifths of the rows at a time. None:
            least squares on cubic splines, products, and the strata of what is discrete.

    Example:
        >>> z, a, b = np.random.default_rng(0).normal(size=(3, 500))
        >>> data = {"x": z**2 + a, "y": np.exp(z) + b, "z": z}
        >>> [ResidualCovariance().test(data, "x", "y", z).p_value < 0.01 for z in ((), ("z",))]
        [True, False]
    """

    regressor: Any = None

    def __str__(self) -> str:
        how = "splines" if self.regressor is None else type(self.regressor).__name__
        return f"residual covariance ({how})"

    def _run(self, asked: _Asked) -> tuple[float, float, float | None]:
        first, second = asked.encoded(asked.left), asked.encoded(asked.right)
        targets = np.hstack([first, second])
        if self.regressor is None or not asked.given:
            features = _features(asked)
            used = int(np.linalg.matrix_rank(features))
            fitted = features @ np.linalg.lstsq(features, targets)[0]
        else:
            features, used = np.hstack([asked.encoded(name) for name in asked.given]), 1
            fitted = self._cross_fitted(features, targets)
        residuals = targets - fitted
        is_left = bool((residuals.var(0) > 1e-12 * targets.var(0)).all())
        first, second = np.split(residuals, [first.shape[1]], axis=1)
        products = (first[:, :, None] * second[:, None, :]).reshape(asked.num_rows, -1)
        free = asked.num_rows - used - (width := products.shape[1])
        if free < 1:
            raise DataError(f"{asked.num_rows} rows for {used} features; expected more rows")
        mean, covariance = products.mean(0), np.atleast_2d(np.cov(products.T))
        if not is_left or np.linalg.matrix_rank(covariance, hermitian=True) < width:
            raise DataError(f"what is given leaves no variation in {asked.left} or {asked.right}")
        statistic = (asked.num_rows - used) * float(mean @ np.linalg.solve(covariance, mean))
        scaled = statistic * free / (width * (free + width - 1))  # Hotelling's law
        return statistic, special.fdtrc(width, free, scaled), None

    def _cross_fitted(self, features: Array, targets: Array) -> Array:
        from sklearn.model_selection import KFold, cross_val_predict

        if len(targets) < 10:
            raise DataError(f"{len(targets)} rows for a regression; expected at least 10")
        folds = KFold(5, shuffle=True, random_state=0)
        fitted = [cross_val_predict(self.regressor, features, y, cv=folds) for y in targets.T]
        return np.stack(fitted, axis=1)


def choose_test(sample: Sample, left: str, right: str, given: Names = ()) -> IndependenceTest:
    """Choose a test by the kinds of the columns.

    All discrete: `ChiSquared`, or `StratifiedPermutation` where fewer than five rows are expected
    in a cell; none discrete: `PartialCorrelation`; mixed: `ResidualCovariance` on splines.
    """
    asked = _asked(sample, left, right, given)
    discrete = [sample.is_discrete(name) for name in asked.names]
    if not all(discrete):
        return ResidualCovariance() if any(discrete) else PartialCorrelation()
    tables = _tables(asked)
    is_dense = (expected := _expected(tables))[expected > 0].min() >= MIN_ROWS
    return ChiSquared() if is_dense else StratifiedPermutation()


def verma_test(data: Any, constraint: DormantIndependence) -> IndependenceResult:
    """Test a Verma constraint on discrete columns, by Wald's statistic; valid for large samples.

    Raises:
        DataError: A column is not discrete, or the table has too few rows for its cells.
    """
    names = constraint.variables
    sample = data if isinstance(data, Sample) else Sample(data, names)
    sides = constraint.left, constraint.right
    asked = _asked(sample, *sides, [name for name in names if name not in sides])
    codes = [asked.codes(name) for name in names]
    shape = [int(code.max()) + 1 for code in codes]
    cells = int(np.prod(shape))
    if cells > (most := min(MAX_CELLS, asked.num_rows // MIN_ROWS)):
        raise DataError(
            f"{asked.num_rows} rows allow {most} cells; there are {cells}: merge values"
        )
    counts = np.bincount(np.ravel_multi_index(tuple(codes), shape), minlength=cells)
    statistic, df = constraint.wald(counts.reshape(shape))
    p_value, dropped = float(special.chdtrc(df, statistic)), sample.num_rows - asked.num_rows
    return IndependenceResult("Verma (Wald)", statistic, p_value, asked.num_rows, dropped)


def _permutation_moments(tables: Array) -> tuple[float, float]:
    """Mean and variance of Pearson's statistic over all permutations in strata (Dawson 1954)."""
    n, states = tables.sum((1, 2)), _occurring(tables)
    inverse = [
        np.where(m > 0, 1 / np.maximum(m, 1), 0).sum(1) for m in (tables.sum(2), tables.sum(1))
    ]
    v = (states - 1) * (n - states) / (n - 1)
    w = (n * np.stack(inverse) - states**2) / np.maximum(n - 2, 1)
    mean = n / (n - 1) * (states - 1).prod(0)
    # 0/0 in strata of two and three rows is zero
    inner = (v[0] - w[0]) * (v[1] - w[1]) * 2 * n / np.maximum(n - 3, 1) * (n > 3)
    return float(mean.sum()), float((inner + n**2 / (n - 1) * w[0] * w[1]).sum())


def _tables(asked: _Asked) -> Array:
    """Count in strata, shape ``(strata, states, states)``; drop strata that tell nothing."""
    first, second = asked.codes(asked.left), asked.codes(asked.right)
    shape = int(first.max()) + 1, int(second.max()) + 1
    strata, count = _strata(asked, asked.given)
    cells = (strata * shape[0] + first) * shape[1] + second
    if count * shape[0] * shape[1] > MAX_TABLE:
        raise DataError(
            f"{count} strata of {shape[0]} by {shape[1]} cells are too many; merge values"
        )
    counted = np.bincount(cells, minlength=count * shape[0] * shape[1])
    tables = counted.reshape(count, *shape).astype(float)
    tables = tables[np.min(_occurring(tables), axis=0) > 1]
    if not len(tables):
        raise DataError(f"no stratum has two values of {asked.left!r} and of {asked.right!r}")
    return tables


def _occurring(tables: Array) -> Codes:
    """How many rows and columns of each table are not empty, shape ``(2, tables)``."""
    return np.stack([(tables.sum(axis) > 0).sum(1) for axis in (2, 1)])


def _strata(asked: _Asked, names: Names) -> tuple[Codes, int]:
    """Number the combinations of discrete columns; and say how many numbers there are."""
    strata, count = np.zeros(asked.num_rows, dtype=np.int64), 1
    for name in names:
        codes = asked.codes(name)
        states = int(codes.max()) + 1
        strata, count = strata * states + codes, count * states
        if count > 4 * asked.num_rows:  # most do not occur
            strata = np.unique(strata, return_inverse=True)[1]
            count = int(strata.max()) + 1
    return strata, count


def _expected(tables: Array) -> Array:
    margins = tables.sum(2, keepdims=True) * tables.sum(1, keepdims=True)
    return np.asarray(margins / tables.sum((1, 2), keepdims=True))


def _divergence(tables: Array, power: float) -> Array:
    """The Cressie-Read statistic of each of some tables, shape ``(tables, rows, columns)``."""
    expected = _expected(tables)
    ratio = np.divide(tables, expected, out=np.ones_like(tables), where=expected > 0)
    if power == 0:
        return np.asarray(2 * special.xlogy(tables, ratio).sum((1, 2)))
    return np.asarray(2 / (power * (power + 1)) * (tables * (ratio**power - 1)).sum((1, 2)))


def _features(asked: _Asked) -> Array:
    """What is given, for least squares: strata, splines, products; columns of equal length."""
    discrete = [name for name in asked.given if asked.sample.is_discrete(name)]
    seen, strata = np.unique(_strata(asked, discrete)[0], return_inverse=True)
    if len(seen) <= min(asked.num_rows / 50, 200):
        groups = np.eye(len(seen))[strata]
    else:  # too few rows for each stratum: main effects
        groups = np.hstack([np.ones((asked.num_rows, 1)), *map(asked.one_hot, discrete)])
    lines, curves = [], []
    for values in (asked.values(name) for name in asked.given if name not in discrete):
        line = ((values - values.mean()) / values.std())[:, None]
        knots = np.unique(np.quantile(line, [0.1, 0.3, 0.5, 0.7, 0.9]))
        curves.append(np.hstack([line ** [2, 3], np.maximum(line - knots, 0) ** 3]))
        lines.append(line)
    pairs = [a * b for i, a in enumerate(lines) for b in lines[:i]]
    features = np.hstack([groups, *(groups * line for line in lines), *curves, *pairs])
    return np.asarray(features / (np.sqrt((features**2).mean(0)) + 1e-300))
