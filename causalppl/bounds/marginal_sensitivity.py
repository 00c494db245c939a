"""Tan's marginal sensitivity model: intervals for weighted means under hidden confounding.

The chance of the action that a row shows depends on more than is recorded, but its odds differ
from the recorded ones by a factor of at most ``odds_ratio``. A row that would weigh ``1 / e``
weighs between ``1 + odds / odds_ratio`` and ``1 + odds * odds_ratio``; ``odds`` is ``(1 - e) / e``.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from causalppl.bounds.bounds import Bounds
from causalppl.bounds.confounded_log import ConfoundedLog, read_log
from causalppl.bounds.numbers_read import check_span
from causalppl.bounds.sensitivity_rows import read_codes
from causalppl.bounds.stratified_box import StratifiedBox
from causalppl.data.column import listed
from causalppl.exceptions import DataError

__all__ = ["msm_contribution", "msm_mean", "msm_policy_value", "msm_stratified"]


def msm_mean(
    y: Any,
    propensities: Any,
    odds_ratio: Any,
    *,
    weights: Any = None,
    sampling_weights: bool = False,
    num_draws: int = 0,
    seed: int | None = None,
) -> Bounds:
    """Bound a mean of all units from the rows that were seen: an arm, or those that answered.

    Args:
        y: The outcome of each row that was seen, shape ``(rows,)``.
        propensities: The recorded chance of being seen, between 0 and 1, shape ``(rows,)``.
        odds_ratio: From 1; several become an axis of the answer.
        weights: How often each row counts: whole numbers are equal rows, others sampling weights.
        sampling_weights: Take weights for sampling weights even if all are whole numbers, as where
            a row of a survey stands for 1,200 people.
        num_draws: How often to draw the rows anew (at least 20), so that the interval allows for
            sampling error by quantiles; 0: standard errors of the ends.
        seed: Seed of these draws.

    Returns:
        The interval, exact: Newton's method on the one equation that each end solves, in a few
        passes over the rows.

    Raises:
        DataError: A propensity is not between 0 and 1, an odds ratio is below 1, a number is
            missing, or lengths differ.

    Warns:
        OverlapWarning: The effective sample size is below 5 % of the rows with a weight, or below
            30 and 5 % of all.

    References:
        Tan (2006), A distributional approach for causal inference using propensity scores; Zhao,
        Small and Bhattacharya (2019), Sensitivity analysis for inverse probability weighting
        estimators via the percentile bootstrap.

    Example:
        >>> msm_mean([0, 1, 1], [0.5, 0.5, 0.5], 2.0)
        Bounds(mean in [0.5, 0.8], by marginal sensitivity model at odds ratio 2)
    """
    log = read_log(y, propensities, weights, sampling_weights=sampling_weights)
    return log.bounds(log.box(), "mean", odds_ratio, num_draws, seed, **_counting(log))


def msm_policy_value(
    y: Any,
    propensities: Any,
    targets: Any,
    odds_ratio: Any,
    *,
    weights: Any = None,
    sampling_weights: bool = False,
    num_draws: int = 0,
    seed: int | None = None,
) -> Bounds:
    """Bound the value of a policy from a log whose actions may be confounded.

    Args:
        y: The reward of each row, shape ``(rows,)``.
        propensities: The recorded chance of the action taken, shape ``(rows,)``.
        targets: The policy's chance of the action taken, from 0 to 1, shape ``(rows,)``.
        odds_ratio: From 1; several become an axis of the answer.
        weights: How often each row counts: whole numbers are equal rows, others sampling weights.
        sampling_weights: Take weights for sampling weights even if all are whole numbers, as where
            a row of a survey stands for 1,200 people.
        num_draws: See `msm_mean`, as for the rest.
        seed: Seed of these draws.

    Raises:
        DataError: As `msm_mean`; or the policy takes no action of the log.

    References:
        Kallus and Zhou (2020), Minimax-optimal policy learning under unobserved confounding.

    Example:
        >>> msm_policy_value([0, 1], [0.5, 0.5], [0.25, 0.75], 1.0)
        Bounds(policy value in [0.75, 0.75], by marginal sensitivity model at odds ratio 1)
    """
    log = read_log(y, propensities, weights, sampling_weights=sampling_weights, targets=targets)
    return log.bounds(
        log.box("targets"), "policy value", odds_ratio, num_draws, seed, **_counting(log)
    )


def msm_contribution(
    y: Any,
    propensities: Any,
    on: Any,
    off: Any,
    odds_ratio: Any,
    *,
    weights: Any = None,
    sampling_weights: bool = False,
    num_draws: int = 0,
    seed: int | None = None,
) -> Bounds:
    """Bound by how much one policy is better than another, on one log.

    A row that both policies would take has one unknown weight, not two: the interval is solved for
    jointly and is then narrower than the difference of the policies' intervals. Where no row is in
    both it is that difference.

    Args:
        y: The reward of each row, shape ``(rows,)``.
        propensities: The recorded chance of the action taken, shape ``(rows,)``.
        on: The first policy's chance of the action taken; for an arm against another 1 in its rows.
        off: The second policy's.
        odds_ratio: From 1; several become an axis of the answer.
        weights: How often each row counts: whole numbers are equal rows, others sampling weights.
        sampling_weights: Take weights for sampling weights even if all are whole numbers, as where
            a row of a survey stands for 1,200 people.
        num_draws: See `msm_mean`, as for the rest.
        seed: Seed of these draws.

    Raises:
        DataError: As `msm_mean`; or a policy takes no action of the log.

    References:
        Kallus and Zhou (2020), Minimax-optimal policy learning under unobserved confounding.

    Example:
        >>> y, half = [0, 1, 1, 0], [0.5] * 4
        >>> msm_contribution(y, half, [1, 1, 0, 0], [0, 0, 1, 1], 1.5)
        Bounds(contribution in [-0.2, 0.2], by marginal sensitivity model at odds ratio 1.5)
        >>> float(msm_contribution(y, half, [1, 1, 0, 0], [1, 1, 0, 0], 1.5).width)
        0.0
    """
    log = read_log(y, propensities, weights, sampling_weights=sampling_weights, on=on, off=off)
    return log.bounds(
        log.difference(), "contribution", odds_ratio, num_draws, seed, **_counting(log)
    )


def msm_stratified(
    y: Any,
    propensities: Any,
    strata: Any,
    odds_ratio: Any,
    *,
    shares: Mapping[Any, float] | None = None,
    outcome_range: tuple[float, float] | None = None,
    weights: Any = None,
    sampling_weights: bool = False,
    num_draws: int = 0,
    seed: int | None = None,
) -> Bounds:
    """Bound a mean over strata of known shares, each from its own rows.

    The worst weights of a stratum are chosen for the very rows that are then averaged: with few
    rows in each of many strata the interval is somewhat too narrow.

    Args:
        y: The outcome of each row that was seen, shape ``(rows,)``.
        propensities: The recorded chance of being seen, shape ``(rows,)``.
        strata: The stratum of each row: labels or numbers.
        odds_ratio: From 1; several become an axis of the answer.
        shares: Stratum to its share of the target population; they sum to 1. None: the strata that
            were seen, with their shares of the rows weighted by 1 / propensity.
        outcome_range: The smallest and the largest outcome that can be. A stratum without rows
            then counts with this whole range: it is neither 0 nor left out.
        weights: How often each row counts: whole numbers are equal rows, others sampling weights.
        sampling_weights: Take weights for sampling weights even if all are whole numbers, as where
            a row of a survey stands for 1,200 people.
        num_draws: See `msm_mean`; rows are drawn anew within their stratum.
        seed: Seed of these draws.

    Raises:
        DataError: As `msm_mean`; a stratum has no rows and no range is given, shares are negative
            or do not sum to 1, or an outcome is outside the range.

    References:
        Tan (2006); Zhao, Small and Bhattacharya (2019).

    Example:
        >>> found = msm_stratified(
        ...     [0, 1], [0.5, 0.5], ["a", "a"], 1.0, shares={"a": 0.5, "b": 0.5},
        ...     outcome_range=(0, 1))
        >>> found
        Bounds(mean over strata in [0.25, 0.75], by marginal sensitivity model at odds ratio 1)
    """
    log = read_log(y, propensities, weights, sampling_weights=sampling_weights)
    codes, values = read_codes("strata", strata, len(log.y))
    check_span((float(log.y.min()), float(log.y.max())), outcome_range)
    totals = np.bincount(codes, log.fixed + log.free, len(values))
    known = None if shares is None else _checked_shares(shares)
    counted = totals / totals.sum()
    if known is not None:
        counted = np.array([known.get(value, 0.0) for value in values])
    is_seen = totals > 0
    if known is not None:
        is_seen &= np.fromiter((value in known for value in values), bool, len(values))
    lacking = _lacking(known or {}, {v for v, seen in zip(values, is_seen, strict=True) if seen})
    if lacking and outcome_range is None:
        raise DataError(
            f"the stratum {next(iter(lacking))!r} has a share of {lacking[next(iter(lacking))]:g} "
            "and no rows; expected rows, or outcome_range=(smallest, largest), which bounds it"
        )
    low, high = outcome_range or (0.0, 0.0)
    empty = sum(lacking.values())
    groups = np.where(is_seen, np.cumsum(is_seen) - 1, -1)[codes]
    found = StratifiedBox(
        log.y, log.fixed, log.free, groups, counted[is_seen], (empty * low, empty * high)
    )
    return log.bounds(
        found,
        "mean over strata",
        odds_ratio,
        num_draws,
        seed,
        groups=groups,
        **_counting(log, outcome_range),
        notes=_notes(lacking, set() if known is None else set(values) - set(known)),
    )


def _lacking(known: Mapping[Any, float], seen: set[Any]) -> dict[Any, float]:
    """Strata of the target without rows, and their shares."""
    return {value: share for value, share in known.items() if share and value not in seen}


def _counting(log: ConfoundedLog, span: tuple[float, float] | None = None) -> dict[str, Any]:
    """How often rows count, and the range of their outcomes: as seen, if it was not given."""
    y = log.y[log.fixed > 0]
    return {"counts": log.fixed, "span": span or (float(y.min()), float(y.max()))}


def _checked_shares(shares: Mapping[Any, float]) -> dict[Any, float]:
    found = {value: float(share) for value, share in shares.items()}
    total = sum(found.values())
    if not found or not min(found.values()) >= 0 or not abs(total - 1) <= 1e-6:
        raise DataError(
            f"shares sum to {total:g}, the smallest is {min(found.values(), default=0):g}; "
            "expected the share of each stratum in the target population, summing to 1"
        )
    return found


def _notes(lacking: Mapping[Any, float], others: set[Any]) -> Any:
    found = []
    if lacking:
        found.append(
            f"{listed(map(repr, lacking))} have no rows and count with the whole range of the "
            f"outcome ({sum(lacking.values()):.1%} of the target)"
        )
    if others:
        found.append(f"rows of {listed(sorted(map(repr, others)))} are no part of the target")
    return tuple(found)
