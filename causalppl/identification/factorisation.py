"""From a query to counterfactual variables, and from these to the c-factors that it needs.

A variable in a world is determined by the values of its parents in that world, so a counterfactual
variable is stored as the variable together with its parents' symbols. Worlds that do not differ
above a variable then share it without further ado, nested counterfactuals are variables like any
other, and a value that evidence and an intervention agree on makes two worlds one.

References:
    Correa, Lee and Bareinboim (2021), Nested counterfactual identification from arbitrary
    surrogate experiments; Shpitser and Pearl (2007), What counterfactuals can be tested.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from causalppl.exceptions import QueryError
from causalppl.graphs import ADMG
from causalppl.graphs.components import district_masks
from causalppl.graphs.mixed import iterate_bits
from causalppl.identification.expression import Node, Policy, Same, Symbol
from causalppl.queries import Contrast, Event, Intervention, Query, Value
from causalppl.spelling import spelling

__all__ = ["Conflict", "CounterfactualVariable", "Factorisation"]

World: TypeAlias = tuple[tuple[int, "Symbol | World"], ...]


@dataclass(slots=True)
class CounterfactualVariable:
    """A variable, given the values of its parents.

    Attributes:
        node: The variable, as a position in the graph.
        parents: The symbols of its parents, in the graph's order.
        symbol: Its own value.
        is_event: Whether the query names it; else its symbol is summed out.
        policy: The variables that a plan looks at to set it; None if nature sets it.
    """

    node: int
    parents: tuple[Symbol, ...]
    symbol: Symbol
    is_event: bool = False
    policy: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Conflict:
    """A district in which one variable would have to take two values at once.

    Attributes:
        district: Its variables.
        variable: The variable with two values.
        values: The two values.

    Example:
        >>> conflict = Conflict(("X", "Y"), "X", (Symbol("X", 0, 0), Symbol("X", 0, 1)))
        >>> conflict.check()
        True
    """

    district: tuple[str, ...]
    variable: str
    values: tuple[Symbol, Symbol]

    def check(self) -> bool:
        """Confirm that the two values differ and that the variable is the same."""
        first, second = self.values
        return first != second and first.variable == second.variable == self.variable

    def __str__(self) -> str:
        first, second = self.values
        named = f"{first} and {second}"
        return (
            f"the district {{{', '.join(self.district)}}} needs {self.variable} at two values at "
            f"once, {named}; no data shows one unit in two worlds"
        )


@dataclass
class Factorisation:
    """The counterfactual variables that a conjunction of events rests on.

    Attributes:
        graph: A diagram in canonical order.
        policies: For each variable that a plan sets, the variables that the plan looks at.
        variables: The counterfactual variables, by the variable and its parents' symbols.
        same: Values that the query names twice.
        is_impossible: Whether the diagram gives the events probability zero.
        opened: The symbols of interventions whose value is open; those given are taken as known.
    """

    graph: ADMG
    policies: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    variables: dict[tuple[int, tuple[Symbol, ...]], CounterfactualVariable] = field(
        default_factory=dict
    )
    same: list[Node] = field(default_factory=list)
    is_impossible: bool = False
    opened: dict[str, Symbol] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._values: dict[tuple[int, World], Symbol] = {}
        self._primes = {
            self.graph._index[name]: symbol.primes + 1 for name, symbol in self.opened.items()
        }
        self._rank = self._causal_rank()

    def world(self, interventions: Iterable[Intervention]) -> World:
        """Turn a query's interventions into the settings of a world."""
        found: dict[int, Symbol | World] = {}
        for intervention in interventions:
            node = self.graph._index[intervention.name]
            value = intervention.value
            if value is None:
                found[node] = self._open(node)
            elif isinstance(value, (bool, int, float, str)):
                found[node] = Symbol(intervention.name, 0, value)
            else:
                found[node] = self.world(value.interventions)
        return tuple(sorted(found.items(), key=lambda item: item[0]))

    def add(self, events: Iterable[tuple[Event, World]]) -> list[Symbol]:
        """Add events and all that they rest on.

        Returns:
            The symbol of each event, in the order given.
        """
        listed = list(events)
        # what is known first: a variable in two worlds is one where their causes agree
        order = sorted(
            range(len(listed)),
            key=lambda i: (
                self._rank[self.graph._index[listed[i][0].name]],
                listed[i][0].value is None,
            ),
        )
        symbols: dict[int, Symbol] = {}
        for place in order:
            event, world = listed[place]
            symbols[place] = self._event(self.graph._index[event.name], world, event.value)
        return [symbols[place] for place in range(len(listed))]

    def _event(self, node: int, world: World, value: Value | None) -> Symbol:
        entry = self._entry(node, world)
        if entry.is_event:
            return self._agree(entry.symbol, node, value)
        entry.is_event = True
        if value is not None:
            entry.symbol = Symbol(self.graph.nodes[node], 0, value)
        self._values[node, world] = entry.symbol
        return entry.symbol

    def _agree(self, known: Symbol, node: int, value: Value | None) -> Symbol:
        """Name a value that the query has named before."""
        name = self.graph.nodes[node]
        if value is not None and known.value is not None:
            # axiom of effectiveness: a variable takes the value that it is set to
            self.is_impossible |= value != known.value
            return known
        second = Symbol(name, 0, value) if value is not None else self._next(node)
        self.same.append(Same(known, second))
        return second

    def variable(
        self, name: str, interventions: Iterable[Intervention]
    ) -> tuple[int, tuple[Symbol, ...]]:
        """Name a counterfactual variable by what determines it; equal names are one variable."""
        node = self.graph._index[name]
        return node, self._entry(node, self.world(interventions)).parents

    def value(self, node: int, world: World) -> Symbol:
        """Find the symbol of a variable in a world, adding the variable if it is new."""
        key = node, world
        if key not in self._values:
            self._fill(node, world)
        return self._values[key]

    def _fill(self, last: int, world: World) -> None:
        """Compute symbols upwards from the causes, which come first in the order."""
        settings = dict(world)
        needed = frontier = 1 << last
        while frontier:
            low = frontier & -frontier
            frontier ^= low
            node = low.bit_length() - 1
            if node not in settings:
                new = self._inputs_mask(node) & ~needed
                needed |= new
                frontier |= new
        for node in sorted(iterate_bits(needed), key=self._rank.__getitem__):
            if (node, world) in self._values:
                continue
            set_to = settings.get(node)
            if isinstance(set_to, Symbol):
                self._values[node, world] = set_to
            elif set_to is not None:
                self._values[node, world] = self.value(node, set_to)
            else:
                self._values[node, world] = self._entry(node, world).symbol

    def _entry(self, node: int, world: World) -> CounterfactualVariable:
        inputs = self.policies.get(node)
        above = iterate_bits(self.graph.parent_masks[node]) if inputs is None else inputs
        parents = tuple(self.value(parent, world) for parent in above)
        key = node, parents
        if key not in self.variables:
            self.variables[key] = CounterfactualVariable(
                node, parents, self._next(node), policy=inputs
            )
        return self.variables[key]

    def _causal_rank(self) -> Sequence[int]:
        """Order the variables so that causes come first where plans have replaced mechanisms."""
        count = len(self.graph.nodes)
        if not self.policies:
            return range(count)
        inputs = tuple(self._inputs_mask(node) for node in range(count))
        planned = ADMG._from_masks(self.graph.nodes, inputs, (0,) * count)
        rank = [0] * count
        for place, node in enumerate(planned._topological_indices):
            rank[node] = place
        return rank

    def _inputs_mask(self, node: int) -> int:
        inputs = self.policies.get(node)
        if inputs is None:
            return self.graph.parent_masks[node]
        return sum(1 << other for other in inputs)

    def _next(self, node: int) -> Symbol:
        count = self._primes.get(node, 0)
        self._primes[node] = count + 1
        return Symbol(self.graph.nodes[node], count)

    def _open(self, node: int) -> Symbol:
        name = self.graph.nodes[node]
        if name not in self.opened:
            self.opened[name] = self._next(node)
        return self.opened[name]

    def districts(self) -> list[list[CounterfactualVariable]]:
        """Group the variables that nature sets by the latent causes that they share."""
        entries = [entry for entry in self.variables.values() if entry.policy is None]
        entries.sort(key=lambda entry: entry.node)
        present = 0
        for entry in entries:
            present |= 1 << entry.node
        groups = district_masks(self.graph.sibling_masks, present)
        return [[e for e in entries if group >> e.node & 1] for group in groups]

    def policy_factors(self) -> list[Node]:
        """Write the laws of the variables that a plan sets."""
        entries = (entry for entry in self.variables.values() if entry.policy is not None)
        return [Policy(entry.symbol, entry.parents) for entry in entries]

    def summed(self) -> list[Symbol]:
        """List the symbols that the query does not name."""
        entries = sorted(self.variables.values(), key=lambda entry: entry.node)
        return [entry.symbol for entry in entries if not entry.is_event]

    def assignment(self, district: list[CounterfactualVariable]) -> dict[str, Symbol] | Conflict:
        """Give each variable of a district and each parent its one value, if there is one."""
        found: dict[str, Symbol] = {}
        names = tuple(dict.fromkeys(self.graph.nodes[entry.node] for entry in district))
        for entry in district:
            parents = iterate_bits(self.graph.parent_masks[entry.node])
            used = [(self.graph.nodes[entry.node], entry.symbol)]
            used += [(self.graph.nodes[p], s) for p, s in zip(parents, entry.parents, strict=True)]
            for name, symbol in used:
                if found.setdefault(name, symbol) != symbol:
                    return Conflict(names, name, (found[name], symbol))
        return found


def check_names(graph: ADMG, query: Query | Contrast, names: Iterable[str]) -> None:
    """Refuse variables that the diagram lacks."""
    if unknown := sorted(set(names) - set(graph.nodes)):
        raise QueryError(
            f"unknown variable {unknown[0]!r} in {query}; the diagram has "
            f"{', '.join(graph.nodes)}{spelling(unknown[0], graph.nodes)}"
        )
