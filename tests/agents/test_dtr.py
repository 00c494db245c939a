"""Dynamic treatment regimes: tables, bounds and regimes against enumeration."""

import itertools

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from causalppl import SCM
from causalppl.agents.agent import Transition
from causalppl.agents.dtr_model import DTRModel, backward_induction
from causalppl.agents.offline_baselines import (
    FixedRegime,
    LogTables,
    backdoor_policy,
    log_uses,
    lower_confidence,
    naive_policy,
)
from causalppl.agents.posterior_sampling_dtr import PosteriorSamplingDTR, moved_within
from causalppl.agents.uc_dtr import UCDTR, best_in_ball, best_in_box
from causalppl.envs import SequentialSCMEnv, Stage
from causalppl.estimation.program_law import ProgramLaw
from causalppl.examples import confounded_dtr, confounded_gridworld, two_stage_dtr
from causalppl.exceptions import AssumptionError, DataError, QueryError

STAGES = (
    Stage([{"X1": 0}, {"X1": 1}], ["S1"]),
    Stage([{"X2": 0}, {"X2": 1}], ["X1", "S2"]),
)
COLUMNS = ["S1", "X1", "S2", "X2", "Y"]


def environment(problem):
    found = problem()
    return SequentialSCMEnv(found.scm, found.stages, found.outcome)


def random_environment(seed):
    """Binary variables, all mechanisms random, and a hidden cause of both actions and outcome."""
    rng = np.random.default_rng(seed)
    shapes = [(), (2,), (2, 2), (2, 2), (2, 2, 2, 2), (2, 2, 2, 2, 2)]
    chances = [torch.tensor(rng.uniform(0.05, 0.95, shape)) for shape in shapes]

    def coin(name, number, *causes):
        return pyro.sample(name, dist.Bernoulli(chances[number][causes])).long()

    def program():
        u = coin("U", 0)
        s1 = coin("S1", 1, 0 * u)
        x1 = coin("X1", 2, s1, u)
        s2 = coin("S2", 3, s1, x1)
        x2 = coin("X2", 4, s1, x1, s2, u)
        coin("Y", 5, s1, x1, s2, x2, u)

    return SequentialSCMEnv(SCM(program, observed=COLUMNS), STAGES, "Y")


def true_values(env):
    """What arms are worth at both stages, states numbered by S1, X1, S2: by the g-formula."""
    law = ProgramLaw(env.scm).law(["X1", "X2"]).align(("S1", "X1", "S2", "X2", "Y"))
    reached = law.values.numpy().sum(4)
    second = law.values.numpy()[..., 1] / reached
    moves = reached[..., 0] / reached[..., 0].sum(2, keepdims=True)
    return [(moves * second.max(3)).sum(2), second.reshape(8, 2)]


def model_without_diagram(**options):
    levels = {name: [0, 1] for name in ("S1", "X1", "S2")}
    return DTRModel(STAGES, levels, **{"outcome": "Y", **options})


def expected_log(env, rows=2**20):
    """A log whose shares are those of the exact law, up to rounding."""
    law = ProgramLaw(env.scm).law().align(tuple(COLUMNS)).values.numpy()
    counts = np.round(law * rows).astype(int).ravel()
    places = np.unravel_index(np.repeat(np.arange(counts.size), counts), law.shape)
    return dict(zip(COLUMNS, places, strict=True))


# Numbering.


def test_states_that_follow_hold_what_was_seen_done_and_drawn():
    model = model_without_diagram()
    for s1, x1, s2 in itertools.product((0, 1), repeat=3):
        seen = {name: np.array([value]) for name, value in (("S1", s1), ("X1", x1), ("S2", s2))}
        state, outcome = model.state(0, seen), model.outcome(0, seen)
        assert model.following[0][state, x1, outcome] == model.state(1, seen)
        assert model.follows(0, seen).tolist() == [[x1 == 0, x1 == 1]]
    assert len(np.unique(model.following[0])) == 8
    assert model.is_full_history(1)


def test_a_state_that_is_overwritten_is_no_history():
    problem = confounded_gridworld().problem
    model = DTRModel.for_env(SequentialSCMEnv(problem.scm, problem.stages))
    assert model.num_states == (9,) * 6
    assert model.num_outcomes == (9,) * 5 + (0,)
    assert (model.following[0] == np.arange(9)).all()
    assert not model.is_full_history(1)
    assert model.pays == (True,) * 6


def test_the_diagram_says_which_laws_are_one():
    env = environment(confounded_dtr)
    model = DTRModel.for_env(env)  # Y depends on S2 and X2 only, once treatments are set
    cells = model.reward_cells[1].reshape(2, 2, 2, 2)
    assert (cells == cells[:1, :1]).all()
    assert len(np.unique(cells)) == 4
    q = true_values(env)[1].ravel()
    for law in range(4):
        assert np.ptp(q[model.reward_cells[1].ravel() == law]) < 1e-12
    assert len(np.unique(model_without_diagram().reward_cells[1])) == 16


