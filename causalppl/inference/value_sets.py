"""Sets of values: which are different, and where a value stands in a set.

Floating-point values that differ by rounding only count as one; whole numbers are exact.
"""

import torch
from torch import Tensor

__all__ = ["distinct", "find_codes", "grouped", "is_same"]


def distinct(values: Tensor) -> Tensor:
    """Return the different values, in increasing order.

    Floating-point values that differ by rounding only count as one.

    Args:
        values: Shape ``(n, *event)``.

    Returns:
        Shape ``(k, *event)``, dtype of ``values``.

    Example:
        >>> distinct(torch.tensor([0.3, 0.1 + 0.2, 0.0]))
        tensor([0.0000, 0.3000])
    """
    columns = values.reshape(len(values), -1)
    if columns.shape[1] != 1:
        return values[_first_of_each(_joint_codes(columns, columns))]
    order = columns[:, 0].sort().indices
    ordered = columns[order, 0]
    is_new = torch.ones(len(ordered), dtype=torch.bool, device=values.device)
    is_new[1:] = ~is_same(ordered[1:], ordered[:-1])
    return values[order[is_new]]


def grouped(values: Tensor) -> tuple[Tensor, Tensor]:
    """Number the different rows of a tensor.

    Args:
        values: Shape ``(n, *event)``.

    Returns:
        The place of a first row of each kind, shape ``(k,)``, and the kind of each row, ``(n,)``.

    Example:
        >>> grouped(torch.tensor([[1, 2], [0, 2], [1, 2]]))
        (tensor([1, 0]), tensor([1, 0, 1]))
    """
    columns = values.reshape(len(values), -1)
    kinds = torch.zeros(len(values), dtype=torch.long, device=values.device)
    for column in columns.unbind(1):
        entries, codes = torch.unique(column, return_inverse=True)
        kinds = torch.unique(kinds * len(entries) + codes, return_inverse=True)[1]
    first = torch.empty(int(kinds.max()) + 1, dtype=torch.long, device=values.device)
    places = torch.arange(len(values), device=values.device)
    first[kinds.flip(0)] = places.flip(0)
    return first, kinds


def find_codes(values: Tensor, domain: Tensor) -> Tensor:
    """Return the position of each value in a domain, -1 where it is not there.

    Args:
        values: Shape ``(n, *event)``.
        domain: Shape ``(k, *event)``, as from `distinct`.

    Returns:
        Shape ``(n,)``, integers.

    Example:
        >>> find_codes(torch.tensor([2, 5]), torch.tensor([1.0, 2.0]))
        tensor([ 1, -1])
    """
    rows, columns = values.reshape(len(values), -1), domain.reshape(len(domain), -1)
    if columns.shape[1] == 1:
        return _find_scalars(rows[:, 0], columns[:, 0])
    joint = _joint_codes(torch.cat([rows.to(columns.dtype), columns]), columns)
    return _find_scalars(joint[: len(rows)], joint[len(rows) :])


def _find_scalars(values: Tensor, domain: Tensor) -> Tensor:
    slack = max(_slack(values), _slack(domain))
    dtype = torch.promote_types(values.dtype, domain.dtype)
    dtype = torch.uint8 if dtype == torch.bool else dtype
    values, domain = values.to(dtype).contiguous(), domain.to(dtype)
    ordered, order = domain.sort()
    right = torch.searchsorted(ordered, values).clamp(max=len(ordered) - 1)
    left = (right - 1).clamp(min=0)
    is_right = _is_same(ordered[right], values, slack)
    is_left = _is_same(ordered[left], values, slack)
    return torch.where(is_right, order[right], torch.where(is_left, order[left], -1))


def is_same(a: Tensor, b: Tensor) -> Tensor:
    """Compare numbers elementwise, up to rounding in the coarser of the two precisions.

    Whole numbers are compared exactly.
    """
    return _is_same(a, b, max(_slack(a), _slack(b)))


def _slack(values: Tensor) -> float:
    return 16 * torch.finfo(values.dtype).eps if values.is_floating_point() else 0.0


def _is_same(a: Tensor, b: Tensor, slack: float) -> Tensor:
    if slack == 0:
        return a == b
    are_close = (a - b).abs() <= slack * torch.maximum(a.abs(), b.abs())
    are_whole = (a == a.round()) & (b == b.round())
    return (a == b) | (are_close & ~are_whole)


def _joint_codes(rows: Tensor, domain: Tensor) -> Tensor:
    """One integer for each row: equal rows, equal integers; -1 if not made of known entries."""
    joint = torch.zeros(len(rows), dtype=torch.long, device=rows.device)
    for column in range(rows.shape[1]):
        entries = distinct(domain[:, column])
        codes = _find_scalars(rows[:, column], entries)
        mixed = torch.where((codes < 0) | (joint < 0), -1, joint * len(entries) + codes)
        joint = torch.unique(torch.cat([mixed.new_tensor([-1]), mixed]), return_inverse=True)[1][1:]
        joint = joint - 1
    return joint


def _first_of_each(codes: Tensor) -> Tensor:
    order = codes.sort(stable=True).indices
    ordered = codes[order]
    is_new = torch.ones(len(codes), dtype=torch.bool, device=codes.device)
    is_new[1:] = ordered[1:] != ordered[:-1]
    return order[is_new]
