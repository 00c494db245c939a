"""Exact answers without inference: every noise that matters is abducted or untouched."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from tqdm.auto import tqdm

from causalppl.exceptions import ImpossibleEvidenceError
from causalppl.inference.engine import Answer, Engine, Problem
from causalppl.inference.inversion import inversion_plan, solve_deterministic
from causalppl.inference.laws import Law, PointLaw
from causalppl.inference.relevance import Relevance, UnknownValueError
from causalppl.programs.interventions import Interventions, on_units
from causalppl.programs.simulate import simulate
from causalppl.seeding import forked_rng
from causalppl.typing import Values

_CHUNK = 4_000_000  # values in one run, per site and world


@dataclass(frozen=True)
class ClosedForm(Engine):
    """Abduct each needed noise from the evidence, draw the others from their prior, predict.

    Applies when every needed site is observed together with its parents, or has no evidence
    downstream of it. Then the posterior of the noise is known in closed form, whatever the
    mechanisms are, and the draws are exact; where nothing is left to draw the answer is a point.

    References:
        Pearl (2009), Causality, theorem 7.1.7 (abduction, action, prediction).

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from causalppl.inference import infer
        >>> def program():
        ...     x = pyro.sample("X", dist.Normal(0.0, 1.0))
        ...     return pyro.sample("Y", dist.LogNormal(2 * x, 1.0))
        >>> found = infer(program, "E[Y_{X=0} | X=1, Y=1]", engine=ClosedForm())
        >>> round(found.mean()["Y"], 4)  # exp(-2)
        0.1353
    """

    name: ClassVar[str] = "ClosedForm"

    def refusal(self, problem: Problem) -> str | None:
        """See `Engine.refusal`."""
        try:
            self.relevance(problem)
        except UnknownValueError as error:
            return str(error)
        return None

    def is_point(self, problem: Problem) -> bool:
        """Whether the evidence leaves nothing to draw."""
        try:
            return not self.relevance(problem).is_random
        except UnknownValueError:
            return False

    def relevance(self, problem: Problem) -> Relevance:
        """Trace what the targets need.

        Raises:
            UnknownValueError: Some of it must be inferred.
        """
        elsewhere = [key for key in problem.evidence if problem.split(key)[1]]
        if elsewhere:
            raise UnknownValueError(f"there is evidence in another world ({', '.join(elsewhere)})")
        plan = inversion_plan(problem)
        if isinstance(plan, str):
            raise UnknownValueError(plan)
        solved = {unknown for _, unknown in plan if unknown}
        if solved and problem.scm.parameters and problem.num_parameter_draws > 1:
            raise UnknownValueError("deterministic evidence is solved for one parameter draw only")
        return Relevance.of(problem, frozenset(problem.evidence) | solved)

    def solve(self, problem: Problem, *, seed: int, progress: bool = False) -> Answer:
        """See `Engine.solve`."""
        sites = problem.scm.structure.sites
        plan = inversion_plan(problem)
        assert not isinstance(plan, str)
        given = {name: v for name, v in problem.evidence.items() if sites[name].kind == "sample"}
        given.update(solve_deterministic(problem, plan))
        point = not self.relevance(problem).is_random
        draws_needed = 1 if point else problem.num_draws
        with forked_rng(seed):
            draws = _draw(problem, given, draws_needed, plan, progress)
        if not point:
            return Answer(draws=draws, is_exact=True)
        means = {key: value[:, 0] for key, value in draws.items()}
        laws: dict[str, Law] = {}
        if problem.num_parameter_draws == 1:
            laws = {key: PointLaw(value[0]) for key, value in means.items()}
        return Answer(draws=draws, means=means, laws=laws, is_exact=True)


def _draw(
    problem: Problem,
    given: Values,
    num_draws: int,
    plan: list[tuple[str, str | None]],
    progress: bool,
) -> dict[str, torch.Tensor]:
    """Run units side by side, once for each draw; in chunks, so that memory stays bounded."""
    keys = tuple(dict.fromkeys((*problem.targets, *(e.key for e in problem.events))))
    checked = tuple(name for name, _ in plan)
    width = problem.num_units * problem.num_parameter_draws * (len(problem.worlds) + 1)
    at_once = max(1, min(num_draws, _CHUNK // max(width, 1)))
    collected: dict[str, list[torch.Tensor]] = {key: [] for key in keys}
    steps = range(0, num_draws, at_once)
    for start in tqdm(steps, disable=not progress or len(steps) < 2, desc="predicting"):
        repeats = min(at_once, num_draws - start)
        simulation = simulate(
            problem.scm,
            problem.num_units * repeats,
            tuple(dict.fromkeys((*keys, *checked))),
            worlds={world: repeated(problem, world, repeats) for world in problem.worlds},
            given={name: repeat_units(value, repeats) for name, value in given.items()},
        )
        for name in checked:
            _check_deterministic(problem, name, simulation[name], repeats)
        for key in keys:
            value = simulation[key]
            shape = (value.shape[0], repeats, problem.num_units, *value.shape[2:])
            collected[key].append(value.reshape(shape))
    return {
        key: values[0] if len(values) == 1 else torch.cat(values, 1)
        for key, values in collected.items()
    }


def repeat_units(value: torch.Tensor, repeats: int) -> torch.Tensor:
    """Shape ``(units, *event)`` to ``(repeats * units, *event)``, whole blocks of units."""
    return value if repeats == 1 else value.repeat((repeats,) + (1,) * (value.dim() - 1))


def repeated(problem: Problem, world: str, repeats: int) -> Interventions:
    """Repeat a world's per-unit interventions as `repeat_units` repeats the units."""
    sites, num_units = problem.scm.structure.sites, problem.num_units
    return {
        name: on_units(value, sites[name].event_dim, num_units, lambda v: repeat_units(v, repeats))
        for name, value in problem.worlds[world].items()
    }


def _check_deterministic(problem: Problem, name: str, value: torch.Tensor, repeats: int) -> None:
    evidence = repeat_units(problem.evidence[name], repeats)
    scale = evidence.abs().clamp_min(1.0) if evidence.is_floating_point() else 1
    if bool(((value - evidence).abs() > 1e-3 * scale).any()):
        raise ImpossibleEvidenceError(
            f"the evidence on the deterministic site {name!r} contradicts the evidence on the "
            "sites it is computed from; check both"
        )
