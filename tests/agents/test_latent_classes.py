"""Arm means by contraction against enumeration, and the Gibbs posterior against weighting."""

from itertools import product
from typing import Any

import numpy as np
import pytest

from causalppl.agents.arm_means import ArmMeans
from causalppl.agents.latent_class_engine import LatentClasses
from causalppl.agents.latent_classes import LatentClassModel
from causalppl.agents.tabular_belief import TabularBelief
from causalppl.exceptions import AssumptionError
from causalppl.graphs import ADMG

ENGINE = LatentClasses(num_classes=3)


def model_of(text: str, **sizes: int) -> LatentClassModel:
    graph = ADMG.parse(text)
    return LatentClassModel(graph, {name: sizes.get(name, 2) for name in graph.nodes}, 3)


def random_tables(model: LatentClassModel, runs: int, seed: int) -> np.ndarray:
    prior = LatentClasses(num_classes=3, concentrations=(1.0,))
    return TabularBelief(model, [{}], prior, [np.random.default_rng(seed)], runs).flat


def joint(model: LatentClassModel, flat: np.ndarray, arm: dict[str, int]) -> dict[Any, float]:
    """The law of the variables under an arm, cell by cell from the definition."""
    tables = {name: model.layout.table(flat[None], name)[0] for name in model.layout.shapes}
    names = model.graph.nodes
    found: dict[Any, float] = {}
    for values in product(*[range(model.states[name]) for name in names]):
        seen = dict(zip(names, values, strict=True))
        if any(seen[name] != value for name, value in arm.items()):
            continue
        total = 0.0
        for classes in product(range(model.num_classes), repeat=len(model.hidden)):
            all_ = {**seen, **dict(zip(model.hidden, classes, strict=True))}
            used = [name for name in tables if name not in arm]
            total += np.prod(
                [tables[n][tuple(all_[axis] for axis in model.scope(n))] for n in used]
            )
        found[values] = total
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("text", "context", "sizes"),
    [
        ("Z -> X -> Y; X <-> Y", (), {}),
        ("Z -> X -> Y; X <-> Y", (), {"X": 3, "Y": 3}),
        ("C -> X -> Y; C -> Y; C <-> Y; X <-> Y", ("C",), {"C": 3}),
        ("S -> W -> Y; Z -> X -> Y; T -> X; T -> Y; W <-> X; Z <-> Y", (), {}),
        ("A -> B -> Y; A <-> B; B <-> Y; A <-> Y", (), {}),
        ("C -> B -> Y; D -> Y; C <-> D", ("C", "D"), {}),
    ],
)
def test_arm_means_are_those_of_enumeration(
    text: str, context: tuple[str, ...], sizes: dict[str, int], seed: int
) -> None:
    model = model_of(text, **sizes)
    flat = random_tables(model, 2, seed)
    settable = [name for name in model.graph.nodes if name not in (*context, "Y")]
    arms: list[dict[str, int]] = []
    for chosen in product((False, True), repeat=len(settable)):
        names = [name for name, kept in zip(settable, chosen, strict=True) if kept]
        for values in product(*[range(model.states[name]) for name in names]):
            arms.append(dict(zip(names, values, strict=True)))
    rewards = np.linspace(-1, 2, model.states["Y"])
    found = ArmMeans(model, "Y", rewards, arms, context)(flat)
    names = model.graph.nodes
    for run, number in product(range(2), range(len(arms))):
        law = joint(model, flat[run], arms[number])
        for view, seen in enumerate(product(*[range(model.states[name]) for name in context])):
            kept = {
                values: chance
                for values, chance in law.items()
                if all(values[names.index(n)] == v for n, v in zip(context, seen, strict=True))
            }
            mean = sum(rewards[values[names.index("Y")]] * p for values, p in kept.items())
            assert found[run, view, number] == pytest.approx(mean / sum(kept.values()), abs=1e-12)


