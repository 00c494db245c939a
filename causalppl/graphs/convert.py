"""Diagrams to and from other forms: networkx, Graphviz's DOT, dagitty, arrays."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import ArrayLike, NDArray

from causalppl.exceptions import GraphError
from causalppl.graphs.admg import ADMG
from causalppl.graphs.checked import takes_diagram
from causalppl.graphs.dot import DotText, Edge, quote, read_dot
from causalppl.graphs.mixed import Nodes
from causalppl.graphs.parse import syntax_error

# networkx


@takes_diagram
def to_networkx(graph: ADMG) -> "nx.DiGraph | nx.MultiDiGraph":
    """Copy a diagram into networkx.

    Args:
        graph: Any diagram.

    Returns:
        A ``DiGraph`` if there are no bidirected edges. Otherwise a ``MultiDiGraph`` in which
        ``A <-> B`` is a pair of edges, one each way, with the key ``"bidirected"`` and the
        attribute ``bidirected=True``; directed edges have the key ``"directed"``.

    Example:
        >>> for edge in to_networkx(ADMG.parse("X -> Y; X <-> Y")).edges(keys=True):
        ...     print(*edge)
        X Y directed
        X Y bidirected
        Y X bidirected
    """
    if graph.is_dag():
        plain = nx.DiGraph()
        plain.add_nodes_from(graph.nodes)
        plain.add_edges_from(graph.directed_edges)
        return plain
    multi = nx.MultiDiGraph()
    multi.add_nodes_from(graph.nodes)
    for a, b in graph.directed_edges:
        multi.add_edge(a, b, "directed")
    for a, b in graph.bidirected_edges:
        multi.add_edge(a, b, "bidirected", bidirected=True)
        multi.add_edge(b, a, "bidirected", bidirected=True)
    return multi


def from_networkx(graph: "nx.DiGraph", bidirected: "nx.Graph | None" = None) -> ADMG:
    """Copy a diagram out of networkx.

    Args:
        graph: A ``DiGraph`` or ``MultiDiGraph``. An edge whose attribute ``bidirected`` is true, or
            whose key is ``"bidirected"``, is read as ``<->``; one direction is enough.
        bidirected: An undirected graph whose edges are further ``<->`` edges.

    Raises:
        GraphError: The graph is undirected, a node is not a string, or the edges make no diagram.

    Example:
        >>> import networkx as nx
        >>> from_networkx(nx.DiGraph([("X", "Y")]), nx.Graph([("X", "Y")]))
        ADMG.parse('X -> Y; X <-> Y')
    """
    if not isinstance(graph, nx.Graph) or not graph.is_directed():
        raise GraphError(
            f"{type(graph).__name__} found; expected a networkx DiGraph or MultiDiGraph; "
            "give the edges a direction, or pass an undirected graph as bidirected="
        )
    if bidirected is not None and bidirected.is_directed():
        raise GraphError(
            f"bidirected is a {type(bidirected).__name__}; expected an undirected graph; "
            "pass its to_undirected()"
        )
    nodes = list(dict.fromkeys([*graph.nodes, *(() if bidirected is None else bidirected.nodes)]))
    for node in nodes:
        if not isinstance(node, str):
            raise GraphError(
                f"node {node!r} is a {type(node).__name__}; expected strings; "
                "use networkx.relabel_nodes(graph, str) first"
            )
    arrows: list[tuple[str, str]] = []
    arcs = [] if bidirected is None else [(a, b) for a, b, *_ in bidirected.edges]
    keyed = graph.edges(keys=True) if graph.is_multigraph() else ((*e, None) for e in graph.edges)
    for a, b, key in keyed:
        data = graph.edges[(a, b) if key is None else (a, b, key)]
        (arcs if data.get("bidirected") or key == "bidirected" else arrows).append((a, b))
    return ADMG(nodes, arrows, arcs)


# DOT


@takes_diagram
def to_dot(graph: ADMG, *, hidden: Nodes = ()) -> str:
    """Write a diagram in Graphviz's language; bidirected edges are dashed with ``dir=both``.

    Args:
        graph: Any diagram.
        hidden: Nodes to draw dashed.

    Raises:
        GraphError: A hidden node is not in the graph.

    Example:
        >>> print(to_dot(ADMG.parse("X -> Y; X <-> Y")))
        digraph {
            X;
            Y;
            X -> Y;
            X -> Y [dir=both, style=dashed];
        }
    """
    dashed = set(graph.in_order(hidden))
    lines = [quote(v) + (" [style=dashed];" if v in dashed else ";") for v in graph.nodes]
    lines += [f"{quote(a)} -> {quote(b)};" for a, b in graph.directed_edges]
    lines += [
        f"{quote(a)} -> {quote(b)} [dir=both, style=dashed];" for a, b in graph.bidirected_edges
    ]
    return "\n".join(["digraph {", *("    " + line for line in lines), "}"])


def from_dot(text: str) -> ADMG:
    """Read a diagram from Graphviz's language.

    Chains, braces, subgraphs, quoted names, default attributes and comments are understood. An edge
    with ``dir=both`` is bidirected, as is one written ``<->``; ``dir=back`` turns an edge around.
    All nodes are kept; other attributes are read over.

    Args:
        text: A ``digraph``.

    Raises:
        GraphError: The text cannot be read (the message points to the place), an edge has no
            direction, or the edges make no diagram.

    Example:
        >>> from_dot('digraph { X -> Y; X -> Y [dir=both]; edge [dir=back] Y -> Z }')
        ADMG.parse('X -> Y; Z -> Y; X <-> Y')
    """
    content = read_dot(text)
    if content.kind != "digraph":
        raise syntax_error(text, 0, f"the word {content.kind!r}", "expected digraph { ... }")
    arrows, arcs = _sorted_edges(text, content)
    return ADMG(content.nodes, arrows, arcs)


def _sorted_edges(
    text: str, content: DotText
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    arrows, arcs = [], []
    for edge in content.edges:
        match _direction(edge):
            case "forward":
                arrows.append((edge.left, edge.right))
            case "back":
                arrows.append((edge.right, edge.left))
            case "both":
                arcs.append((edge.left, edge.right))
            case _:
                hint = "an ADMG has -> and <-> edges only; give this edge a direction"
                found = f"the edge {edge.left} {edge.arrow} {edge.right} without direction"
                raise syntax_error(text, edge.at, found, hint)
    return arrows, arcs


def _direction(edge: Edge) -> str:
    match edge.arrow:
        case "->":
            return edge.attributes.get("dir", "forward").lower()
        case "<-":
            return "back"
        case "<->":
            return "both"
        case _:
            return "none"


# dagitty


@dataclass(frozen=True)
class DagittyModel:
    """A diagram with the roles that dagitty gives to nodes; names are in the diagram's order.

    Attributes:
        graph: All nodes, latent ones included.
        latents: Not observed.
        exposures: The causes in question.
        outcomes: The effects in question.
        adjusted: Adjusted for.
        selected: Conditioned on by the way the data were sampled.

    Example:
        >>> model = DagittyModel(ADMG.parse("U -> X -> Y; U -> Y"), latents=("U",))
        >>> model.observed()
        ADMG.parse('X -> Y; X <-> Y')
    """

    graph: ADMG
    latents: tuple[str, ...] = ()
    exposures: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    adjusted: tuple[str, ...] = ()
    selected: tuple[str, ...] = ()

    def observed(self) -> ADMG:
        """Project the latent nodes out."""
        return self.graph.latent_projection(set(self.graph.nodes) - set(self.latents))


_ROLES: Mapping[str, tuple[str, ...]] = {
    "latents": ("latent", "unobserved", "u"),
    "exposures": ("exposure", "source", "e"),
    "outcomes": ("outcome", "target", "o"),
    "adjusted": ("adjusted", "a"),
    "selected": ("selected", "s"),
}


def parse_dagitty(text: str) -> DagittyModel:
    """Read dagitty's text with its roles; positions and other looks are read over.

    Args:
        text: For example ``"dag { X [exposure] Y [outcome] U [latent] X <- U -> Y; X -> Y }"``.

    Raises:
        GraphError: The text cannot be read (the message points to the place), it is not a ``dag``,
            an edge has no direction, or the edges make no diagram.

    References:
        Textor et al. (2016), Robust causal inference using directed acyclic graphs: the R package
        dagitty.

    Example:
        >>> model = parse_dagitty('dag { X [exposure,pos="0,1"] U [latent] {X Y} <- U  X -> Y }')
        >>> model.graph, model.latents, model.exposures
        (ADMG.parse('X; U -> X -> Y; U -> Y'), ('U',), ('X',))
    """
    content = read_dot(text)
    if content.kind != "dag":
        raise syntax_error(text, 0, f"the word {content.kind!r}", "expected dag { ... }")
    arrows, arcs = _sorted_edges(text, content)
    roles = {
        role: tuple(v for v, given in content.nodes.items() if any(word in given for word in words))
        for role, words in _ROLES.items()
    }
    return DagittyModel(ADMG(content.nodes, arrows, arcs), **roles)


def from_dagitty(text: str) -> ADMG:
    """Read the diagram over the observed nodes from dagitty's text.

    Nodes marked ``[latent]`` are projected out; ``parse_dagitty`` keeps them and all other roles.

    Args:
        text: For example ``"dag { U [latent] X <- U -> Y; X -> Y }"``.

    Raises:
        GraphError: As for ``parse_dagitty``.

    References:
        Textor et al. (2016), Robust causal inference using directed acyclic graphs: the R package
        dagitty.

    Example:
        >>> from_dagitty("dag { U [latent] X <- U -> Y; X -> Y }")
        ADMG.parse('X -> Y; X <-> Y')
    """
    return parse_dagitty(text).observed()


@takes_diagram
def to_dagitty(
    graph: ADMG,
    *,
    latents: Nodes = (),
    exposures: Nodes = (),
    outcomes: Nodes = (),
    adjusted: Nodes = (),
    selected: Nodes = (),
) -> str:
    """Write a diagram as dagitty's text, which its website and its R package read.

    Args:
        graph: Any diagram.
        latents: Nodes that are not observed.
        exposures: The causes in question.
        outcomes: The effects in question.
        adjusted: Nodes that are adjusted for.
        selected: Nodes conditioned on by sampling.

    Raises:
        GraphError: A node is not in the graph.

    Example:
        >>> print(to_dagitty(ADMG.parse("X -> Y; X <-> Y"), exposures="X", outcomes="Y"))
        dag {
            X [exposure]
            Y [outcome]
            X -> Y
            X <-> Y
        }
    """
    marks: dict[str, list[str]] = {node: [] for node in graph.nodes}
    given = zip(_ROLES.values(), (latents, exposures, outcomes, adjusted, selected), strict=True)
    for words, nodes in given:
        for node in graph.in_order(nodes):
            marks[node].append(words[0])
    lines = [quote(v) + (f" [{','.join(m)}]" if m else "") for v, m in marks.items()]
    lines += [f"{quote(a)} -> {quote(b)}" for a, b in graph.directed_edges]
    lines += [f"{quote(a)} <-> {quote(b)}" for a, b in graph.bidirected_edges]
    return "\n".join(["dag {", *("    " + line for line in lines), "}"])


# arrays


@takes_diagram
def to_arrays(graph: ADMG) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Write a diagram as adjacency matrices.

    Args:
        graph: Any diagram.

    Returns:
        ``directed`` of shape ``(nodes, nodes)``, where ``directed[i, j]`` says that the ``i``-th
        node causes the ``j``-th, and ``bidirected`` of the same shape, which is symmetric.

    Example:
        >>> directed, bidirected = to_arrays(ADMG.parse("X -> Y; X <-> Y"))
        >>> directed.astype(int).tolist(), bidirected.astype(int).tolist()
        ([[0, 1], [0, 0]], [[0, 1], [1, 0]])
    """
    shape = (len(graph), len(graph))
    directed, bidirected = np.zeros(shape, bool), np.zeros(shape, bool)
    place = {node: i for i, node in enumerate(graph.nodes)}
    for a, b in graph.directed_edges:
        directed[place[a], place[b]] = True
    for a, b in graph.bidirected_edges:
        bidirected[place[a], place[b]] = bidirected[place[b], place[a]] = True
    return directed, bidirected


