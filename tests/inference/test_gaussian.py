"""The Gaussian engine against closed forms and against joint covariances worked out in numpy."""

import math
import time
from dataclasses import dataclass

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from causalppl.exceptions import DataError, ImpossibleEvidenceError
from causalppl.inference.engine import Answer, Condition, Problem
from causalppl.inference.gaussian import Gaussian
from causalppl.inference.laws import NormalLaw, PointLaw
from causalppl.programs.interventions import Shift, World
from causalppl.programs.scm import SCM
from causalppl.programs.structural import Quantile


def ask(scm, targets, evidence=None, worlds=None, events=(), num_draws=50, n=1, seed=0) -> Answer:
    seen = {
        key: torch.as_tensor(value) if torch.is_tensor(value) else torch.full((n,), float(value))
        for key, value in (evidence or {}).items()
    }
    problem = Problem(scm, n, worlds or {}, seen, tuple(targets), tuple(events), num_draws)
    engine = Gaussian()
    assert engine.refusal(problem) is None
    return engine.solve(problem, seed=seed)


def refusal(program, targets=("Y",), evidence=None, worlds=None, **options) -> str:
    scm = SCM(program, **options)
    seen = {key: torch.full((1,), float(value)) for key, value in (evidence or {}).items()}
    text = Gaussian().refusal(Problem(scm, 1, worlds or {}, seen, targets))
    assert text is not None
    return text


def chain():
    """A latent confounder U, a latent mediator M."""
    u = pyro.sample("U", dist.Normal(0.0, 1.0))
    x = pyro.sample("X", dist.Normal(0.5 * u, 1.0))
    m = pyro.sample("M", dist.Normal(2 * x, 0.5))
    return pyro.sample("Y", dist.Normal(m + u, 0.7))


def slope_two():
    x = pyro.sample("X", dist.Normal(0.0, 1.0))
    return pyro.sample("Y", dist.Normal(2 * x, 1.0))


# -- closed forms ---------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 3])
def test_more_worlds_leave_the_factual_posterior_alone(count):
    def program():
        b = pyro.sample("b", dist.Normal(0.0, 1.0))
        return pyro.sample("x", dist.Normal(b, 1.0))

    worlds = {f"w{i}": {"b": float(i)} for i in range(count)}
    answer = ask(SCM(program), ["b", *(f"x@{w}" for w in worlds)], {"x": 2.0}, worlds)
    assert answer.laws["b"].mean().item() == pytest.approx(1.0, abs=1e-12)
    assert answer.laws["b"].sd().item() ** 2 == pytest.approx(0.5, abs=1e-12)


def test_noise_of_an_observed_site_is_shared():
    answer = ask(SCM(slope_two), ["Y@x0"], {"X": 1.0, "Y": 3.0}, {"x0": {"X": 0.0}})
    assert isinstance(answer.laws["Y@x0"], PointLaw)
    assert answer.laws["Y@x0"].mean().item() == pytest.approx(1.0, abs=1e-12)
    assert answer.draws["Y@x0"].std() == 0
    assert answer.is_exact


def test_latent_mediators_respond_and_latent_exogenous_sites_do_not():
    answer = ask(SCM(chain), ["U", "U@x0", "M", "M@x0"], {"X": 1.0, "Y": 3.0}, {"x0": {"X": 0.0}})
    assert torch.equal(answer.draws["U"], answer.draws["U@x0"])
    assert torch.allclose(answer.draws["M"] - answer.draws["M@x0"], torch.tensor(2.0), atol=1e-5)


def test_interventional_mean_without_evidence():
    answer = ask(SCM(chain), ["Y@x1"], worlds={"x1": {"X": 1.0}})
    law = answer.laws["Y@x1"]
    assert law.mean().item() == pytest.approx(2.0, abs=1e-12)
    assert law.sd().item() == pytest.approx(math.sqrt(0.25 + 1 + 0.49), abs=1e-12)


def test_evidence_in_two_worlds_on_one_site_fixes_two_noises():
    # Y = 2X + e and Y@s = 2(X + s) + e tell nothing of X; Y@x0 = e tells all
    answer = ask(SCM(slope_two), ["X", "Y@x5"], {"Y": 3.0, "Y@x0": 1.0}, {
        "x0": {"X": 0.0}, "x5": {"X": 5.0},
    })  # fmt: skip
    assert answer.means["X"].item() == pytest.approx(1.0, abs=1e-12)
    assert answer.means["Y@x5"].item() == pytest.approx(11.0, abs=1e-12)
    assert answer.laws["X"].sd().item() == 0


