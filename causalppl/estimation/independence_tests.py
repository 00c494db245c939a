"""Tests of conditional independence, each valid at its level under the conditions that it states.

`choose_test` takes the one that fits the kinds of the columns. A test that cannot be made (too few
rows, a constant column, no stratum with variation) raises `DataError`; none returns NaN.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias, final

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

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
MAX_STATES = 10  # whole numbers with more different values are taken for measurements
MIN_ROWS = 5  # for each cell: with fewer, the limit law of a table's statistic is not trusted
MAX_CELLS = 1024


@final
class Sample:
    """Columns ready for many tests: codes, correlations and gaps are found once.

    A column is discrete if it holds categories or booleans, or at most ten different whole
    numbers. Rows with a gap are left out of the tests that use the column, and of no others.

    Args:
        data: Anything that `Table.from_any` reads.
        columns: The columns to use; None: all.

    Raises:
        DataError: A column is missing, or holds more than one number in each row.

    Example:
        >>> sample = Sample({"dose": [0.5, 1.5, None], "arm": ["b", "a", "b"]})
        >>> [sample.is_discrete(name) for name in ("dose", "arm")], sample.num_rows
        ([False, True], 3)
    """

    def __init__(self, data: Any, columns: Sequence[str] | None = None) -> None:
        table = Table.from_any(data, columns)
        self.names, self.num_rows = table.names, table.num_rows
        self.values: dict[str, Array] = {}
        self.gaps: dict[str, NDArray[np.bool_]] = {}
        self._unordered = {name for name, c in table.columns.items() if c.num_states > 2}
        self._codes: dict[str, Codes | None] = {}
        for name, column in table.columns.items():
            if column.values.dim() != 1:
                shape = tuple(column.values.shape)
                raise DataError(f"column {name!r} has shape {shape}; expected one number a row")
            self.values[name] = column.values.detach().cpu().double().numpy()
            if column.missing is not None:
                self.gaps[name] = column.missing.cpu().numpy()

    def is_discrete(self, name: str) -> bool:
        """Say whether a column is taken for discrete."""
        return self.codes(name) is not None

    def is_ordered(self, name: str) -> bool:
        """Say whether a column's numbers mean something: not those of three or more categories."""
        return name not in self._unordered

    def codes(self, name: str) -> Codes | None:
        """Return codes 0, 1, ..., and -1 in gaps; None if the column is not discrete."""
        if name not in self._codes:
            gaps = self.gaps.get(name)
            present = self.values[name] if gaps is None else self.values[name][~gaps]
            found = self._numbered(name, present)
            if found is not None and gaps is not None:
                spread = np.full(self.num_rows, -1)
                spread[~gaps] = found
                found = spread
            self._codes[name] = found
        return self._codes[name]

    def _numbered(self, name: str, present: Array) -> Codes | None:
        if not np.array_equal(present, np.round(present)):
            return None
        states, found = np.unique(present, return_inverse=True)
        return found if len(states) <= MAX_STATES or name in self._unordered else None

    @cached_property
    def correlations(self) -> tuple[dict[str, int], Array]:
        """Correlations of the columns without gaps that vary, and the place of each."""
        whole = [name for name in self.names if name not in self.gaps]
        names = [name for name in whole if np.ptp(self.values[name]) > 0]
        matrix = _correlations([self.values[name] for name in names])
        return {name: place for place, name in enumerate(names)}, matrix


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
        values = self.sample.values[name]
        return values if self.rows is None else values[self.rows]

    def codes(self, name: str) -> Codes:
        codes = self.sample.codes(name)
        if codes is None:
            raise DataError(f"{name!r} is not discrete; use another test")
        return codes if self.rows is None else codes[self.rows]

    def encoded(self, name: str) -> Array:
        """Numbers as they are, categories as one column for each but one."""
        if self.sample.is_ordered(name):
            return self.values(name)[:, None]
        codes = self.codes(name)
        return np.asarray(codes[:, None] == np.unique(codes)[1:], dtype=float)


