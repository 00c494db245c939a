"""Ways to estimate the value of a policy; the table of `policy_value` compares them."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.estimation.policy_log import PolicyLog
from causalppl.estimation.policy_rewards import (
    LinearRewards,
    Moments,
    RegressorRewards,
    RewardModel,
    with_ones,
)
from causalppl.exceptions import DataError

__all__ = [
    "PolicyDM",
    "PolicyDR",
    "PolicyIPW",
    "PolicyMethod",
    "PolicySNIPW",
    "PolicySwitchDR",
]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]


class PolicyMethod(ABC):
    """A way to estimate a policy's value; its fields are its settings.

    Attributes:
        name: Its name in results.
        is_weighted: Whether it rests on the weights, and so on overlap.
        assumptions: What it rests on beside what all methods do.
    """

    name: ClassVar[str]
    is_weighted: ClassVar[bool] = True
    assumptions: ClassVar[tuple[str, ...]] = (
        "the propensities are those with which the logged actions were taken",
        "every action that the policy takes in a context could be logged there",
    )

    @abstractmethod
    def contributions(self, log: PolicyLog, seed: int) -> Array:
        """Return what each row adds to the value, with its influence on it, shape ``(rows,)``."""

    def draws(self, log: PolicyLog, seed: int) -> Array | None:
        """Return draws of a bootstrap, shape ``(draws,)``, where contributions lack influence."""
        return None

    def diagnostics(self, log: PolicyLog) -> dict[str, float]:
        """Return more numbers for the reader."""
        return {}


@dataclass(frozen=True)
class PolicyIPW(PolicyMethod):
    """Inverse propensity weighting: unbiased, and noisy where weights are large.

    References:
        Horvitz and Thompson (1952).

    Example:
        >>> PolicyIPW().name
        'IPW'
    """

    name = "IPW"

    def contributions(self, log: PolicyLog, seed: int) -> Array:
        """Weigh rewards."""
        return np.asarray(log.weight * log.reward)


@dataclass(frozen=True)
class PolicySNIPW(PolicyMethod):
    """Self-normalised weighting: stays within the range of the rewards; biased by 1 / rows.

    References:
        Swaminathan and Joachims (2015), The self-normalized estimator.

    Example:
        >>> PolicySNIPW().name
        'SNIPW'
    """

    name = "SNIPW"

    def contributions(self, log: PolicyLog, seed: int) -> Array:
        """Weigh rewards by weights that average 1."""
        value = float(log.weight @ log.reward / log.weight.sum())
        return np.asarray(value + log.weight * (log.reward - value) / log.weight.mean())


@dataclass(frozen=True)
class _Modelled(PolicyMethod):
    """A method with a reward model."""

    model: Any = None

    def __post_init__(self) -> None:
        if self.model is not None and not hasattr(self.model, "fit"):
            raise DataError(f"model is {self.model!r}; expected a scikit-learn regressor")

    def _bootstrap(self, log: PolicyLog, seed: int, times: int) -> Array:
        """Estimate again from slates drawn with replacement, shape ``(times,)``."""
        rng = np.random.default_rng(seed)
        order = np.argsort(log.groups, kind="stable")
        sizes = np.bincount(log.groups)
        starts = np.cumsum(sizes) - sizes
        found = []
        for _ in range(times):
            chosen = rng.integers(0, len(sizes), len(sizes))
            groups = np.repeat(np.arange(len(sizes)), sizes[chosen])
            ends = np.cumsum(sizes[chosen])
            within = np.arange(len(groups)) - (ends - sizes[chosen])[groups]
            again = log.rows(order[starts[chosen][groups] + within], groups)
            found.append(again.per_slate(self.contributions(again, seed)).mean())
        return np.array(found)


def _policy_rewards(model: RewardModel, log: PolicyLog, rows: Codes) -> Array:
    """Predict the policy's reward in some rows, once for each context among them."""
    present = np.bincount(log.places[rows], minlength=len(log.contexts)) > 0
    each = np.zeros(len(present))
    each[present] = model.of_policy(log, np.flatnonzero(present))
    return each[log.places[rows]]


def _pull(log: PolicyLog, sums: Moments, residual: Array, kept: Array | None = None) -> Array:
    """Return each row's influence through the coefficients of the default model, shape ``(rows,)``.

    It is ``g' inverse(A) x`` times the row's residual, with A the matrix of the model's normal
    equations and g the gradient of the summed predictions, less the weighted ones, by coefficients.
    """
    x = with_ones(log.contexts)
    gradient = log.policy.T @ (np.bincount(log.places)[:, None] * x)
    if kept is not None:
        weighted = [np.bincount(log.codes, kept * x[log.places, f]) for f in range(x.shape[1])]
        gradient[: len(weighted[0])] -= np.stack(weighted, axis=1)
    slopes = LinearRewards(sums.solve(gradient))
    pull = slopes.of_logged(log, np.arange(len(log.codes))) * residual
    return np.asarray(pull - pull.mean())


