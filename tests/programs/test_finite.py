"""Finite models answer exactly as their programs do, and as plain sums over everything do."""

import itertools

import numpy as np
import pytest
import torch

import causalppl as cp
from causalppl.exceptions import DataError, GraphError, ImpossibleEvidenceError, QueryError
from causalppl.graphs import ADMG, random_admg
from causalppl.inference.enumeration import Enumeration
from causalppl.programs.finite import FiniteModel, Latent, random_finite_model

approx = pytest.approx

GRAPH = ADMG.parse("Z -> X -> M -> Y; X -> Y; X <-> Y; Z <-> M")
SIZES = {"Z": 2, "X": 3, "M": 2, "Y": 3}
QUERIES = [
    "P(Y=2 | X=1, Z=0)",
    "P(Y=1 | do(X=1))",
    "P(Y >= 1 | do(X=1), Z=0, M=1)",
    "E[Y | do(X=2)]",
    "P(Y_{X=0}=1 | X=1, Y=1)",
    "E[Y_{X=0} | X=1]",
    "P(Y_{X=1}=1, Y_{X=0}=0, M=1)",
    "E[Y_{X=1, M_{X=0}} - Y_{X=0}]",
    "P(Y_{X=1, M_{X=2}}=1 | M_{Z=0}=1, X=0)",
    "P(Y_{X=0}=0, Y_{X=1}=1, Y_{X=2}=2)",
    "PN(X: 1 vs 0 -> Y: 1 vs 0)",
    "NDE(X: 2 vs 0 -> Y)",
]


def model(seed=0):
    return random_finite_model(GRAPH, states=SIZES, latent_states=3, seed=seed)


def by_simulation(finite, worlds, terms, values):
    """P(terms = values) by a sum over latents and over the cells of every private noise."""
    order = finite.graph.topological_order()
    latents, total = list(finite.latents), 0.0
    for codes in itertools.product(*(range(len(finite.latents[u].prior)) for u in latents)):
        state = dict(zip(latents, codes, strict=True))
        weight = np.prod([finite.latents[u].prior[c] for u, c in state.items()])
        cells = []
        for name in order:
            table = finite.tables[name]
            lead = (slice(None),) * (table.ndim - 1 - len(finite.latents_of(name)))
            rows = table[(*lead, *(state[u] for u in finite.latents_of(name)))]
            edges = np.unique(np.append(np.cumsum(rows, -1).clip(max=1).round(15), [0.0, 1.0]))
            cells.append(list(zip(edges[:-1], np.diff(edges), strict=True)))
        for noise in itertools.product(*cells):
            chance = weight * np.prod([length for _, length in noise])
            if chance and holds(finite, order, state, noise, worlds, terms, values):
                total += chance
    return total


def holds(finite, order, state, noise, worlds, terms, values):
    seen = []
    for do in worlds:
        world = dict(state)
        for name, (low, length) in zip(order, noise, strict=True):
            parents = finite.graph.in_order(finite.graph.parents(name))
            row = finite.tables[name][tuple(world[c] for c in (*parents, *finite.latents_of(name)))]
            drawn = int((np.cumsum(row)[:-1] <= low + length / 2).sum())
            world[name] = do.get(name, drawn)
        seen.append(world)
    return all(seen[w][name] == v for (name, w), v in zip(terms, values, strict=True))


@pytest.mark.parametrize("query", QUERIES)
def test_the_truth_is_that_of_the_program(query):
    finite = model()
    posterior = cp.infer(finite.scm(), query, engine=Enumeration())
    (answer,) = posterior.mean().values()
    assert finite.probability(query) == approx(float(answer), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_random_models_agree_with_their_programs_on_all_rungs(seed):
    graph = random_admg(["A", "B", "C", "D"], directed=0.6, bidirected=0.3, seed=seed)
    finite = random_finite_model(graph, seed=seed)
    scm = finite.scm()
    assert scm.graph == graph
    for query in (
        "P(D=1 | A=0)",
        "P(D=1, C=0 | do(A=1))",
        "P(C_{A=1, B=0}=1, C=0 | D_{A=0}=1)",
        "P(D_{A=1, B_{A=0}}=1 | C=1)",
    ):
        (answer,) = cp.infer(scm, query, engine=Enumeration()).mean().values()
        assert finite.probability(query) == approx(float(answer), abs=1e-12)


@pytest.mark.parametrize("text", ["X -> Y; X <-> Y", "X -> M -> Y; M <-> Y"])
def test_the_truth_is_a_sum_over_latents_and_cells_of_noise(text):
    finite = random_finite_model(ADMG.parse(text), seed=3)
    worlds, terms = ({"X": 0}, {"X": 1}, {}), (("Y", 0), ("Y", 1), ("X", 2))
    answer = finite.probability("P(Y_{X=0}=1, Y_{X=1}=0, X=1)")
    assert answer == approx(by_simulation(finite, worlds, terms, (1, 0, 1)), abs=1e-12)


def test_a_law_holds_the_queries_of_one_world():
    finite = model()
    assert float(finite.law().values.sum()) == approx(1.0)
    under = finite.law({"X": 2})
    assert float(under.probability({"X": 2})) == approx(1.0)
    assert float(under.probability({"Y": 1})) == approx(finite.probability("P(Y=1 | do(X=2))"))
    for_all = finite.law({"X": None})
    torch.testing.assert_close(for_all.condition({"X": 2}).values, under.condition({"X": 2}).values)


def test_a_policy_mixes_interventions():
    finite = model()
    table = np.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])
    answer = finite.law(policies={"X": (("Z",), table)}).probability({"Y": 1})
    parts = (
        table[z, x] * finite.probability(f"P(Y=1, Z={z} | do(X={x}))")
        for z in range(2)
        for x in range(3)
    )
    assert float(answer) == approx(sum(parts))


