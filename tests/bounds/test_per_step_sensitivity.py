"""Sums over steps: never narrower than what confounding of each step can do."""

import itertools

import numpy as np
import pytest

from causalppl.bounds.marginal_sensitivity import msm_mean
from causalppl.bounds.per_step_sensitivity import msm_per_step
from causalppl.exceptions import DataError


def draw(rng, steps=3, episodes=3):
    return rng.normal(size=(steps, episodes)), rng.uniform(0.2, 0.8, (steps, episodes))


def test_a_memoryless_sum_adds_the_steps():
    rng = np.random.default_rng(0)
    for _ in range(50):
        y, e = draw(rng)
        found = msm_per_step(y, e, 2.0, discount=0.9, is_memoryless=True)
        parts = [msm_mean(a, b, 2.0) for a, b in zip(y, e, strict=True)]
        lows = [0.9**t * part.lower for t, part in enumerate(parts)]
        highs = [0.9**t * part.upper for t, part in enumerate(parts)]
        assert float(found.lower) == pytest.approx(sum(lows))
        assert float(found.upper) == pytest.approx(sum(highs))


def test_no_choice_of_weights_at_any_step_leaves_the_interval():
    rng = np.random.default_rng(1)
    for _ in range(100):
        y, e = draw(rng, 2, 3)
        target = rng.random((2, 3))
        odds_ratio = rng.uniform(1, 4)
        found = msm_per_step(y, e, odds_ratio, targets=target)
        corners = itertools.product([1 / odds_ratio, odds_ratio], repeat=6)
        r = np.array(list(corners)).reshape(-1, 2, 3)
        weights = np.cumprod(target * (1 + (1 / e - 1) * r), axis=1)
        values = ((weights * y).sum(2) / weights.sum(2)).sum(1)
        assert found.lower <= values.min() + 1e-12
        assert values.max() <= found.upper + 1e-12
        # sharp for the first step alone, and for the second: only their sum is not
        one = msm_per_step([0 * y[0], y[1]], e, odds_ratio, targets=target)
        second = (weights[:, 1] * y[1]).sum(1) / weights[:, 1].sum(1)
        assert float(one.upper) == pytest.approx(second.max())
        assert float(one.lower) == pytest.approx(second.min())


def test_steps_compound_and_at_one_the_interval_is_the_point():
    rng = np.random.default_rng(2)
    y, e = draw(rng, 4, 30)
    whole, own = msm_per_step(y, e, 1.5), msm_per_step(y, e, 1.5, is_memoryless=True)
    assert whole.width > own.width
    point = msm_per_step(y, e, 1.0)
    weights = np.cumprod(1 / e, axis=0)
    assert float(point.width) == 0
    assert float(point.lower) == pytest.approx(((weights * y).sum(1) / weights.sum(1)).sum())
    widths = [float(msm_per_step(y, e, ratio).width) for ratio in (1, 1.2, 1.5, 3, 10)]
    assert widths == sorted(widths)


def test_sampling_error_is_that_of_episodes():
    rng = np.random.default_rng(3)
    y, e = draw(rng, 2, 200)
    drawn = msm_per_step(y, e, 1.3, num_draws=200, seed=0)
    assert drawn.draws.std(0) == pytest.approx(msm_per_step(y, e, 1.3).error, rel=0.3)


@pytest.mark.parametrize(
    ("rewards", "propensities", "changed", "message"),
    [
        ([[1, 2], [1]], [[0.5, 0.5], [0.5]], {}, "step 1 has 1 episodes and step 0 2"),
        ([[1, 2], [1, 2]], [[0.5, 0.5]], {}, "rewards has 2, propensities has 1 steps"),
        ([], [], {}, "expected the same steps"),
        ([[1, 2]], [[0.5, 1.5]], {}, "step 0: propensities are 1.5"),
        ([[1, np.nan]], [[0.5, 0.5]], {}, "step 0: y is nan"),
        ([[1, 2]], [[0.5, 0.5]], {"discount": 1.5}, "discount is 1.5"),
        ([[1, 2]], [[0.5, 0.5]], {"targets": [[1, 1], [1, 1]]}, "targets has 2 steps"),
    ],
)
def test_missing_steps_and_episodes_are_refused(rewards, propensities, changed, message):
    with pytest.raises(DataError, match=message):
        msm_per_step(rewards, propensities, 2.0, **changed)


def test_many_steps_do_not_lose_their_digits():
    found = msm_per_step(np.random.default_rng(4).normal(size=(50, 300)), [[0.1] * 300] * 50, 3.0)
    assert -50 * 4.5 < found.lower < found.upper < 50 * 4.5
