"""Markov properties: short lists of independences from which the others follow, and dormant ones.

All lists are made in the canonical order of the diagram (causes first, ties by name), so that
equal diagrams give equal lists, however they were written down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from causalppl.graphs.components import district_masks
from causalppl.graphs.mixed import closure, iterate_bits, union
from causalppl.graphs.separation import Independence, find_minimal_separator, is_separable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from causalppl.graphs.admg import ADMG


def markov_basis(graph: ADMG) -> tuple[Independence, ...]:
    """List one independence for each pair of nodes that some set separates.

    The separator is minimal and lies as near as possible to the later node; without bidirected
    edges it is a part of that node's parents. The cost is polynomial. Where pairwise independence
    of parts implies independence of the whole (Gaussian laws, for example) the list is worth as
    much as the local Markov property of a DAG; in general, and with bidirected edges, a diagram
    implies more: see `local_independences` and `dormant_independences`.

    Args:
        graph: Any diagram.

    Returns:
        One per separable pair: ``left`` is the earlier node, ``right`` the later.

    References:
        Pearl (2009), Causality, section 1.2.3; van der Zander and Liskiewicz (2019) for the sets.

    Example:
        >>> from causalppl.graphs import ADMG
        >>> [str(fact) for fact in markov_basis(ADMG.parse("X -> Z -> Y; W -> Y"))]
        ['W _||_ X', 'W _||_ Z', 'X _||_ Y | Z']
    """
    ordered, facts = graph.in_canonical_order(), []
    for later, name in enumerate(ordered.nodes):
        joined = ordered.parent_masks[later] | ordered.sibling_masks[later]
        for other in ordered.names_in_order(((1 << later) - 1) & ~joined):
            separator = find_minimal_separator(ordered, (name,), (other,))
            if separator is not None:
                facts.append(Independence(other, name, ordered.in_order(separator)))
    return tuple(facts)


def local_independences(graph: ADMG) -> Iterator[Independence]:
    """List independences of pairs that together imply every m-separation, for any law.

    For each node and each ancestral set in which it comes last, the node is independent of the
    set given its Markov blanket there. Each such fact is written as a chain of pairs, each given
    the blanket and the pairs before it, which is equivalent (contraction). Nothing is assumed
    about the law: dependences that only show in triples are in the list. Conditioning sets are
    large, so tests need more data than those of `markov_basis`.

    Without bidirected edges there is one pair for each missing edge; with them there can be
    exponentially many in the size of a district, so they are produced one by one.

    Args:
        graph: Any diagram.

    Yields:
        Each independence once; ``right`` is the node, ``left`` comes before it.

    References:
        Richardson (2003), Markov properties for acyclic directed mixed graphs, section 3: the
        ordered local Markov property, over maximal ancestral sets.

    Example:
        >>> from causalppl.graphs import ADMG
        >>> [str(fact) for fact in local_independences(ADMG.parse("A; B; C"))]
        ['A _||_ B', 'A _||_ C', 'B _||_ C | A']
    """
    ordered = graph.in_canonical_order()
    seen = set()
    for node, name in enumerate(ordered.nodes):
        for blanket, rest in _blankets(ordered, node).items():
            given = blanket
            for other in iterate_bits(rest):
                fact = Independence(ordered.nodes[other], name, ordered.names_in_order(given))
                given |= 1 << other
                if fact not in seen:
                    seen.add(fact)
                    yield fact


def _blankets(graph: ADMG, node: int) -> dict[int, int]:
    """For each Markov blanket of a node: the rest of the largest ancestral set that has it."""
    found: dict[int, int] = {}
    pending, known = [(2 << node) - 1], set()
    while pending:
        ancestral = pending.pop()
        if ancestral in known:
            continue
        known.add(ancestral)
        district = closure(1 << node, graph.sibling_masks, ancestral)
        blanket = (district | union(district, graph.parent_masks)) & ~(1 << node)
        rest = ancestral & ~(blanket | 1 << node)
        # the sets with one blanket have a largest one: their union
        found[blanket] = found.get(blanket, 0) | rest
        removable = district & ~graph.ancestor_masks[node]
        pending += [ancestral & ~graph.descendant_masks[i] for i in iterate_bits(removable)]
    return found


# Verma constraints


@dataclass(frozen=True)
class Fixing:
    """One step from a law to the law under an intervention.

    Attributes:
        node: The variable that is set.
        given: Its Markov blanket in the law that the step starts from.
        is_marginal: Whether the variable has no effects left, so that it is summed out instead of
            divided by its conditional law.
    """

    node: str
    given: tuple[str, ...]
    is_marginal: bool


@dataclass(frozen=True)
class DormantIndependence:
    """A Verma constraint: an independence that shows only after an identified intervention.

    Attributes:
        left: The variable that has no influence.
        right: The variable that it has none on.
        variables: What the law must be over, causes first.
        steps: How to get from that law to the kernel; the sets of variables are divided out or
            summed out one after the other.
        kernel: The variables whose law results; ``right`` is one of them.
        arguments: All that the kernel may depend on; ``left`` is not one of them.

    Example:
        >>> from causalppl.graphs import verma
        >>> [str(fact) for fact in dormant_independences(verma())]
        ['A _||_ D | do(C)']
    """

    left: str
    right: str
    variables: tuple[str, ...]
    steps: tuple[Fixing, ...]
    kernel: tuple[str, ...]
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        others = [name for name in self.kernel if name != self.right]
        inside = ", ".join((self.right, *others))
        given = f" | do({', '.join(self.arguments)})" if self.arguments else ""
        return f"{self.left} _||_ {inside}{given}"


def dormant_independences(graph: ADMG) -> tuple[DormantIndependence, ...]:
    """List one Verma constraint for each pair of nodes that has one and no ordinary independence.

    Variables are fixed (set, where that is identified) as long as possible except for the pair;
    if the two are not densely connected in what remains, one of them can be fixed as well, and
    the kernel of the other does not depend on it. The cost is polynomial.

    Args:
        graph: Any diagram.

    Returns:
        The constraints, none for a diagram without bidirected edges.

    References:
        Verma and Pearl (1990), Equivalence and synthesis of causal models; Shpitser and Pearl
        (2008), Dormant independence; Shpitser, Evans and Richardson (2018), Acyclic linear SEMs
        obey the nested Markov property, for densely connected pairs.

    Example:
        >>> from causalppl.graphs import ADMG
        >>> dormant_independences(ADMG.parse("A -> B -> D; B <-> D"))
        ()
    """
    ordered, facts = graph.in_canonical_order(), []
    for later, name in enumerate(ordered.nodes):
        joined = ordered.parent_masks[later] | ordered.sibling_masks[later]
        for earlier in iterate_bits(((1 << later) - 1) & ~joined):
            if not is_separable(ordered, ordered.nodes[earlier], name):
                fact = _find_dormant(ordered, earlier, later)
                facts += [] if fact is None else [fact]
    return tuple(facts)


def _find_dormant(graph: ADMG, earlier: int, later: int) -> DormantIndependence | None:
    """Fix all but the pair, then one of the pair, then all that this sets free."""
    pair = 1 << earlier | 1 << later
    region = union(pair, graph.ancestor_masks)
    random, common = _fix(graph, region, pair)
    if len(district_masks(graph.sibling_masks, random)) == 1:
        return None
    for gone, kept in ((earlier, later), (later, earlier)):
        if not _is_fixable(graph, gone, random):
            continue
        step = _fixing(graph, gone, random, is_marginal=False)
        kernel, rest = _fix(graph, random & ~(1 << gone), 1 << kept)
        arguments = union(kernel, graph.parent_masks) & ~kernel
        if arguments >> gone & 1:
            return None
        names = graph.names_in_order
        sides = graph.nodes[gone], graph.nodes[kept]
        steps = (*common, step, *rest)
        return DormantIndependence(*sides, names(region), steps, names(kernel), names(arguments))
    return None


def _fix(graph: ADMG, random: int, kept: int) -> tuple[int, list[Fixing]]:
    """Fix all that can be but ``kept``, what has no effects left first: that is a mere sum."""
    steps: list[Fixing] = []
    while True:
        free = [i for i in iterate_bits(random & ~kept) if _is_fixable(graph, i, random)]
        if not free:
            return random, steps
        node = min(free, key=lambda i: bool(graph.child_masks[i] & random))
        is_marginal = not graph.child_masks[node] & random
        steps.append(_fixing(graph, node, random, is_marginal=is_marginal))
        random &= ~(1 << node)


def _is_fixable(graph: ADMG, node: int, random: int) -> bool:
    """Say whether nothing in its district is an effect of it, in the part that is not fixed."""
    district = closure(1 << node, graph.sibling_masks, random)
    return closure(1 << node, graph.child_masks, random) & district == 1 << node


def _fixing(graph: ADMG, node: int, random: int, *, is_marginal: bool) -> Fixing:
    district = closure(1 << node, graph.sibling_masks, random)
    blanket = (district | union(district, graph.parent_masks)) & ~(1 << node)
    return Fixing(graph.nodes[node], graph.names_in_order(blanket), is_marginal)
