"""Laws drawn along a chain of variables, and of it no more than a formula looks at."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import TypeAlias

import numpy as np
import torch

from causalppl.data import Factor
from causalppl.estimation.contingency import Array, Contingency
from causalppl.estimation.exact import SourceKey
from causalppl.identification.expression import Probability

__all__ = ["Chain", "Scope", "missing_spread", "spread_rows"]

_FLOOR = 1e-12  # keeps what is never seen possible, where a draw would underflow to zero

Cells: TypeAlias = tuple[tuple[int, ...], ...]
"""The places along each axis of a table that are looked at."""


@dataclass(frozen=True)
class Scope:
    """Variables of one source whose law is drawn as one.

    Attributes:
        source: Where they were seen.
        do: Those that the source sets.
        names: The others, causes first.
        contrasted: Those that the formula conditions on at a fixed or an open value.
    """

    source: SourceKey
    do: tuple[str, ...]
    names: tuple[str, ...]
    contrasted: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Part:
    """The links of a chain that one leaf of a formula needs, and where.

    Attributes:
        start: The first link; all variables before it are conditions of the leaf.
        stop: One past the last.
        cells: The places that are looked at, for each variable before ``stop``.
    """

    start: int
    stop: int
    cells: Cells


@dataclass(frozen=True, eq=False)
class Chain:
    """The law of a scope's variables as a chain, each given all before it, causes first.

    - The prior of a link has ``concentration`` pseudo-rows, divided by the number of strata of
      what stands before: it weighs as much as so many rows, however many cells there are
      (Buntine's prior, BDeu).
    - What the pseudo-rows look like is unknown too: it is drawn once for all strata of a variable
      that agree in what the formula contrasts, from a Dirichlet law of total weight one. So strata
      without rows do not average out, and what rests on them is as uncertain as it should be.
    - A stratum of n rows counts as n - 2, see `spread_rows`.

    References:
        Buntine (1991), Theory refinement on Bayesian networks; Heckerman, Geiger and Chickering
        (1995), Learning Bayesian networks.
    """

    scope: Scope
    data: Contingency
    concentration: float

    @property
    def names(self) -> tuple[str, ...]:
        """The variables, those that are set first."""
        return (*self.scope.do, *self.scope.names)

    def draw_joint(self, num_draws: int, rng: np.random.Generator) -> Factor:
        """Draw joint laws, nowhere zero.

        Returns:
            A factor over ``(*do, *names)`` with one batch axis, ``(num_draws,)``; it sums to one
            for each value of ``do``.
        """
        whole = _Part(len(self.scope.do), len(self.names), self._everywhere)
        return self._product(whole, self._draw_links([whole], num_draws, rng))

    def draw_leaves(
        self, leaves: Iterable[Probability], num_draws: int, rng: np.random.Generator
    ) -> dict[Probability, Factor]:
        """Draw the tables of a formula's leaves, all from the same laws.

        A leaf such as ``P(Y | X=1, Z)`` needs no link but that of Y where X and Z stand before it,
        and of that no more than X = 1: the rest of the law is not drawn. Leaves over the same
        variables share one table, as values are looked up in it by name.

        Returns:
            Leaf to a factor over its outcomes, conditions and interventions, in this order, with
            the values that are looked at.
        """
        alike: dict[tuple[tuple[str, ...], int], list[Probability]] = {}
        for leaf in leaves:
            alike.setdefault((_variables(leaf), len(leaf.outcomes)), []).append(leaf)
        parts = {key: self._part(group) for key, group in alike.items()}
        links = self._draw_links(parts.values(), num_draws, rng)
        found: dict[Probability, Factor] = {}
        for key, group in alike.items():
            law = self._product(parts[key], links)
            found |= dict.fromkeys(group, self._conditional(law, key[0], key[1]))
        return found

    @property
    def _everywhere(self) -> Cells:
        return tuple(tuple(range(len(self.data.states[name]))) for name in self.names)

    def _part(self, leaves: list[Probability]) -> _Part:
        """Find what leaves over the same variables need."""
        slots = (*leaves[0].given, *leaves[0].do)
        conditions = {symbol.variable for symbol in slots}
        start = next(
            (place for place, name in enumerate(self.names) if name not in conditions), len(slots)
        )
        named = _variables(leaves[0])
        stop = 1 + max(self.names.index(name) for name in named)
        cells = list(self._everywhere[:stop])
        for name in conditions:
            symbols = [s for leaf in leaves for s in (*leaf.given, *leaf.do) if s.variable == name]
            values = {symbol.value for symbol in symbols}
            if None not in values:
                states = enumerate(self.data.states[name])
                looked_at = tuple(place for place, value in states if value in values)
                cells[self.names.index(name)] = looked_at
        return _Part(start, stop, tuple(cells))

    def _draw_links(
        self, parts: Iterable[_Part], num_draws: int, rng: np.random.Generator
    ) -> dict[int, tuple[Cells, Array]]:
        """Draw each link that is needed, once, wherever some part looks at it."""
        needed = list(parts)
        counts = self.data.counts(self.scope.source, self.names)
        found: dict[int, tuple[Cells, Array]] = {}
        for place in range(len(self.scope.do), counts.ndim):
            users = [part.cells for part in needed if part.start <= place < part.stop]
            if users:
                before = tuple(
                    tuple(sorted(set().union(*(cells[axis] for cells in users))))
                    for axis in range(place)
                )
                table = counts.sum(axis=tuple(range(place + 1, counts.ndim)))
                link = self._draw_link(place, table[np.ix_(*before)], num_draws, rng)
                found[place] = (before, link)
        return found

    def _draw_link(
        self, place: int, counts: Array, num_draws: int, rng: np.random.Generator
    ) -> Array:
        """Draw the law of one variable given all before it, shape ``(draws, *before, states)``."""
        rows = counts.sum(axis=-1, keepdims=True)
        table = counts * (spread_rows(rows) / np.maximum(rows, 1e-9))
        size = counts.shape[-1]
        strata = self.data.cells(self.names[len(self.scope.do) : place])
        apart = [
            length if name in self.scope.contrasted else 1
            for name, length in zip(self.names, counts.shape[:-1], strict=False)
        ]
        base = rng.dirichlet(np.full(size, 1 / size), (num_draws, *apart)).clip(1e-6)
        return draw_dirichlet(table + base * (self.concentration / strata), rng)

    def _product(self, part: _Part, links: Mapping[int, tuple[Cells, Array]]) -> Factor:
        """Multiply the links of a part, at its cells; axes are all variables before its end."""
        tables = []
        for place in range(part.start, part.stop):
            before, link = links[place]
            axes = [*map(np.searchsorted, before, part.cells), np.arange(link.shape[-1])]
            axes[-1] = axes[-1][list(part.cells[place])]
            is_whole = [len(axis) for axis in axes] == list(link.shape[1:])
            cut = link if is_whole else link[np.ix_(np.arange(len(link)), *axes)]
            tables.append(cut.reshape(*cut.shape, *[1] * (part.stop - place - 1)))
        names = self.names[: part.stop]
        states = {
            name: tuple(self.data.states[name][place] for place in cells)
            for name, cells in zip(names, part.cells, strict=True)
        }
        return Factor(names, torch.from_numpy(reduce(np.multiply, tables)), states)

    def _conditional(self, law: Factor, names: tuple[str, ...], num_outcomes: int) -> Factor:
        """Marginalise, and divide by the law of the conditions."""
        joint = law.marginalise([name for name in law.names if name not in names]).align(names)
        total = joint.marginalise(names[:num_outcomes])._spread(names)
        return Factor(joint.names, joint.values / total, joint.states)


def _variables(leaf: Probability) -> tuple[str, ...]:
    return tuple(symbol.variable for symbol in (*leaf.outcomes, *leaf.given, *leaf.do))


def spread_rows(rows: Array) -> Array:
    """As how many rows to count a stratum's rows, so that its law spreads as it should.

    On average over samples, the posterior of n rows has (n - 1) / (n + 1) of the variance that
    frequencies have from sample to sample; over many thin strata that adds up to intervals that
    are too short. The posterior of n - 2 rows with the same frequencies has all of it; at less
    than four rows, half of them count, and `missing_spread` is what is still missing.
    """
    return np.asarray(np.maximum(rows - 2, rows / 2))


def missing_spread(rows: Array) -> Array:
    """Return which share of a stratum's sampling variance its posterior lacks on average."""
    return np.asarray(np.clip(1 - (rows - 1) / (spread_rows(rows) + 1), 0, 1))


def draw_dirichlet(shape: Array, rng: np.random.Generator) -> Array:
    """Draw from Dirichlet laws along the last axis; small shapes underflow, so in logarithms."""
    if shape.min(initial=1.0) >= 1:
        law = rng.standard_gamma(shape)
    else:
        # Gamma(a) is Gamma(a + 1) times uniform ** (1 / a) (Marsaglia and Tsang, 2000)
        drawn = np.log(rng.standard_gamma(shape + 1))
        drawn -= rng.standard_exponential(shape.shape) / shape
        law = np.exp(drawn - drawn.max(axis=-1, keepdims=True))
    law *= (1 - _FLOOR) / law.sum(axis=-1, keepdims=True)
    law += _FLOOR / shape.shape[-1]
    return np.asarray(law)
