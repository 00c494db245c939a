# ruff: noqa: D102 - the base classes document the methods
"""Standard univariate laws with tails accurate on both sides, and their inverses.

Quantiles are kept on the logit scale, ``log F(z) - log(1 - F(z))``: there neither tail is rounded
away, and the noise of a quantile coupling is a standard logistic variable. Each law gives
``log F`` and ``log(1 - F)``, each accurate where it is small, and the inverse. Shape parameters
are arguments; location and scale are taken off before.

Here are the contract and the laws in closed form; ``numeric_laws.py`` has the others.
"""

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

Tails = tuple[Tensor, Tensor]
_LOG_2 = math.log(2.0)


def log1mexp(x: Tensor) -> Tensor:
    """``log(1 - exp(x))`` for ``x <= 0``, accurate at both ends, with finite gradients inside.

    Example:
        >>> float(log1mexp(torch.tensor(-1e-20, dtype=torch.float64))) < -46
        True
    """
    is_near = x > -_LOG_2
    near = torch.where(is_near, x, -1.0)
    far = torch.where(is_near, -1.0, x)
    return torch.where(is_near, torch.log(-torch.expm1(near)), torch.log1p(-torch.exp(far)))


class StandardLaw(ABC):
    """A univariate law, location and scale taken off.

    Attributes:
        lower: Left end of the support (closed).
        upper: Right end of the support (closed).
    """

    lower: ClassVar[float] = -math.inf
    upper: ClassVar[float] = math.inf

    @abstractmethod
    def log_tails(self, z: Tensor, *shapes: Tensor) -> Tails:
        """``(log F(z), log(1 - F(z)))``."""

    @abstractmethod
    def inverse(self, logit: Tensor, *shapes: Tensor) -> Tensor:
        """The ``z`` with ``logit F(z) = logit``."""

    def logit(self, z: Tensor, *shapes: Tensor) -> Tensor:
        """``log F(z) - log(1 - F(z))``."""
        below, above = self.log_tails(z, *shapes)
        return below - above

    def sample(self, shape: torch.Size, like: Tensor) -> Tensor:
        """Draws of the law without shape parameters."""
        logistic = sample_logistic(shape, like)
        return self.inverse(logistic.double()).to(like.dtype)

    def distribution(self, like: Tensor) -> Any:
        """The law as a Pyro distribution, for laws without shape parameters."""
        raise NotImplementedError


def sample_logistic(shape: torch.Size, like: Tensor) -> Tensor:
    """Standard logistic draws, with both tails as long as the other."""
    first, second = like.new_empty((2, *shape)).exponential_()
    return first.log() - second.log()


class SymmetricLaw(StandardLaw):
    """A law with ``F(-z) = 1 - F(z)``."""

    @abstractmethod
    def log_below(self, z: Tensor, *shapes: Tensor) -> Tensor:
        """``log F(z)``, accurate in the left tail."""

    def log_tails(self, z: Tensor, *shapes: Tensor) -> Tails:
        return self.log_below(z, *shapes), self.log_below(-z, *shapes)


class Normal(SymmetricLaw):
    """The standard normal law."""

    def log_below(self, z: Tensor, *shapes: Tensor) -> Tensor:
        return torch.special.log_ndtr(z)

    def inverse(self, logit: Tensor, *shapes: Tensor) -> Tensor:
        size = -torch.special.ndtri(torch.sigmoid(-logit.abs()))
        return torch.where(logit < 0, -size, size)

    def sample(self, shape: torch.Size, like: Tensor) -> Tensor:
        return torch.randn(shape, dtype=like.dtype, device=like.device)

    def distribution(self, like: Tensor) -> Any:
        return dist.Normal(like.new_zeros(()), like.new_ones(()))


class Laplace(SymmetricLaw):
    """The standard Laplace law."""

    def log_below(self, z: Tensor, *shapes: Tensor) -> Tensor:
        return torch.where(
            z < 0, z.clamp(max=0) - _LOG_2, torch.log1p(-0.5 * torch.exp(-z.clamp(min=0)))
        )

    def inverse(self, logit: Tensor, *shapes: Tensor) -> Tensor:
        size = -(logsigmoid(-logit.abs()) + _LOG_2)
        return torch.where(logit < 0, -size, size)

    def sample(self, shape: torch.Size, like: Tensor) -> Tensor:
        first, second = like.new_empty((2, *shape)).exponential_()
        return first - second

    def distribution(self, like: Tensor) -> Any:
        return dist.Laplace(like.new_zeros(()), like.new_ones(()))


class Logistic(SymmetricLaw):
    """The standard logistic law."""

    def log_below(self, z: Tensor, *shapes: Tensor) -> Tensor:
        return logsigmoid(z)

    def logit(self, z: Tensor, *shapes: Tensor) -> Tensor:
        return z

    def inverse(self, logit: Tensor, *shapes: Tensor) -> Tensor:
        return logit

    def sample(self, shape: torch.Size, like: Tensor) -> Tensor:
        return sample_logistic(shape, like)

    def distribution(self, like: Tensor) -> Any:
        return dist.Logistic(like.new_zeros(()), like.new_ones(()))


