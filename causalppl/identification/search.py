"""The search for a formula: counterfactual variables, their districts, a c-factor for each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from causalppl.exceptions import (
    ImpossibleEvidenceError,
    NotIdentifiableError,
    NotTransportableError,
    QueryError,
)
from causalppl.graphs import ADMG
from causalppl.identification.c_factor import Stuck, identify_c_factor
from causalppl.identification.estimand import Step
from causalppl.identification.expression import (
    Combination,
    Level,
    Node,
    Policy,
    Product,
    Quotient,
    Sum,
    Symbol,
    Test,
    Zero,
    fresh,
    substitute,
)
from causalppl.identification.factorisation import (
    Conflict,
    CounterfactualVariable,
    Factorisation,
    World,
    check_names,
)
from causalppl.identification.hedges import Hedge, Witness
from causalppl.identification.simple_criteria import simple_formula
from causalppl.identification.simplify import conditional, product, quotient, sum_over, unshadow
from causalppl.identification.sources import Source
from causalppl.queries import Contrast, Event, Intervention, Query
from causalppl.queries.open_values import Open, label_open_values

__all__ = ["Axes", "Search"]

_Interventions: TypeAlias = tuple[Intervention, ...]
_Located: TypeAlias = tuple[Event, _Interventions]
Axes: TypeAlias = tuple[tuple[str, Symbol], ...]


@dataclass
class Search:
    """What one call of ``identify`` knows.

    Attributes:
        graph: The diagram, in canonical order.
        sources: The data, in order of preference.
        policies: For each variable that a plan sets, the variables that the plan looks at.
        steps: The derivation, as far as it has come.
    """

    graph: ADMG
    sources: tuple[Source, ...]
    policies: dict[int, tuple[int, ...]]

    def __post_init__(self) -> None:
        self._known: dict[int, tuple[Node, Source] | list[Stuck]] = {}
        self.steps: list[Step] = []
        self._moved: dict[int, tuple[Query, Query]] = {}

    def answer(self, asked: Query | Contrast) -> tuple[Node, Axes]:
        """Find the formula, and the symbols of the values that the query leaves open.

        Raises:
            NotIdentifiableError: There is none.
            ImpossibleEvidenceError: The query conditions on what the diagram excludes.
            QueryError: The query names a variable that is not in the graph.
        """
        parts = asked.expand(*self._mediators(asked))
        labels = label_open_values(self._worlds(query) for _, query in parts)
        # all parts name an open value alike
        symbols: dict[Open, Symbol] = {}
        for known in labels:
            name = known if isinstance(known, str) else known.name
            symbols[known] = fresh(Symbol(name), symbols.values())
        weights, terms = [], []
        for weight, query in self._distinct(parts):
            try:
                body, own = self._single(query)
            except NotIdentifiableError as error:
                raise error if query == asked else self._of_contrast(asked, error) from None
            renamed = {symbol: symbols[known] for known, symbol in own.items()}
            weights.append(weight)
            terms.append(unshadow(substitute(body, renamed), renamed.values()))
        whole: Node = Combination(tuple(weights), tuple(terms)) if terms else Zero()
        if weights == [1.0]:
            whole = terms[0]
        return whole, tuple((labels[known], symbol) for known, symbol in symbols.items())

    def _distinct(self, parts: Sequence[tuple[float, Query]]) -> list[tuple[float, Query]]:
        """Add up the weights of parts that are one by the diagram, and drop what cancels."""
        if len(parts) == 1:
            return list(parts)
        weights: dict[object, float] = {}
        first: dict[object, Query] = {}
        known: dict[tuple[Event, ...], Factorisation] = {}
        for weight, query in parts:
            check_names(self.graph, query, query.variables)
            (event,), given = self._worlds(query).outcomes, self._worlds(query).given
            if given not in known:
                known[given] = self._factorise(_located(given))[0]
            key = given, known[given].variable(event.name, event.term.interventions)
            first.setdefault(key, query)
            weights[key] = weights.get(key, 0.0) + weight
        return [(weights[key], query) for key, query in first.items() if weights[key]]

    def _worlds(self, query: Query) -> Query:
        """Push ``do`` into every term, once for each query; the query is kept, so its id is."""
        if id(query) not in self._moved:
            self._moved[id(query)] = query, query.worlds
        return self._moved[id(query)][1]

    def _mediators(self, asked: Query | Contrast) -> tuple[tuple[str, ...], ...]:
        """Find what a natural effect goes through: nothing to add for other questions."""
        if isinstance(asked, Query) or asked.kind not in ("NDE", "NIE"):
            return ()
        check_names(self.graph, asked, asked.variables)
        below = self.graph.descendants(asked.treatment) - {asked.treatment}
        between = self.graph.ancestors(asked.outcome) & below - {asked.outcome}
        if beside := [name for name in asked.mediators if name not in between]:
            raise QueryError(
                f"{asked} names {', '.join(beside)} as a mediator, which lies on no directed path "
                f"from {asked.treatment} to {asked.outcome}; leave the mediators out to take "
                "those of the diagram"
            )
        if asked.mediators:
            return ()
        found = self.graph.in_order(self.graph.children(asked.treatment) & between)
        if not found:
            raise QueryError(
                f"{asked} needs a mediator, but {asked.treatment} reaches {asked.outcome} by no "
                "other way than directly; the whole effect is direct: ask for the ATE"
            )
        return (found,)

    def _single(self, query: Query) -> tuple[Node, dict[Open, Symbol]]:
        for event in query.outcomes:
            if any(event.term == other.term for other in query.given):
                raise QueryError(f"{event.term} is asked for and given in {query}; drop one")
        check_names(self.graph, query, query.variables)
        self._check_plans(query)
        outcomes, tests = _split_tests(self._worlds(query))
        found = None
        if not self.policies and self.sources == (Source(),):
            found = self._simple(query, outcomes)
        if found is None:
            found = self._general(query, outcomes)
        body = _with_tests(query, found.body, found.symbols, tests)
        events = zip((*outcomes, *self._worlds(query).given), found.symbols, strict=True)
        summed = {found.symbols[0]} if query.kind == "E" else {found.symbols[i] for i, _ in tests}
        own: dict[Open, Symbol] = {name: symbol for name, symbol in found.opened.items()}
        own |= {e: s for e, s in events if e.value is None and s not in summed}
        return body, own

    def _check_plans(self, query: Query) -> None:
        if not self.policies:
            return
        planned = {self.graph.nodes[node] for node in self.policies}
        for event in (*self._worlds(query).outcomes, *self._worlds(query).given):
            if twice := sorted(planned & {i.name for i in event.term.interventions}):
                raise QueryError(
                    f"{query} sets {twice[0]}, which a plan sets too; expected one of the two"
                )

    def _simple(self, query: Query, outcomes: Sequence[Event]) -> "_Found | None":
        given = self._worlds(query).given
        world, *others = {event.term.interventions for event in (*outcomes, *given)}
        simple = None if others else simple_formula(self.graph, outcomes, given, world)
        if simple is None:
            return None
        self.steps.append(simple.step)
        known = [Symbol(event.name, 0, event.value) for event in given]
        opened = {i.name: Symbol(i.name) for i in world if i.value is None}
        return _Found(simple.body, [*simple.symbols, *known], opened)

    def _general(self, query: Query, outcomes: Sequence[Event]) -> "_Found":
        asked, known = _located(outcomes), _located(self._worlds(query).given)
        fixed = [place for place, event in enumerate(outcomes) if event.value is not None]
        if not known:
            return self._joint(query, asked)
        self._refuse_impossible(query, known)
        facts, symbols = self._factorise([*asked, *known])
        if facts.is_impossible:
            return _Found(Zero(), symbols, facts.opened)
        opened = [replace(event, value=None) for event in outcomes]
        try:
            found = self._conditional(query, _located(opened), known)
        except NotIdentifiableError:
            # values that agree with other worlds can make a query identifiable at these values
            if not fixed:
                raise
            return self._ratio(query, asked, known)
        values = {found.symbols[i]: Symbol(outcomes[i].name, 0, outcomes[i].value) for i in fixed}
        symbols = [values.get(symbol, symbol) for symbol in found.symbols]
        return _Found(substitute(found.body, values), symbols, found.opened)

    def _joint(self, query: Query, events: Sequence[_Located]) -> "_Found":
        facts, symbols = self._factorise(events)
        if facts.is_impossible:
            return _Found(Zero(), symbols, facts.opened)
        factors = [self.factor(query, facts, district) for district in facts.districts()]
        factors += [*facts.policy_factors(), *facts.same]
        return _Found(sum_over(facts.summed(), product(factors)), symbols, facts.opened)

    def _conditional(
        self,
        query: Query,
        outcomes: Sequence[_Located],
        given: Sequence[_Located],
    ) -> "_Found":
        facts, symbols = self._factorise([*outcomes, *given])
        asked = symbols[: len(outcomes)]
        summed = facts.summed()
        factors = []
        for group in _linked(facts, {*summed, *asked}):
            # a part that no summed symbol joins to an outcome cancels (Correa et al., theorem 5)
            if any(symbol in asked for symbol in _symbols(group)):
                factors += [self._factor_of(query, facts, member) for member in group]
        factors += facts.same
        body = sum_over(summed, product(factors))
        return _Found(conditional(body, asked), symbols, facts.opened)

    def _ratio(
        self,
        query: Query,
        outcomes: Sequence[_Located],
        given: Sequence[_Located],
    ) -> "_Found":
        facts, symbols = self._factorise([*outcomes, *given])
        asked = symbols[: len(outcomes)]
        groups = _linked(facts, {*facts.summed(), *asked})
        kept = [group for group in groups if not _symbols(group).isdisjoint(asked)]
        # what is joined to no outcome stands below the line as well, and cancels
        gone = {_key(e) for g in groups if g not in kept for member in g for e in member}
        above = self._part(query, facts, kept)
        below, _ = self._factorise(given, opened=facts.opened)
        groups = _linked(below, set(below.summed()))
        rest = [g for g in groups if not all(_key(e) in gone for member in g for e in member)]
        body = quotient(above, self._part(query, below, rest))
        return _Found(body, symbols, facts.opened)

    def _part(
        self,
        query: Query,
        facts: Factorisation,
        groups: Iterable[Iterable[list[CounterfactualVariable]]],
    ) -> Node:
        factors = [self._factor_of(query, facts, member) for group in groups for member in group]
        return sum_over(facts.summed(), product([*factors, *facts.same]))

    def _factorise(
        self, events: Sequence[_Located], opened: Mapping[str, Symbol] | None = None
    ) -> tuple[Factorisation, list[Symbol]]:
        facts = Factorisation(self.graph, self.policies, opened=dict(opened or {}))
        worlds: list[tuple[Event, World]] = [(event, facts.world(do)) for event, do in events]
        symbols = facts.add(worlds)
        return facts, symbols

    def _refuse_impossible(self, query: Query, given: Sequence[_Located]) -> None:
        if self._factorise(given)[0].is_impossible:
            raise ImpossibleEvidenceError(
                f"{query} conditions on what has probability zero in every model of the diagram; "
                "check the given part"
            )

    def _factor_of(
        self, query: Query, facts: Factorisation, member: list[CounterfactualVariable]
    ) -> Node:
        if member[0].policy is not None:
            return Policy(member[0].symbol, member[0].parents)
        return self.factor(query, facts, member)

    def factor(
        self, query: Query, facts: Factorisation, district: list[CounterfactualVariable]
    ) -> Node:
        """Find the c-factor of one district."""
        values = facts.assignment(district)
        if isinstance(values, Conflict):
            raise self._refusal(query, self._witness(query, conflict=values))
        target = 0
        for entry in district:
            target |= 1 << entry.node
        if target not in self._known:
            found = identify_c_factor(self.graph, target, self.sources)
            self._known[target] = found
            if not isinstance(found, list):
                names = self.graph.names_in_order(target)
                self.steps.append(Step("c-factor", names, found[0], self._seen(found[1])))
        found = self._known[target]
        if isinstance(found, list):
            hedges = tuple(self._hedge(stuck) for stuck in found)
            raise self._refusal(query, self._witness(query, hedges))
        body = found[0]
        return substitute(body, {Symbol(name): symbol for name, symbol in values.items()})

    def _hedge(self, stuck: Stuck) -> Hedge:
        names, study = self.graph.names_in_order, stuck.source.named(self.graph)
        return Hedge(self.graph, names(stuck.target), names(stuck.region), study)

    def _witness(
        self, query: Query, hedges: tuple[Hedge, ...] = (), conflict: Conflict | None = None
    ) -> Witness:
        studies = tuple(source.named(self.graph) for source in self.sources)
        name = self.graph.nodes.__getitem__
        planned = {name(x): tuple(map(name, seen)) for x, seen in sorted(self.policies.items())}
        return Witness(query, self.graph, studies, hedges, conflict, planned)

    def _of_contrast(
        self, asked: Query | Contrast, error: NotIdentifiableError
    ) -> NotIdentifiableError:
        """Say of a whole question that one of its parts has no formula."""
        return type(error)(
            f"{asked} has no formula, because a part of it has none: {error}",
            query=asked,
            hedge=replace(error.hedge, query=asked),
        )

    def _refusal(self, query: Query, witness: Witness) -> NotIdentifiableError:
        abroad = any(source.domain for source in self.sources)
        kind = NotTransportableError if abroad else NotIdentifiableError
        remedy = (
            "it needs an assumption on how worlds are coupled, a bound, or another question"
            if witness.conflict
            else "an experiment that sets some of these variables, or a bound, can help"
        )
        plan = f" under a plan for {', '.join(witness.planned)}" if witness.planned else ""
        return kind(
            f"{query}{plan} is not identifiable from the data at hand: {witness}; {remedy}",
            query=query,
            hedge=witness,
        )

    def _seen(self, source: Source) -> ADMG:
        return self.graph.remove_incoming(self.graph.names_in_order(source.do))


@dataclass(frozen=True)
class _Found:
    """A formula, and the symbols in it.

    Attributes:
        body: The formula.
        symbols: Of the outcomes and then of the conditions, in the query's order.
        opened: Of the interventions whose value is open.
    """

    body: Node
    symbols: list[Symbol]
    opened: Mapping[str, Symbol]


def needed_districts(
    graph: ADMG, asked: Query | Contrast, planned: Mapping[str, tuple[str, ...]]
) -> list[tuple[str, ...] | Conflict]:
    """List the districts that a query's formula cannot do without: variables, or a conflict."""
    place = graph._index
    policies = {
        place[name]: tuple(place[other] for other in seen) for name, seen in planned.items()
    }
    search = Search(graph, (), policies)
    found: list[tuple[str, ...] | Conflict] = []
    for _, query in search._distinct(asked.expand(*search._mediators(asked))):
        outcomes, _ = _split_tests(query.worlds)
        events = [*outcomes, *query.worlds.given]
        facts, symbols = search._factorise(_located(events))
        asked_for = symbols[: len(outcomes)]
        for group in _linked(facts, {*facts.summed(), *asked_for}):
            if query.given and _symbols(group).isdisjoint(asked_for):
                continue  # it cancels
            for member in group:
                if member[0].policy is not None:
                    continue  # its law is known
                values = facts.assignment(member)
                names = tuple(dict.fromkeys(graph.nodes[entry.node] for entry in member))
                found.append(values if isinstance(values, Conflict) else names)
    return found


