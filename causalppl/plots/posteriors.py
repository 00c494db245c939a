"""Pictures of posteriors: beside naive answers, over the worlds of a unit, and how far to trust."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from causalppl.estimation.estimate_plot import pyplot
from causalppl.exceptions import DataError
from causalppl.given import check_axes, check_kind, told
from causalppl.inference import Posterior
from causalppl.inference.laws import Law
from causalppl.plots.effects import checked_naive
from causalppl.programs import SCM

__all__ = ["against_naive", "elbo", "khat", "unit_worlds"]

_GOOD, _BAD = 0.5, 0.7
_SMOOTHED = 50
_LEAST_SPAN = 1.0  # nats: less is rounding, not progress
_DODGE = 0.16  # between the worlds of one variable
_BELOW = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "ncols": 2, "frameon": False}
_BESIDE = {"loc": "upper left", "bbox_to_anchor": (1.01, 1), "frameon": False}


def against_naive(
    posterior: Posterior, naive: Mapping[str, float], *, prob: float = 0.95, ax: Any = None
) -> Any:
    """Draw the posterior of an effect, and where answers fall that look at data only.

    Args:
        posterior: The answer of ``infer`` to a query for one number.
        naive: Label to value, such as a crude difference of means.
        prob: The probability that the interval is meant to hold.
        ax: The axes to draw on; None makes a figure.

    Returns:
        The axes.

    Raises:
        DataError: The posterior has no variable.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> from matplotlib.figure import Figure
        >>> from causalppl.inference.laws import NormalLaw
        >>> answer = Posterior.from_draws({}, laws={"ATE": NormalLaw(2.0, 0.5)}, is_exact=True)
        >>> ax = against_naive(answer, {"crude": 3.1}, ax=Figure().subplots())
        >>> ax.get_legend_handles_labels()[1][-1]
        'crude: 3.1'
    """
    check_axes(ax)
    check_kind(posterior, Posterior, "the posterior", "what infer() returned")
    naive = checked_naive(naive)
    if not posterior.variables:
        raise DataError("the posterior holds no variable; ask infer for an effect")
    if ax is None:
        _, ax = pyplot().subplots(figsize=(6.4, 4), layout="constrained")
    ax = posterior.plot(ax, prob=prob)
    for place, (label, value) in enumerate(naive.items(), 1):
        colour = f"C{place % 10}"
        ax.axvline(value, color=colour, linestyle="--", label=f"{label}: {value:.4g}")
    ax.legend(fontsize="small", **_BELOW)  # lines cross the axes from bottom to top
    return ax


def unit_worlds(
    posterior: Posterior,
    *,
    unit: int | None = None,
    factual: Mapping[str, float] | None = None,
    prob: float = 0.95,
    ax: Any = None,
) -> Any:
    """Draw what is known of one unit: a line for each variable, a colour for each world.

    Args:
        posterior: The answer to a query about several worlds, such as ``E[Y_{X=0} | X=1, Y=2]``.
        unit: Which unit, where the posterior is about many.
        factual: What was seen of the unit, drawn as crosses: variable to value.
        prob: The probability that intervals are meant to hold.
        ax: The axes to draw on; None makes a figure.

    Returns:
        The axes.

    Raises:
        DataError: The posterior is about many units and none is named, or there is no such unit.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> from matplotlib.figure import Figure
        >>> from causalppl.inference.laws import NormalLaw
        >>> laws = {"Y@x0": NormalLaw(1.0, 0.5), "Y@x1": NormalLaw(2.0, 0.5)}
        >>> answer = Posterior.from_draws({}, laws=laws, is_exact=True)
        >>> ax = unit_worlds(answer, factual={"Y": 2.2}, ax=Figure().subplots())
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['Y']
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['seen', 'x0', 'x1']
    """
    check_axes(ax)
    check_kind(posterior, Posterior, "the posterior", "what infer() returned")
    seen = dict(factual or {})
    parts = {
        name: name.rpartition("@")[::2] if "@" in name else (name, "")
        for name in posterior.variables
    }
    rows = list(dict.fromkeys([*seen, *(variable for variable, _ in parts.values())]))
    worlds = list(dict.fromkeys(world for _, world in parts.values()))
    lanes = ["", *worlds] if seen and len(worlds) > 1 and "" not in worlds else worlds
    heights = {world: _DODGE * (lane - (len(lanes) - 1) / 2) for lane, world in enumerate(lanes)}
    if ax is None:
        size = (6.4, 1.4 + (0.3 + 0.2 * len(lanes)) * len(rows))
        _, ax = pyplot().subplots(figsize=size, layout="constrained")
    for name, (variable, world) in parts.items():
        place = rows.index(variable) + heights[world]
        low, high, mean = (
            _of_unit(values, posterior.law(name), unit)
            for values in (*posterior.interval(prob)[name], posterior.mean()[name])
        )
        colour = f"C{worlds.index(world) % 10}"
        ax.hlines(place, low, high, color=colour, linewidth=2)
        ax.plot(mean, place, "o", color=colour, label=world or _unnamed(worlds))
    for variable, value in seen.items():
        place = rows.index(variable) + heights.get("", 0.0)
        ax.plot(float(value), place, "x", color="k", mew=2, ms=8, label="seen")
    _legend_of_worlds(ax)
    ax.set_yticks(range(len(rows)), rows)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel(f"value and {100 * prob:.4g} % interval")
    ax.set_title(posterior.query if unit is None else f"unit {unit}: {posterior.query}")
    return ax


def _unnamed(worlds: Sequence[str]) -> str:
    """Call variables without a world: those of the query, or of the factual one beside others."""
    return "answer" if len(worlds) == 1 else "factual"


def _legend_of_worlds(ax: Any) -> None:
    """Name each world once, what was seen first."""
    entries = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    labels = sorted(entries, key=lambda label: label != "seen")
    ax.legend([entries[label] for label in labels], labels, fontsize="small", **_BESIDE)


def _of_unit(values: Any, law: Law, unit: int | None) -> float:
    if not law.shape:
        return float(values)
    if len(law.shape) > 1:
        raise DataError(f"the posterior has shape {law.shape}; expected one number per unit")
    if unit is None:
        raise DataError(f"the posterior is about {law.shape[0]} units; choose one with unit=")
    if not 0 <= unit < law.shape[0]:
        raise DataError(f"unit is {unit}; expected 0 to {law.shape[0] - 1}")
    return float(np.asarray(values)[unit])


def khat(posterior: Posterior, *, ax: Any = None) -> Any:
    """Draw the Pareto k-hat of each unit, with the levels from which on weights mislead.

    Args:
        posterior: An answer from importance weights or a variational guide.
        ax: The axes to draw on; None makes a figure.

    Returns:
        The axes.

    Raises:
        DataError: The engine that answered does not judge itself by k-hat.
        MissingExtraError: matplotlib is not installed.

    References:
        Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling.

    Example:
        >>> from matplotlib.figure import Figure
        >>> answer = Posterior.from_draws({"Y": [[0.0, 1.0]]}, diagnostics={"khat": [0.2, 0.9]})
        >>> khat(answer, ax=Figure().subplots()).get_ylabel()
        'Pareto k-hat'
    """
    check_axes(ax)
    check_kind(posterior, Posterior, "the posterior", "what infer() returned")
    if "khat" not in posterior.diagnostics:
        raise DataError(
            f"{posterior.engine or 'the engine'} gave no k-hat; expected an answer of Importance, "
            "Variational or Amortised"
        )
    values = np.atleast_1d(np.asarray(posterior.diagnostics["khat"], dtype=float))
    if ax is None:
        _, ax = pyplot().subplots(figsize=(6.4, 3.2), layout="constrained")
    for low, high, colour, label in (
        (-np.inf, _GOOD, "C0", "good"),
        (_GOOD, _BAD, "C1", "usable"),
        (_BAD, np.inf, "C3", "not to be trusted"),
    ):
        part = (values > low) & (values <= high)
        if part.any():
            ax.plot(np.flatnonzero(part), values[part], ".", color=colour, label=label)
    for level in (_GOOD, _BAD):
        ax.axhline(level, color="0.7", linewidth=0.8, zorder=0)
    ax.set_xlabel("unit")
    ax.set_xlim(-0.5, len(values) - 0.5)
    ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    ax.set_ylabel("Pareto k-hat")
    ax.legend(fontsize="small", **_BESIDE)
    return ax


def elbo(trace: SCM | Sequence[float] | Any, *, ax: Any = None) -> Any:
    """Draw the evidence lower bound of a fit over its steps, and its running mean.

    Args:
        trace: A fitted model, whose ``fit_record`` holds it, or the numbers themselves.
        ax: The axes to draw on; None makes a figure.

    Returns:
        The axes.

    Raises:
        DataError: The model was not fitted by optimisation, or there are no finite numbers.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> from matplotlib.figure import Figure
        >>> elbo([-3.0, -2.0, -1.5], ax=Figure().subplots()).get_xlabel()
        'step'
    """
    check_axes(ax)
    values = _trace_of(trace)
    if not np.isfinite(values).any():
        raise DataError("there is no finite number to draw; expected the trace of a fit")
    if ax is None:
        _, ax = pyplot().subplots(figsize=(6.4, 3.2), layout="constrained")
    ax.plot(values, color="C0", alpha=0.35, linewidth=0.8, label="each step")
    width = min(_SMOOTHED, len(values))
    smooth = np.convolve(values, np.full(width, 1 / width), mode="valid")
    middle = np.arange(len(smooth)) + (width - 1) / 2
    ax.plot(middle, smooth, color="C0", label=f"mean of {width} steps")
    low, high = ax.get_ylim()
    lacking = max(0.0, _LEAST_SPAN - (high - low)) / 2
    ax.set_ylim(low - lacking, high + lacking)
    ax.ticklabel_format(axis="y", style="plain", useOffset=False)
    ax.set_xlabel("step")
    ax.set_ylabel("ELBO (nats)")
    ax.legend(fontsize="small", **_BELOW)
    return ax


def _trace_of(trace: Any) -> Any:
    if not isinstance(trace, SCM):
        try:
            values = np.asarray(trace, dtype=float)
        except (TypeError, ValueError):
            values = np.zeros(())
        if not values.ndim:
            raise DataError(f"the trace is {told(trace)}; expected a fitted model, or numbers")
        return values.reshape(-1)
    found = getattr(trace.fit_record, "elbo", None)
    if found is None or not len(found):
        raise DataError("the model holds no ELBO; expected one that was fitted with SVIFit()")
    return np.asarray(found, dtype=float).reshape(-1)
