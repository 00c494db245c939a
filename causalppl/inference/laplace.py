"""Where a posterior has its mode, and how it curves there."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from causalppl.exceptions import FitError
from causalppl.inference.log_density import LogDensity

MAX_DENSE = 200
"""Parameters up to which the full curvature is computed."""

_MAX_CROSS = 50_000_000
_START_ROWS = 20_000
_NEWTON_STEPS = 30
_PROBES = 20


@dataclass(frozen=True)
class Coordinates:
    """Coordinates in which the posterior is about a standard normal.

    ``shared = center + scale w``, and for each row ``local = local_center + slope (shared - center)
    + local_scale v``: given the parameters, the units are independent, so a normal posterior has
    exactly this form.

    Attributes:
        center: Mode of the parameters, shape ``(D,)``.
        scale: Lower triangular ``(D, D)``; or standard deviations ``(D,)``.
        local_center: Mode of the units' latents, ``(rows, d)``.
        slope: How they move with the parameters, ``(rows, d, D)``; None: not at all.
        local_scale: Lower triangular, ``(rows, d, d)``.
    """

    center: torch.Tensor
    scale: torch.Tensor
    local_center: torch.Tensor
    slope: torch.Tensor | None
    local_scale: torch.Tensor

    def apply(self, w: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map ``w``, ``(..., D)``, and ``v``, ``(..., rows, d)``, to parameters and latents."""
        shift = w * self.scale if self.scale.dim() == 1 else w @ self.scale.T
        local = self.local_center + (self.local_scale @ v.unsqueeze(-1)).squeeze(-1)
        if self.slope is not None and self.local_center.numel():
            local = local + torch.einsum("ndk,...k->...nd", self.slope, shift)
        return self.center + shift, local

    @property
    def log_det(self) -> torch.Tensor:
        """Logarithm of the map's Jacobian determinant."""
        diagonal = self.scale if self.scale.dim() == 1 else self.scale.diagonal()
        locals_ = self.local_scale.diagonal(dim1=-2, dim2=-1)
        return diagonal.log().sum() + locals_.log().sum()


def laplace(
    density: LogDensity,
    shared: torch.Tensor,
    local: torch.Tensor,
    *,
    tick: Callable[[], None] = lambda: None,
) -> Coordinates:
    """Climb to the mode by Newton's method from a point nearby; take the curvature there.

    Negative curvature is taken by its size, so that each step climbs. Units are eliminated from the
    Newton system, so that the cost is linear in their number. Above `MAX_DENSE` parameters no
    step is taken, and only the diagonal of the curvature is estimated. More than 20,000 rows are
    represented by an even selection; only a starting point for what follows is lost.

    References:
        Dauphin et al. (2014), Identifying and attacking the saddle point problem, section 6;
        Tan and Nott (2018) for the sparse form.
    """
    limit = None if density.num_local else _START_ROWS
    if density.num_shared > MAX_DENSE:
        return _diagonal(density, shared, local, limit)
    value = _value(density, shared, local, limit)
    if not _is_finite(value):
        raise FitError(
            "the log density is not finite where the fit starts; check the range of the data and "
            "of the priors"
        )
    curvature = _Curvature(density, shared, local, limit)
    for _ in range(_NEWTON_STEPS):
        tick()
        step, local_step = curvature.newton_step()
        gain = curvature.slope_along(step, local_step)
        # below the rounding of the density itself there is nothing left to gain
        if gain < max(1e-6, 1e-2 * torch.finfo(shared.dtype).eps * abs(value)):
            break
        factor = 1.0
        while factor > 1e-4:
            there = shared + factor * step, local + factor * local_step
            reached = _value(density, *there, limit)
            if _is_finite(reached) and reached > value + 1e-4 * factor * gain:
                break
            factor /= 2
        else:
            break
        (shared, local), value = there, reached
        curvature = _Curvature(density, shared, local, limit)
    return curvature.coordinates()


