"""Sums of rewards over steps under hidden confounding of each step's action."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.bounds import Bounds
from causalppl.bounds.confounded_log import ConfoundedLog, read_log
from causalppl.bounds.numbers_read import read_number
from causalppl.bounds.weight_box import Overlap, WeightBox
from causalppl.exceptions import DataError

__all__ = ["msm_per_step"]

Array: TypeAlias = NDArray[np.float64]
Ends: TypeAlias = tuple[float, float]
_MOST_STEPS = 100  # as in `WeightBox`


def msm_per_step(
    rewards: Sequence[Any],
    propensities: Sequence[Any],
    odds_ratio: Any,
    *,
    targets: Sequence[Any] | None = None,
    discount: float = 1.0,
    is_memoryless: bool = False,
    weights: Any = None,
    sampling_weights: bool = False,
    num_draws: int = 0,
    seed: int | None = None,
) -> Bounds:
    """Bound a sum of rewards over steps, where each step's action may be confounded.

    An action moves all later rewards: a row's weight at a step is the product of its weights up to
    there, each known up to the odds ratio, so what is unknown compounds. Each step's interval is
    the exact one for the range of that product; their sum is valid, and perhaps not sharp, as
    the products of an episode share factors.

    Args:
        rewards: For each step the rewards, shape ``(episodes,)``; the same episodes in each.
        propensities: For each step the recorded chance of the action taken, shape
            ``(rows,)``.
        odds_ratio: From 1; several become an axis of the answer.
        targets: For each step the policy's chance of the action taken; None: 1, for a policy that
            takes what the rows show.
        discount: What the next step's reward is worth now, from 0 to 1.
        is_memoryless: Whether an action moves the reward of its own step alone. A step then needs
            its own weight only, and the interval is narrower; too narrow if that is wrong.
        weights: How often each episode counts: whole numbers are equal episodes, others sampling
            weights.
        sampling_weights: Take weights for sampling weights even if all are whole numbers.
        num_draws: See `msm_mean`, as for the rest; episodes are drawn anew.
        seed: Seed of these draws.

    Raises:
        DataError: As `msm_mean`; or steps are missing from a list, or episodes from a step.

    References:
        Zhao, Small and Bhattacharya (2019) for one step; Namkoong, Keramati, Yadlowsky and
        Brunskill (2020), Off-policy policy evaluation for sequential decisions under unobserved
        confounding, for how steps compound.

    Example:
        >>> steps = [[0, 1, 1], [1, 0, 1]], [[0.5] * 3, [0.5] * 3]
        >>> round(float(msm_per_step(*steps, 2.0).width), 3)
        0.856
        >>> round(float(msm_per_step(*steps, 2.0, is_memoryless=True).width), 3)
        0.6
    """
    logs = _read_steps(rewards, propensities, targets, weights, are_sampling=sampling_weights)
    discount = read_number(
        "discount", discount, "a number from 0 to 1, such as 0.99", is_valid=lambda d: 0 <= d <= 1
    )
    shares = tuple(discount**number for number in range(len(logs)))
    ones = np.ones(len(logs[0].y))
    found = _Steps(
        tuple(log.y for log in logs),
        tuple(log.free / np.where(log.fixed > 0, log.fixed, 1) for log in logs),
        tuple(log.targets.get("targets", ones) for log in logs),
        logs[0].fixed,
        shares,
        is_memoryless,
    )
    told = (
        "an action moves the reward of its own step alone"
        if is_memoryless
        else "an action may move all later rewards, so that odds ratios of steps multiply"
    )
    return logs[0].bounds(
        found,
        "sum over steps",
        odds_ratio,
        num_draws,
        seed,
        assumptions=(told,),
        counts=logs[0].fixed,
    )


@dataclass(frozen=True, eq=False)
class _Steps:
    """Steps of the same episodes; each attribute but the last three has an array for each step."""

    y: tuple[Array, ...]
    odds: tuple[Array, ...]
    targets: tuple[Array, ...]
    counts: Array
    shares: tuple[float, ...]
    is_memoryless: bool

    def overlap(self, repeats: Array) -> Overlap:
        return min((box.overlap(repeats) for box in self._boxes(1.0)), key=lambda each: each.share)

    @property
    def in_order(self) -> "_Steps":
        return self

    def ends(self, odds_ratio: float, near: Ends | None = None) -> Ends:
        boxes = self._boxes(odds_ratio)
        ends = np.array([box.ends(odds_ratio) for box in boxes])
        low, high = np.array(self.shares) @ ends
        return float(low), float(high)

    def influence(self, odds_ratio: float, ends: Ends) -> Array:
        parts = [
            share * box.influence(odds_ratio, box.ends(odds_ratio))
            for share, box in zip(self.shares, self._boxes(odds_ratio), strict=True)
        ]
        return np.asarray(sum(parts))

    def unseen(self, odds_ratio: float, repeats: Array, span: Ends) -> Array:
        parts = [
            share * box.unseen(odds_ratio, repeats, (float(box.y.min()), float(box.y.max())))
            for share, box in zip(self.shares, self._boxes(odds_ratio), strict=True)
            if share and np.ptp(box.y) > 0  # a reward that never varies is known
        ]
        return np.asarray(sum(parts, np.zeros(2)))

    def slack(self, odds_ratio: float) -> float:
        return 0.0

    def counted(self, counts: Array) -> "_Steps":
        return _Steps(
            self.y, self.odds, self.targets, self.counts * counts, self.shares, self.is_memoryless
        )

    def _boxes(self, odds_ratio: float) -> list[WeightBox]:
        """For each step the box of products: at the two ends of ``r`` they are the extreme ones."""
        least = most = self.counts
        found: list[WeightBox] = []
        for y, odds, target in zip(self.y, self.odds, self.targets, strict=True):
            if self.is_memoryless:
                least = most = self.counts
            least = least * target * (1 + odds / odds_ratio)
            most = most * target * (1 + odds * odds_ratio)
            scale = max(float(most.max()), 1e-300)
            found.append(_Range(y, least / scale, (most - least) / scale))
        return found


@dataclass(frozen=True, eq=False)
class _Range(WeightBox):
    """A box of weights from ``fixed`` to ``fixed + free``, whatever the odds ratio.

    Products over many steps have ends so far apart that the form of one step loses all its digits.
    """

    def weights(self, odds_ratio: float, end: float, *, sign: int) -> Array:
        above = self.y > end if sign > 0 else self.y < end
        return np.asarray(self.fixed + self.free * above)

    def _end(self, odds_ratio: float, near: float, *, sign: int) -> float:
        if odds_ratio == 1:
            return self.centre
        end, y = self.centre, self.from_centre
        for _ in range(_MOST_STEPS):
            weights = self.weights(odds_ratio, end, sign=sign)
            moved = self.centre + float(weights @ y) / float(weights.sum())
            if sign * (moved - end) <= 0:
                break
            end = moved
        return end


def _read_steps(
    rewards: Sequence[Any],
    propensities: Sequence[Any],
    targets: Sequence[Any] | None,
    weights: Any,
    *,
    are_sampling: bool,
) -> list[ConfoundedLog]:
    steps = {"rewards": len(rewards), "propensities": len(propensities)}
    steps |= {} if targets is None else {"targets": len(targets)}
    if len(set(steps.values())) > 1 or not len(rewards):
        told = ", ".join(f"{name} has {count}" for name, count in steps.items())
        raise DataError(f"{told} steps; expected the same steps in each, at least one")
    found: list[ConfoundedLog] = []
    for number in range(len(rewards)):
        extra = {} if targets is None else {"targets": targets[number]}
        try:
            columns = rewards[number], propensities[number], weights
            found.append(read_log(*columns, sampling_weights=are_sampling, **extra))
        except DataError as error:
            raise DataError(f"step {number}: {error}") from None
        if len(found[number].y) != len(found[0].y):
            raise DataError(
                f"step {number} has {len(found[number].y)} episodes and step 0 "
                f"{len(found[0].y)}; expected the same episodes in each: give those that ended "
                "early a reward of 0"
            )
    return found
