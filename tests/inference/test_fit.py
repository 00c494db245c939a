"""Posteriors of parameters against closed forms, grids and other samplers."""

import warnings

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoDelta, AutoMultivariateNormal, AutoNormal
from pyro.nn import PyroModule
from torch.distributions import constraints

from causalppl.exceptions import ConvergenceWarning, DataError, FitError, ProgramError
from causalppl.inference.fit import fit
from causalppl.inference.infer import infer
from causalppl.inference.nuts_fit import NUTSFit
from causalppl.inference.svi_fit import SVIFit
from causalppl.programs.scm import SCM

FEATURES = 5


def regression(n):
    slopes = pyro.sample("slopes", dist.Normal(torch.zeros(FEATURES), 3.0).to_event(1))
    with pyro.plate("units", n):
        x = pyro.sample("X", dist.Normal(torch.zeros(FEATURES), 1.0).to_event(1))
        pyro.sample("Y", dist.Normal((x * slopes).sum(-1), 2.0))


def location(n):
    mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
    with pyro.plate("units", n):
        pyro.sample("Y", dist.Normal(mean, 1.0))


LOCATION_DATA = {"Y": torch.tensor([1.0, 2.0, 3.0])}


def regression_data(rows=400, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, FEATURES, generator=generator)
    x[:, 1] = x[:, 0] + 0.1 * x[:, 1]  # almost collinear
    y = x @ torch.arange(1.0, FEATURES + 1) + 2 * torch.randn(rows, generator=generator)
    return {"X": x, "Y": y}


def regression_posterior(data):
    x, y = data["X"].double(), data["Y"].double()
    covariance = torch.linalg.inv(x.T @ x / 4 + torch.eye(FEATURES).double() / 9)
    return covariance @ (x.T @ y) / 4, covariance


def assert_is_posterior(draws, mean, covariance, *, of_sd=0.05):
    sd = covariance.diagonal().sqrt()
    assert ((draws.mean(0) - mean) / sd).abs().max() < 0.1
    assert (draws.std(0) / sd - 1).abs().max() < of_sd
    correlation = covariance / sd.outer(sd)
    assert (torch.corrcoef(draws.T) - correlation).abs().max() < 0.07


def grid_posterior(log_density, low=0.0, high=1.0):
    grid = torch.linspace(low, high, 20_001, dtype=torch.float64)[1:-1]
    weights = torch.softmax(log_density(grid), 0)
    mean = (weights * grid).sum()
    return float(mean), float((weights * (grid - mean) ** 2).sum().sqrt())


