"""Adjustment against the criterion written out path by path, and against numbers."""

import time
from itertools import islice

import numpy as np
import pytest

from causalppl.exceptions import GraphError
from causalppl.graphs import ADMG, random_admg
from causalppl.identification.adjustment import (
    adjustment_sets,
    all_adjustment_sets,
    explain_adjustment,
    find_adjustment_set,
    is_adjustment_set,
    is_back_door_set,
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


def valid_by_paths(graph, X, Y, Z):
    """The criterion by its definition: Shpitser, VanderWeele and Robins (2010)."""
    causal = [
        path for x in X for path in paths(graph, x, Y) if is_causal(path) and is_proper(path, X)
    ]
    on_path = {node for nodes, _ in causal for node in nodes[1:]}
    if set(Z) & graph.descendants(on_path):
        return False
    return not open_between(graph, X, Y, Z, lambda path: is_proper(path, X) and not is_causal(path))


def back_door_by_paths(graph, X, Y, Z):
    """As Maathuis and Colombo (2015) write Pearl's criterion for sets: each X given the others."""
    if set(Z) & graph.descendants(X):
        return False
    return not any(
        open_between(graph, {x}, Y, set(Z) | (X - {x}), lambda path: path[1][0] in ("<-", "<->"))
        for x in X
    )


def problems(count, seed, **options):
    rng = np.random.default_rng(seed)
    for graph in random_diagrams(count, seed, **options):
        yield graph, *random_sets(graph, rng)


def test_validity_and_the_reason_are_those_of_the_paths():
    verdicts = set()
    for graph, X, Y, rest in problems(250, seed=1):
        for Z in subsets(rest):
            valid = valid_by_paths(graph, X, Y, Z)
            verdicts.add(valid)
            assert is_adjustment_set(graph, X, Y, Z) == valid, (graph, X, Y, Z)
            assert is_back_door_set(graph, X, Y, Z) == back_door_by_paths(graph, X, Y, Z)
            check_reason(graph, X, Y, Z, explain_adjustment(graph, X, Y, Z), valid)
    assert verdicts == {True, False}


def check_reason(graph, X, Y, Z, reason, valid):
    assert (reason is None) == valid
    if valid:
        return
    if reason.open_path is not None:
        path = reason.open_path.nodes, reason.open_path.arrows
        assert path in set(paths(graph, path[0][0], Y))
        assert path[0][0] in X
        assert is_proper(path, X)
        assert not is_causal(path)
        assert is_open(graph, path, Z)
    else:
        path = reason.causal_path.nodes, reason.causal_path.arrows
        assert path in set(paths(graph, path[0][0], Y))
        assert is_causal(path)
        assert is_proper(path, X)
        assert reason.node in Z
        assert reason.descent.nodes[0] in path[0][1:]
        assert reason.descent.nodes[-1] == reason.node
        edges = set(graph.directed_edges)
        assert set(zip(reason.descent.nodes, reason.descent.nodes[1:], strict=False)) <= edges


def test_adjusting_gives_the_effect_exactly_if_the_criterion_says_so():
    rng = np.random.default_rng(2)
    checked = {True: 0, False: 0}
    for graph, X, Y, rest in problems(500, seed=2):
        x, y = ([graph.nodes.index(v) for v in graph.in_order(s)] for s in (X, Y))
        models = [linear_model(graph, rng) for _ in range(2)]
        for Z in subsets(rest):
            z = [graph.nodes.index(v) for v in Z]
            gap = max(
                np.abs(regression(covariance(*m), y, x, z) - joint_effects(m[0], x, y)).max()
                for m in models
            )
            valid = is_adjustment_set(graph, X, Y, Z)
            checked[valid] += 1
            # all coefficients are drawn at random, so none of the invalid sets does by luck
            assert (gap < 1e-9) == valid, (graph, X, Y, Z)
    assert min(checked.values()) > 500


def test_lists_are_those_of_brute_force():
    rng = np.random.default_rng(3)
    lengths = set()
    for graph, X, Y, rest in problems(300, seed=3, directed=0.35):
        within = {v for v in sorted(rest) if rng.random() < 0.8}
        including = {v for v in sorted(within) if rng.random() < 0.15}
        valid = [
            Z | including
            for Z in subsets(within - including)
            if is_adjustment_set(graph, X, Y, Z | including)
        ]
        limits = {"including": including, "within": within}
        listed = list(all_adjustment_sets(graph, X, Y, **limits))
        assert len(listed) == len(set(listed))
        assert set(listed) == set(map(frozenset, valid))
        smallest = list(adjustment_sets(graph, X, Y, **limits))
        assert len(smallest) == len(set(smallest))
        assert set(smallest) == set(map(frozenset, minimal(valid)))
        found = find_adjustment_set(graph, X, Y, **limits)
        assert found in smallest if valid else found is None
        lengths.add(len(smallest))
    assert {0, 1, 2} <= lengths


@pytest.mark.parametrize(
    ("text", "Z", "valid"),
    [
        ("X -> Y; X <-> Z <-> Y", "", True),
        ("X -> Y; X <-> Z <-> Y", "Z", False),
        ("X -> Y; X <-> Z <-> Y; A -> Z", "Z A", False),
        ("Z -> X -> Y; Z <-> Y", "Z", True),
        ("X -> Y; X -> D", "D", True),  # the criterion allows what the back door does not
        ("X -> M -> Y; M -> D", "D", False),
        ("X -> Y; X <-> Y", "", False),
        ("X -> Z; Y", "Z", True),  # no effect, and none is found
        ("Y -> X", "", False),
    ],
)
def test_textbook_cases(text, Z, valid):
    assert is_adjustment_set(ADMG.parse(text), "X", "Y", Z.split()) == valid


def test_the_criterion_handles_several_causes():
    graph = ADMG.parse("X1 -> L -> X2 -> Y; U -> {L, Y}; X1 -> Y; L -> Y")
    assert find_adjustment_set(graph, {"X1", "X2"}, "Y") is None
    graph = ADMG.parse("X1 -> Y; X1 -> X2 -> Y; L -> {X2, Y}")
    assert find_adjustment_set(graph, {"X1", "X2"}, "Y") == {"L"}
    assert is_adjustment_set(graph, "X1", "Y")


def test_a_thousand_minimal_sets_of_sixty_nodes_in_a_second():
    text = "; ".join(f"X <- A{i} -> B{i} -> Y" for i in range(29)) + "; X -> Y"
    graph = ADMG.parse(text)
    assert len(graph) == 60
    start = time.perf_counter()
    found = list(islice(adjustment_sets(graph, "X", "Y"), 1000))
    assert time.perf_counter() - start < 1
    assert len(set(found)) == 1000
    assert all(is_adjustment_set(graph, "X", "Y", Z) for Z in found[::100])


def test_large_diagrams_and_the_order_of_nodes():
    graph = random_admg(60, directed=0.08, bidirected=0.02, seed=4)
    shuffled = ADMG(sorted(graph.nodes), graph.directed_edges, graph.bidirected_edges)
    pairs = [(a, b) for a in graph.nodes[:6] for b in graph.nodes[30:36]]
    for x, y in pairs:
        found = find_adjustment_set(graph, x, y)
        assert found == find_adjustment_set(shuffled, x, y)
        assert found is None or is_adjustment_set(graph, x, y, found)


@pytest.mark.parametrize(
    "function",
    [is_adjustment_set, is_back_door_set, explain_adjustment, find_adjustment_set,
     adjustment_sets, all_adjustment_sets],
)  # fmt: skip
@pytest.mark.parametrize(
    ("X", "Y", "message"),
    [
        ("X", "W", "unknown node 'W'"),
        ((), "Y", "X is empty"),
        ("X", (), "Y is empty"),
        ({"X", "Y"}, "Y", "X and Y share Y"),
    ],
)
def test_wrong_causes_and_effects_are_refused(function, X, Y, message):
    with pytest.raises(GraphError, match=message):
        function(ADMG.parse("X -> Y; Z"), X, Y)


def test_wrong_covariates_and_limits_are_refused():
    graph = ADMG.parse("X -> Y; Z; W")
    with pytest.raises(GraphError, match="X and Z share X"):
        is_adjustment_set(graph, "X", "Y", {"X", "Z"})
    with pytest.raises(GraphError, match="Y and Z share Y"):
        is_back_door_set(graph, "X", "Y", "Y")
    with pytest.raises(GraphError, match="X and including share X"):
        find_adjustment_set(graph, "X", "Y", including="X")
    with pytest.raises(GraphError, match="including names Z, which within leaves out"):
        adjustment_sets(graph, "X", "Y", including="Z", within="W")
