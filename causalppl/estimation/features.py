"""Covariates and treatment as columns of numbers, with powers and products."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np

from causalppl.data import Table
from causalppl.estimation.adjustment_design import AdjustmentDesign
from causalppl.estimation.column_values import Codes, numbers
from causalppl.estimation.estimate import Array
from causalppl.exceptions import DataError

__all__ = ["Features", "standardised"]

Factors: TypeAlias = tuple[tuple[str, int], ...]
_POWER = re.compile(r"\s*(?:\^\s*(\d+))?\s*(\*|$)")

_REPEATS = 3e-7  # what is left, in standard deviations, of a sum of others in single precision


@dataclass(frozen=True, eq=False)
class Features:
    """The covariates of a design as columns of numbers, and its treatment.

    Numbers are standardised, categories become one indicator each but the first that occurs. So do
    the arms of a treatment; one that is a number stays one. Powers and products are taken first and
    standardised then, so a term is what it says.

    Attributes:
        design: The rows.
        terms: Powers and products, such as ``"age^2"`` and ``"age*sex"``. Names are those of
            columns, whatever signs they have.

    Raises:
        DataError: A term is no product of powers of covariates and treatment.
    """

    design: AdjustmentDesign
    terms: tuple[str, ...] = ()

    @cached_property
    def covariates(self) -> Array:
        """The columns that do not depend on the treatment, shape ``(rows, columns)``."""
        table = self.design.table
        columns = [_columns(table, name) for name in self.design.covariates]
        columns += [_product(table, term) for term in self.factors]
        found = np.concatenate([*columns, np.empty((self.design.num_rows, 0))], 1)
        return _independent(standardised(found))

    @cached_property
    def treats(self) -> bool:
        """Whether some term names the treatment."""
        return any(self._treats(term) for term in self._parsed)

    def treats_in(self, term: str) -> bool:
        """Whether a term names the treatment."""
        return self._treats(self._parsed[self.terms.index(term)])

    @property
    def factors(self) -> tuple[Factors, ...]:
        """What each term that does not name the treatment multiplies: names with their powers."""
        return tuple(term for term in self._parsed if not self._treats(term))

    @property
    def as_seen(self) -> Array:
        """All columns, with the treatment that each row received."""
        if self.design.is_numeric:
            return self._with_dose(self.design.received)
        return self._with_indicators(self.design.arm)

    def with_arm(self, arm: int) -> Array:
        """All columns, with the treatment set: covariates, treatment, products."""
        rows = self.design.num_rows
        if self.design.is_numeric:
            return self._with_dose(np.full(rows, self.design.levels[arm]))
        return self._with_indicators(np.full(rows, arm))

    def _with_indicators(self, arm: Codes) -> Array:
        states = range(1, len(self.design.arms))
        indicators = np.stack([arm == state for state in states], 1) * 1.0
        factors = [standardised(_product(self.design.table, rest)) for _, rest in self._moved]
        products = [_times(indicators, factor) for factor in factors]
        return np.concatenate([self.covariates, indicators, *products], 1)

    def _with_dose(self, dose: Array) -> Array:
        # in units of those received, so that a column is the same function of any dose
        columns = self._products(dose)
        return np.concatenate([self.covariates, standardised(columns, self._received_products)], 1)

    @cached_property
    def _received_products(self) -> Array:
        return self._products(self.design.received)

    def _products(self, dose: Array) -> Array:
        table, unit = self.design.table, _units(self.design.received)
        terms = dict.fromkeys([(1, ()), *self._moved])
        return np.concatenate(
            [_times((dose / unit)[:, None] ** p, _product(table, rest)) for p, rest in terms], 1
        )

    @cached_property
    def _moved(self) -> list[tuple[int, Factors]]:
        """The terms that name the treatment: its power in each, and the other factors."""
        own = self.design.treatments
        return [
            (
                sum(power for name, power in term if name in own),
                tuple(factor for factor in term if factor[0] not in own),
            )
            for term in self._parsed
            if self._treats(term)
        ]

    @cached_property
    def _parsed(self) -> list[Factors]:
        known = (*self.design.covariates, *self.design.treatments)
        return [_parsed(term, known) for term in self.terms]

    def _treats(self, term: Factors) -> bool:
        return any(name in self.design.treatments for name, _ in term)


def _parsed(term: str, known: Sequence[str]) -> Factors:
    factors = _factors(term.strip(), sorted(known, key=len, reverse=True))
    if factors is None:
        a, b = (*known, known[0])[:2]
        names = [re.sub(r"\s*\^\s*\d+$", "", part.strip()) for part in term.split("*")]
        unknown = next((name for name in names if name not in known), None)
        what = (
            f" names {unknown}, which is neither the treatment nor a covariate" if unknown else ""
        )
        raise DataError(
            f"the term {term!r}{what or ' is none'}; expected powers (from 1) and products of "
            f"{', '.join(known)}, such as '{a}^2' or '{a}*{b}'"
        )
    return factors


def _factors(text: str, known: Sequence[str]) -> Factors | None:
    """Read powers of names, whatever signs these hold; the longest name that fits comes first."""
    for name in known:
        found = _POWER.match(text, len(name)) if text.startswith(name) else None
        power = int(found[1] or 1) if found else 0
        if found is None or power < 1:
            continue
        if not found[2]:
            return ((name, power),)
        rest = _factors(text[found.end() :].lstrip(), known)
        if rest is not None:
            return ((name, power), *rest)
    return None


def _columns(table: Table, name: str) -> Array:
    values = numbers(table, name)
    if table.column(name).categories is None:
        columns = values.reshape(len(values), -1)
        return columns / _units(columns)
    return np.stack([values == code for code in np.unique(values)[1:]] or [values * 0], 1) * 1.0


def _product(table: Table, term: Factors) -> Array:
    found = np.ones((table.num_rows, 1))
    for name, power in term:
        found = _times(found, _columns(table, name) ** power)
    return found


def _times(first: Array, second: Array) -> Array:
    """All products of a column of the one with a column of the other."""
    return (first[:, :, None] * second[:, None, :]).reshape(len(first), -1)


def _units(columns: Array) -> Array:
    """A power of two near the largest number of each column, so that powers stay in range."""
    _, exponent = np.frexp(np.abs(columns).max(0, initial=0.0))
    return np.asarray(np.ldexp(1.0, exponent - 1))


def _independent(columns: Array) -> Array:
    """Leave out columns that are sums of earlier ones: what they say is said, and fits need it."""
    if not 1 < columns.shape[1] < len(columns):
        return columns
    # the diagonal of R is what is left of a column once the earlier ones are taken out
    left = np.abs(np.diagonal(np.linalg.qr(columns, mode="r"))) / np.sqrt(len(columns))
    return columns[:, left > _REPEATS]


def standardised(columns: Array, rows: Array | None = None) -> Array:
    """Centre and scale, whatever the units; constant columns are left out.

    Args:
        columns: What to standardise.
        rows: What mean and spread are taken from; by default the columns themselves.
    """
    rows = columns if rows is None else rows
    kept = np.ptp(rows, 0) > 0 if len(rows) else np.zeros(rows.shape[1], bool)
    columns, rows = columns[:, kept], rows[:, kept]
    centre = rows[:1] + (rows - rows[:1]).mean(0)
    unit = _units(rows - centre)
    spread = ((rows - centre) / unit).std(0)
    return np.asarray((columns - centre) / unit / spread)
