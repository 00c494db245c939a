"""Data that cannot be used, or hardly: an error or a reason by name, never NaN, never a warning."""

import numpy as np
import pandas as pd
import pytest

from causalppl import ADMG
from causalppl.estimation.falsify import Falsification, falsify
from causalppl.exceptions import DataError

CONFOUNDED = "Z -> X -> Y; Z -> Y; W"
ROWS = 200


def linear(rows=ROWS):
    """Columns on the confounded diagram."""
    rng = np.random.default_rng(0)
    z, w, first, second = rng.normal(size=(4, rows))
    x = z + first
    return {"Z": z, "X": x, "Y": x - z + second, "W": w}


def reports(data) -> Falsification:
    return falsify(ADMG.parse("Z -> X -> Y; W"), data)


def test_constant_and_empty_columns_are_skipped_by_name() -> None:
    data = linear()
    for broken, reason in ((np.ones(200), "'W' is constant"), (np.full(200, np.nan), "0 rows")):
        report = reports({**data, "W": broken})
        assert [str(check.fact) for check in report.checks] == ["Z _||_ Y | X"]
        assert len(report.skipped) == 3
        assert all(reason in text for text in report.skipped.values())
        assert not report.summary().loc["Z _||_ Y | X"].isna().any()


def test_gaps_cost_rows_only_where_they_are() -> None:
    data = pd.DataFrame(linear())
    data.loc[:49, "W"] = np.nan
    rows = reports(data).summary()["rows"]
    assert rows["Z _||_ Y | X"] == 200
    assert rows["W _||_ X"] == 150


def test_columns_that_are_missing_and_rows_too_few_are_errors() -> None:
    data = linear()
    del data["W"]
    with pytest.raises(DataError, match="no column 'W'"):
        reports(data)
    with pytest.raises(DataError, match="none of 4 constraints could be tested"):
        reports({name: values[:2] for name, values in {**data, "W": np.arange(200)}.items()})


def test_a_diagram_that_implies_nothing_is_not_contradicted() -> None:
    report = falsify(ADMG.parse("X -> Y"), {"X": [0.1, 0.2, 0.4], "Y": [1.0, 3.0, 2.5]})
    assert report
    assert len(report.summary()) == 0
    assert "implies nothing that was tested" in report.interpret()


RNG = np.random.default_rng(1)
USABLE = {
    "text": {"W": RNG.choice(["a", "b", "c"], ROWS)},
    "booleans": {name: values > 0 for name, values in linear().items()},
    "one boolean": {"X": linear()["X"] > 0},
    "two values": {name: np.where(values > 0, 1.5, 0) for name, values in linear().items()},
    "equal columns": {"W": linear()["Z"]},
    "counts": {name: np.round(np.exp(2 * values)) for name, values in linear().items()},
    "far values": {name: np.exp(20 * np.abs(values)) for name, values in linear().items()},
    "huge numbers": {name: 1e300 * values for name, values in linear().items()},
    "the largest numbers": {"X": np.where(linear()["X"] > 0, 1.7e308, -1.7e308)},
    "tiny numbers": {name: 1e-320 * values for name, values in linear().items()},
    "far from zero": {name: 1e12 + values for name, values in linear().items()},
    "one other value": {"X": np.arange(ROWS) == 3, "Z": 1.5 * (np.arange(ROWS) == 5)},
    "gaps": {"Z": np.where(RNG.random(ROWS) < 0.3, np.nan, linear()["Z"])},
}


@pytest.mark.parametrize("kind", USABLE)
def test_unusual_columns_are_tested_without_warnings(kind: str) -> None:
    report = reports(pd.DataFrame({**linear(), **USABLE[kind]}))
    assert len(report.checks) == 4
    numbers = report.summary()[["statistic", "p", "p_holm", "p_bh"]]
    assert np.isfinite(numbers.to_numpy()).all()
    assert ("W _||_ Z" in [str(c.fact) for c in report.violations]) == (kind == "equal columns")


UNTESTABLE = {
    "names": ({"W": [f"unit {i}" for i in range(ROWS)]}, 3, "'W' has 200 values in 200 rows"),
    "given equals left": ({"X": linear()["Z"]}, 1, "leaves no variation in Z or Y"),
    "given tells left": ({"X": 1e6 - 3 * linear()["Z"]}, 1, "leaves no variation in Z or Y"),
    "categories of one row": (
        {name: pd.Categorical(np.random.default_rng(2).permutation(ROWS)) for name in "XYZ"},
        4,
        "all permutations give the same table|has 200 values in 200 rows",
    ),
}


@pytest.mark.parametrize("kind", UNTESTABLE)
def test_what_cannot_be_tested_is_listed_with_the_reason(kind: str) -> None:
    changed, count, reason = UNTESTABLE[kind]
    data = pd.DataFrame({**linear(), **changed})
    if count == 4:
        with pytest.raises(DataError, match=reason):
            reports(data)
        return
    report = reports(data)
    assert len(report.skipped) == count
    assert all(reason in text for text in report.skipped.values())


def test_few_rows_are_tested_or_refused() -> None:
    assert len(reports(linear(5)).checks) == 4
    for rows in (2, 3):
        with pytest.raises(DataError, match=f"{rows} rows for . scores; expected more"):
            reports(linear(rows))


def test_more_variables_than_rows() -> None:
    names = [f"V{i}" for i in range(12)]
    # each but the last two is a parent of both
    parents = [(a, b) for a in names[:10] for b in names[10:]]
    data = dict(zip(names, np.random.default_rng(0).normal(size=(12, 8)), strict=True))
    report = falsify(ADMG(names, parents), data)
    assert [str(f).split(" |")[0] for f in report.skipped] == ["V10 _||_ V11"]
    assert "8 rows for 11 features" in next(iter(report.skipped.values()))
    assert len(report.checks) == 45


def test_infinities_dates_and_mixed_types_are_refused_by_name() -> None:
    for values, reason in (
        (np.where(np.arange(ROWS) == 3, np.inf, 0.5), "it is infinite"),
        (pd.date_range("2020", periods=ROWS), "it holds dates"),
        (pd.Series([1, "a"] * (ROWS // 2), dtype=object), "it mixes values"),
    ):
        with pytest.raises(DataError, match=f"'X': {reason}"):
            reports(pd.DataFrame({**linear(), "X": values}))
