"""GFormula, IPW, AIPW, TMLE and GEstimation against exact answers, and over repeated samples."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsRegressor

from causalppl.data import Factor, Table
from causalppl.estimation import evaluate
from causalppl.estimation.adjustment_design import AdjustmentDesign
from causalppl.estimation.doubly_robust import AIPW, TMLE
from causalppl.estimation.estimator import Problem
from causalppl.estimation.features import Features
from causalppl.estimation.g_estimation import GEstimation
from causalppl.estimation.outcome_regression import GFormula
from causalppl.estimation.weighting import IPW
from causalppl.exceptions import AssumptionError, DataError, GraphError
from causalppl.graphs import ADMG
from causalppl.identification import identify

LINEAR = LinearRegression()
LOGISTIC = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10)
ESTIMATORS = [GFormula(), IPW(), AIPW(), TMLE(), GEstimation()]
FAST = [
    GFormula(),
    IPW(),
    AIPW(outcome=LINEAR, propensity=LOGISTIC),
    TMLE(outcome=LINEAR, propensity=LOGISTIC),
    GEstimation(),
]


def named(estimator):
    return type(estimator).__name__


def asked(data, query="ATE(X -> Y)", diagram=None, weights=None):
    """Pose a query to a frame, all of whose other columns confound X and Y."""
    others = [name for name in data if name not in ("X", "Y")]
    covariates = f"{{{', '.join(others)}}} -> {{X, Y}}; " if others else ""
    graph = ADMG.parse(diagram or f"{covariates}X -> Y")
    given = {} if weights is None else {(None, frozenset()): weights}
    return Problem(identify(graph, query), Table.from_any(data), weights=given)


# Data whose answers are known.


def three_way_table(num_rows=3000):
    """Categories Z and V, and X and Y with three values each; every cell has rows."""
    rng = np.random.default_rng(0)
    z, v = rng.integers(3, size=num_rows), rng.integers(2, size=num_rows)
    x = drawn(rng, np.exp(0.7 * rng.normal(size=(3, 2, 3)))[z, v])
    y = drawn(rng, np.exp(0.7 * rng.normal(size=(3, 2, 3, 3)))[z, v, x])
    return pd.DataFrame({"Z": z, "V": v, "X": x, "Y": y})


def drawn(rng, odds):
    cumulated = (odds / odds.sum(1, keepdims=True)).cumsum(1)
    return (rng.random((len(odds), 1)) > cumulated).sum(1)


def empirical_law(data):
    joint = np.zeros((3, 2, 3, 3))
    np.add.at(joint, tuple(data[name] for name in "ZVXY"), 1)
    return Factor(tuple("ZVXY"), torch.tensor(joint / joint.sum()))


def linear_data(rng, num_rows=1000, slope=0.5):
    """Numbers with a linear outcome; the effect is 1 + slope * A, so the ATE is 1."""
    a, b, c = rng.normal(size=(3, num_rows))
    x = (rng.random(num_rows) < expit(0.5 * a - 0.5 * b + 0.25 * c)) * 1
    y = 1 + x * (1 + slope * a) + a + 0.5 * b - 0.5 * c + rng.normal(size=num_rows)
    return pd.DataFrame({"A": a, "B": b, "C": c, "X": x, "Y": y})


def binary_data(rng, num_rows=1000):
    """A number, a category and a binary outcome, all laws logistic."""
    a, group = rng.normal(size=num_rows), rng.integers(3, size=num_rows)
    x = (rng.random(num_rows) < expit(-0.2 + 0.6 * a + np.array([0, 0.5, -0.5])[group])) * 1
    y = (rng.random(num_rows) < chance_of_outcome(a, group, x)) * 1
    return pd.DataFrame({"A": a, "G": np.array(["p", "q", "r"])[group], "X": x, "Y": y})


def chance_of_outcome(a, group, x):
    return expit(-0.5 + 0.8 * x + 0.7 * a + np.array([0.0, -0.6, 0.6])[group])


def binary_effect():
    """By quadrature: E[Y | do(X=1)] - E[Y | do(X=0)] in `binary_data`."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    arms = [chance_of_outcome(nodes[:, None], np.arange(3), x).mean(1) for x in (1, 0)]
    return float(weights @ (arms[0] - arms[1]) / weights.sum())


