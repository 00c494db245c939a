"""Tian's c-factors: ``Q[C]``, the law of some variables when all others are set, from data.

Everything that can be identified is a sum of products of c-factors, and a c-factor is identified
from one source of data or from none, so this is the only search that the package does.

References:
    Tian and Pearl (2002), A general identification condition for causal effects;
    Huang and Valtorta (2006) and Shpitser and Pearl (2006) for completeness;
    Lee, Correa and Bareinboim (2019, 2020) for experiments and several populations.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from causalppl.graphs import ADMG
from causalppl.graphs.mixed import closure, iterate_bits, union
from causalppl.identification.expression import Node, Probability, Symbol
from causalppl.identification.simplify import pin, product, quotient, sum_over
from causalppl.identification.sources import Source

__all__ = ["Stuck", "identify_c_factor"]


@dataclass(frozen=True, slots=True)
class Stuck:
    """Why one source does not give ``Q[target]``; sets as bits.

    Attributes:
        source: The source.
        target: The c-factor that was asked for.
        region: The district that contains it, all ancestors of it, at which the recursion ends;
            0 where the source sets or shifts part of the target.
    """

    source: Source
    target: int
    region: int


def identify_c_factor(
    graph: ADMG, target: int, sources: Sequence[Source]
) -> tuple[Node, Source] | list[Stuck]:
    """Express ``Q[target]`` by the first source that can.

    Args:
        graph: A diagram in canonical order.
        target: A set that bidirected edges connect, as bits.
        sources: The data, in order of preference.

    Returns:
        The formula and its source, or for each source why not. The formula is over the symbols
        of the target and of its parents, without primes.
    """
    failures = []
    for source in sources:
        if target & (source.do | source.shifted):
            failures.append(Stuck(source, target, 0))
            continue
        found = _Derivation(graph, target, source).run()
        if isinstance(found, Node):
            return found, source
        failures.append(found)
    return failures


class _Derivation:
    """Tian's recursion for one target and one source."""

    def __init__(self, graph: ADMG, target: int, source: Source) -> None:
        self.graph, self.target, self.source = graph, target, source
        self.do = self.named(source.do)

    def run(self) -> Node | Stuck:
        region = self.graph.all_mask & ~self.source.do
        law: _Law = _DataLaw(self, region)
        while True:
            kept = closure(self.target, self.graph.parent_masks, region)
            law = law.marginal(kept)
            if kept == self.target:
                return self.pinned(law.joint(), self.target | self.parents(self.target))
            district = closure(self.target & -self.target, self.graph.sibling_masks, kept)
            if district == region:
                # figure 3 of Shpitser and Pearl, line 5: region and target form a hedge
                return Stuck(self.source, self.target, region)
            law, region = law.c_factor(district), district

    def parents(self, nodes: int) -> int:
        return union(nodes, self.graph.parent_masks)

    def blanket(self, node: int, region: int) -> int:
        """Find what ``node`` depends on within the region, given all before it."""
        before = region & ((2 << node) - 1)
        district = closure(1 << node, self.graph.sibling_masks, before)
        return (district | self.parents(district)) & region & ~(1 << node)

    def named(self, mask: int) -> tuple[Symbol, ...]:
        return tuple(map(self.symbol, iterate_bits(mask)))

    def symbol(self, node: int) -> Symbol:
        return Symbol(self.graph.nodes[node])

    def pinned(self, body: Node, allowed: int) -> Node:
        """Bind what a formula names and does not depend on."""
        extra = body.free.difference(self.named(allowed))
        return pin(sorted(extra, key=lambda symbol: self.graph._index[symbol.variable]), body)


class _Law:
    """``Q[region]``: a law of the region, in the order of the bits, given all that is set."""

    def __init__(self, derivation: _Derivation, region: int) -> None:
        self.derivation, self.region = derivation, region

    def marginal(self, kept: int) -> "_Law":
        """Sum out all but an ancestral part of the region."""
        raise NotImplementedError

    def joint(self) -> Node:
        """Write the whole law."""
        raise NotImplementedError

    def conditional(self, node: int) -> Node:
        """Write the law of one variable given those before it."""
        raise NotImplementedError

    def c_factor(self, district: int) -> "_Law":
        """Keep one district: the product of its variables' conditionals (Tian, lemma 1)."""
        factors = {node: self.conditional(node) for node in iterate_bits(district)}
        return _ChainLaw(self.derivation, district, factors)


class _DataLaw(_Law):
    """A law that data supplies: any conditional of it can be written down."""

    def marginal(self, kept: int) -> "_Law":
        return _DataLaw(self.derivation, kept)

    def joint(self) -> Node:
        step = self.derivation
        return Probability(step.named(self.region), (), step.do, step.source.domain)

    def conditional(self, node: int) -> Node:
        step = self.derivation
        inside = step.blanket(node, self.region)
        return Probability((step.symbol(node),), step.named(inside), step.do, step.source.domain)


class _ChainLaw(_Law):
    """A product of conditionals, one for each variable given some before it, some summed out."""

    def __init__(
        self, derivation: _Derivation, region: int, factors: dict[int, Node], hidden: int = 0
    ) -> None:
        super().__init__(derivation, region)
        self.factors, self.hidden = factors, hidden
        self._joints: dict[int, Node] = {}

    def marginal(self, kept: int) -> "_ChainLaw":
        factors = dict(self.factors)
        hidden = self.hidden | self.region & ~kept
        needed = {node: factor.free for node, factor in factors.items()}
        for node in reversed(list(factors)):
            # a variable that no remaining factor names sums out of its own
            symbol = self.derivation.symbol(node)
            others = (free for other, free in needed.items() if other != node)
            if hidden >> node & 1 and not any(symbol in free for free in others):
                del factors[node], needed[node]
                hidden &= ~(1 << node)
        return _ChainLaw(self.derivation, kept, factors, hidden)

    def joint(self) -> Node:
        return self._joint_of(self.region)

    def _joint_of(self, kept: int) -> Node:
        """Write the law of a part of the region; each part once, so that quotients cancel."""
        if kept not in self._joints:
            law = self.marginal(kept)
            over = self.derivation.named(law.hidden)
            self._joints[kept] = sum_over(over, product(law.factors.values()))
        return self._joints[kept]

    def conditional(self, node: int) -> Node:
        if not self.hidden:
            return self.factors[node]
        inside = self.derivation.blanket(node, self.region)
        return quotient(self._joint_of(inside | 1 << node), self._joint_of(inside))
