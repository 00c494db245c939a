import datetime
import logging

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

from causalppl.data import Column, Table
from causalppl.exceptions import DataError

RAW = {
    "dose": [0.5, 1.5, 2.5, -1.0],
    "age": [30, 41, 7, 12],
    "arm": ["b", "a", "b", "c"],
    "quit": [True, False, True, True],
}
SOURCES = {
    "lists": RAW,
    "numpy": {name: np.array(values) for name, values in RAW.items()},
    "pandas": pd.DataFrame(RAW),
    "polars": pl.DataFrame(RAW),
    "arrow": pa.table(RAW),
    "polars series": {name: pl.Series(values) for name, values in RAW.items()},
    "arrow arrays": {name: pa.array(values) for name, values in RAW.items()},
    "object frame": pd.DataFrame(RAW).astype(object),
}


class OnlyInterchange:
    """A frame that offers the interchange protocol and nothing else."""

    def __init__(self, frame):
        self.frame = frame

    def __dataframe__(self, **options):
        return self.frame.__dataframe__(**options)


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_gives_the_same_tensors(kind):
    table = Table.from_any(SOURCES[kind])
    assert table.names == ("dose", "age", "arm", "quit")
    assert table.num_rows == len(table) == 4
    assert table["dose"].tolist() == RAW["dose"]
    assert table["age"].tolist() == RAW["age"]
    assert table["quit"].tolist() == [1, 0, 1, 1]
    assert table["arm"].tolist() == [1, 0, 1, 2]
    assert table.column("arm").categories == ("a", "b", "c")
    dtypes = [table[name].dtype for name in table]
    assert dtypes == [torch.float32, torch.float32, torch.long, torch.float32]
    assert all(table.column(name).missing is None for name in table)


def test_interchange_protocol_and_structured_arrays():
    source = OnlyInterchange(pa.table({"x": [1, 2], "s": ["u", "v"]}))
    assert Table.from_any(source)["x"].tolist() == [1, 2]
    array = np.array([(1, 2.5), (3, 4.5)], dtype=[("a", "i4"), ("b", "f8")])
    assert Table.from_any(array)["b"].tolist() == [2.5, 4.5]


@pytest.mark.parametrize("wrap", [pd.DataFrame, pl.DataFrame, pa.table, dict])
def test_missing_values_are_masked_in_every_kind_of_column(wrap):
    source = wrap(
        {
            "x": [1.0, None, 3.0],
            "n": [1, None, 3],
            "s": ["u", None, "v"],
            "b": [True, None, False],
        }
    )
    table = Table.from_any(source)
    for name in table:
        assert table.column(name).missing.tolist() == [False, True, False]
    assert table.count_missing() == {"x": 1, "n": 1, "s": 1, "b": 1}
    assert table["s"].tolist() == [0, -1, 1]
    assert table["b"].isnan().tolist() == [False, True, False]
    assert table["x"].isnan().tolist() == [False, True, False]


def test_nan_in_floats_and_an_empty_column_are_missing():
    table = Table.from_any({"x": np.array([1.0, np.nan]), "e": [None, None]})
    assert table.count_missing() == {"x": 1, "e": 2}


def test_default_dtype_is_followed():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        assert Table.from_any({"x": [0.1], "n": [1]})["x"].dtype == torch.float64
    finally:
        torch.set_default_dtype(before)


def test_integers_stay_exact():
    small = Table.from_any({"n": [2**24, 3]})["n"]
    large = Table.from_any({"n": [2**24 + 1, 3]})["n"]
    assert (small.dtype, large.dtype) == (torch.float32, torch.float64)
    assert large.tolist() == [2**24 + 1, 3]
    with pytest.raises(DataError, match=r"column 'n'.*beyond 2\*\*53"):
        Table.from_any({"n": [2**53 + 1]})


def test_category_order_is_kept_and_strings_are_sorted():
    ordered = pd.Categorical(["low", "high"], categories=["low", "mid", "high"], ordered=True)
    table = Table.from_any({"c": ordered, "i": pd.Categorical([20, 10]), "s": ["z", "y"]})
    assert table.column("c").categories == ("low", "mid", "high")
    assert table["c"].tolist() == [0, 2]
    assert table.column("i").categories == (10, 20)
    assert table["i"].tolist() == [1, 0]
    assert table.column("s").categories == ("y", "z")
    enum = pl.DataFrame({"c": pl.Series(["low", "high"], dtype=pl.Enum(["low", "mid", "high"]))})
    assert Table.from_any(enum).column("c").categories == ("low", "mid", "high")


