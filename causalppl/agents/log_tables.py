"""What logs say of a dynamic treatment regime: counts, and bounds where these identify no law."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from causalppl.agents.agent import Array, Integers
from causalppl.agents.dtr_model import DTRModel
from causalppl.agents.log_columns import log_numbers
from causalppl.agents.log_frames import columns_of
from causalppl.agents.log_uses import LogUse
from causalppl.exceptions import DataError

__all__ = ["LogTables", "StageBounds", "lower_confidence"]

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
        log: Columns by name, shape ``(rows,)`` or ``(runs, rows)``; a frame, or a mapping.

    Attributes:
        arrived: How often each state was met, whatever was done there, shape ``(runs, states)``,
            one for each stage; ``runs`` is 1 where the log is the same in all.
        pulls: How often a row went as an arm would have had it, shape ``(runs, states, arms)``: it
            may follow several arms, ``{}`` always, or none.
        outcomes: Of these rows, what came next, shape ``(runs, states, arms, outcomes)``.
        gains: And the sums of scaled rewards, shape ``(runs, states, arms)``.

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
        self.arrived: list[Array] = []
        self.pulls: list[Array] = []
        self.outcomes: list[Array] = []
        self.gains: list[Array] = []
        for stage in range(len(model)):
            self._count(stage, columns)

    def _count(self, stage: int, columns: Mapping[str, Array]) -> None:
        model, states = self.model, self.model.num_states[stage]
        shape, size = next(iter(columns.values())).shape, model.num_outcomes[stage]
        state = np.broadcast_to(model.logged_state(stage, columns), shape)
        gain = np.broadcast_to(model.logged_gain(stage, columns), shape)
        cell = state * size + model.logged_outcome(stage, columns)
        follows = np.moveaxis(model.follows(stage, columns), -1, 0)
        rows = [np.where(each, state, -1) for each in follows]
        cells = [np.where(each, cell, -1) if size else cell[:, :0] for each in follows]
        self.arrived.append(_sums(state, states))
        self.pulls.append(np.stack([_sums(own, states) for own in rows], -1))
        self.gains.append(np.stack([_sums(own, states, gain) for own in rows], -1))
        table = (len(state), states, size)
        found = [_sums(own, states * size).reshape(table) for own in cells]
        self.outcomes.append(np.stack(found, 2))

    def bounds(self, uses: Sequence[tuple[LogUse, LogUse]], level: float) -> list[StageBounds]:
        """Bound what cannot be identified, from the natural law of states and actions.

        Whatever is hidden, of those with a history who were not treated as asked nothing is known,
        and of the others all is; those who were treated as no arm would have it count among the
        former. With q the largest chance that the history can have if it is brought about,
        P(h, x, o) / q <= P(o | h, do) <= 1 - P(h, x, not o) / q. Chances are replaced by their
        confidence limits.

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
            arrived = self.arrived[stage]
            rewards = _bounded(use_rewards, share, gains, pulls - gains, arrived, level)
            others = pulls[..., None] - outcomes
            laws = _bounded(use_outcomes, share, outcomes, others, arrived, level)
            found.append(StageBounds(laws, rewards))
            if stage < len(uses) - 1:
                share = self._next_share(stage, share, use_outcomes, level)
        return found

    def _next_share(self, stage: int, share: Array, use: LogUse, level: float) -> Array:
        model, pulls, outcomes = self.model, self.pulls[stage], self.outcomes[stage]
        arrived = self.arrived[stage][:, :, None]
        if use == "counts":  # the next state is as likely as in the log once the arm is chosen
            chosen = share[:, :, None] * lower_confidence(pulls, arrived, level)
            given = np.broadcast_to(chosen[..., None], outcomes.shape)
        elif use == "nothing":
            given = np.zeros_like(outcomes)
        else:
            arrived, ratio = arrived[..., None], share[:, :, None, None]
            natural = ratio * lower_confidence(outcomes, arrived, level)
            others = ratio * lower_confidence(pulls[..., None] - outcomes, arrived, level)
            given = natural / (1 - others).clip(1e-300)
        # a state that can be reached in several ways keeps the least share of them
        found = np.full((len(share), model.num_states[stage + 1] + model.may_end), np.inf)
        way = np.broadcast_to(model.is_possible(stage), given.shape[1:])
        place: Any = (slice(None), model.following[stage][way])
        np.minimum.at(found, place, given[:, way])
        return np.where(np.isfinite(found), found, 0.0)[:, : model.num_states[stage + 1]]


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


def _columns(model: DTRModel, log: Any) -> dict[str, Array]:
    names = {name for stage in range(len(model)) for name in model.variables(stage)}
    names |= {name for actions in model.actions for name in actions}
    names |= {name for name in model.paid if name}
    log = columns_of(log)
    if missing := sorted(names - set(log)):
        raise DataError(
            f"the log has no column {', '.join(missing)}; expected all that is seen, set and paid"
        )
    found = {name: log_numbers(name, log[name]) for name in sorted(names)}
    return {name: np.atleast_2d(column) for name, column in found.items()}


def _sums(cells: Integers, size: int, weights: Array | None = None) -> Array:
    """Count cells, or add up weights, in each run; negative ones are left out."""
    kept = cells >= 0
    place = (cells + size * np.arange(len(cells))[:, None])[kept]
    found: Any = np.bincount(place, None if weights is None else weights[kept], len(cells) * size)
    return np.asarray(found, dtype=np.float64).reshape(len(cells), size)


def _relative_entropy(p: Array, q: Array) -> Array:
    """Of a coin with chance p from one with chance q; nats."""
    tiny = 1e-300
    gain = p * np.log((p + tiny) / (q + tiny))
    return np.asarray(gain + (1 - p) * np.log((1 - p + tiny) / (1 - q + tiny)))
