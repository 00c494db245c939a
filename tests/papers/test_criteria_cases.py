"""Published sets (adjustment, front door, instruments, imitation) against ours and the numbers.

A criterion says that an estimator is right in every model; so each set is also put to a random
model, where a set that qualifies must give the true effect, and one that does not must fail.
"""

import numpy as np
import pytest

from causalppl.data import Factor
from causalppl.exceptions import AssumptionError
from causalppl.graphs import ADMG
from causalppl.identification import (
    adjustment_sets,
    all_adjustment_sets,
    explain_adjustment,
    explain_imitability,
    find_adjustment_set,
    find_front_door_set,
    find_imitation_policy_set,
    find_instruments,
    find_minimum_cost_adjustment_set,
    front_door_sets,
    is_adjustment_set,
    is_front_door_set,
    is_instrument,
    optimal_adjustment_set,
    optimal_minimal_adjustment_set,
)
from causalppl.programs.finite import FiniteModel, random_finite_model
from causalppl.queries import Query
from tests.papers import cases_adjustment, cases_front_door_instruments, cases_imitability
from tests.papers.case import (
    AdjustmentCase,
    Case,
    FrontDoorCase,
    ImitationCase,
    InstrumentCase,
    Names,
    names,
)
from tests.papers.formula import Array, Data, evaluate_formula

EXACT, APART = 1e-9, 1e-4
FRONT_DOORS = cases_front_door_instruments.FRONT_DOORS
INSTRUMENTS = cases_front_door_instruments.INSTRUMENTS


