"""What environments are given: seeds, names, arms; and how they travel."""

import copy
import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import OrderEnforcing

from causalppl.agents import CounterfactualPolicy
from causalppl.envs import CausalEnvWrapper, SCMEnv, environment_names, make_env
from causalppl.examples import greedy_casino, scm_mab_task_2
from causalppl.exceptions import DataError, QueryError

NAMES = ("SCMMAB2", "GreedyCasino", "TwoStageDTR", "ToyGraph")


def task_2():
    problem = scm_mab_task_2()
    return SCMEnv(problem.scm, problem.arms("POMIS"), "Y")


def numbers(seen, info):
    """What was seen and what came of it, as rows of one unit each."""
    parts = seen if isinstance(seen, dict) else {"seen": seen}
    columns = [*parts.values(), *info.get("values", {}).values()]
    return np.stack([np.asarray(column, dtype=float) for column in columns], -1)


def played(env, reset, steps):
    """Play the same arm on and on; what was seen of all units, by step."""
    action = np.zeros(env.num_envs, dtype=np.int64)
    found = [numbers(*reset())]
    for _ in range(steps):
        seen, _, _, _, info = env.step(action)
        found += [numbers(seen, {}), numbers({}, info)]
    return found


@pytest.mark.parametrize("name", ["SCMMAB2", "GreedyCasino", "TwoStageDTR"])
@pytest.mark.parametrize("before", [0, 3, 300])
def test_a_unit_without_a_seed_goes_on_with_its_own_chance(name, before):
    env, other = (make_env(name).vector(3) for _ in range(2))
    played(env, lambda: env.reset(seed=[5, 6, 7]), before)
    rest = played(env, lambda: env.reset(seed=[1, None, 2]), 40)
    played(other, lambda: other.reset(seed=[5, 6, 7]), before)
    unseeded = played(other, lambda: other.reset(), 40)
    fresh = make_env(name).vector(3)
    seeded = played(fresh, lambda: fresh.reset(seed=[1, 3, 2]), 40)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(rest, unseeded, strict=True))
    assert all(np.array_equal(a[[0, 2]], b[[0, 2]]) for a, b in zip(rest, seeded, strict=True))


@pytest.mark.parametrize("name", environment_names())
def test_seeds_may_be_left_out_at_first(name):
    rows = []
    for _ in range(2):
        envs = gymnasium.make_vec(f"causalppl/{name}-v0", num_envs=3)
        envs.action_space.seed(0)
        seen, _ = envs.reset(seed=[1, None, 2])
        info = envs.step(envs.action_space.sample())[-1]
        rows.append(np.concatenate([numbers(seen, {}), numbers({}, info)], -1))
    assert np.array_equal(rows[0][[0, 2]], rows[1][[0, 2]])


def test_units_without_a_seed_differ():
    envs = make_env("LinearGaussianPopulation").vector(2)
    rows = []
    for _ in range(2):
        envs.reset(seed=[None, None])
        rows.append(envs.step(np.zeros(2, dtype=np.int64))[1])
    assert len(np.unique(rows)) == 4


@pytest.mark.parametrize("seed", [1.5, -1, "1", True])
def test_a_seed_of_a_unit_is_a_whole_number(seed):
    with pytest.raises(DataError, match="expected a non-negative integer"):
        make_env("SCMMAB2").vector(2).reset(seed=[seed, 1])


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_of_numpy_is_a_seed(name):
    rows = []
    for seed in (3, np.int64(3)):
        env = make_env(name)
        seen, _ = env.reset(seed=seed)
        env.action_space.seed(0)
        rows.append((seen, env.step(env.action_space.sample())[1]))
    assert rows[0] == rows[1]


def test_an_environment_is_found_by_its_identifier_too():
    assert repr(make_env("causalppl/SCMMAB2-v0")) == repr(make_env("SCMMAB2"))
    with pytest.raises(QueryError, match="there is no environment 'SCMMAB9'; expected one of SCMM"):
        make_env("causalppl/SCMMAB9-v0")


@pytest.mark.parametrize("name", ["SCMMAB2", "TwoStageDTR"])
def test_an_oracle_is_asked_by_the_number_of_an_arm(name):
    env = make_env(name)
    with pytest.raises(DataError, match="expected the number of an arm, its place in"):
        env.oracle.mean({"X": 0})
    assert np.isfinite(env.oracle.mean(0))


def test_an_arm_is_there_once():
    casino = greedy_casino()
    with pytest.raises(QueryError, match="arms 0 and 2 are the same"):
        SCMEnv(casino.scm, [{"X": 0}, {"X": 1}, {"X": 0}], "Y")


def test_a_wrapper_sets_neither_what_is_hidden_nor_what_cannot_be():
    env = CausalEnvWrapper(task_2())
    with pytest.raises(QueryError, match="U cannot be set: it is not observed"):
        env.set_intervention({"U": 1})
    for ask in (
        lambda: env.set_intervention({"X": 5}),
        lambda: env.mean_reward({"X": 5}),
        lambda: env.do({"X": 5}, 3),
        lambda: env.do({"X": lambda natural: natural + 5}, 3),
    ):
        with pytest.raises(DataError, match=r"X is set to [56]; expected one of 0, 1"):
            ask()
    assert env.interventions == {}
    assert env.mean_reward({"X": 1}) == pytest.approx(0.507, abs=1e-6)
    assert env.do({"X": lambda natural: 1 - natural}, 5)["X"].shape == (5,)


@pytest.mark.parametrize("inside", [lambda env: env, OrderEnforcing], ids=["bare", "wrapped"])
@pytest.mark.parametrize("travel", [lambda e: pickle.loads(pickle.dumps(e)), copy.deepcopy])
def test_a_wrapper_of_a_named_problem_travels(inside, travel):
    env = CausalEnvWrapper(inside(make_env("SCMMAB2")))
    env.set_intervention({"X": 1})
    found = travel(env)
    assert found.interventions == {"X": 1}
    assert found.unwrapped.oracle.means == pytest.approx(env.unwrapped.oracle.means)
    found.clear_intervention()
    assert found.unwrapped.oracle.means.max() == pytest.approx(0.773, abs=1e-6)
    assert env.unwrapped.oracle.means.max() < 0.6


def test_a_policy_for_a_named_problem_travels():
    policy = CounterfactualPolicy.for_env(make_env("GreedyCasino"))
    seen = {"X@natural": [0, 1]}
    assert np.array_equal(pickle.loads(pickle.dumps(policy)).means(seen), policy.means(seen))
