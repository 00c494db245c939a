"""One linear program under many right sides or costs: the simplex method, all of them at once.

Each program keeps its own basis; a step of all of them is a few operations on arrays. The dual
method goes from a basis that is optimal for one right side to those of others, the primal one from
there to those of other costs. What does not end in a basis that is feasible and optimal, both
checked from scratch, is left to another solver.

References:
    Lemke (1954), The dual method of solving the linear programming problem.
    Forrest and Goldfarb (1992), Steepest-edge simplex algorithms for linear programming.
"""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Answers", "ManyPrograms", "complete_basis"]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]

_ZERO = 1e-9  # an entry of a tableau that is zero but for rounding
_LEAST = 1e-11  # a value below zero by no more is zero but for rounding
_INFEASIBLE = 1e-8
_TILT = 1e-6  # by which costs are made to differ, so that no step leaves the value as it is
_MOST_STEPS = 500


class Answers(NamedTuple):
    """The answers of many programs.

    Attributes:
        values: The smallest values, shape ``(batch,)``; only where solved.
        basis: The columns that may be above zero, shape ``(batch, rows)``.
        law: Their values, likewise.
        is_solved: Which programs were solved, shape ``(batch,)``.
        is_infeasible: Which ones surely have no solution; the others are left open.
    """

    values: Array
    basis: Codes
    law: Array
    is_solved: Flags
    is_infeasible: Flags


@dataclass(eq=False)
class _Tableaux:
    """Bases of some programs, and all that follows from them."""

    numbers: Codes  # of the programs
    basis: Codes  # (some, rows)
    inverse: Array  # (some, rows, rows)
    law: Array  # (some, rows)
    price: Array  # (some, columns)

    def chosen(self, some: Flags) -> "_Tableaux":
        """Return those of some programs."""
        if some.all():
            return self
        return _Tableaux(
            self.numbers[some],
            self.basis[some],
            self.inverse[some],
            self.law[some],
            self.price[some],
        )

    def pivot(self, matrix: Array, row: Codes, column: Codes, along: Array) -> None:
        """Let a column take the place of the one in a row; ``along`` is the tableau's row."""
        each = np.arange(len(row))
        step = np.matmul(self.inverse, matrix[:, column].T[:, :, None])[:, :, 0]
        length = self.law[each, row] / step[each, row]
        self.law -= length[:, None] * step
        self.law[each, row] = length
        turned = self.inverse[each, row] / step[each, row, None]
        self.inverse -= step[:, :, None] * turned[:, None, :]
        self.inverse[each, row] = turned
        rate = self.price[each, column] / along[each, column]
        self.price -= rate[:, None] * along
        self.price[each, column] = 0.0
        self.basis[each, row] = column


