"""Optimistic values: above the truth where that is certified; else refused or warned of."""

import numpy as np
import pytest

from causalppl.agents.agent import Transition
from causalppl.agents.dovi import DOVI
from causalppl.agents.dtr_model import DTRModel
from causalppl.envs import SequentialSCMEnv, Stage, make_env
from causalppl.estimation.program_law import ProgramLaw
from causalppl.examples import confounded_dtr, two_stage_dtr
from causalppl.exceptions import AssumptionError, DataError, HeuristicWarning, QueryError
from causalppl.graphs import ADMG

STAGES = (
    Stage([{"X1": 0}, {"X1": 1}], ["S1"]),
    Stage([{"X2": 0}, {"X2": 1}], ["X1", "S2"]),
)
LEVELS = {name: [0, 1] for name in ("S1", "X1", "S2")}
BANDIT = (Stage([{"X": 0}, {"X": 1}], reward="Y"),)


def two_stages(**options):
    return DTRModel(STAGES, LEVELS, **{"outcome": "Y", **options})


def environment(problem):
    found = problem()
    return SequentialSCMEnv(found.scm, found.stages, found.outcome)


def true_values(env):
    """What arms are worth at both stages, states numbered by S1, X1, S2: by the g-formula."""
    law = ProgramLaw(env.scm).law(["X1", "X2"]).align(("S1", "X1", "S2", "X2", "Y"))
    reached = law.values.numpy().sum(4)
    second = law.values.numpy()[..., 1] / reached
    moves = reached[..., 0] / reached[..., 0].sum(2, keepdims=True)
    return [(moves * second.max(3)).sum(2), second.reshape(8, 2)]


def total(agent, stage=0):
    return agent.optimistic_q[stage]


# The certificate.


@pytest.mark.parametrize("rows", [0, 300])
@pytest.mark.parametrize("problem", [confounded_dtr, two_stage_dtr])
def test_certified_values_are_never_below_the_truth(problem, rows):
    env, runs = environment(problem), 40
    agent = DOVI(DTRModel.for_env(env), error=0.1).start(runs, seed=0)
    assert agent.is_certified
    if rows:
        logs = [env.logs(rows, seed=run) for run in range(runs)]
        agent.observe({n: np.stack([log[n].numpy() for log in logs]) for n in logs[0]})
    truths = true_values(env)
    batch, failed = env.vector(runs), np.zeros(runs, dtype=bool)
    seen, _ = batch.reset(seed=1)
    for step in range(300):
        if step % 10 == 0:
            for truth, found in zip(truths, agent.optimistic_q, strict=True):
                failed |= (found < truth - 1e-9).any((1, 2))
        action = agent.act(seen)
        after, reward, ended, _, _ = batch.step(action)
        agent.update(Transition(action, reward, {}, seen, after, ended))
        seen = after
    # the chance of a run to fail is at most .1: 9 of 40 has a chance below .02 under that
    assert failed.sum() <= 8


def test_states_are_numbered_as_their_views_say():
    env = environment(two_stage_dtr)
    model = DTRModel.for_env(env)
    for stage, names in enumerate((["S1"], ["S1", "X1", "S2"])):
        views = model.views(stage)
        assert list(views) == names
        assert model.state(stage, views).tolist() == list(range(model.num_states[stage]))


def test_several_stages_need_an_assumption():
    with pytest.raises(AssumptionError, match="nothing says that their transitions"):
        DOVI(two_stages())
    assert DOVI(two_stages(), transition_assumption="unconfounded").is_certified
    with pytest.warns(HeuristicWarning, match="values are not certified"):
        heuristic = DOVI(two_stages(), allow_heuristic=True)
    assert not heuristic.is_certified
    assert DOVI(DTRModel(BANDIT, {})).is_certified


def test_the_diagram_may_show_the_assumption_or_contradict_it():
    shown = ADMG.parse("S1 -> X1 -> S2 -> X2 -> Y; S1 -> S2; X1 <-> Y; X2 <-> Y")
    assert DOVI(two_stages(graph=shown)).is_certified
    contradicted = ADMG.parse("S1 -> X1 -> S2 -> X2 -> Y; X1 <-> S2")
    with pytest.raises(AssumptionError, match="what follows stage 0 is confounded"):
        DOVI(two_stages(graph=contradicted), transition_assumption="unconfounded")
    with pytest.raises(AssumptionError, match="allow_heuristic=True"):
        DOVI(two_stages(graph=contradicted))
    walk = make_env("ConfoundedGridworld", size=2, horizon=2)
    with pytest.warns(HeuristicWarning):
        assert not DOVI(DTRModel.for_env(walk), allow_heuristic=True).is_certified


