"""Bounds by response functions, against brute force, formulas and the truth of random models."""

import itertools

import numpy as np
import pytest

from causalppl.bounds.canonical import Canonical
from causalppl.bounds.closed_forms import (
    balke_pearl_ate_bounds,
    balke_pearl_do_bounds,
    tian_pearl_bounds,
)
from causalppl.bounds.method import OBSERVED, BoundProblem
from causalppl.data import Factor
from causalppl.exceptions import ImpossibleEvidenceError, NotIdentifiableError, QueryError
from causalppl.graphs import ADMG
from causalppl.identification import identify
from causalppl.programs.finite import random_finite_model
from causalppl.queries import Contrast, parse_query
from tests.bounds.brute_force import brute_force_bounds

IV = "Z -> X -> Y; X <-> Y"
BOW = "X -> Y; X <-> Y"
MEDIATION = "X -> M -> Y; X -> Y; M <-> Y"
ALL = "X -> M -> Y; X <-> M; M <-> Y; X <-> Y"
COVARIATE = "W -> X -> Y; W -> Y; X <-> Y"

KINDS = [
    (IV, 2, "ATE(X -> Y)"),
    (IV, 2, "ETT(X -> Y)"),
    (IV, 2, "PNS(X -> Y)"),
    (IV, 2, "PN(X -> Y)"),
    (IV, 2, "E[Y_{X=1} - Y_{X=0} | X_{Z=0}=0, X_{Z=1}=1]"),
    (IV, {"Z": 3, "X": 2, "Y": 2}, "ATE(X -> Y)"),
    (IV, {"Z": 2, "X": 3, "Y": 2}, "P(Y=1 | do(X=2))"),
    (IV, {"Z": 2, "X": 2, "Y": 3}, "E[Y | do(X=1), Z=0]"),
    (BOW, 3, "P(Y_{X=2}=1, Y_{X=0}=0 | X=1)"),
    (BOW, {"X": 2, "Y": 4}, "E[Y_{X=1} - Y_{X=0} | Y=2]"),
    (MEDIATION, 2, "NDE(X -> Y)"),
    (MEDIATION, 2, "NIE(X -> Y)"),
    (MEDIATION, 2, "CDE(X -> Y | do(M=1))"),
    (MEDIATION, 2, "P(Y_{X=1, M_{X=0}}=1 | X=0, M=1)"),
    (ALL, 2, "P(Y=1 | do(M=1), X=0)"),
    (ALL, 2, "PS(X -> Y)"),
    (COVARIATE, 2, "CATE(X -> Y | W=1)"),
    (COVARIATE, 2, "P(Y_{X=1, W=0}=1 | X=0)"),
]


def exact(model, query, **settings):
    problem = BoundProblem(model.graph, parse_query(query), laws={OBSERVED: model.law()})
    method = Canonical(**settings)
    assert method.refusal(problem) is None
    return method.solve(problem, seed=0)


def ends(bounds):
    return float(bounds.lower), float(bounds.upper)


def parts_of(query, mediators=("M",)):
    parsed = parse_query(query)
    if not isinstance(parsed, Contrast):
        return ((1.0, parsed),)
    return parsed.expand(mediators if parsed.kind in ("NDE", "NIE") else ())


def check_against_brute_force(kind, seeds):
    text, states, query = kind
    graph = ADMG.parse(text)
    for seed in seeds:
        # some laws are extreme, so that bounds touch their limits
        model = random_finite_model(
            graph, states=states, seed=seed, concentration=1.0 if seed % 2 else 0.2
        )
        found = exact(model, query)
        low, high = brute_force_bounds(model, parts_of(query))
        assert float(found.lower) == pytest.approx(low, abs=1e-9)
        assert float(found.upper) == pytest.approx(high, abs=1e-9)
        assert found.is_sharp
        assert not found.slack


@pytest.mark.parametrize("kind", KINDS, ids=[f"{q} {s} {g}" for g, s, q in KINDS])
def test_ends_are_those_of_the_unreduced_program(kind):
    check_against_brute_force(kind, range(2))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=[f"{q} {s} {g}" for g, s, q in KINDS])
def test_ends_are_those_of_the_unreduced_program_on_many_models(kind):
    check_against_brute_force(kind, range(2, 302))


