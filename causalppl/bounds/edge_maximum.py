"""The largest difference of two weighted means of few rows: all edges of the box are looked at.

Hold the second mean to a value: then the first, a ratio of linear sums, is largest in a corner of
the box cut by one plane, and so on an edge of the box. Along an edge the difference has its
derivative zero where a linear equation says.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["EdgeMaximum", "edge_maximum", "share_of_edge"]

Array: TypeAlias = NDArray[np.float64]


class EdgeMaximum(NamedTuple):
    """The two means where their difference is largest, and the weights there."""

    first: float
    second: float
    weights: Array


def edge_maximum(rows: Array, least: Array, most: Array) -> EdgeMaximum:
    """Look at all corners and edges of a box of weights.

    Args:
        rows: Shape ``(4, rows)``: ``first y``, ``first``, ``second y``, ``second``.
        least: The smallest weight of each row.
        most: The largest.

    Example:
        >>> rows = np.array([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
        >>> found = edge_maximum(rows, np.ones(2), np.full(2, 3.0))
        >>> found.first - found.second, found.weights
        (0.75, array([1., 3.]))
    """
    places = np.arange(len(least))
    gain = (most - least) * rows
    corners = np.arange(2 ** len(least))[:, None] >> places & 1
    sums = (rows @ least)[:, None] + gain @ corners.T
    corner, row = np.nonzero(corners == 0)  # an edge goes up from a corner along a row
    start, step = sums[:, corner], gain[:, row]
    share = share_of_edge(start, step)
    values = _differences(np.concatenate([sums, start + share * step], axis=1))
    best = int(np.argmax(values))
    if best < len(corners):
        raised, total = corners[best].astype(float), sums[:, best]
    else:
        edge = best - len(corners)
        raised = corners[corner[edge]].astype(float)
        raised[row[edge]] = share[edge]
        total = start[:, edge] + share[edge] * step[:, edge]
    return EdgeMaximum(
        float(total[0] / total[1]), float(total[2] / total[3]), least + (most - least) * raised
    )


def share_of_edge(start: Array, step: Array) -> Array:
    """How far along edges the derivative of the difference is zero; 0 where it is nowhere.

    Args:
        start: Sums at one end, shape ``(4, edges)``.
        step: By how much they differ at the other, likewise.

    Example:
        >>> share_of_edge(np.array([[1.0], [1.0], [1.0], [3.0]]), np.array([[1.0], [0], [3], [0]]))
        array([0.])
    """
    first = step[0] * start[1] - start[0] * step[1]
    second = step[2] * start[3] - start[2] * step[3]
    with np.errstate(all="ignore"):
        ratio = np.sqrt(second / first)  # second mass / first mass there
        share = (ratio * start[1] - start[3]) / (step[3] - ratio * step[1])
    is_inside = (first * second > 0) & (share > 0) & (share < 1)
    return np.where(is_inside, share, 0.0)


def _differences(sums: Array) -> Array:
    return np.asarray(sums[0] / sums[1] - sums[2] / sums[3])
