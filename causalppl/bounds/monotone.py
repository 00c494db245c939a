"""Bounds for outcomes that can only rise, or only fall, with the treatment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.manski import CONSISTENCY
from causalppl.bounds.method import BoundProblem
from causalppl.bounds.question import list_parts
from causalppl.bounds.row_method import Outcome, RowMethod, allows_every_response
from causalppl.bounds.rows import Rows
from causalppl.data.column import listed
from causalppl.estimation.settings import check_count, check_flags, check_names
from causalppl.exceptions import DataError
from causalppl.queries import Event, Query, Term, Value

__all__ = ["MonotoneResponse", "levels_of", "rank_of", "treatment_of"]

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class MonotoneResponse(RowMethod):
    """Monotone treatment response: more treatment never lowers any unit's outcome.

    A unit seen with outcome y under treatment s then has at least y under every higher level, and
    at most y under every lower one. Effects of raising the treatment are at least 0. The treatment
    may have several ordered levels. Bounds of means, of probabilities of a threshold (``Y >= 2``,
    or the highest or lowest value), and of PN, PS and PNS with two values; within strata too.

    Attributes:
        increasing: Whether outcomes rise with the treatment; else they fall.
        levels: The levels of the treatment, lowest first; None for numbers, in their order.
        num_draws: Draws of the ends for their sampling error, where there are data.

    Raises:
        DataError: A setting is out of range.

    References:
        Manski (1997), Monotone treatment response.

    Example:
        >>> from causalppl.bounds.method import OBSERVED
        >>> from causalppl.data import Table
        >>> from causalppl.graphs import ADMG
        >>> from causalppl.queries import Contrast
        >>> rows = Table.from_any({"X": [0] * 5 + [1] * 5, "Y": [0, 0, 0, 0, 1] + [1] * 5})
        >>> problem = BoundProblem(
        ...     ADMG.parse("X -> Y; X <-> Y"), Contrast.parse("ATE(X -> Y)"), {OBSERVED: rows}
        ... )
        >>> found = MonotoneResponse().solve(problem, seed=0)
        >>> round(float(found.lower), 3), round(float(found.upper), 3)
        (0.0, 0.9)
    """

    increasing: bool = True
    levels: Sequence[Value] | None = None
    num_draws: int = 1_000
    name: ClassVar[str] = "monotone response"

    def __post_init__(self) -> None:
        check_flags(self, "increasing")
        check_count("num_draws", self.num_draws, 100, 1_000)
        object.__setattr__(self, "levels", checked_levels(self.levels))

    def refusal(self, problem: BoundProblem) -> str | None:
        """Say why the method cannot answer; None if it can."""
        if (reason := super().refusal(problem)) is not None:
            return reason
        queries = [query for _, query in list_parts(problem.graph, problem.query)]
        return (
            why_no_treatment(queries)
            or why_no_levels(problem, self.levels, treatment_of(queries))
            or why_not_monotone(problem, queries)
        )

    def row_values(
        self, rows: Rows, outcomes: Mapping[Outcome, float], span: tuple[float, float]
    ) -> tuple[Array, Array, tuple[float, float]]:
        """The ends over all monotone responses that pass through what is seen."""
        terms = [event.term for _, events in outcomes for event in events]
        treatment = next(each.name for term in terms for each in term.interventions)
        levels = levels_with(self.levels or rows.levels(treatment), terms)
        threshold = next((events[0] for kind, events in outcomes if kind == "P"), None)
        if threshold is None:
            seen, box, rises = rows.numbers(terms[0].name), span, self.increasing
        else:
            seen, box = rows.satisfies(threshold).astype(float), (0.0, 1.0)
            rises = self.increasing == _rises_with_outcome(rows, threshold)
        weights, constant = _on_one_scale(outcomes, levels, threshold, rises=rises)
        rank = rank_of(rows, treatment, levels)
        low, high = _extremes(seen, rank, weights, box, rises=rises)
        places = np.arange(2 * len(levels)) // 2  # the ends are linear in what is seen
        least, most = _extremes(np.tile(box, len(levels)), places, weights, box, rises=rises)
        worst = float(least.min() + constant), float(most.max() + constant)
        return low + constant, high + constant, worst

    def says(self, problem: BoundProblem) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
        """It rests on consistency and on the direction of responses."""
        parts = list_parts(problem.graph, problem.query)
        is_sharp = allows_every_response(problem.graph, parts)
        return (CONSISTENCY, self.sentence([query for _, query in parts])), (), is_sharp

    def sentence(self, queries: Sequence[Query]) -> str:
        """The assumption in words."""
        name, outcome = treatment_of(queries), queries[0].outcomes[0].name
        word = "lowers" if self.increasing else "raises"
        return f"more {name} never {word} any unit's {outcome} (monotone response)"


def checked_levels(levels: Any) -> tuple[Value, ...] | None:
    """Read an order of levels.

    Raises:
        DataError: It is no list of different values.
    """
    if levels is None:
        return None
    if isinstance(levels, str):
        check_names("levels", levels)
    found = tuple(levels)
    if len(found) < 2 or len(set(found)) < len(found):
        raise DataError(f"levels is {levels!r}; expected different values, the lowest first")
    return found


def treatment_of(queries: Sequence[Query]) -> str:
    """The one variable that some queries set; empty if they set none or several."""
    names = {
        each.name
        for query in queries
        for event in (*query.outcomes, *query.given)
        for each in event.term.interventions
    }
    return names.pop() if len(names) == 1 else ""


def why_no_treatment(queries: Sequence[Query]) -> str | None:
    """Say why queries are not about worlds with one treatment set; None if they are."""
    treatment = treatment_of(queries)
    if not treatment:
        return "the query sets no variable, or several; it needs one treatment"
    if any(event.term.interventions for query in queries for event in query.given):
        return "the query conditions on another world; it conditions on what is seen only"
    if len({event.name for query in queries for event in query.outcomes}) > 1:
        return "the query has several outcomes; it needs one"
    if any(event.term.is_nested for query in queries for event in query.outcomes):
        return "the query nests worlds, which it does not"
    return None


def why_no_levels(
    problem: BoundProblem, levels: Sequence[Value] | None, treatment: str
) -> str | None:
    """Say why the levels of a treatment have no order; None if they have."""
    states = problem.states(treatment)
    if levels is None:
        if any(isinstance(state, str) for state in states):
            return (
                f"{treatment} has the values ({listed(map(repr, states))}), which have no order; "
                "give levels=[lowest, ..., highest]"
            )
        return None
    if unknown := [state for state in states if state not in levels]:
        return f"{treatment} is {unknown[0]!r} in the data, which is none of the levels"
    return None


def why_not_monotone(problem: BoundProblem, queries: Sequence[Query]) -> str | None:
    """Say why an event does not rise or fall with its outcome; None if it does."""
    asked = [query for query in queries if query.kind == "P"]
    for event in (event for query in asked for event in query.outcomes):
        states = problem.states(event.name)
        if any(isinstance(state, str) for state in states):
            return f"{event.name} is text, which has no order; turn it into numbers"
        if event.op == "=" and len(states) > 2 and event.value not in (states[0], states[-1]):
            return (
                f"{event} is a value between others, whose probability need not rise or fall with "
                f"the treatment; ask for a threshold, such as P({event.name} >= {event.value})"
            )
        is_joint = any(len(query.outcomes) > 1 for query in asked)
        if is_joint and not (len(states) == 2 and event.op == "=" and event.term.interventions):
            return (
                "the query has joint events; it takes two, in worlds with the treatment set, of an "
                "outcome with two values"
            )
    if any(len(query.outcomes) > 2 for query in asked):
        return "the query has more than two events"
    return None


def levels_of(problem: BoundProblem, levels: Sequence[Value] | None, name: str) -> list[Value]:
    """The levels of an ordered variable, lowest first."""
    return list(levels or sorted(problem.states(name), key=float))


def levels_with(levels: Sequence[Value], terms: Sequence[Term]) -> list[Value]:
    """Add the levels that a query sets but no row has, where levels are numbers."""
    asked = {each.value for term in terms for each in term.interventions}
    found = {*levels, *asked}
    if any(isinstance(level, str) for level in found):
        return list(levels)
    return sorted(found, key=float)  # type: ignore[arg-type]


def rank_of(rows: Rows, name: str, levels: Sequence[Value]) -> NDArray[np.int64]:
    """The place of each row's value among the levels."""
    found = np.zeros(len(rows.weights), dtype=np.int64)
    for place, level in enumerate(levels):
        found[rows.holds(name, level)] = place
    return found


