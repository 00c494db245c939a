"""Agents that know nothing of a model: each arm, in each view, on its own."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np

from causalppl.agents.agent import Agent, Arm, Array, Integers, Transition
from causalppl.agents.lazy_beta import BetaCells
from causalppl.exceptions import AssumptionError, DataError, QueryError
from causalppl.programs.do import NATURAL

if TYPE_CHECKING:
    from causalppl.envs import SCMEnv

__all__ = ["BetaThompson", "GaussianThompson", "PerArm", "UniformAgent"]


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

    Raises:
        QueryError: There are no arms.
        DataError: The range of rewards is empty, or not bounded where it must be.
    """

    block: ClassVar[int] = 512
    _is_bounded: ClassVar[bool] = True
    _sign = 1.0  # -1 where the variable that makes the reward is to be made small

    def __init__(
        self,
        arms: Sequence[Arm],
        *,
        context_levels: Mapping[str, Sequence[float]] | None = None,
        reward: str | None = None,
        reward_range: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        if not arms:
            raise QueryError("there are no arms; expected at least one, such as {'X': 1}")
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
        self.reward, self.reward_range = reward, (low, high)

    @classmethod
    def for_env(cls, env: "SCMEnv", **options: Any) -> Self:
        """Describe an agent that plays all arms of an environment.

        Args:
            env: The environment; what is seen in it must take finitely many values.
            **options: Further options of the agent.
        """
        known: Any = {key: env.units.levels.get(key) for key in env.shown.keys}
        if endless := [key for key, levels in known.items() if levels is None]:
            raise AssumptionError(
                f"{', '.join(endless)} is seen before acting and takes infinitely many values; "
                "expected finitely many, to learn about each on its own"
            )
        given = {"context_levels": known, "reward": env.outcome, "reward_range": env.reward_range}
        found = cls(env.arms, **{**given, **options})
        found._sign = env.pay.sign
        return found

    @property
    def num_views(self) -> int:
        """How many different things can be seen before acting."""
        return int(np.prod([len(known) for known in self.context_levels.values()]))

    @abstractmethod
    def _means(self) -> Array:
        """What arms earn by what is known, shape ``(runs, views, arms)``."""

    @abstractmethod
    def _absorb(self, sums: "_Sums") -> None:
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
        is_plain = (low, high) == (0.0, 1.0) or not self._is_bounded
        return given if is_plain else (given - low) / (high - low)

    def _read(self, log: Any, do: tuple[str, ...]) -> None:
        self._absorb(self._sums(log, do))

    def _sums(self, log: Any, do: tuple[str, ...]) -> "_Sums":
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
        columns = {name: np.asarray(log[name], dtype=np.float64) for name in log}
        earned = self._scaled(self._sign * _column(columns, self.reward))
        view = self._view(self._intents(columns, do))
        shape = (runs, np.shape(earned)[-1])
        found = _Sums(*(np.zeros(self._shape(runs)) for _ in range(3)))
        for number in (n for n, arm in enumerate(self.arms) if arm in usable):
            meant = np.ones(shape, dtype=bool)
            for name, value in self.arms[number].items():
                meant &= _column(columns, name) == value
            run, row = np.nonzero(meant)
            cell = run * self.num_views + np.broadcast_to(view, shape)[run, row]
            reward = np.broadcast_to(earned, shape)[run, row]
            for table, part in zip(found, (np.ones_like(reward), reward, reward**2), strict=True):
                total = np.bincount(cell, part, minlength=runs * self.num_views)
                table[:, :, number] = total.reshape(runs, -1)
        return found

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


class BetaThompson(PerArm):
    """Thompson sampling with a Beta belief about each arm.

    Rewards of 0 and 1, after scaling by their range, update the belief; one between is replaced by
    a coin that shows 1 with that chance (Agrawal and Goyal), which keeps its mean. Only few of the
    beliefs are drawn from at each step, by a method that is exact (see `BetaCells`).

    Args:
        arms: What may be set, to which values.
        context_levels: What is seen before acting, and the values that it takes.
        prior: Parameters of the Beta law before any data.
        is_optimistic: Whether a draw below its mean counts as the mean. What an arm may lose is
            then no reason to avoid it; with few steps that is often better, and never worse for
            long (May and others).
        reward: The variable that makes the reward; needed to read logs only.
        reward_range: Smallest and largest reward.

    Raises:
        QueryError: There are no arms.
        DataError: The prior is not positive, or the range of rewards is empty.

    References:
        Thompson (1933); Agrawal and Goyal (2012), Analysis of Thompson sampling for the
        multi-armed bandit problem; May, Korda, Lee and Leslie (2012), Optimistic Bayesian sampling
        in contextual-bandit problems; Bareinboim, Forney and Pearl (2015), for the intent as
        context, with cells seeded by natural data.

    Example:
        >>> from causalppl.agents import run
        >>> from causalppl.envs import make_env
        >>> env = make_env("GreedyCasino")
        >>> agent = BetaThompson.for_env(env)
        >>> seeded = run(agent, env, steps=300, runs=50, seed=0, natural_rows=200)
        >>> unseeded = run(agent, env, steps=300, runs=50, seed=0)
        >>> bool(seeded.regret.mean() < unseeded.regret.mean() / 2)
        True
    """

    name: ClassVar[str] = "per-arm Thompson sampling"

    def __init__(
        self,
        arms: Sequence[Arm],
        *,
        context_levels: Mapping[str, Sequence[float]] | None = None,
        prior: tuple[float, float] = (1.0, 1.0),
        is_optimistic: bool = False,
        reward: str | None = None,
        reward_range: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        super().__init__(
            arms, context_levels=context_levels, reward=reward, reward_range=reward_range
        )
        if min(prior) <= 0:
            raise DataError(f"the prior is {prior}; expected two positive numbers")
        self.prior, self.is_optimistic = prior, is_optimistic

    def _begin(self, runs: int) -> None:
        self.cells = BetaCells(self._shape(runs), self.prior, self.block)

    def _choose(self, observation: Any) -> Integers:
        view = self._view(observation)
        return self.cells.best_of_draw(self._rngs, view, is_optimistic=self.is_optimistic)

    def _learn(self, transition: Transition) -> None:
        arm = np.asarray(transition.action, dtype=np.int64)
        success = self._tossed(self._scaled(transition.reward))
        self.cells.add(self._view(transition.observation), arm, success)

    def _tossed(self, scaled: Array) -> Array:
        """Replace rewards between 0 and 1 by coins, in blocks of runs that have some."""
        between = (scaled > 0) & (scaled < 1)
        if not between.any():
            return scaled
        found = scaled.copy()
        for number, rng in enumerate(self._rngs):
            own = slice(number * self.block, (number + 1) * self.block)
            if between[own].any():
                found[own] = rng.random(found[own].shape) < found[own]
        return found

    def _absorb(self, sums: "_Sums") -> None:
        # a reward between 0 and 1 is that part of a success: the mean of its coin
        self.cells.add_counts(sums.rewards, sums.counts - sums.rewards)

    def _means(self) -> Array:
        return self.cells.means

    def state_dict(self) -> dict[str, Any]:
        """Return all that a continuation depends on, as a copy."""
        return {**super().state_dict(), **{k: v.copy() for k, v in self.cells.state().items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> Self:
        """Return an agent that goes on from a state."""
        cells = BetaCells((1, 1, 1), self.prior, self.block).state()
        rest = {name: part for name, part in state.items() if name not in cells}
        found = super().load_state_dict(rest)
        found.cells.load({name: np.array(state[name]) for name in cells})
        return found


class _Moments(PerArm):
    """One who keeps counts, sums and sums of squares of rewards."""

    _state: ClassVar[tuple[str, ...]] = ("counts", "sums", "squares")

    def _begin(self, runs: int) -> None:
        self.counts, self.sums, self.squares = (np.zeros(self._shape(runs)) for _ in range(3))

    def _learn(self, transition: Transition) -> None:
        arm = np.asarray(transition.action, dtype=np.int64)
        place = (np.arange(self.runs or 1), self._view(transition.observation), arm)
        reward = self._scaled(transition.reward)
        self.counts[place] += 1
        self.sums[place] += reward
        self.squares[place] += reward**2

    def _absorb(self, sums: "_Sums") -> None:
        self.counts += sums.counts
        self.sums += sums.rewards
        self.squares += sums.squares

    def _means(self) -> Array:
        return self.sums / np.maximum(self.counts, 1)


class GaussianThompson(_Moments):
    """Thompson sampling with a normal belief about each arm whose spread is unknown as well.

    The belief is normal-inverse-gamma, so the mean of an arm is drawn from a Student law.

    Args:
        arms: What may be set, to which values.
        context_levels: What is seen before acting, and the values that it takes.
        prior: Mean before any data, how many rewards it is worth, and shape and rate of the
            inverse-gamma law of the variance of rewards.
        reward: The variable that makes the reward; needed to read logs only.
        reward_range: Smallest and largest reward; unbounded by default.

    Raises:
        QueryError: There are no arms.
        DataError: The prior is not proper, or the range of rewards is empty.

    References:
        Honda and Takemura (2014), Optimality of Thompson sampling for Gaussian bandits depends on
        priors.

    Example:
        >>> from causalppl.agents import run
        >>> from causalppl.envs import make_env
        >>> env = make_env("LinearGaussianPopulation")
        >>> record = run(GaussianThompson.for_env(env), env, steps=300, runs=20, seed=0)
        >>> bool(record.optimal_share.isel(step=slice(-50, None)).mean() > 0.8)
        True
    """

    name: ClassVar[str] = "per-arm Gaussian Thompson sampling"
    _is_bounded: ClassVar[bool] = False

    def __init__(
        self,
        arms: Sequence[Arm],
        *,
        context_levels: Mapping[str, Sequence[float]] | None = None,
        prior: tuple[float, float, float, float] = (0.0, 0.1, 1.0, 1.0),
        reward: str | None = None,
        reward_range: tuple[float, float] = (-np.inf, np.inf),
    ) -> None:
        super().__init__(
            arms, context_levels=context_levels, reward=reward, reward_range=reward_range
        )
        if min(prior[1:]) <= 0:
            raise DataError(f"the prior is {prior}; expected (mean, count, shape, rate) above 0")
        self.prior = prior

    def _choose(self, observation: Any) -> Integers:
        centre, scale, freedom = self._belief(self._view(observation))
        noise = np.empty_like(centre)
        for number, rng in enumerate(self._rngs):
            own = slice(number * self.block, (number + 1) * self.block)
            noise[own] = rng.standard_t(freedom[own])
        return (centre + scale * noise).argmax(1)

    def _belief(self, view: Integers) -> tuple[Array, Array, Array]:
        """Centre, scale and degrees of freedom of the Student laws, ``(runs, arms)`` each."""
        mean, worth, shape, rate = self.prior
        counts, sums, squares = (
            self._rows_of(table, view) for table in (self.counts, self.sums, self.squares)
        )
        own = sums / np.maximum(counts, 1)
        total = counts + worth
        within = np.maximum(squares - counts * own**2, 0)
        spread = rate + within / 2 + counts * worth * (own - mean) ** 2 / (2 * total)
        shapes = shape + counts / 2
        return (sums + worth * mean) / total, np.sqrt(spread / (shapes * total)), 2 * shapes

    def _means(self) -> Array:
        mean, worth, *_ = self.prior
        return (self.sums + worth * mean) / (self.counts + worth)


class UniformAgent(_Moments):
    """One who plays any arm, each as often, and recommends the one that earned most on average.

    Example:
        >>> agent = UniformAgent([{"X": 0}, {"X": 1}]).start(1000, seed=0)
        >>> agent.act().mean().round(1)
        np.float64(0.5)
    """

    name: ClassVar[str] = "uniform play"
    _is_bounded: ClassVar[bool] = False

    def _choose(self, observation: Any) -> Integers:
        runs = self.runs or 1
        drawn = [rng.integers(len(self.arms), size=self.block) for rng in self._rngs]
        return np.concatenate(drawn)[:runs]


class _Sums(NamedTuple):
    """What a log says of cells, shape ``(runs, views, arms)`` each."""

    counts: Array
    rewards: Array
    squares: Array


def _column(columns: Mapping[str, Array], name: str) -> Array:
    if name not in columns:
        raise DataError(f"the log has no column {name}; it has {', '.join(sorted(columns))}")
    return columns[name]
