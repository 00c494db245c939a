"""Bounds from a variable with which mean outcomes can only rise, or only fall."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.bounds import Bounds
from causalppl.bounds.manski import CONSISTENCY
from causalppl.bounds.method import BoundMethod, BoundProblem
from causalppl.bounds.monotone import MonotoneResponse, checked_levels, rank_of, why_no_levels
from causalppl.bounds.natural import Intersected, averaged, why_not_set
from causalppl.bounds.question import Part, Question, list_parts
from causalppl.bounds.row_method import condition_of, described, why_no_span
from causalppl.bounds.rows import Rows, check_values, find_missing
from causalppl.bounds.stratum_means import StratumMeans
from causalppl.estimation.settings import check_count, check_flags
from causalppl.exceptions import AssumptionError, DataError
from causalppl.graphs import ADMG
from causalppl.queries import Query, Value

__all__ = ["MonotoneInstrument"]

Array: TypeAlias = NDArray[np.float64]
_LEVEL = 0.01  # at which crossed bounds refute the assumption


@dataclass(frozen=True)
class MonotoneInstrument(BoundMethod):
    """A monotone instrument: mean outcomes under each treatment do not fall with a variable.

    At one value v of the instrument, lower ends at all lower values hold too, and upper ends at
    all higher values; the results are averaged over v. This asks less than an instrument, at which
    means stay the same. Estimated ends are corrected for being the best of several, as in
    `NaturalBounds`.

    Attributes:
        instrument: The variable.
        increasing: Whether mean outcomes rise with it; else they fall.
        levels: Its values, lowest first; None for numbers, in their order.
        response: A monotone response, assumed as well; None: not.
        num_draws: Draws of the ends for their sampling error, where there are data.

    Raises:
        DataError: A setting is out of range.

    References:
        Manski and Pepper (2000), Monotone instrumental variables, proposition 1; Chernozhukov,
        Lee and Rosen (2013), Intersection bounds.

    Example:
        >>> from causalppl.bounds.method import OBSERVED
        >>> from causalppl.data import Table
        >>> rows = Table.from_any(
        ...     {"V": [0, 0, 0, 1, 1, 1], "X": [1, 1, 0, 1, 0, 0], "Y": [1, 1, 1, 1, 0, 0]}
        ... )
        >>> graph = ADMG.parse("V -> X -> Y; V -> Y; X <-> Y")
        >>> problem = BoundProblem(graph, Query.parse("P(Y=1 | do(X=1))"), {OBSERVED: rows})
        >>> found = MonotoneInstrument("V").solve(problem, seed=0)
        >>> float(found.lower) > 0.4
        True
    """

    instrument: str
    increasing: bool = True
    levels: Sequence[Value] | None = None
    response: MonotoneResponse | None = None
    num_draws: int = 1_000
    name: ClassVar[str] = "monotone instrument"

    def __post_init__(self) -> None:
        check_flags(self, "increasing")
        check_count("num_draws", self.num_draws, 100, 1_000)
        object.__setattr__(self, "levels", checked_levels(self.levels))
        if not isinstance(self.instrument, str):
            raise DataError(f"instrument is {self.instrument!r}; expected the name of a variable")
        if not isinstance(self.response, MonotoneResponse | None):
            raise DataError(
                f"response is {self.response!r}; expected MonotoneResponse() or None, as without "
                "a monotone response"
            )

    def refusal(self, problem: BoundProblem) -> str | None:
        """Say why the method cannot answer; None if it can."""
        if self.response is not None and (reason := self.response.refusal(problem)) is not None:
            return reason
        queries = [query for _, query in list_parts(problem.graph, problem.query)]
        return (
            find_missing(problem, {*problem.query.variables, self.instrument})
            or why_no_span(problem)
            or why_not_set(problem.graph, queries)
            or self._why_no_instrument(problem.graph, queries)
            or why_no_levels(problem, self.levels, self.instrument)
            or _why_not_rising(problem, queries)
        )

    def _why_no_instrument(self, graph: ADMG, queries: Sequence[Query]) -> str | None:
        events = [event for query in queries for event in (*query.outcomes, *query.given)]
        is_set = {each.name for event in events for each in event.term.interventions}
        if self.instrument in {event.name for event in events} | is_set:
            return f"{self.instrument} is in the query itself"
        if self.instrument in graph.descendants(is_set):
            return f"{self.instrument} comes after the treatment, which may change it"
        return None

    def solve(self, problem: BoundProblem, *, seed: int, progress: bool = False) -> Bounds:
        """Answer the problem; see `BoundMethod.solve`.

        Raises:
            AssumptionError: The ends cross: the data refute the assumption.
        """
        asked = Question.of(problem)
        queries = [query for _, query in asked.parts]
        check_values(problem, queries)
        rows = Rows.of(problem, {*problem.query.variables, self.instrument})
        rng = np.random.default_rng(seed)
        cells = [self._cell(problem, rows, parts, rng) for _, parts in asked.cells()]
        lower, upper = np.array([cell.ends for cell in cells]).T.reshape(2, *asked.shape)
        draws = None
        if not rows.is_exact:
            drawn = np.stack([cell.draws for cell in cells if cell.draws is not None], axis=-1)
            draws = drawn.reshape(self.num_draws, 2, *asked.shape)
        outcome = queries[0].outcomes[0].name
        falls = "fall" if self.increasing else "rise"
        rising = (
            f"under each treatment, mean {outcome} does not {falls} with {self.instrument} "
            "(monotone instrument)"
        )
        more = () if self.response is None else (self.response.sentence(queries),)
        return Bounds(
            problem.query,
            described(self),
            lower,
            upper,
            asked.axes,
            draws=draws,
            num_rows=problem.num_rows,
            assumptions=(CONSISTENCY, rising, *more),
            notes=("ends that crossed by chance were put at their middle",)
            * any(cell.is_crossed for cell in cells),
            diagnostics={"seed": seed},
        )

    def _cell(
        self,
        problem: BoundProblem,
        rows: Rows,
        parts: Sequence[Part],
        rng: np.random.Generator,
    ) -> Intersected:
        is_given, _ = condition_of(rows, parts[0][1])
        rows = rows.select(is_given & (rows.weights > 0))
        strata = rank_of(rows, self.instrument, self.levels or rows.levels(self.instrument))
        means = StratumMeans.of(
            problem, rows, parts, strata, self.response, num_draws=self.num_draws, rng=rng
        )
        query, place = parts[0][1], np.arange(len(means.totals))
        rises = self.increasing == _follows(problem, query)
        found = []
        for value in place:
            below, above = (place <= value, place >= value)
            low, high = (below, above) if rises else (above, below)
            self._check(means, low, high)
            ends, draws = means.ends(low, high)
            at = means.means[value, -2:]
            found.append((ends, draws, (float(at[0]), float(at[1]))))
        return averaged(found, means.totals, [self.instrument], rng)

    def _check(self, means: StratumMeans, low: NDArray[np.bool_], high: NDArray[np.bool_]) -> None:
        for term in range(len(means.weights)):
            ends, draws = means.one_term(term).ends(low, high)
            if draws is not None:
                ends = np.array(
                    [
                        np.quantile(draws[:, 0], _LEVEL / 2),
                        np.quantile(draws[:, 1], 1 - _LEVEL / 2),
                    ]
                )
            if ends[0] > ends[1] + 1e-9:
                raise AssumptionError(
                    f"a lower end ({ends[0]:.4g}) at one value of {self.instrument} lies above an "
                    f"upper end ({ends[1]:.4g}) at a later one; the data refute that it is "
                    "monotone in this direction; turn it around, or leave it out"
                )


def _follows(problem: BoundProblem, query: Query) -> bool:
    """Whether what is averaged rises with the outcome."""
    event = query.outcomes[0]
    if query.kind == "E" or event.op != "=":
        return event.op not in ("<", "<=")
    return event.value == problem.states(event.name)[-1]


def _why_not_rising(problem: BoundProblem, queries: Sequence[Query]) -> str | None:
    for query in queries:
        event = query.outcomes[0]
        if len(query.outcomes) > 1:
            return "the query has joint events; the assumption is about means"
        if query.kind == "P" and (event.op != "=" or len(problem.states(event.name)) != 2):
            return (
                f"the assumption is about means, and {event} is an event of an outcome with "
                "several values; recode it as 0 and 1, to assume it for that"
            )
    return None
