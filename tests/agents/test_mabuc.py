"""Casinos in which intents are confounded: published figures, seeded cells, and fused data.

Regrets are held to 4.5 standard errors, or to figures at least 4 standard errors away.
"""

import numpy as np
import pytest

from causalppl.agents import Transition, run
from causalppl.agents.intent_fusion import IntentFusion
from causalppl.agents.per_arm import BetaThompson
from causalppl.envs import make_env
from causalppl.exceptions import AssumptionError, DataError

INTENT = {"X@natural": (0, 1)}
TWO = ({"X": 0}, {"X": 1})
PUBLISHED = {"GreedyCasino": (11.03, 150.47), "ParadoxicalSwitching": (13.39, 83.56)}
GOALS = {"GreedyCasino": 1.4, "ParadoxicalSwitching": 5.0}


def regret_of(agent, env, rows=0, steps=1000, runs=512):
    regret = run(agent, env, steps, runs, seed=11, natural_rows=rows, progress=False).regret.values
    return regret.mean(), regret.std(ddof=1) / np.sqrt(runs)


@pytest.mark.parametrize("name", PUBLISHED)
def test_regret_by_intent_and_without_is_as_published(name):
    env = make_env(name)
    by_intent, blind = PUBLISHED[name]
    mean, error = regret_of(BetaThompson.for_env(env), env)
    assert mean == pytest.approx(by_intent, abs=4.5 * error)
    mean, error = regret_of(BetaThompson(env.arms), env, runs=512)
    assert mean == pytest.approx(blind, abs=4.5 * error)


@pytest.mark.parametrize("name", GOALS)
def test_a_log_of_200_plays_spares_nearly_all_regret(name):
    env = make_env(name)
    mean, error = regret_of(BetaThompson.for_env(env, is_optimistic=True), env, rows=200)
    assert mean + error < GOALS[name]


def test_without_the_intent_a_natural_log_is_refused():
    """It would say that both machines pay .15; they pay .30 when anyone plays them."""
    env = make_env("GreedyCasino")
    agent = BetaThompson(env.arms, reward="Y").start(seed=0)
    with pytest.raises(AssumptionError, match="none of its arms"):
        agent.observe(env.see(100, seed=0))


def fused(runs, seed=0):
    agent = IntentFusion(TWO, context_levels=INTENT, reward="Y")
    return agent.start(runs, seed=seed)


def test_the_fused_posterior_is_that_of_quadrature():
    """One arm's cells and the weights on a grid; 2,000 chains, 4 standard errors."""
    agent = fused(2000)
    agent.observe({"X": np.repeat([0, 1], [6, 9]), "Y": np.repeat([0, 1, 0, 1], [4, 2, 3, 6])})
    agent.observe({"X": np.ones(20), "Y": np.repeat([0, 1], [13, 7])}, do=["X"])
    point = (np.arange(120) + 0.5) / 120
    weight, here, there = point[:, None, None], point[:, None], point  # P(X = 1), Y_1 by intent
    chance = weight * here + (1 - weight) * there
    density = weight**9 * (1 - weight) ** 6 * here**6 * (1 - here) ** 3
    density = density * chance**7 * (1 - chance) ** 13
    density /= density.sum()
    truth = [(density * part).sum() for part in (weight, here, there)]
    spread = [
        np.sqrt((density * part**2).sum() - t**2)
        for part, t in zip((weight, here, there), truth, strict=True)
    ]
    drawn = [agent._weights[:, 1], agent._chances[:, 1, 1], agent._chances[:, 0, 1]]
    for own, mean, sd in zip(drawn, truth, spread, strict=True):
        assert own.mean() == pytest.approx(mean, abs=4 * sd / np.sqrt(2000))
        assert own.std() == pytest.approx(sd, rel=4 / np.sqrt(4000))
    # the other arm was tried on nobody but those who wanted it
    assert agent._chances[:, 0, 0].mean() == pytest.approx(3 / 8, abs=4 * 0.161 / np.sqrt(2000))
    assert agent._chances[:, 1, 0].mean() == pytest.approx(1 / 2, abs=4 * 0.289 / np.sqrt(2000))


