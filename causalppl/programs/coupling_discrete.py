"""Couplings of discrete families: quantile (monotone) and Gumbel-max, with their exact laws.

References:
    Oberst and Sontag (2019), Counterfactual off-policy evaluation with Gumbel-max SCMs.
"""

from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor

from causalppl.exceptions import ProgramError
from causalppl.programs.counts import Counts, bernoulli_logits, counts_of, log_mass, log_probs
from causalppl.programs.coupling_continuous import ContinuousQuantile
from causalppl.programs.couplings import Coupling, require_possible
from causalppl.programs.noise_posteriors import (
    ArgmaxRegion,
    CountGivenInterval,
    Interval,
    MonotoneBernoulli,
    NoiseGivenValue,
    draw_between,
)
from causalppl.programs.standard_forms import reference_tensor
from causalppl.shapes import broadcast_shapes

_INF = float("inf")
_ONE_HOT = torch.distributions.OneHotCategorical
_CATEGORICAL = (torch.distributions.Categorical, _ONE_HOT)


class Quantile(Coupling):
    """Monotone: the value is the smallest ``k`` with ``logit F(k)`` at least the noise.

    The noise is standard logistic, in float64 for any family, so that rare values keep an
    interval of their own. A Bernoulli site is 1 when the noise exceeds ``-logits``, that is when
    the uniform ``sigmoid(noise)`` exceeds ``1 - p``. For a continuous family this coupling turns
    into :class:`ContinuousQuantile`.

    Example:
        >>> rare, common = dist.Bernoulli(torch.tensor(1e-9)), dist.Bernoulli(torch.tensor(0.5))
        >>> Quantile().conditional_law(torch.tensor(1.0), rare, common).log_prob(torch.tensor(1.0))
        tensor(0.)
    """

    name: ClassVar[str] = "quantile"
    abduction: ClassVar[str] = "exact: noise on an interval"
    is_deterministic: ClassVar[bool] = False
    is_chained: ClassVar[bool] = True

    def for_family(self, fn: Any) -> Coupling:
        """Itself for an ordered discrete family, the continuous quantile coupling otherwise."""
        if not fn.support.is_discrete:
            return ContinuousQuantile().for_family(fn)
        counts_of(fn)
        return self

    def _noise_event_shape(self, base: Any) -> torch.Size:
        return torch.Size()

    def _noise_law(self, base: Any) -> Any:
        zero = torch.zeros((), dtype=torch.float64, device=reference_tensor(base).device)
        return dist.Logistic(zero, torch.ones_like(zero))

    def _push(self, noise: Tensor, base: Any) -> Tensor:
        with torch.no_grad():
            return _decode(counts_of(base).index(noise), base)

    def _abduct(self, value: Tensor, base: Any) -> Tensor:
        with torch.no_grad():
            low, high = _interval(value, base)
            return draw_between(low, high, broadcast_shapes(low.shape, high.shape))

    def _transport(self, value: Tensor, source: Any, target: Any) -> Tensor:
        return self._push(self._abduct(value, source), target)

    def _posterior_noise(self, value: Tensor, base: Any) -> Any:
        region = Interval(*_interval(value, base))
        return NoiseGivenValue(region, region.low.shape, torch.Size())

    def _conditional_law(self, values: list[Tensor], bases: list[Any], target: Any) -> Any:
        low, high = _interval(values[0], bases[0])
        for value, base in zip(values[1:], bases[1:], strict=True):
            left, right = _interval(value, base)
            low, high = torch.maximum(low, left), torch.minimum(high, right)
            require_possible(low < high, _encode(value, base), base)
        dtype = reference_tensor(target).dtype
        if isinstance(target, torch.distributions.Bernoulli):
            cut = -bernoulli_logits(target)
            one = log_mass(torch.maximum(low, cut), high)
            zero = log_mass(low, torch.minimum(high, cut))
            return MonotoneBernoulli((one - zero).to(dtype))
        if not isinstance(target, _CATEGORICAL):
            return CountGivenInterval(target, low, high)
        k = torch.arange(log_probs(target).shape[-1], device=low.device)
        shape = broadcast_shapes(low.shape, target.batch_shape)
        grid = k.reshape((-1,) + (1,) * len(shape)).expand(-1, *shape)
        left, right = counts_of(target).interval(grid)
        both = log_mass(torch.maximum(left, low), torch.minimum(right, high))
        return _categorical(both.movedim(0, -1), target)


