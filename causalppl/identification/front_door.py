"""The front door: mediators that carry all of an effect and are free of its confounding.

Z satisfies the front-door criterion for the effect of X on Y if

1. Z meets every directed path from X to Y,
2. no path that starts with an arrowhead at X is open between X and Z, and
3. X blocks every path between Z and Y that starts with an arrowhead at Z.

Then ``P(y | do(x)) = sum_z P(z | x) sum_x' P(y | x', z) P(x')``.

A back-door path is one that is left when the arrows out of its start are cut, as in Pearl's
criterion for sets: it does not leave its start set by an arrow further on either.
"""

from collections.abc import Iterator

from causalppl.graphs import ADMG, Nodes, is_separated
from causalppl.graphs.checked import takes_diagram
from causalppl.graphs.mixed import closure, union
from causalppl.identification.arguments import causes_and_effects, covariates, limits
from causalppl.identification.between import sets_between
from causalppl.identification.causal_paths import reach


@takes_diagram
def is_front_door_set(graph: ADMG, X: Nodes, Y: Nodes, Z: Nodes) -> bool:
    """Say whether Z satisfies the front-door criterion, in linear time.

    Args:
        graph: Any diagram.
        X: The causes.
        Y: The effects.
        Z: The mediators.

    Raises:
        GraphError: A node is not in the graph, X or Y is empty, or two sets share a node.

    References:
        Pearl (2009), Causality, definition 3.3.3; Jeong, Tian and Bareinboim (2022), Finding and
        listing front-door adjustment sets.

    Example:
        >>> graph = ADMG.parse("X -> Z -> Y; X <-> Y")
        >>> is_front_door_set(graph, "X", "Y", "Z"), is_front_door_set(graph, "X", "Y", ())
        (True, False)
    """
    x, y = causes_and_effects(graph, X, Y)
    z = covariates(graph, x, y, Z)
    mediators = graph.names_in_order(z)
    return (
        not reach(x, graph.child_masks, z) & y
        and is_separated(graph.remove_outgoing(X), X, mediators)
        and is_separated(graph.remove_outgoing(mediators), mediators, Y, X)
    )


@takes_diagram
def find_front_door_set(
    graph: ADMG, X: Nodes, Y: Nodes, *, including: Nodes = (), within: Nodes | None = None
) -> frozenset[str] | None:
    """Find a front-door set that cannot be made smaller, in linear time.

    It is found from Y's side: mediators next to Y are taken, those next to X are left.

    Args:
        graph: Any diagram.
        X: The causes.
        Y: The effects.
        including: Nodes that must be in the set.
        within: Nodes that may be in the set; None means all but X and Y.

    Returns:
        A front-door set that holds ``including``, of which no smaller part that does so is one
        (the empty set if X does not affect Y); None if there is no front-door set within these
        limits.

    Raises:
        GraphError: A node is not in the graph, X or Y is empty, X, Y and ``including`` are not
            disjoint, or ``including`` is not part of ``within``.

    References:
        Jeong, Tian and Bareinboim (2022); Wienöbst, van der Zander and Liskiewicz (2024),
        Linear-time algorithms for front-door adjustment in causal graphs.

    Example:
        >>> graph = ADMG.parse("X -> A -> B -> Y; X <-> Y")
        >>> sorted(find_front_door_set(graph, "X", "Y"))
        ['B']
        >>> sorted(find_front_door_set(graph, "X", "Y", within="A"))
        ['A']
    """
    x, y = causes_and_effects(graph, X, Y)
    included, allowed = limits(graph, x, y, including, within)
    largest = _largest(graph, x, y, included, allowed)
    return None if largest is None else graph.names(_smallest(graph, x, y, included, largest))


@takes_diagram
def front_door_sets(
    graph: ADMG, X: Nodes, Y: Nodes, *, including: Nodes = (), within: Nodes | None = None
) -> Iterator[frozenset[str]]:
    """List all front-door sets, each once, with polynomial (quadratic) delay.

    Sets without the graph's first node come first, then, among these, those without its second
    node, and so on.

    Args:
        graph: Any diagram.
        X: The causes.
        Y: The effects.
        including: Nodes that must be in the sets.
        within: Nodes that may be in the sets; None means all but X and Y.

    Raises:
        GraphError: As for ``find_front_door_set``.

    References:
        Jeong, Tian and Bareinboim (2022), Finding and listing front-door
        adjustment sets.

    Example:
        >>> graph = ADMG.parse("X -> A -> B -> Y; X <-> Y")
        >>> [sorted(found) for found in front_door_sets(graph, "X", "Y")]
        [['B'], ['A'], ['A', 'B']]
    """
    x, y = causes_and_effects(graph, X, Y)
    included, allowed = limits(graph, x, y, including, within)

    def exists(low: int, high: int) -> bool:
        return _largest(graph, x, y, low, high) is not None

    return map(graph.names, sets_between(included, allowed, exists))


