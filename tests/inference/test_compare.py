"""Models beside each other: order, differences, weights, and what is refused."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from causalppl.exceptions import DataError
from causalppl.inference.arviz import fit_to_arviz, require
from causalppl.inference.compare import compare, stacking_weights
from causalppl.inference.fit import fit
from causalppl.inference.loo import loo
from causalppl.inference.svi_fit import SVIFit
from causalppl.programs.scm import SCM

METHOD = SVIFit(num_steps=300)


def linear(*, forward=True, has_edge=True):
    """X and Y normal, with the arrow in either direction, or none."""

    def program(n):
        means = pyro.sample("means", dist.Normal(torch.zeros(2), 10.0).to_event(1))
        slope = pyro.sample("slope", dist.Normal(0.0, 10.0)) if has_edge else 0.0
        scales = pyro.sample("scales", dist.HalfNormal(torch.ones(2) * 5.0).to_event(1))
        first, second = ("X", "Y") if forward else ("Y", "X")
        with pyro.plate("units", n):
            cause = pyro.sample(first, dist.Normal(means[..., 0], scales[..., 0]))
            mean = means[..., 1] + slope * cause
            pyro.sample(second, dist.Normal(mean, scales[..., 1]))

    return program


def pairs(rows=400, seed=0):
    noise = torch.randn(2, rows, generator=torch.Generator().manual_seed(seed)).double()
    return {"X": noise[0], "Y": 0.5 * noise[0] + noise[1]}


@pytest.fixture(scope="module")
def fits():
    data = pairs()
    return {
        "forward": fit(linear(), data, method=METHOD, seed=0),
        "backward": fit(linear(forward=False), data, method=METHOD, seed=0),
        "none": fit(linear(has_edge=False), data, method=METHOD, seed=0),
    }


@pytest.fixture(scope="module")
def small():
    return fit(linear(), pairs(rows=60), method=METHOD, seed=0)


@pytest.fixture(scope="module")
def found(fits):
    return compare(fits)


class TestMarkovEquivalentModels:
    def test_they_predict_alike(self, found):
        difference, _ = found.difference("forward", "backward")
        assert abs(difference) < 0.5
        assert found.is_weak("forward", "backward")
        assert found.weights["none"] < 0.02

    def test_one_that_lacks_the_edge_predicts_worse(self, found):
        assert list(found.models)[-1] == "none"
        difference, error = found.difference("none")
        # 200 log(1 - r^2) nats, with r the correlation in the data
        r = float(torch.corrcoef(torch.stack([*pairs().values()]))[0, 1])
        assert difference == pytest.approx(200 * np.log(1 - r**2), abs=3.0)
        assert difference < -3 * error
        assert not found.is_weak("none")

    def test_the_sentence_says_that_this_is_not_about_causes(self, found):
        said = found.interpret()
        assert "does not tell the direction of causes" in said
        assert "Markov-equivalent" in said
        assert "is weakly told" in said


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # ArviZ 0.23 on pandas 3
class TestAgainstArviZ:
    def test_order_differences_and_weights(self, fits, found):
        arviz = require("arviz", "arviz")
        if not hasattr(arviz, "InferenceData"):
            pytest.skip("ArviZ 1 or later is installed, which tells this otherwise")
        data = {name: fit_to_arviz(scm, log_likelihood=True) for name, scm in fits.items()}
        loos = {name: arviz.loo(each, pointwise=True, reff=1.0) for name, each in data.items()}
        theirs = arviz.compare(loos, ic="loo", method="stacking")
        assert theirs.index.tolist() == list(found.models)
        for name in found.models:
            difference, error = found.difference(name)
            assert -difference == pytest.approx(theirs.elpd_diff[name], abs=1e-6)
            assert error == pytest.approx(theirs.dse[name], abs=1e-6)

    def test_weights_of_models_that_differ(self):
        arviz = require("arviz", "arviz")
        if not hasattr(arviz, "InferenceData"):
            pytest.skip("ArviZ 1 or later is installed, which tells this otherwise")
        rng = np.random.default_rng(0)
        means = rng.normal(-1.0, 1.0, size=(300, 3)) + np.array([0.0, 0.1, -0.2])
        loos = {}
        for name, mean in zip("abc", means.T, strict=True):
            draws = np.broadcast_to(mean, (2, 200, 300)) + rng.normal(0, 1e-3, size=(2, 200, 300))
            groups = {"log_likelihood": {"y": draws}, "posterior": {"t": np.zeros((2, 200))}}
            loos[name] = arviz.loo(arviz.from_dict(**groups), pointwise=True, reff=1.0)
        theirs = arviz.compare(loos, ic="loo", method="stacking")
        densities = np.stack([loos[name].loo_i.values for name in "abc"], 1)
        assert stacking_weights(densities) == pytest.approx(theirs.weight[list("abc")], abs=1e-4)


def test_stacking_weights_of_two_models_in_closed_form():
    # rows told with 0.9 and 0.1, or the other way round, a share p of the first kind:
    # the mixture's weight w maximises p log(.1 + .8 w) + (1 - p) log(.9 - .8 w)
    share = 0.7
    densities = np.log(np.where(np.arange(100)[:, None] < 70, [0.9, 0.1], [0.1, 0.9]))
    truth = (0.9 * share - 0.1 * (1 - share)) / 0.8
    assert stacking_weights(densities) == pytest.approx([truth, 1 - truth], abs=1e-6)


def test_a_model_against_itself_is_a_tie(fits):
    one = loo(fits["forward"])
    found = compare({"one": one, "same": one})
    assert found.difference("one", "same") == (0.0, 0.0)
    assert sum(found.weights.values()) == pytest.approx(1.0)


def test_differences_are_antisymmetric_and_add_up(found):
    there, back = found.difference("forward", "none"), found.difference("none", "forward")
    assert there[0] == pytest.approx(-back[0])
    assert there[1] == pytest.approx(back[1])
    total = found.models["forward"].elpd - found.models["none"].elpd
    assert there[0] == pytest.approx(total)


def test_the_table_has_a_line_for_each_model(found):
    table = found.summary()
    assert table.index.tolist() == list(found.models)
    assert table["rank"].tolist() == [0, 1, 2]
    assert table["weight"].sum() == pytest.approx(1.0)
    assert (table["difference"] <= 0).all()
    assert "<table" in found._repr_html_()


def test_few_rows_are_said_to_tell_weakly(small):
    lone = fit(linear(has_edge=False), pairs(rows=60), method=METHOD, seed=0)
    found = compare({"edge": small, "none": lone})
    assert found.difference("edge", "none")[0] > 4
    assert found.is_weak("none")
    assert "fewer than 100 rows" in found.interpret()


class TestRefusals:
    def test_other_rows(self, fits, small):
        with pytest.raises(DataError, match="400 rows and 60"):
            compare({"all": fits["forward"], "fewer": small})

    def test_other_values(self, small):
        data = pairs(rows=60)
        data["Y"][:5] += 1.0
        moved = fit(linear(), data, method=METHOD, seed=0)
        with pytest.raises(DataError, match="column 'Y' differs in 5 rows"):
            compare({"all": small, "moved": moved})

    def test_other_columns(self, small):
        def program(n):
            mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
            with pyro.plate("units", n):
                pyro.sample("Y", dist.Normal(mean, 1.0))

        lone = fit(SCM(program), pairs(rows=60), method=METHOD, seed=0)
        with pytest.raises(DataError, match="only one of them has the columns X"):
            compare({"both": small, "Y alone": lone})

    def test_other_missing_values(self, small):
        data = pairs(rows=60)
        data["Y"][:3] = torch.nan
        gaps = fit(linear(), data, method=METHOD, missing="latent", seed=0)
        with pytest.raises(DataError, match="other values of 'Y' are missing"):
            compare({"all": small, "gaps": gaps})

    def test_a_lone_model(self, fits):
        with pytest.raises(DataError, match="at least two models"):
            compare({"one": fits["forward"]})

    def test_a_model_that_is_not_there(self, found):
        with pytest.raises(DataError, match="no model 'sideways'"):
            found.difference("sideways")
