"""Run a model's worlds on given factual values: the step from posterior draws to predictions."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import pyro
import torch
from pyro.poutine.messenger import Messenger

from causalppl.exceptions import CausalPPLError
from causalppl.programs.broadcasting import is_same_at_once
from causalppl.programs.interventions import Interventions, Shift
from causalppl.programs.replay import replay_worlds
from causalppl.programs.scm import SCM, Given
from causalppl.programs.structure import Site, Structure
from causalppl.programs.world_specs import split_world
from causalppl.programs.worlds import WorldsMessenger
from causalppl.seeding import forked_rng
from causalppl.typing import Values

_PROBE_UNITS = 3
_PROBE_DRAWS = 2


class Simulation:
    """Values of all worlds, by key (``"Y"``, ``"Y@x0"``).

    Args:
        values: ``"Y"`` or ``"Y@x0"`` to tensor, shape ``(num_draws, num_units, *plates, *event)``.

    Attributes:
        num_draws: Size of the draw axis.
        num_units: Number of units.
        log_densities: Site to the log density of its factual value, ``(num_draws, num_units)``,
            for the sites that were asked for.

    Example:
        >>> Simulation({"Y": torch.zeros(1, 3)}, num_draws=1, num_units=3)["Y"].shape
        torch.Size([1, 3])
    """

    def __init__(
        self,
        values: Mapping[str, torch.Tensor],
        num_draws: int,
        num_units: int,
        log_densities: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        self._values = values
        self.log_densities = dict(log_densities or {})
        self.num_draws, self.num_units = num_draws, num_units

    def __getitem__(self, key: str) -> torch.Tensor:
        """Return a site's values, shape ``(num_draws, num_units, *plates, *event)``."""
        return self._values[key]


def simulate(
    scm: SCM,
    num_units: int,
    keys: tuple[str, ...],
    *,
    worlds: Mapping[str, Interventions] | None = None,
    given: Values | None = None,
    num_draws: int | None = None,
    densities: tuple[str, ...] = (),
) -> Simulation:
    """Run the model forward in all worlds, with factual values given for some sites.

    The noise of a given site is abducted exactly from its value, so it is shared with the other
    worlds; that of the others is drawn.

    Args:
        scm: The model; its parameter draws, if any, make the draw axis.
        num_units: Number of units.
        keys: What to return: ``"Y"`` or ``"Y@x0"``.
        worlds: World name to interventions.
        given: Unit site to values, shape ``(num_units, *event)``, or with a draw axis,
            ``(num_draws, num_units, *event)``; parameters, ``(num_draws, *event)``.
        num_draws: Size of the draw axis; None: as the parameters say, else 1.
        densities: Sample sites whose factual log densities are wanted as well.

    Returns:
        A `Simulation`. Random; fork the generator around it for repeatable results.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def program():
        ...     x = pyro.sample("X", dist.Normal(0.0, 1.0))
        ...     return pyro.sample("Y", dist.Normal(2 * x, 1.0))
        >>> seen = {"X": torch.tensor([1.0]), "Y": torch.tensor([3.0])}
        >>> simulate(SCM(program), 1, ("Y@x0",), worlds={"x0": {"X": 0.0}}, given=seen)["Y@x0"]
        tensor([[1.]])
    """
    run = _Run(scm, num_units, dict(worlds or {}), dict(given or {}), num_draws)
    return run(keys, densities)


