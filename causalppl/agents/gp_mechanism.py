"""A mechanism that is a Gaussian process: how a variable follows from its parents.

The processes and their fit are Pyro's. Draws are functions, not values at points that must be known
beforehand, so that a drawn mechanism can be followed wherever an intervention leads.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.contrib import gp
from torch import Tensor
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from causalppl.agents.agent import Array

__all__ = ["DrawnMechanism", "GPMechanism", "GPSettings", "Rows"]


@dataclass(frozen=True)
class Rows:
    """Units that were seen, in one run.

    Attributes:
        values: Variable to values, shape ``(rows,)``.
        was_set: Variable to whether it was set from outside, shape ``(rows,)``.
    """

    values: Mapping[str, Array]
    was_set: Mapping[str, Any]

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))


@dataclass(frozen=True)
class GPSettings:
    """Beliefs about a mechanism before data, in units of the ranges of its input and output.

    Each is the median of a log-normal law; the law's spread follows it.

    Attributes:
        lengthscale: Over how much of an input's range the mechanism stays about the same; times the
            root of the number of inputs, so that many of them do not mean a wilder function.
        variance: Of the mechanism, in variances of the output.
        noise: Of what the parents leave open, in variances of the output.
        level: Variance of the mechanism's mean level, in variances of the output; just a number.
        num_features: Random Fourier features of a drawn function.
    """

    lengthscale: tuple[float, float] = (0.3, 1.0)
    variance: tuple[float, float] = (0.5, 1.0)
    noise: tuple[float, float] = (0.3, 1.0)
    level: float = 0.25
    num_features: int = 128


@dataclass
class _Scales:
    """What makes inputs and output about one; names to centre and width."""

    inputs: dict[str, tuple[float, float]]
    output: tuple[float, float]


@dataclass
class GPMechanism:
    """A variable given its parents: a Gaussian process, and hidden common causes that add to it.

    Hidden causes shared with earlier variables show in how the output follows these *siblings*
    where nobody set them: a further process, which is switched off where a sibling was set. What
    setting a parent does is learned from all rows in which the variable itself was not set, and
    natural rows that cannot tell (a sibling that is also a parent) leave it open.

    Args:
        name: The variable.
        parents: Its parents.
        siblings: Earlier variables with hidden common causes, each with its own parents.
        bounds: Bounds of variables that may be set.
        settings: Beliefs before data.
    """

    name: str
    parents: tuple[str, ...]
    siblings: Mapping[str, tuple[str, ...]]
    bounds: Mapping[str, tuple[float, float]]
    settings: GPSettings = field(default_factory=GPSettings)

    def fresh(self) -> dict[str, Any]:
        """Return hyperparameters before data."""
        model = self._model(
            torch.zeros(1, self._width, dtype=torch.float64), torch.zeros(1).double()
        )
        scales = {name: self._range(name, np.zeros(1)) for name in self._inputs}
        return {"log": _logs(model), "scales": _Scales(scales, (0.0, 1.0))}

    def fit(self, rows: Rows, start: Mapping[str, Any]) -> dict[str, Any]:
        """Return hyperparameters of largest posterior density.

        Args:
            rows: The data.
            start: Hyperparameters to start from.
        """
        scales = self._scales(rows)
        x, y = self._data(rows, scales)
        model = self._model(x, y)
        _set_logs(model, start["log"])
        priors = self._priors(model)

        def loss(joint: Any, guide: Any) -> Tensor:
            prior = sum((((p - centre) / spread) ** 2).sum() / 2 for p, (centre, spread) in priors)
            try:
                return prior - poutine.trace(joint).get_trace().log_prob_sum()
            except LinAlgError:  # a step went too far: the prior leads back
                return torch.as_tensor(prior + _REFUSED)

        optimiser = _LBFGS(model.parameters(), max_iter=_ITERATIONS, line_search_fn="strong_wolfe")
        with _own_parameters(), pyro.validation_enabled(False):
            gp.util.train(model, optimiser, loss, num_steps=1)
        return {"log": _logs(model), "scales": scales}

    def draw(
        self, rows: Rows, known: Mapping[str, Any], rng: np.random.Generator
    ) -> "DrawnMechanism":
        """Draw a function from the posterior.

        References:
            Wilson et al. (2020), Efficiently sampling functions from Gaussian process posteriors.
        """
        return DrawnMechanism(self, rows, known, rng)

    @property
    def _inputs(self) -> tuple[str, ...]:
        """The variables in the columns, those of siblings after the parents."""
        return (*self.parents, *(n for s, above in self.siblings.items() for n in (s, *above)))

    @property
    def _width(self) -> int:
        return len(self._inputs) + 2 * len(self.siblings)

    def design(self, values: Mapping[str, Any], was_set: Mapping[str, Any], scales: Any) -> Tensor:
        """Put variables in scaled columns, and behind them whether siblings are natural, or set."""
        columns = [
            (np.asarray(values.get(name, centre)) - centre) / width
            for name in self._inputs
            for centre, width in [scales.inputs[name]]
        ]
        for sibling in self.siblings:
            is_set = np.asarray(was_set[sibling], dtype=np.float64)
            columns += [1 - is_set, is_set]
        return torch.from_numpy(np.stack(np.broadcast_arrays(*columns), -1))

    def own(self, rows: Rows) -> Rows:
        """Leave out the rows in which the variable itself was set."""
        kept = ~rows.was_set[self.name]
        return Rows(
            {n: v[kept] for n, v in rows.values.items()},
            {n: v[kept] for n, v in rows.was_set.items()},
        )

    def _data(self, rows: Rows, scales: _Scales) -> tuple[Tensor, Tensor]:
        own = self.own(rows)
        centre, width = scales.output
        y = (own.values[self.name] - centre) / width
        return self.design(own.values, own.was_set, scales), torch.from_numpy(y)

    def _scales(self, rows: Rows) -> _Scales:
        own = self.own(rows)
        inputs = {name: self._range(name, own.values[name]) for name in self._inputs}
        natural = ~np.any([mask for mask in own.was_set.values()], axis=0)
        y = own.values[self.name]
        y = y[natural] if natural.sum() >= _ENOUGH else y
        return _Scales(inputs, (float(y.mean()), float(y.std()) or 1.0))

    def _range(self, name: str, values: Array) -> tuple[float, float]:
        if name in self.bounds:
            low, high = self.bounds[name]
            return (low + high) / 2, high - low
        return float(np.median(values)), float(4 * values.std()) or 1.0

    def _model(self, x: Tensor, y: Tensor) -> Any:
        settings = self.settings
        size = len(self.parents)
        scale = self._lengthscales(size)
        process = gp.kernels.RBF(
            size, _tensor(settings.variance[0]), scale, active_dims=list(range(size))
        )
        kernel = gp.kernels.Sum(process, settings.level)
        place, flag = len(self.parents), len(self._inputs)
        for above in self.siblings.values():
            size = 1 + len(above)
            kernel = gp.kernels.Sum(
                kernel, self._of_sibling(list(range(place, place + size)), flag)
            )
            place, flag = place + size, flag + 2
        return gp.models.GPRegression(x, y, kernel, _tensor(settings.noise[0]), jitter=_JITTER)

    def _lengthscales(self, size: int) -> Tensor:
        return torch.full((size,), self.settings.lengthscale[0] * size**0.5, dtype=torch.float64)

    def _of_sibling(self, columns: list[int], flag: int) -> Any:
        """What hidden causes add: a process of the sibling where it is natural, else noise."""
        scale = self._lengthscales(len(columns))
        process = gp.kernels.RBF(len(columns), _tensor(0.1), scale, active_dims=columns)
        natural = gp.kernels.Product(process, _Switch(flag))
        white = gp.kernels.Product(gp.kernels.WhiteNoise(1, _tensor(0.1)), _Switch(flag + 1))
        return gp.kernels.Sum(natural, white)

    def _priors(self, model: Any) -> list[tuple[Tensor, tuple[float, float]]]:
        found = []
        for name, parameter in model.named_parameters():
            kind = "noise" if name.startswith("noise") else name.split(".")[-1].split("_")[0]
            centre, spread = getattr(self.settings, kind)
            if kind == "lengthscale":
                centre = centre * parameter.numel() ** 0.5
            found.append((parameter, (float(np.log(centre)), spread)))
        return found


class DrawnMechanism:
    """One function drawn from the posterior of a mechanism; call it anywhere."""

    def __init__(
        self,
        mechanism: GPMechanism,
        rows: Rows,
        known: Mapping[str, Any],
        rng: np.random.Generator,
    ) -> None:
        self.mechanism, self._scales = mechanism, known["scales"]
        x, y = mechanism._data(rows, self._scales)
        model = mechanism._model(x, y)
        _set_logs(model, known["log"])
        with torch.no_grad(), _own_parameters():
            self._condition(model, x, y, rng)

    def _condition(self, model: Any, x: Tensor, y: Tensor, rng: np.random.Generator) -> None:
        leaves = _leaves(model.kernel)
        self._parts = [leaf for leaf in leaves if not _is_white(leaf)]
        whites = [leaf for leaf in leaves if _is_white(leaf)]
        white = sum((leaf(x, diag=True) for leaf in whites), torch.zeros(len(x)))
        self._whites = [float(leaf.kern0.variance) for leaf in whites]
        self._features = [
            _Features.drawn(p, self.mechanism.settings.num_features, rng) for p in self._parts
        ]
        self._constant = float(rng.normal(0, self.mechanism.settings.level**0.5))
        variance = float(model.noise)
        self._variance = variance
        spread = (white + variance + _JITTER).sqrt()
        seen = self._prior(x) + spread * torch.from_numpy(rng.standard_normal(len(x)))
        kernel = model.kernel(x) + (variance + _JITTER) * torch.eye(len(x), dtype=torch.float64)
        self._x = x
        self._weights = torch.cholesky_solve((y - seen)[:, None], torch.linalg.cholesky(kernel))[
            :, 0
        ]

    def __call__(self, values: Mapping[str, Any], was_set: Mapping[str, Any]) -> Array:
        """Evaluate at values of the parents; siblings matter where they were not set."""
        used = [values[name] for name in self.mechanism._inputs if name in values]
        shape = np.broadcast_shapes(*map(np.shape, used))
        x = self.mechanism.design(values, was_set, self._scales).reshape(-1, self.mechanism._width)
        centre, width = self._scales.output
        with torch.no_grad(), _own_parameters():
            cross = sum(part(x, self._x) for part in self._parts) + self.mechanism.settings.level
            found = self._prior(x) + cross @ self._weights
        return (centre + width * found.numpy()).reshape(shape)

    def noise(self, was_set: Mapping[str, bool]) -> float:
        """Standard deviation of what parents, and siblings that were not set, leave open."""
        switched = zip(self.mechanism.siblings, self._whites, strict=True)
        added = sum(white for sibling, white in switched if was_set[sibling])
        return float(np.sqrt(self._variance + added)) * self._scales.output[1]

    def _prior(self, x: Tensor) -> Tensor:
        found: Tensor = sum(
            (features(x) for features in self._features), torch.zeros(len(x)).double()
        )
        return found + self._constant


@dataclass
class _Features:
    """A function drawn from the prior of one part, by random Fourier features."""

    columns: list[int]
    flag: int | None
    frequencies: Tensor
    phases: Tensor
    weights: Tensor

    @classmethod
    def drawn(cls, part: Any, count: int, rng: np.random.Generator) -> "_Features":
        is_switched = isinstance(part, gp.kernels.Product)
        process = part.kern0 if is_switched else part
        columns = list(process.active_dims)
        scale = process.lengthscale.detach()
        frequencies = torch.from_numpy(rng.standard_normal((len(columns), count))) / scale[:, None]
        phases = torch.from_numpy(rng.uniform(0, 2 * np.pi, count))
        weights = torch.from_numpy(rng.standard_normal(count))
        weights = weights * (2 * process.variance.detach() / count).sqrt()
        return cls(
            columns,
            part.kern1.active_dims[0] if is_switched else None,
            frequencies,
            phases,
            weights,
        )

    def __call__(self, x: Tensor) -> Tensor:
        found = torch.cos(x[:, self.columns] @ self.frequencies + self.phases) @ self.weights
        return found if self.flag is None else found * x[:, self.flag]


_ENOUGH = 5
_ITERATIONS = 25
_JITTER = 1e-6
_REFUSED = 1e12  # a loss that any covariance matrix is better than


def _own_parameters() -> Any:
    """Keep parameters of models apart, which all have the same names, in Pyro's global store."""
    return pyro.get_param_store().scope()


