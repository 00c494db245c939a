"""Every approximate engine on programs whose answers are known in closed form.

Monte Carlo tolerances are five standard errors or more of the engine with the fewest draws, so that
a false alarm is rarer than one in a million runs; seeds are fixed besides.
"""

import random

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from causalppl.exceptions import ImpossibleEvidenceError
from causalppl.inference.amortised import Amortised
from causalppl.inference.engine import Condition, Problem
from causalppl.inference.importance import Importance
from causalppl.inference.mcmc import NUTS
from causalppl.inference.variational import Variational
from causalppl.programs.interventions import Shift
from causalppl.programs.scm import SCM

ENGINES = {
    "variational": Variational(num_steps=500),
    "amortised": Amortised(num_steps=150, num_simulations=8_192, correct=True),
    "nuts": NUTS(num_samples=400, warmup_steps=150),
    "importance": Importance(num_samples=20_000),
}
SLOW = ("nuts", "amortised")
ALL = [
    pytest.param(engine, id=name, marks=[pytest.mark.slow] if name in SLOW else [])
    for name, engine in ENGINES.items()
]
NOT_AMORTISED = [param for param in ALL if param.id != "amortised"]


def interaction():
    u = pyro.sample("U", dist.Normal(0.0, 1.0))
    x = pyro.sample("X", dist.Normal(0.0, 1.0))
    pyro.sample("W", dist.Normal(u, 1.0))
    return pyro.sample("Y", dist.Normal(x * u, 1.0))


def mixture():
    z = pyro.sample("Z", dist.Bernoulli(0.3))
    u = pyro.sample("U", dist.Normal(3 * z, 1.0))
    return pyro.sample("X", dist.Normal(u, 1.0))


def hierarchy(n):
    a = pyro.sample("a", dist.Normal(0.0, 2.0))
    with pyro.plate("units", n):
        u = pyro.sample("U", dist.Normal(a, 1.0))
        return pyro.sample("X", dist.Normal(u, 1.0))


def moments(answer, key):
    draws = answer.draws[key].double()
    weights = torch.full_like(draws, 1 / draws.shape[1])
    if answer.log_weights is not None:
        weights = torch.softmax(answer.log_weights.double(), 1).expand_as(draws)
    mean = (weights * draws).sum(1)
    sd = (weights * (draws - mean.unsqueeze(1)) ** 2).sum(1).sqrt()
    return mean, sd


def solve(engine, problem, seed=1):
    assert engine.refusal(problem) is None
    return engine.solve(problem, seed=seed)


@pytest.mark.parametrize("engine", ALL)
def test_a_linear_gaussian_counterfactual_with_a_latent(engine):
    # y = x u + e, so Y_{X=a} = y + (a - x) u, and u given x, y is N(xy, 1) / (1 + x^2)
    x, y, a = torch.tensor([1.0, -2.0]), torch.tensor([3.0, 0.5]), 2.0
    problem = Problem(
        SCM(interaction), 2, {"x": {"X": a}}, {"X": x, "Y": y}, ("U", "Y@x", "W"), num_draws=2000
    )
    answer = solve(engine, problem)
    mean_u, sd_u = x * y / (1 + x**2), 1 / (1 + x**2).sqrt()
    mean, sd = moments(answer, "U")
    assert mean[0].numpy() == pytest.approx(mean_u.numpy(), abs=0.13)
    assert sd[0].numpy() == pytest.approx(sd_u.numpy(), rel=0.17)
    mean, sd = moments(answer, "Y@x")
    assert mean[0].numpy() == pytest.approx((y + (a - x) * mean_u).numpy(), abs=0.4)
    assert sd[0].numpy() == pytest.approx(((a - x).abs() * sd_u).numpy(), rel=0.17)
    # a site without evidence below it is drawn forward, anew for each draw
    mean, sd = moments(answer, "W")
    assert mean[0].numpy() == pytest.approx(mean_u.numpy(), abs=0.3)
    assert sd[0].numpy() == pytest.approx((1 + sd_u**2).sqrt().numpy(), rel=0.17)


@pytest.mark.parametrize("engine", ALL)
def test_evidence_in_another_world(engine):
    # Y_{X=1} = u + e is seen, and Y_{X=2} = 2u + e = Y_{X=1} + u with u ~ N(Y_{X=1} / 2, 1/2)
    worlds = {"two": {"X": 2.0}, "one": {"X": 1.0}}
    problem = Problem(
        SCM(interaction), 1, worlds, {"Y@one": torch.tensor([2.0])}, ("Y@two", "Y@one", "U"),
        num_draws=2000,
    )  # fmt: skip
    answer = solve(engine, problem)
    mean, sd = moments(answer, "Y@two")
    assert float(mean) == pytest.approx(3.0, abs=0.2)
    assert float(sd) == pytest.approx(0.5**0.5, rel=0.17)
    assert answer.draws["Y@one"].numpy() == pytest.approx(2.0, abs=1e-5)