def test_rewards_are_scaled_and_back():
    model = model_without_diagram(reward_range=(-2, 6))
    assert model.scaled(1, [-2, 0, 6]) == pytest.approx([0, 0.25, 1])
    assert model.unscaled(0, model.scaled(1, [0.0])) == pytest.approx(0.0)
    with pytest.raises(DataError, match=r"stage 1 is 6\.5; expected between -2 and 6"):
        model.scaled(1, 6.5)
    with pytest.raises(DataError, match="is nan"):
        model.scaled(1, np.nan)
    with pytest.raises(DataError, match="stage 0 is 1; expected between 0 and 0"):
        model.scaled(0, 1)


# Backward induction.


def value_of_regime(first, law, mean, regime):
    """The value of a regime, by summing over all histories."""
    by_s1, by_history = regime[:2], np.reshape(regime[2:], (2, 2, 2))
    total = 0.0
    for s1, s2 in itertools.product((0, 1), repeat=2):
        x1 = by_s1[s1]
        x2 = by_history[s1, x1, s2]
        total += first[s1] * law[s1, x1, s2] * mean[s1, x1, s2, x2]
    return total


@pytest.mark.parametrize("seed", range(3))
def test_backward_induction_finds_the_best_of_all_1024_regimes(seed):
    rng = np.random.default_rng(seed)
    first, law = np.array([0.3, 0.7]), rng.dirichlet([1, 1], (2, 2))
    mean = rng.uniform(size=(2, 2, 2, 2))
    values = [
        value_of_regime(first, law, mean, regime) for regime in itertools.product((0, 1), repeat=10)
    ]
    assert len(values) == 1024
    model = model_without_diagram()
    assert model.variables(1) == ("S1", "X1", "S2")  # the axes of mean
    q = backward_induction(model, [law[None]], [np.zeros((1, 2, 2)), mean.reshape(1, 8, 2)])
    best = float(first @ q[0][0].max(-1))
    assert best == pytest.approx(max(values), abs=1e-12)
    regime = FixedRegime(model, [each[0] for each in q])
    played = [*regime.arms[0], *regime.arms[1]]
    assert value_of_regime(first, law, mean, played) == pytest.approx(best, abs=1e-12)


def test_backward_induction_of_three_paid_stages_is_the_best_policy():
    rng = np.random.default_rng(7)
    names = ["A", "B", "C"]
    stages = [
        Stage([{f"X{k}": 0}, {f"X{k}": 1}, {f"X{k}": 2}], {"state": name}, f"R{k}")
        for k, name in enumerate(names)
    ]
    model = DTRModel(stages, {name: [0, 1] for name in names})
    laws = [rng.dirichlet([1, 1], (1, 2, 3)) for _ in range(2)]
    rewards = [rng.uniform(size=(1, 2, 3)) for _ in range(3)]
    best = backward_induction(model, laws, rewards)[0][0].max(-1)
    found = np.full(2, -np.inf)
    for policy in itertools.product(range(3), repeat=6):
        arms, value = np.reshape(policy, (3, 2)), np.zeros(2)
        for stage in reversed(range(3)):
            own = (0, np.arange(2), arms[stage])
            ahead = laws[stage][own] @ value if stage < 2 else 0
            value = rewards[stage][own] + ahead
        found = np.maximum(found, value)
    assert best == pytest.approx(found, abs=1e-12)


def test_an_episode_that_is_over_has_no_value_to_come():
    model = model_without_diagram(may_end=True)
    laws = np.broadcast_to([0.25, 0.25, 0.5], (1, 2, 2, 3))
    q = backward_induction(model, [laws], [np.zeros((1, 2, 2)), np.ones((1, 8, 2))])
    assert q[0] == pytest.approx(np.full((1, 2, 2), 0.5))


# What logs tell.


def test_what_a_log_tells_follows_from_the_diagram():
    env = environment(two_stage_dtr)
    assert log_uses(DTRModel.for_env(env)) == [("counts", "counts"), ("counts", "history bounds")]
    bounds = "history bounds"
    assert log_uses(model_without_diagram()) == [(bounds, "counts"), ("counts", bounds)]
    assert log_uses(model_without_diagram(), ["X1", "X2"]) == [("counts", "counts")] * 2
    problem = confounded_gridworld().problem
    walk = DTRModel.for_env(SequentialSCMEnv(problem.scm, problem.stages))
    assert log_uses(walk)[:-1] == [("local bounds", "local bounds")] * 5


