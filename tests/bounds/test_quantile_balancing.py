"""Sharp bounds given covariates: held to linear programs on discrete laws, and to simulations."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linprog
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, QuantileRegressor

from causalppl.bounds.cell_models import CellModels
from causalppl.bounds.marginal_sensitivity import msm_mean
from causalppl.bounds.quantile_balancing import sharp_effect, sharp_mean, sharp_policy_value
from causalppl.bounds.tail_learners import Learners
from causalppl.exceptions import DataError


def draw_cells(rng, arms=2):
    """Draw weighted rows in two cells, each with all arms and up to four outcomes in each."""
    cell, arm, y = [], [], []
    for z in range(2):
        for a in range(arms):
            for _ in range(int(rng.integers(1, 5))):
                cell.append(z)
                arm.append(a)
                y.append(float(rng.integers(-3, 4)))
    weights = rng.random(len(y)) + 0.1
    return np.array(y), np.array(arm), np.array(cell), weights / weights.sum()


def program(y, arm, cell, weights, at, odds_ratio, population):
    """The largest mean of an arm over rows seen in other arms, by a program for each cell.

    The law of an outcome among others is that among its own arm, reweighed by r with mean 1.
    """
    total, mass = 0.0, 0.0
    for z in np.unique(cell):
        own = (cell == z) & (arm == at)
        law = weights[own] / weights[own].sum()
        others = weights[(cell == z) & population].sum()
        total, mass = total + best_vertex(law, y[own], odds_ratio) * others, mass + others
    return total, mass


def best_vertex(law, y, odds_ratio):
    """Maximise the reweighed mean over all vertices: all r at an end but one, which balances."""
    n, best = len(y), -np.inf
    corners = np.array(list(itertools.product([1 / odds_ratio, odds_ratio], repeat=n)))
    for free in range(n):
        r = corners.copy()
        r[:, free] = (1 - r @ law + r[:, free] * law[free]) / law[free]
        fits = (r[:, free] >= 1 / odds_ratio - 1e-12) & (r[:, free] <= odds_ratio + 1e-12)
        best = max(best, *(r[fits] @ (law * y)), -np.inf)
    return best


def test_the_best_vertex_is_the_linear_program():
    rng = np.random.default_rng(10)
    for _ in range(40):
        law, y = rng.dirichlet(np.ones(4)), rng.normal(size=4)
        ratio = float(rng.uniform(1, 5))
        solved = linprog(-law * y, A_eq=[law], b_eq=[1.0], bounds=[(1 / ratio, ratio)] * 4)
        assert best_vertex(law, y, ratio) == pytest.approx(-solved.fun, abs=1e-9)


def mean_by_program(y, arm, cell, weights, at, odds_ratio, sign):
    moved, _ = program(sign * y, arm, cell, weights, at, odds_ratio, arm != at)
    seen = weights[arm == at] @ y[arm == at]
    return seen + sign * moved


def ends(found):
    return float(found.lower), float(found.upper)


def few_rows(function, *args, **kwargs):
    """Cells are so few and small here that the rule for many rows would learn instead."""
    repeated = [np.tile(np.asarray(value), (25,) + (1,) * (np.ndim(value) - 1)) for value in args]
    weights = np.tile(kwargs.pop("weights"), 25)
    return function(*repeated, kwargs.pop("odds_ratio"), weights=weights, **kwargs)


@pytest.mark.parametrize("count", [100, pytest.param(300, marks=pytest.mark.slow)])
def test_means_and_effects_are_linear_programs_on_discrete_laws(count):
    rng = np.random.default_rng(0)
    for _ in range(count):
        y, arm, cell, weights = draw_cells(rng)
        odds_ratio = float(rng.uniform(1, 5))
        given = {"odds_ratio": odds_ratio, "weights": weights}
        means = {
            (a, s): mean_by_program(y, arm, cell, weights, a, odds_ratio, s)
            for a in (0, 1)
            for s in (-1, 1)
        }
        found = few_rows(sharp_mean, y, arm, cell, at=1, **given)
        assert ends(found) == pytest.approx((means[1, -1], means[1, 1]), abs=1e-9)
        assert found.is_sharp
        found = few_rows(sharp_effect, y, arm, cell, **given)
        expected = means[1, -1] - means[0, 1], means[1, 1] - means[0, -1]
        assert ends(found) == pytest.approx(expected, abs=1e-9)


def test_effects_on_the_treated_are_linear_programs_on_discrete_laws():
    rng = np.random.default_rng(1)
    for _ in range(100):
        y, arm, cell, weights = draw_cells(rng)
        odds_ratio = float(rng.uniform(1, 5))
        seen = weights[arm == 1] @ y[arm == 1] / weights[arm == 1].sum()
        high, mass = program(y, arm, cell, weights, 0, odds_ratio, arm == 1)
        low, _ = program(-y, arm, cell, weights, 0, odds_ratio, arm == 1)
        found = few_rows(
            sharp_effect, y, arm, cell, is_on_treated=True, odds_ratio=odds_ratio, weights=weights
        )
        assert ends(found) == pytest.approx((seen - high / mass, seen + low / mass), abs=1e-9)


def test_policy_values_are_linear_programs_on_discrete_laws():
    rng = np.random.default_rng(2)
    for _ in range(100):
        y, arm, cell, weights = draw_cells(rng, arms=3)
        odds_ratio = float(rng.uniform(1, 5))
        targets = rng.dirichlet(np.ones(3), 2)
        expected = np.zeros(2)
        for z in range(2):
            for a in range(3):
                rows = cell == z
                part = [
                    mean_by_program(
                        y[rows], arm[rows], cell[rows], weights[rows], a, odds_ratio, sign
                    )
                    for sign in (-1, 1)
                ]
                expected += targets[z, a] * np.array(part)
        shared = {"odds_ratio": odds_ratio, "weights": weights}
        y25, arm25 = np.tile(y, 25), np.tile(arm, 25)
        found = sharp_policy_value(
            y25,
            arm25,
            np.tile(cell, 25),
            targets[np.tile(cell, 25)],
            shared["odds_ratio"],
            weights=np.tile(weights, 25),
        )
        assert ends(found) == pytest.approx(tuple(expected), abs=1e-9)
        assert not found.is_sharp


def test_one_hidden_cause_makes_the_worst_case_of_both_arms():
    # its two states split treated outcomes and untreated ones at the quantiles that are needed
    odds_ratio, y1, y0 = 2.0, np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 2.0])
    y, arm = np.r_[y0, y1], np.repeat([0, 1], 3)
    found = sharp_effect(y, arm, None, odds_ratio)
    # among the treated a third has u=1 (the best), among the untreated two thirds (all but worst)
    high_u_treated, high_u_untreated = 1 / 3, 2 / 3
    best, rest = 2.0, 0.5  # of the treated, by u
    worst, others = 0.0, 1.5  # of the untreated
    treated = 0.5 * 1.0 + 0.5 * (high_u_untreated * best + (1 - high_u_untreated) * rest)
    untreated = 0.5 * 1.0 + 0.5 * ((1 - high_u_treated) * worst + high_u_treated * others)
    assert float(found.upper) == pytest.approx(treated - untreated)


def test_it_is_never_wider_than_weights_without_balance():
    rng = np.random.default_rng(3)
    for _ in range(50):
        n = 400
        cell = rng.integers(0, 3, n)
        chance = np.array([0.3, 0.5, 0.7])[cell]
        arm = (rng.random(n) < chance) * 1
        y = rng.normal(size=n) + cell
        share = np.array([arm[cell == z].mean() for z in range(3)])[cell]
        for ratio in (1.0, 1.3, 3.0):
            sharp = sharp_mean(y, arm, cell, ratio)
            boxed = msm_mean(y[arm == 1], share[arm == 1], ratio)
            assert sharp.lower >= boxed.lower - 1e-9
            assert sharp.upper <= boxed.upper + 1e-9


def test_at_one_the_interval_is_the_point_and_it_grows():
    rng = np.random.default_rng(4)
    n = 120
    z = rng.normal(size=n)
    arm = (rng.random(n) < 1 / (1 + np.exp(-z))) * 1
    y = z + arm + rng.normal(size=n)
    for covariates in (np.round(z).clip(-1, 1), z):
        found = sharp_effect(y, arm, covariates, [1.0, 1.5, 2.0, 4.0])
        assert found.lower[0] == found.upper[0]
        assert (np.diff(found.upper) > 0).all()
        assert (np.diff(found.lower) < 0).all()
        assert found.error.shape == (2, 4)


def confounded(rng, n, odds_ratio, is_binary=False):
    """Rows under a hidden cause that changes the odds of treatment by exactly the odds ratio."""
    z = rng.normal(size=n)
    base = 1 / (1 + np.exp(-0.5 * z))
    odds = base / (1 - base)
    high, low = (odds * r / (1 + odds * r) for r in (odds_ratio, 1 / odds_ratio))
    u = (rng.random(n) < (base - low) / (high - low)) * 1.0
    arm = (rng.random(n) < np.where(u == 1, high, low)) * 1
    noise = rng.normal(size=(2, n))
    both = z + 1.5 * u + 0.5 * noise + np.array([[0.0], [1.0]])
    both = (both > 1) * 1.0 if is_binary else both
    return both[arm, np.arange(n)], arm, z, (both[1] - both[0]).mean(), base


@pytest.mark.slow
@pytest.mark.parametrize("is_binary", [False, True])
def test_the_truth_is_inside_where_the_strength_is_as_stated(is_binary):
    rng = np.random.default_rng(5)
    inside = 0
    for _ in range(10):
        y, arm, z, truth, _ = confounded(rng, 1_000, 2.0, is_binary)
        found = sharp_effect(
            y,
            arm,
            z,
            2.0,
            learners=Learners(
                outcome=LogisticRegression() if is_binary else LinearRegression(),
                propensity=LogisticRegression(),
                folds=2,
            ),
        )
        low, high = found.interval(0.95)
        inside += low <= truth <= high
        assert found.width < 4 * 0.6
    assert inside >= 9


def gaussian_end(odds_ratio, base, slope):
    """The largest mean of a normal outcome in closed form: its tail mean is a density."""
    from scipy.stats import norm

    tail = (1 + odds_ratio) * norm.pdf(norm.ppf(odds_ratio / (1 + odds_ratio)))
    moved = slope + (1 - 1 / odds_ratio) * tail
    return np.mean(base * slope + (1 - base) * moved)


@pytest.mark.parametrize(
    "quantile",
    [
        QuantileRegressor(alpha=0.0, solver="highs"),
        pytest.param(GradientBoostingRegressor(loss="quantile"), marks=pytest.mark.slow),
    ],
)
def test_learned_tails_reach_the_closed_form_of_a_normal_outcome(quantile):
    rng = np.random.default_rng(6)
    n = 1_500
    z = rng.normal(size=n)
    base = 1 / (1 + np.exp(-0.5 * z))
    arm = (rng.random(n) < base) * 1
    y = 2 * z + rng.normal(size=n)
    learners = Learners(quantile, LinearRegression(), folds=2)
    found = sharp_mean(y, arm, z[:, None], 2.0, propensities=base, learners=learners)
    error = found.error[1]
    assert float(found.upper) == pytest.approx(gaussian_end(2.0, base, 2 * z), abs=4 * error)
    assert 0.01 < error < 0.1


def test_a_wrong_quantile_widens_and_never_narrows():
    rng = np.random.default_rng(7)
    n = 1_000
    z = rng.normal(size=n)
    base = 1 / (1 + np.exp(-0.5 * z))
    arm = (rng.random(n) < base) * 1
    y = 2 * z + rng.normal(size=n)

    class Flat(DummyRegressor):
        """A quantile that ignores the covariates."""

        def __init__(self, quantile=0.5, strategy="quantile"):
            super().__init__(strategy=strategy, quantile=quantile)

    good, bad = (
        sharp_mean(
            y,
            arm,
            z[:, None],
            2.0,
            propensities=base,
            learners=Learners(quantile, LinearRegression(), folds=2),
        )
        for quantile in (QuantileRegressor(alpha=0.0, solver="highs"), Flat())
    )
    assert bad.upper > good.upper + 0.2
    assert bad.lower < good.lower - 0.2


@pytest.mark.slow
def test_sampling_error_covers_the_ends_of_the_population():
    rng = np.random.default_rng(8)
    truth = sharp_mean(*cells(rng, 400_000), 2.0)
    repeats, covered = 200, np.zeros(2)
    for _ in range(repeats):
        low, high = sharp_mean(*cells(rng, 400), 2.0).interval(0.9)
        covered += low <= truth.lower, truth.upper <= high
    # each end at 95 %; 200 repeats fall below 90 % once in 500 times
    assert (covered / repeats > 0.9).all()
    assert (covered / repeats < 0.995).all()


def cells(rng, n):
    z = rng.integers(0, 3, n)
    arm = (rng.random(n) < np.array([0.3, 0.5, 0.6])[z]) * 1
    return rng.exponential(size=n) + z, arm, z


def test_frames_and_categories_are_read():
    rng = np.random.default_rng(9)
    y, arm, z = cells(rng, 200)
    frame = pd.DataFrame({"z": pd.Categorical.from_codes(z, ["a", "b", "c"])})
    labels = np.array(["no", "yes"])[arm]
    plain, read = sharp_effect(y, arm, z, 1.5), sharp_effect(y, labels, frame, 1.5)
    assert ends(plain) == pytest.approx(ends(read))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"odds_ratio": 0.5}, "odds_ratio is 0.5"),
        ({"propensities": np.full(80, 1.2)}, "propensities are 1.2"),
        ({"arm": np.ones(80)}, "arm is .* in all rows"),
        ({"covariates": np.full(80, np.nan)}, "missing or infinite"),
        ({"covariates": np.zeros(7)}, r"covariates have shape \(7, 1\)"),
        ({"covariates": np.repeat([0, 1], 40)}, "2 of 2 cells|1 of 2 cells"),
        ({"y": np.full(80, np.nan)}, "y is nan"),
        ({"weights": np.zeros(80)}, "not all 0"),
    ],
)
def test_what_cannot_be_used_is_refused(changed, message):
    given = {
        "y": np.arange(80.0),
        "arm": np.repeat([0, 1], 40),
        "covariates": np.tile([0, 1], 40),
        "odds_ratio": 2.0,
    }
    with pytest.raises(DataError, match=message):
        sharp_effect(**(given | changed))


def test_a_cell_without_an_arm_counts_with_the_whole_range():
    y, arm, z = np.tile([0.0, 1.0], 40), np.repeat([0, 1], 40), np.zeros(80)
    z[:20] = 1  # all untreated
    found = sharp_mean(y, arm, z, 1.0, outcome_range=(0, 1))
    assert ends(found) == pytest.approx((0.75 * 0.5, 0.75 * 0.5 + 0.25))


@pytest.mark.parametrize(
    "wrong", [{"quantile": LinearRegression()}, {"folds": 1}, {"clip": 2}, {"outcome": "no"}]
)
def test_learners_are_checked(wrong):
    with pytest.raises(DataError):
        Learners(**wrong)


def normal_end(odds_ratio):
    """The largest mean of a standard normal outcome of a randomised trial, less that of 0."""
    from scipy.stats import norm

    beyond = 1 / (1 + odds_ratio)
    return (1 - 1 / odds_ratio) * norm.pdf(norm.isf(beyond)) / beyond


@pytest.mark.parametrize("odds_ratio", [2.0, 10.0])
def test_the_interval_covers_with_few_rows_in_a_tail(odds_ratio):
    rng = np.random.default_rng(20)
    end, repeats, covered = normal_end(odds_ratio), 40, 0
    for _ in range(repeats):
        z = np.repeat(np.arange(30.0), 20)
        arm = rng.permuted(np.tile(np.arange(20) % 2, (30, 1)), axis=1).ravel()
        found = sharp_effect(rng.normal(size=600), arm, z, odds_ratio)
        low, high = found.interval()
        covered += low <= -end and high >= end
    # at 95 %, fewer than 34 of 40 happen once in 300 times
    assert covered >= 34
    assert "fewer than 10" in found.notes[0]


def test_a_row_left_out_has_the_quantile_of_the_others():
    rng = np.random.default_rng(21)
    y, counts = np.round(rng.normal(size=12), 1), rng.integers(1, 4, 12)
    arm, z = np.zeros(12, dtype=int), np.repeat([0, 1], 6)
    models = CellModels(arm, counts * 1.0, z, counts=counts * 1.0)
    for ratio, sign in itertools.product((1.5, 3.0), (-1, 1)):
        tail = models.held_out_tail(y, 0, ratio, sign)
        for row in range(12):
            left = counts * (z == z[row])
            left[row] -= 1
            others = np.sort(np.repeat(y, left))
            beyond = max(1 / (1 + ratio), min(1 / len(others), 0.5))
            level = 1 - beyond if sign > 0 else beyond
            expected = others[int(np.ceil(level * len(others) - 1e-9)) - 1]
            assert tail.quantile[row] == expected


def test_whole_weights_are_equal_rows_in_ends_and_intervals():
    rng = np.random.default_rng(22)
    y, arm, z = rng.integers(0, 4, 40) * 1.0, np.tile([0, 1], 20), np.repeat([0, 1], 20)
    counts = rng.integers(0, 5, 40)
    taken, chance = np.repeat(np.arange(40), counts), np.where(z == 1, 0.4, 0.6)
    for function in (sharp_mean, sharp_effect):
        for given in (None, chance):
            rows = None if given is None else given[taken]
            one = function(y, arm, z, 3.0, weights=counts, propensities=given)
            other = function(y[taken], arm[taken], z[taken], 3.0, propensities=rows)
            assert ends(one) == pytest.approx(ends(other))
            np.testing.assert_allclose(one.interval(), other.interval())
            assert one.num_rows == other.num_rows == counts.sum()
    targets = np.stack([chance, 1 - chance], 1)
    one = sharp_policy_value(y, arm, z, targets, 2.0, weights=counts)
    other = sharp_policy_value(y[taken], arm[taken], z[taken], targets[taken], 2.0)
    np.testing.assert_allclose(one.interval(), other.interval())


def test_counted_rows_are_learned_from_as_often_as_they_count():
    rng = np.random.default_rng(23)
    y, arm, z = rng.normal(size=60), np.tile([0, 1], 30), rng.normal(size=60)
    counts = rng.integers(1, 4, 60)
    taken, learners = np.repeat(np.arange(60), counts), Learners(folds=2)
    one = sharp_effect(y, arm, z, 2.0, weights=counts, learners=learners)
    other = sharp_effect(y[taken], arm[taken], z[taken], 2.0, learners=learners)
    np.testing.assert_allclose(one.interval(), other.interval())


def test_arms_whose_outcomes_are_alike_do_not_tell_their_error():
    with pytest.raises(DataError, match="no sampling error"):
        sharp_effect([0] * 6 + [1] * 6, [0] * 6 + [1] * 6, None, 1.5).interval()
    low, high = sharp_effect([0] * 40 + [1] * 40, [0] * 40 + [1] * 40, None, 1.5).interval()
    assert 0.5 < low < 0.95
    assert high == 1


def test_values_of_sharp_bounds_are_fixed_with_their_intervals():
    rng = np.random.default_rng(24)
    y, arm = rng.normal(size=60), np.tile([0, 1], 30)
    several = sharp_effect(y, arm, None, [1.5, 3.0])
    alone = sharp_effect(y, arm, None, 3.0)
    np.testing.assert_allclose(several.at(odds_ratio=3.0).interval(), alone.interval())


def test_covariates_of_any_scale_are_learned_without_a_warning():
    rng = np.random.default_rng(25)
    covariates = rng.normal(size=(200, 3)) * np.array([1.0, 1e4, 1e-3]) + np.array([0, 3e4, 0])
    arm = (rng.random(200) < 1 / (1 + np.exp(-covariates[:, 0]))) * 1
    found = sharp_effect(rng.normal(size=200), arm, covariates, 1.5, learners=Learners(folds=2))
    assert found.width > 0
