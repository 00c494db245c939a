"""The columns of an instrumental analysis, checked."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.data import Table
from causalppl.exceptions import DataError
from causalppl.queries import Value

__all__ = ["InstrumentColumns"]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]


@dataclass(eq=False)
class InstrumentColumns:
    """The columns of an instrumental analysis; ``covariates`` hold a column of ones first.

    ``clusters`` numbers the cluster of each row; without clusters it is None.
    """

    table: Table
    treatment: str
    outcome: str
    instruments: tuple[str, ...]
    given: tuple[str, ...]
    cluster: str | None = None

    def __post_init__(self) -> None:
        table = self.table
        self.x, self.y = _numbers(table, self.treatment), _numbers(table, self.outcome)
        self.z = np.column_stack([_indicators(table, name) for name in self.instruments])
        ones = np.ones((table.num_rows, 1))
        self.covariates = np.column_stack([ones, *(_indicators(table, n) for n in self.given)])
        self.x_values = _values(table, self.treatment)
        self.z_values = _values(table, self.instruments[0]) if len(self.instruments) == 1 else ()
        self.clusters = None if self.cluster is None else _numbered(table, self.cluster)
        self._check()

    @property
    def num_clusters(self) -> int:
        """How many independent pieces the data have: clusters, or rows."""
        return len(self.y) if self.clusters is None else int(self.clusters.max()) + 1

    @property
    def is_binary(self) -> bool:
        """Whether treatment and instrument have two values each."""
        return len(self.x_values) == 2 and len(self.z_values) == 2

    def _check(self) -> None:
        columns = np.column_stack([self.covariates[:, 1:], self.z])
        rows, width = columns.shape
        if rows <= width + 2:
            raise DataError(f"{rows} complete rows for {width + 2} coefficients; expected more")
        scaled = (columns - columns.mean(axis=0)) / columns.std(axis=0)
        if np.linalg.svd(scaled, compute_uv=False)[-1] < 1e-5 * np.sqrt(rows):  # in float32
            raise DataError(
                f"the columns {', '.join((*self.instruments, *self.given))} are linear "
                "combinations of each other; expected none to follow from the others; leave one out"
            )


def _numbers(table: Table, name: str) -> Array:
    column = table.column(name)
    if column.categories is not None or column.values.dim() != 1:
        raise DataError(
            f"column {name!r} holds {column.kind} values; expected one number for each row; "
            "code it as 0 and 1"
        )
    values = column.values.double().numpy()
    if values.min() == values.max():
        raise DataError(f"column {name!r} is {values[0]:g} in all rows; expected it to vary")
    return np.asarray(values)


def _indicators(table: Table, name: str) -> Array:
    """Numbers as they are; categories that occur, but the first, as indicators."""
    column = table.column(name)
    if column.categories is None:
        return _numbers(table, name)[:, None]
    codes = column.values.numpy()
    present = np.unique(codes)
    if len(present) < 2:
        raise DataError(f"column {name!r} has the same category in all rows; expected it to vary")
    return np.asarray(codes[:, None] == present[None, 1:], dtype=float)


def _numbered(table: Table, name: str) -> Codes:
    """Number the values of a column of clusters."""
    values = table.column(name).values
    if values.dim() != 1:
        raise DataError(f"column {name!r} has several values in a row; expected one cluster")
    found = np.unique(values.numpy(), return_inverse=True)[1]
    if not found.any():
        raise DataError(f"column {name!r} has one cluster; expected several, or leave cluster out")
    return np.asarray(found)


def _values(table: Table, name: str) -> tuple[Value, ...]:
    """The values of a column, in order, if there are just two."""
    column = table.column(name)
    found = column.values.unique().tolist()
    if len(found) != 2:
        return ()
    if column.categories is not None:
        return tuple(column.categories[code] for code in found)
    return tuple(int(value) if float(value).is_integer() else value for value in found)
