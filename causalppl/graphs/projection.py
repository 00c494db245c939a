"""Latent projection: forget nodes, keep what they imply for the rest; and the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from causalppl.graphs.checked import takes_diagram
from causalppl.graphs.mixed import Nodes, iterate_bits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from causalppl.graphs.admg import ADMG


@takes_diagram
def latent_projection(graph: ADMG, keep: Nodes) -> ADMG:
    """Forget all nodes but some.

    In the result ``A -> B`` stands for a directed path whose inner nodes are all forgotten, and
    ``A <-> B`` for a path without colliders that has arrowheads at both ends and whose inner nodes
    are all forgotten. The kept nodes have the same ancestors and the same separations as before.
    Nodes are eliminated one by one, so the cost is polynomial: no path is ever listed.

    Args:
        graph: Any diagram.
        keep: The nodes that stay, in the order that they have in ``graph``.

    Returns:
        A diagram over ``keep``.

    Raises:
        GraphError: A node of ``keep`` is not in the graph.

    References:
        Verma and Pearl (1990), Equivalence and synthesis of causal models;
        Tian and Pearl (2002), On the testable implications of causal models with hidden variables.

    Example:
        >>> from causalppl.graphs import ADMG
        >>> print(latent_projection(ADMG.parse("U -> {X, Y}; X -> M -> Y"), {"X", "Y"}))
        X -> Y; X <-> Y
    """
    kept = graph.mask(keep)
    if kept == graph.all_mask:
        return graph
    parents, siblings = eliminate(
        graph.parent_masks, graph.child_masks, graph.sibling_masks, graph.all_mask & ~kept
    )
    return graph._induced(kept, parents, siblings)


def eliminate(
    parents: Sequence[int], children: Sequence[int], siblings: Sequence[int], latent: int
) -> tuple[list[int], list[int]]:
    """Route all edges around the latent nodes; everything is bits, indexed by node.

    Returns:
        Parents and siblings. Entries at latent nodes, and latent bits elsewhere, mean nothing.
    """
    up, down, side = list(parents), list(children), list(siblings)
    for node in iterate_bits(latent):
        here = 1 << node
        above, below, beside = up[node] & ~here, down[node], side[node]
        for child in iterate_bits(below):
            up[child] = (up[child] | above) & ~here
            # A <- node -> B and A <-> node -> B both leave arrowheads at A and B
            side[child] |= (below | beside) & ~(1 << child)
        for parent in iterate_bits(above):
            down[parent] = (down[parent] | below) & ~here
        for sibling in iterate_bits(beside):
            side[sibling] = (side[sibling] | below) & ~here & ~(1 << sibling)
        for child in iterate_bits(below):
            side[child] &= ~here
    return up, side


@takes_diagram
def canonical_dag(graph: ADMG) -> tuple[ADMG, frozenset[str]]:
    """Replace each bidirected edge by a latent cause of its two ends.

    The latent projection of the result onto the nodes of ``graph`` is ``graph`` again.

    Args:
        graph: Any diagram.

    Returns:
        A diagram without bidirected edges, and the names of the latent causes, which come last
        in its order and are called ``U_A_B`` (with underscores appended where that is taken).

    References:
        Richardson and Spirtes (2002), Ancestral graph Markov models, section 6.

    Example:
        >>> from causalppl.graphs import ADMG
        >>> dag, latents = canonical_dag(ADMG.parse("X -> Y; X <-> Y"))
        >>> print(dag)
        X -> Y; U_X_Y -> X; U_X_Y -> Y
    """
    latents: dict[str, tuple[str, str]] = {}
    for a, b in graph.bidirected_edges:
        name = f"U_{a}_{b}"
        while name in graph or name in latents:
            name += "_"
        latents[name] = (a, b)
    edges = [(name, end) for name, ends in latents.items() for end in ends]
    dag = type(graph)((*graph.nodes, *latents), (*graph.directed_edges, *edges))
    return dag, frozenset(latents)
