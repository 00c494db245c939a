"""Balance before and after weighting, by hand, by other means, and on published tables.

Hernán and Robins (2020), Causal Inference: What If, table 12.1; Dehejia and Wahba (1999), Causal
effects in nonexperimental studies, table 1.
"""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression

from causalppl.data import load_lalonde, load_nhefs
from causalppl.estimation import AIPW, IPW, TMLE, GFormula, balance, estimate
from causalppl.exceptions import AssumptionError, DataError, OverlapWarning, QueryError
from causalppl.graphs import ADMG
from causalppl.identification import identify

approx = pytest.approx
NHEFS = (
    *("sex", "race", "age", "education", "exercise", "active"),
    *("smokeintensity", "smokeyrs", "wt71"),
)
SQUARES = ["age^2", "smokeintensity^2", "smokeyrs^2", "wt71^2"]
LALONDE = ("age", "educ", "black", "hisp", "marr", "nodegree", "re74", "re75")
SQUARED = IPW(terms=["Z^2"])
SAME = DummyClassifier()  # the same chances for all, so weights change nothing


def asked(covariates, query="ATE(X -> Y)", treatment="X", outcome="Y"):
    names = [*covariates, treatment, outcome]
    edges = [(name, end) for name in covariates for end in (treatment, outcome)]
    return identify(ADMG(names, directed=[*edges, (treatment, outcome)]), query)


def confounded(num_rows=400, seed=0, strength=1.0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=num_rows)
    x = (rng.random(num_rows) < 1 / (1 + np.exp(-strength * z))) * 1
    group = rng.choice(["a", "b", "c"], num_rows)
    return pd.DataFrame({"Z": z, "G": group, "X": x, "Y": x + z + rng.normal(size=num_rows)})


def nhefs():
    data = load_nhefs().astype(dict.fromkeys(("education", "exercise", "active"), "category"))
    return asked(NHEFS, "ATE(qsmk -> wt82_71)", "qsmk", "wt82_71"), data


def two_strata():
    """Of 8 rows with Z=0, 2 have X=1; of 12 with Z=1, 9."""
    z, x = np.repeat([0, 0, 1, 1], [6, 2, 3, 9]), np.repeat([0, 1, 0, 1], [6, 2, 3, 9])
    return pd.DataFrame({"Z": z, "X": x, "Y": np.arange(20) % 7})


# By hand.


def test_a_binary_covariate_by_hand():
    found = balance(asked("Z"), two_strata())
    (row,) = found.columns
    assert (row.name, row.kind, row.population) == ("Z", "binary", approx(0.6))
    assert row.means["X=0"] == approx((1 / 3, 0.6))
    assert row.means["X=1"] == approx((9 / 11, 0.6))
    difference = (9 / 11 - 1 / 3) / np.sqrt((1 / 3 * 2 / 3 + 9 / 11 * 2 / 11) / 2)
    # one coefficient for each stratum: the model is saturated, and such weights balance exactly
    assert row.smd == approx((difference, 0.0), abs=1e-8)
    assert np.isnan([*row.variance_ratio, *row.ks]).all()
    # weights 4/3 for the common ones of each arm, 4 for the rare ones
    assert [arm.worth for arm in found.arms] == approx([400 / (6 * 16 / 9 + 48), 400 / 48])
    assert [arm.worth_before for arm in found.arms] == [9, 11]
    assert found.weights == approx(np.repeat([4 / 3, 4, 4, 4 / 3], [6, 2, 3, 9]))
    assert found.received.tolist() == two_strata()["X"].tolist()


def test_a_number_by_hand():
    data = {"Z": [1, 2, 3, 4, 5, 3, 4, 5, 6, 7], "X": [0] * 5 + [1] * 5, "Y": range(10)}
    (row,) = balance(asked("Z"), pd.DataFrame(data), method=IPW(propensity=SAME)).columns
    assert row.kind == "number"
    assert row.smd == approx((2 / np.sqrt(2.5),) * 2)
    assert row.variance_ratio == approx((1, 1))
    assert row.ks == approx((0.4, 0.4))


