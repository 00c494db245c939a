"""Instruments: ratios known by hand, published figures, coverage, and what is refused."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from causalppl import ADMG
from causalppl.data import Table
from causalppl.data.datasets import load_nhefs
from causalppl.estimation.instrument_columns import InstrumentColumns
from causalppl.estimation.instrumental import (
    GMM,
    LIML,
    InstrumentMethod,
    TwoStageLeastSquares,
    Wald,
    estimate_iv,
)
from causalppl.exceptions import (
    AssumptionError,
    DataError,
    GraphError,
    HeuristicWarning,
    NotIdentifiableError,
)

PLAIN = ADMG.parse("Z -> X -> Y; X <-> Y")
GIVEN = ADMG.parse("W -> {Z, X, Y}; Z -> X -> Y; X <-> Y")


def linear_data(num_rows: int, seed: int, strength: float = 1.0) -> dict[str, Any]:
    """The effect of X is 2; its variance depends on W, and W confounds the instrument."""
    rng = np.random.default_rng(seed)
    w, u = rng.normal(size=(2, num_rows))
    z = 0.8 * w + rng.normal(size=num_rows)
    x = strength * z + w + u + rng.normal(size=num_rows)
    y = 2 * x - 1.5 * w + 2 * u + np.exp(0.3 * z) * rng.normal(size=num_rows)
    return {"Z": z, "X": x, "Y": y, "W": w}


def complier_data(num_rows: int, seed: int) -> tuple[dict[str, Any], float]:
    """Compliers gain 3, always-takers 1, never-takers 0: the LATE is 3, the ATE is 1.9."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(["complier", "always", "never"], p=[0.6, 0.1, 0.3], size=num_rows)
    z = rng.integers(0, 2, num_rows)
    x = np.where(kind == "complier", z, kind == "always").astype(int)
    gain = np.select([kind == "complier", kind == "always"], [3.0, 1.0], 0.0)
    y = gain * x + 2.0 * (kind == "always") + rng.normal(size=num_rows)
    return {"Z": z, "X": x, "Y": y}, 3.0


@pytest.mark.parametrize(
    ("method", "low", "high"), [(Wald(errors="classical"), -36.5, 41.3), (None, -41.4, 46.2)]
)
def test_the_wald_ratio_of_the_book(method: Wald | None, low: float, high: float) -> None:
    data = load_nhefs()[["qsmk", "wt82_71", "price82"]].dropna(subset=["price82", "wt82_71"])
    data["high_price"] = (data["price82"] >= 1.5).astype(int)
    graph = ADMG.parse("high_price -> qsmk -> wt82_71; qsmk <-> wt82_71")
    with pytest.warns(HeuristicWarning, match="first-stage F of high_price"):
        found = estimate_iv(graph, data, "qsmk", "wt82_71", method=method)
    assert found.num_rows == 1476
    assert float(found) == pytest.approx(2.396, abs=5e-4)
    assert found.diagnostics["numerator"] == pytest.approx(0.1503, abs=5e-5)
    assert found.diagnostics["denominator"] == pytest.approx(0.0627, abs=5e-5)
    assert [float(end) for end in found.interval()] == pytest.approx([low, high], abs=0.05)
    assert found.diagnostics["anderson_rubin"] == ((-np.inf, np.inf),)
    assert "weak instrument" in found.interpret()


def test_rows_without_the_outcome_are_counted_and_left_out() -> None:
    data, _ = complier_data(400, 0)
    data["Y"][:7] = np.nan
    found = estimate_iv(PLAIN, data, "X", "Y")
    assert (found.num_rows, found.num_dropped) == (393, 7)


