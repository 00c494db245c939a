"""Sharp intervals under Tan's marginal sensitivity model, from what covariates say.

Weights that may lie anywhere in their box need not balance the covariates. Those that hidden causes
can make do: within each value of the covariates they average to what is known. Sharp bounds reweigh
outcomes by tails given covariates, and never lie outside those of `msm_mean` on the same law.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.bounds import Bounds
from causalppl.bounds.covariate_rows import CovariateRows, find_cells
from causalppl.bounds.extremes import UNKNOWN, UNSEEN
from causalppl.bounds.sensitivity_rows import (
    num_counted,
    read_odds_ratios,
    read_propensities,
    read_row_weights,
    read_rows,
)
from causalppl.bounds.tail_models import CellModels, Learners, Tail, TailModels, tail_outcome
from causalppl.estimation.row_weights import are_whole
from causalppl.exceptions import DataError
from causalppl.queries import Value

__all__ = ["Ends", "SharpBounds", "sharp_effect", "sharp_ends", "sharp_mean", "sharp_policy_value"]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]
_FEWEST = 10.0  # effective rows of an arm, from which equal outcomes tell of others
_ENOUGH_BEYOND = 10  # rows of an arm beyond the quantile of a cell
_MANY = 4_000  # rows, from which the number of cells is no longer limited by them

ASSUMED = (
    "given the covariates and what is hidden, the odds of treatment differ from those given the "
    "covariates alone by a factor of at most the odds ratio",
)


class Ends(NamedTuple):
    """The smallest and the largest value, and what their sampling error is told by.

    Attributes:
        values: The two ends, for the law of the rows.
        influence: By how much each row moves the ends, ``(2, rows)``.
        held_out: The two ends where no row helps to find its own quantile: never too narrow on
            average, while those of the law of few rows are.
        unseen: A part of the standard errors that influences do not show, as the outcomes of an arm
            are all alike.
    """

    values: Array
    influence: Array
    held_out: Array
    unseen: Array


@dataclass(frozen=True, eq=False, repr=False)
class SharpBounds(Bounds):
    """Bounds whose ends are those of the law of the rows, with an interval that is told apart.

    Attributes:
        held_out: The ends where no row helps to find its own quantile, shape ``(2, *values)``; from
            there the interval goes outwards. None: the ends themselves.

    Example:
        >>> y, arm = np.tile([0.0, 1.0, 2.0], 20), np.repeat([0, 1], 30)
        >>> found = sharp_mean(y, arm, None, 2.0)
        >>> bool(found.held_out[1] >= found.upper), bool(found.interval()[1] > found.held_out[1])
        (True, True)
    """

    held_out: Array | None = None

    def interval(self, prob: float = 0.95) -> tuple[Array, Array]:
        """Return ends that allow for sampling error, see `Bounds.interval`."""
        low, high = super().interval(prob)
        if self.held_out is None:
            return low, high
        return (
            np.asarray(low - np.maximum(self.lower - self.held_out[0], 0.0)),
            np.asarray(high + np.maximum(self.held_out[1] - self.upper, 0.0)),
        )

    def at(self, **values: Value) -> "SharpBounds":
        """Fix open values, see `Bounds.at`."""
        found = cast(SharpBounds, super().at(**values))
        if self.held_out is None:
            return found
        ends = [replace(self, lower=e, upper=e, held_out=None) for e in self.held_out]
        held_out = np.stack([Bounds.at(each, **values).lower for each in ends])
        return replace(found, held_out=held_out)


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
    unseen = unseen_error(models, y, arm, odds_ratio) * (float(share.max()) if is_part else 1.0)
    counted = models.weights * share
    if seen == arm:
        value = float((counted * own) @ y / (counted @ own))
        influence = counted * own * (y - value) / (counted @ own)
        return Ends(np.full(2, value), np.stack([influence, influence]), np.full(2, value), unseen)
    chance = models.chance(arm)
    other = ~own if seen is None else models.arm == seen
    odds = (1 - chance if seen is None else models.chance(seen)) / np.where(own, chance, 1)
    base = own * (seen is None)
    whole = models.weights if is_part else counted * (base + other)
    total = float(whole.sum())
    values, held_out, influences = np.empty(2), np.empty(2), np.empty((2, len(y)))

    def scored(tail: Tail, sign: int) -> Array:
        shown = tail_outcome(y, tail.quantile, odds_ratio, sign)
        return np.asarray(base * y + other * tail.mean + own * odds * (shown - tail.mean))

    for place, sign in enumerate((-1, 1)):
        values[place] = counted @ scored(models.tail(y, arm, odds_ratio, sign), sign) / total
        scores = scored(models.held_out_tail(y, arm, odds_ratio, sign), sign)
        held_out[place] = counted @ scores / total
        influences[place] = (counted * scores - held_out[place] * whole) / total
    return Ends(np.sort(values), influences, np.sort(held_out), unseen)


def unseen_error(models: TailModels, y: Array, arm: int, odds_ratio: float) -> Array:
    """Errors of the ends where an arm's outcomes are all alike, shape ``(2,)``.

    By how far two more rows at the worst outcome, reweighed by the odds ratio, would move them; 0
    where outcomes vary, infinite where fewer than ten rows, or no outcome in the range, tell
    anything. See `WeightBox.unseen`.
    """
    own = (models.arm == arm) & (models.weights > 0)
    if not own.any() or np.ptp(y[own]) > 0:
        return np.zeros(2)
    weights = models.weights[own]
    size = float(weights.sum()) ** 2 / float(weights**2 @ (1 / models.repeats[own]))
    away = np.abs(np.array(models.span(y)) - y[own][0])
    if size < _FEWEST or not away.any():
        return np.full(2, np.inf)
    return np.asarray(away * min(2 * odds_ratio / (size + 2), 1.0))


def combined(weights: Sequence[float] | Array, parts: Sequence[Ends]) -> Ends:
    """A weighted sum of intervals; a negative weight turns an interval around."""
    used = [(float(w), part) for w, part in zip(weights, parts, strict=True) if w]
    if not used:
        zero = np.zeros(2)
        return Ends(zero, np.zeros_like(parts[0].influence), zero, zero)
    turned = [Ends(*(end[::-1] if w < 0 else end for end in part)) for w, part in used]
    return Ends(
        np.sum([w * part.values for (w, _), part in zip(used, turned, strict=True)], axis=0),
        np.sum([w * part.influence for (w, _), part in zip(used, turned, strict=True)], axis=0),
        np.sum([w * part.held_out for (w, _), part in zip(used, turned, strict=True)], axis=0),
        np.sum([abs(w) * part.unseen for (w, _), part in zip(used, turned, strict=True)], axis=0),
    )


def standard_errors(found: Sequence[Ends], repeats: Array) -> Array | None:
    """Standard errors of ends, shape ``(2, ends)``; None where rows do not tell them.

    A row that stands for several is so many.
    """
    unseen = np.array([each.unseen for each in found]).T
    shown = np.array([np.sqrt((each.influence**2) @ (1 / repeats)) for each in found]).T
    return np.hypot(shown, unseen) if np.isfinite(unseen).all() else None


def told_of_unseen(found: Sequence[Ends]) -> tuple[str, ...]:
    """What the reader should know where an arm's outcomes are all alike."""
    unseen = np.array([each.unseen for each in found])
    if not unseen.any():
        return ()
    return (UNSEEN if np.isfinite(unseen).all() else UNKNOWN,)


