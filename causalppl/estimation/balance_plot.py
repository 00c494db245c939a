"""The love plot: how far apart arms are in each covariate, before and after weighting."""

from typing import TYPE_CHECKING, Any

import numpy as np

from causalppl.estimation.estimate_plot import pyplot

if TYPE_CHECKING:
    from causalppl.estimation.balance import Balance

__all__ = ["draw_balance"]

MOST = 60  # lines of a readable picture
LONGEST = 40  # letters of a label
_MARKS = (("before weighting", "white", "C3", 8), ("after weighting", "C0", "C0", 5))
_BESIDE = {"loc": "upper left", "bbox_to_anchor": (1.01, 1), "frameon": False}


def draw_balance(found: "Balance", ax: Any, limit: float) -> Any:
    """Draw a line with two dots for each column, the largest difference on top.

    Args:
        found: What to draw.
        ax: The axes to draw on; None makes a figure.
        limit: Where to draw the line of what is held to be balanced.

    Returns:
        The axes.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    ordered = sorted(found.columns, key=lambda column: -max(column.smd))
    shown, hidden = ordered[:MOST], len(ordered) - MOST
    if ax is None:
        _, ax = pyplot().subplots(figsize=(8, 1.5 + 0.24 * len(shown)), layout="constrained")
    values = np.array([column.smd for column in shown])
    finite = values[np.isfinite(values)]
    edge = 1.1 * max(finite.max(initial=0.0), limit)  # beyond it stand infinite differences
    ends, places = np.minimum(values, edge), np.arange(len(shown))
    ax.hlines(places, *ends.T, color="0.75", linewidth=1, zorder=1)
    for number, (label, fill, colour, size) in enumerate(_MARKS):
        style = {"color": fill, "markeredgecolor": colour, "linestyle": "none", "zorder": 2}
        ax.plot(ends[:, number], places, "o", label=label, markersize=size, **style)
        far = np.flatnonzero(np.isinf(values[:, number]))
        ax.plot(ends[far, number], far, ">", markersize=size + 3, **style)
    ax.axvline(limit, color="0.3", linestyle="--", linewidth=1, zorder=0, label=f"limit {limit:g}")
    ax.axvline(0.0, color="0.6", linewidth=0.8, zorder=0)
    ax.set_yticks(places, [_label(column.name, column.kind) for column in shown])
    ax.set_ylim(len(shown) - 0.5, -0.5)
    ax.set_xlim(-0.03 * edge, 1.05 * edge)
    ax.set_xlabel("absolute standardised difference of means")
    ax.set_title(f"{found.query}{f' ({hidden} smaller ones not drawn)' if hidden > 0 else ''}")
    ax.legend(fontsize="small", **_BESIDE)
    return ax


def _label(name: str, kind: str) -> str:
    told = name if len(name) <= LONGEST else f"{name[: LONGEST // 2]}…{name[-LONGEST // 2 + 1 :]}"
    return f"{told} (constant)" if kind == "constant" else told
