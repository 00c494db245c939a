"""Attempts to refute an estimate: each changes the data in a way whose effect is known.

A check that passes proves nothing; a check that fails says that something is wrong with the
estimator, the data or the assumptions that can be seen in the data.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from causalppl.data import Column, Table
from causalppl.estimation.contingency import OBSERVED
from causalppl.estimation.estimate import Estimate
from causalppl.estimation.estimator import Problem
from causalppl.exceptions import CausalPPLError, NotIdentifiableError
from causalppl.graphs import ADMG
from causalppl.identification import identify
from causalppl.queries import Contrast

__all__ = [
    "BootstrapError",
    "Check",
    "CheckResult",
    "DummyOutcome",
    "PlaceboTreatment",
    "RandomCommonCause",
    "SimulatedConfounder",
    "SubsetStability",
]

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
        values: The estimates under the check.

    Example:
        >>> CheckResult("placebo treatment", "skipped", "the query is no difference", "0").verdict
        'skipped'
    """

    name: str
    verdict: Verdict
    found: str
    expected: str
    values: Array = field(default_factory=lambda: np.empty(0))


class Check(ABC):
    """One attempt to refute an estimate; subclasses are frozen dataclasses of settings.

    Attributes:
        name: Its name in reports.
        expected: What a sound estimate shows.
    """

    name: ClassVar[str]
    expected: ClassVar[str]

    def num_estimates(self, repeats: int) -> int:
        """Count the estimates that the check will compute, for a progress bar."""
        return repeats

    def run(
        self, estimate: Estimate, *, repeats: int, rng: np.random.Generator, tick: Tick
    ) -> CheckResult:
        """Carry the check out.

        Args:
            estimate: A single number, with what it was computed from.
            repeats: How often the data are changed.
            rng: The source of all randomness.
            tick: Called after each estimate.
        """
        reason = self.obstacle(estimate)
        if reason is not None:
            return CheckResult(self.name, "skipped", reason, self.expected)
        try:
            return self._judge(estimate, repeats, rng, tick)
        except CausalPPLError as error:
            return CheckResult(self.name, "failed", f"the estimator fails: {error}", self.expected)

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


@dataclass(frozen=True)
class PlaceboTreatment(Check):
    """Replace the treatment by a random one: there must be no effect."""

    name: ClassVar[str] = "placebo treatment"
    expected: ClassVar[str] = "effects around 0"

    def obstacle(self, estimate: Estimate) -> str | None:
        """See `Check.obstacle`."""
        return _no_difference(estimate)

    def _judge(
        self, estimate: Estimate, repeats: int, rng: np.random.Generator, tick: Tick
    ) -> CheckResult:
        name = roles_of(estimate)[0]
        values = _repeated(estimate, repeats, rng, tick, lambda t: _permuted(t, name, rng))
        return _around_zero(self, estimate, values)


@dataclass(frozen=True)
class DummyOutcome(Check):
    """Replace the outcome by one that nothing causes: there must be no effect."""

    name: ClassVar[str] = "dummy outcome"
    expected: ClassVar[str] = "effects around 0"

    def obstacle(self, estimate: Estimate) -> str | None:
        """See `Check.obstacle`."""
        return _no_difference(estimate)

    def _judge(
        self, estimate: Estimate, repeats: int, rng: np.random.Generator, tick: Tick
    ) -> CheckResult:
        name = roles_of(estimate)[1]
        values = _repeated(estimate, repeats, rng, tick, lambda t: _permuted(t, name, rng))
        return _around_zero(self, estimate, values)


