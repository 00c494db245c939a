"""Rosenbaum's sensitivity analysis of matched pairs."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc, ndtr, ndtri

from causalppl.bounds.bounds import Bounds
from causalppl.bounds.numbers_read import read_level, read_odds_ratio
from causalppl.bounds.sensitivity_rows import read_rows
from causalppl.bounds.walsh_averages import walsh_quantiles
from causalppl.exceptions import DataError

__all__ = ["MatchedPairs"]

Array: TypeAlias = NDArray[np.float64]
Side: TypeAlias = Literal["greater", "less", "two-sided"]
_MOST_EXACT = 100  # pairs, up to which the law of the signed-rank statistic is computed
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class MatchedPairs:
    """Pairs of a treated and an untreated unit, and how hidden bias could move their test.

    In a pair without hidden bias each unit is as likely to be the treated one. With it, the odds
    may differ from even by a factor of at most ``odds_ratio`` (Rosenbaum's Gamma), and what a test
    says is known up to an interval.

    Attributes:
        treated: Outcomes of the treated units, shape ``(pairs,)``.
        control: Outcomes of their partners; None: ``treated`` holds the differences already.
        test: ``"signed rank"`` (Wilcoxon's), or ``"sign"``, which for outcomes of 0 and 1 is
            McNemar's test.
        alternative: Whether the treatment is said to raise outcomes (``"greater"``), to lower them
            (``"less"``), or either.

    Raises:
        DataError: Numbers are missing, lengths differ, all pairs are tied, or a setting is none
            of these.

    References:
        Rosenbaum (2002), Observational Studies, chapter 4; Rosenbaum (1987), Sensitivity analysis
        for certain permutation inferences in matched observational studies.

    Example:
        >>> pairs = MatchedPairs([3, 5, 4, 6, 7, 5, 6, 4], [1, 2, 3, 2, 2, 4, 1, 2])
        >>> pairs.p_value(2.0)
        Bounds(p-value in [0.0001524, 0.03902], by signed rank test at odds ratio 2)
        >>> round(pairs.tipping_point(0.05), 3)
        2.202
    """

    treated: Any
    control: Any = None
    test: Literal["signed rank", "sign"] = "signed rank"
    alternative: Side = "greater"

    def __post_init__(self) -> None:
        if self.test not in ("signed rank", "sign"):
            raise DataError(f"test is {self.test!r}; expected 'signed rank' or 'sign'")
        if self.alternative not in ("greater", "less", "two-sided"):
            raise DataError(
                f"alternative is {self.alternative!r}; expected 'greater', 'less' or 'two-sided'"
            )
        if not self.differences.any():
            raise DataError("all pairs are tied; expected some with a difference")

    @cached_property
    def differences(self) -> Array:
        """Treated less control, shape ``(pairs,)``."""
        rows = read_rows(treated=self.treated, control=self.control)
        return np.asarray(rows["treated"] - rows.get("control", 0.0))

    @property
    def is_exact(self) -> bool:
        """Whether p-values are exact, rather than by the normal approximation."""
        return self.test == "sign" or len(self.differences) <= _MOST_EXACT

    def p_value(self, odds_ratio: float = 1.0) -> Bounds:
        """Bound the p-value of the hypothesis of no effect.

        Args:
            odds_ratio: By which factor the odds of treatment may differ within a pair, from 1.

        Returns:
            The interval; sharp. Exact up to 100 pairs and for the sign test.

        Raises:
            DataError: The odds ratio is below 1.
        """
        ratio = read_odds_ratio(odds_ratio)
        low, high = self._p_value(1 / ratio), self._p_value(ratio)
        return Bounds(
            "p-value",
            f"{self.test} test at odds ratio {ratio:g}",
            np.array(low),
            np.array(high),
            is_sharp=True,
            assumptions=(
                "within a pair, hidden causes change the odds of which unit is treated by at most "
                "the odds ratio",
                "pairs do not affect each other",
            ),
            notes=() if self.is_exact else ("p-values are by the normal approximation",),
            diagnostics={"pairs": len(self.differences)},
        )

    def tipping_point(self, level: float = 0.05) -> float:
        """The largest odds ratio at which the test still rejects; 1 if it does not even there.

        Args:
            level: The level of the test.

        Raises:
            DataError: The level is not between 0 and 1.

        Example:
            >>> MatchedPairs([1, -1, 2, -2]).tipping_point()
            1.0
        """
        read_level("the level", level)
        if self._p_value(1.0) > level:
            return 1.0
        from scipy.optimize import brentq

        high = 1.0
        while self._p_value(np.exp(high)) <= level:
            high *= 2  # ends: as the odds ratio grows the p-value goes to 1
        root = brentq(lambda log: self._p_value(np.exp(log)) - level, 0.0, high, xtol=1e-13)
        return float(np.exp(root))

    def effect(self, odds_ratio: float = 1.0) -> Bounds:
        """Bound the Hodges-Lehmann estimate of an effect that is added to every treated unit.

        The shifts at which the signed-rank statistic of the shifted differences takes an
        expectation that is possible: quantiles of the averages of two differences.

        Args:
            odds_ratio: As in `p_value`.

        Returns:
            The interval; at odds ratio 1 the median of these averages.

        Raises:
            DataError: ``odds_ratio`` is below 1.

        References:
            Rosenbaum (1993), Hodges-Lehmann point estimates of treatment effect in observational
            studies.

        Example:
            >>> MatchedPairs([1.0, 2.0, 4.0]).effect(2.0)
            Bounds(added effect in [1.75, 2.75], by Hodges-Lehmann at odds ratio 2)
        """
        ratio = read_odds_ratio(odds_ratio)
        chance = ratio / (1 + ratio)
        return self._shifts("added effect", "Hodges-Lehmann", ratio, 1 - chance, chance)

    def confidence(self, odds_ratio: float = 1.0, prob: float = 0.95) -> Bounds:
        """Bound the added effect with a stated probability, whatever the hidden bias allowed.

        Args:
            odds_ratio: As in `p_value`.
            prob: The probability.

        Returns:
            The shifts that a two-sided signed-rank test does not reject, and their limits; exact up
            to 100 pairs, where with ties the probability is at least that stated.

        Raises:
            DataError: With so few pairs no test rejects any shift; the message says how many it
                takes.

        References:
            Noether (1967), Wilcoxon confidence intervals for location parameters in the discrete
            case.

        Example:
            >>> pairs = MatchedPairs(np.arange(1.0, 31.0))
            >>> pairs.confidence(1.0).contains(15.5), pairs.confidence(2.0).contains(10.0)
            (True, True)
        """
        ratio = read_odds_ratio(odds_ratio)
        half = read_level("1 - prob", 1 - prob) / 2
        chance, n = ratio / (1 + ratio), len(self.differences)
        if n * np.log(chance) > np.log(half) + _ROUNDING:
            needed = int(np.ceil((np.log(half) - _ROUNDING) / np.log(chance)))
            raise DataError(
                f"there are {n} pairs; expected at least {needed} at odds ratio {ratio:g}, as with "
                f"fewer no finite interval holds the effect with probability {prob:g}"
            )
        sums = n * (n + 1) // 2
        if n <= _MOST_EXACT:
            high = (_least_rejected(n, chance, half) - 0.5) / sums
        else:
            deviation = np.sqrt(chance * (1 - chance) * n * (n + 1) * (2 * n + 1) / 6)
            high = min(chance - ndtri(half) * deviation / sums, 1.0)
        method = f"inverted signed rank test at {100 * prob:g} %"
        return self._shifts("added effect", method, ratio, 1 - high, high)

    def _shifts(self, query: str, method: str, ratio: float, low: float, high: float) -> Bounds:
        """Quantiles of the averages of two differences."""
        least, most = walsh_quantiles(self.differences, (low, high))
        return Bounds(
            query,
            f"{method} at odds ratio {ratio:g}",
            np.array(least),
            np.array(most),
            assumptions=("the effect is the same in every pair", "pairs are as for the p-value"),
            diagnostics={"pairs": len(self.differences)},
        )

    def _p_value(self, ratio: float) -> float:
        """The p-value if a treated unit is the higher one with odds ``ratio`` (or 1/``ratio``)."""
        if self.alternative != "two-sided":
            sign = 1 if self.alternative == "greater" else -1
            return self._tail(sign * self.differences, ratio)
        return min(1.0, 2 * min(self._tail(s * self.differences, ratio) for s in (1, -1)))

    def _tail(self, differences: Array, ratio: float) -> float:
        """The chance of a statistic as large as that seen."""
        chance = ratio / (1 + ratio)
        moved = differences[differences != 0]
        if self.test == "sign":
            wins = int((moved > 0).sum())
            return 1.0 if wins == 0 else float(bdtrc(wins - 1, len(moved), chance))
        ranks = self._ranks
        seen = int(ranks[moved > 0].sum())
        if self.is_exact:
            return _exact_tail(ranks, seen, chance)
        deviation = np.sqrt(chance * (1 - chance) * self._squared_ranks)
        return float(ndtr((chance * ranks.sum() - seen) / deviation))

    @cached_property
    def _ranks(self) -> NDArray[np.int64]:
        """Twice the ranks of the differences that are not zero."""
        return _doubled_ranks(self.differences)[self.differences != 0]

    @cached_property
    def _squared_ranks(self) -> float:
        ranks = self._ranks.astype(float)
        return float(ranks @ ranks)


def _doubled_ranks(differences: Array) -> NDArray[np.int64]:
    """Twice the ranks of the sizes; ties share the mean rank, so these are whole numbers.

    Tied pairs are ranked with the others, and count for neither side (Pratt; Rosenbaum).
    """
    _, place, counts = np.unique(abs(differences), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((2 * last - counts + 1)[place], dtype=np.int64)


def _exact_tail(ranks: NDArray[np.int64], seen: int, chance: float) -> float:
    """The chance that the ranks of independent successes sum to at least what was seen."""
    return min(float(_law_of_sum(ranks, chance)[seen:].sum()), 1.0)


def _least_rejected(num_pairs: int, chance: float, level: float) -> int:
    """The smallest sum of ranks that is reached with at most a probability."""
    law = _law_of_sum(np.arange(1, num_pairs + 1), chance)
    tails = np.cumsum(law[::-1])[::-1]
    return int(np.count_nonzero(tails > level * (1 + _ROUNDING)))


def _law_of_sum(ranks: NDArray[np.int64], chance: float) -> Array:
    """The probability of each sum of the ranks of independent successes, from 0."""
    law = np.zeros(int(ranks.sum()) + 1)
    law[0] = 1.0
    filled = 1
    for rank in ranks:
        moved = chance * law[:filled]
        law[:filled] *= 1 - chance
        law[rank : rank + filled] += moved
        filled += int(rank)
    return law
