"""Formulas against programs, and programs that do not fit the formula's diagram."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from causalppl import ADMG, SCM, Domain, identify, infer, verify, verify_all
from causalppl.data import Factor
from causalppl.estimation import ProgramLaw
from causalppl.estimation.outcome_regression import GFormula
from causalppl.estimation.weighting import IPW
from causalppl.exceptions import (
    AssumptionError,
    DataError,
    ProgramError,
    QueryError,
)
from causalppl.graphs import front_door, random_admg
from causalppl.programs.finite import FiniteModel, random_finite_model

MEDIATED = "Z -> X -> M -> Y; X -> Y; Z -> {M, Y}"


def mixed_program() -> None:
    """Bernoulli, Binomial and deterministic sites, with a latent cause."""
    u = pyro.sample("U", dist.Bernoulli(torch.tensor(0.3)))
    x = pyro.sample("X", dist.Bernoulli(0.2 + 0.5 * u))
    z = pyro.sample("Z", dist.Binomial(2, 0.3 + 0.4 * x))
    w = pyro.deterministic("W", z + x)
    pyro.sample("Y", dist.Categorical(torch.stack([1 + w, 1 + u, 2 - 0.5 * w], -1)))


@pytest.fixture(scope="module")
def mixed() -> SCM:
    return SCM(mixed_program, observed=["X", "Z", "W", "Y"])


@pytest.mark.parametrize("seed", range(6))
def test_the_law_of_a_program_is_that_of_its_tables(seed: int) -> None:
    graph = random_admg(4, directed=0.5, bidirected=0.3, seed=seed)
    model = random_finite_model(graph, states=3 if seed % 2 else 2, noise_states=1, seed=seed)
    law = ProgramLaw(model.scm())
    for do in ([], [graph.nodes[0]], list(graph.nodes[1:3])):
        found, truth = law.law(do), model.law(dict.fromkeys(do))
        torch.testing.assert_close(found.align(truth.names).values, truth.values)


def test_a_program_of_several_families_is_summed_over_exactly(mixed: SCM) -> None:
    law = ProgramLaw(mixed).law()
    assert law.states["Z"] == (0, 1, 2)
    assert law.states["W"] == (0, 1, 2, 3)
    for event in ({"Y": 2}, {"X": 1, "Z": 2}, {"W": 3}):
        text = ", ".join(f"{name}={value}" for name, value in event.items())
        (value,) = infer(mixed, f"P({text})").mean().values()
        assert float(law.probability(event)) == pytest.approx(value, abs=1e-6)


def test_category_names_are_the_values_of_a_law() -> None:
    def program() -> None:
        x = pyro.sample("X", dist.Categorical(torch.tensor([0.2, 0.8])))
        pyro.sample("Y", dist.Bernoulli(0.1 + 0.5 * x))

    scm = SCM(program, categories={"X": ["control", "treated"]})
    check = verify(identify(scm.graph, "P(Y | do(X))"), scm)
    assert check.passed
    assert check.axes == {"Y": (0, 1), "X": ("control", "treated")}
    assert check.program[1].tolist() == pytest.approx([0.1, 0.6])


@pytest.mark.parametrize(
    "query",
    [
        "P(Y | do(X))",
        "P(Y, Z | do(X))",
        "P(Y | do(X), Z)",
        "E[Y | do(X)]",
        "P(Y > 0 | do(X=1))",
        "ATE(X -> Y)",
        "ETT(X -> Y)",
        "P(Y_{X} | X)",
        "E[Y_{X=1} - Y_{X=0}]",
    ],
)
def test_front_door_formulas_agree_with_the_program(query: str) -> None:
    scm = random_finite_model(front_door(), states=3, noise_states=1, seed=2).scm()
    check = verify(identify(scm.graph, query), scm)
    assert check.passed, str(check)
    assert check.difference < 1e-12
    assert "agrees" in str(check)


@pytest.mark.parametrize("query", ["NDE(X -> Y)", "NIE(X -> Y)", "CDE(X -> Y | do(M=0))"])
def test_effects_through_mediators_agree_with_the_program(query: str) -> None:
    scm = random_finite_model(ADMG.parse(MEDIATED), seed=4, noise_states=1).scm()
    assert verify(identify(scm.graph, query), scm)


def test_a_formula_of_a_wrong_diagram_is_found_out() -> None:
    scm = random_finite_model(ADMG.parse("Z -> X -> Y; Z -> Y"), seed=1).scm()
    check = verify(identify(ADMG.parse("X -> Y; Z"), "P(Y | do(X))"), scm)
    assert not check
    assert check.difference > 1e-3
    assert set(check.worst) == {"Y", "X"}
    assert "differs from the program at" in str(check)


def test_a_formula_can_be_held_to_another_query() -> None:
    scm = random_finite_model(ADMG.parse("Z -> X -> Y; Z -> Y"), seed=1).scm()
    estimand = identify(scm.graph, "P(Y | X)")
    assert verify(estimand, scm)
    assert not verify(estimand, scm, "P(Y | do(X))")
    with pytest.raises(QueryError, match="depends on X"):
        verify(estimand, scm, "P(Y)")
    with pytest.raises(QueryError, match="names Q"):
        verify(estimand, scm, "P(Q)")


def test_experiments_and_other_populations_are_asked_of_the_programs() -> None:
    model = random_finite_model(ADMG.parse(MEDIATED), seed=5, noise_states=1)
    trial = Domain("trial", ["Z"], [["X"]], observational=False)
    estimand = identify(model.graph, "P(Y | do(X))", domains=[trial])
    other = model.shifted(["Z"], seed=6)
    assert verify(estimand, model.scm(), domains={"trial": other.scm()})
    if any("trial" in source for source in estimand.sources):
        with pytest.raises(QueryError, match="population 'trial'"):
            verify(estimand, model.scm())
    bow = random_finite_model(ADMG.parse("X -> Y; X <-> Y"), seed=1, noise_states=1).scm()
    assert verify(identify(bow.graph, "P(Y | do(X))", experiments=[["X"]]), bow)


def test_a_plan_is_checked_against_the_program_under_it() -> None:
    scm = random_finite_model(ADMG.parse(MEDIATED), seed=7, noise_states=1).scm()
    plan = Factor(("Z", "X"), torch.tensor([[0.3, 0.7], [0.6, 0.4]]))
    for query in ("P(Y)", "P(Y | Z)", "E[Y]"):
        estimand = identify(scm.graph, query, policies={"X": ["Z"]})
        assert verify(estimand, scm, policies={"X": plan})
    with pytest.raises(DataError, match=r"sums to 0\.9"):
        verify(estimand, scm, policies={"X": Factor(("Z", "X"), [[0.3, 0.6], [0.6, 0.4]])})


def test_verify_all_checks_every_pair() -> None:
    scm = random_finite_model(front_door(), seed=0, noise_states=1).scm()
    report = verify_all(scm)
    assert report
    assert len(report.checks) == 6
    assert list(report.summary()["verdict"]) == ["agrees"] * 6
    bow = random_finite_model(ADMG.parse("X -> Y; X <-> Y"), seed=1, noise_states=1).scm()
    report = verify_all(bow)
    assert list(report.not_identifiable) == ["P(Y | do(X))"]
    assert report.passed


def test_verify_all_takes_queries_of_every_rung() -> None:
    scm = random_finite_model(front_door(), seed=3, noise_states=1).scm()
    report = verify_all(scm, ["ATE(X -> Y)", "P(Y_{X=0}=1 | X=1)", "P(Y_{X=0}, Y_{X=1})"])
    assert len(report.checks) == 2
    assert len(report.not_identifiable) == 1
    assert "2 of 2 formulas agree" in str(report)


def test_strata_that_never_happen_are_reported_not_guessed() -> None:
    graph = ADMG.parse("Z -> X -> Y; Z -> Y")
    tables = {
        "Z": [0.5, 0.5],
        "X": [[1.0, 0.0], [0.5, 0.5]],
        "Y": [[[0.9, 0.1], [0.5, 0.5]], [[0.3, 0.7], [0.2, 0.8]]],
    }
    scm = FiniteModel(graph, tables).scm()
    with pytest.raises(AssumptionError, match="never happens"):
        verify(identify(graph, "P(Y | do(X))"), scm)
    assert "P(Y | do(X))" in verify_all(scm).not_checked


def test_evidence_that_never_happens_is_an_error() -> None:
    scm = FiniteModel(ADMG.parse("Z -> Y"), {"Z": [1.0, 0.0], "Y": [[0.5, 0.5]] * 2}).scm()
    with pytest.raises(AssumptionError, match="never happens"):
        verify(identify(scm.graph, "P(Y | Z=1)"), scm)


def test_programs_that_are_not_finite_are_refused_by_site() -> None:
    def continuous() -> None:
        x = pyro.sample("X", dist.Normal(0.0, 1.0))
        pyro.sample("Y", dist.Normal(x, 1.0))

    with pytest.raises(ProgramError, match=r"'X' \(Normal\) has infinitely many values"):
        verify_all(continuous)

    def parametric(n: int) -> None:
        p = pyro.sample("p", dist.Beta(1.0, 1.0))
        with pyro.plate("units", n):
            x = pyro.sample("X", dist.Bernoulli(p))
            pyro.sample("Y", dist.Bernoulli(0.2 + 0.5 * x))

    with pytest.raises(ProgramError, match="parameter 'p' is random"):
        verify_all(parametric)
    fixed = SCM(parametric).with_parameters({"p": torch.tensor([0.3])})
    assert verify_all(fixed)
    assert float(ProgramLaw(fixed).law().probability({"X": 1})) == pytest.approx(0.3)


def linear() -> None:
    z = pyro.sample("Z", dist.Normal(0.0, 1.0))
    x = pyro.sample("X", dist.Bernoulli(logits=z))
    pyro.sample("Y", dist.Normal(2 * x + z, 1.0))


@pytest.mark.parametrize("query", ["ATE(X -> Y)", "E[Y | do(X=1)]", "P(Y > 1 | do(X=0))"])
def test_other_programs_are_checked_by_samples(query: str) -> None:
    scm = SCM(linear)
    method = GFormula(outcome=None) if query.startswith(("ATE", "E")) else IPW()
    check = verify(identify(scm.graph, query), scm, estimator=method, num_samples=5_000, seed=0)
    assert check.passed, str(check)
    assert check.false_alarm == 1e-3
    assert "from samples" in str(check)


def test_a_wrong_formula_is_found_out_by_samples() -> None:
    scm = SCM(linear)
    wrong = identify(ADMG.parse("X -> Y; Z"), "ATE(X -> Y)")
    check = verify(wrong, scm, estimator=GFormula(), num_samples=5_000, seed=0)
    assert not check
    assert "differs from the program" in str(check)


def test_counterfactuals_of_other_programs_are_asked_of_inference() -> None:
    scm = SCM(linear)
    check = verify(
        identify(scm.graph, "ETT(X -> Y)"), scm, estimator=GFormula(), num_samples=5_000, seed=1
    )
    assert check.passed, str(check)
    assert float(check.program) == pytest.approx(2, abs=0.1)


def test_what_cannot_be_checked_by_samples_is_refused() -> None:
    scm = SCM(linear)
    estimand = identify(scm.graph, "P(Y | do(X))")
    with pytest.raises(QueryError, match="leaves X, Y open"):
        verify(estimand, scm)
    with pytest.raises(DataError, match="num_samples is 3"):
        verify(estimand, scm, num_samples=3)
    with pytest.raises(AssumptionError, match="infinitely many values"):
        verify(estimand, scm, domains={"trial": scm})


@pytest.mark.slow
def test_a_right_formula_fails_by_samples_as_often_as_stated() -> None:
    scm = SCM(linear)
    estimand = identify(scm.graph, "ATE(X -> Y)")
    checks = [
        verify(estimand, scm, estimator=GFormula(), num_samples=500, false_alarm=0.1, seed=seed)
        for seed in range(0, 600, 2)
    ]
    # 300 checks at 10 %: between 14 and 48 failures but for a chance of 1e-3
    assert 14 <= sum(not check for check in checks) <= 48


def test_values_that_only_an_intervention_brings_about_are_states() -> None:
    def chain() -> None:
        u = pyro.sample("U", dist.Bernoulli(torch.tensor(0.5)))
        x = pyro.deterministic("X", u)
        pyro.deterministic("Y", (1 + x + u) % 2)

    law = ProgramLaw(SCM(chain, observed=["X", "Y"]))
    assert law.states["Y"] == (0, 1)
    assert float(law.law().probability({"Y": 1})) == 1
    assert law.law(["X"]).values.tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_a_large_grid_is_refused_before_it_is_filled() -> None:
    def wide() -> None:
        for i in range(23):
            pyro.sample(f"X{i}", dist.Bernoulli(torch.tensor(0.5)))

    with pytest.raises(ProgramError, match="8,388,608 combinations"):
        ProgramLaw(SCM(wide)).law()
