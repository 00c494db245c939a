"""Kinds of sources and columns that users have: each read as what it means, or refused by name."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from causalppl.data import Table, counts
from causalppl.data.files import find_files
from causalppl.exceptions import DataError

pl = pytest.importorskip("polars")
pytest.importorskip("duckdb")
pa = pytest.importorskip("pyarrow")

ROWS = pd.DataFrame({"x": [1.5, 2.5, 0.5], "y": ["b", "a", "b"]})


def same(table: Table) -> bool:
    return table["x"].tolist() == [1.5, 2.5, 0.5] and table["y"].tolist() == [1, 0, 1]


def test_a_lazy_frame_is_collected_for_the_columns_needed() -> None:
    lazy = pl.from_pandas(ROWS).lazy()
    assert same(Table.from_any(lazy))
    broken = lazy.with_columns(z=pl.col("y").cast(pl.Int64, strict=True))  # fails if it is computed
    assert same(Table.from_any(broken, ["x", "y"]))
    with pytest.raises(DataError, match="no column 'w'"):
        Table.from_any(lazy, ["w"])
    assert counts(lazy, ["y"]).values.tolist() == [1, 2]


def test_a_list_of_files_is_their_rows_in_turn(tmp_path: Path) -> None:
    files = [tmp_path / "b.parquet", tmp_path / "a.parquet"]
    ROWS[:2].to_parquet(files[0])
    ROWS[2:].to_parquet(files[1])
    assert same(Table.from_any(files, ["x", "y"]))
    assert same(Table.from_any([str(file) for file in files]))
    assert counts(files, ["y"]).values.tolist() == [1, 2]
    assert find_files([*files, files[0]]) == files
    with pytest.raises(DataError, match="no file matches"):
        Table.from_any([files[0], tmp_path / "c.parquet"])


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    ROWS.to_csv(tmp_path / "rows.csv", index=False)
    assert same(Table.from_any("~/rows.csv"))


@pytest.mark.parametrize(
    "address", ["s3://bucket/x.parquet", "https://x.org/a.csv", Path("gs://b")]
)
def test_an_address_is_refused_as_one(address: Any) -> None:
    with pytest.raises(DataError, match=r"is an address; expected files of this machine"):
        Table.from_any(address)


def test_intervals_are_categories_in_order() -> None:
    cut = pd.cut(pd.Series([15.0, 1.0, 5.0]), [0, 2, 10, 20])
    column = Table.from_any({"x": cut}).column("x")
    assert column.categories == ("(0, 2]", "(2, 10]", "(10, 20]")
    assert column.values.tolist() == [2, 0, 1]
    plain = pd.Series(pd.IntervalIndex(cut.astype(object)))
    assert Table.from_any({"x": plain}).column("x").num_states == 3
    assert sorted(counts({"x": cut}, ["x"]).states["x"]) == ["(0, 2]", "(10, 20]", "(2, 10]"]


def test_decimals_are_numbers() -> None:
    values = [Decimal("0.1"), None, Decimal("2")]
    table = Table.from_any({"x": values})
    assert table.count_missing() == {"x": 1}
    assert table["x"][2] == 2
    assert table.column("x").kind == "number"
    assert counts({"x": values}, ["x"]).states["x"] == (0.1, 2)
    assert Table.from_any(pl.DataFrame({"x": values}))["x"][2] == 2


def test_tensors_of_any_kind_are_values() -> None:
    grown = torch.tensor([0.5, 1.5], requires_grad=True)
    half = torch.tensor([0.5, 1.5], dtype=torch.bfloat16)
    for values in (grown, half):
        column = Table.from_any({"x": values}).column("x")
        assert column.values.numpy().tolist() == [0.5, 1.5]
        assert counts({"x": values}, ["x"]).states["x"] == (0.5, 1.5)
    for read in (Table.from_any, lambda source: counts(source, ["x"])):
        with pytest.raises(DataError, match="column 'x' is on the device meta"):
            read({"x": torch.zeros(2, device="meta")})


@pytest.mark.parametrize("kind", ["repeated", "number", "mapping", "arrow"])
def test_names_of_columns_that_are_not_needed_do_not_matter(kind: str) -> None:
    other = pd.Series([1, 2, 3], name="z")
    sources: dict[str, Any] = {
        "repeated": pd.concat([ROWS, other, other], axis=1),
        "number": ROWS.assign(**{"z": 1}).rename(columns={"z": 7}),
        "mapping": {**{name: ROWS[name] for name in ROWS}, 7: other},
        "arrow": Repeated(),
    }
    assert same(Table.from_any(sources[kind], ["x", "y"]))
    assert counts(sources[kind], ["y"]).values.tolist() == [1, 2]
    with pytest.raises(DataError, match=r"several columns are named z|a column is named 7"):
        Table.from_any(sources[kind])


class Repeated:
    """An Arrow table in which a name occurs twice."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        arrays = [*(pa.array(ROWS[name]) for name in ROWS), *[pa.array([1, 2, 3])] * 2]
        return pa.table(arrays, names=["x", "y", "z", "z"]).__arrow_c_stream__()


