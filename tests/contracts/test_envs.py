"""What every named environment keeps to, single and as a vector."""

import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from causalppl.envs import SequentialSCMEnv, environment_names, make_env, register_environments
from causalppl.envs.sequential_tree import TreeUnits
from causalppl.envs.units import TabulatedUnits
from causalppl.exceptions import AssumptionError, DataError, QueryError

NAMES = environment_names()
MANY = 7


@pytest.fixture(scope="module", params=NAMES)
def env(request):
    return make_env(request.param)


@pytest.fixture
def batch(env):
    vector = env.vector(MANY)
    vector.action_space.seed(0)
    return vector


def horizon(env):
    return len(env.plan) if isinstance(env, SequentialSCMEnv) else 1


def leaves(value):
    """All names and arrays inside an observation or info."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield key
            yield from leaves(part)
    else:
        yield value


def equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(leaves(one), leaves(other), strict=True))


def part(actions, k):
    """The action of one unit, and the same as a batch."""
    if isinstance(actions, dict):
        return {n: c[k] for n, c in actions.items()}, {n: c[k : k + 1] for n, c in actions.items()}
    return actions[k], actions[k : k + 1]


def repeated(action, count=MANY):
    """The same action for all units; a batch of actions stays."""
    if isinstance(action, dict):
        return {key: np.full(count, value) for key, value in action.items()}
    return np.broadcast_to(action, count)


@pytest.mark.parametrize("name", NAMES)
def test_gymnasium_makes_it_and_finds_no_fault(name):
    check_env(gymnasium.make(f"causalppl/{name}-v0").unwrapped)


def test_registering_again_changes_nothing():
    before = dict(gymnasium.registry)
    register_environments()
    assert gymnasium.registry == before


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(QueryError, match="there is no environment 'SCMMAB4'; expected one of"):
        make_env("SCMMAB4")


@pytest.mark.parametrize("name", ["SCMMAB2", "TwoStageDTR"])
def test_gymnasium_makes_the_vector_form(name):
    vector = gymnasium.make_vec(f"causalppl/{name}-v0", num_envs=3)
    assert vector.num_envs == 3
    assert vector.reset(seed=0)[0] in vector.observation_space


def test_an_episode_ends_when_it_should(env):
    env.action_space.seed(1)
    seen, info = env.reset(seed=0)
    assert seen in env.observation_space
    assert info == {}
    for step in range(horizon(env)):
        seen, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert seen in env.observation_space
        assert env.reward_range[0] <= reward <= env.reward_range[1]
        assert terminated == (step == horizon(env) - 1)
        assert not truncated
    assert set(info["values"]) == set(env.scm.observed)
    with pytest.raises(AssumptionError, match="call reset"):
        env.step(env.action_space.sample())


def test_no_hidden_variable_is_told(env, batch):
    hidden = set(env.scm.latent)
    told = {*leaves(dict(enumerate(env.reset(seed=0))))}
    *_, info = env.step(env.action_space.sample())
    batch.reset(seed=0)
    *rest, more = batch.step(batch.action_space.sample())
    for each in (info, more, rest[0] if isinstance(rest[0], dict) else {}):
        told |= {leaf for leaf in leaves(each) if isinstance(leaf, str)}
    words = {name.partition("@")[0] for name in told if isinstance(name, str)}
    assert words.isdisjoint(hidden)
    assert words.isdisjoint({"oracle", "regret", "best", "means"})


def test_shapes_of_the_vector_form(env, batch):
    assert batch.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    assert batch.single_action_space == env.action_space
    assert batch.single_observation_space == env.observation_space
    seen, _ = batch.reset(seed=0)
    assert seen in batch.observation_space
    for step in range(2 * horizon(env)):
        seen, rewards, ended, truncated, info = batch.step(batch.action_space.sample())
        assert seen in batch.observation_space
        assert rewards.shape == ended.shape == truncated.shape == (MANY,)
        assert (rewards.dtype, ended.dtype) == (np.float64, np.bool_)
        assert ended.all() == ended.any() == ((step + 1) % horizon(env) == 0)
        assert all(column.shape == (MANY,) for column in info["values"].values())


def test_the_same_seed_is_the_same_run(batch):
    actions = [batch.action_space.sample() for _ in range(3)]
    runs = []
    for _ in range(2):
        seen, _ = batch.reset(seed=5)
        steps = [dict(enumerate(batch.step(action)[:2])) for action in actions]
        runs.append({"first": seen, **dict(enumerate(steps))})
    assert equal(*runs)


def test_streams_depend_on_their_own_seed_only(env, batch):
    seeds = list(range(10, 10 + MANY))
    assert env.has_streams
    alone = env.vector(1)
    batch.reset(seed=seeds)
    alone.reset(seed=seeds[3:4])
    env.reset(seed=seeds[3])
    for step in range(6):
        actions = batch.action_space.sample()
        rewards = batch.step(actions)[1]
        single, batch_of_one = part(actions, 3)
        assert alone.step(batch_of_one)[1][0] == pytest.approx(rewards[3], rel=1e-12)
        assert env.step(single)[1] == pytest.approx(rewards[3], rel=1e-12)
        if (step + 1) % horizon(env) == 0:
            env.reset()


NO_INTEGERS = [0.5, 1.0, float("nan"), True, np.True_, "1", None, [0], [[0], [1, 2]]]


def spoiled(env, action):
    """The action with one part after the other that is not in its space."""
    if not isinstance(action, dict):
        yield from NO_INTEGERS
        return
    yield from (0, {}, {**action, "more": 1})
    for key in action:
        yield {name: part for name, part in action.items() if name != key}
        bad = NO_INTEGERS if key == "set" else [True, "1", None, [0.0], [[0.0], [1.0, 2.0]]]
        if key in env.arms[action.get("set", 0)]:
            bad = [*bad, float("nan"), 1e9]
        yield from ({**action, key: part} for part in bad)


def test_an_action_that_is_not_in_the_space_is_refused_and_leaves_the_unit_alone(env, batch):
    env.action_space.seed(4)
    action, twin = env.action_space.sample(), pickle.loads(pickle.dumps(env))
    env.reset(seed=6)
    batch.reset(seed=6)
    for bad in spoiled(env, action):
        with pytest.raises(DataError, match="expected"):
            env.step(bad)
        many = {k: [part] * MANY for k, part in bad.items()} if isinstance(bad, dict) else [bad] * 7
        with pytest.raises(DataError, match="expected"):
            batch.step(many)
    twin.reset(seed=6)
    assert env.step(action)[1] == twin.step(action)[1]


@pytest.mark.parametrize("kind", [np.int32, np.uint8, list])
def test_integers_of_any_type_are_actions(env, batch, kind):
    batch.reset(seed=0)
    actions = batch.action_space.sample()
    parts = dict(actions) if isinstance(actions, dict) else {"set": actions}
    if "set" in parts:
        parts["set"] = parts["set"].tolist() if kind is list else parts["set"].astype(kind)
    first = batch.step(actions)[1]
    batch.reset(seed=0)
    assert (batch.step(parts if isinstance(actions, dict) else parts["set"])[1] == first).all()


def test_the_oracle_refuses_what_is_no_action(env):
    seen, _ = env.reset(seed=0)
    for bad in (-1, 10_000, 1.9, True, "0", None):
        with pytest.raises(DataError, match="expected"):
            env.oracle.regret(seen, bad)
        with pytest.raises(DataError, match="expected"):
            env.oracle.mean(bad)


def test_a_new_model_ends_all_units(env):
    batch = env.vector(2)
    batch.reset(seed=0)
    env.reset(seed=0)
    actions, action = batch.action_space.sample(), env.action_space.sample()
    env.set_model(env.scm)
    with pytest.raises(AssumptionError, match="call reset"):
        env.step(action)
    with pytest.raises(AssumptionError, match="call reset"):
        batch.step(actions)
    batch.reset()
    batch.step(actions)


def test_it_says_what_it_is(env, batch):
    assert repr(env).startswith(type(env).__name__)
    assert env.outcome in repr(env)
    assert repr(batch) == f"{type(batch).__name__}({env!r}, {MANY})"
    assert "best mean reward" in repr(env.oracle)


def test_units_of_the_single_form_have_the_law_of_the_vector_form(env):
    is_tabulated = isinstance(env.units, TabulatedUnits | TreeUnits)
    count = 300 if is_tabulated else 40 // horizon(env)  # runs of a program take long
    batch = env.vector(4_000)
    env.action_space.seed(3)
    plan = [env.action_space.sample() for _ in range(horizon(env))]
    batch.reset(seed=1)
    singles, many = np.zeros(count), np.zeros(4_000)
    for action in plan:
        many += batch.step(repeated(action, 4_000))[1]
    for unit in range(count):
        env.reset(seed=1000 + unit)
        for action in plan:
            singles[unit] += env.step(action)[1]
    error = np.sqrt(many.var() * (1 / count + 1 / 4_000))
    assert abs(singles.mean() - many.mean()) <= 4 * error + 1e-12


def test_it_can_be_pickled_in_mid_run(env, batch):
    batch.reset(seed=2)
    batch.step(batch.action_space.sample())
    copy = pickle.loads(pickle.dumps(batch))
    action = batch.action_space.sample()
    one, other = batch.step(action), copy.step(action)
    assert equal(dict(enumerate(one[:2])), dict(enumerate(other[:2])))


def test_the_oracle_knows_the_best(env, batch):
    oracle = env.oracle
    seen, _ = batch.reset(seed=0)
    total = np.zeros(MANY)
    for _ in range(horizon(env)):
        regret = oracle.regret(seen, batch.action_space.sample())
        assert regret.shape == (MANY,)
        assert (regret >= -1e-9).all()
        best = repeated(oracle.best_action(seen))
        total += oracle.regret(seen, best)
        seen, *_ = batch.step(best)
    assert total == pytest.approx(0.0, abs=1e-6)
