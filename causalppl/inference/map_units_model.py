"""By what a model is known again: its code, its parameters, how it behaves, and the libraries."""

import hashlib
import inspect
import sys
import types
from collections.abc import Iterator, Mapping
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import pyro
import torch
from pyro import poutine

from causalppl.programs.scm import SCM, Given
from causalppl.seeding import forked_rng

_UNITS = 64  # that are simulated
_KEPT = 64  # numbers of each site
_RELATIVE, _ABSOLUTE = 2e-6, 1e-6  # rounding of single precision on another processor
_DEEPEST = 12  # objects within objects
_LIBRARIES = ("causalppl", "pyro-ppl", "torch", "numpy")


def model_mark(scm: SCM) -> dict[str, Any]:
    """Describe a model in plain values, such that another one has another description.

    - ``program``: a digest of the program's source (of its byte code where there is no source),
      and of what it closes over, its defaults and the globals it names, functions among them to
      any depth; what belongs to an installed library counts by its name.
    - ``parameters``: a digest of all draws of the parameters, and of learned weights, bit by bit.
    - ``behaviour``: values and log densities of simulated units, in full precision.
    - ``versions``: of Python and of the libraries that draws depend on.

    A change that shows in none of them goes unseen: in a file that the program reads, or in the
    body of a compiled function.
    """
    learned = {} if scm.learned is None else dict(scm.learned.values)
    about = (scm.program, scm.couplings, scm.categories, scm.observed)
    return {
        "program": _digest(about),
        "parameters": _digest((scm.parameters, learned)),
        "behaviour": _behaviour(scm),
        "versions": {
            "python": ".".join(map(str, sys.version_info[:2])),
            **{name: version(name) for name in _LIBRARIES},
        },
    }


def find_difference(one: Any, other: Mapping[str, Any]) -> str | None:
    """Say in what two marks differ; None if they do not.

    Behaviour may differ by the rounding of another processor, all else must be equal.
    """
    if not isinstance(one, Mapping) or set(one) != set(other):
        return "the manifest has no description of it"
    for name, was in one["versions"].items():
        if was != other["versions"].get(name):
            return f"{name} was {was}, now {other['versions'].get(name)}"
    for part in ("program", "parameters"):
        if one[part] != other[part]:
            is_or_are = "its source, or what it uses, has" if part == "program" else "they have"
            return f"{part}: {is_or_are} changed"
    return _find_behaviour(one["behaviour"], other["behaviour"])


