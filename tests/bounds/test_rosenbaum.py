"""Rosenbaum's analysis of matched pairs: his published figures, and enumeration of all signs."""

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest, rankdata, wilcoxon

from causalppl.bounds import rosenbaum
from causalppl.bounds.rosenbaum import MatchedPairs
from causalppl.exceptions import DataError

# lead in the blood of children whose parents work with it, and of neighbours (Morton et al.)
EXPOSED = [38, 23, 41, 18, 37, 36, 23, 62, 31, 34, 24, 14, 21, 17, 16, 20, 15]
EXPOSED += [10, 45, 39, 22, 35, 49, 48, 44, 35, 43, 39, 34, 13, 73, 25, 27]
CONTROL = [16, 18, 18, 24, 19, 11, 10, 15, 16, 18, 18, 13, 19, 10, 16, 16, 24]
CONTROL += [13, 9, 14, 21, 19, 7, 18, 19, 12, 11, 22, 25, 16, 13, 11, 13]


@pytest.fixture
def lead():
    return MatchedPairs(EXPOSED, CONTROL)


@pytest.mark.parametrize(
    ("odds_ratio", "published"),
    [(2, 0.0018), (3, 0.0136), (4, 0.0388), (4.25, 0.0468), (5, 0.0740)],
)
def test_p_values_of_lead_are_those_published(lead, odds_ratio, published, monkeypatch):
    monkeypatch.setattr(rosenbaum, "_MOST_EXACT", 0)  # Rosenbaum (2002), table 4.2, is approximate
    assert float(lead.p_value(odds_ratio).upper) == pytest.approx(published, abs=5e-5)


@pytest.mark.parametrize(
    ("odds_ratio", "low", "high"), [(1, 15, 15), (2, 10.25, 19.5), (3, 8, 23), (4, 6.5, 25)]
)
def test_effects_of_lead_are_those_published(lead, odds_ratio, low, high):
    found = lead.effect(odds_ratio)
    assert (float(found.lower), float(found.upper)) == (low, high)


def test_the_confidence_interval_of_lead_is_that_published(lead):
    found = lead.confidence(1.0)
    assert (float(found.lower), float(found.upper)) == (9.5, 20.5)


@pytest.mark.parametrize("num_pairs", [6, 8, 12])
@pytest.mark.parametrize(("odds_ratio", "prob"), [(1.0, 0.95), (1.2, 0.9)])
def test_confidence_intervals_of_few_pairs_hold_their_probability(num_pairs, odds_ratio, prob):
    rng = np.random.default_rng(num_pairs)
    chance = odds_ratio / (1 + odds_ratio)  # of a difference above the effect: the worst bias
    held = 0
    for _ in range(1_000):
        sign = np.where(rng.random(num_pairs) < chance, 1, -1)
        differences = 2.0 + sign * rng.exponential(size=num_pairs)
        held += MatchedPairs(differences).confidence(odds_ratio, prob).contains(2.0)
    assert held / 1_000 >= prob - 0.01  # a standard error is 0.007


@pytest.mark.parametrize("seed", range(20))
def test_confidence_intervals_end_where_the_exact_test_rejects(seed):
    rng = np.random.default_rng(seed)
    differences = rng.normal(1, 1, int(rng.integers(7, 14)))
    ratio = float(rng.uniform(1, 1.5))
    found = MatchedPairs(differences).confidence(ratio, 0.9)

    def p_value(shift):
        return float(
            MatchedPairs(differences - shift, alternative="two-sided").p_value(ratio).upper
        )

    for end, outwards in ((float(found.lower), -1e-9), (float(found.upper), 1e-9)):
        assert p_value(end + outwards) <= 0.1 < p_value(end - outwards)


def test_too_few_pairs_for_any_finite_interval_are_refused():
    pairs = MatchedPairs(np.arange(1.0, 6.0))
    with pytest.raises(DataError, match="5 pairs; expected at least 6 at odds ratio 1,"):
        pairs.confidence(1.0)
    with pytest.raises(DataError, match="at least 10 at odds ratio 2"):
        pairs.confidence(2.0)
    six = MatchedPairs(np.arange(1.0, 7.0)).confidence(1.0, 1 - 2 / 64)
    assert (float(six.lower), float(six.upper)) == (1.0, 6.0)


def enumerated(differences, odds_ratio):
    """The chance of a rank sum as large as that seen, over all signs."""
    ranks = rankdata(abs(differences))
    moved = differences != 0
    seen, ranks = ranks[differences > 0].sum(), ranks[moved]
    signs = np.array(list(itertools.product([0, 1], repeat=len(ranks))))
    chance = odds_ratio / (1 + odds_ratio)
    law = np.prod(np.where(signs == 1, chance, 1 - chance), axis=1)
    return law[signs @ ranks >= seen - 1e-9].sum()


