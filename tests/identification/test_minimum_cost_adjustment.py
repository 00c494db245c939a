"""The cheapest adjustment set against all of them."""

import math

import networkx as nx
import numpy as np
import pytest

from causalppl.exceptions import GraphError
from causalppl.graphs import ADMG
from causalppl.identification.adjustment import all_adjustment_sets, is_adjustment_set
from causalppl.identification.minimum_cost_adjustment import find_minimum_cost_adjustment_set
from causalppl.identification.minimum_cut import maximum_flow

from .paths import minimal, random_diagrams, random_sets


def test_the_cost_is_that_of_brute_force():
    rng = np.random.default_rng(1)
    several = 0
    for graph in random_diagrams(900, seed=11, sizes=(4, 6), directed=0.4):
        X, Y, rest = random_sets(graph, rng)
        within = {v for v in sorted(rest) if rng.random() < 0.9}
        including = {v for v in sorted(within) if rng.random() < 0.1}
        cost = {v: float(rng.choice([0, 0.1, 0.2, 0.3, 1, 2.5, math.inf])) for v in sorted(rest)}
        valid = list(all_adjustment_sets(graph, X, Y, including=including, within=within))
        cheapest = min((sum(cost[v] for v in Z) for Z in valid), default=math.inf)
        found = find_minimum_cost_adjustment_set(
            graph, X, Y, cost=cost, including=including, within=within
        )
        if cheapest == math.inf:
            assert found is None
            continue
        several += len(valid) > 2
        assert sum(cost[v] for v in found) == pytest.approx(cheapest)
        assert found in minimal(valid)
    assert several > 100


def test_without_costs_the_set_is_as_small_as_can_be():
    for graph in random_diagrams(300, seed=12, sizes=(4, 6)):
        X, Y = graph.nodes[:1], graph.nodes[1:2]
        sizes = [len(Z) for Z in all_adjustment_sets(graph, X, Y)]
        found = find_minimum_cost_adjustment_set(graph, X, Y)
        assert (found is None) if not sizes else len(found) == min(sizes)


def test_a_bottleneck_of_a_large_diagram_is_found():
    text = "; ".join(f"X <- A{i} -> B; B -> C{i} -> Y" for i in range(30)) + "; X -> Y"
    graph = ADMG.parse(text)
    assert find_minimum_cost_adjustment_set(graph, "X", "Y") == {"B"}
    found = find_minimum_cost_adjustment_set(graph, "X", "Y", cost={"B": 30.5})
    assert len(found) == 30
    assert is_adjustment_set(graph, "X", "Y", found)


def test_flow_is_that_of_networkx():
    rng = np.random.default_rng(3)
    for _ in range(100):
        capacity = np.triu(rng.integers(0, 6, (7, 7)), 1) * (rng.random((7, 7)) < 0.6)
        network = [{j: float(c) for j, c in enumerate(row) if c} for row in capacity]
        other = nx.DiGraph()
        other.add_nodes_from(range(7))
        other.add_weighted_edges_from(
            [(i, j, c) for i, row in enumerate(network) for j, c in row.items()], "capacity"
        )
        assert maximum_flow(network, 0, 6)[0] == nx.maximum_flow_value(other, 0, 6)


@pytest.mark.parametrize(
    ("cost", "message"),
    [({"Z": -1}, "the cost of Z is -1"), ({"Z": math.nan}, "the cost of Z is nan"),
     ({"W": 1}, "unknown node 'W'")],
)  # fmt: skip
def test_costs_that_make_no_sense_are_refused(cost, message):
    with pytest.raises(GraphError, match=message):
        find_minimum_cost_adjustment_set(ADMG.parse("Z -> {X, Y}; X -> Y"), "X", "Y", cost=cost)
