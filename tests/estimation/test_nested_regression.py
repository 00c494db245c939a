"""Nested regressions against linear Gaussian truths and against exact numbers of finite models."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from causalppl import ADMG
from causalppl.data import Table
from causalppl.estimation import estimate
from causalppl.estimation.estimator import Problem
from causalppl.estimation.nested_regression import NestedRegression
from causalppl.exceptions import AssumptionError, DataError, OverlapWarning
from causalppl.identification import identify

MEDIATION = ADMG.parse("C -> {X, M, Y}; X -> {M, Y}; M -> Y")
NAPKIN = ADMG.parse("W -> R -> X -> Y; W <-> X; W <-> Y")
SEQUENCE = ADMG.parse("A -> {L, B, Y}; L -> {B, Y}; B -> Y; L <-> Y")
FRONT_DOOR = ADMG.parse("X -> M -> Y; X <-> Y")


def coin(rng: np.random.Generator, logit: Any) -> Any:
    return (rng.random(len(logit)) < 1 / (1 + np.exp(-logit))).astype(int)


def mediation(num_rows: int, seed: int) -> dict[str, Any]:
    """NDE = 2 + 0.5 E[M_0] = 2, NIE = 1.5; both with X and M interacting."""
    rng = np.random.default_rng(seed)
    c, e, f = rng.normal(size=(3, num_rows))
    x = coin(rng, c)
    m = 0.5 * c + 1.5 * x + e
    return {"C": c, "X": x, "M": m, "Y": m + 2 * x + c + 0.5 * x * m + f}


def napkin(num_rows: int, seed: int) -> dict[str, Any]:
    """The effect is 2; X and Y share no cause with each other but through W."""
    rng = np.random.default_rng(seed)
    u, v, e, f, g = rng.normal(size=(5, num_rows))
    w = u + v + e
    r = 0.7 * w + f
    x = coin(rng, 0.5 * (r + u))
    return {"W": w, "R": r, "X": x, "Y": 2 * x + v + g}


def sequence(num_rows: int, seed: int) -> dict[str, Any]:
    """E[Y | do(A=1, B=1)] = 3.5; L is affected by A, shares a cause with Y, and decides on B."""
    rng = np.random.default_rng(seed)
    u, e, f = rng.normal(size=(3, num_rows))
    a = rng.integers(0, 2, num_rows)
    lab = a + u + e
    b = coin(rng, a - lab)
    return {"A": a, "L": lab, "B": b, "Y": a + 2 * b + 0.5 * lab + u + f}


CASES: dict[str, tuple[Any, str, Any, float]] = {
    "NDE": (MEDIATION, "NDE(X: 1 vs 0 -> Y)", mediation, 2.0),
    "NIE": (MEDIATION, "NIE(X: 1 vs 0 -> Y)", mediation, 1.5),
    "sequence": (SEQUENCE, "E[Y | do(A=1, B=1)]", sequence, 3.5),
    "napkin": (NAPKIN, "ATE(X: 1 vs 0 -> Y)", napkin, 2.0),
}


@pytest.mark.parametrize("case", CASES)
def test_closed_forms_are_found(case: str) -> None:
    graph, query, draw, truth = CASES[case]
    bent = make_pipeline(PolynomialFeatures(2), LinearRegression())
    models = {"outcome_model": bent, "class_model": LogisticRegression()}
    given = models if case == "napkin" else {}
    method = NestedRegression(**given, num_bootstrap=100, folds=3)
    found = estimate(identify(graph, query), draw(1000, 1), method=method, seed=0)
    assert abs(float(found) - truth) < 3.5 * float(found.standard_error)
    assert 0 < float(found.standard_error) < 0.4
    assert ("plug-in, bootstrap" if case == "napkin" else "one step, 3 folds") in found.method
    assert (found.influence is None) == (case == "napkin")


def test_the_effect_of_treatment_on_the_treated_through_a_front_door() -> None:
    rng = np.random.default_rng(2)
    u, e, f = rng.normal(size=(3, 2000))
    x = coin(rng, u)
    m = x + e
    data = {"X": x, "M": m, "Y": 2 * m + u + f}
    found = estimate(
        identify(FRONT_DOOR, "E[Y_{X=1} | X=0]"), data, method=NestedRegression(), seed=0
    )
    assert abs(float(found) - (2 + u[x == 0].mean())) < 3.5 * float(found.standard_error)


def finite_sums(data: dict[str, Any], *values: tuple[str, int]) -> Any:
    """The rows in which the columns have the values."""
    return np.all([data[name] == value for name, value in values], axis=0)


def test_saturated_regressions_give_the_sums_of_the_formulas() -> None:
    """With one cell for each value the plug-in is the formula at the frequencies."""
    rng = np.random.default_rng(3)
    w = rng.integers(0, 2, 2000)
    r = coin(rng, w - 0.5)
    x = coin(rng, 0.8 * r - 0.4 + 0.5 * w)
    y = x + 0.7 * w + rng.normal(size=2000)
    data = {"W": w, "R": r, "X": x, "Y": y}
    top, bottom = 0.0, 0.0
    for state, value in ((0, 0), (0, 1), (1, 0), (1, 1)):
        inside = finite_sums(data, ("W", state), ("R", value))
        share = (w == state).mean() * (r == value).mean()
        top += share * (y * (x == 1))[inside].mean()
        bottom += share * (x == 1)[inside].mean()
    saturated = NestedRegression(
        outcome_model=Saturated(), class_model=Classes(), num_bootstrap=100
    )
    found = estimate(identify(NAPKIN, "E[Y | do(X=1)]"), data, method=saturated, seed=0)
    assert float(found) == pytest.approx(top / bottom, rel=1e-4)


class Line(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Least squares, without the checks that take most of the time in simulations."""

    def fit(self, x: Any, y: Any, sample_weight: Any = None) -> "Line":
        matrix = np.column_stack([np.ones(len(x)), self.crossed(x)])
        self.slopes = np.linalg.lstsq(matrix, y, rcond=None)[0]
        return self

    def predict(self, x: Any) -> Any:
        return self.slopes[0] + self.crossed(x) @ self.slopes[1:]

    def crossed(self, x: Any) -> Any:
        return x


