"""Upper confidence bounds from the Kullback-Leibler divergence between coins."""

from typing import Any

import numpy as np

from causalppl.agents.agent import Array, Integers
from causalppl.agents.reward_moments import RewardMoments

__all__ = ["KLUCB", "bernoulli_bound"]


class KLUCB(RewardMoments):
    """Plays the arm whose mean could be largest, within a divergence that grows like ``log t``.

    Each arm is played once, and then the one with the largest bound; of equals, the first. Steps
    are counted for each view of its own.

    Args:
        arms: What may be set, to which values.
        context_levels: What is seen before acting, and the values that it takes.
        reward: The variable that makes the reward; needed to read logs only.
        reward_range: Smallest and largest reward; any reward between counts as a part of a
            success.
        maximise: Whether the reward is that variable, or else its negative.

    Raises:
        QueryError: There are no arms.
        DataError: The range of rewards is empty.

    References:
        Garivier and Cappé (2011), The KL-UCB algorithm for bounded stochastic bandits and beyond;
        with ``f(t) = log t + 3 log log t``, as in Lee and Bareinboim (2018).

    Example:
        >>> from causalppl.agents import Transition
        >>> agent = KLUCB([{"X": 0}, {"X": 1}]).start(seed=0)
        >>> for _ in range(6):
        ...     arm = agent.act()
        ...     agent.update(Transition(action=arm, reward=float(arm == 1)))
        >>> agent.recommend()
        1
    """

    name = "kl-UCB"

    def _choose(self, observation: Any) -> Integers:
        view = self._view(observation)
        counts, sums = self._rows_of(self.counts, view), self._rows_of(self.sums, view)
        steps = np.log(np.maximum(counts.sum(1, keepdims=True), 1.0))
        allowed = np.maximum(steps + 3 * np.log(np.maximum(steps, _LEAST)), 0.0)
        tried = np.maximum(counts, 1)
        bounds = bernoulli_bound(np.minimum(sums / tried, 1.0), allowed / tried)
        return np.where(counts > 0, bounds, np.inf).argmax(1)


def bernoulli_bound(mean: Array, divergence: Array) -> Array:
    """Find the largest chance that is within a divergence of a mean.

    It solves ``mean log(mean / q) + (1 - mean) log((1 - mean) / (1 - q)) = divergence`` for ``q``
    by Newton's method in ``-log(1 - q)``, in which the left side is convex, from above: so that
    each step comes closer and none goes too far.

    Args:
        mean: Between 0 and 1.
        divergence: In nats, at least 0; the same shape.

    Example:
        >>> bernoulli_bound(np.array([0.0, 0.5]), np.array([0.5, 0.02])).round(4)
        array([0.3935, 0.599 ])
    """
    failing = np.maximum(1 - mean, _LEAST)
    own = -mean * np.log(np.maximum(mean, _LEAST)) - failing * np.log(failing)
    floor = -np.log(failing)
    pinsker = -np.log(np.maximum(1 - mean - np.sqrt(divergence / 2), _LEAST))
    # both lie above the root: the divergence is at least 2 (q - mean)^2, and log q at most 0
    point = np.minimum((divergence + own) / failing, pinsker)
    for _ in range(_NEWTON_STEPS):
        rest = np.maximum(-np.expm1(-point), _LEAST)
        value = failing * point - mean * np.log(rest) - own - divergence
        slope = failing - mean * (1 - rest) / rest
        step = np.where((value > 0) & (slope > 0), value / np.maximum(slope, _LEAST), 0.0)
        point = np.maximum(point - step, floor)
    return np.where(mean < 1, -np.expm1(-point), 1.0)


_LEAST = 1e-300
_NEWTON_STEPS = 12
