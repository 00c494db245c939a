"""Exact truth of queries about finite models: copies of variables, and their shared noise.

A variable has one copy for each world in which its value may differ; two worlds in which all its
parents are the same copies share it. Given their parents, the copies of a variable are joined by
its private uniform noise: the chance that copy ``i`` takes the value ``v_i``, for all ``i``, is the
length of the intersection of the intervals ``(F_i(v_i - 1), F_i(v_i)]``. So each variable gives one
table, and the answer is one contraction with the laws of the latents.

References:
    Balke and Pearl (1994), Probabilistic evaluation of counterfactual queries.
    Shpitser and Pearl (2008), Complete identification methods for the causal hierarchy, section 4.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import opt_einsum
from numpy.typing import NDArray

from causalppl.exceptions import ImpossibleEvidenceError, QueryError
from causalppl.graphs import ADMG
from causalppl.queries import Event, Intervention, Query, Term, Value
from causalppl.queries.open_values import label_open_values
from causalppl.queries.terms import HOLDS

if TYPE_CHECKING:
    from causalppl.programs.finite import FiniteModel

Array: TypeAlias = NDArray[np.float64]
"""A table of numbers."""

Operand: TypeAlias = tuple[Array, tuple[int, ...]]
"""A table and the label of each of its axes; equal labels in several tables are one index."""

_RESIDUE = 1e-14  # what rounding can leave of a probability of zero


@dataclass(frozen=True)
class Fixed:
    """A value that an intervention sets, as a code."""

    code: int


Source: TypeAlias = int | Fixed
"""Where a value comes from: the axis of a copy or of an open intervention, or a constant."""


class Copy(NamedTuple):
    """A variable in some worlds: its axis, and where its parents' values come from."""

    axis: int
    parents: tuple[Source, ...]


class Worlds:
    """The copies of variables that some terms need, made as terms are asked for.

    Attributes:
        copies: Variable to its copies, in the order in which they were needed.
        opened: Variable to the axis of its open interventions (``do(X)``).
        size: Axis to its length.
    """

    def __init__(self, graph: ADMG, states: Mapping[str, int]) -> None:
        self._graph = graph
        self._states = states
        self._parents = {name: graph.in_order(graph.parents(name)) for name in graph.nodes}
        self._known: dict[tuple[str, tuple[Source, ...]], int] = {}
        self.copies: dict[str, list[Copy]] = {}
        self.opened: dict[str, int] = {}
        self.size: dict[int, int] = {}

    def new_axis(self, length: int) -> int:
        """Return a label that no table has yet."""
        axis = len(self.size)
        self.size[axis] = length
        return axis

    def axis(self, term: Term) -> int:
        """Return the axis of a term's copy.

        Raises:
            QueryError: The term names an unknown variable or value.
        """
        settings = {i.name: self._setting(i) for i in term.interventions}
        self._check(term.name)
        source = self._copy(term.name, settings, {})
        assert isinstance(source, int)
        return source

    def code(self, name: str, value: Value) -> int:
        """Return the state that a value names.

        Raises:
            QueryError: It is none of the variable's states.
        """
        self._check(name)
        count = self._states[name]
        if isinstance(value, str) or value not in range(count):
            raise QueryError(
                f"{name}={value!r} is asked about; expected one of its states, 0 to {count - 1}"
            )
        return int(value)

    def _check(self, name: str) -> None:
        if name not in self._states:
            raise QueryError(
                f"the query names {name!r}; the model has {', '.join(self._graph.nodes)}; check "
                "the spelling"
            )

    def _setting(self, intervention: Intervention) -> Source:
        name, value = intervention.name, intervention.value
        if isinstance(value, Term):
            return self.axis(value)
        if value is not None:
            return Fixed(self.code(name, value))
        self._check(name)
        if name not in self.opened:
            self.opened[name] = self.new_axis(self._states[name])
        return self.opened[name]

    def _copy(self, name: str, settings: Mapping[str, Source], seen: dict[str, Source]) -> Source:
        if name in settings:
            return settings[name]
        if name not in seen:
            parents = tuple(self._copy(p, settings, seen) for p in self._parents[name])
            seen[name] = self._shared(name, parents)
        return seen[name]

    def _shared(self, name: str, parents: tuple[Source, ...]) -> int:
        """Return the copy with these parents: the same parents give the same value."""
        key = (name, parents)
        if key not in self._known:
            self._known[key] = self.new_axis(self._states[name])
            self.copies.setdefault(name, []).append(Copy(self._known[key], parents))
        return self._known[key]


class Answer(NamedTuple):
    """The truth about a query: the open terms, and a table over them (a number if there is none).

    Attributes:
        names: Label of each axis; see `FiniteModel.table`.
        values: The table.
    """

    names: tuple[str, ...]
    values: Array


