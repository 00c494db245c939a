"""Recovery from incomplete data: formulas against models, and what they may look at."""

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from causalppl.data import Factor
from causalppl.estimation import evaluate
from causalppl.exceptions import GraphError, NotIdentifiableError, QueryError
from causalppl.graphs import ADMG, Path, random_admg
from causalppl.identification import Estimand, identify
from causalppl.identification.expression import Probability, Symbol, walk
from causalppl.identification.missing_data import MaskingPath, recover_from_missing_data
from causalppl.identification.missing_laws import MissingLaws
from causalppl.programs.finite import FiniteModel, Latent, random_finite_model
from causalppl.queries import Query

QUESTIONS = 320
BLOCKS = ADMG.parse("X -> Y; Y -> R_X; X -> R_Y")


@dataclass
class Question:
    """A query on a diagram with indicators."""

    graph: ADMG
    query: str
    incomplete: list[str]
    seed: int

    def recover(self) -> Estimand:
        return recover_from_missing_data(self.graph, self.query, self.incomplete)


def random_m_graph(
    rng: np.random.Generator, seed: int, *, latent: float, masked: float, among: float
) -> tuple[ADMG, list[str]]:
    """Draw a diagram over variables, then edges to indicators and among them by coins."""
    names = [f"V{i}" for i in range(int(rng.integers(2, 5)))]
    shares = {"directed": rng.uniform(0.3, 0.8), "bidirected": rng.uniform(0, 0.3)}
    inner = random_admg(names, **shares, seed=seed)
    incomplete = [name for name in names if rng.random() < 0.65] or names[:1]
    directed, bidirected = list(inner.directed_edges), list(inner.bidirected_edges)
    shown = [f"R_{name}" for name in rng.permutation(incomplete).tolist()]
    for place, indicator in enumerate(shown):
        for name in names:
            own = indicator == f"R_{name}"
            if rng.random() < (masked if own else 0.35):
                directed.append((name, indicator))
            if rng.random() < latent * (0.5 if own else 1):
                bidirected.append((name, indicator))
        for earlier in shown[:place]:
            if rng.random() < among:
                directed.append((earlier, indicator))
            elif rng.random() < latent:
                bidirected.append((earlier, indicator))
    return ADMG([*names, *shown], directed, bidirected), incomplete


def random_query(rng: np.random.Generator, graph: ADMG) -> str:
    names = [name for name in graph.topological_order() if not name.startswith("R_")]
    y = names[-1] if rng.random() < 0.6 else str(rng.choice(names))
    x = str(rng.choice([name for name in names if name != y]))
    forms = [
        f"P({', '.join(names)})",
        f"P({y} | {x})",
        f"P({y})",
        f"P({y}=1 | {x}=0)",
        f"E[{y} | do({x}=1)]",
        f"P({y} | do({x}))",
        f"ATE({x}: 1 vs 0 -> {y})",
        f"P({y}=0, {x}=1)",
    ]
    return forms[int(rng.choice(8, p=[0.25, 0.15, 0.1, 0.1, 0.1, 0.15, 0.05, 0.1]))]


def questions(count: int) -> Iterator[Question]:
    rng = np.random.default_rng(11)
    for seed in range(count):
        graph, incomplete = random_m_graph(rng, seed, latent=0.08, masked=0.06, among=0.35)
        yield Question(graph, random_query(rng, graph), incomplete, seed)


def number(estimand: Estimand, law: Factor) -> torch.Tensor:
    """Evaluate, with an axis of length one for each open value that has no effect."""
    found = evaluate(estimand, law)
    if not isinstance(found, Factor):
        return torch.as_tensor(found, dtype=torch.float64)
    return found.align(sorted(found.names)).values


