"""Episodes of several decisions: what is seen and what is set at each stage."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from causalppl.envs.arms import Arms
from causalppl.envs.settable import check_number
from causalppl.envs.shown import number_space
from causalppl.examples.sequential import Stage
from causalppl.exceptions import AssumptionError, QueryError
from causalppl.programs import SCM

__all__ = ["Plan", "Stage"]

STAGE = "stage"
"""The entry of an observation that counts the stages."""


class Plan:
    """The stages of an episode, read against a program.

    Args:
        scm: The model.
        stages: The stages, in order.
        outcome: The variable that is paid after the last stage; None: its own reward.

    Attributes:
        arms: What may be done at each stage.
        seen: Entry of the observation to variable, for each stage.
        rewards: The variable that is paid after each stage, or None.
        settable: The variables that each stage or a later one may set.
        keys: Entries of an observation, in order of appearance; ``"stage"`` is not among them.

    Raises:
        QueryError: There is no stage, stages differ in their number of arms, set the same variable
            or what they are paid for, or leave values open, or a variable is not observed.
        AssumptionError: What is seen or paid at a stage could still be changed later.
    """

    def __init__(self, scm: SCM, stages: Sequence[Stage], outcome: str | None) -> None:
        if not stages:
            raise QueryError("there are no stages; expected at least one Stage(...)")
        self.arms = tuple(Arms(scm, stage.arms) for stage in stages)
        self.seen = tuple(
            dict(s.seen) if isinstance(s.seen, Mapping) else {name: name for name in s.seen}
            for s in stages
        )
        last = outcome if outcome is not None else stages[-1].reward
        self.rewards = (*(stage.reward for stage in stages[:-1]), last)
        self.settable = tuple(
            frozenset(name for arms in self.arms[k:] for name in arms.names)
            for k in range(len(stages) + 1)
        )
        self.keys = tuple(dict.fromkeys(key for seen in self.seen for key in seen))
        self._check(scm)

    def __len__(self) -> int:
        return len(self.arms)

    @property
    def num_arms(self) -> int:
        """How many arms each stage has."""
        return len(self.arms[0])

    def revealed(self, stage: int) -> tuple[str, ...]:
        """List the variables whose values are known before acting at a stage, in order."""
        found: dict[str, None] = {}
        for k in range(stage + 1):
            if k and (paid := self.rewards[k - 1]):
                found[paid] = None
            found |= dict.fromkeys(self.seen[k].values())
        return tuple(found)

    def space(self, levels: Mapping[str, NDArray[Any]]) -> spaces.Dict:
        """Return the space of observations.

        Args:
            levels: Variable to its values, where they are finitely many integers.
        """
        found: dict[str, spaces.Space[Any]] = {STAGE: spaces.Discrete(len(self) + 1)}
        for key in self.keys:
            known = self._levels(key, levels)
            if known is None:
                found[key] = spaces.Box(-np.inf, np.inf, (), np.float64)
                continue
            low, high = int(known.min()), int(known.max())
            found[key] = number_space(np.arange(low - 1, high + 1))
        return spaces.Dict(found)

    def unseen(self, levels: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return what stands for what was not seen yet: the smallest value less one, or zero."""
        found = {}
        for key in self.keys:
            known = self._levels(key, levels)
            found[key] = np.array(0.0 if known is None else int(known.min()) - 1)
        return found

    def _levels(self, key: str, levels: Mapping[str, NDArray[Any]]) -> NDArray[np.int64] | None:
        names = [seen[key] for seen in self.seen if key in seen]
        if not all(name in levels for name in names):
            return None
        return np.unique(np.concatenate([levels[name] for name in names]))

    def _check(self, scm: SCM) -> None:
        named = [n for seen in self.seen for n in seen.values()] + [r for r in self.rewards if r]
        if unknown := sorted(set(named) - set(scm.observed)):
            raise QueryError(
                f"{', '.join(unknown)} is seen or paid, but is not an observed site; the program "
                f"observes {', '.join(scm.observed)}"
            )
        for name in named:
            check_number(scm, name)
        if self.rewards[-1] is None:
            raise QueryError("nothing is paid after the last stage; give outcome, or its reward")
        if STAGE in self.keys:
            raise QueryError(f"an entry is named {STAGE!r}, which counts the stages; rename it")
        if len({len(arms) for arms in self.arms}) > 1 or any(a.open for a in self.arms):
            raise QueryError("stages differ in their number of arms, or leave values open")
        names = [name for arms in self.arms for name in arms.names]
        if len(set(names)) < len(names):
            raise QueryError("a variable is set at two stages; expected one stage for each")
        for arms, paid in zip(self.arms, self.rewards, strict=True):
            if paid in arms.names:
                raise QueryError(
                    f"{paid} is paid at the stage that sets it; expected arms that set its causes"
                )
        for k, seen in enumerate(self.seen):
            self._check_fixed(scm, seen.values(), k, "seen")
        for k, paid in enumerate(self.rewards):
            self._check_fixed(scm, [paid] if paid else [], k + 1, "paid")

    def _check_fixed(self, scm: SCM, names: Any, stage: int, what: str) -> None:
        for name in names:
            if causes := scm.diagram.ancestors({name}) & self.settable[stage]:
                raise AssumptionError(
                    f"{name} is {what} at a stage after which {', '.join(sorted(causes))} may be "
                    "set and changes it; expected what later actions do not reach"
                )
