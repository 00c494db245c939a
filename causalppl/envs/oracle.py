"""What an evaluator may know and an agent may not: true means, the optimum, regret."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalppl.envs.arms import arm_numbers
from causalppl.envs.views import Views

__all__ = ["Oracle", "TableOracle"]


class Oracle(ABC):
    """The truth about an environment, for evaluation only; no agent sees it.

    Example:
        >>> from causalppl.envs import SCMEnv
        >>> from causalppl.examples import scm_mab_task_2
        >>> problem = scm_mab_task_2()
        >>> oracle = SCMEnv(problem.scm, problem.arms("POMIS"), problem.reward).oracle
        >>> oracle.means.round(3), round(oracle.best, 3)
        (array([0.773, 0.227, 0.493, 0.507]), 0.773)
        >>> oracle.regret(None, [0, 2]).round(3)
        array([0.  , 0.28])
    """

    def __repr__(self) -> str:
        return f"{type(self).__name__}(best mean reward {self.best:.4g})"

    @property
    @abstractmethod
    def best(self) -> float:
        """Mean reward of the best policy, which knows the program and sees what agents see."""

    @property
    @abstractmethod
    def means(self) -> NDArray[np.float64]:
        """Mean reward of each arm, by what is seen.

        Raises:
            AssumptionError: There are infinitely many actions or views.
        """

    @abstractmethod
    def mean(self, action: Any) -> Any:
        """Compute the mean reward of an action that is taken whatever is seen; batches too.

        Args:
            action: What is done; one action, or a batch of shape ``(n,)``.

        Returns:
            A number, or shape ``(n,)``.
        """

    @abstractmethod
    def best_action(self, observation: Any = None) -> Any:
        """Find the best action for an observation, or for each of a batch.

        Args:
            observation: What was seen, as the environment gave it; one or a batch.
        """

    @abstractmethod
    def regret(self, observation: Any, action: Any) -> Any:
        """Compute how much less than the best action in its place an action earns on average.

        Args:
            observation: What was seen, as the environment gave it; one or a batch.
            action: What was done; one or a batch.

        Returns:
            A number, or shape ``(n,)``.
        """


class TableOracle(Oracle):
    """The truth as a table of means: finitely many arms, and finitely many views.

    Args:
        table: Mean reward, shape ``(views, arms)``.
        views: Key of an observation to its values, shape ``(views,)``; empty: nothing is seen.
        view_weights: Probability of each view.
        standard_errors: Of ``table``, where it was estimated by draws; None: it is exact.

    Attributes:
        standard_errors: In the shape of ``means``, or None.
    """

    def __init__(
        self,
        table: NDArray[np.float64],
        views: Mapping[str, NDArray[Any]],
        view_weights: NDArray[np.float64],
        standard_errors: NDArray[np.float64] | None = None,
    ) -> None:
        self._table, self._views, self.view_weights = table, Views(views), view_weights
        self.standard_errors = (
            standard_errors if self.views or standard_errors is None else standard_errors[0]
        )
        self._gaps = table.max(1, keepdims=True) - table
        self._choice = table.argmax(1)

    @property
    def best(self) -> float:
        """Mean reward of the best policy that sees the view."""
        return float(self.view_weights @ self._table.max(1))

    @property
    def views(self) -> dict[str, NDArray[Any]]:
        """Key of an observation to its values, shape ``(views,)`` each."""
        return self._views.columns

    @property
    def means(self) -> NDArray[np.float64]:
        """Mean reward of each arm, shape ``(arms,)``; with views ``(views, arms)``."""
        return self._table if self.views else self._table[0]

    def mean(self, action: Any) -> Any:
        """Compute the mean reward of an arm that is played whatever is seen; batches too."""
        arms = arm_numbers(action, self._table.shape[1])
        found = (self.view_weights @ self._table)[arms]
        return found if np.ndim(action) else float(found)

    def best_action(self, observation: Any = None) -> Any:
        """Find the best arm for an observation, or for each of a batch."""
        found = self._choice[self._views.number(observation)]
        return found if np.ndim(found) else int(found)

    def regret(self, observation: Any, action: Any) -> Any:
        """Compute how much less than the best arm in its place an arm earns on average."""
        arms = arm_numbers(action, self._table.shape[1])
        found = self._gaps[self._views.number(observation), arms]
        return found if np.ndim(found) else float(found)
