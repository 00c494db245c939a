"""Least squares on lines, curves and surfaces, each a part of the next; chosen by leave-one-out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple, TypeAlias, final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from causalppl.exceptions import DataError

__all__ = ["LEVELS", "Fit", "NestedCurves", "normal_scores"]

Array: TypeAlias = NDArray[np.float64]
LEVELS = "lines", "cubics", "splines", "fine splines", "products", "surfaces"
KNOTS = special.ndtri(np.array([0.2, 0.5, 0.8]))
FINE_KNOTS = special.ndtri(np.array([0.05, 0.125, 0.3, 0.4, 0.6, 0.7, 0.875, 0.95]))
SURFACE_KNOTS = special.ndtri(np.array([0.1, 0.3, 0.5, 0.7, 0.9]))
FAR = 5.0  # standard deviations: a column with larger values is bent to normal scores
MAX_FEATURES = 300
MOST_IN_TRIPLES = 6  # columns


class Fit(NamedTuple):
    """What is left of some targets at the level chosen for them.

    Attributes:
        residuals: Shape ``(rows, targets)``.
        leverage: The share of each row in its own fitted value, shape ``(rows,)``.
        used: How many features were fitted.
        level: Which of the nested families it was, as a place in ``LEVELS``.
    """

    residuals: Array
    leverage: Array
    used: int
    level: int


@final
@dataclass(frozen=True, eq=False)
class NestedCurves:
    """Families of functions of some columns, each a part of the next.

    Lines; cubics; cubic splines, coarse and fine; with products of pairs, and of triples of at
    most six columns; with splines of sums and differences of pairs. A family is left out if it
    would have more than a third as many features as there are rows. Columns with far values are
    bent to normal scores beyond lines.

    Attributes:
        basis: Orthonormal columns, shape ``(rows, features)``; each family is a leading part.
        ends: How many features each family has.
        levels: Which they are, as places in ``LEVELS``.

    Example:
        >>> z, noise = np.random.default_rng(0).normal(size=(2, 500))
        >>> curves = NestedCurves.on([z], np.ones((500, 1)))
        >>> [LEVELS[curves.fit((y + noise)[:, None]).level] for y in (z, z**2)]
        ['lines', 'cubics']
    """

    basis: Array
    ends: tuple[int, ...]
    levels: tuple[int, ...]

    @classmethod
    def on(cls, columns: Sequence[Array], groups: Array) -> "NestedCurves":
        """Make the families for some columns.

        Args:
            columns: Numbers, each of shape ``(rows,)`` and not constant.
            groups: Indicators of groups whose means differ, at least one column of ones, shape
                ``(rows, groups)``.

        Raises:
            DataError: There are not more rows than lines.
        """
        lines = np.stack([(c - c.mean()) / c.std() for c in columns], 1) if columns else None
        basis, ends, levels = np.empty((len(groups), 0)), [], []
        most = min(MAX_FEATURES, len(groups) // 3)
        for level, width, made in _families(lines, groups):
            if level == 0 and width > len(groups) - 2:
                raise DataError(f"{len(groups)} rows for {width} features; expected more rows")
            if level == 0 or basis.shape[1] + width <= most:
                basis = np.hstack([basis, _orthonormal(made(), basis)])
                ends.append(basis.shape[1])
                levels.append(level)
        return cls(basis, tuple(ends), tuple(levels))

    @property
    def nbytes(self) -> int:
        """Its size in memory."""
        return self.basis.nbytes

    def fit(self, targets: Array) -> Fit:
        """Regress targets on the family that predicts rows best from the other rows.

        Args:
            targets: Shape ``(rows, targets)``; one family is chosen for all.
        """
        scale = targets.var(0) + 1e-300
        residuals, leverage, start = targets, np.zeros(len(targets)), 0
        best, found = np.inf, None
        for end, level in zip(self.ends, self.levels, strict=True):
            part = self.basis[:, start:end]
            residuals = residuals - part @ (part.T @ residuals)
            leverage = leverage + np.einsum("ij,ij->i", part, part)
            free = np.maximum(1 - leverage, 1e-8)[:, None]
            score = float((np.square(residuals / free).mean(0) / scale).sum())
            if found is None or score < best:
                best, found = score, Fit(residuals, leverage, end, level)
            start = end
        assert found is not None
        return found


Family: TypeAlias = tuple[int, int, Callable[[], Array]]


def _families(lines: Array | None, groups: Array) -> Iterator[Family]:
    """Each level, how many features it adds, and how to make them."""
    if lines is None:
        yield 0, groups.shape[1], lambda: groups
        return
    yield 0, groups.shape[1] + lines.shape[1], lambda: np.hstack([groups, lines])
    bent = np.stack([c if np.abs(c).max() <= FAR else normal_scores(c) for c in lines.T], 1)
    inner = groups[:, 1:]  # the first group is told by the others
    size, pairs = lines.shape[1], list(combinations(range(lines.shape[1]), 2))
    triples = list(combinations(range(size), 3)) if size <= MOST_IN_TRIPLES else []
    count = size * (1 + inner.shape[1])
    square = bent * bent
    yield (
        1,
        2 * size + count,
        lambda: np.hstack([bent, square, square * bent, _times(inner, lines)]),
    )
    yield 2, len(KNOTS) * size, lambda: _hinges(bent, KNOTS)
    yield 3, len(FINE_KNOTS) * size, lambda: _hinges(bent, FINE_KNOTS)
    if pairs or inner.shape[1]:
        more = 2 * (count - size)
        yield (
            4,
            len(pairs) + len(triples) + more,
            lambda: np.hstack(
                [
                    _products(bent, pairs),
                    _products(bent, triples),
                    _times(inner, bent),
                    _times(inner, square),
                ]
            ),
        )
        yield (
            5,
            2 * (2 + len(SURFACE_KNOTS)) * len(pairs) + 2 * more,
            lambda: np.hstack([_ridges(bent, pairs), _times(inner, _hinges(bent, KNOTS))]),
        )


def normal_scores(values: Array) -> Array:
    """What a normal sample of this size would have at each rank; ties share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - counts / 2
    return np.asarray(special.ndtri(ranks[place] / len(values)))


