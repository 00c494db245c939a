"""What a variable may be set to: the values that it can take, and declared bounds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.distributions import Distribution, constraints

from causalppl.estimation.program_law import ProgramLaw, why_infinite
from causalppl.exceptions import DataError, ProgramError, QueryError
from causalppl.programs import SCM
from causalppl.programs.interventions import Shift, World, is_policy

__all__ = ["Values", "check_number", "find_values", "integer_levels", "is_rule"]

_MOST_LISTED = 6


@dataclass(frozen=True, eq=False)
class Values:
    """The values that a variable may be set to.

    Attributes:
        name: The variable.
        levels: All of them, where they are finitely many.
        law: A law in whose support they lie; None: any number will do.
        low: The smallest that was declared.
        high: The largest.
    """

    name: str
    levels: NDArray[np.float64] | None = None
    law: Any = None
    low: float = -np.inf
    high: float = np.inf

    @property
    def is_any(self) -> bool:
        """Whether it may be any number."""
        is_bounded = np.isfinite(self.low) or np.isfinite(self.high)
        return self.levels is None and self.law is None and not is_bounded

    def within(self, low: float, high: float) -> Self:
        """Return those between two bounds."""
        return replace(self, low=low, high=high)

    def check(self, given: Any) -> None:
        """Refuse numbers, of any shape, that are not among the values.

        Raises:
            DataError: One is not.
        """
        flat = np.asarray(given, dtype=np.float64).reshape(-1)
        fits = np.isfinite(flat) & (flat >= self.low) & (flat <= self.high)
        if self.levels is not None:
            fits &= np.isin(flat, self.levels)
        elif self.law is not None:
            fits &= _is_in_support(self.law, flat)
        if not fits.all():
            bad = flat[~fits][0]
            raise DataError(f"{self.name} is set to {bad:g}; expected {self._expected()}")

    def _expected(self) -> str:
        if self.levels is not None and len(self.levels) <= _MOST_LISTED:
            return f"one of {', '.join(f'{level:g}' for level in self.levels)}"
        if self.levels is not None:
            ends = f"{min(self.levels):g} to {max(self.levels):g}"
            return f"one of its {len(self.levels)} values, {ends}"
        if np.isfinite(self.low) or np.isfinite(self.high):
            return f"{self.low:g} to {self.high:g}"
        return "a number" if self.law is None else f"a value of its law, {type(self.law).__name__}"


def is_rule(intervention: Any) -> bool:
    """Whether an intervention says how a value is found, and not which it is."""
    kinds = Distribution | Shift | World
    return isinstance(intervention, kinds) or is_policy(intervention)


def find_values(scm: SCM, names: Iterable[str]) -> dict[str, Values]:
    """Find what variables may be set to: the values that they have by nature.

    A site that is drawn has those of its law, unless its support moves with other sites. One that
    is computed has those that it takes in a finite program; if it is constant there, or the program
    is not finite, it may be any number.

    Raises:
        QueryError: A variable holds several numbers for each unit.
    """
    asked = tuple(names)
    for name in asked:
        check_number(scm, name)
    computed = [name for name in asked if name not in scm.laws]
    known = _computed_levels(scm) if computed else {}
    return {
        name: Values(name, known.get(name)) if name in computed else _values_of_law(scm, name)
        for name in asked
    }


def check_number(scm: SCM, name: str) -> None:
    """Refuse a variable that holds several values for each unit.

    Raises:
        QueryError: It does.
    """
    if shape := tuple(scm.structure.sites[name].event_shape):
        raise QueryError(f"{name} has shape {shape} for each unit; expected one number")


def integer_levels(law: Any) -> NDArray[np.int64] | None:
    """List the values of a finite law of integers; None for any other, or none."""
    if law is None or not law.has_enumerate_support or law.event_shape:
        return None
    support = law.enumerate_support(expand=False).reshape(-1).numpy()
    integers: NDArray[np.int64] = support.astype(np.int64)
    return integers if bool((integers == support).all()) else None


def _values_of_law(scm: SCM, name: str) -> Values:
    law = scm.laws[name]
    levels = integer_levels(law)
    if levels is not None:
        return Values(name, levels.astype(np.float64))
    is_fixed = not constraints.is_dependent(type(law).support)
    is_known = is_fixed or not scm.structure.sites[name].parents
    is_number = is_known and law.support is not constraints.real
    return Values(name, law=law if is_number else None)


def _computed_levels(scm: SCM) -> Mapping[str, NDArray[np.float64]]:
    """List the values of observed variables in a finite program that is not too large."""
    if why_infinite(scm) is not None:
        return {}
    try:
        states = ProgramLaw(scm).states
    except ProgramError:  # too many combinations to go through
        return {}
    # names of categories stand for codes 0, 1, ...
    codes = {n: range(len(known)) if n in scm.categories else known for n, known in states.items()}
    levels = {name: np.array(known, dtype=np.float64) for name, known in codes.items()}
    return {name: known for name, known in levels.items() if len(known) > 1}


def _is_in_support(law: Any, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    column = torch.from_numpy(values).reshape(-1, *[1] * len(law.batch_shape))
    fits = law.support.check(column.expand(-1, *law.batch_shape))
    found: NDArray[np.bool_] = fits.reshape(len(values), -1).all(1).numpy()
    return found
