"""What is said of evidence that is there in part."""

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch

from causalppl.exceptions import DataError, ImpossibleEvidenceError
from causalppl.inference.importance import Importance
from causalppl.inference.infer import infer
from causalppl.inference.map_units import map_units


def program():
    u = pyro.sample("U", dist.Normal(0.0, 1.0))
    pair = torch.stack([u, u], -1)
    return pyro.sample("V", dist.Normal(pair, 1.0).to_event(1))


def test_a_vector_that_is_known_in_part_is_named():
    seen = {"V": torch.tensor([[1.0, 2.0], [1.0, torch.nan], [torch.nan, torch.nan]])}
    found = infer(program, ["U"], evidence=seen, seed=0)
    told = [note for note in found.notes if "some of the entries" in note]
    assert len(told) == 1
    assert "1 of 3 units have only some of the entries of the vector V" in told[0]
    assert found.mean()["U"] == pytest.approx([1.0, 0.0, 0.0], abs=0.2)


def test_a_vector_that_is_missing_altogether_is_not():
    seen = {"V": torch.tensor([[1.0, 2.0], [torch.nan, torch.nan]])}
    notes = infer(program, ["U"], evidence=seen, seed=0).notes
    assert not any("some of the entries" in note for note in notes)


def noisy_line():
    x = pyro.sample("X", dist.Normal(0.0, 1.0))
    return pyro.sample("Y", dist.Normal(2 * x, 1.0))


