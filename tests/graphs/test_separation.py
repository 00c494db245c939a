"""m-separation against d-separation in the DAG with latents, separators against all subsets."""

import time
from itertools import combinations, islice

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causalppl.exceptions import GraphError
from causalppl.graphs import (
    ADMG,
    find_minimal_separator,
    find_open_path,
    implied_independences,
    is_separable,
    is_separated,
    m_bias,
    minimal_separators,
)

from .truth import admgs, dag_with_latents, separation_problems, subsets


@settings(max_examples=300)
@given(separation_problems())
def test_m_separation_is_d_separation_with_latents(problem):
    graph, x, y, z = problem
    assert is_separated(graph, x, y, z) == nx.is_d_separator(dag_with_latents(graph), x, y, z)


@pytest.mark.parametrize(
    ("text", "given", "separated"),
    [
        ("X <-> Z <-> Y", "", True),
        ("X <-> Z <-> Y", "Z", False),
        ("X <-> Z <-> Y; Z -> W -> V", "V", False),
        ("X <-> Z -> Y", "", False),
        ("X <-> Z -> Y", "Z", True),
        ("X -> Z <-> W <- Y", "Z", True),
        ("X -> Z <-> W <- Y", "Z W", False),
        ("X <-> A <-> B <-> Y; A -> Y; B -> X", "", False),
        ("X <-> A <-> B <-> Y; A -> Y; B -> X", "A B", False),
        ("X; Y", "", True),
    ],
)
def test_colliders_on_bidirected_edges(text, given, separated):
    graph = ADMG.parse(text)
    assert is_separated(graph, "X", "Y", given.split()) == separated


def test_adjusting_in_an_m_opens_it():
    graph = m_bias().remove_outgoing("X")
    assert is_separated(graph, "X", "Y")
    assert not is_separated(graph, "X", "Y", "Z")


def test_empty_sides_are_separated_from_everything():
    graph = ADMG.parse("X -> Y")
    assert is_separated(graph, (), "Y")
    assert is_separated(graph, "X", (), "Y")
    assert find_minimal_separator(graph, (), "Y") == frozenset()
    assert list(minimal_separators(graph, "X", ())) == [frozenset()]
    assert find_open_path(graph, "X", ()) is None


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (("X", {"X", "Y"}, ()), "X and Y share X"),
        (("X", "Y", "X"), "X and Z share X"),
        (("X", "Y", ["Z", "Y"]), "Y and Z share Y"),
        (("X", "W", ()), "unknown node 'W'"),
    ],
)
@pytest.mark.parametrize(
    "function", [is_separated, find_open_path, find_minimal_separator, minimal_separators]
)
def test_sets_that_overlap_or_are_unknown_are_refused(function, sets, message):
    with pytest.raises(GraphError, match=message):
        function(ADMG.parse("X -> Z -> Y"), *sets)


def test_what_must_be_in_a_separator_must_be_allowed():
    graph = ADMG.parse("X -> Z -> Y; W")
    for function in (find_minimal_separator, minimal_separators):
        with pytest.raises(GraphError, match="include names W, which restrict leaves out"):
            function(graph, "X", "Y", include="W", restrict="Z")


# witnesses


@settings(max_examples=300)
@given(separation_problems())
def test_an_open_path_is_found_exactly_if_not_separated_and_is_open(problem):
    graph, x, y, z = problem
    path = find_open_path(graph, x, y, z)
    assert (path is None) == is_separated(graph, x, y, z)
    if path is None:
        return
    nodes, arrows = path.nodes, path.arrows
    assert len(set(nodes)) == len(nodes) == len(arrows) + 1
    assert nodes[0] in x
    assert nodes[-1] in y
    assert not (x | y) & set(nodes[1:-1])
    for a, arrow, b in zip(nodes, arrows, nodes[1:], strict=False):
        assert {
            "->": (a, b) in graph.directed_edges,
            "<-": (b, a) in graph.directed_edges,
            "<->": graph.is_confounded(a, b),
        }[arrow]
    for left, node, right in zip(arrows, nodes[1:], arrows[1:], strict=False):
        if left.endswith(">") and right.startswith("<"):
            assert graph.descendants(node) & z
        else:
            assert node not in z


def test_a_path_is_shown_in_the_grammar_of_graphs():
    path = find_open_path(ADMG.parse("X <-> A; A -> B <- Y"), "X", "Y", "B")
    assert str(path) == "X <-> A -> B <- Y"


# separators


