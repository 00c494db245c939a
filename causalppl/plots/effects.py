"""Answers side by side, whoever gave them."""

from collections.abc import Mapping
from dataclasses import replace
from numbers import Real
from typing import Any, TypeAlias

import numpy as np

from causalppl.bounds import Bounds, Certificate
from causalppl.bounds.bounds_plot import bounds_rows
from causalppl.estimation import Estimate
from causalppl.estimation.estimate_plot import Row, draw_rows
from causalppl.exceptions import DataError
from causalppl.given import told
from causalppl.inference import Posterior

__all__ = ["effects"]

Answer: TypeAlias = Estimate | Posterior | Bounds | float


def effects(
    answers: Mapping[str, Answer] | Answer,
    *,
    truth: float | None = None,
    reference: float | None = 0.0,
    prob: float = 0.95,
    ax: Any = None,
) -> Any:
    """Draw answers to one question, a line for each: point and interval, or bounds.

    Args:
        answers: Label to an estimate, a posterior of one number, bounds (a thick bar, with thin
            lines for sampling error), or a plain number; or one such answer, which its query names.
        truth: Where to draw the true value, if it is known.
        reference: Where to draw a thin line, such as no effect; None draws none.
        prob: The probability that intervals are meant to hold.
        ax: The axes to draw on; None makes a figure.

    Returns:
        The axes.

    Raises:
        DataError: There is no answer, one is a table, or what was given is none.
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
    named = by_label(answers)
    if not named:
        raise DataError("there is no answer to draw; expected at least one")
    rows = [read_row(label, answer, prob) for label, answer in named.items()]
    ax = draw_rows(rows, ax, reference=reference)
    if truth is not None:
        ax.axvline(truth, color="C3", linestyle="--", linewidth=1.2, zorder=0, label="truth")
        ax.legend(frameon=False, fontsize="small")
    ax.set_xlabel(f"answer and {100 * prob:.4g} % interval")
    return ax


def by_label(answers: Any) -> Mapping[str, Any]:
    """Give one answer its query as a label; several have theirs.

    Raises:
        DataError: What was given is no answer, and no mapping.

    Example:
        >>> by_label({"crude": 3.1}), by_label(3.1)
        ({'crude': 3.1}, {'': 3.1})
    """
    if isinstance(answers, Mapping):
        return answers
    if isinstance(answers, Estimate | Posterior | Bounds | Certificate):
        return {str(getattr(answers, "query", "")): answers}
    if isinstance(answers, Real):
        return {"": answers}
    raise DataError(
        f"the answers are {told(answers)}; expected one answer, or a mapping from labels to "
        "answers: {'adjusted': estimate}"
    )


def checked_naive(naive: Any) -> Mapping[str, float]:
    """Return answers that ignore something, with their labels.

    Raises:
        DataError: They have no labels, or one is no number.
    """
    if isinstance(naive, Mapping) and all(isinstance(value, Real) for value in naive.values()):
        return naive
    raise DataError(
        f"naive is {told(naive)}; expected a mapping from labels to numbers, such as "
        "{'crude': 3.1}"
    )


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
        f"the answer {label!r} is {told(answer)}; expected an Estimate, a Posterior, Bounds or a "
        "number"
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
