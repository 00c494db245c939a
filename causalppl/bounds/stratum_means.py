"""Ends of means in strata, intersected where they must agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.intersection import corrected_maximum
from causalppl.bounds.manski import NoAssumptions
from causalppl.bounds.method import BoundProblem
from causalppl.bounds.monotone import MonotoneResponse
from causalppl.bounds.question import Part
from causalppl.bounds.row_ends import resampled_means
from causalppl.bounds.row_method import condition_of, merged
from causalppl.bounds.rows import Rows, outcome_span

__all__ = ["StratumMeans"]

Array: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]
_MOST_PAIRS = 2_000  # combinations of strata, one for each term, that are intersected


@dataclass(frozen=True, eq=False)
class StratumMeans:
    """Ends of the mean of each term of a query in each stratum, and of the whole query.

    Columns hold the lower ends of the terms, then their upper ends, then both ends of the query.

    Attributes:
        weights: The weight of each term in the query.
        means: Shape ``(strata, columns)``.
        draws: Draws of them, shape ``(draws, strata, columns)``; None where the law is exact.
        totals: How much each stratum counts.
        pooled: Both ends of the query over all strata at once.
    """

    weights: Array
    means: Array
    draws: Array | None
    totals: Array
    pooled: tuple[float, float]

    @classmethod
    def of(
        cls,
        problem: BoundProblem,
        rows: Rows,
        parts: Sequence[Part],
        strata: NDArray[np.int64],
        response: MonotoneResponse | None,
        *,
        num_draws: int,
        rng: np.random.Generator,
    ) -> "StratumMeans":
        """Take means of the ends of rows.

        Args:
            problem: What is asked.
            rows: The rows within the stratum of covariates.
            parts: The query, without open values.
            strata: The place of each row's stratum, shape ``(rows,)``.
            response: A monotone response that bounds each row; None: no assumption.
            num_draws: How many draws.
            rng: Where they come from.
        """
        base = NoAssumptions() if response is None else response
        outcomes = merged(parts)
        names = [events[0].name for kind, events in outcomes if kind == "E"]
        span = outcome_span(problem, names, rows) if names else (0.0, 1.0)
        alone = [base.row_values(rows, {what: 1.0}, span) for what in outcomes]
        whole = base.row_values(rows, outcomes, span)
        columns = np.stack(
            [*(each[0] for each in alone), *(each[1] for each in alone), *whole[:2]], 1
        )
        boxes = [each[2] for each in alone]
        box = np.array([*boxes, *boxes, whole[2], whole[2]])
        is_given, _ = condition_of(rows, parts[0][1])
        weights = rows.weights * is_given
        means, drawn, totals = [], [], []
        for place in range(int(strata.max(initial=0)) + 1):
            here = (strata == place) & (weights > 0)
            totals.append(weights[here].sum())
            if not here.any():
                means.append(_open(box, len(outcomes)))
                drawn.append(np.broadcast_to(means[-1], (num_draws, len(box))))
                continue
            means.append(weights[here] @ columns[here] / totals[-1])
            if not rows.is_exact:
                drawn.append(resampled_means(columns[here], weights[here], box.T, num_draws, rng))
        total = np.sum(totals)
        pooled = tuple(np.array(totals) @ np.array(means)[:, -2:] / total) if total else box[-1]
        return cls(
            np.array(list(outcomes.values())),
            np.array(means),
            None if rows.is_exact else np.stack(drawn, axis=1),
            np.array(totals),
            (float(pooled[0]), float(pooled[1])),
        )

    def ends(self, low: Mask, high: Mask) -> tuple[Array, Array | None]:
        """Intersect the strata: the ends of the query, and draws that correct for choosing.

        Args:
            low: In which strata a lower end of a term is one for the units asked about.
            high: Likewise for upper ends.

        Returns:
            Shapes ``(2,)`` and ``(draws, 2)``.
        """
        found, drawn = np.zeros(2), []
        for side, sign in enumerate((1.0, -1.0)):
            # the upper end is the negative of the lower end of the negative
            values = self._candidates(self.means, sign, low, high)
            found[side] = sign * values.max()
            if self.draws is None:
                continue
            spread = self._candidates(self.draws, sign, low, high)
            if len(values) == 1:
                drawn.append(sign * spread[:, 0])
                continue
            shifted = sign * corrected_maximum(values, spread, float(self.totals.sum()))
            found[side] = np.median(shifted)
            drawn.append(shifted)
        return found, np.stack(drawn, axis=1) if drawn else None

    def one_term(self, term: int) -> "StratumMeans":
        """The same for one term alone."""
        count = len(self.weights)
        columns = [term, count + term] * 2
        draws = None if self.draws is None else self.draws[..., columns]
        means = self.means[:, columns]
        return StratumMeans(np.ones(1), means, draws, self.totals, self.pooled)

    def _candidates(self, values: Array, sign: float, low: Mask, high: Mask) -> Array:
        """All lower ends of the query, or of its negative; strata and columns come last."""
        count = len(self.weights)
        both = np.flatnonzero(low & high)
        same = values[..., both, 2 * count] if sign > 0 else -values[..., both, 2 * count + 1]
        sets = [low if sign * weight > 0 else high for weight in self.weights]
        if np.prod([each.sum() for each in sets]) > _MOST_PAIRS:
            return same
        total: Array | None = None
        for term, (weight, allowed) in enumerate(zip(sign * self.weights, sets, strict=True)):
            column = term if weight > 0 else count + term
            part = weight * values[..., allowed, column]
            if total is None:
                total = part
            else:
                joint = total[..., :, None] + part[..., None, :]
                total = joint.reshape(*joint.shape[:-2], -1)
        assert total is not None, "a query has a term"
        return np.concatenate([total, same], axis=-1)


def strata_of(rows: Rows, names: Sequence[str]) -> NDArray[np.int64]:
    """Number the combinations of values of some variables that occur, in order."""
    columns = np.stack([rows.values[name] for name in names] or [np.zeros(len(rows.weights))], 1)
    return np.unique(columns, axis=0, return_inverse=True)[1].reshape(-1)


def _open(box: Array, count: int) -> Array:
    """The ends of a stratum without rows: the whole range."""
    found = box[:, 0].copy()
    found[count : 2 * count] = box[count : 2 * count, 1]
    found[-1] = box[-1, 1]
    return found
