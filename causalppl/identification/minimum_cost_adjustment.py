"""The cheapest adjustment set, when covariates cost something to measure."""

from collections.abc import Mapping

from causalppl.exceptions import GraphError
from causalppl.graphs import ADMG, Nodes, find_minimal_separator
from causalppl.graphs.checked import takes_diagram
from causalppl.graphs.mixed import iterate_bits, union
from causalppl.graphs.separation import augmented
from causalppl.identification.arguments import causes_and_effects, limits
from causalppl.identification.causal_paths import forbidden_nodes, proper_back_door_graph
from causalppl.identification.minimum_cut import minimum_vertex_cut


@takes_diagram
def find_minimum_cost_adjustment_set(
    graph: ADMG,
    X: Nodes,
    Y: Nodes,
    *,
    cost: Mapping[str, float] | None = None,
    including: Nodes = (),
    within: Nodes | None = None,
) -> frozenset[str] | None:
    """Find an adjustment set with the smallest sum of costs, by a minimum cut.

    Of several cheapest sets it is the one that is nearest to Y. If X is one node and all costs are
    positive, adjusting for it has the smallest asymptotic variance that a cheapest set can have.

    Args:
        graph: Any diagram.
        X: The causes.
        Y: The effects.
        cost: What each covariate costs: zero or more, infinite if it cannot be had. Those that are
            not named cost 1; without costs the set found has the fewest nodes.
        including: Nodes that must be in the set.
        within: Nodes that may be in the set; None means all but X and Y.

    Returns:
        A cheapest set, without nodes that it does not need; None if there is no adjustment set of
        finite cost within these limits.

    Raises:
        GraphError: A node is not in the graph, X or Y is empty, X, Y and ``including`` are not
            disjoint, ``including`` is not part of ``within``, or a cost is negative or no number.

    References:
        van der Zander, Liskiewicz and Textor (2014), Constructing separators and
        adjustment sets in ancestral graphs;
        Smucler and Rotnitzky (2022), A note on efficient minimum cost adjustment sets in causal
        graphical models, for the variance.

    Example:
        >>> graph = ADMG.parse("X <- {A, B} -> C -> Y; X -> Y")
        >>> sorted(find_minimum_cost_adjustment_set(graph, "X", "Y"))
        ['C']
        >>> sorted(find_minimum_cost_adjustment_set(graph, "X", "Y", cost={"C": 2.5}))
        ['A', 'B']
    """
    x, y = causes_and_effects(graph, X, Y)
    included, allowed = limits(graph, x, y, including, within)
    prices = _prices(graph, cost or {})
    forbidden = forbidden_nodes(graph, x, y)
    if included & forbidden or any(prices[i] == float("inf") for i in iterate_bits(included)):
        return None
    cut = proper_back_door_graph(graph, x, y)
    region = union(x | y | included, cut.ancestor_masks)
    adjacent = [mask & ~included for mask in augmented(cut, region)]
    payable = {
        i: prices[i]
        for i in iterate_bits(region & allowed & ~forbidden & ~included)
        if prices[i] < float("inf")
    }
    separator = minimum_vertex_cut(adjacent, y, x, payable)
    if separator is None:
        return None
    # nodes that cost nothing may be too many
    held = graph.names_in_order(included)
    return find_minimal_separator(cut, Y, X, held, graph.names_in_order(separator | included))


def _prices(graph: ADMG, cost: Mapping[str, float]) -> list[float]:
    graph.mask(cost)
    for node in graph.nodes:
        if not cost.get(node, 1.0) >= 0:
            raise GraphError(
                f"the cost of {node} is {cost[node]!r}; expected zero or more; correct it"
            )
    return [float(cost.get(node, 1.0)) for node in graph.nodes]
