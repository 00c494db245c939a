"""Effects that are known: job training against its experiment, infant health, kidney stones.

LaLonde (1986); Dehejia and Wahba (1999), Causal effects in nonexperimental studies; Hill (2011);
Charig et al. (1986).
"""

import warnings

import numpy as np
import pytest

from causalppl.data import Table, load_ihdp, load_kidney_stones, load_lalonde
from causalppl.estimation.doubly_robust import AIPW, TMLE
from causalppl.estimation.estimator import Problem
from causalppl.estimation.outcome_regression import GFormula
from causalppl.estimation.weighting import IPW
from causalppl.exceptions import OverlapWarning
from causalppl.graphs import ADMG
from causalppl.identification import identify

COVARIATES = ("age", "educ", "black", "hisp", "marr", "nodegree", "re74", "re75")
SQUARES = ["age^2", "educ^2", "re74^2", "re75^2"]


def problem(query, controls="cps", adjusted=True):
    data = load_lalonde()
    data = data[data["sample"].isin(["nsw_treated", controls])]
    data = data.assign(treat=(data["sample"] == "nsw_treated") * 1)
    confounding = f"{{{', '.join(COVARIATES)}}} -> {{treat, re78}}; " if adjusted else ""
    graph = ADMG.parse(f"{confounding}treat -> re78")
    return Problem(identify(graph, query), Table.from_any(data))


def test_the_experiment():
    asked = problem("ATE(treat -> re78)", "nsw_control", adjusted=False)
    found = GFormula().solve(asked, seed=0)
    assert round(float(found), 2) == 1794.34
    assert round(float(found.standard_error), 2) == 671.00


def test_covariate_adjustment_in_the_experiment():
    asked = problem("ATE(treat -> re78)", "nsw_control")
    found = GFormula(pooled=True).solve(asked, seed=0)
    assert round(float(found), 2) == 1676.34


def test_linear_adjustment_with_survey_controls_is_least_squares():
    asked = problem("ATE(treat -> re78)")
    data = asked.table.to_pandas().drop(columns="sample").astype(float)
    columns = [np.ones(len(data)), data["treat"], data["age"] ** 2, *(data[c] for c in COVARIATES)]
    exact = np.linalg.lstsq(np.column_stack(columns), data["re78"], rcond=None)[0][1]
    with pytest.warns(OverlapWarning, match=r"treat=1: 9\d\.\d% .*the answer extrapolates"):
        found = GFormula(terms=["age^2"], pooled=True).solve(asked, seed=0)
    assert float(found) == pytest.approx(exact, abs=0.01)
    assert 500 < exact < 1000


@pytest.mark.parametrize("controls", ["cps", "psid"])
def test_the_naive_difference_has_the_wrong_sign(controls):
    asked = problem("ATE(treat -> re78)", controls, adjusted=False)
    naive = {"cps": -8497.52, "psid": -15204.78}[controls]
    assert round(float(GFormula().solve(asked, seed=0)), 2) == naive


@pytest.mark.parametrize(
    "method",
    [
        GFormula(terms=SQUARES),
        IPW(),
        IPW(terms=SQUARES),
        pytest.param(AIPW(), marks=pytest.mark.slow),
        pytest.param(TMLE(), marks=pytest.mark.slow),
    ],
    ids=repr,
)
def test_the_effect_on_the_treated_is_near_the_experiment(method):
    # warnings are errors: the treated have counterparts among the survey's 15,992
    found = method.solve(problem("ETT(treat -> re78)"), seed=0)
    assert 1000 < float(found) < 2500
    low, high = found.interval()
    assert low < 1794.34 < high


def test_an_untrimmed_effect_on_all_warns():
    with pytest.warns(OverlapWarning, match=r"treat=1: 9\d\.\d% .* 185 rows are worth"):
        found = IPW(terms=SQUARES).solve(problem("ATE(treat -> re78)"), seed=0)
    assert float(found) < -5000
    assert found.ess < 50


def test_trimming_mends_it_and_says_so():
    found = IPW(terms=SQUARES, trim=0.05).solve(problem("ATE(treat -> re78)"), seed=0)
    assert "were left out" in found.notes[0]
    assert abs(float(found)) < 2500


@pytest.mark.slow
def test_ihdp_effect_on_the_treated_is_near_four():
    data = load_ihdp()
    covariates = [c for c in data if c != "treat" and not c.startswith(("mu", "y_"))]
    graph = ADMG.parse(f"{{{', '.join(covariates)}}} -> {{treat, Y}}; treat -> Y")
    estimand = identify(graph, "ETT(treat -> Y)")
    for replicate in range(3):
        table = Table.from_any(data.rename(columns={f"y_b{replicate}": "Y"}))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = AIPW().solve(Problem(estimand, table), seed=0)
        assert float(found) == pytest.approx(4, abs=0.5)
        low, high = found.interval(0.999)
        assert low < 4 < high


def test_kidney_stones_from_counts_give_the_published_rates():
    counts = load_kidney_stones()
    graph = ADMG.parse("stone_size -> {treatment, success}; treatment -> success")
    estimand = identify(graph, "P(success=yes | do(treatment))")
    weights = {(None, frozenset()): counts["count"].to_numpy()}
    problem = Problem(estimand, Table.from_any(counts), weights=weights)
    for estimator in (GFormula(), IPW()):
        found = estimator.solve(problem, seed=0)
        assert found.num_rows == 700
        assert float(found.at(treatment="open")) == pytest.approx(0.83255, abs=1e-5)
        assert float(found.at(treatment="pn")) == pytest.approx(0.77888, abs=1e-5)
