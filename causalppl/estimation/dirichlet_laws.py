"""Which laws a formula on discrete data needs, and the formula on draws of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import networkx as nx
import torch
from torch import Tensor

from causalppl.data import Factor
from causalppl.estimation.contingency import Contingency, leaves_by_source
from causalppl.estimation.drawn_chain import Scope
from causalppl.estimation.exact import Tables, plan_law
from causalppl.exceptions import AssumptionError, DataError
from causalppl.identification import Estimand
from causalppl.identification.expression import Probability, Symbol, walk
from causalppl.queries import Value

__all__ = [
    "LeafTables",
    "fitted_policy",
    "leaf_table",
    "observed_law",
    "plan_scopes",
]

_DRAWN_WHOLE = 2**12  # cells of a source's columns that are drawn as one law
MOST_CELLS = 2**16
_FAINT = 1e-9  # the prior's weight in the observed law, which has to be positive


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
