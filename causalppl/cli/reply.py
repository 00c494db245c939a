"""What a command answers."""

from dataclasses import dataclass
from typing import Any

__all__ = ["NO", "YES", "Reply"]

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
