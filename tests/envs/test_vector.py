"""Many units at once: the same law, the same runs, one draw for each step."""

import pickle

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from gymnasium.vector import AutoresetMode

from causalppl import SCM
from causalppl.envs import SCMEnv
from causalppl.envs.units import TabulatedUnits
from causalppl.examples import greedy_casino, scm_mab_task_3
from causalppl.exceptions import AssumptionError, DataError

ARMS = ({}, {"S": 0, "T": 1}, {"T": 0, "W": 1}, {"X": 1}, {"Z": 0})


def task_3(**options):
    return SCMEnv(scm_mab_task_3().scm, ARMS, "Y", **options)


def casino(**options):
    return SCMEnv(greedy_casino().scm, [{"X": 0}, {"X": 1}], "Y", intent="X", **options)


def counts_of_cells(values, names):
    """Number of units in each cell of binary variables."""
    code = sum(values[name].astype(int) << k for k, name in enumerate(names))
    return np.bincount(code, minlength=2 ** len(names))


@pytest.mark.parametrize("tabulate", [None, False])
def test_units_follow_the_exact_law_of_their_own_arm(tabulate):
    problem, each = scm_mab_task_3(), 20_000
    env = task_3(tabulate=tabulate)
    batch = env.vector(each * len(ARMS))
    batch.reset(seed=1)
    actions = np.arange(batch.num_envs) % len(ARMS)  # neighbours act differently
    *_, info = batch.step(actions)
    names = env.scm.observed
    for number, arm in enumerate(ARMS):
        law = problem.law.law(arm)
        law = law.condition(arm).normalise() if arm else law
        free = law.names
        exact = law.values.numpy().transpose(range(len(free))[::-1]).reshape(-1)
        mine = {name: column[actions == number] for name, column in info["values"].items()}
        for name, value in arm.items():
            assert (mine[name] == value).all()
        found = counts_of_cells(mine, free)
        assert found[exact == 0].sum() == 0
        expected = each * exact[exact > 0]
        chi2 = ((found[exact > 0] - expected) ** 2 / expected).sum()
        cells = len(expected)
        assert chi2 < cells + 5 * np.sqrt(2 * cells)  # false alarm below one in 10,000
    assert set(info["values"]) == set(names)


@pytest.mark.parametrize("tabulate", [None, False])
def test_rewards_follow_intent_and_action_together(tabulate):
    batch = casino(tabulate=tabulate).vector(40_000)
    seen, _ = batch.reset(seed=2)
    actions = np.arange(40_000) % 2
    _, rewards, *_ = batch.step(actions)
    for intent in (0, 1):
        for action in (0, 1):
            mine = rewards[(seen["X@natural"] == intent) & (actions == action)]
            truth = 0.15 if intent == action else 0.45
            assert mine.mean() == pytest.approx(truth, abs=0.02)  # 4 standard errors


@pytest.mark.parametrize(
    "env",
    [task_3(), casino(), casino(tabulate=False)],
    ids=["no context", "intent", "runs of the program"],
)
def test_each_environment_has_its_own_stream(env):
    seeds = [11, 5, 7]
    together, alone = env.vector(3), env.vector(1)
    seen, _ = together.reset(seed=seeds)
    own, _ = alone.reset(seed=[5])
    single, _ = env.reset(seed=5)
    is_tabulated = isinstance(env.units, TabulatedUnits)
    for _ in range(300 if is_tabulated else 60):  # more than a block of buffered numbers
        if env.intent:
            assert seen["X@natural"][1] == own["X@natural"][0] == single["X@natural"]
        seen, rewards, *_ = together.step(np.array([0, 1, 1]))
        own, reward, *_ = alone.step(np.array([1]))
        _, alike, *_ = env.step(1)
        single, _ = env.reset()
        assert rewards[1] == reward[0] == alike


def test_one_seed_repeats_the_batch_and_none_goes_on():
    batch = task_3().vector(50)
    actions = np.arange(50) % len(ARMS)
    batch.reset(seed=3)
    first = batch.step(actions)[1]
    second = batch.step(actions)[1]
    batch.reset(seed=3)
    assert (batch.step(actions)[1] == first).all()
    batch.reset()
    assert (batch.step(actions)[1] == second).all()


