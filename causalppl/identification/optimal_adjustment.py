"""The adjustment set that gives the most precise estimate, whatever the coefficients.

Among adjustment sets one is *uniformly optimal* if in every linear model of the diagram the least
squares estimate that adjusts for it has the smallest asymptotic variance; the same set is then
optimal for efficient non-parametric estimates. If all variables are observed there always is one.
With latent variables there may be none: which set is best then depends on the coefficients. Among
the sets that cannot be made smaller, and among the cheapest (``minimum_cost_adjustment``), there
always is an optimal one.
"""

from causalppl.exceptions import AssumptionError
from causalppl.graphs import ADMG, Nodes, find_minimal_separator, is_separated
from causalppl.graphs.checked import takes_diagram
from causalppl.graphs.mixed import closure, iterate_bits, union
from causalppl.identification.adjustment import find_adjustment_set, is_adjustment_set
from causalppl.identification.arguments import causes_and_effects, limits
from causalppl.identification.causal_paths import (
    forbidden_nodes,
    on_causal_paths,
    proper_back_door_graph,
    reach,
)


@takes_diagram
def optimal_adjustment_set(
    graph: ADMG, X: Nodes, Y: Nodes, *, within: Nodes | None = None
) -> frozenset[str] | None:
    """Find the adjustment set with the smallest asymptotic variance in every model.

    Without latent variables (no bidirected edge, and nothing left out by ``within``) these are the
    parents of the nodes on causal paths, and the answer is complete, for several causes too. With
    latent variables the candidate also has the nodes that paths of colliders join to the causal
    paths, and their parents. It is returned if it passes two tests:

    - given it and X, no other node of any adjustment set tells anything about Y, and
    - no adjustment set without one of its nodes leaves that node tied to X.

    Tests of the package compare the answer with all adjustment sets of thousands of small diagrams.
    No set that was returned there was not optimal. The second test looks at one adjustment set
    per node, not all, and the first is stricter than it need be: in about one diagram in forty an
    optimal set exists and is not recognised. A refusal is therefore no proof.

    Args:
        graph: Any diagram.
        X: The causes; one, if there are latent variables.
        Y: The effects, all of them affected by X.
        within: The nodes that are observed; None means all.

    Returns:
        The optimal set; None if there is no adjustment set at all.

    Raises:
        GraphError: A node is not in the graph, X or Y is empty, or they share a node.
        AssumptionError: There are adjustment sets, but none was found to be optimal; or X does not
            affect all of Y; or X has several nodes and there are latent variables.

    References:
        Henckel, Perkovic and Maathuis (2022), Graphical criteria for efficient total effect
        estimation via adjustment in causal linear models; Rotnitzky and Smucler (2020), Efficient
        adjustment sets for population average causal treatment effect estimation; Runge (2021),
        Necessary and sufficient graphical conditions for optimal adjustment sets in causal
        graphical models with hidden variables, for the candidate.

    Example:
        >>> graph = ADMG.parse("A -> B -> X -> Y; B -> C -> Y; P -> Y")
        >>> sorted(optimal_adjustment_set(graph, "X", "Y"))
        ['C', 'P']
    """
    x, y = causes_and_effects(graph, X, Y)
    _, allowed = limits(graph, x, y, (), within)
    if unaffected := y & ~closure(x, graph.child_masks):
        names = ", ".join(graph.names_in_order(unaffected))
        raise AssumptionError(
            f"X does not affect {names}; the effect is zero, and no adjustment set for it is "
            "optimal in all models; leave that out of Y"
        )
    seen = graph.latent_projection(graph.names_in_order(allowed | x | y))
    if find_adjustment_set(seen, X, Y) is None:
        return None
    x, y = seen.mask(X), seen.mask(Y)
    if seen.is_dag():
        carriers = on_causal_paths(seen, x, y)
        above = union(carriers, seen.parent_masks)
        return seen.names(above & ~closure(carriers, seen.child_masks) & ~x)
    if x & (x - 1):
        raise AssumptionError(
            "X has several nodes and there are latent variables; what is known about optimal sets "
            "covers one cause then; ask for one at a time, or use find_adjustment_set"
        )
    return _checked_candidate(seen, x, y)