class GumbelMax(Coupling):
    """``value = argmax(logits + noise)`` with standard Gumbel noise for each category.

    It has counterfactual stability: raising the odds of the value seen, relative to every other
    category, never changes it.

    References:
        Oberst and Sontag (2019), Counterfactual off-policy evaluation with Gumbel-max structural
        causal models, theorem 2.

    Example:
        >>> p, q = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.25, 0.25, 0.5])
        >>> law = GumbelMax().conditional_law(
        ...     torch.tensor(0), dist.Categorical(p), dist.Categorical(q)
        ... )
        >>> law.probs
        tensor([0.5000, 0.0000, 0.5000])
    """

    name: ClassVar[str] = "Gumbel-max"
    abduction: ClassVar[str] = "exact: truncated Gumbels"
    is_deterministic: ClassVar[bool] = False

    def for_family(self, fn: Any) -> Coupling:
        """Itself, for a categorical family."""
        if not isinstance(fn, _CATEGORICAL):
            raise ProgramError(
                f"{type(fn).__name__} is not categorical; expected Categorical or "
                "OneHotCategorical for the Gumbel-max coupling; leave the site's coupling at its "
                "default"
            )
        return self

    def _noise_event_shape(self, base: Any) -> torch.Size:
        return log_probs(base).shape[-1:]

    def _noise_law(self, base: Any) -> Any:
        like = reference_tensor(base)
        zero = like.new_zeros(self._noise_event_shape(base))
        return dist.Gumbel(zero, torch.ones_like(zero)).to_event(1)

    def _sample_noise(self, base: Any, shape: torch.Size) -> Tensor:
        like = reference_tensor(base)
        full = shape + self._noise_event_shape(base)
        return -like.new_empty(full).exponential_().log()

    def _push(self, noise: Tensor, base: Any) -> Tensor:
        return _decode((_logits(base) + noise).argmax(-1), base)

    def _region(self, value: Tensor, base: Any) -> ArgmaxRegion:
        index, logits = _encode(value, base), _logits(base)
        _require_category(index, logits, base)
        return ArgmaxRegion(index.long(), logits)

    def _abduct(self, value: Tensor, base: Any) -> Tensor:
        with torch.no_grad():
            region = self._region(value, base)
            return region(-torch.empty_like(region.logits).exponential_().log())

    def _posterior_noise(self, value: Tensor, base: Any) -> Any:
        region = self._region(value, base)
        return NoiseGivenValue(region, region.logits.shape[:-1], region.logits.shape[-1:])

    def _conditional_law(self, values: list[Tensor], bases: list[Any], target: Any) -> Any:
        if len(values) > 1:
            raise ProgramError(
                f"found values of {len(values)} known worlds; expected one, for the Gumbel-max "
                "coupling has no closed law beyond; use `posterior_noise` of one world as "
                "auxiliary noise, or the `Quantile()` coupling for the site"
            )
        index, source = _encode(values[0], bases[0]), log_probs(bases[0])
        _require_category(index, source, bases[0])
        p, q = torch.broadcast_tensors(source.exp(), log_probs(target).exp())
        row = gumbel_max_row(index.long(), p, q)
        is_zero = row <= 0
        return _categorical(torch.where(is_zero, -_INF, row.masked_fill(is_zero, 1).log()), target)


