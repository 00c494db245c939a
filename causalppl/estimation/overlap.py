"""Overlap: whether units of one arm have counterparts in the other, in numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from causalppl.estimation.adjustment_design import FEWEST, AdjustmentDesign
from causalppl.estimation.adjustment_question import Arm, Mean
from causalppl.estimation.estimate import Array
from causalppl.exceptions import AssumptionError, OverlapWarning
from causalppl.user_warning import warn_user

__all__ = ["ArmOverlap", "balancing_weights", "describe_overlap", "effective_size"]

RARE = 0.01  # a propensity below this means next to no chance
RARE_SHARE = 0.01  # as many rows of the population may have one without a warning
LARGEST_SHARE = 0.10  # as much of an arm's weight may rest on one row


def effective_size(weights: Array) -> float:
    """How many equally weighted rows would tell as much: Kish's effective sample size.

    Example:
        >>> effective_size(np.array([1.0, 1.0, 1.0, 0.0]))
        3.0
    """
    return float(weights.sum() ** 2 / (weights**2).sum())


def balancing_weights(design: AdjustmentDesign, propensities: Array, mean: Mean) -> Array:
    """Weight the rows of one arm so that they stand for the population of a mean.

    The weight is the chance to be of the population over the chance to be of the arm.

    Args:
        design: The rows.
        propensities: The chance of each arm, shape ``(rows, arms)``.
        mean: The mean; only rows of its arm get a weight.

    Returns:
        Shape ``(rows,)``, the rows' own weights included.

    References:
        Li, Morgan and Zaslavsky (2018), Balancing covariates via propensity score weighting.
    """
    chance = 1.0 if mean.seen is None else propensities[:, mean.seen]
    inside = design.stratum(mean) * (design.arm == mean.arm) * design.row_weights
    return np.asarray(inside * chance / propensities[:, mean.arm])


@dataclass(frozen=True)
class ArmOverlap:
    """How well the rows of one arm can stand for a population.

    Attributes:
        name: The arm in words.
        arm: The value of the treatment.
        rows: How many rows have the value, in the strata of the population.
        smallest: The smallest chance of the value in the population.
        largest: The largest.
        rare_share: The share of the population with a chance below 0.01.
        ess: How many equally weighted rows the weighted ones are worth.
        largest_share: The share of the weight that rests on one row.
    """

    name: str
    arm: Arm
    rows: int
    smallest: float
    largest: float
    rare_share: float
    ess: float
    largest_share: float

    @property
    def is_poor(self) -> bool:
        """Whether more than 1 % have next to no chance, or one row bears over 10 % of the weight.

        Small samples are not blamed: a row may bear five times its equal share.
        """
        allowed = max(LARGEST_SHARE, 5 / self.rows)
        return self.lacks_counterparts or self.largest_share > allowed

    @property
    def lacks_counterparts(self) -> bool:
        """Whether more than 1 % of the population have next to no chance of the arm."""
        return self.rare_share > RARE_SHARE

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.rare_share:.1%} of the population have a chance "
            f"below {RARE} (smallest {self.smallest:.2g}), {self.rows:,} rows are worth "
            f"{self.ess:,.1f}, one bears {self.largest_share:.0%} of the weight"
        )


def describe_overlap(
    design: AdjustmentDesign,
    propensities: Array,
    extra: Array | None = None,
    *,
    clip: float = 0.0,
) -> list[ArmOverlap]:
    """Describe each pair of arm and population that the question compares.

    Args:
        design: The question and its rows.
        propensities: The chance of each arm, shape ``(rows, arms)``.
        extra: Further weights, shape ``(rows,)``, such as those for censoring.
        clip: What chances are raised to for the weights.

    Raises:
        AssumptionError: An arm has fewer than 5 rows in a stratum asked about.
    """
    found = []
    for mean in dict.fromkeys(mean._replace(event=()) for mean in design.means):
        weights = balancing_weights(design, np.maximum(propensities, clip), mean)
        weights = weights * (design.observed if extra is None else extra)
        if (count := int((weights > 0).sum())) < FEWEST:
            rows = {0: "no row", 1: "one row"}.get(count, f"{count} rows")
            raise AssumptionError(
                f"{rows} with {design.arm_name(mean.arm)} {'are' if count > 1 else 'is'} in the "
                f"stratum that {design.estimand.query} asks about; expected at least {FEWEST} "
                "(positivity): ask about more units, or use GFormula(), whose model extrapolates"
            )
        population = design.population(mean) * design.row_weights
        chances = propensities[population > 0, mean.arm]
        # those seen in the arm stand for themselves, whatever their chance
        needed = mean.seen != mean.arm
        rare = np.average((chances < RARE) & needed, weights=population[population > 0])
        found.append(
            ArmOverlap(
                *(design.arm_name(mean.arm), design.arms[mean.arm], int((weights > 0).sum())),
                *(float(chances.min()), float(chances.max()), float(rare)),
                *(effective_size(weights), float(weights.max() / weights.sum())),
            )
        )
    return found


def warn_of_poor_overlap(design: AdjustmentDesign, found: Sequence[ArmOverlap]) -> None:
    """Warn once, about the arm that stands on the fewest rows, if overlap is poor."""
    poor = [overlap for overlap in found if overlap.is_poor]
    if poor:
        worst = min(poor, key=lambda overlap: overlap.ess)
        warn_user(
            f"overlap is poor for {worst}; {ways_out(design)}trim, or adjust for less",
            OverlapWarning,
        )


def ways_out(design: AdjustmentDesign) -> str:
    """Advise to ask for the effect on the treated, unless the question is about some arm."""
    asked = any(mean.seen is not None for mean in design.means)
    return "" if asked else "ask for the effect on the treated (ETT), "


def overlap_table(found: Sequence[ArmOverlap]) -> dict[str, Any]:
    """What results say of overlap, by arm; of several populations the worst."""
    ranked = sorted(found, key=lambda overlap: -overlap.ess)
    return {
        "propensity range": {o.arm: (o.smallest, o.largest) for o in ranked},
        "effective sample size": {o.arm: o.ess for o in ranked},
        "share with chance below 0.01": {o.arm: o.rare_share for o in ranked},
    }