@pytest.mark.parametrize("engine", NOT_AMORTISED)
def test_discrete_evidence_in_another_world(engine):
    def program():
        x = pyro.sample("X", dist.Bernoulli(0.5))
        return pyro.sample("Y", dist.Bernoulli(0.2 + 0.6 * x))

    # Y is 1 where the noise is below 0.2 + 0.6 x
    problem = Problem(
        SCM(program), 1, {"x1": {"X": 1.0}, "x0": {"X": 0.0}}, {"Y@x1": torch.tensor([1.0])},
        ("Y", "Y@x0", "Y@x1"), num_draws=4000,
    )  # fmt: skip
    answer = solve(engine, problem)
    assert float(moments(answer, "Y")[0]) == pytest.approx(0.5 + 0.5 * 0.25, abs=0.12)
    assert float(moments(answer, "Y@x0")[0]) == pytest.approx(0.25, abs=0.11)
    assert bool((answer.draws["Y@x1"] == 1).all())


@pytest.mark.parametrize("engine", ALL)
def test_a_discrete_latent(engine):
    x = torch.tensor([0.0, 1.5, 2.5])
    problem = Problem(
        SCM(mixture), 3, {"z1": {"Z": 1.0}}, {"X": x}, ("Z", "U", "X@z1"), num_draws=2000
    )
    answer = solve(engine, problem)
    ones = 0.3 * dist.Normal(3.0, 2**0.5).log_prob(x).exp()
    zeros = 0.7 * dist.Normal(0.0, 2**0.5).log_prob(x).exp()
    p = ones / (ones + zeros)
    assert moments(answer, "Z")[0][0].numpy() == pytest.approx(p.numpy(), abs=0.13)
    expected_u = (1 - p) * x / 2 + p * (3 + x) / 2
    assert moments(answer, "U")[0][0].numpy() == pytest.approx(expected_u.numpy(), abs=0.3)
    # X_{Z=1} = x + 3 where Z was 0, and x where it was 1
    assert moments(answer, "X@z1")[0][0].numpy() == pytest.approx(
        (x + 3 * (1 - p)).numpy(), abs=0.4
    )


@pytest.mark.parametrize("engine", ALL)
def test_each_parameter_draw_has_its_own_posterior(engine):
    a, x = torch.tensor([-2.0, 0.0, 1.0, 3.0]), torch.tensor([1.0, 2.0])
    scm = SCM(hierarchy).with_parameters({"a": a})
    answer = solve(engine, Problem(scm, 2, {}, {"X": x}, ("U",), num_draws=500))
    mean, sd = moments(answer, "U")
    assert mean.shape == (4, 2)
    assert mean.numpy() == pytest.approx(((a[:, None] + x) / 2).numpy(), abs=0.25)
    assert sd.numpy() == pytest.approx(0.5**0.5, rel=0.25)


@pytest.mark.parametrize("engine", NOT_AMORTISED)
def test_a_parameter_without_draws_is_inferred_from_all_units(engine):
    x = torch.tensor([1.0, 2.0, 0.5])
    answer = solve(engine, Problem(SCM(hierarchy), 3, {}, {"X": x}, ("U",), num_draws=2000))
    precision = 1 / 4 + 3 / 2
    mean_a = x.sum() / 2 / precision
    mean, sd = moments(answer, "U")
    assert mean[0].numpy() == pytest.approx(((mean_a + x) / 2).numpy(), abs=0.22)
    assert sd[0].numpy() == pytest.approx((0.5 + 0.25 / precision) ** 0.5, rel=0.2)


