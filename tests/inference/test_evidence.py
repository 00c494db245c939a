"""What is said of evidence that is there in part."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from causalppl.inference.infer import infer


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
