"""Intervals for the value of a policy, whose rewards may be rare and so skewed, or all the same."""

from dataclasses import dataclass
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from causalppl.estimation.policy_log import PolicyLog
from causalppl.exceptions import DataError

__all__ = ["PolicyInterval", "ScarceRewards", "range_of_rewards"]

Array: TypeAlias = NDArray[np.float64]
_STRAIGHT = 1e-6  # skewness of a mean below which its law is normal
_SCARCE = 2.0  # rows of weight, fewer than which tell nothing of the spread of rewards


@dataclass(frozen=True, eq=False)
class PolicyInterval:
    """Ends of the interval for a value, at any probability.

    The studentised mean of the contributions is brought to the normal law by Hall's cubic, which
    takes out the skewness of rare rewards, and is inverted: its errors are of the order of 1 /
    rows in either tail, those of the normal limit of 1 / sqrt(rows). If all rewards are the same
    and their range is known, the share of other ones is bounded by the exact limit of Clopper and
    Pearson for as many rows as the effective sample size, ``1 - (alpha / 2) ** (1 / ess)``, some
    3.7 / ess at 95 %. Ends stay in the range, if it is known.

    Where the rows that bear the weight show next to no reward but the one at an end of the range,
    the spread seen says nothing of the others that they may have: however the light rows differ,
    the end on that side is then at least as far from the value as the same exact limit has it, for
    as many rows as their weight makes. Without a known range, that of the rewards seen is used.

    Attributes:
        contributions: What each row or slate adds, with its influence; shape ``(slates,)``.
        draws: Draws of a bootstrap, whose quantiles are taken instead; None: none.
        bounds: The least and the largest value that there can be; None: not known.
        constant: The value if all rewards are as those seen, which are the same; None: they vary.
        trials: How many equally weighted, independent pieces the log has.
        scarce: What the rows of weight lack, for either end; None: it is not looked at.

    References:
        Hall (1992), On the removal of skewness by transformation; Clopper and Pearson (1934).

    Example:
        >>> rare = np.array([1.0] * 5 + [0.0] * 195)
        >>> ends = PolicyInterval(rare, None, (0.0, 1.0), None, 200)(0.95)
        >>> [round(end, 3) for end in ends]  # the normal limit is [0.003, 0.047]
        [0.008, 0.063]
        >>> [round(end, 3) for end in PolicyInterval(0 * rare, None, (0.0, 1.0), 0.0, 200)(0.95)]
        [0.0, 0.018]
    """

    contributions: Array
    draws: Array | None
    bounds: tuple[float, float] | None
    constant: float | None
    trials: float
    scarce: "ScarceRewards | None" = None

    @classmethod
    def of(
        cls,
        log: PolicyLog,
        contributions: Array,
        draws: Array | None,
        known: tuple[float, float] | None,
    ) -> "PolicyInterval":
        """Read what intervals need from a log and from the range of its rewards, if it is known."""
        size = len(log.reward) / log.num_slates
        seen = log.reward[log.weight > 0]
        is_constant = len(seen) > 0 and np.ptp(seen) == 0
        return cls(
            contributions,
            draws,
            None if known is None else (known[0] * size, known[1] * size),
            float(seen[0]) * size if is_constant else None,
            log.ess / size,
            ScarceRewards.of(log, known) if len(seen) > 0 and not is_constant else None,
        )

    def __call__(self, prob: float) -> tuple[float, float]:
        """Return both ends."""
        low, high = self._around(prob)
        if self.scarce is not None:
            low, high = self.scarce.widen(low, high, float(self.contributions.mean()), prob)
        if self.bounds is None:
            return low, high
        least, most = self.bounds
        if self.constant is not None:
            share = 1 - ((1 - prob) / 2) ** (1 / max(self.trials, 1.0))
            low = min(low, self.constant - share * (self.constant - least))
            high = max(high, self.constant + share * (most - self.constant))
        return min(max(low, least), most), max(min(high, most), least)

    def _around(self, prob: float) -> tuple[float, float]:
        if self.draws is not None:
            low, high = np.quantile(self.draws, [(1 - prob) / 2, (1 + prob) / 2])
            return float(low), float(high)
        mean, count = float(self.contributions.mean()), len(self.contributions)
        left = self.contributions - mean
        spread = float(left.std(ddof=1))
        if spread == 0:
            return mean, mean
        normal = float(ndtri((1 + prob) / 2))
        skewness = float((left**3).mean()) / spread**3 / float(np.sqrt(count))
        high, low = (_unbent(end, skewness) for end in (-normal, normal))
        error = spread / float(np.sqrt(count))
        return mean - low * error, mean - high * error


