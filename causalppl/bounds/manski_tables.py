"""Bounds without assumptions for plain tables: one mean, or all states and actions of a log."""

from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from causalppl.bounds.bounds import Bounds
from causalppl.bounds.manski import CONSISTENCY, RANGE
from causalppl.bounds.row_ends import RowEnds
from causalppl.bounds.row_method import checked_outcome_range
from causalppl.data import Table
from causalppl.data.column import listed
from causalppl.estimation.contingency import occurring
from causalppl.estimation.row_weights import are_whole, read_weights
from causalppl.estimation.settings import check_count
from causalppl.exceptions import DataError, NotIdentifiableError
from causalppl.queries import Value
from causalppl.seeding import checked_seed

__all__ = ["causal_q_bounds", "manski_bounds"]

Array: TypeAlias = NDArray[np.float64]


def manski_bounds(
    data: Any,
    treatment: str,
    outcome: str,
    action: Value,
    *,
    outcome_range: tuple[float, float] = (0, 1),
    weights: Any = None,
    sampling_weights: bool = False,
    num_draws: int = 1_000,
    seed: int | None = None,
) -> Bounds:
    """Bound the mean outcome had all units been given one action, without assumptions.

    With ``p`` the share of rows with the action and ``m`` their mean, the ends are
    ``m p + low (1 - p)`` and ``m p + high (1 - p)``.

    Args:
        data: Rows; whatever `estimate` takes.
        treatment: The column with the action taken.
        outcome: The column with the outcome.
        action: The action that is asked about.
        outcome_range: Smallest and largest value that the outcome can take.
        weights: How often each row counts, see `estimate`.
        sampling_weights: See `estimate`.
        num_draws: Draws of the ends for their sampling error.
        seed: Seed of these draws.

    Returns:
        The bounds of ``E[Y_{X=x}]``; the whole range where the action was never taken.

    Raises:
        DataError: A column is missing or has missing values, an outcome is outside the range.

    References:
        Manski (1990), Nonparametric bounds on treatment effects.

    Example:
        >>> log = {"arm": ["a", "a", "b", "b"], "win": [1, 0, 1, 1]}
        >>> found = manski_bounds(log, "arm", "win", "b", seed=0)
        >>> float(found.lower), float(found.upper)
        (0.5, 1.0)
    """
    found = causal_q_bounds(
        data, (), treatment, outcome, outcome_range=outcome_range, actions=[action],
        weights=weights, sampling_weights=sampling_weights, num_draws=num_draws, seed=seed,
    )  # fmt: skip
    return found.at(**{treatment: action})


def causal_q_bounds(
    log: Any,
    state: str | Sequence[str],
    action: str,
    outcome: str,
    *,
    outcome_range: tuple[float, float] = (0, 1),
    states: Mapping[str, Sequence[Value]] | None = None,
    actions: Sequence[Value] | None = None,
    require_identified: bool = False,
    weights: Any = None,
    sampling_weights: bool = False,
    num_draws: int = 1_000,
    seed: int | None = None,
) -> Bounds:
    """Bound what each action would bring in each state, from a confounded log, without assumptions.

    Whoever took the actions may have known more than the log shows. All states and actions are
    answered at once.

    Args:
        log: Rows; whatever `estimate` takes.
        state: The column of the state, or several; none for the mean over all rows.
        action: The column of the action taken.
        outcome: The column of the outcome, such as the return that followed.
        outcome_range: Smallest and largest value that the outcome can take.
        states: For columns of the state, the values to answer for, logged or not; those that
            occur, for the others.
        actions: The actions to answer for, logged or not; None: those that occur.
        require_identified: Refuse where an action was never taken in a state, instead of
            answering with the whole range.
        weights: How often each row counts, see `estimate`.
        sampling_weights: See `estimate`.
        num_draws: Draws of the ends for their sampling error.
        seed: Seed of these draws.

    Returns:
        Bounds with an axis for each column of the state, and one for the action.

    Raises:
        NotIdentifiableError: An action was never taken in some state, and ``require_identified``;
            ``error.hedge`` is the state, as a mapping, and the action.
        DataError: A column is missing or has missing values or is a measurement with too many
            values, an outcome is outside the range.

    References:
        Manski (1990); Zhang and Bareinboim (2019), Near-optimal reinforcement learning in dynamic
        treatment regimes.

    Example:
        >>> log = {"S": [0, 0, 0, 0, 1, 1], "A": [0, 0, 1, 1, 1, 1], "R": [0, 1, 1, 1, 0, 1]}
        >>> found = causal_q_bounds(log, "S", "A", "R", seed=0)
        >>> found.lower.tolist(), found.upper.tolist()
        ([[0.25, 0.5], [0.0, 0.5]], [[0.75, 1.0], [1.0, 0.5]])
    """
    check_count("num_draws", num_draws, 100, 1_000)
    span = checked_outcome_range(outcome_range) or (0.0, 1.0)
    names = [state] if isinstance(state, str) else list(state)
    table, counts = _rows_of(log, [*names, action, outcome], weights, sampling=sampling_weights)
    rewards = _checked_rewards(table, outcome, span)
    wanted = {**{name: (states or {}).get(name) for name in names}, action: actions}
    axes = {name: _values(table, name, given) for name, given in wanted.items()}
    codes = [_codes(table, name, values) for name, values in axes.items()]
    used = checked_seed(seed)
    rng = np.random.default_rng(used)
    shape = tuple(map(len, axes.values()))
    by_state = _rows_by_state(codes[:-1], shape[:-1], table.num_rows)
    cells = []
    for place in product(*map(range, shape)):
        here = by_state[int(np.ravel_multi_index(place[:-1], shape[:-1])) if names else 0]
        taken, seen = codes[-1][here] == place[-1], rewards[here]
        if require_identified and not taken.any():
            raise _never_taken(axes, place)
        low, high = (np.where(taken, seen, end) for end in span)
        every = np.ones(len(here), dtype=bool)
        cells.append(RowEnds(low, high, every, every, counts[here], span))
    # adding 0.0 makes -0.0 the plain zero
    lower, upper = np.array([cell.ends() for cell in cells]).T.reshape(2, *shape) + 0.0
    drawn = np.stack([cell.draws(num_draws, rng) for cell in cells], axis=-1)
    given = f" | {', '.join(names)}" if names else ""
    return Bounds(
        f"E[{outcome}_{{{action}}}{given}]",
        "no assumptions",
        lower,
        upper,
        axes,
        is_sharp=True,
        draws=drawn.reshape(num_draws, 2, *shape),
        num_rows=table.num_rows,
        assumptions=(CONSISTENCY, RANGE.format(*span)),
        diagnostics={"seed": used},
    )


