"""Global minimisation of a linear function under linear rows and products, by branch and bound.

Each product ``w = a b`` of two bounded quantities is relaxed to its convex and concave envelopes;
a node of the search holds a box for the factors, a linear program gives a bound for the node, and
the box is cut where a product is worst. The smallest bound of the open nodes is valid at any time.

References:
    McCormick (1976), Computability of global solutions to factorable nonconvex programs.
    Duarte, Finkelstein, Knox, Mummolo and Shpitser (2023), An automated approach to causal
    inference in discrete settings, section 5.
"""

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, eye_array, hstack, vstack

from causalppl.bounds.linear_solver import solve_linear

__all__ = ["BilinearProgram", "Found"]

Array: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

_POINT = 1e-8  # a box this narrow is not cut
_ROOM = 1e-9  # by which boxes are widened, lest rounding make one of width zero infeasible


class Found(NamedTuple):
    """What a search found.

    Attributes:
        bound: A valid lower bound; infinite if there is no feasible point.
        value: The value of the best feasible point; infinite if none was met.
        point: That point, or None.
        nodes: How many linear programs were solved.
    """

    bound: float
    value: float
    point: Array | None
    nodes: int


@dataclass(frozen=True, eq=False)
class BilinearProgram:
    """Points ``x >= 0`` with ``rows @ x = rhs``, quantities that are linear in them, and products.

    The variables are ``x``, then one for each factor, then one for each product.

    Attributes:
        rows: Shape ``(rows, x)``.
        rhs: Shape ``(rows,)``.
        factors: Quantities that occur in products, shape ``(factors, x)``.
        pairs: The two factors of each product, shape ``(products, 2)``; a number from the count of
            factors on is an earlier product.
        ties: Products that are linear in ``x`` as well: their numbers, and shape ``(ties, x)``.
    """

    rows: csr_array
    rhs: Array
    factors: csr_array
    pairs: Ints
    ties: tuple[Ints, csr_array]

    @property
    def sizes(self) -> tuple[int, int, int]:
        """How many of ``x``, factors and products there are."""
        return self.rows.shape[1], self.factors.shape[0], len(self.pairs)

    @cached_property
    def _equalities(self) -> tuple[Any, Array]:
        _, factors, products = self.sizes
        number, tied = self.ties
        chosen = csr_array(
            (np.ones(len(number)), (np.arange(len(number)), number)),
            shape=(len(number), products),
        )
        blocks = [
            hstack([self.rows, csr_array((len(self.rhs), factors + products))]),
            hstack([self.factors, -eye_array(factors), csr_array((factors, products))]),
            hstack([tied, csr_array((len(number), factors)), -chosen]),
        ]
        right = np.concatenate([self.rhs, np.zeros(factors + len(number))])
        return vstack(blocks, format="csr"), right

    def find_box(self, seconds: float) -> tuple[Array, Array] | None:
        """Find the smallest and the largest value of each factor under the rows.

        Args:
            seconds: When they are over, ends that every law has are good enough.

        Returns:
            Both ends, or None if no point meets the rows.
        """
        started = time.monotonic()
        dense = self.factors.toarray()
        if solve_linear(np.zeros(self.sizes[0]), self.rows, self.rhs) is None:
            return None
        low, high = self._plain_box(dense)
        for place, factor in enumerate(dense):
            if time.monotonic() - started > seconds:
                break
            ends = [solve_linear(sign * factor, self.rows, self.rhs) for sign in (1, -1)]
            if ends[0] is not None and ends[1] is not None:
                low[place] = max(low[place], float(ends[0].fun) - ends[0].tolerance)
                widest = ends[1].tolerance - float(ends[1].fun)
                high[place] = max(min(high[place], widest), low[place])
        return low, high

    def _plain_box(self, dense: Array) -> tuple[Array, Array]:
        # the laws of the blocks sum to 1, and a factor is of one block
        return dense.min(1, initial=0.0), dense.max(1, initial=0.0)

    def values(self, points: Array) -> Array:
        """Return all variables at ``x``, every product being true."""
        found = [*(self.factors @ points)]
        for first, second in self.pairs:
            found.append(found[first] * found[second])
        return np.concatenate([points, found])

    def minimise(
        self,
        cost: Array,
        box: tuple[Array, Array],
        improve: Callable[[Array, Array], Array | None],
        *,
        time_limit: float,
        gap: float,
        max_nodes: int = 100_000,
    ) -> Found:
        """Search for the smallest cost.

        Args:
            cost: One number for each variable.
            box: Between which values the factors are searched, see `find_box`.
            improve: From a cost and a point of a relaxation to a feasible point, if there is one.
            time_limit: Seconds.
            gap: Stop when bound and value differ by no more.
            max_nodes: Stop after so many linear programs.
        """
        started, best, point, nodes = time.monotonic(), np.inf, None, 1
        root = self._relax(cost, *box)
        if root is None:
            return Found(np.inf, np.inf, None, 1)
        waiting: list[tuple[float, int, Array, Array, Array]] = [(root[0], 0, *box, root[1])]
        lost = np.inf  # bounds of nodes that cannot be cut further
        while waiting:
            bound, _, low, high, solved = waiting[0]
            if nodes < 64 or nodes % 16 == 0:
                better = improve(cost, solved[: self.sizes[0]])
                if better is not None and (value := float(cost @ self.values(better))) < best:
                    best, point = value, better
            stop = time.monotonic() - started > time_limit or nodes >= max_nodes
            if bound >= best - gap or stop:
                break
            heapq.heappop(waiting)
            place, cut = self._branch(cost, low, high, solved)
            if place < 0:
                lost = min(lost, bound)
                continue
            for side in (0, 1):
                child = (low.copy(), high.copy())
                child[1 - side][place] = cut
                nodes += 1
                relaxed = self._relax(cost, *child)
                if relaxed is not None and relaxed[0] < best - gap:
                    heapq.heappush(waiting, (max(relaxed[0], bound), nodes, *child, relaxed[1]))
                elif relaxed is not None:
                    lost = min(lost, max(relaxed[0], bound))
        left = waiting[0][0] if waiting else np.inf
        return Found(min(left, lost, best), best, point, nodes)

    def _relax(self, cost: Array, low: Array, high: Array) -> tuple[float, Array] | None:
        points = self.sizes[0]
        low, high = self._product_box(low, high)
        matrix, right = self._envelopes(low, high)
        span = np.stack([low, high], 1)
        bounds = np.concatenate([np.tile([0.0, np.inf], (points, 1)), span])
        rows, rhs = self._equalities
        solved = solve_linear(cost, rows, rhs, matrix, right, bounds, is_confirmed=True)
        return None if solved is None else (float(solved.fun) - 10 * solved.tolerance, solved.x)

    def _product_box(self, low: Array, high: Array) -> tuple[Array, Array]:
        lows, highs = list(low), list(high)
        for first, second in self.pairs:
            others = (lows[second], highs[second])
            ends = [a * b for a in (lows[first], highs[first]) for b in others]
            lows.append(min(ends))
            highs.append(max(ends))
        # room for rounding, lest a box of width zero be infeasible
        return np.array(lows) - _ROOM, np.array(highs) + _ROOM

    def _envelopes(self, low: Array, high: Array) -> tuple[csr_array, Array]:
        points, factors, products = self.sizes
        a, b = self.pairs.T
        own = np.arange(products)
        blocks, right = [], []
        for at_a, at_b, sign in ((low, low, 1), (high, high, 1), (high, low, -1), (low, high, -1)):
            # sign * (w - at_a[a] b - at_b[b] a + at_a[a] at_b[b]) >= 0
            data = np.concatenate([-sign * np.ones(products), sign * at_a[a], sign * at_b[b]])
            columns = points + np.concatenate([factors + own, b, a])
            shape = (products, points + factors + products)
            blocks.append(csr_array((data, (np.tile(own, 3), columns)), shape=shape))
            right.append(sign * at_a[a] * at_b[b])
        return vstack(blocks, format="csr"), np.concatenate(right)

    def _branch(self, cost: Array, low: Array, high: Array, solved: Array) -> tuple[int, float]:
        """Choose the factor to cut, and where; -1 where no box is left to cut."""
        points, factors, products = self.sizes
        if not factors:
            return -1, 0.0
        values = solved[points:]
        true = self.values(solved[:points])[points:]
        a, b = self.pairs.T
        error = np.abs(values[factors:] - values[a] * values[b])
        weight = np.abs(cost[points + factors :]) + np.isin(np.arange(products), self.ties[0])
        error = error * weight + 1e-3 * np.abs(values[factors:] - true[factors:])
        width = high - low
        score = np.zeros(factors)
        for k, (first, second) in enumerate(self.pairs):
            for place in (first, second):
                if place < factors:
                    score[place] += error[k] * width[place]
        score[width < _POINT] = 0.0
        place = int(np.argmax(score))
        if score[place] <= 0:
            place = int(np.argmax(width))
            if width[place] < _POINT:
                return -1, 0.0
        middle = 0.5 * (low[place] + high[place])
        near = np.clip(values[place], middle - 0.3 * width[place], middle + 0.3 * width[place])
        return place, float(0.5 * (near + middle))
