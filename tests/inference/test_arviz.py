"""Conversion to both generations of ArviZ."""

import os
import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
import xarray as xr

from causalppl.exceptions import CausalPPLError, MissingExtraError
from causalppl.inference.arviz import require, to_arviz
from causalppl.inference.diagnostics import ess, rhat
from causalppl.inference.laws import NormalLaw
from causalppl.inference.posterior import Posterior


def chains():
    rng = np.random.default_rng(0)
    draws = {"Y": rng.normal(size=(4, 100, 3)), "b": rng.normal(size=(4, 100))}
    return Posterior.from_draws(
        draws,
        coords={"units": ["Ann", "Bob", "Cy"]},
        query="E[Y]",
        engine="NUTS",
        assumptions=("a", "b"),
        couplings={"Y": "quantile"},
    )


def test_arviz_before_version_one_gets_its_own_container():
    arviz = require("arviz", "arviz")
    if not hasattr(arviz, "InferenceData"):
        pytest.skip("ArviZ 1 or later is installed")
    posterior = chains()
    data = posterior.to_arviz()
    assert isinstance(data, arviz.InferenceData)
    np.testing.assert_array_equal(data.posterior["Y"].values, posterior.draws["Y"].values)
    assert data.posterior.attrs["engine"] == "NUTS"
    assert data.posterior.attrs["assumptions"] == "a; b"
    assert data.posterior.coords["units"].values.tolist() == ["Ann", "Bob", "Cy"]
    assert float(arviz.rhat(data)["b"]) == pytest.approx(rhat(posterior.draws["b"].values))
    assert float(arviz.ess(data)["b"]) == pytest.approx(ess(posterior.draws["b"].values))


def test_arviz_from_version_one_gets_a_tree(monkeypatch):
    modern = ModuleType("arviz")
    modern.__version__ = "1.0.0"
    monkeypatch.setitem(sys.modules, "arviz", modern)
    posterior = chains()
    data = to_arviz(posterior)
    assert isinstance(data, xr.DataTree)
    np.testing.assert_array_equal(data["posterior"]["Y"].values, posterior.draws["Y"].values)
    assert data["posterior"].attrs["query"] == "E[Y]"


def test_without_arviz_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(MissingExtraError, match=r"causalppl\[arviz\]") as caught:
        chains().to_arviz()
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value, CausalPPLError)


def test_exact_laws_are_drawn_and_the_note_says_so():
    laws = {"Y": NormalLaw(torch.tensor([0.0, 10.0]), 1.0)}
    posterior = Posterior.from_draws({}, laws=laws, is_exact=True, seed=3)
    data = posterior.to_arviz().posterior
    assert dict(data.sizes) == {"chain": 1, "draw": 1000, "units": 2}
    # the standard error is 0.03; five of them
    np.testing.assert_allclose(data["Y"].mean(("chain", "draw")), [0, 10], atol=0.16)
    assert "drawn independently from exact laws: Y" in data.attrs["note"]
    np.testing.assert_array_equal(data["Y"], posterior.to_arviz().posterior["Y"])


def test_weighted_draws_are_resampled_together():
    x = np.arange(8.0).reshape(1, 8)
    weights = np.array([[0.5, 0.25, 0.25, 0, 0, 0, 0, 0]])
    with np.errstate(divide="ignore"):
        logs = np.log(weights)
    data = Posterior.from_draws({"X": x, "Y": 10 * x}, log_weights=logs).to_arviz().posterior
    assert sorted(data["X"].values.reshape(-1)) == [0, 0, 0, 0, 1, 1, 2, 2]
    np.testing.assert_array_equal(data["Y"], 10 * data["X"])
    assert "resampled" in data.attrs["note"]


def test_weights_per_unit_resample_each_unit():
    x = np.tile(np.arange(4.0)[:, None], (1, 2))[None]
    with np.errstate(divide="ignore"):
        logs = np.log(np.array([[[0.5, 0], [0.5, 0], [0, 0.25], [0, 0.75]]]))
    posterior = Posterior.from_draws({"Y": x, "b": x[..., 0]}, log_weights=logs)
    data = posterior.to_arviz().posterior
    for name in ("Y", "b"):  # a shared parameter gets one law per unit
        assert data[name].values[0].T.tolist() == [[0, 0, 1, 1], [2, 3, 3, 3]]


def test_the_announcement_of_arviz_does_not_reach_the_user(tmp_path):
    # an empty cache folder makes ArviZ 0.23 announce its refactoring on import
    code = (
        "import warnings; from causalppl.inference.posterior import Posterior; "
        "import numpy as np; warnings.simplefilter('error'); "
        "Posterior.from_draws({'Y': np.zeros((1, 10))}).to_arviz(); print('quiet')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "quiet\n", done.stderr
