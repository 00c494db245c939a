"""Formulas against programs: random diagrams, random finite models, every kind of query.

An identifiable query's formula, evaluated on the laws that the data supply, must give what the
model does; a refused one must have a checkable witness and two models that show it.
"""

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from causalppl.data import Factor
from causalppl.estimation import Unidentified, counterexample, evaluate
from causalppl.exceptions import ImpossibleEvidenceError, NotIdentifiableError, QueryError
from causalppl.graphs import ADMG, random_admg
from causalppl.identification import Estimand, identify
from causalppl.programs.finite import random_finite_model
from causalppl.queries import Query
from tests.properties.questions import KINDS, SMALL, Question, questions

CASES = 250  # of each kind: 2,250 in all
OPEN = 40  # of each kind, with three values and about half of them left open
THREE_VALUED = 60  # of each of five kinds: 300 where all variables have three, 300 where some do


def check(question: Question) -> str:
    """Compare the formula with a random model, and say which way the verdict went."""
    try:
        estimand = question.identify()
    except NotIdentifiableError as error:
        return "refused" if error.hedge.check() else "refused without a witness"
    except (QueryError, ImpossibleEvidenceError):
        return "no question"
    model = question.model()
    laws, policies = question.laws(model), question.policy_laws(model)
    answer = evaluate(estimand, laws, policies=policies)
    if isinstance(answer, Factor):
        assert not answer.names
        answer = answer.values
    truth = question.truth(model)
    assert float(answer) == pytest.approx(truth, abs=1e-9), (question, str(estimand))
    assert Estimand.from_json(estimand.to_json()) == estimand
    return "identified"


@pytest.mark.parametrize("kind", KINDS)
def test_a_formula_gives_what_the_model_does(kind: str) -> None:
    verdicts = [check(question) for question in questions(kind, CASES)]
    assert verdicts.count("identified") > CASES / 5
    assert verdicts.count("refused") > CASES / 30
    assert verdicts.count("no question") < CASES / 3
    assert "refused without a witness" not in verdicts


@pytest.mark.parametrize("which", ["all", "treatment"])
@pytest.mark.parametrize("kind", ["do", "ett", "counterfactual", "soft", "mediation"])
def test_a_formula_holds_for_three_values(kind: str, which: str) -> None:
    verdicts = []
    for question in questions(kind, THREE_VALUED, salt=8 if which == "all" else 9):
        two = dict.fromkeys(question.graph.nodes, 2)
        treated = dict.fromkeys(question.treatments, 3)
        states = 3 if which == "all" else two | treated
        verdicts.append(check(replace(question, states=states)))
    assert verdicts.count("identified") > THREE_VALUED / 5
    assert verdicts.count("refused") > THREE_VALUED / 30


def half_open(question: Question) -> Question:
    """Leave about half of the values open, of three."""
    rng = np.random.default_rng(question.seed)
    query = re.sub(r"=\d", lambda value: value[0] if rng.random() < 0.5 else "", question.query)
    return replace(question, query=query, states=3)


@pytest.mark.parametrize("kind", [*SMALL, "do", "conditional", "experiments", "domains"])
def test_open_values_give_the_whole_table(kind: str) -> None:
    compared = 0
    for question in questions(kind, OPEN, salt=10):
        question = half_open(question)
        try:
            estimand = question.identify()
        except (NotIdentifiableError, QueryError, ImpossibleEvidenceError):
            continue
        model = question.model()
        table = evaluate(estimand, question.laws(model))
        truth = model.answer(question.query)
        assert isinstance(table, Factor)
        assert set(table.names) == set(truth.names), (question, str(estimand))
        values = table.align(truth.names).values.numpy() if truth.names else table.values
        assert np.allclose(values, truth.values, rtol=0, atol=1e-9), (question, str(estimand))
        compared += 1
    assert compared > OPEN / 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "soft"])
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


@pytest.mark.slow
def test_a_refused_policy_has_two_models_that_show_it() -> None:
    """The models agree on the data and differ on the c-factor that the witness names.

    They then have to differ under the policy as well, for one of a few laws of it.
    """
    shown = 0
    for question in questions("soft", 3 * CASES):
        if len(question.graph) > 4:
            continue
        try:
            question.identify()
        except NotIdentifiableError as error:
            inner = error.hedge.hedges[0].inner
            do = ", ".join(name for name in question.graph.nodes if name not in inner)
            needed = Query.parse(f"P({', '.join(inner)}{f' | do({do})' if do else ''})")
            pair = counterexample(
                replace(Unidentified.from_error(error), query=needed), seed=question.seed
            )
            assert pair.agreement < 1e-12, question
            again = [replace(question, seed=seed) for seed in range(3)]
            gaps = [abs(one.truth(pair.first) - one.truth(pair.second)) for one in again]
            assert max(gaps) > 1e-4, question
            shown += 1
        if shown == 20:
            break
    assert shown == 20


def test_a_binary_treatment_identifies_more_than_a_formula_for_all_can_say() -> None:
    """With two values, those who are not treated are the rest of everybody; with three, not."""
    bow = ADMG.parse("X -> Y; X <-> Y")
    query = "P(Y_{X=0}=1 | X=1)"
    with pytest.raises(NotIdentifiableError) as refused:
        identify(bow, query, experiments=["X"])
    pair = counterexample(refused.value)
    assert pair.check()
    assert pair.first.states["X"] > 2
    errors = []
    for states in (2, 3):
        model = random_finite_model(bow, states={"X": states, "Y": 2}, seed=1)
        law, trial = model.law().values, model.law({"X": None}).values
        by_subtraction = (trial[0, 1] - law[0, 1]) / law[1].sum()
        errors.append(abs(float(by_subtraction) - model.probability(query)))
    assert errors[0] < 1e-12
    assert errors[1] > 1e-3


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
