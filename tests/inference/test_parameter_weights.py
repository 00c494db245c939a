"""A new unit's evidence updates the draws of fitted parameters; known in closed form."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from causalppl.exceptions import ConvergenceWarning
from causalppl.inference.fit import fit
from causalppl.inference.infer import infer
from causalppl.inference.mcmc import NUTS
from causalppl.inference.svi_fit import SVIFit
from causalppl.inference.variational import Variational
from causalppl.programs.scm import SCM

LEVELS = (torch.arange(2000) + 0.5) / 2000
NORMAL = dist.Normal(0.0, 1.0).icdf(LEVELS)  # draws that stand for their law almost exactly


def slope(n):
    b = pyro.sample("b", dist.Normal(0.0, 10.0))
    with pyro.plate("units", n):
        x = pyro.sample("X", dist.Normal(0.0, 1.0))
        pyro.sample("Y", dist.Normal(b * x, 1.0))


def hidden(n):
    a = pyro.sample("a", dist.Normal(0.0, 10.0))
    with pyro.plate("units", n):
        u = pyro.sample("U", dist.Normal(a, 1.0))
        pyro.sample("Y", dist.Normal(u, 1.0))


def coins(n):
    p = pyro.sample("p", dist.Beta(3.0, 2.0))
    with pyro.plate("units", n):
        z = pyro.sample("Z", dist.Bernoulli(p))
        pyro.sample("Y", dist.Bernoulli(0.1 + 0.8 * z))
        pyro.sample("W", dist.Bernoulli(p))


def test_a_counterfactual_of_a_new_unit_has_the_conjugate_posterior():
    scm = SCM(slope).with_parameters({"b": 1.0 + 0.5 * NORMAL})
    seen = {"X": 2.0, "Y": 3.0}
    found = infer(scm, "E[Y_{X=0}]", evidence=seen, seed=0)
    # b ~ N(1, 1/4) and 3 ~ N(2 b, 1); Y_{X=0} = 3 - 2 b
    precision = 4.0 + 4.0
    mean = (4.0 + 6.0) / precision
    assert found.mean()["Y"] == pytest.approx(3 - 2 * mean, abs=5e-3)
    assert found.sd()["Y"] == pytest.approx(2 * precision**-0.5, rel=1e-2)
    assert found.diagnostics["parameter_khat"] < 0.7
    assert 500 < found.diagnostics["parameter_ess"] < 2000
    assert any("draws were weighted by the evidence of 1 of 1 units" in n for n in found.notes)
    kept = infer(scm, "E[Y_{X=0}]", evidence=seen, update_parameters=False, seed=0)
    assert kept.mean()["Y"] == pytest.approx(1.0, abs=5e-3)
    assert kept.sd()["Y"] == pytest.approx(1.0, rel=1e-2)
    assert any("were not updated by this evidence" in note for note in kept.notes)


def test_several_new_units_are_one_likelihood():
    scm = SCM(slope).with_parameters({"b": 1.0 + 0.5 * NORMAL})
    seen = {"X": torch.tensor([2.0, 1.0, torch.nan]), "Y": torch.tensor([3.0, 0.5, torch.nan])}
    found = infer(scm, "E[Y_{X=0}]", evidence=seen, seed=0)
    precision = 4.0 + 4.0 + 1.0
    mean = (4.0 + 6.0 + 0.5) / precision
    assert found.mean()["Y"][:2] == pytest.approx([3 - 2 * mean, 0.5 - mean], abs=5e-3)
    assert found.sd()["Y"][0] == pytest.approx(2 * precision**-0.5, rel=1e-2)


@pytest.mark.parametrize("engine", [None, Variational()], ids=["Gaussian", "Variational"])
def test_a_latent_and_the_parameter_are_updated_together(engine):
    scm = SCM(hidden).with_parameters({"a": 1.0 + 0.5 * NORMAL[::4]})
    found = infer(scm, ["U"], evidence={"Y": 3.0}, engine=engine, num_draws=100, seed=0)
    # U ~ N(1, 5/4) and 3 ~ N(U, 1); 50,000 draws
    gain = 1.25 / 2.25
    assert found.mean()["U"] == pytest.approx(1 + 2 * gain, abs=0.03)
    assert found.sd()["U"] == pytest.approx((1.25 * (1 - gain)) ** 0.5, rel=0.03)


def test_discrete_latents_are_summed_out_exactly():
    # Z is 1 with p, and W too: P(W | Y=1) needs E[p (.1 + .8 p)] / E[.1 + .8 p], p ~ Beta(3, 2)
    p = torch.distributions.Beta(3.0, 2.0)
    grid = (torch.arange(20_000) + 0.5) / 20_000
    cumulated = p.log_prob(grid).exp().cumsum(0) / p.log_prob(grid).exp().sum()
    scm = SCM(coins).with_parameters({"p": grid[torch.searchsorted(cumulated, LEVELS)]})
    first, second = 0.6, 0.6**2 + p.variance.item()
    truth = (0.1 * first + 0.8 * second) / (0.1 + 0.8 * first)
    assert infer(scm, "E[W]", evidence={"Y": 1}, seed=0).mean()["W"] == pytest.approx(
        truth, abs=3e-3
    )
    law = infer(scm, "P(W | Y=1)", seed=0)
    assert law.mean()["W"] == pytest.approx(truth, abs=0.03)
    # the mean of a group is a function of the parameters, whose posterior stays
    group = infer(scm, "E[W | Y=1]", seed=0)
    assert group.mean()["W"] == pytest.approx(0.6, abs=3e-3)
    assert any("it defines a group" in note for note in group.notes)


def test_rows_that_were_fitted_to_do_not_count_twice():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, generator=generator)
    data = {"X": x, "Y": x + torch.randn(20, generator=generator)}
    fitted = fit(slope, data, method=SVIFit(num_steps=200), seed=0)
    row = {name: float(value[3]) for name, value in data.items()}
    found = infer(fitted, "E[Y_{X=0}]", evidence=row, seed=0)
    assert any("rows that the model was fitted to" in note for note in found.notes)
    assert "parameter_khat" not in found.diagnostics
    other = infer(fitted, "E[Y_{X=0}]", evidence={**row, "Y": 9.0}, seed=0)
    assert "parameter_khat" in other.diagnostics
    # part of a row may be anybody's, and asking for the update takes the unit as a new one
    part = infer(fitted, "E[Y_{X=0}]", evidence={"Y": row["Y"]}, seed=0)
    assert not any("rows that the model was fitted to" in note for note in part.notes)
    asked = infer(fitted, "E[Y_{X=0}]", evidence=row, update_parameters=True, seed=0)
    assert "parameter_khat" in asked.diagnostics


def test_interventions_of_their_own_follow_units_with_missing_values():
    scm = SCM(slope).with_parameters({"b": 1.0 + 0.5 * NORMAL})
    worlds = {"a": {"X": torch.tensor([0.0, 1.0, 2.0])}}
    seen = {"Y@a": torch.tensor([0.5, 2.0, torch.nan]), "X": torch.tensor([3.0, torch.nan, 1.0])}
    found = infer(scm, ["Y"], worlds=worlds, evidence=seen, seed=0)
    assert "parameter_khat" in found.diagnostics


def test_many_units_do_not_update_unasked():
    scm = SCM(slope).with_parameters({"b": 1.0 + 0.5 * NORMAL})
    seen = {"X": torch.full((11,), 0.1), "Y": torch.zeros(11)}
    notes = infer(scm, "E[Y_{X=0}]", evidence=seen, seed=0).notes
    assert any("11 units are many" in note for note in notes)
    found = infer(scm, "E[Y_{X=0}]", evidence=seen, update_parameters=True, seed=0)
    assert found.mean()["Y"][0] == pytest.approx(-0.1 * 4 / (4 + 0.11), abs=1e-3)


def test_too_few_draws_are_not_weighted():
    scm = SCM(slope).with_parameters({"b": torch.tensor([0.0, 1.0, 2.0])})
    notes = infer(scm, "E[Y_{X=0}]", evidence={"X": 2.0, "Y": 3.0}, seed=0).notes
    assert any("3 draws are too few to be weighted" in note for note in notes)


def test_evidence_that_moves_the_draws_too_far_is_warned_of():
    scm = SCM(slope).with_parameters({"b": 1.0 + 0.5 * NORMAL[::4]})
    with pytest.warns(ConvergenceWarning, match="weighing the parameters' draws"):
        infer(scm, "E[Y_{X=0}]", evidence={"X": 100.0, "Y": 500.0}, seed=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:R-hat is")  # short chains, for 100 parameter draws at once
def test_draws_of_a_chain_are_weighted_too():
    scm = SCM(hidden).with_parameters({"a": 1.0 + 0.5 * NORMAL[::20]})
    engine = NUTS(num_samples=100, warmup_steps=100)
    found = infer(scm, ["U"], evidence={"Y": 3.0}, engine=engine, num_draws=100, seed=0)
    assert found.mean()["U"] == pytest.approx(1 + 2 * 1.25 / 2.25, abs=0.1)


@pytest.mark.parametrize("progress", [True, False])
def test_long_weighing_of_parameters_counts_its_runs(progress, monkeypatch, capsys):
    def program(n):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        with pyro.plate("units", n):
            u = pyro.sample("U", dist.Normal(0.0, 1.0))
            x = pyro.sample("X", dist.Bernoulli(logits=u))
            pyro.sample("Y", dist.Normal(u + a * x, 1.0))

    monkeypatch.setattr("causalppl.inference.progress._PATIENCE", 0.0)  # every work is long
    scm = SCM(program).with_parameters({"a": torch.linspace(-1, 1, 100)})
    infer(scm, "E[Y_{X=0}]", evidence={"X": 1.0, "Y": 0.5}, seed=0, progress=progress)
    told = capsys.readouterr().err
    assert ("weighing the parameters' draws" in told and " runs" in told) == progress
