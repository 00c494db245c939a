"""Draws from many finite laws at once, by inversion of their distribution functions."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["CellSampler"]


class CellSampler:
    """Groups of cells, each group with a law of its own.

    Args:
        group: The group of each cell, increasing; each group has a cell.
        weights: Probability of each cell within its group.

    Example:
        >>> sampler = CellSampler(np.array([0, 0, 1]), np.array([0.25, 0.75, 1.0]))
        >>> sampler.draw(np.array([0, 0, 1]), np.array([0.2, 0.3, 0.9]))
        array([0, 1, 2])
    """

    def __init__(self, group: NDArray[np.int64], weights: NDArray[np.float64]) -> None:
        starts = np.searchsorted(group, np.arange(group[-1] + 2))
        total = np.concatenate([[0.0], np.cumsum(weights)])
        within = total[1:] - total[starts[group]]
        self._edges = group + np.clip(within, 0.0, 1.0)
        self._last = starts[1:] - 1

    def draw(self, group: NDArray[np.int64], uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
        """Draw a cell for each group, from one uniform number each."""
        cell = self._edges.searchsorted(group + uniforms, "right")
        # group + u may round up to group + 1, and weights add up to a little less than 1
        return np.minimum(cell, self._last[group])
