# ruff: noqa: D102 - the base classes document the methods
"""Standard laws whose distribution function or quantile needs numerics.

``Gamma``, ``Beta``, ``StudentT`` and ``FisherSnedecor`` need incomplete gamma and beta functions
and their inverses, which torch lacks; they are computed by ``scipy.special`` in float64 on the
CPU and moved back to the device, with gradients by the implicit function theorem. ``VonMises`` is
integrated and inverted in torch, and so are the laws that use :func:`invert`.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import special
from torch import Tensor

from causalppl.programs.standard_laws import StandardLaw, SymmetricLaw, Tails, log1mexp


def invert(
    law: StandardLaw, logit: Tensor, shapes: tuple[Tensor, ...], low: Tensor, high: Tensor
) -> Tensor:
    """Solve ``law.logit(z) = logit`` between ``low`` and ``high``.

    Args:
        law: Its ``logit`` must increase in ``z`` and be differentiable.
        logit: The noise, float64.
        shapes: The law's shape parameters.
        low: Where the law's logit is at most the noise, full shape.
        high: Where it is at least the noise, full shape.

    Returns:
        ``z``, to rounding; differentiable in ``logit`` and ``shapes``.

    References:
        Chandrupatla (1997), A new hybrid quadratic/bisection algorithm.
    """
    with torch.no_grad():
        solution = _chandrupatla(lambda z: law.logit(z, *shapes) - logit, low, high)
    return attach_gradient(law, solution, logit, shapes)


def _chandrupatla(function: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """The root of an increasing function, elementwise; ends may have infinite values."""
    a, b, share = high, low, torch.full_like(low, 0.5)
    at_a, at_b = function(a), function(b)
    best = a
    for _ in range(100):
        x = a + share * (b - a)
        at_x = function(x)
        is_same = (at_x >= 0) == (at_a >= 0)
        c, at_c = torch.where(is_same, a, b), torch.where(is_same, at_a, at_b)
        b, at_b = torch.where(is_same, b, a), torch.where(is_same, at_b, at_a)
        a, at_a = x, at_x
        best = torch.where(at_a.abs() < at_b.abs(), a, b)
        is_hit = (at_a == 0) | (at_b == 0)
        least = (2e-16 * best.abs() + 1e-300) / (b - a).abs()
        if bool(((least > 0.5) | is_hit | (b == a)).all()):
            break
        # inverse quadratic where the three points allow it, else bisection
        xi, phi = (a - b) / (c - b), (at_a - at_b) / (at_c - at_b)
        is_smooth = (phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi)
        quadratic = at_a / (at_b - at_a) * at_c / (at_b - at_c) + (c - a) / (b - a) * at_a / (
            at_c - at_a
        ) * at_b / (at_c - at_b)
        share = torch.where(is_smooth, quadratic, 0.5)
        share = torch.minimum(torch.maximum(share, least), 1 - least)
        share = torch.where(share.isnan() | (least > 0.5), 0.5, share)
    return best


def attach_gradient(
    law: StandardLaw, z: Tensor, logit: Tensor, shapes: tuple[Tensor, ...]
) -> Tensor:
    """Make a solution of ``law.logit(z) = logit`` differentiable, by implicit functions."""
    if not torch.is_grad_enabled():
        return z
    z = z.detach()
    residual = logit - law.logit(z, *shapes)
    if not residual.requires_grad:
        return z
    point = z.clone().requires_grad_()
    (slope,) = torch.autograd.grad(law.logit(point, *shapes).sum(), point)
    return z + (residual - residual.detach()) / slope


class VonMises(SymmetricLaw):
    """Shape: concentration; the angle is measured from ``loc``, the circle cut opposite to it.

    The tail is integrated by Gauss-Legendre over the range where it matters, and inverted
    numerically.
    """

    lower, upper = -math.pi, math.pi

    def log_below(self, z: Tensor, *shapes: Tensor) -> Tensor:
        is_left = z < 0
        tail = self._log_tail(z.abs(), *shapes)
        return torch.where(is_left, tail, log1mexp(tail))

    def inverse(self, logit: Tensor, *shapes: Tensor) -> Tensor:
        depth = -logit.abs()
        low = torch.full_like(depth + shapes[0], -math.pi).detach()
        z = invert(self, depth, shapes, low, torch.zeros_like(low))
        return torch.where(logit < 0, z, -z)

    def _log_tail(self, size: Tensor, kappa: Tensor) -> Tensor:
        # beyond `reach` the density has fallen by e^-45 relative to that at `size`
        cosine = (size.cos() - 45 / kappa).clamp(min=-1.0)
        reach = torch.acos(cosine.detach()) - size
        reach = torch.where(cosine > -1, reach, math.pi - size)
        nodes, weights = _gauss_legendre(size)
        t = size.unsqueeze(-1) + reach.unsqueeze(-1) * nodes
        # cos t - cos size, without cancellation
        drop = -2 * ((t + size.unsqueeze(-1)) / 2).sin() * ((t - size.unsqueeze(-1)) / 2).sin()
        area = (torch.exp(kappa.unsqueeze(-1) * drop) * weights).sum(-1) * reach
        density = -2 * kappa * (size / 2).sin().square() - torch.special.i0e(kappa).log()
        return (area / (2 * math.pi)).log() + density


def _gauss_legendre(like: Tensor) -> tuple[Tensor, Tensor]:
    nodes, weights = np.polynomial.legendre.leggauss(64)
    return like.new_tensor((nodes + 1) / 2), like.new_tensor(weights / 2)


# -- laws by scipy ------------------------------------------------------------------------------

_Array = Any
_TINY = np.finfo(np.float64).tiny
_UNDER_ONE = 1 - np.finfo(np.float64).epsneg


class _ScipyLaw(StandardLaw):
    """A law whose tails come from ``scipy.special``: float64, CPU."""

    def log_tails(self, z: Tensor, *shapes: Tensor) -> Tails:
        below, above = _ScipyTails.apply(self, z, *shapes)
        return below, above

    def inverse(self, logit: Tensor, *shapes: Tensor) -> Tensor:
        with torch.no_grad():
            z = by_numpy(self._numpy_inverse, logit, *shapes)
        return attach_gradient(self, z, logit, shapes)

    def numpy_log_tails(self, z: _Array, *shapes: _Array) -> _Array:
        """``(log F(z), log(1 - F(z)))``, stacked; the larger one by difference."""
        arrays = np.broadcast_arrays(z, *shapes)
        below = self.numpy_below(*arrays)
        tails = np.stack([below, 1 - below])
        is_right = below > 0.5
        above = self.numpy_above(*(array[is_right] for array in arrays))
        tails[0][is_right], tails[1][is_right] = 1 - above, above
        return np.log(tails)

    def _numpy_inverse(self, logit: _Array, *shapes: _Array) -> _Array:
        noise, *rest = np.broadcast_arrays(logit, *shapes)
        z = np.empty(noise.shape)
        for side, solve in ((noise < 0, self.solve_below), (noise >= 0, self.solve_above)):
            tail = special.expit(-np.abs(noise[side]))
            z[side] = solve(tail, *(shape[side] for shape in rest))
        return z

    @abstractmethod
    def numpy_below(self, z: _Array, *shapes: _Array) -> _Array:
        """``F(z)``."""

    @abstractmethod
    def numpy_above(self, z: _Array, *shapes: _Array) -> _Array:
        """``1 - F(z)``."""

    @abstractmethod
    def solve_below(self, tail: _Array, *shapes: _Array) -> _Array:
        """The ``z`` with ``F(z) = tail``, for tails up to one half."""

    @abstractmethod
    def solve_above(self, tail: _Array, *shapes: _Array) -> _Array:
        """The ``z`` with ``1 - F(z) = tail``, for tails up to one half."""

    @abstractmethod
    def numpy_log_density(self, z: _Array, *shapes: _Array) -> _Array:
        """The log density."""


def by_numpy(function: Callable[..., _Array], *tensors: Tensor) -> Tensor:
    """Call an elementwise numpy function on tensors; float64 on their device, no gradient."""
    with np.errstate(all="ignore"):
        result = function(*(t.detach().cpu().numpy() for t in tensors))
    return torch.as_tensor(np.asarray(result), dtype=torch.float64, device=tensors[0].device)


class _ScipyTails(torch.autograd.Function):
    """Both log tails with gradients: density for ``z``, central differences for the shapes."""

    @staticmethod
    def forward(ctx: Any, law: _ScipyLaw, z: Tensor, *shapes: Tensor) -> tuple[Tensor, Tensor]:
        below, above = by_numpy(law.numpy_log_tails, z, *shapes).unbind(0)
        ctx.law = law
        ctx.save_for_backward(below, above, z, *shapes)
        return below, above

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        law: _ScipyLaw = ctx.law
        below, above, z, *shapes = ctx.saved_tensors
        density = by_numpy(law.numpy_log_density, z, *shapes)
        slope = grads[0] * torch.exp(density - below) - grads[1] * torch.exp(density - above)
        out: list[Tensor | None] = [slope.sum_to_size(z.shape)]
        for i, shape in enumerate(shapes):
            if not ctx.needs_input_grad[2 + i]:
                out.append(None)
                continue
            step = 1e-5 * shape
            right, left = (
                by_numpy(law.numpy_log_tails, z, *shapes[:i], moved, *shapes[i + 1 :])
                for moved in (shape + step, shape - step)
            )
            change = (right - left) / (2 * step)
            total = grads[0] * change[0] + grads[1] * change[1]
            out.append(total.sum_to_size(shape.shape))
        return (None, *out)


class Gamma(_ScipyLaw):
    """Shape: concentration."""

    lower = 0.0

    def numpy_below(self, z: _Array, *shapes: _Array) -> _Array:
        return special.gammainc(shapes[0], z)

    def numpy_above(self, z: _Array, *shapes: _Array) -> _Array:
        return special.gammaincc(shapes[0], z)

    def numpy_log_density(self, z: _Array, *shapes: _Array) -> _Array:
        (a,) = shapes
        return special.xlogy(a - 1, z) - z - special.gammaln(a)

    def solve_below(self, tail: _Array, *shapes: _Array) -> _Array:
        return np.maximum(special.gammaincinv(shapes[0], tail), _TINY)

    def solve_above(self, tail: _Array, *shapes: _Array) -> _Array:
        return np.maximum(special.gammainccinv(shapes[0], tail), _TINY)


class Beta(_ScipyLaw):
    """Shapes: concentration1 and concentration0."""

    lower, upper = 0.0, 1.0

    def numpy_below(self, z: _Array, *shapes: _Array) -> _Array:
        return special.betainc(*shapes, z)

    def numpy_above(self, z: _Array, *shapes: _Array) -> _Array:
        return special.betaincc(*shapes, z)

    def numpy_log_density(self, z: _Array, *shapes: _Array) -> _Array:
        a, b = shapes
        return special.xlogy(a - 1, z) + special.xlog1py(b - 1, -z) - special.betaln(a, b)

    def solve_below(self, tail: _Array, *shapes: _Array) -> _Array:
        return np.clip(special.betaincinv(*shapes, tail), _TINY, _UNDER_ONE)

    def solve_above(self, tail: _Array, *shapes: _Array) -> _Array:
        return np.clip(special.betainccinv(*shapes, tail), _TINY, _UNDER_ONE)


class StudentT(_ScipyLaw):
    """Shape: degrees of freedom."""

    def numpy_below(self, z: _Array, *shapes: _Array) -> _Array:
        tail = self._tail(z, *shapes)
        return np.where(z < 0, tail, 1 - tail)

    def numpy_above(self, z: _Array, *shapes: _Array) -> _Array:
        tail = self._tail(z, *shapes)
        return np.where(z < 0, 1 - tail, tail)

    def numpy_log_density(self, z: _Array, *shapes: _Array) -> _Array:
        (df,) = shapes
        peak = -special.betaln(df / 2, 0.5) - np.log(df) / 2
        return peak - (df + 1) / 2 * np.log1p(z**2 / df)

    def solve_below(self, tail: _Array, *shapes: _Array) -> _Array:
        return -self.solve_above(tail, *shapes)

    def solve_above(self, tail: _Array, *shapes: _Array) -> _Array:
        (df,) = shapes
        # of z^2 / (df + z^2) and df / (df + z^2), solve for the one that is not close to one
        share = special.betainccinv(0.5, df / 2, 2 * tail)
        rest = special.betaincinv(df / 2, 0.5, 2 * tail)
        return np.sqrt(df * np.where(share < 0.5, share / (1 - share), (1 - rest) / rest))

    def _tail(self, z: _Array, df: _Array) -> _Array:
        total = df + z**2
        by_share = special.betaincc(0.5, df / 2, z**2 / total)
        return np.where(z**2 < df, by_share, special.betainc(df / 2, 0.5, df / total)) / 2


class FisherSnedecor(_ScipyLaw):
    """Shapes: df1 and df2."""

    lower = 0.0

    def numpy_below(self, z: _Array, *shapes: _Array) -> _Array:
        a, b = shapes
        return special.betainc(a / 2, b / 2, a * z / (a * z + b))

    def numpy_above(self, z: _Array, *shapes: _Array) -> _Array:
        a, b = shapes
        return special.betainc(b / 2, a / 2, b / (a * z + b))

    def numpy_log_density(self, z: _Array, *shapes: _Array) -> _Array:
        a, b = shapes
        core = special.xlogy(a / 2, a / b) + special.xlogy(a / 2 - 1, z)
        return core - (a + b) / 2 * np.log1p(a * z / b) - special.betaln(a / 2, b / 2)

    def solve_below(self, tail: _Array, *shapes: _Array) -> _Array:
        a, b = shapes
        share = special.betaincinv(a / 2, b / 2, tail)
        return np.maximum(share / (1 - share) * b / a, _TINY)

    def solve_above(self, tail: _Array, *shapes: _Array) -> _Array:
        a, b = shapes
        rest = special.betaincinv(b / 2, a / 2, tail)
        return np.maximum((1 - rest) / rest * b / a, _TINY)