def test_the_effect_on_the_treated_weights_controls_by_the_odds():
    found = balance(asked("Z", "ETT(X -> Y)"), two_strata())
    (row,) = found.columns
    assert row.population == approx(9 / 11)
    assert row.means["X=1"] == approx((9 / 11, 9 / 11))
    assert row.means["X=0"] == approx((1 / 3, 9 / 11))
    assert found.population == "the 11 rows with X=1"
    assert found.weights == approx(np.repeat([1 / 3, 1, 3, 1], [6, 2, 3, 9]))


def test_one_arm_is_compared_with_the_population():
    found = balance(asked("Z", "E[Y | do(X=1)]"), two_strata())
    (row,) = found.columns
    assert list(row.means) == ["X=1"]
    unit = np.sqrt((9 / 11 * 2 / 11 + 0.6 * 0.4) / 2)
    assert row.smd == approx(((9 / 11 - 0.6) / unit, 0), abs=1e-8)
    assert "X=1 and the population differ most in Z" in found.interpret()


def test_a_stratum_is_compared_by_itself():
    data = confounded(2000)
    within = balance(asked("ZG", "CATE(X -> Y | G=b)"), data)
    rows = data["G"] == "b"
    assert within.population == f"the {rows.sum()} rows with G=b"
    z = next(column for column in within.columns if column.name == "Z")
    for arm in (0, 1):
        own = data["Z"][rows & (data["X"] == arm)]
        assert z.means[f"X={arm}"].before == approx(own.mean())
    assert not within.weights[~rows].any()


# By other means.


def test_before_weighting_it_is_what_scipy_says():
    data = confounded()
    row = balance(asked("Z"), data).columns[0]
    ours, others = (data["Z"][data["X"] == arm] for arm in (1, 0))
    unit = np.sqrt((ours.var() + others.var()) / 2)  # Austin (2009)
    assert row.smd.before == approx(abs(ours.mean() - others.mean()) / unit)
    assert row.ks.before == approx(stats.ks_2samp(ours, others).statistic)
    ratio = ours.var() / others.var()
    assert row.variance_ratio.before == approx(max(ratio, 1 / ratio))


def test_after_weighting_it_is_what_plain_loops_say():
    data = confounded(120)
    found = balance(asked("Z"), data, method=SQUARED)
    for row, values in zip(found.columns, (data["Z"], data["Z"] ** 2), strict=True):
        means, variances, shares = [], [], []
        for arm in (0, 1):
            w, v = (each[data["X"] == arm] for each in (found.weights, values.to_numpy()))
            means.append((w * v).sum() / w.sum())
            scale = w.sum() / (w.sum() ** 2 - (w**2).sum())  # Austin and Stuart (2015)
            variances.append(scale * (w * (v - means[-1]) ** 2).sum())
            shares.append([w[v <= bound].sum() / w.sum() for bound in values])
        unit = np.sqrt(sum(values[data["X"] == arm].var() for arm in (0, 1)) / 2)
        assert row.smd.after == approx(abs(means[0] - means[1]) / unit)
        assert row.variance_ratio.after == approx(max(variances) / min(variances))
        assert row.ks.after == approx(np.abs(np.subtract(*shares)).max())


def test_of_three_arms_it_is_the_largest_pair():
    data = confounded(900)
    data["X"] = np.where(data["G"] == "a", 2, data["X"])
    row = balance(asked("Z", "E[Y | do(X)]"), data).columns[0]
    arms = [data["Z"][data["X"] == arm] for arm in (0, 1, 2)]
    pairs = [(0, 1), (0, 2), (1, 2)]
    unit = np.sqrt(np.mean([arm.var() for arm in arms]))
    largest = max(abs(arms[a].mean() - arms[b].mean()) for a, b in pairs)
    assert row.smd.before == approx(largest / unit)
    ks = [stats.ks_2samp(arms[a], arms[b]).statistic for a, b in pairs]
    assert row.ks.before == approx(max(ks))
    two = balance(asked("Z", "ATE(X: 2 vs 0 -> Y)"), data)
    assert [arm.name for arm in two.arms] == ["X=0", "X=2"]
    assert two.columns[0].ks.before == approx(ks[1])
    assert set(two.received) == {0, 1, -1}


