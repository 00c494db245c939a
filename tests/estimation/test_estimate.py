"""The result of an estimator: its intervals, tables, sentences and picture."""

import sys
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy.stats import norm

from causalppl.estimation.estimate import Estimate
from causalppl.estimation.from_data import estimate
from causalppl.exceptions import DataError, MissingExtraError
from causalppl.graphs import ADMG
from causalppl.identification import identify
from causalppl.queries import Contrast, Query

ATE = Contrast.parse("ATE(X -> Y)")


def number(**options: object) -> Estimate:
    given = {"values": np.array(2.0), "error": np.array(0.5), **options}
    return Estimate(ATE, "by hand", **given)


def table() -> Estimate:
    rng = np.random.default_rng(0)
    draws = rng.normal([[0.2, 0.4, 0.6], [0.8, 0.6, 0.4]], 0.01, (2_000, 2, 3))
    return Estimate(
        Query.parse("P(Y | do(X))"),
        "draws",
        draws.mean(axis=0),
        {"Y": ("ill", "well"), "X": (0, 1, 2)},
        draws=draws,
        num_rows=1_000,
        influence=np.arange(1_000 * 6.0).reshape(1_000, 2, 3),
    )


@pytest.mark.parametrize("prob", [0.5, 0.9, 0.95])
def test_an_error_gives_a_normal_interval(prob: float) -> None:
    low, high = number().interval(prob)
    assert norm.cdf(high, 2, 0.5) - norm.cdf(low, 2, 0.5) == pytest.approx(prob)
    assert (low + high) / 2 == pytest.approx(2)


@pytest.mark.parametrize("text", ["P(Y=1 | do(X=1))", "PNS(X -> Y)", "E[Y | do(X=1)]"])
def test_an_interval_of_a_probability_stays_between_0_and_1(text: str) -> None:
    asked = Contrast.parse(text) if text.startswith("PNS") else Query.parse(text)
    found = replace(number(error=np.array(0.02)), query=asked, values=np.array(0.97))
    drawn = np.random.default_rng(0).normal(0.97, 0.02, 999)
    for one in (found, replace(found, error=None, draws=drawn)):
        low, high = one.interval()
        is_free = text.startswith("E")
        assert low == pytest.approx(0.931, abs=0.005)
        assert (high == 1) != is_free
        assert ("cut to 0 to 1" in one.interpret()) != is_free
        assert float(one) == 0.97
    beyond = replace(found, query=Query.parse("P(Y=1 | do(X=1))"), values=np.array(1.2))
    assert beyond.interval() == (1.0, 1.0)
    assert "an estimate lies outside" in beyond.interpret().lower()
    inner = replace(found, values=np.array(0.5))
    assert inner.interval() == number(error=np.array(0.02), values=np.array(0.5)).interval()
    assert "cut" not in inner.interpret()


def test_a_method_may_have_ends_of_its_own() -> None:
    found = replace(number(), ends=lambda prob: (2 - prob, 2 + 2 * prob))
    assert found.interval(0.5) == (1.5, 3.0)
    assert found.at().interval(0.5) == (1.5, 3.0)


def test_draws_give_quantiles_and_errors() -> None:
    found = table()
    low, high = found.interval(0.9)
    assert found.draws is not None
    inside = ((found.draws >= low) & (found.draws <= high)).mean(axis=0)
    np.testing.assert_allclose(inside, 0.9, atol=0.001)
    np.testing.assert_allclose(found.standard_error, found.draws.std(axis=0, ddof=1))


@pytest.mark.parametrize("prob", [0, 1, -0.1, 95, "95%", None])
def test_an_interval_needs_a_probability(prob: Any) -> None:
    with pytest.raises(DataError, match=f"prob is {prob!r}; expected a number between 0 and 1"):
        number().interval(prob)


def test_a_cell_is_cut_out_with_all_it_has() -> None:
    found = table()
    assert found.standard_error.shape == (2, 3)  # kept before the cut, and not carried over
    cell = found.at(Y="well", X=2)
    assert float(cell) == found.values[1, 2]
    assert cell.draws is not None
    assert cell.influence is not None
    assert cell.draws.shape == (2_000,)
    assert cell.influence.shape == (1_000,)
    assert float(cell.standard_error) == pytest.approx(float(found.standard_error[1, 2]))
    row = found.at(Y="ill")
    assert row.axes == {"X": (0, 1, 2)}
    assert row.summary().shape == (3, 4)


