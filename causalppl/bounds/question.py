"""A query as weighted parts in worlds, one set of them for each value that it leaves open."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeAlias

from causalppl.bounds.method import BoundProblem
from causalppl.graphs import ADMG
from causalppl.queries import Contrast, Event, Intervention, Query, Term, Value
from causalppl.queries.open_values import Open, fill_open_values, label_open_values

__all__ = ["Part", "Question", "list_parts", "trimmed"]

Part: TypeAlias = tuple[float, Query]


@dataclass(frozen=True, eq=False)
class Question:
    """A query, as sums of queries with one outcome each.

    Attributes:
        parts: Weights and queries, in the form of `Query.worlds`; interventions that cannot reach
            their term are dropped.
        labels: Each open value, with its label.
        axes: Label to the values along its axis.

    Example:
        >>> from causalppl.data import Table
        >>> from causalppl.bounds.method import OBSERVED
        >>> rows = Table.from_any({"X": [0, 1], "Y": [0, 1]})
        >>> graph = ADMG.parse("X -> Y; X <-> Y")
        >>> query = Query.parse("P(Y=1 | do(X))")
        >>> asked = Question.of(BoundProblem(graph, query, {OBSERVED: rows}))
        >>> [(place, str(parts[0][1])) for place, parts in asked.cells()]
        [((0,), 'P(Y_{X=0}=1)'), ((1,), 'P(Y_{X=1}=1)')]
    """

    parts: tuple[Part, ...]
    labels: Mapping[Open, str]
    axes: Mapping[str, tuple[Value, ...]]

    @classmethod
    def of(cls, problem: BoundProblem) -> "Question":
        """Split the query of a problem; the values of open axes are those of its sources."""
        parts = list_parts(problem.graph, problem.query)
        labels = label_open_values(query for _, query in parts)
        axes = {
            label: problem.states(opened if isinstance(opened, str) else opened.name)
            for opened, label in labels.items()
        }
        return cls(parts, labels, axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """How many values each axis has."""
        return tuple(len(states) for states in self.axes.values())

    def cells(self) -> Iterator[tuple[tuple[int, ...], tuple[Part, ...]]]:
        """Fill the open values in all ways: the place in the table, and the parts there."""
        for place in product(*map(range, self.shape)):
            values = {
                label: states[i]
                for (label, states), i in zip(self.axes.items(), place, strict=True)
            }
            filled = (
                (weight, fill_open_values(query, self.labels, values))
                for weight, query in self.parts
            )
            yield place, tuple(filled)


def list_parts(graph: ADMG, query: Query | Contrast) -> tuple[Part, ...]:
    """Write a query as a weighted sum of queries with one outcome each, in worlds.

    Example:
        >>> graph = ADMG.parse("X -> Y; X <-> Y")
        >>> [f"{w:+g} {q}" for w, q in list_parts(graph, Contrast.parse("ATE(X -> Y)"))]
        ['+1 E[Y_{X=1}]', '-1 E[Y_{X=0}]']
    """
    whole: tuple[Part, ...] = ((1.0, query),) if isinstance(query, Query) else _effect(graph, query)
    split = [(w * v, part) for w, each in whole for v, part in each.worlds.expand()]
    return tuple((weight, _trimmed_query(graph, part)) for weight, part in split)


def trimmed(graph: ADMG, term: Term) -> Term:
    """Drop the interventions that cannot reach a term.

    Example:
        >>> print(trimmed(ADMG.parse("X -> Y; W"), Term.parse("Y_{X=1, W=0}")))
        Y_{X=1}
    """
    names = {each.name for each in term.interventions}
    reached = graph.remove_incoming(names).ancestors(term.name)
    kept = []
    for each in term.interventions:
        if each.name not in reached:
            continue
        if isinstance(each.value, Term):
            inner = trimmed(graph, each.value)
            if not inner.interventions:
                continue
            each = Intervention(each.name, inner)
        kept.append(each)
    return Term(term.name, tuple(kept))


def _effect(graph: ADMG, contrast: Contrast) -> tuple[Part, ...]:
    if contrast.kind not in ("NDE", "NIE") or contrast.mediators:
        return contrast.expand()
    between = graph.descendants(contrast.treatment) & graph.ancestors(contrast.outcome)
    return contrast.expand(graph.in_order(between - {contrast.treatment, contrast.outcome}))


def _trimmed_query(graph: ADMG, query: Query) -> Query:
    def moved(events: tuple[Event, ...]) -> tuple[Event, ...]:
        return tuple(replace(event, term=trimmed(graph, event.term)) for event in events)

    return replace(query, outcomes=moved(query.outcomes), given=moved(query.given))
