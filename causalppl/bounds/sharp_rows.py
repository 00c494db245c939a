"""Rows, chances and policies that sharp bounds are given: read, and counted rows written out."""

from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.cell_models import CellModels
from causalppl.bounds.covariate_rows import CovariateRows, find_cells
from causalppl.bounds.sensitivity_rows import (
    num_counted,
    read_propensities,
    read_row_weights,
    read_rows,
)
from causalppl.bounds.tail_learners import Learners
from causalppl.bounds.tail_models import TailModels
from causalppl.estimation.row_weights import are_whole
from causalppl.exceptions import DataError

__all__ = ["Taken", "binary_chances", "models_of", "read_covariate_rows", "read_laws"]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]
_MANY = 4_000  # rows, from which the number of cells is no longer limited by them


class Taken(NamedTuple):
    """Which of the rows that were given are used, how many were given, and each one's count."""

    places: Codes
    num_given: int
    counts: Array | None = None


def read_covariate_rows(
    y: Any,
    arm: Any,
    covariates: Any,
    weights: Any,
    learners: Learners | None,
    *,
    are_sampling: bool = False,
) -> tuple[CovariateRows, Taken]:
    """Read the rows; whole weights are counts of equal rows.

    Within cells a row that stands for several is weighed; learners are given it several times, as
    folds must be able to part them.
    """
    rows = CovariateRows.read(y, arm, covariates, weights)
    num_given = len(rows.y)
    counts = read_row_weights(weights, num_given, are_sampling=are_sampling)
    if counts is None or not are_whole(counts):
        return rows, Taken(np.arange(num_given), num_given)
    taken = np.flatnonzero(counts)
    cells = _counted_cells(rows.matrix[taken], num_counted(counts))
    counts = counts[taken]
    if cells is None or learners is not None:
        taken = np.repeat(taken, counts.astype(np.int64))
        cells, counts = None, np.ones(len(taken))
    seen, codes = np.unique(rows.arm[taken], return_inverse=True)
    if len(seen) < 2:
        raise DataError("only one arm has rows with a weight; expected two arms or more")
    if len(seen) < len(rows.arms):
        raise DataError(
            f"no row with a weight is in {len(rows.arms) - len(seen)} of {len(rows.arms)} arms; "
            "expected rows in each, leave out those without a weight"
        )
    return (
        CovariateRows(rows.y[taken], codes, rows.arms, rows.matrix[taken], cells, counts),
        Taken(taken, num_given, counts),
    )


def models_of(rows: CovariateRows, taken: Taken, *settings: Any) -> TailModels:
    """Models of arms and tails, which know what rows are counted."""
    found = rows.models(*settings)
    return replace(found, counts=taken.counts) if isinstance(found, CellModels) else found


def _counted_cells(matrix: Array, num_rows: int) -> Codes | None:
    """Cells of equal covariates, by the rule for as many rows as were counted."""
    copies = min(num_rows, max(_MANY, len(matrix))) - len(matrix)
    found = find_cells(np.concatenate([matrix, np.repeat(matrix[:1], copies, axis=0)]))
    return None if found is None else found[: len(matrix)]


def binary_chances(
    rows: CovariateRows, taken: Taken, propensities: Any, place: int
) -> Array | None:
    """Chances of the arms, from those of one; what is left goes to any other."""
    if propensities is None:
        return None
    found = read_rows(propensities=propensities)["propensities"]
    if len(found) != taken.num_given:
        raise DataError(
            f"unequal lengths: y has {taken.num_given} and propensities has {len(found)}; expected "
            "one value for each row in all of them"
        )
    found = read_propensities("propensities", found)[taken.places]
    chances = np.tile((1 - found)[:, None], (1, len(rows.arms)))
    chances[:, place] = found
    return chances


def read_laws(name: str, values: Any, rows: CovariateRows, taken: Taken) -> Array:
    """Read the chances of all arms in each row, of the rows that are used."""
    found = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, dtype=float)
    shape = (taken.num_given, len(rows.arms))
    if found.shape != shape:
        raise DataError(f"{name} have shape {found.shape}; expected {shape}, actions sorted")
    if not (found.min() >= 0 and np.abs(found.sum(1) - 1).max() <= 1e-6):
        raise DataError(f"{name} are below 0, or do not sum to 1 in some row; expected laws")
    return found[taken.places]
