"""Columns from what users have: frames, Arrow tables, arrays, tensors and lists."""

import importlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from causalppl.data.column import Column, Kind, Value, listed, shortened, unwrapped
from causalppl.exceptions import DataError
from causalppl.spelling import closest

if TYPE_CHECKING:
    import pandas as pd

_LARGEST_EXACT = 2**53  # integers up to here are exact in float64
_VECTORS = (list, tuple, np.ndarray, Tensor)
_MOST_LEVELS = 1_000  # different numbers of a column that are levels rather than measurements


def as_mapping(source: Any, columns: Iterable[str] | None = None) -> dict[str, Any]:
    """Take a source apart into its columns.

    Args:
        source: See `Table.from_any`.
        columns: Those that are needed; the names of others need not be text, nor unique.

    Raises:
        DataError: The source is of no known kind, or names repeat.
    """
    import pandas as pd

    source = joined_records(source)
    needed = {columns} if isinstance(columns, str) else None if columns is None else set(columns)
    if type(source).__name__ == "LazyFrame" and hasattr(source, "collect_schema"):
        names = source.collect_schema().names()
        source = source.select([n for n in names if needed is None or n in needed] or names[:1])
        source = source.collect()
    if isinstance(source, pd.DataFrame):
        return _from_pandas(source, needed)
    if isinstance(source, Mapping):
        return {name: source[name] for name in _checked_names(source, needed)}
    if isinstance(source, np.ndarray) and source.dtype.names:
        return {name: source[name] for name in source.dtype.names}
    if type(source).__name__ == "Series":
        raise DataError(
            "the data are a Series, which is a single row or column; expected a table: "
            "frame.iloc[[0]] is a row of one, series.to_frame('Y') a column"
        )
    if hasattr(source, "__arrow_c_stream__") or hasattr(source, "__dataframe__"):
        return _from_arrow(source, needed)
    raise DataError(
        f"the data are of type {type(source).__name__}; expected a pandas or polars frame, an "
        "Arrow table, a mapping from names to arrays, tensors or lists, a list of mappings (one "
        "per row), a path, a list of paths or a relation of DuckDB"
    )


def joined_records(source: Any) -> Any:
    """Turn a list of mappings, one per row, into a mapping of columns; leave all else as it is.

    A row that lacks a name has a missing value there.
    """
    is_list = isinstance(source, list | tuple) and len(source) > 0
    if not is_list or not all(isinstance(row, Mapping) for row in source):
        return source
    names = dict.fromkeys(name for row in source for name in row)
    return {name: [_scalar(row.get(name)) for row in source] for name in names}


def _scalar(value: Any) -> Any:
    return unwrapped(value) if getattr(value, "ndim", None) == 0 else value


def _from_pandas(frame: "pd.DataFrame", needed: set[str] | None = None) -> dict[str, Any]:
    names = set(_checked_names(frame.columns, needed))
    found, repeated = {}, set()
    for place, name in enumerate(frame.columns):
        if name in found and (needed is None or name in needed):
            repeated.add(name)
        if name in names:
            found[name] = frame.iloc[:, place]
    if repeated:
        several = listed(sorted(repeated))
        raise DataError(f"several columns are named {several}; expected unique names")
    return found


def _from_arrow(source: Any, needed: set[str] | None) -> dict[str, Any]:
    try:
        pyarrow = importlib.import_module("pyarrow")
    except ImportError:
        if hasattr(source, "to_dict") and hasattr(source, "schema"):  # polars, value by value
            return dict(source.to_dict(as_series=False))
        raise DataError(
            f"reading a {type(source).__name__} needs pyarrow, which is not installed; "
            "install it (pip install pyarrow) or pass a pandas frame"
        ) from None
    if hasattr(source, "__arrow_c_stream__"):
        try:
            table = pyarrow.table(source)
        except (pyarrow.ArrowInvalid, TypeError) as error:
            raise DataError(
                f"the {type(source).__name__} is no table with named columns ({error}); expected "
                "one: name the column, as in {'Y': values}"
            ) from None
    else:
        table = importlib.import_module("pyarrow.interchange").from_dataframe(source)
    return _from_pandas(table.to_pandas(), needed)


