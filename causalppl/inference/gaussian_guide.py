"""A guide that is a full Gaussian for each unit, in coordinates of the Laplace approximation."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from causalppl.inference.unit_laplace import Laplace, times

_FREEDOM = 4.0  # degrees of freedom of the wide laws
_MIXTURE = ((0.5, 1.0), (0.3, 1.0), (0.2, 3.0))  # weight and scale: normal, Student-t, Student-t


class GaussianGuide:
    """A Gaussian for the shared parameters, and one for each unit given them.

    Args:
        start: The Laplace approximation, whose coordinates the guide lives in.

    Attributes:
        parameters: Location, factor and slope of the Gaussians in these coordinates.
    """

    def __init__(self, start: Laplace) -> None:
        self._start = start
        rows, n, d = start.loc.shape
        p = start.shared_loc.shape[-1]
        zeros = start.loc.new_zeros
        shapes = ((rows, n, d), (rows, n, d, d), (rows, n, d, p), (rows, p), (rows, p, p))
        self.parameters = [zeros(shape).requires_grad_() for shape in shapes]

    def set_parameters(self, values: list[Tensor]) -> None:
        """Replace the parameters' values."""
        self.parameters = [value.detach().requires_grad_() for value in values]

    def as_start(self) -> Laplace:
        """Return the guide's Gaussians of the units, for a guide without shared parameters."""
        loc, raw = self.parameters[:2]
        start = self._start
        return replace(
            start,
            loc=(start.loc + times(start.scale, loc)).detach(),
            scale=(start.scale @ _factor(raw)).detach(),
        )

    def sample(
        self,
        count: int,
        *,
        rows: Tensor | None = None,
        wide: Tensor | None = None,
        sticking: bool = False,
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Draw by reparametrisation.

        Args:
            count: Draws for each parameter draw.
            rows: The parameter draws wanted; None: all.
            wide: Units, shape ``(units,)``, whose Gaussian is mixed with heavy-tailed laws around
                it, so that importance weights stay bounded where it is too narrow.
            sticking: Cut the gradient of the log density with respect to the guide's parameters,
                which leaves an unbiased gradient without noise at the optimum.

        Returns:
            Unit latents ``(rows, units, size)``, shared ones ``(rows, size)`` with ``count`` rows
            for each parameter draw, and their log densities ``(rows, units)`` and ``(rows,)``.

        References:
            Hesterberg (1995), Weighted average importance sampling and defensive mixtures.
        """
        start = self._start if rows is None else self._start.pick(rows)
        chosen = self.parameters if rows is None else [p[rows] for p in self.parameters]
        loc, raw, slope, shared_loc, shared_raw = (p.unsqueeze(1) for p in chosen)
        factor, shared_factor = _factor(raw), _factor(shared_raw)
        draws, n, d = start.loc.shape
        p = start.shared_loc.shape[-1]
        noise = start.loc.new_empty(draws, count, n, d).normal_()
        if wide is not None and bool(wide.any()):
            noise = torch.where(wide.to(noise.device)[:, None], noise * _stretch(noise), noise)
        shared_noise = start.loc.new_empty(draws, count, p).normal_()
        white_shared = shared_loc + times(shared_factor, shared_noise)
        white = loc + times(slope, white_shared.unsqueeze(2)) + times(factor, noise)
        at = [loc, factor, slope, shared_loc, shared_factor]
        if sticking:
            at = [x.detach() for x in at]
        residual = white - at[0] - times(at[2], white_shared.unsqueeze(2))
        log_unit = _log_normal(residual, at[1])
        if wide is not None and bool(wide.any()):
            extra = _log_stretched(noise) - _log_standard(noise)
            log_unit = torch.where(wide.to(noise.device), log_unit + extra, log_unit)
        log_shared = _log_normal(white_shared - at[3], at[4])
        unit, shared = start.from_white(white, white_shared)
        log_q = (
            (log_unit - start.log_scale.unsqueeze(1)).flatten(0, 1),
            (log_shared - start.shared_log_scale.unsqueeze(1)).flatten(0, 1),
        )
        return unit.flatten(0, 1), shared.flatten(0, 1), log_q


def _factor(raw: Tensor) -> Tensor:
    """Lower triangular factor with a positive diagonal; the identity at zero."""
    diagonal = raw.diagonal(dim1=-2, dim2=-1)
    return raw.tril(-1) + torch.diag_embed(diagonal.exp())


def _log_normal(residual: Tensor, factor: Tensor) -> Tensor:
    size = residual.shape[-1]
    if not size:
        return residual.new_zeros(residual.shape[:-1])
    white = torch.linalg.solve_triangular(factor, residual.unsqueeze(-1), upper=False).squeeze(-1)
    log_scale = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -0.5 * (white**2).sum(-1) - log_scale - 0.5 * size * math.log(2 * math.pi)


def _log_standard(white: Tensor) -> Tensor:
    size = white.shape[-1]
    return -0.5 * (white**2).sum(-1) - 0.5 * size * math.log(2 * math.pi)


def _stretch(noise: Tensor) -> Tensor:
    """Factors that turn normal noise into a mixture of a normal and two Student-t laws."""
    shape = noise.shape[:-1]
    chi = noise.new_empty((*shape, int(_FREEDOM))).normal_().square().sum(-1)
    weights = noise.new_tensor([weight for weight, _ in _MIXTURE])
    which = torch.multinomial(weights, math.prod(shape), replacement=True).reshape(shape)
    scales = noise.new_tensor([scale for _, scale in _MIXTURE])[which]
    student = scales * (_FREEDOM / chi).sqrt()
    return torch.where(which == 0, torch.ones_like(student), student)[..., None]


def _log_stretched(white: Tensor) -> Tensor:
    """Log density of `_stretch`'s mixture."""
    size, squared = white.shape[-1], (white**2).sum(-1)
    terms = [_log_standard(white) + math.log(_MIXTURE[0][0])]
    for weight, scale in _MIXTURE[1:]:
        constant = (
            math.lgamma((_FREEDOM + size) / 2)
            - math.lgamma(_FREEDOM / 2)
            - size * (0.5 * math.log(_FREEDOM * math.pi) + math.log(scale))
        )
        tail = torch.log1p(squared / (_FREEDOM * scale**2))
        terms.append(math.log(weight) + constant - 0.5 * (_FREEDOM + size) * tail)
    return torch.logsumexp(torch.stack(terms), 0)