def _split_tests(query: Query) -> tuple[tuple[Event, ...], list[tuple[int, Event]]]:
    """Turn inequalities into open outcomes, each term once, and tests on their symbols."""
    outcomes: list[Event] = []
    tests: list[tuple[int, Event]] = []
    for event in query.outcomes:
        if event.op == "=":
            outcomes.append(event)
            continue
        terms = [other.term for other in outcomes]
        if event.term not in terms:
            outcomes.append(Event(event.term))
            terms.append(event.term)
        tests.append((terms.index(event.term), event))
    return tuple(outcomes), tests


def _with_tests(
    query: Query, body: Node, symbols: Sequence[Symbol], tests: Sequence[tuple[int, Event]]
) -> Node:
    if query.kind == "E":
        return _weighted(body, [symbols[0]], [Level(symbols[0])])
    if not tests:
        return body
    checks = []
    for place, event in tests:
        assert event.value is not None
        checks.append(Test(symbols[place], event.op, event.value))
    return _weighted(body, list(dict.fromkeys(symbols[place] for place, _ in tests)), checks)


def _weighted(body: Node, over: Sequence[Symbol], weights: Sequence[Node]) -> Node:
    """Sum ``weights * body`` with the weights next to the law that they weigh."""
    match body:
        case Sum():
            return sum_over(body.over, _weighted(body.body, over, weights))
        case Quotient() if not body.denominator.free & set(over):
            return Quotient(_weighted(body.numerator, over, weights), body.denominator)
        case Product(factors=factors):
            weighed = [factor for factor in factors if factor.free & set(over)]
            if len(weighed) == 1:
                inner = _weighted(weighed[0], over, weights)
                return product([inner if f is weighed[0] else f for f in factors])
    return sum_over(over, product([*weights, body]))


def _located(events: Iterable[Event]) -> list[_Located]:
    """Pair each event with the interventions of its world."""
    return [(event, event.term.interventions) for event in events]


def _linked(facts: Factorisation, linking: set[Symbol]) -> list[list[list[CounterfactualVariable]]]:
    """Join districts and planned variables that share one of the linking symbols."""
    planned = [[e] for e in facts.variables.values() if e.policy is not None]
    groups: list[tuple[list[list[CounterfactualVariable]], set[Symbol]]] = []
    for member in [*facts.districts(), *planned]:
        members, symbols = [member], _symbols([member]) & linking
        apart = []
        for group in groups:
            if group[1] & symbols:
                members, symbols = group[0] + members, symbols | group[1]
            else:
                apart.append(group)
        groups = [*apart, (members, symbols)]
    return [members for members, _ in groups]


def _key(entry: CounterfactualVariable) -> tuple[int, tuple[Symbol, ...]]:
    return entry.node, entry.parents


def _symbols(group: Iterable[Iterable[CounterfactualVariable]]) -> set[Symbol]:
    return {s for member in group for entry in member for s in (entry.symbol, *entry.parents)}
