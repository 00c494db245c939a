"""From an estimand and data to a number with its uncertainty."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from causalppl.data import Factor, Table
from causalppl.estimation.contingency import OBSERVED, columns_by_source, occurring
from causalppl.estimation.dirichlet import Dirichlet
from causalppl.estimation.doubly_robust import AIPW
from causalppl.estimation.estimate import Estimate
from causalppl.estimation.estimator import Estimator, Problem
from causalppl.estimation.exact import SourceKey
from causalppl.estimation.front_door_estimator import FrontDoor
from causalppl.exceptions import AssumptionError, DataError
from causalppl.identification import Estimand
from causalppl.identification.expression import Level, Probability, walk
from causalppl.inference.progress import is_shown
from causalppl.queries import Contrast, Intervention, Query, Term, Value
from causalppl.seeding import fresh_seed

__all__ = ["DEFAULTS", "estimate"]

Array: TypeAlias = NDArray[np.float64]

DEFAULTS: tuple[Estimator, ...] = (Dirichlet(), AIPW(), FrontDoor())
"""The estimators that are tried where none is named, in order: the first that can answer does."""


def estimate(
    estimand: Estimand,
    data: Any,
    *,
    method: Estimator | None = None,
    sources: Mapping[tuple[str | None, Iterable[str]], Any] | None = None,
    policies: Mapping[str, Factor] | None = None,
    weights: Any = None,
    seed: int | None = None,
    progress: bool | None = None,
) -> Estimate:
    """Estimate a formula from data.

    Only the columns that the formula names are read. Rows with a missing value in one of these are
    left out and counted, as if they were missing by chance alone.

    Args:
        estimand: From ``identify``.
        data: The observed data: a pandas or polars frame, an Arrow table, a mapping from names to
            arrays, or a `Table`. None where the formula does not use them.
        method: The estimator, with its settings; None takes the first of `DEFAULTS` that can
            answer.
        sources: The data of experiments and of other populations: ``(population, variables set)``
            to a table, the target population being None, as in ``{(None, ("X",)): trial}``.
        policies: For a plan, the law of each planned variable, a table over what the plan looks at
            and the variable.
        weights: How often each row counts: the name of a column, or one number for each row of
            ``data``. Whole numbers are counts of equal rows, others sampling weights. For several
            sources a mapping with the keys of ``sources``, the observed data under
            ``(None, ())``.
        seed: Seed of all randomness; with None a fresh one is taken and kept in ``diagnostics``.
        progress: Whether to show a progress bar; None: at a terminal or in a notebook.

    Returns:
        The estimate, with an axis for each value that the query leaves open and the formula uses.

    Raises:
        DataError: A column is missing, a value of the query never occurs, a treatment is constant,
            there are no rows, values are infinite, weights are negative.
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
    if not isinstance(estimand, Estimand):
        raise DataError(f"the estimand is {estimand!r}; expected what identify returned")
    given = {_key(key): table for key, table in (sources or {}).items()}
    if data is not None:
        given[OBSERVED] = data
    if method is not None and not isinstance(method, Estimator):
        raise DataError(f"the method is {method!r}; expected an estimator, such as Dirichlet()")
    problem, dropped = _problem(estimand, given, _by_source(weights), dict(policies or {}), method)
    chosen = choose_estimator(problem, method)
    used = fresh_seed() if seed is None else seed
    found = chosen.solve(problem, seed=used, progress=is_shown(progress))
    diagnostics = {**found.diagnostics, "seed": used}
    found = replace(found, problem=problem, estimator=chosen, diagnostics=diagnostics)
    if not dropped:
        return found
    note = f"{dropped:,} rows with missing values were left out"
    return replace(found, num_dropped=dropped, notes=(*found.notes, note))


