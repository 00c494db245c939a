"""Which arms are kept: against the named problems, and against every arm's true mean."""

from itertools import product

import pytest

from causalppl.agents.arm_filters import filter_arms
from causalppl.examples import front_door_bandit, scm_mab_task_1, scm_mab_task_2, scm_mab_task_3
from causalppl.exceptions import QueryError
from causalppl.graphs import ADMG

TASKS = {"1": scm_mab_task_1, "2": scm_mab_task_2, "3": scm_mab_task_3}
SIZES = {"1": (4, 49, 81), "2": (4, 5, 9), "3": (16, 75, 243)}


@pytest.mark.parametrize("task", TASKS)
def test_keeps_as_many_arms_as_the_paper(task):
    problem = TASKS[task]()
    every = problem.arms("all")
    kept = [filter_arms(problem.scm, every, "Y", which) for which in ("POMIS", "MIS", "all")]
    assert tuple(map(len, kept)) == SIZES[task]
    assert set(map(frozenset, kept[0])) <= set(map(frozenset, kept[1]))


@pytest.mark.parametrize("task", TASKS)
def test_a_best_arm_is_always_kept(task):
    problem = TASKS[task]()
    best = max(problem.mean(arm) for arm in problem.arms("POMIS"))
    assert best == pytest.approx(max(problem.mean(arm) for arm in problem.arms("all")), abs=1e-12)
    for which in ("POMIS", "MIS"):
        kept = filter_arms(problem.scm, problem.arms("all"), "Y", which)
        assert max(map(problem.mean, kept)) == pytest.approx(best, abs=1e-12)


def test_order_does_not_depend_on_that_of_the_arms():
    problem = scm_mab_task_3()
    every = problem.arms("all")
    turned = [dict(reversed(arm.items())) for arm in reversed(every)]
    for which in ("all", "MIS", "POMIS"):
        one, other = (filter_arms(problem.scm, arms, "Y", which) for arms in (every, turned))
        assert [list(arm.items()) for arm in one] == [list(arm.items()) for arm in other]
    assert filter_arms(problem.scm, every, "Y", "POMIS") == problem.arms("POMIS")


def test_what_cannot_be_set_changes_what_is_best():
    """Lee and Bareinboim (2019): without Z, setting X is no longer as good as observing."""
    graph = ADMG.parse("X -> Z -> Y; X <-> Y")
    arms = [{}, *({"X": x} for x in (0, 1)), *({"Z": z} for z in (0, 1))]
    arms += [{"X": x, "Z": z} for x, z in product((0, 1), repeat=2)]
    assert {tuple(arm) for arm in filter_arms(graph, arms, "Y", "POMIS")} == {(), ("Z",)}
    kept = filter_arms(graph, arms, "Y", "POMIS", manipulable=["X"])
    assert {tuple(arm) for arm in kept} == {(), ("X",)}


def test_what_no_arm_sets_cannot_be_set():
    """At the front door one would set the mediator, Z, and never X; but no arm can."""
    problem = front_door_bandit()
    arms = problem.arms("all")
    assert filter_arms(problem.scm, arms, "Y", "POMIS") == problem.arms("POMIS")
    assert max(map(problem.mean, problem.arms("POMIS"))) == max(map(problem.mean, arms))
    forced = [arm for arm in arms if arm]
    assert filter_arms(problem.scm, forced, "Y", "POMIS") == tuple(forced)


def test_no_arm_is_dropped_for_one_that_is_not_there():
    graph = ADMG.parse("Z -> X -> Y; X <-> Y")
    assert filter_arms(graph, [{"X": 5}, {"X": 2}], "Y", "POMIS") == ({"X": 2}, {"X": 5})
    with pytest.raises(QueryError, match="one sets Z, which no arm does"):
        filter_arms(graph, [{"X": 5}, {"Z": 2, "X": 0}], "Y", "POMIS")
    with pytest.raises(QueryError, match=r"sets nothing, the arm \{\}, which no arm does"):
        filter_arms(graph, [{"X": 5}, {"Z": 2}, {"Z": 2, "X": 0}], "Y", "MIS")
    front_door = ADMG.parse("X -> Z -> Y; X <-> Y")
    with pytest.raises(QueryError, match="one sets Z, which no arm does"):
        filter_arms(front_door, [{}, {"X": 0}, {"X": 1}], "Y", "POMIS", manipulable=["X", "Z"])


def test_refuses_what_it_does_not_know():
    graph = ADMG.parse("X -> Y")
    with pytest.raises(QueryError, match="expected 'all', 'MIS' or 'POMIS'"):
        filter_arms(graph, [{"X": 0}], "Y", "pomis")
    with pytest.raises(QueryError, match="W is set"):
        filter_arms(graph, [{"W": 0}], "Y")
    with pytest.raises(QueryError, match="leaves a value open"):
        filter_arms(graph, [{"X": 0.0}, {"X": (0.0, 1.0)}], "Y")
