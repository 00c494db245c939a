"""One answer from several splits of the rows into folds: the median, and its error."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from causalppl.estimation.estimate import Estimate
from causalppl.queries import Query

__all__ = ["median_over_splits"]


def median_over_splits(found: Sequence[Estimate], method: str) -> Estimate:
    """Take the median of answers that differ in the split of the rows alone.

    Of a law, whose probabilities sum to 1 as medians of single ones need not, the answer is that of
    one split: the one whose distances from the medians have the least sum.

    The squared error is the median of squared errors, each with the squared distance of its answer
    from the median added: what one split does not know of the others is part of it.

    Args:
        found: The answers, with errors; the first gives all that is not a number.
        method: The name of the estimator, with its settings.

    Returns:
        An answer whose ``influence`` is the mean of theirs, and whose ``diagnostics`` hold the
        standard deviation of the answers, ``"spread over splits"``.

    References:
        Chernozhukov et al. (2018), Double/debiased machine learning for treatment and structural
        parameters, definition 3.3.

    Example:
        >>> from causalppl.queries import Contrast
        >>> query = Contrast.parse("ATE(X -> Y)")
        >>> found = [Estimate(query, "", np.array(v), error=np.array(1.0)) for v in (0.0, 1.0, 5.0)]
        >>> middle = median_over_splits(found, "AIPW (repeats=3)")
        >>> float(middle), round(float(middle.standard_error) ** 2, 6)
        (1.0, 2.0)
    """
    values = np.stack([each.values for each in found])
    middle = np.median(values, axis=0)
    what = "the median over"
    if _is_law(found[0]):
        distances = np.abs(values - middle).reshape(len(found), -1).sum(axis=1)
        middle, what = values[int(distances.argmin())], "that of the middle one of"
    squares = np.stack([each.standard_error for each in found]) ** 2 + (values - middle) ** 2
    influence = [each.influence for each in found if each.influence is not None]
    sizes = [each.ess for each in found if each.ess is not None]
    return replace(
        found[0],
        method=method,
        values=middle,
        error=np.sqrt(np.median(squares, axis=0)),
        influence=np.mean(influence, axis=0) if len(influence) == len(found) else None,
        ess=float(np.median(sizes)) if sizes else None,
        notes=(*found[0].notes, f"the answer is {what} {len(found)} splits of the rows"),
        diagnostics={**found[0].diagnostics, "spread over splits": values.std(axis=0, ddof=1)},
    )


def _is_law(estimate: Estimate) -> bool:
    """Whether probabilities of all states of an outcome are asked for."""
    query = estimate.query
    if not isinstance(query, Query) or query.kind != "P":
        return False
    return any(event.value is None for event in query.outcomes)
