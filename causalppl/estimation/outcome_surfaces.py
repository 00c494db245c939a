"""Models of the outcome in both arms: regressions by arm or pooled, and a Gaussian process."""

import math
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from causalppl.estimation.estimate import Array
from causalppl.estimation.nuisance import name_of

__all__ = ["EffectProcess", "PerArm", "Pooled", "find_bases", "find_surfaces"]

MOST_FOR_PROCESS = 2_000  # rows; beyond, a Gaussian process costs too much
MOST_FOR_SCALES = 800
MOST_PRODUCTS = 400
MANY = 20_000  # rows, beyond which fewer repeats do


class PerArm:
    """One regression for each arm."""

    def __init__(self, learner: Any) -> None:
        self._learner = learner

    def fit(self, matrix: Array, arm: Any, y: Array) -> "PerArm":
        """Fit to rows; returns itself."""
        from sklearn.base import clone

        self._models = [clone(self._learner).fit(matrix[arm == a], y[arm == a]) for a in (0, 1)]
        return self

    def predict(self, matrix: Array) -> Array:
        """Predict the outcome of control and treated, shape ``(rows, 2)``."""
        return np.stack([model.predict(matrix) for model in self._models], 1)


class Pooled(PerArm):
    """One regression for both arms, with the arm among the columns."""

    def fit(self, matrix: Array, arm: Any, y: Array) -> "Pooled":
        """Fit to rows; returns itself."""
        from sklearn.base import clone

        self._model = clone(self._learner).fit(np.c_[matrix, arm], y)
        return self

    def predict(self, matrix: Array) -> Array:
        """Predict the outcome of control and treated, shape ``(rows, 2)``."""
        ends = (np.c_[matrix, np.full(len(matrix), a)] for a in (0.0, 1.0))
        return np.stack([self._model.predict(end) for end in ends], 1)


