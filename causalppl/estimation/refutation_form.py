"""Does the estimate rest on the form of its models? It is held against one of flexible models."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import ndtri

from causalppl.estimation.dirichlet import Dirichlet
from causalppl.estimation.doubly_robust import AIPW
from causalppl.estimation.estimate import Estimate
from causalppl.estimation.refutation_check import (
    Check,
    CheckResult,
    Tick,
    no_scale,
    other_sources,
    problem_of,
)
from causalppl.exceptions import CausalPPLError

__all__ = ["CHOSEN", "FunctionalForm"]

CHOSEN = "models chosen from the data"
"""The diagnostic of an estimate whose models of outcome and treatment were both left open."""

_THIN_CHANCE = 0.05  # of an arm, below which the influences of a sample miss rows that matter


@dataclass(frozen=True)
class FunctionalForm(Check):
    """Estimate anew by a doubly robust method whose models are chosen from flexible ones.

    `AIPW` adjusts for the same covariates, with models that cross-validation chooses among main
    effects, squares and products, and boosted trees. Both estimates have one limit if the models of
    the one that is tried are right, and chance alone keeps them apart: by their joint standard
    error, from the influence of each row on the difference, where both have influences. Where the
    chance of an arm comes below 0.05, a few rows decide weighted means, and the sample may hold
    none of them; the joint error then takes no credit for what both have in common. A gap beyond it
    says that the model misses a part of the confounding that the data show (or, for one number as
    the effect of all, that effects differ). It shows nothing of hidden confounding.

    Attributes:
        level: How often a right model fails.

    References:
        Hausman (1978), Specification tests in econometrics.

    Example:
        >>> FunctionalForm(level=0.05).level
        0.05
    """

    level: float = 0.01
    name: ClassVar[str] = "functional form"
    expected: ClassVar[str] = "the estimate that flexible models give"

    def num_estimates(self, repeats: int) -> int:
        """See `Check.num_estimates`."""
        return 1

    def obstacle(self, estimate: Estimate) -> str | None:
        """See `Check.obstacle`."""
        if isinstance(estimate.estimator, Dirichlet):
            return "the estimator counts, and has no model of a form"
        if estimate.diagnostics.get(CHOSEN):
            return "its models were themselves chosen from flexible ones"
        reason = other_sources(estimate) or no_scale(estimate)
        if reason is None and _flexible(estimate).refusal(problem_of(estimate)) is not None:
            return "no flexible method answers the same question by adjustment"
        return reason

    def _judge(
        self, estimate: Estimate, repeats: int, rng: np.random.Generator, tick: Tick
    ) -> CheckResult:
        try:
            seed = int(rng.integers(2**31))
            other = _flexible(estimate).solve(problem_of(estimate), seed=seed)
        except CausalPPLError as error:
            reason = f"flexible models give no answer: {error}"
            return CheckResult(self.name, "skipped", reason, self.expected)
        tick()
        gap = float(other) - float(estimate)
        errors = abs(gap) / max(_joint_error(estimate, other), 1e-300)
        most = float(-ndtri(self.level / 2))
        found = (
            f"flexible models give {float(other):.3g} against {float(estimate):.3g}, {errors:.1f} "
            f"joint standard errors away; up to {most:.2f} passes"
        )
        if errors > most:
            found += "; the model misses what the data show of the confounding, or of the effect"
        return self._result(errors <= most, found, np.array([float(other)]))


def _flexible(estimate: Estimate) -> AIPW:
    return AIPW(covariates=getattr(estimate.estimator, "covariates", None))


def _least_chance(estimate: Estimate) -> float:
    """The least chance of an arm that is asked about; 1 where there is none."""
    ranges = estimate.diagnostics.get("propensity range", {})
    pairs = ranges.values() if isinstance(ranges, dict) else [ranges]
    return min((float(low) for low, _ in pairs), default=1.0)


def _joint_error(first: Estimate, second: Estimate) -> float:
    """The standard error of a difference; where rows are not matched, its largest without them."""
    parts = first.influence, second.influence
    is_thin = min(_least_chance(first), _least_chance(second)) < _THIN_CHANCE
    if is_thin or parts[0] is None or parts[1] is None or parts[0].shape != parts[1].shape:
        return float(np.hypot(first.standard_error, second.standard_error))
    spread = float((parts[0] - parts[1]).std(ddof=1)) / np.sqrt(len(parts[0]))
    # the same estimator twice: what is left is its choice of folds
    least = 0.05 * float(min(first.standard_error, second.standard_error))
    return max(spread, least)
