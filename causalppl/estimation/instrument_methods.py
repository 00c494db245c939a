"""Instrumental estimators: the Wald ratio, two-stage least squares, LIML and GMM."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

from causalppl.estimation.anderson_rubin import Interval
from causalppl.estimation.estimate import Estimate
from causalppl.estimation.instrument_clusters import allow_for_weights, student_draws
from causalppl.estimation.instrument_columns import InstrumentColumns
from causalppl.estimation.instrument_stages import Errors, Stages, check_errors
from causalppl.exceptions import DataError, HeuristicWarning
from causalppl.queries import Contrast, Event, Intervention, Query, Term, Value
from causalppl.user_warning import warn_user

__all__ = ["GMM", "LIML", "InstrumentMethod", "TwoStageLeastSquares", "Wald", "average_effect"]

Array: TypeAlias = NDArray[np.float64]

_WEAK = 10.0  # the usual bound on the first-stage F, Staiger and Stock (1997)
_FEW_CLUSTERS = 30  # below, intervals rest on corrections; Cameron, Gelbach and Miller (2008)


class InstrumentMethod(ABC):
    """A way to estimate an effect by instruments.

    Attributes:
        errors: ``"HC1"`` or ``"HC0"`` hold whatever the variance of the outcome (and, with
            clusters, however rows of one cluster depend on each other), the first corrected for
            small samples: by cluster it is CR2, with Student's t for the intervals, which holds
            with few clusters. ``"classical"`` takes the variance to be constant.

    Example:
        >>> isinstance(Wald(), InstrumentMethod), Wald(errors="HC0").errors
        (True, 'HC0')
    """

    errors: Errors

    def __post_init__(self) -> None:
        check_errors(self.errors)

    def refusal(self, columns: InstrumentColumns) -> str | None:
        """Say what of the columns does not fit the method."""
        return None

    @abstractmethod
    def solve(self, columns: InstrumentColumns) -> Estimate:
        """Estimate the effect."""


class _Combined(NamedTuple):
    """One combination of the instruments: with the method's label, and what it found by the way.

    ``restrictions`` is on how many relations between the instruments the combination was estimated
    to be best; each costs the interval a degree of freedom.
    """

    values: Array
    label: str
    found: dict[str, float]
    restrictions: int = 0


@dataclass(frozen=True)
class _Linear(InstrumentMethod):
    """A method for a linear effect, the same for all units."""

    errors: Errors = "HC1"

    def solve(self, columns: InstrumentColumns) -> Estimate:
        """Estimate the effect of one unit of treatment."""
        x, y = columns.treatment, columns.outcome
        low, high = columns.x_values or (0, 1)
        stages = Stages(columns, self.errors)
        combined = self._combined(stages)
        own = [
            f"homogeneity: the effect of {x} on {y} is linear and the same for all units; where it "
            "is not, this is a weighted average of the effects among those whom the instruments "
            "move, not the ATE"
        ]
        if columns.given:
            own.append(f"{', '.join(columns.given)} enter linearly")
        return _assembled(stages, combined, average_effect(x, y, low, high), own)

    @abstractmethod
    def _combined(self, stages: Stages) -> _Combined:
        """Combine the instruments."""


def _check_noise(stages: Stages) -> None:
    left = stages.residual(stages.fitted)
    if not float(left @ left) > 1e-20 * float(stages.y @ stages.y):
        raise DataError(
            f"{stages.columns.outcome} is an exact function of {stages.columns.treatment}: there "
            "are no residuals to weigh instruments by; use TwoStageLeastSquares"
        )


@dataclass(frozen=True)
class TwoStageLeastSquares(_Linear):
    """Two-stage least squares: linear, with covariates and any number of instruments.

    The effect is taken to be the same for all units (or unrelated to how far the instruments move
    them); the query is then the ATE of one unit more of the treatment.

    Attributes:
        errors: ``"HC1"`` or ``"HC0"`` hold whatever the variance of the outcome; ``"classical"``
            takes it to be constant.

    References:
        Theil (1953); White (1982), Instrumental variables regression with independent
        observations; Angrist and Imbens (1995) for what is estimated where effects vary.

    Example:
        >>> TwoStageLeastSquares(errors="classical").errors
        'classical'
    """

    def _combined(self, stages: Stages) -> _Combined:
        return _Combined(stages.fitted, "two-stage least squares", {})


@dataclass(frozen=True)
class LIML(_Linear):
    """Limited information maximum likelihood: less biased than two stages by many weak instruments.

    With one instrument it is two-stage least squares. ``diagnostics["kappa"]`` is 1 where the
    instruments agree perfectly.

    Attributes:
        errors: As for `TwoStageLeastSquares`.

    References:
        Anderson and Rubin (1949); Davidson and MacKinnon (2004), section 12.5.

    Example:
        >>> LIML().errors
        'HC1'
    """

    def _combined(self, stages: Stages) -> _Combined:
        _check_noise(stages)
        both = np.stack([stages.y, stages.x])
        left = both - np.stack([stages.projected(stages.y), stages.fitted])
        ratios = np.linalg.eigvals(np.linalg.solve(both @ both.T, left @ left.T)).real
        kappa = 1 / float(ratios.max())
        combined = stages.x - kappa * (stages.x - stages.fitted)
        return _Combined(combined, "LIML", {"kappa": kappa})


@dataclass(frozen=True)
class GMM(_Linear):
    """The generalised method of moments: the best use of several instruments.

    Each instrument is weighted by what it tells, under unequal variances and within clusters; two
    stages do so only for a constant variance. With more instruments than one, Hansen's J tests
    whether they agree on the effect: ``diagnostics`` hold ``hansen_j``, chi-squared with
    ``hansen_df`` degrees of freedom if they do, and ``hansen_p``.

    The weights are estimated themselves, from as many pieces as there are clusters (or rows). To
    weight k instruments is to regress the moment that tells the effect on k - 1 moments that are
    zero: under ``errors="HC1"`` this costs k - 1 degrees of freedom, and the error is raised as
    that of any regression away from its mean, by how far these moments are from zero (J). With few
    clusters for many instruments intervals are wide; `TwoStageLeastSquares` may be surer there.

    Attributes:
        errors: As for `TwoStageLeastSquares`; ``"classical"`` makes it two stages, and J Sargan's.
        steps: 2: the weights come from the residuals of two-stage least squares; more: they are
            computed anew from those of the step before.

    Raises:
        DataError: A setting is out of range.

    References:
        Hansen (1982), Large sample properties of generalized method of moments estimators; Hwang
        (2021), Simple and trustworthy cluster-robust GMM inference, for few clusters.

    Example:
        >>> GMM(steps=3).steps
        3
    """

    steps: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 2:
            raise DataError(f"steps is {self.steps!r}; expected an integer, at least 2")

    def _combined(self, stages: Stages) -> _Combined:
        _check_noise(stages)
        combined = stages.fitted
        for _ in range(self.steps - 1):
            spread = self._moment_spread(stages, stages.residual(combined))
            combined = stages.z @ np.linalg.solve(spread, stages.z.T @ stages.x)
        if self.errors == "classical":
            combined = stages.fitted  # the same but for a factor
        label = f"{self.steps}-step GMM"
        if stages.num_instruments == 1:
            return _Combined(combined, label, {})
        left, free = stages.z.T @ stages.residual(combined), stages.num_instruments - 1
        hansen = float(left @ np.linalg.solve(spread, left))
        tested = {"hansen_j": hansen, "hansen_df": free, "hansen_p": float(chdtrc(free, hansen))}
        return _Combined(combined, label, tested, free if self.errors == "HC1" else 0)

    def _moment_spread(self, stages: Stages, residual: Array) -> Array:
        """The covariance of the moments ``z'residual``."""
        if self.errors == "classical":
            return float(residual @ residual) * np.eye(stages.num_instruments)
        return stages.spread(stages.z * residual[:, None])


