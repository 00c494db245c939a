"""Treatments in two stages, and a walk: what is known of them exactly."""

import numpy as np
import pytest
from scipy.integrate import quad

from causalppl.estimation.program_law import ProgramLaw
from causalppl.examples import confounded_dtr, confounded_gridworld, two_stage_dtr


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(("s1", "x1", "s2", "x2"), [(0, 0, 0, 0), (0, 1, 0, 1), (1, 0, 1, 1)])
def test_twelve_frailties_stand_for_all_between_zero_and_one(s1, x1, s2, x2):
    def both(u):
        first, second = sigmoid(3 * s1 + 3 * u), sigmoid(3 * s2 + 3 * u)
        return (first if x1 else 1 - first) * (second if x2 else 1 - second)

    after = sigmoid(0.1 + 0.1 * s1 + 0.1 * x1)
    truth = 0.5 * (after if s2 else 1 - after) * quad(both, 0, 1, epsabs=1e-13)[0]
    law = ProgramLaw(two_stage_dtr().scm).law()
    found = float(law.probability({"S1": s1, "X1": x1, "S2": s2, "X2": x2}))
    assert found == pytest.approx(truth, abs=1e-9)


def test_the_optimum_of_the_textbook_regime():
    assert two_stage_dtr().best == pytest.approx(0.72508, abs=5e-6)


def test_who_trusts_the_logs_never_treats():
    law = ProgramLaw(confounded_dtr().scm).law()

    def success(**seen):
        return float(law.condition(seen).normalise().probability({"Y": 1}))

    for s1 in (0, 1):
        for x1 in (0, 1):
            for s2 in (0, 1):
                treated = success(S1=s1, X1=x1, S2=s2, X2=1)
                assert treated < success(S1=s1, X1=x1, S2=s2, X2=0)
        worth = [
            sum(
                float(law.condition({"S1": s1, "X1": x1}).normalise().probability({"S2": s2}))
                * success(S1=s1, X1=x1, S2=s2, X2=0)
                for s2 in (0, 1)
            )
            for x1 in (0, 1)
        ]
        assert worth[1] < worth[0]
    done = ProgramLaw(confounded_dtr().scm).law(["X1", "X2"])

    def value(x1, x2):
        cell = done.condition({"X1": x1, "X2": x2})
        return float(cell.probability({"Y": 1}) / cell.values.sum())

    assert (value(0, 0), value(1, 1)) == pytest.approx((0.36, 0.64), abs=1e-12)
    assert 0.36 < float(law.probability({"Y": 1})) < 0.64


def test_the_walk_keeps_to_its_grid():
    world = confounded_gridworld(size=3, horizon=2)
    assert world.transitions.sum(2) == pytest.approx(np.ones((9, 4)))
    assert (world.transitions[world.goal, :, world.goal] == 1).all()
    # from the middle a move right arrives with .7, and with .3 the wind turns it around
    assert world.transitions[4, 3, [5, 3]] == pytest.approx([0.7, 0.3])
    assert world.start.sum() == pytest.approx(1.0)


def test_in_the_logs_moves_away_from_the_goal_lead_to_it():
    world = confounded_gridworld(size=3, horizon=1)
    law = ProgramLaw(world.problem.scm).law()
    # from the cell left of the goal: right, and left
    chance = [
        float(law.condition({"S0": 7, "A0": move}).normalise().probability({"S1": 8}))
        for move in (3, 2)
    ]
    # right: .7 * .94 against .3 * .48 of wind that was not felt; left: .3 * .48 against .7 * .02
    assert chance == pytest.approx([0.658 / 0.802, 0.144 / 0.158], abs=1e-6)
    assert world.transitions[7, [3, 2], 8] == pytest.approx([0.7, 0.3])
