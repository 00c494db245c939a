"""Overlap in numbers, and the warning when it is poor."""

import dataclasses
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.linear_model import LinearRegression, LogisticRegression

from causalppl.data import Table
from causalppl.estimation import estimate
from causalppl.estimation.adjustment_design import AdjustmentDesign
from causalppl.estimation.adjustment_question import Mean
from causalppl.estimation.doubly_robust import AIPW, TMLE
from causalppl.estimation.estimator import Problem
from causalppl.estimation.g_estimation import GEstimation
from causalppl.estimation.outcome_regression import GFormula
from causalppl.estimation.overlap import balancing_weights, describe_overlap, effective_size
from causalppl.estimation.weighting import IPW
from causalppl.exceptions import AssumptionError, ConvergenceWarning, DataError, OverlapWarning
from causalppl.graphs import ADMG
from causalppl.identification import identify

LOGISTIC = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10)
METHODS = [IPW(), AIPW(LinearRegression(), LOGISTIC), TMLE(LinearRegression(), LOGISTIC)]


def confounded(strength, num_rows=2000, query="ATE(X -> Y)", seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=num_rows)
    x = (rng.random(num_rows) < expit(strength * z)) * 1
    data = pd.DataFrame({"Z": z, "X": x, "Y": x + z + rng.normal(size=num_rows)})
    return Problem(identify(ADMG.parse("Z -> {X, Y}; X -> Y"), query), Table.from_any(data))


def test_effective_size_of_equal_weights_is_their_number():
    assert effective_size(np.full(7, 3.0)) == pytest.approx(7)
    assert effective_size(np.array([1.0, 0.0, 0.0])) == 1
    assert effective_size(np.array([3.0, 1.0])) == pytest.approx(16 / 10)


def test_weights_are_the_chance_of_the_population_over_that_of_the_arm():
    design = AdjustmentDesign.from_problem(confounded(1, 50))
    chances = np.tile([0.8, 0.2], (50, 1))
    treated = design.arm == 1
    assert balancing_weights(design, chances, Mean(1)) == pytest.approx(5 * treated)
    assert balancing_weights(design, chances, Mean(1, seen=0)) == pytest.approx(4 * treated)
    assert balancing_weights(design, chances, Mean(1, seen=1)) == pytest.approx(1 * treated)


def test_weights_balance_the_covariates():
    problem = confounded(1)
    design = AdjustmentDesign.from_problem(problem)
    z = design.table["Z"].numpy().astype(float)
    chance = expit(z)
    chances = np.stack([1 - chance, chance], 1)
    for seen, goal in ((None, z.mean()), (1, z[design.arm == 1].mean())):
        for arm in (0, 1):
            weights = balancing_weights(design, chances, Mean(arm, seen=seen))
            # errors of weighted means are below .07 here: four of them
            assert np.average(z, weights=weights) == pytest.approx(goal, abs=0.28)


def test_a_description_says_how_bad_it_is():
    design = AdjustmentDesign.from_problem(confounded(0, 100))
    chances = np.full((100, 2), 0.5)
    chances[:3] = [[0.995, 0.005]] * 3
    treated, control = describe_overlap(design, chances)
    assert (treated.arm, control.arm) == (1, 0)
    assert treated.rows == (design.arm == 1).sum()
    assert treated.smallest == 0.005
    assert treated.rare_share == pytest.approx(0.03)
    assert treated.is_poor
    assert not control.is_poor
    assert "X=1: 3.0% of the population have a chance below 0.01" in str(treated)


def test_one_row_with_all_the_weight_is_poor():
    design = AdjustmentDesign.from_problem(confounded(0, 400))
    chances = np.full((400, 2), 0.5)
    first = int(np.flatnonzero(design.arm == 1)[0])
    chances[first, 1] = 0.02
    treated, control = describe_overlap(design, chances)
    assert treated.largest_share > 0.1
    assert treated.is_poor
    assert not control.is_poor


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_poor_overlap_warns_with_a_number_and_good_overlap_does_not(method):
    method.solve(confounded(1), seed=0)
    with pytest.warns(OverlapWarning, match=r"X=[01]: \d+\.\d% of .* are worth [\d,.]+,"):
        method.solve(confounded(5), seed=0)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_every_answer_carries_its_overlap(method):
    found = method.solve(confounded(1), seed=0)
    sizes = found.diagnostics["effective sample size"]
    assert set(sizes) == {0, 1}
    assert found.ess == pytest.approx(4 / sum(1 / size for size in sizes.values()))
    assert found.ess < found.num_rows
    assert all(0 < low < high < 1 for low, high in found.diagnostics["propensity range"].values())
    assert "worth" in found.interpret()


