"""Univariate continuous families as ``loc + scale * z`` with ``z`` from a standard law."""

import math
from functools import singledispatch
from typing import Any, NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Transform
from torch.distributions.relaxed_bernoulli import LogitRelaxedBernoulli

from causalppl.exceptions import ProgramError
from causalppl.programs import numeric_laws
from causalppl.programs import standard_laws as laws
from causalppl.programs.couplings import are_finite
from causalppl.shapes import broadcast_shapes


class StandardForm(NamedTuple):
    """``fn`` is the law of ``loc + scale * z`` with ``z ~ law(*shapes)``.

    Attributes:
        law: The standard law.
        scale: Positive.
        loc: None stands for zero.
        shapes: The standard law's shape parameters.
    """

    law: laws.StandardLaw
    scale: Tensor
    loc: Tensor | None = None
    shapes: tuple[Tensor, ...] = ()

    def contains(self, value: Tensor) -> Tensor | bool:
        """Whether each value is finite and in the support."""
        lower, upper = self.law.lower, self.law.upper
        if lower == -math.inf:
            return are_finite(value)
        z = value if self.loc is None else value - self.loc
        top = self.scale * upper if upper < math.inf else torch.finfo(z.dtype).max
        return (z >= self.scale * lower) & (z <= top)

    def standardise(self, value: Tensor) -> Tensor:
        """``(value - loc) / scale``."""
        return (value if self.loc is None else value - self.loc) / self.scale

    def place(self, z: Tensor) -> Tensor:
        """``loc + scale * z``."""
        if self.loc is None:
            return self.scale * z
        return self.loc + _unexpanded(self.scale) * z

    def carry(self, value: Tensor, target: "StandardForm") -> Tensor:
        """The value with the same ``z`` under ``target``; bitwise the value if they are equal."""
        ratio = _unexpanded(target.scale) / _unexpanded(self.scale)
        if self.loc is None or target.loc is None:
            moved = ratio * value
        else:
            moved, step = target.loc - ratio * self.loc, ratio * value
            wide = moved.dim() >= step.dim() and moved.numel() > step.numel()
            # one large allocation less where many worlds follow from one value
            moved = moved.add_(step) if wide and not moved.requires_grad else moved + step
        if target.scale.dim() <= moved.dim() and self.loc is not None:
            return moved
        # a constant scale may have been the only tensor with the full batch shape
        return moved.expand(broadcast_shapes(moved.shape, target.scale.shape))


def _unexpanded(t: Tensor) -> Tensor:
    """One entry of a tensor that repeats it, as ``Normal(loc, 1.0)`` has for its scale."""
    return t if any(t.stride()) or not t.numel() else t[(0,) * t.dim()]


@singledispatch
def standard_form(fn: Any) -> StandardForm:
    """Write a univariate distribution by a standard law; register further types on it.

    Raises:
        ProgramError: The type's distribution function is not known here.
    """
    raise ProgramError(
        f"the distribution function of {type(fn).__name__} is not known; expected a univariate "
        "continuous family of pyro.distributions; choose another coupling, or register the "
        "family with `standard_form.register`"
    )


def _register(family: type, law: laws.StandardLaw, loc: str | None, scale: str) -> None:
    if loc is None:
        standard_form.register(family, lambda fn: StandardForm(law, getattr(fn, scale)))
    else:
        standard_form.register(
            family, lambda fn: StandardForm(law, getattr(fn, scale), getattr(fn, loc))
        )


_NORMAL, _LOGISTIC, _UNIFORM, _EXPONENTIAL = (
    laws.Normal(),
    laws.Logistic(),
    laws.Uniform(),
    laws.Exponential(),
)
_GAMMA, _BETA, _STUDENT, _FISHER = (
    numeric_laws.Gamma(),
    numeric_laws.Beta(),
    numeric_laws.StudentT(),
    numeric_laws.FisherSnedecor(),
)
CIRCLE, _ASYMMETRIC, _SKEW = numeric_laws.VonMises(), laws.AsymmetricLaplace(), laws.SkewLogistic()
_PARETO, _KUMARASWAMY = laws.GeneralizedPareto(), laws.Kumaraswamy()
_CONTINUOUS_BERNOULLI = laws.ContinuousBernoulli()

_register(torch.distributions.Normal, _NORMAL, "loc", "scale")
_register(torch.distributions.Laplace, laws.Laplace(), "loc", "scale")
_register(torch.distributions.Cauchy, laws.Cauchy(), "loc", "scale")
_register(torch.distributions.Gumbel, laws.Gumbel(), "loc", "scale")
_register(dist.Logistic, _LOGISTIC, "loc", "scale")
_register(dist.SoftLaplace, laws.SoftLaplace(), "loc", "scale")
_register(torch.distributions.HalfNormal, laws.HalfNormal(), None, "scale")
_register(torch.distributions.HalfCauchy, laws.HalfCauchy(), None, "scale")


