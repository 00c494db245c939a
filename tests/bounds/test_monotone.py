"""Monotone response, selection and instruments, against linear programs and nested in Manski's."""

import numpy as np
import pytest

from causalppl.bounds.manski import NoAssumptions
from causalppl.bounds.method import OBSERVED, BoundProblem
from causalppl.bounds.monotone import MonotoneResponse
from causalppl.bounds.monotone_instrument import MonotoneInstrument
from causalppl.bounds.monotone_selection import MonotoneSelection
from causalppl.data import Factor, Table
from causalppl.exceptions import AssumptionError, DataError
from causalppl.graphs import ADMG
from causalppl.queries import parse_query
from tests.bounds.potential_outcomes import PotentialOutcomes, random_joint

approx = pytest.approx
BOW = ADMG.parse("X -> Y; X <-> Y")
INSTANCES = 300
QUERIES = {
    # query, what is averaged, factual condition
    "mean": ("E[Y_{X=1}]", lambda t: t.y[:, 1], None),
    "lowest": ("E[Y_{X=0}]", lambda t: t.y[:, 0], None),
    "step": ("ATE(X: 2 vs 1 -> Y)", lambda t: t.y[:, 2] - t.y[:, 1], None),
    "step down": ("ATE(X: 0 vs 2 -> Y)", lambda t: t.y[:, 0] - t.y[:, 2], None),
    "on the treated": ("ETT(X: 2 vs 0 -> Y)", lambda t: t.y[:, 2] - t.y[:, 0], lambda t: t.x == 2),
    "on controls": ("ATC(X: 2 vs 1 -> Y)", lambda t: t.y[:, 2] - t.y[:, 1], lambda t: t.x == 1),
}
OF_RESPONSE = QUERIES | {
    "sum": (
        "E[3*Y_{X=0} - Y_{X=1} + 2*Y_{X=2}]",
        lambda t: 3 * t.y[:, 0] - t.y[:, 1] + 2 * t.y[:, 2],
        None,
    ),
    "threshold": ("P(Y >= 1 | do(X=1))", lambda t: t.y[:, 1] >= 1, None),
    "below": ("P(Y < 1 | do(X=1))", lambda t: t.y[:, 1] < 1, None),
    "highest": ("P(Y=2 | do(X=2))", lambda t: t.y[:, 2] == 2, None),
}


def solve(method, graph, query, law, **settings):
    problem = BoundProblem(graph, parse_query(query), laws={OBSERVED: law}, **settings)
    assert method.refusal(problem) is None, method.refusal(problem)
    found = method.solve(problem, seed=0)
    return float(found.lower), float(found.upper)


def rises(types):
    return list(types) == sorted(types)


def falls(types):
    return list(types) == sorted(types, reverse=True)


def given_of(given, truth):
    return None if given is None else given(truth).astype(float)


