"""The front door against the criterion written out path by path, and against numbers."""

import numpy as np
import pytest

from causalppl.exceptions import GraphError
from causalppl.graphs import ADMG, random_admg
from causalppl.identification.front_door import (
    find_front_door_set,
    front_door_sets,
    is_front_door_set,
)

from .paths import (
    covariance,
    is_causal,
    is_open,
    is_proper,
    joint_effects,
    linear_model,
    minimal,
    open_between,
    paths,
    random_diagrams,
    random_sets,
    regression,
    subsets,
)


def leaves(path, cut):
    """Does a path use an arrow out of ``cut``?"""
    nodes, arrows = path
    return any(
        (a in cut and arrow == "->") or (b in cut and arrow == "<-")
        for a, arrow, b in zip(nodes, arrows, nodes[1:], strict=False)
    )


def front_door_by_paths(graph, X, Y, Z):
    met = all(set(path[0]) & set(Z) for x in X for path in paths(graph, x, Y) if is_causal(path))
    # conditions 2 and 3: open paths that are left when the arrows out of the start are cut
    to_mediators = open_between(graph, X, Z, (), lambda path: not leaves(path, X))
    from_mediators = open_between(graph, Z, Y, X, lambda path: not leaves(path, Z))
    return met and not to_mediators and not from_mediators


def cases(count, seed):
    rng = np.random.default_rng(seed)
    for graph in random_diagrams(count, seed, sizes=(3, 6), directed=0.45, bidirected=0.15):
        X, Y, rest = random_sets(graph, rng)
        yield graph, X, Y, rest, rng


def test_lists_and_verdicts_are_those_of_the_paths():
    counts = []
    for graph, X, Y, rest, rng in cases(700, seed=1):
        valid = []
        for Z in subsets(rest):
            holds = front_door_by_paths(graph, X, Y, Z)
            assert is_front_door_set(graph, X, Y, Z) == holds, (graph, X, Y, Z)
            if holds:
                valid.append(frozenset(Z))
        within = {v for v in sorted(rest) if rng.random() < 0.8}
        including = {v for v in sorted(within) if rng.random() < 0.15}
        for limits in ({}, {"including": including, "within": within}):
            expected = [
                Z
                for Z in valid
                if limits.get("including", set()) <= Z <= limits.get("within", rest)
            ]
            listed = list(front_door_sets(graph, X, Y, **limits))
            assert len(listed) == len(set(listed))
            assert set(listed) == set(expected)
            found = find_front_door_set(graph, X, Y, **limits)
            assert found in minimal(expected) if expected else found is None, (graph, X, Y, limits)
            counts.append(len(expected) if any(expected) else 0)
    assert sum(count > 1 for count in counts) > 100


def test_open_paths_are_judged_in_the_cut_diagram():
    # the collider C opens at X only through Z's arrow, which is cut
    graph = ADMG.parse("X -> Z -> Y; X <-> Y")
    assert is_open(graph, (("Z", "X", "Y"), ("<-", "<->")), ())
    assert front_door_by_paths(graph, {"X"}, {"Y"}, {"Z"})
    assert is_proper((("X", "Z"), ("->",)), {"X"})


def test_the_formula_gives_the_effect():
    rng = np.random.default_rng(5)
    checked = 0
    for graph in random_diagrams(1000, seed=5, directed=0.35, bidirected=0.15):
        order = graph.topological_order()
        X, Y = set(order[:1]), set(order[-1:])
        if not graph.descendants(X) & Y:
            continue
        x, y = ([graph.nodes.index(v) for v in graph.in_order(s)] for s in (X, Y))
        model = linear_model(graph, rng)
        sigma, effect = covariance(*model), joint_effects(model[0], x, y)
        for Z in front_door_sets(graph, X, Y):
            z = [graph.nodes.index(v) for v in graph.in_order(Z)]
            product = regression(sigma, y, z, x) @ regression(sigma, z, x, [])
            np.testing.assert_allclose(product, effect, atol=1e-9)
            checked += 1
    assert checked > 100


def test_large_minimal_sets_are_minimal():
    """Dropping nodes from what a set may hold leaves nothing, for each of its nodes."""
    sizes = []
    for seed in range(60):
        graph = random_admg(30, directed=0.08, bidirected=0.01, seed=seed)
        order = graph.topological_order()
        x, y = order[2], order[-2]
        found = find_front_door_set(graph, x, y)
        if found:
            sizes.append(len(found))
            assert is_front_door_set(graph, x, y, found)
            assert all(
                find_front_door_set(graph, x, y, within=found - {node}) is None for node in found
            )
    assert max(sizes) > 1


@pytest.mark.parametrize(
    ("text", "minimal_set"),
    [
        ("X -> Z -> Y; X <-> Y", {"Z"}),
        ("X -> {A, B} -> Y; X <-> Y", {"A", "B"}),
        ("X -> Z -> Y; X <-> Y; Z <-> Y", None),
        ("X -> Z -> Y; X <-> Y; X <-> Z", None),
        ("X -> Z -> Y; X -> Y; X <-> Y", None),
        ("X -> A -> B -> Y; X <-> Y; A <-> B", {"B"}),
        ("X -> A -> Y; B -> A; B <-> A; X <-> Y; B -> Y", {"A", "B"}),
        ("X <-> Y", set()),
    ],
)
def test_textbook_cases(text, minimal_set):
    assert find_front_door_set(ADMG.parse(text), "X", "Y") == minimal_set


def test_wrong_sets_are_refused():
    graph = ADMG.parse("X -> Z -> Y; W")
    for function in (find_front_door_set, front_door_sets):
        with pytest.raises(GraphError, match="X is empty"):
            function(graph, (), "Y")
        with pytest.raises(GraphError, match="unknown node 'V'"):
            function(graph, "V", "Y")
        with pytest.raises(GraphError, match="Y and including share Y"):
            function(graph, "X", "Y", including="Y")
    with pytest.raises(GraphError, match="X and Z share X"):
        is_front_door_set(graph, "X", "Y", "X")
