"""How likely units' evidence is under draws of the parameters, their latents integrated out."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from causalppl.inference.engine import Problem
from causalppl.inference.gaussian_guide import GaussianGuide
from causalppl.inference.khat import KHAT_LIMIT, LEAST_DRAWS, khat_of
from causalppl.inference.latents import Latents
from causalppl.inference.progress import untold
from causalppl.inference.refusals import find_refusal
from causalppl.inference.unit_laplace import laplace

_EXACT = 1e-2  # spread of log ratios up to which a normal guide is the posterior


@dataclass(frozen=True)
class UnitLikelihood:
    """Log likelihoods of units, in nats.

    Attributes:
        log: Shape ``(parameter draws, units)``, double precision.
        variance: Variance of the Monte Carlo error of ``log``, of the same shape; None where there
            is no such error.
    """

    log: Tensor
    variance: Tensor | None = None


def unit_likelihood(
    problem: Problem, advance: Callable[[int], object] = untold
) -> UnitLikelihood | str:
    """Integrate the latents of each unit out of its likelihood given each parameter draw.

    Finite latents are summed out exactly, by variable elimination. Continuous ones are integrated
    by importance sampling from the Laplace approximation, which is exact where the program is
    linear and normal in them; elsewhere it is judged by its k-hat, and a mode that it misses goes
    unseen.

    Args:
        problem: Evidence, none of it missing, and a model with draws of its parameters.
        advance: Told the number of runs that are done, for a progress bar.

    Returns:
        The log likelihoods, or why there are none.

    Raises:
        ProgramError: A latent can be neither summed out nor integrated.

    References:
        Obermeyer et al. (2019), Tensor variable elimination for plated factor graphs.
        Tierney and Kadane (1986), Accurate approximations for posterior moments.
    """
    if (reason := find_refusal(problem)) is not None:
        return reason
    latents = Latents(problem)
    latents.advance = advance
    with latents.active():
        return _integrated(latents) if latents.unit_size else _summed(latents)


def _summed(latents: Latents) -> UnitLikelihood:
    draws, n = latents.num_parameter_draws, latents.problem.num_units
    with torch.no_grad():
        empty = latents.like.new_zeros(draws, n, 0)
        log, _ = latents.log_density(torch.arange(draws), empty)
    return UnitLikelihood(log.double().expand(draws, n))


def _integrated(latents: Latents) -> UnitLikelihood | str:
    latents.check_differentiable()
    draws, n = latents.num_parameter_draws, latents.problem.num_units
    guide = GaussianGuide(laplace(latents))
    wide = torch.ones(n, dtype=torch.bool)
    with torch.no_grad():
        for heavy in (None, wide):  # exact without heavy tails where all is linear and normal
            unit, shared, log_q = guide.sample(LEAST_DRAWS, wide=heavy)
            log_p, _ = latents.log_density(latents.parameter_index(LEAST_DRAWS), unit, shared)
            ratios = (log_p - log_q[0]).double().reshape(draws, LEAST_DRAWS, n)
            ratios = ratios.nan_to_num(nan=-torch.inf, neginf=-torch.inf)
            if bool((ratios.std(1) < _EXACT).all()):
                break
    if heavy is not None and float(khat_of(ratios).max()) > KHAT_LIMIT:
        return "k-hat of the estimate is above 0.7"
    count = torch.tensor(float(LEAST_DRAWS))
    log = ratios.logsumexp(1) - count.log()
    if heavy is None:
        return UnitLikelihood(log)
    # of the log of a mean, by the delta method
    spread = ((2 * ratios).logsumexp(1) - 2 * log).exp() / count - 1
    return UnitLikelihood(log, spread / count)
