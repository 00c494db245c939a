"""Tan's marginal sensitivity model: ends held to enumeration of all vertices and edges."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from causalppl.bounds.joint_contrast import largest_difference
from causalppl.bounds.marginal_sensitivity import (
    msm_contribution,
    msm_mean,
    msm_policy_value,
    msm_stratified,
)
from causalppl.bounds.weight_box import WeightBox
from causalppl.data import Table
from causalppl.exceptions import DataError, OverlapWarning


def draw(rng, most=8):
    """Draw a small log: outcomes (sometimes tied), propensities, an odds ratio."""
    n = int(rng.integers(2, most + 1))
    y = rng.normal(size=n)
    if rng.random() < 0.3:
        y = np.round(y)
    return y, rng.uniform(0.05, 0.95, n), float(rng.uniform(1, 6))


def vertices(propensities, odds_ratio):
    """Every corner of the box of weights, shape (corners, rows)."""
    odds = 1 / propensities - 1
    corners = np.array(list(itertools.product([1 / odds_ratio, odds_ratio], repeat=len(odds))))
    return 1 + odds * corners


def ends(found):
    return float(found.lower), float(found.upper)


def test_the_mean_is_the_best_and_the_worst_vertex():
    rng = np.random.default_rng(0)
    for _ in range(300):
        y, e, odds_ratio = draw(rng)
        weights = vertices(e, odds_ratio)
        means = weights @ y / weights.sum(1)
        found = ends(msm_mean(y, e, odds_ratio))
        assert found == pytest.approx((means.min(), means.max()), abs=1e-12)


def test_the_mean_is_a_linear_program():
    from scipy.optimize import linprog

    rng = np.random.default_rng(1)
    for _ in range(40):
        y, e, odds_ratio = draw(rng, 30)
        odds = 1 / e - 1
        n = len(y)
        # Charnes and Cooper: v = weight / sum, s = 1 / sum
        low = np.c_[-np.eye(n), 1 + odds / odds_ratio]
        high = np.c_[np.eye(n), -(1 + odds * odds_ratio)]
        solved = linprog(
            -np.append(y, 0.0),
            A_ub=np.r_[low, high],
            b_ub=np.zeros(2 * n),
            A_eq=[np.append(np.ones(n), 0.0)],
            b_eq=[1.0],
            bounds=[(0, None)] * (n + 1),
        )
        assert float(msm_mean(y, e, odds_ratio).upper) == pytest.approx(-solved.fun, abs=1e-9)


def test_the_policy_value_is_the_best_and_the_worst_vertex():
    rng = np.random.default_rng(2)
    for _ in range(300):
        y, e, odds_ratio = draw(rng)
        target = rng.random(len(y)) * (rng.random(len(y)) < 0.8)
        target[0] += 0.01
        target = target.clip(0, 1)
        weights = vertices(e, odds_ratio) * target
        values = weights @ y / weights.sum(1)
        found = ends(msm_policy_value(y, e, target, odds_ratio))
        assert found == pytest.approx((values.min(), values.max()), abs=1e-12)


def best_on_edges(y, first, second, least, most):
    """The largest difference over all edges of the box, where a maximum must lie.

    Given the second mean, the first is a linear-fractional program with one constraint, whose
    solutions have at most one weight off its ends.
    """
    corners = np.array(list(itertools.product([0.0, 1.0], repeat=len(y))))
    rows = np.stack([first * y, first, second * y, second])
    sums = (least + (most - least) * corners) @ rows.T
    best = -np.inf
    for row in range(len(y)):
        start = sums[corners[:, row] == 0]
        step = (most - least)[row] * rows[:, row]
        # along an edge each mean is a hyperbola; slopes are equal at a root of a quadratic, which
        # is the square of a linear equation
        rises = step[0] * start[:, 1] - step[1] * start[:, 0]
        falls = step[2] * start[:, 3] - step[3] * start[:, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            one, other = np.sqrt(abs(rises)), np.sqrt(abs(falls))
            inner = (other * start[:, 1] - one * start[:, 3]) / (one * step[3] - other * step[1])
        inner = np.nan_to_num(inner).clip(0, 1)
        shares = np.stack([0 * inner, 0 * inner + 1, inner], 1)
        path = start[:, None] + shares[..., None] * step
        values = path[..., 0] / path[..., 1] - path[..., 2] / path[..., 3]
        best = max(best, values.max())
    return best


@pytest.mark.parametrize("count", [60, pytest.param(300, marks=pytest.mark.slow)])
def test_overlapping_targets_are_solved_jointly(count):
    rng = np.random.default_rng(3)
    for number in range(count):
        y, e, odds_ratio = draw(rng, 6)
        n = len(y)
        first, second = rng.random((2, n)) * (rng.random((2, n)) < 0.8)
        if number % 3 == 0:
            first, second = (first > 0) * 1.0, (second > 0) * 1.0
        first[0] = second[-1] = 0.5
        odds = 1 / e - 1
        least, most = 1 + odds / odds_ratio, 1 + odds * odds_ratio
        found = msm_contribution(y, e, first, second, odds_ratio)
        upper = best_on_edges(y, first, second, least, most)
        lower = -best_on_edges(y, second, first, least, most)
        assert ends(found) == pytest.approx((lower, upper), abs=1e-9)
        apart = [msm_policy_value(y, e, share, odds_ratio) for share in (first, second)]
        assert found.upper <= apart[0].upper - apart[1].lower + 1e-12
        assert found.lower >= apart[0].lower - apart[1].upper - 1e-12


def test_the_joint_maximum_is_attained_by_the_weights_that_it_names():
    rng = np.random.default_rng(4)
    y, first, second = rng.normal(size=2_000), rng.random(2_000), rng.random(2_000)
    least = 1 + rng.random(2_000)
    most = least + rng.random(2_000)
    found = largest_difference(y, first, second, least, most)
    weights = found.weights
    assert (least <= weights).all()
    assert (weights <= most).all()
    one, other = weights * first, weights * second
    assert found.gap < 1e-10
    assert one @ y / one.sum() - other @ y / other.sum() == pytest.approx(found.value, abs=1e-9)


def test_disjoint_targets_give_the_difference_of_intervals():
    rng = np.random.default_rng(5)
    y, e, odds_ratio = rng.normal(size=50), rng.uniform(0.1, 0.9, 50), 2.5
    on = (rng.random(50) < 0.5) * 1.0
    found = msm_contribution(y, e, on, 1 - on, odds_ratio)
    one, other = (msm_policy_value(y, e, share, odds_ratio) for share in (on, 1 - on))
    assert ends(found) == pytest.approx((one.lower - other.upper, one.upper - other.lower))
    joint = largest_difference(
        y, on, 1 - on, 1 + (1 / e - 1) / odds_ratio, 1 + (1 / e - 1) * odds_ratio
    )
    assert joint.value == pytest.approx(float(found.upper), abs=1e-9)


def test_at_one_the_interval_is_the_point_and_it_grows_with_the_odds_ratio():
    rng = np.random.default_rng(6)
    y, e = rng.normal(size=200) + 1e6, rng.uniform(0.05, 0.95, 200)
    target, other = rng.random((2, 200))
    ratios = np.array([1.0, 1.0001, 1.1, 1.5, 2, 4, 16, 64])
    for found, point in (
        (msm_mean(y, e, ratios), y @ (1 / e) / (1 / e).sum()),
        (msm_policy_value(y, e, target, ratios), y @ (target / e) / (target / e).sum()),
        (
            msm_contribution(y, e, target, other, ratios),
            y @ (target / e) / (target / e).sum() - y @ (other / e) / (other / e).sum(),
        ),
    ):
        assert found.lower[0] == found.upper[0] == pytest.approx(point, abs=1e-8)
        assert (np.diff(found.upper) >= -1e-9).all()
        assert (np.diff(found.lower) <= 1e-9).all()
        assert found.upper[-1] > found.upper[1]
        assert found.error.shape == (2, 8)


def test_several_odds_ratios_give_what_each_gives_alone():
    rng = np.random.default_rng(7)
    y, e = np.round(rng.normal(size=300), 1), rng.uniform(0.05, 0.95, 300)
    ratios = [3.0, 1.0, 2.0, 1.5, 8.0, 5.0, 1.2]
    together = msm_mean(y, e, ratios)
    assert together.axes == {"odds_ratio": tuple(ratios)}
    for place, ratio in enumerate(ratios):
        alone = msm_mean(y, e, ratio)
        assert together.lower[place] == pytest.approx(float(alone.lower), abs=1e-12)
        assert together.upper[place] == pytest.approx(float(alone.upper), abs=1e-12)


def test_weights_are_repeated_rows():
    rng = np.random.default_rng(8)
    y, e = rng.normal(size=30), rng.uniform(0.1, 0.9, 30)
    on, off = rng.random((2, 30))
    counts = rng.integers(0, 4, 30)
    repeated = np.repeat(np.arange(30), counts)
    assert ends(msm_mean(y, e, 2, weights=counts)) == pytest.approx(
        ends(msm_mean(y[repeated], e[repeated], 2))
    )
    weighted = msm_contribution(y, e, on, off, 2, weights=counts)
    long = msm_contribution(y[repeated], e[repeated], on[repeated], off[repeated], 2)
    assert ends(weighted) == pytest.approx(ends(long), abs=1e-9)


@pytest.mark.parametrize("kind", ["list", "tensor", "series", "column"])
def test_columns_of_any_kind_give_the_same(kind):
    rng = np.random.default_rng(9)
    y, e = rng.normal(size=20), rng.uniform(0.1, 0.9, 20)
    table = Table.from_any({"y": torch.tensor(y), "e": torch.tensor(e)})
    make = {
        "list": (list(y), list(e)),
        "tensor": (torch.tensor(y, requires_grad=True), torch.tensor(e)),
        "series": (pd.Series(y), pd.Series(e)),
        "column": (table.column("y"), table.column("e")),
    }
    assert ends(msm_mean(*make[kind], 2.0)) == ends(msm_mean(y, e, 2.0))


def stratified(**changed):
    given = {
        "y": [0.0, 1.0, 1.0, 0.0],
        "propensities": [0.5, 0.4, 0.3, 0.6],
        "strata": ["a", "a", "b", "b"],
        "odds_ratio": 2.0,
        "shares": {"a": 0.5, "b": 0.2, "c": 0.3},
        "outcome_range": (0, 1),
    }
    return msm_stratified(**(given | changed))


def test_a_stratum_without_rows_counts_with_the_whole_range():
    found = stratified()
    a = msm_mean([0.0, 1.0], [0.5, 0.4], 2.0)
    b = msm_mean([1.0, 0.0], [0.3, 0.6], 2.0)
    assert float(found.lower) == pytest.approx(0.5 * a.lower + 0.2 * b.lower)
    assert float(found.upper) == pytest.approx(0.5 * a.upper + 0.2 * b.upper + 0.3)
    assert "'c'" in found.interpret()


def test_strata_alone_are_weighted_as_they_were_seen():
    found = stratified(shares=None, odds_ratio=1.0)
    e = np.array([0.5, 0.4, 0.3, 0.6])
    assert float(found.upper) == pytest.approx(np.array([0, 1, 1, 0]) @ (1 / e) / (1 / e).sum())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"outcome_range": None}, "'c' has a share of 0.3 and no rows"),
        ({"shares": {"a": 0.5, "b": 0.2}}, "shares sum to 0.7"),
        ({"shares": {"a": 1.5, "b": -0.5}}, "the smallest is -0.5"),
        ({"outcome_range": (0, 0.5)}, "expected them within outcome_range"),
        ({"strata": ["a", "a"]}, "strata has 2 values"),
    ],
)
def test_strata_that_cannot_be_used_are_refused(changed, message):
    with pytest.raises(DataError, match=message):
        stratified(**changed)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (([0, 1], [0.5, 1.0], 2), "propensities are 1 in row 1"),
        (([0, 1], [0.5, 0.0], 2), "propensities are 0 in row 1"),
        (([0, 1], [0.5, -0.2], 2), "propensities are -0.2"),
        (([0, 1], [0.5, np.nan], 2), "propensities is nan in row 1"),
        (([0, np.nan], [0.5, 0.5], 2), "y is nan in row 1"),
        (([0, np.inf], [0.5, 0.5], 2), "y is inf in row 1"),
        (([0, 1, 1], [0.5, 0.5], 2), "unequal lengths: y has 3, propensities has 2"),
        (([], [], 2), "no rows"),
        ((["a", "b"], [0.5, 0.5], 2), "expected numbers"),
        (([[0, 1]], [0.5, 0.5], 2), "expected \\(rows,\\)"),
        (([0, 1], [0.5, 0.5], 0.9), "odds_ratio is 0.9"),
        (([0, 1], [0.5, 0.5], np.nan), "odds_ratio is nan"),
        (([0, 1], [0.5, 0.5], np.inf), "odds_ratio is inf"),
        (([0, 1], [0.5, 0.5], True), "odds_ratio is True"),
        (([0, 1], [0.5, 0.5], [1, 1]), "expected different numbers"),
    ],
)
def test_what_cannot_be_used_is_refused(given, message):
    with pytest.raises(DataError, match=message):
        msm_mean(*given)


def test_a_policy_whose_actions_were_never_taken_is_refused():
    with pytest.raises(DataError, match="off is 0 in all 2 rows"):
        msm_contribution([0, 1], [0.5, 0.5], [1, 1], [0, 0], 2)
    with pytest.raises(DataError, match="targets go from 0 to 2"):
        msm_policy_value([0, 1], [0.5, 0.5], [0, 2], 2)


def test_series_in_another_order_are_refused():
    y = pd.Series([0, 1], index=[0, 1])
    with pytest.raises(DataError, match="different labels"):
        msm_mean(y, pd.Series([0.5, 0.4], index=[1, 0]), 2)


def test_few_effective_rows_are_warned_of():
    y, e = np.zeros(100), np.full(100, 0.5)
    e[:2] = 1e-4
    y[0] = 1
    with pytest.warns(OverlapWarning, match=r"effective sample size is 2\.\d, of 100 rows"):
        msm_mean(y, e, 1.5)


def test_a_policy_that_the_log_hardly_ever_follows_is_warned_of():
    y, e, target = np.zeros(1_000), np.full(1_000, 0.5), np.zeros(1_000)
    target[:2] = 1
    with pytest.warns(OverlapWarning, match=r"size is 2\.0, of 2 rows .* and 1,000 in all"):
        msm_policy_value(y, e, target, 1.5)


def test_many_strata_are_not_taken_for_poor_overlap():
    strata = np.repeat(np.arange(50), 20)
    found = msm_stratified(np.ones(1_000), np.full(1_000, 0.5), strata, 1.5)
    assert found.diagnostics["ess"] == pytest.approx(20)


def confounded(rng, n, odds_ratio):
    """Rows of an arm under a hidden cause that changes its odds by exactly the odds ratio."""
    z, u = rng.normal(size=n), rng.random(n) < 0.5
    base = 1 / (1 + np.exp(-0.5 * z))
    # P(u) given the covariate so that chances average to `base`
    odds = base / (1 - base)
    high, low = (odds * r / (1 + odds * r) for r in (odds_ratio, 1 / odds_ratio))
    u = rng.random(n) < (base - low) / (high - low)
    seen = rng.random(n) < np.where(u, high, low)
    y = 1.0 * u + 0.5 * z + 0.5 * rng.normal(size=n)
    return y, base, seen


def test_the_truth_is_inside_where_the_strength_is_as_stated():
    rng = np.random.default_rng(10)
    inside = naive = 0
    for _ in range(60):
        y, e, seen = confounded(rng, 4_000, 2.0)
        found = msm_mean(y[seen], e[seen], 2.0)
        low, high = found.interval(0.95)
        inside += low <= y.mean() <= high
        low, high = msm_mean(y[seen], e[seen], 1.0).interval(0.95)
        naive += low <= y.mean() <= high
    assert inside == 60
    assert naive < 10


def population_ends(odds_ratio):
    rng = np.random.default_rng(11)
    y, e, seen = confounded(rng, 1_000_000, 1.5)
    return WeightBox(y[seen], np.ones(seen.sum()), 1 / e[seen] - 1).ends(odds_ratio)


@pytest.mark.parametrize("num_draws", [0, pytest.param(200, marks=pytest.mark.slow)])
def test_sampling_error_covers_the_ends_of_the_population(num_draws):
    low, high = population_ends(1.5)
    rng = np.random.default_rng(12)
    repeats = 200
    covered = np.zeros(2)
    for _ in range(repeats):
        y, e, seen = confounded(rng, 400, 1.5)
        found = msm_mean(y[seen], e[seen], 1.5, num_draws=num_draws, seed=0)
        outer = found.interval(0.9)
        covered += outer[0] <= low, high <= outer[1]
    # each end at 95 %; 200 repeats fall below 90 % once in 500 times
    assert (covered / repeats > 0.9).all()
    assert (covered / repeats < 0.995).all()


def test_draws_of_a_contrast_agree_with_its_standard_error():
    rng = np.random.default_rng(13)
    y, e = rng.normal(size=100), rng.uniform(0.2, 0.8, 100)
    on, off = rng.random((2, 100))
    drawn = msm_contribution(y, e, on, off, 1.5, num_draws=40, seed=0)
    stated = msm_contribution(y, e, on, off, 1.5).error
    assert drawn.draws.std(0) == pytest.approx(stated, rel=0.4)


def test_draws_are_repeated_by_their_seed():
    args = np.random.default_rng(14).uniform(0.1, 0.9, (2, 40))
    one, other = (msm_mean(*args, 2, num_draws=20, seed=3).draws for _ in range(2))
    assert (one == other).all()
    with pytest.raises(DataError, match="num_draws"):
        msm_mean(*args, 2, num_draws=5)


@pytest.mark.parametrize("num_draws", [0, 30])
def test_whole_weights_are_equal_rows_in_intervals_too(num_draws):
    rng = np.random.default_rng(30)
    y, e = rng.normal(size=30), rng.uniform(0.2, 0.9, 30)
    on, strata = rng.random(30), np.repeat([0, 1], 15)
    counts = rng.integers(1, 4, 30)
    t = np.repeat(np.arange(30), counts)
    given = {"num_draws": num_draws, "seed": 0}
    pairs = [
        (msm_mean(y, e, 2, weights=counts, **given), msm_mean(y[t], e[t], 2, **given)),
        (
            msm_policy_value(y, e, on, 2, weights=counts, **given),
            msm_policy_value(y[t], e[t], on[t], 2, **given),
        ),
        (
            msm_stratified(y, e, strata, 2, weights=counts, **given),
            msm_stratified(y[t], e[t], strata[t], 2, **given),
        ),
    ]
    for one, other in pairs:
        np.testing.assert_allclose(one.interval(), other.interval())
        assert one.num_rows == other.num_rows
        assert one.diagnostics["ess"] == pytest.approx(other.diagnostics["ess"])


def test_outcomes_that_are_all_alike_do_not_tell_their_error():
    with pytest.raises(DataError, match="no sampling error"):
        msm_mean([0] * 20, [0.5] * 20, 1.5).interval()
    few, many = np.repeat([0, 1.0], 2), np.repeat([0, 1.0], 40)
    with pytest.raises(DataError, match="no sampling error"):
        msm_contribution(few, [0.5] * 4, few, 1 - few, 1.5).interval()
    found = msm_contribution(many, [0.5] * 80, many, 1 - many, 1.5, num_draws=20)
    assert 0.3 < found.interval()[0] < 0.9
    assert "all alike" in " ".join(found.notes)


def test_propensities_however_small_are_reckoned_with():
    assert ends(msm_mean([1.0], [1e-300], 5.0)) == (1, 1)
