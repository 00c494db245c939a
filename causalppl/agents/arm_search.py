"""The best values of an arm that leaves some open, by grids that become finer."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from causalppl.agents.agent import Arm, Array

__all__ = ["best_point", "is_open"]

_POINTS = {1: 51, 2: 13, 3: 7}
_FINER = {1: 11, 2: 5, 3: 5}
_FEWEST_POINTS = 4
_ROUNDS = 3


def best_point(
    arm: Arm, mean: Callable[[Mapping[str, Array]], Array]
) -> tuple[float, dict[str, float]]:
    """Find what is best for an arm: on a grid, and then on finer ones around what was best.

    Args:
        arm: Variable to its bounds ``(low, high)``, or to a number.
        mean: From values of the arm's variables, which broadcast to a grid, to what is to be large.

    Returns:
        The largest mean that was found, and where.

    Example:
        >>> value, point = best_point({"X": (0.0, 4.0)}, lambda done: -((done["X"] - 1.232) ** 2))
        >>> round(point["X"], 2)
        1.23
    """
    limits = {n: v if is_open(v) else (float(v), float(v)) for n, v in arm.items()}
    lows, highs = np.array(list(limits.values()), dtype=np.float64).reshape(-1, 2).T
    opened = int((lows < highs).sum())
    low, high, count = lows, highs, _POINTS.get(opened, _FEWEST_POINTS)
    best, place = -np.inf, lows
    for _ in range(1 + _ROUNDS if opened else 1):
        axes = [np.linspace(a, b, count if a < b else 1) for a, b in zip(low, high, strict=True)]
        means = mean(dict(zip(limits, np.meshgrid(*axes, indexing="ij", sparse=True), strict=True)))
        means = np.broadcast_to(means, tuple(map(len, axes)))
        top = np.unravel_index(int(np.argmax(means)), means.shape)
        if means[top] > best:
            best = float(means[top])
            place = np.array([axis[i] for axis, i in zip(axes, top, strict=True)])
        cell = (high - low) / max(count - 1, 1)
        low, high = np.maximum(place - cell, lows), np.minimum(place + cell, highs)
        count = _FINER.get(opened, _FEWEST_POINTS)
    return best, dict(zip(limits, place.tolist(), strict=True))


def is_open(value: Any) -> bool:
    """Whether a value is left open, as bounds."""
    return isinstance(value, tuple | list)
