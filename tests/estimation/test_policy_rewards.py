"""Models of rewards: against scikit-learn on the written-out design, and against a bootstrap."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LinearRegression, Ridge

from causalppl.estimation.policy_value import PolicyDM, PolicyDR, PolicySwitchDR, policy_value


def bandit(num_rows: int, seed: int, *, num_actions: int = 3) -> pd.DataFrame:
    """One number and one of three towns as context; rows of a list share noise."""
    rng = np.random.default_rng(seed)
    x, town = rng.normal(size=num_rows), rng.choice(["e", "n", "s"], size=num_rows)
    action = rng.integers(0, num_actions, num_rows)
    shared = rng.normal(size=num_rows // 2 + 1)[np.arange(num_rows) // 2]
    reward = action * x + (town == "n") * action**2 + shared + rng.normal(size=num_rows)
    return pd.DataFrame(
        {
            "x": x,
            "town": town,
            "action": action,
            "reward": reward,
            "propensity": 1 / num_actions,
            "list": np.arange(num_rows) // 2,
        }
    )


class Twiced(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A ridge, and another one of its residuals."""

    def fit(self, design: Any, reward: Any) -> "Twiced":
        self.first_ = Ridge(solver="cholesky").fit(design, reward)
        self.second_ = Ridge(solver="cholesky").fit(design, reward - self.first_.predict(design))
        return self

    def predict(self, design: Any) -> Any:
        return self.first_.predict(design) + self.second_.predict(design)


def greedy(contexts: pd.DataFrame, actions: tuple[Any, ...]) -> Any:
    first = np.where(contexts["x"] > 0, 0.7, 0.1)
    rest = (1 - first) / (len(actions) - 1)
    return np.column_stack([first] + [rest] * (len(actions) - 1))


@pytest.mark.parametrize("num_actions", [3, 70])
def test_the_default_model_is_ridges_on_indicators_and_their_products(num_actions: int) -> None:
    log = bandit(400, 0, num_actions=num_actions)
    names: Any = {"context": ["x", "town"], "actions": tuple(range(num_actions))}
    found = policy_value(log, greedy, **names, method=PolicyDM())
    x = (log["x"] - log["x"].mean()) / log["x"].std(ddof=0)
    context = np.column_stack([x] + [log["town"] == town for town in ("e", "n", "s")])

    def design(actions: Any) -> Any:
        taken = np.eye(num_actions)[actions]
        return np.column_stack(
            [taken, context] + [taken[:, [a]] * context for a in range(num_actions)]
        )

    model = Twiced().fit(design(log["action"]), log["reward"])
    each = [model.predict(design(np.full(400, a))) for a in range(num_actions)]
    truth = (np.column_stack(each) * greedy(log, names["actions"])).sum(axis=1)
    assert float(found) == pytest.approx(truth.mean(), rel=1e-8)


def test_cross_fitted_predictions_are_those_of_the_other_folds() -> None:
    """Ridges of scikit-learn see the same folds and the same design."""
    log = bandit(300, 1)
    ours = policy_value(log, greedy, context=["x", "town"], method=PolicyDR(), seed=3)
    theirs = policy_value(log, greedy, context=["x", "town"], method=PolicyDR(Twiced()), seed=3)
    assert ours.influence == pytest.approx(theirs.influence, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("slate", [None, "list"])
def test_the_error_of_the_direct_method_is_that_of_a_bootstrap(slate: str | None) -> None:
    names: Any = {"context": ["x", "town"], "slate": slate, "seed": 0}
    log = bandit(600, 2)
    ours = policy_value(log, greedy, **names, method=PolicyDM())
    theirs = policy_value(log, greedy, **names, method=PolicyDM(Twiced(), num_bootstrap=150))
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)
    # the relative error of a standard deviation of 150 draws is 6 %
    assert float(ours.standard_error) == pytest.approx(float(theirs.standard_error), rel=0.2)
    assert ours.influence is not None
    assert float(ours.influence.mean()) == pytest.approx(0, abs=1e-12)


def test_the_error_of_switching_is_that_of_a_bootstrap() -> None:
    """All is left to the model above a weight of 1, and its noise is in the interval."""
    log = bandit(600, 5)
    names: Any = {"context": ["x", "town"], "seed": 0}
    ours = policy_value(log, greedy, **names, method=PolicySwitchDR(threshold=1))
    way = PolicySwitchDR(Twiced(), threshold=1, num_bootstrap=100, folds=2)
    theirs = policy_value(log, greedy, **names, method=way)
    # the relative error of a standard deviation of 100 draws is 7 %
    assert float(ours.standard_error) == pytest.approx(float(theirs.standard_error), rel=0.25)
    none = PolicySwitchDR(Twiced(), threshold=100)
    assert policy_value(log, greedy, **names, method=none).draws is None


def test_without_weights_switching_is_the_direct_method() -> None:
    """A threshold below all weights leaves everything to the (cross-fitted) model."""
    log = bandit(2000, 3)
    names: Any = {"context": ["x", "town"], "seed": 0}
    switched = policy_value(log, greedy, **names, method=PolicySwitchDR(threshold=0.01))
    direct = policy_value(log, greedy, **names, method=PolicyDM())
    assert float(switched) == pytest.approx(float(direct), abs=0.02)
    assert float(switched.standard_error) == pytest.approx(float(direct.standard_error), rel=0.03)
    assert switched.diagnostics["switched_mass"] == pytest.approx(1, abs=0.1)


def test_contexts_that_occur_once_and_often_are_treated_alike() -> None:
    """The model is fitted to sums over equal rows; a number beside them makes each row its own."""
    log = bandit(500, 4)
    model = PolicyDR(LinearRegression())
    for method in (PolicyDR(), model):
        few = policy_value(log, greedy_by_town, context=["town"], method=method, seed=0)
        constant = log.assign(row=1e-9 * np.arange(500))
        many = policy_value(
            constant, greedy_by_town, context=["town", "row"], method=method, seed=0
        )
        assert few.diagnostics["mean_weight"] == pytest.approx(many.diagnostics["mean_weight"])
        assert float(few) == pytest.approx(float(many), abs=0.1)


def greedy_by_town(contexts: pd.DataFrame, actions: tuple[Any, ...]) -> Any:
    first = np.where(contexts["town"] == "n", 0.6, 0.2)
    return np.column_stack([first] + [(1 - first) / 2] * 2)
