"""The contract of bounding methods: what they are given, and what they must return."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from causalppl.bounds.bounds import Bounds
from causalppl.data import Factor, Table
from causalppl.exceptions import AssumptionError
from causalppl.graphs import ADMG
from causalppl.queries import Contrast, Query, Value

__all__ = ["OBSERVED", "BoundMethod", "BoundProblem"]

Array: TypeAlias = NDArray[np.float64]
SourceKey: TypeAlias = tuple[str | None, frozenset[str]]
OBSERVED: SourceKey = (None, frozenset())


@dataclass(frozen=True, eq=False)
class BoundProblem:
    """What a bounding method is asked.

    A source is data, or an exact law; never both.

    Attributes:
        graph: The diagram over the observed variables.
        query: What is asked.
        tables: Source, ``(population, variables set)``, to its complete rows.
        weights: Source to one non-negative weight for each row, where rows are weighted.
        laws: Source to its exact law: a table over the diagram's variables that sums to 1; for an
            experiment, to 1 at each value of the variables set.
        outcome_range: Smallest and largest value that the outcome can take, where it is declared.

    Example:
        >>> rows = Table.from_any({"X": [0, 0, 1, 1], "Y": [0, 1, 1, 1]})
        >>> problem = BoundProblem(
        ...     ADMG.parse("X -> Y; X <-> Y"), Query.parse("P(Y=1 | do(X=1))"), {OBSERVED: rows}
        ... )
        >>> problem.law().values.tolist()
        [[0.25, 0.25], [0.0, 0.5]]
    """

    graph: ADMG
    query: Query | Contrast
    tables: Mapping[SourceKey, Table] = field(default_factory=dict)
    weights: Mapping[SourceKey, Array] = field(default_factory=dict)
    laws: Mapping[SourceKey, Factor] = field(default_factory=dict)
    outcome_range: tuple[float, float] | None = None

    @property
    def sources(self) -> tuple[SourceKey, ...]:
        """The sources that are given, observation first."""
        keys = [*self.tables, *self.laws]
        return tuple(sorted(keys, key=lambda key: (key[0] or "", sorted(key[1]))))

    @property
    def num_rows(self) -> int:
        """Rows of all sources; 0 where all laws are exact."""
        return sum(table.num_rows for table in self.tables.values())

    def states(self, name: str) -> tuple[Value, ...]:
        """The values of a variable, sorted, over all sources; categories in their own order.

        Raises:
            AssumptionError: No source has the variable.
        """
        found: dict[Value, None] = {}
        for law in self.laws.values():
            if name in law.names:
                found.update(dict.fromkeys(law.states[name]))
        for table in self.tables.values():
            if name in table.columns:
                column = table.columns[name]
                values: Any = column.categories or sorted(set(column.values.tolist()))
                found.update(dict.fromkeys(v if isinstance(v, str) else _plain(v) for v in values))
        if not found:
            raise AssumptionError(f"no source has {name!r}; give data in which it is a column")
        numbers = [value for value in found if not isinstance(value, str)]
        return tuple(sorted(numbers)) if len(numbers) == len(found) else tuple(found)

    def law(self, key: SourceKey = OBSERVED, *, counts: Array | None = None) -> Factor:
        """The law of a source: exact, or the frequencies of its rows.

        Args:
            key: The source.
            counts: Other weights for its rows, such as those of a bootstrap; shape ``(rows,)``.

        Returns:
            A table over its variables in the order of the diagram, with the states of `states`,
            that sums to 1. For an experiment too: divide by the law of what was set.

        Raises:
            AssumptionError: There is no such source.
        """
        if key in self.laws:
            return self.laws[key]
        if key not in self.tables:
            raise AssumptionError(f"there is no source {key}; there is {list(self.sources)}")
        table = self.tables[key]
        names = [name for name in self.graph.nodes if name in table.columns]
        states = {name: self.states(name) for name in names}
        codes = [_codes(table, name, states[name]) for name in names]
        weight = self.weights.get(key, np.ones(table.num_rows)) if counts is None else counts
        cells = np.zeros([len(states[name]) for name in names])
        np.add.at(cells, tuple(codes), weight)
        return Factor(tuple(names), torch.as_tensor(cells / cells.sum()), states)


class BoundMethod(ABC):
    """One way from a query and data to an interval.

    Subclasses are frozen dataclasses whose fields are the settings, checked at construction.

    Attributes:
        name: Its name in results.

    Example:
        >>> class Nothing(BoundMethod):
        ...     name = "nothing"
        ...
        ...     def refusal(self, problem):
        ...         return "it never answers"
        ...
        ...     def solve(self, problem, *, seed, progress=False):
        ...         raise NotImplementedError
        >>> Nothing().refusal(None)
        'it never answers'
    """

    name: ClassVar[str]

    @abstractmethod
    def refusal(self, problem: BoundProblem) -> str | None:
        """Say why the method cannot answer; None if it can. Cheap, and without side effects."""

    @abstractmethod
    def solve(self, problem: BoundProblem, *, seed: int, progress: bool = False) -> Bounds:
        """Answer the problem; called only if `refusal` is None.

        Args:
            problem: What is asked.
            seed: Seed of all randomness (bootstrap, draws).
            progress: Show a progress bar.

        Raises:
            AssumptionError: The data contradict what the method assumes.
        """


def _plain(value: float | bool) -> Value:
    if isinstance(value, bool):
        return int(value)
    return int(value) if value == int(value) else value


def _codes(table: Table, name: str, states: tuple[Value, ...]) -> NDArray[np.int64]:
    column = table.columns[name]
    values: Any = column.values.tolist()
    if column.categories:
        values = [column.categories[int(code)] for code in values]
    place = {state: number for number, state in enumerate(states)}
    return np.array([place[v if isinstance(v, str) else _plain(v)] for v in values], dtype=np.int64)
