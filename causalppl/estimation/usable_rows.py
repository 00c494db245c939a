"""The rows of one source that can be used, one by one or counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from causalppl.data import Column, Counts, Table
from causalppl.exceptions import DataError
from causalppl.queries import Value

__all__ = ["UsableRows"]

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class UsableRows:
    """The rows of one source that can be used.

    Attributes:
        table: The rows; or, where they were counted, the combinations of values that occur.
        weights: How often each counts, shape ``(table.num_rows,)``; None: once.
        num_rows: How many rows they are.
        num_incomplete: How many were left out because a value is missing.
        num_weightless: How many were left out because their weight is 0.
        gaps: The columns with missing values.
        is_counted: Whether the table holds combinations.
        is_weighted: Whether the user weighted the rows.

    Raises:
        DataError: No row is left, as all weigh nothing.

    Example:
        >>> from causalppl.data import counts
        >>> table = counts({"X": [0, 1, 1], "Y": ["a", "b", "b"]}, ["X", "Y"])
        >>> rows = UsableRows.of_counts(table)
        >>> rows.table["X"].tolist(), rows.weights.tolist(), rows.num_rows
        ([0.0, 1.0], [1.0, 2.0], 3)
    """

    table: Table
    weights: Array | None
    num_rows: int
    num_incomplete: int = 0
    num_weightless: int = 0
    gaps: tuple[str, ...] = ()
    is_counted: bool = False
    is_weighted: bool = False

    def __post_init__(self) -> None:
        if not self.table.num_rows:
            raise DataError("all weights are zero; expected some positive ones")

    @classmethod
    def of_counts(
        cls,
        found: Counts,
        *,
        weight: str | None = None,
        orders: Mapping[str, Sequence[str]] | None = None,
    ) -> "UsableRows":
        """Take the combinations that occur for rows.

        Args:
            found: The counts.
            weight: That of their columns by which each row counts.
            orders: The order of the values of text, where it is not sorted.
        """
        columns = {
            name: _column(found.states[name], codes, (orders or {}).get(name, ()))
            for name, codes in zip(found.names, found.codes.T, strict=True)
        }
        rows = found.values.double()
        weights = rows if weight is None else rows * columns.pop(weight).values
        used = weights > 0
        num_rows = found.num_rows if weight is None else int(rows[used].sum())
        return cls(
            Table(columns, dropped=found.num_missing).rows(used),
            weights[used].numpy(),
            num_rows,
            found.num_missing,
            found.num_rows - num_rows,
            tuple(name for name in found.names if found.missing.get(name)),
            is_counted=True,
            is_weighted=weight is not None or found.values.is_floating_point(),
        )

    @property
    def removed(self) -> str:
        """Which rows were left out, in words; empty if none were."""
        total = self.num_rows + self.num_incomplete + self.num_weightless
        missing = f"missing {' or '.join(self.gaps) or 'values'}"
        parts = [(self.num_incomplete, missing), (self.num_weightless, "weight 0")]
        told = [f"{number:,} of {total:,} rows with {why}" for number, why in parts if number]
        return f"{' and '.join(told)} were removed" if told else ""


def _column(states: Sequence[Value], codes: Tensor, order: Sequence[str]) -> Column:
    """Text becomes categories, in the order given and then sorted; all else numbers."""
    if not isinstance(states[0], str):
        return Column(torch.tensor([float(s) for s in states], dtype=torch.float64)[codes])
    occurs = set(states)
    kept = dict.fromkeys((*(state for state in order if state in occurs), *states))
    place = {state: number for number, state in enumerate(kept)}
    return Column(torch.tensor([place[state] for state in states])[codes], tuple(kept))