def truth_of(question: Question, model: FiniteModel, estimand: Estimand) -> torch.Tensor:
    """Find the model's answer, with the axes of `number`."""
    if not question.query.startswith("P"):
        return torch.tensor(model.probability(question.query), dtype=torch.float64)
    table = model.table(question.query)
    found = evaluate(estimand, model.law())
    assert isinstance(found, Factor)
    cut = {name: 0 for name in table.names if name not in found.names}
    spread = table.align(sorted(table.names)).values
    for axis, name in enumerate(sorted(table.names)):
        if name in cut:  # the answer is the same at all values of it
            first = spread.index_select(axis, torch.tensor([0]))
            assert torch.allclose(spread, first.expand_as(spread), atol=1e-12)
    return table.condition(cut).align(sorted(found.names)).values


def with_other_hidden_values(law: Factor, incomplete: list[str], seed: int) -> Factor:
    """Draw anew, in every pattern, how the unseen values are spread; what is seen stays."""
    rng = np.random.default_rng(seed)
    values = law.values.clone()
    names = list(law.names)
    for pattern in itertools.product([0, 1], repeat=len(incomplete)):
        fixed = dict(zip([f"R_{name}" for name in incomplete], pattern, strict=True))
        cell = tuple(fixed.get(name, slice(None)) for name in names)
        kept = [name for name in names if name not in fixed]
        hidden = [i for i, name in enumerate(kept) if fixed.get(f"R_{name}") == 0]
        if hidden:
            weights = torch.from_numpy(rng.uniform(0.2, 1, tuple(values[cell].shape)))
            weights = weights / weights.sum(hidden, keepdim=True)
            values[cell] = values[cell].sum(hidden, keepdim=True) * weights
    return Factor(law.names, values, law.states)


def seen_law(model: FiniteModel, incomplete: list[str]) -> dict[tuple[int, ...], torch.Tensor]:
    """List what data can show: for each pattern, the law of what is seen in it."""
    law = model.law()
    laws = {}
    for pattern in itertools.product([0, 1], repeat=len(incomplete)):
        fixed = dict(zip([f"R_{name}" for name in incomplete], pattern, strict=True))
        gone = [name for name in incomplete if not fixed[f"R_{name}"]]
        laws[pattern] = law.condition(fixed).marginalise(gone).values
    return laws


def assert_uses_only_what_is_seen(estimand: Estimand, incomplete: list[str]) -> None:
    for node in walk(estimand.body):
        if isinstance(node, Probability):
            below = {symbol.variable for symbol in node.given} & set(incomplete)
            named = {symbol.variable for symbol in node.outcomes} & set(incomplete)
            assert {Symbol(f"R_{name}", 0, 1) for name in below} <= set(node.given), str(estimand)
            ones = {*node.outcomes, *node.given}
            assert {Symbol(f"R_{name}", 0, 1) for name in named} <= ones, str(estimand)


def test_formulas_give_what_models_do_and_look_at_nothing_that_is_missing() -> None:
    verdicts: Counter[str] = Counter()
    for question in questions(QUESTIONS):
        try:
            estimand = question.recover()
        except NotIdentifiableError as error:
            verdicts["refused" if error.hedge.check() else "refused without a witness"] += 1
            continue
        assert_uses_only_what_is_seen(estimand, question.incomplete)
        sizes = {name: 2 + (name == "V1") for name in question.graph.nodes}
        model = random_finite_model(question.graph, states=sizes, seed=question.seed)
        law = model.law()
        found = number(estimand, law)
        truth = truth_of(question, model, estimand)
        assert torch.allclose(found, truth, rtol=0, atol=1e-9), (question, str(estimand))
        moved = with_other_hidden_values(law, question.incomplete, question.seed)
        again = number(estimand, moved)
        assert torch.allclose(found, again, rtol=0, atol=1e-9), (question, str(estimand))
        assert Estimand.from_json(estimand.to_json()) == estimand
        verdicts["recovered"] += 1
        verdicts.update({step.rule for step in estimand.steps if "recovered" in step.rule})
    assert verdicts["recovered"] > QUESTIONS / 2
    assert verdicts["refused"] > QUESTIONS / 10
    assert not verdicts["refused without a witness"]
    assert verdicts["recovered by ordered factorisation"] > 20
    assert verdicts["recovered by inverse propensities"] > 5
    assert verdicts["recovered by factors and propensities"] > 2