def _largest(graph: ADMG, x: int, y: int, included: int, allowed: int) -> int | None:
    """Find the front-door set that holds all others within the limits; all as bits."""
    mediators = allowed & ~_confounded_with(graph, x)
    mediators &= ~_confounded_beyond(graph, x, y, mediators)
    if included & ~mediators or reach(x, graph.child_masks, mediators) & y:
        return None
    return mediators


def _confounded_with(graph: ADMG, x: int) -> int:
    """Find what an open path joins to X that starts with an arrowhead at X."""
    parents = [mask & ~x for mask in graph.parent_masks]
    children = [0 if x >> i & 1 else mask for i, mask in enumerate(graph.child_masks)]
    above = reach(x, parents)
    return reach(above | union(above, graph.sibling_masks), children) & ~x


class _Walks:
    """A search along walks that are open given X, from node to node; sets as bits.

    It looks at each node at most twice: where an arrowhead leads to it, and where a tail does.
    """

    def __init__(self, graph: ADMG, x: int) -> None:
        self._graph, self._x = graph, x
        self._above_x = closure(x, graph.parent_masks)
        self._headed = self._tailed = self._heads = self._tails = 0

    def add(self, heads: int = 0, tails: int = 0) -> None:
        """Walks lead to some nodes."""
        self._heads |= heads & ~self._headed
        self._tails |= tails & ~self._tailed
        self._headed |= heads
        self._tailed |= tails

    def __iter__(self) -> Iterator[tuple[int, bool]]:
        """Take a node (as a bit) to which walks lead, and whether an arrowhead is at it."""
        while waiting := self._heads | self._tails:
            low = waiting & -waiting
            at_head = bool(self._heads & low)
            if at_head:
                self._heads ^= low
            else:
                self._tails ^= low
            yield low, at_head

    def go_on(self, low: int, at_head: bool, held: int = 0) -> int:
        """Continue behind a node, not to nodes held up at a tail; return which these are."""
        graph, node = self._graph, low.bit_length() - 1
        if not low & self._x:
            self.add(heads=graph.child_masks[node])
        if not low & (~self._above_x if at_head else self._x):
            self.add(graph.sibling_masks[node], graph.parent_masks[node] & ~held)
            return graph.parent_masks[node] & held
        return 0


def _confounded_beyond(graph: ADMG, x: int, y: int, mediators: int) -> int:
    """Find the mediators that no set of mediators can hold if X is to block its way back from Y.

    The arrows out of mediators are cut. A mediator to which an arrowhead leads is out, and its
    arrows are restored. Mediators do not affect X, so what X opens stays the same.
    """
    walks = _Walks(graph, x)
    walks.add(tails=y)
    out = held_up = 0
    for low, at_head in walks:
        if at_head and low & mediators & ~out:
            out |= low
            walks.add(tails=held_up & low)
        held_up |= walks.go_on(low, at_head, held=mediators & ~out)
    return out


def _smallest(graph: ADMG, x: int, y: int, included: int, largest: int) -> int:
    """Find a minimal front-door set, given the one that holds all others; all as bits.

    The last mediators on the ways to Y, with ``included``, are a front-door set. One of them has
    to stay if a causal path from X meets it, or a path that starts with an arrowhead at one that
    stays: without it that path would go on to Y. What none meets can be left out, all at once.
    """
    beyond = reach(y, graph.parent_masks, x | largest)
    last = union(beyond, graph.parent_masks) & largest | included
    before = reach(x, graph.child_masks, last)
    walks = _Walks(graph, x)
    chosen, new = 0, included | union(before, graph.child_masks) & last
    while new:
        chosen |= new
        walks.add(union(new, graph.sibling_masks), union(new, graph.parent_masks))
        new = 0
        for low, at_head in walks:
            if low & last:
                new |= low & ~chosen
            else:
                walks.go_on(low, at_head)
    return chosen
