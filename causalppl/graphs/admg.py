"""Acyclic directed mixed graphs: the diagrams of causal models with latent common causes."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, final

from causalppl.exceptions import GraphError
from causalppl.graphs.components import districts as _districts
from causalppl.graphs.mixed import MixedGraph, Nodes, closure, iterate_bits, union
from causalppl.graphs.parse import format_graph, parse_graph
from causalppl.graphs.projection import latent_projection as _latent_projection


@final
class ADMG(MixedGraph):
    """An acyclic directed mixed graph: ``A -> B`` is a cause, ``A <-> B`` a latent common cause.

    Immutable and hashable. Two diagrams are equal if they have the same set of nodes and the same
    edges, whatever the order in which these were given. Methods that return a set of nodes return
    a ``frozenset`` (``in_order`` sorts it); tuples are in the graph's order of nodes. Wherever
    nodes are asked for, one name or any iterable of names will do.

    For inner loops the same facts are there as bits (bit ``i`` is the ``i``-th node), one integer
    per node: ``parent_masks``, ``child_masks``, ``sibling_masks``, ``ancestor_masks``,
    ``descendant_masks``; ``mask`` and ``names`` convert. All are computed once, when first used.

    Args:
        nodes: Distinct names, in the order that all outputs will follow.
        directed: Pairs (cause, effect).
        bidirected: Pairs, in either order.

    Raises:
        GraphError: A name is repeated or empty, an edge names an unknown node or joins a node to
            itself, or the directed edges have a cycle (which the message shows).

    References:
        Richardson (2003), Markov properties for acyclic directed mixed graphs.

    Example:
        >>> front_door = ADMG.parse("X -> Z -> Y; X <-> Y")
        >>> front_door == ADMG(["Y", "X", "Z"], [("X", "Z"), ("Z", "Y")], [("Y", "X")])
        True
        >>> sorted(front_door.ancestors("Z"))
        ['X', 'Z']
    """

    parent_masks: tuple[int, ...]
    sibling_masks: tuple[int, ...]

    def __init__(
        self,
        nodes: Iterable[str] = (),
        directed: Iterable[tuple[str, str]] = (),
        bidirected: Iterable[tuple[str, str]] = (),
    ) -> None:
        super().__init__(nodes)
        parents, siblings = [0] * len(self.nodes), [0] * len(self.nodes)
        for edge in directed:
            cause, effect = self._ends(edge, "->")
            parents[effect] |= 1 << cause
        for edge in bidirected:
            a, b = self._ends(edge, "<->")
            siblings[a] |= 1 << b
            siblings[b] |= 1 << a
        self.__dict__.update(parent_masks=tuple(parents), sibling_masks=tuple(siblings))
        self._topological_indices  # noqa: B018 - raises on a cycle

    @classmethod
    def parse(cls, text: str) -> "ADMG":
        """Read a diagram from text.

        Statements end with a semicolon or a line break. Chains, braces for several nodes, lone
        nodes and ``#`` comments are understood; names with unusual characters go in double quotes.
        Nodes are ordered as they first appear. ``str(graph)`` writes such text.

        Args:
            text: For example ``"X -> Z -> Y; X <-> Y"``.

        Raises:
            GraphError: The text cannot be read (the message points to the place), or what it says
                is not a diagram.

        Example:
            >>> ADMG.parse("{A, B} -> C <-> D; E  # E stands alone")
            ADMG.parse('A; B; A -> C; B -> C; C <-> D; E')
        """
        return cls(*parse_graph(text))

    @classmethod
    def _from_masks(
        cls, nodes: Sequence[str], parents: Sequence[int], siblings: Sequence[int]
    ) -> "ADMG":
        """Build without checks; for graphs derived from one that has been checked."""
        graph = object.__new__(cls)
        graph.__dict__.update(
            nodes=tuple(nodes), parent_masks=tuple(parents), sibling_masks=tuple(siblings)
        )
        return graph

    def _ends(self, edge: Sequence[str], arrow: str) -> tuple[int, int]:
        if not isinstance(edge, tuple | list) or len(edge) != 2:
            raise GraphError(f"edge {edge!r} found; expected a pair of nodes; write (a, b)")
        a, b = (self.mask((end,)).bit_length() - 1 for end in edge)
        if a == b:
            raise GraphError(
                f"self-loop {edge[0]} {arrow} {edge[0]} found; an edge joins two different nodes; "
                "remove it"
            )
        return a, b

    # edges

    @property
    def directed_edges(self) -> tuple[tuple[str, str], ...]:
        """Pairs (cause, effect), sorted by cause, then by effect, in the graph's order."""
        return self._edges(self.child_masks)

    @property
    def bidirected_edges(self) -> tuple[tuple[str, str], ...]:
        """Pairs, each once and with the earlier node first, in the graph's order."""
        return self._edges([m >> (i + 1) << (i + 1) for i, m in enumerate(self.sibling_masks)])

    def _edges(self, masks: Sequence[int]) -> tuple[tuple[str, str], ...]:
        names = self.nodes
        return tuple((names[a], names[b]) for a, m in enumerate(masks) for b in iterate_bits(m))

    @cached_property
    def child_masks(self) -> tuple[int, ...]:
        """For each node its children, as bits."""
        children = [0] * len(self.nodes)
        for node, parents in enumerate(self.parent_masks):
            for parent in iterate_bits(parents):
                children[parent] |= 1 << node
        return tuple(children)

    def is_confounded(self, a: str, b: str) -> bool:
        """Say whether two nodes are joined by ``<->``.

        Raises:
            GraphError: A node is not in the graph.
        """
        first, second = self.mask((a,)), self.mask((b,))
        return bool(self.sibling_masks[first.bit_length() - 1] & second)

    def is_dag(self) -> bool:
        """Say whether there is no bidirected edge."""
        return not any(self.sibling_masks)

    # relatives

    def parents(self, nodes: Nodes) -> frozenset[str]:
        """Unite the direct causes of each of some nodes (which may be among ``nodes`` themselves).

        Raises:
            GraphError: A node is not in the graph.
        """
        return self.names(union(self.mask(nodes), self.parent_masks))

    def children(self, nodes: Nodes) -> frozenset[str]:
        """Unite the direct effects of each of some nodes (which may be among ``nodes`` themselves).

        Raises:
            GraphError: A node is not in the graph.
        """
        return self.names(union(self.mask(nodes), self.child_masks))

    def siblings(self, nodes: Nodes) -> frozenset[str]:
        """Unite the nodes that ``<->`` joins to each of some nodes; some call them spouses.

        Raises:
            GraphError: A node is not in the graph.
        """
        return self.names(union(self.mask(nodes), self.sibling_masks))

    def ancestors(self, nodes: Nodes) -> frozenset[str]:
        """Find all causes, direct or not, **including the nodes themselves**.

        Raises:
            GraphError: A node is not in the graph.
        """
        mask = self.mask(nodes)
        if "ancestor_masks" in self.__dict__:
            return self.names(union(mask, self.ancestor_masks))
        return self.names(closure(mask, self.parent_masks))

    def descendants(self, nodes: Nodes) -> frozenset[str]:
        """Find all effects, direct or not, **including the nodes themselves**.

        Raises:
            GraphError: A node is not in the graph.
        """
        mask = self.mask(nodes)
        if "descendant_masks" in self.__dict__:
            return self.names(union(mask, self.descendant_masks))
        return self.names(closure(mask, self.child_masks))

    @cached_property
    def ancestor_masks(self) -> tuple[int, ...]:
        """For each node its ancestors, itself included, as bits."""
        ancestors = [0] * len(self.nodes)
        for node in self._topological_indices:
            ancestors[node] = 1 << node | union(self.parent_masks[node], ancestors)
        return tuple(ancestors)

    @cached_property
    def descendant_masks(self) -> tuple[int, ...]:
        """For each node its descendants, itself included, as bits."""
        descendants = [0] * len(self.nodes)
        for node in reversed(self._topological_indices):
            descendants[node] = 1 << node | union(self.child_masks[node], descendants)
        return tuple(descendants)

    def topological_order(self) -> tuple[str, ...]:
        """Sort the nodes so that causes come first; ties go to the graph's order."""
        return tuple(self.nodes[i] for i in self._topological_indices)

    @cached_property
    def _topological_indices(self) -> tuple[int, ...]:
        return self._causes_first(range(len(self.nodes)))

    def _causes_first(self, ranked: Sequence[int]) -> tuple[int, ...]:
        """Sort the nodes, of those whose parents are placed always the one listed first."""
        place = {node: rank for rank, node in enumerate(ranked)}
        waiting = [parents.bit_count() for parents in self.parent_masks]
        ready = sum(1 << place[i] for i, count in enumerate(waiting) if not count)
        order = []
        while ready:
            low = ready & -ready
            ready ^= low
            order.append(ranked[low.bit_length() - 1])
            for child in iterate_bits(self.child_masks[order[-1]]):
                waiting[child] -= 1
                if not waiting[child]:
                    ready |= 1 << place[child]
        if len(order) < len(self.nodes):
            raise GraphError(self._cycle_message({i for i, count in enumerate(waiting) if count}))
        return tuple(order)

    def _cycle_message(self, stuck: set[int]) -> str:
        # every stuck node has a stuck parent, so walking upwards must come back
        walk = [min(stuck)]
        while walk[-1] not in walk[:-1]:
            walk.append(next(p for p in iterate_bits(self.parent_masks[walk[-1]]) if p in stuck))
        cycle = walk[walk.index(walk[-1]) :][::-1]
        start = cycle.index(min(cycle))
        cycle = [*cycle[start:-1], *cycle[:start], cycle[start]]
        shown = " -> ".join(self.nodes[i] for i in cycle)
        return (
            f"directed cycle {shown} found; the directed edges of a diagram must not form a cycle; "
            "remove one of these edges, or write <-> if both share a latent cause"
        )

    def in_canonical_order(self) -> "ADMG":
        """Return the same diagram with causes first, and ties sorted by name.

        Equal diagrams get the same order of nodes, however they were written down, and a set of
        earlier nodes is a mask of lower bits.

        Example:
            >>> ADMG.parse("B -> A; C").in_canonical_order().nodes
            ('B', 'A', 'C')
        """
        order = self._causes_first(sorted(range(len(self.nodes)), key=self.nodes.__getitem__))
        if order == tuple(range(len(order))):
            return self
        bit = [0] * len(order)
        for new, old in enumerate(order):
            bit[old] = 1 << new
        return ADMG._from_masks(
            [self.nodes[i] for i in order],
            [union(self.parent_masks[i], bit) for i in order],
            [union(self.sibling_masks[i], bit) for i in order],
        )

    def districts(self) -> tuple[frozenset[str], ...]:
        """Split the nodes into districts: connected by bidirected edges, ordered by first node."""
        return self._districts

    def c_components(self) -> tuple[frozenset[str], ...]:
        """Do the same as ``districts``, under Tian and Pearl's name."""
        return self._districts

    @cached_property
    def _districts(self) -> tuple[frozenset[str], ...]:
        return _districts(self)

    # other graphs

    def subgraph(self, nodes: Nodes) -> "ADMG":
        """Keep some nodes and the edges between them; the order stays.

        Raises:
            GraphError: A node is not in the graph.
        """
        kept = self.mask(nodes)
        if kept == self.all_mask:
            return self
        return self._induced(kept, self.parent_masks, self.sibling_masks)

    def _induced(self, kept: int, parents: Sequence[int], siblings: Sequence[int]) -> "ADMG":
        indices = list(iterate_bits(kept))
        place = {old: 1 << new for new, old in enumerate(indices)}

        def moved(masks: Sequence[int]) -> list[int]:
            return [sum(place[j] for j in iterate_bits(masks[i] & kept)) for i in indices]

        names = [self.nodes[i] for i in indices]
        return ADMG._from_masks(names, moved(parents), moved(siblings))

    def remove_incoming(self, nodes: Nodes) -> "ADMG":
        """Cut every edge, directed or bidirected, with an arrowhead at some nodes: ``do``.

        Raises:
            GraphError: A node is not in the graph.

        Example:
            >>> print(ADMG.parse("Z -> X -> Y; X <-> Y").remove_incoming("X"))
            Z; X -> Y
        """
        cut = self.mask(nodes)
        if not cut:
            return self
        parents = [0 if cut >> i & 1 else mask for i, mask in enumerate(self.parent_masks)]
        siblings = [0 if cut >> i & 1 else mask & ~cut for i, mask in enumerate(self.sibling_masks)]
        return ADMG._from_masks(self.nodes, parents, siblings)

    def remove_outgoing(self, nodes: Nodes) -> "ADMG":
        """Cut the directed edges out of some nodes; bidirected edges stay.

        Raises:
            GraphError: A node is not in the graph.

        Example:
            >>> print(ADMG.parse("Z -> X -> Y; X <-> Y").remove_outgoing("X"))
            Z -> X; X <-> Y
        """
        cut = self.mask(nodes)
        if not cut:
            return self
        parents = [mask & ~cut for mask in self.parent_masks]
        return ADMG._from_masks(self.nodes, parents, self.sibling_masks)

    def latent_projection(self, keep: Nodes) -> "ADMG":
        """Forget all nodes but some; see ``causalppl.graphs.latent_projection``.

        Raises:
            GraphError: A node is not in the graph.

        Example:
            >>> print(ADMG.parse("U -> {X, Y}; X -> M -> Y").latent_projection({"X", "Y"}))
            X -> Y; X <-> Y
        """
        return _latent_projection(self, keep)

    # values

    @cached_property
    def _identity(self) -> tuple[frozenset[str], frozenset[tuple[str, str]], frozenset[Any]]:
        bidirected = frozenset(map(frozenset, self.bidirected_edges))
        return frozenset(self.nodes), frozenset(self.directed_edges), bidirected

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ADMG):
            return NotImplemented
        if self.nodes == other.nodes:
            return (
                self.parent_masks == other.parent_masks
                and self.sibling_masks == other.sibling_masks
            )
        return self._identity == other._identity

    @cached_property
    def _hash(self) -> int:
        return hash(self._identity)

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[Any, ...]:
        # not the cached hash: strings hash differently in another process
        return ADMG, (self.nodes, self.directed_edges, self.bidirected_edges)

    def __str__(self) -> str:
        return format_graph(self.nodes, self.directed_edges, self.bidirected_edges)

    def __repr__(self) -> str:
        return f"ADMG.parse({str(self)!r})"

    def _repr_svg_(self) -> str:
        from causalppl.graphs.drawing import to_svg

        return to_svg(self)
