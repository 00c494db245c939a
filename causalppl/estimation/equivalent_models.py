"""Finite models that give the same laws: a family of them, and walks within it.

All models of a family live on one diagram; their tables are softmax functions of a vector of
logits. The laws that data could show are polynomials of the tables, so their Jacobian is exact and
cheap: the derivative by one table is the contraction of all the others. A walk steps along its null
space, and Gauss-Newton steps bring it back to where the laws are what they were.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import opt_einsum
from numpy.typing import NDArray

from causalppl.graphs import ADMG
from causalppl.programs.finite import FiniteModel, Latent, latent_names

Array: TypeAlias = NDArray[np.float64]
Domain: TypeAlias = str | None

_LARGEST_LOGIT = 5.0  # probabilities stay above about a half per cent
_EXACT = 2e-15
_RANK = 1e-11  # singular values below this share of the largest count as zero


@dataclass(frozen=True)
class Input:
    """What one study shows: the law of all variables under one set of interventions.

    Attributes:
        do: The variables that the study sets, to all their values; empty for an observational one.
        domain: The population; None is the one that the query is about.
        shifted: The variables whose mechanisms differ there from those of the target population
            (at which a selection node points).

    Example:
        >>> print(Input(frozenset("X"), "trial", frozenset("Z")))
        P_trial(. | do(X)), Z shifted
    """

    do: frozenset[str] = frozenset()
    domain: Domain = None
    shifted: frozenset[str] = frozenset()

    def __str__(self) -> str:
        name = "P" if self.domain is None else f"P_{self.domain}"
        condition = f" | do({', '.join(sorted(self.do))})" if self.do else ""
        shifted = f", {', '.join(sorted(self.shifted))} shifted" if self.shifted else ""
        return f"{name}(.{condition}){shifted}"


class _Block(NamedTuple):
    """One table's place in the vector of logits."""

    start: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    def of(self, logits: Array) -> Array:
        """The table of these logits."""
        rows = logits[self.start : self.start + self.size].reshape(self.shape)
        weights = np.exp(rows - rows.max(-1, keepdims=True))
        return weights / weights.sum(-1, keepdims=True)


class Family:
    """All finite models on a diagram with given numbers of states, in several populations.

    Args:
        graph: The diagram.
        inputs: What data could show.
        states: Variable to its number of states.
        latent_states: Number of states of the latent of each bidirected edge.
        noise_states: Number of states of each variable's private latent; 1 for none.
    """

    def __init__(
        self,
        graph: ADMG,
        inputs: Sequence[Input],
        *,
        states: Mapping[str, int],
        latent_states: int,
        noise_states: int,
    ) -> None:
        self.graph = graph
        self.states = dict(states)
        self.latents = latent_names(graph, latent_states, noise_states)
        self.inputs = tuple(inputs)
        self.shifted: dict[Domain, frozenset[str]] = {None: frozenset()}
        self.shifted.update({i.domain: i.shifted & set(graph.nodes) for i in inputs})
        self._blocks: dict[tuple[str, Domain], _Block] = {}
        self.size = 0
        for domain in self.shifted:
            for name in (*graph.nodes, *self.latents):
                if domain is None or self._owner(name, domain) is not None:
                    self._add(name, domain)
        self._laws = [_Law(self, i.do & set(graph.nodes)) for i in self.inputs]

    def models(self, logits: Array) -> dict[Domain, FiniteModel]:
        """Return the model of each population."""
        found = {}
        for domain in self.shifted:
            tables = self.tables(logits, domain)
            latents = {
                name: Latent(children, tables.pop(name))
                for name, (children, _) in self.latents.items()
            }
            found[domain] = FiniteModel(self.graph, tables, latents)
        return found

    def tables(self, logits: Array, domain: Domain) -> dict[str, Array]:
        """Return all tables, those of latents included, in one population."""
        names = (*self.graph.nodes, *self.latents)
        return {name: self._blocks[name, self._owner(name, domain)].of(logits) for name in names}

    def laws(self, logits: Array) -> Array:
        """Return all entries of all laws that data could show, shape ``(entries,)``."""
        pairs = zip(self.inputs, self._laws, strict=True)
        return np.concatenate([law.values(self.tables(logits, i.domain)) for i, law in pairs])

    def jacobian(self, logits: Array) -> Array:
        """Return the derivative of `laws`, shape ``(entries, logits)``."""
        rows = []
        for given, law in zip(self.inputs, self._laws, strict=True):
            tables = self.tables(logits, given.domain)
            block = np.zeros((law.entries, self.size))
            for name, part in law.derivatives(tables):
                place = self._blocks[name, self._owner(name, given.domain)]
                table = tables[name]
                part = part.reshape(law.entries, -1, table.shape[-1])
                table = table.reshape(-1, table.shape[-1])
                inner = table * (part - (part * table).sum(-1, keepdims=True))
                block[:, place.start : place.start + place.size] = inner.reshape(law.entries, -1)
            rows.append(block)
        return np.concatenate(rows)

    def project(self, logits: Array, laws: Array, *, most_steps: int = 25) -> Array | None:
        """Move to a nearby model that has these laws; None if that fails.

        Gauss-Newton steps of least norm; they converge quadratically.
        """
        error = np.inf
        for _ in range(most_steps):
            gap = self.laws(logits) - laws
            previous, error = error, float(np.abs(gap).max())
            is_small = error < 1e-13 and error > previous / 4
            if error < _EXACT or is_small:
                return logits
            if not error < 1 or np.abs(logits).max() > _LARGEST_LOGIT:
                return None
            step = np.linalg.lstsq(self.jacobian(logits), gap, rcond=_RANK)[0]
            logits = logits - step * min(1.0, 2.0 / float(np.abs(step).max()))
        return None

    def free_directions(self, logits: Array, count: int, rng: np.random.Generator) -> Array:
        """Draw orthonormal directions that change no law, shape ``(logits, count or less)``."""
        jacobian = self.jacobian(logits)
        drawn = rng.standard_normal((self.size, count))
        drawn -= np.linalg.lstsq(jacobian, jacobian @ drawn, rcond=_RANK)[0]
        left, sizes, _ = np.linalg.svd(drawn, full_matrices=False)
        return np.asarray(left[:, sizes > 1e-6 * max(float(sizes[0]), 1.0)])

    def _owner(self, name: str, domain: Domain) -> Domain:
        """The population whose table of a variable or latent holds in a population."""
        shifted = self.shifted[domain]
        own = self.latents[name][0] if name in self.latents else (name,)
        return domain if shifted.issuperset(own) else None

    def _add(self, name: str, domain: Domain) -> None:
        shape: tuple[int, ...]
        if name in self.latents:
            shape = (self.latents[name][1],)
        else:
            parents = self.graph.in_order(self.graph.parents(name))
            hidden = [count for children, count in self.latents.values() if name in children]
            shape = (*(self.states[p] for p in parents), *hidden, self.states[name])
        self._blocks[name, domain] = _Block(self.size, shape)
        self.size += self._blocks[name, domain].size


