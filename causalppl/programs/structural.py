"""Structural form: which family gets which coupling.

Every site is ``value = push(noise, distribution(parents))``, and the coupling says how worlds share
the noise. Counterfactuals depend on it; laws under ``do`` do not. This file fills the registry for
``pyro.distributions`` and gathers the public names; ``docs/couplings.md`` shows the table.
"""

import pyro.distributions as dist
import torch
from torch.distributions.relaxed_bernoulli import LogitRelaxedBernoulli
from torch.distributions.relaxed_categorical import ExpRelaxedCategorical

from causalppl.programs.counts import counts_of
from causalppl.programs.coupling_continuous import (
    BaseNoise,
    ContinuousQuantile,
    LocationScale,
    NormalisedGumbels,
    Recomputed,
    Whitened,
)
from causalppl.programs.coupling_discrete import GumbelMax, Quantile
from causalppl.programs.couplings import (
    Coupling,
    coupling_for,
    coupling_table,
    refusal_table,
    refuse_coupling,
    register_coupling,
)
from causalppl.programs.noise_posteriors import NoiseGivenValue
from causalppl.programs.standard_forms import standard_form

__all__ = [
    "BaseNoise",
    "ContinuousQuantile",
    "Coupling",
    "GumbelMax",
    "LocationScale",
    "NoiseGivenValue",
    "NormalisedGumbels",
    "Quantile",
    "Recomputed",
    "Whitened",
    "counts_of",
    "coupling_for",
    "coupling_table",
    "refusal_table",
    "refuse_coupling",
    "register_coupling",
    "standard_form",
]

_td = torch.distributions

_DEFAULTS: dict[Coupling, tuple[type[_td.Distribution], ...]] = {
    LocationScale(): (
        _td.Normal, _td.Laplace, _td.Cauchy, _td.Gumbel, dist.Logistic, dist.SoftLaplace,
        _td.Uniform, _td.Exponential, _td.HalfNormal, _td.HalfCauchy, LogitRelaxedBernoulli,
    ),
    ContinuousQuantile(): (
        _td.Gamma, _td.Chi2, _td.Beta, _td.StudentT, _td.FisherSnedecor, _td.VonMises,
        _td.Kumaraswamy, _td.ContinuousBernoulli, _td.MixtureSameFamily,
        dist.AsymmetricLaplace, dist.SkewLogistic, dist.FoldedDistribution,
    ),
    Whitened(): (_td.MultivariateNormal, _td.LowRankMultivariateNormal),
    BaseNoise(): (
        _td.TransformedDistribution, _td.LogNormal, _td.LogisticNormal, _td.Weibull, _td.Pareto,
        _td.InverseGamma, dist.InverseGamma, _td.RelaxedBernoulli, _td.RelaxedOneHotCategorical,
        dist.AffineBeta,
    ),
    NormalisedGumbels(): (ExpRelaxedCategorical,),
    Quantile(): (
        _td.Bernoulli, _td.Binomial, _td.Poisson, _td.Geometric, _td.NegativeBinomial,
        dist.BetaBinomial, dist.GammaPoisson, dist.OrderedLogistic,
        dist.ZeroInflatedDistribution, dist.ZeroInflatedPoisson,
        dist.ZeroInflatedNegativeBinomial,
    ),
    GumbelMax(): (_td.Categorical, _td.OneHotCategorical),
    Recomputed(): (dist.Delta,),
}  # fmt: skip

_NO_BIJECTION = "its dimensions have no canonical map from parent-free noise"
_NO_CDF = "its distribution function has no closed or quickly computed form"
_NOT_A_SITE = "it is a term of a density rather than the law of a site"
_SEQUENCE = "it is the law of a whole sequence; write its steps as sites"
_QUANTISED = "its value is rounded while its density is that of the unrounded one"
_MASKED = "missing entries have no noise; leave them out of the evidence instead"

_REFUSED: dict[str, tuple[type[_td.Distribution], ...]] = {
    _NO_BIJECTION: (
        _td.Dirichlet, _td.Multinomial, _td.Wishart, _td.LKJCholesky, dist.LKJ,
        dist.DirichletMultinomial, dist.MultivariateStudentT, dist.ProjectedNormal,
        dist.SineBivariateVonMises, dist.SineSkewed, dist.VonMises3D, dist.SpanningTree,
        dist.OneOneMatching, dist.OneTwoMatching, dist.MixtureOfDiagNormals,
        dist.MixtureOfDiagNormalsSharedCovariance, dist.GaussianScaleMixture,
        dist.GroupedNormalNormal, dist.GaussianMRF, dist.MaskedMixture, dist.Empirical,
    ),
    _NO_CDF: (
        dist.Stable, dist.TruncatedPolyaGamma, dist.LogNormalNegativeBinomial, dist.Rejector,
        dist.SoftAsymmetricLaplace,
    ),
    _NOT_A_SITE: (dist.Unit, dist.ImproperUniform),
    _SEQUENCE: (
        dist.DiscreteHMM, dist.GaussianHMM, dist.GammaGaussianHMM, dist.LinearHMM,
        dist.IndependentHMM, dist.CoalescentTimes, dist.CoalescentTimesWithRate,
    ),
    _QUANTISED: (
        dist.RelaxedBernoulliStraightThrough, dist.RelaxedOneHotCategoricalStraightThrough,
    ),
    _MASKED: (dist.NanMaskedNormal, dist.NanMaskedMultivariateNormal),
}  # fmt: skip

for _coupling, _families in _DEFAULTS.items():
    for _family in _families:
        register_coupling(_family, _coupling)
if hasattr(_td, "GeneralizedPareto"):  # not in older releases of torch
    register_coupling(_td.GeneralizedPareto, ContinuousQuantile())
for _reason, _families in _REFUSED.items():
    for _family in _families:
        refuse_coupling(_family, _reason)
