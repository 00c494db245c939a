"""Attempts to refute an estimate: each changes the data in a way whose effect is known.

A check that passes proves nothing; a check that fails says that something is wrong with the
estimator, the data or the assumptions that can be seen in the data.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch

from causalppl.data import Column, Table
from causalppl.estimation.estimate import Estimate
from causalppl.estimation.refutation_check import (
    WEIGHT,
    Array,
    Check,
    CheckResult,
    Tick,
    Verdict,
    no_difference,
    no_scale,
    other_sources,
    passing_ratios,
    problem_of,
    roles_of,
    solve_again,
    solve_repeatedly,
)
from causalppl.exceptions import CausalPPLError, NotIdentifiableError
from causalppl.graphs import ADMG
from causalppl.identification import identify

__all__ = [
    "BootstrapError",
    "DummyOutcome",
    "PlaceboTreatment",
    "RandomCommonCause",
    "SimulatedConfounder",
    "SubsetStability",
]


@dataclass(frozen=True)
class PlaceboTreatment(Check):
    """Replace the treatment by a random one: there must be no effect.

    References:
        Sharma and Kiciman (2020), DoWhy: an end-to-end library for causal inference.

    Example:
        >>> PlaceboTreatment().name
        'placebo treatment'
    """

    most_repeats: ClassVar[int] = 20
    name: ClassVar[str] = "placebo treatment"
    expected: ClassVar[str] = "effects around 0"

    def obstacle(self, estimate: Estimate) -> str | None:
        """See `Check.obstacle`."""
        return no_difference(estimate)

    def _judge(
        self, estimate: Estimate, repeats: int, rng: np.random.Generator, tick: Tick
    ) -> CheckResult:
        name = roles_of(estimate)[0]
        values = solve_repeatedly(estimate, repeats, rng, tick, lambda t: _permuted(t, name, rng))
        return _around_zero(self, estimate, values)


@dataclass(frozen=True)
class DummyOutcome(Check):
    """Replace the outcome by one that nothing causes: there must be no effect.

    References:
        Sharma and Kiciman (2020), DoWhy: an end-to-end library for causal inference.

    Example:
        >>> DummyOutcome().expected
        'effects around 0'
    """

    most_repeats: ClassVar[int] = 20
    name: ClassVar[str] = "dummy outcome"
    expected: ClassVar[str] = "effects around 0"

    def obstacle(self, estimate: Estimate) -> str | None:
        """See `Check.obstacle`."""
        return no_difference(estimate)

    def _judge(
        self, estimate: Estimate, repeats: int, rng: np.random.Generator, tick: Tick
    ) -> CheckResult:
        name = roles_of(estimate)[1]
        values = solve_repeatedly(estimate, repeats, rng, tick, lambda t: _permuted(t, name, rng))
        return _around_zero(self, estimate, values)


@dataclass(frozen=True)
class RandomCommonCause(Check):
    """Add a cause of treatment and outcome that is pure noise: nothing must change.

    Attributes:
        most: The largest shift that passes, in standard errors.

    References:
        Sharma and Kiciman (2020), DoWhy: an end-to-end library for causal inference.

    Example:
        >>> RandomCommonCause(most=0.2).most
        0.2
    """

    most: float = 0.5
    most_repeats: ClassVar[int] = 10
    name: ClassVar[str] = "random common cause"
    expected: ClassVar[str] = "no shift"

    def obstacle(self, estimate: Estimate) -> str | None:
        """See `Check.obstacle`."""
        if not all(roles_of(estimate)):
            return "the query has no single treatment and outcome"
        return other_sources(estimate) or no_scale(estimate)

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
        values = solve_repeatedly(wide, repeats, rng, tick, noisy, same_seed=True)
        shift = (values.mean() - float(estimate)) / float(estimate.standard_error)
        found = f"a shift of {shift:+.2f} standard errors on average"
        return self._result(abs(shift) <= self.most, found, values)


@dataclass(frozen=True)
class SubsetStability(Check):
    """Estimate from random subsets of the rows: the spread must be that of chance.

    Attributes:
        share: The share of the rows that is kept.
        most: The largest ratio of the spread to what chance alone gives; with few repeats, whose
            spread is itself unsure, more where chance exceeds it once in 1,000.

    References:
        Sharma and Kiciman (2020), DoWhy: an end-to-end library for causal inference.

    Example:
        >>> SubsetStability(share=0.5).share
        0.5
    """

    share: float = 0.6
    most: float = 1.5
    most_repeats: ClassVar[int] = 20
    name: ClassVar[str] = "subset stability"
    expected: ClassVar[str] = "as much spread as chance gives"

    def obstacle(self, estimate: Estimate) -> str | None:
        """See `Check.obstacle`."""
        return no_scale(estimate)

    def _judge(
        self, estimate: Estimate, repeats: int, rng: np.random.Generator, tick: Tick
    ) -> CheckResult:
        def part(table: Table) -> Table:
            return _part(table, self.share, rng)

        values = solve_repeatedly(estimate, repeats, rng, tick, part)
        chance = float(estimate.standard_error) * np.sqrt((1 - self.share) / self.share)
        ratio = np.sqrt(((values - float(estimate)) ** 2).mean()) / chance
        _, limit = passing_ratios(self.most, len(values))
        found = (
            f"{ratio:.2f} times the spread that chance gives to {self.share:.0%} of the rows; up "
            f"to {limit:.3g} passes"
        )
        return self._result(ratio <= limit, found, values)


@dataclass(frozen=True)
class BootstrapError(Check):
    """Weigh the rows at random: the spread must be the standard error that was claimed.

    Weights are exponential, the Bayesian bootstrap. Rows drawn with replacement would not do:
    copies of a row on both sides of a fold make models look better, and flexible ones get chosen,
    than they are. An estimator that takes no weights gets random halves of the rows instead,
    whose estimates differ from that of all rows as much.

    Attributes:
        most: The largest factor by which the two may differ, either way; with few repeats, whose
            spread is itself unsure, more where chance exceeds it once in 1,000. The report says
            what passes: with 30 repeats ratios from 0.61 to 1.42.

    References:
        Rubin (1981), The Bayesian bootstrap; Shao and Wu (1989), A general theory for jackknife
        variance estimation, for parts of the rows.

    Example:
        >>> BootstrapError(most=2.0).most
        2.0
    """

    most: float = 1.4
    name: ClassVar[str] = "bootstrap"
    expected: ClassVar[str] = "the standard error that was claimed"

    def obstacle(self, estimate: Estimate) -> str | None:
        """See `Check.obstacle`."""
        return other_sources(estimate) or no_scale(estimate)

    def _judge(
        self, estimate: Estimate, repeats: int, rng: np.random.Generator, tick: Tick
    ) -> CheckResult:
        def weighed(table: Table) -> Table:
            return _reweighed(table, rng)

        def half(table: Table) -> Table:
            return _part(table, 0.5, rng)

        change = weighed if _minds_weights(estimate, rng) else half
        values = solve_repeatedly(estimate, repeats, rng, tick, change)
        spread, error = values.std(ddof=1), float(estimate.standard_error)
        if change is half:
            spread = np.sqrt(((values - float(estimate)) ** 2).mean())
        low, high = passing_ratios(self.most, len(values))
        found = (
            f"a spread of {spread:.3g} against a standard error of {error:.3g}, "
            f"{spread / error:.2f} times; from {low:.2f} to {high:.2f} passes"
        )
        return self._result(low <= spread / error <= high, found, values)


@dataclass(frozen=True)
class SimulatedConfounder(Check):
    """Take a hidden common cause of growing strength out of the outcome: when is the effect gone?

    The cause has correlation ``strength`` with the treatment, and explains as many standard
    deviations of the outcome.

    Attributes:
        strengths: The strengths to try.

    References:
        Sharma and Kiciman (2020), DoWhy: an end-to-end library for causal inference.

    Example:
        >>> SimulatedConfounder(strengths=(0.1, 0.5)).num_estimates(30)
        2
    """

    strengths: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3)
    name: ClassVar[str] = "simulated confounder"
    expected: ClassVar[str] = "the effect outlives plausible strengths"

    def num_estimates(self, repeats: int) -> int:
        """See `Check.num_estimates`."""
        return len(self.strengths)

    def obstacle(self, estimate: Estimate) -> str | None:
        """See `Check.obstacle`."""
        reason = no_difference(estimate)
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


def _free_name(graph: ADMG, name: str) -> str:
    while name in graph:
        name += "_"
    return name


def _permuted(table: Table, name: str, rng: np.random.Generator) -> Table:
    order = torch.as_tensor(rng.permutation(table.num_rows))
    return replace(table, columns={**table.columns, name: table.column(name).take(order)})


def _with_column(table: Table, name: str, values: torch.Tensor) -> Table:
    return replace(table, columns={**table.columns, name: Column(values)})


def _part(table: Table, share: float, rng: np.random.Generator) -> Table:
    """A random share of the rows, in their order."""
    count = max(2, round(share * table.num_rows))
    return table.rows(np.sort(rng.permutation(table.num_rows)[:count]))


def _reweighed(table: Table, rng: np.random.Generator) -> Table:
    """Multiply the weights of the rows by exponential ones."""
    weights = torch.as_tensor(rng.exponential(size=table.num_rows))
    return _with_column(table, WEIGHT, weights * table[WEIGHT] if WEIGHT in table else weights)


def _minds_weights(estimate: Estimate, rng: np.random.Generator) -> bool:
    """Whether weights move the estimate; an estimator may refuse them, or not look at them."""
    table, seed = problem_of(estimate).table, int(rng.integers(2**31))
    try:
        first, second = (
            solve_again(estimate, _reweighed(table, rng), np.random.default_rng(seed))
            for _ in range(2)
        )
    except CausalPPLError:
        return False
    return abs(first - second) > 1e-6 * float(estimate.standard_error)  # more than rounding