class _Law:
    """The law of all variables under interventions on some, for all their values."""

    def __init__(self, family: Family, do: frozenset[str]) -> None:
        graph = family.graph
        self._nodes = graph.nodes
        self._sizes = tuple(family.states[name] for name in graph.nodes)
        self.entries = int(np.prod(self._sizes))
        place = {name: i for i, name in enumerate((*graph.nodes, *family.latents))}
        self._axes: dict[str, tuple[int, ...]] = {}
        for name in graph.nodes:
            parents = graph.in_order(graph.parents(name))
            hidden = [u for u, (children, _) in family.latents.items() if name in children]
            if name not in do:
                self._axes[name] = tuple(place[cause] for cause in (*parents, *hidden, name))
        for name, (children, _) in family.latents.items():
            if not do.issuperset(children):
                self._axes[name] = (place[name],)
        self._lengths = {**dict(enumerate(self._sizes))}
        for name, (_, count) in family.latents.items():
            self._lengths[place[name]] = count

    def values(self, tables: Mapping[str, Array]) -> Array:
        """All entries, shape ``(entries,)``."""
        names, contraction = self._whole
        return np.asarray(contraction(*(tables[name] for name in names))).reshape(-1)

    def derivatives(self, tables: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
        """The derivative by each table, shape ``(entries, *table)``."""
        for name, (others, contraction, columns) in self._partials.items():
            weights = np.asarray(contraction(*(tables[other] for other in others)))
            part = np.zeros((self.entries, tables[name].size))
            np.put_along_axis(part, columns, weights.reshape(self.entries, -1), 1)
            yield name, part

    @cached_property
    def _whole(self) -> tuple[tuple[str, ...], Any]:
        return tuple(self._axes), self._contraction(tuple(self._axes), ())

    @cached_property
    def _partials(self) -> dict[str, tuple[tuple[str, ...], Any, NDArray[np.int64]]]:
        found = {}
        for name, axes in self._axes.items():
            others = tuple(other for other in self._axes if other != name)
            hidden = tuple(axis for axis in axes if axis >= len(self._nodes))
            found[name] = (others, self._contraction(others, hidden), self._columns(axes, hidden))
        return found

    def _contraction(self, names: tuple[str, ...], hidden: tuple[int, ...]) -> Any:
        """Prepare the product of some tables, kept over all variables and some latents."""
        keep = (*range(len(self._nodes)), *hidden)
        present = {axis for name in names for axis in self._axes[name]}
        arguments: list[Any] = []
        for name in names:
            arguments += [tuple(self._lengths[a] for a in self._axes[name]), self._axes[name]]
        missing = [axis for axis in keep if axis not in present]
        constants = [np.ones(self._lengths[axis]) for axis in missing]
        for axis, ones in zip(missing, constants, strict=True):
            arguments += [ones.shape, (axis,)]
        symbols = ["".join(map(opt_einsum.get_symbol, axes)) for axes in (*arguments[1::2], keep)]
        equation = f"{','.join(symbols[:-1])}->{symbols[-1]}"
        expression = opt_einsum.contract_expression(equation, *arguments[::2])
        return lambda *tables: expression(*tables, *constants)

    def _columns(self, axes: tuple[int, ...], hidden: tuple[int, ...]) -> NDArray[np.int64]:
        """For each entry and state of the latents, the entry of the table that is used there."""
        lengths = [self._lengths[axis] for axis in (*range(len(self._nodes)), *hidden)]
        codes = np.indices(lengths).reshape(len(lengths), self.entries, -1)
        place = {axis: i for i, axis in enumerate((*range(len(self._nodes)), *hidden))}
        chosen = tuple(codes[place[axis]] for axis in axes)
        return np.ravel_multi_index(chosen, [self._lengths[axis] for axis in axes])
