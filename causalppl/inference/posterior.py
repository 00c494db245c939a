"""The answer to a query: draws, exact laws, and how far to trust them.

| name | what it does | paper |
|---|---|---|
| `Posterior` | summaries, one sentence, files, pictures, ArviZ | - |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from causalppl.exceptions import QueryError
from causalppl.inference.by_name import ByName
from causalppl.inference.laws import Law
from causalppl.inference.posterior_draws import (
    checked_draws,
    checked_weights,
    dataset_from_arrays,
    drawn_law,
    equally_weighted_draws,
    plain_value,
)
from causalppl.inference.posterior_files import read_posterior, write_posterior
from causalppl.inference.posterior_plots import plot_posterior
from causalppl.inference.posterior_table import row_labels, summary_table, support, tails
from causalppl.inference.posterior_text import html_form, sentence, short_form
from causalppl.spelling import spelling

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["Posterior"]

Number: TypeAlias = float | npt.NDArray[np.float64]
Diagnostic: TypeAlias = float | list[Any]


@dataclass(frozen=True, eq=False, repr=False)
class Posterior:
    """What is known of some variables, after a query was put to a program.

    Summaries use the exact law of a variable where there is one, and else its draws with their
    importance weights. Scalars come as ``float``, variables with axes as NumPy arrays.

    Attributes:
        draws: Dataset with dims ``(chain, draw, [units], *event)``; may hold no variable.
        log_weights: Logarithms of importance weights, dims ``(chain, draw[, units])``; None for
            equal weights.
        laws: Exact laws of some variables; their batch is ``(units, *event)``.
        query: The question, as text.
        engine: Who answered.
        is_exact: Whether the answer is free of approximation.
        assumptions: What the answer rests on.
        couplings: Site to the coupling by which worlds share its noise.
        diagnostics: Numbers (or lists, one entry per unit) such as ``khat``.
        notes: What the reader must know, such as units that were treated specially.
        seed: Reproduces whatever is drawn from the posterior.
        is_mcmc: Whether draws of a chain depend on each other. None means: when there is more
            than one chain; a single Markov chain must say True.

    Raises:
        DataError: The dims are wrong, or draws or weights are not finite.

    Example:
        >>> from causalppl.inference.laws import NormalLaw
        >>> laws = {"Y": NormalLaw(2.0, 0.5)}
        >>> answer = Posterior.from_draws({}, laws=laws, engine="Gaussian", is_exact=True)
        >>> answer.mean()["Y"], answer.sd()["Y"]
        (2.0, 0.5)
        >>> print(answer.interpret())
        Y has posterior mean 2 and standard deviation 0.5, and lies between 1.02 and 2.98 with \
