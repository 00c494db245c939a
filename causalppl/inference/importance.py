"""Self-normalised importance sampling: draw the latents, weigh them by the evidence."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pyro
import torch
from torch import Tensor

from causalppl.exceptions import ImpossibleEvidenceError
from causalppl.inference.engine import Answer, Engine, Problem
from causalppl.inference.khat import judge
from causalppl.inference.latents import Latents, joined
from causalppl.inference.progress import progress_bar
from causalppl.inference.refusals import find_refusal, other_engines
from causalppl.inference.resampling import settled
from causalppl.inference.settings import check_counts
from causalppl.inference.weighing import can_weigh, weigh
from causalppl.programs.interventions import Shift, World
from causalppl.programs.scm import Given
from causalppl.programs.structure import units_program
from causalppl.seeding import forked_rng, spawn_seeds

_AT_ONCE = 20_000_000  # draws of units
_LEAST = 1_000  # draws for each parameter draw


@dataclass(frozen=True)
class Importance(Engine):
    """Draw the latents from their prior and weigh them by the evidence (likelihood weighting).

    Works for every program, discrete latents with infinitely many values included, but needs
    evidence that is not too rare: the effective number of draws, reported for each unit, is about
    ``num_samples`` times the probability of the evidence relative to its best explanation. The
    largest weights are Pareto-smoothed. Without evidence it is plain forward simulation.

    Attributes:
        num_samples: Draws for each unit, shared among the parameter draws (at least 1,000 for
            each, and at least the draws that the problem wants; fewer, which the notes say, where
            many units would not fit in memory). They come with their weights; with a guide, free
            parameters or evidence in another world they are resampled by them where the problem
            wants fewer.
        guide: Where to draw from instead: a Pyro guide (a callable, without argument or of the
            number of units) over some or all latents.

    Raises:
        DataError: A setting is out of range.

    References:
        Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from causalppl.programs.scm import SCM
        >>> def program():
        ...     u = pyro.sample("U", dist.Normal(0.0, 1.0))
        ...     return pyro.sample("X", dist.Normal(u, 1.0))
        >>> problem = Problem(SCM(program), 1, {}, {"X": torch.tensor([2.0])}, ("U",))
        >>> answer = Importance().solve(problem, seed=0)
        >>> weights = torch.softmax(answer.log_weights, 1)
        >>> round(float((weights * answer.draws["U"]).sum()))
        1
    """

    name: ClassVar[str] = "Importance"

    num_samples: int = 10_000
    guide: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        check_counts(num_samples=self.num_samples)

    def refusal(self, problem: Problem) -> str | None:
        """See `Engine.refusal`."""
        return find_refusal(problem, is_enumerating=False)

    def solve(self, problem: Problem, *, seed: int, progress: bool = False) -> Answer:
        """See `Engine.solve`.

        Raises:
            ImpossibleEvidenceError: No draw gives some unit's evidence a positive weight.

        Warns:
            ConvergenceWarning: k-hat is above 0.7 for some units.
        """
        samples = self._samples(problem)
        if self.guide is None and _is_plain(problem):
            with forked_rng(seed):
                latents = Latents(problem)  # raises where evidence lies outside its support
                if not latents.sites:
                    return latents.answer({}, problem.num_draws, is_exact=True)
                return weigh(problem, samples, progress=progress)
        at_once = max(1, _AT_ONCE // (samples * problem.num_parameter_draws))
        if at_once >= problem.num_units or not can_be_split(problem):
            with forked_rng(seed), progress_bar(1, "weighing", progress=progress):
                return self._solve(problem, samples)
        starts = range(0, problem.num_units, at_once)
        seeds = spawn_seeds(seed, len(starts))
        answers = []
        with progress_bar(len(starts), "weighing", progress=progress) as bar:
            for start, piece_seed in zip(starts, seeds, strict=True):
                with forked_rng(piece_seed):
                    piece = of_units(problem, slice(start, start + at_once))
                    answers.append(self._solve(piece, samples))
                bar.update()
        return _joined(answers)

    def _samples(self, problem: Problem) -> int:
        shared = max(_LEAST, self.num_samples // problem.num_parameter_draws)
        return max(min(shared, self.num_samples), problem.num_draws)

    def _solve(self, problem: Problem, samples: int) -> Answer:
        latents = Latents(problem)
        num_draws, n = problem.num_draws, problem.num_units
        if not latents.sites:
            return latents.answer({}, num_draws, is_exact=True)
        guide = None if self.guide is None else units_program(self.guide)
        with latents.active():
            index = latents.parameter_index(samples)
            values, unit, shared = _weighed_draws(latents, index, guide)
            if latents.shared:
                unit = (unit.sum(1) + shared)[:, None]
            unit = unit.reshape(latents.num_parameter_draws, samples, -1)
            _check_some_weight(unit, problem)
            advice = other_engines(problem, "raise num_samples, or give Importance a better guide")
            weights, diagnostics = judge(
                unit, unit, bool(latents.shared), num_units=n, advice=advice
            )
            if weights is None:  # too few to be smoothed
                weights = torch.log_softmax(unit, 1).expand(-1, -1, n)
            effective = 1 / torch.softmax(weights.double(), 1).square().sum(1).amin(0)
            values, kept = settled(latents, values, weights, num_draws)
        effective_sizes = effective.tolist()
        return latents.answer(
            values, num_draws, kept, diagnostics={**diagnostics, "ess": effective_sizes}
        )


@torch.no_grad()
def _weighed_draws(
    latents: Latents, index: Tensor, guide: Callable[[int], Any] | None
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Draw the latents from the prior, or from a guide, and weigh them by the evidence.

    Args:
        latents: What to draw.
        index: Parameter draw of each row.
        guide: A function of the number of units that draws some latents; None: none.

    Returns:
        Constrained values of all latents, and log weights of the units, ``(rows, units)``, and of
        what they share, ``(rows,)``.
    """
    values, unit, shared = [], [], []
    for rows in latents.pieces(len(index)):
        size = len(index[rows])
        drawn, log_q = _guide_draws(latents, guide, size)
        model = latents.program.model(index[rows], [Given(drawn)])
        trace = pyro.poutine.trace(model).get_trace()
        trace.compute_log_prob(lambda _, site: site["is_observed"])
        log_p = latents.by_unit(trace, size)
        values.append(latents.program.recorded(trace, latents.sites, size))
        unit.append(log_p[0] - log_q[0])
        shared.append(log_p[1] - log_q[1])
    return joined(values), torch.cat(unit), torch.cat(shared)


