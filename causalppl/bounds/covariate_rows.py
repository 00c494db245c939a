"""Rows with an outcome, an arm and covariates, as numbers and as cells of equal covariates."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.cell_models import CellModels
from causalppl.bounds.learned_models import LearnedModels
from causalppl.bounds.sensitivity_rows import read_codes, read_row_weights, read_rows
from causalppl.bounds.tail_learners import Learners
from causalppl.bounds.tail_models import TailModels
from causalppl.data import Table
from causalppl.exceptions import DataError
from causalppl.seeding import checked_seed

__all__ = ["CovariateRows", "find_cells"]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]

_MOST_CELLS = 200
_ROWS_PER_CELL = 20  # on average, from which frequencies within cells are taken


@dataclass(frozen=True, eq=False)
class CovariateRows:
    """Columns as arrays.

    Attributes:
        y: Outcomes, shape ``(rows,)``.
        arm: The place of each row's arm among the arms.
        arms: The values of the arm, sorted.
        matrix: Covariates as numbers, shape ``(rows, columns)``.
        cells: The cell of equal covariates of each row; None where there are too many.
        weights: How often each row counts, with mean 1.
    """

    y: Array
    arm: Codes
    arms: tuple[Any, ...]
    matrix: Array
    cells: Codes | None
    weights: Array

    @classmethod
    def read(cls, y: Any, arm: Any, covariates: Any, weights: Any) -> "CovariateRows":
        """Read and check the columns.

        Raises:
            DataError: They cannot be used.
        """
        found = read_rows(y=y)["y"]
        codes, arms = read_codes("arm", arm, len(found))
        matrix = _matrix(covariates, len(found))
        if len(arms) < 2:
            raise DataError(f"arm is {arms[0]!r} in all rows; expected two arms or more")
        weight = read_row_weights(weights, len(found))
        weight = np.ones(len(found)) if weight is None else weight / weight.mean()
        return cls(found, codes, arms, matrix, find_cells(matrix), weight)

    def place(self, at: Any) -> int:
        """The place of an arm."""
        if at not in self.arms:
            raise DataError(f"no row is in the arm {at!r}; the arms are {self.arms}")
        return self.arms.index(at)

    def models(
        self,
        learners: Learners | None,
        chances: Array | None,
        outcome_range: tuple[float, float] | None,
        seed: int | None,
    ) -> TailModels:
        """Frequencies within cells, or learners where these were given or cells are too many."""
        if self.cells is not None and learners is None:
            return CellModels(self.arm, self.weights, self.cells, chances, outcome_range)
        rng = np.random.default_rng(checked_seed(seed))
        return LearnedModels(
            self.arm, self.weights, self.matrix, learners or Learners(), rng, chances
        )


def find_cells(matrix: Array) -> Codes | None:
    """Number the different rows of covariates; None where they are too many for frequencies."""
    if matrix.shape[1] == 0:
        return np.zeros(len(matrix), dtype=np.int64)
    most = min(_MOST_CELLS, max(len(matrix) // _ROWS_PER_CELL, 1))
    if any(len(np.unique(column)) > most for column in matrix.T):
        return None
    _, cells = np.unique(matrix, axis=0, return_inverse=True)
    cells = cells.reshape(-1)
    return cells if int(cells.max()) < most else None


def _matrix(covariates: Any, num_rows: int) -> Array:
    """Covariates as columns of numbers; categories become indicators."""
    if covariates is None:
        return np.zeros((num_rows, 0))
    if hasattr(covariates, "detach"):
        covariates = covariates.detach().cpu().numpy()
    if isinstance(covariates, np.ndarray | list | tuple) and not getattr(
        getattr(covariates, "dtype", None), "names", None
    ):
        found = np.asarray(covariates, dtype=float)
        found = found[:, None] if found.ndim == 1 else found
    else:
        found = _table_matrix(covariates)
    if found.ndim != 2 or len(found) != num_rows:
        raise DataError(
            f"covariates have shape {found.shape}; expected ({num_rows}, columns), one line a row"
        )
    if not np.isfinite(found).all():
        raise DataError("covariates have missing or infinite values; leave these rows out")
    return found


def _table_matrix(covariates: Any) -> Array:
    import torch

    columns = []
    for column in Table.from_any(covariates, dtype=torch.float64).columns.values():
        values = column.values.detach().cpu().numpy()
        if column.categories is None:
            columns.append(np.asarray(values, dtype=float).reshape(len(values), -1))
        elif (values < 0).any():
            raise DataError("covariates have missing values; leave these rows out")
        else:
            columns.append((values[:, None] == np.unique(values)[1:]) * 1.0)
    return np.concatenate(columns, axis=1)
