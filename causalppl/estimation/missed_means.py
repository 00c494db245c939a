"""What regressions missed: residuals of rows that lie close together have it in common."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.estimation.nested_curves import normal_scores
from causalppl.estimation.sample import Question

__all__ = ["missed_products"]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]
_MOST_NEIGHBOURS, _FEWEST_NEIGHBOURS = 16, 3  # on a line; in more dimensions
_APART = 3.0  # standard deviations between two values of a discrete column
_TIMES = 3.0  # what neighbours share is a part of what was missed, a third or more of it
_CLEAR = 1.0  # standard errors; that both sides show as much by chance is one case in forty
_MOST_COLUMNS = 6  # with more, no rows lie close together
_FEWEST_ROWS, _MOST_ROWS = 40, 4_000  # that are looked at


def missed_products(question: Question, first: Array, second: Array) -> Array:
    """Bound the mean product of what two regressions on the given columns missed.

    Residuals of neighbours are independent but for the part of the mean that the regression
    missed, so that their mean product estimates its mean square, from below as neighbours are not
    in one place (Rice 1984). By Cauchy and Schwarz the mean product of both missed parts is at
    most the root of the product of these squares. It is taken three times, and as zero where either
    regression shows no misfit.

    Args:
        question: What is given, among which numbers show who is close to whom.
        first: Residuals of one side, shape ``(rows, columns)``.
        second: Those of the other.

    Returns:
        The bounds, shape ``(columns of first * columns of second,)``.

    Example:
        >>> from causalppl.estimation.sample import Sample
        >>> z, a, b = np.random.default_rng(0).normal(size=(3, 500))
        >>> question = Sample({"x": a, "y": b, "z": z}).ask("x", "y", ["z"])
        >>> missed = np.sin(4 * z)  # by regressions on lines
        >>> missed_products(question, a[:, None], b[:, None]).tolist()
        [0.0]
        >>> bound = missed_products(question, (missed + a)[:, None], (missed + b)[:, None])
        >>> bool(bound[0] > (missed**2).mean())
        True
    """
    nothing = np.zeros(first.shape[1] * second.shape[1])
    numbers = [name for name in question.given if not question.sample.is_discrete(name)]
    if not numbers or len(question.given) > _MOST_COLUMNS or question.num_rows < _FEWEST_ROWS:
        return nothing
    key = "neighbours", question.given, question.gapped
    near = question.sample.kept(key, lambda: _neighbours(question))
    squares = [_shared(side, near) for side in (first, second)]
    bounds: Array = _TIMES * np.sqrt(np.outer(*squares)).ravel()
    return bounds


def _shared(residuals: Array, near: Codes) -> Array:
    """The mean square that each column's residuals share with their neighbours, if it is clear."""
    rows, others = near[:, 0], near[:, 1:]
    products = residuals[rows] * residuals[others].mean(1)
    # twice: most pairs of neighbours are counted from either end
    error = np.sqrt(2 * np.square(products).sum(0)) + 1e-300
    shared: Array = np.where(products.sum(0) > _CLEAR * error, products.mean(0), 0.0)
    return shared


def _neighbours(question: Question) -> Codes:
    """Some rows, each with those closest to it; shape ``(rows, 1 + neighbours)``."""
    from scipy.spatial import cKDTree

    rows = np.random.default_rng(0).permutation(question.num_rows)[:_MOST_ROWS]
    count = max(_MOST_NEIGHBOURS // len(question.given) ** 2, _FEWEST_NEIGHBOURS)
    places = np.stack([_place(question, name)[rows] for name in question.given], 1)
    found = cKDTree(places).query(places, count + 1)[1]
    itself = found == np.arange(len(rows))[:, None]
    itself[~itself.any(1), -1] = True  # among many in one place a row may not find itself
    others = found[~itself].reshape(len(rows), count)
    return np.column_stack([rows, rows[others]])


def _place(question: Question, name: str) -> Array:
    if question.sample.is_discrete(name):
        return np.asarray(_APART * question.codes(name), dtype=np.float64)
    return normal_scores(question.values(name))
