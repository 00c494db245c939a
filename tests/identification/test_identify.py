"""Forms of formulas, the names of their open values, zeros, and bad input."""

import os
import subprocess
import sys

import pyro
import pyro.distributions as dist
import pytest
import torch

from causalppl import SCM
from causalppl.data import Factor
from causalppl.estimation import evaluate
from causalppl.exceptions import (
    DataError,
    ImpossibleEvidenceError,
    NotIdentifiableError,
    QueryError,
)
from causalppl.graphs import ADMG, back_door, bow, random_admg
from causalppl.identification import Domain, identify
from causalppl.identification.expression import walk
from causalppl.programs.finite import random_finite_model


def test_what_is_not_joined_to_an_outcome_cancels_at_fixed_values() -> None:
    graph = ADMG.parse("X -> Y; X <-> Y; A -> W; A <-> W")
    query = "P(Y_{X=0}=1, X=0 | W_{A=0}=1)"
    estimand = identify(graph, query)
    assert str(estimand) == "P(X=0, Y=1)"
    model = random_finite_model(graph, seed=0)
    table = evaluate(estimand, model.law())
    assert isinstance(table, Factor)
    assert float(table.values) == pytest.approx(model.probability(query), abs=1e-9)


@pytest.mark.parametrize(
    ("graph", "query"),
    [
        ("X -> Y; X <-> Y", "P(X=0, X_{Y=0}=1 | Y_{X=0}=1)"),
        ("X -> Y", "P(X_{Y=1}=1 | X=0)"),
    ],
)
def test_a_contradiction_is_zero_whatever_is_given(graph: str, query: str) -> None:
    assert identify(ADMG.parse(graph), query).is_zero


def test_impossible_evidence_is_named() -> None:
    with pytest.raises(ImpossibleEvidenceError, match="probability zero"):
        identify(ADMG.parse("X -> Y"), "P(X_{Y=0}=1 | X=0, X_{Y=1}=1)")


@pytest.mark.parametrize("query", ["P(Y | Y)", "P(Y=1 | Y=1)", "P(Y | do(X), Y)"])
def test_an_outcome_that_is_given_is_refused(query: str) -> None:
    with pytest.raises(QueryError, match="asked for and given"):
        identify(back_door(), query)


def test_wrong_types_are_named() -> None:
    with pytest.raises(QueryError, match="the query is None"):
        identify(bow(), None)  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="policies is"):
        identify(bow(), "P(Y)", policies=["X"])  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="experiments is None"):
        identify(bow(), "P(Y)", experiments=None)  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="expected a list of Domain"):
        identify(bow(), "P(Y)", domains=Domain("a"))  # type: ignore[arg-type]


def test_a_law_that_does_not_sum_to_one_is_refused() -> None:
    law = random_finite_model(back_door(), seed=0).law()
    double = Factor(law.names, 2 * law.values, law.states)
    with pytest.raises(DataError, match="sums to 2"):
        evaluate(identify(back_door(), "P(Y | do(X))"), double)


def test_a_domain_is_escaped_in_latex() -> None:
    home = identify(
        ADMG.parse("X -> Y; X <-> Y"),
        "P(Y | do(X))",
        domains=[Domain("trial_1", experiments=[{"X"}])],
    )
    assert home.to_latex() == r"P^{\mathrm{trial\_1}}(Y \mid \mathrm{do}(X))"


def test_what_a_notebook_shows_breaks_long_lines() -> None:
    short = identify(ADMG.parse("X -> Y"), "P(Y | do(X))")
    assert short._repr_latex_() == r"$P(Y \mid \mathrm{do}(X)) = P(Y \mid X)$"
    long = identify(ADMG.parse("Z -> X -> Y; Z -> Y"), "ATE(X -> Y)")
    assert long._repr_latex_().count(r"\\") == 1  # between the query and the formula
    names = [f"covariate_{k}" for k in range(8)]
    text = "; ".join(f"{name} -> Outcome; {name} -> X" for name in names) + "; X -> Outcome"
    wide = identify(ADMG.parse(text), "ATE(X -> Outcome)").to_latex().split(r"\\")
    assert [line.count(r"\sum_") for line in wide[:2]] == [1, 1]  # a line for each term
    assert r"\text{where } \mathbf{Z}" in wide[2]


@pytest.mark.parametrize(
    ("graph", "query", "formula"),
    [
        ("X -> Z -> Y; X <-> Y", "P(Y | do(X))", "sum_Z P(Z | X) sum_X' P(X') P(Y | X', Z)"),
        ("X -> Z -> Y; X <-> Y", "E[Y | do(X)]", "sum_Z P(Z | X) sum_X' P(X') E[Y | X', Z]"),
        (
            "X -> Z -> Y; X <-> Y",
            "P(Y > 0 | do(X))",
            "sum_Z P(Z | X) sum_X' P(X') P(Y > 0 | X', Z)",
        ),
        ("Z -> X -> Y; Z -> Y", "P(Y | do(X))", "sum_Z P(Y | X, Z) P(Z)"),
        ("Z -> X -> Y; Z -> Y", "P(Y_{X=1})", "sum_Z P(Y | X=1, Z) P(Z)"),
        ("X -> M -> Y; X -> Y", "NDE(X -> Y)", "sum_M P(M | X=0) E[Y | X=1, M] - E[Y | X=0]"),
    ],
)
def test_formulas_come_out_in_their_textbook_form(graph: str, query: str, formula: str) -> None:
    assert str(identify(ADMG.parse(graph), query)) == formula


