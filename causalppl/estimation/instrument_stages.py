"""Linear instrumental estimates with the covariates partialled out, and how strong instruments are.

Every estimate is ``m'y / m'x`` for one combination m of the instruments: the first stage's fit for
two-stage least squares, others for LIML and GMM. Its error is that of the sum of ``m`` times the
residual.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import chndtrix

from causalppl.estimation.anderson_rubin import Interval, robust_set, shared_variance_set
from causalppl.estimation.instrument_clusters import BiasReduced, robust_bound
from causalppl.estimation.instrument_columns import InstrumentColumns
from causalppl.exceptions import AssumptionError, DataError

__all__ = ["Errors", "Stages", "check_errors"]

Array: TypeAlias = NDArray[np.float64]
Errors: TypeAlias = Literal["classical", "HC0", "HC1"]

_FEWEST_CLUSTERS = 4  # of fewer, no correction is right
_NO_BOUND = 1e6  # a statistic above which a test with few clusters rejects nothing
_WORST_SHARES = 10.0  # one over the bias that is accepted, as a share of the worst one


def check_errors(errors: str) -> None:
    """Refuse kinds of errors that there are not."""
    if errors not in ("classical", "HC0", "HC1"):
        raise DataError(f"errors is {errors!r}; expected 'HC1', 'HC0' or 'classical'")


@dataclass(eq=False)
class Stages:
    """Both stages with the covariates partialled out (Frisch, Waugh and Lovell).

    The instruments are replaced by orthogonal combinations of square sum ``num_rows``, on which no
    estimate depends, so that their units do not matter.
    """

    columns: InstrumentColumns
    errors: Errors

    def __post_init__(self) -> None:
        found = self.columns
        if found.cluster and self.errors == "classical":
            raise DataError("classical errors are those of independent rows; with cluster use HC1")
        if found.num_clusters <= found.z.shape[1]:
            raise DataError(
                f"column {found.cluster!r} has {found.num_clusters} clusters for "
                f"{found.z.shape[1]} instruments; expected more clusters; leave instruments out"
            )
        if found.cluster and found.num_clusters < _FEWEST_CLUSTERS:
            raise DataError(
                f"column {found.cluster!r} has {found.num_clusters} clusters, from which no error "
                f"can be told; expected {_FEWEST_CLUSTERS} at least, better 30; use smaller ones"
            )
        self.basis = basis = np.linalg.qr(found.covariates)[0]
        scaled = found.z / found.z.std(axis=0)
        self.x, self.y, z = (part - basis @ (basis.T @ part) for part in (found.x, found.y, scaled))
        self.num_rows, self.num_instruments = z.shape
        self.z = np.linalg.qr(z)[0] * np.sqrt(self.num_rows)
        self.fitted = self.projected(self.x)
        self.num_covariates = found.covariates.shape[1]
        if not float(self.fitted @ self.fitted) > 1e-20 * float(self.x @ self.x):
            raise AssumptionError(
                f"{', '.join(found.instruments)} and {found.treatment} are uncorrelated in the "
                "data: the effect is a ratio by zero; expected an instrument that moves the "
                "treatment; use another"
            )

    def projected(self, part: Array) -> Array:
        """Project a column on the instruments."""
        return np.asarray(self.z @ (self.z.T @ part) / self.num_rows)

    def residual(self, combined: Array) -> Array:
        """Free the outcome of the effect that a combination of the instruments gives."""
        return np.asarray(self.y - self.slope(combined) * self.x)

    def slope(self, combined: Array) -> float:
        """The effect of one unit of treatment, by a combination of the instruments."""
        return float(combined @ self.y) / float(combined @ self.x)

    def error(self, combined: Array) -> float:
        """The standard error of `slope`."""
        residual, curvature = self.residual(combined), float(combined @ self.x)
        if self.errors == "classical":
            free = self.num_rows - self.num_covariates - 1
            return float(np.sqrt(residual @ residual / free / curvature))
        if self.corrects_clusters:
            weight = self._reduced(combined[:, None]).adjusted(combined[:, None])
            spread = self.spread(weight * residual[:, None])
        else:
            spread = self.spread((combined * residual)[:, None]) * self._scale(1)
        return float(np.sqrt(spread[0, 0]) / curvature)

    @property
    def corrects_clusters(self) -> bool:
        """Whether errors are corrected for few clusters."""
        return self.errors == "HC1" and self.columns.clusters is not None

    def freedom(self, combined: Array) -> float:
        """The degrees of freedom of `error`; infinite where rows are not clustered."""
        if not self.corrects_clusters:
            return float("inf")
        reduced = self._reduced(combined[:, None])
        return reduced.freedom(reduced.adjusted(combined[:, None])[:, 0])

    def _reduced(self, regressors: Array) -> BiasReduced:
        clusters = self.columns.clusters
        assert clusters is not None
        scaled = regressors / np.sqrt((regressors**2).sum(axis=0))
        return BiasReduced(np.column_stack([self.basis, scaled]), clusters)

    def spread(self, scores: Array) -> Array:
        """Estimate the covariance of the sum of scores, shape ``(rows, k)``; by cluster if any."""
        clusters = self.columns.clusters
        if clusters is not None:
            scores = np.stack([np.bincount(clusters, column) for column in scores.T], axis=1)
        return np.asarray(scores.T @ scores)

    def _scale(self, num_coefficients: int) -> float:
        """The correction of HC1 and, by cluster, of CR1 (for the first stage and GMM's weights)."""
        if self.errors != "HC1":
            return 1.0
        free = self.num_rows - self.num_covariates - num_coefficients
        if self.columns.clusters is None:
            return self.num_rows / free
        number = self.columns.num_clusters
        return number / (number - 1) * (self.num_rows - 1) / free

    @property
    def _free(self) -> int:
        return self.num_rows - self.num_covariates - self.num_instruments

    def _first_stage_spread(self) -> Array:
        """The covariance of ``z'x``."""
        residual = self.x - self.fitted
        if self.errors == "classical":
            constant = self.num_rows * float(residual @ residual) / self._free
            return constant * np.eye(self.num_instruments)
        return self.spread(self.z * residual[:, None]) * self._scale(self.num_instruments)

    def first_stage_f(self) -> float:
        """The F statistic of the instruments in the first stage, robust as the errors are."""
        score, spread = self.z.T @ self.x, self._first_stage_spread()
        if np.linalg.matrix_rank(spread) < self.num_instruments:
            return float("inf")  # the first stage fits exactly
        return float(score @ np.linalg.solve(spread, score)) / self.num_instruments

    def effective_f(self) -> tuple[float, float]:
        """The effective F of Montiel Olea and Pflueger, and its critical value.

        Above the critical value the bias of two-stage least squares is, at a level of 5 %, at most
        a tenth of the worst possible one (Patnaik's approximation).
        """
        each = np.linalg.eigvalsh(self._first_stage_spread() / self.num_rows)
        total, x = float(each.sum()), _WORST_SHARES
        if not total > 1e-20 * float(self.x @ self.x):
            return float("inf"), 0.0  # the first stage fits exactly: no bias
        size = total**2 * (1 + 2 * x) / float(each @ each + 2 * x * total * each.max())
        return float(self.fitted @ self.x) / total, float(chndtrix(0.95, size, x * size)) / size

    def anderson_rubin(self, prob: float = 0.95) -> list[Interval]:
        """List the intervals of the effects at which the outcome, freed of them, is unrelated to Z.

        As robust to unequal variances, and to clusters, as the errors are. With several instruments
        and clusters, the degrees of freedom are those of the first stage's fit.
        """
        x_fit, y_fit = self.fitted, self.projected(self.y)
        if self.errors == "classical":
            both, fits = np.stack([self.x, self.y]), np.stack([x_fit, y_fit])
            return shared_variance_set(both - fits, fits, self.num_instruments, self._free, prob)
        weight, scale = self.z, self._scale(self.num_instruments)
        if self.corrects_clusters:
            weight, scale = self._reduced(self.z).adjusted(self.z), 1.0
        scores = [
            weight * (part - fit)[:, None] for part, fit in ((self.x, x_fit), (self.y, y_fit))
        ]
        bound = robust_bound(self.num_instruments, self.freedom(x_fit), prob)
        if bound > _NO_BOUND:
            return [(-np.inf, np.inf)]
        spread = self.spread(np.column_stack(scores)) * scale
        return robust_set(self.z.T @ self.x, self.z.T @ self.y, spread, bound)