def _asked(sample: Sample, left: str, right: str, given: Iterable[str]) -> _Asked:
    """Find the complete rows; a constant that is given changes nothing and is left out."""
    names = (left, right, *given)
    gaps = [sample.gaps[name] for name in names if name in sample.gaps]
    asked = _Asked(sample, left, right, (), np.flatnonzero(~np.any(gaps, 0)) if gaps else None)
    if asked.num_rows < 2:
        raise DataError(f"{asked.num_rows} rows without gaps in {', '.join(names)}; expected more")
    varying = [name for name in names if np.ptp(asked.values(name)) > 0]
    for name in (left, right):
        if name not in varying:
            raise DataError(f"{name!r} is constant in {asked.num_rows} rows; expected two values")
    return asked._replace(given=tuple(name for name in varying if name not in (left, right)))


@dataclass(frozen=True)
class IndependenceResult:
    """What one test found.

    Attributes:
        test: The test, with its settings.
        statistic: Its statistic.
        p_value: The probability of a statistic at least as large, if the two are independent.
        num_rows: How many rows it used.
        num_dropped: How many rows it left out because of gaps.
        effect: The strength of the dependence between 0 and 1 (absolute partial correlation,
            Cramér's V); None where the test has no such measure.
    """

    test: str
    statistic: float
    p_value: float
    num_rows: int
    num_dropped: int = 0
    effect: float | None = None


class IndependenceTest(ABC):
    """The contract of a test: columns in, `IndependenceResult` or `DataError` out.

    A subclass says its name by ``str`` and implements ``_run``, on columns without gaps that vary.
    """

    def test(
        self, data: Any, left: str, right: str, given: Iterable[str] = ()
    ) -> IndependenceResult:
        """Test whether two columns are independent given others.

        Args:
            data: A `Sample`, or anything that `Table.from_any` reads.
            left: One column.
            right: The other.
            given: What is conditioned on.

        Raises:
            DataError: A column is unknown, or the test cannot be made; the message says why.
        """
        names = (left, right, *((given,) if isinstance(given, str) else given))
        if len(set(names)) < len(names):
            raise DataError(f"{', '.join(names)} names a column twice; expected different ones")
        sample = data if isinstance(data, Sample) else Sample(data, names)
        if unknown := [name for name in names if name not in sample.names]:
            raise DataError(f"there is no column {unknown[0]!r}; the data have {sample.names}")
        asked = _asked(sample, left, right, names[2:])
        statistic, p_value, effect = self._run(asked)
        if not np.isfinite(statistic) or not 0 <= p_value <= 1:
            raise DataError(f"{self} has no finite statistic on these {asked.num_rows} rows")
        dropped = sample.num_rows - asked.num_rows
        return IndependenceResult(
            str(self), float(statistic), float(p_value), asked.num_rows, dropped, effect
        )

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
        if unordered := [name for name in names if not asked.sample.is_ordered(name)]:
            raise DataError(f"{unordered[0]!r} has categories without an order; use another test")
        if free < 1:
            raise DataError(f"{asked.num_rows} rows for {len(names)} columns; expected more rows")
        if asked.rows is None:
            place, matrix = asked.sample.correlations
            chosen = [place[name] for name in names]
            matrix = matrix[np.ix_(chosen, chosen)]
        else:
            matrix = _correlations([asked.values(name) for name in names])
        precision = _inverse(matrix, names)
        r = -precision[0, 1] / np.sqrt(precision[0, 0] * precision[1, 1])
        statistic = r * np.sqrt(free / max(1 - r * r, 1e-15))
        return statistic, 2 * special.stdtr(free, -abs(statistic)), min(1.0, abs(float(r)))


