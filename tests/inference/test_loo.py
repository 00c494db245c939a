"""Leave-one-out prediction, against refits in closed form, mixtures, integrals and ArviZ."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from causalppl.exceptions import AssumptionError, ConvergenceWarning, DataError
from causalppl.inference import row_likelihood
from causalppl.inference.arviz import fit_to_arviz, require
from causalppl.inference.fit import fit
from causalppl.inference.fit_method import FitRecord
from causalppl.inference.loo import log_likelihood, loo
from causalppl.inference.nuts_fit import NUTSFit
from causalppl.inference.svi_fit import SVIFit
from causalppl.inference.training_data import read_training_data
from causalppl.programs.scm import SCM

DRAWS = 2000


def normal_draws(count):
    """Draws that stand for the standard normal law almost exactly, in an order without meaning."""
    levels = (torch.arange(count).double() + 0.5) / count
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return dist.Normal(0.0, 1.0).icdf(levels)[order]


PRIOR_SD, NOISE_SD = 10.0, 2.0


def normal(n):
    mean = pyro.sample("mean", dist.Normal(0.0, PRIOR_SD))
    with pyro.plate("units", n):
        pyro.sample("Y", dist.Normal(mean, NOISE_SD))


def fitted_by_hand(program, data, draws, *, observed=None, missing="refuse", method=None):
    """A model as `fit` returns it, but with draws whose law is known."""
    scm = SCM(program, observed=observed)
    read = read_training_data(scm, data, missing)
    record = FitRecord(
        method=method or SVIFit(),
        num_rows=read.num_rows,
        seed=0,
        elbo=torch.zeros(0),
        diagnostics={},
        notes=(),
        data=read,
    )
    return scm.with_parameters(draws, record=record)


def normals(rows=40, seed=0):
    values = torch.randn(rows, generator=torch.Generator().manual_seed(seed)).double()
    return 1.0 + NOISE_SD * values


def posterior_of_mean(y):
    """Mean and standard deviation of the conjugate posterior."""
    precision = 1 / PRIOR_SD**2 + len(y) / NOISE_SD**2
    return float(y.sum()) / NOISE_SD**2 / precision, precision**-0.5


def by_refitting(y):
    """Exact log predictive density of each row given all others."""
    found = []
    for i in range(len(y)):
        mean, sd = posterior_of_mean(torch.cat([y[:i], y[i + 1 :]]))
        found.append(dist.Normal(mean, math.hypot(sd, NOISE_SD)).log_prob(y[i]))
    return torch.stack(found)


def fitted_normal(y, draws=DRAWS):
    mean, sd = posterior_of_mean(y)
    return fitted_by_hand(normal, {"Y": y}, {"mean": mean + sd * normal_draws(draws)})


class TestAgainstRefits:
    def test_a_row_left_out_is_told_as_by_the_fit_without_it(self):
        y = normals()
        found = loo(fitted_normal(y))
        torch.testing.assert_close(found.pointwise, by_refitting(y), atol=2e-3, rtol=0)
        assert found.elpd == pytest.approx(float(by_refitting(y).sum()), abs=0.01)
        assert found.worst_khat < 0.5
        assert found.unreliable == ()

    def test_a_real_fit_gives_the_same(self):
        y = normals()
        fitted = fit(normal, {"Y": y}, method=SVIFit(num_steps=300, num_draws=4000), seed=0)
        found = loo(fitted)
        assert found.elpd == pytest.approx(float(by_refitting(y).sum()), abs=0.05)
        assert any("draws of SVIFit as the posterior's own" in note for note in found.notes)

    def test_effective_parameters_of_a_mean_are_about_one(self):
        y = normals(rows=400)
        assert loo(fitted_normal(y)).p_loo == pytest.approx(float(y.var()) / NOISE_SD**2, abs=0.02)

    def test_the_number_of_draws_does_not_matter(self):
        y = normals()
        few = loo(fitted_normal(y, draws=500))
        assert few.elpd == pytest.approx(loo(fitted_normal(y)).elpd, abs=0.02)

    def test_parts_of_rows_change_nothing(self, monkeypatch):
        y = normals()
        whole = loo(fitted_normal(y))
        monkeypatch.setattr(row_likelihood, "_AT_ONCE", 7 * DRAWS)
        torch.testing.assert_close(loo(fitted_normal(y)).pointwise, whole.pointwise)


def labelled(n):
    share = pyro.sample("share", dist.Beta(2.0, 2.0))
    levels = pyro.sample("levels", dist.Normal(torch.zeros(2), 3.0).to_event(1))
    with pyro.plate("units", n):
        z = pyro.sample("Z", dist.Bernoulli(share))
        low, high = levels[..., 0], levels[..., 1]
        pyro.sample("X", dist.Normal(low + (high - low) * z, 1.0))
        pyro.sample("Y", dist.Bernoulli(0.2 + 0.6 * z))


def chained(n):
    slope = pyro.sample("slope", dist.Normal(0.0, 3.0))
    with pyro.plate("units", n):
        u = pyro.sample("U", dist.Normal(0.0, 1.0))
        x = pyro.sample("X", dist.Normal(u, 0.5))
        pyro.sample("Y", dist.Normal(slope * x + u, 0.7))


class TestUnitsLatents:
    def test_a_finite_latent_is_summed_out(self):
        torch.manual_seed(0)
        draws = {
            "share": torch.rand(100).double(),
            "levels": torch.randn(100, 2).double(),
        }
        data = {"X": torch.randn(30).double(), "Y": (torch.rand(30) < 0.5).double()}
        scm = fitted_by_hand(labelled, data, draws, observed=["X", "Y"])
        found = log_likelihood(scm)
        x, y = data["X"], data["Y"]
        terms = [
            torch.log(share)[:, None]
            + dist.Normal(level[:, None], 1.0).log_prob(x)
            + dist.Bernoulli(torch.tensor(chance).double()).log_prob(y)
            for share, level, chance in (
                (1 - draws["share"], draws["levels"][:, 0], 0.2),
                (draws["share"], draws["levels"][:, 1], 0.8),
            )
        ]
        torch.testing.assert_close(found, torch.stack(terms).logsumexp(0), atol=1e-6, rtol=0)

    def test_a_normal_latent_is_integrated_exactly(self):
        slope = 1.0 + 0.1 * normal_draws(200)
        torch.manual_seed(0)
        data = {"X": torch.randn(20).double(), "Y": torch.randn(20).double()}
        scm = fitted_by_hand(chained, data, {"slope": slope}, observed=["X", "Y"])
        covariance = _covariance_of_chain(slope)
        law = dist.MultivariateNormal(torch.zeros(2).double(), covariance[:, None])
        truth = law.log_prob(torch.stack([data["X"], data["Y"]], -1))
        torch.testing.assert_close(log_likelihood(scm), truth, atol=1e-5, rtol=0)
        assert not any("integral" in note for note in loo(scm).notes)

    def test_missing_values_are_integrated_row_by_row(self):
        slope = 1.0 + 0.1 * normal_draws(200)
        torch.manual_seed(0)
        x, y = torch.randn(20).double(), torch.randn(20).double()
        x[3:7] = y[5:12] = torch.nan
        data = {"X": x, "Y": y}
        scm = fitted_by_hand(chained, data, {"slope": slope}, observed=["X", "Y"], missing="latent")
        covariance = _covariance_of_chain(slope)
        sd = covariance.diagonal(dim1=1, dim2=2).sqrt()[:, None]
        both = dist.MultivariateNormal(torch.zeros(2).double(), covariance[:, None])
        truth = both.log_prob(torch.stack([x, y], -1).nan_to_num())
        truth[:, 3:5] = dist.Normal(0.0, sd[..., 1]).log_prob(y[3:5])
        truth[:, 5:7] = 0.0  # nothing is known of these rows
        truth[:, 7:12] = dist.Normal(0.0, sd[..., 0]).log_prob(x[7:12])
        torch.testing.assert_close(log_likelihood(scm), truth, atol=1e-5, rtol=0)

    def test_a_column_that_is_missing_altogether(self):
        slope = 1.0 + 0.1 * normal_draws(200)
        torch.manual_seed(0)
        y = torch.randn(20).double()
        scm = fitted_by_hand(chained, {"Y": y}, {"slope": slope}, observed=["Y"])
        sd = _covariance_of_chain(slope)[:, 1, 1].sqrt()
        truth = dist.Normal(0.0, sd[:, None]).log_prob(y)
        torch.testing.assert_close(log_likelihood(scm), truth, atol=1e-5, rtol=0)

    def test_a_latent_that_is_not_linear_is_integrated_as_on_a_grid(self):
        def program(n):
            slope = pyro.sample("slope", dist.Normal(0.0, 3.0))
            with pyro.plate("units", n):
                u = pyro.sample("U", dist.Normal(0.0, 1.0))
                pyro.sample("X", dist.Bernoulli(logits=slope * u))
                pyro.sample("Y", dist.Poisson((0.5 * u).exp()))

        slope = 1.5 + 0.1 * normal_draws(100)
        torch.manual_seed(0)
        data = {"X": (torch.rand(20) < 0.5).double(), "Y": dist.Poisson(1.0).sample((20,))}
        scm = fitted_by_hand(program, data, {"slope": slope}, observed=["X", "Y"])
        u = torch.linspace(-9, 9, 4001).double()
        prior = dist.Normal(0.0, 1.0).log_prob(u) + math.log(18 / 4000)
        x = dist.Bernoulli(logits=(slope[:, None] * u)[:, None]).log_prob(data["X"][:, None])
        y = dist.Poisson((0.5 * u).exp()).log_prob(data["Y"][:, None])
        truth = (prior + x + y).logsumexp(-1)
        found = log_likelihood(scm)
        assert float((found - truth).abs().max()) < 0.3
        assert float((found - truth).mean(0).abs().max()) < 0.02
        mixed = (-truth).logsumexp(0) - math.log(len(truth))
        assert loo(scm).elpd == pytest.approx(-float(mixed.sum()), abs=0.1)


def _covariance_of_chain(slope):
    """Of X and Y, for each slope: X = U + 0.5 e, Y = slope X + U + 0.7 e'."""
    xx = torch.full_like(slope, 1.25)
    xy = slope * 1.25 + 1.0
    yy = slope**2 * 1.25 + 2 * slope + 1.49
    return torch.stack([torch.stack([xx, xy], -1), torch.stack([xy, yy], -1)], -2)


