"""Natural bounds: a mean that instruments do not change lies within the bounds at each value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.bounds import Bounds
from causalppl.bounds.manski import CONSISTENCY
from causalppl.bounds.method import BoundMethod, BoundProblem
from causalppl.bounds.monotone import MonotoneResponse
from causalppl.bounds.question import Part, Question, list_parts
from causalppl.bounds.row_method import condition_of, described, why_no_span
from causalppl.bounds.rows import Rows, check_values, find_missing
from causalppl.bounds.stratum_means import StratumMeans, strata_of
from causalppl.data.column import listed
from causalppl.estimation.settings import check_count, check_names
from causalppl.exceptions import AssumptionError, DataError
from causalppl.graphs import ADMG, is_separated
from causalppl.queries import Query

__all__ = ["NaturalBounds"]

Array: TypeAlias = NDArray[np.float64]
_LEVEL = 0.01  # at which crossed bounds refute the instruments
_MOST_STRATA = 50


@dataclass(frozen=True)
class NaturalBounds(BoundMethod):
    """Bounds from instruments: the mean of ``Y_x`` is the same at each of their values.

    At each value of the instruments there are bounds without assumptions (or with a monotone
    response); all of them hold, so their intersection does. Several instruments are taken
    together, one stratum for each combination of their values. Where ends cross, the instruments
    are refuted.

    Estimated ends are corrected for being the best of several (Chernozhukov, Lee and Rosen): the
    ends are half-median-unbiased, and `Bounds.interval` allows for the choice.

    Attributes:
        instruments: Their names; None for all that the diagram makes instruments.
        covariates: Variables in whose strata the instruments are valid; bounds are averaged over
            them.
        response: A monotone response, assumed as well; None: not.
        num_draws: Draws of the ends for their sampling error, where there are data.

    Raises:
        DataError: A setting is out of range.

    References:
        Robins (1989), The analysis of randomized and non-randomized AIDS treatment trials;
        Manski (1990); Chernozhukov, Lee and Rosen (2013), Intersection bounds.

    Example:
        >>> from causalppl.bounds.method import OBSERVED
        >>> from causalppl.programs.finite import random_finite_model
        >>> from causalppl.queries import Contrast
        >>> graph = ADMG.parse("Z -> X -> Y; X <-> Y")
        >>> model = random_finite_model(graph, seed=0)
        >>> effect = Contrast.parse("ATE(X -> Y)")
        >>> problem = BoundProblem(graph, effect, laws={OBSERVED: model.law()})
        >>> found = NaturalBounds().solve(problem, seed=0)
        >>> found.contains(model.probability(effect)), float(found.width) < 1
        (True, True)
    """

    instruments: Sequence[str] | None = None
    covariates: Sequence[str] = ()
    response: MonotoneResponse | None = None
    num_draws: int = 1_000
    name: ClassVar[str] = "natural bounds"

    def __post_init__(self) -> None:
        check_count("num_draws", self.num_draws, 100, 1_000)
        if self.instruments is not None:
            found = check_names("instruments", self.instruments)
            if not found:
                raise DataError("instruments is empty; give their names, or None for all")
            object.__setattr__(self, "instruments", found)
        object.__setattr__(self, "covariates", check_names("covariates", self.covariates))
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
            find_missing(problem, problem.query.variables)
            or why_no_span(problem)
            or why_not_set(problem.graph, queries)
            or self._why_no_instruments(problem, queries)
        )

    def _why_no_instruments(self, problem: BoundProblem, queries: Sequence[Query]) -> str | None:
        graph = problem.graph
        known = [name for name in graph.nodes if find_missing(problem, [name]) is None]
        if unknown := sorted({*(self.instruments or ()), *self.covariates} - set(known)):
            return f"{listed(unknown)} is not in the diagram, or not among the observed data"
        valid = find_instruments(graph, queries, self.covariates)
        chosen = [name for name in self.instruments or valid if name in known]
        if invalid := sorted(set(chosen) - set(valid)):
            return (
                f"the diagram does not make {listed(invalid)} an instrument: it must be apart from "
                "the outcome once the treatment is set"
            )
        if not chosen:
            return "the diagram has no instrument among the observed variables"
        for name in (*chosen, *self.covariates):
            if len(problem.states(name)) > _MOST_STRATA:
                return f"{name} has more than {_MOST_STRATA} values; bin it"
        return None

    def solve(self, problem: BoundProblem, *, seed: int, progress: bool = False) -> Bounds:
        """Answer the problem; see `BoundMethod.solve`.

        Raises:
            AssumptionError: The ends cross: the data refute the instruments.
        """
        asked = Question.of(problem)
        queries = [query for _, query in asked.parts]
        check_values(problem, queries)
        known = [name for name in problem.graph.nodes if find_missing(problem, [name]) is None]
        valid = find_instruments(problem.graph, queries, self.covariates)
        chosen = tuple(name for name in self.instruments or valid if name in known)
        rows = Rows.of(problem, {*problem.query.variables, *chosen, *self.covariates})
        rng = np.random.default_rng(seed)
        cells = [self._cell(problem, rows, parts, chosen, rng) for _, parts in asked.cells()]
        lower, upper = np.array([cell.ends for cell in cells]).T.reshape(2, *asked.shape)
        draws = None
        if not rows.is_exact:
            drawn = np.stack([cell.draws for cell in cells if cell.draws is not None], axis=-1)
            draws = drawn.reshape(self.num_draws, 2, *asked.shape)
        crossed = sum(cell.is_crossed for cell in cells)
        notes = ("ends that crossed by chance were put at their middle",) * bool(crossed)
        if len(problem.sources) > 1:
            notes = (*notes, "only the observed data were used, not the other sources")
        return Bounds(
            problem.query,
            described(self),
            lower,
            upper,
            asked.axes,
            draws=draws,
            num_rows=problem.num_rows,
            assumptions=self._assumptions(queries, chosen),
            notes=notes,
            diagnostics={"seed": seed, "instruments": chosen},
        )

    def _assumptions(self, queries: Sequence[Query], chosen: Sequence[str]) -> tuple[str, ...]:
        outcome = queries[0].outcomes[0].name
        within = [*self.covariates, *sorted({given.name for given in queries[0].given})]
        given = f", given {', '.join(within)}" if within else ""
        valid = (
            f"{', '.join(chosen)} tells nothing about what {outcome} would be under each treatment"
            f"{given} (instruments)"
        )
        more = () if self.response is None else (self.response.sentence(queries),)
        return (CONSISTENCY, valid, *more)

    def _cell(
        self,
        problem: BoundProblem,
        rows: Rows,
        parts: Sequence[Part],
        chosen: Sequence[str],
        rng: np.random.Generator,
    ) -> "Intersected":
        is_given, _ = condition_of(rows, parts[0][1])
        rows = rows.select(is_given & (rows.weights > 0))
        within = strata_of(rows, self.covariates)
        found, totals = [], []
        for place in range(int(within.max(initial=0)) + 1):
            here = rows.select(within == place)
            strata = strata_of(here, chosen)
            means = StratumMeans.of(
                problem, here, parts, strata, self.response, num_draws=self.num_draws, rng=rng
            )
            every = np.ones(len(means.totals), dtype=bool)
            check_not_crossed(means, every, every, chosen)
            found.append((*means.ends(every, every), means.pooled))
            totals.append(here.total)
        return averaged(found, np.array(totals), chosen, rng)


@dataclass(frozen=True, eq=False)
class Intersected:
    """Ends after intersection, shapes ``(2,)`` and ``(draws, 2)``; whether they had crossed."""

    ends: Array
    draws: Array | None
    is_crossed: bool


def find_instruments(
    graph: ADMG, queries: Sequence[Query], covariates: Sequence[str] = ()
) -> tuple[str, ...]:
    """Name the variables that a diagram makes instruments for some queries, in its order.

    An instrument precedes what is set, is connected with it, and is apart from the outcome once
    that is set (all given the covariates and the conditions of the queries).

    Example:
        >>> graph = ADMG.parse("Z -> X -> Y; X <-> Y; W -> X; W -> Y")
        >>> queries = [Query.parse("E[Y | do(X=1)]").worlds]
        >>> find_instruments(graph, queries, ["W"]), find_instruments(graph, queries)
        (('Z',), ('Z',))
    """
    terms = [event.term for query in queries for event in query.outcomes]
    is_set = {each.name for term in terms for each in term.interventions}
    outcomes = {term.name for term in terms}
    cuts = [(graph.remove_incoming({e.name for e in t.interventions}), t.name) for t in terms]
    given = {event.name for query in queries for event in query.given} | set(covariates)
    later = graph.descendants(is_set)
    if given & later:
        return ()
    return tuple(
        name
        for name in graph.nodes
        if name not in later | given | outcomes
        and all(is_separated(cut, {name}, {outcome}, given) for cut, outcome in cuts)
        and not is_separated(graph, {name}, is_set, given)
    )


def why_not_set(graph: ADMG, queries: Sequence[Query]) -> str | None:
    """Say why queries are not about what is set, for all units or in strata; None if they are."""
    is_set: set[str] = set()
    for query in queries:
        for event in query.outcomes:
            if not event.term.interventions or event.term.is_nested:
                return "a part of the query sets nothing, or nests worlds"
            is_set |= {each.name for each in event.term.interventions}
        if any(event.term.interventions for event in query.given):
            return "the query conditions on another world"
    given = {event.name for query in queries for event in query.given}
    if later := graph.in_order(given & graph.descendants(is_set)):
        return f"the query conditions on {listed(later)}, which the treatment is or may change"
    return None


def check_not_crossed(
    means: StratumMeans, low: NDArray[np.bool_], high: NDArray[np.bool_], names: Sequence[str]
) -> None:
    """Refuse instruments at whose values the bounds of one mean have nothing in common.

    Raises:
        AssumptionError: The law is known and they have not, or they have not by more than chance.
    """
    for term in range(len(means.weights)):
        ends, draws = means.one_term(term).ends(low, high)
        if draws is not None:
            ends = np.array(
                [np.quantile(draws[:, 0], _LEVEL / 2), np.quantile(draws[:, 1], 1 - _LEVEL / 2)]
            )
        if ends[0] > ends[1] + 1e-9:
            raise AssumptionError(
                f"the bounds at the values of {', '.join(names)} have nothing in common: the "
                f"greatest lower end is {ends[0]:.4g}, the least upper end {ends[1]:.4g}"
                f"{'' if draws is None else f' (at level {_LEVEL:g})'}; the data refute the "
                "assumption about them, leave them out"
            )


def averaged(
    found: Sequence[tuple[Array, Array | None, tuple[float, float]]],
    totals: Array,
    names: Sequence[str],
    rng: np.random.Generator,
) -> Intersected:
    """Average ends over strata; never wider than without the instruments."""
    if not totals.sum():
        return Intersected(np.array(found[0][2]), found[0][1], False)
    share = totals / totals.sum()
    ends = share @ np.array([each for each, _, _ in found])
    pooled = share @ np.array([each for _, _, each in found])
    ends = np.array([max(ends[0], pooled[0]), min(ends[1], pooled[1])])
    drawn = [each for _, each, _ in found if each is not None]
    draws = None
    if drawn:
        mass = rng.standard_gamma(
            np.broadcast_to(totals + 1 / len(totals), (len(drawn[0]), len(totals)))
        )
        draws = np.einsum("bs,sbe->be", mass / mass.sum(1, keepdims=True), np.stack(drawn))
    is_crossed = bool(ends[0] > ends[1])
    if is_crossed and draws is None and ends[0] > ends[1] + 1e-9:
        raise AssumptionError(
            f"the bounds at the values of {', '.join(names)} cross ({ends[0]:.4g} above "
            f"{ends[1]:.4g}); the data refute the assumption about them, leave them out"
        )
    if is_crossed:
        ends = np.full(2, ends.mean())
    return Intersected(ends, draws, is_crossed and draws is not None)
