"""The cases are well formed; whether their verdicts are reproduced is tested elsewhere."""

from collections import Counter
from itertools import combinations

import pytest

from causalppl.graphs import ADMG
from causalppl.queries import Query

from . import (
    cases_adjustment,
    cases_counterfactual,
    cases_front_door_instruments,
    cases_gid,
    cases_id,
    cases_imitability,
    cases_mediation,
    cases_selection_missing,
    cases_soft,
    cases_transport,
)
from .case import (
    AdjustmentCase,
    Case,
    CounterfactualCase,
    FrontDoorCase,
    ImitationCase,
    InstrumentCase,
    MissingCase,
    PathSpecificCase,
    SelectionCase,
    SoftCase,
)

TOPICS = {
    "adjustment": cases_adjustment.CASES,
    "counterfactual": cases_counterfactual.CASES,
    "front_door_instruments": cases_front_door_instruments.CASES,
    "gid": cases_gid.CASES,
    "id": cases_id.CASES,
    "imitability": cases_imitability.CASES,
    "mediation": cases_mediation.CASES,
    "selection_missing": cases_selection_missing.CASES,
    "soft": cases_soft.CASES,
    "transport": cases_transport.CASES,
}
CASES: tuple[Case, ...] = sum(TOPICS.values(), ())


def of(kind: type[Case]) -> list[Case]:
    return [case for case in CASES if isinstance(case, kind)]


def each(kind: type[Case] = Case) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", of(kind), ids=lambda case: case.name)


def nodes(case: Case) -> set[str]:
    return set(ADMG.parse(case.graph).nodes)


def ends(case: Case) -> set[str]:
    """Treatments and outcomes of an interventional query."""
    return set(Query.parse(case.query).variables)


def test_there_are_at_least_150_cases_with_unique_names():
    repeated = [name for name, count in Counter(c.name for c in CASES).items() if count > 1]
    assert repeated == []
    assert len(CASES) >= 150


@pytest.mark.parametrize("topic", TOPICS)
def test_every_topic_has_both_verdicts(topic):
    assert {case.identifiable for case in TOPICS[topic]} == {True, False}


def test_no_question_is_asked_twice_within_a_topic():
    for topic, cases in TOPICS.items():
        for first, second in combinations(cases, 2):
            assert not is_same_question(first, second), (topic, first.name, second.name)


def is_same_question(first: Case, second: Case) -> bool:
    """Compare all that an algorithm is given; what is only for the reader does not count."""
    told = {"name", "source", "formula", "note", "graph", "query"}
    mine, other = (
        {key: value for key, value in vars(case).items() if key not in told}
        for case in (first, second)
    )
    return (
        type(first) is type(second)
        and mine == other
        and Query.parse(first.query) == Query.parse(second.query)
        and ADMG.parse(first.graph) == ADMG.parse(second.graph)
    )


@each()
def test_the_name_is_a_slug_and_the_source_is_given(case):
    assert case.name.isidentifier()
    assert case.name == case.name.lower()
    assert any(word in case.source for word in ("18", "19", "20")), "the source has no year"


@each()
def test_the_query_is_about_variables_of_the_graph(case):
    assert Query.parse(case.query).variables <= nodes(case)


@each()
def test_a_formula_is_given_only_where_there_is_one(case):
    assert case.identifiable or case.formula is None
    if case.formula is not None:
        assert case.formula.count("[") == case.formula.count("]")
        assert case.formula.count("(") == case.formula.count(")")
        assert "do(" not in case.formula


@each()
def test_experiments_and_shifts_are_sets_of_variables_of_the_graph(case):
    inputs = [case, *case.domains]
    experiments = [set(z) for one in inputs for z in one.experiments]
    assert all(z and z < nodes(case) for z in experiments)
    assert all(domain.shifted <= nodes(case) for domain in case.domains)
    assert any(one.observational or one.experiments for one in inputs)
    assert len({domain.name for domain in case.domains}) == len(case.domains)


@each(CounterfactualCase)
def test_a_known_value_is_a_probability_and_an_undefined_query_is_conditional(case):
    assert case.value in (None, 0, 1)
    assert not (case.is_undefined and case.identifiable)
    assert Query.parse(case.query).given or not case.is_undefined


@each(PathSpecificCase)
def test_active_edges_are_edges_on_directed_paths_from_treatment_to_outcome(case):
    graph = ADMG.parse(case.graph)
    assert case.paths <= set(graph.directed_edges)
    on_paths = graph.descendants(case.treatment) & graph.ancestors(case.outcome)
    assert all(a in on_paths and b in on_paths for a, b in case.paths)
    assert case.recanting <= on_paths - {case.treatment, case.outcome}


@each(SoftCase)
def test_policies_look_at_other_variables_and_leave_no_cycle(case):
    graph = ADMG.parse(case.graph)
    replaced = {policy.variable for policy in case.policies}
    kept = [(a, b) for a, b in graph.directed_edges if b not in replaced]
    new = [(a, policy.variable) for policy in case.policies for a in policy.inputs]
    assert ADMG(graph.nodes, kept + new).nodes == graph.nodes
    assert Query.parse(case.query).do == ()


@each(AdjustmentCase)
def test_adjustment_sets_are_disjoint_from_treatment_and_outcome(case):
    minimal = case.minimal_sets or ()
    optimal = () if case.optimal is None else (case.optimal,)
    assert bool(case.valid_sets) == case.is_adjustable
    assert not set(case.valid_sets) & set(case.invalid_sets)
    assert not {*minimal, *optimal} & set(case.invalid_sets)
    for covariates in (*case.valid_sets, *case.invalid_sets, *minimal, *optimal):
        assert covariates <= nodes(case) - ends(case)


@each(FrontDoorCase)
def test_front_door_sets_are_consistent(case):
    assert not set(case.valid_sets) & set(case.invalid_sets)
    for mediators in (*case.valid_sets, *case.invalid_sets):
        assert mediators <= nodes(case) - ends(case)
    if case.all_sets is not None:
        assert set(case.valid_sets) <= set(case.all_sets)
        assert not set(case.invalid_sets) & set(case.all_sets)


@each(InstrumentCase)
def test_instruments_are_not_in_their_own_conditioning_sets(case):
    assert not set(case.instruments) & set(case.non_instruments)
    for instrument, given in (*case.instruments, *case.non_instruments):
        assert given | {instrument} <= nodes(case) - ends(case)
        assert instrument not in given
    if case.can_condition is not None:
        assert {instrument for instrument, _ in case.instruments} <= case.can_condition


@each(ImitationCase)
def test_the_imitator_sees_only_what_it_could_see(case):
    graph = ADMG.parse(case.graph)
    assert not case.policy_inputs & (graph.descendants(case.action) | case.latent)
    assert case.latent < nodes(case)
    assert all(z <= case.policy_inputs for z in (*case.backdoor_sets, *case.not_backdoor_sets))
    assert bool(case.backdoor_sets) == case.identifiable


@each(SelectionCase)
def test_external_data_do_not_show_the_selection(case):
    graph = ADMG.parse(case.graph)
    assert graph.descendants(case.selected_on) == {case.selected_on}
    assert all(known < nodes(case) - {case.selected_on} for known in case.external)


@each(MissingCase)
def test_incomplete_variables_have_an_indicator_that_causes_only_indicators(case):
    graph = ADMG.parse(case.graph)
    indicators = {f"R_{name}" for name in case.missing}
    assert indicators == {node for node in graph.nodes if node.startswith("R_")}
    assert graph.descendants(indicators) == indicators
