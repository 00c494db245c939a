"""Fuse what was seen, what was tried on anyone, and what is learned by intent."""

import copy
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from causalppl.agents.agent import Array, Integers, Transition
from causalppl.agents.per_arm import BetaThompson

__all__ = ["IntentFusion"]

_STATE = ("view_counts", "tried", "_chances", "_weights", "_centres")
_SWEEPS = 2
_TO_AVERAGE = 200


class IntentFusion(BetaThompson):
    """Thompson sampling by intent that also uses experiments in which nobody asked for the intent.

    Three sources speak of the same cells ``E[Y_x | intent]``: natural plays, of the cells in which
    arm and intent agree; the agent's own plays, of any; and randomised plays, of the average over
    intents, ``E[Y_x] = sum_i P(i) E[Y_x | i]``. The last equation ties the cells of an arm
    together, so that what one gains another loses. Its uncertainty, and that of ``P(i)``, is
    respected by drawing from the joint posterior: a Gibbs sampler gives each randomised play an
    intent, and then draws cells and weights given all counts. Without such data it plays like
    `BetaThompson`.

    Args:
        arms: What may be set, to which values.
        context_levels: What is seen before acting (the intent), and the values that it takes.
        prior: Parameters of the Beta law before any data.
        is_optimistic: Whether a draw below the mean counts as the mean.
        reward: The variable that makes the reward; needed to read logs only.
        reward_range: Smallest and largest reward.
        maximise: Whether the reward is that variable, or else its negative.

    References:
        Forney, Pearl and Bareinboim (2017), Counterfactual data-fusion for online reinforcement
        learners, who weight the equations by inverse variances instead.

    Example:
        >>> agent = IntentFusion(
        ...     [{"X": 0}, {"X": 1}], context_levels={"X@natural": (0, 1)}, reward="Y"
        ... ).start(seed=0)
        >>> agent.observe({"X": np.repeat([0, 1], 200), "Y": np.repeat([0, 1, 1, 1], 100)})
        >>> agent.observe({"X": np.ones(400), "Y": np.tile([0, 1], 200)}, do=["X"])
        >>> agent.recommend({"X@natural": 0})  # X = 1 wins for all who want it, half of all: not 0
        0
    """

    name = "intent fusion"

    def _begin(self, runs: int) -> None:
        super()._begin(runs)
        shape = self._shape(runs)
        self.view_counts = np.zeros(shape[:2])
        self.tried = np.zeros((runs, len(self.arms), 2), dtype=np.int64)
        self._chances = np.full(shape, 0.5)
        self._weights = np.full(shape[:2], 1 / shape[1])
        self._centres = self.cells.means.copy()

    def _choose(self, observation: Any) -> Integers:
        if not self.tried.any():
            return super()._choose(observation)
        for _ in range(_SWEEPS):
            self._sweep()
        view = self._view(observation)
        drawn = self._rows_of(self._chances, view)
        if self.is_optimistic:
            drawn = np.maximum(drawn, self._rows_of(self._centres, view))
        return drawn.argmax(1)

    def _learn(self, transition: Transition) -> None:
        super()._learn(transition)
        self.view_counts[np.arange(self.runs or 1), self._view(transition.observation)] += 1

    def _read(self, log: Mapping[str, Any], do: tuple[str, ...]) -> None:
        if do and self.context_levels and not set(self.context_levels) & set(log):
            self._try(log, do)
            return
        super()._read(log, do)
        view = self._view(self._intents(self._columns(log), do))
        for number in range(self.num_views):
            self.view_counts[:, number] += (view == number).sum(-1)

    def _try(self, log: Any, do: tuple[str, ...]) -> None:
        """Read plays of anyone, whose intent is not known."""
        blind = BetaThompson(
            self.arms,
            reward=self.reward,
            reward_range=self.reward_range,
            maximise=self.maximise,
        )
        sums = blind.start(self.runs, seed=0)._sums(log, do)
        # rewards between 0 and 1 are parts of successes, which are whole in sum
        ones = np.round(sums.rewards[:, 0]).astype(np.int64)
        self.tried += np.stack([ones, sums.counts[:, 0].astype(np.int64) - ones], -1)
        for _ in range(_TO_AVERAGE):
            self._sweep()

    def _sweep(self) -> None:
        """Give the plays of anyone intents, and draw cells and weights."""
        for number, rng in enumerate(self._rngs):
            own = slice(number * self.block, (number + 1) * self.block)
            chances = np.clip(self._chances[own], _LEAST, 1 - _LEAST).swapaxes(1, 2)
            weights = self._weights[own, None]
            given = [weights * chances, weights * (1 - chances)]
            shares = np.stack([part / part.sum(-1, keepdims=True) for part in given], 2)
            ones, zeros = np.moveaxis(rng.multinomial(self.tried[own], shares), 2, 0)
            a = self.cells.successes[own] + 1 + ones.swapaxes(1, 2)
            b = self.cells.failures[own] + 1 + zeros.swapaxes(1, 2)
            self._chances[own], self._centres[own] = rng.beta(a, b), a / (a + b)
            heights = rng.standard_gamma(1 + self.view_counts[own] + (ones + zeros).sum(1))
            self._weights[own] = heights / heights.sum(1, keepdims=True)

    def _means(self) -> Array:
        if not self.tried.any():
            return super()._means()
        other = copy.copy(self)
        other._chances, other._weights, other._centres, other._rngs = copy.deepcopy(
            (self._chances, self._weights, self._centres, self._rngs)
        )
        total = np.zeros_like(self._centres)
        for _ in range(_TO_AVERAGE):
            other._sweep()
            total += other._centres
        return total / _TO_AVERAGE

    def state_dict(self) -> dict[str, Any]:
        """Return all that a continuation depends on, as a copy."""
        return {**super().state_dict(), **{name: getattr(self, name).copy() for name in _STATE}}

    def load_state_dict(self, state: Mapping[str, Any]) -> Self:
        """Return an agent that goes on from a state."""
        found = super().load_state_dict({k: v for k, v in state.items() if k not in _STATE})
        found.__dict__.update({name: np.array(state[name]) for name in _STATE})
        return found


_LEAST = 1e-12