@pytest.mark.parametrize("name", OF_RESPONSE)
@pytest.mark.parametrize("increasing", [True, False])
def test_the_ends_of_a_monotone_response_are_those_of_a_linear_program(name, increasing):
    query, value, given = OF_RESPONSE[name]
    rng = np.random.default_rng(len(name))
    method = MonotoneResponse(increasing)
    for _ in range(INSTANCES // len(OF_RESPONSE) // 2 + 1):
        joint = random_joint(rng, 3, 3)
        truth = PotentialOutcomes(joint, (0, 1, 2), rises if increasing else falls)
        wanted = truth.ends(value(truth).astype(float), given_of(given, truth))
        found = solve(method, BOW, query, Factor(("X", "Y"), joint), outcome_range=(0, 2))
        assert found == approx(wanted, abs=1e-9)


@pytest.mark.parametrize("increasing", [True, False])
@pytest.mark.parametrize("kind", ["PNS", "PN", "PS"])
def test_causation_with_a_monotone_response(kind, increasing):
    rng = np.random.default_rng(3)
    for _ in range(20):
        joint = random_joint(rng, 2, 2)
        truth = PotentialOutcomes(joint, (0, 1), rises if increasing else falls)
        value, given = {
            "PNS": ((truth.y[:, 1] == 1) & (truth.y[:, 0] == 0), np.ones(len(truth.x), bool)),
            "PN": (truth.y[:, 0] == 0, (truth.x == 1) & (truth.y[:, 1] == 1)),
            "PS": (truth.y[:, 1] == 1, (truth.x == 0) & (truth.y[:, 0] == 0)),
        }[kind]
        found = solve(
            MonotoneResponse(increasing), BOW, f"{kind}(X -> Y)", Factor(("X", "Y"), joint)
        )
        assert found == approx(truth.ends(value.astype(float), given.astype(float)), abs=1e-9)


@pytest.mark.parametrize("name", QUERIES)
def test_the_ends_of_monotone_selection_are_those_of_a_linear_program(name):
    # two values: then the mean says all, and nothing is lost by a grid of outcomes
    query, value, given = QUERIES[name]
    rng = np.random.default_rng(len(name))
    for _ in range(INSTANCES // len(QUERIES)):
        joint = random_joint(rng, 3, 2)
        truth = PotentialOutcomes(joint, (0, 1)).rises_with_selection()
        wanted = truth.ends(value(truth).astype(float), given_of(given, truth))
        found = solve(MonotoneSelection(), BOW, query, Factor(("X", "Y"), joint))
        assert found == approx(wanted, abs=1e-8)


@pytest.mark.parametrize("name", QUERIES)
def test_both_together_are_those_of_a_linear_program(name):
    query, value, given = QUERIES[name]
    rng = np.random.default_rng(len(name))
    method = MonotoneSelection(response=MonotoneResponse())
    for _ in range(INSTANCES // len(QUERIES)):
        shares, means = rng.dirichlet(np.ones(3)), np.sort(rng.random(3))
        joint = np.stack([shares * (1 - means), shares * means], 1)
        truth = PotentialOutcomes(joint, (0, 1), rises).rises_with_selection()
        wanted = truth.ends(value(truth).astype(float), given_of(given, truth))
        found = solve(method, BOW, query, Factor(("X", "Y"), joint))
        assert found == approx(wanted, abs=1e-8)


def test_the_closed_form_of_manski_and_pepper():
    shares, means = np.array([0.2, 0.3, 0.5]), np.array([0.1, 0.4, 0.8])
    joint = np.stack([shares * (1 - means), shares * means], 1)
    law, method = Factor(("X", "Y"), joint), MonotoneSelection(response=MonotoneResponse())
    low = 0.2 * 0.1 + 0.4 * 0.8  # corollary 1 of proposition 2, at level 1
    high = 0.4 * 0.5 + 0.5 * 0.8
    assert solve(method, BOW, "E[Y_{X=1}]", law) == approx((low, high))


METHODS = [
    MonotoneResponse(),
    MonotoneResponse(increasing=False),
    MonotoneSelection(),
    MonotoneSelection(increasing=False),
    MonotoneSelection(response=MonotoneResponse(increasing=False)),
    MonotoneInstrument("V"),
    MonotoneInstrument("V", increasing=False, response=MonotoneResponse()),
]


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_bounds_are_nested_in_those_without_assumptions(method):
    graph = ADMG.parse("V -> X -> Y; V -> Y; X <-> Y")
    rng = np.random.default_rng(7)
    answered = 0
    for _ in range(40):
        law = Factor(("V", "X", "Y"), random_joint(rng, 3, 2, 2))
        for query in ("ATE(X -> Y)", "P(Y=1 | do(X=1))", "P(Y=0 | do(X=0))"):
            low, high = solve(NoAssumptions(), graph, query, law)
            try:
                found = solve(method, graph, query, law)
            except AssumptionError:
                continue  # the law refutes the assumption
            answered += 1
            assert low - 1e-12 <= found[0] <= found[1] <= high + 1e-12
    assert answered >= 15


def test_a_monotone_instrument_takes_the_best_end_on_each_side():
    rng = np.random.default_rng(5)
    graph = ADMG.parse("V -> X -> Y; V -> Y; X <-> Y")
    checked = 0
    for _ in range(INSTANCES):
        joint = random_joint(rng, 3, 2, 2)
        share = joint.sum((1, 2))
        low = joint[:, 1, 1] / share  # of P(Y=1 | do(X=1), V)
        high = low + joint[:, 0].sum(1) / share
        least, most = np.maximum.accumulate(low), np.minimum.accumulate(high[::-1])[::-1]
        if (least > most).any():
            continue
        checked += 1
        found = solve(
            MonotoneInstrument("V"), graph, "P(Y=1 | do(X=1))", Factor(("V", "X", "Y"), joint)
        )
        assert found == approx((share @ least, share @ most), abs=1e-12)
        turned = solve(
            MonotoneInstrument("V"), graph, "P(Y=0 | do(X=1))", Factor(("V", "X", "Y"), joint)
        )
        assert turned == approx((1 - share @ most, 1 - share @ least), abs=1e-12)
    assert checked > 100


def test_data_can_refute_a_monotone_instrument():
    graph = ADMG.parse("V -> X -> Y; V -> Y; X <-> Y")
    joint = np.array([[[0.01, 0.01], [0.03, 0.45]], [[0.01, 0.01], [0.45, 0.03]]])
    problem = BoundProblem(
        graph, parse_query("P(Y=1 | do(X=1))"), laws={OBSERVED: Factor(("V", "X", "Y"), joint)}
    )
    with pytest.raises(AssumptionError, match="refute that it is monotone"):
        MonotoneInstrument("V").solve(problem, seed=0)
    assert MonotoneInstrument("V", increasing=False).solve(problem, seed=0).width < 0.1


def test_falling_means_refute_both_assumptions_together():
    law = Factor(("X", "Y"), [[0.1, 0.4], [0.4, 0.1]])
    problem = BoundProblem(BOW, parse_query("ATE(X -> Y)"), laws={OBSERVED: law})
    with pytest.raises(AssumptionError, match="against the direction"):
        MonotoneSelection(response=MonotoneResponse()).solve(problem, seed=0)
    rows = Table.from_any({"X": [0, 0, 0, 1, 1, 1], "Y": [0, 1, 1, 0, 0, 1]})  # by chance
    problem = BoundProblem(BOW, parse_query("ATE(X -> Y)"), {OBSERVED: rows})
    found = MonotoneSelection(response=MonotoneResponse()).solve(problem, seed=0)
    assert (found.lower, found.upper) == (0, approx(0))


def test_ordered_categories_are_given_as_levels():
    table = Table.from_any({"X": ["low", "high", "mid", "low"], "Y": [0, 1, 1, 0]})
    problem = BoundProblem(BOW, parse_query("ATE(X: high vs low -> Y)"), {OBSERVED: table})
    assert "no order" in MonotoneResponse().refusal(problem)
    assert "none of the levels" in MonotoneResponse(levels=["low", "high"]).refusal(problem)
    found = MonotoneResponse(levels=["low", "mid", "high"]).solve(problem, seed=0)
    assert (found.lower, found.upper) == (0, 1)


@pytest.mark.parametrize(
    ("query", "match"),
    [
        ("P(Y=1 | do(X=1))", "between others"),
        ("P(X=1)", "needs one treatment"),
        ("E[Y_{X=0} | Y_{X=1}=1]", "another world"),
    ],
)
def test_queries_that_do_not_rise_are_refused(query, match):
    law = Factor(("X", "Y"), np.full((2, 3), 1 / 6))
    problem = BoundProblem(BOW, parse_query(query), laws={OBSERVED: law})
    assert match in MonotoneResponse().refusal(problem)


def test_settings_are_checked():
    for wrong in (
        {"increasing": 1},
        {"levels": "ab"},
        {"levels": [1, 1]},
        {"num_draws": 3},
    ):
        with pytest.raises(DataError):
            MonotoneResponse(**wrong)
    with pytest.raises(DataError, match="response is"):
        MonotoneSelection(response=True)
    with pytest.raises(DataError, match="instrument is"):
        MonotoneInstrument(["V"])


@pytest.mark.slow
def test_the_intervals_hold_the_bounds_at_least_as_often_as_stated():
    # 500 samples; a coverage of .95 falls below .92 less often than once in 700 runs
    rng = np.random.default_rng(0)
    shares, means = np.array([0.3, 0.3, 0.4]), np.array([0.3, 0.5, 0.6])
    joint = np.stack([shares * (1 - means), shares * means], 1)
    query = parse_query("ATE(X: 2 vs 0 -> Y)")
    for method in (
        MonotoneResponse(num_draws=400),
        MonotoneSelection(num_draws=400),
        MonotoneSelection(response=MonotoneResponse(), num_draws=400),
    ):
        truth = solve(method, BOW, "ATE(X: 2 vs 0 -> Y)", Factor(("X", "Y"), joint))
        held = 0
        for seed in range(500):
            cells = rng.choice(6, 150, p=joint.reshape(-1))
            table = Table.from_any({"X": cells // 2, "Y": cells % 2})
            found = method.solve(BoundProblem(BOW, query, {OBSERVED: table}), seed=seed)
            low, high = found.interval()
            held += bool(low <= truth[0] + 1e-12 and truth[1] <= high + 1e-12)
        assert held >= 0.92 * 500, (method, held)
