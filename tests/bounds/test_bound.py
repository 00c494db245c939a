"""The front door: the sharpest method that applies, the same treatment of data as `estimate`."""

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest

from causalppl.bounds.bound import bound
from causalppl.bounds.manski import NoAssumptions
from causalppl.bounds.marginal_sensitivity import msm_mean
from causalppl.bounds.monotone import MonotoneResponse
from causalppl.bounds.natural import NaturalBounds
from causalppl.data import counts
from causalppl.estimation import estimate
from causalppl.exceptions import AssumptionError, DataError, GraphError, QueryError
from causalppl.graphs import ADMG
from causalppl.identification import identify
from causalppl.programs import SCM
from causalppl.programs.finite import random_finite_model

approx = pytest.approx
BOW = ADMG.parse("X -> Y; X <-> Y")
IV = ADMG.parse("Z -> X -> Y; X <-> Y")
BACK = ADMG.parse("Z -> X -> Y; Z -> Y")


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    z, u = rng.integers(0, 2, 400), rng.random(400)
    x = (u + 0.3 * z > 0.6).astype(int)
    y = (u + 0.2 * x + rng.random(400) > 1).astype(int)
    return pd.DataFrame({"Z": z, "X": x, "Y": y, "pay": 2.5 * y + rng.random(400)})


def test_what_is_identified_is_a_point_with_the_interval_of_its_estimate(rows):
    found = bound(BACK, "ATE(X -> Y)", rows, seed=0)
    point = estimate(identify(BACK, "ATE(X -> Y)"), rows, seed=0)
    assert found.lower == found.upper == approx(float(point))
    assert np.array(found.interval()) == approx(np.array(point.interval()))
    assert found.is_sharp
    assert found.method.startswith("identification and Dirichlet")


@pytest.mark.parametrize("text", ["X -> Y; X <-> Y", "Z -> X -> Y; X <-> Y", "Z -> X -> Y; Z -> Y"])
def test_an_exact_program_needs_no_data(text):
    graph = ADMG.parse(text)
    model = random_finite_model(graph, seed=1)
    for query in ("ATE(X -> Y)", "P(Y=1 | do(X=0))", "ETT(X -> Y)"):
        found = bound(model.scm(), query)
        truth = model.probability(query)
        assert found.lower - 1e-9 <= truth <= found.upper + 1e-9
        assert found.is_sharp
        assert found.num_rows == 0
        assert found.interval() == (found.lower, found.upper)
        if "<->" not in text:
            assert found.width == approx(0, abs=1e-9)


def test_it_is_never_wider_than_a_method_named(rows):
    for graph, query in ((IV, "ATE(X -> Y)"), (BOW, "PNS(X -> Y)"), (IV, "P(Y=1 | do(X=1))")):
        model = random_finite_model(graph, seed=2)
        sharp = bound(model.scm(), query)
        for method in (NoAssumptions(), NaturalBounds()):
            if graph == BOW and isinstance(method, NaturalBounds):
                continue
            wide = bound(model.scm(), query, method=method)
            assert wide.lower - 1e-9 <= sharp.lower
            assert sharp.upper <= wide.upper + 1e-9


def test_continuous_outcomes_need_a_range_and_then_use_instruments(rows):
    data = rows[["Z", "X"]].assign(Y=rows["pay"])
    with pytest.raises(DataError, match="declare outcome_range"):
        bound(IV, "ATE(X -> Y)", data)
    found = bound(IV, "ATE(X -> Y)", data, outcome_range=(0, 4), seed=0)
    assert found.method == "natural bounds"
    assert "measurement" in found.interpret()
    manski = bound(BOW, "ATE(X -> Y)", data, outcome_range=(0, 4), seed=0)
    assert manski.method == "no assumptions"
    assert manski.width == approx(4)
    seen = bound(BOW, "ATE(X -> Y)", data, outcome_range="states", seed=0)
    assert seen.width == approx(np.ptp(data["Y"]))
    with pytest.raises(DataError, match="outside the outcome_range"):
        bound(IV, "ATE(X -> Y)", data, outcome_range=(0, 1))


def test_several_values_need_a_range_too(rows):
    data = rows.assign(Y=rows["X"] + rows["Y"])
    with pytest.raises(DataError, match="declare outcome_range"):
        bound(BOW, "ATE(X -> Y)", data)
    assert (
        bound(BOW, "ATE(X -> Y)", data, outcome_range=(0, 2), seed=0).method == "response functions"
    )
    assert bound(BOW, "ATE(X -> Y)", data, outcome_range=(0, 5), seed=0).method == "no assumptions"
    assert bound(BOW, "P(Y=2 | do(X=1))", data, seed=0).width < 1


def test_counts_files_and_weights_say_the_same_as_rows(rows, tmp_path):
    plain = bound(BOW, "ATE(X -> Y)", rows, method=NoAssumptions(), seed=0)
    table = rows.groupby(["X", "Y"]).size().rename("n").reset_index()
    rows.to_parquet(tmp_path / "rows.parquet")
    for data, settings in (
        (table, {"weights": "n"}),
        (counts(rows, ["X", "Y"]), {}),
        (tmp_path / "rows.parquet", {}),
        (rows.to_dict("list"), {}),
    ):
        found = bound(BOW, "ATE(X -> Y)", data, method=NoAssumptions(), seed=0, **settings)
        assert (found.lower, found.upper) == (
            approx(float(plain.lower)),
            approx(float(plain.upper)),
        )
        assert np.array(found.interval()) == approx(np.array(plain.interval()), abs=1e-9)
        assert found.num_rows == (4 if settings else 400)