def told_of_tails(models: TailModels, arms: Sequence[int], odds_ratio: float) -> tuple[str, ...]:
    """What the reader should know of tails with few rows."""
    rows = min((models.rows_beyond(arm, odds_ratio) for arm in arms), default=np.inf)
    if odds_ratio == 1 or rows >= _ENOUGH_BEYOND:
        return ()
    return (
        f"some cell of equal covariates has {rows:.1f} rows of an arm beyond the quantile at odds "
        f"ratio {odds_ratio:g}, fewer than {_ENOUGH_BEYOND}: the ends, which are those of the law "
        "of the rows, are then too narrow; the interval with sampling error leaves each row out of "
        "its own quantile and allows for that",
    )


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
            cells: the ends are then exact for the law of the rows, and too narrow for that of the
            population where few rows lie in a tail (which is noted); the interval allows for it,
            as it leaves each row out of its own quantile. Else learners are cross-fitted.
        odds_ratio: From 1; several become an axis of the answer.
        at: The arm that is asked about.
        propensities: The chances of ``at`` given the covariates, where they are known.
        learners: How tails are learned; None: by defaults.
        weights: How often each row counts: whole numbers are equal rows, others sampling weights.
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
    rows, taken = _read(y, arm, covariates, weights, learners)
    place = rows.place(at)
    chances = _binary_chances(rows, taken, propensities, place)
    models = _models(rows, taken, learners, chances, outcome_range, seed)

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
        weights: How often each row counts: whole numbers are equal rows, others sampling weights.
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
    rows, taken = _read(y, arm, covariates, weights, learners)
    if len(rows.arms) != 2:
        raise DataError(f"arm takes {len(rows.arms)} values; expected two, or use sharp_mean")
    chances = _binary_chances(rows, taken, propensities, 1)
    models = _models(rows, taken, learners, chances, outcome_range, seed)
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
        weights: How often each row counts: whole numbers are equal rows, others sampling weights.
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
    rows, taken = _read(y, actions, covariates, weights, learners)
    wanted = _laws("targets", targets, rows, taken)
    chances = None if propensities is None else _laws("propensities", propensities, rows, taken)
    if chances is not None and (chances[np.arange(len(rows.y)), rows.arm] <= 0).any():
        raise DataError("a propensity of an action that was taken is 0; expected it above 0")
    models = _models(rows, taken, learners, chances, outcome_range, seed)

    def ends(ratio: float) -> Ends:
        parts = [
            sharp_ends(models, rows.y, place, ratio, share=wanted[:, place], is_part=True)
            for place in range(len(rows.arms))
            if wanted[:, place].any()
        ]
        return combined([1] * len(parts), parts)

    return _answer("policy value", ends, odds_ratio, rows, models)


