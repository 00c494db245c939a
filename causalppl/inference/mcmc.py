"""Hamiltonian Monte Carlo over the latents of all units and parameter draws together."""

from dataclasses import dataclass
from typing import Any, ClassVar

import pyro
import torch
from torch import Tensor

from causalppl.exceptions import ConvergenceWarning
from causalppl.inference.diagnostics import ess, rhat
from causalppl.inference.engine import Answer, Engine, Problem
from causalppl.inference.latents import Latents
from causalppl.inference.refusals import find_refusal
from causalppl.inference.settings import check_counts, check_share
from causalppl.inference.unit_laplace import Laplace, laplace
from causalppl.seeding import forked_rng
from causalppl.user_warning import warn_user

RHAT_LIMIT = 1.01
"""Above this R-hat chains have not mixed (Vehtari et al. 2021)."""


_SLOWEST = 4.0  # correlation time, in draws, that counts as mixing
_LEAST_ESS = 50  # below it not even the mean is to be trusted


@dataclass(frozen=True)
class NUTS(Engine):
    """Sample the latents with the no-U-turn sampler, discrete latents summed out.

    Chains run in the coordinates of the Laplace approximation, in which the posterior is close to
    a standard normal, and start near its mode; discrete latents are then drawn exactly.

    Attributes:
        num_samples: Draws of each chain after warm-up. The answer has ``num_samples * num_chains``
            draws, one chain after the other; with several parameter draws they are thinned to
            the number that the problem asks for.
        warmup_steps: Steps that adapt the step size and the mass matrix.
        num_chains: Chains, run one after the other. A single one is judged by its halves.
        target_accept: Acceptance probability that the step size is adapted to.

    Raises:
        DataError: A setting is out of range.

    References:
        Hoffman and Gelman (2014), The No-U-Turn Sampler.
        Vehtari et al. (2021), Rank-normalization, folding, and localization.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from causalppl.programs.scm import SCM
        >>> def program():
        ...     u = pyro.sample("U", dist.Normal(0.0, 1.0))
        ...     return pyro.sample("X", dist.Normal(u, 1.0))
        >>> problem = Problem(SCM(program), 1, {}, {"X": torch.tensor([2.0])}, ("U",))
        >>> answer = NUTS(num_samples=100, warmup_steps=50).solve(problem, seed=0)
        >>> round(float(answer.draws["U"].mean()))
        1
    """

    name: ClassVar[str] = "NUTS"

    num_samples: int = 500
    warmup_steps: int = 300
    num_chains: int = 2
    target_accept: float = 0.8

    def __post_init__(self) -> None:
        check_counts(num_chains=self.num_chains)
        check_counts(4, num_samples=self.num_samples)  # split r-hat needs two draws in each half
        check_counts(0, warmup_steps=self.warmup_steps)
        check_share(target_accept=self.target_accept)

    def refusal(self, problem: Problem) -> str | None:
        """See `Engine.refusal`."""
        return find_refusal(problem)

    def solve(self, problem: Problem, *, seed: int, progress: bool = False) -> Answer:
        """See `Engine.solve`.

        Raises:
            ImpossibleEvidenceError: No start has a positive density for some unit.

        Warns:
            ConvergenceWarning: Chains, or their halves, disagree by more than
                chance, or there are too few effective draws, or some steps diverged.
        """
        kept = self._kept(problem)
        with forked_rng(seed):
            latents = Latents(problem)
            if not latents.sites:
                return latents.answer({}, len(kept), is_exact=True)
            latents.check_differentiable()
            with latents.active():
                if latents.unit_size + latents.shared_size == 0:
                    return self._discrete_only(latents, len(kept))
                start = laplace(latents)
                chains = [self._chain(latents, start, progress) for _ in range(self.num_chains)]
                unit = torch.stack([chain[0] for chain in chains])
                shared = torch.stack([chain[1] for chain in chains])
                diagnostics = self._diagnose(unit, shared, sum(chain[2] for chain in chains))
                # (chains, samples, parameter draws, ...) -> (parameter draws * draws, ...)
                unit = unit.flatten(0, 1)[kept].transpose(0, 1).flatten(0, 1)
                shared = shared.flatten(0, 1)[kept].transpose(0, 1).flatten(0, 1)
                index = latents.parameter_index(len(kept))
                with torch.no_grad():
                    values = dict(latents.constrain(index, unit, shared))
                    values |= latents.discrete_given(index, values)
            return latents.answer(values, len(kept), diagnostics=diagnostics)

    def _kept(self, problem: Problem) -> Tensor:
        total = self.num_samples * self.num_chains
        if problem.num_parameter_draws == 1 or total <= problem.num_draws:
            return torch.arange(total)
        return torch.linspace(0, total - 1, problem.num_draws).round().long()

    def _discrete_only(self, latents: Latents, num_draws: int) -> Answer:
        index = latents.parameter_index(num_draws)
        return latents.answer(latents.discrete_given(index, {}), num_draws, is_exact=True)

    def _chain(
        self, latents: Latents, start: Laplace, progress: bool
    ) -> tuple[Tensor, Tensor, int]:
        """Run one chain; return ``(samples, parameter draws, units, d)``, ``(..., p)``."""
        index = latents.parameter_index(1)
        modes = {"unit": start.loc, "shared": start.shared_loc}
        nothing = {name: value for name, value in modes.items() if not value.numel()}

        def place(white: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            full = {**nothing, **white}
            unit, shared = start.from_white(full["unit"].unsqueeze(1), full["shared"].unsqueeze(1))
            return unit.squeeze(1), shared.squeeze(1)

        def potential(white: dict[str, Tensor]) -> Tensor:
            by_unit, by_row = latents.log_density(index, *place(white))
            return -(by_unit.sum() + by_row.sum())

        kernel = pyro.infer.NUTS(
            potential_fn=potential, target_accept_prob=self.target_accept, jit_compile=False
        )
        first = {
            name: 0.3 * torch.randn_like(value) for name, value in modes.items() if value.numel()
        }
        mcmc = pyro.infer.MCMC(
            kernel,
            num_samples=self.num_samples,
            warmup_steps=self.warmup_steps,
            initial_params=first,
            disable_progbar=not progress,
        )
        mcmc.run()
        drawn: dict[str, Tensor] = mcmc.get_samples()
        for name, value in nothing.items():
            drawn[name] = value.expand(self.num_samples, *value.shape)
        unit, shared = start.from_white(
            drawn["unit"].transpose(0, 1), drawn["shared"].transpose(0, 1)
        )
        divergences = mcmc.diagnostics()["divergences"]["chain 0"]
        return unit.transpose(0, 1), shared.transpose(0, 1), len(divergences)

    def _diagnose(self, unit: Tensor, shared: Tensor, divergences: int) -> dict[str, Any]:
        draws = torch.cat([unit.flatten(2), shared.flatten(2)], 2)
        found = torch.as_tensor(rhat(draws))
        worst = float(found.max())
        least = float(torch.as_tensor(ess(draws)).min())
        problems = []
        limits = _rhat_limits(draws)
        if bool((found > limits).any()):
            limit = float(limits[found > limits].min())
            who = "the chains disagree" if self.num_chains > 1 else "the chain's halves disagree"
            problems.append(f"R-hat is {worst:.3f}, above {limit:.3g}: {who}")
        if least < _LEAST_ESS:
            problems.append(f"the effective number of draws is {least:.0f}, below {_LEAST_ESS}")
        if divergences:
            problems.append(f"{divergences} of {len(draws) * draws.shape[1]} steps diverged")
        if problems:
            warn_user(
                "; ".join(problems)
                + "; raise warmup_steps and num_samples, or target_accept towards 1",
                ConvergenceWarning,
            )
        return {
            "is_mcmc": True,
            "rhat": worst,
            "ess": least,
            "divergences": divergences,
            "num_chains": self.num_chains,
        }


def _rhat_limits(draws: Tensor) -> Tensor:
    """Limit of each variable's R-hat: 1.01, or what half-chains that agree exceed by chance.

    The means of ``m`` half-chains of length ``n`` vary by their correlation time over ``n`` times
    a chi-squared variable with ``m - 1`` degrees of freedom; all variables together raise a false
    alarm once in a thousand runs. The correlation time is that within chains, and no longer than
    four draws, so that chains that are stuck apart, or drift, are not excused by it.

    Args:
        draws: Shape ``(chains, samples, variables)``.
    """
    from scipy.stats import chi2

    chains, samples, variables = draws.shape
    within = torch.stack([torch.as_tensor(ess(chain[None])) for chain in draws]).mean(0)
    time = (samples / within).nan_to_num(nan=1.0).clamp(1.0, _SLOWEST)
    freedom = 2 * chains - 1
    quantile = float(chi2.isf(1e-3 / (2 * max(variables, 1)), freedom)) / freedom
    excess = (time * quantile - 1) / max(samples // 2, 1)
    return (1 + excess).sqrt().clamp_min(RHAT_LIMIT)
