"""Nested expectations on rows: one regression for each, from the inside out."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.data import Table
from causalppl.estimation.nested_formula import (
    Expectation,
    Formula,
    Leaf,
    Linear,
    Pinned,
    Ratio,
    Times,
)
from causalppl.estimation.nuisance import Fitted, choose_learner
from causalppl.exceptions import AssumptionError, DataError
from causalppl.identification.expression import Level, Probability, Same, Symbol
from causalppl.queries.terms import HOLDS

__all__ = ["Columns", "Fit", "Learners"]

Array: TypeAlias = NDArray[np.float64]
Values: TypeAlias = Mapping[Symbol, Array]

MOST_STATES = 10  # numbers with more values are taken for measurements
_FEWEST_ROWS = 20  # of a stratum in which a regression is fitted
_MOST_PAIRS = 200_000  # of values asked about and rows averaged over
_MOST_FITS = 100  # of one law, for values of other variables
_PINS = 8  # values at which a ratio that is the same at all is computed


@dataclass(frozen=True, eq=False)
class Columns:
    """The columns of a formula as numbers; text as codes.

    Attributes:
        table: Where they are from.
        values: One number for each row.
        states: The values of variables that have few.
        units: Centre and spread of the others, by which regressors are measured.
    """

    table: Table
    values: Mapping[str, Array]
    states: Mapping[str, Array]
    units: Mapping[str, tuple[float, float]]

    @classmethod
    def read(cls, table: Table, names: tuple[str, ...]) -> "Columns":
        """Read columns.

        Raises:
            DataError: A column holds vectors.
        """
        values: dict[str, Array] = {}
        for name in names:
            if table.column(name).values.dim() != 1:
                raise DataError(f"column {name!r} holds vectors; expected one number for each row")
            values[name] = np.asarray(table.column(name).values.double().numpy())
        found = {name: np.unique(column) for name, column in values.items()}
        few = {
            name: states
            for name, states in found.items()
            if table.column(name).categories is not None or len(states) <= MOST_STATES
        }
        units = {name: _unit(column) for name, column in values.items() if name not in few}
        return cls(table, values, few, units)

    def rows(self, chosen: NDArray[np.int64]) -> "Columns":
        """Take some rows; the states stay."""
        values = {name: column[chosen] for name, column in self.values.items()}
        return Columns(self.table, values, self.states, self.units)

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.values.values())))

    def code(self, symbol: Symbol) -> float:
        """The number that stands for a fixed value.

        Raises:
            DataError: The value never occurs.
        """
        assert symbol.value is not None
        code = float(self.table.column(symbol.variable).encode(symbol.value))
        states = self.states.get(symbol.variable)
        if states is not None and code not in states:
            raise DataError(f"{symbol.variable} is never {symbol.value!r} in the data")
        return code

    def inside(self, law: Probability) -> NDArray[np.bool_]:
        """The rows with the fixed values that a law is given, where they are among few."""
        found = np.ones(self.num_rows, dtype=bool)
        for symbol in law.given:
            if symbol.value is not None and symbol.variable in self.states:
                found &= self.values[symbol.variable] == self.code(symbol)
        return found

    def at(self, symbols: Mapping[Symbol, Any], symbol: Symbol, count: int) -> Array:
        """The values of a symbol: those asked about, or its fixed one."""
        if symbol.value is None:
            return np.asarray(symbols[symbol])
        return np.full(count, self.code(symbol))

    def features(self, values: Values, symbols: tuple[Symbol, ...], count: int) -> Array:
        """Code symbols: indicators of few values, other numbers standardised."""
        parts = [np.zeros((count, 0))]
        for symbol in symbols:
            column = self.at(values, symbol, count)[:, None]
            if (states := self.states.get(symbol.variable)) is not None:
                parts.append((column == states[1:]) * 1.0)
            else:
                centre, spread = self.units[symbol.variable]
                parts.append((column - centre) / spread)
        return np.column_stack(parts)


@dataclass(eq=False)
class Learners:
    """Which learner each regression takes: chosen once, where it is first fitted.

    Attributes:
        outcome: The learner of numbers; None: chosen by cross-validation.
        classes: The learner of probabilities; likewise.
        seed: For the choice.
    """

    outcome: Any
    classes: Any
    seed: int
    _chosen: dict[Any, Any] = field(default_factory=dict)

    def of(self, key: Any, matrix: Array, target: Array, *, classes: bool) -> Any:
        """Return the learner of one regression."""
        given = self.classes if classes else self.outcome
        if given is not None:
            return given
        if (key, classes) not in self._chosen:
            rng = np.random.default_rng(self.seed)
            self._chosen[key, classes] = choose_learner(matrix, target, rng, classes=classes)
        return self._chosen[key, classes]


@dataclass(eq=False)
class Fit:
    """Formulas computed with regressions fitted on some rows."""

    columns: Columns
    learners: Learners
    _fitted: dict[Any, Callable[[Array], Array]] = field(default_factory=dict)

    def value(self, formula: Formula, values: Values, count: int) -> Array:
        """Compute a formula at values of its open symbols, shape ``(count,)``."""
        match formula:
            case Leaf():
                return self._leaf(formula, values, count)
            case Times(parts=parts):
                return self.product(parts, values, count)
            case Linear(weights=weights, parts=parts):
                each = (self.value(part, values, count) for part in parts)
                pairs = zip(weights, each, strict=True)
                return np.zeros(count) + sum(weight * found for weight, found in pairs)
            case Ratio(numerator=numerator, denominator=denominator):
                return _divided(
                    self.value(numerator, values, count), self.value(denominator, values, count)
                )
            case Pinned():
                return self._pinned(formula, values, count)
            case Expectation():
                if self.is_average(formula):
                    return self._average(formula, values, count)
                return self._regression(formula, values, count)

    def product(self, parts: tuple[Formula, ...], values: Values, count: int) -> Array:
        """Multiply formulas."""
        found = np.ones(count)
        for part in parts:
            found = found * self.value(part, values, count)
        return found

    def is_average(self, step: Expectation) -> bool:
        """Whether nothing but a stratum is given."""
        return not step.given and all(s.variable in self.columns.states for s in step.law.given)

    def stratum(self, step: Expectation) -> NDArray[np.bool_]:
        """The rows with the fixed values that are given, where they are among few.

        Raises:
            AssumptionError: They are too few.
        """
        inside = self.columns.inside(step.law)
        if inside.sum() < _FEWEST_ROWS:
            fixed = ", ".join(str(s) for s in step.law.given if s.value is not None)
            raise AssumptionError(
                f"{int(inside.sum())} rows have {fixed or 'all columns'}; expected "
                f"{_FEWEST_ROWS} at least; ask about values that are more frequent"
            )
        return inside

    def check(self, step: Expectation) -> None:
        """Refuse a regression that cannot be fitted, without fitting it."""
        self.stratum(step)
        for symbol in step.law.outcomes:
            if symbol.value is not None:
                self.columns.code(symbol)
        if not self.is_average(step):
            next(self._points(step), None)

    def regressors(self, step: Expectation) -> tuple[Symbol, ...]:
        """What is given, less the stratum."""
        return tuple(
            s for s in step.law.given if s.value is None or s.variable not in self.columns.states
        )

    def observed(self, step: Expectation) -> dict[Symbol, Array]:
        """The rows' own values of what is given and what is averaged over."""
        symbols = [s for s in step.law.outcomes if s in step.averaged] + sorted(step.given)
        return {symbol: self.columns.values[symbol.variable] for symbol in symbols}

    def target(self, step: Expectation, values: Values, own: Values, count: int) -> Array:
        """What is averaged: the payload where the outcomes are as asked.

        ``values`` are of open symbols, ``own`` the rows' values of outcomes by their symbols.
        """
        found = self.product(step.payload, values, count)
        for symbol in step.law.outcomes:
            if symbol not in step.averaged:
                found = found * (own[symbol] == self.columns.at(values, symbol, count))
        return found

    def _own(self, step: Expectation) -> dict[Symbol, Array]:
        return {s: self.columns.values[s.variable] for s in step.law.outcomes}

    def _leaf(self, leaf: Leaf, values: Values, count: int) -> Array:
        node, at = leaf.node, self.columns.at
        if isinstance(node, Same):
            return (at(values, node.first, count) == at(values, node.second, count)) * 1.0
        column = self.columns.table.column(node.symbol.variable)
        found = at(values, node.symbol, count)
        if isinstance(node, Level):
            return found
        return np.asarray(HOLDS[node.op](found, float(column.encode(node.bound))), dtype=float)

    def _average(self, step: Expectation, values: Values, count: int) -> Array:
        """Average over the rows of a stratum, at each value of the parameters."""
        rows = np.flatnonzero(self.stratum(step))
        own = {s: column[rows] for s, column in self._own(step).items()}
        seen = {s: column[rows] for s, column in self.observed(step).items()}
        asked = sorted(step.parameters)
        if not asked:
            return np.full(count, self.target(step, seen, own, len(rows)).mean())
        points, place = _different(np.stack([values[s] for s in asked], axis=1))
        stride = -(-len(points) * len(rows) // _MOST_PAIRS)
        thin = np.tile(np.arange(0, len(rows), max(1, stride)), len(points))
        size = len(thin) // len(points)
        seen, own = ({s: c[thin] for s, c in each.items()} for each in (seen, own))
        fixed = {s: np.repeat(points[:, k], size) for k, s in enumerate(asked)}
        found = self.target(step, {**seen, **fixed}, own, len(thin)).reshape(-1, size).mean(axis=1)
        return np.asarray(found[place])

    def _regression(self, step: Expectation, values: Values, count: int) -> Array:
        matrix = self.columns.features(values, self.regressors(step), count)
        found = np.zeros(count)
        for point in self._points(step):
            here = np.ones(count, dtype=bool)
            for symbol, value in point.items():
                here &= values[symbol] == value
            if here.any():
                found[here] = self._predictor(step, point)(matrix[here])
        return found

    def _points(self, step: Expectation) -> Iterator[dict[Symbol, float]]:
        asked = sorted(step.parameters)
        states = [self.columns.states[s.variable] for s in asked]
        if (number := int(np.prod([len(each) for each in states]))) > _MOST_FITS:
            raise AssumptionError(
                f"{', '.join(map(str, asked))} have {number} combinations, each of which needs a "
                f"regression; expected {_MOST_FITS} at most; merge values"
            )
        for point in product(*states):
            yield dict(zip(asked, map(float, point), strict=True))

    def _predictor(self, step: Expectation, point: dict[Symbol, float]) -> Callable[[Array], Array]:
        key = (step, *point.values())
        if key not in self._fitted:
            self._fitted[key] = self._fit(key, step, point)
        return self._fitted[key]

    def _fit(self, key: Any, step: Expectation, point: dict[Symbol, float]) -> Any:
        rows = np.flatnonzero(self.stratum(step))
        own = {s: column[rows] for s, column in self._own(step).items()}
        seen = {s: column[rows] for s, column in self.observed(step).items()}
        fixed = {s: np.full(len(rows), value) for s, value in point.items()}
        target = self.target(step, {**seen, **fixed}, own, len(rows))
        known = {s: self.columns.values[s.variable][rows] for s in step.law.given}
        open_given = tuple(s._replace(value=None) for s in self.regressors(step))
        known = {s._replace(value=None): column for s, column in known.items()}
        matrix = self.columns.features(known, open_given, len(rows))
        if np.ptp(target) == 0:
            constant = float(target[0])
            return lambda new: np.full(len(new), constant)
        classes = bool(np.isin(target, (0.0, 1.0)).all())
        learner = self.learners.of(key, matrix, target, classes=classes)
        fitted = Fitted(learner, matrix, target, np.ones(len(rows)), classes=classes)
        return lambda new: fitted.predict(new)[:, -1]

    def _pinned(self, formula: Pinned, values: Values, count: int) -> Array:
        """Average numerator and denominator over some values of the symbols that do not matter."""
        places = [self._places(symbol) for symbol in formula.over]
        points = np.array(list(product(*(values for values, _ in places))))
        weight = np.array([np.prod(each) for each in product(*(shares for _, shares in places))])
        at = {s: np.tile(points[:, k], count) for k, s in enumerate(formula.over)}
        at |= {s: np.repeat(column, len(points)) for s, column in values.items()}
        parts = (formula.body.numerator, formula.body.denominator)
        each = (self.value(part, at, len(points) * count) for part in parts)
        return _divided(*(found.reshape(count, -1) @ weight for found in each))

    def _places(self, symbol: Symbol) -> tuple[Array, Array]:
        """Some values of a variable, with their shares of the rows."""
        column = self.columns.values[symbol.variable]
        if symbol.variable in self.columns.states:
            seen, counts = np.unique(column, return_counts=True)
            return seen, counts / len(column)
        places = (np.arange(_PINS) + 0.5) / _PINS
        return np.quantile(column, places, method="nearest"), np.full(_PINS, 1 / _PINS)


def _unit(column: Array) -> tuple[float, float]:
    """Centre and spread of a number, whatever its units."""
    centre = column[0] + float((column - column[0]).mean())
    largest = float(np.abs(column - centre).max())
    return centre, largest * float(((column - centre) / largest).std())


def _different(points: Array) -> tuple[Array, NDArray[np.int64]]:
    """The rows that differ, and the place of each row among them."""
    if points.shape[1] == 1:  # faster than by rows
        seen, place = np.unique(points[:, 0], return_inverse=True)
        return seen[:, None], place
    seen, place = np.unique(points, axis=0, return_inverse=True)
    return seen, place.reshape(-1)


def _divided(numerator: Array, denominator: Array) -> Array:
    if not (denominator > 1e-6).all():
        raise AssumptionError(
            f"a probability that the formula divides by is estimated at {denominator.min():.2g}; "
            "expected it to be well above 0; ask about values that occur in every stratum"
        )
    return np.asarray(numerator / denominator)
