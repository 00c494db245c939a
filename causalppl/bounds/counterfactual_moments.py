"""A query as moments of counterfactual copies, and each moment as a product over districts.

A query ``P(events | given)`` is a ratio of two moments: expectations of products of functions of
copies of variables, one copy for each world in which its value may differ. As districts have
independent latents, a moment is a sum, over the values of the copies that join districts, of
products of one number for each district; and that number is linear in the law of the district's
response types.

References:
    Balke and Pearl (1994), Counterfactual probabilities: computational methods, bounds and
    applications.
    Correa, Lee and Bareinboim (2021), Nested counterfactual identification from arbitrary
    surrogate experiments.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.response_functions import Plan, ResponseTypes, Step
from causalppl.exceptions import QueryError
from causalppl.graphs import ADMG
from causalppl.programs.finite_worlds import Copy, Fixed, Worlds
from causalppl.queries import Event, Intervention, Query, Term, Value
from causalppl.queries.terms import HOLDS

__all__ = ["DistrictPart", "Moment", "Question", "read_question"]

Array: TypeAlias = NDArray[np.float64]
States: TypeAlias = Mapping[str, tuple[Value, ...]]


class DistrictPart(NamedTuple):
    """What one district contributes to a moment.

    Attributes:
        copies: Its copies, causes first: name and copy.
        outer: Axes of parents in other districts.
        shared: Axes of its own copies that other districts look at.
    """

    copies: tuple[tuple[str, Copy], ...]
    outer: tuple[int, ...]
    shared: tuple[int, ...]

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes that join the district to others."""
        return (*self.outer, *self.shared)


@dataclass(frozen=True, eq=False)
class Moment:
    """The expectation of a product of functions of copies.

    Attributes:
        graph: The diagram.
        worlds: All copies.
        functions: Axis of a copy to a function of its states.
    """

    graph: ADMG
    worlds: Worlds
    functions: Mapping[int, Array]

    @cached_property
    def parts(self) -> dict[frozenset[str], DistrictPart]:
        """District to its part, where it has one."""
        named = {c.axis: (name, c) for name, cs in self.worlds.copies.items() for c in cs}
        needed = _causes(named, self.functions)
        parts = {}
        for district in self.graph.districts():
            own = [named[axis] for axis in sorted(needed) if named[axis][0] in district]
            if own:
                axes = {copy.axis for _, copy in own}
                outer = {p for _, copy in own for p in _axes(copy)} - axes
                seen = {p for axis in needed - axes for p in _axes(named[axis][1])}
                parts[district] = DistrictPart(
                    tuple(own), tuple(sorted(outer)), tuple(sorted(axes & seen))
                )
        return parts

    @property
    def span(self) -> tuple[float, float]:
        """The smallest and the largest product of the functions."""
        low = high = 1.0
        for function in self.functions.values():
            ends = [a * b for a in (low, high) for b in (function.min(), function.max())]
            low, high = float(min(ends)), float(max(ends))
        return low, high

    def plans(self, district: frozenset[str]) -> tuple[Plan, ...]:
        """How to evaluate a district's copies, for each value of its outer axes."""
        part = self.parts[district]
        place = {copy.axis: number for number, (_, copy) in enumerate(part.copies)}
        plans = []
        for codes in itertools.product(*(range(self.worlds.size[axis]) for axis in part.outer)):
            held = dict(zip(part.outer, codes, strict=True))
            plans.append(
                tuple(Step(name, _sources(copy, held, place)) for name, copy in part.copies)
            )
        return tuple(plans)

    def forms(self, district: frozenset[str], types: ResponseTypes) -> Array:
        """Return what each type contributes at each value of the joining axes.

        Returns:
            Shape ``(types, *joining axes)``.
        """
        part = self.parts[district]
        size = self.worlds.size
        shared = [size[axis] for axis in part.shared]
        plans = self.plans(district)
        found = np.zeros((len(types), len(plans), int(np.prod(shared))))
        rows = np.arange(len(types))
        for number, plan in enumerate(plans):
            codes = {
                copy.axis: values
                for (_, copy), values in zip(part.copies, types.respond(plan), strict=True)
            }
            weight = np.ones(len(types))
            for axis, values in codes.items():
                if axis in self.functions:
                    weight = weight * self.functions[axis][values]
            cell = np.zeros(len(types), dtype=np.int64)
            for axis in part.shared:
                cell = cell * size[axis] + codes[axis]
            found[rows, number, cell] = weight
        return found.reshape(len(types), *(size[axis] for axis in part.axes))


