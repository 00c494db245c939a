"""Univariate laws with summaries, one per variable of a posterior.

| name | what it does | paper |
|---|---|---|
| `Law` | the contract: mean, sd, quantile, probability, sample | - |
| `PointLaw` | a value that is known exactly | - |
| `NormalLaw` | a normal law in closed form | - |
| `FiniteLaw` | finitely many values with their probabilities | - |
| `EmpiricalLaw` | draws, with importance weights or without | - |

Where an engine is exact it hands over a law instead of draws, so that the summary carries no
Monte Carlo error. Every law may have a leading batch (one law per unit); nothing loops over it.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from causalppl.exceptions import DataError, QueryError
from causalppl.inference.law_numbers import checked_level, finite, float64_tensor, float_dtype
from causalppl.seeding import forked_rng

__all__ = ["EmpiricalLaw", "FiniteLaw", "Law", "NormalLaw", "PointLaw"]

CHUNK: Final = 2**22
"""Numbers handled at once where an algorithm needs copies of the draws."""


class Law(ABC):
    """The law of one variable, or one law per unit.

    ``shape`` is the batch: ``()`` for one law, ``(units,)`` or ``(units, *event)`` for many.
    Summaries are float64 on the device of the law, whatever the dtype they are computed from.
    """

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of the batch of laws."""

    @property
    @abstractmethod
    def is_discrete(self) -> bool:
        """Whether single values have positive probability."""

    @abstractmethod
    def mean(self) -> Tensor:
        """Mean, shape ``shape``."""

    @abstractmethod
    def sd(self) -> Tensor:
        """Standard deviation, shape ``shape``."""

    @abstractmethod
    def quantile(self, q: float) -> Tensor:
        """Smallest value with at least probability ``q`` at or below it, shape ``shape``.

        Raises:
            DataError: ``q`` is not in [0, 1].
        """

    @abstractmethod
    def probability(self, value: Any) -> Tensor:
        """Probability of being equal to ``value``, shape ``shape``."""

    @abstractmethod
    def sample(self, n: int, *, seed: int | None = None) -> Tensor:
        """Draw ``n`` independent values, shape ``(n, *shape)``; the global state is left alone."""

    @abstractmethod
    def flat(self, stop: int | None = None) -> "Law":
        """Return the first ``stop`` laws of the batch, flattened to shape ``(stop,)``."""


@dataclass(frozen=True, eq=False)
class PointLaw(Law):
    """A value that is known exactly.

    Args:
        value: The value, or one per unit, shape ``shape``.

    Raises:
        DataError: A value is not finite.

    Example:
        >>> PointLaw(2.5).sd().item()
        0.0
    """

    value: Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", finite("value of a PointLaw", self.value))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the batch of laws."""
        return tuple(self.value.shape)

    @property
    def is_discrete(self) -> bool:
        """A point has probability one."""
        return True

    def mean(self) -> Tensor:
        """Return the value itself."""
        return self.value.double()

    def sd(self) -> Tensor:
        """Zero."""
        return torch.zeros_like(self.value, dtype=torch.float64)

    def quantile(self, q: float) -> Tensor:
        """Return the value itself, for every ``q``."""
        checked_level(q)
        return self.value.double()

    def probability(self, value: Any) -> Tensor:
        """One where the value is ``value``, zero elsewhere."""
        return (self.value == value).double()

    def sample(self, n: int, *, seed: int | None = None) -> Tensor:
        """Repeat the value ``n`` times, as a view."""
        return self.value.expand(n, *self.shape)

    def flat(self, stop: int | None = None) -> "PointLaw":
        """Return the first ``stop`` laws, flattened."""
        return PointLaw(self.value.reshape(-1)[:stop])


