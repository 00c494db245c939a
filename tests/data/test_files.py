"""Rows of files and relations: the same table as from memory."""

import sys

import numpy as np
import pandas as pd
import pytest
import torch

from causalppl.data import Table, counts
from causalppl.data.files import find_files, is_stored, read_orders
from causalppl.exceptions import DataError, MissingExtraError

duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed (extra scale)")
pl = pytest.importorskip("polars")
pytest.importorskip("pyarrow")


def frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "whole": pd.array(rng.integers(-2, 3, 300), dtype="Int64").copy(),
            "text": rng.choice(["b", "é", "a"], 300),
            "kind": pd.Categorical(rng.choice(["lo", "hi"], 300), ["never", "lo", "hi"]),
            "flag": rng.random(300) < 0.4,
            "number": rng.normal(size=300),
            "single": rng.choice([0.1, 0.7], 300).astype(np.float32),
        }
    ).mask(rng.random((300, 6)) < 0.1)


def same(one, other):
    assert one.names == other.names
    for name in one:
        here, there = one.column(name), other.column(name)
        assert here.categories == there.categories
        assert here.kind == there.kind
        assert here.values.dtype == there.values.dtype
        assert torch.equal(here.values.nan_to_num(-9), there.values.nan_to_num(-9))
        assert torch.equal(here.missing, there.missing)


def test_every_stored_source_gives_the_table_of_memory(tmp_path):
    data = frame()
    for part in range(3):
        rows = data.iloc[part * 100 : (part + 1) * 100]
        rows.to_parquet(tmp_path / f"{part}.parquet", row_group_size=30)
    names = ["single", "kind", "whole", "text", "flag", "number"]
    for dtype in (torch.float32, torch.float64):
        truth = Table.from_any(data, names, dtype=dtype)
        same(truth, Table.from_any(tmp_path, names, dtype=dtype))
        same(truth, Table.from_any(f"{tmp_path}/*.parquet", names, dtype=dtype))
        with duckdb.connect() as connection:
            same(truth, Table.from_any(connection.from_df(data), names, dtype=dtype))
    assert Table.from_any(tmp_path).names == tuple(data)
    data.to_csv(tmp_path / "data.csv", index=False)
    plain = data.astype({"kind": object})
    same(
        Table.from_any(plain, dtype=torch.float64).select(["whole", "text", "kind", "number"]),
        Table.from_any(tmp_path / "data.csv", dtype=torch.float64).select(
            ["whole", "text", "kind", "number"]
        ),
    )


def test_levels_in_single_precision_stay_decimals():
    table = Table.from_any({"x": np.float32([0.1, np.nan, 0.7])}, dtype=torch.float64)
    assert table["x"][[0, 2]].tolist() == [0.1, 0.7]
    measured = np.random.default_rng(0).random(2_000, dtype=np.float32)
    table = Table.from_any({"x": measured}, dtype=torch.float64)
    assert table["x"].tolist() == measured.tolist()


def test_orders_of_categories_are_found(tmp_path):
    data = pl.DataFrame({"x": ["b", "a"], "y": ["u", "v"]})
    data = data.with_columns(pl.col("x").cast(pl.Enum(["c", "b", "a"])))
    data.write_parquet(tmp_path / "data.parquet")
    assert read_orders(tmp_path, ["x", "y"]) == {"x": ("c", "b", "a")}
    assert Table.from_any(tmp_path).column("x").categories == ("c", "b", "a")
    with duckdb.connect() as connection:
        connection.execute("CREATE TYPE mood AS ENUM ('sad', 'ok')")
        connection.execute("CREATE TABLE t(x mood, y INTEGER)")
        assert read_orders(connection.table("t"), ["x", "y"]) == {"x": ("sad", "ok")}


