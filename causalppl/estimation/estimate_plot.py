"""Pictures of answers: points, intervals and bounds, a line for each."""

import importlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from causalppl.exceptions import MissingExtraError
from causalppl.given import check_axes

if TYPE_CHECKING:
    from causalppl.estimation.estimate import Estimate

__all__ = ["Ends", "Row", "cell_names", "draw_intervals", "draw_rows", "pyplot"]

Ends: TypeAlias = tuple[float, float]
_THICK, _THIN = 6.0, 1.6


@dataclass(frozen=True)
class Row:
    """One line of a picture.

    Attributes:
        label: What stands at the left.
        point: Where a dot is drawn, if there is one.
        thin: Ends of a thin line, such as an interval for sampling error.
        thick: Ends of a thick bar, such as bounds.
        color: Of all of it.
    """

    label: str
    point: float | None = None
    thin: Ends | None = None
    thick: Ends | None = None
    color: str = "C0"


def draw_rows(rows: Sequence[Row], ax: Any, *, reference: float | None = 0.0) -> Any:
    """Draw one line for each row, the first one at the top.

    Args:
        rows: What to draw.
        ax: The axes to draw on; None makes a figure.
        reference: Where to draw a thin upright line, such as no effect; None draws none.

    Returns:
        The axes.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    check_axes(ax)
    if ax is None:
        _, ax = pyplot().subplots(figsize=(6.4, 1.2 + 0.4 * max(len(rows), 1)))
    if reference is not None:
        ax.axvline(reference, color="0.6", linewidth=0.8, zorder=0)
    _draw_lines(ax, [(row.thin, row.color) for row in rows], _THIN)
    _draw_lines(ax, [(row.thick, row.color) for row in rows], _THICK)
    for place, row in enumerate(rows):
        if row.point is not None:
            fill = row.color if row.thick is None else "white"  # seen on a thick bar too
            ax.plot(row.point, place, "o", color=fill, markeredgecolor=row.color, markersize=6)
    ax.set_yticks(range(len(rows)), [row.label for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    return ax


def _draw_lines(ax: Any, lines: Sequence[tuple[Ends | None, str]], width: float) -> None:
    kept = [(place, *ends, color) for place, (ends, color) in enumerate(lines) if ends is not None]
    if kept:
        places, low, high, colors = zip(*kept, strict=True)
        ax.hlines(places, low, high, colors=colors, linewidth=width)


def draw_intervals(estimate: "Estimate", ax: Any, prob: float) -> Any:
    """Draw each value as a point on its interval, one line for each; see `Estimate.plot`.

    Args:
        estimate: What to draw.
        ax: The axes to draw on; None makes a figure.
        prob: The probability that the intervals are meant to hold.

    Returns:
        The axes.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    low, high = (end.reshape(-1) for end in estimate.interval(prob))
    values, names = estimate.values.reshape(-1), cell_names(estimate.axes)
    cells = zip(names, values, low, high, strict=True)
    rows = [Row(name, float(v), (float(a), float(b))) for name, v, a, b in cells]
    ax = draw_rows(rows, ax, reference=None)
    ax.set_xlabel(f"estimate and {100 * prob:.4g} % interval")
    ax.set_title(str(estimate.query))
    return ax


def cell_names(axes: Mapping[str, Sequence[Any]]) -> list[str]:
    """Name each cell of a table, in its order: ``Z=0, W=1``; empty for a single number."""
    return [
        ", ".join(f"{name}={value}" for name, value in zip(axes, cell, strict=True))
        for cell in itertools.product(*axes.values())
    ]


def pyplot() -> Any:
    """Return ``matplotlib.pyplot``.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        return importlib.import_module("matplotlib.pyplot")
    except ImportError:
        raise MissingExtraError(
            "drawing needs matplotlib, which is not installed; install it with "
            "pip install 'causalppl[plots]'"
        ) from None
