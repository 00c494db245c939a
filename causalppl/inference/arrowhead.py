"""Second derivatives of a density in which units meet only through shared parameters.

Such a matrix has a block for each unit, a corner for the shared parameters, and a border between
the two: an arrowhead. Its Schur complement makes solving linear in the number of units.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from causalppl.inference.latents import Latents


@dataclass(frozen=True)
class Arrowhead:
    """Gradient and negative second derivatives of the log density, in double precision.

    Rows are parameter draws; d numbers of each unit, p shared ones.
    """

    gradient: Tensor  # (rows, units, d)
    shared_gradient: Tensor  # (rows, p)
    block: Tensor  # (rows, units, d, d)
    cross: Tensor  # (rows, units, d, p)
    corner: Tensor  # (rows, p, p)
    dtype: torch.dtype

    @classmethod
    def of(cls, latents: Latents, index: Tensor, unit: Tensor, shared: Tensor) -> "Arrowhead":
        """Differentiate at latents ``(rows, units, d)`` and shared parameters ``(rows, p)``."""
        d, p = unit.shape[-1], shared.shape[-1]
        with torch.enable_grad():
            unit, shared = unit.detach().requires_grad_(), shared.detach().requires_grad_()
            by_unit, by_row = latents.log_density(index, unit, shared)
            total = by_unit.sum() + by_row.sum()
            gradient, shared_gradient = _grad(total, (unit, shared), create_graph=True)
            block = [_grad(gradient[..., k].sum(), (unit,))[0] for k in range(d)]
            both = [_grad(shared_gradient[..., k].sum(), (unit, shared)) for k in range(p)]
        stacked = (
            torch.stack(block, -2) if d else unit.new_zeros((*unit.shape, d)),
            torch.stack([b[0] for b in both], -1) if p else unit.new_zeros((*unit.shape, p)),
            torch.stack([b[1] for b in both], -1) if p else shared.new_zeros((*shared.shape, p)),
        )
        parts = (gradient, shared_gradient, *(-part for part in stacked))
        finite = [torch.nan_to_num(part.detach().double(), 0.0, 1e12, -1e12) for part in parts]
        return cls(finite[0], finite[1], finite[2], finite[3], finite[4], unit.dtype)

    def step(self, damping: Tensor) -> tuple[Tensor, Tensor]:
        """Solve for the damped Newton step."""
        if not self.cross.shape[-1]:
            factor = _positive_factor(self.block, damping.double())
            step = torch.cholesky_solve(self.gradient[..., None], factor).squeeze(-1)
            return step.to(self.dtype), self.shared_gradient.to(self.dtype)
        damping = damping.double()
        factor = _positive_factor(self.block, damping.expand(self.block.shape[:2]))
        inner = torch.cholesky_solve(self.cross, factor)  # block^-1 cross
        schur = self.corner - (self.cross.mT @ inner).sum(1)
        outer = _positive_factor(schur, damping[:, 0])
        right = self.shared_gradient - (inner.mT @ self.gradient[..., None]).sum(1).squeeze(-1)
        shared = torch.cholesky_solve(right[..., None], outer).squeeze(-1)
        pulled = self.gradient - (self.cross @ shared[:, None, :, None]).squeeze(-1)
        unit = torch.cholesky_solve(pulled[..., None], factor).squeeze(-1)
        return unit.to(self.dtype), shared.to(self.dtype)

    def factors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return factor and slope of the units given the shared ones, and the shared factor."""
        precision = _positive(self.block)
        slope = -torch.linalg.solve(precision, self.cross)
        schur = _positive(self.corner + (self.cross.mT @ slope).sum(1))
        parts = (_covariance_factor(precision), slope, _covariance_factor(schur))
        return parts[0].to(self.dtype), parts[1].to(self.dtype), parts[2].to(self.dtype)


def _grad(
    value: Tensor, inputs: tuple[Tensor, ...], *, create_graph: bool = False
) -> tuple[Tensor, ...]:
    """Gradients, zero where the value does not depend on an input."""
    if not value.requires_grad:
        return tuple(torch.zeros_like(x) for x in inputs)
    return torch.autograd.grad(
        value, inputs, retain_graph=True, create_graph=create_graph, materialize_grads=True
    )


def _positive_factor(matrix: Tensor, damping: Tensor) -> Tensor:
    """Cholesky factor of a matrix, its diagonal raised until there is one."""
    diagonal = matrix.diagonal(dim1=-2, dim2=-1).abs() + 1e-6
    damping = damping.clone()
    for _ in range(30):
        raised = matrix + torch.diag_embed(diagonal * damping[..., None])
        factor, failed = torch.linalg.cholesky_ex(raised)
        if not bool(failed.any()):
            return factor
        damping = torch.where(failed > 0, (damping * 10).clamp_min(1e-3), damping)
    return torch.diag_embed(diagonal.sqrt() * (1 + damping[..., None]).sqrt())


def _positive(matrix: Tensor) -> Tensor:
    """Nearest thing to a matrix that is a precision: eigenvalues made positive."""
    if not matrix.shape[-1]:
        return matrix
    values, vectors = torch.linalg.eigh((matrix + matrix.mT) / 2)
    values = values.abs()
    values = values.clamp_min(1e-6).maximum(1e-7 * values.amax(-1, keepdim=True))
    return (vectors * values.unsqueeze(-2)) @ vectors.mT


def _covariance_factor(precision: Tensor) -> Tensor:
    if not precision.shape[-1]:
        return precision
    return torch.linalg.cholesky(torch.linalg.inv(precision))
