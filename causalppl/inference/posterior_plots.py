"""The picture of a posterior.

| name | what it does | paper |
|---|---|---|
| `plot_posterior` | densities of scalars, intervals of units | - |
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from causalppl.inference.laws import EmpiricalLaw, Law, NormalLaw
from causalppl.inference.posterior_draws import LAW_DRAWS
from causalppl.inference.posterior_table import support, tails

if TYPE_CHECKING:
    from causalppl.inference.posterior import Posterior

__all__ = ["plot_posterior"]


def plot_posterior(posterior: "Posterior", ax: Any, prob: float, max_units: int) -> Any:
    """Draw each variable with its interval; see `Posterior.plot`."""
    from causalppl.inference.arviz import require

    if ax is None:
        _, ax = require("matplotlib.pyplot", "plots").subplots(layout="constrained")
    for position, name in enumerate(posterior.variables):
        law, color = posterior.law(name), f"C{position % 10}"
        if law.shape:
            _plot_units(ax, name, law, prob, color, max_units)
        else:
            _plot_scalar(ax, name, law, prob, color)
    ax.set_title(posterior.query)
    if posterior.variables:
        # below: the curves and bars fill the axes
        ax.legend(fontsize="small", frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.08))
    return ax


def _plot_scalar(ax: Any, name: str, law: Law, prob: float, color: str) -> None:
    low, high = (float(law.quantile(q)) for q in tails(prob))
    label = f"{name}: {float(law.mean()):.4g}, {100 * prob:.4g} % in [{low:.4g}, {high:.4g}]"
    values = support(law, limit=50)[0] if law.is_discrete else []
    if values:
        shares = [float(law.probability(v)) for v in values]
        ax.bar(values, shares, width=0.4, alpha=0.5, color=color, label=label)
    elif isinstance(law, NormalLaw):
        grid = torch.linspace(-4, 4, 201, dtype=torch.float64)
        density = torch.exp(-(grid**2) / 2) / (math.sqrt(2 * math.pi) * law.sd().cpu())
        x = law.mean().cpu() + law.sd().cpu() * grid
        density = density / (law.sd().cpu() or 1)
        ax.fill_between(x.numpy(), density.numpy(), alpha=0.5, color=color, label=label)
    else:
        _plot_draws(ax, law, color, label)
    ax.set_ylabel("probability" if values else "density")
    bar = {"linewidth": 5, "solid_capstyle": "butt", "clip_on": False, "zorder": 3}
    ax.plot([low, high], [0, 0], color=color, **bar)


def _plot_draws(ax: Any, law: Law, color: str, label: str) -> None:
    weights = None
    if isinstance(law, EmpiricalLaw):
        draws, weights = law.draws, law.weights()
    else:
        draws = law.sample(LAW_DRAWS, seed=0).cpu().numpy()
    bins = min(60, max(10, int(np.sqrt(len(draws)))))
    ax.hist(draws, bins=bins, weights=weights, density=True, alpha=0.5, color=color, label=label)


def _plot_units(ax: Any, name: str, law: Law, prob: float, color: str, max_units: int) -> None:
    size = math.prod(law.shape)
    part = law.flat(min(size, max_units))
    low, high = (part.quantile(q).cpu().numpy() for q in tails(prob))
    mean, rows = part.mean().cpu().numpy(), np.arange(min(size, max_units))
    left_out = f"; {size - len(rows):,} of {size:,} left out" if size > len(rows) else ""
    ax.vlines(rows, low, high, color=color, alpha=0.5)
    ax.plot(rows, mean, ".", color=color, label=f"{name}, {100 * prob:.4g} % intervals{left_out}")
    ax.set_xlabel("unit")