def test_a_deterministic_site_is_evidence():
    def program():
        a = pyro.sample("A", dist.Normal(1.0, 1.0))
        b = pyro.sample("B", dist.Normal(0.0, 2.0))
        pyro.deterministic("T", a + b)
        return pyro.sample("Y", dist.Normal(3 * a, 0.1))

    answer = ask(SCM(program), ["A", "B", "T"], {"T": 4.0})
    assert answer.laws["A"].mean().item() == pytest.approx(1 + 3 / 5, abs=1e-12)
    assert answer.laws["A"].sd().item() == pytest.approx(math.sqrt(1 - 1 / 5), abs=1e-12)
    assert answer.laws["T"].sd().item() == 0
    sums = answer.draws["A"] + answer.draws["B"]
    assert torch.allclose(sums, torch.tensor(4.0), atol=1e-5)


# -- an independent truth -------------------------------------------------------------------------


@dataclass
class Linear:
    """A random linear Gaussian model, as matrices and as a program."""

    weights: np.ndarray
    shift: np.ndarray
    sd: np.ndarray

    @classmethod
    def random(cls, size: int, seed: int) -> "Linear":
        rng = np.random.default_rng(seed)
        weights = np.tril(rng.normal(size=(size, size)), -1) * (rng.random((size, size)) < 0.6)
        return cls(weights, rng.normal(size=size), rng.uniform(0.3, 1.5, size))

    def program(self):
        values: list[torch.Tensor] = []
        for i in range(len(self.sd)):
            loc = torch.tensor(float(self.shift[i]))
            for j in np.flatnonzero(self.weights[i]):
                loc = loc + float(self.weights[i, j]) * values[j]
            values.append(pyro.sample(f"V{i}", dist.Normal(loc, float(self.sd[i]))))

    def solve(self, changes: dict[int, float]) -> tuple[np.ndarray, np.ndarray]:
        """Const and response to the structural noise, by inverting the structural equations."""
        weights, shift, spread = self.weights.copy(), self.shift.copy(), np.diag(self.sd)
        for i, value in changes.items():
            weights[i], shift[i], spread[i] = 0, value, 0
        total = np.linalg.inv(np.eye(len(shift)) - weights)
        return total @ shift, total @ spread

    def joint(self, worlds: list[dict[int, float]]) -> tuple[np.ndarray, np.ndarray]:
        parts = [self.solve(changes) for changes in worlds]
        response = np.concatenate([a for _, a in parts])
        return np.concatenate([c for c, _ in parts]), response @ response.T


def conditioned(mean, cov, known: dict[int, float], wanted: list[int]):
    """Textbook conditional of a joint normal law."""
    e = list(known)
    gain = np.linalg.solve(cov[np.ix_(e, e)], cov[np.ix_(e, wanted)]).T
    posterior = mean[wanted] + gain @ (np.array(list(known.values())) - mean[e])
    return posterior, cov[np.ix_(wanted, wanted)] - gain @ cov[np.ix_(e, wanted)]


@pytest.mark.parametrize("sigmas", [0.5, 2.0, 5.0, 7.0])
@pytest.mark.parametrize("seed", range(5))
def test_random_models_agree_with_the_joint_covariance(seed, sigmas):
    size, rng = 7, np.random.default_rng(100 + seed)
    model = Linear.random(size, seed)
    mean, cov = model.joint([{}, {2: 1.5}, {1: -1.0, 4: 0.5}])
    worlds = {"a": {"V2": 1.5}, "b": {"V1": -1.0, "V4": 0.5}}
    names = [f"V{i}{mark}" for mark in ("", "@a", "@b") for i in range(size)]
    seen = [2, 5, size + 6]  # two factual sites and one in world a
    known = {i: mean[i] + sigmas * math.sqrt(cov[i, i]) * rng.choice([-1, 1]) for i in seen}
    wanted = [0, 1, 6, size + 3, 2 * size + 3, 2 * size + 6]
    truth, spread = conditioned(mean, cov, known, wanted)
    evidence = {names[i]: torch.tensor([value], dtype=torch.float64) for i, value in known.items()}
    answer = ask(SCM(model.program), [names[i] for i in wanted], evidence, worlds)
    found = [answer.laws[names[i]] for i in wanted]
    scale = max(1.0, np.abs(truth).max())
    assert [law.mean().item() for law in found] == pytest.approx(truth, abs=1e-9 * scale)
    sd = np.sqrt(np.maximum(np.diag(spread), 0))
    assert [law.sd().item() for law in found] == pytest.approx(sd, abs=1e-6)


