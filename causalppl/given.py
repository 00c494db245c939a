"""What was given where something else was expected, told in a few words."""

import inspect
from collections.abc import Iterator
from typing import Any

from causalppl.exceptions import CausalPPLError, DataError

__all__ = ["check_axes", "check_kind", "told"]

_LONGEST = 60  # characters of a value that are shown


def told(value: object) -> str:
    """Tell a value by itself where that is short, else by its type: never a whole table.

    Example:
        >>> told(3), told(DataError), told(list(range(100)))
        ('3', 'the class DataError', 'a list')
    """
    if isinstance(value, type):
        return f"the class {value.__name__}"
    shown = repr(value)
    if isinstance(value, str):
        return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."
    is_short = len(shown) <= _LONGEST and "\n" not in shown and " at 0x" not in shown
    return shown if is_short else f"a {type(value).__name__}"


def check_kind(
    value: object,
    kind: type,
    what: str,
    example: str,
    error: type[CausalPPLError] = DataError,
) -> None:
    """Refuse what is no object of a kind, such as its class without brackets, or its name.

    Args:
        value: What was given.
        kind: The class that it should be an object of.
        what: The argument's name, such as ``"engine"``.
        example: What could be written instead, such as ``"an engine, such as NUTS()"``.
        error: What is raised.

    Raises:
        CausalPPLError: It is none; the message says what to write.

    Example:
        >>> check_kind(DataError(), CausalPPLError, "error", "an error, such as DataError()")
        >>> check_kind("dataerror", CausalPPLError, "error", "an error, such as DataError()")
        Traceback (most recent call last):
        causalppl.exceptions.DataError: error is 'dataerror'; expected an object: write error=...
    """
    if isinstance(value, kind):
        return
    meant = _meant(value, kind)
    if meant is not None:
        written = f"{meant.__name__}({'...' if _needs_settings(meant) else ''})"
        raise error(
            f"{what} is {told(value)}; expected an object: write {what}={written}, with brackets "
            "and without quotes"
        )
    raise error(f"{what} is {told(value)}; expected {example}")


def check_axes(ax: object) -> None:
    """Refuse what no picture can be drawn on, such as a figure or an array of axes.

    Raises:
        DataError: It is neither None nor axes.

    Example:
        >>> check_axes(3)
        Traceback (most recent call last):
        causalppl.exceptions.DataError: ax is 3; expected one matplotlib axes, or None for a new one
    """
    if ax is not None and not hasattr(ax, "set_xlabel"):
        raise DataError(f"ax is {told(ax)}; expected one matplotlib axes, or None for a new one")


def _meant(value: object, kind: type) -> type | None:
    """The class that was given, or named, in place of an object of it."""
    if isinstance(value, type):
        return value if issubclass(value, kind) else None
    if not isinstance(value, str):
        return None
    name = _plain(value.removesuffix("()"))
    named = (found for found in _below(kind) if _plain(found.__name__) == name)
    return next(named, None)


def _below(kind: type) -> Iterator[type]:
    below: list[type] = kind.__subclasses__()
    for found in below:
        if not found.__name__.startswith("_"):
            yield found
        yield from _below(found)


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


def _needs_settings(found: Any) -> bool:
    try:
        settings = inspect.signature(found).parameters.values()
    except ValueError:  # a class written in C
        return True
    empty = inspect.Parameter.empty
    return any(
        each.default is empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        for each in settings
    )
