"""The picture of bounds."""

import itertools
from typing import TYPE_CHECKING, Any

from causalppl.estimation.estimate_plot import pyplot

if TYPE_CHECKING:
    from causalppl.bounds.bounds import Bounds

__all__ = ["draw_bounds"]


def draw_bounds(bounds: "Bounds", ax: Any, prob: float) -> Any:
    """Draw a bar from end to end, one for each open value, and thin lines for sampling error.

    Args:
        bounds: What to draw.
        ax: The axes to draw on; None makes a figure.
        prob: The probability with which the thin lines are meant to hold the bounds.

    Returns:
        The axes.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    low, high = bounds.lower.reshape(-1), bounds.upper.reshape(-1)
    if ax is None:
        _, ax = pyplot().subplots(figsize=(6, 1.2 + 0.35 * max(low.size, 1)))
    places = list(range(low.size))
    label = "bounds"
    if bounds.has_spread:
        outer = [end.reshape(-1) for end in bounds.interval(prob)]
        ax.hlines(places, *outer, color="C0", linewidth=1.2)
        label = f"bounds (thick), with {100 * prob:.4g} % sampling error (thin)"
    ax.hlines(places, low, high, color="C0", linewidth=6)
    cells = itertools.product(*bounds.axes.values())
    names = [
        ", ".join(f"{n}={v}" for n, v in zip(bounds.axes, cell, strict=True)) for cell in cells
    ]
    ax.set_yticks(places, names)
    ax.set_ylim(low.size - 0.5, -0.5)
    ax.axvline(0, color="0.7", linewidth=0.8, zorder=0)
    ax.set_xlabel(label)
    ax.set_title(str(bounds.query))
    return ax


def _labels(bounds: "Bounds") -> list[str]:
    cells = itertools.product(*bounds.axes.values())
    return [
        ", ".join(f"{name}={value}" for name, value in zip(bounds.axes, cell, strict=True))
        for cell in cells
    ]
