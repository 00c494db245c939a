"""Tables of numbers with an axis for each value that a query leaves open."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from causalppl.data.column import listed
from causalppl.exceptions import DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["fixed_place", "open_values", "rows_by_axes"]


def fixed_place(
    axes: Mapping[str, tuple[Any, ...]], values: Mapping[str, Any], what: str
) -> tuple[Any, ...]:
    """Return the index that fixes the values of some axes, and keeps the others whole.

    Args:
        axes: The label of each axis, and the values along it.
        values: Label to the value that it is fixed to.
        what: What has the axes, in words.

    Raises:
        DataError: There is no such axis, or no such value on it.

    Example:
        >>> fixed_place({"X": (0, 1), "Z": ("a", "b")}, {"Z": "b"}, "the estimate")
        (slice(None, None, None), 1)
    """
    if unknown := sorted(set(values) - set(axes)):
        raise DataError(f"{what} no axis {unknown[0]!r}; expected one of {list(axes)}")
    place: list[Any] = []
    for label, states in axes.items():
        if label in values and values[label] not in states:
            known = listed(map(repr, states))
            raise DataError(f"{label} has no value {values[label]!r}; it has {known}")
        place.append(states.index(values[label]) if label in values else slice(None))
    return tuple(place)


def open_values(axes: Mapping[str, tuple[Any, ...]]) -> Iterator[tuple[tuple[int, ...], str]]:
    """List the places of a table, each with its values in words.

    Example:
        >>> list(open_values({"X": (0, 1)}))
        [((0,), 'X=0'), ((1,), 'X=1')]
    """
    for place in np.ndindex(*map(len, axes.values())):
        told = (f"{n}={states[i]}" for (n, states), i in zip(axes.items(), place, strict=True))
        yield place, ", ".join(told)


def rows_by_axes(
    columns: Mapping[str, Any], axes: Mapping[str, tuple[Any, ...]], query: Any
) -> "pd.DataFrame":
    """Return a table with a row for each open value; a query without any names its only row.

    Args:
        columns: Name to numbers, shaped as the axes say.
        axes: The label of each axis, and the values along it.
        query: What was asked.

    Example:
        >>> rows_by_axes({"lower": np.array(0.5)}, {}, "P(Y=1)").index.tolist()
        ['P(Y=1)']
    """
    import pandas as pd

    flat = {name: np.reshape(values, -1) for name, values in columns.items()}
    if not axes:
        return pd.DataFrame(flat, index=[str(query)])
    index = pd.MultiIndex.from_product(list(axes.values()), names=list(axes))
    return pd.DataFrame(flat, index=index)