def test_chances_are_told_as_numpy_tells_them():
    data = confounded(1000, strength=3)
    found = balance(asked("Z"), data)
    arm = found.arms[1]
    chance = found.chances[:, 1]
    wanted = np.quantile(chance, list(arm.quantiles), method="inverted_cdf")
    assert list(arm.quantiles.values()) == approx(wanted)
    assert (arm.below_05, arm.above_95) == approx(((chance < 0.05).mean(), (chance > 0.95).mean()))
    assert 0 < arm.below_01 < arm.below_05


def test_poor_overlap_is_told_as_the_estimate_warns_of_it():
    estimand, data = asked("Z", "ETT(X -> Y)"), confounded(strength=3)
    found = balance(estimand, data)
    with pytest.warns(OverlapWarning) as warned:
        estimate(estimand, data, method=IPW(), seed=0)
    (note,) = found.notes
    assert note in str(warned[0].message)
    assert note.startswith("overlap is poor for X=0: ")


# Published tables.


def test_smokers_as_in_table_12_1():
    estimand, data = nhefs()
    table = balance(estimand, data, method=IPW(terms=SQUARES)).summary()
    quit, others = table["mean qsmk=1, before"], table["mean qsmk=0, before"]

    def told(name, factor=1, start=0):
        return [round(start + factor * mean[name], 1) for mean in (quit, others)]

    assert told("age") == [46.2, 42.8]
    assert told("sex", -100, 100) == [54.6, 46.6]
    assert told("race", -100, 100) == [91.1, 85.4]
    assert told("education=5", 100) == [15.4, 9.9]
    assert told("wt71") == [72.4, 70.3]
    assert told("smokeintensity") == [18.6, 21.2]
    assert told("smokeyrs") == [26.0, 24.1]
    assert told("exercise=2", 100) == [40.7, 37.9]
    assert told("active=2", 100) == [11.2, 8.9]


def test_smokers_are_alike_once_weighted():
    estimand, data = nhefs()
    found = balance(estimand, data, method=IPW(terms=SQUARES))
    data = data.dropna(subset=["wt82_71"])
    numeric = [name for name in NHEFS if data[name].dtype != "category"]
    squares = data[["age", "smokeintensity", "smokeyrs", "wt71"]] ** 2
    dummies = pd.get_dummies(data[["education", "exercise", "active"]], drop_first=True)
    matrix = np.column_stack([data[numeric], squares, dummies]).astype(float)
    matrix = (matrix - matrix.mean(0)) / matrix.std(0)
    chance = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(matrix, data["qsmk"])
    treated = data["qsmk"].to_numpy() == 1
    weights = 1 / np.where(treated, *chance.predict_proba(matrix).T[::-1])
    assert found.weights == approx(weights, rel=1e-4)
    columns = {column.name: column.smd for column in found.columns}
    for name in numeric:
        ours, others = data[name][treated], data[name][~treated]
        means = [np.average(data[name][arm], weights=weights[arm]) for arm in (treated, ~treated)]
        # variances of numbers, p (1 - p) of what has two values
        degrees = int(data[name].nunique() > 2)
        unit = np.sqrt((ours.var(ddof=degrees) + others.var(ddof=degrees)) / 2)
        assert columns[name].after == approx(abs(means[0] - means[1]) / unit, abs=1e-5)
    assert round(max(smd.before for smd in columns.values()), 2) == 0.28
    assert found.above(0.1) == ()
    assert "in age, by 0.28 standard deviations" in found.interpret()
    assert (found.num_rows, found.num_dropped) == (1566, 63)


