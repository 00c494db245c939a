"""Commands that take a query: of a diagram, a program, or data."""

import importlib
import importlib.util
import inspect
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causalppl.cli.reply import NO, YES, Reply, save_picture
from causalppl.exceptions import (
    AssumptionError,
    CausalPPLError,
    DataError,
    GraphError,
    NotIdentifiableError,
    ProgramError,
)

if TYPE_CHECKING:
    from causalppl.estimation import Estimator
    from causalppl.graphs import ADMG
    from causalppl.identification import Estimand
    from causalppl.programs import SCM

__all__ = ["add_commands"]

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
_VARIOUS, _NAMED = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
_PROGRAM = "examples:NAME, FILE.py:NAME or MODULE:NAME"
_SEED = "seed of everything random (default: 0)"
_GRAPH = "a diagram such as 'Z -> X -> Y; X <-> Y', or a file in DOT (.dot, .gv) or of dagitty"


def add_commands(command: Callable[..., ArgumentParser]) -> None:
    """Add ``identify``, ``verify``, ``estimate`` and ``bound``."""
    identify = command(
        "identify",
        _identify,
        "express a causal query through the observed distribution",
        'causalppl identify "X -> Z -> Y; X <-> Y" "P(Y | do(X))"',
    )
    identify.add_argument("graph", help=_GRAPH)
    identify.add_argument("query", help="for example 'P(Y | do(X=1))' or 'ATE(X -> Y)'")
    identify.add_argument("--latex", action="store_true", help="print the formula in LaTeX")
    identify.add_argument("--steps", action="store_true", help="print how it was derived")

    verify = command(
        "verify",
        _verify,
        "check formulas against a program",
        "causalppl verify examples:front_door",
    )
    verify.add_argument(
        "program",
        help="examples:NAME, FILE.py:NAME or MODULE:NAME of an SCM or a function giving one",
    )
    verify.add_argument("query", nargs="?", help="one query (default: all pairs of variables)")

    estimate = command(
        "estimate",
        _estimate,
        "answer a query from data and a diagram",
        'causalppl estimate stones.csv "ATE(X -> Y)" --graph "Z -> X -> Y; Z -> Y"',
    )
    _add_data(estimate)
    estimate.add_argument(
        "--method", metavar="NAME", help=f"one of {', '.join(ESTIMATORS)} (default: chosen)"
    )

    bound = command(
        "bound",
        _bound,
        "bound a query that has no formula",
        'causalppl bound trial.csv "ATE(X -> Y)" --graph "Z -> X -> Y; X <-> Y"',
    )
    _add_data(bound)
    bound.add_argument(
        "--range",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="smallest and largest value that the outcome can take",
    )


def _add_data(parser: ArgumentParser) -> None:
    parser.add_argument("data", help="a CSV or Parquet file, or a glob of them")
    parser.add_argument("query", help="for example 'P(Y=1 | do(X=1))' or 'ATE(X -> Y)'")
    parser.add_argument("--graph", required=True, help=_GRAPH)
    parser.add_argument("--weights", metavar="COLUMN", help="how often each row counts")
    parser.add_argument("--prob", type=float, default=0.95, help="of the interval (default: 0.95)")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of everything random (default: 0)"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the answer to a file")


def _identify(chosen: Namespace) -> Reply:
    from causalppl.identification import identify

    graph = _graph(chosen.graph)
    try:
        estimand = identify(graph, chosen.query)
    except NotIdentifiableError as error:
        return _not_identifiable(chosen.query, error)
    data = {
        "query": str(estimand.query),
        "identifiable": True,
        "formula": str(estimand),
        "latex": estimand.to_latex(),
        "legend": estimand.legend,
        "steps": [str(step) for step in estimand.steps],
    }
    if chosen.latex:
        return Reply(data, f"{estimand.query.to_latex()} = {estimand.to_latex()}")
    steps = [f"  {number}. {step}" for number, step in enumerate(estimand.steps, 1)]
    lines = [f"{estimand.query} = {estimand!r}", *(steps if chosen.steps else ())]
    return Reply(data, "\n".join(lines))


