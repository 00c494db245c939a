"""Diagnostics against ArviZ and against closed forms."""

import numpy as np
import pytest
import torch
from scipy import stats

from causalppl.exceptions import DataError
from causalppl.inference.arviz import require
from causalppl.inference.diagnostics import ess, mcse, psis, rhat

arviz = require("arviz", "arviz")


def autoregressive(rng, chains, draws, rho, units=()):
    noise = rng.normal(size=(draws, chains, *units))
    out = np.empty_like(noise)
    out[0] = noise[0]
    for t in range(1, draws):
        out[t] = rho * out[t - 1] + np.sqrt(1 - rho**2) * noise[t]
    return out.swapaxes(0, 1)


@pytest.mark.parametrize("chains", [1, 2, 4])
@pytest.mark.parametrize("draws", [4, 5, 7, 10, 11, 50, 101, 500])
@pytest.mark.parametrize("rho", [-0.9, -0.4, 0.0, 0.5, 0.95])
def test_chains_are_judged_as_arviz_judges_them(chains, draws, rho):
    rng = np.random.default_rng([chains, draws, int(100 * (rho + 1))])
    x = autoregressive(rng, chains, draws, rho)
    x[0] += 0.3
    assert ess(x) == pytest.approx(arviz.ess(x, method="bulk"), rel=1e-6)
    assert mcse(x) == pytest.approx(arviz.mcse(x, method="mean"), rel=1e-6)
    if chains > 1:
        assert rhat(x) == pytest.approx(arviz.rhat(x, method="rank"), rel=1e-6)


def test_discrete_chains_with_ties_are_judged_as_arviz_judges_them():
    x = np.floor(2 * autoregressive(np.random.default_rng(1), 4, 200, 0.6))
    assert ess(x) == pytest.approx(arviz.ess(x), rel=1e-6)
    assert rhat(x) == pytest.approx(arviz.rhat(x), rel=1e-6)


def test_truth_values_are_judged_like_zeros_and_ones():
    x = autoregressive(np.random.default_rng(1), 4, 200, 0.6) > 0
    assert ess(x) == ess(x.astype(float))
    assert rhat(x) == rhat(x.astype(float))
    assert mcse(x, is_independent=True) == pytest.approx(x.std(ddof=1) / np.sqrt(800))


def test_units_are_judged_one_by_one_whatever_the_chunk(monkeypatch):
    x = autoregressive(np.random.default_rng(2), 2, 60, 0.5, (3, 2))
    whole = [f(x) for f in (ess, mcse, rhat)]
    monkeypatch.setattr("causalppl.inference.diagnostics.CHUNK", 1)
    for f, expected in zip((ess, mcse, rhat), whole, strict=True):
        single = [[f(x[:, :, i, j]) for j in range(2)] for i in range(3)]
        np.testing.assert_allclose(expected, single, rtol=1e-12)
        np.testing.assert_allclose(f(x), single, rtol=1e-12)


def test_the_effective_size_of_an_autoregression_is_its_closed_form():
    # for AR(1) the integrated autocorrelation time is (1 + rho) / (1 - rho)
    x = autoregressive(np.random.default_rng(3), 4, 20_000, 0.5)
    assert ess(x) == pytest.approx(80_000 / 3, rel=0.1)
    assert mcse(x) == pytest.approx(np.sqrt(3 / 80_000), rel=0.1)


def test_independent_draws_count_in_full():
    x = np.random.default_rng(0).normal(size=(1, 400))
    assert ess(x, is_independent=True) == 400
    assert mcse(x, is_independent=True) == pytest.approx(x.std(ddof=1) / 20)


def test_a_variable_that_never_moves_has_no_error_and_agrees_with_itself():
    x = np.full((4, 50), 0.1)
    assert (ess(x), mcse(x), rhat(x)) == (200.0, 0.0, 1.0)


def test_chains_stuck_at_different_values_have_infinite_rhat():
    assert rhat(np.repeat([[0.0], [1.0]], 50, axis=1)) == np.inf


def test_one_chain_is_compared_with_itself():
    drifting = np.linspace(0, 1, 200)[None] + np.random.default_rng(0).normal(size=200) * 0.1
    assert rhat(drifting) > 1.5


def test_too_few_draws_are_said_to_be_too_few():
    x = np.arange(6.0).reshape(2, 3)
    assert np.isnan(ess(x))
    assert np.isnan(rhat(x))
    assert mcse(x) == np.inf
    assert mcse(np.ones((1, 1)), is_independent=True) == np.inf


def test_draws_without_a_chain_axis_are_refused():
    with pytest.raises(DataError, match=r"expected \(chains, draws"):
        ess(np.zeros(10))


def test_weights_have_the_effective_size_and_error_of_their_closed_form():
    w, x = np.array([1.0, 2.0, 5.0, 0.0]) / 8, np.array([1.0, 3.0, 4.0, 100.0])
    with np.errstate(divide="ignore"):
        logs = np.log(w)[None] + 7
    mean = w @ x
    assert ess(x[None], log_weights=logs) == pytest.approx(1 / (w @ w))
    assert mcse(x[None], log_weights=logs) == pytest.approx(np.sqrt((w**2) @ (x - mean) ** 2))


