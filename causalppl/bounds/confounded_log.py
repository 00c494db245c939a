"""A log whose actions may be confounded: its columns, and the weights that are possible."""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.bounds import Bounds
from causalppl.bounds.difference import Difference
from causalppl.bounds.extremes import Extremes, bounds_of
from causalppl.bounds.sensitivity_rows import (
    check_share,
    read_propensities,
    read_row_weights,
    read_rows,
)
from causalppl.bounds.weight_box import WeightBox
from causalppl.exceptions import DataError

__all__ = ["ConfoundedLog", "read_log"]

Array: TypeAlias = NDArray[np.float64]
_ASSUMED = (
    "given what is recorded and what is hidden, the odds of the action taken differ from the "
    "recorded ones by a factor of at most the odds ratio",
    "the propensities are those of the log",
)
_BOXED = (
    "weights may lie anywhere in their range, whatever the covariates; MarginalSensitivity gives "
    "the narrower interval that these allow"
)


@dataclass(frozen=True, eq=False)
class ConfoundedLog:
    """The rows, which weigh ``fixed + free * r`` with ``r`` known up to the odds ratio.

    Attributes:
        y: Outcomes, shape ``(rows,)``.
        fixed: How often each row counts.
        free: The same times the odds of not being seen.
        targets: Name to the chances of the action taken under a policy.
    """

    y: Array
    fixed: Array
    free: Array
    targets: dict[str, Array] = field(default_factory=dict)

    def box(self, target: str | None = None) -> WeightBox:
        """The mean of all rows, or under a policy."""
        if target is None:
            return WeightBox(self.y, self.fixed, self.free)
        share = self.targets[target]
        return WeightBox(self.y, self.fixed * share, self.free * share)

    def difference(self) -> Difference:
        """The difference of the policies ``on`` and ``off``."""
        on, off = self.targets["on"], self.targets["off"]
        return Difference(self.y, self.fixed, self.free, on, off)

    def bounds(
        self,
        found: Extremes,
        query: str,
        odds_ratio: Any,
        num_draws: int,
        seed: int | None,
        *,
        assumptions: tuple[str, ...] = (),
        **told: Any,
    ) -> Bounds:
        """Put an answer together, see `bounds_of`."""
        told["notes"] = (*told.get("notes", ()), _BOXED)
        return bounds_of(
            found,
            query,
            "marginal sensitivity model",
            odds_ratio,
            num_rows=len(self.y),
            num_draws=num_draws,
            seed=seed,
            assumptions=(*_ASSUMED, *assumptions),
            **told,
        )


def read_log(
    y: Any,
    propensities: Any,
    weights: Any = None,
    *,
    sampling_weights: bool = False,
    **targets: Any,
) -> ConfoundedLog:
    """Read and check the columns of a log.

    Args:
        y: Outcomes.
        propensities: The recorded chances of the actions taken.
        weights: How often each row counts; None: once.
        sampling_weights: Whether whole weights, too, are sampling weights.
        targets: Name to the chances of the actions taken under a policy.

    Raises:
        DataError: They cannot be used.
    """
    found = read_rows(y=y, propensities=propensities, **targets)
    odds = read_propensities("propensities", found["propensities"])
    odds = 1 / odds - 1
    shares = {name: check_share(name, found[name]) for name in targets}
    if empty := [name for name, share in shares.items() if not share.any()]:
        raise DataError(
            f"{empty[0]} is 0 in all {len(odds):,} rows: the log has no action of that policy or "
            "arm; expected some, nothing bounds its value"
        )
    counts = read_row_weights(weights, len(odds), are_sampling=sampling_weights)
    fixed = np.ones(len(odds)) if counts is None else counts
    return ConfoundedLog(found["y"], fixed, odds if counts is None else odds * counts, shares)
