"""Tests of independence on contingency tables in strata."""

from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from causalppl.estimation.independence_contract import Found, IndependenceTest
from causalppl.estimation.sample import Question
from causalppl.exceptions import DataError
from causalppl.seeding import checked_seed

__all__ = ["ChiSquared", "StratifiedPermutation"]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]
MIN_ROWS = 5  # for each cell: with fewer, the limit law of a table's statistic does not hold
MAX_TABLE = 2**24  # cells of all strata of a table


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

    @property
    def assumes(self) -> str:
        """What the test takes for granted, besides rows drawn independently."""
        return "some five expected rows in each cell"

    def __str__(self) -> str:
        return "chi-squared" if self.power == 1 else f"power divergence {self.power:g}"

    def _run(self, question: Question) -> Found:
        tables = tables_of(question)
        rows, columns = _occurring(tables)
        statistic = max(0.0, _divergence(tables, self.power).sum())
        effect = np.sqrt(statistic / tables.sum() / (min(rows.max(), columns.max()) - 1))
        p_value = special.chdtrc(((rows - 1) * (columns - 1)).sum(), statistic)
        return Found(statistic, p_value, min(1.0, float(effect)))


@final
@dataclass(frozen=True)
class StratifiedPermutation(IndependenceTest):
    """Pearson's statistic against its law when one column is permuted within strata.

    For sparse tables and many small strata. By default the permutation law is replaced by the
    gamma law with its exact mean and variance. With a number
    of draws the p-value is never too small, whatever the sample size.

    Args:
        draws, seed: How many permutations, and their seed; None: the gamma law, whose tail is a
            little light where values are very rare.

    References:
        Mielke and Berry (1985), for the gamma law; Dawson (1954), for the variance.

    Example:
        >>> data = {"x": [0, 0, 1, 1, 2, 2], "y": [0, 1, 0, 1, 0, 1]}
        >>> StratifiedPermutation(draws=99, seed=0).test(data, "x", "y").p_value
        1.0
    """

    draws: int | None = None
    seed: int = 0

    @property
    def assumes(self) -> str:
        """What the test takes for granted, besides rows drawn independently."""
        return "nothing but independent rows" if self.draws else "values that are not very rare"

    def __str__(self) -> str:
        return f"permutation in strata ({f'{self.draws} draws' if self.draws else 'gamma law'})"

    def _run(self, question: Question) -> Found:
        tables = tables_of(question)
        statistic = _divergence(tables, 1.0).sum()
        if self.draws is not None:
            return Found(statistic, self._drawn(tables, statistic, np.zeros(self.draws)))
        mean, variance = _permutation_moments(tables)
        if variance <= 1e-12:
            raise DataError("all permutations give the same table; expected more rows")
        p_value = special.gammaincc(mean**2 / variance, statistic * mean / variance)
        return Found(statistic, p_value)

    def _drawn(self, tables: Array, statistic: float, total: Array) -> float:
        rng = np.random.default_rng(checked_seed(self.seed))
        for table in tables.astype(np.int64):
            from scipy import stats

            law = stats.random_table(table.sum(1), table.sum(0), seed=rng)
            total += _divergence(law.rvs(len(total)).astype(float), 1.0)
        # what is equal may differ by rounding
        return float((1 + (total >= statistic * (1 - 1e-9)).sum()) / (1 + len(total)))


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


def tables_of(question: Question) -> Array:
    """Count in strata, shape ``(strata, states, states)``; drop strata that tell nothing."""
    first, second = question.codes(question.left), question.codes(question.right)
    shape = int(first.max()) + 1, int(second.max()) + 1
    strata, count = question.strata(question.given)
    cells = (strata * shape[0] + first) * shape[1] + second
    if count * shape[0] * shape[1] > MAX_TABLE:
        raise DataError(
            f"{count} strata of {shape[0]} by {shape[1]} cells are too many; merge values"
        )
    counted = np.bincount(cells, minlength=count * shape[0] * shape[1])
    tables = counted.reshape(count, *shape).astype(float)
    tables = tables[np.min(_occurring(tables), axis=0) > 1]
    if not len(tables):
        raise DataError(f"no stratum has two values of {question.left!r} and of {question.right!r}")
    return tables


def _occurring(tables: Array) -> Codes:
    """How many rows and columns of each table are not empty, shape ``(2, tables)``."""
    return np.stack([(tables.sum(axis) > 0).sum(1) for axis in (2, 1)])


def expected_in(tables: Array) -> Array:
    margins = tables.sum(2, keepdims=True) * tables.sum(1, keepdims=True)
    return np.asarray(margins / tables.sum((1, 2), keepdims=True))


def _divergence(tables: Array, power: float) -> Array:
    """The Cressie-Read statistic of each of some tables, shape ``(tables, rows, columns)``."""
    expected = expected_in(tables)
    ratio = np.divide(tables, expected, out=np.ones_like(tables), where=expected > 0)
    if power == 0:
        return np.asarray(2 * special.xlogy(tables, ratio).sum((1, 2)))
    return np.asarray(2 / (power * (power + 1)) * (tables * (ratio**power - 1)).sum((1, 2)))
