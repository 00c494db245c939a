"""The furthest that a limit lies at any odds ratio up to one.

The ends of an interval move out as the odds ratio grows, but their sampling error may shrink, so
that a limit with both can move back in. What is allowed for at an odds ratio holds what is allowed
for at smaller ones, so that the furthest of these limits counts.
"""

import math
from collections.abc import Callable
from functools import cache

import numpy as np

__all__ = ["furthest_limit"]

# logarithms of the odds ratios that are looked at; beyond the last, limits hardly move
_GRID = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 8.0, 12.0, 20.0, 40.0)
_BACK = 1e-4  # likewise, by which to look back from the last one


def furthest_limit(
    limit: Callable[[float], float], side: int, *, is_refined: bool = True
) -> Callable[[float], float]:
    """Turn a limit at each odds ratio into one that never moves back in as the ratio grows.

    Args:
        limit: Odds ratio to limit.
        side: 0 for a lower limit, 1 for an upper one.
        is_refined: Where the furthest is not at the last odds ratio, find it between those that
            are looked at, to a part in a million; else it is one of these.

    Example:
        >>> found = furthest_limit(lambda odds_ratio: (odds_ratio - 2.2) ** 2, 0)
        >>> round(found(1.5), 6), round(found(4.0), 6), round(found(9.0), 6)
        (0.49, 0.0, 0.0)
    """
    sign = 1.0 if side else -1.0

    @cache
    def out(log_ratio: float) -> float:
        return sign * limit(math.exp(log_ratio))

    def up_to(odds_ratio: float) -> float:
        last = math.log(odds_ratio)
        points = [*(point for point in _GRID if point < last), last]
        values = [out(point) for point in points]
        best = int(np.argmax(values))
        most = values[best]
        is_last = best == len(points) - 1
        moves_back = last > _BACK and is_last and out(last - _BACK) > most
        if is_refined and (moves_back or not is_last):
            around = points[max(best - 1, 0)], points[min(best + 1, len(points) - 1)]
            most = max(most, _largest(out, around))
        return sign * most

    return up_to


def _largest(out: Callable[[float], float], around: tuple[float, float]) -> float:
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda point: -out(point), bounds=around, method="bounded", options={"xatol": 1e-7}
    )
    return -float(found.fun)
