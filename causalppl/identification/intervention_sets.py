"""Where to intervene: the sets of variables that can be best to set, whatever the mechanisms.

Most sets of variables need never be tried. Setting a variable that cannot reach the reward past the
others that are set is pointless (what is left are the *minimal* sets), and among these many are
never better than another (what is left are the *possibly optimal* ones).

References:
    Lee and Bareinboim (2018), Structural causal bandits: where to intervene?
    Lee and Bareinboim (2019), Structural causal bandits with non-manipulable variables.
"""

from collections.abc import Iterable

from causalppl.exceptions import GraphError, NotIdentifiableError
from causalppl.graphs import ADMG
from causalppl.graphs.checked import takes_diagram
from causalppl.graphs.mixed import Nodes, closure, iterate_bits, union
from causalppl.identification.identify import identify
from causalppl.queries import Event, Intervention, Query, Term

__all__ = ["minimal_intervention_sets", "possibly_optimal_sets", "requires_experiment"]


@takes_diagram
def minimal_intervention_sets(
    graph: ADMG, reward: str, *, manipulable: Nodes | None = None
) -> tuple[frozenset[str], ...]:
    """List the sets of variables none of which is pointless to set (MIS).

    A set is minimal if each of its variables still reaches the reward when all of the set is set;
    dropping one can change the reward. There can be as many as ``2 ** (nodes - 1)``.

    Args:
        graph: The diagram.
        reward: The variable to be made large.
        manipulable: The variables that can be set; all but the reward when left out.

    Returns:
        The sets, smaller ones first and then in the order of the graph; the empty set, which means
        to observe, is among them.

    Raises:
        GraphError: The graph is not an ADMG, a node is not in it, or the reward is among the
            manipulable ones.

    References:
        Lee and Bareinboim (2018), Structural causal bandits: where to intervene?

    Example:
        >>> graph = ADMG.parse("Z -> X -> Y; X <-> Y")
        >>> [sorted(found) for found in minimal_intervention_sets(graph, "Y")]
        [[], ['Z'], ['X']]
    """
    y, allowed = _limits(graph, reward, manipulable)
    found = [0]
    above = _ancestors(graph, y, 0, graph.all_mask)
    order = [i for i in reversed(graph._topological_indices) if (above & allowed) >> i & 1]
    stack = [(0, above, order)]
    while stack:
        chosen, within, rest = stack.pop()
        for place, node in enumerate(rest):
            wider = chosen | 1 << node
            seen = _ancestors(graph, y, wider, within)
            found.append(wider)
            stack.append((wider, seen, [i for i in rest[place + 1 :] if seen >> i & 1]))
    return _listed(graph, found)


@takes_diagram
def possibly_optimal_sets(
    graph: ADMG, reward: str, *, manipulable: Nodes | None = None
) -> tuple[frozenset[str], ...]:
    """List the sets of variables that are best to set under some mechanisms (POMIS).

    For each of these sets there is a model with this diagram in which nothing else is as good; no
    other set can be better than all of them. Where some variables cannot be set, these are the
    sets of the diagram with those variables forgotten, which is not the same as leaving out the
    sets that contain them.

    Args:
        graph: The diagram.
        reward: The variable to be made large.
        manipulable: The variables that can be set; all but the reward when left out.

    Returns:
        The sets, smaller ones first and then in the order of the graph; the empty set means to
        observe.

    Raises:
        GraphError: The graph is not an ADMG, a node is not in it, or the reward is among the
            manipulable ones.

    References:
        Lee and Bareinboim (2018), Structural causal bandits: where to intervene; with
        variables that cannot be set: Lee and Bareinboim (2019), Structural causal bandits with
        non-manipulable variables.

    Example:
        >>> graph = ADMG.parse("Z -> X -> Y; X <-> Y")
        >>> [sorted(found) for found in possibly_optimal_sets(graph, "Y")]
        [['Z'], ['X']]
        >>> [sorted(found) for found in possibly_optimal_sets(graph, "Y", manipulable="Z")]
        [['Z']]
    """
    _, allowed = _limits(graph, reward, manipulable)
    kept = graph.latent_projection((*graph.names_in_order(allowed), reward))
    return _listed(kept, _PossiblyOptimal(kept, kept.mask(reward)).run())


