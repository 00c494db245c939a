"""Diagrams whose mechanisms no smooth regression describes: not contradicted, yet testable."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from causalppl import ADMG, falsify
from causalppl.estimation.independence_tests import ResidualCovariance, Sample
from causalppl.estimation.missed_means import missed_products

Data = dict[str, Any]


def triple(parents: Any) -> Any:
    return np.tanh(2 * parents[0] * parents[1] * parents[2])


def signs(parents: Any) -> Any:
    return 2.0 * (parents[0] * parents[1] > 0)


def wave(parents: Any) -> Any:
    return np.sin(10 * parents[0])


SHAPES = [(triple, 3), (signs, 2), (wave, 1)]
NAMES = ["tanh of a triple product", "sign of a product", "wave"]


def shared(
    mechanism: Callable[[Any], Any], size: int, seed: int, *, effect: float = 0.0
) -> tuple[ADMG, Data]:
    """X and Y follow their common parents in the same way; X may have an effect on Y."""
    rng = np.random.default_rng(seed)
    parents = rng.normal(size=(size, 1000))
    names = "ABC"[:size]
    data: Data = dict(zip(names, parents, strict=True))
    noise = 0.3 * rng.normal(size=(2, 1000))
    data["X"] = mechanism(parents) + noise[0]
    data["Y"] = mechanism(parents) + effect * noise[0] + noise[1]
    return ADMG.parse("; ".join(f"{a} -> X; {a} -> Y" for a in names)), data


@pytest.mark.parametrize(("mechanism", "size"), SHAPES, ids=NAMES)
def test_a_true_diagram_is_not_contradicted_by_what_the_regressions_miss(
    mechanism: Callable[[Any], Any], size: int
) -> None:
    """Without the allowance each of them is contradicted; of 12 at 5 %, 4 alarms are 1 in 400."""
    reports = [falsify(*shared(mechanism, size, seed)) for seed in range(12)]
    assert sum(not report for report in reports) <= 3
    told = [report.interpret() for report in reports]
    assert sum("both regressions missed a part of the mean" in text for text in told) >= 9
    assert any("In X _||_ Y | A" in text for text in told)


def test_a_dependence_beyond_what_was_missed_is_found() -> None:
    """A half of the dependence is more than three times what neighbours have in common."""
    rng = np.random.default_rng(0)
    z, first, second = rng.normal(size=(3, 2000))
    missed = 0.5 * np.sin(10 * z)
    data = {"Z": z, "X": missed + first, "Y": missed + 0.4 * first + second}
    report = falsify(ADMG.parse("Z -> X; Z -> Y"), data)
    assert not report
    assert "both regressions missed" in report.interpret()
    # and the same without the effect is not
    assert falsify(ADMG.parse("Z -> X; Z -> Y"), {**data, "Y": missed + second})


def test_a_regression_of_the_user_is_looked_at_too() -> None:
    z, first, second = np.random.default_rng(1).normal(size=(3, 1000))
    data = {"Z": z, "X": z**2 + first, "Y": z**2 + second}
    found = ResidualCovariance(LinearRegression()).test(data, "X", "Y", ["Z"])
    assert found.p_value > 0.05
    assert "missed" in found.doubt
    assert ResidualCovariance().test(data, "X", "Y", ["Z"]).doubt == ""


@pytest.mark.parametrize("seed", range(3))
def test_the_bound_holds_the_product_of_what_was_missed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    z, w, a, b = rng.normal(size=(4, 2000))
    first, second = np.sin(3 * z) * w, np.cos(3 * z) * w + np.sin(3 * z)
    group = rng.integers(3, size=2000)
    question = Sample({"x": a, "y": b, "z": z, "w": w, "g": group}).ask("x", "y", ["z", "w", "g"])
    (bound,) = missed_products(question, (first + a)[:, None], (second + b)[:, None])
    # three times what neighbours share, less than the mean squares as they are not in one place
    assert (
        abs((first * second).mean()) < bound < 3.5 * np.sqrt((first**2).mean() * (second**2).mean())
    )


def test_without_misfit_or_neighbours_nothing_is_allowed_for() -> None:
    rng = np.random.default_rng(2)
    found = []
    for _ in range(200):
        z, a, b = rng.normal(size=(3, 300))
        question = Sample({"x": a, "y": b, "z": z}).ask("x", "y", ["z"])
        found.append(missed_products(question, a[:, None], b[:, None]).item() > 0)
    # both beyond one standard error: .16 squared; of 200 more than 14 is 1 in 1,000
    assert sum(found) <= 14
    wide = {f"z{i}": rng.normal(size=300) for i in range(7)}
    both = rng.normal(size=300)
    question = Sample({"x": both, "y": both, **wide}).ask("x", "y", list(wide))
    assert missed_products(question, both[:, None], both[:, None]).tolist() == [0.0]


def test_many_rows_in_one_place_do_not_find_themselves() -> None:
    rng = np.random.default_rng(3)
    z = np.where(rng.random(1000) < 0.5, 0.0, rng.normal(size=1000))
    a, b = rng.normal(size=(2, 1000))
    question = Sample({"x": a, "y": b, "z": z}).ask("x", "y", ["z"])
    # a row that found itself would share all of its own noise, with a bound of about .2
    assert missed_products(question, a[:, None], a[:, None]).item() < 0.1
