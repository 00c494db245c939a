"""Tables of any kind in, named tensors with categories out."""

import difflib
import importlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from causalppl.exceptions import DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Column", "Table"]

Value: TypeAlias = bool | int | float | str
Kind: TypeAlias = Literal["number", "integer", "boolean", "category"]
_LARGEST_EXACT = 2**53  # integers up to here are exact in float64
_LOGGER = logging.getLogger("causalppl")


@dataclass(frozen=True, eq=False)
class Column:
    """One variable of a table.

    Attributes:
        values: Numbers of shape ``(rows, *event)``, or codes of shape ``(rows,)`` and dtype long.
            Where a value is missing: NaN, or the code -1.
        categories: The value that each code stands for; None for numbers.
        missing: Shape ``(rows,)``, True where a value is missing; None when nothing is.
        kind: What the column held before, so that `Table.to_pandas` can restore it.

    Example:
        >>> Table.from_any({"region": ["south", "north"]}).column("region").values
        tensor([1, 0])
    """

    values: Tensor
    categories: tuple[Value, ...] | None = None
    missing: Tensor | None = None
    kind: Kind = "number"

    def __post_init__(self) -> None:
        if self.values.dim() == 0:
            raise DataError("a column is a single number; expected one value for each row")
        if self.categories is not None:
            object.__setattr__(self, "kind", "category")
            codes = self.values
            if codes.dtype != torch.long or codes.dim() != 1:
                raise DataError(
                    f"codes have dtype {codes.dtype} and shape {tuple(codes.shape)}; expected "
                    "torch.int64 and one axis"
                )
            if codes.numel() and not -1 <= int(codes.min()) <= int(codes.max()) < self.num_states:
                raise DataError(
                    f"codes run from {int(codes.min())} to {int(codes.max())}; expected 0 to "
                    f"{self.num_states - 1} for {self.num_states} categories, -1 where missing"
                )
        if self.missing is not None and self.missing.shape != self.values.shape[:1]:
            raise DataError(
                f"the mask of missing values has shape {tuple(self.missing.shape)}; expected "
                f"{tuple(self.values.shape[:1])}, one flag for each row"
            )

    def __len__(self) -> int:
        return self.values.shape[0]

    @property
    def num_states(self) -> int:
        """The number of categories; 0 for a column of numbers."""
        return 0 if self.categories is None else len(self.categories)

    def encode(self, value: Any) -> int | float:
        """Turn one value into what the tensor holds: a code, or a finite number.

        Raises:
            DataError: The value is no category of the column, or no finite number.
        """
        value = _unwrapped(value)
        if self.categories is not None:
            for code, category in enumerate(self.categories):
                if category == value and isinstance(category, str) == isinstance(value, str):
                    return code
            raise DataError(
                f"the value {value!r} is no category; expected one of "
                f"{_listed(map(repr, self.categories))}{_closest(value, self.categories)}"
            )
        if not isinstance(value, bool | int | float) or not np.isfinite(value):
            raise DataError(f"the value is {value!r}; expected a finite number")
        return float(value) if self.values.is_floating_point() else int(value)

    def take(self, rows: Tensor) -> "Column":
        """Keep the rows that a tensor of row numbers, or a mask, selects."""
        missing = None if self.missing is None else self.missing[rows]
        if missing is not None and not bool(missing.any()):
            missing = None
        return replace(self, values=self.values[rows], missing=missing)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> "Column":
        """Move the column; the dtype is applied to floating-point values only."""
        kept = dtype if self.values.is_floating_point() else None
        missing = None if self.missing is None else self.missing.to(device=device)
        return replace(self, values=self.values.to(device=device, dtype=kept), missing=missing)


