"""Runs of a program that leave no trace."""

import contextlib
from collections.abc import Iterator

import pyro
import torch

from causalppl.programs.scm import SCM
from causalppl.seeding import forked_rng


@contextlib.contextmanager
def quiet(scm: SCM, dtype: torch.dtype | None = None) -> Iterator[None]:
    """Run a program without a trace of it: no validation, gradients or change of global state."""
    before = torch.get_default_dtype()
    with forked_rng(0), scm.running(), torch.no_grad(), pyro.validation_enabled(False):
        torch.set_default_dtype(dtype or before)
        try:
            yield
        finally:
            torch.set_default_dtype(before)
