"""Sums of non-negative numbers that no order of rows changes, to the last digit."""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["LIMB", "limbs", "of_limbs", "sum_by_group"]

Codes: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]
LIMB = 2.0**30


def sum_by_group(values: Floats, group: Codes, size: int) -> Floats:
    """Sum values in each group, as whole multiples of 2**-60.

    Args:
        values: Non-negative, with a sum below 2**62; shape ``(rows,)``.
        group: The group of each row, from 0 to ``size - 1``.
        size: How many groups there are.

    Example:
        >>> values = np.array([0.1, 0.2, 0.3])
        >>> orders = [np.array(order) for order in ([0, 1, 2], [2, 1, 0])]
        >>> len({float(values[order].sum()) for order in orders})
        2
        >>> len({float(sum_by_group(values[order], order * 0, 1)[0]) for order in orders})
        1
    """
    sums = []
    for limb in limbs(values):
        sums.append(np.zeros(size, dtype=np.int64))
        np.add.at(sums[-1], group, limb)
    return of_limbs(*sums)


def limbs(values: Floats) -> Iterator[Codes]:
    """The whole part, and the next 30 and 30 binary digits, as whole numbers."""
    for _ in range(3):
        whole = np.floor(values)
        yield whole.astype(np.int64)
        values = (values - whole) * LIMB


def of_limbs(whole: Codes, middle: Codes, low: Codes) -> Floats:
    """Put sums of limbs together."""
    return whole + (middle / LIMB + low / LIMB**2)
