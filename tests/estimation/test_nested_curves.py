"""Nested families of curves against brute force."""

import numpy as np
import pytest

from causalppl.estimation.nested_curves import LEVELS, NestedCurves
from causalppl.exceptions import DataError

Z, W, NOISE = np.random.default_rng(0).normal(size=(3, 400))
ONES = np.ones((400, 1))


def test_families_are_nested_and_orthonormal() -> None:
    curves = NestedCurves.on([Z, W], ONES)
    assert [LEVELS[level] for level in curves.levels] == list(LEVELS)
    assert list(curves.ends) == sorted(curves.ends)
    assert curves.basis.T @ curves.basis == pytest.approx(np.eye(curves.ends[-1]), abs=1e-9)
    lines = np.column_stack([ONES, Z, W])
    part = curves.basis[:, : curves.ends[0]]
    assert part @ (part.T @ lines) == pytest.approx(lines)


def test_the_family_is_that_which_predicts_left_out_rows_best() -> None:
    curves = NestedCurves.on([Z, W], ONES)
    target = np.sin(2 * Z) + 0.5 * NOISE
    errors = []
    for end in curves.ends:
        features = curves.basis[:, :end]
        gaps = []
        for row in range(0, 400):
            kept = np.arange(400) != row
            fitted = features[row] @ np.linalg.lstsq(features[kept], target[kept])[0]
            gaps.append(target[row] - fitted)
        errors.append(np.mean(np.square(gaps)))
    best = int(np.argmin(errors))
    fit = curves.fit(target[:, None])
    assert (fit.level, fit.used) == (curves.levels[best], curves.ends[best])
    features = curves.basis[:, : fit.used]
    expected = target - features @ (features.T @ target)
    assert fit.residuals[:, 0] == pytest.approx(expected)
    assert fit.leverage == pytest.approx(np.square(features).sum(1))


@pytest.mark.parametrize(
    ("mean", "level"),
    [(Z + W, "lines"), (Z**2 - W, "cubics"), (np.abs(Z), "splines"), (Z * W, "products")],
)
def test_each_family_is_chosen_where_it_is_needed(mean, level: str) -> None:
    fit = NestedCurves.on([Z, W], ONES).fit((mean + 0.3 * NOISE)[:, None])
    assert fit.level >= LEVELS.index(level)
    assert fit.residuals.var() == pytest.approx(0.3**2, rel=0.2)


def test_groups_have_curves_of_their_own() -> None:
    group = np.arange(400) % 2
    target = np.where(group == 1, np.sin(Z), Z**2) + 0.3 * NOISE
    fit = NestedCurves.on([Z], np.eye(2)[group]).fit(target[:, None])
    assert fit.residuals.var() == pytest.approx(0.3**2, rel=0.2)


def test_columns_that_repeat_others_add_nothing() -> None:
    once, twice = NestedCurves.on([Z], ONES), NestedCurves.on([Z, Z], ONES)
    target = (np.square(Z) + NOISE)[:, None]
    assert twice.basis.shape[1] <= once.basis.shape[1] + 12  # bent sums have knots of their own
    assert twice.fit(target).used == once.fit(target).used


def test_few_rows_get_few_features_or_an_error() -> None:
    small = NestedCurves.on([Z[:10], W[:10]], ONES[:10])
    assert small.ends == (3,)
    with pytest.raises(DataError, match="4 rows for 3 features"):
        NestedCurves.on([Z[:4], W[:4]], ONES[:4])
