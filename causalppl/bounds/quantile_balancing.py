"""Sharp intervals under Tan's marginal sensitivity model, from what covariates say.

Weights that may lie anywhere in their box need not balance the covariates. Those that hidden causes
can make do: within each value of the covariates they average to what is known. Sharp bounds reweigh
outcomes by tails given covariates, and never lie outside those of `msm_mean` on the same law.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from causalppl.bounds.bounds import Bounds
from causalppl.bounds.cell_models import CellModels
from causalppl.bounds.covariate_rows import CovariateRows
from causalppl.bounds.numbers_read import read_odds_ratios
from causalppl.bounds.sharp_bounds import SharpBounds
from causalppl.bounds.sharp_ends import (
    ASSUMED,
    Ends,
    combined,
    sharp_ends,
    standard_errors,
    told_of_tails,
    told_of_unseen,
)
from causalppl.bounds.sharp_rows import binary_chances, models_of, read_covariate_rows, read_laws
from causalppl.bounds.tail_learners import Learners
from causalppl.bounds.tail_models import TailModels
from causalppl.exceptions import DataError

__all__ = ["sharp_effect", "sharp_mean", "sharp_policy_value"]


def sharp_mean(
    y: Any,
    arm: Any,
    covariates: Any,
    odds_ratio: Any,
    *,
    at: Any = 1,
    propensities: Any = None,
    learners: Learners | None = None,
    weights: Any = None,
    sampling_weights: bool = False,
    outcome_range: tuple[float, float] | None = None,
    seed: int | None = 0,
) -> Bounds:
    """Bound the mean outcome if all units were in one arm, given covariates.

    Args:
        y: The outcome of each row, shape ``(rows,)``.
        arm: The arm of each row: labels or numbers with few values.
        covariates: A table of any kind, or an array of shape ``(rows, columns)``. With up to 200
            different rows, and 20 rows for each on average, frequencies are taken within these
            cells: the ends are then exact for the law of the rows, and too narrow for that of the
            population where few rows lie in a tail (which is noted); the interval allows for it,
            as it leaves each row out of its own quantile. Else learners are cross-fitted.
        odds_ratio: From 1; several become an axis of the answer.
        at: The arm that is asked about.
        propensities: The chances of ``at`` given the covariates, where they are known, shape
            ``(rows,)``.
        learners: How tails are learned; None: by defaults.
        weights: How often each row counts: whole numbers are equal rows, others sampling weights.
        sampling_weights: Take weights for sampling weights even if all are whole numbers.
        outcome_range: Where outcomes can be, for cells without rows in an arm.
        seed: Seed of folds and of the choice of learners.

    Returns:
        The interval, with standard errors of its ends.

    Raises:
        DataError: Columns do not fit, an odds ratio is below 1, a propensity is not between 0 and
            1, an arm is empty, or a cell lacks an arm and no range is given.

    References:
        Dorn and Guo (2022); Dorn, Guo and Kallus (2024).

    Example:
        >>> y, arm, z = [0, 1, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1], [[0], [0], [0], [0], [0], [0]]
        >>> sharp_mean(y, arm, z, 2.0)
        Bounds(E[Y(1)] in [0.25, 0.5], by sharp marginal sensitivity model at odds ratio 2)
    """
    rows, taken = read_covariate_rows(
        y, arm, covariates, weights, learners, are_sampling=sampling_weights
    )
    place = rows.place(at)
    chances = binary_chances(rows, taken, propensities, place)
    models = models_of(rows, taken, learners, chances, outcome_range, seed)

    def ends(ratio: float) -> Ends:
        return sharp_ends(models, rows.y, place, ratio)

    return _answer(f"E[Y({at})]", ends, odds_ratio, rows, models)


def sharp_effect(
    y: Any,
    arm: Any,
    covariates: Any,
    odds_ratio: Any,
    *,
    is_on_treated: bool = False,
    propensities: Any = None,
    learners: Learners | None = None,
    weights: Any = None,
    sampling_weights: bool = False,
    outcome_range: tuple[float, float] | None = None,
    seed: int | None = 0,
) -> Bounds:
    """Bound the average effect of one arm against another, given covariates.

    Args:
        y: The outcome of each row, shape ``(rows,)``.
        arm: The arm of each row, two values; the larger one is compared with the smaller.
        covariates: A table or matrix, shape ``(rows, columns)``; see `sharp_mean`, as for the rest.
        odds_ratio: From 1; several become an axis of the answer.
        is_on_treated: The effect on those seen in the larger arm, rather than on all.
        propensities: The chances of the larger arm given the covariates, where they are known,
            shape ``(rows,)``.
        learners: How tails are learned.
        weights: How often each row counts: whole numbers are equal rows, others sampling weights.
        sampling_weights: Take weights for sampling weights even if all are whole numbers.
        outcome_range: Where outcomes can be, for cells without rows in an arm.
        seed: Seed of folds and of the choice of learners.

    Returns:
        The interval. The worst cases of both arms are made by one hidden cause, so that their
        difference is sharp.

    Raises:
        DataError: As `sharp_mean`; or there are not two arms.

    References:
        Dorn and Guo (2022); Dorn, Guo and Kallus (2024).

    Example:
        >>> y, arm, z = [0, 1, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1], [[0], [0], [0], [0], [0], [0]]
        >>> sharp_effect(y, arm, z, 1.0)
        Bounds(ATE in [-0.3333, -0.3333], by sharp marginal sensitivity model at odds ratio 1)
    """
    rows, taken = read_covariate_rows(
        y, arm, covariates, weights, learners, are_sampling=sampling_weights
    )
    if len(rows.arms) != 2:
        raise DataError(f"arm takes {len(rows.arms)} values; expected two, or use sharp_mean")
    chances = binary_chances(rows, taken, propensities, 1)
    models = models_of(rows, taken, learners, chances, outcome_range, seed)
    seen = 1 if is_on_treated else None

    def ends(ratio: float) -> Ends:
        one = sharp_ends(models, rows.y, 1, ratio, seen=seen)
        other = sharp_ends(models, rows.y, 0, ratio, seen=seen)
        return combined((1, -1), (one, other))

    return _answer("ATT" if is_on_treated else "ATE", ends, odds_ratio, rows, models)


def sharp_policy_value(
    y: Any,
    actions: Any,
    covariates: Any,
    targets: Any,
    odds_ratio: Any,
    *,
    propensities: Any = None,
    learners: Learners | None = None,
    weights: Any = None,
    sampling_weights: bool = False,
    outcome_range: tuple[float, float] | None = None,
    seed: int | None = 0,
) -> Bounds:
    """Bound the value of a policy that looks at the covariates.

    Args:
        y: The reward of each row, shape ``(rows,)``.
        actions: The action of each row: labels or numbers with few values.
        covariates: A table or matrix, shape ``(rows, columns)``; see `sharp_mean`, as for the rest.
        targets: The policy's chance of each action (sorted) in each row's covariates, shape
            ``(rows, actions)``.
        odds_ratio: From 1, for the odds of each action against all others; several become an axis.
        propensities: The recorded chances of the actions, shaped likewise; None: they are learned.
        learners: How tails are learned.
        weights: How often each row counts: whole numbers are equal rows, others sampling weights.
        sampling_weights: Take weights for sampling weights even if all are whole numbers.
        outcome_range: Where rewards can be, for cells without rows of an action.
        seed: Seed of folds and of the choice of learners.

    Returns:
        The interval; sharp for two actions, valid for more.

    Raises:
        DataError: As `sharp_mean`; or chances do not sum to 1.

    References:
        Dorn and Guo (2022), for two actions.

    Example:
        >>> y, arm, z = [0, 1, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1], [[0], [0], [0], [0], [0], [0]]
        >>> sharp_policy_value(y, arm, z, [[0.0, 1.0]] * 6, 2.0)
        Bounds(policy value in [0.25, 0.5], by sharp marginal sensitivity model at odds ratio 2)
    """
    rows, taken = read_covariate_rows(
        y, actions, covariates, weights, learners, are_sampling=sampling_weights
    )
    wanted = read_laws("targets", targets, rows, taken)
    chances = None if propensities is None else read_laws("propensities", propensities, rows, taken)
    if chances is not None and (chances[np.arange(len(rows.y)), rows.arm] <= 0).any():
        raise DataError("a propensity of an action that was taken is 0; expected it above 0")
    models = models_of(rows, taken, learners, chances, outcome_range, seed)

    def ends(ratio: float) -> Ends:
        parts = [
            sharp_ends(models, rows.y, place, ratio, share=wanted[:, place], is_part=True)
            for place in range(len(rows.arms))
            if wanted[:, place].any()
        ]
        return combined([1] * len(parts), parts)

    return _answer("policy value", ends, odds_ratio, rows, models)


def _answer(
    query: str,
    ends: Callable[[float], Ends],
    odds_ratio: Any,
    rows: CovariateRows,
    models: TailModels,
) -> Bounds:
    ratios, is_one = read_odds_ratios(odds_ratio)
    found: Sequence[Ends] = [ends(ratio) for ratio in ratios]
    shape = () if is_one else (len(ratios),)
    values = np.array([each.values for each in found])
    error = standard_errors(found, models.repeats)
    told = told_of_tails(models, range(len(rows.arms)), max(ratios))
    if not isinstance(models, CellModels):
        told = ("quantiles and means given covariates were learned, and cross-fitted",)
    return SharpBounds(
        query,
        "sharp marginal sensitivity model" + (f" at odds ratio {ratios[0]:g}" if is_one else ""),
        values[:, 0].reshape(shape),
        values[:, 1].reshape(shape),
        axes={} if is_one else {"odds_ratio": ratios},
        is_sharp=len(rows.arms) == 2,
        error=None if error is None else error.reshape(2, *shape),
        num_rows=int(models.repeats.sum()),
        assumptions=ASSUMED,
        notes=(*told, *told_of_unseen(found)),
        held_out=np.array([each.held_out for each in found]).T.reshape(2, *shape),
    )
