"""Deconfounded optimistic value iteration, with a certificate that names what it assumes."""

import warnings
from typing import TYPE_CHECKING

import numpy as np

from causalppl.agents.agent import Array
from causalppl.agents.backward_induction import next_values
from causalppl.agents.dtr_model import DTRModel
from causalppl.agents.episodes import EpisodeAgent
from causalppl.agents.log_tables import lower_confidence
from causalppl.agents.log_uses import LogUse, is_told_by_state, log_uses
from causalppl.exceptions import AssumptionError, DataError, HeuristicWarning, QueryError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DOVI"]


class DOVI(EpisodeAgent):
    """Acts by values that are never too low, which confounded logs make less high.

    The value of an arm is the smaller of a confidence limit of its mean reward and of the causal
    upper bound from logs, plus a confidence limit of the mean value of what follows. Laws of
    outcomes are counted in logs too: that these are unconfounded has to be declared, or shown by
    the model's diagram, where there is more than one stage. Then, with probability at least
    ``1 - error``, no value is below the truth in any episode. Episodes that are over have no value
    to come.

    Args:
        model: The stages, and the range of rewards.
        error: The chance that the certificate may fail.
        transition_assumption: ``"unconfounded"`` declares that in logs, given the state, an action
            tells no more of what follows than if it had been set.
        allow_heuristic: Go on without; values are then not certified.

    Attributes:
        is_certified: Whether values are upper bounds, as said above.

    Raises:
        AssumptionError: There are several stages, and nothing says that logged transitions are
            unconfounded; or the diagram contradicts it.
        QueryError: The assumption is not one that is known.
        DataError: ``error`` is not between 0 and 1.

    References:
        Wang, Yang, Wang and Bareinboim (2021), Provably efficient causal reinforcement learning
        with confounded observational data. Theirs is for linear models and bounded sums; here laws
        are tables, and limits are those of Chernoff with relative entropy, as in Garivier and
        Cappé (2011), The KL-UCB algorithm.

    Example:
        >>> from causalppl.envs import make_env
        >>> env = make_env("TwoStageDTR")
        >>> agent = DOVI(DTRModel.for_env(env)).start(seed=0)
        >>> agent.observe(env.logs(1000, seed=0))
        >>> agent.is_certified, bool((agent.optimistic_q[0] >= env.oracle.q[0]).all())
        (True, True)
    """

    name = "DOVI"

    def __init__(
        self,
        model: DTRModel,
        *,
        error: float = 0.05,
        transition_assumption: str | None = None,
        allow_heuristic: bool = False,
    ) -> None:
        super().__init__(model, log_error=error / 2)
        self._num_actions, self._task = model.num_arms, str(model)
        if not 0 < error < 1:
            raise DataError(f"error is {error:g}; expected a chance between 0 and 1, such as .05")
        if transition_assumption not in (None, "unconfounded"):
            raise QueryError(
                f"transition_assumption is {transition_assumption!r}; expected 'unconfounded', or "
                "None to leave it to the diagram"
            )
        self.error = error
        self.is_certified = self._is_warranted(transition_assumption is not None)
        if not self.is_certified:
            self._complain(allow_heuristic)

    @property
    def optimistic_q(self) -> list[Array]:
        """What arms may at most be worth by what is known now, in sums of rewards.

        Shape ``(runs, states, arms)``, one for each stage; ``(states, arms)`` in a single run.
        What is seen in each state, ``model.views(stage)`` says; `optimistic_table` puts it there.

        Raises:
            AssumptionError: The agent was not started.
        """
        self._check_started()
        found = [self.model.unscaled(stage, q) for stage, q in enumerate(self._plan())]
        return [q[0] for q in found] if self.runs is None else found

    def optimistic_table(self, stage: int, *, run: int = 0) -> "pd.DataFrame":
        """Return `optimistic_q` of a stage and a run, with names: a row for each state.

        Args:
            stage: The stage, from 0.
            run: The run.

        Returns:
            The index holds what is seen in each state, one level for each entry; columns are arms.

        Raises:
            AssumptionError: The agent was not started.

        Example:
            >>> from causalppl.envs import Stage
            >>> model = DTRModel([Stage([{"X": 0}, {"X": 1}], ["S"])], {"S": [3, 4]}, outcome="Y")
            >>> DOVI(model).start(seed=0).optimistic_table(0).loc[4, "X=1"].item()
            1.0
        """
        import pandas as pd

        q = self.optimistic_q[stage]
        views, arms = self.model.views(stage), self.model.stages[stage].arms
        told = [", ".join(f"{name}={value}" for name, value in arm.items()) or "{}" for arm in arms]
        index = None
        if len(views) == 1:
            index = pd.Index(*views.values(), name=next(iter(views)))
        elif views:
            index = pd.MultiIndex.from_arrays(list(views.values()), names=list(views))
        return pd.DataFrame(q if self.runs is None else q[run], index=index, columns=told)

    def _is_warranted(self, is_declared: bool) -> bool:
        model = self.model
        if len(model) == 1:
            return True
        if not is_told_by_state(model):
            return False
        if model.graph is None:
            return is_declared
        confounded = [k for k, (use, _) in enumerate(log_uses(model)[:-1]) if use != "counts"]
        if confounded and is_declared:
            raise AssumptionError(
                "transitions are declared unconfounded, but by the diagram what follows stage "
                f"{', '.join(map(str, confounded))} is confounded with actions; correct the one "
                "or the other, or say allow_heuristic=True instead"
            )
        return not confounded

    def _complain(self, allow_heuristic: bool) -> None:
        message = (
            f"there are {len(self.model)} stages, and nothing says that their transitions are "
            "unconfounded in logs, or that it does not matter whether an action was set or left to "
            "nature, so values are not certified"
        )
        if not allow_heuristic:
            raise AssumptionError(
                f"{message}; expected transition_assumption='unconfounded' or a diagram that shows "
                "it; or say allow_heuristic=True"
            )
        warnings.warn(message, HeuristicWarning, stacklevel=3)

    def _log_uses(self, do: tuple[str, ...]) -> list[tuple[LogUse, LogUse]]:
        found: list[tuple[LogUse, LogUse]] = []
        for outcomes, rewards in super()._log_uses(do):
            found.append((outcomes if do and outcomes == "nothing" else "counts", rewards))
        return found

    def _plan(self) -> list[Array]:
        last = len(self.model) - 1
        found = [self._rewards(last)]
        for stage in reversed(range(last)):
            after = next_values(self.model, stage, found[0])
            found.insert(0, self._rewards(stage) + self._future(stage, after))
        return found

    def _rewards(self, stage: int) -> Array:
        pulls, gains = self.pulls[stage], self.gains[stage]
        if not self.model.pays[stage]:
            return np.zeros_like(pulls)[:, self.model.reward_cells[stage]]
        found = 1 - lower_confidence(pulls - gains, pulls, self._level(pulls))
        if self.bounds:
            found = np.minimum(found, self.bounds[stage].rewards[1])
        return found[:, self.model.reward_cells[stage]]

    def _future(self, stage: int, after: Array) -> Array:
        cells, counts = self.model.outcome_cells[stage], self.outcomes[stage]
        most = max(self.model.span[stage + 1], 1)
        trials = counts.sum(-1)[:, cells]
        sums = (counts[:, cells] * after).sum(-1) / most
        return most * (1 - lower_confidence(trials - sums, trials, self._level(trials)))

    def _level(self, trials: Array) -> Array:
        """``log(1 / error)`` of a limit from so many trials: errors add up to half of ``error``."""
        limits = 2 * self.model.num_arms * sum(self.model.num_states)
        spent = np.log(2 * limits / self.error)
        return np.asarray(spent + np.log((trials * (trials + 1)).clip(1)))

    def _mean_laws(self) -> tuple[list[Array], list[Array]]:
        laws = [each / each.sum(-1, keepdims=True).clip(1) for each in self.outcomes[:-1]]
        rewards = [g / p.clip(1) for g, p in zip(self.gains, self.pulls, strict=True)]
        return laws, rewards
