"""Tests of independence against closed forms, enumeration, and their own level."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression

from causalppl.estimation.independence_tests import (
    ChiSquared,
    IndependenceTest,
    PartialCorrelation,
    RankScores,
    ResidualCovariance,
    Sample,
    StratifiedPermutation,
    choose_test,
    verma_test,
)
from causalppl.exceptions import DataError
from causalppl.graphs import ADMG, verma
from causalppl.graphs.local_markov import dormant_independences
from causalppl.programs.finite import FiniteModel, random_finite_model

CONTINUOUS = [PartialCorrelation(), ResidualCovariance(), ResidualCovariance(LinearRegression())]
DISCRETE = [
    ChiSquared(),
    ChiSquared(power=0),
    ChiSquared(power=2 / 3),
    StratifiedPermutation(),
    StratifiedPermutation(draws=99),
]
ALL = [*CONTINUOUS, *DISCRETE]


def chain(seed, rows=400, effect=0.0, *, discrete):
    """X <- Z -> Y, and X -> Y of some strength."""
    rng = np.random.default_rng(seed)
    if not discrete:
        z = rng.normal(size=rows)
        x = z + rng.normal(size=rows)
        return {"Z": z, "X": x, "Y": z + effect * x + rng.normal(size=rows)}
    z = rng.integers(3, size=rows)
    x = (rng.random(rows) < 0.2 + 0.3 * z).astype(int) + rng.integers(2, size=rows)
    return {"Z": z, "X": x, "Y": rng.binomial(2, 0.2 + 0.2 * z + effect * x / 4)}


def data_for(test, seed, **options):
    return chain(seed, discrete=test in DISCRETE, **options)


# the contract, for all tests


@pytest.mark.parametrize("test", ALL, ids=str)
def test_p_values_are_uniform_under_independence(test: IndependenceTest) -> None:
    runs = 60 if getattr(test, "regressor", None) else 200
    p = [test.test(data_for(test, seed), "X", "Y", ["Z"]).p_value for seed in range(runs)]
    # false-alarm rate of this test: .001, and a little for the steps of discrete laws
    assert stats.kstest(p, "uniform").pvalue > 0.001


@pytest.mark.parametrize("test", ALL, ids=str)
def test_dependence_is_found(test: IndependenceTest) -> None:
    found = test.test(data_for(test, 0, rows=2000, effect=0.3), "X", "Y", ["Z"])
    assert found.p_value <= 0.01
    assert found.num_rows == 2000
    assert found.effect is None or 0 < found.effect < 1


@pytest.mark.parametrize("test", ALL, ids=str)
def test_sides_order_of_columns_and_of_what_is_given_do_not_matter(test: IndependenceTest) -> None:
    data = data_for(test, 1)
    data["W"] = np.random.default_rng(9).permutation(data["Z"])
    first = test.test(data, "X", "Y", ["Z", "W"])
    turned = dict(reversed(data.items()))
    second = test.test(turned, "Y", "X", ["W", "Z"])
    tolerance = 0.2 if getattr(test, "draws", None) else 1e-9  # the draws are other ones
    assert second.p_value == pytest.approx(first.p_value, abs=tolerance)


@pytest.mark.parametrize("test", ALL, ids=str)
def test_rows_with_gaps_are_left_out_and_counted(test: IndependenceTest) -> None:
    frame = pd.DataFrame(data_for(test, 2)).astype(float)
    complete = frame.iloc[20:].reset_index(drop=True)
    frame.loc[:9, "X"] = np.nan
    frame.loc[10:19, "Z"] = np.nan
    frame["unused"] = np.nan
    found, expected = (test.test(d, "X", "Y", ["Z"]) for d in (Sample(frame), complete))
    assert found.num_dropped == 20
    assert found.p_value == pytest.approx(expected.p_value, rel=1e-9)


@pytest.mark.parametrize("test", ALL, ids=str)
def test_what_cannot_be_tested_is_an_error(test: IndependenceTest) -> None:
    data = data_for(test, 3)
    data["constant"] = np.ones(400)
    data["gaps"] = np.full(400, np.nan)
    with pytest.raises(DataError, match="'constant' is constant"):
        test.test(data, "X", "constant", ["Z"])
    with pytest.raises(DataError, match="0 rows without gaps in X, Y, gaps"):
        test.test(data, "X", "Y", ["gaps"])
    with pytest.raises(DataError, match="no column 'Q'"):
        test.test(data, "X", "Q")
    with pytest.raises(DataError, match="no column 'Q'"):
        test.test(Sample(data), "X", "Q")
    with pytest.raises(DataError, match="names a column twice"):
        test.test(data, "X", "Y", "X")
    with pytest.raises(DataError):
        test.test({name: values[:1] for name, values in data.items()}, "X", "Y")


@pytest.mark.parametrize("test", ALL, ids=str)
def test_a_constant_that_is_given_changes_nothing(test: IndependenceTest) -> None:
    data = data_for(test, 3)
    expected = test.test(data, "X", "Y", ["Z"]).p_value
    found = test.test({**data, "C": np.ones(400)}, "X", "Y", ["C", "Z"]).p_value
    assert found == pytest.approx(expected)


# each against its own truth


def test_partial_correlation_is_the_t_test_of_least_squares() -> None:
    data = chain(4, effect=0.1, discrete=False)
    features = np.column_stack([data["X"], data["Z"], np.ones(400)])
    fitted, (residual,), *_ = np.linalg.lstsq(features, data["Y"])
    error = np.sqrt(residual / 397 * np.linalg.inv(features.T @ features)[0, 0])
    found = PartialCorrelation().test(data, "X", "Y", ["Z"])
    assert found.statistic == pytest.approx(fitted[0] / error)
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(fitted[0] / error), 397))


@pytest.mark.parametrize("test", CONTINUOUS, ids=str)
def test_too_few_rows_are_an_error(test: IndependenceTest) -> None:
    data = {name: values[:3] for name, values in chain(0, discrete=False).items()}
    with pytest.raises(DataError, match="3 rows for"):
        test.test(data, "X", "Y", ["Z"])


def test_partial_correlation_refuses_what_is_collinear() -> None:
    data = chain(4, discrete=False)
    data["W"] = 2 * data["Z"] - data["X"]
    with pytest.raises(DataError, match="one is a linear function of the others"):
        PartialCorrelation().test(data, "X", "Y", ["Z", "W"])
    with pytest.raises(DataError, match="categories without an order"):
        PartialCorrelation().test({"X": ["a", "b", "c"] * 9, "Y": range(27)}, "X", "Y")


@pytest.mark.parametrize("power", [0.0, 2 / 3, 1.0])
def test_chi_squared_adds_up_the_strata(power: float) -> None:
    data = chain(5, rows=300, discrete=True)
    statistic = df = 0.0
    for z in range(3):
        rows = data["Z"] == z
        table = pd.crosstab(data["X"][rows], data["Y"][rows])  # only values that occur
        one = stats.chi2_contingency(table, correction=False, lambda_=power)
        statistic, df = statistic + one.statistic, df + one.dof
    found = ChiSquared(power).test(data, "X", "Y", ["Z"])
    assert found.statistic == pytest.approx(statistic)
    assert found.p_value == pytest.approx(stats.chi2.sf(statistic, df))


def test_permutation_law_has_the_moments_and_tails_of_all_permutations() -> None:
    x, y = np.array([0, 0, 0, 1, 1, 2, 2, 2]), np.array([0, 1, 1, 0, 2, 2, 2, 1])

    def pearson(values):
        counts = np.zeros((3, 3))
        np.add.at(counts, (x, np.array(values)), 1)
        return 8 * ((counts**2 / np.outer(counts.sum(1), counts.sum(0))).sum() - 1)

    tables: dict[tuple[int, ...], float] = {}
    every = []
    for order in permutations(range(8)):
        moved = tuple(y[list(order)])
        if moved not in tables:
            tables[moved] = pearson(moved)
        every.append(tables[moved])
    mean, variance, seen = np.mean(every), np.var(every), pearson(y)
    found = StratifiedPermutation().test({"x": x, "y": y}, "x", "y")
    expected = stats.gamma.sf(seen, mean**2 / variance, scale=variance / mean)
    assert found.p_value == pytest.approx(expected)
    exact = np.mean(np.array(every) >= seen - 1e-9)
    drawn = StratifiedPermutation(draws=9999).test({"x": x, "y": y}, "x", "y").p_value
    assert drawn == pytest.approx(exact, abs=6 * np.sqrt(exact * (1 - exact) / 9999))


@pytest.mark.parametrize("rows", [2, 3])
def test_tiny_strata_count_with_their_exact_moments(rows: int) -> None:
    # of two rows the statistic is always 2; of three it is 3 with probability 1/3, else 3/4
    z = np.repeat(np.arange(40), rows)
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.permutation(np.arange(rows) > 0) for _ in range(40)]).astype(int)
    y = np.concatenate([rng.permutation(np.arange(rows) > 0) for _ in range(40)]).astype(int)
    data = pd.DataFrame({"x": x, "y": y, "z": pd.Categorical(z)})
    test = StratifiedPermutation()
    if rows == 2:
        with pytest.raises(DataError, match="all permutations give the same"):
            test.test(data, "x", "y", ["z"])
        return
    found = test.test(data, "x", "y", ["z"])
    mean, variance = 40 * 1.5, 40 * 1.125
    expected = stats.gamma.sf(found.statistic, mean**2 / variance, scale=variance / mean)
    assert found.p_value == pytest.approx(expected)


def test_many_small_strata_keep_the_level() -> None:
    alarms = {test: 0 for test in (ChiSquared(), StratifiedPermutation())}
    for seed in range(200):
        rng = np.random.default_rng(seed)
        z = np.repeat(np.arange(60), 4)
        data = pd.DataFrame({"x": rng.random(240) < 0.3, "y": rng.random(240) < 0.3})
        data["z"] = pd.Categorical(z)
        for test in alarms:
            alarms[test] += test.test(data, "x", "y", ["z"]).p_value <= 0.05
    # the limit law is far off there; four standard errors around 5 % of 200
    assert abs(alarms[StratifiedPermutation()] / 200 - 0.05) < 4 * 0.0154
    assert alarms[ChiSquared()] / 200 > 0.12
    assert choose_test(Sample(data), "x", "y", ["z"]) == StratifiedPermutation()


@pytest.mark.slow
def test_rare_values_keep_the_level_of_small_p_values() -> None:
    p, limit = [], []
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        x, y = rng.choice(4, size=(2, 500), p=[0.9, 0.07, 0.02, 0.01])
        sample = Sample({"x": x, "y": y, "z": rng.integers(2, size=500)})
        chosen = choose_test(sample, "x", "y", ["z"])
        p.append(chosen.test(sample, "x", "y", ["z"]).p_value)
        limit.append(ChiSquared().test(sample, "x", "y", ["z"]).p_value)
    # the gamma law's tail is a little light, the limit law's is far too light
    assert np.mean(np.array(p) <= 0.01) < 0.02
    assert np.mean(np.array(limit) <= 0.01) > 0.05


def curved(seed, rows=500, effect=0.0):
    rng = np.random.default_rng(seed)
    z, w = rng.normal(size=rows), rng.integers(3, size=rows)
    x = np.sin(2 * z) + 0.5 * z**2 + z * w + rng.normal(size=rows) * (1 + 0.5 * np.abs(z))
    y = np.exp(-(z**2)) * 3 + z**2 - w + effect * x + rng.standard_t(5, size=rows)
    return {"X": x, "Y": y, "Z": z, "W": w}


def test_residual_covariance_keeps_its_level_where_lines_do_not_fit() -> None:
    runs = [curved(seed) for seed in range(200)]
    p = [ResidualCovariance().test(data, "X", "Y", ["Z", "W"]).p_value for data in runs]
    assert stats.kstest(p, "uniform").pvalue > 0.001
    assert PartialCorrelation().test(curved(0), "X", "Y", ["Z", "W"]).p_value < 1e-6
    assert ResidualCovariance().test(curved(0, effect=0.3), "X", "Y", ["Z", "W"]).p_value < 0.001


def test_lines_are_weighted_by_leverage() -> None:
    # too few rows for more than lines: the statistic of HC2 by its formula
    data = {name: values[:9] for name, values in chain(6, discrete=False).items()}
    features = np.column_stack([data["Z"], np.ones(9)])
    hat = features @ np.linalg.pinv(features)
    a, b = (data[name] - hat @ data[name] for name in "XY")
    wald = (a @ b) ** 2 / np.sum((a * b) ** 2 / (1 - np.diag(hat)))
    found = ResidualCovariance().test(data, "X", "Y", ["Z"])
    assert found.test == "residual covariance (lines)"
    assert found.statistic == pytest.approx(wald)
    assert found.p_value == pytest.approx(stats.f.sf(wald / (1 - wald / 7) * 6 / 7, 1, 6))
    assert found.effect == pytest.approx(abs(stats.pearsonr(a, b).statistic))


def test_effects_that_do_not_add_up_and_far_values_keep_the_level() -> None:
    def p_value(seed, effect=0.0):
        rng = np.random.default_rng(seed)
        z, w, a, b = rng.normal(size=(4, 1000))
        x = np.tanh(1.5 * (z + w)) + 0.5 * a
        y = z * w + effect * x + 0.5 * b
        data = {"X": x, "Y": y, "Z": np.exp(2 * z), "W": w}
        return ResidualCovariance().test(data, "X", "Y", ["Z", "W"]).p_value

    assert stats.kstest([p_value(seed) for seed in range(100)], "uniform").pvalue > 0.001
    assert p_value(0, effect=0.3) < 0.001


def test_categories_are_tested_jointly() -> None:
    def p_value(seed, effect):
        rng = np.random.default_rng(seed)
        z = rng.normal(size=400)
        codes = rng.integers(3, size=400)
        y = z + effect * (codes == 2) + rng.normal(size=400)
        data = {"arm": np.array(["a", "b", "c"])[codes], "Y": y, "Z": z}
        assert choose_test(Sample(data), "arm", "Y", ["Z"]) == ResidualCovariance()
        return ResidualCovariance().test(data, "arm", "Y", ["Z"]).p_value

    assert stats.kstest([p_value(seed, 0.0) for seed in range(100)], "uniform").pvalue > 0.001
    assert p_value(0, 0.8) < 0.001


# ranks


def test_rank_scores_have_the_mean_of_all_permutations() -> None:
    x, y = np.array([0.3, 1.7, 2.2, 2.9, 4.1, 8.5]), np.array([1.1, 0.2, 3.3, 2.4, 9.9, 5.5])
    test = RankScores()
    found = [
        test.test({"x": x, "y": y[list(order)]}, "x", "y").statistic
        for order in permutations(range(6))
    ]
    # two scores on each side: four pairs
    assert np.mean(found) == pytest.approx(4)
    assert test.test({"x": np.exp(x), "y": y**3}, "x", "y").statistic == pytest.approx(found[0])


@pytest.mark.parametrize("rows", [20, 500])
def test_rank_scores_keep_the_level_whatever_the_laws(rows: int) -> None:
    p = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        data = {"x": rng.standard_cauchy(rows), "y": np.exp(3 * rng.normal(size=rows))}
        data["group"] = rng.choice(["a", "b", "c"], rows)
        p.append([RankScores().test(data, "x", side).p_value for side in ("y", "group")])
    assert all(stats.kstest(column, "uniform").pvalue > 0.001 for column in np.transpose(p))


def test_rank_scores_of_two_groups_are_a_t_test_and_nothing_may_be_given() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=50)
    flags = rng.integers(2, size=(2, 50))
    found = RankScores().test({"a": flags[0], "b": flags[1]}, "a", "b")
    assert found.p_value == pytest.approx(stats.pearsonr(*flags).pvalue)
    assert found.effect == pytest.approx(abs(stats.pearsonr(*flags).statistic))
    with pytest.raises(DataError, match="'x' is given; rank scores test only pairs"):
        RankScores().test({"a": flags[0], "b": flags[1], "x": x}, "a", "b", ["x"])


def test_what_is_determined_by_the_given_cannot_be_tested() -> None:
    data = curved(0)
    data["X"] = data["W"] * 2.0
    with pytest.raises(DataError, match="leaves no variation in X or Y"):
        ResidualCovariance().test(data, "X", "Y", ["W"])
    with pytest.raises(DataError, match="no stratum has two values"):
        ChiSquared().test({"X": [0, 1, 0, 1], "Y": [0, 1, 1, 1], "Z": [0, 1, 0, 1]}, "X", "Y", "Z")


def test_the_choice_follows_the_kinds_of_columns() -> None:
    rng = np.random.default_rng(0)
    sample = Sample(
        {
            "real": rng.normal(size=500),
            "count": rng.poisson(30, size=500),
            "flag": rng.random(500) < 0.5,
            "grade": rng.integers(4, size=500).astype(float),
            "group": rng.choice(["a", "b", "c"], size=500),
        }
    )
    kinds = {name: sample.is_discrete(name) for name in sample.names}
    assert kinds == {"real": False, "count": False, "flag": True, "grade": True, "group": True}
    assert choose_test(sample, "real", "count") == RankScores()
    assert choose_test(sample, "real", "count", ["flag"]) == ResidualCovariance()
    assert choose_test(sample, "flag", "group", ["grade"]) == ChiSquared()
    assert choose_test(sample, "flag", "real") == RankScores()
    assert choose_test(sample, "flag", "grade", ["real"]) == ResidualCovariance()


def test_names_in_place_of_categories_are_refused() -> None:
    rng = np.random.default_rng(0)
    names = pd.Categorical([f"unit {i}" for i in range(5000)])
    data = pd.DataFrame({"id": names, "other": names[::-1], "y": rng.normal(size=5000)})
    with pytest.raises(DataError, match="1 strata of 5000 by 5000 cells are too many"):
        choose_test(Sample(data), "id", "other")
    with pytest.raises(DataError, match="'id' has 5000 values in 5000 rows"):
        ResidualCovariance().test(data, "id", "y")


def test_columns_of_vectors_are_refused_by_name() -> None:
    with pytest.raises(DataError, match="'X' has vectors"):
        Sample({"X": np.zeros((5, 2)), "Y": np.zeros(5)})


# Verma constraints


def drawn(graph, seed, rows, **options):
    law = random_finite_model(graph, seed=seed, noise_states=1, **options).law()
    return rows_of(law, seed, rows)


def rows_of(law, seed, rows):
    values = law.values.numpy()
    flat = np.random.default_rng(seed).choice(values.size, size=rows, p=values.ravel())
    return dict(zip(law.names, np.unravel_index(flat, values.shape), strict=True))


def test_verma_constraints_hold_at_their_level() -> None:
    (fact,) = dormant_independences(verma())
    p = [verma_test(drawn(verma(), seed, 1000), fact).p_value for seed in range(60)]
    assert stats.kstest(p, "uniform").pvalue > 0.001
    # four standard errors above 5 %, in small samples as well
    small = [verma_test(drawn(verma(), seed, 100), fact).p_value for seed in range(60)]
    assert np.mean(np.array(small) <= 0.05) < 0.05 + 4 * 0.0281


TWO = verma(), ADMG.parse("A -> B -> C -> D; A -> C; B <-> D")


@pytest.mark.slow
@pytest.mark.parametrize("states", [2, 3])
@pytest.mark.parametrize("graph", TWO, ids=["verma", "with A -> C"])
def test_verma_constraints_hold_at_their_level_in_five_hundred_rows(graph, states) -> None:
    """Of 500 a share of .05 has the standard error .0097; the limit law gives .028 and .062."""
    (fact,) = dormant_independences(graph)
    data = [drawn(graph, seed, 500, states=states) for seed in range(500)]
    p = np.array([verma_test(one, fact).p_value for one in data])
    assert 0.03 <= np.mean(p <= 0.05) <= 0.07
    assert np.mean(p <= 0.01) <= 0.025


def test_vermas_p_value_is_that_of_samples_from_the_true_law() -> None:
    """With three states and 500 rows: the statistic averages some 10, not 12 as in the limit."""
    (fact,) = dormant_independences(verma())
    law = random_finite_model(verma(), seed=0, states=3, noise_states=1).law()
    values = law.values.permute([law.names.index(name) for name in fact.variables]).numpy()
    tables = np.random.default_rng(0).multinomial(500, values.ravel(), size=300)
    true = fact.wald(1.5 * tables.reshape(-1, *values.shape))[0] / 1.5
    found = [verma_test(rows_of(law, seed, 500), fact) for seed in range(10)]
    shares = np.array([(true >= result.statistic).mean() for result in found])
    gaps = [shares - np.array([result.p_value for result in found])]
    gaps.append(shares - stats.chi2.sf([result.statistic for result in found], 12))
    ours, limit = (float(np.abs(gap).mean()) for gap in gaps)
    assert ours < 0.05
    assert limit > 0.08


def test_a_direct_effect_breaks_vermas_constraint() -> None:
    (fact,) = dormant_independences(verma())
    tables = random_finite_model(ADMG.parse("A -> B -> C -> D; B <-> D; A -> D"), seed=0)
    table = np.array(tables.tables["D"])
    table[0], table[1] = [0.7, 0.3], [0.3, 0.7]
    model = FiniteModel(tables.graph, {**tables.tables, "D": table}, tables.latents)
    assert verma_test(rows_of(model.law(), 0, 2000), fact).p_value < 0.001


def test_verma_constraints_need_tables_with_enough_rows() -> None:
    (fact,) = dormant_independences(verma())
    with pytest.raises(DataError, match="50 rows allow 10 cells; there are 16"):
        verma_test(drawn(verma(), 0, 50), fact)
    normal = {name: np.random.default_rng(0).normal(size=500) for name in verma().nodes}
    with pytest.raises(DataError, match="is not discrete"):
        verma_test(normal, fact)
