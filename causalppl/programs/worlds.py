"""Several worlds that share their noise, as one Pyro program.

One run computes all worlds: downstream of an intervention every value carries a *world axis*, to
the left of all plates, and what no intervention reaches is computed once and shared. At each
sample statement the handlers outside (evidence, guides, traces) see the site of the primary world
only, with the law the plain program would have had. The values of the other worlds follow from
its value through the site's coupling. So adding worlds cannot change the factual posterior.
"""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import pyro
import torch
from pyro.poutine.condition_messenger import ConditionMessenger
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import _PYRO_STACK
from torch.distributions import Distribution

from causalppl.exceptions import DataError, ImpossibleEvidenceError, ProgramError
from causalppl.programs.do import pending_evidence
from causalppl.programs.interventions import (
    Interventions,
    World,
    check_interventions,
    intervened_value,
)
from causalppl.programs.point import point_law
from causalppl.programs.slicing import BatchSlice, slice_batch
from causalppl.programs.structural import Coupling, coupling_for
from causalppl.programs.structure import Site, Structure, is_delta, read_structure
from causalppl.programs.targets import earlier, site_target
from causalppl.programs.world_specs import (
    check_sites,
    check_worlds,
    interventions_by_site,
    split_world,
)
from causalppl.programs.wrappers import unwrap
from causalppl.shapes import broadcast_shapes
from causalppl.typing import Program


def twin_worlds(
    program: Program,
    worlds: Mapping[str, Interventions],
    *,
    couplings: Mapping[str, Coupling] | None = None,
    structure: Structure | None = None,
    explicit: bool = True,
) -> "TwinWorlds":
    """Run a program in its own world and in several intervened ones, with shared noise.

    Args:
        program: A Pyro program or an `SCM`.
        worlds: World name to interventions; ``{"x0": {"X": 0.0}, "m": {"M": World("x0")}}``. An
            intervention may be anything `do` takes, or `World`: the value from another world.
        couplings: Site name to coupling, where it is not the family's default.
        structure: The program's structure, if it has been read already.
        explicit: Give discrete sites of the other worlds an explicit conditional density, so that
            the twin program can be enumerated and can carry evidence in any world. With False
            their noise is drawn from its posterior instead, which is faster and enough for
            prediction.

    Returns:
        A Pyro program with the sites of ``program`` (the factual world) and, for each world,
        ``Y@x0``; calling it returns a mapping from these names to values.

    Raises:
        DataError: A world's name is empty or has an ``@``, or worlds take values in a circle.
        ProgramError: When run, if an intervention names an unknown site, or evidence sits on a
            continuous site in two worlds, or it is run with arguments that the program does not
            take.

    References:
        Balke and Pearl (1994), Probabilistic evaluation of counterfactual queries.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def program():
        ...     x = pyro.sample("X", dist.Normal(0.0, 1.0))
        ...     return pyro.sample("Y", dist.Normal(2 * x, 1.0))
        >>> twin = twin_worlds(program, {"x0": {"X": 0.0}})
        >>> seen = pyro.condition(twin, data={"X": torch.tensor(1.0), "Y": torch.tensor(3.0)})
        >>> float(seen()["Y@x0"])
        1.0
    """
    if hasattr(program, "structure") and hasattr(program, "program"):  # an SCM
        scm: Any = program
        merged = {**scm.couplings, **(couplings or {})}
        return TwinWorlds(scm.program, worlds, merged, scm.structure, explicit)
    return TwinWorlds(program, worlds, couplings or {}, structure, explicit)


