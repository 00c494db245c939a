"""Distributions freed of ``Independent``, ``ExpandedDistribution`` and ``MaskedDistribution``."""

from typing import Any, NamedTuple

import pyro.distributions as dist
import torch

_WRAPPERS = (
    torch.distributions.Independent,
    dist.ExpandedDistribution,
    dist.MaskedDistribution,
)
_IS_WRAPPER: dict[type, bool] = {}


def is_wrapper(family: type) -> bool:
    """Whether a type wraps another distribution; kept, as these types check slowly."""
    known = _IS_WRAPPER.get(family)
    if known is None:
        known = _IS_WRAPPER[family] = issubclass(family, _WRAPPERS)
    return known


class Unwrapped(NamedTuple):
    """A family freed of its wrappers.

    Attributes:
        base: The family itself.
        batch: Its batch shape with the wrappers' shapes counted in; may exceed
            ``base.batch_shape``.
        reinterpreted: How many of the right-most batch axes are event axes of the wrapped one.
    """

    base: Any
    batch: torch.Size
    reinterpreted: int


def unwrap(fn: Any) -> Unwrapped:
    """Free a distribution of its wrappers.

    Example:
        >>> unwrap(dist.Normal(torch.zeros(2, 3), 1.0).to_event(1).mask(False)).reinterpreted
        1
    """
    base = fn
    while is_wrapper(type(base)):
        base = base.base_dist
    if base is fn:
        return Unwrapped(fn, fn.batch_shape, 0)
    shape = fn.batch_shape + fn.event_shape
    batch = shape[: len(shape) - len(base.event_shape)]
    return Unwrapped(base, batch, len(fn.event_shape) - len(base.event_shape))


def masks_of(fn: Any) -> list[Any]:
    """Return the masks among a distribution's wrappers.

    Example:
        >>> masks_of(dist.Normal(torch.zeros(3), 1.0).mask(False).to_event(1))
        [False]
    """
    masks = []
    while is_wrapper(type(fn)):
        if isinstance(fn, dist.MaskedDistribution):
            masks.append(fn._mask)
        fn = fn.base_dist
    return masks
