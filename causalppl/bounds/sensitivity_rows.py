"""Rows that sensitivity functions are given: columns read, brought to one length, and checked."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.numbers_read import read_odds_ratio
from causalppl.data import Column
from causalppl.data.column import listed, shortened
from causalppl.data.reading import plain_tensor, read_column
from causalppl.estimation.row_weights import are_whole, fractions
from causalppl.exceptions import DataError

__all__ = [
    "check_lengths",
    "check_share",
    "num_counted",
    "read_codes",
    "read_numbers",
    "read_odds_ratio",
    "read_propensities",
    "read_row_weights",
    "read_rows",
    "row_counts",
]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]


def read_rows(**columns: Any) -> dict[str, Array]:
    """Read columns of finite numbers, one for each row.

    Args:
        columns: Name to numbers: an array, a list, a tensor, a series, or a `Column` of a table.
            None is left out.

    Returns:
        Name to an array of shape ``(rows,)``.

    Raises:
        DataError: One is no list of finite numbers, lengths differ, there are no rows, or two
            series of pandas have different labels.
    """
    given = {name: values for name, values in columns.items() if values is not None}
    found = {name: read_numbers(name, values) for name, values in given.items()}
    check_lengths(found)
    _check_labels(given)
    return found


def check_lengths(columns: Mapping[str, Any]) -> None:
    """Refuse columns of unequal lengths, and of none."""
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(
            "unequal lengths: "
            + listed(f"{name} has {length}" for name, length in lengths.items())
            + "; expected one value for each row in all of them"
        )
    if not max(lengths.values(), default=0):
        raise DataError(f"{listed(lengths)} have no rows; expected at least one")


def read_numbers(name: str, values: Any) -> Array:
    """Read one column of finite numbers, shape ``(rows,)``.

    Raises:
        DataError: It is no such column.
    """
    plain = _plain(name, values)
    try:
        found = np.asarray(plain, dtype=float)
    except (TypeError, ValueError):
        raise DataError(f"{name} is {shortened(values)}; expected numbers, one a row") from None
    if found.ndim != 1:
        raise DataError(f"{name} has shape {found.shape}; expected (rows,), one number a row")
    if not np.isfinite(found.sum()) and not np.isfinite(found).all():
        wrong = np.flatnonzero(~np.isfinite(found))
        raise DataError(
            f"{name} is {found[wrong[0]]} in row {wrong[0]} (and missing or infinite in "
            f"{len(wrong)} rows in all); expected finite numbers, leave these rows out"
        )
    return found


def read_propensities(name: str, values: Array) -> Array:
    """Refuse propensities that are not between 0 and 1.

    Raises:
        DataError: One is not; the message names its row.
    """
    if not (len(values) == 0 or (values.min() > 0 and values.max() < 1)):
        wrong = np.flatnonzero((values <= 0) | (values >= 1))
        raise DataError(
            f"{name} are {values[wrong[0]]:g} in row {wrong[0]} (and out of range in {len(wrong)} "
            "rows in all); expected probabilities above 0 and below 1: leave such rows out, and "
            "say that the answer is about the others"
        )
    return values


def read_codes(
    name: str, values: Any, num_rows: int | None = None
) -> tuple[Codes, tuple[Any, ...]]:
    """Read a column of labels or numbers: the place of each row's value, and the sorted values.

    Args:
        name: What the column is.
        values: The column.
        num_rows: How many values are expected; None: any number.

    Raises:
        DataError: It is no such column, values are missing, or there are more or fewer.
    """
    if isinstance(values, Column):
        column = values
    else:
        import torch

        column = read_column(name, values, torch.float64)
    if column.missing is not None and bool(column.missing.any()):
        raise DataError(f"{name} has missing values; expected none, leave these rows out")
    held = column.values.detach().cpu().numpy()
    if held.ndim != 1:
        raise DataError(f"{name} has shape {held.shape}; expected (rows,), one value a row")
    if num_rows is not None and len(held) != num_rows:
        raise DataError(f"{name} has {len(held)} values and y {num_rows}; expected one a row")
    seen, codes = np.unique(held, return_inverse=True)
    if column.categories is not None:
        return codes, tuple(column.categories[int(code)] for code in seen)
    plain: Any = {"integer": int, "boolean": bool}.get(column.kind, float)
    return codes, tuple(plain(value) for value in seen)


def read_row_weights(weights: Any, num_rows: int, *, are_sampling: bool = False) -> Array | None:
    """Read non-negative weights with a positive sum; None where there are none.

    Args:
        weights: How often each row counts: whole numbers are equal rows, others sampling weights.
        num_rows: How many are expected.
        are_sampling: Whether whole numbers, too, are sampling weights: these are scaled so that
            none is whole.

    Raises:
        DataError: They are no such numbers, or there are none to be sampling weights.
    """
    if weights is None:
        if are_sampling:
            raise DataError(
                "sampling_weights is set without weights; give weights=, or leave it out"
            )
        return None
    found = read_numbers("weights", weights)
    check_lengths({"weights": found, "the other columns": range(num_rows)})
    if found.min() < 0 or not found.any():
        raise DataError(
            f"weights go from {found.min():g} to {found.max():g}; expected none below 0, not all 0"
        )
    return fractions(found) if are_sampling else found


def row_counts(weights: Array) -> Array:
    """How many equal rows each row stands for: its weight if all are whole, else one."""
    return np.maximum(weights, 1.0) if are_whole(weights) else np.ones(len(weights))


def num_counted(weights: Array) -> int:
    """How many rows there are: the sum of whole weights, or the length of others."""
    return int(weights.sum()) if are_whole(weights) else len(weights)


def check_share(name: str, values: Array) -> Array:
    """Refuse numbers that are not from 0 to 1."""
    if values.min() < 0 or values.max() > 1:
        raise DataError(
            f"{name} go from {values.min():g} to {values.max():g}; expected probabilities"
        )
    return values


def _plain(name: str, values: Any) -> Any:
    if isinstance(values, Column):
        if values.categories is not None:
            raise DataError(f"{name} is a column of categories; expected numbers")
        values = values.values
    if hasattr(values, "detach"):
        import torch

        return plain_tensor(name, values, torch.float64).detach().cpu().numpy()
    if isinstance(values, str | bytes | Mapping):
        raise DataError(f"{name} is {shortened(values)}; expected numbers, one a row")
    if isinstance(values, Iterable) and not hasattr(values, "__len__"):
        return list(values)
    return values


def _check_labels(given: Mapping[str, Any]) -> None:
    """Refuse series whose rows are labelled differently: they would be paired by place."""
    labels = {name: v.index for name, v in given.items() if hasattr(v, "reindex")}
    for name, index in labels.items():
        first = next(iter(labels))
        if not index.equals(labels[first]):
            raise DataError(
                f"the rows of {first} and {name} have different labels or another order; expected "
                "the same index: take them from one frame, or give arrays"
            )
