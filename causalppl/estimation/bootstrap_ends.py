"""Quantiles of few bootstrap draws that cover as they say."""

import numpy as np

from causalppl.estimation.estimate import Array

__all__ = ["with_ends"]


def with_ends(draws: Array) -> Array:
    """Repeat the smallest and the largest draw of each number.

    Of B draws and the truth each is as likely to be the k-th as any other, so the k-th draw is the
    quantile at ``k / (B + 1)``. Interpolation between the smallest and the largest, as numpy does
    it, takes it for that at ``(k - 1) / (B - 1)``: an interval of 95 % from 100 draws holds 93 %.
    With the ends repeated the two agree.

    Args:
        draws: Shape ``(draws, ...)``.

    Returns:
        Shape ``(draws + 2, ...)``; of use for quantiles, not for the spread.

    References:
        Hyndman and Fan (1996), Sample quantiles in statistical packages: their definition 6.

    Example:
        >>> draws = np.random.default_rng(0).normal(size=100)
        >>> bool(np.isclose(np.quantile(with_ends(draws), 0.025),
        ...                 np.quantile(draws, 0.025, method="weibull")))
        True
    """
    return np.concatenate([draws.min(axis=0)[None], draws, draws.max(axis=0)[None]])