def uneven_data(rng, num_rows=1000):
    """A constant effect of 1 amid a binary covariate and noise that grows with it."""
    a, b = rng.normal(size=num_rows), rng.integers(2, size=num_rows)
    x = (rng.random(num_rows) < expit(0.6 * a - 0.8 * b)) * 1
    y = x + a**2 + b + (0.5 + b) * rng.normal(size=num_rows)
    return pd.DataFrame({"A": a, "B": b, "X": x, "Y": y})


# Saturated models give the formula on the empirical law, whatever the method.

QUERIES = [
    "ATE(X -> Y)",
    "ETT(X: 2 vs 0 -> Y)",
    "ATC(X -> Y)",
    "CATE(X: 1 vs 0 -> Y | V=1)",
    "ETT(X -> Y | Z=2)",
    "E[Y | do(X)]",
    "E[Y | do(X=1), Z]",
    "E[Y_{X=1} - Y_{X=0} | X=2, V=0]",
    "P(Y | do(X))",
    "P(Y > 0 | do(X=1))",
    "P(Y_{X} | X)",
    "P(Y | do(X=1), V, Z)",
]
SATURATED = {
    "g-formula": GFormula(terms=["Z*V"]),
    "pooled g-formula": GFormula(terms=["Z*V", "X*Z", "X*V", "X*Z*V"]),
    "IPW": IPW(terms=["Z*V"]),
    "AIPW": AIPW(terms=["Z*V"], folds=1, propensity=LOGISTIC, clip=0),
    "TMLE": TMLE(terms=["Z*V"], folds=1, propensity=LOGISTIC, clip=0),
}


@pytest.fixture(scope="module")
def discrete():
    data = three_way_table()
    graph = ADMG.parse("Z -> {V, X, Y}; V -> {X, Y}; X -> Y")
    return graph, Table.from_any(data.astype({"Z": "category", "V": "category"})), data


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("method", SATURATED)
def test_a_saturated_model_is_the_formula_on_the_empirical_law(query, method, discrete):
    graph, table, data = discrete
    estimator = SATURATED[method]
    if hasattr(estimator, "folds"):
        learner = LOGISTIC if query.startswith("P") else LINEAR
        estimator = dataclasses.replace(estimator, outcome=learner)
    estimand = identify(graph, query)
    exact = evaluate(estimand, empirical_law(data))
    exact = exact.values if isinstance(exact, Factor) else torch.as_tensor(exact)
    found = estimator.solve(Problem(estimand, table), seed=0)
    assert tuple(found.axes) == tuple(label for label, _ in estimand.axes)
    assert found.values == pytest.approx(exact.numpy(), abs=1e-6)
    assert np.isfinite(found.standard_error).all()


@pytest.mark.parametrize("method", SATURATED)
def test_probabilities_of_all_states_add_up_to_one(method, discrete):
    graph, table, _ = discrete
    estimator = dataclasses.replace(SATURATED[method], terms=())
    if hasattr(estimator, "folds"):
        estimator = dataclasses.replace(estimator, outcome=LOGISTIC, folds=3)
    found = estimator.solve(Problem(identify(graph, "P(Y | do(X))"), table), seed=0)
    assert found.values.sum(0) == pytest.approx(1, abs=1e-9)


# Errors.


