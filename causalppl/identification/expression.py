"""Formulas over probabilities: immutable expressions that share their parts.

A formula is a directed acyclic graph of nodes, never a tree: a part that is used twice is stored
once, so that the size of a formula is polynomial where its text is not.

==================  =====================================================================
node                meaning
==================  =====================================================================
``Probability``     ``P(outcomes | given, do)`` in one population: what data can supply
``Policy``          the known law of a variable that a plan sets
``Product``         the product of its factors; of none, 1
``Sum``             the sum over all values of some symbols
``Quotient``        numerator over denominator
``Pin``             its body at any value of symbols on which the body does not depend
``Level``           the value of a symbol as a number, for expectations
``Test``            1 where a symbol satisfies a comparison, else 0
``Same``            1 where two symbols are equal, else 0
``Combination``     a weighted sum of formulas
``Zero``            probability zero
==================  =====================================================================

A symbol stands for a value of a variable. Two worlds can give one variable two values, so one
variable can have several symbols, written ``X``, ``X'`` and ``X''``, or a fixed value, ``X=1``.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, TypeAlias

from causalppl.queries import Value
from causalppl.queries.terms import Operator

__all__ = [
    "Combination",
    "Level",
    "Node",
    "Pin",
    "Policy",
    "Probability",
    "Product",
    "Quotient",
    "Same",
    "Sum",
    "Symbol",
    "Test",
    "Zero",
    "substitute",
    "walk",
]


class Symbol(NamedTuple):
    """A value of a variable: an unknown one, or a fixed one.

    Attributes:
        variable: The variable.
        primes: Tells apart several values of one variable in one formula.
        value: The value, when it is fixed; None for an unknown.
    """

    variable: str
    primes: int = 0
    value: Value | None = None

    def __str__(self) -> str:
        from causalppl.identification.rendering import symbol_text

        return symbol_text(self)


Symbols: TypeAlias = frozenset[Symbol]
_NONE: Symbols = frozenset()


def _open(*groups: Iterable[Symbol]) -> Symbols:
    return frozenset(symbol for group in groups for symbol in group if symbol.value is None)


@dataclass(frozen=True, eq=False)
class Node:
    """A part of a formula; ``free`` are the symbols whose values it depends on."""

    free: Symbols = field(init=False, repr=False, compare=False, default=_NONE)
    kind: ClassVar[str]

    def _set_free(self, free: Symbols) -> None:
        object.__setattr__(self, "free", free)

    @property
    def parts(self) -> tuple["Node", ...]:
        """The nodes directly below."""
        return ()


@dataclass(frozen=True)
class Probability(Node):
    """``P(outcomes | given)`` under ``do``, in the population ``domain`` (None: the target)."""

    outcomes: tuple[Symbol, ...]
    given: tuple[Symbol, ...] = ()
    do: tuple[Symbol, ...] = ()
    domain: str | None = None
    kind = "probability"

    def __post_init__(self) -> None:
        self._set_free(_open(self.outcomes, self.given, self.do))


@dataclass(frozen=True)
class Policy(Node):
    """The known law of ``outcome``, set by a plan that looks at ``given``."""

    outcome: Symbol
    given: tuple[Symbol, ...] = ()
    kind = "policy"

    def __post_init__(self) -> None:
        self._set_free(_open((self.outcome,), self.given))


@dataclass(frozen=True, eq=False)
class Product(Node):
    """The product of the factors."""

    factors: tuple[Node, ...]
    kind = "product"

    @property
    def is_one(self) -> bool:
        """Whether there is no factor."""
        return not self.factors

    def __post_init__(self) -> None:
        self._set_free(_NONE.union(*(factor.free for factor in self.factors)))

    @property
    def parts(self) -> tuple[Node, ...]:
        """The factors."""
        return self.factors


@dataclass(frozen=True, eq=False)
class Sum(Node):
    """The sum of the body over all values of the symbols."""

    over: tuple[Symbol, ...]
    body: Node
    kind = "sum"

    def __post_init__(self) -> None:
        self._set_free(self.body.free.difference(self.over))

    @property
    def parts(self) -> tuple[Node, ...]:
        """The body."""
        return (self.body,)


@dataclass(frozen=True, eq=False)
class Quotient(Node):
    """The numerator over the denominator."""

    numerator: Node
    denominator: Node
    kind = "quotient"

    def __post_init__(self) -> None:
        self._set_free(self.numerator.free | self.denominator.free)

    @property
    def parts(self) -> tuple[Node, ...]:
        """Numerator and denominator."""
        return self.numerator, self.denominator


@dataclass(frozen=True, eq=False)
class Pin(Node):
    """The body at any one value of the symbols: the diagram says that it is the same at all.

    That it is the same is a consequence of the diagram that data can refute (a Verma constraint).
    """

    over: tuple[Symbol, ...]
    body: Node
    kind = "pin"

    def __post_init__(self) -> None:
        self._set_free(self.body.free.difference(self.over))

    @property
    def parts(self) -> tuple[Node, ...]:
        """The body."""
        return (self.body,)


@dataclass(frozen=True)
class Level(Node):
    """The value of a symbol, as a number."""

    symbol: Symbol
    kind = "level"

    def __post_init__(self) -> None:
        self._set_free(_open((self.symbol,)))


@dataclass(frozen=True)
class Test(Node):
    """1 where the symbol compares with the bound as said, else 0."""

    __test__ = False  # not a test case, whatever pytest thinks of the name

    symbol: Symbol
    op: Operator
    bound: Value
    kind = "test"

    def __post_init__(self) -> None:
        self._set_free(_open((self.symbol,)))


@dataclass(frozen=True)
class Same(Node):
    """1 where the two symbols have the same value, else 0."""

    first: Symbol
    second: Symbol
    kind = "same"

    def __post_init__(self) -> None:
        self._set_free(_open((self.first, self.second)))


@dataclass(frozen=True, eq=False)
class Combination(Node):
    """The weighted sum of the terms."""

    weights: tuple[float, ...]
    terms: tuple[Node, ...]
    kind = "combination"

    def __post_init__(self) -> None:
        self._set_free(_NONE.union(*(term.free for term in self.terms)))

    @property
    def parts(self) -> tuple[Node, ...]:
        """The terms."""
        return self.terms


@dataclass(frozen=True)
class Zero(Node):
    """Probability zero, by the diagram alone."""

    kind = "zero"


def walk(root: Node) -> Iterator[Node]:
    """Visit every node once, parts before the whole, in a fixed order."""
    seen: set[int] = set()
    stack: list[tuple[Node, bool]] = [(root, False)]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            yield node
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((part, False) for part in reversed(node.parts))


def rebuild(node: Node, parts: tuple[Node, ...], rename: Mapping[Symbol, Symbol]) -> Node:
    """Copy one node with new parts and with its own symbols renamed."""

    def moved(symbols: tuple[Symbol, ...]) -> tuple[Symbol, ...]:
        return tuple(rename.get(symbol, symbol) for symbol in symbols)

    match node:
        case Probability(outcomes=outcomes, given=given, do=do, domain=domain):
            return Probability(moved(outcomes), moved(given), moved(do), domain)
        case Policy(outcome=outcome, given=given):
            return Policy(rename.get(outcome, outcome), moved(given))
        case Product():
            return Product(
                tuple(part for part in parts if not (isinstance(part, Product) and part.is_one))
            )
        case Sum(over=over):
            return Sum(moved(over), parts[0])
        case Quotient():
            return Quotient(*parts)
        case Pin(over=over):
            return Pin(moved(over), parts[0])
        case Level(symbol=symbol):
            return Level(rename.get(symbol, symbol))
        case Test(symbol=symbol, op=op, bound=bound):
            return Test(rename.get(symbol, symbol), op, bound)
        case Same(first=first, second=second):
            one, other = rename.get(first, first), rename.get(second, second)
            if one.value is not None and other.value is not None:
                return Product(()) if one.value == other.value else Zero()
            return Same(one, other)
        case Combination(weights=weights):
            return Combination(weights, parts)
    return node


def substitute(root: Node, rename: Mapping[Symbol, Symbol]) -> Node:
    """Rename the free symbols; bound ones keep out of the way, and parts stay shared.

    A bound symbol that a new one would run into gets primes until it does not.
    """
    known: dict[tuple[int, frozenset[tuple[Symbol, Symbol]]], Node] = {}

    def moved(node: Node, scope: Mapping[Symbol, Symbol]) -> Node:
        scope = {old: scope[old] for old in node.free if scope.get(old, old) != old}
        bound = node.over if isinstance(node, Sum | Pin) else ()
        arriving = set(scope.values())
        if not scope:
            return node
        key = id(node), frozenset(scope.items())
        if key not in known:
            inner = dict(scope)
            for symbol in bound:
                if symbol in arriving:
                    taken = arriving | node.parts[0].free | set(inner.values())
                    inner[symbol] = fresh(symbol, taken)
            parts = tuple(moved(part, inner) for part in node.parts)
            known[key] = rebuild(node, parts, inner)
        return known[key]

    return moved(root, rename)


def fresh(symbol: Symbol, taken: Iterable[Symbol]) -> Symbol:
    """Add primes until the symbol is not among those taken."""
    taken = set(taken)
    candidate = Symbol(symbol.variable, symbol.primes)
    while candidate in taken:
        candidate = Symbol(candidate.variable, candidate.primes + 1)
    return candidate
