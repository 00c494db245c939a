"""E-values: how strong a hidden cause must be to explain an effect, as a risk ratio."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

from causalppl.bounds.numbers_read import read_number
from causalppl.exceptions import DataError

__all__ = ["EValue"]

_Conversion: TypeAlias = Callable[[float], float]
_MEAN_TO_LOG_RATIO = 0.91  # Chinn (2000), VanderWeele (2017): standardised mean to log risk ratio


@dataclass(frozen=True)
class EValue:
    """How strong a hidden cause must be to explain an effect away.

    A hidden cause must multiply the risk of both treatment and outcome by the E-value, given all
    that is adjusted for, to move the estimate to the null; a weaker one cannot.

    Attributes:
        ratio: The estimate as a (perhaps approximate) risk ratio.
        interval: Its confidence limits on that scale, if they are known.
        null: The risk ratio that it is moved to, usually 1.
        is_approximate: Whether the risk ratio was reckoned from another scale.

    Raises:
        DataError: A ratio is not positive, or the interval does not hold the estimate.

    References:
        VanderWeele and Ding (2017), Sensitivity analysis in observational research: introducing
        the E-value; Ding and VanderWeele (2016) for the bound.

    Example:
        >>> found = EValue.from_risk_ratio(10.73, (8.02, 14.36))
        >>> round(found.point, 2), round(found.limit, 2)
        (20.95, 15.52)
    """

    ratio: float
    interval: tuple[float, float] | None = None
    null: float = 1.0
    is_approximate: bool = False

    def __post_init__(self) -> None:
        for name, value in (("the ratio", self.ratio), ("null", self.null)):
            _read_positive(name, value)
        for end in self.interval or ():
            _read_positive("an end of the interval", end)
        if self.interval and not self.interval[0] <= self.ratio <= self.interval[1]:
            raise DataError(
                f"the interval {self.interval} does not hold the estimate {self.ratio:g}; expected "
                "(lower limit, upper limit)"
            )

    @classmethod
    def from_risk_ratio(
        cls, estimate: float, interval: tuple[float, float] | None = None, *, null: float = 1.0
    ) -> "EValue":
        """Take a risk ratio (or a ratio of rates, or of positive means).

        Args:
            estimate: The risk ratio.
            interval: Its confidence limits.
            null: The risk ratio that it is moved to.

        Raises:
            DataError: As of the class.
        """
        return cls(estimate, interval, null)

    @classmethod
    def from_odds_ratio(
        cls,
        estimate: float,
        interval: tuple[float, float] | None = None,
        *,
        is_rare: bool = False,
        null: float = 1.0,
    ) -> "EValue":
        """Take an odds ratio; its square root stands for a risk ratio.

        Args:
            estimate: The odds ratio.
            interval: Its confidence limits.
            is_rare: Whether under 15 % have the outcome, so that it is itself about a risk ratio.
            null: The odds ratio that it is moved to.

        Raises:
            DataError: As of the class.

        Example:
            >>> round(EValue.from_odds_ratio(4.0).point, 3)
            3.414
        """
        ratio = float if is_rare else math.sqrt
        return _converted(estimate, interval, null, ratio)

    @classmethod
    def from_hazard_ratio(
        cls,
        estimate: float,
        interval: tuple[float, float] | None = None,
        *,
        is_rare: bool = False,
        null: float = 1.0,
    ) -> "EValue":
        """Take a hazard ratio; for common outcomes ``(1 - .5**√h) / (1 - .5**(1/√h))``.

        Args:
            estimate: The hazard ratio.
            interval: Its confidence limits.
            is_rare: Whether under 15 % have the outcome at the end, so that it is about a risk
                ratio.
            null: The hazard ratio that it is moved to.

        Raises:
            DataError: As of the class.

        Example:
            >>> round(EValue.from_hazard_ratio(0.56, (0.46, 0.69)).point, 2)
            2.35
        """

        def ratio(value: float) -> float:
            root = math.sqrt(value)
            return value if is_rare else (1 - 0.5**root) / (1 - 0.5 ** (1 / root))

        return _converted(estimate, interval, null, ratio)

    @classmethod
    def from_mean_difference(
        cls,
        estimate: float,
        *,
        deviation: float = 1.0,
        error: float | None = None,
        null: float = 0.0,
    ) -> "EValue":
        """Take a difference of means; ``exp(.91 d)`` of the standardised one is about a risk ratio.

        Args:
            estimate: The difference.
            deviation: The outcome's standard deviation, within arms pooled.
            error: The standard error of the difference; limits are at 95 %.
            null: The difference that it is moved to.

        Raises:
            DataError: The deviation is not positive, or the error negative.

        Example:
            >>> round(EValue.from_mean_difference(0.5, error=0.1).limit, 2)
            1.97
        """
        _read_positive("deviation", deviation)
        if error is not None:
            read_number("error", error, "a number from 0", is_valid=lambda found: found >= 0)
        ends = None if error is None else (estimate - 1.96 * error, estimate + 1.96 * error)
        return _converted(
            estimate, ends, null, lambda value: math.exp(_MEAN_TO_LOG_RATIO * value / deviation)
        )

    @property
    def point(self) -> float:
        """The E-value of the estimate; 1 if it is at the null."""
        return _e_value(self.ratio / self.null)

    @property
    def limit(self) -> float | None:
        """The E-value of the confidence limit nearer to the null; 1 if the null is inside."""
        if self.interval is None:
            return None
        low, high = (end / self.null for end in self.interval)
        if low <= 1 <= high:
            return 1.0
        return _e_value(low if low > 1 else high)

    def explains(self, treatment: float, outcome: float) -> bool:
        """Whether a hidden cause of given risk ratios could move the estimate to the null.

        Args:
            treatment: Its largest risk ratio with the treatment, from 1.
            outcome: Its largest risk ratio with the outcome.

        Raises:
            DataError: One is below 1.

        Example:
            >>> EValue.from_risk_ratio(2.0).explains(3.0, 3.0)
            False
            >>> EValue.from_risk_ratio(2.0).explains(3.5, 3.5)
            True
        """
        for name, ratio in (("treatment", treatment), ("outcome", outcome)):
            read_number(
                f"the risk ratio of {name}",
                ratio,
                "a number from 1: take the inverse of a smaller one",
                is_valid=lambda found: found >= 1,
            )
        moved = treatment * outcome / (treatment + outcome - 1)
        ratio = self.ratio / self.null
        return moved >= max(ratio, 1 / ratio)

    def interpret(self) -> str:
        """Say in plain words what the E-value means."""
        about = "about " if self.is_approximate else ""
        limit = self.limit
        told = "" if limit is None else f"; for the confidence limit, {limit:.2f}"
        scale = " (reckoned from another scale, as is the null)" if self.is_approximate else ""
        return (
            f"A hidden cause that multiplies the risk of treatment and of outcome by {about}"
            f"{self.point:.2f} each, beyond all that is adjusted for, could move the risk ratio of "
            f"{self.ratio:.3g} to {self.null:.3g}{scale}; a weaker one could not{told}."
        )

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.interpret())}</p>"


def _read_positive(name: str, value: float) -> float:
    return read_number(name, value, "positive numbers", is_valid=lambda found: found > 0)


def _e_value(ratio: float) -> float:
    ratio = max(ratio, 1 / ratio)
    return ratio + math.sqrt(ratio * (ratio - 1))


def _converted(
    estimate: float, interval: tuple[float, float] | None, null: float, ratio: _Conversion
) -> EValue:
    try:
        ends = None if interval is None else (ratio(interval[0]), ratio(interval[1]))
        return EValue(ratio(estimate), ends, ratio(null), is_approximate=True)
    except (ValueError, TypeError, ZeroDivisionError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"the estimate is {estimate!r}; expected a positive ratio") from None
