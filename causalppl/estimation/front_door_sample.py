"""The data of a front door: codes of the treatment, features of mediators and covariates."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.data import Table
from causalppl.estimation.features import standardised
from causalppl.estimation.front_door_roles import Asked, Roles
from causalppl.exceptions import DataError
from causalppl.queries import Value
from causalppl.queries.terms import HOLDS

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]

_FEWEST_ROWS = 10  # of each value of the treatment
_MOST_LEVELS = 10  # of a treatment, or of a column that is coded by indicators
_MOST_CELLS = 20  # of mediators that get a model of their own
_MOST_STRATA = 200  # of covariates at which models are asked once, not for each row


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows, as models take them.

    Attributes:
        levels: The values of the treatment.
        x: The place among them, ``(rows,)``.
        y: The outcome, ``(rows,)``.
        m: Features of the mediators, ``(rows, features)``.
        c: Features of the covariates, ``(rows, features)``.
        cells: Features of each combination of mediators, ``(cells, features)``; None if there are
            many.
        cell: The combination of each row; 0 if there are many.
        strata: The same for the covariates.
        stratum: The same for the covariates.
    """

    levels: tuple[Value, ...]
    x: Codes
    y: Array
    m: Array
    c: Array
    cells: Array | None
    cell: Codes
    strata: Array | None
    stratum: Codes

    @classmethod
    def read(cls, table: Table, asked: Asked, roles: Roles) -> "Sample":
        """Read a table.

        Raises:
            DataError: The treatment has too few or too many values, the outcome is text.
        """
        levels, x = read_levels(table, asked.x)
        m, c = _features(table, roles.m), _features(table, roles.c)
        y = read_outcome(table, asked)
        return cls(levels, x, y, m, c, *_distinct(m, _MOST_CELLS), *_distinct(c, _MOST_STRATA))

    def place(self, value: Value | None, name: str) -> int:
        """Find a value of the treatment among its levels."""
        if value not in self.levels:
            raise DataError(f"{name} is never {value!r} in the data; it is one of {self.levels}")
        return self.levels.index(value)

    def rows(self, chosen: Codes) -> "Sample":
        """Take some rows."""
        parts = {name: getattr(self, name)[chosen] for name in ("x", "y", "m", "c")}
        codes = {name: getattr(self, name)[chosen] for name in ("cell", "stratum")}
        return replace(self, **parts, **codes)


def read_levels(table: Table, name: str) -> tuple[tuple[Value, ...], Codes]:
    """List the values of the treatment, and find the place of each row's among them."""
    column = table.column(name)
    found, places = np.unique(column.values.numpy(), return_inverse=True)
    if not 2 <= len(found) <= _MOST_LEVELS:
        raise DataError(
            f"column {name!r} has {len(found)} values; expected 2 to {_MOST_LEVELS}; cut it into "
            "classes"
        )
    if column.categories is not None:
        levels: tuple[Value, ...] = tuple(column.categories[int(code)] for code in found)
    else:
        numbers = map(_short, found)
        levels = tuple(int(value) if value.is_integer() else value for value in numbers)
    sizes = np.bincount(places)
    if sizes.min() < _FEWEST_ROWS:
        raise DataError(
            f"column {name!r} is {levels[int(sizes.argmin())]!r} in {sizes.min()} rows; expected "
            f"at least {_FEWEST_ROWS} of each value; merge or leave out rare ones"
        )
    return levels, places


def _short(number: np.generic) -> float:
    """Read a number as it is written: 0.1 held in single precision is 0.1."""
    return float(str(number)) if number.dtype == np.float32 else float(number)


def read_outcome(table: Table, asked: Asked) -> Array:
    """Read the outcome, or whether the event happened."""
    column = table.column(asked.y)
    values = column.values.double().numpy()
    if asked.event is not None:
        bound = column.encode(asked.event.value)
        return np.asarray(HOLDS[asked.event.op](values, bound), dtype=float)
    if column.categories is not None:
        raise DataError(f"column {asked.y!r} holds text; expected numbers, or ask for P(Y=y | ...)")
    return np.asarray(values)


def check_varied(table: Table, asked: Asked, roles: Roles) -> None:
    """Refuse an outcome or mediators that are constant.

    Raises:
        DataError: They are.
    """
    for what, names in (("outcome", (asked.y,)), ("mediator", roles.m)):
        columns = [table.column(name).values for name in names]
        if all(bool((column == column[:1]).all()) for column in columns):
            raise DataError(
                f"the {what} {', '.join(names)} is the same in all {table.num_rows:,} rows: no "
                f"error can be estimated; expected a varied {what}"
            )


def _features(table: Table, names: Iterable[str]) -> Array:
    """Code columns: indicators where there are few values, else standardised numbers."""
    parts = [np.zeros((table.num_rows, 0))]
    for name in names:
        column = table.column(name)
        values = column.values.double().numpy().reshape(table.num_rows, -1)
        levels = np.unique(values)
        if column.categories is not None or (values.shape[1] == 1 and len(levels) <= _MOST_LEVELS):
            parts.append((values == levels[None, 1:]).astype(float))
        else:
            parts.append(standardised(values))
    return np.column_stack(parts)


def _distinct(features: Array, most: int) -> tuple[Array | None, Codes]:
    """Find the distinct rows and which is each row's; None and zeros if they are too many."""
    code = np.zeros(len(features), dtype=np.int64)
    for column in features.T:
        levels, place = np.unique(column, return_inverse=True)
        known, code = np.unique(code * len(levels) + place, return_inverse=True)
        if len(known) > most:
            return None, np.zeros_like(code)
    return features[np.unique(code, return_index=True)[1]], code


def deal_folds(sample: Sample, count: int, rng: np.random.Generator) -> Codes:
    """Deal the rows into folds, each treatment and mediator evenly."""
    shuffled = rng.permutation(len(sample.y))
    order = shuffled[np.lexsort((sample.cell[shuffled], sample.x[shuffled]))]
    fold = np.empty(len(order), dtype=np.int64)
    fold[order] = np.arange(len(order)) % count
    return fold


def resample(sample: Sample, rng: np.random.Generator) -> Codes:
    """Resample rows within arms, so that none is empty."""
    arms = [np.flatnonzero(sample.x == level) for level in range(len(sample.levels))]
    drawn = rng.integers(0, len(sample.y), len(sample.y))
    sizes = np.maximum(np.bincount(sample.x[drawn], minlength=len(arms)), 1)
    return np.concatenate([rng.choice(a, size) for a, size in zip(arms, sizes, strict=True)])
