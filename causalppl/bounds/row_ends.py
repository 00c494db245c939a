"""Ends of a mean whose rows are known to lie in intervals, with their sampling error."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["RowEnds", "resampled_means"]

Array: TypeAlias = NDArray[np.float64]
_MOST_CELLS = 4_000_000  # draws times different rows; beyond it the normal limit is taken
_GLANCE = 10_000  # rows that are looked at to tell a measurement
_MOST_STEPS = 100


@dataclass(frozen=True, eq=False)
class RowEnds:
    """A mean over the units that meet a condition, of what is known of each unit in part.

    Attributes:
        low: The least value of each row.
        high: The greatest.
        is_given: Whether the row meets the condition.
        may_be: Whether it may meet it, which is more where the condition is of another world.
        weights: How often each row counts.
        span: The least and the greatest value that any row could have.

    Example:
        >>> seen = np.array([True, True, False])
        >>> ends = RowEnds(np.array([0, 1, 0.0]), np.array([0, 1, 1.0]), seen | True, seen | True,
        ...     np.ones(3), (0.0, 1.0))
        >>> [round(end, 3) for end in ends.ends()]
        [0.333, 0.667]
    """

    low: Array
    high: Array
    is_given: NDArray[np.bool_]
    may_be: NDArray[np.bool_]
    weights: Array
    span: tuple[float, float]

    def ends(self) -> tuple[float, float]:
        """The least and the greatest mean; the whole span where no row meets the condition."""
        if not (self.weights * self.may_be).any():
            return self.span
        sure = self.weights * self.is_given
        maybe = self.weights * (self.may_be & ~self.is_given)
        low = _least_ratio(self.low, sure[None], maybe[None])[0]
        high = -_least_ratio(-self.high, sure[None], maybe[None])[0]
        return float(low), float(high)

    def draws(self, num_draws: int, rng: np.random.Generator) -> Array:
        """Draw the ends by rows weighed at random, shape ``(draws, 2)``.

        Beside the rows stands one more, at the worst value, so that the quantiles of the draws
        are confidence limits in small samples too: for a share they are those of Clopper and
        Pearson.

        References:
            Rubin (1981), The Bayesian bootstrap; Gaffke (2005), Three test statistics for a
            nonparametric one-sided hypothesis on the mean of a nonnegative variable.
        """
        low = self._worst_draws(self.low, self.span[0], num_draws, rng)
        high = -self._worst_draws(-self.high, -self.span[1], num_draws, rng)
        return np.stack([low, high], axis=1)

    def _worst_draws(
        self, values: Array, worst: float, num_draws: int, rng: np.random.Generator
    ) -> Array:
        used = self.may_be & (self.weights > 0)
        is_sure = self.is_given[used]
        if (
            is_sure.all()
            and len(is_sure) * num_draws > _MOST_CELLS
            and _mostly_differ(values[used])
        ):
            none = np.zeros((0, 1))
            return resampled_means(values[used, None], self.weights[used], none, num_draws, rng)[
                :, 0
            ]
        kinds, counts = _grouped(
            np.stack([values[used], is_sure.astype(float)], 1), self.weights[used]
        )
        counts = np.append(counts, 1.0)
        kinds = np.concatenate([kinds, [[worst, 1.0]]])
        drawn = rng.standard_gamma(np.broadcast_to(counts, (num_draws, len(counts))))
        sure = drawn * kinds[:, 1]
        return _least_ratio(kinds[:, 0], sure, drawn - sure)


def resampled_means(
    values: Array, counts: Array, extra: Array, num_draws: int, rng: np.random.Generator
) -> Array:
    """Draw means of several columns under rows weighed at random.

    Args:
        values: Rows, shape ``(rows, columns)``.
        counts: How often each row counts.
        extra: Rows that are added, each counting one half.
        num_draws: How many draws.
        rng: Where they come from.

    Returns:
        Shape ``(draws, columns)``.

    Example:
        >>> drawn = resampled_means(np.array([[0.0], [1.0]]), np.array([50.0, 50.0]),
        ...     np.zeros((0, 1)), 1000, np.random.default_rng(0))
        >>> round(float(drawn.mean()), 2), round(float(drawn.std()), 2)
        (0.5, 0.05)
    """
    is_large = len(values) * num_draws > _MOST_CELLS
    if is_large and _mostly_differ(values[:, -1]):
        return _normal_means(values, counts, num_draws, rng)
    kinds, counts = _grouped(values, counts)
    if len(kinds) * num_draws > _MOST_CELLS:
        return _normal_means(kinds, counts, num_draws, rng)
    kinds = np.concatenate([kinds, extra])
    counts = np.concatenate([counts, np.full(len(extra), 0.5)])
    drawn = rng.standard_gamma(np.broadcast_to(counts, (num_draws, len(counts))))
    return drawn @ kinds / drawn.sum(1, keepdims=True)


def _normal_means(values: Array, counts: Array, num_draws: int, rng: np.random.Generator) -> Array:
    """The same by the normal limit, which so many rows have reached."""
    total = counts.sum()
    centre = counts @ values / total
    away = values - centre
    spread = (away * counts[:, None]).T @ away / total**2
    return rng.multivariate_normal(centre, spread, num_draws, method="eigh")


def _grouped(values: Array, counts: Array) -> tuple[Array, Array]:
    """Rows that differ, and how often each counts; sorted, the first column last."""
    if not len(values):
        return values, counts
    order = np.lexsort(values.T)
    ordered = values[order]
    is_new = np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1))
    starts = np.flatnonzero(is_new)
    return ordered[starts], np.add.reduceat(counts[order], starts)


def _mostly_differ(values: Array) -> bool:
    """Whether a column is a measurement, by a glance at rows throughout."""
    glance = values[:: max(len(values) // _GLANCE, 1)]
    return len(np.unique(glance)) > 0.1 * len(glance)


def _least_ratio(values: Array, sure: Array, maybe: Array) -> Array:
    """The least mean where some rows may be left out; draws lead the weights.

    Newton's method for ratios (Dinkelbach 1967): it decreases, and ends after finitely many steps.
    """
    total = sure + maybe
    ratio = (total @ values) / total.sum(-1)
    if not maybe.any():
        return ratio
    for _ in range(_MOST_STEPS):
        chosen = sure + maybe * (values <= ratio[:, None])
        better = (chosen @ values) / chosen.sum(-1)
        if (better >= ratio - 1e-15 * (1 + abs(ratio))).all():
            break
        ratio = np.minimum(ratio, better)
    return ratio
