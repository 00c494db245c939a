"""One unit, one episode: what is seen, what is done, and what is refused."""

import pickle

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from causalppl import SCM
from causalppl.envs import SCMEnv
from causalppl.examples import greedy_casino, scm_mab_task_2, scm_mab_task_3
from causalppl.exceptions import AssumptionError, DataError, ProgramError, QueryError

MACHINES = ({"X": 0}, {"X": 1})


def gaussian():
    """Y = X + 2 M, M = X / 2 + noise, and a context C that shifts Y."""

    def program():
        c = pyro.sample("C", dist.Bernoulli(0.25))
        u = pyro.sample("U", dist.Normal(0.0, 1.0))
        x = pyro.sample("X", dist.Normal(u, 0.5))
        m = pyro.sample("M", dist.Normal(0.5 * x, 0.1))
        pyro.sample("Y", dist.Normal(x + 2 * m + 3 * c + u, 0.1))

    return SCM(program, observed=["C", "X", "M", "Y"])


def casino(arms=MACHINES, **options):
    problem = greedy_casino()
    return SCMEnv(problem.scm, arms, "Y", intent="X", **options)


ANY = (-np.inf, np.inf)
ENVIRONMENTS = {
    "finite": lambda: SCMEnv(scm_mab_task_3().scm, scm_mab_task_3().arms("POMIS"), "Y"),
    "finite with intent": casino,
    "program with intent": lambda: casino(tabulate=False),
    "open values": lambda: SCMEnv(gaussian(), {"X": (-1, 1)}, "Y", reward_range=ANY),
    "open sets and a context": lambda: SCMEnv(
        gaussian(),
        [{}, {"X": (-1, 1)}, {"M": (-2, 2)}, {"X": (-1, 1), "M": 0.5}],
        "Y",
        context=["C"],
        reward_range=ANY,
    ),
    "continuous context": lambda: SCMEnv(
        gaussian(), [{"M": 0}, {"M": 1}], "Y", context={"X": (-20, 20)}, reward_range=ANY
    ),
}


