"""Rows of Parquet files, as one long table that is read from any row to any other."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from causalppl.exceptions import DataError, MissingExtraError


@dataclass(frozen=True)
class ParquetRows:
    """Parquet files with the same columns, as one sequence of rows.

    Attributes:
        paths: The files.
        rows: Number of rows of each.
        columns: Names of their columns.
    """

    paths: list[Path]
    rows: list[int]
    columns: list[str]

    @classmethod
    def of(cls, paths: list[Path]) -> "ParquetRows":
        """Look at some files.

        Raises:
            DataError: One cannot be read, they differ in columns, or there is no row.
            MissingExtraError: pyarrow is not installed.
        """
        parquet = pyarrow("pyarrow.parquet")
        schemas, rows = [], []
        for path in paths:
            try:
                schemas.append(parquet.read_schema(path))
                rows.append(parquet.read_metadata(path).num_rows)
            except (OSError, ValueError) as error:
                raise DataError(f"{path} cannot be read as Parquet ({error})") from error
            if not schemas[-1].equals(schemas[0]):
                raise DataError(
                    f"{paths[0]} and {path} differ in names, order or types of their columns; "
                    "expected the same in all files"
                )
        if sum(rows) == 0:
            raise DataError(f"{paths[0]} has no rows; expected at least one unit")
        return cls(paths, rows, list(schemas[0].names))

    @property
    def num_rows(self) -> int:
        """Number of rows in all."""
        return sum(self.rows)

    def read(self, columns: list[str], start: int, stop: int, size: int) -> Iterator[Any]:
        """Read rows from ``start`` to ``stop``, as Arrow tables of ``size`` rows or the rest."""
        arrow = pyarrow("pyarrow")
        held: list[Any] = []
        missing = size
        for piece in self._pieces(columns, start, stop, size):
            while len(piece) >= missing:
                yield arrow.Table.from_batches([*held, piece.slice(0, missing)])
                held, piece, missing = [], piece.slice(missing), size
            if len(piece):
                held, missing = [*held, piece], missing - len(piece)
        if held:
            yield arrow.Table.from_batches(held)

    def _pieces(self, columns: list[str], start: int, stop: int, size: int) -> Iterator[Any]:
        parquet = pyarrow("pyarrow.parquet")
        first = 0
        for path, rows in zip(self.paths, self.rows, strict=True):
            if first < stop and first + rows > start:
                with parquet.ParquetFile(path) as file:
                    yield from _slices(file, columns, start - first, stop - first, size)
            first += rows


def checked_source(source: Any) -> Any:
    """Return the path, or list of paths, that a source is.

    Raises:
        DataError: It is something else, such as a frame.
    """
    paths = list(source) if isinstance(source, list | tuple) else [source]
    if not paths or not all(isinstance(path, str | PathLike) for path in paths):
        found = type(source).__name__
        raise DataError(
            f"the source is a {found}; expected the path of a Parquet file, a folder, a glob or a "
            "list of these: write a frame by to_parquet, or call infer(..., evidence=frame)"
        )
    return source


def _slices(file: Any, columns: list[str], start: int, stop: int, size: int) -> Iterator[Any]:
    """Rows of one file; row groups before and after them are not read."""
    first = 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if first < stop and first + rows > start:
            place = first
            for batch in file.iter_batches(size, row_groups=[group], columns=columns):
                low, high = max(start - place, 0), min(stop - place, len(batch))
                if low < high:
                    yield batch.slice(low, high - low)
                place += len(batch)
                if place >= stop:
                    return
        first += rows


def pyarrow(module: str) -> Any:
    """Import a module of pyarrow.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{module} cannot be imported ({error}); map_units reads and writes Parquet by it; "
            'install it with: pip install "causalppl[scale]"'
        ) from error