def test_tensors_keep_dtype_device_and_event_axes():
    values = {
        "x": torch.tensor([1.0, float("nan")], dtype=torch.float64),
        "k": torch.tensor([3, 4]),
        "b": torch.tensor([True, False]),
        "v": torch.tensor([[1.0, 2.0], [float("nan"), 0.0]]),
        "m": np.ones((2, 3, 4)),
    }
    table = Table.from_any(values)
    dtypes = {name: table[name].dtype for name in table}
    assert dtypes["x"] == torch.float64
    assert dtypes["k"] == torch.long
    assert dtypes["b"] == dtypes["m"] == torch.float32
    assert table.column("v").missing.tolist() == [False, True]
    assert table["m"].shape == (2, 3, 4)
    assert "m number of shape (3, 4)" in repr(table)
    with pytest.raises(DataError, match="one value for each row"):
        table.to_pandas()


def test_values_go_back_to_pandas_unchanged():
    frame = pd.DataFrame(
        {
            "dose": [0.5, np.nan, 2.5],
            "n": [1, 2, 3],
            "m": pd.array([1, None, 3], dtype="Int64"),
            "flag": [True, False, True],
            "maybe": pd.array([True, None, False], dtype="boolean"),
            "arm": pd.Categorical(["b", None, "a"], categories=["b", "a"]),
        }
    )
    back = Table.from_any(frame).to_pandas()
    assert list(back.columns) == list(frame.columns)
    assert back["n"].dtype == np.int64
    assert back["flag"].dtype == bool
    for name in ("n", "m", "flag", "maybe", "arm"):
        pd.testing.assert_series_equal(back[name], frame[name])
    np.testing.assert_allclose(back["dose"], frame["dose"])


def test_rows_by_slice_number_indices_and_mask():
    table = Table.from_any(RAW)
    assert table.rows(slice(1, 3))["age"].tolist() == [41, 7]
    assert table.rows(slice(None, None, -1))["age"].tolist() == [12, 7, 41, 30]
    assert table.rows(2)["age"].tolist() == [7]
    assert table.rows([3, -4])["age"].tolist() == [12, 30]
    assert table.rows(np.array([True, False, False, True]))["age"].tolist() == [30, 12]
    assert table.rows(torch.tensor([1]))["arm"].tolist() == [0]
    assert table.rows([]).num_rows == 0
    with pytest.raises(DataError, match=r"mask has shape \(2,\).*\(4,\)"):
        table.rows([True, False])
    with pytest.raises(DataError, match="row 4 is out of range"):
        table.rows([0, 4])
    with pytest.raises(DataError, match="expected integers"):
        table.rows([0.5])
    with pytest.raises(DataError, match="expected a slice"):
        table.rows(["a"])


def test_drop_missing_says_how_many(caplog):
    table = Table.from_any({"x": [1.0, None, 3.0], "y": [None, 2.0, 3.0]})
    with caplog.at_level(logging.INFO, logger="causalppl"):
        complete = table.drop_missing()
    assert "dropped 2 of 3 rows" in caplog.text
    assert (complete.num_rows, complete.dropped) == (1, 2)
    assert complete.column("x").missing is None
    assert table.drop_missing(["x"])["y"].isnan().tolist() == [True, False]
    assert complete.drop_missing() is complete
    with pytest.raises(DataError, match="all 1 rows have a missing value"):
        table.rows([0]).drop_missing()


def test_select_and_unknown_columns():
    table = Table.from_any(RAW)
    assert table.select(["arm", "dose"]).names == ("arm", "dose")
    assert Table.from_any(table) is table
    assert "dose" in table
    assert list(table.tensors(["age"])) == ["age"]
    for call in (
        lambda: table.select(["dosage"]),
        lambda: table["dosage"],
        lambda: Table.from_any(RAW, columns=["dosage"]),
        lambda: table.drop_missing(["dosage"]),
        lambda: table.encode(1, "dosage"),
    ):
        with pytest.raises(DataError, match=r"no column 'dosage'; the table has dose, age, arm"):
            call()
    with pytest.raises(DataError, match="did you mean 'dose'"):
        table.column("dos")
    with pytest.raises(DataError, match="named twice"):
        table.select(["arm", "arm"])


