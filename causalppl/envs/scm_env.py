"""A structural causal model as a Gymnasium environment: one unit is one episode of one step."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from causalppl.data import Table
from causalppl.envs.arms import Arms
from causalppl.envs.by_value import ByValue
from causalppl.envs.enumeration import MOST_CELLS, count_cells, enumerate_cells
from causalppl.envs.oracle import Oracle
from causalppl.envs.pay import Pay
from causalppl.envs.regimes import Regimes
from causalppl.envs.shown import Context, Shown, check_number
from causalppl.envs.streams import OneStream
from causalppl.envs.truth import Truth, find_oracle
from causalppl.envs.units import ProgramUnits, TabulatedUnits, UnitSource
from causalppl.estimation.program_law import check_parameters
from causalppl.exceptions import AssumptionError, QueryError
from causalppl.graphs import ADMG
from causalppl.programs import SCM

if TYPE_CHECKING:
    from causalppl.envs.vector import SCMVectorEnv
    from causalppl.inference import Posterior

__all__ = ["SCMEnv"]


class SCMEnv(ByValue, gymnasium.Env[Any, Any]):
    """An SCM in which an agent acts, once for each unit.

    ``reset`` draws a unit and shows what may be seen of it; ``step`` sets the variables of the
    action, and ends the episode. ``info["values"]`` holds the values of the observed variables;
    hidden ones and the truth are never in ``info`` (see ``oracle``).

    Args:
        scm: The model.
        actions: A sequence of arms, each a mapping from variable to value (``{}`` observes): the
            action is a number. Values may be left open, as a space of one number or as bounds
            ``(low, high)``: the action is a mapping from variable to value and, where there are
            several arms, ``"set"``: which of them. One mapping alone is the only arm.
        outcome: The variable that makes the reward.
        context: Observed variables that are seen before acting; no action may reach them. Or a
            mapping from them to bounds ``(low, high)``, which go into the observation space.
        intent: A variable whose natural value is seen before acting, as ``X@natural``.
        reward_range: Smallest and largest reward; another one is an error.
        regimes: Which of ``"see"``, ``"do"`` and ``"counterfactual"`` an agent may use.
        maximise: Whether the reward is the outcome, or else its negative.
        tabulate: Draw units from a table of the exact law, made once, or by running the program.
            None: the former where the program is finite and the table not too large.
        truth: For the oracle of a program that is not finite: mean outcomes, where they are known,
            as a function of a mapping of the variables that are set and the entries of what is
            seen. None: by draws.

    Attributes:
        arms: The arms, as mappings.
        oracle: True means, the optimum and regret, for evaluation.

    Raises:
        QueryError: A variable is unknown, or there is no arm.
        ProgramError: The program has random parameters: an environment has one truth.
        AssumptionError: What is seen depends on what may be set.
        DataError: A reward outside its range is possible (in a finite program; else `step` raises).

    References:
        Lee and Bareinboim (2018), Structural causal bandits; Bareinboim, Forney and Pearl (2015)
        for the intent.

    Example:
        >>> from causalppl.examples import greedy_casino
        >>> casino = greedy_casino()
        >>> env = SCMEnv(casino.scm, [{"X": 0}, {"X": 1}], "Y", intent="X")
        >>> observation, info = env.reset(seed=1)
        >>> observation, info
        ({'X@natural': np.int64(1)}, {})
        >>> _, reward, terminated, _, info = env.step(1 - observation["X@natural"])
        >>> reward, terminated, info["values"]
        (1.0, True, {'X': np.int64(0), 'Y': np.int64(1)})
        >>> env.oracle.means.round(2).tolist()
        [[0.15, 0.45], [0.45, 0.15]]
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - Gymnasium's name

    def __init__(
        self,
        scm: SCM,
        actions: Sequence[Mapping[str, Any]] | Mapping[str, Any],
        outcome: str,
        *,
        context: Context = (),
        intent: str | None = None,
        reward_range: tuple[float, float] = (0.0, 1.0),
        regimes: Sequence[str] = ("do",),
        maximise: bool = True,
        tabulate: bool | None = None,
        truth: Truth | None = None,
    ) -> None:
        if outcome not in scm.observed:
            raise QueryError(
                f"the outcome {outcome!r} is not an observed site; the program observes "
                f"{', '.join(scm.observed)}"
            )
        check_number(scm, outcome)
        self.outcome = outcome
        self.pay = Pay(float(reward_range[0]), float(reward_range[1]), 1.0 if maximise else -1.0)
        self._actions, self._seeing, self._tabulate = actions, (context, intent), tabulate
        self._allowed, self._truth = regimes, (scm, truth)
        self.set_model(scm)
        self.action_space = self.choices.space
        self.observation_space = self.shown.space(self.units.levels)

    def set_model(self, scm: SCM) -> None:
        """Put another model in place: same variables, actions and spaces, other mechanisms.

        The table of units and the oracle are made anew (by draws, where ``truth`` was given for
        the first model); a unit that has begun is given up. If it fails, nothing is changed.
        """
        check_parameters(scm)
        choices = Arms(scm, self._actions)
        shown, regimes = Shown(scm, choices, *self._seeing), Regimes(scm, self._allowed)
        if "do" not in regimes.allowed and any(choices.arms):
            raise AssumptionError(
                f"the regimes are {', '.join(regimes.allowed)}, but some arms set variables; "
                "expected only the arm {}, or 'do' among the regimes"
            )
        self.units = self._unit_source(scm, choices, shown)
        self.scm, self.choices, self.shown, self.regimes = scm, choices, shown, regimes
        self.__dict__.pop("oracle", None)
        self._begun: Any = None
        self._seen: dict[str, NDArray[Any]] = {}

    @property
    def arms(self) -> tuple[dict[str, Any], ...]:
        """The arms, as mappings from variable to value."""
        return self.choices.arms

    @property
    def graph(self) -> ADMG:
        """The causal diagram over the observed variables."""
        return self.scm.graph

    @property
    def context(self) -> tuple[str, ...]:
        """The variables that are seen before acting."""
        return self.shown.context

    @property
    def intent(self) -> str | None:
        """The variable whose natural value is seen before acting."""
        return self.shown.intent

    @property
    def reward_range(self) -> tuple[float, float]:
        """Smallest and largest reward."""
        return self.pay.low, self.pay.high

    @property
    def has_streams(self) -> bool:
        """Whether a batch may have one random stream for each of its environments."""
        return self.units.has_streams

    @cached_property
    def oracle(self) -> Oracle:
        """The truth, for evaluation only."""
        model, truth = self._truth
        known = truth if self.scm is model else None
        given = (self.choices, self.shown, self.units, self.outcome, self.pay.sign, known)
        return find_oracle(self.scm, *given)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Draw a unit, and show what may be seen of it before acting."""
        super().reset(seed=seed)
        self._begun, self._seen = self.units.begin(1, OneStream(self.np_random, 1))
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Act on the unit; the episode ends.

        Raises:
            AssumptionError: There is no unit: `reset` was not called since the last step.
            DataError: The action is not in its space, or the reward outside its range.
        """
        if self._begun is None:
            raise AssumptionError("step was called without a unit; call reset before each step")
        begun, self._begun = self._begun, None
        actions = self.choices.batch(action)
        values = self.units.finish(begun, actions, OneStream(self.np_random, 1))
        reward = float(self.pay.rewards(values[self.outcome])[0])
        info = {"values": {name: column[0] for name, column in values.items()}}
        return self._observation(), reward, True, False, info

    def vector(self, num_envs: int) -> "SCMVectorEnv":
        """Return many of this environment as one, with a vectorised step."""
        from causalppl.envs.vector import SCMVectorEnv

        return SCMVectorEnv(self, num_envs)

    def see(self, num_units: int, *, seed: int | None = None) -> Table:
        """Draw units on which nobody acts: the observed variables only.

        Raises:
            AssumptionError: ``"see"`` is not among the regimes.
        """
        return self.regimes.see(num_units, seed=self._seed(seed))

    def do(
        self, interventions: Mapping[str, Any], num_units: int, *, seed: int | None = None
    ) -> Table:
        """Draw units under an intervention of any kind: the observed variables only.

        Args:
            interventions: As for `causalppl.do`.
            num_units: How many.
            seed: Seed of the draw; None: from the environment's own stream.

        Raises:
            AssumptionError: ``"do"`` is not among the regimes.
            QueryError: A variable is set that no arm sets.
        """
        return self.regimes.do(interventions, self.choices.names, num_units, seed=self._seed(seed))

    def counterfactual(
        self,
        interventions: Mapping[str, Any],
        evidence: Mapping[str, Any],
        *,
        seed: int | None = None,
        **options: Any,
    ) -> "Posterior":
        """Ask what the outcome of units that were seen would have been under an intervention.

        Args:
            interventions: As for `causalppl.do`.
            evidence: Observed variable to value, one or one for each unit.
            seed: Seed of the answer; None: from the environment's own stream.
            **options: Further options of `causalppl.infer`.

        Returns:
            The posterior of the outcome; its key is ``"Y@done"`` for an outcome ``Y``.

        Raises:
            AssumptionError: ``"counterfactual"`` is not among the regimes.
        """
        return self.regimes.counterfactual(
            interventions, evidence, self.outcome, seed=self._seed(seed), **options
        )

    def _seed(self, seed: int | None) -> int:
        return int(self.np_random.integers(2**63)) if seed is None else seed

    def _observation(self) -> Any:
        if not self._seen:
            return np.int64(0)
        # a Discrete space holds numbers, a Box arrays
        return {
            key: column[0] if column.dtype == np.int64 else np.array(column[0])
            for key, column in self._seen.items()
        }

    def _unit_source(self, scm: SCM, choices: Arms, shown: Shown) -> UnitSource:
        count = count_cells(scm, choices) if self._tabulate is not False else None
        if self._tabulate is None and count is not None and count > MOST_CELLS:
            count = None
        if self._tabulate and count is None:
            raise AssumptionError(
                "tabulate is True, but the program is not finite or an action has an open value; "
                "expected None or False"
            )
        if count is None:
            return ProgramUnits(scm, choices, shown)
        cells = enumerate_cells(scm, choices, shown)
        self.pay.rewards(cells.values[self.outcome])
        return TabulatedUnits(cells, choices)