def test_the_experiment_as_in_table_1():
    data = load_lalonde()
    data = data[data["sample"].isin(["nsw_treated", "nsw_control"])]
    data = data.assign(treat=(data["sample"] == "nsw_treated") * 1)
    table = balance(asked(LALONDE, "ATE(treat -> re78)", "treat", "re78"), data).summary()
    rows = [["age", "educ", "black", "marr", "nodegree"], ["re74", "re75"]]
    for arm, shares, dollars in (
        (1, [25.81, 10.35, 0.84, 0.19, 0.71], [2096, 1532]),
        (0, [25.05, 10.09, 0.83, 0.15, 0.83], [2107, 1267]),
    ):
        found = table[f"mean treat={arm}, before"]
        assert found[rows[0]].to_numpy() == approx(shares, abs=0.01)
        assert found[rows[1]].round().tolist() == dollars
    assert list(table.index[table["SMD before"] > 0.2]) == ["nodegree"]


# Random tables. False alarms: 1 in 10,000 for each test of a fixed seed.


def test_a_randomised_table_differs_by_chance_alone():
    rng = np.random.default_rng(3)
    names = [f"Z{i}" for i in range(40)]
    data = pd.DataFrame(rng.normal(size=(5000, 40)), columns=names)
    data["X"], data["Y"] = (rng.random(5000) < 0.3) * 1, rng.normal(size=5000)
    found = balance(asked(names), data)
    sizes = data["X"].value_counts()
    before = np.array([column.smd.before for column in found.columns])
    squares = before**2 / (1 / sizes).sum()  # each a chi-squared with one degree of freedom
    assert stats.chi2(40).cdf(squares.sum()) == approx(0.5, abs=0.49995)
    # weighting by what one table shows takes its differences away, to second order
    after = np.array([column.smd.after for column in found.columns])
    assert after.max() < before.max() / 5
    assert found.above() == ()


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 100),
    scale=st.sampled_from([-1e6, -3.0, 1e-6, 1e3]),
    shift=st.sampled_from([0.0, -1e3, 1e3]),
)
def test_units_and_the_order_of_rows_do_not_matter(seed, scale, shift):
    data = confounded(150, seed)
    changed = data.assign(Z=scale * (data["Z"] + shift)).sample(frac=1, random_state=seed)
    first, second = (balance(asked("ZG"), each) for each in (data, changed))
    for one, other in zip(first.columns, second.columns, strict=True):
        assert other.smd == approx(one.smd, rel=1e-5, abs=1e-8)
        assert other.ks == approx(one.ks, rel=1e-5, nan_ok=True)
        assert other.variance_ratio == approx(one.variance_ratio, rel=1e-5, nan_ok=True)
    assert first.positivity().to_numpy() == approx(second.positivity().to_numpy(), rel=1e-5)


def test_numbers_may_be_large():
    data = confounded()
    usual = balance(asked("Z"), data, method=SQUARED)
    large = balance(asked("Z"), data.assign(Z=1e200 * data["Z"]), method=SQUARED)
    assert large.columns[0].means["X=1"].after == approx(
        1e200 * usual.columns[0].means["X=1"].after
    )
    for one, other in zip(usual.columns, large.columns, strict=True):
        assert [*other.smd, *other.ks] == approx([*one.smd, *one.ks])


# The weights are those of the estimator.


@pytest.mark.parametrize(
    ("method", "query"),
    [
        (IPW(), "ATE(X -> Y)"),
        (IPW(terms=["Z^2", "Z*G"]), "ETT(X -> Y)"),
        (IPW(clip=0.3), "ATE(X -> Y)"),
        (IPW(trim=0.2), "ATE(X -> Y)"),
        (IPW(propensity=LogisticRegression(C=0.01)), "E[Y | do(X=0)]"),
        (AIPW(outcome=LinearRegression(), folds=3, trim=0.1), "ATE(X -> Y)"),
        (TMLE(outcome=LinearRegression()), "CATE(X -> Y | G=a)"),
    ],
    ids=["plain", "terms", "clip", "trim", "learner", "cross-fitted", "stratum"],
)
def test_effective_rows_are_those_of_the_estimate(method, query):
    estimand, data = asked("ZG", query), confounded(600)
    found = balance(estimand, data, method=method, seed=4)
    answer = estimate(estimand, data, method=method, seed=4)
    worth = answer.diagnostics["effective sample size"]
    assert {arm.name: arm.worth for arm in found.arms} == {f"X={a}": n for a, n in worth.items()}
    if isinstance(method, IPW):
        largest = answer.diagnostics["mean and largest weight"]
        for place, arm in enumerate(sorted(largest)):
            weights = found.weights[found.received == place]
            # the estimate reports stabilised ones
            assert weights.max() * len(weights) / found.num_rows == approx(largest[arm][1])


