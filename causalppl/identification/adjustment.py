"""Adjustment: which sets of covariates turn an association into an effect.

Z is an *adjustment set* for the effect of X on Y if
``P(y | do(x)) = sum_z P(y | x, z) P(z)`` in every model that the diagram describes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from causalppl.graphs import (
    ADMG,
    Nodes,
    Path,
    find_minimal_separator,
    find_open_path,
    is_separated,
    minimal_separators,
)
from causalppl.graphs.checked import takes_diagram
from causalppl.graphs.mixed import closure, union
from causalppl.identification.arguments import causes_and_effects, covariates, limits
from causalppl.identification.between import sets_between
from causalppl.identification.causal_paths import (
    find_directed_path,
    forbidden_nodes,
    on_causal_paths,
    proper_back_door_graph,
)


@takes_diagram
def is_adjustment_set(graph: ADMG, X: Nodes, Y: Nodes, Z: Nodes = ()) -> bool:
    """Say whether adjusting for Z gives the effect of X on Y.

    The criterion is complete: if the answer is no, some model of the diagram has
    ``P(y | do(x))`` different from ``sum_z P(y | x, z) P(z)``. The cost is linear.

    Args:
        graph: Any diagram.
        X: The causes.
        Y: The effects.
        Z: The covariates.

    Raises:
        GraphError: A node is not in the graph, X or Y is empty, or two sets share a node.

    References:
        Shpitser, VanderWeele and Robins (2010), On the validity of covariate adjustment for
        estimating causal effects; van der Zander, Liskiewicz and Textor (2014);
        Perkovic et al. (2018) for latent variables.

    Example:
        >>> graph = ADMG.parse("Z -> {X, Y}; X -> M -> Y")
        >>> is_adjustment_set(graph, "X", "Y", "Z"), is_adjustment_set(graph, "X", "Y", {"Z", "M"})
        (True, False)
    """
    x, y = causes_and_effects(graph, X, Y)
    z = covariates(graph, x, y, Z)
    if z & forbidden_nodes(graph, x, y):
        return False
    return _separates(graph, proper_back_door_graph(graph, x, y), x, y, z)


@takes_diagram
def is_back_door_set(graph: ADMG, X: Nodes, Y: Nodes, Z: Nodes = ()) -> bool:
    """Say whether Z satisfies Pearl's back-door criterion: sufficient for adjustment, not needed.

    No node of Z is affected by X, and Z blocks every path from X to Y that starts with an
    arrowhead at X and does not return to X.

    Args:
        graph: Any diagram.
        X: The causes.
        Y: The effects.
        Z: The covariates.

    Raises:
        GraphError: A node is not in the graph, X or Y is empty, or two sets share a node.

    References:
        Pearl (2009), Causality, definition 3.3.1.

    Example:
        >>> graph = ADMG.parse("Z -> {X, Y}; X -> Y; X -> D")
        >>> is_back_door_set(graph, "X", "Y", "Z"), is_back_door_set(graph, "X", "Y", {"Z", "D"})
        (True, False)
    """
    x, y = causes_and_effects(graph, X, Y)
    z = covariates(graph, x, y, Z)
    if z & closure(x, graph.child_masks):
        return False
    return _separates(graph, graph.remove_outgoing(X), x, y, z)


@takes_diagram
def find_adjustment_set(
    graph: ADMG, X: Nodes, Y: Nodes, *, including: Nodes = (), within: Nodes | None = None
) -> frozenset[str] | None:
    """Find an adjustment set that cannot be made smaller, in linear time.

    Args:
        graph: Any diagram.
        X: The causes.
        Y: The effects.
        including: Nodes that must be in the set.
        within: Nodes that may be in the set; None means all but X and Y.

    Returns:
        An adjustment set that holds ``including``, of which no smaller part that does so is one;
        None if there is no adjustment set within these limits.

    Raises:
        GraphError: A node is not in the graph, X or Y is empty, X, Y and ``including`` are not
            disjoint, or ``including`` is not part of ``within``.

    References:
        van der Zander, Liskiewicz and Textor (2019), Separators and adjustment sets in causal
        graphs: complete criteria and an algorithmic framework.

    Example:
        >>> graph = ADMG.parse("A -> Z -> {X, Y}; X -> Y")
        >>> sorted(find_adjustment_set(graph, "X", "Y"))
        ['Z']
        >>> find_adjustment_set(graph, "X", "Y", within="A") is None
        True
    """
    x, y = causes_and_effects(graph, X, Y)
    included, allowed = limits(graph, x, y, including, within)
    forbidden = forbidden_nodes(graph, x, y)
    if included & forbidden:
        return None
    cut = proper_back_door_graph(graph, x, y)
    held, permitted = graph.names_in_order(included), graph.names_in_order(allowed & ~forbidden)
    return find_minimal_separator(cut, X, Y, held, permitted)


@takes_diagram
def adjustment_sets(
    graph: ADMG, X: Nodes, Y: Nodes, *, including: Nodes = (), within: Nodes | None = None
) -> Iterator[frozenset[str]]:
    """List all adjustment sets that cannot be made smaller, each once, the nearest to X first.

    There can be exponentially many, but the time between one and the next is polynomial.

    Args:
        graph: Any diagram.
        X: The causes.
        Y: The effects.
        including: Nodes that must be in the sets.
        within: Nodes that may be in the sets; None means all but X and Y.

    Yields:
        The sets that ``find_adjustment_set`` describes.

    Raises:
        GraphError: As for ``find_adjustment_set``.

    References:
        van der Zander, Liskiewicz and Textor (2014), Constructing separators and
        adjustment sets in ancestral graphs.

    Example:
        >>> graph = ADMG.parse("X <- A -> B -> Y; X -> Y")
        >>> [sorted(found) for found in adjustment_sets(graph, "X", "Y")]
        [['A'], ['B']]
    """
    x, y = causes_and_effects(graph, X, Y)
    included, allowed = limits(graph, x, y, including, within)
    forbidden = forbidden_nodes(graph, x, y)
    if included & forbidden:
        return iter(())
    cut = proper_back_door_graph(graph, x, y)
    held, permitted = graph.names_in_order(included), graph.names_in_order(allowed & ~forbidden)
    return minimal_separators(cut, X, Y, held, permitted)


@takes_diagram
def all_adjustment_sets(
    graph: ADMG, X: Nodes, Y: Nodes, *, including: Nodes = (), within: Nodes | None = None
) -> Iterator[frozenset[str]]:
    """List all adjustment sets, also those that could be smaller, each once.

    The time between one and the next is polynomial. Sets without the graph's first node come
    first, then, among these, those without its second node, and so on.

    Args:
        graph: Any diagram.
        X: The causes.
        Y: The effects.
        including: Nodes that must be in the sets.
        within: Nodes that may be in the sets; None means all but X and Y.

    Raises:
        GraphError: As for ``find_adjustment_set``.

    References:
        van der Zander, Liskiewicz and Textor (2014), Constructing separators and
        adjustment sets in ancestral graphs.

    Example:
        >>> graph = ADMG.parse("X <- A -> B -> Y; X -> Y")
        >>> [sorted(found) for found in all_adjustment_sets(graph, "X", "Y")]
        [['B'], ['A'], ['A', 'B']]
    """
    x, y = causes_and_effects(graph, X, Y)
    included, allowed = limits(graph, x, y, including, within)
    forbidden = forbidden_nodes(graph, x, y)
    cut = proper_back_door_graph(graph, x, y)

    def exists(low: int, high: int) -> bool:
        # if any set between two bounds separates, the ancestors that are allowed do
        largest = union(x | y | low, cut.ancestor_masks) & high | low
        return _separates(graph, cut, x, y, largest)

    if included & forbidden:
        return iter(())
    return map(graph.names, sets_between(included, allowed & ~forbidden, exists))


def _separates(graph: ADMG, cut: ADMG, x: int, y: int, z: int) -> bool:
    return is_separated(cut, *map(graph.names_in_order, (x, y, z)))


# why not


@dataclass(frozen=True)
class AdjustmentFailure:
    """Why a set is not an adjustment set: one of two reasons.

    Attributes:
        node: A node of the set that a causal path from X to Y affects; None if there is none.
        causal_path: If so, a causal path from X to Y ...
        descent: ... and a directed path from one of its nodes to ``node``.
        open_path: Otherwise, a non-causal path from X to Y that is open given the set.

    Example:
        >>> print(explain_adjustment(ADMG.parse("X -> M -> Y; M -> D"), "X", "Y", "D"))
        D is affected by the causal path X -> M -> Y, by M -> D
    """

    node: str | None = None
    causal_path: Path | None = None
    descent: Path | None = None
    open_path: Path | None = None

    def __str__(self) -> str:
        if self.open_path is not None:
            return f"the non-causal path {self.open_path} is open"
        if self.descent is None or len(self.descent.nodes) == 1:
            return f"{self.node} is on the causal path {self.causal_path}"
        return f"{self.node} is affected by the causal path {self.causal_path}, by {self.descent}"


@takes_diagram
def explain_adjustment(graph: ADMG, X: Nodes, Y: Nodes, Z: Nodes = ()) -> AdjustmentFailure | None:
    """Show why Z is not an adjustment set for the effect of X on Y.

    Args:
        graph: Any diagram.
        X: The causes.
        Y: The effects.
        Z: The covariates.

    Returns:
        The first node of Z that a causal path affects, with the paths that show it; if there is
        none, an open non-causal path; None exactly if ``is_adjustment_set``.

    Raises:
        GraphError: A node is not in the graph, X or Y is empty, or two sets share a node.

    References:
        van der Zander, Liskiewicz and Textor (2014).

    Example:
        >>> graph = ADMG.parse("X -> Y; X <-> Z <-> Y")
        >>> print(explain_adjustment(graph, "X", "Y", "Z"))
        the non-causal path X <-> Z <-> Y is open
        >>> explain_adjustment(graph, "X", "Y") is None
        True
    """
    x, y = causes_and_effects(graph, X, Y)
    z = covariates(graph, x, y, Z)
    if bad := z & forbidden_nodes(graph, x, y):
        return _forbidden_node(graph, x, y, bad & -bad)
    path = find_open_path(proper_back_door_graph(graph, x, y), X, Y, Z)
    return None if path is None else AdjustmentFailure(open_path=path)


def _forbidden_node(graph: ADMG, x: int, y: int, node: int) -> AdjustmentFailure:
    descent = find_directed_path(graph, on_causal_paths(graph, x, y), node)
    assert descent is not None  # forbidden nodes are those that such a path reaches
    branch = graph.mask(descent.nodes[0])
    before = find_directed_path(graph, x, branch, avoiding=x)
    after = find_directed_path(graph, branch, y, avoiding=x)
    assert before is not None
    assert after is not None
    path = Path(before.nodes + after.nodes[1:], before.arrows + after.arrows)
    (name,) = graph.names_in_order(node)
    return AdjustmentFailure(node=name, causal_path=path, descent=descent)
