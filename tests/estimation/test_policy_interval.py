"""Intervals for the values of policies, where rewards are rare, or all the same."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from causalppl.estimation.policy_value import (
    PolicyDM,
    PolicyDR,
    PolicyIPW,
    PolicyMethod,
    PolicySNIPW,
    PolicySwitchDR,
    policy_value,
)
from causalppl.exceptions import DataError

MEANS = np.array([[0.2, 0.5, 0.7], [0.9, 0.4, 0.1]])  # of rewards, by city and action, but a factor
LOGGED = np.array([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]])
TARGET = np.array([[0.2, 0.2, 0.6], [0.5, 0.5, 0.0]])
SHARE = np.array([0.4, 0.6])
POLICY = {"city": [0] * 3 + [1] * 3, "action": [0, 1, 2] * 2, "probability": TARGET.ravel()}
WEIGHTED = [PolicyIPW(), PolicySNIPW(), PolicyDR(), PolicySwitchDR(threshold=1.3)]
ALL = [*WEIGHTED, PolicyDM()]


def bandit(num_rows: int, seed: int, rate: float = 0.5) -> tuple[pd.DataFrame, float]:
    """Rewards of 0 or 1, of which about a share ``rate`` are 1; and the value of the policy."""
    rng = np.random.default_rng(seed)
    means = MEANS * rate / float(SHARE @ (LOGGED * MEANS).sum(axis=1))
    city = rng.choice(2, size=num_rows, p=SHARE)
    action = (rng.random(num_rows)[:, None] > LOGGED[city].cumsum(axis=1)).sum(axis=1)
    reward = (rng.random(num_rows) < means[city, action]).astype(int)
    columns = {"city": city, "action": action, "reward": reward}
    log = pd.DataFrame({**columns, "propensity": LOGGED[city, action]})
    return log, float(SHARE @ (TARGET * means).sum(axis=1))


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.05, 0.3])
@pytest.mark.parametrize("method", WEIGHTED, ids=lambda m: m.name)
def test_intervals_cover_rare_rewards_in_both_tails(method: PolicyMethod, rate: float) -> None:
    """500 simulations; the normal limit covers 93 %, and nine in ten misses are above it."""
    low, high = np.empty(500), np.empty(500)
    for seed in range(500):
        log, truth = bandit(800, seed, rate)
        found = policy_value(log, POLICY, method=method, seed=0)
        low[seed], high[seed] = found.interval()
    below, above = float((high < truth).mean()), float((low > truth).mean())
    assert 0.93 <= 1 - below - above <= 0.97
    # of 500 a share of .025 has the standard error .007
    assert max(below, above) < 0.025 + 3 * 0.007


def test_the_interval_of_rare_rewards_is_skewed_and_that_of_common_ones_is_not() -> None:
    rare, common = (
        policy_value(bandit(800, 0, rate)[0], POLICY, method=PolicyIPW()) for rate in (0.03, 0.5)
    )
    ratios = []
    for found in (rare, common):
        low, high = found.interval()
        ratios.append((high - float(found)) / (float(found) - low))
        assert 0 <= low < float(found) < high <= 1
    assert ratios[0] > 1.3
    assert ratios[1] == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("method", ALL, ids=lambda m: m.name)
def test_no_reward_at_all_leaves_the_rule_of_three(method: PolicyMethod) -> None:
    log = bandit(500, 18)[0].assign(reward=0)
    found = policy_value(log, POLICY, method=method, seed=0)
    ess = policy_value(log, POLICY, method=PolicyIPW()).ess
    assert ess is not None
    assert float(found) == pytest.approx(0, abs=1e-12)
    # Clopper and Pearson: so many rows without a reward have the chance .025 at the upper end
    low, high = found.interval()
    assert (low, (1 - high) ** ess) == (0, pytest.approx(0.025))
    assert found.interval(0.5)[1] < high
    assert "ll values of reward are the same" in found.interpret()


def test_all_rewards_the_same_leave_room_for_others_in_their_range() -> None:
    log = bandit(500, 18)[0].assign(reward=1)
    for method in WEIGHTED:
        low, high = policy_value(log, POLICY, method=method, seed=0).interval()
        assert low <= 0.98
        assert high == 1
    threes = log.assign(reward=3.0)
    plain = policy_value(threes, POLICY, method=PolicySNIPW())
    assert np.ptp(plain.interval()) == pytest.approx(0, abs=1e-12)
    assert "no reward_range says" in plain.interpret()
    low, high = policy_value(threes, POLICY, method=PolicySNIPW(), reward_range=(1, 5)).interval()
    assert 3 - low == pytest.approx(high - 3)
    assert high - low > 0.03
    lists = log.assign(reward=0, list=np.arange(500) // 5)
    rows, slates = (
        policy_value(lists, POLICY, slate=slate).interval()[1] for slate in (None, "list")
    )
    assert 5 * rows < slates < 25 * rows


@pytest.mark.parametrize("wrong", [(0.0, 0.5), (1, 0), 1.0, ("a", "b"), (0, 1, 2), (0, np.inf)])
def test_a_range_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(DataError, match="reward_range is"):
        policy_value(bandit(50, 3)[0], POLICY, reward_range=wrong)
