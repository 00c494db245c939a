"""Optimism in dynamic treatment regimes, within causal bounds where logs give them."""

import numpy as np
from numpy.typing import NDArray

from causalppl.agents.agent import Array
from causalppl.agents.backward_induction import next_values
from causalppl.agents.dtr_model import DTRModel
from causalppl.agents.episodes import EpisodeAgent
from causalppl.exceptions import DataError

__all__ = ["UCDTR", "best_in_ball", "best_in_box"]


class UCDTR(EpisodeAgent):
    """Follows the regime that would be best in the best model that the data leave plausible.

    Plausible are all laws of outcomes in a ball of total variation around what was counted, and
    all mean rewards in an interval. A confounded log that was observed narrows both to its causal
    bounds, which makes this UC^c-DTR: a value is the smaller of the best within the ball and the
    best within the bounds, so never less than the best within both.

    Args:
        model: The stages.
        error: The chance that the truth is ever implausible.
        log_error: The chance that any bound from a log is wrong.

    Raises:
        DataError: ``error`` is not between 0 and 1.

    References:
        Zhang and Bareinboim (2019), Near-optimal reinforcement learning in dynamic treatment
        regimes, algorithm 1 and its causal variant.

    Example:
        >>> from causalppl.envs import make_env
        >>> env = make_env("TwoStageDTR")
        >>> agent = UCDTR(DTRModel.for_env(env)).start(seed=0)
        >>> agent.observe(env.logs(1000, seed=0))
        >>> agent.act(env.reset(seed=0)[0]) in (0, 1)
        True
    """

    name = "UC-DTR"

    def __init__(self, model: DTRModel, *, error: float = 0.05, log_error: float = 0.05) -> None:
        super().__init__(model, log_error=log_error)
        self._num_actions, self._task = model.num_arms, str(model)
        if not 0 < error < 1:
            raise DataError(f"error is {error:g}; expected a chance between 0 and 1, such as .05")
        self.error = error

    def _plan(self) -> list[Array]:
        last = len(self.model) - 1
        found = [self._rewards(last)]
        for stage in reversed(range(last)):
            after = next_values(self.model, stage, found[0])
            found.insert(0, self._rewards(stage) + self._future(stage, after))
        return found

    def _rewards(self, stage: int) -> Array:
        pulls = self.pulls[stage]
        if not self.model.pays[stage]:
            return np.zeros_like(pulls)[:, self.model.reward_cells[stage]]
        trials = pulls.clip(1)
        means = (self.gains[stage] / trials + np.sqrt(2 * self._level() / trials)).clip(0, 1)
        if self.bounds:
            means = np.minimum(means, self.bounds[stage].rewards[1])
        return means[:, self.model.reward_cells[stage]]

    def _future(self, stage: int, after: Array) -> Array:
        cells, counts = self.model.outcome_cells[stage], self.outcomes[stage]
        trials = counts.sum(-1)
        laws = (
            np.where(trials[..., None] > 0, counts, 1)
            / np.where(trials > 0, trials, counts.shape[-1])[..., None]
        )
        radius = np.sqrt(6 * counts.shape[-1] * self._level() / trials.clip(1))
        found = best_in_ball(after, laws[:, cells], radius[:, cells])
        if not self.bounds:
            return found
        low, high = self.bounds[stage].outcomes
        return np.minimum(found, best_in_box(after, low[:, cells], high[:, cells]))

    def _level(self) -> float:
        """The logarithm in the paper's radii, at this episode."""
        pairs = max(self.model.num_states) * self.model.num_arms
        return float(np.log(2 * len(self.model) * pairs * max(self.episode, 1) / self.error))

    def _mean_laws(self) -> tuple[list[Array], list[Array]]:
        laws = [each / each.sum(-1, keepdims=True).clip(1) for each in self.outcomes[:-1]]
        rewards = [g / p.clip(1) for g, p in zip(self.gains, self.pulls, strict=True)]
        return laws, rewards


def best_in_ball(values: Array, laws: Array, radius: Array) -> Array:
    """Maximise a mean over all laws near some, in the sum of absolute differences.

    Args:
        values: What each outcome is worth, shape ``(..., outcomes)``.
        laws: The centres, shape ``(..., outcomes)``.
        radius: Shape ``(...)``.

    References:
        Jaksch, Ortner and Auer (2010), figure 2.

    Example:
        >>> best_in_ball(np.array([0.0, 1.0]), np.array([0.7, 0.3]), np.array(0.2)).round(6)
        np.float64(0.4)
    """
    order = np.argsort(-values, -1)
    values, found = _ordered(values, order), _ordered(np.broadcast_to(laws, values.shape), order)
    found[..., 0] = np.minimum(found[..., 0] + radius / 2, 1)
    # what is too much is taken from the worst outcomes
    reverse = found[..., ::-1]
    excess = found.sum(-1, keepdims=True) - 1
    taken = (excess - (reverse.cumsum(-1) - reverse)).clip(0, reverse)
    return np.asarray(((reverse - taken) * values[..., ::-1]).sum(-1))


def best_in_box(values: Array, low: Array, high: Array) -> Array:
    """Maximise a mean over all laws within bounds.

    Args:
        values: What each outcome is worth, shape ``(..., outcomes)``.
        low: Lower bounds, which add up to at most one.
        high: Upper bounds, which add up to at least one.

    Example:
        >>> best_in_box(np.array([0.0, 1.0]), np.array([0.2, 0.1]), np.array([0.9, 0.6])).round(6)
        np.float64(0.6)
    """
    order = np.argsort(-values, -1)
    values = _ordered(values, order)
    low = _ordered(np.broadcast_to(low, values.shape), order)
    room = _ordered(np.broadcast_to(high, values.shape), order) - low
    left = 1 - low.sum(-1, keepdims=True) - (room.cumsum(-1) - room)
    return np.asarray(((low + left.clip(0, room)) * values).sum(-1))


def _ordered(values: Array, order: NDArray[np.intp]) -> Array:
    return np.asarray(np.take_along_axis(values, order, -1))
