"""What the check of a formula against a program found."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.identification import Estimand
from causalppl.queries import Contrast, Query, Value

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["EXACT", "Verification", "VerificationReport"]

Array: TypeAlias = NDArray[np.float64]
EXACT = 1e-10


@dataclass(frozen=True, eq=False)
class Verification:
    """A formula's answer beside the program's.

    Attributes:
        query: What was asked.
        estimand: The formula.
        axes: The values that the query leaves open: label to the values compared.
        formula: The formula's answers, an axis for each of these.
        program: The program's answers; NaN where the program excludes what is given.
        tolerance: The largest difference that passes.
        false_alarm: For answers from samples, how often a right formula fails; None: exact.

    Example:
        >>> from causalppl import ADMG, identify, verify
        >>> from causalppl.programs.finite import random_finite_model
        >>> scm = random_finite_model(ADMG.parse("X -> Y; Z -> Y"), seed=0).scm()
        >>> print(verify(identify(scm.graph, "P(Y=1 | do(X=1))"), scm))
        P(Y=1 | do(X=1)) = P(Y=1 | X=1)
          agrees with the program: largest difference ... over 1 value
    """

    query: Query | Contrast
    estimand: Estimand
    axes: Mapping[str, tuple[Value, ...]]
    formula: Array
    program: Array
    tolerance: float = EXACT
    false_alarm: float | None = None

    @property
    def difference(self) -> float:
        """The largest difference, over the values that the query leaves open."""
        return float(np.nanmax(np.abs(self.formula - self.program)))

    @property
    def passed(self) -> bool:
        """Whether the two agree everywhere."""
        return self.difference <= self.tolerance

    def __bool__(self) -> bool:
        return self.passed

    @property
    def worst(self) -> Mapping[str, Value]:
        """The values at which they differ most."""
        gap = np.nan_to_num(np.abs(self.formula - self.program))
        place = np.unravel_index(int(gap.argmax()), gap.shape)
        return {name: states[i] for (name, states), i in zip(self.axes.items(), place, strict=True)}

    def __str__(self) -> str:
        if self.false_alarm is not None:
            return f"{self.query} = {self.estimand}\n  {self._by_samples()}"
        compared = int(np.isfinite(self.program).sum())
        head = f"{self.query} = {self.estimand}"
        if self.passed:
            return (
                f"{head}\n  agrees with the program: largest difference {self.difference:.1e} over "
                f"{compared} value{'s' if compared != 1 else ''}"
            )
        place = tuple(states.index(self.worst[name]) for name, states in self.axes.items())
        where = ", ".join(f"{name}={value}" for name, value in self.worst.items())
        return (
            f"{head}\n  differs from the program{f' at {where}' if where else ''}: formula "
            f"{self.formula[place]:.6g}, program {self.program[place]:.6g}; the diagram of the "
            "formula is not the program's, or the formula is wrong"
        )

    __repr__ = __str__

    def _by_samples(self) -> str:
        verb = "agrees with" if self.passed else "differs from"
        return (
            f"{verb} the program: formula {float(self.formula):.4g}, program "
            f"{float(self.program):.4g}, from samples; a difference above {self.tolerance:.2g} has "
            f"a chance of {self.false_alarm:g} if the estimator of the formula is consistent"
        )


@dataclass(frozen=True, eq=False)
class VerificationReport:
    """All queries that were checked, and those that could not be.

    Attributes:
        checks: Query to its verification.
        not_identifiable: Query to the reason.
        not_checked: Query to why the program's law does not settle it (positivity fails).

    Example:
        >>> from causalppl import verify_all
        >>> from causalppl.graphs import bow
        >>> from causalppl.programs.finite import random_finite_model
        >>> report = verify_all(random_finite_model(bow(), seed=0).scm())
        >>> list(report.checks), list(report.not_identifiable)
        (['P(X | do(Y))'], ['P(Y | do(X))'])
    """

    checks: Mapping[str, Verification]
    not_identifiable: Mapping[str, str]
    not_checked: Mapping[str, str]

    @property
    def passed(self) -> bool:
        """Whether every formula agrees with the program."""
        return all(self.checks.values())

    def __bool__(self) -> bool:
        return self.passed

    def summary(self) -> "pd.DataFrame":
        """Return a table: query, verdict, formula, largest difference."""
        import pandas as pd

        rows = [
            {
                "query": query,
                "verdict": "agrees" if check else "differs",
                "formula": str(check.estimand),
                "difference": check.difference,
            }
            for query, check in self.checks.items()
        ]
        others = {"not identifiable": self.not_identifiable, "not checked": self.not_checked}
        for verdict, entries in others.items():
            rows += [
                {"query": query, "verdict": verdict, "formula": "", "difference": np.nan}
                for query in entries
            ]
        columns = ["query", "verdict", "formula", "difference"]
        return pd.DataFrame(rows, columns=columns).set_index("query")

    def __str__(self) -> str:
        failed = [str(check) for check in self.checks.values() if not check]
        worst = max((check.difference for check in self.checks.values()), default=0.0)
        head = (
            f"{len(self.checks) - len(failed)} of {len(self.checks)} formulas agree with the "
            f"program (largest difference {worst:.1e}); {len(self.not_identifiable)} queries are "
            f"not identifiable, {len(self.not_checked)} were not checked"
        )
        return "\n".join([head, *failed])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        html: str = self.summary().to_html()
        return html
