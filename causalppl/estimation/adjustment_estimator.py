"""What the estimators for adjustment have in common: settings, errors, and the answer."""

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from scipy.special import ndtri, stdtrit

from causalppl.estimation.adjustment_design import AdjustmentDesign
from causalppl.estimation.bootstrap_ends import with_ends
from causalppl.estimation.column_values import MOST_STATES, numbers
from causalppl.estimation.estimate import Array, Estimate
from causalppl.estimation.estimator import Estimator, Problem
from causalppl.estimation.settings import check_count, check_names
from causalppl.exceptions import CausalPPLError, DataError
from causalppl.identification import Estimand
from causalppl.inference.progress import progress_bar
from causalppl.queries import Contrast

__all__ = ["AdjustmentEstimator", "Computed", "asks_for_doses"]

FEWEST_DRAWS = 20  # fewer give no interval
THIN = 20  # rows of an arm, below which limits for many rows are doubtful


@dataclass(frozen=True, eq=False)
class Computed:
    """What an adjustment estimator finds.

    Attributes:
        values: The means, shape ``(means,)``.
        influence: The influence of each row on them, shape ``(rows, means)``; None if unknown.
        ess: The effective sample size of each arm that was asked for.
        notes: As in `Estimate`.
        diagnostics: As in `Estimate`.
        terms: How many coefficients each arm's own model has, beside its constant.
        freedom: The degrees of freedom of the errors, where they are known.
    """

    values: Array
    influence: Array | None
    ess: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    diagnostics: Any = None
    terms: int = 0
    freedom: float = float("inf")