class EffectProcess:
    """A Gaussian process over rows and arms at once.

    The kernel sums two radial and two linear kernels of the covariates, each times a product of
    loadings of the arms, which start out shared or opposed. Radial kernels have a length for each
    column, the same in both up to a factor. All that is learnt by its marginal likelihood, with
    normal priors on the logarithms of lengths.
    """

    def learn(self, matrix: Array, arm: Any, y: Array) -> None:
        """Learn lengths, loadings and noise."""
        z, a, goal = _tensors(matrix, arm, (y - y.mean()) / max(y.std(), 1e-12))
        columns = max(z.shape[1], 1)
        opposed = torch.tensor([[0.7, 0.7], [0.5, -0.5]], dtype=z.dtype)
        start = [
            torch.full((columns,), math.log(1.5 * math.sqrt(columns)), dtype=z.dtype),
            torch.zeros(2, dtype=z.dtype),
            opposed,
            opposed / math.sqrt(columns),
            torch.full((2,), math.log(0.4), dtype=z.dtype),
        ]
        sizes = [scale.numel() for scale in start]

        def loss(vector: Array) -> tuple[float, Array]:
            point = torch.tensor(vector, dtype=z.dtype, requires_grad=True)
            parts = zip(point.split(sizes), start, strict=True)
            self._scales = [part.reshape(scale.shape) for part, scale in parts]
            kernel = self._noisy(z, a)
            with torch.no_grad():  # the slope by the kernel is known in closed form
                root = torch.linalg.cholesky(kernel)
                inverse = torch.cholesky_inverse(root)
                solved = inverse @ goal
                slope = (inverse - torch.outer(solved, solved)) / 2
                value = goal @ solved / 2 + root.diagonal().log().sum()
            moved = (slope * kernel).sum()
            pairs = zip(self._scales, start, strict=True)
            prior = torch.stack([((now - then) ** 2).sum() / 2 for now, then in pairs]).sum()
            total = prior + moved - moved.detach() + value
            (slope,) = torch.autograd.grad(total, point)
            return float(total.detach()), slope.numpy()

        # torch's own search takes seconds to import
        first = torch.cat([scale.reshape(-1) for scale in start]).numpy()
        found = minimize(loss, first, jac=True, method="L-BFGS-B", options={"maxiter": 40})
        loss(found.x)
        self._scales = [scale.detach() for scale in self._scales]

    def fit(self, matrix: Array, arm: Any, y: Array) -> "EffectProcess":
        """Condition on rows; returns itself."""
        self._centre, self._spread = y.mean(), max(y.std(), 1e-12)
        self._z, self._arm, goal = _tensors(matrix, arm, (y - self._centre) / self._spread)
        self._root = torch.linalg.cholesky(self._noisy(self._z, self._arm))
        self._solved = torch.cholesky_solve(goal[:, None], self._root)[:, 0]
        return self

    def predict(self, matrix: Array) -> Array:
        """Predict the outcome of control and treated, shape ``(rows, 2)``."""
        both = [(self._cross(matrix, a) @ self._solved).numpy() for a in (0, 1)]
        return np.stack(both, 1) * self._spread + self._centre

    def spread(self, matrix: Array) -> Array:
        """Standard deviations of the posterior of the effects."""
        _, _, radial, linear, _ = self._scales
        gap = self._cross(matrix, 1) - self._cross(matrix, 0)
        known = torch.linalg.solve_triangular(self._root, gap.T, upper=False)
        sizes = torch.from_numpy((matrix**2).sum(1))
        prior = 2 + (radial.diff() ** 2).sum() + (linear.diff() ** 2).sum() * sizes
        return (prior - (known**2).sum(0)).clamp_min(0).sqrt().numpy() * self._spread

    def _cross(self, matrix: Array, arm: int) -> Tensor:
        z = torch.from_numpy(matrix)
        return self._kernel(z, torch.full((len(z),), arm), self._z, self._arm)

    def _noisy(self, z: Tensor, arm: Tensor) -> Tensor:
        noise = torch.exp(2 * self._scales[4])[arm] + 1e-5
        return self._kernel(z, arm, z, arm) + torch.diag(noise)

    def _kernel(self, z: Tensor, a: Tensor, other: Tensor, b: Tensor) -> Tensor:
        lengths, factors, radial, linear, _ = self._scales
        found = 1.0 + (a[:, None] == b)
        for factor, far, straight in zip(factors, radial, linear, strict=True):
            short = torch.exp(-lengths - factor)
            left, right = z * short, other * short
            squares = (left**2).sum(1)[:, None] + (right**2).sum(1) - 2 * left @ right.T
            found = found + far[a][:, None] * far[b] * torch.exp(-squares / 2)
            found = found + straight[a][:, None] * straight[b] * (z @ other.T)
        return found


def _tensors(matrix: Array, arm: Any, y: Array) -> tuple[Tensor, Tensor, Tensor]:
    return torch.from_numpy(matrix), torch.from_numpy(np.asarray(arm)), torch.from_numpy(y)


def find_bases(matrix: Array, learner: Any) -> dict[str, Any]:
    """The regressions that learners are made of."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import Ridge, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    if learner is not None:
        return {name_of(learner): learner}
    ridge = RidgeCV(np.logspace(-1, 5, 13)) if len(matrix) <= MANY else Ridge(1.0)
    found: dict[str, Any] = {"ridge": ridge}
    if matrix.shape[1] * (matrix.shape[1] + 3) // 2 <= MOST_PRODUCTS:
        products = PolynomialFeatures(2, include_bias=False)
        found["quadratic ridge"] = make_pipeline(products, StandardScaler(), ridge)
    trees = HistGradientBoostingRegressor(max_leaf_nodes=8, min_samples_leaf=10, random_state=0)
    return {**found, "boosted trees": trees}


def find_surfaces(matrix: Array, learner: Any) -> dict[str, Any]:
    """The models of the outcome."""
    bases = find_bases(matrix, learner)
    found: dict[str, Any] = {f"T-learner, {name}": PerArm(base) for name, base in bases.items()}
    name = list(bases)[-1]
    found[f"S-learner, {name}"] = Pooled(bases[name])
    if learner is None and len(matrix) <= MOST_FOR_PROCESS:
        found["Gaussian process"] = EffectProcess()
    return found
