"""The diagram as a value, and what it says about relatives."""

import copy
import pickle
from itertools import pairwise

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from causalppl.exceptions import GraphError
from causalppl.graphs import ADMG, random_admg

from .truth import admgs, as_sets


def reachable(graph, node, reverse=False):
    dag = nx.DiGraph(graph.directed_edges)
    dag.add_nodes_from(graph.nodes)
    return (nx.ancestors if reverse else nx.descendants)(dag, node) | {node}


@given(admgs())
def test_relatives_are_those_of_the_edges(graph):
    for v in graph:
        assert graph.parents(v) == {a for a, b in graph.directed_edges if b == v}
        assert graph.children(v) == {b for a, b in graph.directed_edges if a == v}
        assert graph.siblings(v) == {w for e in graph.bidirected_edges if v in e for w in e} - {v}
        assert graph.ancestors(v) == reachable(graph, v, reverse=True)
        assert graph.descendants(v) == reachable(graph, v)
        assert graph.names(graph.ancestor_masks[graph.nodes.index(v)]) == graph.ancestors(v)
        assert graph.names(graph.descendant_masks[graph.nodes.index(v)]) == graph.descendants(v)
        # once more, now that the tables are there
        assert graph.ancestors(v) == reachable(graph, v, reverse=True)
        assert graph.descendants(v) == reachable(graph, v)


@given(admgs(min_nodes=1), st.data())
def test_relatives_of_a_set_are_united(graph, data):
    nodes = data.draw(st.sets(st.sampled_from(graph.nodes)))
    for relation in ("parents", "children", "siblings", "ancestors", "descendants"):
        of = getattr(graph, relation)
        assert of(nodes) == frozenset().union(*map(of, nodes))
        assert of(iter(sorted(nodes))) == of(nodes)


def test_ancestors_and_descendants_include_the_nodes_themselves():
    graph = ADMG.parse("Z -> X -> Y")
    assert graph.ancestors("X") == {"Z", "X"}
    assert graph.descendants({"X"}) == {"X", "Y"}
    assert graph.ancestors(()) == frozenset()


@given(admgs())
def test_topological_order_puts_causes_first(graph):
    place = {v: i for i, v in enumerate(graph.topological_order())}
    assert sorted(place) == sorted(graph.nodes)
    assert all(place[a] < place[b] for a, b in graph.directed_edges)


def test_topological_order_follows_the_given_order_where_it_can():
    assert ADMG.parse("C; B; A -> B").topological_order() == ("C", "A", "B")


@given(admgs())
def test_districts_are_the_components_of_bidirected_edges(graph):
    arcs = nx.Graph(graph.bidirected_edges)
    arcs.add_nodes_from(graph.nodes)
    found = graph.districts()
    assert set(found) == {frozenset(c) for c in nx.connected_components(arcs)}
    firsts = [graph.in_order(d)[0] for d in found]
    assert firsts == sorted(firsts, key=graph.nodes.index)
    assert graph.c_components() == found


@given(admgs(min_nodes=1), st.data())
def test_derived_graphs_keep_the_right_edges(graph, data):
    nodes = data.draw(st.sets(st.sampled_from(graph.nodes)))
    directed, bidirected = as_sets(graph)

    part = graph.subgraph(nodes)
    assert part.nodes == graph.in_order(nodes)
    assert as_sets(part) == (
        {e for e in directed if set(e) <= nodes},
        {e for e in bidirected if e <= nodes},
    )
    assert as_sets(graph.remove_incoming(nodes)) == (
        {(a, b) for a, b in directed if b not in nodes},
        {e for e in bidirected if not e & nodes},
    )
    assert as_sets(graph.remove_outgoing(nodes)) == (
        {(a, b) for a, b in directed if a not in nodes},
        bidirected,
    )
    for derived in (part, graph.remove_incoming(nodes), graph.remove_outgoing(nodes)):
        rebuilt = ADMG(derived.nodes, derived.directed_edges, derived.bidirected_edges)
        assert derived == rebuilt
        assert derived.child_masks == rebuilt.child_masks
        assert derived.topological_order() == rebuilt.topological_order()


def test_is_confounded_means_joined_by_an_arc():
    graph = ADMG.parse("X -> Y; X <-> Y; Z")
    assert graph.is_confounded("X", "Y")
    assert graph.is_confounded("Y", "X")
    assert not graph.is_confounded("X", "Z")
    assert not graph.is_confounded("X", "X")
    with pytest.raises(GraphError, match="unknown node 'W'"):
        graph.is_confounded("X", "W")


# a value


@given(admgs(), st.randoms())
def test_equality_and_hash_ignore_the_order_of_nodes_and_edges(graph, random):
    shuffled = [list(graph.nodes), list(graph.directed_edges), list(graph.bidirected_edges)]
    for part in shuffled:
        random.shuffle(part)
    nodes, directed, bidirected = shuffled
    same = ADMG(nodes, directed, [(b, a) for a, b in bidirected])
    assert same == graph
    assert hash(same) == hash(graph)
    assert same.nodes == tuple(nodes)


