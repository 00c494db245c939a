"""Data to fit to, in the forms in which rows come: all are read alike."""

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch

from causalppl.exceptions import DataError
from causalppl.inference.fit import fit
from causalppl.inference.svi_fit import SVIFit
from causalppl.inference.training_data import read_training_data
from causalppl.programs.scm import SCM


def program(n):
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    with pyro.plate("units", n):
        w = pyro.sample("W", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("Y", dist.Normal(slope * w.sum(-1), 1.0))


W = np.random.default_rng(0).normal(size=(20, 2))
COLUMNS = {"W": W, "Y": W.sum(1)}
FRAME = pd.DataFrame({"W": list(W), "Y": W.sum(1), "day": pd.Timestamp("2020-01-01")})


@pytest.mark.parametrize(
    "data",
    [{"W": W.tolist(), "Y": W.sum(1).tolist()}, FRAME, FRAME.to_dict("records")],
    ids=["lists", "frame", "rows"],
)
def test_rows_of_vectors_are_read_alike(data):
    wanted = read_training_data(SCM(program), COLUMNS, "refuse")
    found = read_training_data(SCM(program), data, "refuse")
    for name, value in wanted.values.items():
        torch.testing.assert_close(found.values[name], value)


def test_a_series_is_no_data():
    with pytest.raises(DataError, match="the data are a Series"):
        fit(program, pd.Series(W.sum(1), name="Y"), method=SVIFit(num_steps=1))
