"""Contingency tables, from memory or from files that are larger than it.

| name | what it does | paper |
|---|---|---|
| `counts` | count the rows of each combination of values | - |
| `Counts` | the counts: the combinations that occur, and how often | - |
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from causalppl.data.column import Value, listed, shortened
from causalppl.data.exact_sums import LIMB, of_limbs, sum_by_group
from causalppl.data.factor import Factor
from causalppl.data.files import FAMILIES, column_types, find_files, is_stored, opened, quoted
from causalppl.data.reading import as_mapping, checked_names, plain_tensor
from causalppl.data.table import Table
from causalppl.exceptions import DataError
from causalppl.spelling import closest

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Counts", "counts", "find_files"]

Codes: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]

_ASKED = "; expected whole numbers, text or truth values, one in each row; convert it"
_LARGEST_TABLE = 2**26  # cells of a factor; half a gibibyte
_LARGEST_SUM = 2**62
_LARGEST_EXACT = 2**53  # as in a table: integers up to here are exact in float64
_MOST_STATES = 1_000
_MOST_FRACTIONS = 100  # different values of a column with fractions
_HEAD = 20_000  # rows that are looked at before a file is read whole


@dataclass(frozen=True, eq=False)
class Counts:
    """How often each combination of values occurs; memory follows the combinations that do.

    Attributes:
        names: The columns.
        states: Column to the values it takes, sorted (or in the order asked for). Whole numbers
            are ``int`` even where the column holds floats.
        codes: The combinations, as positions in ``states``, shape ``(cells, columns)``; sorted.
        values: Rows of each, shape ``(cells,)``, int64; or their weight, float64.
        num_rows: Rows that were counted.
        num_missing: Rows that were left out because a value (or the weight) is missing.
        missing: Column to the number of rows that lack it.

    Example:
        >>> table = counts({"x": [0, 1, 1, None], "y": ["b", "a", "b", "b"]}, ["x", "y"])
        >>> table
        Counts(3 rows in 3 of 4 cells: x of 2, y of 2; 1 with missing values left out)
        >>> table.to_factor().values.tolist()
        [[0.0, 1.0], [1.0, 1.0]]
    """

    names: tuple[str, ...]
    states: Mapping[str, tuple[Value, ...]]
    codes: Tensor
    values: Tensor
    num_rows: int
    num_missing: int = 0
    missing: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} of {len(self.states[name])}" for name in self.names)
        left_out = f"; {self.num_missing} with missing values left out" if self.num_missing else ""
        cells = f"{len(self)} of {self.num_cells} cells"
        return f"Counts({self.num_rows} rows in {cells}: {sizes}{left_out})"

    @property
    def num_cells(self) -> int:
        """The number of combinations, those that do not occur included."""
        return prod(len(self.states[name]) for name in self.names)

    def select(self, columns: Iterable[str]) -> "Counts":
        """Sum over all other columns; rows that were left out stay out.

        Raises:
            DataError: A column is unknown or named twice.
        """
        chosen = tuple(checked_names(columns, self.states))
        places = [self.names.index(name) for name in chosen]
        cells, cell = _grouped([codes.numpy() for codes in self.codes.T[places]])
        values = torch.zeros(len(cells[0]), dtype=self.values.dtype)
        return replace(
            self,
            names=chosen,
            states={name: self.states[name] for name in chosen},
            codes=torch.from_numpy(np.stack(cells, 1)),
            values=values.index_add_(0, torch.from_numpy(cell), self.values),
            missing={name: n for name, n in self.missing.items() if name in chosen},
        )

    def to_factor(self, columns: Iterable[str] | None = None) -> Factor:
        """Spread the counts of some columns, or of all, over a table with every combination.

        Raises:
            DataError: The table would have more than 2**26 cells, or a column is unknown.
        """
        if columns is not None:
            return self.select(columns).to_factor()
        if self.num_cells > _LARGEST_TABLE:
            raise DataError(
                f"the table over {listed(self.names)} has {self.num_cells} cells, of which "
                f"{len(self)} occur; expected at most {_LARGEST_TABLE}, ask for fewer columns"
            )
        sizes = [len(self.states[name]) for name in self.names]
        values = torch.zeros(sizes, dtype=torch.float64)
        values[tuple(self.codes.T)] = self.values.double()
        return Factor(self.names, values, self.states)

    def to_frame(self) -> "pd.DataFrame":
        """List the combinations that occur, one column for each name, and ``count``."""
        import pandas as pd

        codes = dict(zip(self.names, self.codes.T.tolist(), strict=True))
        frame = {name: [self.states[name][c] for c in column] for name, column in codes.items()}
        return pd.DataFrame({**frame, "count": self.values.numpy()})


def counts(
    source: Any,
    columns: Sequence[str],
    *,
    weights: str | None = None,
    states: Mapping[str, Sequence[Value]] | None = None,
    max_states: int | None = None,
) -> Counts:
    """Count the rows of each combination of values.

    Files are read once, by DuckDB, within a fixed memory. The same data give the same counts,
    states and order, to the last digit, from a file as from memory: weights are summed as whole
    multiples of 2**-60, which no order of rows or threads changes.

    Args:
        source: A pandas or polars frame, an Arrow table, a mapping from names to values, a
            `Table`; the path of a Parquet or CSV file, a folder of Parquet files, a glob or a list
            of files; or a relation of DuckDB.
        columns: The columns to count, in this order.
        weights: A column of non-negative weights; None counts rows.
        states: Column to its states, in order, where it shall have other ones than those that
            occur, sorted.
        max_states: Largest number of different values of a column; None: 1,000, and 100 where
            some are fractions.

    Returns:
        The counts of the rows in which none of these columns is missing (NULL, None or NaN).

    Raises:
        DataError: A column is unknown, continuous or of no countable type; a value is none of the
            given ``states``; there is no (complete) row, no file, or files disagree about a type;
            a weight is negative or infinite.
        MissingExtraError: Files need DuckDB, which is not installed.

    Example:
        >>> counts({"x": ["b", "a", "b"], "w": [0.5, 2.0, 1.0]}, ["x"], weights="w").to_frame()
           x  count
        0  a    2.0
        1  b    1.5
    """
    names = [columns] if isinstance(columns, str) else list(columns)
    if not names:
        raise DataError("no column is named; expected at least one to count")
    if not isinstance(weights, str | None):
        raise DataError(
            f"weights are given as {type(weights).__name__}; expected the name of a column: add "
            "them to the table as one"
        )
    weighted = [] if weights is None else [weights]
    most = _MOST_STATES if max_states is None else max_states
    if is_stored(source):
        with opened(source, [*names, *weighted]) as relation:
            groups = _grouped_by_duckdb(relation, names, weighted, most)
    else:
        groups = _grouped_in_memory(source, names, weighted, most)
    if max_states is None:
        _check_fractions(groups, names, states or {})
    return _counts_of(groups, names, states or {}, most)


@dataclass(frozen=True, eq=False)
class _Groups:
    """Rows that agree in every column, in any order."""

    columns: Sequence[Codes]  # negative where missing; a last one, if the weight is missing
    states: Sequence[list[Value]]  # of each column, in any order
    rows: Codes  # of each group
    weights: Floats | None = None


def _keys(columns: Sequence[Codes]) -> tuple[Codes, int]:
    """One number for each row, in the order of its codes, and a bound of these numbers."""
    key, radix = np.zeros(len(columns[0]), dtype=np.int64), 1
    for codes in columns:
        size = int(codes.max(initial=0)) + 2
        if radix * size > _LARGEST_SUM:
            kinds, key = np.unique(key, return_inverse=True)
            radix = len(kinds)
        key, radix = key * size + (codes + 1), radix * size
    return key, radix


def _grouped(columns: Sequence[Codes]) -> tuple[list[Codes], Codes]:
    """The combinations of codes that occur, sorted, and the place of each row among them."""
    key, radix = _keys(columns)
    if radix > max(2**16, 4 * len(key)):
        kinds, key = np.unique(key, return_inverse=True)
        radix = len(kinds)
    member = np.full(radix, -1, dtype=np.int64)
    member[key] = np.arange(len(key))  # any row of the group will do
    occurs = member >= 0
    return [codes[member[occurs]] for codes in columns], (np.cumsum(occurs) - 1)[key]


def _counts_of(
    groups: _Groups, names: list[str], given: Mapping[str, Sequence[Value]], max_states: int
) -> Counts:
    """Leave out what is missing, and sort."""
    checked_names(given, dict.fromkeys(names))
    absent = [int(groups.rows[codes < 0].sum()) for codes in groups.columns]
    missing = {name: n for name, n in zip(names, absent, strict=False) if n}
    complete = np.all([codes >= 0 for codes in groups.columns], axis=0)
    num_rows = int(groups.rows[complete].sum())
    num_missing = int(groups.rows.sum()) - num_rows
    if num_rows == 0:
        by_column = listed(f"{name} {n}" for name, n in missing.items())
        why = f": all {num_missing} have a missing value (by column: {by_column})" * bool(missing)
        raise DataError(f"the data have no complete rows{why}; expected at least one")
    states, columns = {}, []
    for name, column, found in zip(names, groups.columns, groups.states, strict=False):
        used = np.unique(column[complete]).tolist()
        _check_finite(name, len(used), max_states)
        states[name], recode = _ordered(name, used, found, given.get(name))
        columns.append(recode[column[complete]])
    sorting = np.argsort(_keys(columns)[0])
    values = torch.from_numpy(groups.rows if groups.weights is None else groups.weights)
    values = values[torch.from_numpy(complete)][torch.from_numpy(sorting)]
    if not bool(values.any()):
        raise DataError("all weights are zero; expected a positive sum, check the column")
    codes = torch.from_numpy(np.stack([column[sorting] for column in columns], 1))
    return Counts(tuple(names), states, codes, values, num_rows, num_missing, missing)


def _ordered(
    name: str, used: list[int], found: list[Value], given: Sequence[Value] | None
) -> tuple[tuple[Value, ...], Codes]:
    """The states of a column in their order, and the place in it of each code."""
    values = [_state(name, found[code]) for code in used]
    kinds = {bool: "truth values", str: "text"}
    mixed = sorted({kinds.get(type(value), "numbers") for value in values})
    if len(mixed) > 1:
        raise DataError(f"column {name!r} mixes {listed(mixed)}; expected one type, convert it")
    states = tuple(sorted(values)) if given is None else tuple(given)
    place = {state: code for code, state in enumerate(states)}
    recode = np.zeros(max(used) + 1, dtype=np.int64)
    for code, value in zip(used, values, strict=True):
        if value not in place:
            raise DataError(
                f"column {name!r} has the value {value!r}; expected one of the given states "
                f"{listed(map(repr, states))}{closest(value, states)}"
            )
        recode[code] = place[value]
    return states, recode


def _state(name: str, value: Any) -> Value:
    """The plain value: whole floats become integers, as files and frames differ in them."""
    if isinstance(value, bool | str):
        return value
    if not isinstance(value, int | float):
        raise DataError(f"column {name!r} holds values of the type {type(value).__name__}{_ASKED}")
    if not abs(value) <= _LARGEST_EXACT:
        raise DataError(
            f"column {name!r} has the number {value}; expected finite ones up to 2**53, which "
            "floats hold exactly; use strings for names"
        )
    return int(value) if value == int(value) else value


def _check_finite(name: str, size: int, max_states: int, rows: str = "") -> None:
    if size > max_states:
        raise DataError(
            f"column {name!r} has {size} different values{rows}, so it is continuous or a name; "
            f"expected at most {max_states}, cut it into intervals or raise max_states"
        )


def _check_fractions(
    groups: _Groups, names: list[str], given: Mapping[str, Sequence[Value]]
) -> None:
    """Refuse what is measured rather than counted, unless its states are given."""
    for name, found in zip(names, groups.states, strict=False):
        values = [value for value in found if isinstance(value, float) and value == value]
        if name not in given and any(value != np.floor(value) for value in values):
            _check_finite(name, len(values), _MOST_FRACTIONS, " with fractions")


def _grouped_in_memory(
    source: Any, names: list[str], weights: list[str], max_states: int
) -> _Groups:
    if isinstance(source, Table):
        source = source.select(dict.fromkeys([*names, *weights])).to_pandas()
    series = as_mapping(source, [*names, *weights])
    checked_names(names, series)
    checked_names(weights, series)
    columns, states = [], []
    for name in names:
        codes, found = _encoded(name, series[name])
        _check_finite(name, len(found), max_states)
        columns.append(codes)
        states.append(found)
    if weights:
        weight = _weights(weights[0], series[weights[0]])
        columns.append(-np.isnan(weight).astype(np.int64))
    lengths = sorted({len(codes) for codes in columns})
    if len(lengths) > 1:
        raise DataError(f"columns have the lengths {listed(lengths)}; expected equal ones")
    columns, group = _grouped(columns)
    rows = np.bincount(group)
    if not weights:
        return _Groups(columns, states, rows)
    return _Groups(columns, states, rows, sum_by_group(np.nan_to_num(weight), group, len(rows)))


def _encoded(name: str, values: Any) -> tuple[Codes, list[Value]]:
    """Codes (negative where missing) and the values they stand for, in order of appearance."""
    import pandas as pd

    is_masked = isinstance(values, np.ma.MaskedArray)
    mask, values = (values.mask, values.data) if is_masked else (False, _as_array(name, values))
    if values.ndim != 1 or values.dtype.kind in "mMc":
        raise DataError(f"column {name!r} has dtype {values.dtype} and {values.ndim} axes{_ASKED}")
    try:
        codes, found = pd.factorize(values)
    except TypeError as error:
        raise DataError(f"column {name!r} cannot be counted ({error}){_ASKED}") from None
    # the shortest text of a single-precision 0.1 is 0.1, which its double is not
    short = str(found.dtype).lower() in ("float16", "float32")
    states = [float(str(value)) for value in np.asarray(found)] if short else found.tolist()
    states = [_told(value) for value in states]
    return np.where(mask, -1, np.asarray(codes, dtype=np.int64)), states


def _told(value: Any) -> Any:
    """What stands for a value of a kind that only some sources have."""
    import pandas as pd

    if isinstance(value, Decimal):
        return float(value)
    return str(value) if isinstance(value, pd.Interval) else value


def _as_array(name: str, values: Any) -> Any:
    """A pandas series or an array."""
    import pandas as pd

    if isinstance(values, Tensor):
        return plain_tensor(name, values, torch.float64).cpu().numpy()
    if isinstance(values, pd.Series | pd.Categorical | np.ndarray):
        return values
    for method in ("to_list", "to_pylist"):  # a series of polars, an array of Arrow
        values = getattr(values, method)() if hasattr(values, method) else values
    if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__len__"):
        raise DataError(f"column {name!r} is {shortened(values)}; expected one value for each row")
    return pd.Series(list(values))


def _weights(name: str, values: Any) -> Floats:
    import pandas as pd

    try:
        series = pd.Series(_as_array(name, values))
        weight = series.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise DataError(f"the weights in {name!r} are no numbers ({error})") from None
    _check_weights(name, weight[~np.isnan(weight)], len(weight))
    return weight


def _check_weights(name: str, weight: Floats, num_rows: int) -> None:
    low, high = weight.min(initial=0.0), weight.max(initial=0.0)
    if low < 0 or high * num_rows >= _LARGEST_SUM:
        raise DataError(
            f"the weights in {name!r} run from {low:g} to {high:g}; expected non-negative finite "
            "numbers with a sum below 2**62"
        )


def _grouped_by_duckdb(
    relation: Any, names: list[str], weights: list[str], max_states: int
) -> _Groups:
    types = column_types(relation)
    checked_names(weights, types)
    for name in checked_names(names, types):
        if types[name] not in FAMILIES:
            raise DataError(f"column {name!r} is of type {types[name]}{_ASKED}")
    keys = [quoted(name) for name in names]
    # a continuous column would make as many groups as there are rows
    distinct = ", ".join(f"count(DISTINCT {key})" for key in keys)
    (head,) = relation.limit(_HEAD).aggregate(distinct).fetchall()
    for name, size in zip(names, head, strict=True):
        _check_finite(name, size, max_states, " in its first rows")
    sums = ["count(*)"]
    if weights:
        weight = f"CAST({quoted(weights[0])} AS DOUBLE)"
        keys.append(f"-CAST(coalesce(isnan({weight}), true) AS INTEGER)")
        sums += _weight_sums(weight)
    aliased = ", ".join(f"{part} AS c{place}" for place, part in enumerate([*keys, *sums]))
    found = list(relation.aggregate(aliased, ", ".join(keys)).fetchnumpy().values())
    columns, states = zip(*map(_encoded, names, found), strict=False)
    rows = np.asarray(found[len(keys)], dtype=np.int64)
    if not weights:
        return _Groups(columns, states, rows)
    absent = np.asarray(found[len(names)], dtype=np.int64)
    low, high, *limbs = (np.ma.filled(part, 0) for part in found[len(keys) + 1 :])
    extremes = np.concatenate([low[absent == 0], high[absent == 0]])
    _check_weights(weights[0], extremes, int(rows.sum()))
    return _Groups([*columns, absent], states, rows, of_limbs(*limbs))


def _weight_sums(weight: str) -> list[str]:
    """Least and greatest weight, and the sums of the limbs (see `limbs`)."""
    sums = [f"min({weight})", f"max({weight})"]
    for _ in range(3):
        # TRY_CAST: what is infinite or not a number is found in the other columns
        sums.append(f"TRY_CAST(sum(TRY_CAST(floor({weight}) AS BIGINT)) AS BIGINT)")
        weight = f"(({weight} - floor({weight})) * {LIMB!r})"
    return sums
