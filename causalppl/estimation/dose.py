"""A treatment that is a number: whether the values asked about occur, and whether lines do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import chdtrc

from causalppl.estimation.adjustment_design import AdjustmentDesign
from causalppl.estimation.coefficient_influence import with_constant
from causalppl.estimation.estimate import Array

__all__ = ["DoseOverlap", "describe_doses", "find_bend"]

FAR = 3.0  # spreads from what the covariates lead to expect
FAR_SHARE = 0.10  # as many rows may be as far without a warning
_BENDS = (1 / 3, 2 / 3)  # quantiles of the dose at which its effect may bend
_LEAST_FREE = 0.1  # of a residual, whatever its leverage
_POWERS = 3  # of what is expected of the dose, from which its bent parts are predicted


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


def find_bend(
    dose: Array, expected: Array, covariates: Array, residual: Array, weights: Array
) -> float:
    """Test whether the effect of a dose is one straight line; returns the p-value.

    Where the partially linear model holds, its residual is unrelated to any function of the dose.
    The score test looks at two: the dose above its lower and above its upper third, freed of what
    the covariates predict of them (so that errors of the models matter in second order only) and of
    the line itself. It allows for noise of any spread, with residuals raised by leverage (HC2).

    Args:
        dose: The treatment, shape ``(rows,)``.
        expected: Its mean given the covariates, from the model of the treatment.
        covariates: Their columns, shape ``(rows, columns)``.
        residual: Of the outcome, freed of its mean given the covariates and of the line.
        weights: The weight of each row.

    Returns:
        1 where the dose has nowhere to bend.

    References:
        Wooldridge (1990), A unified approach to robust, regression-based specification tests.

    Example:
        >>> x, noise = np.random.default_rng(0).normal(size=(2, 500))
        >>> none, ones = np.empty((500, 0)), np.ones(500)
        >>> [find_bend(x, 0 * x, none, bend + noise, ones) < 0.01 for bend in (0 * x, x**2 / 2)]
        [False, True]
    """
    places = np.unique(np.quantile(dose, _BENDS))
    places = places[(places > dose.min()) & (places < dose.max())]
    bent = np.maximum(dose[:, None] - places, 0.0)
    root, left = np.sqrt(weights)[:, None], dose - expected
    unit = (expected - expected.mean()) / (expected.std() or 1.0)
    powers = unit[:, None] ** np.arange(1, _POWERS + 1)
    known = with_constant(np.concatenate([covariates, covariates**2, powers], 1))
    bent = bent - known @ np.linalg.lstsq(known * root, bent * root, rcond=None)[0]
    line = weights * left
    bent = bent - np.outer(left, line @ bent) / (line @ left)
    basis = np.linalg.qr(np.column_stack([known, left, bent]) * root)[0]
    free = np.maximum(1 - (basis**2).sum(1), _LEAST_FREE)
    scores = bent * (weights * residual)[:, None]
    pull, raised = scores.sum(0), scores / np.sqrt(free)[:, None]
    statistic = pull @ np.linalg.pinv(raised.T @ raised) @ pull
    return float(chdtrc(len(places), statistic)) if len(places) else 1.0
