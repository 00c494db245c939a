"""Values of policies: simulated bandits whose truth is known, a published log, and refusals."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression

from causalppl.data.datasets import load_obd_women
from causalppl.estimation.policy_value import (
    PolicyDM,
    PolicyDR,
    PolicyIPW,
    PolicyMethod,
    PolicySNIPW,
    PolicySwitchDR,
    policy_value,
)
from causalppl.exceptions import AssumptionError, DataError, OverlapWarning, QueryError

CITIES = ("north", "south")
ACTIONS = ("a", "b", "c")
MEANS = np.array([[0.2, 0.5, 0.7], [0.9, 0.4, 0.1]])  # of the reward, by city and action
LOGGED = np.array([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]])
TARGET = np.array([[0.2, 0.2, 0.6], [0.5, 0.5, 0.0]])
SHARE = np.array([0.4, 0.6])
VALUE = float(SHARE @ (TARGET * MEANS).sum(axis=1))
POLICY = {
    "city": np.repeat(CITIES, 3).tolist(),
    "action": list(ACTIONS) * 2,
    "probability": TARGET.ravel().tolist(),
}
CODED_POLICY = {**POLICY, "city": [0] * 3 + [1] * 3, "action": [0, 1, 2] * 2}
ALL = [PolicyIPW(), PolicySNIPW(), PolicyDM(num_bootstrap=40), PolicyDR(), PolicySwitchDR()]


def coded_bandit(num_rows: int, seed: int) -> pd.DataFrame:
    """Rewards are 0 or 1."""
    rng = np.random.default_rng(seed)
    city = rng.choice(2, size=num_rows, p=SHARE)
    action = (rng.random(num_rows)[:, None] > LOGGED[city].cumsum(axis=1)).sum(axis=1)
    reward = (rng.random(num_rows) < MEANS[city, action]).astype(int)
    propensity = LOGGED[city, action]
    return pd.DataFrame(
        {"city": city, "action": action, "reward": reward, "propensity": propensity}
    )


def bandit(num_rows: int, seed: int) -> pd.DataFrame:
    """The same in words."""
    log = coded_bandit(num_rows, seed)
    words = {"city": np.array(CITIES)[log["city"]], "action": np.array(ACTIONS)[log["action"]]}
    return log.assign(**words)


def smooth_bandit(num_rows: int, seed: int, tilt: float = 1.0) -> tuple[pd.DataFrame, float]:
    """One number as context, two actions, normal rewards; the value of always 1 is 1.5."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=num_rows)
    chance = 1 / (1 + np.exp(-tilt * x))
    action = (rng.random(num_rows) < chance).astype(int)
    reward = action * (1 + 0.5 * x**2) - x + rng.normal(size=num_rows)
    frame = pd.DataFrame(
        {"x": x, "arm": action, "gain": reward, "p": np.where(action, chance, 1 - chance)}
    )
    return frame, 1.5


def always_one(contexts: pd.DataFrame, actions: tuple[Any, ...]) -> Any:
    return np.tile([float(action == 1) for action in actions], (len(contexts), 1))


def item_frequency(rows: pd.DataFrame) -> pd.DataFrame:
    counts = rows.groupby(["position", "item_id"]).size().rename("probability").reset_index()
    counts["probability"] /= counts.groupby("position")["probability"].transform("sum")
    return counts


def test_open_bandit_women() -> None:
    data = load_obd_women()
    by_chance, by_bts = (data[data["policy"] == name] for name in ("random", "bts"))
    names: Any = {"action": "item_id", "reward": "click"}
    found = policy_value(by_chance, item_frequency(by_bts), **names, method=PolicyIPW())
    assert f"{float(found):.4f}" == "0.0058"
    assert f"{float(found.standard_error):.4f}" == "0.0012"
    assert found.ess == pytest.approx(3492, abs=0.5)
    assert str(found.query) == "E[click]"
    target = item_frequency(by_chance)
    with (
        pytest.warns(OverlapWarning, match=r"effective sample size is 2\.03 of 10000"),
        pytest.raises(AssumptionError, match="force an answer with minimum_ess=0"),
    ):
        policy_value(by_bts, target, **names)
    with pytest.warns(OverlapWarning):
        forced = policy_value(by_bts, target, **names, method=PolicyIPW(), minimum_ess=0)
    assert "hardly overlap" in forced.interpret()