def _guide_draws(
    latents: Latents, guide: Callable[[int], Any] | None, rows: int
) -> tuple[dict[str, Tensor], tuple[Tensor | float, Tensor | float]]:
    """Draw from a guide: values in the shape of a run, and their log densities."""
    if guide is None:
        return {}, (0.0, 0.0)
    with latents.program.axis.plate(rows):
        trace = pyro.poutine.trace(guide).get_trace(latents.problem.num_units)
    trace.compute_log_prob()
    drawn: dict[str, Any] = {
        site.name: trace.nodes[site.name]["value"]
        for site in latents.sites
        if site.name in trace.nodes
    }
    return drawn, latents.by_unit(trace, rows)


def _is_plain(problem: Problem) -> bool:
    """Whether one forward run can weigh: evidence on factual sites with one value per unit."""
    sites = problem.scm.structure.sites
    return can_weigh(problem) and all(len(sites[key].plates) <= 1 for key in problem.evidence)


def _check_some_weight(log_weights: Tensor, problem: Problem) -> None:
    log_weights.nan_to_num_(nan=-torch.inf, neginf=-torch.inf)
    dead = (log_weights.amax(1) == -torch.inf).any(0)
    if bool(dead.any()):
        who = f"{int(dead.sum())} of {problem.num_units} units" if len(dead) > 1 else "the units"
        raise ImpossibleEvidenceError(
            f"none of {log_weights.shape[1]} draws of the latents gives the evidence of {who} a "
            "positive probability; check its values, "
            f"{other_engines(problem, 'raise num_samples, or give Importance a guide')}"
        )


# -- pieces of units --------------------------------------------------------------------------


def can_be_split(problem: Problem) -> bool:
    """Whether units can be answered in pieces: nothing ties them together."""
    simple = (bool, int, float, Tensor, Shift, World)
    return not problem.free_parameters and all(
        isinstance(value, simple)
        for changes in problem.worlds.values()
        for value in changes.values()
    )


def of_units(problem: Problem, units: slice | Tensor) -> Problem:
    """Return the problem for some of its units."""
    n = problem.num_units

    def part(value: Any) -> Any:
        if isinstance(value, Shift):
            return Shift(part(value.by))
        if isinstance(value, Tensor) and value.dim() and len(value) == n:
            return value[units]
        return value

    return replace(
        problem,
        num_units=len(torch.arange(n)[units]),
        worlds={w: {k: part(v) for k, v in c.items()} for w, c in problem.worlds.items()},
        evidence={key: value[units] for key, value in problem.evidence.items()},
    )


def _joined(answers: list[Answer]) -> Answer:
    first = answers[0]

    def together(parts: list[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        return {key: torch.cat([part[key] for part in parts], 2) for key in parts[0]}

    weights = [answer.log_weights for answer in answers if answer.log_weights is not None]
    return replace(
        first,
        draws=together([answer.draws for answer in answers]),
        log_weights=torch.cat(weights, 2) if weights else None,
        diagnostics={
            key: [entry for answer in answers for entry in answer.diagnostics[key]]
            for key in first.diagnostics
        },
    )
