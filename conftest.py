"""Isolation for the tests and for the examples in docstrings, wherever they stand."""

import os
import random
import zlib
from collections.abc import Iterator

os.environ.setdefault("MPLBACKEND", "Agg")  # before anything draws: no window is opened

import numpy as np
import pyro
import pytest
import torch

# The package is whole before the examples of a single file are collected: pytest would load that
# file a second time otherwise, and its classes would not be those that the package raises.
import causalppl  # noqa: F401


@pytest.fixture(autouse=True)
def isolated(request: pytest.FixtureRequest) -> Iterator[None]:
    """Give each test an empty parameter store, float32, and random streams of its own.

    The streams are seeded by the test's name: a failure repeats alone, in any order and on any
    worker, and no test shares its draws with another.
    """
    seed = zlib.crc32(request.node.nodeid.encode())
    _reset(seed)
    yield
    _reset(seed)


def _reset(seed: int) -> None:
    pyro.clear_param_store()
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
