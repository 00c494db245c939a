"""Bounds where the laws of several districts, or of parts of one, are multiplied.

Branch and bound over the laws of response types, see `BilinearProgram`. Feasible points come from
alternating linear programs: with all laws but one held, the query is linear in that one.

References:
    Duarte, Finkelstein, Knox, Mummolo and Shpitser (2023), An automated approach to causal
    inference in discrete settings.
    Dinkelbach (1967), On nonlinear fractional programming.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import block_diag, csr_array, vstack

from causalppl.bounds.bilinear_program import BilinearProgram, Found
from causalppl.bounds.linear_solver import solve_linear
from causalppl.bounds.objective import Objective
from causalppl.bounds.polynomial_blocks import Block, Layout, held_rows, make_block
from causalppl.bounds.resolved_moments import FineTypes

__all__ = ["PolynomialProgram"]

Array: TypeAlias = NDArray[np.float64]
District: TypeAlias = frozenset[str]

_SWEEPS = 6
_SOLVED = 1e-7  # an end known to this precision counts as solved for
_LEAST = 1e-9  # a probability of the given part that is no longer told from zero


@dataclass(frozen=True, eq=False)
class PolynomialProgram:
    """A ratio of two polynomials in the laws of response types.

    Attributes:
        over: The numerator.
        under: The given part.
        blocks: District to its types.
    """

    over: Objective
    under: Objective
    blocks: Mapping[District, Block]

    @classmethod
    def of(
        cls, over: Objective, under: Objective, fine: Mapping[District, FineTypes]
    ) -> "PolynomialProgram":
        """Collect the types that matter of every district that is left."""
        blocks: dict[District, Block] = {}
        first = 0
        for district in fine:
            if district in over.districts or district in under.districts:
                forms = [*over.forms(district), *under.forms(district)]
                block = make_block(fine[district], forms, first)
                blocks[district], first = block, block.at.stop
        return cls(over, under, blocks)

    def ends(
        self, batch: int, span: tuple[float, float], *, time_limit: float, gap: float
    ) -> tuple[Array, Array, bool, float] | None:
        """Bound the ratio.

        Args:
            batch: How many laws there are. The ends of all but the first follow those of the
                first by alternating programs.
            span: Between which numbers it lies in any case.
            time_limit: Seconds for each end of the first law.
            gap: The precision at which a search stops.

        Returns:
            Lower and upper ends, shape ``(batch,)``; whether they are sharp; how far they may lie
            outside the sharp ones. None if no laws agree with the sources.
        """
        search = _Search(self, 0, time_limit)
        found = [
            self._smallest(search, sign, least, gap)
            for sign, least in ((1.0, span[0]), (-1.0, -span[1]))
        ]
        if any(np.isposinf(end.bound) for end in found):
            return None
        ends = [found[0].bound, -found[1].bound]
        low, high = np.clip(ends, *span).tolist()
        off = (found[0].value - low, found[1].value + high)
        slack = max(0.0, *(min(high - low, distance) for distance in off))
        lower, upper = np.full(batch, low), np.full(batch, high)
        for number in range(1, batch):
            nearby = _Search(self, number, time_limit)
            moves = [
                nearby.follow(self, sign, end) for sign, end in zip((1, -1), found, strict=True)
            ]
            lower[number] = np.clip(low + moves[0], *span)
            upper[number] = np.clip(high - moves[1], *span)
        slack = slack if slack > _SOLVED else 0.0
        return lower, upper, not slack, slack

    @cached_property
    def layout(self) -> Layout:
        """The factors and products, the same under all laws."""
        products = [product for o in (self.over, self.under) for _, product in o.products]
        return Layout(self.blocks, products)

    def _smallest(self, search: "_Search", sign: float, least: float, gap: float) -> Found:
        search.start()
        over, constant = search.objective(self.over)
        over, constant = sign * over, sign * constant
        if self.under.is_constant:
            total = float(self.under.constant[search.number])
            found = search.minimise(over, gap * total)
            return found._replace(
                bound=(found.bound + constant) / total, value=(found.value + constant) / total
            )
        under, rest = search.objective(self.under)
        lowest = search.minimise(under, 1e-6, max_nodes=200).bound + rest
        if lowest <= _LEAST:
            return Found(least, np.inf, None, 0)
        if np.isposinf(lowest):
            return Found(np.inf, np.inf, None, 0)
        return search.smallest_ratio(over, constant, under, rest, lowest, gap, least)


class _Search:
    """Searches under one law."""

    def __init__(self, polynomial: PolynomialProgram, number: int, time_limit: float) -> None:
        self.number = number
        self._polynomial = polynomial
        self._blocks = list(polynomial.blocks.values())
        self._time_limit = time_limit
        self._deadline = np.inf

    def start(self) -> None:
        """Start the clock for one end."""
        self._deadline = time.monotonic() + self._time_limit

    @cached_property
    def _box(self) -> tuple[Array, Array] | None:
        return self.program.find_box(self._time_limit / 2)

    @cached_property
    def program(self) -> BilinearProgram:
        """The program of this law."""
        rows, rhs = zip(*(block.equations(self.number) for block in self._blocks), strict=True)
        return BilinearProgram(
            csr_array(block_diag(rows, format="csr")),
            np.concatenate(rhs),
            *self._polynomial.layout.arrays,
        )

    def objective(self, objective: Objective) -> tuple[Array, float]:
        """Write an objective over all variables of the program, and its constant."""
        points, factors, products = self.program.sizes
        cost = np.zeros(points + factors + products)
        polynomial = self._polynomial
        for district in objective.linear:
            block = polynomial.blocks[district]
            cost[block.at] += objective.cost(district, self.number)[block.kept]
        for weight, product in objective.products:
            for factor, cells in product.terms:
                cost[points + self._polynomial.layout.number(product, cells)] += weight * factor
        return cost, float(objective.constant[self.number])

    def minimise(self, cost: Array, gap: float, max_nodes: int = 100_000) -> Found:
        """Minimise one objective."""
        if self._box is None:
            return Found(np.inf, np.inf, None, 0)
        return self.program.minimise(
            cost,
            self._box,
            self._improve,
            time_limit=max(self._deadline - time.monotonic(), 0.0),
            gap=gap,
            max_nodes=max_nodes,
        )

    def smallest_ratio(
        self,
        over: Array,
        constant: float,
        under: Array,
        rest: float,
        lowest: float,
        gap: float,
        least: float,
    ) -> Found:
        """Minimise a ratio: lower a guess until no point has a smaller one."""
        values = self.program.values
        start = np.zeros(self.program.sizes[0])
        point = self._improve(over, start)
        if point is None:
            point = self._improve(under, start)

        def ratio(point: Array) -> float:
            full = values(point)
            return float((over @ full + constant) / (under @ full + rest))

        guess = np.inf if point is None else ratio(point)
        trial = guess if np.isfinite(guess) else least + 1.0
        for _ in range(20):
            found = self.minimise(over - trial * under, gap * lowest)
            shift = constant - trial * rest
            if found.point is None or found.value + shift > -1e-9:
                break
            point = found.point
            trial = guess = ratio(point)
        bound = trial + min(found.bound + shift, 0.0) / lowest
        return Found(bound, guess, point, found.nodes)

    def follow(self, polynomial: PolynomialProgram, sign: float, end: Found) -> float:
        """Return by how much an end moves under this law, searched from the point of the end."""
        if end.point is None:
            return 0.0
        over, constant = self.objective(polynomial.over)
        under, rest = self.objective(polynomial.under)
        ratio = sign * end.value
        cost = sign * (over - ratio * under)
        point = self._improve(cost, end.point, sweeps=1)
        if point is None:
            return 0.0
        full = self.program.values(point)
        return float(sign * (over @ full + constant) / (under @ full + rest) - end.value)

    def _improve(self, cost: Array, point: Array, sweeps: int = _SWEEPS) -> Array | None:
        """Lower the cost by one law at a time; None if no feasible point was met."""
        point = point.copy()
        best = np.inf
        for _ in range(sweeps):
            for block in self._blocks:
                slope = self._slope(cost, point)[block.at]
                law = self._law(block, slope, point[block.at], sweeps > 1)
                if law is None:
                    return None
                point[block.at] = law
            value = float(cost @ self.program.values(point))
            if value > best - 1e-10:
                break
            best = value
        return point

    def _slope(self, cost: Array, point: Array) -> Array:
        points, factors, _ = self.program.sizes
        values = self.program.values(point)[points:]
        slope = cost[points:].copy()
        for k in reversed(range(len(self.program.pairs))):
            first, second = self.program.pairs[k]
            slope[first] += slope[factors + k] * values[second]
            slope[second] += slope[factors + k] * values[first]
        return np.asarray(cost[:points] + self.program.factors.T @ slope[:factors])

    def _law(self, block: Block, cost: Array, start: Array, is_thorough: bool) -> Array | None:
        """Minimise a cost over one law, its independences made linear by holding one part."""
        rows, rhs = block.equations(self.number)
        if not block.parts:
            solved = solve_linear(cost, rows, rhs)
            return None if solved is None else np.clip(solved.x, 0, None)
        for side in (0, 1, 0, 1) if is_thorough else (0, 1):
            held = [held_rows(part, side, start) for part in block.parts]
            more = vstack([rows, *(matrix for matrix, _ in held)])
            right = np.concatenate([rhs, *(values for _, values in held)])
            solved = solve_linear(cost, more, right)
            if solved is None and side:
                return None
            if solved is not None:
                start = np.clip(solved.x, 0, None)
        return start
