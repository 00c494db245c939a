"""Many units at once: a vector environment whose step is one vectorised draw."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalppl.envs.batch import BatchEnv
from causalppl.envs.scm_env import SCMEnv
from causalppl.envs.streams import Stream

__all__ = ["SCMVectorEnv"]


class SCMVectorEnv(BatchEnv[SCMEnv]):
    """Many copies of an `SCMEnv` as one; each step ends each episode and begins the next.

    ``step`` returns the observations of the next units (``AutoresetMode.SAME_STEP``). Its info
    holds the values of the observed variables, ``info["values"][name]`` of shape ``(num_envs,)``,
    also as ``info["final_info"]["values"]``, and what had been seen of the units that ended as
    ``info["final_obs"]``, in the form of the observation space.

    Args:
        env: The environment.
        num_envs: How many copies.

    Raises:
        DataError: ``num_envs`` is below 1.

    Example:
        >>> from causalppl.examples import scm_mab_task_2
        >>> problem = scm_mab_task_2()
        >>> envs = SCMEnv(problem.scm, problem.arms("POMIS"), problem.reward).vector(1000)
        >>> _ = envs.reset(seed=0)
        >>> _, rewards, _, _, info = envs.step(np.zeros(1000, dtype=np.int64))
        >>> float(rewards.mean().round(1)), info["values"]["Z"].max()
        (0.8, np.int64(0))
    """

    def __init__(self, env: SCMEnv, num_envs: int) -> None:
        super().__init__(env, num_envs)
        self._begun: Any = None
        self._seen: dict[str, NDArray[Any]] = {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Act on all units, and begin the next ones.

        Raises:
            AssumptionError: `reset` was never called.
            DataError: An action is not in its space, their number is not that of environments, or
                a reward is outside its range.
        """
        stream = self._started(actions)
        values = self.env.units.finish(self._begun, actions, stream)
        rewards = self.env.pay.rewards(values[self.env.outcome])
        info = self._ended(values, self.env.shown.observation(self._seen, self.num_envs))
        ended = np.ones(self.num_envs, dtype=bool)
        return self._begin(stream), rewards, ended, ~ended, info

    def _begin(self, stream: Stream) -> Any:
        self._begun, self._seen = self.env.units.begin(self.num_envs, stream)
        shown = {key: column.copy() for key, column in self._seen.items()}
        return self.env.shown.observation(shown, self.num_envs)