@given(admgs(), admgs())
def test_graphs_with_other_edges_or_nodes_differ(one, other):
    same = set(one.nodes) == set(other.nodes) and as_sets(one) == as_sets(other)
    assert (one == other) == same
    assert ADMG(["A"]) != "A"


@given(admgs())
def test_copies_and_pickles_are_equal(graph):
    hash(graph), graph.ancestor_masks
    for again in (copy.copy(graph), copy.deepcopy(graph), pickle.loads(pickle.dumps(graph))):
        assert again == graph
        assert again.nodes == graph.nodes
        assert hash(again) == hash(graph)


def test_a_graph_cannot_be_changed():
    graph = ADMG.parse("X -> Y")
    with pytest.raises(AttributeError, match="immutable"):
        graph.nodes = ("X",)
    with pytest.raises(AttributeError, match="immutable"):
        graph.colour = "red"
    with pytest.raises(AttributeError, match="immutable"):
        del graph.nodes


def test_outputs_follow_the_order_of_nodes():
    graph = ADMG(["B", "C", "A"], [("A", "C"), ("A", "B"), ("B", "C")], [("A", "B"), ("C", "B")])
    assert graph.directed_edges == (("B", "C"), ("A", "B"), ("A", "C"))
    assert graph.bidirected_edges == (("B", "C"), ("B", "A"))
    assert graph.in_order({"A", "C"}) == ("C", "A")
    assert list(graph) == ["B", "C", "A"]
    assert len(graph) == 3
    assert "A" in graph
    assert "Z" not in graph


# errors


@pytest.mark.parametrize(
    ("nodes", "directed", "bidirected", "message"),
    [
        (["A", "B", "A"], [], [], "node 'A' is given twice"),
        (["A", ""], [], [], "node name '' found"),
        (["A", 3], [], [], "node name 3 found"),
        ("AB", [], [], "nodes is the string 'AB'.*ADMG.parse"),
        (["A"], [("A", "B")], [], "unknown node 'B'; the graph has A"),
        (["Age"], [], [("Age", "age")], "unknown node 'age'.*did you mean 'Age'"),
        ([], [("A", "B")], [], "the graph has no nodes"),
        (["A"], [("A", "A")], [], "self-loop A -> A"),
        (["A"], [], [("A", "A")], "self-loop A <-> A"),
        (["A", "B"], ["AB"], [], "edge 'AB' found; expected a pair"),
        (["A", "B"], [("A", "B", 1)], [], "expected a pair"),
        (["A", "B"], [(["A"], "B")], [], r"unknown node \['A'\]"),
    ],
)
def test_what_is_not_a_diagram_is_refused_by_name(nodes, directed, bidirected, message):
    with pytest.raises(GraphError, match=message):
        ADMG(nodes, directed, bidirected)


def test_a_cycle_is_shown_and_only_the_cycle():
    edges = [("W", "C"), ("A", "B"), ("B", "C"), ("C", "A"), ("C", "D"), ("D", "E")]
    with pytest.raises(GraphError, match="directed cycle A -> B -> C -> A found"):
        ADMG(["W", "A", "B", "C", "D", "E"], edges)


@given(st.lists(st.tuples(st.sampled_from("ABCDE"), st.sampled_from("ABCDE")), max_size=12))
def test_cycles_are_found_exactly_when_there_are_some(edges):
    edges = [(a, b) for a, b in edges if a != b]
    if nx.is_directed_acyclic_graph(nx.DiGraph(edges)):
        assert set(ADMG("A B C D E".split(), edges).directed_edges) == set(edges)
        return
    with pytest.raises(GraphError, match="directed cycle") as error:
        ADMG("A B C D E".split(), edges)
    cycle = str(error.value).split("directed cycle ")[1].split(" found")[0].split(" -> ")
    assert cycle[0] == cycle[-1]
    assert len(set(cycle)) == len(cycle) - 1
    assert set(pairwise(cycle)) <= set(edges)


@pytest.mark.parametrize(
    "method",
    "parents children siblings ancestors descendants subgraph in_order remove_incoming "
    "remove_outgoing latent_projection mask".split(),
)
def test_an_unknown_node_is_named(method):
    with pytest.raises(GraphError, match="unknown node 'W'; the graph has X, Y"):
        getattr(ADMG.parse("X -> Y"), method)(["X", "W"])


def test_the_list_of_nodes_in_a_message_is_short():
    with pytest.raises(GraphError, match=r"V19, \.\.\. \(300 in all\)"):
        random_admg(300, directed=0, bidirected=0, seed=0).parents("W")


def test_large_graphs_are_quick_to_build_and_ask():
    graph = random_admg(200, directed=0.1, bidirected=0.05, seed=0)
    assert len(graph.topological_order()) == 200
    assert graph.ancestors(graph.nodes) == set(graph.nodes)
