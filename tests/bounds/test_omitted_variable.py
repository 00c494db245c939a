"""Omitted-variable bias: published figures, and regressions with the variable put back."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import stdtrit

from causalppl.bounds.omitted_variable import OmittedVariable
from causalppl.exceptions import DataError

DARFUR = OmittedVariable(0.09731582, 0.02325654, 783)


def test_published_figures_of_darfur():
    assert DARFUR.partial_r2 == pytest.approx(0.0219, abs=5e-5)
    assert DARFUR.robustness_value() == pytest.approx(0.1388, abs=5e-5)
    assert DARFUR.robustness_value(level=0.05) == pytest.approx(0.0763, abs=5e-5)
    assert "13.9%" in DARFUR.interpret()
    assert "7.6%" in DARFUR.interpret()


def test_an_estimate_near_zero_is_said_not_to_differ_from_it():
    assert "as it stands it does not differ" in OmittedVariable(0.1, 1.0, 30).interpret()


def test_the_robustness_value_brings_the_estimate_to_zero_and_t_to_its_limit():
    value = DARFUR.robustness_value()
    assert DARFUR.adjusted(value, value).estimate == pytest.approx(0, abs=1e-12)
    half = DARFUR.robustness_value(0.5)
    assert DARFUR.adjusted(half, half).estimate == pytest.approx(DARFUR.estimate / 2)
    limit = DARFUR.robustness_value(level=0.05)
    found = DARFUR.adjusted(limit, limit)
    assert found.low == pytest.approx(0, abs=1e-3 * DARFUR.error)
    assert OmittedVariable(0.1, 1.0, 30).robustness_value(level=0.05) == 0


@pytest.mark.parametrize("t", [2.5, 4.0, 20.0, 50.0])
def test_no_weaker_variable_makes_it_insignificant(t):
    # a strong tie with the outcome also shrinks the error, so the worst one may be a weaker tie
    found = OmittedVariable(t, 1.0, 30)
    value = found.robustness_value(level=0.05)
    least = min(found.adjusted(value, r).t for r in np.linspace(0, value, 20_001))
    assert least == pytest.approx(float(stdtrit(29, 0.975)), rel=1e-5)


def draw(rng, n=200):
    z, w = rng.normal(size=(2, n))
    x = 0.5 * z + 0.3 * w + rng.normal(size=n)
    y = x + 0.8 * z - 0.4 * w + rng.normal(size=n)
    return {"x": x, "z": z, "w": w, "y": y}


def test_with_the_variable_put_back_the_adjusted_estimate_is_the_long_regression():
    rng = np.random.default_rng(0)
    for _ in range(20):
        data = draw(rng)
        short = OmittedVariable.from_regression(data, "x", "y", ["w"])
        long = OmittedVariable.from_regression(data, "x", "y", ["w", "z"])
        found = short.adjusted(*long.partials["z"])
        assert found.estimate == pytest.approx(long.estimate)
        assert found.error == pytest.approx(long.error)


def test_the_regression_is_least_squares():
    data = draw(np.random.default_rng(1))
    found = OmittedVariable.from_regression(pd.DataFrame(data), "x", "y", ["z", "w"])
    design = np.column_stack([np.ones(200), data["x"], data["z"], data["w"]])
    coefficients, residual, *_ = np.linalg.lstsq(design, data["y"], rcond=None)
    variance = residual[0] / 196 * np.linalg.inv(design.T @ design)[1, 1]
    assert (found.estimate, found.error) == pytest.approx((coefficients[1], np.sqrt(variance)))
    assert found.freedom == 196


def test_a_benchmark_as_strong_as_an_independent_copy_is_that_copy():
    # z and its twin enter alike, and are made exactly independent, so the bound holds with equality
    rng = np.random.default_rng(2)
    basis = np.linalg.qr(np.column_stack([np.ones(100), rng.normal(size=(100, 4))]))[0][:, 1:]
    z, twin, noise, error = basis.T
    x = z + twin + noise
    data = {"x": x, "z": z, "y": 0.5 * x + z + twin + error}
    short = OmittedVariable.from_regression(data, "x", "y", ["z"])
    long = OmittedVariable.from_regression(data | {"twin": twin}, "x", "y", ["z", "twin"])
    found = short.benchmark("z")
    assert found.with_treatment == pytest.approx(long.partials["twin"][0])
    assert found.adjusted.estimate <= long.estimate + 1e-9
    assert found.with_outcome >= long.partials["twin"][1] - 1e-9


def test_categories_gaps_and_weights_are_read():
    data = pd.DataFrame(draw(np.random.default_rng(3)))
    data["kind"] = np.where(data.z > 0, "high", "low")
    counts = np.random.default_rng(4).integers(1, 3, 200)
    plain = OmittedVariable.from_regression(data, "x", "y", ["kind"])
    gap = data.copy()
    gap.loc[0, "w"] = np.nan
    assert OmittedVariable.from_regression(gap, "x", "y", ["kind"]).freedom == plain.freedom
    assert OmittedVariable.from_regression(gap, "x", "y", ["w"]).freedom == plain.freedom - 1
    weighted = OmittedVariable.from_regression(data, "x", "y", ["kind"], weights=counts)
    long = OmittedVariable.from_regression(
        data.loc[np.repeat(data.index, counts)].reset_index(drop=True), "x", "y", ["kind"]
    )
    assert weighted.estimate == pytest.approx(long.estimate)


def test_contours_are_drawn_with_benchmarks():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    found = OmittedVariable.from_regression(draw(np.random.default_rng(5)), "x", "y", ["w", "z"])
    ax = found.plot(benchmarks=["w", ("w", 2.0)])
    texts = [text.get_text() for text in ax.texts]
    assert any("2 x w" in text for text in texts)
    assert found.plot(ax, largest=0.5) is ax
    pyplot.close(ax.figure)


@pytest.mark.parametrize(
    "call",
    [
        lambda: OmittedVariable(1.0, 0.0, 100),
        lambda: OmittedVariable(1.0, 1.0, 1),
        lambda: DARFUR.adjusted(1.0, 0.5),
        lambda: DARFUR.adjusted(0.5, 1.5),
        lambda: DARFUR.benchmark("age"),
        lambda: DARFUR.robustness_value(level=0),
        lambda: OmittedVariable.from_regression({"x": [1, 2], "y": [1, 2]}, "x", "y"),
        lambda: OmittedVariable.from_regression({"x": [1] * 9, "y": range(9)}, "x", "y"),
        lambda: OmittedVariable(1, 1, 9, {"z": (0.6, 0.1)}).benchmark("z"),
    ],
    ids=["error", "freedom", "x", "y", "unknown", "level", "few", "constant", "too strong"],
)
def test_what_cannot_be_used_is_refused(call):
    with pytest.raises(DataError):
        call()


def test_whole_weights_are_equal_rows_in_errors_too():
    data = pd.DataFrame(draw(np.random.default_rng(5)))
    counts = np.random.default_rng(6).integers(0, 4, 200)
    one = OmittedVariable.from_regression(data, "x", "y", ["z"], weights=counts)
    long = data.loc[np.repeat(data.index, counts)].reset_index(drop=True)
    other = OmittedVariable.from_regression(long, "x", "y", ["z"])
    assert (one.freedom, one.error) == pytest.approx((other.freedom, other.error))
    with pytest.raises(DataError, match="sign is 5"):
        one.adjusted(0.1, 0.1, sign=5)
