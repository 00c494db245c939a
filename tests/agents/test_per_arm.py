"""Per-arm agents: the law of what they choose, what they learn, and what they refuse.

Statistical tests have fixed seeds; with another seed one of them would fail by chance in less than
1 of 200 cases (the chi-square tests in 1 of 1,000 together, means are held to 4 standard errors).
"""

import numpy as np
import pytest
from scipy import stats
from scipy.special import betainc, betaln, kl_div

from causalppl.agents import Transition, run
from causalppl.agents.kl_ucb import KLUCB, bernoulli_bound
from causalppl.agents.lazy_beta import BetaCells
from causalppl.agents.per_arm import BetaThompson, GaussianThompson, UniformAgent
from causalppl.envs import SCMEnv, make_env
from causalppl.exceptions import AssumptionError, DataError, QueryError

TWO = ({"X": 0}, {"X": 1})
AGENTS = {
    "beta": BetaThompson(TWO),
    "optimistic": BetaThompson(TWO, is_optimistic=True),
    "gaussian": GaussianThompson(TWO),
    "kl-UCB": KLUCB(TWO),
    "uniform": UniformAgent(TWO),
}
every_agent = pytest.mark.parametrize("kind", AGENTS)


def configurations():
    """Parameters (a, b) of several arms: equal, near, far, precise beside vague, at the edges."""
    rng = np.random.default_rng(20)
    yield from ([(1, 1)] * 5, [(1, 1), (9000, 2300), (40, 41)], [(2, 1), (1, 2), (1, 1)])
    yield from ([(500, 1), (1, 1)], [(1, 500), (1, 1), (1, 300)], [(9000, 2300), (8900, 2310)])
    yield from ([(0.5, 0.5), (1.5, 0.5), (0.5, 4.5)], [(0.02, 0.02), (3.02, 1.02)])
    for number in range(30):
        size = rng.integers(2, 17)
        scale = 10 ** rng.uniform(0, 3, size) if number % 2 else np.full(size, 60.0)
        mean = rng.beta(6, 4, size)
        yield list(zip(1 + scale * mean, 1 + scale * (1 - mean), strict=True))


def chance_of_being_best(a, b, is_optimistic):
    """Integrate the density of each arm times the distribution functions of the others."""
    means = a / (a + b)
    spreads = np.sqrt(means * (1 - means) / (a + b + 1))
    near = (means + spreads * np.linspace(-8, 8, 801)[:, None]).reshape(-1)
    ends = 10.0 ** -np.arange(1, 30, 0.25)
    grid = np.unique(np.clip(np.concatenate([[0, 1], near, ends, 1 - ends, means]), 0, 1))
    below = betainc(a, b, grid[:, None])
    if is_optimistic:
        below *= grid[:, None] >= means
    step = np.diff(below, axis=0, prepend=0)
    rest = [np.delete(below, k, 1).prod(1) for k in range(len(a))]
    before = [np.concatenate([[0.0], r[:-1]]) for r in rest]
    found = np.array([(step[:, k] * (rest[k] + before[k]) / 2).sum() for k in range(len(a))])
    return found / found.sum()


