"""Whether the values that a query asks about occur in the data."""

from collections.abc import Iterator, Mapping, Sequence

from causalppl.data import Table
from causalppl.data.column import listed
from causalppl.estimation.contingency import occurring
from causalppl.estimation.numerals import advice_on_numerals
from causalppl.exceptions import DataError
from causalppl.identification import Estimand
from causalppl.identification.expression import Level, Probability, walk
from causalppl.queries import Contrast, Intervention, Query, Term, Value
from causalppl.spelling import closest

__all__ = ["check_support", "treatments_of"]


def check_support(estimand: Estimand, tables: Sequence[tuple[Table, str]]) -> None:
    """Hold the query to the values that occur, where columns have few.

    Args:
        estimand: The formula, with its query.
        tables: The data of each source, and which rows were removed from them, in words.

    Raises:
        DataError: A value never occurs, what is set is constant, or an expectation is of text.
    """
    asked: dict[str, set[Value]] = {}
    for node in walk(estimand.body):
        if isinstance(node, Probability):
            for symbol in (*node.outcomes, *node.given, *node.do):
                found = asked.setdefault(symbol.variable, set())
                found |= set() if symbol.value is None else {symbol.value}
        elif isinstance(node, Level):
            _check_numbers(node.symbol.variable, [table for table, _ in tables])
    treatments = treatments_of(estimand.query)
    for name, values in sorted(asked.items()):
        holding = {table: removed for table, removed in tables if name in table}
        _check_known(name, values, holding, is_set=name in treatments)


def _check_known(
    name: str, asked: set[Value], tables: Mapping[Table, str], *, is_set: bool
) -> None:
    lists = [occurring(table.column(name)) for table in tables]
    if None in lists:
        return
    known = tuple(dict.fromkeys(value for found in lists for value in found or ()))
    removed = " and ".join(filter(None, tables.values()))
    if is_set and len(known) == 1:
        left = f" that is left after {removed}" if removed else ""
        raise DataError(
            f"{name} is {known[0]!r} in every row{left}; expected several values of what is set, "
            "to compare what follows"
        )
    for value in sorted(asked, key=repr):
        if not any(value == v and isinstance(value, str) == isinstance(v, str) for v in known):
            numerals = None if isinstance(value, str) else advice_on_numerals(name, known)
            where = f"the rows that are left after {removed}" if removed else "the data"
            raise DataError(
                f"{name}={value!r} never occurs in {where}"
                f"{_asked(value, known) if numerals is None else f': {numerals}'}"
            )


def _check_numbers(name: str, tables: list[Table]) -> None:
    states = [v for t in tables if name in t for v in t.column(name).categories or ()]
    if any(isinstance(value, str) for value in states):
        values = tuple(dict.fromkeys(states))
        if numerals := advice_on_numerals(name, values):
            raise DataError(f"an expectation of {name}, which has no numbers: {numerals}")
        raise DataError(
            f"an expectation of {name}, whose values are {_said(values)}; expected numbers; turn "
            f"the column into numbers, such as 1 where it is {states[-1]!r} and 0 elsewhere, which "
            "asks for a probability"
        )


def _asked(value: Value, known: Sequence[Value]) -> str:
    return f"; it has {_said(known)}{closest(value, known)}; ask about a value that occurs"


def _said(values: Sequence[Value]) -> str:
    return f"({listed(map(repr, values))}{',' * (len(values) == 1)})"


def treatments_of(query: Query | Contrast) -> set[str]:
    """The variables that a query sets."""
    if isinstance(query, Contrast):
        return {query.treatment, *(i.name for i in query.do)}
    events = (*query.worlds.outcomes, *query.worlds.given)
    return {name for event in events for i in event.term.interventions for name in _set_by(i)}


def _set_by(intervention: Intervention) -> Iterator[str]:
    yield intervention.name
    if isinstance(intervention.value, Term):
        for inner in intervention.value.interventions:
            yield from _set_by(inner)
