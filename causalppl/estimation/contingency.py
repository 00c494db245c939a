"""Discrete data as codes, and how often values occur together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import fsum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.data import Column, Table
from causalppl.data.exact_sums import sum_by_group
from causalppl.estimation.estimator import Problem
from causalppl.estimation.exact import SourceKey
from causalppl.exceptions import DataError
from causalppl.identification import Estimand
from causalppl.identification.expression import Probability, walk
from causalppl.queries import Value

__all__ = [
    "OBSERVED",
    "Contingency",
    "columns_by_source",
    "find_not_discrete",
    "leaves_by_source",
    "occurring",
]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]
OBSERVED: SourceKey = (None, frozenset())
MOST_VALUES = 20
_LOOKED_AT = 1_000  # rows that usually tell a measurement from a few levels


@dataclass(frozen=True, eq=False)
class Contingency:
    """Counts of rows by the values of columns, one table of data for each source.

    Attributes:
        states: Variable to its values: those that occur in some source; numbers sorted,
            categories in their own order.
        codes: Source to variable to the position of each row's value in ``states``.
        weights: Source to how often each row counts, shape ``(rows,)``; None: once. Whole numbers
            are counts; others are sampling weights, scaled so that they sum to the effective
            sample size.

    Example:
        >>> from causalppl.graphs import ADMG
        >>> from causalppl.identification import identify
        >>> table = Table.from_any({"X": [0, 0, 1], "Y": ["a", "b", "b"]})
        >>> problem = Problem(identify(ADMG.parse("X -> Y"), "P(Y | do(X))"), table)
        >>> found = Contingency.of(problem)
        >>> found.states["Y"], found.counts(OBSERVED, ["Y", "X"]).tolist()
        (('a', 'b'), [[1.0, 0.0], [1.0, 1.0]])
    """

    states: Mapping[str, tuple[Value, ...]]
    codes: Mapping[SourceKey, Mapping[str, Codes]]
    weights: Mapping[SourceKey, Array | None]

    @classmethod
    def of(cls, problem: Problem) -> "Contingency":
        """Read the columns that the formula needs."""
        read = {
            key: {name: _coded(_table(problem, key).column(name)) for name in names}
            for key, names in columns_by_source(problem.estimand).items()
        }
        found: dict[str, list[tuple[Value, ...]]] = {}
        for columns in read.values():
            for name, (values, _) in columns.items():
                found.setdefault(name, []).append(values)
        states = {name: _united(name, lists) for name, lists in sorted(found.items())}
        codes = {
            key: {name: _moved(*coded, states[name]) for name, coded in columns.items()}
            for key, columns in read.items()
        }
        return cls(states, codes, {key: _scaled(problem.weights.get(key)) for key in read})

    def num_rows(self, source: SourceKey) -> int:
        """Count the rows of a source, each once."""
        return len(next(iter(self.codes[source].values())))

    def total(self, source: SourceKey) -> float:
        """Add up the weights of a source: the effective sample size."""
        weights = self.weights[source]
        return float(self.num_rows(source)) if weights is None else fsum(weights)

    def cells(self, names: Iterable[str]) -> int:
        """Count the combinations of values of some variables."""
        return int(np.prod([len(self.states[name]) for name in names], dtype=object))

    def counts(self, source: SourceKey, names: Iterable[str]) -> Array:
        """Count the rows at each combination of values, one axis for each name."""
        chosen = list(names)
        place: Codes = np.zeros(self.num_rows(source), dtype=np.int64)
        for name in chosen:
            place = place * len(self.states[name]) + self.codes[source][name]
        size = self.cells(chosen)
        weights = self.weights[source]
        if weights is None:
            table = np.bincount(place, minlength=size).astype(float)
        else:  # the same digits in any order of the rows
            table = sum_by_group(weights, place, size)
        return table.reshape([len(self.states[name]) for name in chosen])


def leaves_by_source(estimand: Estimand) -> dict[SourceKey, list[Probability]]:
    """List the laws that the formula needs, under the source that supplies them."""
    found: dict[SourceKey, list[Probability]] = {}
    for node in walk(estimand.body):
        if isinstance(node, Probability):
            key = node.domain, frozenset(symbol.variable for symbol in node.do)
            found.setdefault(key, []).append(node)
    return found


def columns_by_source(estimand: Estimand) -> dict[SourceKey, list[str]]:
    """List the columns that the formula names, in the diagram's order, by source."""
    found = {}
    for key, leaves in leaves_by_source(estimand).items():
        named = {s.variable for leaf in leaves for s in (*leaf.outcomes, *leaf.given, *leaf.do)}
        found[key] = [name for name in estimand.graph.nodes if name in named]
    return found


def find_not_discrete(problem: Problem) -> str | None:
    """Say which column has too many values to be counted one by one; None if there is none.

    Text, booleans and categories are discrete; numbers are if they take at most 20 values.
    """
    for source, names in columns_by_source(problem.estimand).items():
        for name in names:
            column = _table(problem, source).column(name)
            if column.values.dim() > 1:
                return f"{name} holds several numbers per row"
            if occurring(column) is None:
                return (
                    f"{name} has more than {MOST_VALUES} values; bin it, or turn its values into "
                    "text if they are names"
                )
    return None


def occurring(column: Column) -> tuple[Value, ...] | None:
    """List the values of a column that occur; None for numbers with more than 20 values."""
    import pandas as pd

    if column.categories is None:
        if column.values.dim() > 1:
            return None
        numbers = column.values.numpy()
        if any(len(pd.unique(part)) > MOST_VALUES for part in (numbers[:_LOOKED_AT], numbers)):
            return None
    return _coded(column)[0]


def _table(problem: Problem, source: SourceKey) -> Table:
    return problem.table if source == OBSERVED else problem.sources[source]


def _coded(column: Column) -> tuple[tuple[Value, ...], Codes]:
    """List the values that occur, and the place of each row's value among them."""
    import pandas as pd

    codes, used = pd.factorize(column.values.numpy(), sort=True)
    if column.categories is not None:
        return tuple(column.categories[code] for code in used), codes.astype(np.int64)
    return tuple(_number(value) for value in used), codes.astype(np.int64)


def _number(value: np.generic) -> int | float:
    # the shortest text of a single-precision 0.1 is 0.1, which its double is not
    number = float(str(value))
    return int(number) if number.is_integer() else number


def _united(name: str, lists: list[tuple[Value, ...]]) -> tuple[Value, ...]:
    values = tuple(dict.fromkeys(value for found in lists for value in found))
    texts = [isinstance(value, str) for value in values]
    if any(texts) and not all(texts):
        raise DataError(
            f"{name} is text in one source and numbers in another; expected the same kind of values"
        )
    return values if len(lists) == 1 or any(texts) else tuple(sorted(values))


def _moved(own: tuple[Value, ...], codes: Codes, states: tuple[Value, ...]) -> Codes:
    """Turn places among a source's own values into places among all."""
    if own == states:
        return codes
    place = {value: number for number, value in enumerate(states)}
    return np.array([place[value] for value in own], dtype=np.int64)[codes]


def _scaled(weights: Array | None) -> Array | None:
    if weights is None or bool((weights == np.floor(weights)).all()):
        return weights
    return np.asarray(weights * (fsum(weights) / fsum(weights**2)))
