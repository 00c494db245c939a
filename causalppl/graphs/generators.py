"""Diagrams to try things on: random ones, and those that the literature has given names."""

from collections.abc import Sequence

import numpy as np

from causalppl.exceptions import GraphError
from causalppl.graphs.admg import ADMG


def random_admg(
    nodes: int | Sequence[str],
    *,
    directed: float = 0.3,
    bidirected: float = 0.2,
    seed: int | None = None,
) -> ADMG:
    """Draw a diagram at random: a random causal order, then each edge by its own coin.

    Args:
        nodes: How many nodes, called ``V0``, ``V1``, ..., or their names. Their order says nothing
            about the causal order.
        directed: Probability that an edge joins two nodes, from the causally earlier to the later.
        bidirected: Probability that ``<->`` joins two nodes.
        seed: Non-negative integer; None takes fresh entropy. The global state is left alone.

    Raises:
        GraphError: A probability is not in [0, 1], or the number of nodes is negative.
        DataError: ``seed`` is not a non-negative integer.

    Example:
        >>> random_admg(5, seed=1) == random_admg(5, seed=1)
        True
        >>> random_admg(["A", "B"], directed=1.0, bidirected=0.0, seed=0).is_dag()
        True
    """
    from causalppl.seeding import spawn_seeds  # brings in torch, which diagrams do not need

    for name, value in (("directed", directed), ("bidirected", bidirected)):
        if not 0 <= value <= 1:
            raise GraphError(f"{name} is {value!r}; expected a probability; pass one in [0, 1]")
    if isinstance(nodes, int) and nodes < 0:
        raise GraphError(f"nodes is {nodes}; expected a count or names; pass 0 or more")
    names = [f"V{i}" for i in range(nodes)] if isinstance(nodes, int) else list(nodes)
    generator = np.random.default_rng(spawn_seeds(seed, 1)[0])
    order = [names[i] for i in generator.permutation(len(names))]
    shape = (len(names), len(names))
    arrows = np.triu(generator.random(shape) < directed, 1)
    arcs = np.triu(generator.random(shape) < bidirected, 1)
    return ADMG(
        names,
        [(order[i], order[j]) for i, j in np.argwhere(arrows)],
        [(order[i], order[j]) for i, j in np.argwhere(arcs)],
    )


def bow() -> ADMG:
    """Draw a cause and an effect that share a latent cause: ``P(Y | do(X))`` is not identifiable.

    References:
        Pearl (2009), Causality, figure 3.5.

    Example:
        >>> print(bow())
        X -> Y; X <-> Y
    """
    return ADMG.parse("X -> Y; X <-> Y")


def back_door() -> ADMG:
    """Draw an observed common cause Z: adjusting for it identifies ``P(Y | do(X))``.

    References:
        Pearl (1993), Comment: graphical models, causality and intervention.

    Example:
        >>> print(back_door())
        Z -> X -> Y; Z -> Y
    """
    return ADMG.parse("Z -> X -> Y; Z -> Y")


def front_door() -> ADMG:
    """Draw a mediator Z that carries all of the effect of X on Y, free of their latent cause.

    References:
        Pearl (1995), Causal diagrams for empirical research, figure 3.

    Example:
        >>> print(front_door())
        X -> Z -> Y; X <-> Y
    """
    return ADMG.parse("X -> Z -> Y; X <-> Y")


def instrument() -> ADMG:
    """Draw an instrument Z: it moves X, and Y only through X. The effect has bounds, no formula.

    References:
        Balke and Pearl (1997), Bounds on treatment effects from studies with imperfect compliance.

    Example:
        >>> print(instrument())
        Z -> X -> Y; X <-> Y
    """
    return ADMG.parse("Z -> X -> Y; X <-> Y")


def m_bias() -> ADMG:
    """Draw an M: X and Y are unconfounded until one adjusts for Z.

    References:
        Greenland, Pearl and Robins (1999), Causal diagrams for epidemiologic research.

    Example:
        >>> print(m_bias())
        X -> Y; X <-> Z; Y <-> Z
    """
    return ADMG.parse("X -> Y; X <-> Z <-> Y")


def napkin() -> ADMG:
    """Draw the napkin problem: identifiable, though by no adjustment and no front door.

    References:
        Pearl and Mackenzie (2018), The Book of Why, figure 7.5.

    Example:
        >>> print(napkin())
        W -> Z -> X -> Y; W <-> X; W <-> Y
    """
    return ADMG.parse("W -> Z -> X -> Y; W <-> X; W <-> Y")


def verma() -> ADMG:
    """Draw Verma's example: it implies a constraint on P(A, B, C, D) that is no independence.

    References:
        Verma and Pearl (1990), Equivalence and synthesis of causal models.

    Example:
        >>> print(verma())
        A -> B -> C -> D; B <-> D
    """
    return ADMG.parse("A -> B -> C -> D; B <-> D")