@dataclass(frozen=True)
class RandomCommonCause(Check):
    """Add a cause of treatment and outcome that is pure noise: nothing must change.

    Attributes:
        most: The largest shift that passes, in standard errors.
    """

    most: float = 0.5
    name: ClassVar[str] = "random common cause"
    expected: ClassVar[str] = "no shift"

    def obstacle(self, estimate: Estimate) -> str | None:
        """See `Check.obstacle`."""
        if not all(roles_of(estimate)):
            return "the query has no single treatment and outcome"
        return _only_observed(estimate) or no_scale(estimate)

    def _judge(
        self, estimate: Estimate, repeats: int, rng: np.random.Generator, tick: Tick
    ) -> CheckResult:
        problem = problem_of(estimate)
        treatment, outcome = roles_of(estimate)
        estimand = problem.estimand
        name = _free_name(estimand.graph, "noise")
        edges = [*estimand.graph.directed_edges, (name, treatment), (name, outcome)]
        graph = ADMG([*estimand.graph.nodes, name], edges, estimand.graph.bidirected_edges)
        try:
            wider = identify(graph, estimand.query)
        except NotIdentifiableError:
            return CheckResult(
                self.name, "skipped", "the query has no formula with one more cause", self.expected
            )
        # an estimator with a prior over counts needs a cause that can be counted
        is_counted = hasattr(estimate.estimator, "concentration")
        is_discrete = is_counted or problem.table.column(outcome).categories is not None

        def noisy(table: Table) -> Table:
            draws = (
                rng.integers(0, 2, table.num_rows)
                if is_discrete
                else rng.normal(size=table.num_rows)
            )
            column = Table.from_any({name: draws}).column(name)
            return replace(table, columns={**table.columns, name: column})

        wide = replace(estimate, problem=replace(problem, estimand=wider))
        values = _repeated(wide, repeats, rng, tick, noisy)
        shift = (values.mean() - float(estimate)) / float(estimate.standard_error)
        found = f"a shift of {shift:+.2f} standard errors on average"
        return self._result(abs(shift) <= self.most, found, values)


@dataclass(frozen=True)
class SubsetStability(Check):
    """Estimate from random subsets of the rows: the spread must be that of chance.

    Attributes:
        share: The share of the rows that is kept.
        most: The largest ratio of the spread to what chance alone gives.
    """

    share: float = 0.8
    most: float = 1.5
    name: ClassVar[str] = "subset stability"
    expected: ClassVar[str] = "as much spread as chance gives"

    def obstacle(self, estimate: Estimate) -> str | None:
        """See `Check.obstacle`."""
        return no_scale(estimate)

    def _judge(
        self, estimate: Estimate, repeats: int, rng: np.random.Generator, tick: Tick
    ) -> CheckResult:
        def part(table: Table) -> Table:
            count = max(2, round(self.share * table.num_rows))
            return table.rows(np.sort(rng.permutation(table.num_rows)[:count]))

        values = _repeated(estimate, repeats, rng, tick, part)
        chance = float(estimate.standard_error) * np.sqrt((1 - self.share) / self.share)
        ratio = np.sqrt(((values - float(estimate)) ** 2).mean()) / chance
        found = f"{ratio:.2f} times the spread that chance gives to {self.share:.0%} of the rows"
        return self._result(ratio <= self.most, found, values)


@dataclass(frozen=True)
class BootstrapError(Check):
    """Resample the rows: the spread must be the standard error that was claimed.

    Attributes:
        most: The largest factor by which the two may differ.
    """

    most: float = 1.4
    name: ClassVar[str] = "bootstrap"
    expected: ClassVar[str] = "the standard error that was claimed"

    def obstacle(self, estimate: Estimate) -> str | None:
        """See `Check.obstacle`."""
        return no_scale(estimate)

    def _judge(
        self, estimate: Estimate, repeats: int, rng: np.random.Generator, tick: Tick
    ) -> CheckResult:
        def again(table: Table) -> Table:
            return table.rows(np.sort(rng.integers(0, table.num_rows, table.num_rows)))

        values = _repeated(estimate, repeats, rng, tick, again)
        ratio = values.std(ddof=1) / float(estimate.standard_error)
        found = (
            f"a spread of {values.std(ddof=1):.3g} against a standard error of "
            f"{float(estimate.standard_error):.3g}"
        )
        slack = 1 + 3 / np.sqrt(2 * max(len(values) - 1, 1))  # of a spread from few resamples
        return self._result(1 / (self.most * slack) <= ratio <= self.most * slack, found, values)