@pytest.mark.parametrize("is_optimistic", [False, True], ids=["plain", "optimistic"])
def test_the_arm_of_few_draws_has_the_law_of_all_draws(is_optimistic):
    """Chi-square against quadrature over all configurations at once, false-alarm rate 1e-3."""
    total = degrees = 0.0
    for number, parameters in enumerate(configurations()):
        a, b = np.array(parameters, float).T
        if is_optimistic and len(set(a / (a + b))) < len(a):
            continue  # equal means are ties, for which the quadrature has no rule
        cells = BetaCells((RUNS, 1, len(a)), (min(a.min(), 1.0), min(b.min(), 1.0)), BLOCK)
        cells.add_counts(a - min(a.min(), 1.0), b - min(b.min(), 1.0))
        streams = [np.random.default_rng([number, k]) for k in range(-(-RUNS // BLOCK))]
        chosen = cells.best_of_draw(streams, np.zeros(1, int), is_optimistic=is_optimistic)
        expected = RUNS * chance_of_being_best(a, b, is_optimistic)
        seen = np.bincount(chosen, minlength=len(a))
        rare = expected < 10
        if rare.any():
            expected = np.append(expected[~rare], expected[rare].sum() + 1e-9)
            seen = np.append(seen[~rare], seen[rare].sum())
            if expected[-1] < 10:
                assert seen[-1] < 40
                expected, seen = expected[:-1], seen[:-1]
        total += ((seen - expected) ** 2 / expected).sum()
        degrees += max(len(seen) - 1, 0)
    assert stats.chi2.sf(total, degrees) > 1e-3
    assert degrees > 60


RUNS, BLOCK = 10_000, 256


def test_the_arm_of_few_draws_has_the_law_of_numpy():
    """Two samples, chi-square, in the course of learning; false-alarm rate 1e-3 for all."""
    rng = np.random.default_rng(5)
    arms, chance = 8, rng.uniform(0.3, 0.7, 8)
    cells = BetaCells((RUNS, 1, arms), (1.0, 1.0), RUNS)
    p_values = []
    for step in range(60):
        chosen = cells.best_of_draw([rng], np.zeros(1, int))
        if step % 20 == 19:
            drawn = rng.beta(cells.successes[:, 0] + 1, cells.failures[:, 0] + 1).argmax(1)
            table = [np.bincount(one, minlength=arms) for one in (chosen, drawn)]
            p_values.append(stats.chi2_contingency(table).pvalue)
        arm = np.full(1, step % arms)
        success = (np.random.default_rng(step).random(1) < chance[arm]).astype(float)
        cells.add(np.zeros(1, int), arm, np.repeat(success, RUNS))
    assert min(p_values) > 1e-3 / 3


@pytest.mark.parametrize("prior", [(1.0, 1.0), (0.5, 2.0)], ids=["uniform", "other"])
def test_beliefs_are_counts(prior):
    rng = np.random.default_rng(0)
    cells = BetaCells((3, 2, 4), prior, 256)
    a, b = np.full((3, 2, 4), prior[0]), np.full((3, 2, 4), prior[1])
    for _ in range(500):
        view, arm = rng.integers(0, 2, 3), rng.integers(0, 4, 3)
        success = rng.integers(0, 2, 3).astype(float)
        cells.add(view, arm, success)
        a[np.arange(3), view, arm] += success
        b[np.arange(3), view, arm] += 1 - success
    assert cells.successes + 1 == pytest.approx(a, abs=1e-9)
    assert cells.failures + 1 == pytest.approx(b, abs=1e-9)
    assert cells.means == pytest.approx(a / (a + b), abs=1e-12)
    assert cells._log_norms == pytest.approx(betaln(a, b), abs=1e-9)


def test_regret_on_task_3_is_that_of_the_papers_code():
    """93.7 +- .8 at 10,000 steps; at 1,000 steps our plain numpy loop has 57.4 +- .9."""
    env = make_env("SCMMAB3")
    record = run(BetaThompson.for_env(env), env, steps=1000, runs=512, seed=3, progress=False)
    assert record.regret.mean() == pytest.approx(57.4, abs=4 * 1.2)


@pytest.mark.slow
def test_regret_on_task_3_over_the_whole_horizon():
    env = make_env("SCMMAB3")
    record = run(BetaThompson.for_env(env), env, steps=10_000, runs=512, seed=3, progress=False)
    assert record.regret.mean() == pytest.approx(93.7, abs=4 * 1.0)


def test_gaussian_belief_is_the_conjugate_one():
    """Against the posterior that updates one reward at a time."""
    prior = (0.3, 2.0, 1.5, 0.7)
    agent = GaussianThompson([{}], prior=prior, reward_scale=(0.0, 1.0)).start(seed=0)
    mean, worth, shape, rate = prior
    for reward in np.random.default_rng(1).normal(2, 3, 40):
        agent.update(Transition(action=0, reward=reward))
        rate += worth * (reward - mean) ** 2 / (2 * (worth + 1))
        mean = (worth * mean + reward) / (worth + 1)
        worth, shape = worth + 1, shape + 0.5
    centre, scale, freedom = agent._belief(np.zeros(1, int))
    assert centre == pytest.approx(mean)
    assert scale == pytest.approx(np.sqrt(rate / (shape * worth)))
    assert freedom == pytest.approx(2 * shape)


def test_gaussian_play_finds_the_best_of_a_population():
    env = make_env("LinearGaussianPopulation")
    record = run(GaussianThompson.for_env(env), env, 250, 64, seed=0, progress=False)
    late = record.optimal_share.isel(step=slice(-50, None)).mean()
    assert late > 0.8


def test_kl_bound_solves_its_equation():
    rng = np.random.default_rng(0)
    mean = np.concatenate([[0.0, 1.0, 0.5, 1e-9, 1 - 1e-9], rng.random(2000)])
    divergence = np.concatenate([[0.7, 0.7, 0.0, 30.0, 5.0], 10 ** rng.uniform(-6, 1.5, 2000)])
    bound = bernoulli_bound(mean, divergence)
    assert bound[:3] == pytest.approx([1 - np.exp(-0.7), 1.0, 0.5], abs=1e-7)
    inside = (bound < 1 - 1e-6) & (mean < 1)
    p, q = mean[inside], bound[inside]
    reached = kl_div(p, q) + kl_div(1 - p, 1 - q)
    assert reached == pytest.approx(divergence[inside], rel=1e-6, abs=1e-12)
    assert (bound >= mean).all()
    assert (bound <= 1).all()


def test_kl_ucb_has_the_regret_of_the_papers_code():
    """Task 1 on POMIS arms: 3.8 +- .4 at 10,000 steps, most of it in the first thousand."""
    env = make_env("SCMMAB1")
    record = run(KLUCB.for_env(env), env, steps=1000, runs=512, seed=0, progress=False)
    assert 2.5 < record.regret.mean() < 4.5


@pytest.mark.slow
def test_kl_ucb_on_task_3_over_the_whole_horizon():
    """The paper's code: 213 +- 15 in few trials, our plain loop 221.9 +- 4.9."""
    env = make_env("SCMMAB3")
    record = run(KLUCB.for_env(env), env, steps=10_000, runs=64, seed=0, progress=False)
    assert record.regret.mean() == pytest.approx(221.9, abs=4 * 6)


def test_uniform_play_tries_each_arm_as_often():
    env = make_env("SCMMAB2")
    record = run(UniformAgent.for_env(env), env, steps=100, runs=256, seed=0, progress=False)
    gaps = env.oracle.best - env.oracle.means
    error = gaps.std() / np.sqrt(100 * 256)
    assert record.regret.mean() == pytest.approx(100 * gaps.mean(), abs=100 * 4 * error)


@every_agent
def test_recommends_what_earned_most(kind):
    agent = AGENTS[kind].start(3, seed=0)
    for _ in range(20):
        agent.update(Transition(np.array([0, 1, 1]), np.array([1.0, 0.0, 1.0])))
        agent.update(Transition(np.array([1, 0, 0]), np.array([0.0, 1.0, 0.0])))
    assert agent.recommend().tolist() == [0, 0, 1]


@every_agent
def test_goes_on_from_a_saved_state(kind):
    agent = AGENTS[kind].start(5, seed=1)
    twin = None
    chances = np.random.default_rng(2).random((60, 5))
    for step, chance in enumerate(chances):
        if step == 30:
            twin = AGENTS[kind].load_state_dict(agent.state_dict())
        chosen = agent.act()
        if twin is not None:
            assert (twin.act() == chosen).all()
            twin.update(Transition(chosen, (chance < 0.5).astype(float)))
        agent.update(Transition(chosen, (chance < 0.5).astype(float)))


@every_agent
def test_a_run_does_not_depend_on_its_company(kind):
    env = make_env("SCMMAB2")
    agent = type(AGENTS[kind]).for_env(env)
    few, many = (run(agent, env, 40, runs, seed=4, progress=False) for runs in (10, 600))
    assert (few.regret.values == many.regret.values[:10]).all()


@every_agent
@pytest.mark.parametrize("reward", [-0.1, 1.5, np.nan])
def test_refuses_a_reward_outside_its_range(kind, reward):
    agent = type(AGENTS[kind])(TWO, reward_range=(0, 1)).start(seed=0)
    with pytest.raises(DataError, match="outside the declared range"):
        agent.update(Transition(action=0, reward=reward))


def test_rewards_are_scaled_by_their_range():
    agent = BetaThompson(TWO, reward_range=(-1, 1)).start(2, seed=0)
    agent.update(Transition(np.array([0, 0]), np.array([-1.0, 1.0])))
    assert agent.cells.means[:, 0, 0] == pytest.approx([1 / 3, 2 / 3])


def test_a_reward_between_is_a_coin_of_that_mean():
    """10,000 coins; 4 standard errors."""
    agent = BetaThompson(TWO).start(10_000, seed=0)
    agent.update(Transition(np.zeros(10_000, int), np.full(10_000, 0.3)))
    successes = agent.cells.successes[:, 0, 0]
    assert set(successes) == {0.0, 1.0}
    assert successes.mean() == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / 10_000))


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (lambda: BetaThompson([]), QueryError),
        (lambda: BetaThompson(TWO, prior=(0.0, 1.0)), DataError),
        (lambda: BetaThompson(TWO, reward_range=(1, 1)), DataError),
        (lambda: GaussianThompson(TWO, prior=(0.0, 1.0, 1.0, 0.0)), DataError),
        (lambda: KLUCB(TWO, reward_range=(0, np.inf)), DataError),
        (lambda: BetaThompson(TWO).act(), AssumptionError),
    ],
    ids=["no arms", "prior", "range", "Gaussian prior", "endless range", "not started"],
)
def test_refuses_nonsense(wrong, error):
    with pytest.raises(error):
        wrong()


