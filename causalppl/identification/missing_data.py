"""Causal and statistical queries from incomplete data, when a diagram says what causes the gaps."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, combinations, islice

from causalppl.exceptions import GraphError, NotIdentifiableError, QueryError
from causalppl.graphs import ADMG, Path, find_open_path
from causalppl.graphs.checked import takes_diagram
from causalppl.identification.estimand import Estimand, Step
from causalppl.identification.expression import (
    Node,
    Pin,
    Probability,
    Product,
    Quotient,
    Sum,
    Symbol,
    rebuild,
    substitute,
    walk,
)
from causalppl.identification.identify import identify
from causalppl.identification.missing_laws import MissingLaws, RecoveredLaw
from causalppl.identification.rendering import to_text
from causalppl.identification.simplify import pin, product, quotient, sum_over, unshadow
from causalppl.queries import Contrast, Query, parse_query

__all__ = ["MaskingPath", "recover_from_missing_data"]

_FORGETTING = 32  # sets of incomplete variables to do without that are tried


@takes_diagram
def recover_from_missing_data(
    graph: ADMG, query: str | Query | Contrast, indicators: Mapping[str, str] | Iterable[str]
) -> Estimand:
    """Express a query by what incomplete data show, or say which gap stands in the way.

    The diagram is an m-graph: beside the variables it has their indicators, ``R_X`` for ``X``,
    which are 1 where the variable is seen. What can be used are laws in which the indicator of
    each variable that is named is 1. First the query is identified as if nothing were missing;
    then each law in the formula is recovered: directly, by ordered factorisation, by inverse
    propensities (by sequential fixing where indicators cause each other), by a mixture, or by odds
    ratios. If a law is out of reach, the query is identified anew without some of the incomplete
    variables.

    A formula is always right, as long as what it divides by is positive. Refusals differ. That of
    `identify` is final: complete data would not do either. So is one whose witness has
    ``is_proof``. Any other says that no formula was found. Call *colluder* ``X -> R_Y <- R_X``.
    Where no latent cause acts on an indicator, no variable causes its own indicator and, if
    indicators cause each other, there is no colluder and there are at most four indicators, all is
    recovered that complete data identify. Not complete: diagrams with colluders, with latent
    causes of indicators, and conditional or causal queries about variables that mask themselves.

    Args:
        graph: A diagram over variables and indicators. An indicator causes no variable.
        query: For example ``"P(Y | do(X))"``, ``"P(X, Y)"`` or ``"E[Y | X=1]"``.
        indicators: Incomplete variable to its indicator, or incomplete variables whose
            indicators are called ``R_X``. Variables that are always seen are left out; variables
            that are missing together may share an indicator.

    Returns:
        The formula; ``R_X=1`` in it stands for "X is seen". It is evaluated on a law over the
        graph's nodes, of which it uses nothing that is missing.

    Raises:
        NotIdentifiableError: No formula was found; ``error.hedge`` is a `MaskingPath`, or what
            `identify` gives where complete data would not do.
        GraphError: An indicator or a variable is not in the graph, or an indicator is a cause of
            a variable.
        QueryError: The query names an indicator, or an unknown variable.

    References:
        Mohan, Pearl and Tian (2013), Graphical models for inference with missing data; Shpitser,
        Mohan and Pearl (2015); Bhattacharya, Nabi, Shpitser and Robins (2020); Mohan and Pearl
        (2021), Graphical models for processing missing data; Nabi, Bhattacharya and Shpitser
        (2020), Full law identification in graphical models of missing data.

    Example:
        >>> graph = ADMG.parse("X -> Y; X -> R_Y")
        >>> recover_from_missing_data(graph, "P(X, Y)", ["Y"])
        P(Y | X, R_Y=1) P(X)
        >>> recover_from_missing_data(graph, "P(Y | do(X))", {"Y": "R_Y"})
        P(Y | X, R_Y=1)
    """
    ordered = graph.in_canonical_order()
    shown = _checked_indicators(ordered, indicators)
    asked = parse_query(query) if isinstance(query, str) else query
    if not isinstance(asked, Query | Contrast):
        raise QueryError(f"the query is {query!r}; expected text, a Query or a Contrast")
    _refuse_indicators(asked, shown)
    substantive = ordered.subgraph(ordered.names(~ordered.mask(shown.values()) & ordered.all_mask))
    complete = identify(substantive, asked)
    proof = _proof(ordered, asked, shown)
    if proof is not None:
        raise _refusal(asked, proof)
    recovery = _Recovery(MissingLaws(ordered, shown))
    found = recovery.of(complete)
    if isinstance(found, Estimand):
        return found
    for other in _alternatives(substantive, asked, shown):
        second = recovery.of(other)
        if isinstance(second, Estimand):
            return second
    raise _refusal(asked, found)


@dataclass(frozen=True)
class MaskingPath:
    """Why a law is not seen: its outcome and an indicator that it needs hang together.

    Attributes:
        graph: The diagram, indicators included.
        indicators: Pairs of an incomplete variable and its indicator.
        outcomes: Of the law that is needed.
        given: Its conditions.
        path: From an outcome to the indicator of an outcome or of a condition; open given the
            conditions.
        is_proof: Whether it excludes a formula: the query asks for a variable that is joined to
            its own indicator by an edge. Otherwise none was found.

    References:
        Mohan, Pearl and Tian (2013), Graphical models for inference with missing data, theorem 2.

    Example:
        >>> try:
        ...     recover_from_missing_data(ADMG.parse("X -> R_X"), "P(X)", ["X"])
        ... except NotIdentifiableError as error:
        ...     print(error.hedge, error.hedge.check(), error.hedge.is_proof)
        X -> R_X: X decides whether X is seen True True
    """

    graph: ADMG
    indicators: tuple[tuple[str, str], ...]
    outcomes: tuple[str, ...]
    given: tuple[str, ...]
    path: Path
    is_proof: bool = False

    def check(self) -> bool:
        """Confirm that the path is in the diagram, is open, and ends at a needed indicator."""
        named = {*self.outcomes, *self.given}
        needed = {indicator for variable, indicator in self.indicators if variable in named}
        first, *_, last = self.path.nodes
        if self.is_proof and ((first, last) not in self.indicators or len(self.path.arrows) > 1):
            return False
        return first in self.outcomes and last in needed and self._is_open()

    def _is_open(self) -> bool:
        nodes, arrows = self.path.nodes, self.path.arrows
        if not all(map(self._is_edge, nodes, arrows, nodes[1:])):
            return False
        opened = self.graph.ancestors(self.given)
        for place, node in enumerate(nodes[1:-1]):
            is_collider = arrows[place] != "<-" and arrows[place + 1] != "->"
            if node not in opened if is_collider else node in self.given:
                return False
        return True

    def _is_edge(self, first: str, arrow: str, second: str) -> bool:
        if arrow == "<->":
            return self.graph.is_confounded(first, second)
        cause, effect = (first, second) if arrow == "->" else (second, first)
        return cause in self.graph.parents(effect)

    def __str__(self) -> str:
        first, *_, last = self.path.nodes
        masked = ", ".join(v for v, r in self.indicators if r == last)
        if (first, last) in self.indicators and self.path.arrows == ("->",):
            return f"{self.path}: {first} decides whether {masked} is seen"
        if len(self.path.arrows) == 1 and (first, last) in self.indicators:
            return f"{self.path}: a latent cause of {first} decides whether {masked} is seen"
        given = f", given {', '.join(self.given)}" if self.given else ""
        return f"{self.path} is open{given}: {first} depends on whether {masked} is seen"


@dataclass(frozen=True)
class _Recovery:
    """Replaces the laws in a formula."""

    laws: MissingLaws

    def of(self, complete: Estimand) -> Estimand | MaskingPath:
        """Rewrite a formula in complete data, or name the first law that is out of reach."""
        graph, steps = self.laws.graph, list(complete.steps)
        done: dict[int, Node] = {}
        for node in walk(complete.body):
            if isinstance(node, Probability):
                law = self._law(node)
                if law is None:
                    return self._witness(node)
                done[id(node)] = _at_symbols(law.formula, node)
                step = Step(f"recovered {law.rule}", _names(node.outcomes), done[id(node)], graph)
                steps.append(step)
            else:
                done[id(node)] = _rebuilt(node, tuple(done[id(part)] for part in node.parts))
        body = done[id(complete.body)]
        body = unshadow(body, [symbol for _, symbol in complete.axes])
        return Estimand(complete.query, body, graph, tuple(steps), complete.axes)

    def _law(self, node: Probability) -> RecoveredLaw | None:
        return self.laws.recover(_names(node.outcomes), _names(node.given))

    def _witness(self, node: Probability) -> MaskingPath:
        graph, shown = self.laws.graph, self.laws.indicators
        outcomes, given = _names(node.outcomes), _names(node.given)
        for name in outcomes:
            edge = _masking_edge(graph, shown, name)
            if edge is not None:
                return MaskingPath(graph, tuple(shown.items()), outcomes, given, edge)
        needed = {shown[name] for name in (*outcomes, *given) if name in shown}
        path = find_open_path(graph, outcomes, needed, given)
        assert path is not None, "a law without an open path is seen directly"
        return MaskingPath(graph, tuple(shown.items()), outcomes, given, path)


def _rebuilt(node: Node, parts: tuple[Node, ...]) -> Node:
    match node:
        case Product():
            return product(parts)
        case Sum(over=over):
            assert set(over) <= parts[0].free, "a law depends on its outcome"
            return sum_over(over, parts[0])
        case Quotient():
            return quotient(*parts)
        case Pin(over=over):
            return pin(over, parts[0])
    return rebuild(node, parts, {})


def _at_symbols(formula: Node, node: Probability) -> Node:
    """Write a law at the symbols of the node that it replaces."""
    named = (*node.outcomes, *node.given)
    if isinstance(formula, Probability):  # keep the order in which the query's formula has them
        order = (*_names(named), *_names(formula.given))
        outcomes, given = (
            tuple(sorted(part, key=lambda symbol: order.index(symbol.variable)))
            for part in (formula.outcomes, formula.given)
        )
        formula = Probability(outcomes, given)
    return substitute(formula, {Symbol(symbol.variable): symbol for symbol in named})


def _names(symbols: Iterable[Symbol]) -> tuple[str, ...]:
    return tuple(symbol.variable for symbol in symbols)


def _alternatives(
    graph: ADMG, query: Query | Contrast, shown: Mapping[str, str]
) -> Iterator[Estimand]:
    """Identify the query in diagrams without some incomplete variables, few at a time."""
    spare = [name for name in graph.nodes if name in shown and name not in query.variables]
    sets = chain.from_iterable(combinations(spare, size) for size in range(1, len(spare) + 1))
    for forgotten in islice(sets, _FORGETTING):
        rest = graph.latent_projection(frozenset(graph.nodes) - set(forgotten))
        try:
            yield identify(rest, query)
        except NotIdentifiableError:
            continue


def _proof(graph: ADMG, query: Query | Contrast, shown: Mapping[str, str]) -> MaskingPath | None:
    """Find an outcome that an edge joins to its own indicator.

    In a model of the diagram in which nothing else depends on anything, the query is about the
    law of that variable, of which data show only the part where it is seen.
    """
    if not isinstance(query, Query) or query.rung == 3:
        return None
    named = {event.name for event in query.given}
    outcomes = tuple(event.name for event in query.outcomes)
    for name in outcomes:
        edge = None if name in named else _masking_edge(graph, shown, name)
        if edge is not None:
            return MaskingPath(graph, tuple(shown.items()), outcomes, (), edge, is_proof=True)
    return None


def _masking_edge(graph: ADMG, shown: Mapping[str, str], name: str) -> Path | None:
    indicator = shown.get(name)
    if indicator is None:
        return None
    if name in graph.parents(indicator):
        return Path((name, indicator), ("->",))
    if graph.is_confounded(name, indicator):
        return Path((name, indicator), ("<->",))
    return None


def _refusal(query: Query | Contrast, witness: MaskingPath) -> NotIdentifiableError:
    if witness.is_proof:
        verdict, remedy = "is not recoverable from incomplete data", "no method can recover it"
    else:
        law = Probability(tuple(map(Symbol, witness.outcomes)), tuple(map(Symbol, witness.given)))
        verdict = f"was not recovered from incomplete data; {to_text(law)} is out of reach"
        remedy = "no formula was found, which is no proof that there is none"
    return NotIdentifiableError(
        f"{query} {verdict}: {witness}; {remedy}; data on why values are missing, a second "
        "measurement, or a bound can help",
        query=query,
        hedge=witness,
    )


def _checked_indicators(
    graph: ADMG, indicators: Mapping[str, str] | Iterable[str]
) -> dict[str, str]:
    if isinstance(indicators, Mapping):
        shown = dict(indicators)
    else:
        listed = (indicators,) if isinstance(indicators, str) else sorted(indicators)
        shown = {name: f"R_{name}" for name in listed}
    graph.mask(shown)
    for name, indicator in shown.items():
        if indicator not in graph:
            raise GraphError(
                f"{name} has the indicator {indicator!r}, which is not in the graph {graph}; "
                f"expected a node that is 1 where {name} is seen; add it, or pass "
                f"{{{name!r}: its indicator}}"
            )
        if indicator in shown:
            raise GraphError(
                f"{indicator}, the indicator of {name}, is itself listed as incomplete; expected "
                "indicators to be always seen; drop one of the two"
            )
    for cause, effect in graph.directed_edges:
        if cause in shown.values() and effect not in shown.values():
            raise GraphError(
                f"the indicator {cause} causes {effect}; expected indicators to cause indicators "
                f"only; remove {cause} -> {effect}, or list the variable that {effect} shows"
            )
    return {name: shown[name] for name in graph.nodes if name in shown}


def _refuse_indicators(query: Query | Contrast, shown: Mapping[str, str]) -> None:
    named = sorted(query.variables & set(shown.values()))
    if named:
        raise QueryError(
            f"{query} names the indicator {', '.join(named)}; expected variables only: indicators "
            "are always seen, and P(...) of them needs no recovery where it names no variable"
        )
