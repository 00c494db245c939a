"""Thompson sampling over models: it finds the best arm, from what it does and from logs."""

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from causalppl.agents import (
    Engine,
    LatentClasses,
    LinearGaussian,
    Record,
    ThompsonSampling,
    Transition,
    run,
)
from causalppl.envs import SCMEnv
from causalppl.examples import (
    BanditProblem,
    confounded_chain_bandit,
    greedy_casino,
    scm_mab_task_2,
    scm_mab_task_3,
)
from causalppl.exceptions import AssumptionError, DataError, HeuristicWarning, QueryError
from causalppl.graphs import ADMG, bow
from causalppl.programs import SCM
from causalppl.programs.finite import FiniteModel

TASK_2 = scm_mab_task_2()


def env_of(problem: BanditProblem = TASK_2, which: str = "POMIS") -> SCMEnv:
    regimes = ("see", "do")
    return SCMEnv(problem.scm, problem.arms(which), "Y", regimes=regimes)


ENV = env_of()
AGENT = ThompsonSampling.for_env(ENV)


def test_run_k_is_the_same_in_any_company() -> None:
    many = run(AGENT, ENV, 60, 20, seed=3)
    few = run(AGENT, ENV, 60, 3, seed=3)
    np.testing.assert_array_equal(many.data["regret"][:3], few.data["regret"])
    assert not np.array_equal(many.data["regret"], run(AGENT, ENV, 60, 20, seed=4).data["regret"])


@pytest.mark.slow
def test_workers_change_nothing() -> None:
    alone = run(AGENT, ENV, 40, 20, seed=3)
    shared = run(AGENT, ENV, 40, 20, seed=3, num_workers=2)
    np.testing.assert_array_equal(alone.data["regret"], shared.data["regret"])


def test_a_state_continues_as_if_nothing_had_happened() -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 2, (40, 3, 16))

    def play(agent: ThompsonSampling, part: np.ndarray) -> list[np.ndarray]:
        chosen = []
        for z_now, x_now, y in part:
            action = agent.act()
            chosen.append(action)
            z = np.where(action < 2, action, z_now)
            x = np.where(action < 2, x_now, action - 2)
            agent.update(Transition(action, y.astype(float), {"Z": z, "X": x, "Y": y}))
        return chosen

    agent = AGENT.start(16, seed=1)
    play(agent, rows[:20])
    other = AGENT.load_state_dict(agent.state_dict())
    np.testing.assert_array_equal(play(agent, rows[20:]), play(other, rows[20:]))
    np.testing.assert_array_equal(agent.recommend(), other.recommend())


def test_one_run_speaks_in_plain_numbers() -> None:
    agent = AGENT.start(seed=0)
    observation, _ = ENV.reset(seed=0)
    for _ in range(300):
        action = agent.act(observation)
        assert isinstance(action, int)
        _, reward, _, _, info = ENV.step(action)
        agent.update(Transition(action, reward, info["values"], observation))
        observation, _ = ENV.reset()
    assert agent.recommend() == ENV.oracle.best_action()


def test_task_3_is_learned_fast() -> None:
    """At T = 300 per-arm Thompson sampling has lost 45; the mean of 48 runs has an error of 1.7."""
    env = env_of(scm_mab_task_3())
    record = run(ThompsonSampling.for_env(env), env, 300, 48, seed=0)
    assert record.regret.mean() < 42
    assert record.summary()["optimal at the end"].item() > 0.9


def test_natural_rows_settle_what_they_identify() -> None:
    env = env_of(scm_mab_task_3())
    record = run(ThompsonSampling.for_env(env), env, 100, 16, seed=0, natural_rows=1000)
    assert record.regret.mean() < 1


def test_a_confounded_log_does_not_lock_the_best_arm_out() -> None:
    """Naturally X=1 goes with Y=1, but setting X to 1 does harm; the log alone cannot tell."""
    graph = ADMG.parse("X -> Y; X <-> Y")
    rng = np.random.default_rng(0)
    u = rng.integers(0, 2, 5000)
    log = {"X": u, "Y": (rng.random(5000) < 0.1 + 0.8 * u).astype(int)}
    agent = ThompsonSampling(graph, [{"X": 0}, {"X": 1}], "Y").start(64, seed=0)
    with pytest.warns(HeuristicWarning, match="count as 2,000, in the same proportions"):
        agent.observe(log)
    chances = np.array([0.7, 0.3])
    for _ in range(300):
        action = agent.act()
        y = (rng.random(64) < chances[action]).astype(int)
        agent.update(Transition(action, y * 1.0, {"X": action, "Y": y}))
    assert (agent.recommend() == 0).mean() > 0.9