@pytest.mark.parametrize("method", ALL, ids=lambda method: method.name)
def test_a_large_log_gives_the_value(method: PolicyMethod) -> None:
    found = policy_value(bandit(40_000, 0), POLICY, method=method, seed=0)
    assert float(found) == pytest.approx(VALUE, abs=4 * float(found.standard_error))
    assert float(found.standard_error) < 0.008
    assert found.influence is not None
    assert float(found.influence.mean()) == pytest.approx(0, abs=1e-9)
    assert (found.ess is None) == isinstance(method, PolicyDM)
    assert found.diagnostics["mean_weight"] == pytest.approx(1, abs=0.05)


def test_weights_and_errors_are_the_formulas() -> None:
    log = bandit(500, 1)
    rows = [CITIES.index(city) for city in log["city"]]
    columns = [ACTIONS.index(action) for action in log["action"]]
    weight = TARGET[rows, columns] / log["propensity"].to_numpy()
    plain = policy_value(log, POLICY, method=PolicyIPW())
    each = weight * log["reward"].to_numpy()
    assert float(plain) == pytest.approx(each.mean(), rel=1e-5)
    assert float(plain.standard_error) == pytest.approx(each.std(ddof=1) / np.sqrt(500), rel=1e-5)
    assert plain.ess == pytest.approx(weight.sum() ** 2 / (weight**2).sum(), rel=1e-5)
    normalised = policy_value(log, POLICY, method=PolicySNIPW())
    assert float(normalised) == pytest.approx(each.sum() / weight.sum(), rel=1e-5)


def test_a_saturated_direct_method_is_the_table_of_means() -> None:
    log = bandit(3000, 2)
    means = log.groupby(["city", "action"])["reward"].mean().to_numpy().reshape(2, 3)
    share = log["city"].value_counts(normalize=True).sort_index().to_numpy()
    found = policy_value(log, POLICY, method=PolicyDM(num_bootstrap=20), seed=0)
    assert float(found) == pytest.approx(share @ (TARGET * means).sum(axis=1), abs=2e-3)


def test_a_policy_may_be_a_function() -> None:
    log = bandit(2000, 3)

    def policy(contexts: pd.DataFrame, actions: tuple[Any, ...]) -> Any:
        assert actions == ACTIONS
        return TARGET[[CITIES.index(city) for city in contexts["city"]]]

    table = policy_value(log, POLICY, method=PolicyDR(), seed=0)
    function = policy_value(log, policy, method=PolicyDR(), seed=0)
    assert float(function) == pytest.approx(float(table), rel=1e-6)


def test_doubly_robust_forgives_a_wrong_model_and_uses_a_good_one() -> None:
    log, truth = smooth_bandit(20_000, 4)
    names: Any = {"action": "arm", "reward": "gain", "propensity": "p"}
    wrong = PolicyDR(model=DummyRegressor(strategy="constant", constant=-5.0))
    poor = policy_value(log, always_one, **names, method=wrong, seed=0)
    good = policy_value(log, always_one, **names, method=PolicyDR(), seed=0)
    weighted = policy_value(log, always_one, **names, method=PolicyIPW(), seed=0)
    for found in (poor, good, weighted):
        assert float(found) == pytest.approx(truth, abs=4 * float(found.standard_error))
    assert float(good.standard_error) < float(weighted.standard_error)
    direct = policy_value(
        log, always_one, **names, method=PolicyDM(model=wrong.model, num_bootstrap=2)
    )
    assert float(direct) == -5.0


