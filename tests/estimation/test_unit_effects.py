"""Effects of units: on IHDP against EconML, on simulations against the truth."""

import time

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import LinearRegression, LogisticRegression

from causalppl import ADMG, identify
from causalppl.data import load_ihdp
from causalppl.estimation.unit_effects import unit_effects
from causalppl.exceptions import DataError, OverlapWarning, QueryError

GRAPH = ADMG.parse("{Z0, Z1} -> X; {Z0, Z1} -> Y; X -> Y")
LINE = LinearRegression()


def draw(rng, rows=400, effect=lambda z: 1 + 2 * z[:, 0], chance=None):
    z = rng.normal(size=(rows, 2))
    p = 1 / (1 + np.exp(-z[:, 1] / 2)) if chance is None else np.full(rows, chance)
    x = (rng.random(rows) < p).astype(int)
    y = z[:, 0] + z[:, 1] + effect(z) * x + rng.normal(size=rows)
    return {"Z0": z[:, 0], "Z1": z[:, 1], "X": x, "Y": y}, effect(z)


def asked(query="ATE(X -> Y)"):
    return identify(GRAPH, query)


@pytest.fixture(scope="module")
def strong():
    data, truth = draw(np.random.default_rng(0), 300)
    return data, truth, unit_effects(asked(), data, folds=2, seed=0)


def test_strong_differences_are_found(strong):
    _, truth, found = strong
    assert np.sqrt(np.mean((found.effects - truth) ** 2)) < 0.5
    assert found.is_heterogeneous
    assert abs(found.calibration[0] - 1) < 4 * found.calibration[1]
    assert found.losses[found.learner] == min(found.losses.values())


def test_intervals_of_units_hold_most_effects():
    shares = []
    for seed in range(6):
        data, truth = draw(np.random.default_rng(seed), 300)
        low, high = unit_effects(asked(), data, learner=LINE, folds=3, seed=0).interval()
        shares.append(np.mean((low <= truth) & (truth <= high)))
    assert np.mean(shares) > 0.85


def test_averages_hold_the_truth(strong):
    data, truth, found = strong
    for estimate, value in (
        (found.ate, truth.mean()),
        (found.att, truth[data["X"] == 1].mean()),
    ):
        low, high = estimate.interval(0.999)
        assert low < value < high
    assert float(found.average) == float(found.ate)


def test_results_say_what_was_found(strong):
    found = strong[2]
    table = found.to_frame()
    assert list(table.columns) == ["effect", "error", "low", "high"]
    assert table.index.tolist() == list(range(300))
    summary = found.summary()
    assert_allclose(summary.loc[str(found.ate.query), "estimate"], float(found.ate))
    assert not summary.isna().any().any()
    assert_allclose(found.quantiles()[0.5], np.median(found.effects))
    assert "averages over all rows" in repr(found)
    text = found.interpret()
    assert found.learner in text
    assert "effects differ" in text
    assert any(sentence.startswith("positivity") for sentence in found.assumptions)


def test_the_picture_shows_effects_in_order(strong):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    ax = strong[2].plot()
    assert (np.diff(ax.lines[0].get_ydata()) >= 0).all()
    assert_allclose(ax.lines[0].get_ydata()[-1], strong[2].effects.max())
    pyplot.close(ax.figure)


def test_with_one_linear_learner_all_candidates_agree_with_regressions_by_arm():
    data, _ = draw(np.random.default_rng(1), 300)
    found = unit_effects(asked(), data, learner=LINE, seed=0)
    matrix, x = np.c_[data["Z0"], data["Z1"]], data["X"]
    arms = [LinearRegression().fit(matrix[x == a], data["Y"][x == a]) for a in (0, 1)]
    by_hand = arms[1].predict(matrix) - arms[0].predict(matrix)
    assert_allclose(found.effects, by_hand, atol=0.25)
    learners = {f"{kind}-learner, LinearRegression" for kind in ("T", "S", "X", "DR")}
    assert set(found.losses) == {"constant", *learners}


