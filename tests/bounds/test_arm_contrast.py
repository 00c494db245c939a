"""A contrast of arms: its ends are those of boxes, its limits hold their level and have power."""

import numpy as np
import pytest
from scipy import stats

from causalppl.bounds.arm_contrast import ArmContrast, share_odds
from causalppl.bounds.certify_decision import certify_decision
from causalppl.bounds.pivotality import pivotality
from causalppl.bounds.weight_box import WeightBox
from causalppl.bounds.weight_cells import WeightCells

approx = pytest.approx
REPEATS = 1_000


def contrast(y, arm, stratum=None, chance=None, span=None):
    """With the recorded chance of the own arm, or the shares of arms in strata."""
    stratum = np.zeros(len(y), dtype=int) if stratum is None else stratum
    ones = np.ones(len(y))
    odds = share_odds(stratum, arm, ones) if chance is None else 1 / chance - 1
    return ArmContrast(y, arm, stratum, odds, ones, span or (y.min() - 1e-9, y.max()))


def preferred(found, level=0.05):
    """1 where arm 1 is preferred, -1 where arm 0 is, 0 where neither or too few rows tell."""
    low, high = found.limits(1.0, level)
    return 0 if found.ess < 10 else int(low > 0) - int(high < 0)


@pytest.mark.parametrize("odds_ratio", [1.0, 1.5, 7.0])
def test_ends_in_cells_are_those_of_each_cell_alone(odds_ratio):
    rng = np.random.default_rng(0)
    for _ in range(20):
        cell = np.r_[np.arange(5), rng.integers(0, 5, 40)]
        y, fixed, free = rng.integers(0, 6, 45) * 1.0, rng.random(45), rng.random(45)
        cells, signs = WeightCells(y, fixed, free, cell, 6), rng.choice([-1.0, 1.0], 6)
        worst, added = np.where(signs > 0, 9.0, -4.0), rng.random(6)
        found, more = (cells.ends(odds_ratio, signs, *w) for w in ((), (worst, added)))
        moved = cells.influence(odds_ratio, signs, found)
        for number in range(5):
            own, side = cell == number, int(signs[number] > 0)
            alone = WeightBox(y[own], fixed[own], free[own])
            ends = alone.ends(odds_ratio)
            assert found[number] == approx(ends[side])
            assert moved[own] == approx(alone.influence(odds_ratio, ends)[side])
            with_worst = WeightBox(
                np.append(y[own], worst[number]),
                np.append(fixed[own], added[number] * fixed[own].sum()),
                np.append(free[own], added[number] * free[own].sum()),
            )
            assert more[number] == approx(with_worst.ends(odds_ratio)[side])


def test_without_strata_the_error_is_that_of_means():
    rng = np.random.default_rng(1)
    y, arm = rng.normal(size=60), np.repeat([0, 1], 30)
    test = stats.ttest_ind(y[30:], y[:30], equal_var=False)
    found = contrast(y, arm)
    assert found.error(1.0) == approx((y[30:].mean() - y[:30].mean()) / test.statistic)
    assert found.freedom == 29  # of the smaller arm, at most
    low, high = found.limits(1.0, 0.05)
    # wider than Student's interval, by what skewness adds, and not by much
    half = stats.t.ppf(0.975, 29) * found.error(1.0)
    assert 2 * half <= high - low <= 2.4 * half


def test_the_error_in_strata_is_that_of_their_means_and_of_their_shares():
    rng = np.random.default_rng(2)
    z, arm = np.repeat(np.arange(4), 30), np.tile([0, 1], 60)
    y = rng.normal(size=120) + z * arm
    means, within = np.empty((4, 2)), 0.0
    for s in range(4):
        for a in (0, 1):
            rows = y[(z == s) & (arm == a)]
            means[s, a], within = rows.mean(), within + rows.var(ddof=1) / 15 / 16
    by_stratum = means[:, 1] - means[:, 0]
    found = contrast(y, arm, z)
    # the contrasts differ by chance too, which is taken out
    among = (by_stratum.var() - 4 * within) / 120
    assert among > 0
    assert found.error(1.0) == approx(np.sqrt(within + among))


def test_an_arm_without_spread_has_one_row_more_at_the_worst_outcome():
    y = np.repeat([0.0, 1.0], 20)
    low, high = contrast(y, y.astype(int), span=(0.0, 1.0)).limits(1.0, 0.05)
    assert high == 1
    skewness = 2 / 2**1.5
    critical = stats.t.ppf(0.975, 19) + skewness * (1 + 2 * stats.norm.ppf(0.975) ** 2) / 6
    assert low == approx(19 / 21 - critical * np.sqrt(2) / 21)


