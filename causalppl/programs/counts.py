# ruff: noqa: D102 - the base class documents the methods
"""Distribution functions of ordered discrete families, as thresholds on the logit scale.

The value is ``k`` when the logistic noise lies in ``(t_{k-1}, t_k]``, ``t_k = logit F(k)``.
Thresholds are float64 whatever the family's dtype, and accurate in both tails, so that evidence
of probability 1e-9, or 1e-100, has an interval of its own.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import singledispatch
from typing import Any

import pyro.distributions as dist
import torch
from scipy import special
from torch import Tensor
from torch.nn.functional import logsigmoid

from causalppl.exceptions import ProgramError
from causalppl.programs.numeric_laws import by_numpy
from causalppl.programs.standard_laws import Tails, log1mexp
from causalppl.shapes import broadcast_shapes

_INF = float("inf")
_FAR_OUT = -80.0


def log_mass(low: Tensor, high: Tensor) -> Tensor:
    """Log probability that logistic noise lies in ``(low, high]``; ``-inf`` if that is empty."""
    is_empty = ~(low < high)
    # sigma(b) - sigma(a) = sigma(b) sigma(-a) (1 - e^(a - b)), free of cancellation
    gap = torch.where(is_empty, -1.0, low - high)
    mass = logsigmoid(high) + logsigmoid(-low) + log1mexp(gap)
    return torch.where(is_empty, -_INF, mass)


class Counts(ABC):
    """Values ``0, 1, 2, ...`` with thresholds between them."""

    @abstractmethod
    def threshold(self, k: Tensor) -> Tensor:
        """``logit F(k)``, float64; ``-inf`` below zero, ``inf`` from the top value on."""

    @abstractmethod
    def index(self, noise: Tensor) -> Tensor:
        """The smallest ``k`` whose threshold reaches the noise."""

    def interval(self, k: Tensor) -> tuple[Tensor, Tensor]:
        """The noise's interval given the value."""
        return self.threshold(k - 1), self.threshold(k)


class Coin(Counts):
    """Two values with one threshold.

    Args:
        cut: Shape ``batch``, float64.
    """

    def __init__(self, cut: Tensor) -> None:
        self.cut = cut

    def threshold(self, k: Tensor) -> Tensor:
        return torch.where(k < 0, -_INF, torch.where(k >= 1, _INF, self.cut))

    def index(self, noise: Tensor) -> Tensor:
        return noise > self.cut

    def interval(self, k: Tensor) -> tuple[Tensor, Tensor]:
        is_one = k == 1
        # a value that is neither gets an empty interval
        none = torch.where(k == 0, self.cut, -_INF)
        return torch.where(is_one, self.cut, -_INF), torch.where(is_one, _INF, none)


class Ladder(Counts):
    """Finitely many values, all thresholds listed.

    Args:
        thresholds: Increasing, shape ``(*batch, K - 1)``, float64.
    """

    def __init__(self, thresholds: Tensor) -> None:
        self.thresholds = thresholds

    def threshold(self, k: Tensor) -> Tensor:
        steps = self.thresholds.shape[-1]
        shape = broadcast_shapes(k.shape, self.thresholds.shape[:-1])
        place = k.long().clamp(0, steps - 1).expand(shape).unsqueeze(-1)
        inner = self.thresholds.expand(*shape, steps).gather(-1, place).squeeze(-1)
        return torch.where(k < 0, -_INF, torch.where(k >= steps, _INF, inner))

    def index(self, noise: Tensor) -> Tensor:
        return (noise.unsqueeze(-1) > self.thresholds).sum(-1)


