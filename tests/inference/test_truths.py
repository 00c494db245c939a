"""What must hold of every counterfactual, whichever engine answers it."""

import itertools
import math

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch

import causalppl as cp
from causalppl.exceptions import (
    AssumptionError,
    DataError,
    ImpossibleEvidenceError,
    ProgramError,
    QueryError,
)

# -- 1: adding worlds never changes the factual posterior ----------------------------------------


def shifted():
    b = pyro.sample("b", dist.Normal(0.0, 1.0))
    pyro.sample("c", dist.Normal(0.0, 1.0))
    return pyro.sample("x", dist.Normal(b, 1.0))


def shifted_by_transform():
    b = pyro.sample("b", dist.Normal(0.0, 1.0))
    pyro.sample("c", dist.Normal(0.0, 1.0))
    base = dist.Normal(0.0, 1.0)
    law = dist.TransformedDistribution(base, [dist.transforms.AffineTransform(b, 1.0)])
    return pyro.sample("x", law)


@pytest.mark.parametrize("worlds", [0, 1, 3])
def test_worlds_do_not_move_the_posterior_of_the_factual_world(worlds):
    extra = {f"w{i}": {"c": float(i)} for i in range(worlds)} | {
        f"v{i}": {"b": float(i)} for i in range(worlds)
    }
    found = cp.infer(shifted, ["b"], worlds=extra, evidence={"x": 2.0})
    assert found.mean()["b"] == pytest.approx(1.0, abs=1e-6)
    assert found.sd()["b"] ** 2 == pytest.approx(0.5, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("worlds", [1, 3])
def test_worlds_do_not_move_the_posterior_under_approximate_engines(worlds):
    extra = {f"w{i}": {"b": float(i)} for i in range(worlds)}
    for engine in (cp.Variational(), cp.NUTS()):
        found = cp.infer(
            shifted_by_transform,
            ["b"],
            worlds=extra,
            evidence={"x": 2.0},
            engine=engine,
            num_draws=4000 if isinstance(engine, cp.Variational) else None,
            seed=0,
        )
        assert found.mean()["b"] == pytest.approx(1.0, abs=0.12)
        assert found.sd()["b"] ** 2 == pytest.approx(0.5, abs=0.12)


# -- 2, 3: noise is shared; what responds and what does not ---------------------------------------


def plain():
    x = pyro.sample("X", dist.Normal(0.0, 1.0))
    return pyro.sample("Y", dist.Normal(2 * x, 1.0))


def test_the_noise_of_a_plain_normal_site_is_shared():
    found = cp.infer(plain, "P(Y_{X=0} | X=1, Y=3)")
    assert found.mean()["Y"] == 1.0
    assert found.sd()["Y"] == 0.0


def latent_mediator():
    u = pyro.sample("U", dist.Normal(0.0, 1.0))
    x = pyro.sample("X", dist.Normal(u, 1.0))
    m = pyro.sample("M", dist.Normal(x, 1.0))
    return pyro.sample("Y", dist.Normal(m + u, 1.0))


def test_latent_mediators_respond_and_latent_causes_do_not():
    scm = cp.SCM(latent_mediator, observed=["X", "Y"])
    found = cp.infer(scm, ["M", "M@w", "U", "U@w"], worlds={"w": {"X": 4.0}}, evidence={"X": 1.0})
    assert found.mean()["M@w"] - found.mean()["M"] == pytest.approx(3.0, abs=1e-6)
    assert found.mean()["U@w"] == pytest.approx(found.mean()["U"], abs=1e-9)


# -- 4: evidence by any route ----------------------------------------------------------------------


def test_evidence_by_any_route_is_the_same_factual_evidence():
    def observing():
        x = pyro.sample("X", dist.Normal(0.0, 1.0), obs=torch.tensor(1.0))
        return pyro.sample("Y", dist.Normal(2 * x, 1.0), obs=torch.tensor(3.0))

    conditioned = pyro.condition(plain, data={"X": torch.tensor(1.0), "Y": torch.tensor(3.0)})
    routes = [
        cp.infer(plain, "E[Y_{X=0} | X=1, Y=3]"),
        cp.infer(plain, "E[Y_{X=0}]", evidence={"X": 1.0, "Y": 3.0}),
        cp.infer(observing, "E[Y_{X=0}]"),
        cp.infer(conditioned, "E[Y_{X=0}]"),
    ]
    assert [route.mean()["Y"] for route in routes] == [1.0] * 4


def test_evidence_may_name_another_world():
    found = cp.infer(plain, "E[Y]", evidence={"X": 1.0, "Y_{X=0}": 0.5})
    assert found.mean()["Y"] == pytest.approx(2.5, abs=1e-6)


def noise_written_out():
    x = pyro.sample("X", dist.Normal(0.0, 1.0))
    u = pyro.sample("U", dist.Normal(0.0, 1.0))
    return pyro.deterministic("Y", torch.exp(0.3 * u) + 2 * x)


def test_deterministic_evidence_is_solved_where_the_map_is_invertible():
    scm = cp.SCM(noise_written_out, observed=["X", "Y"])
    found = cp.infer(scm, ["Y@x0", "U"], worlds={"x0": {"X": 0.0}}, evidence={"X": 1.0, "Y": 3.0})
    assert found.mean()["Y@x0"] == pytest.approx(1.0, abs=1e-5)
    assert found.mean()["U"] == pytest.approx(0.0, abs=1e-5)


def test_deterministic_evidence_that_cannot_be_had_is_impossible():
    with pytest.raises(ImpossibleEvidenceError, match="'Y'"):
        cp.infer(cp.SCM(noise_written_out), "E[Y_{X=0} | X=1, Y=1.5]")


def test_deterministic_evidence_that_is_not_invertible_names_the_way_out():
    def squared():
        x = pyro.sample("X", dist.Normal(0.0, 1.0))
        u = pyro.sample("U", dist.Normal(0.0, 1.0))
        return pyro.deterministic("Y", (u - 1) ** 2 + x)

    with pytest.raises(ProgramError, match=r"narrow pyro\.sample"):
        cp.infer(cp.SCM(squared), "E[Y_{X=0} | X=1, Y=3]")


def test_deterministic_evidence_on_a_sum_of_two_unknowns():
    def two_unknowns():
        a = pyro.sample("A", dist.Uniform(0.0, 1.0))
        b = pyro.sample("B", dist.Uniform(0.0, 1.0))
        pyro.deterministic("S", a * b)

    with pytest.raises(AssumptionError, match="'S' is evidence, but is computed from several"):
        cp.infer(cp.SCM(two_unknowns), "E[A | S=0.25]")


# -- 5: bad input is named -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "options", "error", "message"),
    [
        ("E[Q_{X=0}]", {}, QueryError, "'Q'.*X, Y"),
        ("E[Y_{Q=0}]", {}, QueryError, "'Q'"),
        ("E[Y_{X=0} | Q=1]", {}, QueryError, "'Q'"),
        ("E[Y | do(X)]", {}, QueryError, "X is set without a value"),
        ("P(Y | X)", {}, QueryError, "conditioned on without a value"),
        ("P(Y=1 | do(X=1))", {}, QueryError, "continuous"),
        (["Y@q"], {"worlds": {"a": {"X": 0.0}}}, QueryError, "'Y@q'"),
        ("E[Y]", {"evidence": {"Q": 1.0}}, DataError, "'Q'"),
        ("E[Y]", {"evidence": {"X": [1.0, 2.0], "Y": [1.0, 2.0, 3.0]}}, DataError, "unequal"),
        ("E[Y]", {"evidence": {"X": torch.ones(2, 3)}}, DataError, r"\(2, 3\)"),
        ("E[Y]", {"evidence": {"X": math.inf}}, DataError, "infinite"),
        ("E[Y | X=1]", {"evidence": {"X": 1.0}}, DataError, "both in the query and in evidence"),
        (["Y@a"], {"worlds": {"a": {"X": math.nan}}}, DataError, "NaN"),
        ("E[Y]", {"engine": cp.Enumeration()}, AssumptionError, "cannot answer"),
        ("P(Y)", {"average": True}, QueryError, "average"),
        ("E[Y]", {"seed": -1}, DataError, "seed"),
    ],
)
def test_bad_input_is_an_error_that_names_it(query, options, error, message):
    with pytest.raises(error, match=message):
        cp.infer(plain, query, **options)


