"""Round trips through every other form, and text as other tools write it."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from causalppl.exceptions import GraphError
from causalppl.graphs import (
    ADMG,
    from_arrays,
    from_dagitty,
    from_dot,
    from_networkx,
    parse_dagitty,
    to_arrays,
    to_dagitty,
    to_dot,
    to_networkx,
)

from .truth import admgs

ROUND_TRIPS = {
    "networkx": lambda graph: from_networkx(to_networkx(graph)),
    "dot": lambda graph: from_dot(to_dot(graph)),
    "dagitty": lambda graph: from_dagitty(to_dagitty(graph)),
    "arrays": lambda graph: from_arrays(*to_arrays(graph), nodes=graph.nodes),
}


@pytest.mark.parametrize("form", ROUND_TRIPS)
@given(graph=admgs())
def test_round_trip(form, graph):
    again = ROUND_TRIPS[form](graph)
    assert again == graph
    assert again.nodes == graph.nodes


@pytest.mark.parametrize("form", ROUND_TRIPS)
@given(names=st.lists(st.text(min_size=1), unique=True, min_size=2, max_size=4))
@example(
    names=['"', "\\", "a\\", "node", "Graph", "subgraph", "a b", "x{}", "1.5", "<b>", "//", ""][:-1]
)
def test_strange_names_round_trip(form, names):
    graph = ADMG(names, [(names[0], names[-1])], [(names[-1], names[0])])
    again = ROUND_TRIPS[form](graph)
    assert again == graph
    assert again.nodes == graph.nodes


# networkx


def test_networkx_gets_a_plain_digraph_where_one_will_do():
    plain = to_networkx(ADMG.parse("X -> Y; W"))
    assert type(plain) is nx.DiGraph
    assert list(plain.nodes) == ["X", "Y", "W"]
    multi = to_networkx(ADMG.parse("X -> Y; X <-> Y"))
    assert type(multi) is nx.MultiDiGraph
    assert multi.edges["Y", "X", "bidirected"] == {"bidirected": True}


def test_networkx_bidirected_edges_may_come_in_several_ways():
    want = ADMG.parse("X -> Y; X <-> Y")
    multi = nx.MultiDiGraph([("X", "Y")])
    multi.add_edge("X", "Y", bidirected=True)
    assert from_networkx(multi) == want
    assert from_networkx(nx.DiGraph([("X", "Y")]), nx.Graph([("Y", "X")])) == want
    assert from_networkx(nx.DiGraph([("X", "Y")]), nx.MultiGraph([("Y", "X")])) == want
    marked = nx.DiGraph()
    marked.add_edge("X", "Y", bidirected=True, weight=2.0)
    assert from_networkx(marked) == ADMG.parse("X <-> Y")


@pytest.mark.parametrize(
    ("graphs", "message"),
    [
        ([nx.Graph([("X", "Y")])], "Graph found; expected a networkx DiGraph"),
        ([[("X", "Y")]], "list found; expected a networkx DiGraph"),
        ([nx.DiGraph([(0, 1)])], "node 0 is a int; expected strings.*relabel_nodes"),
        ([nx.DiGraph([("X", "Y"), ("Y", "X")])], "directed cycle X -> Y -> X"),
        ([nx.DiGraph(), nx.DiGraph()], "bidirected is a DiGraph; expected an undirected"),
    ],
)
def test_networkx_errors(graphs, message):
    with pytest.raises(GraphError, match=message):
        from_networkx(*graphs)


# DOT


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("digraph { X -> Y }", "X -> Y"),
        ("strict digraph G { X; Y; X -> Z -> Y; X -> Y [dir=both] }", "X; Y; X -> Z -> Y; X <-> Y"),
        ('DiGraph "my graph" { "a b" -> c; }', '"a b" -> c'),
        ("digraph { X -> {Y; Z} -> W }", "X -> Y -> W; X -> Z -> W"),
        ("digraph { {A B} -> C }", "{A, B} -> C"),
        ("digraph { A -> B [dir=back] }", "A; B -> A"),
        ("digraph { A <-> B; A <- C }", "A <-> B; C -> A"),
        ("digraph { edge [dir=both]; A -> B; B -> C [dir=forward] }", "A <-> B; B -> C"),
        ("digraph { { edge [dir=both]; A -> B } A -> B }", "A -> B; A <-> B"),
        ("digraph { rankdir=LR; graph [label=\"A -> B\"]; node [shape=box] A; B }", "A; B"),
        ("digraph { subgraph cluster_0 { A -> B; label=\"x\" } subgraph { C } -> A }",
         "A -> B; C -> A"),
        ("digraph { A:n -> B:p1:sw [weight=2, style=\"dashed\"] // B -> A\n# C\n/* D */ }",
         "A -> B"),
        ("digraph { A [label=<<b>A</b> -&gt; x>]; A -> B [label=<>] }", "A -> B"),
        ("digraph { 1 -> 2.5 -> -3 }", '1 -> 2.5 -> "-3"'),
        ("digraph{}", ""),
    ],
)  # fmt: skip
def test_dot_is_read(text, want):
    assert from_dot(text) == ADMG.parse(want)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("graph { A -- B }", r"the word 'graph' found.*expected digraph"),
        ("digraph { A -- B }", r"A -- B without direction found in line 1, column 13"),
        ("digraph {\n A -> B [dir=none] }", r"without direction found in line 2, column 4"),
        ("digraph { A -> }", r"'}' found in line 1, column 16; expected a name"),
        ("digraph { A -> B", "the end of the text found.*expected '}'"),
        ("digraph { A [dir=both", "the end of the text found"),
        ("digraph { A } }", "expected nothing after"),
        ("digraph { A -> \"B }", "'\"' found in line 1, column 16"),
        ("digraph { A [label=<<b>] }", "'<' that is not closed"),
        ("digraph { subgraph x -> A }", "expected '{' after subgraph"),
        ("digraph { A -> B -> A }", "directed cycle"),
        ("", "expected a graph in braces"),
        ("-> {}", "expected a word such as digraph"),
    ],
)  # fmt: skip
def test_dot_errors_point_to_the_place(text, message):
    with pytest.raises(GraphError, match=message):
        from_dot(text)


def test_dot_marks_hidden_nodes():
    text = to_dot(ADMG.parse("U -> X"), hidden="U")
    assert "U [style=dashed];" in text
    assert "X;" in text
    with pytest.raises(GraphError, match="unknown node 'W'"):
        to_dot(ADMG.parse("U -> X"), hidden="W")


# dagitty

SMOKING = """dag {
bb="-2.2,-3.1,2.5,1.9"
/* as the website writes it */
"Birth weight" [pos="0.1,-0.5"]
Asthma [outcome,pos="1.1,0.5"]
Genes [latent,pos="-1.1,0.2"]
Smoking [exposure,pos="-0.3,-0.9"]
Stress [adjusted]
Clinic [selected]
"Birth weight" -> Asthma [pos="0.3,0.1"]
Genes -> Asthma
Genes -> Smoking
Smoking -> {"Birth weight" Asthma}
Stress <-> Smoking
Asthma -> Clinic
}
"""


def test_dagitty_text_is_read_with_its_roles():
    model = parse_dagitty(SMOKING)
    assert model.exposures == ("Smoking",)
    assert model.outcomes == ("Asthma",)
    assert model.latents == ("Genes",)
    assert model.adjusted == ("Stress",)
    assert model.selected == ("Clinic",)
    assert model.graph.nodes[:3] == ("Birth weight", "Asthma", "Genes")
    assert len(model.graph.directed_edges) == 6
    assert model.graph.bidirected_edges == (("Smoking", "Stress"),)


def test_dagitty_latents_are_projected_out():
    graph = from_dagitty(SMOKING)
    assert "Genes" not in graph
    assert graph.is_confounded("Smoking", "Asthma")
    assert graph == parse_dagitty(SMOKING).observed()


def test_dagitty_roles_round_trip():
    graph = ADMG.parse("U -> X -> Y; U -> Y; Z <-> Y; X -> S")
    roles = {
        "latents": ("U",),
        "exposures": ("X",),
        "outcomes": ("Y",),
        "adjusted": ("X", "Z"),
        "selected": ("S",),
    }
    model = parse_dagitty(to_dagitty(graph, **roles))
    assert model.graph == graph
    assert {role: getattr(model, role) for role in roles} == roles


def test_dagitty_has_no_reserved_words():
    assert from_dagitty("dag { node -> edge; graph <- node }") == ADMG.parse(
        "node -> {edge, graph}"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pdag { A -- B }", "the word 'pdag' found.*expected dag"),
        ("dag { A -- B }", "A -- B without direction"),
        ("dag { A @-> B }", "without direction"),
        ("dag { A [latent }", "'}' found in line 1, column 17"),
        ("dag { A -> B -> A }", "directed cycle"),
    ],
)
def test_dagitty_errors(text, message):
    with pytest.raises(GraphError, match=message):
        from_dagitty(text)


# arrays


def test_arrays_say_row_causes_column():
    directed, bidirected = to_arrays(ADMG.parse("X -> Y <-> Z"))
    assert directed.dtype == bool
    assert directed.tolist() == [[False, True, False], [False] * 3, [False] * 3]
    assert np.argwhere(bidirected).tolist() == [[1, 2], [2, 1]]


def test_arrays_of_weights_and_default_names_are_read():
    graph = from_arrays(np.array([[0, -0.5, 0], [0, 0, 2.0], [0, 0, 0]]))
    assert graph == ADMG.parse("V0 -> V1 -> V2")
    assert from_arrays([]) == ADMG()
    assert from_arrays(np.zeros((2, 2)), [[0, 1], [1, 0]], "AB") == ADMG.parse("A <-> B")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[0, 1]],), r"directed has shape \(1, 2\)"),
        ((["ab"],), "expected a square matrix"),
        (([[0, np.nan], [0, 0]],), "directed holds NaN"),
        (([[0, 1], [0, 0]], [[0, 1], [0, 0]]), r"bidirected\[0, 1\] and bidirected\[1, 0\] differ"),
        (([[0, 1], [0, 0]], [[0]]), "directed has 2 rows, bidirected 1"),
        (([[0, 1], [0, 0]], None, ["A"]), "1 names"),
        (([[1, 0], [0, 0]],), "self-loop V0 -> V0"),
        (([[0, 0], [0, 0]], [[1, 0], [0, 0]]), "self-loop V0 <-> V0"),
        (([[0, 1], [1, 0]],), "directed cycle V0 -> V1 -> V0"),
    ],
)
def test_array_errors(arguments, message):
    with pytest.raises(GraphError, match=message):
        from_arrays(*arguments)