@dataclass(frozen=True, eq=False)
class Question:
    """A ratio of weighted moments.

    Attributes:
        over: Weights and moments of the numerator.
        under: What is given; None where nothing is.
    """

    over: tuple[tuple[float, Moment], ...]
    under: Moment | None

    @property
    def span(self) -> tuple[float, float]:
        """Between which numbers the ratio lies in any model."""
        low = high = 0.0
        for weight, moment in self.over:
            ends = [weight * end for end in moment.span]
            low, high = low + min(ends), high + max(ends)
        return low, high

    @property
    def moments(self) -> tuple[Moment, ...]:
        """All moments, the given part last."""
        last = () if self.under is None else (self.under,)
        return (*(moment for _, moment in self.over), *last)


def read_question(graph: ADMG, states: States, parts: Iterable[tuple[float, Query]]) -> Question:
    """Read a weighted sum of queries that share what is given.

    Args:
        graph: The diagram.
        states: Variable to its values.
        parts: Weights and queries without open values.

    Raises:
        QueryError: A variable or value is unknown; an expectation is of categories.
    """
    worlds = Worlds(graph, {name: len(values) for name, values in states.items()})
    split = [(weight * own, part) for weight, query in parts for own, part in query.worlds.expand()]
    over = []
    for weight, query in split:
        functions: dict[int, Array] = {}
        _include(functions, worlds, states, query.given)
        _include(functions, worlds, states, query.outcomes, is_mean=query.kind == "E")
        over.append((weight, Moment(graph, worlds, functions)))
    given: dict[int, Array] = {}
    _include(given, worlds, states, split[0][1].given)
    return Question(tuple(over), Moment(graph, worlds, given) if given else None)


def _include(
    functions: dict[int, Array],
    worlds: Worlds,
    states: States,
    events: Sequence[Event],
    is_mean: bool = False,
) -> None:
    for event in events:
        axis = worlds.axis(_coded(event.term, states))
        values = states[event.name]
        if is_mean:
            if any(isinstance(value, str) for value in values):
                raise QueryError(
                    f"the mean of {event} was asked, whose values are {', '.join(map(str, values))}"
                    "; expected numbers; ask for the probability of a category"
                )
            function = np.array(values, dtype=float)
        else:
            _check_value(event, values)
            function = np.array([float(_holds(event, value)) for value in values])
        functions[axis] = functions.get(axis, 1.0) * function


def _holds(event: Event, value: Value) -> bool:
    asked = event.value
    assert asked is not None  # open values have been filled in
    return isinstance(asked, str) == isinstance(value, str) and HOLDS[event.op](value, asked)


def _check_value(event: Event, values: Sequence[Value]) -> None:
    if event.op == "=" and event.value not in values:
        raise QueryError(
            f"{event.name}={event.value!r} is asked about; the sources have "
            f"{', '.join(map(repr, values))}; check the value"
        )


def _coded(term: Term, states: States) -> Term:
    """Replace values by codes in all interventions of a term."""
    if term.name not in states:
        raise QueryError(
            f"the query names {term.name!r}; the diagram has {', '.join(states)}; check the "
            "spelling"
        )
    return replace(term, interventions=tuple(_coded_setting(i, states) for i in term.interventions))


def _coded_setting(intervention: Intervention, states: States) -> Intervention:
    name, value = intervention.name, intervention.value
    if isinstance(value, Term):
        return Intervention(name, _coded(value, states))
    if value not in states.get(name, ()):
        raise QueryError(
            f"{name} is set to {value!r}; the sources have "
            f"{', '.join(map(repr, states.get(name, ())))}; check the name and the value"
        )
    assert value is not None
    return Intervention(name, states[name].index(value))


def _causes(named: Mapping[int, tuple[str, Copy]], axes: Iterable[int]) -> set[int]:
    needed, waiting = set(), list(axes)
    while waiting:
        axis = waiting.pop()
        if axis not in needed:
            needed.add(axis)
            waiting += _axes(named[axis][1])
    return needed


def _axes(copy: Copy) -> list[int]:
    return [parent for parent in copy.parents if not isinstance(parent, Fixed)]


def _sources(
    copy: Copy, held: Mapping[int, int], place: Mapping[int, int]
) -> tuple[int | Fixed, ...]:
    return tuple(
        p if isinstance(p, Fixed) else Fixed(held[p]) if p in held else place[p]
        for p in copy.parents
    )