def test_evidence_of_probability_zero_is_impossible():
    def program():
        x = pyro.sample("X", dist.Bernoulli(0.5))
        return pyro.sample("Y", dist.Bernoulli(x))

    with pytest.raises(ImpossibleEvidenceError):
        cp.infer(program, "P(X | Y=2)")
    with pytest.raises(ImpossibleEvidenceError):
        cp.infer(program, "P(Y_{X=0} | X=1, Y=0)")


def test_nan_in_a_parameter_is_named():
    def program(n):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        with pyro.plate("units", n):
            pyro.sample("X", dist.Normal(a, 1.0))

    with pytest.raises(DataError, match="parameter 'a' hold NaN"):
        cp.SCM(program).with_parameters({"a": torch.tensor([0.0, math.nan])})


# -- 7: discrete -----------------------------------------------------------------------------------


def test_a_hundred_site_chain_with_explicit_noise_is_exact():
    flip = 0.1

    def program():
        x = pyro.sample("u0", dist.Bernoulli(0.5))
        for i in range(1, 50):
            u = pyro.sample(f"u{i}", dist.Bernoulli(flip))
            x = pyro.deterministic(f"x{i}", (x + u) % 2)

    scm = cp.SCM(program)
    # x49 = u0 + u1 + ... + u49 mod 2; given x49 = 1, P(u0 = 1) = P(the other 49 sum to even)
    even = (1 + (1 - 2 * flip) ** 49) / 2
    found = cp.infer(scm, "P(u0=1 | x49=1)")
    assert found.engine == "Enumeration"
    assert found.mean()["u0=1"] == pytest.approx(even, abs=1e-9)
    # had u0 been 0: x49 = 1 iff the others sum to odd; given x49 = 1
    found = cp.infer(scm, "P(x49_{u0=0}=1 | x49=1)")
    assert next(iter(found.mean().values())) == pytest.approx(1 - even, abs=1e-9)


