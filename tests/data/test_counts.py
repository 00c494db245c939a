"""The same counts from memory and from files, against a count by hand."""

import itertools
import sys
from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch

from causalppl.data import Table
from causalppl.data.counts import counts
from causalppl.exceptions import DataError, MissingExtraError

duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed (extra scale)")
polars = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

COLUMNS = ["size", "arm", "cured", "dose"]


def frame(n=500, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "size": pd.array(rng.integers(-2, 3, n), dtype="Int64").copy(),
            "arm": rng.choice(["b", "é", "a", "Z"], n),
            "cured": rng.random(n) < 0.4,
            "dose": rng.choice([0.1, 2.0, -0.0, 1e-3], n),
            "w": rng.exponential(size=n),
            "when": pd.Timestamp("2020-01-01"),
        }
    )


def with_gaps(n=500):
    data = frame(n)
    data["size"] = data["size"].mask(data.index % 7 == 0)
    data["arm"] = data["arm"].mask(data.index % 11 == 0)
    data["dose"] = data["dose"].mask(data.index % 13 == 0)
    return data


def by_hand(data, columns):
    """Complete rows by their values, and how many are incomplete."""
    rows = [tuple(row) for row in data[columns].itertuples(index=False)]
    complete = [row for row in rows if not any(pd.isna(value) for value in row)]
    return Counter(complete), len(rows) - len(complete)


def written(data, folder, parts=1):
    for place, rows in enumerate(np.array_split(np.arange(len(data)), parts)):
        data.iloc[rows].to_parquet(folder / f"part-{place}.parquet", row_group_size=50)
    return folder


def same(one, other):
    assert one.names == other.names
    assert one.states == other.states
    assert [list(map(type, s)) for s in one.states.values()] == [
        list(map(type, s)) for s in other.states.values()
    ]
    assert torch.equal(one.codes, other.codes)
    assert one.values.dtype == other.values.dtype
    assert torch.equal(one.values, other.values)
    assert (one.num_rows, one.num_missing, one.missing) == (
        other.num_rows,
        other.num_missing,
        other.missing,
    )


def cells(found):
    return {
        tuple(found.states[n][c] for n, c in zip(found.names, code, strict=True)): value
        for code, value in zip(found.codes.tolist(), found.values.tolist(), strict=True)
    }


@pytest.mark.parametrize("make", [frame, with_gaps])
def test_counts_are_those_made_by_hand(make):
    data = make()
    found = counts(data, COLUMNS)
    truth, num_missing = by_hand(data, COLUMNS)
    assert cells(found) == truth
    assert (found.num_rows, found.num_missing) == (truth.total(), num_missing)
    assert found.missing == {n: k for n in COLUMNS if (k := int(data[n].isna().sum()))}
    assert int(found.values.sum()) == found.num_rows


def test_states_and_combinations_are_sorted():
    found = counts(frame(), COLUMNS)
    assert found.states["arm"] == ("Z", "a", "b", "é")
    assert found.states["dose"] == (0, 0.001, 0.1, 2)
    assert [type(value) for value in found.states["dose"]] == [int, float, float, int]
    assert found.states["cured"] == (False, True)
    assert found.codes.tolist() == sorted(found.codes.tolist())


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize("parts", [1, 3])
def test_files_give_the_same_as_memory(tmp_path, weights, parts):
    data = with_gaps()
    data.loc[3, "w"] = np.nan
    here = counts(data, COLUMNS, weights=weights)
    folder = written(data, tmp_path, parts)
    same(here, counts(folder, COLUMNS, weights=weights))
    same(here, counts(f"{folder}/part-*.parquet", COLUMNS, weights=weights))
    with duckdb.connect() as connection:
        same(here, counts(connection.read_parquet(f"{folder}/*"), COLUMNS, weights=weights))


@pytest.mark.parametrize("weights", [None, "w"])
def test_every_source_in_memory_gives_the_same(weights):
    data = with_gaps()
    truth = counts(data, COLUMNS, weights=weights)
    plain = {name: data[name].astype(object).where(data[name].notna(), None) for name in data}
    shuffled = data.sample(frac=1, random_state=1)
    sources = [
        polars.from_pandas(data),
        pa.Table.from_pandas(data),
        {name: plain[name].tolist() for name in [*COLUMNS, "w"]},
        {name: polars.from_pandas(data)[name] for name in [*COLUMNS, "w"]},
        data[["w", *reversed(COLUMNS)]],
        shuffled,
        data.astype({"arm": pd.CategoricalDtype(["é", "unused", "b", "a", "Z"])}),
    ]
    for source in sources:
        same(truth, counts(source, COLUMNS, weights=weights))