def test_switching_trades_variance_for_the_model() -> None:
    log, _ = smooth_bandit(4000, 5)
    names: Any = {"action": "arm", "reward": "gain", "propensity": "p"}
    model = LinearRegression()
    free = policy_value(log, always_one, **names, method=PolicyDR(model), seed=0)
    never = policy_value(
        log, always_one, **names, method=PolicySwitchDR(model, threshold=1e9), seed=0
    )
    some = policy_value(
        log,
        always_one,
        **names,
        method=PolicySwitchDR(model, threshold=3, num_bootstrap=20),
        seed=0,
    )
    assert float(never) == float(free)
    assert never.diagnostics["switched_mass"] == 0
    assert float(some.standard_error) < float(free.standard_error)
    # the policy leaves to the model the x at which 1 is taken with a chance below 1 / 3
    assert some.diagnostics["switched_mass"] == pytest.approx(0.244, abs=0.03)


def test_a_slate_is_worth_the_sum_of_its_positions() -> None:
    rng = np.random.default_rng(6)
    slates, quality = 4000, rng.normal(size=4000)  # shared by both positions of a slate
    log = pd.DataFrame(
        {
            "request": np.repeat(np.arange(slates), 2),
            "position": np.tile([1, 2], slates),
            "action": rng.integers(0, 2, 2 * slates),
            "propensity": 0.5,
        }
    )
    log["reward"] = log["action"] * log["position"] + np.repeat(quality, 2)
    policy = {"position": [1, 1, 2, 2], "action": [0, 1] * 2, "probability": [0.5, 0.5, 0.2, 0.8]}
    found = policy_value(log, policy, slate="request", method=PolicyDR(), seed=0)
    assert float(found) == pytest.approx(0.5 + 1.6, abs=4 * float(found.standard_error))
    assert found.influence is not None
    assert found.influence.shape == (slates,)
    apart = policy_value(log, policy, method=PolicyDR(), seed=0)
    assert float(apart) == pytest.approx(float(found) / 2, abs=0.02)
    # the shared part makes the error of the sum larger than if rows were independent
    assert float(found.standard_error) > 1.2 * 2 * float(apart.standard_error)
    assert "a position's reward depends on its own action alone" in found.assumptions


def test_actions_never_logged_are_told() -> None:
    log = bandit(400, 7)
    log = log[log["action"] != "c"]
    for method in ALL:
        with pytest.raises(AssumptionError, match=r"never logged.*allow_unlogged=True"):
            policy_value(log, POLICY, method=method, seed=0)
    found = policy_value(log, POLICY, method=PolicySNIPW(), allow_unlogged=True)
    assert found.diagnostics["unlogged_mass"] > 0.1
    assert "actions never logged" in found.interpret()


def test_a_share_that_is_rounding_is_no_unlogged_action() -> None:
    log = {"action": ["a", "b"] * 50, "reward": [1, 0] * 50, "propensity": [0.5] * 100}
    policy = {"action": list(ACTIONS), "probability": [0.5, 0.5 - 1e-6, 1e-6]}
    assert policy_value(log, policy, method=PolicyIPW()).diagnostics["unlogged_mass"] == 1e-6


def test_the_direct_method_warns_of_poor_overlap_and_answers() -> None:
    rng = np.random.default_rng(3)
    action = (rng.random(400) < 0.02).astype(int)
    log = {"action": action, "reward": rng.random(400), "propensity": np.where(action, 0.02, 0.98)}
    with pytest.warns(OverlapWarning, match="hardly overlap"):
        found = policy_value(log, {"action": [1], "probability": [1.0]}, method=PolicyDM())
    assert found.ess is None


def test_incomplete_rows_are_counted() -> None:
    log = bandit(400, 8).astype({"reward": float})
    log.loc[log.index[:5], "reward"] = np.nan
    found = policy_value(log, POLICY, method=PolicyIPW())
    assert (found.num_rows, found.num_dropped) == (395, 5)


def test_weights_that_do_not_average_one_are_told() -> None:
    """Both of two actions with a chance of 0.1: no policy logs so."""
    rng = np.random.default_rng(12)
    log = {"action": rng.integers(0, 2, 500), "reward": rng.random(500), "propensity": [0.1] * 500}
    policy = {"action": [0, 1], "probability": [0.5, 0.5]}
    for method in (PolicyIPW(), PolicySNIPW(), PolicyDR(), PolicySwitchDR()):
        with pytest.warns(OverlapWarning, match=r"the importance weights average 5, 22 standard"):
            found = policy_value(log, policy, method=method, seed=0)
        assert "the propensities are not those with which" in found.interpret()
    policy_value(log, policy, method=PolicyDM(), seed=0)  # which does not use them
    right = {**log, "propensity": [0.5] * 500}
    assert policy_value(right, policy, method=PolicyIPW()).notes == ()
    rounded = {**log, "propensity": [0.503] * 500}
    assert policy_value(rounded, policy, method=PolicyIPW()).notes == ()


