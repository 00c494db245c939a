"""Columns of a log, read once: finite numbers, of one length, for the right number of runs."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from causalppl.agents.agent import Array
from causalppl.exceptions import DataError

__all__ = ["log_columns", "log_numbers"]


def log_columns(log: Mapping[str, Any], names: Iterable[str], runs: int) -> dict[str, Array]:
    """Read those of some columns that a log has.

    Args:
        log: Columns by name.
        names: The columns that matter.
        runs: How many runs there are.

    Returns:
        Shape ``(rows,)`` where all runs read the same rows, else ``(runs, rows)``.

    Raises:
        DataError: A column holds other things than finite numbers, or columns differ in their
            number of rows.

    Example:
        >>> log_columns({"X": [0, 1], "who": ["a", "b"]}, ["X", "Y"], runs=1)
        {'X': array([0., 1.])}
    """
    wanted = set(names)
    found = {name: log_numbers(name, log[name]) for name in log if name in wanted}
    shapes = {name: column.shape for name, column in found.items()}
    rows = {shape[-1:] for shape in shapes.values()}
    if len(rows) > 1 or not all(_is_shaped(shape, runs) for shape in shapes.values()):
        said = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise DataError(
            f"columns have the shapes {said}; expected (rows,) or ({runs}, rows), with equally "
            "many rows in each"
        )
    return found


def _is_shaped(shape: tuple[int, ...], runs: int) -> bool:
    return len(shape) == 1 or (len(shape) == 2 and shape[0] == runs)


def log_numbers(name: str, column: Any) -> Array:
    """Read the numbers of a column.

    Raises:
        DataError: It holds other things, or one is missing or infinite.

    Example:
        >>> log_numbers("X", [0, 1])
        array([0., 1.])
    """
    try:
        given = np.asarray(column)
        if given.dtype.kind in "cmM":  # complex, dates and durations
            raise TypeError
        found = given.astype(np.float64)
    except (TypeError, ValueError):
        raise DataError(
            f"the column {name} holds other things than numbers; expected codes of its categories"
        ) from None
    if not np.isfinite(found).all():
        raise DataError(
            f"{name} has a missing or infinite value; expected numbers: leave such rows out"
        )
    return found
