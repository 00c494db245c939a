"""Whether what an agent is told of an action can be: made once, at the door of `update`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from causalppl.agents.agent import Arm, Array, Integers
from causalppl.exceptions import DataError

__all__ = ["ArmCheck"]

_SLACK = 1e-5


class ArmCheck:
    """Holds transitions against a model: arms set what they say, and the reward is its variable.

    Args:
        arms: Variable to value, one mapping for each arm.
        reward: The variable that makes the reward.
        sign: 1, or -1 where the reward is its negative.

    Example:
        >>> check = ArmCheck([{"X": 0.0}, {"X": 1.0}], "Y", 1.0)
        >>> check(np.array([1]), np.array([2.0]), {"X": np.array([1.0]), "Y": np.array([2.0])})
    """

    def __init__(self, arms: Sequence[Arm], reward: str, sign: float) -> None:
        self.reward, self.sign = reward, sign
        names = dict.fromkeys(name for arm in arms for name in arm)
        self._set = {n: np.array([float(arm.get(n, np.nan)) for arm in arms]) for n in names}

    def __call__(self, arms: Integers, rewards: Any, values: Mapping[str, Array]) -> None:
        """Compare one transition of each run.

        Args:
            arms: What was done, shape ``(runs,)``.
            rewards: What it earned, shape ``(runs,)``.
            values: The variables afterwards, shape ``(runs,)`` each.

        Raises:
            DataError: A variable has not the value to which the arm sets it, or the reward is not
                that of its variable.
        """
        for name, table in self._set.items():
            expected = table[arms]
            self._compare(name, values[name], expected, "which the arm sets to")
        earned = np.asarray(rewards, dtype=np.float64)
        said = f"which is {'the negative of ' if self.sign < 0 else ''}{self.reward}"
        self._compare("the reward", earned, self.sign * values[self.reward], said)

    def _compare(self, what: str, found: Array, expected: Array, said: str) -> None:
        # where an arm leaves a variable to nature nothing is expected of it
        is_off = ~(np.abs(found - expected) <= _SLACK * (1 + np.abs(expected)))
        is_off &= ~np.isnan(expected)
        if is_off.any():
            at = int(is_off.argmax())
            raise DataError(
                f"{what} is {found[at]:g}; expected {expected[at]:g}, {said}; check that actions, "
                "rewards and values are of the same step and in the units of the model"
            )