def _tensor(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


class _LBFGS(torch.optim.LBFGS):
    """Torch's, without the guards of its compiler, whose import alone takes seconds."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        inspect.unwrap(torch.optim.LBFGS.add_param_group)(self, param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        inspect.unwrap(torch.optim.LBFGS.zero_grad)(self, set_to_none)


class _Switch(gp.kernels.Kernel):
    """One where a column is one on both sides, else zero."""

    def __init__(self, column: int) -> None:
        super().__init__(1, [column])

    def forward(self, X: Tensor, Z: Tensor | None = None, diag: bool = False) -> Tensor:
        left = self._slice_input(X)
        if diag:
            return left[:, 0]
        return left @ (left if Z is None else self._slice_input(Z)).T


def _leaves(kernel: Any) -> list[Any]:
    """The terms of a sum of kernels, its constant left out."""
    if isinstance(kernel, gp.kernels.Sum):
        return _leaves(kernel.kern0) + _leaves(kernel.kern1)
    return [kernel] if isinstance(kernel, gp.kernels.Kernel) else []


def _is_white(kernel: Any) -> bool:
    return isinstance(getattr(kernel, "kern0", None), gp.kernels.WhiteNoise)


def _logs(model: Any) -> dict[str, Array]:
    return {name: p.detach().numpy().copy() for name, p in model.named_parameters()}


def _set_logs(model: Any, logs: Mapping[str, Array]) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(np.asarray(logs[name])))
