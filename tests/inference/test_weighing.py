"""Likelihood weighting as one forward run."""

import pyro
import pyro.distributions as dist
import pytest
import torch

import causalppl as cp
from causalppl.exceptions import ConvergenceWarning, ImpossibleEvidenceError


def chosen():
    """A continuous latent behind a discrete treatment: no exact engine applies."""
    z = pyro.sample("Z", dist.Normal(0.0, 1.0))
    x = pyro.sample("X", dist.Bernoulli(logits=z))
    return pyro.sample("Y", dist.Normal(x * (1 + z), 1.0))


def expected_z_of_the_treated():
    """E[Z | X=1] by quadrature."""
    grid = torch.linspace(-10, 10, 200_001, dtype=torch.float64)
    weight = torch.exp(-(grid**2) / 2) * torch.sigmoid(grid)
    return float((weight * grid).sum() / weight.sum())


def test_common_evidence_is_weighed_automatically():
    found = cp.infer(cp.SCM(chosen, observed=["X", "Y"]), "ETT(X: 1 vs 0 -> Y)", seed=0)
    assert found.engine == "Importance"
    exact = 1 + expected_z_of_the_treated()
    assert abs(found.mean()["ETT"] - exact) < 5 * found.sd()["ETT"] + 1e-6
    assert found.sd()["ETT"] < 0.01
    assert max(torch.as_tensor(found.diagnostics["khat"]).reshape(-1)) < 0.7


def test_each_parameter_draw_is_weighed_by_itself():
    def program(n):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        with pyro.plate("units", n):
            z = pyro.sample("Z", dist.Normal(0.0, 1.0))
            x = pyro.sample("X", dist.Bernoulli(logits=z))
            pyro.sample("Y", dist.Normal(a * x * (1 + z), 1.0))

    scm = cp.SCM(program).with_parameters({"a": torch.tensor([0.0, 1.0, -3.0])})
    found = cp.infer(scm, "ETT(X: 1 vs 0 -> Y)", seed=0)
    exact = 1 + expected_z_of_the_treated()
    # 33,333 draws for each: five standard errors of the weighted mean are about .03 a unit of a
    assert found.draws["ETT"].values.ravel() == pytest.approx([0.0, exact, -3 * exact], abs=0.1)


def test_units_are_weighed_by_their_own_evidence():
    engine = cp.Importance(num_samples=20_000)
    evidence = {"X": torch.tensor([0.0, 1.0])}
    found = cp.infer(cp.SCM(chosen), "E[Z]", evidence=evidence, engine=engine, seed=0)
    exact = expected_z_of_the_treated()
    assert found.mean()["Z"] == pytest.approx([-exact, exact], abs=0.05)


def test_rare_evidence_warns_and_impossible_evidence_raises():
    def narrow():
        z = pyro.sample("Z", dist.Normal(0.0, 1.0))
        return pyro.sample("W", dist.Normal(torch.sin(z) + z, 1e-4))

    engine = cp.Importance(num_samples=2_000)
    with pytest.warns(ConvergenceWarning, match="k-hat above"):
        cp.infer(cp.SCM(narrow), "E[Z | W=3]", engine=engine, seed=0)

    def bounded():
        z = pyro.sample("Z", dist.Normal(0.0, 1.0))
        return pyro.sample("W", dist.Uniform(torch.sin(z), torch.sin(z) + 1.0))

    with pytest.raises(ImpossibleEvidenceError):
        cp.infer(cp.SCM(bounded), "E[Z | W=30]", engine=engine, seed=0)


def counted(y):
    """Values of a Poisson latent behind a bounded density, and their posterior by the sum."""
    m = torch.arange(80.0, dtype=torch.float64)
    prior = dist.Poisson(torch.tensor(2.0, dtype=torch.float64)).log_prob(m)
    return m, torch.softmax(prior + dist.Gamma(2.0, 1 / (1 + 0.2 * m)).log_prob(torch.tensor(y)), 0)


def counts():
    m = pyro.sample("M", dist.Poisson(2.0))
    return pyro.sample("Y", dist.Gamma(2.0, 1 / (1 + 0.2 * m)))


