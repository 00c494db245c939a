"""What DuckDB leaves open about files of text: whether one is empty, and how all are read alike."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from causalppl.exceptions import DataError

__all__ = ["csv_options"]

_UNNAMED = re.compile(r"column\d+")  # what DuckDB calls the columns of a file without header
_HEAD = 1_000  # rows that are looked at


def csv_options(
    read: Callable[..., Any], parts: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, str] | bool]:
    r"""Find how files of text are read together, as each is by itself.

    Words such as yes and no, which DuckDB takes for truth values, stay words, as in memory.

    Args:
        read: ``read_csv`` of a connection.
        parts: File to the types of its columns, as DuckDB finds them.

    Returns:
        Options of ``read``: ``header`` where the columns have names, ``dtype`` of columns of words.

    Raises:
        DataError: A file has no column; the message names it.

    Example:
        >>> import duckdb, pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder, "rows.csv")
        ...     _ = file.write_text("id,cured\n1,yes\n2,no\n")
        ...     csv_options(duckdb.read_csv, {str(file): {"id": "bigint", "cured": "boolean"}})
        {'header': True, 'dtype': {'cured': 'varchar'}}
    """
    for file, types in parts.items():
        if list(types) == ["column0"] and _is_blank(read(file)):
            raise DataError(f"{file} is empty; expected a line of names, and rows under it")
    names = {name for types in parts.values() for name in types}
    options: dict[str, Any] = {}
    # in a list of files, DuckDB may overlook a header in which one name is missing
    if not all(_UNNAMED.fullmatch(name) for name in names):
        options["header"] = True
    words: dict[str, str] = {}
    for file, types in parts.items():
        flags = [name for name, kind in types.items() if kind == "boolean"]
        as_text = read(file, all_varchar=True, **options) if flags else None
        words |= dict.fromkeys(_words(as_text, flags), "varchar")
    return {**options, "dtype": words} if words else options


def _is_blank(relation: Any) -> bool:
    return all(row == (None,) for row in relation.limit(_HEAD).fetchall())


def _words(relation: Any, flags: Sequence[str]) -> list[str]:
    """Those columns in which something else than true and false is written."""
    rows = relation.select(*flags).limit(_HEAD).fetchall() if flags else []
    return [
        name
        for name, column in zip(flags, zip(*rows, strict=True), strict=False)
        if {value.lower() for value in column if value is not None} - {"true", "false"}
    ]
