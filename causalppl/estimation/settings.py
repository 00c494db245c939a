"""Settings of estimators, checked by name."""

from typing import Any

import numpy as np

from causalppl.exceptions import DataError

__all__ = ["check_count", "check_flags", "check_fraction", "check_names"]


def check_fraction(name: str, value: Any) -> None:
    """Refuse a setting that is no small probability."""
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not is_number or not 0 <= value < 0.5:
        raise DataError(f"{name} is {value!r}; expected a number from 0 to below 0.5, such as 0.01")


def check_count(name: str, value: Any, least: int, example: int) -> None:
    """Refuse a setting that is no whole number from ``least``."""
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_whole or value < least:
        raise DataError(
            f"{name} is {value!r}; expected a whole number from {least}, such as {example}"
        )


def check_flags(settings: Any, *names: str) -> None:
    """Refuse settings that are neither True nor False."""
    for name in names:
        value = getattr(settings, name)
        if not isinstance(value, bool | np.bool_):
            raise DataError(f"{name} is {value!r}; expected True or False")


def check_names(name: str, value: Any) -> tuple[str, ...]:
    """Refuse a setting that is no list of texts; returns it as a tuple."""
    if isinstance(value, str):
        raise DataError(f"{name} is the text {value!r}; expected a list, such as [{value!r}]")
    try:
        found = tuple(value)
    except TypeError:
        raise DataError(f"{name} is {value!r}; expected a list of texts") from None
    if wrong := [each for each in found if not isinstance(each, str)]:
        raise DataError(f"{name} holds {wrong[0]!r}; expected texts")
    return found
