"""`MarginalSensitivity` answers adjustment questions of a diagram, from rows and from laws."""

import numpy as np
import pytest
import torch

from causalppl.bounds.marginal_sensitivity_method import MarginalSensitivity
from causalppl.bounds.method import OBSERVED, BoundProblem
from causalppl.bounds.quantile_balancing import sharp_effect
from causalppl.data import Factor, Table
from causalppl.exceptions import DataError
from causalppl.graphs import ADMG
from causalppl.queries import Contrast, Query

GRAPH = ADMG.parse("Z -> X -> Y; Z -> Y; X <-> Y")


def rows(rng, n=600):
    z = rng.integers(0, 3, n)
    x = (rng.random(n) < np.array([0.3, 0.5, 0.6])[z]) * 1
    y = (rng.random(n) < 0.2 + 0.1 * z + 0.3 * x) * 1
    return {"Z": z, "X": x, "Y": y}


def asked(text, data=None, law=None, **kwargs):
    query = Query.parse(text) if "do(" in text or "_{" in text else Contrast.parse(text)
    tables = {} if data is None else {OBSERVED: Table.from_any(data)}
    laws = {} if law is None else {OBSERVED: law}
    return BoundProblem(GRAPH, query, tables, laws=laws, **kwargs)


def ends(found):
    return float(found.lower), float(found.upper)


@pytest.mark.parametrize(("text", "is_on_treated"), [("ATE(X -> Y)", False), ("ETT(X -> Y)", True)])
def test_effects_are_those_of_the_arrays(text, is_on_treated):
    data = rows(np.random.default_rng(0))
    found = MarginalSensitivity(1.7).solve(asked(text, data), seed=0)
    plain = sharp_effect(data["Y"], data["X"], data["Z"], 1.7, is_on_treated=is_on_treated)
    assert ends(found) == pytest.approx(ends(plain), abs=1e-6)
    assert found.error == pytest.approx(plain.error, abs=1e-6)
    assert found.is_sharp
    assert found.num_rows == 600
    assert "Z account for all confounding" in found.interpret()


def law_of(data):
    values = np.zeros((3, 2, 2))
    np.add.at(values, (data["Z"], data["X"], data["Y"]), 1 / len(data["Z"]))
    states = {"Z": (0, 1, 2), "X": (0, 1), "Y": (0, 1)}
    return Factor(("Z", "X", "Y"), torch.tensor(values), states)


@pytest.mark.parametrize("text", ["ATE(X -> Y)", "P(Y=1 | do(X=1))", "E[Y | do(X=0)]"])
@pytest.mark.parametrize("sharp", [True, False])
def test_the_law_of_the_rows_gives_what_the_rows_give(text, sharp):
    data = rows(np.random.default_rng(1))
    method = MarginalSensitivity(1.5, sharp=sharp)
    by_rows = method.solve(asked(text, data), seed=0)
    by_law = method.solve(asked(text, law=law_of(data)), seed=0)
    assert ends(by_law) == pytest.approx(ends(by_rows), abs=1e-6)
    assert by_law.num_rows == 0
    assert by_law.interval() == (by_law.lower, by_law.upper)


def test_open_values_make_axes():
    data = rows(np.random.default_rng(2))
    found = MarginalSensitivity(2.0).solve(asked("P(Y | do(X))", data), seed=0)
    assert found.axes == {"X": (0, 1), "Y": (0, 1)}
    # the chances of two states add up, so the ends of one are those of the other
    assert found.at(Y=0).lower == pytest.approx(1 - found.at(Y=1).upper, abs=1e-6)
    one = MarginalSensitivity(2.0).solve(asked("P(Y=1 | do(X=1))", data), seed=0)
    assert float(found.at(X=1, Y=1).upper) == pytest.approx(float(one.upper))


def test_sharp_is_within_not_sharp_and_one_is_the_point():
    data = rows(np.random.default_rng(3))
    for text in ("ATE(X -> Y)", "ETT(X -> Y)"):
        sharp = MarginalSensitivity(2.0).solve(asked(text, data), seed=0)
        boxed = MarginalSensitivity(2.0, sharp=False).solve(asked(text, data), seed=0)
        assert boxed.lower <= sharp.lower + 1e-9
        assert sharp.upper <= boxed.upper + 1e-9
        point = MarginalSensitivity(1.0).solve(asked(text, data), seed=0)
        assert point.lower == point.upper
        flat = MarginalSensitivity(1.0, sharp=False).solve(asked(text, data), seed=0)
        assert ends(flat) == pytest.approx(ends(point))


def test_weights_are_counts_of_rows():
    data = rows(np.random.default_rng(4), 60)
    counts = np.random.default_rng(5).integers(1, 4, 60)
    long = {name: np.repeat(column, counts) for name, column in data.items()}
    query = Contrast.parse("ATE(X -> Y)")
    weighted = BoundProblem(
        GRAPH,
        query,
        {OBSERVED: Table.from_any(data)},
        weights={OBSERVED: counts.astype(float)},
    )
    one = MarginalSensitivity(1.5).solve(weighted, seed=0)
    other = MarginalSensitivity(1.5).solve(asked("ATE(X -> Y)", long), seed=0)
    assert ends(one) == pytest.approx(ends(other))


def test_continuous_covariates_are_learned():
    rng = np.random.default_rng(6)
    z = rng.normal(size=400)
    x = (rng.random(400) < 1 / (1 + np.exp(-z))) * 1
    data = {"Z": z, "X": x, "Y": 2.0 * x + z + rng.normal(size=400)}
    found = MarginalSensitivity(1.2).solve(asked("ATE(X -> Y)", data), seed=0)
    low, high = found.interval()
    assert low < 2 < high
    assert any("cross-fitted" in note for note in found.notes)
    again = MarginalSensitivity(1.2).solve(asked("ATE(X -> Y)", data), seed=0)
    assert ends(found) == ends(again)


def test_what_adjustment_does_not_answer_is_refused_with_a_reason():
    data = rows(np.random.default_rng(7))
    graph = ADMG.parse("Z -> X -> Y; X <-> Z; Z <-> Y; X <-> Y")
    problem = BoundProblem(
        graph, Contrast.parse("ATE(X -> Y)"), {OBSERVED: Table.from_any({**data})}
    )
    assert MarginalSensitivity(2.0).refusal(problem) is not None
    assert MarginalSensitivity(2.0).refusal(asked("ATE(X -> Y)", data)) is None
    nothing = BoundProblem(GRAPH, Contrast.parse("ATE(X -> Y)"))
    assert "no observed data" in MarginalSensitivity(2.0).refusal(nothing)


@pytest.mark.parametrize(
    "wrong",
    [{"odds_ratio": 0.5}, {"odds_ratio": 2, "sharp": "yes"}, {"odds_ratio": 2, "learners": 3}],
)
def test_settings_are_checked(wrong):
    with pytest.raises(DataError):
        MarginalSensitivity(**wrong)
