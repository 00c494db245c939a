"""The published verdicts, and the published sets, against ours."""

from collections.abc import Sequence

import pytest

from causalppl.exceptions import ImpossibleEvidenceError, NotIdentifiableError
from causalppl.graphs import ADMG
from causalppl.identification import Domain, identify
from tests.papers import (
    cases_counterfactual,
    cases_gid,
    cases_id,
    cases_mediation,
    cases_soft,
    cases_transport,
)
from tests.papers.case import Case, CounterfactualCase, SoftCase


def verdict(case: Case) -> bool:
    policies = (
        {policy.variable: policy.inputs for policy in case.policies}
        if isinstance(case, SoftCase)
        else {}
    )
    domains = [Domain(d.name, d.shifted, d.experiments, d.observational) for d in case.domains]
    try:
        estimand = identify(
            ADMG.parse(case.graph),
            case.query,
            experiments=case.experiments,
            domains=domains,
            observational=case.observational,
            policies=policies,
        )
    except NotIdentifiableError as error:
        if not error.hedge.check():
            raise AssertionError(f"the witness {error.hedge} does not check") from error
        return False
    if isinstance(case, CounterfactualCase) and case.value == 0:
        assert estimand.is_zero
    return True


def listed(cases: Sequence[Case]) -> list[object]:
    return [pytest.param(case, id=case.name) for case in cases]


VERDICTS = [
    *cases_id.CASES,
    *cases_gid.CASES,
    *cases_transport.CASES,
    *cases_counterfactual.CASES,
    *cases_mediation.CASES,
    *cases_soft.CASES,
]


@pytest.mark.parametrize("case", listed(VERDICTS))
def test_the_verdict_is_the_published_one(case: Case) -> None:
    if isinstance(case, CounterfactualCase) and case.is_undefined:
        with pytest.raises(ImpossibleEvidenceError):
            verdict(case)
    else:
        assert verdict(case) is case.identifiable
