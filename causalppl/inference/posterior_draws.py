"""The draws of a posterior: from arrays to a checked dataset, and back to laws.

| name | what it does | paper |
|---|---|---|
| `dataset_from_arrays` | arrays or tensors with names to a dataset | - |
| `checked_draws`, `checked_weights` | put dims in order, refuse what is not finite | - |
| `drawn_law` | the law that draws and weights stand for | - |
| `equally_weighted_draws` | draws of every variable, without weights | - |
| `axis_names`, `array_of`, `plain_value` | small conversions | - |
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import torch

from causalppl.exceptions import DataError
from causalppl.inference.laws import EmpiricalLaw, Law, PointLaw
from causalppl.seeding import spawn_seeds

if TYPE_CHECKING:
    import xarray as xr

    from causalppl.inference.posterior import Posterior

__all__ = [
    "LAW_DRAWS",
    "array_of",
    "axis_names",
    "checked_draws",
    "checked_weights",
    "dataset_from_arrays",
    "drawn_law",
    "equally_weighted_draws",
    "plain_value",
]

LAW_DRAWS: Final = 1000
"""Draws taken from an exact law where only draws will do (pictures, ArviZ)."""


def dataset_from_arrays(
    draws: Mapping[str, Any],
    dims: Mapping[str, Sequence[str]],
    coords: Mapping[str, Sequence[Any]],
    categories: Mapping[str, Sequence[str]],
    log_weights: Any,
) -> "tuple[xr.Dataset, xr.DataArray | None]":
    """Name the axes of arrays and put them together; arguments as in `Posterior.from_draws`.

    Returns:
        The draws, and the log weights (None if there are none).

    Raises:
        DataError: Axes do not fit together.
    """
    import xarray as xr

    arrays = {name: array_of(value) for name, value in draws.items()}
    for name, array in arrays.items():
        if array.ndim < 2:
            raise DataError(
                f"draws of {name!r} have shape {array.shape}; expected (chains, draws, *dims); "
                "give one chain as draws[None]"
            )
    axes = {name: axis_names(name, x.ndim - 2, dims) for name, x in arrays.items()}
    labels = {name: list(names) for name, names in categories.items()}
    try:
        dataset = xr.Dataset(
            {
                name: (axes[name], x, {"categories": labels[name]} if name in labels else {})
                for name, x in arrays.items()
            },
            coords={name: list(values) for name, values in coords.items()},
        )
        weights = None
        if log_weights is not None:
            logs = array_of(log_weights)
            weights = xr.DataArray(logs, dims=("chain", "draw", "units")[: logs.ndim])
    except ValueError as error:
        shapes = {name: array.shape for name, array in arrays.items()}
        raise DataError(
            f"draws of shapes {shapes} and axes {axes} do not fit together ({error}); expected "
            "the same chains, draws and units; name other axes with dims="
        ) from error
    return dataset, weights


def checked_draws(draws: "xr.Dataset") -> "xr.Dataset":
    """Put dims in order.

    Raises:
        DataError: Dims are missing, or draws are not finite numbers.
    """
    if not draws.data_vars:
        return draws
    for name, data in draws.data_vars.items():
        if not {"chain", "draw"} <= set(data.dims):
            raise DataError(
                f"draws of {name!r} have dims {data.dims}; expected (chain, draw, [units], *event)"
            )
        if data.dtype.kind not in "biuf":
            raise DataError(
                f"draws of {name!r} have dtype {data.dtype}; expected numbers; encode categories "
                "as codes and pass their labels as categories="
            )
        bad = 0 if data.dtype.kind != "f" else int((~np.isfinite(data.values)).sum())
        if bad:
            raise DataError(
                f"{bad} of {data.size} draws of {name!r} are NaN or infinite; expected finite "
                "numbers; look for a diverged fit or an overflow in the program"
            )
    first = [axis for axis in ("chain", "draw", "units") if axis in draws.dims]
    return draws.transpose(*first, ...)


def checked_weights(log_weights: "xr.DataArray", draws: "xr.Dataset") -> "xr.DataArray":
    """Put dims in order.

    Raises:
        DataError: Dims do not fit the draws, or no draw has positive weight.
    """
    dims = ("chain", "draw", "units")
    ordered = log_weights.transpose(*[d for d in dims if d in log_weights.dims], ...)
    wrong = [d for d in ordered.dims if d in draws.sizes and draws.sizes[d] != ordered.sizes[d]]
    if tuple(ordered.dims) not in (dims[:2], dims) or wrong:
        raise DataError(
            f"log_weights have dims {dict(ordered.sizes)} and draws {dict(draws.sizes)}; expected "
            "(chain, draw[, units]) of the same sizes"
        )
    largest = ordered.values.reshape(-1, *ordered.shape[2:]).max(axis=0)
    if not np.isfinite(largest).all():
        raise DataError(
            "log_weights hold NaN, plus infinity, or nothing but minus infinity; expected at "
            "least one draw of positive weight; check the evidence's probability"
        )
    return ordered.rename("log_weights")


def axis_names(name: str, count: int, dims: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Name chain, draw and the ``count`` axes after them: by ``dims``, else units first."""
    named = tuple(dims.get(name, ("units", *[f"{name}_dim_{i}" for i in range(1, count)])[:count]))
    if len(named) != count:
        raise DataError(
            f"draws of {name!r} have {count} axes after chain and draw, and dims names {named}; "
            "expected one name for each"
        )
    return ("chain", "draw", *named)


