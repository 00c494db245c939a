"""What a review found: values that agree between worlds, zeros, and bad input."""

import pytest

from causalppl.data import Factor
from causalppl.estimation import evaluate
from causalppl.exceptions import DataError, ImpossibleEvidenceError, QueryError
from causalppl.graphs import ADMG, back_door, bow
from causalppl.identification import Domain, identify
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
