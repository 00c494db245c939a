"""The contract of the checks that `refute` runs, and what they share: solving changed data anew."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from causalppl.data import Table
from causalppl.estimation.contingency import OBSERVED
from causalppl.estimation.estimate import Estimate
from causalppl.estimation.estimator import Problem
from causalppl.exceptions import CausalPPLError
from causalppl.queries import Contrast

__all__ = ["Check", "CheckResult"]

Array: TypeAlias = NDArray[np.float64]
Verdict: TypeAlias = Literal["passed", "failed", "for information", "skipped"]
Tick: TypeAlias = Callable[[], object]

WEIGHT = "(weight)"
"""The column that holds the sampling weight of each row, while data are changed."""

_DIFFERENCES = ("ATE", "TE", "CATE", "ETT", "ATC", "CDE", "NDE", "NIE")


@dataclass(frozen=True, eq=False)
class CheckResult:
    """What one check found.

    Attributes:
        name: The check.
        verdict: ``"passed"``, ``"failed"``, ``"for information"`` or ``"skipped"``.
        found: What was found, in words with numbers.
        expected: What a sound estimate would show.
        values: The estimates from the changed data, where the check makes any.
        num_warnings: How many warnings the estimator gave of the changed data. They are counted
            here and not shown, as they say nothing about the data themselves.

    Example:
        >>> CheckResult("placebo treatment", "skipped", "the query is no difference", "0").verdict
        'skipped'
    """

    name: str
    verdict: Verdict
    found: str
    expected: str
    values: Array = field(default_factory=lambda: np.empty(0))
    num_warnings: int = 0


class Check(ABC):
    """One attempt to refute an estimate; subclasses are frozen dataclasses of settings.

    Attributes:
        name: Its name in reports.
        expected: What a sound estimate shows.
        most_repeats: How often the data are changed at most: more would not change the verdict.

    Example:
        >>> class Never(Check):
        ...     name, expected = "never", "anything"
        ...
        ...     def obstacle(self, estimate):
        ...         return "it never applies"
        ...
        ...     def _judge(self, estimate, repeats, rng, tick):
        ...         raise NotImplementedError
        >>> rng = np.random.default_rng(0)
        >>> Never().run(None, repeats=2, rng=rng, tick=lambda: None).verdict
        'skipped'
    """

    name: ClassVar[str]
    expected: ClassVar[str]
    most_repeats: ClassVar[int] = 1_000_000

    def num_estimates(self, repeats: int) -> int:
        """Count the estimates that the check will compute, for a progress bar."""
        return min(repeats, self.most_repeats)

    def run(
        self, estimate: Estimate, *, repeats: int, rng: np.random.Generator, tick: Tick
    ) -> CheckResult:
        """Carry the check out; warnings about changed data are counted, not shown.

        Args:
            estimate: A single number, with what it was computed from.
            repeats: How often the data are changed.
            rng: The source of all randomness.
            tick: Called after each estimate.
        """
        reason = self.obstacle(estimate)
        if reason is not None:
            return CheckResult(self.name, "skipped", reason, self.expected)
        with warnings.catch_warnings(record=True) as log:
            warnings.simplefilter("always")
            try:
                found = self._judge(estimate, min(repeats, self.most_repeats), rng, tick)
            except CausalPPLError as error:
                text = f"the estimator fails: {error}"
                found = CheckResult(self.name, "failed", text, self.expected)
        return replace(found, num_warnings=len(log))

    def obstacle(self, estimate: Estimate) -> str | None:
        """Say why the check does not apply; None if it does."""
        return None

    @abstractmethod
    def _judge(
        self, estimate: Estimate, repeats: int, rng: np.random.Generator, tick: Tick
    ) -> CheckResult: ...

    def _result(self, is_good: bool, found: str, values: Array) -> CheckResult:
        verdict: Verdict = "passed" if is_good else "failed"
        return CheckResult(self.name, verdict, found, self.expected, values)


# What checks share.


def solve_repeatedly(
    estimate: Estimate,
    repeats: int,
    rng: np.random.Generator,
    tick: Tick,
    change: Callable[[Table], Table],
    *,
    same_seed: bool = False,
) -> Array:
    """Estimate from changed tables, shape ``(repeats,)``.

    With ``same_seed`` rows fall into the folds of the estimate itself, so that nothing but the
    change tells the two apart.
    """
    seed = estimate.diagnostics.get("seed") if same_seed else None
    values = []
    for _ in range(repeats):
        values.append(solve_again(estimate, change(problem_of(estimate).table), rng, seed=seed))
        tick()
    return np.array(values)


def solve_again(
    estimate: Estimate, table: Table, rng: np.random.Generator, *, seed: int | None = None
) -> float:
    """Estimate from another table, whose rows bring their weights along."""
    assert estimate.estimator is not None
    problem = problem_of(estimate)
    if WEIGHT in table:
        weights = {OBSERVED: table[WEIGHT].numpy()}
        problem = replace(problem, weights=weights)
        table = table.select([name for name in table if name != WEIGHT])
    problem = replace(problem, table=table)
    seed = int(rng.integers(2**31)) if seed is None else seed
    return float(estimate.estimator.solve(problem, seed=seed))


def problem_of(estimate: Estimate) -> Problem:
    """Return what was estimated."""
    assert estimate.problem is not None
    return estimate.problem


def roles_of(estimate: Estimate) -> tuple[str, str]:
    """Find treatment and outcome of the query; empty names where there is none."""
    query = estimate.query
    if isinstance(query, Contrast):
        return query.treatment, query.outcome
    set_to = sorted(
        {i.name for q in (query.worlds,) for e in q.outcomes for i in e.term.interventions}
    )
    outcomes = sorted({event.name for event in query.outcomes})
    return (set_to[0], outcomes[0]) if len(set_to) == len(outcomes) == 1 else ("", "")


def no_difference(estimate: Estimate) -> str | None:
    """Say that the query is no effect of one treatment; None if it is."""
    query = estimate.query
    if isinstance(query, Contrast):
        is_difference = query.kind in _DIFFERENCES
    else:
        is_difference = query.kind == "E" and abs(sum(query.coefficients)) < 1e-12
    if not is_difference or not all(roles_of(estimate)):
        return "the query is no difference between two values of one treatment"
    return None


def no_scale(estimate: Estimate) -> str | None:
    """Say why shifts cannot be measured in standard errors; None if they can."""
    error = float(estimate.standard_error)
    if np.isnan(error):
        return "the estimator gives no standard error to compare with"
    return None if error > 0 else "the standard error is zero, so that there is nothing to compare"


def other_sources(estimate: Estimate) -> str | None:
    """Say that more than the observed rows is used; None if not."""
    problem = problem_of(estimate)
    return "the formula uses other data sources" if problem.sources or problem.policies else None


def passing_ratios(most: float, repeats: int) -> tuple[float, float]:
    """Between what ratios a spread from so many repeats may be of the one expected.

    A factor ``most`` either way; where repeats are few, as far as chance takes the spread of so
    many normal draws, either way once in 1,000.
    """
    freedom = max(repeats - 1, 1)
    low, high = (float(np.sqrt(chdtri(freedom, tail) / freedom)) for tail in (0.999, 0.001))
    return min(1 / most, low), max(most, high)
