"""Causal questions to environments: those that run a model, those that are given one, others."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import OrderEnforcing, TimeLimit

from causalppl.envs import CausalEnvWrapper, SCMEnv, make_env
from causalppl.examples import greedy_casino, scm_mab_task_2, scm_mab_task_3
from causalppl.exceptions import AssumptionError, DataError, ProgramError, QueryError


def task_2():
    problem = scm_mab_task_2()
    return SCMEnv(problem.scm, problem.arms("POMIS"), "Y")


class Foreign(gymnasium.Env):
    """Somebody else's environment: it draws from the model that it carries in ``scm``."""

    observation_space = spaces.Discrete(1)
    action_space = spaces.Discrete(2)

    def __init__(self, scm=None):
        if scm is not None:
            self.scm = scm

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, action):
        seed = int(self.np_random.integers(2**31))
        reward = float(self.scm.intervened({"X": action}).sample(1, seed=seed)["Y"][0])
        return 0, reward, True, False, {}


def test_the_model_answers():
    env = CausalEnvWrapper(task_2())
    assert env.has_causal_interface
    assert str(env.graph) == "Z -> X -> Y; X <-> Y"
    assert env.reward_parents == ("X",)
    assert [sorted(s) for s in env.find_intervention_sets()] == [["Z"], ["X"]]
    assert env.mean_reward({"Z": 0}) == pytest.approx(0.773, abs=1e-6)
    drawn = env.do({"X": 1}, 5_000, seed=0)
    assert drawn.names == ("Z", "X", "Y")
    assert float(drawn["Y"].mean()) == pytest.approx(0.507, abs=0.028)  # 4 standard errors


def test_it_is_found_below_other_wrappers():
    env = CausalEnvWrapper(TimeLimit(OrderEnforcing(task_2()), 5))
    assert env.has_causal_interface
    env.set_intervention({"Z": 1})
    assert env.unwrapped.oracle.means[2:] == pytest.approx([0.493, 0.507])


def test_a_wrapped_environment_has_no_fault():
    with pytest.warns(UserWarning, match="unwrapped version"):
        check_env(CausalEnvWrapper(task_2()), skip_render_check=True)


def test_a_persistent_intervention_changes_every_episode_until_cleared():
    problem = scm_mab_task_3()
    env = CausalEnvWrapper(SCMEnv(problem.scm, [{}, {"W": 1}], "Y"))
    before = env.unwrapped.oracle.means.copy()
    env.set_intervention({"S": 0, "T": 1})
    truth = [problem.mean({"S": 0, "T": 1}), problem.mean({"S": 0, "T": 1, "W": 1})]
    assert env.unwrapped.oracle.means == pytest.approx(truth, abs=1e-12)
    for seed in range(20):
        env.reset(seed=seed)
        *_, info = env.step(seed % 2)
        assert (info["values"]["S"], info["values"]["T"]) == (0, 1)
    assert env.mean_reward({}) == pytest.approx(truth[0], abs=1e-6)
    env.clear_intervention()
    assert env.unwrapped.oracle.means == pytest.approx(before, abs=1e-15)
    assert env.interventions == {}


def test_actions_work_on_top_of_a_persistent_intervention():
    casino = greedy_casino()
    env = CausalEnvWrapper(SCMEnv(casino.scm, [{"X": 0}, {}], "Y", intent="X"))
    env.set_intervention({"X": 1})
    seen, _ = env.reset(seed=0)
    assert seen["X@natural"] == 1  # the mechanism was replaced, and so is what one is drawn to
    *_, info = env.step(0)
    assert info["values"]["X"] == 0
    env.reset()
    *_, info = env.step(1)
    assert info["values"]["X"] == 1


def test_a_mistaken_intervention_changes_nothing():
    env = CausalEnvWrapper(task_2())
    with pytest.raises(ProgramError, match="'Q'"):
        env.set_intervention({"Q": 1})
    assert env.interventions == {}
    assert env.unwrapped.oracle.means[0] == pytest.approx(0.773)


