"""What is left open, and what would overturn a conclusion, is drawn where it is."""

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from causalppl import Contrast, Estimate, plots
from causalppl.bounds import Bounds, Certificate, certify_decision, msm_mean, msm_tipping_point
from causalppl.exceptions import DataError

EFFECT = Contrast.parse("ATE(X -> Y)")


@pytest.fixture
def ax() -> Any:
    return Figure().subplots()


def segments(ax: Any, width: float) -> list[list[list[float]]]:
    """Horizontal lines of a width: both ends, in the order drawn."""
    return [
        segment.tolist()
        for drawn in ax.collections
        for segment in drawn.get_segments()
        if drawn.get_linewidth()[0] == width
    ]


def regions(ax: Any) -> dict[str, tuple[float, float]]:
    """Shaded spans by label."""
    return {
        patch.get_label(): (patch.get_x(), patch.get_x() + patch.get_width())
        for patch in ax.patches
        if not patch.get_label().startswith("_")
    }


def test_each_answer_has_a_bar_and_what_holds_no_effect_is_grey(ax: Any) -> None:
    wide = Bounds(EFFECT, "hand", np.array(-0.2), np.array(0.6), error=np.array([0.1, 0.1]))
    narrow = Bounds(EFFECT, "hand", np.array(0.1), np.array(0.3))
    point = Estimate(EFFECT, "hand", np.array(0.25), error=np.array(0.05))
    given = {"nothing": wide, "instrument": narrow, "no hidden cause": point}
    assert plots.bounds(given, naive={"crude": 0.5}, ax=ax) is ax
    assert [label.get_text() for label in ax.get_yticklabels()] == list(given)
    assert segments(ax, 6.0) == [[[-0.2, 0], [0.6, 0]], [[0.1, 1], [0.3, 1]]]
    assert segments(ax, 1.6)[0][0] == pytest.approx([-0.396, 0.0], abs=1e-3)
    _, bars = (drawn.get_color().tolist() for drawn in ax.collections)
    assert bars[0] == [0.55, 0.55, 0.55, 1.0] != bars[1]
    dashed = {line.get_label(): line.get_xdata()[0] for line in ax.lines if line.is_dashed()}
    assert dashed == {"crude: 0.5": 0.5}


def test_bounds_of_several_values_have_a_line_for_each(ax: Any) -> None:
    found = Bounds("E[Y]", "hand", np.zeros(2), np.ones(2), {"Z": ("a", "b")})
    plots.bounds(found, ax=ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["Z=a", "Z=b"]
    other = Figure().subplots()
    plots.bounds({"by hand": found}, ax=other)
    assert [label.get_text() for label in other.get_yticklabels()][1] == "by hand: Z=b"
    with pytest.raises(DataError, match="at least one"):
        plots.bounds({}, ax=ax)


def test_the_tipping_point_of_a_log_is_marked_between_what_may_be_concluded(ax: Any) -> None:
    y, chance = np.array([1, 1, 1, 0] * 50), np.full(200, 0.5)
    expected = float(msm_tipping_point(y, chance, 0.5))
    plots.tipping(lambda ratio: msm_mean(y, chance, ratio), reference=0.5, ax=ax)
    shown = regions(ax)
    assert list(shown) == ["above 0.5", "above 0.5, but for sampling error", "undecided"]
    assert shown["undecided"][0] == pytest.approx(expected) == pytest.approx(3.0)
    first = shown["above 0.5"][1]
    assert 1 < first < expected
    low, _ = msm_mean(y, chance, first).interval()
    assert float(low) == pytest.approx(0.5)
    assert ax.get_xlim()[1] == pytest.approx(1 + 1.6 * (expected - 1))


def test_ends_between_the_odds_ratios_of_a_table_are_interpolated(ax: Any) -> None:
    table = Bounds("E", "hand", np.array([-0.4, -0.6]), np.array([-0.2, 0.2]), {"g": (1.0, 3.0)})
    plots.tipping(table, ax=ax)
    assert regions(ax) == {"below 0": (1.0, 2.0), "undecided": (2.0, pytest.approx(2.6))}
    with pytest.raises(DataError, match="where the bounds end"):
        plots.tipping(table, largest=4.0)


def test_what_never_tips_is_decided_throughout(ax: Any) -> None:
    plots.tipping(lambda ratio: (0.1, 0.2 * ratio), ax=ax)
    assert regions(ax) == {"above 0": (1.0, 3.0)}
    undecided = Figure().subplots()
    plots.tipping(lambda ratio: (-0.1 * ratio, 0.2 * ratio), ax=undecided)
    assert regions(undecided) == {"undecided": (1.0, 3.0)}


@pytest.mark.parametrize(
    ("axes", "size"), [({}, ()), ({"Z": ("a", "b")}, (2,)), ({"g": (2.0, 3.0)}, (2,))]
)
def test_bounds_without_odds_ratios_from_1_on_are_refused(axes: Any, size: Any) -> None:
    with pytest.raises(DataError, match="begins with 1"):
        plots.tipping(Bounds("E", "hand", np.zeros(size), np.ones(size), axes))


@pytest.mark.parametrize("ends", [(np.nan, 1.0), (0.5, np.inf)])
def test_ends_that_are_no_numbers_are_refused(ends: Any, ax: Any) -> None:
    with pytest.raises(DataError, match=r"odds ratio 1 has the value (nan|inf)"):
        plots.tipping(lambda ratio: ends, ax=ax)


def test_answers_that_are_no_numbers_are_refused(ax: Any) -> None:
    with pytest.raises(DataError, match="crude has the value nan"):
        plots.bounds({"crude": np.nan}, ax=ax)
    with pytest.raises(DataError, match="crude has the value nan"):
        plots.bounds({"hand": 1.0}, naive={"crude": np.nan}, ax=ax)


def test_a_certificate_is_drawn_with_its_interval_and_its_estimate(ax: Any) -> None:
    rng = np.random.default_rng(0)
    arm = np.arange(100) % 2
    y, chance = rng.normal(2.0 * arm), np.full(100, 0.5)
    found = certify_decision(y, arm, propensities=chance, odds_ratio=1.2)
    plots.bounds(found, ax=ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == [found.decision]
    assert segments(ax, 1.6) == [[pytest.approx([end, 0]) for end in found.interval]]
    assert len(segments(ax, 6.0)) == 1
    assert [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o"] == [
        pytest.approx(found.estimate)
    ]
    exact = Certificate.from_bounds(Bounds(EFFECT, "hand", np.array(0.1), np.array(0.3)))
    other = Figure().subplots()
    plots.bounds({"exact": exact}, ax=other)
    assert segments(other, 6.0) == [[[0.1, 0], [0.3, 0]]]
