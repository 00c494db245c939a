"""What agents are given: logs of any kind, diagrams, environments, numbers; else clear errors."""

import gymnasium
import numpy as np
import pandas as pd
import pytest

from causalppl.agents import (
    KLUCB,
    BetaThompson,
    CausalBayesianOptimisation,
    CounterfactualPolicy,
    DTRModel,
    GaussianThompson,
    IntentFusion,
    LinearGaussian,
    PosteriorSamplingDTR,
    ThompsonSampling,
    Transition,
    UniformAgent,
    backdoor_policy,
    filter_arms,
    naive_policy,
    run,
    run_episodes,
)
from causalppl.agents.log_frames import columns_of, names_set
from causalppl.data import Table
from causalppl.envs import make_env
from causalppl.exceptions import DataError, GraphError, QueryError
from causalppl.graphs import ADMG, bow
from causalppl.identification import (
    minimal_intervention_sets,
    possibly_optimal_sets,
    requires_experiment,
)

TWO = ({"X": 0}, {"X": 1})
LOG = {"X": [0, 1, 1, 0, 1, 1], "Y": [1, 1, 0, 0, 1, 1]}
BOX = [{"X": (-1.0, 2.0)}]
PER_ARM = {
    "beta": BetaThompson(TWO, reward="Y"),
    "gaussian": GaussianThompson(TWO, reward="Y"),
    "kl-UCB": KLUCB(TWO, reward="Y"),
    "uniform": UniformAgent(TWO, reward="Y"),
}
FUSION = IntentFusion.for_env(make_env("GreedyCasino"))
AGENTS = {
    **PER_ARM,
    "fusion": FUSION,
    "classes": ThompsonSampling(bow(), TWO, "Y"),
    "linear": ThompsonSampling(bow(), TWO, "Y", engine=LinearGaussian()),
    "processes": CausalBayesianOptimisation(bow(), BOX, "Y"),
}
DTR = PosteriorSamplingDTR(DTRModel.for_env(make_env("TwoStageDTR")))
every_agent = pytest.mark.parametrize("kind", AGENTS)


def kept(agent):
    """All that an agent knows, in a form that can be compared."""
    return repr(agent.state_dict())


def polars(columns):
    return pytest.importorskip("polars").DataFrame(columns)


def lazy(columns):
    return polars(columns).lazy()


def arrow(columns):
    return pytest.importorskip("pyarrow").table(columns)


FRAMES = {
    "pandas": pd.DataFrame,
    "polars": polars,
    "lazy polars": lazy,
    "arrow": arrow,
    "table": Table.from_any,
}


@pytest.mark.parametrize("frame", FRAMES)
@every_agent
def test_a_frame_tells_what_a_mapping_does(kind, frame):
    agents = [AGENTS[kind].start(seed=1) for _ in range(2)]
    agents[0].observe(LOG, do="X")
    agents[1].observe(FRAMES[frame](LOG), do=["X"])
    assert kept(agents[0]) == kept(agents[1]) != kept(AGENTS[kind].start(seed=1))


@pytest.mark.parametrize("frame", FRAMES)
def test_regimes_learn_from_frames(frame):
    log = {n: v.tolist() for n, v in make_env("TwoStageDTR").logs(60, seed=0).tensors().items()}
    agents = [DTR.start(seed=1) for _ in range(2)]
    agents[0].observe(log)
    agents[1].observe(FRAMES[frame](log))
    assert kept(agents[0]) == kept(agents[1]) != kept(DTR.start(seed=1))
    regimes = [naive_policy(DTR.model, each) for each in (log, FRAMES[frame](log))]
    assert all(map(np.array_equal, regimes[0].arms, regimes[1].arms))


def test_frames_tell_what_was_seen_by_others_too():
    env = make_env("ConfoundedDTR")
    log = {n: v.tolist() for n, v in env.scm.sample(200, seed=0).items()}
    model = DTRModel.for_env(env)
    regimes = [backdoor_policy(model, each, ["U"]) for each in (log, polars(log))]
    assert all(map(np.array_equal, regimes[0].arms, regimes[1].arms))


