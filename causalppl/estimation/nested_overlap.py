"""Values of numbers that a formula fixes, and that the data hardly hold."""

import numpy as np

from causalppl.estimation.coefficient_influence import with_constant
from causalppl.estimation.dose import FAR, DoseOverlap
from causalppl.estimation.nested_fit import Columns
from causalppl.estimation.nested_formula import Expectation

__all__ = ["describe_fixed"]


def describe_fixed(columns: Columns, step: Expectation) -> list[DoseOverlap]:
    """Describe each number that a regression is asked at, given its other regressors.

    Args:
        columns: The rows.
        step: The regression.

    Example:
        >>> from causalppl.data import Table
        >>> from causalppl.estimation.nested_formula import compile_formula
        >>> from causalppl.graphs import ADMG
        >>> from causalppl.identification import identify
        >>> rows = Table.from_any({"X": range(50), "Y": range(50)})
        >>> formula = compile_formula(
        ...     identify(ADMG.parse("X -> Y"), "E[Y | do(X=60)]").body, frozenset()
        ... )
        >>> print(describe_fixed(Columns.read(rows, ("X", "Y")), formula)[0])
        X=60 lies outside the values seen, 0 to 49
    """
    inside = columns.inside(step.law)
    values = {s: columns.values[s.variable][inside] for s in step.given}
    others = tuple(sorted(step.given))
    matrix = with_constant(columns.features(values, others, int(inside.sum())))
    found = []
    for symbol in step.law.given:
        if symbol.value is None or symbol.variable in columns.states:
            continue
        seen, level = columns.values[symbol.variable][inside], columns.code(symbol)
        expected = matrix @ np.linalg.lstsq(matrix, seen, rcond=None)[0]
        far = np.abs(level - expected) > FAR * np.sqrt(((seen - expected) ** 2).mean())
        ends = float(seen.min()), float(seen.max())
        found.append(DoseOverlap(str(symbol), level, ends, float(far.mean())))
    return found