class _Run:
    """One call of `simulate`, by the fastest way that the program allows."""

    def __init__(
        self,
        scm: SCM,
        num_units: int,
        worlds: dict[str, Interventions],
        given: dict[str, torch.Tensor],
        num_draws: int | None,
    ) -> None:
        self.scm, self.num_units, self.worlds = scm, num_units, worlds
        self.given = {**scm.parameters, **given}
        sizes = [len(draws) for name, draws in self.given.items() if self._has_draws(name, draws)]
        self.num_draws = num_draws or max(sizes, default=1)
        self.has_draws = bool(sizes) or self.num_draws > 1

    def __call__(self, keys: tuple[str, ...], densities: tuple[str, ...]) -> Simulation:
        # Pyro's validation stays on: a negative scale in some world is an error, not a number
        with self.scm.running(), torch.no_grad():
            is_batched = self._can_broadcast()
            way = self._batched if is_batched else self._one_by_one
            self.scm._simulated_one_by_one += not is_batched
            if not densities:
                return Simulation(way(keys), self.num_draws, self.num_units)
            values, found = self._with_densities(way, keys, frozenset(densities))
        return Simulation(values, self.num_draws, self.num_units, found)

    # -- all at once ----------------------------------------------------------------------------

    def _batched(self, keys: tuple[str, ...]) -> dict[str, torch.Tensor]:
        structure = self.scm.structure
        handler = WorldsMessenger(
            structure, self.worlds, self.scm.couplings, explicit=False, emit=False
        )
        given = {name: self._with_axes(name, value) for name, value in self.given.items()}
        with Given(given), handler, self._draws_plate():
            self.scm.program(self.num_units)
        result = handler.result()
        sites = structure.sites
        named = {key: sites[split_world(key, sites)[0]] for key in keys}
        return {k: self._arranged(site, result[k], site.event_dim) for k, site in named.items()}

    def _draws_plate(self) -> Any:
        """Draw what is not given anew for each draw."""
        if self.num_draws == 1:
            return nullcontext()
        dim = -(self.scm.structure.plate_nesting + 2)
        return pyro.plate("_draws", self.num_draws, dim=dim)

    def _with_axes(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """Put a given value's draw axis to the left of the world axis."""
        if not self.has_draws or not self._has_draws(name, value):
            return value
        site = self.scm.structure.sites[name]
        batch_dims = value.dim() - site.event_dim - 1
        missing = self.scm.structure.plate_nesting + 1 - batch_dims
        return value.reshape(value.shape[:1] + (1,) * missing + value.shape[1:])

    def _arranged(self, site: Site, value: torch.Tensor, event_dim: int) -> torch.Tensor:
        """Bring a value to the shape ``(draws, units, *plates, *event)``."""
        structure = self.scm.structure
        plates = structure.plate_nesting
        missing = plates + 2 + event_dim - value.dim()
        if missing == 0:  # draws, then a world axis of size 1
            value = value.squeeze(1)
        else:
            value = value.reshape((1,) * (missing - 1) + value.shape)
        assert structure.units_dim is not None
        units = structure.units_dim - event_dim
        shape = list(value.shape)
        shape[0], shape[units] = self.num_draws, self.num_units
        value = value.expand(shape).movedim(units, 1)
        if len(site.plates) == plates:
            return value
        return value.squeeze([d for d in range(2, 1 + plates) if value.shape[d] == 1])

    # -- one draw and one world after the other -----------------------------------------------

    def _one_by_one(self, keys: tuple[str, ...]) -> dict[str, torch.Tensor]:
        structure = self.scm.structure
        collected: dict[str, list[torch.Tensor]] = {key: [] for key in keys}
        index = {world: w for w, world in enumerate(self.worlds, 1)}
        for d in range(self.num_draws):
            given = {
                name: value[d] if self._has_draws(name, value) else value
                for name, value in self.given.items()
            }
            with Given(given):
                values = replay_worlds(
                    self.scm.program,
                    (self.num_units,),
                    {},
                    structure,
                    self.worlds,
                    self.scm.couplings,
                )
            for key in keys:
                name, world = split_world(key, structure.sites)
                value = values[name][index.get(world, 0)]
                collected[key].append(self._one_arranged(value, structure.sites[name].event_dim))
        return {key: torch.stack(values) for key, values in collected.items()}

    def _one_arranged(self, value: torch.Tensor, event_dim: int) -> torch.Tensor:
        units = self.scm.structure.units_dim
        assert units is not None
        units -= event_dim
        if value.dim() < -units:
            value = value.reshape((1,) * (-units - value.dim()) + value.shape)
        shape = list(value.shape)
        shape[units] = self.num_units
        return value.expand(shape).movedim(units, 0)

    # -- which of the two -----------------------------------------------------------------------

    def _has_draws(self, name: str, value: torch.Tensor) -> bool:
        site = self.scm.structure.sites[name]
        return not site.is_unit or value.dim() - site.event_dim > len(site.plates)

    def _can_broadcast(self) -> bool:
        """Compare both ways on a few units, once for each set of intervened sites."""
        if not self.worlds and not self.has_draws:
            return True
        acted = frozenset(name for changes in self.worlds.values() for name in changes)
        key = (acted, len(self.worlds) > 1, self.has_draws)
        if key not in self.scm._can_broadcast:
            self.scm._can_broadcast[key] = self._probe()
        return self.scm._can_broadcast[key]

    def _probe(self) -> bool:
        few = self._few_units_run()
        structure = self.scm.structure
        sites = tuple(name for name in structure.unit_sites if not name.endswith("@natural"))
        keys = tuple(f"{name}@{world}" for name in sites for world in few.worlds) or sites
        try:
            with forked_rng(0):
                factual = few._one_by_one(sites)
            few.given.update(
                {name: value for name, value in factual.items() if self._can_be_given(name)}
            )
            few.worlds = {
                world: {**few._pins(factual), **changes} for world, changes in few.worlds.items()
            }
            slow = few._all_values(few._one_by_one, keys)
        except CausalPPLError:
            raise
        except Exception:  # it cannot run for a few units at all: the plain way is the safe one
            return False
        return is_same_at_once(slow, lambda: few._all_values(few._batched, keys), tolerance=1e-5)

    def _all_values(
        self, run: Callable[[tuple[str, ...]], dict[str, torch.Tensor]], keys: tuple[str, ...]
    ) -> dict[str, torch.Tensor]:
        """Run, and return values and log densities together."""
        values, densities = self._with_densities(run, keys)
        return {**values, **{f"log_prob {name}": value for name, value in densities.items()}}

    def _with_densities(
        self,
        run: Callable[[tuple[str, ...]], dict[str, torch.Tensor]],
        keys: tuple[str, ...],
        names: frozenset[str] | None = None,
    ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Run, and read the log densities of the factual values (they tell of the parameters)."""
        reader = _DensityReader(self.scm.structure, names)
        with reader:
            values = run(keys)
        densities = {}
        for name, found in reader.found.items():
            if run == self._batched:
                density = self._arranged(self.scm.structure.sites[name], found[0], 0)
            else:
                density = torch.stack([self._one_arranged(one, 0) for one in found])
            if density.dim() > 2:  # plates inside the unit
                density = density.flatten(2).sum(2)
            densities[name] = density
        return values, densities

    def _few_units_run(self) -> "_Run":
        few = _Run(
            self.scm,
            min(_PROBE_UNITS, self.num_units),
            {world: self._few(changes) for world, changes in self.worlds.items()},
            {name: self._few_units(name, value) for name, value in self.given.items()},
            None,
        )
        few.has_draws = self.has_draws
        few.num_draws = min(self.num_draws, _PROBE_DRAWS) if self.has_draws else 1
        return few

    def _can_be_given(self, name: str) -> bool:
        site = self.scm.structure.sites[name]
        return site.kind == "sample" and len(site.plates) == 1

    def _pins(self, factual: Values) -> dict[str, Any]:
        """Set the discrete sites, whose noise would be drawn anew by each of the two ways."""
        sites = self.scm.structure.sites
        return {
            name: value[0].roll(1, 0)
            for name, value in factual.items()
            if sites[name].is_discrete and self._can_be_given(name)
        }

    def _few(self, interventions: Interventions) -> dict[str, Any]:
        return {name: self._few_of(value) for name, value in interventions.items()}

    def _few_of(self, value: Any) -> Any:
        if isinstance(value, Shift):
            return Shift(self._few_of(value.by))
        if isinstance(value, torch.Tensor) and self.num_units in value.shape:
            dim = value.shape.index(self.num_units)
            return value.narrow(dim, 0, min(_PROBE_UNITS, self.num_units))
        return value

    def _few_units(self, name: str, value: torch.Tensor) -> torch.Tensor:
        site = self.scm.structure.sites[name]
        if self._has_draws(name, value):
            value = value[:_PROBE_DRAWS]
        if site.is_unit:
            dim = (self.scm.structure.units_dim or -1) - site.event_dim
            if value.dim() >= -dim and value.shape[dim] == self.num_units:
                value = value.narrow(dim, 0, min(_PROBE_UNITS, self.num_units))
        return value


class _DensityReader(Messenger):
    """Collect the log densities of unit sample sites, one entry per run."""

    def __init__(self, structure: Structure, names: frozenset[str] | None = None) -> None:
        super().__init__()
        self._structure, self._names = structure, names
        self.found: dict[str, list[torch.Tensor]] = {}

    def _pyro_post_sample(self, msg: Any) -> None:
        site = self._structure.sites.get(msg["name"])
        if self._names is not None and msg["name"] not in self._names:
            return
        if site is not None and site.is_unit and site.kind == "sample":
            density = _log_density(msg["fn"], msg["value"])
            self.found.setdefault(site.name, []).append(density)


def _log_density(fn: Any, value: torch.Tensor) -> torch.Tensor:
    """Log density, minus infinity outside the support (where validation would raise instead)."""
    inner = fn
    while inner is not None:
        inner._validate_args = False
        inner = getattr(inner, "base_dist", None)
    density: torch.Tensor = fn.log_prob(value)
    return torch.where(fn.support.check(value), density, -torch.inf)
