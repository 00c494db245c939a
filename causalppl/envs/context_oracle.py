"""The truth where what is seen before acting has infinitely many values: a known function of it."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalppl.envs.arms import Arms, arm_numbers
from causalppl.envs.oracle import Oracle
from causalppl.exceptions import AssumptionError

__all__ = ["ContextOracle"]


class ContextOracle(Oracle):
    """The truth of finitely many arms as a function of a continuous context.

    Args:
        truth: From the variables that are set and the entries of an observation (shape ``(n,)``
            each) to mean outcomes, ``(n,)``.
        arms: What may be set; no value is open.
        sign: 1, or -1 where the outcome is to be made small.
        drawn: Observations over which `best` and `mean` are averaged, shape ``(draws,)`` each.
    """

    def __init__(
        self,
        truth: Callable[[Mapping[str, Any]], Any],
        arms: Arms,
        sign: float,
        drawn: Mapping[str, NDArray[Any]],
    ) -> None:
        self._truth, self._arms, self._sign, self._drawn = truth, arms, sign, dict(drawn)

    @property
    def best(self) -> float:
        """Mean reward of the best policy that sees the context, over the observations drawn."""
        return float(self._drawn_table.max(1).mean())

    @property
    def means(self) -> NDArray[np.float64]:
        """Refuse: there are infinitely many views.

        Raises:
            AssumptionError: Always.
        """
        raise AssumptionError(
            f"{', '.join(self._drawn)} is seen and has infinitely many values, so that there is no "
            "table of means; use regret(observation, action) or mean(action)"
        )

    def mean(self, action: Any) -> Any:
        """Compute the mean reward of an arm that is played whatever is seen; batches too."""
        found = self._drawn_table.mean(0)[arm_numbers(action, len(self._arms))]
        return found if np.ndim(action) else float(found)

    def best_action(self, observation: Any = None) -> Any:
        """Find the best arm for an observation, or for each of a batch."""
        found = self._table(observation).argmax(1)
        return found if self._is_batch(observation) else int(found[0])

    def regret(self, observation: Any, action: Any) -> Any:
        """Compute how much less than the best arm in its place an arm earns on average."""
        table = self._table(observation)
        arms = np.broadcast_to(arm_numbers(action, len(self._arms)), len(table))
        found = table.max(1) - table[np.arange(len(table)), arms]
        return found if self._is_batch(observation) else float(found[0])

    @cached_property
    def _drawn_table(self) -> NDArray[np.float64]:
        return self._table(self._drawn)

    def _table(self, observation: Any) -> NDArray[np.float64]:
        """Compute mean rewards, shape ``(n, arms)``."""
        if not isinstance(observation, Mapping):
            raise AssumptionError(
                f"what is best depends on {', '.join(self._drawn)}; expected an observation with "
                f"these entries, found {observation!r}"
            )
        seen = {key: np.atleast_1d(observation[key]) for key in self._drawn}
        size = len(next(iter(seen.values())))
        columns = [self._truth({**seen, **arm}) for arm in self._arms.arms]
        return self._sign * np.stack([np.broadcast_to(c, size) for c in columns], 1)

    def _is_batch(self, observation: Mapping[str, Any]) -> bool:
        return any(np.ndim(observation[key]) for key in self._drawn)