def array_of(values: Any) -> npt.NDArray[Any]:
    """Return an array of a tensor on any device, or of anything else."""
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)


def plain_value(value: Any) -> float | list[Any]:
    """Return a number or a list of numbers."""
    array = array_of(value)
    return array.item() if array.ndim == 0 else array.tolist()


def drawn_law(posterior: "Posterior", name: str) -> Law:
    """Return the law of the draws and weights, even where an exact law is known as well."""
    data = posterior.draws[name]
    logs = None
    if posterior.log_weights is not None:
        logs = posterior.log_weights.values
        if logs.ndim == 3 and "units" not in data.dims:
            # weights per unit give a shared parameter one law per unit
            units = posterior.log_weights.sizes["units"]
            data = data.expand_dims(units=units, axis=2)
        logs = logs.reshape(-1, *logs.shape[2:])
    draws = data.values.reshape(-1, *data.shape[2:])
    if posterior.is_exact and len(draws) == 1 and posterior.log_weights is None:
        return PointLaw(torch.tensor(draws[0]))
    labels = data.attrs.get("categories")
    return EmpiricalLaw(draws, logs, None if labels is None else tuple(labels))


def equally_weighted_draws(posterior: "Posterior") -> "xr.Dataset":
    """Return draws of every variable; see `Posterior.equally_weighted`."""
    out = posterior.draws.copy()
    shape = (posterior.draws.sizes.get("chain", 1), posterior.draws.sizes.get("draw", LAW_DRAWS))
    drawn = [name for name in posterior.laws if name not in posterior.draws.data_vars]
    # one seed for all weighted variables, so that they keep their joint law
    weighting, *seeds = spawn_seeds(posterior.seed, 1 + len(drawn))
    for name, data in (
        posterior.draws.data_vars.items() if posterior.log_weights is not None else ()
    ):
        law = drawn_law(posterior, str(name))
        values = law.sample(shape[0] * shape[1], seed=weighting).numpy()
        is_shared = len(law.shape) == data.ndim - 2
        axes = data.dims if is_shared else ("chain", "draw", "units", *data.dims[2:])
        out[name] = (axes, values.reshape(*shape, *law.shape), data.attrs)
    for name, seed in zip(drawn, seeds, strict=True):
        law = posterior.laws[name]
        values = law.sample(shape[0] * shape[1], seed=seed).cpu().numpy()
        axes = axis_names(name, len(law.shape), {})
        out[name] = (axes, values.reshape(*shape, *law.shape))
    return out