def test_right_propensities_are_not_suspected() -> None:
    """Warnings are errors here; slates are as good as rows."""
    for seed in range(100):
        log = bandit(300, seed).assign(list=np.arange(300) // 3)
        policy_value(log, POLICY, method=PolicyIPW(), slate="list" if seed % 2 else None)


def test_the_whole_logging_policy_may_be_given() -> None:
    log = bandit(600, 14)
    rows = [CITIES.index(city) for city in log["city"]]
    wide = log.drop(columns="propensity").assign(
        **dict(zip(("pa", "pb", "pc"), LOGGED[rows].T, strict=True))
    )
    table = {**POLICY, "probability": LOGGED.ravel().tolist()}
    names: Any = {"method": PolicyDR(), "seed": 0}
    plain = policy_value(log, POLICY, **names)
    for found in (
        policy_value(wide, POLICY, propensity=["pa", "pb", "pc"], actions=ACTIONS, **names),
        policy_value(wide, POLICY, propensity=table, **names),
        policy_value(
            wide,
            POLICY,
            context="city",
            propensity=lambda contexts, actions: LOGGED[
                [CITIES.index(city) for city in contexts["city"]]
            ],
            **names,
        ),
    ):
        assert float(found) == pytest.approx(float(plain), rel=1e-12)
        assert float(found.standard_error) == pytest.approx(float(plain.standard_error), rel=1e-12)
    with pytest.raises(
        DataError, match=r"propensity \(pa, pb, pc\) has .* sum to 1\.1 \(in \d+ of 600"
    ):
        policy_value(
            wide.assign(pa=wide["pa"] + 0.1), POLICY, propensity=["pa", "pb", "pc"], actions=ACTIONS
        )
    with pytest.raises(DataError, match=r"propensity has probabilities .* sum to 0\.2"):
        policy_value(wide, POLICY, propensity={"action": ["a", "b"], "probability": [0.1, 0.1]})
    with pytest.raises(DataError, match="one column for each of actions"):
        policy_value(wide, POLICY, propensity=["pa", "pb", "pc"])
    with pytest.raises(DataError, match="'propensity' is 0 in row"):
        policy_value(wide, POLICY, propensity={"action": ["a"], "probability": [1.0]})


def test_what_the_logging_policy_never_does_is_known_from_the_whole_of_it() -> None:
    """The policy takes b in the south, where it is never logged, though it is in the north."""
    rng = np.random.default_rng(15)
    city = rng.integers(0, 2, 2000)
    action = np.where(city == 0, rng.integers(0, 2, 2000), 0)
    log = {"city": city, "action": action, "reward": rng.random(2000)}
    logging = {"city": [0, 0, 1], "action": [0, 1, 0], "probability": [0.5, 0.5, 1.0]}
    with pytest.warns(OverlapWarning, match=r"average 0\.7.*% of its choices never are"):
        found = policy_value(
            log,
            {"action": [0, 1], "probability": [0.5, 0.5]},
            propensity=logging,
            method=PolicyIPW(),
            allow_unlogged=True,
        )
    assert found.diagnostics["unlogged_mass"] == pytest.approx(0.5 * city.mean(), rel=1e-9)


@pytest.mark.parametrize("method", [PolicyIPW(), PolicyDR(), PolicyDM()], ids=lambda m: m.name)
def test_the_kind_of_the_columns_does_not_matter(method: PolicyMethod) -> None:
    log = bandit(600, 16).assign(age=lambda frame: 0.1 * (np.arange(600) % 4))
    policy = pd.DataFrame(
        {"age": np.repeat([0.0, 0.1, 0.2, 0.3], 3), "action": list("abc") * 4, "probability": 1 / 3}
    )
    log["age"] = policy["age"].unique()[np.arange(600) % 4]
    names: Any = {"method": method, "seed": 0}
    plain = policy_value(log, policy, **names)
    codes = {"a": 1, "b": 2, "c": 3}
    numbered = log.assign(action=log["action"].map(codes))
    for other_log, other_policy in [
        (log.astype({"propensity": "float32", "reward": "float32"}), policy),
        (log.astype({"action": "category", "reward": bool}), policy.astype({"action": "category"})),
        (numbered, policy.assign(action=policy["action"].map(codes))),
        (log.sample(frac=1.0, random_state=0), policy) if method.name == "IPW" else (log, policy),
        (log, policy.astype({"probability": "float32"})),
        ({name: log[name].tolist() for name in log}, policy),
    ]:
        found = policy_value(other_log, other_policy, **names)
        assert float(found) == pytest.approx(float(plain), rel=1e-6)
        assert float(found.standard_error) == pytest.approx(float(plain.standard_error), rel=1e-5)


def test_missing_propensities_are_left_out_and_counted() -> None:
    log = bandit(400, 17)
    log.loc[log.index[::100], "propensity"] = np.nan
    found = policy_value(log, POLICY, method=PolicyIPW())
    assert (found.num_rows, found.num_dropped) == (396, 4)
    assert "4 incomplete ones left out" in found.interpret()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"propensity": 0.0}, "column 'propensity' is 0 in row 0"),
        ({"propensity": 1.5}, "column 'propensity' is 1.5 in row 0"),
        ({"propensity": -0.2}, "column 'propensity' is -0.2 in row 0"),
        ({"propensity": np.inf}, "column 'propensity': it is infinite"),
        ({"propensity": np.nan}, "all 20 rows have a missing value"),
        ({"propensity": "half"}, "column 'propensity' holds category values"),
        ({"reward": np.inf}, "column 'reward': it is infinite"),
        ({"reward": "high"}, "column 'reward' holds category values"),
        ({"city": "east"}, "the policy has no row at city='east'"),
        ({"action": 3}, "'action' is text in the log or the policy"),
    ],
)
def test_a_log_that_cannot_be_used_is_refused(changes: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        policy_value(bandit(20, 9).assign(**changes), POLICY)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"action": ["a"], "p": [1.0]}, "expected 'probability' too"),
        ({"action": ["a", "a"], "probability": [0.5, 0.5]}, "two rows for 'a'; keep one"),
        ({"action": ["a", "b"], "probability": [0.5, 0.4]}, r"sum to 0\.9"),
        ({"action": ["a", "b"], "probability": [1.5, -0.5]}, r"start at -0\.5"),
        ({"action": ["a"], "size": [1], "probability": [1.0]}, "no column 'size'"),
        ("greedy", "the policy cannot be read"),
        (lambda contexts, actions: np.ones(len(contexts)), r"shape \(2,\); expected \(2, 3\)"),
        (lambda contexts, actions: np.full((2, 3), np.nan), "sum to nan"),
        (lambda contexts: np.ones((2, 3)), r"a function of \(contexts\); expected one of"),
        (lambda contexts, actions: "greedy", "the policy gave str values"),
        (lambda contexts, actions: np.full((2, 3), 0.5), r"sum to 1\.5 \(in 2 of 2 rows"),
        ({"action": [], "probability": []}, "the policy has no rows"),
        ({"action": ["a", "b"], "probability": [1.0, None]}, "missing values in 'probability'"),
        ({"action": ["a", "b"], "probability": ["x", "y"]}, "text in 'probability'"),
        ({"action": ["a"], "city": ["north"], "probability": [1.0]}, "no row at city='south'"),
    ],
)
def test_a_policy_that_is_none_is_refused(policy: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        policy_value(bandit(20, 10), policy)


def test_what_does_not_fit_is_refused() -> None:
    log = bandit(150, 11)
    with pytest.raises(AssumptionError, match="takes none of the logged actions"):
        policy_value(log, {"action": ["d"], "probability": [1.0]}, minimum_ess=0)
    with pytest.raises(DataError, match="method is 'DR'"):
        policy_value(log, POLICY, method="DR")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="'city', which context leaves out"):
        policy_value(log, POLICY, context=[])
    with pytest.raises(DataError, match="'reward' is in context"):
        policy_value(log, POLICY, context=["city", "reward"])
    with pytest.raises(DataError, match="action 'c' is not among actions"):
        policy_value(log, POLICY, actions=["a", "b"])
    with pytest.raises(DataError, match="the log has no rows"):
        policy_value(log.iloc[:0], POLICY)
    with pytest.raises(DataError, match="the log has one complete row"):
        policy_value(log.iloc[:1], POLICY)
    with pytest.raises(DataError, match="no column 'propensity'; the table has city"):
        policy_value(log.drop(columns="propensity"), POLICY)
    with pytest.raises(DataError, match="a column is named twice"):
        policy_value(log, POLICY, reward="propensity")
    with pytest.raises(DataError, match="a column is named twice"):
        policy_value(log, POLICY, context=["city", "city"])
    with pytest.raises(DataError, match="several columns are named city"):
        policy_value(pd.concat([log, log["city"]], axis=1), POLICY)
    with pytest.raises(DataError, match="expected each of them once"):
        policy_value(log, POLICY, actions=["a", "b", "c", "c"])
    with pytest.raises(QueryError, match="the name 'my reward'"):
        policy_value(log.rename(columns={"reward": "my reward"}), POLICY, reward="my reward")
    with pytest.raises(DataError, match="seed is -1"):
        policy_value(log, POLICY, seed=-1)
    with pytest.raises(DataError, match="folds is 1"):
        PolicyDR(folds=1)
    with pytest.raises(DataError, match="threshold is 0"):
        PolicySwitchDR(threshold=0)
    with pytest.raises(DataError, match="model is 'ridge'"):
        PolicyDM(model="ridge")


