"""What is believed about the tables of a discrete diagram, in many runs at once: a Gibbs sampler.

Rows are kept as counts of cells. A sweep gives each row a hidden class, drawn from what the tables
say, and then draws the tables anew, from what the classes say; both steps are exact conditionals.
One sweep follows each row of data, so the chain goes along with the posterior as it narrows.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from scipy.sparse import csr_array

from causalppl.agents.agent import Arm, Array, Integers
from causalppl.agents.latent_classes import DistrictCells, LatentClassModel

__all__ = ["TabularBelief", "TabularPrior"]

_TINY = 1e-300


class TabularPrior(Protocol):
    """Dirichlet priors of the tables; see `LatentClasses`."""

    @property
    def concentrations(self) -> tuple[float, ...]:
        """Dirichlet parameters of mechanisms, equally likely."""

    @property
    def class_concentration(self) -> float:
        """Dirichlet parameter of the weights of hidden classes."""

    @property
    def log_rows(self) -> int:
        """As how many rows, at most, the logs of one kind count in a district of several."""


class TabularBelief:
    """The tables of a diagram, as drawn from their posterior, one draw for each run.

    Args:
        model: The diagram with its hidden classes.
        arms: What may be set; a row of data comes with the number of its arm, or -1 if natural.
        prior: The prior.
        rngs: One random stream for each run, or one for each group of equally many runs.
        runs: How many runs.

    Attributes:
        flat: The tables of each run, shape ``(runs, size)``.
        parameters: Of the Dirichlet laws that they were drawn from.
    """

    def __init__(
        self,
        model: LatentClassModel,
        arms: Sequence[Arm],
        prior: TabularPrior,
        rngs: list[np.random.Generator],
        runs: int,
    ) -> None:
        self.model, self.prior, self.rngs = model, prior, rngs
        self.districts = [_District(cells, arms, runs) for cells in model.districts(arms)]
        self.flat = np.empty((runs, model.layout.size))
        self._rising = self._rising_factorials(1000)
        self._draw_tables(np.zeros_like(self.flat))

    def add(self, values: Mapping[str, Integers], arms: Integers) -> None:
        """Add one row to each run.

        Args:
            values: The values of the variables by name, shape ``(runs,)``.
            arms: The arm of each row, shape ``(runs,)``; -1 for natural rows.
        """
        for district in self.districts:
            district.add(values, arms)

    def read(
        self, values: Mapping[str, Integers], set_variables: frozenset[str]
    ) -> list[tuple[str, ...]]:
        """Add a log to each run.

        The steps of the sampler are the smaller, the more rows it explains; so logs count as a
        limited number of rows where hidden causes have to be drawn.

        Args:
            values: The values of the variables by name, shape ``(runs, rows)``, or ``(1, rows)`` if
                all runs read the same.
            set_variables: Those that were set from outside.

        Returns:
            The members of the districts where a log counts as less than it has.
        """
        return [
            district.cells.members
            for district in self.districts
            if district.read(values, set_variables, self.prior.log_rows)
        ]

    def log_predictive(
        self, values: Mapping[str, Integers], arms: Integers | frozenset[str]
    ) -> Array:
        """The log probability of one more row given the classes of the others, ``(runs,)``.

        The tables are integrated out: a row uses each of them once, so their means will do.
        """
        means = self.parameters / np.repeat(
            np.add.reduceat(self.parameters, self.model.layout.rows, 1),
            self.model.layout.row_sizes,
            1,
        )
        extended = np.concatenate([means, np.ones((len(means), 1))], 1)
        return np.asarray(sum(d.log_predictive(values, arms, extended) for d in self.districts))

    def sweep(self) -> None:
        """Give rows their classes, and draw the tables."""
        counts = np.zeros_like(self.flat)
        extended = np.concatenate([self.flat, np.ones((len(self.flat), 1))], 1)
        for district in self.districts:
            counts += district.allocate(extended, self.rngs)
        self._draw_tables(counts)

    def _draw_tables(self, counts: Array) -> None:
        layout = self.model.layout
        shapes = counts + self._concentrations(counts)
        self.parameters = shapes
        drawn = _by_stream(self.rngs, np.random.Generator.standard_gamma, shapes) + _TINY
        totals = np.add.reduceat(drawn, layout.rows, 1)
        np.divide(drawn, np.repeat(totals, layout.row_sizes, 1), out=self.flat)

    def _concentrations(self, counts: Array) -> Array:
        """Draw the Dirichlet parameters given the counts, the tables integrated out."""
        choices = np.array(self.prior.concentrations)
        found = np.full((len(counts), self.model.layout.size), self.prior.class_concentration)
        mechanisms = slice(self._num_weights, None)
        if len(choices) == 1:
            found[:, mechanisms] = choices[0]
            return found
        scores = self._evidence(counts[:, mechanisms].astype(np.int64))
        noise = _by_stream(self.rngs, np.random.Generator.gumbel, size=scores.shape)
        found[:, mechanisms] = choices[(scores + noise).argmax(1)][:, None]
        return found

    def _evidence(self, counts: Integers) -> Array:
        """The log probability of the counts under each concentration, less that under the first.

        Returns:
            Shape ``(runs, choices)``.
        """
        rows, sizes = self._mechanism_rows
        totals = np.add.reduceat(counts, rows, 1)
        if totals.max(initial=0) >= self._rising[0].shape[1]:
            self._rising = self._rising_factorials(2 * int(totals.max()))
        kinds = np.searchsorted(np.unique(sizes), sizes)
        others = [
            own[counts].sum(1) - whole[kinds, totals].sum(1)
            for own, whole in zip(*self._rising, strict=True)
        ]
        return np.stack([np.zeros(len(counts)), *others], 1)

    def _rising_factorials(self, most: int) -> tuple[Array, Array]:
        """``log Gamma(n + a) - log Gamma(a)`` for n up to some number, by concentration.

        Returns:
            For an entry, shape ``(choices - 1, most + 1)``, and for rows of each length that
            occurs, ``(choices - 1, lengths, most + 1)``: less those of the first concentration.
        """
        lengths = np.unique(self._mechanism_rows[1])
        single = np.array(self.prior.concentrations)[:, None]
        start = np.concatenate([single, single * lengths], 1)[:, :, None]
        steps = np.log(start + np.arange(most))
        found = np.concatenate([np.zeros_like(start), np.cumsum(steps, 2)], 2)
        found = found[1:] - found[0]
        return found[:, 0], found[:, 1:]

    @cached_property
    def _mechanism_rows(self) -> tuple[Integers, Integers]:
        layout = self.model.layout
        later = layout.rows >= self._num_weights
        return layout.rows[later] - self._num_weights, layout.row_sizes[later]

    @property
    def _num_weights(self) -> int:
        return len(self.model.hidden) * self.model.num_classes

    def state(self) -> dict[str, Any]:
        """Return what a continuation depends on."""
        districts = [(district.counts, district.logged) for district in self.districts]
        return {"flat": self.flat, "parameters": self.parameters, "districts": districts}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.flat, self.parameters = state["flat"], state["parameters"]
        for district, (counts, logged) in zip(self.districts, state["districts"], strict=True):
            district.counts, district.logged = counts, logged


class _District:
    """The counts of one district's cells, in each run.

    Attributes:
        counts: As what rows count, shape ``(runs, cells)``.
        logged: The rows of logs, all of them, shape ``(runs, cells)``.
    """

    def __init__(self, cells: DistrictCells, arms: Sequence[Arm], runs: int) -> None:
        self.cells = cells
        self.counts, self.logged = np.zeros((2, runs, cells.num_cells), dtype=np.int64)
        # the last entry is found by -1: a natural row
        self._pattern = np.array([*map(cells.pattern, arms), cells.pattern(())])
        self._runs = np.arange(runs)

    def add(self, values: Mapping[str, Integers], arms: Integers) -> None:
        pattern = self._pattern[arms]
        cell = pattern * self.cells.num_values + self.cells.place(values)
        said = pattern >= 0
        self.counts[self._runs[said], cell[said]] += 1

    def log_predictive(
        self, values: Mapping[str, Integers], arms: Integers | frozenset[str], extended: Array
    ) -> Array:
        if isinstance(arms, frozenset):
            pattern = np.full(len(extended), self.cells.pattern(arms))
        else:
            pattern = self._pattern[arms]
        cell = np.maximum(pattern, 0) * self.cells.num_values + self.cells.place(values)
        entries = self.cells.entries[cell]
        runs = self._runs[:, None]
        found = np.ones(entries.shape[:2])
        for column in self.cells.weights.T:
            found = found * extended[:, column]
        for column in np.moveaxis(entries, -1, 0):
            found = found * extended[runs, column]
        return np.asarray(np.where(pattern >= 0, np.log(found.sum(1)), 0.0))

    def read(
        self, values: Mapping[str, Integers], set_variables: frozenset[str], most: int
    ) -> bool:
        pattern = self.cells.pattern(set_variables)
        if pattern < 0:
            return False
        size = self.cells.num_values
        seen = [np.bincount(found, minlength=size) for found in self.cells.place(values)]
        own = slice(pattern * size, (pattern + 1) * size)
        logged = self.logged[:, own]
        is_hidden = len(self.cells.weights) > 1
        before = _thinned(logged, most) if is_hidden else logged.copy()
        logged += np.array(seen)
        self.counts[:, own] += (_thinned(logged, most) if is_hidden else logged) - before
        return is_hidden and int(logged.sum(1).max()) > most

    def allocate(self, extended: Array, rngs: list[np.random.Generator]) -> Array:
        """Draw hidden classes for all rows; returns how often each entry of a table was used."""
        used: Any = self.counts
        if len(self.cells.weights) > 1:
            weights = self._weights(extended)
            used = _by_stream(rngs, np.random.Generator.multinomial, self.counts, weights)
            used = used.reshape(len(used), -1)
        return np.asarray((self._entries @ used.T).T)

    def _weights(self, extended: Array) -> Array:
        """The chance of each combination of classes in each cell."""
        found = extended[:, self.cells.weights].prod(-1)[:, None, :]
        for entries in np.moveaxis(self.cells.entries, -1, 0):
            found = found * np.take(extended, entries, axis=1)
        found += _TINY
        return np.asarray(found / found.sum(-1, keepdims=True))

    @cached_property
    def _entries(self) -> csr_array:
        """From how often each cell and combination occurred to how often each entry was used."""
        cells = self.cells
        size = cells.model.layout.size
        combinations = len(cells.weights)
        own = cells.entries.reshape(cells.num_cells * combinations, -1)
        causes = np.tile(cells.weights, (cells.num_cells, 1))
        rows = np.concatenate([own, causes], 1)
        columns = np.broadcast_to(np.arange(len(rows))[:, None], rows.shape)
        kept = rows < size
        found = csr_array(
            (np.ones(int(kept.sum())), (rows[kept], columns[kept])), shape=(size, len(rows))
        )
        return found


def _thinned(counts: Integers, most: int) -> Integers:
    """As many rows as there are, or some number at most, in the same proportions up to one row."""
    total = counts.sum(1, keepdims=True)
    kept = np.cumsum(counts, 1) * np.minimum(most, total) // np.maximum(total, 1)
    return np.diff(kept, axis=1, prepend=0)


def _by_stream(rngs: list[np.random.Generator], draw: Any, *arrays: Any, size: Any = None) -> Any:
    """Draw for each group of runs from its own stream."""
    runs = len(arrays[0]) if size is None else size[0]
    group = -(-runs // len(rngs))
    found = []
    for number, rng in enumerate(rngs):
        own = slice(number * group, (number + 1) * group)
        if size is None:
            found.append(draw(rng, *[array[own] for array in arrays]))
        else:
            found.append(draw(rng, size=(len(range(runs)[own]), *size[1:])))
    return found[0] if len(found) == 1 else np.concatenate(found)