def test_a_plan_sums_to_one_and_leaves_no_trace() -> None:
    graph = ADMG.parse("Z -> X -> Y; Z -> Y")
    assert str(identify(graph, "P(Y | Z)", policies={"X": ["Z"]})) == "sum_X P(Y | Z, X) pi(X | Z)"


def test_open_values_are_named_as_in_the_query() -> None:
    estimand = identify(back_door(), "P(Y_{X} | X)")
    assert [label for label, _ in estimand.axes] == ["Y", "X", "do(X)"]
    assert estimand.legend == "where X' is do(X)"
    assert repr(estimand) == f"{estimand}\nwhere X' is do(X)"
    assert identify(back_door(), "P(Y | do(X))").legend == ""


@pytest.mark.parametrize("seed", range(12))
def test_tables_have_the_axes_of_the_models_own(seed: int) -> None:
    """Where a value does not matter the table has its axis all the same."""
    graph = random_admg(4, directed=0.5, bidirected=0.2, seed=seed)
    a, b, c, d = graph.topological_order()
    model = random_finite_model(graph, states={a: 2, b: 3, c: 2, d: 2}, seed=seed)
    for query in (f"P({d}, {c} | do({a}))", f"P({c} | do({b}), {a})", f"P({d}_{{{a}}} | {a})"):
        try:
            found = evaluate(identify(graph, query), model.law())
        except NotIdentifiableError:
            continue
        truth = model.table(query)
        assert isinstance(found, Factor)
        assert found.names == truth.names
        torch.testing.assert_close(found.values, truth.values)


def test_a_value_that_all_terms_leave_open_is_one_axis() -> None:
    model = random_finite_model(back_door(), states=3, seed=1)
    found = evaluate(identify(back_door(), "E[Y_{X=1} - Y_{X=0} | Z]"), model.law())
    truth = model.answer("E[Y_{X=1} - Y_{X=0} | Z]")
    assert truth.names == ("Z",)
    assert found.tolist() == pytest.approx(truth.values.tolist())


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("NDE(X -> Y; Z)", "names Z as a mediator, which lies on no directed path"),
        ("NDE(X -> M)", "reaches M by no other way"),
        ("NIE(X -> Q)", "unknown variable 'Q'"),
    ],
)
def test_what_cannot_mediate_is_refused(query: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        identify(ADMG.parse("Z -> X -> M -> Y; X -> Y; Z -> Y"), query)


def test_fixed_outcomes_and_open_interventions_share_their_symbols() -> None:
    """The two factorisations of a conditional query must call an open intervention alike."""
    graph = ADMG.parse("X -> Y; X <-> Y; B -> Y; B -> C")
    query = "P(Y_{X=0, B}=1, X=0 | B, C=1)"
    model = random_finite_model(graph, seed=3)
    estimand = identify(graph, query)
    assert [label for label, _ in estimand.axes] == ["B", "do(B)"]
    table = evaluate(estimand, model.law())
    assert isinstance(table, Factor)
    torch.testing.assert_close(table.values, model.table(query).values)


def test_a_long_chain_of_confounded_neighbours_is_quick_and_shares_its_parts() -> None:
    chain = "; ".join(f"V{i} -> V{i + 1}" for i in range(60))
    confounded = "; ".join(f"V{i} <-> V{i + 2}" for i in range(59))
    estimand = identify(ADMG.parse(f"{chain}; {confounded}"), "P(V60 | do(V0))")
    assert len(list(walk(estimand.body))) < 200
    assert str(identify(ADMG.parse(chain), "P(V60_{V0=0})")) == "P(V60 | V0=0)"


def test_a_diagram_read_from_a_program_gives_the_same_estimand_as_one_typed_by_hand() -> None:
    def program() -> None:
        u = pyro.sample("U", dist.Bernoulli(torch.tensor(0.5)))
        x = pyro.sample("X", dist.Bernoulli(0.2 + 0.5 * u))
        z = pyro.sample("Z", dist.Bernoulli(0.2 + 0.6 * x))
        pyro.sample("Y", dist.Bernoulli(0.1 + 0.4 * z + 0.3 * u))

    scm = SCM(program, observed=["X", "Z", "Y"])
    typed = ADMG.parse("Y <-> X; Z -> Y; X -> Z")
    assert identify(scm.graph, "P(Y | do(X))") == identify(typed, "P(Y | do(X))")


SCRIPT = """
from causalppl import ADMG, identify
from causalppl.identification import adjustment_sets, find_instruments
graph = ADMG.parse("B -> A; A -> X; B -> Y; X -> M -> Y; X <-> Y; C -> {X, M}; C <-> A")
print(identify(graph, "P(Y, M | do(X))"), identify(graph, "E[Y_{X=1} | X=0]"))
print([sorted(found) for found in adjustment_sets(graph, "X", "M")])
print(list(find_instruments(ADMG.parse("Z -> X -> Y; W -> Z; X <-> Y"), "X", "Y")))
"""


def test_formulas_do_not_depend_on_the_order_of_hashing() -> None:
    runs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    ]
    assert runs[0]
    assert len(set(runs)) == 1
