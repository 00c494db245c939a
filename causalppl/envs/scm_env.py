"""A structural causal model as a Gymnasium environment: one unit is one episode of one step."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalppl.data import Table
from causalppl.envs.arms import Arms, check_distinct
from causalppl.envs.enumeration import count_cells, enumerate_cells, fits_table
from causalppl.envs.oracle import Oracle
from causalppl.envs.pay import Pay
from causalppl.envs.regimes import Regimes
from causalppl.envs.settable import check_number
from causalppl.envs.shown import Context, Shown, one_unit
from causalppl.envs.streams import OneStream
from causalppl.envs.truth import Truth, find_oracle
from causalppl.envs.unit_env import UnitEnv
from causalppl.envs.units import ProgramUnits, TabulatedUnits, UnitSource
from causalppl.estimation.program_law import check_parameters
from causalppl.exceptions import AssumptionError, QueryError
from causalppl.programs import SCM

if TYPE_CHECKING:
    from causalppl.envs.vector import SCMVectorEnv
    from causalppl.inference import Posterior

__all__ = ["SCMEnv"]


class SCMEnv(UnitEnv):
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
        may_set_outcome: Whether arms may set the outcome itself, which fixes the reward.

    Attributes:
        arms: The arms, as mappings.
        oracle: True means, the optimum and regret, for evaluation.

    Raises:
        QueryError: A variable is unknown, there is no arm, two are the same, or one sets the
            outcome.
        ProgramError: The program has random parameters: an environment has one truth.
        AssumptionError: What is seen depends on what may be set, or a ``truth`` is given for a
            program that is tabulated and so has its own.
        DataError: An arm sets a variable to a value that it cannot take, or a reward outside its
            range is possible (in a finite program; else `step` raises).

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

    units: UnitSource

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
        may_set_outcome: bool = False,
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
        choices = Arms(scm, actions)
        if outcome in choices.names and not may_set_outcome:
            raise QueryError(
                f"an arm sets {outcome}, which makes the reward; expected arms that set its "
                "causes, or may_set_outcome=True"
            )
        check_distinct(choices.arms)
        self._settable = choices.allowed(scm)
        self.set_model(scm)
        if truth is not None and isinstance(self.units, TabulatedUnits):
            raise AssumptionError(
                "a truth is given, but the program is finite, so that its means are computed; "
                "leave truth out, or give tabulate=False too"
            )
        self.action_space = self.choices.space
        self.observation_space = self.shown.space(self.units.levels)

    def set_model(self, scm: SCM) -> None:
        """Put another model in place: same variables, actions and spaces, other mechanisms.

        The table of units and the oracle are made anew (by draws, where ``truth`` was given for
        the first model); a unit that has begun is given up. If it fails, nothing is changed.

        Raises:
            QueryError: The model does not observe a variable that is set, shown or paid.
        """
        check_parameters(scm)
        choices = Arms(scm, self._actions)
        shown = Shown(scm, choices, *self._seeing)
        regimes = Regimes(scm, self._allowed, self._settable)
        if "do" not in regimes.allowed and any(choices.arms):
            raise AssumptionError(
                f"the regimes are {', '.join(regimes.allowed)}, but some arms set variables; "
                "expected only the arm {}, or 'do' among the regimes"
            )
        self.units = self._unit_source(scm, choices, shown)
        self.model_number += 1
        self.scm, self.choices, self.shown, self.regimes = scm, choices, shown, regimes
        self.__dict__.pop("oracle", None)
        self._begun: Any = None
        self._seen: dict[str, NDArray[Any]] = {}

    @property
    def arms(self) -> tuple[dict[str, Any], ...]:
        """The arms, as mappings from variable to value."""
        return self.choices.arms

    @property
    def context(self) -> tuple[str, ...]:
        """The variables that are seen before acting."""
        return self.shown.context

    @property
    def intent(self) -> str | None:
        """The variable whose natural value is seen before acting."""
        return self.shown.intent

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
        actions = self.choices.batch(action)
        values = self.units.finish(self._begun, actions, OneStream(self.np_random, 1))
        self._begun = None
        reward = float(self.pay.rewards(values[self.outcome])[0])
        info = {"values": {name: column[0] for name, column in values.items()}}
        return self._observation(), reward, True, False, info

    def __repr__(self) -> str:
        seen = f"; shows {', '.join(self.shown.keys)}" if self.shown.keys else ""
        sets = ", ".join(self.choices.names) or "nothing"
        return f"SCMEnv({len(self.arms)} arms that set {sets}; pays {self.outcome}{seen})"

    def vector(self, num_envs: int) -> "SCMVectorEnv":
        """Return many of this environment as one, with a vectorised step.

        Args:
            num_envs: How many units are acted on at once.

        Raises:
            DataError: ``num_envs`` is not a whole number from 1.
        """
        from causalppl.envs.vector import SCMVectorEnv

        return SCMVectorEnv(self, num_envs)

    def see(self, num_units: int, *, seed: int | None = None) -> Table:
        """Draw units on which nobody acts: the observed variables only.

        Args:
            num_units: How many.
            seed: Seed of the draw; None: the environment's own stream.

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
            DataError: One is set to a value that it cannot take, or beyond its bounds.
        """
        return self.regimes.do(interventions, num_units, seed=self._seed(seed))

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
            interventions: As for `causalppl.do`; numbers only (one, or one for each unit) for
                variables that cannot take every number.
            evidence: Observed variable to value, one or one for each unit.
            seed: Seed of the answer; None: from the environment's own stream.
            **options: Further options of `causalppl.infer`.

        Returns:
            The posterior of the outcome; its key is ``"Y@done"`` for an outcome ``Y``.

        Raises:
            AssumptionError: ``"counterfactual"`` is not among the regimes.
            QueryError: A variable is set that no arm sets, or evidence is not observed.
            DataError: One is set to a value that it cannot take, or beyond its bounds.
        """
        return self.regimes.counterfactual(
            interventions, evidence, self.outcome, seed=self._seed(seed), **options
        )

    def _seed(self, seed: int | None) -> int:
        return int(self.np_random.integers(2**63)) if seed is None else seed

    def _observation(self) -> Any:
        if not self._seen:
            return np.int64(0)
        return one_unit(self._seen)

    def _unit_source(self, scm: SCM, choices: Arms, shown: Shown) -> UnitSource:
        if not fits_table(count_cells(scm, choices), self._tabulate):
            return ProgramUnits(scm, choices, shown)
        cells = enumerate_cells(scm, choices, shown)
        self.pay.rewards(cells.values[self.outcome])
        return TabulatedUnits(cells, choices)