class TestAutomaticGuide:
    def test_linear_regression_has_its_conjugate_posterior(self):
        data = regression_data()
        fitted = fit(regression, data, method=SVIFit(num_steps=400, num_draws=8000), seed=1)
        assert_is_posterior(fitted.parameters["slopes"], *regression_posterior(data))
        assert fitted.fit_record.diagnostics["khat"] < 0.5

    def test_minibatches_give_the_same_posterior(self):
        data = regression_data(rows=1000)
        method = SVIFit(num_steps=600, batch_size=100, num_draws=8000)
        fitted = fit(regression, data, method=method, seed=1)
        assert_is_posterior(fitted.parameters["slopes"], *regression_posterior(data))
        assert fitted.fit_record.num_rows == 1000

    def test_parameters_keep_to_their_support(self):
        def program(n):
            shares = pyro.sample("shares", dist.Dirichlet(torch.ones(3)))
            with pyro.plate("units", n):
                pyro.sample("X", dist.Categorical(shares))

        counts = torch.tensor([200, 125, 75])
        data = {"X": torch.arange(3).repeat_interleave(counts)}
        method = SVIFit(num_steps=400, num_draws=8000)
        shares = fit(program, data, method=method, seed=0).parameters["shares"]
        truth = dist.Dirichlet(1.0 + counts)
        torch.testing.assert_close(shares.sum(1), torch.ones(8000))
        assert (shares.mean(0) - truth.mean).abs().max() < 0.1 * truth.stddev.min()
        assert (shares.std(0) / truth.stddev - 1).abs().max() < 0.05

    @pytest.mark.filterwarnings("ignore:k-hat")  # a funnel: no normal law fits it
    def test_a_support_that_depends_on_another_parameter(self):
        def program(n):
            width = pyro.sample("width", dist.LogNormal(1.0, 0.5))
            place = pyro.sample("place", dist.Uniform(0.0, width))
            with pyro.plate("units", n):
                pyro.sample("X", dist.Normal(place, 1.0))

        data = {"X": torch.full((20,), 1.5)}
        draws = fit(program, data, method=SVIFit(num_steps=300), seed=0).parameters
        assert bool((draws["place"] < draws["width"]).all())
        assert float(draws["place"].mean()) == pytest.approx(1.5, abs=0.1)

    @pytest.mark.slow
    def test_hundreds_of_parameters(self):
        groups = 300

        def program(n):
            with pyro.plate("groups", groups, dim=-2):
                level = pyro.sample("level", dist.Normal(0.0, 1.0))
            with pyro.plate("units", n):
                group = pyro.sample("G", dist.Categorical(torch.ones(groups)))
                values = torch.gather(level.squeeze(-1).expand(groups), -1, group)
                pyro.sample("Y", dist.Normal(values, 0.5))

        group = torch.arange(groups).repeat(3)
        truth = torch.linspace(-1, 1, groups)
        data = {"G": group, "Y": truth[group]}
        scm = SCM(program)
        fitted = fit(scm, data, method=SVIFit(num_steps=600, num_draws=2000), seed=0)
        level = fitted.parameters["level"].squeeze(-1)
        precision = 1 + 3 / 0.25
        error = (level.mean(0) - truth * 12 / precision) * precision**0.5
        assert level.shape == (2000, groups)
        assert error.abs().mean() < 0.1
        assert (level.std(0) * precision**0.5 - 1).abs().mean() < 0.1

    def test_the_model_is_ready_to_answer(self):
        data = regression_data()
        scm = SCM(regression)
        fitted = scm.fit(data, method=SVIFit(num_steps=200), seed=0)
        assert scm.parameters == {}
        assert "posterior draws" in repr(fitted)
        base = {"X": torch.zeros(FEATURES)}
        answer = infer(fitted, "E[Y_{X=1}]", evidence=base, seed=0)
        truth = regression_posterior(data)[0].sum()
        assert answer.mean()["Y"] == pytest.approx(float(truth), abs=0.1)

    @pytest.mark.slow
    def test_logistic_regression_agrees_with_nuts(self):
        def program(n):
            slopes = pyro.sample("slopes", dist.Normal(torch.zeros(3), 2.0).to_event(1))
            with pyro.plate("units", n):
                x = pyro.sample("X", dist.Normal(torch.zeros(3), 1.0).to_event(1))
                pyro.sample("Y", dist.Bernoulli(logits=(x * slopes).sum(-1)))

        generator = torch.Generator().manual_seed(0)
        x = torch.randn(300, 3, generator=generator)
        chance = torch.sigmoid(x @ torch.tensor([1.0, -2.0, 0.3]))
        data = {"X": x, "Y": torch.bernoulli(chance, generator=generator)}
        svi = fit(program, data, method=SVIFit(num_draws=4000), seed=0)
        nuts = fit(program, data, method=NUTSFit(num_draws=1000, num_chains=2), seed=0)
        assert nuts.fit_record.diagnostics["rhat"] < 1.01
        a, b = svi.parameters["slopes"], nuts.parameters["slopes"]
        assert ((a.mean(0) - b.mean(0)) / b.std(0)).abs().max() < 0.15
        assert (a.std(0) / b.std(0) - 1).abs().max() < 0.1


