"""Exact laws of some of the units and of the others, put together as the law of all.

| name | what it does | paper |
|---|---|---|
| `laws_of_all` | the law of all units, where one kind of law holds the laws of every part | - |
"""

from collections.abc import Sequence

import torch

from causalppl.inference.laws import FiniteLaw, Law, NormalLaw, PointLaw

__all__ = ["laws_of_all"]

Part = tuple[torch.Tensor, Law]


def laws_of_all(parts: Sequence[Part], num_units: int) -> Law | None:
    """Put the laws of parts of the units together.

    A value that is known is a normal law without spread, or a finite one with one value, where
    other units have such laws.

    Args:
        parts: The indices of some units and their laws, of shape ``(units, *event)``; each unit is
            in one part.
        num_units: Number of units in all.

    Returns:
        The law of shape ``(num_units, *event)``; None if the parts are of different kinds.

    Example:
        >>> known, unknown = PointLaw(torch.tensor([2.0])), NormalLaw(torch.tensor([1.0]), 0.5)
        >>> law = laws_of_all([(torch.tensor([1]), known), (torch.tensor([0]), unknown)], 2)
        >>> law.mean().tolist(), law.sd().tolist()
        ([1.0, 2.0], [0.5, 0.0])
    """
    laws = [law for _, law in parts]
    points = [law.value for law in laws if isinstance(law, PointLaw)]
    if len(points) == len(laws):
        return PointLaw(_scattered(parts, points, num_units))
    if all(isinstance(law, PointLaw | NormalLaw) for law in laws):
        mean = _scattered(parts, [law.mean() for law in laws], num_units)
        return NormalLaw(mean, _scattered(parts, [law.sd() for law in laws], num_units))
    if all(isinstance(law, PointLaw | FiniteLaw) for law in laws):
        return _finite(parts, num_units)
    return None


def _finite(parts: Sequence[Part], num_units: int) -> FiniteLaw | None:
    laws = [law for _, law in parts]
    tables = [law for law in laws if isinstance(law, FiniteLaw)]
    values, labels = tables[0].values, tables[0].labels
    if any((table.values, table.labels) != (values, labels) for table in tables):
        return None
    shares = [
        law.probabilities.double() if isinstance(law, FiniteLaw) else _certain(law, values)
        for law in laws
    ]
    if any(bool((share.sum(-1) < 0.5).any()) for share in shares):
        return None  # a known value is none of those
    return FiniteLaw(values, _scattered(parts, shares, num_units), labels)


def _certain(law: Law, values: tuple[float, ...]) -> torch.Tensor:
    return torch.stack([law.probability(value) for value in values], -1).double()


def _scattered(
    parts: Sequence[Part], pieces: Sequence[torch.Tensor], num_units: int
) -> torch.Tensor:
    """Rows of all units, from those of the parts."""
    dtype = pieces[0].dtype
    for piece in pieces:
        dtype = torch.promote_types(dtype, piece.dtype)
    whole = pieces[0].new_empty((num_units, *pieces[0].shape[1:]), dtype=dtype)
    for (units, _), piece in zip(parts, pieces, strict=True):
        whole.index_copy_(0, units.to(whole.device), piece.to(whole))
    return whole
