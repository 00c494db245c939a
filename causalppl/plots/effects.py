"""Answers side by side, whoever gave them."""

from collections.abc import Mapping
from dataclasses import replace
from numbers import Real
from typing import Any, TypeAlias

import numpy as np

from causalppl.bounds import Bounds
from causalppl.bounds.bounds_plot import bounds_rows
from causalppl.estimation import Estimate
from causalppl.estimation.estimate_plot import Row, draw_rows
from causalppl.exceptions import DataError
from causalppl.inference import Posterior

__all__ = ["effects"]

Answer: TypeAlias = Estimate | Posterior | Bounds | float


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
        MissingExtraError: matplotlib is not installed.

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
    rows = [read_row(label, answer, prob) for label, answer in answers.items()]
    ax = draw_rows(rows, ax, reference=reference)
    if truth is not None:
        ax.axvline(truth, color="C3", linestyle="--", linewidth=1.2, zorder=0, label="truth")
        ax.legend(frameon=False, fontsize="small")
    ax.set_xlabel(f"answer and {100 * prob:.4g} % interval")
    return ax


def read_row(label: str, answer: Answer, prob: float) -> Row:
    """What is drawn for an answer that is one number.

    Raises:
        DataError: It is a table, or no answer at all.
    """
    match answer:
        case Estimate() | Bounds() if answer.axes:
            raise DataError(f"the answer {label!r} is a table; use at() to choose one number")
        case Estimate():
            low, high = answer.interval(prob)
            return Row(label, float(answer), (float(low), float(high)))
        case Bounds():
            return replace(bounds_rows(answer, prob)[0], label=label)
        case Posterior():
            return _of_posterior(label, answer, prob)
        case Real():
            return Row(label, float(answer))
    raise DataError(
        f"the answer {label!r} is {answer!r}; expected an Estimate, a Posterior, Bounds or a number"
    )


def _of_posterior(label: str, answer: Posterior, prob: float) -> Row:
    if len(answer.variables) != 1 or answer.law(answer.variables[0]).shape:
        raise DataError(
            f"the posterior {label!r} holds {', '.join(answer.variables) or 'nothing'}; expected "
            "one number, as of a query for one effect"
        )
    (name,) = answer.variables
    low, high = (float(end) for end in answer.interval(prob)[name])
    mean = float(np.asarray(answer.mean()[name]))
    return Row(label, mean, None if low == high else (low, high))