@dataclass(frozen=True)
class Wald(InstrumentMethod):
    """The Wald ratio: what the instrument does to the outcome, over what it does to the treatment.

    For an instrument with two values, and no covariates.

    Attributes:
        effect: ``"LATE"`` (under monotonicity; the treatment has two values) or ``"ATE"`` (under
            homogeneity). None: LATE where the treatment has two values.
        errors: As for `TwoStageLeastSquares`.

    Raises:
        DataError: ``effect`` or ``errors`` is none of those named here.

    References:
        Wald (1940); Imbens and Angrist (1994); Hernán and Robins (2020), chapter 16.

    Example:
        >>> Wald(effect="ATE").effect
        'ATE'
    """

    effect: Literal["LATE", "ATE"] | None = None
    errors: Errors = "HC1"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.effect not in (None, "LATE", "ATE"):
            raise DataError(f"effect is {self.effect!r}; expected 'LATE', 'ATE' or None")

    def refusal(self, columns: InstrumentColumns) -> str | None:
        """Say what does not fit the ratio."""
        if columns.given:
            return f"it takes no covariates ({', '.join(columns.given)}); use TwoStageLeastSquares"
        if len(columns.z_values) != 2:
            return (
                f"{', '.join(columns.instruments)} does not have just two values; cut it in two, "
                "or use TwoStageLeastSquares"
            )
        if self.effect == "LATE" and not columns.is_binary:
            return f"a LATE needs two values of {columns.treatment}; use effect='ATE'"
        return None

    def solve(self, columns: InstrumentColumns) -> Estimate:
        """Estimate the ratio."""
        raised = columns.z[:, 0] == columns.z[:, 0].max()
        above = float(columns.y[raised].mean() - columns.y[~raised].mean())
        below = float(columns.x[raised].mean() - columns.x[~raised].mean())
        low, high = columns.x_values or (0, 1)
        x, y, step = columns.treatment, columns.outcome, float(high) - float(low)
        query: Query | Contrast = average_effect(x, y, low, high)
        own = (
            f"homogeneity: the effect of {x} on {y} is linear and the same for all units (or "
            "unrelated to how far the instrument moves them)"
        )
        if self.effect != "ATE" and columns.is_binary:
            query = _complier_effect(columns, ascending=below > 0)
            own = (
                f"monotonicity: {columns.instruments[0]} moves {x} one way or not at all, for "
                "every unit; this is the effect among the compliers, whom it moves, about "
                f"{abs(below) / step:.1%} of all, and not the ATE"
            )
        stages = Stages(columns, self.errors)
        more = {"numerator": above, "denominator": below}
        return _assembled(stages, _Combined(stages.fitted, "Wald ratio", more), query, [own])