def test_a_late_is_asked_as_the_effect_among_compliers() -> None:
    data, late = complier_data(20_000, 1)
    found = estimate_iv(PLAIN, data, "X", "Y")
    assert str(found.query) == "E[Y_{X=1} - Y_{X=0} | X_{Z=0}=0, X_{Z=1}=1]"
    assert float(found) == pytest.approx(late, abs=4 * float(found.standard_error))
    assert any("monotonicity" in line and "60." in line for line in found.assumptions)
    average = estimate_iv(PLAIN, data, "X", "Y", method=Wald(effect="ATE"))
    assert str(average.query) == "ATE(X: 1 vs 0 -> Y)"
    assert float(average) == float(found)
    assert any("homogeneity" in line for line in average.assumptions)


def test_an_instrument_that_lowers_the_treatment_has_compliers_too() -> None:
    data, late = complier_data(20_000, 2)
    names = np.array(["on", "off"])
    found = estimate_iv(PLAIN, {**data, "Z": names[data["Z"]]}, "X", "Y")
    assert str(found.query) == "E[Y_{X=1} - Y_{X=0} | X_{Z=off}=1, X_{Z=on}=0]"
    assert float(found) == pytest.approx(late, abs=4 * float(found.standard_error))


def test_two_stages_are_the_textbook_formulas() -> None:
    data = linear_data(300, 3)
    ones = np.ones(300)
    x = np.column_stack([data["X"], ones, data["W"]])
    z = np.column_stack([data["Z"], ones, data["W"]])
    cross = np.linalg.inv(z.T @ x)
    beta = cross @ z.T @ data["Y"]
    residual = data["Y"] - x @ beta
    found = estimate_iv(GIVEN, data, "X", "Y")
    assert float(found) == pytest.approx(beta[0], rel=1e-5)
    for errors, middle in {
        "HC0": (z * residual[:, None] ** 2).T @ z,
        "HC1": (z * residual[:, None] ** 2).T @ z * 300 / 297,
        "classical": z.T @ z * (residual @ residual) / 297,
    }.items():
        method = TwoStageLeastSquares(errors=errors)  # type: ignore[arg-type]
        again = estimate_iv(GIVEN, data, "X", "Y", "Z", ["W"], method=method)
        truth = float(np.sqrt((cross @ middle @ cross.T)[0, 0]))
        assert float(again.standard_error) == pytest.approx(truth, rel=1e-5)
    assert found.influence is not None
    spread = found.influence.std() / np.sqrt(300)
    assert spread == pytest.approx(float(found.standard_error) * np.sqrt(297 / 300), rel=1e-5)


def test_a_first_stage_f_is_that_of_a_regression() -> None:
    data = linear_data(200, 4, strength=0.4)
    short = np.column_stack([np.ones(200), data["W"]])
    long = np.column_stack([short, data["Z"]])
    left = [
        float(((data["X"] - m @ np.linalg.lstsq(m, data["X"], rcond=None)[0]) ** 2).sum())
        for m in (short, long)
    ]
    found = estimate_iv(GIVEN, data, "X", "Y", method=TwoStageLeastSquares(errors="classical"))
    truth = (left[0] - left[1]) / (left[1] / 197)
    assert found.diagnostics["first_stage_f"] == pytest.approx(truth, rel=1e-4)


@pytest.mark.filterwarnings("ignore:weak instrument")
@pytest.mark.parametrize("errors", ["classical", "HC0"])
@pytest.mark.parametrize("strength", [1.0, 0.1, 0.0])
def test_the_anderson_rubin_set_holds_the_effects_that_are_not_rejected(
    errors: Any, strength: float
) -> None:
    data = linear_data(150, 5, strength)
    method = TwoStageLeastSquares(errors=errors)
    intervals = estimate_iv(GIVEN, data, "X", "Y", method=method).diagnostics["anderson_rubin"]
    basis = np.column_stack([np.ones(150), data["W"]])
    x, y, z = (v - basis @ np.linalg.lstsq(basis, v, rcond=None)[0] for v in _columns(data))
    for effect in np.linspace(-40, 40, 401):
        freed = y - effect * x
        slope = (z @ freed) / (z @ z)
        noise = z * (freed - slope * z)
        statistic = (z @ freed) ** 2 / (noise @ noise)
        bound = chi2.ppf(0.95, 1)
        if errors == "classical":
            residual = freed - slope * z
            statistic = slope**2 * (z @ z) / (residual @ residual / 147)
            bound = 3.9052  # the 95 % point of F(1, 147)
        if abs(statistic - bound) > 0.01:
            inside = any(low <= effect <= high for low, high in intervals)
            assert inside == (statistic < bound)