def test_one_effect_for_all_is_not_split_up():
    held = []
    for seed in range(6):
        data, _ = draw(np.random.default_rng(seed), 300, effect=lambda z: np.full(len(z), 2.0))
        found = unit_effects(asked(), data, learner=LINE, seed=0)
        held.append(found.is_heterogeneous)
        assert np.abs(found.effects - 2).max() < 1.5
    assert sum(held) <= 1


def test_units_may_be_others_and_categories_are_matched_by_name():
    rng = np.random.default_rng(2)
    kind = rng.choice(["a", "b", "c"], 400)
    x = rng.integers(0, 2, 400)
    effect = pd.Series(kind).map({"a": 0.0, "b": 2.0, "c": 4.0}).to_numpy()
    data = {"Z": kind, "X": x, "Y": effect * x + 0.3 * rng.normal(size=400)}
    estimand = identify(ADMG.parse("Z -> X -> Y; Z -> Y"), "ATE(X -> Y)")
    found = unit_effects(estimand, data, units={"Z": ["c", "a", "c"]}, learner=LINE, seed=0)
    assert_allclose(found.effects, [4, 0, 4], atol=0.25)
    with pytest.raises(DataError, match="'d'"):
        unit_effects(estimand, data, units={"Z": ["d"]}, learner=LINE, seed=0)
    with pytest.raises(DataError, match="missing in some units"):
        unit_effects(estimand, data, units={"Z": ["a", None]}, learner=LINE, seed=0)


def test_two_of_three_values_are_compared_in_all_rows():
    rng = np.random.default_rng(3)
    z = rng.normal(size=900)
    x = rng.integers(0, 3, 900)
    data = {"Z": z, "X": x, "Y": z + x**2 * (1 + z) + 0.5 * rng.normal(size=900)}
    estimand = identify(ADMG.parse("Z -> X -> Y; Z -> Y"), "ATE(X: 2 vs 1 -> Y)")
    found = unit_effects(estimand, data, learner=LINE, seed=0)
    assert len(found.effects) == 900
    assert_allclose(found.effects, 3 * (1 + z), atol=0.7)
    low, high = found.ate.interval(0.999)
    assert low < 3 * (1 + z.mean()) < high


def test_the_answer_to_the_query_is_about_its_own_population():
    data, truth = draw(np.random.default_rng(10), 400)
    treated = unit_effects(asked("ETT(X -> Y)"), data, learner=LINE, seed=0)
    assert float(treated.average) == float(treated.att)
    assert float(treated.ate) != float(treated.att)
    data["Z1"] = (data["Z1"] > 0).astype(int)
    stratum = unit_effects(asked("CATE(X -> Y | Z1=1)"), data, learner=LINE, seed=0)
    low, high = stratum.average.interval(0.999)
    assert low < truth[data["Z1"] == 1].mean() < high
    assert float(stratum.average) != float(stratum.ate)


def test_incomplete_rows_are_left_out_and_rows_keep_their_numbers():
    data, _ = draw(np.random.default_rng(4), 200)
    data["Y"][3] = data["Z0"][5] = np.nan
    found = unit_effects(asked(), data, learner=LINE, seed=0)
    assert found.rows.tolist() == [row for row in range(200) if row not in (3, 5)]
    assert found.ate.num_dropped == 2


def test_the_same_seed_gives_the_same_effects_in_any_order_of_columns():
    data, _ = draw(np.random.default_rng(5), 200)
    one = unit_effects(asked(), data, learner=LINE, seed=7)
    turned = dict(reversed(data.items()))
    assert_allclose(unit_effects(asked(), turned, learner=LINE, seed=7).effects, one.effects)
    assert one.diagnostics["seed"] == 7


def test_a_level_has_no_effects_of_units():
    data, _ = draw(np.random.default_rng(6), 100)
    with pytest.raises(QueryError, match="no effect of two values"):
        unit_effects(asked("E[Y | do(X=1)]"), data, seed=0)


def test_a_dose_has_no_two_values():
    data, _ = draw(np.random.default_rng(6), 100)
    data["X"] = data["X"] + np.random.default_rng(0).normal(size=100)
    with pytest.raises(DataError, match="takes 100 values"):
        unit_effects(asked("ATE(X: 1 vs 0 -> Y)"), data, seed=0)


