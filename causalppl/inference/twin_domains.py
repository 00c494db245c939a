"""The variables of a twin network's tables: which values they take, how large the tables get."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from causalppl.exceptions import ProgramError
from causalppl.inference.elimination import Order, elimination_order
from causalppl.inference.twin_network import Node
from causalppl.inference.twin_plan import Piece, Plan
from causalppl.inference.value_sets import distinct
from causalppl.programs.structural import Quantile
from causalppl.seeding import forked_rng

__all__ = ["MOST_ENTRIES", "Domains", "capped"]

MOST_ENTRIES = 2**24
"""Largest table of one row, and of one parameter draw."""

_GUESS_UNITS = 256
_MOST_VALUES = 2**16


class Domains:
    """The variables of some factors.

    Args:
        plan: The problem's network.
        pieces: The factors; all can be tabulated.

    Attributes:
        values: Latent node to the values it can take, shape ``(K, *event)``; those of computed
            nodes are a guess until the tables are built.
        nodes: The nodes of all factors.
        listed: The latent nodes whose values must be found by running the program.
    """

    def __init__(self, plan: Plan, pieces: Iterable[Piece]) -> None:
        self.plan = plan
        self.pieces = tuple(dict.fromkeys(pieces))
        self.nodes = tuple(dict.fromkeys(node for piece in self.pieces for node in piece.scope))
        latents = [n for n in self.nodes if plan.known(n) is None and not plan.is_inlined(n)]
        self.values: dict[Node, Tensor] = {}
        for node in latents:
            support = plan.support(node)
            if isinstance(support, Tensor):
                self.values[node] = support
        self.listed = tuple(node for node in latents if node not in self.values)

    def with_values(self, values: Mapping[Node, Tensor]) -> "Domains":
        """Return the same variables with other values."""
        other = object.__new__(Domains)
        other.__dict__.update(self.__dict__)
        other.values = dict(values)
        return other

    def order(self, pieces: Iterable[Piece]) -> Order:
        """Choose an order of elimination for some of the factors."""
        sizes = {node: len(values) for node, values in self.values.items()}
        sizes.update({node: 1 for node in self.listed if node not in sizes})
        return elimination_order([self.scope(piece) for piece in pieces], sizes)

    def obstacle(self) -> str | None:
        """Say which table is too large; None if none is."""
        entries, key = self.largest()
        if entries > MOST_ENTRIES:
            return (
                f"the table of {key} and its parents has {entries} entries; expected at most "
                f"{MOST_ENTRIES}; give evidence on some of them, or use another engine"
            )
        return None

    # -- sizes ----------------------------------------------------------------------------------

    def scope(self, piece: Piece) -> tuple[Node, ...]:
        """Return the latent nodes of a factor's table."""
        found: dict[Node, None] = {}
        for node in piece.nodes:
            found.update(dict.fromkeys(self.latent_parents(node)))
        nodes = [n for n in piece.nodes if n in self.values or n in self.listed]
        return (*found, *nodes)

    def entries(self, piece: Piece) -> int:
        """Return the entries of a factor's largest table, for one row and one parameter draw."""
        scope = math.prod(len(self.values.get(n, (0,))) for n in self.scope(piece))
        if len(piece.nodes) == 1 or isinstance(self.coupling(piece), Quantile):
            known = [n for n in piece.nodes if n not in self.values]
            return scope * max((self._num_values(n) for n in known), default=1)
        return scope * self._num_values(piece.nodes[0]) ** 2

    def largest(self) -> tuple[int, str]:
        """Return the entries of the largest table and the node that it is of."""
        sizes = {piece.nodes[0].key: self.entries(piece) for piece in self.pieces}
        key = max(sizes, key=sizes.__getitem__, default="")
        return sizes.get(key, 0), key

    def _num_values(self, node: Node) -> int:
        support = self.plan.support(node)
        return len(support) if isinstance(support, Tensor) else 1

    def latent_parents(self, node: Node) -> tuple[Node, ...]:
        """Return the unknown nodes that a node is tabulated over."""
        return tuple(p for p in self.plan.parents(node) if self.plan.known(p) is None)

    def coupling(self, piece: Piece) -> object:
        """Return how the copies of a factor share their noise."""
        return self.plan.tables.sites[piece.nodes[0].name].coupling

    # -- domains of computed values -------------------------------------------------------------

    def guess(self) -> None:
        """Guess the values of deterministic sites from forward runs, one for each world."""
        wanted: dict[str, list[Node]] = {}
        for node in self.listed:
            if node.is_computed and node not in self.plan.guesses:
                wanted.setdefault(node.world, []).append(node)
        with forked_rng(0):
            for world, nodes in wanted.items():
                values = self._spread_out(world)
                names = [node.name for node in nodes]
                found = self.plan.tables.attained(_GUESS_UNITS, values, names)
                for node in nodes:
                    self.plan.guesses[node] = capped(node, distinct(found[node.name]))
        self.values.update(
            {n: v for n in self.listed if (v := self.plan.guesses.get(n)) is not None}
        )

    def _spread_out(self, world: str) -> dict[str, Tensor]:
        """Values for a run that reaches as many combinations as it can, extreme ones too."""
        # units differ in where they tend to lie: low, evenly, or high
        slope = torch.linspace(-3.0, 3.0, _GUESS_UNITS).exp()
        values = {}
        for name in self.plan.tables.structure.unit_sites:
            node = self.plan.network.node(name, world)
            known = self.plan.known(node)
            choices = self.values.get(node) if known is None else None
            if known is not None:
                choices = known.values
            if choices is not None:
                code = (torch.rand(_GUESS_UNITS) ** slope * len(choices)).long()
                values[name] = choices[code.clamp(max=len(choices) - 1).to(choices.device)]
        return values


def capped(node: Node, values: Tensor) -> Tensor:
    """Return a node's values.

    Raises:
        ProgramError: There are too many of them.
    """
    if len(values) > _MOST_VALUES:
        raise ProgramError(
            f"{node.key} takes at least {len(values)} values; expected at most {_MOST_VALUES}; "
            "use another engine, or give evidence on it"
        )
    return values
