"""Bounds without assumptions, against linear programs over potential outcomes and by hand."""

import numpy as np
import pandas as pd
import pytest

from causalppl.bounds.manski import NoAssumptions
from causalppl.bounds.manski_tables import causal_q_bounds, manski_bounds
from causalppl.bounds.method import OBSERVED, BoundProblem
from causalppl.data import Factor, Table
from causalppl.exceptions import DataError, NotIdentifiableError
from causalppl.graphs import ADMG
from causalppl.programs.finite import random_finite_model
from causalppl.queries import parse_query
from tests.bounds.potential_outcomes import PotentialOutcomes, random_joint

approx = pytest.approx
BOW = ADMG.parse("X -> Y; X <-> Y")
INSTANCES = 300


def solve(problem, method=None):
    method = method or NoAssumptions()
    assert method.refusal(problem) is None
    return method.solve(problem, seed=0)


def ends(graph, query, law, **settings):
    found = solve(BoundProblem(graph, parse_query(query), laws={OBSERVED: law}, **settings))
    return float(found.lower), float(found.upper)


QUERIES = {
    # name: (query, what is averaged, factual condition), by the arrays of PotentialOutcomes
    "mean": ("E[Y_{X=1}]", lambda t: t.y[:, 1], None),
    "event": ("P(Y=1 | do(X=0))", lambda t: t.y[:, 0] == 1, None),
    "threshold": ("P(Y >= 1 | do(X=2))", lambda t: t.y[:, 2] >= 1, None),
    "effect": ("ATE(X: 2 vs 0 -> Y)", lambda t: t.y[:, 2] - t.y[:, 0], None),
    "on the treated": ("ETT(X -> Y)", lambda t: t.y[:, 1] - t.y[:, 0], lambda t: t.x == 1),
    "on controls": ("ATC(X -> Y)", lambda t: t.y[:, 1] - t.y[:, 0], lambda t: t.x == 0),
    "necessity": (
        "PN(X -> Y: 2 vs 0)", lambda t: t.y[:, 0] == 0, lambda t: (t.x == 1) & (t.y[:, 1] == 2),
    ),
    "sufficiency": (
        "PS(X -> Y: 2 vs 0)", lambda t: t.y[:, 1] == 2, lambda t: (t.x == 0) & (t.y[:, 0] == 0),
    ),
    "both": ("PNS(X -> Y: 2 vs 0)", lambda t: (t.y[:, 1] == 2) & (t.y[:, 0] == 0), None),
    "sum": (
        "E[2*Y_{X=0} - Y_{X=1} - Y_{X=2}]", lambda t: 2 * t.y[:, 0] - t.y[:, 1] - t.y[:, 2], None
    ),
    "with the factual": ("E[Y_{X=1} - Y]", lambda t: t.y[:, 1] - t.seen, None),
}  # fmt: skip


