"""Thompson sampling over causal models: draw one from the posterior, play what is best in it."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from causalppl.agents.agent import Agent, Arm, Array, Integers, Transition
from causalppl.agents.choice import Choice, Levels
from causalppl.agents.env_checks import check_env
from causalppl.agents.log_columns import log_columns
from causalppl.agents.transition_checks import ArmCheck
from causalppl.envs import SCMEnv
from causalppl.exceptions import AssumptionError, DataError, GraphError, QueryError
from causalppl.graphs import ADMG
from causalppl.programs import SCM

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Belief", "Engine", "ThompsonSampling"]


class Belief(ABC):
    """What is believed about a model, in many runs at once; it moves on with each draw.

    Example:
        >>> from causalppl.agents import ThompsonSampling
        >>> from causalppl.graphs import bow
        >>> agent = ThompsonSampling(bow(), [{"X": 0}, {"X": 1}], "Y").start(5, seed=0)
        >>> isinstance(agent.belief, Belief), agent.belief.draw().shape
        (True, (5, 1, 2))
    """

    @abstractmethod
    def learn(self, values: Mapping[str, Array], arms: Integers) -> None:
        """Take in one unit in each run.

        Args:
            values: The variables of the diagram, shape ``(runs,)`` each.
            arms: The arm under which they came about, shape ``(runs,)``.
        """

    @abstractmethod
    def read(self, values: Mapping[str, Array], set_variables: frozenset[str]) -> None:
        """Take in a log, shape ``(runs, rows)`` each, in which some variables were set."""

    @abstractmethod
    def draw(self) -> Array:
        """Draw a model for each run.

        Returns:
            The mean of the reward variable under each arm in it, ``(runs, views, arms)``: its own,
            also where the reward is its negative.
        """

    @abstractmethod
    def average(self) -> Array:
        """The mean of the reward variable under each arm over the posterior, as for `draw`."""

    @abstractmethod
    def view(self, observation: Any) -> Integers:
        """Number what is seen before acting, shape ``(runs,)``, or ``(1,)`` where that is all."""

    def log_predictive(self, values: Mapping[str, Array], arms: Integers | frozenset[str]) -> Array:
        """The log probability of the next unit of each run, shape ``(runs,)``.

        Args:
            values: As for `learn`.
            arms: As for `learn`, or as for `read`.

        Raises:
            AssumptionError: This engine has no such.
        """
        raise AssumptionError(
            f"{type(self).__name__} does not foretell units, so that several diagrams cannot be "
            "compared; use LatentClasses, or one diagram"
        )

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return what a continuation depends on."""

    @abstractmethod
    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""


class Engine(ABC):
    """How a posterior over models is held: the prior, and the computation.

    Attributes:
        is_discrete: Whether variables take few values, which the diagram alone does not tell.

    Example:
        >>> from causalppl.agents import LatentClasses
        >>> isinstance(LatentClasses(num_classes=2), Engine)
        True
    """

    is_discrete: ClassVar[bool] = True

    @abstractmethod
    def begin(self, choice: Choice, rngs: list[np.random.Generator], runs: int) -> Belief:
        """Return the belief of knowing nothing.

        Args:
            choice: The arms, the reward, and what is seen beforehand.
            rngs: One random stream for each group of equally many runs.
            runs: How many runs.

        Raises:
            AssumptionError: The model is not of this engine's kind.
        """


