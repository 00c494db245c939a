"""Amortised: calibration, training once, files, and a million units."""

import time
import warnings
from dataclasses import replace

import pyro
import pyro.distributions as dist
import pytest
import torch

from causalppl.exceptions import ConvergenceWarning, DataError, ProgramError
from causalppl.inference.amortised import Amortised, TrainedAmortised
from causalppl.inference.engine import Problem
from causalppl.inference.infer import infer
from causalppl.programs.scm import SCM


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


def mixture():
    z = pyro.sample("Z", dist.Bernoulli(0.3))
    c = pyro.sample("C", dist.OneHotCategorical(torch.tensor([0.2, 0.3, 0.5])))
    u = pyro.sample("U", dist.Normal(2 * z + c[..., 0], 1.0))
    return pyro.sample("X", dist.Normal(u, 1.0))


def hierarchy(n):
    a = pyro.sample("a", dist.Normal(0.0, 2.0))
    with pyro.plate("units", n):
        u = pyro.sample("U", dist.Normal(a, 1.0))
        return pyro.sample("X", dist.Normal(u, 1.0))


def check_calibrated(engine, program, latent):
    scm = SCM(program)
    truth = scm.sample(1000, seed=1)
    problem = Problem(
        scm, 1000, {}, {k: truth[k] for k in ("X", "Y")}, latent, num_draws=500
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # one or two of 256 units
        answer = engine.solve(problem, seed=0)
    for key in latent:
        draws = answer.draws[key][0]
        weights = torch.full_like(draws, 1 / len(draws))
        if answer.log_weights is not None:
            weights = torch.softmax(answer.log_weights[0], 0)
        below = (weights * (draws < truth[key])).sum(0)
        # 1,000 units: 87 to 93 % is more than three standard errors
        assert 0.87 <= float(((below > 0.05) & (below < 0.95)).float().mean()) <= 0.93
    return answer


def test_intervals_are_calibrated_where_the_program_is_linear_gaussian():
    # the regression that the network starts from is the posterior already
    answer = check_calibrated(Amortised(num_steps=100), linear, ("U", "M"))
    assert max(answer.diagnostics["khat"]) < 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    "engine", [Amortised(), Amortised(correct=True), Amortised(flow=True, num_steps=500)],
    ids=["gaussian", "corrected", "flow"],
)  # fmt: skip
def test_intervals_are_calibrated_where_the_posterior_is_skewed(engine):
    check_calibrated(engine, skewed, ("G", "H"))


def test_it_is_trained_once_and_answers_problems_of_any_size():
    scm = SCM(linear)
    engine = Amortised(num_steps=50, num_simulations=4096).train(scm, ["X", "Y"], seed=0)
    for n in (1, 7):
        x, y = torch.linspace(-1.0, 1.0, n), torch.ones(n)
        problem = Problem(scm, n, {"x0": {"X": 0.0}}, {"Y": y, "X": x}, ("U", "Y@x0"), num_draws=50)
        assert engine.solve(problem, seed=0).draws["Y@x0"].shape == (1, 50, n)
    assert len(engine.history["loss"]) == 50
    other = Problem(scm, 1, {}, {"X": torch.ones(1)}, ("U",))
    assert "trained for evidence on X, Y, and the evidence is on X" in engine.refusal(other)


@pytest.mark.parametrize("flow", [False, True])
def test_a_saved_guide_answers_the_same(tmp_path, flow):
    scm = SCM(mixture)
    settings = Amortised(num_steps=20, num_simulations=2048, flow=flow, hidden=(16,))
    engine = settings.train(scm, ["X"], seed=0)
    engine.save(tmp_path / "guide.pt")
    loaded = TrainedAmortised.load(tmp_path / "guide.pt")
    problem = Problem(scm, 3, {}, {"X": torch.arange(3.0)}, ("U", "C", "Z"), num_draws=50)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it was hardly trained
        first, second = engine.solve(problem, seed=1), loaded.solve(problem, seed=1)
    for key in ("U", "C", "Z"):
        assert bool((first.draws[key] == second.draws[key]).all())
    assert loaded.history == engine.history


class Payload:
    def __reduce__(self):
        return (pytest.fail, ("code ran while loading",))