@pytest.mark.parametrize("name", QUERIES)
def test_the_ends_are_those_of_a_linear_program(name):
    query, value, given = QUERIES[name]
    rng = np.random.default_rng(sum(map(ord, name)))
    for _ in range(INSTANCES // len(QUERIES) + 1):
        joint = random_joint(rng, 3, 3)
        truth = PotentialOutcomes(joint, (0, 1, 2))
        wanted = truth.ends(
            value(truth).astype(float), None if given is None else given(truth).astype(float)
        )
        found = ends(BOW, query, Factor(("X", "Y"), joint), outcome_range=(0, 2))
        assert found == approx(wanted, abs=1e-9)


def test_manskis_formula_on_many_laws():
    rng = np.random.default_rng(0)
    for _ in range(INSTANCES):
        joint = random_joint(rng, 2, 2)
        p, m = joint[1].sum(), joint[1, 1] / joint[1].sum()
        found = ends(BOW, "E[Y_{X=1}]", Factor(("X", "Y"), joint))
        assert found == approx((m * p, m * p + 1 - p), abs=1e-12)
        effect = ends(BOW, "ATE(X -> Y)", Factor(("X", "Y"), joint))
        assert effect[1] - effect[0] == approx(1, abs=1e-12)


def test_the_truth_of_random_confounded_models_lies_within():
    graph = ADMG.parse("Z -> X -> M -> Y; X -> Y; Z -> Y; X <-> Y; Z <-> M")
    queries = (
        "ATE(X -> Y)", "P(Y=1 | do(X=0))", "CATE(X -> Y | Z=1)", "ETT(X -> Y)", "PN(X -> Y)",
        "P(Y=1 | do(X=1), M=0)", "NDE(X -> Y; M)", "NIE(X -> Y; M)", "P(Y_{X=1, M=0}=1, Z=1)",
        "CDE(X -> Y | do(M=1))", "E[Y_{X=1} - Y_{X=0} | X=1, Y=1]",
    )  # fmt: skip
    for seed in range(12):
        model = random_finite_model(graph, seed=seed, latent_states=4, concentration=0.3)
        problems = [
            BoundProblem(graph, parse_query(q), laws={OBSERVED: model.law()}) for q in queries
        ]
        for problem in problems:
            found, truth = solve(problem), model.probability(problem.query)
            assert found.lower - 1e-9 <= truth <= found.upper + 1e-9, problem.query


def test_a_condition_in_another_world_may_hold_or_not_for_units_that_are_not_seen():
    # M_{X=1} is not seen where X = 0: the least share of Y among M = 1 adds all of these as 0
    graph = ADMG.parse("X -> M -> Y; X <-> M; X <-> Y")
    rng = np.random.default_rng(1)
    joint = random_joint(rng, 2, 2, 2)
    found = ends(graph, "P(Y=1 | do(X=1), M=1)", Factor(("X", "M", "Y"), joint))
    sure, event, unseen = joint[1, 1].sum(), joint[1, 1, 1], joint[0].sum()
    assert found == approx((event / (sure + unseen), (event + unseen) / (sure + unseen)), abs=1e-12)


def test_interventions_that_cannot_reach_the_outcome_change_nothing():
    graph = ADMG.parse("Y -> X; X <-> Y")
    law = Factor(("X", "Y"), [[0.1, 0.2], [0.3, 0.4]])
    assert ends(graph, "P(Y=1 | do(X=1))", law) == approx((0.6, 0.6))


def test_open_values_make_a_table():
    law = Factor(("X", "Y"), [[0.1, 0.2], [0.3, 0.4]])
    found = solve(BoundProblem(BOW, parse_query("P(Y | do(X))"), laws={OBSERVED: law}))
    assert found.axes == {"Y": (0, 1), "X": (0, 1)}
    assert found.lower == approx(np.array([[0.1, 0.3], [0.2, 0.4]]))
    assert found.upper == approx(np.array([[0.8, 0.6], [0.9, 0.7]]))


def test_sharpness_is_claimed_only_where_the_diagram_says_nothing_more():
    law = random_finite_model(ADMG.parse("Z -> X -> Y; X <-> Y"), seed=0).law()
    cases = {
        "Z -> X -> Y; X <-> Y": False,  # an instrument
        "Z -> X -> Y; X <-> Y; Z -> Y": True,
        "Z -> X -> Y; X <-> Y; Z <-> Y": True,
        "X -> Y; Z -> Y; Z -> X": False,  # identified
    }
    for text, is_sharp in cases.items():
        problem = BoundProblem(
            ADMG.parse(text),
            parse_query("ATE(X -> Y)"),
            laws={OBSERVED: law.align(["Z", "X", "Y"])},
        )
        assert solve(problem).is_sharp == is_sharp, text


def test_a_stratum_without_rows_has_the_whole_range():
    table = Table.from_any({"Z": [0, 0, 1], "X": [0, 1, 1], "Y": [3.0, 4.0, 5.0]})
    graph = ADMG.parse("Z -> X -> Y; X <-> Y; Z -> Y")
    problem = BoundProblem(
        graph, parse_query("E[Y_{X=0} | Z, X]"), {OBSERVED: table}, outcome_range=(0, 10)
    )
    found = solve(problem)
    assert found.axes == {"X": (0, 1), "Z": (0, 1)}
    assert found.lower.tolist() == [[3, 0], [0, 0]]
    assert found.upper.tolist() == [[3, 10], [10, 10]]
    assert "1 of 4 strata hold no row" in found.interpret()


def test_weights_count_rows_and_draws_repeat():
    table = Table.from_any({"X": [0, 0, 1, 1], "Y": [0, 1, 0, 1]})
    weights = {OBSERVED: np.array([5.0, 3.0, 2.0, 10.0])}
    expanded = table.rows(np.repeat(np.arange(4), [5, 3, 2, 10]))
    query = parse_query("ATE(X -> Y)")
    weighted = solve(BoundProblem(BOW, query, {OBSERVED: table}, weights))
    plain = solve(BoundProblem(BOW, query, {OBSERVED: expanded}))
    assert weighted.lower == plain.lower
    assert np.array_equal(weighted.draws, plain.draws)


def test_refusals_and_errors_name_what_is_missing():
    table = Table.from_any({"X": [0, 1, 1], "Y": [0.5, 1.5, 2.5], "T": ["a", "b", "b"]})
    graph = ADMG.parse("X -> Y; X <-> Y; X -> T; W -> X")

    def problem(query, **settings):
        return BoundProblem(graph, parse_query(query), {OBSERVED: table}, **settings)

    method = NoAssumptions()
    assert "declare outcome_range" in method.refusal(problem("ATE(X -> Y)"))
    assert "T is text" in method.refusal(problem("E[T_{X=1}]", outcome_range=(0, 1)))
    assert "lack W" in method.refusal(problem("P(Y > 1 | do(X=1), W=1)"))
    with pytest.raises(DataError, match="outside the outcome_range"):
        solve(problem("ATE(X -> Y)", outcome_range=(0, 1)))
    with pytest.raises(DataError, match="X=7 never occurs"):
        solve(problem("P(Y > 1 | do(X=7))"))
    with pytest.raises(DataError, match="num_draws"):
        NoAssumptions(num_draws=0)


def mean_difference(x, y, seed):
    # the categories are declared, as a small sample may lack one
    column = pd.Categorical.from_codes(x, ["a", "b"])
    table = Table.from_any({"X": column, "Y": y})
    query = parse_query("E[Y_{X=b} - Y_{X=a}]")
    problem = BoundProblem(BOW, query, {OBSERVED: table}, outcome_range=(0, 1))
    return NoAssumptions(300).solve(problem, seed=seed)


@pytest.mark.slow
def test_the_interval_holds_the_bounds_at_least_as_often_as_stated():
    # 500 samples; a coverage of .95 falls below .92 less often than once in 700 runs
    rng = np.random.default_rng(0)
    for joint, size in (([[0.3, 0.2], [0.1, 0.4]], 200), ([[0.55, 0.02], [0.03, 0.4]], 25)):
        truth = ends(BOW, "ATE(X -> Y)", Factor(("X", "Y"), joint))
        held = 0
        for seed in range(500):
            cells = rng.choice(4, size, p=np.ravel(joint))
            found = mean_difference(cells // 2, cells % 2, seed)
            low, high = found.interval()
            held += bool(low <= truth[0] and truth[1] <= high)
        assert held >= 0.92 * 500, (joint, size, held)


# Tables.


def test_manski_bounds_of_one_mean():
    log = {"arm": ["a", "a", "b", "b"], "pay": [10.0, 20, 30, 50]}
    found = manski_bounds(log, "arm", "pay", "b", outcome_range=(0, 100), seed=0)
    assert (float(found.lower), float(found.upper)) == approx((20, 70))
    never = manski_bounds(log, "arm", "pay", "c", outcome_range=(0, 100), seed=0)
    assert (float(never.lower), float(never.upper)) == (0, 100)


def test_bounds_for_all_states_and_actions_of_a_log():
    rng = np.random.default_rng(0)
    log = {"S": rng.integers(0, 3, 300), "A": rng.integers(0, 2, 300), "R": rng.random(300)}
    found = causal_q_bounds(
        log, "S", "A", "R", actions=[0, 1, 2], states={"S": [0, 1, 2, 3]}, seed=0
    )
    assert found.lower.shape == (4, 3)
    for s, a in np.ndindex(3, 2):
        here, both = log["S"] == s, (log["S"] == s) & (log["A"] == a)
        share, mean = both.sum() / here.sum(), log["R"][both].mean()
        assert float(found.at(S=s, A=a).lower) == approx(mean * share)
        assert float(found.at(S=s, A=a).upper) == approx(mean * share + 1 - share)
    for cell in (found.at(A=2), found.at(S=3)):  # never taken, never visited
        assert (cell.lower == 0).all()
        assert (cell.upper == 1).all()


def test_two_columns_make_the_state_and_weights_count():
    log = {"S": [0, 0, 1], "T": ["u", "v", "v"], "A": [0, 1, 1], "R": [1, 0, 1], "n": [2, 3, 4]}
    found = causal_q_bounds(log, ["S", "T"], "A", "R", weights="n", seed=0)
    assert list(found.axes) == ["S", "T", "A"]
    assert float(found.at(S=1, T="v", A=1).lower) == 1
    assert float(found.at(S=1, T="u", A=1).width) == 1


def test_what_was_never_tried_is_refused_on_request():
    log = {"S": [0, 0, 1], "A": [0, 1, 1], "R": [1, 0, 1]}
    with pytest.raises(NotIdentifiableError, match="A=0 was never taken where S=1") as caught:
        causal_q_bounds(log, "S", "A", "R", require_identified=True)
    assert caught.value.hedge == ({"S": 1}, 0)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"R": [1, 0, 2]}, "outside the outcome_range"),
        ({"R": [1, 0, None]}, "missing values"),
        ({"R": ["a", "b", "c"]}, "no number"),
    ],
)
def test_logs_that_cannot_be_used_are_refused(change, match):
    log = {"S": [0, 0, 1], "A": [0, 1, 1], "R": [1, 0, 1]} | change
    with pytest.raises(DataError, match=match):
        causal_q_bounds(log, "S", "A", "R")


@pytest.mark.parametrize("outcome_range", [(1, 0), (0, np.inf), 3, ("a", "b")])
def test_ranges_are_checked(outcome_range):
    with pytest.raises(DataError, match="outcome_range is"):
        manski_bounds({"A": [0, 1], "R": [0, 1]}, "A", "R", 0, outcome_range=outcome_range)


def test_many_states_are_answered_where_they_are_listed():
    rng = np.random.default_rng(0)
    log = {"S": rng.integers(60, size=600), "A": rng.integers(2, size=600), "R": [0, 1] * 300}
    with pytest.raises(DataError, match="list the values"):
        causal_q_bounds(log, "S", "A", "R", seed=0)
    found = causal_q_bounds(log, "S", "A", "R", states={"S": range(60)}, seed=0)
    here = (log["S"] == 7) & (log["A"] == 1)
    assert found.lower.shape == (60, 2)
    expected = (np.array(log["R"])[here]).sum() / (log["S"] == 7).sum()
    assert found.at(S=7, A=1).lower == pytest.approx(expected)
