"""Rewards kept apart by arm and by what was seen before acting, from plays and from logs."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from causalppl.agents.agent import Agent, Arm, Array, Integers
from causalppl.agents.env_checks import check_env
from causalppl.agents.log_columns import log_columns
from causalppl.envs import SCMEnv
from causalppl.envs.arms import check_distinct
from causalppl.exceptions import AssumptionError, DataError, QueryError
from causalppl.programs.do import NATURAL

__all__ = ["LogSums", "PerArm"]


class PerArm(Agent):
    """One who keeps the rewards of each arm apart, by what was seen beforehand.

    Logs can be used as far as they show what an arm earns: rows in which the arm would have
    changed nothing. They are, for the arm ``{}``, natural rows; for an arm that sets ``X`` while
    the intent ``X@natural`` is seen, the rows of natural data in which ``X`` had that value; and
    for any arm, data in which the same variables were set.

    Args:
        arms: What may be set, to which values; only `observe` looks at them.
        context_levels: What is seen before acting (as keys of the observation, for example
            ``"X@natural"``), and the values that it takes.
        reward: The variable that makes the reward; needed to read logs only.
        reward_range: Smallest and largest reward.
        maximise: Whether the reward is that variable, or else its negative.

    Raises:
        QueryError: There are no arms, or two are the same.
        DataError: The range of rewards is empty, or not bounded where it must be.
    """

    block: ClassVar[int] = 512
    _is_bounded: ClassVar[bool] = True

    def __init__(
        self,
        arms: Sequence[Arm],
        *,
        context_levels: Mapping[str, Sequence[float]] | None = None,
        reward: str | None = None,
        reward_range: tuple[float, float] = (0.0, 1.0),
        maximise: bool = True,
    ) -> None:
        if not arms or isinstance(arms, Mapping):
            raise QueryError(
                f"the arms are {arms!r}; expected a list of at least one, such as [{{'X': 1}}]"
            )
        check_distinct(arms)
        low, high = map(float, reward_range)
        if not low < high:
            raise DataError(f"reward_range is {reward_range}; expected (smallest, largest)")
        if self._is_bounded and not np.isfinite(high - low):
            raise DataError(
                f"rewards range from {low:g} to {high:g}, but {type(self).__name__} is for "
                "bounded ones; expected two numbers, or use GaussianThompson"
            )
        self.arms = tuple(dict(arm) for arm in arms)
        self.context_levels = {
            key: np.sort(np.asarray(known, dtype=np.float64))
            for key, known in (context_levels or {}).items()
        }
        self.reward, self.reward_range, self.maximise = reward, (low, high), maximise
        self._num_actions = len(self.arms)
        seen = {key: known.tolist() for key, known in self.context_levels.items()}
        self._task = f"for {len(self.arms)} arms {self.arms}, seeing {seen}"

    @classmethod
    def for_env(cls, env: SCMEnv, **options: Any) -> Self:
        """Describe an agent that plays all arms of an environment.

        Args:
            env: The environment; what is seen in it must take finitely many values.
            **options: Further options of the agent.
        """
        check_env(env, SCMEnv)
        known: Any = {key: env.units.levels.get(key) for key in env.shown.keys}
        if endless := [key for key, levels in known.items() if levels is None]:
            raise AssumptionError(
                f"{', '.join(endless)} is seen before acting and takes infinitely many values; "
                "expected finitely many, to learn about each on its own"
            )
        given = {
            "context_levels": known,
            "reward": env.outcome,
            "reward_range": env.reward_range,
            "maximise": env.pay.sign > 0,
        }
        return cls(env.arms, **{**given, **options})

    @property
    def num_views(self) -> int:
        """How many different things can be seen before acting."""
        return int(np.prod([len(known) for known in self.context_levels.values()]))

    @abstractmethod
    def _means(self) -> Array:
        """What arms earn by what is known, shape ``(runs, views, arms)``."""

    @abstractmethod
    def _absorb(self, sums: "LogSums") -> None:
        """Take in a log."""

    def _best(self, observation: Any) -> Integers:
        return self._rows_of(self._means(), self._view(observation)).argmax(1)

    def _shape(self, runs: int) -> tuple[int, int, int]:
        return runs, self.num_views, len(self.arms)

    def _rows_of(self, table: Array, view: Integers) -> Array:
        return table[:, 0] if self.num_views == 1 else table[np.arange(len(table)), view]

    def _view(self, observation: Any) -> Integers:
        """Number what is seen; shape ``(1,)`` where nothing is."""
        view = np.zeros(1, dtype=np.int64)
        for key, known in self.context_levels.items():
            if not isinstance(observation, Mapping) or key not in observation:
                raise DataError(f"the observation does not say {key}; it was {observation!r}")
            given = np.asarray(observation[key], dtype=np.float64)
            place = np.minimum(np.searchsorted(known, given), len(known) - 1)
            if (wrong := known[place] != given).any():
                raise DataError(
                    f"{key} is {given[wrong].flat[0]:g}; expected one of {known.tolist()}"
                )
            view = view * len(known) + place
        return view

    def _scaled(self, reward: Any) -> Array:
        """Check rewards, and bring them to 0 to 1 where they are bounded."""
        low, high = self.reward_range
        given = np.asarray(reward, dtype=np.float64)
        if not (given.min(initial=low) >= low and given.max(initial=high) <= high):
            bad = given[~((given >= low) & (given <= high))].flat[0]
            raise DataError(
                f"the reward {bad:g} is outside the declared range {low:g} to {high:g}; expected "
                "a range that holds every reward: give reward_range"
            )
        if not np.isfinite(given).all():
            bad = given[~np.isfinite(given)].flat[0]
            raise DataError(f"the reward is {bad:g}; expected a finite number")
        is_plain = (low, high) == (0.0, 1.0) or not self._is_bounded
        return given if is_plain else (given - low) / (high - low)

    def _measured(self, reward: Any) -> Array:
        """Check rewards of a step, ``(runs,)``, or a log, ``(runs, rows)``; as they are kept."""
        return self._scaled(reward)

    def _read(self, log: Mapping[str, Any], do: tuple[str, ...]) -> None:
        self._absorb(self._sums(log, do))

    def _sums(self, log: Any, do: tuple[str, ...]) -> "LogSums":
        """Add up the rewards of a log by cells, as far as they belong to one."""
        usable = [arm for arm in self.arms if self._is_told(arm, do)]
        kind = type(self).__name__
        if self.reward is None:
            raise AssumptionError(
                f"{kind} does not know which variable of a log makes the reward; give reward"
            )
        if not usable:
            wanted = f"data in which {', '.join(do)} was set" if do else "natural data"
            raise AssumptionError(
                f"{kind} cannot use {wanted}: none of its arms would leave such rows as they are; "
                "expected the arm {}, the intent as context, data in which the variables of an arm "
                "were set, or an agent with a posterior over the model, such as ThompsonSampling"
            )
        runs = self.runs or 1
        columns = self._columns(log)
        paid = _column(columns, self.reward)
        view = self._view(self._intents(columns, do))
        shape = (runs, paid.shape[-1])
        earned = self._measured(np.broadcast_to(paid if self.maximise else -paid, shape))
        found = LogSums(*(np.zeros(self._shape(runs)) for _ in range(3)))
        for number in (n for n, arm in enumerate(self.arms) if arm in usable):
            meant = np.ones(shape, dtype=bool)
            for name, value in self.arms[number].items():
                meant &= _column(columns, name) == value
            run, row = np.nonzero(meant)
            cell = run * self.num_views + np.broadcast_to(view, shape)[run, row]
            reward = earned[run, row]
            for table, part in zip(found, (np.ones_like(reward), reward, reward**2), strict=True):
                total = np.bincount(cell, part, minlength=runs * self.num_views)
                table[:, :, number] = total.reshape(runs, -1)
        return found

    def _columns(self, log: Any) -> dict[str, Array]:
        seen = {key.removesuffix(NATURAL) for key in self.context_levels} | set(self.context_levels)
        set_ = {name for arm in self.arms for name in arm}
        return log_columns(log, {self.reward or "", *seen, *set_}, self.runs or 1)

    def _is_told(self, arm: Arm, do: tuple[str, ...]) -> bool:
        """Whether rows can show what an arm earns."""
        return set(do) <= set(arm) and all(
            name in do or name + NATURAL in self.context_levels for name in arm
        )

    def _intents(self, columns: Mapping[str, Array], do: tuple[str, ...]) -> dict[str, Array]:
        """What was seen beforehand of the rows of a log; natural values are intents."""
        found = {}
        for key in self.context_levels:
            natural = key.removesuffix(NATURAL)
            is_intent = natural != key and natural not in do and key not in columns
            found[key] = _column(columns, natural if is_intent else key)
        return found


class LogSums(NamedTuple):
    """What a log says of cells, shape ``(runs, views, arms)`` each."""

    counts: Array
    rewards: Array
    squares: Array


def _column(columns: Mapping[str, Array], name: str) -> Array:
    if name not in columns:
        raise DataError(f"the log has no column {name}; it has {', '.join(sorted(columns))}")
    return columns[name]
