"""Which factors of the twin network a question needs, and what stands in the way of each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from causalppl.exceptions import ImpossibleEvidenceError, ProgramError
from causalppl.inference.engine import Problem
from causalppl.inference.tables import ProgramTables, finite_support, log_law
from causalppl.inference.twin_network import Node, TwinNetwork
from causalppl.inference.value_sets import find_codes, grouped, is_same
from causalppl.programs.interventions import Target, intervened_value
from causalppl.programs.structural import GumbelMax, Quantile
from causalppl.programs.structure import TRACE_UNITS, UNITS
from causalppl.shapes import broadcast_shapes

__all__ = ["Known", "Part", "Piece", "Plan", "call_policy"]

_FEW_VALUES = 16


class Known(NamedTuple):
    """What is known of a node, unit by unit.

    Attributes:
        values: The different values, shape ``(V, *event)``.
        codes: Position of each unit's value, shape ``(units,)``.
    """

    values: Tensor
    codes: Tensor


@dataclass(frozen=True, eq=False)
class Piece:
    """One factor of the joint law: the law of some nodes given their parents.

    Attributes:
        nodes: One node, or the copies of a site, which share its noise; the factual one first.
    """

    nodes: tuple[Node, ...]

    @property
    def scope(self) -> tuple[Node, ...]:
        """The nodes and their parents."""
        parents = (parent for node in self.nodes for parent in node.parents)
        return tuple(dict.fromkeys((*parents, *self.nodes)))


@dataclass(frozen=True)
class Part:
    """Factors that hang together through unknown values.

    Attributes:
        latents: The unknown nodes.
        pieces: The factors.
        obstacle: Why the factors cannot be tabulated; None if they can.
    """

    latents: frozenset[Node]
    pieces: tuple[Piece, ...]
    obstacle: str | None


class Plan:
    """The twin network of a problem, with what is known of it.

    Args:
        problem: The problem.

    Attributes:
        tables: Reads the program.
        network: The nodes.
        evidence: Node to its evidence, shape ``(units, *event)``.
        guesses: Computed node to values it was seen to take.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.tables = ProgramTables(problem.scm)
        self.network = TwinNetwork(self.tables, problem.worlds, problem.num_units)
        self.evidence: dict[Node, Tensor] = {}
        self.keys: dict[Node, str] = {}
        self._twice: list[tuple[str, Node, Tensor]] = []
        for key, value in problem.evidence.items():
            node = self.node(key)
            if node in self.evidence or node.is_constant:
                self._twice.append((key, node, value))
            else:
                self.evidence[node], self.keys[node] = value, key
        self.device = next((law.value.device for law in self.tables.sites.values()), None)
        self._known: dict[Node, Known | None] = {}
        self._pieces_of: dict[tuple[Node, ...], Piece] = {}
        self._inlined: dict[Node, bool] = {}
        self._policies: dict[Node, Tensor | str | None] = {}
        self.guesses: dict[Node, Tensor] = {}

    def node(self, key: str) -> Node:
        """Return the node of a key such as ``"Y@x0"``."""
        return self.network.node(*self.problem.split(key))

    # -- what is known --------------------------------------------------------------------------

    def known(self, node: Node) -> Known | None:
        """Return what is known of a node: evidence, a set value, or a policy's value there."""
        if node not in self._known:
            self._known[node] = self._find_known(node)
        return self._known[node]

    def _find_known(self, node: Node) -> Known | None:
        if node in self.evidence:
            return self._from_evidence(node)
        if node.is_constant:
            return self._coded(node.rule.expand(self.problem.num_units, *node.rule.shape[1:]))
        if not node.is_policy:
            return None
        arguments = [self.known(parent) for parent in node.parents]
        values = [known.values[known.codes] for known in arguments if known is not None]
        if len(values) < len(arguments):
            return None
        result = call_policy(self.tables, node, values, self.problem.num_units)
        return None if isinstance(result, Distribution) else self._coded(result)

    def _from_evidence(self, node: Node) -> Known:
        known = self._coded(self.evidence[node])
        support = self.tables.sites[node.name].support
        if support is None or not node.is_draw:
            return known
        codes = find_codes(known.values, support)
        # as the program writes them: evidence may come in another dtype
        values = torch.where(
            (codes >= 0).reshape((-1,) + (1,) * (support.dim() - 1)),
            support[codes.clamp(min=0)],
            known.values.to(support.dtype),
        )
        return Known(values, known.codes)

    def _coded(self, values: Tensor) -> Known:
        values = values.to(self.device)
        same = values[:1].expand_as(values)
        if torch.equal(same, values):
            return Known(
                values[:1], torch.zeros(len(values), dtype=torch.long, device=values.device)
            )
        first, codes = grouped(values)
        return Known(values[first], codes)

    def check_evidence(self) -> None:
        """Raise if a value contradicts another, or lies outside its site's support.

        Raises:
            ImpossibleEvidenceError: Naming key and unit.
        """
        for key, node, value in self._twice:
            known = self.known(node)
            assert known is not None
            agrees = is_same(value, known.values[known.codes].to(value.device))
            agrees = agrees.flatten(1).all(1) if agrees.dim() > 1 else agrees
            if not bool(agrees.all()):
                unit = int((~agrees).nonzero()[0])
                raise ImpossibleEvidenceError(
                    f"the evidence {key} = {value[unit].tolist()} of unit {unit} contradicts "
                    f"{self.keys.get(node, node.key)} = "
                    f"{known.values[known.codes[unit]].tolist()}, which is the same value; leave "
                    "one of them out"
                )
        for node in self.evidence:
            support = self.tables.sites[node.name].support
            known = self.known(node)
            assert known is not None
            if support is None or not node.is_draw:
                continue
            outside = find_codes(known.values, support) < 0
            if bool(outside.any()):
                unit = int(outside[known.codes].nonzero()[0])
                raise ImpossibleEvidenceError(
                    f"the evidence {self.keys[node]} = {self.evidence[node][unit].tolist()} of "
                    f"unit {unit} is not a value of {node.site.family}; expected one of "
                    f"{support.tolist()[:20]}"
                )

    def drawn_law(self, node: Node) -> Known:
        """Return the different log laws ``(V, K)`` of a site that an intervention draws."""
        support = finite_support(node.rule)
        assert isinstance(support, Tensor)
        law = self.tables.per_unit(log_law(node.rule, support), 1, self.problem.num_units)
        return self._coded(law[0])

    # -- what a node can be -------------------------------------------------------------------

    def support(self, node: Node) -> Tensor | str | None:
        """Return a node's values, why they cannot be listed, or None if they are computed."""
        if node.is_draw:
            law = self.tables.sites[node.name]
            return law.reason if law.support is None else law.support
        if isinstance(node.rule, Distribution):
            return finite_support(node.rule)
        if node.is_policy:
            return self._policy_support(node)
        return None

    def _policy_support(self, node: Node) -> Tensor | str | None:
        if node not in self._policies:
            sites = self.tables.sites
            size = TRACE_UNITS
            values = [
                self.tables.per_unit(sites[p.name].value, p.site.event_dim, size)[0]
                for p in node.parents
            ]
            try:
                result = call_policy(self.tables, node, values, size)
            except ProgramError as error:
                self._policies[node] = str(error)
            else:
                is_law = isinstance(result, Distribution)
                self._policies[node] = finite_support(result) if is_law else None
        return self._policies[node]

    def is_inlined(self, node: Node) -> bool:
        """Whether a deterministic site is left to the program instead of being a variable.

        So where it depends on a continuous known value or on draws of parameters, and would have
        other values in each row.
        """
        if node not in self._inlined:
            found = node.is_computed and self.known(node) is None
            self._inlined[node] = found and (
                self._reads_parameters(node) or any(map(self._varies, node.parents))
            )
        return self._inlined[node]

    def _varies(self, node: Node) -> bool:
        known = self.known(node)
        if known is None:
            return self.is_inlined(node)
        values = known.values
        if len(values) <= _FEW_VALUES or not values.is_floating_point():
            return False
        return bool((values != values.round()).any())

    def _reads_parameters(self, node: Node) -> bool:
        if self.tables.num_draws == 1:
            return False
        sites = self.problem.scm.structure.sites
        return any(not sites[parent].is_unit for parent in node.site.parents)

    def parents(self, node: Node) -> tuple[Node, ...]:
        """Return the nodes that a node is tabulated over: parents, with those inlined replaced."""
        return tuple(each for each in self._above(node) if not self.is_inlined(each))

    def inlined(self, node: Node) -> tuple[str, ...]:
        """Return the deterministic sites between a node and `parents`."""
        return tuple(each.name for each in self._above(node) if self.is_inlined(each))

    def _above(self, node: Node) -> tuple[Node, ...]:
        found: dict[Node, None] = {}
        stack = list(reversed(node.parents))
        while stack:
            parent = stack.pop()
            found[parent] = None
            if self.is_inlined(parent):
                stack.extend(reversed(parent.parents))
        return tuple(found)

    # -- factors ----------------------------------------------------------------------------------

    def parts(self, nodes: Iterable[Node]) -> list[Part]:
        """Return the factors that evidence and some nodes need, as parts that hang together."""
        relevant = self.network.ancestors([*nodes, *self.evidence])
        for node in relevant:  # parents first, so that long chains need no deep recursion
            self.is_inlined(node)
        pieces = self._pieces(relevant)
        group = {node: i for i, node in enumerate(relevant)}

        def root(i: int) -> int:
            while leader[i] != i:
                leader[i] = leader[leader[i]]
                i = leader[i]
            return i

        leader = list(range(len(relevant)))
        latents = {piece: self._unknown(piece.scope) for piece in pieces}
        for scope in latents.values():
            for node in scope[1:]:
                leader[root(group[node])] = root(group[scope[0]])
        together: dict[Any, list[Piece]] = {}
        for piece, scope in latents.items():
            together.setdefault(root(group[scope[0]]) if scope else piece, []).append(piece)
        return [self._part(members, latents) for members in together.values()]

    def _part(self, members: list[Piece], latents: dict[Piece, tuple[Node, ...]]) -> Part:
        found = frozenset(node for piece in members for node in latents[piece])
        reasons = (self.obstacle(piece) for piece in members)
        return Part(found, tuple(members), next((r for r in reasons if r is not None), None))

    def _pieces(self, relevant: Sequence[Node]) -> list[Piece]:
        copies: dict[str, list[Node]] = {}
        pieces = []
        for node in relevant:
            if node.is_draw:
                copies.setdefault(node.name, []).append(node)
            elif not node.is_constant and (self.known(node) is None or node in self.evidence):
                pieces.append(self._piece((node,)))
        return [*pieces, *(self._piece(tuple(nodes)) for nodes in copies.values())]

    def _piece(self, nodes: tuple[Node, ...]) -> Piece:
        return self._pieces_of.setdefault(nodes, Piece(nodes))

    def _unknown(self, nodes: Iterable[Node]) -> tuple[Node, ...]:
        return tuple(node for node in nodes if self.known(node) is None)

    def obstacle(self, piece: Piece) -> str | None:
        """Say why a factor cannot be tabulated; None if it can."""
        node = piece.nodes[0]
        free = self._free_parameters(node)
        if free and node.rule is None:
            return (
                f"{node.key} depends on the parameters {', '.join(free)}, which have no draws; "
                "fit the model first"
            )
        if node.site.plates != (UNITS,):
            return f"{node.key} stands in the plates {', '.join(node.site.plates)}"
        if not node.is_draw:
            reason = self.support(node)
            if node.is_policy and any(map(self.is_inlined, node.parents)):
                reason = "it reads a computed value that differs between units"
            return f"{node.key}: {reason}" if isinstance(reason, str) else None
        support = self.support(node)
        unknown = self._unknown(piece.nodes)
        keys = ", ".join(each.key for each in unknown or piece.nodes)
        if isinstance(support, str):
            if unknown:
                return f"{keys} is unobserved and cannot be summed over: {support}"
            if len(piece.nodes) > 1:
                return f"{keys} have evidence in several worlds and {support}"
            return None
        return self._coupling_obstacle(piece)

    def _coupling_obstacle(self, piece: Piece) -> str | None:
        if len(piece.nodes) == 1:
            return None
        name = piece.nodes[0].name
        coupling = self.tables.sites[name].coupling
        keys = ", ".join(node.key for node in piece.nodes)
        if isinstance(coupling, Quantile):
            return None
        if isinstance(coupling, GumbelMax):
            if len(piece.nodes) == 2:
                return None
            return (
                f"{keys} are needed jointly, and the Gumbel-max coupling has a closed joint law "
                f"for two worlds only; use SCM(..., couplings={{{name!r}: Quantile()}})"
            )
        found = coupling.name if coupling else "none"
        return f"{keys} share noise, and the coupling of {name!r} ({found}) has no table"

    def _free_parameters(self, node: Node) -> list[str]:
        structure, free = self.problem.scm.structure, self._free
        if not free:
            return []
        above = {p for p in node.site.parents if not structure.sites[p].is_unit}
        return sorted(free & structure.ancestors(above))

    @cached_property
    def _free(self) -> frozenset[str]:
        return frozenset(self.problem.free_parameters)