class Saturated(Line):
    """A regression on all products of 0-1 columns."""

    def crossed(self, x: Any) -> Any:
        return np.column_stack([x, *(x[:, [i]] * x[:, i + 1 :] for i in range(x.shape[1]))])


class Classes(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """The same for the probability of the second of two classes."""

    def fit(self, x: Any, y: Any, sample_weight: Any = None) -> "Classes":
        self.classes_ = np.unique(y)
        self.shares = Saturated().fit(x, (y == self.classes_[-1]) * 1.0)
        return self

    def predict_proba(self, x: Any) -> Any:
        second = self.shares.predict(x)
        return np.column_stack([1 - second, second])


def test_a_correction_repairs_a_wrong_regression() -> None:
    """The outcome bends in C, which the regression cannot see, but its residuals show."""
    rng = np.random.default_rng(4)
    c = rng.normal(size=4000)
    x = coin(rng, c)
    data = {"C": c, "X": x, "Y": 2 * x + c**2 * (1 + x) + rng.normal(size=4000)}
    estimand = identify(ADMG.parse("C -> {X, Y}; X -> Y"), "ATE(X: 1 vs 0 -> Y)")
    line = NestedRegression(outcome_model=LinearRegression())
    plain = NestedRegression(one_step=False, outcome_model=LinearRegression(), num_bootstrap=100)
    corrected = estimate(estimand, data, method=line, seed=0)
    wrong = estimate(estimand, data, method=plain, seed=0)
    assert abs(float(corrected) - 3) < 3.5 * float(corrected.standard_error)
    assert abs(float(wrong) - 3) > 0.2
    assert corrected.influence is not None
    assert np.std(corrected.influence) / 4000**0.5 == pytest.approx(
        float(corrected.standard_error), rel=1e-3
    )


def test_open_values_get_an_axis_and_text_is_a_class() -> None:
    data = mediation(1500, 5)
    data["X"] = np.array(["off", "on"])[data["X"]]
    found = estimate(identify(MEDIATION, "E[Y | do(X)]"), data, method=NestedRegression(), seed=0)
    assert found.axes == {"X": ("off", "on")}
    for value, truth in (("off", 0.0), ("on", 4.25)):
        at = found.at(X=value)
        assert abs(float(at) - truth) < 4 * float(at.standard_error)


def test_what_is_no_nested_expectation_is_named() -> None:
    data = mediation(400, 6)
    dose = {**data, "X": data["C"] + np.random.default_rng(0).normal(size=400)}
    method = NestedRegression(num_bootstrap=100)

    def ask(graph: ADMG, query: str, columns: dict[str, Any]) -> float:
        return float(estimate(identify(graph, query), columns, method=method, seed=0))

    with pytest.raises(AssumptionError, match="leaves X open, a number with many values"):
        ask(MEDIATION, "E[Y | do(X)]", dose)
    with pytest.raises(AssumptionError, match=r"P\(X=0.3, Y \| W, R\) is needed at values of X"):
        ask(NAPKIN, "E[Y | do(X=0.3)]", {**napkin(400, 0), "X": dose["X"]})
    rare = {**data, "X": (np.arange(400) < 6).astype(int)}
    with pytest.raises(AssumptionError, match="6 rows have X=1; expected 20 at least"):
        ask(MEDIATION, "NDE(X: 1 vs 0 -> Y)", rare)
    with pytest.raises(DataError, match="num_bootstrap is 50"):
        NestedRegression(num_bootstrap=50)
    with pytest.raises(DataError, match="gives no probabilities"):
        NestedRegression(class_model=LinearRegression())


QUICK = NestedRegression(outcome_model=LinearRegression(), folds=2)
DIRECT = identify(MEDIATION, "NDE(X: 1 vs 0 -> Y)")


@pytest.mark.parametrize(
    ("law", "message"),
    [
        (lambda x, e: x, "M=0 never occurs with X=1, and is averaged over"),
        (lambda x, e: np.where(x == 1, "hi", "lo"), "M=lo never occurs with X=1"),
        (lambda x, e: np.where(x == 1, 2, e > 0), "M=[01] never occurs with X=1"),
        (lambda x, e: np.where(x == 1, 0.0, 1 + e**2), "M tell X=1 in 100.0% of the rows"),
        (lambda x, e: 2 * x + 0.001 * e, "M tell X=1 in .* separation"),
        (lambda x, e: 4 * x + e, "the residuals of one regression are worth .* rows; expected 5"),
    ],
    ids=["treatment", "text", "third", "one-sided", "noise", "far"],
)
@pytest.mark.filterwarnings("ignore:overlap is poor")
def test_mediators_without_overlap_are_refused(law: Any, message: str) -> None:
    rng = np.random.default_rng(2)
    c, e, f = rng.normal(size=(3, 1000))
    x = coin(rng, c)
    with pytest.raises(AssumptionError, match=message):
        estimate(DIRECT, {"C": c, "X": x, "M": law(x, e), "Y": x + c + f}, method=QUICK, seed=0)


def test_covariates_that_tell_the_treatment_are_refused_and_thin_overlap_warns() -> None:
    rng = np.random.default_rng(3)
    c, e, f = rng.normal(size=(3, 1000))
    x = (c > 0).astype(int)
    with pytest.raises(AssumptionError, match=r"C tells X=. in 100\.0% .*perfect separation"):
        estimate(DIRECT, {"C": c, "X": x, "M": x + e, "Y": x + f}, method=QUICK, seed=0)
    x = coin(rng, c)
    m = 2.2 * x + e
    with pytest.warns(OverlapWarning, match=r"overlap is poor: \d+\.\d% .*by their C, M") as log:
        found = estimate(DIRECT, {"C": c, "X": x, "M": m, "Y": m + x + f}, method=QUICK, seed=0)
    assert log[0].filename == __file__
    assert abs(float(found) - 1) < 3.5 * float(found.standard_error)


def test_a_mediator_of_one_side_is_no_lack_of_overlap() -> None:
    """M = 1 occurs with X = 1 alone, and the direct effect averages over M = 0 alone."""
    rng = np.random.default_rng(4)
    c, e, f = rng.normal(size=(3, 1000))
    x = coin(rng, c)
    m = x * (e > 0)
    found = estimate(
        DIRECT, {"C": c, "X": x, "M": m, "Y": 2 * x + 3 * m + c + f}, method=QUICK, seed=0
    )
    assert abs(float(found) - 2) < 3.5 * float(found.standard_error)


@pytest.mark.parametrize("name", ["Y", "M"])
def test_constant_columns_are_refused_by_name(name: str) -> None:
    data = {**mediation(300, 10), name: np.ones(300)}
    with pytest.raises(AssumptionError, match=f"{name} is the same in all 300 rows"):
        estimate(DIRECT, data, method=QUICK, seed=0)
    constant = estimate(DIRECT, {**mediation(300, 10), "C": np.ones(300)}, method=QUICK, seed=0)
    assert float(constant.standard_error) > 0


@pytest.mark.parametrize(("unit", "shift"), [(1e-100, 0.0), (1e-9, 1e3), (1e100, 0.0), (1e160, 0)])
def test_units_of_covariates_do_not_matter(unit: float, shift: float) -> None:
    data = mediation(500, 11)
    moved = {**data, "C": data["C"] * unit + shift, "M": data["M"] * unit}
    found, again = (
        NestedRegression(folds=2).solve(
            Problem(DIRECT, Table.from_any(each, dtype=torch.float64)), seed=0
        )
        for each in (data, moved)
    )
    assert float(again) == pytest.approx(float(found), rel=1e-3)
    assert float(again.standard_error) == pytest.approx(float(found.standard_error), rel=1e-3)


def test_numbers_that_the_data_do_not_hold_are_warned_of() -> None:
    """A line extrapolates rightly, and the user is told that it does."""
    rng = np.random.default_rng(9)
    c, e, f = rng.normal(size=(3, 500))
    x = c + e
    data = {"C": c, "X": x, "Y": 2 * x + c + f}
    estimand = identify(ADMG.parse("C -> {X, Y}; X -> Y"), "ATE(X: 30 vs 0 -> Y)")
    method = NestedRegression(outcome_model=LinearRegression(), num_bootstrap=100)
    with pytest.warns(OverlapWarning, match="X=30 lies outside the values seen") as log:
        found = estimate(estimand, data, method=method, seed=0)
    assert log[0].filename == __file__
    assert abs(float(found) - 60) < 3.5 * float(found.standard_error)


def test_the_same_seed_gives_the_same_answer() -> None:
    estimand, data = identify(MEDIATION, "NDE(X: 1 vs 0 -> Y)"), mediation(300, 7)
    method = NestedRegression(one_step=False, outcome_model=LinearRegression(), num_bootstrap=100)
    first, second = (estimate(estimand, data, method=method, seed=8) for _ in range(2))
    assert first.draws is not None
    assert first.draws.shape == (102,)
    np.testing.assert_array_equal(first.draws, second.draws)


def napkin_of_classes(num_rows: int, seed: int) -> dict[str, Any]:
    """The effect is 2, as E[Y | do(X=1)]; all but Y has two values."""
    rng = np.random.default_rng(seed)
    u, v = rng.normal(size=(2, num_rows))
    w = coin(rng, u + v)
    r = coin(rng, 2.0 * w - 1)
    x = coin(rng, r - 0.5 + u)
    return {"W": w, "R": r, "X": x, "Y": 2 * x + v + rng.normal(size=num_rows)}


def share_covered(graph: ADMG, query: str, draw: Any, truth: float, method: Any) -> float:
    """Of 500 simulations of 500 rows: 93 to 97 % has a false alarm rate of about 4 %."""
    estimand, covered = identify(graph, query), 0
    for seed in range(500):
        table = Table.from_any(draw(500, seed), dtype=torch.float64)
        low, high = method.solve(Problem(estimand, table), seed=seed).interval()
        covered += bool(low <= truth <= high)
    return covered / 500


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:overlap is poor")  # in 3 % of the samples
@pytest.mark.parametrize("case", ["NDE", "NIE", "sequence"])
def test_corrected_intervals_cover(case: str) -> None:
    """The regressions are right, the weights of residuals are not quite."""
    method = NestedRegression(outcome_model=Line(), folds=3)
    assert 0.93 <= share_covered(*CASES[case], method) <= 0.97


@pytest.mark.slow
def test_bootstrap_intervals_of_a_nest_cover() -> None:
    method = NestedRegression(one_step=False, outcome_model=Line(), num_bootstrap=100)
    assert 0.93 <= share_covered(*CASES["sequence"], method) <= 0.97


@pytest.mark.slow
def test_bootstrap_intervals_of_a_ratio_cover() -> None:
    method = NestedRegression(outcome_model=Saturated(), class_model=Classes(), num_bootstrap=100)
    asked = (NAPKIN, "E[Y | do(X=1)]", napkin_of_classes, 2.0)
    assert 0.93 <= share_covered(*asked, method) <= 0.97
