"""Which of many Beta variables is largest, with few of them drawn."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from scipy.special import betaln

from causalppl.agents.agent import Array, Integers

__all__ = ["BetaCells"]


class BetaCells:
    """Beta beliefs about the chance of success of each arm, in many runs at once.

    Args:
        shape: ``(runs, views, arms)``; a view is what was seen before acting.
        prior: Parameters of the Beta law before any data.
        block: How many runs share a random stream.

    Attributes:
        successes: Successes and the prior's first parameter less one, in that shape.
        failures: Likewise, of failures.
        means: The chance of success to be expected.

    Example:
        >>> cells = BetaCells((1000, 1, 2), (1.0, 1.0), block=1000)
        >>> for success in (1.0, 1.0, 0.0):
        ...     cells.add(np.array([0]), np.array([1]), np.full(1000, success))
        >>> chosen = cells.best_of_draw([np.random.default_rng(0)], np.array([0]))
        >>> chosen.mean().round(1)  # P(Beta(3, 2) > Beta(1, 1)) = 3 / 5
        np.float64(0.6)
    """

    def __init__(self, shape: tuple[int, int, int], prior: tuple[float, float], block: int) -> None:
        self.shape, self.block = shape, block
        self.successes, self.failures = (np.full(shape, part - 1.0) for part in prior)
        self.means = np.full(shape, prior[0] / sum(prior))
        self._log_norms = np.full(shape, betaln(*prior))
        self._is_concave = min(prior) >= 1
        self._runs = np.arange(shape[0])

    def add(self, view: Integers, arm: Integers, success: Array) -> None:
        """Add one success (1) or failure (0) to each run.

        Args:
            view: What was seen, shape ``(runs,)`` or ``(1,)``.
            arm: What was done, shape ``(runs,)`` or ``(1,)``.
            success: What came of it, shape ``(runs,)``.
        """
        cell = self._cell(view, arm)
        ones, zeros = self.successes.reshape(-1), self.failures.reshape(-1)
        old, total = ones[cell] + 1.0, zeros[cell]
        total += old + 1.0
        # B(a + 1, b) = B(a, b) a / (a + b), and likewise for b
        self._log_norms.reshape(-1)[cell] += np.log(np.where(success, old, total - old) / total)
        self.means.reshape(-1)[cell] = (old + success) / (total + 1.0)
        ones[cell] = old + (success - 1.0)
        zeros[cell] = total - old - success

    def add_counts(self, successes: Array, failures: Array) -> None:
        """Add many at once, in the shape of the cells."""
        self.successes += successes
        self.failures += failures
        a, b = self.successes + 1, self.failures + 1
        self.means = a / (a + b)
        self._log_norms = betaln(a, b)

    def best_of_draw(
        self, rngs: list[np.random.Generator], view: Integers, *, is_optimistic: bool = False
    ) -> Integers:
        """Draw a chance for each arm from its belief, and find the arm with the largest.

        The law of the answer is exactly that of drawing all arms. Only the arm with the largest
        mean, the leader, is always drawn. Whether another one exceeds that draw ``t`` is decided
        under a hat: a Beta density ``f`` with parameters of at least 1 is log-concave, so beyond
        its mode it lies under its exponential tangent at ``t``, whose area is
        ``H = f(t) / |f'(t) / f(t)|``. With probability ``1 - H`` the arm stays below; else a point
        is drawn from the hat and kept if it falls under the density. Arms that have their mode
        above ``t``, or ``H >= 1``, are drawn in full.

        Args:
            rngs: One stream for each block of runs.
            view: What is seen, shape ``(runs,)`` or ``(1,)``.
            is_optimistic: Whether an arm counts as no worse than its mean.

        Returns:
            The number of the arm in each run, shape ``(runs,)``.

        References:
            Devroye (1986), Non-uniform random variate generation, VII.2, for tangents as hats.
        """
        draws = _Streams(rngs, self.block, self.shape[0])
        ones, zeros, norms, means = map(
            self._seen_in(view), (self.successes, self.failures, self._log_norms, self.means)
        )
        lead = means.argmax(1)
        leader = self._runs * self.shape[2] + lead
        limit = draws.betas(self._runs, ones.reshape(-1)[leader], zeros.reshape(-1)[leader])
        if is_optimistic:
            np.maximum(limit, means.reshape(-1)[leader], out=limit)
        limit = np.minimum(np.maximum(limit, _LEAST), _MOST)
        column = limit[:, None]
        heights = np.exp(ones * np.log(column) + zeros * np.log1p(-column) - norms)
        slopes = zeros * (1 / (1 - column)) - ones * (1 / column)
        if not self._is_concave:
            slopes[(ones < 0) | (zeros < 0)] = -1.0
        areas = draws.uniforms(self.shape[2])
        areas *= slopes
        maybe = areas < heights
        maybe.reshape(-1)[leader] = False
        (cell,) = maybe.reshape(-1).nonzero()
        run, arm = np.divmod(cell, self.shape[2])
        parts = (table.reshape(-1)[cell] for table in (ones, zeros, heights, slopes, areas))
        value = _beyond(draws, run, limit[run], *parts)
        # of several assignments to one run the last is kept: the largest value
        (above,) = (value > limit[run]).nonzero()
        above = above[value[above].argsort()]
        lead[run[above]] = arm[above]
        return lead

    def state(self) -> dict[str, Array]:
        """Return what a continuation depends on."""
        return {name: getattr(self, name) for name in _STATE}

    def load(self, state: Mapping[str, Array]) -> None:
        """Go on from a state."""
        self.__dict__.update({name: state[name] for name in _STATE})

    def _cell(self, view: Integers, arm: Integers) -> Integers:
        _, views, arms = self.shape
        return (self._runs * views + view) * arms + arm

    def _seen_in(self, view: Integers) -> Callable[[Array], Array]:
        if self.shape[1] == 1:
            return lambda table: table[:, 0]
        return lambda table: table[self._runs, view]


_STATE = ("successes", "failures", "means", "_log_norms")
_LEAST, _MOST = 1e-300, 1.0 - 2.0**-53


def _beyond(
    draws: "_Streams",
    run: Integers,
    limit: Array,
    ones: Array,
    zeros: Array,
    height: Array,
    slope: Array,
    area: Array,
) -> Array:
    """Draw arms that may exceed the limit of their run.

    Args:
        draws: Streams.
        run: The run of each arm, increasing.
        limit: The limit of each.
        ones: Parameters of their Beta laws, less one.
        zeros: Likewise.
        height: Their densities at the limit.
        slope: How steeply the logarithms of their densities fall there.
        area: Uniform between 0 and the smaller of slope and height.

    Returns:
        Their values, 0 for one below the limit.
    """
    value = np.zeros(len(run))
    is_whole = slope <= height
    (whole,), (hat,) = is_whole.nonzero(), (~is_whole).nonzero()
    value[whole] = draws.betas(run[whole], ones[whole], zeros[whole])
    limit, slope = limit[hat], slope[hat]
    step = draws.exponentials(run[hat])
    point = np.minimum(limit + step / slope, _MOST)
    fall = ones[hat] * np.log(point / limit) + zeros[hat] * np.log((1 - point) / (1 - limit))
    # under the tangent the area is uniform, so that it decides about the density as well
    is_under = area[hat] < height[hat] * np.exp(fall + step)
    value[hat] = np.where(is_under, point, 0.0)
    return value


class _Streams:
    """Draws for runs, each block of which has its own stream."""

    def __init__(self, rngs: list[np.random.Generator], block: int, runs: int) -> None:
        self._rngs, self._runs = rngs, runs
        self._ends = np.arange(0, len(rngs) + 1) * block

    def betas(self, run: Integers, ones: Array, zeros: Array) -> Array:
        """Draw Beta variables, whose parameters are given less one."""
        found = np.empty(len(run))
        for rng, own in self._blocks(run):
            found[own] = rng.beta(ones[own] + 1, zeros[own] + 1)
        return found

    def exponentials(self, run: Integers) -> Array:
        """Draw one standard exponential number for each entry of ``run``."""
        found = np.empty(len(run))
        for rng, own in self._blocks(run):
            rng.standard_exponential(out=found[own])
        return found

    def uniforms(self, width: int) -> Array:
        """Draw uniform numbers, shape ``(runs, width)``."""
        found = np.empty((self._runs, width))
        for rng, low, high in zip(self._rngs, self._ends[:-1], self._ends[1:], strict=True):
            rng.random(out=found[low:high])
        return found

    def _blocks(self, run: Integers) -> Iterator[tuple[np.random.Generator, slice]]:
        """Each stream, and which entries of ``run``, which is increasing, belong to it."""
        ends = run.searchsorted(self._ends).tolist()
        for rng, low, high in zip(self._rngs, ends[:-1], ends[1:], strict=True):
            if low < high:
                yield rng, slice(low, high)
