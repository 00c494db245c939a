"""The exact law of a finite program's observed variables, read off the program itself.

The program is run once on a grid of all values of its sample sites, one unit for each cell, under
its own ``do`` handler, and the probabilities are multiplied. Nothing of the inference engines is
used, so that they and the formulas of identification can be checked against it.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from causalppl.data import Factor
from causalppl.estimation.exact import plan_law
from causalppl.exceptions import ProgramError, QueryError
from causalppl.programs import SCM
from causalppl.programs.do import DoMessenger
from causalppl.programs.scm import Given, Recorder
from causalppl.programs.structure import UNITS
from causalppl.queries import Value
from causalppl.seeding import forked_rng

__all__ = ["ProgramLaw", "check_parameters", "why_infinite"]

MOST_CELLS = 2**22
_CELLS_AT_ONCE = 2**17


class ProgramLaw:
    """Laws of a finite program, under interventions.

    Args:
        scm: The model. Its unit sites must be finite or deterministic, one number each; its
            parameters must be values, not random.

    Attributes:
        states: Observed variable to its values: category names, or numbers.

    Raises:
        ProgramError: A site is not finite, or there are more than 4 million combinations of
            values; the message says what else to do.

    Example:
        >>> from causalppl.graphs import front_door
        >>> from causalppl.programs.finite import random_finite_model
        >>> model = random_finite_model(front_door(), seed=0)
        >>> law = ProgramLaw(model.scm()).law()
        >>> law, bool(torch.allclose(law.values, model.law().align(law.names).values))
        (Factor(X: 2, Z: 2, Y: 2), True)
    """

    def __init__(self, scm: SCM) -> None:
        self._scm = scm
        self._known: dict[frozenset[str], Factor] = {}
        self._supports = _supports(scm)
        self._levels = {
            name: self._supports[name].to(torch.float64).unique()
            for name in scm.observed
            if name in self._supports
        }
        for name in scm.graph.topological_order():
            if name not in self._levels:
                self._levels[name] = self._values_of(name)
        self.states: Mapping[str, tuple[Value, ...]] = {
            name: self._named(name, self._levels[name]) for name in scm.observed
        }

    def law(
        self,
        do: Iterable[str] = (),
        *,
        policies: Mapping[str, Factor] | None = None,
    ) -> Factor:
        """Compute the joint law of the observed variables.

        Args:
            do: Variables that are set, each to all its values: the entry at ``(x, v)`` is the
                probability of ``v`` under ``do(X=x)``.
            policies: Variable to the law that a plan gives it: a table over what the plan looks at
                and the variable.

        Raises:
            QueryError: A variable is not observed.
            DataError: A policy is no table over its variable.
        """
        opened = frozenset(do)
        plans = {name: plan_law(name, law) for name, law in (policies or {}).items()}
        if unknown := sorted((opened | set(plans)) - set(self._scm.observed)):
            raise QueryError(
                f"{', '.join(unknown)} is set, but is not an observed site; the program observes "
                f"{', '.join(self._scm.observed)}"
            )
        if plans:
            return self._enumerated(opened, plans)
        if opened not in self._known:
            self._known[opened] = self._enumerated(opened, {})
        return self._known[opened]

    def _values_of(self, name: str) -> Tensor:
        """List the values that a computed variable takes, whatever its observed causes are."""
        weights, values = self._cells(frozenset(self._scm.graph.parents(name)), {})
        return values[weights > 0, self._scm.observed.index(name)].unique()

    def _enumerated(self, do: frozenset[str], plans: Mapping[str, Factor]) -> Factor:
        return self._table(*self._cells(do | set(plans), plans))

    def _cells(self, do: frozenset[str], plans: Mapping[str, Factor]) -> tuple[Tensor, Tensor]:
        """Run the program on all combinations of values; cells lead weights and values."""
        grid = {name: values for name, values in self._supports.items() if name not in do}
        grid |= {name: self._levels[name] for name in sorted(do)}
        sizes = [len(values) for values in grid.values()]
        total = math.prod(sizes)
        if total > MOST_CELLS:
            raise ProgramError(
                f"the sites {', '.join(grid)} have {total:,} combinations of values; expected at "
                f"most {MOST_CELLS:,} to sum over all; check a smaller program"
            )
        weights, values = [], []
        for start in range(0, total, _CELLS_AT_ONCE):
            cells = torch.arange(start, min(start + _CELLS_AT_ONCE, total))
            codes: dict[str, Tensor] = {}
            for name, size in zip(reversed(grid), reversed(sizes), strict=True):
                codes[name] = cells % size
                cells = cells // size
            found = self._run(grid, codes, do, plans)
            weights.append(found[0])
            values.append(found[1])
        return torch.cat(weights), torch.cat(values)

    def _run(
        self,
        grid: Mapping[str, Tensor],
        codes: Mapping[str, Tensor],
        do: frozenset[str],
        plans: Mapping[str, Factor],
    ) -> tuple[Tensor, Tensor]:
        """Weigh each cell, and read off the observed variables; cells lead both shapes."""
        scm, count = self._scm, len(next(iter(codes.values()), torch.zeros(1)))
        units = {name: grid[name][code] for name, code in codes.items()}
        given = {name: draws[0] for name, draws in scm.parameters.items()}
        given |= {name: value for name, value in units.items() if name not in do}
        drawn = {name: code for name, code in codes.items() if name not in do}
        weighing, recorder = _Weights(drawn, grid), Recorder(scm.observed)
        with forked_rng(0), scm.running(), torch.no_grad(), weighing, recorder, Given(given):
            with DoMessenger({name: units[name] for name in sorted(do)}):
                scm.program(count)
        values = {
            name: recorder.values[name].to(torch.float64).expand(count) for name in scm.observed
        }
        weights = weighing.total.expand(count)
        for law in plans.values():
            weights = weights * law.values[tuple(self._codes(n, values[n]) for n in law.names)]
        return weights, torch.stack(list(values.values()), -1)

    def _table(self, weights: Tensor, values: Tensor) -> Factor:
        """Add up the weights of equal values."""
        shape = tuple(len(found) for found in self.states.values())
        place = torch.zeros(len(weights), dtype=torch.long)
        for name, column, size in zip(self.states, values.unbind(-1), shape, strict=True):
            code = self._codes(name, column)
            missed = (self._levels[name][code] != column) & (weights > 0)
            if bool(missed.any()):
                raise ProgramError(
                    f"{name} takes the value {float(column[missed][0]):g} under an intervention on "
                    "what is no cause of it in the diagram; check the program's structure"
                )
            place = place * size + code
        flat = torch.zeros(math.prod(shape), dtype=torch.float64)
        flat.index_add_(0, place, weights)
        return Factor(self._scm.observed, flat.reshape(shape), self.states)

    def _named(self, name: str, levels: Tensor) -> tuple[Value, ...]:
        known = self._scm.categories.get(name)
        numbers = [int(v) if float(v).is_integer() else float(v) for v in levels.tolist()]
        return tuple(known[int(v)] for v in numbers) if known else tuple(numbers)

    def _codes(self, name: str, values: Tensor) -> Tensor:
        levels = self._levels[name]
        return torch.searchsorted(levels, values.contiguous()).clamp(max=len(levels) - 1)


class _Weights(Messenger):
    """Multiply the probabilities of the values that sites are given."""

    def __init__(self, codes: Mapping[str, Tensor], supports: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._codes, self._supports = codes, supports
        self.total = torch.ones((), dtype=torch.float64)

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] not in self._codes:
            return
        code, support = self._codes[msg["name"]], self._supports[msg["name"]]
        values = support.reshape(-1, *[1] * code.dim())
        raw = msg["fn"].log_prob(values).expand(len(support), *code.shape)
        law = raw.to(torch.float64).softmax(0)
        # torch keeps probabilities of zero at the resolution of their type
        law = torch.where(law <= 2 * torch.finfo(raw.dtype).eps, 0.0, law)
        self.total = self.total * (law / law.sum(0)).gather(0, code.unsqueeze(0)).squeeze(0)


def why_infinite(scm: SCM) -> str | None:
    """Say which site has infinitely many values; None if all are finite or computed.

    Raises:
        ProgramError: The program has random parameters.
    """
    check_parameters(scm)
    try:
        _supports(scm)
    except ProgramError as error:
        return str(error)
    return None


def check_parameters(scm: SCM) -> None:
    """Refuse a program with random parameters: its laws would be random too.

    Raises:
        ProgramError: It has some; the message names one.
    """
    sites = scm.structure.sites
    for name in scm.structure.parameters:
        is_random = sites[name].kind == "sample" and not sites[name].is_observed
        if is_random and len(scm.parameters.get(name, ())) != 1:
            raise ProgramError(
                f"the parameter {name!r} is random; a law needs one value of it: use "
                f"scm.with_parameters({{{name!r}: value[None]}})"
            )


def _supports(scm: SCM) -> dict[str, Tensor]:
    """List the values of each sample site of a unit."""
    sites = scm.structure.sites
    check_parameters(scm)
    found = {}
    for name in scm.structure.unit_sites:
        site = sites[name]
        if site.plates != (UNITS,) or site.event_shape or site.is_observed:
            raise ProgramError(
                f"{name!r} holds several values per unit, or is given by the program itself; an "
                "exact law needs one number per unit, which the program draws or computes"
            )
        if site.kind == "sample":
            law = scm.laws[name]
            if not law.has_enumerate_support:
                raise ProgramError(
                    f"{name!r} ({site.family}) has infinitely many values; an exact law needs a "
                    "program whose sites are finite or deterministic"
                )
            found[name] = law.enumerate_support(expand=False).reshape(-1)
    return found
