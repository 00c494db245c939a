"""Where a model of the outcome answers without counterparts: arms and values nobody there had."""

from typing import Any, NamedTuple

import numpy as np

from causalppl.estimation.adjustment_design import AdjustmentDesign
from causalppl.estimation.dose import describe_doses, dose_table
from causalppl.estimation.features import Features
from causalppl.estimation.folds import find_folds
from causalppl.estimation.nuisance import plain_learner
from causalppl.estimation.overlap import describe_overlap, overlap_table, ways_out
from causalppl.estimation.propensity import find_separation, fit_propensities
from causalppl.exceptions import AssumptionError

__all__ = ["Support", "describe_support"]

_BY_MODEL = "the answer extrapolates by the model of the outcome"


class Support(NamedTuple):
    """What the rows can show without a model.

    Attributes:
        trouble: What they cannot show, in words; None if there is nothing.
        ess: How many equally weighted rows each arm would be worth, were rows weighted.
        table: The numbers, as for estimators that weight rows.
    """

    trouble: str | None
    ess: tuple[float, ...]
    table: dict[str, Any]


def describe_support(design: AdjustmentDesign, features: Features) -> Support:
    """Describe overlap by a logistic regression, or of a number by a linear one."""
    if design.is_numeric:
        return _of_doses(design, features)
    folds = find_folds(design, 1, np.random.default_rng(0))
    propensities, _ = fit_propensities(design, features, plain_learner(classes=True), folds)
    try:
        found = describe_overlap(design, propensities)
    except AssumptionError as error:
        return Support(f"{str(error).partition(':')[0]}; {_BY_MODEL}", (), {})
    table = overlap_table(found)
    if separation := find_separation(design, propensities):
        return Support(f"{separation}: {_BY_MODEL}; adjust for less, or bound it", (), table)
    trouble = None
    poor = [overlap for overlap in found if overlap.lacks_counterparts]
    if poor and features.covariates.shape[1]:
        worst = max(poor, key=lambda overlap: overlap.rare_share)
        trouble = (
            f"overlap is poor for {worst}; where there are no counterparts {_BY_MODEL}: "
            f"{ways_out(design)}compare with AIPW(trim=0.05), or adjust for less"
        )
    return Support(trouble, tuple(overlap.ess for overlap in found), table)


def _of_doses(design: AdjustmentDesign, features: Features) -> Support:
    found = describe_doses(design, features.covariates)
    poor = [dose for dose in found if dose.is_poor]
    trouble = None
    if poor:
        worst = max(poor, key=lambda dose: dose.far_share)
        trouble = f"{worst}: {_BY_MODEL} there; ask about values nearer to those received"
    return Support(trouble, (), dose_table(found))