def _rises_with_outcome(rows: Rows, event: Event) -> bool:
    if event.op != "=":
        return event.op in (">", ">=")
    return bool(float(event.value or 0) >= np.max(rows.numbers(event.name)))


def _on_one_scale(
    outcomes: Mapping[Outcome, float],
    levels: list[Value],
    threshold: Event | None,
    *,
    rises: bool,
) -> tuple[Array, float]:
    """Write outcomes as a weighted sum of one monotone quantity in the worlds, and a constant.

    For probabilities it is the indicator h of the first event. A value has two states here, so
    another event is 1 - h; and of two events in different worlds, monotone responses leave either
    one or a difference.

    Returns:
        The weight of each level and, last, of the factual world; and the constant.
    """
    weights, constant = np.zeros(len(levels) + 1), 0.0
    for (kind, events), weight in outcomes.items():
        holds = [kind == "E" or _is_same(event, threshold) for event in events]
        places = [_place(event.term, levels) for event in events]
        if len(events) == 2:
            lower, higher = sorted(places) if rises else sorted(places, reverse=True)
            if all(holds):
                holds, places = [True], [lower]  # whoever has it at the lower level has it at both
            elif not any(holds):
                holds, places = [False], [higher]
            else:
                gained, lost = (places[holds.index(found)] for found in (True, False))
                if (gained, lost) == (higher, lower):
                    weights[gained] += weight
                    weights[lost] -= weight
                continue
        weights[places[0]] += weight if holds[0] else -weight
        constant += 0.0 if holds[0] else weight
    return weights, constant


