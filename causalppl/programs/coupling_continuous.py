"""Couplings of continuous families: location-scale, quantile, whitened, base noise, recomputed.

For a univariate family a location-scale coupling and a quantile coupling give the same joint law
of worlds; they differ in numerics. Location-scale noise is the standard variable of the family,
so nothing is lost in the tails; quantile noise is ``logit F(value)``, a standard logistic
variable, for the same reason.
"""

import math
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions.relaxed_categorical import ExpRelaxedCategorical

from causalppl.exceptions import ProgramError
from causalppl.programs.couplings import Coupling, are_finite, coupling_for, require_possible
from causalppl.programs.standard_forms import CIRCLE, LawOf, StandardForm, in_double, standard_form
from causalppl.programs.standard_laws import sample_logistic
from causalppl.shapes import broadcast_shapes


class LocationScale(Coupling):
    """``value = loc + scale * noise`` with standard noise of the family.

    Example:
        >>> coupling, value = LocationScale(), torch.tensor(3.0)
        >>> one, zero = dist.Normal(torch.tensor(2.0), 1.0), dist.Normal(torch.tensor(0.0), 1.0)
        >>> coupling.transport(value, one, zero)
        tensor(1.)
    """

    name: ClassVar[str] = "location-scale"

    def for_family(self, fn: Any) -> Coupling:
        """Itself, if the family has a location or a scale and no other parameter."""
        form = standard_form(fn)
        if form.shapes or isinstance(form.law, LawOf):
            raise ProgramError(
                f"{type(fn).__name__} has parameters besides location and scale, so its standard "
                "noise would depend on the parents; expected a location-scale family; use "
                "`Quantile()`"
            )
        return self

    def _noise_law(self, base: Any) -> Any:
        form = standard_form(base)
        return form.law.distribution(form.scale)

    def _sample_noise(self, base: Any, shape: torch.Size) -> Tensor:
        form = standard_form(base)
        with torch.no_grad():
            return form.law.sample(shape, form.scale)

    def _push(self, noise: Tensor, base: Any) -> Tensor:
        return standard_form(base).place(noise)

    def _abduct(self, value: Tensor, base: Any) -> Tensor:
        form = standard_form(base)
        require_possible(form.contains(value), value, base)
        return form.standardise(value)

    def _transport(self, value: Tensor, source: Any, target: Any) -> Tensor:
        start, end = standard_form(source), standard_form(target)
        require_possible(start.contains(value), value, source)
        if start.law is not end.law:
            raise ProgramError(
                f"the source world has the family {type(source).__name__}, the target world "
                f"{type(target).__name__}; expected one family per site; use `Quantile()` to "
                "couple two families"
            )
        return start.carry(value, end)


class ContinuousQuantile(Coupling):
    """``logit F(value) = noise``: equal ranks in all worlds; the noise is standard logistic.

    Where the two worlds share the shape parameters, transport is by location and scale alone.
    Computed in float64 and returned in the family's dtype.
    """

    name: ClassVar[str] = "quantile"

    def for_family(self, fn: Any) -> Coupling:
        """Itself, if the distribution function is known."""
        standard_form(fn)
        return self

    def _noise_law(self, base: Any) -> Any:
        like = standard_form(base).scale
        return dist.Logistic(like.new_zeros(()), like.new_ones(()))

    def _sample_noise(self, base: Any, shape: torch.Size) -> Tensor:
        with torch.no_grad():
            return sample_logistic(shape, standard_form(base).scale)

    def _push(self, noise: Tensor, base: Any) -> Tensor:
        form = standard_form(base)
        exact = in_double(form)
        z = exact.law.inverse(noise.double(), *exact.shapes)
        value = _inside(exact.place(z), exact, form.scale.dtype)
        if form.law is CIRCLE:
            value = _wrap(value)
        require_possible(value.isfinite(), noise, base)
        return value

    def _abduct(self, value: Tensor, base: Any) -> Tensor:
        form = standard_form(base)
        exact = in_double(form)
        given = value.double()
        require_possible(form.contains(value) | (form.law is CIRCLE), value, base)
        z = exact.standardise(given)
        if form.law is CIRCLE:
            z = _wrap(z)
        noise = exact.law.logit(z, *exact.shapes)
        require_possible(noise.isfinite(), value, base)
        return noise.to(form.scale.dtype)

    def _transport(self, value: Tensor, source: Any, target: Any) -> Tensor:
        start, end = standard_form(source), standard_form(target)
        if start.law is end.law and all(
            bool((a == b).all()) for a, b in zip(start.shapes, end.shapes, strict=True)
        ):
            if start.law is CIRCLE:
                require_possible(are_finite(value), value, source)
                return _wrap(start.carry(value, end))
            require_possible(start.contains(value), value, source)
            return start.carry(value, end)
        precise = in_double(start)
        if start.law is CIRCLE:
            require_possible(are_finite(value), value, source)
            z = _wrap(precise.standardise(value.double()))
        else:
            require_possible(start.contains(value), value, source)
            z = precise.standardise(value.double())
        noise = precise.law.logit(z, *precise.shapes)
        require_possible(noise.isfinite(), value, source)
        return self._push(noise, target)