@dataclass(frozen=True, eq=False, init=False)
class NormalLaw(Law):
    """A normal law.

    Args:
        mean: Mean, shape ``shape`` (broadcast with ``sd``); kept as ``loc``.
        sd: Standard deviation, at least zero; kept as ``scale``.

    Raises:
        DataError: A mean or a standard deviation is not finite, or the latter is negative.

    Example:
        >>> law = NormalLaw(torch.tensor([0.0, 1.0]), 2.0)
        >>> law.mean().tolist(), law.sd().tolist()
        ([0.0, 1.0], [2.0, 2.0])
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor | float, sd: Tensor | float) -> None:
        loc, scale = finite("mean of a NormalLaw", mean), finite("sd of a NormalLaw", sd)
        if bool((scale < 0).any()):
            raise DataError(
                f"the smallest sd of a NormalLaw is {float(scale.min()):g}; expected at least 0; "
                "pass the standard deviation, not its logarithm"
            )
        loc, scale = torch.broadcast_tensors(loc, scale.to(loc.device))
        object.__setattr__(self, "loc", loc)
        object.__setattr__(self, "scale", scale)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the batch of laws."""
        return tuple(self.loc.shape)

    @property
    def is_discrete(self) -> bool:
        """A normal law is continuous."""
        return False

    def mean(self) -> Tensor:
        """Mean, shape ``shape``."""
        return self.loc.double()

    def sd(self) -> Tensor:
        """Standard deviation, shape ``shape``."""
        return self.scale.double()

    def quantile(self, q: float) -> Tensor:
        """Exact quantile; infinite at ``q`` 0 and 1 unless the sd is zero."""
        z = torch.special.ndtri(torch.tensor(checked_level(q), dtype=torch.float64)).item()
        # 0 * inf is not a number, and a normal law with sd 0 is a point
        return torch.where(self.scale > 0, self.loc.double() + self.sd() * z, self.loc.double())

    def probability(self, value: Any) -> Tensor:
        """Zero, except where the sd is zero and the mean is ``value``."""
        return ((self.scale == 0) & (self.loc == value)).double()

    def sample(self, n: int, *, seed: int | None = None) -> Tensor:
        """Draw ``n`` independent values, shape ``(n, *shape)``."""
        dtype = torch.promote_types(self.loc.dtype, self.scale.dtype)
        dtype = dtype if dtype.is_floating_point else torch.get_default_dtype()
        with forked_rng(seed):
            noise = torch.randn((n, *self.shape), dtype=dtype, device=self.loc.device)
        return self.loc + self.scale * noise

    def flat(self, stop: int | None = None) -> "NormalLaw":
        """Return the first ``stop`` laws, flattened."""
        return NormalLaw(self.loc.reshape(-1)[:stop], self.scale.reshape(-1)[:stop])


