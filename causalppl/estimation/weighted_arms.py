"""The rows of the arms that a question compares, weighted as an estimator weights them."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.estimation.adjustment_design import AdjustmentDesign
from causalppl.estimation.adjustment_question import Mean
from causalppl.estimation.column_values import MOST_STATES
from causalppl.estimation.compared_columns import Groups
from causalppl.estimation.doubly_robust import AIPW, TMLE
from causalppl.estimation.estimate import Array
from causalppl.estimation.estimator import Problem
from causalppl.estimation.features import Factors, Features
from causalppl.estimation.overlap import ArmOverlap, balancing_weights, describe_overlap
from causalppl.estimation.propensity import TreatmentModel, find_separation
from causalppl.estimation.weighting import IPW, CensoringModel, rows_to_keep
from causalppl.exceptions import AssumptionError, DataError, QueryError

__all__ = ["WeightedArms", "Weighting"]

Weighting: TypeAlias = IPW | AIPW | TMLE
"""An estimator that weights rows by their chance of an arm."""


@dataclass(frozen=True, eq=False)
class WeightedArms:
    """The arms that a question compares, with their weights.

    Attributes:
        design: The rows.
        terms: The terms of the model of the treatment.
        model: The model of the treatment.
        means: For each arm its mean; all are over one population.
        weighted: What the rows of each arm weigh, shape ``(arms, rows)``.
        own: What they weigh as they are, likewise.
        overlaps: What weighting makes of each arm.
        notes: What the reader should know of the weights.
    """

    design: AdjustmentDesign
    terms: tuple[Factors, ...]
    model: TreatmentModel
    means: tuple[Mean, ...]
    weighted: Array
    own: Array
    overlaps: tuple[ArmOverlap, ...]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, problem: Problem, method: Weighting, rng: np.random.Generator) -> "WeightedArms":
        """Fit the model of the treatment as the method does, and weight the rows.

        Raises:
            QueryError: The question is about several populations, or nothing is adjusted for.
            AssumptionError: Adjustment does not answer it; too few rows are in a stratum.
            DataError: The treatment takes too many values to be arms, or a term is none.
        """
        design = _read(problem, method)
        means = _means(design)
        design, features, model, notes = _fitted(design, method, rng)
        extra = np.asarray(design.observed, float)
        own = [design.stratum(m) * (design.arm == m.arm) * design.row_weights for m in means]
        before = np.stack(own) * extra
        if isinstance(method, IPW) and method.censoring:
            extra = CensoringModel.fitted(design, features).weights
        chances = np.maximum(model.chances, method.clip)
        overlaps = {
            overlap.arm: overlap
            for overlap in describe_overlap(design, model.chances, extra, clip=method.clip)
        }
        return cls(
            design,
            features.factors,
            model,
            means,
            np.stack([balancing_weights(design, chances, mean) * extra for mean in means]),
            before,
            tuple(overlaps[design.arms[mean.arm]] for mean in means),
            (
                *notes,
                *(f"overlap is poor for {each}" for each in overlaps.values() if each.is_poor),
            ),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The arms in words."""
        return tuple(self.design.arm_name(mean.arm) for mean in self.means)

    @property
    def chances(self) -> Array:
        """The chance of each arm, shape ``(rows, arms)``."""
        return self.model.chances[:, [mean.arm for mean in self.means]]

    @property
    def received(self) -> NDArray[np.int64]:
        """The place of each row's arm; -1 for rows of an arm that is not compared."""
        places = np.full(len(self.design.arms), -1)
        places[[mean.arm for mean in self.means]] = np.arange(len(self.means))
        return np.asarray(places[self.design.arm])

    @property
    def population(self) -> str:
        """Whom the arms are to stand for, in words."""
        mean, design = self.means[0], self.design
        strata = [_told(design, name, code) for name, code in mean.strata]
        seen = [] if mean.seen is None else [design.arm_name(mean.seen)]
        count = int(design.population(mean).sum())
        told = " and ".join([*seen, *strata])
        return f"the {count:,} rows with {told}" if told else f"all {count:,} rows"

    @property
    def groups(self) -> Groups:
        """What is compared: the arms; or where there is one, it and the population."""
        whole = self.design.population(self.means[0]) * self.design.row_weights
        also = [whole] if len(self.means) == 1 else []
        return Groups.of(self.names, [*self.own, *also], [*self.weighted, *also], whole)


def _read(problem: Problem, method: Weighting) -> AdjustmentDesign:
    try:
        design = AdjustmentDesign.from_problem(
            problem, method.covariates, keep_unobserved=method.keeps_unobserved
        )
    except AssumptionError as error:
        raise AssumptionError(
            "balance compares arms in what is adjusted for, and adjustment does not answer "
            f"{problem.estimand.query}: {str(error).partition('; use ')[0]}; expected an estimand "
            "whose covariates are measured"
        ) from None
    if design.is_numeric:
        raise DataError(
            f"{design.treatment} takes {len(np.unique(design.received)):,} values; balance "
            f"compares arms and expects at most {MOST_STATES}: cut {design.treatment} into bands"
        )
    if not design.covariates:
        raise QueryError(
            f"nothing is adjusted for to answer {problem.estimand.query}, so there is nothing to "
            "balance; expected covariates: name some that causes of the outcome may be, as in "
            "method=IPW(covariates=['age'])"
        )
    method.check(design)
    return design


def _means(design: AdjustmentDesign) -> tuple[Mean, ...]:
    """The mean of each arm, whatever is read of the outcome."""
    means = sorted({mean._replace(event=()) for mean in design.means}, key=lambda m: m.arm)
    populations = {(mean.seen, mean.strata) for mean in means}
    if len(populations) > 1:
        raise QueryError(
            f"{design.estimand.query} is about {len(populations)} populations; expected one, whose "
            "arms can be compared: give each variable after the bar a value"
        )
    return tuple(means)


def _fitted(
    design: AdjustmentDesign, method: Weighting, rng: np.random.Generator
) -> tuple[AdjustmentDesign, Features, TreatmentModel, tuple[str, ...]]:
    """Fit the model of the treatment, again where rows are trimmed; what separates is noted."""
    features = Features(design, tuple(method.terms))
    model = method.treatment_model(design, features, rng)
    notes = []
    if separation := find_separation(design, model.chances):
        notes.append(f"{separation}: weights cannot make up for that")
    kept = rows_to_keep(design, model.chances, method.trim)
    if not kept.all():
        notes.append(
            f"{(~kept).sum():,} of {len(kept):,} rows with a chance of an arm below "
            f"{method.trim:g} were left out"
        )
        design = design.take(kept)
        features = Features(design, tuple(method.terms))
        model = method.treatment_model(design, features, rng)
    if any(fit.trouble for fit in model.fits):
        notes.append(f"the model of {design.treatment} has not converged")
    return design, features, model, tuple(notes)


def _told(design: AdjustmentDesign, name: str, code: float) -> str:
    categories = design.table.column(name).categories
    return f"{name}={f'{code:g}' if categories is None else categories[int(code)]}"
