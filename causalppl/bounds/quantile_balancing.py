"""Sharp intervals under Tan's marginal sensitivity model, from what covariates say.

Weights that may lie anywhere in their box need not balance the covariates. Those that hidden causes
can make do: within each value of the covariates they average to what is known. Sharp bounds reweigh
outcomes by tails given covariates, and never lie outside those of `msm_mean` on the same law.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.bounds import Bounds
from causalppl.bounds.covariate_rows import CovariateRows
from causalppl.bounds.sensitivity_rows import read_odds_ratios, read_propensities, read_rows
from causalppl.bounds.tail_models import CellModels, Learners, TailModels, tail_outcome
from causalppl.exceptions import DataError

__all__ = ["Ends", "sharp_effect", "sharp_ends", "sharp_mean", "sharp_policy_value"]

Array: TypeAlias = NDArray[np.float64]

ASSUMED = (
    "given the covariates and what is hidden, the odds of treatment differ from those given the "
    "covariates alone by a factor of at most the odds ratio",
)


class Ends(NamedTuple):
    """The smallest and the largest value, and by how much each row moves them, ``(2, rows)``."""

    values: Array
    influence: Array


def sharp_ends(
    models: TailModels,
    y: Array,
    arm: int,
    odds_ratio: float,
    *,
    share: Array | None = None,
    seen: int | None = None,
    is_part: bool = False,
) -> Ends:
    """Bound ``E[Y_arm]`` over a population, by the doubly valid and doubly sharp estimator.

    Args:
        models: Chances of arms and tails of outcomes.
        y: The outcome of each row.
        arm: The arm whose outcome is asked about.
        odds_ratio: From 1.
        share: How much each row's covariates count in the population: whether it is in a stratum,
            or a policy's chance of the arm.
        seen: The arm that the population was seen in; None: all.
        is_part: Whether the answer is a part of a policy's value, so that the sum is over all rows
            and not divided by those that count.

    Returns:
        The ends. If a quantile is wrong they lie outside the sharp ones; they are right if either
        chances or reweighed means are.
    """
    own = models.arm == arm
    share = np.ones(len(y)) if share is None else share
    counted = models.weights * share
    if seen == arm:
        value = float((counted * own) @ y / (counted @ own))
        influence = counted * own * (y - value) / (counted @ own)
        return Ends(np.full(2, value), np.stack([influence, influence]))
    chance = models.chance(arm)
    other = ~own if seen is None else models.arm == seen
    odds = (1 - chance if seen is None else models.chance(seen)) / np.where(own, chance, 1)
    base = own * (seen is None)
    whole = models.weights if is_part else counted * (base + other)
    total = float(whole.sum())
    values, influences = np.empty(2), np.empty((2, len(y)))
    for place, sign in enumerate((-1, 1)):
        tail = models.tail(y, arm, odds_ratio, sign)
        shown = tail_outcome(y, tail.quantile, odds_ratio, sign)
        scores = base * y + other * tail.mean + own * odds * (shown - tail.mean)
        values[place] = float(counted @ scores) / total
        influences[place] = (counted * scores - values[place] * whole) / total
    return Ends(np.sort(values) if values[0] > values[1] else values, influences)


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
    outcome_range: tuple[float, float] | None = None,
    seed: int | None = 0,
) -> Bounds:
    """Bound the mean outcome if all units were in one arm, given covariates.

    Args:
        y: The outcome of each row, shape ``(rows,)``.
        arm: The arm of each row: labels or numbers with few values.
        covariates: A table of any kind, or an array of shape ``(rows, columns)``. With up to 200
            different rows, and 20 rows for each on average, frequencies are taken within these
            cells and the answer is exact; else learners are cross-fitted.
        odds_ratio: From 1; several become an axis of the answer.
        at: The arm that is asked about.
        propensities: The chances of ``at`` given the covariates, where they are known.
        learners: How tails are learned; None: by defaults.
        weights: How often each row counts.
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
    rows = CovariateRows.read(y, arm, covariates, weights)
    place = rows.place(at)
    chances = _binary_chances(rows, propensities, place)
    models = rows.models(learners, chances, outcome_range, seed)

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
    outcome_range: tuple[float, float] | None = None,
    seed: int | None = 0,
) -> Bounds:
    """Bound the average effect of one arm against another, given covariates.

    Args:
        y: The outcome of each row, shape ``(rows,)``.
        arm: The arm of each row, two values; the larger one is compared with the smaller.
        covariates: See `sharp_mean`, as for the rest.
        odds_ratio: From 1; several become an axis of the answer.
        is_on_treated: The effect on those seen in the larger arm, rather than on all.
        propensities: The chances of the larger arm given the covariates, where they are known.
        learners: How tails are learned.
        weights: How often each row counts.
        outcome_range: Where outcomes can be, for cells without rows in an arm.
        seed: Seed of folds and of the choice of learners.

    Returns:
        The interval. The worst cases of both arms are made by one hidden cause, so that their
        difference is sharp.

    Raises:
        DataError: As `sharp_mean`; or there are not two arms.

    Example:
        >>> y, arm, z = [0, 1, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1], [[0], [0], [0], [0], [0], [0]]
        >>> sharp_effect(y, arm, z, 1.0)
        Bounds(ATE in [-0.3333, -0.3333], by sharp marginal sensitivity model at odds ratio 1)
    """
    rows = CovariateRows.read(y, arm, covariates, weights)
    if len(rows.arms) != 2:
        raise DataError(f"arm takes {len(rows.arms)} values; expected two, or use sharp_mean")
    chances = _binary_chances(rows, propensities, 1)
    models = rows.models(learners, chances, outcome_range, seed)
    seen = 1 if is_on_treated else None

    def ends(ratio: float) -> Ends:
        one = sharp_ends(models, rows.y, 1, ratio, seen=seen)
        other = sharp_ends(models, rows.y, 0, ratio, seen=seen)
        return Ends(one.values - other.values[::-1], one.influence - other.influence[::-1])

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
    outcome_range: tuple[float, float] | None = None,
    seed: int | None = 0,
) -> Bounds:
    """Bound the value of a policy that looks at the covariates.

    Args:
        y: The reward of each row, shape ``(rows,)``.
        actions: The action of each row: labels or numbers with few values.
        covariates: See `sharp_mean`, as for the rest.
        targets: The policy's chance of each action (sorted) in each row's covariates, shape
            ``(rows, actions)``.
        odds_ratio: From 1, for the odds of each action against all others; several become an axis.
        propensities: The recorded chances of the actions, shaped likewise; None: they are learned.
        learners: How tails are learned.
        weights: How often each row counts.
        outcome_range: Where rewards can be, for cells without rows of an action.
        seed: Seed of folds and of the choice of learners.

    Returns:
        The interval; sharp for two actions, valid for more.

    Raises:
        DataError: As `sharp_mean`; or chances do not sum to 1.

    Example:
        >>> y, arm, z = [0, 1, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1], [[0], [0], [0], [0], [0], [0]]
        >>> sharp_policy_value(y, arm, z, [[0.0, 1.0]] * 6, 2.0)
        Bounds(policy value in [0.25, 0.5], by sharp marginal sensitivity model at odds ratio 2)
    """
    rows = CovariateRows.read(y, actions, covariates, weights)
    wanted = _laws("targets", targets, rows)
    chances = None if propensities is None else _laws("propensities", propensities, rows)
    if chances is not None and (chances[np.arange(len(rows.y)), rows.arm] <= 0).any():
        raise DataError("a propensity of an action that was taken is 0; expected it above 0")
    models = rows.models(learners, chances, outcome_range, seed)

    def ends(ratio: float) -> Ends:
        parts = [
            sharp_ends(models, rows.y, place, ratio, share=wanted[:, place], is_part=True)
            for place in range(len(rows.arms))
            if wanted[:, place].any()
        ]
        return Ends(sum(part.values for part in parts), sum(part.influence for part in parts))  # type: ignore[arg-type]

    return _answer("policy value", ends, odds_ratio, rows, models)


