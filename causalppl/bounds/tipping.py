"""How much hidden confounding it takes to overturn an answer."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any, TypeAlias

from causalppl.bounds.bounds import Bounds
from causalppl.bounds.confounded_log import read_log
from causalppl.bounds.difference import LARGEST
from causalppl.bounds.numbers_read import read_number
from causalppl.exceptions import DataError

__all__ = ["TippingPoint", "msm_tipping_point", "tipping_point"]

Ends: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class TippingPoint:
    """The smallest odds ratio at which an interval holds a reference value.

    Attributes:
        odds_ratio: From 1 (the interval holds it without hidden confounding); infinite where no
            odds ratio that was looked at is enough.
        reference: The value, such as no effect.
        start: The interval at odds ratio 1.
        largest: The largest odds ratio that was looked at; infinite where all were.

    Example:
        >>> TippingPoint(1.8, 0.0, (0.2, 0.2)).interpret()
        'Hidden confounding of odds ratio 1.8 or more could move 0.2 to 0; less could not.'
    """

    odds_ratio: float
    reference: float
    start: Ends
    largest: float = math.inf

    @property
    def is_reached(self) -> bool:
        """Whether some odds ratio is enough."""
        return math.isfinite(self.odds_ratio)

    def __float__(self) -> float:
        return float(self.odds_ratio)

    def interpret(self) -> str:
        """Say in one sentence what it takes."""
        low, high = self.start
        at = f"{low:.4g}" if low == high else f"the interval from {low:.4g} to {high:.4g}"
        if self.odds_ratio == 1:
            return f"No hidden confounding is needed: {at} holds {self.reference:g} already."
        if self.is_reached:
            return (
                f"Hidden confounding of odds ratio {self.odds_ratio:.4g} or more could move {at} "
                f"to {self.reference:g}; less could not."
            )
        if math.isfinite(self.largest):
            return (
                f"No odds ratio up to {self.largest:g} moves {at} to {self.reference:g}; larger "
                "ones were not looked at."
            )
        return (
            f"No hidden confounding, however strong, moves {at} to {self.reference:g}: no outcome "
            "lies beyond it."
        )

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.interpret())}</p>"


def tipping_point(
    bound_at: Callable[[float], Any],
    reference: float = 0.0,
    *,
    largest: float = 1e6,
    prob: float | None = None,
) -> TippingPoint:
    """Find the smallest odds ratio whose interval holds a reference value.

    Args:
        bound_at: Odds ratio to `Bounds` of one value, or to a pair of ends; intervals must grow.
        reference: The value.
        largest: The largest odds ratio to look at.
        prob: Take intervals that allow for sampling error, with this probability; None: the ends.

    Returns:
        The odds ratio, to 12 digits, with a sentence.

    Raises:
        DataError: The bounds have several values, or the reference is no finite number.

    Example:
        >>> found = tipping_point(lambda odds_ratio: (0.3 - 0.1 * odds_ratio, 0.3), largest=10)
        >>> round(float(found), 9)
        3.0
        >>> tipping_point(lambda odds_ratio: (0.1, 0.3), largest=10).is_reached
        False
    """
    reference = read_number("reference", reference, "a finite number, such as 0")

    def away(log_ratio: float) -> float:
        low, high = _ends(bound_at(math.exp(log_ratio)), prob)
        return max(low - reference, reference - high)

    start = _ends(bound_at(1.0), prob)
    if start[0] <= reference <= start[1]:
        return TippingPoint(1.0, reference, start)
    most = math.log(largest)
    left, right = 0.0, min(0.25, most)
    while right < most and away(right) > 0:
        left, right = right, min(2 * right, most)
    if away(right) > 0:
        return TippingPoint(math.inf, reference, start, largest)
    return TippingPoint(math.exp(_root(away, left, right)), reference, start)


def msm_tipping_point(
    y: Any,
    propensities: Any,
    reference: float = 0.0,
    *,
    targets: Any = None,
    on: Any = None,
    off: Any = None,
    weights: Any = None,
) -> TippingPoint:
    """Find the odds ratio at which Tan's model no longer excludes a reference value.

    For a mean or a policy's value the ratio solves a quadratic equation, whose terms are found in
    one pass over the rows; for a contrast without common rows two of these are made to meet, and
    with common rows the end that must move is followed up to an odds ratio of 1e6.

    Args:
        y: The outcome of each row.
        propensities: The recorded chance of the action taken, shape ``(rows,)``.
        reference: The value, such as no effect.
        targets: A policy's chance of the action taken, likewise; then its value is what is moved.
        on: A policy's chance of the action taken; then it is the contrast with ``off``.
        off: The other policy's.
        weights: How often each row counts; only their ratios matter here.

    Returns:
        The odds ratio; infinite where no outcome lies on the other side.

    Raises:
        DataError: As `msm_mean`; or only one of ``on`` and ``off`` is given, or ``targets`` too.

    References:
        Tan (2006), for the model.

    Example:
        >>> found = msm_tipping_point([1, 1, 1, 0], [0.5] * 4, 0.5)
        >>> round(float(found), 6)
        3.0
    """
    if (on is None) != (off is None) or (on is not None and targets is not None):
        raise DataError("expected targets, or both on and off, or none of the three")
    reference = read_number("reference", reference, "a finite number, such as 0")
    if on is None:
        given = {} if targets is None else {"targets": targets}
        box = read_log(y, propensities, weights, **given).box(*given)
        return TippingPoint(box.reaching(reference), reference, (box.centre, box.centre))
    difference = read_log(y, propensities, weights, on=on, off=off).difference()
    start = difference.ends(1.0)
    largest = math.inf if difference.is_disjoint else LARGEST
    found = difference.reaching(reference)
    return TippingPoint(found, reference, start, math.inf if math.isfinite(found) else largest)


def _ends(found: Any, prob: float | None) -> Ends:
    if not isinstance(found, Bounds):
        low, high = found
        return float(low), float(high)
    if found.axes:
        raise DataError(
            f"the bounds have the axes {list(found.axes)}; expected one value: use at()"
        )
    ends = (found.lower, found.upper) if prob is None else found.interval(prob)
    return float(ends[0]), float(ends[1])


def _root(away: Callable[[float], float], left: float, right: float) -> float:
    """Where the interval first holds the value: ``away`` changes its sign there."""
    from scipy.optimize import brentq

    return float(brentq(away, left, right, xtol=1e-14, rtol=1e-13))
