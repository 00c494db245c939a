"""The chances of an arm, upwards for those who have it and downwards for the others."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from sklearn.dummy import DummyClassifier

from causalppl import ADMG, identify, plots
from causalppl.estimation import IPW, balance
from causalppl.exceptions import DataError

GRAPH = ADMG.parse("Z -> {X, Y}; X -> Y")


def found(query="E[Y | do(X)]", num_rows=900, **settings):
    rng = np.random.default_rng(0)
    z = rng.normal(size=num_rows)
    x = np.clip(np.round(z + rng.normal(size=num_rows)) + 1, 0, 2).astype(int)
    data = pd.DataFrame({"Z": z, "X": x, "Y": rng.normal(size=num_rows)})
    return balance(identify(GRAPH, query), data, method=IPW(**settings))


def heights(ax):
    return np.array([bar.get_height() for bar in ax.patches])


def test_bars_are_the_shares_of_rows_with_and_without_the_arm():
    answer, ax = found(), Figure().subplots()
    assert plots.overlap(answer, arm="X=2", ax=ax) is ax
    bars = heights(ax)
    for side, has in ((bars[:40], answer.received == 2), (-bars[40:], answer.received != 2)):
        counts, _ = np.histogram(answer.chances[has, 2], bins=40, range=(0, 1))
        assert side == pytest.approx(counts / has.sum())
    told = [text.get_text() for text in ax.get_legend().get_texts()]
    rows = (answer.received == 2).sum()
    assert told == [f"{rows} rows with X=2", f"{900 - rows} rows without X=2"]


def test_the_arm_worth_the_least_is_drawn_unless_one_is_named():
    answer = found()
    least = min(answer.arms, key=lambda arm: arm.worth)
    assert plots.overlap(answer, ax=Figure().subplots()).get_xlabel() == f"chance of {least.name}"


def test_rows_that_are_not_compared_are_not_drawn():
    answer = found("ETT(X: 2 vs 0 -> Y)")
    ax = plots.overlap(answer, arm="X=2", ax=Figure().subplots())
    rows = sum((answer.received == place).sum() for place in (0, 1))
    assert rows < 900
    told = [int(text.get_text().split()[0]) for text in ax.get_legend().get_texts()]
    assert sum(told) == rows


def test_one_chance_for_all_is_one_bar_on_each_side():
    answer = found(propensity=DummyClassifier())
    assert np.count_nonzero(heights(plots.overlap(answer, ax=Figure().subplots()))) == 2


def test_an_unknown_arm_is_refused():
    with pytest.raises(DataError, match="arm is 'X=3'; expected one of X=0, X=1, X=2"):
        plots.overlap(found(), arm="X=3")