def _binary_chances(rows: CovariateRows, propensities: Any, place: int) -> Array | None:
    """Chances of the arms, from those of one; what is left goes to any other."""
    if propensities is None:
        return None
    found = read_rows(y=rows.y, propensities=propensities)["propensities"]
    read_propensities("propensities", found)
    chances = np.tile((1 - found)[:, None], (1, len(rows.arms)))
    chances[:, place] = found
    return chances


def _laws(name: str, values: Any, rows: CovariateRows) -> Array:
    found = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, dtype=float)
    shape = (len(rows.y), len(rows.arms))
    if found.shape != shape:
        raise DataError(f"{name} have shape {found.shape}; expected {shape}, actions sorted")
    if not (found.min() >= 0 and np.abs(found.sum(1) - 1).max() <= 1e-6):
        raise DataError(f"{name} are below 0, or do not sum to 1 in some row; expected laws")
    return found


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
    error = np.array([np.sqrt((each.influence**2).sum(1)) for each in found]).T
    values = np.array([each.values for each in found])
    return Bounds(
        query,
        "sharp marginal sensitivity model" + (f" at odds ratio {ratios[0]:g}" if is_one else ""),
        values[:, 0].reshape(shape),
        values[:, 1].reshape(shape),
        axes={} if is_one else {"odds_ratio": ratios},
        is_sharp=len(rows.arms) == 2,
        error=error.reshape(2, *shape),
        num_rows=len(rows.y),
        assumptions=ASSUMED,
        notes=()
        if isinstance(models, CellModels)
        else ("quantiles and means given covariates were learned, and cross-fitted",),
    )