class TestLatentUnits:
    def test_continuous_latents_are_integrated_out(self):
        def program(n):
            mean = pyro.sample("mean", dist.Normal(0.0, 5.0))
            with pyro.plate("units", n):
                u = pyro.sample("U", dist.Normal(mean, 1.0))
                pyro.sample("A", dist.Normal(u, 1.0))
                pyro.sample("B", dist.Normal(2 * u, 1.0))

        generator = torch.Generator().manual_seed(0)
        u = 1 + torch.randn(100, generator=generator)
        data = {
            "A": u + torch.randn(100, generator=generator),
            "B": 2 * u + torch.randn(100, generator=generator),
        }
        scm = SCM(program, observed=["A", "B"])
        method = SVIFit(num_steps=200, num_draws=8000)
        fitted = fit(scm, data, method=method, seed=0)
        seen = torch.stack([data["A"], data["B"]], 1).double()
        load = torch.tensor([1.0, 2.0], dtype=torch.float64)
        weights = torch.linalg.inv(load.outer(load) + torch.eye(2)) @ load
        precision = 1 / 25 + 100 * float(weights @ load)
        mean = float((seen @ weights).sum()) / precision
        draws = fitted.parameters["mean"]
        assert float(draws.mean()) == pytest.approx(mean, abs=0.1 * precision**-0.5)
        assert float(draws.std()) == pytest.approx(precision**-0.5, rel=0.05)

    def test_discrete_latents_are_summed_out(self):
        def program(n):
            share = pyro.sample("share", dist.Beta(1.0, 1.0))
            with pyro.plate("units", n):
                kind = pyro.sample("K", dist.Bernoulli(share))
                pyro.sample("Y", dist.Normal(2 * kind, 1.0))

        generator = torch.Generator().manual_seed(0)
        kind = torch.bernoulli(torch.full((200,), 0.3), generator=generator)
        y = 2 * kind + torch.randn(200, generator=generator)
        scm = SCM(program, observed=["Y"])
        method = SVIFit(num_steps=150, num_draws=400)
        draws = fit(scm, {"Y": y}, method=method, seed=0).parameters["share"]

        def log_density(share):
            parts = [dist.Normal(m, 1.0).log_prob(y.double()).exp() for m in (2.0, 0.0)]
            likelihood = share[:, None] * parts[0] + (1 - share)[:, None] * parts[1]
            return likelihood.log().sum(1)

        mean, sd = grid_posterior(log_density)
        assert float(draws.mean()) == pytest.approx(mean, abs=0.2 * sd)
        assert float(draws.std()) == pytest.approx(sd, rel=0.12)

    def test_minibatches_are_refused(self):
        def program(n):
            mean = pyro.sample("mean", dist.Normal(0.0, 5.0))
            with pyro.plate("units", n):
                u = pyro.sample("U", dist.Normal(mean, 1.0))
                pyro.sample("Y", dist.Normal(u, 1.0))

        scm = SCM(program, observed=["Y"])
        with pytest.raises(FitError, match="latent unit sites U"):
            fit(scm, {"Y": torch.zeros(50)}, method=SVIFit(batch_size=10))


class TestPlates:
    def test_units_need_not_be_the_rightmost_plate(self):
        def program(n):
            with pyro.plate("times", 3, dim=-1):
                level = pyro.sample("level", dist.Normal(0.0, 5.0))
                with pyro.plate("units", n, dim=-2):
                    pyro.sample("Y", dist.Normal(level, 1.0))

        generator = torch.Generator().manual_seed(0)
        y = torch.tensor([1.0, 2.0, 3.0]) + torch.randn(50, 3, generator=generator)
        method = SVIFit(num_steps=200, num_draws=4000)
        draws = fit(program, {"Y": y}, method=method, seed=0).parameters["level"]
        precision = 50 + 1 / 25
        assert draws.shape == (4000, 3)
        assert ((draws.mean(0) - y.sum(0) / precision) * precision**0.5).abs().max() < 0.1
        assert (draws.std(0) * precision**0.5 - 1).abs().max() < 0.05

    def test_deterministic_columns_are_left_to_the_program(self):
        def program(n):
            slope = pyro.sample("slope", dist.Normal(0.0, 5.0))
            with pyro.plate("units", n):
                x = pyro.sample("X", dist.Normal(0.0, 1.0))
                line = pyro.deterministic("line", slope * x)
                pyro.sample("Y", dist.Normal(line, 1.0))

        x = torch.linspace(-1, 1, 50)
        fitted = fit(program, {"X": x, "line": 9 * x, "Y": 2 * x}, method=QUICK, seed=0)
        assert float(fitted.parameters["slope"].mean()) == pytest.approx(2.0, abs=0.1)
        assert "columns of deterministic sites were left out: line" in fitted.fit_record.notes

    def test_a_value_in_the_program_is_no_parameter(self):
        def program(n):
            mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
            sd = pyro.sample("sd", dist.HalfNormal(1.0), obs=torch.tensor(1.0))
            with pyro.plate("units", n):
                pyro.sample("Y", dist.Normal(mean, sd))

        fitted = fit(program, LOCATION_DATA, method=QUICK, seed=0)
        assert set(fitted.parameters) == {"mean"}

    def test_a_program_that_subsamples_is_refused(self):
        def program(n):
            mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
            with pyro.plate("units", n, subsample_size=min(n, 10)):
                pyro.sample("Y", dist.Normal(mean, 1.0))

        with pytest.raises(ProgramError, match=r"SVIFit\(batch_size=10\)"):
            fit(program, {"Y": torch.zeros(100)})


