"""Settings of engines, fits and questions are checked where they are given."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest

from causalppl.exceptions import DataError
from causalppl.inference.amortised import Amortised
from causalppl.inference.importance import Importance
from causalppl.inference.infer import infer
from causalppl.inference.mcmc import NUTS
from causalppl.inference.nuts_fit import NUTSFit
from causalppl.inference.svi_fit import SVIFit

COUNTS = [
    (Importance, "num_samples"),
    *[(Amortised, name) for name in ("num_steps", "batch_size", "num_simulations")],
    *[(NUTS, name) for name in ("num_samples", "warmup_steps", "num_chains")],
    *[(NUTSFit, name) for name in ("num_draws", "num_warmup", "num_chains")],
    *[(SVIFit, name) for name in ("num_steps", "batch_size", "num_draws")],
]
OTHERS = [
    (Amortised, "learning_rate"),
    (SVIFit, "learning_rate"),
    (NUTS, "target_accept"),
    (NUTSFit, "target_accept"),
]


@pytest.mark.parametrize("wrong", [2.5, "ten", -1, True, np.float64(3.0)], ids=repr)
@pytest.mark.parametrize(("kind", "name"), COUNTS)
def test_a_count_that_is_no_whole_number_is_named(kind, name, wrong):
    with pytest.raises(DataError, match=rf"^{name} is .*; expected a whole number"):
        kind(**{name: wrong})


@pytest.mark.parametrize("wrong", ["much", -0.5, True, float("nan"), 0], ids=repr)
@pytest.mark.parametrize(("kind", "name"), OTHERS)
def test_a_rate_that_is_no_positive_number_is_named(kind, name, wrong):
    with pytest.raises(DataError, match=f"^{name} is .*; expected a"):
        kind(**{name: wrong})


@pytest.mark.parametrize(("kind", "name"), COUNTS)
def test_numpy_counts_are_counts(kind, name):
    assert getattr(kind(**{name: np.int64(7)}), name) == 7


def test_the_number_of_draws_of_a_question_is_checked():
    def program():
        return pyro.sample("X", dist.Normal(0.0, 1.0))

    for wrong in (0, 2.5, "many", True):
        with pytest.raises(DataError, match="num_draws is"):
            infer(program, "E[X]", num_draws=wrong)