def _rows_of(log: Any, names: list[str], weights: Any, *, sampling: bool) -> tuple[Table, Array]:
    asked = [*names, weights] if isinstance(weights, str) else names
    table = Table.from_any(log, list(dict.fromkeys(asked)), dtype=torch.float64)
    if not table.num_rows:
        raise DataError("the log has no rows; expected at least one")
    gaps = {name: count for name, count in table.count_missing().items() if count}
    if gaps:
        told = listed(f"{name} {count}" for name, count in gaps.items())
        raise DataError(f"the log has missing values ({told}); drop or fill these rows first")
    if weights is None:
        return table, np.ones(table.num_rows)
    counts = read_weights(table, weights, log, are_sampling=sampling)
    if not (counts > 0).any():
        raise DataError("all weights are zero; expected some positive ones")
    if not are_whole(counts):
        counts = counts * (counts.sum() / (counts**2).sum())
    return table.rows(torch.from_numpy(counts > 0)), counts[counts > 0]


def _checked_rewards(table: Table, outcome: str, span: tuple[float, float]) -> Array:
    column = table.column(outcome)
    if column.categories is not None or column.values.dim() > 1:
        raise DataError(f"the outcome {outcome} is no number; expected one number for each row")
    found = np.asarray(column.values.numpy(), dtype=float)
    if found.min() < span[0] or found.max() > span[1]:
        raise DataError(
            f"{outcome} runs from {found.min():g} to {found.max():g}, outside the outcome_range "
            f"({span[0]:g}, {span[1]:g}); declare a range that holds all its values"
        )
    return found


def _values(table: Table, name: str, given: Sequence[Value] | None) -> tuple[Value, ...]:
    if given is not None:
        return tuple(given)  # others stay in the log, and count in its shares
    found = occurring(table.column(name))
    if found is None:
        raise DataError(
            f"{name} is a measurement with many different values; bin it before asking for bounds "
            "in each, or list the values to answer for in states= (or actions=)"
        )
    return table.column(name).categories or found


def _codes(table: Table, name: str, values: Sequence[Value]) -> NDArray[np.int64]:
    column = table.column(name)
    seen = column.values.numpy()
    found = np.full(len(seen), -1)
    known = column.categories
    for code, value in enumerate(values):
        if known is None:
            found[seen == (np.nan if isinstance(value, str) else float(value))] = code
        elif value in known:
            found[seen == known.index(value)] = code
    return found


def _rows_by_state(
    codes: Sequence[NDArray[np.int64]], shape: tuple[int, ...], num_rows: int
) -> list[NDArray[np.int64]]:
    """List the rows of each state, in the order of its places; unknown states are left out."""
    place = np.zeros(num_rows, dtype=np.int64)
    for code, size in zip(codes, shape, strict=True):
        place = np.where((place < 0) | (code < 0), -1, place * size + code)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(int(np.prod(shape)) + 1))
    return [order[i:j] for i, j in pairwise(starts.tolist())]


def _never_taken(axes: Mapping[str, Sequence[Value]], place: Sequence[int]) -> Exception:
    values = {name: states[i] for (name, states), i in zip(axes.items(), place, strict=True)}
    *names, action = values
    state = {name: values[name] for name in names}
    where = ", ".join(f"{name}={value!r}" for name, value in state.items())
    return NotIdentifiableError(
        f"{action}={values[action]!r} was never taken{f' where {where}' if where else ''}, so the "
        "log says nothing about its outcome there; leave require_identified=False for the whole "
        "range, or try the action",
        query=None,
        hedge=(state, values[action]),
    )
