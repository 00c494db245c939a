"""Answers by the name of their variable."""

from typing import NoReturn, TypeVar

from causalppl.data.column import listed
from causalppl.spelling import closest

__all__ = ["ByName"]

T = TypeVar("T")


class ByName(dict[str, T]):
    """A dictionary that, asked for what it has not, says what it has.

    Example:
        >>> ByName({"Y": 2.0})["y"]
        Traceback (most recent call last):
        KeyError: "there is no 'y'; the posterior has Y; did you mean 'Y'?"
    """

    def __missing__(self, name: str) -> NoReturn:
        raise KeyError(
            f"there is no {name!r}; the posterior has {listed(self)}{closest(name, self)}"
        )
