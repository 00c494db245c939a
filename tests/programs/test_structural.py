"""Couplings against independent truths: scipy's distribution functions, enumeration, rejection.

Monte Carlo comparisons use fixed seeds and fail at p < 1e-5 or at five standard errors.
"""

import itertools
import math
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import MCMC, NUTS
from scipy import stats
from scipy.integrate import quad
from torch.distributions import biject_to

from causalppl.exceptions import ImpossibleEvidenceError, ProgramError
from causalppl.programs import couplings
from causalppl.programs.counts import counts_of
from causalppl.programs.coupling_discrete import gumbel_max_row
from causalppl.programs.standard_forms import standard_form
from causalppl.programs.structural import (
    Coupling,
    GumbelMax,
    Quantile,
    Recomputed,
    coupling_for,
    coupling_table,
    refusal_table,
    register_coupling,
)
from causalppl.seeding import forked_rng

DOUBLE = torch.float64


def t(*values):
    return torch.tensor(values if len(values) > 1 else values[0], dtype=DOUBLE)


# -- continuous -----------------------------------------------------------------------------------


def test_a_plain_normal_site_carries_its_residual_to_the_other_world():
    coupling = coupling_for(dist.Normal(0.0, 1.0))
    x = torch.tensor([1.0, 0.0])
    moved = coupling.transport(torch.tensor(3.0), dist.Normal(2.0, 1.0), dist.Normal(2 * x, 1.0))
    assert torch.equal(moved, torch.tensor([3.0, 1.0]))


def test_a_value_twelve_deviations_out_is_carried_exactly():
    coupling = coupling_for(dist.Normal(0.0, 1.0))
    value = torch.tensor([12.0, -40.0])
    moved = coupling.transport(value, dist.Normal(0.0, 1.0), dist.Normal(1.0, 2.0))
    assert torch.equal(moved, torch.tensor([25.0, -79.0]))


def test_a_far_smaller_scale_loses_no_digits():
    coupling = coupling_for(dist.Normal(0.0, 1.0))
    moved = coupling.transport(torch.tensor(2.0), dist.Normal(0.0, 1.0), dist.Normal(0.0, 1e-6))
    torch.testing.assert_close(moved, torch.tensor(2e-6), rtol=1e-6, atol=0)


SCIPY = {
    "normal": (dist.Normal(t(0.3), t(2.0)), stats.norm(0.3, 2)),
    "laplace": (dist.Laplace(t(0.3), t(2.0)), stats.laplace(0.3, 2)),
    "cauchy": (dist.Cauchy(t(0.3), t(2.0)), stats.cauchy(0.3, 2)),
    "logistic": (dist.Logistic(t(0.3), t(2.0)), stats.logistic(0.3, 2)),
    "gumbel": (dist.Gumbel(t(0.3), t(2.0)), stats.gumbel_r(0.3, 2)),
    "soft laplace": (dist.SoftLaplace(t(0.3), t(2.0)), stats.hypsecant(0.3, 2)),
    "uniform": (dist.Uniform(t(1.0), t(3.0)), stats.uniform(1, 2)),
    "exponential": (dist.Exponential(t(0.5)), stats.expon(0, 2)),
    "half normal": (dist.HalfNormal(t(2.0)), stats.halfnorm(0, 2)),
    "half cauchy": (dist.HalfCauchy(t(2.0)), stats.halfcauchy(0, 2)),
    "gamma": (dist.Gamma(t(0.7), t(2.0)), stats.gamma(0.7, scale=0.5)),
    "large gamma": (dist.Gamma(t(400.0), t(2.0)), stats.gamma(400, scale=0.5)),
    "chi2": (dist.Chi2(t(3.0)), stats.chi2(3)),
    "beta": (dist.Beta(t(0.7), t(2.5)), stats.beta(0.7, 2.5)),
    "student": (dist.StudentT(t(2.5), t(0.3), t(2.0)), stats.t(2.5, 0.3, 2)),
    "many df": (dist.StudentT(t(300.0), t(0.3), t(2.0)), stats.t(300, 0.3, 2)),
    "fisher": (dist.FisherSnedecor(t(3.0), t(7.0)), stats.f(3, 7)),
    "weibull": (dist.Weibull(t(2.0), t(1.5)), stats.weibull_min(1.5, scale=2)),
    "pareto": (dist.Pareto(t(2.0), t(1.5)), stats.pareto(1.5, scale=2)),
    "lognormal": (dist.LogNormal(t(0.3), t(0.8)), stats.lognorm(0.8, scale=math.exp(0.3))),
    "inverse gamma": (dist.InverseGamma(t(2.0), t(3.0)), stats.invgamma(2, scale=3)),
    "folded": (dist.FoldedDistribution(dist.Normal(t(1.0), t(1.0))), stats.foldnorm(1.0)),
    "asymmetric": (
        dist.AsymmetricLaplace(t(0.3), t(2.0), t(1.5)),
        stats.laplace_asymmetric(1.5, 0.3, 2),
    ),
    "skew": (dist.SkewLogistic(t(0.3), t(2.0), t(1.5)), stats.genlogistic(1.5, 0.3, 2)),
    "narrow circle": (dist.VonMises(t(0.0), t(30.0)), stats.vonmises(30)),
    "wide circle": (dist.VonMises(t(0.0), t(0.4)), stats.vonmises(0.4)),
}


