"""The published formulas, evaluated without the package, against what random models do."""

from dataclasses import replace

import numpy as np
import pytest

from causalppl.graphs import ADMG
from causalppl.programs.finite import FiniteModel, random_finite_model
from causalppl.queries import Query
from tests.papers import (
    cases_adjustment,
    cases_counterfactual,
    cases_front_door_instruments,
    cases_gid,
    cases_id,
    cases_mediation,
    cases_soft,
    cases_transport,
)
from tests.papers.case import Case, Names, SoftCase
from tests.papers.formula import Array, Data, Study, Table, evaluate_formula

STATES = 3  # with two, some formulas are right by chance
CASES: list[Case] = [
    case
    for module in (
        cases_adjustment,
        cases_counterfactual,
        cases_front_door_instruments,
        cases_gid,
        cases_id,
        cases_mediation,
        cases_soft,
        cases_transport,
    )
    for case in module.CASES
    if case.formula is not None
]


def laws(case: Case, model: FiniteModel) -> dict[Study, Array]:
    """All that the case says is known, and no more."""
    found: dict[Study, Array] = {}
    places: list[tuple[str | None, FiniteModel, tuple[Names, ...], bool]]
    places = [(None, model, case.experiments, case.observational)]
    for place, domain in enumerate(case.domains):
        other = model.shifted(domain.shifted, seed=100 + place)
        places.append((domain.name, other, domain.experiments, domain.observational))
    for name, there, experiments, is_observed in places:
        for do in [*experiments, *[frozenset[str]()] * is_observed]:
            found[name, do] = there.law(dict.fromkeys(do)).values.numpy()
    return found


def data(case: Case, model: FiniteModel, seed: int) -> Data:
    rng = np.random.default_rng(seed)
    policies = {}
    for policy in case.policies if isinstance(case, SoftCase) else ():
        inputs = tuple(sorted(policy.inputs))
        shape = [model.states[name] for name in inputs]
        policies[policy.variable] = inputs, rng.dirichlet([1] * STATES, shape)
    return Data(model.graph.nodes, laws(case, model), policies)


def truth(case: Case, model: FiniteModel, known: Data) -> Table:
    if not isinstance(case, SoftCase):
        answer = model.answer(case.query)
        names = tuple(name.removeprefix("do(").removesuffix(")") for name in answer.names)
        return Table(names, answer.values)
    law = model.law(policies=known.policies).values.numpy()
    under = replace(known, laws={(None, frozenset()): law})
    return under.probability(str(Query.parse(case.query)))


def gap(case: Case, formula: str, seed: int = 0) -> float:
    """How far a formula is from the truth, at the worst values of open and pinned symbols."""
    model = random_finite_model(ADMG.parse(case.graph), states=STATES, seed=seed)
    known = data(case, model, seed)
    expected, found = truth(case, model, known), evaluate_formula(formula, known)
    symbols = tuple(dict.fromkeys((*expected.symbols, *found.symbols)))
    return float(np.abs(expected.over(symbols) - found.over(symbols)).max())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_published_formula_gives_what_the_model_does(case: Case) -> None:
    assert case.formula is not None
    assert gap(case, case.formula) < 1e-9


def named(name: str) -> Case:
    (case,) = (case for case in CASES if case.name == name)
    return case


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("pearl_2009_fig3_8e_front_door", "P(Y | X)"),
        ("pearl_2009_fig3_8e_front_door", "sum_{Z} P(Z | X) P(Y | Z)"),
        ("pearl_2009_fig3_8e_front_door", "sum_{Z} P(Z | X) P(Y | X, Z)"),
        ("pearl_mackenzie_2018_napkin", "sum_{W} P(Y | X, Z, W) P(W)"),
        ("pearl_bareinboim_2014_age", "P^{a}_{X}(Y)"),
        ("treated_back_door", "sum_{Z} P(Y | X=0, Z) P(Z)"),
        ("soft_back_door_conditional", "sum_{X, Z} P(Y | X) pi(X | Z) P(Z)"),
    ],
)
def test_a_wrong_formula_is_told_from_a_right_one(name: str, wrong: str) -> None:
    assert gap(named(name), wrong) > 1e-4


@pytest.mark.parametrize(
    "text", ["P(Y | do(X))", "sum_{Z} P(Y)", "P(Y", "[P(Y)", "P(Y)] P(X)", "P(Y, Y)", "2 P(Y)"]
)
def test_what_is_not_in_the_notation_is_refused(text: str) -> None:
    case = named("pearl_2009_fig3_8a")
    with pytest.raises((AssertionError, IndexError)):
        gap(case, text)
