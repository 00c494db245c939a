"""The picture of a falsification: which constraints hold, which do not, and how clearly."""

from typing import TYPE_CHECKING, Any

from causalppl.estimation.estimate_plot import pyplot

if TYPE_CHECKING:
    from causalppl.estimation.falsification import Falsification

__all__ = ["draw_p_values"]

SMALLEST = 1e-16  # what is smaller is drawn here
MOST = 40  # lines of a readable picture


def draw_p_values(report: "Falsification", ax: Any) -> Any:
    """Draw adjusted p-values, the smallest on top; see `Falsification.plot`.

    Args:
        report: What to draw.
        ax: The axes to draw on; None makes a figure.

    Returns:
        The axes.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    if not report.checks:
        return _nothing(report, ax)
    checks = sorted(report.checks, key=lambda check: check.result.p_value)
    shown = checks[:MOST]
    if ax is None:
        _, ax = pyplot().subplots(figsize=(7, 1.6 + 0.28 * len(shown)), layout="constrained")
    places = range(len(shown))
    values = [max(check.adjusted, SMALLEST) for check in shown]
    for is_violated, color, label in (
        (True, "C3", "contradicted"),
        (False, "C0", "not contradicted"),
    ):
        chosen = [i for i in places if shown[i].is_violated == is_violated]
        if chosen:
            ends = [values[i] for i in chosen]
            ax.hlines(chosen, ends, 1, color=color, alpha=0.35)
            ax.plot(ends, chosen, "o", color=color, label=label)
    ax.axvline(report.level, color="0.3", linestyle="--", label=f"level {report.level:g}")
    ax.set_xscale("log")
    ax.set_xlim(min([*values, report.level]) / 2, 1.5)
    ax.set_yticks(places, [str(check.fact) for check in shown])
    ax.set_ylim(len(shown) - 0.5, -0.5)
    ax.set_xlabel(f"adjusted p-value (at least {SMALLEST:g})")
    ax.set_title(_title(report, len(checks) - len(shown)))
    ax.legend(loc="lower left")
    return ax


def _nothing(report: "Falsification", ax: Any) -> Any:
    """Say that nothing was tested, without an axis that has nothing on it."""
    if ax is None:
        _, ax = pyplot().subplots(figsize=(7, 1), layout="constrained")
    ax.set_axis_off()
    more = f" ({len(report.skipped)} could not be)" if report.skipped else ""
    ax.set_title(f"nothing was tested{more}", y=0.5)
    return ax


def _title(report: "Falsification", hidden: int) -> str:
    verdict = f"{len(report.violations)} of {len(report.checks)} constraints contradicted"
    notes = [f"{hidden} larger p-values not drawn"] if hidden else []
    notes += [f"{len(report.skipped)} not tested"] if report.skipped else []
    return "; ".join([verdict, *notes])
