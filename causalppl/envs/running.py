"""One run of a program on many units, each with an intervention of its own."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from causalppl.envs.arms import Settings
from causalppl.envs.own_chance import OwnChance
from causalppl.envs.streams import Stream
from causalppl.exceptions import DataError
from causalppl.programs import SCM
from causalppl.programs.do import NATURAL, DoMessenger
from causalppl.programs.scm import Given, Recorder
from causalppl.seeding import forked_rng

__all__ = ["run_units"]


def run_units(
    scm: SCM,
    count: int,
    settings: Settings | None = None,
    *,
    chance: Stream | int = 0,
    held: Mapping[str, Tensor] | None = None,
    keep_natural: bool = False,
    weighing: Messenger | None = None,
) -> dict[str, Tensor]:
    """Run a program once; different units may have different variables set.

    Args:
        scm: The model.
        count: Number of units.
        settings: What is set for each; None: nothing.
        chance: Seed of the run; or a stream from which each site draws a uniform for each unit,
            whatever is set.
        held: Sample sites that keep a value, shape ``(count,)``: their natural values, where they
            are set.
        keep_natural: Run the mechanisms of all sites in ``settings`` too, even of those that are
            set for every unit.
        weighing: A handler that sees every site, natural ones included.

    Returns:
        Values of all unit sites, shape ``(count, *event)``, and ``X@natural`` for sites that may
        be set.
    """
    names = () if settings is None else settings.names
    own = None if isinstance(chance, int) else OwnChance(scm.laws, chance)
    keep_natural = keep_natural or own is not None
    interventions = {} if settings is None else _interventions(settings, always=keep_natural)
    given = {name: draws[0] for name, draws in scm.parameters.items()}
    for name, value in (held or {}).items():
        given[name + NATURAL if name in interventions else name] = value
    recorder = Recorder([*scm.structure.unit_sites, *(name + NATURAL for name in names)])
    with ExitStack() as stack:
        stack.enter_context(forked_rng(chance if isinstance(chance, int) else 0))
        stack.enter_context(scm.running())
        stack.enter_context(torch.no_grad())
        for handler in (own, weighing, recorder, Given(given)):
            if handler is not None:
                stack.enter_context(handler)
        with DoMessenger(interventions, keep_natural=keep_natural):
            scm.program(count)
    sites = scm.structure.sites
    return {
        name: value.expand(count, *sites[name.removesuffix(NATURAL)].event_shape)
        for name, value in recorder.values.items()
    }


def _interventions(settings: Settings, *, always: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, mask, value in zip(settings.names, settings.mask.T, settings.values.T, strict=True):
        if not mask.any() and not always:
            continue
        set_to = torch.from_numpy(value.copy())
        is_set = torch.from_numpy(mask.copy())
        found[name] = set_to if mask.all() and not always else _where(is_set, set_to)
    return found


def _where(mask: Tensor, value: Tensor) -> Callable[[Tensor], Tensor]:
    def policy(natural: Tensor) -> Tensor:
        cast = value.to(natural.dtype)
        if not natural.is_floating_point() and bool((mask & (cast != value)).any()):
            bad = float(value[mask & (cast != value)][0])
            raise DataError(f"a site of {natural.dtype} is set to {bad:g}; expected a whole number")
        return torch.where(mask, cast, natural)

    return policy
