"""What a formula needs of the data: its columns, as rows or as counts of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from causalppl.data import Counts, Table, counts
from causalppl.data.files import is_stored, opened, read_orders
from causalppl.estimation.contingency import OBSERVED, columns_by_source, occurring
from causalppl.estimation.dirichlet_laws import MOST_CELLS
from causalppl.estimation.estimator import Estimator
from causalppl.estimation.exact import SourceKey
from causalppl.estimation.row_weights import MOST_ROWS, are_whole, read_weights
from causalppl.estimation.source_keys import check_given, check_used, keyed, said
from causalppl.estimation.source_weights import told_unweighted, weights_by_source
from causalppl.estimation.usable_rows import UsableRows
from causalppl.exceptions import DataError
from causalppl.identification import Estimand

__all__ = ["Reader"]

Array: TypeAlias = NDArray[np.float64]
_HEAD = 20_000  # rows that are looked at before all are counted
_MOST_WEIGHTS = 1_000  # more different ones than these make about as many groups as rows


@dataclass(frozen=True, eq=False)
class Reader:
    """Reads the sources of a formula, each once, as rows or as counts of them.

    Attributes:
        columns: Source to the columns that are needed.
        data: Source to its data.
        weights: Source to its weights, if any.
        kept: Columns in which a value may be missing.
        are_sampling: Whether whole weights, too, are sampling weights.
        notes: What the answer should say of how the sources were read.

    Example:
        >>> from causalppl.graphs import back_door
        >>> from causalppl.identification import identify
        >>> estimand = identify(back_door(), "P(Y=1 | do(X=1))")
        >>> table = {"Z": [0, 1, None], "X": [0, 1, 1], "Y": [0, 1, 1]}
        >>> (rows,) = Reader.of(estimand, table).rows().values()
        >>> rows.num_rows, rows.removed
        (2, '1 of 3 rows with missing Z were removed')
    """

    columns: Mapping[SourceKey, Sequence[str]]
    data: Mapping[SourceKey, Any]
    weights: Mapping[SourceKey, Any] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    are_sampling: bool = False
    notes: tuple[str, ...] = ()
    _usable: dict[SourceKey, UsableRows] = field(default_factory=dict, init=False)

    @classmethod
    def of(
        cls,
        estimand: Estimand,
        data: Any,
        sources: Mapping[Any, Any] | None = None,
        weights: Any = None,
        method: Estimator | None = None,
        *,
        are_sampling: bool = False,
    ) -> "Reader":
        """Sort by source what the user gave; see `estimate`.

        Raises:
            DataError: A source that the formula uses is not given, one that is given is not used,
                or a key is none.
        """
        others = keyed(sources or {})
        given = others if data is None else {**others, OBSERVED: data}
        needed = columns_by_source(estimand)
        read = {key: each for key, each in given.items() if key in needed or not needed}
        weighted = weights_by_source(weights, read)
        if needed:
            check_used(others, needed, "sources holds")
            check_used(weighted, needed, "weights are given for")
        else:  # the diagram alone answers
            needed = {next(iter(given), OBSERVED): sorted(estimand.query.variables)}
        check_given(needed, given)
        kept: frozenset[str] = frozenset()
        if method is not None:
            kept = method.keeps_incomplete(estimand)
            if OBSERVED in needed:
                needed[OBSERVED] = _joined(needed[OBSERVED], *method.extra_columns(estimand))
        notes = told_unweighted(weights, weighted, read)
        return cls(needed, given, weighted, kept, are_sampling, notes)

    @property
    def is_stored(self) -> bool:
        """Whether a source is a file or a relation, so that its rows may be counted instead."""
        return any(is_stored(self.data[key]) for key in self.columns)

    def rows(self) -> dict[SourceKey, UsableRows]:
        """Read the complete rows of each source; where the user gave counts, these."""
        return {key: self._rows(key) for key in self.columns}

    def counts(self) -> dict[SourceKey, UsableRows]:
        """Count the rows of files and relations, where that says as much; read all others.

        It does if all columns are discrete, and the weights, if any, a column of whole numbers.
        """
        return {key: self._counted(key) or self._rows(key) for key in self.columns}

    def _rows(self, key: SourceKey) -> UsableRows:
        if key not in self._usable:
            given = isinstance(self.data[key], Counts)
            self._usable[key] = self._given_counts(key) if given else self._complete_rows(key)
        return self._usable[key]

    def _complete_rows(self, key: SourceKey) -> UsableRows:
        names, weight, source = self.columns[key], self.weights.get(key), self.data[key]
        asked = _joined(names, weight) if isinstance(weight, str) else names
        table = Table.from_any(source, asked, dtype=torch.float64)
        if not table.num_rows:
            where = (
                f"{source} has"
                if isinstance(source, str | PathLike)
                else f"the data of {said(key)} have"
            )
            raise DataError(f"{where} no rows; expected at least one")
        sampling = self.are_sampling
        weights = (
            None if weight is None else read_weights(table, weight, source, are_sampling=sampling)
        )
        table = table.select(names)
        gaps = [n for n in names if table.column(n).missing is not None and n not in self.kept]
        found, is_complete = table.drop_missing(gaps), _is_complete(table, gaps)
        incomplete = table.num_rows - found.num_rows
        if weights is None:
            return UsableRows(found, None, found.num_rows, incomplete, 0, tuple(gaps))
        weights = weights[is_complete]
        used = weights > 0
        found, weights = found.rows(torch.from_numpy(used)), weights[used]
        left_out = incomplete, int((~used).sum()), tuple(gaps)
        return UsableRows(found, weights, found.num_rows, *left_out, is_weighted=True)

    def _given_counts(self, key: SourceKey) -> UsableRows:
        given: Counts = self.data[key]
        if key in self.weights:
            raise DataError(
                f"weights are given for {said(key)}, whose data are counts; expected none, as "
                "counts say how often each row counts"
            )
        if not are_whole(given.values.numpy()):
            raise DataError(
                f"the counts of {said(key)} are sums of weights that are not whole, which do not "
                "say how many rows they are worth; give the rows, and weights="
            )
        return UsableRows.of_counts(given.select(self.columns[key]))

    def _counted(self, key: SourceKey) -> UsableRows | None:
        names, weight, source = self.columns[key], self.weights.get(key), self.data[key]
        if not is_stored(source) or not isinstance(weight, str | None):
            return None
        if weight is not None and (self.are_sampling or weight in names):
            return None
        asked = names if weight is None else [*names, weight]
        with opened(source, asked) as relation:
            head = Table.from_any(relation.limit(_HEAD), asked, dtype=torch.float64)
            if not head.num_rows or not _are_levels(head, names) or not _are_counts(head, weight):
                return None
            # weights are counted like values, so that their sums are exact in any order
            found = counts(relation, asked, max_states=MOST_CELLS)
        if weight is not None and not _is_whole(found, weight):
            return None
        return UsableRows.of_counts(found, weight=weight, orders=read_orders(source, names))


def _are_levels(table: Table, names: Sequence[str]) -> bool:
    return all(occurring(table.column(name)) is not None for name in names)


def _are_counts(table: Table, weight: str | None) -> bool:
    if weight is None:
        return True
    column = table.column(weight)
    values = column.values.numpy()
    is_countable = (
        column.categories is None and are_whole(values) and not (values > MOST_ROWS).any()
    )
    return is_countable and len(set(values)) <= _MOST_WEIGHTS


def _is_whole(found: Counts, weight: str) -> bool:
    states = found.states[weight]
    are_whole = all(not isinstance(s, str) and s >= 0 and s == int(s) for s in states)
    return are_whole and not found.missing.get(weight)


def _is_complete(table: Table, gaps: Sequence[str]) -> NDArray[np.bool_]:
    masks = [table.column(name).missing for name in gaps]
    found = np.ones(table.num_rows, dtype=bool)
    for missing in masks:
        found &= True if missing is None else ~missing.numpy()
    return found


def _joined(names: Sequence[str], *more: str) -> list[str]:
    return list(dict.fromkeys((*names, *more)))