def rare(probability):
    def program():
        x = pyro.sample("X", dist.Bernoulli(0.5))
        m = pyro.sample("M", dist.Bernoulli(probability * (1 + x) / 2))
        return pyro.sample("Y", dist.Bernoulli(0.1 + 0.5 * m + 0.3 * x))

    return cp.SCM(program)


@pytest.mark.parametrize("probability", [0.5, 1e-5, 1e-9])
def test_rare_evidence_is_as_exact_as_common_evidence(probability):
    scm = rare(probability)
    low, high = probability / 2, probability
    # M = 1 at X = 0 (u_M > 1 - low) stays 1 at X = 1; Y = 1 at (0, 1) has u_Y > .4, stays at (1, 1)
    found = cp.infer(scm, "P(Y_{X=1}=1 | X=0, M=1, Y=0)")
    assert found.mean()["Y_{X=1}=1"] == pytest.approx(0.3 / 0.4, abs=1e-6)
    found = cp.infer(scm, "P(M_{X=0}=1 | X=1, M=1)")
    assert found.mean()["M_{X=0}=1"] == pytest.approx(low / high, abs=1e-6)


def categorical(coupling):
    rows = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.3, 0.6]])

    def program():
        x = pyro.sample("X", dist.Bernoulli(0.4))
        return pyro.sample("Y", dist.Categorical(rows[x.long()]))

    return cp.SCM(program, couplings={"Y": coupling})


def test_couplings_of_a_categorical_site_agree_with_brute_force():
    found = cp.infer(categorical(cp.Quantile()), "P(Y_{X=1}=2 | X=0, Y=1)")
    # u in (.5, .8]; at X = 1 value 2 needs u > .4
    assert next(iter(found.mean().values())) == pytest.approx(1.0, abs=1e-6)
    found = cp.infer(categorical(cp.GumbelMax()), "P(Y_{X=1}=2 | X=0, Y=1)")
    generator = np.random.default_rng(0)
    gumbels = generator.gumbel(size=(2_000_000, 3))
    factual = np.argmax(gumbels + np.log([0.5, 0.3, 0.2]), 1)
    other = np.argmax(gumbels + np.log([0.1, 0.3, 0.6]), 1)
    share = (other[factual == 1] == 2).mean()
    # 600,000 matching draws: five standard errors are .0032
    assert next(iter(found.mean().values())) == pytest.approx(share, abs=0.0033)


# -- 8: linear Gaussian ----------------------------------------------------------------------------


