"""Fitted models beside each other, by how well they predict units left out of the fit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from causalppl.exceptions import DataError
from causalppl.given import told
from causalppl.inference.khat import KHAT_LIMIT
from causalppl.inference.loo import LeaveOneOut, loo, sum_error, told_rows
from causalppl.inference.row_likelihood import RowLikelihood
from causalppl.inference.training_data import TrainingData
from causalppl.programs.scm import SCM

if TYPE_CHECKING:
    import pandas as pd

SMALL_DIFFERENCE: Final = 4.0
"""Nats of elpd; smaller differences are weakly told, and their standard error is too small."""

FEW_ROWS: Final = 100
"""Fewer rows than this make the standard error of a difference too small."""

_ALIKE: Final = 0.05  # nats: less is written as 0.0
_SAME: Final = 1e-6  # relative difference of two values: rounding
_NOT_CAUSAL = (
    "This compares predictions in the population that the rows come from; it does not tell the "
    "direction of causes: Markov-equivalent models, with arrows turned, predict alike"
)


@dataclass(frozen=True, repr=False)
class ModelComparison:
    """What `compare` found.

    Attributes:
        models: Name to what `loo` found, the best first.
        weights: Name to its share in the mixture of the models' predictive laws that tells
            left-out rows best (stacking); they sum to one.

    Example:
        >>> import causalppl as cp, pyro, pyro.distributions as dist, torch
        >>> def model(scale):
        ...     def program(n):
        ...         mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
        ...         with pyro.plate("units", n):
        ...             pyro.sample("Y", dist.Normal(mean, scale))
        ...     return program
        >>> data = {"Y": torch.linspace(-2.0, 2.0, 200)}
        >>> found = cp.compare({str(s): cp.fit(model(s), data, seed=0) for s in (1.0, 3.0)})
        >>> found.difference("3.0")[0] < -4, found.is_weak("3.0")
        (True, False)
    """

    models: Mapping[str, LeaveOneOut]
    weights: Mapping[str, float]

    @property
    def best(self) -> str:
        """The model with the largest ``elpd``."""
        return next(iter(self.models))

    @property
    def num_rows(self) -> int:
        """Number of rows that all models were fitted to."""
        return self.models[self.best].num_rows

    def difference(self, name: str, other: str | None = None) -> tuple[float, float]:
        """Return by how much one model's elpd is above another's, and its standard error, in nats.

        Args:
            name: A model.
            other: Another one; None: the best.

        Raises:
            DataError: There is no such model.
        """
        for asked in (name, other):
            if asked is not None and asked not in self.models:
                raise DataError(f"there is no model {asked!r}; expected {', '.join(self.models)}")
        one, two = self.models[name], self.models[other or self.best]
        by_row = one.pointwise - two.pointwise
        return float(by_row.sum()), sum_error(by_row)

    def is_weak(self, name: str, other: str | None = None) -> bool:
        """Whether a difference is under four nats, or rests on fewer than a hundred rows.

        References:
            Sivula, Magnusson, Matamoros and Vehtari (2020), Uncertainty in Bayesian
            leave-one-out cross-validation based model comparison.
        """
        return abs(self.difference(name, other)[0]) < SMALL_DIFFERENCE or self.num_rows < FEW_ROWS

    def summary(self) -> "pd.DataFrame":
        """Return a table, the best model first."""
        import pandas as pd

        rows = []
        for rank, (name, found) in enumerate(self.models.items()):
            difference, error = self.difference(name)
            rows.append(
                {
                    "model": name,
                    "rank": rank,
                    "elpd": found.elpd,
                    "se": found.se,
                    "difference": difference,
                    "se of difference": error,
                    "weight": self.weights[name],
                    "p_loo": found.p_loo,
                    "worst k-hat": found.worst_khat,
                    "rows with k-hat > 0.7": len(found.unreliable),
                }
            )
        return pd.DataFrame(rows).set_index("model")

    def __repr__(self) -> str:
        """Return one line."""
        shown = ", ".join(f"{name}: elpd {found.elpd:.1f}" for name, found in self.models.items())
        return f"ModelComparison({shown}; {self.num_rows:,} rows)"

    def interpret(self) -> str:
        """Say which model predicts best, how surely, and what that does not mean."""
        said = [self._against(name) for name in list(self.models)[1:]]
        said += [
            f"{name!r} has a k-hat above {KHAT_LIMIT} for "
            f"{told_rows(found.unreliable, self.num_rows)}, and its elpd is likely too high"
            for name, found in self.models.items()
            if found.unreliable
        ]
        return ". ".join([*said, *self._notes(), _NOT_CAUSAL]) + "."

    def _against(self, name: str) -> str:
        difference, error = self.difference(self.best, name)
        better = f"{self.best!r} predicts better than {name!r} by {difference:.1f} nats"
        if difference < _ALIKE:
            better = f"{self.best!r} and {name!r} predict alike"
        said = f"Over {self.num_rows:,} rows, each left out in turn, {better}"
        said += f" (standard error {error:.1f})"
        reasons = [f"less than {SMALL_DIFFERENCE:g} nats"] if difference < SMALL_DIFFERENCE else []
        if self.num_rows < FEW_ROWS:
            reasons.append(f"fewer than {FEW_ROWS} rows")
        if reasons:
            return (
                f"{said}, which is weakly told: the standard error of a difference of "
                f"{' and '.join(reasons)} is too small"
            )
        return said if difference > 2 * error else f"{said}, which chance may well explain"

    def _notes(self) -> list[str]:
        told_of: dict[str, list[str]] = {}
        for name, found in self.models.items():
            for note in found.notes:
                told_of.setdefault(note, []).append(name)
        return [f"Of {', '.join(names)}: {note}" for note, names in told_of.items()]

    def _repr_html_(self) -> str:
        from html import escape

        shown = self.summary().to_html(float_format=lambda x: f"{x:.4g}")
        return f"<p>{escape(self.interpret())}</p>{shown}"

    def plot(self, ax: Any = None) -> Any:
        """Draw the models' elpd and differences; see `causalppl.plots.compare`."""
        from causalppl.inference.loo_plots import compare as draw

        return draw(self, ax=ax)