@pytest.mark.parametrize("missing", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["X", "Y"])
@every_agent
def test_a_missing_value_is_refused_by_all_alike(kind, name, missing):
    agent = AGENTS[kind].start(seed=0)
    before = kept(agent)
    with pytest.raises(DataError, match=f"{name} has a missing or infinite value.*leave such rows"):
        agent.observe({**LOG, name: [missing, *LOG[name][1:]]}, do="X")
    assert kept(agent) == before


def test_a_missing_value_is_refused_by_regimes():
    log = {
        n: v.numpy().copy() for n, v in make_env("TwoStageDTR").logs(9, seed=0).tensors().items()
    }
    log["S1"] = np.where(np.arange(9) == 3, np.nan, log["S1"])
    with pytest.raises(DataError, match="S1 has a missing or infinite value"):
        DTR.start(seed=0).observe(log)


@every_agent
def test_what_is_missing_in_a_table_is_missing(kind):
    table = Table.from_any({**LOG, "X": pd.Categorical.from_codes([0, 1, 1, 0, 1, -1], ["a", "b"])})
    with pytest.raises(DataError, match="X has a missing"):
        AGENTS[kind].start(seed=0).observe(table, do="X")


@pytest.mark.parametrize("log", [None, [[0, 1]], "log.csv", 7], ids=str)
@pytest.mark.parametrize("kind", [*AGENTS, "regime", "policy"])
def test_what_has_no_columns_is_refused(kind, log):
    casino = make_env("GreedyCasino")
    known = {**AGENTS, "regime": DTR, "policy": CounterfactualPolicy.for_env(casino)}
    with pytest.raises(DataError, match="expected columns by name"):
        known[kind].start(seed=0).observe(log)


@pytest.mark.parametrize("do", [None, [0], 3], ids=str)
@every_agent
def test_what_was_set_has_names(kind, do):
    with pytest.raises(DataError, match="expected the names of the variables"):
        AGENTS[kind].start(seed=0).observe(LOG, do=do)


@pytest.mark.parametrize(
    "column", [np.array([1j] * 6), np.array(["2020-01-01"] * 6, "M8[D]"), ["a"] * 6], ids=type
)
@every_agent
def test_columns_hold_real_numbers(kind, column):
    with pytest.raises(DataError, match="the column X holds other things than numbers"):
        AGENTS[kind].start(seed=0).observe({**LOG, "X": column}, do="X")


def test_columns_and_names_are_read():
    assert columns_of({"X": [1]}) == {"X": [1]}
    assert (names_set("X"), names_set(["X", "Z"]), names_set(())) == (("X",), ("X", "Z"), ())


