"""Tables of any kind in, named tensors with categories out."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from causalppl.data.column import Column, listed
from causalppl.data.files import is_stored, read_rows
from causalppl.data.reading import as_mapping, checked_names, read_column
from causalppl.exceptions import DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Table"]

_LOGGER = logging.getLogger("causalppl")


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
    categorical (pandas, Arrow, polars)   long codes; categories in the order of the input;
                                          intervals as text
    lists or arrays of k numbers in each  shape ``(rows, k)``
    tensors                               as they are (dtype and device kept), without gradients;
                                          booleans, and half precision as numpy lacks it, as floats
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
                + listed(f"{name} has {length}" for name, length in lengths.items())
                + "; expected the same number of rows in each"
            )

    @classmethod
    def from_any(
        cls,
        source: Any,
        columns: Sequence[str] | None = None,
        *,
        dtype: torch.dtype | None = None,
    ) -> "Table":
        """Read a table of any common kind.

        Args:
            source: A pandas or polars frame, an Arrow table or anything that offers
                ``__arrow_c_stream__`` or ``__dataframe__`` (needs pyarrow), a structured array, a
                mapping from names to arrays, tensors, lists or series, a list of mappings (one
                per row), a `Table`; or what is stored: the path of a Parquet or CSV file, a folder
                of Parquet files, a glob or a list of files, or a relation of DuckDB (files need
                it), of which only these columns are read, as of a lazy frame of polars.
            columns: The columns to read, in this order; all when left out. Others are not looked
                at, so they may hold what a table cannot (dates, repeated names, for example).
            dtype: The float type of numbers that are no tensors yet; None: the default one.

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
        if is_stored(source):
            source = read_rows(source, columns)
        series = as_mapping(source, columns)
        chosen = list(series) if columns is None else checked_names(columns, series)
        floats = torch.get_default_dtype() if dtype is None else dtype
        return cls({name: read_column(name, series[name], floats) for name in chosen})

    def __repr__(self) -> str:
        described = listed((_described(n, c) for n, c in self.columns.items()), limit=40)
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
        return self.columns[checked_names([name], self.columns)[0]]

    def tensors(self, columns: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Return the values of some columns, or of all, by name."""
        return {name: self[name] for name in (self.names if columns is None else columns)}

    def select(self, columns: Iterable[str]) -> "Table":
        """Keep some columns, in the order given.

        Raises:
            DataError: A column is unknown.
        """
        chosen = checked_names(columns, self.columns)
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
        chosen = self.names if columns is None else checked_names(columns, self.columns)
        masks = [
            c.missing for c in (self.columns[name] for name in chosen) if c.missing is not None
        ]
        if not masks:
            return self
        complete = ~torch.stack([mask.cpu() for mask in masks]).any(dim=0)
        removed = self.num_rows - int(complete.sum())
        if removed == self.num_rows:
            counts = listed(f"{name} {self.count_missing()[name]}" for name in chosen)
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