@pytest.mark.parametrize("seed", range(10))
def test_binary_instruments_give_balke_and_pearls_bounds(seed):
    model = random_finite_model(ADMG.parse(IV), seed=seed, concentration=0.3)
    table = model.law().values.numpy()
    given = table / table.sum((1, 2), keepdims=True)
    ate = exact(model, "ATE(X -> Y)")
    assert ends(ate) == pytest.approx(balke_pearl_ate_bounds(given), abs=1e-9)
    does = exact(model, "P(Y=1 | do(X))")
    for x in (0, 1):
        chosen = does.at(X=x)
        expected = balke_pearl_do_bounds(given, x)
        assert ends(chosen) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("kind", ["PN", "PS", "PNS"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("monotone", [False, True])
@pytest.mark.parametrize("evidence", ["observed", "both", "exogenous"])
def test_causes_have_tian_and_pearls_bounds(kind, seed, monotone, evidence):
    confounding = {} if evidence == "exogenous" else {"latent_states": 3}
    text = "X -> Y" if evidence == "exogenous" else BOW
    # without private noise and confounded by a quantile coupling, responses are monotone or not
    model = random_finite_model(ADMG.parse(text), seed=seed, **confounding)
    if monotone:
        model = _monotone_model(model)
    experiments = tuple(model.probability(f"P(Y=1 | do(X={x}))") for x in (0, 1))
    laws = {OBSERVED: model.law()}
    if evidence == "both":
        laws[None, frozenset({"X"})] = model.law({"X": None})
    problem = BoundProblem(model.graph, parse_query(f"{kind}(X -> Y)"), laws=laws)
    settings = {"monotone": (("X", "Y"),)} if monotone else {}
    found = Canonical(**settings).solve(problem, seed=0)
    if evidence == "observed" and monotone:
        known = {}  # their formulas then need an experiment; check against those with none
        low, high = tian_pearl_bounds(kind, model.law().values, **known)
        assert low - 1e-9 <= found.lower
        assert found.upper <= high + 1e-9
        return
    expected = tian_pearl_bounds(
        kind,
        model.law().values,
        experiments=experiments if evidence == "both" else None,
        exogenous=evidence == "exogenous",
        monotone=monotone,
    )
    assert ends(found) == pytest.approx(expected, abs=1e-9)


def _monotone_model(model):
    """Make Y rise with X in every state of the latents: the quantile coupling has no defiers."""
    tables = dict(model.tables)
    tables["Y"] = np.sort(tables["Y"][..., 1], axis=0)
    tables["Y"] = np.stack([1 - tables["Y"], tables["Y"]], -1)
    return type(model)(model.graph, tables, model.latents)


def random_diagram(rng, count, directed=0.6, bidirected=0.35):
    names = list("ABCDE"[:count])
    pairs = list(itertools.combinations(names, 2))
    return ADMG(
        names,
        [pair for pair in pairs if rng.random() < directed],
        [pair for pair in pairs if rng.random() < bidirected],
    )


def random_question(rng, names):
    x, y, *rest = rng.permutation(names).tolist()
    shapes = [
        f"P({y}=1 | do({x}=1))",
        f"ATE({x} -> {y})",
        f"ETT({x} -> {y})",
        f"PNS({x} -> {y})",
        f"PN({x} -> {y})",
        f"P({y}=1 | do({x}=0), {rest[0]}=1)",
        f"P({y}_{{{x}=1}}=1 | {rest[0]}=0)",
    ]
    return shapes[rng.integers(len(shapes))]


def check_random_instance(seed, count, **settings):
    rng = np.random.default_rng(seed)
    graph = random_diagram(rng, count)
    query = random_question(rng, list(graph.nodes))
    model = random_finite_model(graph, seed=seed)
    found = exact(model, query, **settings)
    truth = model.probability(query)
    assert found.lower - 1e-7 <= truth <= found.upper + 1e-7, (graph, query)
    try:
        identify(graph, parse_query(query))
    except NotIdentifiableError:
        return
    if not found.slack and found.is_sharp:
        assert found.width < 1e-8, (graph, query)


@pytest.mark.parametrize("seed", range(24))
def test_bounds_hold_the_truth_and_close_where_it_is_identified(seed):
    check_random_instance(seed, 3)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_bounds_hold_the_truth_of_larger_models(block):
    for seed in range(100 + 10 * block, 110 + 10 * block):
        check_random_instance(seed, 4, time_limit=1.0, max_types=50_000)


def test_open_values_are_axes():
    model = random_finite_model(ADMG.parse(IV), states=3, seed=1)
    found = exact(model, "P(Y | do(X), Z)")
    assert dict(found.axes) == {"Y": (0, 1, 2), "Z": (0, 1, 2), "X": (0, 1, 2)}
    truth = model.table("P(Y | do(X), Z)").values.numpy()
    assert (found.lower - 1e-9 <= truth).all()
    assert (truth <= found.upper + 1e-9).all()


def test_bounds_are_never_wider_than_without_an_instrument():
    for seed in range(10):
        model = random_finite_model(ADMG.parse(IV), seed=seed)
        joint = model.law().values.numpy().sum(0)
        found = exact(model, "P(Y=1 | do(X=1))")
        assert joint[1, 1] - 1e-9 <= found.lower
        assert found.upper <= 1 - joint[1, 0] + 1e-9


def test_monotone_effects_narrow_the_bounds_and_identify_compliers():
    model = _monotone_treatment(random_finite_model(ADMG.parse(IV), seed=4))
    query = "E[Y_{X=1} - Y_{X=0} | X_{Z=0}=0, X_{Z=1}=1]"
    wide, narrow = exact(model, query), exact(model, query, monotone=(("Z", "X"),))
    assert narrow.width < 1e-8 < wide.width
    assert float(narrow.lower) == pytest.approx(model.probability(query), abs=1e-7)


def _monotone_treatment(model):
    tables = dict(model.tables)
    chance = np.sort(tables["X"][..., 1], axis=0)
    tables["X"] = np.stack([1 - chance, chance], -1)
    return type(model)(model.graph, tables, model.latents)


def test_unknown_values_are_named():
    model = random_finite_model(ADMG.parse(BOW), seed=0)
    with pytest.raises(QueryError, match="X is set to 5"):
        exact(model, "P(Y=1 | do(X=5))")
    with pytest.raises(QueryError, match="Y=7 is asked about"):
        exact(model, "P(Y=7)")


def test_impossible_evidence_is_refused_and_free_evidence_is_not():
    graph = ADMG.parse(BOW)
    law = Factor(("X", "Y"), [[0.4, 0.6], [0.0, 0.0]])

    def solved(query):
        return Canonical().solve(
            BoundProblem(graph, parse_query(query), laws={OBSERVED: law}), seed=0
        )

    with pytest.raises(ImpossibleEvidenceError, match="probability zero"):
        solved("P(Y_{X=0}=1 | X=1)")
    free = solved("P(Y=1 | do(X=1))")  # no unit has X = 1, so nothing is known
    assert ends(free) == pytest.approx((0, 1), abs=1e-9)
    among = solved("P(Y=1 | Y_{X=1}=1)")  # what is given is not identified
    assert ends(among) == pytest.approx((0, 1), abs=1e-9)
