"""Sources of data: how they are named, and whether those that a formula needs are there."""

from collections.abc import Iterable, Mapping
from typing import Any

from causalppl.data.column import listed
from causalppl.estimation.contingency import OBSERVED
from causalppl.estimation.exact import SourceKey
from causalppl.exceptions import DataError

__all__ = ["check_given", "check_used", "keyed", "said"]


def keyed(given: Mapping[Any, Any]) -> dict[SourceKey, Any]:
    """Read the keys ``(population, variables set)`` that a user wrote.

    Raises:
        DataError: A key is no such pair, or two of them mean one source.
    """
    found: dict[SourceKey, Any] = {}
    for key, value in given.items():
        read = _key(key)
        if read in found:
            raise DataError(f"{said(read)} is given twice; expected each source once")
        found[read] = value
    return found


def said(key: SourceKey) -> str:
    """A source in words."""
    domain, do = key
    what = f"do({', '.join(sorted(do))})" if do else "observation"
    return f"{what} in {domain}" if domain else what


def check_used(keys: Iterable[SourceKey], needed: Iterable[SourceKey], what: str) -> None:
    """Refuse a key that the formula does not use: a typo must not give an unweighted answer.

    Args:
        keys: What the user gave.
        needed: The sources of the formula.
        what: What stands under these keys, in words.

    Raises:
        DataError: The formula does not use one of them.
    """
    used = list(needed)
    for key in keys:
        if key not in used:
            raise DataError(
                f"{what} {_shown(key)}, which the formula does not use; it uses "
                f"{listed(map(_shown, used))}; correct the key, or leave it out"
            )


def check_given(needed: Iterable[SourceKey], given: Iterable[SourceKey]) -> None:
    """Ask for the sources that the formula uses and the user did not give.

    Raises:
        DataError: There is one.
    """
    known = set(given)
    for key in needed:
        if key not in known:
            raise DataError(
                f"the formula needs data of {said(key)}, which were not given; pass "
                + ("them as data" if key == OBSERVED else f"sources={{{_written(key)}: table}}")
            )


def _key(key: Any) -> SourceKey:
    if not isinstance(key, tuple) or len(key) != 2 or not isinstance(key[0], str | None):
        raise DataError(
            f"a source is called {key!r}; expected (population, variables set), such as "
            "(None, ('X',)) or ('trial', ())"
        )
    return key[0], frozenset((key[1],) if isinstance(key[1], str) else key[1])


def _shown(key: SourceKey) -> str:
    return f"{said(key)} {_written(key)}"


def _written(key: SourceKey) -> str:
    return f"({key[0]!r}, {tuple(sorted(key[1]))})"