class TestAgainstArviZ:
    def arviz(self):
        arviz = require("arviz", "arviz")
        if not hasattr(arviz, "InferenceData"):
            pytest.skip("ArviZ 1 or later is installed, which tells this otherwise")
        return arviz

    def test_loo_of_the_same_log_likelihood_is_the_same(self):
        arviz, scm = self.arviz(), fitted_normal(normals())
        found = loo(scm)
        theirs = arviz.loo(fit_to_arviz(scm, log_likelihood=True), pointwise=True, reff=1.0)
        assert found.elpd == pytest.approx(theirs.elpd_loo, abs=1e-6)
        assert found.se == pytest.approx(theirs.se, abs=1e-6)
        assert found.p_loo == pytest.approx(theirs.p_loo, abs=1e-6)
        np.testing.assert_allclose(found.pointwise, theirs.loo_i.values, atol=1e-6)

    def test_an_outlier_has_the_same_khat(self):
        arviz = self.arviz()
        y = normals(rows=8)
        y[3] = 25.0
        scm = fitted_normal(y)
        with pytest.warns(ConvergenceWarning, match=r"1 of 8 rows \(3\)"):
            found = loo(scm)
        with pytest.warns(UserWarning, match="shape parameter"):
            theirs = arviz.loo(fit_to_arviz(scm, log_likelihood=True), pointwise=True, reff=1.0)
        assert found.unreliable == (3,)
        assert found.worst_khat == pytest.approx(float(theirs.pareto_k.values[3]), abs=1e-6)
        assert "1 of 8 rows (3)" in found.interpret()

    def test_chains_that_mix_slowly_count_for_less(self):
        arviz = self.arviz()
        y = normals()
        mean, sd = posterior_of_mean(y)
        torch.manual_seed(0)
        walk = [torch.randn(4).double()]
        for _ in range(249):
            walk.append(0.7 * walk[-1] + math.sqrt(1 - 0.49) * torch.randn(4).double())
        draws = mean + sd * torch.stack(walk, 1).flatten()
        method = NUTSFit(num_chains=4, num_draws=250)
        scm = fitted_by_hand(normal, {"Y": y}, {"mean": draws}, method=method)
        data = fit_to_arviz(scm, log_likelihood=True)
        assert dict(data.posterior.sizes) == {"chain": 4, "draw": 250}
        share = float(arviz.ess(data)["mean"]) / 1000
        assert share < 0.4
        theirs = arviz.loo(data, pointwise=True, reff=share)
        assert loo(scm).elpd == pytest.approx(theirs.elpd_loo, abs=1e-6)


