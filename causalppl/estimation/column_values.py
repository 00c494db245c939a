"""Columns of a table as numbers, their values, and its rows with weights."""

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from causalppl.data import Column, Table
from causalppl.estimation.estimate import Array
from causalppl.exceptions import DataError
from causalppl.queries import Value

__all__ = ["encoded", "numbers", "states", "weighted_rows"]

Codes: TypeAlias = NDArray[np.int64]
MOST_STATES = 20
MOST_ROWS = 20_000_000


def numbers(table: Table, name: str) -> Array:
    """The values or codes of a column, as float64."""
    return table[name].detach().cpu().numpy().astype(float)


def encoded(table: Table, value: Value | None, name: str) -> float:
    """A value as the column holds it, rounded as its numbers are."""
    return float(torch.tensor(table.encode(value, name), dtype=table[name].dtype))


def states(name: str, column: Column) -> tuple[Value, ...]:
    """The values that occur; refuses a column with too many."""
    if column.values.dim() > 1:
        raise DataError(f"{name} has several values in each row; expected one")
    found = np.unique(column.values.detach().cpu().numpy())
    if len(found) > MOST_STATES:
        remedy = "cut it into bands" if column.categories is None else "group its values"
        raise DataError(
            f"{name} takes {len(found)} values; expected at most {MOST_STATES}, {remedy}"
        )
    if column.categories is not None:
        return tuple(column.categories[code] for code in found if code >= 0)
    # the shortest text that is read back as the value: 0.1, not 0.10000000149
    kinds: dict[str, Any] = {"integer": int, "boolean": bool}
    read = kinds.get(column.kind, lambda value: float(str(value)))
    return tuple(read(value) for value in found if value == value)


def weighted_rows(table: Table, given: Any, complete: Iterable[str]) -> tuple[Table, Array]:
    """Keep complete rows, with their weights; counts become that many rows.

    Args:
        table: The rows.
        given: A weight for each, or None; whole numbers are counts, others sampling weights.
        complete: The columns that must have no gap.

    Returns:
        The rows, and weights with mean 1.

    Raises:
        DataError: The weights are no non-negative numbers, one for each row.
    """
    weights = np.ones(table.num_rows) if given is None else np.asarray(given, dtype=float)
    if weights.shape != (table.num_rows,) or not (weights >= 0).all() or not weights.any():
        raise DataError(
            f"the weights have shape {weights.shape}; expected ({table.num_rows},), one "
            "non-negative number for each row, not all 0"
        )
    are_counts = given is not None and bool((weights == weights.round()).all())
    if are_counts and weights.sum() > MOST_ROWS:
        raise DataError(
            f"the weights are counts of {weights.sum():,.0f} rows in all; expected at most "
            f"{MOST_ROWS:,} for models of rows: use Dirichlet() for tables of counts, or make "
            "sampling weights fractions"
        )
    if are_counts:
        place = np.repeat(np.arange(len(weights)), weights.astype(int))
        table, weights = table.rows(place), np.ones(len(place))
    masks = [table.column(name).missing for name in complete]
    gaps = [mask.cpu().numpy() for mask in masks if mask is not None]
    if gaps:
        weights = weights[~np.any(gaps, axis=0)]
    return table.drop_missing(complete), weights / weights.mean()
