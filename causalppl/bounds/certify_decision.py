"""From a log with two actions to a decision that says what it rests on."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.arm_contrast import ArmContrast, share_odds
from causalppl.bounds.certificate import Certificate, Layer, check_level, decided
from causalppl.bounds.furthest_limit import furthest_limit
from causalppl.bounds.pivotality import pivotality
from causalppl.bounds.row_method import checked_outcome_range
from causalppl.bounds.sensitivity_rows import (
    read_codes,
    read_odds_ratio,
    read_propensities,
    read_row_weights,
    read_rows,
)
from causalppl.bounds.tipping import TippingPoint, tipping_point
from causalppl.data.column import listed
from causalppl.exceptions import DataError, OverlapWarning
from causalppl.user_warning import warn_user

__all__ = ["certify_decision"]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]
Ends: TypeAlias = tuple[float, float]
_LEAST_ESS = 10.0  # of an arm; with less there is no telling its sampling error
_MOST_ERRORS = 4.0  # by which the inverse chances of an arm may miss the number of rows
_MOST_SKEWNESS = 0.2  # of an arm's mean; Cochran asks for 25 rows times the squared skewness
_LARGEST = 100.0  # odds ratio up to which the tipping point is looked for


def certify_decision(
    outcomes: Any,
    actions: Any,
    *,
    propensities: Any = None,
    strata: Any = None,
    mutual_information_cap: float | None = None,
    odds_ratio: float = 1.0,
    outcome_range: tuple[float, float] | None = None,
    weights: Any = None,
    sampling_weights: bool = False,
    level: float = 0.05,
) -> Certificate:
    """Decide between two actions from a log, if the log can tell.

    At least one kind of evidence on confounding is needed. With propensities, rows are weighted by
    them; with strata of measured confounders, arms are compared within strata (with propensities
    too, if these are given; else with the shares of arms in each stratum). What is hidden beyond
    that may move the odds of an action by ``odds_ratio``. With a cap on the information that hidden
    causes have about the action, the naive contrast may be off by what such causes can do. An
    action is preferred only if the whole interval is on its side, sampling error included, under
    each kind of evidence that is given.

    Sampling error is allowed for by Student's limits of the contrast, with variances within strata
    and arms (a row alone in its stratum and arm borrows that of the arm). The level holds for
    normal outcomes in a trial with two arms, and else in large samples: nothing guarantees it in
    small ones. Three guards keep noise, outcomes of the same law under both actions, below it there
    in every simulation of the tests (20 to 40 rows, rare events, skewed outcomes, uneven chances,
    20 strata): the variance is at least what the outcomes of both arms lead to expect, limits are
    moved out by skewness, and an arm with fewer than ten rows apart from the commonest outcome gets
    one row more, at the worst outcome in the range (for which `outcome_range` should be declared).

    Nothing else allows for what no row shows. Where outcomes are continuous there is no such row,
    whatever ``outcome_range`` says, so that an action with a rare disaster can be preferred because
    none was seen: with equal means, and a disaster of 20 standard deviations in 3 % of the rows of
    one action, the other was wrongly preferred in a fifth of trials of 40 rows at a level of 5 %. A
    note tells where the outcomes seen are too skewed for their number (Cochran's rule); that they
    are not skewed is no proof. A bound that holds for each law in the range costs most of the
    power.

    The interval lies within what the range of outcomes allows, and holds the intervals of smaller
    odds ratios.

    Args:
        outcomes: The outcome of each row; more is better.
        actions: The action of each row, two values; the contrast is the larger less the smaller.
        propensities: The recorded chance of the action that each row has.
        strata: The stratum of each row, labels or numbers with few values.
        mutual_information_cap: The most that all confounders together tell about the action, in
            nats.
        odds_ratio: By how much hidden confounding can move the odds of an action, from 1 (not).
        outcome_range: The smallest and the largest outcome that can be; None: those seen, which
            is noted. Needed where a stratum lacks an action: it then counts with this range.
        weights: How often each row counts: whole numbers are equal rows, others sampling weights.
        sampling_weights: Take weights for sampling weights even if all are whole numbers, as where
            a row of a survey stands for 1,200 people.
        level: How often, at most, an action is preferred that is not better.

    Returns:
        The certificate.

    Raises:
        DataError: No evidence is given, there are not two actions, a propensity is not between 0
            and 1, a stratum lacks an action and there is no range, or a setting is out of range.

    Warns:
        OverlapWarning: The effective sample size of an action is below 10, or its inverse
            propensities sum to something else than the number of rows, by more than 4 standard
            errors; the certificate then abstains.

    References:
        Tan (2006); Zhao, Small and Bhattacharya (2019), for hidden confounding up to an odds ratio.
        Mickey and Brown (1966), Hall (1992) and Gaffke (2005), for sampling error. Cochran (1977),
        Sampling Techniques, section 2.15, for the number of rows that skewness asks for.

    Example:
        >>> y, a = [0, 0, 0, 1] * 10 + [1, 1, 1, 0] * 10, [0] * 40 + [1] * 40
        >>> certify_decision(y, a, propensities=[0.5] * 80, odds_ratio=1.5, outcome_range=(0, 1))
        Certificate(prefer action 1; contrast in [0.07736, 0.7937])
        >>> certify_decision(y, a, propensities=[0.5] * 80, odds_ratio=3).decision
        'abstain'
    """
    check_level(level)
    ratio = read_odds_ratio(odds_ratio)
    if propensities is None and strata is None and mutual_information_cap is None:
        raise DataError(
            "there is no evidence on confounding; give propensities, strata or "
            "mutual_information_cap (for a randomised trial, the propensities of its design)"
        )
    y, arm, names, counts = _read(outcomes, actions, weights, sampling_weights)
    span, notes = _span(y, checked_outcome_range(outcome_range))
    layers: list[Layer] = []
    assumptions: list[str] = []
    errors, least = [], np.inf
    contrast: ArmContrast | None = None
    naive = ArmContrast.naive(y, arm, counts, span)
    is_off, is_point = False, True
    if propensities is not None or strata is not None:
        stratum = _strata(strata, len(y))
        _check_arms(stratum, arm, counts, strata, outcome_range)
        odds = _odds(propensities, stratum, arm, counts)
        contrast = ArmContrast(y, arm, stratum, odds, counts, span)
        known = [("propensities", propensities), ("strata", strata)]
        given = [name for name, values in known if values is not None]
        layers.append(_hidden(contrast, ratio, level, " and ".join(given), span))
        assumptions.append(_told(given, ratio))
        errors.append(contrast.error(ratio))
        least = min(least, contrast.ess)
        is_off = propensities is not None and contrast.imbalance[1] > _MOST_ERRORS
        low, high = contrast.ends(1.0)
        # not where a stratum lacks an action: then there are but bounds
        is_point = high - low <= 1e-12 * (span[1] - span[0])
    diagnostics: dict[str, Any] = {}
    if mutual_information_cap is not None:
        found = pivotality(
            y, arm, information_cap=mutual_information_cap, outcome_range=span, level=level,
            weights=None if weights is None else counts,
        )  # fmt: skip
        low, high = naive.limits(1.0, level)
        estimate, bias = naive.ends(1.0)[0], found.bias
        ends = estimate - bias, estimate + bias
        limits = _within((low - bias, high + bias), span)
        layers.append(Layer("capped information", estimate, _within(ends, span), limits))
        assumptions.append(
            f"all confounders together tell at most {mutual_information_cap:g} nats about the "
            "action"
        )
        errors.append(naive.error(1.0))
        least = min(least, naive.ess)
        diagnostics["information_to_flip"] = found.information_to_flip
    interval = _hull([layer.interval for layer in layers])
    skewness = (contrast or naive).skewness
    if skewness > _MOST_SKEWNESS and len(np.unique(y)) > 2:
        notes.append(_told_of_skewness(skewness))
    if least < _LEAST_ESS:
        notes.append(_warned(least))
    elif contrast is not None and is_off:
        notes.append(_warned_of_chances(contrast.imbalance))
    is_untold = is_off or least < _LEAST_ESS
    if is_untold:
        interval = span[0] - span[1], span[1] - span[0]  # nothing less can be told
    tipping = None
    if contrast is not None:
        given_cap = [layer.interval for layer in layers[1:]]
        tipping = (
            TippingPoint(1.0, 0.0, interval) if is_untold else _tipping(contrast, given_cap, level)
        )
    return Certificate(
        decided(interval, names),
        names,
        layers[0].estimate if is_point else None,
        interval,
        (*assumptions, "rows are independent"),
        level,
        max(errors),
        tipping,
        tuple(layers),
        tuple(notes),
        {**diagnostics, "effective_sample_size": least, "num_rows": len(y)},
    )


def _read(
    outcomes: Any, actions: Any, weights: Any, are_sampling: bool
) -> tuple[Array, Codes, tuple[Any, Any], Array]:
    y = read_rows(outcomes=outcomes)["outcomes"]
    arm, values = read_codes("actions", actions)
    if len(arm) != len(y):
        raise DataError(f"actions has {len(arm)} values and outcomes {len(y)}; expected one a row")
    found = read_row_weights(weights, len(y), are_sampling=are_sampling)
    counts = np.ones(len(y)) if found is None else found
    kept = counts > 0
    if len(values) != 2 or len(set(arm[kept].tolist())) != 2:
        raise DataError(
            f"actions takes the values ({listed(map(repr, values))}); expected two, both with rows"
        )
    return y, arm, (values[1], values[0]), counts


def _span(y: Array, declared: Ends | None) -> tuple[Ends, list[str]]:
    low, high = float(y.min()), float(y.max())
    if declared is None:
        return (low, high), [f"outcomes were taken to lie in the range seen, {low:g} to {high:g}"]
    if not declared[0] <= low <= high <= declared[1]:
        raise DataError(
            f"outcomes run from {low:g} to {high:g}, outside the outcome_range ({declared[0]:g}, "
            f"{declared[1]:g}); declare a range that holds all their values"
        )
    return declared, []


def _strata(strata: Any, num_rows: int) -> Codes:
    if strata is None:
        return np.zeros(num_rows, dtype=np.int64)
    codes, _ = read_codes("strata", strata)
    if len(codes) != num_rows:
        raise DataError(f"strata has {len(codes)} values and outcomes {num_rows}; expected as many")
    return codes


def _check_arms(stratum: Codes, arm: Codes, counts: Array, strata: Any, declared: Any) -> None:
    mass = np.bincount(2 * stratum + arm, counts, 2 * int(stratum.max()) + 2).reshape(-1, 2)
    lacking = np.flatnonzero((mass == 0).any(axis=1) & (mass.sum(axis=1) > 0))
    if len(lacking) and declared is None:
        values = read_codes("strata", strata)[1]
        raise DataError(
            f"the stratum {values[lacking[0]]!r} has rows of one action only (so have "
            f"{len(lacking)} of {len(mass)} strata); give outcome_range=(smallest, largest), with "
            "which they count, or merge strata"
        )


def _odds(propensities: Any, stratum: Codes, arm: Codes, counts: Array) -> Array:
    """The odds of not having the action that a row has: recorded, or as in its stratum."""
    if propensities is not None:
        chances = read_rows(propensities=propensities, actions=arm)["propensities"]
        return 1 / read_propensities("propensities", chances) - 1
    return share_odds(stratum, arm, counts)


def _hidden(contrast: ArmContrast, ratio: float, level: float, name: str, span: Ends) -> Layer:
    low, high = contrast.ends(1.0)
    ends = _within(contrast.ends(ratio), span)
    limits = _furthest(contrast, level, 0)(ratio), _furthest(contrast, level, 1)(ratio)
    return Layer(name, (low + high) / 2, ends, _within(limits, span))


def _furthest(
    contrast: ArmContrast, level: float, side: int, *, is_refined: bool = True
) -> Callable[[float], float]:
    return furthest_limit(
        lambda ratio: contrast.limit(ratio, level, side), side, is_refined=is_refined
    )


def _within(ends: Ends, span: Ends) -> Ends:
    """The part that means of outcomes in the span allow."""
    most = span[1] - span[0]
    return min(max(ends[0], -most), most), max(min(ends[1], most), -most)


def _hull(intervals: list[Ends]) -> Ends:
    lows, highs = zip(*intervals, strict=True)
    return min(lows), max(highs)


def _tipping(contrast: ArmContrast, others: list[Ends], level: float) -> TippingPoint:
    """From which odds ratio on no action is preferred, with what other evidence says."""
    start = _hull([contrast.limits(1.0, level), *others])
    side = 0 if start[0] > 0 else 1  # the limit that has to pass 0; the other is beyond it

    up_to = _furthest(contrast, level, side, is_refined=False)

    def ends(odds_ratio: float) -> Ends:
        limit = up_to(odds_ratio)
        return _hull([start, (limit, limit)])

    return tipping_point(ends, largest=_LARGEST)


def _told(given: list[str], ratio: float) -> str:
    rest = (
        "there is no hidden confounding"
        if ratio == 1
        else f"hidden confounding moves the odds of an action by a factor of at most {ratio:g}"
    )
    return f"beyond the {' and '.join(given)}, {rest}"


def _warned_of_chances(imbalance: tuple[float, float]) -> str:
    note = (
        f"the inverse propensities of an action sum to {imbalance[0]:.3g} times the rows, "
        f"{imbalance[1]:.1f} standard errors off, so that the propensities are hardly those of the "
        "actions taken, and the whole range is given"
    )
    warn_user(
        f"{note}; expected the chance of the action that each row has: 1 - p in the rows without "
        "the action, if p is the chance of having it",
        OverlapWarning,
    )
    return note


def _told_of_skewness(skewness: float) -> str:
    return (
        f"the outcomes of an action are skewed for their number (its mean by {skewness:.2g}; "
        f"{_MOST_SKEWNESS:g} is the most of Cochran's rule): if their laws differ between the "
        "actions, the wrong one may be preferred more often than the level says"
    )


def _warned(ess: float) -> str:
    note = (
        f"an action has an effective sample size of {ess:.3g}, too few rows to tell its sampling "
        "error, so the whole range is given"
    )
    warn_user(
        f"{note}; expected at least {_LEAST_ESS:g}; compare actions that the log takes more often",
        OverlapWarning,
    )
    return note
