# ruff: noqa: D102 - the base classes document the methods
"""Laws of the noise given a discrete value, and of another world's value given the noise's region.

A discrete value leaves its noise open: an interval for the quantile coupling, a region of Gumbel
vectors for Gumbel-max. Both posteriors are the prior pushed through a bijection onto the region,
so they can be sampled, differentiated and given to NUTS or a guide.

References:
    Maddison, Tarlow and Minka (2014), A* sampling: truncated Gumbels from the top down.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Transform, biject_to, constraints, transform_to
from torch.nn.functional import logsigmoid

from causalppl.programs.counts import counts_of, log_mass
from causalppl.programs.standard_forms import reference_tensor
from causalppl.shapes import broadcast_shapes

_INF = float("inf")

# -- the noise given the value ------------------------------------------------------------------


class Region(Transform):
    """A part of noise space, as the image of all of it; carries prior to posterior.

    Attributes:
        prior: The noise's law.
        log_mass: Log probability of the region under it, shape ``batch``.
    """

    bijective = True
    prior: Any
    log_mass: Tensor

    @abstractmethod
    def contains(self, noise: Tensor) -> Tensor:
        """Whether the noise is in the region, shape ``batch``."""

    def log_density(self, noise: Tensor) -> Tensor:
        """Log density of the noise given that it is in the region."""
        density = self.prior.log_prob(noise) - self.log_mass
        return torch.where(self.contains(noise), density, -_INF)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        # the map carries the prior to the posterior, so the two densities give the volume
        return self.prior.log_prob(x) - (self.prior.log_prob(y) - self.log_mass)


class _Within(constraints.Constraint):
    """The region as a constraint, so that ``biject_to`` finds the map onto it."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.event_dim = region.codomain.event_dim

    def check(self, value: Tensor) -> Tensor:
        return self.region.contains(value)


def _onto(constraint: _Within) -> Transform:
    return constraint.region


biject_to.register(_Within, _onto)
transform_to.register(_Within, _onto)


class NoiseGivenValue(dist.TorchDistribution):
    """The law of the noise given the value: the prior, restricted to the region of the value.

    Args:
        region: The noise that gives the value.
        batch_shape: One noise for each value.
        event_shape: The noise's.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = True

    def __init__(self, region: Region, batch_shape: torch.Size, event_shape: torch.Size) -> None:
        self.region = region
        super().__init__(batch_shape, event_shape, validate_args=False)

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        return _Within(self.region)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = torch.Size(sample_shape) + self.batch_shape
        return self.region(self.region.prior.expand(shape).sample())

    def log_prob(self, value: Tensor) -> Tensor:
        return self.region.log_density(value)


class Interval(Region):
    """Logistic noise in ``(low, high]``.

    Args:
        low: Left end, ``-inf`` allowed; float64.
        high: Right end, ``inf`` allowed.
    """

    domain = constraints.real
    codomain = constraints.real

    def __init__(self, low: Tensor, high: Tensor) -> None:
        super().__init__()
        self.low, self.high = torch.broadcast_tensors(low, high)
        self.log_mass = log_mass(self.low, self.high)
        self.prior = dist.Logistic(low.new_zeros(()), low.new_ones(()))

    def contains(self, noise: Tensor) -> Tensor:
        return (noise > self.low) & (noise <= self.high)

    def _call(self, x: Tensor) -> Tensor:
        # u = (1 - w) F(low) + w F(high) and 1 - u alike, as sums of positive terms
        stay, move = logsigmoid(-x), logsigmoid(x)
        below = torch.logaddexp(logsigmoid(self.low) + stay, logsigmoid(self.high) + move)
        above = torch.logaddexp(logsigmoid(-self.low) + stay, logsigmoid(-self.high) + move)
        inside = torch.minimum(below - above, self.high)
        least = torch.nextafter(self.low, torch.full_like(self.low, _INF))
        return torch.where(inside > self.low, inside, least)

    def _inverse(self, y: Tensor) -> Tensor:
        return log_mass(self.low, y) - log_mass(y, self.high)


def draw_between(low: Tensor, high: Tensor, shape: torch.Size) -> Tensor:
    """Draw standard logistic noise in ``(low, high]``; quicker than by the bijection, no gradient.

    Args:
        low: Left end, ``-inf`` allowed; float64.
        high: Right end, ``inf`` allowed.
        shape: Of the draws.
    """
    with torch.no_grad():
        # in the left tail, reflecting intervals that lie right of zero
        is_right = low >= 0
        left = torch.where(is_right, -high, low).sigmoid()
        right = torch.where(is_right, -low, high).sigmoid()
        w = torch.rand(shape, dtype=left.dtype, device=left.device)
        if bool((right < 1e-290).any()):  # evidence rarer than that
            return Interval(low, high)(torch.logit(w))
        u = torch.lerp(left, right, w)
        noise = u.log() - torch.log1p(-u)
        noise = torch.minimum(torch.where(is_right, -noise, noise), high)
        return torch.where(noise > low, noise, torch.nextafter(low, high))


class ArgmaxRegion(Region):
    """Gumbel vectors with ``argmax(logits + noise) = index``, from the top down.

    The coordinate of the winner carries the maximum, the others are cut off below it
    (Maddison, Tarlow and Minka 2014, section 4).

    Args:
        index: The winner, shape ``batch``.
        logits: Normalised log probabilities, shape ``(*batch, K)``.
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector

    def __init__(self, index: Tensor, logits: Tensor) -> None:
        super().__init__()
        shape = broadcast_shapes(index.shape, logits.shape[:-1])
        self.index = index.expand(shape).unsqueeze(-1)
        self.logits = logits.expand(*shape, logits.shape[-1])
        self.log_mass = self.logits.gather(-1, self.index).squeeze(-1)
        zero = logits.new_zeros(logits.shape[-1])
        self.prior = dist.Gumbel(zero, torch.ones_like(zero)).to_event(1)

    def contains(self, noise: Tensor) -> Tensor:
        return (self.logits + noise).argmax(-1) == self.index.squeeze(-1)

    def _call(self, x: Tensor) -> Tensor:
        index = self.index.expand(*x.shape[:-1], 1)
        top = x.gather(-1, index)
        others = -torch.logaddexp(self.logits - top, -x)
        winner = top - self.log_mass.unsqueeze(-1)
        # rounding must not let another draw level
        is_winner = torch.zeros_like(x, dtype=torch.bool).scatter(-1, index, True)
        rival = (self.logits + others).masked_fill(is_winner, -_INF).amax(-1, keepdim=True)
        slack = 4 * torch.finfo(x.dtype).eps * (1 + rival.abs() + self.log_mass.unsqueeze(-1).abs())
        level = winner + self.log_mass.unsqueeze(-1) <= rival
        winner = torch.where(level, rival - self.log_mass.unsqueeze(-1) + slack, winner)
        return torch.where(is_winner, winner, others)

    def _inverse(self, y: Tensor) -> Tensor:
        index = self.index.expand(*y.shape[:-1], 1)
        top = y.gather(-1, index) + self.log_mass.unsqueeze(-1)
        cut = (self.logits - top + y).clamp(max=0)  # log of e^(logits - top) over e^(-y)
        free = y - torch.log1p(-torch.exp(cut))
        is_winner = torch.zeros_like(y, dtype=torch.bool).scatter(-1, index, True)
        return torch.where(is_winner, top, free)


