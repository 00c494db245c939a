"""The site that an intervention acts on, as a run of the program meets it."""

from collections.abc import Callable, Mapping
from typing import Any

import pyro.distributions as dist
import torch

from causalppl.exceptions import ProgramError
from causalppl.programs.interventions import Target
from causalppl.programs.wrappers import unwrap


def site_target(
    name: str,
    law: Any,
    shape: torch.Size,
    event_dim: int,
    natural: Callable[[], torch.Tensor],
    value_of: Callable[[str], torch.Tensor],
) -> Target:
    """Describe a site to an intervention.

    Args:
        name: The site's name.
        law: Its distribution; or its value, where that is deterministic.
        shape: Full shape of its value, ``(*batch, *event)``.
        event_dim: Number of event dimensions in it.
        natural: Gives the value the site would have had.
        value_of: Gives the value of an earlier site by name; see `earlier`.
    """
    if isinstance(law, torch.Tensor):
        return Target(name, shape, event_dim, law, natural, value_of)
    return Target(name, shape, event_dim, prototype(law), natural, value_of, num_codes(law))


def earlier(values: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    """Return a value that a policy asks for.

    Args:
        values: The sites that have run, with their values.
        name: The site that the policy asks for.

    Raises:
        ProgramError: It has not run yet.
    """
    if name not in values:
        raise ProgramError(
            f"a policy asks for {name!r}, which has not run before it; policies may use "
            f"'natural' and {', '.join(values) or 'no site here'}"
        )
    return values[name]


def num_codes(fn: Any) -> int | None:
    """Return the number of categories of a Categorical, under any wrappers; None for others."""
    base = unwrap(fn).base
    if isinstance(base, torch.distributions.Categorical):
        return int(base._num_events)
    return None


def prototype(fn: Any) -> torch.Tensor | None:
    """Return a tensor with the dtype and device of a distribution's parameters, if it has one."""
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    if isinstance(fn, dist.Delta):
        return fn.v
    for name in getattr(fn, "arg_constraints", {}):
        # some families keep their parameters inside another distribution
        parameter = vars(fn).get(name) if "logits" in vars(fn) else getattr(fn, name, None)
        if isinstance(parameter, torch.Tensor) and parameter.is_floating_point():
            if getattr(fn.support, "is_discrete", False) and name in ("logits", "probs"):
                return _discrete_prototype(fn, parameter)
            return parameter
    return None


def _discrete_prototype(fn: Any, parameter: torch.Tensor) -> torch.Tensor:
    """Categorical draws are integers; the other discrete families draw in their own dtype."""
    dtype = torch.long if isinstance(fn, dist.Categorical) else parameter.dtype
    return torch.empty(0, dtype=dtype, device=parameter.device)
