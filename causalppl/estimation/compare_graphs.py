"""How a diagram read from a program differs from one given by hand."""

from dataclasses import dataclass

from causalppl.exceptions import GraphError
from causalppl.graphs import ADMG
from causalppl.graphs.checked import read_diagram
from causalppl.graphs.local_markov import Edge, edges_of
from causalppl.programs import SCM
from causalppl.typing import Program

__all__ = ["GraphComparison", "compare_graphs", "graph_of"]


@dataclass(frozen=True)
class GraphComparison:
    """How a diagram given by hand differs from one read from a program. True if it does not.

    Attributes:
        missing: Edges that were read and not given.
        extra: Edges that were given and not read.
        reversed: Edges that were read, and given the other way round.
        only_read: Variables that were not given.
        only_given: Variables that were not read.

    Example:
        >>> print(compare_graphs(ADMG.parse("Z -> X -> Y"), ADMG.parse("Z <- X; X <-> Y")))
        missing: X -> Y; extra: X <-> Y; reversed: Z -> X
    """

    missing: tuple[Edge, ...]
    extra: tuple[Edge, ...]
    reversed: tuple[Edge, ...]
    only_read: tuple[str, ...]
    only_given: tuple[str, ...]

    def __bool__(self) -> bool:
        return not any(vars(self).values())

    def __str__(self) -> str:
        parts = {
            name.replace("_", " "): ", ".join(e if isinstance(e, str) else " ".join(e) for e in es)
            for name, es in vars(self).items()
        }
        listed = [f"{name}: {entries}" for name, entries in parts.items() if entries]
        return "; ".join(listed) or "the diagrams are the same"


def compare_graphs(read: ADMG | SCM | Program, given: ADMG) -> GraphComparison:
    """Compare the diagram of a program with one given by hand.

    Variables that only one of them has are named, and then forgotten by latent projection.

    Args:
        read: A program, or the diagram read from it.
        given: The diagram that was meant.

    Raises:
        GraphError: ``given`` is not a diagram.
        ProgramError: ``read`` cannot be read as a causal model.

    Example:
        >>> read = ADMG.parse("X -> M -> Y; X -> Y")
        >>> print(compare_graphs(read, ADMG.parse("X -> Y")))
        only read: M
    """
    if not isinstance(given, ADMG):
        raise GraphError(f"the diagram given is {given!r}; expected an ADMG; use ADMG.parse")
    first = graph_of(read).in_canonical_order()
    shared = [node for node in first.nodes if node in given]
    found = edges_of(first.latent_projection(shared))
    meant = set(edges_of(given.latent_projection(shared)))
    meant |= {e[::-1] for e in meant if e[1] == "<->"}
    turned = [e for e in found if e[1] == "->" and e not in meant and e[::-1] in meant]
    seen = {
        *found,
        *((b, arrow, a) for a, arrow, b in found if arrow == "<->" or (a, arrow, b) in turned),
    }
    return GraphComparison(
        tuple(e for e in found if e not in meant and e not in turned),
        tuple(e for e in edges_of(given.latent_projection(shared)) if e not in seen),
        tuple(turned),
        tuple(node for node in first.nodes if node not in given),
        tuple(node for node in given.in_canonical_order().nodes if node not in first),
    )


def graph_of(model: ADMG | str | SCM | Program) -> ADMG:
    """Return a diagram, or that of a program over its observed sites.

    Raises:
        GraphError: It is neither, or the text of a diagram cannot be read.
    """
    if callable(model) and not isinstance(model, ADMG | SCM):
        model = SCM(model)
    return read_diagram(model, "falsify(graph, data)")
