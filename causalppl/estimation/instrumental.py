"""Effects by instruments: a direct entry, since the diagram alone gives no formula.

With an instrument Z for the effect of X on Y the nonparametric effect is not identified, so
`identify` refuses it. One more assumption makes it a number, and which effect it is depends on the
assumption:

* *monotonicity* (Z moves the treatment of nobody the other way): the effect among the compliers,
  ``E[Y_{X=1} - Y_{X=0} | X_{Z=0}=0, X_{Z=1}=1]``, called LATE;
* *homogeneity* (the effect of a unit of X is the same for all, or unrelated to how far Z moves X):
  the average effect in the population, ATE.

Both are the same number from the data; what is reported as the query says which one is meant.
"""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import chdtri, fdtri

from causalppl.data import Table
from causalppl.estimation.estimate import Estimate
from causalppl.exceptions import (
    AssumptionError,
    DataError,
    GraphError,
    HeuristicWarning,
    NotIdentifiableError,
)
from causalppl.graphs import ADMG
from causalppl.identification import find_instruments, is_instrument
from causalppl.queries import Contrast, Event, Intervention, Query, Term, Value

__all__ = ["TwoStageLeastSquares", "Wald", "estimate_iv"]

Array: TypeAlias = NDArray[np.float64]
Errors: TypeAlias = Literal["classical", "HC0", "HC1"]
Interval: TypeAlias = tuple[float, float]

_WEAK = 10.0  # the usual bound on the first-stage F, Staiger and Stock (1997)


def estimate_iv(
    graph: ADMG,
    data: Any,
    treatment: str,
    outcome: str,
    instrument: str | Sequence[str] | None = None,
    given: Iterable[str] | None = None,
    *,
    method: "Wald | TwoStageLeastSquares | None" = None,
) -> Estimate:
    """Estimate the effect of a treatment by an instrument.

    Args:
        graph: The diagram; it must show that the instrument is one.
        data: A table of any kind (see `Table.from_any`). Rows with missing values in the columns
            used are left out.
        treatment: The cause; numbers.
        outcome: The effect; numbers.
        instrument: One instrument, or several; None takes the first that `find_instruments` lists
            among the columns. Text becomes one indicator for each category but the first.
        given: What to condition on; None takes what `find_instruments` lists for the instrument.
        method: `Wald` or `TwoStageLeastSquares`; None takes Wald where instrument and treatment
            have two values and nothing is conditioned on.

    Returns:
        The effect of moving the treatment by 1 (between its two values, where it has two).
        ``diagnostics`` hold ``first_stage_f``, and ``anderson_rubin``: the intervals that make up
        the 95 % Anderson-Rubin set, which is right however weak the instrument is, and can be
        unbounded.

    Raises:
        AssumptionError: The diagram says that the instrument is none given these columns, or the
            method does not fit it.
        NotIdentifiableError: The diagram has no instrument among the columns.
        GraphError: A name is not in the diagram.
        DataError: A column is missing, constant, no number, or a combination of others.

    Warns:
        HeuristicWarning: The first-stage F is below 10.

    References:
        Wald (1940); Imbens and Angrist (1994), Identification and estimation of local average
        treatment effects; Anderson and Rubin (1949).

    Example:
        >>> graph = ADMG.parse("Z -> X -> Y; X <-> Y")
        >>> data = {"Z": [0, 0, 0, 0, 1, 1, 1, 1] * 9, "X": [0, 0, 0, 1, 0, 1, 1, 1] * 9,
        ...         "Y": [1, 2, 1, 4, 2, 4, 5, 3] * 9}
        >>> estimate = estimate_iv(graph, data, "X", "Y")
        >>> print(estimate.query, round(float(estimate), 6))
        E[Y_{X=1} - Y_{X=0} | X_{Z=0}=0, X_{Z=1}=1] 3.0
    """
    if not isinstance(graph, ADMG):
        raise GraphError(f"the graph is {graph!r}; expected an ADMG; use ADMG.parse or scm.graph")
    table = Table.from_any(data, dtype=torch.float64)
    instruments, covariates = _chosen(graph, table, treatment, outcome, instrument, given)
    names = (outcome, treatment, *instruments, *covariates)
    complete = table.select(names).drop_missing()
    columns = _Columns(complete, treatment, outcome, instruments, covariates)
    if method is None:
        method = Wald() if Wald().refusal(columns) is None else TwoStageLeastSquares()
    if not isinstance(method, Wald | TwoStageLeastSquares):
        raise DataError(f"method is {method!r}; expected Wald() or TwoStageLeastSquares()")
    if isinstance(method, Wald) and (reason := method.refusal(columns)):
        raise AssumptionError(f"Wald cannot be used: {reason}")
    return method.solve(columns)


