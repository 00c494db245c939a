"""One suite for every coupling, run on every family that has one.

Random data are drawn once from a fixed seed; a Kolmogorov-Smirnov or chi-squared test fails at
p < 1e-5, so over about 150 tests a false alarm had chance 0.0015 when the seed was chosen.
"""

import pyro.distributions as dist
import pytest
import torch
from scipy import stats
from torch.distributions.relaxed_bernoulli import LogitRelaxedBernoulli

from causalppl.exceptions import ImpossibleEvidenceError, ProgramError
from causalppl.programs import structural
from causalppl.programs.structural import GumbelMax, LocationScale, Quantile, coupling_for
from causalppl.seeding import forked_rng

FALSE_ALARM = 1e-5
BATCH = 64


def _build(name, n, dtype):
    """A family with parameters drawn per entry, batch shape ``(*n,)``."""

    def u(low, high, *event):
        return low + (high - low) * torch.rand((*n, *event), dtype=dtype)

    def tril(d):
        return torch.eye(d, dtype=dtype) + 0.5 * torch.tril(torch.rand((*n, d, d), dtype=dtype))

    built = {
        "Normal": lambda: dist.Normal(u(-1, 1), u(0.5, 2)),
        "Laplace": lambda: dist.Laplace(u(-1, 1), u(0.5, 2)),
        "Cauchy": lambda: dist.Cauchy(u(-1, 1), u(0.5, 2)),
        "Gumbel": lambda: dist.Gumbel(u(-1, 1), u(0.5, 2)),
        "Logistic": lambda: dist.Logistic(u(-1, 1), u(0.5, 2)),
        "SoftLaplace": lambda: dist.SoftLaplace(u(-1, 1), u(0.5, 2)),
        "Uniform": lambda: dist.Uniform(u(-1, 0), u(0.5, 2)),
        "Exponential": lambda: dist.Exponential(u(0.5, 2)),
        "HalfNormal": lambda: dist.HalfNormal(u(0.5, 2)),
        "HalfCauchy": lambda: dist.HalfCauchy(u(0.5, 2)),
        "LogitRelaxedBernoulli": lambda: dist.TransformedDistribution(
            LogitRelaxedBernoulli(u(0.5, 1), logits=u(-1, 1)), []
        ),
        "Gamma": lambda: dist.Gamma(u(0.5, 4), u(0.5, 2)),
        "Chi2": lambda: dist.Chi2(u(1, 6)),
        "Beta": lambda: dist.Beta(u(0.5, 4), u(0.5, 4)),
        "StudentT": lambda: dist.StudentT(u(1.5, 9), u(-1, 1), u(0.5, 2)),
        "FisherSnedecor": lambda: dist.FisherSnedecor(u(1, 6), u(2, 9)),
        "VonMises": lambda: dist.VonMises(u(-3, 3), u(0.2, 60)),
        "Kumaraswamy": lambda: dist.Kumaraswamy(u(0.5, 3), u(0.5, 3)),
        "ContinuousBernoulli": lambda: dist.ContinuousBernoulli(u(0.1, 0.9)),
        "AsymmetricLaplace": lambda: dist.AsymmetricLaplace(u(-1, 1), u(0.5, 2), u(0.5, 2)),
        "SkewLogistic": lambda: dist.SkewLogistic(u(-1, 1), u(0.5, 2), u(0.5, 2)),
        "FoldedDistribution": lambda: dist.FoldedDistribution(dist.Normal(u(-1, 1), u(0.5, 2))),
        "mixture of normals": lambda: dist.MixtureSameFamily(
            dist.Categorical(u(0.1, 1, 3)), dist.Normal(u(-3, 3, 3), u(0.3, 1, 3))
        ),
        "mixture of log-normals": lambda: dist.MixtureSameFamily(
            dist.Categorical(u(0.1, 1, 2)), dist.LogNormal(u(-1, 1, 2), u(0.3, 1, 2))
        ),
        "mixture of gammas": lambda: dist.MixtureSameFamily(
            dist.Categorical(u(0.1, 1, 2)), dist.Gamma(u(0.5, 4, 2), u(0.3, 1, 2))
        ),
        "MultivariateNormal": lambda: dist.MultivariateNormal(u(-1, 1, 3), scale_tril=tril(3)),
        "LowRankMultivariateNormal": lambda: dist.LowRankMultivariateNormal(
            u(-1, 1, 3), u(-1, 1, 3, 1), u(0.3, 1, 3)
        ),
        "LogNormal": lambda: dist.LogNormal(u(-1, 1), u(0.5, 1)),
        "LogisticNormal": lambda: dist.LogisticNormal(u(-1, 1, 2), u(0.5, 1, 2)),
        "Weibull": lambda: dist.Weibull(u(0.5, 2), u(0.7, 3)),
        "Pareto": lambda: dist.Pareto(u(0.5, 2), u(1, 3)),
        "InverseGamma": lambda: dist.InverseGamma(u(1, 4), u(0.5, 2)),
        "RelaxedBernoulli": lambda: dist.RelaxedBernoulli(
            torch.tensor(0.7, dtype=dtype), u(0.1, 0.9)
        ),
        "RelaxedOneHotCategorical": lambda: dist.RelaxedOneHotCategorical(
            torch.tensor(0.7, dtype=dtype), u(0.1, 0.9, 3)
        ),
        "AffineBeta": lambda: dist.AffineBeta(u(1, 4), u(1, 4), u(-1, 1), u(0.5, 2)),
        "affine-exp-affine": lambda: dist.TransformedDistribution(
            dist.Normal(u(-1, 1), u(0.5, 1)),
            [
                dist.transforms.AffineTransform(u(-1, 1), -u(0.5, 1)),
                dist.transforms.ExpTransform(),
            ],
        ),
        "Bernoulli": lambda: dist.Bernoulli(u(0.05, 0.95)),
        "Bernoulli by logits": lambda: dist.Bernoulli(logits=u(-3, 3)),
        "Binomial": lambda: dist.Binomial(20, u(0.05, 0.95)),
        "Poisson": lambda: dist.Poisson(u(0.1, 9)),
        "Geometric": lambda: dist.Geometric(u(0.1, 0.9)),
        "NegativeBinomial": lambda: dist.NegativeBinomial(u(0.5, 4), u(0.1, 0.8)),
        "BetaBinomial": lambda: dist.BetaBinomial(u(0.5, 4), u(0.5, 4), total_count=9),
        "GammaPoisson": lambda: dist.GammaPoisson(u(0.5, 4), u(0.5, 2)),
        "OrderedLogistic": lambda: dist.OrderedLogistic(
            u(-2, 2), torch.tensor([-1.0, 0.0, 1.5], dtype=dtype)
        ),
        "ZeroInflatedPoisson": lambda: dist.ZeroInflatedPoisson(u(0.5, 6), gate=u(0.1, 0.6)),
        "ZeroInflatedNegativeBinomial": lambda: dist.ZeroInflatedNegativeBinomial(
            u(0.5, 4), probs=u(0.1, 0.7), gate_logits=u(-2, 0)
        ),
        "Categorical": lambda: dist.Categorical(u(0.05, 1, 4)),
        "OneHotCategorical": lambda: dist.OneHotCategorical(u(0.05, 1, 4)),
        "Delta": lambda: dist.Delta(u(-1, 1)),
    }
    if name == "GeneralizedPareto":
        return dist.GeneralizedPareto(u(-1, 1), u(0.5, 2), u(-0.3, 0.5))
    return built[name]() if name is not None else list(built)


