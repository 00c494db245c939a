"""The answer of a diagram to a query: a formula in what the data supplies."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from causalppl.exceptions import DataError, QueryError
from causalppl.graphs import ADMG
from causalppl.identification.expression import (
    Combination,
    Level,
    Node,
    Pin,
    Policy,
    Probability,
    Product,
    Quotient,
    Same,
    Sum,
    Symbol,
    Test,
    Zero,
    walk,
)
from causalppl.identification.rendering import WIDE, to_latex, to_text
from causalppl.queries import Contrast, Query, parse_query

__all__ = ["Estimand", "Step"]


@dataclass(frozen=True)
class Step:
    """One step of a derivation.

    Attributes:
        rule: The name of the rule.
        variables: What it is about: for a c-factor its variables, for adjustment the covariates.
        formula: What it gives.
        graph: The diagram in which the rule was applied.

    Example:
        >>> from causalppl.graphs import back_door
        >>> from causalppl.identification import identify
        >>> print(identify(back_door(), "P(Y | do(X))").steps[0])
        back-door adjustment for {Z}: sum_Z P(Y | X, Z) P(Z)
    """

    rule: str
    variables: tuple[str, ...]
    formula: Node
    graph: ADMG

    def __str__(self) -> str:
        named = ", ".join(self.variables)
        return f"{self.rule}{f' {{{named}}}' if named else ''}: {to_text(self.formula)}"


@dataclass(frozen=True, eq=False)
class Estimand:
    """A formula for a query, over the laws that the data supplies.

    Immutable. Two estimands are equal if their queries and their formulas are. The formula's free
    symbols are values that the query leaves open, and no others.

    Attributes:
        query: The query.
        body: The formula; parts that repeat are stored once.
        graph: The diagram that it was derived from, in canonical order.
        steps: How it was derived.
        axes: The values that the query leaves open, each with its symbol in the formula: first
            outcomes, then conditions, then interventions. A value is called after its variable;
            where the query has a variable several times after its term, such as ``Y_{X=0}``, or
            ``do(X)``. When left out, the free symbols of the formula.
        selected_on: The selection node: laws given ``S=1`` come from selected units, the others
            from all units; None where all data are on all units.

    Raises:
        QueryError: The formula has free symbols that ``axes`` does not name, or ``axes`` has
            others.

    Example:
        >>> from causalppl.graphs import front_door
        >>> from causalppl.identification import identify
        >>> estimand = identify(front_door(), "P(Y | do(X))")
        >>> print(estimand)
        sum_Z P(Z | X) sum_X' P(X') P(Y | X', Z)
        >>> Estimand.from_json(estimand.to_json()) == estimand
        True
    """

    query: Query | Contrast
    body: Node
    graph: ADMG
    steps: tuple[Step, ...] = field(default=(), repr=False)
    axes: tuple[tuple[str, Symbol], ...] = ()
    selected_on: str | None = None

    def __post_init__(self) -> None:
        if not self.axes:
            free = sorted(self.body.free)
            object.__setattr__(self, "axes", tuple((str(symbol), symbol) for symbol in free))
        symbols = {symbol for _, symbol in self.axes}
        unknown = {s for s in self.body.free if s not in symbols} | {
            s for s in symbols if s.variable not in self.query.variables
        }
        if unknown:
            listed = ", ".join(sorted(map(str, unknown)))
            raise QueryError(f"the formula of {self.query} leaves {listed} free; bind or name them")

    def __str__(self) -> str:
        return to_text(self.body)

    def __repr__(self) -> str:
        return "\n".join(filter(None, (str(self), self.legend)))

    @property
    def legend(self) -> str:
        """What the symbols stand for that are not called as in the query; often nothing.

        Example:
            >>> from causalppl.identification import identify
            >>> estimand = identify(ADMG.parse("Z -> X -> Y; Z -> Y"), "P(Y_{X} | X)")
            >>> print(estimand)
            sum_Z P(Z | X) P(Y | Z, X')
            >>> print(estimand.legend)
            where X' is do(X)
        """
        pairs = [f"{symbol} is {label}" for label, symbol in self.axes if str(symbol) != label]
        return f"where {', and '.join(pairs)}" if pairs else ""

    def to_latex(self) -> str:
        """Write the formula in LaTeX, without dollar signs."""
        return to_latex(self.body)

    def _repr_latex_(self) -> str:
        query, formula = self.query.to_latex(), self.to_latex()
        beside = f"{self.query} = {to_text(self.body)}"
        if formula.startswith(r"\begin{aligned}") or len(beside) > WIDE:
            return rf"$\begin{{aligned}} & {query} \\ & = {formula} \end{{aligned}}$"
        return rf"${query} = {formula}$"

    @property
    def is_zero(self) -> bool:
        """Whether the diagram alone says that the probability is zero."""
        return isinstance(self.body, Zero)

    @property
    def sources(self) -> tuple[str, ...]:
        """The laws that the data must supply, such as ``P(...)`` and ``P^trial(... | do(X))``."""
        found: dict[str, None] = {}
        for node in walk(self.body):
            if isinstance(node, Probability):
                do = ", ".join(symbol.variable for symbol in node.do)
                where = f"^{node.domain}" if node.domain else ""
                units = [str(symbol) for symbol in node.given if symbol in self._selected]
                bar = ", ".join([*([f"do({do})"] if do else []), *units])
                found[f"P{where}(...{f' | {bar}' if bar else ''})"] = None
        return tuple(sorted(found))

    @property
    def _selected(self) -> tuple[Symbol, ...]:
        return () if self.selected_on is None else (Symbol(self.selected_on, 0, 1),)

    def to_json(self) -> str:
        """Write the estimand as JSON; each part of the formula once."""
        numbers: dict[int, int] = {}
        rows: list[list[Any]] = []
        for node in walk(self.body):
            numbers[id(node)] = len(rows)
            rows.append([node.kind, *_fields(node), [numbers[id(part)] for part in node.parts]])
        return json.dumps(
            {
                "query": str(self.query),
                "graph": str(self.graph),
                "axes": self.axes,
                "selected_on": self.selected_on,
                "nodes": rows,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "Estimand":
        """Read what ``to_json`` wrote; the derivation is not kept.

        Raises:
            DataError: The text is not an estimand.
        """
        try:
            stored = json.loads(text)
            nodes: list[Node] = []
            for kind, *fields, below in stored["nodes"]:
                nodes.append(_read(kind, fields, tuple(nodes[i] for i in below)))
            graph = ADMG.parse(stored["graph"]).in_canonical_order()
            axes = tuple((label, Symbol(*entry)) for label, entry in stored["axes"])
            query, selected_on = parse_query(stored["query"]), stored["selected_on"]
            return cls(query, nodes[-1], graph, axes=axes, selected_on=selected_on)
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise DataError(
                f"this is not a stored estimand ({error}); expected what to_json writes"
            ) from None

    @cached_property
    def _key(self) -> str:
        return self.to_json()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Estimand) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


def _fields(node: Node) -> list[Any]:
    match node:
        case Probability(outcomes=outcomes, given=given, do=do, domain=domain):
            return [outcomes, given, do, domain]
        case Policy(outcome=outcome, given=given):
            return [outcome, given]
        case Sum(over=over) | Pin(over=over):
            return [over]
        case Level(symbol=symbol):
            return [symbol]
        case Test(symbol=symbol, op=op, bound=bound):
            return [symbol, op, bound]
        case Same(first=first, second=second):
            return [first, second]
        case Combination(weights=weights):
            return [weights]
    return []


def _read(kind: str, fields: list[Any], parts: tuple[Node, ...]) -> Node:
    def symbols(stored: list[list[Any]]) -> tuple[Symbol, ...]:
        return tuple(Symbol(*entry) for entry in stored)

    match kind:
        case "probability":
            outcomes, given, do, domain = fields
            return Probability(symbols(outcomes), symbols(given), symbols(do), domain)
        case "policy":
            return Policy(Symbol(*fields[0]), symbols(fields[1]))
        case "product":
            return Product(parts)
        case "sum":
            return Sum(symbols(fields[0]), *parts)
        case "quotient":
            return Quotient(*parts)
        case "pin":
            return Pin(symbols(fields[0]), *parts)
        case "level":
            return Level(Symbol(*fields[0]))
        case "test":
            return Test(Symbol(*fields[0]), fields[1], fields[2])
        case "same":
            return Same(Symbol(*fields[0]), Symbol(*fields[1]))
        case "combination":
            return Combination(tuple(fields[0]), parts)
        case "zero":
            return Zero()
    raise ValueError(f"unknown part {kind!r}")
