"""A diagram whose latents are response types: a program with all finite models inside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any, TypeAlias

import numpy as np
import opt_einsum
from numpy.typing import NDArray

from causalppl.bounds.question import Part
from causalppl.graphs import ADMG
from causalppl.programs.finite import FiniteModel, Latent
from causalppl.programs.finite_worlds import Operand, Worlds, mechanism_operands
from causalppl.queries import Event, Intervention, Query, Term, Value
from causalppl.queries.terms import HOLDS

__all__ = ["District", "TypeModel", "count_types"]

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class District:
    """The response types of one district.

    Attributes:
        name: The name of its latent.
        members: Its variables.
        inputs: Their parents outside.
        cells: Which types show which values, shape ``(contexts, values, types)``: contexts are the
            states of the inputs, values those of the members, both flattened.
    """

    name: str
    members: tuple[str, ...]
    inputs: tuple[str, ...]
    cells: Array


@dataclass(frozen=True, eq=False)
class TypeModel:
    """A finite model with one latent for each district: the type of its members' responses.

    Attributes:
        model: The model; its latents have uniform laws.
        states: Variable to its values.
        districts: The districts, in the order of the diagram.

    Example:
        >>> found = TypeModel.of(ADMG.parse("X -> Y; X <-> Y"), {"X": (0, 1), "Y": (0, 1)})
        >>> found.districts[0].cells.shape  # X has 2 responses, Y has 4
        (1, 4, 8)
    """

    model: FiniteModel
    states: Mapping[str, tuple[Value, ...]]
    districts: tuple[District, ...]

    @classmethod
    def of(cls, graph: ADMG, states: Mapping[str, tuple[Value, ...]]) -> "TypeModel":
        """List all response types; the districts must be cliques."""
        sizes = {name: len(states[name]) for name in graph.nodes}
        tables: dict[str, Array] = {}
        latents, districts = {}, []
        for district in sorted(map(graph.in_order, graph.districts())):
            name = "_".join(("types", *district))
            responses = _responses(graph, sizes, district)
            count = len(next(iter(responses.values())))
            latents[name] = Latent(district, np.full(count, 1 / count))
            for member, response in responses.items():
                one_hot = np.eye(sizes[member])[response]  # (types, contexts, states)
                shape = [sizes[parent] for parent in graph.in_order(graph.parents(member))]
                table = one_hot.reshape(count, *shape, sizes[member])
                tables[member] = np.moveaxis(table, 0, -2)
            inputs = graph.in_order(graph.parents(district) - set(district))
            cells = _cells(graph, sizes, district, inputs, responses)
            districts.append(District(name, district, inputs, cells))
        return cls(FiniteModel(graph, tables, latents), states, tuple(districts))

    def effect(self, parts: Sequence[Part], laws: Mapping[str, Any]) -> Any:
        """The value of a query for laws of types.

        Args:
            parts: The query, without open values.
            laws: Latent to its law, shape ``(draws, types)``: arrays, or tensors of torch.

        Returns:
            Shape ``(draws,)``; NaN where what is given has probability zero.
        """
        return sum(weight * self._conditional(query, laws) for weight, query in parts)

    def _conditional(self, query: Query, laws: Mapping[str, Any]) -> Any:
        worlds = Worlds(self.model.graph, {n: len(s) for n, s in self.states.items()})
        outcomes = [self._operand(worlds, e, query.kind == "E") for e in query.outcomes]
        given = [self._operand(worlds, event, False) for event in query.given]
        mechanisms = mechanism_operands(self.model, worlds)
        batch = worlds.new_axis(1)
        placed: list[tuple[Any, tuple[int, ...]]] = []
        names = {id(latent.prior): name for name, latent in self.model.latents.items()}
        for table, axes in mechanisms:
            is_law = id(table) in names
            placed.append((laws[names[id(table)]], (batch, *axes)) if is_law else (table, axes))
        like = next(iter(laws.values()))
        placed.append((like.sum(-1) / like.sum(-1), (batch,)))
        joint = _contracted([*placed, *given, *outcomes], batch, like)
        return joint / _contracted([*placed, *given], batch, like) if given else joint

    def _operand(self, worlds: Worlds, event: Event, is_averaged: bool) -> Operand:
        axis, states = worlds.axis(_coded(event.term, self.states)), self.states[event.name]
        if is_averaged:
            return np.array([float(state) for state in states]), (axis,)
        holds = HOLDS[event.op]
        return np.array([float(holds(state, event.value)) for state in states]), (axis,)


def count_types(graph: ADMG, sizes: Mapping[str, int], district: Sequence[str]) -> int:
    """Count the response types of a district.

    Example:
        >>> count_types(ADMG.parse("X -> Y; X <-> Y"), {"X": 2, "Y": 2}, ["X", "Y"])
        8
    """
    found = 1
    for name in district:
        contexts = int(np.prod([sizes[parent] for parent in graph.parents(name)], dtype=object))
        found *= sizes[name] ** contexts
    return found


def why_not_cliques(graph: ADMG) -> str | None:
    """Say which district is no clique; None if all are."""
    for district in map(graph.in_order, graph.districts()):
        for first, second in combinations(district, 2):
            if not graph.is_confounded(first, second):
                return (
                    f"{first} and {second} share causes only through others; it takes districts in "
                    "which each two variables share a latent cause"
                )
    return None


def _responses(
    graph: ADMG, sizes: Mapping[str, int], district: Sequence[str]
) -> dict[str, NDArray[np.int64]]:
    """The state of each member for each type and state of its parents."""
    alone = []
    for name in district:
        contexts = int(np.prod([sizes[parent] for parent in graph.parents(name)], dtype=int))
        alone.append(np.array(list(product(range(sizes[name]), repeat=contexts))))
    places = np.indices([len(each) for each in alone]).reshape(len(alone), -1)
    return {n: each[at] for n, each, at in zip(district, alone, places, strict=True)}


def _cells(
    graph: ADMG,
    sizes: Mapping[str, int],
    district: Sequence[str],
    inputs: Sequence[str],
    responses: Mapping[str, NDArray[np.int64]],
) -> Array:
    count = len(next(iter(responses.values())))
    order = [name for name in graph.topological_order() if name in district]
    found = []
    for context in product(*(range(sizes[name]) for name in inputs)):
        seen: dict[str, Any] = dict(zip(inputs, context, strict=True))
        for name in order:
            place: Any = np.zeros(count, dtype=np.int64)
            for parent in graph.in_order(graph.parents(name)):
                place = place * sizes[parent] + seen[parent]
            seen[name] = responses[name][np.arange(count), place]
        value: Any = np.zeros(count, dtype=np.int64)
        for name in district:
            value = value * sizes[name] + seen[name]
        values = int(np.prod([sizes[name] for name in district]))
        found.append((value == np.arange(values)[:, None]).astype(float))
    return np.array(found)


def _coded(term: Term, states: Mapping[str, tuple[Value, ...]]) -> Term:
    """Set variables to the places of their values."""
    moved = [
        Intervention(
            each.name,
            _coded(each.value, states)
            if isinstance(each.value, Term)
            else states[each.name].index(each.value),
        )
        for each in term.interventions
    ]
    return Term(term.name, tuple(moved))


def _contracted(operands: Sequence[tuple[Any, tuple[int, ...]]], batch: int, like: Any) -> Any:
    is_tensor = not isinstance(like, np.ndarray)
    arguments: list[Any] = []
    for table, axes in operands:
        moved = is_tensor and isinstance(table, np.ndarray)
        arguments += [like.new_tensor(table) if moved else table, axes]
    return opt_einsum.contract(*arguments, (batch,))
