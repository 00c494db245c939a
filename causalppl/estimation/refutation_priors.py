"""Checks of Bayesian estimates: does the prior decide, and do the data look like its draws?"""

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.estimation.contingency import Contingency
from causalppl.estimation.dirichlet import Dirichlet
from causalppl.estimation.dirichlet_laws import plan_scopes
from causalppl.estimation.drawn_chain import Chain, Scope
from causalppl.estimation.estimate import Estimate
from causalppl.estimation.refutation_check import (
    Check,
    CheckResult,
    Tick,
    no_scale,
    problem_of,
    solve_again,
)

__all__ = ["PosteriorPredictive", "PriorSensitivity"]

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class PriorSensitivity(Check):
    """Make the prior five times weaker and five times stronger.

    Attributes:
        factor: By how much.
        most: The largest shift that passes, in standard errors.

    Example:
        >>> PriorSensitivity(factor=10.0).factor
        10.0
    """

    factor: float = 5.0
    most: float = 0.5
    name: ClassVar[str] = "prior sensitivity"
    expected: ClassVar[str] = "no shift"

    def num_estimates(self, repeats: int) -> int:
        """See `Check.num_estimates`."""
        return 2

    def obstacle(self, estimate: Estimate) -> str | None:
        """See `Check.obstacle`."""
        settings = [f.name for f in fields(estimate.estimator)]  # type: ignore[arg-type]
        return no_scale(estimate) if "concentration" in settings else "the estimator has no prior"

    def _judge(
        self, estimate: Estimate, repeats: int, rng: np.random.Generator, tick: Tick
    ) -> CheckResult:
        values = []
        for factor in (1 / self.factor, self.factor):
            strength = factor * estimate.estimator.concentration  # type: ignore[union-attr]
            other = replace(estimate.estimator, concentration=strength)  # type: ignore[type-var]
            changed = replace(estimate, estimator=other)
            values.append(solve_again(changed, problem_of(estimate).table, rng))
            tick()
        shift = np.abs(np.array(values) - float(estimate)).max() / float(estimate.standard_error)
        found = f"a shift of at most {shift:.2f} standard errors"
        return self._result(shift <= self.most, found, np.array(values))


@dataclass(frozen=True)
class PosteriorPredictive(Check):
    """Draw tables of counts from the posterior: the observed one must look like them.

    Drawn and observed counts are compared with the law that was drawn, by the discrepancy of
    Freeman and Tukey, over all laws that the formula needs. It fails where the prior outweighs
    the data, so that the posterior does not fit them.

    Attributes:
        num_draws: How many tables are drawn.
        least: The smallest posterior predictive probability that passes.

    References:
        Gelman, Meng and Stern (1996), Posterior predictive assessment of model fitness via
        realized discrepancies.

    Example:
        >>> PosteriorPredictive(num_draws=100).num_draws
        100
    """

    num_draws: int = 500
    least: float = 0.01
    name: ClassVar[str] = "posterior predictive"
    expected: ClassVar[str] = "counts like those that the posterior draws"

    def num_estimates(self, repeats: int) -> int:
        """See `Check.num_estimates`."""
        return 1

    def obstacle(self, estimate: Estimate) -> str | None:
        """See `Check.obstacle`."""
        is_posterior = isinstance(estimate.estimator, Dirichlet)
        return None if is_posterior else "the estimator draws no laws of the data"

    def _judge(
        self, estimate: Estimate, repeats: int, rng: np.random.Generator, tick: Tick
    ) -> CheckResult:
        assert isinstance(estimate.estimator, Dirichlet)
        problem, concentration = problem_of(estimate), estimate.estimator.concentration
        data = Contingency.of(problem)
        scopes = dict.fromkeys(plan_scopes(problem.estimand, data).values())
        parts = [self._discrepancies(scope, data, concentration, rng) for scope in scopes]
        observed, drawn = (np.sum(part, axis=0) for part in zip(*parts, strict=True))
        tick()
        share = float((drawn >= observed).mean())
        found = f"{share:.2g} of the tables drawn lie as far from their law as the observed one"
        return self._result(share >= self.least, found, np.empty(0))

    def _discrepancies(
        self, scope: Scope, data: Contingency, concentration: float, rng: np.random.Generator
    ) -> tuple[Array, Array]:
        """Distance of the observed and of drawn counts from each law, ``(draws,)`` each."""
        counts = data.counts(scope.source, (*scope.do, *scope.names))
        chain = Chain(scope, data, concentration)
        law: Any = chain.draw_joint(self.num_draws, rng).values.numpy()
        settings = int(np.prod(counts.shape[: len(scope.do)], dtype=int))
        counts = counts.reshape(settings, -1)
        law = law.reshape(self.num_draws, settings, -1)
        law = law / law.sum(axis=-1, keepdims=True)
        rows = np.round(counts.sum(axis=-1)).astype(int)
        means = rows[:, None] * law
        drawn = rng.multinomial(rows, law)
        first, second = (
            ((np.sqrt(found) - np.sqrt(means)) ** 2).sum(axis=(1, 2)) for found in (counts, drawn)
        )
        return first, second