@standard_form.register(torch.distributions.Uniform)
def _(fn: Any) -> StandardForm:
    return StandardForm(_UNIFORM, fn.high - fn.low, fn.low)


@standard_form.register(torch.distributions.Exponential)
def _(fn: Any) -> StandardForm:
    return StandardForm(_EXPONENTIAL, fn.rate.reciprocal())


@standard_form.register(LogitRelaxedBernoulli)
def _(fn: Any) -> StandardForm:
    return StandardForm(_LOGISTIC, fn.temperature.reciprocal(), fn.logits / fn.temperature)


@standard_form.register(torch.distributions.Gamma)
def _(fn: Any) -> StandardForm:
    return StandardForm(_GAMMA, fn.rate.reciprocal(), None, (fn.concentration,))


@standard_form.register(torch.distributions.Beta)
def _(fn: Any) -> StandardForm:
    shapes = (fn.concentration1, fn.concentration0)
    return StandardForm(_BETA, torch.ones_like(shapes[0]), None, shapes)


@standard_form.register(torch.distributions.StudentT)
def _(fn: Any) -> StandardForm:
    return StandardForm(_STUDENT, fn.scale, fn.loc, (fn.df,))


@standard_form.register(torch.distributions.FisherSnedecor)
def _(fn: Any) -> StandardForm:
    return StandardForm(_FISHER, torch.ones_like(fn.df1), None, (fn.df1, fn.df2))


@standard_form.register(torch.distributions.VonMises)
def _(fn: Any) -> StandardForm:
    return StandardForm(CIRCLE, torch.ones_like(fn.loc), fn.loc, (fn.concentration,))


@standard_form.register(dist.AsymmetricLaplace)
def _(fn: Any) -> StandardForm:
    return StandardForm(_ASYMMETRIC, fn.scale, fn.loc, (fn.asymmetry,))


@standard_form.register(dist.SkewLogistic)
def _(fn: Any) -> StandardForm:
    return StandardForm(_SKEW, fn.scale, fn.loc, (fn.asymmetry,))


def _generalized_pareto(fn: Any) -> StandardForm:
    return StandardForm(_PARETO, fn.scale, fn.loc, (fn.concentration,))


if hasattr(torch.distributions, "GeneralizedPareto"):  # not in older releases of torch
    standard_form.register(torch.distributions.GeneralizedPareto, _generalized_pareto)


@standard_form.register(torch.distributions.Kumaraswamy)
def _(fn: Any) -> StandardForm:
    shapes = (fn.concentration1, fn.concentration0)
    return StandardForm(_KUMARASWAMY, torch.ones_like(shapes[0]), None, shapes)


@standard_form.register(torch.distributions.ContinuousBernoulli)
def _(fn: Any) -> StandardForm:
    return StandardForm(_CONTINUOUS_BERNOULLI, torch.ones_like(fn.logits), None, (fn.logits,))


class LawOf(laws.StandardLaw):
    """The law of a whole distribution that is not a location-scale family."""

    def __init__(self, fn: Any) -> None:
        self.fn = fn

    def _like(self) -> Tensor:
        probe: Tensor = reference_tensor(self.fn)
        return probe


class _MixtureLaw(LawOf):
    """A mixture: tails add up; the quantile lies between the components' quantiles."""

    def log_tails(self, z: Tensor, *shapes: Tensor) -> laws.Tails:
        component = self.fn.component_distribution
        weights = self.fn.mixture_distribution.logits.double().log_softmax(-1)
        below, above = _tails_of(component, z.unsqueeze(-1))
        return torch.logsumexp(weights + below, -1), torch.logsumexp(weights + above, -1)

    def inverse(self, logit: Tensor, *shapes: Tensor) -> Tensor:
        with torch.no_grad():
            each = _quantile_of(self.fn.component_distribution, logit.unsqueeze(-1))
            low, high = each.amin(-1), each.amax(-1)
        return numeric_laws.invert(self, logit, (), low, high)


class _FoldedLaw(LawOf):
    """The absolute value of a univariate variable."""

    lower = 0.0

    def log_tails(self, z: Tensor, *shapes: Tensor) -> laws.Tails:
        below_right, above_right = _tails_of(self.fn.base_dist, z)
        below_left, above_left = _tails_of(self.fn.base_dist, -z)
        above = torch.logaddexp(below_left, above_right)
        # F(z) - F(-z), from the side where both are small
        left = below_right + laws.log1mexp((below_left - below_right).clamp(max=0))
        right = above_left + laws.log1mexp((above_right - above_left).clamp(max=0))
        return torch.where(below_right < above_left, left, right), above

    def inverse(self, logit: Tensor, *shapes: Tensor) -> Tensor:
        with torch.no_grad():
            half = torch.nn.functional.logsigmoid(-logit) - math.log(2)
            reach = laws.log1mexp(half) - half  # either tail alone holds at least half of it
            ends = [_quantile_of(self.fn.base_dist, s).abs() for s in (reach, -reach)]
            high = torch.maximum(*ends)
        return numeric_laws.invert(self, logit, (), torch.zeros_like(high), high)


