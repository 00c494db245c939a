"""A normal guide in coordinates in which the posterior is about a standard normal."""

import math

import torch

from causalppl.inference.laplace import Coordinates

_RANK = 10


class NormalGuide:
    """Normal law of parameters and units' latents, to be improved by gradients.

    It starts as the Laplace approximation. Up to 200 parameters their covariance is full, beyond it
    is diagonal plus low rank; each unit has a block of its own, which moves with the parameters.
    The density's gradient is taken along the path only, so that the noise vanishes where the guide
    is exact.

    Args:
        coordinates: Where to start.

    References:
        Roeder, Wu and Duvenaud (2017), Sticking the landing; Tan and Nott (2018), Gaussian
        variational approximation with sparse precision matrices.
    """

    def __init__(self, coordinates: Coordinates) -> None:
        self.coordinates = coordinates
        like = coordinates.center
        dim, width = len(like), coordinates.local_center.shape[1]
        rows = len(coordinates.local_center)
        self.is_dense = coordinates.scale.dim() == 2
        rank = dim if self.is_dense else min(dim, _RANK)
        self.mean = _leaf(like.new_zeros(dim))
        self.log_diagonal = _leaf(like.new_zeros(dim))
        # below the diagonal of the root; or the columns of the low-rank part
        self.factor = _leaf(like.new_zeros(dim, rank))
        if not self.is_dense:
            torch.nn.init.normal_(self.factor, std=1e-2)
        self.local_mean = _leaf(like.new_zeros(rows, width))
        self.local_log_diagonal = _leaf(like.new_zeros(rows, width))
        self.local_factor = _leaf(like.new_zeros(rows, width, width))
        self.local_slope = _leaf(
            like.new_zeros(rows, width, dim if coordinates.slope is not None else 0)
        )

    @property
    def parameters(self) -> list[torch.Tensor]:
        """What gradients move."""
        found = [
            self.mean,
            self.log_diagonal,
            self.factor,
            self.local_mean,
            self.local_log_diagonal,
            self.local_factor,
            self.local_slope,
        ]
        return [parameter for parameter in found if parameter.numel()]

    def draw(self, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Draw parameters, latents and the log density of both.

        Returns:
            Tensors of shape ``(count, D)``, ``(count, rows, d)`` and ``(count,)``.
        """
        w, log_q = self._shared(count)
        v, local_log_q = self._local(count, w)
        shared, local = self.coordinates.apply(w, v)
        return shared, local, log_q + local_log_q - self.coordinates.log_det

    @torch.no_grad()
    def matched_draws(self, count: int) -> torch.Tensor:
        """Draw parameters whose sample mean and covariance are those of the guide, ``(count, D)``.

        Means and spreads of what is about linear in the parameters then have no Monte Carlo error.
        Plain draws where there are too few for it, or the covariance is not full.
        """
        dim = len(self.mean)
        if not self.is_dense or count < 4 * dim or dim == 0:
            return self.draw(count)[0]
        noise = self.mean.new_empty(count, dim).normal_().double()
        noise = noise - noise.mean(0)
        root = torch.linalg.cholesky(noise.T @ noise / (count - 1))
        noise = torch.linalg.solve_triangular(root, noise.T, upper=False).T.to(self.mean.dtype)
        factor = self.factor.tril(-1) + self.log_diagonal.exp().diag()
        w = self.mean + noise @ factor.T
        return self.coordinates.center + w @ self.coordinates.scale.T

    def _shared(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        mean, diagonal = self.mean, self.log_diagonal.exp()
        noise = mean.new_empty(count, len(mean)).normal_()
        if self.is_dense:
            root = self.factor.tril(-1) + diagonal.diag()
            w = mean + noise @ root.T
            fixed = root.detach()
            back = torch.linalg.solve_triangular(fixed, (w - mean.detach()).T, upper=False).T
            return w, _standard(back) - fixed.diagonal().log().sum()
        more = mean.new_empty(count, self.factor.shape[1]).normal_()
        w = mean + noise * diagonal + more @ self.factor.T
        law = torch.distributions.LowRankMultivariateNormal(
            mean.detach(), self.factor.detach(), diagonal.detach() ** 2, validate_args=False
        )
        return w, law.log_prob(w)

    def _local(self, count: int, w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.local_mean.numel():
            return self.local_mean.expand(count, *self.local_mean.shape), w.new_zeros(count)
        diagonal = self.local_log_diagonal.exp()
        root = self.local_factor.tril(-1) + torch.diag_embed(diagonal)
        noise = w.new_empty(count, *self.local_mean.shape).normal_()
        v = self.local_mean + (root @ noise.unsqueeze(-1)).squeeze(-1)
        center = self.local_mean.detach()
        if self.local_slope.numel():
            v = v + torch.einsum("ndk,sk->snd", self.local_slope, w)
            center = center + torch.einsum("ndk,sk->snd", self.local_slope.detach(), w)
        fixed = root.detach()
        back = torch.linalg.solve_triangular(fixed, (v - center).unsqueeze(-1), upper=False)
        log_q = (
            _standard(back.squeeze(-1).flatten(1)) - fixed.diagonal(dim1=-2, dim2=-1).log().sum()
        )
        return v, log_q


def _leaf(value: torch.Tensor) -> torch.Tensor:
    return value.requires_grad_(True)


def _standard(x: torch.Tensor) -> torch.Tensor:
    """Log density of a standard normal, shape ``(count, n)`` to ``(count,)``."""
    return -0.5 * (x**2).sum(1) - 0.5 * math.log(2 * math.pi) * x.shape[1]
