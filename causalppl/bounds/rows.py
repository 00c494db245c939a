"""The rows of the observed data, or the cells of their exact law, with how often each counts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.method import OBSERVED, BoundProblem
from causalppl.data.column import listed
from causalppl.estimation.numerals import advice_on_numerals
from causalppl.exceptions import DataError
from causalppl.queries import Event, Query, Term, Value
from causalppl.spelling import closest

__all__ = ["Rows", "find_missing", "natural_range", "outcome_span"]

Array: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]
_FEW = 20  # a column with more different numbers is a measurement


@dataclass(frozen=True, eq=False)
class Rows:
    """Observed rows, or cells of an exact law.

    Attributes:
        values: Variable to the number, or the place in its categories, in each row.
        categories: Variable to its categories; None for numbers.
        weights: How often each row counts; sampling weights sum to their effective sample size,
            and probabilities to 1.
        is_exact: Whether the law is known, so that nothing was sampled.

    Example:
        >>> from causalppl.data import Table
        >>> from causalppl.graphs import ADMG
        >>> table = Table.from_any({"X": ["a", "b", "b"], "Y": [0.5, 1, 2]})
        >>> graph = ADMG.parse("X -> Y")
        >>> problem = BoundProblem(graph, Query.parse("E[Y | do(X=a)]"), {OBSERVED: table})
        >>> rows = Rows.of(problem, ["X", "Y"])
        >>> rows.holds("X", "b").tolist(), rows.numbers("Y").tolist()
        ([False, True, True], [0.5, 1.0, 2.0])
    """

    values: Mapping[str, Array]
    categories: Mapping[str, tuple[Value, ...] | None]
    weights: Array
    is_exact: bool

    @classmethod
    def of(cls, problem: BoundProblem, names: Iterable[str]) -> "Rows":
        """Read some columns of the observed source."""
        chosen = sorted(set(names))
        if OBSERVED in problem.laws:
            return cls._of_law(problem, chosen)
        table = problem.tables[OBSERVED]
        columns = {name: table.column(name) for name in chosen}
        weights = problem.weights.get(OBSERVED, np.ones(table.num_rows))
        if not bool((weights == np.floor(weights)).all()):
            weights = weights * (weights.sum() / (weights**2).sum())
        return cls(
            {name: np.asarray(column.values.numpy(), float) for name, column in columns.items()},
            {name: column.categories for name, column in columns.items()},
            np.asarray(weights, dtype=float),
            is_exact=False,
        )

    @classmethod
    def _of_law(cls, problem: BoundProblem, names: list[str]) -> "Rows":
        law = problem.laws[OBSERVED]
        law = law.marginalise([name for name in law.names if name not in names]).normalise()
        codes = np.indices(law.values.shape).reshape(len(law.names), -1)
        values, categories = {}, {}
        for name, code in zip(law.names, codes, strict=True):
            states = law.states[name]
            is_text = any(isinstance(state, str) for state in states)
            categories[name] = states if is_text else None
            numbers = np.arange(len(states)) if is_text else np.array(states, dtype=float)
            values[name] = numbers[code].astype(float)
        return cls(values, categories, law.values.numpy().reshape(-1), is_exact=True)

    @property
    def total(self) -> float:
        """The sum of the weights."""
        return float(self.weights.sum())

    def holds(self, name: str, value: Value) -> Mask:
        """In which rows a variable has a value."""
        categories = self.categories[name]
        if categories is None:
            if isinstance(value, str):
                return np.zeros(len(self.weights), dtype=bool)
            return np.asarray(self.values[name] == float(value))
        is_text = isinstance(value, str)
        places = [
            i for i, v in enumerate(categories) if v == value and isinstance(v, str) == is_text
        ]
        return np.asarray(self.values[name] == (places[0] if places else -1))

    def numbers(self, name: str) -> Array:
        """The values of a variable, as numbers.

        Raises:
            DataError: They are text.
        """
        categories = self.categories[name]
        if categories is None:
            return self.values[name]
        if any(isinstance(value, str) for value in categories):
            raise DataError(
                f"an expectation of {name}, whose values are ({listed(map(repr, categories))}); "
                "expected numbers; ask for the probability of one of these instead"
            )
        return np.array([float(v) for v in categories])[self.values[name].astype(int)]

    def levels(self, name: str) -> tuple[Value, ...]:
        """The numbers that a variable takes, the lowest first."""
        return tuple(sorted(set(self.numbers(name).tolist())))

    def knows(self, term: Term) -> Mask:
        """In which rows a term is seen: those whose own world is the term's."""
        found = np.ones(len(self.weights), dtype=bool)
        for each in term.interventions:
            if isinstance(each.value, Term):
                found &= self.knows(each.value)
            else:
                assert each.value is not None, "open values are filled before"
                found &= self.holds(each.name, each.value)
        return found

    def satisfies(self, event: Event) -> Mask:
        """In which rows the factual value of an event's variable makes the event true."""
        from causalppl.queries.terms import HOLDS

        assert event.value is not None, "open values are filled before"
        if event.op == "=":
            return self.holds(event.name, event.value)
        return np.asarray(HOLDS[event.op](self.numbers(event.name), float(event.value)))

    def select(self, chosen: Mask) -> "Rows":
        """Keep some rows."""
        kept = {name: values[chosen] for name, values in self.values.items()}
        return Rows(kept, self.categories, self.weights[chosen], self.is_exact)


