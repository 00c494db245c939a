"""One variable of a table."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from causalppl.exceptions import DataError
from causalppl.spelling import closest

__all__ = ["Column"]

Value: TypeAlias = bool | int | float | str
Kind: TypeAlias = Literal["number", "integer", "boolean", "category"]


@dataclass(frozen=True, eq=False)
class Column:
    """One variable of a table.

    Attributes:
        values: Numbers of shape ``(rows, *event)``, or codes of shape ``(rows,)`` and dtype long.
            Where a value is missing: NaN, or the code -1.
        categories: The value that each code stands for; None for numbers.
        missing: Shape ``(rows,)``, True where a value is missing; None when nothing is.
        kind: What the column held before, so that `Table.to_pandas` can restore it.

    Raises:
        DataError: There is no row axis, codes are no integers or no category's, or ``missing`` has
            not one flag for each row.

    Example:
        >>> from causalppl.data import Table
        >>> Table.from_any({"region": ["south", "north"]}).column("region").values
        tensor([1, 0])
    """

    values: Tensor
    categories: tuple[Value, ...] | None = None
    missing: Tensor | None = None
    kind: Kind = "number"

    def __post_init__(self) -> None:
        if self.values.dim() == 0:
            raise DataError("a column is a single number; expected one value for each row")
        if self.categories is not None:
            object.__setattr__(self, "kind", "category")
            codes = self.values
            if codes.dtype != torch.long or codes.dim() != 1:
                raise DataError(
                    f"codes have dtype {codes.dtype} and shape {tuple(codes.shape)}; expected "
                    "torch.int64 and one axis"
                )
            if codes.numel() and not -1 <= int(codes.min()) <= int(codes.max()) < self.num_states:
                raise DataError(
                    f"codes run from {int(codes.min())} to {int(codes.max())}; expected 0 to "
                    f"{self.num_states - 1} for {self.num_states} categories, -1 where missing"
                )
        if self.missing is not None and self.missing.shape != self.values.shape[:1]:
            raise DataError(
                f"the mask of missing values has shape {tuple(self.missing.shape)}; expected "
                f"{tuple(self.values.shape[:1])}, one flag for each row"
            )

    def __len__(self) -> int:
        return self.values.shape[0]

    @property
    def num_states(self) -> int:
        """The number of categories; 0 for a column of numbers."""
        return 0 if self.categories is None else len(self.categories)

    def encode(self, value: Any) -> int | float:
        """Turn one value into what the tensor holds: a code, or a finite number.

        Raises:
            DataError: The value is no category of the column, or no finite number.
        """
        value = unwrapped(value)
        if self.categories is not None:
            for code, category in enumerate(self.categories):
                if category == value and isinstance(category, str) == isinstance(value, str):
                    return code
            raise DataError(
                f"the value {value!r} is no category; expected one of "
                f"{listed(map(repr, self.categories))}{closest(value, self.categories)}"
            )
        if not isinstance(value, bool | int | float) or not np.isfinite(value):
            raise DataError(f"the value is {value!r}; expected a finite number")
        return float(value) if self.values.is_floating_point() else int(value)

    def take(self, rows: Tensor) -> "Column":
        """Keep the rows that a tensor of row numbers, or a mask, selects."""
        missing = None if self.missing is None else self.missing[rows]
        if missing is not None and not bool(missing.any()):
            missing = None
        return replace(self, values=self.values[rows], missing=missing)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> "Column":
        """Move the column; the dtype is applied to floating-point values only."""
        kept = dtype if self.values.is_floating_point() else None
        missing = None if self.missing is None else self.missing.to(device=device)
        return replace(self, values=self.values.to(device=device, dtype=kept), missing=missing)


def unwrapped(value: Any) -> Any:
    """The plain value of a scalar of numpy or torch; anything else as it is."""
    if not callable(getattr(value, "item", None)):
        return value
    try:
        return value.item()
    except (TypeError, ValueError, RuntimeError):
        return value


def listed(parts: Iterable[object], limit: int = 8) -> str:
    """Join with commas, and count what is beyond the limit."""
    words = [str(part) for part in parts]
    more = f" and {len(words) - limit} more" if len(words) > limit else ""
    return ", ".join(words[:limit]) + more


def shortened(value: object, limit: int = 60) -> str:
    """How a value is written, cut after some letters."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."
