"""The table of a posterior: one row per variable and unit, with Monte Carlo error.

| name | what it does | paper |
|---|---|---|
| `summary_table` | the table | - |
| `error_columns` | Monte Carlo error, effective size, R-hat | Vehtari et al. (2021) |
| `is_certain` | whether all draws are one number | - |
| `is_simulated` | whether a law stands for a number and its Monte Carlo error | - |
| `worst_khat` | the largest Pareto k-hat | Vehtari et al. (2024) |
| `row_labels` | names of rows, from labels of units and entries | - |
| `tails` | the two levels of an equal-tailed interval | - |
| `support` | values of a discrete law, and their labels | - |
"""

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from causalppl.exceptions import DataError
from causalppl.given import told
from causalppl.inference import diagnostics as measures
from causalppl.inference.khat import KHAT_LIMIT, khat_of
from causalppl.inference.laws import EmpiricalLaw, FiniteLaw, Law, NormalLaw

if TYPE_CHECKING:
    import pandas as pd

    from causalppl.inference.posterior import Posterior

__all__ = [
    "error_columns",
    "is_certain",
    "is_simulated",
    "row_labels",
    "summary_table",
    "support",
    "tails",
    "worst_khat",
]

_ROUNDINGS = 16  # steps of rounding that a program may add to a number


def summary_table(posterior: "Posterior", prob: float, max_rows: int | None) -> "pd.DataFrame":
    """Tabulate every variable; see `Posterior.summary`."""
    import pandas as pd

    tails(prob)
    if max_rows is not None and max_rows < 1:
        raise DataError(f"max_rows is {max_rows!r}; expected at least 1, or None for all rows")
    tables: list[pd.DataFrame] = []
    total, left = 0, max_rows
    for name in posterior.variables:
        size = math.prod(posterior.law(name).shape)
        total += size
        shown = size if left is None else min(size, left)
        left = None if left is None else left - shown
        if shown:
            tables.append(_rows(posterior, name, prob, shown))
    table = pd.concat(tables) if tables else pd.DataFrame()
    table.attrs["left_out"] = total - len(table)
    if len(table) < total:
        table.index.name = (
            f"first {len(table):,} of {total:,} rows; {total - len(table):,} left out"
        )
    return table


def _rows(posterior: "Posterior", name: str, prob: float, stop: int) -> "pd.DataFrame":
    import pandas as pd

    law, (low, high) = posterior.law(name), tails(prob)
    part = law.flat(stop)
    columns: dict[str, Any] = {"mean": part.mean(), "sd": part.sd()}
    columns[f"{100 * low:.6g}%"] = part.quantile(low)
    columns[f"{100 * high:.6g}%"] = part.quantile(high)
    columns = {key: column.cpu().numpy() for key, column in columns.items()}
    columns |= error_columns(posterior, name, part)
    certain = is_certain(part)
    if posterior.log_weights is not None or "khat" in posterior.diagnostics:
        khat = _khat(posterior, law)[:stop]
        certain = certain & ~(khat > KHAT_LIMIT)
        if not certain.all():  # weights say nothing of what all draws agree on
            columns["khat"] = np.where(certain, np.nan, khat)
    if certain.any():
        least = _resolution(part) * np.abs(columns["mean"])
        for key in ("sd", "mcse"):  # rounding only: an error that is not known stays so
            columns[key] = np.where(certain & (columns[key] <= least), 0.0, columns[key])
    return pd.DataFrame(columns, index=row_labels(posterior, name, law.shape, stop), dtype=float)


def is_certain(part: Law) -> npt.NDArray[np.bool_]:
    """Whether all draws of a row are one number, but for rounding."""
    if not isinstance(part, EmpiricalLaw) or not np.issubdtype(part.draws.dtype, np.floating):
        return np.zeros(part.shape, dtype=bool)
    low, high = part.draws.min(0), part.draws.max(0)
    return np.asarray(high - low <= _resolution(part) * np.maximum(np.abs(low), np.abs(high)))


def _resolution(part: Any) -> float:
    """What rounding can make of a number, as a share of it."""
    return _ROUNDINGS * float(np.finfo(part.draws.dtype).eps)