def _columns(data: dict[str, Any]) -> list[Any]:
    return [data[name] for name in "XYZ"]


def test_several_instruments_and_categories_are_used_together() -> None:
    rng = np.random.default_rng(6)
    u = rng.normal(size=4000)
    z = rng.choice(["a", "b", "c"], size=4000)
    v = rng.normal(size=4000)
    x = (z == "b") + 2.0 * (z == "c") + v + u + rng.normal(size=4000)
    y = -1.0 * x + 3 * u + rng.normal(size=4000)
    graph = ADMG.parse("{Z, V} -> X -> Y; X <-> Y")
    found = estimate_iv(graph, {"Z": z, "V": v, "X": x, "Y": y}, "X", "Y", ["Z", "V"])
    assert float(found) == pytest.approx(-1.0, abs=4 * float(found.standard_error))
    alone = estimate_iv(graph, {"Z": z, "V": v, "X": x, "Y": y}, "X", "Y", "V")
    assert float(found.standard_error) < float(alone.standard_error)
    ((low, high),) = found.diagnostics["anderson_rubin"]
    assert low < -1.0 < high


def test_the_diagram_decides_what_is_an_instrument() -> None:
    data = linear_data(50, 7)
    with pytest.raises(AssumptionError, match=r"W is no instrument for X on Y.*Z given W"):
        estimate_iv(GIVEN, data, "X", "Y", "W")
    with pytest.raises(AssumptionError, match="Z is no instrument for X on Y; expected"):
        estimate_iv(GIVEN, data, "X", "Y", "Z", [])
    with pytest.raises(NotIdentifiableError, match="no instrument for X on Y among the columns"):
        estimate_iv(ADMG.parse("X -> Y; X <-> Y"), data, "X", "Y")
    with pytest.raises(GraphError, match="'Q'"):
        estimate_iv(GIVEN, data, "X", "Y", "Q")
    assert "exchangeability: Z shares no unmeasured cause with Y given W" in (
        estimate_iv(GIVEN, data, "X", "Y").assumptions
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"X": [1] * 8}, "column 'X' is 1 in all rows"),
        ({"X": list("abababab")}, "column 'X' holds category values"),
        ({"Z": [2] * 8}, "column 'Z' is 2 in all rows"),
        ({"Z": ["a"] * 8}, "column 'Z' has the same category"),
        ({"Y": [np.nan] * 8}, "all 8 rows"),
    ],
)
def test_columns_that_cannot_be_used_are_named(changes: Any, message: str) -> None:
    data = {"Z": [0, 1] * 4, "X": [0, 1, 1, 1] * 2, "Y": [1.0, 2, 3, 4] * 2}
    with pytest.raises(DataError, match=message):
        estimate_iv(PLAIN, {**data, **changes}, "X", "Y")


def test_what_does_not_fit_is_refused() -> None:
    data = linear_data(60, 8)
    with pytest.raises(DataError, match="no column 'Y'"):
        estimate_iv(GIVEN, {n: data[n] for n in "ZXW"}, "X", "Y")
    with pytest.raises(AssumptionError, match="takes no covariates"):
        estimate_iv(GIVEN, data, "X", "Y", method=Wald())
    with pytest.raises(AssumptionError, match="not have just two values"):
        estimate_iv(PLAIN, data, "X", "Y", method=Wald())
    with pytest.raises(AssumptionError, match="uncorrelated"):
        estimate_iv(PLAIN, {"Z": [0, 1, 0, 1], "X": [0, 0, 1, 1], "Y": [1, 2, 3, 5]}, "X", "Y")
    with pytest.raises(DataError, match="linear combinations"):
        estimate_iv(GIVEN, {**data, "Z": 2 * data["W"] + 1}, "X", "Y")
    with pytest.raises(GraphError, match="the graph is 3"):
        estimate_iv(3, data, "X", "Y")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="errors is 'HC9'"):
        TwoStageLeastSquares(errors="HC9")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="effect is 'ITT'"):
        Wald(effect="ITT")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="method is 'Wald'"):
        estimate_iv(PLAIN, data, "X", "Y", method="Wald")  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("process", ["linear", "compliers"])
