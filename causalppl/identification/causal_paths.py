"""Proper causal paths: those from X to Y along arrows that meet X only where they start."""

from collections.abc import Iterator, Sequence

from causalppl.graphs import ADMG, Path
from causalppl.graphs.mixed import closure, iterate_bits, union


def reach(start: int, neighbours: Sequence[int], avoiding: int = 0) -> int:
    """Find what can be reached, the start included, without entering some nodes; all as bits.

    Example:
        >>> bin(reach(0b1, [0b10, 0b100, 0b1000, 0], avoiding=0b100))
        '0b11'
    """
    reached = frontier = start
    while frontier:
        low = frontier & -frontier
        new = neighbours[low.bit_length() - 1] & ~reached & ~avoiding
        reached |= new
        frontier = (frontier ^ low) | new
    return reached


def on_causal_paths(graph: ADMG, x: int, y: int) -> int:
    """Find the nodes, other than X, on proper causal paths from X to Y; all as bits.

    Example:
        >>> graph = ADMG.parse("X -> M -> Y; X -> A; B -> Y")
        >>> graph.names_in_order(on_causal_paths(graph, graph.mask("X"), graph.mask("Y")))
        ('M', 'Y')
    """
    first = union(x, graph.child_masks) & ~x
    return reach(first, graph.child_masks, x) & reach(y, graph.parent_masks, x)


def forbidden_nodes(graph: ADMG, x: int, y: int) -> int:
    """Find the nodes on proper causal paths and all that these affect; all as bits."""
    return closure(on_causal_paths(graph, x, y), graph.child_masks)


def without_edges(graph: ADMG, x: int, into: int) -> ADMG:
    """Cut the arrows from X into some nodes; all as bits."""
    parents = [
        mask & ~x if into >> node & 1 else mask for node, mask in enumerate(graph.parent_masks)
    ]
    return ADMG._from_masks(graph.nodes, parents, graph.sibling_masks)


def proper_back_door_graph(graph: ADMG, x: int, y: int) -> ADMG:
    """Cut the first arrow of each proper causal path from X to Y; X and Y are bits.

    References:
        van der Zander, Liskiewicz and Textor (2014), Constructing separators and adjustment sets
        in ancestral graphs.

    Example:
        >>> graph = ADMG.parse("X -> M -> Y; X -> A; X <- Z -> Y")
        >>> print(proper_back_door_graph(graph, graph.mask("X"), graph.mask("Y")))
        X; M -> Y; A; Z -> X -> A; Z -> Y
    """
    return without_edges(graph, x, on_causal_paths(graph, x, y))


def find_directed_path(graph: ADMG, start: int, end: int, avoiding: int = 0) -> Path | None:
    """Find a shortest directed path between two sets that does not enter some nodes; all as bits.

    Example:
        >>> graph = ADMG.parse("X -> M -> Y; X -> A -> B -> Y")
        >>> print(find_directed_path(graph, graph.mask("X"), graph.mask("Y"), graph.mask("M")))
        X -> A -> B -> Y
    """
    came_from: dict[int, int | None] = dict.fromkeys(iterate_bits(start))
    seen, queue = start | avoiding, list(came_from)
    for node in queue:
        if end >> node & 1:
            names = [graph.nodes[i] for i in _trail(came_from, node)][::-1]
            return Path(tuple(names), ("->",) * (len(names) - 1))
        for child in iterate_bits(graph.child_masks[node] & ~seen):
            came_from[child] = node
            seen |= 1 << child
            queue.append(child)
    return None


def _trail(came_from: dict[int, int | None], node: int | None) -> Iterator[int]:
    while node is not None:
        yield node
        node = came_from[node]
