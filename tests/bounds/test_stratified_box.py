"""Strata at once are what each is by itself; rows are drawn anew within them."""

import numpy as np
import pytest

from causalppl.bounds.marginal_sensitivity import msm_mean, msm_policy_value, msm_stratified
from causalppl.bounds.per_step_sensitivity import msm_per_step
from causalppl.bounds.quantile_balancing import sharp_effect
from causalppl.bounds.resampling import Resampling
from causalppl.exceptions import DataError


@pytest.mark.parametrize("seed", range(10))
def test_many_strata_are_the_sum_of_each(seed):
    rng = np.random.default_rng(seed)
    n, ratio = 200, float(rng.uniform(1, 5))
    y, e, strata = rng.normal(size=n) + 1e3, rng.uniform(0.1, 0.9, n), rng.integers(0, 20, n)
    share = dict(enumerate(rng.dirichlet(np.ones(25))))
    share = {key: share[key] / sum(share[k] for k in range(20)) for key in range(20)}
    found = msm_stratified(y, e, strata, ratio, shares=share)
    alone = {k: msm_mean(y[strata == k], e[strata == k], ratio) for k in share}
    assert float(found.lower) == pytest.approx(sum(share[k] * alone[k].lower for k in share))
    assert float(found.upper) == pytest.approx(sum(share[k] * alone[k].upper for k in share))
    error = np.sqrt(sum((share[k] * alone[k].error) ** 2 for k in share))
    np.testing.assert_allclose(found.error, error)
    assert found.diagnostics["ess"] in [
        pytest.approx(each.diagnostics["ess"]) for each in alone.values()
    ]


def test_a_hundred_thousand_rows_in_small_strata_take_no_time():
    rng = np.random.default_rng(0)
    y, e = rng.normal(size=100_000), rng.uniform(0.2, 0.8, 100_000)
    found = msm_stratified(y, e, np.repeat(np.arange(10_000), 10), [1.0, 2.0])
    assert found.lower[0] == found.upper[0]
    assert found.lower[1] < found.lower[0] < found.upper[1]


def test_strata_that_do_not_vary_have_the_error_of_two_more_rows():
    y, strata = np.repeat([0.0, 1.0], 20), np.repeat([0, 1], 20)
    found = msm_stratified(y, [0.5] * 40, strata, 1.5)
    parts = [msm_mean(y[:20], [0.5] * 20, 1.5), msm_mean(y[20:], [0.5] * 20, 1.5)]
    assert all(part.error is None for part in parts)  # alone, nothing tells of other outcomes
    added = 2 * (1 + 1.5) / 20
    moved = added / (added + 1 + 1 / 1.5)
    np.testing.assert_allclose(found.error, 0.5 * moved)


def test_intervals_of_strata_with_few_events_hold_their_probability():
    held, z, chance = 0, np.repeat([0, 1], 30), np.full(60, 0.5)
    for seed in range(500):
        rng = np.random.default_rng(seed)
        y = (rng.random(60) < np.where(z == 0, 0.05, 0.5)) * 1.0
        given = {"shares": {0: 0.9, 1: 0.1}, "outcome_range": (0, 1)}
        low, high = msm_stratified(y, chance, z, 1.0, **given).interval()
        held += low <= 0.095 <= high
    assert held / 500 >= 0.93


@pytest.mark.parametrize(("num_rows", "chance"), [(30, 0.1), (200, 0.02)])
def test_intervals_of_means_with_few_events_hold_their_probability(num_rows, chance):
    held = 0
    for seed in range(500):
        y = (np.random.default_rng(seed).random(num_rows) < chance) * 1.0
        if not y.any():
            held += 1  # refused: nothing tells which outcomes can be
            continue
        low, high = msm_mean(y, np.full(num_rows, 0.5), 1.0).interval()
        held += low <= chance <= high
    assert held / 500 >= 0.93


def test_a_constant_stratum_has_an_error_beside_one_that_varies():
    y, z = np.append(np.zeros(30), np.tile([0.0, 1.0], 15)), np.repeat([0, 1], 30)
    found = msm_stratified(y, np.full(60, 0.5), z, 1.0, shares={0: 0.9, 1: 0.1})
    varying = 0.1 * 0.5 / np.sqrt(30)
    np.testing.assert_allclose(found.error, [varying, np.hypot(varying, 0.9 * 2 / 32)])
    assert any("two more rows" in note for note in found.notes)


def test_rows_are_drawn_within_their_group_as_often_as_it_has_rows():
    rng = np.random.default_rng(1)
    repeats, groups = rng.integers(0, 4, 60) * 1.0, rng.integers(-1, 5, 60)
    draw = Resampling.of(repeats, groups)
    totals = np.zeros(60)
    for _ in range(2_000):
        drawn = draw(rng)
        totals += drawn
        for group in range(5):
            assert drawn[groups == group].sum() == repeats[groups == group].sum()
    assert not totals[groups < 0].any()
    expected = np.where(groups < 0, 0, repeats)
    np.testing.assert_allclose(totals / 2_000, expected, atol=0.2)


def test_draws_of_counts_for_very_many_rows_are_within_groups_too(monkeypatch):
    monkeypatch.setattr("causalppl.bounds.resampling._MOST_DRAWN", 10)
    repeats, groups = np.array([0, 3.0, 0, 5, 0, 7, 2]), np.array([0, 0, 1, 1, 1, 2, 0])
    drawn = Resampling.of(repeats, groups)(np.random.default_rng(2))
    sums = np.bincount(groups, drawn)
    assert sums.tolist() == [5, 5, 7]
    assert not drawn[repeats == 0].any()


def test_whole_sampling_weights_are_no_counts():
    rng = np.random.default_rng(3)
    y, e, on = rng.normal(size=40), rng.uniform(0.2, 0.8, 40), rng.random(40)
    arm, z = np.tile([0, 1], 20), np.repeat([0, 1], 20)
    weights = rng.integers(1, 2_000, 40)
    ways = [
        lambda **given: msm_mean(y, e, 2.0, **given),
        lambda **given: msm_policy_value(y, e, on, 2.0, **given),
        lambda **given: msm_stratified(y, e, z, 2.0, **given),
        lambda **given: msm_per_step([y, y], [e, e], 2.0, **given),
        lambda **given: sharp_effect(y, arm, z, 2.0, **given),
    ]
    for way in ways:
        survey = way(weights=weights, sampling_weights=True)
        scaled = way(weights=weights / 2**12)
        counted = way(weights=weights)
        np.testing.assert_allclose(survey.interval(), scaled.interval())
        assert survey.num_rows == 40 < counted.num_rows == weights.sum()
        assert np.ptp(survey.interval()) > np.ptp(counted.interval())
        with pytest.raises(DataError, match="without weights"):
            way(sampling_weights=True)