@pytest.mark.parametrize("name", SCIPY)
def test_the_quantile_noise_is_the_logit_of_scipys_distribution_function(name):
    fn, reference = SCIPY[name]
    coupling = coupling_for(fn, Quantile())
    level = np.array([1e-12, 1e-6, 0.01, 0.3, 0.5, 0.7, 0.99])
    upper = np.array([1e-3, 1e-8, 1e-12])
    if name in ("narrow circle", "wide circle", "folded"):  # scipy is right to 1e-14 only
        level, upper = level[2:], upper[:1]
    x = np.concatenate([reference.ppf(level), reference.isf(upper)])
    expected = torch.tensor(reference.logcdf(x) - reference.logsf(x))
    loose = 1e-5 if "circle" in name else 1e-8  # scipy's circular law is itself approximate
    noise = coupling.abduct(torch.tensor(x), fn)
    torch.testing.assert_close(noise, expected, rtol=loose, atol=loose)
    torch.testing.assert_close(coupling.push(noise, fn), torch.tensor(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kappa", [0.01, 1.0, 30.0, 2000.0])
def test_the_circular_tail_is_the_integral_of_the_density(kappa):
    fn = dist.VonMises(t(0.0), t(kappa))
    for x in np.array([0.1, 1.0, 5.0, 12.0]) / math.sqrt(kappa):
        if x < math.pi:
            end = min(math.pi, x + 12 / math.sqrt(kappa))
            density = stats.vonmises(kappa).pdf
            tail = quad(density, x, end, epsabs=0, epsrel=1e-12, limit=200)[0]
            noise = coupling_for(fn).abduct(t(x), fn)
            assert float(noise) == pytest.approx(math.log1p(-tail) - math.log(tail), rel=1e-9)


def test_ranks_are_kept_when_the_shape_parameter_differs():
    pairs = [
        (
            dist.Gamma(t(2.0), t(1.0)),
            dist.Gamma(t(0.5), t(3.0)),
            (2,),
            (0.5, 0, 1 / 3),
            stats.gamma,
        ),
        (dist.Beta(t(2.0), t(1.0)), dist.Beta(t(0.5), t(3.0)), (2, 1), (0.5, 3), stats.beta),
        (dist.StudentT(t(2.0)), dist.StudentT(t(9.0)), (2,), (9,), stats.t),
    ]
    for source, target, before, after, law in pairs:
        u = np.array([1e-10, 0.1, 0.5, 0.9])
        given = torch.tensor(law(*before).ppf(u))
        moved = coupling_for(source).transport(given, source, target)
        np.testing.assert_allclose(law(*after).cdf(moved.numpy()), u, rtol=1e-9)


def test_a_mixtures_noise_is_the_logit_of_the_mixed_distribution_function():
    weights, loc, scale = t(0.2, 0.5, 0.3), t(-4.0, 0.0, 5.0), t(0.5, 1.0, 0.1)
    fn = dist.MixtureSameFamily(dist.Categorical(weights), dist.Normal(loc, scale))
    x = torch.linspace(-6, 6, 41, dtype=DOUBLE)
    cdf = (weights * dist.Normal(loc, scale).cdf(x.unsqueeze(-1))).sum(-1)
    survival = (weights * dist.Normal(-loc, scale).cdf(-x.unsqueeze(-1))).sum(-1)
    noise = coupling_for(fn).abduct(x, fn)
    torch.testing.assert_close(noise, cdf.log() - survival.log(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(coupling_for(fn).push(noise, fn), x, rtol=1e-6, atol=1e-6)


def test_a_bounded_value_stays_inside_the_support_in_float32():
    fn = dist.Beta(torch.tensor(0.02), torch.tensor(0.02))
    with forked_rng(0):
        value = coupling_for(fn).push(coupling_for(fn).sample_noise(fn, (5000,)), fn)
    assert bool(((value > 0) & (value < 1)).all())


def _differentiable(build, *parameters, value):
    coupling = coupling_for(build(*parameters))

    def push(noise, *p):
        return coupling.push(noise, build(*p))

    def abduct(x, *p):
        return coupling.abduct(x, build(*p))

    def transport(x, *p):
        return coupling.transport(x, build(*parameters), build(*p))

    inputs = [p.detach().clone().requires_grad_() for p in parameters]
    noise = abduct(value, *parameters).detach().requires_grad_()
    value = value.clone().requires_grad_()
    other = [(1.1 * p).detach().requires_grad_() for p in parameters]
    for function, first, rest in (
        (push, noise, inputs),
        (abduct, value, inputs),
        (transport, value, other),
    ):
        assert torch.autograd.gradcheck(function, (first, *rest), eps=1e-5, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("build", "parameters", "value"),
    [
        (dist.Normal, (t(0.3), t(1.2)), t(0.5, 2.0)),
        (dist.Exponential, (t(0.3),), t(0.5, 2.0)),
        (dist.Weibull, (t(1.3), t(1.2)), t(0.5, 2.0)),
        (dist.LogNormal, (t(0.3), t(1.2)), t(0.5, 2.0)),
        (dist.Gamma, (t(1.3), t(1.2)), t(0.5, 2.0)),
        (dist.Beta, (t(1.3), t(1.2)), t(0.2, 0.7)),
        (dist.StudentT, (t(3.3), t(0.5), t(1.2)), t(0.2, 0.7)),
        (dist.VonMises, (t(0.3), t(2.2)), t(0.2, 0.7)),
        (dist.Kumaraswamy, (t(1.3), t(1.2)), t(0.2, 0.7)),
        (
            lambda w, loc: dist.MixtureSameFamily(
                dist.Categorical(logits=w), dist.Normal(loc, 1.0 + 0 * loc)
            ),
            (t(0.3, 0.1), t(-1.0, 2.0)),
            t(0.2, 0.7),
        ),
        (
            lambda loc, tril: dist.MultivariateNormal(loc, scale_tril=tril.tril()),
            (t(0.3, 0.1), t([1.0, 0.0], [0.3, 2.0])),
            t(0.2, 0.7),
        ),
    ],
)
def test_push_abduct_and_transport_are_differentiable(build, parameters, value):
    _differentiable(build, *parameters, value=value)


@pytest.mark.parametrize(
    ("fn", "value", "family"),
    [
        (dist.Gamma(1.0, 1.0), -1.0, "Gamma"),
        (dist.Beta(1.0, 1.0), 1.5, "Beta"),
        (dist.Exponential(1.0), -0.5, "Exponential"),
        (dist.Uniform(0.0, 1.0), 1.5, "Uniform"),
        (dist.LogNormal(0.0, 1.0), -1.0, "LogNormal"),
        (dist.Pareto(1.0, 1.0), 0.5, "Pareto"),
        (dist.Normal(0.0, 1.0), math.inf, "Normal"),
        (dist.Bernoulli(0.0), 1.0, "Bernoulli"),
        (dist.Bernoulli(1.0), 0.0, "Bernoulli"),
        (dist.Bernoulli(0.5), 0.5, "Bernoulli"),
        (dist.Poisson(1.0), 1.5, "Poisson"),
        (dist.Poisson(1.0), -1.0, "Poisson"),
        (dist.Binomial(3, 0.5), 4.0, "Binomial"),
        (dist.Categorical(torch.tensor([0.5, 0.5, 0.0])), 2, "Categorical"),
        (dist.Categorical(torch.tensor([0.5, 0.5])), 2, "Categorical"),
        (dist.Categorical(torch.tensor([0.5, 0.5])), -1, "Categorical"),
        (dist.Delta(torch.tensor(1.0)), 2.0, "Delta"),
    ],
)
def test_impossible_evidence_is_named(fn, value, family):
    given = torch.tensor([value])
    with pytest.raises(ImpossibleEvidenceError, match=rf"^{family} gives the value {value:g}"):
        coupling_for(fn).abduct(given, fn)
    with pytest.raises(ImpossibleEvidenceError, match=family):
        coupling_for(fn).transport(given, fn, fn)


# -- transforms and flows -------------------------------------------------------------------------


def test_flows_are_inverted_exactly():
    with forked_rng(0):
        flows = [dist.transforms.affine_coupling(2), dist.transforms.spline(2)]
        base = dist.Normal(torch.zeros(2), torch.ones(2)).to_event(1)
        fn = dist.TransformedDistribution(base, flows)
        shifted = dist.TransformedDistribution(
            base, [*flows, dist.transforms.AffineTransform(torch.tensor([1.0, 2.0]), 1.0, 1)]
        )
        value = fn.sample((50,)).detach()
    moved = coupling_for(fn).transport(value, fn, shifted)
    torch.testing.assert_close(moved, value + torch.tensor([1.0, 2.0]), rtol=1e-4, atol=1e-4)


def test_a_conditional_flow_shares_its_base_noise_between_contexts():
    with forked_rng(1):
        flow = dist.transforms.conditional_spline(1, context_dim=1, hidden_dims=[4])
    base = dist.Normal(torch.zeros(1), torch.ones(1)).to_event(1)
    conditional = dist.ConditionalTransformedDistribution(base, [flow])
    contexts = [conditional.condition(torch.tensor([c])) for c in (0.0, 2.0)]
    noise = torch.linspace(-2, 2, 9).unsqueeze(-1)
    coupling = coupling_for(contexts[0])
    first, second = (coupling.push(noise, fn).detach() for fn in contexts)
    moved = coupling.transport(first, *contexts).detach()
    torch.testing.assert_close(moved, second, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(first, second)


def test_what_cannot_be_inverted_is_refused():
    normal = dist.Normal(torch.zeros(2), torch.ones(2)).to_event(1)
    with forked_rng(0):
        planar = dist.TransformedDistribution(normal, [dist.transforms.planar(2)])
    with pytest.raises(ProgramError, match="cannot be inverted"):
        coupling_for(planar).abduct(torch.zeros(2), planar)
    absolute = dist.TransformedDistribution(
        dist.Normal(0.0, 1.0), [torch.distributions.AbsTransform()]
    )
    with pytest.raises(ProgramError, match="not bijective"):
        coupling_for(absolute)


# -- quantile, discrete ---------------------------------------------------------------------------


def probabilities(law, size):
    return law.log_prob(torch.arange(size)).exp()


def overlaps(p, q):
    """The joint law of two quantile-coupled variables, from interval lengths."""
    F, G = np.concatenate([[0], np.cumsum(p)]), np.concatenate([[0], np.cumsum(q)])
    lengths = np.minimum.outer(F[1:], G[1:]) - np.maximum.outer(F[:-1], G[:-1])
    return np.clip(lengths, 0, None)


def test_the_quantile_law_is_the_overlap_of_intervals():
    p, q = t(0.1, 0.4, 0.0, 0.5), t(0.3, 0.3, 0.3, 0.1)
    joint = overlaps(p.numpy(), q.numpy())
    for i in (0, 1, 3):
        law = Quantile().conditional_law(torch.tensor(i), dist.Categorical(p), dist.Categorical(q))
        np.testing.assert_allclose(probabilities(law, 4), joint[i] / p[i].item(), atol=1e-12)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (dist.Poisson(t(2.0)), dist.Poisson(t(5.0))),
        (dist.Binomial(8, t(0.3)), dist.Binomial(8, t(0.6))),
        (dist.Geometric(t(0.3)), dist.Geometric(t(0.7))),
        (dist.NegativeBinomial(t(2.0), t(0.3)), dist.NegativeBinomial(t(2.0), t(0.5))),
        (dist.GammaPoisson(t(2.0), t(0.8)), dist.GammaPoisson(t(3.0), t(0.8))),
        (
            dist.BetaBinomial(t(2.0), t(0.8), total_count=6),
            dist.BetaBinomial(t(1.0), t(3.0), total_count=6),
        ),
        (
            dist.ZeroInflatedPoisson(t(3.0), gate=t(0.4)),
            dist.ZeroInflatedPoisson(t(2.0), gate=t(0.1)),
        ),
    ],
    ids=lambda fn: type(fn).__name__,
)
def test_counts_have_the_overlap_law_and_marginalise_to_the_target(source, target):
    top = source.total_count + 1 if hasattr(source, "total_count") else 80
    size = int(top) if type(source).__name__ in ("Binomial", "BetaBinomial") else 80
    k = torch.arange(size, dtype=DOUBLE)
    p, q = source.log_prob(k).exp(), target.log_prob(k).exp()
    seen = torch.nonzero(p > 1e-9).flatten()
    law = coupling_for(source).conditional_law(k[seen], source, target)
    rows = law.log_prob(k.unsqueeze(-1)).exp().T  # (seen, value)
    np.testing.assert_allclose(rows.sum(-1), 1, atol=1e-9)
    np.testing.assert_allclose(p[seen] @ rows, q, atol=1e-8)
    joint = overlaps(p.numpy(), q.numpy())[seen.numpy()]
    np.testing.assert_allclose(p[seen].unsqueeze(-1) * rows, joint, atol=1e-9)


def test_any_number_of_known_worlds_meet_in_one_interval():
    with forked_rng(3):
        tables = torch.rand(4, 3, dtype=DOUBLE).softmax(-1)
    worlds = [dist.Categorical(p) for p in tables[:3]]
    target = dist.Categorical(tables[3])
    ends = torch.cat([torch.zeros(4, 1, dtype=DOUBLE), tables.cumsum(-1)], -1)
    total = 0.0
    for values in itertools.product(range(3), repeat=3):
        low = max(ends[w, v] for w, v in enumerate(values))
        high = min(ends[w, v + 1] for w, v in enumerate(values))
        seen = [torch.tensor(v) for v in values]
        if low >= high:
            with pytest.raises(ImpossibleEvidenceError):
                Quantile().conditional_law_many(seen, worlds, target)
            continue
        total += high - low
        law = Quantile().conditional_law_many(seen, worlds, target)
        for j in range(3):
            both = max(0.0, min(high, ends[3, j + 1]) - max(low, ends[3, j]))
            assert float(law.probs[j]) == pytest.approx(float(both / (high - low)), abs=1e-9)
    assert float(total) == pytest.approx(1)


def test_bernoulli_is_monotone_with_one_above_the_failure_probability():
    noise = torch.logit(t(0.05, 0.69, 0.71, 0.95))
    assert Quantile().push(noise, dist.Bernoulli(t(0.3))).tolist() == [0, 0, 1, 1]


def test_bernoulli_law_has_exact_zeros():
    rare, common = dist.Bernoulli(torch.tensor(0.2)), dist.Bernoulli(torch.tensor(0.8))
    law = coupling_for(rare).conditional_law(torch.tensor([0.0, 1.0]), rare, common)
    both = law.log_prob(law.enumerate_support()).exp()
    torch.testing.assert_close(both, torch.tensor([[0.25, 0.0], [0.75, 1.0]]))
    assert law.log_prob(torch.tensor([0.0, 0.0]))[1] == -math.inf
    assert law.expand((3, 2)).log_prob(torch.tensor(1.0)).shape == (3, 2)


@pytest.mark.parametrize(
    ("fn", "value"),
    [
        (dist.Bernoulli(torch.tensor(1e-9)), 1.0),
        (dist.Bernoulli(torch.tensor(1e-30)), 1.0),
        (dist.Bernoulli(logits=torch.tensor(-60.0)), 1.0),
        (dist.Bernoulli(logits=torch.tensor(60.0)), 0.0),
        (dist.Poisson(torch.tensor(1.0)), 60.0),
        (dist.Binomial(100, torch.tensor(0.01)), 60.0),
        (dist.OrderedLogistic(torch.tensor(0.0), torch.tensor([0.0, 4e-9, 1.0])), 1),
        (dist.Categorical(torch.tensor([0.5, 1e-9, 0.5])), 1),
        (dist.Geometric(torch.tensor(0.9)), 100.0),
    ],
)
def test_rare_evidence_costs_no_precision_in_float32(fn, value):
    given = torch.full((200,), value)
    for coupling in {coupling_for(fn), Quantile()}:
        with forked_rng(0):
            assert torch.equal(coupling.push(coupling.abduct(given, fn), fn).float(), given)


def test_a_rare_middle_category_needs_gumbels_when_its_interval_is_too_short_to_hold():
    fn, value = dist.Categorical(torch.tensor([0.5, 1e-30, 0.5])), torch.tensor([1])
    with forked_rng(0):
        assert GumbelMax().push(GumbelMax().abduct(value, fn), fn) == 1
    with pytest.raises(ImpossibleEvidenceError, match="floating point can hold"):
        Quantile().abduct(value, fn)


def test_a_rare_effect_stays_when_it_becomes_likely():
    rare, even = dist.Bernoulli(torch.tensor(1e-9)), dist.Bernoulli(torch.tensor(0.5))
    law = Quantile().conditional_law(torch.tensor([1.0, 0.0]), rare, even)
    np.testing.assert_allclose(law.probs, [1.0, 0.5], rtol=1e-6)
    back = Quantile().conditional_law(torch.tensor(1.0), even, rare)
    assert back.log_prob(torch.tensor(1.0)).exp().item() == pytest.approx(2e-9, rel=1e-6)


def test_the_probability_survives_expanding_after_the_logits_were_read():
    fn = dist.Bernoulli(torch.tensor(1e-9))
    fn.log_prob(torch.tensor(1.0))  # caches logits, clamped by torch
    cut = counts_of(fn.expand((2,))).threshold(t(0.0))
    np.testing.assert_allclose(cut, math.log(1e9), rtol=1e-6)


def test_ordered_logistic_is_the_latent_variable_of_the_textbook():
    cutpoints, predictor = t(-1.0, 0.5, 2.0), t(0.7)
    fn = dist.OrderedLogistic(predictor, cutpoints)
    noise = torch.linspace(-5, 5, 101, dtype=DOUBLE)
    latent = (predictor + noise).unsqueeze(-1)
    assert torch.equal(coupling_for(fn).push(noise, fn), (latent > cutpoints).sum(-1))


def test_interval_noise_is_uniform_on_its_interval():
    fn = dist.Poisson(t(3.0))
    with forked_rng(4):
        noise = coupling_for(fn).abduct(t(2.0).expand(5000), fn)
    low, high = stats.poisson(3).cdf([1, 2])
    u = (torch.sigmoid(noise).numpy() - low) / (high - low)
    assert stats.kstest(u, "uniform").pvalue > 1e-5
    assert float(noise.mean()) != 0


# -- Gumbel-max -----------------------------------------------------------------------------------


def _rows(p, q):
    return gumbel_max_row(torch.arange(len(p)), p, q)


@pytest.mark.parametrize(
    ("p", "q"),
    [
        ([0.1, 0.3, 0.05, 0.55], [0.4, 0.1, 0.2, 0.3]),
        ([0.2, 0.3, 0.5, 0.0], [0.0, 0.5, 0.2, 0.3]),
        ([0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0.0, 0.0]),
    ],
)
def test_the_gumbel_max_law_agrees_with_brute_force(p, q):
    draws, size = 400_000, len(p)
    p, q = torch.tensor(p, dtype=DOUBLE), torch.tensor(q, dtype=DOUBLE)
    with forked_rng(5):
        gumbels = -torch.empty(draws, size, dtype=DOUBLE).exponential_().log()
    pair = (p.log() + gumbels).argmax(-1) * size + (q.log() + gumbels).argmax(-1)
    found = torch.bincount(pair, minlength=size**2).reshape(size, size) / draws
    seen = p > 0
    joint = p[seen].unsqueeze(-1) * gumbel_max_row(torch.arange(size)[seen], p, q)
    error = (joint * (1 - joint) / draws).sqrt()
    assert bool(((found[seen] - joint).abs() <= 5 * error + 1e-12).all())


@pytest.mark.parametrize("size", [2, 5, 40])
def test_the_gumbel_max_law_sums_to_one_and_marginalises_to_the_target(size):
    with forked_rng(size):
        p, q = torch.randn(2, size, dtype=DOUBLE).mul(3).softmax(-1)
    rows = _rows(p, q)
    np.testing.assert_allclose(rows.sum(-1), 1, rtol=1e-12)
    np.testing.assert_allclose(p @ rows, q, atol=1e-12)
    # the coupling has no direction: P(Y = i, Y' = j) is the same from the other side
    joint, mirrored = p.unsqueeze(-1) * rows, q.unsqueeze(-1) * _rows(q, p)
    np.testing.assert_allclose(joint, mirrored.T, atol=1e-12)


def test_gumbel_max_is_counterfactually_stable():
    # category 2 loses relative to the value seen, so it is never switched to
    p, q = t(0.2, 0.3, 0.5), t(0.4, 0.5, 0.1)
    rows = _rows(p, q)
    for i, j in itertools.permutations(range(3), 2):
        if q[i] / p[i] >= q[j] / p[j]:
            assert rows[i, j] == 0
    torch.testing.assert_close(_rows(p, p), torch.eye(3, dtype=DOUBLE), rtol=0, atol=1e-15)


def test_gumbel_max_rare_evidence_keeps_its_law():
    p, q = t(1e-9, 0.5, 0.5), t(0.4, 0.35, 0.25)
    p = p / p.sum()
    law = GumbelMax().conditional_law(torch.tensor(0), dist.Categorical(p), dist.Categorical(q))
    with forked_rng(6):
        noise = GumbelMax().abduct(torch.zeros(100_000), dist.Categorical(p))
    found = torch.bincount(GumbelMax().push(noise, dist.Categorical(q)), minlength=3) / 100_000
    np.testing.assert_allclose(law.probs, found, atol=5 * math.sqrt(0.25 / 100_000))


def test_truncated_gumbels_agree_with_rejection():
    fn, value = dist.Categorical(t(0.2, 0.3, 0.5)), 1
    with forked_rng(7):
        prior = GumbelMax().sample_noise(fn, (40_000,))
        kept = prior[GumbelMax().push(prior, fn) == value]
        drawn = GumbelMax().abduct(torch.full((len(kept),), value), fn)
    for k in range(3):
        assert stats.ks_2samp(kept[:, k], drawn[:, k]).pvalue > 1e-5
    first, second = torch.cov(kept.T), torch.cov(drawn.T)
    torch.testing.assert_close(first, second, rtol=0.1, atol=0.05)


def test_gumbel_max_refuses_a_second_known_world():
    fn = dist.Categorical(t(0.2, 0.3, 0.5))
    with pytest.raises(ProgramError, match="2 known worlds"):
        GumbelMax().conditional_law_many([torch.tensor(0)] * 2, [fn] * 2, fn)


def test_one_hot_and_coded_categories_have_one_law():
    p, q = t(0.2, 0.3, 0.5), t(0.5, 0.1, 0.4)
    for coupling in (GumbelMax(), Quantile()):
        coded = coupling.conditional_law(torch.tensor(1), dist.Categorical(p), dist.Categorical(q))
        hot = coupling.conditional_law(
            t(0.0, 1.0, 0.0), dist.OneHotCategorical(p), dist.OneHotCategorical(q)
        )
        torch.testing.assert_close(hot.probs, coded.probs)
        assert hot.event_shape == (3,)
    with pytest.raises(ImpossibleEvidenceError):
        GumbelMax().abduct(t(1.0, 1.0, 0.0), dist.OneHotCategorical(p))


def test_the_law_of_several_worlds_and_units_has_their_batch_shape():
    with forked_rng(8):
        source = dist.Categorical(torch.rand(5, 3)).to_event(1)
        target = dist.Categorical(torch.rand(2, 5, 3)).to_event(1)
    value = torch.tensor([0, 1, 2, 1, 0])
    for coupling in (GumbelMax(), Quantile()):
        law = coupling.conditional_law(value, source, target)
        assert (law.batch_shape, law.event_shape) == ((2,), (5,))
        for w, u in itertools.product(range(2), range(5)):
            one = coupling.conditional_law(
                value[u],
                dist.Categorical(source.base_dist.probs[u]),
                dist.Categorical(target.base_dist.probs[w, u]),
            )
            torch.testing.assert_close(law.base_dist.probs[w, u], one.probs)


@pytest.mark.parametrize("coupling", [GumbelMax(), Quantile()], ids=repr)
def test_conditional_laws_are_differentiable(coupling):
    p = dist.Categorical(t(0.2, 0.3, 0.5))

    def law(logits):
        return coupling.conditional_law(torch.tensor(1), p, dist.Categorical(logits=logits)).probs

    logits = t(0.3, 0.2, -0.4).requires_grad_()
    assert torch.autograd.gradcheck(law, (logits,), eps=1e-6, atol=1e-6)


# -- the noise given the value ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("fn", "value"),
    [
        (dist.Bernoulli(t(0.3)), t(1.0)),
        (dist.Bernoulli(t(0.3)), t(0.0)),
        (dist.Poisson(t(3.0)), t(2.0)),
        (dist.Poisson(t(3.0)), t(14.0)),
        (dist.Categorical(t(0.2, 0.3, 0.5)), torch.tensor(1)),
        (dist.Categorical(t(0.2, 0.3, 0.0, 0.5)), torch.tensor(0)),
    ],
)
def test_the_region_is_a_bijection_with_the_volume_it_claims(fn, value):
    law = coupling_for(fn).posterior_noise(value, fn)
    onto = biject_to(law.support)
    with forked_rng(9):
        x = torch.randn(20, *law.event_shape, dtype=DOUBLE)
    y = onto(x)
    torch.testing.assert_close(onto.inv(y), x, rtol=1e-6, atol=1e-6)
    assert bool(law.support.check(y).all())
    claimed = onto.log_abs_det_jacobian(x, y)
    for i in range(20):
        J = torch.autograd.functional.jacobian(onto, x[i]).reshape(x[i].numel(), -1)
        assert float(claimed[i]) == pytest.approx(float(torch.linalg.slogdet(J)[1]), abs=1e-6)
    outside = coupling_for(fn).sample_noise(fn, (500,)).to(DOUBLE)
    is_other = coupling_for(fn).push(outside, fn) != value
    assert bool((law.log_prob(outside[is_other]) == -math.inf).all())
    assert bool(is_other.any())


@pytest.mark.slow
def test_nuts_runs_on_the_noise_given_the_value():
    coin, values = dist.Bernoulli(torch.tensor([0.2, 0.2])), torch.tensor([1.0, 0.0])
    kinds, codes = dist.Categorical(torch.tensor([0.2, 0.3, 0.5])).expand([2]), torch.tensor([1, 0])

    def program():
        with pyro.plate("units", 2):
            pyro.sample("coin", coupling_for(coin).posterior_noise(values, coin))
            pyro.sample("kind", coupling_for(kinds).posterior_noise(codes, kinds))

    with forked_rng(0):
        sampler = MCMC(NUTS(program), 300, 100, disable_progbar=True)
        sampler.run()
        draws = sampler.get_samples()
        exact = coupling_for(kinds).posterior_noise(codes, kinds).sample((20_000,))
    # uniform on (0.8, 1) and (0, 0.8); the tolerance is over five standard errors at ESS 100
    mean = torch.sigmoid(draws["coin"]).mean(0)
    torch.testing.assert_close(mean, t(0.9, 0.4), rtol=0, atol=0.12)
    torch.testing.assert_close(
        draws["kind"].double().mean(0), exact.double().mean(0), rtol=0, atol=0.65
    )
    assert torch.equal(coupling_for(kinds).push(draws["kind"], kinds), codes.expand(300, 2))


# -- the registry -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fn",
    [
        dist.Dirichlet(torch.ones(3)),
        dist.Multinomial(3, torch.ones(3)),
        dist.LKJ(2),
        dist.Stable(1.5, 0.0),
        dist.Unit(torch.tensor(0.0)),
        dist.RelaxedBernoulliStraightThrough(torch.tensor(0.5), torch.tensor(0.5)),
        dist.NanMaskedNormal(0.0, 1.0),
        dist.Empirical(torch.zeros(3), torch.zeros(3)),
    ],
    ids=lambda fn: type(fn).__name__,
)
def test_a_family_without_a_coupling_is_refused_by_name(fn):
    with pytest.raises(ProgramError, match="register_coupling") as caught:
        coupling_for(fn.to_event(0))
    mentioned = "LKJCholesky" if isinstance(fn, dist.LKJ) else type(fn).__name__
    assert mentioned in str(caught.value) or type(fn).__name__ in str(caught.value)


def test_every_family_of_pyro_has_a_coupling_or_a_reason():
    wrappers = {"Distribution", "ExponentialFamily", "TorchDistribution", "Independent"}
    wrappers |= {"ExpandedDistribution", "MaskedDistribution"}
    covered = {family for family, *_ in coupling_table()} | {name for name, _ in refusal_table()}
    for name, family in vars(dist).items():
        if not isinstance(family, type) or not issubclass(family, torch.distributions.Distribution):
            continue
        ancestors = {parent.__name__ for parent in family.__mro__} - wrappers
        assert family.__name__ in wrappers or ancestors & covered, name


def test_a_user_can_register_a_coupling_and_subclasses_inherit_it(monkeypatch):
    monkeypatch.setattr(couplings, "_COUPLINGS", dict(couplings._COUPLINGS))

    class Shifted(dist.Normal):
        pass

    class Further(Shifted):
        pass

    class Fixed(Coupling):
        name = "fixed"

        def _noise_law(self, base):
            return dist.Normal(0.0, 1.0)

        def _push(self, noise, base):
            return base.loc + noise

        def _abduct(self, value, base):
            return value - base.loc

    register_coupling(Shifted, Fixed())
    assert coupling_for(Further(0.0, 2.0)).name == "fixed"
    assert coupling_for(dist.Normal(0.0, 2.0)).name == "location-scale"
    fn = Further(torch.tensor(1.0), 2.0)
    assert coupling_for(fn).transport(torch.tensor(3.0), fn, Further(0.0, 2.0)) == 2
    with pytest.raises(ProgramError, match="is deterministic"):
        coupling_for(fn).conditional_law(torch.tensor(3.0), fn, fn)
    with pytest.raises(ProgramError, match="distribution type"):
        register_coupling(int, Fixed())
    with pytest.raises(ProgramError, match="instance of a subclass"):
        register_coupling(Shifted, Fixed)


def test_a_deterministic_site_is_recomputed():
    fn = dist.Delta(torch.arange(6.0).reshape(2, 3), event_dim=1)
    coupling = coupling_for(fn)
    assert isinstance(coupling, Recomputed)
    noise = coupling.sample_noise(fn, (4, 2))
    assert torch.equal(coupling.push(noise, fn), fn.v.expand(4, 2, 3))


def test_unknown_distribution_functions_are_refused():
    with pytest.raises(ProgramError, match="not known"):
        standard_form(dist.Dirichlet(torch.ones(3)))
    with pytest.raises(ProgramError, match="not known"):
        counts_of(dist.Multinomial(3, torch.ones(3)))


def test_the_documented_table_is_the_registered_one():
    page = (Path(__file__).parents[2] / "docs" / "couplings.md").read_text()
    documented = {
        tuple(cell.strip(" `") for cell in line.split("|")[1:-1])
        for line in page.splitlines()
        if line.startswith("| `")
    }
    rows = set(coupling_table()) | set(refusal_table())
    local = {"MyNormal"}  # of a doctest
    older = {"GeneralizedPareto"}  # documented, yet absent from older releases of torch
    assert {r for r in rows if r[0] not in local} <= documented
    assert {r[0] for r in documented} - {r[0] for r in rows} <= older


@pytest.mark.gpu
def test_noise_follows_the_device():
    device = torch.device("cuda")
    one = torch.ones(4, device=device)
    families = [
        dist.Normal(one, one), dist.Gamma(one, one), dist.StudentT(3 * one, one, one),
        dist.Bernoulli(0.3 * one), dist.Poisson(one), dist.Binomial(5, 0.4 * one),
        dist.Categorical(torch.ones(4, 3, device=device)), dist.VonMises(one, one),
        dist.MultivariateNormal(one, torch.eye(4, device=device)),
        dist.MixtureSameFamily(
            dist.Categorical(torch.ones(4, 2, device=device)),
            dist.Normal(torch.ones(4, 2, device=device), 1.0),
        ),
    ]  # fmt: skip
    for fn in families:
        coupling, value = coupling_for(fn), fn.sample()
        noise = coupling.abduct(value, fn)
        assert noise.device.type == "cuda"
        assert coupling.sample_noise(fn, (4,)).device.type == "cuda"
        torch.testing.assert_close(coupling.push(noise, fn), value, rtol=1e-3, atol=1e-4)
        if not coupling.is_deterministic:
            assert coupling.conditional_law(value, fn, fn).log_prob(value).device.type == "cuda"
            assert coupling.posterior_noise(value, fn).sample().device.type == "cuda"