FAMILIES = _build(None, (), torch.float32)
if hasattr(torch.distributions, "GeneralizedPareto"):
    FAMILIES.append("GeneralizedPareto")

CHOICES = {
    "Categorical, quantile": ("Categorical", Quantile()),
    "OneHotCategorical, quantile": ("OneHotCategorical", Quantile()),
    "Normal, quantile": ("Normal", Quantile()),
    "Laplace, quantile": ("Laplace", Quantile()),
    "Cauchy, quantile": ("Cauchy", Quantile()),
    "Gumbel, quantile": ("Gumbel", Quantile()),
    "Logistic, quantile": ("Logistic", Quantile()),
    "SoftLaplace, quantile": ("SoftLaplace", Quantile()),
    "Uniform, quantile": ("Uniform", Quantile()),
    "Exponential, quantile": ("Exponential", Quantile()),
    "HalfNormal, quantile": ("HalfNormal", Quantile()),
    "HalfCauchy, quantile": ("HalfCauchy", Quantile()),
    "Weibull, quantile": ("Weibull", Quantile()),
    "InverseGamma, quantile": ("InverseGamma", Quantile()),
}
CASES = [*FAMILIES, *CHOICES]


def build(case, *n, dtype=torch.float64, seed=0):
    family, choice = CHOICES.get(case, (case, None))
    with forked_rng(seed):
        fn = _build(family, n, dtype)
    return fn, coupling_for(fn, choice)