@dataclass(frozen=True, kw_only=True)
class AdjustmentEstimator(Estimator):
    """What the estimators for adjustment have in common.

    Attributes:
        covariates: What to adjust for instead of the formula's covariates; must be an adjustment
            set of the diagram. The table must hold them.
        terms: Terms of the models beside the covariates themselves: powers and products such as
            ``"age^2"`` and ``"age*sex"``. A term that names the treatment enters the outcome model
            only, which is then one model for all arms.
        bootstrap: How many times to draw the rows anew for the errors, at least 20; 0: errors by
            formula, or none; None: by formula where there is one, else 200 draws.
    """

    takes_numeric: ClassVar[bool] = False
    """Whether the treatment may be a number with too many values to be arms."""

    covariates: Sequence[str] | None = None
    terms: Sequence[str] = ()
    bootstrap: int | None = None

    def __post_init__(self) -> None:
        if self.covariates is not None:
            object.__setattr__(self, "covariates", check_names("covariates", self.covariates))
        object.__setattr__(self, "terms", check_names("terms", self.terms))
        is_none = self.bootstrap is None or (self.bootstrap is not False and self.bootstrap == 0)
        if not is_none:
            check_count("bootstrap", self.bootstrap, FEWEST_DRAWS, 200)

    @abstractmethod
    def compute(self, design: AdjustmentDesign, rng: np.random.Generator) -> Computed:
        """Estimate the means of a design."""

    def values(self, design: AdjustmentDesign, rng: np.random.Generator) -> Array:
        """Estimate the means of a design, and nothing else; for rows drawn anew."""
        return self.compute(design, rng).values

    @property
    def keeps_unobserved(self) -> bool:
        """Whether rows without an outcome are of use: the table should then be given whole."""
        return bool(getattr(self, "censoring", False))

    def extra_columns(self, estimand: Estimand) -> tuple[str, ...]:
        """Name the covariates that were given."""
        return tuple(self.covariates or ())

    def keeps_incomplete(self, estimand: Estimand) -> frozenset[str]:
        """Name the outcome, where rows without it are of use."""
        if not self.keeps_unobserved:
            return frozenset()
        query = estimand.query
        if isinstance(query, Contrast):
            return frozenset({query.outcome})
        return frozenset(event.name for event in query.outcomes)

    def refusal(self, problem: Problem) -> str | None:
        """Say why adjustment cannot answer; None if it can."""
        try:
            self.check(self._design(problem))
        except CausalPPLError as error:
            return str(error)
        return None

    def check(self, design: AdjustmentDesign) -> None:
        """Raise if the estimator cannot answer; nothing is fitted."""

    def model_assumption(self) -> str:
        """Say which models must be right."""
        return "the models of outcome and treatment are right"

    def assumptions(self, design: AdjustmentDesign) -> tuple[str, ...]:
        """Say what an answer rests on."""
        return (*_assumptions(design), self.model_assumption())

    def solve(self, problem: Problem, *, seed: int, progress: bool = False) -> Estimate:
        """Estimate the means, and put the answer together, see `Estimator.solve`."""
        design = self._design(problem)
        self.check(design)
        found = self.compute(design, np.random.default_rng(seed))
        repeats = self.bootstrap
        if repeats is None:
            repeats = 200 if found.influence is None else 0
        draws, skipped = self._draws(design, repeats, seed, progress) if repeats else (None, ())
        influence = None if found.influence is None else found.influence @ design.weights.T
        if draws is None and influence is None:
            raise DataError(f"{self.name} has no formula for the errors here; leave bootstrap out")
        shape = tuple(map(len, design.axes.values()))
        error, raised = None, tuple[str, ...]()
        if draws is not None:
            draws = draws.reshape(-1, *shape)
            error, draws = draws.std(axis=0, ddof=1), with_ends(draws)
        elif influence is not None:
            factor, raised = _allow_for_few(design, found)
            factor *= float(stdtrit(found.freedom, 0.975) / ndtri(0.975))
            error = np.sqrt((influence**2).mean(0) / design.num_rows).reshape(shape) * factor
        return Estimate(
            design.estimand.query,
            described(self),
            (design.weights @ found.values).reshape(shape),
            axes=design.axes,
            error=error,
            draws=draws,
            num_rows=design.num_rows,
            num_dropped=design.table.dropped,
            ess=len(found.ess) ** 2 / sum(1 / size for size in found.ess) if found.ess else None,
            estimand=design.estimand,
            influence=None if influence is None else influence.reshape(-1, *shape),
            assumptions=self.assumptions(design),
            notes=(*found.notes, *_notes(design), *skipped, *raised),
            diagnostics={"covariates": design.covariates, **(found.diagnostics or {})},
        )

    def _design(self, problem: Problem) -> AdjustmentDesign:
        design = AdjustmentDesign.from_problem(
            problem, self.covariates, keep_unobserved=self.keeps_unobserved
        )
        if design.is_numeric and not self.takes_numeric:
            count = len(np.unique(design.received))
            raise DataError(
                f"{design.treatment} takes {count:,} values; {self.name} compares arms and expects "
                f"at most {MOST_STATES}: use GFormula() for a regression on {design.treatment} as "
                "a number, PartiallyLinear() for one slope, or cut it into bands"
            )
        return design

    def check_pooled(self, design: AdjustmentDesign, *, pooled: bool) -> None:
        """Refuse one model for all arms where some values have no arm of their own."""
        if pooled and design.has_others:
            raise DataError(
                f"{design.treatment} takes many values, which one model for all cannot tell apart; "
                f"expected pooled=False and no term with {design.treatment}, or fewer values"
            )

    def _draws(
        self, design: AdjustmentDesign, repeats: int, seed: int, progress: bool
    ) -> tuple[Array, tuple[str, ...]]:
        rng = np.random.default_rng([seed, 1])
        draws: list[Array] = []
        failures: list[str] = []
        bar = progress_bar(repeats, "bootstrap", progress=progress)
        with bar, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said once, of the data themselves
            while len(draws) < repeats:
                drawn = design.take(rng.integers(design.num_rows, size=design.num_rows))
                seen = design.asked_arms if design.is_numeric else drawn.arm[drawn.observed]
                if not set(design.asked_arms) <= set(seen):
                    continue
                try:
                    draws.append(design.weights @ self.values(drawn, rng))
                    bar.update()
                except CausalPPLError as error:
                    failures.append(str(error))
                    if len(failures) > repeats:
                        raise DataError(
                            f"more than half of the rows drawn anew give no answer ({error}); "
                            "expected rows enough for the model: leave bootstrap out, or use "
                            "fewer covariates"
                        ) from None
        if not failures:
            return np.array(draws), ()
        note = f"{len(failures):,} draws of rows gave no answer and were left out ({failures[0]})"
        return np.array(draws), (note,)


