"""Commands that take a query: of a diagram, a program, or data."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causalppl.cli.arguments import (
    ESTIMATORS,
    GRAPH,
    read_data,
    read_estimator,
    read_graph,
    read_program,
)
from causalppl.cli.reply import NO, YES, Reply, save_picture
from causalppl.exceptions import AssumptionError, DataError, NotIdentifiableError
from causalppl.queries import parse_query

if TYPE_CHECKING:
    from causalppl.identification import Estimand

__all__ = ["add_commands"]

_STONES = 'datasets:kidney_stones "P(success=yes | do(treatment=open))"'


def add_commands(command: Callable[..., ArgumentParser]) -> None:
    """Add ``identify``, ``verify``, ``estimate`` and ``bound``."""
    identify = command(
        "identify",
        _identify,
        "express a causal query through the observed distribution",
        'causalppl identify "X -> Z -> Y; X <-> Y" "P(Y | do(X))"',
        "0 a formula, 1 not identifiable, 2 bad use",
    )
    identify.add_argument("graph", help=GRAPH)
    identify.add_argument("query", help="for example 'P(Y | do(X=1))' or 'ATE(X -> Y)'")
    identify.add_argument("--latex", action="store_true", help="print the formula in LaTeX")
    identify.add_argument("--steps", action="store_true", help="print how it was derived")

    verify = command(
        "verify",
        _verify,
        "check formulas against a program",
        "causalppl verify examples:front_door",
        "0 formulas and program agree, 1 they differ or there is no formula, 2 bad use",
    )
    verify.add_argument(
        "program",
        help="examples:NAME, FILE.py:NAME or MODULE:NAME of an SCM, of a function giving one, or "
        "of a Pyro program",
    )
    verify.add_argument("query", nargs="?", help="one query (default: all pairs of variables)")

    estimate = command(
        "estimate",
        _estimate,
        "answer a query from data and a diagram",
        f"causalppl estimate {_STONES} --weights count "
        '--graph "stone_size -> treatment -> success; stone_size -> success"',
        "0 an estimate, 1 not identifiable, 2 bad use, or data that cannot tell",
    )
    _add_data(estimate)
    estimate.add_argument(
        "--method", metavar="NAME", help=f"one of {', '.join(ESTIMATORS)} (default: chosen)"
    )

    bound = command(
        "bound",
        _bound,
        "bound a query that has no formula",
        f"causalppl bound {_STONES} --weights count "
        '--graph "treatment -> success; treatment <-> success"',
        "0 bounds, 1 the data refute the diagram or no method can answer, 2 bad use.\nWhere the "
        "rows fit no model on the diagram, but by chance might, the nearest that does is\ntaken, "
        "and the answer says so",
    )
    _add_data(bound)
    bound.add_argument(
        "--range",
        dest="outcome_range",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="smallest and largest value that the outcome can take",
    )


def _add_data(parser: ArgumentParser) -> None:
    parser.add_argument(
        "data", help="a CSV or Parquet file, a glob of them, - (standard input), or datasets:NAME"
    )
    parser.add_argument("query", help="for example 'P(Y=1 | do(X=1))' or 'ATE(X -> Y)'")
    parser.add_argument("--graph", required=True, help=GRAPH)
    parser.add_argument("--weights", metavar="COLUMN", help="how often each row counts")
    parser.add_argument("--prob", type=float, default=0.95, help="of the interval (default: 0.95)")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of everything random (default: 0)"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the answer to a file")


def _identify(chosen: Namespace) -> Reply:
    from causalppl.identification import identify

    graph = read_graph(chosen.graph)
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
        "query": str(parse_query(query)),
        "identifiable": False,
        "why": str(error),
        "hedges": [{"inner": hedge.inner, "outer": hedge.outer} for hedge in hedges],
    }
    return Reply(data, str(error), NO)


def _verify(chosen: Namespace) -> Reply:
    from causalppl.estimation import verify, verify_all
    from causalppl.identification import identify

    scm = read_program(chosen.program)
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

    data = _rows(chosen)
    try:
        estimand: Estimand = identify(read_graph(chosen.graph), chosen.query)
    except NotIdentifiableError as error:
        reply = _not_identifiable(chosen.query, error)
        return Reply(reply.data, f"{reply.text} (causalppl bound)", NO)
    method = None if chosen.method is None else read_estimator(chosen.method)
    found = estimate(estimand, data, method=method, weights=chosen.weights, seed=chosen.seed)
    return _told(found, chosen)


def _bound(chosen: Namespace) -> Reply:
    from causalppl.bounds import bound

    graph, data = read_graph(chosen.graph), _rows(chosen)
    try:
        found = bound(
            graph,
            chosen.query,
            data,
            weights=chosen.weights,
            outcome_range=None if chosen.outcome_range is None else tuple(chosen.outcome_range),
            seed=chosen.seed,
        )
    except AssumptionError as error:  # the data contradict the diagram, or no method can answer
        query = str(parse_query(chosen.query))
        return Reply({"query": query, "bounded": False, "why": str(error)}, str(error), NO)
    return _told(found, chosen)


def _rows(chosen: Namespace) -> Any:
    """Find the data; data and query are easily swapped."""
    if Path(chosen.query).is_file():
        raise DataError(
            f"the query is the file {chosen.query!r}; expected the data first: causalppl "
            f"{chosen.command} DATA QUERY --graph GRAPH"
        )
    return read_data(chosen.data)


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
