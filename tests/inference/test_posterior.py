"""Posteriors and their laws, against closed forms and enumeration."""

import json
import pickle
import time

import h5py
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from causalppl.exceptions import DataError, MissingExtraError, QueryError
from causalppl.inference.diagnostics import ess, mcse, psis, rhat
from causalppl.inference.laws import EmpiricalLaw, FiniteLaw, NormalLaw, PointLaw
from causalppl.inference.posterior import Posterior

approx = pytest.approx


def normal_draws(shape=(4, 500), seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def exact(**laws):
    return Posterior.from_draws({}, laws=laws, engine="Enumeration", is_exact=True)


# --- laws ----------------------------------------------------------------------------------


@given(
    st.lists(st.integers(-5, 5), min_size=1, max_size=6, unique=True),
    st.integers(0, 2**32 - 1),
    st.floats(0, 1),
)
@settings(max_examples=50, deadline=None)
def test_a_finite_law_agrees_with_scipy(values, seed, q):
    p = np.random.default_rng(seed).dirichlet(np.ones(len(values)), size=3)
    law = FiniteLaw(tuple(values), torch.tensor(p))
    for unit in range(3):
        peer = stats.rv_discrete(values=(values, p[unit]))
        assert law.mean()[unit].item() == approx(peer.mean(), abs=1e-9)
        assert law.sd()[unit].item() == approx(peer.std(), abs=1e-6)
        below = peer.cdf(np.sort(values))
        if 0 < q < 1 and np.abs(below - q).min() > 1e-9:
            assert law.quantile(q)[unit].item() == np.sort(values)[np.argmax(below > q)]
        for value, share in zip(values, p[unit], strict=True):
            assert law.probability(value)[unit].item() == approx(share)


def test_a_finite_law_keeps_impossible_values_out_of_its_quantiles():
    law = FiniteLaw((3, 1, 2), torch.tensor([0.0, 0.0, 1.0]))
    assert [law.quantile(q).item() for q in (0, 0.5, 1)] == [2, 2, 2]
    tenths = FiniteLaw(tuple(range(10)), torch.full((10,), 0.1))
    assert [tenths.quantile(q).item() for q in (0.1, 0.3, 0.7, 1)] == [0, 2, 6, 9]


def test_a_normal_law_agrees_with_scipy():
    law = NormalLaw(torch.tensor([0.0, 3.0]).double(), torch.tensor([1.0, 0.2]).double())
    for q in (0.025, 0.5, 0.9):
        np.testing.assert_allclose(law.quantile(q), stats.norm([0, 3], [1, 0.2]).ppf(q))
    assert NormalLaw(1.0, 0.0).quantile(1.0).item() == 1.0
    assert NormalLaw(1.0, 2.0).quantile(1.0).item() == np.inf
    assert law.probability(0.0).tolist() == [0, 0]


@pytest.mark.parametrize(
    "law",
    [
        FiniteLaw((0, 1, 5), torch.tensor([[0.2, 0.3, 0.5], [0.5, 0.5, 0.0]])),
        NormalLaw(torch.tensor([1.0, -1.0]), torch.tensor([2.0, 0.5])),
        PointLaw(torch.tensor([1.0, 2.0])),
        EmpiricalLaw(normal_draws((400, 2)), normal_draws((400,), 1)),
        EmpiricalLaw(normal_draws((400, 2)), normal_draws((400, 2), 1)),
    ],
    ids=["finite", "normal", "point", "weighted", "weighted by unit"],
)
def test_samples_follow_their_law_and_leave_the_global_state_alone(law):
    before = torch.get_rng_state()
    draws = law.sample(20_000, seed=1).double()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(draws, law.sample(20_000, seed=1).double())
    assert tuple(draws.shape) == (20_000, *law.shape)
    # five standard errors of the mean; the sd's error is of the same order for these laws
    tolerance = 5 * float(law.sd().max()) / np.sqrt(20_000) + 1e-12
    np.testing.assert_allclose(draws.mean(0), law.mean(), atol=tolerance)
    np.testing.assert_allclose(draws.std(0), law.sd(), atol=2 * tolerance)
    flat = law.flat(1)
    assert flat.shape == (1,)
    assert flat.mean()[0].item() == approx(law.mean()[0].item(), abs=1e-12)
    assert flat.quantile(0.3)[0] == law.quantile(0.3)[0]


def test_a_python_float_keeps_its_precision():
    assert PointLaw(2.3).mean().item() == 2.3
    assert NormalLaw(2.3, 0.1).sd().item() == 0.1


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: FiniteLaw((0, 1), torch.tensor([0.5, 0.6])), "expected 1"),
        (lambda: FiniteLaw((0, 1), torch.tensor([1.5, -0.5])), "negative"),
        (lambda: FiniteLaw((0, 0), torch.tensor([0.5, 0.5])), "distinct"),
        (lambda: FiniteLaw((0, 1, 2), torch.tensor([0.5, 0.5])), "one probability for each"),
        (lambda: FiniteLaw(("a", "b"), torch.tensor([0.5, 0.5])), "labels="),
        (lambda: FiniteLaw((0, 1), torch.tensor([0.5, 0.5]), labels=("a",)), "1 labels"),
        (lambda: NormalLaw(0.0, -1.0), "at least 0"),
        (lambda: PointLaw(torch.tensor([1.0, np.nan])), "1 of 2 numbers"),
        (lambda: PointLaw(1.0).quantile(1.2), "between 0 and 1"),
    ],
)
def test_laws_that_cannot_be_are_refused(build, message):
    with pytest.raises(DataError, match=message):
        build()


