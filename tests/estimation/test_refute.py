"""Refutation: sound estimates pass, and each kind of flaw is found by the check made for it."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch

from causalppl.data import Table
from causalppl.estimation import GFormula, estimate
from causalppl.estimation.dirichlet import Dirichlet
from causalppl.estimation.estimate import Estimate
from causalppl.estimation.estimator import Estimator, Problem
from causalppl.estimation.refutation_checks import (
    BootstrapError,
    DummyOutcome,
    PlaceboTreatment,
    RandomCommonCause,
    SimulatedConfounder,
    SubsetStability,
)
from causalppl.estimation.refutation_priors import PosteriorPredictive, PriorSensitivity
from causalppl.estimation.refute import CHECKS, refute
from causalppl.exceptions import DataError
from causalppl.graphs import ADMG
from causalppl.identification import identify

GRAPH = ADMG.parse("Z -> X -> Y; Z -> Y")


@dataclass(frozen=True)
class LeastSquares(Estimator):
    """Regress the outcome on treatment and covariates; settings plant flaws."""

    bias: float = 0.0
    error_factor: float = 1.0
    concentration: float = 1.0
    ignores_data: bool = False
    name: ClassVar[str] = "LeastSquares"

    def refusal(self, problem: Problem) -> str | None:
        return None

    def solve(self, problem: Problem, *, seed: int, progress: bool = False) -> Estimate:
        query = problem.estimand.query
        names = [n for n in problem.estimand.graph.nodes if n not in (query.treatment, "Y")]
        columns = [problem.table[n].double() for n in (query.treatment, *names)]
        design = torch.stack([*columns, torch.ones_like(columns[0])], -1)
        outcome = problem.table["Y"].double()
        weights = torch.linalg.lstsq(design, outcome).solution
        residual = outcome - design @ weights
        spread = torch.linalg.inv(design.T @ design) * residual.var()
        value = 1.0 if self.ignores_data else float(weights[0]) + self.bias
        return Estimate(
            query,
            "LeastSquares",
            np.array(value),
            error=np.array(self.error_factor * float(spread[0, 0]) ** 0.5),
            num_rows=problem.table.num_rows,
        )


def linear(rows: int = 400, seed: int = 0) -> Table:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=rows)
    x = (rng.normal(size=rows) + z > 0).astype(float)
    return Table.from_any({"Z": z, "X": x, "Y": 2 * x + z + rng.normal(size=rows)})


def estimated(**settings: object) -> Estimate:
    estimator = LeastSquares(**settings)
    problem = Problem(identify(GRAPH, "ATE(X -> Y)"), linear())
    found = estimator.solve(problem, seed=0)
    return replace(found, problem=problem, estimator=estimator)


def test_a_sound_estimate_passes_every_check() -> None:
    report = refute(estimated(), repeats=20, seed=0)
    assert report
    table = report.summary()
    assert list(table.index) == [check.name for check in CHECKS]
    assert set(table["verdict"]) == {"passed", "for information", "skipped"}
    assert list(table.index[table["verdict"] == "skipped"]) == ["posterior predictive"]
    assert "6 of 6 checks" in report.interpret()
    assert "not prove it" in report.interpret()


@pytest.mark.parametrize(
    ("settings", "check"),
    [
        ({"bias": 1.0}, PlaceboTreatment()),
        ({"bias": 1.0}, DummyOutcome()),
        ({"ignores_data": True}, PlaceboTreatment()),
        ({"error_factor": 0.2}, BootstrapError()),
        ({"error_factor": 5.0}, BootstrapError()),
        ({"error_factor": 0.2}, SubsetStability()),
    ],
)
def test_a_flaw_is_found_by_the_check_made_for_it(settings: dict, check: object) -> None:
    report = refute(estimated(**settings), checks=[check], repeats=20, seed=0)
    assert not report
    assert report.results[0].verdict == "failed"
    assert "failed" in report.interpret()


def test_a_cause_of_pure_noise_moves_nothing() -> None:
    (result,) = refute(estimated(), checks=[RandomCommonCause()], repeats=10, seed=0).results
    assert result.verdict == "passed"
    assert len(set(result.values)) == 10


def test_a_simulated_confounder_eats_the_effect() -> None:
    (result,) = refute(estimated(), checks=[SimulatedConfounder()], seed=0).results
    assert result.verdict == "for information"
    assert (np.diff(result.values) < 0).all()
    assert result.values[-1] < float(estimated())


def test_prior_sensitivity_is_for_estimators_with_a_prior() -> None:
    (result,) = refute(estimated(), checks=[PriorSensitivity()], seed=0).results
    assert result.verdict == "passed"
    assert result.values.tolist() == pytest.approx([float(estimated())] * 2)


def test_the_same_seed_gives_the_same_report_whatever_other_checks_run() -> None:
    first = refute(estimated(), checks=[PlaceboTreatment()], repeats=5, seed=3)
    again = refute(estimated(), checks=[PlaceboTreatment()], repeats=5, seed=3)
    assert first.results[0].values.tolist() == pytest.approx(again.results[0].values.tolist())
    np.random.seed(0)  # the global state must not matter
    torch.manual_seed(0)
    third = refute(estimated(), checks=[PlaceboTreatment()], repeats=5, seed=3)
    assert third.results[0].values.tolist() == pytest.approx(first.results[0].values.tolist())


def test_queries_that_are_no_difference_skip_the_checks_that_need_one() -> None:
    problem = Problem(identify(GRAPH, "ATE(X -> Y)"), linear())
    estimate = estimated()
    mean = replace(
        estimate,
        query=identify(GRAPH, "E[Y | do(X=1)]").query,
        problem=replace(problem, estimand=identify(GRAPH, "E[Y | do(X=1)]")),
    )
    report = refute(mean, checks=[PlaceboTreatment(), SimulatedConfounder()], seed=0)
    assert [result.verdict for result in report.results] == ["skipped", "skipped"]
    assert "no difference" in report.results[0].found


def test_an_estimate_without_its_data_is_refused() -> None:
    with pytest.raises(DataError, match="does not know its data"):
        refute(replace(estimated(), problem=None))
    with pytest.raises(DataError, match="repeats is 1"):
        refute(estimated(), repeats=1)


def binary(rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    z = rng.random(rows) < 0.5
    x = rng.random(rows) < 0.3 + 0.4 * z
    y = rng.random(rows) < 0.2 + 0.3 * x + 0.2 * z
    return pd.DataFrame({"Z": z, "X": x, "Y": y}).astype(int)


@pytest.mark.parametrize("method", [GFormula(), Dirichlet()], ids=["g-formula", "Dirichlet"])
def test_a_constant_outcome_is_refused_by_name(method: Estimator) -> None:
    data = binary(200, 1).assign(Y=1)
    found = estimate(identify(GRAPH, "ATE(X -> Y)"), data, method=method, seed=0)
    with pytest.raises(DataError, match="outcome Y is the same in all 200 rows"):
        refute(found, repeats=5, seed=0)


@dataclass(frozen=True)
class Certain(LeastSquares):
    """An estimator that claims to be sure; or, told so, says nothing of its error."""

    is_silent: bool = False

    def solve(self, problem: Problem, *, seed: int, progress: bool = False) -> Estimate:
        found = super().solve(problem, seed=seed)
        return replace(found, error=None if self.is_silent else np.array(0.0))


@pytest.mark.parametrize(("is_silent", "reason"), [(True, "no standard error"), (False, "is zero")])
def test_without_an_error_nothing_is_judged_by_it(is_silent: bool, reason: str) -> None:
    estimator = Certain(is_silent=is_silent)
    problem = Problem(identify(GRAPH, "ATE(X -> Y)"), linear())
    found = replace(estimator.solve(problem, seed=0), problem=problem, estimator=estimator)
    results = refute(found, repeats=5, seed=0).results
    skipped = [r.name for r in results if r.verdict == "skipped" and reason in r.found]
    assert skipped == ["random common cause", "subset stability", "bootstrap", "prior sensitivity"]
    assert {r.verdict for r in results[:2]} == {"passed"}


def test_counts_are_refuted_as_the_rows_that_they_count() -> None:
    rows = binary(400, 2)
    cells = rows.value_counts().reset_index(name="n")
    assert len(cells) == 8
    query = identify(GRAPH, "ATE(X -> Y)")
    counted = estimate(query, cells, weights="n", method=GFormula(), seed=0)
    report = refute(counted, repeats=20, seed=0)
    assert report
    (noise,) = (r for r in report.results if r.name == "random common cause")
    assert abs(noise.values.mean() - float(counted)) < 0.2 * float(counted.standard_error)
    listed = estimate(query, rows, method=GFormula(), seed=0)
    assert float(counted) == pytest.approx(float(listed))


def test_sampling_weights_stay_with_their_rows() -> None:
    """Rows with a high outcome are sampled less: without weights the effect is far too small."""
    rng = np.random.default_rng(3)
    z = rng.normal(size=6000)
    x = (rng.random(6000) < 1 / (1 + np.exp(-z))).astype(int)
    y = 2 * x + z + rng.normal(size=6000)
    share = np.where(y > 2, 0.15, 0.9)
    kept = rng.random(6000) < share
    data = pd.DataFrame({"Z": z, "X": x, "Y": y, "w": 1 / share})[kept]
    query = identify(GRAPH, "ATE(X -> Y)")
    plain = estimate(query, data[["Z", "X", "Y"]], method=GFormula(), seed=0)
    found = estimate(query, data, weights="w", method=GFormula(), seed=0)
    error = float(found.standard_error)
    assert float(found) == pytest.approx(2.0, abs=4 * error)
    assert float(plain) < 2.0 - 4 * error
    report = refute(found, repeats=20, seed=0)
    assert report
    for result in report.results:
        if result.name in ("random common cause", "subset stability", "bootstrap"):
            assert result.values.mean() == pytest.approx(float(found), abs=1.5 * error)


@pytest.mark.parametrize(("concentration", "verdict"), [(1.0, "passed"), (4000.0, "failed")])
def test_a_prior_that_outweighs_the_data_is_found(concentration: float, verdict: str) -> None:
    method = Dirichlet(concentration=concentration)
    found = estimate(identify(GRAPH, "ATE(X -> Y)"), binary(400, 4), method=method, seed=0)
    (result,) = refute(found, checks=[PosteriorPredictive()], seed=0).results
    assert result.verdict == verdict


def test_posterior_predictive_rarely_raises_a_false_alarm() -> None:
    """At a rate of 1 % or less, 3 or more alarms in 20 have a chance of .1 % at most."""
    alarms = 0
    for seed in range(20):
        found = estimate(identify(GRAPH, "ATE(X -> Y)"), binary(200, 100 + seed), seed=0)
        alarms += not refute(found, checks=[PosteriorPredictive()], seed=seed)
    assert alarms < 3