def test_some_programs_take_one_seed_only():
    def program():
        x = pyro.sample("X", dist.Bernoulli(0.5))
        pyro.sample("Y", dist.Poisson(1 + x))

    env = SCMEnv(SCM(program), [{"X": 0}, {"X": 1}], "Y", reward_range=(0, np.inf))
    assert (env.has_streams, task_3().has_streams) == (False, True)
    with pytest.raises(AssumptionError, match="expected one seed"):
        env.vector(2).reset(seed=[1, 2])
    batch = env.vector(20_000)
    batch.reset(seed=0)
    _, rewards, *_ = batch.step(np.arange(20_000) % 2)
    # Poisson means 1 and 2; 4 standard errors
    assert rewards[::2].mean() == pytest.approx(1.0, abs=0.04)
    assert rewards[1::2].mean() == pytest.approx(2.0, abs=0.057)


def test_sites_are_drawn_from_their_laws_by_inversion():
    laws = {
        "N": dist.Normal(1.0, 2.0),
        "U": dist.Uniform(-1.0, 3.0),
        "L": dist.LogNormal(0.0, 0.5),
        "E": dist.Exponential(2.0),
        "P": dist.Laplace(0.0, 1.0),
        "B": dist.Bernoulli(logits=torch.tensor(-1.0)),
        "C": dist.Categorical(torch.tensor([0.2, 0.5, 0.3])),
    }

    def program():
        total = sum(pyro.sample(name, law) for name, law in laws.items())
        pyro.sample("Y", dist.Normal(total, 1.0))

    env = SCMEnv(SCM(program), [{}], "Y", reward_range=(-np.inf, np.inf))
    assert env.has_streams
    batch = env.vector(40_000)
    batch.reset(seed=0)
    *_, info = batch.step(np.zeros(40_000, dtype=int))
    drawn = {name: torch.as_tensor(info["values"][name]).double() for name in laws}
    for name, law in laws.items():
        plain = law.sample((400_000,)).double()
        for power in (1, 2):
            found, truth = drawn[name] ** power, plain**power
            error = float(truth.std()) / np.sqrt(40_000)
            assert float(found.mean()) == pytest.approx(float(truth.mean()), abs=5 * error)
        assert abs(float(torch.corrcoef(torch.stack([drawn[name], drawn["N"]]))[0, 1])) < (
            1.01 if name == "N" else 0.02
        )


def test_seeds_are_as_many_as_environments():
    with pytest.raises(DataError, match="2 seeds were given; expected 3, or one"):
        task_3().vector(3).reset(seed=[1, 2])


def test_episodes_end_and_begin_in_the_same_step():
    batch = casino().vector(4)
    assert batch.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    before, _ = batch.reset(seed=0)
    after, _, ended, truncated, info = batch.step(np.zeros(4, dtype=int))
    assert ended.all()
    assert not truncated.any()
    assert (info["final_obs"]["X@natural"] == before["X@natural"]).all()
    assert info["final_info"]["values"]["Y"].shape == (4,)
    assert after in batch.observation_space


def test_actions_are_as_many_as_environments():
    batch = task_3().vector(3)
    batch.reset(seed=0)
    with pytest.raises(DataError, match=r"actions have shape \(1,\); expected \(3,\)"):
        batch.step(np.zeros(1, dtype=int))


def test_a_step_needs_a_reset():
    with pytest.raises(AssumptionError, match="call reset"):
        task_3().vector(2).step(np.zeros(2, dtype=int))


def test_at_least_one_environment():
    with pytest.raises(DataError, match="num_envs is 0"):
        task_3().vector(0)


def test_a_pickled_batch_goes_on_as_the_original():
    batch = casino().vector(5)
    batch.reset(seed=[1, 2, 3, 4, 5])
    copy = pickle.loads(pickle.dumps(batch))
    for _ in range(3):
        assert (copy.step(np.ones(5, dtype=int))[1] == batch.step(np.ones(5, dtype=int))[1]).all()