def test_weighted_quantiles_are_those_of_the_repeated_draws():
    rng = np.random.default_rng(2)
    x, counts = rng.normal(size=(30, 4)), rng.integers(0, 5, size=(30, 4))
    counts[0] += 1
    with np.errstate(divide="ignore"):
        law = EmpiricalLaw(x, np.log(counts))
    for unit in range(4):
        repeated = np.repeat(x[:, unit], counts[:, unit])
        assert law.mean()[unit].item() == approx(repeated.mean())
        assert law.sd()[unit].item() == approx(repeated.std())
        for q in (0.0, 0.1, 0.333, 0.9, 1.0):
            expected = np.quantile(repeated, q, method="inverted_cdf")
            assert law.quantile(q)[unit].item() == expected


@pytest.mark.parametrize("shape", [(1,), (7,), (100, 3), (101, 2, 3)])
def test_quantiles_of_draws_are_those_of_numpy(shape, monkeypatch):
    x = normal_draws(shape)
    whole = np.rint(3 * x)
    for chunk in (2**22, 1):
        monkeypatch.setattr("causalppl.inference.laws.CHUNK", chunk)
        for q in (0.0, 0.025, 0.5, 0.8, 1.0):
            np.testing.assert_allclose(EmpiricalLaw(x).quantile(q), np.quantile(x, q, axis=0))
            expected = np.quantile(whole, q, axis=0, method="inverted_cdf")
            np.testing.assert_array_equal(EmpiricalLaw(whole).quantile(q), expected)


# --- summaries -----------------------------------------------------------------------------


def test_scalars_come_as_floats_and_units_as_arrays():
    posterior = Posterior.from_draws({"Y": normal_draws((1, 50, 3)), "b": normal_draws((1, 50))})
    assert type(posterior.mean()["b"]) is float
    assert type(posterior.quantile(0.5)["b"]) is float
    assert posterior.mean()["Y"].shape == (3,)
    assert posterior.interval()["Y"][0].shape == (3,)


def test_the_exact_law_is_preferred_to_draws():
    draws = {"Y": normal_draws((1, 50))}
    posterior = Posterior.from_draws(draws, laws={"Y": NormalLaw(2.0, 0.5)}, is_exact=True)
    assert posterior.mean()["Y"] == approx(2.0, abs=1e-12)
    assert posterior.sd()["Y"] == approx(0.5, abs=1e-12)
    row = posterior.summary(0.9).loc["Y"]
    assert row["5%"] == approx(stats.norm.ppf(0.05, 2, 0.5))
    assert row["95%"] == approx(stats.norm.ppf(0.95, 2, 0.5))
    assert (row["mcse"], row["ess"]) == (0, np.inf)