class SoftLaplace(SymmetricLaw):
    """The standard soft Laplace (hyperbolic secant) law."""

    def log_below(self, z: Tensor, *shapes: Tensor) -> Tensor:
        left = torch.log(torch.atan(torch.exp(z.clamp(max=0))) * (2 / math.pi))
        right = torch.log1p(-torch.atan(torch.exp(-z.clamp(min=0))) * (2 / math.pi))
        return torch.where(z < 0, left, right)

    def inverse(self, logit: Tensor, *shapes: Tensor) -> Tensor:
        size = -torch.log(torch.tan(torch.sigmoid(-logit.abs()) * (math.pi / 2)))
        return torch.where(logit < 0, -size, size)

    def distribution(self, like: Tensor) -> Any:
        return dist.SoftLaplace(like.new_zeros(()), like.new_ones(()))


class Cauchy(SymmetricLaw):
    """The standard Cauchy law."""

    def log_below(self, z: Tensor, *shapes: Tensor) -> Tensor:
        is_left = z < -1
        left = torch.atan(-1 / torch.where(is_left, z, -1.0)) / math.pi
        right = 0.5 + torch.atan(torch.where(is_left, -1.0, z)) / math.pi
        return torch.where(is_left, left, right).log()

    def inverse(self, logit: Tensor, *shapes: Tensor) -> Tensor:
        size = 1 / torch.tan(torch.sigmoid(-logit.abs()) * math.pi)
        central = torch.tan(torch.tanh(logit.clamp(-1, 1) / 2) * (math.pi / 2))
        return torch.where(logit.abs() < 1, central, torch.where(logit < 0, -size, size))

    def sample(self, shape: torch.Size, like: Tensor) -> Tensor:
        return like.new_empty(shape).cauchy_()

    def distribution(self, like: Tensor) -> Any:
        return dist.Cauchy(like.new_zeros(()), like.new_ones(()))


class Gumbel(StandardLaw):
    """The standard Gumbel law."""

    def log_tails(self, z: Tensor, *shapes: Tensor) -> Tails:
        below = -torch.exp(-z)
        return below, log1mexp(below)

    def inverse(self, logit: Tensor, *shapes: Tensor) -> Tensor:
        return -torch.log(softplus(-logit))

    def sample(self, shape: torch.Size, like: Tensor) -> Tensor:
        return -like.new_empty(shape).exponential_().log()

    def distribution(self, like: Tensor) -> Any:
        return dist.Gumbel(like.new_zeros(()), like.new_ones(()))


class Uniform(StandardLaw):
    """The uniform law on the unit interval."""

    lower, upper = 0.0, 1.0

    def log_tails(self, z: Tensor, *shapes: Tensor) -> Tails:
        return z.log(), torch.log1p(-z)

    def inverse(self, logit: Tensor, *shapes: Tensor) -> Tensor:
        return torch.sigmoid(logit)

    def sample(self, shape: torch.Size, like: Tensor) -> Tensor:
        return torch.rand(shape, dtype=like.dtype, device=like.device)

    def distribution(self, like: Tensor) -> Any:
        return dist.Uniform(like.new_zeros(()), like.new_ones(()))


class Exponential(StandardLaw):
    """The exponential law of rate one."""

    lower = 0.0

    def log_tails(self, z: Tensor, *shapes: Tensor) -> Tails:
        return log1mexp(-z), -z

    def inverse(self, logit: Tensor, *shapes: Tensor) -> Tensor:
        return softplus(logit)

    def sample(self, shape: torch.Size, like: Tensor) -> Tensor:
        return like.new_empty(shape).exponential_()

    def distribution(self, like: Tensor) -> Any:
        return dist.Exponential(like.new_ones(()))


class HalfNormal(StandardLaw):
    """The absolute value of a standard normal variable."""

    lower = 0.0

    def log_tails(self, z: Tensor, *shapes: Tensor) -> Tails:
        return torch.erf(z / math.sqrt(2)).log(), torch.special.log_ndtr(-z) + _LOG_2

    def inverse(self, logit: Tensor, *shapes: Tensor) -> Tensor:
        # for small z by erf's inverse, for large z by the normal tail
        small = torch.erfinv(torch.sigmoid(logit.clamp(max=0))) * math.sqrt(2)
        large = -torch.special.ndtri(torch.sigmoid(-logit.clamp(min=0)) / 2)
        return torch.where(logit < 0, small, large)

    def sample(self, shape: torch.Size, like: Tensor) -> Tensor:
        return torch.randn(shape, dtype=like.dtype, device=like.device).abs()

    def distribution(self, like: Tensor) -> Any:
        return dist.HalfNormal(like.new_ones(()))