def gumbel_max_row(index: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """``P(Y' = . | Y = index)`` when two categorical worlds share their Gumbels.

    With ``E_k ~ Exp(1)``, ``Y = argmin E_k / p_k`` and ``Y' = argmin E_k / q_k``, write
    ``C(x) = sum_k max(p_k (1 - x), q_k x)`` and ``x_k = p_k / (p_k + q_k)``. Then

    - ``P(Y = i, Y' = i) = p_i (1 - x_i) / C(x_i)``,
    - ``P(Y = i, Y' = j) = p_i q_j`` times the integral of ``C(x)^-2`` from ``x_j`` to ``x_i``,
      and zero if ``x_j >= x_i``,

    and ``C`` is linear between the ``x_k``, so each piece integrates to
    ``(b - a) / (C(a) C(b))``. Sorting makes it ``O(K log K)``.

    Args:
        index: The value seen, shape ``batch``; it has positive probability.
        p: Probabilities where it was seen, shape ``(*batch', K)``.
        q: Probabilities in the other world, same shape.

    Returns:
        Shape ``(*broadcast(batch, batch'), K)``; sums to one.
    """
    total = p + q
    is_void = total == 0
    x = torch.where(is_void, 0.0, p / total.masked_fill(is_void, 1))
    sorted_x, order = x.sort(-1)
    p_sorted, q_sorted = p.gather(-1, order), q.gather(-1, order)
    p_from = p_sorted.flip(-1).cumsum(-1).flip(-1)
    q_before = q_sorted.cumsum(-1) - q_sorted
    height = (1 - sorted_x) * p_from + sorted_x * q_before  # C at the breakpoints
    steps = (sorted_x[..., 1:] - sorted_x[..., :-1]) / (height[..., 1:] * height[..., :-1])
    area = torch.cat([torch.zeros_like(steps[..., :1]), steps.cumsum(-1)], -1)
    back = order.argsort(-1)
    area, height = area.gather(-1, back), height.gather(-1, back)

    shape = broadcast_shapes(index.shape, p.shape[:-1])
    place = index.expand(shape).unsqueeze(-1)
    area, height, q = (t.expand(*shape, t.shape[-1]) for t in (area, height, q))
    own = (torch.where(is_void, 0.0, q / total.masked_fill(is_void, 1))).expand_as(q)
    row = q * (area.gather(-1, place) - area).clamp(min=0)
    stay = own.gather(-1, place) / height.gather(-1, place)
    row = row.scatter(-1, place, stay)
    return row / row.sum(-1, keepdim=True)


def _interval(value: Tensor, base: Any) -> tuple[Tensor, Tensor]:
    index = _encode(value, base)
    counts: Counts = counts_of(base)
    low, high = counts.interval(index)
    require_possible((low < high) & (index == index.floor()), index, base)
    return low, high


def _logits(base: Any) -> Tensor:
    return log_probs(base).to(reference_tensor(base).dtype)


def _require_category(index: Tensor, logits: Tensor, base: Any) -> None:
    last = logits.shape[-1] - 1
    is_code = (index >= 0) & (index <= last) & (index == index.floor())
    shape = broadcast_shapes(index.shape, logits.shape[:-1])
    place = index.nan_to_num().long().clamp(0, last).expand(shape).unsqueeze(-1)
    chance = logits.expand(*shape, last + 1).gather(-1, place).squeeze(-1)
    require_possible(is_code & (chance > -_INF), index, base)


def _encode(value: Tensor, base: Any) -> Tensor:
    """The value as a code, float64; -1 for a vector that is not one-hot."""
    if not isinstance(base, _ONE_HOT):
        return value.double()
    is_one_hot = ((value == 0) | (value == 1)).all(-1) & (value.sum(-1) == 1)
    return torch.where(is_one_hot, value.argmax(-1).double(), -1.0)


def _decode(index: Tensor, base: Any) -> Tensor:
    """The code as a value of the family."""
    if isinstance(base, _ONE_HOT):
        classes = base.event_shape[-1]
        hot = torch.nn.functional.one_hot(index.long(), classes)
        return hot.to(reference_tensor(base).dtype)
    if isinstance(base, torch.distributions.Categorical):
        return index.long()
    return index.to(reference_tensor(base).dtype)


def _categorical(logits: Tensor, target: Any) -> Any:
    family = dist.OneHotCategorical if isinstance(target, _ONE_HOT) else dist.Categorical
    return family(logits=logits.to(reference_tensor(target).dtype), validate_args=False)
