"""What a command answers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from causalppl.exceptions import DataError

__all__ = ["NO", "YES", "Reply", "check_picture", "save_picture"]

YES, NO = 0, 1


@dataclass(frozen=True)
class Reply:
    """An answer, to be read by people or by programs.

    Attributes:
        data: What ``--json`` prints.
        text: What is printed otherwise; empty where all was said on the way.
        code: The exit code: 0, answered; 1, answered "no".
    """

    data: Any
    text: str = ""
    code: int = YES


def check_picture(path: Path) -> None:
    """Refuse a file for a picture whose folder is not there, or that is a folder.

    Raises:
        DataError: It cannot be written.
    """
    if path.is_dir():
        raise DataError(f"{str(path)!r} is a folder; expected a file, such as a.png")
    if not path.parent.is_dir():
        raise DataError(f"{str(path)!r} cannot be drawn: there is no folder {str(path.parent)!r}")


def save_picture(axes: Any, path: Path) -> None:
    """Write what was drawn to a file, of the kind that its suffix says.

    Raises:
        DataError: There is no such kind.
    """
    try:
        axes.figure.savefig(path, bbox_inches="tight")
    except ValueError as error:
        raise DataError(f"{str(path)!r} cannot be drawn: {error}; expected such as a.png") from None