def test_draws_are_joint():
    model = Linear.random(5, 3)
    mean, cov = model.joint([{}, {1: 2.0}])
    truth, spread = conditioned(mean, cov, {4: 3.0}, [0, 2, 8])
    answer = ask(SCM(model.program), ["V0", "V2", "V3@a"], {"V4": 3.0}, {"a": {"V1": 2.0}},
                 num_draws=20_000)  # fmt: skip
    draws = torch.stack([answer.draws[k][0, :, 0] for k in ("V0", "V2", "V3@a")]).double().numpy()
    # 5 standard errors of means and covariances: false alarm below 1e-5
    error = np.sqrt((np.outer(np.diag(spread), np.diag(spread)) + spread**2) / 20_000)
    assert np.all(np.abs(draws.mean(1) - truth) < 5 * np.sqrt(np.diag(spread) / 20_000))
    assert np.all(np.abs(np.cov(draws) - spread) < 5 * error)


def test_noise_far_below_the_other_scales_is_kept():
    def program():
        u = pyro.sample("U", dist.Normal(0.0, 1.0))
        pyro.sample("A", dist.Normal(u, 1e-5))
        return pyro.sample("B", dist.Normal(u, 1e-5))

    seen = {k: torch.tensor([v], dtype=torch.float64) for k, v in (("A", 1.0), ("B", 1.00002))}
    law = ask(SCM(program), ["U"], seen).laws["U"]
    precision = 1 + 2e10
    assert law.mean().item() == pytest.approx(2.00002e10 / precision, rel=1e-10)
    assert law.sd().item() == pytest.approx(precision**-0.5, rel=1e-5)


# -- what programs may contain --------------------------------------------------------------------


def vectors():
    cov = torch.tensor([[2.0, 0.6], [0.6, 1.0]])
    z = pyro.sample("Z", dist.MultivariateNormal(torch.zeros(2), cov))
    w = pyro.sample("W", dist.Normal(z, torch.tensor([1.0, 2.0])).to_event(1))
    return pyro.sample("Y", dist.Normal(w[..., 0] - 2 * w[..., 1] + z[..., 0], 0.5))


def test_vector_valued_sites():
    # noise: two of Z, two of W, one of Y
    z = np.concatenate([np.linalg.cholesky([[2.0, 0.6], [0.6, 1.0]]), np.zeros((2, 3))], 1)
    w = z + np.array([[0, 0, 1.0, 0, 0], [0, 0, 0, 2.0, 0]])
    last = np.array([0, 0, 0, 0, 0.5])
    rows = np.stack([*z, *w, w[0] - 2 * w[1] + z[0] + last, z[0] + last])
    mean = np.array([0, 0, 0, 0, 0, 3.0])
    scm, worlds = SCM(vectors), {"w": {"W": torch.tensor([1.0, -1.0])}}
    all_of_w, y = torch.tensor([[0.7, 1.0]], dtype=torch.float64), 2.0
    for evidence, known in (
        ({"Y": y}, {4: y}),
        ({"W": all_of_w}, {2: 0.7, 3: 1.0}),
        ({"Y": y, "W": all_of_w}, {4: y, 2: 0.7, 3: 1.0}),
    ):
        truth, spread = conditioned(mean, rows @ rows.T, known, [0, 1, 5])
        answer = ask(scm, ["Z", "Y@w"], evidence, worlds)
        assert answer.draws["Z"].shape == (1, 50, 1, 2)
        assert answer.laws["Z"].shape == (1, 2)
        found = [*answer.means["Z"].flatten().tolist(), answer.means["Y@w"].item()]
        assert found == pytest.approx(truth, abs=1e-6)
        sd = [*answer.laws["Z"].sd().flatten().tolist(), answer.laws["Y@w"].sd().item()]
        assert sd == pytest.approx(np.sqrt(np.maximum(np.diag(spread), 0)), abs=1e-6)