def has_colluder(graph: ADMG) -> bool:
    edges = set(graph.directed_edges)
    return any((name[2:], r) in edges for name, r in edges if name.startswith("R_"))


@pytest.mark.parametrize("among", [0.0, 0.5])
def test_without_self_masking_and_colluders_all_is_recovered_that_complete_data_identify(
    among: float,
) -> None:
    rng = np.random.default_rng(int(10 * among))
    seen = 0
    for seed in range(120):
        graph, incomplete = random_m_graph(rng, seed, latent=0, masked=0, among=among)
        query = random_query(rng, graph)
        if has_colluder(graph):
            continue
        rest = [name for name in graph.nodes if not name.startswith("R_")]
        try:
            identify(graph.subgraph(rest), query)
        except NotIdentifiableError:
            continue
        recover_from_missing_data(graph, query, incomplete)
        seen += 1
    assert seen > 40


def test_many_incomplete_variables_are_recovered_where_indicators_cause_nothing() -> None:
    names = [f"V{i}" for i in range(16)]
    inner = random_admg(names, directed=0.3, bidirected=0.05, seed=4)
    coins = np.random.default_rng(4).random((12, 16)) < 0.25
    edges = [(names[j], f"R_V{i}") for i, j in np.argwhere(coins) if i != j]
    shown = [f"R_{name}" for name in names[:12]]
    graph = ADMG(names + shown, [*inner.directed_edges, *edges], inner.bidirected_edges)
    estimand = recover_from_missing_data(graph, f"P({', '.join(names)})", names[:12])
    assert_uses_only_what_is_seen(estimand, names[:12])


def test_odds_ratios_alone_recover_joint_laws() -> None:
    rng = np.random.default_rng(2)
    factors = 0
    for seed in range(60):
        graph, incomplete = random_m_graph(rng, seed, latent=0, masked=0, among=0.6)
        graph = graph.in_canonical_order()
        names = tuple(name for name in graph.nodes if not name.startswith("R_"))
        if has_colluder(graph):
            continue
        laws = MissingLaws(graph, {name: f"R_{name}" for name in incomplete}, limit=0)
        law = laws.recover(names, ())
        assert law is not None
        if law.rule != "by odds ratios":
            continue
        estimand = Estimand(Query.parse(f"P({', '.join(names)})"), law.formula, graph)
        assert_uses_only_what_is_seen(estimand, incomplete)
        model = random_finite_model(graph, seed=seed)
        found = evaluate(estimand, model.law())
        assert isinstance(found, Factor)
        truth = model.law().marginalise([n for n in graph.nodes if n not in names])
        assert torch.allclose(found.align(truth.names).values, truth.values, rtol=0, atol=1e-9)
        factors += 1
    assert factors > 15


def test_indicators_that_cause_each_other_are_fixed_one_after_the_other() -> None:
    graph = ADMG.parse("X -> Y -> R_X -> R_Y")
    estimand = recover_from_missing_data(graph, "P(X, Y)", ["X", "Y"])
    model = random_finite_model(graph, states={"X": 3, "Y": 2, "R_X": 2, "R_Y": 2}, seed=1)
    found, truth = evaluate(estimand, model.law()), model.table("P(X, Y)")
    assert isinstance(found, Factor)
    assert torch.allclose(found.align(truth.names).values, truth.values, rtol=0, atol=1e-12)
    assert_uses_only_what_is_seen(estimand, ["X", "Y"])


