"""Variational: calibration, guides of one's own, and what k-hat says of them.

Calibration follows Cook, Gelman and Rubin (2006): units are drawn from the program, so 90 %
intervals must cover the truth in 90 % of them. Of 1,000 units 870 to 930 is more than three
standard errors; seeds are fixed besides.
"""

import itertools
import math
import time
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal

from causalppl.exceptions import (
    ConvergenceWarning,
    DataError,
    FitError,
    ImpossibleEvidenceError,
    ProgramError,
)
from causalppl.inference.engine import Problem
from causalppl.inference.gaussian_guide import GaussianGuide
from causalppl.inference.infer import infer
from causalppl.inference.khat import khat_of
from causalppl.inference.latents import Latents
from causalppl.inference.resampling import resample, without_negligible
from causalppl.inference.unit_laplace import laplace
from causalppl.inference.variational import Variational
from causalppl.programs.learned import Learned
from causalppl.programs.scm import SCM
from causalppl.seeding import forked_rng


def linear():
    u = pyro.sample("U", dist.Normal(1.0, 2.0))
    x = pyro.sample("X", dist.Normal(u, 1.0))
    m = pyro.sample("M", dist.Normal(x - u, 0.5))
    return pyro.sample("Y", dist.Normal(2 * m + u + x, 1.0))


def skewed():
    g = pyro.sample("G", dist.Gamma(2.0, 1.0))
    h = pyro.sample("H", dist.LogNormal(0.0, 0.5))
    pyro.sample("X", dist.Normal(g + h, 0.7))
    return pyro.sample("Y", dist.Poisson(g * h))


def several():
    z = pyro.sample("Z", dist.Bernoulli(0.3))
    c = pyro.sample(
        "C", dist.Categorical(torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])[z.long()])
    )
    g = pyro.sample("G", dist.Gamma(2.0, 1.0))
    u = pyro.sample("U", dist.Uniform(-1.0, g))
    return pyro.sample("X", dist.Normal(u + g + z + c, 1.0))


def coverage(answer, truth, key):
    draws = answer.draws[key][0]
    weights = torch.full_like(draws, 1 / len(draws))
    if answer.log_weights is not None:
        weights = torch.softmax(answer.log_weights[0], 0)
    below = (weights * (draws < truth[key])).sum(0)
    return float(((below > 0.05) & (below < 0.95)).float().mean())


def check_calibrated(engine, program, seen, latent, seed=1):
    scm = SCM(program)
    truth = scm.sample(1000, seed=seed)
    problem = Problem(scm, 1000, {}, {k: truth[k] for k in seen}, latent, num_draws=500)
    answer = engine.solve(problem, seed=0)
    for key in latent:
        assert 0.87 <= coverage(answer, truth, key) <= 0.93
    return answer


def test_intervals_are_calibrated_where_the_program_is_linear_gaussian():
    answer = check_calibrated(Variational(), linear, ("X", "Y"), ("U", "M"))
    assert max(answer.diagnostics["khat"]) < 0.5


@pytest.mark.slow
def test_intervals_are_calibrated_where_the_posterior_is_skewed():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a handful of the thousand
        answer = check_calibrated(Variational(), skewed, ("X", "Y"), ("G", "H"))
    assert sum(k > 0.7 for k in answer.diagnostics["khat"]) < 20


def test_a_linear_gaussian_posterior_is_exact():
    x, y = torch.tensor([0.3, -2.0]), torch.tensor([1.0, 4.0])
    problem = Problem(SCM(linear), 2, {}, {"X": x, "Y": y}, ("U", "M"))
    with forked_rng(0):
        latents = Latents(problem)
        with latents.active():
            start = laplace(latents)
    # density of (U, M) given X, Y: precision and its product with the mean, by hand
    for i in range(2):
        precision = torch.tensor([[1 / 4 + 1 + 4 + 1, 4 + 2.0], [4 + 2.0, 4 + 4.0]])
        shift = torch.stack([1 / 4 + x[i] + 4 * x[i] + y[i] - x[i], 4 * x[i] + 2 * (y[i] - x[i])])
        covariance = torch.linalg.inv(precision)
        assert start.loc[0, i].numpy() == pytest.approx((covariance @ shift).numpy(), abs=1e-4)
        found = start.scale[0, i] @ start.scale[0, i].mT
        assert found.numpy() == pytest.approx(covariance.numpy(), abs=1e-5)
    answer = Variational().solve(problem, seed=0)
    assert max(answer.diagnostics["khat"]) < 0.1
    assert answer.log_weights.exp().numpy() == pytest.approx(1 / 1000, rel=1e-2)