def test_the_error_of_weighted_draws_is_the_spread_of_repeated_estimates():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(1, 500, 2000))
    logs = stats.norm.logpdf(x, 0.5, 1) - stats.norm.logpdf(x)
    w = np.exp(logs - logs.max(1, keepdims=True))
    means = (w * x).sum(1) / w.sum(1)
    # 2000 repetitions: the spread is known to 1.6 %; seven of its standard errors are allowed
    assert np.mean(mcse(x, log_weights=logs)) == pytest.approx(means.std(), rel=0.11)


def test_weights_of_another_shape_are_refused():
    with pytest.raises(DataError, match="same leading"):
        ess(np.zeros((1, 5)), log_weights=np.zeros((1, 4)))


@pytest.mark.parametrize("n", [30, 100, 1000, 4001])
@pytest.mark.parametrize("k", [-0.5, 0.1, 0.5, 0.9, 1.5])
def test_weights_are_smoothed_as_arviz_smooths_them(n, k):
    rng = np.random.default_rng([n, int(10 * k + 10)])
    logs = np.log1p(stats.genpareto.rvs(k, size=n, random_state=rng))
    for efficiency in (1.0, 0.3):
        expected, expected_khat = arviz.psislw(logs.copy(), reff=efficiency)
        smooth, khat = psis(logs, relative_efficiency=efficiency)
        np.testing.assert_allclose(smooth, expected, atol=1e-6)
        assert khat == pytest.approx(float(expected_khat), abs=1e-6)


def test_weights_that_tie_or_vanish_are_smoothed_as_arviz_smooths_them():
    rng = np.random.default_rng(5)
    logs = np.round(rng.normal(size=400), 1)
    logs[:50] = -np.inf
    for x in (logs, np.where(rng.random(400) < 0.1, 0.0, -1e4) + rng.normal(size=400)):
        expected, expected_khat = arviz.psislw(x.copy())
        smooth, khat = psis(x)
        # tied ratios may take their places in any order
        np.testing.assert_allclose(np.sort(smooth), np.sort(expected), atol=1e-6)
        assert khat == pytest.approx(float(expected_khat), abs=1e-6)


@pytest.mark.parametrize("k", [0.2, 0.5, 0.8])
def test_khat_finds_the_tail_index_of_exact_pareto_weights(k):
    # w = u**-k has P(w > t) = t**(-1/k): generalised Pareto of shape k above every threshold
    u = (np.arange(200_000) + 0.5) / 200_000
    _, khat = psis(-k * np.log(u))
    # 3 sqrt(n) = 1342 exceedances: the fit's sd is about (1 + k) / sqrt(1342)
    assert khat == pytest.approx(k, abs=4 * (1 + k) / np.sqrt(1342))


def test_smoothing_lowers_the_error_of_heavy_weights():
    rng = np.random.default_rng(6)
    x = rng.exponential(size=(1000, 300))
    logs = 0.6 * x  # the target is exponential with mean 2.5; weights have tail index 0.6
    smooth, khat = psis(logs)
    raw = np.exp(logs) / np.exp(logs).sum(0)
    errors = [np.mean(((w * x).sum(0) - 2.5) ** 2) for w in (np.exp(smooth), raw)]
    assert errors[0] < errors[1]
    assert np.mean(khat) == pytest.approx(0.6, abs=0.1)


def test_units_are_smoothed_one_by_one(monkeypatch):
    rng = np.random.default_rng(7)
    logs = rng.normal(size=(200, 3, 2)) * np.array([[0.1, 1.0], [2.0, 5.0], [0.5, 0.0]])
    logs[:20, 0, 0] = 3.0  # ties at the top leave this unit a shorter tail
    whole, khats = psis(logs)
    monkeypatch.setattr("causalppl.inference.diagnostics.CHUNK", 1)
    pieces, khat_pieces = psis(torch.tensor(logs))
    np.testing.assert_allclose(pieces, whole, atol=1e-12)
    np.testing.assert_allclose(khat_pieces, khats, atol=1e-12)
    for i in range(3):
        for j in range(2):
            single, khat = psis(logs[:, i, j])
            np.testing.assert_allclose(whole[:, i, j], single, atol=1e-12)
            assert khats[i, j] == pytest.approx(khat, abs=1e-12)
    np.testing.assert_allclose(np.exp(whole).sum(0), 1.0)


def test_equal_weights_raise_no_alarm_and_lone_weights_do():
    smooth, khat = psis(np.full(100, 3.0))
    np.testing.assert_allclose(smooth, -np.log(100))
    assert khat == -np.inf
    assert psis(np.where(np.arange(100) < 50, 0.0, -1.0))[1] == -np.inf
    assert psis(np.where(np.arange(100) < 2, 0.0, -1.0))[1] == np.inf


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_ratios_that_are_no_numbers_are_refused(bad):
    with pytest.raises(DataError, match="1 of 1 columns"):
        psis(np.array([0.0, bad, 1.0]))


def test_ratios_that_are_all_zero_are_refused():
    with pytest.raises(DataError, match="nothing but minus infinity"):
        psis(np.full((10, 2), -np.inf))