def find_missing(problem: BoundProblem, names: Iterable[str]) -> str | None:
    """Say why some variables cannot be read from the observed source; None if they can."""
    if OBSERVED not in problem.sources:
        return "there are no observed data; it reads the observed law"
    known = (
        problem.laws[OBSERVED].names if OBSERVED in problem.laws else problem.tables[OBSERVED].names
    )
    missing = sorted(set(names) - set(known))
    return f"the observed data lack {', '.join(missing)}" if missing else None


def is_text(problem: BoundProblem, name: str) -> bool:
    """Whether a variable of the observed source has names for values."""
    if OBSERVED in problem.laws:
        return any(isinstance(state, str) for state in problem.states(name))
    categories = problem.tables[OBSERVED].column(name).categories or ()
    return any(isinstance(value, str) for value in categories)


def natural_range(problem: BoundProblem, name: str) -> tuple[float, float] | None:
    """The range that needs no declaration: of an exact law's states, or of zeros and ones."""
    if OBSERVED in problem.laws:
        states = problem.states(name)
        if any(isinstance(state, str) for state in states):
            return None
        return float(min(states)), float(max(states))
    column = problem.tables[OBSERVED].column(name)
    if column.categories is not None or column.values.dim() > 1:
        return None
    return (0.0, 1.0) if set(np.unique(column.values.numpy()).tolist()) <= {0.0, 1.0} else None


def outcome_span(problem: BoundProblem, names: Iterable[str], rows: Rows) -> tuple[float, float]:
    """The range in which the outcomes of expectations lie.

    Raises:
        DataError: There is none, or the data leave it.
    """
    chosen = sorted(set(names))
    declared = problem.outcome_range
    if declared is None:
        spans = [span for name in chosen if (span := natural_range(problem, name)) is not None]
        if len(spans) < len(chosen):
            raise DataError(f"{problem.query} has no outcome_range; declare one")
        return min(low for low, _ in spans), max(high for _, high in spans)
    low, high = declared
    for name in chosen:
        seen = rows.numbers(name)[rows.weights > 0]
        if seen.size and (seen.min() < low or seen.max() > high):
            raise DataError(
                f"{name} runs from {seen.min():g} to {seen.max():g}, outside the outcome_range "
                f"({low:g}, {high:g}); declare a range that holds all its values"
            )
    return float(low), float(high)


def check_values(problem: BoundProblem, queries: Iterable[Query]) -> None:
    """Refuse a value that no source knows: it is a typing error more often than a question.

    Raises:
        DataError: There is one.
    """
    for query in queries:
        for event in (*query.outcomes, *query.given):
            if event.value is not None and event.op == "=":
                _check_known(problem, event.name, event.value)
            for name, value in _set_values(event.term):
                _check_known(problem, name, value)


def _set_values(term: Term) -> list[tuple[str, Value]]:
    found: list[tuple[str, Value]] = []
    for each in term.interventions:
        if isinstance(each.value, Term):
            found += _set_values(each.value)
        elif each.value is not None:
            found.append((each.name, each.value))
    return found


def _check_known(problem: BoundProblem, name: str, value: Value) -> None:
    states: Any = problem.states(name)
    is_text = isinstance(value, str)
    if any(state == value and isinstance(state, str) == is_text for state in states):
        return
    if len(states) > _FEW and not is_text:
        return
    if not is_text and (numerals := advice_on_numerals(name, states)):
        raise DataError(f"{name}={value!r} never occurs in the data: {numerals}")
    raise DataError(
        f"{name}={value!r} never occurs in the data; it has ({listed(map(repr, states))})"
        f"{closest(value, states)}; ask about a value that occurs, or declare it as a category"
    )