def test_exact_p_values_are_sums_over_all_signs():
    rng = np.random.default_rng(0)
    for _ in range(60):
        differences = np.round(2 * rng.normal(0.3, 1, int(rng.integers(2, 9))))
        differences[0] = 1.0
        odds_ratio = float(rng.uniform(1, 4))
        found = MatchedPairs(differences).p_value(odds_ratio)
        assert float(found.upper) == pytest.approx(enumerated(differences, odds_ratio))
        assert float(found.lower) == pytest.approx(enumerated(differences, 1 / odds_ratio))


def test_no_hidden_bias_of_any_pattern_leaves_the_interval():
    rng = np.random.default_rng(1)
    differences = np.array([3.0, -1.0, 2.0, 5.0, -2.5, 4.0])
    low, high = (
        float(getattr(MatchedPairs(differences).p_value(2.0), e)) for e in ("lower", "upper")
    )
    ranks = rankdata(abs(differences))
    signs = np.array(list(itertools.product([0, 1], repeat=6)))
    for _ in range(100):
        chance = rng.uniform(1 / 3, 2 / 3, 6)
        law = np.prod(np.where(signs == 1, chance, 1 - chance), axis=1)
        p = law[signs @ ranks >= ranks[differences > 0].sum()].sum()
        assert low - 1e-12 <= p <= high + 1e-12


def test_at_one_the_tests_are_those_of_scipy():
    rng = np.random.default_rng(2)
    differences = rng.normal(0.4, 1, 25)
    pairs = MatchedPairs(differences)
    assert float(pairs.p_value().upper) == pytest.approx(
        wilcoxon(differences, alternative="greater", method="exact").pvalue
    )
    signs = MatchedPairs(differences, test="sign", alternative="less")
    wins = int((differences < 0).sum())
    assert float(signs.p_value().lower) == pytest.approx(
        binomtest(wins, 25, alternative="greater").pvalue
    )


def test_mcnemar_is_the_sign_test_of_binary_pairs():
    treated, control = [1] * 20 + [0] * 8 + [1] * 30, [0] * 20 + [1] * 8 + [1] * 30
    pairs = MatchedPairs(treated, control, test="sign")
    expected = binomtest(20, 28, 1.5 / 2.5, alternative="greater").pvalue
    assert float(pairs.p_value(1.5).upper) == pytest.approx(expected)


@pytest.mark.parametrize("alternative", ["greater", "two-sided"])
@pytest.mark.parametrize("test", ["sign", "signed rank"])
def test_significance_is_lost_at_the_tipping_point(test, alternative):
    differences = np.random.default_rng(3).normal(1, 1, 40)
    pairs = MatchedPairs(differences, test=test, alternative=alternative)
    ratio = pairs.tipping_point(0.05)
    assert ratio > 1.5
    assert float(pairs.p_value(ratio).upper) == pytest.approx(0.05, abs=1e-9)


def test_p_values_widen_with_the_odds_ratio():
    pairs = MatchedPairs(np.random.default_rng(4).normal(0.5, 1, 300))
    assert not pairs.is_exact
    found = [pairs.p_value(ratio) for ratio in (1, 1.1, 1.5, 3)]
    assert np.all(np.diff([float(f.upper) for f in found]) > 0)
    assert np.all(np.diff([float(f.lower) for f in found]) < 0)
    assert found[0].width == 0


def test_effects_of_many_pairs_are_found_without_all_averages():
    differences = np.random.default_rng(5).normal(size=2_001)
    i, j = np.triu_indices(2_001)
    averages = np.sort((differences[i] + differences[j]) / 2)
    found = MatchedPairs(differences).effect(1.5)
    assert float(found.lower) == pytest.approx(np.quantile(averages, 0.4), abs=1e-6)
    assert float(found.upper) == pytest.approx(np.quantile(averages, 0.6), abs=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"treated": [1, 2], "control": [1, 2]},
        {"treated": [1, 2], "control": [1]},
        {"treated": [1, np.nan]},
        {"treated": [1, 2], "test": "t"},
        {"treated": [1, 2], "alternative": "both"},
    ],
)
def test_what_cannot_be_used_is_refused(wrong):
    with pytest.raises(DataError):
        MatchedPairs(**wrong)


def test_settings_of_its_methods_are_checked(lead):
    with pytest.raises(DataError, match="odds_ratio"):
        lead.p_value(0.5)
    with pytest.raises(DataError, match="level"):
        lead.tipping_point(2)