def _place(term: Term, levels: list[Value]) -> int:
    return levels.index(term.interventions[0].value) if term.interventions else -1  # type: ignore[arg-type]


def _is_same(event: Event, other: Event | None) -> bool:
    return other is None or (event.op, event.value) == (other.op, other.value)


def _extremes(
    seen: Array,
    rank: NDArray[np.int64],
    weights: Array,
    box: tuple[float, float],
    *,
    rises: bool,
) -> tuple[Array, Array]:
    """Ends of a weighted sum over monotone sequences that pass through one known value.

    The corners of these sequences are steps: below the known place they jump once from the least
    value to what is seen, above it once from there to the greatest.
    """
    worlds = weights[:-1] if rises else weights[:-1][::-1]
    rank = rank if rises else len(worlds) - 1 - rank
    ends = []
    for least in (True, False):
        pick = np.minimum if least else np.maximum
        found = weights[-1] * seen
        for place in range(len(worlds)):
            here = rank == place
            y = seen[here]
            below = np.concatenate([[0.0], np.cumsum(worlds[:place])])
            under = [s * box[0] + (below[-1] - s) * y for s in below]
            above = np.concatenate([[0.0], np.cumsum(worlds[place + 1 :][::-1])])
            over = [s * box[1] + (above[-1] - s) * y for s in above]
            found[here] += worlds[place] * y + pick.reduce(under) + pick.reduce(over)
        ends.append(found)
    return ends[0], ends[1]
