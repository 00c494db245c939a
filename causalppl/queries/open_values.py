"""The values that a query leaves open: what they are called, and the query with them filled in."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TypeAlias

from causalppl.exceptions import QueryError
from causalppl.queries.query import Query
from causalppl.queries.terms import Event, Intervention, Term, Value

__all__ = ["Open", "fill_open_values", "label_open_values"]

Open: TypeAlias = Event | str
"""An outcome or a condition without a value, or a variable that is set to any value."""


def label_open_values(queries: Iterable[Query]) -> dict[Open, str]:
    """Name the values that some queries leave open, as axes of a table of their answers.

    Args:
        queries: Parts of one question; what they have in common is named once.

    Returns:
        Each open outcome, condition and intervention, in this order, with its label: its variable,
        or where several have the same variable the term, and ``do(X)`` for an intervention. Events
        are as in `Query.worlds`.

    Example:
        >>> query = Query.parse("P(Y_{X} | X)")
        >>> list(label_open_values([query]).values())
        ['Y', 'X', 'do(X)']
    """
    worlds = [query.worlds for query in queries]
    shown = [event for query in worlds if query.kind == "P" for event in query.outcomes]
    given = [event for query in worlds for event in query.given]
    is_open = [event for event in (*shown, *given) if event.value is None]
    events = list(dict.fromkeys(is_open))
    terms = [e.term for query in worlds for e in (*query.outcomes, *query.given)]
    opened = sorted({name for term in terms for name in _opened(term)})
    names = [event.name for event in events] + opened
    labels: dict[Open, str] = {}
    for event in events:
        labels[event] = str(event) if names.count(event.name) > 1 else event.name
    taken = {event.name for event in events}
    return labels | {name: f"do({name})" if name in taken else name for name in opened}


def fill_open_values(
    query: Query, labels: Mapping[Open, str], values: Mapping[str, Value]
) -> Query:
    """Give the open values of a query.

    Args:
        query: The query.
        labels: From `label_open_values`.
        values: Label to value.

    Returns:
        The query, in the form of `Query.worlds`, without open values.

    Raises:
        QueryError: A value is missing, or what is given has probability zero by itself.

    Example:
        >>> query = Query.parse("P(Y_{X} | X)")
        >>> labels = label_open_values([query])
        >>> print(fill_open_values(query, labels, {"Y": 1, "X": 0, "do(X)": 1}))
        P(Y_{X=1}=1 | X=0)
    """
    if missing := sorted(set(labels.values()) - set(values)):
        raise QueryError(f"{query} leaves {', '.join(missing)} open; give a value for each")
    query = query.worlds

    def filled(event: Event) -> Event:
        value = values[labels[event]] if event in labels else event.value
        return replace(event, term=_filled(event.term, labels, values), value=value)

    outcomes, given = (tuple(map(filled, part)) for part in (query.outcomes, query.given))
    return replace(query, outcomes=outcomes, given=given)


def _opened(term: Term) -> Iterator[str]:
    for intervention in term.interventions:
        if isinstance(intervention.value, Term):
            yield from _opened(intervention.value)
        elif intervention.value is None:
            yield intervention.name


def _filled(term: Term, labels: Mapping[Open, str], values: Mapping[str, Value]) -> Term:
    moved = []
    for intervention in term.interventions:
        value = intervention.value
        if isinstance(value, Term):
            value = _filled(value, labels, values)
        elif value is None:
            value = values[labels[intervention.name]]
        moved.append(Intervention(intervention.name, value))
    return Term(term.name, tuple(moved))