def test_a_masked_confounder_can_be_forgotten_where_another_will_do() -> None:
    graph = ADMG.parse("Z -> W -> X -> Y; Z -> Y; W -> R_W")
    assert str(identify(graph, "P(Y | do(X))")) == "sum_W P(Y | X, W) P(W)"
    estimand = recover_from_missing_data(graph, "P(Y | do(X))", ["W"])
    assert str(estimand) == "sum_Z P(Y | X, Z) P(Z)"


def test_variables_may_share_an_indicator_or_have_none() -> None:
    graph = ADMG.parse("A -> {X, Y}; X -> Y; A -> R")
    estimand = recover_from_missing_data(graph, "P(Y | do(X))", {"X": "R", "Y": "R"})
    assert str(estimand) == "sum_A P(Y | X, A, R=1) P(A)"
    graph = ADMG.parse("Z -> X -> Y; Z -> Y")
    assert str(recover_from_missing_data(graph, "P(Y | do(X))", [])) == "sum_Z P(Y | X, Z) P(Z)"


def test_a_formula_does_not_depend_on_how_the_diagram_is_written() -> None:
    rng = np.random.default_rng(3)
    for question in itertools.islice(questions(QUESTIONS), 60):
        graph = question.graph
        order = rng.permutation(graph.nodes).tolist()
        other = ADMG(order, graph.directed_edges[::-1], graph.bidirected_edges[::-1])
        again = replace(question, graph=other, incomplete=question.incomplete[::-1])
        assert written(again) == written(question)


def written(question: Question) -> str:
    try:
        return str(question.recover())
    except NotIdentifiableError as error:
        return str(error)


# refusals


def refusal(graph: ADMG, query: str, incomplete: list[str]) -> MaskingPath:
    with pytest.raises(NotIdentifiableError) as caught:
        recover_from_missing_data(graph, query, incomplete)
    assert caught.value.hedge.check()
    return caught.value.hedge


@pytest.mark.parametrize("arrow", ["->", "<->"])
def test_two_models_agree_on_self_masked_data_and_differ_on_the_law(arrow: str) -> None:
    graph = ADMG.parse(f"X {arrow} R_X")
    assert refusal(graph, "P(X)", ["X"]).is_proof
    models = []
    for seen, law in (([0.8, 0.4], [0.5, 0.5]), ([2 / 3, 0.5], [0.6, 0.4])):
        rows = [[1 - share, share] for share in seen]
        if arrow == "->":
            models.append(FiniteModel(graph, {"X": law, "R_X": rows}))
        else:
            latent = Latent(("X", "R_X"), law)
            models.append(FiniteModel(graph, {"X": np.eye(2), "R_X": rows}, {"U": latent}))
    first, second = (seen_law(model, ["X"]) for model in models)
    for pattern, part in first.items():
        assert torch.allclose(part, second[pattern], rtol=0, atol=1e-12)
    one, other = (model.probability("P(X=1)") for model in models)
    assert abs(one - other) > 0.05


def test_two_models_agree_on_a_self_masked_confounder_and_differ_on_the_effect() -> None:
    graph = ADMG.parse("Z -> X -> Y; Z -> Y; Z -> R_Z")
    path = refusal(graph, "P(Y | do(X))", ["Z"])
    assert str(path) == "Z -> R_Z: Z decides whether Z is seen"
    assert not path.is_proof
    rng = np.random.default_rng(0)
    size = 5  # more values than X and Y have together
    x, y = rng.dirichlet([1, 1], size), rng.dirichlet([1, 1], (size, 2))
    prior, seen = rng.dirichlet([5] * size), rng.uniform(0.3, 0.6, size)
    # the law of (X, Y) where Z is missing does not change along this direction of P(Z, R=0)
    cells = np.einsum("zx,zxy->xyz", x, y).reshape(4, size)
    direction = np.linalg.svd(cells)[2][-1]
    hidden = prior * (1 - seen)
    models = []
    for step in (0, 0.5 * (hidden / np.abs(direction)).min()):
        law = prior * seen + hidden + step * direction
        share = prior * seen / law
        rows = np.stack([1 - share, share], axis=1)
        tables = {"Z": law, "X": x, "Y": y, "R_Z": rows}
        models.append(FiniteModel(graph, tables))
    first, second = (seen_law(model, ["Z"]) for model in models)
    for pattern, part in first.items():
        assert torch.allclose(part, second[pattern], rtol=0, atol=1e-12)
    one, other = (model.probability("P(Y=1 | do(X=1))") for model in models)
    assert abs(one - other) > 1e-3


