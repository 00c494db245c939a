"""The published verdicts and formulas on selection bias, against ours and against models."""

import pytest

from causalppl.data import Factor
from causalppl.estimation import evaluate
from causalppl.exceptions import NotIdentifiableError
from causalppl.graphs import ADMG
from causalppl.identification import Estimand
from causalppl.identification.selection_bias import recover_from_selection
from causalppl.programs.finite import random_finite_model
from tests.papers.case import SelectionCase
from tests.papers.cases_selection_missing import SELECTION

RECOVERABLE = [case for case in SELECTION if case.identifiable]
# the published formula pins a variable where ours takes its mean
WRITTEN_OTHERWISE = {"bareinboim_tian_2015_recover"}


def recover(case: SelectionCase) -> Estimand:
    return recover_from_selection(
        ADMG.parse(case.graph), case.query, case.selected_on, case.external
    )


def each(cases: list[SelectionCase]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


@each([case for case in SELECTION if not case.identifiable])
def test_what_is_published_as_lost_is_refused_with_a_witness(case: SelectionCase) -> None:
    with pytest.raises(NotIdentifiableError) as caught:
        recover(case)
    assert caught.value.hedge.check()


@each(RECOVERABLE)
def test_what_is_published_as_recoverable_gives_the_truth(case: SelectionCase) -> None:
    estimand = recover(case)
    graph = ADMG.parse(case.graph)
    states = {name: 2 if name == case.selected_on else 3 for name in graph.nodes}
    for seed in range(3):
        model = random_finite_model(graph, states=states, seed=seed)
        table = evaluate(estimand, model.law())
        assert isinstance(table, Factor)
        truth = model.table(case.query).align(list(table.names))
        assert float((table.values - truth.values).abs().max()) < 1e-9


@each([case for case in RECOVERABLE if case.name not in WRITTEN_OTHERWISE])
def test_the_formula_is_the_published_one(case: SelectionCase) -> None:
    assert case.formula is not None
    published = case.formula.translate(str.maketrans("[]", "()", "{}"))
    assert str(recover(case)) == published
