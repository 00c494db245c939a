"""Counts, sums and sums of squares of rewards, for each arm in each view."""

from typing import ClassVar

import numpy as np

from causalppl.agents.agent import Array, Transition
from causalppl.agents.arm_rewards import LogSums, PerArm

__all__ = ["RewardMoments"]


class RewardMoments(PerArm):
    """One who keeps counts, sums and sums of squares of rewards."""

    _state: ClassVar[tuple[str, ...]] = ("counts", "sums", "squares")

    def _begin(self, runs: int) -> None:
        self.counts, self.sums, self.squares = (np.zeros(self._shape(runs)) for _ in range(3))

    def _learn(self, transition: Transition) -> None:
        arm = np.asarray(transition.action, dtype=np.int64)
        place = (np.arange(self.runs or 1), self._view(transition.observation), arm)
        reward = self._measured(transition.reward)
        self.counts[place] += 1
        self.sums[place] += reward
        self.squares[place] += reward**2

    def _absorb(self, sums: LogSums) -> None:
        self.counts += sums.counts
        self.sums += sums.rewards
        self.squares += sums.squares

    def _means(self) -> Array:
        return self.sums / np.maximum(self.counts, 1)
