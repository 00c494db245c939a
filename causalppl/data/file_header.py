"""Which program wrote a file, and in which version: said alike by all files that we write."""

from collections.abc import Mapping
from os import PathLike
from typing import Any

from causalppl.exceptions import DataError

__all__ = ["check_header", "file_header"]


def file_header(kind: str, version: int) -> dict[str, Any]:
    """Return the entries by which a file is known again.

    Example:
        >>> file_header("causalppl.SCM", 1)["format"]
        'causalppl.SCM'
    """
    from causalppl import __version__

    return {"format": kind, "version": version, "causalppl": __version__}


def check_header(
    header: Any, path: "str | PathLike[str]", kind: str, version: int, *, what: str, writer: str
) -> None:
    """Compare the entries of a file with those that are expected.

    Args:
        header: What was read.
        path: From where.
        kind: The format, as in `file_header`.
        version: Likewise.
        what: What the file should hold, in words.
        writer: What writes such files.

    Raises:
        DataError: The file is of another kind, or of another version.

    Example:
        >>> check_header({}, "a.pt", "causalppl.SCM", 1, what="a fitted model", writer="SCM.save")
        Traceback (most recent call last):
        causalppl.exceptions.DataError: 'a.pt' is not a fitted model; expected one by SCM.save
    """
    if not isinstance(header, Mapping) or header.get("format") != kind:
        raise DataError(f"{str(path)!r} is not {what}; expected one by {writer}")
    if header.get("version") != version:
        raise DataError(
            f"{str(path)!r} has file version {header.get('version')!r}; expected {version}; it was "
            f"written by causalppl {header.get('causalppl')!r}, read it with that"
        )