def test_importance_weights_give_the_target():
    # proposal N(0, 1), target N(0.5, 1)
    x = normal_draws((1, 40_000))
    logs = stats.norm.logpdf(x, 0.5) - stats.norm.logpdf(x)
    posterior = Posterior.from_draws({"Y": x}, log_weights=logs, engine="Importance")
    row = posterior.summary().loc["Y"]
    # five Monte Carlo standard errors
    assert row["mean"] == approx(0.5, abs=5 * row["mcse"])
    assert row["sd"] == approx(1, abs=0.05)
    assert row["97.5%"] == approx(stats.norm.ppf(0.975, 0.5), abs=0.1)
    assert row["ess"] == approx(ess(x, log_weights=logs))
    assert row["mcse"] == approx(mcse(x, log_weights=logs))
    assert row["khat"] == approx(psis(logs[0])[1])
    assert "rhat" not in row


def test_weights_per_unit_give_each_unit_its_target():
    x = normal_draws((1, 20_000, 2))
    logs = x * np.array([0.0, 0.5])
    posterior = Posterior.from_draws({"Y": x, "b": x[..., 1]}, log_weights=logs)
    np.testing.assert_allclose(posterior.mean()["Y"], [0, 0.5], atol=0.05)
    np.testing.assert_allclose(posterior.mean()["b"], [0, 0.5], atol=0.05)
    table = posterior.summary()
    assert list(table.index) == ["Y[0]", "Y[1]", "b[0]", "b[1]"]
    assert table.loc["Y[0]", "khat"] == approx(0, abs=1e-12)  # all weights are equal
    assert table.loc["Y[1]", "khat"] == approx(psis(logs[0, :, 1])[1])


def test_rhat_is_for_markov_chains_only():
    x = normal_draws((4, 200))
    chains = Posterior.from_draws({"Y": x}, engine="NUTS").summary()
    assert chains.loc["Y", "rhat"] == approx(rhat(x))
    assert chains.loc["Y", "ess"] == approx(ess(x))
    assert chains.loc["Y", "mcse"] == approx(mcse(x))
    independent = Posterior.from_draws({"Y": x[:1]}, engine="Variational").summary()
    assert "rhat" not in independent
    assert independent.loc["Y", "ess"] == 200
    assert "rhat" in Posterior.from_draws({"Y": x[:1]}, is_mcmc=True).summary()


def test_a_mixture_of_laws_and_chains_has_no_gaps():
    laws = {"X": PointLaw(1.0)}
    table = Posterior.from_draws({"Y": normal_draws((4, 50, 2))}, laws=laws).summary()
    assert list(table.index) == ["X", "Y[0]", "Y[1]"]
    assert not table.isna().any(axis=None)


def test_the_engines_khat_is_shown_per_unit():
    posterior = Posterior.from_draws(
        {"Y": normal_draws((1, 50, 2, 2)), "b": normal_draws((1, 50))},
        diagnostics={"khat": torch.tensor([0.1, 0.9])},
    )
    assert posterior.diagnostics["khat"] == approx([0.1, 0.9])
    table = posterior.summary()["khat"]
    assert table.tolist() == approx([0.1, 0.1, 0.9, 0.9, 0.9])
    assert "k-hat reaches 0.9, above 0.7" in posterior.interpret()


def test_rows_carry_the_labels_of_the_units():
    posterior = Posterior.from_draws(
        {"Y": normal_draws((1, 9, 2)), "b": normal_draws((1, 9, 3))},
        dims={"b": ["cause"]},
        coords={"units": ["Ann", "Bob"], "cause": ["age", "sex", "smoking"]},
        laws={"Z": PointLaw(torch.zeros(2))},
    )
    rows = ["Z[Ann]", "Z[Bob]", "Y[Ann]", "Y[Bob]", "b[age]", "b[sex]", "b[smoking]"]
    assert list(posterior.summary().index) == rows


def test_rows_left_out_are_never_silent():
    posterior = exact(A=PointLaw(torch.zeros(6)), B=PointLaw(torch.zeros(4)))
    table = posterior.summary(max_rows=7)
    assert list(table.index) == [f"A[{i}]" for i in range(6)] + ["B[0]"]
    assert "first 7 of 10 rows; 3 left out" in repr(table)
    assert table.attrs["left_out"] == 3
    assert len(posterior.summary()) == 10
    assert posterior.summary().attrs["left_out"] == 0
    with pytest.raises(DataError, match="at least 1"):
        posterior.summary(max_rows=0)


def test_vector_events_have_one_row_per_entry():
    x = normal_draws((1, 20, 2, 3))
    table = Posterior.from_draws({"Y": x}).summary()
    assert list(table.index)[3:5] == ["Y[1, 0]", "Y[1, 1]"]
    np.testing.assert_allclose(table["mean"], x.mean((0, 1)).reshape(-1))


