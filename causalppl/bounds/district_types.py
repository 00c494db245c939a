"""A district with its response types, and all that the sources say of their law.

The latents are one for each maximal clique of bidirected edges, of any size; a latent for each
edge is a special case. If the district is one clique, every law of its response types is possible.
If not, responses of parts that no bidirected edge joins are independent, which is all that follows
where any two maximal cliques meet in the same variables (two cliques, or a star); elsewhere the
diagram implies more (inequalities like Bell's), and bounds are valid, though perhaps not sharp.

References:
    Evans (2018), Margins of discrete Bayesian networks.
    Duarte, Finkelstein, Knox, Mummolo and Shpitser (2023), An automated approach to causal
    inference in discrete settings.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.c_factor_rows import CFactorRows, Law, factor_rows
from causalppl.bounds.response_functions import Codes, Plan, ResponseTypes, Slots
from causalppl.bounds.response_program import ResponseProgram
from causalppl.exceptions import AssumptionError
from causalppl.graphs import ADMG
from causalppl.queries import Value

__all__ = [
    "DistrictTypes",
    "NoTypesError",
    "district_types",
    "independent_parts",
    "joins_latents",
    "meets_in_one_core",
]

Array: TypeAlias = NDArray[np.float64]
Parts: TypeAlias = tuple[tuple[str, ...], tuple[str, ...]]

_IMPOSSIBLE = 1e-14  # a probability that is zero but for rounding
_MOST_PRODUCTS = 500  # a pair of parts with more joint responses is not held to be independent


class NoTypesError(AssumptionError):
    """No response type of a district agrees with what has probability zero."""


@dataclass(frozen=True, eq=False)
class DistrictTypes:
    """Response types of a district, and the rows that the sources give.

    Attributes:
        members: The district, in causal order.
        types: The types, decided as far as the sources look.
        cells: The row of each type in each context, shape ``(types, contexts)``; row 0 holds all.
        rows: What the rows are, after row 0.
        right_sides: Probabilities of the rows, shape ``(batch, rows)``.
        weights: How much data is behind each row, shape ``(rows,)``.
        independences: Parts of the district whose responses are independent.
        is_exact: Whether nothing else follows from the diagram.
    """

    members: tuple[str, ...]
    types: ResponseTypes
    cells: Codes
    rows: tuple[CFactorRows, ...]
    right_sides: Array
    weights: Array
    independences: tuple[Parts, ...]
    is_exact: bool

    @cached_property
    def program(self) -> ResponseProgram:
        """The linear program over the types."""
        return ResponseProgram(self.cells, self.right_sides.shape[1])

    def split(self, plans: Sequence[Plan], most: int) -> tuple[ResponseTypes, Codes]:
        """Split the types until they answer some plans, in place of the sources' alone.

        Returns:
            The finer types, and for each the number of the type that it was split from.
        """
        types, origin = self.types, np.arange(len(self.types))
        for plan in plans:
            types, index = types.decide(plan, most)
            origin = origin[index]
        return types, origin

    def with_right_sides(self, right_sides: Array) -> "DistrictTypes":
        """Return the same types under other probabilities."""
        other = replace(self, right_sides=right_sides)
        other.__dict__["program"] = self.program
        return other

    def part_codes(self, types: ResponseTypes, part: Sequence[str]) -> tuple[Codes, int]:
        """Number the joint responses of a part: one code for each type, and how many there are."""
        slots = types.slots
        columns = [
            types.table[:, slots.start[name] : slots.start[name] + slots.count[name]]
            for name in part
        ]
        kinds, code = np.unique(np.concatenate(columns, 1), axis=0, return_inverse=True)
        return code.reshape(-1), len(kinds)

    def describe(self, row: int) -> str:
        """Write the probability that a row holds."""
        number = row - 1
        for group in self.rows:
            if number < group.num_rows:
                return group.describe(number)
            number -= group.num_rows
        raise IndexError(row)


def district_types(
    graph: ADMG,
    laws: Sequence[Law],
    members: frozenset[str],
    states: Mapping[str, tuple[Value, ...]],
    *,
    monotone: Sequence[tuple[str, str]] = (),
    most: int,
    keep_impossible: bool = False,
) -> DistrictTypes:
    """Collect the response types of a district that the sources tell apart and do not exclude.

    Args:
        graph: The diagram.
        laws: The sources.
        members: The district.
        states: Variable to its values.
        monotone: Pairs of parent and child without defiers.
        most: The most types allowed.
        keep_impossible: Keep types that fall into a row of probability zero.

    Raises:
        TooManyTypesError: There are more types than allowed.
        NoTypesError: None is left: the sources contradict the diagram.
    """
    order = tuple(name for name in graph.topological_order() if name in members)
    counts = {name: len(values) for name, values in states.items()}
    types = ResponseTypes.start(Slots.of(graph, order, counts, monotone))
    implied = independent_parts(graph, members)
    parts = tuple(pair for pair in implied if _products(types.slots, pair) <= _MOST_PRODUCTS)
    for name in order:
        if any(name in part for pair in parts for part in pair):
            types = types.decide_all(name, most)
    rows = tuple(factor_rows(graph, laws, members, states))
    cells = np.zeros((len(types), 1), dtype=np.int64)
    first = 1
    for group in rows:
        right = group.right_sides[0]
        for number, plan in enumerate(group.plans):
            types, origin = types.decide(plan, most)
            found = group.rows_of(number, types.respond(plan))
            keep = (right[found] > _IMPOSSIBLE) | keep_impossible
            cells = np.concatenate([cells[origin], first + found[:, None]], 1)[keep]
            types = replace(types, table=types.table[keep])
        first += group.num_rows
    if not len(types):
        raise NoTypesError(
            f"no response of {', '.join(order)} agrees with what the sources say has probability "
            "zero; the data contradict the diagram or the monotone effects; check both"
        )
    batch = len(laws[0].values) if laws else 1
    right_sides = np.concatenate([np.ones((batch, 1)), *(g.right_sides for g in rows)], 1)
    weights = np.concatenate([[1.0], *(group.weights.clip(1e-9) for group in rows)])
    exact = meets_in_one_core(graph, members) and parts == implied
    return DistrictTypes(order, types, cells, rows, right_sides, weights, parts, exact)


def independent_parts(graph: ADMG, members: frozenset[str]) -> tuple[Parts, ...]:
    """List pairs of parts of a district that no bidirected edge joins, the largest ones only.

    Example:
        >>> independent_parts(ADMG.parse("X <-> Y <-> Z"), frozenset("XYZ"))
        ((('X',), ('Z',)),)
    """
    order = graph.in_order(members)
    found: list[tuple[frozenset[str], frozenset[str]]] = []
    for size in range(1, len(order)):
        for chosen in itertools.combinations(order, size):
            part = frozenset(chosen)
            rest = members - part - graph.siblings(part)
            closed = members - rest - graph.siblings(rest)
            if rest and closed == part and (rest, part) not in found:
                found.append((part, rest))
    return tuple((graph.in_order(a), graph.in_order(b)) for a, b in found)


def _products(slots: Slots, pair: Parts) -> float:
    return float(
        np.prod([float(slots.states[name]) ** slots.count[name] for part in pair for name in part])
    )


def meets_in_one_core(graph: ADMG, members: frozenset[str]) -> bool:
    """Say whether any two maximal cliques of bidirected edges share the same variables.

    Example:
        >>> meets_in_one_core(ADMG.parse("A <-> B <-> C <-> D"), frozenset("ABCD"))
        False
    """
    cliques = _cliques(graph, members)
    return len({a & b for a, b in itertools.combinations(cliques, 2)}) <= 1


def joins_latents(graph: ADMG, kept: frozenset[str]) -> bool:
    """Say whether some latents look like a single one in the projection on some variables.

    Three variables of which each two have a cause of their own among those left out have pairwise
    bidirected edges in the projection, as if one latent moved all three. This allows more than the
    diagram does.

    References:
        Evans (2016), Graphs for margins of Bayesian networks.

    Example:
        >>> pairs = ADMG.parse("U -> A; U -> B; V -> B; V -> C; W -> A; W -> C")
        >>> joins_latents(pairs, frozenset("ABC"))
        True
        >>> joins_latents(ADMG.parse("U -> {A, B, C}"), frozenset("ABC"))
        False
    """

    def reach(latent: frozenset[str]) -> frozenset[str]:
        found, fresh = set(latent), set(latent)
        while fresh:
            fresh = set(graph.children(fresh - kept)) - found
            found |= fresh
        return kept & found

    reached = [reach(latent) for latent in _cliques(graph, frozenset(graph.nodes))]
    shown = _cliques(graph.latent_projection(kept), kept)
    return not all(any(clique <= each for each in reached) for clique in shown)


def _cliques(graph: ADMG, members: frozenset[str]) -> list[frozenset[str]]:
    edges = nx.Graph([edge for edge in graph.bidirected_edges if members.issuperset(edge)])
    edges.add_nodes_from(graph.in_order(members))
    return [frozenset(clique) for clique in nx.find_cliques(edges)]