class TwinWorlds:
    """The Pyro program that `twin_worlds` returns.

    Args:
        program: The Pyro program that all worlds run.
        worlds: World name to interventions, by site.
        couplings: Site name to coupling, where it is not the family's default.
        structure: The program's structure; None: it is read when the worlds are run.
        explicit: Whether discrete sites of the other worlds have a density of their own.

    Raises:
        DataError: A world's name is empty or has an ``@``, or worlds take values in a circle.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def program():
        ...     x = pyro.sample("X", dist.Normal(0.0, 1.0))
        ...     return pyro.sample("Y", dist.Normal(2 * x, 1.0))
        >>> float(twin_worlds(program, {"x0": {"X": 0.0}})()["X@x0"])
        0.0
    """

    def __init__(
        self,
        program: Program,
        worlds: Mapping[str, Interventions],
        couplings: Mapping[str, Coupling],
        structure: Structure | None,
        explicit: bool,
    ) -> None:
        self.program = program
        for interventions in worlds.values():
            check_interventions(interventions)
        self.worlds = {name: dict(interventions) for name, interventions in worlds.items()}
        self.couplings = dict(couplings)
        self.explicit = explicit
        self._structure = structure
        check_worlds(self.worlds)

    def __call__(self, *args: Any, **kwargs: Any) -> "WorldValues":
        """Run all worlds on the program's arguments."""
        self._check_arguments(args, kwargs)
        structure = self._structure_for(args, kwargs)
        handler = WorldsMessenger(
            structure, self.worlds, self.couplings, explicit=self.explicit, emit=True
        )
        with handler:
            self.program(*args, **kwargs)
        return handler.result()

    def _check_arguments(self, args: Any, kwargs: Any) -> None:
        try:
            inspect.signature(self.program).bind(*args, **kwargs)
        except TypeError as error:
            raise ProgramError(
                f"the worlds were run with arguments that the program does not take: {error}; "
                "expected the program's own arguments; to run n units, give twin_worlds an SCM, "
                "as in twin_worlds(SCM(program), worlds)(n)"
            ) from None

    def _structure_for(self, args: Any, kwargs: Any) -> Structure:
        if self._structure is None:
            with pyro.poutine.block():
                self._structure = read_structure(self.program, *args, **kwargs)
        return self._structure


class WorldValues(Mapping[str, torch.Tensor]):
    """Values by site (``"Y"``, factual) and by site and world (``"Y@x0"``), sliced on access.

    Args:
        values: Site name to tensor, with a world axis where an intervention reaches.
        structure: The program's structure.
        worlds: Names of the worlds beside the factual one.
        axis: The world axis, a negative number, counted among the batch dimensions.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def program():
        ...     return pyro.sample("X", dist.Normal(0.0, 1.0))
        >>> list(twin_worlds(program, {"x0": {"X": 0.0}})())
        ['X', 'X@x0']
    """

    def __init__(
        self,
        values: Mapping[str, torch.Tensor],
        structure: Structure,
        worlds: tuple[str, ...],
        axis: int,
    ) -> None:
        self._values, self._structure, self._worlds, self._axis = values, structure, worlds, axis

    def __getitem__(self, key: str) -> torch.Tensor:
        name, world = split_world(key, self._values)
        if name not in self._values or (world and world not in self._worlds):
            raise KeyError(
                f"{key!r}; sites are {', '.join(self._values)}, worlds {', '.join(self._worlds)}"
            )
        index = self._worlds.index(world) + 1 if world else 0
        return take_world(self._values[name], self._axis, index, self._event_dim(name), self.size)

    def __iter__(self) -> Iterator[str]:
        for name in self._values:
            yield name
            if name in self._structure.unit_sites:
                yield from (f"{name}@{world}" for world in self._worlds)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @property
    def size(self) -> int:
        """Number of worlds, the factual one included."""
        return len(self._worlds) + 1

    def _event_dim(self, name: str) -> int:
        return self._structure.sites[name].event_dim