def outcomes(units: int) -> np.ndarray:
    y = np.random.default_rng(0).normal(size=units)
    y[units // 2] = np.nan
    return y


@pytest.mark.parametrize("units", [1, 5, 1000])
def test_a_unit_without_evidence_is_answered_by_the_prior(units):
    """Given y the noise has mean y / 5 and variance 4 / 5; without, 0 and 1."""
    y = outcomes(units)
    mean = infer(noisy_line, "E[Y_{X=0}]", evidence={"Y": y}, seed=0).mean()["Y"]
    np.testing.assert_allclose(mean, np.nan_to_num(y) / 5, atol=1e-6)
    law = infer(noisy_line, "P(Y_{X=0})", evidence={"Y": y}, seed=0).sd()["Y"]
    expected = np.where(np.isnan(y), 1.0, np.sqrt(0.8))
    np.testing.assert_allclose(law, expected, atol=0.14)  # six errors of 1,000 draws
    chance = infer(noisy_line, "P(Y_{X=0} > 0)", evidence={"Y": y}, seed=0).mean()
    found = np.atleast_1d(next(iter(chance.values())))[units // 2]
    assert found == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("samples", [50, 5000])
def test_patterns_of_missing_values_may_have_other_numbers_of_draws(samples):
    y = outcomes(60)
    engine = Importance(samples)
    for query, slope in (("E[X]", 0.4), ("P(X)", 0.4)):
        found = infer(noisy_line, query, evidence={"Y": y}, engine=engine, num_draws=30, seed=0)
        error = 6 / np.sqrt(max(samples, 30) / 10)
        np.testing.assert_allclose(found.mean()["X"], slope * np.nan_to_num(y), atol=error)


def test_a_unit_without_evidence_in_files(tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra scale)")
    y = outcomes(1000)
    pd.DataFrame({"Y": y}).to_parquet(tmp_path / "units.parquet")
    done = map_units(noisy_line, "E[Y_{X=0}]", tmp_path / "units.parquet", tmp_path / "out", seed=0)
    np.testing.assert_allclose(done.to_pandas()["mean(Y)"], np.nan_to_num(y) / 5, atol=1e-6)


LAWS = {
    "bernoulli": (lambda z: dist.Bernoulli(0.2 + 0.5 * z), 2.0, "0 or 1"),
    "fraction": (lambda z: dist.Bernoulli(0.2 + 0.5 * z), 0.5, "0 or 1"),
    "poisson": (lambda z: dist.Poisson(1 + z), 0.5, "whole numbers from 0 on"),
    "gamma": (lambda z: dist.Gamma(1 + z, 1.0), -1.0, "numbers from 0 on"),
    "beta": (lambda z: dist.Beta(1 + z, 1.0), 1.5, "numbers from 0 to 1"),
    "lognormal": (lambda z: dist.LogNormal(z, 1.0), -2.0, "numbers above 0"),
}


@pytest.mark.parametrize("name", LAWS)
def test_a_value_outside_the_support_is_refused_though_the_site_has_parents(name):
    law, value, expected = LAWS[name]

    def dependent():
        z = pyro.sample("Z", dist.Bernoulli(0.5))
        return pyro.sample("S", law(z))

    said = rf"evidence {value} on 'S' \(unit 0\) .* expected {expected}, check"
    with pytest.raises(ImpossibleEvidenceError, match=said):
        infer(dependent, ["Z"], evidence={"S": value}, seed=0)


def test_impossible_evidence_in_a_query_is_refused():
    """A truth by hand: Y = 2 X + Z + noise of X = 2 would say -3, of a unit that cannot be."""

    def binary():
        z = pyro.sample("Z", dist.Bernoulli(0.4))
        x = pyro.sample("X", dist.Bernoulli(0.2 + 0.5 * z))
        return pyro.sample("Y", dist.Normal(2 * x + z, 1.0))

    with pytest.raises(ImpossibleEvidenceError, match=r"evidence 2.0 on 'X'"):
        infer(binary, "P(Y_{X=0} | X=2, Z=0, Y=1)", seed=0)
    possible = infer(binary, "P(Y_{X=0} | X=1, Z=0, Y=1)", seed=0)
    assert float(possible.mean()["Y"]) == pytest.approx(-1.0, abs=1e-5)


def test_a_support_that_follows_the_parents_is_left_to_inference():
    def stretched():
        z = pyro.sample("Z", dist.Bernoulli(0.5))
        return pyro.sample("S", dist.Uniform(0.0, 1.0 + 2 * z))

    found = infer(stretched, ["Z"], evidence={"S": torch.tensor(2.0)}, seed=0)
    assert float(found.mean()["Z"]) == pytest.approx(1.0, abs=1e-6)


def shared_cause():
    z = pyro.sample("Z", dist.Normal(0.0, 1.0))
    x = pyro.sample("X", dist.Bernoulli(logits=z))
    return pyro.sample("Y", dist.Normal(5 + 2 * z - 1.5 * x, 1.0))


TABLE = pd.DataFrame(
    {"Z": [0.1, 0.2, 0.3], "X": [1, 1, 0], "Y": [5.0, 6.0, 7.0], "name": ["a", "b", "c"]}
)


def without_treatment(evidence):
    return infer(shared_cause, "E[Y_{X=0}]", evidence=evidence, seed=0)


def test_a_row_of_a_frame_is_one_unit():
    found = without_treatment(TABLE.iloc[0])
    assert found.mean()["Y"] == pytest.approx(6.5)  # a number, not an array of one
    assert any("name are not sites" in note for note in found.notes)
    gone = without_treatment(pd.Series({"Z": None, "X": 1, "Y": 5.0})).mean()["Y"]
    assert gone == pytest.approx(without_treatment({"X": 1, "Y": 5.0}).mean()["Y"], abs=1e-6)


@pytest.mark.parametrize("missing", [None, pd.NA, float("nan")], ids=["None", "NA", "nan"])
def test_a_single_missing_value_is_unobserved(missing):
    found = without_treatment({"Z": missing, "X": 1, "Y": 5.0}).mean()["Y"]
    assert found == pytest.approx(without_treatment({"X": 1, "Y": 5.0}).mean()["Y"], abs=1e-6)


def test_a_list_of_rows_is_a_table():
    for rows in (TABLE.to_dict("records"), TABLE[["Z", "X", "Y"]].to_dict("records")):
        np.testing.assert_allclose(without_treatment(rows).mean()["Y"], [6.5, 7.5, 7.0])
    assert without_treatment(TABLE.to_dict("records")[:1]).mean()["Y"].shape == (1,)


def test_a_column_is_not_a_unit():
    with pytest.raises(DataError, match=r"\(a series is taken for one unit\) 0, 1, 2, none of"):
        without_treatment(TABLE["Z"])
    with pytest.raises(DataError, match=r"evidence on 'Z' is \{1, 2\}; expected a number"):
        without_treatment({"Z": {1, 2}})


VECTORS = np.array([[1.0, 1.0], [2.0, 0.0], [-3.0, 3.0]])


@pytest.mark.parametrize(
    "seen",
    [{"V": VECTORS.tolist()}, pd.DataFrame({"V": list(VECTORS)}), [{"V": v} for v in VECTORS]],
    ids=["nested lists", "frame of arrays", "rows"],
)
def test_a_vector_is_read_from_lists_and_cells(seen):
    given = infer(program, ["U"], evidence={"V": VECTORS}, seed=0).mean()["U"]
    np.testing.assert_allclose(infer(program, ["U"], evidence=seen, seed=0).mean()["U"], given)
    np.testing.assert_allclose(given, VECTORS.sum(1) / 3, atol=1e-5)