def test_a_single_exact_draw_is_a_point():
    posterior = Posterior.from_draws({"Y": np.array([[[1.0, 2.0]]])}, is_exact=True)
    table = posterior.summary()
    assert table["mean"].tolist() == [1, 2]
    assert table["sd"].tolist() == [0, 0]
    assert table["mcse"].tolist() == [0, 0]


def test_a_single_draw_that_is_not_exact_admits_that_its_error_is_unknown():
    row = Posterior.from_draws({"Y": np.array([[1.5]])}).summary().loc["Y"]
    assert row["mcse"] == np.inf
    assert np.isnan(row["sd"])


def test_an_empty_posterior_says_so():
    posterior = Posterior.from_draws({})
    assert len(posterior.summary()) == 0
    assert "nothing" in repr(posterior)


# --- discrete variables --------------------------------------------------------------------


def test_probabilities_of_a_finite_law_are_exact():
    law = FiniteLaw((0, 1), torch.tensor([0.25, 0.75]), labels=("no", "yes"))
    posterior = exact(Y=law)
    assert posterior.probability("Y", 1) == 0.75
    assert posterior.probability("Y", "yes") == 0.75
    assert posterior.probabilities("Y").to_dict() == {"no": 0.25, "yes": 0.75}


def test_probabilities_of_draws_are_their_weighted_shares():
    x = np.array([[0, 2, 2, 1]])
    posterior = Posterior.from_draws(
        {"Y": x}, categories={"Y": ["a", "b", "c"]}, log_weights=np.log([[1.0, 1.0, 2.0, 4.0]])
    )
    expected = {"a": 0.125, "b": 0.5, "c": 0.375}
    assert posterior.probabilities("Y").to_dict() == approx(expected)
    assert posterior.probability("Y", "c") == approx(0.375)
    assert posterior.probability("Y", 2) == approx(0.375)


def test_probabilities_of_units_are_indexed_by_unit_and_value():
    posterior = Posterior.from_draws({"Y": np.array([[[True, False], [True, True]]])})
    series = posterior.probabilities("Y")
    assert series[("Y[0]", 1)] == 1
    assert series[("Y[1]", 0)] == 0.5
    np.testing.assert_array_equal(posterior.probability("Y", True), [1, 0.5])
    np.testing.assert_array_equal(posterior.mean()["Y"], [1, 0.5])


def test_the_probability_of_a_value_of_a_continuous_variable_is_refused():
    posterior = Posterior.from_draws({"Y": normal_draws()}, laws={"Z": NormalLaw(0.0, 1.0)})
    for name in ("Y", "Z"):
        with pytest.raises(QueryError, match="continuous"):
            posterior.probability(name, 0.0)
    with pytest.raises(QueryError, match="unknown variable 'W'"):
        posterior.probability("W", 0.0)
    with pytest.raises(QueryError, match="unknown value 'maybe'"):
        exact(Y=FiniteLaw((0, 1), torch.tensor([0.5, 0.5]))).probability("Y", "maybe")


# --- words ---------------------------------------------------------------------------------


def test_the_sentence_of_an_exact_answer():
    posterior = Posterior.from_draws(
        {},
        laws={"Y": FiniteLaw((0, 1), torch.tensor([0.65, 0.35]))},
        query="P(Y | do(X=1))",
        engine="Enumeration",
        is_exact=True,
        assumptions=("no interference between units",),
        couplings={"Y": "quantile"},
        notes=("3 units had missing X and were treated as unobserved",),
    )
    assert posterior.interpret() == (
        "For P(Y | do(X=1)): Y is 1 with probability 0.35, computed exactly by Enumeration, "
        "assuming no interference between units, with noise coupled across worlds by Y quantile "
        "(3 units had missing X and were treated as unobserved)."
    )


def test_the_sentence_of_chains_that_disagree_warns():
    x = normal_draws()
    assert "Monte Carlo error of the mean at most" in Posterior.from_draws({"Y": x}).interpret()
    x[0] += 5
    assert "should not be trusted because R-hat" in Posterior.from_draws({"Y": x}).interpret()


def test_the_sentence_tells_certainty_from_draws_that_agree():
    assert "Y is 2 with certainty" in exact(Y=PointLaw(2.0)).interpret()
    assert "Y is 2 in every draw" in Posterior.from_draws({"Y": np.full((1, 9), 2.0)}).interpret()