@pytest.mark.slow
def test_no_run_is_locked_out_by_a_long_confounded_log() -> None:
    """A law that the log leaves open, bounds [.22, .74] and [.38, .87]: gap .18, 183 at worst."""
    rng = np.random.default_rng(1)
    chances = (rng.dirichlet(np.ones(4) * 3), rng.dirichlet(np.ones(2) * 0.3, 4))
    u_law, x_law, y_law = map(torch.tensor, (*chances, rng.beta(0.3, 0.3, (2, 4))))

    def program() -> None:
        u = pyro.sample("U", dist.Categorical(u_law))
        x = pyro.sample("X", dist.Categorical(x_law[u.long()]))
        pyro.sample("Y", dist.Bernoulli(y_law[x.long(), u.long()]))

    scm = SCM(program, observed=["X", "Y"])
    env = SCMEnv(scm, [{"X": 0}, {"X": 1}], "Y", regimes=("see", "do"))
    agent = ThompsonSampling.for_env(env)
    with pytest.warns(HeuristicWarning):
        record = run(agent, env, 1000, 32, seed=1, natural_rows=100_000, num_workers=1)
    assert record.data["regret"][:, -1].max() < 80
    assert (record.data["regret"][:, -1] - record.data["regret"][:, -200]).max() < 15


def test_a_log_of_any_length_in_any_parts_is_one_log() -> None:
    rng = np.random.default_rng(0)
    rows = {"X": rng.integers(0, 2, 9000), "Y": rng.integers(0, 2, 9000)}
    started = [ThompsonSampling(bow(), [{"X": 0}], "Y").start(2, seed=0) for _ in range(2)]
    with pytest.warns(HeuristicWarning):
        started[0].observe(rows)
    for part in np.split(np.arange(9000), 9):
        with nullcontext() if part[-1] < 2000 else pytest.warns(HeuristicWarning):
            started[1].observe({name: column[part] for name, column in rows.items()})
    counts = [agent.belief.tables.districts[0].counts for agent in started]
    np.testing.assert_array_equal(counts[0], counts[1])
    exact = np.bincount(2 * rows["X"] + rows["Y"], minlength=4) * 2000 / 9000
    assert counts[0].sum() == 2 * 2000
    np.testing.assert_allclose(np.sort(counts[0][0])[-4:], np.sort(exact), atol=1)


@pytest.mark.parametrize("engine", [LatentClasses(), LinearGaussian()], ids=["tables", "linear"])
def test_each_act_draws_a_model_anew(engine: Engine) -> None:
    """Feedback may come later: fifty patients are treated before the first of them is heard of."""
    agent = ThompsonSampling(bow(), [{"X": 0}, {"X": 1}], "Y", engine=engine).start(seed=0)
    assert {agent.act() for _ in range(50)} == {0, 1}
    again = agent.load_state_dict(agent.state_dict())
    assert [agent.act() for _ in range(20)] == [again.act() for _ in range(20)]


def test_an_intent_is_used() -> None:
    casino = greedy_casino()
    env = SCMEnv(casino.scm, [{"X": 0}, {"X": 1}], "Y", intent="X")
    record = run(ThompsonSampling.for_env(env), env, 400, 32, seed=0)
    assert record.summary()["optimal at the end"].item() > 0.9
    blind = SCMEnv(casino.scm, [{"X": 0}, {"X": 1}], "Y")
    assert env.oracle.best > blind.oracle.best + 0.1


def test_an_unknown_diagram_is_learned_from_what_it_foretells() -> None:
    law = {"Z": [0.5, 0.5], "X": [[0.9, 0.1], [0.1, 0.9]], "Y": [[0.8, 0.2], [0.3, 0.7]]}
    chain = ADMG.parse("Z -> X -> Y")
    scm = FiniteModel(chain, law).scm()
    env = SCMEnv(scm, [{"Z": 0}, {"Z": 1}, {"X": 0}, {"X": 1}], "Y")
    diagrams = {ADMG.parse("X -> Z; X -> Y"): 0.9, chain: 0.1}
    agent = ThompsonSampling(diagrams, env.arms, "Y").start(8, seed=0)
    rng = np.random.default_rng(0)
    envs = env.vector(8)
    observation, _ = envs.reset(seed=0)
    for _ in range(120):
        agent.act(observation)
        action = rng.integers(0, 4, 8)
        following, reward, _, _, info = envs.step(action)
        agent.update(Transition(action, reward, info["values"], observation))
        observation = following
    assert (agent.belief.weights[:, 1] > 0.95).all()