@final
@dataclass(frozen=True)
class ChiSquared(IndependenceTest):
    """Contingency tables in strata; degrees of freedom count the rows and columns that occur.

    The limit law needs some five rows for each cell on average; `choose_test` takes
    `StratifiedPermutation` where there are fewer.

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
        rows, columns = ((tables.sum(axis) > 0).sum(1) for axis in (2, 1))
        statistic = max(0.0, _divergence(tables, self.power).sum())
        effect = np.sqrt(statistic / tables.sum() / (min(rows.max(), columns.max()) - 1))
        p_value = special.chdtrc(((rows - 1) * (columns - 1)).sum(), statistic)
        return statistic, p_value, min(1.0, float(effect))


@final
@dataclass(frozen=True)
class StratifiedPermutation(IndependenceTest):
    """Pearson's statistic against its law when one column is permuted within strata.

    It is valid in sparse tables and for many small strata. By default the permutation law is
    replaced by the gamma law with its exact mean and variance: no draws, no seed. With a number
    of draws the p-value is never too small, whatever the sample size.

    Args:
        draws: How many permutations; None: the gamma law.
        seed: Seed of the permutations.

    References:
        Dawson (1954), for the variance; Mielke and Berry (1985), for the gamma law.

    Example:
        >>> data = {"x": [0, 0, 1, 1, 2, 2], "y": [0, 1, 0, 1, 0, 1]}
        >>> StratifiedPermutation(draws=99, seed=0).test(data, "x", "y").p_value
        1.0
    """

    draws: int | None = None
    seed: int = 0

    def __str__(self) -> str:
        how = "gamma law" if self.draws is None else f"{self.draws} draws"
        return f"permutation in strata ({how})"

    def _run(self, asked: _Asked) -> tuple[float, float, float | None]:
        tables = _tables(asked)
        statistic = _divergence(tables, 1.0).sum()
        if self.draws is not None:
            return statistic, self._drawn(tables, statistic, self.draws), None
        mean, variance = _permutation_moments(tables)
        if variance <= 1e-12:
            raise DataError("all permutations give the same table; expected more rows")
        p_value = special.gammaincc(mean**2 / variance, statistic * mean / variance)
        return statistic, p_value, None

    def _drawn(self, tables: Array, statistic: float, draws: int) -> float:
        rng, total = np.random.default_rng(self.seed), np.zeros(draws)
        for table in tables.astype(np.int64):
            law = stats.random_table(table.sum(1), table.sum(0), seed=rng)
            total += _divergence(law.rvs(draws).astype(float), 1.0)
        # what is equal may differ by rounding
        return float((1 + (total >= statistic * (1 - 1e-9)).sum()) / (1 + draws))


@final
@dataclass(frozen=True)
class ResidualCovariance(IndependenceTest):
    """The generalised covariance measure: are the residuals of two regressions correlated?

    Valid if the product of the errors of the two regressions vanishes faster than the sampling
    error, whatever the law of the noise. It does not see dependence that leaves the mean
    residual product at zero. Categories count as one column for each but one, jointly tested.

    Args:
        regressor: A scikit-learn regressor, fitted on four fifths of the rows at a time. None:
            least squares on cubic splines, products, and the strata of what is discrete.

    References:
        Shah and Peters (2020), The hardness of conditional independence testing and the
        generalised covariance measure.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> z = rng.normal(size=500)
        >>> data = {"x": z**2 + rng.normal(size=500), "y": np.exp(z) + rng.normal(size=500), "z": z}
        >>> [ResidualCovariance().test(data, "x", "y", z).p_value < 0.01 for z in ((), ("z",))]
        [True, False]
    """

    regressor: Any = None

    def __str__(self) -> str:
        how = "splines" if self.regressor is None else type(self.regressor).__name__
        return f"residual covariance ({how})"

    def _run(self, asked: _Asked) -> tuple[float, float, float | None]:
        first, second = asked.encoded(asked.left), asked.encoded(asked.right)
        if self.regressor is None or not asked.given:
            features = _features(asked)
            used = int(np.linalg.matrix_rank(features))
            fitted = features @ np.linalg.lstsq(features, np.hstack([first, second]))[0]
        else:
            features, used = np.hstack([asked.encoded(name) for name in asked.given]), 1
            fitted = self._cross_fitted(features, np.hstack([first, second]))
        total = np.hstack([first, second]).var(0)
        first = first - fitted[:, : first.shape[1]]
        second = second - fitted[:, -second.shape[1] :]
        is_left = np.hstack([first, second]).var(0) > 1e-12 * total
        products = (first[:, :, None] * second[:, None, :]).reshape(asked.num_rows, -1)
        width = products.shape[1]
        free = asked.num_rows - used - width
        if free < 1:
            raise DataError(f"{asked.num_rows} rows for {used} features; expected more rows")
        mean, covariance = products.mean(0), np.atleast_2d(np.cov(products.T))
        if not is_left.all() or np.linalg.matrix_rank(covariance, hermitian=True) < width:
            raise DataError(f"what is given leaves no variation in {asked.left} or {asked.right}")
        # Hotelling's law for the mean of several products
        statistic = (asked.num_rows - used) * float(mean @ np.linalg.solve(covariance, mean))
        scaled = statistic * free / (width * (free + width - 1))
        return statistic, special.fdtrc(width, free, scaled), None

    def _cross_fitted(self, features: Array, targets: Array) -> Array:
        from sklearn.base import clone
        from sklearn.model_selection import KFold, cross_val_predict

        if len(targets) < 10:
            raise DataError(f"{len(targets)} rows for a regression; expected at least 10")
        folds = KFold(5, shuffle=True, random_state=0)
        fitted = [
            cross_val_predict(clone(self.regressor), features, t, cv=folds) for t in targets.T
        ]
        return np.stack(fitted, axis=1)


def choose_test(
    sample: Sample, left: str, right: str, given: Iterable[str] = ()
) -> IndependenceTest:
    """Choose a test by the kinds of the columns.

    All discrete: `ChiSquared`, or `StratifiedPermutation` where cells hold few rows; none
    discrete: `PartialCorrelation`; mixed: `ResidualCovariance` on splines.

    Raises:
        DataError: The columns allow no test; the message says why.
    """
    asked = _asked(sample, left, right, given)
    discrete = [sample.is_discrete(name) for name in asked.names]
    if not all(discrete):
        return ResidualCovariance() if any(discrete) else PartialCorrelation()
    tables = _tables(asked)
    cells = ((tables.sum(2) > 0).sum(1) * (tables.sum(1) > 0).sum(1)).sum()
    return ChiSquared() if tables.sum() >= MIN_ROWS * cells else StratifiedPermutation()


def verma_test(data: Any, constraint: DormantIndependence) -> IndependenceResult:
    """Test a Verma constraint on discrete columns, by Wald's statistic; valid for large samples.

    Args:
        data: A `Sample`, or anything that `Table.from_any` reads.
        constraint: From `dormant_independences`.

    Raises:
        DataError: A column is not discrete, or the table has too few rows for its cells.
    """
    names = constraint.variables
    sample = data if isinstance(data, Sample) else Sample(data, names)
    others = [name for name in names if name not in (constraint.left, constraint.right)]
    asked = _asked(sample, constraint.left, constraint.right, others)
    codes = [asked.codes(name) for name in names]
    shape = [int(code.max()) + 1 for code in codes]
    cells = int(np.prod(shape))
    if cells > MAX_CELLS or asked.num_rows < MIN_ROWS * cells:
        limits = f"{MIN_ROWS} rows for each and at most {MAX_CELLS} cells"
        raise DataError(f"{asked.num_rows} rows for {cells} cells; expected {limits}")
    flat = np.ravel_multi_index(tuple(codes), shape)
    statistic, df = constraint.wald(np.bincount(flat, minlength=cells).reshape(shape))
    p_value, dropped = float(special.chdtrc(df, statistic)), sample.num_rows - asked.num_rows
    return IndependenceResult("Verma (Wald)", statistic, p_value, asked.num_rows, dropped)


def _permutation_moments(tables: Array) -> tuple[float, float]:
    """Mean and variance of Pearson's statistic over all permutations in strata (Dawson 1954)."""
    n = tables.sum((1, 2))
    free, v, w = [], [], []
    for margin in (tables.sum(2), tables.sum(1)):
        states = (margin > 0).sum(1)
        inverse = np.divide(1.0, margin, out=np.zeros_like(margin), where=margin > 0).sum(1)
        free.append(states - 1)
        v.append((states - 1) * (n - states) / (n - 1))
        w.append((n * inverse - states**2) / np.maximum(n - 2, 1))
    mean = n / (n - 1) * free[0] * free[1]
    # 0/0 in strata of two and three rows is zero
    inner = (v[0] - w[0]) * (v[1] - w[1]) * 2 * n / np.maximum(n - 3, 1) * (n > 3)
    return float(mean.sum()), float((inner + n**2 / (n - 1) * w[0] * w[1]).sum())


