"""Numbers that were read as text, as often from CSV files."""

from collections.abc import Iterable

from causalppl.queries import Value

__all__ = ["advice_on_numerals"]


def advice_on_numerals(name: str, values: Iterable[Value]) -> str | None:
    """Say how to turn a column of text into numbers; None if not all its values are numerals.

    Example:
        >>> print(advice_on_numerals("Y", ["0.5", "-2"]))
        Y is text, though all its values are numerals; turn it into numbers: data['Y'].astype(float)
        >>> advice_on_numerals("Y", ["0.5", "none"]) is None
        True
    """
    known = list(values)
    if not known or not all(isinstance(value, str) and _is_numeral(value) for value in known):
        return None
    return (
        f"{name} is text, though all its values are numerals; turn it into numbers: "
        f"data[{name!r}].astype(float)"
    )


def _is_numeral(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return any(letter.isdigit() for letter in text)  # not nan, nor inf
