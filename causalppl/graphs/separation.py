"""m-separation: which independences a diagram implies, which sets separate, which paths are open.

A path is *open* given Z if each of its inner nodes lets it pass: a collider (arrowheads on both
sides, as in ``A -> C <- B`` or ``A <-> C <-> B``) if it or one of its effects is in Z, any other
node if it is not in Z. X and Y are m-separated given Z if no path between them is open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from causalppl.exceptions import GraphError
from causalppl.graphs.checked import takes_diagram
from causalppl.graphs.components import district_masks
from causalppl.graphs.mixed import Nodes, iterate_bits, union

if TYPE_CHECKING:
    from collections.abc import Iterator

    from causalppl.graphs.admg import ADMG


_State: TypeAlias = tuple[int, bool]
"""On an open walk: a node, and whether the edge that led there has an arrowhead at it."""


@takes_diagram
def is_separated(graph: ADMG, X: Nodes, Y: Nodes, Z: Nodes = ()) -> bool:
    """Say whether X and Y are m-separated given Z.

    In a model that the diagram describes, X and Y are then independent given Z. The cost is linear
    in the size of the graph.

    Args:
        graph: Any diagram.
        X: One side; empty means that there is nothing to connect.
        Y: The other side.
        Z: What is conditioned on.

    Raises:
        GraphError: A node is not in the graph, or X, Y and Z are not disjoint.

    References:
        Richardson (2003), Markov properties for acyclic directed mixed graphs, theorem 1:
        m-separation is separation in the augmented graph over the ancestors of X, Y and Z.

    Example:
        >>> from causalppl.graphs import ADMG
        >>> collider = ADMG.parse("X <-> Z <-> Y; Z -> W")
        >>> is_separated(collider, "X", "Y"), is_separated(collider, "X", "Y", "W")
        (True, False)
    """
    x, y, z = _disjoint(graph, X, Y, Z)
    region = union(x | y | z, graph.ancestor_masks)
    return not _reach(graph, x, z, region, target=y)[0] & y


def _reach(graph: ADMG, start: int, given: int, region: int, target: int = 0) -> tuple[int, int]:
    """Walk the augmented graph over an ancestral region, without entering ``given``.

    Returns:
        Nodes outside ``given`` that are connected to ``start``, and nodes of ``given`` that are
        adjacent to one of these; both unfinished if a node of ``target`` was met.
    """
    parents, children, siblings = graph.parent_masks, graph.child_masks, graph.sibling_masks
    free, blocked = region & ~given, region & given
    reached = frontier = start
    collided = touched = 0
    while frontier and not reached & target:
        low = frontier & -frontier
        node = low.bit_length() - 1
        frontier ^= low
        if low & blocked:  # an opened collider: on to whatever else points at it
            met = parents[node] | siblings[node]
            heads = siblings[node]
        else:
            heads = children[node] | siblings[node]
            met = parents[node] | heads
        new = met & free & ~reached
        reached |= new
        opened = heads & blocked & ~collided
        collided |= opened
        touched |= met & blocked
        frontier |= new | opened
    return reached, touched


def _disjoint(graph: ADMG, X: Nodes, Y: Nodes, Z: Nodes) -> tuple[int, int, int]:
    x, y, z = graph.mask(X), graph.mask(Y), graph.mask(Z)
    for common, names in ((x & y, "X and Y"), (x & z, "X and Z"), (y & z, "Y and Z")):
        if common:
            shared = ", ".join(graph.names_in_order(common))
            raise GraphError(
                f"{names} share {shared}; separation is asked of disjoint sets; "
                "remove it from one of them"
            )
    return x, y, z


# separators


@takes_diagram
def find_minimal_separator(
    graph: ADMG, X: Nodes, Y: Nodes, include: Nodes = (), restrict: Nodes | None = None
) -> frozenset[str] | None:
    """Find a set that m-separates X and Y and that cannot be made smaller.

    Among the minimal sets the one found is nearest to X. The cost is linear in the graph's size.

    Args:
        graph: Any diagram.
        X: One side.
        Y: The other side.
        include: Nodes that must be in the set.
        restrict: Nodes that may be in the set; None means all but X and Y.

    Returns:
        A separating set Z with ``include`` ⊆ Z ⊆ ``restrict`` of which no smaller part that holds
        ``include`` separates; None if no set within these limits separates.

    Raises:
        GraphError: A node is not in the graph, X, Y and ``include`` are not disjoint, or
            ``include`` is not within ``restrict``.

    References:
        van der Zander and Liskiewicz (2019), Finding minimal d-separators in linear time and
        applications.

    Example:
        >>> from causalppl.graphs import ADMG
        >>> graph = ADMG.parse("X -> A -> B -> Y; X <- C -> Y")
        >>> sorted(find_minimal_separator(graph, "X", "Y"))
        ['A', 'C']
        >>> find_minimal_separator(graph, "X", "Y", restrict={"A", "B"}) is None
        True
    """
    x, y, included, allowed = _limits(graph, X, Y, include, restrict)
    region = union(x | y | included, graph.ancestor_masks)
    separator = region & allowed | included
    reached, near = _reach(graph, x, separator, region, target=y)
    if reached & y:
        return None
    _, nearest = _reach(graph, y, near | included, region)
    return graph.names(nearest & near | included)


@takes_diagram
def minimal_separators(
    graph: ADMG, X: Nodes, Y: Nodes, include: Nodes = (), restrict: Nodes | None = None
) -> Iterator[frozenset[str]]:
    """List all minimal m-separators of X and Y, each once, the nearest to X first.

    There can be exponentially many, but the time between one and the next is polynomial.

    Args:
        graph: Any diagram.
        X: One side.
        Y: The other side.
        include: Nodes that must be in the set.
        restrict: Nodes that may be in the set; None means all but X and Y.

    Yields:
        The sets that ``find_minimal_separator`` describes.

    Raises:
        GraphError: As for ``find_minimal_separator``.

    References:
        Takata (2010), Space-optimal, backtracking algorithms to list the minimal vertex separators
        of a graph; van der Zander and Liskiewicz (2019) for the way from m-separators to these.

    Example:
        >>> from causalppl.graphs import ADMG
        >>> graph = ADMG.parse("X -> A -> B -> Y; X <- C -> Y")
        >>> [sorted(s) for s in minimal_separators(graph, "X", "Y")]
        [['A', 'C'], ['B', 'C']]
    """
    x, y, included, allowed = _limits(graph, X, Y, include, restrict)
    region = union(x | y | included, graph.ancestor_masks)
    adjacent = augmented(graph, region)
    return _list_separators(graph, adjacent, x, y, included, region & allowed & ~included)


def _limits(
    graph: ADMG, X: Nodes, Y: Nodes, include: Nodes, restrict: Nodes | None
) -> tuple[int, int, int, int]:
    x, y, included = _disjoint(graph, X, Y, include)
    allowed = graph.all_mask if restrict is None else graph.mask(restrict)
    if included & ~allowed:
        missing = ", ".join(graph.names_in_order(included & ~allowed))
        raise GraphError(
            f"include names {missing}, which restrict leaves out; expected include to be part of "
            "restrict; add it to restrict"
        )
    return x, y, included, allowed & ~(x | y)


def augmented(graph: ADMG, region: int) -> list[int]:
    """Join all nodes that a path of colliders joins within the region; sets as bits."""
    adjacent = [0] * len(graph.nodes)
    for district in district_masks(graph.sibling_masks, region):
        clique = (district | union(district, graph.parent_masks)) & region
        for node in iterate_bits(clique):
            adjacent[node] |= clique
    return adjacent


def _list_separators(
    graph: ADMG, adjacent: list[int], x: int, y: int, included: int, allowed: int
) -> Iterator[frozenset[str]]:
    def component(start: int, without: int) -> int:
        reached = frontier = start & ~without
        while frontier:
            low = frontier & -frontier
            new = adjacent[low.bit_length() - 1] & ~reached & ~without
            reached |= new
            frontier = (frontier ^ low) | new
        return reached

    def neighbours(side: int) -> int:
        return union(side, adjacent) & ~side & ~included

    def absorb(side: int) -> int:
        # a node that must not be in the separator belongs to the side that it touches
        while more := neighbours(side) & ~allowed:
            side |= more
        return side

    def grow(side: int) -> int | None:
        """Find the smallest side of X with a minimal separator around it that holds ``side``."""
        side = absorb(side)
        if side & y:
            return None
        # Y's side is what remains when X's border is taken away
        far = component(y, neighbours(side) | included)
        return component(x, neighbours(far) | included)

    if not x or not y:
        yield graph.names(included)
        return
    first = grow(x)
    pending = [] if first is None else [(first, 0)]
    while pending:
        side, banned = pending.pop()
        border = neighbours(side)
        for low in (1 << i for i in iterate_bits(border & ~banned)):
            # branch on one more node: first the separators with it in the border, then beyond
            larger = grow(side | low)
            if larger is not None and not larger & banned:
                pending.append((larger, banned))
                pending.append((side, banned | low))
                break
            banned |= low
        else:
            yield graph.names(border | included)


# witnesses


@dataclass(frozen=True)
class Path:
    """A path in a diagram.

    Attributes:
        nodes: The nodes that it visits.
        arrows: What joins one node to the next: ``"->"``, ``"<-"`` or ``"<->"``; one fewer.

    Example:
        >>> print(Path(("X", "Z", "Y"), ("<-", "->")))
        X <- Z -> Y
    """

    nodes: tuple[str, ...]
    arrows: tuple[str, ...]

    def __str__(self) -> str:
        steps = zip(self.arrows, self.nodes[1:], strict=True)
        return self.nodes[0] + "".join(f" {arrow} {node}" for arrow, node in steps)


@takes_diagram
def find_open_path(graph: ADMG, X: Nodes, Y: Nodes, Z: Nodes = ()) -> Path | None:
    """Find a path from X to Y that is open given Z: the witness that they are not m-separated.

    Args:
        graph: Any diagram.
        X: Where the path starts.
        Y: Where the path ends.
        Z: What is conditioned on.

    Returns:
        A path whose only node in X is its first and whose only node in Y is its last, or None
        exactly if ``is_separated``.

    Raises:
        GraphError: A node is not in the graph, or X, Y and Z are not disjoint.

    Example:
        >>> from causalppl.graphs import ADMG
        >>> graph = ADMG.parse("X <- U1 -> M <- U2 -> Y")
        >>> find_open_path(graph, "X", "Y") is None
        True
        >>> print(find_open_path(graph, "X", "Y", "M"))
        X <- U1 -> M <- U2 -> Y
    """
    x, y, z = _disjoint(graph, X, Y, Z)
    opening = union(z, graph.ancestor_masks)
    came_from: dict[_State, tuple[_State, str] | None] = {
        (start, False): None for start in iterate_bits(x)
    }
    queue = list(came_from)
    for state in queue:
        node, arrowhead = state
        if y >> node & 1:
            return _without_loops(graph, came_from, state, x)
        passes_tail = not z >> node & 1
        passes_head = (opening >> node & 1) if arrowhead else passes_tail
        steps = []
        if passes_tail:
            steps.append(("->", graph.child_masks[node], True))
        if passes_head:
            steps.append(("<-", graph.parent_masks[node], False))
            steps.append(("<->", graph.sibling_masks[node], True))
        for arrow, targets, head in steps:
            for target in iterate_bits(targets):
                if (target, head) not in came_from:
                    came_from[target, head] = (state, arrow)
                    queue.append((target, head))
    return None


def _without_loops(
    graph: ADMG, came_from: dict[_State, tuple[_State, str] | None], end: _State, x: int
) -> Path:
    """Follow the steps back to X and leave out what lies between two visits of a node."""
    state, nodes, arrows = end, [end[0]], []
    while not x >> state[0] & 1:
        step = came_from[state]
        assert step is not None  # only nodes of X have no step before them
        state, arrow = step
        nodes.append(state[0])
        arrows.append(arrow)
    nodes.reverse()
    arrows.reverse()
    # leaving out a loop keeps an open walk open: if the join became a collider outside An(Z),
    # the loop would have to be directed all the way, that is a cycle
    place = 0
    while place < len(nodes):
        last = len(nodes) - 1 - nodes[::-1].index(nodes[place])
        del nodes[place:last], arrows[place:last]
        place += 1
    return Path(tuple(graph.nodes[i] for i in nodes), tuple(arrows))


# what a diagram implies


@dataclass(frozen=True)
class Independence:
    """``left`` and ``right`` are independent given ``given``.

    Attributes:
        left: One node.
        right: Another node.
        given: What is conditioned on, in the graph's order.

    Example:
        >>> print(Independence("X", "Y", ("Z",)))
        X _||_ Y | Z
    """

    left: str
    right: str
    given: tuple[str, ...]

    def __str__(self) -> str:
        given = f" | {', '.join(self.given)}" if self.given else ""
        return f"{self.left} _||_ {self.right}{given}"


@takes_diagram
def is_separable(graph: ADMG, a: str, b: str) -> bool:
    """Say whether some set m-separates two nodes; if none does, an inducing path joins them.

    Args:
        graph: Any diagram.
        a: A node.
        b: Another node.

    Raises:
        GraphError: A node is not in the graph, or the two are the same.

    References:
        Verma and Pearl (1990), Equivalence and synthesis of causal models.

    Example:
        >>> from causalppl.graphs import ADMG
        >>> is_separable(ADMG.parse("A -> B -> Y; B <-> Y"), "A", "Y")
        False
    """
    return find_minimal_separator(graph, (a,), (b,)) is not None


@takes_diagram
def implied_independences(graph: ADMG) -> tuple[Independence, ...]:
    """List one independence for each pair of nodes that some set separates.

    For a diagram without bidirected edges these imply all others. With bidirected edges the
    diagram may imply more, also constraints that are not independences at all.

    Args:
        graph: Any diagram.

    Returns:
        One per separable pair, in the graph's order, each with a minimal set.

    Example:
        >>> from causalppl.graphs import ADMG
        >>> [str(fact) for fact in implied_independences(ADMG.parse("X -> Z -> Y; W -> Y"))]
        ['X _||_ Y | Z', 'X _||_ W', 'Z _||_ W']
    """
    facts = []
    for i, a in enumerate(graph.nodes):
        adjacent = graph.parent_masks[i] | graph.child_masks[i] | graph.sibling_masks[i]
        for b in graph.names_in_order(graph.all_mask & ~adjacent & -(2 << i)):
            separator = find_minimal_separator(graph, (a,), (b,))
            if separator is not None:
                facts.append(Independence(a, b, graph.in_order(separator)))
    return tuple(facts)
