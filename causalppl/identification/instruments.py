"""Instruments: a node that moves X and is tied to Y through X alone.

In a linear model, ``z`` is an instrument for the effect of ``x`` on ``y`` given W if

1. given W, ``z`` and ``y`` are m-separated once the effect in question is cut from the diagram,
2. given W, ``z`` and ``x`` are not, and
3. neither ``z`` nor W is affected by ``y``, or by what carries the effect from ``x`` to ``y``.

The effect is then ``cov(z, y | W) / cov(z, x | W)``. Here the effect is the total one, cut where
causal paths to ``y`` leave ``x``; with ``direct=True`` it is the coefficient of ``x -> y`` alone.
Without linearity an instrument gives bounds.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from causalppl.exceptions import GraphError
from causalppl.graphs import ADMG, Nodes, find_minimal_separator, is_separated
from causalppl.graphs.checked import takes_diagram
from causalppl.graphs.mixed import closure, iterate_bits
from causalppl.identification.arguments import causes_and_effects, covariates, refuse_overlap
from causalppl.identification.causal_paths import on_causal_paths, without_edges


@dataclass(frozen=True)
class Instrument:
    """An instrument and what makes it one.

    Attributes:
        node: The instrument.
        given: What has to be conditioned on, in the graph's order.

    Example:
        >>> print(Instrument("Z", ("A", "B")))
        Z given A, B
    """

    node: str
    given: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.node} given {', '.join(self.given)}" if self.given else self.node


@takes_diagram
def is_instrument(
    graph: ADMG, z: str, x: str, y: str, given: Nodes = (), *, direct: bool = False
) -> bool:
    """Say whether z is an instrument for the effect of x on y, given some nodes.

    Args:
        graph: Any diagram.
        z: The instrument.
        x: The cause.
        y: The effect.
        given: What is conditioned on.
        direct: Ask for the coefficient of ``x -> y`` instead of the total effect.

    Raises:
        GraphError: A node is not in the graph, z, x, y and ``given`` are not disjoint, or
            ``direct`` is asked without an edge ``x -> y``.

    References:
        Brito and Pearl (2002), Generalized instrumental variables; van der Zander, Textor and
        Liskiewicz (2015), Efficiently finding conditional instruments for causal inference;
        Henckel, Buttenschoen and Maathuis (2024), Graphical tools for selecting conditional
        instrumental sets, for total effects.

    Example:
        >>> graph = ADMG.parse("W -> {Z, Y}; Z -> X -> Y; X <-> Y")
        >>> is_instrument(graph, "Z", "X", "Y"), is_instrument(graph, "Z", "X", "Y", "W")
        (False, True)
    """
    cut = _cut_effect(graph, x, y, direct)
    causes, effects = causes_and_effects(graph, (x,), (y,))
    node = covariates(graph, causes, effects, (z,), "z")
    conditions = covariates(graph, causes, effects, given, "given")
    refuse_overlap(graph, z=node, given=conditions)
    if (node | conditions) & cut.affected:
        return False
    names = graph.names_in_order(conditions)
    return is_separated(cut.graph, (z,), (y,), names) and not is_separated(
        cut.graph, (z,), (x,), names
    )


@takes_diagram
def find_instruments(
    graph: ADMG, x: str, y: str, *, within: Nodes | None = None, direct: bool = False
) -> tuple[Instrument, ...]:
    """Find the instruments for the effect of x on y, each with what to condition on.

    Listed is every node that is an instrument given causes of itself and of y (an *ancestral*
    instrument), and one conditioning set for each: the minimal one that is nearest to y, and so
    leaves the instrument as strong a tie to x as the diagram allows. Some node is listed whenever
    any is an instrument given any set, so an empty answer means that there is none. The cost is
    the size of the graph times the number of nodes. (To tell whether one given node is an
    instrument under whatever conditions is NP-hard.)

    Args:
        graph: Any diagram.
        x: The cause.
        y: The effect.
        within: The nodes that may be used, as instruments or to condition on; None means all.
        direct: Ask for the coefficient of ``x -> y`` instead of the total effect.

    Returns:
        One instrument per node, in the graph's order.

    Raises:
        GraphError: A node is not in the graph, x and y are the same, or ``direct`` is asked without
            an edge ``x -> y``.

    References:
        van der Zander, Textor and Liskiewicz (2015), Efficiently finding conditional
        instruments for causal inference.

    Example:
        >>> graph = ADMG.parse("W -> {Z, Y}; Z -> X -> Y; X <-> Y")
        >>> [str(found) for found in find_instruments(graph, "X", "Y")]
        ['Z given W']
    """
    cut = _cut_effect(graph, x, y, direct)
    causes, effects = causes_and_effects(graph, (x,), (y,))
    allowed = graph.all_mask if within is None else graph.mask(within)
    usable = allowed & ~(causes | effects | cut.affected)
    return tuple(_ancestral_instruments(cut.graph, x, y, usable))


def _ancestral_instruments(cut: ADMG, x: str, y: str, usable: int) -> Iterator[Instrument]:
    for i in iterate_bits(usable):
        z = cut.nodes[i]
        given = find_minimal_separator(cut, (y,), (z,), (), cut.names_in_order(usable & ~(1 << i)))
        if given is not None and not is_separated(cut, (z,), (x,), given):
            yield Instrument(z, cut.in_order(given))


@dataclass(frozen=True)
class _CutEffect:
    """The diagram without the effect in question, and the nodes that carry or follow it."""

    graph: ADMG
    affected: int


def _cut_effect(graph: ADMG, x: str, y: str, direct: bool) -> _CutEffect:
    cause, effect = causes_and_effects(graph, (x,), (y,))
    if direct and not graph.child_masks[cause.bit_length() - 1] & effect:
        raise GraphError(
            f"there is no edge {x} -> {y}; a direct effect is the coefficient of one; "
            "leave out direct=True for the total effect"
        )
    carriers = effect if direct else on_causal_paths(graph, cause, effect) | effect
    return _CutEffect(without_edges(graph, cause, carriers), closure(carriers, graph.child_masks))