def test_what_cannot_be_is_refused():
    with pytest.raises(QueryError, match="transition_assumption is 'certain'"):
        DOVI(two_stages(), transition_assumption="certain")
    with pytest.raises(DataError, match="between 0 and 1"):
        DOVI(DTRModel(BANDIT, {}), error=1.5)
    with pytest.raises(AssumptionError, match="has not started"):
        _ = DOVI(DTRModel(BANDIT, {})).optimistic_q


# Values.


def test_nothing_known_is_worth_the_most():
    agent = DOVI(two_stages(reward_range=(-1, 3)), transition_assumption="unconfounded")
    first, second = agent.start(seed=0).optimistic_q
    assert first == pytest.approx(np.full((2, 2), 3.0))
    assert second == pytest.approx(np.full((8, 2), 3.0))


def test_values_can_be_read_by_what_is_seen():
    env = environment(two_stage_dtr)
    model = DTRModel.for_env(env)
    agent = DOVI(model).start(3, seed=0)
    agent.observe(env.logs(500, seed=0))
    found = agent.optimistic_table(1, run=2)
    assert list(found.columns) == ["X2=0", "X2=1"]
    for row in ({"S1": 0, "X1": 1, "S2": 0}, {"S1": 1, "X1": 0, "S2": 1}):
        value = found.loc[tuple(row[name] for name in found.index.names)]
        assert value.tolist() == agent.optimistic_q[1][2, model.state(1, row)].tolist()
    alone = DOVI(DTRModel(BANDIT, {})).start(seed=0).optimistic_table(0)
    assert alone.shape == (1, 2)


def test_rewards_may_have_any_declared_range():
    agent = DOVI(DTRModel(BANDIT, {}, reward_range=(-100, 50))).start(seed=0)
    for reward in np.tile([-100.0, 20.0], 500):
        agent.update(Transition(1, reward, {}, {"stage": 0}, {"stage": 1}, True))
    assert total(agent)[0, 0] == pytest.approx(50)
    assert -40 < total(agent)[0, 1] < -20  # the mean is -40
    for bad in (51, -101, np.nan):
        with pytest.raises(DataError, match="expected between -100 and 50"):
            agent.update(Transition(1, bad, {}, {"stage": 0}, {"stage": 1}, True))


def test_a_confounded_log_bounds_the_reward_of_one_stage():
    # P(X=1) = .5 and E[Y | X=1] = .2: E[Y | do(X=1)] is at most .6
    log = {"X": np.tile([0, 1], 10_000), "Y": np.tile([1, 0, 1, 0, 1, 1, 1, 0, 1, 0], 2_000)}
    agent = DOVI(DTRModel(BANDIT, {})).start(seed=0)
    agent.observe(log)
    assert total(agent)[0, 1] == pytest.approx(0.6, abs=0.03)
    assert total(agent)[0, 1] >= 0.6
    assert total(agent)[0, 0] == pytest.approx(1.0, abs=1e-6)
    agent.observe(log, do=["X"])  # now an experiment
    assert 0.2 <= total(agent)[0, 1] < 0.25


def test_a_second_log_can_only_narrow():
    env = environment(two_stage_dtr)
    agent = DOVI(DTRModel.for_env(env)).start(seed=0)
    agent.observe(env.logs(200, seed=0))
    before = agent.bounds[1].rewards[1].copy()
    agent.observe(env.logs(20_000, seed=1))
    after = agent.bounds[1].rewards[1]
    assert (after <= before + 1e-12).all()
    assert after.mean() < before.mean() - 0.02


def test_episodes_that_are_over_have_no_future():
    model = two_stages(may_end=True)
    agent = DOVI(model, transition_assumption="unconfounded").start(seed=0)
    first = {"stage": 0, "S1": 0}
    for step in range(4_000):
        over = step % 4 != 0
        second = {"stage": 1, "S1": 0, "X1": 1, "S2": 0}
        agent.update(Transition(1, 0.0, {}, first, None if over else second, over))
    # one of four goes on, to where nothing is known, so that it is worth 1
    assert 0.25 <= total(agent)[0, 1] < 0.32
    assert total(agent)[0, 0] == pytest.approx(1)


def test_logs_of_transitions_make_the_agent_surer():
    env = environment(confounded_dtr)
    with_log, without = (DOVI(DTRModel.for_env(env)).start(seed=0) for _ in range(2))
    with_log.observe(env.logs(2_000, seed=0))
    assert with_log.outcomes[0].sum() == 2_000
    for agent in (with_log, without):
        for arm in (0, 1):
            seen = {"stage": 1, "S1": 1, "X1": 1, "S2": 1}
            for _ in range(500):
                agent.update(Transition(arm, 0.0, {}, seen, seen, True))
    assert (total(with_log)[1] < total(without)[1] - 0.1).any()
    assert (total(with_log) <= total(without) + 1e-12).all()
