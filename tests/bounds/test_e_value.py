"""E-values: published figures, and the bounding factor that they solve."""

import math

import numpy as np
import pytest

from causalppl.bounds.e_value import EValue
from causalppl.exceptions import DataError


def test_published_figures_of_vanderweele_and_ding():
    smoking = EValue.from_risk_ratio(10.73, (8.02, 14.36))
    assert smoking.point == pytest.approx(20.9, abs=0.05)
    assert smoking.limit == pytest.approx(15.5, abs=0.05)
    breast_feeding = EValue.from_risk_ratio(3.9, (1.8, 8.7))  # no feeding, infant deaths
    assert breast_feeding.point == pytest.approx(7.26, abs=0.005)
    assert breast_feeding.limit == pytest.approx(3.0, abs=0.05)


def test_ratios_below_one_are_turned_around():
    low, high = EValue.from_risk_ratio(0.5, (0.4, 0.8)), EValue.from_risk_ratio(2.0, (1.25, 2.5))
    assert low.point == pytest.approx(high.point)
    assert low.limit == pytest.approx(high.limit)


def test_the_e_value_is_where_the_bounding_factor_reaches_the_ratio():
    for ratio in np.linspace(1.01, 9, 50):
        found = EValue.from_risk_ratio(float(ratio))
        e = found.point
        assert e * e / (2 * e - 1) == pytest.approx(ratio)
        assert found.explains(e + 1e-9, e + 1e-9)
        assert not found.explains(e - 1e-6, e - 1e-6)


def test_no_hidden_cause_of_two_states_explains_more_than_its_factor():
    # Ding and VanderWeele: the confounded ratio over the true one is at most ab / (a + b - 1)
    rng = np.random.default_rng(0)
    for _ in range(300):
        p1, p0 = np.sort(rng.random(2))[::-1]  # chance of the cause among treated and untreated
        risk0, risk1 = np.sort(rng.random(2))
        observed = (risk1 * p1 + risk0 * (1 - p1)) / (risk1 * p0 + risk0 * (1 - p0))
        found = EValue.from_risk_ratio(observed)  # no effect at all within strata
        assert found.explains(p1 / p0 + 1e-9, risk1 / risk0 + 1e-9)


def test_an_interval_that_holds_the_null_needs_nothing():
    assert EValue.from_risk_ratio(1.2, (0.9, 1.6)).limit == 1.0
    assert EValue.from_risk_ratio(1.0).point == 1.0
    assert EValue.from_risk_ratio(1.2).limit is None


def test_other_scales_are_turned_into_risk_ratios():
    assert EValue.from_odds_ratio(4.0).ratio == pytest.approx(2.0)
    assert EValue.from_odds_ratio(4.0, is_rare=True).ratio == pytest.approx(4.0)
    assert EValue.from_hazard_ratio(4.0).ratio == pytest.approx((1 - 0.5**2) / (1 - 0.5**0.5))
    assert EValue.from_hazard_ratio(4.0, is_rare=True).ratio == pytest.approx(4.0)
    found = EValue.from_mean_difference(3.0, deviation=6.0, error=1.2)
    assert found.ratio == pytest.approx(math.exp(0.91 * 0.5))
    assert found.interval[0] == pytest.approx(math.exp(0.91 * 0.5 - 1.78 * 0.2), rel=2e-3)


def test_the_null_may_be_elsewhere():
    found = EValue.from_risk_ratio(2.0, (1.5, 3.0), null=1.5)
    assert found.point == pytest.approx(EValue.from_risk_ratio(2.0 / 1.5).point)
    assert found.limit == 1.0


def test_it_says_what_it_means():
    assert "20.95" in EValue.from_risk_ratio(10.73).interpret()
    assert "about" in EValue.from_odds_ratio(3.0).interpret()


@pytest.mark.parametrize(
    "make",
    [
        lambda: EValue.from_risk_ratio(-1.0),
        lambda: EValue.from_odds_ratio(-1.0),
        lambda: EValue.from_hazard_ratio(0.0),
        lambda: EValue.from_risk_ratio(math.nan),
        lambda: EValue.from_risk_ratio(2.0, (2.5, 3.0)),
        lambda: EValue.from_mean_difference(1.0, deviation=0.0),
        lambda: EValue.from_risk_ratio(2.0).explains(0.5, 2.0),
    ],
    ids=["negative", "odds", "hazard", "nan", "interval", "deviation", "below one"],
)
def test_what_is_no_ratio_is_refused(make):
    with pytest.raises(DataError):
        make()


def test_text_is_refused_and_other_scales_are_named():
    with pytest.raises(DataError, match="expected positive numbers"):
        EValue.from_risk_ratio("2")
    assert "from another scale" in EValue.from_odds_ratio(3, (1.5, 5), null=2).interpret()
