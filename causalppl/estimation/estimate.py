"""What an estimator returns: a number or a table of numbers, how sure, and on what it rests."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from causalppl.data.axes import fixed_place, open_values, rows_by_axes
from causalppl.exceptions import DataError
from causalppl.identification import Estimand
from causalppl.queries import Contrast, Query, Value

if TYPE_CHECKING:
    import pandas as pd

    from causalppl.estimation.estimator import Estimator, Problem

__all__ = ["Estimate", "left_out"]

Array: TypeAlias = NDArray[np.float64]
_MOST_TOLD = 8  # values of a table that are told in words


@dataclass(frozen=True, eq=False)
class Estimate:
    """An answer from data.

    Attributes:
        query: What was asked.
        method: The estimator, with its settings.
        values: The estimates, one axis for each value that the query leaves open; a single number
            has shape ``()``.
        axes: The label of each axis, and the values along it.
        error: Standard errors, shaped like ``values``; None where ``draws`` say it all.
        draws: Draws of the posterior or of a bootstrap, shape ``(draws, *values)``; None for an
            estimator with a normal limit.
        num_rows: How many rows were used.
        num_dropped: How many rows with missing values were left out.
        ess: The effective sample size: how many equally weighted rows would tell as much; None
            where rows are not weighted.
        estimand: The formula that was estimated; None where the method has its own.
        influence: The influence of each row, shape ``(rows, *values)``, where the method has it.
        assumptions: What the answer rests on, one sentence each.
        notes: What the reader should know, one sentence each.
        diagnostics: Numbers about the computation, such as the range of the propensities.
        problem: What the estimator was given; set by ``estimate``, so that an estimate can be
            refuted.
        estimator: The estimator; likewise.
        ends: Computes the ends of the interval at a probability, where the method has its own.

    Raises:
        DataError: Values, errors or draws have not the shape of the axes, or are not finite.

    Example:
        >>> estimate = Estimate(
        ...     Contrast.parse("ATE(X -> Y)"), "by hand", np.array(2.0), error=np.array(0.5)
        ... )
        >>> float(estimate), [round(float(end), 2) for end in estimate.interval()]
        (2.0, [1.02, 2.98])
    """

    query: Query | Contrast
    method: str
    values: Array
    axes: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    error: Array | None = None
    draws: Array | None = None
    num_rows: int = 0
    num_dropped: int = 0
    ess: float | None = None
    estimand: Estimand | None = None
    influence: Array | None = None
    assumptions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    problem: "Problem | None" = None
    estimator: "Estimator | None" = None
    ends: Callable[[float], tuple[Any, Any]] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", np.asarray(self.values, dtype=float))
        shape = tuple(len(states) for states in self.axes.values())
        if self.values.shape != shape:
            raise DataError(f"values have shape {self.values.shape}; expected {shape}, as the axes")
        if not np.isfinite(self.values).all():
            raise DataError(f"the estimate of {self.query} by {self.method} is not finite")
        if self.error is not None:
            self._check_error(shape)
        if self.draws is not None and self.draws.shape[1:] != shape:
            wanted = f"({', '.join(['draws', *map(str, shape)])}{'' if shape else ','})"
            raise DataError(f"draws have shape {self.draws.shape}; expected {wanted}")
        if self.draws is not None and not np.isfinite(self.draws).all():
            bad = int((~np.isfinite(self.draws)).any(axis=tuple(range(1, self.draws.ndim))).sum())
            raise DataError(
                f"{bad} of {len(self.draws)} draws for {self.query} by {self.method} are not "
                "finite: too few rows in some stratum; ask about larger strata"
            )

    def _check_error(self, shape: tuple[int, ...]) -> None:
        error = np.asarray(self.error, dtype=float)
        object.__setattr__(self, "error", error)
        if error.shape != shape:
            raise DataError(f"errors have shape {error.shape}; expected {shape}, as the values")
        if not np.isfinite(error).all():
            raise DataError(f"standard errors of {self.query} by {self.method} are not finite")

    def __float__(self) -> float:
        if self.axes:
            raise DataError(
                f"{self.query} leaves {', '.join(self.axes)} open: the answer is a table; use at()"
            )
        return float(self.values)

    def at(self, **values: Value) -> "Estimate":
        """Fix open values, for example ``estimate.at(X=1)``; labels such as ``do(X)`` by ``**``.

        Raises:
            DataError: There is no such axis, or no such value on it.
        """
        cut = fixed_place(self.axes, values, "the estimate has")
        changed = dict(self.__dict__)
        changed.pop("standard_error", None)
        for name, lead in (("values", ()), ("error", ()), ("draws", (slice(None),))):
            if changed[name] is not None:
                changed[name] = changed[name][(*lead, *cut)]
        if self.influence is not None:
            changed["influence"] = self.influence[(slice(None), *cut)]
        changed["axes"] = {k: v for k, v in self.axes.items() if k not in values}
        return Estimate(**changed)

    @cached_property
    def standard_error(self) -> Array:
        """Standard errors, from the draws where there are any."""
        if self.error is not None:
            return self.error
        if self.draws is None:
            return np.full(self.values.shape, np.nan)
        return np.asarray(self.draws.std(axis=0, ddof=1))

    def interval(self, prob: float = 0.95) -> tuple[Array, Array]:
        """Return the ends of the central interval, each shaped like ``values``.

        The method's own ends where it has them, quantiles of the draws where there are any, else
        the normal limit. Of a probability, the interval is cut to [0, 1], which takes no true
        value out of it.

        Args:
            prob: The probability that the interval is meant to hold.

        Raises:
            DataError: ``prob`` is not between 0 and 1, or the method gives no spread.
        """
        if self.error is None and self.draws is None:
            raise DataError(f"{self.method} gave neither errors nor draws; there is no interval")
        if not isinstance(prob, Real) or not 0 < prob < 1:
            raise DataError(f"prob is {prob!r}; expected a number between 0 and 1, such as 0.95")
        low, high = self._uncut(float(prob))
        if self._is_probability:
            low, high = np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)
        return np.asarray(low), np.asarray(high)

    def _uncut(self, prob: float) -> tuple[Any, Any]:
        if self.ends is not None:
            return self.ends(prob)
        if self.draws is not None:
            low, high = np.quantile(self.draws, [(1 - prob) / 2, (1 + prob) / 2], axis=0)
            return low, high
        half = ndtri((1 + prob) / 2) * self.standard_error
        return self.values - half, self.values + half

    @property
    def _is_probability(self) -> bool:
        return self.query.kind in ("P", "PN", "PS", "PNS")

    def summary(self, prob: float = 0.95) -> "pd.DataFrame":
        """Return a table: a row for each open value, with the estimate, its error and interval.

        Args:
            prob: The probability that intervals are meant to hold, between 0 and 1.

        Raises:
            DataError: ``prob`` is not between 0 and 1, or the method gives no spread.
        """
        low, high = self.interval(prob)
        tail = (1 - prob) / 2
        columns = {
            "estimate": self.values,
            "error": self.standard_error,
            f"{100 * tail:g}%": low,
            f"{100 * (1 - tail):g}%": high,
        }
        return rows_by_axes(columns, self.axes, self.query)

    def interpret(self, prob: float = 0.95) -> str:
        """Say in plain words what was found, how surely, and on what it rests.

        Args:
            prob: The probability that intervals are meant to hold, between 0 and 1.

        Raises:
            DataError: ``prob`` is not between 0 and 1, or the method gives no spread.
        """
        low, high = self.interval(prob)
        level = f"{100 * prob:g}% interval"
        if not self.axes:
            found = (
                f"{self.query} is {float(self.values):.4g}, {level} {float(low):.4g} to "
                f"{float(high):.4g}"
            )
        elif self.values.size <= _MOST_TOLD:
            found = f"{self.query}, with the {level}, is {self._told(low, high)}"
        else:
            found = f"{self.query} was estimated at {self.values.size} values, see summary()"
        ones = "one" if self.num_dropped == 1 else "ones"
        rows = f"{self.num_rows:,} rows" + (
            f", {self.num_dropped:,} incomplete {ones} left out" if self.num_dropped else ""
        )
        worth = f", worth {self.ess:,.0f} equally weighted ones" if self.ess is not None else ""
        rests = f" It rests on: {'; '.join(self.assumptions)}." if self.assumptions else ""
        told = left_out(self.num_dropped)  # among the rows
        others = [note for note in (*self.notes, *self._cut(prob)) if note != told]
        notes = "".join(f" {self._sentence(note)}" for note in others)
        return f"{found} (by {self._by()}, {rows}{worth}).{rests}{notes}"

    def _cut(self, prob: float) -> tuple[str, ...]:
        """Say where an interval, or an estimate, would leave what probabilities can be."""
        low, high = self._uncut(prob)
        if not self._is_probability or (np.min(low) >= 0 and np.max(high) <= 1):
            return ()
        is_outside = self.values.min() < 0 or self.values.max() > 1
        what = "an estimate lies outside, and its interval" if is_outside else "the interval"
        return (f"{what} is cut to 0 to 1, where probabilities lie",)

    def _told(self, low: Array, high: Array) -> str:
        """List each value with its interval."""
        parts = []
        for place, at in open_values(self.axes):
            parts.append(
                f"{self.values[place]:.4g} ({low[place]:.4g} to {high[place]:.4g}) at {at}"
            )
        return "; ".join(parts)

    def _by(self) -> str:
        """The method in words: not as code, where it is a posterior."""
        if self.draws is not None and self.method.startswith("Dirichlet("):
            return f"a Dirichlet posterior ({len(self.draws):,} draws)"
        return self.method

    def _sentence(self, note: str) -> str:
        """Begin with a capital letter, unless with the name of a variable, and end with a stop."""
        first = note.split(" ", 1)[0].strip(",:;'")
        is_word = first.isalpha() and first not in self._variables()
        return f"{note[:1].upper() if is_word else note[:1]}{note[1:].rstrip('.')}."

    def _variables(self) -> frozenset[str]:
        asked = frozenset() if isinstance(self.query, Contrast) else self.query.variables
        return asked if self.estimand is None else asked | set(self.estimand.graph.nodes)

    def plot(self, ax: Any = None, *, prob: float = 0.95) -> Any:
        """Draw the estimates with their intervals, one line for each open value; returns the axes.

        Args:
            ax: Axes to draw on; None: those of a new figure.
            prob: The probability that intervals are meant to hold, between 0 and 1.

        Raises:
            MissingExtraError: matplotlib is not installed.
            DataError: ``prob`` is not between 0 and 1, or the method gives no spread.
        """
        from causalppl.estimation.estimate_plot import draw_intervals

        return draw_intervals(self, ax, prob)

    def __repr__(self) -> str:
        if self.axes:
            return f"Estimate({self.query}, by {self.method})\n{self.summary()}"
        low, high = self.interval()
        return (
            f"Estimate({self.query} = {float(self.values):.4g} [{float(low):.4g}, "
            f"{float(high):.4g}], by {self.method})"
        )

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.interpret())}</p>{self.summary().to_html()}"


def left_out(count: int) -> str:
    """Say how many rows were left out because a value is missing.

    Example:
        >>> left_out(1), left_out(1200)
        ('1 row with a missing value was left out', '1,200 rows with missing values were left out')
    """
    if count == 1:
        return "1 row with a missing value was left out"
    return f"{count:,} rows with missing values were left out"