def _checked_names(names: Iterable[Any], needed: set[str] | None) -> list[str]:
    """The names that are text; a needed one has to be."""
    found = []
    for name in names:
        is_text = isinstance(name, str) and name != ""
        if not is_text and (needed is None or str(name) in needed):
            raise DataError(f"a column is named {name!r}; expected a non-empty string, rename it")
        if is_text:
            found.append(name)
    return found


def checked_names(names: Iterable[str], known: Mapping[str, Any]) -> list[str]:
    """Refuse unknown and repeated names."""
    chosen = [names] if isinstance(names, str) else list(names)
    for name in chosen:
        if name not in known:
            raise DataError(
                f"there is no column {name!r}; the table has {listed(known, limit=20)}"
                f"{closest(name, known)}"
            )
    if len(set(chosen)) < len(chosen):
        raise DataError(f"a column is named twice in {listed(chosen)}; name each once")
    return chosen


def read_column(name: str, values: Any, dtype: torch.dtype) -> Column:
    """Read one column; errors name it."""
    if isinstance(values, Tensor):
        values = plain_tensor(name, values, dtype)
    try:
        if isinstance(values, Tensor):
            return _from_tensor(values, "number", dtype)
        array = values if hasattr(values, "dtype") else None
        if isinstance(array, np.ndarray) and array.ndim > 1:
            return _from_tensor(_floats(array, dtype), "number", dtype)
        return _from_series(values, dtype)
    except DataError as error:
        raise DataError(f"column {name!r}: {error}") from None


def _from_series(values: Any, dtype: torch.dtype) -> Column:
    import pandas as pd

    if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__len__"):
        raise DataError(f"it is {shortened(values)}; expected one value for each row")
    if not isinstance(values, pd.Series):
        for method in ("to_list", "to_pylist"):  # a series of polars, an array of Arrow
            if hasattr(values, method):
                values = getattr(values, method)()
                break
        try:
            is_array = isinstance(values, np.ndarray) and values.ndim == 1
            is_whole = is_array or isinstance(values, pd.Categorical)
            values = pd.Series(values if is_whole else list(values))
        except (TypeError, ValueError) as error:
            raise DataError(f"it cannot be read as a list of values ({error})") from None
    if isinstance(values.dtype, pd.CategoricalDtype):
        return _from_categorical(values.array)
    found = pd.api.types.infer_dtype(values, skipna=True)
    missing = np.array(values.isna(), dtype=bool)
    if found in ("string", "interval"):
        return _from_categorical(pd.Categorical(values.astype(object)))
    if found == "decimal":
        values, found = values.astype(object).where(~missing).astype(float), "floating"
    kinds: dict[str, Kind] = {
        "boolean": "boolean",
        "integer": "integer",
        "floating": "number",
        "mixed-integer-float": "number",
        "integer-na": "integer",
        "empty": "number",
    }
    if found == "mixed" and all(isinstance(cell, _VECTORS) for cell in values[~missing]):
        return _from_vectors(values, missing, dtype)
    if found not in kinds:
        raise DataError(_refusal(found, values))
    return _from_numbers(values, missing, kinds[found], dtype)


def _from_numbers(
    values: "pd.Series[Any]", missing: np.ndarray, kind: Kind, dtype: torch.dtype
) -> Column:
    present = values[~missing]
    extremes = (present.min(), present.max()) if kind == "integer" and len(present) else ()
    if any(abs(int(value)) > _LARGEST_EXACT for value in extremes):
        raise DataError("it has integers beyond 2**53, which no float holds; use strings for names")
    numbers = np.full(len(values), np.nan)
    numbers[~missing] = _widened(present, dtype)
    tensor = _floats(numbers, dtype)
    if kind == "integer" and not np.array_equal(tensor.double().numpy(), numbers, equal_nan=True):
        tensor = torch.from_numpy(numbers)
    return _from_tensor(tensor, kind, dtype)


