"""Who plays which part in a front door: treatment, outcome, mediators and covariates."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from causalppl.estimation.estimator import Problem
from causalppl.exceptions import DataError, QueryError
from causalppl.graphs import ADMG, is_separated
from causalppl.identification import find_front_door_set
from causalppl.queries import Contrast, Event, Query, Value


@dataclass(frozen=True)
class Asked:
    """A query taken apart: a weighted sum of means of one outcome under one treatment."""

    x: str
    y: str
    event: Event | None  # for a probability
    terms: tuple[tuple[float, Value | None], ...]  # weight and value; None: left open

    @property
    def is_open(self) -> bool:
        """Whether the query leaves the treatment's value open."""
        return any(value is None for _, value in self.terms)

    @classmethod
    def read(cls, problem: Problem) -> "Asked":
        """Take the query of a problem apart.

        Raises:
            QueryError: It is no such sum.
        """
        query = problem.estimand.query
        if isinstance(query, Contrast) and query.kind not in ("ATE", "TE"):
            raise QueryError(f"FrontDoor answers no {query.kind}; it answers ATE and E[Y | do(X)]")
        parts = [(w, q.interventional()) for w, q in query.expand()]
        names = {(q.outcomes[0].name, tuple(i.name for i in q.do)) for _, q in parts}
        first = parts[0][1]
        is_one = len(names) == 1 and len(first.outcomes) == 1 and len(first.do) == 1
        if not is_one or any(q.given for _, q in parts):
            raise QueryError(
                f"{query} is not about one outcome under one treatment alone; FrontDoor answers "
                "ATE, E[Y | do(X)] and P(Y=y | do(X))"
            )
        event = first.outcomes[0] if first.kind == "P" else None
        if event is not None and event.value is None:
            raise QueryError(f"{query} leaves {event.name} open; FrontDoor needs an event, Y=y")
        terms = tuple((w, _plain_value(q)) for w, q in parts)
        return cls(first.do[0].name, first.outcomes[0].name, event, terms)


def _plain_value(query: Query) -> Value | None:
    value = query.do[0].value
    assert value is None or isinstance(value, bool | int | float | str)
    return value


@dataclass(frozen=True)
class Roles:
    """The treatment, the mediators and the covariates."""

    x: str
    y: str
    m: tuple[str, ...]
    c: tuple[str, ...]

    @classmethod
    def find(
        cls,
        problem: Problem,
        asked: Asked,
        mediators: Iterable[str] | None,
        covariates: Iterable[str] | None,
    ) -> "Roles":
        """Find the front door among the complete columns.

        Raises:
            DataError: There is none, or a column does not fit its role.
        """
        graph, missing = problem.estimand.graph, problem.table.count_missing()
        columns = [n for n in graph.nodes if n in problem.table and not missing[n]]
        x, y = asked.x, asked.y
        for m, c in _candidates(graph, x, y, columns, mediators, covariates):
            if m and _is_front_door(graph, x, y, m, c):
                kept = _as_few(graph, x, y, m, c) if covariates is None else c
                return cls(x, y, graph.in_order(m), graph.in_order(kept))
        raise DataError(
            f"the diagram shows no front door from {x} to {y} among the complete columns "
            f"({', '.join(columns)}); expected mediators that carry the whole effect and share no "
            f"unmeasured cause with {x}, nor, given {x}, with {y}"
        )

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the diagram says, in words."""
        m, given = ", ".join(self.m), f" given {', '.join(self.c)}" if self.c else ""
        return (
            f"{m} carries the whole effect of {self.x} on {self.y}",
            f"{self.x} and {m} share no unmeasured cause{given}",
            f"{m} and {self.y} share no unmeasured cause given {', '.join((self.x, *self.c))}",
            f"every value of {m} that occurs can occur at every value of {self.x}{given}",
        )


def _candidates(
    graph: ADMG,
    x: str,
    y: str,
    columns: list[str],
    mediators: Iterable[str] | None,
    covariates: Iterable[str] | None,
) -> Iterator[tuple[frozenset[str], frozenset[str]]]:
    """List pairs of mediators and covariates that may be a front door."""
    unaffected = [name for name in columns if name not in graph.descendants([x]) and name != y]
    on_path = graph.descendants([x]) & graph.ancestors([y]) & set(columns) - {x, y}
    above = frozenset(unaffected) & graph.ancestors([x, y, *on_path])
    adjusted = [frozenset(), above] if covariates is None else [frozenset(covariates)]
    if mediators is not None:
        carried = [frozenset(mediators)]
    else:
        plain = find_front_door_set(graph, x, y, within=[n for n in columns if n not in (x, y)])
        carried = [plain] if plain else []
        carried += [on_path & graph.children([x]), on_path & graph.parents([y]), on_path]
    for name in sorted(frozenset().union(*adjusted, *carried) - set(columns)):
        raise DataError(f"there is no complete column {name!r} of that name in data and diagram")
    yield from ((frozenset(m), frozenset(c)) for c in adjusted for m in carried)


def _is_front_door(graph: ADMG, x: str, y: str, m: frozenset[str], c: frozenset[str]) -> bool:
    """Check the front-door criterion within strata of covariates that X does not affect."""
    if (m | c) & {x, y} or m & c or not m <= graph.descendants([x]) or c & graph.descendants([x]):
        return False
    without = graph.subgraph([name for name in graph.nodes if name not in m])
    return (
        y not in without.descendants([x])
        and is_separated(graph.remove_outgoing([x]), [x], m, c)
        and is_separated(graph.remove_outgoing(m), m, [y], c | {x})
    )


def _as_few(graph: ADMG, x: str, y: str, m: frozenset[str], c: frozenset[str]) -> frozenset[str]:
    for name in graph.in_order(c):
        if _is_front_door(graph, x, y, m, c - {name}):
            c = c - {name}
    return c
