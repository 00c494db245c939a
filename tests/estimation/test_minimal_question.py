"""The smallest diagram on which a query has no formula, and models moved from it to the whole."""

import numpy as np
import pytest

from causalppl.estimation import Input, Unidentified
from causalppl.estimation.minimal_question import (
    coded,
    compact,
    lifted,
    minimal_question,
    refusal,
)
from causalppl.exceptions import QueryError
from causalppl.graphs import ADMG, random_admg
from causalppl.programs.finite import random_finite_model
from causalppl.queries import parse_query

SEEN = Input()


def question(graph, query, *inputs):
    return Unidentified(ADMG.parse(graph), parse_query(query), inputs or (SEEN,))


@pytest.mark.parametrize(
    ("graph", "query", "small"),
    [
        ("Z -> X; Z -> Y; X -> Y; X <-> Y; Y -> W", "P(Y | do(X))", "X -> Y; X <-> Y"),
        ("Z -> X -> Y; X <-> Y; Z <-> X", "P(Y | do(X))", "X -> Y; X <-> Y"),
        ("X -> M -> Y; X <-> M; M <-> Y", "P(Y | do(X))", "X -> M -> Y; X <-> M"),
        ("X -> Y; X <-> Y; X <-> Z -> Y", "PNS(X -> Y)", "X -> Y"),
        ("X -> M -> Y; X -> Y; M <-> Y; X -> Y", "NDE(X -> Y)", "X -> M -> Y; X -> Y; M <-> Y"),
    ],
)
def test_what_does_not_matter_goes(graph, query, small):
    assert minimal_question(question(graph, query)).graph == ADMG.parse(small)


def test_where_there_is_a_formula_the_ancestors_stay():
    asked = question("Z -> X -> Y; Z -> Y; Y -> W", "P(Y | do(X))")
    assert refusal(asked) is None
    assert minimal_question(asked).graph == ADMG.parse("Z -> X -> Y; Z -> Y")


def test_inputs_are_restricted_to_what_is_left():
    trial = Input(frozenset({"Z"}), "trial", frozenset({"W", "Y"}))
    asked = question("Z -> X -> Y; W -> X; X <-> Y", "P(Y | do(X))", SEEN, trial)
    small = minimal_question(asked)
    assert small.graph.nodes == ("X", "Y")
    assert small.inputs == (SEEN, Input(frozenset(), "trial", frozenset({"Y"})))


@pytest.mark.parametrize("seed", range(40))
def test_the_smaller_question_is_refused_and_nothing_more_can_go(seed):
    graph = random_admg(5, directed=0.6, bidirected=0.4, seed=seed)
    first, *_, last = graph.topological_order()
    asked = Unidentified(graph, parse_query(f"P({last} | do({first}))"))
    if refusal(asked) is None:
        return
    small = minimal_question(asked)
    witness = refusal(small)
    assert witness is not None
    assert witness.check()
    edges = small.graph.directed_edges, small.graph.bidirected_edges
    for kind, place in ((k, i) for k in (0, 1) for i in range(len(edges[k]))):
        left = [list(part) for part in edges]
        del left[kind][place]
        assert refusal(small.on(ADMG(small.graph.nodes, *left))) is None
    for name in set(small.graph.nodes) - {first, last}:
        rest = small.graph.subgraph(set(small.graph.nodes) - {name})
        assert refusal(small.on(rest)) is None


@pytest.mark.parametrize("noise", [1, 2])
def test_a_lifted_model_has_the_same_laws_and_answers(noise):
    small = ADMG.parse("X -> M -> Y; X <-> Y; M")
    large = ADMG.parse(
        "A -> X -> M -> Y; X <-> Y; A <-> M; M -> B; X -> Y; A -> Y; M <-> Y; B <-> Y"
    )
    model = random_finite_model(small, noise_states=noise, latent_states=3, seed=1)
    moved = lifted(model, large)
    assert moved.graph == large
    for do in ({}, {"X": None}, {"M": 1}):
        law = moved.law(do).marginalise([n for n in large.nodes if n not in small.nodes])
        expected = model.law(do).align(law.names).values
        np.testing.assert_allclose(law.values, expected, rtol=0, atol=1e-14)
    for query in ("P(Y_{X=0}=1 | X=1)", "P(Y | do(X), M)", "E[Y_{X=1, M_{X=0}}]"):
        answers = [m.answer(query).values for m in (model, moved, compact(moved))]
        np.testing.assert_allclose(answers[1], answers[0], rtol=0, atol=1e-14)
        np.testing.assert_allclose(answers[2], answers[0], rtol=0, atol=1e-14)
    assert compact(moved).graph.nodes == tuple(n for n in large.nodes if n in small.nodes)


@pytest.mark.parametrize(
    ("text", "expected", "codes"),
    [
        ("P(Y=yes | do(X=no))", "P(Y=0 | do(X=0))", {"Y": ("yes",), "X": ("no",)}),
        ("P(Y_{X=b}=u | X=a, Y=v)", "P(Y_{X=0}=0 | X=1, Y=1)", {"X": ("b", "a"), "Y": ("u", "v")}),
        ("ATE(X: new vs old -> Y)", "ATE(X: 0 vs 1 -> Y)", {"X": ("new", "old")}),
        ("PN(X -> Y: yes vs no)", "PN(X: 1 vs 0 -> Y: 0 vs 1)", {"Y": ("yes", "no")}),
        ("E[Y_{X=1, M_{X=0}}]", "E[Y_{X=1, M_{X=0}}]", {}),
        ("P(Y > 0.5 | do(X=True), Z)", "P(Y > 0.5 | do(X=1), Z)", {}),
        ("P(Y_{M_{X=a}})", "P(Y_{M_{X=0}})", {"X": ("a",)}),
    ],
)
def test_texts_get_states_in_order_of_appearance(text, expected, codes):
    query, found = coded(parse_query(text))
    assert str(query) == expected
    assert found == codes


@pytest.mark.parametrize("text", ["P(Y=0.5)", "P(Y=-1 | do(X))", "P(Y_{X=a} | X=1)"])
def test_values_that_are_neither_are_refused(text):
    with pytest.raises(QueryError, match=r"states 0, 1, ... or texts"):
        coded(parse_query(text))
