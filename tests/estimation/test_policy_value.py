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
ALL = [PolicyIPW(), PolicySNIPW(), PolicyDM(num_bootstrap=40), PolicyDR(), PolicySwitchDR()]


def bandit(num_rows: int, seed: int) -> pd.DataFrame:
    """Rewards are 0 or 1."""
    rng = np.random.default_rng(seed)
    city = rng.choice(2, size=num_rows, p=SHARE)
    action = (rng.random(num_rows)[:, None] > LOGGED[city].cumsum(axis=1)).sum(axis=1)
    reward = (rng.random(num_rows) < MEANS[city, action]).astype(int)
    return pd.DataFrame(
        {
            "city": np.array(CITIES)[city],
            "action": np.array(ACTIONS)[action],
            "reward": reward,
            "propensity": LOGGED[city, action],
        }
    )


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
    some = policy_value(log, always_one, **names, method=PolicySwitchDR(model, threshold=3), seed=0)
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
    found = policy_value(log, POLICY, method=PolicySNIPW())
    assert found.diagnostics["unlogged_mass"] > 0.1
    assert "actions never logged" in found.interpret()


def test_incomplete_rows_are_counted() -> None:
    log = bandit(400, 8).astype({"reward": float})
    log.loc[log.index[:5], "reward"] = np.nan
    found = policy_value(log, POLICY, method=PolicyIPW())
    assert (found.num_rows, found.num_dropped) == (395, 5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"propensity": 0.0}, "column 'propensity' is 0 in row 0"),
        ({"propensity": 1.5}, "column 'propensity' is 1.5 in row 0"),
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
        (lambda contexts, actions: np.ones(len(contexts)), r"shape \(20,\); expected \(20, 3\)"),
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


@pytest.mark.slow
@pytest.mark.parametrize("process", ["table", "smooth"])
@pytest.mark.parametrize("method", [PolicyIPW(), PolicySNIPW(), PolicyDR()], ids=lambda m: m.name)
def test_intervals_cover_and_are_centred(method: PolicyMethod, process: str) -> None:
    """500 simulations; 93 to 97 % has a false alarm rate of about 4 % at exactly 95 %."""
    found, covered = np.empty(500), 0
    for seed in range(500):
        if process == "table":
            estimate = policy_value(bandit(800, seed), POLICY, method=method, seed=seed)
            truth = VALUE
        else:
            log, truth = smooth_bandit(800, seed, tilt=0.5)  # weights without heavy tails
            estimate = policy_value(
                log, always_one, action="arm", reward="gain", propensity="p", method=method, seed=0
            )
        low, high = estimate.interval()
        found[seed], covered = float(estimate), covered + bool(low <= truth <= high)
    bias = abs(found.mean() - truth) / (found.std() / np.sqrt(500))
    assert bias < 3.5
    assert 0.93 <= covered / 500 <= 0.97