def test_a_category_that_the_first_rows_do_not_list_comes_last(tmp_path):
    for name, order in (("a", ["z", "y"]), ("b", ["x", "y"])):
        kinds = pd.Categorical(order, categories=order)
        pd.DataFrame({"x": kinds}).to_parquet(tmp_path / f"{name}.parquet")
    assert Table.from_any(tmp_path).column("x").categories == ("z", "y", "x")


def test_a_part_without_values_has_any_type(tmp_path):
    pd.DataFrame({"x": [None, None]}).to_parquet(tmp_path / "a.parquet")
    pd.DataFrame({"x": ["u", "v"]}).to_parquet(tmp_path / "b.parquet")
    assert counts(tmp_path, ["x"]).missing == {"x": 2}
    assert Table.from_any(tmp_path).column("x").categories == ("u", "v")
    pd.DataFrame({"x": [1, 2]}).to_parquet(tmp_path / "c.parquet")
    with pytest.raises(DataError, match=r"'x' is varchar in .*b.parquet and bigint in .*c.parq"):
        counts(tmp_path, ["x"])


def test_unknown_columns_and_files_are_named(tmp_path):
    frame().to_parquet(tmp_path / "data.parquet")
    with pytest.raises(DataError, match=r"no column 'txt'.*did you mean 'text'"):
        Table.from_any(tmp_path, ["txt"])
    with duckdb.connect() as connection:
        with pytest.raises(DataError, match=r"no column 'txt'.*did you mean 'text'"):
            Table.from_any(connection.from_df(frame()), ["txt"])
    with pytest.raises(DataError, match="no file matches"):
        Table.from_any("nowhere.parquet")


def test_a_missing_duckdb_names_the_extra(tmp_path, monkeypatch):
    frame().to_parquet(tmp_path / "data.parquet")
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(MissingExtraError, match=r"causalppl\[scale\]"):
        Table.from_any(tmp_path)


def test_paths_and_relations_are_stored(tmp_path):
    assert is_stored(tmp_path)
    assert is_stored("data.parquet")
    assert not is_stored(frame())
    with duckdb.connect() as connection:
        assert is_stored(connection.sql("SELECT 1 AS x"))


def test_files_are_found_in_order(tmp_path):
    for name in ("b", "a"):
        (tmp_path / f"{name}.parquet").touch()
    assert [path.stem for path in find_files(tmp_path)] == ["a", "b"]
    assert [path.stem for path in find_files(tmp_path / "*.parquet")] == ["a", "b"]
    assert find_files(tmp_path / "a.parquet") == [tmp_path / "a.parquet"]


@pytest.mark.parametrize("text", ["a,flag\n1,{0}\n0,{1}\n1,{0}\n", ",a,flag\n0,1,{0}\n1,0,{1}\n"])
@pytest.mark.parametrize("words", [("yes", "no"), ("t", "f"), ("true", "FALSE"), ("Y", "N")])
def test_text_is_read_as_in_memory(tmp_path, text, words):
    """Words are no truth values, but for true and false; a header may lack a name."""
    path, more = tmp_path / "rows.csv", tmp_path / "more.csv"
    for each in (path, more):
        each.write_text(text.format(*words))
    memory = pd.read_csv(path)
    for stored, held in ((path, memory), ([path, more], pd.concat([memory, memory]))):
        read, expected = (Table.from_any(each, ["a", "flag"]) for each in (stored, held))
        pd.testing.assert_frame_equal(read.to_pandas(), expected.to_pandas())
    assert counts(path, ["a", "flag"]).num_rows == len(memory)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; expected a line of names"),
        (b"\n\n", "is empty; expected a line of names"),
        ("größe\n1\n".encode("latin-1"), "is not in UTF-8"),
        (b"x,y\n0,1\n1\n1,1,3\n", "DuckDB cannot read .*rows.csv"),
    ],
    ids=["empty", "blank", "latin", "ragged"],
)
def test_text_that_cannot_be_read_says_why(tmp_path, content, message):
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        Table.from_any(path)
    assert "Possible" not in str(error.value)  # options of DuckDB that are not ours
    assert "\n" not in str(error.value)