def test_priors_can_be_looked_at() -> None:
    prior = AGENT.prior_predictive(2000, seed=0)
    assert prior.dims == ("draw", "arm")
    assert prior.coords["arm"].values.tolist() == ["Z=0", "Z=1", "X=0", "X=1"]
    np.testing.assert_allclose(prior.mean("draw"), 0.5, atol=0.05)


def test_records_are_kept(tmp_path: object) -> None:
    record = run(AGENT, ENV, 30, 8, seed=0)
    record.save(f"{tmp_path}/record.npz")
    again = Record.load(f"{tmp_path}/record.npz")
    assert record.data.identical(again.data)
    assert (again.name, again.seed) == (record.name, 0)
    assert "mean of 8 runs" in record.interpret()


def test_a_record_keeps_a_thousand_points_of_a_long_run() -> None:
    record = run(AGENT, ENV, 1500, 1, seed=0)
    steps = record.data["step"].values
    assert len(steps) == 1000
    assert steps[-1] == 1500
    assert (record.data["regret"].diff("step") >= 0).all()
    assert record.optimal_share.max() <= 1


@pytest.mark.parametrize(
    ("arms", "reward", "options", "error", "words"),
    [
        ([], "Y", {}, QueryError, "no arms"),
        ([{"W": 0}], "Y", {}, QueryError, "W is not in the diagram"),
        ([{"X": 2}], "Y", {}, DataError, "X is 2"),
        ([{"X": 1}], "Q", {}, QueryError, "Q is not in the diagram"),
        ([{"Z": 1}], "Y", {"context": ["X"]}, QueryError, "X is seen before acting"),
        ([{"Y": 1}, {"X": 1}], "Y", {}, QueryError, "sets Y, the reward itself"),
        ([{"X": (0, 1)}], "Y", {}, DataError, "expected a number"),
        ([{"X": np.nan}], "Y", {"engine": LinearGaussian()}, DataError, "expected a number"),
    ],
)
def test_bad_questions_are_refused(
    arms: list[dict[str, int]], reward: str, options: dict[str, object], error: type, words: str
) -> None:
    with pytest.raises(error, match=words):
        ThompsonSampling(TASK_2.scm, arms, reward, **options)  # type: ignore[arg-type]


def test_bad_use_is_refused() -> None:
    with pytest.raises(AssumptionError, match="not started"):
        AGENT.act()
    with pytest.raises(DataError, match="nothing is said of Z"):
        AGENT.start(seed=0).update(Transition(0, 1.0, {"X": 0, "Y": 1}))
    with pytest.raises(DataError, match="runs is 0"):
        run(AGENT, ENV, 10, 0)
    with pytest.raises(DataError, match="the arm"):
        run(ThompsonSampling(TASK_2.scm, [{"X": 0, "Z": 0}], "Y"), ENV, 10, 1)
    with pytest.raises(DataError, match=r"Y is 0\.5"):
        AGENT.start(seed=0).update(Transition(0, 0.5, {"Z": 0, "X": 0, "Y": 0.5}))


def test_levels_of_any_spacing() -> None:
    graph = ADMG.parse("X -> Y; X <-> Y")
    agent = ThompsonSampling(
        graph, [{"X": 10}, {"X": 30}], "Y", levels={"X": [10, 20, 30], "Y": [-1, 0, 5]}
    ).start(32, seed=0)
    for _ in range(30):
        action = agent.act()
        y = np.where(action == 0, 0.0, 5.0)
        agent.update(Transition(action, y, {"X": np.where(action == 0, 10, 30), "Y": y}))
    assert (agent.recommend() == 1).all()


def test_the_chain_is_left_alone() -> None:
    env = env_of(confounded_chain_bandit())
    record = run(ThompsonSampling.for_env(env, engine=LatentClasses()), env, 200, 32, seed=0)
    assert record.regret.mean() < 6


def test_continuous_arms_need_no_levels() -> None:
    graph, arms = ADMG.parse("X -> M -> Y"), [{"X": -1.5}, {"X": 2.0}]
    rng = np.random.default_rng(0)
    x = rng.normal(size=200)
    m = 2 * x + rng.normal(size=200)
    log = {"X": x, "M": m, "Y": -m + rng.normal(size=200)}
    for maximise, best in ((True, 0), (False, 1)):
        agent = ThompsonSampling(graph, arms, "Y", engine=LinearGaussian(), maximise=maximise)
        agent = agent.start(seed=0)
        agent.observe(log)
        assert agent.recommend() == best


