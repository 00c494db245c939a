"""Effects that an instrument does not reject, right however weak it is: Anderson and Rubin (1949).

At the true effect b the outcome freed of it, ``y - b x``, is unrelated to the instruments. The set
of all b that a test of this does not reject can be an interval, its complement, everything or
nothing.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtri

__all__ = ["Interval", "robust_set", "shared_variance_set"]

Array: TypeAlias = NDArray[np.float64]
Interval: TypeAlias = tuple[float, float]

_REAL = 1e-7  # of a root, the imaginary part that is rounding
_INFINITE = 1e10


def shared_variance_set(
    residuals: Array, fits: Array, num_instruments: int, free: int, prob: float
) -> list[Interval]:
    """Invert the F test, for a constant variance.

    Args:
        residuals: Of treatment and outcome regressed on the instruments, shape ``(2, rows)``.
        fits: Of the same regressions, shape ``(2, rows)``.
        num_instruments: The degrees of freedom of the numerator.
        free: Those of the denominator.
        prob: The coverage.

    Returns:
        The intervals that make up the set, in order.

    Example:
        >>> z = np.array([-1.0, 1.0] * 50)
        >>> residuals = np.stack([np.zeros(100), np.repeat([-1.0, 1.0], 50)])
        >>> ((low, high),) = shared_variance_set(residuals, np.stack([z, 2 * z]), 1, 98, 0.95)
        >>> round(low, 3), round(high, 3)
        (1.8, 2.2)
    """
    bound = fdtri(num_instruments, free, prob) * num_instruments / free
    excess = fits @ fits.T - residuals @ residuals.T * bound
    return _where_not_positive(excess[0, 0], -2 * excess[0, 1], excess[1, 1])


def robust_set(zx: Array, zy: Array, spread: Array, bound: float) -> list[Interval]:
    """Invert the robust test: ``g' inverse(C) g`` with ``g = zy - b zx`` and its covariance C.

    It equals the bound c where the matrix ``c C - g g'``, quadratic in b, is singular, so the ends
    of the set are eigenvalues.

    Args:
        zx: Products of the instruments and the treatment, shape ``(k,)``.
        zy: Those with the outcome.
        spread: The covariance of both, the treatment first, shape ``(2 k, 2 k)``.
        bound: What the statistic must not exceed: a quantile of chi-squared, or of Hotelling's
            distribution where the covariance has few degrees of freedom.

    Returns:
        The intervals that make up the set, in order.

    Example:
        >>> ((low, high),) = robust_set(np.ones(1), 2 * np.ones(1), np.diag([0.0, 0.01]), 3.8415)
        >>> round(low, 3), round(high, 3)
        (1.804, 2.196)
    """
    k = len(zx)
    # effects in units in which treatment and outcome are alike
    unit = float(np.sqrt((zy @ zy + spread[k:, k:].trace()) / (zx @ zx + spread[:k, :k].trace())))
    zx, spread = zx * unit, spread * np.kron([[unit**2, unit], [unit, 1.0]], np.ones((k, k)))
    xx, xy, yy = spread[:k, :k], spread[:k, k:], spread[k:, k:]
    squared = bound * xx - np.outer(zx, zx)
    linear = np.outer(zx, zy) + np.outer(zy, zx) - bound * (xy + xy.T)
    constant = bound * yy - np.outer(zy, zy)

    def is_inside(effect: float) -> bool:
        g = zy - effect * zx
        covariance = yy - effect * (xy + xy.T) + effect**2 * xx
        return bool(g @ np.linalg.lstsq(covariance, g, rcond=None)[0] <= bound)

    if k == 1:
        found = _where_not_positive(-squared[0, 0], -linear[0, 0], -constant[0, 0])
    else:
        found = _between(_real_roots(squared, linear, constant, xx + yy), is_inside)
    return [(unit * low, unit * high) for low, high in found]


def _real_roots(squared: Array, linear: Array, constant: Array, metric: Array) -> list[float]:
    """Find the real b at which ``b^2 squared + b linear + constant`` is singular."""
    from scipy.linalg import eigvals

    half = np.linalg.inv(np.linalg.cholesky(metric))
    squared, linear, constant = (half @ part @ half.T for part in (squared, linear, constant))
    none, one = np.zeros_like(squared), np.eye(len(squared))
    roots = eigvals(
        np.block([[-linear, -constant], [one, none]]), np.block([[squared, none], [none, one]])
    )
    roots = roots[np.isfinite(roots) & (np.abs(roots) < _INFINITE)]
    return sorted(roots.real[np.abs(roots.imag) <= _REAL * (1 + np.abs(roots))].tolist())


def _between(roots: list[float], is_inside: Callable[[float], bool]) -> list[Interval]:
    """Join the stretches between roots that are inside."""
    ends = [-np.inf, *roots, np.inf]
    found: list[Interval] = []
    for low, high in pairwise(ends):
        nearest = [end for end in (low, high) if np.isfinite(end)] or [0.0]
        step = 0.0 if len(nearest) == 2 else 1 + abs(nearest[0])
        middle = sum(nearest) / len(nearest) + (step if np.isinf(high) else -step)
        if is_inside(middle):
            joined = found and found[-1][1] == low
            found[-1:] = [(found[-1][0], high)] if joined else [*found[-1:], (low, high)]
    return found


def _where_not_positive(a: float, b: float, c: float) -> list[Interval]:
    """Find where ``a t^2 + b t + c <= 0``."""
    discriminant = b * b - 4 * a * c
    if discriminant < 0:
        return [] if a > 0 else [(-np.inf, np.inf)]
    # the form that does not cancel
    middle = -0.5 * (b + np.copysign(np.sqrt(discriminant), b))
    low, high = sorted(float(root) for root in (middle / a, c / middle if middle else 0.0))
    return [(low, high)] if a > 0 else [(-np.inf, low), (high, np.inf)]
