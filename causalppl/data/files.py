"""Rows that lie in files or behind a relation of DuckDB: opened, checked and read."""

import glob
import importlib
import itertools
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causalppl.data.column import listed
from causalppl.data.csv_options import csv_options
from causalppl.data.reading import checked_names
from causalppl.exceptions import DataError, MissingExtraError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "FAMILIES",
    "column_types",
    "find_files",
    "is_stored",
    "opened",
    "quoted",
    "read_orders",
    "read_rows",
]

_SETTINGS = {"memory_limit": "256MB", "preserve_insertion_order": False}  # beyond: to disk
_READERS = {"parquet": "parquet", "pq": "parquet", "csv": "csv", "tsv": "csv", "txt": "csv"}
_KINDS = "all to be Parquet (.parquet, .pq) or all text (.csv, .tsv, .txt, with .gz or without)"
_REMOTE = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:/")  # one letter is a drive of Windows
_INTEGERS = ("tinyint", "smallint", "integer", "bigint", "hugeint")
_NUMBERS = (*_INTEGERS, *(f"u{name}" for name in _INTEGERS), "float", "double", "decimal")
FAMILIES: Mapping[str, str] = {
    "null": "nothing",
    "boolean": "boolean",
    "varchar": "text",
    "enum": "text",
    **dict.fromkeys(_NUMBERS, "numbers"),
}
"""Types of DuckDB whose values can be counted, by what they hold."""


def is_stored(source: Any) -> bool:
    """Whether the rows are in files, or behind a relation of DuckDB."""
    return _are_files(source) or type(source).__name__ == "DuckDBPyRelation"


def _are_files(source: Any) -> bool:
    """Whether a source is a path, or a list of paths."""
    paths = source if isinstance(source, list | tuple) else [source]
    return bool(paths) and all(isinstance(path, str | PathLike) for path in paths)


def find_files(source: Any) -> list[Path]:
    """The files that a path, a folder of Parquet files or a glob stands for, sorted.

    For a list of these, the files of each in turn.

    Raises:
        DataError: There is none.
    """
    if isinstance(source, list | tuple):
        return list(dict.fromkeys(file for path in source for file in find_files(path)))
    if _REMOTE.match(str(source)):
        raise DataError(
            f"{str(source)!r} is an address; expected files of this machine: download them, or "
            "give a relation of DuckDB, which reads addresses"
        )
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    pattern = str(path / "**" / "*.parquet" if path.is_dir() else path)
    found = sorted(map(Path, glob.glob(pattern, recursive=True)))
    if not found:
        raise DataError(f"no file matches {pattern!r}; expected at least one, check the path")
    return found


@contextmanager
def opened(
    source: Any, needed: Sequence[str] | None = None, *, in_order: bool = False
) -> Iterator[Any]:
    """Open what is stored as a relation of DuckDB, which is closed at the end.

    Args:
        source: The path of a file, a folder of Parquet files, a glob, a list of these, or a
            relation.
        needed: The columns that all files have to hold alike; None: all of the first.
        in_order: Keep the order of rows, which takes memory; else memory is bounded.

    Raises:
        DataError: There is no file, files cannot be read, or disagree about a type.
        MissingExtraError: Files need DuckDB, which is not installed.
    """
    if not _are_files(source):
        yield source
        return
    files = find_files(source)
    duckdb, reader = _duckdb(), _reader(files)
    with tempfile.TemporaryDirectory() as folder:
        settings = {} if in_order else _SETTINGS
        with duckdb.connect(config={**settings, "temp_directory": folder}) as connection:
            connection.execute("SET enable_progress_bar = false")  # it writes to standard output
            read = getattr(connection, f"read_{reader}")
            try:
                parts = {str(file): column_types(read(str(file))) for file in files}
                options = csv_options(read, parts) if reader == "csv" else {}
                parts = {file: _with_words(types, options) for file, types in parts.items()}
                _check_alike(parts, needed)
                yield read(list(parts), union_by_name=len(parts) > 1, **options)
            except duckdb.Error as error:
                raise DataError(_why_unreadable(files, str(error))) from error


