"""Where a query is not identifiable, two models show it; where it is, none are found."""

from itertools import pairwise

import numpy as np
import pytest

import causalppl as cp
from causalppl.estimation import Counterexample, Input, Unidentified, counterexample
from causalppl.estimation.equivalent_models import Family
from causalppl.exceptions import FitError, GraphError, NotIdentifiableError, QueryError
from causalppl.graphs import ADMG, random_admg
from causalppl.identification import Domain, identify
from causalppl.queries import parse_query

SEEN = Input()


def do(names, domain=None, shifted=""):
    return Input(frozenset(names.split()), domain, frozenset(shifted.split()))


def question(graph, query, *inputs):
    return Unidentified(ADMG.parse(graph), parse_query(query), inputs or (SEEN,))


NOT_IDENTIFIABLE = {
    # Shpitser and Pearl (2006), figure 1 and others with a hedge
    "bow": ("X -> Y; X <-> Y", "P(Y | do(X))"),
    "instrument": ("Z -> X -> Y; X <-> Y", "P(Y | do(X))"),
    "confounded mediator": ("X -> Z -> Y; X <-> Y; Z <-> Y", "P(Y | do(X))"),
    "confounded first stage": ("W -> X -> Z -> Y; X <-> Z; X <-> Y", "P(Y | do(X))"),
    "broken napkin": ("W -> Z -> X -> Y; W <-> X; W <-> Y; Z <-> X", "P(Y | do(X))"),
    "confounded covariate": ("X -> Y; X <-> Z -> Y; Z <-> Y", "P(Y | do(X))"),
    "two outcomes": (
        "W1 -> X -> Y1; W1 <-> W2; W2 -> Y2; X <-> W1; W1 <-> Y1; W2 <-> X; W1 <-> Y2",
        "P(Y1, Y2 | do(X))",
    ),
    "conditional": ("X -> Z; Z <-> Y; X <-> Y; X -> Y", "P(Y | do(X), Z)"),
    "conditional on an effect": ("X -> Y -> Z; X <-> Z; Y <-> Z", "P(Y | do(X), Z)"),
    "beside others": ("X -> Y; X <-> Y; Y -> A -> B; A <-> B; B <-> X", "P(Y=1 | do(X=0))"),
    # gID: experiments that do not help
    "one experiment": (
        "X1 -> X2 -> Y; X1 -> Y; X1 <-> X2; X2 <-> Y; X1 <-> Y",
        "P(Y | do(X1, X2))",
        SEEN,
        do("X1"),
    ),
    "thicket": (
        "X1 -> Y; X2 -> Y; X1 <-> Y; X2 <-> Y; X1 <-> X2",
        "P(Y | do(X1, X2))",
        do("X1"),
        do("X2"),
    ),
    # transport: the outcome's mechanism differs, and the target shows too little
    "transport": ("X -> Y; Z -> Y; X <-> Y", "P(Y | do(X))", do("X", "a", "Z Y"), SEEN),
    "unseen target": ("Z -> X -> Y; Z -> Y", "P(Y | do(X))", do("X", "a", "Z")),
    # counterfactuals
    "treated": ("X -> Y; X <-> Y", "P(Y_{X=0}=1 | X=1)", SEEN, do("X")),
    "necessity": ("X -> Y; X <-> Y", "P(Y_{X=0}=0 | X=1, Y=1)", SEEN, do("X")),
    "both worlds": ("X -> Y", "P(Y_{X=1}=1, Y_{X=0}=0)", SEEN, do("X")),
    "confounded mediation": ("X -> M -> Y; X -> Y; M <-> Y", "NDE(X -> Y; M)", SEEN, do("X")),
    "recanting witness": (
        "X -> W -> M -> Y; W -> Y; X -> Y",
        "E[Y_{X=1, M_{X=0}}]",
        SEEN,
        do("X"),
        do("M"),
    ),
}

IDENTIFIABLE = {
    "front door": ("X -> Z -> Y; X <-> Y", "P(Y | do(X))"),
    "napkin": ("W -> Z -> X -> Y; W <-> X; W <-> Y", "P(Y | do(X))"),
    "experiment": ("X -> Y; X <-> Y", "P(Y | do(X))", do("X")),
    "mediation": ("X -> M -> Y; X -> Y", "E[Y_{X=1, M_{X=0}}]"),
    "transport": ("Z -> X -> Y; Z -> Y; X <-> Y", "P(Y | do(X))", SEEN, do("X", "a", "Z")),
}


def assert_proves(pair: Counterexample) -> None:
    assert pair.check()
    assert pair.agreement <= 1e-12
    assert pair.difference > 1e-4


@pytest.mark.parametrize("name", NOT_IDENTIFIABLE)
def test_two_models_agree_on_the_data_and_differ_on_the_answer(name):
    assert_proves(counterexample(question(*NOT_IDENTIFIABLE[name]), seed=0))