@dataclass(frozen=True)
class PolicyDM(_Modelled):
    """The direct method: the policy's mean reward under a model of rewards.

    Its interval holds the noise of the fitted model and of the contexts, and leaves out the
    model's bias: it is about the value under the model of this kind that is nearest to the truth.
    For the default model it comes from the influence function (the sandwich), for others from a
    bootstrap that refits the model.

    Attributes:
        model: A scikit-learn regressor; None is ridge regression on indicators of the action, the
            context, and their products, and once more on its residuals, against shrinkage.
        num_bootstrap: Number of refits; not used by the default model.

    Raises:
        DataError: ``model`` is no regressor of scikit-learn.

    Example:
        >>> PolicyDM(num_bootstrap=50).name
        'DM'
    """

    num_bootstrap: int = 200
    name = "DM"
    is_weighted: ClassVar[bool] = False
    assumptions: ClassVar[tuple[str, ...]] = ("the model of rewards is right, or nearly so",)

    def contributions(self, log: PolicyLog, seed: int) -> Array:
        """Predict rewards; add each row's influence through the default model, which sums to 0."""
        rows = np.arange(len(log.reward))
        if self.model is not None:
            return _policy_rewards(RegressorRewards.fit(self.model, log, rows), log, rows)
        sums = Moments.of(log)
        model = LinearRewards(sums.solve(sums.products))
        residual = log.reward - model.of_logged(log, rows)
        return _policy_rewards(model, log, rows) + _pull(log, sums, residual)

    def draws(self, log: PolicyLog, seed: int) -> Array | None:
        """Refit a regressor to slates drawn again."""
        return None if self.model is None else self._bootstrap(log, seed, self.num_bootstrap)


@dataclass(frozen=True)
class PolicyDR(_Modelled):
    """Doubly robust: the direct method, corrected by the weighted errors of its model.

    With known propensities it is unbiased whatever the model, which is fitted on other folds.

    Attributes:
        model: As for `PolicyDM`.
        folds: Number of folds for the model.

    Raises:
        DataError: A setting is out of range, or a learner lacks the methods of scikit-learn.

    References:
        Dudík, Langford and Li (2011), Doubly robust policy evaluation and learning.

    Example:
        >>> PolicyDR(folds=2).folds
        2
    """

    folds: int = 5
    name = "DR"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.folds, bool) or not isinstance(self.folds, int) or self.folds < 2:
            raise DataError(f"folds is {self.folds!r}; expected an integer, at least 2")

    def contributions(self, log: PolicyLog, seed: int) -> Array:
        """Predict rewards, and weigh the errors."""
        direct, logged = self._cross_fitted(log, seed)
        return np.asarray(direct + self._kept(log) * (log.reward - logged))

    def _kept(self, log: PolicyLog) -> Array:
        return log.weight

    def _cross_fitted(self, log: PolicyLog, seed: int) -> tuple[Array, Array]:
        """Predict from other folds: under the policy, and for the logged actions."""
        if log.num_slates < self.folds:
            raise DataError(
                f"the log has {log.num_slates} rows or lists; expected at least {self.folds}"
            )
        # by the log as read, so that copies of a row in a bootstrap share a fold
        shuffled = np.random.default_rng(seed).permutation(int(log.origins.max()) + 1)
        fold = shuffled[log.origins] % self.folds
        direct, logged = np.empty(len(fold)), np.empty(len(fold))
        for k, model in enumerate(self._fold_models(log, fold)):
            rows = np.flatnonzero(fold == k)
            if not len(rows):  # of a short log drawn again
                continue
            direct[rows] = _policy_rewards(model, log, rows)
            logged[rows] = model.of_logged(log, rows)
        return direct, logged

    def _fold_models(self, log: PolicyLog, fold: Codes) -> list[RewardModel]:
        if self.model is not None:
            each = [np.flatnonzero(fold != k) for k in range(self.folds)]
            return [RegressorRewards.fit(self.model, log, rows) for rows in each]
        sums = Moments.by_fold(log, fold, self.folds)
        rest = [sums.without(k) for k in range(self.folds)]
        return [LinearRewards(moments.solve(moments.products)) for moments in rest]


@dataclass(frozen=True)
class PolicySwitchDR(PolicyDR):
    """Doubly robust, but with the model alone where weights are above a threshold.

    Its interval holds the noise of the model there, as that of `PolicyDM` does: by the influence
    function for the default model, by a bootstrap for others (if any weight is above).

    Attributes:
        model: As for `PolicyDM`.
        folds: Number of folds for the model.
        threshold: The largest weight that is used. ``diagnostics["switched_mass"]`` estimates the
            share of the policy's choices that are left to the model, where its errors are bias.
        num_bootstrap: Number of refits; not used by the default model.

    Raises:
        DataError: A setting is out of range, or a learner lacks the methods of scikit-learn.

    References:
        Wang, Agarwal and Dudík (2017), Optimal and adaptive off-policy evaluation.

    Example:
        >>> PolicySwitchDR(threshold=5).threshold
        5
    """

    threshold: float = 10.0
    num_bootstrap: int = 200
    name = "switch-DR"
    assumptions: ClassVar[tuple[str, ...]] = (
        *PolicyMethod.assumptions,
        "the model of rewards is right where weights are above the threshold",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.threshold > 0:
            raise DataError(f"threshold is {self.threshold!r}; expected a positive number")

    def contributions(self, log: PolicyLog, seed: int) -> Array:
        """Predict rewards, and weigh the errors where weights are small."""
        direct, logged = self._cross_fitted(log, seed)
        kept, residual = self._kept(log), log.reward - logged
        found = np.asarray(direct + kept * residual)
        if self.model is not None or np.array_equal(kept, log.weight):
            return found
        return found + _pull(log, Moments.of(log), residual, kept)

    def draws(self, log: PolicyLog, seed: int) -> Array | None:
        """Refit a regressor to slates drawn again, where it is left to itself."""
        if self.model is None or np.array_equal(self._kept(log), log.weight):
            return None
        return self._bootstrap(log, seed, self.num_bootstrap)

    def diagnostics(self, log: PolicyLog) -> dict[str, float]:
        """Tell the share of the policy's choices that is left to the model."""
        return {"switched_mass": float((log.weight - self._kept(log)).mean())}

    def _kept(self, log: PolicyLog) -> Array:
        return np.where(log.weight <= self.threshold, log.weight, 0.0)
