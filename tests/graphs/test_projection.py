"""Latent projection against its definition by paths, and what it must preserve."""

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causalppl.exceptions import GraphError
from causalppl.graphs import ADMG, canonical_dag, is_separated, latent_projection, random_admg

from .truth import admgs, as_sets, dag_with_latents, project_by_paths, subsets


@settings(max_examples=200)
@given(admgs(min_nodes=1), st.data())
def test_projection_is_what_the_paths_say(graph, data):
    keep = data.draw(st.sets(st.sampled_from(graph.nodes)))
    projected = latent_projection(graph, keep)
    assert projected.nodes == graph.in_order(keep)
    assert as_sets(projected) == project_by_paths(dag_with_latents(graph), keep)


@given(admgs(min_nodes=2, max_nodes=5), st.data())
def test_projection_keeps_separations_and_ancestors(graph, data):
    keep = data.draw(st.sets(st.sampled_from(graph.nodes), min_size=2))
    projected = graph.latent_projection(keep)
    x, y, *rest = graph.in_order(keep)
    for z in subsets(rest):
        assert is_separated(projected, x, y, z) == is_separated(graph, x, y, z)
    for v in keep:
        assert projected.ancestors(v) == graph.ancestors(v) & keep


@given(admgs(min_nodes=1), st.data())
def test_projection_may_be_done_in_steps(graph, data):
    first = data.draw(st.sets(st.sampled_from(graph.nodes), min_size=1))
    second = data.draw(st.sets(st.sampled_from(sorted(first))))
    in_steps = graph.latent_projection(first).latent_projection(second)
    assert in_steps == graph.latent_projection(second)


@pytest.mark.parametrize(
    ("text", "keep", "projected"),
    [
        ("U -> {X, Y}", "X Y", "X <-> Y"),
        ("X -> M -> Y", "X Y", "X -> Y"),
        ("X <-> M -> Y", "X Y", "X <-> Y"),
        ("X -> M <- Y", "X Y", "X; Y"),
        ("X <-> M <-> Y", "X Y", "X; Y"),
        ("A -> U -> {X, Y}", "A X Y", "A -> X; A -> Y; X <-> Y"),
        ("U -> {A, B, C}", "A B C", "A <-> B; A <-> C; B <-> C"),
        ("U -> X -> Y", "X Y", "X -> Y"),
        ("X -> Y", "", ""),
    ],
)
def test_textbook_projections(text, keep, projected):
    assert ADMG.parse(text).latent_projection(keep.split()) == ADMG.parse(projected)


def test_projection_onto_everything_is_the_same_graph():
    graph = ADMG.parse("X -> Y; X <-> Y")
    assert latent_projection(graph, graph.nodes) is graph


def test_an_unknown_node_to_keep_is_named():
    with pytest.raises(GraphError, match="unknown node 'W'"):
        latent_projection(ADMG.parse("X -> Y"), ["W"])


@given(admgs())
def test_the_canonical_dag_projects_back(graph):
    dag, latents = canonical_dag(graph)
    assert dag.is_dag()
    assert len(latents) == len(graph.bidirected_edges)
    assert dag.latent_projection(graph.nodes) == graph
    names = dict(zip(graph.bidirected_edges, dag.nodes[len(graph) :], strict=True))
    want = nx.relabel_nodes(
        dag_with_latents(graph), {("latent", a, b): name for (a, b), name in names.items()}
    )
    assert set(want.edges) == set(dag.directed_edges)


def test_the_canonical_dag_finds_free_names():
    dag, latents = canonical_dag(ADMG.parse("X <-> Y; U_X_Y"))
    assert latents == {"U_X_Y_"}
    assert dag.nodes == ("X", "Y", "U_X_Y", "U_X_Y_")


def test_projection_of_a_long_ladder_does_not_list_its_paths():
    # 2 ** 150 directed paths from top to bottom
    rungs = "; ".join(f"{{A{i}, B{i}}} -> {{A{i + 1}, B{i + 1}}}" for i in range(150))
    projected = ADMG.parse(rungs).latent_projection({"A0", "A150", "B150"})
    assert projected == ADMG.parse("A0 -> {A150, B150}; A150 <-> B150")


def test_projection_of_two_hundred_nodes_keeps_ancestors():
    graph = random_admg(200, directed=0.05, bidirected=0.02, seed=4)
    keep = set(graph.nodes[::4])
    projected = graph.latent_projection(keep)
    assert all(projected.ancestors(v) == graph.ancestors(v) & keep for v in keep)