def test_intervals_cover(process: str) -> None:
    """500 simulations: 93 to 97 % has a false alarm rate of about 4 % at exactly 95 %."""
    normal = robust = 0
    for seed in range(500):
        if process == "linear":
            found, truth = estimate_iv(GIVEN, linear_data(500, seed), "X", "Y"), 2.0
        else:
            data, truth = complier_data(500, seed)
            found = estimate_iv(PLAIN, data, "X", "Y")
        low, high = found.interval()
        normal += bool(low <= truth <= high)
        robust += any(low <= truth <= high for low, high in found.diagnostics["anderson_rubin"])
    assert 0.93 <= normal / 500 <= 0.97
    assert 0.93 <= robust / 500 <= 0.97


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:weak instrument")
def test_the_anderson_rubin_set_covers_where_the_instrument_is_weak() -> None:
    covered = 0
    for seed in range(500):
        found = estimate_iv(GIVEN, linear_data(300, 1000 + seed, strength=0.05), "X", "Y")
        covered += any(low <= 2 <= high for low, high in found.diagnostics["anderson_rubin"])
    assert 0.93 <= covered / 500 <= 0.97


def rows_of_unequal_spread(seed: int) -> tuple[dict[str, Any], int, str | None]:
    """300 rows; the second instrument moves the spread of the outcome."""
    rng = np.random.default_rng(seed)
    z, (w, u) = rng.normal(size=(300, 2)), rng.normal(size=(2, 300))
    x = 0.7 * z @ (1, 0.5**0.5) + w + u + rng.normal(size=300)
    y = x + w + 2 * u + np.exp(0.5 * z[:, 1]) * rng.normal(size=300)
    return {"Z0": z[:, 0], "Z1": z[:, 1], "X": x, "Y": y, "W": w}, 2, None


def ten_schools(seed: int) -> tuple[dict[str, Any], int, str | None]:
    """Ten clusters of 60 rows, which share noise, for four instruments, shared in part."""
    rng, school = np.random.default_rng(seed), np.repeat(np.arange(10), 60)
    z = 0.7 * rng.normal(size=(10, 4))[school] + rng.normal(size=(600, 4))
    w, u = rng.normal(size=(2, 600))
    x = z @ (1 / np.sqrt(1 + np.arange(4))) + w + u + rng.normal(size=600)
    noise = rng.normal(size=10)[school] + np.exp(0.5 * z[:, 3]) * rng.normal(size=600)
    columns = {f"Z{j}": z[:, j] for j in range(4)}
    return {**columns, "X": x, "Y": x + w + 2 * u + noise, "W": w, "school": school}, 4, "school"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:column 'school' has 10 clusters")
@pytest.mark.parametrize("draw", [rows_of_unequal_spread, ten_schools])
@pytest.mark.parametrize("method", [GMM(), LIML()], ids=str)
def test_intervals_of_several_instruments_cover(draw: Any, method: InstrumentMethod) -> None:
    """1,000 simulations: 93 to 97 % has a false alarm rate of 0.4 % at exactly 95 %."""
    covered = 0
    for seed in range(1000):
        data, count, cluster = draw(seed)
        table = Table.from_any(data, dtype=torch.float64)
        names = tuple(f"Z{j}" for j in range(count))
        low, high = method.solve(
            InstrumentColumns(table, "X", "Y", names, ("W",), cluster)
        ).interval()
        covered += bool(low <= 1 <= high)
    assert 0.93 <= covered / 1000 <= 0.97