@st.composite
def limited_problems(draw):
    graph = draw(admgs(min_nodes=2, max_nodes=6))
    order = draw(st.permutations(graph.nodes))
    sides = draw(st.sampled_from([1, 1, 1, 2])) if len(order) > 3 else 1
    x, y = set(order[:1]), set(order[1 : 1 + sides])
    rest = order[1 + sides :]
    include = set(rest[: draw(st.integers(0, min(1, len(rest))))])
    restrict = include | draw(st.sets(st.sampled_from(rest)) if rest else st.just(set()))
    if draw(st.booleans()):
        restrict = set(rest)
    return graph, x, y, include, restrict


@settings(max_examples=300)
@given(limited_problems())
def test_separators_are_all_the_minimal_ones(problem):
    graph, x, y, include, restrict = problem
    dag = dag_with_latents(graph)
    separating = [
        frozenset(z | include)
        for z in subsets(restrict - include)
        if nx.is_d_separator(dag, x, y, z | include)
    ]
    minimal = {z for z in separating if not any(other < z for other in separating)}
    listed = list(minimal_separators(graph, x, y, include, restrict))
    assert len(listed) == len(set(listed))
    assert set(listed) == minimal
    found = find_minimal_separator(graph, x, y, include, restrict)
    assert found == (listed[0] if listed else None)


@given(admgs(min_nodes=2))
def test_by_default_all_other_nodes_may_separate(graph):
    x, y = graph.nodes[:2]
    others = set(graph.nodes[2:])
    assert find_minimal_separator(graph, x, y) == find_minimal_separator(
        graph, x, y, restrict=others
    )
    assert is_separable(graph, x, y) == any(
        nx.is_d_separator(dag_with_latents(graph), {x}, {y}, z) for z in subsets(others)
    )


def test_the_separator_found_is_the_nearest_to_x():
    graph = ADMG.parse("X -> A -> B -> C -> Y")
    assert find_minimal_separator(graph, "X", "Y") == {"A"}
    assert find_minimal_separator(graph, "Y", "X") == {"C"}
    assert list(minimal_separators(graph, "X", "Y")) == [{"A"}, {"B"}, {"C"}]


def test_exponentially_many_separators_come_one_by_one():
    chains = [f"X -> A{i} -> B{i} -> Y" for i in range(40)]
    graph = ADMG.parse("; ".join(chains))
    some = list(islice(minimal_separators(graph, "X", "Y"), 50))
    assert len(set(some)) == 50
    assert all(len(s) == 40 and is_separated(graph, "X", "Y", s) for s in some)


def test_all_separators_of_parallel_chains_are_counted():
    graph = ADMG.parse("; ".join(f"X -> A{i} -> B{i} -> Y" for i in range(7)))
    assert len(set(minimal_separators(graph, "X", "Y"))) == 2**7


# what a diagram implies


@given(admgs(max_nodes=5))
def test_implied_independences_hold_and_leave_no_separable_pair_out(graph):
    facts = implied_independences(graph)
    dag = dag_with_latents(graph)
    for fact in facts:
        assert nx.is_d_separator(dag, {fact.left}, {fact.right}, set(fact.given))
        for part in subsets(fact.given)[:-1]:
            assert not nx.is_d_separator(dag, {fact.left}, {fact.right}, part)
    separable = [(a, b) for a, b in combinations(graph.nodes, 2) if is_separable(graph, a, b)]
    assert [(fact.left, fact.right) for fact in facts] == separable


def test_vermas_graph_implies_a_single_independence():
    graph = ADMG.parse("A -> B -> C -> D; B <-> D")
    assert [str(fact) for fact in implied_independences(graph)] == ["A _||_ C | B"]


def test_an_inducing_path_joins_a_pair_for_good():
    assert not is_separable(ADMG.parse("A -> B -> Y; B <-> Y"), "A", "Y")


# speed


def test_fifty_separations_among_640_nodes_take_milliseconds():
    random = np.random.default_rng(0)
    names = [f"v{i}" for i in range(640)]
    coins = random.random((640, 640))
    arrows = [(names[i], names[j]) for i, j in np.argwhere(np.triu(coins < 0.005, 1))]
    arcs = [(names[i], names[j]) for i, j in np.argwhere(np.triu(coins > 0.998, 1))]
    graph = ADMG(names, arrows, arcs)
    questions = [list(random.choice(names, 8, replace=False)) for _ in range(50)]

    def ask():
        start = time.perf_counter()
        answers = [is_separated(graph, q[0], q[1], q[2:]) for q in questions]
        assert any(answers)
        assert not all(answers)
        return time.perf_counter() - start

    assert min(ask() for _ in range(5)) < 0.03
