"""Tipping points: the fast paths are what bisection finds, and mean what they say."""

import math
from functools import partial

import numpy as np
import pytest

from causalppl.bounds.confounded_log import read_log
from causalppl.bounds.marginal_sensitivity import msm_contribution, msm_mean, msm_policy_value
from causalppl.bounds.tipping import TippingPoint, msm_tipping_point, tipping_point
from causalppl.exceptions import DataError


def test_the_mean_reaches_the_reference_at_the_tipping_point_and_not_before():
    rng = np.random.default_rng(0)
    for _ in range(300):
        n = int(rng.integers(3, 12))
        y, e = rng.normal(size=n), rng.uniform(0.05, 0.95, n)
        reference = float(rng.uniform(y.min(), y.max()))
        ratio = float(msm_tipping_point(y, e, reference))
        found = msm_mean(y, e, ratio)
        nearest = min(abs(found.lower - reference), abs(found.upper - reference))
        assert nearest == pytest.approx(0, abs=1e-9 * ratio)
        if ratio > 1.001:
            before = msm_mean(y, e, 1 + 0.999 * (ratio - 1))
            assert not before.contains(reference)


def test_a_policy_and_a_contrast_tip_where_bisection_says():
    rng = np.random.default_rng(1)
    for _ in range(20):
        n = 20
        y, e = rng.normal(size=n), rng.uniform(0.1, 0.9, n)
        target, on = rng.random(n), (rng.random(n) < 0.5) * 1.0
        reference = float(rng.normal() * 0.3)
        for way, shares in (
            (msm_policy_value, {"targets": target}),
            (msm_contribution, {"on": on, "off": 1 - on}),
        ):
            quick = msm_tipping_point(y, e, reference, **shares)
            given = partial(way, y, e, *shares.values())
            slow = tipping_point(given, reference)
            assert float(quick) == pytest.approx(float(slow), rel=1e-9)
            assert quick.start == pytest.approx(slow.start)


def test_a_contrast_of_policies_that_share_rows_tips_where_its_interval_ends():
    rng = np.random.default_rng(3)
    y, e = rng.normal(size=20), rng.uniform(0.1, 0.9, 20)
    on, off = rng.random((2, 20))
    ratio = float(msm_tipping_point(y, e, on=on, off=off))
    assert ratio > 1.01
    assert msm_contribution(y, e, on, off, ratio * (1 + 1e-9)).contains(0)
    assert not msm_contribution(y, e, on, off, ratio * (1 - 1e-9)).contains(0)


def test_a_reference_that_is_held_already_needs_nothing():
    assert float(msm_tipping_point([0, 1], [0.5, 0.5], 0.5)) == 1.0
    found = tipping_point(lambda ratio: (-1.0, 1.0))
    assert found == TippingPoint(1.0, 0.0, (-1.0, 1.0))
    assert found.interpret().startswith("No hidden confounding is needed")


def test_a_reference_beyond_all_outcomes_is_never_reached():
    found = msm_tipping_point([1, 2], [0.5, 0.5], 0.0)
    assert float(found) == math.inf
    assert not found.is_reached
    assert "however strong" in found.interpret()
    contrast = msm_tipping_point([1, 2, 1, 2], [0.5] * 4, 5.0, on=[1, 1, 0, 0], off=[0, 0, 1, 1])
    assert float(contrast) == math.inf
    limited = tipping_point(lambda ratio: (1.0, 2.0), largest=100)
    assert "up to 100" in limited.interpret()


def test_sampling_error_tips_sooner():
    rng = np.random.default_rng(2)
    y, e = rng.normal(size=200) + 0.5, rng.uniform(0.3, 0.7, 200)
    plain = tipping_point(lambda ratio: msm_mean(y, e, ratio))
    sampled = tipping_point(lambda ratio: msm_mean(y, e, ratio), prob=0.95)
    assert 1 < float(sampled) < float(plain)
    assert float(plain) == pytest.approx(float(msm_tipping_point(y, e)), rel=1e-9)


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(DataError, match="both on and off"):
        msm_tipping_point([0, 1], [0.5, 0.5], on=[1, 0])
    with pytest.raises(DataError, match="reference is nan"):
        msm_tipping_point([0, 1], [0.5, 0.5], math.nan)
    with pytest.raises(DataError, match="use at"):
        tipping_point(lambda ratio: msm_mean([0, 1], [0.5, 0.5], [1.0, 2.0]), 3.0)


@pytest.mark.parametrize("seed", range(40))
def test_contrasts_of_few_rows_tip_where_their_interval_ends(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 9))
    on = (np.arange(n) < rng.integers(1, n)) * 1.0
    y = rng.normal(size=n) if seed % 2 else rng.integers(0, 2, n) * 1.0
    e, reference = rng.uniform(0.1, 0.9, n), float(rng.normal() / 2)
    found = msm_tipping_point(y, e, reference, on=on, off=1 - on)
    difference = read_log(y, e, on=on, off=1 - on).difference()
    held = tipping_point(difference.ends, reference, largest=1e6)
    assert found.is_reached == held.is_reached
    if held.is_reached:
        assert float(found) == pytest.approx(float(held), rel=1e-6)
