"""What a bounding method returns: an interval, whether it is sharp, and on what it rests."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from html import escape
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from causalppl.data.axes import fixed_place, open_values, rows_by_axes
from causalppl.exceptions import DataError
from causalppl.queries import Contrast, Query, Value

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Bounds"]

Array: TypeAlias = NDArray[np.float64]
_ROUNDING = 1e-9
_NOISE = 1e-12  # of an end, against the largest of ends and draws
_MOST_TOLD = 8  # values of a table that are told in words


@dataclass(frozen=True, eq=False)
class Bounds:
    """An interval for what data and assumptions do not fix.

    Attributes:
        query: What was asked; text where there is no query, as for a weighted mean.
        method: The method, with its settings.
        lower: The lower ends, one axis for each value that the query leaves open; a single number
            has shape ``()``.
        upper: The upper ends, likewise.
        axes: The label of each axis, and the values along it.
        is_sharp: Whether every value between the ends is reached by some model that agrees with
            the data and the assumptions.
        slack: By how much each end may lie outside the sharp one: the dual gap of a search that
            was stopped. 0 where the ends were solved for.
        draws: Draws of the ends under resampled data, shape ``(draws, 2, *values)``: lower, upper.
        error: Standard errors of the ends, shape ``(2, *values)``, where there are no draws.
        num_rows: How many rows were used; 0 for an exact law.
        assumptions: What the interval rests on, one sentence each.
        notes: What the reader should know, one sentence each.
        diagnostics: Numbers about the computation.

    Raises:
        DataError: The ends are not finite, are crossed, or do not fit the axes.

    Example:
        >>> found = Bounds("ATE(X -> Y)", "hand", np.array(-0.1), np.array(0.4))
        >>> found, found.contains(0), round(float(found.width), 3)
        (Bounds(ATE(X -> Y) in [-0.1, 0.4], by hand), True, 0.5)
    """

    query: Query | Contrast | str
    method: str
    lower: Array
    upper: Array
    axes: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    is_sharp: bool = False
    slack: float = 0.0
    draws: Array | None = None
    error: Array | None = None
    num_rows: int = 0
    assumptions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    diagnostics: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        low, high = (np.asarray(end, dtype=float) for end in (self.lower, self.upper))
        shape = tuple(len(states) for states in self.axes.values())
        if low.shape != shape or high.shape != shape:
            raise DataError(
                f"the ends have shapes {low.shape} and {high.shape}; expected {shape}, as the axes"
            )
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise DataError(f"the bounds of {self.query} by {self.method} are not finite")
        scale = 1 + np.maximum(abs(low), abs(high))
        if (low > high + _ROUNDING * scale).any():
            raise DataError(
                f"the bounds of {self.query} by {self.method} are crossed: {low} above {high}"
            )
        for name, lead in (("draws", 1), ("error", 0)):
            spread = getattr(self, name)
            if spread is not None and np.shape(spread)[lead:] != (2, *shape):
                raise DataError(f"{name} has shape {np.shape(spread)}; expected (2, *{shape}) last")
        object.__setattr__(self, "lower", low)
        object.__setattr__(self, "upper", np.asarray(np.maximum(low, high)))

    @property
    def width(self) -> Array:
        """Upper less lower end, shaped like them; 0 where the answer is a point."""
        return np.asarray(self.upper - self.lower)

    @property
    def has_spread(self) -> bool:
        """Whether the sampling error of the ends is known."""
        return self.draws is not None or self.error is not None

    def contains(self, value: float) -> "bool | NDArray[np.bool_]":
        """Whether a value lies between the ends (an array where values are open)."""
        inside = (self.lower <= value) & (value <= self.upper)
        return inside if self.axes else bool(inside)

    def interval(self, prob: float = 0.95) -> tuple[Array, Array]:
        """Return ends that allow for sampling error.

        Each end is moved outwards to its quantile at ``(1 - prob) / 2``, so that the whole interval
        between the sharp ends is held with at least the stated probability (as both ends miss at
        most that often, by Bonferroni), and with it the truth. Where the law is known and nothing
        was sampled, these are the ends themselves.

        Args:
            prob: The probability with which the interval is meant to hold the bounds.

        Raises:
            DataError: ``prob`` is not between 0 and 1, or rows were used and the method gives no
                sampling error.

        References:
            Horowitz and Manski (2000); Imbens and Manski (2004), who need the truth alone.
        """
        if isinstance(prob, bool) or not isinstance(prob, Real) or not 0 < prob < 1:
            raise DataError(f"prob is {prob!r}; expected a number between 0 and 1, such as 0.95")
        tail = (1 - float(prob)) / 2
        if self.draws is not None:
            low = np.quantile(self.draws[:, 0], tail, axis=0)
            high = np.quantile(self.draws[:, 1], 1 - tail, axis=0)
            return np.minimum(low, self.lower), np.maximum(high, self.upper)
        if self.error is not None:
            half = ndtri(1 - tail) * np.asarray(self.error, dtype=float)
            return np.asarray(self.lower - half[0]), np.asarray(self.upper + half[1])
        if self.num_rows:
            notes = f" ({'; '.join(self.notes)})" * bool(self.notes)
            raise DataError(
                f"{self.method} gave no sampling error of its {self.num_rows:,} rows{notes}; "
                "ask for draws where none were, give more rows where these are too few or all "
                "alike, or read lower and upper"
            )
        return self.lower, self.upper

    def at(self, **values: Value) -> "Bounds":
        """Fix open values, for example ``bounds.at(X=1)``.

        Raises:
            DataError: There is no such axis, or no such value on it.
        """
        cut = fixed_place(self.axes, values, "the bounds have")
        return replace(
            self,
            lower=self.lower[cut],
            upper=self.upper[cut],
            draws=None if self.draws is None else self.draws[(slice(None), slice(None), *cut)],
            error=None if self.error is None else np.asarray(self.error)[(slice(None), *cut)],
            axes={label: states for label, states in self.axes.items() if label not in values},
        )

    def summary(self, prob: float = 0.95) -> "pd.DataFrame":
        """Return a table: a row for each open value, with the ends and, if known, their errors.

        Args:
            prob: The probability that intervals are meant to hold, between 0 and 1.

        Raises:
            DataError: ``prob`` is not between 0 and 1.
        """
        columns = dict(zip(("lower", "upper"), self._ends(), strict=True))
        if self.has_spread:
            low, high = self.interval(prob)
            tail = 100 * (1 - prob) / 2
            columns |= {f"{tail:g}%": low, f"{100 - tail:g}%": high}
        return rows_by_axes(columns, self.axes, self.query)

    def interpret(self, prob: float = 0.95) -> str:
        """Say in plain words between which ends the answer lies, and on what that rests.

        Args:
            prob: The probability that intervals are meant to hold, between 0 and 1.

        Raises:
            DataError: ``prob`` is not between 0 and 1.
        """
        kind = "sharp" if self.is_sharp and not self.slack else "valid, though perhaps not sharp"
        rows = f", {self.num_rows:,} rows" if self.num_rows else ""
        rests = f" It rests on: {'; '.join(self.assumptions)}." if self.assumptions else ""
        slack = f" Each end lies at most {self.slack:.2g} outside the sharp one." * bool(self.slack)
        notes = "".join(f" {note[:1].upper()}{note[1:].rstrip('.')}." for note in self.notes)
        return f"{self._found(prob)} (by {self.method}{rows}; {kind}).{slack}{rests}{notes}"

    def _found(self, prob: float) -> str:
        if self.lower.size > _MOST_TOLD:
            return f"{self.query} was bounded at {self.lower.size} values, see summary()"
        outer = self.interval(prob) if self.has_spread else None
        lower, upper = self._ends()
        parts = []
        for place, at in open_values(self.axes):
            low, high = lower[place], upper[place]
            is_point = high - low <= _ROUNDING * (1 + abs(high))
            told = f"{low:.4g}" if is_point else f"between {low:.4g} and {high:.4g}"
            if outer is not None:
                told += (
                    f" ({100 * prob:g}% with sampling error: {outer[0][place]:.4g} to "
                    f"{outer[1][place]:.4g})"
                )
            parts.append(f"{told} at {at}" if at else told)
        return f"{self.query} is {'; '.join(parts)}"

    def _ends(self) -> tuple[Array, Array]:
        """The ends as they are told: 0 for what is 0 but for the rounding of a solver."""
        told = [self.lower, self.upper, *(() if self.draws is None else (self.draws,))]
        least = _NOISE * max(float(np.abs(values).max(initial=0.0)) for values in told)
        lower, upper = (np.where(abs(e) <= least, 0.0, e) for e in (self.lower, self.upper))
        return lower, upper

    def plot(self, ax: Any = None, *, prob: float = 0.95) -> Any:
        """Draw the bounds, one bar for each open value, with sampling error; returns the axes.

        Args:
            ax: Axes to draw on; None: those of a new figure.
            prob: The probability that intervals are meant to hold, between 0 and 1.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        from causalppl.bounds.bounds_plot import draw_bounds

        return draw_bounds(self, ax, prob)

    def __repr__(self) -> str:
        if self.axes:
            return f"Bounds({self.query}, by {self.method})\n{self.summary()}"
        ends = f"[{float(self.lower):.4g}, {float(self.upper):.4g}]"
        return f"Bounds({self.query} in {ends}, by {self.method})"

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.interpret())}</p>{self.summary().to_html()}"
