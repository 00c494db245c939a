"""Imitation against all subsets, and against the laws of random discrete models."""

from itertools import product

import numpy as np
import pytest

from causalppl.exceptions import GraphError
from causalppl.graphs import ADMG, canonical_dag
from causalppl.identification.imitability import (
    ImitationInstrument,
    explain_imitability,
    find_imitation_policy_set,
    imitation_instruments,
    is_policy_effect_identifiable,
)

from .paths import is_open, minimal, open_between, paths, random_diagrams, subsets


def random_law(graph, rng, replaced=None):
    """Tables of a random model with two values per node and per latent cause."""
    dag, _ = canonical_dag(graph)
    tables = {v: rng.dirichlet((0.7, 0.7), 2 ** len(dag.parents(v))) for v in dag}
    return dag, {v: (dag.in_order(dag.parents(v)), table) for v, table in tables.items()}


def joint(dag, tables):
    """Probability of every assignment, as an array with one axis per node."""
    law = np.zeros((2,) * len(dag))
    for values in product((0, 1), repeat=len(dag)):
        world = dict(zip(dag.nodes, values, strict=True))
        law[values] = np.prod(
            [
                table[int("".join(str(world[p]) for p in parents) or "0", 2), world[v]]
                for v, (parents, table) in tables.items()
            ]
        )
    return law


def marginal(law, dag, nodes):
    """A table over some nodes, in the order of the diagram."""
    drop = tuple(i for i, v in enumerate(dag.nodes) if v not in nodes)
    return law.sum(axis=drop)


def conditional_table(law, dag, node, given):
    """P(node | given) as a table like those of the model."""
    order = [*dag.in_order(given), node]
    table = marginal(law, dag, order)
    axes = [dag.in_order(order).index(v) for v in order]
    table = table.transpose(axes).reshape(-1, 2)
    return table / table.sum(axis=1, keepdims=True)


def problems(count, seed, **options):
    rng = np.random.default_rng(seed)
    for graph in random_diagrams(count, seed, **options):
        x, y = rng.permutation(list(graph.nodes))[:2].tolist()
        before = sorted(set(graph) - graph.descendants(x) - {y})
        yield graph, x, y, {v for v in before if rng.random() < 0.75}, rng


def test_the_policy_set_is_that_of_brute_force():
    verdicts = set()
    for graph, x, y, inputs, _ in problems(400, seed=1):
        affects = y in graph.descendants(x)

        def is_back_door(path):
            return path[1][0] != "->"

        valid = [
            frozenset(Z)
            for Z in subsets(inputs)
            # once the action has no effects it opens no collider, as no input is one of them
            if not affects or not open_between(graph, {x}, {y}, Z, is_back_door)
        ]
        found = find_imitation_policy_set(graph, x, y, inputs)
        assert found in minimal(valid) if valid else found is None
        path = explain_imitability(graph, x, y, inputs)
        assert (path is None) == bool(valid)
        if path is not None:
            above = inputs & graph.remove_outgoing(x).ancestors({x, y})
            assert (path.nodes, path.arrows) in set(paths(graph, x, {y}))
            assert is_open(graph, (path.nodes, path.arrows), above)
            assert path.arrows[0] != "->"
        verdicts.add((affects, bool(valid)))
    assert verdicts == {(True, True), (True, False), (False, True)}


def test_the_policy_imitates():
    checked = 0
    for graph, x, y, inputs, rng in problems(150, seed=2, sizes=(3, 4), directed=0.6):
        found = find_imitation_policy_set(graph, x, y, inputs)
        if found is None or y not in graph.descendants(x):
            continue
        dag, tables = random_law(graph, rng)
        law = joint(dag, tables)
        policy = dag.in_order(found), conditional_table(law, dag, x, found)
        imitated = joint(dag, {**tables, x: policy})
        np.testing.assert_allclose(marginal(imitated, dag, {y}), marginal(law, dag, {y}))
        checked += 1
    assert checked > 20