def from_arrays(
    directed: ArrayLike, bidirected: ArrayLike | None = None, nodes: Iterable[str] | None = None
) -> ADMG:
    """Read a diagram from adjacency matrices; every entry that is not zero is an edge.

    Args:
        directed: Shape ``(nodes, nodes)``; entry ``[i, j]`` stands for ``i -> j``. (Coefficient
            matrices of linear models often mean ``j -> i``: transpose those.)
        bidirected: Shape ``(nodes, nodes)``, symmetric. None means no such edges.
        nodes: Names; by default ``V0``, ``V1``, ...

    Raises:
        GraphError: A shape or the number of names does not fit, an entry is not a number,
            ``bidirected`` is not symmetric, or the edges make no diagram.

    Example:
        >>> from_arrays([[0, 1], [0, 0]], nodes=["X", "Y"])
        ADMG.parse('X -> Y')
    """
    arrows = _checked_matrix(directed, "directed")
    size = len(arrows)
    arcs = _checked_matrix(
        np.zeros_like(arrows) if bidirected is None else bidirected, "bidirected"
    )
    names: Sequence[str] = [f"V{i}" for i in range(size)] if nodes is None else list(nodes)
    if len(arcs) != size or len(names) != size:
        raise GraphError(
            f"directed has {size} rows, bidirected {len(arcs)}, and there are {len(names)} names; "
            "expected the same number; pass one row and one name per node"
        )
    if (uneven := np.argwhere(arcs != arcs.T)).size:
        i, j = uneven[0]
        raise GraphError(
            f"bidirected[{i}, {j}] and bidirected[{j}, {i}] differ; expected a symmetric matrix; "
            "pass bidirected | bidirected.T"
        )
    return ADMG(
        names,
        [(names[i], names[j]) for i, j in np.argwhere(arrows)],
        [(names[i], names[j]) for i, j in np.argwhere(arcs) if i <= j],
    )


def _checked_matrix(values: ArrayLike, name: str) -> NDArray[np.bool_]:
    matrix: NDArray[Any] = np.asarray(values)
    if matrix.size == 0:
        return np.zeros((0, 0), bool)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.dtype.kind not in "biuf":
        raise GraphError(
            f"{name} has shape {matrix.shape} and dtype {matrix.dtype}; expected a square matrix "
            "of numbers; pass one row and one column per node"
        )
    if np.isnan(matrix).any():
        raise GraphError(f"{name} holds NaN; expected numbers; write 0 where there is no edge")
    return matrix != 0