@dataclass(frozen=True)
class SimulatedConfounder(Check):
    """Take a hidden common cause of growing strength out of the outcome: when is the effect gone?

    The cause has correlation ``strength`` with the treatment, and explains as many standard
    deviations of the outcome.

    Attributes:
        strengths: The strengths to try.
    """

    strengths: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3)
    name: ClassVar[str] = "simulated confounder"
    expected: ClassVar[str] = "the effect outlives plausible strengths"

    def num_estimates(self, repeats: int) -> int:
        """See `Check.num_estimates`."""
        return len(self.strengths)

    def obstacle(self, estimate: Estimate) -> str | None:
        """See `Check.obstacle`."""
        reason = _no_difference(estimate)
        if reason is None:
            for name in roles_of(estimate):
                if problem_of(estimate).table.column(name).categories is not None:
                    return f"{name} is categorical; the cause is simulated for numbers"
        if reason is None:
            outcome = problem_of(estimate).table[roles_of(estimate)[1]]
            if outcome.unique().numel() <= 2:
                return "the outcome has two values; the cause is simulated for continuous ones"
        return reason

    def _judge(
        self, estimate: Estimate, repeats: int, rng: np.random.Generator, tick: Tick
    ) -> CheckResult:
        table = problem_of(estimate).table
        treatment, outcome = (table[name].double() for name in roles_of(estimate))
        x = ((treatment - treatment.mean()) / treatment.std()).numpy()
        noise = rng.normal(size=len(x))
        sign = np.sign(float(estimate)) or 1.0
        values = []
        for strength in self.strengths:
            cause = strength * x + np.sqrt(1 - strength**2) * noise
            moved = outcome - sign * strength * outcome.std() * torch.as_tensor(cause)
            changed = _with_column(table, roles_of(estimate)[1], moved)
            values.append(solve_again(estimate, changed, rng))
            tick()
        pairs = zip(self.strengths, values, strict=True)
        shown = ", ".join(f"{value:.3g} at {strength:g}" for strength, value in pairs)
        return CheckResult(
            self.name,
            "for information",
            f"the effect of {float(estimate):.3g} becomes {shown}",
            self.expected,
            np.array(values),
        )


def _around_zero(check: Check, estimate: Estimate, values: Array) -> CheckResult:
    low, high = np.quantile(values, [0.025, 0.975])
    extreme = (1 + (np.abs(values) >= abs(float(estimate))).sum()) / (1 + len(values))
    found = f"effects from {low:.3g} to {high:.3g}, as large as the estimate in {extreme:.2g}"
    # by moments, which a few repeats settle better than the tails
    is_centred = abs(values.mean()) <= 1.96 * values.std(ddof=1)
    verdict: Verdict = "passed" if is_centred else "failed"
    return CheckResult(check.name, verdict, found, check.expected, values)


def _repeated(
    estimate: Estimate,
    repeats: int,
    rng: np.random.Generator,
    tick: Tick,
    change: Callable[[Table], Table],
) -> Array:
    values = []
    for _ in range(repeats):
        values.append(solve_again(estimate, change(problem_of(estimate).table), rng))
        tick()
    return np.array(values)


def solve_again(estimate: Estimate, table: Table, rng: np.random.Generator) -> float:
    """Estimate from another table, whose rows bring their weights along."""
    assert estimate.estimator is not None
    problem = problem_of(estimate)
    if WEIGHT in table:
        weights = {OBSERVED: table[WEIGHT].numpy()}
        problem = replace(problem, weights=weights)
        table = table.select([name for name in table if name != WEIGHT])
    problem = replace(problem, table=table)
    return float(estimate.estimator.solve(problem, seed=int(rng.integers(2**31))))


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


def _no_difference(estimate: Estimate) -> str | None:
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


def _only_observed(estimate: Estimate) -> str | None:
    problem = problem_of(estimate)
    return "the formula uses other data sources" if problem.sources or problem.policies else None


def _free_name(graph: ADMG, name: str) -> str:
    while name in graph:
        name += "_"
    return name


def _permuted(table: Table, name: str, rng: np.random.Generator) -> Table:
    order = torch.as_tensor(rng.permutation(table.num_rows))
    return replace(table, columns={**table.columns, name: table.column(name).take(order)})


def _with_column(table: Table, name: str, values: torch.Tensor) -> Table:
    return replace(table, columns={**table.columns, name: Column(values)})
