"""The greatest of several estimated lower bounds, without the bias of taking the greatest."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["corrected_maximum"]

Array: TypeAlias = NDArray[np.float64]


def corrected_maximum(values: Array, draws: Array, num_rows: float) -> Array:
    """Draws whose quantiles are confidence limits for the greatest of several numbers.

    The greatest of noisy estimates is too great on average. Each is therefore lowered by a
    multiple of its standard error before the greatest is taken; the multiple is the quantile of
    the greatest standardised error, over those numbers that may be the greatest. The median of
    what is returned is half-median-unbiased: at most the truth with probability one half or more.

    Args:
        values: Estimates, shape ``(numbers,)``.
        draws: Draws of them under resampled data, shape ``(draws, numbers)``.
        num_rows: Sample size, for the choice of those that may be the greatest.

    Returns:
        Shape ``(draws,)``: its quantile at p lies below the greatest number with probability 1 - p
        in large samples.

    References:
        Chernozhukov, Lee and Rosen (2013), Intersection bounds: estimation and inference.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> noisy = rng.normal(size=10)  # all have mean 0
        >>> found = corrected_maximum(noisy, noisy + rng.normal(size=(5000, 10)), 1000)
        >>> bool(np.median(found) < noisy.max() - 1)
        True
    """
    errors = draws.std(axis=0)
    standard = (draws - draws.mean(axis=0)) / np.where(errors > 0, errors, 1.0)
    level = 1 - 0.1 / np.log(max(num_rows, 3.0))
    wide = np.quantile(standard.max(axis=1), level)
    floor = (values - wide * errors).max()
    may_be_greatest = values >= floor - 2 * wide * errors
    multiples = standard[:, may_be_greatest].max(axis=1)
    return np.asarray((values - multiples[:, None] * errors).max(axis=1))
