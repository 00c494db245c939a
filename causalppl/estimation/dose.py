"""A treatment that is a number: whether the values asked about occur, and for whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from causalppl.estimation.adjustment_design import AdjustmentDesign
from causalppl.estimation.coefficient_influence import with_constant
from causalppl.estimation.estimate import Array

__all__ = ["DoseOverlap", "describe_doses"]

FAR = 3.0  # spreads from what the covariates lead to expect
FAR_SHARE = 0.10  # as many rows may be as far without a warning


@dataclass(frozen=True)
class DoseOverlap:
    """How well the rows can stand for everyone at one value of the treatment.

    Attributes:
        name: The value in words.
        level: The value.
        seen: The smallest and the largest value that occur.
        far_share: The share of rows whose treatment was more than three spreads away from the
            value, as far as a linear regression on the covariates can tell.
    """

    name: str
    level: float
    seen: tuple[float, float]
    far_share: float

    @property
    def is_poor(self) -> bool:
        """Whether the value does not occur, or for more than 10 % of the rows is out of reach."""
        return not self.seen[0] <= self.level <= self.seen[1] or self.far_share > FAR_SHARE

    def __str__(self) -> str:
        low, high = self.seen
        if not low <= self.level <= high:
            return f"{self.name} lies outside the values seen, {low:.4g} to {high:.4g}"
        return (
            f"{self.name} is more than {FAR:g} standard deviations from what the covariates lead "
            f"to expect in {self.far_share:.0%} of the rows"
        )


def describe_doses(design: AdjustmentDesign, covariates: Array) -> list[DoseOverlap]:
    """Describe each value that the question asks about.

    Args:
        design: The question and its rows; the treatment is a number.
        covariates: Their columns, shape ``(rows, columns)``.
    """
    dose, matrix = design.received, with_constant(covariates)
    root = np.sqrt(design.row_weights)
    coefficients = np.linalg.lstsq(matrix * root[:, None], dose * root, rcond=None)[0]
    expected = matrix @ coefficients
    spread = np.sqrt(np.average((dose - expected) ** 2, weights=design.row_weights))
    seen = (float(dose.min()), float(dose.max()))
    found = []
    for arm, level in enumerate(design.levels.tolist()):
        far = np.abs(level - expected) > FAR * spread
        share = float(np.average(far, weights=design.row_weights))
        found.append(DoseOverlap(design.arm_name(arm), level, seen, share))
    return found


def dose_table(found: Sequence[DoseOverlap]) -> dict[str, Any]:
    """What results say of overlap, by value."""
    return {
        "treatment range": found[0].seen,
        "share far from expected": {dose.level: dose.far_share for dose in found},
    }
