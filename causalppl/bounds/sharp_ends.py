"""Sharp ends of a mean from models of arms and tails, and what tells their sampling error."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.extremes import UNKNOWN, UNSEEN
from causalppl.bounds.tail_models import Tail, TailModels, tail_outcome

__all__ = [
    "ASSUMED",
    "Ends",
    "combined",
    "sharp_ends",
    "standard_errors",
    "told_of_tails",
    "told_of_unseen",
    "unseen_error",
]

Array: TypeAlias = NDArray[np.float64]
_FEWEST = 10.0  # effective rows of an arm, from which equal outcomes tell of others
_ENOUGH_BEYOND = 10  # rows of an arm beyond the quantile of a cell

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