class TestLearnedParameters:
    def test_a_param_takes_its_maximum_likelihood_value(self):
        def program(n):
            mean = pyro.param("mean", torch.tensor(0.0))
            sd = pyro.param("sd", torch.tensor(1.0), constraint=constraints.positive)
            with pyro.plate("units", n):
                pyro.sample("Y", dist.Normal(mean, sd))

        y = torch.tensor([1.0, 2.0, 3.0, 6.0])
        scm = SCM(program)
        method = SVIFit(num_steps=700, learning_rate=0.1)
        fitted = fit(scm, {"Y": y}, method=method, seed=0)
        assert fitted.parameters == {}
        assert "maximum likelihood" in " ".join(fitted.fit_record.notes)
        with fitted.learned.installed():
            assert pyro.param("mean").item() == pytest.approx(3.0, abs=0.01)
            assert pyro.param("sd").item() == pytest.approx(float(y.std(correction=0)), abs=0.01)
        assert list(pyro.get_param_store().keys()) == []
        assert float(fitted.sample(2000, seed=0)["Y"].mean()) == pytest.approx(3.0, abs=0.2)

    @pytest.mark.parametrize("batch_size", [None, pytest.param(100, marks=pytest.mark.slow)])
    def test_a_module_learns_a_curve_and_keeps_its_own_weights(self, batch_size):
        torch.manual_seed(0)
        net = PyroModule[torch.nn.Sequential](
            PyroModule[torch.nn.Linear](1, 16),
            PyroModule[torch.nn.Tanh](),
            PyroModule[torch.nn.Linear](16, 1),
        )
        before = [p.detach().clone() for p in net.parameters()]

        def program(n):
            scale = pyro.sample("scale", dist.HalfNormal(1.0))
            with pyro.plate("units", n):
                x = pyro.sample("X", dist.Normal(0.0, 1.0))
                pyro.sample("Y", dist.Normal(net(x.unsqueeze(-1)).squeeze(-1), scale))

        x = torch.linspace(-2, 2, 400)
        y = torch.sin(2 * x) + 0.1 * torch.randn(400)
        scm = SCM(program)
        method = SVIFit(num_steps=1500, learning_rate=0.02, batch_size=batch_size)
        fitted = fit(scm, {"X": x, "Y": y}, method=method, seed=0)
        answer = infer(fitted, "E[Y_{X=0.8}]", evidence={"X": 0.0}, seed=0)
        assert answer.mean()["Y"] == pytest.approx(float(np.sin(1.6)), abs=0.1)
        assert float(fitted.parameters["scale"].mean()) == pytest.approx(0.1, abs=0.03)
        for now, then in zip(net.parameters(), before, strict=True):
            torch.testing.assert_close(now, then)

    @pytest.mark.slow
    def test_two_fits_of_one_module_do_not_disturb_each_other(self):
        torch.manual_seed(0)
        net = torch.nn.Linear(1, 1)

        def program(n):
            pyro.module("net", net)
            with pyro.plate("units", n):
                x = pyro.sample("X", dist.Normal(0.0, 1.0))
                pyro.sample("Y", dist.Normal(net(x.unsqueeze(-1)).squeeze(-1), 1.0))

        scm, x = SCM(program), torch.linspace(-1, 1, 50)
        method = SVIFit(num_steps=800, learning_rate=0.05)
        up = fit(scm, {"X": x, "Y": 3 * x}, method=method, seed=0)
        down = fit(scm, {"X": x, "Y": -3 * x}, method=method, seed=0)
        for fitted, slope in ((up, 3.0), (down, -3.0), (up, 3.0)):
            answer = infer(fitted, "E[Y_{X=1}]", evidence={"X": 0.0}, seed=0)
            assert answer.mean()["Y"] == pytest.approx(slope, abs=0.1)


