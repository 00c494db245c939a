"""What an adjustment estimand asks of a table: means of an outcome, by arm and population.

Every such question (an effect, an effect on the treated, the law under ``do``, an effect in a
stratum) is a weighted sum of means ``E[g(Y_x) | population]``, and every estimator here estimates
these means, with the influence of each row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalppl.data import Table
from causalppl.estimation.adjustment_question import (
    Arm,
    Mean,
    Others,
    Roles,
    Tests,
    check_covariates,
    find_arms,
    find_covariates,
    find_levels,
    find_roles,
    is_dose,
    read_means,
)
from causalppl.estimation.column_values import Codes, encoded, numbers, weighted_rows
from causalppl.estimation.estimate import Array
from causalppl.estimation.estimator import Problem
from causalppl.exceptions import DataError
from causalppl.identification import Estimand
from causalppl.queries import Value
from causalppl.queries.terms import HOLDS

__all__ = ["AdjustmentDesign"]

MOST_LEVELS = 50  # a text column may have this many values, ...
FEWEST = 5  # rows of an arm, below which they do not show their own spread
ROWS_PER_LEVEL = 10  # ... or more, if each has as many rows on average


@dataclass(frozen=True, eq=False)
class AdjustmentDesign:
    """The rows and the means of one question.

    Attributes:
        estimand: The formula, with query and diagram.
        treatments: What is set; several variables count as one, whose values are combinations.
        outcome: The variable that is read.
        covariates: What is adjusted for.
        table: The rows, complete in treatments and covariates.
        arms: The values of the treatment that occur; of a number with too many values those that
            the question sets it to.
        is_numeric: Whether the treatment is a number with too many values to be arms.
        means: The means that the question is about.
        weights: How the answers are made of them, shape ``(answers, means)``.
        axes: The open values of the question.
        row_weights: Sampling weights, with mean 1; shape ``(rows,)``.
    """

    estimand: Estimand
    treatments: tuple[str, ...]
    outcome: str
    covariates: tuple[str, ...]
    table: Table
    arms: tuple[Arm, ...]
    is_numeric: bool
    means: tuple[Mean, ...]
    weights: Array
    axes: dict[str, tuple[Value, ...]]
    row_weights: Array

    @classmethod
    def from_problem(
        cls,
        problem: Problem,
        covariates: Sequence[str] | None = None,
        *,
        keep_unobserved: bool = False,
    ) -> "AdjustmentDesign":
        """Read the question, and take from the table what it needs.

        Args:
            problem: The estimand and the data. Weights that are whole numbers are counts of equal
                rows, others are sampling weights.
            covariates: What to adjust for; by default what the formula or the diagram says.
            keep_unobserved: Keep rows without an outcome.

        Raises:
            QueryError: The question is no mean under one intervention.
            AssumptionError: Adjustment does not answer it.
            DataError: The table lacks a column or a value, treatment or outcome is constant, an
                arm asked about has fewer than 5 rows, or a text covariate has about as many values
                as there are rows.
        """
        roles = find_roles(problem.estimand)
        if covariates is None:
            covariates = find_covariates(problem, roles)
        else:
            covariates = tuple(dict.fromkeys([*covariates, *roles.strata]))
            check_covariates(problem.estimand, roles, covariates)
        needed = [*roles.treatments, *covariates]
        table = problem.table.select([*needed, roles.outcome])
        given = problem.weights.get((None, frozenset()))
        complete = needed if keep_unobserved else table.names
        table, row_weights = weighted_rows(table, given, complete)
        for name in covariates:
            _check_levels(name, table)
        return cls._read(problem.estimand, roles, tuple(covariates), table, row_weights)

    @classmethod
    def _read(
        cls,
        estimand: Estimand,
        roles: Roles,
        covariates: tuple[str, ...],
        table: Table,
        row_weights: Array,
    ) -> "AdjustmentDesign":
        treatments = roles.treatments
        is_numeric = len(treatments) == 1 and is_dose(table.column(treatments[0]))
        arms: tuple[Arm, ...]
        if is_numeric:
            arms = find_levels(estimand, table, treatments[0])
        else:
            arms = find_arms(estimand, table, treatments)
        means, weights, axes = read_means(estimand, table, treatments, arms)
        design = cls(
            estimand=estimand,
            treatments=treatments,
            outcome=roles.outcome,
            covariates=covariates,
            table=table,
            arms=arms,
            is_numeric=is_numeric,
            means=means,
            weights=weights,
            axes=axes,
            row_weights=row_weights,
        )
        design._check_rows()
        return design

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return self.table.num_rows

    @property
    def treatment(self) -> str:
        """The treatments, in words."""
        return ", ".join(self.treatments)

    def arm_name(self, arm: int) -> str:
        """An arm in words, such as ``X=1`` or ``A=1, B=0``."""
        value = self.arms[arm]
        values = value if isinstance(value, tuple) else (value,)
        return ", ".join(f"{n}={v}" for n, v in zip(self.treatments, values, strict=True))

    @cached_property
    def arm(self) -> Codes:
        """The arm that each row was seen in; for treatments that have arms."""
        codes = [
            [encoded(self.table, v, n) for n, v in zip(self.treatments, arm, strict=True)]
            for arm in ((a if isinstance(a, tuple) else (a,)) for a in self.arms)
            if not isinstance(arm[0], Others)
        ]
        seen = np.stack([numbers(self.table, name) for name in self.treatments], 1)
        same = (seen[:, None] == np.array(codes)).all(2)
        return np.where(same.any(1), same.argmax(1), len(self.arms) - 1)

    @property
    def has_others(self) -> bool:
        """Whether the last arm is all values that the question does not name."""
        return isinstance(self.arms[-1], Others)

    @property
    def levels(self) -> Array:
        """The arms as numbers, for a treatment that is one."""
        return np.array(self.arms, dtype=float)

    @cached_property
    def received(self) -> Array:
        """The treatment of each row as a number, for a treatment that is one."""
        return numbers(self.table, self.treatments[0])

    @cached_property
    def observed(self) -> NDArray[np.bool_]:
        """Whether each row has an outcome."""
        missing = self.table.column(self.outcome).missing
        return np.ones(self.num_rows, bool) if missing is None else ~missing.cpu().numpy()

    @cached_property
    def events(self) -> tuple[Tests, ...]:
        """The different functions of the outcome that the means are of."""
        return tuple(dict.fromkeys(mean.event for mean in self.means))

    @cached_property
    def asked_arms(self) -> tuple[int, ...]:
        """The arms that the means are about."""
        return tuple(sorted({mean.arm for mean in self.means}))

    def response(self, event: Tests) -> Array:
        """Compute g of the outcome of each row; 0 where it is missing."""
        y = np.where(self.observed, numbers(self.table, self.outcome), 0.0)
        if event:
            return np.all([HOLDS[op](y, bound) for op, bound in event], axis=0) * 1.0
        categories = self.table.column(self.outcome).categories
        return y if categories is None else np.array(categories, dtype=float)[y.astype(int)]

    def population(self, mean: Mean) -> Array:
        """1 for the rows that the mean is over, else 0."""
        inside = self.stratum(mean)
        return inside if mean.seen is None else inside * (self.arm == mean.seen)

    def stratum(self, mean: Mean) -> Array:
        """1 for the rows in the strata of the mean, whatever their arm."""
        inside = np.ones(self.num_rows)
        for name, code in mean.strata:
            inside = inside * (numbers(self.table, name) == code)
        return inside

    def _check_rows(self) -> None:
        if not self.observed.any():
            raise DataError(f"no row has {self.outcome}; expected some")
        if np.ptp(numbers(self.table, self.outcome)[self.observed]) == 0:
            raise DataError(
                f"the outcome {self.outcome} is the same in all {self.observed.sum():,} rows: no "
                "error can be estimated; expected an outcome that varies"
            )
        for arm in () if self.is_numeric else self.asked_arms:
            self._check_arm(arm)
        for mean in self.means:
            if not self.population(mean).any():
                raise DataError(self._nobody(mean))

    def _check_arm(self, arm: int) -> None:
        count = int((self.observed & (self.arm == arm)).sum())
        if not count:
            raise DataError(f"no row with {self.arm_name(arm)} has an outcome")
        if count < FEWEST:
            rows = "1 row" if count == 1 else f"{count} rows"
            raise DataError(
                f"there {'is' if count == 1 else 'are'} {rows} with {self.arm_name(arm)} and an "
                f"outcome, which cannot show their own spread; expected at least {FEWEST}: "
                f"collect more rows, or group the values of {self.treatment}"
            )

    def _nobody(self, mean: Mean) -> str:
        for name, code in mean.strata:
            values = numbers(self.table, name)
            if self.table.column(name).categories is None and not (values == code).any():
                return (
                    f"no row has {name}={code:g}, of {len(np.unique(values)):,} values that occur; "
                    f"for the effect at a value of a number ask unit_effects(..., "
                    f"units={{'{name}': [{code:g}], ...}}), or cut {name} into bands"
                )
        return (
            f"no row is in a population that {self.estimand.query} asks about; expected values "
            "that occur together"
        )

    def take(self, rows: Any) -> "AdjustmentDesign":
        """Keep some rows, by number (with repetition) or mask."""
        kept = self.row_weights[rows]
        return replace(self, table=self.table.rows(rows), row_weights=kept / kept.mean())


def _check_levels(name: str, table: Table) -> None:
    """Refuse text with about as many values as rows: a name or number of the unit, no covariate."""
    if table.column(name).categories is None:
        return
    levels = len(np.unique(numbers(table, name)))
    if levels > MOST_LEVELS and levels * ROWS_PER_LEVEL > table.num_rows:
        raise DataError(
            f"{name} is text with {levels:,} values in {table.num_rows:,} rows; expected at most "
            f"{MOST_LEVELS} values, or {ROWS_PER_LEVEL} rows for each: leave {name} out if it "
            "names the units, convert it if it holds numbers, else group its values"
        )
