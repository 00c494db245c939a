"""Worlds share noise, do not disturb the factual one, and cost what they should."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from causalppl.exceptions import DataError, ImpossibleEvidenceError, ProgramError
from causalppl.programs import SCM, GumbelMax, Quantile, Shift, World, simulate, twin_worlds
from causalppl.seeding import forked_rng


def mediated():
    u = pyro.sample("U", dist.Normal(0.0, 1.0))
    x = pyro.sample("X", dist.Bernoulli(logits=u))
    m = pyro.sample("M", dist.Normal(x + u, 1.0))
    d = pyro.deterministic("D", 2 * m)
    return pyro.sample("Y", dist.Normal(d + x + u, 1.0))


def run(twin, n, *, seed=0, **evidence):
    with forked_rng(seed):
        return pyro.condition(twin, data=evidence)(n)


def test_noise_is_shared_with_a_plain_normal_site():
    def program():
        x = pyro.sample("X", dist.Normal(0.0, 1.0))
        return pyro.sample("Y", dist.Normal(2 * x, 1.0))

    twin = twin_worlds(program, {"x0": {"X": 0.0}})
    seen = pyro.condition(twin, data={"X": torch.tensor(1.0), "Y": torch.tensor(3.0)})
    assert float(seen()["Y@x0"]) == 1.0


def test_latent_mediators_respond_and_latent_causes_do_not():
    values = run(twin_worlds(SCM(mediated), {"x0": {"X": 0.0}, "x1": {"X": 1.0}}), 5)
    assert torch.equal(values["U@x0"], values["U"])
    assert torch.allclose(values["M@x1"] - values["M@x0"], torch.ones(5), atol=1e-6)
    assert torch.allclose(values["Y@x1"] - values["Y@x0"], torch.full((5,), 3.0), atol=1e-5)


def test_a_value_from_another_world_and_shifts_and_policies():
    worlds = {
        "x0": {"X": 0.0},
        "direct": {"X": 1.0, "M": World("x0")},
        "as_was": {"X": 1.0, "M": World("")},
        "shifted": {"M": Shift(1.0)},
        "policy": {"X": lambda natural, U: torch.where(U > 0, 1.0, natural)},
    }
    values = run(twin_worlds(SCM(mediated), worlds), 50)
    assert torch.equal(values["M@direct"], values["M@x0"])
    assert torch.equal(values["M@as_was"], values["M"])
    assert torch.allclose(values["Y@direct"], values["Y@x0"] + 1.0, atol=1e-5)
    assert torch.allclose(values["Y@shifted"], values["Y"] + 2.0, atol=1e-5)
    expected = torch.where(values["U"] > 0, 1.0, values["X"])
    assert torch.equal(values["X@policy"], expected)


def test_evidence_touches_the_factual_world_only():
    evidence = {"X": torch.ones(4), "Y": torch.arange(4.0)}
    values = run(twin_worlds(SCM(mediated), {"x0": {"X": 0.0}}), 4, **evidence)
    assert torch.equal(values["Y"], evidence["Y"])
    assert torch.equal(values["X@x0"], torch.zeros(4))
    assert torch.allclose(values["Y@x0"], evidence["Y"] - 3.0, atol=1e-5)


def test_evidence_by_obs_is_factual_evidence():
    def program():
        x = pyro.sample("X", dist.Normal(0.0, 1.0), obs=torch.tensor(1.0))
        return pyro.sample("Y", dist.Normal(2 * x, 1.0), obs=torch.tensor(3.0))

    values = twin_worlds(program, {"x0": {"X": 0.0}})()
    assert float(values["X"]) == 1.0
    assert float(values["Y@x0"]) == 1.0


def test_continuous_evidence_in_another_world_fixes_the_noise_there():
    def program():
        x = pyro.sample("X", dist.Normal(0.0, 1.0))
        return pyro.sample("Y", dist.Normal(2 * x, 1.0))

    twin = twin_worlds(program, {"x0": {"X": 0.0}})
    data = {"X": torch.tensor(1.0), "Y@x0": torch.tensor(0.5)}
    trace = pyro.poutine.trace(pyro.condition(twin, data=data)).get_trace()
    assert float(trace.nodes["Y"]["value"]) == pytest.approx(2.5)
    expected = dist.Normal(0.0, 1.0).log_prob(torch.tensor(1.0)) + dist.Normal(0.0, 1.0).log_prob(
        torch.tensor(0.5)
    )
    assert float(trace.log_prob_sum()) == pytest.approx(float(expected))


def test_continuous_evidence_in_two_worlds_is_refused_by_name():
    def program():
        x = pyro.sample("X", dist.Normal(0.0, 1.0))
        return pyro.sample("Y", dist.Normal(2 * x, 1.0))

    twin = twin_worlds(program, {"x0": {"X": 0.0}})
    data = {"Y": torch.tensor(1.0), "Y@x0": torch.tensor(0.5)}
    with pytest.raises(ProgramError, match="'Y' has evidence in the factual world and in x0"):
        pyro.condition(twin, data=data)()


def test_evidence_on_a_shared_site_names_either_world():
    twin = twin_worlds(SCM(mediated), {"x0": {"X": 0.0}})
    values = run(twin, 2, **{"U@x0": torch.tensor([1.0, 2.0])})
    assert torch.equal(values["U"], torch.tensor([1.0, 2.0]))


def test_evidence_against_an_intervention_is_impossible():
    twin = twin_worlds(SCM(mediated), {"x0": {"X": 0.0}})
    with pytest.raises(ImpossibleEvidenceError, match="X@x0"):
        run(twin, 2, **{"X@x0": torch.ones(2)})


def test_conditioning_a_deterministic_site_inside_pyro_is_refused():
    with pytest.raises(ProgramError, match="'D' cannot be conditioned inside Pyro"):
        run(twin_worlds(SCM(mediated), {"x0": {"X": 0.0}}), 2, D=torch.ones(2))


def binary(couplings=None):
    def program():
        x = pyro.sample("X", dist.Bernoulli(0.5))
        return pyro.sample("Y", dist.Bernoulli(0.2 + 0.6 * x))

    return SCM(program, couplings=couplings)


def test_the_twin_program_of_discrete_sites_has_an_explicit_density():
    twin = twin_worlds(binary(), {"x0": {"X": 0.0}, "x1": {"X": 1.0}})
    one = torch.ones(1)
    data = {"X": one, "Y": one, "Y@x0": 0 * one, "Y@x1": one}
    trace = pyro.poutine.trace(pyro.condition(twin, data=data)).get_trace(1)
    # u in (.2, 1] for Y = 1 under X = 1; Y@x0 = 0 needs u in (0, .8]: both have mass .6
    assert float(trace.log_prob_sum().exp()) == pytest.approx(0.5 * 0.6, abs=1e-6)


def test_drawn_and_explicit_worlds_have_the_same_law():
    scm = binary()
    for explicit in (True, False):
        twin = twin_worlds(scm, {"x0": {"X": 0.0}}, explicit=explicit)
        values = run(twin, 40_000, X=torch.ones(40_000), Y=torch.ones(40_000))
        # five standard errors: false alarm below 1e-6
        assert float(values["Y@x0"].mean()) == pytest.approx(
            0.25, abs=5 * (0.25 * 0.75 / 40_000) ** 0.5
        )


@pytest.mark.parametrize("coupling", [GumbelMax(), Quantile()])
def test_three_worlds_of_a_categorical_site_have_the_right_margins(coupling):
    rows = torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.1, 0.3]])

    def program():
        x = pyro.sample("X", dist.Bernoulli(0.5))
        return pyro.sample("Y", dist.Categorical(rows[x.long()]))

    n = 20_000
    worlds = {"a": {"X": 0.0}, "b": {"X": 1.0}}
    values = run(twin_worlds(SCM(program, couplings={"Y": coupling}), worlds), n)
    for world, row in (("a", rows[0]), ("b", rows[1])):
        shares = torch.bincount(values[f"Y@{world}"], minlength=3) / n
        assert torch.allclose(shares, row, atol=0.02)
        agrees = values["X"] == (0.0 if world == "a" else 1.0)
        assert torch.equal(values["Y"][agrees], values[f"Y@{world}"][agrees])


def posterior_of_b(num_worlds, transformed):
    """Importance weights of the factual posterior of b given x = 2, with extra worlds around."""

    def program():
        b = pyro.sample("b", dist.Normal(0.0, 1.0))
        law = dist.Normal(b, 1.0)
        if transformed:
            law = dist.TransformedDistribution(law, [dist.transforms.AffineTransform(0.0, 1.0)])
        return pyro.sample("x", law)

    n = 4
    twin = twin_worlds(SCM(program), {f"w{i}": {"b": float(i)} for i in range(num_worlds)})
    grid = torch.linspace(-8.0, 8.0, 4 * n)
    log_weights = []
    for start in range(0, len(grid), n):
        data = {"b": grid[start : start + n], "x": torch.full((n,), 2.0)}
        trace = pyro.poutine.trace(pyro.condition(twin, data=data)).get_trace(n)
        trace.compute_log_prob()
        parts = [node["log_prob"] for node in trace.nodes.values() if "log_prob" in node]
        log_weights.append(sum(part.expand(n) for part in parts if part.dim()))
    return torch.cat(log_weights)


@pytest.mark.parametrize("transformed", [False, True])
def test_adding_worlds_never_changes_the_factual_density(transformed):
    alone = posterior_of_b(0, transformed)
    for worlds in (1, 3):
        assert torch.allclose(alone, posterior_of_b(worlds, transformed), atol=1e-5)


def test_k_interventions_build_k_plus_one_worlds():
    worlds = {f"w{i}": {"X": float(i), "M": 1.0} for i in range(5)}
    values = run(twin_worlds(SCM(mediated), worlds), 2)
    assert values.size == 6
    assert sum(key.startswith("Y") for key in values) == 6


def test_return_values_never_show_the_world_axis():
    values = run(twin_worlds(SCM(mediated), {"a": {"X": 0.0}, "b": {"X": 1.0}}), 7)
    assert all(values[key].shape == (7,) for key in values if not key.startswith("_"))


@pytest.mark.parametrize(
    ("worlds", "error", "message"),
    [
        ({"x0": {"Q": 1.0}}, ProgramError, "intervenes on 'Q'.*sites are U, X, M, D, Y"),
        ({"a@b": {"X": 1.0}}, DataError, "cannot be a world's name"),
        ({"": {"X": 1.0}}, DataError, "cannot be a world's name"),
        ({"a": {"X": World("b")}}, DataError, "from the world 'b', which is not there"),
        (
            {"a": {"M": World("b")}, "b": {"M": World("a")}},
            DataError,
            "from one another in a circle",
        ),
        ({"a": {"X": torch.ones(3)}}, DataError, "does not broadcast"),
        ({"a": {"X": float("nan")}}, DataError, "NaN"),
    ],
)
def test_bad_worlds_are_named(worlds, error, message):
    with pytest.raises(error, match=message):
        twin_worlds(SCM(mediated), worlds)(2)


def test_a_program_of_one_unit_that_is_run_on_many_says_how_to():
    def one_unit():
        return pyro.sample("X", dist.Normal(0.0, 1.0))

    with pytest.raises(ProgramError, match=r"to run n units.*twin_worlds\(SCM\(program\), worlds"):
        twin_worlds(one_unit, {"x0": {"X": 0.0}})(3)
    assert twin_worlds(SCM(one_unit), {"x0": {"X": 0.0}})(3)["X"].shape == (3,)


def test_evidence_in_an_unknown_world_is_named():
    with pytest.raises(DataError, match=r"Y@q.*worlds are x0"):
        run(twin_worlds(SCM(mediated), {"x0": {"X": 0.0}}), 2, **{"Y@q": torch.ones(2)})


def stacking():
    """Does not broadcast over a world axis: stack wants equal shapes."""
    z = pyro.sample("Z", dist.Normal(0.0, 1.0))
    x = pyro.sample("X", dist.Normal(z, 1.0))
    both = torch.stack([z, x], -1)
    k = pyro.sample("K", dist.Bernoulli(logits=both.sum(-1)))
    return pyro.sample("Y", dist.Normal(both.sum(-1) + k, 1.0))


def broadcasting():
    z = pyro.sample("Z", dist.Normal(0.0, 1.0))
    x = pyro.sample("X", dist.Normal(z, 1.0))
    k = pyro.sample("K", dist.Bernoulli(logits=z + x))
    return pyro.sample("Y", dist.Normal(z + x + k, 1.0))


def test_programs_that_do_not_broadcast_are_replayed_with_the_same_answer():
    worlds = {"up": {"X": Shift(1.0)}, "set": {"X": 0.0}}
    given = {name: torch.randn(4, 3) for name in ("Z", "X", "Y")}
    given["K"] = torch.ones(4, 3)
    answers = []
    for program in (stacking, broadcasting):
        scm = SCM(program)
        with forked_rng(0):
            found = simulate(scm, 3, ("Y@up", "K@set", "X@up"), worlds=worlds, given=given)
        answers.append(found)
        assert list(scm._can_broadcast.values()) == [program is broadcasting]
    for key in ("X@up",):
        assert torch.allclose(answers[0][key], answers[1][key])
    change = answers[0]["Y@up"] - given["Y"] - 1.0  # K stays 1 or falls to 0 with shared noise
    assert torch.isclose(change, torch.tensor(0.0), atol=1e-5).all()


def test_a_program_that_broadcasts_wrongly_is_found_out():
    def program():
        v = pyro.sample("V", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
        x = pyro.sample("X", dist.Normal(0.0, 1.0))
        moved = v * x.unsqueeze(-1)
        return pyro.sample("Y", dist.Normal(moved.sum(1), 1.0))  # axis from the left

    scm = SCM(program)
    given = {"V": torch.ones(3, 2), "X": torch.zeros(3), "Y": torch.zeros(3)}
    found = simulate(scm, 3, ("Y@one",), worlds={"one": {"X": 1.0}}, given=given)
    assert list(scm._can_broadcast.values()) == [False]
    assert torch.allclose(found["Y@one"], torch.full((1, 3), 2.0))


def test_nested_plates_and_parameter_draws_keep_their_axes():
    def program(n):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        b = pyro.sample("b", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("units", n, dim=-1):
            x = pyro.sample("X", dist.Normal(a + b[..., 1], 1.0))
            with pyro.plate("items", 4, dim=-2):
                r = pyro.sample("R", dist.Normal(x, 1.0))
            return pyro.sample("Y", dist.Normal(r.sum(-2, keepdim=True) + b[..., 0], 1.0))

    def flat(n):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        with pyro.plate("units", n, dim=-1):
            x = pyro.sample("X", dist.Normal(a, 1.0))
            with pyro.plate("items", 4, dim=-2):
                pyro.sample("R", dist.Normal(x, 1.0))

    scm = SCM(flat).with_parameters({"a": torch.randn(6)})
    found = simulate(scm, 3, ("R", "R@up", "X@up", "X"), worlds={"up": {"X": Shift(2.0)}})
    assert found["R"].shape == (6, 3, 4)
    assert torch.allclose(found["R@up"] - found["R"], torch.full((6, 3, 4), 2.0), atol=1e-5)
    assert found["X@up"].shape == (6, 3)


def test_parameter_draws_that_do_not_broadcast_are_looped_over():
    def program(n):
        b = pyro.sample("b", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("units", n):
            x = pyro.sample("X", dist.Normal(0.0, 1.0))
            return pyro.sample("Y", dist.Normal(b[0] + b[1] * x, 1e-3))  # not b[..., 0]

    draws = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    scm = SCM(program).with_parameters({"b": draws})
    found = simulate(scm, 2, ("Y",), given={"X": torch.tensor([0.0, 1.0])})
    expected = torch.tensor([[1.0, 3.0], [3.0, 7.0], [5.0, 11.0]])
    assert torch.allclose(found["Y"], expected, atol=0.02)


@settings(max_examples=30)
@given(st.integers(2, 6), st.integers(0, 1000), st.data())
def test_random_linear_programs_agree_with_solving_the_equations(size, seed, data):
    weights = torch.zeros(size, size)
    for j in range(size):
        for i in range(j):
            if data.draw(st.booleans()):
                weights[i, j] = data.draw(st.sampled_from([-1.5, -0.5, 0.5, 2.0]))

    def program():
        values = []
        for j in range(size):
            mean = sum((float(weights[i, j]) * values[i] for i in range(j)), torch.zeros(()))
            values.append(pyro.sample(f"x{j}", dist.Normal(mean, 1.0 + j)))

    target = data.draw(st.integers(0, size - 1))
    values = run(twin_worlds(SCM(program), {"w": {f"x{target}": 3.0}}), 4, seed=seed)
    factual = torch.stack([values[f"x{j}"] for j in range(size)], -1)
    noise = factual - factual @ weights
    solved = torch.zeros(4, size)
    for j in range(size):
        solved[:, j] = 3.0 if j == target else solved @ weights[:, j] + noise[:, j]
    for j in range(size):
        assert torch.allclose(values[f"x{j}@w"], solved[:, j], atol=1e-3)
