"""Lists of independences: each holds, and all others follow from them."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings

from causalppl.graphs import (
    ADMG,
    Independence,
    implied_independences,
    is_separable,
    is_separated,
    random_admg,
    verma,
)
from causalppl.graphs.local_markov import (
    dormant_independences,
    edges_of,
    explaining_edges,
    independence_without,
    local_independences,
    markov_basis,
)
from causalppl.identification import identify
from causalppl.programs.finite import random_finite_model
from tests.graphs.truth import admgs, subsets


def all_separations(graph):
    """Every m-separation between two non-empty sets, each side first once."""
    found = set()
    for given_nodes in subsets(graph.nodes):
        rest = [n for n in graph.nodes if n not in given_nodes]
        for left in filter(None, subsets(rest)):
            for right in filter(None, subsets([n for n in rest if n not in left])):
                if is_separated(graph, left, right, given_nodes):
                    found.add((frozenset(left), frozenset(right), frozenset(given_nodes)))
    return found


def semigraphoid_closure(facts):
    """All that follows by symmetry, decomposition, weak union and contraction."""
    known, pending = set(), list(facts)
    while pending:
        fact = pending.pop()
        if fact in known:
            continue
        known.add(fact)
        x, y, z = fact
        pending.append((y, x, z))
        for part in map(frozenset, filter(None, subsets(y))):
            if part != y:
                pending += [(x, part, z), (x, part, z | (y - part))]
        for a, b, c in list(known):
            # X _||_ Y | Z and X _||_ W | Z, Y give X _||_ Y, W | Z
            if a == x and c == z | y:
                pending.append((x, y | b, z))
            if a == x and z == c | b:
                pending.append((x, y | b, c))
    return known


def as_sets(fact):
    return frozenset([fact.left]), frozenset([fact.right]), frozenset(fact.given)


def reordered(graph, seed):
    order = np.random.default_rng(seed).permutation(len(graph.nodes))
    return ADMG([graph.nodes[i] for i in order], graph.directed_edges, graph.bidirected_edges)


@given(admgs(max_nodes=6))
def test_the_basis_has_one_fact_for_each_separable_pair(graph):
    facts = markov_basis(graph)
    for fact in facts:
        assert is_separated(graph, fact.left, fact.right, fact.given)
        for i in range(len(fact.given)):
            smaller = fact.given[:i] + fact.given[i + 1 :]
            assert not is_separated(graph, fact.left, fact.right, smaller)
    pairs = [frozenset((f.left, f.right)) for f in facts]
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == {frozenset((f.left, f.right)) for f in implied_independences(graph)}


@given(admgs(max_nodes=6))
def test_without_latents_parents_separate(graph):
    dag = ADMG(graph.nodes, graph.directed_edges)
    for fact in markov_basis(dag):
        assert dag.parents(fact.right).issuperset(fact.given)


@settings(max_examples=60)
@given(admgs(max_nodes=4))
def test_all_separations_follow_from_the_local_ones(graph):
    closure = semigraphoid_closure(map(as_sets, local_independences(graph)))
    assert closure == all_separations(graph)


def test_pairs_alone_do_not_imply_all_and_local_ones_do():
    graph = ADMG.parse("A; B; C")
    assert semigraphoid_closure(map(as_sets, markov_basis(graph))) < all_separations(graph)
    assert [str(fact) for fact in local_independences(graph)][-1] == "B _||_ C | A"


@pytest.mark.parametrize("seed", range(5))
def test_equal_diagrams_give_equal_lists(seed):
    graph = random_admg(7, directed=0.3, bidirected=0.2, seed=seed)
    other = reordered(graph, seed)
    assert markov_basis(graph) == markov_basis(other)
    assert list(local_independences(graph)) == list(local_independences(other))
    assert dormant_independences(graph) == dormant_independences(other)
    assert edges_of(graph) == edges_of(other)


def test_a_dag_has_one_local_fact_for_each_missing_edge():
    dag = random_admg(12, directed=0.3, bidirected=0.0, seed=3)
    missing = 12 * 11 // 2 - len(dag.directed_edges)
    assert len(list(local_independences(dag))) == missing


# Verma constraints


def law_over(model, names):
    law = model.law().marginalise([n for n in model.graph.nodes if n not in names])
    return law.align(names).values.numpy()


def constrained_graphs():
    for seed in range(160):
        graph = random_admg(6, directed=0.4, bidirected=0.3, seed=seed)
        for fact in dormant_independences(graph):
            yield seed, graph, fact


def test_dormant_independences_hold_in_every_model_and_not_in_every_law():
    cases = list(constrained_graphs())
    assert len(cases) >= 8
    for seed, graph, fact in cases:
        law = law_over(random_finite_model(graph, seed=seed), fact.variables)
        other = np.random.default_rng(seed).dirichlet(np.ones(law.size)).reshape(law.shape)
        assert np.abs(fact.contrasts(law, law)).max() < 1e-12
        assert np.abs(fact.contrasts(other, other)).max() > 1e-3


def test_dormant_independences_are_of_inseparable_pairs_and_identified_kernels():
    for _, graph, fact in constrained_graphs():
        assert not is_separable(graph, fact.left, fact.right)
        assert fact.left not in graph.parents(fact.kernel)
        assert set(fact.arguments) == graph.parents(fact.kernel) - set(fact.kernel)
        others = ", ".join(f"do({name})" for name in fact.arguments)
        identify(graph, f"P({', '.join(fact.kernel)} | {others})")  # raises where it is not


def test_vermas_example_is_the_textbook_formula():
    (fact,) = dormant_independences(verma())
    law = np.random.default_rng(0).dirichlet(np.ones(16)).reshape(2, 2, 2, 2)
    b_given_a = law.sum((2, 3)) / law.sum((1, 2, 3))[:, None]
    d_given_abc = law / law.sum(3, keepdims=True)
    q = np.einsum("ab,abcd->acd", b_given_a, d_given_abc)
    assert fact.contrasts(law, law) == pytest.approx((q[1] - q[0])[:, 0])


def test_walds_covariance_is_that_of_repeated_samples():
    (fact,) = dormant_independences(verma())
    law = law_over(random_finite_model(verma(), seed=1), fact.variables)
    rng = np.random.default_rng(0)
    drawn = [fact.wald(n) for n in rng.multinomial(2000, law.ravel(), 400).reshape(-1, *law.shape)]
    assert {df for _, df in drawn} == {2}
    # the mean of a chi-squared law is its df; six standard errors of 400 draws
    assert np.mean([statistic for statistic, _ in drawn]) == pytest.approx(2, abs=6 * 2 / 20)


@pytest.mark.parametrize("text", ["A -> B -> D; B <-> D", "X -> Y; X <-> Y", "A -> B -> C"])
def test_some_diagrams_have_no_dormant_independence(text):
    assert dormant_independences(ADMG.parse(text)) == ()


# edges


@given(admgs(min_nodes=2, max_nodes=5))
def test_explaining_edges_are_those_that_undo_the_separation(graph):
    facts = markov_basis(graph)
    if not facts:
        return
    found = {
        edge: (explained, lost)
        for edge, explained, lost in explaining_edges(graph, facts[:1], facts[1:])
    }
    directed, bidirected = list(graph.directed_edges), list(graph.bidirected_edges)
    for a, b in combinations(graph.in_canonical_order().nodes, 2):
        for edge in ((a, "->", b), (b, "->", a), (a, "<->", b)):
            pair, extra = (edge[0], edge[2]), [edge[1] == "->", edge[1] == "<->"]
            is_there = pair in directed if extra[0] else graph.is_confounded(a, b)
            if is_there or (extra[0] and pair[0] in graph.descendants(pair[1])):
                assert edge not in found
                continue
            larger = ADMG(graph.nodes, directed + [pair] * extra[0], bidirected + [pair] * extra[1])
            lost = [not is_separated(larger, f.left, f.right, f.given) for f in facts]
            expected = (facts[:1], sum(lost[1:])) if lost[0] else None
            assert found.get(edge) == expected


def test_a_missing_common_cause_of_an_adjacent_pair_is_suggested():
    graph = ADMG.parse("Z -> X -> Y")
    edges = [edge for edge, *_ in explaining_edges(graph, [Independence("Z", "Y", ("X",))])]
    assert ("X", "<->", "Y") in edges
    assert ("Y", "->", "Z") not in edges  # a cycle
    assert explaining_edges(graph, []) == ()


@given(admgs(max_nodes=5))
def test_the_independence_without_an_edge_is_new(graph):
    for edge in edges_of(graph):
        fact = independence_without(graph, edge)
        pair = edge[0], edge[2]
        directed = [e for e in graph.directed_edges if edge[1] != "->" or e != pair]
        bidirected = [e for e in graph.bidirected_edges if edge[1] == "->" or set(e) != set(pair)]
        smaller = ADMG(graph.nodes, directed, bidirected)
        assert (fact is not None) == is_separable(smaller, *pair)
        if fact is not None:
            assert is_separated(smaller, fact.left, fact.right, fact.given)
            assert not is_separated(graph, fact.left, fact.right, fact.given)
