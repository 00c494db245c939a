"""The factors of a twin network as tables of log probabilities."""

import itertools
import math
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Distribution

from causalppl.exceptions import ProgramError
from causalppl.inference.elimination import LogTable, spread
from causalppl.inference.tables import Block, log_law
from causalppl.inference.twin_domains import MOST_ENTRIES, Domains, capped
from causalppl.inference.twin_network import Node
from causalppl.inference.twin_plan import Known, Piece, Plan, call_policy
from causalppl.inference.value_sets import distinct, find_codes, is_same
from causalppl.programs.counts import Ladder, counts_of, log_mass
from causalppl.programs.structural import Quantile
from causalppl.shapes import broadcast_shapes

__all__ = ["Rows", "TwinTables"]

_INF = float("inf")


class Rows:
    """The different rows of known values among the units.

    Args:
        plan: The problem's network.
        pieces: The factors whose known values matter.

    Attributes:
        of_unit: Each unit's row, shape ``(units,)``.
        size: Number of rows.
    """

    def __init__(self, plan: Plan, pieces: Iterable[Piece]) -> None:
        found: dict[tuple[Node, str], Known] = {}
        for node in dict.fromkeys(node for piece in pieces for node in _reads(plan, piece)):
            known = plan.known(node)
            if known is not None:
                found[node, "value"] = known
            if isinstance(node.rule, Distribution):
                found[node, "law"] = plan.drawn_law(node)
        self._counts = {key: len(known.values) for key, known in found.items()}
        codes = {key: known.codes for key, known in found.items()}
        ids = _combined(codes.values(), self._counts.values(), plan.problem.num_units)
        self.of_unit, first = _numbered(ids.to(plan.device))
        self.size = len(first)
        self._codes = {key: each[first] for key, each in codes.items()}

    def part(self, start: int, stop: int) -> "Rows":
        """Return some of the rows; ``of_unit`` stays as it is."""
        part = object.__new__(Rows)
        part.__dict__.update(self.__dict__)
        part._codes = {key: codes[start:stop] for key, codes in self._codes.items()}
        part.size = stop - start
        return part

    def codes(self, node: Node, what: str = "value") -> Tensor | None:
        """Return the code of a node's known value (or ``"law"``) in each row, if it is read."""
        return self._codes.get((node, what))

    def by(self, nodes: Iterable[Node]) -> tuple[Tensor, Tensor]:
        """Number the rows by some nodes' values: ``(number of each row, first row of each)``."""
        keys = [key for node in nodes if (key := (node, "value")) in self._codes]
        codes, counts = [self._codes[key] for key in keys], [self._counts[key] for key in keys]
        return _numbered(_combined(codes, counts, self.size).to(self.of_unit.device))


def _reads(plan: Plan, piece: Piece) -> Iterable[Node]:
    for node in piece.nodes:
        yield node
        yield from plan.parents(node)


def _combined(codes: Iterable[Tensor], counts: Iterable[int], size: int) -> Tensor:
    """One integer for each combination of codes."""
    ids: Tensor | None = None
    for each, count in zip(codes, counts, strict=True):
        if count == 1:
            continue
        if ids is None:
            ids = each
        else:
            ids = torch.unique(ids * count + each, return_inverse=True)[1]
    return torch.zeros(size, dtype=torch.long) if ids is None else ids


def _numbered(ids: Tensor) -> tuple[Tensor, Tensor]:
    unique, numbers = torch.unique(ids, return_inverse=True)
    first = torch.empty(len(unique), dtype=torch.long, device=ids.device)
    positions = torch.arange(len(ids), device=ids.device)
    first[numbers.flip(0)] = positions.flip(0)
    return numbers, first


