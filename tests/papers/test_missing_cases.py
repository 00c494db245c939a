"""The published verdicts on incomplete data against ours, and our formulas against models."""

import pytest

from causalppl.data import Factor
from causalppl.estimation import evaluate
from causalppl.exceptions import NotIdentifiableError
from causalppl.graphs import ADMG
from causalppl.identification.missing_data import MaskingPath, recover_from_missing_data
from causalppl.programs.finite import random_finite_model
from tests.papers.case import MissingCase
from tests.papers.cases_selection_missing import MISSING

FORMULAS = {
    "missing_completely_at_random": "P(X, Y | R_Y=1)",
    "missing_at_random": "P(Y | X, R_Y=1) P(X)",
    "missing_self_masking_cause_conditional": "P(Y | X, R_X=1)",
    "missing_each_masks_the_other": (
        "P(X, Y, R_X=1, R_Y=1) / (P(R_X=1 | Y, R_Y=1) P(R_Y=1 | X, R_X=1))"
    ),
    "missing_colluder": "P(Y | X, R_X=1, R_Y=1) P(X | R_X=1)",
    "missing_outcome_masks_cause": "P(X | Y, R_X=1, R_Y=1) P(Y | R_Y=1)",
    "missing_dependent_indicators": "P(X, Y | R_X=1, R_Y=1)",
    "missing_confounder_effect": "sum_Z P(Y | X, Z, R_Z=1) sum_X' P(Z | X', R_Z=1) P(X')",
}


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in MISSING])
def test_the_verdict_is_the_published_one(case: MissingCase) -> None:
    graph = ADMG.parse(case.graph)
    if not case.identifiable:
        with pytest.raises(NotIdentifiableError) as caught:
            recover_from_missing_data(graph, case.query, case.missing)
        assert isinstance(caught.value.hedge, MaskingPath)
        assert caught.value.hedge.check()
        return
    estimand = recover_from_missing_data(graph, case.query, case.missing)
    assert str(estimand) == FORMULAS.get(case.name, str(estimand))
    model = random_finite_model(graph, seed=5)
    found, truth = evaluate(estimand, model.law()), model.table(case.query)
    assert isinstance(found, Factor)
    difference = found.align(truth.names).values - truth.values
    assert float(difference.abs().max()) < 1e-12


def test_all_formulas_of_the_list_were_compared() -> None:
    assert {case.name for case in MISSING if case.identifiable} >= set(FORMULAS)