LOG = {"X": np.array([0, 1, 1, 1]), "Y": np.array([1, 1, 0, 1])}


def test_a_natural_log_tells_about_observing():
    agent = BetaThompson([{}, *TWO], reward="Y").start(2, seed=0)
    agent.observe(LOG)
    assert agent.cells.means[:, 0] == pytest.approx(np.array([[4 / 6, 0.5, 0.5]] * 2))


def test_a_natural_log_tells_about_arms_that_agree_with_the_intent():
    agent = BetaThompson(TWO, context_levels={"X@natural": (0, 1)}, reward="Y").start(seed=0)
    agent.observe(LOG)
    assert agent.cells.means[0] == pytest.approx(np.array([[2 / 3, 0.5], [0.5, 3 / 5]]))


def test_an_experiment_tells_about_its_arms():
    agent = BetaThompson([{}, *TWO], reward="Y").start(seed=0)
    agent.observe(LOG, do=["X"])
    assert agent.cells.means[0] == pytest.approx(np.array([[0.5, 2 / 3, 3 / 5]]))


def test_an_experiment_with_intents_tells_about_cells():
    agent = BetaThompson(TWO, context_levels={"X@natural": (0, 1)}, reward="Y").start(seed=0)
    agent.observe({**LOG, "X@natural": np.array([1, 1, 0, 0])}, do=["X"])
    assert agent.cells.means[0] == pytest.approx(np.array([[0.5, 2 / 4], [2 / 3, 2 / 3]]))
    with pytest.raises(DataError, match="X@natural"):
        agent.observe(LOG, do=["X"])


