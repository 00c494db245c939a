"""Columns ready for many tests: codes, correlations, gaps and regressions are found once."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar, final

import numpy as np
import torch
from numpy.typing import NDArray

from causalppl.data import Table
from causalppl.estimation.nested_curves import NestedCurves
from causalppl.exceptions import DataError

__all__ = ["Question", "Sample"]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]
Names: TypeAlias = Iterable[str]
MAX_STATES = 10  # whole numbers with more different values are taken for measurements
MAX_BYTES = 2**28  # of regressions and scores that are kept


class Sized(Protocol):
    """What has a size in memory."""

    @property
    def nbytes(self) -> int:
        """The size."""


Kept = TypeVar("Kept", bound=Sized)


@final
class Sample:
    """Columns ready for many tests: what they share is found once.

    A column is discrete if it holds categories or booleans, or at most ten different whole
    numbers; unordered if it holds three or more categories, whose codes are no numbers. Rows with
    a gap are left out of the tests that use the column, and of no others.

    Args:
        data: Anything that `Table.from_any` reads.
        columns: The columns to use; None: all.

    Raises:
        DataError: A column is missing, or holds more than one number in each row.

    Example:
        >>> Sample({"dose": [0.5, 1.5, None], "arm": ["b", "a", "b"]}).is_discrete("arm")
        True
    """

    def __init__(self, data: Any, columns: Sequence[str] | None = None) -> None:
        table = Table.from_any(data, columns, dtype=torch.float64)
        self.names, self.num_rows = table.names, table.num_rows
        self.values: dict[str, Array] = {}
        self.gaps: dict[str, NDArray[np.bool_]] = {}
        self.unordered = {name for name, c in table.columns.items() if c.num_states > 2}
        self._codes: dict[str, Codes | None] = {}
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        for name, column in table.columns.items():
            if column.values.dim() != 1:
                raise DataError(f"column {name!r} has vectors; give each part a column of its own")
            self.values[name] = column.values.detach().cpu().double().numpy()
            if column.missing is not None:
                self.gaps[name] = column.missing.cpu().numpy()

    def is_discrete(self, name: str) -> bool:
        """Say whether a column is taken for discrete."""
        return self.codes(name) is not None

    def codes(self, name: str) -> Codes | None:
        """Return codes 0, 1, ..., and -1 in gaps; None if the column is not discrete."""
        if name not in self._codes:
            self._codes[name] = self._numbered(name)
        return self._codes[name]

    def _numbered(self, name: str) -> Codes | None:
        complete = ~self.gaps.get(name, np.zeros(self.num_rows, dtype=bool))
        present = self.values[name][complete]
        if not np.array_equal(present, np.round(present)):
            return None
        states, found = np.unique(present, return_inverse=True)
        codes = np.full(self.num_rows, -1)
        codes[complete] = found
        return codes if len(states) <= MAX_STATES or name in self.unordered else None

    @cached_property
    def correlations(self) -> tuple[list[str], Array]:
        """The columns without gaps that vary, and their correlations."""
        whole = [name for name in self.names if name not in self.gaps]
        names = [name for name in whole if _varies(self.values[name])]
        return names, np.atleast_2d(np.corrcoef([scaled(self.values[name]) for name in names]))

    def ask(self, left: str, right: str, given: Names) -> "Question":
        """Find the complete rows; a constant that is given changes nothing and is left out.

        Raises:
            DataError: Fewer than two rows are complete, or one of the two columns is constant.
        """
        names = (left, right, *sorted(given))
        gapped = tuple(sorted(name for name in names if name in self.gaps))
        rows = np.flatnonzero(~np.any([self.gaps[n] for n in gapped], 0)) if gapped else None
        question = Question(self, left, right, (), rows, gapped)
        if (count := question.num_rows) < 2:
            raise DataError(f"{count} rows without gaps in {', '.join(names)}; expected more")
        varying = [name for name in names if _varies(question.values(name))]
        if lost := [name for name in (left, right) if name not in varying]:
            raise DataError(f"{lost[0]!r} is constant in {count} rows; expected two values")
        return question._replace(given=tuple(n for n in varying if n not in (left, right)))

    def kept(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """Return what many tests share: made when first asked for, and kept while there is room."""
        if key not in self._kept:
            self._kept[key] = make()
            total = sum(value.nbytes for value in self._kept.values())
            while total > MAX_BYTES and len(self._kept) > 1:
                total -= self._kept.popitem(last=False)[1].nbytes
        self._kept.move_to_end(key)
        return self._kept[key]


class Question(NamedTuple):
    """One question: two columns, those given, and the rows without gaps in any (None: all)."""

    sample: Sample
    left: str
    right: str
    given: tuple[str, ...]
    rows: Codes | None
    gapped: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All columns."""
        return (self.left, self.right, *self.given)

    @property
    def num_rows(self) -> int:
        """How many rows are complete."""
        return self.sample.num_rows if self.rows is None else len(self.rows)

    def values(self, name: str) -> Array:
        """Numbers in the complete rows."""
        return self.sample.values[name][slice(None) if self.rows is None else self.rows]

    def codes(self, name: str) -> Codes:
        """Codes in the complete rows."""
        codes = self.sample.codes(name)
        if codes is None:
            raise DataError(f"{name!r} is not discrete; use another test")
        return codes if self.rows is None else codes[self.rows]

    def curves(self) -> NestedCurves:
        """Return the regression on what is given; it is made once for all targets."""
        return self.sample.kept((self.given, self.gapped), self._curves)

    def _curves(self) -> NestedCurves:
        numbers = [name for name in self.given if not self.sample.is_discrete(name)]
        return NestedCurves.on([scaled(self.values(n)) for n in numbers], _groups(self))

    def strata(self, names: Names) -> tuple[Codes, int]:
        """Number the combinations of discrete columns; and say how many numbers there are."""
        strata, count = np.zeros(self.num_rows, dtype=np.int64), 1
        for name in names:
            codes = self.codes(name)
            states = int(codes.max()) + 1
            strata, count = strata * states + codes, count * states
            if count > 4 * self.num_rows:  # most do not occur
                strata = np.unique(strata, return_inverse=True)[1]
                count = int(strata.max()) + 1
        return strata, count

    def encoded(self, name: str) -> Array:
        """Numbers on a scale of their own, categories as one column for each but one."""
        is_number = name not in self.sample.unordered
        return scaled(self.values(name))[:, None] if is_number else self.one_hot(name)[:, 1:]

    def one_hot(self, name: str) -> Array:
        """One column for each value that occurs."""
        codes = self.codes(name)
        states = np.unique(codes)
        if len(states) > self.num_rows / 5:
            raise DataError(
                f"{name!r} has {len(states)} values in {self.num_rows} rows; merge some"
            )
        return np.asarray(codes[:, None] == states, dtype=float)


def _varies(values: Array) -> bool:
    return bool(values.min() < values.max())


def scaled(values: Array) -> Array:
    """Bring numbers that vary to mean 0 and range 1, however large or small they are."""
    halved = values / 2  # the range of the largest numbers overflows
    low, high = halved.min(), halved.max()
    shifted = (halved - low) / (high - low)
    return np.asarray(shifted - shifted.mean())


def _groups(question: Question) -> Array:
    """Columns for what is discrete: all combinations, or main effects where rows are few."""
    discrete = [name for name in question.given if question.sample.is_discrete(name)]
    seen, strata = np.unique(question.strata(discrete)[0], return_inverse=True)
    if len(seen) <= max(1, min(question.num_rows / 50, 200)):
        return np.eye(len(seen))[strata]
    return np.hstack([np.ones((question.num_rows, 1)), *map(question.one_hot, discrete)])