def simulated(law, query="E[Y | do(X=1)]", notes=()):
    note = "the spread is Monte Carlo error only; the program's parameters are taken as given"
    return Posterior.from_draws(
        {}, laws={"Y": law}, query=query, engine="ClosedForm", notes=(*notes, note)
    )


def test_the_sentence_of_a_simulated_number_says_what_its_spread_is():
    assert simulated(NormalLaw(2.0, 0.01)).interpret() == (
        "For E[Y | do(X=1)]: the mean of Y is 2 with a standard error of 0.01, by simulation with "
        "ClosedForm (the spread is Monte Carlo error), taking the program as given "
        "(the program's parameters are taken as given)."
    )
    units = simulated(NormalLaw(torch.tensor([1.0, 3.0]), 0.01)).interpret()
    assert "over 2 units the posterior means of the mean of Y average 2" in units
    assert "each with a standard error of at most 0.01, by simulation with ClosedForm" in units


def test_the_spread_of_a_simulated_number_is_its_monte_carlo_error():
    row = simulated(NormalLaw(2.0, 0.01)).summary().loc["Y"]
    assert row["mcse"] == row["sd"] == approx(0.01)
    assert np.isnan(row["ess"])


def test_an_untrusted_simulation_says_so():
    law = {"Y": NormalLaw(2.0, 0.01)}
    poor = Posterior.from_draws({}, laws=law, engine="Variational", diagnostics={"khat": 0.9})
    said = "by simulation with Variational, which should not be trusted because k-hat reaches 0.9"
    assert said in poor.interpret()


def test_notes_do_not_break_the_sentence():
    notes = ("Two rows were left out. They had no X.", "ends with a stop.", "two\nlines")
    text = simulated(NormalLaw(2.0, 0.01), notes=notes).interpret()
    said = "(Two rows were left out; They had no X; ends with a stop; two lines; the program's"
    assert said in text
    assert text.count(". ") == 0
    assert text.endswith("taken as given).")


@pytest.mark.parametrize(
    ("query", "name", "said"),
    [
        ("E[Y | do(X=1)]", "Y", ": the mean of Y is 0.75, computed"),
        ("E[Y_{X=1} - Y]", "E[Y_{X=1} - Y]", ": E[Y_{X=1} - Y] is 0.75, computed"),
        ("P(Y_{X=1}=1 | Y=0)", "Y_{X=1}=1", ": the probability of Y_{X=1}=1 is 0.75, computed"),
        ("P(Y > 1)", "Y > 1", ": the probability of Y > 1 is 0.75, computed"),
        ("ETT(X: 1 vs 0 -> Y)", "ETT", ": ETT is 0.75, computed"),
        ("P(Y_{X=1, M_{X=0}}, Y)", "Y_{X=1, M_{X=0}}", "is 0.75 with certainty, computed"),
    ],
)
def test_a_number_that_was_asked_for_is_not_called_certain(query, name, said):
    posterior = Posterior.from_draws(
        {}, laws={name: PointLaw(0.75)}, query=query, engine="Enumeration", is_exact=True
    )
    assert said in posterior.interpret()


def test_many_couplings_are_counted_not_listed():
    posterior = Posterior.from_draws({}, couplings={f"S{i}": "quantile" for i in range(9)})
    assert "by S0 quantile, S1 quantile, S2 quantile, S3 quantile and those of 5 more sites" in (
        posterior.interpret()
    )


def test_the_sentence_sums_up_units():
    text = exact(Y=PointLaw(torch.arange(3.0))).interpret()
    assert "over 3 units the posterior means of Y average 1 and range from 0 to 2" in text
    b = Posterior.from_draws({"b": normal_draws((1, 9, 3))}, dims={"b": ["cause"]})
    assert "over 3 entries the posterior means of b" in b.interpret()


def test_short_forms_are_short():
    posterior = exact(Y=PointLaw(torch.zeros(1000)))
    assert repr(posterior) == "Posterior(Y; no query; Enumeration, exact)"
    html = posterior._repr_html_()
    assert "990 more rows left out" in html
    assert html.count("<tr") < 15