def weighted_truth(rows: list[tuple[dict[str, int], int]], arms: list[dict[str, int]]) -> Any:
    """Posterior means of arms by weighting a million draws of the prior with the likelihood."""
    model = model_of("X -> Y; X <-> Y")
    draws = random_tables(model, 300_000, 1)
    weight = model.layout.table(draws, "~X,Y")
    x_table, y_table = model.layout.table(draws, "X"), model.layout.table(draws, "Y")
    log_likelihood = np.zeros(len(draws))
    for values, arm in rows:
        chance = weight * y_table[:, values["X"], :, values["Y"]]
        if "X" not in arms[arm]:
            chance = chance * x_table[:, :, values["X"]]
        log_likelihood += np.log(chance.sum(1))
    weights = np.exp(log_likelihood - log_likelihood.max())
    weights /= weights.sum()
    assert 1 / (weights**2).sum() > 2000
    means = ArmMeans(model, "Y", np.array([0.0, 1.0]), arms)(draws)[:, 0]
    return weights @ means, np.sqrt(weights @ (means - weights @ means) ** 2)


def test_the_gibbs_posterior_is_the_weighted_prior() -> None:
    """Means within 4 standard errors of 400 chains of 60 sweeps: false alarms below 1 in 1,000."""
    arms = [{}, {"X": 0}, {"X": 1}]
    rng = np.random.default_rng(0)
    rows = [({"X": int(x), "Y": int(y)}, 0) for x, y in rng.integers(0, 2, (6, 2))]
    rows += [({"X": 1, "Y": 1}, 2)] * 3 + [({"X": 0, "Y": 0}, 1)] * 2 + [({"X": 1, "Y": 1}, 0)] * 4
    mean, spread = weighted_truth(rows, arms)
    prior = LatentClasses(num_classes=3, concentrations=(1.0,))
    model, runs = model_of("X -> Y; X <-> Y"), 400
    belief = TabularBelief(model, arms, prior, [np.random.default_rng(2)], runs)
    for values, arm in rows:
        belief.add({k: np.full(runs, v) for k, v in values.items()}, np.full(runs, arm))
    for _ in range(60):
        belief.sweep()
    drawn = ArmMeans(model, "Y", np.array([0.0, 1.0]), arms)(belief.flat)[:, 0]
    np.testing.assert_array_less(np.abs(drawn.mean(0) - mean), 4 * spread / np.sqrt(runs) + 0.005)
    np.testing.assert_allclose(drawn.std(0), spread, rtol=0.2)


def test_a_log_is_its_rows_one_by_one() -> None:
    model = model_of("Z -> X -> Y; X <-> Y")
    rng = np.random.default_rng(0)
    log = {name: rng.integers(0, 2, (3, 40)) for name in "ZXY"}
    beliefs = [TabularBelief(model, [{"X": 0}, {"Z": 1}], ENGINE, [rng], 3) for _ in range(2)]
    beliefs[0].read(log, frozenset("X"))
    for row in range(40):
        beliefs[1].add({k: v[:, row] for k, v in log.items()}, np.zeros(3, dtype=int))
    for first, second in zip(beliefs[0].districts, beliefs[1].districts, strict=True):
        np.testing.assert_array_equal(first.counts, second.counts)
    assert sum(district.counts.sum() for district in beliefs[0].districts) == 3 * 40 * 2


def test_what_is_foretold_adds_up_to_one() -> None:
    model = model_of("Z -> X -> Y; X <-> Y", X=3)
    belief = TabularBelief(model, [{"X": 0}, {}], ENGINE, [np.random.default_rng(0)], 4)
    for arm, fixed in ((0, {"X": 0}), (1, {})):
        total = np.zeros(4)
        for z, x, y in product(range(2), range(3), range(2)):
            if fixed.get("X", x) == x:
                row = {k: np.full(4, v) for k, v in zip("ZXY", (z, x, y), strict=True)}
                total += np.exp(belief.log_predictive(row, np.full(4, arm)))
        np.testing.assert_allclose(total, 1, atol=1e-12)


def test_too_large_a_model_is_refused() -> None:
    causes = [f"A{i}" for i in range(24)]
    graph = ADMG.parse(f"{{{', '.join(causes)}}} -> Y")
    with pytest.raises(AssumptionError, match="entries"):
        _ = LatentClassModel(graph, dict.fromkeys(graph.nodes, 2), 4).layout
