"""Formulas for bounds, and what they refuse; their values are checked in test_canonical."""

import numpy as np
import pytest

from causalppl.bounds.closed_forms import (
    balke_pearl_ate_bounds,
    balke_pearl_do_bounds,
    instrumental_inequality,
    tian_pearl_bounds,
)
from causalppl.exceptions import AssumptionError, DataError, ImpossibleEvidenceError


def test_the_cholestyramine_trial_has_balke_and_pearls_bounds():
    # Balke and Pearl (1997), section 4.1: of 337 men, compliance and response made binary
    table = [[[0.919, 0.081], [0.0, 0.0]], [[0.315, 0.073], [0.139, 0.473]]]
    assert balke_pearl_ate_bounds(table) == pytest.approx((0.392, 0.780), abs=1e-3)


def test_vitamin_a_has_balke_and_pearls_bounds():
    # Balke and Pearl (1997), section 4.2: survival in Northern Sumatra
    table = [[[0.0064, 0.9936], [0.0, 0.0]], [[0.0028, 0.1972], [0.001, 0.799]]]
    assert balke_pearl_ate_bounds(table) == pytest.approx((-0.1946, 0.0054), abs=1e-4)


def test_the_effect_lies_between_differences_of_the_do_bounds():
    rng = np.random.default_rng(0)
    for _ in range(50):
        latent = rng.dirichlet(np.ones(16)).reshape(2, 2, 2, 2)  # X_0, X_1, Y_0, Y_1
        table = np.zeros((2, 2, 2))
        for unit in np.ndindex(2, 2, 2, 2):
            for z in (0, 1):
                table[z, unit[z], unit[2 + unit[z]]] += latent[unit]
        low, high = balke_pearl_ate_bounds(table)
        first, second = balke_pearl_do_bounds(table, 1), balke_pearl_do_bounds(table, 0)
        assert first[0] - second[1] - 1e-12 <= low
        assert high <= first[1] - second[0] + 1e-12
        truth = latent.sum((0, 1, 2))[1] - latent.sum((0, 1, 3))[1]
        assert low - 1e-12 <= truth <= high + 1e-12
        assert instrumental_inequality(table) <= 1 + 1e-12


def test_the_drug_trial_of_pearl_is_a_sure_cause():
    # Pearl (2009), table 9.5: experiments give P(y | do(x)) = .016, P(y | do(x')) = .014
    joint = [[0.486, 0.014], [0.499, 0.001]]
    assert tian_pearl_bounds("PN", joint, experiments=(0.014, 0.016)) == pytest.approx((1, 1))


def test_monotone_effects_are_identified():
    joint = [[0.4, 0.1], [0.2, 0.3]]
    for kind in ("PN", "PS", "PNS"):
        low, high = tian_pearl_bounds(kind, joint, exogenous=True, monotone=True)
        assert low == pytest.approx(high)
    assert tian_pearl_bounds("PNS", joint, exogenous=True)[0] == pytest.approx(0.4)


def test_tables_that_are_none_are_refused():
    with pytest.raises(DataError, match="sum to 1"):
        balke_pearl_ate_bounds(np.ones((2, 2, 2)))
    with pytest.raises(DataError, match="expected \\(2, 2, 2\\)"):
        balke_pearl_ate_bounds(np.full((3, 2, 2), 0.25))
    broken = [[[0.8, 0.0], [0.1, 0.1]], [[0.0, 0.7], [0.2, 0.1]]]
    with pytest.raises(AssumptionError, match=r"is 1\.5"):
        balke_pearl_do_bounds(broken, 1)
    with pytest.raises(DataError, match="without a joint law"):
        tian_pearl_bounds("PN", experiments=(0.1, 0.2))
    with pytest.raises(AssumptionError, match="one population"):
        tian_pearl_bounds("PNS", [[0.4, 0.1], [0.2, 0.3]], experiments=(0.05, 0.4))
    with pytest.raises(ImpossibleEvidenceError, match="PN is about"):
        tian_pearl_bounds("PN", [[0.5, 0.5], [0.0, 0.0]])
    with pytest.raises(AssumptionError, match="not monotone"):
        tian_pearl_bounds("PN", [[0.1, 0.4], [0.4, 0.1]], exogenous=True, monotone=True)


def test_no_confounding_and_experiments_must_agree():
    joint = [[0.4, 0.1], [0.1, 0.4]]
    with pytest.raises(AssumptionError, match="follow from the joint law"):
        tian_pearl_bounds("PNS", joint, exogenous=True, experiments=(0.9, 0.9))
    both = tian_pearl_bounds("PNS", joint, exogenous=True, experiments=(0.2, 0.8))
    assert both == tian_pearl_bounds("PNS", joint, exogenous=True)
    with pytest.raises(DataError, match=r"P\(X=1\) is 0"):
        tian_pearl_bounds("PNS", [[0.5, 0.5], [0, 0]], exogenous=True)


def test_what_contradicts_an_instrument_is_the_witness():
    table = [[[0.9, 0.0], [0.1, 0.0]], [[0.0, 0.8], [0.0, 0.2]]]
    with pytest.raises(AssumptionError, match=r"is 1\.7") as error:
        balke_pearl_ate_bounds(table)
    assert str(error.value.witness).startswith("P(X=0, Y=0 | Z=0) + P(X=0, Y=1 | Z=1) <= 1, and")