def test_those_without_an_outcome_are_of_the_population():
    data = confounded(800)
    gone = np.random.default_rng(1).random(800) < 1 / (1 + np.exp(1 - data["Z"]))
    data["Y"] = data["Y"].mask(gone)
    method = IPW(censoring=True)
    found = balance(asked("ZG"), data, method=method)
    answer = estimate(asked("ZG"), data, method=method, seed=0)
    worth = answer.diagnostics["effective sample size"]
    assert [arm.worth for arm in found.arms] == [worth[0], worth[1]]
    z = {column.name: column for column in found.columns}["Z"]
    assert z.population == approx(data["Z"].mean())
    assert z.means["X=1"].before == approx(data["Z"][~gone & (data["X"] == 1)].mean())
    plain = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    known = pd.get_dummies(data[["Z", "G"]], drop_first=True).astype(float)
    treated = plain.fit(known, data["X"]).predict_proba(known)[np.arange(800), data["X"]]
    known["X"] = data["X"]
    seen = plain.fit(known, ~gone).predict_proba(known)[:, 1]
    assert found.weights == approx(~gone / treated / seen, rel=1e-4)


def test_weights_of_rows_count():
    data = confounded(300).assign(W=np.random.default_rng(2).integers(1, 4, 300))
    written_out = data.loc[data.index.repeat(data["W"])]
    counted = balance(asked("ZG"), data, weights="W")
    assert counted.num_rows == len(written_out)
    assert counted.summary().equals(balance(asked("ZG"), written_out).summary())
    surveyed = balance(asked("ZG"), data, weights="W", sampling_weights=True)
    numbers = [name for name in surveyed.summary() if "mean" in name or "SMD" in name]
    # of numbers too: variances differ by what rows are worth, less than 1 in 100
    assert surveyed.summary()[numbers].to_numpy() == approx(counted.summary()[numbers], rel=0.01)
    own = data["W"][data["X"] == 1]
    assert surveyed.arms[1].worth_before == approx(own.sum() ** 2 / (own**2).sum())


# Tables of every kind.


def test_kinds_of_columns():
    rng = np.random.default_rng(5)
    data = confounded(500).assign(
        sex=rng.choice(["man", "woman"], 500),
        smokes=rng.random(500) < 0.3,
        site=0.1,
        place="here",
    )
    found = balance(asked(["Z", "G", "sex", "smokes", "site", "place"]), data)
    kinds = {column.name: column.kind for column in found.columns}
    assert kinds == {
        **{"G=a": "category", "G=b": "category", "G=c": "category", "Z": "number"},
        **{"sex=woman": "category", "smokes": "binary", "site": "constant"},
        "place=here": "constant",
    }
    constant = {column.name: column for column in found.columns}["site"]
    assert constant.smd == (0, 0)
    assert constant.means["X=1"] == approx((0.1, 0.1))
    assert "site is constant: there is nothing to balance" in found.notes
    numbers = found.summary().drop(columns="kind").loc["Z"]
    assert np.isfinite(numbers.to_numpy(float)).all()


def test_a_category_that_an_arm_lacks_is_named():
    data = confounded()
    data["G"] = np.where((data["X"] == 1) & (data["G"] == "c"), "a", data["G"])
    found = balance(asked("ZG"), data)
    share = (data["G"] == "c").mean()
    assert [arm.unlike for arm in found.arms] == approx([0, share])
    assert f"nobody with X=1 has G=c ({share:.1%} of the population)" in found.notes
    assert "G=c" in found.above()


def test_perfect_separation_is_shown_not_refused():
    data = confounded().assign(G=lambda table: np.where(table["X"] == 1, "up", "down"))
    found = balance(asked("G"), data)
    assert found.columns[0].smd == (np.inf, np.inf)
    assert "in all 400 rows (perfect separation)" in found.interpret()
    assert "by infinitely many standard deviations" in found.interpret()


