"""The twin network: one node for each value that a site takes in some world.

A site that has the same parents in two worlds has the same value there, so it is one node (the
merging lemma). Copies that remain share their noise, which the tables account for.

References:
    Balke and Pearl (1994), Probabilistic evaluation of counterfactual queries.
    Shpitser and Pearl (2007), What counterfactuals can be tested (make-cg merges nodes).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from causalppl.exceptions import DataError, ProgramError
from causalppl.inference.tables import ProgramTables
from causalppl.programs.interventions import (
    Interventions,
    Shift,
    Target,
    World,
    intervened_value,
    policy_arguments,
)
from causalppl.programs.structure import Site
from causalppl.programs.world_specs import FACTUAL, check_sites
from causalppl.shapes import broadcast_shapes

__all__ = ["Node", "TwinNetwork"]


@dataclass(frozen=True, eq=False)
class Node:
    """A site's value in one or several worlds.

    Attributes:
        key: ``"Y"``, ``"Y@x0"`` or, for the value it would have had, ``"Y@x0@natural"``.
        site: The site.
        world: The first world with this value; empty for the factual one.
        parents: Nodes that it is computed from.
        rule: None for the program's own mechanism; for an intervened site its value, shape
            ``(1 or units, *event)``, its distribution, a `Shift` or a policy.
    """

    key: str
    site: Site
    world: str
    parents: tuple["Node", ...]
    rule: Any = None

    @property
    def name(self) -> str:
        """Name of the site."""
        return self.site.name

    @property
    def is_constant(self) -> bool:
        """Whether it was set to a value."""
        return isinstance(self.rule, Tensor)

    @property
    def is_policy(self) -> bool:
        """Whether it is a function of other nodes' values, given by the user."""
        return self.rule is not None and not isinstance(self.rule, Tensor | Distribution)

    @property
    def is_draw(self) -> bool:
        """Whether the program draws it, with noise that other worlds may share."""
        return self.rule is None and self.site.kind == "sample"

    @property
    def is_computed(self) -> bool:
        """Whether the program computes it from its parents without noise."""
        return self.rule is None and self.site.kind == "deterministic"

    def __repr__(self) -> str:
        return f"Node({self.key})"


class TwinNetwork:
    """All nodes of a program in several worlds.

    Args:
        tables: The program.
        worlds: World name to interventions.
        num_units: Number of units, the length of per-unit interventions.

    Raises:
        ProgramError: An intervention names an unknown site, or a policy an unknown argument.
        DataError: An intervention's value cannot be used, or worlds take values in a circle.
    """

    def __init__(
        self, tables: ProgramTables, worlds: Mapping[str, Interventions], num_units: int
    ) -> None:
        check_sites(tables.structure, worlds)
        self._tables, self._worlds, self._num_units = tables, worlds, num_units
        self._sites = tables.structure.sites
        self._nodes: dict[tuple[str, str], Node] = {}
        self._mechanisms: dict[tuple[str, tuple[Node, ...]], Node] = {}
        self._constants: dict[str, list[Node]] = {}
        # in the program's order, so that parents are there before their children
        for name in tables.structure.unit_sites:
            for world in (FACTUAL, *worlds):
                self._add(name, world, ())

    def node(self, name: str, world: str = FACTUAL) -> Node:
        """Return the node of a site in a world."""
        return self._nodes[name, world]

    def ancestors(self, nodes: Iterable[Node]) -> list[Node]:
        """Return all nodes that reach one of ``nodes``, these included, parents first."""
        found: dict[Node, None] = {}
        stack = list(nodes)
        while stack:
            node = stack.pop()
            if node not in found:
                found[node] = None
                stack.extend(node.parents)
        place = {name: i for i, name in enumerate(self._sites)}
        # the factual copy comes first among those of a site
        return sorted(found, key=lambda node: (place[node.name], node.world != "", node.key))

    def _add(self, name: str, world: str, path: tuple[str, ...]) -> Node:
        if (name, world) in self._nodes:
            return self._nodes[name, world]
        if world in path:
            raise DataError(
                f"the worlds {' <- '.join((*path, world))} take {name!r} from one another in a "
                "circle; give one of them a value"
            )
        interventions = self._worlds.get(world, {})
        if name not in interventions:
            node = self._mechanism(name, world, "")
        elif isinstance(interventions[name], World):
            node = self._add(name, interventions[name].name, (*path, world))
        else:
            node = self._intervened(name, world, interventions[name])
        self._nodes[name, world] = node
        return node

    def _mechanism(self, name: str, world: str, mark: str) -> Node:
        site = self._sites[name]
        parents = tuple(self._nodes[p, world] for p in site.parents if self._sites[p].is_unit)
        if (name, parents) not in self._mechanisms:
            key = _key(name, world) + mark
            self._mechanisms[name, parents] = Node(key, site, world, parents)
        return self._mechanisms[name, parents]

    def _intervened(self, name: str, world: str, intervention: Any) -> Node:
        key, site = _key(name, world), self._sites[name]
        if isinstance(intervention, Shift):
            parents: tuple[Node, ...] = (self._mechanism(name, world, "@natural"),)
            return Node(key, site, world, parents, intervention)
        if callable(intervention) and not isinstance(intervention, Tensor | Distribution):
            parents = tuple(
                self._argument(name, world, argument) for argument in policy_arguments(intervention)
            )
            return Node(key, site, world, parents, intervention)
        law = self._tables.sites[name]
        shape = self._tables.lift(
            torch.empty(self._num_units, *site.event_shape, device="meta"), site.event_dim
        ).shape
        target = Target(name, shape, site.event_dim, law.like, _no_natural, _no_value)
        value = intervened_value(intervention, target)
        if isinstance(value, Distribution):
            return Node(key, site, world, (), value)
        return self._constant(key, site, world, value, shape)

    def _constant(self, key: str, site: Site, world: str, value: Tensor, shape: torch.Size) -> Node:
        whole = value.expand(broadcast_shapes(value.shape, shape))
        rows = self._tables.per_unit(whole, site.event_dim, self._num_units)[0]
        if value.dim() <= site.event_dim:
            rows = rows[:1]
        known = self._constants.setdefault(site.name, [])
        for node in known:
            if node.rule.dtype == rows.dtype and torch.equal(node.rule, rows):
                return node
        known.append(Node(key, site, world, (), rows))
        return known[-1]

    def _argument(self, name: str, world: str, argument: str) -> Node:
        if argument == "natural":
            return self._mechanism(name, world, "@natural")
        if (argument, world) not in self._nodes:
            before = [site for site, w in self._nodes if w == world]
            raise ProgramError(
                f"a policy for {name!r} asks for {argument!r}, which is not a unit site before it; "
                f"policies may use 'natural' and {', '.join(before) or 'no site here'}"
            )
        return self._nodes[argument, world]


def _key(name: str, world: str) -> str:
    return f"{name}@{world}" if world else name


def _no_natural() -> Tensor:
    raise ProgramError(
        "an intervention of a registered type reads the natural value; expected a value, a "
        "distribution, a Shift or a callable; write it as a callable of 'natural'"
    )


def _no_value(name: str) -> Tensor:
    raise ProgramError(
        f"an intervention of a registered type reads {name!r}; expected a value, a distribution, "
        "a Shift or a callable; write it as a callable of that site"
    )