@pytest.mark.parametrize("engine", NOT_AMORTISED)
def test_vectors_plates_and_deterministic_sites(engine):
    def program(n):
        with pyro.plate("units", n):
            u = pyro.sample("U", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            total = pyro.deterministic("T", u.sum(-1), event_dim=0)
            with pyro.plate("items", 3):
                v = pyro.sample("V", dist.Normal(total, 1.0))
                pyro.sample("X", dist.Normal(v, 1.0))

    # T ~ N(0, 2) and each of the three items sees it with variance 2
    items = torch.tensor([[1.0, 2.0, 3.0], [0.0, -1.0, 1.0]])
    answer = solve(engine, Problem(SCM(program), 2, {}, {"X": items}, ("T", "V"), num_draws=2000))
    mean, sd = moments(answer, "T")
    precision = 1 / 2 + 3 / 2
    assert mean[0].numpy() == pytest.approx((items.sum(1) / 2 / precision).numpy(), abs=0.2)
    assert sd[0].numpy() == pytest.approx(precision**-0.5, rel=0.17)
    assert answer.draws["V"].shape[2:] == (2, 3)
    expected_v = (items + (items.sum(1) / 2 / precision)[:, None]) / 2
    draws, weights = answer.draws["V"][0], answer.log_weights
    weight = 1 / len(draws) if weights is None else weights[0].softmax(0)[..., None]
    assert (weight * draws).sum(0).numpy() == pytest.approx(expected_v.numpy(), abs=0.25)


@pytest.mark.parametrize("engine", NOT_AMORTISED)
def test_a_program_that_does_not_broadcast_over_draws(engine):
    def program(n):
        with pyro.plate("units", n):
            u = pyro.sample("U", dist.Normal(0.0, 1.0))
            pair = torch.stack([u.reshape(n), torch.zeros(n)])  # one shape only
            return pyro.sample("X", dist.Normal(pair[0], 1.0))

    draws = 300 if isinstance(engine, Variational) else 100
    if isinstance(engine, Importance):
        engine = Importance(num_samples=1000)
    problem = Problem(SCM(program), 1, {}, {"X": torch.tensor([2.0])}, ("U",), num_draws=draws)
    mean, sd = moments(solve(engine, problem), "U")
    assert float(mean) == pytest.approx(1.0, abs=0.4)
    assert float(sd) == pytest.approx(0.5**0.5, rel=0.4)


@pytest.mark.parametrize("engine", ALL)
def test_without_evidence_it_is_forward_simulation(engine):
    problem = Problem(
        SCM(interaction), 2, {"s": {"X": Shift(1.0)}}, {}, ("X", "X@s"), num_draws=300
    )
    answer = solve(engine, problem)
    assert answer.is_exact
    draws = answer.draws["X"]
    assert (answer.draws["X@s"] - draws).numpy() == pytest.approx(1.0, abs=1e-5)
    assert float(draws.std()) == pytest.approx(1.0, rel=0.2)
    assert len(draws.unique()) == draws.numel()  # each draw is its own


@pytest.mark.parametrize("engine", ALL)
def test_the_seed_decides_and_nothing_global_moves(engine):
    problem = Problem(SCM(mixture), 2, {}, {"X": torch.tensor([0.5, 2.0])}, ("U",), num_draws=200)
    pyro.param("mine", torch.ones(2))
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    first = engine.solve(problem, seed=3)
    assert not bool((first.draws["U"] == engine.solve(problem, seed=4).draws["U"]).all())
    other = Problem(SCM(mixture), 1, {}, {"X": torch.tensor([3.0])}, ("Z", "U"), num_draws=100)
    engine.solve(other, seed=5)
    second = engine.solve(problem, seed=3)
    assert bool((first.draws["U"] == second.draws["U"]).all())
    assert bool((torch.get_rng_state() == before[0]).all())
    assert (np.random.get_state()[1] == before[1]).all()
    assert random.getstate() == before[2]
    assert set(pyro.get_param_store().keys()) == {"mine"}


@pytest.mark.parametrize("engine", ALL)
def test_double_precision_is_kept(engine):
    torch.set_default_dtype(torch.float64)
    problem = Problem(SCM(interaction), 1, {}, {"W": torch.tensor([1.0])}, ("U",), num_draws=150)
    assert solve(engine, problem).draws["U"].dtype == torch.float64


@pytest.mark.parametrize("engine", ALL)
def test_what_events_speak_of_is_drawn_too(engine):
    problem = Problem(
        SCM(interaction), 1, {}, {"W": torch.tensor([1.0])}, (), (Condition("Y", ">", 0.0),), 100
    )
    assert set(solve(engine, problem).draws) == {"Y"}


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_evidence_on_a_deterministic_site_is_refused_by_name(engine):
    def program():
        u = pyro.sample("U", dist.Normal(0.0, 1.0))
        pyro.deterministic("T", u.exp())

    problem = Problem(SCM(program), 1, {}, {"T": torch.tensor([1.0])}, ("U",))
    assert "'T'" in engine.refusal(problem)
    assert "observe a parent of it (U)" in engine.refusal(problem)


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_impossible_evidence_is_named(engine):
    def program():
        u = pyro.sample("U", dist.Normal(0.0, 1.0))
        pyro.sample("X", dist.Exponential(u.exp()))

    problem = Problem(SCM(program), 2, {}, {"X": torch.tensor([1.0, -1.0])}, ("U",))
    if isinstance(engine, Amortised):
        engine = Amortised(num_steps=1)
    with pytest.raises(ImpossibleEvidenceError, match="'X' is impossible for 1 of 2"):
        engine.solve(problem, seed=0)


@pytest.mark.parametrize("engine", [Variational(), Amortised(), NUTS()], ids=lambda e: e.name)
def test_a_latent_with_infinitely_many_values_is_refused_by_name(engine):
    def program():
        k = pyro.sample("K", dist.Poisson(2.0))
        pyro.sample("X", dist.Normal(k, 1.0))

    problem = Problem(SCM(program), 1, {}, {"X": torch.tensor([1.0])}, ("K",))
    assert "'K' (Poisson)" in engine.refusal(problem)
