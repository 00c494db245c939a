"""What every agent keeps to: the sign of rewards, actions among its arms, its own states, names."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from causalppl import SCM
from causalppl.agents import (
    DOVI,
    KLUCB,
    UCDTR,
    BetaThompson,
    CounterfactualPolicy,
    DTRModel,
    FixedRegime,
    GaussianThompson,
    IntentFusion,
    LatentClasses,
    LinearGaussian,
    PosteriorSamplingDTR,
    ThompsonSampling,
    Transition,
    UniformAgent,
    backdoor_policy,
    naive_policy,
    run,
    run_episodes,
)
from causalppl.envs import SCMEnv, SequentialSCMEnv, Stage
from causalppl.exceptions import DataError


def coin(name, chance):
    return pyro.sample(name, dist.Bernoulli(torch.as_tensor(chance, dtype=torch.float64)))


def harm():
    """Y is a harm: X = 1 does much of it, and X = 0 little, whoever is asked."""
    u = coin("U", 0.5)
    x = coin("X", 0.2 + 0.6 * u)
    coin("Y", 0.05 + 0.1 * u + 0.75 * x)


TWO = ({"X": 0}, {"X": 1})
SCM_OF_HARM = SCM(harm, observed=["X", "Y"])
COST = {"maximise": False, "reward_range": (-1, 0)}
BLIND = SCMEnv(SCM_OF_HARM, TWO, "Y", regimes=("see", "do"), **COST)
ASKED = SCMEnv(SCM_OF_HARM, TWO, "Y", intent="X", regimes=("see", "do"), **COST)
STAGED = SequentialSCMEnv(SCM_OF_HARM, [Stage(TWO)], "Y", **COST)
MODEL = DTRModel.for_env(STAGED)
SEEING = {"context_levels": {"X@natural": (0, 1)}}
DIRECT = {"reward": "Y", **COST}
AGENTS = {
    "beta": (BetaThompson(TWO, **DIRECT), BLIND),
    "beta, asked": (BetaThompson(TWO, **SEEING, **DIRECT), ASKED),
    "gaussian": (GaussianThompson(TWO, **DIRECT), BLIND),
    "kl-UCB": (KLUCB(TWO, **DIRECT), BLIND),
    "fusion": (IntentFusion(TWO, **SEEING, **DIRECT), ASKED),
    "uniform": (UniformAgent(TWO, **DIRECT), BLIND),
    "classes": (
        ThompsonSampling(SCM_OF_HARM, TWO, "Y", maximise=False, engine=LatentClasses()),
        BLIND,
    ),
    "linear": (
        ThompsonSampling(SCM_OF_HARM, TWO, "Y", maximise=False, engine=LinearGaussian()),
        BLIND,
    ),
    "classes, asked": (ThompsonSampling.for_env(ASKED), ASKED),
    "known": (CounterfactualPolicy(SCM_OF_HARM, TWO, "Y", maximise=False), BLIND),
    "known, asked": (CounterfactualPolicy.for_env(ASKED), ASKED),
    "fixed": (FixedRegime(MODEL, [np.array([[1.0, 0.0]])]), STAGED),
    "posterior sampling": (PosteriorSamplingDTR(MODEL), STAGED),
    "UC-DTR": (UCDTR(MODEL), STAGED),
    "DOVI": (DOVI(MODEL), STAGED),
}
every_agent = pytest.mark.parametrize("name", AGENTS)


def transition(env, action, reward, runs=None):
    """What a step of one run, or of many equal ones, tells; rewards are negative harms."""
    shape = () if runs is None else (runs,)
    seen = {"X@natural": np.ones(shape, int), "stage": np.zeros(shape, int)}
    after = {"stage": np.ones(shape, int)}
    x, y = np.asarray(action), -np.asarray(reward)
    return Transition(action, reward, {"X": x, "Y": y}, seen, after, np.ones(shape, bool))


def best_of(agent, env):
    """What it recommends to those who intend X = 1."""
    return agent.recommend({"X@natural": 1, "stage": 0} if env is not BLIND else None)


@every_agent
def test_a_harm_is_made_small_by_what_was_played(name):
    agent, env = AGENTS[name]
    playing = agent.start(seed=0)
    rng = np.random.default_rng(0)
    for step in range(120):
        action = step % 2
        y = float(rng.random() < (0.1, 0.8)[action])
        playing.update(transition(env, action, -y))
    assert best_of(playing, env) == 0


READERS = [name for name in AGENTS if name not in ("fixed", "known", "known, asked")]


@pytest.mark.parametrize("name", READERS)
def test_a_harm_is_made_small_by_what_a_trial_says(name):
    agent, env = AGENTS[name]
    playing = agent.start(seed=0)
    x = np.tile([0, 1], 150)
    y = (np.random.default_rng(0).random(300) < np.array([0.1, 0.8])[x]).astype(float)
    log = {"X": x, "Y": y, **({"X@natural": np.repeat([0, 1], 150)} if env is ASKED else {})}
    playing.observe(log, do=["X"])
    assert best_of(playing, env) == 0


@pytest.mark.parametrize("name", ["beta, asked", "kl-UCB", "classes", "known, asked", "linear"])
def test_a_harm_is_made_small_in_an_environment(name):
    agent, env = AGENTS[name]
    for each in (agent, type(agent).for_env(env)):
        assert run(each, env, 200, 8, seed=0).optimal_share[:, -50:].mean() > 0.8


@pytest.mark.parametrize("rows", [0, 500])
@pytest.mark.parametrize("name", ["posterior sampling", "UC-DTR", "DOVI"])
def test_a_harm_is_made_small_in_episodes(name, rows):
    record = run_episodes(AGENTS[name][0], STAGED, 300, 8, seed=0, natural_rows=rows)
    assert record.regret.mean() < 0.7 * 300 * 0.75 / 2  # .75 an episode: uniform play loses half


def test_regimes_from_logs_make_a_harm_small():
    log = SCM_OF_HARM.sample(5000, seed=0)
    for regime in (naive_policy(MODEL, log), backdoor_policy(MODEL, log, ["U"])):
        assert STAGED.oracle.value(regime) == pytest.approx(STAGED.oracle.best, abs=1e-9)


def test_a_certificate_holds_for_a_harm():
    agent = DOVI(MODEL).start(seed=0)
    agent.observe(STAGED.logs(5000, seed=0))
    assert agent.is_certified
    assert (agent.optimistic_q[0] >= STAGED.oracle.q[0]).all()


@every_agent
@pytest.mark.parametrize("action", [-1, 2, 1.7, np.nan, "1", True], ids=str)
def test_an_action_that_is_no_arm_is_refused(name, action):
    agent, env = AGENTS[name]
    playing = agent.start(seed=0)
    wrong = transition(env, 0, -1.0)
    with pytest.raises(DataError, match="was taken; expected 0 to 1"):
        playing.update(Transition(action, -1.0, wrong.values, wrong.observation))


@every_agent
def test_runs_are_never_mixed(name):
    agent, env = AGENTS[name]
    playing = agent.start(2, seed=0)
    state = str(playing.state_dict())
    right = transition(env, np.array([0, 0]), np.array([-1.0, -1.0]), 2)
    wrong = [(np.array([2, 0]), right.reward), (np.array([0]), right.reward)]
    for action, reward in [*wrong, (right.action, -1.0), (right.action, np.full(3, -1.0))]:
        with pytest.raises(DataError, match="expected"):
            playing.update(Transition(action, reward, right.values, right.observation))
    assert str(playing.state_dict()) == state
    playing.update(right)


@every_agent
def test_a_state_of_another_agent_is_refused(name):
    agent, _ = AGENTS[name]
    own = agent.start(3, seed=0).state_dict()
    assert agent.load_state_dict(own).runs == 3
    other_model = DTRModel([Stage(TWO, ["S"])], {"S": [0, 1]}, outcome="Y")
    others = (BetaThompson([{"X": 1}]), KLUCB([{}]), UCDTR(other_model), DOVI(other_model))
    for other in others:
        with pytest.raises(DataError, match="with the same description"):
            agent.load_state_dict(other.start(3, seed=0).state_dict())
        with pytest.raises(DataError, match="with the same description"):
            other.load_state_dict(own)


@every_agent
def test_an_agent_can_be_given_a_name(name):
    agent, _ = AGENTS[name]
    named = agent.named("mine")
    assert (named.name, named.start(seed=0).name) == ("mine", "mine")
    assert agent.name == type(agent).name
    assert repr(named) == f"<{type(agent).__name__}: mine, 2 arms>"