def test_an_experiment_tells_of_the_cells_that_were_never_seen():
    """X = 1 wins .5 on average and .9 for who wants it: so .1 for the others."""
    agent = fused(4)
    natural = {"X": np.repeat([0, 1], 1000), "Y": np.repeat([0, 1, 0, 1], [700, 300, 100, 900])}
    agent.observe(natural)
    assert agent.recommend({"X@natural": np.zeros(4, int)}).tolist() == [1] * 4  # .5 by prior
    agent.observe({"X": np.ones(2000), "Y": np.tile([0, 1], 1000)}, do=["X"])
    assert agent._means()[:, 0, 1] == pytest.approx(np.full(4, 0.1), abs=0.05)
    assert agent.recommend({"X@natural": np.zeros(4, int)}).tolist() == [0] * 4


def test_fusion_without_experiments_plays_like_beta_thompson():
    kinds = (BetaThompson, IntentFusion)
    pair = [k(TWO, context_levels=INTENT, reward="Y").start(20, seed=2) for k in kinds]
    rng = np.random.default_rng(3)
    log = {name: rng.integers(0, 2, (20, 30)) for name in ("X", "Y")}
    for agent in pair:
        agent.observe(log)
    for _ in range(50):
        seen = {"X@natural": rng.integers(0, 2, 20)}
        reward = rng.integers(0, 2, 20).astype(float)
        one, other = (agent.act(seen) for agent in pair)
        assert (one == other).all()
        for agent in pair:
            agent.update(Transition(one, reward, observation=seen))


def test_fusion_goes_on_from_a_saved_state():
    agent = fused(5)
    agent.observe({"X": np.tile([0, 1], 40), "Y": np.tile([0, 1, 1, 0], 20)}, do=["X"])
    twin = fused(5).load_state_dict(agent.state_dict())
    rng = np.random.default_rng(0)
    for _ in range(20):
        seen = {"X@natural": rng.integers(0, 2, 5)}
        reward = rng.integers(0, 2, 5).astype(float)
        assert (agent.act(seen) == twin.act(seen)).all()
        for player in (agent, twin):
            player.update(Transition(np.zeros(5, int), reward, observation=seen))


def test_fusion_refuses_a_reward_that_cannot_be():
    with pytest.raises(DataError, match="outside the declared range"):
        fused(1).observe({"X": np.ones(2), "Y": np.array([0.0, 3.0])}, do=["X"])


def four_arm_regret(runs: int, *, with_trials: bool):
    """Regret after 3,000 steps, with 200 logged plays and perhaps 200 tries of each machine."""
    env = make_env("FourArmCasino")
    agent = IntentFusion.for_env(env).start(runs, seed=1)
    rng = np.random.default_rng(1)
    logs = [env.see(200, seed=seed) for seed in range(runs)]
    agent.observe({name: np.stack([log[name].numpy() for log in logs]) for name in ("X", "Y")})
    if with_trials:
        tried = np.tile(np.repeat(np.arange(4), 200), (runs, 1))
        agent.observe({"X": tried, "Y": (rng.random(tried.shape) < 0.4).astype(float)}, do=["X"])
    envs = env.vector(runs)
    observation, _ = envs.reset(seed=list(range(runs)))
    regret = np.zeros(runs)
    for _ in range(3000):
        action = agent.act(observation)
        regret += env.oracle.regret(observation, action)
        following, reward, _, _, info = envs.step(action)
        agent.update(Transition(action, reward, info["values"], observation, following))
        observation = following
    return regret


@pytest.mark.slow
def test_experiments_help_in_the_four_arm_casino():
    """It is 58.9 +- .7 in 1,024 runs; without experiments 65.4, and 65.5 +- 1.3 was to be beaten.

    The mean of 512 runs has a standard error of .9: a false alarm in less than 1 of 100.
    """
    runs = 512
    without, with_trials = (four_arm_regret(runs, with_trials=used) for used in (False, True))
    assert with_trials.mean() + with_trials.std() / np.sqrt(runs) < 62
    worth = without - with_trials
    assert worth.mean() > 2 * worth.std() / np.sqrt(runs)
