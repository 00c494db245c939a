"""Causal Bayesian optimisation: drawn mechanisms against Pyro's, optima against dense grids."""

import subprocess
import sys

import numpy as np
import pyro
import pytest
import torch

from causalppl.agents import Transition
from causalppl.agents.arm_search import best_point
from causalppl.agents.causal_bayesian_optimisation import CausalBayesianOptimisation
from causalppl.agents.gp_mechanism import GPMechanism, Rows, _set_logs
from causalppl.envs import make_env
from causalppl.exceptions import DataError, QueryError
from causalppl.graphs import ADMG

CHAIN = ADMG.parse("X -> Z -> Y")
BOX = [{"X": (-2.0, 2.0)}, {"Z": (-3.0, 3.0)}]


def chain_rows(count, seed, x=None):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=count) if x is None else np.full(count, x)
    z = x + 0.5 * rng.normal(size=count)
    return {"X": x, "Z": z, "Y": np.sin(2 * z) + 0.3 * rng.normal(size=count)}


def natural(values):
    return Rows(values, {name: np.zeros(len(v), dtype=bool) for name, v in values.items()})


def played(agent, env, steps):
    """Play on; returns actions."""
    found = []
    observation, _ = env.reset(seed=3)
    for _ in range(steps):
        action = agent.act(observation)
        observation, reward, _, _, info = env.step(action)
        agent.update(Transition(action, reward, info["values"]))
        found.append(action)
        observation, _ = env.reset()
    return found


def test_drawn_functions_have_the_moments_of_the_posterior():
    mechanism, rows = GPMechanism("Y", ("Z",), {}, {"Z": (-3.0, 3.0)}), natural(chain_rows(40, 0))
    known = mechanism.fit(rows, mechanism.fresh())
    at, rng = np.linspace(-3, 3, 13), np.random.default_rng(1)
    drawn = np.array([mechanism.draw(rows, known, rng)({"Z": at}, {}) for _ in range(400)])
    scales = known["scales"]
    model = mechanism._model(*mechanism._data(rows, scales))
    _set_logs(model, known["log"])
    with torch.no_grad(), pyro.get_param_store().scope():
        loc, variance = model(mechanism.design({"Z": at}, {}, scales))
    centre, width = scales.output
    sd = width * variance.sqrt().numpy()
    # chance is a twentieth of a standard deviation; features approximate the prior
    assert (np.abs(drawn.mean(0) - centre - width * loc.numpy()) < 0.3 * sd).all()
    assert drawn.std(0) == pytest.approx(sd, rel=0.2)


def test_hyperparameters_of_a_fit_are_more_probable_than_those_before():
    mechanism, rows = GPMechanism("Y", ("Z",), {}, {"Z": (-3.0, 3.0)}), natural(chain_rows(80, 0))
    known = mechanism.fit(rows, mechanism.fresh())
    noise = np.exp(known["log"]["noise_unconstrained"] / 2) * known["scales"].output[1]
    assert noise == pytest.approx(0.3, rel=0.3)
    again = mechanism.fit(rows, known)
    for name, value in known["log"].items():
        assert again["log"][name] == pytest.approx(value, abs=0.05)


def test_a_fit_finds_back_from_where_no_covariance_can_be_computed():
    mechanism, rows = GPMechanism("Y", ("Z",), {}, {"Z": (-3.0, 3.0)}), natural(chain_rows(40, 0))
    lost = mechanism.fresh()
    lost["log"] = {name: value + 60 * ("kernel" in name) for name, value in lost["log"].items()}
    rows.values["Z"][1] = rows.values["Z"][0]  # two equal inputs, and noise too small to matter
    found = mechanism.fit(rows, lost)["log"]
    expected = mechanism.fit(rows, mechanism.fresh())["log"]
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=0.05)


def test_a_mechanism_learns_nothing_from_rows_in_which_it_was_set():
    mechanism, rows = GPMechanism("Y", ("Z",), {}, {}), chain_rows(20, 0)
    other = {**rows, "Y": np.concatenate([rows["Y"][:10], np.full(10, 99.0)])}
    late = np.arange(20) >= 10
    drawn = []
    for values in (rows, other):
        data = Rows(values, {n: late & (n == "Y") for n in values})
        known = mechanism.fit(data, mechanism.fresh())
        drawn.append(mechanism.draw(data, known, np.random.default_rng(0))({"Z": np.zeros(1)}, {}))
    assert drawn[0] == pytest.approx(drawn[1])


