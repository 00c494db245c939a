"""Where the chances of an arm lie, for those who have it and for those who do not."""

from typing import Any

import numpy as np

from causalppl.estimation import Balance
from causalppl.estimation.estimate_plot import pyplot
from causalppl.exceptions import DataError
from causalppl.given import check_axes, check_kind

__all__ = ["overlap"]

_EDGES = np.linspace(0, 1, 41)
_UP, _DOWN = "C0", "C1"


def overlap(found: Balance, *, arm: str | None = None, ax: Any = None) -> Any:
    """Draw the chances of an arm: of those who have it upwards, of the others downwards.

    Where one side has bars and the other none, units have no counterparts, and nothing but the
    form of a model says what the other arm would have done to them.

    Args:
        found: The answer of `balance`.
        arm: The arm, such as ``"X=1"``; None: the one whose rows are worth the least.
        ax: The axes to draw on; None makes a figure.

    Returns:
        The axes.

    Raises:
        DataError: There is no such arm.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> from matplotlib.figure import Figure
        >>> from causalppl.data import load_nhefs
        >>> from causalppl.estimation import balance
        >>> from causalppl.graphs import ADMG
        >>> from causalppl.identification import identify
        >>> graph = ADMG.parse("{age, sex} -> {qsmk, wt82_71}; qsmk -> wt82_71")
        >>> found = balance(identify(graph, "ATE(qsmk -> wt82_71)"), load_nhefs())
        >>> ax = overlap(found, ax=Figure().subplots())
        >>> ax.get_xlabel()
        'chance of qsmk=1'
    """
    check_axes(ax)
    check_kind(found, Balance, "the balance", "what balance() returned")
    place = _place(found, arm)
    name = found.arms[place].name
    counted = (found.shares > 0) | (found.weights > 0)
    chances, has = found.chances[counted, place], found.received[counted] == place
    if ax is None:
        _, ax = pyplot().subplots(figsize=(6.4, 3.6), layout="constrained")
    heights = []
    for mask, sign, colour in ((has, 1, _UP), (~has, -1, _DOWN)):
        rows = np.bincount(_bins(chances[mask]), minlength=len(_EDGES) - 1)
        label = f"{mask.sum():,} rows {'with' if sign > 0 else 'without'} {name}"
        shares = rows / max(mask.sum(), 1)
        heights.append(shares.max())
        width = _EDGES[1] - _EDGES[0]
        ax.bar(
            _EDGES[:-1], sign * shares, width, align="edge", color=colour, alpha=0.8, label=label
        )
    ax.axhline(0.0, color="0.2", linewidth=0.8)
    for end in (0.05, 0.95):
        ax.axvline(end, color="0.5", linestyle=":", linewidth=1, zorder=0)
    ax.set_xlim(0, 1)
    ax.set_ylim(-1.15 * max(heights), 1.45 * max(heights))  # with room for the legend
    ax.yaxis.set_major_formatter(lambda value, _: f"{abs(value):.0%}")
    ax.set_xlabel(f"chance of {name}")
    ax.set_ylabel("share of rows")
    ax.set_title(str(found.query))
    ax.legend(loc="upper right", fontsize="small", frameon=False)
    return ax


def _place(found: Balance, arm: str | None) -> int:
    names = [each.name for each in found.arms]
    if arm is None:
        return int(np.argmin([each.worth for each in found.arms]))
    if arm not in names:
        raise DataError(f"arm is {arm!r}; expected one of {', '.join(names)}")
    return names.index(arm)


def _bins(chances: Any) -> Any:
    return np.minimum((chances * (len(_EDGES) - 1)).astype(int), len(_EDGES) - 2)