@pytest.mark.parametrize("name", IDENTIFIABLE)
def test_an_identifiable_query_has_no_counterexample(name):
    with pytest.raises(FitError, match="no counterexample found"):
        counterexample(question(*IDENTIFIABLE[name]), seed=0)


def test_a_hedge_on_seven_nodes_has_a_counterexample():
    graph = "X -> A -> B -> C -> D -> Y; X <-> B; B <-> D; A <-> C; C <-> Y; X <-> A"
    assert_proves(counterexample(question(graph, "P(Y | do(X))"), seed=0))


def test_the_programs_differ_as_the_models_say():
    pair = counterexample(question("X -> Y; X <-> Y", "P(Y=1 | do(X=1))"), seed=0)
    for program, value in zip(pair.programs, pair.target_values, strict=True):
        assert program.graph == pair.question.graph
        (answer,) = cp.infer(program, "P(Y=1 | do(X=1))").mean().values()
        assert float(answer) == pytest.approx(value, abs=1e-9)
    seen = [cp.infer(p, "P(Y=1, X=1)").mean()["Y=1, X=1"] for p in pair.programs]
    assert seen[0] == pytest.approx(seen[1], abs=1e-9)


def test_the_same_seed_gives_the_same_models():
    spec = question("X -> Y; X <-> Y", "P(Y | do(X))")
    first, second = (counterexample(spec, seed=4).target_values for _ in range(2))
    assert first == second


def test_a_check_sees_through_a_wrong_pair():
    pair = counterexample(question("X -> Y; X <-> Y", "P(Y | do(X))"), seed=0)
    same = Counterexample(pair.question, pair.first, pair.first)
    other = Counterexample(pair.question, pair.first, pair.second.shifted(["X"], seed=0))
    assert not same.check()
    assert not other.check()


def test_the_jacobian_is_that_of_finite_differences():
    inputs = (SEEN, do("Z", "a", "M Y"))
    graph = ADMG.parse("Z -> X -> M -> Y; X <-> Y; Z <-> M")
    family = Family(
        graph, inputs, states=dict.fromkeys(graph.nodes, 2), latent_states=2, noise_states=2
    )
    logits = np.random.default_rng(0).standard_normal(family.size)
    steps = 1e-5 * np.eye(family.size)
    slopes = [(family.laws(logits + e) - family.laws(logits - e)) / 2e-5 for e in steps]
    np.testing.assert_allclose(family.jacobian(logits), np.stack(slopes, 1), atol=1e-9)


def is_identifiable(graph: ADMG, treatments: frozenset[str], outcomes: frozenset[str]) -> bool:
    """Tian's criterion: each district of what matters can be cut out of the district it is in."""
    rest = graph.subgraph(set(graph.nodes) - treatments)
    needed = graph.subgraph(rest.ancestors(outcomes))
    return all(
        is_cut_out(graph, part, next(d for d in graph.districts() if part <= d))
        for part in needed.districts()
    )


def is_cut_out(graph: ADMG, part: frozenset[str], whole: frozenset[str]) -> bool:
    inner = graph.subgraph(whole)
    closed = inner.ancestors(part)
    if closed == part:
        return True
    if closed == whole:
        return False
    smaller = graph.subgraph(closed)
    return is_cut_out(graph, part, next(d for d in smaller.districts() if part <= d))


def assert_verdict(seed: int, count: int) -> bool:
    names = [f"V{i}" for i in range(count)]
    graph = random_admg(names, directed=0.5, bidirected=0.35, seed=seed)
    order = graph.topological_order()
    cause, effect = order[0 if seed % 3 else 1], order[-1]
    spec = Unidentified(graph, parse_query(f"P({effect} | do({cause}))"))
    if is_identifiable(graph, frozenset({cause}), frozenset({effect})):
        with pytest.raises(FitError):
            counterexample(spec, seed=seed)
        return False
    assert_proves(counterexample(spec, seed=seed))
    return True


def test_random_diagrams_get_the_verdict_of_tian():
    assert sum(assert_verdict(seed, 4) for seed in range(30)) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, 4, 5, 6, 7])
def test_many_random_diagrams_get_the_verdict_of_tian(count):
    assert sum(assert_verdict(seed, count) for seed in range(100, 160)) >= 5


def test_mistakes_are_named():
    bow = "X -> Y; X <-> Y"
    with pytest.raises(GraphError, match="names Q"):
        question(bow, "P(Y | do(X))", do("Q"))
    with pytest.raises(QueryError, match="names Q"):
        question(bow, "P(Q | do(X))")
    with pytest.raises(QueryError, match="none in the target"):
        question(bow, "P(Y | do(X))", do("X", None, "Y"))
    with pytest.raises(QueryError, match="states"):
        counterexample(question(bow, "P(Y=0.5 | do(X=1))"))
    with pytest.raises(QueryError, match="one kind for each variable"):
        counterexample(question(bow, "P(Y_{X=no}=1 | X=1)"))


