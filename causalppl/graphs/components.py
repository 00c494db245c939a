"""Districts, also called c-components: the parts held together by bidirected edges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from causalppl.graphs.checked import takes_diagram
from causalppl.graphs.mixed import Nodes, closure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from causalppl.graphs.admg import ADMG


@takes_diagram
def districts(graph: ADMG, within: Nodes | None = None) -> tuple[frozenset[str], ...]:
    """Split the nodes into districts: connected by bidirected edges.

    Args:
        graph: Any diagram.
        within: Take the districts of the subgraph over these nodes, without building it.
            None means the whole graph.

    Returns:
        Disjoint sets that cover the nodes, ordered by the first node of each.

    Raises:
        GraphError: A node of ``within`` is not in the graph.

    References:
        Tian and Pearl (2002), A general identification condition for causal effects.

    Example:
        >>> from causalppl.graphs import ADMG
        >>> [sorted(d) for d in districts(ADMG.parse("X -> Z -> Y; X <-> Y"))]
        [['X', 'Y'], ['Z']]
        >>> len(districts(ADMG.parse("X <-> Z <-> Y"), within={"X", "Y"}))
        2
    """
    mask = graph.all_mask if within is None else graph.mask(within)
    return tuple(map(graph.names, district_masks(graph.sibling_masks, mask)))


@takes_diagram
def district_of(graph: ADMG, nodes: Nodes) -> frozenset[str]:
    """Unite the districts of some nodes.

    Args:
        graph: Any diagram.
        nodes: One or several; they belong to their own district.

    Raises:
        GraphError: A node is not in the graph.

    References:
        Tian and Pearl (2002), A general identification condition for causal effects.

    Example:
        >>> from causalppl.graphs import ADMG
        >>> sorted(district_of(ADMG.parse("X -> Z -> Y; X <-> Y"), "Y"))
        ['X', 'Y']
    """
    return graph.names(closure(graph.mask(nodes), graph.sibling_masks))


def district_masks(siblings: Sequence[int], within: int) -> list[int]:
    """Split ``within`` into districts, all sets as bits, ordered by the first node of each."""
    found = []
    while within:
        district = closure(within & -within, siblings, within)
        found.append(district)
        within &= ~district
    return found
