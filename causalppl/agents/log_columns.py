"""Columns of a log, read once: numbers, of one length, for the right number of runs."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from causalppl.agents.agent import Array
from causalppl.exceptions import DataError

__all__ = ["log_columns"]


def log_columns(log: Any, names: Iterable[str], runs: int) -> dict[str, Array]:
    """Read those of some columns that a log has.

    Args:
        log: Columns by name; a frame, or a mapping.
        names: The columns that matter.
        runs: How many runs there are.

    Returns:
        Shape ``(rows,)`` where all runs read the same rows, else ``(runs, rows)``.

    Raises:
        DataError: A column holds no numbers, or columns differ in their number of rows.

    Example:
        >>> log_columns({"X": [0, 1], "who": ["a", "b"]}, ["X", "Y"], runs=1)
        {'X': array([0., 1.])}
    """
    wanted = set(names)
    found = {name: _numbers(name, log[name]) for name in log if name in wanted}
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


def _numbers(name: str, column: Any) -> Array:
    try:
        return np.asarray(column, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(
            f"the column {name} holds other things than numbers; expected codes of its categories"
        ) from None
