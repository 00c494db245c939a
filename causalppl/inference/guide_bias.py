"""How far a guide's plain draws are off, told by weighing those of some units."""

import math
from typing import Any

import torch
from torch import Tensor

from causalppl.exceptions import ConvergenceWarning
from causalppl.inference.engine import Answer, Problem
from causalppl.user_warning import warn_user

_CLEARLY = 2.0  # times the Monte Carlo error


def bias_diagnostics(problem: Problem, answer: Answer, log_weights: Tensor) -> dict[str, float]:
    """Compare weighed with plain means, over units that were chosen at random.

    Args:
        problem: What is asked; its ``num_draws`` sets the Monte Carlo error to compare with.
        answer: Draws for the chosen units, shape ``(parameter draws, draws, units, *event)``.
        log_weights: Their smoothed log weights, ``(parameter draws, draws, units)``.

    Returns:
        For each key (and ``events``, for the probability of the problem's events) ``bias(key)``,
        the root mean square over units of the mean's bias, its noise taken out; and
        ``average_bias(key)``, that of the average over all units, its standard error included.

    Warns:
        ConvergenceWarning: The bias is more than twice the Monte Carlo error.
    """
    values = {key: answer.draws[key] for key in problem.targets}
    if problem.events:
        values["events"] = torch.stack([e.holds(answer.draws[e.key]) for e in problem.events]).all(
            0
        )
    found: dict[str, float] = {}
    told = []
    for key, value in values.items():
        bias, average, error = _compared(value.double(), log_weights.double(), problem.num_draws)
        found |= {f"bias({key})": bias, f"average_bias({key})": average}
        if bias > _CLEARLY * error:
            told.append(f"{key} by about {bias:.2g} (its Monte Carlo error is {error:.2g})")
    if told:
        warn_user(
            f"the guide's means of single units are off: {'; '.join(told)}; correct them with "
            "correct=True, or train with more steps, wider layers or flow=True",
            ConvergenceWarning,
        )
    return found


def _compared(value: Tensor, log_weights: Tensor, num_draws: int) -> tuple[float, float, float]:
    """Return bias, bias of the average, and Monte Carlo error: the worst entry of an event."""
    draws, count, units = value.shape[:3]
    weights = torch.softmax(log_weights, 1).expand(draws, count, units)
    weights = weights.reshape(weights.shape + (1,) * (value.dim() - 3))
    mean = (weights * value).sum(1)
    shift = (mean - value.mean(1)).mean(0)
    noise = ((weights - 1 / count) * (value - mean.unsqueeze(1))).square().sum(1).mean(0) / draws
    squared = (shift**2 - noise).mean(0).clamp_min(0.0)
    spread = shift.var(0) / units if units > 1 else noise.squeeze(0)
    average = shift.mean(0) ** 2 + spread
    error = value.var(1).mean((0, 1)) / (draws * num_draws)
    worst: list[Any] = [float(x.max()) for x in (squared, average, error)]
    return math.sqrt(worst[0]), math.sqrt(worst[1]), math.sqrt(worst[2])
