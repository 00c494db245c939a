"""As many draws as are asked for, out of draws that carry importance weights."""

import torch
from torch import Tensor

from causalppl.inference.latents import Latents
from causalppl.typing import Values

_NEGLIGIBLE = 14.0  # nats below the heaviest draw


def settled(
    latents: Latents, values: dict[str, Tensor], weights: Tensor | None, num_draws: int
) -> tuple[dict[str, Tensor], Tensor | None]:
    """Turn weighed draws of the latents into as many as are asked for.

    Args:
        latents: What they are draws of.
        values: Latent to values, ``(parameter draws * draws, *batch, *event)``.
        weights: Log weights, ``(parameter draws, draws, units)``, or with 1 for the units.
        num_draws: How many draws to return. Where there are more, they are resampled.

    Returns:
        Values, and log weights with all units, or None if the draws carry equal weight.
    """
    if weights is None:
        return values, None
    if weights.shape[1] > num_draws:
        return _taken(latents, values, resample(weights, num_draws)), None
    values = _taken(latents, values, without_negligible(weights))
    return values, weights.expand(*weights.shape[:2], latents.problem.num_units)


def _taken(latents: Latents, values: Values, chosen: Tensor) -> dict[str, Tensor]:
    return {s.name: s.take(values[s.name], chosen) for s in latents.sites if s.name in values}


def without_negligible(log_weights: Tensor) -> Tensor:
    """Point draws whose weight is nothing to the heaviest draw of the unit.

    Where a draw makes the evidence all but impossible, its noise cannot be abducted in floating
    point. Its weight, less than a millionth of the largest, stays.

    Args:
        log_weights: Shape ``(parameter draws, draws, units)``.

    Returns:
        Indices of draws, of the same shape.
    """
    largest, heaviest = log_weights.max(1, keepdim=True)
    own = torch.arange(log_weights.shape[1], device=log_weights.device)[:, None]
    return torch.where(log_weights < largest - _NEGLIGIBLE, heaviest, own)


def resample(log_weights: Tensor, count: int) -> Tensor:
    """Choose draws by their weights, systematically.

    Args:
        log_weights: Shape ``(parameter draws, draws, units)``.
        count: How many to choose for each unit, with repetition.

    Returns:
        Indices of draws in random order, shape ``(parameter draws, count, units)``.

    References:
        Carpenter, Clifford and Fearnhead (1999), systematic resampling.
    """
    rows, size, units = log_weights.shape
    cumulated = torch.softmax(log_weights.double(), 1).cumsum(1).movedim(1, 2).contiguous()
    steps = torch.arange(count, dtype=torch.double, device=log_weights.device)
    offset = torch.rand(rows, units, 1, dtype=torch.double, device=log_weights.device)
    at = torch.searchsorted(cumulated, (steps + offset) / count).clamp_max(size - 1)
    shuffled = torch.rand(at.shape, device=at.device).argsort(-1)
    return at.gather(-1, shuffled).movedim(-1, 1)
