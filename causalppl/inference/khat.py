"""Pareto k-hat: whether draws of a guide, weighed by importance, cover the posterior."""

import math
from typing import Any

import torch
from torch import Tensor

from causalppl.exceptions import ConvergenceWarning
from causalppl.inference.diagnostics import psis
from causalppl.user_warning import warn_user

KHAT_LIMIT = 0.7
"""Above this k-hat importance weights, and the guide they judge, cannot be trusted."""

LEAST_DRAWS = 100
"""Fewer draws than this cannot be judged by their weights."""


def judge(
    ratios: Tensor,
    probe: Tensor,
    is_joint: bool,
    *,
    num_units: int | None = None,
    advice: str = "use NUTS, more steps or draws, or a richer guide",
) -> tuple[Tensor | None, dict[str, Any]]:
    """Judge draws of a guide by their importance ratios, and weigh them where that can be done.

    Args:
        ratios: Log of target over guide, shape ``(parameter draws, draws, units)``.
        probe: Ratios by which to judge, of the same shape but for the numbers of draws.
        is_joint: All units share one weight.
        num_units: Number of units to spread a joint weight over; None: as in ``ratios``.
        advice: What to do where k-hat is too large.

    Returns:
        Smoothed log weights, or None where draws are too few to be weighed, and diagnostics:
        ``khat`` with one entry per unit.

    Warns:
        ConvergenceWarning: Some units are above 0.7.
    """
    khat = khat_of(probe)
    bad = khat > KHAT_LIMIT
    if bool(bad.any()):
        who = (
            "all units, which are weighed together"
            if is_joint
            else f"{int(bad.sum())} of {len(bad)} units"
        )
        warn_user(
            f"k-hat is above {KHAT_LIMIT} for {who} (largest {float(khat.max()):.2f}): the "
            f"draws do not cover their posterior, and their answers may be off; {advice}",
            ConvergenceWarning,
        )
    weights = None
    if ratios.shape[1] >= LEAST_DRAWS:
        smooth, _ = psis(finite_ratios(ratios).movedim(1, 0))
        weights = torch.as_tensor(smooth, dtype=ratios.dtype, device=ratios.device).movedim(0, 1)
        if num_units is not None:
            weights = weights.expand(*weights.shape[:2], num_units)
    return weights, {"khat": khat.tolist()}


def khat_of(ratios: Tensor) -> Tensor:
    """Return each unit's k-hat, the largest over the parameter draws.

    Pareto's fit needs a tail. Where no ratio is ten times their mean there is none to speak of,
    and the fit sees the step between plateaus, or rounding; then k-hat is capped by the exponent
    at which the largest of that many ratios would have to grow. Where there is no fit at all, as
    ratios are tied, k-hat is that exponent: 0 for equal ratios, 1 for a single one that counts.
    """
    ratios = finite_ratios(ratios)
    _, khat = psis(ratios.movedim(1, 0))
    found = torch.as_tensor(khat).reshape(ratios.shape[0], ratios.shape[2])
    return capped(found, ratios).amax(0)


def capped(khat: Tensor, ratios: Tensor) -> Tensor:
    """Cap k-hats ``(..., units)`` of ratios ``(..., draws, units)`` as `khat_of` says."""
    size = ratios.shape[-2]
    excess = (ratios.amax(-2) - ratios.logsumexp(-2)).double().cpu() + math.log(size)
    growth = excess / math.log(max(size, 2))
    cap = torch.where(excess < math.log(10), growth, math.inf)
    return torch.where(khat.isinf(), growth, torch.minimum(khat, cap))


def finite_ratios(ratios: Tensor) -> Tensor:
    """Give draws outside the target's support no weight."""
    return torch.nan_to_num(ratios, nan=-math.inf, posinf=math.inf, neginf=-math.inf)
