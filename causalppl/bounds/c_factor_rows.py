"""What a source says about one district: rows of the program over its response types.

The law of a source is a product of one c-factor for each district of the diagram without what was
set, ``Q[E](e | parents)``, and each is a product of conditionals of the law: a variable given the
earlier part of its district and the parents of that. A c-factor is linear in the law of the
response types: at each value of the outer parents, every type gives exactly one cell. Where the
law says nothing, as the conditioning event has probability zero, cells are merged: the row holds
the longest prefix of the district that is known.

References:
    Tian and Pearl (2002), A general identification condition for causal effects, lemma 1.
    Sachs, Jonzon, Gabriel and Sjolander (2023), A general method for deriving tight symbolic
    bounds on causal effects.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.response_functions import Codes, Plan, Step
from causalppl.graphs import ADMG
from causalppl.graphs.components import districts
from causalppl.programs.finite_worlds import Fixed
from causalppl.queries import Value

__all__ = ["CFactorRows", "Law", "district_plan", "factor_rows"]

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Law:
    """The law of one source, and resampled ones.

    Attributes:
        removed: The variables that were set.
        names: The axes, in the order of the diagram.
        values: Shape ``(batch, *states)``, the first being the law itself.
        num_rows: The rows behind it, effective ones if they are weighted; 0 where it is exact.
        seed: Of how resampled laws doubt what was seen, see `with_doubt`.
    """

    removed: frozenset[str]
    names: tuple[str, ...]
    values: Array
    num_rows: float
    seed: int = 0

    def over(self, kept: Sequence[str], axes: Sequence[str]) -> Array:
        """Sum to some variables; lay out along ``axes``, of length one where not kept."""
        gone = tuple(1 + i for i, name in enumerate(self.names) if name not in kept)
        left = [name for name in self.names if name in kept]
        values = self.values.sum(axis=gone)
        order = sorted(range(len(left)), key=lambda i: axes.index(left[i]))
        values = values.transpose(0, *(1 + i for i in order))
        sizes = iter(values.shape[1:])
        return values.reshape(len(values), *(next(sizes) if a in kept else 1 for a in axes))

    def with_doubt(self, joint: Array, name: str, axis: int) -> Array:
        """Let resampled laws doubt what a variable does in each context that was seen.

        A value that was never seen counts as one row drawn at random, and one value, chosen at
        random in each law, as two rows more. Without this the Bayesian bootstrap would hold what
        was never seen for impossible, and be too sure of small samples. In large ones it makes no
        difference.

        Args:
            joint: Of the variable and what it is conditioned on, shape ``(batch, *states)``.
            name: The variable.
            axis: Its axis.
        """
        if not self.num_rows or len(joint) == 1:
            return joint
        rng = np.random.default_rng([self.seed, self.names.index(name)])
        draws, states = joint[1:].shape, joint.shape[axis]
        is_seen = joint[0].sum(axis - 1, keepdims=True) > 0
        is_new = is_seen & (joint[0] == 0)
        chosen = rng.integers(states, size=[1 if i == axis else n for i, n in enumerate(draws)])
        place = np.arange(states).reshape([-1 if i == axis else 1 for i in range(joint.ndim)])
        rows = is_new * rng.standard_gamma(1.0, draws)
        rows += is_seen * (chosen == place) * rng.standard_gamma(2.0, draws)
        return np.concatenate([joint[:1], joint[1:] + rows / self.num_rows])


@dataclass(frozen=True, eq=False)
class CFactorRows:
    """The rows that one c-factor of one source adds.

    Attributes:
        graph: The diagram.
        law: The source.
        members: The district, in causal order.
        outer: Its parents outside, in the order of the diagram.
        states: Variable to its values.
    """

    graph: ADMG
    law: Law
    members: tuple[str, ...]
    outer: tuple[str, ...]
    states: Mapping[str, tuple[Value, ...]]

    @cached_property
    def plans(self) -> tuple[Plan, ...]:
        """How to evaluate the district, for each value of the outer parents."""
        lengths = [range(len(self.states[name])) for name in self.outer]
        return tuple(
            district_plan(self.graph, self.members, dict(zip(self.outer, codes, strict=True)))
            for codes in itertools.product(*lengths)
        )

    def rows_of(self, number: int, values: Sequence[Codes]) -> Codes:
        """Find the row into which each response type falls, for one of the plans."""
        sizes = [len(self.states[name]) for name in self.members]
        return np.asarray(self._rows[number][np.ravel_multi_index(tuple(values), sizes)])

    def rows_of_context(self, number: int) -> Codes:
        """List the row of each cell of the district, for one of the plans."""
        return np.asarray(self._rows[number])

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return len(self._representatives)

    @cached_property
    def right_sides(self) -> Array:
        """The probability of each row, shape ``(batch, rows)``."""
        products = np.stack(self._products, 1)  # (batch, depth, contexts, cells)
        context, cell, depth = self._representatives.T
        return np.asarray(products[:, depth, context, cell])

    @cached_property
    def weights(self) -> Array:
        """How much of the source bears on each row, shape ``(rows,)``; sums to 1 over contexts."""
        reach = self.law.over(self.outer, self.outer)[0].reshape(-1)
        share = reach / reach.sum()
        return np.asarray(share[self._representatives[:, 0]] * max(self.law.num_rows, 1))

    def describe(self, row: int) -> str:
        """Write the probability that a row holds."""
        context, cell, depth = self._representatives[row].tolist()
        shape = [len(self.states[name]) for name in self.members]
        codes = np.unravel_index(cell, shape)[:depth]
        outer = np.unravel_index(context, [len(self.states[name]) for name in self.outer] or [1])
        seen: list[str] = []
        fixed: list[str] = []
        did: list[str] = []
        for name, code in zip(self.members, codes, strict=False):
            seen.append(f"{name}={self.states[name][int(code)]}")
        for name, code in zip(self.outer, outer, strict=False):
            text = f"{name}={self.states[name][int(code)]}"
            (did if name in self.law.removed else fixed).append(text)
        bar = ", ".join([f"do({', '.join(did)})"] * bool(did) + fixed)
        kind = "P" if len(set(self.members) & set(self._inner)) == 0 else "Q"
        return f"{kind}({', '.join(seen) or 'anything'}{' | ' + bar if bar else ''})"

    @property
    def _inner(self) -> set[str]:
        """Outer parents that a member causes: there the c-factor is no conditional probability."""
        return {v for v in self.outer if self.graph.ancestors(v) & set(self.members)}

    @cached_property
    def _tables(self) -> tuple[list[Array], list[NDArray[np.bool_]]]:
        """For each member its conditional (0 where unknown), and where that is known."""
        axes = (*self.outer, *self.members)
        present = [v for v in self.graph.topological_order() if v in self.law.names]
        within = [v for v in present if v not in self.law.removed]
        conditionals, known = [], []
        for name in self.members:
            earlier = within[: within.index(name) + 1]
            part = next(d for d in districts(self.graph, earlier) if name in d)
            axis = 1 + axes.index(name)
            joint = self.law.over([*(part | self.graph.parents(part))], axes)
            joint = self.law.with_doubt(joint, name, axis)
            total = joint.sum(axis, keepdims=True)
            known.append((total[0] > 0) & np.ones_like(joint[0], dtype=bool))
            conditionals.append(np.divide(joint, total, out=np.zeros_like(joint), where=total > 0))
        return conditionals, known

    @cached_property
    def _products(self) -> list[Array]:
        """Products of the first conditionals, shape ``(batch, contexts, cells)`` each."""
        conditionals, _ = self._tables
        batch = len(self.law.values)
        products = [np.ones((batch, *self._shape))]
        for conditional in conditionals:
            products.append(products[-1] * conditional)
        contexts = int(np.prod(self._shape[: len(self.outer)]))
        return [product.reshape(batch, contexts, -1) for product in products]

    @property
    def _shape(self) -> tuple[int, ...]:
        return tuple(len(self.states[name]) for name in (*self.outer, *self.members))

    @cached_property
    def _depth(self) -> Codes:
        """How many leading conditionals are known at each cell, shape ``(contexts, cells)``."""
        _, known = self._tables
        reached, depth = np.ones(self._shape, dtype=bool), np.zeros(self._shape, dtype=np.int64)
        for table in known:
            reached = reached & table
            depth += reached
        return depth.reshape(int(np.prod(self._shape[: len(self.outer)])), -1)

    @cached_property
    def _numbered(self) -> tuple[Codes, Codes]:
        depth = self._depth
        sizes = [len(self.states[name]) for name in self.members]
        codes = np.stack(np.unravel_index(np.arange(depth.shape[1]), sizes), -1)
        keys = np.where(np.arange(len(sizes)) < depth[:, :, None], codes[None], -1)
        context = np.broadcast_to(np.arange(len(depth))[:, None, None], (*depth.shape, 1))
        flat = np.concatenate([context, keys], -1).reshape(-1, len(sizes) + 1)
        _, first, number = np.unique(flat, axis=0, return_index=True, return_inverse=True)
        place, cell = np.divmod(first, depth.shape[1])
        found = np.stack([place, cell, depth[place, cell]], -1)
        return number.reshape(depth.shape), found

    @property
    def _rows(self) -> Codes:
        return self._numbered[0]

    @property
    def _representatives(self) -> Codes:
        """For each row its context, one of its cells, and how deep it goes."""
        return self._numbered[1]


def factor_rows(
    graph: ADMG,
    laws: Sequence[Law],
    members: frozenset[str],
    states: Mapping[str, tuple[Value, ...]],
) -> list[CFactorRows]:
    """Collect what all sources say about a district of the diagram.

    Args:
        graph: The diagram.
        laws: The sources; what each observes, without what was set, is closed under causes.
        members: The district.
        states: Variable to its values.
    """
    order = graph.topological_order()
    found = []
    for law in laws:
        left = [name for name in law.names if name not in law.removed]
        for part in districts(graph, left):
            if part <= members:
                outer = graph.in_order(graph.parents(part) - part)
                inner = tuple(name for name in order if name in part)
                found.append(CFactorRows(graph, law, inner, outer, states))
    return found


def district_plan(graph: ADMG, members: Sequence[str], outer: Mapping[str, int]) -> Plan:
    """Plan to evaluate variables in causal order, their outer parents held at codes."""
    place = {name: number for number, name in enumerate(members)}
    return tuple(
        Step(
            name,
            tuple(
                Fixed(outer[parent]) if parent in outer else place[parent]
                for parent in graph.in_order(graph.parents(name))
            ),
        )
        for name in members
    )