@dataclass(frozen=True, eq=False)
class Table:
    """Named columns of equal length, as tensors.

    What becomes of each kind of column:

    ====================================  =====================================================
    input                                 tensor
    ====================================  =====================================================
    floats                                the default float dtype
    integers                              the default float dtype where that is exact for every
                                          value of the column, else float64 (exact to 2**53)
    booleans                              the default float dtype, 0 and 1
    strings                               long codes; categories sorted
    categorical (pandas, Arrow, polars)   long codes; categories in the order of the input
    tensors                               as they are (dtype and device kept); booleans as floats
    ====================================  =====================================================

    Floats rather than integers, because most distributions have no density for integer tensors.
    NaN and None become missing values; infinities, dates and columns of mixed types are refused.

    Attributes:
        columns: Name to `Column`, in the order of the input.
        dropped: How many incomplete rows `drop_missing` has removed so far.

    Raises:
        DataError: No column, or columns of unequal length.

    Example:
        >>> table = Table.from_any({"dose": [0.5, 1.5, None], "arm": ["b", "a", "b"]})
        >>> table
        Table(3 rows: dose number (1 missing), arm category of 2)
        >>> table["arm"], table.encode("b", "arm")
        (tensor([1, 0, 1]), 1)
        >>> table.drop_missing().num_rows
        2
    """

    columns: Mapping[str, Column]
    dropped: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", dict(self.columns))
        if not self.columns:
            raise DataError("the table has no column; expected at least one")
        lengths = {name: len(column) for name, column in self.columns.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(
                "columns have unequal lengths: "
                + _listed(f"{name} has {length}" for name, length in lengths.items())
                + "; expected the same number of rows in each"
            )

    @classmethod
    def from_any(cls, source: Any, columns: Sequence[str] | None = None) -> "Table":
        """Read a table of any common kind.

        Args:
            source: A pandas or polars frame, an Arrow table or anything that offers
                ``__arrow_c_stream__`` or ``__dataframe__`` (needs pyarrow), a structured array, a
                mapping from names to arrays, tensors, lists or series, or a `Table`.
            columns: The columns to read, in this order; all when left out. Others are not looked
                at, so they may hold what a table cannot (dates, for example).

        Returns:
            The table.

        Raises:
            DataError: The source is of no such kind, a column is unknown, repeated, of unequal
                length, infinite, of mixed types or of a type that is no number and no category.

        Example:
            >>> Table.from_any({"x": [1, 2], "y": [True, False]}, columns=["y"])
            Table(2 rows: y boolean)
        """
        if isinstance(source, Table):
            return source if columns is None else source.select(columns)
        series = _as_mapping(source)
        chosen = list(series) if columns is None else _checked_names(columns, series)
        return cls({name: _column(name, series[name]) for name in chosen})

    def __repr__(self) -> str:
        described = _listed(_described(name, column) for name, column in self.columns.items())
        return f"Table({self.num_rows} rows: {described})"

    def __len__(self) -> int:
        return self.num_rows

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> Tensor:
        """The values of one column, see `Column`."""
        return self.column(name).values

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(self.columns)

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.columns.values())))

    def column(self, name: str) -> Column:
        """Return one column.

        Raises:
            DataError: There is none of that name; the message lists the names.
        """
        return self.columns[_checked_names([name], self.columns)[0]]

    def tensors(self, columns: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Return the values of some columns, or of all, by name."""
        return {name: self[name] for name in (self.names if columns is None else columns)}

    def select(self, columns: Iterable[str]) -> "Table":
        """Keep some columns, in the order given."""
        chosen = _checked_names(columns, self.columns)
        return replace(self, columns={name: self.columns[name] for name in chosen})

    def rows(self, index: Any) -> "Table":
        """Keep some rows.

        Args:
            index: A slice, one row number, a sequence or tensor of row numbers (negative ones
                count from the end), or a mask with one flag for each row.

        Returns:
            The table of these rows, in the order of the index.

        Raises:
            DataError: A mask of another length, a number out of range, or no such index.

        Example:
            >>> Table.from_any({"x": [1, 2, 3]}).rows([True, False, True])["x"]
            tensor([1., 3.])
        """
        chosen = _row_index(index, self.num_rows)
        return replace(
            self,
            columns={
                name: column.take(chosen.to(column.values.device))
                for name, column in self.columns.items()
            },
        )

    def count_missing(self) -> dict[str, int]:
        """Count the missing values of each column."""
        return {
            name: 0 if column.missing is None else int(column.missing.sum())
            for name, column in self.columns.items()
        }

    def drop_missing(self, columns: Iterable[str] | None = None) -> "Table":
        """Keep the rows that are complete.

        Args:
            columns: The columns that must be complete; all when left out.

        Returns:
            The table of complete rows; its ``dropped`` says how many were removed, and so does a
            message to the logger ``causalppl``.

        Raises:
            DataError: A column is unknown, or no row is complete.
        """
        chosen = self.names if columns is None else _checked_names(columns, self.columns)
        masks = [
            c.missing for c in (self.columns[name] for name in chosen) if c.missing is not None
        ]
        if not masks:
            return self
        complete = ~torch.stack([mask.cpu() for mask in masks]).any(dim=0)
        removed = self.num_rows - int(complete.sum())
        if removed == self.num_rows:
            counts = _listed(f"{name} {self.count_missing()[name]}" for name in chosen)
            raise DataError(
                f"all {removed} rows have a missing value (by column: {counts}); expected at least "
                "one complete row, select fewer columns"
            )
        _LOGGER.info("dropped %d of %d rows with missing values", removed, self.num_rows)
        return replace(self.rows(complete), dropped=self.dropped + removed)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> "Table":
        """Move the table to a device; apply the dtype to its floating-point columns."""
        moved = {name: column.to(device, dtype) for name, column in self.columns.items()}
        return replace(self, columns=moved)

    def encode(self, value: Any, column: str) -> int | float:
        """Turn one value into what the column's tensor holds.

        Args:
            value: A category, or a number.
            column: The column's name.

        Returns:
            The category's code, or the number.

        Raises:
            DataError: The value is no category of the column (the message lists them), or no
                finite number.

        Example:
            >>> Table.from_any({"arm": ["new", "old"]}).encode("old", "arm")
            1
        """
        try:
            return self.column(column).encode(value)
        except DataError as error:
            raise DataError(f"column {column!r}: {error}") from None if column in self else error

    def to_pandas(self) -> "pd.DataFrame":
        """Return a pandas frame, with categories, integers, booleans and missing values restored.

        Raises:
            DataError: A column has more than one value in each row.
        """
        import pandas as pd

        return pd.DataFrame({name: _series(name, column) for name, column in self.columns.items()})


# Reading.


def _as_mapping(source: Any) -> dict[str, Any]:
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        return _from_pandas(source)
    if isinstance(source, Mapping):
        return {_checked_name(name): values for name, values in source.items()}
    if isinstance(source, np.ndarray) and source.dtype.names:
        return {name: source[name] for name in source.dtype.names}
    if hasattr(source, "__arrow_c_stream__") or hasattr(source, "__dataframe__"):
        return _from_arrow(source)
    raise DataError(
        f"the data are of type {type(source).__name__}; expected a pandas or polars frame, an "
        "Arrow table or a mapping from names to arrays, tensors or lists"
    )


def _from_pandas(frame: "pd.DataFrame") -> dict[str, Any]:
    names = [_checked_name(name) for name in frame.columns]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"several columns are named {_listed(repeated)}; expected unique names")
    return {name: frame.iloc[:, place] for place, name in enumerate(names)}


def _from_arrow(source: Any) -> dict[str, Any]:
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
        table = pyarrow.table(source)
    else:
        table = importlib.import_module("pyarrow.interchange").from_dataframe(source)
    return _from_pandas(table.to_pandas())


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise DataError(f"a column is named {name!r}; expected a non-empty string, rename it")
    return name


def _checked_names(names: Iterable[str], known: Mapping[str, Any]) -> list[str]:
    chosen = [names] if isinstance(names, str) else list(names)
    for name in chosen:
        if name not in known:
            raise DataError(
                f"there is no column {name!r}; the table has {_listed(known)}"
                f"{_closest(name, known)}"
            )
    if len(set(chosen)) < len(chosen):
        raise DataError(f"a column is named twice in {_listed(chosen)}; name each once")
    return chosen


def _column(name: str, values: Any) -> Column:
    try:
        if isinstance(values, Tensor):
            return _from_tensor(values, "number")
        array = values if hasattr(values, "dtype") else None
        if isinstance(array, np.ndarray) and array.ndim > 1:
            return _from_tensor(_default_float(array), "number")
        return _from_series(values)
    except DataError as error:
        raise DataError(f"column {name!r}: {error}") from None


def _from_series(values: Any) -> Column:
    import pandas as pd

    if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__len__"):
        raise DataError(f"it is {values!r}; expected one value for each row")
    if not isinstance(values, pd.Series):
        for method in ("to_list", "to_pylist"):  # a series of polars, an array of Arrow
            if hasattr(values, method):
                values = getattr(values, method)()
                break
        try:
            values = pd.Series(values if isinstance(values, pd.Categorical) else list(values))
        except (TypeError, ValueError) as error:
            raise DataError(f"it cannot be read as a list of values ({error})") from None
    if isinstance(values.dtype, pd.CategoricalDtype):
        return _from_categorical(values.array)
    found = pd.api.types.infer_dtype(values, skipna=True)
    missing = np.array(values.isna(), dtype=bool)
    if found == "string":
        return _from_categorical(pd.Categorical(values.astype(object)))
    kinds: dict[str, Kind] = {
        "boolean": "boolean",
        "integer": "integer",
        "floating": "number",
        "mixed-integer-float": "number",
        "integer-na": "integer",
        "empty": "number",
    }
    if found not in kinds:
        raise DataError(_refusal(found, values))
    return _from_numbers(values, missing, kinds[found])


def _from_numbers(values: "pd.Series[Any]", missing: np.ndarray, kind: Kind) -> Column:
    present = values[~missing]
    extremes = (present.min(), present.max()) if kind == "integer" and len(present) else ()
    if any(abs(int(value)) > _LARGEST_EXACT for value in extremes):
        raise DataError("it has integers beyond 2**53, which no float holds; use strings for names")
    numbers = np.full(len(values), np.nan)
    numbers[~missing] = present.to_numpy(dtype=np.float64)
    tensor = _default_float(numbers)
    if kind == "integer" and not np.array_equal(tensor.double().numpy(), numbers, equal_nan=True):
        tensor = torch.from_numpy(numbers)
    return _from_tensor(tensor, kind)


def _from_categorical(values: Any) -> Column:
    categories = tuple(_plain(category) for category in values.categories)
    codes = torch.from_numpy(np.array(values.codes, dtype=np.int64))
    missing = codes < 0
    return Column(codes, categories, missing if bool(missing.any()) else None, "category")


def _from_tensor(values: Tensor, kind: Kind) -> Column:
    if values.dim() == 0:
        raise DataError(f"it is the single number {values.item()!r}; expected one for each row")
    if values.is_complex():
        raise DataError(f"it has dtype {values.dtype}; expected real numbers")
    if values.dtype == torch.bool:
        values, kind = values.to(torch.get_default_dtype()), "boolean"
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


def _default_float(array: np.ndarray) -> Tensor:
    if array.dtype.kind not in "fiub":
        raise DataError(f"it has dtype {array.dtype} and {array.ndim} axes; expected numbers")
    return torch.from_numpy(np.array(array, dtype=np.float64)).to(torch.get_default_dtype())


def _refusal(found: str, values: "pd.Series[Any]") -> str:
    if found in ("datetime64", "datetime", "date", "timedelta64", "timedelta", "time", "period"):
        return (
            "it holds dates or times; expected numbers or categories, turn it into a number first"
        )
    kinds = sorted({type(value).__name__ for value in values.dropna()})
    if len(kinds) > 1:
        return f"it mixes values of the types {_listed(kinds)}; expected one type, convert it"
    return f"it holds values of the type {_listed(kinds)}; expected numbers, booleans or strings"


def _plain(category: Any) -> Value:
    value = _unwrapped(category)
    if not isinstance(value, bool | int | float | str):
        raise DataError(
            f"it has the category {category!r} of type {type(category).__name__}; expected text "
            "or numbers"
        )
    return value


def _unwrapped(value: Any) -> Any:
    """The plain value of a scalar of numpy or torch; anything else as it is."""
    if not callable(getattr(value, "item", None)):
        return value
    try:
        return value.item()
    except (TypeError, ValueError, RuntimeError):
        return value


def _row_index(index: Any, num_rows: int) -> Tensor:
    if isinstance(index, slice):
        return torch.tensor(range(num_rows)[index], dtype=torch.long)  # any step, negative too
    if isinstance(index, int | np.integer) and not isinstance(index, bool):
        index = [int(index)]
    try:
        rows = (
            index.detach().cpu() if isinstance(index, Tensor) else torch.from_numpy(np.array(index))
        )
    except (TypeError, ValueError):
        raise DataError(
            f"rows are chosen by {index!r}; expected a slice, row numbers or a mask"
        ) from None
    if rows.dtype == torch.bool:
        if rows.shape != (num_rows,):
            raise DataError(
                f"the mask has shape {tuple(rows.shape)}; expected ({num_rows},), one for each row"
            )
        return rows
    rows = rows.long() if rows.numel() == 0 else rows
    if rows.dim() != 1 or rows.is_floating_point() or rows.is_complex():
        raise DataError(
            f"rows are chosen by a {rows.dim()}-d {rows.dtype} array; expected integers"
        )
    outside = rows[(rows < -num_rows) | (rows >= num_rows)]
    if outside.numel():
        raise DataError(f"row {int(outside[0])} is out of range; the table has {num_rows} rows")
    return rows.long()


# Writing.


def _series(name: str, column: Column) -> Any:
    import pandas as pd

    if column.values.dim() > 1:
        raise DataError(
            f"column {name!r} has shape {tuple(column.values.shape)}; a frame holds one value for "
            "each row, select the other columns"
        )
    values = column.values.detach().cpu().numpy()
    if column.categories is not None:
        categories: Any = list(column.categories)
        return pd.Categorical.from_codes(values, categories=categories)
    if column.kind == "number":
        return values
    plain, nullable = ("int64", "Int64") if column.kind == "integer" else ("bool", "boolean")
    if column.missing is None:
        return values.astype(plain)
    masked: Any = pd.array(np.nan_to_num(values).astype(plain), dtype=nullable)
    masked[column.missing.cpu().numpy()] = pd.NA
    return masked


def _described(name: str, column: Column) -> str:
    size = f" of {column.num_states}" if column.categories is not None else ""
    if column.values.dim() > 1:
        size = f" of shape {tuple(column.values.shape[1:])}"
    gaps = 0 if column.missing is None else int(column.missing.sum())
    return f"{name} {column.kind}{size}" + (f" ({gaps} missing)" if gaps else "")


def _listed(parts: Iterable[object], limit: int = 40) -> str:
    words = [str(part) for part in parts]
    more = f" and {len(words) - limit} more" if len(words) > limit else ""
    return ", ".join(words[:limit]) + more


def _closest(name: object, known: Iterable[object]) -> str:
    close = difflib.get_close_matches(str(name), [str(other) for other in known], n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
