"""A policy as users give it: a table of probabilities, or a function of contexts."""

import inspect
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from causalppl.data import Table
from causalppl.data.column import listed
from causalppl.exceptions import DataError
from causalppl.queries import Value

__all__ = ["Probabilities", "check_probabilities", "read_probabilities"]

Array: TypeAlias = NDArray[np.float64]
Columns: TypeAlias = dict[str, list[Any]]

_ROUNDING = 1e-4  # by how much a sum of probabilities may miss 1


@dataclass(frozen=True, eq=False)
class Probabilities:
    """A policy, which gives each action's probability in each context.

    Attributes:
        label: What messages call it.
        action: The name of the column of actions.
        columns: Its table, empty for a function.
        function: Its function, None for a table.
    """

    label: str
    action: str
    columns: Columns
    function: Callable[..., Any] | None = None

    @property
    def names(self) -> list[str]:
        """The columns that a table looks at."""
        return [name for name in self.columns if name not in (self.action, "probability")]

    @property
    def actions(self) -> list[Value]:
        """The actions that a table names."""
        return self.columns.get(self.action, [])

    def at(self, contexts: Any, actions: tuple[Value, ...]) -> Array:
        """Return probabilities in each row of a frame of contexts, shape ``(contexts, actions)``.

        Raises:
            DataError: They are no probabilities, or a context has none.
        """
        if self.function is not None:
            found = _array(self.function(contexts, actions), self.label)
        else:
            found = self._looked_up(contexts, {value: code for code, value in enumerate(actions)})
        check_probabilities(found, self.label, (len(contexts), len(actions)))
        return found

    def _looked_up(self, contexts: Any, codes: dict[Value, int]) -> Array:
        rows: dict[Hashable, Array] = {}
        taken = self.columns[self.action]
        keys = _keys(self.columns, self.names, len(taken))
        for key, action, chance in zip(keys, taken, self.columns["probability"], strict=True):
            row = rows.setdefault(key, np.full(len(codes), np.nan))
            if not np.isnan(row[codes[action]]):
                raise DataError(
                    f"{self.label} has two rows for {action!r}{_where(self.names, key)}; keep one"
                )
            row[codes[action]] = chance
        found = _keys({n: contexts[n].tolist() for n in self.names}, self.names, len(contexts))
        if lacking := [key for key in found if key not in rows]:
            raise DataError(
                f"{self.label} has no row{_where(self.names, lacking[0])}, which occurs; add it"
            )
        return np.nan_to_num(np.stack([rows[key] for key in found]))


def read_probabilities(policy: Any, action: str, label: str) -> Probabilities:
    """Read a policy.

    Raises:
        DataError: It is neither a function of contexts and actions nor a complete table with the
            columns it needs.
    """
    if callable(policy):
        _check_arguments(policy, label)
        return Probabilities(label, action, {}, policy)
    try:
        table = Table.from_any(policy, dtype=torch.float64)
    except DataError as error:
        raise DataError(f"{label} cannot be read: {error}; pass a table or a function") from None
    if lacking := [name for name in (action, "probability") if name not in table]:
        raise DataError(
            f"{label} has the columns {listed(table, limit=20)}; expected {lacking[0]!r} too"
        )
    if not table.num_rows:
        raise DataError(f"{label} has no rows; expected one for each action that it takes")
    if gaps := [name for name, count in table.count_missing().items() if count]:
        raise DataError(f"{label} has missing values in {gaps[0]!r}; expected none, fill them in")
    if table.column("probability").categories is not None:
        raise DataError(f"{label} has text in 'probability'; expected numbers")
    frame = table.to_pandas()
    return Probabilities(label, action, {str(name): frame[name].tolist() for name in frame})


def check_probabilities(found: Array, label: str, shape: tuple[int, int]) -> None:
    """Refuse what is no law of the actions in each row.

    Raises:
        DataError: The shape is another one, or a row is no law.
    """
    if found.shape != shape:
        raise DataError(f"{label} gave an array of shape {found.shape}; expected {shape}")
    total, least = found.sum(axis=1), found.min(axis=1)
    fits = (least >= 0) & (np.abs(total - 1) <= _ROUNDING)  # not so where NaN
    if not fits.all():
        row = int((~fits).argmax())
        raise DataError(
            f"{label} has probabilities that start at {least[row]:.6g} and sum to {total[row]:.6g} "
            f"(in {(~fits).sum()} of {len(fits)} rows or contexts, the first is number {row}); "
            "expected none below 0, and a sum of 1 in each"
        )


def _check_arguments(function: Callable[..., Any], label: str) -> None:
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        taken = inspect.signature(function)
        raise DataError(
            f"{label} is a function of {taken}; expected one of (contexts, actions): a frame with "
            "a row for each context, and the tuple of all actions"
        ) from None
    except ValueError:  # built in, with no signature to be read
        return


def _array(values: Any, label: str) -> Array:
    try:
        return np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise DataError(f"{label} gave {type(values).__name__} values; expected numbers") from None


def _keys(columns: Columns, names: list[str], length: int) -> list[tuple[Value, ...]]:
    return list(zip(*(columns[name] for name in names), strict=True)) if names else [()] * length


def _where(names: list[str], key: Any) -> str:
    pairs = ", ".join(f"{name}={value!r}" for name, value in zip(names, key, strict=True))
    return f" at {pairs}" if pairs else ""
