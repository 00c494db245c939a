"""Exact posteriors of programs with finite latents, by variable elimination on the twin network."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm

from causalppl.exceptions import ImpossibleEvidenceError, ProgramError
from causalppl.inference.elimination import Elimination, LogTable
from causalppl.inference.engine import Answer, Condition, Engine, Problem
from causalppl.inference.laws import FiniteLaw, Law, PointLaw
from causalppl.inference.twin_domains import MOST_ENTRIES, Domains
from causalppl.inference.twin_draws import Simulated
from causalppl.inference.twin_network import Node
from causalppl.inference.twin_plan import Known, Piece, Plan
from causalppl.inference.twin_tables import Rows, TwinTables
from causalppl.inference.value_sets import distinct, find_codes
from causalppl.seeding import forked_rng

__all__ = ["Enumeration"]

_ENTRIES_AT_ONCE = 2**22
_SAMPLES_AT_ONCE = 2**18
_MOST_DRAWN = 2**24
_SMALL_JOINT = 2**16


@dataclass(frozen=True)
class Enumeration(Engine):
    """Sum finite unobserved sites out, exactly, by variable elimination.

    All unobserved sites that the evidence bears on must have finitely many values, or be
    deterministic. Continuous sites may carry evidence; continuous targets downstream of finite
    latents are drawn: the latents from their exact posterior, the rest by simulation. Copies of a
    site in several worlds share its noise through the joint law of its coupling. The cost follows
    the largest table of the elimination, not the joint law, and not how rare the evidence is.

    References:
        Balke and Pearl (1994), Probabilistic evaluation of counterfactual queries.
        Dechter (1999), Bucket elimination: a unifying framework for reasoning.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from causalppl.programs import SCM
        >>> def program():
        ...     u = pyro.sample("U", dist.Bernoulli(torch.tensor(0.5)))
        ...     return pyro.sample("Y", dist.Bernoulli(0.2 + 0.6 * u))
        >>> problem = Problem(SCM(program), 1, {}, {"Y": torch.tensor([1.0])}, ("U",))
        >>> Enumeration().solve(problem, seed=0).means["U"]
        tensor([[0.8000]], dtype=torch.float64)
    """

    name: ClassVar[str] = "Enumeration"

    def refusal(self, problem: Problem) -> str | None:
        """See `Engine.refusal`."""
        try:
            return _Agenda(problem).refusal()
        except ProgramError as error:
            return str(error)

    def solve(self, problem: Problem, *, seed: int, progress: bool = False) -> Answer:
        """See `Engine.solve`."""
        agenda = _Agenda(problem)
        agenda.plan.check_evidence()
        with forked_rng(seed):
            return _Solution(agenda, progress).answer()


@dataclass(frozen=True)
class _Group:
    """Keys whose joint law is summed out together.

    Attributes:
        keys: Their names.
        nodes: The unknown ones among their nodes.
        pieces: The factors.
        obstacle: Why it cannot be done; None if it can.
        entries: Entries of the largest table on the way.
    """

    keys: tuple[str, ...]
    nodes: tuple[Node, ...]
    pieces: tuple[Piece, ...]
    obstacle: str | None
    entries: int


class _Agenda:
    """What is summed out exactly, and what is drawn."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._reject_parameters(problem)
        self.plan = Plan(problem)
        self.simulated = Simulated(self.plan)
        self.all_keys = tuple(
            dict.fromkeys((*problem.targets, *(event.key for event in problem.events)))
        )

    def _reject_parameters(self, problem: Problem) -> None:
        sites = problem.scm.structure.sites
        asked = (*problem.targets, *(event.key for event in problem.events), *problem.evidence)
        for key in asked:
            name, _ = problem.split(key)
            if name not in sites or not sites[name].is_unit:
                raise ProgramError(f"{key!r} is not a site with one value per unit")

    # -- groups ---------------------------------------------------------------------------------

    @cached_property
    def groups(self) -> list[_Group]:
        """Targets with exact laws; one world at a time, so that two worlds meet in a table."""
        by_world: dict[str, list[str]] = {}
        for key in self.problem.targets:
            by_world.setdefault(self.plan.node(key).world, []).append(key)
        groups = []
        for keys in by_world.values():
            group = self._group(keys)
            if group.obstacle is None or len(keys) == 1:
                groups.append(group)
            else:
                groups.extend(self._group([key]) for key in keys)
        return groups

    @cached_property
    def exact(self) -> list[_Group]:
        """The groups that can be summed out."""
        return [group for group in self.groups if group.obstacle is None]

    @cached_property
    def events(self) -> _Group | None:
        """The events; None if there are none."""
        keys = dict.fromkeys(event.key for event in self.problem.events)
        return self._group(list(keys)) if keys else None

    @cached_property
    def evidence(self) -> _Group:
        """The evidence alone."""
        return self._group([])

    @cached_property
    def joint(self) -> _Group:
        """All keys together."""
        return self._group(list(self.all_keys))

    def _group(self, keys: list[str]) -> _Group:
        nodes = dict.fromkeys(self.plan.node(key) for key in keys)
        unknown = tuple(node for node in nodes if self.plan.known(node) is None)
        parts = self.plan.parts(nodes)
        obstacle = next(
            (p.obstacle for p in parts if p.obstacle and p.latents & set(unknown)), None
        )
        for node in unknown:
            if obstacle is None and self.plan.is_inlined(node):
                obstacle = f"{node.key} is computed from continuous values"
        pieces = tuple(piece for part in parts if part.obstacle is None for piece in part.pieces)
        entries = 1
        if obstacle is None:
            domains = Domains(self.plan, pieces)
            domains.guess()
            obstacle = domains.obstacle()
            entries = domains.order(pieces).largest
            if obstacle is None and entries > MOST_ENTRIES:
                obstacle = (
                    f"eliminating the variables needs a table of {entries} entries; expected at "
                    f"most {MOST_ENTRIES}; ask for fewer targets together, or give evidence"
                )
        return _Group(tuple(keys), unknown, pieces, obstacle, entries)

    # -- what will be done ----------------------------------------------------------------------

    @cached_property
    def obstacle(self) -> str | None:
        """Why some key has no exact law or probability; None if all have."""
        groups = [*self.groups, *([self.events] if self.events else [])]
        return next((group.obstacle for group in groups if group.obstacle), None)

    @cached_property
    def draws_are_wanted(self) -> bool:
        """Whether there are to be draws: needed, or cheap enough to add."""
        if self.obstacle is not None:
            return True
        problem = self.problem
        size = problem.num_parameter_draws * problem.num_draws * problem.num_units
        return not problem.events and size * len(self.all_keys) <= _MOST_DRAWN

    @cached_property
    def draws_from_tables(self) -> bool:
        """Whether draws come from the tables of all keys together, and not from a simulation."""
        if self.joint.obstacle is not None:
            return False
        return self.joint.entries <= _SMALL_JOINT or self.simulation_obstacle is not None

    @cached_property
    def simulation_obstacle(self) -> str | None:
        """Why the keys cannot be drawn by simulation; None if they can."""
        return self.simulated.obstacle(self.all_keys) or self.evidence.obstacle

    def refusal(self) -> str | None:
        """Say why the problem cannot be answered."""
        if self.obstacle is None:
            return None
        if not self._sums_something():
            return f"nothing finite to sum over ({self.obstacle})"
        if not self.draws_from_tables and self.simulation_obstacle is not None:
            reasons = dict.fromkeys((self.obstacle, self.simulation_obstacle))
            return "; ".join(reasons)
        return None

    def _sums_something(self) -> bool:
        pieces = {*self.evidence.pieces, *(p for group in self.exact for p in group.pieces)}
        drawn = (node for piece in pieces for node in piece.nodes if node.is_draw)
        if any(self.plan.known(node) is None for node in drawn):
            return True
        # finite sites may stand upstream of a continuous target, in the part that is simulated
        parts = self.plan.parts(map(self.plan.node, self.all_keys))
        return any(
            self.plan.tables.sites[node.name].support is not None
            for part in parts
            for node in part.latents
            if node.is_draw
        )


