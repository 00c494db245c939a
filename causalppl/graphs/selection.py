"""Selection diagrams: where populations differ, and what makes an effect carry over.

A selection node points at each variable whose mechanism, or whose latent causes, may differ
between two populations. A variable that no selection node points at has the same mechanism in
both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from causalppl.exceptions import GraphError
from causalppl.graphs.admg import ADMG
from causalppl.graphs.checked import takes_diagram
from causalppl.graphs.mixed import Nodes
from causalppl.graphs.separation import find_minimal_separator, is_separated, minimal_separators

__all__ = [
    "find_s_admissible_set",
    "is_s_admissible",
    "s_admissible_sets",
    "selection_diagram",
    "shifted_variables",
]


@takes_diagram
def selection_diagram(graph: ADMG, shifted: Mapping[str, Nodes]) -> ADMG:
    """Add a selection node ``S_population`` for each population that differs from the target.

    Args:
        graph: The diagram that all populations share.
        shifted: Population to the variables whose mechanisms may differ there from the target's.

    Returns:
        The diagram with the selection nodes, which come last in its order.

    Raises:
        GraphError: A variable is not in the graph, or a selection node's name is taken.

    References:
        Pearl and Bareinboim (2011), Transportability of causal and statistical relations;
        Bareinboim and Pearl (2014), Transportability from multiple environments.

    Example:
        >>> graph = ADMG.parse("Z -> X -> Y; Z -> Y")
        >>> print(selection_diagram(graph, {"trial": ["Z"]}))
        Z -> X -> Y; Z -> Y; S_trial -> Z
    """
    nodes, edges = list(graph.nodes), list(graph.directed_edges)
    for population, variables in shifted.items():
        node = f"S_{population}"
        if node in graph:
            raise GraphError(
                f"the selection node of {population!r} would be called {node!r}, which is a "
                "variable of the graph; names must differ; rename the population or the variable"
            )
        nodes.append(node)
        edges += [(node, variable) for variable in graph.in_order(variables)]
    return ADMG(nodes, edges, graph.bidirected_edges)


@takes_diagram
def shifted_variables(diagram: ADMG, node: str) -> tuple[str, ...]:
    """List the variables that a selection node points at, in the diagram's order.

    Args:
        diagram: From `selection_diagram`.
        node: The selection node, such as ``"S_trial"``.

    Raises:
        GraphError: The node is not in the diagram, or has causes, which no selection node has.

    References:
        Pearl and Bareinboim (2011), Transportability of causal and statistical relations.

    Example:
        >>> graph = ADMG.parse("Z -> X -> Y; Z -> Y")
        >>> shifted_variables(selection_diagram(graph, {"trial": ["Y", "Z"]}), "S_trial")
        ('Z', 'Y')
    """
    if into := diagram.parents(node) | diagram.siblings(node):
        raise GraphError(
            f"{node!r} has arrowheads from {', '.join(diagram.in_order(into))}; expected a "
            "selection node, which has none; name one that selection_diagram made"
        )
    return diagram.in_order(diagram.children(node))


@takes_diagram
def is_s_admissible(
    graph: ADMG, shifted: Nodes, treatment: Nodes, outcome: Nodes, covariates: Nodes = ()
) -> bool:
    """Say whether the effect within strata of some covariates is the same in two populations.

    The set Z is S-admissible if Z and X separate the selection node from Y in the diagram without
    arrows into X. Then ``P(y | do(x), z)`` is the same in both populations, and
    ``P*(y | do(x)) = sum_z P(y | do(x), z) P*(z | do(x))``, where the last factor is ``P*(z)`` if
    X affects no variable of Z.

    Args:
        graph: The diagram that both populations share.
        shifted: The variables whose mechanisms may differ.
        treatment: X.
        outcome: Y.
        covariates: Z.

    Raises:
        GraphError: A node is not in the graph, or X, Y and Z are not disjoint.

    References:
        Pearl and Bareinboim (2011), Transportability of causal and statistical relations,
        definition 8 and theorem 2; Pearl and Bareinboim (2014), External validity.

    Example:
        >>> graph = ADMG.parse("Age -> {Drug, Health}; Drug -> Health")
        >>> is_s_admissible(graph, "Age", "Drug", "Health", "Age")
        True
        >>> is_s_admissible(graph, "Age", "Drug", "Health")
        False
    """
    cut, node = _under_treatment(graph, shifted, treatment)
    given = graph.mask(treatment) | graph.mask(covariates)
    x, y, z = map(graph.mask, (treatment, outcome, covariates))
    if shared := graph.names_in_order(x & y | x & z | y & z):
        raise GraphError(
            f"{', '.join(shared)} is in two of treatment, outcome, covariates; expected disjoint "
            "sets; remove it from one of them"
        )
    if not x or not y:
        raise GraphError("treatment or outcome is empty; expected at least one node in each")
    return is_separated(cut, node, outcome, graph.names(given))


@takes_diagram
def find_s_admissible_set(
    graph: ADMG, shifted: Nodes, treatment: Nodes, outcome: Nodes, within: Nodes | None = None
) -> frozenset[str] | None:
    """Find an S-admissible set that cannot be made smaller, or None if there is none.

    The cost is linear in the size of the graph. Among the minimal sets the one found is nearest
    to what is shifted.

    Args:
        graph: The diagram that both populations share.
        shifted: The variables whose mechanisms may differ.
        treatment: X.
        outcome: Y.
        within: What may be in the set, such as what both populations measured; None means all
            variables but X and Y.

    Raises:
        GraphError: A node is not in the graph, or X and Y are not disjoint.

    References:
        van der Zander and Liskiewicz (2019), Finding minimal d-separators in linear time and
        applications.

    Example:
        >>> graph = ADMG.parse("Age -> Skill -> Health; Drug -> Health")
        >>> sorted(find_s_admissible_set(graph, "Age", "Drug", "Health"))
        ['Age']
        >>> find_s_admissible_set(graph, "Health", "Drug", "Health") is None
        True
    """
    cut, node = _under_treatment(graph, shifted, treatment)
    allowed = _allowed(graph, treatment, within)
    found = find_minimal_separator(cut, node, outcome, treatment, allowed)
    return None if found is None else found - graph.names(graph.mask(treatment))


@takes_diagram
def s_admissible_sets(
    graph: ADMG, shifted: Nodes, treatment: Nodes, outcome: Nodes, within: Nodes | None = None
) -> Iterator[frozenset[str]]:
    """List the S-admissible sets that cannot be made smaller, with polynomial delay.

    Args:
        graph: The diagram that both populations share.
        shifted: The variables whose mechanisms may differ.
        treatment: X.
        outcome: Y.
        within: What may be in a set; None means all variables but X and Y.

    Yields:
        Each set once, the nearest to what is shifted first.

    Raises:
        GraphError: A node is not in the graph, or X and Y are not disjoint.

    References:
        van der Zander and Liskiewicz (2019), Finding minimal d-separators in linear time and
        applications.

    Example:
        >>> graph = ADMG.parse("Age -> Skill -> Health; Drug -> Health")
        >>> [sorted(found) for found in s_admissible_sets(graph, "Age", "Drug", "Health")]
        [['Age'], ['Skill']]
    """
    cut, node = _under_treatment(graph, shifted, treatment)
    allowed = _allowed(graph, treatment, within)
    for found in minimal_separators(cut, node, outcome, treatment, allowed):
        yield found - graph.names(graph.mask(treatment))


def _under_treatment(graph: ADMG, shifted: Nodes, treatment: Nodes) -> tuple[ADMG, str]:
    """Build the selection diagram without arrows into the treatment; name its selection node."""
    population = "population"
    while f"S_{population}" in graph:
        population += "_"
    diagram = selection_diagram(graph, {population: shifted})
    return diagram.remove_incoming(treatment), f"S_{population}"


def _allowed(graph: ADMG, treatment: Nodes, within: Nodes | None) -> frozenset[str]:
    mask = graph.all_mask if within is None else graph.mask(within)
    return graph.names(mask | graph.mask(treatment))
