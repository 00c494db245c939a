"""Models of the reward of each action in each context, and what a policy earns under them."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.estimation.policy_log import PolicyLog

__all__ = ["LinearRewards", "Moments", "RegressorRewards", "RewardModel", "with_ones"]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]

_PREDICTED_AT_ONCE = 100_000  # pairs of context and action
_MOST_PRODUCTS = 300  # columns of products of action and context, for a regressor


class RewardModel(ABC):
    """A fitted model of rewards."""

    @abstractmethod
    def of_policy(self, log: PolicyLog, places: Codes) -> Array:
        """Return the policy's mean reward in some contexts, shape ``(places,)``."""

    @abstractmethod
    def of_logged(self, log: PolicyLog, rows: Codes) -> Array:
        """Return the mean reward of the action logged in some rows, shape ``(rows,)``."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over rows by action, with x the context after a leading 1 and r the reward.

    Attributes:
        squares: Sums of ``x x'``, shape ``(actions, features + 1, features + 1)``.
        products: Sums of ``x r``, shape ``(actions, features + 1)``.
    """

    squares: Array
    products: Array

    @classmethod
    def by_fold(cls, log: PolicyLog, fold: Codes, num_folds: int) -> "Moments":
        """Sum in each fold; the arrays have a leading axis of folds."""
        import pandas as pd

        contexts, actions = log.policy.shape
        cells = (fold * actions + log.codes) * contexts + log.places
        place, found = pd.factorize(cells)
        sizes, sums = np.bincount(place), np.bincount(place, log.reward)
        order = np.argsort(found)
        group = found[order] // contexts
        x = with_ones(log.contexts[found[order] % contexts])
        weighted, rewards = x * sizes[order, None], x * sums[order, None]
        width = x.shape[1]
        squares = np.zeros((num_folds * actions, width, width))
        products = np.zeros((num_folds * actions, width))
        present, starts = np.unique(group, return_index=True)
        for code, start, end in zip(present, starts, [*starts[1:], len(group)], strict=True):
            squares[code] = weighted[start:end].T @ x[start:end]
            products[code] = rewards[start:end].sum(axis=0)
        shape = (num_folds, actions, width)
        return cls(squares.reshape(*shape, width), products.reshape(shape))

    @classmethod
    def of(cls, log: PolicyLog) -> "Moments":
        """Sum over the whole log."""
        sums = cls.by_fold(log, np.zeros_like(log.codes), 1)
        return cls(sums.squares[0], sums.products[0])

    def without(self, fold: int) -> "Moments":
        """Sum over all folds but one."""
        rest = np.arange(len(self.squares)) != fold
        return Moments(self.squares[rest].sum(axis=0), self.products[rest].sum(axis=0))

    def solve(self, products: Array) -> Array:
        """Solve the normal equations, shape ``(actions, features + 1)``.

        A ridge, and a second one of what it leaves: its shrinkage, which would be bias, is squared
        (Tukey's twicing).
        """
        once = self._ridge(products)
        left = products - np.einsum("afg,ag->af", self.squares, once)
        return once + self._ridge(left)

    def _ridge(self, products: Array) -> Array:
        """Solve those of one ridge.

        Action a has the coefficients ``s + d_a``; squares of ``d_a``, and of all of ``s`` but its
        constant, are penalised. Given s, each ``d_a`` has its own equations, ``(S_a + 1) d_a =
        t_a - S_a s``, and putting them in leaves those of s.
        """
        width = products.shape[1]
        right = np.concatenate([products[:, :, None], self.squares], axis=2)
        solved = np.linalg.solve(self.squares + np.eye(width), right)
        own, shrunk = solved[:, :, 0], solved[:, :, 1:]
        penalty = np.diag([0.0] + [1.0] * (width - 1))
        shared = np.linalg.solve(shrunk.sum(axis=0) + penalty, own.sum(axis=0))
        return np.asarray(own - shrunk @ shared + shared)


@dataclass(frozen=True, eq=False)
class LinearRewards(RewardModel):
    """Linear in indicators of the action, the context and their products; shape as `Moments`."""

    coefficients: Array

    def of_policy(self, log: PolicyLog, places: Codes) -> Array:
        """See `RewardModel`."""
        x = with_ones(log.contexts[places])
        return np.asarray(np.einsum("cf,cf->c", x, log.policy[places] @ self.coefficients))

    def of_logged(self, log: PolicyLog, rows: Codes) -> Array:
        """See `RewardModel`."""
        x = with_ones(log.contexts[log.places[rows]])
        return np.asarray(np.einsum("nf,nf->n", x, self.coefficients[log.codes[rows]]))


@dataclass(frozen=True, eq=False)
class RegressorRewards(RewardModel):
    """A scikit-learn regressor on indicators of the action, the context and their products."""

    fitted: Any

    @classmethod
    def fit(cls, model: Any, log: PolicyLog, rows: Codes) -> "RegressorRewards":
        """Fit a copy of a regressor to some rows."""
        from sklearn.base import clone

        design = _design(log.contexts[log.places[rows]], log.codes[rows], len(log.actions))
        return cls(clone(model).fit(design, log.reward[rows]))

    def of_policy(self, log: PolicyLog, places: Codes) -> Array:
        """See `RewardModel`."""
        pairs = len(places) * len(log.actions)
        parts = np.array_split(places, min(-(-pairs // _PREDICTED_AT_ONCE), len(places)))
        return np.concatenate([self._of_part(log, part) for part in parts])

    def _of_part(self, log: PolicyLog, part: Codes) -> Array:
        count = len(log.actions)
        pairs = _design(
            log.contexts[part].repeat(count, axis=0), np.tile(np.arange(count), len(part)), count
        )
        predicted = np.asarray(self.fitted.predict(pairs), dtype=float).reshape(len(part), count)
        return np.asarray((predicted * log.policy[part]).sum(axis=1))

    def of_logged(self, log: PolicyLog, rows: Codes) -> Array:
        """See `RewardModel`."""
        count = len(log.actions)
        cells, place = np.unique(log.places[rows] * count + log.codes[rows], return_inverse=True)
        parts = np.array_split(cells, -(-len(cells) // _PREDICTED_AT_ONCE))
        designs = (_design(log.contexts[part // count], part % count, count) for part in parts)
        return np.concatenate([self.fitted.predict(design) for design in designs])[place]


def with_ones(contexts: Array) -> Array:
    """Put a column of ones first."""
    return np.column_stack([np.ones(len(contexts)), contexts])


def _design(context: Array, codes: Codes, num_actions: int) -> Array:
    """Indicators of the action, the context, and (if there are few) the products of both."""
    taken = np.eye(num_actions)[codes]
    parts = [taken, context]
    if context.shape[1] * num_actions <= _MOST_PRODUCTS:
        parts.append((taken[:, :, None] * context[:, None, :]).reshape(len(codes), -1))
    return np.column_stack(parts)