@dataclass(frozen=True)
class ScarceRewards:
    """What rows of weight show of rewards that are not at one end of the range.

    The weight of the rows that bear the variance is ``w = sum w_i^3 / sum w_i^2``. In rows of this
    weight, the rows whose reward differs from the least are ``sum w_i^2 (r_i - least) / (most -
    least) / w^2``, and likewise for the largest.

    Attributes:
        least: The least value that there can be, as far as is known.
        most: The largest.
        above: How many rows of weight are above the least reward, in whole ranges.
        below: How many are below the largest.
        trials: The sum of weights over ``w``, in independent pieces.
    """

    least: float
    most: float
    above: float
    below: float
    trials: float

    @classmethod
    def of(cls, log: PolicyLog, known: tuple[float, float] | None) -> "ScarceRewards":
        """Count in a log whose rewards differ."""
        least, most = known or (float(log.reward.min()), float(log.reward.max()))
        squares = (log.weight / log.weight.max()) ** 2
        heavy = float(squares @ log.weight / squares.sum())
        counted = squares / (heavy / log.weight.max()) ** 2
        share = (log.reward - least) / (most - least)
        size = len(log.reward) / log.num_slates
        trials = float(log.weight.sum()) / heavy / size
        return cls(
            *(least * size, most * size),
            *(float(counted @ share), float(counted @ (1 - share)), max(trials, 1.0)),
        )

    @property
    def is_scarce(self) -> bool:
        """Whether either end rests on next to no rows of weight."""
        return min(self.above, self.below) < _SCARCE

    def widen(self, low: float, high: float, value: float, prob: float) -> tuple[float, float]:
        """Move an end where nothing seen says how far it may be, or where it left the range."""
        share = 1 - ((1 - prob) / 2) ** (1 / self.trials)
        inside = min(max(value, self.least), self.most)
        if self.below < _SCARCE or low >= self.most:
            low = min(low, inside - share * (inside - self.least))
        if self.above < _SCARCE or high <= self.least:
            high = max(high, inside + share * (self.most - inside))
        return low, high


def _unbent(normal: float, skewness: float) -> float:
    """Hall's transformation turned round: what a studentised mean of this skewness may be."""
    if abs(skewness) < _STRAIGHT:
        return normal
    return float(3 / skewness * (np.cbrt(1 + skewness * (normal - skewness / 6)) - 1))


def range_of_rewards(declared: Any, rewards: Array) -> tuple[float, float] | None:
    """Return the range of rewards: the one declared, 0 to 1 where all are one of these, or None.

    Raises:
        DataError: What is declared is no pair of numbers, or does not hold all rewards.
    """
    if declared is None:
        return (0.0, 1.0) if np.isin(rewards, (0.0, 1.0)).all() else None
    ends = declared if isinstance(declared, tuple | list) else ()
    if len(ends) != 2 or not all(isinstance(end, Real) for end in ends):
        raise DataError(f"reward_range is {declared!r}; expected two numbers, such as (0, 1)")
    least, most = map(float, ends)
    if not -np.inf < least < most < np.inf or rewards.min() < least or rewards.max() > most:
        raise DataError(
            f"reward_range is {declared!r}, and rewards run from {rewards.min():g} to "
            f"{rewards.max():g}; expected a range that holds them"
        )
    return least, most