def test_without_covariates_units_cannot_be_told_apart():
    data, _ = draw(np.random.default_rng(7), 100)
    estimand = identify(ADMG.parse("X -> Y"), "ATE(X -> Y)")
    with pytest.raises(QueryError, match="cannot be told apart"):
        unit_effects(estimand, data, seed=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folds": 1}, "folds is 1; expected a whole number from 2"),
        ({"folds": 2.5}, "folds is 2.5"),
        ({"folds": True}, "folds is True"),
        ({"seed": "a"}, "seed is 'a'"),
        ({"seed": -1}, "seed is -1"),
        ({"units": {"Z0": [], "Z1": []}}, "no rows"),
    ],
    ids=["one fold", "part", "truth", "text seed", "negative seed", "no units"],
)
def test_settings_are_refused_by_name(settings, message):
    data, _ = draw(np.random.default_rng(6), 100)
    with pytest.raises(DataError, match=message):
        unit_effects(asked(), data, **{"seed": 0} | settings)


def test_three_hundred_rows_take_seconds():
    data, _ = draw(np.random.default_rng(11), 300)
    unit_effects(asked(), data, learner=LINE, seed=0)  # imports
    start = time.process_time()
    unit_effects(asked(), data, seed=0)
    assert time.process_time() - start < 6


def test_poor_overlap_warns():
    data, _ = draw(np.random.default_rng(8), 400, chance=0.02)
    data["X"] = ((data["Z1"] > 1.0) | (np.random.default_rng(1).random(400) < 0.02)).astype(int)
    with pytest.warns(OverlapWarning, match="overlap is poor"):
        unit_effects(asked(), data, learner=LINE, folds=3, seed=0)


@pytest.mark.slow
def test_average_intervals_hold_the_truth_as_often_as_they_say(monkeypatch):
    # lean: the treatment is known to be logistic, and errors of units are not looked at
    folder = "causalppl.estimation"
    chosen = LogisticRegression()
    monkeypatch.setattr(f"{folder}.effect_sample.choose_learner", lambda *_, **__: chosen)
    monkeypatch.setattr(f"{folder}.effect_choice.HALVES", 1)
    rng, held, question = np.random.default_rng(9), np.zeros(2), asked()
    for _ in range(500):
        data, _ = draw(rng, 250)
        found = unit_effects(question, data, learner=LINE, folds=3, seed=0)
        # E[Z0] is 0 in all, and in the treated, as the treatment depends on Z1 alone
        for place, estimate in enumerate((found.ate, found.att)):
            low, high = estimate.interval()
            held[place] += low < 1 < high
    assert ((held / 500 >= 0.93) & (held / 500 <= 0.97)).all()


# sqrt PEHE and error of the effect on the treated, by realisation, as benchmarks/ihdp.py measured:
# of the sixteen learners of EconML 0.17.0 the smallest sqrt PEHE in each, and the mean error of the
# effect on the treated of the learner with the smallest mean sqrt PEHE (domain adaptation)
ECONML_PEHE = (0.719, 1.009, 1.192)
ECONML_ATT = 0.134


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:overlap is poor")
def test_ihdp_is_at_or_below_the_best_learner_of_econml():
    data, errors = load_ihdp(), []
    covariates = ", ".join(data.columns[1:26])
    treated = data["treat"].to_numpy() == 1
    for r, limit in enumerate(ECONML_PEHE):
        arrows = f"{{{covariates}}} -> treat; {{{covariates}}} -> y_b{r}; treat -> y_b{r}"
        found = unit_effects(identify(ADMG.parse(arrows), f"ATE(treat -> y_b{r})"), data, seed=0)
        truth = (data[f"mu1_b{r}"] - data[f"mu0_b{r}"]).to_numpy()
        assert np.sqrt(np.mean((found.effects - truth) ** 2)) <= limit
        assert found.is_heterogeneous
        errors.append(abs(found.effects[treated].mean() - truth[treated].mean()))
    assert np.mean(errors) <= ECONML_ATT