class WorldsMessenger(Messenger):
    """The handler behind `twin_worlds`; must be entered innermost, around the program itself.

    Args:
        structure: The program's structure.
        worlds: World name to interventions.
        couplings: Site name to coupling, where not the default.
        explicit: See `twin_worlds`.
        emit: Also report each ``Y@world`` as a Pyro site.
    """

    def __init__(
        self,
        structure: Structure,
        worlds: Mapping[str, Interventions],
        couplings: Mapping[str, Coupling],
        *,
        explicit: bool,
        emit: bool,
    ) -> None:
        super().__init__()
        check_sites(structure, worlds)
        self.structure = structure
        self.worlds = tuple(worlds)
        self.axis = -(structure.plate_nesting + 1)
        self.values: dict[str, torch.Tensor] = {}
        self._size = len(worlds) + 1
        self._couplings = couplings
        self._explicit, self._emit = explicit, emit
        # site -> [(world's position, intervention)], in an order in which World(...) can be read
        self._interventions = interventions_by_site(worlds)
        self._pending: dict[str, tuple[Any, int]] = {}
        self._evidence: frozenset[str] = frozenset()

    def __enter__(self) -> Any:
        self.values.clear()
        self._pending.clear()
        self._evidence = _evidence_in_other_worlds()
        unknown = [key for key in self._evidence if not self._is_copy(key)]
        if unknown:
            raise DataError(
                f"evidence names {', '.join(map(repr, sorted(unknown)))}; the worlds are "
                f"{', '.join(self.worlds)} and the sites {', '.join(self.structure.unit_sites)}"
            )
        return super().__enter__()

    def result(self) -> WorldValues:
        """Return the values of the last run."""
        return WorldValues(dict(self.values), self.structure, self.worlds, self.axis)

    # -- before the value is known ------------------------------------------------------------

    def _pyro_sample(self, msg: Any) -> None:
        site = self.structure.sites.get(msg["name"])
        if site is None:
            return
        if not site.is_unit:
            self._pending[site.name] = (None, 0)
            return
        fn = msg["fn"]
        if is_delta(fn):
            self._before_deterministic(site, msg)
            return
        branched = self._is_branched(fn.batch_shape)
        primary = self._primary_world(site, msg, branched) if self._evidence else 0
        self._pending[site.name] = (fn, primary)
        if branched:
            msg["fn"] = self._world_law(fn, primary)
        if primary:
            self._report_primary(site, msg, primary)

    def _before_deterministic(self, site: Site, msg: Any) -> None:
        if pending_evidence(site.name) is not None:
            raise ProgramError(
                f"the deterministic site {site.name!r} cannot be conditioned inside Pyro, which "
                "would overwrite it without a constraint on its parents; pass it to "
                "infer(..., evidence=) instead"
            )
        fn, value = msg["fn"], msg["value"]
        if value is None:
            value = fn.sample()
        self._pending[site.name] = (value, -1)
        if self._is_branched(value.shape[: value.dim() - site.event_dim]):
            value = self._take(value, 0, site.event_dim)
            event_dim = site.event_dim if fn.event_dim == site.event_dim else value.dim()
            msg["fn"] = point_law(value, event_dim)
        msg.update(value=value, is_observed=True)

    def _primary_world(self, site: Site, msg: Any, branched: bool) -> int:
        """Choose the world whose value is drawn or seen first; the others follow from it."""
        seen = [
            w for w, world in enumerate(self.worlds, 1) if self._copy(site, w) in self._evidence
        ]
        acted = {w for w, _ in self._interventions.get(site.name, ())}
        seen = [w for w in seen if w not in acted]
        if not seen:
            return 0
        is_factual_seen = msg["is_observed"] or pending_evidence(site.name) is not None
        if not branched or not self._coupling(site, msg["fn"]).is_deterministic:
            return seen[0] if not branched and not is_factual_seen else 0
        if is_factual_seen or len(seen) > 1:
            where = ["the factual world"] * is_factual_seen + [self.worlds[w - 1] for w in seen]
            raise ProgramError(
                f"the continuous site {site.name!r} has evidence in {' and in '.join(where)}, and "
                "either fixes its noise; give it in one world, or use the Gaussian engine if the "
                "program is linear Gaussian"
            )
        return seen[0]

    def _report_primary(self, site: Site, msg: Any, primary: int) -> None:
        """Draw the site in its primary world; the factual value is then a function of it."""
        fn, _ = self._pending[site.name]
        law = msg["fn"]
        value = pyro.sample(self._copy(site, primary), law)
        if self._is_branched(fn.batch_shape):
            values = self._transport(site, fn, law, value, primary)
            value = self._take(values, 0, site.event_dim)
            self._pending[site.name] = (values, -1)
        else:
            self._pending[site.name] = (fn, 0)
        record = point_law(value, site.event_dim)
        msg.update(fn=record, value=value, is_observed=True)

    # -- after the value is known -------------------------------------------------------------

    def _pyro_post_sample(self, msg: Any) -> None:
        name = msg["name"]
        if name not in self._pending:
            return
        site = self.structure.sites[name]
        fn, primary = self._pending.pop(name)
        value = msg["value"]
        if not site.is_unit:
            self.values[name] = value
            return
        emitted: set[int] = set()
        if primary == -1:  # all worlds are known already
            values = fn
            emitted = {w for w in range(1, self._size) if self._copy(site, w) in self._evidence}
        elif self._is_branched(fn.batch_shape):
            coupling = self._coupling(site, fn)
            if not coupling.is_deterministic and self._is_explicit(site):
                values = self._sample_copies(site, coupling, fn, value)
                emitted = set(range(1, self._size))
            else:
                values = self._transport(site, fn, msg["fn"], value, 0)
        else:
            values = value
        if name in self._interventions:
            values = self._intervene(site, fn, values, emitted)
        msg["value"] = self.values[name] = values
        if self._emit:
            self._report_copies(site, values, emitted)

    def _transport(
        self, site: Site, fn: Any, law: Any, value: torch.Tensor, primary: int
    ) -> torch.Tensor:
        """Carry a value from the primary world to all worlds by the shared noise."""
        coupling = self._coupling(site, fn)
        event_dim = site.event_dim
        has_draws = value.dim() - event_dim > -self.axis - 1
        value_here = value if has_draws else self._lift(value, event_dim)
        if isinstance(unwrap(law).base, BatchSlice):
            values = self._transport_whole(coupling, fn, value_here, event_dim, primary)
        else:
            values = coupling.transport(value_here, law, fn)
        if values.shape[self.axis - event_dim] != self._size:
            raise AssertionError("transport lost the world axis")
        values = values.clone() if values._is_view() or values is value_here else values
        # the primary world's value is exact, not a rounded round trip through the noise
        values.narrow(self.axis - event_dim, primary, 1).copy_(value_here)
        return values

    def _transport_whole(
        self, coupling: Coupling, fn: Any, value: torch.Tensor, event_dim: int, primary: int
    ) -> torch.Tensor:
        """Abduct in all worlds at once, where one world's law cannot be taken out of the batch."""
        values = fn.sample()  # any possible value: only the primary world's noise is used
        shape = broadcast_shapes(values.shape, value.shape)
        values = values.expand(shape).clone()
        slot = values.narrow(self.axis - event_dim, primary, 1)
        slot.copy_(value.expand(slot.shape))
        noise = coupling.abduct(values, fn)
        dim = self.axis - len(coupling.noise_event_shape(fn))
        return coupling.push(noise.narrow(dim, primary, 1), fn)

    def _sample_copies(
        self, site: Site, coupling: Coupling, fn: Any, value: torch.Tensor
    ) -> torch.Tensor:
        """Give each world's copy of a discrete site its exact conditional law."""
        laws = [self._world_law(fn, w) for w in range(self._size)]
        known_values, known_laws = [value], [laws[0]]
        copies: list[torch.Tensor | None] = [value] + [None] * (self._size - 1)
        acted = {w for w, _ in self._interventions.get(site.name, ())}
        free = [w for w in range(1, self._size) if w not in acted]
        if len(free) > 1 and not coupling.is_chained:
            return self._sample_by_auxiliary_noise(site, coupling, fn, value, laws[0], free)
        for w in range(1, self._size):
            law = coupling.conditional_law_many(known_values, known_laws, laws[w])
            if w in acted:  # its own value never shows, so it needs no site
                copies[w] = value
                continue
            copy = pyro.sample(self._copy(site, w), law)
            copies[w] = copy
            known_values.append(copy)
            known_laws.append(laws[w])
        return self._stack(site, copies)

    def _sample_by_auxiliary_noise(
        self,
        site: Site,
        coupling: Coupling,
        fn: Any,
        value: torch.Tensor,
        law: Any,
        free: list[int],
    ) -> torch.Tensor:
        seen = [self._copy(site, w) for w in free if self._copy(site, w) in self._evidence]
        if seen:
            raise ProgramError(
                f"{', '.join(seen)}: evidence in one of several other worlds has no closed law "
                f"under the {coupling.name} coupling; use one other world, or "
                f"couplings={{{site.name!r}: Quantile()}}"
            )
        noise = pyro.sample(f"{site.name}@noise", coupling.posterior_noise(value, law))
        values = coupling.push(noise, fn)
        for w in free:
            copy = self._take(values, w, site.event_dim)
            pyro.deterministic(self._copy(site, w), copy, event_dim=site.event_dim)
        return values

    def _intervene(
        self, site: Site, fn: Any, values: torch.Tensor, emitted: set[int]
    ) -> torch.Tensor:
        event_dim = site.event_dim
        spread = self._lift(values, event_dim)
        shape = list(spread.shape)
        shape[self.axis - event_dim] = self._size
        result = spread.expand(shape).clone()
        for w, intervention in self._interventions[site.name]:
            slot = self._slot(result, w, event_dim)
            new = self._new_value(site, fn, intervention, result, slot, w)
            key = self._copy(site, w)
            evidence = pending_evidence(key) if key in self._evidence else None
            if evidence is not None and bool(torch.ne(new, evidence).any()):
                raise ImpossibleEvidenceError(
                    f"the evidence on {key} differs from the value that the intervention gives it; "
                    "leave it out, or put it on the factual site"
                )
            if new.dtype != result.dtype and new.is_floating_point():
                result = result.to(new.dtype)
                slot = self._slot(result, w, event_dim)
            slot.copy_(new)
            emitted.discard(w)
        return result

    def _new_value(
        self,
        site: Site,
        fn: Any,
        intervention: Any,
        values: torch.Tensor,
        natural: torch.Tensor,
        w: int,
    ) -> torch.Tensor:
        if isinstance(intervention, World):
            source = self.worlds.index(intervention.name) + 1 if intervention.name else 0
            return self._slot(values, source, site.event_dim)
        kept = natural.clone()
        target = site_target(
            site.name,
            fn,
            natural.shape,
            site.event_dim,
            lambda: kept,
            lambda name: self._value_in(name, w),
        )
        value = intervened_value(intervention, target)
        if isinstance(value, Distribution):
            value = self._draw(site, w, value)
        return value

    def _draw(self, site: Site, w: int, law: Any) -> torch.Tensor:
        """Draw an intervention's value as a site of its own, with its density."""
        name = f"{site.name}@{self.worlds[w - 1]}"
        if self._emit:
            # reported under the copy's name, which the deterministic report then leaves out
            self._drawn.add(name)
            value: torch.Tensor = pyro.sample(name, law)
            return value
        drawn: torch.Tensor = law.sample()
        return drawn

    @property
    def _drawn(self) -> set[str]:
        return self.__dict__.setdefault("_drawn_names", set())

    def _report_copies(self, site: Site, values: torch.Tensor, emitted: set[int]) -> None:
        for w in range(1, self._size):
            name = self._copy(site, w)
            if w in emitted:
                continue
            if name in self._drawn:
                self._drawn.discard(name)
                continue
            value = self._take(values, w, site.event_dim)
            record = point_law(value, site.event_dim)
            pyro.sample(name, record, obs=value, infer={"_deterministic": True})

    # -- shapes ---------------------------------------------------------------------------------

    def _is_branched(self, batch_shape: tuple[int, ...] | torch.Size) -> bool:
        if self._size == 1:
            return False
        return len(batch_shape) >= -self.axis and batch_shape[self.axis] == self._size

    def _world_law(self, fn: Any, w: int) -> Any:
        keepdim = len(fn.batch_shape) > -self.axis
        return slice_batch(fn, self.axis, w, keepdim=keepdim)

    def _take(self, values: torch.Tensor, w: int, event_dim: int) -> torch.Tensor:
        return take_world(values, self.axis, w, event_dim, self._size)

    def _slot(self, values: torch.Tensor, w: int, event_dim: int) -> torch.Tensor:
        return values.narrow(self.axis - event_dim, w, 1)

    def _lift(self, value: torch.Tensor, event_dim: int) -> torch.Tensor:
        """Give a value all plate dimensions and a world axis of size 1."""
        missing = -self.axis + event_dim - value.dim()
        return value.reshape((1,) * missing + value.shape) if missing > 0 else value

    def _stack(self, site: Site, copies: list[Any]) -> torch.Tensor:
        lifted = [self._lift(copy, site.event_dim) for copy in copies]
        shape = broadcast_shapes(*(copy.shape for copy in lifted))
        return torch.cat([copy.expand(shape) for copy in lifted], self.axis - site.event_dim)

    def _value_in(self, name: str, w: int) -> torch.Tensor:
        value = earlier(self.values, name)
        event_dim = self.structure.sites[name].event_dim
        if self._is_branched(value.shape[: value.dim() - event_dim]):
            return self._slot(value, w, event_dim)
        return self._lift(value, event_dim)

    def _copy(self, site: Site, w: int) -> str:
        return f"{site.name}@{self.worlds[w - 1]}"

    def _is_copy(self, key: str) -> bool:
        name, world = split_world(key, self.structure.sites)
        return world in self.worlds and name in self.structure.unit_sites

    def _is_explicit(self, site: Site) -> bool:
        return self._explicit or bool(self._evidence)

    def _coupling(self, site: Site, fn: Any) -> Coupling:
        return coupling_for(fn, self._couplings.get(site.name))


def take_world(
    values: torch.Tensor, axis: int, index: int, event_dim: int, size: int
) -> torch.Tensor:
    """Return one world's values; the axis is dropped unless a draw axis lies to its left."""
    dim = axis - event_dim
    if values.dim() < -dim or values.shape[dim] != size:
        return values
    if values.dim() == -dim:
        return values.select(dim, index)
    return values.narrow(dim, index, 1)


def _evidence_in_other_worlds() -> frozenset[str]:
    """Return the names with a world mark that active conditioning handlers hold."""
    found: set[str] = set()
    for frame in _PYRO_STACK:
        if isinstance(frame, ConditionMessenger):
            data: Any = frame.data
            names = data.nodes if hasattr(data, "nodes") else data
            found.update(
                name for name in names if "@" in name and not name.endswith(("@natural", "@noise"))
            )
    return frozenset(found)