def test_errors_without_covariates_are_those_of_means():
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"X": np.repeat([0, 1], [30, 50]), "Y": rng.normal(size=80)})
    one, other = (data["Y"][data["X"] == x] for x in (1, 0))
    found = GFormula().solve(asked(data), seed=0)
    assert float(found) == pytest.approx(one.mean() - other.mean(), abs=1e-6)
    exact = np.sqrt(one.var() / 50 + other.var() / 30)
    assert float(found.standard_error) == pytest.approx(exact, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "estimator",
    [
        GFormula(),
        GFormula(terms=["X*A"]),
        GFormula(outcome=LINEAR, pooled=True),
        IPW(),
        IPW(normalised=False),
        AIPW(outcome=LINEAR, propensity=LOGISTIC, folds=1),
        GEstimation(),
    ],
    ids=repr,
)
@pytest.mark.parametrize("query", ["ATE(X -> Y)", "ETT(X -> Y)"])
def test_errors_by_formula_agree_with_the_bootstrap(estimator, query):
    # relative error of a standard deviation of 300 draws: 4 %, so 16 % is four errors
    problem = asked(linear_data(np.random.default_rng(2), 600), query)
    by_formula = estimator.solve(problem, seed=0)
    drawn = dataclasses.replace(estimator, bootstrap=300).solve(problem, seed=0)
    assert float(drawn) == pytest.approx(float(by_formula))
    assert drawn.draws.shape == (302,)
    assert float(drawn.standard_error) == pytest.approx(float(by_formula.standard_error), rel=0.16)


@pytest.mark.slow
def test_errors_of_logistic_regressions_agree_with_the_bootstrap():
    problem = asked(binary_data(np.random.default_rng(3), 600), "P(Y=1 | do(X=1))")
    for estimator in (GFormula(), GFormula(terms=["X*A"]), IPW()):
        by_formula = estimator.solve(problem, seed=0)
        drawn = dataclasses.replace(estimator, bootstrap=300).solve(problem, seed=0)
        ratio = float(drawn.standard_error / by_formula.standard_error)
        assert ratio == pytest.approx(1, abs=0.16)


def test_a_bootstrap_gives_draws_in_place_of_a_formula():
    problem = asked(linear_data(np.random.default_rng(2), 400))
    by_formula = GFormula().solve(problem, seed=0)
    drawn = GFormula(bootstrap=100).solve(problem, seed=0)
    assert float(drawn) == float(by_formula)
    assert drawn.standard_error == pytest.approx(drawn.draws[1:-1].std(axis=0, ddof=1))
    assert drawn.draws.shape == (102,)
    # relative error of a standard deviation of 100 draws: 7 %, so 28 % is four errors
    assert float(drawn.standard_error) == pytest.approx(float(by_formula.standard_error), rel=0.28)


def test_influence_has_mean_zero_and_gives_the_error():
    problem = asked(linear_data(np.random.default_rng(4), 500), "E[Y | do(X)]")
    for estimator in FAST[:4]:
        found = estimator.solve(problem, seed=0)
        assert found.influence.shape == (500, 2)
        assert np.abs(found.influence.mean(0)).max() < 1e-3
        error = np.sqrt((found.influence**2).mean(0) / 500)
        assert found.standard_error == pytest.approx(error)


def test_a_learner_without_formula_gets_a_bootstrap():
    problem = asked(linear_data(np.random.default_rng(5), 100))
    tree = RandomForestRegressor(2, max_depth=1)
    assert GFormula(outcome=tree, bootstrap=20).solve(problem, seed=0).draws.shape == (22,)
    with pytest.raises(DataError, match="no formula for the errors"):
        GFormula(outcome=tree, bootstrap=0).solve(problem, seed=0)


def test_ensembles_can_be_learners():
    problem = asked(linear_data(np.random.default_rng(29), 200))
    trees = RandomForestRegressor(10), RandomForestClassifier(10, min_samples_leaf=20)
    for estimator in (AIPW(*trees, folds=2), GFormula(outcome=trees[0], bootstrap=20)):
        assert np.isfinite(float(estimator.solve(problem, seed=0)))


def test_the_same_seed_gives_the_same_answer():
    problem = asked(linear_data(np.random.default_rng(6), 200))
    for estimator in (AIPW(LINEAR, folds=2), TMLE(LINEAR, LOGISTIC), GFormula(bootstrap=20)):
        first, second = (float(estimator.solve(problem, seed=3)) for _ in range(2))
        assert first == second


