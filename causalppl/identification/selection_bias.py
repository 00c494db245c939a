"""Recovery from selection bias: what data on selected units alone, ``S=1``, say about all units.

A formula is put together from parts, each free of the selection:

* laws: ``P(a | b) = P(a | b, S=1)`` where S is separated from ``a`` given ``b``, or
  ``sum_c P(a | b, c, S=1) P(c | b)`` where external data have ``b`` and ``c``;
* c-factors ``Q[A]``, the law of A when all else is set, by Bareinboim and Tian's recursion: what
  causes neither the target nor S is summed out, districts without a cause of S are exact and are
  divided out, and so on;
* total probability over what separates the outcome from S.

References:
    Bareinboim, Tian and Pearl (2014), Recovering from selection bias in causal and statistical
    inference; Bareinboim and Tian (2015), Recovering causal effects from selection bias; Correa,
    Tian and Bareinboim (2018), Generalized adjustment under confounding and selection biases;
    Correa, Tian and Bareinboim (2019), Identification of causal effects in the presence of
    selection bias.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import reduce
from itertools import islice
from operator import or_

from causalppl.exceptions import GraphError, NotIdentifiableError, QueryError
from causalppl.graphs import ADMG, Path, find_minimal_separator, find_open_path, is_separated
from causalppl.graphs.checked import takes_diagram
from causalppl.graphs.components import district_masks
from causalppl.graphs.mixed import closure, iterate_bits, union
from causalppl.graphs.separation import minimal_separators
from causalppl.identification import expression as ex
from causalppl.identification import simplify
from causalppl.identification.c_factor import identify_c_factor
from causalppl.identification.estimand import Estimand, Step
from causalppl.identification.expression import Node, Probability, Product, Symbol
from causalppl.identification.factorisation import Conflict, CounterfactualVariable, Factorisation
from causalppl.identification.hedges import Witness
from causalppl.identification.identify import identify
from causalppl.identification.search import Search
from causalppl.identification.sources import Source
from causalppl.queries import Contrast, Event, Query, Term

__all__ = ["SelectionWitness", "recover_from_selection"]

_MOST_SEPARATORS = 20


@takes_diagram
def recover_from_selection(
    graph: ADMG,
    query: str | Query | Contrast,
    selected_on: str = "S",
    external: Iterable[Iterable[str]] = (),
) -> Estimand:
    """Express a query about all units by data on the selected ones, or show what is in the way.

    Every formula is right in all models of the diagram. A refusal means that there is no formula
    where the effect is not identifiable from complete data either, and, without external data, for
    ``P(Y | Z)`` (Bareinboim, Tian and Pearl 2014, theorem 1) and ``P(Y | do(X))`` (the recursion
    is complete: Correa, Tian and Bareinboim 2019). For ``P(Y | do(X), Z)``, and with external
    data, completeness is not claimed: parts are combined in the ways that the module lists, in
    the diagram and in its projections onto what external data have.

    Args:
        graph: The diagram, with the selection node, which has no effects.
        query: Of rung 1 or 2, such as ``"P(Y | X)"``, ``"E[Y | do(X=1), Z]"`` or a contrast.
        selected_on: The selection node: the data are on units where it is 1.
        external: Sets of variables whose joint law is known for all units.

    Returns:
        The formula: probabilities given ``S=1``, and probabilities over one external set each.
        `evaluate` takes the laws of selected and of all units under the keys
        ``("S=1", frozenset())`` and ``(None, frozenset())``.

    Raises:
        NotIdentifiableError: No formula was found; ``error.hedge`` is a `SelectionWitness`.
        GraphError: The selection node is missing, has effects, or is in an external set.
        QueryError: The query is of rung 3, or names the selection node.

    References:
        Bareinboim, Tian and Pearl (2014), Recovering from selection bias in causal and statistical
        inference; Bareinboim and Tian (2015), Recovering causal effects from selection bias;
        Correa, Tian and Bareinboim (2018), Generalized adjustment under confounding and selection
        biases; Correa, Tian and Bareinboim (2019), Identification of causal effects in the
        presence of selection bias.

    Example:
        >>> graph = ADMG.parse("Z -> X -> Y; Z -> Y; Z -> S")
        >>> recover_from_selection(graph, "P(Y | do(X))", external=[{"Z"}])
        sum_Z P(Y | X, Z, S=1) P(Z)
    """
    if isinstance(external, str) or not isinstance(external, Iterable):
        raise QueryError(f"external is {external!r}; expected a list of sets, such as [{{'Z'}}]")
    known = _checked(graph, selected_on, external)
    try:
        complete = identify(graph, query)  # its open values are those of the formula
    except NotIdentifiableError as error:
        why = SelectionWitness(error.query, graph, selected_on, confounding=error.hedge)
        raise _refusal(why, "an experiment") from None
    weights, parts = zip(*complete.query.expand(), strict=True)
    steps = tuple(_answer(complete.graph, part, selected_on, known) for part in parts)
    bodies = tuple(step.formula for step in steps)
    body = bodies[0] if weights == (1.0,) else ex.Combination(weights, bodies)
    return replace(complete, body=body, steps=steps, selected_on=selected_on)


@dataclass(frozen=True)
class SelectionWitness:
    """Why selected data give no formula for a query.

    The effect is confounded even in complete data; or S and the outcome depend on each other along
    an open path, or the c-factor ``Q[target]``, which the query needs, cannot be freed of S: in
    ``region``, which are causes of the target or of S, each district has a cause of S.

    Attributes:
        query: The query.
        graph: The diagram.
        selected_on: The selection node.
        path: An open path between them, in the diagram without arrows into what is set, or None.
        target: The variables whose c-factor is missing; empty if none was needed.
        region: Where the recursion ends, with S.
        confounding: Why the effect is not identifiable from complete data; None if it is.

    References:
        Correa, Tian and Bareinboim (2019), Identification of causal effects in the presence of
        selection bias.

    Example:
        >>> try:
        ...     recover_from_selection(ADMG.parse("X -> Y -> S"), "P(Y | X)")
        ... except NotIdentifiableError as error:
        ...     print(error.hedge, error.hedge.check())
        Y depends on the selection: Y -> S is open given X True
    """

    query: Query
    graph: ADMG
    selected_on: str
    path: Path | None = None
    target: tuple[str, ...] = ()
    region: tuple[str, ...] = ()
    confounding: Witness | None = None

    def check(self) -> bool:
        """Confirm every part by its definition."""
        if self.confounding is not None:
            return self.confounding.check()
        found = [self._is_open(self.path)] if self.path is not None else []
        found += [self._is_stuck()] if self.target else []
        return bool(found) and all(found)

    def _is_open(self, path: Path) -> bool:
        cut = self.graph.remove_incoming([i.name for i in self.query.do])
        opened, given = cut.ancestors(_given(self.query)), _given(self.query)
        ends = {"->": cut.children, "<-": cut.parents, "<->": cut.siblings}
        steps = zip(path.nodes, path.arrows, path.nodes[1:], strict=False)
        inner = zip(path.arrows, path.nodes[1:], path.arrows[1:], strict=False)
        return (
            (path.nodes[0] in _outcomes(self.query) and path.nodes[-1] == self.selected_on)
            and all(b in ends[arrow](a) for a, arrow, b in steps)
            # a collider passes if it leads to what is given, any other node if it is not given
            and all(n in opened if a != "<-" and b != "->" else n not in given for a, n, b in inner)
        )

    def _is_stuck(self) -> bool:
        ends = {*self.target, self.selected_on}
        part = self.graph.subgraph({*self.region, *ends})
        causes = part.ancestors(self.selected_on)
        return (
            part.ancestors(ends) == set(self.region)
            and len(self.graph.subgraph(self.target).districts()) == 1
            and all(district & causes for district in part.districts())
        )

    def __str__(self) -> str:
        if self.confounding is not None:
            return f"even without selection, {self.confounding}"
        reasons = []
        if self.path is not None:
            given = f" given {', '.join(_given(self.query))}" if _given(self.query) else ""
            who = self.path.nodes[0]
            reasons.append(f"{who} depends on the selection: {self.path} is open{given}")
        if self.target:
            target, region = ", ".join(self.target), ", ".join(self.region)
            reasons.append(
                f"the law of {{{target}}} cannot be freed of {self.selected_on}: among {{{region}}}"
                f" each district has a cause of {self.selected_on}"
            )
        return "; ".join(reasons)


def _outcomes(query: Query) -> tuple[str, ...]:
    return tuple(dict.fromkeys(event.name for event in query.outcomes))


def _given(query: Query) -> tuple[str, ...]:
    return tuple(i.name for i in query.do) + tuple(event.name for event in query.given)


def _checked(
    graph: ADMG, selected_on: str, external: Iterable[Iterable[str]]
) -> list[frozenset[str]]:
    if effects := graph.children(selected_on):
        raise GraphError(
            f"the selection node {selected_on} has the effects {', '.join(sorted(effects))}; "
            "expected none; draw the selection as a node of its own"
        )
    known = {graph.names(graph.mask(names)) for names in external} - {frozenset()}
    if any(selected_on in names for names in known):
        raise GraphError(
            f"an external set has the selection node {selected_on}; expected variables that were "
            "measured without selection; leave it out"
        )
    return sorted(known, key=lambda names: (len(names), sorted(names)))


def _answer(graph: ADMG, query: Query, selected_on: str, external: list[frozenset[str]]) -> Step:
    if selected_on in query.variables:
        raise QueryError(f"{query} names the selection node {selected_on}; leave it out")
    query, searches = _in_one_world(graph, query), []
    # the whole diagram, then its projections onto what external data have
    for kept in dict.fromkeys([frozenset(graph.nodes), *external, frozenset[str]()]):
        names = query.variables | kept | {selected_on}
        measured = [known & names for known in external if known & names]
        searches.append(_Recovery(graph.latent_projection(names), selected_on, measured))
        found = searches[-1].find(query)
        if found is not None:
            body = _rebuilt(found[1], searches[0].with_selection_last) or found[1]
            return Step(found[0], (), body, graph)
    cut = graph.remove_incoming([i.name for i in query.do])
    path = find_open_path(cut, _outcomes(query), selected_on, _given(query))
    stuck = searches[0].stuck if query.do else (0, 0)
    target, region = map(searches[0].graph.names_in_order, stuck)
    why = SelectionWitness(query, graph, selected_on, path, target, region)
    raise _refusal(why, "data without selection on some variables")


def _in_one_world(graph: ADMG, query: Query) -> Query:
    """Write the query with ``do``, also over conditions that what is set does not affect."""
    query = query.worlds
    world = query.outcomes[0].term.interventions
    apart = frozenset(graph.nodes) - graph.descendants([i.name for i in world])
    moved = [e for e in query.given if e.name in apart and not e.term.interventions]
    given = [e for e in query.given if e not in moved]
    given += [replace(event, term=event.term.under(world)) for event in moved]
    query = replace(query, given=tuple(given)).interventional()
    if query.rung > 2:
        raise QueryError(f"{query} is of rung 3; expected one world; use identify for such queries")
    return query


def _refusal(why: SelectionWitness, remedy: str) -> NotIdentifiableError:
    return NotIdentifiableError(
        f"{why.query} is not recoverable from data selected on {why.selected_on}: {why}; "
        f"{remedy} can help",
        query=why.query,
        hedge=why,
    )


def _rebuilt(root: Node, leaf: Callable[[Probability], Node | None]) -> Node | None:
    """Replace the probabilities and simplify again; None if one has no replacement."""
    moved: dict[int, Node] = {}
    for node in ex.walk(root):
        parts = tuple(moved[id(part)] for part in node.parts)
        match node:
            case Probability():
                body = leaf(node)
                if body is None:
                    return None
            case Product():
                body = simplify.product(parts)
            case ex.Sum(over=over):
                body = _summed(over, parts[0])
            case ex.Quotient():
                body = simplify.quotient(*parts)
            case ex.Pin(over=over):
                body = simplify.pin(over, parts[0])
            case _:
                body = ex.rebuild(node, parts, {})
        moved[id(node)] = body
    return simplify.unshadow(moved[id(root)], moved[id(root)].free)


def _summed(over: Iterable[Symbol], body: Node) -> Node:
    """Sum out; what that moved into inner sums is simplified there too."""
    body = simplify.sum_over(over, body)
    factors = body.factors if isinstance(body, Product) else (body,)
    return simplify.product([simplify.sum_over((), factor) for factor in factors])


@dataclass(kw_only=True)
class _CFactorSearch(Search):
    """The search of ``identify``, with c-factors from elsewhere."""

    recovery: "_Recovery"

    def factor(
        self, query: Query, facts: Factorisation, district: list[CounterfactualVariable]
    ) -> Node:
        values = facts.assignment(district)
        assert not isinstance(values, Conflict)  # there is one world only
        body = self.recovery.c_factor(sum(1 << entry.node for entry in district))
        if body is None:
            raise NotIdentifiableError("a c-factor cannot be freed of the selection", query=query)
        return ex.substitute(body, {Symbol(name): symbol for name, symbol in values.items()})


class _Recovery:
    """The search on one diagram; sets are bits, formulas are over symbols without primes."""

    def __init__(self, graph: ADMG, selected_on: str, external: list[frozenset[str]]) -> None:
        others = [name for name in graph.nodes if name != selected_on]
        edges = graph.directed_edges, graph.bidirected_edges
        self.graph, self.complete = ADMG([*others, selected_on], *edges), graph.subgraph(others)
        self.selected_on, self.selected = selected_on, Symbol(selected_on, 0, 1)
        self.s, self.variables = self.graph.mask(selected_on), self.complete.all_mask
        self.external = [self.graph.mask(names) for names in external]
        self.symbols = tuple(map(Symbol, self.graph.nodes))
        self.stuck = 0, 0  # where the recursion first failed: target, region
        self._laws: dict[tuple[int, int], Node | None] = {}
        self._c_factors: dict[int, Node | None] = {}

    def named(self, mask: int) -> tuple[Symbol, ...]:
        return tuple(self.symbols[i] for i in iterate_bits(mask))

    def ancestors(self, nodes: int, within: int) -> int:
        return closure(nodes, self.graph.parent_masks, within)

    # strategies

    def find(self, query: Query, *, deep: bool = True) -> tuple[str, Node] | None:
        """Express the query in the shortest way found, with the name of the rule that gave it."""
        names = [event.name for event in (*query.outcomes, *query.given)]
        affects = self.graph.remove_incoming([i.name for i in query.do]).ancestors(names)
        query = replace(query, do=tuple(i for i in query.do if i.name in affects))
        rules = {"complete-data formula": self._by_complete_data, "c-factors": self._by_c_factors}
        if deep:
            rules["total probability"] = self._by_total_probability
        found = []
        for name, rule in rules.items():
            with suppress(NotIdentifiableError):
                body = rule(query)
                found += [] if body is None else [(name, body)]
        return min(found, key=lambda pair: len([*ex.walk(pair[1])]), default=None)

    def _by_complete_data(self, query: Query) -> Node | None:
        """Recover each probability in the formula for complete data."""
        return self.recovered(identify(self.complete, query).body)

    def _by_c_factors(self, query: Query) -> Node | None:
        return _CFactorSearch(self.complete, (), {}, recovery=self).answer(query)[0]

    def _by_total_probability(self, query: Query) -> Node | None:
        """``sum_c P(y | do(x), z, c) P(c | do(x), z)`` with c between the outcome and S."""
        for names in self._separators(query):
            events = tuple(Event(Term(name)) for name in names)
            within = replace(query, given=(*query.given, *events))
            about = replace(query, kind="P", outcomes=events, coefficients=())
            late, early = (self.find(part, deep=False) for part in (within, about))
            if late and early:
                body = simplify.sum_over(map(Symbol, names), simplify.product([late[1], early[1]]))
                return simplify.unshadow(body, body.free)
        return None

    def _separators(self, query: Query) -> Iterator[tuple[str, ...]]:
        """List what separates the outcome from S, first within the external data."""
        graph = self.graph.remove_incoming([i.name for i in query.do])
        given, y = {*_given(query)}, {*_outcomes(query)}
        for within in dict.fromkeys((reduce(or_, self.external, 0), self.variables)):
            allowed = (graph.names(within) | given) - y
            found = minimal_separators(graph, y, self.selected_on, given, allowed)
            for separator in islice(found, _MOST_SEPARATORS):
                if separator - given:
                    yield graph.in_order(separator - given)

    # conditional laws

    def given_selection(self, a: int, *given: int) -> Node:
        conditions = (symbol for mask in given for symbol in self.named(mask))
        return Probability(self.named(a), (*conditions, self.selected)) if a else Product(())

    def with_selection_last(self, node: Probability) -> Probability:
        return replace(node, given=tuple(sorted(node.given, key=self.selected.__eq__)))

    def law(self, a: int, b: int) -> Node | None:
        """Express ``P(a | b)``, if need be as ``P(a, part of b | rest) / sum_a`` of the same."""
        if (a, b) not in self._laws:
            parts = dict.fromkeys([0, *(b & ~known for known in self.external)])
            joints = ((part, self._bridged(a | part, b & ~part)) for part in parts)
            part, law = next((found for found in joints if found[1] is not None), (0, None))
            joint = part and law
            self._laws[a, b] = simplify.conditional(joint, self.named(a)) if joint else law
        return self._laws[a, b]

    def _bridged(self, a: int, b: int) -> Node | None:
        """``sum_c P(a | b, c, S=1) P(c | b)`` with ``b`` and ``c`` in one external set."""
        if any(not (a | b) & ~known for known in self.external):
            return Probability(self.named(a), self.named(b))
        names = self.graph.names
        if is_separated(self.graph, names(a), self.selected_on, names(b)):
            return self.given_selection(a, b)
        for known in self.external:
            part = a & known  # to condition on all of it is as good as on some (weak union)
            separator = None
            if not b & ~known:
                ends, given = (names(a & ~part), self.selected_on), names(b | part)
                separator = find_minimal_separator(self.graph, *ends, given, names(known))
            if separator is not None:
                c = self.graph.mask(separator) & ~b
                late = self.given_selection(a & ~part, b, c)
                early = Probability(self.named(c), self.named(b))
                return simplify.sum_over(self.named(c & ~a), simplify.product([late, early]))
        return None

    def recovered(self, root: Node) -> Node | None:
        """Replace each probability of a complete-data formula; None if one has no formula."""

        def leaf(node: Probability) -> Node | None:
            groups = node.outcomes, node.given
            a, b = (self.graph.mask(s.variable for s in symbols) for symbols in groups)
            rename = {Symbol(s.variable): s for symbols in groups for s in symbols}
            law = self.law(a, b)
            if isinstance(law, Probability):  # keep the order
                return Probability(node.outcomes, (*node.given, *law.given[len(node.given) :]))
            return None if law is None else ex.substitute(law, rename)

        return _rebuilt(root, leaf)

    # c-factors

    def c_factor(self, target: int) -> Node | None:
        """Express ``Q[target]``, by a formula for complete data or from the selected."""
        if target not in self._c_factors:
            self._c_factors[target] = self._unselected(target) or self._freed(target)
        return self._c_factors[target]

    def _unselected(self, target: int) -> Node | None:
        needed = target | union(target, self.graph.parent_masks)
        for kept in (self.variables, *self.external):
            if not needed & ~kept:
                graph = self.complete.latent_projection(self.graph.names(kept))
                mask = graph.mask(self.graph.names(target))
                found = identify_c_factor(graph, mask, (Source(),))
                body = None if isinstance(found, list) else self.recovered(found[0])
                if body is not None:
                    return body
        return None

    def _freed(self, target: int) -> Node | None:
        """Bareinboim and Tian's recursion; districts that other data give are divided out too."""
        region = self.ancestors(target | self.s, ~0)
        body = self.given_selection(region & ~self.s)
        while True:
            kept = self.ancestors(target | self.s, region)
            body, region = simplify.sum_over(self.named(region & ~kept), body), kept
            causes = self.ancestors(self.s, region)
            first, factors = self._chain(body, region, causes)
            districts = district_masks(self.graph.sibling_masks, region)
            free = [d for d in districts if not d & causes]
            if home := sum(d for d in free if not target & ~d):
                return self._inside(factors, home, target)
            gone = sum(free)
            body = simplify.product([first, *(factors[n] for n in factors if not gone >> n & 1)])
            for district in districts if self.external else ():
                if district & causes and not district & (target | self.s):
                    known = self._unselected(district)
                    if known is not None:
                        body, gone = simplify.quotient(body, known), gone | district
            if not gone:
                self.stuck = self.stuck if self.stuck[0] else (target, region)
                return None
            region &= ~gone

    def _inside(self, factors: dict[int, Node], region: int, target: int) -> Node | None:
        """Tian's recursion in a district that is free of the selection, hence exact."""
        while True:
            body = simplify.product([factors[node] for node in iterate_bits(region)])
            kept = self.ancestors(target, region)
            body = simplify.sum_over(self.named(region & ~kept), body)
            if kept == target:
                return self._pinned(body, target)
            region = closure(target & -target, self.graph.sibling_masks, kept)
            if region == kept:
                return None
            _, factors = self._chain(body, kept, 0)

    def _chain(self, body: Node, region: int, block: int) -> tuple[Node, dict[int, Node]]:
        """Split ``Q[region]`` into the law of a block and of each node given those before it.

        With S in the region, the law of the block is up to a constant and the others are exact.
        """
        variables, factors = region & ~self.s, {}
        for node in iterate_bits(region & ~block):
            here = 1 << node
            before = block | region & (2 * here - 1)
            district = closure(here, self.graph.sibling_masks, before)
            kept = district | union(district, self.graph.parent_masks)
            above = simplify.sum_over(self.named(variables & ~kept), body)
            below = _summed([self.symbols[node]], above)
            factors[node] = self._pinned(simplify.quotient(above, below), district)
        first = simplify.sum_over(self.named(variables & ~block), body)
        return first if block & ~self.s else Product(()), factors

    def _pinned(self, body: Node, nodes: int) -> Node:
        """Bind what the formula names, and what the law of the nodes does not depend on."""
        allowed = self.named(nodes | union(nodes, self.graph.parent_masks))
        extra = body.free.difference(allowed)
        return simplify.pin([symbol for symbol in self.symbols if symbol in extra], body)
