"""From what is paid to rewards: sign, and the range in which they must lie."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalppl.exceptions import DataError

__all__ = ["Pay"]


@dataclass(frozen=True)
class Pay:
    """How rewards are made.

    Attributes:
        low: The smallest reward.
        high: The largest.
        sign: 1, or -1 where the variable that is paid is to be made small.

    Raises:
        DataError: The range is none.
    """

    low: float
    high: float
    sign: float

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise DataError(
                f"reward_range is ({self.low:g}, {self.high:g}); expected a smallest and a largest "
                "reward, (-inf, inf) if neither is known"
            )

    def rewards(self, paid: NDArray[Any]) -> NDArray[np.float64]:
        """Compute rewards from the variable that is paid, shape ``(n,)``.

        Raises:
            DataError: One is not finite, or lies outside the range: none is ever cut off.
        """
        found: NDArray[np.float64] = paid.astype(np.float64)
        if self.sign < 0:
            found = -found
        low, high = found.min(), found.max()
        if not (self.low <= low and high <= self.high and math.isfinite(high - low)):
            bad = found[~(np.isfinite(found) & (found >= self.low) & (found <= self.high))][0]
            if not math.isfinite(bad):
                raise DataError(f"the reward {bad:g} is not finite; expected numbers only")
            raise DataError(
                f"the reward {bad:g} is outside the declared range {self.low:g} to {self.high:g}; "
                "expected a range that holds every reward: give reward_range"
            )
        return found