def _find_behaviour(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    if sorted(one) != sorted(other):
        return "it has other sites"
    for name, value in other.items():
        was = np.asarray(one[name], dtype=float)
        now = np.asarray(value, dtype=float)
        if was.shape != now.shape:
            return f"{name} has another shape"
        if not np.isclose(now, was, _RELATIVE, _ABSOLUTE, equal_nan=True).all():
            place = int(np.argmax(~np.isclose(now, was, _RELATIVE, _ABSOLUTE, equal_nan=True)))
            return (
                f"{name} was {float(was[place])!r} for a simulated unit, now {float(now[place])!r}"
            )
    return None


def _behaviour(scm: SCM) -> dict[str, list[float]]:
    """Values and log densities of simulated units."""
    given = {name: draws[0] for name, draws in scm.parameters.items()}
    with forked_rng(0), scm.running(), torch.no_grad(), pyro.validation_enabled(False):
        with poutine.trace() as recorder, Given(given):
            scm.program(_UNITS)
        trace = recorder.trace
        trace.compute_log_prob()
    found = {}
    for name, node in trace.nodes.items():
        if node["type"] == "sample" and isinstance(node["value"], torch.Tensor):
            found[name] = _numbers(node["value"])
            found[f"log density of {name}"] = _numbers(node["log_prob"])
    return dict(sorted(found.items()))


def _numbers(value: torch.Tensor) -> list[float]:
    return [float(number) for number in value.double().flatten()[:_KEPT]]


def _digest(value: Any, inside: tuple[int, ...] = ()) -> str:
    seen = hashlib.blake2b(digest_size=16)
    for token in _tokens(value, inside):
        seen.update(token)
        seen.update(b"\0")
    return seen.hexdigest()


def _tokens(value: Any, inside: tuple[int, ...]) -> Iterator[bytes]:
    """Describe a value; what contains itself is described once."""
    yield type(value).__qualname__.encode()
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        yield repr(value).encode()
    elif isinstance(value, torch.Tensor):
        yield from _array(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        yield f"{value.dtype}{tuple(value.shape)}".encode()
    elif isinstance(value, np.ndarray):
        yield from _array(value) if value.dtype != object else _many(value.tolist(), inside)
    elif isinstance(value, types.ModuleType):
        yield value.__name__.encode()
    elif id(value) in inside or len(inside) > _DEEPEST:
        yield b"..."
    else:
        yield from _parts(value, (*inside, id(value)))


def _array(value: "np.ndarray[Any, Any]") -> Iterator[bytes]:
    yield f"{value.dtype}{value.shape}".encode()
    yield np.ascontiguousarray(value).tobytes()


def _many(values: Any, inside: tuple[int, ...]) -> Iterator[bytes]:
    for value in values:
        yield from _tokens(value, inside)


def _parts(value: Any, inside: tuple[int, ...]) -> Iterator[bytes]:
    """Describe what is made of other values."""
    if isinstance(value, Mapping):
        yield from _many(sorted(value.items(), key=lambda item: _digest(item[0], inside)), inside)
    elif isinstance(value, list | tuple):
        yield from _many(value, inside)
    elif isinstance(value, set | frozenset):
        yield from _many(sorted(_digest(each, inside) for each in value), inside)
    elif isinstance(value, partial):
        yield from _many((value.func, value.args, value.keywords), inside)
    elif isinstance(value, types.MethodType):
        yield from _many((value.__func__, value.__self__), inside)
    elif isinstance(value, types.FunctionType):
        yield from _function(value, inside)
    elif isinstance(value, type):
        yield f"{value.__module__}.{value.__qualname__}".encode()
        if not _is_library(value):
            own = {n: v for n, v in vars(value).items() if isinstance(v, types.FunctionType)}
            yield from _many((*sorted(own.items()), *value.__bases__), inside)
    elif isinstance(value, torch.nn.Module):
        yield from _many((type(value), value.state_dict()), inside)
    elif hasattr(value, "__dict__") and not _is_standard(type(value)):
        yield from _many((type(value), vars(value)), inside)


def _function(value: types.FunctionType, inside: tuple[int, ...]) -> Iterator[bytes]:
    """Describe a function by its source and what it uses; a library's by what it closes over."""
    yield f"{value.__module__}.{value.__qualname__}".encode()
    for cell in value.__closure__ or ():
        try:
            yield from _tokens(cell.cell_contents, inside)
        except ValueError:  # nothing in it yet
            yield b"empty"
    if _is_library(value):
        return
    try:
        yield inspect.getsource(value).encode()
    except (OSError, TypeError):  # typed at a prompt, or made by exec
        yield from _many(_constants(value.__code__), inside)
    yield from _many((value.__defaults__, value.__kwdefaults__), inside)
    used = {name for code in _codes(value.__code__) for name in code.co_names}
    for name in sorted(used & set(value.__globals__)):
        yield from _tokens(value.__globals__[name], inside)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _constants(code: types.CodeType) -> list[Any]:
    plain = [
        [constant for constant in each.co_consts if not isinstance(constant, types.CodeType)]
        for each in _codes(code)
    ]
    return [plain, *((each.co_code, each.co_names) for each in _codes(code))]


def _is_library(value: Any) -> bool:
    """Whether a function or class was installed, so that its version stands for it."""
    name = str(value.__module__ or "").partition(".")[0]
    file = getattr(sys.modules.get(name), "__file__", None) or ""
    return _is_standard(value) or name == "causalppl" or "site-packages" in file


def _is_standard(value: Any) -> bool:
    """Whether a function or class belongs to Python itself."""
    name = str(value.__module__ or "").partition(".")[0]
    return name in sys.stdlib_module_names and name != "__main__"
