"""The best values of an arm that leaves some open, by grids that become finer."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from causalppl.agents.agent import Arm, Array

__all__ = ["best_point", "is_open"]

_POINTS = {1: 101, 2: 15, 3: 7}
_FINER = {1: 11, 2: 7, 3: 5}
_FEWEST_POINTS = 4
_ROUNDS = 2


def best_point(
    arm: Arm, mean: Callable[[Mapping[str, Array]], Array]
) -> tuple[float, dict[str, float]]:
    """Find what is best for an arm: on a grid, and then on finer ones around what was best.

    Args:
        arm: Variable to its bounds ``(low, high)``, or to a number.
        mean: From values of the arm's variables, shape ``(points,)`` each, to what is to be large.

    Returns:
        The largest mean that was found, and where.

    Example:
        >>> value, point = best_point({"X": (0.0, 4.0)}, lambda done: -((done["X"] - 1.2345) ** 2))
        >>> round(point["X"], 3)
        1.234
    """
    limits = {n: v if is_open(v) else (float(v), float(v)) for n, v in arm.items()}
    lows, highs = np.array(list(limits.values()), dtype=np.float64).reshape(-1, 2).T
    opened = int((lows < highs).sum())
    low, high, count = lows, highs, _POINTS.get(opened, _FEWEST_POINTS)
    best, place = -np.inf, lows
    for _ in range(1 + _ROUNDS if opened else 1):
        axes = [np.linspace(a, b, count if a < b else 1) for a, b in zip(low, high, strict=True)]
        grid = np.array(list(itertools.product(*axes))).reshape(-1, len(limits))
        means = mean(dict(zip(limits, grid.T, strict=True)))
        top = int(np.argmax(means))
        if means[top] > best:
            best, place = float(means[top]), grid[top]
        cell = (high - low) / max(count - 1, 1)
        low, high = np.maximum(place - cell, lows), np.minimum(place + cell, highs)
        count = _FINER.get(opened, _FEWEST_POINTS)
    return best, dict(zip(limits, place.tolist(), strict=True))


def is_open(value: Any) -> bool:
    """Whether a value is left open, as bounds."""
    return isinstance(value, tuple | list)