class TestResult:
    def test_elpd_is_the_sum_over_rows(self):
        found = loo(fitted_normal(normals()))
        assert found.elpd == pytest.approx(float(found.pointwise.sum()))
        assert found.se == pytest.approx(float(found.pointwise.std(correction=0)) * 40**0.5)

    def test_the_table_holds_what_the_attributes_say(self):
        found = loo(fitted_normal(normals()))
        table = found.summary()
        assert table.loc["elpd", "estimate"] == pytest.approx(found.elpd)
        assert table.loc["elpd", "se"] == pytest.approx(found.se)
        assert table.loc["worst k-hat", "estimate"] == pytest.approx(found.worst_khat)
        assert "<table" in found._repr_html_()

    def test_the_sentence_names_numbers(self):
        found = loo(fitted_normal(normals()))
        assert f"{found.elpd:.1f} over 40 rows" in found.interpret()


class TestRefusals:
    def test_a_model_that_was_not_fitted(self):
        with pytest.raises(DataError, match="not fitted"):
            loo(SCM(normal))

    def test_something_that_is_no_model(self):
        with pytest.raises(DataError, match="found 3; expected the model that fit returns"):
            loo(3)

    def test_a_fit_by_maximum_likelihood_has_no_posterior(self):
        def program(n):
            mean = pyro.param("mean", torch.tensor(0.0))
            with pyro.plate("units", n):
                pyro.sample("Y", dist.Normal(mean, 1.0))

        fitted = fit(program, {"Y": torch.arange(30.0) % 3}, method=SVIFit(num_steps=200), seed=0)
        with pytest.raises(AssumptionError, match="there are no draws"):
            loo(fitted)

    def test_draws_that_are_all_equal(self):
        y = normals()
        scm = fitted_by_hand(normal, {"Y": y}, {"mean": torch.ones(200)})
        with pytest.raises(AssumptionError, match="all draws of mean are equal"):
            loo(scm)

    def test_too_few_draws(self):
        scm = fitted_by_hand(normal, {"Y": normals()}, {"mean": normal_draws(50)})
        with pytest.raises(DataError, match="50 draws"):
            loo(scm)

    def test_a_latent_with_endlessly_many_values(self):
        def program(n):
            rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
            with pyro.plate("units", n):
                count = pyro.sample("N", dist.Poisson(rate))
                pyro.sample("Y", dist.Normal(count, 1.0))

        draws = {"rate": 1.0 + torch.rand(200)}
        scm = fitted_by_hand(program, {"Y": normals()}, draws, observed=["Y"])
        with pytest.raises(AssumptionError, match=r"'N' .*infinitely many values"):
            loo(scm)

    def test_data_that_stand_in_the_program(self):
        def program(n):
            mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
            with pyro.plate("units", n):
                pyro.sample("X", dist.Normal(mean, 1.0), obs=torch.tensor(0.5))
                pyro.sample("Y", dist.Normal(mean, 1.0))

        scm = fitted_by_hand(program, {"Y": normals()}, {"mean": normal_draws(200)}, observed=["Y"])
        with pytest.raises(AssumptionError, match="unit site 'X' stand in the program"):
            loo(scm)

    def test_a_file_without_rows(self, tmp_path):
        fitted = fit(normal, {"Y": normals()}, method=SVIFit(num_steps=200), seed=0)
        fitted.save(tmp_path / "with")
        fitted.save(tmp_path / "without", with_data=False)
        again = SCM.load(tmp_path / "with", normal)
        assert loo(again).elpd == pytest.approx(loo(fitted).elpd)
        with pytest.raises(DataError, match="without the rows"):
            loo(SCM.load(tmp_path / "without", normal))


def test_a_draw_that_makes_a_row_impossible_is_left_out():
    def program(n):
        width = pyro.sample("width", dist.LogNormal(0.0, 1.0))
        with pyro.plate("units", n):
            pyro.sample("Y", dist.Uniform(0.0, width))

    y = torch.linspace(0.1, 1.0, 10)
    width = torch.cat([torch.linspace(1.01, 1.2, 199), torch.tensor([0.95])])
    scm = fitted_by_hand(program, {"Y": y}, {"width": width})
    with pytest.warns(ConvergenceWarning, match=r"1 of 10 rows \(9\)"):
        found = loo(scm)
    assert bool(torch.isfinite(found.pointwise).all())
    assert any("for 1 of 10 rows some draws" in note for note in found.notes)
