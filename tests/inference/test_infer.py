"""From query to posterior: what is reported, over which axes, resting on what."""

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
from causalppl.inference import contrasts
from causalppl.inference.evidence import read_evidence
from causalppl.programs import Simulation


def mediated():
    z = pyro.sample("Z", dist.Normal(0.0, 1.0))
    x = pyro.sample("X", dist.Normal(z, 1.0))
    m = pyro.sample("M", dist.Normal(0.5 * x, 1.0))
    return pyro.sample("Y", dist.Normal(2 * x + m + z, 1.0))


def with_parameters(n):
    b = pyro.sample("b", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("units", n):
        x = pyro.sample("X", dist.Bernoulli(0.5))
        return pyro.sample("Y", dist.Normal(b[..., 0] + b[..., 1] * x, 1.0))


DRAWS = torch.tensor([[0.0, 1.0], [1.0, 3.0], [2.0, 8.0]])


# -- what is reported ---------------------------------------------------------------


def test_couplings_are_reported_only_where_the_answer_rests_on_them():
    effect = cp.infer(mediated, "ATE(X: 1 vs 0 -> Y)")
    unit = cp.infer(mediated, "P(Y_{X=0} | Z=0, X=1, M=1, Y=3)")
    assert effect.couplings == {}
    assert unit.couplings == {"M": "location-scale", "Y": "location-scale"}


def test_names_of_results():
    def names(query):
        return cp.infer(mediated, query, seed=0).variables

    assert names("E[Y | do(X=1)]") == ("Y",)
    assert names("P(Y_{X=1}, Y_{X=0})") == ("Y_{X=1}", "Y_{X=0}")
    assert names("P(Y > 1 | do(X=1))") == ("Y > 1",)
    assert names("NDE(X: 1 vs 0 -> Y)") == ("NDE",)
    assert names("E[Y_{X=1} - Y_{X=0}]") == ("E[Y_{X=1} - Y_{X=0}]",)


def test_effects_of_a_linear_program():
    def value(query):
        return next(iter(cp.infer(mediated, query).mean().values()))

    assert value("ATE(X: 2 vs 0 -> Y)") == pytest.approx(5.0, abs=1e-6)
    assert value("NDE(X: 1 vs 0 -> Y)") == pytest.approx(2.0, abs=1e-6)
    assert value("NIE(X: 1 vs 0 -> Y)") == pytest.approx(0.5, abs=1e-6)
    assert value("CDE(X: 1 vs 0 -> Y | do(M=3))") == pytest.approx(2.0, abs=1e-6)
    assert value("CATE(X: 1 vs 0 -> Y | Z=1)") == pytest.approx(2.5, abs=1e-6)
    assert value("E[Y | do(X=1), Z=2]") == pytest.approx(4.5, abs=1e-6)
    assert value("E[2*Y_{X=1} - 0.5*Y_{X=0}]") == pytest.approx(5.0, abs=1e-6)
    # P(Y_{X=1} > 2.5): Y ~ Normal(2.5, sqrt(3))
    assert value("P(Y > 2.5 | do(X=1))") == pytest.approx(0.5, abs=1e-6)


def test_conditioning_after_do_differs_from_conditioning_before():
    def program():
        x = pyro.sample("X", dist.Normal(0.0, 1.0))
        m = pyro.sample("M", dist.Normal(x, 1.0))
        return pyro.sample("Y", dist.Normal(m, 1.0))

    after = cp.infer(program, "E[Y | do(X=1), M=0]").mean()["Y"]
    before = cp.infer(program, "E[Y_{X=1} | M=0]").mean()["Y"]
    assert after == pytest.approx(0.0, abs=1e-6)
    # M = X + e = 0 gives E[e] = 0 by symmetry, so M_{X=1} = 1 + e averages 1
    assert before == pytest.approx(1.0, abs=1e-6)


def test_contrast_functions_say_the_same_as_text():
    scm = cp.SCM(mediated)
    for function, text in (
        (contrasts.ate, "ATE(X: 1 vs 0 -> Y)"),
        (contrasts.ett, "ETT(X: 1 vs 0 -> Y)"),
        (contrasts.nde, "NDE(X: 1 vs 0 -> Y)"),
        (contrasts.nie, "NIE(X: 1 vs 0 -> Y)"),
    ):
        assert function(scm, "X", "Y", seed=0).mean() == cp.infer(scm, text, seed=0).mean()
    given = contrasts.cate(scm, "X", "Y", given={"Z": 1.0}, seed=0)
    assert given.mean()["CATE"] == pytest.approx(2.5, abs=1e-6)


def test_nde_without_a_mediator_says_so():
    def direct():
        x = pyro.sample("X", dist.Normal(0.0, 1.0))
        return pyro.sample("Y", dist.Normal(x, 1.0))

    with pytest.raises(QueryError, match="needs a mediator"):
        cp.infer(direct, "NDE(X: 1 vs 0 -> Y)")


def test_a_confounder_is_no_mediator():
    def program():
        z = pyro.sample("Z", dist.Normal(0.0, 1.0))
        x = pyro.sample("X", dist.Normal(z, 1.0))
        return pyro.sample("Y", dist.Normal(x + z, 1.0))

    with pytest.raises(QueryError, match="names Z as a mediator"):
        cp.infer(program, "NDE(X: 1 vs 0 -> Y; Z)")


# -- axes ---------------------------------------------------------------------------


def test_units_keep_their_order_and_may_be_averaged():
    evidence = {
        "Z": np.zeros(3),
        "X": np.array([0.0, 1.0, 2.0]),
        "M": np.zeros(3),
        "Y": np.array([1.0, 2.0, 9.0]),
    }
    found = cp.infer(mediated, "E[Y_{X=0}]", evidence=evidence)
    exact = evidence["Y"] - 2.5 * evidence["X"]
    assert found.mean()["Y"] == pytest.approx(exact, abs=1e-5)
    average = cp.infer(mediated, "E[Y_{X=0}]", evidence=evidence, average=True)
    assert average.mean()["Y"] == pytest.approx(exact.mean(), abs=1e-5)


def test_a_law_for_each_unit():
    table = pd.DataFrame({"Z": [0.0, 1.0], "X": [1.0, 1.0]})
    found = cp.infer(mediated, "P(Y)", evidence=table, seed=0)
    assert found.draws["Y"].dims == ("chain", "draw", "units")
    assert found.mean()["Y"] == pytest.approx([2.5, 3.5], abs=1e-5)
    assert found.sd()["Y"] == pytest.approx([2**0.5, 2**0.5], abs=1e-5)


def test_missing_values_split_the_units_and_nothing_is_lost():
    table = pd.DataFrame({"Z": [0.0, None, 2.0, None], "X": [1.0, 1.0, 1.0, 3.0]})
    found = cp.infer(mediated, "E[Y]", evidence=table)
    # given X only, Z has mean X / 2; E[Y] = 2.5 X + E[Z]
    assert found.mean()["Y"] == pytest.approx([2.5, 3.0, 4.5, 9.0], abs=1e-5)
    assert "2 of 4 units have no value of Z" in found.notes[0]


def test_worlds_by_name_take_any_intervention():
    worlds = {"more": {"X": cp.Shift(1.0)}, "rule": {"X": lambda Z: 2 * Z}}
    evidence = {"Z": 1.0, "X": 0.0, "M": 0.0, "Y": 0.0}
    found = cp.infer(mediated, ["Y@more", "Y@rule", "X@rule"], worlds=worlds, evidence=evidence)
    assert found.mean() == pytest.approx({"Y@more": 2.5, "Y@rule": 5.0, "X@rule": 2.0})


def test_per_unit_interventions():
    doses = torch.tensor([0.0, 1.0, 5.0])
    evidence = {name: torch.zeros(3) for name in "ZXMY"}
    found = cp.infer(mediated, ["Y@dose"], worlds={"dose": {"X": doses}}, evidence=evidence)
    assert found.mean()["Y@dose"] == pytest.approx([0.0, 2.5, 12.5])


def test_vector_valued_sites():
    def program():
        v = pyro.sample("V", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        return pyro.sample("W", dist.Normal(torch.cumsum(v, -1), 1.0).to_event(1))

    evidence = {"V": torch.tensor([[1.0, 2.0]]), "W": torch.tensor([[0.0, 1.0]])}
    worlds = {"zero": {"V": torch.zeros(2)}}
    found = cp.infer(program, ["W@zero"], worlds=worlds, evidence=evidence)
    assert found.mean()["W@zero"] == pytest.approx(np.array([[-1.0, -2.0]]))


# -- parameters ---------------------------------------------------------------------


def test_an_effect_has_one_value_per_parameter_draw():
    scm = cp.SCM(with_parameters).with_parameters({"b": DRAWS})
    found = cp.infer(scm, "ATE(X: 1 vs 0 -> Y)", seed=0)
    assert found.draws["ATE"].values.ravel() == pytest.approx(DRAWS[:, 1].numpy(), abs=1e-4)
    assert "parameters by 3 draws" in " ".join(found.assumptions)


def test_a_unit_counterfactual_carries_parameter_uncertainty():
    scm = cp.SCM(with_parameters).with_parameters({"b": DRAWS})
    found = cp.infer(scm, "E[Y_{X=0}]", evidence={"X": [1.0, 0.0], "Y": [5.0, 5.0]}, seed=0)
    values = found.draws["Y"].values[0]
    assert values[:, 0] == pytest.approx(5.0 - DRAWS[:, 1].numpy(), abs=1e-4)
    assert values[:, 1] == pytest.approx([5.0] * 3, abs=1e-4)


def test_parameters_that_were_never_fitted_are_said_to_be_prior_draws():
    found = cp.infer(with_parameters, "ATE(X: 1 vs 0 -> Y)", seed=0)
    assert any("drawn from their prior" in note for note in found.notes)
    # b1 ~ N(0, 1): the sd of 500 draws lies in (.85, 1.15) but for chance below 1e-5
    assert found.sd()["ATE"] == pytest.approx(1.0, abs=0.15)


# -- engines ------------------------------------------------------------------------


def discrete():
    z = pyro.sample("Z", dist.Bernoulli(0.3))
    x = pyro.sample("X", dist.Bernoulli(0.2 + 0.5 * z))
    return pyro.sample("Y", dist.Bernoulli(0.1 + 0.4 * x + 0.3 * z))


@pytest.mark.parametrize(
    ("program", "query", "engine"),
    [
        (mediated, "E[Y_{X=0} | Z=0, X=1, M=1, Y=3]", "ClosedForm"),
        (mediated, "E[Y_{X=0} | Y=3]", "Gaussian"),
        (discrete, "P(Y_{X=0}=1 | X=1, Y=1)", "Enumeration"),
        (discrete, "ATE(X: 1 vs 0 -> Y)", "Enumeration"),
    ],
)
def test_the_first_exact_engine_is_taken_and_named(program, query, engine):
    found = cp.infer(program, query)
    assert found.engine == engine
    assert found.is_exact


def test_engines_agree_where_several_are_exact():
    scm = cp.SCM(discrete)
    query = "E[Y_{X=1} | Z=1]"
    exact = cp.infer(scm, query, engine=cp.Enumeration()).mean()["Y"]
    drawn = cp.infer(scm, query, engine=cp.ClosedForm(), seed=0)
    assert exact == pytest.approx(0.8, abs=1e-6)
    assert abs(drawn.mean()["Y"] - exact) < 5 * drawn.sd()["Y"]  # false alarm below 1e-6


def test_an_engine_that_cannot_answer_says_why():
    with pytest.raises(AssumptionError, match=r"Gaussian cannot answer: .*'X' is Bernoulli"):
        cp.infer(discrete, "E[Y | X=1]", engine=cp.Gaussian())


def test_categories_label_the_answer():
    scm = cp.SCM(discrete, categories={"Y": ["ill", "well"]})
    found = cp.infer(scm, "P(Y | do(X=1))", seed=0)
    assert set(found.probabilities("Y").index) == {"ill", "well"}
    event = cp.infer(scm, "P(Y=well | do(X=1))").mean()
    assert next(iter(event.values())) == pytest.approx(0.5 + 0.3 * 0.3, abs=1e-6)


# -- evidence -----------------------------------------------------------------------


def test_evidence_keeps_a_tensor_s_dtype_and_casts_the_rest():
    scm = cp.SCM(mediated)
    kept = read_evidence(scm, {"Y": torch.tensor([1.0], dtype=torch.float64)}, {})
    cast = read_evidence(scm, {"Y": np.array([1.0]), "X": [1]}, {})
    assert kept.values["Y"].dtype == torch.float64
    assert cast.values["Y"].dtype == cast.values["X"].dtype == torch.float32


def test_codes_of_a_discrete_site_must_be_whole():
    def program():
        pyro.sample("K", dist.Categorical(torch.ones(3) / 3))

    scm = cp.SCM(program)
    assert read_evidence(scm, {"K": [0.0, 2.0]}, {}).values["K"].dtype == torch.long
    with pytest.raises(DataError, match="not a whole number"):
        read_evidence(scm, {"K": 0.5}, {})


def test_empty_tables_and_tables_without_sites_are_refused():
    with pytest.raises(DataError, match="no rows"):
        cp.infer(mediated, "E[Y]", evidence={"X": np.array([])})
    with pytest.raises(DataError, match="none of which is a site"):
        cp.infer(mediated, "E[Y]", evidence=pd.DataFrame({"a": [1.0]}))


def test_a_simulation_is_a_mapping_from_keys():
    values = Simulation({"Y": torch.zeros(1, 2)}, 1, 2)
    assert values["Y"].shape == (1, 2)


def test_vector_valued_interventions_are_not_taken_for_values_of_units():
    def program():
        x = pyro.sample("X", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        z = pyro.sample("Z", dist.Normal(0.0, 1.0))
        pyro.sample("Y", dist.Normal(x + z[..., None], 1.0).to_event(1))
        pyro.sample("C", dist.Poisson(torch.exp(0.1 * x.sum(-1))))

    worlds = {"a": {"X": torch.tensor([10.0, 20.0])}}
    evidence = {"Z": [0.0, float("nan")]}
    found = cp.infer(program, ["Y@a"], worlds=worlds, evidence=evidence, seed=0)
    assert found.mean()["Y@a"] == pytest.approx(np.array([[10.0, 20.0]] * 2), abs=0.3)
    counts = cp.infer(program, ["C@a"], worlds=worlds, seed=0)
    assert counts.mean()["C@a"] == pytest.approx(np.exp(3.0), rel=0.05)


def test_approximate_engines_use_the_draws_of_the_parameters():
    def program(n):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        with pyro.plate("units", n):
            z = pyro.sample("Z", dist.Normal(0.0, 1.0))
            pyro.sample("X", dist.Bernoulli(logits=a * z))

    grid = torch.linspace(-10, 10, 100_001, dtype=torch.float64)
    for value in (1.5, -5.0):
        weight = torch.exp(-(grid**2) / 2) * torch.sigmoid(value * grid)
        exact = float((weight * grid).sum() / weight.sum())
        scm = cp.SCM(program).with_parameters({"a": torch.full((3,), value)})
        for engine in (cp.Importance(), cp.Variational()):
            found = cp.infer(scm, "E[Z | X=1]", engine=engine, num_draws=4000, seed=0)
            assert found.mean()["Z"] == pytest.approx(exact, abs=0.06), engine.name


@pytest.mark.parametrize(
    ("law", "value"),
    [
        (dist.Poisson(2.0), -1.5),
        (dist.Bernoulli(0.5), 2.0),
        (dist.Gamma(2.0, 1.0), -1.0),
        (dist.Uniform(0.0, 1.0), 2.0),
        (dist.Categorical(torch.ones(3) / 3), 7),
        (dist.Categorical(torch.ones(3) / 3), -1),
    ],
)
def test_evidence_outside_the_support_is_impossible(law, value):
    def program():
        x = pyro.sample("X", law)
        pyro.sample("Y", dist.Normal(2.0 * x, 1.0))

    with pytest.raises(ImpossibleEvidenceError, match=r"'X'.*outside the support"):
        cp.infer(program, f"E[Y_{{X=0}} | X={value}, Y=3]")


def test_codes_that_a_categorical_site_does_not_have_cannot_be_set():
    def program():
        z = pyro.sample("Z", dist.Categorical(torch.ones(3)))
        pyro.sample("Y", dist.Normal(torch.tensor([0.0, 1.0, 2.0])[z], 1.0))

    for code in (-1, 3):
        with pytest.raises(DataError, match="'Z' holds a code outside 0 to 2"):
            cp.infer(program, f"E[Y_{{Z={code}}} | Z=0, Y=1]")
    scm = cp.SCM(program, categories={"Z": ["a", "b", "c"]})
    with pytest.raises(QueryError, match="codes have no mean"):
        cp.infer(scm, "E[Z]")


def test_whole_numbers_reach_every_continuous_family():
    def program():
        x = pyro.sample("X", dist.Beta(2.0, 2.0))
        pyro.sample("Y", dist.Normal(2 * x, 1.0))

    assert cp.infer(program, "E[Y | do(X=0)]", seed=0).mean()["Y"] == pytest.approx(0.0, abs=0.02)
    assert cp.infer(program, "E[Y_{X=0} | X=0.5, Y=3]").mean()["Y"] == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"worlds": {"b": {"Q": 1.0}}}, ProgramError, "'Q'"),
        ({"worlds": {"b": {"X": cp.World("q")}}}, DataError, "'q'"),
        ({"worlds": {"b": {"Y": lambda Q: Q}}}, QueryError, "asks for 'Q'"),
        ({"worlds": {"b": {"X": 0.0}}, "evidence": {"Y@x9": 1.0}}, DataError, "no world 'x9'"),
        ({"worlds": {"b": {"X": 0.0}}, "num_draws": 0}, DataError, "num_draws is 0"),
        ({"worlds": {"b": {"X": float("inf")}}}, DataError, "infinity"),
    ],
)
def test_unknown_names_and_bad_numbers_are_named(options, error, message):
    with pytest.raises(error, match=message):
        cp.infer(mediated, ["Y@b"], **options)