def test_columns_that_are_not_asked_for_are_not_looked_at():
    dates = pd.to_datetime(["2020-01-01"])
    assert Table.from_any({"x": [1.0], "when": dates}, columns=["x"]).names == ("x",)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"a": [1, 2], "b": [1]}, "unequal lengths: a has 2, b has 1"),
        ({}, "no column"),
        ({"a": 3}, "column 'a': it is 3; expected one value for each row"),
        ({"a": "text"}, "one value for each row"),
        ({"a": np.float64(1)}, "one value for each row"),
        ({"a": torch.tensor(1.0)}, "single number"),
        ({"a": [1.0, np.inf]}, "column 'a': it is infinite in 1 rows, the first at 1"),
        ({"a": torch.tensor([[1.0, -np.inf]])}, "infinite in 1 rows, the first at 0"),
        ({"a": [1e300]}, "infinite in 1 rows.*float32"),
        ({"a": [1, "x"]}, "mixes values of the types int, str"),
        ({"a": [True, "x", None]}, "mixes values of the types bool, str"),
        ({"a": pd.to_datetime(["2020-01-01"])}, "dates or times"),
        ({"a": [datetime.date(2020, 1, 1)]}, "dates or times"),
        ({"a": pd.to_timedelta(["1D"])}, "dates or times"),
        ({"a": [[1], [2, 3]]}, "lists or arrays with shapes"),
        ({"a": np.array([1j])}, "type complex"),
        ({"a": torch.tensor([1j])}, "expected real numbers"),
        ({"a": np.array([["x"]])}, "expected numbers"),
        ({"a": pd.Categorical(pd.to_datetime(["2020-01-01"]))}, "category"),
        ({1: [1]}, "a column is named 1"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "several columns are named a"),
        (pl.DataFrame({"a": [datetime.date(2020, 1, 1)]}), "dates or times"),
        ([1, 2], "the data are of type list"),
        (np.ones((2, 2)), "the data are of type ndarray"),
    ],
)
def test_bad_tables_are_refused_by_name(source, message):
    with pytest.raises(DataError, match=message):
        Table.from_any(source)


def test_encode():
    table = Table.from_any({**RAW, "grade": pd.Categorical([2, 1, 2, 1])})
    assert table.encode("c", "arm") == 2
    assert table.encode(np.int64(2), "grade") == 1
    assert table.encode(True, "quit") == 1.0
    assert table.encode(torch.tensor(3.5), "dose") == 3.5
    assert Column(torch.tensor([1, 2])).encode(2.0) == 2
    with pytest.raises(DataError, match=r"column 'arm'.*'d' is no category; expected one of 'a', "):
        table.encode("d", "arm")
    with pytest.raises(DataError, match="did you mean 'north'"):
        Table.from_any({"where": ["north", "south"]}).encode("nort", "where")
    with pytest.raises(DataError, match="is no category"):
        table.encode("2", "grade")
    with pytest.raises(DataError, match=r"column 'dose'.*expected a finite number"):
        table.encode("high", "dose")
    with pytest.raises(DataError, match="finite number"):
        table.encode(float("nan"), "dose")


def test_to_moves_floats_only():
    table = Table.from_any(RAW).to(dtype=torch.float64)
    assert table["dose"].dtype == torch.float64
    assert table["arm"].dtype == torch.long
    assert table.to(device="cpu")["arm"].device.type == "cpu"


def test_column_checks_its_parts():
    with pytest.raises(DataError, match="codes run from 0 to 2"):
        Column(torch.tensor([0, 2]), ("a", "b"))
    with pytest.raises(DataError, match=r"torch\.int64"):
        Column(torch.tensor([0.0]), ("a",))
    with pytest.raises(DataError, match="mask of missing values"):
        Column(torch.ones(2), missing=torch.tensor([True]))


def test_a_million_rows_are_quick():
    codes = np.random.default_rng(0).integers(0, 5, 1_000_000)
    frame = pd.DataFrame({"x": codes * 0.5, "s": np.array(list("abcde"))[codes]})
    table = Table.from_any(frame)
    assert (table["s"].numpy() == codes).all()


@pytest.mark.gpu
def test_tables_live_on_a_device():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    table = Table.from_any({"x": [1.0, None, 3.0], "s": ["a", "b", "a"]}).to(device="cuda")
    assert table.drop_missing()["s"].device.type == "cuda"
    assert table.rows([True, False, True]).to_pandas()["s"].tolist() == ["a", "a"]