def test_low_rank_multivariate_normals_and_matrix_products():
    def program():
        z = pyro.sample(
            "Z",
            dist.LowRankMultivariateNormal(
                torch.zeros(2), torch.tensor([[1.0], [2.0]]), torch.ones(2)
            ),
        )
        matrix = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, -1.0]])
        return pyro.sample("Y", dist.Normal(z @ matrix, 1.0).to_event(1))

    cov = np.array([[2.0, 2.0], [2.0, 5.0]])
    m = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, -1.0]])
    joint = np.block([[cov, cov @ m], [m.T @ cov, m.T @ cov @ m + np.eye(3)]])
    truth, spread = conditioned(np.zeros(5), joint, {2: 1.0, 3: 2.0, 4: 3.0}, [0, 1])
    answer = ask(SCM(program), ["Z"], {"Y": torch.tensor([[1.0, 2.0, 3.0]])})
    assert answer.means["Z"].flatten().tolist() == pytest.approx(truth, abs=1e-9)
    assert answer.laws["Z"].sd().flatten().tolist() == pytest.approx(
        np.sqrt(np.diag(spread)), abs=1e-9
    )


def test_inner_plates_become_coordinates():
    def program(n):
        items = pyro.plate("items", 3, dim=-2)
        with pyro.plate("units", n, dim=-1):
            z = pyro.sample("Z", dist.Normal(0.0, 1.0))
            with items:
                pyro.sample("Y", dist.Normal(z, 1.0))

    y = torch.tensor([[1.0, 2.0, 6.0], [0.0, 0.0, 0.0]])
    answer = ask(SCM(program), ["Z", "Y@z"], {"Y": y}, {"z": {"Z": 1.0}}, n=2)
    assert answer.means["Z"][0].tolist() == pytest.approx([9 / 4, 0.0])
    assert answer.laws["Z"].sd().tolist() == pytest.approx([0.5, 0.5])
    assert answer.means["Y@z"].shape == (1, 2, 3)
    assert answer.means["Y@z"][0, 0].tolist() == pytest.approx([1 - 5 / 4, 2 - 5 / 4, 6 - 5 / 4])


def test_every_kind_of_intervention():
    worlds = {
        "units": {"X": torch.tensor([0.0, 10.0])},
        "shift": {"X": Shift(torch.tensor([1.0, 2.0]))},
        "policy": {"X": lambda natural, U: 3 * natural - U + 1},
        "law": {"X": dist.Normal(4.0, 3.0)},
        "noisy": {"X": lambda U: dist.Normal(2 * U, 1.0)},
        "mixed": {"X": World("units"), "M": World("shift")},
    }
    x, y = torch.tensor([1.0, 2.0]), torch.tensor([3.0, -1.0])
    keys = ["U", "X@shift", "X@policy", "Y@units", "Y@shift", "Y@policy", "Y@law", "Y@noisy",
            "Y@mixed", "X@mixed", "M"]  # fmt: skip
    answer = ask(SCM(chain), keys, {"X": x, "Y": y}, worlds, num_draws=20_000, n=2)
    m, u = answer.means, answer.means["U"][0]
    assert m["X@shift"][0].tolist() == pytest.approx([2.0, 4.0])
    assert torch.allclose(m["X@policy"][0], 3 * x.double() - u + 1)
    assert torch.allclose(m["Y@units"][0], y + 2 * (worlds["units"]["X"] - x).double())
    assert torch.allclose(m["Y@shift"][0], y + 2 * torch.tensor([1.0, 2.0]).double())
    assert torch.allclose(m["Y@policy"][0], y + 2 * (2 * x.double() - u + 1))
    assert torch.allclose(m["Y@law"][0], y + 2 * (4 - x.double()))
    assert answer.laws["Y@law"].sd().tolist() == pytest.approx([6.0, 6.0])
    sd_u = answer.laws["U"].sd()
    assert torch.allclose(answer.laws["Y@noisy"].sd(), torch.sqrt(4 + 16 * sd_u**2))
    assert torch.allclose(m["Y@mixed"][0], y + 2 * torch.tensor([1.0, 2.0]).double())
    assert m["X@mixed"][0].tolist() == pytest.approx([0.0, 10.0])
    shifted = answer.draws["Y@policy"] - 2 * (2 * x - answer.draws["U"] + 1)
    assert torch.allclose(shifted, y.expand_as(shifted), atol=1e-4)