def test_arrays_and_lists_are_per_unit_interventions_too():
    evidence = {name: [0.0, 0.0, 0.0] for name in "ZXMY"} | {"Y": [0.0, float("nan"), 0.0]}
    for doses in (np.array([0.0, 1.0, 2.0]), [0.0, 1.0, 2.0]):
        worlds = {"dose": {"X": doses}}
        found = cp.infer(mediated, ["X@dose", "Y@dose"], worlds=worlds, evidence=evidence, seed=0)
        assert found.mean()["X@dose"] == pytest.approx([0.0, 1.0, 2.0])


def test_units_keep_the_labels_of_the_table():
    table = pd.DataFrame({"Z": [0.0, 1.0], "X": [1.0, 2.0]}, index=["Ann", "Bob"])
    found = cp.infer(mediated, "P(Y)", evidence=table, seed=0)
    assert list(found.draws["Y"].coords["units"].values) == ["Ann", "Bob"]
    assert list(found.summary().index) == ["Y[Ann]", "Y[Bob]"]


def test_evidence_in_an_inner_plate_names_the_way_out():
    def program(n):
        with pyro.plate("units", n, dim=-1):
            u = pyro.sample("U", dist.Normal(0.0, 1.0))
            with pyro.plate("items", 3, dim=-2):
                pyro.sample("V", dist.Normal(u, 1.0))

    with pytest.raises(DataError, match=r"inner plate 'items'.*to_event"):
        cp.infer(program, "E[U | V=1]")


