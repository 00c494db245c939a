"""The chance of each arm given the covariates, and whether these tell the arm by themselves."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from causalppl.estimation.adjustment_design import AdjustmentDesign
from causalppl.estimation.estimate import Array
from causalppl.estimation.features import Features
from causalppl.estimation.folds import Fold
from causalppl.estimation.nuisance import Fitted, warn_of_trouble
from causalppl.exceptions import AssumptionError

__all__ = ["TreatmentModel", "find_separation", "fit_propensities", "predict_treatment"]

CERTAIN = 1e-4  # a chance this close to 0 or 1 leaves nothing to compare with
MOST_CERTAIN = 0.9  # the share of rows that may have such a chance


class TreatmentModel(NamedTuple):
    """The model of who gets which arm, and what it predicts.

    Attributes:
        chances: The probability of each arm, shape ``(rows, arms)``.
        learner: The learner, not fitted.
        folds: The rows to fit on and to predict.
        fits: The models, one for each fold.
    """

    chances: Array
    learner: Any
    folds: Sequence[Fold]
    fits: Sequence[Fitted]

    @classmethod
    def fitted(
        cls, design: AdjustmentDesign, features: Features, learner: Any, folds: Sequence[Fold]
    ) -> "TreatmentModel":
        """Fit the model, whatever it predicts."""
        chances, fits = fit_propensities(design, features, learner, folds)
        return cls(chances, learner, folds, fits)

    def check(self, design: AdjustmentDesign) -> None:
        """Raise if the covariates tell the arm of nearly every row; warn of fits that failed.

        Raises:
            AssumptionError: They do.
        """
        if separation := find_separation(design, self.chances):
            raise AssumptionError(
                f"{separation}: nothing shows what another value would have done; expected "
                "overlap, adjust for less or bound the effect"
            )
        warn_of_trouble(self.fits, design.treatment)


def predict_treatment(
    design: AdjustmentDesign,
    features: Features,
    learner: Any,
    folds: Sequence[Fold],
    weights: Array | None = None,
) -> Array:
    """Predict the probability of each arm, shape ``(rows, arms)``.

    Raises:
        AssumptionError: The covariates tell the arm of nearly every row.
    """
    found, fits = fit_propensities(design, features, learner, folds, weights)
    TreatmentModel(found, learner, folds, fits).check(design)
    return found


def fit_propensities(
    design: AdjustmentDesign,
    features: Features,
    learner: Any,
    folds: Sequence[Fold],
    weights: Array | None = None,
) -> tuple[Array, list[Fitted]]:
    """Predict the probability of each arm, whatever it is; returns it and the models."""
    weights = design.row_weights if weights is None else weights
    found = np.zeros((design.num_rows, len(design.arms)))
    arm = np.asarray(design.arm, float)
    fits = []
    for train, test in folds:
        train = train & (weights > 0)
        fit = Fitted(learner, features.covariates[train], arm[train], weights[train], classes=True)
        found[np.ix_(test, fit.states.astype(int))] = fit.predict(features.covariates[test])
        fits.append(fit)
    return np.maximum(found, 1e-9), fits


def find_separation(design: AdjustmentDesign, propensities: Array) -> str | None:
    """Say how well the covariates tell the arm, if they do so for nearly every row; else None."""
    own = propensities[np.arange(design.num_rows), design.arm]
    certain = float(np.mean((own > 1 - CERTAIN) | (own < CERTAIN)))
    if certain <= MOST_CERTAIN:
        return None
    tell = "tells" if len(design.covariates) == 1 else "tell"
    told = f"{', '.join(design.covariates)} {tell} {design.treatment}"
    wrong = int((propensities.argmax(1) != design.arm).sum())
    if not wrong:
        return f"{told} in all {design.num_rows:,} rows (perfect separation)"
    return (
        f"{told} in all but {wrong:,} of {design.num_rows:,} rows, in {certain:.1%} of them with a "
        f"chance within {CERTAIN:g} of 0 or 1 (nearly perfect separation)"
    )