def test_one_unit_takes_a_second_or_two():
    problem = Problem(
        SCM(skewed), 1, {}, {"X": torch.tensor([4.0]), "Y": torch.tensor([2.0])}, ("G",)
    )
    began = time.perf_counter()
    answer = Variational().solve(problem, seed=0)
    assert time.perf_counter() - began < 10  # 0.6 s on an idle core
    assert len(answer.diagnostics["elbo"]) < 1500  # it stopped by itself


def test_a_program_that_takes_one_row_at_a_time_is_mapped_over_rows():
    def program(n):
        slope = pyro.sample("slope", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("units", n):
            w = pyro.sample("W", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            x = pyro.sample("X", dist.Bernoulli(logits=w[..., 0]))
            pyro.sample("Y", dist.Normal(w @ slope + x, 1.0))

    scm = SCM(program).with_parameters({"slope": torch.randn(40, 3)})
    evidence = {"X": torch.tensor([1.0, 0.0]), "Y": torch.tensor([2.0, 0.5])}
    latents = Latents(Problem(scm, 2, {}, evidence, ("W",)))
    index = latents.parameter_index(2)
    with latents.active():
        unit, shared, _ = latents.prior_draws(index)
        assert not latents.can_broadcast
        assert latents.can_map
        unit.requires_grad_()
        found, _ = latents.log_density(index, unit, shared)
        one_by_one = [latents.log_density(index[i : i + 1], unit[i : i + 1])[0] for i in range(80)]
        slopes = [torch.autograd.grad(each.sum(), unit)[0] for each in (found, sum(one_by_one))]
    assert found.detach().numpy() == pytest.approx(torch.cat(one_by_one).detach().numpy(), rel=1e-5)
    assert slopes[0].numpy() == pytest.approx(slopes[1].numpy(), rel=1e-4, abs=1e-5)
    answer = infer(scm, "E[Y_{X=0}]", evidence={"X": 1, "Y": 2.0}, seed=0)
    assert any("(W * b).sum(-1)" in note for note in answer.notes)


def test_only_the_answer_that_took_a_run_for_each_draw_says_so():
    def program():
        x = pyro.sample("X", dist.Normal(0.0, 1.0))
        pyro.sample("Y", dist.Normal(x, 1.0))

    scm = SCM(program)
    scm._can_broadcast["another question"] = False
    assert not any("each draw" in note for note in infer(scm, "P(Y | do(X=1))", seed=0).notes)


def test_the_density_sums_out_discrete_latents_exactly():
    problem = Problem(SCM(several), 4, {}, {"X": torch.tensor([0.0, 1.0, 2.0, 3.0])}, ("Z",))
    latents = Latents(problem)
    index = latents.parameter_index(5)
    with forked_rng(0), latents.active():
        unit, shared, _ = latents.prior_draws(index)
        summed, _ = latents.log_density(index, unit, shared)
        parts = []
        for z, c in itertools.product((0.0, 1.0), range(3)):
            given = {"Z": torch.full((5, 4), z), "C": torch.full((5, 4), c)}
            parts.append(latents.log_density(index, unit, shared, given)[0])
        one_by_one = [latents.log_density(index[:1], unit[i : i + 1])[0] for i in range(5)]
    assert summed.numpy() == pytest.approx(torch.logsumexp(torch.stack(parts), 0).numpy(), abs=1e-4)
    assert summed.numpy() == pytest.approx(torch.cat(one_by_one).numpy(), abs=1e-4)


def test_a_support_that_depends_on_a_discrete_latent_is_refused_by_name():
    def program():
        z = pyro.sample("Z", dist.Bernoulli(0.3))
        u = pyro.sample("U", dist.Uniform(-1.0, 1.0 + z))
        pyro.sample("X", dist.Normal(u, 1.0))

    problem = Problem(SCM(program), 1, {}, {"X": torch.tensor([1.0])}, ("U",))
    with pytest.raises(ProgramError, match="'U' can take may depend on a discrete latent"):
        Variational().solve(problem, seed=0)


def test_discrete_latents_are_drawn_from_their_exact_law_given_the_others():
    problem = Problem(SCM(several), 2, {}, {"X": torch.tensor([1.0, 3.0])}, ("Z",))
    latents = Latents(problem)
    index = latents.parameter_index(20_000)
    with forked_rng(0), latents.active(), torch.no_grad():
        unit, shared, _ = latents.prior_draws(index[:1])
        values = latents.constrain(index[:1], unit, shared)
        many = {name: value.expand(20_000, -1) for name, value in values.items()}
        drawn = latents.discrete_given(index, many)
        parts = []
        for z, c in itertools.product((0.0, 1.0), range(3)):
            given = {"Z": torch.full((1, 2), z), "C": torch.full((1, 2), c)}
            parts.append(latents.log_joint(index[:1], {**values, **given})[0][0])
    expected = torch.softmax(torch.stack(parts), 0)
    code = (3 * drawn["Z"] + drawn["C"]).long()
    found = torch.stack([(code == k).float().mean(0) for k in range(6)])
    assert found.numpy() == pytest.approx(expected.numpy(), abs=0.02)  # over five standard errors


def test_sites_that_the_evidence_does_not_depend_on_are_not_inferred():
    def program():
        u = pyro.sample("U", dist.Normal(0.0, 1.0))
        pyro.sample("below", dist.Normal(u, 1.0))
        pyro.sample("apart", dist.Poisson(3.0))
        pyro.sample("X", dist.Normal(u, 1.0))

    problem = Problem(SCM(program), 1, {}, {"X": torch.tensor([0.0])}, ("below", "apart"))
    assert Variational().refusal(problem) is None  # the Poisson site is drawn forward
    assert [site.name for site in Latents(problem).sites] == ["U"]
    assert float(Variational().solve(problem, seed=0).draws["apart"].mean()) == pytest.approx(
        3.0, abs=0.3
    )


# -- guides of one's own -------------------------------------------------------------------------


def mixture():
    z = pyro.sample("Z", dist.Bernoulli(0.3))
    u = pyro.sample("U", dist.Normal(1.5 * z, 1.0))
    return pyro.sample("X", dist.Normal(u, 1.0))


def mixture_guide(n):
    loc = pyro.param("loc", torch.ones(n))
    scale = pyro.param("scale", torch.ones(n), constraint=dist.constraints.positive)
    with pyro.plate("units", n):
        pyro.sample("U", dist.Normal(loc, 1.2 * scale))


@pytest.mark.parametrize(
    "guide",
    [
        mixture_guide,
        pytest.param(AutoNormal, marks=pytest.mark.slow),
        pytest.param(AutoMultivariateNormal, marks=pytest.mark.slow),
    ],
    ids=["own", "normal", "full"],
)
def test_a_guide_of_ones_own_leaves_discrete_latents_to_enumeration(guide):
    x = torch.tensor([1.2])
    problem = Problem(SCM(mixture), 1, {}, {"X": x}, ("U", "Z"), num_draws=500)
    engine = Variational(guide=guide, learning_rate=0.03, num_steps=300)
    answer = engine.solve(problem, seed=0)
    ones = 0.3 * dist.Normal(1.5, 2**0.5).log_prob(x).exp()
    p = ones / (ones + 0.7 * dist.Normal(0.0, 2**0.5).log_prob(x).exp())
    weights = answer.log_weights[0].exp()
    assert float((weights * answer.draws["Z"][0]).sum()) == pytest.approx(float(p), abs=0.1)
    expected = float((1 - p) * x / 2 + p * (1.5 + x) / 2)
    assert float((weights * answer.draws["U"][0]).sum()) == pytest.approx(expected, abs=0.2)
    assert set(pyro.get_param_store().keys()) == set()


def test_a_bad_guide_is_reported_by_its_khat():
    def narrow(n):
        with pyro.plate("units", n):
            pyro.sample("U", dist.Normal(pyro.param("loc", torch.zeros(n)), 0.1))

    def program():
        u = pyro.sample("U", dist.Normal(0.0, 1.0))
        pyro.sample("X", dist.Normal(u, 1.0))

    problem = Problem(SCM(program), 3, {}, {"X": torch.zeros(3)}, ("U",), num_draws=500)
    with pytest.warns(ConvergenceWarning, match="k-hat is above 0.7 for . of 3 units"):
        answer = Variational(guide=narrow, num_steps=100).solve(problem, seed=0)
    assert max(answer.diagnostics["khat"]) > 0.7


def test_a_guide_that_lacks_a_latent_is_refused_by_name():
    def guide(n):
        with pyro.plate("units", n):
            pyro.sample("V", dist.Normal(0.0, 1.0))

    problem = Problem(SCM(mixture), 1, {}, {"X": torch.tensor([1.0])}, ("U",))
    with pytest.raises(ProgramError, match=r"lacks the latents \['U'\].*unknown sites \['V'\]"):
        Variational(guide=guide).solve(problem, seed=0)


@pytest.mark.slow
def test_each_parameter_draw_gets_its_own_fit_of_ones_own_guide():
    def program(n):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        with pyro.plate("units", n):
            u = pyro.sample("U", dist.Normal(a, 1.0))
            pyro.sample("X", dist.Normal(u, 1.0))

    scm = SCM(program).with_parameters({"a": torch.tensor([-2.0, 2.0])})
    problem = Problem(scm, 1, {}, {"X": torch.tensor([0.0])}, ("U",), num_draws=300)
    engine = Variational(guide=AutoNormal, learning_rate=0.03, num_steps=300)
    answer = engine.solve(problem, seed=0)
    means = (answer.log_weights.exp() * answer.draws["U"]).sum(1)
    assert means.squeeze(1).numpy() == pytest.approx([-1.0, 1.0], abs=0.25)


# -- programs with learned parts -----------------------------------------------------------------


def test_learned_parameters_are_used_and_left_alone():
    def program():
        u = pyro.sample("U", dist.Normal(0.0, 1.0))
        pyro.sample("X", dist.Normal(pyro.param("w", torch.tensor(1.0)) * u, 1.0))

    with pyro.get_param_store().scope():
        pyro.param("w", torch.tensor(3.0))
        learned = Learned.capture(["w"])
    scm = SCM(program).with_parameters({}, learned=learned)
    problem = Problem(scm, 1, {}, {"X": torch.tensor([5.0])}, ("U",))
    for engine in (Variational(), Variational(guide=AutoNormal, learning_rate=0.03)):
        answer = engine.solve(problem, seed=0)
        mean = (answer.log_weights.exp() * answer.draws["U"]).sum()
        assert float(mean) == pytest.approx(1.5, abs=0.1)  # w x / (1 + w^2)
    assert float(learned.values["w"]) == 3.0
    assert set(pyro.get_param_store().keys()) == set()


# -- what can go wrong ---------------------------------------------------------------------------


def test_few_draws_are_resampled_by_their_weights():
    problem = Problem(
        SCM(skewed), 1, {}, {"X": torch.tensor([1.0]), "Y": torch.tensor([0.0])}, ("G",),
        num_draws=7,
    )  # fmt: skip
    answer = Variational(num_steps=200).solve(problem, seed=0)
    assert answer.draws["G"].shape == (1, 7, 1)
    assert answer.log_weights is None


def test_an_elbo_that_still_rises_is_reported():
    def guide(n):
        with pyro.plate("units", n):
            pyro.sample("U", dist.Normal(pyro.param("loc", torch.full((n,), -50.0)), 1.0))

    problem = Problem(SCM(mixture), 1, {}, {"X": torch.tensor([1.0])}, ("U",), num_draws=50)
    with pytest.warns(ConvergenceWarning) as caught:
        Variational(guide=guide, num_steps=100, learning_rate=0.1).solve(problem, seed=0)
    assert any("still rising after 100 steps" in str(w.message) for w in caught)


def test_evidence_that_no_start_can_explain_is_named():
    def program():
        u = pyro.sample("U", dist.Uniform(0.0, 1.0))
        pyro.sample("X", dist.Uniform(u, u + 1e-9))

    problem = Problem(SCM(program), 1, {}, {"X": torch.tensor([7.0])}, ("U",))
    with pytest.raises(ImpossibleEvidenceError, match="starting points"):
        Variational().solve(problem, seed=0)


def test_a_density_that_is_not_finite_is_reported():
    def guide(n):
        with pyro.plate("units", n):
            pyro.sample("U", dist.Normal(math.inf, pyro.param("scale", torch.ones(n))))

    problem = Problem(SCM(mixture), 1, {}, {"X": torch.tensor([1.0])}, ("U",))
    with pytest.raises(FitError, match="ELBO became"):
        Variational(guide=guide).solve(problem, seed=0)


def test_settings_are_checked():
    with pytest.raises(DataError, match="num_steps is 0"):
        Variational(num_steps=0)


# -- weights -------------------------------------------------------------------------------------


def test_resampling_follows_the_weights():
    logs = torch.log(torch.tensor([0.1, 0.6, 0.3]))[None, :, None].expand(2, 3, 4)
    chosen = resample(logs, 1000)
    assert chosen.shape == (2, 1000, 4)
    counts = torch.stack([(chosen == k).float().mean(1) for k in range(3)], -1)
    assert counts.numpy() == pytest.approx(
        torch.tensor([0.1, 0.6, 0.3]).expand(2, 4, 3).numpy(), abs=0.002
    )


def test_draws_without_weight_are_replaced_by_the_heaviest():
    logs = torch.tensor([0.0, -30.0, -1.0])[None, :, None]
    assert without_negligible(logs).flatten().tolist() == [0, 0, 2]


def test_khat_sees_a_heavy_tail_and_not_a_plateau():
    noise = torch.randn(1, 2000, 3, dtype=torch.double)
    heavy = 1.5 * noise[..., 0] ** 2
    plateau = torch.where(noise[..., 1] > 1.5, 1.0, 1e-7 * noise[..., 2])
    khat = khat_of(torch.stack([heavy, plateau, 0 * plateau], -1))
    assert float(khat[0]) > 0.7
    assert float(khat[1]) < 0.7
    assert float(khat[2]) < 0.7


def test_the_guides_density_is_that_of_its_draws():
    with forked_rng(0):
        latents = Latents(Problem(SCM(linear), 2, {}, {"Y": torch.tensor([1.0, 2.0])}, ("U",)))
        with latents.active():
            start = laplace(latents)
        guide = GaussianGuide(start)
        guide.set_parameters([0.3 * torch.randn_like(p) for p in guide.parameters])
        unit, _, (log_q, _) = guide.sample(50)
        moved = guide.as_start()
        law = dist.MultivariateNormal(moved.loc[0], scale_tril=moved.scale[0])
    assert log_q.detach().numpy() == pytest.approx(law.log_prob(unit.detach()).numpy(), abs=1e-3)
    # the wide mixture integrates to one: E_q[f / q] = 1 for any density f
    with forked_rng(1), torch.no_grad():
        unit, _, (log_wide, _) = guide.sample(20_000, wide=torch.tensor([True, False]))
        ratios = (law.log_prob(unit) - log_wide).exp().mean(0)
    assert ratios.numpy() == pytest.approx(1.0, abs=0.03)