def _chosen(
    graph: ADMG,
    table: Table,
    treatment: str,
    outcome: str,
    instrument: str | Sequence[str] | None,
    given: Iterable[str] | None,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Choose instruments and conditions, and check them against the diagram."""
    within = [node for node in graph.nodes if node in table]
    listed = {i.node: i for i in find_instruments(graph, treatment, outcome, within=within)}
    if instrument is None and not listed:
        raise NotIdentifiableError(
            f"the diagram has no instrument for {treatment} on {outcome} among the columns "
            f"({', '.join(within)}); expected a column that moves {treatment} and is tied to "
            f"{outcome} through {treatment} alone; bound the effect instead",
            query=_effect(treatment, outcome, 0, 1),
        )
    named = [instrument] if isinstance(instrument, str) else instrument
    chosen = tuple(named) if named is not None else (next(iter(listed)),)
    if not chosen:
        raise DataError("instrument is empty; expected the name of a column, or None")
    if given is None:
        wanted = {name for node in chosen if node in listed for name in listed[node].given}
        given = [node for node in graph.nodes if node in wanted and node not in chosen]
    covariates = (given,) if isinstance(given, str) else tuple(given)
    for node in chosen:
        if not is_instrument(graph, node, treatment, outcome, covariates):
            raise AssumptionError(_no_instrument(node, treatment, outcome, covariates, listed))
    return chosen, covariates


def _no_instrument(
    node: str, treatment: str, outcome: str, covariates: tuple[str, ...], listed: dict[str, Any]
) -> str:
    where = f" given {', '.join(covariates)}" if covariates else ""
    known = "; ".join(map(str, listed.values())) or "none"
    return (
        f"in the diagram {node} is no instrument for {treatment} on {outcome}{where}; expected a "
        f"node tied to {treatment}, and to {outcome} through {treatment} alone, that {outcome} "
        f"does not affect; instruments among the columns: {known}"
    )


@dataclass(eq=False)
class _Columns:
    """The columns of an instrumental analysis; ``covariates`` hold a column of ones first."""

    table: Table
    treatment: str
    outcome: str
    instruments: tuple[str, ...]
    given: tuple[str, ...]

    def __post_init__(self) -> None:
        table = self.table
        self.x, self.y = _numbers(table, self.treatment), _numbers(table, self.outcome)
        self.z = np.column_stack([_indicators(table, name) for name in self.instruments])
        ones = np.ones((table.num_rows, 1))
        self.covariates = np.column_stack([ones, *(_indicators(table, n) for n in self.given)])
        self.x_values = _values(table, self.treatment)
        self.z_values = _values(table, self.instruments[0]) if len(self.instruments) == 1 else ()
        self._check()

    @property
    def is_binary(self) -> bool:
        """Whether treatment and instrument have two values each."""
        return len(self.x_values) == 2 and len(self.z_values) == 2

    def _check(self) -> None:
        columns = np.column_stack([self.covariates[:, 1:], self.z])
        rows, width = columns.shape
        if rows <= width + 2:
            raise DataError(f"{rows} complete rows for {width + 2} coefficients; expected more")
        scaled = (columns - columns.mean(axis=0)) / columns.std(axis=0)
        if np.linalg.svd(scaled, compute_uv=False)[-1] < 1e-5 * np.sqrt(rows):  # in float32
            raise DataError(
                f"the columns {', '.join((*self.instruments, *self.given))} are linear "
                "combinations of each other; expected none to follow from the others; leave one out"
            )


def _numbers(table: Table, name: str) -> Array:
    column = table.column(name)
    if column.categories is not None or column.values.dim() != 1:
        raise DataError(
            f"column {name!r} holds {column.kind} values; expected one number for each row; "
            "code it as 0 and 1"
        )
    values = column.values.double().numpy()
    if values.min() == values.max():
        raise DataError(f"column {name!r} is {values[0]:g} in all rows; expected it to vary")
    return np.asarray(values)


def _indicators(table: Table, name: str) -> Array:
    """Numbers as they are; categories that occur, but the first, as indicators."""
    column = table.column(name)
    if column.categories is None:
        return _numbers(table, name)[:, None]
    codes = column.values.numpy()
    present = np.unique(codes)
    if len(present) < 2:
        raise DataError(f"column {name!r} has the same category in all rows; expected it to vary")
    return np.asarray(codes[:, None] == present[None, 1:], dtype=float)


def _values(table: Table, name: str) -> tuple[Value, ...]:
    """The values of a column, in order, if there are just two."""
    column = table.column(name)
    found = column.values.unique().tolist()
    if len(found) != 2:
        return ()
    if column.categories is not None:
        return tuple(column.categories[code] for code in found)
    return tuple(int(value) if float(value).is_integer() else value for value in found)


@dataclass(frozen=True)
class TwoStageLeastSquares:
    """Two-stage least squares: linear, with covariates and any number of instruments.

    The effect is taken to be the same for all units (or unrelated to how far the instruments move
    them); the query is then the ATE of one unit more of the treatment.

    Attributes:
        errors: ``"HC1"`` or ``"HC0"`` hold whatever the variance of the outcome; ``"classical"``
            takes it to be constant.

    References:
        Theil (1953); White (1982), Instrumental variables regression with independent
        observations; Angrist and Imbens (1995) for what is estimated where effects vary.

    Example:
        >>> TwoStageLeastSquares(errors="classical").errors
        'classical'
    """

    errors: Errors = "HC1"

    def __post_init__(self) -> None:
        _check_errors(self.errors)

    def solve(self, columns: _Columns) -> Estimate:
        """Estimate the effect of one unit of treatment."""
        x, y = columns.treatment, columns.outcome
        low, high = columns.x_values or (0, 1)
        own = [
            f"homogeneity: the effect of {x} on {y} is linear and the same for all units; where it "
            "is not, this is a weighted average of the effects among those whom the instruments "
            "move, not the ATE"
        ]
        if columns.given:
            own.append(f"{', '.join(columns.given)} enter linearly")
        return _Stages(columns, self.errors).estimate(
            _effect(x, y, low, high), "two-stage least squares", float(high) - float(low), own
        )


@dataclass(frozen=True)
class Wald:
    """The Wald ratio: what the instrument does to the outcome, over what it does to the treatment.

    For an instrument with two values, and no covariates.

    Attributes:
        effect: ``"LATE"`` (under monotonicity; the treatment has two values) or ``"ATE"`` (under
            homogeneity). None: LATE where the treatment has two values.
        errors: As for `TwoStageLeastSquares`.

    References:
        Wald (1940); Imbens and Angrist (1994); Hernán and Robins (2020), chapter 16.

    Example:
        >>> Wald(effect="ATE").effect
        'ATE'
    """

    effect: Literal["LATE", "ATE"] | None = None
    errors: Errors = "HC1"

    def __post_init__(self) -> None:
        _check_errors(self.errors)
        if self.effect not in (None, "LATE", "ATE"):
            raise DataError(f"effect is {self.effect!r}; expected 'LATE', 'ATE' or None")

    def refusal(self, columns: _Columns) -> str | None:
        """Say what does not fit the ratio."""
        if columns.given:
            return f"it takes no covariates ({', '.join(columns.given)}); use TwoStageLeastSquares"
        if len(columns.z_values) != 2:
            return (
                f"{', '.join(columns.instruments)} does not have just two values; cut it in two, "
                "or use TwoStageLeastSquares"
            )
        if self.effect == "LATE" and not columns.is_binary:
            return f"a LATE needs two values of {columns.treatment}; use effect='ATE'"
        return None

    def solve(self, columns: _Columns) -> Estimate:
        """Estimate the ratio."""
        raised = columns.z[:, 0] == columns.z[:, 0].max()
        above = float(columns.y[raised].mean() - columns.y[~raised].mean())
        below = float(columns.x[raised].mean() - columns.x[~raised].mean())
        low, high = columns.x_values or (0, 1)
        x, y, step = columns.treatment, columns.outcome, float(high) - float(low)
        query: Query | Contrast = _effect(x, y, low, high)
        own = (
            f"homogeneity: the effect of {x} on {y} is linear and the same for all units (or "
            "unrelated to how far the instrument moves them)"
        )
        if self.effect != "ATE" and columns.is_binary:
            query = _complier_effect(columns, ascending=below > 0)
            own = (
                f"monotonicity: {columns.instruments[0]} moves {x} one way or not at all, for "
                "every unit; this is the effect among the compliers, whom it moves, about "
                f"{abs(below) / step:.1%} of all, and not the ATE"
            )
        return _Stages(columns, self.errors).estimate(
            query, "Wald ratio", step, [own], numerator=above, denominator=below
        )


def _check_errors(errors: str) -> None:
    if errors not in ("classical", "HC0", "HC1"):
        raise DataError(f"errors is {errors!r}; expected 'HC1', 'HC0' or 'classical'")


def _effect(treatment: str, outcome: str, low: Value, high: Value) -> Contrast:
    return Contrast("ATE", treatment, high, low, outcome)


def _complier_effect(columns: _Columns, *, ascending: bool) -> Query:
    low, high = columns.x_values
    off, on = columns.z_values if ascending else columns.z_values[::-1]
    (z,) = columns.instruments

    def term(name: str, cause: str, value: Value) -> Term:
        return Term(name, (Intervention(cause, value),))

    outcomes = tuple(
        Event(term(columns.outcome, columns.treatment, value)) for value in (high, low)
    )
    compliers = (
        Event(term(columns.treatment, z, off), low),
        Event(term(columns.treatment, z, on), high),
    )
    return Query("E", outcomes, compliers, coefficients=(1.0, -1.0))


def _shared_assumptions(columns: _Columns) -> tuple[str, ...]:
    z, x, y = ", ".join(columns.instruments), columns.treatment, columns.outcome
    given = f" given {', '.join(columns.given)}" if columns.given else ""
    return (
        f"relevance: {z} moves {x}{given}",
        f"exclusion: {z} affects {y} through {x} alone",
        f"exchangeability: {z} shares no unmeasured cause with {y}{given}",
    )


@dataclass(eq=False)
class _Stages:
    """Both stages with the covariates partialled out (Frisch, Waugh and Lovell)."""

    columns: _Columns
    errors: Errors

    def __post_init__(self) -> None:
        found = self.columns
        basis = np.linalg.qr(found.covariates)[0]
        self.x, self.y, self.z = (
            part - basis @ (basis.T @ part) for part in (found.x, found.y, found.z)
        )
        self.fitted = self._projected(self.x)
        self.num_rows, self.num_instruments = found.z.shape
        self.num_covariates = found.covariates.shape[1]
        if not float(self.fitted @ self.fitted) > 1e-20 * float(self.x @ self.x):
            raise AssumptionError(
                f"{', '.join(found.instruments)} and {found.treatment} are uncorrelated in the "
                "data: the effect is a ratio by zero; expected an instrument that moves the "
                "treatment; use another"
            )

    def _projected(self, part: Array) -> Array:
        return np.asarray(self.z @ np.linalg.lstsq(self.z, part, rcond=None)[0])

    def estimate(
        self, query: Query | Contrast, method: str, step: float, own: list[str], **more: float
    ) -> Estimate:
        """Put the answer together; ``step`` is by how much the treatment is moved."""
        curvature = float(self.fitted @ self.x)
        slope = float(self.fitted @ self.y) / curvature
        residual = self.y - slope * self.x
        strength = self.first_stage_f()
        intervals = [(step * low, step * high) for low, high in self.anderson_rubin()]
        return Estimate(
            query,
            f"{method} ({self.errors} errors)",
            np.array(step * slope),
            error=np.array(step * self._error(residual, curvature)),
            num_rows=self.num_rows,
            num_dropped=self.columns.table.dropped,
            influence=step * self.num_rows * self.fitted * residual / curvature,
            assumptions=(*_shared_assumptions(self.columns), *own),
            notes=(*self._weakness(strength), _interval_text(intervals)),
            diagnostics={
                **more,
                "first_stage_f": strength,
                "partial_r2": float(self.fitted @ self.fitted) / float(self.x @ self.x),
                "anderson_rubin": tuple(intervals),
            },
        )

    def _weakness(self, strength: float) -> tuple[str, ...]:
        if strength >= _WEAK:
            return ()
        weak = (
            f"weak instrument: the first-stage F of {', '.join(self.columns.instruments)} is "
            f"{strength:.3g}, below {_WEAK:g}; the estimate and its normal interval can be far off"
        )
        warnings.warn(f"{weak}; use the Anderson-Rubin set", HeuristicWarning, stacklevel=5)
        return (weak,)

    def _error(self, residual: Array, curvature: float) -> float:
        free = self.num_rows - self.num_covariates - 1
        if self.errors == "classical":
            return float(np.sqrt(residual @ residual / free / curvature))
        scale = self.num_rows / free if self.errors == "HC1" else 1.0
        return float(np.sqrt(scale * ((self.fitted * residual) ** 2).sum()) / curvature)

    @property
    def _free(self) -> int:
        return self.num_rows - self.num_covariates - self.num_instruments

    def first_stage_f(self) -> float:
        """The F statistic of the instruments in the first stage, robust as the errors are."""
        residual = self.x - self.fitted
        if self.errors == "classical":
            left = float(residual @ residual) / self._free
            return float(self.fitted @ self.fitted) / self.num_instruments / max(left, 1e-300)
        score = self.z.T @ self.x
        spread = (self.z * residual[:, None] ** 2).T @ self.z
        scale = self.num_rows / self._free if self.errors == "HC1" else 1.0
        if np.linalg.matrix_rank(spread) < self.num_instruments:
            return float("inf")  # the first stage fits exactly
        return float(score @ np.linalg.solve(spread, score)) / self.num_instruments / scale

    def anderson_rubin(self, prob: float = 0.95) -> list[Interval]:
        """List the intervals of the effects at which the outcome, freed of them, is unrelated to Z.

        Robust to unequal variances for one instrument, where the errors are; for several it takes
        the variance to be constant.
        """
        x, y = self.x, self.y
        x_fit, y_fit = self.fitted, self._projected(self.y)
        if self.num_instruments == 1 and self.errors != "classical":
            z = self.z[:, 0]
            zx, zy = float(z @ x), float(z @ y)
            scores = np.stack([z * (x - x_fit), z * (y - y_fit)])
            noise = scores @ scores.T * chdtri(1, 1 - prob)
            if self.errors == "HC1":
                noise *= self.num_rows / self._free
            signal = np.outer([zx, zy], [zx, zy])
        else:
            both, fits = np.stack([x, y]), np.stack([x_fit, y_fit])
            bound = fdtri(self.num_instruments, self._free, prob)
            noise = (both - fits) @ (both - fits).T * bound * self.num_instruments / self._free
            signal = fits @ fits.T
        excess = signal - noise
        return _where_not_positive(excess[0, 0], -2 * excess[0, 1], excess[1, 1])


def _where_not_positive(a: float, b: float, c: float) -> list[Interval]:
    """Find where ``a t^2 + b t + c <= 0``."""
    discriminant = b * b - 4 * a * c
    if discriminant < 0:
        return [] if a > 0 else [(-np.inf, np.inf)]
    # the form that does not cancel
    middle = -0.5 * (b + np.copysign(np.sqrt(discriminant), b))
    low, high = sorted(float(root) for root in (middle / a, c / middle if middle else 0.0))
    return [(low, high)] if a > 0 else [(-np.inf, low), (high, np.inf)]


def _interval_text(intervals: list[Interval]) -> str:
    parts = " or ".join(f"{low:.4g} to {high:.4g}" for low, high in intervals)
    return f"95 % Anderson-Rubin set, right for weak instruments too: {parts or 'empty'}"
