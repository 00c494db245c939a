"""Posteriors in files: NetCDF with the metadata as JSON; nothing in a file is ever executed.

| name | what it does | paper |
|---|---|---|
| `write_posterior` | everything to one file | - |
| `read_posterior` | and back | - |
"""

import json
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from causalppl.data.file_header import check_header, file_header
from causalppl.exceptions import DataError
from causalppl.inference.laws import FiniteLaw, Law, NormalLaw, PointLaw
from causalppl.inference.posterior_draws import array_of

if TYPE_CHECKING:
    import xarray as xr

    from causalppl.inference.posterior import Posterior

T = TypeVar("T")

__all__ = ["read_posterior", "write_posterior"]

FILE_FORMAT: Final = "causalppl.Posterior"
FILE_VERSION: Final = 1
_LAW_ARRAYS: Final[Mapping[str, tuple[str, ...]]] = {
    "PointLaw": ("value",),
    "NormalLaw": ("loc", "scale"),
    "FiniteLaw": ("probabilities",),
}


def write_posterior(posterior: "Posterior", path: "str | PathLike[str]") -> None:
    """Write a file; see `Posterior.save`."""
    _to_dataset(posterior).to_netcdf(path, engine="h5netcdf")


def read_posterior(build: Callable[..., T], path: "str | PathLike[str]") -> T:
    """Read a file and build the posterior from its fields; see `Posterior.load`."""
    import xarray as xr

    if not Path(path).exists():
        raise DataError(
            f"there is no file {str(path)!r}; expected a file written by Posterior.save; check the "
            "path"
        )
    try:
        dataset = xr.load_dataset(path, engine="h5netcdf")
        header = json.loads(dataset.attrs["posterior"])
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DataError(
            f"{str(path)!r} cannot be read as a posterior ({type(error).__name__}: {error}); "
            "expected a file written by Posterior.save"
        ) from error
    check_header(
        header, path, FILE_FORMAT, FILE_VERSION, what="a posterior", writer="Posterior.save"
    )
    try:
        return build(**_fields(dataset, header))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(f"{str(path)!r} is damaged ({error}); write it again") from error


def _escaped(name: str) -> str:
    """Make a name that NetCDF accepts: a slash would open a group."""
    return name.replace("%", "%25").replace("/", "%2F")


def _to_dataset(posterior: "Posterior") -> "xr.Dataset":
    draws = posterior.draws
    arrays: dict[str, Any] = {}
    axes = {str(axis): _escaped(str(axis)) for axis in draws.dims}
    for name, data in draws.data_vars.items():
        arrays[f"draws:{_escaped(str(name))}"] = ([axes[str(d)] for d in data.dims], data.values)
    if posterior.log_weights is not None:
        arrays["log_weights"] = (posterior.log_weights.dims, posterior.log_weights.values)
    laws: dict[str, Any] = {}
    for name, law in posterior.laws.items():
        kind = type(law).__name__
        if kind not in _LAW_ARRAYS:
            raise DataError(
                f"the law of {name!r} is a {kind}; files know {sorted(_LAW_ARRAYS)}; convert it"
            )
        laws[name] = {"kind": kind}
        if isinstance(law, FiniteLaw):
            laws[name] |= {"values": law.values, "labels": law.labels}
        for part in _LAW_ARRAYS[kind]:
            key, array = f"law:{_escaped(name)}:{part}", array_of(getattr(law, part))
            arrays[key] = ([f"{key}:{i}" for i in range(array.ndim)], array)
    coords = {_escaped(str(k)): _labels(draws.coords[str(k)].values) for k in draws.indexes}
    dataset = _dataset(arrays, coords)
    dataset.attrs["posterior"] = json.dumps(_header(posterior, laws))
    return dataset


def _labels(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Labels that NetCDF accepts: mixed objects become text."""
    return values if values.dtype.kind != "O" else np.array([str(value) for value in values])


def _dataset(arrays: Mapping[str, Any], coords: Mapping[str, Any]) -> "xr.Dataset":
    import xarray as xr

    return xr.Dataset(arrays, coords=coords)


def _header(posterior: "Posterior", laws: Mapping[str, Any]) -> dict[str, Any]:
    draws = posterior.draws
    categories = {str(name): data.attrs.get("categories") for name, data in draws.data_vars.items()}
    return {
        **file_header(FILE_FORMAT, FILE_VERSION),
        "numpy": np.__version__,
        "torch": str(torch.__version__),
        "variables": [str(name) for name in draws.data_vars],
        "axes": [str(axis) for axis in {**dict(draws.sizes), **draws.coords}],
        "categories": {name: list(c) for name, c in categories.items() if c is not None},
        "laws": laws,
        "query": posterior.query,
        "engine": posterior.engine,
        "is_exact": posterior.is_exact,
        "assumptions": posterior.assumptions,
        "couplings": posterior.couplings,
        "diagnostics": posterior.diagnostics,
        "notes": posterior.notes,
        "seed": posterior.seed,
        "is_mcmc": posterior.is_mcmc,
    }


def _fields(dataset: "xr.Dataset", header: Mapping[str, Any]) -> dict[str, Any]:
    axes = {_escaped(axis): axis for axis in header["axes"]}
    arrays = {}
    for name in header["variables"]:
        data = dataset[f"draws:{_escaped(name)}"]
        labels = header["categories"].get(name)
        attributes = {} if labels is None else {"categories": labels}
        arrays[name] = ([axes[str(d)] for d in data.dims], data.values, attributes)
    coords = {axes[str(k)]: dataset[str(k)].values for k in dataset.indexes if str(k) in axes}
    plain = ("query", "engine", "is_exact", "couplings", "diagnostics", "seed", "is_mcmc")
    return dict(
        draws=_dataset(arrays, coords),
        log_weights=dataset["log_weights"].drop_vars(list(dataset.coords), errors="ignore")
        if "log_weights" in dataset
        else None,
        laws={name: _read_law(dataset, name, about) for name, about in header["laws"].items()},
        assumptions=tuple(header["assumptions"]),
        notes=tuple(header["notes"]),
        **{name: header[name] for name in plain},
    )


def _read_law(dataset: "xr.Dataset", name: str, about: Mapping[str, Any]) -> Law:
    parts = [
        torch.tensor(dataset[f"law:{_escaped(name)}:{part}"].values)
        for part in _LAW_ARRAYS[about["kind"]]
    ]
    if about["kind"] == "FiniteLaw":
        labels = about["labels"]
        return FiniteLaw(
            tuple(about["values"]), parts[0], None if labels is None else tuple(labels)
        )
    return NormalLaw(*parts) if about["kind"] == "NormalLaw" else PointLaw(*parts)
