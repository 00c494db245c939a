"""Agents that know nothing of a model: each arm, in each view, on its own."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from causalppl.agents.agent import Arm, Array, Integers, Transition
from causalppl.agents.arm_rewards import LogSums, PerArm
from causalppl.agents.lazy_beta import BetaCells
from causalppl.agents.reward_moments import RewardMoments
from causalppl.exceptions import DataError

__all__ = ["BetaThompson", "GaussianThompson", "UniformAgent"]


class BetaThompson(PerArm):
    """Thompson sampling with a Beta belief about each arm.

    Rewards of 0 and 1, after scaling by their range, update the belief; one between is replaced by
    a coin that shows 1 with that chance (Agrawal and Goyal), which keeps its mean. Only few of the
    beliefs are drawn from at each step, by a method that is exact (see `BetaCells`).

    Args:
        arms: What may be set, to which values.
        context_levels: What is seen before acting, and the values that it takes.
        prior: Parameters of the Beta law before any data.
        is_optimistic: Whether a draw below its mean counts as the mean. What an arm may lose is
            then no reason to avoid it; with few steps that is often better, and never worse for
            long (May and others).
        reward: The variable that makes the reward; needed to read logs only.
        reward_range: Smallest and largest reward.
        maximise: Whether the reward is that variable, or else its negative.

    Raises:
        QueryError: There are no arms.
        DataError: The prior is not positive, or the range of rewards is empty.

    References:
        Thompson (1933); Agrawal and Goyal (2012), Analysis of Thompson sampling for the
        multi-armed bandit problem; May, Korda, Lee and Leslie (2012), Optimistic Bayesian sampling
        in contextual-bandit problems; Bareinboim, Forney and Pearl (2015), for the intent as
        context, with cells seeded by natural data.

    Example:
        >>> from causalppl.agents import run
        >>> from causalppl.envs import make_env
        >>> env = make_env("GreedyCasino")
        >>> agent = BetaThompson.for_env(env)
        >>> seeded = run(agent, env, steps=300, runs=50, seed=0, natural_rows=200)
        >>> unseeded = run(agent, env, steps=300, runs=50, seed=0)
        >>> bool(seeded.regret.mean() < unseeded.regret.mean() / 2)
        True
    """

    name = "per-arm Thompson sampling"

    def __init__(
        self,
        arms: Sequence[Arm],
        *,
        context_levels: Mapping[str, Sequence[float]] | None = None,
        prior: tuple[float, float] = (1.0, 1.0),
        is_optimistic: bool = False,
        reward: str | None = None,
        reward_range: tuple[float, float] = (0.0, 1.0),
        maximise: bool = True,
    ) -> None:
        super().__init__(
            arms,
            context_levels=context_levels,
            reward=reward,
            reward_range=reward_range,
            maximise=maximise,
        )
        if not min(prior) > 0 or not np.isfinite(sum(prior)):
            raise DataError(f"the prior is {prior}; expected two positive numbers")
        self.prior, self.is_optimistic = prior, is_optimistic

    def _begin(self, runs: int) -> None:
        self.cells = BetaCells(self._shape(runs), self.prior, self.block)

    def _choose(self, observation: Any) -> Integers:
        view = self._view(observation)
        return self.cells.best_of_draw(self._rngs, view, is_optimistic=self.is_optimistic)

    def _learn(self, transition: Transition) -> None:
        arm = np.asarray(transition.action, dtype=np.int64)
        success = self._tossed(self._measured(transition.reward))
        self.cells.add(self._view(transition.observation), arm, success)

    def _tossed(self, scaled: Array) -> Array:
        """Replace rewards between 0 and 1 by coins, in blocks of runs that have some."""
        between = (scaled > 0) & (scaled < 1)
        if not between.any():
            return scaled
        found = scaled.copy()
        for number, rng in enumerate(self._rngs):
            own = slice(number * self.block, (number + 1) * self.block)
            if between[own].any():
                found[own] = rng.random(found[own].shape) < found[own]
        return found

    def _absorb(self, sums: LogSums) -> None:
        # a reward between 0 and 1 is that part of a success: the mean of its coin
        self.cells.add_counts(sums.rewards, sums.counts - sums.rewards)

    def _means(self) -> Array:
        return self.cells.means

    def state_dict(self) -> dict[str, Any]:
        """Return all that a continuation depends on, as a copy."""
        return {**super().state_dict(), **{k: v.copy() for k, v in self.cells.state().items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> Self:
        """Return an agent that goes on from a state."""
        cells = BetaCells((1, 1, 1), self.prior, self.block).state()
        rest = {name: part for name, part in state.items() if name not in cells}
        found = super().load_state_dict(rest)
        found.cells.load({name: np.array(state[name]) for name in cells})
        return found


class GaussianThompson(RewardMoments):
    """Thompson sampling with a normal belief about each arm whose spread is unknown as well.

    The belief is normal-inverse-gamma, so the mean of an arm is drawn from a Student law. What the
    prior says is meant in units of the rewards seen so far, by any arm: their mean is its zero and
    their standard deviation its one. So neither the unit of rewards nor their origin matters.

    Args:
        arms: What may be set, to which values.
        context_levels: What is seen before acting, and the values that it takes.
        prior: Mean before any data, how many rewards it is worth, and shape and rate of the
            inverse-gamma law of the variance of rewards.
        reward_scale: What is zero and what is one for the prior, if it is not to be learned:
            ``(0.0, 1.0)`` takes it as it stands.
        reward: The variable that makes the reward; needed to read logs only.
        reward_range: Smallest and largest reward; unbounded by default.
        maximise: Whether the reward is that variable, or else its negative.

    Raises:
        QueryError: There are no arms.
        DataError: The prior is not proper, the scale not positive, or the range of rewards empty.

    References:
        Honda and Takemura (2014), Optimality of Thompson sampling for Gaussian bandits depends on
        priors.

    Example:
        >>> from causalppl.agents import run
        >>> from causalppl.envs import make_env
        >>> env = make_env("LinearGaussianPopulation")
        >>> record = run(GaussianThompson.for_env(env), env, steps=300, runs=100, seed=0)
        >>> bool(record.optimal_share.isel(step=slice(-50, None)).mean() > 0.8)
        True
    """

    name = "per-arm Gaussian Thompson sampling"
    _is_bounded: ClassVar[bool] = False
    _state: ClassVar[tuple[str, ...]] = (*RewardMoments._state, "origin")

    def __init__(
        self,
        arms: Sequence[Arm],
        *,
        context_levels: Mapping[str, Sequence[float]] | None = None,
        prior: tuple[float, float, float, float] = (0.0, 0.1, 1.0, 1.0),
        reward_scale: tuple[float, float] | None = None,
        reward: str | None = None,
        reward_range: tuple[float, float] = (-np.inf, np.inf),
        maximise: bool = True,
    ) -> None:
        super().__init__(
            arms,
            context_levels=context_levels,
            reward=reward,
            reward_range=reward_range,
            maximise=maximise,
        )
        if not min(prior[1:]) > 0 or not np.isfinite(sum(prior)):
            raise DataError(f"the prior is {prior}; expected (mean, count, shape, rate) above 0")
        if reward_scale is not None and not 0 < reward_scale[1] < np.inf:
            raise DataError(f"reward_scale is {reward_scale}; expected (zero, positive unit)")
        self.prior, self.reward_scale = prior, reward_scale

    def _begin(self, runs: int) -> None:
        super()._begin(runs)
        # rewards are kept as differences from the first: large numbers would hide small ones
        self.origin = np.full(runs, np.nan)

    def _measured(self, reward: Any) -> Array:
        given = self._scaled(reward)
        if given.size and np.isnan(self.origin).any():
            first = given if given.ndim == 1 else given[:, 0]
            self.origin = np.where(np.isnan(self.origin), first, self.origin)
        return np.asarray((given.T - self.origin).T)

    def _choose(self, observation: Any) -> Integers:
        centre, scale, freedom = self._belief(self._view(observation))
        noise = np.empty_like(centre)
        for number, rng in enumerate(self._rngs):
            own = slice(number * self.block, (number + 1) * self.block)
            noise[own] = rng.standard_t(freedom[own])
        return (centre + scale * noise).argmax(1)

    def _units(self) -> tuple[Array, Array]:
        """Zero and one of the prior, the former as kept; shape ``(runs, 1)`` each."""
        if self.reward_scale is not None:
            zero, one = self.reward_scale
            origin = np.nan_to_num(self.origin)
            return (zero - origin)[:, None], np.full((len(origin), 1), one)
        counts, sums, squares = (t.sum((1, 2)) for t in (self.counts, self.sums, self.squares))
        zero = sums / np.maximum(counts, 1)
        spread = np.maximum(squares - counts * zero**2, 0) / np.maximum(counts - 1, 1)
        # while all rewards are equal no unit can be told, nor does it matter for which arm is best
        return zero[:, None], np.sqrt(np.where(spread > 0, spread, 1.0))[:, None]

    def _belief(self, view: Integers) -> tuple[Array, Array, Array]:
        """Centre, scale and freedom of the Student laws, in the prior's units, ``(runs, arms)``."""
        mean, worth, shape, rate = self.prior
        counts, sums, squares = (
            self._rows_of(table, view) for table in (self.counts, self.sums, self.squares)
        )
        zero, one = self._units()
        own = sums / np.maximum(counts, 1)
        within = np.maximum(squares - counts * own**2, 0) / one**2
        own = np.where(counts > 0, own - zero, 0.0) / one
        total = counts + worth
        spread = rate + within / 2 + counts * worth * (own - mean) ** 2 / (2 * total)
        shapes = shape + counts / 2
        centre = (counts * own + worth * mean) / total
        return centre, np.sqrt(spread / (shapes * total)), 2 * shapes

    def _means(self) -> Array:
        mean, worth, *_ = self.prior
        zero, one = (unit[:, None] for unit in self._units())
        kept = (self.sums + worth * (zero + mean * one)) / (self.counts + worth)
        return kept + np.nan_to_num(self.origin)[:, None, None]


class UniformAgent(RewardMoments):
    """One who plays any arm, each as often, and recommends the one that earned most on average.

    Args:
        arms: What may be set, to which values.
        context_levels: What is seen before acting, and the values that it takes.
        reward: The variable that makes the reward; needed to read logs only.
        reward_range: Smallest and largest reward.
        maximise: Whether the reward is that variable, or else its negative.

    Raises:
        QueryError: There are no arms.
        DataError: The range of rewards is empty.

    Example:
        >>> agent = UniformAgent([{"X": 0}, {"X": 1}]).start(1000, seed=0)
        >>> agent.act().mean().round(1)
        np.float64(0.5)
    """

    name = "uniform play"
    _is_bounded: ClassVar[bool] = False

    def _choose(self, observation: Any) -> Integers:
        runs = self.runs or 1
        drawn = [rng.integers(len(self.arms), size=self.block) for rng in self._rngs]
        return np.concatenate(drawn)[:runs]