class TestOtherWays:
    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore:r-hat")
    def test_nuts_finds_the_conjugate_posterior(self):
        data = regression_data(rows=100)
        method = NUTSFit(num_draws=200, num_warmup=60, num_chains=2)
        fitted = fit(regression, data, method=method, seed=0)
        record = fitted.fit_record
        mean, covariance = regression_posterior(data)
        sd = covariance.diagonal().sqrt()
        draws = fitted.parameters["slopes"]
        assert draws.shape == (400, FEATURES)
        assert ((draws.mean(0) - mean) / sd).abs().max() < 0.2
        assert (draws.std(0) / sd - 1).abs().max() < 0.15
        assert record.diagnostics["rhat"] < 1.05
        assert record.diagnostics["ess"] > 100
        assert record.diagnostics["divergences"] == 0

    def test_nuts_refuses_params_without_a_prior(self):
        def program(n):
            mean = pyro.param("mean", torch.tensor(0.0))
            scale = pyro.sample("scale", dist.HalfNormal(1.0))
            with pyro.plate("units", n):
                pyro.sample("Y", dist.Normal(mean, scale))

        with pytest.raises(ProgramError, match="mean have no prior"):
            fit(program, {"Y": torch.ones(3)}, method=NUTSFit())

    def test_a_guide_class(self):
        method = SVIFit(
            num_steps=300, learning_rate=0.1, num_draws=200, guide=AutoMultivariateNormal
        )
        fitted = fit(location, LOCATION_DATA, method=method, seed=0)
        assert float(fitted.parameters["mean"].mean()) == pytest.approx(2.0, abs=0.15)
        assert fitted.fit_record.diagnostics["khat"] < 0.7

    def test_a_guide_function(self):
        def guide(n):
            loc = pyro.param("loc", torch.tensor(0.0))
            scale = pyro.param("scale", torch.tensor(0.5), constraint=constraints.positive)
            pyro.sample("mean", dist.Normal(loc, scale))

        method = SVIFit(num_steps=300, learning_rate=0.05, guide=guide, num_draws=200)
        fitted = fit(location, LOCATION_DATA, method=method, seed=0)
        assert float(fitted.parameters["mean"].mean()) == pytest.approx(2.0, abs=0.15)
        assert fitted.learned is None

    @pytest.mark.slow
    def test_a_guide_leaves_discrete_latents_to_enumeration(self):
        def program(n):
            share = pyro.sample("share", dist.Beta(2.0, 2.0))
            with pyro.plate("units", n):
                kind = pyro.sample("K", dist.Bernoulli(share))
                pyro.sample("Y", dist.Normal(10 * kind, 1.0))

        scm = SCM(program, observed=["Y"])
        data = {"Y": torch.tensor([0.0] * 30 + [10.0] * 10)}
        method = SVIFit(num_steps=200, learning_rate=0.05, num_draws=200, guide=AutoNormal)
        fitted = fit(scm, data, method=method, seed=0)
        assert float(fitted.parameters["share"].mean()) == pytest.approx(12 / 44, abs=0.02)

    def test_a_guide_without_a_parameter_is_refused(self):
        method = SVIFit(num_steps=5, guide=lambda n: None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pyro's own remark
            with pytest.raises(FitError, match="slopes"):
                fit(regression, regression_data(rows=10), method=method)

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore:the evidence lower bound")
    def test_a_poor_guide_is_reported(self):
        data = regression_data(rows=100)
        method = SVIFit(num_steps=300, learning_rate=0.05, guide=AutoNormal, num_draws=200)
        with pytest.warns(ConvergenceWarning, match="k-hat"):
            fit(regression, data, method=method, seed=0)

    def test_too_few_steps_are_reported(self):
        def program(n):
            mean = pyro.param("mean", torch.tensor(0.0))
            with pyro.plate("units", n):
                pyro.sample("Y", dist.Normal(mean, 1.0))

        with pytest.warns(ConvergenceWarning, match="still rose"):
            fit(program, {"Y": torch.full((20,), 50.0)}, method=SVIFit(num_steps=40), seed=0)


def survey(n):
    """Answers by text: a categorical cause and a numeric outcome."""
    shares = pyro.sample("shares", dist.Dirichlet(torch.ones(2)))
    means = pyro.sample("means", dist.Normal(torch.zeros(2), 10.0).to_event(1))
    with pyro.plate("units", n):
        arm = pyro.sample("arm", dist.Categorical(shares))
        place = torch.where(arm == 1, means[..., 1], means[..., 0])
        pyro.sample("Y", dist.Normal(place, 1.0))


QUICK = SVIFit(num_steps=100, num_draws=200)


class TestData:
    frame = pd.DataFrame({"arm": ["old", "new", "old", "new"] * 25, "Y": [1.0, 3.0, 1.2, 3.2] * 25})

    def test_text_is_encoded_and_its_categories_kept(self):
        fitted = fit(survey, self.frame, method=QUICK, seed=0)
        assert fitted.categories == {"arm": ("new", "old")}
        means = fitted.parameters["means"].mean(0)
        assert float(means[0]) == pytest.approx(3.1, abs=0.3)
        answer = infer(fitted, "E[Y | do(arm=old)]", seed=0)
        assert answer.mean()["Y"] == pytest.approx(1.1, abs=0.3)

    def test_declared_categories_win(self):
        scm = SCM(survey, categories={"arm": ["old", "new"]})
        fitted = fit(scm, self.frame, method=QUICK, seed=0)
        assert fitted.categories == {"arm": ("old", "new")}
        assert float(fitted.parameters["means"].mean(0)[1]) == pytest.approx(3.1, abs=0.3)

    def test_undeclared_categories_are_refused(self):
        scm = SCM(survey, categories={"arm": ["old", "newer"]})
        with pytest.raises(DataError, match="'arm' has new, which the model does not declare"):
            fit(scm, self.frame, method=QUICK)

    def test_other_columns_are_left_out_and_said_so(self, caplog):
        frame = self.frame.assign(id=range(100), when=pd.Timestamp("2020-01-01"))
        with caplog.at_level("INFO", logger="causalppl"):
            fitted = fit(survey, frame, method=QUICK, seed=0)
        assert "left out: id, when" in caplog.text
        assert "left out: id, when" in fitted.fit_record.interpret()

    def test_a_lacking_column_is_named(self):
        with pytest.raises(DataError, match="no column for the observed site 'Y'"):
            fit(survey, self.frame[["arm"]])

    def test_missing_values_are_refused_by_default(self):
        frame = self.frame.assign(Y=[1.0, None, 1.2, 3.2] * 25)
        with pytest.raises(DataError, match=r"by column: Y 25; rows: 100.*missing='drop'"):
            fit(survey, frame)

    def test_incomplete_rows_can_be_dropped(self):
        frame = self.frame.assign(Y=[1.0, None, 1.2, 3.2] * 25)
        fitted = fit(survey, frame, missing="drop", method=QUICK, seed=0)
        assert fitted.fit_record.num_rows == 75
        assert "25 of 100 rows" in fitted.fit_record.notes[0]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"arm": [0, 1, 2, 0] * 25}, "'arm' holds 2"),
            ({"arm": [0, 1, 0.5, 0] * 25}, "'arm' holds 0.5"),
            ({"Y": ["a", "b", "a", "b"] * 25}, "continuous"),
        ],
    )
    def test_values_outside_the_range_are_named(self, change, message):
        with pytest.raises(DataError, match=message):
            fit(survey, self.frame.assign(**change))

    def test_a_wrong_shape_is_named(self):
        data = regression_data(rows=20)
        with pytest.raises(DataError, match=r"'X' has shape \(20, 2\); expected \(rows, 5\)"):
            fit(regression, {**data, "X": data["X"][:, :2]})

    def test_nothing_to_fit(self):
        with pytest.raises(ProgramError, match="nothing to fit"):
            fit(lambda: pyro.sample("X", dist.Normal(0.0, 1.0)), {"X": [1.0, 2.0]})

    def test_a_discrete_parameter_is_refused(self):
        def program(n):
            kind = pyro.sample("kind", dist.Bernoulli(0.5))
            with pyro.plate("units", n):
                pyro.sample("Y", dist.Normal(kind, 1.0))

        with pytest.raises(ProgramError, match=r"'kind' \(Bernoulli\) is discrete"):
            fit(program, {"Y": torch.ones(3)})

    def test_a_bad_setting_is_refused(self):
        with pytest.raises(DataError, match="num_steps is 0"):
            SVIFit(num_steps=0)
        with pytest.raises(DataError, match="method is 'svi'"):
            fit(survey, self.frame, method="svi")
        with pytest.raises(DataError, match="missing is 'no'"):
            fit(survey, self.frame, missing="no")


