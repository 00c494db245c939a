"""Causal questions to any environment that carries, or is given, a structural causal model."""

from collections.abc import Mapping
from typing import Any

import gymnasium

from causalppl.data import Table
from causalppl.envs.by_value import ByValue
from causalppl.envs.regimes import observed_units
from causalppl.envs.settable import find_values, is_rule
from causalppl.exceptions import AssumptionError, QueryError
from causalppl.graphs import ADMG
from causalppl.identification import possibly_optimal_sets
from causalppl.inference import infer
from causalppl.programs import SCM
from causalppl.programs.interventions import Interventions

__all__ = ["CausalEnvWrapper"]


class CausalEnvWrapper(ByValue, gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment that answers causal questions about itself.

    The model is the one that is given, or else the attribute ``scm`` of the environment (however
    deeply wrapped). An environment that carries its model can also be changed: a persistent
    intervention replaces a mechanism in every episode until it is cleared, and what the
    environment has computed from the model (tables of units, the oracle) is made anew where it has
    a method ``set_model``, as `SCMEnv` does; actions still work on top of it.

    Args:
        env: Any Gymnasium environment.
        scm: A model of it; None: the one that it carries, if any.
        reward_node: The variable that makes the reward; None: the environment's attribute
            ``outcome``, if any.

    Attributes:
        has_causal_interface: Whether there are a model and a reward variable.
        interventions: The persistent interventions in force.

    Raises:
        QueryError: ``reward_node`` is not an observed variable of the model.

    Example:
        >>> from causalppl.envs import SCMEnv
        >>> from causalppl.examples import scm_mab_task_2
        >>> problem = scm_mab_task_2()
        >>> env = CausalEnvWrapper(SCMEnv(problem.scm, problem.arms("POMIS"), problem.reward))
        >>> env.reward_parents, env.unwrapped.oracle.means.round(3)
        (('X',), array([0.773, 0.227, 0.493, 0.507]))
        >>> env.set_intervention({"X": 1})
        >>> env.unwrapped.oracle.means.round(3)
        array([0.507, 0.507, 0.493, 0.507])
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        scm: SCM | None = None,
        reward_node: str | None = None,
    ) -> None:
        super().__init__(env)
        self._carrier = _carrier(env)
        self._is_carried = scm is None and self._carrier is not None
        self._model: SCM | None = scm if scm is not None else getattr(self._carrier, "scm", None)
        node = reward_node if reward_node is not None else getattr(env.unwrapped, "outcome", None)
        if reward_node is not None and self._model and reward_node not in self._model.observed:
            raise QueryError(
                f"reward_node {reward_node!r} is not an observed variable of the model; it has "
                f"{', '.join(self._model.observed)}"
            )
        self._reward_node: str | None = node
        self.interventions: dict[str, Any] = {}

    @property
    def has_causal_interface(self) -> bool:
        """Whether there are a model and a reward variable."""
        return self._model is not None and self._reward_node is not None

    @property
    def scm(self) -> SCM:
        """The model, under the persistent interventions.

        Raises:
            AssumptionError: There is none.
        """
        if self._model is None:
            raise AssumptionError(
                f"{self.env} carries no model (it has no attribute 'scm'); expected one: "
                "CausalEnvWrapper(env, scm=...)"
            )
        return self._model.intervened(self.interventions) if self.interventions else self._model

    @property
    def graph(self) -> ADMG:
        """The causal diagram over the observed variables."""
        return self.scm.graph

    @property
    def reward_node(self) -> str:
        """The variable that makes the reward.

        Raises:
            AssumptionError: It is not known.
        """
        if self._reward_node is None:
            raise AssumptionError(
                f"which variable makes the reward of {self.env} is not known; expected "
                "CausalEnvWrapper(env, reward_node=...)"
            )
        return self._reward_node

    @property
    def reward_parents(self) -> tuple[str, ...]:
        """The observed direct causes of the reward, in causal order."""
        return self.graph.in_order(self.graph.parents(self.reward_node))

    def find_intervention_sets(
        self, manipulable: tuple[str, ...] | None = None
    ) -> tuple[frozenset[str], ...]:
        """List the sets of variables that may be worth setting (Lee and Bareinboim, 2018).

        Args:
            manipulable: The variables that can be set; None: all but the reward.
        """
        return possibly_optimal_sets(self.graph, self.reward_node, manipulable=manipulable)

    def do(self, interventions: Interventions, num_units: int, *, seed: int | None = None) -> Table:
        """Draw units of the model under an intervention; the environment is left as it is.

        Args:
            interventions: As for `causalppl.do`.
            num_units: How many.
            seed: Seed of the draw.

        Returns:
            The observed variables.

        Raises:
            AssumptionError: There is no model.
            QueryError: What is set is hidden, unknown, or the reward.
            DataError: It is set to a value that it cannot take.
        """
        self._check_settable(interventions)
        found = observed_units(self.scm.intervened(interventions), num_units, seed=seed)
        self._check_values({name: found[name].cpu().numpy() for name in interventions})
        return found

    def _check_settable(self, interventions: Mapping[str, Any]) -> None:
        """Allow what an agent could do: not to what it does not see, nor to its own reward."""
        observed = self.scm.observed
        allowed = [name for name in observed if name != self._reward_node]
        for name in interventions:
            if name in allowed:
                continue
            what = "makes the reward" if name == self._reward_node else "is not observed"
            raise QueryError(
                f"{name} cannot be set: it {what}; expected some of {', '.join(allowed)}; the "
                "model itself, env.scm, takes any intervention"
            )

    def mean_reward(self, interventions: Interventions, *, seed: int | None = None) -> float:
        """Compute the model's mean reward under an intervention, exactly where it can be.

        Args:
            interventions: As for `causalppl.do`.
            seed: Seed of the draws where the answer is not exact.

        Raises:
            AssumptionError: There is no model, or its reward is not known.
            QueryError: What is set is hidden, unknown, or the reward.
            DataError: It is set to a number that it cannot be.
        """
        self._check_settable(interventions)
        self._check_values(interventions)
        key = f"{self.reward_node}@done"
        answer = infer(self.scm, [key], worlds={"done": interventions}, seed=seed)
        return float(answer.mean()[key])

    def set_intervention(self, interventions: Mapping[str, Any]) -> None:
        """Replace mechanisms in every episode from now on, until `clear_intervention`.

        Args:
            interventions: As for `causalppl.do`; they replace the ones in force.

        Raises:
            AssumptionError: The environment does not run the model: it was only given one.
            ProgramError: A variable is unknown.
            QueryError: One is hidden.
            DataError: One is set to a value that it cannot take, or a reward leaves its range.

        If it fails, nothing is changed.
        """
        if not self._is_carried:
            raise AssumptionError(
                f"{self.env} does not run the model, so that an intervention would not change it; "
                "expected an environment with an attribute 'scm'"
            )
        assert self._model is not None
        self._check_shown(interventions)
        self._check_values(interventions)
        changed = self._model.intervened(interventions) if interventions else self._model
        put = getattr(self._carrier, "set_model", None)
        if put is None:
            self._carrier.scm = changed
        else:
            put(changed)
        self.interventions = dict(interventions)

    def _check_shown(self, interventions: Mapping[str, Any]) -> None:
        """Leave alone what no agent sees: set to numbers one by one it would show itself."""
        assert self._model is not None
        sites, observed = self._model.structure.sites, self._model.observed
        if hidden := [name for name in interventions if name in sites and name not in observed]:
            raise QueryError(
                f"{', '.join(hidden)} cannot be set: it is not observed; expected some of "
                f"{', '.join(observed)}; for another law of what is hidden wrap an environment "
                "with another model, such as SCMEnv(scm.intervened(...), ...)"
            )

    def _check_values(self, interventions: Mapping[str, Any]) -> None:
        """Check numbers; what is paid is checked by its range."""
        assert self._model is not None
        sites = self._model.structure.sites
        given = {n: v for n, v in self._model.encode(interventions).items() if not is_rule(v)}
        checked = [n for n in given if n in sites and not sites[n].event_shape]
        for name, values in find_values(self._model, checked).items():
            if name != self._reward_node:
                values.check(given[name])

    def clear_intervention(self) -> None:
        """Put the original mechanisms back."""
        self.set_intervention({})


def _carrier(env: Any) -> Any:
    """Find the innermost environment that carries a model, if any."""
    found = None
    while env is not None:
        if isinstance(vars(env).get("scm"), SCM):
            found = env
        env = vars(env).get("env")
    return found