def test_natural_rows_of_a_bow_leave_the_effect_open_until_it_is_tried():
    rng = np.random.default_rng(2)
    u = rng.normal(size=200)
    rows = {"X": u + 0.1 * rng.normal(size=200), "Y": 2 * u + 0.1 * rng.normal(size=200)}
    mechanism = GPMechanism("Y", ("X",), {"X": ()}, {"X": (-2.0, 2.0)})
    masks = {name: np.zeros(200, dtype=bool) for name in rows}

    def slopes(data):
        known = mechanism.fit(data, mechanism.fresh())
        draws, chance = [], np.random.default_rng(3)
        for _ in range(50):
            at = mechanism.draw(data, known, chance)({"X": np.array([-1.0, 1.0])}, {"X": True})
            draws.append((at[1] - at[0]) / 2)
        return np.array(draws)

    assert slopes(Rows(rows, masks)).std() > 0.2
    # nobody's Y follows an X that was set
    x = np.linspace(-2, 2, 60)
    values = {"X": x, "Y": 2 * rng.normal(size=60) + 0.1 * rng.normal(size=60)}
    both = {name: np.concatenate([rows[name], values[name]]) for name in rows}
    was_set = {name: np.concatenate([masks[name], np.full(60, name == "X")]) for name in rows}
    found = slopes(Rows(both, was_set))
    assert found.mean() == pytest.approx(0, abs=0.6)
    assert found.std() < slopes(Rows(rows, masks)).std() + 0.3


def test_the_best_point_of_a_drawn_model_is_that_of_a_dense_grid():
    agent = CausalBayesianOptimisation(CHAIN, BOX, "Y", sets="all").start(seed=0)
    agent.observe(chain_rows(60, 0))
    memory = agent.memories[0]
    agent._refit(memory)
    for seed in range(5):
        drawn = agent._drawn(memory, np.random.default_rng(seed))
        for arm in agent.arms:
            ((name, (low, high)),) = arm.items()
            dense = drawn.mean({name: np.linspace(low, high, 4001)})
            value, point = best_point(arm, drawn.mean)
            assert value == pytest.approx(dense.max(), abs=2e-3)
            assert drawn.mean({name: np.array([point[name]])})[0] == pytest.approx(value)


def test_the_best_point_of_two_variables_is_found():
    def mean(done):
        return -((done["A"] - 0.3) ** 2) - (done["B"] - 1.7) ** 2 - done["A"] * done["B"] / 5

    value, point = best_point({"A": (-2.0, 2.0), "B": (0.0, 4.0), "C": 3.0}, mean)
    a = b = 0.0
    for _ in range(100):  # coordinate by coordinate
        a, b = 0.3 - b / 10, 1.7 - a / 10
    assert (point["A"], point["B"]) == pytest.approx((a, b), abs=0.03)
    assert value == pytest.approx(mean({"A": a, "B": b}), abs=1e-3)
    assert point["C"] == 3.0


def test_means_of_drawn_models_follow_mechanisms_along_the_chain():
    agent = CausalBayesianOptimisation(CHAIN, BOX, "Y", sets="all", num_particles=500).start(seed=0)
    agent.observe(chain_rows(200, 0))
    memory = agent.memories[0]
    agent._refit(memory)
    models = [agent._drawn(memory, np.random.default_rng(seed)) for seed in range(5)]
    at = np.array([-1.0, 0.0, 0.7])
    # E sin(2 z) for z normal about x with standard deviation 1 / 2
    truth = np.exp(-0.5) * np.sin(2 * at)
    found = np.mean([model.mean({"X": at}) for model in models], 0)
    assert found == pytest.approx(truth, abs=0.12)


def test_runs_play_alone_as_in_company_and_after_being_saved():
    env = make_env("ToyGraph")
    agent = CausalBayesianOptimisation.for_env(env).start(seed=0)
    log = env.see(50, seed=1)
    agent.observe({name: log[name].numpy() for name in log})
    played(agent, env, 3)
    again = agent.load_state_dict(agent.state_dict())
    assert played(agent, env, 3) == played(again, env, 3)

    both = CausalBayesianOptimisation.for_env(env).start(2, seed=0)
    one = CausalBayesianOptimisation.for_env(env).start(1, seed=0)
    assert both.act()["Z"][:1] == pytest.approx(one.act()["Z"])


@pytest.mark.slow
def test_the_diagram_is_worth_its_while_on_the_toy_graph():
    env = make_env("ToyGraph")
    total = []
    for seed in range(4):
        agent = CausalBayesianOptimisation.for_env(env).start(seed=seed)
        log = env.see(100, seed=seed)
        agent.observe({name: log[name].numpy() for name in log})
        actions = played(agent, env, 60)
        total.append(sum(float(env.oracle.regret(None, action)) for action in actions))
    assert np.mean(total) < 60  # random: 93; the agent: about 30, standard deviation of a run 13


