"""Sets of nodes as the graphical criteria take them: checked once, turned into bits."""

from causalppl.exceptions import GraphError
from causalppl.graphs import ADMG, Nodes


def causes_and_effects(graph: ADMG, X: Nodes, Y: Nodes) -> tuple[int, int]:
    """Turn causes X and effects Y into bits.

    Raises:
        GraphError: A node is not in the graph, one set is empty, or both share a node.

    Example:
        >>> causes_and_effects(ADMG.parse("X -> Z -> Y"), "X", "Y")
        (1, 4)
    """
    x, y = graph.mask(X), graph.mask(Y)
    for name, mask in (("X", x), ("Y", y)):
        if not mask:
            raise GraphError(f"{name} is empty; expected at least one node; name one")
    refuse_overlap(graph, X=x, Y=y)
    return x, y


def covariates(graph: ADMG, x: int, y: int, Z: Nodes, name: str = "Z") -> int:
    """Turn a set that must not touch X and Y into bits.

    Raises:
        GraphError: A node is not in the graph, or is in X or Y.
    """
    z = graph.mask(Z)
    refuse_overlap(graph, **{"X": x, name: z})
    refuse_overlap(graph, **{"Y": y, name: z})
    return z


def limits(graph: ADMG, x: int, y: int, including: Nodes, within: Nodes | None) -> tuple[int, int]:
    """Turn the bounds of a search into bits: what must be in a set, and what may be.

    X and Y are left out of what may be in the set; None stands for all other nodes.

    Raises:
        GraphError: A node is not in the graph, or a node that must be in may not be.
    """
    included = covariates(graph, x, y, including, "including")
    allowed = (graph.all_mask if within is None else graph.mask(within)) & ~(x | y)
    if missing := included & ~allowed:
        raise GraphError(
            f"including names {_listed(graph, missing)}, which within leaves out; expected a part "
            "of within; add it there"
        )
    return included, allowed


def refuse_overlap(graph: ADMG, **sets: int) -> None:
    """Compare two named sets of nodes.

    Raises:
        GraphError: They share a node.
    """
    (first, a), (second, b) = sets.items()
    if a & b:
        raise GraphError(
            f"{first} and {second} share {_listed(graph, a & b)}; expected disjoint sets; "
            "remove it from one of them"
        )


def _listed(graph: ADMG, mask: int) -> str:
    return ", ".join(graph.names_in_order(mask))
