"""Unusual weights, columns and settings: the answer they mean, or a refusal that names them."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

import causalppl as cp
from causalppl.data import Factor
from causalppl.estimation import AIPW, Dirichlet, GFormula
from causalppl.estimation.falsify import benjamini_hochberg, falsify
from causalppl.exceptions import DataError
from causalppl.graphs import ADMG, back_door

LAW = cp.identify(back_door(), "P(Y=1 | do(X=1))")
EFFECT = cp.identify(back_door(), "ATE(X -> Y)")
FEW = Dirichlet(num_draws=200)


def frame(rows: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    z = rng.integers(2, size=rows)
    x = (rng.random(rows) < 0.3 + 0.4 * z).astype(int)
    y = (rng.random(rows) < 0.2 + 0.3 * z + 0.3 * x).astype(int)
    return pd.DataFrame({"Z": z, "X": x, "Y": y})


# Weights.


@pytest.mark.parametrize("scale", [1e-300, 1e-9, 1e300])
def test_sampling_weights_of_any_scale_are_the_same(scale: float) -> None:
    weights = np.random.default_rng(1).uniform(0.5, 1.5, 400)
    for estimand, method in ((LAW, FEW), (EFFECT, GFormula())):
        plain, scaled = (
            cp.estimate(estimand, frame(), method=method, weights=given, seed=0, **options)
            for given, options in ((weights, {}), (weights * scale, {"sampling_weights": True}))
        )
        np.testing.assert_allclose(scaled.values, plain.values, rtol=1e-9)
        np.testing.assert_allclose(scaled.standard_error, plain.standard_error, rtol=1e-6)
        assert scaled.ess == pytest.approx(plain.ess)


@pytest.mark.parametrize("method", [FEW, AIPW()], ids=["Dirichlet", "AIPW"])
def test_whole_numbers_beyond_all_counts_are_refused_by_name(method: Any) -> None:
    data = frame().assign(w=1e300)
    for weights, name in (("w", "column 'w'"), (data["w"].to_numpy(), "weights has")):
        with pytest.raises(DataError, match=f"{name}.*1e\\+300 rows.*sampling_weights") as found:
            cp.estimate(LAW if method is FEW else EFFECT, data, method=method, weights=weights)
        assert len(str(found.value)) < 300


# Columns.


def test_columns_that_the_formula_does_not_name_may_be_anything() -> None:
    data = frame()
    other = pd.DataFrame({"d": range(400), 7: 1.0})
    wide = pd.concat([data, other, other["d"]], axis=1)
    found, plain = (cp.estimate(LAW, table, method=FEW, seed=0) for table in (wide, data))
    assert float(found) == float(plain)
    diagram = ADMG.parse("Z -> X -> Y; Z -> Y; X <-> Y")
    assert len(falsify(ADMG.parse("Z -> X -> Y"), wide).checks) == 1
    assert falsify(diagram, wide)


def test_values_of_a_long_list_are_cut_short() -> None:
    data = frame().astype({"Y": object})
    data["Y"] = [f"value number {i}" for i in range(400)]
    with pytest.raises(DataError, match=r"an expectation of Y.*and 392 more") as found:
        cp.estimate(EFFECT, data)
    assert len(str(found.value)) < 500
    with pytest.raises(
        DataError, match=r"Y='value number 10x' never occurs.*did you mean"
    ) as found:
        cp.estimate(cp.identify(back_door(), "P(Y='value number 10x' | do(X=1))"), data)
    assert len(str(found.value)) < 500


# Plans.


def test_plans_that_the_formula_lacks_are_refused_by_name() -> None:
    law = Factor(("X",), [0.5, 0.5], {"X": (0, 1)})
    with pytest.raises(DataError, match="a law for 'X', and the formula has no plan"):
        cp.estimate(LAW, frame(), policies={"X": law})
    with pytest.raises(DataError, match="policies is 1; expected a mapping"):
        cp.estimate(LAW, frame(), policies=1)  # type: ignore[arg-type]
    planned = cp.identify(back_door(), "P(Y=1)", policies={"X": ["Z"]})
    with pytest.raises(DataError, match="a law for 'Z', and the formula has plans for X only"):
        cp.estimate(planned, frame(), policies={"X": law, "Z": law})
    unplanned = cp.identify(back_door(), "P(Y=1)")
    with pytest.raises(DataError, match="a law for 'X', and the formula has no plan"):
        cp.estimate(unplanned, frame(), policies={"X": law})
    # a plan for what the answer does not depend on is no mistake
    after = cp.identify(back_door(), "P(Z=1)", policies={"X": ["Z"]})
    assert float(cp.estimate(after, frame(), policies={"X": law}, seed=0)) > 0


# Settings of falsify.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "5"}, "level is '5'; expected a number between 0 and 1"),
        ({"adjust": "bonferroni"}, "adjust is 'bonferroni'; expected one of 'holm', 'benjamini"),
        ({"adjust": 3}, "adjust is 3"),
        ({"test": "chi2"}, r"test is 'chi2'; expected a test such as ChiSquared\(\)"),
        ({"permutations": 2.5}, "permutations is 2.5; expected a whole number"),
    ],
)
def test_settings_that_are_none_are_named(options: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        falsify(ADMG.parse("Z -> X -> Y"), frame(), **options)


def test_adjustments_have_names() -> None:
    graph = ADMG.parse("Z -> X -> Y")
    for name in ("benjamini-hochberg", "benjamini_hochberg"):
        assert falsify(graph, frame(), adjust=name).adjust is benjamini_hochberg
    assert "(Holm)" in falsify(graph, frame(), adjust="holm").interpret()


def test_where_nothing_was_tested_nothing_is_taken_for_granted() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=200)
    report = falsify(ADMG.parse("X -> Y"), {"X": x, "Y": x + rng.normal(size=200)})
    assert report.checks == ()
    assert "take for granted" not in report.interpret()


def test_parents_may_interact_by_threes() -> None:
    z = np.random.default_rng(3).normal(size=(1_000, 5))
    shared = 0.5 * z[:, :3].prod(axis=1)
    data = {"A": z[:, 0], "B": z[:, 1], "C": z[:, 2], "X": shared + z[:, 3], "Y": shared + z[:, 4]}
    edges = "; ".join(f"{cause} -> {effect}" for cause in "ABC" for effect in "XY")
    report = falsify(ADMG.parse(edges), data)
    assert report, report.interpret()
    assert "one or two at a time, beside products of three" in report.interpret()
