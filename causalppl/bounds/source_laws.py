"""The laws of a problem's sources, with resampled ones beside them."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.c_factor_rows import Law
from causalppl.bounds.method import BoundProblem, SourceKey
from causalppl.data import Factor
from causalppl.estimation.row_weights import are_whole
from causalppl.exceptions import AssumptionError, DataError
from causalppl.graphs import ADMG
from causalppl.queries import Value

__all__ = ["closed_part", "part_over", "read_laws"]

Array: TypeAlias = NDArray[np.float64]
States: TypeAlias = Mapping[str, tuple[Value, ...]]


def read_laws(
    problem: BoundProblem, states: States, *, num_draws: int, rng: np.random.Generator
) -> list[Law]:
    """Read the sources; those of data are resampled by the Bayesian bootstrap.

    Args:
        problem: The problem.
        states: Variable to its values.
        num_draws: How many resampled laws.
        rng: The random stream.

    Returns:
        A law for each source, of a batch of one and ``num_draws``.

    References:
        Rubin (1981), The Bayesian bootstrap.
    """
    found = []
    for key in problem.sources:
        if key in problem.laws:
            values, names = _aligned(problem.laws[key], problem.graph, states)
            batch = np.broadcast_to(values, (1 + num_draws, *values.shape))
        else:
            factor = problem.law(key)
            values, names = _aligned(factor, problem.graph, states)
            batch = np.concatenate([values[None], _resampled(problem, key, values, num_draws, rng)])
        rows = effective_rows(problem, key) if key in problem.tables else 0.0
        if missing := sorted(key[1] - set(names)):
            raise AssumptionError(
                f"the experiment on {', '.join(sorted(key[1]))} lacks {', '.join(missing)}; "
                "expected the values that were set as a column; add it"
            )
        found.append(Law(key[1], names, batch, rows, int(rng.integers(2**32))))
    return found


def closed_part(graph: ADMG, law: Law) -> Law:
    """Sum out variables of which a cause is not in the source.

    What is left, without what was set, is closed under causes in the diagram of the experiment.
    """
    cut = graph.remove_incoming(law.removed)
    return part_over(
        law,
        [
            name
            for name in law.names
            if name in law.removed or cut.ancestors(name) <= set(law.names)
        ],
    )


def part_over(law: Law, kept: Iterable[str]) -> Law:
    """Sum out all variables but some."""
    chosen = set(kept)
    gone = tuple(1 + i for i, name in enumerate(law.names) if name not in chosen)
    if not gone:
        return law
    names = tuple(name for name in law.names if name in chosen)
    return replace(law, removed=law.removed & chosen, names=names, values=law.values.sum(gone))


def effective_rows(problem: BoundProblem, key: SourceKey) -> float:
    """Count the rows of a source; of sampling weights, so many equal ones as say as much."""
    weights = problem.weights.get(key)
    if weights is None:
        return float(problem.tables[key].num_rows)
    if are_whole(weights):
        return float(weights.sum())  # each counts as so many rows
    return float(weights.sum() ** 2 / (weights**2).sum())


def _aligned(factor: Factor, graph: ADMG, states: States) -> tuple[Array, tuple[str, ...]]:
    names = graph.in_order(name for name in factor.names if name in graph)
    factor = factor.marginalise([name for name in factor.names if name not in graph]).align(names)
    values = (factor.values * factor.log_scale.exp()).detach().cpu().numpy().astype(float)
    full = np.zeros([len(states[name]) for name in names])
    place = [[states[name].index(value) for value in factor.states[name]] for name in names]
    full[np.ix_(*place)] = values
    if not full.sum() > 0:
        raise DataError(
            f"the law over {', '.join(names)} has no positive probability; expected a table that "
            "sums to 1"
        )
    return full / full.sum(), names


def _resampled(
    problem: BoundProblem,
    key: SourceKey,
    frequencies: Array,
    num_draws: int,
    rng: np.random.Generator,
) -> Array:
    weights = problem.weights.get(key)
    if weights is not None and not are_whole(weights):
        draws = [
            problem.law(key, counts=weights * rng.exponential(size=len(weights))).values.numpy()
            for _ in range(num_draws)
        ]
        return np.array(draws).reshape(num_draws, *frequencies.shape)
    counts = frequencies * effective_rows(problem, key)
    drawn = rng.standard_gamma(counts, (num_draws, *frequencies.shape))
    total = drawn.sum(tuple(range(1, drawn.ndim)), keepdims=True)
    return np.asarray(drawn / total)