class _Taken(NamedTuple):
    """Which of the rows that were given are used, how many were given, and each one's count."""

    places: Codes
    num_given: int
    counts: Array | None = None


def _read(
    y: Any, arm: Any, covariates: Any, weights: Any, learners: Learners | None
) -> tuple[CovariateRows, _Taken]:
    """Read the rows; whole weights are counts of equal rows.

    Within cells a row that stands for several is weighed; learners are given it several times, as
    folds must be able to part them.
    """
    rows = CovariateRows.read(y, arm, covariates, weights)
    num_given = len(rows.y)
    counts = read_row_weights(weights, num_given)
    if counts is None or not are_whole(counts):
        return rows, _Taken(np.arange(num_given), num_given)
    taken = np.flatnonzero(counts)
    cells = _counted_cells(rows.matrix[taken], num_counted(counts))
    counts = counts[taken]
    if cells is None or learners is not None:
        taken = np.repeat(taken, counts.astype(np.int64))
        cells, counts = None, np.ones(len(taken))
    seen, codes = np.unique(rows.arm[taken], return_inverse=True)
    if len(seen) < 2:
        raise DataError("only one arm has rows with a weight; expected two arms or more")
    if len(seen) < len(rows.arms):
        raise DataError(
            f"no row with a weight is in {len(rows.arms) - len(seen)} of {len(rows.arms)} arms; "
            "expected rows in each, leave out those without a weight"
        )
    return (
        CovariateRows(rows.y[taken], codes, rows.arms, rows.matrix[taken], cells, counts),
        _Taken(taken, num_given, counts),
    )


def _models(rows: CovariateRows, taken: _Taken, *settings: Any) -> TailModels:
    found = rows.models(*settings)
    return replace(found, counts=taken.counts) if isinstance(found, CellModels) else found


def _counted_cells(matrix: Array, num_rows: int) -> Codes | None:
    """Cells of equal covariates, by the rule for as many rows as were counted."""
    copies = min(num_rows, max(_MANY, len(matrix))) - len(matrix)
    found = find_cells(np.concatenate([matrix, np.repeat(matrix[:1], copies, axis=0)]))
    return None if found is None else found[: len(matrix)]


def _binary_chances(
    rows: CovariateRows, taken: _Taken, propensities: Any, place: int
) -> Array | None:
    """Chances of the arms, from those of one; what is left goes to any other."""
    if propensities is None:
        return None
    found = read_rows(propensities=propensities)["propensities"]
    if len(found) != taken.num_given:
        raise DataError(
            f"unequal lengths: y has {taken.num_given} and propensities has {len(found)}; expected "
            "one value for each row in all of them"
        )
    found = read_propensities("propensities", found)[taken.places]
    chances = np.tile((1 - found)[:, None], (1, len(rows.arms)))
    chances[:, place] = found
    return chances


def _laws(name: str, values: Any, rows: CovariateRows, taken: _Taken) -> Array:
    found = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, dtype=float)
    shape = (taken.num_given, len(rows.arms))
    if found.shape != shape:
        raise DataError(f"{name} have shape {found.shape}; expected {shape}, actions sorted")
    if not (found.min() >= 0 and np.abs(found.sum(1) - 1).max() <= 1e-6):
        raise DataError(f"{name} are below 0, or do not sum to 1 in some row; expected laws")
    return found[taken.places]


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