@pytest.mark.parametrize("y", [0.5, 3.0, 7.0])
def test_linear_gaussian_with_latents_is_closed_form_at_any_rarity(y):
    def program():
        u = pyro.sample("U", dist.Normal(0.0, 1.0))
        x = pyro.sample("X", dist.Normal(0.5 * u, 0.6))
        return pyro.sample("Y", dist.Normal(1.5 * x - 2.0 * u, 0.8))

    found = cp.infer(cp.SCM(program, observed=["X", "Y"]), f"P(Y_{{X=2}} | X=1, Y={y})")
    # the change is 1.5 (2 - 1) whatever U and the noise are
    assert found.mean()["Y"] == pytest.approx(y + 1.5, abs=1e-6)
    assert found.sd()["Y"] == pytest.approx(0.0, abs=1e-6)
    found = cp.infer(cp.SCM(program, observed=["X", "Y"]), f"P(Y_{{X=2}} | Y={y})")
    # jointly normal: Y = 1.5 X - 2 U + .8 e, Y' = 3 - 2 U + .8 e with X = .5 U + .6 d
    var_y = (1.5 * 0.5 - 2) ** 2 + (1.5 * 0.6) ** 2 + 0.8**2
    cov = -2 * (1.5 * 0.5 - 2) + 0.8**2
    assert found.mean()["Y"] == pytest.approx(3 + cov / var_y * y, abs=1e-6)
    assert found.sd()["Y"] == pytest.approx(math.sqrt(4 + 0.8**2 - cov**2 / var_y), abs=1e-6)


# -- 9: additive noise and flows ------------------------------------------------------------------


@pytest.mark.parametrize("y", [0.3, 8.0, 60.0])
def test_flow_mechanisms_are_exact_at_any_rarity(y):
    def program():
        x = pyro.sample("X", dist.Normal(0.0, 1.0))
        base = dist.Normal(torch.zeros_like(x), 1.0)
        transforms = [
            dist.transforms.AffineTransform(torch.sin(x), torch.exp(0.5 * x)),
            dist.transforms.ExpTransform(),
        ]
        return pyro.sample("Y", dist.TransformedDistribution(base, transforms))

    found = cp.infer(program, f"E[Y_{{X=-0.5}} | X=1, Y={y}]")
    noise = (math.log(y) - math.sin(1.0)) / math.exp(0.5)
    exact = math.exp(math.sin(-0.5) + math.exp(-0.25) * noise)
    assert found.engine == "ClosedForm"
    assert found.mean()["Y"] == pytest.approx(exact, rel=1e-5)


# -- 11: repeatable, and nothing is left behind ----------------------------------------------------


