"""Sets of instruments, for several causes at once; and the rank of a covariance matrix."""

from causalppl.exceptions import GraphError
from causalppl.graphs import ADMG, Nodes, is_separated
from causalppl.graphs.checked import takes_diagram
from causalppl.graphs.mixed import closure, iterate_bits
from causalppl.identification.arguments import causes_and_effects, covariates, refuse_overlap
from causalppl.identification.causal_paths import on_causal_paths, without_edges
from causalppl.identification.minimum_cut import Network, maximum_flow


@takes_diagram
def is_instrumental_set(
    graph: ADMG, Z: Nodes, X: Nodes, y: str, given: Nodes = (), *, direct: bool = False
) -> bool:
    """Say whether Z identifies the joint effect of X on y in a linear model, given some nodes.

    Two-stage least squares of y on X with instruments Z and with ``given`` as further covariates
    then has one limit, the joint effect, for almost all coefficients. That is so if Z and y are
    m-separated given ``given`` once the effect is cut from the diagram, nothing of Z and ``given``
    is affected by what carries the effect, and ``cov(Z, X | given)`` has full column rank. The
    rank is found by a flow: as many treks from Z and ``given`` to X and ``given`` as these have
    nodes, which meet neither on their ways up nor on their ways down.

    One set ``given`` serves all instruments (the *simple conditional* case). Which sets there are
    is not searched: to find one is NP-hard.

    Args:
        graph: Any diagram.
        Z: The instruments; at least as many as causes.
        X: The causes.
        y: The effect.
        given: What is conditioned on.
        direct: Ask for the coefficients of the edges ``x -> y`` instead of the joint effect along
            all proper causal paths.

    Raises:
        GraphError: A node is not in the graph, a set but ``given`` is empty, two sets share a
            node, or ``direct`` is asked of a cause without an edge to y.

    References:
        Brito and Pearl (2002), Generalized instrumental variables; van der Zander and Liskiewicz
        (2016), On searching for generalized instrumental variables; Sullivant, Talaska and Draisma
        (2010), Trek separation for Gaussian graphical models.

    Example:
        >>> graph = ADMG.parse("Z1 -> X1 -> Y; Z2 -> X2 -> Y; {X1, X2} <-> Y; Z1 -> X2")
        >>> is_instrumental_set(graph, {"Z1", "Z2"}, {"X1", "X2"}, "Y")
        True
        >>> is_instrumental_set(graph, "Z1", {"X1", "X2"}, "Y")
        False
    """
    x, effect = causes_and_effects(graph, X, (y,))
    z = covariates(graph, x, effect, Z)
    w = covariates(graph, x, effect, given, "given")
    refuse_overlap(graph, Z=z, given=w)
    if not z:
        raise GraphError("Z is empty; expected at least one instrument; name one")
    carriers = effect if direct else on_causal_paths(graph, x, effect) | effect
    if direct and (edgeless := x & ~graph.parent_masks[effect.bit_length() - 1]):
        (name, *_) = graph.names_in_order(edgeless)
        raise GraphError(
            f"there is no edge {name} -> {y}; a direct effect is the coefficient of one; "
            "leave out direct=True for the joint effect"
        )
    if (z | w) & closure(carriers, graph.child_masks):
        return False
    cut = without_edges(graph, x, carriers)
    if not is_separated(cut, graph.names_in_order(z), (y,), graph.names_in_order(w)):
        return False
    return generic_rank(graph, z | w, x | w) == (x | w).bit_count()


@takes_diagram
def generic_rank(graph: ADMG, rows: int, columns: int) -> int:
    """Find the rank that a block of the covariance matrix has for almost all coefficients.

    Args:
        graph: Any diagram.
        rows: Nodes, as bits.
        columns: Nodes, as bits; they may overlap with the rows.

    References:
        Sullivant, Talaska and Draisma (2010).

    Example:
        >>> graph = ADMG.parse("{A, B} -> C -> {D, E}")
        >>> generic_rank(graph, graph.mask({"A", "B"}), graph.mask({"D", "E"}))
        1
    """
    # node i going up is the edge 4i -> 4i + 1, going down it is 4i + 2 -> 4i + 3
    network: Network = []
    for i, (parents, siblings) in enumerate(
        zip(graph.parent_masks, graph.sibling_masks, strict=True)
    ):
        tops = {4 * j + 2: 1.0 for j in iterate_bits(siblings | 1 << i)}
        network += [
            {4 * i + 1: 1.0},
            {4 * j: 1.0 for j in iterate_bits(parents)} | tops,
            {4 * i + 3: 1.0},
            {4 * j + 2: 1.0 for j in iterate_bits(graph.child_masks[i])},
        ]
    source, sink = len(network), len(network) + 1
    network += [{4 * i: 1.0 for i in iterate_bits(rows)}, {}]
    for i in iterate_bits(columns):
        network[4 * i + 3][sink] = 1.0
    return round(maximum_flow(network, source, sink)[0])
