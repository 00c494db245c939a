"""Finite models in files: a NumPy archive of their tables; nothing in a file is ever executed.

| name | what it does | paper |
|---|---|---|
| `write_finite_model` | a model to one file | - |
| `read_finite_model` | the arguments of the model in a file | - |
"""

import json
import zipfile
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from causalppl.data.file_header import check_header, file_header
from causalppl.exceptions import DataError
from causalppl.graphs import ADMG

if TYPE_CHECKING:
    from causalppl.programs.finite import FiniteModel

__all__ = ["read_finite_model", "write_finite_model"]

FILE_FORMAT: Final = "causalppl.FiniteModel"
FILE_VERSION: Final = 1


def write_finite_model(model: "FiniteModel", path: "str | PathLike[str]") -> None:
    """Write a file; see `FiniteModel.save`."""
    graph = model.graph
    header = {
        **file_header(FILE_FORMAT, FILE_VERSION),
        "nodes": graph.nodes,
        "directed": graph.directed_edges,
        "bidirected": graph.bidirected_edges,
        "latents": {name: latent.children for name, latent in model.latents.items()},
    }
    arrays: dict[str, Any] = {f"table {name}": table for name, table in model.tables.items()}
    arrays |= {f"prior {name}": latent.prior for name, latent in model.latents.items()}
    numbered = dict(zip(map(str, range(len(arrays))), arrays.values(), strict=True))
    header["arrays"] = list(arrays)
    try:
        with open(path, "wb") as file:  # numpy would add a suffix to a bare name
            np.savez_compressed(file, header=np.array(json.dumps(header)), **numbered)
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be written ({error}); check the path") from error


def read_finite_model(
    path: "str | PathLike[str]",
) -> tuple[ADMG, dict[str, Any], dict[str, tuple[tuple[str, ...], Any]]]:
    """Read a file; see `FiniteModel.load`.

    Returns:
        The diagram, the tables, and the children and prior of each latent.
    """
    if not Path(path).is_file():
        raise DataError(
            f"there is no file {str(path)!r}; expected one by FiniteModel.save; check the path"
        )
    try:
        with np.load(path) as file:
            header = json.loads(str(file["header"]))
            check_header(
                header,
                path,
                FILE_FORMAT,
                FILE_VERSION,
                what="a finite model",
                writer="FiniteModel.save",
            )
            found = [file[str(i)] for i in range(len(header["arrays"]))]
    except DataError:
        raise
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{str(path)!r} cannot be read as a finite model ({type(error).__name__}: {error}); "
            "expected a file by FiniteModel.save"
        ) from error
    arrays = dict(zip(header["arrays"], found, strict=True))
    graph = ADMG(header["nodes"], map(tuple, header["directed"]), map(tuple, header["bidirected"]))
    tables = {name: arrays[f"table {name}"] for name in graph.nodes}
    latents = {
        name: (tuple(children), arrays[f"prior {name}"])
        for name, children in header["latents"].items()
    }
    return graph, tables, latents