def _inside(value: Tensor, form: StandardForm, dtype: torch.dtype) -> Tensor:
    """Round to ``dtype`` without reaching the ends of a bounded support."""
    rounded = value.to(dtype)
    if form.law.lower == -math.inf or form.law is CIRCLE:
        return rounded
    limits = torch.finfo(dtype)
    if form.loc is None:
        rounded = rounded.clamp(min=limits.tiny)
        if form.law.upper < math.inf:
            rounded = rounded.clamp(max=1 - limits.eps / 2)
    return rounded


def _wrap(angle: Tensor) -> Tensor:
    """The angle in ``[-pi, pi)``; untouched, bitwise, if it is there already."""
    turned = (angle + math.pi) % (2 * math.pi) - math.pi
    return torch.where((angle >= -math.pi) & (angle < math.pi), angle, turned)


class Whitened(Coupling):
    """``value = loc + scale_tril @ noise``: multivariate normal, Cholesky in the given order.

    Another order of the coordinates is another coupling when the scale changes between worlds;
    with a constant scale matrix it does not matter.
    """

    name: ClassVar[str] = "whitened"

    def _noise_law(self, base: Any) -> Any:
        zero = base.loc.new_zeros(base.event_shape)
        return dist.Normal(zero, 1.0).to_event(1)

    def _sample_noise(self, base: Any, shape: torch.Size) -> Tensor:
        full = shape + base.event_shape
        return torch.randn(full, dtype=base.loc.dtype, device=base.loc.device)

    def _push(self, noise: Tensor, base: Any) -> Tensor:
        return base.loc + (base.scale_tril @ noise.unsqueeze(-1)).squeeze(-1)

    def _abduct(self, value: Tensor, base: Any) -> Tensor:
        require_possible(are_finite(value), value, base)
        centred = (value - base.loc).unsqueeze(-1)
        solved = torch.linalg.solve_triangular(base.scale_tril, centred, upper=False)
        return solved.squeeze(-1)

    def _transport(self, value: Tensor, source: Any, target: Any) -> Tensor:
        noise = self._abduct(value, source)
        change = ((target.scale_tril - source.scale_tril) @ noise.unsqueeze(-1)).squeeze(-1)
        by_change = value + ((target.loc - source.loc) + change)
        # by the change: bitwise the value if nothing changes; afresh: right for a far smaller scale
        is_same = (target.scale_tril == source.scale_tril).flatten(-2).all(-1, keepdim=True)
        return torch.where(is_same, by_change, self._push(noise, target))


