"""Linear Gaussian beliefs: against closed forms, and against draws of a simulated model."""

import numpy as np
import pytest

from causalppl.agents import ThompsonSampling, Transition
from causalppl.agents.choice import Choice
from causalppl.agents.linear_gaussian_engine import LinearGaussian
from causalppl.exceptions import AssumptionError, DataError
from causalppl.graphs import ADMG

CHAIN = ADMG.parse("Z -> X -> M -> Y; X -> Y; Z -> Y")
CONFOUNDED = ADMG.parse("Z -> X -> Y; X <-> Y")
RAW = {"is_standardised": False}
ARMS = ({}, {"X": -1.5}, {"X": 2.0}, {"X": 1.0, "M": -1.0}, {"Z": 1.0})


def begun(graph, arms, runs, seed=0, **options):
    choice = Choice(graph, tuple(arms), "Y", (), {})
    return LinearGaussian(**options).begin(choice, [np.random.default_rng(seed)], runs)


def linear_rows(count, seed):
    rng = np.random.default_rng(seed)
    z, noise = rng.normal(size=count), rng.normal(size=(3, count))
    x = 0.8 * z + noise[0]
    m = 1 - 0.5 * x + 0.5 * noise[1]
    return {"Z": z, "X": x, "M": m, "Y": 0.7 * x + m - z + 0.3 * noise[2]}


def confounded_rows(count, seed, x=None, strength=0.8):
    rng = np.random.default_rng(seed)
    u, z, noise = rng.normal(size=count), rng.normal(size=count), rng.normal(size=(2, count))
    natural = strength * z + u + 0.3 * noise[0]
    found = natural if x is None else np.full(count, x)
    return {"Z": z, "X": found, "Y": -found + 2 * u + 0.3 * noise[1]}


def many(rows, runs):
    return {name: np.broadcast_to(value, (runs, len(value))) for name, value in rows.items()}


def test_one_regression_is_the_closed_form():
    graph, rng = ADMG.parse("X -> Y"), np.random.default_rng(1)
    x = rng.normal(size=12)
    y = 1 + 2 * x + 0.5 * rng.normal(size=12)
    engine = {"effect_scale": 3.0, "level_scale": 4.0, "shape": 2.0, "rate": 0.7, **RAW}
    belief = begun(graph, [{"X": 0.0}, {"X": 1.0}], 40_000, **engine)
    belief.read(many({"X": x, "Y": y}, 40_000), frozenset({"X"}))
    design = np.stack([np.ones(12), x], 1)
    precision = design.T @ design + np.diag([4.0**-2, 3.0**-2])
    mean = np.linalg.solve(precision, design.T @ y)
    shape, rate = 2.0 + 6, 0.7 + (y @ y - mean @ precision @ mean) / 2
    # coefficients are Student's t with 2 shape degrees of freedom
    covariance = rate / (shape - 1) * np.linalg.inv(precision)
    drawn = belief.effects[:, belief.nodes.index("Y"), :2]
    error = np.sqrt(np.diag(covariance) / 40_000)
    assert drawn.mean(0) == pytest.approx(mean, abs=4.5 * error.max())
    assert np.cov(drawn.T) == pytest.approx(covariance, rel=0.06)
    variances = belief.variances["Y", ()]
    assert variances.mean() == pytest.approx(rate / (shape - 1), rel=0.02)
    means = belief.average()[0, 0]
    assert means == pytest.approx([mean[0], mean.sum()], abs=1e-9)


def test_one_regression_in_units_of_its_rows_is_the_closed_form():
    graph, rng = ADMG.parse("X -> Y"), np.random.default_rng(1)
    x = rng.normal(size=12)
    y = 1000 + 20 * x + 5 * rng.normal(size=12)
    arms = [{"X": 0.0}, {"X": 3.0}]  # the unit of X: mean 1.5, standard deviation 1.5
    belief = begun(graph, arms, 3)
    belief.read(many({"X": x, "Y": y}, 3), frozenset({"X"}))
    design = np.stack([np.ones(12), (x - 1.5) / 1.5], 1)
    z = (y - y.mean()) / y.std(ddof=1)
    precision = design.T @ design + np.diag([5.0**-2, 2.0**-2])
    mean = np.linalg.solve(precision, design.T @ z)
    expected = y.mean() + y.std(ddof=1) * np.array([mean[0] - mean[1], mean[0] + mean[1]])
    assert belief.average()[:, 0] == pytest.approx(np.tile(expected, (3, 1)), rel=1e-9)


def test_arms_are_worth_what_units_of_the_drawn_model_earn():
    belief = begun(CHAIN, ARMS, 3, **RAW)
    belief.read(many(linear_rows(20, 2), 3), frozenset())
    found, rng = belief.draw()[:, 0], np.random.default_rng(3)
    count = 200_000
    for run in range(3):
        for number, arm in enumerate(ARMS):
            units = np.zeros((count, 1 + len(belief.nodes)))
            units[:, 0] = 1
            for place, name in enumerate(belief.nodes):
                sd = np.sqrt(belief.variances[name, ()][run])
                natural = units @ belief.effects[run, place] + sd * rng.normal(size=count)
                units[:, 1 + place] = arm.get(name, natural)
            y = units[:, 1 + belief.nodes.index("Y")]
            error = y.std() / np.sqrt(count)
            assert found[run, number] == pytest.approx(y.mean(), abs=4.5 * error)


