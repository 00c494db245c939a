"""Markov properties: short lists of independences from which the others follow, and dormant ones.

All lists are made in the canonical order of the diagram (causes first, ties by name), so that
equal diagrams give equal lists, however they were written down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.graphs.components import district_masks
from causalppl.graphs.mixed import closure, iterate_bits, union
from causalppl.graphs.separation import (
    Independence,
    find_minimal_separator,
    is_separable,
    is_separated,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from causalppl.graphs.admg import ADMG

Array: TypeAlias = NDArray[Any]
Edge: TypeAlias = tuple[str, str, str]
"""A node, ``"->"`` or ``"<->"``, and a node."""


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


# edges


def edges_of(graph: ADMG) -> tuple[Edge, ...]:
    """List all edges, directed ones first, each as (node, arrow, node), causes first.

    Example:
        >>> from causalppl.graphs import ADMG
        >>> edges_of(ADMG.parse("Y <-> X -> Y"))
        (('X', '->', 'Y'), ('X', '<->', 'Y'))
    """
    ordered = graph.in_canonical_order()
    directed = ((a, "->", b) for a, b in ordered.directed_edges)
    return (*directed, *((a, "<->", b) for a, b in ordered.bidirected_edges))


def explaining_edges(
    graph: ADMG, violated: Sequence[Independence], held: Sequence[Independence] = ()
) -> tuple[tuple[Edge, tuple[Independence, ...], int], ...]:
    """Find the single edges without which violated independences follow, and with which not.

    Args:
        graph: A diagram that implies all the independences.
        violated: Those that data contradict.
        held: Those that they do not.

    Returns:
        Edges that can be added without a cycle; for each, the violated independences that the
        diagram would no longer imply, and how many of those that held it would give up. Those
        that explain most come first, then those that give up least.

    Raises:
        GraphError: An independence names a node that is not in the graph.

    Example:
        >>> from causalppl.graphs import ADMG
        >>> graph = ADMG.parse("Z -> X -> Y")
        >>> [" ".join(edge) for edge, *_ in explaining_edges(graph, markov_basis(graph))]
        ['Z -> Y', 'Z <-> Y', 'X <-> Y']
    """
    ordered, found = graph.in_canonical_order(), []
    for edge in _possible_edges(ordered) if violated else ():
        larger = _changed(ordered, edge)

        def lost(fact: Independence, larger: ADMG = larger) -> bool:
            return not is_separated(larger, (fact.left,), (fact.right,), fact.given)

        explained = tuple(fact for fact in violated if lost(fact))
        if explained:
            found.append((edge, explained, sum(map(lost, held))))
    found.sort(key=lambda entry: (-len(entry[1]), entry[2]))
    return tuple(found)


def independence_without(graph: ADMG, edge: Edge) -> Independence | None:
    """Find the independence that the absence of an edge would imply.

    Args:
        graph: Any diagram.
        edge: One of `edges_of` it.

    Returns:
        The two ends, given a minimal set; None if they could not be separated without it either.

    Raises:
        GraphError: A node is not in the graph.

    Example:
        >>> from causalppl.graphs import ADMG
        >>> graph = ADMG.parse("Z -> X -> Y; Z -> Y")
        >>> print(independence_without(graph, ("Z", "->", "Y")))
        Z _||_ Y | X
    """
    ordered = graph.in_canonical_order()
    smaller = _changed(ordered, edge)
    separator = find_minimal_separator(smaller, (edge[2],), (edge[0],))
    if separator is None:
        return None
    return Independence(edge[0], edge[2], ordered.in_order(separator))


def _possible_edges(graph: ADMG) -> Iterator[Edge]:
    for b, later in enumerate(graph.nodes):
        for a, earlier in enumerate(graph.nodes[:b]):
            if not graph.parent_masks[b] >> a & 1:
                yield earlier, "->", later
                if not graph.ancestor_masks[b] >> a & 1:
                    yield later, "->", earlier
            if not graph.sibling_masks[b] >> a & 1:
                yield earlier, "<->", later


def _changed(graph: ADMG, edge: Edge) -> ADMG:
    """Add an edge, or take it away if it is there."""
    a, b = (graph.mask((end,)).bit_length() - 1 for end in (edge[0], edge[2]))
    parents, siblings = list(graph.parent_masks), list(graph.sibling_masks)
    if edge[1] == "->":
        parents[b] ^= 1 << a
    else:
        siblings[a] ^= 1 << b
        siblings[b] ^= 1 << a
    return graph._from_masks(graph.nodes, parents, siblings)


# Verma constraints


@dataclass(frozen=True)
class Fixing:
    """One step from a law to the law under an intervention.

    Attributes:
        node: The variable that is set.
        given: What its conditional law is given, besides what has been set before.
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

    def contrasts(self, law: Array, weights: Array) -> Array:
        """Compute how the kernel differs between values of ``left``: not at all, if this holds.

        Args:
            law: Joint law, shape ``(*batch, *states)``, an axis for each of ``variables``.
            weights: The law, shape ``states``, with which to average over what is neither an
                argument nor in the kernel.

        Returns:
            Shape ``(*batch, contrasts)``.
        """
        axis = {name: i - len(self.variables) for i, name in enumerate(self.variables)}
        random, kernel = dict.fromkeys(self.variables), law
        for step in self.steps:
            if step.is_marginal:
                kernel = kernel.sum(axis[step.node], keepdims=True)
            else:
                used = (*step.given, step.node)
                joint = kernel.sum(tuple(axis[n] for n in random if n not in used), keepdims=True)
                kernel = kernel / (joint / joint.sum(axis[step.node], keepdims=True))
            del random[step.node]
        kept = (self.left, *self.arguments, *self.kernel)
        others = [n for n in self.variables if n not in kept and kernel.shape[axis[n]] > 1]
        away = tuple(axis[n] for n in self.variables if n not in others)
        over = tuple(axis[n] for n in others)
        kernel = (kernel * weights.sum(away, keepdims=True)).sum(over, keepdims=True)
        lost = [n for n in self.variables if n not in kept]
        batch = law.shape[: law.ndim - len(axis)]
        order = [len(batch) + len(axis) + axis[n] for n in (*kept, *lost)]
        kernel = kernel.transpose(*range(len(batch)), *order)
        sizes = kernel.shape[len(batch) : len(batch) + 1 + len(self.arguments)]
        table = kernel.reshape(*batch, *sizes, -1)
        first = (*[slice(None)] * len(batch), slice(1))
        gaps = table[(*first[:-1], slice(1, None))] - table[first]
        # the last value of the kernel follows from the others
        return np.asarray(gaps[..., :-1].reshape(*batch, -1))

    def wald(self, counts: Array, about: Array | float = 0.0) -> tuple[Array, Array]:
        """Compute how far tables of counts are from the constraint.

        The contrasts are smooth functions of the frequencies, whose covariance is known, so by
        the delta method Wald's statistic has a chi-squared law in the limit. Half a count is
        added to each cell, without which the statistic is too large in small samples.

        Args:
            counts: Shape ``(*batch, *states)``, an axis for each of ``variables``.
            about: What the contrasts are compared with; zero, but for counts that were drawn from
                a law that is not quite constrained.

        Returns:
            The statistic, and its degrees of freedom, each of shape ``batch``.
        """
        size = len(self.variables)
        batch, states = counts.shape[:-size], counts.shape[-size:]
        smoothed = counts + 0.5
        cells = tuple(range(-size, 0))
        weights = smoothed / smoothed.sum(cells, keepdims=True)
        law = weights.reshape(*batch, -1)
        # complex steps give derivatives without rounding, for all cells at once
        steps = law[..., None, :] + 1e-20j * np.eye(law.shape[-1])
        steps = steps.reshape(*batch, -1, *states)
        each = weights.reshape(*batch, 1, *states)
        gaps = self.contrasts(weights, weights) - about
        slopes = self.contrasts(steps, each).imag * 1e20
        mean = law[..., None, :] @ slopes
        covariance = (slopes * law[..., None]).swapaxes(-1, -2) @ slopes
        covariance = covariance - mean.swapaxes(-1, -2) @ mean
        covariance = covariance / counts.sum(cells)[..., None, None]
        values, vectors = np.linalg.eigh(covariance)
        kept = values > 1e-9 * values.max(-1, keepdims=True)
        found = (gaps[..., None, :] @ vectors)[..., 0, :] ** 2 / np.where(kept, values, np.inf)
        return found.sum(-1), kept.sum(-1)


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
        district = closure(1 << gone, graph.sibling_masks, random)
        blanket = (district | union(district, graph.parent_masks)) & random & ~(1 << gone)
        step = Fixing(graph.nodes[gone], graph.names_in_order(blanket), is_marginal=False)
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
    # given all that is no effect of it, not its Markov blanket only: ordinary independences are
    # tested by themselves
    given = random & ~closure(1 << node, graph.child_masks, random)
    return Fixing(graph.nodes[node], graph.names_in_order(given), is_marginal)