def error_columns(posterior: "Posterior", name: str, part: Law) -> dict[str, Any]:
    """Monte Carlo error (bias that the engine found included), effective size and R-hat."""
    if is_simulated(posterior, name):
        return {"mcse": part.sd().cpu().numpy(), "ess": np.full(part.shape, np.nan)}
    bias: Any = posterior.diagnostics.get(f"bias({name})", 0.0)
    if not isinstance(part, EmpiricalLaw):
        exact = {"mcse": np.full(part.shape, bias), "ess": np.full(part.shape, np.inf)}
        return exact | ({"rhat": np.ones(part.shape)} if posterior.is_mcmc else {})
    chains = posterior.draws.sizes["chain"]
    draws = part.draws.reshape(chains, -1, *part.shape)
    logs = part.log_weights
    logs = None if logs is None else logs.reshape(chains, -1, *logs.shape[1:])
    is_independent = not posterior.is_mcmc
    out: dict[str, Any] = {
        "mcse": np.hypot(
            measures.mcse(draws, log_weights=logs, is_independent=is_independent), bias
        ),
        "ess": measures.ess(draws, log_weights=logs, is_independent=is_independent),
    }
    return out | ({"rhat": measures.rhat(draws)} if posterior.is_mcmc else {})


def _khats(posterior: "Posterior") -> npt.NDArray[np.float64]:
    """Pareto k-hat, one or one per unit: the engine's own, or that of the weights."""
    khat: Any = posterior.diagnostics.get("khat")
    if khat is None and posterior.log_weights is not None:
        logs = torch.as_tensor(posterior.log_weights.values)
        khat = khat_of(logs.reshape(1, logs.shape[0] * logs.shape[1], -1)).reshape(logs.shape[2:])
    return np.asarray(-np.inf if khat is None else khat, dtype=float)


def worst_khat(posterior: "Posterior") -> float:
    """Return the largest k-hat of any unit; minus infinity where there is none."""
    return float(np.max(_khats(posterior), initial=-np.inf))


def _khat(posterior: "Posterior", law: Law) -> npt.NDArray[np.float64]:
    """Pareto k-hat of each row of a variable."""
    values, size = _khats(posterior), math.prod(law.shape)
    if values.ndim == 0:
        return np.full(size, values)
    if law.shape[:1] == values.shape:
        return np.repeat(values, size // len(values))
    # unit by unit for another variable: the worst is what can be said here
    return np.full(size, values.max())


def row_labels(
    posterior: "Posterior", name: str, shape: tuple[int, ...], stop: int | None
) -> list[str]:
    """Name the first ``stop`` rows of a variable, such as ``Y[Ann]``."""
    if not shape:
        return [name][:stop]
    axes: Sequence[Any] = ("units", *[f"{name}_dim_{i}" for i in range(1, len(shape))])
    if name in posterior.draws.data_vars and posterior.draws[name].ndim == len(shape) + 2:
        axes = posterior.draws[name].dims[2:]
    labels = [
        posterior.draws.coords[axis].values.tolist()
        if axis in posterior.draws.coords and posterior.draws.sizes[axis] == size
        else range(size)
        for axis, size in zip(axes, shape, strict=True)
    ]
    if len(labels) == 1:
        return [f"{name}[{label}]" for label in labels[0][:stop]]
    keys = itertools.islice(itertools.product(*labels), stop)
    return [f"{name}[{', '.join(map(str, key))}]" for key in keys]


def tails(prob: float) -> tuple[float, float]:
    """Return the lower and upper level.

    Raises:
        DataError: ``prob`` is not between 0 and 1.
    """
    if np.ndim(prob) > 0 or isinstance(prob, str) or not 0 < prob < 1:
        raise DataError(f"prob is {told(prob)}; expected a number between 0 and 1, such as 0.95")
    return (1 - prob) / 2, (1 + prob) / 2


def is_simulated(posterior: "Posterior", name: str) -> bool:
    """Whether the spread of a variable's law is the Monte Carlo error of one number."""
    is_drawn = name in posterior.draws.data_vars
    return isinstance(posterior.law(name), NormalLaw) and not posterior.is_exact and not is_drawn


def support(law: Law, limit: int | None = None) -> tuple[list[Any], list[Any]]:
    """Values of a discrete law and their labels; empty when there are more than ``limit``."""
    labels = getattr(law, "labels", None)
    values: list[Any]
    if isinstance(law, FiniteLaw):
        values = list(law.values)
    elif isinstance(law, EmpiricalLaw):
        values = list(range(len(labels))) if labels else np.unique(law.draws).tolist()
    else:
        values = law.mean().unique().tolist()
    values = [int(v) if float(v).is_integer() else v for v in values]
    if limit is not None and len(values) > limit:
        return [], []
    return values, list(labels) if labels else values