def test_loading_runs_no_code_from_the_file(tmp_path):
    torch.save({"format": 2, "spec": Payload()}, tmp_path / "bad.pt")
    with pytest.raises(Exception, match=r"[Ww]eights.only|Unsupported") as caught:
        TrainedAmortised.load(tmp_path / "bad.pt")
    assert "code ran" not in str(caught.value)
    torch.save({"format": 99}, tmp_path / "other.pt")
    with pytest.raises(DataError, match="not a trained guide of format 2"):
        TrainedAmortised.load(tmp_path / "other.pt")


def test_discrete_latents_have_a_head_of_their_own():
    scm, x = SCM(mixture), torch.tensor([-1.0, 3.0])
    problem = Problem(scm, 2, {}, {"X": x}, ("Z", "C", "U"), num_draws=4000)
    answer = Amortised(num_steps=300).solve(problem, seed=0)
    prior = torch.tensor([[0.7, 0.3]]).T * torch.tensor([[0.2, 0.8]])  # Z by whether C is the first
    loc = torch.tensor([[1.0, 0.0], [3.0, 2.0]])
    joint = prior[..., None] * dist.Normal(loc[..., None], 2**0.5).log_prob(x).exp()
    joint = joint / joint.sum((0, 1))
    assert answer.draws["C"].shape == (1, 4000, 2, 3)
    assert bool((answer.draws["C"].sum(-1) == 1).all())
    assert answer.draws["Z"].mean(1)[0].numpy() == pytest.approx(joint[1].sum(0).numpy(), abs=0.06)
    first = answer.draws["C"][0, ..., 0].mean(0)
    assert first.numpy() == pytest.approx(joint[:, 0].sum(0).numpy(), abs=0.06)


def test_parameter_draws_are_inputs():
    a = torch.linspace(-3.0, 3.0, 400)
    scm, x = SCM(hierarchy).with_parameters({"a": a}), torch.tensor([0.0, 2.0])
    engine = Amortised(num_steps=100).train(scm, ["X"], seed=0)
    # a model with fewer draws is answered by the same guide
    few = SCM(hierarchy).with_parameters({"a": torch.tensor([-2.0, 0.5])})
    answer = engine.solve(Problem(few, 2, {}, {"X": x}, ("U",), num_draws=1000), seed=0)
    expected = (torch.tensor([[-2.0], [0.5]]) + x) / 2
    assert answer.draws["U"].mean(1).numpy() == pytest.approx(expected.numpy(), abs=0.15)
    assert "takes draws of a" in engine.refusal(Problem(SCM(hierarchy), 2, {}, {"X": x}, ("U",)))


def test_an_untrained_guide_is_reported_by_its_khat():
    truth = SCM(skewed).sample(300, seed=0)
    seen = {key: truth[key] for key in ("X", "Y")}
    problem = Problem(SCM(skewed), 300, {}, seen, ("G",), num_draws=10)
    with pytest.warns(ConvergenceWarning, match="of 256 units"):
        answer = Amortised(num_steps=1, correct=False).solve(problem, seed=0)
    assert answer.diagnostics["khat"] > 0.7


def test_what_cannot_be_amortised_is_refused_by_name():
    x = torch.tensor([1.0, 2.0])
    assert "parameters a have no draws" in Amortised().refusal(
        Problem(SCM(hierarchy), 2, {}, {"X": x}, ("U",))
    )
    by_unit = Problem(SCM(linear), 2, {"w": {"X": x}}, {"Y@w": x}, ("U",))
    assert "differs between units" in Amortised().refusal(by_unit)

    def many():
        z = [pyro.sample(f"Z{i}", dist.Bernoulli(0.5)) for i in range(7)]
        pyro.sample("X", dist.Normal(sum(z), 1.0))

    with pytest.raises(ProgramError, match="128 combinations, more than the 64"):
        Amortised().train(SCM(many), ["X"], seed=0)
    with pytest.raises(DataError, match="evidence names 'Q'"):
        Amortised().train(SCM(linear), ["Q"], seed=0)


