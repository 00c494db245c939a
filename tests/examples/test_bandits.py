"""Named decision problems: diagrams, arms and best means as published."""

import pytest

from causalppl.examples import bandits
from causalppl.exceptions import QueryError

COUNTS = [
    (bandits.scm_mab_task_1, (4, 49, 81, 16), 1.0),
    (bandits.scm_mab_task_2, (4, 5, 9, 4), 0.773),
    (bandits.scm_mab_task_3, (16, 75, 243, 32), 0.7996928),
    (bandits.scm_mab_xyzw, (7, 15, 27, 8), 0.7996928),
]


@pytest.mark.parametrize(
    ("problem", "counts", "best"), COUNTS, ids=[p.__name__ for p, *_ in COUNTS]
)
def test_the_arms_are_as_many_as_published_and_the_best_mean_is_right(problem, counts, best):
    found = problem()
    assert tuple(len(found.arms(w)) for w in ("POMIS", "MIS", "all", "joint")) == counts
    means = [found.mean(arm) for arm in found.arms("all")]
    assert max(means) == pytest.approx(best, abs=1e-12)
    assert max(found.mean(arm) for arm in found.arms("POMIS")) == pytest.approx(best, abs=1e-12)
    assert found.best == best


@pytest.mark.parametrize(
    ("problem", "arm", "mean"),
    [
        (bandits.scm_mab_task_1, {"X1": 0, "X2": 1}, 0.58),
        (bandits.scm_mab_task_1, {}, 0.6824),
        (bandits.scm_mab_task_2, {"Z": 1}, 0.227),
        (bandits.scm_mab_task_2, {"X": 0}, 0.493),
        (bandits.scm_mab_task_2, {"X": 1}, 0.507),
        (bandits.scm_mab_task_2, {}, 0.4454),
        (bandits.scm_mab_task_3, {"S": 0}, 0.7996928),
        (bandits.scm_mab_task_3, {}, 0.52997),
        (bandits.front_door_bandit, {"X": 0}, 0.44),
        (bandits.front_door_bandit, {"X": 1}, 0.56),
        (bandits.front_door_bandit, {}, 0.50),
        (bandits.confounded_chain_bandit, {}, 1.0),
        (bandits.confounded_chain_bandit, {"X3": 0}, 0.5),
        (bandits.greedy_casino, {}, 0.15),
        (bandits.greedy_casino, {"X": 1}, 0.30),
        (bandits.paradoxical_switching, {"X": 0}, 0.35),
        (bandits.paradoxical_switching, {"X": 1}, 0.375),
    ],
)
def test_arm_means_are_the_published_ones(problem, arm, mean):
    assert problem().mean(arm) == pytest.approx(mean, abs=5e-5)


def test_the_seen_means_of_a_casino_are_its_intents():
    law = bandits.paradoxical_switching().law.law()
    seen = [float(law.condition({"X": x}).normalise().probability({"Y": 1})) for x in (0, 1)]
    assert seen == pytest.approx([0.4, 0.15])


def test_an_unknown_kind_of_arms_is_refused():
    with pytest.raises(QueryError, match="which is 'pomis'"):
        bandits.scm_mab_task_2().arms("pomis")
