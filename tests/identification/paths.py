"""Slow definitions to compare with: every path of a small diagram is written out."""

from itertools import combinations

import numpy as np

from causalppl.graphs import ADMG

NAMES = "ABCDEF"


def random_diagrams(count, seed, sizes=(3, 6), directed=0.45, bidirected=0.25):
    """Diagrams whose order of nodes has nothing to do with the causal order."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        size = int(rng.integers(sizes[0], sizes[1] + 1))
        pairs = [(a, b) for i, a in enumerate(NAMES[:size]) for b in NAMES[i + 1 : size]]
        arrows = [pair for pair in pairs if rng.random() < directed]
        arcs = [pair for pair in pairs if rng.random() < bidirected]
        yield ADMG(rng.permutation(list(NAMES[:size])).tolist(), arrows, arcs)


def random_sets(graph, rng, most=(2, 2)):
    """Disjoint sets X and Y, mostly of one node each, and the rest."""
    nodes = rng.permutation(list(graph.nodes)).tolist()
    x = 1 + int(rng.random() < 0.3 and most[0] > 1 and len(nodes) > 3)
    y = 1 + int(rng.random() < 0.2 and most[1] > 1 and len(nodes) > 3)
    return set(nodes[:x]), set(nodes[x : x + y]), set(nodes[x + y :])


def subsets(items):
    items = sorted(items)
    return [set(c) for size in range(len(items) + 1) for c in combinations(items, size)]


def steps(graph, node):
    """The edges at a node: arrow as seen from it, and the other end."""
    for a, b in graph.directed_edges:
        if a == node:
            yield "->", b
        if b == node:
            yield "<-", a
    for a, b in graph.bidirected_edges:
        if node in (a, b):
            yield "<->", b if a == node else a


def paths(graph, start, ends):
    """All simple paths from a node to a set, as (nodes, arrows); they may pass through the set."""
    edges = {node: list(steps(graph, node)) for node in graph}
    stack = [((start,), ())]
    while stack:
        nodes, arrows = stack.pop()
        if nodes[-1] in ends and arrows:
            yield nodes, arrows
        for arrow, target in edges[nodes[-1]]:
            if target not in nodes:
                stack.append(((*nodes, target), (*arrows, arrow)))


def is_open(graph, path, given):
    """The definition: colliders are in An(given), all other inner nodes are not in given."""
    nodes, arrows = path
    above = graph.ancestors(given)
    for node, before, after in zip(nodes[1:-1], arrows, arrows[1:], strict=False):
        collider = before in ("->", "<->") and after in ("<-", "<->")
        if (collider and node not in above) or (not collider and node in given):
            return False
    return True


def is_causal(path):
    return set(path[1]) == {"->"}


def is_proper(path, X):
    return not set(path[0][1:]) & set(X)


def open_between(graph, X, Y, given, wanted=lambda path: True):
    """Is some path from X to Y open that is wanted?"""
    return any(
        wanted(path) and is_open(graph, path, given) for x in X for path in paths(graph, x, Y)
    )


def minimal(sets):
    """Those of some sets of which no proper part is among them."""
    return [s for s in sets if not any(other < s for other in sets)]


def linear_model(graph, rng):
    """A linear Gaussian model of the diagram: coefficients B (to, from), noise covariance.

    Shared noise is a latent cause with a random effect on both ends of each ``<->``.
    """
    place = {node: i for i, node in enumerate(graph.nodes)}
    size = len(graph)
    coefficients, noise = np.zeros((size, size)), np.diag(rng.uniform(0.5, 1.5, size))
    for a, b in graph.directed_edges:
        coefficients[place[b], place[a]] = rng.choice([-1, 1]) * rng.uniform(0.4, 1.3)
    for a, b in graph.bidirected_edges:
        loading = np.zeros(size)
        loading[[place[a], place[b]]] = rng.choice([-1, 1], 2) * rng.uniform(0.5, 1.3, 2)
        noise += np.outer(loading, loading)
    return coefficients, noise


def covariance(coefficients, noise):
    total = np.linalg.inv(np.eye(len(noise)) - coefficients)
    return total @ noise @ total.T


def joint_effects(coefficients, x, y):
    """The matrix of effects of do(x) on y, from the model with the equations of x removed."""
    cut = coefficients.copy()
    cut[x] = 0
    return np.linalg.inv(np.eye(len(cut)) - cut)[np.ix_(y, x)]


def regression(sigma, y, x, z):
    """Coefficients of x when y is regressed on x and z."""
    both = [*x, *z]
    full = np.linalg.solve(sigma[np.ix_(both, both)], sigma[np.ix_(both, y)]).T
    return full[:, : len(x)]