# --- what is refused -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draws", "options", "message"),
    [
        ({"Y": np.zeros(10)}, {}, "give one chain as"),
        ({"Y": np.array([[0.0, np.nan]])}, {}, "1 of 2 draws of 'Y' are NaN"),
        ({"Y": np.zeros((1, 5)), "Z": np.zeros((1, 6))}, {}, "do not fit together"),
        ({"Y": np.zeros((1, 5, 2)), "b": np.zeros((1, 5, 3))}, {}, "name other axes with dims="),
        ({"Y": np.zeros((1, 5, 2))}, {"dims": {"Y": ["a", "b"]}}, "expected one name for each"),
        ({"Y": np.array([["a", "b"]])}, {}, "encode categories"),
        ({"Y": np.zeros((1, 5))}, {"log_weights": np.zeros((1, 4))}, "of the same sizes"),
        ({"Y": np.zeros((1, 5))}, {"log_weights": np.full((1, 5), -np.inf)}, "positive weight"),
    ],
)
def test_draws_that_cannot_be_used_are_refused(draws, options, message):
    with pytest.raises(DataError, match=message):
        Posterior.from_draws(draws, **options)


def test_draws_without_chain_and_draw_are_refused():
    with pytest.raises(DataError, match="expected \\(chain, draw"):
        Posterior(xr.Dataset({"Y": ("draw", np.zeros(3))}))


def test_dims_are_put_in_order():
    data = xr.Dataset({"Y": (("units", "draw", "chain"), np.zeros((2, 5, 1)))})
    assert Posterior(data).draws["Y"].dims == ("chain", "draw", "units")


def test_an_interval_needs_a_probability():
    with pytest.raises(DataError, match="between 0 and 1"):
        exact(Y=PointLaw(0.0)).summary(95)


# --- files ---------------------------------------------------------------------------------


def full():
    rng = np.random.default_rng(0)
    return Posterior.from_draws(
        {
            "Y@x0": rng.normal(size=(2, 50, 3)),
            "net/layer.weight": rng.normal(size=(2, 50, 2, 2)).astype(np.float32),
            "X": rng.random((2, 50, 3)) < 0.5,
            "C": rng.integers(0, 2, size=(2, 50)),
        },
        dims={"net/layer.weight": ["in/put", "out"]},
        coords={"units": ["Änne", "Bob", "Cy"]},
        categories={"C": ["no", "yes"]},
        log_weights=rng.normal(size=(2, 50)),
        laws={
            "P": PointLaw(torch.tensor([1.0, 2.0, 3.0])),
            "N": NormalLaw(2.0, 0.5),
            "F": FiniteLaw(
                (0, 1),
                torch.rand(3, 1) * torch.tensor([1.0, -1]) + torch.tensor([0, 1]),
                ("a", "b"),
            ),
        },
        query="P(Y_{X=0} | X=1)",
        engine="Importance",
        assumptions=("one", "two"),
        couplings={"Y": "quantile"},
        diagnostics={"khat": 0.3, "elbo": np.array([1.0, np.nan])},
        notes=("a note",),
        seed=np.int64(7),
    )


def test_a_saved_posterior_loads_and_answers_the_same(tmp_path):
    before = full()
    before.save(tmp_path / "posterior.nc")
    after = Posterior.load(tmp_path / "posterior.nc")
    pd.testing.assert_frame_equal(after.summary(), before.summary(), check_exact=True)
    assert after.draws.identical(before.draws)
    assert after.log_weights.identical(before.log_weights)
    assert after.interpret() == before.interpret()
    assert after.probabilities("C").to_dict() == before.probabilities("C").to_dict()
    assert after.probabilities("F").to_dict() == before.probabilities("F").to_dict()
    plain = ("query", "engine", "is_exact", "assumptions", "couplings", "notes", "seed", "is_mcmc")
    for name in plain:
        assert getattr(after, name) == getattr(before, name)
    assert after.diagnostics["khat"] == 0.3
    assert np.isnan(after.diagnostics["elbo"][1])


def test_a_file_tells_the_versions_that_wrote_it(tmp_path):
    path = tmp_path / "posterior.nc"
    exact(Y=PointLaw(1.0)).save(path)
    with h5py.File(path) as file:
        header = json.loads(file.attrs["posterior"])
    assert header["torch"] == torch.__version__
    assert header["version"] == 1


