"""What every agent does: act, learn from what followed, and say what it would do for good."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.agents.log_frames import columns_of, names_set
from causalppl.data.column import shortened
from causalppl.envs.by_value import ByValue
from causalppl.estimation.settings import check_count
from causalppl.exceptions import AssumptionError, DataError
from causalppl.seeding import checked_seed

__all__ = ["Agent", "Arm", "Array", "Integers", "Transition"]

Array: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
Arm: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Transition:
    """What was done and what followed, once or in each of many runs.

    Every array has one entry for each run; a single run has plain numbers.

    Attributes:
        action: What was done.
        reward: What it earned.
        values: The observed variables afterwards, by name.
        observation: What was seen before acting.
        next_observation: What is seen now.
        terminated: Whether the episode is over.

    Example:
        >>> Transition(action=0, reward=1.0, values={"X": 0, "Y": 1}).terminated
        True
    """

    action: Any
    reward: Any
    values: Mapping[str, Any] = field(default_factory=dict)
    observation: Any = None
    next_observation: Any = None
    terminated: Any = True


class Agent(ByValue, ABC):
    """One who acts, in one run or in many independent runs at once.

    What the constructor makes is a description; `start` returns an agent that plays. Between
    `start` and the end, `act` and `update` take turns, and `observe` may be called at any time.

    Attributes:
        name: What records and plots call it; see `named`.
        runs: How many runs are played at once; None in a single one, in which actions and rewards
            are plain numbers.
        block: How many runs share a random stream. Run k of a seed is the same in whatever company
            it is played, as long as whole blocks are played.

    Example:
        >>> class Stubborn(Agent):
        ...     name = "always the first"
        ...     def _begin(self, runs): self._count = runs
        ...     def _choose(self, observation): return np.zeros(self._count, dtype=np.int64)
        ...     def _learn(self, transition): pass
        ...     def _best(self, observation): return self._choose(observation)
        >>> Stubborn().start(3, seed=0).act()
        array([0, 0, 0])
    """

    block: ClassVar[int] = 1
    name: str
    _state: ClassVar[tuple[str, ...]] = ()
    _num_actions: int | None = None  # where actions are numbers from 0: how many there are
    _task: str = ""  # what a state must agree on with who goes on from it
    runs: int | None = None
    _rngs: list[np.random.Generator]

    def __repr__(self) -> str:
        arms = "" if self._num_actions is None else f", {self._num_actions} arms"
        return f"<{type(self).__name__}: {self.name}{arms}>"

    def __copy__(self) -> Self:
        # without this it would be pickled for a copy, with the programs that it holds
        found = type(self).__new__(type(self))
        found.__dict__.update(self.__dict__)
        return found

    def named(self, name: str) -> Self:
        """Return the same agent under another name, by which records can be told apart.

        Example:
            >>> from causalppl.agents import UniformAgent
            >>> UniformAgent([{"X": 0}, {"X": 1}]).named("two arms").name
            'two arms'
        """
        found = copy.copy(self)
        found.name = name
        return found

    def start(
        self, runs: int | None = None, *, seed: int | None = None, first_run: int = 0
    ) -> Self:
        """Return a fresh agent that plays.

        Args:
            runs: How many runs at once; None for a single one.
            seed: Seed of all its randomness; None takes a fresh one.
            first_run: The number of the first of the runs, where they are part of a larger whole.

        Raises:
            DataError: ``runs`` is no whole number from 1, or ``first_run`` does not begin a block.
        """
        if runs is not None:
            check_count("runs", runs, 1, 100)
        check_count("first_run", first_run, 0, 0)
        if first_run % self.block:
            raise DataError(f"first_run is {first_run}; expected a multiple of {self.block}")
        found = copy.copy(self)
        found.runs = runs
        blocks = range(first_run // self.block, -(-(first_run + (runs or 1)) // self.block))
        entropy = checked_seed(seed)
        found._rngs = [
            np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(1, block)))
            for block in blocks
        ]
        found._begin(runs or 1)
        return found

    def act(self, observation: Any = None) -> Any:
        """Choose an action, shape ``(runs,)``; a plain number in a single run.

        Args:
            observation: What is seen before acting, key to values, shape ``(runs,)`` each, or plain
                numbers in a single run; None where nothing is.

        Raises:
            AssumptionError: The agent was not started.
        """
        self._check_started()
        chosen = self._choose(_batched(observation) if self.runs is None else observation)
        return _single(chosen) if self.runs is None else chosen

    def update(self, transition: Transition) -> None:
        """Learn from what followed an action.

        Args:
            transition: What was done and what followed, an entry for each run.

        Raises:
            AssumptionError: The agent was not started.
            DataError: It is no `Transition`, an action is none of the arms, there is not one of
                all for each run, or a reward is outside the range that the agent can take.
        """
        self._check_started()
        if not isinstance(transition, Transition):
            raise DataError(
                f"the transition is {shortened(transition)}; expected such as "
                "Transition(action=0, reward=1.0, values={'X': 0, 'Y': 1})"
            )
        if self.runs is None:
            parts = {name: _batched(part) for name, part in vars(transition).items()}
            transition = Transition(**parts)
        if self._num_actions is not None:
            self._check_actions(transition)
        self._learn(transition)

    def recommend(self, observation: Any = None) -> Any:
        """Say which action it would take for good, by what it knows on average; shaped as by `act`.

        Args:
            observation: As for `act`.

        Raises:
            AssumptionError: The agent was not started.
        """
        self._check_started()
        chosen = self._best(_batched(observation) if self.runs is None else observation)
        return _single(chosen) if self.runs is None else chosen

    def observe(self, log: Any, *, do: Sequence[str] = ()) -> None:
        """Learn from data that it did not choose.

        Args:
            log: Columns by name: the same rows for all runs, shape ``(rows,)``, or rows of their
                own, shape ``(runs, rows)``; a mapping, a `Table`, or a frame of pandas, polars or
                Arrow. Rows in which a value that matters is missing are to be left out.
            do: The variables that were set from outside in these rows; else they are natural. One
                name alone is that variable.

        Raises:
            AssumptionError: The agent was not started, or cannot use such data.
            DataError: The log has no columns by name, or one that matters is not of numbers, has
                missing or infinite values, or another length than others.
        """
        self._check_started()
        self._read(columns_of(log), names_set(do))

    def state_dict(self) -> dict[str, Any]:
        """Return all that a continuation depends on, as a copy.

        Raises:
            AssumptionError: The agent was not started.
        """
        self._check_started()
        state = {name: getattr(self, name) for name in self._state}
        streams = [rng.bit_generator.state for rng in self._rngs]
        about = {"agent": self._kind(), "runs": self.runs, "streams": streams}
        return copy.deepcopy({**about, **state})

    def load_state_dict(self, state: Mapping[str, Any]) -> Self:
        """Return an agent that goes on from a state of an agent with the same description.

        Raises:
            DataError: The state is of an agent with another description.
        """
        expected = {"agent", "runs", "streams", *self._state}
        if set(state) != expected or state["agent"] != self._kind():
            raise DataError(
                f"the state is of {state.get('agent', 'no agent')}; expected that of "
                f"{self._kind()}; load it into an agent with the same description"
            )
        copied = copy.deepcopy(dict(state))
        del copied["agent"]
        streams = copied.pop("streams")
        found = self.start(copied["runs"], seed=0)
        found.__dict__.update(copied)
        for rng, stream in zip(found._rngs, streams, strict=True):
            rng.bit_generator.state = stream
        return found

    @abstractmethod
    def _begin(self, runs: int) -> None:
        """Set the state to that of knowing nothing; ``self._rngs`` are there."""

    @abstractmethod
    def _choose(self, observation: Any) -> Any:
        """Choose an action for each run."""

    @abstractmethod
    def _learn(self, transition: Transition) -> None:
        """Learn from one transition of each run."""

    @abstractmethod
    def _best(self, observation: Any) -> Any:
        """The action for good of each run."""

    def _read(self, log: Mapping[str, Any], do: tuple[str, ...]) -> None:
        raise AssumptionError(
            f"{type(self).__name__} cannot use data that it did not choose; use an agent that "
            "holds a posterior over the model, such as ThompsonSampling"
        )

    def _kind(self) -> str:
        return f"{type(self).__name__} {self._task}".strip()

    def _check_actions(self, transition: Transition) -> None:
        chosen, runs, count = np.asarray(transition.action), self.runs or 1, self._num_actions
        assert count is not None
        if chosen.shape != (runs,) or np.shape(transition.reward) != (runs,):
            raise DataError(
                f"actions have shape {chosen.shape}, rewards {np.shape(transition.reward)}; "
                f"expected one for each run, ({runs},)"
            )
        if chosen.dtype.kind not in "iu" or chosen.min() < 0 or chosen.max() >= count:
            wrong = [v for v in chosen.tolist() if type(v) is not int or not 0 <= v < count]
            raise DataError(f"the action {wrong[0]!r} was taken; expected 0 to {count - 1}")

    def _check_started(self) -> None:
        if not hasattr(self, "_rngs"):
            raise AssumptionError(
                f"the {type(self).__name__} has not started; expected such as "
                "agent = agent.start(seed=0)"
            )


def _batched(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _batched(part) for name, part in value.items()}
    return None if value is None else np.asarray(value)[None]


def _single(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _single(part) for name, part in value.items()}
    return value[0].item() if np.ndim(value[0]) == 0 else value[0]