def test_sampling_weights_act_as_repeated_rows():
    data = linear_data(np.random.default_rng(7), 400)
    counts = np.random.default_rng(8).integers(1, 4, size=400)
    for estimator in (GFormula(), IPW(), GEstimation(), AIPW(LINEAR, LOGISTIC, folds=1)):
        repeated = estimator.solve(asked(data, weights=counts), seed=0)
        weighted = estimator.solve(asked(data, weights=counts / 2.5), seed=0)
        assert repeated.num_rows == counts.sum()
        assert weighted.num_rows == 400
        assert float(weighted) == pytest.approx(float(repeated), abs=1e-6)
        assert weighted.standard_error > repeated.standard_error


# Robustness.


@pytest.mark.parametrize("kind", [AIPW, TMLE])
@pytest.mark.parametrize("wrong", ["outcome", "propensity"])
def test_one_wrong_nuisance_does_no_harm(kind, wrong):
    rng = np.random.default_rng(9)
    problem = asked(linear_data(rng, 20_000))
    models = {"outcome": LINEAR, "propensity": LOGISTIC}
    models[wrong] = DummyRegressor() if wrong == "outcome" else DummyClassifier(strategy="prior")
    found = kind(**models).solve(problem, seed=0)
    # four errors: a false alarm in 16,000 seeds
    assert abs(float(found) - 1) < 4 * found.standard_error
    both = {"outcome": DummyRegressor(), "propensity": DummyClassifier(strategy="prior")}
    biased = kind(**both).solve(problem, seed=0)
    assert abs(float(biased) - 1) > 6 * biased.standard_error


def test_defaults_find_what_is_not_linear():
    rng = np.random.default_rng(10)
    a, b = rng.normal(size=(2, 2000))
    x = (rng.random(2000) < expit(0.5 * a**2 - 0.5)) * 1
    y = x + 2 * a**2 + b + rng.normal(size=2000)
    problem = asked(pd.DataFrame({"A": a, "B": b, "X": x, "Y": y}))
    for estimator in (AIPW(), TMLE()):
        found = estimator.solve(problem, seed=0)
        assert abs(float(found) - 1) < 4 * found.standard_error
    assert float(GFormula().solve(problem, seed=0)) > 2


def test_defaults_stay_in_the_range_of_a_binary_outcome():
    problem = asked(binary_data(np.random.default_rng(11), 200), "P(Y=1 | do(X))")
    found = TMLE(folds=2).solve(problem, seed=0)
    assert ((found.values > 0) & (found.values < 1)).all()


# What is asked and of whom.


def test_covariates_can_be_chosen_among_adjustment_sets():
    rng = np.random.default_rng(12)
    data = linear_data(rng, 500).assign(D=rng.normal(size=500))
    diagram = "{A, B, C} -> {X, Y}; X -> Y; Y -> D"
    problem = asked(data, diagram=diagram)
    assert GFormula().solve(problem, seed=0).diagnostics["covariates"] == ("A", "B", "C")
    with pytest.raises(AssumptionError, match="D is affected by the causal path X -> Y"):
        GFormula(covariates=["A", "B", "C", "D"]).solve(problem, seed=0)
    with pytest.raises(AssumptionError, match=r"X <- C -> Y.* is open"):
        IPW(covariates=["A", "B"]).solve(problem, seed=0)
    with pytest.raises(GraphError, match="'W'"):
        IPW(covariates=["W"]).solve(problem, seed=0)


def test_an_unmeasured_formula_gives_way_to_another_set():
    data = linear_data(np.random.default_rng(13), 500)[["A", "X", "Y"]]
    diagram = "A -> U -> X; A -> Y; X -> Y; U -> V"
    found = GFormula().solve(asked(data, diagram=diagram), seed=0)
    assert found.diagnostics["covariates"] == ("A",)


