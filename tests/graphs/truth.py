"""Random diagrams, and slow definitions to compare with: every path is written out."""

from itertools import combinations

import networkx as nx
from hypothesis import strategies as st

from causalppl.graphs import ADMG

NAMES = ("A", "B", "C", "D", "E", "F", "G", "H")


@st.composite
def admgs(draw, min_nodes=0, max_nodes=6):
    """A diagram whose order of nodes has nothing to do with the causal order."""
    size = draw(st.integers(min_nodes, max_nodes))
    nodes = draw(st.permutations(NAMES[:size]))
    pairs = list(combinations(NAMES[:size], 2))
    subsets = st.lists(st.sampled_from(pairs), unique=True) if pairs else st.just([])
    return ADMG(nodes, draw(subsets), draw(subsets))


@st.composite
def separation_problems(draw, max_nodes=6):
    """A diagram and disjoint sets X, Y (not empty) and Z."""
    graph = draw(admgs(min_nodes=2, max_nodes=max_nodes))
    roles = [draw(st.sampled_from("XYZ.")) for _ in graph.nodes]
    x, y = draw(st.permutations(range(len(roles))))[:2]
    roles[x], roles[y] = "X", "Y"
    return graph, *({v for v, r in zip(graph, roles, strict=True) if r == role} for role in "XYZ")


def dag_with_latents(graph):
    """A networkx DAG in which each ``A <-> B`` is a node with two children."""
    dag = nx.DiGraph()
    dag.add_nodes_from(graph.nodes)
    dag.add_edges_from(graph.directed_edges)
    for a, b in graph.bidirected_edges:
        dag.add_edges_from([(("latent", a, b), a), (("latent", a, b), b)])
    return dag


def project_by_paths(dag, keep):
    """Latent projection by its definition, over all paths of a DAG.

    Returns:
        Directed edges and bidirected edges (as frozensets) between the nodes of ``keep``.
    """
    keep = list(keep)
    directed, bidirected = set(), set()
    for a in keep:
        for b in keep:
            if a != b and any(
                not set(path[1:-1]) & set(keep) for path in nx.all_simple_paths(dag, a, b)
            ):
                directed.add((a, b))
    for a, b in combinations(keep, 2):
        for path in nx.all_simple_paths(dag.to_undirected(), a, b):
            inner = path[1:-1]
            into_ends = inner and dag.has_edge(path[1], a) and dag.has_edge(path[-2], b)
            colliders = [
                v
                for u, v, w in zip(path, inner, path[2:], strict=False)
                if dag.has_edge(u, v) and dag.has_edge(w, v)
            ]
            if into_ends and not colliders and not set(inner) & set(keep):
                bidirected.add(frozenset((a, b)))
                break
    return directed, bidirected


def as_sets(graph):
    return set(graph.directed_edges), set(map(frozenset, graph.bidirected_edges))


def subsets(items):
    items = list(items)
    return [set(c) for size in range(len(items) + 1) for c in combinations(items, size)]
