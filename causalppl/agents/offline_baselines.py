"""What logs say of a dynamic treatment regime: counts, bounds, and regimes learned from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np

from causalppl.agents.agent import Agent, Array, Integers, Transition
from causalppl.agents.dtr_model import DTRModel, backward_induction
from causalppl.exceptions import AssumptionError, DataError
from causalppl.graphs import is_separated

__all__ = [
    "FixedRegime",
    "LogTables",
    "LogUse",
    "StageBounds",
    "backdoor_policy",
    "log_uses",
    "lower_confidence",
    "naive_policy",
]

LogUse: TypeAlias = Literal["counts", "local bounds", "history bounds", "nothing"]
"""What a log tells about a law: the law itself, bounds on it (two ways), or nothing."""

_HALVINGS = 30


@dataclass(frozen=True)
class StageBounds:
    """Bounds on the laws of a stage.

    Attributes:
        outcomes: Lower and upper, shape ``(runs, states, arms, outcomes)`` each.
        rewards: Lower and upper, of the scaled mean reward, shape ``(runs, states, arms)`` each.
    """

    outcomes: tuple[Array, Array]
    rewards: tuple[Array, Array]


class LogTables:
    """How often each state, arm and outcome occur in a log, and what was earned there.

    Args:
        model: The stages.
        log: Columns by name, shape ``(rows,)`` or ``(runs, rows)``; a frame, or a mapping. A row
            counts up to the first action that is none of the arms.

    Attributes:
        outcomes: Shape ``(runs, states, arms, outcomes)``, one for each stage; ``runs`` is 1 where
            the log is the same in all.
        pulls: Shape ``(runs, states, arms)``.
        gains: Sums of scaled rewards, shape ``(runs, states, arms)``.

    Raises:
        DataError: A column is missing, or holds values that are not among the levels.

    Example:
        >>> from causalppl.envs import make_env
        >>> env = make_env("TwoStageDTR")
        >>> tables = LogTables(DTRModel.for_env(env), env.logs(500, seed=0))
        >>> [int(pulls.sum()) for pulls in tables.pulls]
        [500, 500]
    """

    def __init__(self, model: DTRModel, log: Any) -> None:
        self.model = model
        columns = _columns(model, log)
        self.outcomes: list[Array] = []
        self.pulls: list[Array] = []
        self.gains: list[Array] = []
        for stage, (cell, outcome, gain) in enumerate(_walk(model, columns)):
            shape = (len(cell), model.num_states[stage], model.num_arms)
            size = model.num_outcomes[stage]
            self.pulls.append(_sums(cell, shape))
            self.gains.append(_sums(cell, shape, gain))
            cells = np.where(cell < 0, -1, cell * size + outcome) if size else cell[:, :0]
            self.outcomes.append(_sums(cells, (*shape, size)))

    def bounds(self, uses: Sequence[tuple[LogUse, LogUse]], level: float) -> list[StageBounds]:
        """Bound what cannot be identified, from the natural law of states and actions.

        Whatever is hidden, of those with a history who were not treated as asked nothing is known,
        and of the others all is: with q the largest chance that the history can have if it is
        brought about, P(h, x, o) / q <= P(o | h, do) <= 1 - P(h, x, not o) / q. Chances are
        replaced by their confidence limits.

        Args:
            uses: What the log tells about outcomes and about reward of each stage, as `log_uses`
                says.
            level: ``log(1 / error)`` of each confidence limit.

        References:
            Zhang and Bareinboim (2019), Near-optimal reinforcement learning in dynamic treatment
            regimes, theorem 5; Manski (1990) for a single stage.
        """
        found = []
        # at least how much of the chance of a history that is brought about is natural
        share = np.ones((len(self.pulls[0]), self.model.num_states[0]))
        for stage, (use_outcomes, use_rewards) in enumerate(uses):
            pulls, gains, outcomes = self.pulls[stage], self.gains[stage], self.outcomes[stage]
            arrived = pulls.sum(2)
            rewards = _bounded(use_rewards, share, gains, pulls - gains, arrived, level)
            others = pulls[..., None] - outcomes
            laws = _bounded(use_outcomes, share, outcomes, others, arrived, level)
            found.append(StageBounds(laws, rewards))
            if stage < len(uses) - 1:
                share = self._next_share(stage, share, use_outcomes, level)
        return found

    def _next_share(self, stage: int, share: Array, use: LogUse, level: float) -> Array:
        pulls, outcomes = self.pulls[stage], self.outcomes[stage]
        arrived = pulls.sum(2)[:, :, None]
        if use == "counts":  # the next state is as likely as in the log once the arm is chosen
            chosen = share[:, :, None] * lower_confidence(pulls, arrived, level)
            given = np.broadcast_to(chosen[..., None], outcomes.shape)
        else:
            arrived, ratio = arrived[..., None], share[:, :, None, None]
            natural = ratio * lower_confidence(outcomes, arrived, level)
            others = ratio * lower_confidence(pulls[..., None] - outcomes, arrived, level)
            given = natural / (1 - others).clip(1e-300)
        found = np.zeros((len(share), self.model.num_states[stage + 1] + self.model.may_end))
        found[:, self.model.following[stage]] = given
        return found[:, : self.model.num_states[stage + 1]]


def log_uses(model: DTRModel, do: Sequence[str] = ()) -> list[tuple[LogUse, LogUse]]:
    """Say what a log tells about the outcomes and the reward of each stage.

    A law is identified here if the second rule of do-calculus lets all natural actions so far be
    seen instead of set (they may then be forgotten, where the state does not hold them). If it
    does so for the earlier ones only, bounds on the present action are local. Else bounds go back
    through the history, which the state must then be.

    Args:
        model: The stages, with their diagram.
        do: The variables that were set from outside in the log.

    Example:
        >>> from causalppl.envs import make_env
        >>> log_uses(DTRModel.for_env(make_env("TwoStageDTR")))
        [('counts', 'counts'), ('counts', 'history bounds')]
    """
    found: list[tuple[LogUse, LogUse]] = []
    for stage, paid in enumerate(model.paid):
        outcomes = _use(model, stage, frozenset(model.drawn[stage]), frozenset(do))
        rewards = _use(model, stage, frozenset([paid] if paid else []), frozenset(do))
        found.append((outcomes, rewards))
    return found


def lower_confidence(successes: Array, trials: Array, level: Any) -> Array:
    """Bound means of numbers in [0, 1] from below.

    Args:
        successes: Sums of the numbers.
        trials: How many they are; zero gives zero.
        level: ``log(1 / error)``, of each bound.

    References:
        Chernoff's bound with the relative entropy of coins, which holds for all such numbers
        (Hoeffding 1963, theorem 1).

    Example:
        >>> lower_confidence(np.array([5.0]), np.array([10.0]), 3.0).round(3)
        array([0.164])
    """
    safe = np.maximum(trials, 1e-300)
    mean = (successes / safe).clip(0, 1)
    low, high = np.zeros(np.broadcast(mean, trials).shape), np.array(mean * np.ones_like(trials))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_too_low = trials * _relative_entropy(mean, middle) > level
        low = np.where(is_too_low, middle, low)
        high = np.where(is_too_low, high, middle)
    return low


class FixedRegime(Agent):
    """A regime that does not learn.

    It is a policy too: called with a batch of observations it returns arms, as an oracle's
    ``value`` wants it.

    Args:
        model: The stages.
        q: What it takes each arm to be worth, shape ``(states, arms)``, one for each stage.

    Attributes:
        arms: The arm of each state, shape ``(states,)``, one for each stage.

    Example:
        >>> from causalppl.envs import make_env
        >>> env = make_env("TwoStageDTR")
        >>> always = [np.array([[0.0, 1.0]] * states) for states in (2, 8)]
        >>> round(env.oracle.value(FixedRegime(DTRModel.for_env(env), always)), 5)
        0.5
    """

    name: ClassVar[str] = "fixed regime"

    def __init__(self, model: DTRModel, q: Sequence[Array]) -> None:
        self.model = model
        self.arms = [np.asarray(each).argmax(-1) for each in q]

    def __call__(self, observation: Mapping[str, Any]) -> Integers:
        """Choose an arm for each of a batch of observations of one stage."""
        stage = self.model.stage_of(observation)
        state = self.model.state(stage, observation)
        return np.broadcast_to(self.arms[stage][state], np.shape(observation["stage"]))

    def _begin(self, runs: int) -> None:
        return None

    def _choose(self, observation: Any) -> Integers:
        return self(observation)

    _best = _choose

    def _learn(self, transition: Transition) -> None:
        return None


def naive_policy(model: DTRModel, log: Any) -> FixedRegime:
    """Learn the best regime as if who acted in the log had seen no more than the log shows.

    For comparison: under confounding it may be far from the best one however long the log is.
    Arms that were never taken in a state are given the least possible worth.

    Args:
        model: The stages.
        log: Columns by name, shape ``(rows,)``.

    Raises:
        DataError: The log cannot be read.

    Example:
        >>> from causalppl.envs import make_env
        >>> env = make_env("ConfoundedDTR")
        >>> regime = naive_policy(DTRModel.for_env(env), env.logs(20_000, seed=0))
        >>> [arms.max() for arms in regime.arms]  # the treatment that is best for all: never
        [np.int64(0), np.int64(0)]
    """
    tables = LogTables(model, log)
    return _best_regime(model, *_adjusted(model, [tables]))


def backdoor_policy(model: DTRModel, log: Any, adjustment: Sequence[str]) -> FixedRegime:
    """Learn the best regime from a log that shows what its author saw, though the agent does not.

    Each law is averaged over the adjustment set, whose law given the history is that under
    intervention: it is revised by outcomes, never by actions.

    Args:
        model: The stages.
        log: Columns by name, shape ``(rows,)``.
        adjustment: Discrete variables from before the first action, given which and the history
            each action is unconfounded with what follows it.

    Raises:
        DataError: The log cannot be read, or ``adjustment`` is not in it.
        AssumptionError: A state is not the whole history.

    References:
        Robins (1986), the g-formula.

    Example:
        >>> from causalppl.envs import make_env
        >>> env = make_env("ConfoundedDTR")
        >>> log = env.scm.sample(20_000, seed=0)
        >>> regime = backdoor_policy(DTRModel.for_env(env), log, ["U"])
        >>> round(env.oracle.value(regime), 5)
        0.64
    """
    if not all(map(model.is_full_history, range(len(model)))):
        raise AssumptionError(
            "a state leaves out some of what was seen and done before; expected whole histories; "
            "give each stage entries of its own, actions among them"
        )
    if missing := sorted(set(adjustment) - set(log)):
        raise DataError(f"{', '.join(missing)} is not in the log; expected all of the adjustment")
    columns = {name: np.asarray(log[name]) for name in log}
    rows = np.stack([columns[name] for name in adjustment], -1)
    _, group = np.unique(rows, axis=0, return_inverse=True)
    parts = []
    for number in range(group.max() + 1):
        own = {name: column[group == number] for name, column in columns.items()}
        parts.append(LogTables(model, own))
    return _best_regime(model, *_adjusted(model, parts))


def _best_regime(model: DTRModel, laws: list[Array], rewards: list[Array]) -> FixedRegime:
    return FixedRegime(model, [each[0] for each in backward_induction(model, laws, rewards)])


def _adjusted(model: DTRModel, parts: Sequence[LogTables]) -> tuple[list[Array], list[Array]]:
    """Average the laws of groups, with weights that only outcomes revise."""
    arrived = np.stack([part.pulls[0].sum(2) for part in parts])
    weights = _ratio(arrived, arrived.sum(0))[..., None]  # (groups, 1, states, 1)
    laws, rewards = [], []
    for stage in range(len(model)):
        pulls = np.stack([part.pulls[stage] for part in parts])
        gains = np.stack([part.gains[stage] for part in parts])
        rewards.append((weights * _ratio(gains, pulls)).sum(0))
        if stage == len(model) - 1:
            break
        outcomes = np.stack([part.outcomes[stage] for part in parts])
        joint = weights[..., None] * _ratio(outcomes, pulls[..., None])
        laws.append(joint.sum(0))
        reached = np.zeros((*joint.shape[:2], model.num_states[stage + 1] + model.may_end))
        place: Any = (slice(None), slice(None), model.following[stage])
        np.add.at(reached, place, joint)
        reached = reached[..., : model.num_states[stage + 1]]
        weights = _ratio(reached, reached.sum(0))[..., None]
    return laws, rewards


def _use(model: DTRModel, stage: int, targets: frozenset[str], do: frozenset[str]) -> LogUse:
    acted = frozenset(name for actions in model.actions[: stage + 1] for name in actions)
    present = frozenset(model.actions[stage])
    if not targets or acted <= do:
        return "counts"
    if model.graph is not None and _is_exchanged(model, stage, targets, acted - do, do):
        return "counts"
    if model.graph is not None and _is_exchanged(
        model, stage, targets, acted - present - do, do | present
    ):
        return "local bounds"
    is_full = all(model.is_full_history(earlier) for earlier in range(stage + 1))
    return "history bounds" if is_full else "nothing"


def _is_exchanged(
    model: DTRModel, stage: int, targets: frozenset[str], seen: frozenset[str], do: frozenset[str]
) -> bool:
    """Whether actions that were seen tell what they would if set: rule 2, and rule 1 for gone ones.

    P(targets | state, do(seen), do(others)) is then that given the state, with the others set.
    """
    assert model.graph is not None
    state = frozenset(model.variables(stage)) | frozenset(model.actions[stage])
    before = frozenset(name for actions in model.actions[: stage + 1] for name in actions)
    graph = model.graph.remove_incoming(do)
    gone = before - state
    given = (state | before & do) - seen
    return is_separated(graph.remove_outgoing(seen), targets, seen, given) and is_separated(
        graph, targets, gone, state
    )


def _bounded(
    use: LogUse, share: Array, hits: Array, misses: Array, arrived: Array, level: float
) -> tuple[Array, Array]:
    """Lower and upper bound of the chance of a hit; nothing is said of what is identified."""
    if use in ("counts", "nothing"):
        return np.zeros_like(hits), np.ones_like(hits)
    trials = arrived.reshape(*arrived.shape, *[1] * (hits.ndim - 2))
    ratio = 1.0 if use == "local bounds" else share.reshape(trials.shape)
    low = ratio * lower_confidence(hits, trials, level)
    return low, 1 - ratio * lower_confidence(misses, trials, level)


def _walk(model: DTRModel, columns: Mapping[str, Array]) -> Any:
    """Yield for each stage the state-and-arm cell of each row (-1: left out), outcome and gain."""
    counts = np.ones(next(iter(columns.values())).shape, dtype=bool)
    for stage, paid in enumerate(model.paid):
        arm = model.logged_arm(stage, columns)
        counts = counts & (arm >= 0)
        cell = model.logged_state(stage, columns) * model.num_arms + arm
        is_last = stage == len(model) - 1
        outcome = np.zeros_like(cell) if is_last else model.logged_outcome(stage, columns)
        gain = model.scaled(stage, columns[paid]) if paid else np.zeros(cell.shape)
        yield np.where(counts, cell, -1), outcome, gain


def _columns(model: DTRModel, log: Any) -> dict[str, Array]:
    names = {name for stage in range(len(model)) for name in model.variables(stage)}
    names |= {name for actions in model.actions for name in actions}
    names |= {name for name in model.paid if name}
    if missing := sorted(names - set(log)):
        raise DataError(
            f"the log has no column {', '.join(missing)}; expected all that is seen, set and paid"
        )
    found = {name: np.asarray(log[name], dtype=np.float64) for name in sorted(names)}
    return {name: np.atleast_2d(column) for name, column in found.items()}


def _sums(cells: Integers, shape: tuple[int, ...], weights: Array | None = None) -> Array:
    """Count cells, or add up weights, in each run; negative ones are left out."""
    size = int(np.prod(shape[1:]))
    kept = cells >= 0
    place = (cells + size * np.arange(len(cells))[:, None])[kept]
    found: Any = np.bincount(place, None if weights is None else weights[kept], len(cells) * size)
    return np.asarray(found, dtype=np.float64).reshape(shape)


def _ratio(part: Array, whole: Array) -> Array:
    return np.asarray(part / np.maximum(whole, 1e-300))


def _relative_entropy(p: Array, q: Array) -> Array:
    """Of a coin with chance p from one with chance q; nats."""
    tiny = 1e-300
    gain = p * np.log((p + tiny) / (q + tiny))
    return np.asarray(gain + (1 - p) * np.log((1 - p + tiny) / (1 - q + tiny)))
