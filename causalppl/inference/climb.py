"""Gradient steps on a program's log density: from the prior's medians towards the mode."""

from collections.abc import Callable

import torch
from pyro.optim.clipped_adam import ClippedAdam
from torch import Tensor

from causalppl.inference.log_density import LogDensity

CLIMB_STEPS = 150
"""Steps after which Newton's method takes over."""

_RATE = 0.05


def climb(
    density: LogDensity,
    learnable: list[Tensor],
    steps: int,
    *,
    learning_rate: float = 0.01,
    decay: float = 1.0,
    tick: Callable[[float], None] = lambda value: None,
) -> tuple[Tensor, Tensor]:
    """Move from the prior's medians towards the posterior mode by `ClippedAdam`.

    Args:
        density: What to climb.
        learnable: Tensors of ``pyro.param`` statements, to be moved as well.
        steps: How many steps.
        learning_rate: Rate of ``learnable``.
        decay: Ratio of its last rate to the first.
        tick: Called after each step with the log density.

    Returns:
        Parameters and latents, without gradient.
    """
    shared, local = (value.clone().requires_grad_(True) for value in density.start)
    groups = []
    if density.num_shared + density.num_local:
        lrd = 0.1 ** (1 / max(steps, 1))
        groups.append({"params": [shared, local], "lr": _RATE, "lrd": lrd})
    if learnable:
        lrd = decay ** (1 / max(steps, 1))
        groups.append({"params": learnable, "lr": learning_rate, "lrd": lrd})
    optimiser = ClippedAdam(groups)
    for _ in range(steps):
        optimiser.zero_grad()
        value = density(shared, local, batch(density))
        (-value / density.num_rows).backward()
        tick(value.item())
        optimiser.step()
    return shared.detach(), local.detach()


def batch(density: LogDensity) -> Tensor | None:
    """Draw the rows of one step; None for all."""
    if density.batch_size == density.num_rows:
        return None
    if density.batch_size * 10 < density.num_rows:  # repeats are rare, and the mean is unbiased
        return torch.randint(density.num_rows, (density.batch_size,))
    return torch.randperm(density.num_rows)[: density.batch_size]


class BatchControl:
    """What a batch's density lacks, to first order, of that of all rows.

    A linear control variate at the mode: it has mean zero, and takes out of a batch's gradient the
    noise that it has at the mode.

    References:
        Quiroz, Kohn, Villani and Tran (2019), Speeding up MCMC by efficient data subsampling.
    """

    def __init__(self, density: LogDensity, center: Tensor) -> None:
        self._density, self._center = density, center.detach().clone().requires_grad_(True)
        self._value, self._gradient = 0.0, torch.zeros_like(center)
        for rows, weight in density.parts(None):
            value, gradient = self._at_center(rows)
            self._value += weight * value
            self._gradient += weight * gradient

    def __call__(self, shared: Tensor, rows: Tensor | None) -> Tensor:
        """Return the correction at ``shared`` for a batch, shape ``()``."""
        value, gradient = self._at_center(rows)
        shift = shared - self._center.detach()
        return self._value - value + ((self._gradient - gradient) * shift).sum()

    def _at_center(self, rows: Tensor | None) -> tuple[float, Tensor]:
        value = self._density(self._center, self._density.start[1], rows)
        return value.item(), torch.autograd.grad(value, self._center)[0]