@pytest.mark.parametrize("wrong", ["P(Y)", None, parse_query("P(Y | do(X))")])
def test_what_is_no_question_is_named(wrong):
    with pytest.raises(QueryError, match=r"the question is .*; expected the error that identify"):
        counterexample(wrong)


def refused(graph, query, **data) -> NotIdentifiableError:
    with pytest.raises(NotIdentifiableError) as caught:
        identify(ADMG.parse(graph), query, **data)
    return caught.value


def confounded(count):
    return "; ".join(f"Z{i} -> X; Z{i} -> Y" for i in range(count)) + "; X -> Y; X <-> Y"


def chain(count):
    names = [f"V{i}" for i in range(count)]
    return " -> ".join(names) + "".join(f"; {a} <-> {b}" for a, b in pairwise(names))


LARGE = {
    "eight covariates": (confounded(8), "P(Y | do(X))"),
    "forty covariates": (confounded(40), "P(Y | do(X))"),
    "a chain of ten": (chain(10), "P(V9 | do(V0))"),
    "a chain of sixteen": (chain(16), "P(V15=1 | do(V0=0))"),
    "an effect along a chain": (chain(10), "ATE(V0 -> V9)"),
    "the treated along a chain": (chain(8), "ETT(V0 -> V7)"),
    "many variables beside": (
        "; ".join(f"A{i} -> B{i}" for i in range(50)) + "; X -> Y; X <-> Y",
        "P(Y | do(X))",
    ),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_large_diagram_has_two_models(name):
    graph, query = LARGE[name]
    pair = counterexample(refused(graph, query), seed=0)
    assert_proves(pair)
    assert pair.first.graph == pair.second.graph == ADMG.parse(graph)
    assert str(pair.query) == str(parse_query(query))


def test_laws_of_a_large_diagram_agree_variable_by_variable():
    """The check leaves constants out; the models on the whole diagram agree all the same."""
    pair = counterexample(refused(confounded(8), "P(Y=1 | do(X=0))"), seed=0)
    first, second = (model.law().values for model in (pair.first, pair.second))
    assert sorted(first.shape) == [*[1] * 8, 2, 2]
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-12)
    answers = [model.probability("P(Y=1 | do(X=0))") for model in (pair.first, pair.second)]
    assert answers == pytest.approx(pair.target_values, abs=1e-15)


def test_a_large_diagram_with_other_populations_has_two_models():
    covariates = "; ".join(f"Z{i} -> X; Z{i} -> Y" for i in range(8))
    trial = Domain("trial", shifted={"Y", "Z3"}, experiments=[{"X"}])
    error = refused(covariates + "; X -> Y; X <-> Y", "P(Y | do(X))", domains=[trial])
    pair = counterexample(error, seed=0)
    assert_proves(pair)
    assert set(pair.sources) == {"trial"}


@pytest.mark.parametrize("kind", ["NDE", "NIE"])
def test_a_natural_effect_needs_no_mediators(kind):
    pair = counterexample(refused("X -> M -> Y; X -> Y; M <-> Y", f"{kind}(X -> Y)"), seed=0)
    assert_proves(pair)
    named, _ = (model.probability(f"{kind}(X -> Y; M)") for model in (pair.first, pair.second))
    assert named == pytest.approx(pair.target_values[0], abs=1e-12)


@pytest.mark.parametrize("effect", ["ATE(X -> Y)", "ETT(X -> Y)", "PNS(X -> Y)"])
def test_the_pair_differs_on_the_whole_contrast(effect):
    pair = counterexample(refused("Z -> X -> Y; X <-> Y", effect), seed=0)
    assert str(pair.query).startswith(effect[:3])
    answers = [model.probability(parse_query(effect)) for model in (pair.first, pair.second)]
    assert abs(answers[0] - answers[1]) == pytest.approx(pair.difference, abs=1e-12)


def test_texts_become_states():
    error = refused("X -> Y; X <-> Y", "P(Y=yes | do(X=no))")
    pair = counterexample(error, seed=0)
    assert_proves(pair)
    assert pair.codes == {"Y": ("yes",), "X": ("no",)}
    assert str(pair.query) == "P(Y=0 | do(X=0))"
    assert "states of X: 0 is 'no'" in pair.summary()
    contrast = counterexample(refused("X -> Y; X <-> Y", "PN(X: b vs a -> Y: yes vs no)"), seed=0)
    assert_proves(contrast)
    assert contrast.codes == {"X": ("b", "a"), "Y": ("yes", "no")}


def test_a_search_that_would_take_too_long_says_so():
    with pytest.raises(FitError, match=r"too many to search") as caught:
        counterexample(refused(chain(30), "P(V29 | do(V0))"))
    assert "30 variables" in str(caught.value)
    with pytest.raises(FitError, match="X has 71 causes"):
        counterexample(refused(confounded(70), "P(Y | do(X))"))
