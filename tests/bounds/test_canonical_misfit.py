"""Rows that fit no model on the diagram: refused if they refute it, else moved and doubted."""

from dataclasses import replace

import numpy as np
import pytest

from causalppl.bounds.bound import bound
from causalppl.bounds.bounds import Bounds
from causalppl.bounds.canonical import Canonical
from causalppl.bounds.certificate import Certificate
from causalppl.bounds.method import OBSERVED, BoundProblem
from causalppl.data import Factor
from causalppl.exceptions import AssumptionError, ImpossibleEvidenceError
from causalppl.graphs import ADMG
from causalppl.queries import parse_query

IV = ADMG.parse("Z -> X -> Y; X <-> Y")
BOW = ADMG.parse("X -> Y; X <-> Y")


def rows_of_an_outcome_that_follows_the_instrument(seed, count=3_000):
    """Rows of no instrument: Y follows Z and nothing else."""
    rng = np.random.default_rng(seed)
    z = rng.integers(2, size=count)
    x = (rng.random(count) < np.where(z == 1, 0.3, 0.1)).astype(int)
    y = (rng.random(count) < np.where(z == 1, 0.97, 0.03)).astype(int)
    return {"Z": z, "X": x, "Y": y}


@pytest.mark.parametrize("seed", range(6))
def test_rows_that_refute_the_diagram_are_refused(seed):
    rows = rows_of_an_outcome_that_follows_the_instrument(seed)
    with pytest.raises(AssumptionError, match="100% of 200 resampled laws fit no model") as error:
        bound(IV, "ATE(X -> Y)", rows, seed=0)
    witness = error.value.witness
    z, x, y = rows.values()
    value = ((x == 0) & (y == 0))[z == 0].mean() + ((x == 0) & (y == 1))[z == 1].mean()
    assert dict(witness.weights) == pytest.approx(
        {"P(X=0, Y=0 | Z=0)": 1.0, "P(X=0, Y=1 | Z=1)": 1.0}
    )
    assert (witness.value, witness.limit) == pytest.approx((value, 1.0))


def refusals(law_of_types, repeats, size=200):
    """How often rows of a valid instrument are refused; how often their law was moved."""
    refused = moved = 0
    for seed in range(repeats):
        rng = np.random.default_rng([11, seed])
        kinds = rng.choice(16, size=size, p=law_of_types(rng))
        z = np.arange(size) % 2
        x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])[kinds // 4, z]
        y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])[kinds % 4, x]
        if len(set(x)) < 2 or len(set(y)) < 2:
            continue
        try:
            found = bound(IV, "ATE(X -> Y)", {"Z": z, "X": x, "Y": y}, seed=seed)
        except AssumptionError:
            refused += 1
        else:
            moved += 0 in found.diagnostics["moved"]
    return refused, moved


def few_types(rng):
    """A law of few of the 16 response types, so that many inequalities have no slack."""
    law = np.zeros(16)
    chosen = rng.choice(16, size=int(rng.integers(2, 6)), replace=False)
    law[chosen] = rng.dirichlet(np.ones(len(chosen)))
    return law


@pytest.mark.filterwarnings("ignore::causalppl.exceptions.HeuristicWarning")
def test_rows_of_an_instrument_are_hardly_ever_refused():
    refused, moved = refusals(few_types, 30)
    assert refused <= 1
    assert moved >= 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::causalppl.exceptions.HeuristicWarning")
def test_rows_of_an_instrument_are_refused_in_one_percent_of_cases():
    # more than 8 of 300 is a false alarm in .004 if it happens in .01
    refused, moved = refusals(few_types, 300)
    assert refused <= 8
    assert moved >= 20


def test_what_is_given_but_was_never_seen_in_rows_leaves_all_open():
    # PN asks of units with X=1 and Y=1
    rows = {"X": [0, 0, 0, 1, 1], "Y": [0, 1, 1, 0, 0]}
    law = Factor(("X", "Y"), [[0.2, 0.4], [0.4, 0.0]])
    problem = BoundProblem(BOW, parse_query("PN(X -> Y)"), laws={OBSERVED: law})
    with pytest.raises(ImpossibleEvidenceError, match="probability zero"):
        Canonical().solve(problem, seed=0)
    found = bound(BOW, "PN(X -> Y)", rows, num_draws=20, seed=0)
    assert (float(found.lower), float(found.upper)) == pytest.approx((0, 1))
    assert found.interval() == pytest.approx((0, 1))
    assert not found.is_sharp
    assert any("never occurred in the rows" in note for note in found.notes)


@pytest.mark.parametrize("query", ["ETT(X -> Y)", "PNS(X -> Y)", "P(Y_{X=1}=1 | X=0, Z=1)"])
def test_other_questions_are_refused_too(query):
    rows = rows_of_an_outcome_that_follows_the_instrument(0)
    with pytest.raises(AssumptionError, match="instrumental inequality"):
        bound(IV, query, rows, seed=0)


def test_a_certificate_abstains_where_the_rows_and_most_resampled_laws_fit_no_model():
    ends = np.tile([0.2, 0.4], (10, 1))
    found = Bounds("ATE(X -> Y)", "hand", 0.2, 0.4, draws=ends, num_rows=50)
    assert Certificate.from_bounds(found).decision == "prefer action 1"
    for moved, decision in (
        (range(7), "abstain"),
        (range(1, 10), "prefer action 1"),
        (range(6), "prefer action 1"),
    ):
        told = replace(found, diagnostics={"moved": list(moved)})
        certificate = Certificate.from_bounds(told)
        assert certificate.decision == decision
        assert certificate.interval[0] == pytest.approx(0.0 if decision == "abstain" else 0.2)
    assert (
        "fit no model"
        in Certificate.from_bounds(replace(found, diagnostics={"moved": list(range(7))})).summary
    )
