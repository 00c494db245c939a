"""Whether a fit can be trusted: numbers that are finite, steps that settled, a guide that fits."""

import math

import numpy as np
import torch
from torch import Tensor

from causalppl.exceptions import ConvergenceWarning, FitError
from causalppl.inference.diagnostics import psis
from causalppl.inference.khat import KHAT_LIMIT
from causalppl.user_warning import warn_user

_GOOD_EFFICIENCY = 0.95  # of importance sampling from the guide


def check_finite(value: float, step: int) -> float:
    """Pass a value on, unless it is not finite.

    Raises:
        FitError: It is not finite.
    """
    if not math.isfinite(value):
        raise FitError(
            f"the log density became {value} at step {step}; check the range of the data, the "
            "scales of the priors, or take a lower learning rate"
        )
    return value


def drift(trace: list[float], num_rows: int) -> str | None:
    """Say whether the evidence lower bound was still rising at the end."""
    quarter = len(trace) // 4
    if quarter < 5:
        return f"the fit took only {len(trace)} steps; whether it converged cannot be told"
    third = torch.tensor(trace[-2 * quarter : -quarter], dtype=torch.float64)
    last = torch.tensor(trace[-quarter:], dtype=torch.float64)
    rise = float(last.mean() - third.mean())
    error = float(((third.var() + last.var()) / quarter).sqrt())
    if rise > max(4 * error, 1.0, 1e-3 * num_rows):
        return (
            f"the evidence lower bound still rose by {rise:.3g} nats over the last quarter of the "
            "steps; take more steps (num_steps=) or a higher learning_rate"
        )
    return None


def displacement(gradients: Tensor) -> str | None:
    """Say whether the guide's mean was still away from its place at the end.

    In coordinates in which the posterior is a standard normal, the gradient is the way to go in
    standard deviations.
    """
    if len(gradients) < 5:
        return None
    error = gradients.std(0) / math.sqrt(len(gradients))
    distance = float((gradients.mean(0).abs() - 4 * error).max()) if gradients.numel() else 0.0
    if distance > 0.5:
        return (
            f"a parameter's mean is still about {distance:.2g} posterior standard deviations away "
            "from its place; take more steps (num_steps=)"
        )
    return None


def compare(log_ratios: Tensor) -> dict[str, float]:
    """Compare posterior and guide by the ratios of their densities at the guide's draws."""
    ratios = log_ratios.numpy()
    if not np.isfinite(ratios).any():
        raise FitError("the log density is not finite at the guide's draws; check the priors")
    ratios = np.where(np.isnan(ratios), -np.inf, ratios)
    if len(ratios) < 2:
        return {"khat": math.nan, "efficiency": math.nan}
    log_weights, khat = psis(ratios)
    efficiency = 1 / (len(ratios) * float((np.exp(log_weights) ** 2).sum()))
    return {"khat": float(khat), "efficiency": efficiency}


def misfit(diagnostics: dict[str, float]) -> list[str]:
    """Say whether the guide misses the posterior.

    k-hat describes the tail of the ratios whatever their size. Where they are all about one, the
    guide is good enough however that tail is shaped.
    """
    khat, efficiency = diagnostics["khat"], diagnostics["efficiency"]
    if not khat > KHAT_LIMIT or efficiency > _GOOD_EFFICIENCY:
        return []
    return [
        f"k-hat of the guide is {khat:.2f}, above {KHAT_LIMIT}: it misses the posterior's shape; "
        "take more steps, NUTSFit(), a richer guide or another parametrisation"
    ]


def warn(message: str) -> None:
    """Tell the user that a fit may not have converged."""
    warn_user(message, ConvergenceWarning)
