"""Several decisions about the same unit: laws, optimum and logs against enumeration."""

import pickle

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from causalppl import SCM
from causalppl.envs import SequentialSCMEnv, Stage, make_env
from causalppl.estimation.program_law import ProgramLaw
from causalppl.examples import confounded_dtr, confounded_gridworld, two_stage_dtr
from causalppl.exceptions import AssumptionError, DataError, QueryError

TREATMENTS = [two_stage_dtr, confounded_dtr]
NAMES = [problem.__name__ for problem in TREATMENTS]


def treatment(problem=two_stage_dtr, **options):
    found = problem()
    return SequentialSCMEnv(found.scm, found.stages, found.outcome, **options)


def law_of_success(scm):
    """P(S1, S2, Y = 1 | do(X1, X2)), axes in this order."""
    law = ProgramLaw(scm).law(["X1", "X2"]).align(("S1", "S2", "X1", "X2", "Y"))
    return law.values.numpy()[..., 1]


@pytest.mark.parametrize("problem", TREATMENTS, ids=NAMES)
def test_the_optimum_is_that_of_the_g_formula(problem):
    env = treatment(problem)
    success = law_of_success(env.scm)
    by_second = success.max(3)  # best second treatment, given S1, S2, X1
    best = by_second.sum(1).max(1).sum()
    assert env.oracle.best == pytest.approx(best, abs=1e-12)
    assert problem().best == pytest.approx(best, abs=1e-12)
    first = env.oracle.q[0] * 0.5  # S1 is a fair coin
    assert first == pytest.approx(by_second.sum(1), abs=1e-12)


@pytest.mark.parametrize("problem", TREATMENTS, ids=NAMES)
def test_the_value_of_a_policy_is_that_of_the_g_formula(problem):
    env = treatment(problem)
    success = law_of_success(env.scm)

    def policy(seen):
        is_first = seen["stage"] == 0
        later = seen.get("S2", 0) * (1 - seen.get("X1", 0))
        return np.where(is_first, seen["S1"], later)

    truth = sum(success[s1, s2, s1, s2 * (1 - s1)] for s1 in (0, 1) for s2 in (0, 1))
    assert env.oracle.value(policy) == pytest.approx(truth, abs=1e-12)
    assert env.oracle.value(env.oracle.best_action) == pytest.approx(env.oracle.best, abs=1e-12)
    assert env.oracle.mean(1) == pytest.approx(success[:, :, 1, 1].sum(), abs=1e-12)


@pytest.mark.parametrize("tabulate", [None, False])
@pytest.mark.parametrize("problem", TREATMENTS, ids=NAMES)
def test_units_follow_the_exact_law_under_their_own_actions(problem, tabulate):
    env, each = treatment(problem, tabulate=tabulate), 20_000
    batch = env.vector(4 * each)
    first, second = np.arange(4 * each) % 2, np.arange(4 * each) // 2 % 2
    shown, _ = batch.reset(seed=0)
    between, *_ = batch.step(first)
    *_, info = batch.step(second)
    values = info["values"]
    assert (shown["S1"] == values["S1"]).all()
    assert (between["S2"] == values["S2"]).all()
    assert (between["X1"] == first).all()
    success = law_of_success(env.scm)
    for x1 in (0, 1):
        for x2 in (0, 1):
            mine = (first == x1) & (second == x2)
            for s1 in (0, 1):
                for s2 in (0, 1):
                    is_cell = (values["S1"] == s1) & (values["S2"] == s2) & (values["Y"] == 1)
                    found = is_cell[mine].mean()
                    truth = success[s1, s2, x1, x2]
                    assert abs(found - truth) <= 4.5 * np.sqrt(truth * (1 - truth) / each)


def test_lost_rewards_add_up_to_the_regret_of_the_policy():
    env = treatment(confounded_dtr)
    batch = env.vector(20_000)
    seen, _ = batch.reset(seed=1)
    lost = np.zeros(20_000)
    for _ in range(2):
        actions = seen["S1"]  # treat the severe ones, twice
        lost += env.oracle.regret(seen, actions)
        seen, *_ = batch.step(actions)
    truth = env.oracle.best - env.oracle.value(lambda seen: seen["S1"])
    assert lost.mean() == pytest.approx(truth, abs=4 * lost.std() / np.sqrt(20_000))


