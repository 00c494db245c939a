"""Four machines, many causes, a population: means against their closed forms and draws."""

import numpy as np
import pytest

from causalppl.examples import (
    four_arm_casino,
    linear_gaussian_population,
    parallel_bandit,
    transfer_bandit,
)


def test_the_casino_with_four_machines():
    casino = four_arm_casino()
    assert casino.mean({}) == pytest.approx(0.2, abs=1e-12)
    means = [casino.mean(arm) for arm in casino.arms("joint")]
    assert means == pytest.approx([0.4] * 4, abs=1e-12)
    law = casino.law.law()
    seen = [float(law.condition({"X": x}).normalise().probability({"Y": 1})) for x in range(4)]
    assert seen == pytest.approx([0.2] * 4, abs=1e-12)


def test_logs_that_rank_arms_wrongly_and_rule_one_out():
    bandit = transfer_bandit()
    means = [bandit.mean(arm) for arm in bandit.arms("joint")]
    assert means == pytest.approx([0.625, 0.79, 0.725, 0.325], abs=1e-12)
    law = bandit.law.law()
    seen = [float(law.condition({"X": x}).normalise().probability({"Y": 1})) for x in range(4)]
    assert seen == pytest.approx([0.664, 0.642, 0.554, 0.348], abs=1e-12)
    most = [
        float(law.probability({"X": x, "Y": 1}) + 1 - law.probability({"X": x})) for x in (0, 1)
    ]
    assert most[0] == pytest.approx(0.756, abs=1e-12)
    assert most[0] < bandit.best < most[1]


@pytest.mark.parametrize("num_rare", [0, 1, 2])
def test_many_causes_of_which_one_matters(num_rare):
    bandit = parallel_bandit(6, num_rare=num_rare, gap=0.2)
    arms = bandit.arms("single")
    assert len(arms) == 13
    # the sum over all values is the independent truth
    law = type(bandit)(bandit.scm, "Y", bandit.manipulable, bandit.best, "")
    assert [bandit.mean(arm) for arm in arms] == pytest.approx(
        [law.mean(arm) for arm in arms], abs=1e-12
    )
    assert bandit.mean({}) == pytest.approx(0.5, abs=1e-12)
    assert max(bandit.mean(arm) for arm in arms) == pytest.approx(0.7, abs=1e-12)


def test_fifty_causes_give_a_hundred_and_one_arms():
    bandit = parallel_bandit()
    assert len(bandit.arms("single")) == 101
    rows = bandit.scm.sample(2_000, seed=0)
    assert float(rows["X1"].sum() + rows["X2"].sum()) == 0
    assert float(rows["X3"].mean()) == pytest.approx(0.5, abs=0.045)  # 4 standard errors
    assert bandit.scm.graph.parents("Y") == frozenset(bandit.manipulable)


def test_means_of_the_population_are_those_of_draws():
    population = linear_gaussian_population()
    for arm in [{}, *population.arms("joint")[:2], {"Z": 1}, {"X": -1}, {"X": 1, "M": -1}]:
        model = population.scm.intervened(arm) if arm else population.scm
        y = model.sample(40_000, seed=0)["Y"]
        error = float(y.std()) / 200
        assert float(y.mean()) == pytest.approx(population.mean(arm), abs=4 * error)
    assert max(population.mean(arm) for arm in population.arms("all")) == population.best


def test_in_the_population_seeing_and_doing_point_in_opposite_directions():
    population = linear_gaussian_population()
    rows = population.scm.sample(10_000, seed=0)
    slope = np.polyfit(rows["X"].numpy(), rows["Y"].numpy(), 1)[0]
    assert slope > 0.2
    assert population.mean({"X": 1}) < population.mean({"X": -1})