class TestMissingValues:
    def test_a_missing_outcome_tells_nothing(self):
        data = regression_data(rows=300)
        gaps = {**data, "Y": torch.where(torch.arange(300) < 60, torch.nan, data["Y"])}
        kept = {name: value[60:] for name, value in data.items()}
        method = SVIFit(num_steps=200, num_draws=8000)
        fitted = fit(regression, gaps, missing="latent", method=method, seed=0)
        assert_is_posterior(fitted.parameters["slopes"], *regression_posterior(kept))
        assert fitted.fit_record.diagnostics["khat"] < 0.7

    def test_a_missing_cause_is_inferred_from_its_effect(self):
        def program(n):
            share = pyro.sample("share", dist.Beta(1.0, 1.0))
            with pyro.plate("units", n):
                kind = pyro.sample("K", dist.Bernoulli(share))
                pyro.sample("Y", dist.Normal(2 * kind, 1.0))

        generator = torch.Generator().manual_seed(0)
        kind = torch.bernoulli(torch.full((100,), 0.3), generator=generator)
        y = 2 * kind + torch.randn(100, generator=generator)
        is_gone = torch.arange(100) < 50
        data = {"K": torch.where(is_gone, torch.nan, kind), "Y": y}
        method = SVIFit(num_steps=150, num_draws=400)
        fitted = fit(program, data, missing="latent", method=method, seed=0)
        draws = fitted.parameters["share"]

        def log_density(share):
            known = kind[~is_gone].double().sum()
            seen = known * share.log() + (50 - known) * torch.log1p(-share)
            parts = [dist.Normal(m, 1.0).log_prob(y[is_gone].double()).exp() for m in (2.0, 0.0)]
            gone = share[:, None] * parts[0] + (1 - share)[:, None] * parts[1]
            return seen + gone.log().sum(1)

        mean, sd = grid_posterior(log_density)
        assert float(draws.mean()) == pytest.approx(mean, abs=0.2 * sd)
        assert float(draws.std()) == pytest.approx(sd, rel=0.12)

    def test_a_column_that_is_not_there_can_be_latent(self):
        scm = SCM(survey, categories={"arm": ["old", "new"]})
        data = {"Y": torch.tensor([-5.0, -5.1, 5.0, 5.2, 5.1] * 10)}
        fitted = fit(scm, data, missing="latent", method=QUICK, seed=0)
        means = fitted.parameters["means"].mean(0).sort().values
        torch.testing.assert_close(means, torch.tensor([-5.0, 5.1]), atol=0.6, rtol=0)


