"""The picture of omitted-variable bias."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from causalppl.estimation.estimate_plot import pyplot

if TYPE_CHECKING:
    from causalppl.bounds.omitted_variable import OmittedVariable

__all__ = ["draw_contours"]

_GRID = 101


def draw_contours(
    found: "OmittedVariable",
    ax: Any,
    benchmarks: Sequence[str | tuple[str, float]],
    largest: float | None,
) -> Any:
    """Draw contours of the adjusted estimate, the one of 0 dashed; see `OmittedVariable.plot`.

    Returns:
        The axes.
    """
    marks = [found.benchmark(*((b,) if isinstance(b, str) else b)) for b in benchmarks]
    reach = max([m.with_treatment for m in marks] + [m.with_outcome for m in marks], default=0.0)
    if largest is None:
        largest = float(np.clip(1.2 * max(2 * found.robustness_value(), reach), 0.05, 0.99))
    if ax is None:
        _, ax = pyplot().subplots(figsize=(5.5, 5))
    strengths = np.linspace(0, largest, _GRID)
    heights = np.array(
        [[found.adjusted(r, s).estimate for r in strengths] for s in np.minimum(strengths, 1)]
    )
    lines = ax.contour(strengths, strengths, heights, levels=8, colors="0.5", linewidths=0.8)
    ax.clabel(lines, fontsize=8)
    if heights.min() < 0 < heights.max():
        ax.contour(strengths, strengths, heights, levels=[0.0], colors="C3", linestyles="--")
    ax.plot(0, 0, "k^")
    ax.set_ylim(bottom=-0.07 * largest)  # room for the label below, as those of marks are above
    below = {"xytext": (4, -13), "textcoords": "offset points"}
    ax.annotate(f"as estimated ({found.estimate:.3g})", (0, 0), **below)
    for mark in marks:
        ax.plot(mark.with_treatment, mark.with_outcome, "D", color="C0")
        text = f"{mark.multiple:g} x {mark.name} ({mark.adjusted.estimate:.3g})"
        place = (mark.with_treatment, mark.with_outcome)
        ax.annotate(text, place, (4, 4), textcoords="offset points", color="C0")
    ax.set_xlabel("partial R² of the omitted variable with the treatment")
    ax.set_ylabel("partial R² with the outcome")
    ax.set_title("Adjusted estimate (dashed: 0)")
    return ax