def test_trials_do_not_show_what_was_intended() -> None:
    agent = ThompsonSampling(ADMG.parse("X -> Y; X <-> Y"), [{"X": 0}, {"X": 1}], "Y", intent="X")
    agent = agent.start(seed=0)
    with pytest.raises(DataError, match="nothing is said of X@natural"):
        agent.observe({"X": [0, 1], "Y": [0, 1]}, do=["X"])


@pytest.mark.parametrize("engine", [LatentClasses(), LinearGaussian()], ids=["classes", "linear"])
def test_missing_values_are_named(engine: Engine) -> None:
    agent = ThompsonSampling(ADMG.parse("X -> Y"), [{"X": 0}, {"X": 1}], "Y", engine=engine)
    agent = agent.start(seed=0)
    with pytest.raises(DataError, match="Y has a missing or infinite value"):
        agent.observe({"X": [0.0, 1.0], "Y": [np.nan, 1.0]})
    with pytest.raises(DataError, match="Y has a missing or infinite value"):
        agent.update(Transition(0, 1.0, {"X": 0, "Y": np.nan}))


@pytest.mark.parametrize(
    ("reward", "values", "words"),
    [
        (np.nan, {}, "the reward is nan; expected 1"),
        (5.0, {}, "the reward is 5; expected 1"),
        (0.0, {}, "the reward is 0; expected 1, which is Y"),
        (1.0, {"Z": 1}, "Z is 1; expected 0, which the arm sets"),
    ],
    ids=["nan", "other range", "other value", "other arm"],
)
def test_contradictions_are_refused(reward: float, values: dict[str, int], words: str) -> None:
    agent = AGENT.start(seed=0)  # its first arm sets Z to 0
    with pytest.raises(DataError, match=words):
        agent.update(Transition(0, reward, {"Z": 0, "X": 1, "Y": 1, **values}))
    agent.update(Transition(0, 1.0, {"Z": 0, "X": 1, "Y": 1}))
    costs = ThompsonSampling(TASK_2.scm, ENV.arms, "Y", maximise=False).start(seed=0)
    costs.update(Transition(0, -1.0, {"Z": 0, "X": 1, "Y": 1}))
    with pytest.raises(DataError, match="expected -1, which is the negative of Y"):
        costs.update(Transition(0, 1.0, {"Z": 0, "X": 1, "Y": 1}))


def test_values_are_those_of_each_run() -> None:
    agent = AGENT.start(3, seed=0)
    values = {"Z": np.zeros(3, dtype=int), "X": np.array([1]), "Y": np.ones(3, dtype=int)}
    with pytest.raises(DataError, match=r"X has shape \(1,\); expected one value for each run"):
        agent.update(Transition(np.zeros(3, dtype=int), np.ones(3), values))


def test_what_was_played_is_not_taken_for_what_was_intended() -> None:
    agent = ThompsonSampling(ADMG.parse("X -> Y; X <-> Y"), [{"X": 0}, {"X": 1}], "Y", intent="X")
    agent = agent.start(seed=0)
    with pytest.raises(DataError, match="nothing is said of X@natural"):
        agent.update(Transition(1, 1.0, {"X": 1, "Y": 1}))
    agent.update(Transition(1, 1.0, {"X": 1, "Y": 1}, {"X@natural": 0}))


@pytest.mark.parametrize(
    ("log", "do", "words"),
    [
        ({"Z": [0, 1], "X": [0, 1], "Y": [0]}, (), "equally many rows"),
        ({"Z": 0, "X": 1, "Y": 0}, (), "have the shapes"),
        ({name: [[0, 1]] * 3 for name in "ZXY"}, (), "have the shapes"),
        ({"Z": ["a"], "X": [0], "Y": [0]}, (), "Z holds other things than numbers"),
        ({name: [0, 1] for name in "ZXY"}, "Y", "the reward, Y, was set"),
        ({name: [0, 1] for name in "ZXY"}, "X1", "X1 was set in the log, but is not"),
    ],
    ids=["ragged", "numbers", "other runs", "words", "reward", "one name"],
)
def test_bad_logs_are_refused(log: dict[str, object], do: str, words: str) -> None:
    agent = AGENT.start(seed=0)
    with pytest.raises(DataError, match=words):
        agent.observe(log, do=do)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: LatentClasses(num_classes=0),
        lambda: LatentClasses(concentrations=()),
        lambda: LatentClasses(concentrations=(-1.0,)),
        lambda: LinearGaussian(rate=-1.0),
        lambda: LinearGaussian(effect_scale=float("nan")),
    ],
    ids=["classes", "no concentration", "negative", "rate", "scale"],
)
def test_priors_that_are_none_are_refused(wrong: Callable[[], Engine]) -> None:
    with pytest.raises(DataError, match="the prior is"):
        wrong()
