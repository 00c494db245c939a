"""Response types: every way in which the variables of a district can answer their parents.

A deterministic response of a variable is a table from its parents' states to its own; a response
type of a district holds one for each member. There are doubly exponentially many, so entries are
decided only when an evaluation looks at them: two responses that data and query cannot tell apart
stay one type. In the instrumental diagram with four states there are 65,536 responses and 16,720
types that data can tell apart.

References:
    Balke and Pearl (1997), Bounds on treatment effects from studies with imperfect compliance.
    Zhang, Tian and Bareinboim (2022), Partial counterfactual identification from observational
    and experimental data.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.exceptions import AssumptionError
from causalppl.graphs import ADMG
from causalppl.programs.finite_worlds import Fixed

__all__ = ["Codes", "Plan", "ResponseTypes", "Slots", "Step", "TooManyTypesError"]

Codes: TypeAlias = NDArray[np.int64]


class TooManyTypesError(AssumptionError):
    """A district has more response types than were allowed."""


class Step(NamedTuple):
    """A variable that is to be evaluated, and where its parents' states come from.

    Attributes:
        name: The variable.
        parents: For each parent, in the order of the diagram, the number of an earlier step or a
            constant.
    """

    name: str
    parents: tuple[int | Fixed, ...]


Plan: TypeAlias = tuple[Step, ...]
"""Variables of a district to evaluate in turn, in one world or several."""


@dataclass(frozen=True, eq=False)
class Slots:
    """Where the entries of all response tables of a district stand in one row.

    Attributes:
        states: Variable to its number of states.
        start: Member to the place of its first entry.
        count: Member to the number of its entries.
        strides: Member to what each parent's code counts.
        pairs: Member to pairs of entries of which the first may not exceed the second, shape
            ``(pairs, 2)``.
        size: The number of entries.
    """

    states: Mapping[str, int]
    start: Mapping[str, int]
    count: Mapping[str, int]
    strides: Mapping[str, tuple[int, ...]]
    pairs: Mapping[str, Codes]
    size: int

    @classmethod
    def of(
        cls,
        graph: ADMG,
        members: Sequence[str],
        states: Mapping[str, int],
        monotone: Sequence[tuple[str, str]] = (),
    ) -> "Slots":
        """Lay out the entries of a district.

        Args:
            graph: The diagram.
            members: The variables of the district.
            states: Variable to its number of states.
            monotone: Pairs of a parent and a child: the child's response never falls in it.
        """
        start, count, strides, pairs, size = {}, {}, {}, {}, 0
        for name in members:
            parents = graph.in_order(graph.parents(name))
            lengths = [states[parent] for parent in parents]
            strides[name] = tuple(
                int(np.prod(lengths[place + 1 :])) for place in range(len(parents))
            )
            rising = [p for p, parent in enumerate(parents) if (parent, name) in monotone]
            pairs[name] = _ordered_pairs(lengths, rising) + size
            start[name], count[name] = size, int(np.prod(lengths))
            size += count[name]
        return cls(states, start, count, strides, pairs, size)


@dataclass(frozen=True, eq=False)
class ResponseTypes:
    """Response types of a district, each decided as far as it was asked.

    Attributes:
        slots: The layout.
        table: The responses, shape ``(types, slots)``; -1 where nothing has asked yet.

    Example:
        >>> graph = ADMG.parse("Z -> X -> Y; X <-> Y")
        >>> slots = Slots.of(graph, ["X", "Y"], {"Z": 4, "X": 4, "Y": 4})
        >>> types = ResponseTypes.start(slots)
        >>> for z in range(4):
        ...     types, _ = types.decide((Step("X", (Fixed(z),)), Step("Y", (0,))), 10**6)
        >>> len(types)
        16720
    """

    slots: Slots
    table: NDArray[np.int8]

    @classmethod
    def start(cls, slots: Slots) -> "ResponseTypes":
        """Return the one type of which nothing is decided."""
        return cls(slots, np.full((1, slots.size), -1, dtype=np.int8))

    def __len__(self) -> int:
        return len(self.table)

    def decide(self, plan: Plan, most: int) -> tuple["ResponseTypes", Codes]:
        """Split the types until each answers the plan.

        Args:
            plan: What is evaluated.
            most: The most types allowed.

        Returns:
            The types, and for each the number of the type that it was split from (ascending).

        Raises:
            TooManyTypesError: There would be more types than allowed.
        """
        types, origin = self, np.arange(len(self))
        values: list[Codes] = []
        for step in plan:
            slot = types._slot(step, values)
            found = types.table[np.arange(len(types)), slot]
            if (found < 0).any():
                types, index = types._split(step.name, slot, found < 0, most)
                origin, slot = origin[index], slot[index]
                values = [value[index] for value in values]
                found = types.table[np.arange(len(types)), slot]
            values.append(found.astype(np.int64))
        return types, origin

    def decide_all(self, name: str, most: int) -> "ResponseTypes":
        """Split the types until every entry of a variable is decided."""
        types = self
        first = self.slots.start[name]
        for place in range(first, first + self.slots.count[name]):
            slot = np.full(len(types), place)
            types, _ = types._split(name, slot, types.table[:, place] < 0, most)
        return types

    def respond(self, plan: Plan) -> list[Codes]:
        """Evaluate a plan that has been decided: for each step the codes, shape ``(types,)``."""
        values: list[Codes] = []
        rows = np.arange(len(self))
        for step in plan:
            values.append(self.table[rows, self._slot(step, values)].astype(np.int64))
        return values

    def _slot(self, step: Step, values: Sequence[Codes]) -> Codes:
        slot = np.full(len(self), self.slots.start[step.name])
        for stride, parent in zip(self.slots.strides[step.name], step.parents, strict=True):
            slot += stride * (parent.code if isinstance(parent, Fixed) else values[parent])
        return slot

    def _split(
        self, name: str, slot: Codes, is_open: NDArray[np.bool_], most: int
    ) -> tuple["ResponseTypes", Codes]:
        count = self.slots.states[name]
        copies = np.where(is_open, count, 1)
        if copies.sum() > most:
            raise TooManyTypesError(
                f"the district of {name} has more than {most:,} response types that data or query "
                "tell apart; coarsen its variables, leave some out, or raise max_types"
            )
        index = np.repeat(np.arange(len(self)), copies)
        table = self.table[index]
        # the copies of one type are neighbours: number them 0, 1, ...
        number = np.arange(len(index)) - np.repeat(np.cumsum(copies) - copies, copies)
        new = np.flatnonzero(is_open[index])
        table[new, slot[index[new]]] = number[new]
        low, high = self.slots.pairs[name].T
        falls = (table[:, low] > table[:, high]) & (table[:, high] >= 0)
        keep = ~falls.any(1)
        return replace(self, table=table[keep]), index[keep]


def _ordered_pairs(lengths: Sequence[int], rising: Sequence[int]) -> Codes:
    """List pairs of cells that differ in rising axes only, the first below the second."""
    cells = list(itertools.product(*map(range, lengths)))
    number = {cell: place for place, cell in enumerate(cells)}

    def is_below(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
        pairs = enumerate(zip(first, second, strict=True))
        return all(x <= y if axis in rising else x == y for axis, (x, y) in pairs)

    found = [
        (number[a], number[b])
        for a, b in itertools.permutations(cells if rising else (), 2)
        if is_below(a, b)
    ]
    return np.array(found, dtype=np.int64).reshape(-1, 2)
