"""Adjustments of p-values for the number of tests."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.exceptions import DataError

__all__ = ["Adjust", "benjamini_hochberg", "find_adjustment", "holm"]

Array: TypeAlias = NDArray[np.float64]
Adjust: TypeAlias = Callable[[Array], Array]


def holm(p_values: Array) -> Array:
    """Adjust p-values so that the chance of any false alarm is at most the level.

    Args:
        p_values: One for each test, shape ``(tests,)``.

    Returns:
        Adjusted p-values, shape ``(tests,)``, in the same order; at most 1.

    References:
        Holm (1979), A simple sequentially rejective multiple test procedure.

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    stepped = np.sort(p_values) * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(stepped))
    return adjusted


def benjamini_hochberg(p_values: Array) -> Array:
    """Adjust p-values so that the expected share of false alarms among alarms is at most a level.

    For independent tests, and under positive dependence.

    Args:
        p_values: One for each test, shape ``(tests,)``.

    Returns:
        Adjusted p-values, shape ``(tests,)``, in the same order; at most 1.

    References:
        Benjamini and Hochberg (1995), Controlling the false discovery rate.

    Example:
        >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03])).tolist()
        [0.03, 0.04, 0.04]
    """
    order = np.argsort(p_values, kind="stable")
    stepped = np.sort(p_values) * len(p_values) / np.arange(1, len(p_values) + 1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1, np.minimum.accumulate(stepped[::-1])[::-1])
    return adjusted


def find_adjustment(adjust: Adjust | str) -> Adjust:
    """Return the adjustment that a name stands for; a function is one.

    Raises:
        DataError: It is neither.

    Example:
        >>> find_adjustment("benjamini-hochberg") is benjamini_hochberg
        True
    """
    known: dict[str, Adjust] = {"holm": holm, "benjamini-hochberg": benjamini_hochberg}
    found = known.get(adjust.lower().replace("_", "-")) if isinstance(adjust, str) else adjust
    if found is None or not callable(found):
        raise DataError(
            f"adjust is {adjust!r}; expected one of {', '.join(map(repr, known))}, or a function "
            "from p-values to p-values"
        )
    return found