@pytest.mark.parametrize("y", [1.0, 4.0, 9.0, 15.0])
@pytest.mark.parametrize("samples", [2_000, 20_000, 100_000])
def test_tied_weights_of_a_discrete_latent_raise_no_alarm(y, samples):
    m, law = counted(y)
    exact = float((law * m).sum())
    engine = cp.Importance(num_samples=samples)
    found = cp.infer(
        counts, f"E[M | Y={y}]", engine=engine, seed=0, num_draws=samples
    )  # no warning
    assert found.mean()["M"] == pytest.approx(exact, abs=5 * found.sd()["M"])
    khat = found.summary()["khat"]
    assert torch.isfinite(torch.tensor(khat.values)).all()
    assert khat.max() < 0.7
    assert "trusted" not in found.interpret()


def test_a_warning_points_to_the_line_that_asked_and_names_no_engine_that_refuses():
    def rare():
        m = pyro.sample("M", dist.Poisson(2.0))
        pyro.sample("Y", dist.Normal(m, 0.3))

    with pytest.warns(ConvergenceWarning, match="raise num_samples") as log:
        cp.infer(rare, "E[M | Y=14]", engine=cp.Importance(), seed=0)
    assert [entry.filename for entry in log] == [__file__]
    assert not any(name in str(log[0].message) for name in ("Variational", "NUTS"))

    def smooth():
        u = pyro.sample("U", dist.Normal(0.0, 1.0))
        pyro.sample("Y", dist.Normal(u, 0.1))

    with pytest.warns(ConvergenceWarning, match="use Variational or NUTS"):
        cp.infer(smooth, "E[U | Y=5]", engine=cp.Importance(num_samples=1_000), seed=0)


def noisy_count():
    m = pyro.sample("M", dist.Poisson(2.0))
    return pyro.sample("Y", dist.Normal(m, 1.0))


def test_a_count_that_no_other_engine_takes_is_weighed_by_default():
    m = torch.arange(80.0, dtype=torch.float64)
    prior = dist.Poisson(torch.tensor(2.0, dtype=torch.float64)).log_prob(m)
    law = torch.softmax(prior - (8 - m) ** 2 / 2, 0)
    exact = float((law * m).sum())
    found = cp.infer(noisy_count, "E[M | Y=8]", seed=0)
    assert found.engine == "Importance"
    assert 0.005 < found.sd()["M"] < 0.1
    assert found.mean()["M"] == pytest.approx(exact, abs=5 * found.sd()["M"])


def test_by_default_evidence_too_rare_for_weights_is_told_of():
    with pytest.warns(ConvergenceWarning, match="too rare for weighing; raise num_samples"):
        found = cp.infer(noisy_count, "E[M | Y=20]", seed=0)
    assert "should not be trusted" in found.interpret()


def test_where_no_engine_answers_each_says_why():
    def computed():
        z = pyro.sample("Z", dist.Poisson(2.0))
        return pyro.deterministic("W", torch.sin(z))

    with pytest.raises(
        cp.exceptions.AssumptionError, match=r"Variational: .*; Importance: "
    ) as info:
        cp.infer(computed, "E[Z | W=0.5]", seed=0)
    assert "use Importance" not in str(info.value)


def test_fewer_draws_than_asked_for_are_told_of(monkeypatch):
    monkeypatch.setattr("causalppl.inference.weighing._KEPT", 50_000)
    engine = cp.Importance(num_samples=200_000)
    evidence = {"Y": torch.full((10,), 1.0)}
    found = cp.infer(noisy_count, "P(M)", evidence=evidence, engine=engine, seed=0)
    assert found.draws.sizes["draw"] == 5_000
    assert "weighed with 5,000 draws and not 200,000" in found.interpret()
    with pytest.warns(ConvergenceWarning, match="ask for fewer units") as log:
        cp.infer(
            noisy_count, "P(M)", evidence={"Y": torch.full((10,), 20.0)}, engine=engine, seed=0
        )
    assert "num_samples" not in str(log[0].message)
    one = cp.infer(noisy_count, "P(M | Y=1)", engine=cp.Importance(num_samples=40_000), seed=0)
    assert one.draws.sizes["draw"] == 40_000
    assert "not 40,000" not in one.interpret()


def test_more_draws_give_a_smaller_error():
    few, many = (
        cp.infer(noisy_count, "E[M | Y=8]", engine=cp.Importance(num_samples=size), seed=0)
        for size in (100_000, 1_600_000)
    )
    # sixteen times the draws: a quarter of the error, which is itself known to a tenth or so
    assert many.sd()["M"] / few.sd()["M"] == pytest.approx(0.25, rel=0.5)
