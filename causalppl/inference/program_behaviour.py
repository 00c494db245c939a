"""How a program behaves on a few units, by which it is known again whatever its source looks like.

| name | what it does | paper |
|---|---|---|
| `program_behaviour` | values and log densities of simulated units | - |
| `check_behaviour` | compare a program with them | - |
"""

from collections.abc import Mapping
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from causalppl.exceptions import ProgramError
from causalppl.programs.scm import SCM, Given
from causalppl.programs.structure import TRACE_UNITS
from causalppl.seeding import forked_rng

__all__ = ["check_behaviour", "program_behaviour"]

_TOLERANCE = 1e-5  # relative, and absolute; rounding on another processor is below


def program_behaviour(scm: SCM, held: Mapping[str, Tensor] | None = None) -> dict[str, Any]:
    """Run a model on a few units, under the first draw of its parameters.

    Args:
        scm: The model.
        held: Values that sites keep, so that chance has no part in the run; None: all are drawn.

    Returns:
        ``values`` of sample sites, ``computed`` values of the others (``pyro.deterministic``,
        and what the program itself observes), and ``densities`` of all, nats.
    """
    given = {name: draws[0] for name, draws in scm.parameters.items()}
    with forked_rng(0), scm.running(), torch.no_grad(), pyro.validation_enabled(False):
        with poutine.trace() as recorder, Given(given | dict(held or {})):
            scm.program(TRACE_UNITS)
        trace = recorder.trace
        trace.compute_log_prob()
    sites = scm.structure.sites
    found: dict[str, dict[str, Tensor]] = {"values": {}, "computed": {}, "densities": {}}
    for name, node in dict[str, Any](trace.nodes).items():
        if node["type"] != "sample" or site_is_subsample(node) or name not in sites:
            continue
        is_drawn = sites[name].kind == "sample" and not sites[name].is_observed
        value: Tensor = node["value"]
        found["values" if is_drawn else "computed"][name] = value.detach().clone()
        found["densities"][name] = node["log_prob"].detach().clone()
    return found


def check_behaviour(scm: SCM, expected: Mapping[str, Any]) -> None:
    """Run a model on the units of another run, and compare.

    Raises:
        ProgramError: It is another program.
    """
    try:
        found = program_behaviour(scm, expected["values"])
    except (RuntimeError, ValueError, IndexError) as error:
        raise _mismatch(f"this one cannot take its values ({error})") from error
    for part, what in (("computed", "value"), ("densities", "log density")):
        for name, known in expected[part].items():
            value = found[part][name]
            if value.shape != known.shape:
                raise _mismatch(f"the {what} of {name!r} has another shape")
            one, other = value.double(), known.to(value.device).double()
            if not torch.allclose(one, other, _TOLERANCE, _TOLERANCE, equal_nan=True):
                gap = float((one - other).abs().nan_to_num(posinf=torch.inf).max())
                raise _mismatch(f"the {what} of {name!r} differs by up to {gap:.3g}")


def _mismatch(what: str) -> ProgramError:
    return ProgramError(
        f"the file was written for another program: at the same values, {what} (another "
        "coefficient or constant, or a state that it keeps outside pyro.param); give the program "
        "that was fitted, or fit this one"
    )
