"""Effects along some paths only: edge-wise path-specific effects, and why some have no formula.

A set of directed edges is *active*. The treatment has two values, and every variable has two
versions: the baseline version is the one in the world where the treatment is at its baseline
value; the active version takes parents through active edges at their active version, and all
others at their baseline version. The path-specific counterfactual is the outcome's active version.

References:
    Pearl (2001), Direct and indirect effects; Avin, Shpitser and Pearl (2005), Identifiability of
    path-specific effects; Shpitser (2013), Counterfactual graphical models for longitudinal
    mediation analysis with unobserved confounding.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Literal, TypeAlias

from causalppl.exceptions import GraphError, QueryError
from causalppl.graphs import ADMG
from causalppl.graphs.checked import takes_diagram
from causalppl.graphs.components import districts
from causalppl.graphs.mixed import closure, iterate_bits
from causalppl.graphs.parse import parse_graph
from causalppl.identification.causal_paths import reach
from causalppl.queries import Event, Intervention, Query, Term, Value
from causalppl.queries.terms import clean_value

__all__ = [
    "Paths",
    "path_specific_effect",
    "path_specific_query",
    "recanting_districts",
    "recanting_witnesses",
]

Paths: TypeAlias = str | Iterable[Sequence[str]]
"""Text such as ``"X -> M -> Y; X -> Y"``, or edges or longer chains of nodes."""

_Edge: TypeAlias = tuple[str, str]


@takes_diagram
def path_specific_query(
    graph: ADMG,
    treatment: str,
    outcome: str,
    paths: Paths,
    *,
    active: Value = 1,
    baseline: Value = 0,
    kind: Literal["P", "E"] = "E",
) -> Query:
    """Write the outcome of a treatment that acts along some paths only as a nested counterfactual.

    A path is active if all its edges are, so a path that is put together from edges of the paths
    given is active too. Worlds are nested only where two versions of one variable meet: total,
    natural direct and natural indirect effects come out in their usual form. Where the two values
    of the treatment alternate along paths, the length can double with each change.

    Args:
        graph: The diagram.
        treatment: The variable that is set.
        outcome: The variable that is read.
        paths: The active edges: text in the syntax of diagrams, edges, or lists of nodes.
        active: The treatment's value along active paths.
        baseline: Its value along all other paths.
        kind: ``"E"`` for the expectation, ``"P"`` for the law.

    Returns:
        A query that `identify`, and any other answerer of nested counterfactuals, takes.

    Raises:
        GraphError: A node or an edge is not in the diagram.
        QueryError: The paths are not directed, do not lead from the treatment to the outcome, or
            are none; both values of the treatment are the same.

    References:
        Pearl (2001); Avin, Shpitser and Pearl (2005), who choose edges too; Shpitser (2013).

    Example:
        >>> graph = ADMG.parse("X -> M -> Y; X -> Y")
        >>> print(path_specific_query(graph, "X", "Y", "X -> Y"))
        E[Y_{X=1, M_{X=0}}]
        >>> print(path_specific_query(graph, "X", "Y", "X -> M -> Y", kind="P"))
        P(Y_{X=0, M_{X=1}})
        >>> print(path_specific_query(graph, "X", "Y", "X -> M -> Y; X -> Y"))
        E[Y_{X=1}]
    """
    routes = _read(graph, treatment, outcome, paths)
    writer = _Writer(routes, _two_values(treatment, active, baseline))
    return Query(kind, (Event(writer.term(routes.outcome, True)),))


@takes_diagram
def path_specific_effect(
    graph: ADMG,
    treatment: str,
    outcome: str,
    paths: Paths,
    *,
    active: Value = 1,
    baseline: Value = 0,
    against: Literal["baseline", "active"] = "baseline",
) -> Query:
    """Write the effect of a treatment along some paths as a difference of expectations.

    Args:
        graph: The diagram.
        treatment: The variable that is set.
        outcome: The variable that is read.
        paths: The active edges, as for `path_specific_query`.
        active: The treatment's value along active paths.
        baseline: Its value along all other paths.
        against: What is subtracted: ``"baseline"``, the mean outcome where the treatment is at its
            baseline value, or ``"active"``, where it is at its active value along all paths (the
            difference is then what the other paths contribute, with the opposite sign).

    Returns:
        A query with two terms.

    Raises:
        GraphError: As for `path_specific_query`.
        QueryError: Likewise; or all paths are active and compared with themselves.

    References:
        Pearl (2001); Avin, Shpitser and Pearl (2005).

    Example:
        >>> graph = ADMG.parse("X -> M -> Y; X -> Y")
        >>> print(path_specific_effect(graph, "X", "Y", "X -> M -> Y"))
        E[Y_{X=0, M_{X=1}} - Y_{X=0}]
    """
    if against not in ("baseline", "active"):
        raise QueryError(f"against is {against!r}; expected 'baseline' or 'active'; choose one")
    routes = _read(graph, treatment, outcome, paths)
    values = _two_values(treatment, active, baseline)
    first = _Writer(routes, values).term(routes.outcome, True)
    second = Term(outcome, (Intervention(treatment, values[against == "active"]),))
    if first == second:
        raise QueryError(
            f"all paths from {treatment} to {outcome} are active, which leaves no difference from "
            f"{second}; compare with against='baseline', or make fewer edges active"
        )
    return Query("E", (Event(first), Event(second)), coefficients=(1.0, -1.0))


@takes_diagram
def recanting_witnesses(graph: ADMG, treatment: str, outcome: str, paths: Paths) -> frozenset[str]:
    """Find the variables that a path-specific effect needs in two versions at once.

    Such a variable is reached along active edges from the treatment, and from there an active path
    and one that is not active lead on to the outcome. In a diagram without latent causes the
    effect has a formula in experiments exactly if there is none.

    Args:
        graph: The diagram.
        treatment: The variable that is set.
        outcome: The variable that is read.
        paths: The active edges, as for `path_specific_query`.

    Raises:
        GraphError: As for `path_specific_query`; QueryError likewise.
        QueryError: A path is no path, or treatment and outcome are one variable.

    References:
        Avin, Shpitser and Pearl (2005), the recanting witness criterion.

    Example:
        >>> kite = ADMG.parse("X -> R -> Z -> Y; R -> Y")
        >>> recanting_witnesses(kite, "X", "Y", "X -> R -> Z -> Y")
        frozenset({'R'})
        >>> recanting_witnesses(kite, "X", "Y", "X -> R -> Z -> Y; R -> Y")
        frozenset()
    """
    routes = _read(graph, treatment, outcome, paths)
    receiving = sum(1 << node for node, parents in enumerate(routes.parents) if parents)
    return routes.graph.names(receiving & routes.has_other_path)


@takes_diagram
def recanting_districts(
    graph: ADMG, treatment: str, outcome: str, paths: Paths
) -> tuple[frozenset[str], ...]:
    """Find the districts that a path-specific effect needs under both values of the treatment.

    Such a district, taken among the causes of the outcome other than through the treatment, is
    entered from the treatment by an active path and by one that is not active. There is none
    exactly if the effect has a formula in experiments on all sets of variables.

    Args:
        graph: The diagram.
        treatment: The variable that is set.
        outcome: The variable that is read.
        paths: The active edges, as for `path_specific_query`.

    Returns:
        Disjoint sets, in the order of the graph.

    Raises:
        GraphError: As for `path_specific_query`; QueryError likewise.
        QueryError: A path is no path, or treatment and outcome are one variable.

    References:
        Shpitser (2013), the recanting district criterion; complete.

    Example:
        >>> graph = ADMG.parse("X -> A -> Y; X -> B -> Y; A <-> B")
        >>> [sorted(found) for found in recanting_districts(graph, "X", "Y", "X -> A -> Y")]
        [['A', 'B']]
    """
    routes = _read(graph, treatment, outcome, paths)
    names, x = routes.graph.names, routes.treatment
    by_active = routes.children[x]
    by_other = routes.graph.child_masks[x] & (~by_active | routes.has_other_path)
    return tuple(
        part
        for part in districts(graph, names(routes.causes))
        if part & names(by_active) and part & names(by_other)
    )


@dataclass(frozen=True)
class _Routes:
    """The active edges of a diagram in canonical order; nodes are positions, sets are bits.

    Attributes:
        graph: The diagram.
        treatment: Where active paths start.
        outcome: Where they end.
        parents: For each node its parents through active edges.
    """

    graph: ADMG
    treatment: int
    outcome: int
    parents: tuple[int, ...]

    @cached_property
    def children(self) -> tuple[int, ...]:
        """For each node its children through active edges."""
        found = [0] * len(self.parents)
        for node, parents in enumerate(self.parents):
            for parent in iterate_bits(parents):
                found[parent] |= 1 << node
        return tuple(found)

    @cached_property
    def causes(self) -> int:
        """The causes of the outcome, itself included, other than through the treatment."""
        return reach(1 << self.outcome, self.graph.parent_masks, 1 << self.treatment)

    @cached_property
    def has_other_path(self) -> int:
        """The nodes from which a path that is not active leads to the outcome."""
        found = 0
        for node in reversed(range(len(self.parents))):
            onward = self.graph.child_masks[node] & self.causes
            if onward & ~self.children[node] or onward & found:
                found |= 1 << node
        return found


@dataclass(frozen=True)
class _Writer:
    """Writes versions of variables as terms.

    Attributes:
        routes: The active edges.
        values: The treatment's value at baseline, and its active value.
    """

    routes: _Routes
    values: tuple[Value, Value]
    _terms: dict[tuple[int, bool], Term] = field(default_factory=dict)

    def term(self, node: int, is_active: bool) -> Term:
        """Write one version of a variable that the treatment affects."""
        key = node, is_active
        if key not in self._terms:
            tried = (self._in_world(node, is_active, base) for base in (False, True))
            self._terms[key] = min((term for term in tried if term is not None), key=_size)
        return self._terms[key]

    def _in_world(self, node: int, is_active: bool, base: bool) -> Term | None:
        """Write a version in a world with one version of each variable, or find that it has none.

        Going back from the variable, a parent follows from its own parents unless these are
        wanted in another version already; it is then set to the value that it has in its own world.

        Args:
            node: The variable.
            is_active: Which of its versions.
            base: The treatment's version in the world; parents wanted in it come first.
        """
        names, x = self.routes.graph.nodes, self.routes.treatment
        wanted: dict[int, bool] = {}
        if not self._follows(node, is_active, base, wanted):
            return None
        settings, done = [], {x}
        while waiting := wanted.keys() - done:
            other = max(waiting, key=lambda place: (wanted[place] is base, place))
            done.add(other)
            if not self._follows(other, wanted[other], base, wanted):
                settings.append(Intervention(names[other], self.term(other, wanted[other])))
        if x in wanted:
            settings.append(Intervention(names[x], self.values[base]))
        return Term(names[node], tuple(settings))

    def _follows(self, node: int, is_active: bool, base: bool, wanted: dict[int, bool]) -> bool:
        """Add the versions that a variable's parents need, if none is wanted in the other."""
        graph, x = self.routes.graph, self.routes.treatment
        parents = graph.parent_masks[node] & graph.descendant_masks[x]
        live = self.routes.parents[node] if is_active else 0
        needed = {parent: bool(live >> parent & 1) for parent in iterate_bits(parents)}
        known = {**wanted, x: base}
        if any(known.get(parent, version) != version for parent, version in needed.items()):
            return False
        wanted.update(needed)
        return True


