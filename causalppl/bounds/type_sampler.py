"""Draws from the posterior of a law over response types."""

from itertools import combinations
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw_laws", "split_rhat"]

Array: TypeAlias = NDArray[np.float64]
_TINY = 1e-300
_MOST_PAIRED = 400  # groups of which pairs are compared
_MOST_SHRINKS = 100  # of an interval for a slice; it halves or so each time
_MOST_ALIKE = 30  # pairs that show the same, of which swaps are made


def draw_laws(
    cells: Array,
    counts: Array,
    concentration: float,
    *,
    num_chains: int,
    draws_per_chain: int,
    warmup: int,
    rng: np.random.Generator,
) -> Array:
    """Draw laws of types given how often values were seen.

    Types that show the same values in all contexts form a group, within which the posterior is the
    prior. In a single context the groups have a Dirichlet posterior, drawn directly. Else each step
    of a chain moves the law of groups (i) by allotting the counts to groups and drawing the law
    given them, (ii) by shifting mass between two groups that differ in one context, drawn by the
    posterior on that line (slice sampling), which moves what data say, and (iii) along lines on
    which the law of what is seen stays the same, by the prior, which moves what data do not say:
    most of these raise two groups and lower two others that show as much. The steps are as long as
    the posterior is wide in their direction, so chains mix however many rows there are.

    Args:
        cells: Which types show which values, shape ``(contexts, values, types)``.
        counts: Shape ``(contexts, values)``, whole numbers.
        concentration: Dirichlet parameter of each type.
        num_chains: Chains that run side by side.
        draws_per_chain: Draws that are kept of each.
        warmup: Steps before.
        rng: Where they come from.

    Returns:
        Shape ``(num_chains, draws_per_chain, types)``.

    References:
        Tanner and Wong (1987), data augmentation; Neal (2003), Slice sampling; Smith (1984),
        hit-and-run.

    Example:
        >>> cells = np.array([[[1, 1, 0], [0, 0, 1.0]]])
        >>> found = draw_laws(cells, np.array([[30, 10]]), 1.0, num_chains=4, draws_per_chain=500,
        ...     warmup=0, rng=np.random.default_rng(0))
        >>> bool(np.abs(found[..., 2].mean() - 11 / 43) < 0.01)
        True
    """
    rows, group = np.unique(cells.reshape(-1, cells.shape[-1]), axis=1, return_inverse=True)
    group = group.reshape(-1)
    prior = np.asarray(concentration * np.bincount(group), dtype=np.float64)
    if len(cells) == 1:  # one row for each group
        seen = prior + rows.T @ counts[0]
        shape = (num_chains, draws_per_chain, len(prior))
        kept = _normalised(rng.standard_gamma(np.broadcast_to(seen, shape)))
    else:
        walk = _Walk(rows, counts.reshape(-1).astype(int), prior, rng)
        kept = walk.run(num_chains, draws_per_chain, warmup)
    parts = rng.standard_gamma(concentration, (num_chains, draws_per_chain, len(group))) + _TINY
    belongs = (group[:, None] == np.arange(len(prior))).astype(float)
    return np.asarray(kept[..., group] * parts / (parts @ belongs)[..., group])