def test_sites_of_other_families_may_be_set_or_given():
    def program():
        u = pyro.sample("U", dist.Normal(0.0, 1.0))
        c = pyro.sample("C", dist.Gamma(2.0, 1.0))
        x = pyro.sample("X", dist.Bernoulli(torch.sigmoid(c)))
        y = pyro.sample("Y", dist.Normal(3 * x + u + c, 1.0))
        pyro.sample("After", dist.Poisson(torch.exp(y)))

    scm, worlds = SCM(program), {"x0": {"X": 0.0}, "x1": {"X": 1.0, "C": 2.0}}
    assert ask(scm, ["Y@x1"], worlds=worlds).means["Y@x1"].item() == pytest.approx(5.0)
    answer = ask(scm, ["Y@x0", "U"], {"C": 2.0, "X": 1.0, "Y": 7.0}, worlds)
    assert answer.means["Y@x0"].item() == pytest.approx(4.0)
    assert answer.means["U"].item() == pytest.approx(1.0)
    assert answer.laws["U"].sd().item() == pytest.approx(math.sqrt(0.5))
    with pytest.raises(ImpossibleEvidenceError, match=r"X = 0\.5 of unit 0"):
        ask(scm, ["Y@x0"], {"C": 2.0, "X": 0.5}, worlds)