@pytest.mark.parametrize("tabulate", [None, False])
def test_who_acted_before_acts_where_the_agent_lets_it(tabulate):
    found = confounded_dtr()
    stages = [Stage([{}, {"X1": 1}], ["S1"]), Stage([{"X2": 0}, {}], ["X1", "S2"])]
    env = SequentialSCMEnv(found.scm, stages, "Y", tabulate=tabulate)
    batch = env.vector(40_000)
    batch.reset(seed=3)
    seen, *_ = batch.step(np.zeros(40_000, dtype=int))
    *_, info = batch.step(np.ones(40_000, dtype=int))
    values = info["values"]
    assert (seen["X1"] == values["X1"]).all()
    law = ProgramLaw(found.scm).law()
    for cell in ({"X1": 1, "X2": 1}, {"X1": 1, "X2": 0}, {"X1": 1, "Y": 1}, {"X2": 1, "Y": 1}):
        truth = float(law.probability(cell))
        hit = np.logical_and.reduce([values[name] == value for name, value in cell.items()])
        assert hit.mean() == pytest.approx(truth, abs=4.5 * np.sqrt(truth / 40_000))


def test_logs_are_those_of_who_acted_before():
    env = treatment(confounded_dtr)
    logs = env.logs(20_000, seed=0)
    assert logs.names == env.scm.observed
    law = ProgramLaw(env.scm).law()
    for cell in ({"X1": 1}, {"X2": 1, "Y": 1}, {"S1": 1, "X1": 1, "S2": 0}):
        truth = float(law.probability(cell))
        hit = torch.stack([logs[name] == value for name, value in cell.items()]).all(0)
        assert float(hit.double().mean()) == pytest.approx(truth, abs=4.5 * (truth / 20_000) ** 0.5)


def test_what_was_not_seen_yet_has_a_value_of_its_own():
    env = treatment()
    seen, _ = env.reset(seed=0)
    assert (seen["stage"], seen["X1"], seen["S2"]) == (0, -1, -1)
    seen, reward, ended, _, info = env.step(1)
    assert (seen["stage"], seen["X1"], reward, ended) == (1, 1, 0.0, False)
    assert set(info["values"]) == {"S1", "X1", "S2"}
    seen, _, ended, _, info = env.step(0)
    assert (seen["stage"], ended) == (2, True)
    assert set(info["values"]) == {"S1", "X1", "S2", "X2", "Y"}


def continuous():
    """Dose, response, dose, response; a hidden constitution moves both responses."""

    def program():
        u = pyro.sample("U", dist.Normal(0.0, 1.0))
        d1 = pyro.sample("D1", dist.Bernoulli(torch.sigmoid(u)))
        r1 = pyro.sample("R1", dist.Normal(d1 + u, 0.1))
        d2 = pyro.sample("D2", dist.Bernoulli(torch.sigmoid(r1)))
        pyro.sample("R2", dist.Normal(u - 2 * d2 * r1, 0.1))

    stages = [
        Stage([{"D1": 0}, {"D1": 1}], reward="R1"),
        Stage([{"D2": 0}, {"D2": 1}], {"response": "R1"}, "R2"),
    ]
    return SequentialSCMEnv(
        SCM(program, observed=["D1", "R1", "D2", "R2"]), stages, reward_range=(-np.inf, np.inf)
    )


def test_rewards_are_paid_at_their_stage_and_the_unit_stays_the_same():
    env = continuous()
    assert env.has_streams
    batch = env.vector(10_000)
    batch.reset(seed=0)
    seen, first, *_ = batch.step(np.ones(10_000, dtype=int))
    assert (seen["response"] == first).all()
    _, second, *_ = batch.step(np.zeros(10_000, dtype=int))
    # R1 = 1 + U + noise and R2 = U + noise, of the same hidden U
    assert np.corrcoef(first, second)[0, 1] > 0.97
    assert (first - second).mean() == pytest.approx(1.0, abs=0.006)  # 4 standard errors
    with pytest.raises(AssumptionError, match="give stage_laws"):
        _ = env.oracle


def test_a_program_with_continuous_sites_has_no_fault():
    with pytest.warns(UserWarning, match="infinity"):
        check_env(continuous(), skip_render_check=True)


def test_an_environment_goes_on_after_pickling():
    env = treatment()
    env.reset(seed=1)
    env.step(0)
    copy = pickle.loads(pickle.dumps(env))
    assert copy.step(1) == env.step(1)


# The gridworld.


