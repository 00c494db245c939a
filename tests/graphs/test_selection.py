"""Selection diagrams and S-admissible sets, against separation by definition and exact models."""

from itertools import combinations

import numpy as np
import pytest
import torch

from causalppl.exceptions import GraphError
from causalppl.graphs import ADMG, is_separated, random_admg
from causalppl.graphs.selection import (
    find_s_admissible_set,
    is_s_admissible,
    s_admissible_sets,
    selection_diagram,
    shifted_variables,
)
from causalppl.programs.finite import random_finite_model

# Pearl and Bareinboim (2011, 2014): the populations differ in Z
AGE = ADMG.parse("Z -> {X, Y}; X -> Y")  # Z is age, a confounder
SKILL = ADMG.parse("U -> {Z, Y}; X -> Y")  # Z is language skill, a proxy of age U
BIOMARKER = ADMG.parse("X -> Z -> Y")  # Z lies between treatment and outcome


def subsets(items):
    items = sorted(items)
    return [frozenset(c) for size in range(len(items) + 1) for c in combinations(items, size)]


def random_problems(count):
    for seed in range(count):
        rng = np.random.default_rng([seed, 3])
        graph = random_admg(int(rng.integers(3, 6)), directed=0.5, bidirected=0.2, seed=seed)
        x, y = rng.permutation(graph.nodes)[:2].tolist()
        shifted = rng.permutation(graph.nodes)[: int(rng.integers(1, 3))].tolist()
        yield graph, shifted, x, y, seed


# the diagram


def test_a_selection_node_points_at_what_is_shifted():
    diagram = selection_diagram(AGE, {"trial": ["Z"], "survey": ["Y", "X"]})
    assert diagram == ADMG.parse("Z -> {X, Y}; X -> Y; S_trial -> Z; S_survey -> X; S_survey -> Y")
    assert diagram.nodes == (*AGE.nodes, "S_trial", "S_survey")
    assert shifted_variables(diagram, "S_survey") == diagram.in_order({"X", "Y"})


def test_latent_causes_stay_and_a_population_may_differ_in_nothing():
    graph = ADMG.parse("X -> Y; X <-> Y")
    diagram = selection_diagram(graph, {"same": []})
    assert diagram.subgraph(graph.nodes) == graph
    assert shifted_variables(diagram, "S_same") == ()


def test_a_taken_name_is_refused():
    with pytest.raises(GraphError, match="'S_trial', which is a variable"):
        selection_diagram(ADMG.parse("S_trial -> Y"), {"trial": "Y"})


def test_a_variable_that_is_not_there_is_refused():
    with pytest.raises(GraphError, match="unknown node 'W'"):
        selection_diagram(AGE, {"trial": ["W"]})


def test_a_node_with_causes_is_no_selection_node():
    with pytest.raises(GraphError, match="'Y' has arrowheads from Z, X"):
        shifted_variables(AGE, "Y")


# published examples


@pytest.mark.parametrize(
    ("graph", "covariates", "expected"),
    [
        (AGE, "", False),
        (AGE, "Z", True),  # reweight by age
        (SKILL, "", True),  # carries over as it is
        (SKILL, "Z", False),  # reweighting by the proxy is wrong
        (BIOMARKER, "", False),
        (BIOMARKER, "Z", True),  # with the biomarker's law under treatment
    ],
)
def test_age_skill_and_biomarker(graph, covariates, expected):
    assert is_s_admissible(graph, "Z", "X", "Y", set(covariates)) is expected


def test_a_shifted_outcome_is_never_admissible():
    assert find_s_admissible_set(AGE, ["Y"], "X", "Y") is None
    assert list(s_admissible_sets(AGE, ["Y"], "X", "Y")) == []


def test_a_shifted_treatment_does_not_matter():
    assert is_s_admissible(AGE, "X", "X", "Y")
    assert find_s_admissible_set(AGE, "X", "X", "Y") == frozenset()


def test_the_search_keeps_to_what_was_measured():
    graph = ADMG.parse("A -> B -> Y; X -> Y")
    assert find_s_admissible_set(graph, "A", "X", "Y") == {"A"}
    assert find_s_admissible_set(graph, "A", "X", "Y", within="B") == {"B"}
    assert find_s_admissible_set(graph, "A", "X", "Y", within=()) is None


def test_overlapping_sets_are_refused():
    with pytest.raises(GraphError, match="X is in two"):
        is_s_admissible(AGE, "Z", "X", "Y", {"X"})
    with pytest.raises(GraphError, match="is in two"):
        is_s_admissible(AGE, "Z", "X", "X")


# random diagrams


def test_admissible_is_separation_in_the_diagram_written_by_hand():
    for graph, shifted, x, y, _ in random_problems(80):
        edges = [edge for edge in graph.directed_edges if edge[1] != x]
        arcs = [arc for arc in graph.bidirected_edges if x not in arc]
        edges += [("S", variable) for variable in shifted if variable != x]
        cut = ADMG([*graph.nodes, "S"], edges, arcs)
        for covariates in subsets(set(graph.nodes) - {x, y}):
            expected = is_separated(cut, "S", y, covariates | {x})
            assert is_s_admissible(graph, shifted, x, y, covariates) is expected


def test_all_minimal_sets_are_listed():
    for graph, shifted, x, y, _ in random_problems(80):
        candidates = subsets(set(graph.nodes) - {x, y})
        admissible = [z for z in candidates if is_s_admissible(graph, shifted, x, y, z)]
        minimal = {z for z in admissible if not any(other < z for other in admissible)}
        listed = list(s_admissible_sets(graph, shifted, x, y))
        assert set(listed) == minimal
        assert len(listed) == len(minimal)
        found = find_s_admissible_set(graph, shifted, x, y)
        assert (found in minimal) if minimal else (found is None)


def test_within_admissible_strata_two_populations_have_the_same_effect():
    admissible = others = 0
    for graph, shifted, x, y, seed in random_problems(25):
        model = random_finite_model(graph, seed=seed)
        other = model.shifted(shifted, seed=seed + 1000)
        for covariates in subsets(set(graph.nodes) - {x, y}):
            given = "".join(f", {name}" for name in sorted(covariates))
            query = f"P({y} | do({x}){given})"
            first, second = model.table(query).values, other.table(query).values
            if is_s_admissible(graph, shifted, x, y, covariates):
                admissible += 1
                assert torch.allclose(first, second, atol=1e-12), (graph, query, shifted)
            else:
                others += 1
                assert not torch.allclose(first, second, atol=1e-6), (graph, query, shifted)
    assert min(admissible, others) > 20
