"""Optimal sets against all others: by the rules that compare two sets, and by variances."""

import numpy as np
import pytest

from causalppl.exceptions import AssumptionError
from causalppl.graphs import ADMG, is_separated
from causalppl.identification.adjustment import adjustment_sets, all_adjustment_sets
from causalppl.identification.minimum_cost_adjustment import find_minimum_cost_adjustment_set
from causalppl.identification.optimal_adjustment import (
    optimal_adjustment_set,
    optimal_minimal_adjustment_set,
)

from .paths import covariance, linear_model, random_diagrams, regression


def best_sets(graph, X, Y, sets):
    """Those of some adjustment sets that the rules of comparison put before all others.

    A is at least as good as B if B \\ A tells nothing about Y beyond A and X, and A \\ B nothing
    about X beyond B (Henckel, Perkovic and Maathuis 2022; Rotnitzky and Smucler 2020); and so on
    along chains.
    """
    better = np.array([
        [
            is_separated(graph, Y, B - A, A | X) and is_separated(graph, X, A - B, B)
            for B in sets
        ]
        for A in sets
    ]).reshape(len(sets), len(sets))  # fmt: skip
    for k in range(len(sets)):
        better |= better[:, [k]] & better[[k], :]
    return [A for A, row in zip(sets, better, strict=True) if row.all()]


def variance(graph, model, X, Y, Z):
    """Asymptotic variances of the estimated effects of X on Y that adjust for Z."""
    sigma = covariance(*model)
    x, y, z = ([graph.nodes.index(v) for v in part] for part in (X, Y, Z))
    both = [*x, *z]
    within_x = sigma[np.ix_(x, x)]
    if z:
        within_x = within_x - sigma[np.ix_(x, z)] @ np.linalg.solve(
            sigma[np.ix_(z, z)], sigma[np.ix_(z, x)]
        )
    residual = sigma[np.ix_(y, y)] - regression(sigma, y, both, []) @ sigma[np.ix_(both, y)]
    return np.outer(np.diag(residual), np.diag(np.linalg.inv(within_x)))


def problems(count, seed, **options):
    rng = np.random.default_rng(seed)
    for graph in random_diagrams(count, seed, sizes=(3, 6), **options):
        order = graph.topological_order()
        i, j = sorted(rng.permutation(len(order))[:2])
        if order[j] in graph.descendants(order[i]):
            yield graph, frozenset((order[i],)), frozenset((order[j],)), rng


@pytest.mark.parametrize("bidirected", [0.1, 0.35])
def test_what_is_returned_is_optimal_and_little_is_missed(bidirected):
    found = missed = refused = 0
    for graph, X, Y, _ in problems(2500, seed=1, directed=0.3, bidirected=bidirected):
        sets = list(all_adjustment_sets(graph, X, Y))
        if not sets:
            assert optimal_adjustment_set(graph, X, Y) is None
            continue
        best = best_sets(graph, X, Y, sets)
        try:
            optimal = optimal_adjustment_set(graph, X, Y)
        except AssumptionError:
            missed += bool(best)
            refused += not best
        else:
            assert optimal in best, graph
            found += 1
    assert found > 100
    assert missed < found / 20
    assert refused or bidirected < 0.3


def test_no_set_has_a_smaller_variance():
    compared = 0
    for graph, X, Y, rng in problems(400, seed=2, directed=0.35, bidirected=0.15):
        try:
            optimal = optimal_adjustment_set(graph, X, Y)
        except AssumptionError:
            continue
        if optimal is None:
            continue
        for _ in range(2):
            model = linear_model(graph, rng)
            least = variance(graph, model, X, Y, optimal)
            for Z in all_adjustment_sets(graph, X, Y):
                assert (least <= variance(graph, model, X, Y, Z) * (1 + 1e-9)).all()
                compared += Z != optimal
    assert compared > 500


def test_several_causes_and_effects_without_latent_variables():
    rng = np.random.default_rng(3)
    compared = 0
    for graph in random_diagrams(500, seed=3, sizes=(4, 6), directed=0.4, bidirected=0):
        nodes = rng.permutation(list(graph.nodes)).tolist()
        X, Y = frozenset(nodes[:2]), frozenset(nodes[2:3])
        if not graph.descendants(X) >= Y:
            continue
        optimal = optimal_adjustment_set(graph, X, Y)
        valid = list(all_adjustment_sets(graph, X, Y))
        assert (optimal is None) == (not valid)
        model = linear_model(graph, rng)
        for Z in valid:
            least, other = (variance(graph, model, sorted(X), Y, S) for S in (optimal, Z))
            assert (least <= other * (1 + 1e-9)).all()
            compared += Z != optimal
    assert compared > 50


def test_nodes_that_are_not_observed_are_as_good_as_latent():
    answers = set()
    for graph, X, Y, rng in problems(400, seed=4, directed=0.4, bidirected=0.05):
        within = {v for v in sorted(set(graph) - X - Y) if rng.random() < 0.6}
        try:
            optimal = optimal_adjustment_set(graph, X, Y, within=within)
        except AssumptionError:
            answers.add("refused")
            continue
        valid = list(all_adjustment_sets(graph, X, Y, within=within))
        assert (optimal is None) == (not valid)
        model = linear_model(graph, rng)
        for Z in valid:
            least, other = (variance(graph, model, X, Y, S) for S in (optimal, Z))
            assert (least <= other * (1 + 1e-9)).all()
        answers.add(optimal is None)
    assert {True, False} <= answers


def test_the_nearest_minimal_set_is_the_best_of_the_minimal_ones():
    several = 0
    for graph, X, Y, _ in problems(3000, seed=5, directed=0.4, bidirected=0.15):
        sets = list(adjustment_sets(graph, X, Y))
        found = optimal_minimal_adjustment_set(graph, X, Y)
        if not sets:
            assert found is None
            continue
        assert found in best_sets(graph, X, Y, sets)
        several += len(sets) > 1
    assert several > 20


def test_the_cheapest_set_found_is_the_best_of_the_cheapest():
    several = 0
    for graph, X, Y, rng in problems(4000, seed=6, directed=0.4, bidirected=0.1):
        cost = {v: float(rng.choice([1, 2, 3])) for v in graph}
        sets = list(all_adjustment_sets(graph, X, Y))
        if not sets:
            continue
        least = min(sum(cost[v] for v in Z) for Z in sets)
        cheapest = [Z for Z in sets if sum(cost[v] for v in Z) == least]
        found = find_minimum_cost_adjustment_set(graph, X, Y, cost=cost)
        assert found in best_sets(graph, X, Y, cheapest)
        several += len(cheapest) > 1
    assert several > 5


def test_which_set_is_best_may_depend_on_the_coefficients():
    # adjusting for the collider C tells about Y, but then needs A, which tells about X
    graph = ADMG.parse("X -> Y; C <-> Y; A -> {X, C}")
    with pytest.raises(AssumptionError, match="no adjustment set for the effect of X on Y"):
        optimal_adjustment_set(graph, "X", "Y")
    assert optimal_minimal_adjustment_set(graph, "X", "Y") == frozenset()


def test_what_the_theory_does_not_cover_is_refused():
    graph = ADMG.parse("X -> Y; W -> Y; A -> {X, B}; A <-> B")
    with pytest.raises(AssumptionError, match="X does not affect B"):
        optimal_adjustment_set(graph, "X", {"Y", "B"})
    with pytest.raises(AssumptionError, match="X has several nodes"):
        optimal_adjustment_set(graph, {"X", "W"}, "Y")
    assert optimal_adjustment_set(ADMG.parse("X -> Y; X <-> Y"), "X", "Y") is None
