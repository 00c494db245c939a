"""The picture of bounds."""

from typing import TYPE_CHECKING, Any

from causalppl.estimation.estimate_plot import Row, cell_names, draw_rows

if TYPE_CHECKING:
    from causalppl.bounds.bounds import Bounds

__all__ = ["bounds_rows", "draw_bounds"]


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
    ax = draw_rows(bounds_rows(bounds, prob), ax)
    error = f" (thick), with {100 * prob:.4g} % sampling error (thin)" if bounds.has_spread else ""
    ax.set_xlabel(f"bounds{error}")
    ax.set_title(str(bounds.query))
    return ax


def bounds_rows(bounds: "Bounds", prob: float, label: str = "") -> list[Row]:
    """A line for each open value: a bar (a dot if nothing is open), thin for sampling error."""
    low, high = bounds.lower.reshape(-1), bounds.upper.reshape(-1)
    outer = bounds.interval(prob) if bounds.has_spread else (low, high)
    ends = zip(*(end.reshape(-1).tolist() for end in (*outer, low, high)), strict=True)
    return [
        Row(
            ": ".join(part for part in (label, name) if part),
            point=start if start == stop else None,
            thin=(first, last) if bounds.has_spread else None,
            thick=(start, stop) if start < stop else None,
        )
        for name, (first, last, start, stop) in zip(cell_names(bounds.axes), ends, strict=True)
    ]
