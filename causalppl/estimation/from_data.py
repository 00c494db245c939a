"""From an estimand and data to a number with its uncertainty."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from causalppl.data import Factor
from causalppl.estimation.adjustment_estimator import asks_for_doses
from causalppl.estimation.contingency import OBSERVED
from causalppl.estimation.dirichlet import Dirichlet
from causalppl.estimation.doubly_robust import AIPW
from causalppl.estimation.estimate import Estimate, left_out
from causalppl.estimation.estimator import Estimator, Problem
from causalppl.estimation.exact import SourceKey
from causalppl.estimation.front_door_estimator import FrontDoor
from causalppl.estimation.nested_regression import NestedRegression
from causalppl.estimation.outcome_regression import GFormula
from causalppl.estimation.partially_linear import PartiallyLinear
from causalppl.estimation.reading import Reader
from causalppl.estimation.support import check_support, treatments_of
from causalppl.estimation.usable_rows import UsableRows
from causalppl.exceptions import AssumptionError, DataError
from causalppl.given import check_kind, told
from causalppl.graphs import is_separated
from causalppl.identification import Estimand
from causalppl.identification.expression import Policy, walk
from causalppl.inference.progress import is_shown
from causalppl.queries import Query
from causalppl.seeding import checked_seed

__all__ = ["DEFAULTS", "Case", "estimate"]

DEFAULTS: tuple[Estimator, ...] = (Dirichlet(), AIPW(), FrontDoor())
"""The estimators that are tried where none is named, in order: the first that can answer does."""
FOR_DOSES: tuple[Estimator, ...] = (PartiallyLinear(), GFormula())
"""Those tried next, where the treatment is a number with too many values to be arms."""
LAST: Estimator = NestedRegression()
"""The one tried last: other formulas, with columns that are not all discrete."""


def estimate(
    estimand: Estimand,
    data: Any,
    *,
    method: Estimator | None = None,
    sources: Mapping[tuple[str | None, Iterable[str]], Any] | None = None,
    policies: Mapping[str, Factor] | None = None,
    weights: Any = None,
    sampling_weights: bool = False,
    seed: int | None = None,
    progress: bool | None = None,
) -> Estimate:
    """Estimate a formula from data.

    Only the columns that the formula names are read. Rows with a missing value in one of these are
    left out and counted, as if they were missing by chance alone.

    Args:
        estimand: From ``identify``.
        data: The observed data: a pandas or polars frame, an Arrow table, a mapping from names to
            arrays, or a `Table`; `Counts`; or what is stored, which is the path of a Parquet or
            CSV file, a folder of Parquet files, a glob or a list of files, or a relation of
            DuckDB. None where the formula does not use them. What is stored is counted in bounded
            memory, rather than read, where the estimator is `Dirichlet`, all columns of the
            formula are discrete and there are no sampling weights; the answer is the same as from
            memory.
        method: The estimator, with its settings; None takes the first of `DEFAULTS` that can
            answer, or else, for a dose, `PartiallyLinear` or `GFormula`, or else
            `NestedRegression`.
        sources: The data of experiments and of other populations: ``(population, variables set)``
            to a table, the target population being None, as in ``{(None, ("X",)): trial}``.
        policies: For a plan, the law of each planned variable, a table over what the plan looks at
            and the variable.
        weights: How often each row counts: the name of a column, or one number for each row of
            ``data`` (a series of pandas is matched by its labels). Whole numbers are *counts*: 3
            stands for three equal rows. Others are *sampling weights*: the interval is that of
            their effective sample size. With ``sources``, the name of a column holds for each
            table that has it; where one lacks it, each of its rows counts once, and the notes say
            so. Or a mapping with the keys of ``sources``, the observed data under ``(None, ())``.
        sampling_weights: Take weights for sampling weights even if all are whole numbers, as where
            a row of a survey stands for 1,200 people. As counts they would be 1,200 rows, and the
            interval far too narrow.
        seed: Seed of all randomness; with None a fresh one is taken and kept in ``diagnostics``.
        progress: Whether to show a progress bar; None: at a terminal or in a notebook.

    Returns:
        The estimate, with an axis for each value that the query leaves open and the formula uses.

    Raises:
        DataError: A column is missing, a value of the query never occurs, a treatment is constant,
            there are no rows, values are infinite, weights are negative or labelled otherwise
            than the rows, ``sources``, ``weights`` or ``policies`` hold what the formula does not
            use, the seed is none.
        MissingExtraError: Files need DuckDB, which is not installed.
        AssumptionError: The estimator cannot answer, or none can; the message says why.

    Example:
        >>> from causalppl.data import load_kidney_stones
        >>> from causalppl.graphs import ADMG
        >>> from causalppl.identification import identify
        >>> graph = ADMG.parse("size -> treatment -> success; size -> success")
        >>> stones = load_kidney_stones().rename(columns={"stone_size": "size"})
        >>> estimand = identify(graph, "P(success=yes | do(treatment=open))")
        >>> answer = estimate(estimand, stones, weights="count", seed=0)
        >>> round(float(answer), 2), [round(float(end), 2) for end in answer.interval()]
        (0.83, [0.79, 0.87])
    """
    used = checked_seed(seed)
    if not isinstance(estimand, Estimand):
        raise DataError(
            f"the estimand is {told(estimand)}; expected what identify returned, first: "
            "estimate(estimand, data)"
        )
    if method is not None:
        check_kind(method, Estimator, "method", "an estimator, such as Dirichlet(), or None")
    if sampling_weights and weights is None:
        raise DataError("sampling_weights is set without weights; give weights=, or leave it out")
    plans = _checked_plans(estimand, policies)
    reader = Reader.of(estimand, data, sources, weights, method, are_sampling=sampling_weights)

    @cache
    def case(are_counts: bool) -> Case:
        usable = reader.counts() if are_counts else reader.rows()
        return Case.of(estimand, usable, plans)

    def case_for(estimator: Estimator) -> Case:
        return case(reader.is_stored and isinstance(estimator, Dirichlet))

    chosen = choose_estimator(method, lambda estimator: case_for(estimator).problem)
    asked = case_for(chosen)
    found = chosen.solve(asked.problem, seed=used, progress=is_shown(progress))
    diagnostics = {**found.diagnostics, "seed": used}
    found = replace(found, problem=asked.problem, estimator=chosen, diagnostics=diagnostics)
    return asked.told(replace(found, notes=(*found.notes, *reader.notes)))


def _checked_plans(estimand: Estimand, policies: Mapping[str, Factor] | None) -> dict[str, Factor]:
    """Refuse the law of a plan that the formula was not derived for."""
    if not isinstance(policies, Mapping | None):
        raise DataError(f"policies is {told(policies)}; expected a mapping, {{'X': table}}")
    plans = dict(policies or {})
    nodes = [node for node in walk(estimand.body) if isinstance(node, Policy)]
    planned = {node.outcome.variable for node in nodes}
    if unused := [n for n in plans if n not in planned and _would_matter(n, estimand, plans)]:
        uses = f"plans for {', '.join(sorted(planned))} only" if planned else "no plan"
        raise DataError(
            f"policies holds a law for {unused[0]!r}, and the formula has {uses}; leave it out, or "
            "ask identify for the plan with its policies="
        )
    return plans


def _would_matter(name: str, estimand: Estimand, plans: Mapping[str, Factor]) -> bool:
    """Whether a plan for a variable would be in the formula, had it been asked for."""
    graph, query = estimand.graph, estimand.query
    if name not in graph or name in treatments_of(query):
        return True
    if not isinstance(query, Query):
        return False
    outcomes = {event.term.name for event in query.outcomes}
    given = {event.term.name for event in query.given}
    others = [other for other in plans if other in graph and other != name]
    cut = graph.remove_incoming({*others, *treatments_of(query)} & set(graph.nodes))
    if name in given or name not in cut.ancestors(outcomes | given):
        return False
    return name in outcomes or not is_separated(cut, {name}, outcomes, given)


def choose_estimator(
    method: Estimator | None, problem_for: Callable[[Estimator], Problem]
) -> Estimator:
    """Return the estimator that answers.

    Args:
        method: The user's choice; None takes the first of `DEFAULTS`, or else of `FOR_DOSES`,
            or else `LAST`, that can answer.
        problem_for: What an estimator is asked, with the data as it reads them.

    Raises:
        AssumptionError: The estimator that was chosen cannot answer, or none can.
    """
    if method is not None:
        reason = method.refusal(problem_for(method))
        if reason is not None:
            raise AssumptionError(
                f"the estimator {method.name} cannot answer: {reason}{_advice(problem_for)}"
            )
        return method
    reasons = []
    for candidate in DEFAULTS:
        reason = candidate.refusal(problem_for(candidate))
        if reason is None:
            return candidate
        reasons.append(f"{candidate.name}: {reason}")
    for candidate in FOR_DOSES:
        problem = problem_for(candidate)
        if asks_for_doses(problem) and candidate.refusal(problem) is None:
            return candidate
    reason = LAST.refusal(problem_for(LAST))
    if reason is None:
        return LAST
    reasons.append(f"{LAST.name}: {reason}")
    advice = _advice(problem_for)
    kind = "default estimator" if advice else "estimator"
    raise AssumptionError(f"no {kind} can answer. {'; '.join(reasons)}{advice}")


def _advice(problem_for: Callable[[Estimator], Problem]) -> str:
    """Name an estimator that can answer, if one of those tried by default can."""
    for candidate in (*DEFAULTS, *FOR_DOSES, LAST):
        if candidate.refusal(problem_for(candidate)) is None:
            return f"; use method={type(candidate).__name__}(), which can"
    return ""


@dataclass(frozen=True)
class Case:
    """A question with the data to answer it."""

    problem: Problem
    usable: tuple[UsableRows, ...]

    @classmethod
    def of(
        cls,
        estimand: Estimand,
        usable: Mapping[SourceKey, UsableRows],
        policies: Mapping[str, Factor],
    ) -> "Case":
        """Put the question to what was read; refuses values that never occur."""
        tables = {key: rows.table for key, rows in usable.items()}
        observed = tables.get(OBSERVED, next(iter(tables.values())))
        others = {key: table for key, table in tables.items() if key != OBSERVED}
        weights = {k: rows.weights for k, rows in usable.items() if rows.weights is not None}
        check_support(estimand, [(rows.table, rows.removed) for rows in usable.values()])
        problem = Problem(estimand, observed, others, weights, policies)
        return cls(problem, tuple(usable.values()))

    def told(self, found: Estimate) -> Estimate:
        """Say of how many rows the answer is, and how many were left out."""
        usable = self.usable
        if any(rows.is_counted for rows in usable):
            ess = found.ess if any(rows.is_weighted for rows in usable) else None
            found = replace(found, num_rows=sum(rows.num_rows for rows in usable), ess=ess)
        dropped = sum(rows.num_incomplete for rows in usable)
        if not dropped:
            return found
        return replace(found, num_dropped=dropped, notes=(*found.notes, left_out(dropped)))