class ThompsonSampling(Agent):
    """Draws a causal model from its posterior and plays the arm that is best in it.

    What is learned at one arm, or from natural data, tells about every other arm that shares a
    mechanism with it. Confounding is part of the model: data that cannot tell how good an arm is
    leave its value open, and so it is tried.

    Args:
        model: The causal diagram, or a program with that diagram, of which only the diagram and
            the values that variables take are used; or, where the diagram is not known, a mapping
            from possible diagrams to prior weights, which are learned from what they foretell (in
            each run by chance of its own; see `GraphMixture`).
        arms: What may be set, to which values; ``{}`` to let be.
        reward: The variable that matters.
        context: Observed variables that are seen before acting.
        intent: A variable whose natural value is seen before acting: what would be done if nobody
            interfered, as in the regret decision criterion.
        levels: The values of variables, where they are not 0 and 1 nor those of the program.
        maximise: Whether the reward variable is to be large, or else small.
        engine: How the posterior is held; by default `LatentClasses`, for discrete variables.

    Raises:
        GraphError: The model is neither a diagram nor a program, nor a mapping of such.
        QueryError: Weights are not positive, diagrams have different nodes, or a variable is not in
            them; an arm sets the reward, or is there twice; what is seen depends on what is set.
        DataError: An arm sets a variable to a value that it does not take, or to no number.

    References:
        Thompson (1933); Lee and Bareinboim (2018), Structural causal bandits; Bareinboim, Forney
        and Pearl (2015), Bandits with unobserved confounders, for the intent.

    Example:
        >>> from causalppl.examples import scm_mab_task_2
        >>> problem = scm_mab_task_2()
        >>> agent = ThompsonSampling(problem.scm, problem.arms("POMIS"), "Y").start(seed=0)
        >>> agent.update(Transition(action=0, reward=1.0, values={"Z": 0, "X": 1, "Y": 1}))
        >>> agent.act() in range(4)
        True
    """

    name = "SCM Thompson sampling"
    block: ClassVar[int] = 8

    def __init__(
        self,
        model: SCM | ADMG | Mapping[ADMG, float],
        arms: Sequence[Arm],
        reward: str,
        *,
        context: Sequence[str] = (),
        intent: str | None = None,
        levels: Levels | None = None,
        maximise: bool = True,
        engine: Engine | None = None,
    ) -> None:
        from causalppl.agents.latent_class_engine import LatentClasses

        if isinstance(model, list | tuple):
            raise GraphError(
                f"the model is a {type(model).__name__}; expected a diagram, an SCM, or a mapping "
                "from diagrams to prior weights, such as {graph: 0.5, other: 0.5}"
            )
        weights = dict(model) if isinstance(model, Mapping) else {model: 1.0}
        if not weights or not all(weight > 0 for weight in weights.values()):
            raise QueryError(
                f"the diagrams have weights {list(weights.values())}; expected positive"
            )
        self.engine = LatentClasses() if engine is None else engine
        self.choices = [
            Choice.of(
                each,
                arms,
                reward,
                context=context,
                intent=intent,
                levels=levels,
                is_discrete=self.engine.is_discrete,
            )
            for each in weights
        ]
        if len({frozenset(choice.graph.nodes) for choice in self.choices}) > 1:
            raise QueryError("the diagrams have different nodes; expected the same in each")
        self.choice = self.choices[0]
        self._prior_weights = np.array(list(weights.values()), dtype=float)
        self.arms, self.maximise = self.choice.arms, maximise
        self._num_actions = len(self.arms)
        self._check = ArmCheck(self.arms, reward, 1.0 if maximise else -1.0)
        diagrams = " or ".join(str(choice.graph) for choice in self.choices)
        self._task = (
            f"by {type(self.engine).__name__} for {reward} in {diagrams}, with the arms {self.arms}"
        )

    @classmethod
    def for_env(cls, env: SCMEnv, *, engine: Engine | None = None) -> Self:
        """Describe an agent that plays all arms of an environment and knows its diagram only.

        Args:
            env: The environment.
            engine: How the posterior is held; None: as the constructor chooses.

        Raises:
            DataError: It is no `SCMEnv`, or is wrapped.
        """
        check_env(env, SCMEnv)
        return cls(
            env.scm,
            env.arms,
            env.outcome,
            context=env.context,
            intent=env.intent,
            maximise=env.pay.sign > 0,
            engine=engine,
        )

    def prior_predictive(self, num_draws: int = 1000, *, seed: int | None = None) -> "xr.DataArray":
        """Draw what the prior believes that each arm earns.

        Look at it before playing: a prior that is nearly sure of something is slow to unlearn it.

        Args:
            num_draws: How many draws of the model.
            seed: Seed of the draws.

        Returns:
            Shape ``(draw, view, arm)``; ``view`` is there where something is seen beforehand.
        """
        import xarray as xr

        belief = self._belief([np.random.default_rng(seed)], num_draws)
        drawn = belief.draw()
        labels = [_label(arm) for arm in self.arms]
        found = xr.DataArray(drawn, dims=("draw", "view", "arm"), coords={"arm": labels})
        return found if self.choice.context else found.isel(view=0)

    def _begin(self, runs: int) -> None:
        self.belief = self._belief(self._rngs, runs)

    def _belief(self, rngs: list[np.random.Generator], runs: int) -> Belief:
        from causalppl.agents.graph_mixture import GraphMixture

        if len(self.choices) == 1:
            return self.engine.begin(self.choice.relevant, rngs, runs)
        beliefs = [self.engine.begin(choice, rngs, runs) for choice in self.choices]
        return GraphMixture(beliefs, self._prior_weights / self._prior_weights.sum(), rngs, runs)

    def _choose(self, observation: Any) -> Integers:
        return self._pick(self.belief.draw(), observation)

    def _best(self, observation: Any) -> Integers:
        return self._pick(self.belief.average(), observation)

    def _pick(self, means: Array, observation: Any) -> Integers:
        view = self.belief.view(observation)
        runs = np.arange(len(means))
        values = means[runs, view]
        return np.asarray((values if self.maximise else -values).argmax(-1))

    def _learn(self, transition: Transition) -> None:
        # what was played may have been set, so that it does not show what was intended
        nodes = self.choice.graph.nodes
        rows = self.choice.rows(transition.values, transition.observation, nodes)
        if wrong := [name for name in nodes if rows[name].shape != (self.runs or 1,)]:
            raise DataError(
                f"{wrong[0]} has shape {rows[wrong[0]].shape}; expected one value for each run, "
                f"({self.runs or 1},)"
            )
        arms = np.asarray(transition.action)
        self._check(arms, transition.reward, rows)
        self.belief.learn(rows, arms)

    def _read(self, log: Mapping[str, Any], do: tuple[str, ...]) -> None:
        runs, nodes = self.runs or 1, self.choice.graph.nodes
        if unknown := sorted(set(do) - set(nodes)):
            raise DataError(f"{', '.join(unknown)} was set in the log, but is not in the diagram")
        if self.choice.reward in do:
            raise DataError(f"the reward, {self.choice.reward}, was set in the log; leave that out")
        rows = self.choice.rows(log_columns(log, nodes, runs), None, do)
        shaped = {n: np.broadcast_to(v, (runs, v.shape[-1])) for n, v in rows.items()}
        self.belief.read(shaped, frozenset(do))

    def state_dict(self) -> dict[str, Any]:
        """Return all that a continuation depends on, as a copy."""
        return {**super().state_dict(), "belief": copy.deepcopy(self.belief.state())}

    def load_state_dict(self, state: Mapping[str, Any]) -> Self:
        """Return an agent that goes on from a state."""
        rest = dict(state)
        belief = copy.deepcopy(rest.pop("belief", {}))
        found = super().load_state_dict(rest)
        found.belief.load(belief)
        return found


def _label(arm: Arm) -> str:
    return ", ".join(f"{name}={value:g}" for name, value in arm.items()) or "observe"
