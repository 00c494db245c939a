"""Causal Bayesian optimisation: which variables to set, and to what, by draws of a causal model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import numpy as np

from causalppl.agents.agent import Agent, Arm, Array, Transition
from causalppl.agents.arm_search import best_point, is_open
from causalppl.agents.choice import diagram_of
from causalppl.agents.env_checks import check_env
from causalppl.agents.gp_mechanism import GPSettings, Rows
from causalppl.agents.gp_model import DrawnModel, GPModel
from causalppl.agents.log_columns import log_columns
from causalppl.agents.transition_checks import ArmCheck
from causalppl.envs import SCMEnv
from causalppl.envs.arms import check_distinct
from causalppl.exceptions import DataError, QueryError
from causalppl.graphs import ADMG
from causalppl.identification.intervention_sets import (
    minimal_intervention_sets,
    possibly_optimal_sets,
)
from causalppl.programs import SCM

__all__ = ["CausalBayesianOptimisation"]

WHICH = "set"
"""The key of an action that says which arm it is, as in environments with open values."""


class CausalBayesianOptimisation(Agent):
    """Sets continuous variables so that a reward becomes as good as possible.

    Each mechanism is a Gaussian process of a variable's parents, learned from natural rows and from
    all rows in which the variable was not set, whatever else was. To act, models are drawn from the
    posterior, and what is best in them is done: in one of them by Thompson sampling, by default on
    average over a few, which explores less. Hidden common causes are taken to add to what parents
    do; natural rows that cannot tell the two apart leave both open.

    Hyperparameters are refitted after 1, 2, 4, 8, ... actions, and after each log.

    Args:
        model: The causal diagram, or a program with that diagram, which is all that is used.
        arms: What may be set together: variable to its bounds ``(low, high)``, or to a number.
        reward: The variable that matters.
        maximise: Whether it is to be large, or small.
        sets: Which arms are tried: ``"all"``, those that set a minimal (``"MIS"``) or a possibly
            optimal (``"POMIS"``) set of variables. Both hold for variables that may be set to
            anything; where the bounds are narrow a larger choice can be better.
        settings: Beliefs about mechanisms before data.
        num_models: How many drawn models are averaged before acting. One is Thompson sampling; more
            explore less, which pays where there are few steps; two did best in 60 steps on random
            functions.
        num_particles: Units that a drawn model is followed with.

    Raises:
        GraphError: The model is neither a diagram nor a program.
        QueryError: A variable is not in the diagram, bounds differ or are no interval, an arm is
            there twice, or no arm is left.

    References:
        Aglietti, Lu, Paleyes and González (2020), Causal Bayesian optimization, for the problem and
        the sets; Thompson (1933).

    Example:
        >>> from causalppl.examples import toy_graph
        >>> problem = toy_graph()
        >>> agent = CausalBayesianOptimisation(problem.scm, problem.actions(), "Y", maximise=False)
        >>> playing = agent.start(seed=0)
        >>> playing.observe({n: v.numpy() for n, v in problem.scm.sample(100, seed=1).items()})
        >>> sorted(playing.act())
        ['X', 'Z', 'set']
    """

    name = "causal Bayesian optimisation"
    _state: ClassVar[tuple[str, ...]] = ("memories",)

    def __init__(
        self,
        model: SCM | ADMG,
        arms: Sequence[Arm],
        reward: str,
        *,
        maximise: bool = True,
        sets: Literal["all", "MIS", "POMIS"] = "POMIS",
        settings: GPSettings | None = None,
        num_models: int = 2,
        num_particles: int = 16,
    ) -> None:
        self.graph = diagram_of(model)
        check_distinct(arms)
        self.arms, self.reward = tuple(dict(arm) for arm in arms), reward
        self.num_models = num_models
        self.sign = 1.0 if maximise else -1.0
        self.bounds = _bounds(self.graph, self.arms, reward)
        self.tried = _tried(self.graph, self.arms, reward, sets)
        names = [frozenset(self.arms[number]) for number in self.tried]
        self.model = GPModel(
            self.graph, reward, self.bounds, names, settings or GPSettings(), num_particles
        )
        self.memories: list[_Memory]
        self._task = f"for {reward} in {self.graph}, with the arms {self.arms}"

    @classmethod
    def for_env(cls, env: SCMEnv, **options: Any) -> Self:
        """Describe an agent that plays the arms of an environment and knows its diagram only.

        Args:
            env: The environment.
            **options: Other settings of the agent.

        Raises:
            DataError: It is no `SCMEnv`, or is wrapped.
        """
        check_env(env, SCMEnv)
        return cls(env.scm, env.arms, env.outcome, maximise=env.pay.sign > 0, **options)

    def _begin(self, runs: int) -> None:
        self.memories = [_Memory(known=self.model.fresh()) for _ in range(runs)]

    def _choose(self, observation: Any) -> Any:
        chosen = []
        for memory, rng in zip(self.memories, self._rngs, strict=True):
            self._refit(memory)
            chosen.append(self._best_of([self._drawn(memory, rng) for _ in range(self.num_models)]))
        return self._actions(chosen)

    def _best(self, observation: Any) -> Any:
        chosen = []
        for memory in self.memories:
            self._refit(memory)
            rng = np.random.default_rng(0)
            chosen.append(self._best_of([self._drawn(memory, rng) for _ in range(_TO_AVERAGE)]))
        return self._actions(chosen)

    def _learn(self, transition: Transition) -> None:
        arms = np.asarray(transition.action.get(WHICH, np.zeros(len(self.memories), dtype=int)))
        if arms.dtype.kind not in "iu" or arms.min() < 0 or arms.max() >= len(self.arms):
            raise DataError(f"the arms {arms} were taken; expected 0 to {len(self.arms) - 1}")
        for run, memory in enumerate(self.memories):
            row = self._row({n: np.asarray(v)[run : run + 1] for n, v in transition.values.items()})
            arm = self.arms[arms[run]]
            done = {n: transition.action[n][run] if is_open(v) else v for n, v in arm.items()}
            check = ArmCheck([done], self.reward, self.sign)
            check(np.zeros(1, dtype=np.int64), np.asarray(transition.reward)[run : run + 1], row)
            memory.add(row, frozenset(arm))
            memory.num_actions += 1
            memory.is_stale |= memory.num_actions & (memory.num_actions - 1) == 0

    def _read(self, log: Mapping[str, Any], do: tuple[str, ...]) -> None:
        columns = self._row(log_columns(log, self.graph.nodes, len(self.memories)))
        if unknown := sorted(set(do) - set(self.graph.nodes)):
            raise DataError(f"{', '.join(unknown)} was set in the log, but is not in the diagram")
        for run, memory in enumerate(self.memories):
            rows = {n: v[run] if v.ndim == 2 else v for n, v in columns.items()}
            memory.add(rows, frozenset(do))
            memory.is_stale = True

    def _row(self, values: Mapping[str, Any]) -> dict[str, Array]:
        if missing := [name for name in self.model.order if name not in values]:
            raise DataError(
                f"nothing is said of {', '.join(missing)}; expected the value of each variable "
                f"that matters, {', '.join(self.model.order)}"
            )
        found = {
            n: np.asarray(values[n], dtype=np.float64) for n in self.graph.nodes if n in values
        }
        if missing := [name for name, column in found.items() if not np.isfinite(column).all()]:
            raise DataError(
                f"{missing[0]} has a missing or infinite value; expected numbers: leave such rows "
                "out"
            )
        return found

    def _refit(self, memory: "_Memory") -> None:
        if memory.is_stale and memory.rows is not None:
            memory.known = self.model.fit(memory.rows, memory.known)
            memory.is_stale = False

    def _drawn(self, memory: "_Memory", rng: np.random.Generator) -> DrawnModel:
        rows = memory.rows if memory.rows is not None else _nothing(self.graph)
        return self.model.draw(rows, memory.known, rng)

    def _best_of(self, models: Sequence[DrawnModel]) -> tuple[int, dict[str, float]]:
        def mean(done: Mapping[str, Array]) -> Array:
            return self.sign * np.mean([model.mean(done) for model in models], 0)

        found = [(number, *best_point(self.arms[number], mean)) for number in self.tried]
        number, _, point = max(found, key=lambda entry: entry[1])
        return number, point

    def _actions(self, chosen: Sequence[tuple[int, dict[str, float]]]) -> dict[str, Any]:
        """Put actions in the form of an environment with open values."""
        found: dict[str, Any] = {}
        if len(self.arms) > 1:
            found[WHICH] = np.array([number for number, _ in chosen], dtype=np.int64)
        for name, (low, _) in self.bounds.items():
            found[name] = np.array([point.get(name, low) for _, point in chosen])
        return found


@dataclass
class _Memory:
    """What one run has seen, and the hyperparameters fitted to it."""

    known: dict[str, Any]
    rows: Rows | None = None
    num_actions: int = 0
    is_stale: bool = field(default=False)

    def add(self, values: Mapping[str, Array], was_set: frozenset[str]) -> None:
        """Add rows in all of which the same variables were set."""
        count = len(next(iter(values.values())))
        masks = {name: np.full(count, name in was_set) for name in values}
        if self.rows is None:
            self.rows = Rows(values, masks)
            return
        self.rows = Rows(
            {n: np.concatenate([self.rows.values[n], values[n]]) for n in values},
            {n: np.concatenate([self.rows.was_set[n], masks[n]]) for n in values},
        )


_TO_AVERAGE = 20


def _nothing(graph: ADMG) -> Rows:
    return Rows(
        {name: np.zeros(0) for name in graph.nodes},
        {name: np.zeros(0, dtype=bool) for name in graph.nodes},
    )


def _bounds(graph: ADMG, arms: Sequence[Arm], reward: str) -> dict[str, tuple[float, float]]:
    if unknown := sorted({reward, *(n for arm in arms for n in arm)} - set(graph.nodes)):
        raise QueryError(
            f"{', '.join(unknown)} is not in the diagram, which has {', '.join(graph.nodes)}"
        )
    found: dict[str, tuple[float, float]] = {}
    for name, value in ((n, v) for arm in arms for n, v in arm.items() if is_open(v)):
        if len(value) != 2 or not -np.inf < value[0] < value[1] < np.inf:
            raise QueryError(f"{name} may be set to {value!r}; expected finite bounds (low, high)")
        low, high = float(value[0]), float(value[1])
        if found.setdefault(name, (low, high)) != (low, high):
            raise QueryError(
                f"{name} has the bounds {found[name]} and {(low, high)}; expected the same ones in "
                "each arm"
            )
    if not found:
        raise QueryError(
            "no arm leaves a value open; expected such as {'X': (-1.0, 1.0)}, or use "
            "ThompsonSampling for arms whose values are given"
        )
    return {name: found[name] for name in graph.topological_order() if name in found}


def _tried(graph: ADMG, arms: Sequence[Arm], reward: str, sets: str) -> tuple[int, ...]:
    known = {"MIS": minimal_intervention_sets, "POMIS": possibly_optimal_sets}
    if sets not in {"all", *known}:
        raise QueryError(f"sets is {sets!r}; expected 'all', 'MIS' or 'POMIS'")
    if sets == "all":
        return tuple(range(len(arms)))
    manipulable = {name for arm in arms for name in arm}
    kept = set(known[sets](graph, reward, manipulable=graph.in_order(manipulable)))
    found = tuple(number for number, arm in enumerate(arms) if frozenset(arm) in kept)
    if not found:
        raise QueryError(
            f"no arm sets one of the {sets}, {sorted(map(sorted, kept))}; add such an arm, or use "
            "sets='all'"
        )
    return found
