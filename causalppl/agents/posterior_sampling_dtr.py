"""Posterior sampling for dynamic treatment regimes: draw all laws, follow the best regime."""

from typing import Any, ClassVar

import numpy as np

from causalppl.agents.agent import Array
from causalppl.agents.dtr_model import DTRModel
from causalppl.agents.episodes import EpisodeAgent
from causalppl.exceptions import DataError

__all__ = ["PosteriorSamplingDTR"]

_TINY = 1e-300


class PosteriorSamplingDTR(EpisodeAgent):
    """Draws the laws of all stages from their posterior, and follows the regime that is best there.

    Outcomes have Dirichlet posteriors and mean rewards Beta ones, independent over histories and
    arms, except that what the diagram says to be one law is learned as one. One draw is made for
    each episode. Logs are counted where the diagram identifies a law
    from them. Elsewhere they bound it, and draws outside the bounds are moved to the nearest law
    within: what a confounded log cannot tell stays open, and so is tried.

    The prior is that of Jeffreys: on fresh random regimes it lost as little as the uniform one, and
    less where laws are nearly certain or outcomes many.

    Args:
        model: The stages.
        concentration: Of the Dirichlet prior of outcomes, each.
        reward_prior: The two parameters of the Beta prior of mean rewards, in scaled rewards.
        log_error: The chance that any bound from a log is wrong, by its sampling error.

    Raises:
        DataError: A parameter of the prior is not positive.

    References:
        Osband, Russo and Van Roy (2013), (More) efficient reinforcement learning via posterior
        sampling; Zhang and Bareinboim (2019), Near-optimal reinforcement learning in dynamic
        treatment regimes, for the bounds.

    Example:
        >>> from causalppl.envs import make_env
        >>> env = make_env("TwoStageDTR")
        >>> agent = PosteriorSamplingDTR(DTRModel.for_env(env)).start(seed=0)
        >>> agent.observe(env.logs(1000, seed=0))
        >>> agent.act(env.reset(seed=0)[0]) in (0, 1)
        True
    """

    name = "posterior sampling"
    block: ClassVar[int] = 16

    def __init__(
        self,
        model: DTRModel,
        *,
        concentration: float = 0.5,
        reward_prior: tuple[float, float] = (0.5, 0.5),
        log_error: float = 0.05,
    ) -> None:
        super().__init__(model, log_error=log_error)
        self._num_actions, self._task = model.num_arms, str(model)
        if min(concentration, *reward_prior) <= 0:
            raise DataError(
                f"the prior is {concentration:g} and {reward_prior}; expected positive parameters"
            )
        self.concentration, self.reward_prior = concentration, reward_prior

    def _plan(self) -> list[Array]:
        laws = [self._draw_laws(stage) for stage in range(len(self.model) - 1)]
        rewards = [self._draw_rewards(stage) for stage in range(len(self.model))]
        return self._values(laws, rewards)

    def _mean_laws(self) -> tuple[list[Array], list[Array]]:
        laws, rewards = [], []
        for stage, paid in enumerate(self.model.pays):
            if stage < len(self.model) - 1:
                counts = self.outcomes[stage] + self.concentration
                laws.append(self._law_within(stage, counts / counts.sum(-1, keepdims=True)))
            hits, misses = self._reward_shapes(stage)
            mean = hits / (hits + misses) * paid
            rewards.append(self._reward_within(stage, mean) if paid else mean)
        return laws, rewards

    def _draw_laws(self, stage: int) -> Array:
        drawn = self._gammas(self.outcomes[stage] + self.concentration) + _TINY
        return self._law_within(stage, drawn / drawn.sum(-1, keepdims=True))

    def _draw_rewards(self, stage: int) -> Array:
        if not self.model.pays[stage]:
            return np.zeros_like(self.gains[stage])
        hits, misses = self._gammas(np.stack(self._reward_shapes(stage), 1)).swapaxes(0, 1) + _TINY
        return self._reward_within(stage, hits / (hits + misses))

    def _reward_shapes(self, stage: int) -> tuple[Array, Array]:
        gains, pulls = self.gains[stage], self.pulls[stage]
        return gains + self.reward_prior[0], pulls - gains + self.reward_prior[1]

    def _law_within(self, stage: int, laws: Array) -> Array:
        return moved_within(laws, *self.bounds[stage].outcomes) if self.bounds else laws

    def _reward_within(self, stage: int, means: Array) -> Array:
        return means.clip(*self.bounds[stage].rewards) if self.bounds else means

    def _gammas(self, shapes: Array) -> Array:
        """Draw gamma variables, each group of runs from its own stream."""
        groups = np.array_split(shapes, range(self.block, len(shapes), self.block))
        drawn: Any = [
            rng.standard_gamma(group) for rng, group in zip(self._rngs, groups, strict=True)
        ]
        return np.concatenate(drawn)


def moved_within(laws: Array, low: Array, high: Array) -> Array:
    """Move laws into bounds: clip, and share out what is then too much or too little.

    Args:
        laws: Probabilities along the last axis.
        low: Lower bounds, which add up to at most one.
        high: Upper bounds, which add up to at least one.

    Example:
        >>> low, high = np.array([0.3, 0.0, 0.0]), np.array([1.0, 1.0, 0.2])
        >>> moved_within(np.array([0.1, 0.5, 0.4]), low, high)
        array([0.3, 0.5, 0.2])
    """
    found = laws.clip(low, high)
    missing = 1 - found.sum(-1, keepdims=True)
    room = np.where(missing > 0, high - found, found - low)
    total = room.sum(-1, keepdims=True)
    return np.asarray(found + missing * room / np.maximum(total, _TINY))
