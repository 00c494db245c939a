"""The learners of tails of outcomes, and of chances of arms, given many-valued covariates."""

from dataclasses import dataclass
from typing import Any

from causalppl.exceptions import DataError

__all__ = ["Learners", "at_level"]


@dataclass(frozen=True)
class Learners:
    """How tails are learned where covariates have many values.

    Attributes:
        quantile: A quantile regression of scikit-learn (with a parameter ``quantile``, or
            ``alpha`` for ``GradientBoostingRegressor(loss="quantile")``); None: linear up to 2,000
            rows, boosted trees beyond. A poor one makes bounds wider, not invalid.
        outcome: A regressor for the reweighed mean (a classifier for outcomes of two values);
            None: chosen by cross-validation.
        propensity: A classifier for the arm; None: chosen likewise.
        folds: In how many parts to split the rows; each is predicted by models of the others.
        clip: Raise chances of an arm below this to it.

    Raises:
        DataError: A setting is out of range, or a learner lacks the methods of scikit-learn.

    Example:
        >>> from sklearn.linear_model import QuantileRegressor
        >>> Learners(quantile=QuantileRegressor(alpha=0.0), folds=2).folds
        2
    """

    quantile: Any = None
    outcome: Any = None
    propensity: Any = None
    folds: int = 5
    clip: float = 0.01

    def __post_init__(self) -> None:
        from causalppl.estimation.nuisance import check_learner
        from causalppl.estimation.settings import check_count, check_fraction

        check_learner("quantile", self.quantile)
        check_learner("outcome", self.outcome)
        check_learner("propensity", self.propensity, for_classes=True)
        check_count("folds", self.folds, 2, 5)
        check_fraction("clip", self.clip)
        if self.quantile is not None:
            at_level(self.quantile, 0.5)


def at_level(learner: Any, level: float) -> Any:
    """A copy of a quantile regression, at a level."""
    from sklearn.base import clone

    settings = learner.get_params()
    names = [n for n in settings if n == "quantile" or n.endswith("__quantile")]
    if not names and settings.get("loss") == "quantile":
        names = ["alpha"]
    if not names:
        raise DataError(
            f"quantile is {learner!r}, which has no parameter 'quantile'; expected a quantile "
            "regression, such as QuantileRegressor(alpha=0)"
        )
    return clone(learner).set_params(**{names[0]: level})