def test_only_sets_that_can_matter_are_tried():
    assert CausalBayesianOptimisation(CHAIN, BOX, "Y").tried == (1,)
    assert CausalBayesianOptimisation(CHAIN, BOX, "Y", sets="MIS").tried == (0, 1)
    assert CausalBayesianOptimisation(CHAIN, [*BOX, {"X": 0.0, "Z": (-3.0, 3.0)}], "Y").tried == (
        1,
    )


def test_what_cannot_be_done_is_refused():
    with pytest.raises(QueryError, match="W is not in the diagram"):
        CausalBayesianOptimisation(CHAIN, [{"W": (0.0, 1.0)}], "Y")
    with pytest.raises(QueryError, match="expected finite bounds"):
        CausalBayesianOptimisation(CHAIN, [{"Z": (1.0, 0.0)}], "Y")
    with pytest.raises(QueryError, match="expected the same ones"):
        CausalBayesianOptimisation(CHAIN, [{"Z": (0.0, 1.0)}, {"X": 0.0, "Z": (0.0, 2.0)}], "Y")
    with pytest.raises(QueryError, match="no arm leaves a value open"):
        CausalBayesianOptimisation(CHAIN, [{"Z": 1.0}], "Y")
    with pytest.raises(QueryError, match="no arm sets one of the POMIS"):
        CausalBayesianOptimisation(ADMG.parse("X -> Z -> Y"), [{"X": (0.0, 1.0), "Z": 1.0}], "Y")
    with pytest.raises(QueryError, match="expected 'all', 'MIS' or 'POMIS'"):
        CausalBayesianOptimisation(CHAIN, BOX, "Y", sets="some")
    agent = CausalBayesianOptimisation(CHAIN, BOX, "Y").start(seed=0)
    with pytest.raises(DataError, match="nothing is said of Y"):
        agent.observe({"X": np.zeros(3), "Z": np.zeros(3)})
    with pytest.raises(DataError, match="W was set in the log"):
        agent.observe(chain_rows(3, 0), do=("W",))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"action": {"set": np.int64(-1), "X": 1.0, "Z": 0.0}}, "expected 0 to 1"),
        ({"action": {"set": np.int64(2), "X": 1.0, "Z": 0.0}}, "expected 0 to 1"),
        ({"action": {"set": 0.9, "X": 1.0, "Z": 0.0}}, "expected 0 to 1"),
        ({"action": {"set": np.int64(0), "X": 0.5, "Z": 0.0}}, "X is 1; expected 0.5"),
        ({"reward": 3.0}, "the reward is 3; expected 2, which is Y"),
        ({"reward": np.nan}, "the reward is nan"),
        ({"values": {"X": 1.0, "Z": np.nan, "Y": 2.0}}, "Z has a missing or infinite value"),
    ],
    ids=["negative", "too large", "cut", "other value", "other reward", "no reward", "no value"],
)
def test_what_cannot_have_happened_is_refused(change, words):
    agent = CausalBayesianOptimisation(CHAIN, BOX, "Y", sets="all").start(seed=0)
    told = {"action": {"set": np.int64(0), "X": 1.0, "Z": 0.0}, "reward": 2.0}
    told["values"] = {"X": 1.0, "Z": 0.3, "Y": 2.0}
    with pytest.raises(DataError, match=words):
        agent.update(Transition(**{**told, **change}))
    agent.update(Transition(**told))


@pytest.mark.parametrize(
    "column", [[0.0, np.nan], [0.0], ["a", "b"]], ids=["nan", "short", "words"]
)
def test_a_log_that_is_no_table_is_refused(column):
    agent = CausalBayesianOptimisation(CHAIN, BOX, "Y").start(seed=0)
    with pytest.raises(DataError, match=r"missing|shapes|other things"):
        agent.observe({"X": [0.0, 1.0], "Z": column, "Y": [0.0, 1.0]})


@pytest.mark.slow
def test_fits_do_without_the_compiler_of_torch():
    code = (
        "import sys, numpy as np\n"
        "from causalppl.agents.gp_mechanism import GPMechanism, Rows\n"
        "rows = {'Z': np.arange(6.0), 'Y': np.arange(6.0) ** 2}\n"
        "rows = Rows(rows, {name: np.zeros(6, dtype=bool) for name in rows})\n"
        "mechanism = GPMechanism('Y', ('Z',), {}, {'Z': (0.0, 5.0)})\n"
        "mechanism.fit(rows, mechanism.fresh())\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