class _TransformedLaw(LawOf):
    """A univariate variable through monotone bijections."""

    def log_tails(self, z: Tensor, *shapes: Tensor) -> laws.Tails:
        rising = True
        for transform in reversed(self.fn.transforms):
            z, rising = transform.inv(z), rising == _is_rising(transform)
        below, above = _tails_of(self.fn.base_dist, z)
        return (below, above) if rising else (above, below)

    def inverse(self, logit: Tensor, *shapes: Tensor) -> Tensor:
        rising = all(_is_rising(t) for t in self.fn.transforms) or (
            sum(not _is_rising(t) for t in self.fn.transforms) % 2 == 0
        )
        z = _quantile_of(self.fn.base_dist, logit if rising else -logit)
        for transform in self.fn.transforms:
            z = transform(z)
        return z


def _is_rising(transform: Transform) -> bool:
    sign = transform.sign if transform.bijective else 0
    positive = sign > 0 if isinstance(sign, int) else bool((sign > 0).all())
    negative = sign < 0 if isinstance(sign, int) else bool((sign < 0).all())
    if positive == negative:
        raise ProgramError(
            f"{transform!r} is not monotone in one direction for all units; expected a monotone "
            "transform of a univariate variable; choose another coupling"
        )
    return positive


@standard_form.register(torch.distributions.TransformedDistribution)
def _(fn: Any) -> StandardForm:
    if fn.event_shape or fn.base_dist.event_shape:
        raise ProgramError(
            f"{type(fn).__name__} with event shape {tuple(fn.event_shape)} is not univariate; "
            "expected a univariate family; leave the site's coupling at its default"
        )
    return StandardForm(_TransformedLaw(fn), reference_tensor(fn.base_dist).new_ones(()))


@standard_form.register(torch.distributions.MixtureSameFamily)
def _(fn: Any) -> StandardForm:
    if fn.event_shape:
        raise ProgramError(
            f"a mixture with event shape {tuple(fn.event_shape)} has no distribution function to "
            "invert; expected a univariate mixture; write the component as a Categorical site "
            "of its own and pick the parameters by it"
        )
    like = reference_tensor(fn.component_distribution)
    return StandardForm(_MixtureLaw(fn), like.new_ones(()))


@standard_form.register(dist.FoldedDistribution)
def _(fn: Any) -> StandardForm:
    return StandardForm(_FoldedLaw(fn), reference_tensor(fn.base_dist).new_ones(()))


def _base_form(fn: Any) -> StandardForm:
    while hasattr(fn, "base_dist") and not isinstance(
        fn, torch.distributions.TransformedDistribution
    ):
        fn = fn.base_dist
    return in_double(standard_form(fn))


def _tails_of(fn: Any, value: Tensor) -> laws.Tails:
    form = _base_form(fn)
    z = form.standardise(value)
    inside = z.clamp(form.law.lower, form.law.upper)
    below, above = form.law.log_tails(inside, *form.shapes)
    is_under, is_over = z < form.law.lower, z > form.law.upper
    nothing, all_of_it = torch.full_like(below, -math.inf), torch.zeros_like(below)
    below = torch.where(is_under, nothing, torch.where(is_over, all_of_it, below))
    return below, torch.where(is_over, nothing, torch.where(is_under, all_of_it, above))


def _quantile_of(fn: Any, logit: Tensor) -> Tensor:
    form = _base_form(fn)
    return form.place(form.law.inverse(logit, *form.shapes))


def in_double(form: StandardForm) -> StandardForm:
    """The form with float64 parameters."""
    loc = None if form.loc is None else form.loc.double()
    shapes = tuple(s.double() for s in form.shapes)
    return StandardForm(form.law, form.scale.double(), loc, shapes)


def reference_tensor(fn: Any) -> Tensor:
    """A floating-point parameter of ``fn``, to follow its dtype and device."""
    if hasattr(fn, "base_dist"):
        return reference_tensor(fn.base_dist)
    if hasattr(fn, "component_distribution"):
        return reference_tensor(fn.component_distribution)
    for own in (fn.__dict__.get, lambda name: getattr(fn, name, None)):
        for name in fn.arg_constraints:
            parameter = own(name)
            if isinstance(parameter, Tensor) and parameter.is_floating_point():
                return parameter
    return torch.zeros(())
