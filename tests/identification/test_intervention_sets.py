"""Sets that are worth setting: the definitions by brute force, and the published examples."""

from itertools import chain, combinations

import pytest

from causalppl.exceptions import GraphError
from causalppl.graphs import ADMG, random_admg
from causalppl.identification import (
    minimal_intervention_sets,
    possibly_optimal_sets,
    requires_experiment,
)

TASK_3 = "S -> W -> X; Z -> X -> Y; W -> Y; T -> X; T -> Y; X <-> W; Z <-> Y"


def subsets(names: list[str]) -> list[frozenset[str]]:
    sizes = range(len(names) + 1)
    return list(map(frozenset, chain.from_iterable(combinations(names, k) for k in sizes)))


def is_minimal(graph: ADMG, chosen: frozenset[str], y: str) -> bool:
    return chosen <= graph.remove_incoming(chosen).ancestors(y)


def border(graph: ADMG, chosen: frozenset[str], y: str) -> frozenset[str]:
    """The interventional border by its definition, on the diagram itself."""
    cut = graph.remove_incoming(chosen)
    cut = cut.subgraph(cut.ancestors(y))
    territory: frozenset[str] = frozenset({y})
    while True:
        wider = cut.descendants(frozenset().union(*(d for d in cut.districts() if d & territory)))
        if wider == territory:
            return frozenset(cut.parents(territory)) - territory
        territory = frozenset(wider)


@pytest.mark.parametrize("seed", range(60))
def test_the_lists_are_those_of_the_definitions(seed: int) -> None:
    graph = random_admg(2 + seed % 5, directed=0.5, bidirected=0.35, seed=seed)
    y = graph.topological_order()[-1]
    others = [name for name in graph.nodes if name != y]
    minimal = {chosen for chosen in subsets(others) if is_minimal(graph, chosen, y)}
    best = {border(graph, chosen, y) for chosen in subsets(others)}
    found = minimal_intervention_sets(graph, y)
    assert set(found) == minimal
    assert len(found) == len(minimal)
    assert set(possibly_optimal_sets(graph, y)) == best
    assert best <= minimal


@pytest.mark.parametrize("seed", range(30))
def test_sets_that_can_be_set_are_those_of_the_projection(seed: int) -> None:
    graph = random_admg(6, directed=0.45, bidirected=0.3, seed=seed)
    y = graph.topological_order()[-1]
    allowed = [name for i, name in enumerate(graph.nodes) if name != y and (seed + i) % 3]
    projected = graph.latent_projection([*allowed, y])
    found = possibly_optimal_sets(graph, y, manipulable=allowed)
    assert set(found) == set(possibly_optimal_sets(projected, y))
    assert set(found) == {border(projected, chosen, y) for chosen in subsets(allowed)}
    minimal = minimal_intervention_sets(graph, y, manipulable=allowed)
    everything = minimal_intervention_sets(graph, y)
    assert set(minimal) == {chosen for chosen in everything if chosen <= set(allowed)}


@pytest.mark.parametrize(
    ("graph", "expected", "minimal"),
    [
        ("Z1 -> {X1, X2}; Z2 -> {X1, X2}; {X1, X2} -> Y", ["X1 X2"], None),
        ("Z -> X -> Y; X <-> Y", ["Z", "X"], 3),
        (TASK_3, ["S T", "T W", "T W X"], None),
        ("W -> X; Z -> X -> Y; W -> Y; X <-> W; Z <-> Y", ["", "W", "W X"], None),
        ("X -> Y", ["X"], 2),
        ("X -> Y; X <-> Y", ["", "X"], 2),
    ],
)
def test_published_examples(graph: str, expected: list[str], minimal: int | None) -> None:
    diagram = ADMG.parse(graph)
    found = possibly_optimal_sets(diagram, "Y")
    assert set(found) == {frozenset(text.split()) for text in expected}
    if minimal is not None:
        assert len(minimal_intervention_sets(diagram, "Y")) == minimal


def test_what_cannot_be_set_is_forgotten_not_filtered() -> None:
    front_door = ADMG.parse("X -> Z -> Y; X <-> Y")
    assert possibly_optimal_sets(front_door, "Y") == (frozenset(), frozenset("Z"))
    found = possibly_optimal_sets(front_door, "Y", manipulable="X")
    assert found == (frozenset(), frozenset("X"))


def test_the_order_does_not_depend_on_how_the_diagram_is_written() -> None:
    graph = ADMG.parse(TASK_3)
    other = ADMG(graph.nodes, graph.directed_edges[::-1], graph.bidirected_edges[::-1])
    assert possibly_optimal_sets(graph, "Y") == possibly_optimal_sets(other, "Y")
    assert minimal_intervention_sets(graph, "Y") == minimal_intervention_sets(other, "Y")


def test_a_star_has_all_its_subsets() -> None:
    star = ADMG.parse("; ".join(f"X{i} -> Y" for i in range(10)))
    assert len(minimal_intervention_sets(star, "Y")) == 2**10
    assert len(possibly_optimal_sets(star, "Y")) == 1


def test_bad_input_is_named() -> None:
    graph = ADMG.parse("X -> Y")
    with pytest.raises(GraphError, match="Y is the reward"):
        possibly_optimal_sets(graph, "Y", manipulable=["X", "Y"])
    with pytest.raises(GraphError, match="'Q'"):
        minimal_intervention_sets(graph, "Q")


def test_an_experiment_is_needed_where_there_is_no_formula() -> None:
    assert requires_experiment(ADMG.parse("X -> Y; X <-> Y"), "X", "Y")
    assert not requires_experiment(ADMG.parse("Z -> X -> Y; Z -> Y"), ["X"], "Y")