def test_an_intervention_that_breaks_the_range_changes_nothing():
    env = CausalEnvWrapper(task_2())
    with pytest.raises(DataError, match="outside the declared range"):
        env.set_intervention({"Y": 7})
    env.reset(seed=0)
    assert env.step(0)[1] in (0.0, 1.0)
    assert env.scm is env.unwrapped.scm
    assert env.unwrapped.oracle.means[0] == pytest.approx(0.773)


def test_a_truth_that_was_given_holds_for_its_own_model_only():
    env = CausalEnvWrapper(make_env("ToyGraph"))
    known = env.unwrapped.oracle.best
    env.set_intervention({"X": 0.0})
    changed = env.unwrapped.oracle.mean({"set": 0, "X": -1.0, "Z": 0.0})
    # X = -1 still works on top of it: E Y = exp(-1/2) cos(e) - exp(-e / 20 + 1 / 800)
    truth = np.exp(-0.5) * np.cos(np.e) - np.exp(-np.e / 20 + 1 / 800)
    assert changed == pytest.approx(-truth, abs=0.04)  # 20,000 draws, 4 standard errors
    env.set_intervention({"Y": 3.0})
    assert env.unwrapped.oracle.mean({"set": 1, "X": 0.0, "Z": 1.0}) == pytest.approx(-3.0)
    env.clear_intervention()
    assert env.unwrapped.oracle.best == known


def test_several_stages_change_too():
    env = CausalEnvWrapper(make_env("TwoStageDTR"))
    before = env.unwrapped.oracle.best
    env.set_intervention({"S1": 0})
    assert env.unwrapped.oracle.best == pytest.approx(1.0)
    assert env.reset(seed=0)[0]["S1"] == 0
    env.clear_intervention()
    assert env.unwrapped.oracle.best == before


def test_a_foreign_environment_is_changed_through_its_model():
    env = CausalEnvWrapper(Foreign(scm_mab_task_2().scm), reward_node="Y")
    env.reset(seed=0)
    env.set_intervention({"Y": 1.0})
    assert [env.step(0)[1] for _ in range(8)] == [1.0] * 8
    env.clear_intervention()
    assert np.mean([env.step(0)[1] for _ in range(20)]) < 1.0


def test_a_model_that_is_given_answers_but_changes_nothing():
    env = CausalEnvWrapper(Foreign(), scm=scm_mab_task_2().scm, reward_node="Y")
    assert env.reward_parents == ("X",)
    with pytest.raises(AssumptionError, match="does not run the model"):
        env.set_intervention({"X": 1})


def test_without_a_model_questions_are_refused():
    env = CausalEnvWrapper(Foreign())
    assert not env.has_causal_interface
    with pytest.raises(AssumptionError, match="carries no model"):
        _ = env.graph
    env = CausalEnvWrapper(Foreign(), scm=scm_mab_task_2().scm)
    with pytest.raises(AssumptionError, match="which variable makes the reward"):
        _ = env.reward_parents
    with pytest.raises(QueryError, match="'U' is not an observed variable"):
        CausalEnvWrapper(Foreign(), scm=scm_mab_task_2().scm, reward_node="U")


@pytest.mark.parametrize("question", ["do", "mean_reward"])
def test_only_what_an_agent_could_set_is_set(question):
    casino = greedy_casino()
    env = CausalEnvWrapper(SCMEnv(casino.scm, [{"X": 0}, {"X": 1}], "Y"))
    rest = (5,) if question == "do" else ()
    hidden = casino.scm.latent[0]
    for name, message in {
        hidden: f"{hidden} cannot be set: it is not observed; expected some of X",
        "Q": "Q cannot be set: it is not observed",
        "Y": "Y cannot be set: it makes the reward",
    }.items():
        with pytest.raises(QueryError, match=message):
            getattr(env, question)({name: 1}, *rest, seed=0)
    getattr(env, question)({"X": 1}, *rest, seed=0)
