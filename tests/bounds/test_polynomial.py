"""Bounds where laws of several districts are multiplied, against corners and other programs."""

import itertools

import numpy as np
import pytest
from scipy.optimize import linprog

from causalppl.bounds.canonical import Canonical
from causalppl.bounds.method import OBSERVED, BoundProblem
from causalppl.data import Table
from causalppl.exceptions import AssumptionError
from causalppl.graphs import ADMG
from causalppl.programs.finite import random_finite_model
from causalppl.queries import parse_query


def exact(model, query, **settings):
    problem = BoundProblem(model.graph, parse_query(query), laws={OBSERVED: model.law()})
    return Canonical(**settings).solve(problem, seed=0)


def corners_of_response(first, second):
    """The extreme joint laws of a binary response to 0 and to 1, which have chances of a 1."""
    for both in (max(0.0, first + second - 1), min(first, second)):
        yield np.array([[1 - first - second + both, second - both], [first - both, both]])


def corner_bounds(model, names):
    """Bound PNS along a chain of binary variables, a law for each link at its corners."""
    links = [
        list(corners_of_response(*model.table(f"P({b} | do({a}))").values.numpy()[1]))
        for a, b in itertools.pairwise(names)
    ]
    found = []
    for laws in itertools.product(*links):
        pair = np.zeros((2, 2))
        pair[0, 1] = 1.0  # the states under do(X=0) and do(X=1)
        for law in laws:
            after = np.zeros((2, 2))
            for low, high in np.ndindex(2, 2):
                for at_0, at_1 in np.ndindex(2, 2):
                    states = (at_0, at_1)
                    after[states[low], states[high]] += pair[low, high] * law[at_0, at_1]
            pair = after
        found.append(pair[0, 1])
    return min(found), max(found)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("names", ["XMY", "XABY"])
def test_causes_along_a_chain_have_the_bounds_of_their_corners(names, seed):
    model = random_finite_model(ADMG.parse(" -> ".join(names)), seed=seed, concentration=0.5)
    found = exact(model, "PNS(X -> Y)", gap=1e-7)
    low, high = corner_bounds(model, names)
    assert float(found.lower) == pytest.approx(low, abs=1e-6)
    assert float(found.upper) == pytest.approx(high, abs=1e-6)
    assert found.slack <= 1e-6


def confounded_instrument_bounds(model):
    """``P(Y=1 | do(X=1))`` where Z <-> X <-> Y: one program over ``P(x, r_Y | z)``."""
    law = model.law().values.numpy()
    given = law / law.sum((1, 2), keepdims=True)
    units = list(itertools.product(range(2), range(2), itertools.product(range(2), repeat=2)))
    rows, right = [], []
    for z, x, y in np.ndindex(2, 2, 2):
        rows.append([u[0] == z and u[1] == x and u[2][x] == y for u in units])
        right.append(given[z, x, y])
    for response in itertools.product(range(2), repeat=2):
        rows.append([(u[2] == response) * (1 - 2 * u[0]) for u in units])
        right.append(0.0)
    cost = np.array([(u[0] == 0) * u[2][1] for u in units], dtype=float)
    ends = [
        sign * linprog(sign * cost, A_eq=np.array(rows, dtype=float), b_eq=right).fun
        for sign in (1, -1)
    ]
    return tuple(ends)


@pytest.mark.parametrize("seed", range(10))
def test_responses_that_no_edge_joins_are_independent(seed):
    model = random_finite_model(ADMG.parse("Z -> X -> Y; Z <-> X <-> Y"), seed=seed)
    found = exact(model, "P(Y=1 | do(X=1))")
    expected = confounded_instrument_bounds(model)
    assert (float(found.lower), float(found.upper)) == pytest.approx(expected, abs=1e-7)
    assert found.is_sharp


@pytest.mark.parametrize("seed", range(4))
def test_independence_of_two_unknown_laws_gives_products_of_their_bounds(seed):
    graph = ADMG.parse("V -> A; W -> C; A -> B; C -> B; A <-> B <-> C")
    model = random_finite_model(graph, seed=seed, concentration=0.2)
    # what B does would tell of the responses of A and C, so it does nothing
    idle = dict(model.tables, B=np.full_like(model.tables["B"], 0.5))
    model = type(model)(graph, idle, model.latents)
    low, high = 1.0, 1.0
    for cause, effect in ("VA", "WC"):
        chances = model.table(f"P({effect} | do({cause}))").values.numpy()
        rises, stays = chances[1, 1], chances[0, 0]
        low, high = low * max(0.0, rises + stays - 1), high * min(rises, stays)
    found = exact(model, "P(A_{V=1}=1, A_{V=0}=0, C_{W=1}=1, C_{W=0}=0)", gap=1e-6)
    assert float(found.lower) == pytest.approx(low, abs=1e-5)
    assert float(found.upper) == pytest.approx(high, abs=1e-5)


def test_a_search_that_is_stopped_says_how_far_it_may_be_off():
    model = random_finite_model(ADMG.parse("X -> A -> B -> Y; X -> B; A -> Y"), seed=1)
    full = exact(model, "PNS(X -> Y)", gap=1e-6)
    stopped = exact(model, "PNS(X -> Y)", time_limit=0.0)
    assert stopped.lower - 1e-9 <= full.lower
    assert full.upper <= stopped.upper + 1e-9
    for off in (full.lower - stopped.lower, stopped.upper - full.upper):
        assert off <= stopped.slack + 1e-6
    assert stopped.is_sharp == (stopped.slack == 0)


def test_chains_of_latents_are_valid_and_not_called_sharp():
    model = random_finite_model(ADMG.parse("A <-> B <-> C <-> D; B -> D"), seed=0)
    found = exact(model, "PNS(B -> D)")
    assert not found.is_sharp
    assert "chain or a ring" in found.notes[0]
    assert found.contains(model.probability("PNS(B -> D)"))


def test_laws_that_fit_no_independent_responses_are_refused():
    # Z and Y depend on each other although no edge but through X joins them
    model = random_finite_model(ADMG.parse("Z -> X -> Y; Z <-> X <-> Y; Z <-> Y"), seed=3)
    graph = ADMG.parse("Z <-> X <-> Y; Z -> X")
    problem = BoundProblem(graph, parse_query("PNS(Z -> X)"), laws={OBSERVED: model.law()})
    with pytest.raises(AssumptionError, match="contradict the diagram"):
        Canonical().solve(problem, seed=0)


def test_resampled_ends_follow_the_ends():
    model = random_finite_model(ADMG.parse("X -> M -> Y"), seed=2)
    values = model.law().values.numpy()
    rng = np.random.default_rng(0)
    cells = np.unravel_index(rng.choice(8, size=300, p=values.reshape(-1)), values.shape)
    table = Table.from_any(dict(zip("XMY", cells, strict=True)))
    problem = BoundProblem(model.graph, parse_query("PNS(X -> Y)"), {OBSERVED: table})
    found = Canonical(num_draws=20).solve(problem, seed=0)
    assert found.draws.shape == (20, 2)
    assert 0.001 < found.draws[:, 1].std() < 0.1
    low, high = found.interval()
    assert low <= found.lower
    assert found.upper < high