def each(cases: tuple[Case, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


def ends(case: Case) -> tuple[list[str], list[str]]:
    query = Query.parse(case.query)
    return [i.name for i in query.do], [event.name for event in query.outcomes]


def observed(law: Factor) -> Data:
    return Data(law.names, {(None, frozenset()): law.values.numpy()}, {})


def gap(model: FiniteModel, query: str, formula: str) -> float:
    """How far a formula on observations is from the true effect, at the worst values."""
    found = evaluate_formula(formula, observed(model.law()))
    answer = model.answer(query)
    return float(np.abs(answer.values - found.over(answer.names)).max())


# adjustment


def adjusted(x: list[str], y: list[str], z: Names) -> str:
    """Write the adjustment formula."""
    given = ", ".join([*x, *sorted(z)])
    if not z:
        return f"P({', '.join(y)} | {given})"
    names = ", ".join(sorted(z))
    return f"sum_{{{names}}} P({', '.join(y)} | {given}) P({names})"


@each(cases_adjustment.CASES)
def test_adjustment_sets_are_the_published_ones(case: AdjustmentCase) -> None:
    graph, (x, y) = ADMG.parse(case.graph), ends(case)
    for z in case.valid_sets:
        assert is_adjustment_set(graph, x, y, z), z
        assert explain_adjustment(graph, x, y, z) is None
    for z in case.invalid_sets:
        assert not is_adjustment_set(graph, x, y, z), z
        assert explain_adjustment(graph, x, y, z) is not None
    found = find_adjustment_set(graph, x, y)
    assert (found is not None) == case.is_adjustable
    every = set(all_adjustment_sets(graph, x, y))
    assert every >= set(case.valid_sets)
    assert not every & set(case.invalid_sets)


@each(tuple(case for case in cases_adjustment.CASES if case.minimal_sets is not None))
def test_minimal_adjustment_sets_are_the_published_ones(case: AdjustmentCase) -> None:
    found = list(adjustment_sets(ADMG.parse(case.graph), *ends(case)))
    assert case.minimal_sets is not None
    assert sorted(map(sorted, found)) == sorted(map(sorted, case.minimal_sets))


@each(tuple(case for case in cases_adjustment.CASES if case.optimal is not None))
def test_the_optimal_adjustment_set_is_the_published_one(case: AdjustmentCase) -> None:
    assert optimal_adjustment_set(ADMG.parse(case.graph), *ends(case)) == case.optimal


def adjustment_case(name: str) -> AdjustmentCase:
    (case,) = (case for case in cases_adjustment.CASES if case.name == name)
    return case


def test_no_adjustment_set_is_optimal_in_figure_5_of_smucler_2022() -> None:
    graph = ADMG.parse(adjustment_case("smucler_2022_fig5").graph)
    with pytest.raises(AssumptionError, match="was found to be optimal"):
        optimal_adjustment_set(graph, "X", "Y")


@pytest.mark.parametrize(
    ("name", "best"),
    [
        ("smucler_2022_fig3", "F T"),
        ("smucler_2022_fig4", "T W2 W3"),
        ("smucler_2022_fig5", ""),
        ("smucler_rotnitzky_2022_fig2", "R T"),
        ("smucler_rotnitzky_2022_fig3", "R T"),
    ],
)
def test_the_best_minimal_set_is_the_published_one(name: str, best: str) -> None:
    graph = ADMG.parse(adjustment_case(name).graph)
    assert optimal_minimal_adjustment_set(graph, "X", "Y") == names(best)


@pytest.mark.parametrize(
    ("name", "including", "cost", "cheapest"),
    [
        ("smucler_2022_fig3", "T", {}, "F T"),
        ("smucler_2022_fig4", "T", {}, "T W1"),
        ("smucler_2022_fig5", "", {}, ""),
        ("smucler_rotnitzky_2022_fig2", "L", {"B": 2, "K": 4}, "L R T"),
        ("smucler_rotnitzky_2022_fig2", "L", {"K": 4, "R": 2}, "B L T"),
        ("smucler_rotnitzky_2022_fig3", "", {"R": 2, "T": 2}, "B Q"),
    ],
)
def test_the_cheapest_set_is_the_published_one(
    name: str, including: str, cost: dict[str, float], cheapest: str
) -> None:
    graph = ADMG.parse(adjustment_case(name).graph)
    found = find_minimum_cost_adjustment_set(graph, "X", "Y", including=names(including), cost=cost)
    assert found == names(cheapest)


@each(tuple(case for case in cases_adjustment.CASES if "warm_up" not in case.name))
def test_adjusting_is_right_with_valid_sets_only(case: AdjustmentCase) -> None:
    model = random_finite_model(ADMG.parse(case.graph), states=3, seed=1)
    x, y = ends(case)
    for z in case.valid_sets:
        assert gap(model, case.query, adjusted(x, y, z)) < EXACT, z
    for z in case.invalid_sets:
        assert gap(model, case.query, adjusted(x, y, z)) > APART, z


# front door


def through(z: Names) -> str:
    """Write the front-door formula."""
    names = ", ".join(sorted(z))
    return f"sum_{{{names}}} P({names} | X) sum_{{X'}} P(Y | X', {names}) P(X')"


@each(FRONT_DOORS)
def test_front_door_sets_are_the_published_ones(case: FrontDoorCase) -> None:
    graph, (x, y) = ADMG.parse(case.graph), ends(case)
    assert all(is_front_door_set(graph, x, y, z) for z in case.valid_sets)
    assert not any(is_front_door_set(graph, x, y, z) for z in case.invalid_sets)
    listed = list(front_door_sets(graph, x, y, within=case.constraint))
    assert len(set(listed)) == len(listed)
    assert case.all_sets is not None
    assert set(listed) == set(case.all_sets)
    found = find_front_door_set(graph, x, y, within=case.constraint)
    assert found in case.all_sets if case.all_sets else found is None


@each(FRONT_DOORS)
def test_the_front_door_formula_is_right_with_valid_sets(case: FrontDoorCase) -> None:
    model = random_finite_model(ADMG.parse(case.graph), states=3, seed=1)
    assert all(gap(model, case.query, through(z)) < EXACT for z in case.valid_sets)
    if not case.identifiable:
        assert all(gap(model, case.query, through(z)) > APART for z in case.invalid_sets if z)


# instruments


class LinearModel:
    """A random linear model of a diagram: its total effects and its covariances."""

    def __init__(self, graph: ADMG, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.place = {name: i for i, name in enumerate(graph.nodes)}
        count = len(graph.nodes)
        weights = np.zeros((count, count))
        for a, b in graph.directed_edges:
            weights[self.place[b], self.place[a]] = rng.uniform(0.5, 1.5) * rng.choice([-1, 1])
        noise = np.eye(count)
        for a, b in graph.bidirected_edges:
            loads = np.zeros(count)
            loads[[self.place[a], self.place[b]]] = rng.uniform(0.5, 1.5, 2)
            noise += np.outer(loads, loads)
        self.effects = np.linalg.inv(np.eye(count) - weights)
        self.covariance = self.effects @ noise @ self.effects.T

    def effect(self, x: str, y: str) -> float:
        return float(self.effects[self.place[y], self.place[x]])

    def partial(self, a: str, b: str, given: Names) -> float:
        rows, held = [self.place[a]], [self.place[name] for name in sorted(given)]
        block: Array = self.covariance[np.ix_(rows + held, [self.place[b], *held])]
        if not held:
            return float(block[0, 0])
        return float(block[0, 0] - block[0, 1:] @ np.linalg.solve(block[1:, 1:], block[1:, 0]))


@each(INSTRUMENTS)
def test_instruments_are_the_published_ones(case: InstrumentCase) -> None:
    graph, ((x,), (y,)) = ADMG.parse(case.graph), ends(case)
    for z, given in case.instruments:
        assert is_instrument(graph, z, x, y, given), (z, given)
    for z, given in case.non_instruments:
        assert not is_instrument(graph, z, x, y, given), (z, given)
    found = find_instruments(graph, x, y)
    assert all(is_instrument(graph, i.node, x, y, i.given) for i in found)
    if case.can_condition is not None:
        assert {i.node for i in found} == case.can_condition


@each(INSTRUMENTS)
def test_the_ratio_of_covariances_is_the_effect_with_instruments_only(
    case: InstrumentCase,
) -> None:
    (x,), (y,) = ends(case)
    model = LinearModel(ADMG.parse(case.graph), seed=2)

    def is_right(z: str, given: Names) -> bool:
        below = model.partial(z, x, given)
        wald = model.partial(z, y, given) / below if abs(below) > EXACT else np.inf
        return bool(abs(wald - model.effect(x, y)) < EXACT)

    assert all(is_right(z, given) for z, given in case.instruments)
    assert not any(is_right(z, given) for z, given in case.non_instruments)


# imitation


@each(cases_imitability.CASES)
def test_the_imitability_verdict_is_the_published_one(case: ImitationCase) -> None:
    graph = ADMG.parse(case.graph)
    found = find_imitation_policy_set(graph, case.action, case.reward, case.policy_inputs)
    path = explain_imitability(graph, case.action, case.reward, case.policy_inputs)
    assert (found is not None) is case.identifiable
    assert (path is None) is case.identifiable
    assert found is None or found in case.backdoor_sets
    for z in case.backdoor_sets:
        assert find_imitation_policy_set(graph, case.action, case.reward, z) is not None, z
    for z in case.not_backdoor_sets:
        assert find_imitation_policy_set(graph, case.action, case.reward, z) != z, z


@each(cases_imitability.CASES)
def test_copying_the_expert_given_a_set_imitates_with_back_door_sets_only(
    case: ImitationCase,
) -> None:
    model = random_finite_model(ADMG.parse(case.graph), states=3, seed=1)
    natural = observed(model.law())

    def gap_of_copy(inputs: Names) -> float:
        seen = tuple(sorted(inputs))
        given = f" | {', '.join(seen)}" if seen else ""
        copy = natural.probability(f"P({case.action}{given})").over((*seen, case.action))
        imitated = observed(model.law(policies={case.action: (seen, copy)}))
        reward = f"P({case.reward})"
        change = imitated.probability(reward).values - natural.probability(reward).values
        return float(np.abs(change).max())

    assert all(gap_of_copy(z) < EXACT for z in case.backdoor_sets)
    assert all(gap_of_copy(z) > APART for z in case.not_backdoor_sets)