def call_policy(
    tables: ProgramTables, node: Node, values: Sequence[Tensor], size: int
) -> Tensor | Distribution:
    """Evaluate an intervention that reads other values.

    Args:
        tables: The program.
        node: The site that the intervention acts on.
        values: Values of the node's parents, shape ``(size, *event)``.
        size: Number of units.

    Returns:
        Values ``(size, *event)``, or a distribution.

    Raises:
        ProgramError: The policy fails on a number of units other than the problem's.
    """
    lifted = {
        parent: tables.lift(value, parent.site.event_dim)
        for parent, value in zip(node.parents, values, strict=True)
    }
    natural = next((v for p, v in lifted.items() if p.name == node.name), None)
    by_name = {p.name: v for p, v in lifted.items() if p.name != node.name}
    event = node.site.event_shape
    shape = tables.lift(torch.empty(size, *event, device="meta"), len(event)).shape

    def natural_value() -> Tensor:
        assert natural is not None
        return natural.clone()

    like = tables.sites[node.name].like
    target = Target(node.name, shape, len(event), like, natural_value, by_name.__getitem__)
    try:
        result = intervened_value(node.rule, target)
    except Exception as error:
        raise ProgramError(
            f"the intervention on {node.key} failed on {size} units: {error}; expected a function "
            "of its arguments that works for any number of units"
        ) from error
    if isinstance(result, Distribution):
        return result
    result = result.expand(broadcast_shapes(result.shape, shape))
    return tables.per_unit(result, len(event), size)[0]
