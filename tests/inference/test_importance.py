"""Importance: what only it can do, its weights, and its warnings."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from causalppl.exceptions import ConvergenceWarning, DataError, ImpossibleEvidenceError
from causalppl.inference.engine import Problem
from causalppl.inference.importance import Importance
from causalppl.programs.scm import SCM


def simple():
    u = pyro.sample("U", dist.Normal(0.0, 1.0))
    return pyro.sample("X", dist.Normal(u, 1.0))


def weighted_mean(answer, key):
    draws = answer.draws[key][0]
    if answer.log_weights is None:
        return draws.mean(0)
    return (torch.softmax(answer.log_weights[0], 0) * draws).sum(0)


def test_a_latent_with_infinitely_many_values():
    def program():
        k = pyro.sample("K", dist.Poisson(2.0))
        pyro.sample("X", dist.Normal(k, 1.0))

    x = torch.tensor([0.5, 4.0])
    answer = Importance(num_samples=40_000).solve(
        Problem(SCM(program), 2, {}, {"X": x}, ("K",)), seed=0
    )
    k = torch.arange(60.0)
    joint = dist.Poisson(2.0).log_prob(k)[:, None] + dist.Normal(k[:, None], 1.0).log_prob(x)
    exact = (torch.softmax(joint, 0) * k[:, None]).sum(0)
    # effective draws of the rarer unit: over 4,000, so that 0.08 is over five standard errors
    assert min(answer.diagnostics["ess"]) > 4000
    assert weighted_mean(answer, "K").numpy() == pytest.approx(exact.numpy(), abs=0.08)


def test_rare_evidence_is_reported_by_its_khat():
    problem = Problem(SCM(simple), 1, {}, {"X": torch.tensor([12.0])}, ("U",))
    with pytest.warns(ConvergenceWarning, match="1 of 1 units"):
        answer = Importance(num_samples=2000).solve(problem, seed=0)
    assert answer.diagnostics["khat"][0] > 0.7
    assert answer.diagnostics["ess"][0] < 100


def test_a_guide_makes_rare_evidence_common():
    def guide():
        pyro.sample("U", dist.StudentT(5.0, 6.0, 1.0))

    problem = Problem(SCM(simple), 1, {}, {"X": torch.tensor([12.0])}, ("U",), num_draws=2000)
    answer = Importance(num_samples=4000, guide=guide).solve(problem, seed=0)
    assert answer.diagnostics["ess"][0] > 1500
    assert answer.draws["U"].shape == (1, 2000, 1)
    assert answer.log_weights is None  # more draws than were asked for: resampled
    assert float(weighted_mean(answer, "U")) == pytest.approx(6.0, abs=0.1)
    assert float(answer.draws["U"].std()) == pytest.approx(0.5**0.5, rel=0.1)


def test_a_guide_over_some_latents_leaves_the_others_to_their_prior():
    def program():
        u = pyro.sample("U", dist.Normal(0.0, 1.0))
        v = pyro.sample("V", dist.Normal(0.0, 1.0))
        pyro.sample("X", dist.Normal(u + v, 1.0))

    def guide(n):
        with pyro.plate("units", n):
            pyro.sample("U", dist.Normal(1.0, 1.2))

    problem = Problem(SCM(program), 1, {}, {"X": torch.tensor([3.0])}, ("U", "V"))
    answer = Importance(guide=guide).solve(problem, seed=0)
    assert float(weighted_mean(answer, "U")) == pytest.approx(1.0, abs=0.12)
    assert float(weighted_mean(answer, "V")) == pytest.approx(1.0, abs=0.12)


def test_many_units_are_weighed_in_pieces(monkeypatch):
    def guide():
        pyro.sample("U", dist.Normal(0.5, 1.0))

    x = torch.linspace(0.0, 1.0, 10)
    worlds = {"w": {"X": torch.arange(10.0)}}
    problem = Problem(SCM(simple), 10, worlds, {"X": x}, ("U", "X@w"), num_draws=500)
    monkeypatch.setattr("causalppl.inference.importance._AT_ONCE", 3 * 2000)
    answer = Importance(num_samples=2000, guide=guide).solve(problem, seed=0)
    assert answer.draws["U"].shape == (1, 500, 10)
    assert len(answer.diagnostics["khat"]) == 10
    assert weighted_mean(answer, "U").numpy() == pytest.approx((x / 2).numpy(), abs=0.2)
    assert bool((answer.draws["X@w"] == torch.arange(10.0)).all())


def test_evidence_that_no_draw_explains_is_impossible():
    def program():
        u = pyro.sample("U", dist.Uniform(0.0, 1.0))
        pyro.sample("X", dist.Uniform(u, u + 0.001))

    problem = Problem(SCM(program), 1, {}, {"X": torch.tensor([7.0])}, ("U",))
    with pytest.raises(ImpossibleEvidenceError, match="none of"):
        Importance(num_samples=500).solve(problem, seed=0)


def test_settings_are_checked():
    with pytest.raises(DataError, match="num_samples is 0"):
        Importance(num_samples=0)
