"""Diagrams of several worlds at once: twin networks and single-world intervention graphs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import combinations
from typing import TYPE_CHECKING

from causalppl.exceptions import GraphError
from causalppl.graphs.checked import takes_diagram
from causalppl.graphs.mixed import Nodes, closure, iterate_bits

if TYPE_CHECKING:
    from causalppl.graphs.admg import ADMG


@takes_diagram
def twin_network(graph: ADMG, interventions: Mapping[str, Nodes]) -> ADMG:
    """Draw the factual world and any number of intervened worlds in one diagram.

    Node ``Y`` is the factual variable and ``Y@x0`` its copy in the world named ``x0``. Nodes that a
    world's interventions cannot reach are shared with the factual world, not copied. A copy that is
    intervened on has no edges into it. All other copies of a node have the same noise, so
    ``<->`` joins them to each other, and ``A <-> B`` joins every copy of A to every copy of B.
    The result is the latent projection of the network in which noise is drawn as nodes. Its size is
    linear in the number of worlds, up to the ``<->`` edges, which are quadratic.

    Args:
        graph: The factual diagram.
        interventions: For each world the nodes that are set there.

    Returns:
        A diagram whose order is the graph's, followed by the copies, world by world.

    Raises:
        GraphError: A node is not in the graph, a world has no name, or a copy's name is taken.

    References:
        Balke and Pearl (1994), Probabilistic evaluation of counterfactual queries;
        Shpitser and Pearl (2007), What counterfactuals can be tested (parallel worlds graph).

    Example:
        >>> from causalppl.graphs import ADMG
        >>> print(twin_network(ADMG.parse("Z -> X -> Y"), {"x0": "X"}))
        Z -> X -> Y; X@x0 -> Y@x0; Y <-> Y@x0
    """
    copies: dict[tuple[int, str], str] = {}
    random: dict[int, list[str]] = {i: [node] for i, node in enumerate(graph.nodes)}
    directed = list(graph.directed_edges)
    for world, nodes in interventions.items():
        _check_world(world)
        cut = graph.mask(nodes)
        reached = closure(cut, graph.child_masks)
        for i in iterate_bits(reached):
            copies[i, world] = copy = f"{graph.nodes[i]}@{world}"
            if not cut >> i & 1:
                random[i].append(copy)
        for i in iterate_bits(reached & ~cut):
            for parent in iterate_bits(graph.parent_masks[i]):
                cause = copies.get((parent, world), graph.nodes[parent])
                directed.append((cause, copies[i, world]))
    _check_new_names(graph.nodes, copies.values())
    bidirected = [pair for same in random.values() for pair in combinations(same, 2)]
    for i, siblings in enumerate(graph.sibling_masks):
        for j in iterate_bits(siblings >> i << i):
            bidirected += [(a, b) for a in random[i] for b in random[j]]
    return type(graph)((*graph.nodes, *copies.values()), directed, bidirected)


def _check_world(world: str) -> None:
    if not isinstance(world, str) or not world or "@" in world:
        raise GraphError(
            f"world name {world!r} found; expected a non-empty string without '@' "
            "(the factual world has no name and is always there); rename it"
        )


@takes_diagram
def swig(
    graph: ADMG,
    interventions: Collection[str] | Mapping[str, str],
    *,
    potential_outcomes: bool = False,
) -> ADMG:
    """Split intervened nodes: a single-world intervention graph (SWIG).

    Each intervened node X falls into a random part, which keeps its name and the edges into it,
    and a fixed part, which takes the edges out of it. In the result X, a potential outcome and
    what came before stand side by side, so assumptions such as "Y(x) and X are independent given Z"
    can be read off. A fixed part is a constant: put it into the conditioning set of a separation.

    Args:
        graph: Any diagram.
        interventions: The nodes to split, or a mapping from these to the names of the fixed parts.
            By default the fixed part of ``X`` is ``x``, and ``do(x)`` where that is the same
            as the node's name or is taken.
        potential_outcomes: Rename each random node to show which fixed parts it depends on,
            as in ``Y(x)``.

    Returns:
        A diagram with the graph's nodes in their order, then the fixed parts.

    Raises:
        GraphError: A node is not in the graph, or a new name is taken.

    References:
        Richardson and Robins (2013), Single world intervention graphs.

    Example:
        >>> from causalppl.graphs import ADMG, is_separated
        >>> graph = swig(ADMG.parse("Z -> X -> Y; Z -> Y"), ["X"])
        >>> print(graph)
        Z -> X; Z -> Y; x -> Y
        >>> is_separated(graph, "Y", "X", {"Z", "x"})
        True
        >>> print(swig(ADMG.parse("X -> M -> Y; X <-> Y"), ["X", "M"], potential_outcomes=True))
        X; M(x); Y(m); x -> M(x); m -> Y(m); X <-> Y(m)
    """
    fixed = _fixed_names(graph, interventions)
    cut = graph.mask(fixed)
    directed = [(fixed.get(a, a), b) for a, b in graph.directed_edges]
    nodes, bidirected = (*graph.nodes, *fixed.values()), graph.bidirected_edges
    split = type(graph)(nodes, directed, bidirected)
    if not potential_outcomes:
        return split
    constants = split.mask(fixed.values()) if cut else 0
    label = {}
    for node in split.nodes:
        causes = split.names_in_order(split.mask(split.ancestors((node,))) & constants)
        random = split.mask((node,)) & ~constants
        label[node] = f"{node}({', '.join(causes)})" if random and causes else node
    _check_new_names((), label.values())
    return type(graph)(
        [label[node] for node in nodes],
        [(label[a], label[b]) for a, b in directed],
        [(label[a], label[b]) for a, b in bidirected],
    )


def _fixed_names(graph: ADMG, interventions: Collection[str] | Mapping[str, str]) -> dict[str, str]:
    if isinstance(interventions, Mapping):
        fixed = {node: interventions[node] for node in graph.in_order(interventions)}
    else:
        fixed = {}
        for node in graph.in_order(interventions):
            lower = node.lower()
            taken = lower in graph or lower in fixed.values()
            fixed[node] = f"do({node})" if taken else lower
    _check_new_names(graph.nodes, fixed.values())
    return fixed


def _check_new_names(old: Iterable[str], new: Iterable[str]) -> None:
    seen = set(old)
    for name in new:
        if name in seen:
            raise GraphError(
                f"the new node {name!r} has a name that is taken; names must differ; "
                "rename the node, or choose another name for the world or the fixed part"
            )
        seen.add(name)