class _Curvature:
    """Gradient and negative Hessian, in blocks: parameters, units, and between them."""

    def __init__(
        self,
        density: LogDensity,
        shared: torch.Tensor,
        local: torch.Tensor,
        limit: int | None,
    ) -> None:
        self.shared, self.local = shared.detach(), local.detach()
        dim, width = density.num_shared, density.num_local
        # double precision: a badly scaled program has a badly conditioned Hessian
        like: dict[str, Any] = {"dtype": torch.float64, "device": shared.device}
        self.gradient = torch.zeros(dim, **like)
        self.precision = torch.zeros(dim, dim, **like)
        self.local_gradient = torch.zeros(*local.shape, **like)
        self.local_precision = torch.zeros(len(local), width, width, **like)
        self.has_cross = 0 < len(local) * width * dim <= _MAX_CROSS
        self.cross = torch.zeros(len(local), width, dim if self.has_cross else 0, **like)
        for rows, weight in density.parts(limit):
            self._add(density, rows, weight)
        self.local_precision = _positive(self.local_precision)
        inverse_cross = torch.linalg.solve(self.local_precision, self.cross)
        self.slope = -inverse_cross if self.has_cross else None
        schur = self.precision
        if self.has_cross:
            schur = schur - torch.einsum("ndk,ndl->kl", self.cross, inverse_cross)
        self.schur = _positive(schur)

    def _add(self, density: LogDensity, rows: torch.Tensor | None, weight: float) -> None:
        shared = self.shared.clone().requires_grad_(True)
        local = self.local.clone().requires_grad_(True)
        value = weight * density(shared, local, rows)
        inputs = [shared, local]
        grads = torch.autograd.grad(value, inputs, create_graph=True, materialize_grads=True)
        self.gradient += grads[0].detach()
        self.local_gradient += grads[1].detach()
        if not grads[0].requires_grad and not grads[1].requires_grad:
            return  # linear: no curvature
        for k in range(density.num_shared):
            rows_of = torch.autograd.grad(
                grads[0][k], inputs, retain_graph=True, materialize_grads=True, allow_unused=True
            )
            self.precision[k] -= rows_of[0]
            if self.has_cross:
                self.cross[..., k] -= rows_of[1]
        for k in range(density.num_local):  # units are independent, so one probe serves them all
            (block,) = torch.autograd.grad(
                grads[1][:, k].sum(), local, retain_graph=True, materialize_grads=True
            )
            self.local_precision[:, k] -= block

    def newton_step(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Solve the system; shapes ``(D,)`` and ``(rows, d)``."""
        own = torch.linalg.solve(self.local_precision, self.local_gradient.unsqueeze(-1)).squeeze(
            -1
        )
        reduced = self.gradient
        if self.has_cross:
            reduced = reduced - torch.einsum("ndk,nd->k", self.cross, own)
        step = torch.linalg.solve(self.schur, reduced)
        local_step = own
        if self.slope is not None:
            local_step = own + self.slope @ step
        return step.to(self.shared.dtype), local_step.to(self.shared.dtype)

    def slope_along(self, step: torch.Tensor, local_step: torch.Tensor) -> float:
        """Return what a step promises to first order."""
        return float((self.gradient * step).sum() + (self.local_gradient * local_step).sum())

    def coordinates(self) -> Coordinates:
        """Return the Laplace approximation."""
        dtype = self.shared.dtype
        return Coordinates(
            self.shared,
            _inverse_root(self.schur).to(dtype),
            self.local,
            None if self.slope is None else self.slope.to(dtype),
            _inverse_root(self.local_precision).to(dtype),
        )


def _diagonal(
    density: LogDensity, shared: torch.Tensor, local: torch.Tensor, limit: int | None
) -> Coordinates:
    """Estimate the diagonal of the Hessian by random signs (Hutchinson), units by exact blocks."""
    shared = shared.detach().clone().requires_grad_(True)
    local = local.detach().clone().requires_grad_(True)
    diagonal = torch.zeros_like(shared)
    width = density.num_local
    blocks = local.new_zeros(len(local), width, width)
    for rows, weight in density.parts(limit):
        value = weight * density(shared, local, rows)
        inputs = [shared, local]
        grads = torch.autograd.grad(value, inputs, create_graph=True, materialize_grads=True)
        for _ in range(_PROBES):
            signs = torch.randn_like(shared).sign()
            (product,) = torch.autograd.grad(
                (grads[0] * signs).sum(), shared, retain_graph=True, materialize_grads=True
            )
            diagonal -= signs * product / _PROBES
        for k in range(width):
            (block,) = torch.autograd.grad(
                grads[1][:, k].sum(), local, retain_graph=True, materialize_grads=True
            )
            blocks[:, k] -= block
    diagonal = diagonal.detach()
    typical = float(diagonal[diagonal > 0].median()) if bool((diagonal > 0).any()) else 1.0
    scale = diagonal.clamp_min(1e-3 * typical).rsqrt()
    root = _inverse_root(_positive(blocks.double())).to(shared.dtype)
    return Coordinates(shared.detach(), scale, local.detach(), None, root)


def _positive(matrix: torch.Tensor) -> torch.Tensor:
    """Replace eigenvalues by their size, at least a tiny part of the largest."""
    if matrix.shape[-1] == 0:
        return matrix
    matrix = (matrix + matrix.mT) / 2
    # scaled to a unit diagonal first, so that "tiny" does not depend on the units of measurement
    size = matrix.diagonal(dim1=-2, dim2=-1).abs().clamp_min(1e-30).sqrt()
    scaled = matrix / size.unsqueeze(-1) / size.unsqueeze(-2)
    if not bool(torch.isfinite(scaled).all()):
        raise FitError("the curvature of the log density is not finite; check data and priors")
    values, vectors = torch.linalg.eigh(scaled)
    values = values.abs()
    values = torch.maximum(values, 1e-9 * values.amax(-1, keepdim=True).clamp_min(1e-30))
    fixed = (vectors * values.unsqueeze(-2)) @ vectors.mT
    return fixed * size.unsqueeze(-1) * size.unsqueeze(-2)


def _inverse_root(precision: torch.Tensor) -> torch.Tensor:
    """Return the lower triangular root of the inverse."""
    if precision.shape[-1] == 0:
        return precision
    covariance = torch.linalg.inv(precision)
    root: torch.Tensor = torch.linalg.cholesky((covariance + covariance.mT) / 2)
    return root


def _value(
    density: LogDensity, shared: torch.Tensor, local: torch.Tensor, limit: int | None
) -> float:
    with torch.no_grad():
        return sum(
            weight * float(density(shared, local, rows)) for rows, weight in density.parts(limit)
        )


def _is_finite(value: float) -> bool:
    return abs(value) < float("inf")
