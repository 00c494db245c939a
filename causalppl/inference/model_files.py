"""Fitted models in files: tensors and plain values; nothing in a file is ever executed.

A program is source code and stays where it is. A file holds what was learned, how, and how the
program behaved; who reads it gives the program again, and it is compared with that.

| name | what it does | paper |
|---|---|---|
| `write_model` | a fitted model to one file | - |
| `read_model` | and back, given its program | - |
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Final

import pyro
import torch

from causalppl.data.file_header import check_header, file_header
from causalppl.exceptions import CausalPPLError, DataError, ProgramError
from causalppl.inference.fit_record_files import plain_record, read_record
from causalppl.inference.program_behaviour import check_behaviour, program_behaviour
from causalppl.programs import structural
from causalppl.programs.learned import Learned, restored_params
from causalppl.programs.scm import SCM
from causalppl.programs.structure import TRACE_UNITS
from causalppl.seeding import forked_rng
from causalppl.typing import Program

__all__ = ["read_model", "write_model"]

FILE_FORMAT: Final = "causalppl.SCM"
FILE_VERSION: Final = 1


def write_model(scm: SCM, path: "str | PathLike[str]", *, with_data: bool = True) -> None:
    """Write a file; see `SCM.save`."""
    if not scm.parameters and scm.learned is None:
        raise DataError(
            "the model was not fitted, so that there is nothing to save: its program is all there "
            "is; expected one from fit(...) or with_parameters(...)"
        )
    content = {
        **file_header(FILE_FORMAT, FILE_VERSION),
        "sites": _sites(scm),
        "observed": list(scm.observed),
        "couplings": {name: type(found).__name__ for name, found in scm.couplings.items()},
        "categories": {name: list(known) for name, known in scm.categories.items()},
        "parameters": {name: _own(value) for name, value in scm.parameters.items()},
        "learned": None
        if scm.learned is None
        else {name: _own(value) for name, value in scm.learned.values.items()},
        "record": plain_record(scm.fit_record, with_data=with_data),
        "behaviour": program_behaviour(scm),
    }
    try:
        torch.save(content, path)
    except (OSError, RuntimeError) as error:  # torch raises either for a folder that is not there
        reason = str(error).splitlines()[0]
        raise DataError(f"{str(path)!r} cannot be written ({reason}); check the path") from error


def read_model(
    path: "str | PathLike[str]", program: Program | SCM, *, device: torch.device | str | None = None
) -> SCM:
    """Read a file, for the program that it was written for; see `SCM.load`."""
    found = _content(path, device)
    try:
        return _read(found, program)
    except CausalPPLError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{str(path)!r} is damaged ({error!r}); write it again") from error


def _content(path: "str | PathLike[str]", device: torch.device | str | None) -> dict[str, Any]:
    if not Path(path).is_file():
        raise DataError(f"there is no file {str(path)!r}; expected one by SCM.save; check the path")
    try:
        found = torch.load(path, weights_only=True, map_location=device)
    except Exception as error:  # torch raises a different one for each kind of junk
        kind = type(error).__name__  # its text would advise to execute what is in the file
        raise DataError(
            f"{str(path)!r} cannot be read as a fitted model ({kind}); expected one by SCM.save"
        ) from error
    check_header(found, path, FILE_FORMAT, FILE_VERSION, what="a fitted model", writer="SCM.save")
    content: dict[str, Any] = found
    return content


def _own(value: torch.Tensor) -> torch.Tensor:
    """Copy a tensor: a view would take the whole of what it looks at into the file."""
    return value.detach().clone()


def _read(found: Mapping[str, Any], program: Program | SCM) -> SCM:
    bare = program if isinstance(program, SCM) else SCM(program, check=False)
    _check_sites(bare, found)
    model = bare if isinstance(program, SCM) else _described(found, program)
    _check_description(model, found)
    values = found["learned"]
    loaded = model.with_parameters(
        found["parameters"],
        learned=None if values is None else _learned(model, values),
        record=read_record(found["record"]),
    )
    loaded.categories = {name: tuple(known) for name, known in found["categories"].items()}
    check_behaviour(loaded, found["behaviour"])
    return loaded


def _described(found: Mapping[str, Any], program: Program) -> SCM:
    """Make the model of a program, as it was when the file was written."""
    couplings = {name: getattr(structural, kind, None) for name, kind in found["couplings"].items()}
    if foreign := [name for name, kind in couplings.items() if kind is None]:
        raise ProgramError(
            f"the coupling of {', '.join(foreign)} is a {found['couplings'][foreign[0]]}, which a "
            "file cannot hold; give SCM(program, couplings={...}) instead of the program"
        )
    return SCM(
        program,
        observed=found["observed"],
        couplings={name: kind() for name, kind in couplings.items() if kind is not None},
        categories=found["categories"],
        check=False,  # it has to behave as the one that was checked
    )


def _sites(scm: SCM) -> dict[str, list[Any]]:
    """Describe each site: what it is, its parents, the shape and type of its values."""
    return {
        name: [
            "parameter" if not site.is_unit else "site",
            site.family or site.kind,
            list(site.parents),
            list(site.event_shape),
            str(site.dtype).removeprefix("torch."),
        ]
        for name, site in scm.structure.sites.items()
    }


def _check_sites(scm: SCM, found: Mapping[str, Any]) -> None:
    theirs, ours = found["sites"], _sites(scm)
    for name in dict.fromkeys((*theirs, *ours)):
        if theirs.get(name) != ours.get(name):
            raise ProgramError(
                f"the file was written for another program: {name!r} was "
                f"{_told(theirs.get(name))}, and is {_told(ours.get(name))}; give the program that "
                "was fitted, or fit this one"
            )


def _told(site: Sequence[Any] | None) -> str:
    if site is None:
        return "not there"
    role, family, parents, shape, dtype = site
    of = f" of {', '.join(parents)}" if parents else ""
    return f"a {role}, {family}{of} with values of shape {tuple(shape)} and type {dtype}"


def _check_description(scm: SCM, found: Mapping[str, Any]) -> None:
    """Compare what stands beside the program; only a model that was given can differ."""
    couplings = {name: type(kind).__name__ for name, kind in scm.couplings.items()}
    for what, theirs, ours in (
        ("observed sites", found["observed"], list(scm.observed)),
        ("couplings", found["couplings"], couplings),
    ):
        if theirs != ours:
            raise ProgramError(
                f"the {what} of the model that was saved are {theirs}, and of this one {ours}; "
                "give the program alone, or a model with the same"
            )
    for name, known in scm.categories.items():
        if found["categories"].get(name) != list(known):
            raise ProgramError(
                f"{name!r} has the categories {found['categories'].get(name)} in the model that "
                f"was saved, and {list(known)} in this one; their codes would be taken for others"
            )


def _learned(scm: SCM, values: Mapping[str, torch.Tensor]) -> Learned:
    """Find the program's own ``pyro.param`` statements, and give them the values of the file."""
    store = pyro.get_param_store()
    with forked_rng(0), store.scope(), restored_params(), torch.no_grad():
        scm.program(TRACE_UNITS)
        own = Learned.capture(scm.structure.learnable)
    shapes = {name: tuple(value.shape) for name, value in values.items()}
    found = {name: tuple(value.shape) for name, value in own.values.items()}
    if shapes != found:
        raise ProgramError(
            f"the file has learned values of the shapes {shapes}, and the program's pyro.param "
            f"statements are {found}; give the program that was fitted"
        )
    return Learned(own.params, own.constraints, dict(values))