def test_surrogates_carry_over_to_every_policy_of_their_space():
    """Given the surrogate, the reward has one law under the expert and under every policy."""
    checked = 0
    for graph, x, y, inputs, rng in problems(250, seed=3, sizes=(4, 4), directed=0.5):
        for found in imitation_instruments(graph, x, y, inputs):
            dag, tables = random_law(graph, rng)
            table = rng.dirichlet((1, 1), 2 ** len(found.policy_inputs))
            acted = joint(dag, {**tables, x: (found.policy_inputs, table)})
            before, after = (
                conditional_table(law, dag, y, found.surrogate)
                for law in (joint(dag, tables), acted)
            )
            np.testing.assert_allclose(before, after, rtol=1e-6)
            checked += bool(found.surrogate)
    assert checked > 30


def test_instruments_are_those_of_brute_force():
    some = 0
    for graph, x, y, inputs, rng in problems(250, seed=4, sizes=(4, 5)):
        latent = {y} if rng.random() < 0.7 else set()
        observed = set(graph) - latent
        seen = graph.latent_projection(observed)
        listed = list(imitation_instruments(graph, x, y, inputs, latent=latent))
        pairs = [(set(i.surrogate), set(i.policy_inputs)) for i in listed]
        holds = [
            (S, chosen)
            for S in subsets(observed)
            for chosen in subsets(inputs)
            if (y in S or is_surrogate(graph, x, y, S, chosen))
            and is_policy_effect_identifiable(seen, x, chosen, S)
        ]
        assert all(pair in holds for pair in pairs)
        # every surrogate has a part that is listed, and no listed space can be made larger
        assert all(any(S <= other for S, _ in pairs) for other, _ in holds)
        for S, chosen in pairs:
            assert not any(other == S and chosen < more for other, more in holds)
        some += bool(pairs)
    assert some > 100


def is_surrogate(graph, x, y, S, chosen):
    extra = [("switch", x), *((z, x) for z in sorted(chosen))]
    more = ADMG(
        [*graph.nodes, "switch"],
        [*graph.directed_edges, *extra],
        graph.bidirected_edges,
    )
    return not open_between(more, {"switch"}, {y}, S)


@pytest.mark.parametrize(
    ("text", "inputs", "policy_set"),
    [
        ("Z -> {X, Y}; X -> Y", "Z", {"Z"}),
        ("Z -> X -> Y; X <-> Y", "Z", None),  # the expert sees what the reward depends on
        ("Z -> X -> Y; Z <-> Y", "Z", {"Z"}),
        ("Z -> X -> Y", "Z", set()),  # the marginal P(x) will do
        ("Z -> X -> Y; X <-> Z <-> Y", "Z", None),  # copying Z opens a collider
        ("X <-> Y", "", set()),  # the action does not matter
    ],
)
def test_single_actions(text, inputs, policy_set):
    graph = ADMG.parse(text)
    assert find_imitation_policy_set(graph, "X", "Y", inputs.split()) == policy_set


def test_a_front_door_to_the_surrogate():
    graph = ADMG.parse("X -> M -> S -> Y; X <-> S")
    assert find_imitation_policy_set(graph, "X", "Y", ()) is None
    assert list(imitation_instruments(graph, "X", "Y", ())) == [ImitationInstrument(("S",), ())]
    # without data on M the law of S under a policy is unknown
    assert list(imitation_instruments(graph, "X", "Y", (), latent={"M", "Y"})) == []


def test_an_observed_reward_is_its_own_surrogate():
    graph = ADMG.parse("X -> M -> Y; X <-> Y")
    assert list(imitation_instruments(graph, "X", "Y", ())) == []
    (found,) = imitation_instruments(graph, "X", "Y", (), latent=())
    assert found == ImitationInstrument(("Y",), ())


def test_wrong_roles_are_refused():
    graph = ADMG.parse("Z -> X -> D -> Y")
    with pytest.raises(GraphError, match="the action X affects D"):
        find_imitation_policy_set(graph, "X", "Y", {"Z", "D"})
    with pytest.raises(GraphError, match="Y and policy_inputs share Y"):
        explain_imitability(graph, "X", "Y", "Y")
    with pytest.raises(GraphError, match="policy_inputs and latent share Z"):
        imitation_instruments(graph, "X", "Y", "Z", latent="Z")
    with pytest.raises(GraphError, match="action and latent share X"):
        imitation_instruments(graph, "X", "Y", "Z", latent="X")
    with pytest.raises(GraphError, match="unknown node 'W'"):
        find_imitation_policy_set(graph, "X", "Y", "W")