# -- laws of the other world's value ------------------------------------------------------------


class MonotoneBernoulli(dist.Bernoulli):
    """A Bernoulli law that keeps exact zeros: ``log_prob`` is ``-inf`` where it should be.

    Args:
        log_odds: Shape ``batch``; infinite for a sure value.
    """

    def __init__(self, log_odds: Tensor) -> None:
        super().__init__(logits=log_odds, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "MonotoneBernoulli":
        return MonotoneBernoulli(self.logits.expand(torch.Size(batch_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        logits: Tensor = self.logits
        return torch.where(value > 0.5, logsigmoid(logits), logsigmoid(-logits))


class CountGivenInterval(dist.TorchDistribution):
    """The law of an ordered discrete value whose noise is known to lie in an interval.

    Args:
        target: The site's family in the target world, freed of its wrappers.
        low: Left end of the noise's interval, shape ``batch``, float64.
        high: Right end.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, target: Any, low: Tensor, high: Tensor) -> None:
        shape = broadcast_shapes(low.shape, target.batch_shape)
        self._target = target
        self._counts = counts_of(target)
        self._low, self._high = low.expand(shape), high.expand(shape)
        self.has_enumerate_support = bool(target.has_enumerate_support)
        super().__init__(shape, validate_args=False)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        support: constraints.Constraint = self._target.support
        return support

    def enumerate_support(self, expand: bool = True) -> Tensor:
        values: Tensor = self._target.enumerate_support(expand=False)
        flat = values.reshape((-1,) + (1,) * len(self.batch_shape))
        return flat.expand((-1, *self.batch_shape)) if expand else flat

    def expand(self, batch_shape: Any, _instance: Any = None) -> "CountGivenInterval":
        shape = torch.Size(batch_shape)
        return CountGivenInterval(self._target, self._low.expand(shape), self._high.expand(shape))

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = torch.Size(sample_shape) + self.batch_shape
        with torch.no_grad():
            noise = draw_between(self._low, self._high, shape)
            return self._counts.index(noise).to(reference_tensor(self._target).dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        low, high = self._counts.interval(value)
        both = log_mass(torch.maximum(low, self._low), torch.minimum(high, self._high))
        return (both - log_mass(self._low, self._high)).to(reference_tensor(self._target).dtype)