def _size(term: Term) -> int:
    """Count the interventions in a term, nested ones too."""
    return sum(1 + (_size(i.value) if isinstance(i.value, Term) else 0) for i in term.interventions)


def _two_values(treatment: str, active: Value, baseline: Value) -> tuple[Value, Value]:
    values = clean_value(baseline), clean_value(active)
    if values[0] == values[1]:
        raise QueryError(
            f"{treatment} is {active!r} both along active paths and along all others; expected two "
            "different values; change one"
        )
    return values


def _read(graph: ADMG, treatment: str, outcome: str, paths: Paths) -> _Routes:
    """Check the active edges and store them as bits."""
    ordered = graph.in_canonical_order()
    x, y = (ordered.mask((name,)).bit_length() - 1 for name in (treatment, outcome))
    if x == y:
        raise QueryError(
            f"{treatment} is both treatment and outcome; expected two variables; change one"
        )
    parents = [0] * len(ordered)
    edges = _edges(paths)
    for edge in edges:
        cause, effect = (ordered.mask((name,)).bit_length() - 1 for name in edge)
        if not ordered.parent_masks[effect] >> cause & 1:
            raise GraphError(
                f"{_shown([edge])} is to be active and is not in the diagram {graph}; expected "
                "directed edges of the diagram; check the names and the direction"
            )
        parents[effect] |= 1 << cause
    routes = _Routes(ordered, x, y, tuple(parents))
    _refuse_dead_ends(routes, edges)
    return routes


