"""Many units at once, on their way through the stages together."""

from typing import Any

import numpy as np

from causalppl.envs.batch import BatchEnv
from causalppl.envs.sequential import Episodes, SequentialSCMEnv
from causalppl.envs.streams import Stream

__all__ = ["SequentialVectorEnv"]


class SequentialVectorEnv(BatchEnv[SequentialSCMEnv]):
    """Many copies of a `SequentialSCMEnv` as one, all at the same stage.

    After the last stage the next units begin in the same step (``AutoresetMode.SAME_STEP``); what
    had been seen of those that ended is ``info["final_obs"]``.

    Args:
        env: The environment.
        num_envs: How many copies.

    Raises:
        DataError: ``num_envs`` is below 1.

    Example:
        >>> from causalppl.examples import two_stage_dtr
        >>> trial = two_stage_dtr()
        >>> env = SequentialSCMEnv(trial.scm, trial.stages, "Y")
        >>> envs = env.vector(1000)
        >>> seen, _ = envs.reset(seed=0)
        >>> seen, *_ = envs.step(env.oracle.best_action(seen))
        >>> _, rewards, ended, *_ = envs.step(env.oracle.best_action(seen))
        >>> float(rewards.mean().round(2)), bool(ended.all())
        (0.73, True)
    """

    _episodes: Episodes

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Act on all units; after the last stage the next ones begin.

        Raises:
            AssumptionError: `reset` was never called.
            DataError: An action is none of the arms, their number is not that of environments, or
                a reward is outside its range.
        """
        stream = self._started(actions)
        rewards, values = self._episodes.act(actions)
        seen, has_ended = self._episodes.observation(), self._episodes.has_ended
        ended = np.full(self.num_envs, has_ended)
        info = self._ended(values, seen) if has_ended else {"values": values}
        if has_ended:
            seen = self._begin(stream)
        return seen, rewards, ended, np.zeros(self.num_envs, dtype=bool), info

    def _begin(self, stream: Stream) -> Any:
        self._episodes = self.env.begin(self.num_envs, stream)
        return self._episodes.observation()