def _not_identifiable(query: str, error: NotIdentifiableError) -> Reply:
    hedges = getattr(error.hedge, "hedges", ())
    data = {
        "query": query,
        "identifiable": False,
        "why": str(error),
        "hedges": [{"inner": hedge.inner, "outer": hedge.outer} for hedge in hedges],
    }
    return Reply(data, str(error), NO)


def _verify(chosen: Namespace) -> Reply:
    from causalppl.estimation import verify, verify_all
    from causalppl.identification import identify

    scm = _program(chosen.program)
    if chosen.query is None:
        report = verify_all(scm)
        table = report.summary()
        data = {"passed": bool(report), "checks": table.reset_index().to_dict("records")}
        return Reply(data, str(report), YES if report else NO)
    try:
        estimand = identify(scm.graph, chosen.query)
    except NotIdentifiableError as error:
        return _not_identifiable(chosen.query, error)
    found = verify(estimand, scm, seed=0)
    data = {
        "query": str(found.query),
        "formula": str(estimand),
        "passed": found.passed,
        "difference": found.difference,
        "tolerance": found.tolerance,
    }
    return Reply(data, str(found), YES if found.passed else NO)


def _estimate(chosen: Namespace) -> Reply:
    from causalppl.estimation import estimate
    from causalppl.identification import identify

    try:
        estimand: Estimand = identify(_graph(chosen.graph), chosen.query)
    except NotIdentifiableError as error:
        reply = _not_identifiable(chosen.query, error)
        return Reply(reply.data, f"{reply.text} (causalppl bound)", NO)
    method = None if chosen.method is None else _estimator(chosen.method)
    found = estimate(estimand, chosen.data, method=method, weights=chosen.weights, seed=chosen.seed)
    return _told(found, chosen)


def _bound(chosen: Namespace) -> Reply:
    from causalppl.bounds import bound

    graph = _graph(chosen.graph)
    try:
        found = bound(
            graph,
            chosen.query,
            chosen.data,
            weights=chosen.weights,
            outcome_range=None if chosen.range is None else tuple(chosen.range),
            seed=chosen.seed,
        )
    except AssumptionError as error:  # the data contradict the diagram, or no method can answer
        return Reply({"query": chosen.query, "bounded": False, "why": str(error)}, str(error), NO)
    return _told(found, chosen)


def _told(found: Any, chosen: Namespace) -> Reply:
    """An estimate or bounds: the table, and the sentence."""
    table, sentence = found.summary(chosen.prob), found.interpret(chosen.prob)
    if chosen.plot is not None:
        save_picture(found.plot(prob=chosen.prob), chosen.plot)
    rows = table.reset_index().rename(columns={"index": "query"}).to_dict("records")
    data = {
        "query": str(found.query),
        "method": found.method,
        "values": rows,
        "num_rows": found.num_rows,
        "assumptions": found.assumptions,
        "notes": found.notes,
        "text": sentence,
    }
    return Reply(data, f"{table.to_string()}\n\n{sentence}")


def _graph(text: str) -> "ADMG":
    """Read a diagram, or the file that holds one."""
    from causalppl.graphs import ADMG, from_dagitty, from_dot

    if not text.strip():
        raise GraphError(f"the diagram is empty; expected {_GRAPH}")
    path = Path(text)
    if not any(mark in text for mark in ("->", "<-", ";")) and path.suffix:
        if not path.is_file():
            raise GraphError(f"there is no file {text!r}; expected {_GRAPH}")
        try:
            written = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise GraphError(f"{text!r} is no text; expected {_GRAPH}") from None
        if path.suffix in (".dot", ".gv"):
            return from_dot(written)
        return from_dagitty(written) if "dag" in written[:20] else ADMG.parse(written)
    return ADMG.parse(text)


def _estimator(name: str) -> "Estimator":
    from causalppl import estimation

    by_name = {known.lower(): known for known in ESTIMATORS}
    if name.lower() not in by_name:
        raise DataError(f"there is no method {name!r}; expected one of {', '.join(ESTIMATORS)}")
    made: Estimator = getattr(estimation, by_name[name.lower()])()
    return made


def _program(text: str) -> "SCM":
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
