"""Recovery from selection against exact finite models: right formulas, and refusals that must be.

A refusal without external data is confirmed by calculus: where the gradient of the answer is not
in the span of the gradients of the data, a model nearby has the same data and another answer.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from causalppl.data import Factor
from causalppl.estimation import evaluate
from causalppl.exceptions import DataError, GraphError, NotIdentifiableError, QueryError
from causalppl.graphs import ADMG, Path, random_admg
from causalppl.identification import Estimand
from causalppl.identification.expression import Probability, Symbol, walk
from causalppl.identification.selection_bias import SelectionWitness, recover_from_selection
from causalppl.programs.finite import random_finite_model
from causalppl.queries import Query


@dataclass
class Question:
    """A query on a diagram with S, and the external data."""

    graph: ADMG
    query: str
    seed: int
    external: list[frozenset[str]] = field(default_factory=list)

    def recover(self) -> Estimand:
        return recover_from_selection(self.graph, self.query, external=self.external)


def draw_question(seed: int, *, most_external: int = 2) -> Question:
    """Draw a query with few other causes of S, so that a decent share can be recovered."""
    rng = np.random.default_rng([seed, 11])

    def some(among: list[str], low: int, high: int) -> list[str]:
        return rng.permutation(among)[: int(rng.integers(low, high + 1))].tolist()

    def put(names: list[str]) -> str:
        return ", ".join(f"{name}={rng.integers(2)}" for name in names)

    inner = random_admg(
        int(rng.integers(3, 6)),
        directed=float(rng.uniform(0.3, 0.7)),
        bidirected=float(rng.uniform(0, 0.4)),
        seed=seed,
    )
    names = list(inner.topological_order())
    directed = [*inner.directed_edges, *((name, "S") for name in some(names, 1, 2))]
    latent = [(name, "S") for name in some(names, 1, 1) if rng.random() < 0.15]
    graph = ADMG(["S", *inner.nodes], directed, [*inner.bidirected_edges, *latent])
    y, *rest = [names[-1], *names[:-1]] if rng.random() < 0.6 else some(names, 9, 9)
    x = some(rest, 0, 2)
    z = some([name for name in rest if name not in x], 0, 1)
    conditions = [f"do({put(x)})"] * bool(x) + [put(z)] * bool(z)
    query = f"P({put([y])}{' | ' * bool(conditions)}{', '.join(conditions)})"
    count = int(rng.integers(0, most_external + 1))
    return Question(graph, query, seed, [frozenset(some(names, 1, 3)) for _ in range(count)])


def only_what_data_supply(estimand: Estimand, external: list[frozenset[str]]) -> bool:
    leaves = [node for node in walk(estimand.body) if isinstance(node, Probability)]
    return all(
        Symbol("S", 0, 1) in leaf.given
        or any({s.variable for s in (*leaf.outcomes, *leaf.given)} <= known for known in external)
        for leaf in leaves
    )


def with_other_unselected(law: Factor, seed: int) -> Factor:
    """Keep the law given ``S=1``; all else becomes another one."""
    place = law.names.index("S")
    values = law.values.movedim(place, 0).clone()
    values[1] *= 0.3 / values[1].sum()
    others = np.random.default_rng(seed).dirichlet(np.ones(values[0].numel()))
    values[0] = 0.7 * torch.from_numpy(others).reshape(values[0].shape)
    return Factor(law.names, values.movedim(0, place), law.states)


def check(question: Question) -> str:
    try:
        estimand = question.recover()
    except NotIdentifiableError as error:
        verdict = "confounded" if error.hedge.confounding else "refused"
        return verdict if error.hedge.check() else "refused without a witness"
    assert only_what_data_supply(estimand, question.external), (question, str(estimand))
    # with two states, some formulas are right by chance
    states = {name: 2 if name == "S" else 3 for name in question.graph.nodes}
    model = random_finite_model(question.graph, states=states, seed=question.seed)
    truth = model.probability(question.query)
    assert number(estimand, model.law()) == pytest.approx(truth, abs=1e-9), (question, estimand)
    if not question.external:
        other = with_other_unselected(model.law(), question.seed)
        assert number(estimand, other) == pytest.approx(truth, abs=1e-9), (question, estimand)
    return "recovered with external" if question.external else "recovered"


def number(estimand: Estimand, law: Factor) -> float:
    table = evaluate(estimand, law)
    assert isinstance(table, Factor)
    assert not table.names
    return float(table.values)


def test_a_formula_gives_the_truth_about_all_units() -> None:
    verdicts = Counter(check(draw_question(seed)) for seed in range(600))
    assert verdicts["recovered"] > 30
    assert verdicts["recovered with external"] > 150
    assert verdicts["refused"] > 100
    assert verdicts["confounded"] > 30
    assert not verdicts["refused without a witness"]


@pytest.mark.slow
def test_many_formulas_give_the_truth_about_all_units() -> None:
    verdicts = Counter(check(draw_question(seed, most_external=3)) for seed in range(600, 5000))
    assert verdicts["recovered"] + verdicts["recovered with external"] > 1500


# refusals


def spans(question: Question) -> bool:
    """Say whether the data determine the answer nearby, in a random model."""
    graph, query = question.graph, Query.parse(question.query)
    # what depends on few values of a cause of S could be computed back from independences
    sizes = {v: 7 if v in graph.parents("S") else 2 for v in graph.nodes}
    place = {v: i for i, v in enumerate((*graph.nodes, *graph.bidirected_edges))}
    factors = []
    for v in graph.nodes:
        causes = [*graph.in_order(graph.parents(v)), *(e for e in graph.bidirected_edges if v in e)]
        factors.append((*causes, v))
    factors += [(edge,) for edge in graph.bidirected_edges]
    shapes = [[sizes.get(axis, 4) for axis in axes] for axes in factors]
    counts = [int(np.prod(shape)) for shape in shapes]

    def law(parameters: torch.Tensor, do: dict[str, int]) -> torch.Tensor:
        operands: list[object] = []
        parts = parameters.split(counts)
        for axes, shape, part in zip(factors, shapes, parts, strict=True):
            if axes[-1] in do:
                axes, row = axes[-1:], torch.eye(sizes[axes[-1]])[do[axes[-1]]].double()
            else:
                row = torch.softmax(part.reshape(shape), -1)
            operands += [row, [place[axis] for axis in axes]]
        return torch.einsum(*operands, list(range(len(graph))))

    def data(parameters: torch.Tensor) -> torch.Tensor:
        selected = law(parameters, {}).select(graph.nodes.index("S"), 1)
        return (selected / selected.sum()).flatten()

    def answer(parameters: torch.Tensor) -> torch.Tensor:
        joint = law(parameters, {i.name: i.value for i in query.do})
        cells = [
            tuple(values.get(v, slice(None)) for v in graph.nodes)
            for values in (
                {e.name: e.value for e in (*query.outcomes, *query.given)},
                {e.name: e.value for e in query.given},
            )
        ]
        return joint[cells[0]].sum() / joint[cells[1]].sum()

    generator = torch.Generator().manual_seed(question.seed)
    at = torch.randn(sum(counts), dtype=torch.float64, generator=generator)
    known = torch.autograd.functional.jacobian(data, at)
    asked = torch.autograd.functional.jacobian(answer, at)
    _, sizes_, rows = torch.linalg.svd(known, full_matrices=False)
    rows = rows[sizes_ > 1e-10 * sizes_[0]]
    left = asked - rows.T @ (rows @ asked)
    return bool(left.norm() < 1e-7 * asked.norm())


def refusals(count: int) -> list[Question]:
    found, seed = [], 0
    while len(found) < count:
        question = draw_question(seed, most_external=0)
        seed += 1
        try:
            question.recover()
        except NotIdentifiableError:
            if len(question.graph) <= 5:
                found.append(question)
    return found


def test_what_is_refused_is_not_determined_by_the_data() -> None:
    assert not [question for question in refusals(60) if spans(question)]


def test_what_is_recovered_is_determined_by_the_data() -> None:
    recovered = 0
    for seed in range(60):
        question = draw_question(seed, most_external=0)
        try:
            question.recover()
        except NotIdentifiableError:
            continue
        assert spans(question), question
        recovered += 1
    assert recovered > 5


# single formulas


@pytest.mark.parametrize(
    ("text", "query", "external", "formula"),
    [
        ("X -> Y; X -> S", "P(Y | do(X))", [], "P(Y | X, S=1)"),
        ("X -> M -> Y; X <-> Y; X -> S", "P(M | do(X))", [], "P(M | X, S=1)"),
        ("X -> Y; W -> Y; W -> S", "P(Y | X)", [{"X", "W"}], "sum_W P(Y | X, W, S=1) P(W | X)"),
        ("Z -> X -> Y; Z -> Y; Z -> S", "P(Y | do(X), Z)", [], "P(Y | X, Z, S=1)"),
        ("Z -> X -> Y; Z -> Y; Z -> S", "E[Y | do(X)]", [{"Z"}], "sum_Z E[Y | X, Z, S=1] P(Z)"),
        (
            "Z -> X -> Y; Z -> Y; Z -> S",
            "ATE(X: 1 vs 0 -> Y)",
            [{"Z"}],
            "sum_Z E[Y | X=1, Z, S=1] P(Z) - sum_Z E[Y | X=0, Z, S=1] P(Z)",
        ),
        (
            "Z -> X -> Y; Z -> Y; Z -> S",
            "CATE(X: 1 vs 0 -> Y | Z)",
            [],
            "E[Y | X=1, Z, S=1] - E[Y | X=0, Z, S=1]",
        ),
        # selected on a cause of the outcome: the other cause's law comes from elsewhere
        (
            "A -> X -> Y; A -> Y; B -> Y; B -> S; A -> S",
            "P(Y | do(X))",
            [{"A", "B"}],
            "sum_{A, B} P(Y | X, A, B, S=1) P(A, B)",
        ),
    ],
)
def test_a_formula_comes_out_as_in_a_textbook(
    text: str, query: str, external: list[set[str]], formula: str
) -> None:
    graph = ADMG.parse(text)
    estimand = recover_from_selection(graph, query, external=external)
    assert str(estimand) == formula
    assert Estimand.from_json(estimand.to_json()) == estimand
    assert estimand.steps


@pytest.mark.parametrize(
    "query", ["P(Y | do(X))", "P(Y, Z | do(X=2))", "P(Y > 0 | do(X))", "P(X | Y)", "P(Y | Z)"]
)
def test_open_values_inequalities_and_several_outcomes(query: str) -> None:
    graph = ADMG.parse("Z -> X -> Y; Z -> Y; Z -> S")
    model = random_finite_model(graph, states={"X": 3, "Y": 3, "Z": 4, "S": 2}, seed=3)
    estimand = recover_from_selection(graph, query, external=[{"Z"}])
    table, truth = evaluate(estimand, model.law()), model.table(query)
    assert isinstance(table, Factor)
    assert table.names == truth.names
    assert torch.allclose(table.values, truth.values, atol=1e-9)


@pytest.mark.parametrize("query", ["E[Y | do(X=2)]", "E[Y_{X=2} - 2*Y_{X=0}]", "E[Y | X=1, Z=3]"])
def test_expectations(query: str) -> None:
    graph = ADMG.parse("Z -> X -> Y; Z -> Y; Z -> S")
    model = random_finite_model(graph, states={"X": 3, "Y": 3, "Z": 4, "S": 2}, seed=3)
    estimand = recover_from_selection(graph, query, external=[{"Z"}])
    truth = float(model.answer(query).values)
    assert evaluate(estimand, model.law()) == pytest.approx(truth, abs=1e-9)


def test_the_selection_node_may_have_another_name_and_place() -> None:
    graph = ADMG.parse("Sampled; Sampled <- X -> Y")
    estimand = recover_from_selection(graph, "P(Y | do(X))", "Sampled")
    assert str(estimand) == "P(Y | X, Sampled=1)"


def test_nothing_depends_on_the_order_of_nodes_and_external_sets() -> None:
    for seed in range(60):
        question = draw_question(seed)
        nodes = question.graph.nodes[::-1]
        edges = question.graph.directed_edges[::-1], question.graph.bidirected_edges[::-1]
        other = Question(ADMG(nodes, *edges), question.query, seed, question.external[::-1])
        assert written(question) == written(other)


def written(question: Question) -> str:
    try:
        return str(question.recover())
    except NotIdentifiableError as error:
        return str(error)


# witnesses and errors


def witness(text: str, query: str) -> SelectionWitness:
    with pytest.raises(NotIdentifiableError) as caught:
        recover_from_selection(ADMG.parse(text), query)
    assert isinstance(caught.value.hedge, SelectionWitness)
    assert str(caught.value.hedge) in str(caught.value)
    return caught.value.hedge


def test_a_witness_shows_the_path_between_outcome_and_selection() -> None:
    found = witness("X -> Y; W -> Y; W -> S", "P(Y | X)")
    assert str(found.path) == "Y <- W -> S"
    assert found.check()


def test_a_witness_shows_the_c_factor_that_is_not_free() -> None:
    found = witness("Z -> X -> Y; Z -> Y; Z -> S", "P(Y | do(X))")
    assert (found.target, found.region) == (("Z",), ("Z", "S"))
    assert found.check()


def test_a_witness_shows_confounding_that_complete_data_have_too() -> None:
    found = witness("X -> Y; X <-> Y; X -> S", "P(Y | do(X))")
    assert found.confounding is not None
    assert found.check()
    assert str(found).startswith("even without selection")


def test_a_false_witness_does_not_check() -> None:
    graph, query = ADMG.parse("X -> Y; X -> S"), Query.parse("P(Y | do(X))")
    blocked = Path(("Y", "X", "S"), ("<-", "->"))
    no_edge = Path(("Y", "S"), ("->",))
    assert not SelectionWitness(query, graph, "S").check()
    assert not SelectionWitness(query, graph, "S", path=blocked).check()
    assert not SelectionWitness(query, graph, "S", path=no_edge).check()
    for region in (("X", "Y", "S"), ("Y", "S"), ("Y",)):
        assert not SelectionWitness(query, graph, "S", target=("Y",), region=region).check()


@pytest.mark.parametrize(
    ("text", "query", "external", "error", "words"),
    [
        ("X -> Y; S -> Y", "P(Y | X)", [], GraphError, "has the effects Y"),
        ("X -> Y; X <-> Y", "P(Y | do(X))", [], GraphError, "unknown node 'S'"),
        ("X -> Y -> S", "P(Y | X)", [{"S"}], GraphError, "has the selection node S"),
        ("X -> Y -> S", "P(Y | X)", [{"W"}], GraphError, "unknown node 'W'"),
        ("X -> Y -> S", "P(Y | S=1)", [], QueryError, "names the selection node"),
        ("X -> Y -> S", "P(Y_{X=0} | X=1)", [], QueryError, "several worlds"),
        ("X -> Y -> S", "P(W | X)", [], QueryError, "W"),
    ],
)
def test_bad_input_is_named(
    text: str, query: str, external: list[set[str]], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        recover_from_selection(ADMG.parse(text), query, external=external)


def test_laws_of_selected_and_of_all_units_come_apart() -> None:
    graph = ADMG.parse("Z -> X -> Y; Z -> Y; Z -> S")
    estimand = recover_from_selection(graph, "P(Y | do(X))", external=[{"Z"}])
    assert set(estimand.sources) == {"P(...)", "P(... | S=1)"}
    model = random_finite_model(graph, seed=3)
    whole = model.law()
    selected = whole.condition({"S": 1}).normalise()
    apart = {
        ("S=1", frozenset()): selected,
        (None, frozenset()): whole.marginalise(["X", "Y", "S"]),
    }
    torch.testing.assert_close(evaluate(estimand, apart).values, evaluate(estimand, whole).values)
    only = Factor(
        ("Z", "X", "Y", "S"),
        torch.stack([selected.align("ZXY").values * 0, selected.align("ZXY").values], -1),
    )
    with pytest.raises(DataError, match="only units with S=1"):
        evaluate(estimand, only)
    assert Estimand.from_json(estimand.to_json()) == estimand
