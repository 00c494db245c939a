"""Which weights belong to which source."""

from collections.abc import Iterable, Mapping
from typing import Any

from causalppl.data import Counts
from causalppl.data.column import listed
from causalppl.data.files import is_stored, opened
from causalppl.data.reading import joined_records
from causalppl.estimation.contingency import OBSERVED
from causalppl.estimation.exact import SourceKey
from causalppl.estimation.source_keys import keyed, said
from causalppl.exceptions import DataError
from causalppl.given import told

__all__ = ["column_names", "told_unweighted", "weights_by_source"]


def weights_by_source(weights: Any, data: Mapping[SourceKey, Any]) -> dict[SourceKey, Any]:
    """Say for each source how its rows count.

    Args:
        weights: The name of a column, which each source that has it is weighted by; numbers, which
            are those of the observed rows; or a mapping from sources to either. None: no weights.
        data: Source to its data.

    Raises:
        DataError: A key of the mapping is none.

    Example:
        >>> trial = (None, frozenset({"X"}))
        >>> data = {OBSERVED: {"X": [0, 1], "n": [5, 3]}, trial: {"X": [0, 1]}}
        >>> weights_by_source("n", data)
        {(None, frozenset()): 'n'}
    """
    if isinstance(weights, Mapping):
        return {key: weight for key, weight in keyed(weights).items() if weight is not None}
    if not isinstance(weights, str):
        return {} if weights is None else {OBSERVED: weights}
    named = [key for key, each in data.items() if len(data) > 1 and _has_column(each, weights)]
    return dict.fromkeys(named or data, weights)  # where none has it, reading says what they have


def told_unweighted(
    weights: Any, weighted: Iterable[SourceKey], data: Mapping[SourceKey, Any]
) -> tuple[str, ...]:
    """Say of which sources the rows count once each though others are weighted.

    Nothing is said where the user named the source of each weight, and of counts, which say
    themselves how often each row counts.

    Example:
        >>> trial = (None, frozenset({"X"}))
        >>> told_unweighted("n", [OBSERVED], {OBSERVED: {"n": [5]}, trial: {"X": [0]}})
        ("each row of do(X) counts once: it has no column 'n' of weights",)
    """
    known = set(weighted)
    if weights is None or isinstance(weights, Mapping) or not known:
        return ()
    plain = [k for k, each in data.items() if k not in known and not isinstance(each, Counts)]
    if not plain:
        return ()
    reason = (
        f"it has no column {weights!r} of weights"
        if isinstance(weights, str)
        else "the weights are those of the observed rows"
    )
    return (f"each row of {listed(map(said, plain))} counts once: {reason}",)


def column_names(source: Any) -> frozenset[str]:
    """Name the columns of data, of whatever kind.

    Raises:
        DataError: It is no data.
    """
    if is_stored(source):
        with opened(source) as relation:
            return frozenset(relation.columns)
    source = joined_records(source)
    for attribute in ("column_names", "columns", "names"):
        found = getattr(source, attribute, None)
        if found is not None and not callable(found):
            return frozenset(str(name) for name in found)
    if isinstance(source, Mapping):
        return frozenset(str(name) for name in source)
    raise DataError(f"data is {told(source)}; expected a table, a mapping of columns, or a file")


def _has_column(source: Any, name: str) -> bool:
    return not isinstance(source, Counts) and name in column_names(source)
