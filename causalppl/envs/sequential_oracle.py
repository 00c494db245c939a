"""The truth of an environment of several stages, by backward induction."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalppl.envs.arms import arm_numbers
from causalppl.envs.oracle import Oracle
from causalppl.envs.stages import STAGE
from causalppl.envs.views import Views
from causalppl.exceptions import AssumptionError

__all__ = ["SequentialOracle", "StageLaw"]


@dataclass(frozen=True, eq=False)
class StageLaw:
    """What can be seen before acting at a stage, and what acting leads to.

    Attributes:
        views: Key of an observation to its values, shape ``(views,)``.
        source: ``view * arms + arm`` of each edge, shape ``(edges,)``.
        target: The view of the next stage that each leads to; any at the last stage.
        weights: Probability of each given ``source``.
        rewards: Mean reward on each.

    Example:
        >>> import numpy as np
        >>> pays = StageLaw({}, np.array([0, 1]), np.array([0, 0]), np.ones(2), np.array([0, 1]))
        >>> SequentialOracle(np.ones(1), [pays], num_arms=2).best
        1.0
    """

    views: Mapping[str, NDArray[Any]]
    source: NDArray[np.int64]
    target: NDArray[np.int64]
    weights: NDArray[np.float64]
    rewards: NDArray[np.float64]


class SequentialOracle(Oracle):
    """The truth of an environment whose observations say all that matters for what is to come.

    Args:
        first: Probability of each view of the first stage, shape ``(views,)``.
        stage_laws: One for each stage.
        num_arms: How many arms each stage has.

    Attributes:
        views: For each stage what can be seen before acting, by name, shape ``(views,)`` each.
        q: For each stage the mean of the rewards still to come, shape ``(views, arms)``, if the
            best policy follows; its rows are in the order of ``views``.

    Example:
        >>> from causalppl.envs import make_env
        >>> oracle = make_env("TwoStageDTR").oracle
        >>> round(oracle.best, 5), round(oracle.value(lambda seen: seen["S1"]), 5)
        (0.72508, 0.5)
    """

    def __init__(
        self, first: NDArray[np.float64], stage_laws: Sequence[StageLaw], num_arms: int
    ) -> None:
        self._first, self._stage_laws, self._num_arms = first, tuple(stage_laws), num_arms
        self._views = [Views(each.views) for each in stage_laws]
        self.views = tuple(found.columns for found in self._views)
        self.q: list[NDArray[np.float64]] = []
        after = self._ended = np.zeros(int(stage_laws[-1].target.max()) + 1)
        for each in reversed(self._stage_laws):
            self.q.insert(0, self._backed_up(each, after))
            after = self.q[0].max(1)
        self._best = float(first @ after)
        self._lost = [q.max(1, keepdims=True) - q for q in self.q]

    @property
    def best(self) -> float:
        """Mean sum of rewards of the best policy."""
        return self._best

    @property
    def means(self) -> NDArray[np.float64]:
        """Mean sum of rewards by first view and first arm, if the best policy follows."""
        return self.q[0]

    def mean(self, action: Any) -> Any:
        """Compute the mean sum of rewards of always taking the same arm; batches too."""
        arms = arm_numbers(action, self._num_arms)
        found = [self.value(_constant(int(arm))) for arm in arms.reshape(-1)]
        return np.array(found) if np.ndim(action) else found[0]

    def value(self, policy: Callable[[dict[str, Any]], Any]) -> float:
        """Compute the mean sum of rewards of a policy exactly.

        Args:
            policy: From a batch of observations (``"stage"`` and what was seen, ``(n,)`` each) to
                arms, ``(n,)``.
        """
        after = self._ended
        for stage in reversed(range(len(self.q))):
            each = self._stage_laws[stage]
            table = self._backed_up(each, after)
            observation = {STAGE: np.full(len(table), stage), **each.views}
            arms = arm_numbers(policy(observation), self._num_arms)
            after = table[np.arange(len(table)), arms]
        return float(self._first @ after)

    def best_action(self, observation: Any = None) -> Any:
        """Find the best arm for an observation, or for each of a batch."""
        return self._look_up([q.argmax(1) for q in self.q], observation)

    def regret(self, observation: Any, action: Any) -> Any:
        """Compute what an arm loses against the best one, if the best policy follows.

        Over an episode the mean of the sum is the best policy's value less that of the policy
        that was followed.
        """
        return self._look_up(self._lost, observation, arm_numbers(action, self._num_arms))

    def _backed_up(self, each: StageLaw, after: NDArray[np.float64]) -> NDArray[np.float64]:
        gains: NDArray[np.float64] = each.weights * (each.rewards + after[each.target])
        size = (int(each.source.max()) // self._num_arms + 1) * self._num_arms
        sums: Any = np.bincount(each.source, gains, size)
        found: NDArray[np.float64] = sums.reshape(-1, self._num_arms)
        return found

    def _look_up(
        self, tables: list[Any], observation: Any, arms: NDArray[np.int64] | None = None
    ) -> Any:
        """Read a table of each observation's stage, at its view and the arm, if one is given."""
        if not isinstance(observation, Mapping) or STAGE not in observation:
            raise AssumptionError(
                f"what is best depends on the stage; expected an observation with the entry "
                f"{STAGE!r}, found {observation!r}"
            )
        batch = {key: np.atleast_1d(value) for key, value in observation.items()}
        stages = batch[STAGE]
        chosen = None if arms is None else np.broadcast_to(arms, stages.shape)
        found = np.zeros(stages.shape, dtype=tables[0].dtype)
        for stage in np.unique(stages):
            rows = stages == stage
            view = self._views[stage].number({k: v[rows] for k, v in batch.items()})
            table = tables[stage]
            found[rows] = table[view] if chosen is None else table[view, chosen[rows]]
        return found if np.ndim(observation[STAGE]) else found[0].item()


def _constant(arm: int) -> Callable[[dict[str, Any]], Any]:
    return lambda observation: np.full(len(observation[STAGE]), arm)