def exact_history_bounds(law):
    """Bounds of E[Y | s, do(x1, x2)] as in Zhang and Bareinboim (2019), from the exact law.

    No transition is taken to be identified.
    """
    p_s1, p_x1 = law.sum((1, 2, 3, 4)), law.sum((2, 3, 4))
    p_s2, p_x2 = law.sum((3, 4)), law.sum(4)
    most = p_s2 - p_x1[..., None] + p_s1[:, None, None]
    low = law[..., 1] / most[..., None]
    return low, (law[..., 1] - p_x2 + most[..., None]) / most[..., None]


@pytest.mark.parametrize("seed", range(4))
def test_bounds_are_those_of_the_paper_and_hold_the_truth(seed):
    env = random_environment(seed)
    model = model_without_diagram()
    tables = LogTables(model, expected_log(env))
    law = ProgramLaw(env.scm).law().align(tuple(COLUMNS)).values.numpy()
    bounds = tables.bounds(log_uses(model), 0.0)
    truth = exact_history_bounds(law)
    found = [each.reshape(2, 2, 2, 2) for each in bounds[1].rewards]
    assert found[0] == pytest.approx(truth[0], abs=2e-4)
    assert found[1] == pytest.approx(truth[1], abs=2e-4)
    # the transition, with the bounds of one stage
    shares = law.sum((3, 4)) / law.sum((1, 2, 3, 4))[:, None, None]
    others = law.sum((2, 3, 4)) / law.sum((1, 2, 3, 4))[:, None]
    assert bounds[0].outcomes[0][0] == pytest.approx(shares, abs=2e-4)
    assert bounds[0].outcomes[1][0] == pytest.approx(1 - others[..., None] + shares, abs=2e-4)
    q = true_values(env)[1]
    sharper = LogTables(model, expected_log(env)).bounds(log_uses(DTRModel.for_env(env)), 0.0)
    for each in (bounds, sharper):
        low, high = each[1].rewards
        assert (low[0] <= q + 2e-4).all()
        assert (high[0] >= q - 2e-4).all()
    assert (sharper[1].rewards[1] <= bounds[1].rewards[1] + 2e-4).all()


def test_bounds_of_a_walk_hold_its_true_laws():
    world = confounded_gridworld()
    env = SequentialSCMEnv(world.problem.scm, world.problem.stages)
    model = DTRModel.for_env(env)
    bounds = LogTables(model, env.logs(5_000, seed=0)).bounds(log_uses(model), 8.0)
    for stage in range(5):
        low, high = bounds[stage].outcomes
        assert (low[0] <= world.transitions).all()
        assert (high[0] >= world.transitions).all()
        assert high[0].min() < 0.5
        paid = world.transitions[..., world.goal]
        assert (bounds[stage].rewards[0][0] <= paid).all()
        assert (bounds[stage].rewards[1][0] >= paid).all()


def test_confidence_limits_fail_as_rarely_as_they_say():
    rng = np.random.default_rng(0)
    chances = np.array([0.02, 0.3, 0.9])
    hits = rng.binomial(50, chances, (20_000, 3)).astype(float)
    low = lower_confidence(hits, np.full(hits.shape, 50.0), np.log(20))
    # 20,000 trials each: four standard errors are .006
    assert ((low > chances).mean(0) <= 0.05 + 0.006).all()
    assert low.mean(0)[1] > 0.12
    assert lower_confidence(np.zeros(1), np.zeros(1), 3.0) == 0


def test_laws_are_moved_into_bounds():
    rng = np.random.default_rng(1)
    inside = rng.dirichlet([1, 1, 1], 100)
    low, high = (inside - 0.1).clip(0), (inside + 0.1).clip(0, 1)
    found = moved_within(rng.dirichlet([1, 1, 1], 100), low, high)
    assert found.sum(-1) == pytest.approx(1)
    assert (found >= low - 1e-12).all()
    assert (found <= high + 1e-12).all()
    assert moved_within(inside, low, high) == pytest.approx(inside)


def test_optimistic_means_are_those_of_linear_programs():
    from scipy.optimize import linprog

    rng = np.random.default_rng(2)
    for _ in range(20):
        values, centre, inside = rng.uniform(size=4), *rng.dirichlet(np.ones(4), 2)
        low, high, radius = 0.6 * inside, (1.5 * inside).clip(0, 1), 0.4
        box = linprog(
            -values, A_eq=[np.ones(4)], b_eq=[1], bounds=list(zip(low, high, strict=True))
        )
        assert best_in_box(values, low, high) == pytest.approx(-box.fun, abs=1e-9)
        # variables: the law, and its distances from the centre
        eye = np.eye(4)
        rows = np.block([[eye, -eye], [-eye, -eye], [np.zeros(4), np.ones(4)]])
        ball = linprog(
            np.r_[-values, np.zeros(4)],
            A_ub=rows,
            b_ub=np.r_[centre, -centre, radius],
            A_eq=[np.r_[np.ones(4), np.zeros(4)]],
            b_eq=[1],
        )
        assert best_in_ball(values, centre, np.array(radius)) == pytest.approx(-ball.fun, abs=1e-9)


