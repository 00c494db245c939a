"""What vector environments share: spaces, and where their chance comes from."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from causalppl.envs.arms import number_array
from causalppl.envs.by_value import ByValue
from causalppl.envs.streams import OneStream, Stream, UnitStreams
from causalppl.estimation.settings import check_count
from causalppl.exceptions import AssumptionError, DataError
from causalppl.seeding import checked_seed

__all__ = ["BatchEnv"]

Single = TypeVar("Single", bound=Any)


class BatchEnv(ByValue, VectorEnv[Any, Any, Any], Generic[Single]):
    """Many copies of an environment as one.

    Args:
        env: The environment.
        num_envs: How many copies.

    Raises:
        DataError: ``num_envs`` is no whole number from 1.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - Gymnasium's name
        "render_modes": [],
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(self, env: Single, num_envs: int) -> None:
        check_count("num_envs", num_envs, 1, 64)
        self.env, self.num_envs = env, num_envs
        self.single_action_space = env.action_space
        self.single_observation_space = env.observation_space
        self.action_space = batch_space(env.action_space, num_envs)
        self.observation_space = batch_space(env.observation_space, num_envs)
        self._stream: Stream | None = None
        self._model_number = env.model_number

    @property
    def has_streams(self) -> bool:
        """Whether ``reset`` takes one seed for each environment.

        So it is for finite programs, and for those in which each site holds one number whose
        distribution function can be inverted (normal, uniform, logistic, Bernoulli, categorical
        and others, but not gamma or Poisson).
        """
        return bool(self.env.has_streams)

    @property
    def oracle(self) -> Any:
        """The truth, for evaluation only."""
        return self.env.oracle

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Draw units.

        Args:
            seed: One seed for the whole batch; or one for each environment, whose units then
                depend on its own seed only: they are those of ``env.reset(seed=...)`` followed by
                steps and resets of the single environment. None among these lets that environment
                go on with its own chance, or begin with fresh one.
            options: Not used.

        Raises:
            AssumptionError: Several seeds are given, and some site of the program can only be
                drawn for all units at once (see ``has_streams``).
            DataError: The number of seeds is not that of environments, or one is no seed.
        """
        if seed is None or isinstance(seed, int | np.integer):
            super().reset(seed=None if seed is None else int(seed))
            if seed is not None or self._stream is None:
                self._stream = OneStream(self.np_random, self.num_envs)
        else:
            self._stream = self._unit_streams(seed)
        self._model_number = self.env.model_number
        return self._begin(self._stream), {}

    @abstractmethod
    def _begin(self, stream: Stream) -> Any:
        """Draw units, and return what is seen of them."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.env!r}, {self.num_envs})"

    def _started(self, actions: Any) -> Stream:
        """Return the stream, and check that there is one action for each unit.

        Raises:
            AssumptionError: `reset` was never called, or the environment was given another model
                since.
            DataError: The number of actions is not that of environments.
        """
        if self._stream is None:
            raise AssumptionError("step was called before reset; call reset once")
        if self.env.model_number != self._model_number:
            raise AssumptionError("the model was changed since the units began; call reset")
        for column in actions.values() if isinstance(actions, Mapping) else [actions]:
            if (shape := number_array(column).shape) != (self.num_envs,):
                raise DataError(
                    f"actions have shape {shape}; expected ({self.num_envs},), one for each unit"
                )
        return self._stream

    def _ended(self, values: Mapping[str, Any], seen: Any) -> dict[str, Any]:
        """Return the info of a step that ends all episodes: values, and what had been seen."""
        ended = np.ones(self.num_envs, dtype=bool)
        return {
            "values": values,
            "final_obs": seen,
            "_final_obs": ended,
            "final_info": {"values": values},
            "_final_info": ended,
        }

    def _unit_streams(self, seeds: Sequence[int | None]) -> UnitStreams:
        if not self.has_streams:
            raise AssumptionError(
                f"{len(seeds)} seeds were given, but some site of this program cannot be drawn "
                "from a stream for each unit: expected one seed for the batch (see has_streams)"
            )
        if len(seeds) != self.num_envs:
            raise DataError(f"{len(seeds)} seeds were given; expected {self.num_envs}, or one")
        checked = [None if seed is None else checked_seed(seed) for seed in seeds]
        if isinstance(self._stream, UnitStreams):
            return self._stream.reseeded(checked)
        return UnitStreams([checked_seed(seed) for seed in checked])
