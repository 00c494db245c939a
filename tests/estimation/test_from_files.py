"""The same answer from files, relations and counts as from memory, without reading all rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import causalppl as cp
import causalppl.data.table as data_table
import causalppl.estimation.reading as reading
from causalppl.data import Counts, counts
from causalppl.estimation import Dirichlet, Estimate, GFormula
from causalppl.exceptions import AssumptionError, DataError
from causalppl.graphs import ADMG, back_door

duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed (extra scale)")
pytest.importorskip("pyarrow")

FEW = Dirichlet(num_draws=50)
LAW = cp.identify(back_door(), "P(Y | do(X))")
EFFECT = cp.identify(back_door(), "ATE(X -> Y)")
ORDER = ["mid", "lo", "never", "hi"]


def frame(rows: int = 1_200) -> pd.DataFrame:
    """Categories out of order, levels in single precision, gaps, and weights of two kinds."""
    rng = np.random.default_rng(0)
    z = rng.integers(3, size=rows)
    x = rng.random(rows) < 0.2 + 0.2 * z
    y = rng.random(rows) < 0.2 + 0.2 * z * x
    data = pd.DataFrame(
        {
            "other": pd.Timestamp("2020-01-01"),
            "Y": np.where(y, 0.7, 0.1).astype(np.float32),
            "X": pd.array(x, dtype="boolean"),
            "Z": pd.Categorical(np.array(["lo", "mid", "hi"])[z], categories=ORDER),
            "whole": rng.integers(4, size=rows),
            "part": rng.random(rows),
            "C": rng.normal(size=rows) + z,
        }
    )
    data["Y"] = data["Y"].mask(data.index % 31 == 0)
    data["X"] = data["X"].mask(data.index % 37 == 0)
    return data


def written(data: pd.DataFrame, folder: Path, parts: int = 3) -> Path:
    for number, rows in enumerate(np.array_split(np.arange(len(data)), parts)):
        data.iloc[rows].to_parquet(folder / f"part-{number}.parquet", row_group_size=100)
    return folder


def assert_same(one: Estimate, other: Estimate) -> None:
    """To the last digit."""
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(one.standard_error, other.standard_error)
    np.testing.assert_array_equal(one.interval(), other.interval())
    for name in ("num_rows", "num_dropped", "ess", "axes", "notes", "method"):
        assert getattr(one, name) == getattr(other, name), name
    assert set(one.diagnostics) == set(other.diagnostics)
    for name, value in one.diagnostics.items():
        np.testing.assert_array_equal(value, other.diagnostics[name], name)


@pytest.mark.parametrize(
    "options",
    [
        {"method": FEW},
        {"method": FEW, "weights": "whole"},
        {"method": FEW, "weights": "whole", "sampling_weights": True},
        {"method": FEW, "weights": "part"},
        {"method": FEW, "weights": frame()["part"].to_numpy()},
    ],
    ids=["rows", "counts", "whole-sampling", "sampling", "array"],
)
def test_files_give_the_same_answer_as_memory(tmp_path: Path, options: Any) -> None:
    data = frame()
    written(data, tmp_path)
    for estimand in (LAW, EFFECT):
        here = cp.estimate(estimand, data, seed=3, **options)
        for source in (tmp_path, f"{tmp_path}/part-*.parquet"):
            assert_same(here, cp.estimate(estimand, source, seed=3, **options))
        with duckdb.connect() as connection:
            relation = connection.from_df(data)
            assert_same(here, cp.estimate(estimand, relation, seed=3, **options))


@pytest.mark.parametrize("weights", ["part", "whole", None])
def test_the_order_of_rows_and_files_changes_no_digit(tmp_path: Path, weights: str | None) -> None:
    """Sums of fractions differ in their last digit, if they are added in another order."""
    data = frame()
    options: Any = {"method": FEW, "weights": weights, "seed": 3}
    here = cp.estimate(LAW, data, **options)
    for seed in range(3):
        shuffled = data.sample(frac=1.0, random_state=seed).reset_index(drop=True)
        (folder := tmp_path / str(seed)).mkdir()
        written(shuffled, folder)
        parts = sorted(folder.glob("*.parquet"))[::-1]
        for source in (shuffled, folder, parts):
            assert_same(here, cp.estimate(LAW, source, **options))


def test_rows_are_read_in_order_where_counts_do_not_do(tmp_path: Path) -> None:
    data = frame(600)
    data["Z"] = data["C"]
    written(data, tmp_path)
    for weights in (None, "whole", "part"):
        options: Any = {"method": GFormula(), "weights": weights, "seed": 0}
        here = cp.estimate(EFFECT, data, **options)
        assert_same(here, cp.estimate(EFFECT, tmp_path, **options))
    with pytest.raises(AssumptionError, match="Dirichlet cannot answer: Z has more than 20 values"):
        cp.estimate(EFFECT, tmp_path, method=FEW)


def test_csv_gives_the_same_answer_as_memory(tmp_path: Path) -> None:
    data = frame().drop(columns="other").astype({"Z": str})
    data.to_csv(tmp_path / "data.csv", index=False)
    here = cp.estimate(LAW, data, method=FEW, seed=0)
    assert_same(here, cp.estimate(LAW, tmp_path / "data.csv", method=FEW, seed=0))


def test_only_counts_of_the_needed_columns_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[int, set[str]]] = []
    read_rows = data_table.read_rows

    def watched(source: Any, columns: Any) -> Any:
        found = read_rows(source, columns)
        read.append((len(found), set(found)))
        return found

    monkeypatch.setattr(data_table, "read_rows", watched)
    monkeypatch.setattr(reading, "_HEAD", 100)
    written(frame(), tmp_path)
    found = cp.estimate(EFFECT, tmp_path, weights="whole", method=FEW, seed=0)
    assert read == [(100, {"X", "Y", "Z", "whole"})]
    assert found.problem is not None
    assert found.problem.table.num_rows <= 2 * 2 * 3 * 3  # with three weights other than 0
    assert found.num_rows > 800
    cp.estimate(EFFECT, tmp_path, weights="part", method=FEW, seed=0)
    assert read[1:] == [(100, {"X", "Y", "Z", "part"}), (1_200, {"X", "Y", "Z", "part"})]


def test_levels_beyond_the_first_rows_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_HEAD", 100)
    data = frame(300)
    data["Z"] = np.where(np.arange(300) < 100, 0, np.arange(300) % 30)
    written(data, tmp_path)
    here, there = (cp.estimate(EFFECT, source, seed=0) for source in (data, tmp_path))
    assert here.method.startswith("AIPW")
    assert_same(here, there)
    data["whole"] = np.where(np.arange(300) < 100, 1.0, data["part"])
    data["Z"] = frame(300)["Z"]
    written(data, tmp_path)
    options: Any = {"weights": "whole", "method": FEW, "seed": 0}
    assert_same(*(cp.estimate(EFFECT, source, **options) for source in (data, tmp_path)))


def test_wrong_weights_in_files_are_named_as_in_memory(tmp_path: Path) -> None:
    for bad in (-1.0, np.nan):
        data = frame(200)
        data["whole"] = data["whole"].astype(float).mask(data.index == 40, bad)
        for source in (data, written(data, tmp_path)):
            with pytest.raises(DataError, match="negative, missing or infinite"):
                cp.estimate(EFFECT, source, weights="whole", method=FEW)
    for source in (data.assign(whole=0), written(data.assign(whole=0), tmp_path)):
        with pytest.raises(DataError, match="all weights are zero"):
            cp.estimate(EFFECT, source, weights="whole", method=FEW)


def test_what_files_lack_is_named(tmp_path: Path) -> None:
    data = frame(60)
    with pytest.raises(DataError, match="no file matches"):
        cp.estimate(EFFECT, tmp_path / "nowhere.parquet")
    written(data.rename(columns={"Y": "Yy"}), tmp_path)
    with pytest.raises(DataError, match=r"no column 'Y'.*did you mean 'Yy'"):
        cp.estimate(EFFECT, tmp_path)
    written(data.iloc[:0], tmp_path)
    with pytest.raises(DataError, match="has no rows"):
        cp.estimate(EFFECT, tmp_path)
    written(data.assign(Z=None), tmp_path)
    with pytest.raises(DataError, match="all 60 have a missing value"):
        cp.estimate(EFFECT, tmp_path)


def test_an_experiment_may_be_a_file(tmp_path: Path) -> None:
    graph = ADMG.parse("X -> Y; X <-> Y")
    estimand = cp.identify(graph, "P(Y=1 | do(X=1))", experiments=[{"X"}], observational=False)
    trial = pd.DataFrame({"X": [0, 1] * 100, "Y": [0, 1, 0, 0] * 50})
    written(trial, tmp_path)
    here, there = (
        cp.estimate(estimand, None, sources={(None, "X"): source}, method=FEW, seed=0)
        for source in (trial, tmp_path)
    )
    assert_same(here, there)


# Counts.


def table_of_counts() -> Counts:
    return counts(frame().astype({"Z": str}), ["whole", "Y", "X", "Z"])


def test_counts_give_the_same_answer_as_rows() -> None:
    complete = frame().astype({"Z": str})
    here = cp.estimate(LAW, complete, method=FEW, seed=0)
    assert_same(here, cp.estimate(LAW, table_of_counts(), method=FEW, seed=0))
    found = cp.estimate(EFFECT, table_of_counts(), method=GFormula(), seed=0)
    plain = cp.estimate(EFFECT, complete, method=GFormula(), seed=0)
    assert found.num_rows == plain.num_rows
    assert float(found) == pytest.approx(float(plain), abs=1e-6)
    assert float(found.standard_error) == pytest.approx(float(plain.standard_error), rel=1e-3)


def test_counts_that_are_no_numbers_of_rows_are_refused() -> None:
    with pytest.raises(DataError, match="whose data are counts"):
        cp.estimate(EFFECT, table_of_counts(), weights="whole")
    weighted = counts(frame(), ["X", "Y", "Z"], weights="part")
    with pytest.raises(DataError, match="sums of weights that are not whole"):
        cp.estimate(EFFECT, weighted)
    with pytest.raises(DataError, match="no column 'X'"):
        cp.estimate(EFFECT, counts(frame(), ["Y", "Z"]))
