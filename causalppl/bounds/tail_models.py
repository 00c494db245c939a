"""Tail means of an outcome given covariates: what the worst hidden cause does within each stratum.

Given covariates, a hidden cause that changes odds by at most ``L`` can reweigh the outcomes of an
arm by ``r`` between ``1 / L`` and ``L``, with mean 1: covariates fix how many units there are. The
largest reweighed mean puts ``L`` on the upper tail of probability ``1 / (1 + L)``.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Tail", "TailModels", "tail_outcome"]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]


class Tail(NamedTuple):
    """For each row, given its covariates: a quantile of the outcome, and the reweighed mean."""

    quantile: Array
    mean: Array


def tail_outcome(y: Array, quantile: Array, odds_ratio: float, sign: int) -> Array:
    """What each outcome counts in the reweighed mean, for a quantile that need not be right.

    Its mean given covariates is the largest (``sign`` 1) or smallest reweighed mean where the
    quantile, at level ``L / (1 + L)`` or ``1 / (1 + L)``, is right, and lies outside where it is
    not.

    References:
        Dorn and Guo (2022), Sharp sensitivity analysis for inverse propensity weighting via
        quantile balancing; Dorn, Guo and Kallus (2024), Doubly-valid/doubly-sharp sensitivity
        analysis for causal inference with unmeasured confounding.
    """
    beyond = np.maximum(sign * (y - quantile), 0.0)
    tail = quantile + sign * (1 + odds_ratio) * beyond
    return np.asarray(y / odds_ratio + (1 - 1 / odds_ratio) * tail)


class TailModels(ABC):
    """Chances of arms, and tails of outcomes in an arm, for each row.

    Attributes:
        arm: The arm of each row, from 0.
        weights: How often each row counts.
    """

    arm: Codes
    weights: Array

    @property
    def repeats(self) -> Array:
        """How many equal rows each row stands for: one."""
        return np.ones(len(self.arm))

    @abstractmethod
    def chance(self, arm: int) -> Array:
        """The chance of an arm given the covariates of each row."""

    @abstractmethod
    def tail(self, y: Array, arm: int, odds_ratio: float, sign: int) -> Tail:
        """The tail of an outcome in an arm given the covariates of each row."""

    @abstractmethod
    def held_out_tail(self, y: Array, arm: int, odds_ratio: float, sign: int) -> Tail:
        """The same, where the quantile of a row, and its mean, do not depend on its outcome."""

    def span(self, y: Array) -> tuple[float, float]:
        """Where outcomes can be; as seen, if it is not known."""
        seen = y[self.weights > 0]
        return float(seen.min()), float(seen.max())

    def rows_beyond(self, arm: int, odds_ratio: float) -> float:
        """How many rows of an arm the scarcest tail has; infinite where it is not known."""
        return np.inf