def _tables(asked: _Asked) -> Array:
    """Count in strata, shape ``(strata, states, states)``; strata that tell nothing are dropped."""
    first, second = asked.codes(asked.left), asked.codes(asked.right)
    shape = int(first.max()) + 1, int(second.max()) + 1
    strata, count = _strata(asked, asked.given)
    cells = (strata * shape[0] + first) * shape[1] + second
    counted = np.bincount(cells, minlength=count * shape[0] * shape[1])
    tables = counted.reshape(count, *shape).astype(float)
    for axis in (2, 1):
        tables = tables[(tables.sum(axis) > 0).sum(1) > 1]
    if not len(tables):
        raise DataError(f"no stratum has two values of {asked.left!r} and of {asked.right!r}")
    return tables


def _strata(asked: _Asked, names: Iterable[str]) -> tuple[Codes, int]:
    """Number the combinations of discrete columns; returns the numbers and how many there are."""
    strata, count = np.zeros(asked.num_rows, dtype=np.int64), 1
    for name in names:
        codes = asked.codes(name)
        states = int(codes.max()) + 1
        strata, count = strata * states + codes, count * states
        if count > 4 * asked.num_rows:  # most do not occur
            seen, strata = np.unique(strata, return_inverse=True)
            count = len(seen)
    return strata, count


