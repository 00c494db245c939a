"""Formulas as nested expectations: which law is averaged over, of what, in which order.

A sum of products of laws is worked off from the inside: a law whose outcomes no other law looks at
is the innermost, and what hangs on these outcomes is averaged over it. ``sum_{C, M} P(C)
P(M | C, X=0) E[Y | C, M, X=1]`` becomes ``E[E[E[Y | C, M, X=1] | C, X=0]]``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from causalppl.exceptions import AssumptionError
from causalppl.identification.expression import (
    Combination,
    Level,
    Node,
    Pin,
    Probability,
    Product,
    Quotient,
    Same,
    Sum,
    Symbol,
    Test,
    Zero,
)
from causalppl.identification.rendering import to_text

__all__ = [
    "Expectation",
    "Formula",
    "Leaf",
    "Linear",
    "Pinned",
    "Ratio",
    "Times",
    "compile_formula",
    "inner_parts",
]

Symbols: TypeAlias = frozenset[Symbol]


@dataclass(frozen=True, eq=False)
class Leaf:
    """The number of a symbol, or whether a comparison holds."""

    node: Level | Test | Same

    @property
    def free(self) -> Symbols:
        """The symbols on which it depends."""
        return self.node.free


@dataclass(frozen=True, eq=False)
class Expectation:
    """``E[1(outcomes that are not averaged over) * payload | given]``.

    Attributes:
        law: The law.
        averaged: Its outcomes that are averaged over.
        payload: What is averaged; its product.
    """

    law: Probability
    averaged: Symbols
    payload: tuple["Formula", ...]

    @property
    def given(self) -> Symbols:
        """The open values that are given."""
        return frozenset(symbol for symbol in self.law.given if symbol.value is None)

    @property
    def parameters(self) -> Symbols:
        """The open values, other than those given, on which it depends."""
        kept = frozenset(s for s in self.law.outcomes if s.value is None) - self.averaged
        return (kept | _free(self.payload)) - self.averaged - self.given

    @property
    def free(self) -> Symbols:
        """The symbols on which it depends."""
        return self.given | self.parameters


@dataclass(frozen=True, eq=False)
class Ratio:
    """One formula over another."""

    numerator: "Formula"
    denominator: "Formula"

    @property
    def free(self) -> Symbols:
        """The symbols on which it depends."""
        return self.numerator.free | self.denominator.free


@dataclass(frozen=True, eq=False)
class Pinned:
    """A ratio that is the same at all values of some symbols."""

    over: tuple[Symbol, ...]
    body: Ratio

    @property
    def free(self) -> Symbols:
        """The symbols on which it depends."""
        return self.body.free.difference(self.over)


@dataclass(frozen=True, eq=False)
class Times:
    """A product; of nothing, 1."""

    parts: tuple["Formula", ...]

    @property
    def free(self) -> Symbols:
        """The symbols on which it depends."""
        return _free(self.parts)


@dataclass(frozen=True, eq=False)
class Linear:
    """A weighted sum."""

    weights: tuple[float, ...]
    parts: tuple["Formula", ...]

    @property
    def free(self) -> Symbols:
        """The symbols on which it depends."""
        return _free(self.parts)


Formula: TypeAlias = Leaf | Expectation | Ratio | Pinned | Times | Linear
Part: TypeAlias = Node | Formula


def inner_parts(formula: Formula) -> tuple[Formula, ...]:
    """List the formulas that a formula is made of."""
    match formula:
        case Expectation(payload=parts) | Times(parts=parts) | Linear(parts=parts):
            return parts
        case Ratio(numerator=numerator, denominator=denominator):
            return numerator, denominator
        case Pinned(body=body):
            return (body,)
        case Leaf():
            return ()


def _free(parts: Iterable[Part]) -> Symbols:
    return frozenset[Symbol]().union(*(part.free for part in parts))


def compile_formula(node: Node, discrete: frozenset[str]) -> Formula:
    """Write a formula as nested expectations.

    Args:
        node: The formula.
        discrete: The variables with few values; others are numbers.

    Raises:
        AssumptionError: A part of it is no expectation; the message names it.

    Example:
        >>> from causalppl.graphs import back_door
        >>> from causalppl.identification import identify
        >>> found = compile_formula(identify(back_door(), "E[Y | do(X=1)]").body, frozenset("X"))
        >>> str(found.law.outcomes[0]), str(found.payload[0].law.outcomes[0])
        ('Z', 'Y')
    """
    return _Compiler(discrete).integrate(frozenset(), (node,))


@dataclass(frozen=True)
class _Compiler:
    discrete: frozenset[str]

    def integrate(self, over: Symbols, parts: Sequence[Part]) -> Formula:
        """Sum the product of parts over symbols."""
        over, flat = _flattened(over, parts)
        for place, part in enumerate(flat):
            rest = (*flat[:place], *flat[place + 1 :])
            if isinstance(part, Combination):
                terms = tuple(self.integrate(over, (*rest, term)) for term in part.terms)
                return Linear(part.weights, terms)
            if isinstance(part, Quotient | Pin):
                return self._divide(over, part, rest)
        laws = [part for part in flat if isinstance(part, Probability)]
        others = [part for part in flat if not isinstance(part, Probability)]
        return self._nest(over, laws, [_as_formula(part) for part in others])

    def _divide(self, over: Symbols, part: Quotient | Pin, rest: Sequence[Part]) -> Formula:
        """Draw into the numerator what the denominator does not depend on."""
        quotient = part.body if isinstance(part, Pin) else part
        if not isinstance(quotient, Quotient):
            raise AssumptionError(
                f"{to_text(part)} is the same at all values of some variables, but is no ratio; "
                "expected one"
            )
        inner = (over & quotient.numerator.free) - quotient.denominator.free
        drawn = [each for each in rest if each.free & inner]
        ratio: Formula = Ratio(
            self.integrate(inner, (*drawn, quotient.numerator)),
            self.integrate(frozenset(), (quotient.denominator,)),
        )
        if isinstance(part, Pin):
            assert isinstance(ratio, Ratio)
            ratio = Pinned(part.over, ratio)
        return self.integrate(over - inner, (*(e for e in rest if e not in drawn), ratio))

    def _nest(self, over: Symbols, laws: list[Probability], payload: list[Formula]) -> Formula:
        """Average over the innermost law, again and again."""
        kept = [law for law in laws if not over.intersection(law.outcomes)]
        payload += [self._checked(Expectation(law, frozenset(), ())) for law in kept]
        laws = [law for law in laws if law not in kept]
        while over:
            law = self._innermost(over, laws, payload)
            laws = [each for each in laws if each is not law]
            averaged = over.intersection(law.outcomes)
            over -= averaged
            used = tuple(part for part in payload if part.free & averaged)
            payload = [part for part in payload if not part.free & averaged]
            if used or len(averaged) < len(law.outcomes):
                payload.append(self._checked(Expectation(law, averaged, used)))
        return payload[0] if len(payload) == 1 else Times(tuple(payload))

    def _innermost(
        self, over: Symbols, laws: list[Probability], payload: list[Formula]
    ) -> Probability:
        ready: list[tuple[int, int, Probability]] = []
        for place, law in enumerate(laws):
            own = over.intersection(law.outcomes)
            if own and not any(own & other.free for other in laws if other is not law):
                step = Expectation(law, own, tuple(p for p in payload if p.free & own))
                ready.append((len(step.parameters), place, law))
        if not ready:
            listed = ", ".join(map(str, sorted(over)))
            around = to_text(Product(tuple(laws)))
            raise AssumptionError(
                f"the sum over {listed} of {around} is no nested expectation; expected each of "
                "them to follow one law, and no two laws to look at each other's outcomes"
            )
        return min(ready, key=lambda found: found[:2])[2]

    def _checked(self, step: Expectation) -> Expectation:
        law = step.law
        if law.do or law.domain is not None:
            raise AssumptionError(f"{to_text(law)} is a law of other data than those observed")
        kept = [s for s in law.outcomes if s not in step.averaged]
        if dense := [s for s in kept if s.variable not in self.discrete]:
            raise AssumptionError(
                f"{to_text(law)} is needed at values of {dense[0]}, a number with many values; "
                "expected a formula that averages over it"
            )
        wanted = [s for s in step.parameters if s.variable not in self.discrete]
        features = step.given or [s for s in law.given if s.variable not in self.discrete]
        if wanted and features:
            raise AssumptionError(
                f"the average over {to_text(law)} would be needed at each value of "
                f"{min(wanted)}, a number with many values; expected few"
            )
        return step


def _flattened(over: Symbols, parts: Sequence[Part]) -> tuple[Symbols, tuple[Part, ...]]:
    """Draw products and sums out."""
    todo = list(parts)
    flat: list[Part] = []
    while todo:
        part = todo.pop(0)
        if isinstance(part, Product):
            todo[:0] = part.factors
        elif isinstance(part, Sum):
            if clash := over.intersection(part.over) | _free((*flat, *todo)).intersection(
                part.over
            ):
                raise AssumptionError(f"{to_text(part)} uses {min(clash)} for two values")
            over |= frozenset(part.over)
            todo.insert(0, part.body)
        else:
            flat.append(part)
    return over, tuple(flat)


def _as_formula(part: Part) -> Formula:
    if isinstance(part, Level | Test | Same):
        return Leaf(part)
    if isinstance(part, Zero):
        return Linear((), ())
    if isinstance(part, Node):
        raise AssumptionError(f"{to_text(part)} is a {part.kind}, which no regression gives")
    return part