def choose_estimator(problem: Problem, method: Estimator | None) -> Estimator:
    """Return the estimator for a problem.

    Args:
        problem: What is asked.
        method: The user's choice; None takes the first of `DEFAULTS` that can answer.

    Raises:
        AssumptionError: The estimator that was chosen cannot answer, or none can.
    """
    if method is not None:
        reason = method.refusal(problem)
        if reason is not None:
            raise AssumptionError(
                f"the estimator {method.name} cannot answer: {reason}; leave method= out to have "
                "one chosen"
            )
        return method
    reasons = []
    for candidate in DEFAULTS:
        reason = candidate.refusal(problem)
        if reason is None:
            return candidate
        reasons.append(f"{candidate.name}: {reason}")
    raise AssumptionError("no estimator can answer. " + "; ".join(reasons))


def _problem(
    estimand: Estimand,
    given: Mapping[SourceKey, Any],
    weights: Mapping[SourceKey, Any],
    policies: Mapping[str, Factor],
    method: Estimator | None,
) -> tuple[Problem, int]:
    """Read what the formula needs; returns the problem and how many rows were left out."""
    tables: dict[SourceKey, Table] = {}
    counts: dict[SourceKey, Array] = {}
    dropped = 0
    needed = _needed(estimand, given)
    if unknown := [key for key in weights if key not in given]:
        raise DataError(
            f"weights are given for {_said(unknown[0])}, which has no data; expected the keys of "
            "sources, or (None, ()) for the observed data"
        )
    kept: frozenset[str] = frozenset()
    if method is not None:
        kept = method.keeps_incomplete(estimand)
        more = [n for n in method.extra_columns(estimand) if n not in needed.get(OBSERVED, [])]
        if OBSERVED in needed:
            needed[OBSERVED] = [*needed[OBSERVED], *more]
    for key, names in needed.items():
        if key not in given:
            raise DataError(
                f"the formula needs data of {_said(key)}, which were not given; pass "
                + ("them as data" if key == OBSERVED else f"sources={{{_written(key)}: table}}")
            )
        weight = weights.get(key)
        extra = [weight] if isinstance(weight, str) else []
        asked = [*names, *(n for n in extra if n not in names)]
        table = Table.from_any(given[key], asked, dtype=torch.float64)
        numbers = None if weight is None else _weights(table, weight)
        tables[key], rows = _complete(table.select(names), numbers, key, kept)
        dropped += table.num_rows - int(rows.sum())
        if numbers is not None:
            counts[key] = numbers[rows]
            tables[key] = tables[key].rows(torch.from_numpy(counts[key] > 0))
            counts[key] = counts[key][counts[key] > 0]
    observed = tables[OBSERVED] if OBSERVED in tables else next(iter(tables.values()))
    others = {key: table for key, table in tables.items() if key != OBSERVED}
    _check_values(estimand, list(tables.values()))
    return Problem(estimand, observed, others, counts, policies), dropped


def _needed(estimand: Estimand, given: Mapping[SourceKey, Any]) -> dict[SourceKey, list[str]]:
    """List the columns to read, by source; where the diagram alone answers, those of the query."""
    if found := columns_by_source(estimand):
        return found
    return {next(iter(given), OBSERVED): sorted(estimand.query.variables)}


def _complete(
    table: Table, weights: Array | None, key: SourceKey, kept: frozenset[str]
) -> tuple[Table, NDArray[np.bool_]]:
    """Keep the rows that are complete but for some columns; returns them, and which they are."""
    if not table.num_rows:
        raise DataError(f"the data of {_said(key)} have no rows; expected at least one")
    rows = np.ones(table.num_rows, dtype=bool)
    for name, column in table.columns.items():
        if column.missing is not None and name not in kept:
            rows &= ~column.missing.numpy()
    complete = table.drop_missing([name for name in table if name not in kept])
    if weights is not None and not weights[rows].sum() > 0:
        raise DataError("all weights are zero; expected some positive ones")
    return complete, rows


