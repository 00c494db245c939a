"""Continuous latents as unconstrained numbers, one vector per unit and one that units share."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import biject_to

from causalppl.inference.latent_site import LatentSite
from causalppl.inference.row_axis import RowAxis


class FreeValues(Messenger):
    """Set continuous latents from unconstrained values, whatever their supports depend on.

    Args:
        free: Latent to unconstrained values, in the shape of a run.

    Attributes:
        log_jacobians: After a run: log Jacobian of each site's map, in the shape of its batch.
    """

    def __init__(self, free: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.free = free
        self.log_jacobians: dict[str, Tensor] = {}

    def _pyro_sample(self, msg: Any) -> None:
        free = self.free.get(msg["name"])
        if free is None:
            return
        transform = biject_to(msg["fn"].support)
        value = transform(free)
        jacobian = transform.log_abs_det_jacobian(free, value)
        extra = jacobian.dim() - (value.dim() - msg["fn"].event_dim)
        if extra > 0:
            jacobian = jacobian.flatten(-extra).sum(-1)
        self.log_jacobians[msg["name"]] = jacobian
        msg.update(value=value, is_observed=True)


def unpack(sites: Iterable[LatentSite], unit: Tensor, shared: Tensor | None) -> dict[str, Tensor]:
    """Cut vectors into the unconstrained values of each continuous latent.

    Args:
        sites: The latents, in the order in which they stand in the vectors.
        unit: Shape ``(rows, units, numbers)``.
        shared: Shape ``(rows, numbers)``; None where no latent is shared.

    Returns:
        Latent to values, shape ``(rows, *batch, *free)``.
    """
    free: dict[str, Tensor] = {}
    start = {True: 0, False: 0}
    for site in sites:
        if site.is_discrete:
            continue
        flat = unit if site.is_unit else shared
        assert flat is not None
        first = start[site.is_unit]
        start[site.is_unit] = first + site.size
        free[site.name] = site.to_program(flat[..., first : first + site.size])
    return free


def pack(
    sites: Iterable[LatentSite], trace: Any, axis: RowAxis, rows: int, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Read the unconstrained values of the continuous latents from a trace.

    Returns:
        Those of the units, ``(rows, units, numbers)``, and the shared ones, ``(rows, numbers)``.
    """
    flat: dict[bool, list[Tensor]] = {True: [], False: []}
    for site in sites:
        if not site.is_discrete:
            node = trace.nodes[site.name]
            free = biject_to(node["fn"].support).inv(node["value"])
            free = axis.collect(free, site.batch_shape, site.free_shape, rows)
            flat[site.is_unit].append(site.to_flat(free).to(like))
    unit, shared = like.new_zeros(rows, axis.num_units, 0), like.new_zeros(rows, 0)
    return torch.cat([unit, *flat[True]], -1), torch.cat([shared, *flat[False]], -1)
