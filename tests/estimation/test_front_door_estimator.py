"""The front door: exact sums, simulations with a known truth, and models of which one may err."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import ndtri
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from causalppl import ADMG, identify
from causalppl.data import Factor, Table
from causalppl.estimation import evaluate
from causalppl.estimation.estimate import Estimate
from causalppl.estimation.estimator import Problem
from causalppl.estimation.front_door_estimator import FrontDoor
from causalppl.estimation.front_door_interval import abc_draws
from causalppl.estimation.front_door_models import fit_classes, fit_mean
from causalppl.exceptions import AssumptionError, DataError, OverlapWarning

PLAIN = ADMG.parse("X -> M -> Y; X <-> Y")
GIVEN = ADMG.parse("C -> {X, M, Y}; X -> M -> Y; X <-> Y")


def logistic(values: Any) -> Any:
    return 1 / (1 + np.exp(-values))


def binary(num_rows: int, seed: int) -> tuple[dict[str, Any], float]:
    """M and Y are 0 or 1; the ATE is (0.8 - 0.1) (0.3) = 0.21."""
    rng = np.random.default_rng(seed)
    u = rng.random(num_rows) < 0.5
    x = rng.random(num_rows) < 0.2 + 0.6 * u
    m = rng.random(num_rows) < 0.1 + 0.7 * x
    y = rng.random(num_rows) < 0.2 + 0.3 * m + 0.4 * u
    return {"X": x, "M": m, "Y": y}, 0.21


def smooth(num_rows: int, seed: int) -> tuple[dict[str, Any], float]:
    """M is a number and acts by a curve: E[2 M + 0.5 M^2 | x] grows by 1.6 + 0.32 = 1.92."""
    rng = np.random.default_rng(seed)
    u = rng.normal(size=num_rows)
    x = (rng.random(num_rows) < logistic(u)).astype(int)
    m = 0.8 * x + rng.normal(size=num_rows)
    y = 2 * m + 0.5 * m**2 + 1.5 * u + rng.normal(size=num_rows)
    return {"X": x, "M": m, "Y": y}, 1.92


def given(num_rows: int, seed: int) -> tuple[dict[str, Any], float]:
    """A number C confounds all three; the ATE is 2 (mean of P(M=1 | 1, C) - P(M=1 | 0, C))."""
    rng = np.random.default_rng(seed)
    u, c = rng.normal(size=(2, num_rows))
    x = (rng.random(num_rows) < logistic(u + 0.5 * c)).astype(int)
    m = (rng.random(num_rows) < logistic(1.5 * x - 0.7 + 0.8 * c)).astype(int)
    y = 2 * m + c + u + rng.normal(size=num_rows)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    risk = logistic(0.8 + 0.8 * nodes) - logistic(-0.7 + 0.8 * nodes)
    return {"C": c, "X": x, "M": m, "Y": y}, 2 * float(risk @ weights / weights.sum())


def strata(num_rows: int, seed: int) -> tuple[dict[str, Any], float]:
    """All are 0 or 1, C confounds all three; the ATE is 0.5 (0.4) = 0.2."""
    rng = np.random.default_rng(seed)
    u, c = rng.random(num_rows) < 0.5, rng.random(num_rows) < 0.4
    x = rng.random(num_rows) < 0.2 + 0.3 * u + 0.3 * c
    m = rng.random(num_rows) < 0.1 + 0.5 * x + 0.3 * c
    y = rng.random(num_rows) < 0.1 + 0.4 * m + 0.2 * c + 0.25 * u
    return {"C": c, "X": x, "M": m, "Y": y}, 0.2


def rare(num_rows: int, seed: int) -> tuple[dict[str, Any], float]:
    """The mediator is rare, the effect a product of small numbers, 0.16 (0.3) = 0.048."""
    rng = np.random.default_rng(seed)
    u = rng.random(num_rows) < 0.5
    x = rng.random(num_rows) < 0.15 + 0.3 * u
    m = rng.random(num_rows) < 0.06 + 0.16 * x
    y = rng.random(num_rows) < 0.1 + 0.3 * m + 0.5 * u
    return {"X": x, "M": m, "Y": y}, 0.048


def solve(
    graph: ADMG, data: Any, query: str = "ATE(X -> Y)", seed: int = 0, **settings: Any
) -> Estimate:
    problem = Problem(identify(graph, query), Table.from_any(data))
    method = FrontDoor(**settings)
    assert method.refusal(problem) is None
    return method.solve(problem, seed=seed)


def refused(graph: ADMG, data: Any, query: str, **settings: Any) -> str:
    reason = FrontDoor(**settings).refusal(Problem(identify(graph, query), Table.from_any(data)))
    assert reason is not None
    return reason


def test_the_plug_in_on_finite_data_is_the_exact_sum() -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 3, 4000)
    m = rng.integers(0, 2, 4000) + (rng.random(4000) < 0.2 + 0.2 * x)
    y = x * (m + 1) + rng.integers(0, 2, 4000)
    cells = np.zeros((3, 3, y.max() + 1))
    np.add.at(cells, (x, m, y), 1 / 4000)
    estimand = identify(PLAIN, "E[Y | do(X)]")
    law = Factor(("X", "M", "Y"), torch.tensor(cells))
    truth = evaluate(estimand, law)
    table = Table.from_any({"X": x, "M": m, "Y": y})
    for method in (FrontDoor(one_step=False, num_bootstrap=2), FrontDoor()):
        found = method.solve(Problem(estimand, table), seed=0)
        assert found.axes == {"X": (0, 1, 2)}
        assert found.values.tolist() == pytest.approx(torch.as_tensor(truth).tolist(), abs=0.01)
    event = identify(PLAIN, "P(Y > 1 | do(X=2))")
    exact = float(torch.as_tensor(evaluate(event, law).values))  # type: ignore[union-attr]
    again = FrontDoor(one_step=False, num_bootstrap=2).solve(Problem(event, table), seed=0)
    assert float(again) == pytest.approx(exact, abs=1e-3)


@pytest.mark.parametrize(
    ("graph", "process"),
    [(PLAIN, binary), (PLAIN, smooth), (GIVEN, given)],
    ids=["binary", "smooth", "given"],
)
def test_the_effect_is_found(graph: ADMG, process: Any) -> None:
    data, truth = process(8000, 2)
    found = solve(graph, data)
    assert float(found) == pytest.approx(truth, abs=4 * float(found.standard_error))
    x, y = np.asarray(data["X"], dtype=float), np.asarray(data["Y"], dtype=float)
    naive = y[x == 1].mean() - y[x == 0].mean()
    assert abs(naive - truth) > 5 * float(found.standard_error)
    assert found.influence is not None
    error = found.influence.std(ddof=1) / np.sqrt(8000)
    assert error == pytest.approx(float(found.standard_error))
    assert found.ess is not None
    assert found.ess < 8000


def test_the_plug_in_has_a_bootstrap() -> None:
    data, truth = binary(1000, 3)
    plain = solve(PLAIN, data, one_step=False, num_bootstrap=60)
    corrected = solve(PLAIN, data)
    assert float(plain) == pytest.approx(truth, abs=4 * float(plain.standard_error))
    ratio = float(plain.standard_error) / float(corrected.standard_error)
    assert 0.75 < ratio < 1.33  # both are efficient here


def test_the_same_seed_gives_the_same_answer() -> None:
    data, _ = smooth(300, 4)
    assert float(solve(PLAIN, data, seed=1)) == float(solve(PLAIN, data, seed=1))
    assert float(solve(PLAIN, data, seed=1)) != float(solve(PLAIN, data, seed=2))


def test_open_values_and_levels_agree() -> None:
    data, _ = binary(3000, 5)
    names = np.array(["off", "on"])[np.asarray(data["X"]).astype(int)]
    table = solve(PLAIN, {**data, "X": names}, "E[Y | do(X)]")
    assert table.axes == {"X": ("off", "on")}
    on = solve(PLAIN, {**data, "X": names}, "E[Y | do(X=on)]")
    effect = solve(PLAIN, {**data, "X": names}, "ATE(X: on vs off -> Y)")
    assert float(table.at(X="on")) == pytest.approx(float(on))
    assert float(effect) == pytest.approx(table.values[1] - table.values[0])
    assert float(table.at(X="on").standard_error) == pytest.approx(float(on.standard_error))
    chance = solve(PLAIN, {**data, "X": names}, "P(Y=1 | do(X=on))")
    assert float(chance) == pytest.approx(float(on))


WRONG_MEAN = DummyRegressor(strategy="constant", constant=3.0)
WRONG_CLASS = DummyClassifier(strategy="uniform")


@pytest.mark.parametrize(
    "wrong",
    [
        {"outcome_model": WRONG_MEAN},
        {"treatment_model": WRONG_CLASS},
        {"mediator_model": WRONG_CLASS},
        {"outcome_model": WRONG_MEAN, "treatment_model": WRONG_CLASS},
    ],
    ids=lambda wrong: "+".join(wrong),
)
def test_one_wrong_side_is_forgiven(wrong: dict[str, Any]) -> None:
    data, truth = given(8000, 6)
    found = solve(GIVEN, data, **wrong)
    assert float(found) == pytest.approx(truth, abs=4 * float(found.standard_error))


def test_both_sides_wrong_is_not_forgiven() -> None:
    data, truth = given(8000, 7)
    found = solve(GIVEN, data, outcome_model=WRONG_MEAN, mediator_model=WRONG_CLASS)
    assert abs(float(found) - truth) > 5 * float(found.standard_error)


def test_a_wrong_outcome_model_is_forgiven_for_a_continuous_mediator() -> None:
    data, truth = smooth(6000, 8)
    found = solve(PLAIN, data, outcome_model=WRONG_MEAN)
    assert float(found) == pytest.approx(truth, abs=4 * float(found.standard_error))
    plain = solve(PLAIN, data, one_step=False, num_bootstrap=2, outcome_model=WRONG_MEAN)
    assert abs(float(plain)) < 1e-9


def test_mediators_and_covariates_are_read_off_the_diagram() -> None:
    graph = ADMG.parse("C -> {X, A, Y}; D -> Y; X -> A -> B -> Y; X <-> Y")
    rng = np.random.default_rng(9)
    c, d, u = rng.normal(size=(3, 900))
    x = (rng.random(900) < logistic(c + u)).astype(int)
    a = x + c + rng.normal(size=900)
    b = a + rng.normal(size=900)
    y = b + c + 3 * d + u
    data = {"C": c, "D": d, "X": x, "A": a, "B": b, "Y": y}
    found = solve(graph, data)
    assert found.method.startswith("front door through A given C")
    assert float(found) == pytest.approx(1.0, abs=4 * float(found.standard_error))
    other = solve(graph, data, mediators=["B"], covariates=["C", "D"])
    assert other.method.startswith("front door through B given C, D")
    assert float(other) == pytest.approx(1.0, abs=4 * float(other.standard_error))
    less = solve(graph, data, mediators=["B"])
    assert less.method.startswith("front door through B given C (")
    assert float(other.standard_error) < float(less.standard_error)
    without = {name: data[name] for name in "CDXBY"}
    assert solve(graph.latent_projection([*without]), without).method.startswith(
        "front door through B given C"
    )


def test_what_is_no_front_door_is_refused() -> None:
    data, _ = given(200, 10)
    assert "shows no front door from X to Y" in refused(
        ADMG.parse("C -> {X, Y}; X -> Y; X -> M -> Y"), data, "ATE(X -> Y)"
    )
    gaps = {**data, "M": np.where(np.arange(200) < 3, np.nan, data["M"])}
    assert "among the complete columns (C, X, Y)" in refused(GIVEN, gaps, "ATE(X -> Y)")
    assert "shows no front door" in refused(GIVEN, data, "ATE(X -> Y)", covariates=[])
    assert "no complete column 'Q'" in refused(GIVEN, data, "ATE(X -> Y)", mediators=["Q"])
    assert "not about one outcome" in refused(GIVEN, data, "E[Y | do(X=1), C=0]")
    assert "leaves Y open" in refused(PLAIN, data, "P(Y | do(X=1))")
    assert "answers no ETT" in refused(PLAIN, data, "ETT(X -> Y)")
    constant = {**data, "X": np.ones(200)}
    assert "column 'X' has 1 values" in refused(PLAIN, constant, "ATE(X -> Y)")
    rare = {**data, "X": (np.arange(200) < 4).astype(int)}
    assert "column 'X' is 1 in 4 rows" in refused(PLAIN, rare, "ATE(X -> Y)")
    text = {**data, "Y": np.where(data["Y"] > 0, "high", "low")}
    assert "column 'Y' holds text" in refused(PLAIN, text, "ATE(X -> Y)")
    with pytest.raises(DataError, match="X is never 5"):
        solve(PLAIN, data, "ATE(X: 5 vs 0 -> Y)")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folds": 1}, "folds is 1"),
        ({"num_bootstrap": 0}, "num_bootstrap is 0"),
        ({"mediators": "mediator"}, "expected a list of names"),
        ({"clip": 0.7}, r"clip is 0\.7"),
        ({"outcome_model": "ridge"}, "outcome_model is 'ridge'"),
        ({"treatment_model": WRONG_MEAN}, "expected a model with predict_proba"),
    ],
)
def test_settings_are_checked(settings: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        FrontDoor(**settings)


def test_little_overlap_warns() -> None:
    rng = np.random.default_rng(11)
    x = rng.integers(0, 2, 2000)
    m = 4.0 * x + rng.normal(size=2000)
    with pytest.warns(OverlapWarning, match="some value of X hardly goes with their M"):
        solve(PLAIN, {"X": x, "M": m, "Y": m + rng.normal(size=2000)})


@pytest.mark.parametrize("noise", [0.0, 0.001, 0.01, 0.1])
def test_mediators_that_tell_the_treatment_are_refused(noise: float) -> None:
    rng = np.random.default_rng(18)
    u, e, f = rng.normal(size=(3, 2000))
    x = (u + e > 0).astype(int)
    data = {"X": x, "M": x + noise * f, "Y": x + u}
    for settings in ({}, {"one_step": False, "num_bootstrap": 2}):
        with pytest.raises(AssumptionError, match=r"M tells X: .*perfect separation, or nearly"):
            solve(PLAIN, data, **settings)


def test_a_rare_treatment_is_no_lack_of_overlap() -> None:
    """A chance below 0.01 for all rows is no separation, where the treatment itself is rare."""
    rng = np.random.default_rng(19)
    x = (rng.permutation(4000) < 30).astype(int)
    m = (rng.random(4000) < 0.3 + 0.3 * x).astype(int)
    y = m + rng.normal(size=4000)
    with pytest.warns(OverlapWarning, match="hardly goes with"):
        found = solve(PLAIN, {"X": x, "M": m, "Y": y})
    assert abs(float(found) - 0.3) < 3.5 * float(found.standard_error)


@pytest.mark.parametrize(("name", "what"), [("Y", "outcome Y"), ("M", "mediator M")])
def test_constant_columns_are_refused_by_name(name: str, what: str) -> None:
    data, _ = smooth(300, 20)
    reason = refused(PLAIN, {**data, name: np.ones(300)}, "ATE(X -> Y)")
    assert f"the {what} is the same in all 300 rows" in reason


@pytest.mark.parametrize("unit", [1e-100, 1e155])
def test_units_of_mediators_do_not_matter(unit: float) -> None:
    data, _ = smooth(400, 21)
    table = Table.from_any({**data, "M": data["M"] * unit}, dtype=torch.float64)
    whole = Table.from_any(data, dtype=torch.float64)
    assert float(solve(PLAIN, table)) == pytest.approx(float(solve(PLAIN, whole)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("held", [torch.float32, torch.float64])
def test_values_of_the_treatment_need_not_be_whole(dtype: Any, held: torch.dtype) -> None:
    data, _ = binary(2000, 12)
    plain = solve(PLAIN, data)
    dose = torch.as_tensor(np.where(data["X"], 0.1, 0.0).astype(dtype)).to(held)
    table = Table.from_any({**data, "X": dose.tolist() if held == torch.float64 else dose})
    found = solve(PLAIN, table, "ATE(X: 0.1 vs 0 -> Y)")
    assert float(found) == pytest.approx(float(plain))
    assert solve(PLAIN, table, "E[Y | do(X)]").axes == {"X": (0, 0.1)}


def test_default_models_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(13)
    features = rng.normal(size=(200, 3))
    features[:, 2] = features[:, 2] > 0
    y = features @ [1.0, 2.0, 3.0] + rng.normal(size=200)
    weights = rng.uniform(0.5, 1.5, 200)
    codes = (rng.random(200) < logistic(2 * features[:, 0])).astype(int)
    apart = (features[:, 1] > 0).astype(int)  # perfectly separated
    terms = PolynomialFeatures(2, include_bias=False).fit_transform(features)
    prepared = StandardScaler().fit_transform(terms)
    ridge = Ridge(0.1).fit(prepared, y)
    assert fit_mean(None, features, y, 0)(features) == pytest.approx(ridge.predict(prepared))
    for labels in (codes, apart, codes + apart):
        strict = LogisticRegression(C=10.0, max_iter=10_000, tol=1e-8)
        shares = strict.fit(prepared, labels).predict_proba(prepared)
        found = fit_classes(None, features, labels, 3, 0)(features)
        assert found[:, : shares.shape[1]] == pytest.approx(shares, abs=5e-3)
    twice = np.repeat(np.arange(200), 1 + (weights > 1))
    for fit, target in ((fit_mean, (y,)), (fit_classes, (codes, 2))):
        counted = fit(None, features, *target, 0, 1.0 + (weights > 1))(features)
        repeated = fit(None, features[twice], target[0][twice], *target[1:], 0)(features)
        assert counted == pytest.approx(repeated)


def test_strata_are_asked_once_with_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    data, _ = strata(600, 14)
    found = solve(GIVEN, data)
    monkeypatch.setattr("causalppl.estimation.front_door_sample._MOST_STRATA", 0)
    assert float(solve(GIVEN, data)) == pytest.approx(float(found))


def test_the_interval_of_a_product_bends_as_the_product_does() -> None:
    """For independent means a and b the quadratic form is exact: its bend is known."""
    rng = np.random.default_rng(15)
    a, b = rng.choice([-1.0, 1.0], 400) + 0.05, rng.choice([-1.0, 1.0], 400) + 1.0
    x, y = a.mean(), b.mean()
    influence = y * (a - x) + x * (b - y)

    def product(weights: Any) -> float:
        return float(np.average(a, weights=weights) * np.average(b, weights=weights))

    draws = abc_draws(x * y, influence, product)
    error = influence.std(ddof=1) / 20
    slopes = [(influence * (part - part.mean())).mean() / influence.std(ddof=1) for part in (a, b)]
    bend = slopes[0] * slopes[1] / 400 / error
    skewness = (influence**3).sum() / (6 * (influence**2).sum() ** 1.5)
    shifted = skewness + bend + ndtri([0.025, 0.5, 0.975])
    moved = shifted / (1 - skewness * shifted) ** 2
    expected = x * y + error * (moved + bend * moved**2)
    assert np.quantile(draws, [0.025, 0.5, 0.975]) == pytest.approx(expected, abs=0.01 * error)
    assert (np.diff(draws) >= 0).all()
    assert abc_draws(1.0, np.zeros(10), product).tolist() == [1.0] * len(draws)


def test_large_samples_have_a_normal_interval() -> None:
    data, _ = binary(21_000, 16)
    found = solve(PLAIN, data)
    assert found.draws is None
    fewer = solve(PLAIN, {name: column[:20_000] for name, column in data.items()})
    half = 1.96 * float(fewer.standard_error)
    expected = [float(fewer) - half, float(fewer) + half]
    assert fewer.interval() == pytest.approx(expected, abs=0.05 * half)


def test_the_interval_is_named_as_it_was_asked_for() -> None:
    data, _ = binary(300, 17)
    assert ", 97.5% interval " in solve(PLAIN, data).interpret(0.975)


def covered(graph: ADMG, process: Any, rows: int, runs: int, **settings: Any) -> tuple[int, int]:
    """Count the runs in which the truth lies below the interval, and above it."""
    estimand = identify(graph, "ATE(X -> Y)")
    below = above = 0
    for seed in range(runs):
        data, truth = process(rows, 70_000 + seed)
        problem = Problem(estimand, Table.from_any(data))
        low, high = FrontDoor(**settings).solve(problem, seed=seed).interval()
        below, above = below + bool(truth < low), above + bool(truth > high)
    return below, above


@pytest.mark.slow
@pytest.mark.parametrize(
    ("graph", "process", "rows"),
    [
        (PLAIN, rare, 400),
        (PLAIN, rare, 2000),
        (GIVEN, given, 400),
        (GIVEN, given, 2000),
        (PLAIN, smooth, 400),
        (GIVEN, strata, 400),
    ],
    ids=["rare-400", "rare-2000", "given-400", "given-2000", "smooth-400", "strata-400"],
)
def test_intervals_cover(graph: ADMG, process: Any, rows: int) -> None:
    """500 runs; at exactly 95 %, more than 35 or less than 12 misses have a chance of 3 %.

    More than 22 misses on one side have a chance of .4 %: the normal interval has 35 under
    ``rare`` with 400 rows.
    """
    below, above = covered(graph, process, rows, 500)
    assert 12 <= below + above <= 35
    assert max(below, above) <= 22


@pytest.mark.slow
def test_intervals_of_the_plug_in_cover() -> None:
    """200 runs; at exactly 95 %, more than 18 misses have a chance of .6 %."""
    assert sum(covered(PLAIN, rare, 400, 200, one_step=False, num_bootstrap=100)) <= 18
