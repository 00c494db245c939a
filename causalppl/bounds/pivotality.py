"""Whether a naive contrast stands against confounding of stated strength, and against chance."""

import math
from dataclasses import dataclass, field
from html import escape
from typing import Any

from scipy.special import stdtrit

from causalppl.bounds.arm_contrast import ArmContrast
from causalppl.bounds.confounding_strength import (
    Arms,
    Strata,
    largest_distance,
    moved_per_distance,
    mutual_information_to_flip,
)
from causalppl.exceptions import DataError

__all__ = ["Pivotality", "pivotality"]


@dataclass(frozen=True)
class Pivotality:
    """Whether confounding of the stated strength could be what makes a contrast.

    Attributes:
        contrast: The naive contrast of means.
        error: Its standard error.
        freedom: Degrees of freedom of the error (Welch).
        bias: How far confounding can move the contrast.
        share: The share of the arm of 1.
        spans: How far stratum means can spread in the arms of 1 and 0.
        level: The level at which sampling error is allowed for.
        adjusted: The contrast adjusted for the strata; None where they are not measured.
        information: Of the strata about the arm (nats), or the cap that was given.
        notes: What the reader should know.
        limits: Of the contrast, with sampling error alone; None: by Student's quantile, on both
            sides alike.

    Example:
        >>> found = Pivotality(0.4, 0.05, 200, 0.1, 0.5, (0.3, 0.3), 0.05, None, 0.02)
        >>> found.is_certified, round(found.margin, 2)
        (True, 0.2)
    """

    contrast: float
    error: float
    freedom: float
    bias: float
    share: float
    spans: tuple[float, float]
    level: float
    adjusted: float | None
    information: float
    notes: tuple[str, ...] = field(default=())
    limits: tuple[float, float] | None = None

    @property
    def margin(self) -> float:
        """The size of the contrast less bias and sampling error; positive where it is certified."""
        low, high = self.interval
        return max(low, -high)

    @property
    def is_certified(self) -> bool:
        """Whether neither confounding nor, at the level, chance explains the sign."""
        return self.margin > 0

    @property
    def interval(self) -> tuple[float, float]:
        """Where the unconfounded contrast lies, with both bias and sampling error."""
        half = float(stdtrit(self.freedom, 1 - self.level / 2)) * self.error
        low, high = self.limits or (self.contrast - half, self.contrast + half)
        return low - self.bias, high + self.bias

    @property
    def information_to_flip(self) -> float:
        """The least information about the arm that undoes the contrast (nats)."""
        return mutual_information_to_flip(self.contrast, self.spans, self.share)

    def interpret(self) -> str:
        """Say in plain words whether the sign stands."""
        low, high = self.interval
        verdict = "stands" if self.is_certified else "may be due to confounding or chance"
        return (
            f"The naive contrast is {self.contrast:.4g}; confounding can move it by at most "
            f"{self.bias:.4g}, so that with sampling error the contrast lies between {low:.4g} and "
            f"{high:.4g}: its sign {verdict}. To undo it, a confounder needs at least "
            f"{self.information_to_flip:.3g} nats of information about the arm."
        )

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.interpret())}</p>"


def pivotality(
    y: Any,
    f: Any,
    z: Any = None,
    *,
    information_cap: float | None = None,
    outcome_range: tuple[float, float] | None = None,
    level: float = 0.05,
    weights: Any = None,
    sampling_weights: bool = False,
) -> Pivotality:
    """Hold a naive contrast against the strength of its confounding, and against chance.

    Args:
        y: The outcome of each row.
        f: The arm of each row, two values; the larger one is compared with the smaller.
        z: A measured confounder, labels or numbers with few values.
        information_cap: Without one: the most that hidden causes tell about the arm, in nats.
        outcome_range: The smallest and the largest outcome that can be, which hidden strata can
            spread over; None: those that were seen, which is noted.
        level: The level at which sampling error is allowed for, two-sided.
        weights: How often each row counts: whole numbers are equal rows, others sampling weights.
        sampling_weights: Take weights for sampling weights even if all are whole numbers, as where
            a row of a survey stands for 1,200 people.

    Returns:
        The contrast, the bias that is possible, and whether the sign stands. Sampling error is
        allowed for as in `certify_decision`.

    Raises:
        DataError: Neither or both of ``z`` and ``information_cap`` are given, a stratum lacks an
            arm, an arm has fewer than two rows, or a setting is out of range.

    Example:
        >>> found = pivotality([0, 0, 0, 1] * 10 + [1, 1, 1, 0] * 10, [0] * 40 + [1] * 40,
        ...     information_cap=0.01, outcome_range=(0, 1))
        >>> found.is_certified, round(found.bias, 2)
        (True, 0.14)
    """
    if (z is None) == (information_cap is None):
        raise DataError("expected either z, a measured confounder, or information_cap, not both")
    if not 0 < level < 1:
        raise DataError(f"level is {level!r}; expected a number between 0 and 1, such as 0.05")
    arms = Arms.read(y, f, weights, are_sampling=sampling_weights)
    arms.check_sizes()
    if z is not None:
        strata = Strata.read(y, f, z, weights)
        bias = strata.distance * moved_per_distance(strata.spans, strata.share)
        spans, information, adjusted = strata.spans, strata.information, strata.adjusted
        notes: tuple[str, ...] = ()
    else:
        cap = float(information_cap if information_cap is not None else math.nan)
        if not cap >= 0:
            raise DataError(f"information_cap is {information_cap!r}; expected nats, from 0")
        spans, notes = _hidden_spans(arms, outcome_range)
        bias = largest_distance(cap, arms.share) * moved_per_distance(spans, arms.share)
        information, adjusted = cap, None
    seen = float(arms.y.min()), float(arms.y.max())
    naive = ArmContrast.naive(arms.y, arms.arm, arms.weight, outcome_range or seen)
    contrast, limits = naive.ends(1.0)[0], naive.limits(1.0, level)
    return Pivotality(
        contrast, naive.error(1.0), naive.freedom, bias, arms.share, spans, level, adjusted,
        information, notes, limits,
    )  # fmt: skip


def _hidden_spans(
    arms: Arms, outcome_range: tuple[float, float] | None
) -> tuple[tuple[float, float], tuple[str, ...]]:
    low, high = float(arms.y.min()), float(arms.y.max())
    if outcome_range is None:
        note = f"hidden strata are taken to spread over the outcomes seen, {low:g} to {high:g}"
        return (high - low,) * 2, (note,)
    if not outcome_range[0] <= low <= high <= outcome_range[1]:
        raise DataError(
            f"outcomes go from {low:g} to {high:g}; expected them within outcome_range, "
            f"{outcome_range[0]:g} to {outcome_range[1]:g}"
        )
    return (float(outcome_range[1] - outcome_range[0]),) * 2, ()
