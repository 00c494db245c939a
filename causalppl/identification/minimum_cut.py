"""Maximum flow and minimum cut, by shortest augmenting paths."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from causalppl.graphs.mixed import iterate_bits

Network = list[dict[int, float]]
"""For each vertex, the capacities of the edges that leave it."""


def maximum_flow(network: Network, source: int, sink: int) -> tuple[float, Network]:
    """Send as much as possible from one vertex to another.

    Args:
        network: Capacities, not negative; infinite ones are allowed off the way to infinite flow.
        source: Where the flow starts.
        sink: Where it ends.

    Returns:
        The value of the flow (infinite if a path has no finite capacity), and the residual network.

    References:
        Edmonds and Karp (1972), Theoretical improvements in algorithmic efficiency for network flow
        problems.

    Example:
        >>> maximum_flow([{1: 2.0, 2: 3.0}, {3: 4.0}, {3: 1.0}, {}], 0, 3)[0]
        3.0
    """
    residual = [dict(edges) for edges in network]
    total = 0.0
    while path := _augmenting_path(residual, source, sink):
        steps = list(pairwise(path))
        amount = min(residual[a][b] for a, b in steps)
        total += amount
        if amount == float("inf"):
            break
        for a, b in steps:
            residual[a][b] -= amount
            residual[b][a] = residual[b].get(a, 0.0) + amount
    return total, residual


def _augmenting_path(residual: Network, source: int, sink: int) -> list[int]:
    came_from = {source: source}
    queue = [source]
    for vertex in queue:
        if vertex == sink:
            break
        for target, capacity in residual[vertex].items():
            if capacity > 0 and target not in came_from:
                came_from[target] = vertex
                queue.append(target)
    if sink not in came_from:
        return []
    path = [sink]
    while path[-1] != source:
        path.append(came_from[path[-1]])
    return path[::-1]


def reachable(residual: Network, source: int) -> set[int]:
    """Find the vertices that edges with capacity left lead to."""
    reached, queue = {source}, [source]
    for vertex in queue:
        new = [t for t, capacity in residual[vertex].items() if capacity > 0 and t not in reached]
        reached.update(new)
        queue.extend(new)
    return reached


def minimum_vertex_cut(
    adjacent: Sequence[int], x: int, y: int, cost: Mapping[int, float]
) -> int | None:
    """Find the cheapest set of nodes that separates two sets in an undirected graph; all as bits.

    Args:
        adjacent: For each node its neighbours.
        x: One side.
        y: The other side.
        cost: What the nodes cost that may be in the cut.

    Returns:
        The cheapest cut; None if no such nodes cut all paths.

    Example:
        >>> bin(minimum_vertex_cut([0b110, 0b1001, 0b1001, 0b110], 1, 8, {1: 1.0, 2: 1.0}))
        '0b110'
    """
    # node i is the edge 2i -> 2i + 1, with its cost as capacity
    endless = float("inf")
    network: Network = [
        {i + 1: cost.get(i // 2, endless)}
        if i % 2 == 0
        else {2 * j: endless for j in iterate_bits(adjacent[i // 2] & ~(1 << i // 2))}
        for i in range(2 * len(adjacent))
    ]
    source, sink = len(network), len(network) + 1
    network += [{2 * i: endless for i in iterate_bits(x)}, {}]
    for i in iterate_bits(y):
        network[2 * i + 1][sink] = endless
    value, residual = maximum_flow(network, source, sink)
    if value == endless:
        return None
    near = reachable(residual, source)
    return sum(1 << i for i in cost if 2 * i in near and 2 * i + 1 not in near)
