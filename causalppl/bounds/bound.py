"""One front for bounds: from a diagram or a program, a query and data to an interval."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.bounds import Bounds
from causalppl.bounds.canonical import Canonical
from causalppl.bounds.manski import NoAssumptions
from causalppl.bounds.method import OBSERVED, BoundMethod, BoundProblem, SourceKey
from causalppl.bounds.natural import NaturalBounds
from causalppl.bounds.question import list_parts
from causalppl.bounds.response_functions import TooManyTypesError
from causalppl.bounds.row_method import checked_outcome_range, why_no_span
from causalppl.bounds.rows import Rows, check_values, natural_range, outcome_span
from causalppl.data.column import listed
from causalppl.estimation import Estimate, ProgramLaw, estimate, evaluate
from causalppl.estimation.contingency import columns_by_source, occurring
from causalppl.estimation.estimate import left_out
from causalppl.estimation.reading import Reader
from causalppl.estimation.settings import check_count
from causalppl.estimation.source_keys import keyed, said
from causalppl.estimation.source_weights import column_names, told_unweighted, weights_by_source
from causalppl.estimation.usable_rows import UsableRows
from causalppl.exceptions import (
    AssumptionError,
    DataError,
    ImpossibleEvidenceError,
    NotIdentifiableError,
    QueryError,
)
from causalppl.given import check_kind, told
from causalppl.graphs import ADMG
from causalppl.graphs.checked import read_diagram
from causalppl.identification import Estimand, identify
from causalppl.inference.progress import is_shown
from causalppl.programs import SCM
from causalppl.queries import Contrast, Query, parse_query
from causalppl.seeding import checked_seed
from causalppl.spelling import closest

__all__ = ["bound"]

Array: TypeAlias = NDArray[np.float64]
_LEAST_DRAWS = 1_000  # of methods whose draws cost next to nothing


def bound(
    graph_or_scm: ADMG | SCM | str,
    query: str | Query | Contrast,
    data: Any = None,
    *,
    method: BoundMethod | None = None,
    sources: Mapping[tuple[str | None, Iterable[str]], Any] | None = None,
    outcome_range: tuple[float, float] | str | None = None,
    weights: Any = None,
    sampling_weights: bool = False,
    num_draws: int = 200,
    seed: int | None = None,
    progress: bool | None = None,
) -> Bounds:
    """Bound a query between the least and the greatest value that fits data and diagram.

    If no method is named, the sharpest that applies is taken, and named in the result. Where the
    query is identified the interval is a point, with its sampling error. Else, where all variables
    are discrete and few enough, all finite models on the diagram are searched (`Canonical`); else
    instruments are used, where the diagram has some (`NaturalBounds`), or nothing but the range of
    the outcome (`NoAssumptions`).

    Args:
        graph_or_scm: The diagram, or its text; or a finite program, of which without data the
            exact law of the observed variables is taken.
        query: For example ``"ATE(X -> Y)"`` or ``"P(Y=1 | do(X=1))"``.
        data: The observed data, as for `estimate`. Columns that are not in the diagram are not
            looked at; variables of the diagram that are no columns are taken for unobserved.
        method: The method, with its settings; None: as above.
        sources: The data of experiments in the same population: ``(None, variables set)`` to a
            table.
        outcome_range: Smallest and largest value that the outcome of an expectation can take, or
            ``"states"`` for those that occur; needed where it is no variable of zeros and ones,
            and refused where the query asks for probabilities alone.
        weights: How often each row counts, see `estimate`; the name of a column holds for
            ``sources``, too.
        sampling_weights: See `estimate`.
        num_draws: How many times the ends are drawn for their sampling error, where no method is
            named; methods whose draws cost little draw 1,000 times at least.
        seed: Seed of all randomness; with None a fresh one is taken and kept in ``diagnostics``.
        progress: Whether to show a progress bar; None: at a terminal or in a notebook.

    Returns:
        The bounds, with an axis for each value that the query leaves open.

    Raises:
        DataError: A column or the range of the outcome is missing, a value of the query never
            occurs or data lie outside the range, or data are otherwise unusable.
        GraphError: The first argument is neither a diagram nor a program.
        QueryError: The query cannot be read, or names what is not in the diagram.
        AssumptionError: No method can answer, or the one named cannot; or the data contradict
            what is assumed: ``error.witness`` holds what they violate, if it is known.
        ProgramError: The model has no finite law: a site is continuous, or parameters are not
            fixed.

    Example:
        >>> graph = ADMG.parse("X -> Y; X <-> Y")
        >>> rows = {"X": [0] * 5 + [1] * 5, "Y": [0, 0, 0, 0, 1] + [1] * 5}
        >>> bound(graph, "ATE(X -> Y)", rows, seed=0)
        Bounds(ATE(X: 1 vs 0 -> Y) in [-0.1, 0.9], by response functions)
    """
    used = checked_seed(seed)
    check_count("num_draws", num_draws, 2, 200)
    if method is not None:
        check_kind(method, BoundMethod, "method", "one such as NoAssumptions(), or None")
    if sampling_weights and weights is None:
        raise DataError("sampling_weights is set without weights; give weights=, or leave it out")
    graph = read_diagram(graph_or_scm, "bound(graph, query, data)", "the first argument")
    asked = _checked_query(graph, query)
    given = {**keyed(sources or {}), **({} if data is None else {OBSERVED: data})}
    if not given and isinstance(graph_or_scm, SCM):
        laws = {OBSERVED: ProgramLaw(graph_or_scm).law()}
        case = _Case(BoundProblem(graph, asked, laws=laws), {}, {})
    else:
        case = _Case.of(graph, asked, given, weights, are_sampling=sampling_weights)
    case = case.with_range(outcome_range)
    found = (
        _solved(method, case.problem, used, progress=is_shown(progress))
        if method is not None
        else _sharpest(case, used, num_draws, progress=is_shown(progress))
    )
    return case.told(replace(found, diagnostics={**found.diagnostics, "seed": used}))


def _checked_query(graph: ADMG, query: str | Query | Contrast) -> Query | Contrast:
    asked = parse_query(query) if isinstance(query, str) else query
    if not isinstance(asked, Query | Contrast):
        raise QueryError(f"the query is {told(query)}; expected text, a Query or a Contrast")
    if unknown := sorted(asked.variables - set(graph.nodes)):
        raise QueryError(
            f"{asked} names {unknown[0]!r}, which is not in the diagram; it has "
            f"{', '.join(graph.nodes)}{closest(unknown[0], graph.nodes)}"
        )
    return asked


def _solved(method: BoundMethod, problem: BoundProblem, seed: int, *, progress: bool) -> Bounds:
    if (reason := method.refusal(problem)) is not None:
        raise AssumptionError(f"{method.name} cannot answer: {reason}")
    return method.solve(problem, seed=seed, progress=progress)


def _sharpest(case: "_Case", seed: int, num_draws: int, *, progress: bool) -> Bounds:
    """Try the methods, the sharpest first."""
    point, reasons = _point(case, seed)
    if point is not None:
        return point
    problem = case.problem
    if (reason := why_no_span(problem)) is not None:
        raise DataError(f"{problem.query} cannot be bounded: {reason}")
    draws = max(num_draws, _LEAST_DRAWS)
    for method in (
        Canonical(num_draws=num_draws),
        NaturalBounds(num_draws=draws),
        NoAssumptions(draws),
    ):
        is_canonical = isinstance(method, Canonical)
        reason = (_why_not_canonical(problem) if is_canonical else None) or method.refusal(problem)
        if reason is None:
            try:
                found = method.solve(problem, seed=seed, progress=progress)
            except AssumptionError as error:
                if not isinstance(error, TooManyTypesError):
                    raise
                reason = str(error)
            else:
                told = [f"a sharper method could not answer: {each}" for each in reasons]
                return replace(found, notes=(*found.notes, *told))
        reasons.append(f"{method.name}: {reason}")
    raise AssumptionError(f"no method can answer. {'; '.join(reasons)}")


def _why_not_canonical(problem: BoundProblem) -> str | None:
    """Say why not all finite models are searched; None if they are."""
    for table in problem.tables.values():
        for name, column in table.columns.items():
            if occurring(column) is None:
                return f"{name} is a measurement with many values"
    for _, query in list_parts(problem.graph, problem.query):
        if query.kind == "P" or problem.outcome_range is None:
            continue
        states = problem.states(query.outcomes[0].name)
        if problem.outcome_range != (min(states), max(states)):
            return "the declared range of the outcome is wider than the values that occur"
    return None


def _point(case: "_Case", seed: int) -> tuple[Bounds | None, list[str]]:
    """The answer where it is identified and can be estimated; else why it cannot be estimated."""
    problem = case.problem
    known = {key: set(columns) for key, columns in case.columns.items()}
    experiments = [key[1] for key in problem.sources if key != OBSERVED]
    seen = [name for name in problem.graph.nodes if any(name in n for n in known.values())]
    try:
        estimand = identify(
            problem.graph.latent_projection(seen),
            problem.query,
            experiments=experiments,
            observational=OBSERVED in problem.sources,
        )
    except (NotIdentifiableError, QueryError):
        return None, []
    for key, needed in columns_by_source(estimand).items():
        if not set(needed) <= known.get(key, set()):
            return None, []
    try:
        if problem.laws:
            return _exact_point(problem, estimand), []
        return _as_bounds(case.estimated(estimand, seed)), []
    except (AssumptionError, DataError, ImpossibleEvidenceError) as error:
        return None, [f"it is identified, but {error}"]


def _exact_point(problem: BoundProblem, estimand: Estimand) -> Bounds:
    answer = evaluate(estimand, problem.laws)
    labels = {label: problem.states(symbol.variable) for label, symbol in estimand.axes}
    values = np.asarray(getattr(answer, "values", answer), dtype=float)
    return Bounds(
        problem.query, "identification", values, values, labels, is_sharp=True,
        assumptions=(f"the diagram {problem.graph}",),
    )  # fmt: skip


def _as_bounds(found: Estimate) -> Bounds:
    draws = None if found.draws is None else np.stack([found.draws, found.draws], axis=1)
    error = None if found.error is None else np.stack([found.error, found.error])
    return Bounds(
        found.query,
        f"identification and {found.method}",
        found.values,
        found.values,
        found.axes,
        is_sharp=True,
        draws=draws,
        error=error if draws is None else None,
        num_rows=found.num_rows,
        assumptions=found.assumptions,
        notes=("the query is identified: both ends are one point", *found.notes),
        diagnostics=found.diagnostics,
    )


@dataclass(frozen=True, eq=False)
class _Case:
    """A problem, and how its sources were read."""

    problem: BoundProblem
    usable: Mapping[SourceKey, UsableRows]
    given: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        graph: ADMG,
        query: Query | Contrast,
        data: Mapping[SourceKey, Any],
        weights: Any,
        *,
        are_sampling: bool,
    ) -> "_Case":
        """Read the columns that bear on the query, and their complete rows."""
        if not data:
            raise DataError("there are no data; give data=, sources=, or a finite SCM")
        if away := [key for key in data if key[0] is not None]:
            raise DataError(
                f"sources holds {said(away[0])}; bounds take data of one population, called None"
            )
        weighted = weights_by_source(weights, data)
        if stray := [key for key in weighted if key not in data]:
            raise DataError(f"weights are given for {said(stray[0])}, which has no data")
        present = {key: column_names(source) for key, source in data.items()}
        bearing = _bearing(graph, query, frozenset().union(*present.values()))
        columns = {key: [n for n in bearing if n in names] for key, names in present.items()}
        for key, names in columns.items():
            if lacking := sorted(key[1] - set(names)):
                raise DataError(f"the data of {said(key)} lack the column {lacking[0]!r}")
        found = {name for names in columns.values() for name in names}
        if missing := [name for name in graph.nodes if name in query.variables - found]:
            raise DataError(
                f"no source has the column {missing[0]!r}, which {query} needs; they have "
                f"{listed(sorted(found)) or 'no variable of the diagram'}"
            )
        reader = Reader(columns, data, weighted, are_sampling=are_sampling)
        usable = reader.counts() if reader.is_stored else reader.rows()
        problem = BoundProblem(
            graph,
            query,
            {key: rows.table for key, rows in usable.items()},
            {key: rows.weights for key, rows in usable.items() if rows.weights is not None},
        )
        settings = {
            "data": data.get(OBSERVED),
            "sources": {key: each for key, each in data.items() if key != OBSERVED},
            "weights": weighted or None,
            "sampling_weights": are_sampling,
            "weights as given": weights,
        }
        return cls(problem, usable, settings)

    @property
    def columns(self) -> dict[SourceKey, Sequence[str]]:
        """The variables of each source."""
        tables = {key: table.names for key, table in self.problem.tables.items()}
        return {**tables, **{key: law.names for key, law in self.problem.laws.items()}}

    def with_range(self, outcome_range: tuple[float, float] | str | None) -> "_Case":
        """Declare the range of the outcome, and hold the query and the data to what is there."""
        problem = self.problem
        parts = list_parts(problem.graph, problem.query)
        check_values(problem, [query for _, query in parts])
        names = sorted({q.outcomes[0].name for _, q in parts if q.kind == "E"})
        if outcome_range is not None and not names:
            raise DataError(
                f"outcome_range is {outcome_range!r}, but {problem.query} asks for probabilities, "
                "which lie between 0 and 1; leave it out, or ask for a mean"
            )
        if outcome_range == "states":
            states = [state for name in names for state in problem.states(name)]
            if any(isinstance(state, str) for state in states):
                raise DataError(f"the outcome {listed(names)} is text; expected numbers")
            declared = (float(min(states)), float(max(states))) if states else None
        elif isinstance(outcome_range, str):
            raise DataError(
                f"outcome_range is {outcome_range!r}; expected two numbers, or 'states'"
            )
        else:
            declared = checked_outcome_range(outcome_range)
        problem = replace(problem, outcome_range=declared)
        if declared is not None and names and OBSERVED in problem.sources:
            outcome_span(problem, names, Rows.of(problem, names))
        return replace(self, problem=problem)

    def estimated(self, estimand: Estimand, seed: int) -> Estimate:
        """Estimate a formula from the sources that it uses."""
        used = columns_by_source(estimand)
        weights = {k: w for k, w in (self.given["weights"] or {}).items() if k in used}
        found = estimate(
            estimand,
            self.given["data"] if OBSERVED in used or not used else None,
            sources={k: each for k, each in self.given["sources"].items() if k in used},
            weights=weights or None,
            sampling_weights=self.given["sampling_weights"] and bool(weights),
            seed=seed,
            progress=False,
        )
        return replace(found, notes=(*found.notes, *self.unweighted(used)))

    def unweighted(self, used: Iterable[SourceKey]) -> tuple[str, ...]:
        """Say of which of some sources the rows count once each, though others are weighted."""
        sources = {OBSERVED: self.given["data"], **self.given["sources"]}
        data = {key: sources[key] for key in used if sources.get(key) is not None}
        return told_unweighted(self.given["weights as given"], self.given["weights"] or (), data)

    def told(self, found: Bounds) -> Bounds:
        """Say of how many rows the answer is, and how many were left out."""
        if not self.usable or found.method.startswith("identification"):
            return found
        problem = self.problem
        names = {q.outcomes[0].name for _, q in list_parts(problem.graph, problem.query)}
        dropped = sum(rows.num_incomplete for rows in self.usable.values())
        notes = [*self.unweighted(self.usable), *([left_out(dropped)] if dropped else [])]
        is_mean = any(q.kind == "E" for _, q in list_parts(problem.graph, problem.query))
        if is_mean and problem.outcome_range is None and OBSERVED in problem.sources:
            spans = [natural_range(problem, name) for name in sorted(names)]
            if all(span == (0.0, 1.0) for span in spans):
                notes.append(f"{listed(sorted(names))} was taken to lie between 0 and 1")
        num_rows = sum(rows.num_rows for rows in self.usable.values())
        return replace(found, num_rows=num_rows, notes=(*found.notes, *notes))


def _bearing(graph: ADMG, query: Query | Contrast, present: frozenset[str]) -> list[str]:
    """The variables that bear on a query: its causes, and all that is confounded with them."""
    causes = graph.ancestors(query.variables)
    # with what is not observed left out, variables that share it are confounded
    kept = (query.variables | present) & set(graph.nodes)
    districts = graph.latent_projection(kept).districts()
    near = causes.union(*(d for d in districts if d & causes))
    found = near | graph.ancestors(near)
    return [name for name in graph.nodes if name in found]