class Search(Counts):
    """Many or infinitely many values; the value is searched from a normal guess.

    Args:
        log_tails: ``k`` to ``(log F(k), log(1 - F(k)))`` for ``k >= 0``.
        mean: To start the search.
        stddev: Likewise.
        top: The largest value, or infinity.
    """

    def __init__(
        self,
        log_tails: Callable[[Tensor], Tails],
        mean: Tensor,
        stddev: Tensor,
        top: Tensor | None = None,
    ) -> None:
        self.log_tails, self.mean, self.stddev, self.top = log_tails, mean, stddev, top

    def threshold(self, k: Tensor) -> Tensor:
        k = k.double()
        inside = k.clamp(min=0)
        if self.top is not None:
            inside = torch.minimum(inside, (self.top - 1).clamp(min=0))
        below, above = self.log_tails(inside)
        inner = torch.where(below == above, 0.0, below - above)
        if self.top is not None:
            inner = torch.where(k >= self.top, _INF, inner)
        return torch.where(k < 0, -_INF, inner)

    def index(self, noise: Tensor) -> Tensor:
        with torch.no_grad():
            low, high = self._bracket(noise)
            while bool((high - low > 1).any()):
                middle = ((low + high) / 2).floor()
                reaches = self.threshold(middle) >= noise
                low, high = torch.where(reaches, low, middle), torch.where(reaches, middle, high)
        return high

    def _bracket(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """``low < answer <= high`` by doubling steps away from a normal guess."""
        z = -torch.special.ndtri(torch.sigmoid(-noise.abs())) * noise.sign()
        guess = self.mean.double() + self.stddev.double() * z.clamp(-30, 30)
        high = guess.round().clamp(min=0)
        low, step = high - 1, torch.ones_like(high)
        for _ in range(1000):
            too_low = self.threshold(high) < noise
            too_high = self.threshold(low) >= noise
            if not bool((too_low | too_high).any()):
                return low, high
            high = torch.where(too_high, low, high)
            low = torch.where(too_high, (low - step).clamp(min=-1), low)
            low = torch.where(too_low, high, low)
            high = torch.where(too_low, high + step, high)
            step = torch.where(too_low | too_high, 2 * step, step)
        raise ProgramError(
            "no value reaches the noise; expected a distribution function that rises to one; "
            "check the site's parameters for NaN"
        )


@singledispatch
def counts_of(fn: Any) -> Counts:
    """The thresholds of an ordered discrete family; register further types on it.

    Raises:
        ProgramError: The type is not known here.
    """
    raise ProgramError(
        f"the distribution function of {type(fn).__name__} is not known; expected an ordered "
        "discrete family of pyro.distributions; choose another coupling, or register the family "
        "with `counts_of.register`"
    )


def log_probs(fn: Any) -> Tensor:
    """Log probabilities of a categorical family, as given: not clamped, ``-inf`` for zero.

    Shape ``(*batch, K)``, float64, normalised.
    """
    own = getattr(fn, "_categorical", fn).__dict__
    if "probs" not in own:
        return own["logits"].double().log_softmax(-1)
    probs = own["probs"].double()
    exact = probs.masked_fill(probs == 0, 1).log()
    # torch derives logits from probabilities clamped at eps; logits further out were given as such
    floor = own["logits"].double() if "logits" in own else torch.full_like(exact, -_INF)
    floor = torch.where(floor < _FAR_OUT, floor, -_INF)
    return torch.where(probs == 0, floor, exact)


def bernoulli_logits(fn: Any) -> Tensor:
    """Log odds of one, as given: not clamped, infinite for probabilities zero and one.

    Shape ``batch``, float64.
    """
    own = fn.__dict__
    if "probs" not in own:
        return own["logits"].double()
    probs = own["probs"].double()
    exact = probs.log() - torch.log1p(-probs)
    if "logits" not in own:
        return exact
    # one of the two was derived: probabilities round to one, derived logits are clamped
    logits = own["logits"].double()
    clamp = -math.log(torch.finfo(own["logits"].dtype).eps)
    is_derived = torch.where(probs < 0.5, logits > _FAR_OUT, (probs == 1) & (logits < clamp + 0.7))
    return torch.where(is_derived, exact, logits)


@counts_of.register(torch.distributions.Bernoulli)
def _(fn: Any) -> Counts:
    return Coin(-bernoulli_logits(fn))


@counts_of.register(torch.distributions.Categorical)
@counts_of.register(torch.distributions.OneHotCategorical)
def _(fn: Any) -> Counts:
    return Ladder(_ladder(log_probs(fn)))


@counts_of.register(dist.OrderedLogistic)
def _(fn: Any) -> Counts:
    return Ladder(fn.cutpoints.double() - fn.predictor.double().unsqueeze(-1))


@counts_of.register(dist.BetaBinomial)
def _(fn: Any) -> Counts:
    total = fn.total_count.double()
    k = torch.arange(int(total.max()) + 1, dtype=torch.float64, device=total.device)
    a, b = fn.concentration1.double().unsqueeze(-1), fn.concentration0.double().unsqueeze(-1)
    n = total.unsqueeze(-1)
    rest = (n - k).clamp(min=0)
    log_pmf = (
        torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(rest + 1)
        + torch.lgamma(k + a) + torch.lgamma(rest + b) - torch.lgamma(n + a + b)
        - torch.lgamma(a) - torch.lgamma(b) + torch.lgamma(a + b)
    )  # fmt: skip
    return Ladder(_ladder(torch.where(k > n, -_INF, log_pmf)))


def _ladder(log_pmf: Tensor) -> Tensor:
    below = log_pmf.logcumsumexp(-1)[..., :-1]
    above = log_pmf.flip(-1).logcumsumexp(-1).flip(-1)[..., 1:]
    return torch.where(below == above, 0.0, below - above)


@counts_of.register(torch.distributions.Poisson)
def _(fn: Any) -> Counts:
    rate = fn.rate.double()

    def log_tails(k: Tensor) -> Tails:
        below = torch.special.gammaincc(k + 1, rate)
        return below.log(), torch.special.gammainc(k + 1, rate).log()

    return Search(log_tails, rate, rate.sqrt())


@counts_of.register(torch.distributions.Geometric)
def _(fn: Any) -> Counts:
    return _GeometricCounts(logsigmoid(-bernoulli_logits(fn)))


class _GeometricCounts(Counts):
    """``log(1 - F(k)) = (k + 1) log(1 - p)``, inverted in closed form."""

    def __init__(self, log_stay: Tensor) -> None:
        self.log_stay = log_stay

    def threshold(self, k: Tensor) -> Tensor:
        above = (k.clamp(min=0) + 1) * self.log_stay
        return torch.where(k < 0, -_INF, log1mexp(above) - above)

    def index(self, noise: Tensor) -> Tensor:
        with torch.no_grad():
            k = (logsigmoid(-noise) / self.log_stay).ceil().clamp(min=1) - 1
            # rounding may leave the guess one off
            k = torch.where(self.threshold(k) < noise, k + 1, k)
            return torch.where(self.threshold(k - 1) >= noise, k - 1, k)


@counts_of.register(torch.distributions.Binomial)
def _(fn: Any) -> Counts:
    p, q, n = *_success(fn), fn.total_count.double()

    def log_tails(k: Tensor) -> Tails:
        rest = (n - k).clamp(min=1)
        return _log_betainc(rest, k + 1, q, p)

    return Search(log_tails, n * p, (n * p * q).sqrt(), n)


@counts_of.register(torch.distributions.NegativeBinomial)
def _(fn: Any) -> Counts:
    return _negative_binomial(fn.total_count.double(), *_success(fn))


@counts_of.register(dist.GammaPoisson)
def _(fn: Any) -> Counts:
    rate = fn.rate.double()
    return _negative_binomial(fn.concentration.double(), 1 / (1 + rate), rate / (1 + rate))


def _negative_binomial(r: Tensor, p: Tensor, q: Tensor) -> Counts:
    def log_tails(k: Tensor) -> Tails:
        return _log_betainc(r, k + 1, q, p)

    return Search(log_tails, r * p / q, (r * p).sqrt() / q)


def _success(fn: Any) -> tuple[Tensor, Tensor]:
    """The probability of success and that of failure."""
    logits = bernoulli_logits(fn)
    return torch.sigmoid(logits), torch.sigmoid(-logits)


def _log_betainc(a: Tensor, b: Tensor, x: Tensor, rest: Tensor) -> Tails:
    """``log I_x(a, b)`` and ``log(1 - I_x(a, b))``, with ``rest = 1 - x``; by scipy."""
    below = by_numpy(special.betainc, a, b, x)
    return below.log(), by_numpy(special.betainc, b, a, rest).log()


@counts_of.register(dist.ZeroInflatedDistribution)
def _(fn: Any) -> Counts:
    inner = counts_of(fn.base_dist)
    if "gate" in fn.__dict__:
        gate = fn.gate.double()
        log_zero, log_rest = gate.log(), torch.log1p(-gate)
    else:
        logits = fn.gate_logits.double()
        log_zero, log_rest = logsigmoid(logits), logsigmoid(-logits)
    return _ZeroInflated(inner, log_zero, log_rest)


class _ZeroInflated(Counts):
    """``1 - F(k) = (1 - gate) (1 - F_0(k))``: the inner noise is a stretch of the outer."""

    def __init__(self, inner: Counts, log_zero: Tensor, log_rest: Tensor) -> None:
        self.inner, self.log_zero, self.log_rest = inner, log_zero, log_rest

    def threshold(self, k: Tensor) -> Tensor:
        inner = self.inner.threshold(k)
        above = self.log_rest + logsigmoid(-inner)
        below = torch.logaddexp(self.log_zero, self.log_rest + logsigmoid(inner))
        return torch.where(k < 0, -_INF, below - above)

    def index(self, noise: Tensor) -> Tensor:
        with torch.no_grad():
            above = logsigmoid(-noise) - self.log_rest
            is_zero = above >= 0
            safe = torch.where(is_zero, -1.0, above)
            k = self.inner.index(log1mexp(safe) - safe)
            k = torch.where(is_zero, 0.0, k)
            # rounding may leave the guess one off
            k = torch.where(self.threshold(k) < noise, k + 1, k)
            return torch.where(self.threshold(k - 1) >= noise, k - 1, k)
