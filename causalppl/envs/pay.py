"""From what is paid to rewards: sign, and the range in which they must lie."""

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
    """

    low: float
    high: float
    sign: float

    def rewards(self, paid: NDArray[Any]) -> NDArray[np.float64]:
        """Compute rewards from the variable that is paid, shape ``(n,)``.

        Raises:
            DataError: One lies outside the range, which is never cut off.
        """
        found: NDArray[np.float64] = self.sign * paid.astype(np.float64)
        if not (found.min() >= self.low and found.max() <= self.high):
            bad = found[~((found >= self.low) & (found <= self.high))][0]
            raise DataError(
                f"the reward {bad:g} is outside the declared range {self.low:g} to {self.high:g}; "
                "expected a range that holds every reward: give reward_range"
            )
        return found