@pytest.mark.parametrize("query", ["P(Y | do(X=1))", "E[Y | do(X=1)]", "P(Y_{X=0} | Y=2)"])
def test_the_same_seed_gives_the_same_answer_and_leaves_the_random_state(query):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    engine = None if "|" in query else cp.ClosedForm()
    first, second = (cp.infer(plain, query, seed=3, engine=engine) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert first.draws.identical(second.draws)
    assert first.mean() == second.mean()


def test_a_saved_posterior_answers_the_same(tmp_path):
    found = cp.infer(plain, "P(Y_{X=0} | X=1, Y=3)", seed=0)
    found.save(tmp_path / "answer.nc")
    loaded = cp.Posterior.load(tmp_path / "answer.nc")
    assert loaded.mean() == found.mean()
    assert loaded.summary().equals(found.summary())
    assert loaded.interpret() == found.interpret()


# -- 13: dtype -------------------------------------------------------------------------------------


def test_everything_works_in_float64():
    torch.set_default_dtype(torch.float64)
    found = cp.infer(plain, "E[Y_{X=0.1} | X=0.3, Y=0.7]")
    assert found.mean()["Y"] == pytest.approx(0.7 - 0.4, abs=1e-12)


@pytest.mark.gpu
def test_everything_stays_on_the_device_of_program_and_evidence():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")

    def program():
        zero = torch.zeros((), device="cuda")
        x = pyro.sample("X", dist.Normal(zero, 1.0))
        return pyro.sample("Y", dist.Normal(2 * x, 1.0))

    one = torch.ones(3, device="cuda")
    found = cp.infer(program, "E[Y_{X=0}]", evidence={"X": one, "Y": 3 * one})
    assert found.mean()["Y"].tolist() == [1.0] * 3


# -- 14: evidence as users have it -----------------------------------------------------------------


def test_categories_by_name_missing_values_and_tables():
    def program():
        z = pyro.sample("Z", dist.Bernoulli(0.5))
        x = pyro.sample("X", dist.Normal(z, 1.0))
        return pyro.sample("Y", dist.Normal(2 * x + z, 1.0))

    scm = cp.SCM(program, categories={"Z": ["north", "south"]})
    assert cp.infer(scm, "E[Y_{X=0} | Z=south, X=1, Y=4]").mean()["Y"] == 2.0
    table = pd.DataFrame(
        {"Z": ["north", "south", "south"], "X": [1.0, 1.0, None], "Y": [3.0, 4.0, 4.0], "id": 1}
    )
    found = cp.infer(scm, "E[Y_{X=0}]", evidence=table, seed=0)
    values = found.mean()["Y"]
    # third unit: x given y = 2x + 1 + e = 4, x ~ N(1, 1): noise e has posterior mean .2
    assert values == pytest.approx([1.0, 2.0, 1.2], abs=1e-4)
    assert any("1 of 3 units have no value of X" in note for note in found.notes)
    assert any("id" in note for note in found.notes)
    with pytest.raises(DataError, match="'west' is not a category of 'Z'"):
        cp.infer(scm, "E[Y_{X=0} | Z=west]")
    with pytest.raises(DataError, match="no categories"):
        cp.infer(plain, "E[Y_{X=0}]", evidence={"X": "north"})


# -- contrasts against a hand-enumerated table ----------------------------------------------------


def test_contrasts_of_a_binary_mediation_program_equal_enumeration_by_hand():
    def program():
        u = pyro.sample("U", dist.Bernoulli(0.3))
        x = pyro.sample("X", dist.Bernoulli(0.2 + 0.5 * u))
        m = pyro.sample("M", dist.Bernoulli(0.1 + 0.6 * x))
        return pyro.sample("Y", dist.Bernoulli(0.1 + 0.3 * x + 0.3 * m + 0.2 * u))

    def m_mean(x):
        return 0.1 + 0.6 * x

    def y_mean(x, m, u):
        return 0.1 + 0.3 * x + 0.3 * m + 0.2 * u

    def average(f):
        return 0.3 * f(1) + 0.7 * f(0)

    def y_do(x, u, xm=None):
        p = m_mean(x if xm is None else xm)
        return p * y_mean(x, 1, u) + (1 - p) * y_mean(x, 0, u)

    truth = {
        "ATE": average(lambda u: y_do(1, u) - y_do(0, u)),
        "NDE": average(lambda u: y_do(1, u, 0) - y_do(0, u)),
        "NIE": average(lambda u: y_do(0, u, 1) - y_do(0, u)),
    }
    p_x1 = {u: 0.2 + 0.5 * u for u in (0, 1)}
    weight = {u: (0.3 if u else 0.7) * p_x1[u] for u in (0, 1)}
    truth["ETT"] = sum(weight[u] * (y_do(1, u) - y_do(0, u)) for u in (0, 1)) / sum(weight.values())
    scm = cp.SCM(program, observed=["X", "M", "Y"])
    for kind, exact in truth.items():
        found = cp.infer(scm, f"{kind}(X: 1 vs 0 -> Y)")
        assert found.mean()[kind] == pytest.approx(exact, abs=1e-6), kind
        assert found.is_exact, kind
    found = cp.infer(scm, "CDE(X: 1 vs 0 -> Y | do(M=1))")
    assert found.mean()["CDE"] == pytest.approx(0.3, abs=1e-6)
    # necessity by integrating over the uniform noises of M and Y on a fine product of intervals
    assert cp.infer(scm, "PN(X: 1 vs 0 -> Y)").mean()["PN"] == pytest.approx(
        necessity(m_mean, y_mean, weight), abs=1e-6
    )


def necessity(m_mean, y_mean, weight):
    """P(Y_{X=0}=0 | X=1, Y=1): M and Y are monotone in their uniform noise."""
    joint = {"averted": 0.0, "seen": 0.0}
    for u, m_state in itertools.product((0, 1), ("always", "only at 1", "never")):
        p = {"always": m_mean(0), "only at 1": m_mean(1) - m_mean(0), "never": 1 - m_mean(1)}
        m1, m0 = {"always": (1, 1), "only at 1": (1, 0), "never": (0, 0)}[m_state]
        high, low = y_mean(1, m1, u), y_mean(0, m0, u)
        joint["seen"] += weight[u] * p[m_state] * high
        joint["averted"] += weight[u] * p[m_state] * (high - low)
    return joint["averted"] / joint["seen"]