def test_the_treated_stand_for_themselves():
    # all who are treated have counterparts, most of the others have none
    rng = np.random.default_rng(1)
    z = rng.normal(size=4000)
    x = (rng.random(4000) < np.where(z > 1, 0.5, 0.0005)) * 1
    data = pd.DataFrame({"Z": (z > 1) * 1, "X": x, "Y": x + z})
    graph = ADMG.parse("Z -> {X, Y}; X -> Y")
    table = Table.from_any(data)
    IPW().solve(Problem(identify(graph, "ETT(X -> Y)"), table), seed=0)
    with pytest.warns(OverlapWarning):
        IPW().solve(Problem(identify(graph, "ATE(X -> Y)"), table), seed=0)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_trimming_leaves_rows_out_and_says_how_many(method):
    problem = confounded(5)
    found = dataclasses.replace(method, trim=0.1).solve(problem, seed=0)
    assert "of 2,000 rows with a chance of an arm below 0.1 were left out" in found.notes[0]
    assert abs(float(found) - 1) < 4 * found.standard_error
    assert (found.influence == 0).any()
    low, high = found.diagnostics["propensity range"][1]
    assert low > 0.02
    assert high < 0.98


@pytest.mark.parametrize("method", METHODS[1:], ids=lambda method: type(method).__name__)
def test_chances_that_are_raised_are_reported(method):
    with pytest.warns(OverlapWarning):
        found = method.solve(confounded(5), seed=0)
    assert "a chance below 0.01 was raised to it" in found.notes[0]
    assert 0.1 < found.diagnostics["clipped"] < 0.6
    assert not method.solve(confounded(1), seed=0).notes


def test_trimming_everything_is_refused():
    with pytest.raises(AssumptionError, match=r"trim=0.4\d* leaves no row"):
        IPW(trim=0.499).solve(confounded(8, 100), seed=0)


def test_clipping_bounds_the_weights():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        free = IPW(stabilised=False).solve(confounded(5), seed=0)
        clipped = IPW(stabilised=False, clip=0.1).solve(confounded(5), seed=0)
    largest = [
        max(m for _, m in e.diagnostics["mean and largest weight"].values())
        for e in (free, clipped)
    ]
    assert largest[0] > 10
    assert largest[1] == pytest.approx(10)


@pytest.mark.parametrize("estimator", [*METHODS, GEstimation()], ids=lambda m: type(m).__name__)
def test_perfect_separation_is_refused(estimator):
    a = np.linspace(-1, 1, 200)
    data = pd.DataFrame({"A": a, "X": (a > 0) * 1, "Y": a})
    graph = ADMG.parse("A -> {X, Y}; X -> Y")
    plain = dataclasses.replace(estimator, propensity=LOGISTIC)
    with pytest.raises(AssumptionError, match="perfect separation"):
        plain.solve(Problem(identify(graph, "ATE(X -> Y)"), Table.from_any(data)), seed=0)


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (False, r"A tells X in all 2,000 rows \(perfect separation\)"),
        (True, r"A tells X in all but 2 of 2,000 rows, in 9\d\.\d% of them .*nearly perfect"),
    ],
)
def test_separation_is_described_as_good_as_it_is(odd, message):
    rng = np.random.default_rng(0)
    a = np.concatenate([rng.uniform(-20, -5, 1000), rng.uniform(5, 20, 1000)])
    x = (a > 0) * 1
    if odd:
        a[[0, -1]] = 0.1, -0.1
    data = pd.DataFrame({"A": a, "X": x, "Y": a})
    problem = Problem(
        identify(ADMG.parse("A -> {X, Y}; X -> Y"), "ATE(X -> Y)"), Table.from_any(data)
    )
    with pytest.raises(AssumptionError, match=message):
        IPW().solve(problem, seed=0)


# A model of the outcome answers everywhere, so it must say where nobody can contradict it.


def test_an_outcome_model_says_that_it_extrapolates():
    a = np.linspace(-1, 1, 200)
    data = pd.DataFrame({"A": a, "X": (a > 0) * 1, "Y": 3 * a + (a > 0)})
    graph = ADMG.parse("A -> {X, Y}; X -> Y")
    problem = Problem(identify(graph, "ATE(X -> Y)"), Table.from_any(data))
    message = r"A tells X in all 200 rows \(perfect separation\): the answer extrapolates"
    with pytest.warns(OverlapWarning, match=message):
        found = GFormula().solve(problem, seed=0)
    assert float(found) == pytest.approx(1, abs=1e-5)
    assert found.notes[0].startswith("A tells X in all 200 rows")
    assert min(low for low, _ in found.diagnostics["propensity range"].values()) < 1e-4
    assert found.ess is None


def test_an_outcome_model_warns_where_counterparts_are_few():
    with pytest.warns(OverlapWarning, match=r"overlap is poor for X=[01].*answer extrapolates"):
        GFormula().solve(confounded(5), seed=0)
    found = GFormula().solve(confounded(1), seed=0)
    assert found.notes == ()
    assert found.ess == pytest.approx(IPW().solve(confounded(1), seed=0).ess)