@pytest.mark.parametrize(
    ("diagram", "query", "message"),
    [
        ("X -> M -> Y; X <-> Y", "ATE(X -> Y)", "no set of the columns"),
        ("A -> {X, Y}; X -> Y; X -> M -> Y", "NDE(X -> Y; M)", "mediators"),
        ("A -> {X, Y}; X -> Y; X -> M -> Y", "E[Y_{X=1, M_{X=0}}]", "one intervention"),
        ("A -> {X, Y}; X -> Y; X -> M -> Y", "E[Y | do(X=1), M]", "not a fact"),
    ],
)
def test_what_adjustment_cannot_answer_is_refused(diagram, query, message):
    rng = np.random.default_rng(14)
    data = linear_data(rng, 100).assign(M=rng.integers(2, size=100))
    problem = asked(data[["A", "M", "X", "Y"]], query, diagram)
    for estimator in ESTIMATORS:
        assert message in estimator.refusal(problem)


def test_estimators_that_can_answer_do_not_refuse():
    problem = asked(linear_data(np.random.default_rng(15), 100))
    assert [estimator.refusal(problem) for estimator in ESTIMATORS] == [None] * 5


def test_g_estimation_refuses_what_is_no_difference():
    problem = asked(linear_data(np.random.default_rng(16), 100), "E[Y | do(X=1)]")
    assert "difference between arms" in GEstimation().refusal(problem)


# Bad input.


def broken(**changes):
    return linear_data(np.random.default_rng(17), 200).assign(**changes)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=named)
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (broken(X=1), "X is 1 in all 200 rows"),
        (broken(X=np.tile([1, 2], 100)), "X is never 0|X has no value 0"),
        (broken(X=np.tile(["a", "b"], 100)), "1 is no category"),
        (broken(Y=np.tile(["a", "b"], 100)), "Y holds the categories"),
        (broken(Y=np.nan), "all 200 rows have a missing value"),
        (broken().drop(columns="C"), "no set of the columns|there is no column 'C'"),
        (broken().drop(columns="Y"), "there is no column 'Y'"),
    ],
    ids=["constant", "no control", "text arms", "text outcome", "empty", "C", "Y"],
)
def test_bad_input_is_refused_by_name(estimator, data, message):
    diagram = "{A, B, C} -> {X, Y}; X -> Y"
    problem = asked(data, diagram=diagram)
    with pytest.raises((DataError, AssumptionError), match=message):
        estimator.solve(problem, seed=0)
    assert estimator.refusal(problem)


@pytest.mark.parametrize("estimator", FAST, ids=named)
def test_rows_without_outcome_are_dropped_and_counted(estimator):
    data = linear_data(np.random.default_rng(18), 300)
    gaps = data.assign(Y=data["Y"].where(np.arange(300) >= 20))
    found = estimator.solve(asked(gaps), seed=0)
    assert (found.num_rows, found.num_dropped) == (280, 20)
    assert float(found) == pytest.approx(float(estimator.solve(asked(data[20:]), seed=0)))


def test_text_arms_are_named_in_the_answer():
    data = linear_data(np.random.default_rng(19), 300)
    data["X"] = np.where(data["X"] == 1, "new", "old")
    found = GFormula().solve(asked(data, "E[Y | do(X)]"), seed=0)
    assert found.axes == {"X": ("new", "old")}
    contrast = GFormula().solve(asked(data, "ATE(X: new vs old -> Y)"), seed=0)
    assert float(contrast) == pytest.approx(float(found.at(X="new")) - float(found.at(X="old")))


def test_a_classifier_cannot_predict_a_number():
    problem = asked(linear_data(np.random.default_rng(26), 100))
    with pytest.raises(DataError, match="the outcome is a number"):
        GFormula(outcome=LOGISTIC).solve(problem, seed=0)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=named)
def test_constant_outcomes_are_refused_by_name(estimator):
    problem = asked(linear_data(np.random.default_rng(27), 100).assign(Y=2.0))
    with pytest.raises(DataError, match="the outcome Y is the same in all 100 rows"):
        estimator.solve(problem, seed=0)
    assert "an outcome that varies" in estimator.refusal(problem)