class _Walk:
    """Chains over laws of groups.

    Args:
        rows: Which groups show which value in which context, shape ``(rows, groups)``.
        counts: How often each was seen.
        prior: Dirichlet parameter of each group.
        rng: Where draws come from.
    """

    def __init__(
        self, rows: Array, counts: NDArray[np.int64], prior: Array, rng: np.random.Generator
    ) -> None:
        self._rows, self._counts, self._prior, self._rng = rows, counts, prior, rng
        self._seen = [
            (np.flatnonzero(row), int(count))
            for row, count in zip(rows, counts, strict=True)
            if count
        ]
        _, singular, right = np.linalg.svd(rows)
        self._free = right[int((singular > 1e-9 * singular[0]).sum()) :]
        self._swaps, self._shifts = _find_swaps(rows), _find_shifts(rows)

    def run(self, num_chains: int, draws_per_chain: int, warmup: int) -> Array:
        """Draws of all chains, shape ``(chains, draws, groups)``."""
        law = self._rng.dirichlet(self._prior, num_chains) + _TINY
        kept = np.empty((num_chains, draws_per_chain, len(self._prior)))
        for step in range(-warmup, draws_per_chain):
            law = self._given_allotment(law)
            for _ in range(2 * len(self._rows) * bool(len(self._shifts))):
                law = self._shifted(law)
            if len(self._free):
                line = self._rng.normal(size=(num_chains, len(self._free))) @ self._free
                law = self._along(law, line)
            for _ in range(4 * len(self._free) * bool(len(self._swaps))):
                law = self._swapped(law)
            if step >= 0:
                kept[:, step] = law
        return kept

    def _shifted(self, law: Array) -> Array:
        """Shift mass between two groups that differ in one context, in each chain."""
        chain = np.arange(len(law))
        chosen = self._shifts[self._rng.integers(len(self._shifts), size=len(law))]
        groups, rows = chosen[:, :2], chosen[:, 2:]
        seen = np.einsum("cg,cwg->cw", law, self._rows[rows])
        here = law[chain[:, None], groups]
        counts, powers = self._counts[rows], self._prior[groups] - 1
        signs = np.array([1.0, -1.0])

        def log_density(step: Array) -> Array:
            moved = step[:, None] * signs
            found = counts * np.log(np.maximum(seen + moved, _TINY))
            return (found + powers * np.log(np.maximum(here + moved, _TINY))).sum(1)

        low, high = -here[:, 0], here[:, 1]
        floor = log_density(np.zeros(len(law))) + np.log(self._rng.random(len(law)))
        step, is_open = np.zeros(len(law)), np.ones(len(law), dtype=bool)
        for _ in range(_MOST_SHRINKS):
            tried = low + (high - low) * self._rng.random(len(law))
            is_in = is_open & (log_density(tried) >= floor)
            step[is_in] = tried[is_in]
            is_open &= ~is_in
            if not is_open.any():
                break
            low = np.where(is_open & (tried < 0), tried, low)
            high = np.where(is_open & (tried >= 0), tried, high)
        found = law.copy()
        found[chain[:, None], groups] = np.maximum(here + step[:, None] * signs, _TINY)
        return found

    def _given_allotment(self, law: Array) -> Array:
        allotted = np.tile(self._prior, (len(law), 1))
        for groups, count in self._seen:
            share = law[:, groups] / law[:, groups].sum(1, keepdims=True)
            allotted[:, groups] += self._rng.multinomial(count, share)
        return _normalised(self._rng.standard_gamma(allotted) + _TINY)

    def _swapped(self, law: Array) -> Array:
        """Move mass from two groups to two others, in each chain."""
        chain = np.arange(len(law))[:, None]
        places = self._swaps[self._rng.integers(len(self._swaps), size=len(law))]
        here = law[chain, places]
        low, high = -here[:, :2].min(1), here[:, 2:].min(1)
        step = low + (high - low) * self._rng.random(len(law))
        moved = np.maximum(here + step[:, None] * np.array([1, 1, -1, -1]), _TINY)
        found = law.copy()
        found[chain, places] = self._taken(here, moved, self._prior[places])
        return found

    def _along(self, law: Array, line: Array) -> Array:
        """Move each chain along a line."""
        line = np.where(np.abs(line) < 1e-12, 0.0, line)
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = -law / line
        low = np.where(line > 0, reach, -np.inf).max(1)
        high = np.where(line < 0, reach, np.inf).min(1)
        step = low + (high - low) * self._rng.random(len(law))
        moved = np.maximum(law + step[:, None] * line, _TINY)
        return self._taken(law, moved, self._prior)

    def _taken(self, old: Array, new: Array, prior: Array) -> Array:
        """Accept by the prior (Metropolis): proposals are uniform on their line."""
        gain = ((prior - 1) * (np.log(new) - np.log(old))).sum(1)
        is_taken = np.log(self._rng.random(len(old))) < gain
        return np.where(is_taken[:, None], new, old)


def _find_swaps(rows: Array) -> NDArray[np.int64]:
    """List pairs of groups that show together what two others show, shape ``(swaps, 4)``."""
    count = min(rows.shape[1], _MOST_PAIRED)
    pairs: dict[bytes, list[tuple[int, int]]] = {}
    columns = rows.T.astype(np.int8)
    for first, second in combinations(range(count), 2):
        pairs.setdefault((columns[first] + columns[second]).tobytes(), []).append((first, second))
    found = [(*a, *b) for each in pairs.values() for a, b in combinations(each[:_MOST_ALIKE], 2)]
    return np.array(found, dtype=np.int64).reshape(-1, 4)


def _find_shifts(rows: Array) -> NDArray[np.int64]:
    """List groups that differ in one context, each with the row that it alone shows there."""
    count = min(rows.shape[1], _MOST_PAIRED)
    found = []
    for first, second in combinations(range(count), 2):
        differs = np.flatnonzero(rows[:, first] != rows[:, second])
        if len(differs) == 2:
            mine, other = differs if rows[differs[0], first] else differs[::-1]
            found.append((first, second, mine, other))
    return np.array(found, dtype=np.int64).reshape(-1, 4)


def _normalised(values: Array) -> Array:
    return np.asarray(values / values.sum(-1, keepdims=True))


def split_rhat(draws: Array) -> float:
    """How much the chains disagree, 1 if not; draws have shape ``(chains, draws)``.

    References:
        Gelman et al. (2013), Bayesian data analysis, section 11.4.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> split_rhat(rng.normal(size=(4, 1000))) < 1.01
        True
    """
    half = draws.shape[1] // 2
    parts = np.concatenate([draws[:, :half], draws[:, half : 2 * half]])
    within = parts.var(axis=1, ddof=1).mean()
    if within <= 0:
        return 1.0
    between = half * parts.mean(axis=1).var(ddof=1)
    return float(np.sqrt(((half - 1) / half * within + between / half) / within))