def test_wrong_cells_are_named() -> None:
    with pytest.raises(DataError, match="X has no value 5"):
        table().at(X=5)
    with pytest.raises(DataError, match="no axis 'W'"):
        table().at(W=5)
    with pytest.raises(DataError, match=r"leaves Y, X open"):
        float(table())


def test_what_is_no_estimate_is_refused() -> None:
    with pytest.raises(DataError, match="not finite"):
        Estimate(ATE, "by hand", np.array(np.nan))
    with pytest.raises(DataError, match=r"shape \(2,\); expected \(\)"):
        Estimate(ATE, "by hand", np.zeros(2))
    with pytest.raises(DataError, match=r"errors have shape \(3,\); expected \(\)"):
        number(error=np.ones(3))
    with pytest.raises(DataError, match=r"draws have shape \(4, 3\); expected \(draws,\)"):
        number(draws=np.ones((4, 3)))
    with pytest.raises(DataError, match=r"standard errors .* not finite"):
        number(error=np.array(np.inf))


def test_an_estimate_without_spread_has_no_interval() -> None:
    with pytest.raises(DataError, match="neither errors nor draws"):
        number(error=None).interval()


def test_a_summary_has_a_row_for_each_value() -> None:
    summary = table().summary(0.9)
    assert list(summary.columns) == ["estimate", "error", "5%", "95%"]
    assert summary.index.names == ["Y", "X"]
    assert summary.loc[("well", 0), "estimate"] == pytest.approx(0.8, abs=0.01)
    assert list(number().summary().index) == ["ATE(X: 1 vs 0 -> Y)"]


def test_an_interpretation_says_what_how_sure_and_on_what() -> None:
    text = number(
        num_rows=1_000, num_dropped=12, ess=345.6, assumptions=("a", "b"), notes=("Mind c.",)
    ).interpret()
    assert text == (
        "ATE(X: 1 vs 0 -> Y) is 2, 95% interval 1.02 to 2.98 (by by hand, 1,000 rows, 12 "
        "incomplete ones left out, worth 346 equally weighted ones). It rests on: a; b. Mind c."
    )
    told = table().interpret()
    assert told.startswith(f"P(Y | do(X)), with the 95% interval, is {table().values[0, 0]:.4g} (")
    assert "at Y=well, X=2" in told


def test_a_posterior_and_its_notes_are_told_as_sentences() -> None:
    data = {"Y": [0, 1] * 20, "X": [0, 0, 1, 1] * 10}
    found = estimate(identify(ADMG.parse("X -> Y"), "P(Y=1 | do(X=1))"), data, seed=0)
    found = replace(found, notes=("in 0.1% of rows", "X is rare.", "ess=3 is few"))
    assert "(by a Dirichlet posterior (1,000 draws), 40 rows)" in found.interpret()
    assert found.interpret().endswith(" In 0.1% of rows. X is rare. ess=3 is few.")
    lower = identify(ADMG.parse("x -> y"), "P(y=1 | do(x=1))")
    small = replace(found, estimand=lower, notes=("x is rare",))
    assert small.interpret().endswith(" x is rare.")


def test_a_large_table_is_counted_rather_than_told() -> None:
    law = Query.parse("P(Y=1 | do(X))")
    wide = Estimate(law, "hand", np.zeros(9), {"X": tuple(range(9))}, error=np.ones(9))
    assert "was estimated at 9 values" in wide.interpret()


def test_it_shows_itself() -> None:
    assert "= 2 [1.02, 2.98], by by hand" in repr(number())
    assert "well" in repr(table())
    assert "<table" in table()._repr_html_()
    below = Estimate(Query.parse("P(Y < 3)"), "hand", np.array(0.5), error=np.array(0.1))
    assert "P(Y &lt; 3)" in below._repr_html_().partition("<table")[0]


def test_a_picture_has_an_interval_for_each_value() -> None:
    ax = table().plot(prob=0.9)
    assert [label.get_text() for label in ax.get_yticklabels()][:2] == ["Y=ill, X=0", "Y=ill, X=1"]
    low, high = table().interval(0.9)
    drawn = np.array([segment[:, 0] for segment in ax.collections[0].get_segments()])
    np.testing.assert_allclose(drawn, np.stack([low.reshape(-1), high.reshape(-1)], axis=1))
    points = [line.get_xdata()[0] for line in ax.lines]
    assert points == pytest.approx(table().values.reshape(-1).tolist())
    assert number().plot(ax) is ax
    plt.close("all")


def test_a_picture_needs_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingExtraError, match=r"causalppl\[plots\]"):
        number().plot()