@pytest.mark.parametrize("reward", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("kind", [*PER_ARM, "fusion"])
def test_an_infinite_reward_is_refused_and_does_no_harm(kind, reward):
    agent = AGENTS[kind].start(seed=0)
    before, seen = kept(agent), {"X@natural": 0}
    with pytest.raises(DataError, match="the reward"):
        agent.update(Transition(0, reward, observation=seen))
    assert kept(agent) == before
    agent.update(Transition(0, 1.0, observation=seen))
    assert agent.act(seen) in (0, 1)


@pytest.mark.parametrize("kind", [*AGENTS, "regime"])
def test_a_pair_is_no_transition(kind):
    with pytest.raises(DataError, match=r"the transition is \(0, 1.0\); expected such as Transit"):
        {**AGENTS, "regime": DTR}[kind].start(seed=0).update((0, 1.0))


TEXT = "Z -> X -> Y; X <-> Y"


@pytest.mark.parametrize(
    "ask",
    [
        lambda: ThompsonSampling(TEXT, TWO, "Y"),
        lambda: ThompsonSampling({TEXT: 1.0}, TWO, "Y"),
        lambda: CausalBayesianOptimisation(TEXT, BOX, "Y"),
        lambda: filter_arms(TEXT, TWO, "Y", "POMIS"),
    ],
    ids=["agent", "several", "processes", "filter"],
)
def test_text_is_no_diagram_yet(ask):
    with pytest.raises(GraphError, match=r"is 'Z -> X.*expected an ADMG, such as ADMG.parse\("):
        ask()


@pytest.mark.parametrize(
    "ask",
    [
        lambda graph: possibly_optimal_sets(graph, "Y"),
        lambda graph: minimal_intervention_sets(graph, "Y"),
        lambda graph: requires_experiment(graph, "X", "Y"),
    ],
    ids=["POMIS", "MIS", "experiment"],
)
def test_what_arms_can_be_best_is_asked_of_text_too(ask):
    assert ask(TEXT) == ask(ADMG.parse(TEXT))


def test_a_list_of_diagrams_needs_weights():
    with pytest.raises(GraphError, match="mapping from diagrams to prior weights"):
        ThompsonSampling([bow(), ADMG.parse("X -> Y")], TWO, "Y")


MADE = (ThompsonSampling, BetaThompson, KLUCB, IntentFusion, CounterfactualPolicy)


@pytest.mark.parametrize("kind", [*MADE, CausalBayesianOptimisation], ids=lambda k: k.__name__)
def test_agents_are_made_for_environments_not_for_wrappers(kind):
    made = gymnasium.make("causalppl/GreedyCasino-v0")
    with pytest.raises(DataError, match=r"expected a SCMEnv itself.*env\.unwrapped"):
        kind.for_env(made)
    if kind in MADE:
        assert len(kind.for_env(made.unwrapped).arms) == 2


def test_models_of_regimes_are_made_for_environments_not_for_wrappers():
    made = gymnasium.make("causalppl/TwoStageDTR-v0")
    with pytest.raises(DataError, match=r"SequentialSCMEnv itself.*env\.unwrapped"):
        DTRModel.for_env(made)
    assert len(DTRModel.for_env(made.unwrapped)) == 2


@pytest.mark.parametrize(
    ("name", "ask"),
    [
        ("steps", lambda: run(FUSION, make_env("GreedyCasino"), 10.0)),
        ("runs", lambda: run(FUSION, make_env("GreedyCasino"), 10, 2.0)),
        ("natural_rows", lambda: run(FUSION, make_env("GreedyCasino"), 1, 1, natural_rows=2.0)),
        ("num_workers", lambda: run(FUSION, make_env("GreedyCasino"), 1, 1, num_workers=1.5)),
        ("episodes", lambda: run_episodes(DTR, make_env("TwoStageDTR"), 10.0)),
        ("runs", lambda: FUSION.start(2.0)),
        ("first_run", lambda: FUSION.start(2, first_run=0.0)),
        ("num_envs", lambda: make_env("GreedyCasino").vector(2.5)),
    ],
)
def test_counts_are_whole(name, ask):
    with pytest.raises(DataError, match=rf"{name} is \d+\.\d; expected a whole number"):
        ask()


@pytest.mark.parametrize("kind", [BetaThompson, UniformAgent])
def test_an_arm_is_there_once(kind):
    with pytest.raises(QueryError, match="arms 0 and 2 are the same"):
        kind([{"X": 0}, {"X": 1}, {"X": 0.0}])


@pytest.mark.parametrize(
    "ask",
    [
        lambda arms: ThompsonSampling(bow(), arms, "Y"),
        lambda arms: CounterfactualPolicy(make_env("GreedyCasino").scm, arms, "Y"),
    ],
    ids=["agent", "policy"],
)
def test_an_arm_is_there_once_in_models(ask):
    with pytest.raises(QueryError, match="arms 0 and 1 are the same"):
        ask([{"X": 1}, {"X": np.float64(1)}])
    with pytest.raises(QueryError, match="arms 0 and 1 are the same"):
        CausalBayesianOptimisation(bow(), [{"X": (-1.0, 2.0)}, {"X": [-1.0, 2.0]}], "Y")


def test_what_is_drawn_is_the_mean_of_the_variable_also_where_it_is_to_be_small():
    log = {"X": [0] * 500 + [1] * 500, "Y": [0] * 400 + [1] * 100 + [1] * 400 + [0] * 100}
    agent = ThompsonSampling(ADMG.parse("X -> Y"), TWO, "Y", maximise=False).start(seed=0)
    agent.observe(log, do="X")
    assert agent.belief.average()[0, 0] == pytest.approx([0.2, 0.8], abs=0.01)
    assert agent.recommend() == 0