def test_rows_in_which_a_variable_was_set_say_nothing_of_its_mechanism():
    belief, rows = begun(CHAIN, ARMS, 2, **RAW), many(linear_rows(30, 4), 2)
    place = belief.nodes.index("X")
    belief.read(rows, frozenset({"X"}))
    belief._sweep(mean=True)
    assert belief.effects[:, place] == pytest.approx(np.zeros((2, 5)), abs=1e-12)
    belief.read(rows, frozenset({"M"}))
    belief._sweep(mean=True)
    slope = belief.effects[0, place, 1 + belief.nodes.index("Z")]
    z, x = rows["Z"][0], rows["X"][0]
    design = np.stack([np.ones(30), z], 1)
    precision = design.T @ design + np.diag([1 / 25, 1 / 4])
    assert slope == pytest.approx(np.linalg.solve(precision, design.T @ x)[1])


def test_rows_one_by_one_are_a_log():
    one, log = begun(CHAIN, ARMS, 2), begun(CHAIN, ARMS, 2)
    rows = linear_rows(10, 5)
    for k in range(10):
        one.learn({n: np.full(2, v[k]) for n, v in rows.items()}, np.array([2, 2]))
    log.read(many(rows, 2), frozenset({"X"}))
    assert one.average() == pytest.approx(log.average())


def test_an_instrument_tells_an_effect_from_a_hidden_cause():
    belief = begun(CONFOUNDED, [{"X": 0.0}, {"X": 1.0}], 200)
    rows = confounded_rows(4000, 6)
    assert np.polyfit(rows["X"], rows["Y"], 1)[0] > 0  # what is naive is wrong
    belief.read(many(rows, 200), frozenset())
    drawn = belief.draw()[:, 0]
    effect = drawn[:, 1] - drawn[:, 0]
    covariance = np.cov(rows["Z"], rows["Y"])[0, 1] / np.cov(rows["Z"], rows["X"])[0, 1]
    assert effect.mean() == pytest.approx(covariance, abs=0.03)  # two stages' estimate
    assert effect.mean() == pytest.approx(-1, abs=4 * effect.std())


def test_without_an_instrument_a_natural_log_leaves_the_effect_open():
    bow = ADMG.parse("X -> Y; X <-> Y")
    rows = confounded_rows(4000, 7, strength=0.0)
    del rows["Z"]
    belief = begun(bow, [{"X": 0.0}, {"X": 1.0}], 400)
    belief.read(many(rows, 400), frozenset())
    drawn = belief.draw()[:, 0]
    effect = drawn[:, 1] - drawn[:, 0]
    assert (effect < -0.5).mean() > 0.1
    assert (effect > 0.5).mean() > 0.1
    done = confounded_rows(400, 8, x=1.0, strength=0.0)
    del done["Z"]
    belief.read(many(done, 400), frozenset({"X"}))
    assert belief.draw()[:, 0, 1].mean() == pytest.approx(done["Y"].mean(), abs=0.1)


def test_play_finds_the_best_arm():
    arms = [{"X": -1.0}, {"X": 1.0}]
    levels = {"X": (-1.0, 1.0)}
    agent = ThompsonSampling(CONFOUNDED, arms, "Y", levels=levels, engine=LinearGaussian())
    playing = agent.start(16, seed=0)
    for step in range(60):
        action = playing.act()
        x = np.where(action == 0, -1.0, 1.0)
        rows = confounded_rows(16, 100 + step, x=x)
        playing.update(Transition(action, rows["Y"], rows))
    assert playing.recommend().tolist() == [0] * 16


def test_a_saved_agent_goes_on_as_it_would_have():
    arms, levels = [{"X": -1.0}, {"X": 1.0}], {"X": (-1.0, 1.0)}
    agent = ThompsonSampling(CONFOUNDED, arms, "Y", levels=levels, engine=LinearGaussian())
    playing = agent.start(10, seed=1)

    def play(player, steps):
        found = []
        for step in range(steps):
            action = player.act()
            rows = confounded_rows(10, 100 + step, x=np.where(action == 0, -1.0, 1.0))
            player.update(Transition(action, rows["Y"], rows))
            found.append(action.tolist())
        return found

    play(playing, 3)
    again = playing.load_state_dict(playing.state_dict())
    assert play(playing, 5) == play(again, 5)


def test_runs_do_not_depend_on_company():
    arms, levels = [{"X": -1.0}, {"X": 1.0}], {"X": (-1.0, 1.0)}
    agent = ThompsonSampling(CONFOUNDED, arms, "Y", levels=levels, engine=LinearGaussian())
    few, more = agent.start(8, seed=2), agent.start(24, seed=2)
    assert few.belief.draw() == pytest.approx(more.belief.draw()[:8])


def test_what_cannot_be_done_is_refused():
    choice = Choice(CONFOUNDED, ({"X": 1.0},), "Y", ("Z",), {})
    with pytest.raises(AssumptionError, match="Z is seen before acting"):
        LinearGaussian().begin(choice, [np.random.default_rng(0)], 1)
    belief = begun(CONFOUNDED, [{"X": 1.0}], 1)
    with pytest.raises(DataError, match="not finite"):
        belief.read({n: np.array([[np.nan]]) for n in "ZXY"}, frozenset())
