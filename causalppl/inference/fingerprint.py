"""What a trained guide knows of its program, so that it is not taken for another one's guide."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from causalppl.exceptions import ProgramError
from causalppl.inference.amortised_inputs import evidence_worlds, relevant_parameters
from causalppl.inference.engine import Problem
from causalppl.inference.latents import Latents
from causalppl.programs.interventions import Interventions
from causalppl.programs.scm import SCM

_UNITS = 16
_DRAWS = 4  # of parameters that are inputs of the guide
_TOLERANCE = 1e-4  # relative; float32 rounding of a log density is far below


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """Structure and behaviour of a program, as far as latents and evidence depend on it.

    The behaviour is the log density of latents and evidence at stored points: units that the
    program itself simulated, under parameters that are stored too where the guide takes them as
    inputs, and else under those of the model. So a refitted model, other learned weights, another
    coefficient or another intervention in a world with evidence all differ; rounding, the device
    and sites that the evidence does not depend on do not.

    Attributes:
        sites: Kind, family and parents of each site that the evidence depends on.
        parameters: Parameters that are inputs, shape ``(draws, *event)``.
        evidence: Key to values at the points, ``(units, *event)``.
        unit: Unconstrained continuous latents, ``(1, units, size)``.
        discrete: Discrete latents, ``(1, *batch, *event)``.
        densities: Log density of each point, nats, ``(draws, units)``.
    """

    sites: dict[str, tuple[str, str, tuple[str, ...]]]
    parameters: dict[str, Tensor]
    evidence: dict[str, Tensor]
    unit: Tensor
    discrete: dict[str, Tensor]
    densities: Tensor

    @classmethod
    def of(cls, problem: Problem, inputs: tuple[str, ...]) -> "Fingerprint":
        """Take the fingerprint of a program. Random; fork the generator around it.

        Args:
            problem: Model, worlds and evidence that is possible, for any number of units.
            inputs: Parameters whose draws are inputs of the guide.
        """
        problem = _few(problem)
        latents = Latents(problem)
        with latents.active():
            unit, discrete, seen = latents.joint_draws(torch.zeros(1, dtype=torch.long))
        evidence = {key: value[0] for key, value in seen.items()}
        parameters = {name: problem.scm.parameters[name][:_DRAWS] for name in inputs}
        found = _densities(problem.scm, problem.worlds, evidence, unit, discrete, parameters)
        return cls(_sites(problem), parameters, evidence, unit, discrete, found)

    def check(self, problem: Problem) -> None:
        """Compare with the program of a problem.

        Raises:
            ProgramError: It is another program.
        """
        self._check_sites(problem)
        worlds = {world: problem.worlds[world] for world in evidence_worlds(problem)}
        points = (self.evidence, self.unit, self.discrete, self.parameters)
        try:
            found = _densities(problem.scm, worlds, *points)
        except Exception as error:  # whatever another program says of values that are not its own
            raise _mismatch(f"this one cannot take its values ({error})") from error
        if found.shape != self.densities.shape:
            raise _mismatch("its sites have other shapes")
        expected = self.densities.to(found)
        same = torch.isclose(found, expected, _TOLERANCE, 10 * _TOLERANCE, equal_nan=True)
        if not bool(same.all()):
            gap = float((found - expected).abs().nan_to_num(posinf=torch.inf).max())
            raise _mismatch(
                f"the log density of latents and evidence differs by up to {gap:.3g} nats at the "
                "points that were stored when it was trained (another coefficient, fit, learned "
                "weight, or intervention in a world with evidence)"
            )

    def _check_sites(self, problem: Problem) -> None:
        found = _sites(problem)
        for name in dict.fromkeys((*self.sites, *found)):
            theirs, ours = self.sites.get(name), found.get(name)
            if theirs != ours:
                raise _mismatch(f"the site {name!r} was {_told(theirs)}, and is {_told(ours)}")
        if problem.num_parameter_draws > 1:
            bases = {problem.split(key)[0] for key in problem.evidence}
            needed = relevant_parameters(problem.scm, bases)
            if lacking := [name for name in needed if name not in self.parameters]:
                raise _mismatch(
                    f"it was trained for one value of {', '.join(lacking)}, and there are "
                    f"{problem.num_parameter_draws} draws"
                )

    def to_plain(self) -> dict[str, Any]:
        """Return the fields in plain types and tensors."""
        sites = {name: [kind, family, list(p)] for name, (kind, family, p) in self.sites.items()}
        return {**vars(self), "sites": sites}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Fingerprint":
        """Invert `to_plain`."""
        sites = {name: (k, f, tuple(p)) for name, (k, f, p) in plain["sites"].items()}
        return cls(**{**plain, "sites": sites})


def _few(problem: Problem) -> Problem:
    evidence = {key: value[:_UNITS] for key, value in problem.evidence.items()}
    units = min(_UNITS, problem.num_units)
    worlds = {world: problem.worlds[world] for world in evidence_worlds(problem)}
    return Problem(problem.scm, units, worlds, evidence, ())


def _sites(problem: Problem) -> dict[str, tuple[str, str, tuple[str, ...]]]:
    structure = problem.scm.structure
    bases = {problem.split(key)[0] for key in problem.evidence}
    kept = structure.ancestors(bases) | bases
    return {
        name: (site.kind, site.family or "", tuple(site.parents))
        for name, site in structure.sites.items()
        if name in kept
    }


def _densities(
    scm: SCM,
    worlds: Mapping[str, Interventions],
    evidence: dict[str, Tensor],
    unit: Tensor,
    discrete: dict[str, Tensor],
    parameters: dict[str, Tensor],
) -> Tensor:
    """Log density of each point under each parameter draw, shape ``(draws, units)``."""
    rows = max((len(value) for value in parameters.values()), default=1)
    if scm.parameters:
        first = {n: v[:1].expand(rows, *v.shape[1:]) for n, v in scm.parameters.items()}
        scm = scm.with_parameters({n: parameters.get(n, value) for n, value in first.items()})
    units = unit.shape[1]
    latents = Latents(Problem(scm, units, worlds, evidence, ()))
    with latents.active(), torch.no_grad():
        spread = {name: v.expand(rows, *v.shape[1:]) for name, v in discrete.items()}
        log_density, _ = latents.log_density(
            torch.arange(rows), unit.expand(rows, -1, -1), None, spread or None
        )
    return log_density.double().expand(rows, units).clone()


def _told(site: tuple[str, str, tuple[str, ...]] | None) -> str:
    if site is None:
        return "not there"
    kind, family, parents = site
    return f"{family or kind} of {', '.join(parents) or 'nothing'}"


def _mismatch(what: str) -> ProgramError:
    return ProgramError(
        f"the guide was trained for another program: {what}; train one for this program"
    )