@pytest.mark.parametrize("estimator", FAST[:4], ids=named)
def test_covariates_that_repeat_each_other_change_nothing(estimator):
    data = linear_data(np.random.default_rng(28), 300)
    repeated = data.assign(D=data["A"] + data["B"], E=1.0)
    found = estimator.solve(asked(repeated), seed=0)
    plain = estimator.solve(asked(data), seed=0)
    # equal but for the rounding of D, which acts as one column of noise
    assert abs(float(found) - float(plain)) < 0.2 * plain.standard_error
    assert float(found.standard_error) == pytest.approx(float(plain.standard_error), rel=0.05)


def test_values_that_no_float32_holds_are_found():
    data = linear_data(np.random.default_rng(20), 200)
    data["X"] = np.where(data["X"] == 1, 0.3, 0.1)
    found = GFormula().solve(asked(data, "E[Y | do(X)]"), seed=0)
    assert found.axes == {"X": (0.1, 0.3)}
    assert IPW().refusal(asked(data, "ATE(X: 0.3 vs 0.1 -> Y)")) is None


@pytest.mark.parametrize(
    ("term", "message"), [("A^", "the term"), ("A*W", "names W"), ("A+B", "the term")]
)
def test_terms_are_checked_before_fitting(term, message):
    problem = asked(linear_data(np.random.default_rng(21), 100))
    for kind in (GFormula, IPW, AIPW, TMLE, GEstimation):
        assert message in kind(terms=[term]).refusal(problem)


def test_weights_need_learners_that_take_them():
    data = linear_data(np.random.default_rng(22), 100)
    problem = asked(data, weights=np.linspace(0.5, 1.5, 100))
    with pytest.raises(DataError, match="takes no sample_weight"):
        GFormula(outcome=KNeighborsRegressor()).solve(problem, seed=0)


def test_features_are_what_the_terms_say():
    data = linear_data(np.random.default_rng(24), 100).assign(G=np.tile(list("abcd"), 25))
    design = AdjustmentDesign.from_problem(asked(data))
    features = Features(design, ("A^3", "A*G", "X*B"))
    # A, B, C, three indicators of G; a cube; three products
    assert features.covariates.shape == (100, 10)
    cube = data["A"] ** 3
    assert features.covariates[:, 6] == pytest.approx((cube - cube.mean()) / cube.std(ddof=0), 1e-4)
    with_one, with_none = features.with_arm(1), features.with_arm(0)
    assert (with_one[:, 10] == 1).all()
    assert (with_none[:, 10:] == 0).all()
    assert with_one[:, 11] == pytest.approx(features.covariates[:, 1])


# Repeated samples: 95 % intervals hold the truth in 93 to 97 % of 500; at exactly 95 % a cell
# fails for 4 % of seeds (the seeds are fixed).

CELLS = [
    *[(estimator, linear_data, 1.0) for estimator in FAST[:4]],
    (GFormula(), binary_data, None),
    (IPW(), binary_data, None),
    (AIPW(LOGISTIC, LOGISTIC), binary_data, None),
    (TMLE(LOGISTIC, LOGISTIC), binary_data, None),
    (GEstimation(), lambda rng: linear_data(rng, slope=0.0), 1.0),
    (GEstimation(), uneven_data, 1.0),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("estimator", "simulate", "truth"),
    CELLS,
    ids=[f"{type(cell[0]).__name__}-{cell[1].__name__.strip('<>')}" for cell in CELLS],
)
def test_intervals_hold_the_truth_as_often_as_they_say(estimator, simulate, truth):
    truth = binary_effect() if truth is None else truth
    covered = 0
    for seed in range(500):
        low, high = estimator.solve(
            asked(simulate(np.random.default_rng([25, seed]))), seed=seed
        ).interval()
        covered += bool(low < truth < high)
    assert 0.93 <= covered / 500 <= 0.97