def _divergence(tables: Array, power: float) -> Array:
    """The Cressie-Read statistic of each of some tables, shape ``(tables, rows, columns)``."""
    expected = tables.sum(2, keepdims=True) * tables.sum(1, keepdims=True)
    expected = expected / tables.sum((1, 2), keepdims=True)
    ratio = np.divide(tables, expected, out=np.ones_like(tables), where=expected > 0)
    if power == 0:
        return np.asarray(2 * special.xlogy(tables, ratio).sum((1, 2)))
    return np.asarray(2 / (power * (power + 1)) * (tables * (ratio**power - 1)).sum((1, 2)))


def _correlations(columns: Sequence[Array]) -> Array:
    return np.atleast_2d(np.corrcoef(np.stack(columns))) if columns else np.zeros((0, 0))


def _inverse(matrix: Array, names: Sequence[str]) -> Array:
    """Invert correlations; the diagonal of the inverse is 1 / (1 - R squared) of each column."""
    try:
        precision = np.linalg.inv(matrix)
    except np.linalg.LinAlgError:
        precision = np.full_like(matrix, np.inf)
    worst = int(np.abs(np.diag(precision)).argmax())
    if not np.isfinite(precision).all() or not 0 < precision[worst, worst] < 1e10:
        raise DataError(f"{names[worst]!r} is a linear function of others in {', '.join(names)}")
    return np.asarray(precision)


def _features(asked: _Asked) -> Array:
    """What is given, for least squares: strata, splines, products; columns of equal length."""
    discrete = [name for name in asked.given if asked.sample.is_discrete(name)]
    seen, codes = np.unique(_strata(asked, discrete)[0], return_inverse=True)
    if len(seen) <= asked.num_rows / 50:
        groups = np.eye(len(seen))[codes]
    else:  # too few rows for each stratum: main effects
        parts = [asked.codes(name) for name in discrete]
        ones = np.ones((asked.num_rows, 1))
        groups = np.hstack([ones, *(np.eye(int(part.max()) + 1)[part] for part in parts)])
    lines, curves = [], []
    for values in (asked.values(name) for name in asked.given if name not in discrete):
        line = ((values - values.mean()) / values.std())[:, None]
        knots = np.unique(np.quantile(line, [0.1, 0.3, 0.5, 0.7, 0.9]))
        curves.append(np.hstack([line ** [2, 3], np.maximum(line - knots, 0) ** 3]))
        lines.append(line)
    pairs = [a * b for i, a in enumerate(lines) for b in lines[:i]]
    features = np.hstack([groups, *(groups * line for line in lines), *curves, *pairs])
    return np.asarray(features / (np.sqrt((features**2).mean(0)) + 1e-300))