def average_effect(treatment: str, outcome: str, low: Value, high: Value) -> Contrast:
    """Write the query for the average effect of a step of the treatment."""
    return Contrast("ATE", treatment, high, low, outcome)


def _complier_effect(columns: InstrumentColumns, *, ascending: bool) -> Query:
    low, high = columns.x_values
    off, on = columns.z_values if ascending else columns.z_values[::-1]
    (z,) = columns.instruments

    def term(name: str, cause: str, value: Value) -> Term:
        return Term(name, (Intervention(cause, value),))

    outcomes = tuple(
        Event(term(columns.outcome, columns.treatment, value)) for value in (high, low)
    )
    compliers = (
        Event(term(columns.treatment, z, off), low),
        Event(term(columns.treatment, z, on), high),
    )
    return Query("E", outcomes, compliers, coefficients=(1.0, -1.0))


def _shared_assumptions(columns: InstrumentColumns) -> tuple[str, ...]:
    z, x, y = ", ".join(columns.instruments), columns.treatment, columns.outcome
    given = f" given {', '.join(columns.given)}" if columns.given else ""
    return (
        f"relevance: {z} moves {x}{given}",
        f"exclusion: {z} affects {y} through {x} alone",
        f"exchangeability: {z} shares no unmeasured cause with {y}{given}",
    )