def test_a_cell_of_one_row_borrows_its_variance():
    rng = np.random.default_rng(3)
    z, arm = np.r_[np.repeat([0, 1], 40), 2, 2], np.tile([0, 1], 41)
    y = rng.normal(size=82)
    full, without = contrast(y, arm, z), contrast(y[:80], arm[:80], z[:80])
    # its two rows have a variance of about one each, and a share of 2 in 82
    added = full.error(1.0) ** 2 - (80 / 82) ** 2 * without.error(1.0) ** 2
    assert added == approx(2 * (2 / 82) ** 2, rel=0.5)


NOISE = {
    "2 % events": lambda rng, n: (rng.random(n) < 0.02) * 1.0,
    "10 % events": lambda rng, n: (rng.random(n) < 0.1) * 1.0,
    "normal": lambda rng, n: rng.normal(size=n),
    "lognormal": lambda rng, n: rng.lognormal(sigma=1.5, size=n),
}


def trial(rng, size, treated):
    return rng.permutation(np.arange(size) < treated).astype(int), None, None


def uneven(rng, size, chances):
    e = rng.choice(chances, size)
    arm = (rng.random(size) < e).astype(int)
    return arm, None, np.where(arm == 1, e, 1 - e)


def stratified(rng, size, strata):
    return rng.integers(0, 2, size), rng.integers(0, strata, size), None


DESIGNS = {
    "20 of 40": lambda rng: trial(rng, 40, 20),
    "20 of 200": lambda rng: trial(rng, 200, 20),
    "uneven chances": lambda rng: uneven(rng, 200, [0.1, 0.3, 0.5, 0.7, 0.9]),
    "small chances": lambda rng: uneven(rng, 400, [0.03, 0.2, 0.5]),
    "20 strata": lambda rng: stratified(rng, 200, 20),
}


@pytest.mark.slow
@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("noise", NOISE)
def test_noise_is_preferred_at_most_as_often_as_the_level_says(noise, design):
    rng = np.random.default_rng(10)
    count = 0
    for _ in range(REPEATS):
        arm, stratum, chance = DESIGNS[design](rng)
        y = NOISE[noise](rng, len(arm))
        count += preferred(contrast(y, arm, stratum, chance)) != 0
    assert count <= 0.05 * REPEATS


SMALL = {
    "normal": lambda rng, n: rng.normal(size=n),
    "exponential": lambda rng, n: rng.exponential(size=n),
    "lognormal": lambda rng, n: rng.lognormal(size=n),
}