def test_heavy_tails_and_categories_are_tamed():
    def program():
        k = pyro.sample("K", dist.Categorical(torch.ones(5)))
        scale = torch.tensor([1.0, 5.0, 0.2, 3.0, 0.5])[k]
        u = pyro.sample("U", dist.Normal(scale, 0.3))
        pyro.sample("X", dist.StudentT(1.0, u, 1.0))

    scm = SCM(program)
    truth = scm.sample(2000, seed=0)
    seen = {"K": truth["K"], "X": truth["X"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        answer = Amortised(num_steps=300).solve(
            Problem(scm, 2000, {}, seen, ("U",), num_draws=100), seed=0
        )
    left = truth["U"] - answer.draws["U"][0].mean(0)
    assert float(left.abs().max()) < 2.0  # 0.3 is the spread within a category
    assert float(left.std()) < 0.33


@pytest.mark.slow
def test_a_million_units_take_seconds():
    scm = SCM(skewed)
    engine = Amortised(num_steps=100).train(scm, ["X", "Y"], seed=0)
    truth = scm.sample(1_000_000, seed=1)
    seen = {key: truth[key] for key in ("X", "Y")}
    problem = Problem(scm, 1_000_000, {"x0": {"X": 0.0}}, seen, ("Y@x0",), num_draws=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        began = time.perf_counter()
        answer = engine.solve(problem, seed=0)
    assert answer.draws["Y@x0"].shape == (1, 1, 1_000_000)
    assert time.perf_counter() - began < 20  # 1e5 per second is 10; 2 s on an idle core


def test_a_file_that_is_no_guide_is_named(tmp_path):
    (tmp_path / "junk").write_text("hello")
    with pytest.raises(DataError, match="cannot be read as a trained guide"):
        TrainedAmortised.load(tmp_path / "junk")


def bent():
    u = pyro.sample("U", dist.Normal(0.0, 1.0))
    x = pyro.sample("X", dist.Normal(torch.tanh(u), 0.7))
    return pyro.sample("Y", dist.Normal(u + u * x, 0.5))


def means_of_bent(x, y):
    u = torch.linspace(-6.0, 6.0, 4001)[:, None]
    log_density = (
        dist.Normal(0.0, 1.0).log_prob(u)
        + dist.Normal(torch.tanh(u), 0.7).log_prob(x)
        + dist.Normal(u + u * x, 0.5).log_prob(y)
    )
    return (log_density.softmax(0) * u).sum(0)


@pytest.fixture(scope="module")
def crude():
    settings = Amortised(num_steps=30, num_simulations=4096, hidden=(16,))
    return settings.train(SCM(bent), ["X", "Y"], seed=0)


def bent_problem(n, num_draws, scm=None):
    truth = SCM(bent).sample(n, seed=3)
    seen = {"X": truth["X"], "Y": truth["Y"]}
    return Problem(scm or SCM(bent), n, {}, seen, ("U",), num_draws=num_draws)


@pytest.mark.filterwarnings("ignore:k-hat is above", "ignore:the guide's means")
def test_few_units_are_corrected_one_by_one_unasked(crude):
    problem = bent_problem(40, 4000)
    expected = means_of_bent(problem.evidence["X"], problem.evidence["Y"])
    answer = crude.solve(problem, seed=0)
    weights = answer.log_weights[0].softmax(0)
    plain = replace(crude, correct=False).solve(problem, seed=0)
    trusted = torch.tensor(answer.diagnostics["khat"]) < 0.5
    ess = torch.tensor(answer.diagnostics["ess"])
    left = ((weights * answer.draws["U"][0]).sum(0) - expected)[trusted]
    spread = answer.draws["U"][0].std(0)
    assert int(trusted.sum()) > 20
    # five Monte Carlo standard errors of weighed draws, for each unit
    assert bool((left.abs() < 5 * (spread / ess.sqrt())[trusted]).all())
    off = (plain.draws["U"][0].mean(0) - expected)[trusted] / (spread[trusted] / 4000**0.5)
    assert float(off.abs().max()) > 10  # what it used to answer


def test_the_bias_of_plain_draws_is_counted_and_warned_of(crude):
    plain = replace(crude, correct=False)
    problem = bent_problem(600, 2000)
    expected = means_of_bent(problem.evidence["X"], problem.evidence["Y"])
    with pytest.warns(ConvergenceWarning) as caught:
        answer = plain.solve(problem, seed=0)
    assert any("means of single units are off: U by about" in str(w.message) for w in caught)
    left = answer.draws["U"][0].mean(0) - expected
    truth = float((left**2).mean().sqrt())
    assert answer.diagnostics["bias(U)"] == pytest.approx(truth, rel=0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        table = infer(
            SCM(bent), ["U"], evidence=problem.evidence, engine=plain, num_draws=2000, seed=0
        ).summary()
        number = infer(
            SCM(bent), "E[U]", evidence=problem.evidence, engine=plain, num_draws=2000, seed=0
        )
    assert bool((table["mcse"] >= 0.6 * truth).all())
    assert bool((torch.as_tensor(number.sd()["U"]) >= 0.6 * truth).all())


def test_very_many_units_are_not_corrected_unasked(crude):
    assert crude._weighs(bent_problem(100, 1000))
    assert not crude._weighs(bent_problem(100_000, 100))


def shifted_bent():
    u = pyro.sample("U", dist.Normal(0.0, 1.0))
    x = pyro.sample("X", dist.Normal(torch.tanh(u), 0.7))
    return pyro.sample("Y", dist.Normal(u + 1.05 * u * x, 0.5))


def unarrowed_bent():
    u = pyro.sample("U", dist.Normal(0.0, 1.0))
    pyro.sample("X", dist.Normal(0.0, 0.7))
    return pyro.sample("Y", dist.Normal(u, 0.5))


@pytest.mark.filterwarnings("ignore::causalppl.exceptions.ConvergenceWarning")
def test_a_guide_knows_its_program(crude, tmp_path):
    crude.save(tmp_path / "guide.pt")
    for guide in (crude, TrainedAmortised.load(tmp_path / "guide.pt")):
        guide.solve(bent_problem(3, 100), seed=0)
        with pytest.raises(ProgramError, match=r"another program: the log density .* differs by"):
            guide.solve(bent_problem(3, 100, SCM(shifted_bent)), seed=0)
        with pytest.raises(ProgramError, match="another program: the site 'X' was Normal of U"):
            guide.solve(bent_problem(3, 100, SCM(unarrowed_bent)), seed=0)


@pytest.mark.filterwarnings("ignore::causalppl.exceptions.ConvergenceWarning")
def test_a_guide_knows_the_fit_and_the_worlds_it_was_trained_for():
    x = torch.tensor([0.0, 2.0])
    settings = Amortised(num_steps=5, num_simulations=1024)
    one = SCM(hierarchy).with_parameters({"a": torch.tensor([0.0])})
    guide = settings.train(one, ["X"], seed=0)
    guide.solve(Problem(one, 2, {}, {"X": x}, ("U",), num_draws=100), seed=0)
    refitted = SCM(hierarchy).with_parameters({"a": torch.tensor([0.5])})
    several = SCM(hierarchy).with_parameters({"a": torch.tensor([0.0, 0.5])})
    for scm, told in ((refitted, "differs by"), (several, "trained for one value of a")):
        with pytest.raises(ProgramError, match=told):
            guide.solve(Problem(scm, 2, {}, {"X": x}, ("U",), num_draws=100), seed=0)
    scm = SCM(linear)
    guide = settings.train(scm, ["Y@w"], worlds={"w": {"X": 0.0}}, seed=0)
    for value in (0.0, 1.0):
        problem = Problem(scm, 2, {"w": {"X": value}}, {"Y@w": x}, ("U",), num_draws=100)
        if value:
            with pytest.raises(ProgramError, match="differs by"):
                guide.solve(problem, seed=0)
        else:
            guide.solve(problem, seed=0)


def test_settings_and_files_of_the_wrong_kind_are_named(tmp_path):
    with pytest.raises(DataError, match="hidden is 8"):
        Amortised(hidden=8)
    with pytest.raises(DataError, match="correct is 'yes'"):
        Amortised(correct="yes")
    torch.save({"format": 2}, tmp_path / "guide.pt")
    with pytest.raises(DataError, match="lacks"):
        TrainedAmortised.load(tmp_path / "guide.pt")
