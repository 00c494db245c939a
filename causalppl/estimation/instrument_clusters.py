"""Errors by cluster that hold with few clusters: bias-reduced, with their own degrees of freedom.

The plain sandwich is too small where clusters are few or unlike, since residuals are smaller than
errors in clusters that pull the fit. Bell and McCaffrey's correction takes each cluster's scores
with ``(I - H)^(-1/2)`` of the cluster's block of the hat matrix (CR2), which is unbiased under
equal variances, and its quantiles from Student's t with the degrees of freedom that match the
spread of that estimate (Satterthwaite).
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, fdtri, stdtrit

__all__ = ["BiasReduced", "allow_for_weights", "robust_bound", "student_draws"]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]

_WHOLE = 1e-10  # one less leverage at which a cluster alone decides a coefficient
_DRAWS = 4_000  # quantiles that stand for a Student interval
_FARTHEST = 0.99  # of the squared distance of moments from zero, as a share of the most there is


@dataclass(eq=False)
class BiasReduced:
    """The weights of residuals in a bias-reduced variance.

    Attributes:
        basis: An orthonormal basis of the regressors, shape ``(rows, regressors)``.
        clusters: The cluster of each row, 0, 1, ...

    References:
        Bell and McCaffrey (2002), Bias reduction in standard errors for linear regression with
        multi-stage samples; Imbens and Kolesár (2016); Pustejovsky and Tipton (2018).

    Example:
        >>> ones = np.ones((8, 1))
        >>> mean = BiasReduced(ones / np.sqrt(8), np.arange(8) // 2)
        >>> round(mean.freedom(mean.adjusted(ones)[:, 0]), 6)  # of four equal clusters
        3.0
    """

    basis: Array
    clusters: Codes

    def __post_init__(self) -> None:
        order = np.argsort(self.clusters, kind="stable")
        ends = np.cumsum(np.bincount(self.clusters))[:-1]
        self._members = np.split(order, ends)

    def adjusted(self, columns: Array) -> Array:
        """Multiply each cluster's part of the columns by ``(I - H)^(-1/2)``."""
        found = columns.copy()
        for rows in self._members:
            left, singular, _ = np.linalg.svd(self.basis[rows], full_matrices=False)
            rest = 1 - singular**2
            factor = np.where(rest > _WHOLE, 1 / np.sqrt(np.maximum(rest, _WHOLE)), 0.0) - 1
            found[rows] += left @ (factor[:, None] * (left.T @ columns[rows]))
        return found

    def freedom(self, adjusted: Array) -> float:
        """The degrees of freedom of the variance that one adjusted column gives.

        They are ``trace(B)^2 / trace(B^2)``, B the covariance of the clusters' scores where errors
        are equal and independent: diagonal, less a matrix of the rank of the regressors.
        """
        own = np.bincount(self.clusters, adjusted**2)
        shared = np.stack([np.bincount(self.clusters, q * adjusted) for q in self.basis.T], axis=1)
        cross = shared.T @ shared
        squares = own @ own - 2 * own @ (shared**2).sum(axis=1) + (cross**2).sum()
        return float((own.sum() - cross.trace()) ** 2 / squares)


def robust_bound(num_instruments: int, freedom: float, prob: float) -> float:
    """The quantile of a Wald statistic whose covariance has few degrees of freedom (Hotelling).

    It is infinite where they are too few for the number of instruments.

    Example:
        >>> round(robust_bound(1, np.inf, 0.95), 3), round(robust_bound(1, 7.0, 0.95) ** 0.5, 3)
        (3.841, 2.365)
    """
    left = freedom - num_instruments + 1
    if np.isinf(freedom):
        return float(chdtri(num_instruments, 1 - prob))
    if left <= 0:
        return float("inf")
    return float(fdtri(num_instruments, left, prob) * freedom * num_instruments / left)


def allow_for_weights(freedom: float, lost: int, distance: float) -> tuple[float, float]:
    """By how much to raise an error where the best weights of moments were estimated.

    To weight moments is to regress the one that tells the effect on the others, which are zero if
    all is right: the effect is the intercept. Its error is larger the farther their means are from
    zero, and each costs a degree of freedom. With clusters of one size and Gaussian sums the ratio
    of effect and error is Student's then.

    Args:
        freedom: The degrees of freedom of the error with known weights.
        lost: How many moments are zero.
        distance: Hansen's J, with scores that are not centred, over the number of clusters: the
            square of the distance, from 0 to 1.

    Returns:
        The factor, and the degrees of freedom that are left, at least one.

    References:
        Hwang (2021), Simple and trustworthy cluster-robust GMM inference.

    Example:
        >>> factor, left = allow_for_weights(9.0, 3, 0.2)
        >>> round(factor, 3), left
        (1.369, 6.0)
    """
    left = max(freedom - lost, 1.0)
    return float(np.sqrt(freedom / left / (1 - min(distance, _FARTHEST)))), left


def student_draws(value: float, error: float, freedom: float) -> Array:
    """Quantiles of the confidence distribution, evenly spaced in probability.

    Example:
        >>> draws = student_draws(1.0, 2.0, 7.0)
        >>> round(float(np.quantile(draws, 0.975)), 1)
        5.7
    """
    places = (np.arange(_DRAWS) + 0.5) / _DRAWS
    return np.asarray(value + error * stdtrit(freedom, places))
