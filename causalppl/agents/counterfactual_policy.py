"""Play what is best by counterfactual inference in a known model."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import product
from typing import Any, Self

import numpy as np

from causalppl.agents.agent import Agent, Arm, Array, Integers, Transition
from causalppl.agents.env_checks import check_env
from causalppl.envs import SCMEnv
from causalppl.envs.arms import check_distinct
from causalppl.exceptions import AssumptionError, ImpossibleEvidenceError, QueryError
from causalppl.inference import infer
from causalppl.programs import SCM
from causalppl.programs.do import NATURAL

__all__ = ["CounterfactualPolicy"]

_MOST_VIEWS = 10_000


class CounterfactualPolicy(Agent):
    """Plays ``argmax E[Y_{do(arm)} | what is seen]`` in a model, which it does not doubt.

    What is seen may include the intent: then the question is counterfactual, what the reward would
    be under the arm for a unit that would by itself do something else. It is the regret decision
    criterion, and the answers are those of `causalppl.infer`, exact where an exact engine applies.
    The model may be the true one, or a draw from a posterior; the policy does not learn. To learn
    while acting there is `ThompsonSampling`.

    Args:
        scm: The model.
        arms: What may be set, to which values; ``{}`` to let be.
        reward: The variable that matters.
        context: Observed variables that are seen before acting.
        intent: A variable whose natural value is seen before acting.
        maximise: Whether the reward variable is to be large, or else small.
        seed: Seed of the answers, where they are by draws.
        **options: Further options of `causalppl.infer`, such as ``engine``.

    Raises:
        QueryError: There are no arms, two are the same, or a variable is not observed in the model.

    References:
        Bareinboim, Forney and Pearl (2015), Bandits with unobserved confounders: a causal approach.

    Example:
        >>> from causalppl.examples import greedy_casino
        >>> casino = greedy_casino()
        >>> policy = CounterfactualPolicy(casino.scm, [{"X": 0}, {"X": 1}], "Y", intent="X")
        >>> policy.means({"X@natural": [0, 1]}).round(2).tolist()
        [[0.15, 0.45], [0.45, 0.15]]
        >>> policy.start(2, seed=0).act({"X@natural": np.array([0, 1])})
        array([1, 0])
    """

    name = "counterfactual policy"

    def __init__(
        self,
        scm: SCM,
        arms: Sequence[Arm],
        reward: str,
        *,
        context: Sequence[str] = (),
        intent: str | None = None,
        maximise: bool = True,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        if not arms:
            raise QueryError("there are no arms; expected at least one, such as {'X': 1}")
        check_distinct(arms)
        seen = {name: name for name in context}
        self.seen = seen if intent is None else {**seen, intent + NATURAL: intent}
        used = {reward, *self.seen.values(), *(name for arm in arms for name in arm)}
        if unknown := sorted(used - set(scm.observed)):
            raise QueryError(
                f"{', '.join(unknown)} is not an observed site; the program observes "
                f"{', '.join(scm.observed)}"
            )
        self.scm, self.reward, self.maximise = scm, reward, maximise
        self.arms = tuple(scm.encode(dict(arm)) for arm in arms)
        self._num_actions = len(self.arms)
        self._task = f"for {reward}, with the arms {self.arms}"
        self._options = {"seed": 0 if seed is None else seed, **options}

    @classmethod
    def for_env(cls, env: SCMEnv, **options: Any) -> Self:
        """Describe the policy that knows the model of an environment.

        Args:
            env: The environment.
            **options: Other settings of the policy.

        Raises:
            DataError: It is no `SCMEnv`, or is wrapped.
        """
        check_env(env, SCMEnv)
        given = {"context": env.context, "intent": env.intent, "maximise": env.pay.sign > 0}
        return cls(env.scm, env.arms, env.outcome, **{**given, **options})

    def means(self, observation: Mapping[str, Any] | None = None) -> Array:
        """Compute the mean of the reward variable by what is seen, shape ``(runs, arms)``.

        Args:
            observation: Key to values, shape ``(runs,)`` each; None where nothing is seen.

        Raises:
            ImpossibleEvidenceError: In the model that cannot be seen.
            AssumptionError: The observation lacks an entry that the policy depends on.
        """
        if not self.seen:
            return self._blind
        columns = self._columns(observation)
        if self._views is None:
            return self._inferred({name: columns[key] for key, name in self.seen.items()})
        rows = np.stack([columns[key] for key in self.seen], -1)
        distinct, place = np.unique(rows, axis=0, return_inverse=True)
        for row in distinct.tolist():
            if tuple(row) not in self._views:
                said = ", ".join(f"{k} = {v:g}" for k, v in zip(self.seen, row, strict=True))
                raise ImpossibleEvidenceError(
                    f"{said} was seen, which has probability 0 in the model; check the model"
                )
        known = np.stack([self._views[tuple(row)] for row in distinct.tolist()])
        return known[place.reshape(-1)]

    @cached_property
    def _blind(self) -> Array:
        """What arms earn where nothing is seen, shape ``(1, arms)``."""
        return self._inferred({})[None]

    @cached_property
    def _views(self) -> dict[tuple[float, ...], Array] | None:
        """What arms earn in each view that is possible; None if there are too many."""
        from causalppl.estimation.program_law import ProgramLaw, why_infinite

        if why_infinite(self.scm) is not None:
            return None
        law = ProgramLaw(self.scm)
        levels = [law.states[name] for name in self.seen.values()]
        if np.prod([len(known) for known in levels], dtype=float) > _MOST_VIEWS:
            return None
        natural, names = law.law({}), tuple(self.seen.values())
        views = [dict(zip(names, values, strict=True)) for values in product(*levels)]
        views = [view for view in views if float(natural.probability(view)) > 0]
        rows = self._inferred({name: np.array([view[name] for view in views]) for name in names})
        coded = [self.scm.encode(view) for view in views]
        return {
            tuple(float(code[name]) for name in names): row
            for code, row in zip(coded, rows, strict=True)
        }

    def _inferred(self, evidence: Mapping[str, Any]) -> Array:
        """Ask for each arm, shape ``(units, arms)``; ``(arms,)`` without evidence."""
        return np.stack([self._asked(arm, evidence) for arm in self.arms], -1)

    def _asked(self, arm: Arm, evidence: Mapping[str, Any]) -> Array:
        done = ", ".join(f"{name}={float(value)!r}" for name, value in arm.items())
        query = f"E[{self.reward}_{{{done}}}]" if arm else f"E[{self.reward}]"
        answer = infer(self.scm, query, evidence=evidence or None, **self._options)
        return np.asarray(next(iter(answer.mean().values())), dtype=np.float64)

    def _columns(self, observation: Any) -> dict[str, Array]:
        if not isinstance(observation, Mapping) or not set(self.seen) <= set(observation):
            raise AssumptionError(
                f"the policy depends on {', '.join(self.seen)}; expected an observation with these "
                f"entries, found {observation!r}"
            )
        return {key: np.atleast_1d(np.asarray(observation[key], float)) for key in self.seen}

    def _begin(self, runs: int) -> None:
        """There is nothing to know but the model."""

    def _choose(self, observation: Any) -> Integers:
        means = self.means(observation)
        chosen = (means if self.maximise else -means).argmax(1)
        return np.broadcast_to(chosen, self.runs or 1).copy()

    def _best(self, observation: Any) -> Integers:
        return self._choose(observation)

    def _learn(self, transition: Transition) -> None:
        """It has nothing to learn."""

    def _read(self, log: Mapping[str, Any], do: tuple[str, ...]) -> None:
        """Likewise."""