def test_float32_tensors_of_the_program_are_served():
    layer = torch.nn.Linear(2, 1)

    def program():
        z = pyro.sample("Z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        return pyro.sample("Y", dist.Normal(layer(z).squeeze(-1), 1.0))

    answer = ask(SCM(program), ["Z"], {"Y": 2.0})
    w, b = layer.weight[0].detach().double(), layer.bias[0].item()
    truth = w * (2 - b) / (1 + w @ w)
    assert answer.means["Z"][0, 0].tolist() == pytest.approx(truth.tolist(), abs=1e-5)
    assert "torch.float32" in answer.notes[1]
    assert torch.get_default_dtype() == torch.float32


# -- parameters -----------------------------------------------------------------------------------


def with_parameters(n):
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    sd = pyro.sample("sd", dist.HalfNormal(1.0))
    with pyro.plate("units", n):
        u = pyro.sample("U", dist.Normal(0.0, sd))
        x = pyro.sample("X", dist.Normal(u, 1.0))
        pyro.sample("Y", dist.Normal(slope * x + u, 0.5))


def one_by_one(n):
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    sd = pyro.sample("sd", dist.HalfNormal(1.0))
    assert slope.dim() == 0
    with pyro.plate("units", n):
        u = pyro.sample("U", dist.Normal(torch.zeros(n), sd))
        x = pyro.sample("X", dist.Normal(u, 1.0))
        pyro.sample("Y", dist.Normal(slope * x + u, 0.5))


@pytest.mark.parametrize("program", [with_parameters, one_by_one])
@pytest.mark.parametrize("draws", [1, 5])
def test_parameter_draws_give_an_axis(program, draws):
    rng = np.random.default_rng(0)
    slopes, sds = rng.normal(size=draws), rng.uniform(0.5, 2, draws)
    scm = SCM(program, check=False).with_parameters(
        {"slope": torch.tensor(slopes), "sd": torch.tensor(sds)}
    )
    x, y = torch.tensor([1.0, 2.0, -1.0]), torch.tensor([0.0, 4.0, 1.0])
    answer = ask(scm, ["U", "Y@x0"], {"X": x, "Y": y}, {"x0": {"X": 0.0}}, n=3, num_draws=7)
    assert answer.draws["U"].shape == (draws, 7, 3)
    for d, (slope, sd) in enumerate(zip(slopes, sds, strict=True)):
        mean = (x + 4 * (y - slope * x)) / (1 / sd**2 + 1 + 4)
        assert answer.means["U"][d].tolist() == pytest.approx(mean.tolist(), abs=1e-6)
        assert answer.means["Y@x0"][d].tolist() == pytest.approx((y - slope * x).tolist(), abs=1e-6)
    assert set(answer.laws) == ({"U", "Y@x0"} if draws == 1 else set())


def test_free_parameters_are_learned_from_all_units():
    def program(n):
        base = pyro.sample("base", dist.Normal(1.0, 2.0))
        with pyro.plate("units", n):
            u = pyro.sample("U", dist.Normal(base, 1.0))
            pyro.sample("Y", dist.Normal(u, 0.5))

    n = 4
    y = torch.tensor([1.0, 2.0, 0.5, 3.0])
    answer = ask(SCM(program), ["base", "U"], {"Y": y}, n=n, num_draws=20_000)
    cov = np.full((n, n), 4.0) + 1.25 * np.eye(n)
    joint = np.block([[np.full((1, 1), 4.0), np.full((1, n), 4.0), np.full((1, n), 4.0)],
                      [np.full((n, 1), 4.0), cov - 0.25 * np.eye(n), cov - 0.25 * np.eye(n)],
                      [np.full((n, 1), 4.0), cov - 0.25 * np.eye(n), cov]])  # fmt: skip
    known = {1 + n + i: float(v) for i, v in enumerate(y)}
    truth, spread = conditioned(np.ones(2 * n + 1), joint, known, list(range(n + 1)))
    assert answer.means["base"][0].tolist() == pytest.approx([truth[0]] * n, abs=1e-9)
    assert answer.means["U"][0].tolist() == pytest.approx(truth[1:], abs=1e-9)
    assert answer.laws["base"].sd().tolist() == pytest.approx(
        [math.sqrt(spread[0, 0])] * n, abs=1e-9
    )
    assert answer.laws["U"].sd().tolist() == pytest.approx(np.sqrt(np.diag(spread)[1:]), abs=1e-9)
    assert torch.equal(answer.draws["base"][..., 0], answer.draws["base"][..., 3])
    drawn = np.cov(answer.draws["U"][0].double().numpy().T)
    assert np.abs(drawn - spread[1:, 1:]).max() < 0.02  # 6 standard errors


# -- probabilities --------------------------------------------------------------------------------


def test_probability_of_one_target_is_a_normal_tail():
    worlds = {"x0": {"X": 0.0}}
    events = [Condition("Y@x0", ">", 1.0), Condition("Y@x0", "<=", 1.5)]
    answer = ask(SCM(chain), ["Y@x0"], {"Y": 3.0}, worlds, events)
    law = answer.laws["Y@x0"]
    truth = norm.cdf(1.5, law.mean(), law.sd()) - norm.cdf(1.0, law.mean(), law.sd())
    assert answer.probability.item() == pytest.approx(truth.item(), abs=1e-12)
    far = ask(SCM(slope_two), ["X"], events=[Condition("X", ">", 12.0)])
    assert far.probability.item() == pytest.approx(norm.sf(12.0), rel=1e-9)


def test_joint_events_that_split_have_a_probability():
    scm, worlds = SCM(slope_two), {"x0": {"X": 0.0}, "x1": {"X": 1.0}}
    both = [Condition("Y@x1", ">", 1.0), Condition("Y@x0", "<", 1.0), Condition("X", "<", -0.5)]
    answer = ask(scm, ["Y@x1"], worlds=worlds, events=both)
    truth = (norm.cdf(1) - norm.cdf(-1)) * norm.cdf(-0.5)
    assert answer.probability.item() == pytest.approx(truth, abs=1e-12)
    impossible = [Condition("Y@x1", "<", 0.0), Condition("Y@x0", ">", 0.0)]
    assert ask(scm, ["Y@x1"], worlds=worlds, events=impossible).probability.item() == 0


def test_other_joint_events_are_left_to_the_draws():
    events = (Condition("X", ">", 0.0), Condition("Y", ">", 0.0))
    answer = ask(SCM(slope_two), ["X"], events=events, num_draws=40_000)
    assert answer.probability is None
    share = torch.stack([e.holds(answer.draws[e.key]) for e in events]).all(0).double().mean()
    truth = multivariate_normal([0, 0], [[1, 2], [2, 5]]).cdf([0, 0])
    assert share.item() == pytest.approx(truth, abs=5 * 0.5 / 200)  # 5 standard errors


def test_events_on_known_values_are_sure():
    seen, worlds = {"X": 1.0, "Y": 3.0}, {"x0": {"X": 0.0}}
    for op, truth in {"=": 1, ">=": 1, "<=": 1, ">": 0, "<": 0}.items():
        answer = ask(SCM(slope_two), ["Y@x0"], seen, worlds, [Condition("Y@x0", op, 1.0)])
        assert answer.probability.item() == truth
    assert ask(SCM(slope_two), ["Y"], events=[Condition("Y", "=", 0.0)]).probability.item() == 0


# -- contradictions and refusals ------------------------------------------------------------------


def test_redundant_evidence_is_allowed_and_contradictory_evidence_is_named():
    def program():
        x = pyro.sample("X", dist.Normal(0.0, 1.0))
        pyro.deterministic("D", 2 * x)
        return pyro.sample("Y", dist.Normal(x, 1.0))

    scm = SCM(program)
    third = torch.tensor([1 / 3, 0.1])
    answer = ask(scm, ["X"], {"X": third, "D": 2 * third}, n=2)
    assert answer.means["X"][0].tolist() == pytest.approx(third.tolist(), abs=1e-6)
    with pytest.raises(ImpossibleEvidenceError, match="D = 5 of unit 1 cannot occur"):
        ask(scm, ["Y"], {"X": torch.tensor([1.0, 1.0]), "D": torch.tensor([2.0, 5.0])}, n=2)
    with pytest.raises(ImpossibleEvidenceError, match="D = 4, X@y = 1 of unit 0 contradict"):
        ask(scm, ["Y"], {"D": 4.0, "X@y": 1.0}, {"y": {"Y": 0.0}})
    with pytest.raises(ImpossibleEvidenceError, match="X@x0"):
        ask(scm, ["Y"], {"X@x0": 1.0}, {"x0": {"X": 0.0}})
    with pytest.raises(DataError, match="'X' is not finite for unit 0"):
        ask(scm, ["Y"], {"X": math.inf})


def square():
    x = pyro.sample("X", dist.Normal(0.0, 1.0))
    return pyro.sample("Y", dist.Normal(x**2, 1.0))


def product():
    u = pyro.sample("U", dist.Normal(0.0, 1.0))
    x = pyro.sample("X", dist.Normal(0.0, 1.0))
    return pyro.sample("Y", dist.Normal(x * u, 1.0))


def spread_out():
    x = pyro.sample("X", dist.Normal(0.0, 1.0))
    return pyro.sample("Y", dist.Normal(x, torch.exp(x / 10)))


def kinked():
    x = pyro.sample("X", dist.Normal(0.0, 1.0))
    return pyro.sample("Y", dist.Normal(torch.clamp(x, -50.0, 50.0), 1.0))


def heavy():
    x = pyro.sample("X", dist.Laplace(0.0, 1.0))
    return pyro.sample("Y", dist.Normal(x, 1.0))


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (square, "mean of 'Y' is not affine in its parents X"),
        (product, "mean of 'Y' is not affine in its parents U, X"),
        (kinked, "mean of 'Y' is not affine"),
        (spread_out, "scale of 'Y' depends on its parents X"),
        (heavy, "'X' is Laplace"),
    ],
)
def test_refusals_name_the_site(program, words):
    text = refusal(program)
    assert words in text
    with pytest.raises(DataError, match="cannot answer"):
        Gaussian().solve(Problem(SCM(program), 1, {}, {}, ("Y",)), seed=0)


