"""Linear programs over the law of response types.

The unknown is a law ``q`` over types; each row says that the types that fall into it have a known
probability. Programs with many types are solved by column generation: a few types are in the
program, all others are priced by its dual at once. The value that is returned is that of the dual,
moved so that it is feasible for every type: it is a valid bound whatever the solver's tolerances.

References:
    Balke and Pearl (1997), Bounds on treatment effects from studies with imperfect compliance.
    Charnes and Cooper (1962), Programming with linear fractional functionals.
    Neumaier and Shcherbina (2004), Safe bounds in linear and mixed-integer linear programming.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, eye_array, hstack

from causalppl.bounds.linear_solver import solve_linear
from causalppl.bounds.many_programs import Answers, ManyPrograms, complete_basis, tilted
from causalppl.bounds.response_functions import Codes

__all__ = ["ResponseProgram", "Solution"]

Array: TypeAlias = NDArray[np.float64]

_FEW = 2_500  # types that are put into one program without column generation
_ADDED = 400  # types that a round of column generation adds
_SMALL = 60_000  # entries of a program that is solved under many laws at once


@dataclass(frozen=True, eq=False)
class Solution:
    """The answer of a linear program.

    Attributes:
        value: The smallest value, by the dual.
        dual: One number for each row.
        law: Probability of each type, shape ``(types,)``.
    """

    value: float
    dual: Array
    law: Array


@dataclass(frozen=True, eq=False)
class ResponseProgram:
    """Types, the rows into which they fall, and linear programs about them.

    Attributes:
        cells: The rows of each type, shape ``(types, contexts)``; row 0 holds every type.
        num_rows: The number of rows.
    """

    cells: Codes
    num_rows: int

    def __len__(self) -> int:
        return len(self.cells)

    @cached_property
    def matrix(self) -> csr_array:
        """Which types fall into which row, shape ``(rows, types)``."""
        count, contexts = self.cells.shape
        place = (self.cells.reshape(-1), np.repeat(np.arange(count), contexts))
        ones = np.ones(len(place[0]))
        return csr_array((ones, place), shape=(self.num_rows, count))

    @cached_property
    def _gram(self) -> Array:
        return np.asarray((self.matrix @ self.matrix.T).toarray(), dtype=float)

    @cached_property
    def _spectrum(self) -> tuple[Array, Array, NDArray[np.bool_]]:
        values, vectors = np.linalg.eigh(self._gram)
        return values, vectors, values > 1e-9 * max(values[-1], 1.0)

    @cached_property
    def equalities(self) -> Array:
        """Combinations of rows that vanish under every law of types, shape ``(rows, equalities)``.

        They say that rows of one context sum to 1, and beyond that what the diagram implies.
        """
        _, vectors, is_seen = self._spectrum
        return np.asarray(vectors[:, ~is_seen])

    @cached_property
    def independent(self) -> Codes:
        """Rows that imply all others, row 0 among them, ascending."""
        from scipy.linalg import qr

        rank = int(self._spectrum[2].sum())
        gram = self._gram.copy()
        gram[:, 0] *= 1e3  # the first pivot is row 0
        _, _, pivots = qr(gram, mode="economic", pivoting=True)
        return np.sort(pivots[:rank])

    def consistent(self, right_sides: Array, weights: Array) -> Array:
        """Move probabilities to the nearest that meet all equalities.

        Args:
            right_sides: Shape ``(batch, rows)``.
            weights: How much each row is to be trusted; row 0 is kept as it is.
        """
        spread = right_sides[0].clip(1e-12) / weights
        spread[0] = 0.0
        null = self.equalities
        if not null.size:
            return right_sides
        inner = np.linalg.pinv(null.T @ (spread[:, None] * null), rcond=1e-12)
        return np.asarray(right_sides - (right_sides @ null) @ inner @ (null * spread[:, None]).T)

    def functional(self, costs: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Write costs of types as combinations of rows.

        Args:
            costs: Shape ``(types, costs)``.

        Returns:
            Weights of the rows, shape ``(rows, costs)``, and which of the costs they give.
        """
        values, vectors, is_seen = self._spectrum
        seen = vectors[:, is_seen]
        weights = seen @ ((seen.T @ (self.matrix @ costs)) / values[is_seen][:, None])
        gap = np.abs(self.matrix.T @ weights - costs).max(axis=0, initial=0.0)
        return weights, gap < 1e-8 * (1 + np.abs(costs).max(axis=0, initial=0.0))

    def minimise(
        self, cost: Array, rhs: Array, *, start: Codes | None = None, tolerance: float = 1e-9
    ) -> Solution | None:
        """Find the smallest expected cost; None if no law of types meets the rows.

        Args:
            cost: Shape ``(types,)``.
            rhs: Probability of each row, shape ``(rows,)``; meets the equalities.
            start: Types to begin with, such as those of a solution for a law nearby.
            tolerance: Types that could lower the value by less are not looked for; the value is
                that much lower at most, and stays a bound.
        """
        if start is not None and len(start) < len(self):
            found = self._generate(start, cost, rhs, tolerance)
            if found is not None:
                return found
        if len(self) <= _FEW:
            solved = self._solve(np.arange(len(self)), cost, rhs)
            return None if solved is None else self._safe(solved, cost, rhs)
        active = self._feasible_types(rhs)
        return None if active is None else self._generate(active, cost, rhs, tolerance)

    def minimise_many(self, costs: Array, right_sides: Array, fits: Array) -> Answers | None:
        """Find the smallest expected cost under many laws; None if the program is too large.

        Args:
            costs: Shape ``(batch, types)``, or ``(1, types)`` if they are the same.
            right_sides: Shape ``(batch, rows)``.
            fits: Those of a law that some types have, shape ``(rows,)``.
        """
        if not self.is_small:
            return None
        rows, matrix = self.independent, self._many.matrix
        start = tilted(costs[0])
        solved = solve_linear(start, matrix, fits[rows])
        if solved is None:
            return None
        basis = complete_basis(matrix, solved.x, start - solved.eqlin.marginals @ matrix)
        if basis is None:
            return None
        first = self._many.solve(fits[None, rows], start[None], basis, start)
        if not first.is_solved[0]:
            return None
        return self._many.solve(right_sides[:, rows], costs, first.basis[0], start)

    @property
    def is_small(self) -> bool:
        """Whether many laws are taken at once."""
        return len(self) * self.num_rows <= _SMALL

    @cached_property
    def _many(self) -> ManyPrograms:
        return ManyPrograms(self.matrix[self.independent].toarray())

    def nearest_many(self, right_sides: Array, weights: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Find the feasible probabilities nearest to many, see `nearest`, in a small program.

        Returns:
            Probabilities of the rows, shape ``(batch, rows)``; and for which ones they were found.
        """
        count, unit = len(self), np.eye(self.num_rows)
        slack = _slack(weights)
        cost = np.concatenate([np.zeros(count), slack, slack])
        programs = ManyPrograms(np.concatenate([self.matrix.toarray(), unit, -unit], 1))
        basis = np.arange(count + self.num_rows, count + 2 * self.num_rows)
        found = programs.solve(right_sides, cost[None], basis)
        law = np.zeros((len(right_sides), len(cost)))
        np.put_along_axis(law, found.basis, found.law.clip(0), axis=1)
        law = law[:, :count] / np.maximum(law[:, :count].sum(1, keepdims=True), 1e-12)
        return np.asarray((self.matrix @ law.T).T), found.is_solved

    def nearest(self, rhs: Array, weights: Array) -> tuple[Array, Array, float]:
        """Find the feasible probabilities nearest in weighted absolute distance.

        Returns:
            Probabilities of the rows that some law of types has; the dual (a violated inequality,
            if there is a distance); the distance.
        """
        active = np.arange(len(self)) if len(self) <= _FEW else self._spaced()
        slack = _slack(weights)
        while True:
            solved = self._elastic(active, rhs, slack)
            dual = np.asarray(solved.eqlin.marginals)
            new = self._priced(active, -(self.matrix.T @ dual))
            if not len(new):
                break
            active = np.union1d(active, new)
        law = np.zeros(len(self))
        law[active] = np.clip(solved.x[: len(active)], 0, None)
        return np.asarray(self.matrix @ (law / law.sum())), dual, float(solved.fun)

    def minimise_ratio(self, over: Array, under: Array, rhs: Array) -> Solution | None:
        """Find the smallest ratio of two expected costs, where the second is positive.

        Returns:
            The solution, whose law is that of the types; None if there is no such law.

        References:
            Charnes and Cooper (1962).
        """
        rows = self.independent
        scaled = hstack([self.matrix[rows], csr_array(-rhs[rows, None])])
        total = csr_array(np.append(under, 0.0)[None])
        solved = solve_linear(
            np.append(over, 0.0), _stacked(scaled, total), np.append(np.zeros(len(rows)), 1.0)
        )
        if solved is None:
            return None
        law = np.clip(solved.x[:-1], 0, None)
        return Solution(float(solved.eqlin.marginals[-1]), np.zeros(self.num_rows), law / law.sum())

    def _solve(self, active: Codes, cost: Array, rhs: Array) -> Any:
        rows = self.independent
        return solve_linear(cost[active], self.matrix[rows][:, active], rhs[rows])

    def _generate(
        self, active: Codes, cost: Array, rhs: Array, tolerance: float
    ) -> Solution | None:
        while True:
            solved = self._solve(active, cost, rhs)
            if solved is None:
                return None
            dual = self._spread(solved)
            new = self._priced(active, cost - self.matrix.T @ dual, tolerance)
            if not len(new):
                break
            active = np.union1d(active, new)
        full = np.zeros(len(self))
        full[active] = solved.x
        solved.x = full
        return self._safe(solved, cost, rhs)

    def _spread(self, solved: Any) -> Array:
        dual = np.zeros(self.num_rows)
        dual[self.independent] = solved.eqlin.marginals
        return dual

    def _safe(self, solved: Any, cost: Array, rhs: Array) -> Solution:
        """Move the dual along row 0 until no type has a negative price."""
        dual = self._spread(solved)
        dual[0] += (cost - self.matrix.T @ dual).min()
        return Solution(float(dual @ rhs), dual, np.asarray(solved.x))

    def _priced(self, active: Codes, price: Array, tolerance: float = 1e-9) -> Codes:
        price = price.copy()
        price[active] = 0.0
        count = min(_ADDED, len(price) - 1)
        best = np.argpartition(price, count)[:count]
        return np.asarray(best[price[best] < -tolerance])

    def _spaced(self) -> Codes:
        return np.unique(np.linspace(0, len(self) - 1, _ADDED).astype(np.int64))

    def _feasible_types(self, rhs: Array) -> Codes | None:
        active, rows = self._spaced(), self.independent
        slack = np.ones(self.num_rows)
        while True:
            solved = self._elastic(active, rhs, slack, rows)
            if solved.fun < 1e-11:
                return np.asarray(active[solved.x[: len(active)] > 0])
            dual = np.zeros(self.num_rows)
            dual[rows] = solved.eqlin.marginals
            new = self._priced(active, -(self.matrix.T @ dual))
            if not len(new):
                return active if solved.fun < 1e-9 else None
            active = np.union1d(active, new)

    def _elastic(self, active: Codes, rhs: Array, slack: Array, rows: Any = slice(None)) -> Any:
        part = self.matrix[rows][:, active]
        unit = eye_array(part.shape[0])
        cost = np.concatenate([np.zeros(len(active)), slack[rows], slack[rows]])
        solved = solve_linear(cost, hstack([part, unit, -unit]), rhs[rows])
        assert solved is not None  # slack makes every program feasible
        return solved


def basis_values(program: ResponseProgram, law: Array) -> Callable[[Array], Array] | None:
    """Return how the law of a solution's types follows from the rows, if it is a full basis.

    Returns:
        From right sides, shape ``(batch, rows)``, to probabilities of the types that the solution
        uses, shape ``(batch, basis)``; None where the solution is degenerate.
    """
    used, rows = np.flatnonzero(law > 1e-11), program.independent
    if len(used) != len(rows):
        return None
    basis = program.matrix[rows][:, used].toarray()
    return lambda right: np.linalg.solve(basis, right[:, rows].T).T


def _slack(weights: Array) -> Array:
    slack = weights.copy()
    slack[0] = 1e3 * weights.sum()  # a law sums to 1
    return slack


def _stacked(*parts: csr_array) -> Any:
    from scipy.sparse import vstack

    return vstack(parts, format="csr")