def test_each_run_may_have_a_log_of_its_own():
    agent = UniformAgent([{}, *TWO], reward="Y").start(2, seed=0)
    agent.observe({"X": np.zeros((2, 2)), "Y": np.array([[1, 1], [1, 0]])})
    assert agent.sums[:, 0, 0].tolist() == [2, 1]
    assert agent.counts[:, 0, 0].tolist() == [2, 2]


@pytest.mark.parametrize("do", [(), ("Z",), ("X", "Z")], ids=["natural", "other", "too much"])
def test_refuses_a_log_that_tells_of_no_arm(do):
    agent = BetaThompson(TWO, reward="Y").start(seed=0)
    with pytest.raises(AssumptionError, match="none of its arms"):
        agent.observe({**LOG, "Z": LOG["X"]}, do=do)


COSTS = {"reward": "Y", "maximise": False, "reward_range": (-1, 0)}


def test_a_log_of_costs_is_read_as_costs():
    env = make_env("SCMMAB2")
    costs = SCMEnv(env.scm, [{}], "Y", maximise=False, reward_range=(-1, 0))
    for agent in (UniformAgent.for_env(costs), UniformAgent([{}], **COSTS)):
        playing = agent.start(seed=0)
        playing.observe({"Y": np.array([1, 1, 0])})
        assert playing.sums[0, 0, 0] == -2


def test_refuses_a_log_without_a_reward():
    agent = BetaThompson([{}]).start(seed=0)
    with pytest.raises(AssumptionError, match="give reward"):
        agent.observe(LOG)


def test_refuses_an_unknown_view():
    agent = BetaThompson(TWO, context_levels={"X@natural": (0, 1)}).start(seed=0)
    with pytest.raises(DataError, match="expected one of"):
        agent.act({"X@natural": 2})
    with pytest.raises(DataError, match="does not say X@natural"):
        agent.act(None)


def test_a_gaussian_arm_that_was_never_tried_is_not_recommended_for_negative_rewards():
    agent = GaussianThompson(TWO).start(seed=0)
    for reward in np.random.default_rng(0).normal(-4, 1, 20):
        agent.update(Transition(action=0, reward=reward))
    assert agent.recommend() == 0


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ({"X": [0, 1], "Y": [1]}, "equally many rows"),
        ({"X": [[0, 1]] * 3, "Y": [[1, 0]] * 3}, r"\(1, rows\)"),
        ({"X": ["a", "b"], "Y": [0, 1]}, "X holds other things than numbers"),
    ],
    ids=["ragged", "other runs", "words"],
)
def test_refuses_a_log_that_is_no_table(log, words):
    agent = BetaThompson([{}, *TWO], reward="Y").start(seed=0)
    with pytest.raises(DataError, match=words):
        agent.observe(log, do="X")