@dataclass(frozen=True, eq=False)
class ManyPrograms:
    """Programs ``min cost @ x`` over ``matrix @ x = right`` and ``x >= 0``.

    Attributes:
        matrix: Shape ``(rows, columns)``, of full rank.

    Example:
        >>> programs = ManyPrograms(np.array([[1.0, 1.0]]))
        >>> found = programs.solve(np.array([[3.0], [4.0]]), np.array([[2.0, 1.0]]), np.array([1]))
        >>> found.values.tolist(), found.is_solved.tolist()
        ([3.0, 4.0], [True, True])
    """

    matrix: Array

    def solve(self, right: Array, cost: Array, basis: Codes, start: Array | None = None) -> Answers:
        """Solve all programs.

        Args:
            right: Shape ``(batch, rows)``.
            cost: Shape ``(batch, columns)``, or ``(1, columns)`` where it is the same.
            basis: Columns that are optimal for the cost to start from (and some right side).
            start: That cost, shape ``(columns,)``; by default `tilted` of the first.
        """
        batch = len(right)
        cost_of = np.broadcast_to(cost, (batch, cost.shape[1]))
        start = tilted(cost[0]) if start is None else start
        ends = np.tile(basis, (batch, 1))
        is_infeasible = np.zeros(batch, dtype=bool)
        inverse = np.linalg.inv(self.matrix[:, basis])
        price = start - (start[basis] @ inverse) @ self.matrix
        tableaux = _Tableaux(
            np.arange(batch),
            ends.copy(),
            np.tile(inverse, (batch, 1, 1)),
            right @ inverse.T,
            np.tile(price, (batch, 1)),
        )
        if (price > -_ZERO).all():
            self._to_feasible(tableaux, ends, is_infeasible)
        return self._improved(right, cost_of, ends, is_infeasible)

    def _to_feasible(self, tableaux: _Tableaux, ends: Codes, is_infeasible: Flags) -> None:
        """The dual method: prices stay positive until the laws are."""
        for _ in range(_MOST_STEPS):
            short = np.minimum(tableaux.law, 0.0)
            short[short > -_LEAST] = 0.0
            is_open = np.asarray(short.any(1))
            ends[tableaux.numbers[~is_open]] = tableaux.basis[~is_open]
            tableaux, short = tableaux.chosen(is_open), short[is_open]
            if not len(short):
                return
            row = np.argmax(short**2 / (tableaux.inverse**2).sum(2), axis=1)
            each = np.arange(len(row))
            along = tableaux.inverse[each, row] @ self.matrix
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = np.where(along < -_ZERO, tableaux.price.clip(0) / -along, np.inf)
            column = np.argmin(ratio, axis=1)
            is_stuck = np.isinf(ratio[each, column])
            lost = is_stuck & (short[each, row] < -_INFEASIBLE)
            is_infeasible[tableaux.numbers[lost]] = True
            ends[tableaux.numbers[is_stuck]] = tableaux.basis[is_stuck]
            left = ~is_stuck
            tableaux = tableaux.chosen(left)
            tableaux.pivot(self.matrix, row[left], column[left], along[left])

    def _improved(self, right: Array, cost: Array, ends: Codes, is_infeasible: Flags) -> Answers:
        """The primal method: laws stay positive until the prices are. Then both are checked."""
        batch = len(right)
        law, values, is_solved = np.zeros(ends.shape), np.zeros(batch), np.zeros(batch, dtype=bool)
        tableaux = self._afresh(np.flatnonzero(~is_infeasible), right, cost, ends)
        for steps in range(_MOST_STEPS):
            is_done = np.asarray((tableaux.price > -_LEAST * 100).all(1))
            ends[tableaux.numbers[is_done]] = tableaux.basis[is_done]
            tableaux = tableaux.chosen(np.asarray(~is_done & (tableaux.law > -_ZERO).all(1)))
            if not len(tableaux.numbers):
                break
            if steps and not steps % 50:
                tableaux = self._afresh(tableaux.numbers, right, cost, ends)
            self._lower(tableaux)
            ends[tableaux.numbers] = tableaux.basis
        last = self._afresh(np.flatnonzero(~is_infeasible), right, cost, ends)
        each = last.numbers
        law[each] = last.law
        values[each] = (last.law * np.take_along_axis(cost[each], last.basis, 1)).sum(1)
        is_solved[each] = (last.price > -_ZERO).all(1) & (last.law > -_ZERO).all(1)
        return Answers(values, ends, law, is_solved, is_infeasible)

    def _lower(self, tableaux: _Tableaux) -> None:
        column = np.argmin(tableaux.price, axis=1)
        each = np.arange(len(column))
        step = np.matmul(tableaux.inverse, self.matrix[:, column].T[:, :, None])[:, :, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(step > _ZERO, tableaux.law.clip(0) / step, np.inf)
        row = np.argmin(ratio, axis=1)
        along = tableaux.inverse[each, row] @ self.matrix
        tableaux.pivot(self.matrix, row, column, along)

    def _afresh(self, numbers: Codes, right: Array, cost: Array, basis: Codes) -> _Tableaux:
        """Compute all that follows from bases anew."""
        basis = basis[numbers]
        inverse = np.asarray(np.linalg.inv(self.matrix.T[basis].transpose(0, 2, 1)), dtype=float)
        law = np.matmul(inverse, right[numbers][:, :, None])[:, :, 0]
        own = np.take_along_axis(cost[numbers], basis, 1)
        dual = np.matmul(own[:, None, :], inverse)[:, 0]
        return _Tableaux(numbers, basis, inverse, law, cost[numbers] - dual @ self.matrix)


def tilted(cost: Array) -> Array:
    """Add a little to each cost, so that the best basis is the only one."""
    scale = max(float(np.abs(cost).max()), 1e-3)
    return np.asarray(cost + _TILT * scale * np.random.default_rng(0).uniform(1, 2, len(cost)))


def complete_basis(matrix: Array, law: Array, price: Array) -> Codes | None:
    """Find a basis of columns of the least price that has those that a solution uses.

    Args:
        matrix: Shape ``(rows, columns)``, of full rank.
        law: A solution, shape ``(columns,)``.
        price: What each column would add to its value.

    Returns:
        As many columns as there are rows; None where they are not independent.
    """
    rows, used = len(matrix), np.zeros(0, dtype=np.int64)
    left, order = matrix.copy(), np.lexsort((price, law <= _LEAST))
    scale = np.abs(matrix).max()
    for column in order:
        vector = left[:, column]
        size = float(np.linalg.norm(vector))
        if size > 1e-7 * scale:
            used = np.append(used, column)
            left -= np.outer(vector, vector @ left) / size**2
            if len(used) == rows:
                return used
    return None
