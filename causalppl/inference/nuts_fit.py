"""Fit by the No-U-Turn sampler."""

from dataclasses import dataclass
from typing import Any

import torch
from pyro.infer import MCMC, NUTS
from torch import Tensor

from causalppl.exceptions import ProgramError
from causalppl.inference.climb import CLIMB_STEPS, climb
from causalppl.inference.diagnostics import ess, rhat
from causalppl.inference.fit_checks import warn
from causalppl.inference.fit_method import FitMethod, FitTask, Fitted
from causalppl.inference.laplace import Coordinates, laplace
from causalppl.inference.settings import check_counts, check_share

_RHAT_LIMIT = 1.01


@dataclass(frozen=True)
class NUTSFit(FitMethod):
    """Pyro's No-U-Turn sampler, in coordinates in which the posterior is about a standard normal.

    Args:
        num_draws: Draws of each chain.
        num_warmup: Steps of each chain that are thrown away.
        num_chains: Number of chains, run one after the other.
        target_accept: Acceptance probability that the step size aims at.

    Raises:
        DataError: A setting is not positive.

    References:
        Hoffman and Gelman (2014), The No-U-Turn sampler.

    Example:
        >>> NUTSFit(num_chains=2).num_draws
        500
    """

    num_draws: int = 500
    num_warmup: int = 200
    num_chains: int = 4
    target_accept: float = 0.8

    def __post_init__(self) -> None:
        check_counts(
            num_draws=self.num_draws, num_warmup=self.num_warmup, num_chains=self.num_chains
        )
        check_share(target_accept=self.target_accept)

    def run(self, task: FitTask) -> Fitted:
        """Fit a prepared task; `fit` calls it, with the random streams seeded."""
        if task.num_learnable:
            names = ", ".join(task.scm.structure.learnable[:5])
            raise ProgramError(
                f"NUTSFit draws from the posterior, but the pyro.param statements {names} have no "
                "prior; give them one (PyroSample), or use SVIFit()"
            )
        with task.bar(CLIMB_STEPS, "looking for the mode") as bar:
            start = climb(task.density, [], CLIMB_STEPS, tick=lambda value: bar.update())
        coordinates = laplace(task.density, *start)
        chains, divergences = [], 0
        for _ in range(self.num_chains):
            chain, diverged = self._chain(task, coordinates)
            chains.append(chain)
            divergences += diverged
        shared = torch.stack(chains)
        draws = task.density.constrained(shared.flatten(0, 1))
        diagnostics, messages = self._diagnosed(draws, divergences)
        for message in messages:
            warn(message)
        return Fitted(draws, diagnostics=diagnostics)

    def _chain(self, task: FitTask, coordinates: Coordinates) -> tuple[Tensor, int]:
        density = task.density

        def potential(z: dict[str, Tensor]) -> Tensor:
            v = z["v"] if "v" in z else density.start[1]
            return -density(*coordinates.apply(z["w"], v))

        start = {"w": torch.randn_like(coordinates.center)}
        if density.num_local:
            start["v"] = torch.randn_like(density.start[1])
        kernel = NUTS(potential_fn=potential, target_accept_prob=self.target_accept)
        sampler: Any = MCMC(
            kernel,
            self.num_draws,
            warmup_steps=self.num_warmup,
            initial_params=start,
            disable_progbar=not task.progress,
        )
        sampler.run()
        w = sampler.get_samples()["w"]
        shared = coordinates.center + w @ coordinates.scale.T
        if coordinates.scale.dim() == 1:
            shared = coordinates.center + w * coordinates.scale
        divergent = sampler.diagnostics().get("divergences", {})
        return shared.detach(), sum(len(found) for found in divergent.values())

    def _diagnosed(
        self, draws: dict[str, Tensor], divergences: int
    ) -> tuple[dict[str, Any], list[str]]:
        rhats, sizes = {}, {}
        for name, value in draws.items():
            chains = value.reshape(self.num_chains, self.num_draws, *value.shape[1:])
            rhats[name] = float(torch.as_tensor(rhat(chains)).max())
            sizes[name] = float(torch.as_tensor(ess(chains)).min())
        worst = max(rhats.values(), default=1.0)
        found: dict[str, Any] = {
            "rhat": worst,
            "ess": min(sizes.values(), default=0.0),
            "divergences": divergences,
            "rhat_of": rhats,
            "ess_of": sizes,
        }
        messages = []
        if worst > _RHAT_LIMIT:
            name = max(rhats, key=lambda key: rhats[key])
            messages.append(
                f"r-hat of {name} is {worst:.3f}, above {_RHAT_LIMIT}: the chains disagree; draw "
                "more (num_draws=, num_warmup=), or use another parametrisation"
            )
        if divergences:
            messages.append(
                f"{divergences} transitions diverged: the sampler misses a narrow part of the "
                "posterior; raise target_accept, or use another parametrisation"
            )
        return found, messages