class TestIsolation:
    def test_the_same_seed_gives_the_same_tensors(self):
        data = regression_data(rows=50)
        a, b, c = (fit(regression, data, method=QUICK, seed=s) for s in (3, 3, 4))
        assert torch.equal(a.parameters["slopes"], b.parameters["slopes"])
        assert not torch.equal(a.parameters["slopes"], c.parameters["slopes"])
        assert a.fit_record.seed == 3

    def test_fits_back_to_back_leave_no_trace(self):
        data = regression_data(rows=50)
        pyro.param("mine", torch.tensor(1.0))
        alone = fit(regression, data, method=QUICK, seed=0).parameters["slopes"]
        state = torch.get_rng_state()
        fit(survey, TestData.frame, method=QUICK)
        again = fit(regression, data, method=QUICK, seed=0).parameters["slopes"]
        assert torch.equal(alone, again)
        assert torch.equal(state, torch.get_rng_state())
        assert list(pyro.get_param_store().keys()) == ["mine"]
        assert torch.get_default_dtype() == torch.float32

    def test_double_precision_follows_the_data(self):
        data = {name: value.double() for name, value in regression_data(rows=50).items()}
        fitted = fit(regression, data, method=QUICK, seed=0)
        assert fitted.parameters["slopes"].dtype == torch.float64

    def test_progress_is_shown_only_when_asked_for(self, capsys):
        data = regression_data(rows=50)
        fit(regression, data, method=QUICK, seed=0, progress=False)
        assert capsys.readouterr().err == ""
        fit(regression, data, method=QUICK, seed=0, progress=True)
        assert "fitting" in capsys.readouterr().err

    @pytest.mark.gpu
    def test_the_device_follows_the_data(self):
        data = {name: value.cuda() for name, value in regression_data().items()}
        fitted = fit(regression, data, method=SVIFit(num_steps=300, num_draws=4000), seed=0)
        draws = fitted.parameters["slopes"]
        assert draws.is_cuda
        mean, covariance = (value.cpu() for value in regression_posterior(data))
        assert_is_posterior(draws.cpu(), mean, covariance)


