"""Where the latents of all units have their mode given the evidence, and how they spread there."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from causalppl.exceptions import ImpossibleEvidenceError
from causalppl.inference.arrowhead import Arrowhead
from causalppl.inference.latents import Latents

_MAX_NEWTON = 40  # latents of one unit beyond which second derivatives cost too much
_STARTS = 8  # prior draws among which Newton's method takes the best
_FEW = 32  # parameter draws whose prior draws serve all, where each is a run of the program


@dataclass(frozen=True)
class Laplace:
    """A Gaussian at the mode: of the shared parameters, and of each unit given them.

    Attributes:
        loc: Mode, shape ``(parameter draws, units, d)``.
        scale: Cholesky factor of each unit's conditional covariance, ``(..., d, d)``.
        slope: How a unit's conditional mean moves with the shared parameters, ``(..., d, p)``.
        shared_loc: Mode of the shared parameters, ``(parameter draws, p)``.
        shared_scale: Cholesky factor of their marginal covariance.
    """

    loc: Tensor
    scale: Tensor
    slope: Tensor
    shared_loc: Tensor
    shared_scale: Tensor

    def pick(self, rows: Tensor) -> "Laplace":
        """Return some of the parameter draws."""
        parts = (self.loc, self.scale, self.slope, self.shared_loc, self.shared_scale)
        return Laplace(*(part[rows] for part in parts))

    def from_white(self, white: Tensor, white_shared: Tensor) -> tuple[Tensor, Tensor]:
        """Turn standard coordinates, shapes ``(draws, k, n, d)`` and ``(draws, k, p)``, back."""
        moved = times(self.shared_scale.unsqueeze(1), white_shared)
        unit = self.loc.unsqueeze(1) + times(self.scale.unsqueeze(1), white)
        unit = unit + times(self.slope.unsqueeze(1), moved.unsqueeze(2))
        return unit, self.shared_loc.unsqueeze(1) + moved

    @property
    def log_scale(self) -> Tensor:
        """Log determinant of the units' factors, shape ``(parameter draws, units)``."""
        return self.scale.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    @property
    def shared_log_scale(self) -> Tensor:
        """Log determinant of the shared factor, shape ``(parameter draws,)``."""
        return self.shared_scale.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def laplace(latents: Latents) -> Laplace:
    """Find the mode and the curvature there, for all units and parameter draws at once.

    Newton's method with Levenberg-Marquardt damping, started at the best of a few prior draws and
    their median. Second derivatives form an arrow: units meet only through shared parameters.

    Raises:
        ImpossibleEvidenceError: No start has positive density for some unit.

    References:
        Tierney and Kadane (1986); Moré (1978) for the damping.
    """
    n, d, p = latents.problem.num_units, latents.unit_size, latents.shared_size
    if d + p == 0:
        none = latents.like.new_zeros
        rows = latents.num_parameter_draws
        empty = (none(rows, n, 0), none(rows, n, 0, 0), none(rows, n, 0, 0))
        return Laplace(*empty, none(rows, 0), none(rows, 0, 0))
    unit, shared, spread = _starts(latents)
    if d + p > _MAX_NEWTON:
        scale = torch.diag_embed(spread[0].expand(unit.shape))
        slope = unit.new_zeros((*unit.shape, p))
        return Laplace(unit, scale, slope, shared, torch.diag_embed(spread[1].expand(shared.shape)))
    index = latents.parameter_index(1)
    damping = unit.new_full((len(index), 1 if p else n), 1e-3)
    value = _score(latents, index, unit, shared)
    for _ in range(50):
        arrow = Arrowhead.of(latents, index, unit, shared)
        step = arrow.step(damping)
        trial = (unit + step[0], shared + step[1])
        new = _score(latents, index, *trial)
        better = new >= value
        gain = torch.where(better, new - value, torch.zeros_like(value))
        unit = torch.where(better[..., None], trial[0], unit)
        shared = torch.where(better.any(1, keepdim=True), trial[1], shared) if p else shared
        value = torch.where(better, new, value)
        damping = torch.where(better, damping / 8, damping * 8).clamp(1e-9, 1e9)
        is_small = (step[0].abs() < 1e-3 * (1e-2 + unit.abs())).all(-1)
        settled = (better & (gain < 1e-5)) | (~better & (is_small | (damping > 1e6)))
        if bool(settled.all()):
            break
    arrow = Arrowhead.of(latents, index, unit, shared)
    if not p:  # a last full step: the gain that ended the search bounds the error by its root only
        step = arrow.step(torch.full_like(damping, 1e-9))
        better = _score(latents, index, unit + step[0], shared) > value - 1e-3
        unit = torch.where(better[..., None], unit + step[0], unit)
        arrow = Arrowhead.of(latents, index, unit, shared)
    scale, slope, shared_scale = arrow.factors()
    return Laplace(unit, scale, slope, shared, shared_scale)


def _starts(latents: Latents) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    draws = latents.num_parameter_draws
    own = draws if latents.can_broadcast else min(draws, _FEW)
    units, shareds, _ = latents.prior_draws(torch.arange(own).repeat_interleave(_STARTS))
    rows = torch.arange(draws * _STARTS) % len(units)
    units, shareds = units[rows.to(units.device)], shareds[rows.to(shareds.device)]
    shape = (draws, _STARTS)
    units = torch.nan_to_num(units, posinf=30.0, neginf=-30.0).reshape(shape + units.shape[1:])
    shareds = torch.nan_to_num(shareds, posinf=30.0, neginf=-30.0).reshape(
        shape + shareds.shape[1:]
    )
    units = torch.cat([units, units.median(1, keepdim=True).values], 1)
    shareds = torch.cat([shareds, shareds.median(1, keepdim=True).values], 1)
    index = latents.parameter_index(_STARTS + 1)
    with torch.no_grad():
        scores = _score(latents, index, units.flatten(0, 1), shareds.flatten(0, 1))
    scores = scores.reshape((draws, _STARTS + 1, -1))
    if bool((scores.amax(1) == -math.inf).any()):
        count = int((scores.amax(1) == -math.inf).any(0).sum())
        raise ImpossibleEvidenceError(
            f"none of {_STARTS + 1} starting points gives {count} of {latents.problem.num_units} "
            "units' evidence a positive density; check its values, or write a mechanism whose "
            "support does not depend on latents"
        )
    best = scores.argmax(1)  # (draws, units), or (draws, 1) where parameters tie the units
    unit = units.gather(1, best[:, None, :, None].expand(draws, 1, *units.shape[2:])).squeeze(1)
    shared = shareds.gather(1, best[:, :1, None].expand(draws, 1, shareds.shape[2])).squeeze(1)
    spread = tuple(
        x.std(1).mean(tuple(range(x.dim() - 2))).clamp(1e-3, 1e3) if x.numel() else x.new_zeros(0)
        for x in (units, shareds)
    )
    return unit, shared, (spread[0], spread[1])


def _score(latents: Latents, index: Tensor, unit: Tensor, shared: Tensor) -> Tensor:
    """Log density that decides on a step: each unit's, or all units' where they are tied."""
    with torch.no_grad():
        by_unit, by_row = latents.log_density(index, unit, shared)
    if latents.shared_size:
        by_unit = (by_unit.sum(1) + by_row)[:, None]
    return torch.nan_to_num(by_unit, nan=-math.inf, neginf=-math.inf)


def times(matrix: Tensor, vector: Tensor) -> Tensor:
    """Multiply matrices ``(..., i, j)`` with vectors ``(..., j)``."""
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)
