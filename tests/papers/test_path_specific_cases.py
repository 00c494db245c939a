"""The published path-specific effects: their verdicts, meanings and recanting witnesses."""

import numpy as np
import pytest

from causalppl.exceptions import NotIdentifiableError
from causalppl.graphs import ADMG
from causalppl.identification import identify
from causalppl.identification.path_specific import (
    path_specific_query,
    recanting_districts,
    recanting_witnesses,
)
from causalppl.programs.finite import random_finite_model
from causalppl.queries import Query

from .case import PathSpecificCase
from .cases_mediation import CASES

EACH = pytest.mark.parametrize(
    "case",
    [case for case in CASES if isinstance(case, PathSpecificCase)],
    ids=lambda case: case.name,
)


def asked(case: PathSpecificCase) -> Query:
    graph = ADMG.parse(case.graph)
    return path_specific_query(graph, case.treatment, case.outcome, case.paths, kind="P")


@EACH
def test_the_query_means_what_the_published_one_does(case: PathSpecificCase) -> None:
    graph = ADMG.parse(case.graph)
    for seed in range(5):
        sizes = {name: 2 + (seed + place) % 2 for place, name in enumerate(graph.nodes)}
        model = random_finite_model(graph, states=sizes, seed=seed)
        ours, published = model.answer(asked(case)), model.answer(case.query)
        assert ours.names == published.names == (case.outcome,)
        assert ours.values == pytest.approx(published.values, abs=1e-12)
        assert np.ptp(ours.values) > 0


@EACH
def test_the_query_is_no_longer_than_the_published_one(case: PathSpecificCase) -> None:
    assert len(str(asked(case))) <= len(case.query)


@EACH
def test_the_verdict_is_the_published_one(case: PathSpecificCase) -> None:
    graph = ADMG.parse(case.graph)
    if case.identifiable:
        ours, published = identify(graph, asked(case)), identify(graph, case.query)
        assert str(ours) == str(published)
    else:
        with pytest.raises(NotIdentifiableError) as caught:
            identify(graph, asked(case))
        assert caught.value.hedge.check()


@EACH
def test_the_recanting_witnesses_are_the_published_ones(case: PathSpecificCase) -> None:
    graph = ADMG.parse(case.graph)
    found = recanting_witnesses(graph, case.treatment, case.outcome, case.paths)
    assert found == case.recanting


@EACH
def test_a_recanting_district_goes_with_a_refusal(case: PathSpecificCase) -> None:
    graph = ADMG.parse(case.graph)
    found = recanting_districts(graph, case.treatment, case.outcome, case.paths)
    assert bool(found) is not case.identifiable