def _hinges(columns: Array, knots: Array) -> Array:
    hinges = [np.maximum(columns - knot, 0) for knot in knots]
    return np.hstack([h * h * h for h in hinges])


def _times(groups: Array, columns: Array) -> Array:
    return np.hstack([np.empty((len(columns), 0)), *(g[:, None] * columns for g in groups.T)])


def _products(columns: Array, groups: Sequence[tuple[int, ...]]) -> Array:
    chosen = [columns[:, list(group)].prod(axis=1) for group in groups]
    return np.stack(chosen, 1) if chosen else np.empty((len(columns), 0))


def _ridges(columns: Array, pairs: Sequence[tuple[int, int]]) -> Array:
    """Splines of sums and differences: they span products of higher powers, and bent edges."""
    if not pairs:
        return np.empty((len(columns), 0))
    first, second = (columns[:, list(side)] for side in zip(*pairs, strict=True))
    both = np.hstack([first + second, first - second]) / np.sqrt(2)
    square = both * both
    return np.hstack([square * both, square * square, _hinges(both, SURFACE_KNOTS)])


def _orthonormal(features: Array, basis: Array) -> Array:
    """Orthonormal columns for what some features add to a basis; none for what they repeat."""
    size = np.sqrt((features * features).sum(0))
    features = features[:, size > 0] / size[size > 0]
    for _ in range(2):  # once leaves rounding errors
        features = features - basis @ (basis.T @ features)
    values, vectors = np.linalg.eigh(features.T @ features)
    kept = values > 1e-9
    features = features @ (vectors[:, kept] / np.sqrt(values[kept]))
    return np.asarray(features - basis @ (basis.T @ features))