@pytest.mark.slow
@pytest.mark.parametrize("size", [16, 18, 20, 22, 24])
@pytest.mark.parametrize("noise", SMALL)
def test_noise_in_the_fewest_rows_is_preferred_at_most_as_often_as_the_level_says(noise, size):
    rng = np.random.default_rng(18)
    count = 0
    for _ in range(REPEATS):
        arm, _, _ = trial(rng, size, size // 2)
        low, high = contrast(SMALL[noise](rng, size), arm).limits(1.0, 0.05)
        count += low > 0 or high < 0
    assert count <= 0.05 * REPEATS


def test_a_large_effect_is_found_in_ten_rows_of_each_action():
    rng = np.random.default_rng(19)
    arm, ours, welch = np.arange(20) % 2, 0, 0
    for _ in range(200):
        y = rng.normal(size=20) + 2 * arm
        ours += preferred(contrast(y, arm)) == 1
        welch += stats.ttest_ind(y[arm == 1], y[arm == 0], equal_var=False).pvalue < 0.05
    assert ours >= 0.9 * 200
    assert ours >= welch - 0.05 * 200


def test_rows_apart_are_all_rows_only_where_no_outcome_of_an_arm_occurs_twice():
    arm, stratum = np.repeat([0, 1], 6), np.tile([0, 0, 0, 1, 1, 2], 2)
    y = np.array([0, 1, 2, 3, 4, 5.0, 0, 1, 1, 3, 4, 1])
    # of arm 1, the commonest outcome of each stratum is left out: 2 rows, 1 and 1
    assert contrast(y, arm, stratum)._spread.apart.tolist() == [6, 2]
    counted = ArmContrast(y, arm, stratum, np.ones(12), np.full(12, 2.0), (0.0, 5.0))
    assert counted._spread.apart.tolist() == [6, 4]  # each row of arm 0, too, is there twice


def test_the_skewness_is_that_of_the_more_skewed_mean():
    rng = np.random.default_rng(20)
    y, arm = rng.normal(size=500), np.repeat([0, 1], [300, 200])
    y[300:] = rng.exponential(size=200)
    by_hand = stats.skew(y[300:]) / np.sqrt(200)
    assert contrast(y, arm).skewness == approx(by_hand, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("size", [200, 400])
def test_noise_that_is_large_where_an_action_is_rare_is_not_preferred(size):
    rng = np.random.default_rng(11)
    count = 0
    for _ in range(REPEATS):
        e = rng.choice([0.05, 0.2, 0.5], size)
        arm = (rng.random(size) < e).astype(int)
        y = rng.exponential(size=size) * (1 + 5 * (e == 0.05))
        count += preferred(contrast(y, arm, None, np.where(arm == 1, e, 1 - e))) != 0
    assert count <= 0.05 * REPEATS


@pytest.mark.slow
@pytest.mark.parametrize(("size", "effect", "least"), [(40, 1.0, 0.78), (100, 0.6, 0.78)])
def test_an_effect_in_a_trial_is_found_nearly_as_often_as_by_welch(size, effect, least):
    rng = np.random.default_rng(12)
    arm = np.arange(size) % 2
    ours = welch = 0
    for _ in range(REPEATS):
        y = rng.normal(size=size) + effect * arm
        ours += preferred(contrast(y, arm)) == 1
        test = stats.ttest_ind(y[arm == 1], y[arm == 0], equal_var=False)
        welch += test.pvalue < 0.05 and test.statistic > 0
    assert ours >= least * REPEATS
    assert ours >= welch - 0.05 * REPEATS


@pytest.mark.slow
def test_an_effect_in_many_strata_is_found():
    # 200 rows, 20 strata, an effect of one standard deviation; some strata lack an action
    rng = np.random.default_rng(13)
    count = 0
    for _ in range(REPEATS):
        arm, stratum, _ = stratified(rng, 200, 20)
        y = rng.normal(size=200) + arm + stratum / 5
        count += preferred(contrast(y, arm, stratum, span=(-5, 12))) == 1
    assert count >= 0.95 * REPEATS


@pytest.mark.slow
def test_rare_events_are_found_nearly_as_often_as_by_an_exact_test():
    rng = np.random.default_rng(14)
    arm, ours, exact = np.repeat([0, 1], 50), 0, 0
    for _ in range(REPEATS):
        y = (rng.random(100) < np.where(arm == 1, 0.35, 0.1)) * 1.0
        ours += preferred(contrast(y, arm, span=(0, 1))) == 1
        events = y.reshape(2, 50).sum(1).astype(int)
        exact += stats.fisher_exact([events, 50 - events]).pvalue < 0.05
    assert ours >= exact - 0.07 * REPEATS


@pytest.mark.slow
def test_the_sign_of_skewed_noise_is_not_held_to_stand():
    rng = np.random.default_rng(15)
    count = 0
    for _ in range(REPEATS):
        f = rng.permutation(np.arange(200) < 20).astype(int)
        count += pivotality(rng.lognormal(sigma=1.5, size=200), f, information_cap=0).is_certified
    assert count <= 0.05 * REPEATS


def test_pivotality_and_certificates_have_the_same_sampling_error():
    rng = np.random.default_rng(16)
    f = rng.permutation(np.arange(100) < 30).astype(int)
    y = rng.exponential(size=100) + f
    given = {"outcome_range": (0.0, 20.0), "level": 0.1}
    one = pivotality(y, f, information_cap=0.001, **given)
    other = certify_decision(y, f, mutual_information_cap=0.001, **given)
    assert one.interval == approx(other.interval)
    assert one.margin == approx(max(one.interval[0], -one.interval[1]))


def test_many_rows_in_many_strata_are_decided():
    rng = np.random.default_rng(17)
    z = rng.integers(20, size=100_000)
    arm = rng.integers(2, size=100_000)
    y = rng.normal(size=100_000) + 0.5 * arm + z / 5
    found = certify_decision(y, arm, strata=z, outcome_range=(-10, 20))
    assert found.decision == "prefer action 1"
    assert 1.5 < float(found.tipping_point) < 2.2
