"""Decisions in stages with finitely many histories, and how these are numbered."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import chain
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalppl.agents.agent import Array, Integers
from causalppl.agents.backward_induction import backward_induction, next_values, pooled
from causalppl.agents.env_checks import check_env
from causalppl.envs import SequentialSCMEnv
from causalppl.examples.sequential import Stage
from causalppl.exceptions import AssumptionError, DataError, QueryError
from causalppl.graphs import ADMG, is_separated

__all__ = ["DTRModel", "backward_induction", "next_values", "pooled"]

_MOST_CELLS = 1_000_000
_SLACK = 1e-9


class DTRModel:
    """What can be seen, done and paid at each stage: no probabilities.

    The state of a stage is all that its observation shows; it must say all of the past that
    matters. Where earlier states and actions are among it, it is the history, and that is so in
    any dynamic treatment regime. Entries that merely repeat what is known already, or what an arm
    has set, need not be learned: only the others, the *outcomes* of a stage, have a law.

    Args:
        stages: What is seen, done and paid, in order; all have equally many arms.
        levels: Variable to the values that it takes; for all that is seen.
        outcome: The variable that is paid after the last stage; None: the last stage's reward.
        reward_range: Smallest and largest reward of a stage.
        graph: The causal diagram over the observed variables, which says what logs can be used
            for; None: anything may be confounded.
        may_end: Whether an episode may be over before the last stage.
        maximise: Whether rewards are the variables that are paid, or else their negatives; only
            logs need to know.

    Attributes:
        num_states: Number of states of each stage.
        num_outcomes: Number of outcomes of each stage; the last stage has none.
        following: State, arm and outcome to the next state, shape ``(states, arms, outcomes)``,
            one for each stage but the last.
        outcome_cells: State and arm to the number of the law of outcomes that rules there, shape
            ``(states, arms)``, one for each stage. By the diagram several may have the same law.
        reward_cells: The same for the mean reward.
        pays: Whether each stage pays.
        paid: The variable that each stage pays, or None.
        actions: The variables that each stage may set.

    Raises:
        QueryError: There is no stage, stages differ in their number of arms, or a variable that is
            seen has no levels.
        AssumptionError: There are too many histories for a table.

    References:
        Murphy (2003), Optimal dynamic treatment regimes.

    Example:
        >>> stages = [Stage([{"X1": 0}, {"X1": 1}], ["S1"]),
        ...           Stage([{"X2": 0}, {"X2": 1}], ["X1", "S2"])]
        >>> model = DTRModel(stages, dict.fromkeys(["S1", "X1", "S2"], [0, 1]), outcome="Y")
        >>> model.num_states, model.num_outcomes
        ((2, 8), (2, 0))
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        levels: Mapping[str, Sequence[float]],
        *,
        outcome: str | None = None,
        reward_range: tuple[float, float] = (0.0, 1.0),
        graph: ADMG | None = None,
        may_end: bool = False,
        maximise: bool = True,
    ) -> None:
        self.stages, self.graph, self.may_end = tuple(stages), graph, may_end
        self.maximise = maximise
        self._check(levels)
        self.levels = {name: np.unique(values) for name, values in levels.items()}
        self.low, self.high = map(float, reward_range)
        self.num_arms = len(self.stages[0].arms)
        last = outcome if outcome is not None else self.stages[-1].reward
        self.paid = (*(stage.reward for stage in self.stages[:-1]), last)
        self.pays = tuple(name is not None for name in self.paid)
        self.actions = tuple(tuple(dict.fromkeys(chain.from_iterable(s.arms))) for s in self.stages)
        self._shown = self._states()
        sizes = [self._sizes(shown.values()) for shown in self._shown]
        self.num_states = tuple(prod(each) for each in sizes)
        self.drawn = tuple(self._outcomes(k) for k in range(len(self)))
        self.num_outcomes = (
            *(prod(self._sizes(names)) + may_end for names in self.drawn[:-1]),
            0,
        )
        self._check_size()
        self.following: tuple[Integers, ...] = tuple(
            self._following(k) for k in range(len(self) - 1)
        )
        self.outcome_cells = tuple(self._cells(k, self.drawn[k]) for k in range(len(self)))
        self.reward_cells = tuple(
            self._cells(k, (name,) if name else ()) for k, name in enumerate(self.paid)
        )

    def __len__(self) -> int:
        return len(self.stages)

    def __repr__(self) -> str:
        arms = ", ".join(str([dict(arm) for arm in stage.arms]) for stage in self.stages)
        return f"DTRModel({self.num_states} states, arms {arms}, rewards {self.paid})"

    @classmethod
    def for_env(cls, env: SequentialSCMEnv) -> "DTRModel":
        """Read stages, values and diagram off an environment; its mechanisms stay unknown.

        Raises:
            AssumptionError: What is seen takes infinitely many values.
            DataError: ``env`` is no `SequentialSCMEnv`.

        Example:
            >>> from causalppl.envs import make_env
            >>> DTRModel.for_env(make_env("TwoStageDTR")).num_states
            (2, 8)
        """
        check_env(env, SequentialSCMEnv)
        levels = {}
        for seen in env.plan.seen:
            for key, name in seen.items():
                space: Any = env.observation_space[key]  # type: ignore[index]
                if not hasattr(space, "n"):
                    raise AssumptionError(
                        f"{key} takes values in {space}; expected finitely many values; show the "
                        "agent a variable with few levels instead"
                    )
                # the first value of the space stands for what was not seen yet
                levels[name] = np.arange(space.start + 1, space.start + space.n).tolist()
        return cls(
            env.stages,
            levels,
            outcome=env.outcome,
            reward_range=env.reward_range,
            graph=env.graph,
            maximise=env.pay.sign > 0,
        )

    def variables(self, stage: int) -> tuple[str, ...]:
        """List the variables that make the state of a stage."""
        return tuple(self._shown[stage].values())

    def views(self, stage: int) -> dict[str, Array]:
        """List what is seen in each state of a stage, by entry of the observation, ``(states,)``.

        States are numbered in this order; environments may number what can be seen differently.

        Example:
            >>> model = DTRModel([Stage([{"X": 0}, {"X": 1}], ["S"])], {"S": [1, 2]}, outcome="Y")
            >>> model.views(0)
            {'S': array([1, 2])}
        """
        places = self._grid(self.variables(stage), self.num_states[stage], (-1,))
        entries = zip(self._shown[stage].items(), places, strict=True)
        return {key: self.levels[name][place] for (key, name), place in entries}

    def is_full_history(self, stage: int) -> bool:
        """Whether the state of a stage says all that was seen and done before."""
        before = {name for shown in self._shown[:stage] for name in shown.values()}
        before |= {name for actions in self.actions[:stage] for name in actions}
        return before <= set(self.variables(stage))

    def stage_of(self, observation: Any) -> int:
        """Read the stage, which is the same in all runs.

        Raises:
            DataError: It is not, there is none, or the episode is over.
        """
        stages: Any = np.unique(observation["stage"]) if isinstance(observation, Mapping) else ()
        if len(stages) != 1 or not 0 <= stages[0] < len(self):
            raise DataError(
                f"the stage of the observation is {list(map(int, stages))}; expected one stage "
                f"below {len(self)}, the same in all runs, in its entry 'stage'"
            )
        return int(stages[0])

    def state(self, stage: int, values: Mapping[str, Any]) -> Integers:
        """Number the states of a stage.

        Args:
            stage: The stage.
            values: An observation: the entries that are seen by then, of any one shape.

        Raises:
            DataError: A value is not among the levels.
        """
        return self._number(self._shown[stage].values(), list(map(values.get, self._shown[stage])))

    def logged_state(self, stage: int, columns: Mapping[str, Array]) -> Integers:
        """Number the states in the columns of a log.

        Raises:
            DataError: A value is none of its variable's levels.
        """
        names = self.variables(stage)
        return self._number(names, [columns[name] for name in names])

    def outcome(self, stage: int, next_values: Mapping[str, Any]) -> Integers:
        """Number the outcomes of a stage, by the observation that follows it.

        Raises:
            DataError: A value is none of its variable's levels.
        """
        entry = {name: key for key, name in self._shown[stage + 1].items()}
        names = self.drawn[stage]
        return self._number(names, [next_values[entry[name]] for name in names])

    def logged_outcome(self, stage: int, columns: Mapping[str, Array]) -> Integers:
        """Number the outcomes of a stage in the columns of a log.

        Raises:
            DataError: A value is none of its variable's levels.
        """
        return self._number(self.drawn[stage], [columns[name] for name in self.drawn[stage]])

    def logged_gain(self, stage: int, columns: Mapping[str, Array]) -> Array:
        """Compute the scaled rewards of a stage in the columns of a log.

        Raises:
            DataError: A reward is outside the range.
        """
        name = self.paid[stage]
        if name is None:
            return np.zeros(())
        return self.scaled(stage, columns[name] if self.maximise else -columns[name])

    def follows(self, stage: int, columns: Mapping[str, Array]) -> NDArray[np.bool_]:
        """Tell which arms would have changed nothing in the rows of a log, shape ``(..., arms)``.

        Such a row shows what the arm leads to. Any row does so for the arm ``{}``, and one in which
        none of the arms was taken for no other. Of arms that are the same only the first counts.
        """
        arms = self.stages[stage].arms
        shape = next(iter(columns.values())).shape
        found = [np.full(shape, arm not in arms[:number]) for number, arm in enumerate(arms)]
        for follows, arm in zip(found, arms, strict=True):
            for name, value in arm.items():
                follows &= columns[name] == value
        return np.stack(found, -1)

    def is_possible(self, stage: int) -> NDArray[np.bool_]:
        """Tell which outcomes do not contradict what an arm sets, shape ``(arms, outcomes)``."""
        drawn = self.drawn[stage]
        found = np.ones((self.num_arms, self.num_outcomes[stage]), dtype=bool)
        count = self.num_outcomes[stage] - self.may_end
        for name, place in zip(drawn, self._grid(drawn, count, (-1,)), strict=True):
            for number, arm in enumerate(self.stages[stage].arms):
                if name in arm:
                    found[number, :count] &= self.levels[name][place] == arm[name]
        return found

    def scaled(self, stage: int, reward: Any) -> Array:
        """Bring rewards to the unit interval; zero where a stage does not pay.

        Raises:
            DataError: A reward is outside the range.
        """
        rewards = np.asarray(reward, dtype=np.float64)
        low, high = (self.low, self.high) if self.pays[stage] else (0.0, 0.0)
        found = (rewards - low) / ((high - low) or 1.0)
        if not bool(((found >= -_SLACK) & (rewards <= high + _SLACK * (high - low or 1))).all()):
            worst = rewards.ravel()[
                np.argmax(np.abs(np.nan_to_num(found.ravel(), nan=np.inf) - 0.5))
            ]
            raise DataError(
                f"a reward of stage {stage} is {worst:g}; expected between {low:g} and {high:g}; "
                "declare the range with reward_range"
            )
        return np.asarray(found.clip(0, 1))

    def unscaled(self, stage: int, values: Array) -> Array:
        """Turn sums of scaled rewards from a stage on into sums of rewards."""
        return values * (self.high - self.low) + self.low * sum(self.pays[stage:])

    @cached_property
    def span(self) -> tuple[int, ...]:
        """The most that can be earned from each stage on, in scaled rewards; zero at the end."""
        return tuple(sum(self.pays[stage:]) for stage in range(len(self) + 1))

    def _states(self) -> list[dict[str, str]]:
        """Entry to variable, of the state of each stage."""
        found: list[dict[str, str]] = []
        for stage in self.stages:
            seen = stage.seen
            new = dict(seen) if isinstance(seen, Mapping) else {name: name for name in seen}
            found.append({**(found[-1] if found else {}), **new})
        return found

    def _outcomes(self, stage: int) -> tuple[str, ...]:
        """The variables of the next state that neither the state nor the arm tells."""
        if stage == len(self) - 1:
            return ()
        told = {*self.variables(stage), *self._set_by_all(stage)}
        return tuple(name for name in self.variables(stage + 1) if name not in told)

    def _set_by_all(self, stage: int) -> tuple[str, ...]:
        arms = self.stages[stage].arms
        return tuple(name for name in self.actions[stage] if all(name in arm for arm in arms))

    def _following(self, stage: int) -> Integers:
        own, drawn = self.variables(stage), self.drawn[stage]
        outcomes = self.num_outcomes[stage] - self.may_end
        places = dict(zip(own, self._grid(own, self.num_states[stage], (-1, 1, 1)), strict=True))
        places |= dict(zip(drawn, self._grid(drawn, outcomes, (1, 1, -1)), strict=True))
        for name in set(self._set_by_all(stage)) & set(self.variables(stage + 1)):
            values = [arm[name] for arm in self.stages[stage].arms]
            places[name] = self._number([name], [np.array(values)]).reshape(1, -1, 1)
        names = self.variables(stage + 1)
        shape = (self.num_states[stage], self.num_arms, outcomes)
        found = np.zeros(shape, dtype=np.int64)
        for name in names:
            found = found * len(self.levels[name]) + places[name]
        if self.may_end:
            ended = np.full((*shape[:2], 1), self.num_states[stage + 1])
            found = np.concatenate([found, ended], 2)
        return found

    def _cells(self, stage: int, targets: tuple[str, ...]) -> Integers:
        """Number the laws of some variables: by what matters for them once actions are set."""
        names, arms = self.variables(stage), self.stages[stage].arms
        relevant = self._relevant(stage, targets)
        state = np.zeros((self.num_states[stage], 1), dtype=np.int64)
        for name, place in zip(names, self._grid(names, len(state), (-1, 1)), strict=True):
            if name in relevant:
                state = state * len(self.levels[name]) + place
        set_to = [
            tuple(arm.get(name) for name in self.actions[stage] if name in relevant) for arm in arms
        ]
        kinds = list(dict.fromkeys(set_to))
        arm = np.array([kinds.index(each) for each in set_to])
        return state * len(kinds) + arm

    def _relevant(self, stage: int, targets: tuple[str, ...]) -> set[str]:
        """Find what some variables depend on, of state and actions, if all actions are set."""
        acted = {name for actions in self.actions[: stage + 1] for name in actions}
        found = set(self.variables(stage)) | set(self.actions[stage])
        all_set = all(self._set_by_all(k) == self.actions[k] for k in range(stage + 1))
        if self.graph is None or not all_set or not targets:
            return found if targets else set()
        graph = self.graph.remove_incoming(acted)
        for name in sorted(found):
            if is_separated(graph, targets, name, found - {name}):
                found.remove(name)
        return found

    def _grid(self, names: Sequence[str], count: int, shape: tuple[int, ...]) -> list[Integers]:
        """The place of each variable's value in each of all combinations."""
        if not names:
            return []
        places = np.unravel_index(np.arange(count), self._sizes(names))
        return [place.reshape(shape) for place in places]

    def _sizes(self, names: Any) -> tuple[int, ...]:
        return tuple(len(self.levels[name]) for name in names)

    def _number(self, names: Any, values: Sequence[Any]) -> Integers:
        found: Integers = np.zeros(np.shape(values[0]) if values else (), dtype=np.int64)
        for name, value in zip(names, values, strict=True):
            levels, given = self.levels[name], np.asarray(value)
            place = np.searchsorted(levels, given).clip(0, len(levels) - 1)
            if not (levels[place] == given).all():
                bad = given.ravel()[np.argmax((levels[place] != given).ravel())]
                raise DataError(
                    f"{name} is {bad}; expected one of {levels.tolist()}; give all its levels"
                )
            found = found * len(levels) + place
        return found

    def _check(self, levels: Mapping[str, Any]) -> None:
        if not self.stages:
            raise QueryError("there are no stages; expected at least one Stage(...)")
        if len({len(stage.arms) for stage in self.stages}) > 1:
            raise QueryError("stages differ in their number of arms; expected equally many")
        seen = {name for shown in self._states() for name in shown.values()}
        if unknown := sorted(seen - set(levels)):
            raise QueryError(
                f"{', '.join(unknown)} is seen, but has no levels; give the values it takes"
            )

    def _check_size(self) -> None:
        cells = [
            s * self.num_arms * max(o, 1)
            for s, o in zip(self.num_states, self.num_outcomes, strict=True)
        ]
        if sum(cells) > _MOST_CELLS:
            worst = int(np.argmax(cells))
            raise AssumptionError(
                f"stage {worst} has {self.num_states[worst]:,} histories, and the tables "
                f"{sum(cells):,} cells; expected at most {_MOST_CELLS:,}; show fewer variables, or "
                "coarser ones"
            )