def test_open_terms_become_axes():
    finite = model()
    table = finite.table("P(Y | do(X), Z)")
    assert table.names == ("Y", "Z", "X")
    assert float(table.probability({"Y": 1, "Z": 0, "X": 2})) == approx(
        finite.probability("P(Y=1 | do(X=2), Z=0)")
    )
    ett = finite.table("P(Y_{X} | X)")
    assert ett.names == ("Y", "X", "do(X)")
    assert float(ett.probability({"Y": 1, "X": 0, "do(X)": 2})) == approx(
        finite.probability("P(Y_{X=2}=1 | X=0)")
    )


def test_a_shifted_domain_shares_the_other_mechanisms():
    finite = model()
    other = finite.shifted(["X", "Y"], seed=5)
    changed = {n for n in GRAPH.nodes if not np.array_equal(other.tables[n], finite.tables[n])}
    moved = {u for u in finite.latents if (other.latents[u].prior != finite.latents[u].prior).any()}
    assert changed == {"X", "Y"}
    assert moved == {"U_X", "U_Y", "U_X_Y"}


def test_without_private_latents_responses_are_monotone():
    finite = random_finite_model(ADMG.parse("X -> Y"), noise_states=1, seed=0)
    chances = [finite.probability(f"P(Y_{{X=0}}={a}, Y_{{X=1}}={1 - a})") for a in (0, 1)]
    assert min(chances) == 0
    general = random_finite_model(ADMG.parse("X -> Y"), noise_states=3, seed=1, concentration=0.3)
    chances = [general.probability(f"P(Y_{{X=0}}={a}, Y_{{X=1}}={1 - a})") for a in (0, 1)]
    assert min(chances) > 0


def test_mistakes_are_named():
    finite = model()
    with pytest.raises(QueryError, match="leaves X open"):
        finite.probability("P(Y=1 | do(X))")
    with pytest.raises(QueryError, match="0 to 2"):
        finite.probability("P(Y=3)")
    with pytest.raises(QueryError, match="'Q'"):
        finite.probability("P(Q=1)")
    with pytest.raises(QueryError, match="0 to 2"):
        finite.law({"X": 7})
    with pytest.raises(GraphError, match="cycle"):
        finite.law(policies={"X": (("Y",), np.full((3, 3), 1 / 3))})
    with pytest.raises(DataError, match="expected \\(2, 3\\)"):
        finite.law(policies={"X": (("Z",), np.full((3, 3), 1 / 3))})
    with pytest.raises(DataError, match="shared latent for each bidirected edge"):
        FiniteModel(ADMG.parse("X <-> Y"), {"X": [0.5, 0.5], "Y": [0.5, 0.5]})
    with pytest.raises(DataError, match="not a law"):
        FiniteModel(ADMG.parse("X"), {"X": [0.5, 0.6]})
    with pytest.raises(DataError, match="shape"):
        FiniteModel(ADMG.parse("X"), {"X": [0.5, 0.5]}, {"U": Latent(("X",), np.array([0.5, 0.5]))})


def test_impossible_evidence_is_refused():
    certain = FiniteModel(ADMG.parse("X -> Y"), {"X": [1.0, 0.0], "Y": [[0.5, 0.5]] * 2})
    with pytest.raises(ImpossibleEvidenceError, match="probability zero"):
        certain.probability("P(Y=1 | X=1)")


def test_evidence_that_only_rounding_makes_possible_is_refused():
    graph = ADMG.parse("V0 -> V1; V2 -> V1; V1 <-> V2")
    model = random_finite_model(graph, states=3, seed=0)
    with pytest.raises(ImpossibleEvidenceError):
        model.probability("P(V1_{V2=1}=1 | V0=1, V1=0, V1_{V0=1}=1)")