probability 95 %, computed exactly by Gaussian, taking the program as given.
    """

    draws: "xr.Dataset"
    log_weights: "xr.DataArray | None" = None
    laws: Mapping[str, Law] = field(default_factory=dict)
    query: str = ""
    engine: str = ""
    is_exact: bool = False
    assumptions: tuple[str, ...] = ()
    couplings: Mapping[str, str] = field(default_factory=dict)
    diagnostics: Mapping[str, Diagnostic] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seed: int = 0
    is_mcmc: bool | None = None

    def __post_init__(self) -> None:
        plain = {name: plain_value(value) for name, value in self.diagnostics.items()}
        for name, value in {
            "draws": checked_draws(self.draws),
            "laws": dict(self.laws),
            "query": str(self.query),
            "engine": str(self.engine),
            "is_exact": bool(self.is_exact),
            "seed": int(self.seed),
            "assumptions": tuple(self.assumptions),
            "couplings": dict(self.couplings),
            "diagnostics": plain,
            "notes": tuple(self.notes),
        }.items():
            object.__setattr__(self, name, value)
        if self.is_mcmc is None:
            object.__setattr__(self, "is_mcmc", self.draws.sizes.get("chain", 1) > 1)
        if self.log_weights is not None:
            object.__setattr__(self, "log_weights", checked_weights(self.log_weights, self.draws))

    @classmethod
    def from_draws(
        cls,
        draws: Mapping[str, Any],
        *,
        dims: Mapping[str, Sequence[str]] | None = None,
        coords: Mapping[str, Sequence[Any]] | None = None,
        categories: Mapping[str, Sequence[str]] | None = None,
        log_weights: Any = None,
        **fields: Any,
    ) -> "Posterior":
        """Build a posterior from arrays or tensors.

        Args:
            draws: Name to array, shape ``(chains, draws, *dims)``.
            dims: Name to the names of its axes after chain and draw. By default the first is
                ``units`` and the others are ``<name>_dim_1``, ``<name>_dim_2``, ...
            coords: Axis name to labels, such as ``{"units": ["Ann", "Bob"]}``.
            categories: Name to the labels of its codes 0, 1, ...
            log_weights: Array of shape ``(chains, draws)`` or ``(chains, draws, units)``.
            **fields: The other attributes of the posterior.

        Raises:
            DataError: Axes do not fit together, or draws or weights are not finite.

        Example:
            >>> Posterior.from_draws({"Y": np.zeros((1, 10, 3))}).mean()["Y"].tolist()
            [0.0, 0.0, 0.0]
        """
        dataset, weights = dataset_from_arrays(
            draws, dims or {}, coords or {}, categories or {}, log_weights
        )
        return cls(draws=dataset, log_weights=weights, **fields)

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the variables, those with an exact law first."""
        return tuple(dict.fromkeys([*self.laws, *map(str, self.draws.data_vars)]))

    def law(self, name: str) -> Law:
        """Return the law of a variable: the exact one, or that of its draws and weights.

        Raises:
            QueryError: There is no such variable.
        """
        if name in self.laws:
            return self.laws[name]
        if name not in self.draws.data_vars:
            raise QueryError(
                f"unknown variable {name!r}; the posterior has {sorted(self.variables)}"
                f"{spelling(name, self.variables)}, or query it"
            )
        return drawn_law(self, name)

    def mean(self) -> dict[str, Number]:
        """Posterior mean of each variable."""
        return ByName({name: _number(self.law(name).mean()) for name in self.variables})

    def sd(self) -> dict[str, Number]:
        """Posterior standard deviation of each variable."""
        return ByName({name: _number(self.law(name).sd()) for name in self.variables})

    def quantile(self, q: float) -> dict[str, Number]:
        """Posterior quantile of each variable, ``q`` in [0, 1].

        Raises:
            DataError: ``q`` is not one number from 0 to 1.
        """
        return ByName({name: _number(self.law(name).quantile(q)) for name in self.variables})

    def interval(self, prob: float = 0.95) -> dict[str, tuple[Number, Number]]:
        """Equal-tailed interval of each variable, with probability ``prob`` (0 to 1) inside.

        Raises:
            DataError: ``prob`` is not between 0 and 1.
        """
        low, high = tails(prob)
        lower, upper = self.quantile(low), self.quantile(high)
        return ByName({name: (lower[name], upper[name]) for name in self.variables})

    def probability(self, name: str, value: Any) -> Number:
        """Posterior probability that a discrete variable has a value (or a category's label).

        Raises:
            QueryError: The variable is unknown or continuous, or the label is unknown.
        """
        return _number(self._discrete_law(name).probability(value))

    def probabilities(self, name: str) -> "pd.Series[float]":
        """Posterior probability of every value of a discrete variable.

        Returns:
            A series over the values, or over their labels; with units, over ``(unit, value)``.

        Raises:
            QueryError: The variable is unknown or continuous.
        """
        import pandas as pd

        law = self._discrete_law(name)
        values, labels = support(law)
        table = np.stack([np.asarray(_number(law.probability(v))) for v in values], axis=-1)
        index: pd.Index | pd.MultiIndex = pd.Index(labels, name=name)
        if law.shape:
            units = row_labels(self, name, law.shape, None)
            index = pd.MultiIndex.from_product([units, labels], names=["row", name])
        return pd.Series(table.reshape(-1), index=index, name="probability")

    def summary(self, prob: float = 0.95, *, max_rows: int | None = None) -> "pd.DataFrame":
        """Tabulate every variable, one row per variable and unit.

        Args:
            prob: Probability inside the equal-tailed interval.
            max_rows: Show at most so many rows; the name of the index and ``attrs["left_out"]``
                then say how many were left out. None shows all.

        Returns:
            Columns ``mean``, ``sd``, the interval's ends (``2.5%``, ``97.5%``), ``mcse`` (Monte
            Carlo error of the mean, 0 where the law is exact), ``ess`` (infinite where exact, NaN
            where one number was simulated), ``rhat`` for MCMC, and ``khat`` where importance
            weights or the engine give one (good below 0.5, or negative: weights with a short
            tail; NaN or left out for a number on which all draws agree).

        Raises:
            DataError: ``prob`` is not between 0 and 1, or ``max_rows`` is below 1.
        """
        return summary_table(self, prob, max_rows)

    def interpret(self, prob: float = 0.95) -> str:
        """Say in one plain sentence what was found, how surely, and on what it rests.

        Args:
            prob: The probability inside the interval that is told, between 0 and 1.
        """
        return sentence(self, prob)

    def to_arviz(self) -> Any:
        """Convert to ArviZ: ``InferenceData`` before its version 1, ``DataTree`` from then on.

        Raises:
            MissingExtraError: ArviZ is not installed.
        """
        from causalppl.inference.arviz import to_arviz

        return to_arviz(self)

    def equally_weighted(self) -> "xr.Dataset":
        """Return draws of every variable, dims ``(chain, draw, [units], *event)``.

        Weighted draws are resampled; variables with a law and without draws are drawn from
        it, independently of all others. Both are reproduced by ``seed``.
        """
        return equally_weighted_draws(self)

    def plot(self, ax: Any = None, *, prob: float = 0.95, max_units: int = 100) -> Any:
        """Draw each variable with its interval.

        A scalar is a histogram or a density (bars where it is discrete) over its interval. A
        variable with units is one mean with its interval per unit, up to ``max_units``; the
        label says how many were left out.

        Args:
            ax: Matplotlib axes to draw on; None makes new ones.
            prob: Probability inside the interval.
            max_units: Largest number of units drawn for one variable.

        Returns:
            The axes.

        Raises:
            MissingExtraError: Matplotlib is not installed.
        """
        return plot_posterior(self, ax, prob, max_units)

    def save(self, path: "str | PathLike[str]") -> None:
        """Write everything to one NetCDF file, with the metadata as JSON.

        Raises:
            DataError: A law is of a type that files do not know.
        """
        write_posterior(self, path)

    @classmethod
    def load(cls, path: "str | PathLike[str]") -> "Posterior":
        """Read a file written by :meth:`save`; nothing in the file is ever executed.

        Raises:
            DataError: The file is missing, damaged, or not a posterior.
        """
        return read_posterior(cls, path)

    def __float__(self) -> float:
        """The posterior mean, where the answer is one number.

        Raises:
            QueryError: There are several variables or units, or none.
        """
        means = self.mean()
        sizes = {name: np.size(value) for name, value in means.items()}
        if list(sizes.values()) != [1]:
            held = ", ".join(f"{name} ({size} values)" for name, size in sizes.items())
            raise QueryError(
                f"the posterior holds {held or 'no variable'}; float() is for a single number; "
                "take one from mean(), or see summary()"
            )
        return float(np.asarray(next(iter(means.values()))).item())

    def __repr__(self) -> str:
        return short_form(self)

    def _repr_html_(self) -> str:
        return html_form(self)

    def _discrete_law(self, name: str) -> Law:
        law = self.law(name)
        if not law.is_discrete:
            raise QueryError(
                f"{name!r} is continuous, so every single value has probability 0; expected a "
                "discrete variable; ask for quantile() or interval() instead"
            )
        return law


def _number(values: torch.Tensor) -> Number:
    array: npt.NDArray[np.float64] = values.cpu().numpy()
    return float(array) if array.ndim == 0 else array
