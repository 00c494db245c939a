"""Laws of discrete data, drawn from Dirichlet posteriors: one law for each draw and source."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import networkx as nx
import numpy as np
import torch
from torch import Tensor

from causalppl.data import Factor
from causalppl.estimation.contingency import Array, Contingency, leaves_by_source
from causalppl.estimation.exact import SourceKey, Tables, plan_law
from causalppl.exceptions import AssumptionError, DataError
from causalppl.identification import Estimand
from causalppl.identification.expression import Probability, Symbol, walk
from causalppl.queries import Value

__all__ = [
    "LeafTables",
    "Scope",
    "draw_law",
    "fitted_policy",
    "leaf_source",
    "observed_law",
    "plan_scopes",
]

_DRAWN_WHOLE = 2**12  # cells of a source's columns that are drawn as one law
MOST_CELLS = 2**16
_FLOOR = 1e-12  # keeps what is never seen possible, where a draw would underflow to zero
_FAINT = 1e-9  # the prior's weight in the observed law, which has to be positive


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


def plan_scopes(estimand: Estimand, data: Contingency) -> dict[Probability, Scope]:
    """Choose which laws are drawn together.

    All columns that a formula needs of a source are drawn as one law where that is small. Else
    those laws share one that have an outcome in common, or condition on each other's outcomes in
    a circle; the rest are independent given the diagram.

    Raises:
        AssumptionError: A law has too many cells.
    """
    found: dict[Probability, Scope] = {}
    apart = _contrasted(estimand)
    for source, leaves in leaves_by_source(estimand).items():
        for group in _groups(leaves, data):
            named = {s.variable for leaf in group for s in (*leaf.outcomes, *leaf.given)}
            names = tuple(name for name in estimand.graph.nodes if name in named)
            do = tuple(name for name in estimand.graph.nodes if name in source[1])
            cells = data.cells((*do, *names))
            if cells > MOST_CELLS:
                raise AssumptionError(
                    f"the formula needs a table over {', '.join((*do, *names))}, with {cells:,} "
                    f"cells; expected at most {MOST_CELLS:,}"
                )
            found |= dict.fromkeys(group, Scope(source, do, names, apart))
    return found


def _contrasted(estimand: Estimand) -> frozenset[str]:
    leaves = [node for node in walk(estimand.body) if isinstance(node, Probability)]
    return frozenset(
        symbol.variable
        for leaf in leaves
        for symbol in (*leaf.given, *leaf.do)
        if symbol.value is not None or symbol in estimand.body.free
    )


def _groups(leaves: Sequence[Probability], data: Contingency) -> list[list[Probability]]:
    slots = {s.variable for leaf in leaves for s in (*leaf.outcomes, *leaf.given, *leaf.do)}
    if data.cells(slots) <= _DRAWN_WHOLE:
        return [list(leaves)]
    made = [{symbol.variable for symbol in leaf.outcomes} for leaf in leaves]
    seen = [{symbol.variable for symbol in leaf.given} for leaf in leaves]
    links = nx.DiGraph()
    links.add_nodes_from(range(len(leaves)))
    for i, outcomes in enumerate(made):
        for j, others in enumerate(made):
            if outcomes & seen[j] or outcomes & others:
                links.add_edge(i, j)
    parts = sorted(sorted(part) for part in nx.strongly_connected_components(links))
    return [[leaves[i] for i in part] for part in parts]


def draw_law(
    scope: Scope, data: Contingency, concentration: float, num_draws: int, rng: np.random.Generator
) -> Factor:
    """Draw joint laws of a scope's variables from the posterior; nowhere zero.

    The law is drawn along the chain of its variables, causes first, each given all before it, so
    that every conditional law exists in every draw.

    - The prior of a conditional law has ``concentration`` pseudo-rows, divided by the number of
      strata of what stands before: it weighs as much as so many rows, however many cells there are
      (Buntine's prior, BDeu).
    - What the pseudo-rows look like is unknown too: it is drawn once for all strata of a variable
      that agree in what the formula contrasts, from a Dirichlet law of total weight one. So strata
      without rows do not average out, and what rests on them is as uncertain as it should be.
    - A stratum of n rows counts as n - 2, see `spread_rows`.

    Returns:
        A factor over ``(*do, *names)`` with one batch axis, ``(num_draws,)``; it sums to one for
        each value of ``do``.

    References:
        Buntine (1991), Theory refinement on Bayesian networks; Heckerman, Geiger and Chickering
        (1995), Learning Bayesian networks.
    """
    names = (*scope.do, *scope.names)
    counts = data.counts(scope.source, names)
    joint: Array = np.ones((num_draws, *counts.shape[: len(scope.do)]))
    for place in range(len(scope.do), counts.ndim):
        table = counts.sum(axis=tuple(range(place + 1, counts.ndim)))
        rows = table.sum(axis=-1, keepdims=True)
        table = table * (spread_rows(rows) / np.maximum(rows, 1e-9))
        size, strata = counts.shape[place], data.cells(scope.names[: place - len(scope.do)])
        apart = [len(data.states[n]) if n in scope.contrasted else 1 for n in names[:place]]
        base = rng.dirichlet(np.full(size, 1 / size), (num_draws, *apart)).clip(1e-6)
        joint = joint[..., None] * _dirichlet(table + base * (concentration / strata), rng)
    return Factor(names, torch.from_numpy(joint), {name: data.states[name] for name in names})


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


def _dirichlet(shape: Array, rng: np.random.Generator) -> Array:
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


def observed_law(scope: Scope, data: Contingency) -> Factor:
    """Return the frequencies of a scope's variables; in strata without rows all is alike."""
    names = (*scope.do, *scope.names)
    counts = data.counts(scope.source, names)
    table = counts + _FAINT / data.cells(scope.names)
    axes = tuple(range(len(scope.do), table.ndim))
    values = torch.from_numpy(table / table.sum(axis=axes, keepdims=True))
    return Factor(names, values, {name: data.states[name] for name in names})


@dataclass
class LeafTables(Tables):
    """A formula's tables on laws that are nowhere zero; draws lead all shapes.

    Where the diagram says that a part of the formula is the same at all values of a variable, it
    is averaged over them, weighted by how often they occur.
    """

    data: Contingency = field(kw_only=True)
    leaf: Callable[[Probability], Factor] = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._states = dict(self.data.states)

    def _leaf(self, node: Probability) -> Factor:
        return self.leaf(node)

    def _ratio(
        self, above: Factor, below: Factor, what: str, outcomes: Sequence[str] = ()
    ) -> Factor:
        keep = tuple(dict.fromkeys((*above.names, *below.names)))
        top, bottom = above._spread(keep), below._spread(keep)
        values = top / torch.where(bottom == 0, torch.ones_like(bottom), bottom)
        return Factor(keep, values, {**above.states, **below.states})

    def _settled(self, table: Factor, estimand: Estimand) -> Factor:
        return table

    def _pinned(self, table: Factor, over: Iterable[Symbol]) -> Factor:
        pinned = list(over)
        gone = [str(symbol) for symbol in pinned]
        kept = [name for name in table.names if name not in gone]
        values = table.align([*kept, *gone]).values
        values = (values * self._frequencies(pinned)).flatten(-len(gone)).sum(-1)
        return Factor(tuple(kept), values, table.states)

    def _frequencies(self, symbols: Sequence[Symbol]) -> Tensor:
        names = [symbol.variable for symbol in symbols]
        codes = self.data.codes
        source = next((key for key, columns in codes.items() if set(names) <= set(columns)), None)
        if source is None or len(set(names)) < len(names):
            each = [self._frequencies([symbol]) for symbol in symbols]
            tables = [t.reshape(-1, *[1] * (len(each) - i - 1)) for i, t in enumerate(each)]
            return torch.stack(torch.broadcast_tensors(*tables)).prod(0)
        counts = self.data.counts(source, names)
        return torch.from_numpy(counts / counts.sum())


def leaf_table(node: Probability, law: Factor) -> Factor:
    """Compute a conditional law from a joint one that is nowhere zero."""
    outcomes = [symbol.variable for symbol in node.outcomes]
    names = [*outcomes, *(symbol.variable for symbol in (*node.given, *node.do))]
    joint = law.marginalise([name for name in law.names if name not in names]).align(names)
    if not node.given:
        return joint
    total = joint.marginalise(outcomes)._spread(tuple(names))
    return Factor(joint.names, joint.values / total, joint.states)


def leaf_source(
    scopes: Mapping[Probability, Scope], law_of: Callable[[Scope], Factor]
) -> Callable[[Probability], Factor]:
    """Return what gives each leaf its table, drawing each scope's law once."""
    laws: dict[Scope, Factor] = {}
    for scope in dict.fromkeys(scopes.values()):
        laws[scope] = law_of(scope)
    return lambda node: leaf_table(node, laws[scopes[node]])


def fitted_policy(name: str, law: Factor, states: Mapping[str, tuple[Value, ...]]) -> Factor:
    """Bring the law of a planned variable to the values that occur.

    Raises:
        DataError: It is no such law, sets a value that never occurs, or is silent at one that does.
    """
    table = plan_law(name, law)
    for other in table.names:
        own, kept = table.states[other], states.get(other, table.states[other])
        places = [own.index(value) if value in own else -1 for value in kept]
        axis = table.names.index(other)
        if -1 in places and other != name:
            value = kept[places.index(-1)]
            raise DataError(
                f"the plan for {name} does not say what to do at {other}={value!r}, which occurs; "
                f"it knows {own}"
            )
        padded = torch.cat([table.values, torch.zeros_like(table.values.narrow(axis, 0, 1))], axis)
        values = padded.index_select(axis, torch.tensor([p % (len(own) + 1) for p in places]))
        table = Factor(table.names, values, {**table.states, other: kept})
    total = table.marginalise([name]).values
    if float(total.min()) < 1 - 1e-6:
        raise DataError(
            f"the plan for {name} sets values that never occur; the data have {states[name]}"
        )
    return table
