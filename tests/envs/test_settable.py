"""What may be set, and to what: values that a variable can take, bounds, never what is hidden."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from gymnasium import spaces

from causalppl import SCM
from causalppl.envs import CausalEnvWrapper, SCMEnv, SequentialSCMEnv, Stage, make_env
from causalppl.envs.settable import find_values
from causalppl.examples import confounded_dtr, four_arm_casino, greedy_casino, scm_mab_task_2
from causalppl.exceptions import AssumptionError, DataError, QueryError
from causalppl.programs.interventions import Shift

ANY = (-np.inf, np.inf)
REGIMES = ("see", "do", "counterfactual")


def sites():
    """A site of each kind of support."""

    def program():
        u = pyro.sample("U", dist.Normal(0.0, 1.0))
        pyro.sample("coin", dist.Bernoulli(0.5))
        pyro.sample("die", dist.Categorical(torch.ones(6) / 6))
        pyro.sample("rate", dist.Gamma(2.0, 1.0))
        pyro.sample("share", dist.Beta(2.0, 1.0))
        pyro.sample("count", dist.Poisson(3.0))
        angle = pyro.sample("angle", dist.Uniform(-1.0, 3.0))
        pyro.sample("moving", dist.Uniform(u, u + 1.0))
        pyro.deterministic("twice", 2 * angle)
        pyro.sample("Y", dist.Normal(angle + u, 1.0))

    return SCM(program, observed=[n for n in SUPPORTS] + ["Y"])


SUPPORTS = {
    "coin": ([0, 1], [0.5, 2, -1]),
    "die": ([0, 5], [6, 2.5, -1]),
    "rate": ([0.1, 99.0], [-0.1]),
    "share": ([0.0, 0.3, 1.0], [1.1, -0.1]),
    "count": ([0, 40], [-1, 0.5]),
    "angle": ([-1.0, 3.0], [3.1, -1.1]),
    "moving": ([-50.0, 50.0], []),  # its support is not its own
    "twice": ([-50.0, 50.0], []),
}


@pytest.mark.parametrize("name", SUPPORTS)
def test_arms_set_values_that_their_variable_can_take(name):
    scm, (good, bad) = sites(), SUPPORTS[name]
    SCMEnv(scm, [{name: value} for value in good], "Y", reward_range=ANY)
    for value in [*bad, np.nan, np.inf]:
        with pytest.raises(DataError, match=f"{name} is set to .*; expected"):
            SCMEnv(scm, [{}, {name: value}], "Y", reward_range=ANY)


@pytest.mark.parametrize("name", ["rate", "share", "angle", "moving"])
def test_bounds_of_open_values_lie_within_the_support(name):
    low, high = {"rate": (0, np.inf), "share": (0, 1), "angle": (-1, 3)}.get(name, (-9, 9))
    SCMEnv(sites(), {name: (low, high)}, "Y", reward_range=ANY)
    if name != "moving":
        with pytest.raises(DataError, match=f"{name} is set to -1.5; expected"):
            SCMEnv(sites(), {name: (-1.5, high)}, "Y", reward_range=ANY)


def test_finitely_many_values_are_open_as_a_discrete_space():
    SCMEnv(sites(), {"die": spaces.Discrete(6)}, "Y", reward_range=ANY)
    with pytest.raises(DataError, match="die is set to 6; expected one of 0, 1, 2, 3, 4, 5"):
        SCMEnv(sites(), {"die": spaces.Discrete(7)}, "Y", reward_range=ANY)
    with pytest.raises(QueryError, match="expected a Discrete space"):
        SCMEnv(sites(), {"coin": (0, 1)}, "Y", reward_range=ANY)


def test_a_variable_that_is_computed_takes_its_natural_values():
    with pytest.raises(DataError, match="X is set to 7; expected one of 0, 1"):
        SCMEnv(scm_mab_task_2().scm, [{"X": 7}], "Y")
    with pytest.raises(DataError, match="expected one of 0, 1, 2, 3"):
        SCMEnv(four_arm_casino().scm, [{"X": 0.5}], "Y")

    def untreated():
        x = pyro.deterministic("X", torch.zeros(()))
        pyro.sample("Y", dist.Bernoulli(0.2 + 0.5 * x))

    # a constant does not say what it may be set to
    env = SCMEnv(SCM(untreated), [{"X": 0}, {"X": 1}], "Y")
    assert env.oracle.means == pytest.approx([0.2, 0.7], abs=1e-7)


def test_codes_of_categories_are_values():
    def program():
        x = pyro.sample("X", dist.Bernoulli(0.5)).long()
        z = pyro.deterministic("Z", 1 - x)
        pyro.sample("Y", dist.Bernoulli(torch.tensor([0.3, 0.6])[z]))

    scm = SCM(program, categories={"Z": ["old", "new"]})
    assert find_values(scm, ["Z"])["Z"].levels.tolist() == [0, 1]
    env = SCMEnv(scm, [{"Z": "new"}], "Y", regimes=REGIMES)
    assert env.do({"Z": "new"}, 5, seed=0)["Z"].tolist() == [1] * 5
    assert "Y@done" in env.counterfactual({"Z": "old"}, {"Y": 1}, seed=0).mean()


def test_the_reward_is_not_set_unless_asked():
    scm = scm_mab_task_2().scm
    with pytest.raises(QueryError, match="an arm sets Y, which makes the reward"):
        SCMEnv(scm, [{"Y": 1}, {"X": 0}], "Y")
    env = SCMEnv(scm, [{"Y": 1}, {"Y": 0}], "Y", may_set_outcome=True)
    assert env.oracle.means.tolist() == [1.0, 0.0]


def test_stages_are_checked_too():
    found = confounded_dtr()
    second = Stage([{"X2": 0}, {"X2": 1}])
    with pytest.raises(DataError, match="X1 is set to 2; expected one of 0, 1"):
        SequentialSCMEnv(found.scm, [Stage([{"X1": 0}, {"X1": 2}]), second], "Y")
    with pytest.raises(QueryError, match="Y is paid at the stage that sets it"):
        SequentialSCMEnv(found.scm, [Stage([{"X1": 0}, {}]), Stage([{"Y": 0}, {"Y": 1}])], "Y")


# Regimes.


def test_doing_stays_within_what_may_be_set():
    toy = make_env("ToyGraph")
    assert toy.do({"X": 5.0}, 2, seed=0)["X"].tolist() == [5.0, 5.0]
    for bad in (1e6, torch.tensor(6.0), lambda natural: natural + 100, Shift(1e6)):
        with pytest.raises(DataError, match=r"X is set to .*; expected -5 to 5"):
            toy.do({"X": bad}, 2, seed=0)
    coin = SCMEnv(sites(), [{"coin": 0}], "Y", reward_range=ANY)
    for bad in (7.0, 0.5, dist.Normal(0.0, 1.0)):
        with pytest.raises(DataError, match=r"coin is set to .*; expected one of 0, 1"):
            coin.do({"coin": bad}, 3, seed=0)
    assert set(coin.do({"coin": dist.Bernoulli(0.5)}, 50, seed=0)["coin"].tolist()) == {0.0, 1.0}
    assert coin.do({"coin": lambda natural: 1 - natural}, 5, seed=0)["coin"].shape == (5,)


def test_a_value_that_some_arm_sets_may_be_done():
    env = SCMEnv(sites(), [{"angle": (0, 1)}, {"angle": 2.0}], "Y", reward_range=ANY)
    env.do({"angle": 2.0}, 2, seed=0)
    with pytest.raises(DataError, match=r"angle is set to 2\.5; expected 0 to 2"):
        env.do({"angle": 2.5}, 2, seed=0)


def test_imagining_never_reaches_what_is_hidden():
    problem = scm_mab_task_2()
    env = SCMEnv(problem.scm, problem.arms("POMIS"), "Y", regimes=REGIMES)
    unit = {"X": 1, "Y": 0, "Z": 0}
    for name in problem.scm.latent:
        for ask in (lambda n: env.do({n: 1}, 2), lambda n: env.counterfactual({n: 1}, unit)):
            with pytest.raises(QueryError, match=f"{name} cannot be set here; expected Z, X"):
                ask(name)
    with pytest.raises(QueryError, match="Y cannot be set here"):
        env.counterfactual({"Y": 1}, unit)
    with pytest.raises(DataError, match="X is set to 7; expected one of 0, 1"):
        env.counterfactual({"X": 7}, unit)
    with pytest.raises(DataError, match="expected a number"):
        env.counterfactual({"X": lambda natural: 7 + natural}, unit)
    answer = env.counterfactual({"X": np.array([0, 1])}, {n: [v, v] for n, v in unit.items()})
    assert answer.mean()["Y@done"][1] == pytest.approx(0.0, abs=1e-6)


def test_persistent_interventions_are_values_too():
    env = CausalEnvWrapper(SCMEnv(greedy_casino().scm, [{"X": 0}, {"X": 1}], "Y"))
    before = env.unwrapped.oracle.means.copy()
    with pytest.raises(DataError, match="X is set to 9; expected one of 0, 1"):
        env.set_intervention({"X": 9})
    assert env.interventions == {}
    assert (env.unwrapped.oracle.means == before).all()


# Rewards.


@pytest.mark.parametrize("bad", [(1.0, 0.0), (np.nan, 1.0), (0.0, np.nan)])
def test_a_range_of_rewards_has_a_smallest_and_a_largest(bad):
    with pytest.raises(DataError, match="reward_range is"):
        SCMEnv(sites(), [{"coin": 0}], "Y", reward_range=bad)
    with pytest.raises(DataError, match="reward_range is"):
        SequentialSCMEnv(sites(), [Stage([{"coin": 0}, {"coin": 1}])], "Y", reward_range=bad)


def test_an_infinite_reward_is_an_error():
    def program():
        x = pyro.sample("X", dist.Bernoulli(0.5))
        pyro.deterministic("Y", 1 / x)

    with pytest.raises(DataError, match="the reward inf is not finite"):
        SCMEnv(SCM(program), [{"X": 0}, {"X": 1}], "Y", reward_range=ANY)


def test_a_truth_that_would_be_ignored_is_refused():
    with pytest.raises(AssumptionError, match="leave truth out"):
        SCMEnv(scm_mab_task_2().scm, [{"X": 0}], "Y", truth=lambda done: 0.123)
    env = SCMEnv(scm_mab_task_2().scm, [{"X": 0}], "Y", truth=lambda done: 0.123, tabulate=False)
    assert env.oracle.best == 0.123
