"""What the arguments of a command stand for: diagrams, data, programs, estimators."""

import importlib
import importlib.util
import inspect
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causalppl.exceptions import CausalPPLError, DataError, GraphError, ProgramError
from causalppl.spelling import closest

if TYPE_CHECKING:
    from causalppl.estimation import Estimator
    from causalppl.graphs import ADMG
    from causalppl.programs import SCM

__all__ = ["ESTIMATORS", "GRAPH", "read_data", "read_estimator", "read_graph", "read_program"]

ESTIMATORS = (
    "Dirichlet",
    "GFormula",
    "IPW",
    "AIPW",
    "TMLE",
    "GEstimation",
    "FrontDoor",
    "NestedRegression",
    "PartiallyLinear",
)
GRAPH = "a diagram such as 'Z -> X -> Y; X <-> Y', or a file in DOT (.dot, .gv) or of dagitty"
_VARIOUS, _NAMED = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
_LANGUAGE = re.compile(r"\s*(?:strict\s+)?(dag|digraph)\b[^{}<>;-]*\{")
_KINDS = {b"PAR1": "parquet", b"\x1f\x8b": "csv.gz"}  # first bytes of what is no plain text


def read_graph(text: str) -> "ADMG":
    """Read a diagram, or the file that holds one."""
    from causalppl.graphs import from_dot

    if not text.strip():
        raise GraphError(f"the diagram is empty; expected {GRAPH}")
    path = Path(text)
    if not any(mark in text for mark in ("->", "<-", ";")) and path.suffix:
        if not path.is_file():
            raise GraphError(f"there is no file {text!r}; expected {GRAPH}")
        try:
            written = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise GraphError(f"{text!r} is no text; expected {GRAPH}") from None
        return from_dot(written) if path.suffix in (".dot", ".gv") else _parsed(written)
    return _parsed(text)


def _parsed(written: str) -> "ADMG":
    """Read a diagram in the language in which it begins."""
    from causalppl.graphs import ADMG, from_dagitty, from_dot

    language = _LANGUAGE.match(written)
    if language is None:
        return ADMG.parse(written)
    return from_dagitty(written) if language[1] == "dag" else from_dot(written)


def read_data(text: str) -> Any:
    """Find rows: the path of files, as it is, a data set of the package, or standard input.

    Raises:
        DataError: There is no such data set, or standard input cannot be read.
    """
    from causalppl.data import datasets

    if not text.strip():
        raise DataError("no data are named; expected a file, - or datasets:NAME")
    if text == "-":
        return _standard_input()
    where, _, name = text.partition(":")
    if where != "datasets":
        return text
    if name not in (known := datasets.available()):
        raise DataError(
            f"there is no data set {name!r}; expected one of {', '.join(known)}"
            f"{closest(name, known)}"
        )
    return getattr(datasets, f"load_{name}")()


def _standard_input() -> Any:
    from causalppl.data.files import read_rows

    content = sys.stdin.buffer.read()
    kind = next((kind for start, kind in _KINDS.items() if content.startswith(start)), "csv")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"rows.{kind}")
        path.write_bytes(content)
        try:
            return read_rows(path)
        except DataError as error:
            raise DataError(str(error).replace(str(path), "standard input")) from None


def read_estimator(name: str) -> "Estimator":
    """Make an estimator with its own settings, by its name in letters of any case."""
    from causalppl import estimation

    by_name = {known.lower(): known for known in ESTIMATORS}
    if name.lower() not in by_name:
        raise DataError(f"there is no method {name!r}; expected one of {', '.join(ESTIMATORS)}")
    made: Estimator = getattr(estimation, by_name[name.lower()])()
    return made


def read_program(text: str) -> "SCM":
    """Find an SCM by the name of an example, or in a file or module."""
    import torch

    from causalppl.programs import SCM

    where, _, name = text.rpartition(":")
    if not where or not name:
        raise ProgramError(
            f"the program is {text!r}; expected examples:NAME, FILE.py:NAME or MODULE:NAME"
        )
    module = _module(where)
    names = {known.replace("_", "").lower(): known for known in dir(module) if known[0] != "_"}
    place = names.get(name.replace("_", "").lower())
    if place is None:
        raise ProgramError(f"{where} has no {name!r}; it has {_listed(module)}")
    found = getattr(module, place)
    if not isinstance(found, SCM) and callable(found) and _needs_nothing(found):
        made = _called(found, text)
        # a Pyro program returns what it likes; a function that makes a model returns one
        found = SCM(found) if isinstance(made, torch.Tensor | tuple | dict | None) else made
    found = getattr(found, "scm", found)
    if not isinstance(found, SCM):
        raise ProgramError(
            f"{text} is a {type(found).__name__}; expected an SCM, a function that returns one, or "
            "a Pyro program of one unit"
        )
    return found


def _called(function: Callable[[], Any], text: str) -> Any:
    try:
        return function()
    except CausalPPLError:
        raise
    except (Exception, SystemExit) as error:  # whatever is wrong in somebody's function
        raise ProgramError(f"{text} raised {type(error).__name__}: {error}") from error


def _needs_nothing(function: Callable[..., Any]) -> bool:
    empty = inspect.Parameter.empty
    return all(
        parameter.default is not empty or parameter.kind in (_VARIOUS, _NAMED)
        for parameter in inspect.signature(function).parameters.values()
    )


def _module(where: str) -> Any:
    if where == "examples":
        return importlib.import_module("causalppl.examples")
    path = Path(where)
    if path.suffix == ".py":
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if not path.is_file() or spec is None or spec.loader is None:
            raise ProgramError(f"there is no file {where!r}; check the path")
        module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:  # whatever is wrong in somebody's file
            raise ProgramError(
                f"{where} does not run: {type(error).__name__}: {error}; try python {where}"
            ) from error
        return module
    try:
        return importlib.import_module(where)
    except (ModuleNotFoundError, TypeError):  # the latter for a name that begins with a dot
        raise ProgramError(
            f"there is no module {where!r}; expected examples, a file FILE.py, or a module"
        ) from None
    except (Exception, SystemExit) as error:
        raise ProgramError(f"{where} does not run: {type(error).__name__}: {error}") from error


def _listed(module: Any) -> str:
    names = getattr(module, "__all__", [name for name in dir(module) if name[0] != "_"])
    return ", ".join(name for name in names if name[:1].islower())