def test_a_table_and_tensors_give_the_same():
    data = with_gaps()
    truth = counts(data, COLUMNS)
    same(truth, counts(Table.from_any(data, COLUMNS), COLUMNS))
    x = {"x": torch.tensor([1, 0, 1]), "y": np.float32([0.1, np.nan, 0.1])}
    assert cells(counts(x, ["x", "y"])) == {(1, 0.1): 2}
    nullable = pd.DataFrame({"y": pd.array([0.1, None, 0.25], dtype="Float32")})
    assert counts(nullable, ["y"]).states == {"y": (0.1, 0.25)}


def test_enumerations_decimals_and_unsigned_numbers_of_duckdb_are_counted():
    with duckdb.connect() as connection:
        connection.execute("CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')")
        connection.execute("CREATE TABLE t(x mood, y DECIMAL(5, 2), z UBIGINT)")
        connection.execute("INSERT INTO t VALUES ('ok', .5, 1), (NULL, 1, 2), ('happy', 1.25, 1)")
        found = counts(connection.table("t"), ["x", "y", "z"])
    assert cells(found) == {("ok", 0.5, 1): 1, ("happy", 1.25, 1): 1}
    assert found.missing == {"x": 1}


def test_csv_gives_the_same(tmp_path):
    data = frame().drop(columns="when")
    data.to_csv(tmp_path / "data.csv", index=False)
    same(counts(data, COLUMNS, weights="w"), counts(tmp_path / "data.csv", COLUMNS, weights="w"))


def test_weights_are_summed_without_rounding():
    data = frame(2_000)
    data["w"] *= 10.0 ** np.random.default_rng(1).integers(-6, 7, len(data))
    sums = defaultdict(Fraction)
    for row in data.itertuples():
        sums[row.size, row.arm] += Fraction(row.w)
    for cell, weight in cells(counts(data, ["size", "arm"], weights="w")).items():
        assert weight == pytest.approx(float(sums[cell]), rel=1e-15, abs=1e-15)


def test_whole_weights_are_counts():
    once = counts(frame(), COLUMNS)
    table = once.to_frame()
    again = counts(table, COLUMNS, weights="count")
    assert torch.equal(again.codes, once.codes)
    assert again.values.tolist() == once.values.tolist()
    assert again.num_rows == len(once)


def test_given_states_keep_their_order_and_may_not_occur():
    found = counts({"x": ["low", "high", None]}, ["x"], states={"x": ("low", "middle", "high")})
    assert found.states == {"x": ("low", "middle", "high")}
    assert found.to_factor().values.tolist() == [1, 0, 1]
    with pytest.raises(DataError, match=r"'hihg'.*given states.*did you mean 'high'"):
        counts({"x": ["hihg"]}, ["x"], states={"x": ("low", "high")})
    with pytest.raises(DataError, match="no column 'y'"):
        counts({"x": [1]}, ["x"], states={"y": (1,)})
    with pytest.raises(DataError, match="'1'"):
        counts({"x": ["1"]}, ["x"], states={"x": (0, 1)})


def test_a_factor_has_every_combination():
    data = frame()
    factor = counts(data, COLUMNS).to_factor()
    truth, _ = by_hand(data, COLUMNS)
    for cell in itertools.product(*(factor.states[name] for name in COLUMNS)):
        assert factor.probability(dict(zip(COLUMNS, cell, strict=True))) == truth[cell]


@pytest.mark.parametrize("weights", [None, "w"])
def test_summing_out_is_counting_fewer_columns(weights):
    data = frame()
    whole = counts(data, COLUMNS, weights=weights)
    for chosen in (["dose"], ["cured", "size"], COLUMNS[::-1]):
        part, truth = whole.select(chosen), counts(data, chosen, weights=weights)
        assert (part.names, part.states) == (truth.names, truth.states)
        assert torch.equal(part.codes, truth.codes)
        assert torch.allclose(part.values, truth.values, rtol=1e-14, atol=0)
        assert torch.equal(whole.to_factor(chosen).values, part.to_factor().values)


def test_memory_follows_the_combinations_that_occur(tmp_path):
    rng = np.random.default_rng(0)
    data = pd.DataFrame(rng.integers(0, 50, (300, 40)), columns=[f"x{i}" for i in range(40)])
    names = list(data)
    found = counts(data, names)
    assert len(found) == 300
    assert cells(found) == by_hand(data, names)[0]
    assert found.num_cells > 2**64
    same(found, counts(written(data, tmp_path), names))
    with pytest.raises(DataError, match="ask for fewer columns"):
        found.to_factor()
    same(found.select(["x3", "x7"]), counts(data, ["x3", "x7"]))


def test_an_unknown_column_is_suggested(tmp_path):
    data = frame(20)
    written(data, tmp_path)
    for source in (data, tmp_path):
        with pytest.raises(DataError, match=r"no column 'amr'.*did you mean 'arm'"):
            counts(source, ["amr"])
        with pytest.raises(DataError, match="no column 'v'"):
            counts(source, ["arm"], weights="v")
        with pytest.raises(DataError, match="twice"):
            counts(source, ["arm", "arm"])
        with pytest.raises(DataError, match="no column is named"):
            counts(source, [])