def draw(fn, seed=1, shape=()):
    with forked_rng(seed), torch.no_grad():
        return fn.sample(shape)


def assert_same_law(first, second):
    """Each coordinate of two samples: chi-squared if few values, else Kolmogorov-Smirnov."""
    first, second = (t.reshape(len(t), -1).T for t in (first, second))
    for a, b in zip(first, second, strict=True):
        values = torch.unique(torch.cat([a, b]))
        if len(values) == 1:
            continue
        if len(values) < 40:
            table = torch.stack([(a == v).sum() + (b == v).sum() for v in values])
            common = values[table >= 20]
            count = [[int((x == v).sum()) for v in common] for x in (a, b)]
            rest = [int((~torch.isin(x, common)).sum()) for x in (a, b)]
            if sum(rest) >= 20:
                count = [[*c, r] for c, r in zip(count, rest, strict=True)]
            p = stats.chi2_contingency(count).pvalue if len(count[0]) > 1 else 1.0
        else:
            p = stats.ks_2samp(a.double().numpy(), b.double().numpy()).pvalue
        assert p > FALSE_ALARM


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_pushing_the_abducted_noise_returns_the_value(case, dtype):
    fn, coupling = build(case, 200, dtype=dtype)
    value = draw(fn)
    with forked_rng(2):
        noise = coupling.abduct(value, fn)
    assert noise.shape == (200, *coupling.noise_event_shape(fn))
    back = coupling.push(noise, fn)
    assert back.dtype == value.dtype
    if coupling.is_deterministic:
        # relative to the noise's rounding, which a heavy tail magnifies
        loose = 1e-9 if dtype == torch.float64 else 2e-3
        torch.testing.assert_close(back, value, rtol=loose, atol=loose * 1e-3)
    else:
        assert torch.equal(back, value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_transport_to_an_equal_world_is_the_identity(case, dtype):
    fn, coupling = build(case, 200, dtype=dtype)
    again, _ = build(case, 200, dtype=dtype)
    value = draw(fn)
    with forked_rng(3):
        moved = coupling.transport(value, fn, again)
    if coupling.name in ("location-scale", "whitened", "Gumbel-max", "recomputed"):
        assert torch.equal(moved, value)
    else:
        loose = 32 * torch.finfo(dtype).eps
        torch.testing.assert_close(moved, value, rtol=loose, atol=loose)


@pytest.mark.parametrize("case", CASES)
def test_pushed_noise_has_the_law_of_the_family(case):
    fn, coupling = build(case)
    with forked_rng(4):
        noise = coupling.sample_noise(fn, (4000,))
    assert noise.shape == (4000, *coupling.noise_event_shape(fn))
    assert_same_law(coupling.push(noise, fn), draw(fn, shape=(4000,)))


@pytest.mark.parametrize("case", CASES)
def test_abducted_noise_has_the_prior_law_whatever_the_parents(case):
    fn, coupling = build(case, 4000)
    with forked_rng(5):
        noise = coupling.abduct(draw(fn), fn)
        prior = coupling.noise_law(fn).sample((4000,))
        drawn = coupling.sample_noise(fn, (4000,))
    assert_same_law(noise, prior)
    assert_same_law(drawn, prior)


@pytest.mark.parametrize("case", CASES)
def test_transport_to_another_world_has_that_worlds_law(case):
    source, coupling = build(case, seed=6)
    target, _ = build(case, seed=7)
    value = draw(source, shape=(4000,))
    with forked_rng(8):
        moved = (
            coupling.push(coupling.sample_noise(source, (4000,)), target)
            if coupling.name == "recomputed"
            else coupling.transport(value, source, target)
        )
    assert_same_law(moved, draw(target, seed=9, shape=(4000,)))


@pytest.mark.parametrize("case", CASES)
def test_noise_broadcasts_over_a_world_axis(case):
    fn, coupling = build(case, 5)
    worlds, _ = build(case, 3, 5)
    value = draw(fn)
    with forked_rng(10):
        noise = coupling.abduct(value, fn)
    pushed = coupling.push(noise, worlds)
    assert pushed.shape == (3, 5, *fn.event_shape)
    for w in range(3):
        full = coupling.push(noise.expand(3, *noise.shape), worlds)
        torch.testing.assert_close(pushed[w], full[w], rtol=1e-12, atol=1e-12)
    if coupling.name != "recomputed":
        with forked_rng(10):
            moved = coupling.transport(value, fn, worlds)
        torch.testing.assert_close(moved, pushed, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_wrappers_do_not_change_the_coupling(case):
    fn, coupling = build(case, 2, 4)
    wrapped = fn.to_event(1).mask(False)
    assert repr(coupling_for(wrapped)) == repr(coupling_for(fn))
    value = draw(fn)
    with forked_rng(11):
        noise = coupling.abduct(value, fn)
    with forked_rng(11):
        assert torch.equal(coupling.abduct(value, wrapped), noise)
    assert torch.equal(coupling.push(noise, wrapped), coupling.push(noise, fn))
    assert coupling.noise_event_shape(wrapped) == (4, *coupling.noise_event_shape(fn))
    assert coupling.noise_law(wrapped).event_shape == coupling.noise_event_shape(wrapped)
    assert coupling.sample_noise(wrapped, (7,)).shape == (7, *coupling.noise_event_shape(wrapped))
    wide = dist.ExpandedDistribution(fn, (3, 2, 4))
    assert coupling.push(noise, wide).shape == (3, 2, 4, *fn.event_shape)


@pytest.mark.parametrize("case", CASES)
def test_missing_evidence_is_refused_rather_than_carried_along(case):
    fn, coupling = build(case, 4)
    value = draw(fn).double().clone()
    value[2] = float("nan")
    with pytest.raises(ImpossibleEvidenceError, match="no probability"):
        coupling.abduct(value, fn)


@pytest.mark.parametrize("case", [c for c in CASES if not build(c)[1].is_deterministic])
def test_the_posterior_of_the_noise_normalises_and_gives_the_value_back(case):
    fn, coupling = build(case, 50)
    value = draw(fn)
    law = coupling.posterior_noise(value, fn)
    with forked_rng(12):
        noise = law.sample((200,))
    assert torch.equal(coupling.push(noise, fn), value.expand(200, *value.shape))
    # prior = P(value) * posterior inside the region, so the log ratio is the log mass everywhere
    ratio = coupling.noise_law(fn).log_prob(noise) - law.log_prob(noise)
    torch.testing.assert_close(ratio, fn.log_prob(value).expand(200, 50), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", [c for c in CASES if not build(c)[1].is_deterministic])
def test_the_conditional_law_agrees_with_draws_of_transport(case):
    source, coupling = build(case, seed=13)
    target, _ = build(case, seed=14)
    value = draw(source)
    law = coupling.conditional_law(value, source, target)
    many = value.expand(4000, *value.shape)
    with forked_rng(15):
        moved = coupling.transport(many, source, target)
        drawn = law.sample((4000,))
    assert_same_law(moved, drawn)
    assert bool(law.log_prob(moved).isfinite().all())


def test_every_registered_family_is_in_this_suite():
    tested = {build(case)[0] for case in CASES}
    names = {type(fn).__name__ for fn in tested} | {"LogitRelaxedBernoulli"}
    names |= {"ExpRelaxedCategorical"}  # the base of RelaxedOneHotCategorical
    table = {family for family, _, _ in structural.coupling_table() if family != "MyNormal"}
    # the abstract one is tested by its two children
    assert table - {"ZeroInflatedDistribution"} <= names


def test_a_choice_that_cannot_serve_is_refused():
    with pytest.raises(ProgramError, match="not categorical"):
        coupling_for(dist.Normal(0.0, 1.0), GumbelMax())
    with pytest.raises(ProgramError, match="besides location and scale"):
        coupling_for(dist.Gamma(1.0, 1.0), LocationScale())
