"""Pictures of leave-one-out predictions.

| name | what it does | paper |
|---|---|---|
| `compare` | models' elpd and differences | Vehtari, Gelman and Gabry (2017) |
| `loo` | which rows' weights can be trusted | Vehtari et al. (2024) |
"""

from typing import Any

import numpy as np

from causalppl.given import check_axes, check_kind
from causalppl.inference.compare import ModelComparison
from causalppl.inference.khat import KHAT_LIMIT
from causalppl.inference.loo import LeaveOneOut

__all__ = ["compare", "loo"]

_BELOW: Any = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "ncols": 2, "frameon": False}


def compare(comparison: "ModelComparison", *, ax: Any = None) -> Any:
    """Draw each model's elpd, and its distance from the best with that one's standard error.

    Args:
        comparison: What `causalppl.compare` found.
        ax: The axes to draw on; None makes a figure.

    Returns:
        The axes.

    References:
        Vehtari, Gelman and Gabry (2017), Practical Bayesian model evaluation using leave-one-out
        cross-validation and WAIC.

    Example:
        >>> import causalppl as cp, pyro, pyro.distributions as dist, torch
        >>> from matplotlib.figure import Figure
        >>> def model(scale):
        ...     def program(n):
        ...         mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
        ...         with pyro.plate("units", n):
        ...             pyro.sample("Y", dist.Normal(mean, scale))
        ...     return program
        >>> data = {"Y": torch.linspace(-2.0, 2.0, 200)}
        >>> fits = {str(s): cp.fit(model(s), data, seed=0) for s in (3.0, 1.0)}
        >>> ax = compare(cp.compare(fits), ax=Figure().subplots())
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['1.0', '3.0']
    """
    check_axes(ax)
    check_kind(comparison, ModelComparison, "the comparison", "what compare() returned")
    names = list(comparison.models)
    if ax is None:
        size = (6.4, 1.6 + 0.5 * len(names))
        ax = _axes(size)
    best = comparison.models[comparison.best]
    for place, (name, found) in enumerate(comparison.models.items()):
        first = place == 0
        ax.errorbar(
            found.elpd, place, xerr=found.se, fmt="o", color="C0", capsize=3,
            label="elpd, \u00b1 standard error" if first else None,
        )  # fmt: skip
        if not first:
            difference, error = comparison.difference(name)
            ax.errorbar(
                best.elpd + difference, place + 0.25, xerr=error, fmt="^", color="0.45", capsize=3,
                label="difference from the best, \u00b1 its standard error" if place == 1 else None,
            )  # fmt: skip
    ax.axvline(best.elpd, color="0.7", linestyle="--", linewidth=1, zorder=0)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.5)
    ax.set_xlabel("expected log predictive density of left-out rows (nats)")
    ax.legend(fontsize="small", **_BELOW)
    return ax


def loo(found: "LeaveOneOut", *, ax: Any = None) -> Any:
    """Draw each row's k-hat.

    Args:
        found: What `causalppl.loo` found.
        ax: The axes to draw on; None makes a figure.

    Returns:
        The axes.

    References:
        Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling.

    Example:
        >>> import causalppl as cp, pyro, pyro.distributions as dist, torch
        >>> from matplotlib.figure import Figure
        >>> def program(n):
        ...     mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
        ...     with pyro.plate("units", n):
        ...         pyro.sample("Y", dist.Normal(mean, 1.0))
        >>> fitted = cp.fit(program, {"Y": torch.linspace(-2.0, 2.0, 50)}, seed=0)
        >>> ax = loo(cp.loo(fitted), ax=Figure().subplots())
        >>> ax.get_xlabel()
        'row'
    """
    check_axes(ax)
    check_kind(found, LeaveOneOut, "the answer", "what loo() returned")
    if ax is None:
        ax = _axes((6.4, 4))
    khat = found.khat.numpy()
    rows, is_bad = np.arange(len(khat)), ~(khat <= KHAT_LIMIT)
    top = max(1.0, float(khat[np.isfinite(khat)].max(initial=0.0)) + 0.1)
    shown = np.clip(khat, -0.5, top)  # k-hat may be infinite
    ax.plot(rows[~is_bad], shown[~is_bad], ".", color="C0")
    ax.plot(rows[is_bad], shown[is_bad], "x", color="C3")
    ax.axhline(KHAT_LIMIT, color="C3", linestyle="--", linewidth=1)
    for row in found.unreliable[:5]:
        ax.annotate(str(row), (row, shown[row]), xytext=(4, 0), textcoords="offset points")
    ax.set_xlabel("row")
    ax.set_ylabel("k-hat of leaving it out")
    return ax


def _axes(size: tuple[float, float]) -> Any:
    from causalppl.inference.arviz import require

    return require("matplotlib.pyplot", "plots").subplots(figsize=size, layout="constrained")[1]