def _refuse_dead_ends(routes: _Routes, edges: list[_Edge]) -> None:
    place, names = routes.graph._index, routes.graph.nodes
    start, end = names[routes.treatment], names[routes.outcome]
    if not edges:
        raise QueryError(
            f"no edge is active; expected a path from {start} to {end}, such as "
            f"'{start} -> {end}'; where the treatment acts along none, ask for {end} under do"
        )
    reached = closure(1 << routes.treatment, routes.children)
    leading = closure(1 << routes.outcome, routes.parents)
    unreached = [edge for edge in edges if not reached >> place[edge[0]] & 1]
    dead = [edge for edge in edges if not leading >> place[edge[1]] & 1]
    faults = [f"active edges do not lead from {start} to {_shown(unreached)}"] if unreached else []
    faults += [f"active edges do not lead from {_shown(dead)} to {end}"] if dead else []
    if faults:
        raise QueryError(
            f"{' and '.join(faults)}; expected each edge on an active path from {start} to {end}; "
            "complete the path, or remove the edge"
        )


def _edges(paths: Paths) -> list[_Edge]:
    """Read edges from text, pairs or chains; each once, in an order of their own."""
    if isinstance(paths, str):
        nodes, directed, bidirected = parse_graph(paths)
        lone = [name for name in nodes if all(name not in edge for edge in directed)]
        if bidirected or lone:
            raise QueryError(
                f"the active paths are {paths!r}; expected directed edges only, such as "
                "'X -> M -> Y; X -> Y'; remove <-> and nodes that stand alone"
            )
        return sorted(set(directed))
    found: set[_Edge] = set()
    for chain in paths if isinstance(paths, Iterable) else (paths,):
        if isinstance(chain, str) or not isinstance(chain, Sequence) or len(chain) < 2:
            raise QueryError(
                f"an active path is {chain!r}; expected an edge such as ('X', 'Y') or a longer "
                "list of nodes; put paths into a list, or write them as text: 'X -> M -> Y'"
            )
        found.update(pairwise(chain))
    return sorted(found, key=str)


def _shown(edges: list[_Edge]) -> str:
    return ", ".join(f"{cause} -> {effect}" for cause, effect in edges)
