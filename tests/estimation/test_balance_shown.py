"""How balance is shown: its table, its sentence in a notebook, and the love plot."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from sklearn.dummy import DummyClassifier

from causalppl.estimation import IPW, balance
from causalppl.graphs import ADMG
from causalppl.identification import identify

approx = pytest.approx


def asked(covariates):
    edges = [(name, end) for name in covariates for end in "XY"]
    return identify(ADMG([*covariates, *"XY"], directed=[*edges, ("X", "Y")]), "ATE(X -> Y)")


def confounded():
    rng = np.random.default_rng(0)
    z = rng.normal(size=400)
    x = (rng.random(400) < 1 / (1 + np.exp(-z))) * 1
    group = rng.choice(["a", "b", "c"], 400)
    return pd.DataFrame({"Z": z, "G": group, "X": x, "Y": x + z + rng.normal(size=400)})


def test_summary_names_its_columns():
    found = balance(asked("ZG"), confounded())
    assert found.summary().columns.tolist() == [
        "kind",
        *("mean X=0, before", "mean X=1, before", "mean X=0, after", "mean X=1, after"),
        *("mean population", "SMD before", "SMD after"),
        *("variance ratio before", "variance ratio after", "KS before", "KS after"),
    ]
    assert found.positivity().index.tolist() == ["X=0", "X=1"]
    assert repr(found).startswith("Balance(ATE(X: 1 vs 0 -> Y), 4 columns, worst difference 0.8")


def test_html_holds_the_sentence_and_both_tables():
    page = balance(asked("ZG"), confounded())._repr_html_()
    assert page.count("<table") == 2
    assert "-&gt;" not in page.split("</p>")[0]
    assert "NaN" not in page


def test_the_love_plot_has_two_dots_for_each_column():
    found = balance(asked("ZG"), confounded())
    ax = Figure().subplots()
    assert found.plot(ax) is ax
    assert ax.get_yticklabels()[0].get_text() == "Z"
    before, after = (line for line in ax.lines if line.get_label().endswith("weighting"))
    ordered = sorted(found.columns, key=lambda column: -max(column.smd))
    assert before.get_xdata() == approx([column.smd.before for column in ordered])
    assert after.get_xdata() == approx([column.smd.after for column in ordered])


def test_the_love_plot_draws_what_is_infinite_at_its_edge():
    data = confounded().assign(G=lambda table: np.where(table["X"] == 1, "up", "down"))
    ax = balance(asked("ZG"), data).plot(Figure().subplots())
    edges = [line.get_xdata() for line in ax.lines if line.get_marker() == ">"]
    assert [len(found) for found in edges] == [1, 1]
    assert np.isfinite(ax.get_xlim()).all()


def test_the_love_plot_shortens_names_and_leaves_out_small_ones():
    names = [f"{'a covariate with quite some letters in it ' * (i == 0)}{i}" for i in range(70)]
    rng = np.random.default_rng(0)
    data = pd.DataFrame(rng.normal(size=(500, 70)), columns=names)
    data["X"], data["Y"] = rng.integers(0, 2, 500), rng.normal(size=500)
    data[names[0]] += data["X"]
    ax = balance(asked(names), data, method=IPW(propensity=DummyClassifier())).plot(
        Figure().subplots()
    )
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert len(labels) == 60
    assert labels[0] == "a covariate with qui…ome letters in it 0"
    assert ax.get_title().endswith("(10 smaller ones not drawn)")