class _Layout(NamedTuple):
    """How a node's configurations are laid out as units: known values, then latent ones."""

    latents: tuple[Node, ...]
    row: Tensor  # of each row of the problem, its place on the layout's rows axis
    first: Tensor  # a row of the problem for each place
    sizes: tuple[int, ...]
    values: tuple[tuple[Node, Tensor], ...]  # parents with their values, (size, *event)

    @property
    def size(self) -> int:
        return len(self.first) * math.prod(self.sizes)

    @property
    def by_name(self) -> dict[str, Tensor]:
        return {node.name: value for node, value in self.values}

    def shaped(self, result: Tensor) -> Tensor:
        """``(draws, size, ...)`` to ``(draws, rows, *latents, ...)``."""
        return result.reshape(result.shape[0], len(self.first), *self.sizes, *result.shape[2:])


class TwinTables:
    """Tables of some factors.

    Args:
        domains: The factors, with their variables.
        rows: Known values.

    Attributes:
        values: Latent node to the values it can take, shape ``(K, *event)``.
    """

    def __init__(self, domains: Domains, rows: Rows) -> None:
        self._plan, self._rows, self._domains = domains.plan, rows, domains
        self._program = domains.plan.tables
        self.values = dict(domains.values)
        self._computed: dict[Node, Tensor] = {}
        self._tables: dict[Piece, LogTable] = {}
        self._laws: dict[Node, Tensor] = {}
        self._layouts: dict[Node, _Layout] = {}
        self._voids: dict[Node, tuple[LogTable, str]] = {}

    # -- domains of computed values -------------------------------------------------------------

    def _close(self) -> None:
        """Add values to the domains until all that are computed are there."""
        used: dict[Node, tuple[int, ...]] = {}
        while True:
            ready = [n for n in self._domains.listed if self._is_ready(n)]
            sizes = {n: self._sizes(n) for n in ready}
            stale = [n for n in ready if used.get(n) != sizes[n]]
            if not stale:
                return
            used.update({n: sizes[n] for n in stale})
            for node, values in zip(stale, self._evaluated(stale), strict=True):
                self._computed[node] = values
                found = distinct(values.flatten(0, 1))
                old = self.values.get(node)
                if old is not None:
                    is_new = find_codes(found, old) < 0
                    found = torch.cat([old, found[is_new].to(old.dtype)]) if is_new.any() else old
                self.values[node] = capped(node, found)

    def _sizes(self, node: Node) -> tuple[int, ...]:
        return tuple(len(self.values[parent]) for parent in self._domains.latent_parents(node))

    def _is_ready(self, node: Node) -> bool:
        return all(parent in self.values for parent in self._domains.latent_parents(node))

    def _evaluated(self, nodes: list[Node]) -> list[Tensor]:
        """Values of computed nodes at all configurations, ``(draws, size, *event)``."""
        layouts = {node: self._layout(node) for node in nodes}
        in_program = [node for node in nodes if node.is_computed]
        read = self._read([(node, layouts[node], None) for node in in_program])
        results = dict(zip(in_program, read, strict=True))
        for node in nodes:
            if node not in results:
                called = self._called(node, layouts[node])
                assert isinstance(called, Tensor)
                results[node] = called.unsqueeze(0)
        return [results[node] for node in nodes]

    def _called(self, node: Node, layout: _Layout) -> Tensor | Distribution:
        values = dict(layout.values)
        arguments = [values[parent] for parent in node.parents]
        return call_policy(self._program, node, arguments, layout.size)

    # -- layouts --------------------------------------------------------------------------------

    def _layout(self, node: Node, *, with_own: bool = False) -> _Layout:
        parents = self._plan.parents(node)
        latents = self._domains.latent_parents(node)
        row, first = self._rows.by((*parents, node) if with_own else parents)
        sizes = self._sizes(node)
        configurations = math.prod(sizes)
        if configurations * len(first) > 2 * MOST_ENTRIES:
            raise ProgramError(
                f"{node.key} has {configurations} configurations of its parents in {len(first)} "
                f"rows of evidence; expected at most {2 * MOST_ENTRIES} together; use another "
                "engine"
            )
        values: dict[Node, Tensor] = {}
        inner = configurations
        for parent, size in zip(latents, sizes, strict=True):
            inner //= size
            codes = torch.arange(size, device=first.device).repeat_interleave(inner)
            codes = codes.repeat(len(first) * configurations // len(codes))
            values[parent] = self.values[parent][codes]
        for parent in parents:
            if parent not in values:
                own = self._known_values(parent)[first]
                values[parent] = own.repeat_interleave(configurations, 0)
        return _Layout(latents, row, first, sizes, tuple(values.items()))

    def _known_values(self, node: Node) -> Tensor:
        """A known node's value in each row, ``(rows, *event)``."""
        known = self._plan.known(node)
        assert known is not None
        codes = self._rows.codes(node)
        assert codes is not None
        return known.values[codes]

    def _read(self, wanted: list[tuple[Node, _Layout, Tensor | None]]) -> list[Tensor]:
        blocks = [
            Block(
                node.name,
                layout.size,
                layout.by_name,
                at,
                reads_law=node.is_draw,
                computed=self._plan.inlined(node),
            )
            for node, layout, at in wanted
        ]
        return self._program.read(blocks, self._defaults()) if blocks else []

    def _defaults(self) -> dict[str, Tensor]:
        inlined = {n.name for n in self._domains.nodes if self._plan.is_inlined(n)}
        values: dict[str, Tensor] = {}
        for node in self._domains.nodes:
            if node.name in inlined or node.name in values:
                continue
            if node in self.values:
                values[node.name] = self.values[node][0]
            elif self._rows.codes(node) is not None:
                values[node.name] = self._known_values(node)[0]
        return values

    # -- tables ---------------------------------------------------------------------------------

    def build(self) -> None:
        """Run the program and fill the tables.

        Raises:
            ProgramError: A table is too large, or the program fails.
        """
        self._close()
        reason = self._domains.with_values(self.values).obstacle()
        if reason is not None:
            raise ProgramError(reason)
        wanted: list[tuple[Node, _Layout, Tensor | None]] = []
        for node in dict.fromkeys(node for piece in self._domains.pieces for node in piece.nodes):
            if self._plan.is_inlined(node):
                continue
            layout = self._layouts[node] = self._layout(node, with_own=self._compares(node))
            if node.is_draw:
                wanted.append((node, layout, self._density_at(node)))
            elif node.is_computed and self._plan.known(node) is not None:
                wanted.append((node, layout, None))
        for (node, _, _), result in zip(wanted, self._read(wanted), strict=True):
            self._laws[node] = self._filled(node, result) if node.is_draw else result

    def _filled(self, node: Node, result: Tensor) -> Tensor:
        """Put any law where there is none, and remember where: it may be that it cannot occur."""
        is_void = torch.isnan(result).any(-1) if result.dim() == 3 else torch.isnan(result)
        if not bool(is_void.any()):
            return result
        layout = self._layouts[node]
        log = layout.shaped(torch.where(is_void, 0.0, -_INF).double())
        where = Block(node.name, layout.size, layout.by_name).described(
            int(is_void.any(0).nonzero()[0])
        )
        self._voids[node] = (self._at_rows(layout.latents, log, layout.row), where)
        filler = -math.log(result.shape[-1]) if result.dim() == 3 else 0.0
        return torch.where(torch.isnan(result), filler, result)

    def voids(self, pieces: Iterable[Piece]) -> list[tuple[Node, LogTable, str]]:
        """Return the nodes without a law somewhere: where, as a table and in words."""
        nodes = dict.fromkeys(node for piece in pieces for node in piece.nodes)
        return [(node, *self._voids[node]) for node in nodes if node in self._voids]

    def _compares(self, node: Node) -> bool:
        """Whether a node's own known value is part of its layout."""
        if self._plan.known(node) is None:
            return False
        return not isinstance(self._plan.support(node), Tensor)

    def _density_at(self, node: Node) -> Tensor | None:
        if not self._compares(node):
            return None
        layout = self._layouts[node]
        own = self._known_values(node)[layout.first]
        return own.repeat_interleave(math.prod(layout.sizes), 0)

    def table(self, piece: Piece) -> LogTable:
        """Return a factor's table over its latent nodes."""
        if piece not in self._tables:
            self._tables[piece] = self._table(piece)
        return self._tables[piece]

    def _table(self, piece: Piece) -> LogTable:
        if len(piece.nodes) > 1:
            return self._joint(piece)
        node = piece.nodes[0]
        if self._plan.is_inlined(node):
            # the program computes it inside the factors of its children
            return LogTable((), torch.zeros(1, 1, dtype=torch.float64, device=self._plan.device))
        layout, is_known = self._layouts[node], self._plan.known(node) is not None
        if node.is_draw and self._compares(node):
            return self._at_rows(layout.latents, layout.shaped(self._laws[node]), layout.row)
        if isinstance(self._plan.support(node), Tensor):
            law = self._law(node, layout)
            if is_known:
                return LogTable(layout.latents, self._picked(node, law))
            return LogTable((*layout.latents, node), law)
        if is_known:
            return self._from_comparison(node, layout)
        return self._from_computed(node, layout)

    def _at_rows(self, names: tuple[Node, ...], log: Tensor, row: Tensor) -> LogTable:
        return LogTable(names, log if log.shape[1] == 1 else log[:, row])

    def _law(self, node: Node, layout: _Layout) -> Tensor:
        """Log law of a finite node, ``(draws or 1, rows or 1, *latent parents, K)``."""
        codes = self._rows.codes(node, "law")
        if codes is not None:
            laws = self._plan.drawn_law(node).values
            return laws.unsqueeze(0) if len(laws) == 1 else laws[codes].unsqueeze(0)
        if node in self._laws:
            log = self._laws[node]
        else:
            support = self._plan.support(node)
            assert isinstance(support, Tensor)
            called = log_law(self._called(node, layout), support)
            log = self._program.per_unit(called, 1, layout.size)
        return self._at_rows(layout.latents, layout.shaped(log), layout.row).log

    def _picked(self, node: Node, log: Tensor) -> Tensor:
        """Take a known node's value on the last axis; ``-inf`` where it cannot have it."""
        support = self._plan.support(node)
        assert isinstance(support, Tensor)
        codes = find_codes(self._known_values(node), support)
        if bool((codes == codes[0]).all()):
            codes = codes[:1]
        rows = max(log.shape[1], len(codes))
        log = log.expand(log.shape[0], rows, *log.shape[2:])
        index = codes.clamp(min=0).expand(rows).reshape(1, rows, *([1] * (log.dim() - 2)))
        found = log.gather(-1, index.expand(*log.shape[:-1], 1)).squeeze(-1)
        is_possible = (codes >= 0).expand(rows).reshape(1, rows, *([1] * (found.dim() - 2)))
        return torch.where(is_possible, found, -_INF)

    def _from_comparison(self, node: Node, layout: _Layout) -> LogTable:
        """Evidence on a computed value: zero where the two agree."""
        if node in self._laws:
            found = self._laws[node]
        else:
            called = self._called(node, layout)
            assert isinstance(called, Tensor)
            found = called.unsqueeze(0)
        own = self._known_values(node)[layout.first]
        own = own.repeat_interleave(math.prod(layout.sizes), 0)
        agrees = is_same(found, own) if found.dtype == own.dtype else _is_near(found, own)
        agrees = agrees.flatten(2).all(2) if agrees.dim() > 2 else agrees
        log = torch.where(agrees, 0.0, -_INF).double()
        return self._at_rows(layout.latents, layout.shaped(log), layout.row)

    def _from_computed(self, node: Node, layout: _Layout) -> LogTable:
        values, domain = self._computed[node], self.values[node]
        codes = find_codes(values.flatten(0, 1), domain).reshape(values.shape[:2])
        states = torch.arange(len(domain), device=codes.device)
        log = torch.where(codes.unsqueeze(-1) == states, 0.0, -_INF).double()
        return self._at_rows((*layout.latents, node), layout.shaped(log), layout.row)

    def order(self, pieces: Sequence[Piece]) -> tuple[Hashable, ...]:
        """Choose an order in which to eliminate the variables of some factors."""
        return self._domains.with_values(self.values).order(pieces).names

    # -- copies that share their noise ----------------------------------------------------------

    def _joint(self, piece: Piece) -> LogTable:
        """The joint law of a site's copies given their parents."""
        parents = map(self._domains.latent_parents, piece.nodes)
        around = tuple(dict.fromkeys(itertools.chain(*parents)))
        laws = []
        for node in piece.nodes:
            layout = self._layouts[node]
            laws.append(spread(self._law(node, layout), layout.latents, around))
        if isinstance(self._domains.coupling(piece), Quantile):
            log = self._overlaps(piece, laws)
        else:
            log = self._pair(piece, laws)
        own = tuple(n for n in piece.nodes if self._plan.known(n) is None)
        return LogTable((*around, *own), log)

    def _overlaps(self, piece: Piece, laws: list[Tensor]) -> Tensor:
        """Quantile coupling: the noise lies in the intervals of all copies."""
        unknown = [n for n in piece.nodes if self._plan.known(n) is None]
        low: Tensor | None = None
        high: Tensor | None = None
        for node, law in zip(piece.nodes, laws, strict=True):
            left, right = _intervals(law)
            if node in unknown:
                place = unknown.index(node)
                after = len(unknown) - place - 1
                shape = (*law.shape[:-1], *([1] * place), law.shape[-1], *([1] * after))
                left, right = left.reshape(shape), right.reshape(shape)
            else:
                # an impossible value gets the empty interval (-inf, -inf]
                left, right = self._picked(node, left), self._picked(node, right)
                shape = (*left.shape, *([1] * len(unknown)))
                left, right = left.reshape(shape), right.reshape(shape)
            low = left if low is None else torch.maximum(low, left)
            high = right if high is None else torch.minimum(high, right)
        assert low is not None
        assert high is not None
        return log_mass(low, high)

    def _pair(self, piece: Piece, laws: list[Tensor]) -> Tensor:
        """Gumbel-max coupling of two copies: the first one's law and the second one's given it."""
        coupling = self._program.sites[piece.nodes[0].name].coupling
        assert coupling is not None
        first, second = laws[0], laws[1]
        shape = broadcast_shapes(first.shape, second.shape)
        first, second = first.expand(shape), second.expand(shape)
        k = shape[-1]
        value = torch.arange(k, device=first.device).expand(shape)
        # the law given an impossible value does not matter, but must exist
        source = first.unsqueeze(-2).expand(*shape, k)
        source = torch.where((first == -_INF).unsqueeze(-1), 0.0, source)
        law = coupling.conditional_law(
            value,
            dist.Categorical(logits=source, validate_args=False),
            dist.Categorical(logits=second.unsqueeze(-2), validate_args=False),
        )
        log = first.unsqueeze(-1) + law.logits.double().log_softmax(-1)
        for node in reversed(piece.nodes):
            if self._plan.known(node) is not None:
                is_first = node is piece.nodes[0] and log.dim() == len(shape) + 1
                log = self._picked(node, log.transpose(-1, -2) if is_first else log)
        return log


def _intervals(law: Tensor) -> tuple[Tensor, Tensor]:
    """The noise's interval of each value: ends on the logistic scale, shape ``(..., K)``."""
    ladder = counts_of(dist.Categorical(logits=law, validate_args=False))
    assert isinstance(ladder, Ladder)
    ends = ladder.thresholds
    edge = ends.new_full((*ends.shape[:-1], 1), _INF)
    return torch.cat([-edge, ends], -1), torch.cat([ends, edge], -1)


def _is_near(found: Tensor, value: Tensor) -> Tensor:
    """Compare numbers that may have gone through another precision."""
    return torch.isclose(found.double(), value.double(), rtol=1e-5, atol=1e-6)
