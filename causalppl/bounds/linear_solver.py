"""Linear programs by HiGHS, to fine tolerances where these can be had."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.exceptions import FitError

__all__ = ["solve_linear"]

Array: TypeAlias = NDArray[np.float64]
_COARSE = 1e-7  # the solver's own tolerance
_SMALL = 40_000  # entries of a matrix that is given as a dense one


def solve_linear(
    cost: Array,
    rows: Any,
    rhs: Array,
    over: Any = None,
    right: Any = None,
    bounds: Any = (0, None),
    *,
    is_confirmed: bool = False,
) -> Any:
    """Solve ``min cost @ x`` over ``rows @ x = rhs`` and ``over @ x <= right``.

    Args:
        cost: Shape ``(x,)``.
        rows: Shape ``(rows, x)``.
        rhs: Shape ``(rows,)``.
        over: Shape ``(inequalities, x)``.
        right: Shape ``(inequalities,)``.
        bounds: Of ``x``; by default ``x >= 0``.
        is_confirmed: Take a program to be infeasible only if it is by a coarse tolerance too.

    Returns:
        scipy's result, or None if the program is infeasible. Its ``tolerance`` is how far rows may
        be off: the finest at which the solver came to an end.

    Raises:
        FitError: The solver did not come to an end.
    """
    from scipy.optimize import linprog

    if rows.shape[0] * rows.shape[1] < _SMALL:
        # scipy turns small sparse matrices about more slowly than HiGHS solves the program
        rows = rows if isinstance(rows, np.ndarray) else rows.toarray()
        over = over if over is None or isinstance(over, np.ndarray) else over.toarray()
    for tolerance, presolve in ((1e-10, True), (1e-10, False), (_COARSE, True)):
        options = {
            "primal_feasibility_tolerance": tolerance,
            "dual_feasibility_tolerance": tolerance,
            "presolve": presolve,
        }
        solved = linprog(
            cost, over, right, rows, rhs, bounds=bounds, method="highs", options=options
        )
        if solved.status == 0:
            solved.tolerance = tolerance
            return solved
        if solved.status == 2 and not (is_confirmed and tolerance < _COARSE):
            return None
    raise FitError(f"a linear program was not solved: {solved.message}; coarsen the variables")