def test_refusals_of_interventions_name_site_and_world():
    world = {"w": {"X": lambda natural: natural**2}}
    assert "'X' in world 'w' is not affine" in refusal(slope_two, ("Y@w",), worlds=world)
    world = {"w": {"X": dist.Gamma(1.0, 1.0)}}
    assert "draws from Gamma" in refusal(slope_two, ("Y@w",), worlds=world)
    world = {"w": {"X": lambda Y: Y}}
    assert "asks for 'Y', which does not run before" in refusal(slope_two, ("Y@w",), worlds=world)
    world = {"w": {"X": World("v")}, "v": {"X": World("w")}}
    assert "circle" in refusal(slope_two, ("Y@w",), worlds=world)


def test_a_chosen_coupling_of_another_kind_is_refused():
    class Odd(Quantile):
        def for_family(self, fn):
            return self

    assert "coupling of 'Y'" in refusal(slope_two, couplings={"Y": Odd()}, check=False)


def test_a_site_of_another_family_whose_noise_other_worlds_need_is_refused():
    def program():
        z = pyro.sample("Z", dist.Normal(0.0, 1.0))
        x = pyro.sample("X", dist.Bernoulli(logits=z))
        return pyro.sample("Y", dist.Normal(x + z, 1.0))

    seen = {"Z": 1.0, "X": 1.0, "Y": 1.0}
    assert "'X' is Bernoulli" in refusal(program, ("Y@w",), seen, {"w": {"Z": 0.0}})
    assert "'X' is Bernoulli" in refusal(program, ("Y",), {"X": 1.0})
    answer = ask(SCM(program), ["Y@w"], seen, {"w": {"Z": 0.0, "X": 0.0}})
    assert answer.means["Y@w"].item() == pytest.approx(-1.0)


