"""How many rows show anything but the commonest outcome."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["hardly_vary", "numbers_alike"]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]
_FEWEST = 10.0  # rows apart from the commonest outcome, from which the others show their spread
_GLANCE = 1_000  # rows that may show that already


def hardly_vary(y: Array, repeats: Array, codes: Codes, size: int) -> NDArray[np.bool_]:
    """Whether an outcome occurs more than once in a group, and fewer than ten rows have another.

    Args:
        y: Outcomes, shape ``(rows,)``.
        repeats: How many equal rows each stands for.
        codes: The group of each row.
        size: How many groups there are.

    Example:
        >>> y = np.array([0.0, 0.0, 1.0, 0.3, 0.7, 0.9])
        >>> hardly_vary(y, np.ones(6), np.array([0, 0, 0, 1, 1, 1]), 2).tolist()
        [True, False]
    """
    if size == 1 and len(y) > 2 * _GLANCE and repeats.min() >= 1:
        some = y[:_GLANCE]
        if len(some) - np.unique(some, return_counts=True)[1].max() >= _FEWEST:
            return np.zeros(1, dtype=bool)
    most = np.zeros(size)
    np.maximum.at(most, *numbers_alike(y, repeats, codes))
    apart = np.bincount(codes, repeats, size) - most
    return np.asarray((apart < _FEWEST) & (most > 1))


def numbers_alike(y: Array, repeats: Array, codes: Codes) -> tuple[Codes, Array]:
    """How many rows of a group have each outcome that is found in it, with their group.

    Example:
        >>> y = np.array([0.0, 0.0, 1.0, 0.0])
        >>> [each.tolist() for each in numbers_alike(y, np.ones(4), np.array([0, 0, 0, 1]))]
        [[0, 0, 1], [2.0, 1.0, 1.0]]
    """
    order = np.lexsort((y, codes))
    y, of = y[order], codes[order]
    starts = np.flatnonzero(np.append(True, (y[1:] != y[:-1]) | (of[1:] != of[:-1])))
    return of[starts], np.add.reduceat(repeats[order], starts)
