"""Gaussian guides with the moments of the posterior, where the ELBO leaves them too narrow."""

from dataclasses import replace

import torch
from torch import Tensor

from causalppl.inference.gaussian_guide import GaussianGuide
from causalppl.inference.khat import LEAST_DRAWS, finite_ratios
from causalppl.inference.latents import Latents

_MATCHINGS = 2  # times that a guide's moments are matched to the posterior's


def weighed(
    latents: Latents, guide: GaussianGuide, count: int, wide: Tensor | None, rows: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw and weigh: log ratios ``(rows, count, units)`` (units 1 if joint), and the draws."""
    unit, shared, log_q = guide.sample(count, rows=rows, wide=wide)
    log_p = latents.log_density(rows.repeat_interleave(count), unit, shared)
    ratios = log_p[0] - log_q[0]
    if latents.shared:
        ratios = (ratios.sum(1) + log_p[1] - log_q[1])[:, None]
    return ratios.reshape(len(rows), count, ratios.shape[1]), unit, shared


def matched(latents: Latents, guide: GaussianGuide, wide: Tensor) -> GaussianGuide:
    """Give some units' Gaussians the moments of their posterior, by importance sampling.

    The ELBO makes a Gaussian too narrow where the posterior is not one; with the posterior's own
    moments it covers the mass, and the weights become even.

    References:
        Paananen, Piironen, Bürkner and Vehtari (2021), Implicitly adaptive importance sampling.
    """
    draws, count = latents.num_parameter_draws, 2 * LEAST_DRAWS
    for _ in range(_MATCHINGS):
        ratios, unit, _ = weighed(latents, guide, count, wide, torch.arange(draws))
        unit = unit.reshape(draws, count, *unit.shape[1:])
        weights = torch.softmax(finite_ratios(ratios), 1)[..., None]
        loc = (weights * unit).sum(1)
        centred = (unit - loc.unsqueeze(1)).double()
        covariance = torch.einsum("rkni,rknj->rnij", centred * weights.double(), centred)
        start = guide.as_start()
        # a little of the old covariance, as few draws may carry most of the weight
        covariance = 0.95 * covariance + 0.05 * (start.scale @ start.scale.mT).double()
        scale, failed = torch.linalg.cholesky_ex(covariance)
        usable = wide[:, None].to(loc.device) & (failed == 0)[..., None] & torch.isfinite(loc)
        guide = GaussianGuide(
            replace(
                start,
                loc=torch.where(usable, loc, start.loc),
                scale=torch.where(usable[..., None], scale.to(start.scale.dtype), start.scale),
            )
        )
    return guide
