"""What a known model would have one do: closed forms, the oracle, and Gaussian conditioning."""

import pickle

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from causalppl.agents import Transition, run
from causalppl.agents.counterfactual_policy import CounterfactualPolicy
from causalppl.envs import SCMEnv, make_env
from causalppl.examples import greedy_casino
from causalppl.exceptions import AssumptionError, ImpossibleEvidenceError, QueryError
from causalppl.programs import SCM

TWO = ({"X": 0}, {"X": 1})
WITH_INTENT = ("GreedyCasino", "ParadoxicalSwitching", "FourArmCasino")


@pytest.mark.parametrize("name", WITH_INTENT)
def test_agrees_with_the_oracle_by_intent(name):
    """The oracle enumerates units; the policy abducts and predicts."""
    env = make_env(name)
    means = CounterfactualPolicy.for_env(env).means(env.oracle.views)
    assert means == pytest.approx(env.oracle.means, abs=1e-12)


@pytest.mark.parametrize("name", ["SCMMAB1", "SCMMAB2", "FrontDoorBandit"])
def test_agrees_with_the_oracle_where_nothing_is_seen(name):
    env = make_env(name)
    policy = CounterfactualPolicy.for_env(env)
    assert policy.means()[0] == pytest.approx(env.oracle.means, abs=1e-12)
    assert policy.start(3, seed=0).act(np.zeros(3)).shape == (3,)


@pytest.mark.parametrize("name", [*WITH_INTENT, "SCMMAB2"])
def test_has_no_regret(name):
    env = make_env(name)
    record = run(CounterfactualPolicy.for_env(env), env, 20, 8, seed=0, progress=False)
    assert record.regret.values == pytest.approx(np.zeros(8), abs=1e-9)


def test_letting_be_is_an_arm():
    casino = greedy_casino()
    policy = CounterfactualPolicy(casino.scm, [{}, *TWO], "Y", intent="X")
    by_intent = [[0.15, 0.15, 0.45], [0.15, 0.45, 0.15]]
    assert policy.means({"X@natural": [0, 1]}) == pytest.approx(np.array(by_intent))
    blind = CounterfactualPolicy(casino.scm, [{}, *TWO], "Y")
    assert blind.means()[0] == pytest.approx([0.15, 0.3, 0.3])


def test_context_and_intent_together():
    """The hidden cause shows in Z and in the intent; the oracle is the truth."""

    def program():
        u, v = pyro.sample("U", dist.Bernoulli(0.3)), pyro.sample("V", dist.Bernoulli(0.6))
        z = pyro.sample("Z", dist.Bernoulli(0.2 + 0.6 * u))
        x = pyro.sample("X", dist.Bernoulli(0.1 + 0.3 * z + 0.4 * v))
        pyro.sample("Y", dist.Bernoulli(0.1 + 0.5 * (x * u) + 0.2 * v * (1 - x) + 0.1 * z))

    scm = SCM(program, observed=["Z", "X", "Y"])
    env = SCMEnv(scm, [{}, *TWO], "Y", context=["Z"], intent="X")
    policy = CounterfactualPolicy.for_env(env)
    assert policy.means(env.oracle.views) == pytest.approx(env.oracle.means, abs=1e-6)


def test_a_gaussian_intent_has_its_closed_form():
    """X = U + E, Y = 2 U - X: E[Y_x | X = i] = 2 E[U | X = i] - x."""

    def program():
        u = pyro.sample("U", dist.Normal(torch.zeros((), dtype=torch.float64), 2.0))
        x = pyro.sample("X", dist.Normal(u, 1.0))
        pyro.sample("Y", dist.Normal(2 * u - x, 0.1))

    scm = SCM(program, observed=["X", "Y"])
    policy = CounterfactualPolicy(scm, [{}, {"X": -1.0}, {"X": 1.0}], "Y", intent="X")
    intent = np.array([-1.5, 0.5, 3.0])
    cause = intent * 4 / 5  # Var U / Var X
    expected = np.stack([2 * cause - intent, 2 * cause + 1, 2 * cause - 1], -1)
    assert policy.means({"X@natural": intent}) == pytest.approx(expected, abs=1e-6)
    chosen = policy.start(3, seed=0).act({"X@natural": intent})
    assert chosen.tolist() == expected.argmax(1).tolist()


def test_does_not_learn():
    casino = greedy_casino()
    agent = CounterfactualPolicy(casino.scm, TWO, "Y", intent="X").start(seed=0)
    before = agent.act({"X@natural": 0})
    for _ in range(20):
        agent.update(Transition(before, 0.0, {"X": 1, "Y": 0}, {"X@natural": 0}))
    agent.observe({"X": np.zeros(50), "Y": np.ones(50)})
    assert agent.act({"X@natural": 0}) == before == agent.recommend({"X@natural": 0}) == 1


def test_refuses_nonsense():
    casino = greedy_casino()
    with pytest.raises(QueryError, match="no arms"):
        CounterfactualPolicy(casino.scm, [], "Y")
    with pytest.raises(QueryError, match="D is not an observed site"):
        CounterfactualPolicy(casino.scm, TWO, "Y", context=["D"])
    policy = CounterfactualPolicy(casino.scm, TWO, "Y", intent="X")
    with pytest.raises(AssumptionError, match="X@natural"):
        policy.means({"X": [0]})
    with pytest.raises(ImpossibleEvidenceError, match="X@natural = 2"):
        policy.means({"X@natural": [0, 2]})


@pytest.mark.parametrize("is_used", [False, True], ids=["fresh", "used"])
def test_a_policy_and_its_program_can_be_pickled(is_used):
    """The casino's program is a function within a function, which pickle alone refuses."""
    casino = greedy_casino()
    policy = CounterfactualPolicy(casino.scm, TWO, "Y", intent="X")
    seen = {"X@natural": np.array([0, 1])}
    if is_used:
        policy = policy.start(2, seed=0)
        policy.means(seen)
    again = pickle.loads(pickle.dumps(policy))
    assert again.means(seen).tolist() == policy.means(seen).tolist()
    assert again.start(2, seed=0).act(seen).tolist() == [1, 0]