def test_arms_that_are_constant_and_equal_do_not_differ_where_others_do():
    data = confounded(900)
    data["X"] = np.where(data["G"] == "a", 2, data["X"])
    data["H"] = np.where(data["X"] == 2, data["Z"], 0.3)
    found = balance(asked("ZH", "ATE(X: 1 vs 0 -> Y)"), data, method=IPW(propensity=SAME))
    column = {each.name: each for each in found.columns}["H"]
    assert (column.kind, column.smd) == ("number", (0, 0))


def test_several_treatments_are_arms_together():
    rng = np.random.default_rng(0)
    z = rng.integers(0, 2, 500)
    a, b = (rng.random(500) < 0.3 + 0.3 * z) * 1, rng.integers(0, 2, 500)
    graph = ADMG.parse("Z -> {A, B, Y}; {A, B} -> Y")
    data = {"Z": z, "A": a, "B": b, "Y": rng.normal(size=500)}
    found = balance(identify(graph, "E[Y | do(A, B)]"), data)
    assert [arm.name for arm in found.arms][:2] == ["A=0, B=0", "A=0, B=1"]
    assert found.columns[0].smd.after == approx(0, abs=1e-8)


@pytest.mark.parametrize(
    ("change", "query", "options", "error", "message"),
    [
        ({"X": 1}, "ATE(X -> Y)", {}, DataError, "X is 1 in every row"),
        ({"X": np.arange(400)}, "ATE(X -> Y)", {}, DataError, "takes 400 values; balance compares"),
        ({"X": [1] + [0] * 399}, "ATE(X -> Y)", {}, DataError, "1 row with X=1"),
        (
            {"G": np.arange(400).astype(str)},
            "ATE(X -> Y)",
            {},
            DataError,
            "G is text with 400 values",
        ),
        ({}, "E[Y | do(X=1), G]", {}, QueryError, "about 3 populations; expected one"),
        ({}, "ATE(X -> Y)", {"method": GFormula()}, DataError, "an estimator that weights rows"),
        ({}, "ATE(X -> Y)", {"method": IPW}, DataError, "method is the class IPW"),
        ({}, "ATE(X -> Y)", {"sampling_weights": True}, DataError, "without weights"),
        ({}, "ATE(X -> Y)", {"method": IPW(terms=["W^2"])}, DataError, "names W"),
        ({}, "ATE(X -> Y)", {"method": IPW(covariates=["Z"])}, AssumptionError, "{Z} is not an"),
        ({}, "ATE(X -> Y)", {"seed": "one"}, DataError, "seed"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, query, options, error, message):
    data = confounded().assign(**change)
    with pytest.raises(error, match=message):
        balance(asked("ZG", query), data, **options)


def test_a_missing_column_is_named():
    with pytest.raises(DataError, match="no column 'G'"):
        balance(asked("ZG"), confounded().drop(columns="G"))


def test_only_an_estimand_by_adjustment_has_balance():
    data = {"X": [0, 1] * 20, "M": [0, 1, 1, 0] * 10, "Y": range(40)}
    front_door = identify(ADMG.parse("X -> M -> Y; X <-> Y"), "ATE(X -> Y)")
    with pytest.raises(AssumptionError, match="balance compares arms in what is adjusted for"):
        balance(front_door, data)
    with pytest.raises(QueryError, match="mediators"):
        balance(identify(ADMG.parse("X -> M -> Y; X -> Y"), "NDE(X -> Y)"), data)
    with pytest.raises(QueryError, match="nothing is adjusted for"):
        balance(identify(ADMG.parse("X -> Y"), "ATE(X -> Y)"), data)
    with pytest.raises(DataError, match="expected what identify returned"):
        balance("ATE(X -> Y)", data)


def test_a_randomised_treatment_is_held_to_covariates_that_are_named():
    graph = ADMG.parse("{Z, X} -> Y")
    found = balance(identify(graph, "ATE(X -> Y)"), confounded(), method=IPW(covariates=["Z"]))
    assert found.diagnostics["covariates"] == ("Z",)
    assert found.columns[0].smd.before > 0.5