@pytest.mark.parametrize("make", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_gymnasium_finds_no_fault(make):
    check_env(make(), skip_render_check=True)


@pytest.mark.parametrize("make", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_a_pickled_copy_goes_on_as_the_original(make):
    env = make()
    env.reset(seed=4)
    env.action_space.seed(0)
    action = env.action_space.sample()
    copy = pickle.loads(pickle.dumps(env))
    assert copy.step(action) == env.step(action)
    assert copy.reset() == env.reset()


@pytest.mark.parametrize("make", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_info_holds_observed_variables_only(make):
    env = make()
    assert env.reset(seed=0)[1] == {}
    *_, info = env.step(env.action_space.sample())
    assert set(info) == {"values"}
    assert tuple(info["values"]) == env.scm.observed


def test_nothing_seen_is_the_number_zero():
    env = ENVIRONMENTS["finite"]()
    assert env.observation_space == spaces.Discrete(1)
    assert env.reset(seed=0)[0] == 0


def test_the_intent_is_the_natural_value_of_the_same_unit():
    env = casino([{}])
    for seed in range(30):
        seen, _ = env.reset(seed=seed)
        *_, info = env.step(0)
        assert info["values"]["X"] == seen["X@natural"]


@pytest.mark.parametrize("tabulate", [None, False])
def test_a_context_is_that_of_the_unit_which_answers(tabulate):
    problem = scm_mab_task_3()
    env = SCMEnv(problem.scm, [{"X": 1}], "Y", context=["Z", "T"], tabulate=tabulate)
    seen, _ = env.reset(seed=3)
    *_, info = env.step(0)
    assert {name: info["values"][name] for name in ("Z", "T")} == seen


def test_open_values_are_set_as_asked():
    env = ENVIRONMENTS["open sets and a context"]()
    env.reset(seed=0)
    action = {"set": 3, "X": np.float64(0.25), "M": np.float64(-1.0)}
    *_, info = env.step(action)
    assert (info["values"]["X"], info["values"]["M"]) == (0.25, 0.5)
    env.reset()
    *_, info = env.step({**action, "set": 2})
    assert info["values"]["M"] == -1.0
    assert info["values"]["X"] != 0.25


def test_arms_may_be_given_by_the_names_of_categories():
    def program():
        x = pyro.sample("X", dist.Categorical(torch.tensor([0.2, 0.8])))
        pyro.sample("Y", dist.Bernoulli(torch.tensor([0.3, 0.6])[x]))

    scm = SCM(program, categories={"X": ["old", "new"]})
    env = SCMEnv(scm, [{"X": "new"}, {"X": "old"}], "Y")
    assert env.arms == ({"X": 1}, {"X": 0})
    assert env.oracle.means == pytest.approx([0.6, 0.3], abs=1e-7)
    with pytest.raises(DataError, match="not a category"):
        SCMEnv(scm, [{"X": "newest"}], "Y")


def test_integers_may_be_open_too():
    def program():
        x = pyro.sample("X", dist.Categorical(torch.ones(3) / 3))
        d = pyro.sample("D", dist.Normal(0.0, 1.0))
        pyro.sample("Y", dist.Normal(x - (d - x) ** 2, 0.1))

    env = SCMEnv(
        SCM(program),
        {"X": spaces.Discrete(3), "D": (-5, 5)},
        "Y",
        reward_range=ANY,
        truth=lambda done: done["X"] - (done["D"] - done["X"]) ** 2,
    )
    check_env(env, skip_render_check=True)
    best = env.oracle.best_action()
    assert best["X"] == 2
    assert best["D"] == pytest.approx(2.0, abs=1e-6)
    assert best in env.action_space
    env.reset(seed=0)
    with pytest.raises(DataError, match="X is set to 3; expected 0 to 2"):
        env.step({"X": np.int64(3), "D": np.float64(0.0)})


def test_minimising_returns_the_negative():
    env = SCMEnv(
        scm_mab_task_2().scm, [{"Z": 0}, {"Z": 1}], "Y", maximise=False, reward_range=(-1, 0)
    )
    assert env.oracle.means == pytest.approx([-0.773, -0.227])
    assert env.oracle.best_action() == 1


# What is refused.


def test_an_unreachable_range_is_an_error_at_once_in_a_finite_program():
    with pytest.raises(DataError, match=r"reward 1 is outside the declared range 0 to 0\.5"):
        casino(reward_range=(0.0, 0.5))


def test_a_reward_outside_its_range_is_an_error_when_it_is_drawn():
    env = SCMEnv(gaussian(), {"X": (-1, 1)}, "Y", reward_range=(10.0, 11.0))
    env.reset(seed=0)
    with pytest.raises(DataError, match="outside the declared range"):
        env.step({"X": 0.0})


def test_a_reward_that_is_not_a_number_is_an_error():
    def program():
        x = pyro.sample("X", dist.Normal(0.0, 1.0))
        pyro.deterministic("Y", (x - 10.0).sqrt())

    env = SCMEnv(SCM(program, check=False), {"X": (-1, 1)}, "Y", reward_range=(-5.0, 5.0))
    env.reset(seed=0)
    with pytest.raises(DataError, match="reward nan"):
        env.step({"X": 0.0})


def test_a_step_needs_a_unit():
    env = casino()
    with pytest.raises(AssumptionError, match="call reset"):
        env.step(0)
    env.reset(seed=0)
    env.step(0)
    with pytest.raises(AssumptionError, match="call reset"):
        env.step(0)


@pytest.mark.parametrize("action", [-1, 2])
def test_an_action_that_does_not_exist_is_an_error(action):
    env = casino()
    env.reset(seed=0)
    with pytest.raises(DataError, match="expected 0 to 1"):
        env.step(action)


def test_a_value_beyond_its_bounds_is_an_error():
    env = ENVIRONMENTS["open values"]()
    env.reset(seed=0)
    with pytest.raises(DataError, match=r"X is set to 1\.5; expected -1 to 1"):
        env.step({"X": np.float64(1.5)})


def test_what_an_action_reaches_cannot_be_seen_before():
    problem = scm_mab_task_3()
    with pytest.raises(AssumptionError, match="S may be set and changes it"):
        SCMEnv(problem.scm, [{"S": 0}], "Y", context=["W"])
    with pytest.raises(AssumptionError, match="Z may be set and changes it"):
        SCMEnv(problem.scm, [{"Z": 0}, {"X": 1}], "Y", intent="X")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], "Y"), "there are no actions"),
        (([{"U": 1}], "Y"), "U is set, but is not an observed site"),
        (([{"X": 1}], "U"), "the outcome 'U' is not an observed site"),
        (([{"X": (1, 0)}], "Y"), r"expected bounds \(low, high\)"),
        (([{"X": (0, 1)}, {"X": (0, 2)}], "Y"), "expected the same bounds"),
    ],
)
def test_unusable_arguments_are_named(arguments, message):
    with pytest.raises(QueryError, match=message):
        SCMEnv(gaussian(), *arguments)