class BaseNoise(Coupling):
    """The base distribution's noise, pushed through the bijections: transforms and flows."""

    name: ClassVar[str] = "base noise"

    def for_family(self, fn: Any) -> Coupling:
        """Itself, if the base has a deterministic coupling and the transforms are bijective."""
        for transform in fn.transforms:
            if not transform.bijective:
                raise ProgramError(
                    f"{type(fn).__name__} uses {transform!r}, which is not bijective, so a value "
                    "does not give its noise back; expected bijective transforms; use a "
                    "bijection, or `FoldedDistribution` for an absolute value"
                )
        if not coupling_for(fn.base_dist).is_deterministic:
            raise ProgramError(
                f"{type(fn).__name__} transforms the discrete {type(fn.base_dist).__name__}; "
                "expected a continuous base; sample the base as a site of its own and transform "
                "it with pyro.deterministic"
            )
        return self

    def _noise_event_shape(self, base: Any) -> torch.Size:
        return coupling_for(base.base_dist).noise_event_shape(base.base_dist)

    def _noise_law(self, base: Any) -> Any:
        return coupling_for(base.base_dist).noise_law(base.base_dist)

    def _sample_noise(self, base: Any, shape: torch.Size) -> Tensor:
        return coupling_for(base.base_dist).sample_noise(base.base_dist, shape)

    def _push(self, noise: Tensor, base: Any) -> Tensor:
        return self._forward(coupling_for(base.base_dist).push(noise, base.base_dist), base)

    def _abduct(self, value: Tensor, base: Any) -> Tensor:
        source = self._backward(value, base)
        return coupling_for(base.base_dist).abduct(source, base.base_dist)

    def _transport(self, value: Tensor, source: Any, target: Any) -> Tensor:
        coupling = coupling_for(source.base_dist)
        inner = self._backward(value, source)
        return self._forward(coupling.transport(inner, source.base_dist, target.base_dist), target)

    def _forward(self, value: Tensor, base: Any) -> Tensor:
        for transform in base.transforms:
            value = transform(value)
        return value

    def _backward(self, value: Tensor, base: Any) -> Tensor:
        given = value
        require_possible(base.support.check(value), value, base)
        for transform in reversed(base.transforms):
            try:
                value = transform.inv(value)
            except (NotImplementedError, KeyError) as error:
                raise ProgramError(
                    f"{type(transform).__name__} in {type(base).__name__} cannot be inverted at a "
                    "value it did not produce; expected a transform with an inverse; use a flow "
                    "such as affine_coupling, spline or affine_autoregressive"
                ) from error
        n = value.dim() - len(base.base_dist.event_shape)
        is_finite = value.isfinite().flatten(n).all(-1) if n < value.dim() else value.isfinite()
        require_possible(is_finite, given, base)
        return value


class NormalisedGumbels(Coupling):
    """Relaxed categorical: ``log_softmax((logits + noise) / temperature)``.

    Gumbel noise matters up to a constant only; the noise here is the Gumbels less their
    log-sum-exp, which the value fixes.
    """

    name: ClassVar[str] = "normalised Gumbels"

    def _noise_law(self, base: Any) -> Any:
        one = base.logits.new_ones(())
        law = ExpRelaxedCategorical(one, logits=base.logits.new_zeros(base.event_shape))
        return dist.TransformedDistribution(law, [])

    def _push(self, noise: Tensor, base: Any) -> Tensor:
        return ((base.logits + noise) / base.temperature).log_softmax(-1)

    def _abduct(self, value: Tensor, base: Any) -> Tensor:
        require_possible(are_finite(value), value, base)
        return (base.temperature * value - base.logits).log_softmax(-1)


class Recomputed(Coupling):
    """A deterministic site: its value follows from the parents and there is no noise."""

    name: ClassVar[str] = "recomputed"
    abduction: ClassVar[str] = "none"

    def _noise_event_shape(self, base: Any) -> torch.Size:
        return torch.Size()

    def _noise_law(self, base: Any) -> Any:
        return dist.Delta(base.v.new_zeros(()))

    def _sample_noise(self, base: Any, shape: torch.Size) -> Tensor:
        return torch.zeros(shape, dtype=base.v.dtype, device=base.v.device)

    def _push(self, noise: Tensor, base: Any) -> Tensor:
        shape = broadcast_shapes(noise.shape, base.batch_shape) + base.event_shape
        return base.v.expand(shape)

    def _abduct(self, value: Tensor, base: Any) -> Tensor:
        loose = 64 * torch.finfo(base.v.dtype).eps if base.v.is_floating_point() else 0.0
        same = torch.isclose(value.to(base.v.dtype), base.v, rtol=loose, atol=loose)
        require_possible(same, value, base)
        n = same.dim() - len(base.event_shape)
        return torch.zeros(same.shape[:n], dtype=base.v.dtype, device=base.v.device)
