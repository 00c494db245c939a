"""Building formulas so that they come out short: identities that hold without any diagram.

The functions here are the only way in which the package puts nodes together, so that a formula is
simple by construction and is never rewritten as text.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

from causalppl.identification.expression import (
    Node,
    Pin,
    Policy,
    Probability,
    Product,
    Quotient,
    Same,
    Sum,
    Symbol,
    Symbols,
    Zero,
    fresh,
    rebuild,
    substitute,
)

__all__ = ["conditional", "pin", "product", "quotient", "sum_over", "unshadow"]

ONE = Product(())


def product(factors: Iterable[Node]) -> Node:
    """Multiply; nested products are opened and repeated chain-rule steps are joined."""
    flat: list[Node] = []
    for factor in factors:
        flat.extend(factor.factors if isinstance(factor, Product) else (factor,))
    if any(isinstance(factor, Zero) for factor in flat):
        return Zero()
    flat = _telescoped(_chained(flat))
    return flat[0] if len(flat) == 1 else Product(tuple(flat))


def sum_over(symbols: Iterable[Symbol], body: Node) -> Node:
    """Sum out symbols, each as deep inside the product as it goes.

    A symbol whose conditional law is the only factor that names it disappears, and a probability
    over a symbol that is summed out becomes the probability of the rest.
    """
    over = list(symbols)
    if isinstance(body, Zero):
        return body
    while isinstance(body, Sum) and not set(over) & set(body.over):
        over, body = [*over, *body.over], body.body
    factors = list(body.factors) if isinstance(body, Product) else [body]
    factors, over = _marginalised(factors, over)
    factors, over = _pushed(factors, over)
    parts: list[Node] = []
    for group, bound in _connected(factors, over):
        inner = product(group)
        if not bound:
            parts.append(inner)
        elif isinstance(inner, Sum):
            parts.append(Sum((*bound, *inner.over), inner.body))
        else:
            parts.append(Sum(tuple(bound), inner))
    return product(parts)


def _pushed(factors: list[Node], over: list[Symbol]) -> tuple[list[Node], list[Symbol]]:
    """Move a symbol that only one inner sum names into that sum."""
    if len(factors) == 1 or not any(isinstance(factor, Sum) for factor in factors):
        return factors, over
    for symbol in list(over):
        using = [place for place, factor in enumerate(factors) if symbol in factor.free]
        if len(using) == 1 and isinstance(factors[using[0]], Sum):
            factors[using[0]] = sum_over([symbol], factors[using[0]])
            over = [other for other in over if other != symbol]
    return factors, over


def quotient(numerator: Node, denominator: Node) -> Node:
    """Divide; factors that both have are cancelled."""
    above = list(numerator.factors) if isinstance(numerator, Product) else [numerator]
    below = list(denominator.factors) if isinstance(denominator, Product) else [denominator]
    for factor in list(above):
        same = next((other for other in below if other is factor or _equal(other, factor)), None)
        if same is not None:
            above.remove(factor)
            below.remove(same)
    if not below:
        return product(above)
    over, under = product(above), product(below)
    return _divided_inside(over, under) or Quotient(over, under)


def conditional(body: Node, outcomes: Sequence[Symbol]) -> Node:
    """Normalise over the outcomes: ``body / sum_outcomes body``, without what cancels."""
    factors = list(body.factors) if isinstance(body, Product) else [body]
    kept: list[Node] = []
    for group, bound in _connected(factors, list(outcomes)):
        if bound:
            inner = product(group)
            kept.append(quotient(inner, sum_over(bound, inner)))
    return product(kept)


def pin(symbols: Iterable[Symbol], body: Node) -> Node:
    """Take the body at any value of the symbols that it names."""
    over = tuple(symbol for symbol in symbols if symbol in body.free)
    return Pin(over, body) if over else body


def unshadow(root: Node, taken: Iterable[Symbol]) -> Node:
    """Rename bound symbols until each differs from all symbols that can be seen where it is bound.

    Args:
        root: A formula.
        taken: Symbols that the query itself uses.
    """
    return _Unshadowing().run(root, frozenset(taken))


class _Unshadowing:
    """One pass over a formula; what has been renamed in a scope is shared."""

    def __init__(self) -> None:
        self._kept: list[Node] = []  # alive, so that an id names one node
        self._done: dict[tuple[int, Symbols], Node] = {}
        self._bound: dict[int, Symbols] = {}

    def run(self, node: Node, scope: Symbols) -> Node:
        bound = self._bound_in(node)
        if not bound:
            return node
        scope = scope & {symbol for symbol in scope if symbol.variable in self._variables(bound)}
        key = id(node), scope
        if key not in self._done:
            self._kept.append(node)
            self._done[key] = self._renamed(node, scope)
        return self._done[key]

    def _renamed(self, node: Node, scope: Symbols) -> Node:
        if not isinstance(node, Sum | Pin):
            parts = tuple(self.run(part, scope) for part in node.parts)
            same = all(new is old for new, old in zip(parts, node.parts, strict=True))
            return node if same else rebuild(node, parts, {})
        seen, change = scope | node.free, dict[Symbol, Symbol]()
        for symbol in node.over:
            change[symbol] = fresh(symbol, seen)
            seen = seen | {change[symbol]}
        body = self.run(substitute(node.body, change), seen)
        if body is node.body:
            return node
        return rebuild(node, (body,), change)

    def _bound_in(self, node: Node) -> Symbols:
        if id(node) not in self._bound:
            own = frozenset(node.over) if isinstance(node, Sum | Pin) else frozenset[Symbol]()
            self._kept.append(node)
            self._bound[id(node)] = own.union(*(self._bound_in(part) for part in node.parts))
        return self._bound[id(node)]

    @staticmethod
    def _variables(symbols: Symbols) -> set[str]:
        return {symbol.variable for symbol in symbols}


def _connected(
    factors: Sequence[Node], over: Sequence[Symbol]
) -> list[tuple[list[Node], list[Symbol]]]:
    """Group factors that share a symbol of ``over``; groups and members keep their order."""
    groups: list[tuple[list[int], set[Symbol]]] = []
    asked = frozenset(over)
    for place, factor in enumerate(factors):
        members, symbols = [place], set(factor.free & asked)
        apart = []
        for group in groups:
            if symbols and group[1] & symbols:
                members, symbols = group[0] + members, symbols | group[1]
            else:
                apart.append(group)
        groups = [*apart, (members, symbols)]
    groups.sort(key=lambda group: min(group[0]))
    return [
        ([factors[i] for i in sorted(members)], [s for s in over if s in symbols])
        for members, symbols in groups
    ]


def _marginalised(factors: list[Node], over: list[Symbol]) -> tuple[list[Node], list[Symbol]]:
    """Sum out, without a sum, the symbols for which a probability of the rest is at hand."""
    changed = True
    while changed:
        changed = False
        for symbol in reversed(over):
            using = [factor for factor in factors if symbol in factor.free]
            rest = _without(symbol, using)
            if rest is None:
                continue
            place = factors.index(using[-1])
            factors[place : place + 1] = rest
            factors = [factor for factor in factors if factor not in using]
            over = [other for other in over if other != symbol]
            changed = True
    return factors, over


def _without(symbol: Symbol, using: Sequence[Node]) -> list[Node] | None:
    """Sum a symbol out of the factors that name it, if they are one law of it."""
    merged = using[0] if len(using) == 1 else _joined_pair(*using) if len(using) == 2 else None
    if isinstance(merged, Policy) and merged.outcome == symbol:
        return []
    if isinstance(merged, Pin) and isinstance(merged.body, Probability):
        inner = _without(symbol, [merged.body])
        return None if inner is None else [pin(merged.over, law) for law in inner]
    if isinstance(merged, Same) and merged.first != merged.second:
        return []
    if not isinstance(merged, Probability) or symbol not in merged.outcomes:
        return None
    rest = tuple(other for other in merged.outcomes if other != symbol)
    return [Probability(rest, merged.given, merged.do, merged.domain)] if rest else []


class _Ends(NamedTuple):
    """What a probability must share with another one to be joined to it."""

    whole: Hashable
    given: Hashable

    @classmethod
    def of(cls, law: Probability) -> "_Ends":
        source = law.domain, law.do
        given = frozenset(law.given)
        return cls((source, given.union(law.outcomes)), (source, given))


def _chained(factors: list[Node]) -> list[Node]:
    """Join ``P(a | b, c) P(b | c)`` to ``P(a, b | c)`` as long as there is such a pair."""
    if sum(isinstance(factor, Probability) for factor in factors) < 2:
        return factors
    kept: dict[int, Node] = dict(enumerate(factors))
    ends = {i: _Ends.of(law) for i, law in kept.items() if isinstance(law, Probability)}
    by_whole, by_given = defaultdict[Hashable, set[int]](set), defaultdict[Hashable, set[int]](set)
    for place, end in ends.items():
        by_whole[end.whole].add(place)
        by_given[end.given].add(place)
    waiting = list(reversed(ends))
    while waiting:
        place = waiting.pop()
        if place not in ends:
            continue
        for other in sorted(by_whole[ends[place].given] | by_given[ends[place].whole]):
            merged = _joined_pair(kept[place], kept[other])
            if merged is None:
                continue
            for gone in (place, other):
                end = ends.pop(gone)
                by_whole[end.whole].remove(gone)
                by_given[end.given].remove(gone)
            del kept[min(place, other)]
            place = max(place, other)
            kept[place], ends[place] = merged, _Ends.of(merged)
            by_whole[ends[place].whole].add(place)
            by_given[ends[place].given].add(place)
            waiting.append(place)
            break
    return list(kept.values())


def _telescoped(factors: list[Node]) -> list[Node]:
    """Join ``(a / b) (c / a)`` to ``c / b``; the parts must be one node, not only equal."""
    kept: dict[int, Node] = dict(enumerate(factors))
    below = {id(f.denominator): i for i, f in kept.items() if isinstance(f, Quotient)}
    for place in list(kept):
        first = kept[place]
        other = below.get(id(first.numerator), place) if isinstance(first, Quotient) else place
        second = kept.get(other)
        if other == place or not isinstance(first, Quotient) or not isinstance(second, Quotient):
            continue
        del kept[place]
        kept[other] = quotient(second.numerator, first.denominator)
        below[id(first.denominator)] = other
    return list(kept.values())


def _joined_pair(first: Node, second: Node) -> Probability | None:
    if not (isinstance(first, Probability) and isinstance(second, Probability)):
        return None
    if (first.domain, first.do) != (second.domain, second.do):
        return None
    for late, early in ((second, first), (first, second)):
        if set(late.given) == {*early.outcomes, *early.given}:
            if set(late.outcomes) & {*early.outcomes, *early.given}:
                continue
            return Probability(
                (*early.outcomes, *late.outcomes), early.given, early.do, early.domain
            )
    return None


def _divided_inside(over: Node, under: Node) -> Node | None:
    """Divide by one probability where a factor of the numerator has it, inside sums too."""
    if not isinstance(under, Probability):
        return None
    if isinstance(over, Probability):
        return _divided(over, under)
    if isinstance(over, Product):
        for place, factor in enumerate(over.factors):
            rest = _divided_inside(factor, under)
            if rest is not None:
                return product([*over.factors[:place], rest, *over.factors[place + 1 :]])
    if isinstance(over, Sum) and not under.free & set(over.over):
        inner = _divided_inside(over.body, under)
        return None if inner is None else sum_over(over.over, inner)
    return None


def _divided(over: Probability, under: Probability) -> Probability | None:
    """``P(a, b | c) / P(b | c)`` is ``P(a | b, c)``."""
    if (over.domain, over.do) != (under.domain, under.do) or set(over.given) != set(under.given):
        return None
    below = set(under.outcomes)
    if not below < set(over.outcomes):
        return None
    rest = tuple(symbol for symbol in over.outcomes if symbol not in below)
    given = (*over.given, *(symbol for symbol in under.outcomes))
    return Probability(rest, given, over.do, over.domain)


def _equal(first: Node, second: Node) -> bool:
    leaf = isinstance(first, Probability) and isinstance(second, Probability)
    return leaf and first == second
