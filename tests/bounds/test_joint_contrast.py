"""Contrasts of policies with common rows: many rows, what the search leaves open, tipping."""

from time import process_time

import numpy as np
import pytest

from causalppl.bounds import joint_contrast
from causalppl.bounds.confounded_log import read_log
from causalppl.bounds.corner_sums import CornerSums, Lagrangian, Region
from causalppl.bounds.joint_contrast import largest_difference
from causalppl.bounds.marginal_sensitivity import msm_contribution
from causalppl.bounds.tipping import msm_tipping_point, tipping_point


def draw(rng, n):
    """Outcomes, the shares of two targets, and the ends of weights."""
    y, (first, second) = rng.normal(size=n), rng.random((2, n))
    odds, ratio = 1 / rng.uniform(0.1, 0.9, n) - 1, float(rng.uniform(1.2, 5))
    return y, first, second, 1 + odds / ratio, 1 + odds * ratio


@pytest.mark.parametrize("seed", range(5))
def test_rows_written_out_many_times_have_the_same_maximum(seed):
    columns = draw(np.random.default_rng(seed), 8)
    few = largest_difference(*columns)
    many = largest_difference(*(np.tile(column, 6_000) for column in columns))
    assert many.value == pytest.approx(few.value, abs=1e-9)
    assert many.gap < 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_a_look_at_a_sample_first_makes_no_difference(seed, monkeypatch):
    columns = draw(np.random.default_rng(seed), 3_000)
    plain = largest_difference(*columns)
    monkeypatch.setattr(joint_contrast, "_MANY", 100)
    monkeypatch.setattr(joint_contrast, "_SAMPLE", 50)
    assert largest_difference(*columns).value == pytest.approx(plain.value, abs=1e-10)


def test_sums_of_few_open_rows_are_those_of_all():
    rng = np.random.default_rng(0)
    rows, gain = rng.normal(size=(4, 2_000)), rng.random(2_000)
    rows[1], rows[3] = abs(rows[1]), abs(rows[3])
    whole = CornerSums(rows, gain, np.zeros(4))
    region = Region(Lagrangian(0.1, 0.9, -0.2), Lagrangian(0.2, 1.1, -0.1))
    part = whole.within(region)
    assert len(part.gain) < 500
    for share in rng.random((50, 3)):
        at = [low + x * (high - low) for x, low, high in zip(share, *region, strict=True)]
        inside = Lagrangian(*at)
        np.testing.assert_allclose(part.at(inside), whole.at(inside), atol=1e-9)
    outside = Lagrangian(1.0, 0.0, 0.0)
    np.testing.assert_allclose(part.at(outside), whole.at(outside), atol=1e-9)


def test_what_a_stopped_search_leaves_open_is_told(monkeypatch):
    rng = np.random.default_rng(1)
    y, e = rng.normal(size=8), rng.uniform(0.1, 0.9, 8)
    on, off = rng.random((2, 8))
    exact = msm_contribution(y, e, on, off, 3.0)
    assert exact.slack == 0
    monkeypatch.setattr(joint_contrast, "_FEWEST", 0)
    monkeypatch.setattr(joint_contrast, "_MOST_PARTS", 2)
    stopped = msm_contribution(y, e, on, off, 3.0)
    assert stopped.slack > 1e-6
    assert exact.upper - 1e-9 <= stopped.upper <= exact.upper + stopped.slack + 1e-9
    assert exact.lower - stopped.slack - 1e-9 <= stopped.lower <= exact.lower + 1e-9
    assert "outside the sharp one" in stopped.interpret()


@pytest.mark.parametrize("seed", range(20))
def test_the_edges_of_the_box_and_the_search_have_the_same_maximum(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    columns = draw(rng, int(rng.integers(2, 12)))
    few = largest_difference(*columns)
    monkeypatch.setattr(joint_contrast, "_FEWEST", 0)
    searched = largest_difference(*columns)
    assert few.value == pytest.approx(searched.value, abs=1e-9)
    y, first, second, least, most = columns
    weights = few.weights
    assert (least <= weights).all()
    assert (weights <= most).all()
    means = [weights * share @ y / (weights @ share) for share in (first, second)]
    assert means == pytest.approx([few.first, few.second])
    assert means[0] - means[1] == pytest.approx(few.value)


@pytest.mark.parametrize("num_rows", [5, 30])
def test_a_floor_says_whether_some_difference_is_above_it(num_rows):
    columns = draw(np.random.default_rng(num_rows), num_rows)
    found = largest_difference(*columns).value
    assert largest_difference(*columns, floor=found - 1e-6).value > found - 1e-6
    assert largest_difference(*columns, floor=found + 1e-6).value < found + 1e-6


@pytest.mark.parametrize(("num_rows", "seed"), [(5, 1), (9, 0), (30, 0)])
def test_what_no_ratio_reaches_is_known_soon(num_rows, seed):
    rng = np.random.default_rng(seed)
    y, e = rng.normal(size=num_rows), rng.uniform(0.05, 0.95, num_rows)
    on, off = rng.random((2, num_rows))
    start = process_time()
    assert not msm_tipping_point(y, e, 3 * np.ptp(y), on=on, off=off).is_reached
    if num_rows < 10:
        msm_contribution(y, e, on, off, 1e6)
        msm_tipping_point(y, e, 0.3, on=on, off=off)
    assert process_time() - start < 1


@pytest.mark.parametrize("seed", range(12))
def test_contrasts_with_common_rows_tip_where_bisection_says(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(4, 40))
    y, e = rng.normal(size=n), rng.uniform(0.1, 0.9, n)
    on, off = rng.random((2, n))
    reference = float(rng.normal() * 0.3)
    quick = msm_tipping_point(y, e, reference, on=on, off=off)
    slow = tipping_point(read_log(y, e, on=on, off=off).difference().ends, reference)
    assert quick.is_reached == slow.is_reached
    if quick.is_reached:
        assert float(quick) == pytest.approx(float(slow), rel=1e-8)


def test_a_contrast_of_one_policy_with_itself_never_tips():
    share = np.linspace(0.1, 0.9, 6)
    found = msm_tipping_point(np.arange(6.0), [0.5] * 6, 1.0, on=share, off=share)
    assert not found.is_reached
    assert found.largest == 1e6