def test_sampling_weights_have_their_effective_sample_size(rows):
    heavy = np.where(np.arange(400) < 20, 50.0, 1.0)
    as_sample = bound(
        BOW,
        "ATE(X -> Y)",
        rows,
        method=NoAssumptions(),
        weights=heavy,
        sampling_weights=True,
        seed=0,
    )
    as_counts = bound(BOW, "ATE(X -> Y)", rows, method=NoAssumptions(), weights=heavy, seed=0)
    assert as_sample.lower == approx(float(as_counts.lower))
    low, high = as_sample.interval()
    narrow = as_counts.interval()
    assert low < narrow[0] < narrow[1] < high


def test_missing_values_are_left_out_and_told(rows):
    gaps = rows.assign(Y=rows["Y"].where(np.arange(400) >= 10))
    found = bound(BOW, "ATE(X -> Y)", gaps, seed=0)
    assert found.num_rows == 390
    assert "10 rows with missing values were left out" in found.interpret()
    assert "taken to lie between 0 and 1" in found.interpret()


def test_what_is_not_a_column_is_unobserved(rows):
    # without Z the back-door diagram is a bow
    found = bound(BACK, "ATE(X -> Y)", rows[["X", "Y"]], seed=0)
    assert found.width == approx(1)


def test_an_experiment_identifies(rows):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, 500)
    trial = {"X": x, "Y": (rng.random(500) < 0.3 + 0.2 * x).astype(int)}
    found = bound(BOW, "ATE(X -> Y)", sources={(None, ("X",)): trial}, seed=0)
    assert found.width == 0
    assert found.lower == approx(trial["Y"][x == 1].mean() - trial["Y"][x == 0].mean(), abs=0.02)


def test_a_treatment_that_is_constant_is_bounded(rows):
    data = rows[rows["X"] == 1].assign(X=lambda d: pd.Categorical(d["X"].map({1: "b"}), ["a", "b"]))
    found = bound(BACK, "P(Y=1 | do(X=a))", data, seed=0)
    assert (float(found.lower), float(found.upper)) == approx((0, 1))


def test_answers_repeat_with_the_seed(rows):
    first, second = (bound(IV, "ATE(X -> Y)", rows, seed=3) for _ in range(2))
    assert np.array_equal(first.draws, second.draws)
    assert first.diagnostics["seed"] == 3


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"graph_or_scm": 5}, GraphError, "expected an ADMG, such as ADMG"),
        ({"query": "ATE(W -> Y)"}, QueryError, "not in the diagram"),
        ({"query": 3}, QueryError, "expected text"),
        ({"query": "P(Y=7 | do(X=1))"}, DataError, "Y=7 never occurs"),
        ({"data": None}, DataError, "no data"),
        ({"data": {"X": [0, 1]}}, DataError, "no source has the column 'Y'"),
        ({"data": 5}, DataError, "expected a table"),
        ({"method": "manski"}, DataError, "expected one such as"),
        ({"method": NaturalBounds()}, AssumptionError, "natural bounds cannot answer"),
        ({"method": MonotoneResponse(levels=["a", "b"])}, AssumptionError, "none of the levels"),
        ({"outcome_range": (1, 0)}, DataError, "outcome_range is"),
        ({"outcome_range": "wide"}, DataError, "or 'states'"),
        ({"query": "PNS(X -> Y)", "outcome_range": (5, 9)}, DataError, "asks for probabilities"),
        ({"query": "P(Y=1 | do(X=1))", "outcome_range": "states"}, DataError, "leave it out"),
        ({"sampling_weights": True}, DataError, "without weights"),
        ({"weights": {("far", ()): "n"}}, DataError, "which has no data"),
        ({"sources": {("far", ()): {"X": [1]}}}, DataError, "one population"),
        ({"num_draws": 0}, DataError, "num_draws"),
        ({"seed": -1}, DataError, "seed"),
    ],
)
def test_input_that_cannot_be_used_is_refused(rows, change, error, match):
    given = {"graph_or_scm": BOW, "query": "ATE(X -> Y)", "data": rows} | change
    with pytest.raises(error, match=match):
        bound(**given)


def test_a_program_that_is_not_finite_needs_data(rows):
    def program():
        u = pyro.sample("U", dist.Normal(0.0, 1.0))
        x = pyro.sample("X", dist.Bernoulli(logits=u))
        pyro.sample("Y", dist.Bernoulli(logits=u + x))

    scm = SCM(program, observed=["X", "Y"])
    found = bound(scm, "ATE(X -> Y)", rows, seed=0)
    assert found.width == approx(1)


def test_rows_that_tell_no_sampling_error_are_not_asked_for_draws_alone():
    found = msm_mean([0.0] * 4, [0.5] * 4, 1.5)
    with pytest.raises(DataError, match=r"of its 4 rows \(.*all alike.*give more rows"):
        found.interval()
