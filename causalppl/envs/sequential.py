"""Environments of several decisions: one unit is one episode."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from causalppl.data import Table
from causalppl.envs.arms import Arms
from causalppl.envs.enumeration import fits_table
from causalppl.envs.oracle import Oracle
from causalppl.envs.pay import Pay
from causalppl.envs.regimes import observed_units
from causalppl.envs.sequential_oracle import SequentialOracle, StageLaw
from causalppl.envs.sequential_tree import TreeUnits, count_tree, tree_laws
from causalppl.envs.sequential_units import SequentialProgramUnits, SequentialUnits
from causalppl.envs.shown import one_unit
from causalppl.envs.stages import STAGE, Plan, Stage
from causalppl.envs.streams import OneStream, Stream
from causalppl.envs.unit_env import UnitEnv
from causalppl.estimation.program_law import check_parameters
from causalppl.exceptions import AssumptionError
from causalppl.programs import SCM

if TYPE_CHECKING:
    from causalppl.envs.sequential_vector import SequentialVectorEnv

__all__ = ["Episodes", "SequentialSCMEnv"]


class SequentialSCMEnv(UnitEnv):
    """An SCM in which an agent acts at several stages of the same unit.

    An observation has an entry ``"stage"`` and one for each entry of the stages' ``seen``; what
    was not seen yet holds the smallest value less one (0 where values are continuous). Rewards are
    paid after the stages that have one; ``info["values"]`` holds the variables that are known by
    then, and after the last stage all observed ones.

    Args:
        scm: The model. Who set the variables before the agent came is part of it: without an
            action (arm ``{}``, and in ``logs``) the program's own mechanisms decide.
        stages: What is seen, set and paid at each stage; all have equally many arms.
        outcome: The variable that is paid after the last stage; None: the last stage's reward.
        reward_range: Smallest and largest reward of a stage; another one is an error.
        maximise: Whether a reward is the variable that is paid, or else its negative.
        tabulate: As for `SCMEnv`: draw units from the exact tree of all that can become known.
        stage_laws: For the oracle of a program that is not tabulated: the law of the first view
            and what acting leads to at each stage, where it is known.

    Attributes:
        oracle: The optimum, and what each action loses, for evaluation.

    Raises:
        QueryError: A variable is unknown, stages differ in their number of arms, or one sets what
            it is paid for.
        ProgramError: The program has random parameters: an environment has one truth.
        AssumptionError: What is seen or paid at a stage could still be changed later.
        DataError: An arm sets a variable to a value that it cannot take, or a reward outside its
            range is possible (in a finite program; else `step` raises).

    References:
        Murphy (2003), Optimal dynamic treatment regimes; Zhang and Bareinboim (2019), Near-optimal
        reinforcement learning in dynamic treatment regimes.

    Example:
        >>> from causalppl.examples import two_stage_dtr
        >>> trial = two_stage_dtr()
        >>> env = SequentialSCMEnv(trial.scm, trial.stages, "Y")
        >>> env.reset(seed=0)[0]
        {'stage': np.int64(0), 'S1': np.int64(1), 'X1': np.int64(-1), 'S2': np.int64(-1)}
        >>> round(env.oracle.best, 5)
        0.72508
    """

    units: SequentialUnits

    def __init__(
        self,
        scm: SCM,
        stages: Sequence[Stage],
        outcome: str | None = None,
        *,
        reward_range: tuple[float, float] = (0.0, 1.0),
        maximise: bool = True,
        tabulate: bool | None = None,
        stage_laws: tuple[NDArray[np.float64], Sequence[StageLaw]] | None = None,
    ) -> None:
        self.stages = tuple(stages)
        self.pay = Pay(float(reward_range[0]), float(reward_range[1]), 1.0 if maximise else -1.0)
        self._given_outcome, self._tabulate = outcome, tabulate
        self._stage_laws = (scm, stage_laws)
        for stage in self.stages:
            Arms(scm, stage.arms).allowed(scm)
        self.set_model(scm)
        self.action_space = gymnasium.spaces.Discrete(self.plan.num_arms)
        self.observation_space = self.plan.space(self._levels)
        self.unseen = self.plan.unseen(self._levels)

    def set_model(self, scm: SCM) -> None:
        """Put another model in place: same variables and stages, other mechanisms.

        The tree of units and the oracle are made anew; a unit that has begun is given up. If it
        fails, nothing is changed.

        Raises:
            QueryError: The model does not observe a variable that is set, shown or paid.
        """
        check_parameters(scm)
        plan = Plan(scm, self.stages, self._given_outcome)
        self.units, self._levels = self._unit_source(scm, plan)
        self.model_number += 1
        self.scm, self.plan = scm, plan
        self.__dict__.pop("oracle", None)
        self._episode: Episodes | None = None

    @property
    def outcome(self) -> str:
        """The variable that is paid after the last stage."""
        return str(self.plan.rewards[-1])

    @cached_property
    def oracle(self) -> Oracle:
        """The truth, for evaluation only.

        Raises:
            AssumptionError: It cannot be computed: the program is not tabulated and no laws of its
                stages were given, or observations do not say all that is known.
        """
        if isinstance(self.units, TreeUnits):
            first, stage_laws = tree_laws(self.units.levels, self.plan)
            signed = [replace(each, rewards=self.pay.sign * each.rewards) for each in stage_laws]
            return SequentialOracle(first, signed, self.plan.num_arms)
        model, laws = self._stage_laws
        if laws is None or self.scm is not model:
            raise AssumptionError(
                "the program is not tabulated, so that its optimum is not known; give stage_laws"
            )
        return SequentialOracle(*laws, self.plan.num_arms)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Draw a unit, and show what is seen of it before the first action."""
        super().reset(seed=seed)
        self._episode = self.begin(1, OneStream(self.np_random, 1))
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Act at the present stage.

        Raises:
            AssumptionError: The episode has ended, or `reset` was not called.
            DataError: The action is none of the arms, or the reward outside its range.
        """
        if self._episode is None or self._episode.has_ended:
            raise AssumptionError("step was called without a unit; call reset before an episode")
        rewards, values = self._episode.act(self.plan.arms[self._episode.stage].batch(action))
        info = {"values": {name: column[0] for name, column in values.items()}}
        return self._observation(), float(rewards[0]), self._episode.has_ended, False, info

    def __repr__(self) -> str:
        paid = ", ".join(dict.fromkeys(name for name in self.plan.rewards if name))
        arms = f"{self.plan.num_arms} arms at each of {len(self.plan)} stages"
        return f"SequentialSCMEnv({arms}; pays {paid})"

    def vector(self, num_envs: int) -> "SequentialVectorEnv":
        """Return many of this environment as one, with a vectorised step.

        Args:
            num_envs: How many units are acted on at once.

        Raises:
            DataError: ``num_envs`` is not a whole number from 1.
        """
        from causalppl.envs.sequential_vector import SequentialVectorEnv

        return SequentialVectorEnv(self, num_envs)

    def logs(self, num_units: int, *, seed: int | None = None) -> Table:
        """Draw units that the agent did not act on: the observed variables only.

        Whoever acted may have seen what is hidden here.

        Args:
            num_units: How many.
            seed: Seed of the draw.
        """
        return observed_units(self.scm, num_units, seed=seed)

    def begin(self, count: int, stream: Stream) -> "Episodes":
        """Draw units that stand before the first stage."""
        return Episodes(self.plan, self.units, self.pay, self.unseen, count, stream)

    def _observation(self) -> Any:
        assert self._episode is not None
        return one_unit(self._episode.observation())

    def _unit_source(
        self, scm: SCM, plan: Plan
    ) -> tuple[SequentialUnits, dict[str, NDArray[np.int64]]]:
        """Choose where units come from; also the values of variables that are integers."""
        if not fits_table(count_tree(scm, plan), self._tabulate):
            runs = SequentialProgramUnits(scm, plan)
            return runs, runs.levels
        tree = TreeUnits(scm, plan)
        last = tree.levels[-1].values
        for name in filter(None, plan.rewards):
            self.pay.rewards(last[name])
        return tree, {n: np.unique(v) for n, v in last.items() if v.dtype == np.int64}


class Episodes:
    """Units on their way through the stages, all at the same one.

    Args:
        plan: The stages.
        units: Where units come from.
        pay: How rewards are made.
        unseen: What stands for what was not seen yet.
        count: Number of units.
        stream: Where chance comes from.
    """

    def __init__(
        self,
        plan: Plan,
        units: SequentialUnits,
        pay: Pay,
        unseen: Mapping[str, NDArray[Any]],
        count: int,
        stream: Stream,
    ) -> None:
        self._plan, self._units, self._pay = plan, units, pay
        self._count, self._stream = count, stream
        self.stage = 0
        self._begun, self._values = units.begin(count, stream)
        self._seen = {key: np.full(count, value) for key, value in unseen.items()}
        self._see()

    @property
    def has_ended(self) -> bool:
        """Whether all stages are over."""
        return self.stage == len(self._plan)

    def act(self, actions: NDArray[np.int64]) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Act at the present stage; rewards, and the values that are known now."""
        stage = self.stage
        chosen = self._plan.arms[stage].index(actions)
        self._begun, self._values = self._units.act(self._begun, stage, chosen, self._stream)
        self.stage += 1
        if not self.has_ended:
            self._see()
        paid = self._plan.rewards[stage]
        rewards = self._pay.rewards(self._values[paid]) if paid else np.zeros(self._count)
        return rewards, self._values

    def observation(self) -> dict[str, Any]:
        """Return what is seen, shape ``(count,)`` each."""
        seen = {key: column.copy() for key, column in self._seen.items()}
        return {STAGE: np.full(self._count, self.stage), **seen}

    def _see(self) -> None:
        for key, name in self._plan.seen[self.stage].items():
            self._seen[key] = self._values[name]
