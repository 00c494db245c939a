"""Data that used to give a wrong number without a word."""

import numpy as np
import pytest

import causalppl as cp
from causalppl.data import load_kidney_stones
from causalppl.estimation import AIPW, IPW, GFormula
from causalppl.exceptions import AssumptionError, DataError
from causalppl.graphs import back_door

ESTIMAND = cp.identify(back_door(), "ATE(X -> Y)")


def linear(rows: int = 2_000, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=rows)
    x = (rng.random(rows) < 1 / (1 + np.exp(-z))).astype(float)
    return {"Z": z, "X": x, "Y": 2 * x + z + rng.normal(size=rows)}


@pytest.mark.parametrize("offset", [1e6, 1e9])
def test_digits_far_behind_a_large_offset_count(offset: float) -> None:
    data = linear()
    plain = cp.estimate(ESTIMAND, data, method=GFormula(), seed=0)
    for name in ("Y", "Z"):
        moved = {**data, name: data[name] + offset}
        found = cp.estimate(ESTIMAND, moved, method=GFormula(), seed=0)
        assert float(found) == pytest.approx(float(plain), abs=1e-4)
        assert float(found.standard_error) == pytest.approx(float(plain.standard_error), rel=1e-3)


def test_an_arm_of_two_rows_is_no_basis_for_an_answer() -> None:
    data = linear()
    x = np.zeros(len(data["X"]))
    x[np.argsort(-data["Z"])[:2]] = 1
    thin = {**data, "X": x}
    with pytest.raises(AssumptionError):
        cp.estimate(ESTIMAND, thin, seed=0)
    with pytest.raises((DataError, AssumptionError), match="rows"):
        cp.estimate(ESTIMAND, thin, method=GFormula(), seed=0)


def test_too_many_counts_are_refused_and_do_not_change_their_meaning() -> None:
    data = linear(200)
    few = cp.estimate(ESTIMAND, data, weights=np.full(200, 3.0), method=GFormula(), seed=0)
    once = cp.estimate(ESTIMAND, data, method=GFormula(), seed=0)
    assert float(few.standard_error) == pytest.approx(float(once.standard_error) / 3**0.5, rel=0.02)
    with pytest.raises((DataError, AssumptionError), match="counts of"):
        cp.estimate(ESTIMAND, data, weights=np.full(200, 1e6), method=GFormula(), seed=0)


def test_default_learners_take_sampling_weights() -> None:
    data = linear(600)
    weights = np.random.default_rng(1).random(600) + 0.5
    for method in (AIPW(), IPW(), GFormula()):
        found = cp.estimate(ESTIMAND, data, weights=weights, method=method, seed=0)
        assert float(found) == pytest.approx(2, abs=0.4)


def test_counts_can_be_refuted_like_rows() -> None:
    stones = load_kidney_stones().rename(columns={"stone_size": "size"})
    stones["success"] = (stones["success"] == "yes").astype(int)
    stones["treatment"] = (stones["treatment"] == "open").astype(int)
    graph = cp.ADMG.parse("size -> treatment -> success; size -> success")
    estimand = cp.identify(graph, "ATE(treatment -> success)")
    answer = cp.estimate(estimand, stones, weights="count", seed=0)
    report = cp.refute(answer, repeats=5, seed=0)
    assert {r.verdict for r in report.results} <= {"passed", "skipped", "for information"}
    weighted = cp.estimate(ESTIMAND, linear(300), weights=np.full(300, 0.5), method=IPW(), seed=0)
    verdicts = {result.verdict for result in cp.refute(weighted, repeats=5, seed=0).results}
    assert verdicts <= {"passed", "skipped", "for information"}


def test_an_estimate_knows_its_data_and_can_be_refuted_at_once() -> None:
    answer = cp.estimate(ESTIMAND, linear(300), method=GFormula(), seed=0)
    assert answer.estimator == GFormula()
    assert cp.refute(answer, repeats=5, seed=0).passed


def test_covariates_beside_the_formula_are_read_from_the_data() -> None:
    graph = cp.ADMG.parse("Z -> X -> Y; Z -> Y; W -> Y")
    data = {**linear(500), "W": np.random.default_rng(2).normal(size=500)}
    estimand = cp.identify(graph, "ATE(X -> Y)")
    found = cp.estimate(estimand, data, method=GFormula(covariates=["Z", "W"]), seed=0)
    assert float(found) == pytest.approx(2, abs=0.4)


def test_levels_of_an_outcome_may_be_decimals() -> None:
    data = linear(500)
    levels = {**data, "Y": np.where(data["Y"] > 1, 0.3, 0.1)}
    codes = {**data, "Y": np.where(data["Y"] > 1, 1, 0)}
    for method in (GFormula(), AIPW()):
        found = [
            cp.estimate(cp.identify(back_door(), f"P(Y={y} | do(X=1))"), d, method=method, seed=0)
            for y, d in ((0.3, levels), (1, codes))
        ]
        assert float(found[0]) == pytest.approx(float(found[1]))


def test_what_the_tests_of_a_diagram_take_for_granted_is_said() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=500)
    data = {"Z": z, "X": z + rng.normal(size=500), "Y": z + rng.normal(size=500)}
    assert "linear" in cp.falsify(cp.ADMG.parse("Z -> X; Z -> Y"), data).interpret()


def test_weights_of_data_that_are_not_there_are_refused() -> None:
    with pytest.raises(DataError, match="weights are given for"):
        cp.estimate(ESTIMAND, linear(100), weights={("trial", ()): np.ones(100)}, seed=0)