def test_a_witness_names_the_path() -> None:
    graph = ADMG.parse("X -> Y; X -> R_Y; Y -> R_X; R_X -> R_Y")
    path = refusal(graph, "P(X, Y)", ["X", "Y"])
    assert str(path) == "X -> R_Y is open: X depends on whether Y is seen"


def test_what_complete_data_cannot_answer_is_refused_with_a_hedge() -> None:
    with pytest.raises(NotIdentifiableError) as caught:
        recover_from_missing_data(ADMG.parse("X -> Y; X <-> Y; R_Y"), "P(Y | do(X))", ["Y"])
    assert caught.value.hedge.hedges


@pytest.mark.parametrize(
    "path",
    [
        Path(("Y", "R_X"), ("<-",)),  # no such edge
        Path(("Z", "R_X"), ("->",)),  # Z is no outcome
        Path(("X", "Y", "R_X"), ("->", "->")),  # blocked by Y
        Path(("X", "R_Y"), ("->",)),  # no indicator that is needed
    ],
)
def test_a_wrong_witness_does_not_check(path: Path) -> None:
    graph = ADMG.parse("Z -> X -> Y -> R_X; X -> R_Y; Z -> R_X")
    shown = (("X", "R_X"), ("Y", "R_Y"))
    given = ("Y",) if len(path.nodes) == 3 else ()
    assert not MaskingPath(graph, shown, ("X",), given, path).check()


def test_a_collider_in_a_witness_must_be_opened() -> None:
    graph = ADMG.parse("X -> Y <-> R_X")
    path = Path(("X", "Y", "R_X"), ("->", "<->"))
    assert MaskingPath(graph, (("X", "R_X"),), ("X",), ("Y",), path).check()
    assert not MaskingPath(graph, (("X", "R_X"),), ("X",), (), path).check()


def test_unknown_nodes_are_refused() -> None:
    with pytest.raises(GraphError, match="'R_X', which is not in the graph"):
        recover_from_missing_data(ADMG.parse("X -> Y"), "P(Y)", ["X"])
    with pytest.raises(QueryError, match="W"):
        recover_from_missing_data(BLOCKS, "P(W)", ["X", "Y"])
    with pytest.raises(GraphError, match="W"):
        recover_from_missing_data(BLOCKS, "P(Y)", {"W": "R_X"})
    with pytest.raises(GraphError, match="expected an ADMG"):
        recover_from_missing_data(["X -> Y"], "P(Y)", [])  # type: ignore[arg-type]


def test_indicators_cause_no_variables_and_are_always_seen() -> None:
    with pytest.raises(GraphError, match="the indicator R_X causes Y"):
        recover_from_missing_data(ADMG.parse("X; R_X -> Y"), "P(Y)", ["X"])

    with pytest.raises(GraphError, match="itself listed as incomplete"):
        recover_from_missing_data(BLOCKS, "P(Y)", {"X": "R_X", "R_X": "R_Y"})


def test_queries_about_indicators_are_refused() -> None:
    with pytest.raises(QueryError, match="names the indicator R_X"):
        recover_from_missing_data(BLOCKS, "P(Y | R_X)", ["X", "Y"])
    with pytest.raises(QueryError, match="expected text"):
        recover_from_missing_data(BLOCKS, 3, ["X", "Y"])  # type: ignore[arg-type]