@dataclass(frozen=True, eq=False)
class FiniteLaw(Law):
    """Finitely many values with their probabilities.

    Args:
        values: The ``k`` distinct numbers; codes 0, 1, ... where the values are categories.
        probabilities: Their probabilities, shape ``(*shape, k)``.
        labels: Names of the values, in the same order; None when the numbers speak.

    Raises:
        DataError: The lengths differ, a value occurs twice or is not a number, or the
            probabilities are negative or do not sum to one.

    Example:
        >>> law = FiniteLaw((0, 1), torch.tensor([0.25, 0.75]), labels=("no", "yes"))
        >>> law.mean().item(), law.probability("yes").item(), law.quantile(0.5).item()
        (0.75, 0.75, 1.0)
    """

    values: tuple[float, ...]
    probabilities: Tensor
    labels: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        values = self.values.tolist() if hasattr(self.values, "tolist") else list(self.values)
        probabilities = finite("probabilities of a FiniteLaw", self.probabilities)
        object.__setattr__(self, "values", tuple(values))
        object.__setattr__(self, "probabilities", probabilities)
        if self.labels is not None:
            object.__setattr__(self, "labels", tuple(map(str, self.labels)))
        self._check()

    def _check(self) -> None:
        k, shape = len(self.values), tuple(self.probabilities.shape)
        if any(isinstance(value, str) for value in self.values):
            raise DataError(
                f"values of a FiniteLaw are {self.values!r}; expected numbers; "
                "pass codes as values and the names as labels="
            )
        if k == 0 or not shape or shape[-1] != k or len(set(self.values)) != k:
            raise DataError(
                f"a FiniteLaw has {k} values and probabilities of shape {shape}; expected "
                f"distinct values and one probability for each; the last axis runs over values"
            )
        if self.labels is not None and len(self.labels) != k:
            raise DataError(f"a FiniteLaw has {k} values and {len(self.labels)} labels; match them")
        total = self.probabilities.double().sum(-1)
        if bool((self.probabilities < -1e-6).any()) or bool(((total - 1).abs() > 1e-3).any()):
            raise DataError(
                "probabilities of a FiniteLaw are negative or sum to between "
                f"{float(total.min()):g} and {float(total.max()):g}; expected 1; normalise them"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the batch of laws."""
        return tuple(self.probabilities.shape[:-1])

    @property
    def is_discrete(self) -> bool:
        """A finite law is discrete."""
        return True

    def mean(self) -> Tensor:
        """Mean of the values, shape ``shape``."""
        return self.probabilities.double() @ self._numbers()

    def sd(self) -> Tensor:
        """Standard deviation of the values, shape ``shape``."""
        squares = (self._numbers() - self.mean()[..., None]) ** 2
        return (self.probabilities.double() * squares).sum(-1).sqrt()

    def quantile(self, q: float) -> Tensor:
        """Smallest value with at least probability ``q`` at or below it, shape ``shape``."""
        level = checked_level(q)
        numbers, order = self._numbers().sort()
        below = self.probabilities.double()[..., order].cumsum(-1)
        # rounding in the sum must not push a quantile to the next value
        level -= 4 * len(self.values) * torch.finfo(float_dtype(self.probabilities)).eps
        index = ((below < level) | (below <= 0)).sum(-1).clamp(max=len(self.values) - 1)
        return numbers[index]

    def probability(self, value: Any) -> Tensor:
        """Probability of a value or of a label, shape ``shape``; zero for other numbers.

        Raises:
            QueryError: A string that is not one of the labels.
        """
        if isinstance(value, str):
            if value not in (self.labels or ()):
                raise QueryError(f"unknown value {value!r}; expected one of {self.labels}")
            return self.probabilities[..., (self.labels or ()).index(value)].double()
        return self.probabilities.double() @ (self._numbers() == value).double()

    def sample(self, n: int, *, seed: int | None = None) -> Tensor:
        """Draw ``n`` independent values, shape ``(n, *shape)``."""
        values = torch.as_tensor(self.values, device=self.probabilities.device)
        weights = self.probabilities.double().clamp(min=0).reshape(-1, len(self.values))
        with forked_rng(seed):
            codes = torch.multinomial(weights, n, replacement=True)
        return values[codes.T.reshape(n, *self.shape)]

    def flat(self, stop: int | None = None) -> "FiniteLaw":
        """Return the first ``stop`` laws, flattened."""
        rows = self.probabilities.reshape(-1, len(self.values))[:stop]
        return FiniteLaw(self.values, rows, self.labels)

    def _numbers(self) -> Tensor:
        return torch.tensor(self.values, dtype=torch.float64, device=self.probabilities.device)


@dataclass(frozen=True, eq=False)
class EmpiricalLaw(Law):
    """The law that a set of draws stands for.

    Quantiles of continuous draws without weights interpolate linearly between order statistics;
    those of discrete or weighted draws are attained values.

    Args:
        draws: Array of shape ``(n, *shape)``.
        log_weights: Logarithms of importance weights, normalised or not, shape ``(n,)`` or
            ``(n, units)`` where ``units`` is the first axis of ``shape``; None for equal weights.
        labels: Names of the codes 0, 1, ... where the draws are categories.

    Example:
        >>> law = EmpiricalLaw(np.array([0.0, 1.0, 2.0]), np.log([1.0, 1.0, 2.0]))
        >>> law.mean().item(), law.quantile(0.5).item()
        (1.25, 1.0)
    """

    draws: npt.NDArray[Any]
    log_weights: npt.NDArray[np.float64] | None = None
    labels: tuple[str, ...] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the batch of laws."""
        return tuple(self.draws.shape[1:])

    @property
    def is_discrete(self) -> bool:
        """Whether all draws are whole numbers or truth values."""
        if self.draws.dtype.kind in "biu":
            return True
        numbers = self.draws.reshape(-1)
        # a few draws settle it for a continuous variable of any size
        return all(bool((part == np.rint(part)).all()) for part in (numbers[:1000], numbers[1000:]))

    def weights(self) -> npt.NDArray[np.float64] | None:
        """Normalised weights, shape ``(n, *shape)`` up to broadcasting; None when equal."""
        if self.log_weights is None:
            return None
        logs = np.asarray(self.log_weights, dtype=np.float64)
        logs = logs - logs.max(axis=0)
        weights = np.exp(logs)
        weights /= weights.sum(axis=0)
        return weights.reshape(weights.shape + (1,) * (self.draws.ndim - weights.ndim))

    def mean(self) -> Tensor:
        """(Weighted) mean, shape ``shape``."""
        weights = self.weights()
        if weights is None:
            return float64_tensor(self.draws.mean(axis=0, dtype=np.float64))
        return float64_tensor(np.sum(weights * self.draws, axis=0))

    def sd(self) -> Tensor:
        """(Weighted) standard deviation, shape ``shape``; NaN for a single draw."""
        weights = self.weights()
        if len(self.draws) == 1:
            return torch.full(self.shape, math.nan, dtype=torch.float64)
        if weights is not None:
            squares = (self.draws - np.sum(weights * self.draws, axis=0)) ** 2
            return float64_tensor(np.sqrt(np.sum(weights * squares, axis=0)))
        out = [np.std(x, axis=0, ddof=1, dtype=np.float64) for x, _ in self._chunks()]
        return float64_tensor(np.concatenate(out).reshape(self.shape))

    def quantile(self, q: float) -> Tensor:
        """(Weighted) quantile, shape ``shape``."""
        level, is_discrete = checked_level(q), self.is_discrete
        out = [_quantile(x, w, level, is_discrete) for x, w in self._chunks()]
        return float64_tensor(np.concatenate(out).reshape(self.shape))

    def probability(self, value: Any) -> Tensor:
        """(Weighted) share of the draws that equal ``value`` or its label, shape ``shape``.

        Raises:
            QueryError: A string that is not one of the labels.
        """
        if isinstance(value, str):
            if value not in (self.labels or ()):
                raise QueryError(f"unknown value {value!r}; expected one of {self.labels}")
            value = (self.labels or ()).index(value)
        return EmpiricalLaw(np.equal(self.draws, value), self.log_weights).mean()

    def sample(self, n: int, *, seed: int | None = None) -> Tensor:
        """Draw ``n`` values by (weighted) systematic resampling, shape ``(n, *shape)``.

        Without weights per unit, whole draws are taken, so dependence across units is kept.
        """
        shared = self.log_weights is None or self.log_weights.ndim == 1
        columns = 1 if shared else int(np.prod(self.log_weights.shape[1:]))  # type: ignore[union-attr]
        weights = np.full((len(self.draws), 1), 1 / len(self.draws))
        if self.log_weights is not None:
            weights = np.asarray(self.weights()).reshape(len(self.draws), columns)
        with forked_rng(seed):
            offsets = torch.rand(columns, dtype=torch.float64).numpy()
        index = _systematic(weights, n, offsets)
        if shared:
            return torch.from_numpy(self.draws[index[:, 0]])
        index = index.reshape(n, *self.log_weights.shape[1:])  # type: ignore[union-attr]
        index = index.reshape(index.shape + (1,) * (self.draws.ndim - index.ndim))
        return torch.from_numpy(np.take_along_axis(self.draws, index, axis=0))

    def flat(self, stop: int | None = None) -> "EmpiricalLaw":
        """Return the first ``stop`` laws, flattened."""
        n, log_weights = len(self.draws), self.log_weights
        if log_weights is not None and log_weights.ndim > 1:
            logs = log_weights.reshape(log_weights.shape + (1,) * (self.draws.ndim - 2))
            log_weights = np.broadcast_to(logs, self.draws.shape).reshape(n, -1)[:, :stop]
        return EmpiricalLaw(self.draws.reshape(n, -1)[:, :stop], log_weights, self.labels)

    def _chunks(self) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.float64] | None]]:
        """Columns and weights in pieces, so that copies stay small whatever the number of units."""
        columns = self.draws.reshape(len(self.draws), -1)
        weights = self.weights()
        if weights is not None:
            weights = np.broadcast_to(weights, self.draws.shape).reshape(columns.shape)
        step = max(1, CHUNK // max(1, len(columns)))
        for start in range(0, max(1, columns.shape[1]), step):
            piece = slice(start, start + step)
            yield columns[:, piece], None if weights is None else weights[:, piece]


def _quantile(
    draws: npt.NDArray[Any],
    weights: npt.NDArray[np.float64] | None,
    level: float,
    is_discrete: bool,
) -> npt.NDArray[np.float64]:
    """Quantile of each column of ``draws``, shape ``(n, columns)``."""
    if weights is not None:
        order = np.argsort(draws, axis=0, kind="stable")
        below = np.cumsum(np.take_along_axis(weights, order, axis=0), axis=0)
        first = ((below < level - 1e-12) | (below <= 0)).sum(axis=0).clip(max=len(draws) - 1)
        row = np.take_along_axis(order, first[None], axis=0)
        return np.take_along_axis(draws, row, axis=0)[0].astype(np.float64)
    # rows in memory: selecting within a row is several times faster than down a column
    rows = np.ascontiguousarray(draws.T)
    position = level * (rows.shape[1] - 1)
    if is_discrete:
        position = max(0, math.ceil(level * rows.shape[1] - 1e-9) - 1)
    low, high = math.floor(position), math.ceil(position)
    rows = np.partition(rows, sorted({low, high}), axis=1)
    lower, upper = rows[:, low].astype(np.float64), rows[:, high].astype(np.float64)
    return lower + (position - low) * (upper - lower)


def _systematic(
    weights: npt.NDArray[np.float64], n: int, offsets: npt.NDArray[np.float64]
) -> npt.NDArray[np.intp]:
    """Indices of ``n`` draws per column, each taken about ``n * weight`` times."""
    edges = np.cumsum(weights, axis=0)
    edges[-1] = 1.0
    taken = np.clip(np.ceil(n * edges - offsets), 0, n).astype(np.intp)
    counts = np.diff(taken, axis=0, prepend=np.zeros((1, taken.shape[1]), np.intp))
    rows = np.tile(np.arange(len(weights)), weights.shape[1])
    return np.repeat(rows, counts.T.reshape(-1)).reshape(weights.shape[1], n).T
