"""Formulas against programs: random diagrams, random finite models, every kind of query.

An identifiable query's formula, evaluated on the laws that the data supply, must give what the
model does; a refused one must have a checkable witness and two models that show it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from causalppl.data import Factor
from causalppl.estimation import SourceKey, counterexample, evaluate
from causalppl.exceptions import ImpossibleEvidenceError, NotIdentifiableError, QueryError
from causalppl.graphs import ADMG, random_admg
from causalppl.identification import Domain, Estimand, identify
from causalppl.programs.finite import FiniteModel, random_finite_model

KINDS = ["do", "conditional", "experiments", "domains", "counterfactual", "ett", "nested"]
CASES = 300  # of each kind: 2,100 in all


@dataclass
class Question:
    """A query on a diagram, and the data for it."""

    graph: ADMG
    query: str
    seed: int
    experiments: list[set[str]] = field(default_factory=list)
    domains: list[Domain] = field(default_factory=list)
    observational: bool = True

    def identify(self) -> Estimand:
        return identify(
            self.graph,
            self.query,
            experiments=self.experiments,
            domains=self.domains,
            observational=self.observational,
        )

    def laws(self, model: FiniteModel) -> dict[SourceKey, Factor]:
        found: dict[SourceKey, Factor] = {}
        if self.observational:
            found[None, frozenset()] = model.law()
        for do in self.experiments:
            found[None, frozenset(do)] = model.law(dict.fromkeys(do))
        for place, domain in enumerate(self.domains):
            other = model.shifted(domain.shifted, seed=self.seed + 1000 + place)
            if domain.observational:
                found[domain.name, frozenset()] = other.law()
            for experiment in domain.experiments:
                found[domain.name, frozenset(experiment)] = other.law(dict.fromkeys(experiment))
        return found


def questions(kind: str, count: int) -> Iterator[Question]:
    """Draw questions on diagrams dense enough in ``<->`` to make the recursion work hard."""
    rng = np.random.default_rng([KINDS.index(kind), 7])
    for seed in range(count):
        small = kind in ("counterfactual", "ett", "nested")
        graph = random_admg(
            int(rng.integers(3, 5 if small else 7)),
            directed=float(rng.uniform(0.3, 0.8)),
            bidirected=float(rng.uniform(0.1, 0.45)),
            seed=seed,
        )
        yield _question(kind, graph, rng, seed)


def _question(kind: str, graph: ADMG, rng: np.random.Generator, seed: int) -> Question:
    names = list(graph.topological_order())

    def some(low: int, high: int, among: list[str]) -> list[str]:
        return sorted(rng.permutation(among)[: int(rng.integers(low, high + 1))].tolist())

    def put(names: list[str]) -> str:
        return ", ".join(f"{name}={rng.integers(2)}" for name in names)

    y = names[-1] if rng.random() < 0.7 else str(rng.choice(names))
    rest = [name for name in names if name != y]
    x = some(1, 2, rest)
    z = some(1, 1, [name for name in rest if name not in x]) if kind == "conditional" else []
    do = f"do({put(x)})"
    if kind in ("counterfactual", "ett", "nested"):
        first, second = rng.permutation(rest)[:2].tolist()
        text = {
            "ett": f"P({put([y])[:-2]}_{{{first}=0}}=1 | {first}=1)",
            "nested": f"P({y}_{{{first}=1, {second}_{{{first}=0}}}}=1)",
            "counterfactual": (
                f"P({y}_{{{put([first])}}}=1, {second}_{{{put([first])}}}=0"
                + (f" | {put([first])})" if rng.random() < 0.5 else f", {put([first])})")
            ),
        }[kind]
        return Question(graph, text, seed, [{first}] if rng.random() < 0.5 else [])
    text = f"P({put([y])} | {', '.join([do, *([put(z)] if z else [])])})"
    if kind == "experiments":
        studies = [set(some(1, 2, names)) for _ in range(3)]
        return Question(graph, text, seed, studies, observational=rng.random() < 0.5)
    if kind == "domains":
        abroad = [
            Domain(f"d{i}", some(0, 2, names), [some(1, 2, names)], rng.random() < 0.5)
            for i in range(2)
        ]
        return Question(graph, text, seed, [], abroad, rng.random() < 0.5)
    return Question(graph, text, seed)


def check(question: Question) -> str:
    """Compare the formula with a random model, and say which way the verdict went."""
    try:
        estimand = question.identify()
    except NotIdentifiableError as error:
        return "refused" if error.hedge.check() else "refused without a witness"
    except (QueryError, ImpossibleEvidenceError):
        return "no question"
    model = random_finite_model(question.graph, seed=question.seed)
    table = evaluate(estimand, question.laws(model))
    assert isinstance(table, Factor)
    assert not table.names
    truth = model.probability(question.query)
    assert float(table.values) == pytest.approx(truth, abs=1e-9), (question, str(estimand))
    assert Estimand.from_json(estimand.to_json()) == estimand
    return "identified"


@pytest.mark.parametrize("kind", KINDS)
def test_a_formula_gives_what_the_model_does(kind: str) -> None:
    verdicts = [check(question) for question in questions(kind, CASES)]
    assert verdicts.count("identified") > CASES / 5
    assert verdicts.count("refused") > CASES / 30
    assert verdicts.count("no question") < CASES / 3
    assert "refused without a witness" not in verdicts


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_refusal_has_two_models_that_show_it(kind: str) -> None:
    shown = 0
    for question in questions(kind, CASES):
        if len(question.graph) > 4:
            continue
        try:
            question.identify()
        except NotIdentifiableError as error:
            pair = counterexample(error, seed=question.seed)
            assert pair.agreement < 1e-12, question
            assert pair.difference > 1e-4, question
            assert pair.check(), question
            shown += 1
        except (QueryError, ImpossibleEvidenceError):
            continue
        if shown == 12:
            break
    assert shown >= 5


def test_a_formula_does_not_depend_on_how_the_diagram_is_written() -> None:
    rng = np.random.default_rng(3)
    for seed in range(60):
        graph = random_admg(6, directed=0.5, bidirected=0.3, seed=seed)
        order = rng.permutation(graph.nodes).tolist()
        other = ADMG(order, graph.directed_edges[::-1], graph.bidirected_edges[::-1])
        query = f"P({graph.topological_order()[-1]} | do({graph.topological_order()[0]}))"
        assert written(other, query) == written(graph, query)


def written(graph: ADMG, query: str) -> str:
    try:
        return str(identify(graph, query))
    except NotIdentifiableError as error:
        return str(error)


def test_a_formula_sums_to_one_over_its_open_outcome() -> None:
    for seed in range(80):
        graph = random_admg(5, directed=0.6, bidirected=0.3, seed=seed)
        first, *_, last = graph.topological_order()
        try:
            estimand = identify(graph, f"P({last} | do({first}))")
        except NotIdentifiableError:
            continue
        table = evaluate(estimand, random_finite_model(graph, seed=seed).law())
        assert isinstance(table, Factor)
        total = table.marginalise([last]).values
        assert math.isclose(float(total.min()), 1, abs_tol=1e-9)
        assert math.isclose(float(total.max()), 1, abs_tol=1e-9)
