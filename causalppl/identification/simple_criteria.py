"""Criteria that give short formulas where they apply; the complete algorithm comes after them."""

from collections.abc import Sequence
from dataclasses import dataclass

from causalppl.graphs import ADMG, is_separated
from causalppl.graphs.mixed import closure, iterate_bits
from causalppl.identification.adjustment import find_adjustment_set
from causalppl.identification.estimand import Step
from causalppl.identification.expression import Node, Probability, Sum, Symbol
from causalppl.identification.simplify import product
from causalppl.queries import Event, Intervention

__all__ = ["SimpleFormula", "simple_formula"]


@dataclass(frozen=True)
class SimpleFormula:
    """A formula by one rule, and the symbols of the outcomes in it."""

    body: Node
    symbols: tuple[Symbol, ...]
    step: Step


def simple_formula(
    graph: ADMG,
    outcomes: Sequence[Event],
    given: Sequence[Event],
    do: Sequence[Intervention],
) -> SimpleFormula | None:
    """Try rule 2 of the do-calculus, then back-door adjustment; None if neither applies.

    Args:
        graph: A diagram in canonical order.
        outcomes: What is asked; equalities and open values.
        given: What is conditioned on.
        do: What is set in the world of all these events.

    References:
        Pearl (2009), theorem 3.4.1; Shpitser, VanderWeele and Robins (2010).
    """
    if not _is_flat(do):
        return None
    y, z = _mask(graph, outcomes), _mask(graph, given)
    setting = {i.name: Symbol(i.name, 0, i.value) for i in do}  # type: ignore[arg-type]
    x = _relevant(graph, graph.mask(setting), y | z)
    asked = tuple(Symbol(event.name, 0, event.value) for event in outcomes)
    known = tuple(Symbol(event.name, 0, event.value) for event in given)
    causes = tuple(setting[graph.nodes[i]] for i in iterate_bits(x))
    conditions = (*causes, *known)
    names = graph.names
    if not x or is_separated(graph.remove_outgoing(names(x)), names(x), names(y), names(z)):
        body: Node = Probability(asked, conditions)
        rule = "rule 2" if x else "no cause of the outcome is set"
        return SimpleFormula(body, asked, Step(rule, (), body, graph))
    if z:
        return None
    covariates = find_adjustment_set(graph, names(x), names(y))
    if covariates is None:
        return None
    listed = graph.in_order(covariates)
    over = tuple(map(Symbol, listed))
    law = Probability(asked, (*causes, *over))
    body = Sum(over, product([law, Probability(over)])) if over else law
    return SimpleFormula(body, asked, Step("back-door adjustment for", listed, body, graph))


def _is_flat(do: Sequence[Intervention]) -> bool:
    return all(i.value is None or isinstance(i.value, (bool, int, float, str)) for i in do)


def _mask(graph: ADMG, events: Sequence[Event]) -> int:
    return graph.mask([event.name for event in events])


def _relevant(graph: ADMG, x: int, y: int) -> int:
    """Keep what still affects the outcomes when all of ``x`` is set (rule 3)."""
    parents = [0 if x >> i & 1 else mask for i, mask in enumerate(graph.parent_masks)]
    return x & closure(y, parents)
