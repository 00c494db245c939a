"""How far confounding of a stated strength can move a contrast of two arms.

With ``m_a(z)`` the mean outcome of arm ``a`` in stratum ``z``, the naive contrast differs from the
adjusted one by ``sum_z m_1(z) (P(z|1) - P(z)) - sum_z m_0(z) (P(z|0) - P(z))``. Each sum is at most
the span of ``m_a`` over strata times a distance in total variation, and both distances are shares
of that between the arms: ``P(z|1) - P(z) = P(0) (P(z|1) - P(z|0))``.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr

from causalppl.bounds.sensitivity_rows import read_codes, read_row_weights, read_rows, row_counts
from causalppl.exceptions import DataError

__all__ = [
    "Arms",
    "Strata",
    "confounding_bias_bound",
    "largest_distance",
    "least_information",
    "moved_per_distance",
    "mutual_information_to_flip",
]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]
Form: TypeAlias = Literal["total variation", "mutual information"]


def confounding_bias_bound(
    y: Any, f: Any, z: Any, form: Form = "total variation", *, weights: Any = None
) -> float:
    """Bound how far a measured confounder moves the naive contrast, by its strength alone.

    Args:
        y: The outcome of each row.
        f: The arm of each row, two values; the larger one is compared with the smaller.
        z: The stratum, labels or numbers with few values.
        form: By the distance of strata between arms, or by their information about the arm
            (nats), which bounds that distance.
        weights: How often each row counts.

    Returns:
        ``T (P(0) M_1 + P(1) M_0)``, where ``T`` is the distance between arms (or the largest one
        with this information) and ``M_a`` the span of an arm's stratum means. It is never above
        ``M_1 TV_1 + M_0 TV_0``, nor above Pinsker's ``sqrt(I / 2 (M_1² / P(1) + M_0² / P(0)))``.

    Raises:
        DataError: A stratum lacks an arm, or there are not two arms.

    Example:
        >>> y, f, z = [0, 1, 1, 1], [0, 0, 1, 1], ["a", "b", "a", "b"]
        >>> confounding_bias_bound(y, f, z)
        0.0
    """
    found = Strata.read(y, f, z, weights)
    if form == "total variation":
        distance = found.distance
    elif form == "mutual information":
        distance = largest_distance(found.information, found.share)
    else:
        raise DataError(f"form is {form!r}; expected 'total variation' or 'mutual information'")
    return distance * moved_per_distance(found.spans, found.share)


def mutual_information_to_flip(
    contrast: float, spans: tuple[float, float], share: float, *, is_sharp: bool = True
) -> float:
    """Find the least information that a confounder needs about the arm to undo a contrast.

    Args:
        contrast: The naive contrast.
        spans: How far stratum means can spread in the arm of 1, and in the arm of 0: at most the
            range of the outcome.
        share: The share of the arm of 1, between 0 and 1.
        is_sharp: Take the least information of all pairs of laws at the distance needed; else
            Pinsker's lower bound on it, ``2 P(1) P(0) T²``, which is smaller.

    Returns:
        Nats; infinite where no confounder is enough.

    Raises:
        DataError: A span is negative, or the share not between 0 and 1.

    Example:
        >>> round(mutual_information_to_flip(0.2, (1.0, 1.0), 0.5, is_sharp=False), 3)
        0.02
        >>> mutual_information_to_flip(0.2, (0.0, 0.0), 0.5)
        inf
    """
    if not 0 < share < 1 or not (math.isfinite(contrast) and min(spans) >= 0):
        raise DataError(
            f"contrast {contrast!r}, spans {spans!r}, share {share!r}; expected a finite contrast, "
            "spans from 0 and a share between 0 and 1"
        )
    moved = moved_per_distance(spans, share)
    needed = abs(contrast) / moved if moved > 0 else (math.inf if contrast else 0.0)
    if needed > 1:
        return math.inf
    return least_information(needed, share) if is_sharp else 2 * share * (1 - share) * needed**2


def least_information(distance: float, share: float) -> float:
    """The least information (nats) about the arm of a stratum whose laws are some distance apart.

    Merging strata into those more likely in one arm and in the other keeps the distance and loses
    information, so two strata are the worst case; what is left is a convex search over one number.

    Args:
        distance: In total variation, between the strata of the two arms; from 0 to 1.
        share: The share of one arm.

    Raises:
        DataError: The distance is not from 0 to 1, or the share not between 0 and 1.

    Example:
        >>> round(least_information(1.0, 0.5), 6), least_information(0.0, 0.3)
        (0.693147, 0.0)
    """
    if not 0 <= distance <= 1 or not 0 < share < 1:
        raise DataError(
            f"distance {distance!r}, share {share!r}; expected 0 to 1, and between 0 and 1"
        )
    if distance == 0:
        return 0.0

    def information(low: float) -> float:
        laws = np.array([[low + distance, 1 - low - distance], [low, 1 - low]])
        return _information(np.clip(laws, 0.0, 1.0) * np.array([[share], [1 - share]]))

    if distance == 1:
        return information(0.0)
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        information, bounds=(0.0, 1 - distance), method="bounded", options={"xatol": 1e-12}
    )
    return float(min(found.fun, information(0.0), information(1 - distance)))


@dataclass(frozen=True, eq=False)
class Arms:
    """Outcomes, the arm of each row (1 or 0), and how often it counts: whole numbers are rows."""

    y: Array
    arm: Codes
    weight: Array

    @classmethod
    def read(cls, y: Any, f: Any, weights: Any, *, are_sampling: bool = False) -> "Arms":
        """Read and check the columns."""
        found = read_rows(y=y)["y"]
        arm, values = read_codes("f", f)
        if len(arm) != len(found):
            raise DataError(f"f has {len(arm)} values and y {len(found)}; expected one a row")
        if len(values) != 2:
            raise DataError(
                f"f takes {len(values)} values ({', '.join(map(repr, values[:5]))}); expected two "
                "arms, both with rows"
            )
        weight = read_row_weights(weights, len(found), are_sampling=are_sampling)
        return cls(found, arm, np.ones(len(found)) if weight is None else weight)

    @property
    def share(self) -> float:
        """The share of arm 1."""
        return float(self.weight @ self.arm / self.weight.sum())

    def check_sizes(self) -> None:
        """Refuse an arm with less than two effective rows, which cannot show sampling error."""
        repeats = row_counts(self.weight)
        for arm in (0, 1):
            kept = (self.arm == arm) & (self.weight > 0)
            weight = self.weight[kept]
            size = float(weight.sum()) ** 2 / max(float(weight**2 @ (1 / repeats[kept])), 1e-300)
            if size < 2:
                raise DataError(
                    f"the arm {arm} of two has {int(kept.sum())} rows (effectively {size:.3g}); "
                    "expected at least 2, so that sampling error can be told"
                )


@dataclass(frozen=True, eq=False)
class Strata:
    """Laws and means of arms by stratum, shape ``(2, strata)``: arm 0, arm 1."""

    mass: Array
    means: Array

    @classmethod
    def read(cls, y: Any, f: Any, z: Any, weights: Any) -> "Strata":
        """Read and check the columns; each stratum needs both arms."""
        arms = Arms.read(y, f, weights)
        codes, values = read_codes("z", z)
        if len(codes) != len(arms.y):
            raise DataError(f"z has {len(codes)} values and y {len(arms.y)}; expected one a row")
        cell, size = arms.arm * len(values) + codes, 2 * len(values)
        mass = np.bincount(cell, arms.weight, size).reshape(2, -1)
        if (mass == 0).any():
            arm, stratum = np.argwhere(mass == 0)[0]
            other = "larger" if arm else "smaller"
            raise DataError(
                f"the stratum {values[stratum]!r} has no rows in the arm of the {other} value of "
                "f; expected both arms in each stratum: merge strata, or leave this one out and "
                "say so"
            )
        totals = np.bincount(cell, arms.weight * arms.y, size).reshape(2, -1)
        return cls(mass / mass.sum(), totals / mass)

    @property
    def share(self) -> float:
        """The share of arm 1."""
        return float(self.mass[1].sum())

    @property
    def distance(self) -> float:
        """The distance of strata between arms, in total variation."""
        laws = self.mass / self.mass.sum(1, keepdims=True)
        return float(np.abs(laws[1] - laws[0]).sum() / 2)

    @property
    def information(self) -> float:
        """What strata tell about the arm, in nats."""
        return _information(self.mass)

    @property
    def spans(self) -> tuple[float, float]:
        """The spans of the means: arm 1, arm 0."""
        spans = np.ptp(self.means, axis=1)
        return float(spans[1]), float(spans[0])

    @property
    def adjusted(self) -> float:
        """The contrast within strata, over the strata of all rows."""
        return float((self.means[1] - self.means[0]) @ self.mass.sum(0))


def moved_per_distance(spans: tuple[float, float], share: float) -> float:
    """How far the contrast moves per distance between arms; spans of arm 1, arm 0."""
    return spans[0] * (1 - share) + spans[1] * share


def _information(joint: Array) -> float:
    """Mutual information of rows and columns, in nats."""
    apart = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    return max(float(rel_entr(joint, apart).sum()), 0.0)


def largest_distance(information: float, share: float) -> float:
    """The largest distance between arms with at most this information."""
    if information >= least_information(1.0, share):
        return 1.0
    from scipy.optimize import brentq

    most = min(math.sqrt(information / (2 * share * (1 - share))), 1.0)  # Pinsker
    if most == 0 or least_information(most, share) <= information:
        return most
    return float(brentq(lambda t: least_information(t, share) - information, 0.0, most, xtol=1e-14))
