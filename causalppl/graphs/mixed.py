"""What every diagram shares: named nodes in a fixed order, and sets of them as bits of an integer.

A set of nodes is an ``int`` whose bit ``i`` stands for the ``i``-th node. Unions, intersections and
reachability then cost a few machine words per step, and the order of the bits is the order of the
nodes, so nothing depends on how Python hashes strings.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TypeAlias

from causalppl.exceptions import GraphError
from causalppl.spelling import closest

Nodes: TypeAlias = str | Iterable[str]
"""One node by name, or several: ``"X"``, or ``["X", "Z"]``."""


def iterate_bits(mask: int) -> Iterator[int]:
    """Yield the positions of the bits that are set, lowest first.

    Example:
        >>> list(iterate_bits(0b10110))
        [1, 2, 4]
    """
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def union(mask: int, sets: Sequence[int]) -> int:
    """Unite ``sets[i]`` over the bits ``i`` of a mask.

    Example:
        >>> bin(union(0b101, [0b1, 0b10, 0b1000]))
        '0b1001'
    """
    total = 0
    while mask:
        low = mask & -mask
        total |= sets[low.bit_length() - 1]
        mask ^= low
    return total


def closure(start: int, neighbours: Sequence[int], within: int = -1) -> int:
    """Find all that can be reached, the start included, where ``i`` leads to ``neighbours[i]``.

    Args:
        start: Where to begin.
        neighbours: Where each node leads.
        within: The nodes that may be entered; all of them when left out.

    Example:
        >>> bin(closure(0b1, [0b10, 0b100, 0, 0b1])), bin(closure(0b1, [0b10, 0b100, 0], 0b11))
        ('0b111', '0b11')
    """
    reached = frontier = start
    while frontier:
        low = frontier & -frontier
        new = neighbours[low.bit_length() - 1] & within & ~reached
        reached |= new
        frontier = (frontier ^ low) | new
    return reached


class MixedGraph(ABC):
    """Named nodes in the order in which they were given; immutable.

    Subclasses say which edges there are. Sets of nodes go in as one name or as any iterable of
    names and come out as ``frozenset``; ``in_order`` sorts such a set as the graph does.

    Args:
        nodes: Distinct non-empty names.

    Raises:
        GraphError: A name is not a string, is empty, or is given twice.

    Example:
        >>> from causalppl.graphs import ADMG
        >>> graph = ADMG.parse("Z -> X -> Y")
        >>> isinstance(graph, MixedGraph), "X" in graph, len(graph), list(graph)
        (True, True, 3, ['Z', 'X', 'Y'])
        >>> bin(graph.mask({"X", "Y"})), graph.in_order({"X", "Y"})
        ('0b110', ('X', 'Y'))
    """

    nodes: tuple[str, ...]

    def __init__(self, nodes: Iterable[str]) -> None:
        self.__dict__["nodes"] = _checked_names(nodes)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable; build another to change {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable; build a new one to drop {name}")

    def __contains__(self, node: object) -> bool:
        return node in self._index

    def __iter__(self) -> Iterator[str]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    @abstractmethod
    def __str__(self) -> str:
        """Write the diagram as text that can be parsed again."""

    @cached_property
    def _index(self) -> dict[str, int]:
        return {node: i for i, node in enumerate(self.nodes)}

    @property
    def all_mask(self) -> int:
        """The set of all nodes, as bits."""
        return (1 << len(self.nodes)) - 1

    def mask(self, nodes: Nodes) -> int:
        """Turn names into bits.

        Args:
            nodes: One name, or several.

        Raises:
            GraphError: A name is not in the graph.
        """
        index = self._index
        result = 0
        for node in (nodes,) if isinstance(nodes, str) else nodes:
            try:
                result |= 1 << index[node]
            except (KeyError, TypeError):
                raise GraphError(_unknown(node, self.nodes)) from None
        return result

    def names(self, mask: int) -> frozenset[str]:
        """Turn bits into a set of names."""
        return frozenset(self.names_in_order(mask))

    def names_in_order(self, mask: int) -> tuple[str, ...]:
        """Turn bits into names, in the graph's order."""
        return tuple(self.nodes[i] for i in iterate_bits(mask))

    def in_order(self, nodes: Nodes) -> tuple[str, ...]:
        """Sort a set of nodes as the graph does.

        Raises:
            GraphError: A name is not in the graph.
        """
        return self.names_in_order(self.mask(nodes))


def _checked_names(nodes: Iterable[str]) -> tuple[str, ...]:
    if isinstance(nodes, str):
        raise GraphError(
            f"nodes is the string {nodes!r}; expected a sequence of names; "
            "use ADMG.parse to read a diagram from text"
        )
    names = tuple(nodes)
    seen: set[str] = set()
    for name in names:
        if not isinstance(name, str) or not name:
            raise GraphError(f"node name {name!r} found; expected a non-empty string; rename it")
        if name in seen:
            raise GraphError(f"node {name!r} is given twice; names must differ; drop or rename one")
        seen.add(name)
    return names


def _unknown(node: object, nodes: Sequence[str]) -> str:
    listed = ", ".join(nodes[:20]) + (f", ... ({len(nodes)} in all)" if len(nodes) > 20 else "")
    remedy = closest(node, nodes) or "; check the spelling or add the node"
    return f"unknown node {node!r}; the graph has {listed or 'no nodes'}{remedy}"