def exact_answer(model: "FiniteModel", query: Query) -> Answer:
    """Compute the truth of a query, of any rung, in a finite model.

    Raises:
        QueryError: The query names an unknown variable or value.
        ImpossibleEvidenceError: What is given has probability zero.
    """
    parts = [(weight, _Reading(model, part.worlds)) for weight, part in query.expand()]
    values = sum(weight * reading.conditional() for weight, reading in parts)
    return Answer(parts[0][1].names, np.asarray(values, dtype=float))


class _Reading:
    """One query on one model: the tables of its mechanisms and those of its events."""

    def __init__(self, model: "FiniteModel", query: Query) -> None:
        self._query = query
        self._worlds = Worlds(model.graph, model.states)
        self._open_events: list[tuple[Event, int]] = []
        outcomes = [self._event(event, query.kind == "E") for event in query.outcomes]
        count = len(self._open_events)
        given = [self._event(event, False) for event in query.given]
        self._labels = self._named()
        self._outcomes, self._given = outcomes, given
        opened = [self._worlds.opened[name] for name in sorted(self._worlds.opened)]
        self._mechanisms = mechanism_operands(model, self._worlds)
        self._mechanisms += [(np.ones(self._worlds.size[axis]), (axis,)) for axis in opened]
        axes = [axis for _, axis in self._open_events]
        self._all_axes, self._given_axes = (*axes, *opened), (*axes[count:], *opened)

    @property
    def names(self) -> tuple[str, ...]:
        return self._labels

    def conditional(self) -> Array:
        """The table over open outcomes, open conditions and open interventions, in this order."""
        joint = contract((*self._mechanisms, *self._given, *self._outcomes), self._all_axes)
        if not self._given:
            return joint
        total = contract((*self._mechanisms, *self._given), self._given_axes)
        empty = int((total <= _RESIDUE).sum())
        if empty:
            raise ImpossibleEvidenceError(
                f"what is given in {self._query} has probability zero in {empty} "
                f"of {total.size} cases; expected a positive probability; change the given part"
            )
        return joint / total

    def _event(self, event: Event, is_averaged: bool) -> Operand:
        worlds = self._worlds
        axis = worlds.axis(event.term)
        states = np.arange(worlds.size[axis])
        if is_averaged:
            return states.astype(float), (axis,)
        if event.value is None:
            # two open terms may be one copy, so each gets an axis of its own
            self._open_events.append((event, worlds.new_axis(len(states))))
            return np.eye(len(states)), (axis, self._open_events[-1][1])
        value = worlds.code(event.name, event.value) if event.op == "=" else event.value
        return np.array([float(HOLDS[event.op](s, value)) for s in states.tolist()]), (axis,)

    def _named(self) -> tuple[str, ...]:
        return tuple(label_open_values([self._query]).values())


def mechanism_operands(model: "FiniteModel", worlds: Worlds) -> list[Operand]:
    """Write the joint law of all copies, latents included, as a product of tables."""
    latent_axes: dict[str, int] = {}
    operands = []
    for name, copies in worlds.copies.items():
        shared = []
        for latent in model.latents_of(name):
            if latent not in latent_axes:
                latent_axes[latent] = worlds.new_axis(len(model.latents[latent].prior))
            shared.append(latent_axes[latent])
        operands.append(coupled(model.tables[name], copies, shared))
    operands += [(model.latents[name].prior, (axis,)) for name, axis in latent_axes.items()]
    return operands


def coupled(table: Array, copies: list[Copy], shared: list[int]) -> Operand:
    """Join the copies of one variable by the quantile coupling.

    Args:
        table: Shape ``(*parents, *latents, states)``.
        copies: The copies.
        shared: The axes of the latents.

    Returns:
        The chance of all copies' values given all their parents, and its axes.
    """
    if len(copies) == 1:
        return _cut(table, copies[0], shared)
    high = np.cumsum(table, -1)
    cuts = [(_cut(high, copy, shared), _cut(high - table, copy, shared)[0]) for copy in copies]
    axes = tuple(dict.fromkeys(axis for (_, own), _ in cuts for axis in own))
    tops = [_spread(top, own, axes) for (top, own), _ in cuts]
    bottoms = [_spread(bottom, own, axes) for (_, own), bottom in cuts]
    return np.maximum(reduce(np.minimum, tops) - reduce(np.maximum, bottoms), 0.0), axes


def contract(operands: Iterable[Operand], keep: Iterable[int]) -> Array:
    """Multiply tables and sum out every axis that is not kept."""
    arguments: list[Any] = [part for operand in operands for part in operand]
    return np.asarray(opt_einsum.contract(*arguments, tuple(keep)))


def _cut(table: Array, copy: Copy, shared: list[int]) -> Operand:
    chosen = tuple(p.code if isinstance(p, Fixed) else slice(None) for p in copy.parents)
    axes = (*(p for p in copy.parents if not isinstance(p, Fixed)), *shared, copy.axis)
    return table[chosen], axes


def _spread(table: Array, own: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    order = sorted(range(len(own)), key=lambda i: axes.index(own[i]))
    shape = iter(table.transpose(order).shape)
    return table.transpose(order).reshape([next(shape) if a in own else 1 for a in axes])
