"""What a log may be: a mapping, a table, or a frame of any library; and what was set in it."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from causalppl.data import Table
from causalppl.data.column import shortened
from causalppl.data.reading import as_mapping
from causalppl.exceptions import DataError

__all__ = ["columns_of", "names_set"]

_MARKS = ("columns", "__arrow_c_stream__", "__dataframe__")
"""Attributes of the classes of frames."""


def columns_of(log: Any) -> dict[str, Any]:
    """Take a log apart into its columns.

    Args:
        log: A mapping from names to columns, a `Table`, or a frame of pandas, polars or Arrow.

    Raises:
        DataError: It is none of these.

    Example:
        >>> columns_of({"X": [0, 1]})
        {'X': [0, 1]}
    """
    if isinstance(log, Mapping):
        return dict(log)
    if isinstance(log, Table):
        return {name: _numbered(log, name) for name in log}
    if not any(hasattr(type(log), mark) for mark in _MARKS):
        raise DataError(
            f"the log is {shortened(log)}; expected columns by name: a mapping such as "
            "{'X': [0, 1]}, a Table, or a frame of pandas, polars or Arrow"
        )
    return as_mapping(log)


def _numbered(table: Table, name: str) -> Any:
    """The codes or numbers of a column, NaN where one is missing."""
    column = table.column(name)
    if column.missing is None:
        return column.values
    values = column.values.double().cpu().numpy()
    return np.where(column.missing.cpu().numpy(), np.nan, values)


def names_set(do: Any) -> tuple[str, ...]:
    """Read which variables were set in a log.

    Args:
        do: Names; one alone is that variable.

    Raises:
        DataError: These are no names.

    Example:
        >>> names_set("X"), names_set(())
        (('X',), ())
    """
    found = (do,) if isinstance(do, str) else tuple(do) if isinstance(do, Iterable) else (do,)
    if not all(isinstance(name, str) for name in found):
        raise DataError(
            f"do is {shortened(do)}; expected the names of the variables that were set in the "
            "log, such as do=['X'], or () for natural rows"
        )
    return found
