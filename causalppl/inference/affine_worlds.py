"""A program's worlds as affine functions of one standard normal noise vector."""

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

import numpy as np
import torch

from causalppl.exceptions import DataError
from causalppl.inference.affine import FAMILIES, Array, NotAffineError, to_numpy
from causalppl.inference.affine_interventions import NATURAL, Change, read_change
from causalppl.inference.affine_mechanisms import MechanismReader
from causalppl.inference.engine import Problem
from causalppl.inference.quiet_run import quiet
from causalppl.inference.value_layout import ValueLayout
from causalppl.programs.structural import ContinuousQuantile, LocationScale, Whitened
from causalppl.programs.structure import Site

Node: TypeAlias = tuple[str, str]
"""A site and the world it stands in; the factual world where no intervention reaches it."""

_COUPLINGS: Final = (LocationScale, ContinuousQuantile, Whitened)  # one and the same for normals


class AffineWorlds:
    """What a problem needs of its program, as ``v = const + A noise`` per site and world.

    Attributes:
        mechanisms: Sites whose own law is needed, in program order.
        values: Node to ``const``, shape ``(draws or 1, units or 1, d)``, and ``A``, shape
            ``(draws or 1, d, noise)``; the noise that all units share comes first.
        shared: Length of the shared noise.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        scm = problem.scm
        tensors = (*problem.evidence.values(), *scm.parameters.values())
        self.device = next((t.device for t in tensors), torch.get_default_device())
        self.layout, self.sites = _layout(problem), scm.structure.sites
        self._reached = {world: problem.reached(world) for world in problem.worlds}
        self.factual_evidence = {
            name: key
            for key in problem.evidence
            for name, world in [problem.split(key)]
            if not world
        }
        self.keys = tuple(
            dict.fromkeys((*problem.targets, *(event.key for event in problem.events)))
        )
        self._changes: dict[Node, Change] = {}
        # evidence whose parents are evidence says nothing about any other noise: it is a constant
        self.cut = {name for name in self.factual_evidence if self._is_cut(self.sites[name])}
        with quiet(scm, torch.float64):
            while not self._collect():
                pass
        self.mechanisms = [name for name in self.sites if name in self._needed]
        parents = {name: self._parents(name) for name in self.mechanisms}
        reader = MechanismReader(problem, self.layout, parents, self.factual_evidence, self.device)
        self._laws = reader.read()
        self.precision, self.device = reader.precision, reader.device
        self.values = self._substitute()

    def node(self, key: str) -> Node:
        """Return the node that a key stands for."""
        return self._node(*self.problem.split(key))

    def _node(self, name: str, world: str) -> Node:
        return name, world if world and name in self._reached[world] else ""

    def _is_given(self, name: str) -> bool:
        """Whether a site is a parameter, or a function of parameters, that has draws."""
        return bool(self.problem.scm.parameters) and not self.sites[name].is_unit

    def _parents(self, name: str) -> tuple[str, ...]:
        return tuple(p for p in self.sites[name].parents if not self._is_given(p))

    def _is_cut(self, site: Site) -> bool:
        known = all(p in self.factual_evidence for p in self._parents(site.name))
        return site.kind == "sample" and site.is_unit and known

    # which nodes are needed

    def _collect(self) -> bool:
        """Walk from what is asked and known to all that it needs; False if it must start again."""
        self._needed: set[str] = set()
        self.nodes: set[Node] = set()
        stack = [self.node(key) for key in (*self.keys, *self.problem.evidence)]
        cut = len(self.cut)
        while stack:
            node = stack.pop()
            if node not in self.nodes:
                self.nodes.add(node)
                stack.extend(self._needed_by(*node))
        return len(self.cut) == cut

    def _needed_by(self, name: str, world: str) -> Iterable[Node]:
        if self._is_given(name):
            if name not in self.problem.scm.parameters:
                raise NotAffineError(f"{name!r} is a function of parameters, and has no draws")
            return
        change = self.change(name, world)
        if change is not None and change.source is not None:
            yield self._node(name, change.source)
            return
        if change is not None:
            yield from (self._node(asked, world) for asked in change.slopes if asked != NATURAL)
            if NATURAL not in change.slopes:
                return
        elif not world and name in self.cut:
            return
        self._need_mechanism(name)
        yield from (self._node(parent, world) for parent in self._parents(name))

    def _need_mechanism(self, name: str) -> None:
        site = self.sites[name]
        coupling = self.problem.scm.couplings.get(name)
        if site.kind == "sample" and site.family not in FAMILIES:
            raise NotAffineError(
                f"{site.line}: the site {name!r} is {site.family}; expected a normal law or a "
                "deterministic value"
            )
        if coupling is not None and not isinstance(coupling, _COUPLINGS):
            raise NotAffineError(f"{site.line}: the coupling of {name!r} is {coupling.name}")
        self.cut.discard(name)  # its noise matters in another world
        self._needed.add(name)

    def change(self, name: str, world: str) -> Change | None:
        """Return what a world does to a site, if anything."""
        if not world or name not in self.problem.worlds[world]:
            return None
        if (name, world) not in self._changes:
            self._changes[name, world] = read_change(
                self.problem, self.layout, name, world, self.device
            )
        return self._changes[name, world]

    # substitution

    def _substitute(self) -> dict[Node, tuple[Array, Array]]:
        noise = self._noise_columns()
        self.width = max((at.stop for at in noise.values()), default=0)
        values: dict[Node, tuple[Array, Array]] = {}

        def compute(node: Node, path: tuple[Node, ...] = ()) -> None:
            if node in path:
                raise NotAffineError(f"worlds take {node[0]!r} from one another in a circle")
            if node in values:
                return
            change = self.change(*node)
            if change is not None and change.source is not None:
                source = self._node(node[0], change.source)
                compute(source, (*path, node))
                values[node] = values[source]
            else:
                values[node] = self._value(node, change, values, noise)

        for name in self.sites:
            for world in ("", *self.problem.worlds):
                if (name, world) in self.nodes:
                    compute((name, world))
        return values

    def _noise_columns(self) -> dict[Node, slice]:
        """Give each noise its columns; that of shared parameters comes first."""
        noisy = [(name, "") for name in self.mechanisms if self._laws[name].scale is not None]
        noisy.sort(key=lambda node: self.sites[node[0]].is_unit)
        own = [n for n, c in self._changes.items() if c.scale is not None and n in self.nodes]
        columns, start = {}, 0
        self.shared = 0
        for node in (*noisy, *own):
            columns[node] = slice(start, start + self.layout.size(node[0]))
            start = columns[node].stop
            if not self.sites[node[0]].is_unit:
                self.shared = start
        return columns

    def _value(
        self,
        node: Node,
        change: Change | None,
        values: Mapping[Node, tuple[Array, Array]],
        noise: Mapping[Node, slice],
    ) -> tuple[Array, Array]:
        name, world = node
        if self._is_given(name):
            draws = to_numpy(self.problem.scm.parameters[name])
            return draws.reshape(len(draws), 1, -1), self._no_noise(name)
        if change is None and not world and name in self.cut:
            return self.seen(self.factual_evidence[name])[None], self._no_noise(name)
        if change is None or NATURAL in change.slopes:
            law = self._laws[name]
            const, rows = law.const[:, None], self._no_noise(name)
            for parent, slope in law.slopes.items():
                const, rows = _plus(const, rows, slope, values[self._node(parent, world)])
            if law.scale is not None:
                rows = _with_noise(rows, law.scale, noise[name, ""])
            if change is None:
                return const, rows
            natural = const, rows
        const, rows = change.const[None], self._no_noise(name)
        for asked, slope in change.slopes.items():
            value = natural if asked == NATURAL else values[self._node(asked, world)]
            const, rows = _plus(const, rows, slope[None], value)
        if change.scale is not None:
            rows = _with_noise(rows, change.scale[None], noise[node])
        return const, rows

    def _no_noise(self, name: str) -> Array:
        return np.zeros((1, self.layout.size(name), self.width))

    def seen(self, key: str) -> Array:
        """Return a key's evidence, shape ``(units, d)``."""
        value, size = self.problem.evidence[key], self.layout.size(self.problem.split(key)[0])
        units = self.problem.num_units
        if value.numel() != units * size or len(value) != units:
            raise DataError(
                f"the evidence on {key!r} has shape {tuple(value.shape)}; expected {units} units "
                f"of {size} numbers each; give one row per unit"
            )
        rows = to_numpy(value).reshape(units, size)
        if not np.isfinite(rows).all():
            raise DataError(
                f"the evidence on {key!r} is not finite for unit "
                f"{int(np.argmin(np.isfinite(rows).all(1)))}; expected numbers; drop or correct it"
            )
        return rows


def _layout(problem: Problem) -> ValueLayout:
    try:
        return ValueLayout(problem.scm)
    except Exception as error:
        raise NotAffineError(f"the program does not run for two units ({error})") from error


def _plus(
    const: Array, rows: Array, slope: Array, value: tuple[Array, Array]
) -> tuple[Array, Array]:
    return const + value[0] @ slope.swapaxes(1, 2), rows + slope @ value[1]


def _with_noise(rows: Array, scale: Array, at: slice) -> Array:
    draws = max(len(rows), len(scale))
    rows = np.broadcast_to(rows, (draws, *rows.shape[1:])).copy()
    rows[..., at] += scale
    return rows
