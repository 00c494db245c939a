"""What goes into a guide for all units: simulated units to train on, and evidence to answer."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from causalppl.exceptions import DataError, FitError, ProgramError
from causalppl.inference.amortised_network import Spec
from causalppl.inference.engine import Problem
from causalppl.inference.latents import Latents
from causalppl.programs.interventions import Shift
from causalppl.programs.scm import SCM
from causalppl.typing import Values

_MAX_CLASSES = 64  # combinations of discrete latents in one head


@dataclass(frozen=True)
class Inputs:
    """Simulated units.

    Attributes:
        numbers: Evidence and parameters, shape ``(simulations, numbers)``.
        unit: Unconstrained continuous latents, ``(simulations, size)``.
        classes: Combination of the discrete latents, ``(simulations,)``.
        tables: Discrete latent to its values, ``(values, *event)``.
        widths: Input to how many of the numbers it takes.
        parameters: The inputs that are parameters.
    """

    numbers: Tensor
    unit: Tensor
    classes: Tensor
    tables: dict[str, Tensor]
    widths: dict[str, int]
    parameters: tuple[str, ...]

    @classmethod
    def of(cls, latents: Latents, index: Tensor) -> "Inputs":
        """Simulate, and drop the units with a number that is not finite."""
        unit, discrete, seen = latents.joint_draws(index)
        bases = {latents.problem.split(key)[0] for key in latents.evidence}
        parameters = relevant_parameters(latents.scm, bases)
        numbers, widths = _flattened(latents, seen, parameters, index)
        tables = _tables(latents)
        classes = torch.zeros(unit.shape[:2], dtype=torch.long, device=unit.device)
        for site in latents.discrete:
            code = _codes(site.to_units(discrete[site.name]), tables[site.name])
            classes = classes * len(tables[site.name]) + code
        flat = unit.flatten(0, 1)
        numbers = numbers.flatten(0, 1).to(flat.dtype)
        keep = torch.isfinite(flat).all(1) & torch.isfinite(numbers).all(1)
        if not bool(keep.any()):
            raise FitError("no simulation of the program is finite; check its mechanisms")
        return cls(numbers[keep], flat[keep], classes.flatten()[keep], tables, widths, parameters)


def _flattened(
    latents: Latents, seen: Values, parameters: Sequence[str], index: Tensor
) -> tuple[Tensor, dict[str, int]]:
    """Put evidence ``(rows, units, ...)`` and parameters side by side."""
    rows, n = len(index), latents.problem.num_units
    dtype = latents.like.dtype
    parts, widths = [], {}
    for key, value in seen.items():
        flat = value.reshape(rows, n, -1).to(dtype)
        parts.append(flat)
        widths[key] = flat.shape[-1]
    for name in parameters:
        draws = latents.scm.parameters[name]
        flat = draws[index.to(draws.device)].reshape(rows, 1, -1).to(dtype).expand(rows, n, -1)
        parts.append(flat)
        widths[name] = flat.shape[-1]
    return torch.cat(parts, -1), widths


def input_numbers(latents: Latents, spec: Spec, evidence: Values, rows: Tensor) -> Tensor:
    """Return the inputs of a problem's units, shape ``(rows, units, numbers)``."""
    n = latents.problem.num_units
    seen = {key: evidence[key].expand(len(rows), *evidence[key].shape) for key in spec.evidence}
    numbers, widths = _flattened(latents, seen, spec.parameters, rows)
    if tuple(widths.items()) != spec.widths:
        raise DataError(
            f"the evidence of {n} units has {widths} numbers for each unit; the guide was trained "
            f"for {dict(spec.widths)}"
        )
    return numbers


def relevant_parameters(scm: SCM, evidence: Collection[str]) -> tuple[str, ...]:
    """Parameters that sites with evidence depend on and that differ between draws."""
    if max((len(value) for value in scm.parameters.values()), default=1) == 1:
        return ()
    ancestors = scm.structure.ancestors(set(evidence))
    return tuple(name for name in scm.parameters if name in ancestors)


def _tables(latents: Latents) -> dict[str, Tensor]:
    """Values of each discrete latent."""
    tables = {}
    for site in latents.discrete:
        if not site.law.has_enumerate_support:
            raise ProgramError(f"the discrete latent {site.name!r} has infinitely many values")
        if math.prod(site.batch_shape) != latents.problem.num_units:
            raise ProgramError(
                f"the discrete latent {site.name!r} has several values for each unit; use "
                "Variational"
            )
        support = site.law.enumerate_support(expand=False)
        tables[site.name] = support.reshape(len(support), *site.event_shape)
    combinations = math.prod(len(table) for table in tables.values())
    if combinations > _MAX_CLASSES:
        raise ProgramError(
            f"the discrete latents {', '.join(tables)} have {combinations} combinations, more than "
            f"the {_MAX_CLASSES} of one categorical head; use Variational or Enumeration"
        )
    return tables


def _codes(value: Tensor, table: Tensor) -> Tensor:
    """Position of each value, ``(rows, units, *event)``, in a table of values."""
    equal = value.unsqueeze(2) == table
    return (
        equal.flatten(3).all(-1).long().argmax(-1) if equal.dim() > 3 else equal.long().argmax(-1)
    )


def find_tie(problem: Problem) -> str | None:
    """Say what keeps a problem's units from being answered one by one."""
    sites = problem.scm.structure.sites
    given = [name for name, site in sites.items() if site.is_observed]
    if given:
        return f"the program itself observes {', '.join(given)}, so no other units can be simulated"
    if problem.free_parameters:
        return (
            f"the parameters {', '.join(problem.free_parameters)} have no draws and tie the units "
            "together; fit the model to data first"
        )
    for world in evidence_worlds(problem):
        for name, value in problem.worlds[world].items():
            value = value.by if isinstance(value, Shift) else value
            if isinstance(value, Tensor) and value.dim() and value.numel() > 1:
                return (
                    f"there is evidence in the world {world!r}, whose intervention on {name!r} "
                    "differs between units; use Variational"
                )
    return None


def evidence_worlds(problem: Problem) -> tuple[str, ...]:
    """Worlds that the law of the evidence depends on."""
    found = {problem.split(key)[1] for key in problem.evidence} - {""}
    if not found:
        return ()
    return tuple(problem.worlds)  # worlds may take values from one another
