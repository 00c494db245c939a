"""Refutation: sound estimates pass, and each kind of flaw is found by the check made for it."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from causalppl.data import Table
from causalppl.estimation.estimate import Estimate
from causalppl.estimation.estimator import Estimator, Problem
from causalppl.estimation.refutation_checks import (
    BootstrapError,
    DummyOutcome,
    PlaceboTreatment,
    PriorSensitivity,
    RandomCommonCause,
    SimulatedConfounder,
    SubsetStability,
)
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
    assert set(table["verdict"]) == {"passed", "for information"}
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