def test_steps_of_the_walk_have_the_chances_of_its_tables():
    world, env = confounded_gridworld(), make_env("ConfoundedGridworld")
    batch, rng = env.vector(8_000), np.random.default_rng(0)
    counts = np.zeros(world.transitions.shape)
    seen, _ = batch.reset(seed=0)
    for _ in range(6):
        before, actions = seen["state"], rng.integers(4, size=8_000)
        after, rewards, _, _, info = batch.step(actions)
        state = after["state"] if "final_obs" not in info else info["values"]["S6"]
        assert (rewards == (state == world.goal)).all()
        np.add.at(counts, (before, actions, state), 1)
        seen = after
    total = counts.sum(2, keepdims=True)
    error = np.sqrt(world.transitions * (1 - world.transitions) / total)
    assert (abs(counts / total - world.transitions) <= 5 * error).all()


def test_the_best_walk_earns_what_the_oracle_says_and_the_logs_mislead():
    world, env = confounded_gridworld(), make_env("ConfoundedGridworld")
    oracle = env.oracle
    assert oracle.best == pytest.approx(world.problem.best, abs=1e-12)
    batch = env.vector(4_000)
    seen, _ = batch.reset(seed=0)
    earned = np.zeros(4_000)
    for _ in range(6):
        seen, rewards, *_ = batch.step(oracle.best_action(seen))
        earned += rewards
    assert earned.mean() == pytest.approx(oracle.best, abs=4 * earned.std() / np.sqrt(4_000))

    policy = naive_policy(env.logs(8_000, seed=0), cells=9, goal=world.goal, horizon=6)
    logs = env.logs(8_000, seed=1)
    logged = sum(float(logs[f"R{k}"].mean()) for k in range(6))
    assert oracle.value(policy) < 0.6 * logged < oracle.best


def naive_policy(logs, cells, goal, horizon):
    """Plan with the transitions that are seen in the logs, as if nothing were hidden."""
    counts = np.full((cells, 4, cells), 1e-9)
    for k in range(horizon):
        row = [logs[name].numpy().astype(int) for name in (f"S{k}", f"A{k}", f"S{k + 1}")]
        np.add.at(counts, tuple(row), 1)
    kernel = counts / counts.sum(2, keepdims=True)
    value, plan = np.zeros(cells), []
    for _ in range(horizon):
        q = kernel @ (value + (np.arange(cells) == goal))
        value = q.max(1)
        plan.insert(0, q.argmax(1))
    return lambda seen: np.array(plan)[seen["stage"], seen["state"]]


# What is refused.

X1, X2 = [{"X1": 0}, {"X1": 1}], [{"X2": 0}, {"X2": 1}]


@pytest.mark.parametrize(
    ("stages", "outcome", "error", "message"),
    [
        ([], "Y", QueryError, "there are no stages"),
        ([Stage(X1, ["U"])], "Y", QueryError, "U is seen or paid"),
        ([Stage(X1)], None, QueryError, "nothing is paid"),
        ([Stage(X1), Stage([{"X2": 0}])], "Y", QueryError, "differ in their number of arms"),
        ([Stage(X1), Stage(X1)], "Y", QueryError, "set at two stages"),
        ([Stage(X1, ["S2"]), Stage(X2)], "Y", AssumptionError, "S2 is seen at a stage"),
        ([Stage(X1, ["X1"]), Stage(X2)], "Y", AssumptionError, "X1 is seen at a stage"),
        ([Stage(X1, reward="Y"), Stage(X2)], "Y", AssumptionError, "Y is paid at a stage"),
        ([Stage(X1, {"stage": "S1"})], "Y", QueryError, "an entry is named 'stage'"),
    ],
)
def test_impossible_plans_are_refused(stages, outcome, error, message):
    with pytest.raises(error, match=message):
        SequentialSCMEnv(two_stage_dtr().scm, stages, outcome)


def test_a_history_that_is_not_shown_leaves_no_optimum_to_look_up():
    env = SequentialSCMEnv(two_stage_dtr().scm, [Stage(X1, ["S1"]), Stage(X2, ["S2"])], "Y")
    with pytest.raises(AssumptionError, match="does not say all that is known"):
        _ = env.oracle


def test_actions_and_rewards_are_checked():
    env = treatment()
    env.reset(seed=0)
    with pytest.raises(DataError, match="expected 0 to 1"):
        env.step(2)
    with pytest.raises(DataError, match="outside the declared range"):
        treatment(reward_range=(0.5, 1.0))
    with pytest.raises(AssumptionError, match="expected an observation with the entry 'stage'"):
        env.oracle.best_action({"S1": 0})