def _checked_candidate(graph: ADMG, x: int, y: int) -> frozenset[str]:
    cause, effects = graph.names(x), graph.names(y)
    candidate = graph.names(_candidate(graph, x, y))
    if not (
        is_adjustment_set(graph, cause, effects, candidate)
        and _tells_all(graph, cause, effects, candidate)
        and _costs_nothing(graph, cause, effects, candidate)
    ):
        raise AssumptionError(
            f"no adjustment set for the effect of {', '.join(cause)} on "
            f"{', '.join(graph.in_order(effects))} was found to be optimal in all models; with "
            "latent variables there may be none; use optimal_minimal_adjustment_set, or name the "
            "observed nodes to compare by simulation"
        )
    return candidate


def _candidate(graph: ADMG, x: int, y: int) -> int:
    """Find parents of the causal paths, colliders joined to these, and the colliders' parents."""
    carriers = on_causal_paths(graph, x, y)
    free = graph.all_mask & ~closure(carriers, graph.child_masks) & ~x
    above = closure(x | y, graph.parent_masks) & free
    conditions = graph.names_in_order(above)
    harmless = above
    for i in iterate_bits(free & ~above):
        if is_separated(graph, (graph.nodes[i],), graph.names(x), conditions):
            harmless |= 1 << i
    colliders = reach(carriers, graph.sibling_masks, ~(harmless | carriers)) & harmless
    return union(carriers | colliders, graph.parent_masks) & free | colliders


def _tells_all(
    graph: ADMG, cause: frozenset[str], effects: frozenset[str], candidate: frozenset[str]
) -> bool:
    """Given the candidate, no other node that can be adjusted for tells anything about Y."""
    for node in graph.nodes:
        if node in cause | effects | candidate:
            continue
        if is_separated(graph, (node,), effects, candidate | cause):
            continue
        if find_adjustment_set(graph, cause, effects, including=node) is not None:
            return False
    return True


def _costs_nothing(
    graph: ADMG, cause: frozenset[str], effects: frozenset[str], candidate: frozenset[str]
) -> bool:
    """Find no adjustment set that does without a node and leaves it tied to the cause.

    The set looked at is the one nearest to Y, which leaves most of the diagram on the cause's side.
    """
    rest = frozenset(graph.nodes) - cause - effects
    for node in graph.in_order(candidate):
        other = optimal_minimal_adjustment_set(graph, cause, effects, within=rest - {node})
        if other is not None and not is_separated(graph, (node,), cause, other):
            return False
    return True


@takes_diagram
def optimal_minimal_adjustment_set(
    graph: ADMG, X: Nodes, Y: Nodes, *, within: Nodes | None = None
) -> frozenset[str] | None:
    """Find the best of the adjustment sets that cannot be made smaller: the nearest to Y.

    If X is one node, adjusting for it has the smallest asymptotic variance among all such sets, in
    every model and with any latent variables. The cost is linear.

    Args:
        graph: Any diagram.
        X: The causes; the guarantee is for one.
        Y: The effects.
        within: The nodes that may be in the set; None means all but X and Y.

    Returns:
        The set; None if there is no adjustment set within these limits.

    Raises:
        GraphError: A node is not in the graph, X or Y is empty, or they share a node.

    References:
        Smucler, Sapienza and Rotnitzky (2022), Efficient adjustment sets in causal graphical models
        with hidden variables.

    Example:
        >>> graph = ADMG.parse("X <- A -> B -> Y; X -> Y; P -> Y")
        >>> sorted(optimal_minimal_adjustment_set(graph, "X", "Y"))
        ['B']
    """
    x, y = causes_and_effects(graph, X, Y)
    _, allowed = limits(graph, x, y, (), within)
    permitted = graph.names_in_order(allowed & ~forbidden_nodes(graph, x, y))
    return find_minimal_separator(proper_back_door_graph(graph, x, y), Y, X, (), permitted)
