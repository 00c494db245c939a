"""Models of a wrong form are found; and learners that take long do not make refutation so."""

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from causalppl.estimation import (
    AIPW,
    IPW,
    Dirichlet,
    Estimate,
    GFormula,
    PlaceboTreatment,
    estimate,
    refute,
)
from causalppl.estimation.estimator import Estimator
from causalppl.estimation.refutation_form import FunctionalForm
from causalppl.graphs import back_door
from causalppl.identification import identify

EFFECT = identify(back_door(), "ATE(X -> Y)")
SQUARES = make_pipeline(PolynomialFeatures(2), LinearRegression())


def confounded(rows: int, seed: int, power: int) -> pd.DataFrame:
    """Z, or its square, moves treatment and outcome; the effect is 0."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=rows)
    cause = z**power - (power == 2)
    x = (rng.random(rows) < 1 / (1 + np.exp(-0.6 * cause))).astype(int)
    return pd.DataFrame({"Z": z, "X": x, "Y": cause + rng.normal(size=rows)})


def found(method: Estimator | None, power: int, rows: int = 1000, seed: int = 0) -> Estimate:
    return estimate(EFFECT, confounded(rows, seed, power), method=method, seed=0)


FOREST = make_pipeline(
    PolynomialFeatures(2), RandomForestClassifier(5, min_samples_leaf=40, random_state=0)
)
LINES = AIPW(outcome=LinearRegression(), propensity=LogisticRegression())


@pytest.mark.parametrize("method", [GFormula(), IPW(), LINES], ids=lambda method: method.name)
def test_confounding_by_a_square_is_found_where_the_model_has_lines(method: Estimator) -> None:
    wrong = found(method, power=2)
    assert float(wrong) > 5 * float(wrong.standard_error)  # and the truth is 0
    report = refute(wrong, checks=[FunctionalForm()], seed=0)
    assert not report
    (result,) = report.results
    assert abs(result.values[0]) < 0.25
    assert "misses what the data show of the confounding" in result.found
    assert "functional form failed: flexible models give" in report.interpret()


@pytest.mark.parametrize(
    ("method", "power"),
    [(GFormula(), 1), (IPW(), 1), (LINES, 1), (GFormula(outcome=SQUARES, bootstrap=50), 2)],
    ids=["g-formula", "IPW", "AIPW", "g-formula with squares"],
)
def test_a_model_of_the_right_form_passes(method: Estimator, power: int) -> None:
    (result,) = refute(found(method, power), checks=[FunctionalForm()], seed=0).results
    assert result.verdict == "passed"
    assert "up to 2.58 passes" in result.found


def test_the_check_does_not_apply_to_flexible_models_and_to_counts() -> None:
    (result,) = refute(found(None, power=2), checks=[FunctionalForm()], seed=0).results
    assert (result.verdict, "chosen from flexible ones" in result.found) == ("skipped", True)
    binary = (confounded(200, 0, 1) > 0).astype(int)
    counted = estimate(EFFECT, binary, method=Dirichlet(), seed=0)
    (result,) = refute(counted, checks=[FunctionalForm()], seed=0).results
    assert (result.verdict, "no model of a form" in result.found) == ("skipped", True)


@pytest.mark.slow
def test_a_right_model_fails_as_often_as_stated() -> None:
    """At 5 %, of 40 more than 7 have a chance of .1 %."""
    estimates = [found(GFormula(), 1, rows=400, seed=seed) for seed in range(40)]
    assert sum(not refute(one, checks=[FunctionalForm(0.05)], seed=0) for one in estimates) <= 7


def weighted_under_strong_confounding(seed: int) -> Estimate:
    """The model of the treatment is right, and chances come down to .003."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=400)
    x = (rng.random(400) < 1 / (1 + np.exp(-2 * z))) * 1
    return estimate(
        EFFECT, {"Z": z, "X": x, "Y": 2 * x + z + rng.normal(size=400)}, method=IPW(), seed=0
    )


@pytest.mark.filterwarnings("ignore::causalppl.exceptions.OverlapWarning")
@pytest.mark.parametrize("seed", [105, 113])
def test_chance_does_not_fail_a_right_model_of_few_counterparts(seed: int) -> None:
    """By influences alone both estimates are more than 4 joint errors from the flexible one."""
    report = refute(weighted_under_strong_confounding(seed), checks=[FunctionalForm()], seed=0)
    assert report.results[0].verdict == "passed"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::causalppl.exceptions.OverlapWarning")
def test_right_weights_fail_as_often_as_stated_under_strong_confounding() -> None:
    """At 1 %, of 30 more than 2 have a chance of .3 %."""
    estimates = [weighted_under_strong_confounding(seed) for seed in range(30)]
    assert sum(not refute(one, checks=[FunctionalForm()], seed=0) for one in estimates) <= 2


@pytest.mark.parametrize(
    "slow",
    [
        AIPW(
            outcome=HistGradientBoostingRegressor(max_iter=3),
            propensity=LogisticRegression(),
            folds=2,
        ),
        AIPW(outcome=LinearRegression(), propensity=FOREST, folds=2),
    ],
    ids=["boosted", "forest"],
)
def test_learners_that_take_long_get_few_repeats_and_the_report_says_so(slow: Estimator) -> None:
    one = found(slow, power=1, rows=200)
    report = refute(one, checks=[PlaceboTreatment()], seed=0)
    assert report.results[0].values.size == 6
    assert "6 times at most for each check, as the learners are slow" in report.interpret()
    asked = refute(one, checks=[PlaceboTreatment()], repeats=8, seed=0)
    assert asked.results[0].values.size == 8
    assert "slow" not in asked.interpret()
    quick = refute(found(GFormula(), power=1, rows=200), checks=[PlaceboTreatment()], seed=0)
    assert quick.results[0].values.size == PlaceboTreatment.most_repeats