def test_a_hidden_variable_cannot_be_a_context():
    with pytest.raises(QueryError, match="U is to be seen"):
        SCMEnv(gaussian(), [{"X": 1}], "Y", context=["U"])


def test_a_finite_table_of_an_infinite_program_is_refused():
    with pytest.raises(AssumptionError, match="not finite"):
        SCMEnv(gaussian(), [{"X": 1}], "Y", tabulate=True)


def test_random_parameters_are_refused():
    def program(n):
        rate = pyro.sample("rate", dist.Beta(1.0, 1.0))
        with pyro.plate("units", n):
            x = pyro.sample("X", dist.Bernoulli(rate))
            pyro.sample("Y", dist.Bernoulli(0.2 + 0.5 * x))

    scm = SCM(program)
    with pytest.raises(ProgramError, match="'rate' is random"):
        SCMEnv(scm, [{"X": 1}], "Y", tabulate=False)
    fixed = scm.with_parameters({"rate": torch.tensor([0.4])})
    assert SCMEnv(fixed, [{}], "Y").oracle.means == pytest.approx([0.4], abs=1e-7)


def test_a_variable_may_hold_several_numbers_unless_it_is_paid_or_seen():
    def program():
        picture = pyro.sample("P", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        x = pyro.sample("X", dist.Bernoulli(0.5))
        pyro.sample("Y", dist.Normal(x + picture.sum(-1), 0.1))

    scm = SCM(program)
    env = SCMEnv(scm, [{"X": 1}, {}], "Y", reward_range=ANY)
    env.reset(seed=0)
    _, reward, _, _, info = env.step(0)
    assert info["values"]["P"].shape == (3,)
    assert reward == pytest.approx(1 + info["values"]["P"].sum(), abs=0.6)
    with pytest.raises(QueryError, match="P has shape"):
        SCMEnv(scm, [{"X": 1}], "Y", context=["P"])
    with pytest.raises(QueryError, match="P has shape"):
        SCMEnv(scm, [{"X": 1}], "P")


# Seeing, doing, imagining.


def test_only_allowed_regimes_are_open():
    env = SCMEnv(gaussian(), [{"X": 1}], "Y", reward_range=ANY)
    with pytest.raises(AssumptionError, match="'see' is not allowed here; the regimes are do"):
        env.see(10)
    with pytest.raises(AssumptionError, match="'counterfactual' is not allowed"):
        env.counterfactual({"X": 0}, {"X": 1.0})
    with pytest.raises(AssumptionError, match="some arms set variables"):
        SCMEnv(gaussian(), [{"X": 1}], "Y", regimes=["see"])
    with pytest.raises(QueryError, match="watch"):
        SCMEnv(gaussian(), [{"X": 1}], "Y", regimes=["watch"])


def test_the_three_regimes_answer():
    regimes = ["see", "do", "counterfactual"]
    env = SCMEnv(gaussian(), [{"X": 1}], "Y", reward_range=ANY, regimes=regimes)
    env.reset(seed=0)
    seen = env.see(4_000)
    assert seen.names == ("C", "X", "M", "Y")
    assert float(seen["X"].var()) == pytest.approx(1.25, abs=0.12)  # 4 standard errors
    done = env.do({"X": 1.0}, 4_000)
    assert float(done["Y"].mean()) == pytest.approx(2.75, abs=0.11)  # 4 standard errors
    with pytest.raises(QueryError, match="M cannot be set here"):
        env.do({"M": 1.0}, 10)
    unit = {"C": 0.0, "X": 1.0, "M": 0.5, "Y": 2.0}
    imagined = env.counterfactual({"X": 2.0}, unit)
    # M keeps its noise: it becomes 1, and Y grows by 1 + 2 * 0.5
    assert imagined.mean()["Y@done"] == pytest.approx(4.0, abs=1e-4)


def test_regimes_draw_from_the_environments_own_stream():
    env = SCMEnv(gaussian(), [{"X": 1}], "Y", reward_range=ANY, regimes=["see", "do"])
    torch.manual_seed(0)
    before = torch.get_rng_state()
    env.reset(seed=5)
    first, second = env.see(3)["Y"], env.see(3)["Y"]
    env.reset(seed=5)
    assert torch.equal(env.see(3)["Y"], first)
    assert not torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