def test_a_continuous_column_is_refused(tmp_path):
    data = frame(5_000)
    written(data, tmp_path)
    for source in (data, tmp_path):
        with pytest.raises(DataError, match=r"'w' has 5000 different values.*continuous"):
            counts(source, ["arm", "w"])
        assert len(counts(source, ["w"], max_states=5_000)) == 5_000


@pytest.mark.parametrize("column", ["when", "list", "money"])
def test_what_cannot_be_counted_is_refused(tmp_path, column):
    data = pd.DataFrame({"when": pd.Timestamp("2020-01-01"), "list": [[1], [2]], "money": b"a"})
    data.to_parquet(tmp_path / "data.parquet")
    for source in (data, tmp_path):
        with pytest.raises(DataError, match=f"{column!r}.*expected whole numbers"):
            counts(source, [column])


def test_infinite_large_and_mixed_values_are_refused():
    for values in ([1.0, np.inf], [2**53 + 2, 0]):
        with pytest.raises(DataError, match="finite ones up to"):
            counts({"x": values}, ["x"])
    with pytest.raises(DataError, match="mixes numbers, text"):
        counts({"x": [1, "1"]}, ["x"])
    with pytest.raises(DataError, match="lengths 1, 2"):
        counts({"x": [1], "y": [1, 2]}, ["x", "y"])


def test_no_rows_and_no_complete_rows_are_refused(tmp_path):
    frame(3).iloc[:0].astype({"size": "int64"}).to_parquet(tmp_path / "empty.parquet")
    for source in (frame(3).iloc[:0], tmp_path):
        with pytest.raises(DataError, match="no complete rows; expected"):
            counts(source, COLUMNS)
    with pytest.raises(DataError, match=r"all 2 have a missing value .*x 1, y 1"):
        counts({"x": [1, None], "y": [None, 2]}, ["x", "y"])


@pytest.mark.parametrize("bad", [-1.0, np.inf, 1e19])
def test_weights_that_are_none_are_refused(tmp_path, bad):
    data = pd.DataFrame({"x": [0, 1], "w": [1.0, bad]})
    data.to_parquet(tmp_path / "data.parquet")
    for source in (data, tmp_path):
        with pytest.raises(DataError, match="weights in 'w' run from"):
            counts(source, ["x"], weights="w")
    with pytest.raises(DataError, match="all weights are zero"):
        counts({"x": [1], "w": [0.0]}, ["x"], weights="w")
    with pytest.raises(DataError, match="no numbers"):
        counts({"x": [1], "w": ["a"]}, ["x"], weights="w")


def test_no_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no file matches"):
        counts(f"{tmp_path}/*.parquet", ["x"])
    with pytest.raises(DataError, match=r"no file matches .*\.parquet"):
        counts(tmp_path, ["x"])
    (tmp_path / "data.xls").write_text("x")
    with pytest.raises(DataError, match="of the kinds xls; expected all to be Parquet"):
        counts(tmp_path / "data.xls", ["x"])
    (tmp_path / "data.parquet").write_text("x")
    with pytest.raises(DataError, match="DuckDB cannot read"):
        counts(tmp_path / "data.parquet", ["x"])


def test_files_may_differ_in_the_width_of_numbers_only(tmp_path):
    def write(name, **columns):
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")

    write("a", x=pa.array([1, 2], pa.int32()), y=[1, 1])
    write("b", y=[1, 1], x=pa.array([1.0, 2.5]), z=[0, 0])
    assert cells(counts(tmp_path, ["x", "y"])) == {(1, 1): 2, (2, 1): 1, (2.5, 1): 1}
    write("c", x=["1"], y=[1])
    with pytest.raises(DataError, match=r"'x' is integer in .*a.parquet and varchar in .*c.pa"):
        counts(tmp_path, ["x", "y"])
    with pytest.raises(DataError, match=r"no column 'z'"):
        counts(tmp_path, ["z"])
    write("a", x=pa.array([1, 2], pa.int32()), y=[1, 1], z=[0, 0])
    with pytest.raises(DataError, match=r"'z' is bigint in .*a.parquet and absent in .*c.parquet"):
        counts(tmp_path, ["z"])


def test_quotes_in_names_are_names(tmp_path):
    data = pd.DataFrame({'a "b"; drop': [1, 1, 2], "count(*)": [0, 0, 0]})
    data.to_parquet(tmp_path / "data.parquet")
    same(counts(data, list(data)), counts(tmp_path, list(data)))


def test_a_missing_duckdb_names_the_extra(tmp_path, monkeypatch):
    written(frame(3), tmp_path)
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(MissingExtraError, match=r"causalppl\[scale\]"):
        counts(tmp_path, ["arm"])