def linear_bandit(num_rows: int, seed: int) -> tuple[pd.DataFrame, float]:
    """Rewards linear in one number for each action, of unequal variance; the value is of `half`."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=num_rows)
    chance = 1 / (1 + np.exp(-0.5 * x))
    arm = (rng.random(num_rows) < chance).astype(int)
    gain = arm * (1 + 0.5 * x) - x + (0.5 + arm) * rng.normal(size=num_rows)
    frame = pd.DataFrame({"x": x, "arm": arm, "gain": gain, "p": np.where(arm, chance, 1 - chance)})
    return frame, 0.55 + 0.25 / np.sqrt(2 * np.pi)


def half(contexts: pd.DataFrame, actions: tuple[Any, ...]) -> Any:
    chance = np.where(contexts["x"] > 0, 0.8, 0.3)
    return np.column_stack([1 - chance, chance])


@pytest.mark.slow
@pytest.mark.parametrize("process", ["table", "linear"])
@pytest.mark.parametrize(
    "method",
    [PolicyIPW(), PolicySNIPW(), PolicyDM(), PolicyDR(), PolicySwitchDR(threshold=1.3)],
    ids=lambda m: m.name,
)
def test_intervals_cover_and_are_centred(method: PolicyMethod, process: str) -> None:
    """500 simulations; 93 to 97 % has a false alarm rate of about 4 % at exactly 95 %."""
    names: Any = {"action": "arm", "reward": "gain", "propensity": "p"}
    found, errors = np.empty(500), np.empty(500)
    for seed in range(500):
        if process == "table":
            log, truth = coded_bandit(800, seed), VALUE
            estimate = policy_value(log, CODED_POLICY, method=method, seed=0)
        else:
            log, truth = linear_bandit(800, seed)
            estimate = policy_value(log, half, **names, method=method, seed=0)
        found[seed], errors[seed] = float(estimate), float(estimate.standard_error)
    bias = abs(found.mean() - truth) / (found.std() / np.sqrt(500))
    assert bias < 3.5
    assert 0.93 <= float(np.mean(np.abs(found - truth) < 1.96 * errors)) <= 0.97
    assert errors.mean() == pytest.approx(found.std(), rel=0.12)