def _weights(table: Table, weights: Any) -> Array:
    numbers: Any = table[weights] if isinstance(weights, str) else weights
    what = f"the column {weights!r}" if isinstance(weights, str) else "weights"
    if isinstance(weights, str) and table.column(weights).categories is not None:
        raise DataError(f"{what} of weights is text; expected numbers")
    try:
        found = np.asarray(numbers, dtype=float)
    except (TypeError, ValueError):
        raise DataError(
            f"weights are {weights!r}; expected the name of a column, or one number for each row"
        ) from None
    if found.shape != (table.num_rows,):
        raise DataError(
            f"weights have shape {found.shape}; expected ({table.num_rows},), one for each row"
        )
    if not np.isfinite(found).all() or (found < 0).any():
        raise DataError(f"{what} has negative, missing or infinite weights; expected none")
    return found


def _by_source(weights: Any) -> dict[SourceKey, Any]:
    if weights is None:
        return {}
    if isinstance(weights, Mapping):
        return {_key(key): numbers for key, numbers in weights.items()}
    return {OBSERVED: weights}


def _key(key: Any) -> SourceKey:
    if not isinstance(key, tuple) or len(key) != 2 or not isinstance(key[0], str | None):
        raise DataError(
            f"a source is called {key!r}; expected (population, variables set), such as "
            "(None, ('X',)) or ('trial', ())"
        )
    return key[0], frozenset((key[1],) if isinstance(key[1], str) else key[1])


def _said(key: SourceKey) -> str:
    domain, do = key
    what = f"do({', '.join(sorted(do))})" if do else "observation"
    return f"{what} in {domain}" if domain else what


def _written(key: SourceKey) -> str:
    return f"({key[0]!r}, {tuple(sorted(key[1]))})"


def _check_values(estimand: Estimand, tables: list[Table]) -> None:
    """Hold the query to the values that occur, where columns have few."""
    asked: dict[str, set[Value]] = {}
    for node in walk(estimand.body):
        if isinstance(node, Probability):
            for symbol in (*node.outcomes, *node.given, *node.do):
                found = asked.setdefault(symbol.variable, set())
                found |= set() if symbol.value is None else {symbol.value}
        elif isinstance(node, Level):
            _check_numbers(node.symbol.variable, tables)
    treatments = _treatments(estimand.query)
    for name, values in sorted(asked.items()):
        lists = [occurring(table.column(name)) for table in tables if name in table]
        if None not in lists:
            known = tuple(dict.fromkeys(value for found in lists for value in found or ()))
            _check_known(name, values, known, is_set=name in treatments)


def _check_known(name: str, asked: set[Value], known: tuple[Value, ...], *, is_set: bool) -> None:
    if is_set and len(known) == 1:
        raise DataError(
            f"{name} is {known[0]!r} in every row; expected several values of what is set, to "
            "compare what follows"
        )
    for value in sorted(asked, key=repr):
        if not any(value == v and isinstance(value, str) == isinstance(v, str) for v in known):
            raise DataError(
                f"{name}={value!r} never occurs in the data; it has {known}; ask about a value "
                "that occurs"
            )


def _check_numbers(name: str, tables: list[Table]) -> None:
    states = [v for t in tables if name in t for v in t.column(name).categories or ()]
    if any(isinstance(value, str) for value in states):
        raise DataError(
            f"an expectation of {name}, whose values are {tuple(dict.fromkeys(states))}; expected "
            f"numbers; ask for a probability, such as that of {name}={states[0]}"
        )


def _treatments(query: Query | Contrast) -> set[str]:
    if isinstance(query, Contrast):
        return {query.treatment, *(i.name for i in query.do)}
    events = (*query.worlds.outcomes, *query.worlds.given)
    return {name for event in events for i in event.term.interventions for name in _set_by(i)}


def _set_by(intervention: Intervention) -> Iterator[str]:
    yield intervention.name
    if isinstance(intervention.value, Term):
        for inner in intervention.value.interventions:
            yield from _set_by(inner)