def test_mechanisms_that_are_not_defined_where_they_are_taken_are_named():
    def negative_scale():
        x = pyro.sample("X", dist.Normal(0.0, 1.0))
        pyro.sample("Y", dist.Normal(0.0, x))

    def logarithm():
        x = pyro.sample("X", dist.Normal(0.0, 1.0))
        pyro.sample("Y", dist.Normal(torch.log(x), 1.0))

    with pytest.raises(ProgramError):
        cp.infer(negative_scale, "E[Y_{X=2} | X=-1, Y=2]")
    with pytest.raises(ProgramError, match=r"NaN or infinite|invalid values"):
        cp.infer(logarithm, "E[Y]", seed=0)


def test_notes_speak_of_terms_not_of_internal_names():
    evidence = {"Y_{X=1}": [3.0, float("nan")], "X": [0.0, 1.0]}
    found = cp.infer(mediated, "E[Y_{X=0}]", evidence=evidence)
    assert "1 of 2 units have no value of Y_{X=1}" in found.notes[0]


def test_the_spread_of_a_fitted_model_is_that_of_its_parameters_not_of_the_simulation():
    def program(n):
        p = pyro.sample("p", dist.Beta(1.0, 1.0))
        with pyro.plate("units", n):
            pyro.sample("Z", dist.Normal(0.0, 1.0))
            pyro.sample("Y", dist.Poisson(1 + 6 * p))

    draws = 0.5 + 0.01 * torch.randn(1000, generator=torch.Generator().manual_seed(0))
    scm = cp.SCM(program).with_parameters({"p": draws})
    exact = float((1 + 6 * draws).std())
    alone = cp.infer(scm, "E[Y]", seed=0)
    assert alone.sd()["Y"] == pytest.approx(exact, rel=0.15)
    assert not alone.is_exact
    many = cp.infer(scm, "E[Y]", evidence={"Z": [0.5] * 40}, num_draws=2000, seed=0)
    assert many.sd()["Y"] == pytest.approx([exact] * 40, rel=0.4)


