"""Answers side by side, whoever gave them."""

from collections.abc import Mapping
from numbers import Real
from typing import Any, TypeAlias

import numpy as np

from causalppl.bounds import Bounds
from causalppl.estimation import Estimate
from causalppl.estimation.estimate_plot import pyplot
from causalppl.exceptions import DataError
from causalppl.inference import Posterior

__all__ = ["effects"]

Answer: TypeAlias = Estimate | Posterior | Bounds | float
_THICK, _THIN = 5.0, 1.8


def effects(
    answers: Mapping[str, Answer],
    *,
    truth: float | None = None,
    reference: float | None = 0.0,
    prob: float = 0.95,
    ax: Any = None,
) -> Any:
    """Draw answers to one question, a line for each: point and interval, or bounds.

    Args:
        answers: Label to an estimate, a posterior of one number, bounds (a thick bar, with thin
            lines for sampling error), or a plain number.
        truth: Where to draw the true value, if it is known.
        reference: Where to draw a thin line, such as no effect; None draws none.
        prob: The probability that intervals are meant to hold.
        ax: The axes to draw on; None makes a figure.

    Returns:
        The axes.

    Raises:
        DataError: There is no answer, or one is a table.

    Example:
        >>> import numpy as np
        >>> from matplotlib.figure import Figure
        >>> from causalppl.queries import Contrast
        >>> effect = Contrast.parse("ATE(X -> Y)")
        >>> found = Estimate(effect, "hand", np.array(2.0), error=np.array(0.5))
        >>> ax = effects({"adjusted": found, "crude": 3.1}, ax=Figure().subplots())
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['adjusted', 'crude']
    """
    if not answers:
        raise DataError("there is no answer to draw; expected at least one")
    rows = {label: _read(label, answer, prob) for label, answer in answers.items()}
    if ax is None:
        _, ax = pyplot().subplots(figsize=(6.4, 1.2 + 0.4 * len(rows)))
    for place, (point, thin, thick) in enumerate(rows.values()):
        if thin is not None:
            ax.hlines(place, *thin, color="C0", linewidth=_THIN)
        if thick is not None:
            ax.hlines(place, *thick, color="C0", linewidth=_THICK)
        if point is not None:
            ax.plot(point, place, "o", color="C0", markersize=6)
    if reference is not None:
        ax.axvline(reference, color="0.7", linewidth=0.8, zorder=0)
    if truth is not None:
        ax.axvline(truth, color="C3", linestyle="--", linewidth=1.2, zorder=0, label="truth")
        ax.legend(frameon=False, fontsize="small")
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel(f"answer and {100 * prob:.4g} % interval")
    return ax


Ends: TypeAlias = tuple[float, float] | None


def _read(label: str, answer: Answer, prob: float) -> tuple[float | None, Ends, Ends]:
    """Point, thin line and thick line."""
    match answer:
        case Estimate() | Bounds() if answer.axes:
            raise DataError(f"the answer {label!r} is a table; use at() to choose one number")
        case Estimate():
            low, high = answer.interval(prob)
            return float(answer), (float(low), float(high)), None
        case Bounds():
            low, high = answer.interval(prob) if answer.has_spread else (answer.lower, answer.upper)
            return None, (float(low), float(high)), (float(answer.lower), float(answer.upper))
        case Posterior():
            return _of_posterior(label, answer, prob)
        case Real():
            return float(answer), None, None
    raise DataError(
        f"the answer {label!r} is {answer!r}; expected an Estimate, a Posterior, Bounds or a number"
    )


def _of_posterior(label: str, answer: Posterior, prob: float) -> tuple[float, Ends, Ends]:
    if len(answer.variables) != 1 or answer.law(answer.variables[0]).shape:
        raise DataError(
            f"the posterior {label!r} holds {', '.join(answer.variables) or 'nothing'}; expected "
            "one number, as of a query for one effect"
        )
    (name,) = answer.variables
    low, high = answer.interval(prob)[name]
    mean = float(np.asarray(answer.mean()[name]))
    is_point = float(low) == float(high)
    return mean, None if is_point else (float(low), float(high)), None
