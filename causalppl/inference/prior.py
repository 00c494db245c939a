"""Parameters of a model that has not been fitted: drawn from their prior, and said so."""

from collections.abc import Mapping

import torch

from causalppl.programs.scm import SCM, Recorder
from causalppl.seeding import forked_rng

_PRIOR_DRAWS = 500


def with_prior_parameters(
    scm: SCM, evidence: Mapping[str, torch.Tensor], seed: int
) -> tuple[SCM, tuple[str, ...]]:
    """Give a model prior draws of its parameters, where the evidence does not speak of them.

    Args:
        scm: The model.
        evidence: Evidence by key.
        seed: Seed of the draws.

    Returns:
        The model, and a note for the reader. A model with draws already, without parameters, or
        with evidence downstream of them (so that they must be inferred) is returned as it is.
    """
    structure = scm.structure
    free = tuple(
        name
        for name in structure.parameters
        if name not in scm.parameters
        and structure.sites[name].kind == "sample"
        and not structure.sites[name].is_observed
    )
    if not free:
        return scm, ()
    seen = {key if key in structure.sites else key.rpartition("@")[0] for key in evidence}
    if any(structure.descendants(name) & seen for name in free):
        return scm, (
            f"the parameters {', '.join(free)} were not fitted to data; they were inferred from "
            "their prior and this evidence alone",
        )
    draws: dict[str, list[torch.Tensor]] = {name: [] for name in free}
    with forked_rng(seed), scm.running(), torch.no_grad():
        for _ in range(_PRIOR_DRAWS):
            recorder = Recorder(free)
            with recorder:
                scm.program(1)
            for name in free:
                draws[name].append(recorder.values[name])
    stacked = {name: torch.stack(values) for name, values in draws.items()}
    return scm.with_parameters(stacked), (
        f"the parameters {', '.join(free)} were drawn from their prior; fit the model to data "
        "first (scm = scm.fit(data)) for a posterior",
    )