# Regimes learned offline.


def best_by_the_log(env):
    """The value of the regime that is best if seeing were doing, by enumeration."""
    law = ProgramLaw(env.scm).law().align(tuple(COLUMNS)).values.numpy()
    mean = law[..., 1] / law.sum(4)
    moves = law.sum((3, 4)) / law.sum((2, 3, 4))[..., None]
    x2 = mean.argmax(3)
    x1 = (moves * mean.max(3)).sum(2).argmax(1)

    def policy(seen):
        later = x2[seen["S1"], seen.get("X1", seen["S1"]), seen.get("S2", seen["S1"])]
        return np.where(seen["stage"] == 0, x1[seen["S1"]], later)

    return env.oracle.value(policy)


@pytest.mark.parametrize("problem", [confounded_dtr, two_stage_dtr])
def test_naive_regime_is_as_bad_as_enumeration_says(problem):
    env = environment(problem)
    log = env.logs(200_000, seed=0)
    naive = env.oracle.value(naive_policy(DTRModel.for_env(env), log))
    assert naive == pytest.approx(best_by_the_log(env), abs=1e-9)


def test_naive_regime_is_worse_than_who_acted_and_adjustment_is_best():
    env = environment(confounded_dtr)
    log = env.scm.sample(50_000, seed=0)
    model = DTRModel.for_env(env)
    clinician = float(ProgramLaw(env.scm).law().probability({"Y": 1}))
    naive = env.oracle.value(naive_policy(model, log))
    assert naive == pytest.approx(0.36, abs=1e-9)
    assert naive < clinician - 0.1
    best = env.oracle.value(backdoor_policy(model, log, ["U"]))
    assert best == pytest.approx(env.oracle.best, abs=1e-9)


def test_arms_that_were_never_taken_are_not_trusted():
    model = model_without_diagram()
    log = {"S1": [0, 0], "X1": [1, 1], "S2": [0, 0], "X2": [0, 1], "Y": [0, 1]}
    regime = naive_policy(model, log)
    assert regime.arms[0][0] == 1
    assert regime.arms[1][model.state(1, {"S1": 0, "X1": 1, "S2": 0})] == 1


# What is refused.


def test_what_cannot_be_is_refused_by_name():
    with pytest.raises(QueryError, match="S2 is seen, but has no levels"):
        DTRModel(STAGES, {"S1": [0, 1], "X1": [0, 1]}, outcome="Y")
    with pytest.raises(QueryError, match="no stages"):
        DTRModel([], {})
    many = [Stage([{f"X{k}": 0}, {f"X{k}": 1}], [f"S{k}"]) for k in range(8)]
    with pytest.raises(AssumptionError, match=r"stage 6 has .* histories"):
        DTRModel(many, {f"S{k}": range(8) for k in range(8)}, outcome="Y")
    with pytest.raises(DataError, match="positive parameters"):
        PosteriorSamplingDTR(model_without_diagram(), concentration=0)
    with pytest.raises(DataError, match="between 0 and 1"):
        UCDTR(model_without_diagram(), error=0)


def test_a_log_that_cannot_be_read_is_refused():
    agent = PosteriorSamplingDTR(model_without_diagram()).start(seed=0)
    with pytest.raises(DataError, match="no column Y"):
        agent.observe({name: [0] for name in COLUMNS[:-1]})
    with pytest.raises(DataError, match=r"S2 is 2.0; expected one of \[0, 1\]"):
        agent.observe({**{name: [0] for name in COLUMNS}, "S2": [2]})
    with pytest.raises(DataError, match="rows for 3 runs; expected 1"):
        agent.observe({name: np.zeros((3, 5)) for name in COLUMNS})
    with pytest.raises(DataError, match="W is not in the log"):
        backdoor_policy(agent.model, {name: [0] for name in COLUMNS}, ["W"])


def test_an_observation_or_reward_that_cannot_be_is_refused():
    agent = PosteriorSamplingDTR(model_without_diagram()).start(seed=0)
    with pytest.raises(DataError, match="expected one stage below 2"):
        agent.act({"stage": 2, "S1": 0})
    seen = {"stage": 1, "S1": 0, "X1": 0, "S2": 0}
    with pytest.raises(DataError, match=r"stage 1 is 1\.5"):
        agent.update(Transition(0, 1.5, {}, seen, seen, True))
    with pytest.raises(DataError, match="over after stage 0 of 2"):
        agent.update(Transition(0, 0.0, {}, {"stage": 0, "S1": 0}, seen, True))
