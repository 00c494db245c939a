"""What environments of one unit at a time share: their model, their pay, how they are pickled."""

from typing import Any

import gymnasium
import numpy as np

from causalppl.envs.by_value import ByValue
from causalppl.envs.pay import Pay
from causalppl.graphs import ADMG
from causalppl.programs import SCM

__all__ = ["UnitEnv"]


class UnitEnv(ByValue, gymnasium.Env[Any, Any]):
    """An environment that runs a model, one unit in each episode.

    Attributes:
        scm: The model.
        pay: How rewards are made.
        units: Where units come from.
        model_number: How many models were put in place before the present one.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - Gymnasium's name
    scm: SCM
    pay: Pay
    units: Any
    model_number = -1

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin anew; a seed of numpy is as good as one of Python."""
        return super().reset(seed=int(seed) if isinstance(seed, np.integer) else seed)

    @property
    def graph(self) -> ADMG:
        """The causal diagram over the observed variables."""
        return self.scm.graph

    @property
    def reward_range(self) -> tuple[float, float]:
        """Smallest and largest reward of a step."""
        return self.pay.low, self.pay.high

    @property
    def has_streams(self) -> bool:
        """Whether a batch may have one random stream for each of its environments."""
        return bool(self.units.has_streams)