def _from_vectors(values: "pd.Series[Any]", missing: np.ndarray, dtype: torch.dtype) -> Column:
    """Read cells that are lists or arrays of equally many numbers: shape ``(rows, *event)``."""
    cells = [np.asarray(cell) for cell in values[~missing]]
    shapes = sorted({cell.shape for cell in cells})
    if len(shapes) > 1 or any(cell.dtype.kind not in "fiub" for cell in cells):
        what = f"shapes {listed(shapes)}" if len(shapes) > 1 else "more than numbers"
        raise DataError(
            f"its cells are lists or arrays with {what}; expected equally many numbers in each, or "
            "an array of shape (rows, k) in a mapping"
        )
    numbers = np.full((len(values), *shapes[0]), np.nan)
    numbers[~missing] = np.stack(cells)
    return _from_tensor(_floats(numbers, dtype), "number", dtype)


def _widened(values: "pd.Series[Any]", dtype: torch.dtype) -> np.ndarray:
    """Numbers in double precision; where a few levels were in single, 0.1 stays 0.1."""
    if str(values.dtype).lower() in ("float16", "float32") and dtype == torch.float64:
        codes, levels = values.factorize()
        if len(levels) <= _MOST_LEVELS:
            return np.array([float(str(level)) for level in np.asarray(levels)])[codes]
    return values.to_numpy(dtype=np.float64)


def _from_categorical(values: Any) -> Column:
    categories = tuple(_plain(category) for category in values.categories)
    codes = torch.from_numpy(np.array(values.codes, dtype=np.int64))
    missing = codes < 0
    return Column(codes, categories, missing if bool(missing.any()) else None, "category")


def _from_tensor(values: Tensor, kind: Kind, dtype: torch.dtype) -> Column:
    if values.dim() == 0:
        raise DataError(f"it is the single number {values.item()!r}; expected one for each row")
    if values.is_complex():
        raise DataError(f"it has dtype {values.dtype}; expected real numbers")
    if values.dtype == torch.bool:
        values, kind = values.to(dtype), "boolean"
    if not values.is_floating_point():
        return Column(values, kind="integer")
    infinite = torch.isinf(values).flatten(1).any(1) if values.dim() > 1 else torch.isinf(values)
    if bool(infinite.any()):
        where = infinite.nonzero().flatten().tolist()
        raise DataError(
            f"it is infinite in {len(where)} rows, the first at {where[0]} (dtype {values.dtype}); "
            "expected finite numbers, use NaN for what is missing"
        )
    missing = torch.isnan(values).flatten(1).any(1) if values.dim() > 1 else torch.isnan(values)
    return Column(values, missing=missing if bool(missing.any()) else None, kind=kind)


def plain_tensor(name: str, values: Tensor, dtype: torch.dtype) -> Tensor:
    """What numpy can hold: values, without gradients, in a precision that it knows."""
    if values.is_meta:
        raise DataError(f"column {name!r} is on the device meta, which holds no values; move it")
    values = values.detach()
    return values.to(dtype) if values.dtype == torch.bfloat16 else values


def _floats(array: np.ndarray, dtype: torch.dtype) -> Tensor:
    if array.dtype.kind not in "fiub":
        raise DataError(f"it has dtype {array.dtype} and {array.ndim} axes; expected numbers")
    return torch.from_numpy(np.array(array, dtype=np.float64)).to(dtype)


def _refusal(found: str, values: "pd.Series[Any]") -> str:
    if found in ("datetime64", "datetime", "date", "timedelta64", "timedelta", "time", "period"):
        return (
            "it holds dates or times; expected numbers or categories, turn it into a number first"
        )
    kinds = sorted({type(value).__name__ for value in values.dropna()})
    if len(kinds) > 1:
        return f"it mixes values of the types {listed(kinds)}; expected one type, convert it"
    return (
        f"it holds values of the type {listed(kinds)}; expected numbers, booleans or strings, or "
        "for a vector in each row lists of equally many numbers, or an array of shape (rows, k)"
    )


def _plain(category: Any) -> Value:
    import pandas as pd

    value = str(category) if isinstance(category, pd.Interval) else unwrapped(category)
    if not isinstance(value, bool | int | float | str):
        raise DataError(
            f"it has the category {category!r} of type {type(category).__name__}; expected text "
            "or numbers"
        )
    return value
