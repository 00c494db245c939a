"""Dynamic treatment regimes learned from logs alone, for comparison."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from causalppl.agents.agent import Agent, Array, Integers, Transition
from causalppl.agents.backward_induction import backward_induction
from causalppl.agents.dtr_model import DTRModel
from causalppl.agents.log_frames import columns_of
from causalppl.agents.log_tables import LogTables, StageBounds, lower_confidence
from causalppl.agents.log_uses import LogUse, log_uses
from causalppl.exceptions import AssumptionError, DataError

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

    name = "fixed regime"

    def __init__(self, model: DTRModel, q: Sequence[Array]) -> None:
        self.model = model
        self._num_actions = model.num_arms
        self._task = str([each.tolist() for each in map(np.asarray, q)])
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
    log = columns_of(log)
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
    arrived = np.stack([part.arrived[0] for part in parts])
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


def _ratio(part: Array, whole: Array) -> Array:
    return np.asarray(part / np.maximum(whole, 1e-300))
