"""No set is better than the possibly optimal ones, whatever the mechanisms: by all sets' values."""

from itertools import chain, combinations, product

import numpy as np
import pytest

from causalppl.agents.arm_means import ArmMeans
from causalppl.agents.latent_class_engine import LatentClasses
from causalppl.agents.latent_classes import LatentClassModel
from causalppl.agents.tabular_belief import TabularBelief
from causalppl.graphs import ADMG, random_admg
from causalppl.identification import minimal_intervention_sets, possibly_optimal_sets

PRIOR = LatentClasses(num_classes=2, concentrations=(0.1, 0.5))
MODELS = 40


def best_by_set(
    graph: ADMG, y: str, names: list[str], seed: int
) -> dict[frozenset[str], np.ndarray]:
    """For each set of variables its best value, in each of many random models."""
    sets = chain.from_iterable(combinations(names, size) for size in range(len(names) + 1))
    arms = [dict(zip(s, v, strict=True)) for s in sets for v in product((0, 1), repeat=len(s))]
    model = LatentClassModel(graph, dict.fromkeys(graph.nodes, 2), PRIOR.num_classes)
    tables = TabularBelief(model, [{}], PRIOR, [np.random.default_rng(seed)], MODELS).flat
    means = ArmMeans(model, y, np.array([0.0, 1.0]), arms)(tables)[:, 0]
    found: dict[frozenset[str], np.ndarray] = {}
    for number, arm in enumerate(arms):
        key = frozenset(arm)
        found[key] = np.maximum(found.get(key, means[:, number]), means[:, number])
    return found


def check(seed: int) -> None:
    graph = random_admg(2 + seed % 5, directed=0.5, bidirected=0.35, seed=seed)
    y = graph.topological_order()[-1]
    others = [name for name in graph.nodes if name != y]
    allowed = [name for place, name in enumerate(others) if seed % 2 == 0 or (seed + place) % 3]
    values = best_by_set(graph, y, allowed, seed)
    top = np.max(list(values.values()), axis=0)
    optimal = possibly_optimal_sets(graph, y, manipulable=allowed)
    minimal = minimal_intervention_sets(graph, y, manipulable=allowed)
    assert set(optimal) <= set(minimal) <= set(values)
    for sets in (optimal, minimal):
        reached = np.max([values[found] for found in sets], axis=0)
        np.testing.assert_allclose(reached, top, atol=1e-12)


@pytest.mark.parametrize("seed", range(40))
def test_nothing_is_better_than_the_possibly_optimal_sets(seed: int) -> None:
    check(seed)


@pytest.mark.slow
def test_nothing_is_better_on_460_more_diagrams() -> None:
    for seed in range(40, 500):
        check(seed)


def test_each_possibly_optimal_set_is_best_somewhere() -> None:
    graph = ADMG.parse("S -> W -> Y; Z -> X -> Y; T -> X; T -> Y; W <-> X; Z <-> Y")
    best = set()
    for seed in range(40):
        values = best_by_set(graph, "Y", ["S", "T", "W", "Z", "X"], seed)
        optimal = possibly_optimal_sets(graph, "Y")
        table = np.stack([values[found] for found in optimal])
        strictly = table > np.sort(table, axis=0)[-2] + 1e-9
        best |= {found for found, wins in zip(optimal, strictly, strict=True) if wins.any()}
    assert best == set(optimal)