def test_a_needed_name_has_to_be_text_and_unique() -> None:
    with pytest.raises(DataError, match="a column is named 7; expected a non-empty string"):
        Table.from_any({7: [1, 2]}, ["7"])
    with pytest.raises(DataError, match="several columns are named x"):
        Table.from_any(pd.concat([ROWS, ROWS["x"]], axis=1), ["x"])


def test_what_is_measured_is_not_counted(tmp_path: Path) -> None:
    data = pd.DataFrame({"x": np.linspace(0.0, 1.0, 500)})
    data.to_parquet(tmp_path / "rows.parquet")
    for source in (data, tmp_path):
        with pytest.raises(DataError, match="500 different values with fractions, so it is contin"):
            counts(source, ["x"])
        assert len(counts(source, ["x"], max_states=500)) == 500
    whole = data.assign(x=np.arange(500.0))
    assert len(counts(whole, ["x"])) == 500
    assert len(counts({"x": data["x"].round(2)}, ["x"], states={"x": np.arange(101) / 100})) == 101


def test_weights_of_counts_are_the_name_of_a_column() -> None:
    with pytest.raises(DataError, match="weights are given as ndarray; expected the name"):
        counts(ROWS, ["y"], weights=np.ones(3))  # type: ignore[arg-type]


def test_long_lists_are_cut_in_messages() -> None:
    table = Table.from_any({"x": [f"name {i}" for i in range(1_000)]})
    with pytest.raises(DataError, match="and 992 more") as found:
        table.encode("other", "x")
    assert len(str(found.value)) < 300


VECTORS = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


@pytest.mark.parametrize(
    "source",
    [
        {"w": VECTORS},
        {"w": [tuple(cell) for cell in VECTORS]},
        {"w": [np.array(cell) for cell in VECTORS]},
        {"w": [torch.tensor(cell) for cell in VECTORS]},
        pd.DataFrame({"w": VECTORS}),
        pd.DataFrame({"w": list(np.array(VECTORS))}),
        pl.DataFrame({"w": VECTORS}),
        pa.table({"w": VECTORS}),
        [{"w": cell} for cell in VECTORS],
    ],
    ids=["lists", "tuples", "arrays", "tensors", "frame", "of arrays", "polars", "arrow", "rows"],
)
def test_cells_of_equal_length_are_vectors(source: Any) -> None:
    assert Table.from_any(source)["w"].tolist() == VECTORS


def test_a_vector_may_be_missing() -> None:
    column = Table.from_any({"w": [VECTORS[0], None, VECTORS[2]]}).column("w")
    assert column.missing is not None
    assert column.missing.tolist() == [False, True, False]
    assert column.values[2].tolist() == VECTORS[2]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([[1], [1, 2]], r"with shapes \(1,\), \(2,\); expected equally many numbers in each, or"),
        ([["a"], ["b"]], r"more than numbers; .* array of shape \(rows, k\) in a mapping"),
        ([{1: 2}, {3: 4}], r"of the type dict; .* an array of shape \(rows, k\)"),
    ],
    ids=["ragged", "text", "mappings"],
)
def test_other_cells_are_refused(cells: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"column 'w': it.*{message}"):
        Table.from_any({"w": cells})


def test_rows_as_mappings_are_a_table() -> None:
    rows: list[dict[str, Any]] = [
        {"x": 1.5, "s": "b"},
        {"x": np.float32(2.5), "s": "a", "late": torch.tensor(3)},
    ]
    table = Table.from_any(rows)
    assert table["x"].tolist() == [1.5, 2.5]
    assert table.column("s").categories == ("a", "b")
    assert table.count_missing() == {"x": 0, "s": 0, "late": 1}
    assert Table.from_any(ROWS.to_dict("records")).names == tuple(ROWS)
    assert counts(ROWS.to_dict("records"), ["y"]).values.tolist() == [1, 2]


@pytest.mark.parametrize("series", [ROWS["y"], ROWS.iloc[0], pl.Series("y", [1, 2])])
def test_a_series_is_no_table(series: Any) -> None:
    with pytest.raises(DataError, match="a Series, which is a single row or column; expected a ta"):
        Table.from_any(series)


def test_an_arrow_array_is_no_table() -> None:
    stream = pa.chunked_array([[1, 2]])
    with pytest.raises(DataError, match="ChunkedArray is no table with named columns"):
        Table.from_any(stream)
