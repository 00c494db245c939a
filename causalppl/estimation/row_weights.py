"""How often each row counts: weights read, brought in line with the rows, and checked."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.data import Table
from causalppl.data.column import listed
from causalppl.exceptions import DataError

__all__ = ["are_whole", "few_rows_worth", "fractions", "freedom_left", "read_weights"]

Array: TypeAlias = NDArray[np.float64]
FEWEST_WORTH = 10.0  # rows that sampling weights must leave for an answer without a warning
_ASYMPTOTIC = 30.0  # rows from which quantiles are those of the normal law
MOST_ROWS = 2**53  # beyond it, a float does not tell a number of rows from the next


def read_weights(table: Table, weights: Any, source: Any, *, are_sampling: bool = False) -> Array:
    """Read the weight of each row; sampling weights, of any scale, are scaled to at most 1.

    Args:
        table: The rows.
        weights: The name of a column, or one number for each row; a series of pandas is brought
            into the order of the source's labels.
        source: What the table was read from.
        are_sampling: Whether whole numbers, too, are sampling weights.

    Raises:
        DataError: They are no numbers, not one for each row, negative, missing or infinite;
            whole numbers, hence counts, of more rows than 2**53; or their labels are not those of
            the rows.
    """
    named = isinstance(weights, str)
    what = f"the column {weights!r}" if named else "weights"
    if named and table.column(weights).categories is not None:
        raise DataError(f"{what} of weights is text; expected numbers")
    try:
        found = np.asarray(table[weights] if named else _aligned(weights, source), dtype=float)
    except (TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"weights are {weights!r}; expected the name of a column, or one number for each row"
        ) from None
    if found.shape != (table.num_rows,):
        raise DataError(
            f"weights have shape {found.shape}; expected ({table.num_rows},), one for each row"
        )
    if not np.isfinite(found).all() or (found < 0).any():
        raise DataError(f"{what} has negative, missing or infinite weights; expected none")
    if are_sampling or not are_whole(found):
        return fractions(found)
    if found.max(initial=0.0) > MOST_ROWS or found.sum() > MOST_ROWS:
        raise DataError(
            f"{what} has whole numbers, so counts, of up to {found.max():.3g} rows in one; "
            "expected fewer than 2**53 in all; pass sampling_weights=True if rows of a sample "
            "stand for so many"
        )
    return found


def are_whole(weights: Array) -> bool:
    """Whether weights are counts of equal rows, rather than sampling weights."""
    return bool((weights == np.floor(weights)).all())


def fractions(weights: Array) -> Array:
    """Scale sampling weights, exactly, so that none is a whole number."""
    _, exponent = np.frexp(weights.max(initial=0.0))
    return np.asarray(np.ldexp(weights, -int(exponent) - 1))


def rows_worth(weights: Array) -> float:
    """How many equally weighted rows would tell as much: Kish's effective sample size."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def few_rows_worth(weights: Array) -> tuple[str, ...]:
    """Say that sampling weights leave few rows; nothing if they do not.

    Example:
        >>> few_rows_worth(np.array([1000.0, *[1.0] * 99]))
        ('the weights make 100 rows worth 1.2: a few rows decide the answer; check the weights',)
        >>> few_rows_worth(np.ones(5))
        ()
    """
    worth = rows_worth(weights)
    if worth >= min(FEWEST_WORTH, len(weights) / 2):
        return ()
    return (
        f"the weights make {len(weights):,} rows worth {worth:.2g}: a few rows decide the answer; "
        "check the weights",
    )


def freedom_left(weights: Array) -> float:
    """Degrees of freedom for errors where sampling weights leave few rows; else infinite.

    Example:
        >>> freedom_left(np.ones(5)), round(freedom_left(np.array([10.0, *[1.0] * 9])), 1)
        (inf, 2.3)
    """
    worth = rows_worth(weights)
    if worth >= min(_ASYMPTOTIC, len(weights) / 2):
        return float("inf")
    return max(worth - 1, 1.0)


def _aligned(weights: Any, source: Any) -> Any:
    """Bring a series of pandas into the order of the rows; anything else has that order."""
    import pandas as pd

    labels = _labels(source)
    if not isinstance(weights, pd.Series) or labels is None or weights.index.equals(labels):
        return weights
    if not (weights.index.is_unique and labels.is_unique and set(weights.index) == set(labels)):
        raise DataError(
            f"the weights are labelled {_shown(weights.index)} and the rows {_shown(labels)}; "
            "expected the same labels, each once; give weights.to_numpy() if they are in the order "
            "of the rows"
        )
    return weights.reindex(labels)


def _labels(source: Any) -> Any:
    """The labels of the rows: of a frame, or of a mapping's first series; None without any."""
    import pandas as pd

    columns = source.values() if isinstance(source, Mapping) else [source]
    labelled = (c.index for c in columns if isinstance(c, pd.DataFrame | pd.Series))
    return next(labelled, None)


def _shown(labels: Any) -> str:
    return f"{listed(map(repr, labels[:3].tolist()))}{', ...' * (len(labels) > 3)} ({len(labels)})"