def compare(
    models: Mapping[str, SCM | LeaveOneOut],
    *,
    seed: int | None = 0,
    progress: bool | None = None,
) -> ModelComparison:
    """Compare fitted models by how well they predict a unit left out of the fit.

    Weights are those of the mixture of predictive laws that gives left-out rows the highest
    density (stacking). They are no probabilities that a model is true.

    Args:
        models: Name to what `fit` returns, or to what `loo` found; at least two, fitted to the same
            rows and columns.
        seed: As for `loo`.
        progress: As for `loo`.

    Returns:
        The models in order, with differences, their standard errors, and weights.

    Raises:
        DataError: The models were fitted to different rows or columns, or there are fewer than two.
        AssumptionError: As for `loo`.

    Warns:
        ConvergenceWarning: As for `loo`.

    References:
        Vehtari, Gelman and Gabry (2017), Practical Bayesian model evaluation using leave-one-out
        cross-validation and WAIC, section 5; Yao, Vehtari, Simpson and Gelman (2018), Using
        stacking to average Bayesian predictive distributions; Sivula, Magnusson, Matamoros and
        Vehtari (2020), Uncertainty in Bayesian leave-one-out cross-validation based model
        comparison.

    Example:
        >>> import causalppl as cp, pyro, pyro.distributions as dist, torch
        >>> def model(scale):
        ...     def program(n):
        ...         mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
        ...         with pyro.plate("units", n):
        ...             pyro.sample("Y", dist.Normal(mean, scale))
        ...     return program
        >>> data = {"Y": torch.linspace(-2.0, 2.0, 200)}
        >>> found = compare({str(s): cp.fit(model(s), data, seed=0) for s in (1.0, 3.0)})
        >>> found.best, {name: round(w, 2) for name, w in found.weights.items()}
        ('1.0', {'1.0': 1.0, '3.0': 0.0})
    """
    if not isinstance(models, Mapping) or len(models) < 2:
        raise DataError(
            f"found {told(models)}; expected at least two models by name: "
            'compare({"one": fit(...), "other": fit(...)})'
        )
    _check_same_rows({str(name): _rows_of(model) for name, model in models.items()})
    found = {
        str(name): model
        if isinstance(model, LeaveOneOut)
        else loo(model, seed=seed, progress=progress)
        for name, model in models.items()
    }
    ranked = dict(sorted(found.items(), key=lambda item: -item[1].elpd))
    densities = torch.stack([each.pointwise for each in ranked.values()], 1).numpy()
    weights = stacking_weights(densities)
    return ModelComparison(ranked, dict(zip(ranked, weights, strict=True)))


def stacking_weights(densities: "np.typing.NDArray[np.float64]") -> list[float]:
    """Return the mixture of models that gives rows the highest density.

    Args:
        densities: Log density of each row under each model, shape ``(rows, models)``.

    References:
        Yao, Vehtari, Simpson and Gelman (2018), Using stacking to average Bayesian predictive
        distributions, equation 4.

    Example:
        >>> found = stacking_weights(np.log([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.1, 0.9]]))
        >>> [round(weight, 4) for weight in found]
        [0.8125, 0.1875]
    """
    from scipy.optimize import minimize

    shares = np.exp(densities - densities.max(1, keepdims=True))
    count = shares.shape[1]

    def loss(w: Any) -> tuple[float, Any]:
        mixed = shares @ w
        return -float(np.log(mixed).mean()), -(shares / mixed[:, None]).mean(0)

    found = minimize(
        loss,
        np.full(count, 1 / count),
        jac=True,
        method="SLSQP",
        bounds=[(1e-12, 1.0)] * count,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    weights = np.clip(found.x, 0.0, None)
    return [round(float(w), 9) for w in weights / weights.sum()]


def _rows_of(model: SCM | LeaveOneOut) -> TrainingData:
    return model.data if isinstance(model, LeaveOneOut) else RowLikelihood(model).data


def _check_same_rows(rows: Mapping[str, TrainingData]) -> None:
    (first, one), *others = rows.items()
    for name, other in others:
        if (difference := _difference(one, other)) is not None:
            raise DataError(
                f"{first!r} and {name!r} were not fitted to the same data: {difference}; densities "
                "of different things cannot be compared; fit both to the same rows and columns"
            )


def _difference(one: TrainingData, other: TrainingData) -> str | None:
    if one.num_rows != other.num_rows:
        return f"{one.num_rows:,} rows and {other.num_rows:,}"
    if lone := sorted(set(one.values) ^ set(other.values)):
        return f"only one of them has the columns {', '.join(lone)}"
    for name in one.values:
        if (found := _difference_in(name, one, other)) is not None:
            return found
    return None


def _difference_in(name: str, one: TrainingData, other: TrainingData) -> str | None:
    none = torch.zeros(one.num_rows).bool()
    mine, theirs = (data.gaps.get(name, none).cpu() for data in (one, other))
    if not torch.equal(mine, theirs):
        return f"other values of {name!r} are missing"
    if one.categories.get(name) != other.categories.get(name):
        return f"the categories of {name!r} differ"
    first, second = (data.values[name].double().cpu() for data in (one, other))
    differs = ~torch.isclose(first, second, _SAME, _SAME).reshape(one.num_rows, -1).all(1) & ~mine
    return f"column {name!r} differs in {int(differs.sum()):,} rows" if differs.any() else None
