"""Answers over several splits of the rows: the median, its error, and a calmer seed."""

import warnings

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from causalppl import ADMG, estimate, identify
from causalppl.data import Table
from causalppl.estimation.bootstrap_ends import with_ends
from causalppl.estimation.doubly_robust import AIPW, TMLE
from causalppl.estimation.estimator import Problem
from causalppl.exceptions import DataError, OverlapWarning

GRAPH = ADMG.parse("{Z0, Z1} -> {X, Y}; X -> Y")


def thin_overlap(num_rows: int = 500) -> dict[str, np.ndarray]:
    """The treated have few counterparts, and the outcome bends where a line is fitted."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(num_rows, 2))
    x = (rng.random(num_rows) < 1 / (1 + np.exp(1 - 1.5 * z[:, 0] - z[:, 1]))) * 1
    y = x + z[:, 0] ** 2 + z[:, 1] + rng.normal(size=num_rows)
    return {"Z0": z[:, 0], "Z1": z[:, 1], "X": x, "Y": y}


def method(kind: type = AIPW, **settings):
    return kind(LinearRegression(), LogisticRegression(), folds=3, **settings)


def asked(query: str) -> Problem:
    return Problem(identify(GRAPH, query), Table.from_any(thin_overlap()))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::causalppl.exceptions.OverlapWarning")
def test_the_median_over_splits_calms_the_seed():
    """The spread over seeds falls by about the root of 7, over 1.25 for the median."""
    problem = asked("ETT(X: 1 vs 0 -> Y)")
    once = np.std([float(method().solve(problem, seed=s)) for s in range(10)])
    seven = np.std([float(method(repeats=7).solve(problem, seed=s)) for s in range(10)])
    assert once > 0.03
    assert seven < 0.7 * once


@pytest.mark.filterwarnings("ignore::causalppl.exceptions.OverlapWarning")
@pytest.mark.parametrize("kind", [AIPW, TMLE])
def test_the_error_is_the_published_one(kind: type):
    problem, once = asked("E[Y | do(X)]"), method(kind)
    found = method(kind, repeats=3).solve(problem, seed=5)
    first = once.solve(problem, seed=5)
    parts = [once.solve(problem, seed=5 + 1_000_003 * k) for k in range(3)]
    values = np.array([part.values for part in parts])
    middle = np.median(values, axis=0)
    squares = np.array([part.standard_error**2 for part in parts]) + (values - middle) ** 2
    np.testing.assert_allclose(found.values, middle, rtol=1e-12)
    np.testing.assert_allclose(found.standard_error, np.sqrt(np.median(squares, axis=0)))
    np.testing.assert_allclose(found.diagnostics["spread over splits"], values.std(0, ddof=1))
    assert found.influence.shape == first.influence.shape
    assert "repeats=3" in found.method
    assert "median over 3 splits" in found.notes[-1]


@pytest.mark.filterwarnings("ignore::causalppl.exceptions.OverlapWarning")
@pytest.mark.parametrize("kind", [AIPW, TMLE])
@pytest.mark.parametrize("query", ["P(Y | do(X=1))", "P(Y | do(X))"])
def test_a_law_over_splits_sums_to_one(kind: type, query: str):
    data = thin_overlap(300)
    rng = np.random.default_rng(0)
    data["Y"] = np.clip(np.round(data["X"] + data["Z0"] + rng.normal(size=300)), -1, 1).astype(int)
    problem = Problem(identify(GRAPH, query), Table.from_any(data))
    model = kind(LogisticRegression(), LogisticRegression(), folds=3, repeats=3)
    parts = [
        kind(LogisticRegression(), LogisticRegression(), folds=3).solve(
            problem, seed=1 + 1_000_003 * number
        )
        for number in range(3)
    ]
    found = model.solve(problem, seed=1)
    mass = found.values.sum(axis=list(found.axes).index("Y"))
    np.testing.assert_allclose(mass, 1, rtol=1e-12)
    assert found.values.min() >= 0
    assert any(np.allclose(found.values, part.values, rtol=1e-12) for part in parts)
    assert "the middle one of 3 splits" in found.notes[-1]


def test_poor_overlap_warns_once():
    with warnings.catch_warnings(record=True) as log:
        warnings.simplefilter("always")
        estimate(asked("ATE(X -> Y)").estimand, thin_overlap(), method=method(repeats=3), seed=0)
    assert [w.category for w in log].count(OverlapWarning) == 1
    assert log[0].filename == __file__


def test_repeats_are_checked():
    with pytest.raises(DataError, match="repeats is 0"):
        AIPW(repeats=0)
    with pytest.raises(DataError, match="repeats is 3 and bootstrap 50"):
        TMLE(repeats=3, bootstrap=50)


@pytest.mark.parametrize("count", [20, 100, 200])
def test_quantiles_of_draws_with_ends_are_those_that_cover(count: int):
    """The share of uniform draws outside is exact: k / (B + 1) below the k-th of B."""
    draws = np.random.default_rng(1).random((count, 3))
    for place in (0.05, 0.5, 0.9):
        expected = np.quantile(draws, place, axis=0, method="weibull")
        assert np.quantile(with_ends(draws), place, axis=0) == pytest.approx(expected)