def test_loading_never_unpickles(tmp_path, monkeypatch):
    path = tmp_path / "posterior.nc"
    full().save(path)

    def forbidden(*args, **kwargs):
        raise AssertionError("pickle was used")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, forbidden)
    monkeypatch.setattr("torch.load", forbidden)
    assert Posterior.load(path).mean()["N"] == 2.0


def test_a_file_that_names_an_unknown_law_is_refused_not_run(tmp_path):
    path = tmp_path / "posterior.nc"
    exact(Y=PointLaw(1.0)).save(path)
    with h5py.File(path, "a") as file:
        header = json.loads(file.attrs["posterior"])
        header["laws"]["Y"]["kind"] = "os.system"
        file.attrs["posterior"] = json.dumps(header)
    with pytest.raises(DataError, match="damaged"):
        Posterior.load(path)


def test_files_of_other_kinds_are_refused(tmp_path):
    text, table, later = (tmp_path / name for name in ("a.txt", "b.nc", "c.nc"))
    text.write_text("no posterior")
    xr.Dataset({"Y": ("x", [1.0])}).to_netcdf(table, engine="h5netcdf")
    data = xr.Dataset(attrs={"posterior": '{"format": "causalppl.Posterior", "version": 99}'})
    data.to_netcdf(later, engine="h5netcdf")
    for path in (text, table, tmp_path / "missing.nc"):
        with pytest.raises(DataError, match="expected a file written by Posterior"):
            Posterior.load(path)
    with pytest.raises(DataError, match="file version 99"):
        Posterior.load(later)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"there is no file .*missing\.nc'"):
        Posterior.load(tmp_path / "missing.nc")


def test_an_unknown_name_in_a_summary_is_answered_with_those_that_are_there():
    posterior = Posterior.from_draws({"outcome": np.zeros((1, 4))}, engine="hand")
    for numbers in (
        posterior.mean(),
        posterior.sd(),
        posterior.quantile(0.5),
        posterior.interval(),
    ):
        with pytest.raises(KeyError, match="the posterior has outcome; did you mean 'outcome'"):
            numbers["outcom"]
        assert numbers.get("outcom") is None
        assert list(pickle.loads(pickle.dumps(numbers))) == ["outcome"]


def test_a_posterior_can_be_pickled_to_workers():
    before = full()
    after = pickle.loads(pickle.dumps(before))
    pd.testing.assert_frame_equal(after.summary(), before.summary())


# --- pictures and size ---------------------------------------------------------------------


@pytest.fixture
def ax():
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def test_pictures_show_every_variable_with_its_interval(ax):
    posterior = Posterior.from_draws(
        {"Y": normal_draws((1, 200)), "D": np.ones((1, 200)), "U": normal_draws((1, 200, 150))},
        laws={"N": NormalLaw(0.0, 1.0), "F": FiniteLaw((0, 1), torch.tensor([0.2, 0.8]))},
        log_weights=np.zeros((1, 200)),
        query="P(Y)",
    )
    assert posterior.plot(ax) is ax
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    shown = {label.split(":")[0].split(",")[0]: label for label in labels}
    assert sorted(shown) == ["D", "F", "N", "U", "Y"]
    assert "50 of 150 left out" in shown["U"]
    assert "95 % in [-1.96, 1.96]" in shown["N"]
    assert ax.get_title() == "P(Y)"


def test_without_axes_new_ones_are_made():
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    axes = exact(Y=NormalLaw(0.0, 1.0)).plot()
    assert axes.figure.axes == [axes]
    plt.close(axes.figure)


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingExtraError, match=r"causalppl\[plots\]"):
        exact(Y=NormalLaw(0.0, 1.0)).plot()


def test_a_million_exact_units_are_tabulated_in_full_within_seconds():
    posterior = exact(Y=NormalLaw(torch.zeros(1_000_000), 1.0))
    start = time.perf_counter()
    table = posterior.summary()
    assert time.perf_counter() - start < 10  # about one second on an idle machine
    assert len(table) == 1_000_000
    assert table.index[-1] == "Y[999999]"


@pytest.mark.slow
def test_a_million_units_of_draws_are_tabulated_in_full():
    x = torch.randn(1, 20, 1_000_000, generator=torch.Generator().manual_seed(0))
    table = Posterior.from_draws({"Y": x}).summary()
    assert len(table) == 1_000_000
    assert table["mean"].to_numpy() == approx(x[0].double().mean(0).numpy(), abs=1e-6)