def _assembled(
    stages: Stages, combination: _Combined, query: Query | Contrast, own: list[str]
) -> Estimate:
    """Put the answer together, for a step from the lower of two treatments to the upper."""
    columns, combined, more = stages.columns, combination.values, combination.found
    low, high = columns.x_values or (0, 1)
    step = float(high) - float(low)
    kind = "CR2" if stages.corrects_clusters else stages.errors
    by = f" clustered by {columns.cluster}" if columns.cluster else ""
    value, error = step * stages.slope(combined), step * stages.error(combined)
    freedom = stages.freedom(combined)
    if combination.restrictions:
        free = min(freedom, float(stages.num_rows - stages.num_covariates - 1))
        factor, left = allow_for_weights(
            free, combination.restrictions, more["hansen_j"] / columns.num_clusters
        )
        error, freedom = error * factor, freedom if np.isinf(freedom) else left
    strength, critical = stages.effective_f()
    intervals = [(step * low, step * high) for low, high in stages.anderson_rubin()]
    pull = combined * stages.residual(combined) / float(combined @ stages.x)
    return Estimate(
        query,
        f"{combination.label} ({kind} errors{by})",
        np.array(value),
        error=np.array(error),
        draws=None if np.isinf(freedom) else student_draws(value, error, freedom),
        num_rows=stages.num_rows,
        num_dropped=columns.table.dropped,
        influence=step * stages.num_rows * pull,
        assumptions=(*_shared_assumptions(columns), *own),
        notes=(*_weakness(columns, strength), *_cautions(columns, more), _interval_text(intervals)),
        diagnostics={
            **more,
            "first_stage_f": stages.first_stage_f(),
            "effective_f": strength,
            "effective_f_critical": critical,
            "partial_r2": float(stages.fitted @ stages.fitted) / float(stages.x @ stages.x),
            "anderson_rubin": tuple(intervals),
            **({"num_clusters": columns.num_clusters} if columns.cluster else {}),
            **({} if np.isinf(freedom) else {"degrees_of_freedom": freedom}),
        },
    )


def _weakness(columns: InstrumentColumns, strength: float) -> tuple[str, ...]:
    if strength >= _WEAK:
        return ()
    weak = (
        f"weak instrument: the effective first-stage F of {', '.join(columns.instruments)} is "
        f"{strength:.3g}, below {_WEAK:g}; the estimate and its normal interval can be far off"
    )
    warn_user(f"{weak}; use the Anderson-Rubin set", HeuristicWarning)
    return (weak,)


def _cautions(columns: InstrumentColumns, found: dict[str, float]) -> tuple[str, ...]:
    notes = []
    if columns.cluster and columns.num_clusters < _FEW_CLUSTERS:
        few = f"column {columns.cluster!r} has {columns.num_clusters} clusters, which are few"
        notes.append(f"{few}: intervals rest on a correction, and are the wider for it")
        warn_user(
            f"{few}: errors rest on a correction for small samples (CR2 and Student's t under "
            "errors='HC1', none under 'HC0'); expected 30 or more; use smaller clusters if rows "
            "of different ones are independent",
            HeuristicWarning,
        )
    if "hansen_p" in found:
        verdict = "disagree on the effect" if found["hansen_p"] < 0.05 else "do not disagree"
        notes.append(
            f"Hansen's J is {found['hansen_j']:.3g} (p = {found['hansen_p']:.3g}): the instruments "
            f"{verdict}"
        )
    return tuple(notes)


def _interval_text(intervals: list[Interval]) -> str:
    parts = " or ".join(f"{low:.4g} to {high:.4g}" for low, high in intervals)
    return f"95 % Anderson-Rubin set, right for weak instruments too: {parts or 'empty'}"
