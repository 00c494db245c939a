"""The picture of an estimate."""

import importlib
import itertools
from typing import TYPE_CHECKING, Any

from causalppl.exceptions import MissingExtraError

if TYPE_CHECKING:
    from causalppl.estimation.estimate import Estimate

__all__ = ["draw_intervals", "pyplot"]


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
    if ax is None:
        _, ax = pyplot().subplots(figsize=(6, 1.2 + 0.3 * max(estimate.values.size, 1)))
    low, high = (end.reshape(-1) for end in estimate.interval(prob))
    values = estimate.values.reshape(-1)
    places = list(range(values.size))
    ax.hlines(places, low, high, color="C0")
    ax.plot(values, places, "o", color="C0")
    ax.set_yticks(places, _labels(estimate))
    ax.set_ylim(values.size - 0.5, -0.5)
    ax.set_xlabel(f"estimate and {100 * prob:.4g} % interval")
    ax.set_title(str(estimate.query))
    return ax


def _labels(estimate: "Estimate") -> list[str]:
    cells = itertools.product(*estimate.axes.values())
    return [
        ", ".join(f"{name}={value}" for name, value in zip(estimate.axes, cell, strict=True))
        for cell in cells
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
