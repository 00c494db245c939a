"""Whether any row could have had an arm: the chances of it, and what the arm's rows are worth."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causalppl.data.column import listed
from causalppl.estimation.compared_columns import ComparedColumn, Groups
from causalppl.estimation.estimate import Array
from causalppl.estimation.overlap import ArmOverlap, effective_size

__all__ = ["ArmPositivity", "Counterparts", "describe_arm"]

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True)
class ArmPositivity:
    """The chance of one arm in the population, and what its rows are worth.

    Attributes:
        name: The arm in words.
        rows: How many rows have the arm.
        worth_before: How many equally weighted rows they are worth as they are: all of them,
            unless they have sampling weights.
        worth: How many they are worth weighted.
        largest_share: The share of the weight that rests on one row.
        quantiles: Quantiles of the chance of the arm in the population.
        below_05: The share of the population with a chance below 0.05.
        above_95: The share with a chance above 0.95.
        below_01: The share with next to no chance, below 0.01; 0 where the population is the arm.
        unlike: The share with a value of a covariate (a category, or one of two values) that no
            row of the arm has.
    """

    name: str
    rows: int
    worth_before: float
    worth: float
    largest_share: float
    quantiles: Mapping[float, float]
    below_05: float
    above_95: float
    below_01: float
    unlike: float


def describe_arm(
    overlap: ArmOverlap, chances: Array, own: Array, population: Array, unlike: NDArray[np.bool_]
) -> ArmPositivity:
    """Describe one arm.

    Args:
        overlap: What weighting makes of it.
        chances: The chance of the arm, shape ``(rows,)``.
        own: The weight of the arm's rows as they are, shape ``(rows,)``.
        population: The weight of each row in the population, shape ``(rows,)``, sum 1.
        unlike: Which rows have a value that no row of the arm has.
    """
    return ArmPositivity(
        overlap.name,
        overlap.rows,
        effective_size(own),
        overlap.ess,
        overlap.largest_share,
        _quantiles(chances[population > 0], population[population > 0]),
        float(population @ (chances < 0.05)),
        float(population @ (chances > 0.95)),
        overlap.rare_share,
        float(population @ unlike),
    )


def _quantiles(values: Array, weights: Array) -> dict[float, float]:
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / weights.sum()
    places = np.searchsorted(reached, np.array(QUANTILES) - 1e-12)
    found = values[order][np.minimum(places, len(values) - 1)]
    return dict(zip(QUANTILES, found.tolist(), strict=True))


class Counterparts:
    """Collects the values of the population that no row of an arm has.

    Attributes:
        groups: The arms, and the population.
        unlike: Which rows have such a value, shape ``(arms, rows)``.
    """

    def __init__(self, groups: Groups) -> None:
        self.groups = groups
        self.unlike = np.zeros((len(groups.names), len(groups.population)), bool)
        self._lacking: list[list[str]] = [[] for _ in groups.names]

    def look_at(self, column: ComparedColumn) -> None:
        """Look for values of a category, or of a number with two, that an arm lacks."""
        inside = self.groups.population > 0
        values = column.values[inside]
        low, high = values.min(), values.max()
        if low == high or not bool(((values == low) | (values == high)).all()):
            return
        for arm in range(len(self.groups.names)):
            own = column.values[self.groups.before[arm] > 0]
            for value in (low, high):
                if not (own == value).any():
                    self._add(arm, column, float(value), inside)

    def _add(
        self, arm: int, column: ComparedColumn, value: float, inside: NDArray[np.bool_]
    ) -> None:
        found = (column.values == value) & inside
        self.unlike[arm] |= found
        has = column.name if column.is_category else f"{column.name}={value * column.unit:g}"
        others = "a value other than " if column.is_category and value == 0 else ""
        share = float(self.groups.population @ found)
        self._lacking[arm].append(f"{others}{has} ({share:.1%} of the population)")

    @property
    def notes(self) -> tuple[str, ...]:
        """What was found, one sentence for each arm."""
        lacking = zip(self.groups.names, self._lacking, strict=True)
        return tuple(f"nobody with {name} has {listed(what)}" for name, what in lacking if what)