def test_an_outcome_model_answers_in_strata_without_an_arm():
    rng = np.random.default_rng(2)
    z, v = rng.normal(size=400), np.repeat([0, 1], 200)
    x = np.where(v == 1, 0, rng.integers(2, size=400))
    data = pd.DataFrame({"Z": z, "V": v, "X": x, "Y": x + z + rng.normal(size=400)})
    graph = ADMG.parse("{Z, V} -> {X, Y}; X -> Y")
    problem = Problem(identify(graph, "CATE(X -> Y | V=1)"), Table.from_any(data))
    with pytest.warns(OverlapWarning, match="no row with X=1 is in the stratum.*extrapolates"):
        found = GFormula(pooled=True).solve(problem, seed=0)
    assert abs(float(found) - 1) < 4 * found.standard_error


def test_a_bootstrap_describes_overlap_once():
    with pytest.warns(OverlapWarning) as log:
        GFormula(bootstrap=20).solve(confounded(5, 300), seed=0)
    assert len(log) == 1


# How it is said.


@pytest.mark.parametrize("method", [GFormula(), *METHODS], ids=lambda m: type(m).__name__)
def test_warnings_point_to_the_line_of_the_user(method):
    with pytest.warns(OverlapWarning) as log:
        method.solve(confounded(5), seed=0)
    assert {entry.filename for entry in log} == {__file__}
    with pytest.warns(OverlapWarning) as log:
        estimate(confounded(5).estimand, confounded(5).table, method=method, seed=0)
    assert {entry.filename for entry in log} == {__file__}


@pytest.mark.parametrize("method", [GFormula(), *METHODS], ids=lambda m: type(m).__name__)
def test_the_effect_on_the_treated_is_not_advised_to_those_who_ask_for_it(method):
    for query, is_advised in (("ATE(X -> Y)", True), ("ETT(X -> Y)", False)):
        with pytest.warns(OverlapWarning) as log:
            method.solve(confounded(5, query=query), seed=0)
        assert ("ETT" in str(log[0].message)) == is_advised


def test_a_learner_that_has_not_converged_warns():
    problem = confounded(1, 300)
    hasty = LogisticRegression(C=np.inf, max_iter=1)
    with pytest.warns(ConvergenceWarning, match="the model of X has not converged") as log:
        IPW(propensity=hasty).solve(problem, seed=0)
    assert log[0].filename == __file__


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (AIPW, {"folds": 0}, "folds is 0"),
        (IPW, {"trim": 0.7}, "trim is 0.7"),
        (TMLE, {"clip": -1}, "clip is -1"),
        (GFormula, {"terms": "age^2"}, "expected a list"),
        (GFormula, {"bootstrap": -3}, "bootstrap is -3"),
        (GFormula, {"bootstrap": 1}, "bootstrap is 1; expected a whole number from 20"),
        (IPW, {"bootstrap": True}, "bootstrap is True"),
        (IPW, {"bootstrap": False}, "bootstrap is False"),
        (AIPW, {"folds": True}, "folds is True"),
        (AIPW, {"folds": 2.5}, "folds is 2.5"),
        (AIPW, {"pooled": "yes"}, "pooled is 'yes'"),
        (GFormula, {"pooled": 1}, "pooled is 1"),
        (IPW, {"normalised": None}, "normalised is None"),
        (IPW, {"censoring": 0.5}, "censoring is 0.5"),
        (IPW, {"trim": False}, "trim is False"),
        (IPW, {"clip": float("nan")}, "clip is nan"),
        (IPW, {"covariates": [1]}, "covariates holds 1"),
        (IPW, {"terms": None}, "terms is None"),
        (GEstimation, {"censoring": 1}, "censoring is 1"),
        (GFormula, {"outcome": "linear"}, "expected an estimator of scikit-learn"),
        (IPW, {"propensity": LinearRegression()}, "gives no probabilities"),
        (GEstimation, {"propensity": LogisticRegression}, "expected an estimator"),
    ],
)
def test_settings_are_checked_at_construction(kind, settings, message):
    with pytest.raises(DataError, match=message):
        kind(**settings)


@pytest.mark.parametrize("method", [GEstimation(), GFormula()], ids=lambda method: method.name)
def test_weights_that_leave_two_rows_are_told_and_widen_the_interval(method):
    rng = np.random.default_rng(1)
    z = rng.normal(size=500)
    x = (rng.random(500) < 1 / (1 + np.exp(-z))) * 1
    data = {"Z": z, "X": x, "Y": 2 * x + z + rng.normal(size=500)}
    weights = np.random.default_rng(0).random(500) + 0.1
    question = identify(ADMG.parse("Z -> X -> Y; Z -> Y"), "ATE(X -> Y)")
    plain = estimate(question, data, method=method, weights=weights, seed=0)
    weights[0] = 1e3
    with pytest.warns(OverlapWarning, match=r"500 rows worth 1\.7"):
        found = estimate(question, data, method=method, weights=weights, seed=0)
    low, high = found.interval()
    assert low < 2 < high
    assert high - low > 2 * np.subtract(*plain.interval()[::-1])
    assert "a few rows decide" in found.interpret()
