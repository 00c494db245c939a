"""Single numbers that sensitivity functions are given, read and checked in one way."""

import math
from collections.abc import Callable
from numbers import Real
from typing import Any, TypeAlias

import numpy as np

from causalppl.data.column import shortened
from causalppl.exceptions import DataError

__all__ = ["check_span", "read_level", "read_number", "read_odds_ratio", "read_odds_ratios"]

Span: TypeAlias = tuple[float, float]


def read_number(
    name: str, value: Any, expected: str, *, is_valid: Callable[[float], bool] | None = None
) -> float:
    """Read one finite number.

    Args:
        name: What it is.
        value: A number of any kind, or an array or tensor that holds one.
        expected: What is expected, for the message.
        is_valid: Whether a number will do; None: any finite one.

    Raises:
        DataError: It is none.

    Example:
        >>> read_number("discount", np.float32(0.5), "a number from 0 to 1")
        0.5
    """
    plain = value.item() if hasattr(value, "item") and np.ndim(value) == 0 else value
    is_number = isinstance(plain, Real) and not isinstance(plain, bool)
    found = float(plain) if is_number else math.nan
    if not math.isfinite(found) or not (is_valid is None or is_valid(found)):
        raise DataError(f"{name} is {shortened(plain)}; expected {expected}")
    return found


def read_level(name: str, value: Any) -> float:
    """Refuse a level that is not between 0 and 1."""
    expected = "a number between 0 and 1, such as 0.05"
    return read_number(name, value, expected, is_valid=lambda level: 0 < level < 1)


def read_odds_ratio(value: Any) -> float:
    """Refuse an odds ratio that is no finite number from 1.

    Raises:
        DataError: It is none.
    """
    expected = "a finite number from 1 (no hidden confounding), such as 1.5"
    return read_number("odds_ratio", value, expected, is_valid=lambda ratio: ratio >= 1)


def read_odds_ratios(values: Any) -> tuple[tuple[float, ...], bool]:
    """Read one odds ratio or several; says whether it was one."""
    if np.ndim(values) == 0:
        return (read_odds_ratio(values),), True
    found = tuple(read_odds_ratio(value) for value in np.asarray(values).reshape(-1).tolist())
    if not found or len(set(found)) < len(found):
        raise DataError(f"odds_ratio is {shortened(values)}; expected different numbers from 1")
    return found, False


def check_span(seen: Span, outcome_range: Span | None) -> None:
    """Refuse a range of outcomes that does not hold the smallest and the largest that was seen."""
    if outcome_range is not None and not outcome_range[0] <= seen[0] <= seen[1] <= outcome_range[1]:
        raise DataError(
            f"outcomes go from {seen[0]:g} to {seen[1]:g}; expected them within outcome_range, "
            f"{outcome_range[0]:g} to {outcome_range[1]:g}"
        )
