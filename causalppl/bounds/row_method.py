"""What the methods share that bound each unit's own contribution, and then take the mean."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.bounds import Bounds
from causalppl.bounds.method import BoundMethod, BoundProblem
from causalppl.bounds.question import Part, Question, list_parts
from causalppl.bounds.row_ends import RowEnds
from causalppl.bounds.rows import (
    Rows,
    check_values,
    find_missing,
    is_text,
    natural_range,
    outcome_span,
)
from causalppl.estimation.numerals import advice_on_numerals
from causalppl.exceptions import DataError
from causalppl.graphs import ADMG
from causalppl.queries import Event, Query

__all__ = ["Outcome", "RowMethod", "allows_every_response", "condition_of", "described"]

Array: TypeAlias = NDArray[np.float64]
Outcome: TypeAlias = tuple[str, tuple[Event, ...]]
"""What is averaged: ``("E", (term,))`` or ``("P", events that must all hold)``."""


class RowMethod(BoundMethod):
    """A method for which each row says by itself between which values its part lies.

    The mean of the rows' ends is then the bound, and rows that are weighed at random give its
    sampling error.
    """

    num_draws: int

    @abstractmethod
    def row_values(
        self,
        rows: Rows,
        outcomes: Mapping[Outcome, float],
        span: tuple[float, float],
    ) -> tuple[Array, Array, tuple[float, float]]:
        """The least and the greatest value of a weighted sum of outcomes, for each row.

        Args:
            rows: The rows.
            outcomes: Each outcome with its weight.
            span: The range of the outcome of expectations.

        Returns:
            Both, shape ``(rows,)``, and the range in which those of any row would lie.
        """

    def says(self, problem: BoundProblem) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
        """The assumptions, the notes, and whether the bounds are sharp."""
        raise NotImplementedError

    def refusal(self, problem: BoundProblem) -> str | None:
        """Say why the method cannot answer; None if it can."""
        return find_missing(problem, problem.query.variables) or why_no_span(problem)

    def solve(self, problem: BoundProblem, *, seed: int, progress: bool = False) -> Bounds:
        """Answer the problem; see `BoundMethod.solve`."""
        asked = Question.of(problem)
        check_values(problem, [query for _, query in asked.parts])
        rows = Rows.of(problem, problem.query.variables)
        rng = np.random.default_rng(seed)
        cells = [self._row_ends(problem, rows, parts) for _, parts in asked.cells()]
        lower, upper = np.array([cell.ends() for cell in cells]).T.reshape(2, *asked.shape)
        draws = None
        if not rows.is_exact:
            drawn = np.stack([cell.draws(self.num_draws, rng) for cell in cells], axis=-1)
            draws = drawn.reshape(self.num_draws, 2, *asked.shape)
        empty = sum(not bool((cell.weights * cell.may_be).any()) for cell in cells)
        assumptions, notes, is_sharp = self.says(problem)
        if empty:
            notes = (*notes, f"{empty} of {len(cells)} strata hold no row: there anything goes")
        return Bounds(
            problem.query,
            described(self),
            lower,
            upper,
            asked.axes,
            is_sharp,
            draws=draws,
            num_rows=problem.num_rows,
            assumptions=assumptions,
            notes=notes,
            diagnostics={"seed": seed},
        )

    def _row_ends(self, problem: BoundProblem, rows: Rows, parts: Sequence[Part]) -> RowEnds:
        outcomes = merged(parts)
        names = [events[0].name for kind, events in outcomes if kind == "E"]
        span = outcome_span(problem, names, rows) if names else (0.0, 1.0)
        low, high, worst = self.row_values(rows, outcomes, span)
        is_given, may_be = condition_of(rows, parts[0][1])
        return RowEnds(low, high, is_given, may_be, rows.weights, worst)


def described(method: BoundMethod) -> str:
    """A method in words: its name, and the settings that are not those it has by itself."""
    changed = [
        f"{each.name}={value.name if isinstance(value, BoundMethod) else repr(value)}"
        for each in fields(method)  # type: ignore[arg-type]
        if each.name != "num_draws" and (value := getattr(method, each.name)) != each.default
    ]
    return f"{method.name} ({', '.join(changed)})" if changed else method.name


def merged(parts: Sequence[Part]) -> dict[Outcome, float]:
    """Add up the weights of equal outcomes."""
    found: dict[Outcome, float] = {}
    for weight, query in parts:
        what = query.kind, tuple(sorted(query.outcomes, key=str))
        found[what] = found.get(what, 0.0) + weight
    return {what: weight for what, weight in found.items() if weight}


def whole_span(outcomes: Mapping[Outcome, float], span: tuple[float, float]) -> tuple[float, float]:
    """Between which values a weighted sum of outcomes lies, whatever they are."""
    ends = [
        (weight * (span if kind == "E" else (0.0, 1.0))[0],
         weight * (span if kind == "E" else (0.0, 1.0))[1])
        for (kind, _), weight in outcomes.items()
    ]  # fmt: skip
    return float(sum(map(min, ends))), float(sum(map(max, ends)))


def condition_of(rows: Rows, query: Query) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """In which rows the condition holds, and in which it may hold in its own world."""
    is_given = np.ones(len(rows.weights), dtype=bool)
    may_be = is_given.copy()
    for event in query.given:
        known, true = rows.knows(event.term), rows.satisfies(event)
        is_given &= known & true
        may_be &= ~known | true
    return is_given, may_be


def why_no_span(problem: BoundProblem) -> str | None:
    """Say why the range of an expectation's outcome is not known; None if it is."""
    names = {
        event.name
        for _, query in list_parts(problem.graph, problem.query)
        if query.kind == "E"
        for event in query.outcomes
    }
    for name in sorted(names):
        if is_text(problem, name):
            return (
                advice_on_numerals(name, problem.states(name))
                or f"{name} is text, which has no mean; ask for the probability of a value"
            )
        if problem.outcome_range is None and natural_range(problem, name) is None:
            return (
                f"{name} has no outcome_range, and its values do not say what it could have "
                f"been; declare outcome_range=(smallest, largest), the possible values of {name}"
            )
    return None


def allows_every_response(graph: ADMG, parts: Sequence[Part]) -> bool:
    """Whether a diagram lets units with another treatment have any outcome under the one asked.

    It does if all that is set are parents of the outcome and confounded with it, and their other
    ancestors are too, or are parents: then the outcome's mechanism can tell which units would not
    have been treated so, and give these any value.
    """
    terms = {event.term for _, query in parts for event in query.outcomes}
    conditions = [event.term for _, query in parts for event in query.given]
    if any(term.interventions for term in conditions) or any(term.is_nested for term in terms):
        return False
    for term in terms:
        causes = graph.ancestors([each.name for each in term.interventions] or [term.name])
        causes -= {term.name}
        parents, siblings = graph.parents(term.name), graph.siblings(term.name)
        is_set = {each.name for each in term.interventions}
        if not (is_set <= parents & siblings and causes <= parents | siblings):
            return False
    return len({term.name for term in terms}) == 1


def checked_outcome_range(value: object) -> tuple[float, float] | None:
    """Read a declared range.

    Raises:
        DataError: It is no pair of finite numbers, the first smaller.
    """
    if value is None:
        return None
    try:
        low, high = (float(end) for end in value)  # type: ignore[attr-defined]
        is_range = -np.inf < low < high < np.inf
    except (TypeError, ValueError):
        is_range = False
    if not is_range:
        raise DataError(
            f"outcome_range is {value!r}; expected the smallest and the largest possible value of "
            "the outcome, such as (0, 1)"
        )
    return low, high
