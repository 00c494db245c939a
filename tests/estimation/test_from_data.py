"""What `estimate` reads, leaves out, refuses and says."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

import causalppl.estimation.from_data as from_data
from causalppl import ADMG, bound, identify
from causalppl.data import Table
from causalppl.estimation.dirichlet import Dirichlet
from causalppl.estimation.doubly_robust import AIPW
from causalppl.estimation.estimate import Estimate
from causalppl.estimation.estimator import Estimator, Problem
from causalppl.estimation.from_data import estimate
from causalppl.exceptions import AssumptionError, DataError
from causalppl.graphs import back_door
from causalppl.identification import Domain

FEW = Dirichlet(num_draws=200)
QUERY = "P(Y=1 | do(X=1))"


def data(rows: int = 400) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    z = rng.integers(2, size=rows)
    x = (rng.random(rows) < 0.3 + 0.4 * z).astype(int)
    y = (rng.random(rows) < 0.2 + 0.3 * z + 0.3 * x).astype(int)
    return {"Z": z, "X": x, "Y": y}


def answer(table: Any, query: str = QUERY, **options: Any) -> Estimate:
    return estimate(identify(back_door(), query), table, **{"method": FEW, "seed": 0, **options})


def adjusted(table: dict[str, Any]) -> float:
    frame = pd.DataFrame(table)
    treated = frame[frame["X"] == 1].groupby("Z")["Y"].mean()
    return float((treated * frame["Z"].value_counts(normalize=True)).sum())


@pytest.mark.parametrize(
    "form",
    [
        pd.DataFrame,
        pl.DataFrame,
        Table.from_any,
        lambda columns: pl.DataFrame(columns).to_arrow(),
        lambda columns: {name: torch.tensor(values) for name, values in columns.items()},
        lambda columns: {name: values.astype(bool) for name, values in columns.items()},
        lambda columns: {name: values.astype(np.float32) for name, values in columns.items()},
    ],
    ids=["pandas", "polars", "table", "arrow", "tensors", "booleans", "floats"],
)
def test_any_kind_of_table_gives_the_same_answer(form: Any) -> None:
    found = answer(form(data()))
    assert found.diagnostics["plug_in"] == pytest.approx(adjusted(data()), abs=1e-7)
    np.testing.assert_array_equal(found.draws, answer(data()).draws)


def test_only_the_columns_of_the_formula_are_read() -> None:
    others = {"when": pd.date_range("2020", periods=400), "mixed": [1, "a"] * 200}
    found = answer({**others, **data(), "gaps": [None] * 400})
    assert found.num_rows == 400
    assert found.num_dropped == 0


def test_incomplete_rows_are_left_out_and_counted() -> None:
    columns = {name: values.astype(float) for name, values in data().items()}
    columns["Z"][:3] = np.nan
    columns["Y"][2:10] = np.nan
    found = answer(columns)
    assert (found.num_rows, found.num_dropped) == (390, 10)
    assert found.notes == ("10 rows with missing values were left out",)
    assert "10 incomplete ones left out" in found.interpret()
    assert "were left out" not in found.interpret()
    complete = answer({name: values[10:] for name, values in data().items()})
    np.testing.assert_array_equal(found.draws, complete.draws)


def test_counts_are_as_good_as_rows() -> None:
    counted = pd.DataFrame(data()).value_counts().rename("n").reset_index()
    for weights in ("n", counted["n"], counted["n"].tolist(), {(None, ()): "n"}):
        found = answer(counted, weights=weights)
        np.testing.assert_allclose(found.draws, answer(data()).draws)
        assert found.ess == 400
        assert found.num_rows == 8


def test_sampling_weights_count_as_their_effective_sample_size() -> None:
    weights = np.where(np.arange(400) % 2, 0.5, 1.5)
    found = answer(data(), weights=weights)
    assert found.ess == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    scaled = answer(data(), weights=100.25 * weights)
    np.testing.assert_allclose(found.draws, scaled.draws)
    assert found.standard_error > answer(data()).standard_error


def test_rows_without_weight_are_not_there() -> None:
    columns = {name: np.append(values, 7) for name, values in data().items()}
    found = answer(columns, weights=[1] * 400 + [0])
    np.testing.assert_array_equal(found.draws, answer(data()).draws)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("n", "no column 'n'"),
        ([1, 2], r"shape \(2,\); expected \(400,\)"),
        ([-1.0] * 400, "negative"),
        ([float("nan")] * 400, "missing"),
        ([0] * 400, "all weights are zero"),
        (object(), "name of a column"),
    ],
)
def test_wrong_weights_are_named(weights: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        answer(data(), weights=weights)


def test_weights_are_matched_by_their_labels() -> None:
    numbers = np.arange(400) % 3 + 0.5
    frame = pd.DataFrame(data(), index=[f"unit {i}" for i in range(400)])
    truth = answer(frame, weights=numbers)
    labelled = pd.Series(numbers, index=frame.index)
    for weights in (labelled, labelled[::-1], labelled.sample(frac=1, random_state=0)):
        np.testing.assert_array_equal(answer(frame, weights=weights).draws, truth.draws)
        series = {name: frame[name] for name in frame}
        np.testing.assert_array_equal(answer(series, weights=weights).draws, truth.draws)
    repeated = frame.set_axis([0] * 400)
    same = answer(repeated, weights=labelled.set_axis([0] * 400))
    np.testing.assert_array_equal(same.draws, truth.draws)
    np.testing.assert_array_equal(answer(data(), weights=labelled).draws, truth.draws)


@pytest.mark.parametrize(
    "labels", [range(400), range(1, 401), [0] * 400], ids=["other", "shifted", "repeated"]
)
def test_weights_with_other_labels_are_refused(labels: Any) -> None:
    frame = pd.DataFrame(data(), index=[f"unit {i}" for i in range(400)])
    with pytest.raises(DataError, match=r"labelled .*'unit 0', .*weights.to_numpy\(\)"):
        answer(frame, weights=pd.Series(1.0, index=labels))
    kept = frame[frame["Z"] == 1]
    with pytest.raises(DataError, match=r"labelled .*\(400\) and the rows"):
        answer(kept, weights=pd.Series(1.0, index=frame.index))


def test_whole_sampling_weights_are_no_counts_if_asked() -> None:
    weights = np.where(np.arange(400) % 2, 1_000, 3_000)
    found = answer(data(), weights=weights, sampling_weights=True)
    assert found.ess == pytest.approx(400 * 0.8)
    fractions = answer(data(), weights=weights / 1_234.5)
    np.testing.assert_allclose(found.draws, fractions.draws)
    assert answer(data(), weights=weights).ess == 800_000
    with pytest.raises(DataError, match="sampling_weights is set without weights"):
        answer(data(), sampling_weights=True)


def test_a_wrong_column_is_named() -> None:
    columns = data()
    columns["Yy"] = columns.pop("Y")
    with pytest.raises(DataError, match=r"no column 'Y'.*did you mean 'Yy'"):
        answer(columns)


def test_what_cannot_be_used_is_named() -> None:
    columns = data()
    with pytest.raises(DataError, match="have no rows"):
        answer({name: values[:0] for name, values in columns.items()})
    with pytest.raises(DataError, match="all 400 rows have a missing value"):
        answer({**columns, "Z": [None] * 400})
    with pytest.raises(DataError, match="'Y': it is infinite in 1 rows"):
        answer({**columns, "Y": [np.inf] + [0.0] * 399})
    with pytest.raises(DataError, match="X is 1 in every row"):
        answer({**columns, "X": [1] * 400})
    with pytest.raises(DataError, match=r"X=2 never occurs in the data; it has \(0, 1\)"):
        answer(columns, "P(Y=1 | do(X=2))")
    with pytest.raises(DataError, match="the estimand is 'Y'"):
        estimate("Y", columns)
    with pytest.raises(DataError, match="method is 'dml'"):
        answer(columns, method="dml")


def test_gaps_that_leave_a_constant_are_named() -> None:
    columns = {name: values.astype(float) for name, values in data().items()}
    treated = columns["X"] == 1
    columns["Z"][treated] = np.nan
    for weights in (None, np.ones(400)):
        with pytest.raises(
            DataError,
            match=f"X is 0 in every row that is left after {treated.sum()} of 400 rows with "
            "missing Z were removed",
        ):
            answer(columns, weights=weights)
    columns = {name: values.astype(float) for name, values in data().items()}
    columns["Z"][columns["Y"] == 1] = np.nan
    columns["X"][0] = np.nan
    with pytest.raises(
        DataError,
        match=r"Y=1 never occurs in the rows .* missing Z or X were removed; it has \(0,\)",
    ):
        answer(columns)
    with pytest.raises(
        DataError, match=f"X is 0 in every row .* {treated.sum()} of 400 rows with weight 0 were"
    ):
        answer(data(), weights=~treated)


def test_categories_are_values_of_the_query() -> None:
    columns = data()
    columns["X"] = np.where(columns["X"] == 1, "yes", "no")
    found = answer(columns, "P(Y=1 | do(X=yes))")
    assert found.diagnostics["plug_in"] == pytest.approx(adjusted(data()), abs=1e-7)
    with pytest.raises(DataError, match="X=1 never occurs"):
        answer(columns)
    columns = data()
    columns["Y"] = np.where(columns["Y"] == 1, "well", "ill")
    with pytest.raises(DataError, match=r"an expectation of Y, whose values are \('ill', 'well'\)"):
        answer(columns, "ATE(X -> Y)")


def test_categories_that_never_occur_are_no_values() -> None:
    columns = data()
    kinds = pd.Categorical(np.where(columns["X"] == 1, "b", "a"), categories=["c", "b", "a"])
    found = answer({**columns, "X": kinds}, "P(Y | do(X))")
    assert found.axes == {"Y": (0, 1), "X": ("b", "a")}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_fractions_are_values_of_the_query(dtype: Any) -> None:
    columns = data()
    columns["X"] = np.where(columns["X"] == 1, 0.1, 0.7).astype(dtype)
    found = answer(columns, "P(Y=1 | do(X=0.1))")
    assert found.diagnostics["plug_in"] == pytest.approx(adjusted(data()), abs=1e-7)


def test_measurements_are_refused_by_name() -> None:
    columns = data()
    columns["Y"] = np.random.default_rng(0).normal(size=400)
    with pytest.raises(AssumptionError, match="Dirichlet cannot answer: Y has more than 20 values"):
        answer(columns, "ATE(X -> Y)")
    columns["Y"] = np.ones((400, 2))
    with pytest.raises(AssumptionError, match="Y holds several numbers per row"):
        answer(columns, "ATE(X -> Y)")


def test_negative_levels_have_right_expectations() -> None:
    columns = data()
    shifted = {**columns, "Y": columns["Y"] * 4 - 3}
    found, plain = answer(shifted, "E[Y | do(X=1)]"), answer(columns, "E[Y | do(X=1)]")
    np.testing.assert_allclose(found.draws, 4 * np.asarray(plain.draws) - 3)


def test_a_seed_repeats_and_is_kept() -> None:
    first = answer(data(), seed=None)
    again = answer(data(), seed=first.diagnostics["seed"])
    np.testing.assert_array_equal(first.draws, again.draws)
    assert first.draws is not None
    assert not np.array_equal(first.draws, answer(data(), seed=1).draws)


@pytest.mark.parametrize("seed", ["a", 1.5, -1, True, float("nan"), np.True_], ids=repr)
def test_what_is_no_seed_is_named(seed: Any) -> None:
    with pytest.raises(DataError, match=f"seed is {seed!r}; expected a non-negative integer"):
        answer(data(), seed=seed)


def test_numpy_integers_are_seeds() -> None:
    found = answer(data(), seed=np.uint8(7))
    np.testing.assert_array_equal(found.draws, answer(data(), seed=7).draws)
    assert type(found.diagnostics["seed"]) is int


def test_global_randomness_is_left_alone() -> None:
    np.random.seed(0)
    torch.manual_seed(0)
    expected = np.random.default_rng(0).random(), np.random.random(), float(torch.rand(()))
    np.random.seed(0)
    torch.manual_seed(0)
    answer(data(), seed=None)
    assert (np.random.random(), float(torch.rand(()))) == expected[1:]


# Several sources.


def test_an_experiment_answers_without_observation() -> None:
    graph = ADMG.parse("X -> Y; X <-> Y")
    estimand = identify(graph, QUERY, experiments=[{"X"}], observational=False)
    trial = {"X": [0, 1] * 100, "Y": [0, 1, 0, 0] * 50}
    found = estimate(estimand, None, sources={(None, ("X",)): trial}, method=FEW, seed=0)
    assert found.diagnostics["plug_in"] == pytest.approx(0.5, abs=1e-6)
    with pytest.raises(
        DataError, match=r"needs data of do\(X\).*sources=\{\(None, \('X',\)\): table\}"
    ):
        estimate(estimand, trial)
    with pytest.raises(DataError, match="a source is called 'trial'"):
        estimate(estimand, None, sources={"trial": trial})


def test_values_of_all_sources_count() -> None:
    """The trial has a third age group, of which its own part of the formula knows nothing."""
    domain = Domain("trial", ["age"], [["X"]], observational=False)
    estimand = identify(ADMG.parse("age -> {X, Y}; X -> Y; X <-> Y"), QUERY, domains=[domain])
    trial = {"age": [0, 1, 2] * 80, "X": [0, 1] * 120, "Y": ([0] * 3 + [1] * 3) * 40}
    ages = {"age": [0, 0, 1, 1], "X": [0] * 4, "Y": [0] * 4}
    found = estimate(
        estimand,
        ages,
        sources={("trial", "X"): trial},
        weights={(None, ()): [50] * 4},
        method=FEW,
        seed=0,
    )
    frame = pd.DataFrame(trial)
    treated = frame[frame["X"] == 1].groupby("age")["Y"].mean()
    assert found.diagnostics["plug_in"] == pytest.approx(treated[:2].mean(), abs=1e-6)
    assert found.num_rows == 244
    assert found.ess == 440


@pytest.mark.parametrize("what", ["sources", "weights"])
def test_keys_that_the_formula_does_not_use_are_named(what: str) -> None:
    given = {("trail", ("X",)): data() if what == "sources" else [1] * 400}
    with pytest.raises(
        DataError,
        match=r"do\(X\) in trail \('trail', \('X',\)\), which the formula does not use; "
        r"it uses observation \(None, \(\)\)",
    ):
        answer(data(), **{what: given})


def test_weights_of_data_that_the_formula_does_not_use_are_refused() -> None:
    graph = ADMG.parse("X -> Y; X <-> Y")
    estimand = identify(graph, QUERY, experiments=[{"X"}], observational=False)
    sources = {(None, ("X",)): data()}
    assert estimate(estimand, data(), sources=sources, method=FEW, seed=0).num_rows == 400
    with pytest.raises(DataError, match=r"given for observation .* it uses do\(X\)"):
        estimate(estimand, data(), sources=sources, weights=[2] * 400)
    with pytest.raises(DataError, match=r"do\(X\) is given twice"):
        estimate(estimand, None, sources={**sources, (None, "X"): data()})


def test_observation_that_is_needed_is_asked_for() -> None:
    with pytest.raises(DataError, match=r"needs data of observation.*pass them as data"):
        answer(None)


def test_what_the_diagram_excludes_is_zero() -> None:
    estimand = identify(ADMG.parse("X -> Y"), "P(X=1, X_{Y=0}=0)")
    assert estimand.is_zero
    found = estimate(estimand, {"X": [0, 1], "Y": [0, 1]}, method=FEW, seed=0)
    assert float(found) == 0
    assert found.interval() == (0, 0)


# The choice of an estimator.


@dataclass(frozen=True)
class Refusing(Estimator):
    name = "Refusing"

    def refusal(self, problem: Problem) -> str | None:
        return "it never does"

    def solve(self, problem: Problem, *, seed: int, progress: bool = False) -> Estimate:
        raise AssertionError


def test_the_first_default_that_can_answer_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(from_data, "DEFAULTS", (Refusing(), FEW))
    found = answer(data(), method=None)
    np.testing.assert_array_equal(found.draws, answer(data()).draws)
    monkeypatch.setattr(from_data, "DEFAULTS", (Refusing(),))
    monkeypatch.setattr(from_data, "LAST", Refusing())
    advice = r"it never does; use method=GFormula\(\), which can"
    for method in (None, Refusing()):
        with pytest.raises(AssumptionError, match=advice):
            answer(data(), method=method)
    monkeypatch.setattr(from_data, "FOR_DOSES", ())
    with pytest.raises(AssumptionError, match=r"no estimator can answer\. Refusing: it never does"):
        answer(data(), method=None)
    with pytest.raises(AssumptionError, match=r"Refusing cannot answer: it never does$"):
        answer(data(), method=Refusing())


def test_other_formulas_of_numbers_have_a_default() -> None:
    """The direct effect is 2; no other estimator of numbers can answer."""
    rng = np.random.default_rng(1)
    c, e, f = rng.normal(size=(3, 400))
    x = (rng.random(400) < 1 / (1 + np.exp(-c))) * 1
    m = 1.5 * x + c + e
    table = {"C": c, "X": x, "M": m, "Y": m + 2 * x + c + f}
    asked = identify(ADMG.parse("C -> {X, M, Y}; X -> {M, Y}; M -> Y"), "NDE(X: 1 vs 0 -> Y)")
    found = estimate(asked, table, seed=0)
    assert "nested regressions" in found.method
    assert abs(float(found) - 2) < 3.5 * float(found.standard_error)
    with pytest.raises(
        AssumptionError, match=r"AIPW cannot.*use method=NestedRegression\(\), which"
    ):
        estimate(asked, table, method=AIPW(), seed=0)
    with pytest.raises(AssumptionError, match=r"FrontDoor: .*; NestedRegression: Y is the same"):
        estimate(asked, {**table, "Y": np.ones(400)}, seed=0)


@pytest.mark.parametrize(
    ("query", "name", "truth"),
    [("ATE(X -> Y)", "partially linear", 2.0), ("E[Y | do(X=1)]", "g-formula", 2.0)],
)
def test_a_dose_has_a_default(query: str, name: str, truth: float) -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=2000)
    x = z + rng.normal(size=2000)
    data = {"Z": z, "X": x, "Y": 2 * x - z + rng.normal(size=2000)}
    asked = identify(ADMG.parse("Z -> X -> Y; Z -> Y"), query)
    found = estimate(asked, data, seed=0)
    assert name in found.method
    low, high = found.interval()
    assert float(low) < truth < float(high)


def test_a_named_column_weights_each_source_that_has_it() -> None:
    estimand = identify(ADMG.parse("X -> Y; X <-> Y"), QUERY, experiments=[{"X"}])
    trial = {"X": [0, 0, 1, 1], "Y": [0, 1, 0, 1], "n": [60, 40, 30, 70]}
    repeated = {name: np.repeat(trial[name], trial["n"]) for name in "XY"}
    key = (None, ("X",))
    found = estimate(estimand, None, sources={key: trial}, weights="n", method=FEW, seed=0)
    plain = estimate(estimand, None, sources={key: repeated}, method=FEW, seed=0)
    assert found.interval() == plain.interval()
    assert found.diagnostics["plug_in"] == pytest.approx(0.7)
    with pytest.raises(DataError, match="no column 'm'"):
        estimate(estimand, None, sources={key: trial}, weights="m", method=FEW, seed=0)


@pytest.mark.parametrize("weights", ["n", [50] * 4], ids=["named", "numbers"])
def test_sources_whose_rows_count_once_are_told(weights: str | list[int]) -> None:
    domain = Domain("trial", ["age"], [["X"]], observational=False)
    estimand = identify(ADMG.parse("age -> {X, Y}; X -> Y; X <-> Y"), QUERY, domains=[domain])
    trial = {"age": [0, 1] * 120, "X": [0, 0, 1, 1] * 60, "Y": [0, 1, 1] * 80}
    ages = {"age": [0, 0, 1, 1], "X": [0] * 4, "Y": [0] * 4, "n": [50] * 4}
    sources = {("trial", "X"): trial}
    found = estimate(estimand, ages, sources=sources, weights=weights, method=FEW, seed=0)
    explicit = {(None, ()): weights}
    named = estimate(estimand, ages, sources=sources, weights=explicit, method=FEW, seed=0)
    assert found.interval() == named.interval()
    assert any("each row of do(X) in trial counts once" in note for note in found.notes)
    assert not any("counts once" in note for note in named.notes)


@pytest.mark.parametrize("column", ["X", "Y"])
def test_numbers_that_were_read_as_text_are_told(column: str) -> None:
    rows = {"X": [0, 0, 1, 1] * 5, "Y": list(np.linspace(-2, 2, 20))}
    rows[column] = [str(value) for value in rows[column]]
    told = rf"{column} is text, though .* numbers: data\['{column}'\].astype\(float\)$"
    with pytest.raises(DataError, match=told):
        estimate(identify(ADMG.parse("X -> Y"), "ATE(X -> Y)"), rows)
    with pytest.raises(DataError, match=told):
        bound(ADMG.parse("X -> Y; X <-> Y"), "ATE(X -> Y)", rows)
    numbers = pd.DataFrame(rows).assign(**{column: pd.Series(rows[column]).astype(float)})
    assert np.isfinite(float(estimate(identify(ADMG.parse("X -> Y"), "ATE(X -> Y)"), numbers)))
