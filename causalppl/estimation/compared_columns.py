"""Covariates as the columns that arms are compared in, and how far apart the arms are in each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from causalppl.data import Table
from causalppl.estimation.column_values import numbers
from causalppl.estimation.estimate import Array
from causalppl.estimation.features import Factors

__all__ = [
    "BeforeAfter",
    "ComparedColumn",
    "CovariateBalance",
    "Groups",
    "compare",
    "covariate_columns",
    "term_columns",
]

Kind: TypeAlias = Literal["number", "binary", "category", "constant"]
_ROUNDING = 1e-12  # the share of a column's variance that may be rounding


class BeforeAfter(NamedTuple):
    """A number for the rows as they are, and for the rows weighted."""

    before: float
    after: float


@dataclass(frozen=True)
class CovariateBalance:
    """How far apart the arms are in one column.

    Attributes:
        name: The covariate, a category of it such as ``sex=male``, or a term.
        kind: ``number``; ``binary``, with two values; ``category``; or ``constant``, the same in
            all rows, so that there is nothing to balance.
        means: The mean in each arm.
        population: The mean in the population that the arms are to stand for.
        smd: The absolute difference of means in standard deviations, of two arms the largest. The
            standard deviation is that of the rows as they are, before and after; 0 if constant.
        variance_ratio: The largest variance over the smallest; NaN unless the column is a number.
        ks: The largest distance between two distribution functions; likewise.
    """

    name: str
    kind: Kind
    means: Mapping[str, BeforeAfter]
    population: float
    smd: BeforeAfter
    variance_ratio: BeforeAfter
    ks: BeforeAfter


@dataclass(frozen=True, eq=False)
class Groups:
    """Which rows are compared, and how they count.

    Attributes:
        names: The arms; the groups are these, or one arm and the population.
        stacked: The weight of each row in each group as it is, then weighted, then in the
            population that the groups are to stand for; shape ``(2 * groups + 1, rows)``, each
            with sum 1.
    """

    names: tuple[str, ...]
    stacked: Array

    @classmethod
    def of(
        cls, names: Sequence[str], before: Sequence[Array], after: Sequence[Array], whole: Array
    ) -> "Groups":
        """Let weights of any scale sum to 1 in each group."""
        return cls(tuple(names), np.stack([w / w.sum() for w in (*before, *after, whole)]))

    @property
    def count(self) -> int:
        """How many groups there are."""
        return len(self.stacked) // 2

    @property
    def before(self) -> Array:
        """The weights of the groups as they are."""
        return self.stacked[: self.count]

    @property
    def population(self) -> Array:
        """The weights of the population."""
        return np.asarray(self.stacked[-1])

    @cached_property
    def counted(self) -> Any:
        """Which rows count for a group or the population: a mask, or all as a slice."""
        mask = self.stacked.any(0)
        return slice(None) if mask.all() else mask


class ComparedColumn(NamedTuple):
    """One column of numbers.

    Attributes:
        name: As it is shown.
        values: In units of ``unit``, shape ``(rows,)``.
        unit: A power of two, so that powers of large numbers stay in range.
        is_category: Whether it is 1 for the rows of a category, else 0.
    """

    name: str
    values: Array
    unit: float = 1.0
    is_category: bool = False


def covariate_columns(table: Table, covariates: Sequence[str]) -> Iterator[ComparedColumn]:
    """List numbers as they are, and a column for each category (of two the second)."""
    for name in covariates:
        yield from _columns(table, name)


def term_columns(table: Table, terms: Sequence[Factors]) -> Iterator[ComparedColumn]:
    """List the products that terms are, one for each combination of categories."""
    for term in terms:
        found = [ComparedColumn("", np.ones(table.num_rows))]
        for name, power in term:
            factors = list(_columns(table, name))
            found = [_times(one, other, power) for one in found for other in factors]
        yield from found


def _columns(table: Table, name: str) -> Iterator[ComparedColumn]:
    values, categories = numbers(table, name), table.column(name).categories
    if categories is not None:
        codes = np.unique(values)
        for code in codes if len(codes) != 2 else codes[1:]:
            label = f"{name}={categories[int(code)]}"
            yield ComparedColumn(label, (values == code) * 1.0, is_category=True)
        return
    columns = values.reshape(len(values), -1)
    for place, column in enumerate(columns.T):
        label = name if columns.shape[1] == 1 else f"{name}[{place}]"
        _, exponent = np.frexp(np.abs(column).max(initial=0.0))
        unit = float(np.ldexp(1.0, exponent - 1))
        yield ComparedColumn(label, column / unit, unit)


def _times(first: ComparedColumn, second: ComparedColumn, power: int) -> ComparedColumn:
    raised = second.name if power == 1 else f"{second.name}^{power}"
    name = f"{first.name}*{raised}" if first.name else raised
    with np.errstate(over="ignore"):
        unit = float(np.float64(first.unit) * np.float64(second.unit) ** power)
    is_category = (first.is_category or not first.name) and second.is_category
    return ComparedColumn(name, first.values * second.values**power, unit, is_category)


def compare(column: ComparedColumn, groups: Groups) -> CovariateBalance:
    """Compare the groups in one column."""
    weights = groups.stacked
    seen = column.values[groups.counted]
    count = groups.count
    centre = seen[0] + (seen - seen[0]).mean()
    shifted = column.values - centre  # so that large numbers do not cancel
    means = weights @ shifted
    spread = float((shifted[groups.counted] ** 2).mean()) if np.ptp(seen) else 0.0
    kind = _kind(column, seen)
    variances = np.maximum(weights @ shifted**2 - means**2, 0.0)
    variances[variances <= _ROUNDING * spread] = 0.0
    if kind == "number":
        variances = variances / np.maximum(1 - (weights**2).sum(1), _ROUNDING)
    parts = slice(0, count), slice(count, 2 * count)
    unit = float(np.sqrt(variances[parts[0]].mean()))
    gaps = [float(np.ptp(means[part])) for part in parts]
    shown = column.unit * (means + centre)
    ratio = distance = BeforeAfter(float("nan"), float("nan"))
    if kind == "number":
        ratio = BeforeAfter(*(_variance_ratio(variances[part]) for part in parts))
        distance = _distances(column.values, weights, count)
    return CovariateBalance(
        column.name,
        kind,
        {
            name: BeforeAfter(float(shown[place]), float(shown[count + place]))
            for place, name in enumerate(groups.names)
        },
        float(shown[-1]),
        BeforeAfter(*(_smd(gap, unit, np.sqrt(_ROUNDING * spread)) for gap in gaps)),
        ratio,
        distance,
    )


def _kind(column: ComparedColumn, seen: Array) -> Kind:
    low, high = seen.min(), seen.max()
    if low == high:
        return "constant"
    if column.is_category:
        return "category"
    return "binary" if bool(((seen == low) | (seen == high)).all()) else "number"


def _smd(gap: float, unit: float, rounding: float) -> float:
    """A gap in standard deviations; groups that are each constant, but differ, are infinitely far.

    Example:
        >>> _smd(1.0, 2.0, 0.0), _smd(1.0, 0.0, 1e-9), _smd(1e-12, 0.0, 1e-9)
        (0.5, inf, 0.0)
    """
    if unit > 0:
        return gap / unit
    return float("inf") if gap > rounding else 0.0


def _variance_ratio(variances: Array) -> float:
    low, high = float(variances.min()), float(variances.max())
    return 1.0 if high == 0 else float("inf") if low == 0 else high / low


def _distances(values: Array, weights: Array, count: int) -> BeforeAfter:
    """The largest distance between distribution functions, over all pairs of groups."""
    order = np.argsort(values)
    ordered = values[order]
    ends = np.append(ordered[1:] != ordered[:-1], True)
    reached = np.cumsum(weights[: 2 * count].T[order], 0)[ends]
    before, after = (
        max(float(np.abs(reached[:, one] - reached[:, other]).max()) for one, other in pairs)
        for pairs in (combinations(part, 2) for part in (range(count), range(count, 2 * count)))
    )
    return BeforeAfter(before, after)
