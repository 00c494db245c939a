"""Settings of engines and fits, checked where they are given."""

import math
from numbers import Integral, Real
from typing import Any

from causalppl.exceptions import DataError


def check_counts(least: int = 1, **counts: Any) -> None:
    """Raise unless each setting is a whole number, and large enough.

    Args:
        least: The smallest number allowed.
        **counts: Settings by name.

    Raises:
        DataError: One is not; the message names it.

    Example:
        >>> check_counts(num_steps=2.5)
        Traceback (most recent call last):
        causalppl.exceptions.DataError: num_steps is 2.5; expected a whole number of at least 1
    """
    for name, value in counts.items():
        is_whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not is_whole or value < least:
            raise DataError(f"{name} is {value!r}; expected a whole number of at least {least}")


def check_positive(**values: Any) -> None:
    """Raise unless each setting is a positive finite number.

    Raises:
        DataError: One is not; the message names it.
    """
    for name, value in values.items():
        if not _is_number(value) or value <= 0:
            raise DataError(f"{name} is {value!r}; expected a positive number")


def check_share(**values: Any) -> None:
    """Raise unless each setting lies between 0 and 1.

    Raises:
        DataError: One does not; the message names it.
    """
    for name, value in values.items():
        if not _is_number(value) or not 0 < value < 1:
            raise DataError(f"{name} is {value!r}; expected a number between 0 and 1")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