@pytest.mark.filterwarnings("ignore:r-hat")  # 40 draws are few
def test_nuts_fits_programs_with_discrete_latents():
    def program(n):
        d = pyro.sample("d", dist.Normal(0.0, 3.0))
        with pyro.plate("units", n):
            u = pyro.sample("U", dist.Bernoulli(0.5))
            pyro.sample("Y", dist.Normal(d * u, 0.2))

    method = NUTSFit(num_draws=40, num_warmup=40, num_chains=1)
    data = {"Y": torch.tensor([0.0, 0.1, 2.0, 2.1, -0.1, 1.9])}
    fitted = SCM(program, observed=["Y"]).fit(data, method=method, seed=0, progress=False)
    assert float(fitted.parameters["d"].mean()) == pytest.approx(2.0, abs=0.5)


def test_a_point_guide_is_told_from_a_posterior():
    def program(n):
        mu = pyro.sample("mu", dist.Normal(0.0, 10.0))
        with pyro.plate("units", n):
            pyro.sample("Y", dist.Normal(mu, 2.0))

    method = SVIFit(guide=AutoDelta, num_draws=20, num_steps=50)
    with pytest.warns(ConvergenceWarning, match="all draws of mu are equal"):
        fit(program, {"Y": torch.arange(10.0)}, method=method, seed=0, progress=False)


class TestTextForTwoValues:
    @staticmethod
    def program(n):
        share = pyro.sample("share", dist.Beta(1.0, 1.0))
        with pyro.plate("units", n):
            pyro.sample("Y", dist.Bernoulli(share))

    @pytest.mark.parametrize("texts", [["no", "yes", "maybe"], ["smoker"] * 3])
    def test_other_than_two_categories_are_named(self, texts):
        with pytest.raises(DataError, match=repr(texts[-1])):
            fit(self.program, {"Y": texts}, seed=0)

    def test_the_mapping_is_told(self):
        method = SVIFit(num_steps=200)
        fitted = fit(self.program, {"Y": ["no", "yes", "no"]}, method=method, seed=0)
        assert "Y is 0 for 'no' and 1 for 'yes'" in fitted.fit_record.notes

    def test_a_declared_category_need_not_occur(self):
        scm = SCM(self.program, categories={"Y": ["no", "yes"]})
        fitted = fit(scm, {"Y": ["yes"] * 8}, method=SVIFit(num_steps=200), seed=0)
        assert float(fitted.parameters["share"].mean()) == pytest.approx(0.9, abs=0.03)
