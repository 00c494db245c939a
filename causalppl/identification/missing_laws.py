"""The laws of incomplete variables, put together from what is seen.

A law ``P(A | B)`` is sought backwards. A *state* is a law that would do: some nodes open, some
indicators at 1. It is at hand if the indicator of each variable that it names is at 1. One step
takes a state to another from which it follows:

=========== ============================================================= =========================
step        identity                                                      needs
=========== ============================================================= =========================
factor      ``P(S, y, R=1) = P(y | S, R=1) P(S, R=1)``                    the factor seen directly
divide      ``P(S, R=1) = P(S, R=1, R_t=1) / P(R_t=1 | S, R=1)``          the propensity of ``R_t``
add         ``P(S, R=1) = sum_w P(S, w, R=1)``
=========== ============================================================= =========================

Factors alone are ordered factorisation; divisions alone are inverse propensities. A factor is seen
directly if, given the conditions that matter to it, its outcome is separated from the indicators
of all that it names. A propensity that is not may follow from a law with its indicator left open,
in which later indicators have been divided out: sequential fixing. Last, if each indicator is
separated from what it shows by all the rest, the law is one of odds ratios.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import chain, combinations
from typing import TypeAlias

from causalppl.graphs import ADMG, is_separated
from causalppl.graphs.mixed import closure, iterate_bits, union
from causalppl.identification.expression import (
    Node,
    Probability,
    Product,
    Quotient,
    Symbol,
    substitute,
)
from causalppl.identification.simplify import conditional, product, quotient, sum_over

__all__ = ["MissingLaws", "RecoveredLaw"]

_State: TypeAlias = tuple[int, int]
"""Nodes that are open, and indicators that are at 1; as bits."""

_Step: TypeAlias = tuple[str, Node | Symbol]

_COSTS = {"factor": 2, "divide": 3, "add": 2}
_LATER = 12  # a propensity that is not seen directly makes the formula longer by about this


@dataclass(frozen=True)
class RecoveredLaw:
    """A law in terms of what is seen, and the rule that gave it."""

    rule: str
    formula: Node


@dataclass(frozen=True)
class _Goal:
    """``P(free, ones=1 | given, given_ones=1)``, and by which steps it may be reached.

    A propensity may be sought from laws, these from propensities, and so on ``depth`` times.
    """

    free: int
    ones: int = 0
    given: int = 0
    given_ones: int = 0
    depth: int = 0
    kinds: tuple[str, ...] = ("divide",)
    covariates: int = 0


@dataclass
class MissingLaws:
    """The search, with all that it has found so far.

    Attributes:
        graph: The diagram over variables and indicators, in canonical order.
        indicators: Incomplete variable to indicator.
        limit: How many states one search looks at before it gives up.
        tests: How many separations a rule may test for one law (or the cube of the nodes' number).
        most: How many indicators odds ratios are formed of; their number is exponential in it.

    References:
        Mohan, Pearl and Tian (2013), Graphical models for inference with missing data, theorems
        1 and 2; Shpitser, Mohan and Pearl (2015), Missing data as a causal and probabilistic
        problem; Bhattacharya, Nabi, Shpitser and Robins (2020), Identification in missing data
        models represented by directed acyclic graphs; Nabi, Bhattacharya and Shpitser (2020),
        Full law identification in graphical models of missing data (odds ratios).

    Example:
        >>> graph = ADMG.parse("X -> Y; Y -> R_X; X -> R_Y").in_canonical_order()
        >>> laws = MissingLaws(graph, {"X": "R_X", "Y": "R_Y"})
        >>> print(laws.recover(("X", "Y"), ()).rule)
        by inverse propensities
    """

    graph: ADMG
    indicators: Mapping[str, str]
    limit: int = 400
    tests: int = 20_000
    most: int = 4
    _separations: dict[tuple[int, int, int], bool] = field(default_factory=dict, repr=False)
    _boundaries: dict[tuple[int, int], int] = field(default_factory=dict, repr=False)
    _propensities: dict[tuple[int, ...], Node | None] = field(default_factory=dict, repr=False)
    _known: dict[_State, RecoveredLaw | None] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._shown = [0] * len(self.graph)
        for variable, indicator in self.indicators.items():
            place = self.graph.mask(variable).bit_length() - 1
            self._shown[place] = self.graph.mask(indicator)
        self._all_indicators = self.graph.mask(set(self.indicators.values()))
        # indicators are written in the order of what they show
        self._listed = dict.fromkeys(mask for mask in self._shown if mask)
        self._last = self.tests

    def recover(self, outcomes: tuple[str, ...], given: tuple[str, ...]) -> RecoveredLaw | None:
        """Find ``P(outcomes | given)``, at any values, or None if the search ends without it."""
        key = self.graph.mask(outcomes), self.graph.mask(given)
        if key not in self._known:
            self._known[key] = self._recovered(*key)
        return self._known[key]

    def needed(self, variables: int) -> int:
        """Find the indicators of some variables."""
        return union(variables, self._shown)

    def _recovered(self, outcomes: int, given: int) -> RecoveredLaw | None:
        # conditions that do not matter are dropped only where they are in the way
        whole = self._direct(outcomes, given, given, 0)
        short = self._boundary(outcomes, given)
        seen = whole or self._direct(outcomes, short, short, 0)
        if seen is not None:
            return RecoveredLaw("directly", seen)
        for rule, attempt, goal in self._attempts(outcomes, short):
            self._last = len(self._separations) + max(self.tests, len(self.graph) ** 3)
            law = attempt(goal)
            if law is not None:
                asked = self._symbols(outcomes)
                law = sum_over(self._symbols(goal.free & ~(outcomes | short)), law)
                return RecoveredLaw(rule, _normalised(law, asked) if goal.free & short else law)
        return None

    def _attempts(
        self, outcomes: int, given: int
    ) -> Iterator[tuple[str, Callable[[_Goal], Node | None], _Goal]]:
        """List the rules, the one with the shortest formula first, and what to try them on."""
        plain, joint = _Goal(outcomes, given=given), _Goal(outcomes | given)
        masks = self.needed(given)
        goals = [replace(plain, given_ones=masks)] * self._is_separated(outcomes, masks, given)
        goals = list(dict.fromkeys((*goals, joint)))
        wider = [replace(goal, free=free) for goal in goals for free in self._wider(goal)]
        depth = self._all_indicators.bit_count() - 1
        for goal in dict.fromkeys((plain, joint)):
            yield "by ordered factorisation", self._ordered, goal
        for allowed in dict.fromkeys((0, depth)):
            for goal in wider:
                yield "by inverse propensities", self._search, replace(goal, depth=allowed)
            for goal in goals:
                yield "by factors and propensities", self._mixed, replace(goal, depth=allowed)
        for goal in wider:
            yield "by odds ratios", self._by_odds_ratios, goal

    def _ordered(self, goal: _Goal) -> Node | None:
        variables = self._relevant(goal) & ~self._all_indicators
        return self._search(replace(goal, kinds=("factor", "add"), covariates=variables))

    def _mixed(self, goal: _Goal) -> Node | None:
        return self._search(replace(goal, kinds=tuple(_COSTS), covariates=self._relevant(goal)))

    def _wider(self, goal: _Goal) -> tuple[int, ...]:
        """List sets of nodes whose law gives the goal: the goal's own, then with covariates.

        An indicator of which the set has no variable is a covariate like any other.
        """
        own = goal.free | goal.given
        unseen = self._shows(own & self._all_indicators)
        wider = [goal.free]
        for reached in (self._closed(goal), self._relevant(goal)):
            reached &= ~unseen
            wider.append(reached & ~self.needed(reached) & ~goal.given | goal.free)
        return tuple(dict.fromkeys(wider))

    def _relevant(self, goal: _Goal) -> int:
        """Find the ancestors of the goal, of its variables' indicators, of theirs and so on."""
        steps = [a | b for a, b in zip(self.graph.ancestor_masks, self._shown, strict=True)]
        return closure(goal.free | goal.given, steps)

    def _closed(self, goal: _Goal) -> int:
        """Add what the propensities of the goal's variables look at."""
        graph = self.graph
        steps = [
            graph.parent_masks[i] | graph.sibling_masks[i]
            if self._all_indicators >> i & 1
            else shown
            for i, shown in enumerate(self._shown)
        ]
        return closure(goal.free | goal.given, steps)

    # the search

    def _search(self, goal: _Goal) -> Node | None:
        start = goal.free, goal.ones
        best = {start: 0}
        came: dict[_State, tuple[_State, _Step]] = {}
        queue, done = [(0, 0, *start, False)], set[tuple[int, int, bool]]()
        while queue and len(done) < self.limit and len(self._separations) < self._last:
            rank, cost, free, ones, nested = heappop(queue)
            if (free, ones, nested) in done:
                continue
            state = free, ones
            done.add((free, ones, nested))
            law = self._at_hand(state, goal)
            if law is not None:
                return _assembled(law, state, came)
            if goal.depth and "divide" in goal.kinds and not nested:
                heappush(queue, (rank + _LATER, cost, free, ones, True))
            for new, step in self._steps(state, goal, nested=nested):
                total = cost + _COSTS[step[0]] + nested * _LATER
                if total < best.get(new, total + 1):
                    best[new], came[new] = total, (state, step)
                    place = total if "factor" in goal.kinds else self._unmet(new, goal)
                    heappush(queue, (place, total, *new, False))
        return None

    def _at_hand(self, state: _State, goal: _Goal) -> Node | None:
        free, ones = state
        if not free and not ones:
            return product(())
        if self.needed(goal.given) & ~goal.given_ones or self._unmet(state, goal):
            return None
        outcomes = (*self._symbols(free), *self._ones(ones))
        return Probability(outcomes, (*self._symbols(goal.given), *self._ones(goal.given_ones)))

    def _unmet(self, state: _State, goal: _Goal) -> int:
        return (self.needed(state[0]) & ~(state[1] | goal.given_ones)).bit_count()

    def _steps(self, state: _State, goal: _Goal, *, nested: bool) -> Iterator[tuple[_State, _Step]]:
        free, ones = state
        open_, shown = free | goal.given, ones | goal.given_ones
        if "factor" in goal.kinds and not nested:
            for low in _bits(free):
                boundary = self._boundary(low, (open_ | shown) & ~low)
                node = self._direct(low, boundary, open_, shown)
                if node is not None:
                    yield (free & ~low, ones), ("factor", node)
        if "divide" in goal.kinds and not self.needed(goal.given) & ~goal.given_ones:
            for low in _bits(self._all_indicators & ~(open_ | shown)):
                depth = goal.depth if nested else 0
                node = self._propensity(low, open_, shown, depth)
                if node is not None:
                    yield (free, ones | low), ("divide", node)
        for low in _bits(0 if nested else goal.covariates & ~(open_ | shown)):
            yield (free | low, ones), ("add", self._symbols(low)[0])

    # what is seen

    def _direct(
        self, outcomes: int, conditions: int, free: int, ones: int, *, at_one: bool = False
    ) -> Node | None:
        """Write ``P(outcomes | conditions)`` with indicators added, if that changes nothing."""
        free, ones = conditions & free, conditions & ones
        added = self.needed(outcomes | free) & ~ones
        if added & (outcomes | free) or not self._is_separated(outcomes, added, conditions):
            return None
        first = self._ones(outcomes) if at_one else self._symbols(outcomes)
        return Probability(first, (*self._symbols(free), *self._ones(ones | added)))

    def _propensity(self, indicator: int, free: int, ones: int, depth: int) -> Node | None:
        boundary = self._boundary(indicator, free | ones)
        free, ones = boundary & free, boundary & ones
        key = indicator, free, ones, depth
        if key not in self._propensities:
            seen = self._direct(indicator, boundary, free, ones, at_one=True)
            if seen is None and depth:
                seen = self._fixed(indicator, free, ones, depth)
            self._propensities[key] = seen
        return self._propensities[key]

    def _fixed(self, indicator: int, free: int, ones: int, depth: int) -> Node | None:
        """Find a propensity from a law that has the indicator open and later ones divided out."""
        added = self.needed(free) & ~ones
        if added & (free | indicator):
            return None  # self-masking, or a colluder
        harmless = 0
        for low in _bits(added):
            if self._is_separated(indicator, low, free | ones):
                harmless |= low
        hidden = sum(1 << i for i in iterate_bits(free) if self._shown[i] & added & ~harmless)
        goal = _Goal(indicator | hidden, 0, free & ~hidden, ones | harmless, depth - 1)
        (symbol,) = self._symbols(indicator)
        for wider in self._wider(goal):
            law = self._search(replace(goal, free=wider))
            if law is not None:
                body = _normalised(sum_over(self._symbols(wider & ~goal.free), law), (symbol,))
                return substitute(body, {symbol: self._ones(indicator)[0]})
        return None

    # odds ratios

    def _by_odds_ratios(self, goal: _Goal) -> Node | None:
        shown = self.needed(goal.free) & ~goal.given_ones
        if shown.bit_count() > self.most or not self._no_own_cause(goal.free, shown, goal):
            return None
        return sum_over(self._symbols(shown), self._patterns(goal.free, shown, goal))

    def _no_own_cause(self, free: int, shown: int, goal: _Goal) -> bool:
        """Say whether each indicator is separated from what it shows by all the rest."""
        rest = free | shown | goal.given | goal.given_ones
        own = [(low, self._shows(low) & free) for low in _bits(shown)]
        return all(self._is_separated(low, mask, rest & ~(low | mask)) for low, mask in own)

    def _patterns(self, free: int, shown: int, goal: _Goal) -> Node:
        """Write ``P(free, shown)`` with the indicators open: seen rows, weighted by pattern.

        ``P(v, r) = P(v, R=1) prod_M E_M``, with one factor for each set ``M`` of indicators that
        depend on each other. ``E_M`` is 1 unless all of ``M`` are 0, and does not depend on what
        ``M`` shows; so it follows from ``P(v without M's, r_M, others at 1)``, which is seen.
        """
        conditions = (*self._symbols(goal.given), *self._ones(goal.given_ones))
        seen = Probability((*self._symbols(free), *self._ones(shown)), conditions)
        factors: dict[int, Node] = {}
        rest = free | shown | goal.given | goal.given_ones
        sizes = range(1, shown.bit_count() + 1)
        for some in chain.from_iterable(combinations(_bits(shown), size) for size in sizes):
            if any(self._is_separated(a, b, rest & ~(a | b)) for a, b in combinations(some, 2)):
                continue
            group = sum(some)
            hidden = self._shows(group) & free
            smaller = [node for mask, node in factors.items() if mask & group == mask]
            below = sum_over(self._symbols(hidden), product([seen, *smaller]))
            ones = self._ones(shown & ~group)
            outcomes = (*self._symbols(free & ~hidden), *self._symbols(group), *ones)
            factors[group] = quotient(Probability(outcomes, conditions), below)
        return product([seen, *factors.values()])

    def _shows(self, indicators: int) -> int:
        return sum(1 << i for i, mask in enumerate(self._shown) if mask & indicators)

    # separation

    def _boundary(self, outcomes: int, conditions: int) -> int:
        """Find the conditions that matter: the others are separated from the outcomes by them.

        There is one smallest such set, because separation has the intersection property.
        """
        key = outcomes, conditions
        if key not in self._boundaries:
            kept = conditions
            for low in _bits(conditions):
                if self._is_separated(outcomes, low, kept & ~low):
                    kept &= ~low
            self._boundaries[key] = kept
        return self._boundaries[key]

    def _is_separated(self, x: int, y: int, z: int) -> bool:
        key = x, y, z
        if key not in self._separations:
            names = self.graph.names
            self._separations[key] = is_separated(self.graph, names(x), names(y), names(z))
        return self._separations[key]

    def _symbols(self, mask: int) -> tuple[Symbol, ...]:
        names = self.graph.names_in_order(mask & ~self._all_indicators)
        return (*map(Symbol, names), *(Symbol(one.variable) for one in self._ones(mask)))

    def _ones(self, mask: int) -> tuple[Symbol, ...]:
        listed = (low for low in self._listed if low & mask)
        return tuple(Symbol(self.graph.nodes[low.bit_length() - 1], 0, 1) for low in listed)


def _assembled(law: Node, state: _State, came: Mapping[_State, tuple[_State, _Step]]) -> Node:
    """Follow the steps from a law at hand to the goal."""
    above, below = [law], list[Node]()
    while state in came:
        state, (kind, what) = came[state]
        if isinstance(what, Symbol):
            above, below = [sum_over((what,), quotient(product(above), product(below)))], []
        elif kind == "factor":
            above.insert(0, what)
        else:
            below.append(what)
    return quotient(product(above), product(below))


def _bits(mask: int) -> Iterator[int]:
    return (1 << place for place in iterate_bits(mask))


def _normalised(law: Node, outcomes: tuple[Symbol, ...]) -> Node:
    """Condition a law on all but the outcomes; what does not depend on them cancels."""
    if isinstance(law, Quotient):
        asked = set(outcomes)
        sides = (part.factors if isinstance(part, Product) else (part,) for part in law.parts)
        law = quotient(*(product(f for f in side if f.free & asked) for side in sides))
    return conditional(law, outcomes)
