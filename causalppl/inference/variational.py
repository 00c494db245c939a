"""Variational inference with a guide that is a full Gaussian for each unit.

Units are independent given the parameters, so the guide needs no covariance between them: its cost
is linear in their number. It starts from the Laplace approximation, found by Newton's method for
all units at once, and lives in coordinates in which that is a standard normal. For a linear
Gaussian program the start is the answer; elsewhere the ELBO moves it. Pareto-smoothed importance
weights then correct what a Gaussian cannot follow, and say where they cannot.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pyro.optim.clipped_adam import ClippedAdam
from torch import Tensor

from causalppl.inference.ascent import WINDOW, ascend
from causalppl.inference.custom_guide import CustomGuide
from causalppl.inference.engine import Answer, Engine, Problem
from causalppl.inference.gaussian_guide import GaussianGuide
from causalppl.inference.khat import LEAST_DRAWS, finite_ratios, judge
from causalppl.inference.latents import Latents
from causalppl.inference.moment_matching import matched, weighed
from causalppl.inference.refusals import find_refusal
from causalppl.inference.resampling import settled
from causalppl.inference.settings import check_counts, check_positive
from causalppl.inference.unit_laplace import laplace
from causalppl.programs.structure import unchanged_params
from causalppl.seeding import forked_rng

_MAX_WEIGHED = 20_000_000  # draws of units beyond which few draws are not weighed and resampled
_FLAT = 1e-3  # spread of the log ratios below which the start is the posterior
_WIDE = 0.1  # spread of the log ratios above which the Gaussian is mixed with wider laws


@dataclass(frozen=True)
class Variational(Engine):
    """Fit a guide to the latents by stochastic variational inference.

    Discrete latents are summed out of the ELBO and then drawn exactly given the continuous ones.
    The answer is corrected by Pareto-smoothed importance weights; where their k-hat is above 0.7
    in some units, a `ConvergenceWarning` says in how many. Where the Gaussian guide is too narrow
    for a unit, its draws are mixed with wider ones, and k-hat judges the mixture.

    Attributes:
        guide: A Pyro guide (a callable, without argument or of the number of units) or a subclass
            of `pyro.infer.autoguide.AutoGuide`; None takes a full Gaussian for each unit. A guide
            of yours is fitted once for each parameter draw.
        num_steps: Most steps of the optimiser; it stops when the ELBO does not rise any more.
        learning_rate: Of ClippedAdam; it decays to a tenth over ``num_steps``. The default guide's
            parameters are in units of the Laplace approximation's standard deviations.
        num_particles: Draws behind each step's gradient.
        tolerance: Rise of the ELBO, in nats for each unit and 50 steps, that counts as none;
            None takes 0.001.

    Raises:
        DataError: A setting is out of range.

    References:
        Kucukelbir et al. (2017), Automatic differentiation variational inference.
        Roeder, Wu and Duvenaud (2017), Sticking the landing (the gradient used here).
        Yao et al. (2018), Yes, but did it work? (k-hat as a judge of the guide).

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> from causalppl.programs.scm import SCM
        >>> def program():
        ...     u = pyro.sample("U", dist.Normal(0.0, 1.0))
        ...     return pyro.sample("X", dist.Normal(u, 1.0))
        >>> problem = Problem(SCM(program), 1, {}, {"X": torch.tensor([2.0])}, ("U",))
        >>> answer = Variational().solve(problem, seed=0)
        >>> round(float(answer.draws["U"].mean()))
        1
    """

    name: ClassVar[str] = "Variational"

    guide: Callable[..., Any] | None = None
    num_steps: int = 2000
    learning_rate: float = 0.01
    num_particles: int = 1
    tolerance: float | None = None

    def __post_init__(self) -> None:
        check_counts(num_steps=self.num_steps, num_particles=self.num_particles)
        check_positive(learning_rate=self.learning_rate)

    def refusal(self, problem: Problem) -> str | None:
        """See `Engine.refusal`."""
        return find_refusal(problem)

    def solve(self, problem: Problem, *, seed: int, progress: bool = False) -> Answer:
        """See `Engine.solve`.

        Raises:
            FitError: The ELBO is not finite.
            ImpossibleEvidenceError: No start has a positive density for some unit.
        """
        with forked_rng(seed):
            latents = Latents(problem)
            if not latents.sites:
                return latents.answer({}, problem.num_draws, is_exact=True)
            latents.check_differentiable()
            with latents.active():
                if self.guide is None:
                    return self._by_gaussian(latents, progress)
                return self._by_user_guide(latents, progress)

    # -- the default guide ------------------------------------------------------------------------

    def _by_gaussian(self, latents: Latents, progress: bool) -> Answer:
        num_draws, draws = latents.problem.num_draws, latents.num_parameter_draws
        elbo: list[float] = []
        guide = GaussianGuide(laplace(latents))
        with torch.no_grad():
            gaps, *_ = weighed(latents, guide, LEAST_DRAWS, None, _few(draws))
        if not bool((gaps.std(1) < _FLAT).all()):
            elbo = self._fit(latents, guide, progress)
        width = draws * LEAST_DRAWS * latents.problem.num_units
        count = num_draws if width > _MAX_WEIGHED else max(num_draws, LEAST_DRAWS)
        with torch.no_grad():
            probe, *_ = weighed(latents, guide, 2 * LEAST_DRAWS, None, _few(draws))
            wide = finite_ratios(probe).std(1).amax(0).nan_to_num(nan=math.inf) > _WIDE
            if latents.shared or count < LEAST_DRAWS:
                wide = torch.zeros_like(wide)
            if bool(wide.any()):
                guide = matched(latents, guide, wide)
            ratios, unit, shared = weighed(latents, guide, count, wide, torch.arange(draws))
            weights, diagnostics = judge(
                ratios, ratios if count >= LEAST_DRAWS else probe, bool(latents.shared)
            )
            values = dict(latents.constrain(latents.parameter_index(count), unit, shared))
            values, weights = settled(latents, values, weights, num_draws)
            values |= latents.discrete_given(latents.parameter_index(num_draws), values)
        return latents.answer(
            values,
            num_draws,
            weights,
            is_exact=not latents.unit_size + latents.shared_size,
            diagnostics={**diagnostics, "elbo": elbo},
        )

    def _fit(self, latents: Latents, guide: GaussianGuide, progress: bool) -> list[float]:
        draws = latents.num_parameter_draws
        index = latents.parameter_index(self.num_particles)
        optimiser = ClippedAdam(
            guide.parameters, lr=self.learning_rate, lrd=0.1 ** (1 / self.num_steps)
        )
        mean = [torch.zeros_like(p) for p in guide.parameters]

        def step(number: int) -> float:
            unit, shared, log_q = guide.sample(self.num_particles, sticking=True)
            log_p = latents.log_density(index, unit, shared)
            gap = (log_p[0] - log_q[0]).sum() + (log_p[1] - log_q[1]).sum()
            elbo = gap / self.num_particles
            grads = torch.autograd.grad(-elbo, guide.parameters, allow_unused=True)
            for parameter, grad in zip(guide.parameters, grads, strict=True):
                parameter.grad = grad
            optimiser.step()
            with torch.no_grad():
                for kept, parameter in zip(mean, guide.parameters, strict=True):
                    kept.lerp_(parameter, 1 / (number % WINDOW + 1))
            return float(elbo.detach()) / draws

        trace = ascend(
            step,
            self.num_steps,
            least_rise=self._least_rise(latents),
            remedy="the program's densities near the evidence",
            progress=progress,
        )
        if len(trace) % WINDOW == 0:  # the mean over the last window is less noisy
            guide.set_parameters(mean)
        return trace

    def _least_rise(self, latents: Latents) -> float:
        tolerance = 1e-3 if self.tolerance is None else self.tolerance
        return tolerance * latents.problem.num_units

    # -- a guide of the user's -----------------------------------------------------------------

    def _by_user_guide(self, latents: Latents, progress: bool) -> Answer:
        num_draws = latents.problem.num_draws
        values: list[dict[str, Tensor]] = []
        ratios, elbo, is_joint = [], [], bool(latents.shared)
        for d in range(latents.num_parameter_draws):
            with unchanged_params():
                trace, (drawn, log_q, is_tied) = self._fit_user_guide(latents, d, progress)
            elbo.extend(trace)
            index = torch.full((num_draws,), d)
            with torch.no_grad():
                log_p = latents.log_joint(index, drawn)
                if set(drawn) < {site.name for site in latents.sites}:
                    drawn |= latents.discrete_given(index, drawn)
            is_joint = is_joint or is_tied
            values.append(drawn)
            ratios.append((log_p[0] - log_q[0], log_p[1] - log_q[1]))
        unit = torch.stack([r[0] for r in ratios])
        if is_joint:
            unit = (unit.sum(2) + torch.stack([r[1] for r in ratios]))[..., None]
        weights, diagnostics = judge(unit, unit, is_joint)
        joined = {name: torch.cat([v[name] for v in values]) for name in values[0]}
        joined, weights = settled(latents, joined, weights, num_draws)
        return latents.answer(joined, num_draws, weights, diagnostics={**diagnostics, "elbo": elbo})

    def _fit_user_guide(
        self, latents: Latents, draw: int, progress: bool
    ) -> tuple[list[float], tuple[dict[str, Tensor], tuple[Tensor, Tensor], bool]]:
        assert self.guide is not None
        guide = CustomGuide(self.guide, latents, draw)
        trace = guide.fit(
            self.num_steps,
            learning_rate=self.learning_rate,
            num_particles=self.num_particles,
            least_rise=self._least_rise(latents),
            progress=progress,
        )
        return trace, guide.draws(latents.problem.num_draws)


def _few(draws: int) -> Tensor:
    """Choose up to four parameter draws, evenly."""
    return torch.linspace(0, draws - 1, min(4, draws)).long()