def test_a_probability_of_what_some_units_show_and_others_miss():
    def program():
        x = pyro.sample("X", dist.Bernoulli(torch.tensor(0.5)))
        pyro.sample("Z", dist.Bernoulli(0.2 + 0.5 * x))

    seen = {"X": torch.tensor([0.0, 1.0, 1.0]), "Z": torch.tensor([1.0, float("nan"), 0.0])}
    found = cp.infer(program, "P(Z=1)", evidence=seen, seed=0).mean()["Z=1"]
    assert torch.as_tensor(found).tolist() == pytest.approx([1.0, 0.7, 0.0], abs=1e-6)


def arms():
    x = pyro.sample("X", dist.Bernoulli(0.5))
    pyro.sample("Y", dist.Normal(2.0 * x, 1.0))


def test_a_contrast_of_codes_is_refused_where_the_values_have_names():
    scm = cp.SCM(arms, categories={"X": ["drug", "placebo"]})
    with pytest.raises(QueryError, match=r"name the two, as in ATE\(X: placebo vs drug -> Y\)"):
        cp.infer(scm, "ATE(X -> Y)", seed=0)
    found = cp.infer(scm, "ATE(X: drug vs placebo -> Y)", seed=0)
    assert found.mean()["ATE"] == pytest.approx(-2.0, abs=0.05)


def test_an_intervention_that_its_law_rules_out_is_told():
    for query in ("E[Y | do(X=2)]", "E[Y_{X=2}]", "ATE(X: 2 vs 0 -> Y)"):
        assert any("X is set to 2" in note for note in cp.infer(cp.SCM(arms), query, seed=0).notes)
    assert not any("is set to" in note for note in cp.infer(cp.SCM(arms), "E[Y | do(X=1)]").notes)
    named = cp.infer(cp.SCM(arms), ["Y@a"], worlds={"a": {"X": torch.tensor(0.5)}}, seed=0)
    assert any("X is set to" in note for note in named.notes)


def test_worlds_without_names_are_told_what_to_write():
    with pytest.raises(QueryError, match=r"expected a mapping .* worlds={'x0': {'X': 0}}"):
        cp.infer(cp.SCM(arms), ["Y@x0"], worlds=[{"X": 0}])