class HalfCauchy(StandardLaw):
    """The absolute value of a standard Cauchy variable."""

    lower = 0.0

    def log_tails(self, z: Tensor, *shapes: Tensor) -> Tails:
        below = torch.atan(z) * (2 / math.pi)
        return below.log(), (torch.atan(1 / z) * (2 / math.pi)).log()

    def inverse(self, logit: Tensor, *shapes: Tensor) -> Tensor:
        small = torch.tan(torch.sigmoid(logit.clamp(max=0)) * (math.pi / 2))
        large = 1 / torch.tan(torch.sigmoid(-logit.clamp(min=0)) * (math.pi / 2))
        return torch.where(logit < 0, small, large)

    def sample(self, shape: torch.Size, like: Tensor) -> Tensor:
        return like.new_empty(shape).cauchy_().abs()

    def distribution(self, like: Tensor) -> Any:
        return dist.HalfCauchy(like.new_ones(()))


# -- laws with shape parameters -----------------------------------------------------------------


class AsymmetricLaplace(StandardLaw):
    """Shape: asymmetry; left scale ``asymmetry``, right scale ``1 / asymmetry``."""

    def log_tails(self, z: Tensor, *shapes: Tensor) -> Tails:
        left, right, log_left, log_right = self._sides(*shapes)
        below = z.clamp(max=0) / left + log_left
        above = -z.clamp(min=0) / right + log_right
        is_left = z < 0
        return (
            torch.where(is_left, below, log1mexp(above)),
            torch.where(is_left, log1mexp(below), above),
        )

    def inverse(self, logit: Tensor, *shapes: Tensor) -> Tensor:
        left, right, log_left, log_right = self._sides(*shapes)
        below = (logsigmoid(logit) - log_left) * left
        return torch.where(below < 0, below, -(logsigmoid(-logit) - log_right) * right)

    def _sides(self, asymmetry: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        odds = 2 * asymmetry.log()
        return asymmetry, asymmetry.reciprocal(), logsigmoid(odds), logsigmoid(-odds)


class SkewLogistic(StandardLaw):
    """Shape: asymmetry, the power of the logistic distribution function."""

    def log_tails(self, z: Tensor, *shapes: Tensor) -> Tails:
        below = logsigmoid(z) * shapes[0]
        return below, log1mexp(below)

    def inverse(self, logit: Tensor, *shapes: Tensor) -> Tensor:
        below = logsigmoid(logit) / shapes[0]
        return below - log1mexp(below)


class GeneralizedPareto(StandardLaw):
    """Shape: concentration (the tail index); zero gives the exponential law."""

    lower = 0.0

    def log_tails(self, z: Tensor, *shapes: Tensor) -> Tails:
        (c,) = shapes
        safe = torch.where(c == 0, 1.0, c)
        above = torch.where(c == 0, -z, -torch.log1p(safe * z) / safe)
        return log1mexp(above), above

    def inverse(self, logit: Tensor, *shapes: Tensor) -> Tensor:
        (c,) = shapes
        safe, time = torch.where(c == 0, 1.0, c), softplus(logit)
        return torch.where(c == 0, time, torch.expm1(safe * time) / safe)


class Kumaraswamy(StandardLaw):
    """Shapes: concentration1 and concentration0; ``1 - F(z) = (1 - z^a)^b``."""

    lower, upper = 0.0, 1.0

    def log_tails(self, z: Tensor, *shapes: Tensor) -> Tails:
        a, b = shapes
        above = b * log1mexp(a * z.log())
        return log1mexp(above), above

    def inverse(self, logit: Tensor, *shapes: Tensor) -> Tensor:
        a, b = shapes
        return torch.exp(log1mexp(logsigmoid(-logit) / b) / a)


class ContinuousBernoulli(StandardLaw):
    """Shape: logits; ``F(z) = (e^{logits z} - 1) / (e^{logits} - 1)``."""

    lower, upper = 0.0, 1.0

    def log_tails(self, z: Tensor, *shapes: Tensor) -> Tails:
        (eta,) = shapes
        return self._log_below(z, eta), self._log_below(1 - z, -eta)

    def inverse(self, logit: Tensor, *shapes: Tensor) -> Tensor:
        (eta,) = shapes
        # solve from the side where the exponential stays below one
        u, rate = torch.sigmoid(torch.where(eta > 0, -logit, logit)), -eta.abs()
        safe = torch.where(rate == 0, -1.0, rate)
        z = torch.where(rate == 0, u, torch.log1p(u * torch.expm1(safe)) / safe)
        return torch.where(eta > 0, 1 - z, z)

    def _log_below(self, z: Tensor, eta: Tensor) -> Tensor:
        rate = torch.where(eta == 0, 1.0, eta.abs())
        # e^{rate z} - 1 over e^rate - 1, both made to decay
        rising = rate * (z - 1) + log1mexp(-rate * z) - log1mexp(-rate)
        falling = log1mexp(-rate * z) - log1mexp(-rate)
        return torch.where(eta == 0, z.log(), torch.where(eta > 0, rising, falling))
