"""Path-specific effects against the structural equations, and their witnesses by definition."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations, pairwise, product

import numpy as np
import pytest

from causalppl.estimation import evaluate
from causalppl.exceptions import GraphError, NotIdentifiableError, QueryError
from causalppl.graphs import ADMG, random_admg
from causalppl.identification import identify
from causalppl.identification.path_specific import (
    path_specific_effect,
    path_specific_query,
    recanting_districts,
    recanting_witnesses,
)
from causalppl.programs.finite import FiniteModel, random_finite_model
from causalppl.queries import Query, parse_query

TRIANGLE = "X -> M -> Y; X -> Y"
LADDER = "X -> M1 -> M2 -> Y; X -> M2; X -> Y; M1 -> Y"
KITE = "X -> R -> Z -> Y; R -> Y"


@dataclass
class Question:
    """A diagram and the edges that are active in it."""

    graph: ADMG
    treatment: str
    outcome: str
    active: list[tuple[str, ...]]
    every: list[tuple[str, ...]]
    seed: int

    @property
    def edges(self) -> set[tuple[str, str]]:
        return {edge for path in self.active for edge in pairwise(path)}

    @property
    def parts(self) -> tuple[ADMG, str, str, set[tuple[str, str]]]:
        return self.graph, self.treatment, self.outcome, self.edges

    def is_active(self, path: tuple[str, ...]) -> bool:
        return self.edges.issuperset(pairwise(path))

    @property
    def experiments(self) -> list[tuple[str, ...]]:
        names = self.graph.nodes
        return [do for size in range(1, len(names)) for do in combinations(names, size)]


def directed_paths(graph: ADMG, start: str, end: str) -> list[tuple[str, ...]]:
    if start == end:
        return [(end,)]
    children = graph.in_order(graph.children(start))
    return [(start, *rest) for child in children for rest in directed_paths(graph, child, end)]


def questions(count: int, sizes: tuple[int, int], seed: int = 0) -> Iterator[Question]:
    """Draw diagrams in which several paths lead to the outcome, and make some of them active."""
    rng = np.random.default_rng(seed)
    found = 0
    while found < count:
        graph = random_admg(
            int(rng.integers(sizes[0], sizes[1] + 1)),
            directed=float(rng.uniform(0.5, 0.95)),
            bidirected=float(rng.uniform(0, 0.4)),
            seed=int(rng.integers(2**31)),
        )
        order = graph.topological_order()
        treatment = order[int(rng.integers(2)) if len(order) > 3 else 0]
        every = directed_paths(graph, treatment, order[-1])
        if len(every) < 2 and rng.random() < 0.9:
            continue
        some = [path for path in every if rng.random() < 0.5]
        if some:
            found += 1
            yield Question(graph, treatment, order[-1], some, every, found)


def law_of_outcome(model: FiniteModel, question: Question, active: int, baseline: int) -> list:
    """Enumerate latent states and noise; compute both versions of each variable side by side."""
    graph, treatment, outcome, edges = question.parts
    causes = graph.remove_incoming(treatment).ancestors(outcome)
    order = [name for name in graph.topological_order() if name in causes]
    latents = {u: latent for u, latent in model.latents.items() if causes & {*latent.children}}
    law = [0.0] * model.states[outcome]

    def unfold(place: int, values: dict, states: dict, weight: float) -> None:
        if place == len(order):
            law[values[outcome, True]] += weight
            return
        name = order[place]
        if name == treatment:
            both = {(name, False): baseline, (name, True): active}
            return unfold(place + 1, values | both, states, weight)
        rows = []
        for version in (False, True):
            parents = graph.in_order(graph.parents(name))
            seen = [values[p, version and (p, name) in edges] for p in parents]
            row = model.tables[name][(*seen, *(states[u] for u in model.latents_of(name)))]
            rows.append(np.cumsum(row)[:-1])
        cuts = sorted({0.0, *rows[0].tolist(), *rows[1].tolist(), 1.0})
        for low, high in pairwise(cuts):
            # the value is the first state whose cumulative probability reaches the noise
            first, second = (int(np.searchsorted(row, (low + high) / 2)) for row in rows)
            both = {(name, False): first, (name, True): second}
            unfold(place + 1, values | both, states, weight * (high - low))
        return None

    for codes in product(*(range(len(u.prior)) for u in latents.values())):
        states = dict(zip(latents, codes, strict=True))
        weight = float(np.prod([latents[u].prior[code] for u, code in states.items()]))
        unfold(0, {}, states, weight)
    return law


@pytest.mark.parametrize(
    ("graph", "paths", "expected"),
    [
        (TRIANGLE, "X -> Y", "E[Y_{X=1, M_{X=0}}]"),  # natural direct
        (TRIANGLE, "X -> M -> Y", "E[Y_{X=0, M_{X=1}}]"),  # natural indirect
        (TRIANGLE, "X -> {M, Y}; M -> Y", "E[Y_{X=1}]"),  # total
        (TRIANGLE + "; W -> {X, M, Y}", "X -> Y", "E[Y_{X=1, M_{X=0}}]"),
        (LADDER, "X -> Y", "E[Y_{X=1, M1_{X=0}, M2_{X=0}}]"),
        (LADDER, "X -> M1 -> M2 -> Y; M1 -> Y; X -> M2", "E[Y_{X=0, M1_{X=1}, M2_{X=1}}]"),
        (LADDER, "X -> M1 -> M2 -> Y; M1 -> Y", "E[Y_{X=0, M1_{X=1}}]"),
        (LADDER, "X -> M2 -> Y", "E[Y_{X=0, M2_{X=1, M1_{X=0}}}]"),
        (LADDER, "X -> M1 -> M2 -> Y", "E[Y_{X=0, M2_{X=0, M1_{X=1}}}]"),
        (KITE, "X -> R -> Z -> Y", "E[Y_{X=0, Z_{X=1}}]"),
        (KITE, "X -> R -> Y", "E[Y_{X=1, Z_{X=0}}]"),
        ("X -> M -> P -> Y; X -> P", "X -> P -> Y", "E[Y_{X=1, M_{X=0}}]"),
        ("X -> {A, B, C} -> Y", "X -> A -> Y", "E[Y_{X=0, A_{X=1}}]"),
        ("X -> {A, B, C} -> Y", "X -> {B, C} -> Y", "E[Y_{X=1, A_{X=0}}]"),
        ("X -> R -> {A, B, C} -> Y", "X -> R -> C -> Y", "E[Y_{X=0, C_{X=1}}]"),
        ("X -> R -> {A, B, C} -> Y", "X -> R -> {A, C} -> Y", "E[Y_{X=1, B_{X=0}}]"),
    ],
)
def test_worlds_are_nested_only_where_versions_meet(graph: str, paths: str, expected: str) -> None:
    query = path_specific_query(ADMG.parse(graph), "X", "Y", paths)
    assert str(query) == expected
    assert parse_query(str(query)) == query


def test_a_query_takes_text_edges_and_chains_in_any_order() -> None:
    graph = ADMG.parse(LADDER)
    text = path_specific_query(graph, "X", "Y", "M2 -> Y; M1 <- X; M1 -> M2")
    edges = {("M1", "M2"), ("X", "M1"), ("M2", "Y")}
    other = ADMG(graph.nodes[::-1], graph.directed_edges[::-1])
    assert path_specific_query(graph, "X", "Y", edges) == text
    assert path_specific_query(graph, "X", "Y", [["X", "M1", "M2", "Y"]]) == text
    assert path_specific_query(other, "X", "Y", iter([("X", "M1", "M2"), ("M2", "Y")])) == text


def test_a_query_has_the_values_and_the_kind_asked_for() -> None:
    graph = ADMG.parse(TRIANGLE)
    query = path_specific_query(graph, "X", "Y", "X -> Y", active="b", baseline="a", kind="P")
    assert str(query) == "P(Y_{X=b, M_{X=a}})"


def test_a_long_chain_is_written_at_once() -> None:
    names = [f"V{i}" for i in range(600)]
    graph = ADMG(names, [*pairwise(names), ("V0", "V599")])
    query = path_specific_query(graph, "V0", "V599", [names])
    assert str(query) == "E[V599_{V0=0, V1_{V0=1}}]"


@pytest.mark.parametrize(
    ("paths", "error", "message"),
    [
        ("M -> X", GraphError, "M -> X is to be active and is not in the diagram"),
        ("X -> Q", GraphError, "unknown node 'Q'"),
        ("X -> M", QueryError, "active edges do not lead from X -> M to Y; expected each edge"),
        ("M -> Y", QueryError, "active edges do not lead from X to M -> Y; expected each edge"),
        ("X -> Y; M -> Y; X -> W", QueryError, "from X to M -> Y and .* from X -> W to Y;"),
        ("X -> Y; Y -> C", QueryError, "from Y -> C to Y; .*; complete the path, or remove"),
        ("W -> M", QueryError, "from X to W -> M and .* from W -> M to Y;"),
        ("X <-> Y", QueryError, "expected directed edges only"),
        ("X -> Y; M", QueryError, "nodes that stand alone"),
        ("", QueryError, "no edge is active; expected a path from X to Y"),
        ([], QueryError, "no edge is active"),
        (("X", "Y"), QueryError, "an active path is 'X'; .* put paths into a list"),
        ([("X",)], QueryError, r"an active path is \('X',\)"),
        (None, QueryError, "an active path is None"),
        ([("X", 3)], GraphError, "unknown node 3"),
    ],
)
def test_edges_that_are_no_paths_are_named(paths, error, message) -> None:
    graph = ADMG.parse("X -> M -> Y; X -> Y -> C; X -> W; W -> M; X <-> Y")
    for ask in (path_specific_query, path_specific_effect, recanting_districts):
        with pytest.raises(error, match=message):
            ask(graph, "X", "Y", paths)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"outcome": "X"}, "X is both treatment and outcome"),
        ({"treatment": "Q"}, "unknown node 'Q'"),
        ({"active": 0}, "X is 0 both along active paths and along all others"),
        ({"active": True, "baseline": 1}, "X is True both"),
        ({"active": None}, "a value is None"),
        ({"kind": "Q"}, "the kind is 'Q'"),
    ],
)
def test_settings_that_make_no_question_are_refused(settings, message) -> None:
    given = {"treatment": "X", "outcome": "Y", "paths": "X -> Y", **settings}
    with pytest.raises((GraphError, QueryError), match=message):
        path_specific_query(ADMG.parse(TRIANGLE), **given)


def test_an_effect_is_the_difference_from_one_world() -> None:
    graph = ADMG.parse(TRIANGLE)
    model = random_finite_model(graph, seed=3)
    direct = path_specific_effect(graph, "X", "Y", "X -> Y")
    indirect = path_specific_effect(graph, "X", "Y", "X -> M -> Y")
    rest = path_specific_effect(graph, "X", "Y", "X -> M -> Y", against="active")
    assert str(direct) == "E[Y_{X=1, M_{X=0}} - Y_{X=0}]"
    assert str(rest) == "E[Y_{X=0, M_{X=1}} - Y_{X=1}]"
    assert parse_query(str(direct)) == direct
    for effect, contrast in ((direct, "NDE(X -> Y; M)"), (indirect, "NIE(X -> Y; M)")):
        truth = model.probability(contrast)
        assert evaluate(identify(graph, effect), model.law()) == pytest.approx(truth, abs=1e-9)
        assert model.probability(effect) == pytest.approx(truth, abs=1e-12)
    total = model.probability("ATE(X -> Y)")
    assert model.probability(indirect) - model.probability(rest) == pytest.approx(total)


def test_an_effect_along_all_paths_differs_from_the_baseline_only() -> None:
    graph = ADMG.parse(KITE)
    paths = "X -> R -> {Z, Y}; Z -> Y"
    assert str(path_specific_effect(graph, "X", "Y", paths)) == "E[Y_{X=1} - Y_{X=0}]"
    with pytest.raises(QueryError, match=r"leaves no difference from Y_\{X=1\}"):
        path_specific_effect(graph, "X", "Y", paths, against="active")
    with pytest.raises(QueryError, match="against is 'total'"):
        path_specific_effect(graph, "X", "Y", paths, against="total")


def test_a_query_and_its_formula_give_what_the_structural_equations_do() -> None:
    identified = nested = 0
    for question in [*questions(120, (3, 4)), *questions(40, (5, 5), seed=1)]:
        graph, treatment, outcome, _ = question.parts
        sizes = {name: 3 if name in (treatment, outcome) else 2 for name in graph.nodes}
        noise = 2 if len(graph) + len(graph.bidirected_edges) < 5 else 1
        model = random_finite_model(graph, states=sizes, noise_states=noise, seed=question.seed)
        law = law_of_outcome(model, question, active=2, baseline=1)
        query = path_specific_query(*question.parts, active=2, baseline=1)
        table = model.answer(replace(query, kind="P", coefficients=()))
        assert table.values == pytest.approx(np.array(law), abs=1e-9), question
        truth = sum(value * chance for value, chance in enumerate(law))
        assert model.probability(query) == pytest.approx(truth, abs=1e-9), question
        nested += query.outcomes[0].term.is_nested
        if recanting_districts(*question.parts):
            continue
        identified += 1
        estimand = identify(graph, query, experiments=question.experiments)
        laws = {(None, frozenset(do)): model.law(dict.fromkeys(do)) for do in question.experiments}
        number = evaluate(estimand, {(None, frozenset()): model.law(), **laws})
        assert number == pytest.approx(truth, abs=1e-9), (question, str(estimand))
    assert identified > 80
    assert nested > 100


def test_no_intervention_in_a_query_is_idle() -> None:
    for question in questions(60, (4, 5), seed=2):
        query = path_specific_query(*question.parts)
        model = random_finite_model(question.graph, seed=question.seed)
        term = query.outcomes[0].term
        for gone in term.interventions:
            kept = [str(i) for i in term.interventions if i != gone]
            other = f"E[{term.name}_{{{', '.join(kept)}}}]" if kept else f"E[{term.name}]"
            difference = model.probability(query) - model.probability(other)
            assert abs(difference) > 1e-7, (question, str(query), other)


def test_a_recanting_district_is_why_experiments_do_not_suffice() -> None:
    refused = 0
    for question in questions(300, (3, 6), seed=4):
        query = path_specific_query(*question.parts, kind="P")
        if is_identified(question, query):
            assert not recanting_districts(*question.parts), question
        else:
            refused += 1
            assert recanting_districts(*question.parts), question
    assert 60 < refused < 240


def is_identified(question: Question, query: Query) -> bool:
    try:
        identify(question.graph, query, experiments=question.experiments)
    except NotIdentifiableError:
        return False
    return True


def test_recanting_witnesses_and_districts_are_those_of_the_definitions() -> None:
    several = 0
    for question in questions(300, (3, 6), seed=5):
        graph, treatment, outcome, _ = question.parts
        witnesses = recanting_witnesses(*question.parts)
        assert witnesses == witnesses_by_definition(question), question
        districts = recanting_districts(*question.parts)
        assert list(districts) == districts_by_definition(question), question
        assert bool(districts) or not witnesses, question
        without_latents = ADMG(graph.nodes, graph.directed_edges)
        alone = recanting_districts(without_latents, treatment, outcome, question.edges)
        assert bool(alone) is bool(witnesses), question
        several += bool(districts) and not witnesses
    assert several > 10


def witnesses_by_definition(question: Question) -> frozenset[str]:
    """Find nodes where an active path could go on, past the same beginning, in two ways.

    Avin, Shpitser and Pearl (2005): one continuation makes a path that is active, one does not.
    """
    graph, treatment, outcome, _ = question.parts
    found = set()
    for node in graph.nodes:
        if node == treatment:
            continue
        ends = directed_paths(graph, node, outcome)
        for begin in directed_paths(graph, treatment, node):
            kinds = {question.is_active((*begin, *end[1:])) for end in ends}
            if len(kinds) == 2:
                found.add(node)
    return frozenset(found)


def districts_by_definition(question: Question) -> list[frozenset[str]]:
    """Find districts entered by an active path and by another one (Shpitser 2013)."""
    graph, treatment, _, _ = question.parts
    causes = graph.remove_incoming(treatment).ancestors(question.outcome) - {treatment}
    entered = {
        kind: {path[1] for path in question.every if question.is_active(path) is kind}
        for kind in (True, False)
    }
    districts = graph.subgraph(causes).districts()
    return [d for d in districts if d & entered[True] and d & entered[False]]