def described(estimator: AdjustmentEstimator) -> str:
    """Its name, with the settings that differ from the defaults."""
    given = [(f.name, getattr(estimator, f.name), f.default) for f in fields(estimator)]
    listed = [
        f"{name}={', '.join(value) if isinstance(value, tuple) else value}"
        for name, value, usual in given
        if value is not usual
    ]
    return f"{estimator.name} ({'; '.join(listed)})" if listed else estimator.name


def _notes(design: AdjustmentDesign) -> list[str]:
    """Say which arms have few rows, and what does not vary."""
    few = [
        f"only {count} rows with {design.arm_name(arm)} are compared: the interval is by "
        "large-sample theory and may be too narrow"
        for arm, count in _find_few(design).items()
    ]
    constant = [
        f"{name} is the same in all rows: it is not adjusted for"
        for name in design.covariates
        if np.ptp(numbers(design.table, name)) == 0
    ]
    events = [(event, design.response(event)[design.observed]) for event in design.events]
    never = [
        f"the event that {design.outcome} {' and '.join(f'{op} {b:g}' for op, b in event)} has the "
        "same answer in all rows: an interval of width 0 says nothing"
        for event, values in events
        if np.ptp(values) == 0
    ]
    return [*few, *constant, *never]


def _find_few(design: AdjustmentDesign) -> dict[int, int]:
    """The rows of each arm that are compared, where they are fewer than 20."""
    found: dict[int, int] = {}
    for mean in () if design.is_numeric else design.means:
        inside = design.stratum(mean) * design.observed * (design.arm == mean.arm)
        found[mean.arm] = min(int(inside.sum()), found.get(mean.arm, THIN))
    return {arm: count for arm, count in found.items() if count < THIN}


def _allow_for_few(design: AdjustmentDesign, found: Computed) -> tuple[float, tuple[str, ...]]:
    """By how much to raise errors where an arm has few rows, and a note.

    The degrees of freedom of a robust error are about those of the smaller arm (Imbens and Kolesár,
    2016), here of the rows that weights leave; the factor is that of the quantiles at 95 %, times
    that of the spread about an estimated mean.
    """
    few = _find_few(design)
    if not few:
        return 1.0, ()
    rows = max(min([*few.values(), *found.ess]), 2.0)
    freedom = max(rows - 1 - found.terms, 1.0)
    factor = float(stdtrit(freedom, 0.975) / ndtri(0.975) * np.sqrt(rows / (rows - 1)))
    note = (
        f"for few rows the errors are raised by {factor - 1:.0%}, as by a t distribution with "
        f"{freedom:.1f} degrees of freedom"
    )
    return factor, (note,)


def _assumptions(design: AdjustmentDesign) -> tuple[str, ...]:
    given = f" given {', '.join(design.covariates)}" if design.covariates else ""
    return (
        f"consistency: the outcome seen is the one under the {design.treatment} received",
        f"exchangeability: nothing else than the diagram shows confounds {design.treatment} and "
        f"{design.outcome}{given}",
        f"positivity: every value of {design.treatment} asked about has a chance{given}",
    )


def asks_for_doses(problem: Problem) -> bool:
    """Whether adjustment can answer, and the treatment takes too many values to be arms."""
    try:
        return AdjustmentDesign.from_problem(problem, None).is_numeric
    except CausalPPLError:
        return False
