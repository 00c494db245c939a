"""Districts of graphs and of parts of graphs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causalppl.exceptions import GraphError
from causalppl.graphs import ADMG, district_of, districts

from .truth import admgs


@given(admgs(min_nodes=1), st.data())
def test_districts_within_a_set_are_those_of_the_subgraph(graph, data):
    within = data.draw(st.sets(st.sampled_from(graph.nodes)))
    assert districts(graph, within) == graph.subgraph(within).districts()
    assert districts(graph) == graph.districts()


@given(admgs(min_nodes=1), st.data())
def test_the_district_of_nodes_unites_those_that_hold_them(graph, data):
    nodes = data.draw(st.sets(st.sampled_from(graph.nodes)))
    holding = [d for d in graph.districts() if d & nodes]
    assert district_of(graph, nodes) == frozenset().union(*holding)


def test_districts_do_not_pass_through_what_is_left_out():
    graph = ADMG.parse("X <-> Z <-> Y")
    assert districts(graph) == ({"X", "Z", "Y"},)
    assert districts(graph, within={"Y", "X"}) == ({"X"}, {"Y"})
    assert districts(ADMG()) == ()


def test_an_unknown_node_is_named():
    with pytest.raises(GraphError, match="unknown node 'W'"):
        districts(ADMG.parse("X"), within=["W"])
    with pytest.raises(GraphError, match="unknown node 'W'"):
        district_of(ADMG.parse("X"), "W")
