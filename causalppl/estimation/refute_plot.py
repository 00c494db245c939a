"""The picture of a refutation: the estimates that each check made, beside the one it tries."""

from typing import TYPE_CHECKING, Any

import numpy as np

from causalppl.estimation.estimate_plot import pyplot
from causalppl.exceptions import DataError

if TYPE_CHECKING:
    from causalppl.estimation.refute import Refutation

__all__ = ["draw_checks"]

_COLOURS = {"passed": "C0", "failed": "C3", "for information": "C7"}


def draw_checks(refutation: "Refutation", ax: Any) -> Any:
    """Draw a row of points for each check that made estimates; see `Refutation.plot`.

    Args:
        refutation: What to draw.
        ax: The axes to draw on; None makes a figure.

    Returns:
        The axes.

    Raises:
        DataError: No check made an estimate.
        MissingExtraError: matplotlib is not installed.
    """
    shown = [result for result in refutation.results if result.values.size]
    if not shown:
        raise DataError("no check made an estimate, so there is nothing to draw; see summary()")
    if ax is None:
        _, ax = pyplot().subplots(figsize=(7, 1.2 + 0.4 * len(shown)))
    estimate = refutation.estimate
    ax.axvline(0.0, color="0.8", linestyle=":")
    ax.axvline(float(estimate), color="0.3", linestyle="--")
    if not np.isnan(estimate.standard_error):
        ax.axvspan(*map(float, estimate.interval()), color="0.92", zorder=0)
    for place, result in enumerate(shown):
        heights = place + np.linspace(-0.2, 0.2, result.values.size)  # so that none is hidden
        colour = _COLOURS[result.verdict]
        ax.plot(result.values, heights, ".", color=colour, label=result.verdict)
    ax.set_yticks(range(len(shown)), [f"{r.name}: {r.verdict}" for r in shown])
    ax.set_ylim(len(shown) - 0.5, -0.5)
    ax.set_xlabel("estimates from changed data; dashed, with its 95 % interval: the estimate")
    ax.set_title(str(estimate.query))
    return ax
