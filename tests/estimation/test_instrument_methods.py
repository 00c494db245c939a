"""LIML, GMM, clusters and the strength of instruments, against formulas written out in numpy."""

from typing import Any

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.optimize import minimize_scalar
from scipy.stats import chi2, ncx2, t

from causalppl import ADMG
from causalppl.estimation.instrumental import (
    GMM,
    LIML,
    InstrumentMethod,
    TwoStageLeastSquares,
    Wald,
    estimate_iv,
)
from causalppl.exceptions import DataError, HeuristicWarning

PLAIN = ADMG.parse("Z -> X -> Y; X <-> Y")
SEVERAL = ADMG.parse("{Z, V} -> X; W -> {X, Y}; X -> Y; X <-> Y")


def two_instruments(
    num_rows: int, seed: int, strength: float = 1.0, direct: float = 0.0
) -> dict[str, Any]:
    """The effect is 1; rows of a school share noise; V is no instrument where it acts directly."""
    rng = np.random.default_rng(seed)
    school = np.arange(num_rows) // 10
    shared, shift = rng.normal(size=(2, num_rows // 10 + 1))
    w, u = rng.normal(size=(2, num_rows))
    z = 0.7 * shift[school] + rng.normal(size=num_rows)
    v = rng.normal(size=num_rows)
    x = strength * (z + 0.5 * v) + w + u + rng.normal(size=num_rows)
    noise = shared[school] + np.exp(0.5 * v) * rng.normal(size=num_rows)
    y = x + w + 2 * u + noise + direct * v
    return {"Z": z, "V": v, "X": x, "Y": y, "W": w, "school": school}


def clustered(scores: Any, school: Any) -> Any:
    """The sum over schools of the outer products of their summed scores, one by one."""
    sums = [scores[school == name].sum(axis=0) for name in np.unique(school)]
    return sum(np.outer(part, part) for part in sums)


def bias_reduced(combined: Any, residual: Any, hat: Any, school: Any) -> tuple[float, float]:
    """The CR2 variance of ``combined'error`` and its degrees of freedom, with whole matrices."""
    left, pulls = np.eye(len(hat)) - hat, []
    for name in np.unique(school):
        rows = np.flatnonzero(school == name)
        root = np.linalg.inv(sqrtm(left[np.ix_(rows, rows)]).real)
        pulls.append(left[:, rows] @ root @ combined[rows])
    inner = np.stack(pulls) @ np.stack(pulls).T
    sums = [pull @ residual for pull in pulls]  # left @ residual is residual
    return float(np.square(sums).sum()), float(inner.trace() ** 2 / (inner**2).sum())


@pytest.mark.parametrize("errors", ["HC0", "HC1"])
def test_errors_by_cluster_are_the_sandwich_of_sums(errors: Any) -> None:
    data = two_instruments(300, 9)
    ones = np.ones(300)
    x = np.column_stack([data["X"], ones, data["W"]])
    z = np.column_stack([data["Z"], data["V"], ones, data["W"]])
    fitted = z @ np.linalg.lstsq(z, x, rcond=None)[0]
    bread = np.linalg.inv(fitted.T @ x)
    beta = bread @ fitted.T @ data["Y"]
    scores = fitted * (data["Y"] - x @ beta)[:, None]
    found = estimate_iv(
        SEVERAL,
        data,
        "X",
        "Y",
        ["Z", "V"],
        ["W"],
        method=TwoStageLeastSquares(errors),
        cluster="school",
    )
    variance = (bread @ clustered(scores, data["school"]) @ bread.T)[0, 0]
    if errors == "HC1":
        combined, hat = fitted @ bread[0], fitted @ np.linalg.pinv(fitted)
        variance, freedom = bias_reduced(combined, data["Y"] - x @ beta, hat, data["school"])
        assert found.diagnostics["degrees_of_freedom"] == pytest.approx(freedom, rel=1e-7)
        half = np.diff(found.interval())[0] / 2
        assert half == pytest.approx(t.ppf(0.975, freedom) * variance**0.5, rel=5e-3)
    assert float(found) == pytest.approx(beta[0], rel=1e-9)
    assert float(found.standard_error) == pytest.approx(np.sqrt(variance), rel=1e-7)
    assert found.diagnostics["num_clusters"] == 30
    assert "clustered by school" in found.method


def test_a_wald_ratio_by_cluster_is_that_of_the_delta_method() -> None:
    rng = np.random.default_rng(10)
    z = rng.integers(0, 2, 400)
    x = (rng.random(400) < 0.2 + 0.5 * z).astype(int)
    data = {
        "Z": z,
        "X": x,
        "Y": 2 * x + rng.normal(size=400) + rng.normal(size=50)[np.arange(400) // 8],
    }
    school = np.array([f"s{code}" for code in np.arange(400) // 8])
    found = estimate_iv(PLAIN, {**data, "school": school}, "X", "Y", cluster="school")
    on, off = data["Z"] == 1, data["Z"] == 0
    centre = {n: np.where(on, data[n][on].mean(), data[n][off].mean()) for n in "XY"}
    ratio = float(found)
    below = data["X"][on].mean() - data["X"][off].mean()
    freed = data["Y"] - centre["Y"] - ratio * (data["X"] - centre["X"])
    influence = freed * (on / on.sum() - off / off.sum()) / below
    plain = estimate_iv(
        PLAIN, {**data, "school": school}, "X", "Y", method=Wald(errors="HC0"), cluster="school"
    )
    variance = clustered(influence[:, None], school)[0, 0]
    assert float(plain.standard_error) == pytest.approx(float(np.sqrt(variance)), rel=1e-9)
    assert float(found.standard_error) == pytest.approx(float(plain.standard_error), rel=0.05)
    alone = estimate_iv(PLAIN, {**data, "row": np.arange(400)}, "X", "Y", cluster="row")
    rows = estimate_iv(PLAIN, data, "X", "Y")
    assert float(alone.standard_error) == pytest.approx(float(rows.standard_error), rel=1e-3)


@pytest.mark.parametrize("cluster", [None, "school"])
def test_two_step_gmm_is_the_textbook_formula_with_all_moments(cluster: str | None) -> None:
    """The moments of the constant and of W are kept here; the estimator takes them out first."""
    data = two_instruments(300, 11)
    ones = np.ones(300)
    x = np.column_stack([data["X"], ones, data["W"]])
    z = np.column_stack([data["Z"], data["V"], ones, data["W"]])
    cross = z.T @ x

    def solve(weight: Any) -> Any:
        return np.linalg.solve(cross.T @ weight @ cross, cross.T @ weight @ z.T @ data["Y"])

    def spread(beta: Any) -> Any:
        scores = z * (data["Y"] - x @ beta)[:, None]
        return clustered(scores, data["school"] if cluster else np.arange(300))

    beta = solve(np.linalg.inv(z.T @ z))
    for steps in (2, 3):
        weight = np.linalg.inv(spread(beta))
        beta = solve(weight)
        left = z.T @ (data["Y"] - x @ beta)
        found = estimate_iv(
            SEVERAL,
            data,
            "X",
            "Y",
            ["Z", "V"],
            ["W"],
            method=GMM("HC0", steps=steps),
            cluster=cluster,
        )
        assert float(found) == pytest.approx(beta[0], rel=1e-3 if steps > 2 else 1e-8)
        assert found.diagnostics["hansen_j"] == pytest.approx(
            left @ weight @ left, rel=0.1 if steps > 2 else 1e-6
        )
        error = np.sqrt(np.linalg.inv(cross.T @ weight @ cross)[0, 0])
        assert float(found.standard_error) == pytest.approx(error, rel=0.03)
    assert found.diagnostics["hansen_df"] == 1
    p = chi2.sf(found.diagnostics["hansen_j"], 1)
    assert found.diagnostics["hansen_p"] == pytest.approx(p, rel=1e-9)


def test_gmm_with_a_constant_variance_is_two_stages_with_the_test_of_sargan() -> None:
    data = two_instruments(300, 12)
    names: Any = (SEVERAL, data, "X", "Y", ["Z", "V"], ["W"])
    found = estimate_iv(*names, method=GMM("classical"))
    stages = estimate_iv(*names, method=TwoStageLeastSquares("classical"))
    assert float(found) == pytest.approx(float(stages), rel=1e-9)
    assert float(found.standard_error) == pytest.approx(float(stages.standard_error), rel=1e-9)
    basis = np.column_stack([np.ones(300), data["W"]])
    z = np.column_stack([data["Z"], data["V"], basis])
    columns = np.column_stack([data["X"], basis])
    fitted = z @ np.linalg.lstsq(z, columns, rcond=None)[0]
    left = data["Y"] - columns @ np.linalg.solve(fitted.T @ columns, fitted.T @ data["Y"])
    explained = left @ z @ np.linalg.lstsq(z, left, rcond=None)[0]
    assert found.diagnostics["hansen_j"] == pytest.approx(300 * explained / (left @ left), rel=1e-8)


def test_gmm_is_surer_than_two_stages_where_variances_differ() -> None:
    rng = np.random.default_rng(13)
    z, v = rng.normal(size=(2, 5000))
    u = rng.normal(size=5000)
    x = z + v + u + rng.normal(size=5000)
    y = x + u + np.exp(0.8 * v) * rng.normal(size=5000)
    names: Any = (SEVERAL, {"Z": z, "V": v, "X": x, "Y": y}, "X", "Y", ["Z", "V"], [])
    surer = estimate_iv(*names, method=GMM())
    stages = estimate_iv(*names, method=TwoStageLeastSquares())
    assert float(surer.standard_error) < 0.9 * float(stages.standard_error)
    assert float(surer) == pytest.approx(1.0, abs=4 * float(surer.standard_error))


def test_instruments_that_disagree_are_told() -> None:
    data = two_instruments(2000, 14, direct=1.0)
    found = estimate_iv(SEVERAL, data, "X", "Y", ["Z", "V"], ["W"], method=GMM(), cluster="school")
    assert found.diagnostics["hansen_p"] < 1e-3
    assert "the instruments disagree on the effect" in found.interpret()
    alone = estimate_iv(SEVERAL, data, "X", "Y", ["Z"], ["W"], method=GMM())
    assert "hansen_j" not in alone.diagnostics
    stages = estimate_iv(SEVERAL, data, "X", "Y", ["Z"], ["W"])
    assert float(alone) == pytest.approx(float(stages), rel=1e-9)


@pytest.mark.filterwarnings("ignore:weak instrument")
@pytest.mark.parametrize("strength", [1.0, 0.15])
def test_liml_has_the_least_variance_ratio(strength: float) -> None:
    """The effect at which the instruments explain least of the outcome freed of it."""
    data = two_instruments(200, 15, strength)
    basis = np.column_stack([np.ones(200), data["W"]])
    x, y, z, v = (
        data[n] - basis @ np.linalg.lstsq(basis, data[n], rcond=None)[0]
        for n in ("X", "Y", "Z", "V")
    )
    both = np.column_stack([z, v])

    def ratio(effect: float) -> float:
        freed = y - effect * x
        left = freed - both @ np.linalg.lstsq(both, freed, rcond=None)[0]
        return float(freed @ freed / (left @ left))

    best = minimize_scalar(ratio, bounds=(-5, 5), method="bounded", options={"xatol": 1e-10})
    found = estimate_iv(SEVERAL, data, "X", "Y", ["Z", "V"], ["W"], method=LIML())
    assert float(found) == pytest.approx(best.x, abs=1e-5)
    assert found.diagnostics["kappa"] == pytest.approx(best.fun, rel=1e-9)
    one = estimate_iv(SEVERAL, data, "X", "Y", ["Z"], ["W"], method=LIML())
    two = estimate_iv(SEVERAL, data, "X", "Y", ["Z"], ["W"])
    assert float(one) == pytest.approx(float(two), rel=1e-8)
    assert float(one.standard_error) == pytest.approx(float(two.standard_error), rel=1e-6)


def test_the_effective_f_is_that_of_orthonormal_instruments() -> None:
    data = two_instruments(300, 16, 0.4)
    names: Any = (SEVERAL, data, "X", "Y", ["Z", "V"], ["W"])
    found = estimate_iv(*names, method=TwoStageLeastSquares("HC0"), cluster="school").diagnostics
    basis = np.column_stack([np.ones(300), data["W"]])
    parts = [data[n] - basis @ np.linalg.lstsq(basis, data[n], rcond=None)[0] for n in ("Z", "V")]
    q = np.linalg.qr(np.column_stack(parts))[0] * np.sqrt(300)
    slope = q.T @ data["X"] / 300
    x = data["X"] - basis @ np.linalg.lstsq(basis, data["X"], rcond=None)[0]
    spread = clustered(q * (x - q @ slope)[:, None], data["school"]) / 300
    assert found["effective_f"] == pytest.approx(300 * slope @ slope / np.trace(spread), rel=1e-8)
    size = np.trace(spread) ** 2 * 21
    size /= np.trace(spread @ spread) + 20 * np.trace(spread) * np.linalg.eigvalsh(spread).max()
    critical = ncx2.ppf(0.95, size, 10 * size) / size
    assert found["effective_f_critical"] == pytest.approx(critical, rel=1e-6)


@pytest.mark.filterwarnings("ignore:column 'school' has 20 clusters")
@pytest.mark.parametrize("method", [TwoStageLeastSquares(), LIML(), GMM()], ids=str)
def test_units_do_not_matter(method: InstrumentMethod) -> None:
    data = two_instruments(200, 20)
    names: Any = ("X", "Y", ["Z", "V"], ["W"])
    found = estimate_iv(SEVERAL, data, *names, method=method, cluster="school")
    changed = {**data, "Z": 1e8 * data["Z"], "V": 1e-8 * data["V"] + 3, "X": 1e4 * data["X"]}
    again = estimate_iv(SEVERAL, changed, *names, method=method, cluster="school")
    assert 1e4 * float(again) == pytest.approx(float(found), rel=1e-6)
    for name in ("first_stage_f", "effective_f", "effective_f_critical"):
        assert again.diagnostics[name] == pytest.approx(found.diagnostics[name], rel=1e-6)
    rows = np.ravel(found.diagnostics["anderson_rubin"])
    ends = 1e4 * np.ravel(again.diagnostics["anderson_rubin"])
    assert ends == pytest.approx(rows, rel=1e-5)


def test_exact_stages_give_numbers_or_are_refused() -> None:
    data = two_instruments(200, 21)
    names: Any = ("X", "Y", ["Z", "V"], [])
    exact = {**data, "X": data["Z"] + data["V"]}
    found = estimate_iv(SEVERAL, exact, *names)
    assert (found.diagnostics["effective_f"], found.diagnostics["effective_f_critical"]) == (
        np.inf,
        0,
    )
    for method in (LIML(), GMM()):
        assert np.isfinite(float(estimate_iv(SEVERAL, exact, *names, method=method)))
        with pytest.raises(DataError, match="Y is an exact function of X"):
            estimate_iv(SEVERAL, {**data, "Y": 2 * data["X"]}, *names, method=method)


def test_with_one_instrument_the_effective_f_is_the_robust_one() -> None:
    found = estimate_iv(SEVERAL, two_instruments(200, 17), "X", "Y", "Z", ["W"]).diagnostics
    assert found["effective_f"] == pytest.approx(found["first_stage_f"], rel=1e-9)
    assert f"{found['effective_f_critical']:.1f}" == "23.1"  # the published one


@pytest.mark.filterwarnings("ignore:weak instrument")
@pytest.mark.filterwarnings("ignore:column 'school' has 20 clusters")
@pytest.mark.parametrize("cluster", [None, "school"])
@pytest.mark.parametrize(("strength", "direct"), [(1.0, 0.0), (0.12, 0.0), (0.0, 0.0), (1.0, 2.0)])
def test_the_robust_set_of_several_instruments_holds_what_is_not_rejected(
    strength: float, direct: float, cluster: str | None
) -> None:
    data = two_instruments(200, 18, strength, direct)
    method = GMM("HC0")
    found = estimate_iv(SEVERAL, data, "X", "Y", ["Z", "V"], ["W"], method=method, cluster=cluster)
    basis = np.column_stack([np.ones(200), data["W"]])
    x, y, z, v = (
        data[n] - basis @ np.linalg.lstsq(basis, data[n], rcond=None)[0]
        for n in ("X", "Y", "Z", "V")
    )
    both = np.column_stack([z, v])
    bound = chi2.ppf(0.95, 2)
    groups = data["school"] if cluster else np.arange(200)
    for effect in np.linspace(-20, 20, 161):
        freed = y - effect * x
        left = freed - both @ np.linalg.lstsq(both, freed, rcond=None)[0]
        spread = clustered(both * left[:, None], groups)
        statistic = (both.T @ freed) @ np.linalg.solve(spread, both.T @ freed)
        if abs(statistic - bound) > 0.01:
            intervals = found.diagnostics["anderson_rubin"]
            inside = any(low <= effect <= high for low, high in intervals)
            assert inside == (statistic < bound)


def test_clusters_that_cannot_be_used_are_named() -> None:
    data = two_instruments(100, 19)
    names: Any = (SEVERAL, data, "X", "Y", ["Z", "V"], ["W"])
    with pytest.raises(DataError, match="no column 'class'"):
        estimate_iv(*names, cluster="class")
    with pytest.raises(DataError, match="with cluster use HC1"):
        estimate_iv(*names, method=LIML("classical"), cluster="school")
    data["all"], data["half"] = np.zeros(100), np.arange(100) // 50
    with pytest.raises(DataError, match="column 'all' has one cluster"):
        estimate_iv(*names, cluster="all")
    with pytest.raises(DataError, match="'half' has 2 clusters for 2 instruments"):
        estimate_iv(*names, method=GMM(), cluster="half")
    with pytest.raises(DataError, match="steps is 1"):
        GMM(steps=1)
    data["third"] = np.arange(100) // 34
    with pytest.raises(DataError, match="'third' has 3 clusters, from which no error"):
        estimate_iv(*names, cluster="third")
    with pytest.warns(HeuristicWarning, match="has 10 clusters, which are few") as log:
        found = estimate_iv(*names, cluster="school")
    assert log[0].filename == __file__
    assert "10 clusters, which are few" in found.interpret()
    assert estimate_iv(*names, cluster="W").diagnostics["num_clusters"] == 100


@pytest.mark.slow
@pytest.mark.parametrize("method", [TwoStageLeastSquares(), LIML(), GMM()], ids=str)
def test_intervals_by_cluster_cover(method: InstrumentMethod) -> None:
    """500 simulations; one row at a time they would not, and J rejects as often as it should."""
    by_cluster = by_row = rejected = robust = 0
    for seed in range(500):
        data = two_instruments(600, seed)
        names: Any = (SEVERAL, data, "X", "Y", ["Z", "V"], ["W"])
        found = estimate_iv(*names, method=method, cluster="school")
        low, high = found.interval()
        by_cluster += bool(low <= 1 <= high)
        robust += any(low <= 1 <= high for low, high in found.diagnostics["anderson_rubin"])
        if isinstance(method, TwoStageLeastSquares):
            low, high = estimate_iv(*names, method=method).interval()
            by_row += bool(low <= 1 <= high)
        rejected += found.diagnostics.get("hansen_p", 1.0) < 0.05
    assert 0.93 <= by_cluster / 500 <= 0.97
    assert 0.93 <= robust / 500 <= 0.97
    assert by_row / 500 < 0.93
    if isinstance(method, GMM):
        assert 0.03 <= rejected / 500 <= 0.07


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:column 'school' has")
@pytest.mark.filterwarnings("ignore:weak instrument")
@pytest.mark.parametrize("clusters", [4, 8, 15])
def test_intervals_cover_with_few_clusters(clusters: int) -> None:
    """400 simulations; instrument and noise are shared within clusters, of unequal sizes."""
    sizes = np.arange(1, clusters + 1)
    school = np.repeat(sizes, np.ceil(600 * sizes / sizes.sum()).astype(int))
    rows = len(school)
    normal = robust = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        z = rng.normal(size=clusters)[school - 1] + 0.3 * rng.normal(size=rows)
        u, first, second = rng.normal(size=(3, rows))
        x = 2 * z + u + first
        y = x + u + rng.normal(size=clusters)[school - 1] + second
        data = {"Z": z, "X": x, "Y": y, "school": school}
        found = estimate_iv(PLAIN, data, "X", "Y", cluster="school")
        low, high = found.interval()
        normal += bool(low <= 1 <= high)
        robust += any(low <= 1 <= high for low, high in found.diagnostics["anderson_rubin"])
    assert 0.92 <= normal / 400 <= 0.99
    assert 0.92 <= robust / 400 <= 0.99


def test_two_instruments_and_five_clusters_reject_nothing() -> None:
    """Clusters too few for the number of instruments leave the robust set unbounded."""
    data = two_instruments(300, 22)
    data["part"] = np.arange(300) // 60
    data["other"] = data["Z"] ** 2
    graph = ADMG.parse("{Z, V, other} -> X; W -> {X, Y}; X -> Y; X <-> Y")
    with pytest.warns(HeuristicWarning):
        found = estimate_iv(graph, data, "X", "Y", ["Z", "V", "other"], ["W"], cluster="part")
    intervals = found.diagnostics["anderson_rubin"]
    assert any(low <= float(found) <= high for low, high in intervals)
    assert found.diagnostics["degrees_of_freedom"] < 4
