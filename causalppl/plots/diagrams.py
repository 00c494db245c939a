"""Pictures of diagrams and of the worlds that a query speaks of."""

from collections.abc import Iterable, Mapping
from typing import Any

from causalppl.exceptions import GraphError
from causalppl.given import told
from causalppl.graphs import ADMG, twin_network
from causalppl.graphs.checked import read_diagram
from causalppl.graphs.drawing import draw
from causalppl.programs import SCM

__all__ = ["graph", "worlds"]


def graph(
    drawn: ADMG | SCM | str,
    *,
    do: Iterable[str] | str = (),
    highlight: Iterable[str] | str = (),
    latents: bool = True,
    ax: Any = None,
) -> Any:
    """Draw a diagram: causes to the left, hidden common causes as dashed arcs.

    Args:
        drawn: A diagram, its text, or a model; a model's latent sites are drawn with dashed
            outlines.
        do: Variables that are set: green boxes with sharp corners, without the arrows into them.
        highlight: Other variables to mark, in yellow.
        latents: Whether a model's latent sites are drawn; without them their confounding is.
        ax: The axes to draw on; None makes a figure.

    Returns:
        The axes.

    Raises:
        GraphError: A variable is not in the diagram.

    Example:
        >>> from causalppl import examples
        >>> from matplotlib.figure import Figure
        >>> ax = graph(examples.front_door().scm, do="X", ax=Figure().subplots())
        >>> ax.get_title()
        'do(X)'
    """
    hidden: tuple[str, ...] = ()
    if isinstance(drawn, SCM):
        whole = drawn.diagram if latents else drawn.graph
        hidden = tuple(name for name in drawn.latent if name in whole.nodes)
    else:
        whole = read_diagram(drawn, "graph(drawn)")
    set_here = whole.in_order(do)
    cut = whole.remove_incoming(set_here) if set_here else whole
    lit = whole.in_order(highlight)
    ax = draw(cut, ax, hidden=hidden, highlight=lit, set_here=set_here)
    if set_here:
        ax.set_title(f"do({', '.join(set_here)})")
    return ax


def worlds(
    drawn: ADMG | SCM | str,
    interventions: Mapping[str, Mapping[str, Any] | Iterable[str] | str],
    *,
    ax: Any = None,
) -> Any:
    """Draw the factual world and others beside it: the twin network.

    Each world has its tint. What an intervention cannot reach is shared, not copied; copies of one
    variable share noise, which the dashed arcs show; what is set has sharp corners.

    Args:
        drawn: A diagram, its text, or a model.
        interventions: World to what is set there, as for ``twin_worlds``.
        ax: The axes to draw on; None makes a figure.

    Returns:
        The axes.

    Raises:
        GraphError: A variable is not in the diagram, or there is no world.

    References:
        Balke and Pearl (1994), Probabilistic evaluation of counterfactual queries.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax = worlds("Z -> X -> Y; Z -> Y", {"x0": {"X": 0}}, ax=Figure().subplots())
        >>> ax.get_title()
        'x0: do(X=0)'
    """
    if not interventions:
        raise GraphError("there is no world to draw; name one, such as {'x0': {'X': 0}}")
    if not isinstance(interventions, Mapping):
        raise GraphError(
            f"the worlds are {told(interventions)}; expected a mapping from names to what is set, "
            "such as {'x0': {'X': 0}}"
        )
    base = read_diagram(drawn, "worlds(drawn, interventions)")
    names = {
        world: (done,) if isinstance(done, str) else tuple(done)
        for world, done in interventions.items()
    }
    network = twin_network(base, names)
    marked = [f"{name}@{world}" for world, done in names.items() for name in done]
    numbers = {world: number for number, world in enumerate(names, 1)}
    tints = {node: numbers.get(node.rpartition("@")[2], 0) for node in network.nodes}
    set_here = [name for name in marked if name in network.nodes]
    ax = draw(network, ax, set_here=set_here, worlds=tints)
    ax.set_title("; ".join(f"{world}: do({_told(done)})" for world, done in interventions.items()))
    return ax


def _told(done: Mapping[str, Any] | Iterable[str] | str) -> str:
    if isinstance(done, Mapping):
        return ", ".join(f"{name}={_short(value)}" for name, value in done.items())
    return done if isinstance(done, str) else ", ".join(done)


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