@takes_diagram
def requires_experiment(graph: ADMG, treatment: Nodes, outcome: str) -> bool:
    """Whether observation alone cannot tell what setting the treatment does to the outcome.

    Args:
        graph: Diagram over the observed variables.
        treatment: What would be set: one variable or several.
        outcome: What would respond.

    Raises:
        GraphError: The graph is not an ADMG, or a node is not in it.
        QueryError: The outcome is among the treatments.

    Example:
        >>> from causalppl.graphs import bow, front_door
        >>> requires_experiment(bow(), "X", "Y"), requires_experiment(front_door(), "X", "Y")
        (True, False)
    """
    names = graph.in_order(treatment)
    graph.mask(outcome)
    query = Query("P", (Event(Term(outcome)),), do=tuple(map(Intervention, names)))
    try:
        identify(graph, query)
    except NotIdentifiableError:
        return True
    return False


class _PossiblyOptimal:
    """The recursion of Lee and Bareinboim (2018), algorithm 1; sets are bits."""

    def __init__(self, graph: ADMG, y: int) -> None:
        self.graph, self.y = graph, y
        self.found: set[int] = set()

    def run(self) -> set[int]:
        territory, border = self.territory(0, self.graph.all_mask)
        order = [i for i in reversed(self.graph._topological_indices) if territory >> i & 1]
        self.found.add(border)
        self.below(border, territory | border, [i for i in order if 1 << i != self.y], 0)
        return self.found

    def below(self, cut: int, within: int, order: list[int], passed: int) -> None:
        """Add the sets that arise when one more variable of a territory is set."""
        for place, node in enumerate(order):
            territory, border = self.territory(cut | 1 << node, within)
            if not border & passed:
                self.found.add(border)
                rest = [i for i in order[place + 1 :] if territory >> i & 1]
                if rest:
                    self.below(border, territory | border, rest, passed)
            passed |= 1 << node

    def territory(self, cut: int, within: int) -> tuple[int, int]:
        """Find what hangs together with the reward through latent causes, and its border.

        The territory is closed under bidirected edges and under descendants; the interventional
        border are its parents outside.
        """
        graph = self.graph
        above = _ancestors(graph, self.y, cut, within)
        inner = above & ~cut
        territory, before = self.y, 0
        while territory != before:
            before = territory
            territory = closure(territory, graph.sibling_masks, inner)
            territory = closure(territory, graph.child_masks, inner)
        return territory, union(territory, graph.parent_masks) & above & ~territory


def _ancestors(graph: ADMG, y: int, cut: int, within: int) -> int:
    """Find the ancestors of the reward, itself included, where what is cut has no parents."""
    reached = frontier = y
    while frontier:
        low = frontier & -frontier
        frontier ^= low
        if not low & cut:
            new = graph.parent_masks[low.bit_length() - 1] & within & ~reached
            reached |= new
            frontier |= new
    return reached


def _limits(graph: ADMG, reward: str, manipulable: Nodes | None) -> tuple[int, int]:
    y = graph.mask(reward)
    if y.bit_count() != 1:
        raise GraphError(f"the reward is {reward!r}; expected one node")
    allowed = graph.all_mask & ~y if manipulable is None else graph.mask(manipulable)
    if allowed & y:
        raise GraphError(f"{reward} is the reward and cannot be manipulable; leave it out")
    return y, allowed


def _listed(graph: ADMG, found: Iterable[int]) -> tuple[frozenset[str], ...]:
    """Turn bits into names: smaller sets first, then in the order of the graph."""
    places = sorted((tuple(iterate_bits(mask)) for mask in found), key=lambda p: (len(p), p))
    return tuple(frozenset(map(graph.nodes.__getitem__, each)) for each in places)
