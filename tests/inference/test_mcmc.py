"""NUTS: chains, discrete latents, thinning, and its warnings."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from causalppl.exceptions import ConvergenceWarning, DataError
from causalppl.inference.engine import Problem
from causalppl.inference.mcmc import NUTS
from causalppl.inference.variational import Variational
from causalppl.programs.scm import SCM


def simple(n):
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    with pyro.plate("units", n):
        u = pyro.sample("U", dist.Normal(a, 1.0))
        return pyro.sample("X", dist.Normal(u, 1.0))


def skewed():
    g = pyro.sample("G", dist.Gamma(2.0, 1.0))
    return pyro.sample("X", dist.Normal(g, 1.0))


def test_a_linear_gaussian_posterior_and_its_diagnostics():
    x = torch.tensor([2.0])
    problem = Problem(SCM(simple), 1, {}, {"X": x}, ("U",))
    answer = NUTS(num_samples=100, warmup_steps=60).solve(problem, seed=0)
    # a + noise ~ N(0, 2), so U given X is N(2 x / 3, 2 / 3); 200 draws: five standard errors
    assert answer.draws["U"].shape == (1, 200, 1)
    assert float(answer.draws["U"].mean()) == pytest.approx(4 / 3, abs=0.35)
    assert float(answer.draws["U"].std()) == pytest.approx((2 / 3) ** 0.5, rel=0.3)
    assert answer.diagnostics["is_mcmc"] is True
    assert answer.diagnostics["divergences"] == 0
    assert answer.diagnostics["ess"] > 30
    assert answer.diagnostics["rhat"] < 1.08
    assert answer.diagnostics["num_chains"] == 2


@pytest.mark.slow
def test_it_agrees_with_variational_on_a_skewed_posterior():
    problem = Problem(SCM(skewed), 1, {}, {"X": torch.tensor([1.0])}, ("G",), num_draws=4000)
    chains = NUTS(num_samples=1000, num_chains=2, warmup_steps=300, target_accept=0.95)
    draws = chains.solve(problem, seed=3).draws["G"].flatten()
    assert len(draws) == 2000
    weighed = Variational().solve(problem, seed=0)
    weights = weighed.log_weights.exp().flatten()
    for power in (1, 2):
        expected = float((weights * weighed.draws["G"].flatten() ** power).sum())
        assert float((draws**power).mean()) == pytest.approx(expected, rel=0.12)


def test_discrete_latents_alone_are_exact():
    def program():
        z = pyro.sample("Z", dist.Bernoulli(0.5))
        pyro.sample("X", dist.Bernoulli(0.2 + 0.6 * z))

    problem = Problem(SCM(program), 1, {}, {"X": torch.tensor([1.0])}, ("Z",))
    answer = NUTS(num_samples=2000).solve(problem, seed=0)
    assert answer.is_exact
    assert float(answer.draws["Z"].mean()) == pytest.approx(0.8, abs=0.04)


@pytest.mark.slow
def test_several_parameter_draws_share_a_chain_and_are_thinned():
    scm = SCM(simple).with_parameters({"a": torch.tensor([-3.0, 3.0])})
    problem = Problem(scm, 1, {}, {"X": torch.tensor([0.0])}, ("U",), num_draws=100)
    answer = NUTS(num_samples=100, warmup_steps=100).solve(problem, seed=0)
    assert answer.draws["U"].shape == (2, 100, 1)
    means = answer.draws["U"].mean(1).flatten()
    assert means.numpy() == pytest.approx([-1.5, 1.5], abs=0.45)


def test_divergences_are_reported():
    def wall():
        u = pyro.sample("U", dist.Normal(-0.7, 1.0))
        pyro.sample("X", dist.Normal(torch.where(u > 0, 10_000.0, 0.0) * u, 1.0))

    # the step size of the flat side is far too large for the steep one
    problem = Problem(SCM(wall), 1, {}, {"X": torch.tensor([0.0])}, ("U",))
    with pytest.warns(ConvergenceWarning, match="steps diverged"):
        answer = NUTS(num_samples=100, warmup_steps=0, num_chains=1, target_accept=0.6).solve(
            problem, seed=0
        )
    assert answer.diagnostics["divergences"] > 0


def test_chains_that_disagree_are_reported():
    def two_modes():
        u = pyro.sample("U", dist.Normal(0.0, 4.0))
        pyro.sample("X", dist.Normal(u.abs(), 0.1))

    problem = Problem(SCM(two_modes), 8, {}, {"X": torch.full((8,), 6.0)}, ("U",))
    engine = NUTS(num_samples=50, warmup_steps=20, num_chains=2)
    with pytest.warns(ConvergenceWarning, match="R-hat is inf|R-hat is [1-9]"):
        answer = engine.solve(problem, seed=1)
    assert answer.diagnostics["rhat"] > 1.01


def test_settings_are_checked():
    with pytest.raises(DataError, match="num_chains is 0"):
        NUTS(num_chains=0)


def chains(drift, count, samples=200):
    noise = torch.randn(count, samples, 20, generator=torch.Generator().manual_seed(0))
    noise[..., 7] += drift * torch.linspace(0.0, 1.0, samples)
    return noise


@pytest.mark.parametrize(("count", "drift"), [(1, 8.0), (2, 3.0), (4, 3.0)])
def test_a_chain_that_still_moves_is_reported_and_chance_is_not(count, drift):
    engine = NUTS(num_samples=200, num_chains=count)
    engine._diagnose(chains(0.0, count), torch.zeros(count, 200, 0), 0)  # a warning is an error
    with pytest.warns(ConvergenceWarning, match="disagree"):
        engine._diagnose(chains(drift, count), torch.zeros(count, 200, 0), 0)
