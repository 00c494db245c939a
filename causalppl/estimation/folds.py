"""Folds: which rows models are fitted on, and which they predict."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from causalppl.estimation.adjustment_design import AdjustmentDesign
from causalppl.exceptions import DataError

__all__ = ["Fold", "find_folds"]


class Fold(NamedTuple):
    """Rows to fit on, and rows to predict; the same rows where there is no cross-fitting."""

    train: NDArray[np.bool_]
    test: NDArray[np.bool_]


def find_folds(design: AdjustmentDesign, count: int, rng: np.random.Generator) -> list[Fold]:
    """Split the rows at random into folds that hold equal shares of each arm.

    Raises:
        DataError: An arm asked about has fewer rows than there are folds.
    """
    everywhere = np.ones(design.num_rows, bool)
    if count == 1:
        return [Fold(everywhere, everywhere)]
    arm = np.zeros(design.num_rows, int) if design.is_numeric else design.arm
    sizes = {a: int((arm == a).sum()) for a in ((0,) if design.is_numeric else design.asked_arms)}
    few = min(sizes, key=lambda a: sizes[a])
    if sizes[few] < count:
        where = "" if design.is_numeric else f" with {design.arm_name(few)}"
        raise DataError(
            f"there are {sizes[few]} rows{where}; expected at least one for each of {count} "
            f"folds, use folds={sizes[few]}, or GFormula(), which needs no folds"
        )
    place = np.empty(design.num_rows, int)
    order = rng.permutation(design.num_rows)
    order = order[np.argsort(arm[order], kind="stable")]
    place[order] = np.arange(design.num_rows) % count
    return [Fold(place != number, place == number) for number in range(count)]