def test_evidence_built_into_the_program_is_asked_for():
    scm = SCM(pyro.condition(slope_two, data={"Y": torch.tensor(5.0)}))
    assert "observes 'Y'" in Gaussian().refusal(Problem(scm, 1, {}, {}, ("X",)))
    assert ask(scm, ["X"], {"Y": 5.0}).means["X"].item() == pytest.approx(2.0)


def test_nonlinear_sites_that_do_not_matter_are_no_obstacle():
    def program():
        x = pyro.sample("X", dist.Normal(0.0, 1.0))
        y = pyro.sample("Y", dist.Normal(x, 1.0))
        pyro.sample("S", dist.Bernoulli(logits=y**2))
        pyro.sample("K", dist.Binomial(5, torch.sigmoid(y)))

    assert ask(SCM(program), ["X"], {"Y": 2.0}).means["X"].item() == pytest.approx(1.0)

    # given X, the nonlinear way from Z to X tells nothing more
    def nonlinear_before():
        z = pyro.sample("Z", dist.Normal(0.0, 1.0))
        x = pyro.sample("X", dist.Normal(torch.sin(z), 1.0))
        return pyro.sample("Y", dist.Normal(x, 1.0))

    answer = ask(
        SCM(nonlinear_before), ["Y@x0"], {"Z": 1.0, "X": 2.0, "Y": 5.0}, {"x0": {"X": 0.0}}
    )
    assert answer.means["Y@x0"].item() == pytest.approx(3.0)


# -- size, seeds, speed ---------------------------------------------------------------------------


def test_the_seed_decides_and_the_global_state_stays():
    state = torch.get_rng_state()
    one, two, other = (ask(SCM(chain, check=False), ["Y"], {"X": 1.0}, seed=s) for s in (1, 1, 2))
    assert torch.equal(one.draws["Y"], two.draws["Y"])
    assert not torch.equal(one.draws["Y"], other.draws["Y"])
    assert torch.equal(state, torch.get_rng_state())
    assert one.draws["Y"].dtype == torch.float32


def test_many_units_share_one_factorisation():
    n = 200_000
    x, y = torch.linspace(-3, 3, n), torch.linspace(4, -4, n)
    start = time.perf_counter()
    answer = ask(SCM(chain), ["Y@w", "U"], {"X": x, "Y": y}, {"w": {"X": torch.flip(x, [0])}},
                 n=n, num_draws=1000)  # fmt: skip
    assert time.perf_counter() - start < 10
    truth = y.double() + 2 * (torch.flip(x, [0]) - x).double()
    assert torch.allclose(answer.means["Y@w"][0], truth, atol=1e-9)
    assert isinstance(answer.laws["U"], NormalLaw)
    assert answer.draws["U"].shape[1] < 1000
    assert "draws instead of 1000" in answer.notes[-1]


def test_a_unit_counterfactual_takes_milliseconds():
    def program():
        u = pyro.sample("U", dist.Normal(0.0, 1.0))
        v = pyro.sample("V", dist.Normal(0.0, 1.0))
        z = pyro.sample("Z", dist.Normal(u, 1.0))
        x = pyro.sample("X", dist.Normal(z + v, 1.0))
        m = pyro.sample("M", dist.Normal(2 * x + u, 1.0))
        pyro.sample("Y", dist.Normal(m - v, 1.0))

    scm, worlds = SCM(program), {"x0": {"X": 0.0}}
    times = []
    for _ in range(7):
        start = time.perf_counter()
        ask(scm, ["Y@x0"], {"X": 1.0, "Y": 3.0, "Z": 0.5}, worlds, num_draws=1000)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.02
