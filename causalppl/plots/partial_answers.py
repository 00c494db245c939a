"""Pictures of what data and assumptions leave open: bounds, and what would overturn them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds import Bounds, Certificate, TippingPoint, tipping_point
from causalppl.bounds.bounds_plot import bounds_rows
from causalppl.estimation import Estimate
from causalppl.estimation.estimate_plot import Row, draw_rows, pyplot
from causalppl.exceptions import DataError
from causalppl.given import check_axes, told
from causalppl.plots.effects import by_label, checked_naive, read_row

__all__ = ["bounds", "tipping"]

Array: TypeAlias = NDArray[np.float64]
Answer: TypeAlias = Bounds | Certificate | Estimate | float
Ends: TypeAlias = tuple[float, float]
BoundAt: TypeAlias = Callable[[float], Any]
_GRID = 61
_UNDECIDED = "0.55"


def bounds(
    answers: Mapping[str, Bounds | Certificate | Estimate | float]
    | Bounds
    | Certificate
    | Estimate,
    *,
    naive: Mapping[str, float] | None = None,
    reference: float | None = 0.0,
    prob: float = 0.95,
    ax: Any = None,
) -> Any:
    """Draw bounds as thick bars, with thin lines for sampling error, and what they are held up to.

    A bar that lies on one side of the reference, sampling error included, is coloured; one that
    does not is grey: neither sign is excluded.

    Args:
        answers: Label to bounds, to an estimate (a dot on its interval) or to a number. Bounds of
            several values have a line for each. Of a certificate, whose level is its own, the
            bounds of its layers are drawn, its interval, and its estimate.
        naive: Label to value of answers that ignore what bounds allow for, such as a crude
            difference of means; drawn as dashed upright lines.
        reference: Where no effect is; None draws no line, and colours everything alike.
        prob: The probability that thin lines are meant to hold the bounds.
        ax: The axes to draw on; None makes a figure.

    Returns:
        The axes.

    Raises:
        DataError: There is no answer, an estimate is a table, a number is not finite, or what was
            given is no answer.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> from matplotlib.figure import Figure
        >>> from causalppl.queries import Contrast
        >>> effect = Contrast.parse("ATE(X -> Y)")
        >>> found = Bounds(effect, "hand", np.array(0.1), np.array(0.4))
        >>> ax = bounds({"with an instrument": found}, naive={"crude": 0.5}, ax=Figure().subplots())
        >>> [label.get_text() for label in ax.get_yticklabels()], ax.get_legend_handles_labels()[1]
        (['with an instrument'], ['crude: 0.5'])
    """
    named = {"": answers} if isinstance(answers, Bounds | Certificate) else by_label(answers)
    naive = checked_naive(naive or {})
    rows = [
        _coloured(row, reference)
        for label, answer in named.items()
        for row in _rows(label, answer, prob)
    ]
    if not rows:
        raise DataError("there is no answer to draw; expected at least one")
    for row in rows:
        _check_finite(row.label, row.point, *(row.thin or ()), *(row.thick or ()))
    for label, value in naive.items():
        _check_finite(label, value)
    ax = draw_rows(rows, ax, reference=reference)
    for number, (label, value) in enumerate(naive.items()):
        color = f"C{(3, 1, 4, 5)[number % 4]}"
        ax.axvline(value, color=color, linestyle="--", zorder=0, label=f"{label}: {value:.4g}")
    if naive:
        ax.legend(frameon=False, fontsize="small")
    error = any(row.thin is not None for row in rows)
    ax.set_xlabel("bounds" + (f", with {100 * prob:.4g} % sampling error (thin)" if error else ""))
    return ax


def tipping(
    bound_at: BoundAt | Bounds,
    *,
    reference: float = 0.0,
    largest: float | None = None,
    prob: float = 0.95,
    ax: Any = None,
) -> Any:
    """Draw the ends of an interval as hidden confounding grows, and where it tips a conclusion.

    The background says what may be concluded: up to the (first) tipping point the interval is on
    one side of the reference, beyond the last one it holds it. Between the two, where sampling
    error is known, the bounds exclude the reference and their sampling error does not.

    Args:
        bound_at: Odds ratio to `Bounds` of one value or to a pair of ends, as for
            `tipping_point`; or bounds along one axis of odds ratios that begin with 1, between
            which ends are interpolated.
        reference: The value that would overturn the conclusion, such as no effect.
        largest: The largest odds ratio that is drawn; left out, somewhat beyond the tipping point.
        prob: The probability that intervals with sampling error are meant to hold the bounds.
        ax: The axes to draw on; None makes a figure.

    Returns:
        The axes.

    Raises:
        DataError: What was given is neither bounds nor a function; bounds have not one axis of odds
            ratios that begins with 1; ``largest`` is not above 1; or an end is not finite.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ends = lambda ratio: (0.3 - 0.1 * ratio, 0.1 + 0.1 * ratio)
        >>> ax = tipping(ends, ax=Figure().subplots())
        >>> ax.get_legend_handles_labels()[1][1:]
        ['above 0', 'undecided', 'tipping point 3']
    """
    check_axes(ax)
    if not isinstance(bound_at, Bounds) and not callable(bound_at):
        raise DataError(
            f"bound_at is {told(bound_at)}; expected bounds along an axis of odds ratios, or a "
            "function from an odds ratio to bounds"
        )
    find, most = _interpolated(bound_at) if isinstance(bound_at, Bounds) else (bound_at, np.inf)
    find = _finite(find)
    has_error = isinstance(start := find(1.0), Bounds) and start.has_spread
    probs = (None, prob) if has_error else (None,)
    tips = [tipping_point(find, reference, largest=min(most, 1e6), prob=each) for each in probs]
    if largest is None:
        reach = 1 + 1.6 * (float(tips[0]) - 1)
        largest = min(most, reach if 1 < reach < np.inf else 3.0)
    if not 1 < largest <= most:
        limit = "" if most == np.inf else f" and not above {most:g}, where the bounds end"
        raise DataError(f"largest is {largest:g}; expected an odds ratio above 1{limit}")
    if ax is None:
        _, ax = pyplot().subplots(figsize=(6.4, 4.2), layout="constrained")
    _draw_ends(ax, find, np.linspace(1, largest, _GRID), prob if has_error else None)
    ax.axhline(reference, color="0.3", linewidth=0.8)
    _draw_regions(ax, tips, reference, largest)
    ax.set_xlim(1, largest)
    ax.set_xlabel("odds ratio of hidden confounding")
    ax.set_ylabel("where the answer can lie")
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16), "ncols": 2}
    ax.legend(frameon=False, fontsize="small", **below)  # the interval fills the axes
    return ax


def _rows(label: str, answer: Any, prob: float) -> list[Row]:
    """The lines of an answer; bounds may have several."""
    if isinstance(answer, Bounds):
        rows = bounds_rows(answer, prob, label)
        return rows if rows[0].label else [replace(rows[0], label=str(answer.query))]
    if isinstance(answer, Certificate):
        return [_certificate_row(label or answer.decision, answer)]
    return [read_row(label, answer, prob)]


def _certificate_row(label: str, found: Certificate) -> Row:
    """A dot at the estimate, a thin line for the interval, a bar for the bounds without error."""
    ends = [layer.bounds for layer in found.layers]
    thick = (min(low for low, _ in ends), max(high for _, high in ends)) if ends else None
    if not (found.is_sampled or found.sampling_error):
        return Row(label, point=found.estimate, thick=found.interval)
    return Row(label, point=found.estimate, thin=found.interval, thick=thick)


def _check_finite(label: str, *values: float | None) -> None:
    if wrong := [value for value in values if value is not None and not np.isfinite(value)]:
        raise DataError(f"{label} has the value {wrong[0]}; expected finite numbers to draw")


def _finite(bound_at: BoundAt) -> BoundAt:
    """The same function, which refuses ends that are no numbers."""

    def at(ratio: float) -> Any:
        found = bound_at(ratio)
        if not isinstance(found, Bounds):
            low, high = found
            _check_finite(f"the interval at odds ratio {ratio:g}", float(low), float(high))
        return found

    return at


def _coloured(row: Row, reference: float | None) -> Row:
    """Grey where the line holds the reference."""
    ends = row.thin or row.thick
    if ends is None or reference is None:
        return row
    return replace(row, color=_UNDECIDED if ends[0] <= reference <= ends[1] else "C0")


def _interpolated(found: Bounds) -> tuple[BoundAt, float]:
    """Bounds along an axis of odds ratios as a function of the ratio, and the largest ratio."""
    (axis, ratios), *others = [*found.axes.items()] or [("", ())]
    grid = np.array([float(ratio) for ratio in ratios if not isinstance(ratio, str)])
    if (
        others
        or len(grid) < 2
        or len(grid) < len(ratios)
        or grid[0] != 1
        or min(np.diff(grid)) <= 0
    ):
        raise DataError(
            f"the bounds have the axes {dict(found.axes)}; expected one axis of odds ratios that "
            "begins with 1 and grows, or a function of the odds ratio"
        )

    def at(ratio: float) -> Bounds:
        right = int(np.clip(np.searchsorted(grid, ratio), 1, len(grid) - 1))
        near, far = (found.at(**{axis: ratios[place]}) for place in (right - 1, right))
        part = (ratio - grid[right - 1]) / (grid[right] - grid[right - 1])
        return replace(
            near,
            lower=_between(near.lower, far.lower, part),
            upper=_between(near.upper, far.upper, part),
            draws=None if near.draws is None else _between(near.draws, far.draws, part),
            error=None if near.error is None else _between(near.error, far.error, part),
        )

    return at, float(grid[-1])


def _between(near: Any, far: Any, part: float) -> Array:
    return np.asarray((1 - part) * np.asarray(near) + part * np.asarray(far), dtype=float)


def _draw_ends(ax: Any, find: BoundAt, ratios: Array, prob: float | None) -> None:
    found = [find(float(ratio)) for ratio in ratios]
    pairs = [(x.lower, x.upper) if isinstance(x, Bounds) else x for x in found]
    low, high = np.array(pairs, dtype=float).T
    ax.fill_between(ratios, low, high, color="C0", alpha=0.45, linewidth=0, label="bounds")
    if prob is not None:
        outer = np.array([x.interval(prob) for x in found], dtype=float).T
        label = f"with {100 * prob:.4g} % sampling error"
        for end, name in zip(outer, (label, None), strict=True):
            ax.plot(ratios, end, color="C0", linewidth=1.2, label=name)


def _draw_regions(ax: Any, tips: list[TippingPoint], reference: float, largest: float) -> None:
    """Shade what may be concluded up to each tipping point; the last one is the earliest."""
    side = "above" if tips[0].start[0] > reference else "below"
    last, first = float(tips[0]), float(tips[-1])
    regions = (
        (1.0, first, "C2", f"{side} {reference:g}"),
        (first, last, "C1", f"{side} {reference:g}, but for sampling error"),
        (last, largest, "0.5", "undecided"),
    )
    for start, end, color, label in regions:
        if start < min(end, largest):
            ax.axvspan(start, min(end, largest), color=color, alpha=0.2, zorder=0, label=label)
    if 1 < last <= largest:
        ax.axvline(last, color="C3", linestyle="--", label=f"tipping point {last:.3g}")
