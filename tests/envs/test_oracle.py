"""The truth of an environment: by enumeration, as a known function, by draws."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from causalppl import SCM, infer
from causalppl.envs import SCMEnv
from causalppl.examples import bandits
from causalppl.exceptions import AssumptionError, DataError

ANY = (-np.inf, np.inf)
PROBLEMS = [
    bandits.scm_mab_task_1,
    bandits.scm_mab_task_2,
    bandits.scm_mab_task_3,
    bandits.front_door_bandit,
    bandits.confounded_chain_bandit,
]


def parabola():
    """Mean of Y is 1 - (X - .3)^2 - (M + .2)^2 where both are set; X moves M otherwise."""

    def program():
        x = pyro.sample("X", dist.Normal(0.0, 1.0))
        m = pyro.sample("M", dist.Normal(x, 1.0))
        pyro.sample("Y", dist.Normal(1 - (x - 0.3) ** 2 - (m + 0.2) ** 2, 0.1))

    return SCM(program)


def mean_of_parabola(done):
    if "M" not in done:
        return 1 - (done["X"] - 0.3) ** 2 - (done["X"] + 0.2) ** 2 - 1.0
    # without X: E (X - .3)^2 = 1.09
    first = (done["X"] - 0.3) ** 2 if "X" in done else 1.09
    return 1 - first - (done["M"] + 0.2) ** 2


@pytest.mark.parametrize("problem", PROBLEMS, ids=[p.__name__ for p in PROBLEMS])
def test_means_are_those_of_the_exact_law(problem):
    found = problem()
    arms = found.arms("all")
    oracle = SCMEnv(found.scm, arms, found.reward).oracle
    assert oracle.means == pytest.approx([found.mean(arm) for arm in arms], abs=1e-12)
    assert oracle.best == pytest.approx(found.best, abs=1e-12)
    assert oracle.standard_errors is None


@pytest.mark.parametrize(
    ("problem", "table"),
    [
        (bandits.greedy_casino, [[0.15, 0.45], [0.45, 0.15]]),
        # X = D xor B is 0 where both are 0 or both 1: machines pay (.4 + .4) / 2, (.6 + .6) / 2
        (bandits.paradoxical_switching, [[0.4, 0.6], [0.3, 0.15]]),
    ],
)
def test_with_intent_there_is_one_row_for_each(problem, table):
    found = problem()
    oracle = SCMEnv(found.scm, [{"X": 0}, {"X": 1}], "Y", intent="X").oracle
    assert oracle.views["X@natural"].tolist() == [0, 1]
    assert oracle.view_weights == pytest.approx([0.5, 0.5])
    assert oracle.means == pytest.approx(np.array(table), abs=1e-12)
    assert oracle.best == pytest.approx(0.45, abs=1e-12)
    marginal = [found.mean({"X": x}) for x in (0, 1)]
    assert oracle.mean([0, 1]) == pytest.approx(marginal, abs=1e-12)


def test_regret_is_taken_in_the_place_where_one_acts():
    casino = bandits.greedy_casino()
    oracle = SCMEnv(casino.scm, [{"X": 0}, {"X": 1}], "Y", intent="X").oracle
    seen = {"X@natural": np.array([0, 1, 0, 1])}
    assert oracle.best_action(seen).tolist() == [1, 0, 1, 0]
    assert oracle.regret(seen, np.array([0, 0, 1, 1])) == pytest.approx([0.3, 0, 0, 0.3], abs=1e-7)
    assert oracle.regret({"X@natural": 0}, 0) == pytest.approx(0.3, abs=1e-7)
    with pytest.raises(AssumptionError, match="expected an observation"):
        oracle.best_action()
    with pytest.raises(DataError, match="probability 0"):
        oracle.best_action({"X@natural": 7})


def test_a_context_of_two_variables_conditions_the_means():
    problem = bandits.scm_mab_task_3()
    arms = [{"X": 0}, {"X": 1}]
    oracle = SCMEnv(problem.scm, arms, "Y", context=["Z", "T"]).oracle
    for row, weight in enumerate(oracle.view_weights):
        view = {name: int(values[row]) for name, values in oracle.views.items()}
        assert weight == pytest.approx(float(problem.law.law().probability(view)))
        for number, arm in enumerate(arms):
            law = problem.law.law(arm).condition({**arm, **view}).normalise()
            truth = float(law.probability({"Y": 1}))
            assert oracle.means[row, number] == pytest.approx(truth, abs=1e-12)
        assert oracle.regret(view, 0) == max(oracle.means[row]) - oracle.means[row, 0]


def test_draws_come_close_and_say_how_close():
    casino = bandits.greedy_casino()
    arms = [{"X": 0}, {"X": 1}]
    drawn = SCMEnv(casino.scm, arms, "Y", intent="X", tabulate=False).oracle
    exact = SCMEnv(casino.scm, arms, "Y", intent="X").oracle
    assert (drawn.standard_errors < 0.002).all()
    assert (abs(drawn.means - exact.means) < 4 * drawn.standard_errors).all()


@pytest.mark.parametrize("truth", [mean_of_parabola, None], ids=["known", "by draws"])
def test_the_best_of_several_sets_with_open_values(truth):
    sets = [{"X": (-1, 1)}, {"M": (-1, 1)}, {"X": (-1, 1), "M": (-1, 1)}]
    env = SCMEnv(parabola(), sets, "Y", reward_range=ANY, truth=truth)
    if truth is None:
        action = {"set": 1, "X": 0.0, "M": 0.4}
        assert env.oracle.mean(action) == pytest.approx(-0.45, abs=0.05)  # 4 standard errors
        return
    best = env.oracle.best_action()
    assert env.oracle.best == pytest.approx(1.0, abs=1e-9)
    assert (best["set"], best["X"], best["M"]) == (2, pytest.approx(0.3), pytest.approx(-0.2))
    assert best in env.action_space
    values = [value for value, _ in env.oracle.best_by_set]
    # x = .05: 1 - .0625 - .0625 - 1; m = -.2: 1 - 1.09
    assert values == pytest.approx([-0.125, -0.09, 1.0], abs=1e-9)
    batch = {"set": np.array([0, 2]), "X": np.array([0.3, 0.3]), "M": np.array([0.9, 0.8])}
    assert env.oracle.regret(None, batch) == pytest.approx([1.25, 1.0], abs=1e-9)
    with pytest.raises(AssumptionError, match="infinitely many means"):
        _ = env.oracle.means


def severity():
    """The treatment X helps by the severity C, which is seen: E[Y | C, do(X)] = C X."""

    def program():
        c = pyro.sample("C", dist.Normal(0.0, 1.0))
        x = pyro.sample("X", dist.Bernoulli(0.5))
        pyro.sample("Y", dist.Normal(c * x, 1.0))

    return SCM(program)


def test_a_continuous_context_has_no_table():
    env = SCMEnv(severity(), [{"X": 0}, {"X": 1}], "Y", context=["C"], reward_range=ANY)
    with pytest.raises(AssumptionError, match="C is seen before acting"):
        _ = env.oracle


def test_a_continuous_context_has_a_known_truth():
    arms, truth = [{"X": 0}, {"X": 1}], lambda known: known["C"] * known["X"]
    context = {"C": (-9, 9)}
    env = SCMEnv(severity(), arms, "Y", context=context, reward_range=ANY, truth=truth)
    oracle = env.oracle
    # E max(C, 0) = 1 / sqrt(2 pi); standard error .6 / sqrt(200,000)
    assert oracle.best == pytest.approx(1 / np.sqrt(2 * np.pi), abs=0.006)
    assert oracle.mean([0, 1]) == pytest.approx([0.0, 0.0], abs=0.01)
    seen = {"C": np.array([-1.0, 0.5])}
    assert oracle.best_action(seen).tolist() == [0, 1]
    assert oracle.regret(seen, 1) == pytest.approx([1.0, 0.0])
    assert oracle.regret(env.reset(seed=0)[0], env.oracle.best_action(env.reset(seed=0)[0])) == 0.0
    with pytest.raises(AssumptionError, match="no table of means"):
        _ = oracle.means
    with pytest.raises(AssumptionError, match="expected an observation"):
        oracle.best_action()


def drawn_machine():
    """A machine that is chosen by chance: the intent of a player tells of the mood, not all."""

    def program():
        mood = pyro.sample("M", dist.Categorical(torch.tensor([0.2, 0.5, 0.3])))
        rain = pyro.sample("R", dist.Bernoulli(0.3))
        leaning = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6], [0.1, 0.7, 0.2]])
        x = pyro.sample("X", dist.Categorical(leaning[mood]))
        z = pyro.sample("Z", dist.Bernoulli(0.2 + 0.3 * (x == 2) + 0.2 * rain))
        pays = torch.tensor([[0.1, 0.5, 0.9], [0.8, 0.2, 0.3], [0.4, 0.7, 0.1]])
        pyro.sample("Y", dist.Bernoulli(pays[mood, x] * (1 - 0.5 * z) * (1 - 0.2 * rain)))

    return SCM(program, observed=["R", "X", "Z", "Y"])


def test_means_by_intent_are_counterfactual_means():
    scm = drawn_machine()
    arms = [{"X": 0}, {"X": 2}, {"Z": 1, "X": 1}, {}]
    oracle = SCMEnv(scm, arms, "Y", intent="X", context=["R"]).oracle
    assert len(oracle.view_weights) == 6
    for row in (0, 2, 4):
        r, x = oracle.views["R"][row], oracle.views["X@natural"][row]
        given = f"X={x}, R={r}"
        assert oracle.means[row] == pytest.approx(
            [
                infer(scm, f"E[Y_{{X=0}} | {given}]").mean()["Y"],
                infer(scm, f"E[Y_{{X=2}} | {given}]").mean()["Y"],
                infer(scm, f"E[Y_{{X=1, Z=1}} | {given}]").mean()["Y"],
                infer(scm, f"E[Y | {given}]").mean()["Y"],
            ],
            abs=1e-6,
        )


def test_running_the_program_has_the_means_of_its_table():
    scm, arms = drawn_machine(), [{"X": 0}, {"X": 2}, {"Z": 1, "X": 1}, {}]
    exact = SCMEnv(scm, arms, "Y", intent="X", context=["R"]).oracle
    drawn = SCMEnv(scm, arms, "Y", intent="X", context=["R"], tabulate=False).oracle
    assert (abs(drawn.means - exact.means) < 4.5 * drawn.standard_errors).all()
    assert drawn.view_weights == pytest.approx(exact.view_weights, abs=0.006)