class _Column(NamedTuple):
    """The law of one key in some rows: its values ``(K, *event)`` and ``(draws, rows, K)``."""

    values: Tensor
    law: Tensor


class _Solution:
    """One run of the engine."""

    def __init__(self, agenda: _Agenda, progress: bool) -> None:
        self.agenda, self.plan, self.problem = agenda, agenda.plan, agenda.problem
        self._progress = progress
        self._from_tables = agenda.draws_are_wanted and agenda.draws_from_tables
        self._by_simulation = (
            agenda.draws_are_wanted and not self._from_tables and agenda.simulation_obstacle is None
        )
        self._groups = [*agenda.exact] or [agenda.evidence]
        self._columns: dict[str, list[_Column]] = {}
        self._probability: list[Tensor] = []
        self._drawn: list[tuple[Tensor, dict[str, Tensor]]] = []

    def answer(self) -> Answer:
        wanted = [*self._groups]
        events = self.agenda.events
        if events is not None and events.obstacle is None:
            wanted.append(events)
        if self._from_tables:
            wanted.append(self.agenda.joint)
        if self._by_simulation:
            wanted.append(self.agenda.evidence)
        domains = Domains(self.plan, [piece for group in wanted for piece in group.pieces])
        domains.guess()
        rows = Rows(self.plan, domains.pieces)
        starts = self._starts(domains, wanted, rows.size)
        for start, stop in tqdm(
            starts, disable=not self._progress or len(starts) < 2, desc="enumerating"
        ):
            tables = TwinTables(domains, rows.part(start, stop))
            tables.build()
            self._solve_rows(_Chunk(self.plan, tables, rows.of_unit, start, stop - start))
        return self._assembled(rows)

    def _starts(
        self, domains: Domains, groups: Sequence[_Group], rows: int
    ) -> list[tuple[int, int]]:
        largest = max([domains.largest()[0], *(group.entries for group in groups), 1])
        step = max(1, _ENTRIES_AT_ONCE // (largest * self.problem.num_parameter_draws))
        return [(start, min(rows, start + step)) for start in range(0, rows, step)]

    def _solve_rows(self, chunk: "_Chunk") -> None:
        for group in self._groups:
            run = chunk.eliminated(group.pieces)
            for key in group.keys:
                node = self.plan.node(key)
                if self.plan.known(node) is None:
                    law = chunk.full(run.marginal(node))
                    column = _Column(chunk.tables.values[node], law)
                    self._columns.setdefault(key, []).append(column)
        events = self.agenda.events
        if events is not None and events.obstacle is None:
            before = chunk.eliminated(events.pieces)
            after = chunk.eliminated(events.pieces, self.problem.events)
            ratio = (chunk.full(after.log_total) - chunk.full(before.log_total)).exp()
            self._probability.append(ratio)
        if self._from_tables:
            self._draw_from_tables(chunk)
        if self._by_simulation:
            self._draw_by_simulation(chunk)

    # -- draws ----------------------------------------------------------------------------------

    def _draw_from_tables(self, chunk: "_Chunk") -> None:
        run = chunk.eliminated(self.agenda.joint.pieces)
        for units in chunk.unit_batches(self._width()):
            codes = run.sample(*self._places(chunk, units))
            found = {}
            for node in self.agenda.joint.nodes:
                found[node] = self._shaped(chunk.tables.values[node][codes[node]], len(units))
            keys = [key for key in self.agenda.all_keys if self.plan.node(key) in found]
            self._drawn.append((units, {key: found[self.plan.node(key)] for key in keys}))

    def _draw_by_simulation(self, chunk: "_Chunk") -> None:
        run = chunk.eliminated(self.agenda.evidence.pieces)
        for units in chunk.unit_batches(self._width()):
            codes = run.sample(*self._places(chunk, units))
            latents = {
                node.name: self._shaped(chunk.tables.values[node][code], len(units))
                for node, code in codes.items()
                if isinstance(node, Node) and node.is_draw
            }
            drawn = self.agenda.simulated.draw(
                self.agenda.all_keys, latents, units, self.problem.num_draws
            )
            self._drawn.append((units, drawn))

    def _width(self) -> int:
        return self.problem.num_parameter_draws * self.problem.num_draws

    def _places(self, chunk: "_Chunk", units: Tensor) -> tuple[Tensor, Tensor]:
        """Parameter draw and row of each sample, in the order ``(draws, draws, units)``."""
        width = self._width()
        draw = torch.arange(width, device=units.device) // self.problem.num_draws
        row = chunk.row_of_unit[units] - chunk.start
        return draw.repeat_interleave(len(units)), row.repeat(width)

    def _shaped(self, values: Tensor, units: int) -> Tensor:
        outer = (self.problem.num_parameter_draws, self.problem.num_draws, units)
        return values.reshape(*outer, *values.shape[1:])

    # -- the answer -----------------------------------------------------------------------------

    def _assembled(self, rows: Rows) -> Answer:
        laws: dict[str, Law] = {}
        means: dict[str, Tensor] = {}
        draws = self._all_draws()
        outer = self.problem.num_parameter_draws
        for key in self.agenda.all_keys:
            known = self.plan.known(self.plan.node(key))
            if known is not None:
                self._add_known(key, known, laws, means, draws)
            elif key in self._columns:
                column = _merged(self._columns[key])
                by_unit = column.law[:, rows.of_unit]
                event = column.values.shape[1:]
                numbers = column.values.reshape(len(column.values), -1).double()
                means[key] = (by_unit @ numbers).reshape(*by_unit.shape[:2], *event)
                if outer == 1 and not event:
                    laws[key] = self._law(key, column.values, by_unit[0])
        probability = None
        if self._probability:
            probability = torch.cat(self._probability, 1)[:, rows.of_unit]
        elif self.agenda.events is None and self.problem.events:
            raise AssertionError("events have a group")
        return Answer(
            draws=draws,
            means=means,
            laws=laws,
            probability=probability,
            is_exact=True,
            notes=tuple(self._notes()),
        )

    def _add_known(
        self,
        key: str,
        known: Known,
        laws: dict[str, Law],
        means: dict[str, Tensor],
        draws: dict[str, Tensor],
    ) -> None:
        values = known.values[known.codes]
        outer = self.problem.num_parameter_draws
        means[key] = values.double().expand(outer, *values.shape)
        if outer == 1:
            laws[key] = PointLaw(values)
        if self._from_tables or self._by_simulation:
            draws[key] = values.expand(outer, self.problem.num_draws, *values.shape)

    def _all_draws(self) -> dict[str, Tensor]:
        if not self._drawn:
            return {}
        order = torch.cat([units for units, _ in self._drawn]).argsort()
        return {
            key: torch.cat([drawn[key] for _, drawn in self._drawn], 2)[:, :, order]
            for key in self._drawn[0][1]
        }

    def _law(self, key: str, values: Tensor, law: Tensor) -> FiniteLaw:
        name, _ = self.problem.split(key)
        labels = self.problem.scm.categories.get(name)
        numbers = values.tolist()
        if labels is not None and numbers != list(range(len(labels))):
            labels = None
        return FiniteLaw(tuple(numbers), law, labels)

    def _notes(self) -> Iterator[str]:
        if self.agenda.obstacle is not None and (self._by_simulation or self._from_tables):
            yield f"some values are exact draws and not sums, because {self.agenda.obstacle}"


class _Chunk:
    """The tables of some rows."""

    def __init__(
        self, plan: Plan, tables: TwinTables, row_of_unit: Tensor, start: int, size: int
    ) -> None:
        self.plan, self.tables, self.row_of_unit = plan, tables, row_of_unit
        self.start, self.size = start, size
        self._runs: dict[tuple[Piece, ...], Elimination] = {}

    @cached_property
    def units(self) -> Tensor:
        """The units whose rows are here."""
        row = self.row_of_unit
        return ((row >= self.start) & (row < self.start + self.size)).nonzero().squeeze(1)

    def unit_batches(self, width: int) -> Iterable[Tensor]:
        """Return the units in batches that are drawn at once."""
        return self.units.split(max(1, _SAMPLES_AT_ONCE // width))

    def full(self, values: Tensor) -> Tensor:
        """Expand to all draws and rows."""
        draws = self.plan.problem.num_parameter_draws
        return values.expand(draws, self.size, *values.shape[2:])

    def eliminated(
        self, pieces: tuple[Piece, ...], events: Sequence[Condition] = ()
    ) -> Elimination:
        """Eliminate all variables of some factors, and of conditions on their values.

        Raises:
            ImpossibleEvidenceError: The evidence has probability zero, for some unit.
            ProgramError: A site has no law at a configuration that can occur.
        """
        if not events and pieces in self._runs:
            return self._runs[pieces]
        tables = [self.tables.table(piece) for piece in pieces]
        sizes = {node: len(values) for node, values in self.tables.values.items()}
        tables.extend(self._condition(event) for event in events)
        run = Elimination(tables, sizes, self.tables.order(pieces))
        if not events:
            self._check(run)
            for node, void, where in self.tables.voids(pieces):
                reached = Elimination([*tables, void], sizes, self.tables.order(pieces))
                if bool((reached.log_total > -math.inf).any()):
                    raise ProgramError(
                        f"the site {node.name!r} has no law at {where}, which can occur: its "
                        "parameters are not valid numbers there; guard the formula, for example "
                        "with torch.where or clamp"
                    )
            self._runs[pieces] = run
        return run

    def _condition(self, event: Condition) -> LogTable:
        node = self.plan.node(event.key)
        known = self.plan.known(node)
        if known is None:
            holds = event.holds(self.tables.values[node])
            names: tuple[Node, ...] = (node,)
        else:
            first = torch.empty(self.size, dtype=torch.long, device=self.row_of_unit.device)
            first[self.row_of_unit[self.units] - self.start] = self.units
            holds, names = event.holds(known.values[known.codes[first]]), ()
        holds = holds.flatten(1).all(1) if holds.dim() > 1 else holds
        log = torch.where(holds, 0.0, -math.inf).double()
        return LogTable(names, log.reshape(1, 1, -1) if names else log.reshape(1, -1))

    def _check(self, run: Elimination) -> None:
        is_impossible = torch.isneginf(run.log_total).any(0)
        if not bool(is_impossible.any()):
            return
        flags = is_impossible.expand(self.size)
        rows = self.row_of_unit[self.units] - self.start
        unit = int(self.units[flags[rows]][0])
        seen = ", ".join(
            f"{self.plan.keys[node]} = {value[unit].tolist()}"
            for node, value in self.plan.evidence.items()
        )
        raise ImpossibleEvidenceError(
            f"the evidence {seen} of unit {unit} has probability zero under the program; expected "
            "values that can occur together; check the evidence, and the program for exact zeros"
        )


def _merged(columns: list[_Column]) -> _Column:
    """Put rows side by side; a computed value may take other values in other rows."""
    first = columns[0].values
    if all(each.values is first or torch.equal(each.values, first) for each in columns):
        return _Column(first, torch.cat([each.law for each in columns], 1))
    values = distinct(torch.cat([each.values for each in columns]))
    laws = []
    for each in columns:
        law = each.law.new_zeros(*each.law.shape[:2], len(values))
        law.index_add_(2, find_codes(each.values, values), each.law)
        laws.append(law)
    return _Column(values, torch.cat(laws, 1))
