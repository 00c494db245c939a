"""Twin networks against the network with noise drawn in; SWIGs against their definition."""

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causalppl.exceptions import GraphError
from causalppl.graphs import ADMG, back_door, front_door, is_separated, swig, twin_network

from .truth import admgs, as_sets, project_by_paths


def parallel_worlds(graph, interventions):
    """The DAG with a node for every noise and every latent cause, copied only where reached."""
    dag = nx.DiGraph()
    dag.add_nodes_from(graph.nodes)
    causes = nx.DiGraph(graph.directed_edges)
    causes.add_nodes_from(graph.nodes)
    for world, cut in {None: set(), **interventions}.items():
        changed = set(cut).union(*(nx.descendants(causes, v) for v in cut))

        def copy(v, world=world, changed=changed):
            return v if world is None or v not in changed else f"{v}@{world}"

        for v in graph.nodes if world is None else changed:
            dag.add_node(copy(v))
            if v in cut:
                continue
            dag.add_edge(("noise", v), copy(v))
            dag.add_edges_from((copy(p), copy(v)) for p in graph.parents(v))
            dag.add_edges_from(
                (("latent", *edge), copy(v)) for edge in graph.bidirected_edges if v in edge
            )
    return dag


@settings(max_examples=60)
@given(admgs(min_nodes=1, max_nodes=4), st.data())
def test_a_twin_network_is_the_projection_of_parallel_worlds(graph, data):
    sets = st.sets(st.sampled_from(graph.nodes), max_size=2)
    interventions = data.draw(st.dictionaries(st.sampled_from(["x0", "x1"]), sets))
    twin = twin_network(graph, interventions)
    dag = parallel_worlds(graph, interventions)
    visible = [v for v in dag if isinstance(v, str)]
    assert set(twin.nodes) == set(visible)
    directed, bidirected = project_by_paths(dag, visible)
    assert as_sets(twin) == (directed, bidirected)
    assert twin.subgraph(graph.nodes) == graph


def test_nodes_out_of_reach_are_shared():
    twin = twin_network(ADMG.parse("Z -> X -> Y; Z -> Y; W"), {"x0": "X", "x1": ["X"]})
    assert twin.nodes == ("Z", "X", "Y", "W", "X@x0", "Y@x0", "X@x1", "Y@x1")
    assert twin.parents("Y@x0") == {"Z", "X@x0"}
    assert twin.parents("X@x0") == frozenset()
    assert twin.siblings("X@x0") == frozenset()
    assert twin.siblings("Y@x1") == {"Y", "Y@x0"}


def test_a_shared_latent_cause_reaches_all_worlds():
    twin = twin_network(front_door(), {"x0": {"X"}})
    assert twin.siblings("X") == {"Y", "Y@x0"}
    assert is_separated(twin, "X", "Z@x0")
    assert not is_separated(twin, "X", "Y@x0")


def test_a_world_without_interventions_is_the_factual_one():
    assert twin_network(front_door(), {"same": ()}) == front_door()
    assert twin_network(front_door(), {}) == front_door()


def test_many_worlds_grow_linearly():
    graph = ADMG.parse("Z -> X -> Y")
    twin = twin_network(graph, {f"w{i}": "X" for i in range(50)})
    assert len(twin) == 3 + 2 * 50
    assert len(twin.directed_edges) == 2 + 50


@pytest.mark.parametrize(
    ("interventions", "message"),
    [
        ({"": "X"}, "world name '' found"),
        ({"a@b": "X"}, "world name 'a@b' found"),
        ({"x0": "W"}, "unknown node 'W'"),
        ({"x0": ["X", "W"]}, "unknown node 'W'"),
        ({"taken": "X"}, "the new node 'X@taken' has a name that is taken"),
    ],
)
def test_bad_worlds_are_refused(interventions, message):
    with pytest.raises(GraphError, match=message):
        twin_network(ADMG.parse("X -> Y; X@taken"), interventions)


# SWIGs


@given(admgs(min_nodes=1), st.data())
def test_splitting_moves_the_outgoing_edges_to_the_fixed_part(graph, data):
    nodes = data.draw(st.sets(st.sampled_from(graph.nodes)))
    split = swig(graph, nodes)
    assert split.nodes == graph.nodes + tuple(v.lower() for v in graph.in_order(nodes))
    assert as_sets(split) == (
        {(a.lower() if a in nodes else a, b) for a, b in graph.directed_edges},
        set(map(frozenset, graph.bidirected_edges)),
    )
    assert split.subgraph(graph.nodes) == graph.remove_outgoing(nodes)


def test_a_swig_shows_ignorability():
    split = swig(back_door(), ["X"])
    assert is_separated(split, "X", "Y", {"Z", "x"})
    assert not is_separated(split, "X", "Y", {"x"})


def test_potential_outcomes_name_what_they_depend_on():
    # Richardson and Robins (2013): only ancestors among the fixed parts appear, in a minimal way
    split = swig(
        ADMG.parse("A -> L -> B -> Y; L <-> Y; A -> Y"), ["A", "B"], potential_outcomes=True
    )
    assert split.nodes == ("A", "L(a)", "B(a)", "Y(a, b)", "a", "b")
    assert split.parents("Y(a, b)") == {"a", "b"}
    assert split.parents("B(a)") == {"L(a)"}
    assert split.is_confounded("L(a)", "Y(a, b)")


def test_fixed_parts_get_free_names():
    assert swig(ADMG.parse("x -> y"), "x").nodes == ("x", "y", "do(x)")
    assert swig(ADMG.parse("X -> x"), ["X"]).nodes == ("X", "x", "do(X)")
    assert swig(ADMG.parse("X -> Y"), {"X": "X=1"}).parents("Y") == {"X=1"}


@pytest.mark.parametrize(
    ("interventions", "message"),
    [({"X": "Y"}, "'Y' has a name that is taken"), (["W"], "unknown node 'W'")],
)
def test_bad_splits_are_refused(interventions, message):
    with pytest.raises(GraphError, match=message):
        swig(ADMG.parse("X -> Y"), interventions)
