"""A discrete diagram with a hidden class for each group of confounded variables, as flat tables.

Every mechanism is one table, ``P(variable | parents, hidden classes)``, and every hidden class has
a table of weights. All tables lie in one flat vector, so that many runs are one matrix. What the
rows of a log say about the tables depends on a district at a time, and within it on few cells.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from causalppl.agents.agent import Arm, Array, Integers
from causalppl.exceptions import AssumptionError
from causalppl.graphs import ADMG

__all__ = ["DistrictCells", "LatentClassModel", "Layout"]

_MOST_ENTRIES = 2_000_000
Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class LatentClassModel:
    """A diagram, the number of states of each variable, and of each hidden class.

    Each maximal clique of bidirected edges has one hidden cause of all its variables.

    Attributes:
        graph: The diagram.
        states: How many values each variable takes, which are 0, 1, ...
        num_classes: How many values each hidden cause takes.

    Example:
        >>> graph = ADMG.parse("Z -> X -> Y; X <-> Y")
        >>> model = LatentClassModel(graph, dict.fromkeys("ZXY", 2), num_classes=4)
        >>> model.hidden, model.scope("Y"), model.layout.shapes["Y"]
        ({'~X,Y': ('X', 'Y')}, ('X', '~X,Y', 'Y'), (2, 4, 2))
    """

    graph: ADMG
    states: Mapping[str, int]
    num_classes: int

    @cached_property
    def hidden(self) -> dict[str, tuple[str, ...]]:
        """The hidden causes, by name, and the variables that each has a part in."""
        both = nx.Graph(self.graph.bidirected_edges)
        cliques = sorted(map(self.graph.in_order, nx.find_cliques(both)))
        return {f"~{','.join(members)}": members for members in cliques}

    def scope(self, name: str) -> tuple[str, ...]:
        """What the table of a variable or hidden cause has as axes; itself comes last."""
        if name in self.hidden:
            return (name,)
        causes = [cause for cause, members in self.hidden.items() if name in members]
        return (*self.graph.in_order(self.graph.parents(name)), *causes, name)

    def size(self, name: str) -> int:
        """How many values a variable or a hidden cause takes."""
        return self.num_classes if name in self.hidden else self.states[name]

    @cached_property
    def layout(self) -> "Layout":
        """Where each table lies in the flat vector."""
        names = (*self.hidden, *self.graph.topological_order())
        return Layout({name: tuple(map(self.size, self.scope(name))) for name in names})

    def districts(self, arms: Iterable[Arm]) -> list["DistrictCells"]:
        """List the districts, with the cells that data under some arms, or none, can fall into."""
        sets = [frozenset(arm) for arm in arms]
        return [
            DistrictCells(self, self.graph.in_order(district), tuple(sets))
            for district in self.graph.districts()
        ]


class Layout:
    """Tables of several shapes in one flat vector; the last axis of each is a distribution.

    Attributes:
        shapes: The shape of each table.
        starts: Where each begins.
        size: The length of the vector.
        rows: Where each distribution begins, for ``np.add.reduceat``.
        row_sizes: How long each is.
    """

    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        self.shapes = dict(shapes)
        sizes = [int(np.prod(shape)) for shape in shapes.values()]
        self.starts = dict(zip(shapes, np.cumsum([0, *sizes]).tolist(), strict=False))
        self.size = sum(sizes)
        if self.size > _MOST_ENTRIES:
            raise AssumptionError(
                f"the tables of this diagram have {self.size:,} entries; expected at most "
                f"{_MOST_ENTRIES:,}: use fewer hidden classes, variables with fewer parents, or "
                "ProgramPosterior and a program with priors on its parameters"
            )
        lengths = [shape[-1] for shape in shapes.values() for _ in range(int(np.prod(shape[:-1])))]
        self.row_sizes: Integers = np.array(lengths)
        self.rows: Integers = np.cumsum([0, *lengths[:-1]])

    def slice(self, name: str) -> slice:
        """The place of a table in the vector."""
        start = self.starts[name]
        return slice(start, start + int(np.prod(self.shapes[name])))

    def table(self, flat: Array, name: str) -> Array:
        """Cut a table out of vectors, shape ``(runs, size)``."""
        return flat[:, self.slice(name)].reshape(len(flat), *self.shapes[name])

    def index(self, name: str, places: Sequence[int]) -> int:
        """The place in the vector of one entry of a table."""
        return self.starts[name] + int(np.ravel_multi_index(tuple(places), self.shapes[name]))


class DistrictCells:
    """The cells that rows of a log can fall into, as far as one district is concerned.

    A cell is which of the district's variables were set, and the values of these variables and of
    their parents. How often each cell occurred is all that a log says about the district's tables.

    Attributes:
        members: The variables of the district.
        causes: The hidden causes among them.
        entries: The entry of each member's table that a cell uses, for each combination of hidden
            classes, shape ``(cells, combinations, members)``; the size of the vector stands for a
            member that was set.
        weights: The entries of the tables of hidden causes, ``(combinations, causes)``.
    """

    def __init__(
        self,
        model: LatentClassModel,
        members: tuple[str, ...],
        sets: Sequence[frozenset[str]],
    ) -> None:
        self.model, self.members = model, members
        self.causes = tuple(c for c, group in model.hidden.items() if group[0] in members)
        patterns = dict.fromkeys([frozenset[str](), *(s & set(members) for s in sets)])
        self._patterns = [pattern for pattern in patterns if len(pattern) < len(members)]
        parents = [p for m in members for p in model.graph.in_order(model.graph.parents(m))]
        self.scope = tuple(dict.fromkeys([*members, *parents]))
        self._sizes = tuple(model.states[name] for name in self.scope)
        self.num_values = int(np.prod(self._sizes))
        self.num_cells = len(self._patterns) * self.num_values
        self._check_size()

    def pattern(self, arm: Iterable[str]) -> int:
        """The number of what an arm sets here; -1 if it sets all, so that nothing is learned."""
        found = frozenset(arm) & set(self.members)
        return self._patterns.index(found) if found in self._patterns else -1

    def place(self, values: Mapping[str, Integers]) -> Integers:
        """Number the values of the scope."""
        place = np.zeros_like(values[self.scope[0]])
        for name, size in zip(self.scope, self._sizes, strict=True):
            place = place * size + values[name]
        return place

    @cached_property
    def entries(self) -> Integers:
        """The entries of tables that cells use."""
        layout = self.model.layout
        grid = np.indices(self._sizes).reshape(len(self._sizes), -1)
        seen = dict(zip(self.scope, grid[:, :, None], strict=True))
        for cause, classes in zip(self.causes, self._combinations.T, strict=True):
            seen[cause] = classes[None, :]
        found = np.full(
            (len(self._patterns), self.num_values, len(self._combinations), len(self.members)),
            layout.size,
        )
        for column, name in enumerate(self.members):
            axes = [seen[axis] for axis in self.model.scope(name)]
            flat = np.ravel_multi_index(tuple(np.broadcast_arrays(*axes)), layout.shapes[name])
            for number, pattern in enumerate(self._patterns):
                if name not in pattern:
                    found[number, :, :, column] = layout.starts[name] + flat
        return found.reshape(self.num_cells, len(self._combinations), len(self.members))

    @cached_property
    def weights(self) -> Integers:
        """The entries of the tables of hidden causes."""
        starts = [self.model.layout.starts[cause] for cause in self.causes]
        return self._combinations + np.array(starts, dtype=np.int64)

    @cached_property
    def _combinations(self) -> NDArray[np.int64]:
        ranges = [range(self.model.num_classes)] * len(self.causes)
        found = list(product(*ranges))
        return np.array(found, dtype=np.int64).reshape(len(found), len(self.causes))

    def _check_size(self) -> None:
        entries = self.num_cells * self.model.num_classes ** len(self.causes)
        if entries > _MOST_ENTRIES:
            raise AssumptionError(
                f"the district {', '.join(self.members)} has {entries:,} cells and hidden classes; "
                f"expected at most {_MOST_ENTRIES:,}: use fewer hidden classes, or "
                "ProgramPosterior and a program with priors on its parameters"
            )