def read_rows(source: Any, columns: Sequence[str] | None = None) -> "pd.DataFrame":
    """Read some columns of all rows, in order; categories keep the order that the files tell.

    Raises:
        DataError: As for `opened`; or a column is unknown.
    """
    import pandas as pd

    with opened(source, columns, in_order=True) as relation:
        types = column_types(relation)
        names = list(types) if columns is None else checked_names(columns, types)
        frame: pd.DataFrame = relation.project(", ".join(map(quoted, names))).df()
    for name, order in read_orders(source, names).items():
        values = frame[name].astype(object)
        known = dict.fromkeys((*order, *sorted(values.dropna().unique())))
        frame[name] = pd.Categorical(values, categories=list(known))
    return frame


def read_orders(source: Any, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Find the order of categories, for those columns that were stored as such.

    Files of Parquet have it where they were written through Arrow (by pandas or polars, too), and
    are read with pyarrow; without it, all text is sorted.
    """
    if not _are_files(source):
        types = dict(zip(source.columns, source.types, strict=True))
        enums = [name for name in names if types[name].id == "enum"]
        return {name: tuple(dict(types[name].children)["values"]) for name in enums}
    files = find_files(source)
    found: dict[str, dict[str, None]] = {}
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        return {}
    for file in files if _reader(files) == "parquet" else ():
        for name, order in _orders_of(parquet.ParquetFile(file), names).items():
            found.setdefault(name, {}).update(dict.fromkeys(order))
    return {name: tuple(order) for name, order in found.items()}


def _orders_of(file: Any, names: Sequence[str]) -> dict[str, list[str]]:
    types = {field.name: str(field.type) for field in file.schema_arrow}
    coded = [name for name in names if types[name].startswith("dictionary<values=")]
    batch = next(file.iter_batches(batch_size=1, columns=coded), None) if coded else None
    if batch is None:
        return {}
    return {name: batch.column(name).dictionary.to_pylist() for name in coded}


def quoted(name: str) -> str:
    """A column's name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def column_types(relation: Any) -> dict[str, str]:
    """The type of each column of a relation."""
    return {n: t.id for n, t in zip(relation.columns, relation.types, strict=True)}


def _duckdb() -> Any:
    try:
        return importlib.import_module("duckdb")
    except ImportError as error:
        raise MissingExtraError(
            f"DuckDB cannot be imported ({error}); reading the rows of files needs it; "
            'install it with: pip install "causalppl[scale]"'
        ) from error


def _reader(files: Sequence[Path]) -> str:
    kinds = {file.name.lower().removesuffix(".gz").rpartition(".")[2] for file in files}
    readers = {_READERS.get(kind, "") for kind in kinds}
    if len(readers) > 1 or "" in readers:
        raise DataError(f"the files are of the kinds {listed(sorted(kinds))}; expected {_KINDS}")
    return readers.pop()


def _why_unreadable(files: Sequence[Path], message: str) -> str:
    """What DuckDB says before it proposes options that are its own."""
    named = re.search(r"^\s*file = (.+)$", message, re.MULTILINE)
    file = named[1].strip() if named else f"{files[0]}{' or its like' * (len(files) > 1)}"
    if "not utf-8" in message:
        return f"{file} is not in UTF-8; expected text in UTF-8, save it so"
    told = " ".join(itertools.takewhile(_is_finding, message.strip().splitlines()))
    return f"DuckDB cannot read {file}: {told}"


def _is_finding(line: str) -> bool:
    return bool(line.strip()) and not line.lower().startswith(("possible", "the search space"))


def _with_words(types: Mapping[str, str], options: Mapping[str, Any]) -> dict[str, str]:
    """Truth values are words where any file has other ones."""
    words = options.get("dtype", {})
    return {
        name: words.get(name, kind) if kind == "boolean" else kind for name, kind in types.items()
    }


def _check_alike(parts: Mapping[str, Mapping[str, str]], needed: Sequence[str] | None) -> None:
    """Raise where a column is not in every file, or is text here and numbers there."""
    types = next(iter(parts.values()))
    for name in checked_names(dict.fromkeys(types if needed is None else needed), types):
        known = {file: own.get(name, "absent") for file, own in parts.items()}
        filled = {file: kind for file, kind in known.items() if kind != "null"}  # null: all missing
        first, there = next(iter(filled.items()), ("", ""))
        for file, here in filled.items():
            if here != there and FAMILIES.get(here) != FAMILIES.get(there, there):
                raise DataError(
                    f"column {name!r} is {there} in {first} and {here} in {file}; expected one "
                    "type in all files, convert one or count them apart"
                )
