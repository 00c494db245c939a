"""Neither the unit nor the origin of rewards, or of what is set, changes what is played."""

import numpy as np
import pytest

from causalppl.agents import GaussianThompson, LinearGaussian, ThompsonSampling, Transition
from causalppl.graphs import ADMG

VALUES = np.array([-1.0, 0.0, 0.5, 1.0])
UNITS = [(100.0, 1.0), (1000.0, 1.0), (0.0, 1e3), (0.0, 1e-3), (-1e6, 10.0)]
DIAGRAMS = {
    "chain": ADMG.parse("X -> M -> Y"),
    "confounded": ADMG.parse("X -> M -> Y; X <-> Y"),
}
RUNS, STEPS = 8, 30


def noise(step):
    return np.random.default_rng([7, step]).normal(size=(2, RUNS))


def played(agent, shift, scale, unit=1.0, *, with_log=False):
    """Actions in a world in which Y = shift + scale (X + noise), X in units of its own."""
    playing = agent.start(RUNS, seed=0)
    if with_log:
        x, e, f = np.random.default_rng(1).normal(size=(3, 50))
        columns = {"X": unit * x, "M": x + e, "Y": shift + scale * (x + e + f)}
        playing.observe(columns)
    found = []
    for step in range(STEPS):
        action = playing.act()
        found.append(action.tolist())
        x, (e, f) = VALUES[action], noise(step)
        y = shift + scale * (x + e + f)
        playing.update(Transition(action, y, {"X": unit * x, "M": x + e, "Y": y}))
    return [*found, playing.recommend().tolist()]


@pytest.mark.parametrize(("shift", "scale"), UNITS)
def test_gaussian_arms_are_played_alike_in_any_unit(shift, scale):
    agent = GaussianThompson([{"X": value} for value in VALUES])
    assert played(agent, shift, scale) == played(agent, 0.0, 1.0)


@pytest.mark.parametrize("with_log", [False, True], ids=["plays", "log"])
@pytest.mark.parametrize("diagram", DIAGRAMS)
def test_linear_models_are_played_alike_in_any_unit(diagram, with_log):
    def agent(unit):
        arms = [{"X": unit * value} for value in VALUES]
        return ThompsonSampling(DIAGRAMS[diagram], arms, "Y", engine=LinearGaussian())

    expected = played(agent(1.0), 0.0, 1.0, with_log=with_log)
    for shift, scale in UNITS:
        assert played(agent(1.0), shift, scale, with_log=with_log) == expected
    assert played(agent(32.0), 0.0, 1.0, unit=32.0, with_log=with_log) == expected


@pytest.mark.parametrize("kind", ["per arm", "linear"])
def test_the_best_arm_is_found_far_from_zero(kind):
    arms = [{"X": value} for value in VALUES]
    linear = ThompsonSampling(DIAGRAMS["chain"], arms, "Y", engine=LinearGaussian())
    agent = GaussianThompson(arms) if kind == "per arm" else linear
    late = np.array(played(agent, 1000.0, 0.01)[-11:])
    assert (late == 3).mean() > 0.5


def test_equal_rewards_tell_no_unit():
    agent = GaussianThompson([{"X": 0}, {"X": 1}]).start(400, seed=0)
    for _ in range(3):
        agent.update(Transition(np.zeros(400, int), np.full(400, 7.0)))
    assert 0.3 < agent.act().mean() < 0.7  # nothing speaks for either arm
