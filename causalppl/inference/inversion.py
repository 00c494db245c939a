"""Evidence on deterministic sites: solve for the one unknown value behind each."""

from collections.abc import Mapping
from typing import Any

import pyro
import torch
from pyro.poutine.messenger import Messenger

from causalppl.exceptions import ImpossibleEvidenceError, ProgramError
from causalppl.inference.engine import Problem
from causalppl.programs.scm import Given
from causalppl.programs.structure import Structure
from causalppl.typing import Values

_STEPS = 100
_PROBES = (-4.0, -1.0, 1.0, 4.0)


def unknown_behind(structure: Structure, name: str, known: frozenset[str]) -> tuple[str, ...]:
    """Return the unknown sample sites that a deterministic site is computed from."""
    found: set[str] = set()
    stack, seen = [name], {name}
    while stack:
        for parent in structure.sites[stack.pop()].parents:
            if parent in seen or parent in known:
                continue
            seen.add(parent)
            site = structure.sites[parent]
            if not site.is_unit:
                continue
            if site.kind == "sample":
                found.add(parent)
            else:
                stack.append(parent)
    return tuple(n for n in structure.sites if n in found)


def inversion_plan(problem: Problem) -> list[tuple[str, str | None]] | str:
    """Pair each deterministic evidence site with the sample site to solve for.

    Returns:
        Pairs in program order (None: nothing is left to solve, the evidence is checked only);
        or, as text, why that cannot be done.
    """
    structure = problem.scm.structure
    known = frozenset(problem.evidence)
    plan: list[tuple[str, str | None]] = []
    for name, site in structure.sites.items():
        if name not in problem.evidence or site.kind == "sample":
            continue
        unknown = unknown_behind(structure, name, known - {name})
        if len(unknown) > 1:
            return (
                f"the deterministic site {name!r} is evidence, but is computed from several "
                f"unknown values ({', '.join(unknown)}), so it cannot be solved for one of them"
            )
        if unknown and structure.sites[unknown[0]].is_discrete:
            return (
                f"the deterministic site {name!r} is evidence and is computed from the discrete "
                f"site {unknown[0]!r}"
            )
        if unknown and structure.sites[unknown[0]].event_shape != site.event_shape:
            return (
                f"the deterministic site {name!r} has event shape {site.event_shape}, and "
                f"{unknown[0]!r}, which it would be solved for, has "
                f"{structure.sites[unknown[0]].event_shape}"
            )
        plan.append((name, unknown[0] if unknown else None))
        known |= set(unknown)
    return plan


def solve_deterministic(problem: Problem, plan: list[tuple[str, str | None]]) -> Values:
    """Find the values of the sites that deterministic evidence was paired with.

    Returns:
        Site to value, shape ``(num_units, *event)``.

    Raises:
        ImpossibleEvidenceError: No value gives the evidence.
        ProgramError: The map from site to evidence is not one to one.
    """
    solved: dict[str, torch.Tensor] = {}
    sites = problem.scm.structure.sites
    fixed = {name: v for name, v in problem.evidence.items() if sites[name].kind == "sample"}
    for name, unknown in plan:
        if unknown is None:
            continue
        evidence = problem.evidence[name]
        solved[unknown] = _solve(problem, name, unknown, evidence, {**fixed, **solved})
    return solved


def _solve(
    problem: Problem, name: str, unknown: str, evidence: torch.Tensor, fixed: Mapping[str, Any]
) -> torch.Tensor:
    guess = torch.zeros_like(evidence)
    if not guess.is_floating_point():
        guess = guess.to(torch.get_default_dtype())
    tolerance = 1e3 * torch.finfo(guess.dtype).eps
    scale = evidence.abs().clamp_min(1.0)
    for step_number in range(_STEPS):
        value, slope = _value_and_slope(problem, name, unknown, guess, fixed)
        residual = evidence - value
        if not bool(torch.isfinite(value).all()):
            raise ProgramError(f"{_cannot(name, unknown)}: the map is not finite on the way")
        if bool((residual.abs() <= tolerance * scale * 1e-2).all()):
            break
        if bool((slope == 0).any()):
            if step_number:  # it sloped at first and levelled off before the evidence was reached
                break
            raise ProgramError(f"{_cannot(name, unknown)}: the map is flat")
        step = residual / slope
        new = guess + step.clamp(-1e6, 1e6)
        if bool(torch.isclose(new, guess, rtol=tolerance * 1e-3, atol=0.0).all()):
            break
        guess = new
    value, slope = _value_and_slope(problem, name, unknown, guess, fixed)
    if not bool(((evidence - value).abs() <= tolerance * scale).all()):
        unit = int(((evidence - value).abs() / scale).reshape(len(value), -1).amax(-1).argmax())
        raise ImpossibleEvidenceError(
            f"no value of {unknown!r} gives the deterministic site {name!r} its evidence "
            f"{evidence[unit].tolist()} (unit {unit}); check the evidence"
        )
    for probe in _PROBES:
        _, other = _value_and_slope(problem, name, unknown, guess + probe, fixed)
        if bool((torch.sign(other) * torch.sign(slope) < 0).any()):
            raise ProgramError(f"{_cannot(name, unknown)}: the map is not monotone")
    return guess


def _cannot(name: str, unknown: str) -> str:
    return (
        f"the evidence on the deterministic site {name!r} cannot be solved for {unknown!r}; give "
        f"evidence on {unknown!r} itself, or write {name!r} as a narrow pyro.sample (a Normal "
        "around its value)"
    )


def _value_and_slope(
    problem: Problem, name: str, unknown: str, guess: torch.Tensor, fixed: Mapping[str, Any]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run the program; the units are independent, so one backward pass gives all slopes."""
    guess = guess.detach().requires_grad_(True)
    reader = _Reader(name)
    with problem.scm.running(), pyro.validation_enabled(False), torch.enable_grad():
        with Given({**fixed, **problem.scm.parameters, unknown: guess}), reader:
            problem.scm.program(problem.num_units)
        value = reader.value
        assert value is not None
        if value.requires_grad:
            (slope,) = torch.autograd.grad(value.sum(), guess)
        else:
            slope = torch.zeros_like(guess)
    return value.detach(), slope


class _Reader(Messenger):
    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self.value: torch.Tensor | None = None

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] == self._name:
            self.value = msg["value"]
