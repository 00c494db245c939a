"""The latents of a program given evidence: what every approximate engine has to infer.

A counterfactual needs no rejection: infer the latents of the evidence program, then abduct each
site's noise from its factual value and predict (Pearl 2009, section 7.1). The evidence program is
the model itself where all evidence is factual, and the twin program where some of it sits in
another world. `Latents` gives its density in unconstrained space, one number per unit, with a
*row* axis to the left of all plates. A row is one draw of everything; each row knows which
parameter draw it belongs to, so one call serves all parameter draws.
"""

import math
import sys
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import opt_einsum
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import infer_discrete
from pyro.ops.contract import contract_to_tensor
from pyro.ops.rings import LogRing
from pyro.poutine.enum_messenger import EnumMessenger
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import biject_to, constraints

from causalppl.exceptions import CausalPPLError, ImpossibleEvidenceError, ProgramError
from causalppl.inference.engine import Answer, Problem
from causalppl.inference.laws import CHUNK
from causalppl.programs.interventions import World
from causalppl.programs.scm import Given
from causalppl.programs.simulate import simulate
from causalppl.programs.structure import UNITS, is_delta, unwrap
from causalppl.programs.worlds import TwinWorlds
from causalppl.typing import Values

ROWS = "_rows"
"""The plate of the row axis."""

MAX_DISCRETE = 20
"""Discrete latents that are summed out together: each takes a tensor dimension."""


@dataclass(frozen=True)
class LatentSite:
    """One sample site to be inferred.

    Attributes:
        name: Its name in the evidence program.
        is_unit: One value per unit; otherwise a parameter that all units share.
        is_discrete: Whether its values are discrete.
        batch_shape: Plate dimensions in the program, without the row axis.
        event_shape: Shape of one value.
        free_shape: Shape of one value in unconstrained space.
        units_dim: Where the units stand in ``batch_shape``, counted from the right.
        is_static: Its support does not depend on other sites.
        like: An example value, for dtype and device.
        law: The distribution in the traced run.
    """

    name: str
    is_unit: bool
    is_discrete: bool
    batch_shape: tuple[int, ...]
    event_shape: tuple[int, ...]
    free_shape: tuple[int, ...]
    units_dim: int
    is_static: bool
    like: Tensor
    law: Any

    @property
    def size(self) -> int:
        """Unconstrained numbers for one unit (or in all, for a parameter)."""
        batch = math.prod(self.batch_shape)
        units = self.batch_shape[self.units_dim] if self.is_unit else 1
        return batch // units * math.prod(self.free_shape)

    def to_program(self, flat: Tensor) -> Tensor:
        """Turn ``(rows, units, size)``, or ``(rows, size)``, into ``(rows, *batch, *free)``."""
        flat = flat.to(self.like.dtype if self.like.is_floating_point() else flat.dtype)
        if not self.is_unit:
            return flat.reshape(flat.shape[:1] + self.batch_shape + self.free_shape)
        inner = list(self.batch_shape)
        del inner[self.units_dim]
        value = flat.reshape(*flat.shape[:2], *inner, *self.free_shape)
        return value.movedim(1, self.units_dim - len(self.free_shape))

    def to_flat(self, value: Tensor) -> Tensor:
        """Invert `to_program`."""
        if not self.is_unit:
            return value.reshape(len(value), -1)
        value = value.movedim(self.units_dim - len(self.free_shape), 1)
        return value.reshape(*value.shape[:2], -1)

    def to_units(self, value: Tensor) -> Tensor:
        """Turn ``(rows, *batch, *event)`` into ``(rows, units, *plates, *event)``."""
        return value.movedim(self.units_dim - len(self.event_shape), 1)


class Latents:
    """The evidence program of a problem, with its latents; see the module's text.

    Args:
        problem: What is asked; no evidence on deterministic sites.

    Attributes:
        sites: All latents, in the order in which they run.

    Raises:
        ImpossibleEvidenceError: A value lies outside its site's support whatever the latents are,
            or has probability zero.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem, self.scm = problem, problem.scm
        self.structure = problem.scm.structure
        assert self.structure.units_dim is not None
        self.units_dim: int = self.structure.units_dim
        self.nesting = self.structure.plate_nesting
        self.num_parameter_draws = problem.num_parameter_draws
        evidence_worlds = [world for key in problem.evidence if (world := problem.split(key)[1])]
        self._evidence_worlds = self._closure(evidence_worlds)
        self.is_twin = bool(evidence_worlds)
        keys = (*problem.targets, *(event.key for event in problem.events))
        self.keys = tuple(dict.fromkeys(keys))
        asked = [world for key in self.keys if (world := problem.split(key)[1])]
        # worlds with evidence come first: the law of a copy in a later world follows from them
        order = dict.fromkeys((*self._evidence_worlds, *self._closure(asked)))
        self.worlds = {world: problem.worlds[world] for world in order}
        self.evidence = {
            key: self._from_units_first(problem.split(key)[0], value)
            for key, value in problem.evidence.items()
        }
        self._program = self._evidence_program()
        self._prediction = self._twin(self.worlds) if self.is_twin else None
        self._relevant: dict[str, bool] | None = None
        with self.active():
            self._read()

    # -- what there is to infer --------------------------------------------------------------

    @property
    def continuous(self) -> tuple[LatentSite, ...]:
        """The continuous latents with one value per unit."""
        return tuple(s for s in self.sites if s.is_unit and not s.is_discrete)

    @property
    def discrete(self) -> tuple[LatentSite, ...]:
        """The discrete latents with one value per unit."""
        return tuple(s for s in self.sites if s.is_unit and s.is_discrete)

    @property
    def shared(self) -> tuple[LatentSite, ...]:
        """The parameters without draws."""
        return tuple(s for s in self.sites if not s.is_unit)

    @property
    def unit_size(self) -> int:
        """Unconstrained numbers of one unit."""
        return sum(site.size for site in self.continuous)

    @property
    def shared_size(self) -> int:
        """Unconstrained numbers of the parameters without draws."""
        return sum(site.size for site in self.shared)

    @property
    def like(self) -> Tensor:
        """A tensor with the dtype and device of the unconstrained numbers."""
        floats = [s.like for s in self.sites if s.like.is_floating_point()]
        dtype = torch.get_default_dtype()
        if floats:
            dtype = floats[0].dtype
            for value in floats[1:]:
                dtype = torch.promote_types(dtype, value.dtype)
        device = self.sites[0].like.device if self.sites else None
        return torch.empty(0, dtype=dtype, device=device)

    def parameter_index(self, num_draws: int) -> Tensor:
        """Return the parameter draw of each row, for ``num_draws`` rows for each of them."""
        return torch.arange(self.num_parameter_draws).repeat_interleave(num_draws)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Enter once around many calls: learned parameters in, checks of values off."""
        with self.scm.running(), pyro.validation_enabled(False):
            yield

    # -- density -----------------------------------------------------------------------------

    def log_density(
        self,
        index: Tensor,
        unit: Tensor,
        shared: Tensor | None = None,
        discrete: Values | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the log joint density of latents and evidence, discrete latents summed out.

        Args:
            index: Parameter draw of each row, shape ``(rows,)``.
            unit: Unconstrained latents, shape ``(rows, units, unit_size)``.
            shared: Unconstrained parameters, shape ``(rows, shared_size)``.
            discrete: Values of the discrete latents, ``(rows, *batch, *event)``; they are then
                taken as given instead.

        Returns:
            Each unit's log density, shape ``(rows, units)``, and that of the shared parameters,
            shape ``(rows,)``; the log Jacobians of the maps to unconstrained space are included.
        """
        rows = len(index)
        if rows > 1 and not torch.is_grad_enabled():
            step = max(1, CHUNK // max(1, self.problem.num_units * (1 + len(self.sites))))
            if step < rows:
                cut = [slice(i, i + step) for i in range(0, rows, step)]
                return _concatenate(
                    self._log_density(*self._rows(piece, index, unit, shared, discrete))
                    for piece in cut
                )
        return self._log_density(index, unit, shared, discrete)

    def _log_density(
        self, index: Tensor, unit: Tensor, shared: Tensor | None, discrete: Values | None
    ) -> tuple[Tensor, Tensor]:
        if len(index) > 1 and not self.can_broadcast:
            pieces = [
                self._log_density(*self._rows(slice(i, i + 1), index, unit, shared, discrete))
                for i in range(len(index))
            ]
            return _concatenate(pieces)
        latents = self._free_values(unit, shared)
        trace = self._traced(index, latents, discrete)
        return self._per_unit(trace, len(index), latents.log_jacobians)

    def log_joint(self, index: Tensor, values: Values) -> tuple[Tensor, Tensor]:
        """Return the log joint density as `log_density` does, but of constrained values.

        Args:
            index: Parameter draw of each row.
            values: Latent to values, shape ``(rows, *batch, *event)``; discrete latents that are
                not among them are summed out.
        """
        parts = []
        for rows in self._pieces(len(index)):
            some = index[rows]
            given = {
                site.name: self._placed(values[site.name][rows], site.event_shape)
                for site in self.sites
                if site.name in values
            }
            free = self._discrete_names - set(values)
            trace = self._run(some, Given(given), free)
            parts.append(self._per_unit(trace, len(some), {}))
        return _concatenate(parts)

    def constrain(self, index: Tensor, unit: Tensor, shared: Tensor | None = None) -> Values:
        """Return the continuous latents' values, ``(rows, *batch, *event)``, from the free ones."""
        free = self._free_values(unit, shared, has_axis=True).free
        sites = {site.name: site for site in self.sites if not site.is_discrete}
        if all(site.is_static for site in sites.values()):
            return {
                name: biject_to(site.law.support)(_without_axis(free[name], self.nesting, site))
                for name, site in sites.items()
            }
        values = []
        for rows in self._pieces(len(index)):
            some, u, s, _ = self._rows(rows, index, unit, shared, None)
            trace = self._traced(some, self._free_values(u, s), None, is_scored=False)
            values.append({name: self._recorded(trace, sites[name], len(some)) for name in sites})
        return {name: torch.cat([value[name] for value in values]) for name in sites}

    def sample_discrete(
        self, index: Tensor, unit: Tensor, shared: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Draw the discrete latents from their exact law given the continuous ones, by row.

        References:
            Obermeyer et al. (2019), Tensor variable elimination for plated factor graphs.
        """
        if not self.discrete:
            return {}
        return self.discrete_given(index, self.constrain(index, unit, shared))

    def discrete_given(self, index: Tensor, values: Values) -> dict[str, Tensor]:
        """Draw the discrete latents that are not among some constrained values, given these."""
        names = self._discrete_names - set(values)
        sites = [site for site in self.discrete if site.name in names]
        self.check_enumerable()
        parts = []
        for rows in self._pieces(len(index)):
            given = {
                site.name: self._placed(values[site.name][rows], site.event_shape)
                for site in self.sites
                if site.name in values
            }
            model = self.model(index[rows], [Given(given), Enumerated(names)])
            first = -(self.nesting + 3)
            drawn = infer_discrete(model, first, temperature=1, strict_enumeration_warning=False)
            with torch.no_grad():
                trace = pyro.poutine.trace(drawn).get_trace()
            size = len(index[rows])
            parts.append({site.name: self._recorded(trace, site, size) for site in sites})
        return {name: torch.cat([part[name] for part in parts]) for name in names}

    # -- draws from the prior ----------------------------------------------------------------

    def prior_draws(self, index: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Draw the latents from the evidence program, the evidence not weighed.

        Returns:
            Unconstrained unit latents, shared ones, and values of the discrete ones.
        """
        parts = []
        with torch.no_grad():
            for rows in self._pieces(len(index)):
                trace = pyro.poutine.trace(self.model(index[rows], [])).get_trace()
                parts.append(self._free_from(trace, len(index[rows])))
        unit, shared, discrete = zip(*parts, strict=True)
        names = [site.name for site in self.discrete]
        return (
            torch.cat(unit),
            torch.cat(shared),
            {name: torch.cat([values[name] for values in discrete]) for name in names},
        )

    def _free_from(self, trace: Any, rows: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        like = self.like
        flat: dict[bool, list[Tensor]] = {True: [], False: []}
        for site in self.sites:
            if not site.is_discrete:
                node = trace.nodes[site.name]
                free = biject_to(node["fn"].support).inv(node["value"])
                free = self._rows_first(free, site.batch_shape, site.free_shape, rows)
                flat[site.is_unit].append(site.to_flat(free).to(like))
        unit = like.new_zeros(rows, self.problem.num_units, 0)
        shared = like.new_zeros(rows, 0)
        discrete = {s.name: self._recorded(trace, s, rows) for s in self.discrete}
        return torch.cat([unit, *flat[True]], -1), torch.cat([shared, *flat[False]], -1), discrete

    def joint_draws(self, index: Tensor) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Draw latents and evidence together from the program, with no evidence put in.

        Returns:
            Unconstrained unit latents ``(rows, units, unit_size)``, values of the discrete ones,
            ``(rows, *batch, *event)``, and of the evidence, ``(rows, units, *event)``.
        """
        parts = []
        with torch.no_grad():
            for rows in self._pieces(len(index)):
                size = len(index[rows])
                model = self.model(index[rows], [], is_hiding=False, is_conditioned=False)
                trace = pyro.poutine.trace(model).get_trace()
                unit, _, discrete = self._free_from(trace, size)
                seen = {
                    key: self._units_first(key, trace.nodes[key]["value"], size)
                    for key in self.evidence
                }
                parts.append((unit, discrete, seen))
        unit = torch.cat([part[0] for part in parts])
        names = [site.name for site in self.discrete]
        return (
            unit,
            {name: torch.cat([part[1][name] for part in parts]) for name in names},
            {key: torch.cat([part[2][key] for part in parts]) for key in self.evidence},
        )

    def weighed_draws(
        self, index: Tensor, guide: Any = None
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Draw the latents from the prior, or from a guide, and weigh them by the evidence.

        Args:
            index: Parameter draw of each row.
            guide: A function of the number of units that draws some latents; None: none.

        Returns:
            Constrained values of all latents, and log weights of the units, ``(rows, units)``, and
            of what they share, ``(rows,)``.
        """
        values: list[dict[str, Tensor]] = []
        weights = []
        with torch.no_grad():
            for rows in self._pieces(len(index)):
                size = len(index[rows])
                handlers: list[Messenger] = []
                log_q = None
                if guide is not None:
                    drawn, log_q = self._guide_draws(guide, size)
                    handlers.append(Given(drawn))
                trace = pyro.poutine.trace(self.model(index[rows], handlers)).get_trace()
                trace.compute_log_prob(lambda _, site: site["is_observed"])
                log_p = self._per_unit(trace, size, {})
                if log_q is not None:
                    log_p = (log_p[0] - log_q[0], log_p[1] - log_q[1])
                values.append({s.name: self._recorded(trace, s, size) for s in self.sites})
                weights.append(log_p)
        unit, shared = _concatenate(weights)
        return {s.name: torch.cat([v[s.name] for v in values]) for s in self.sites}, unit, shared

    def _guide_draws(
        self, guide: Any, rows: int
    ) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor]]:
        with ExitStack() as stack:
            if rows > 1:
                stack.enter_context(pyro.plate(ROWS, rows, dim=-(self.nesting + 2)))
            trace = pyro.poutine.trace(guide).get_trace(self.problem.num_units)
        trace.compute_log_prob()
        drawn = {s.name: trace.nodes[s.name]["value"] for s in self.sites if s.name in trace.nodes}
        return drawn, self._per_unit(trace, rows, {})

    def take(self, values: Values, chosen: Tensor) -> dict[str, Tensor]:
        """Pick draws, for each unit its own.

        Args:
            values: Latent to values, ``(parameter draws * draws, *batch, *event)``.
            chosen: Indices of draws, shape ``(parameter draws, kept, units)``, or with 1 for the
                units where all keep the same ones.

        Returns:
            Latent to values, shape ``(parameter draws * kept, *batch, *event)``.
        """
        draws, kept, _ = chosen.shape
        picked = {}
        for site in self.sites:
            if site.name not in values:
                continue
            value = values[site.name]
            if not site.is_unit:
                value = value.reshape(draws, -1, *value.shape[1:])
                rows = chosen[..., 0].reshape(draws, kept, *(1,) * (value.dim() - 2))
                picked[site.name] = value.gather(
                    1, rows.expand(draws, kept, *value.shape[2:])
                ).flatten(0, 1)
                continue
            units_at = site.units_dim - len(site.event_shape)
            value = value.movedim(units_at, 1)
            value = value.reshape(draws, -1, *value.shape[1:])
            at = chosen.reshape(*chosen.shape, *(1,) * (value.dim() - 3))
            taken = value.gather(1, at.expand(draws, kept, *value.shape[2:]))
            picked[site.name] = taken.flatten(0, 1).movedim(1, units_at)
        return picked

    # -- predictions -------------------------------------------------------------------------

    def answer(
        self, values: Values, num_draws: int, log_weights: Tensor | None = None, **fields: Any
    ) -> Answer:
        """Predict the problem's targets from draws of the latents.

        Args:
            values: Latent to values, shape ``(rows, *batch, *event)``; rows are parameter draws
                times draws.
            num_draws: Draws for each parameter draw.
            log_weights: Shape ``(parameter draws, num_draws, units)``.
            **fields: Further fields of the answer.
        """
        index = self.parameter_index(num_draws)
        width = self.problem.num_units * (1 + len(self.worlds)) * len(self.structure.sites)
        step = max(1, 8 * CHUNK // width)
        predict = self._predict_twin if self.is_twin else self._predict
        pieces = [
            predict(index[i : i + step], {name: v[i : i + step] for name, v in values.items()})
            for i in range(0, len(index), step)
        ]
        draws = {key: torch.cat([piece[key] for piece in pieces]) for key in self.keys}
        shape = (self.num_parameter_draws, num_draws)
        return Answer(
            draws={key: value.reshape(shape + value.shape[1:]) for key, value in draws.items()},
            log_weights=log_weights,
            **fields,
        )

    def _predict(self, index: Tensor, values: Values) -> dict[str, Tensor]:
        parameters = {name: v[index.to(v.device)] for name, v in self.scm.parameters.items()}
        # the noise of discrete evidence is drawn: for each row anew
        seen = {
            name: v.expand((len(index), *v.shape)) if self.structure.sites[name].is_discrete else v
            for name, v in self.evidence.items()
        }
        with torch.no_grad():
            result = simulate(
                self.scm,
                self.problem.num_units,
                self.keys,
                worlds=self.worlds,
                given={**parameters, **seen, **values},
                num_draws=len(index),
            )
        return {key: result[key] for key in self.keys}

    def _predict_twin(self, index: Tensor, values: Values) -> dict[str, Tensor]:
        if len(index) > 1 and not self.can_broadcast:
            pieces = [
                self._predict_twin(index[i : i + 1], {k: v[i : i + 1] for k, v in values.items()})
                for i in range(len(index))
            ]
            return {key: torch.cat([piece[key] for piece in pieces]) for key in self.keys}
        given = {s.name: self._placed(values[s.name], s.event_shape) for s in self.sites}
        with torch.no_grad(), self.active():
            model = self.model(index, [Given(given)], is_hiding=False, program=self._prediction)
            result = model()
        return {key: self._units_first(key, result[key], len(index)) for key in self.keys}

    # -- reading the evidence program --------------------------------------------------------

    def _evidence_program(self) -> Any:
        if not self.is_twin:
            return self.scm.program
        if self._needs_all_worlds():
            return self._twin(self.worlds)
        return self._twin({world: self.worlds[world] for world in self._evidence_worlds})

    def _twin(self, worlds: Mapping[str, Any]) -> TwinWorlds:
        return TwinWorlds(
            self.scm.program, worlds, self.scm.couplings, self.structure, explicit=True
        )

    def _needs_all_worlds(self) -> bool:
        """Whether a site's noise is drawn at once for all worlds, evidence there or not."""
        if len(self.worlds) == len(self._evidence_worlds):
            return False
        bases = {self._split(key)[0] for key in self.evidence}
        return any(
            site.is_discrete and site.kind == "sample" and not self.scm.coupling(name).is_chained
            for name, site in self.structure.sites.items()
            if site.is_unit
            and name in self.structure.ancestors(bases)
            and any(name in self.problem.reached(world) for world in self._evidence_worlds)
        )

    def _read(self) -> None:
        index = torch.zeros(1, dtype=torch.long)
        with torch.no_grad():
            model = self.model(index, [], is_hiding=False)
            trace = pyro.poutine.trace(model).get_trace()
        nodes = {
            name: node
            for name, node in trace.nodes.items()
            if node["type"] == "sample" and not site_is_subsample(node) and not is_delta(node["fn"])
        }
        bases = {name: self._split(name)[0] for name in nodes}
        seen = {
            bases[name]
            for name, node in nodes.items()
            if node["is_observed"] and bases[name] not in self.scm.parameters
        }
        ancestors = self.structure.ancestors(seen)
        self._relevant = {
            name: bases[name] in ancestors
            and bases[name] not in self.scm.parameters
            and self._split(name)[1] in {"", "noise", *self._evidence_worlds}
            for name in nodes
        }
        latent = [
            name for name, node in nodes.items() if self._relevant[name] and not node["is_observed"]
        ]
        self.sites = tuple(self._latent_site(name, nodes[name], set(latent)) for name in latent)
        self._discrete_names = frozenset(site.name for site in self.discrete)
        for name, node in nodes.items():
            if self._relevant[name] and node["is_observed"]:
                self._check_possible(name, node, [bases[other] for other in latent])

    def _latent_site(self, name: str, node: Any, latents: set[str]) -> LatentSite:
        fn, value = node["fn"], node["value"]
        is_unit = any(frame.name == UNITS for frame in node["cond_indep_stack"])
        is_discrete = bool(getattr(fn.support, "is_discrete", False))
        batch = tuple(fn.batch_shape)
        free = tuple(fn.event_shape)
        if not is_discrete:
            free = tuple(biject_to(fn.support).inverse_shape(batch + free)[len(batch) :])
        return LatentSite(
            name,
            is_unit,
            is_discrete,
            batch,
            tuple(fn.event_shape),
            free,
            self.units_dim if is_unit else 0,
            _is_static(fn.support),
            value[(0,) * value.dim()].detach(),
            fn,
        )

    def _check_possible(self, name: str, node: Any, latents: Sequence[str]) -> None:
        """Raise if a unit's evidence cannot happen, where no latent has a say in that."""
        base, _ = self._split(name)
        depends = any(base in self.structure.descendants(latent) for latent in latents)
        fn, value = node["fn"], node["value"]
        if depends and not _is_static(fn.support):
            return
        possible = fn.support.check(value)
        if not depends:
            possible = possible & (fn.log_prob(value) > -math.inf)
        if not bool(possible.all()):
            count = int((~possible).sum())
            raise ImpossibleEvidenceError(
                f"the evidence on {name!r} is impossible for {count} of {possible.numel()} values: "
                f"it has probability zero under {type(unwrap(fn)[0]).__name__}; check the value, "
                "or give the site a mechanism that allows it"
            )

    # -- running the evidence program --------------------------------------------------------

    def model(
        self,
        index: Tensor,
        handlers: Sequence[Messenger],
        *,
        is_hiding: bool = True,
        is_conditioned: bool = True,
        program: Any = None,
    ) -> Any:
        """Return the evidence program for some rows, as a function without arguments.

        Args:
            index: Parameter draw of each row.
            handlers: To enter around it, the outermost first.
            is_hiding: Hide the sites that the evidence does not depend on.
            is_conditioned: Put in the evidence.
            program: What to run; None: the evidence program.
        """
        rows = len(index)
        parameters = {
            name: self._placed(draws[index.to(draws.device)], self._event_shape(name))
            for name, draws in self.scm.parameters.items()
        }
        evidence = {
            key: self._spread(value, self._event_shape(self._split(key)[0]), rows)
            for key, value in self.evidence.items()
            if is_conditioned
        }

        def model() -> Any:
            with ExitStack() as stack:
                if is_hiding:
                    stack.enter_context(pyro.poutine.block(hide_fn=self._is_hidden))
                for handler in handlers:
                    stack.enter_context(handler)
                stack.enter_context(pyro.condition(data=evidence))
                stack.enter_context(Given(parameters))
                if rows > 1:
                    stack.enter_context(pyro.plate(ROWS, rows, dim=-(self.nesting + 2)))
                return (program or self._program)(self.problem.num_units)

        return model

    def _is_hidden(self, msg: Any) -> bool:
        """Sites that the evidence does not depend on are drawn, but neither seen nor scored."""
        assert self._relevant is not None
        return msg["type"] == "sample" and not self._relevant.get(msg["name"], False)

    def _traced(
        self,
        index: Tensor,
        latents: "FreeValues",
        discrete: Values | None,
        *,
        is_scored: bool = True,
    ) -> Any:
        if discrete is None:
            return self._run(index, latents, self._discrete_names, is_scored=is_scored)
        placed = {s.name: self._placed(discrete[s.name], s.event_shape) for s in self.discrete}
        with Given(placed):
            return self._run(index, latents, frozenset())

    def _run(
        self,
        index: Tensor,
        latents: Messenger,
        enumerated: frozenset[str],
        *,
        is_scored: bool = True,
    ) -> Any:
        """Trace the evidence program at given latents, some discrete ones enumerated."""
        handlers = [latents]
        if enumerated and is_scored:
            self.check_enumerable()
            handlers = [EnumMessenger(-(self.nesting + 3)), latents, Enumerated(enumerated)]
        trace = pyro.poutine.trace(self.model(index, handlers)).get_trace()
        if is_scored:
            trace.compute_log_prob()
        return trace

    def check_enumerable(self) -> None:
        """Raise `ProgramError` if discrete latents cannot be summed out."""
        if len(self.discrete) > MAX_DISCRETE:
            raise ProgramError(
                f"{len(self.discrete)} discrete latents would be summed out at once; at most "
                f"{MAX_DISCRETE} can be; use the Enumeration engine, or Importance"
            )
        below = frozenset[str]().union(
            *(self.structure.descendants(self._split(s.name)[0]) for s in self.discrete)
        )
        for site in self.continuous:
            if not site.is_static and self._split(site.name)[0] in below:
                raise ProgramError(
                    f"the values that {site.name!r} can take may depend on a discrete latent "
                    f"({', '.join(s.name for s in self.discrete)}), so that this cannot be summed "
                    "out; use Importance, or write the site as a bounded one times its width"
                )
        for site in self.discrete:
            if not site.law.has_enumerate_support:
                raise ProgramError(
                    f"the discrete latent {site.name!r} has infinitely many values "
                    f"({type(unwrap(site.law)[0]).__name__}), so it cannot be summed out; use "
                    "Importance, or a law with finite support"
                )

    def check_differentiable(self) -> None:
        """Raise `ProgramError` if the density has no gradient to follow."""
        for site in self.continuous:
            if site.name.endswith("@noise"):
                raise ProgramError(
                    f"evidence lies in another world, and {site.name.removesuffix('@noise')!r} "
                    "is categorical in several worlds, which share its noise only through a step "
                    "function, without gradient; use Importance, or couplings="
                    f"{{{site.name.removesuffix('@noise')!r}: Quantile()}} and one world"
                )

    def _free_values(
        self, unit: Tensor, shared: Tensor | None, *, has_axis: bool = False
    ) -> "FreeValues":
        free: dict[str, Tensor] = {}
        start = {True: 0, False: 0}
        for site in self.sites:
            if site.is_discrete:
                continue
            flat = unit if site.is_unit else shared
            assert flat is not None
            first = start[site.is_unit]
            start[site.is_unit] = first + site.size
            value = site.to_program(flat[..., first : first + site.size])
            free[site.name] = self._placed(value, site.free_shape, has_axis=has_axis)
        return FreeValues(free)

    # -- density of a trace ------------------------------------------------------------------

    def split_by_unit(self, trace: Any) -> tuple[Tensor, Tensor, bool]:
        """Split a scored one-row trace, for example a guide's, in units and what they share.

        Returns:
            Log densities, ``(1, units)`` and ``(1,)``, and whether units share any site.
        """
        unit, shared = self._per_unit(trace, 1, {})
        is_tied = any(
            node["type"] == "sample"
            and not site_is_subsample(node)
            and not is_delta(node["fn"])
            and UNITS not in {frame.name for frame in node["cond_indep_stack"]}
            for node in trace.nodes.values()
        )
        return unit, shared, is_tied

    def _per_unit(
        self, trace: Any, rows: int, log_jacobians: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        unit_terms, shared_terms = [], []
        for name, node in trace.nodes.items():
            if node["type"] != "sample" or site_is_subsample(node) or "log_prob" not in node:
                continue
            log_prob = node["log_prob"]
            if name in log_jacobians:
                log_prob = log_prob + log_jacobians[name]
            plates = {f.name: f.dim for f in node["cond_indep_stack"] if f.vectorized}
            if UNITS in plates:
                unit_terms.append((log_prob, frozenset(plates.values())))
            else:
                shared_terms.append(log_prob)
        n = self.problem.num_units
        zero = self.like.new_zeros(())
        has_enumerated = any(term.dim() > self.nesting + 2 for term, _ in unit_terms)
        if has_enumerated:
            unit = self._contracted(unit_terms, rows)
        else:
            unit = sum((self._summed(term) for term, _ in unit_terms), zero.expand(rows, n))
        shared = sum(
            (self._aligned(term).flatten(1).sum(1) for term in shared_terms), zero.expand(rows)
        )
        return unit, shared

    def _aligned(self, term: Tensor) -> Tensor:
        """Give a term all of its dimensions: rows, world, plates."""
        missing = self.nesting + 2 - term.dim()
        return term.reshape((1,) * missing + term.shape)

    def _summed(self, term: Tensor) -> Tensor:
        """Sum over all plates but the units; shape ``(rows, units)``, either may be 1."""
        term = self._aligned(term)
        others = [d for d in range(1, term.dim()) if d != term.dim() + self.units_dim]
        return term.sum(others) if others else term

    def _contracted(self, terms: Sequence[tuple[Tensor, frozenset[int]]], rows: int) -> Tensor:
        """Sum out the enumerated dimensions by variable elimination."""
        kept = frozenset({-(self.nesting + 2), self.units_dim})
        shape = [d for term, _ in terms for d in range(-term.dim(), 0) if term.shape[d] > 1]
        symbols = {d: opt_einsum.get_symbol(i) for i, d in enumerate(dict.fromkeys(shape))}
        sizes: dict[str, int] = {}
        tree: OrderedDict[frozenset[str], list[Tensor]] = OrderedDict()
        for term, plates in terms:
            dims = [d for d in range(-term.dim(), 0) if term.shape[d] > 1]
            sizes.update({symbols[d]: term.shape[d] for d in dims})
            packed = term.squeeze()[...]  # a tensor of its own, as it gets a mark
            packed._pyro_dims = "".join(symbols[d] for d in dims)  # type: ignore[attr-defined]
            # rows and units belong to every term, so that nothing is multiplied over them
            ordinal = frozenset(symbols[d] for d in plates | kept if d in symbols)
            tree.setdefault(ordinal, []).append(packed)
        summed = {symbol for d, symbol in symbols.items() if d < -(self.nesting + 2)}
        target = frozenset(symbols[d] for d in kept if d in symbols)
        ring = LogRing(dim_to_size=sizes)
        result = contract_to_tensor(tree, summed, target_ordinal=target, ring=ring)
        order = [d for d in sorted(kept) if d in symbols]
        result = result.permute([result._pyro_dims.index(symbols[d]) for d in order])
        is_full = [d in symbols for d in sorted(kept)]
        full = (rows, self.problem.num_units)
        lone = [size if present else 1 for size, present in zip(full, is_full, strict=True)]
        return result.reshape(lone).expand(full)

    # -- rows --------------------------------------------------------------------------------

    @cached_property
    def can_broadcast(self) -> bool:
        """Whether the program gives the same density for two rows at once as one by one."""
        index = torch.arange(2) % self.num_parameter_draws
        with torch.no_grad(), self.active():
            singles = [self.prior_draws(index[i : i + 1]) for i in range(2)]
            unit = torch.cat([single[0] for single in singles])
            shared = torch.cat([single[1] for single in singles])
            discrete = {
                site.name: torch.cat([single[2][site.name] for single in singles])
                for site in self.discrete
            }
            given = discrete if self.discrete else None
            pieces = [
                self._log_density(*self._rows(slice(i, i + 1), index, unit, shared, given))
                for i in range(2)
            ]
            slow = _concatenate(pieces)
            self.__dict__["can_broadcast"] = True
            try:
                fast = self._log_density(index, unit, shared, given)
            except CausalPPLError:
                raise
            except Exception:  # whatever a program says of a shape it does not expect
                return False
            finally:
                del self.__dict__["can_broadcast"]
        return all(
            a.shape == b.shape and bool(torch.isclose(a, b, 1e-3, 1e-4, equal_nan=True).all())
            for a, b in zip(slow, fast, strict=True)
        )

    def _rows(
        self,
        rows: slice,
        index: Tensor,
        unit: Tensor,
        shared: Tensor | None,
        discrete: Values | None,
    ) -> tuple[Tensor, Tensor, Tensor | None, Values | None]:
        return (
            index[rows],
            unit[rows],
            None if shared is None else shared[rows],
            None if discrete is None else {name: v[rows] for name, v in discrete.items()},
        )

    def _pieces(self, rows: int) -> list[slice]:
        """Cut rows in pieces that fit in memory; one by one if the program does not broadcast."""
        if rows == 1:
            return [slice(0, 1)]
        combinations = math.prod(
            site.law.enumerate_support(expand=False).shape[0]
            for site in self.discrete
            if site.law.has_enumerate_support
        )
        width = self.problem.num_units * (1 + len(self.sites)) * min(combinations, 64)
        step = max(1, CHUNK // width) if self.can_broadcast else 1
        return [slice(i, i + step) for i in range(0, rows, step)]

    # -- shapes ------------------------------------------------------------------------------

    def _placed(self, value: Tensor, event: Sequence[int], *, has_axis: bool = False) -> Tensor:
        """Put the row axis left of the world axis; a single row has no axis at all."""
        if len(value) == 1 and not has_axis:
            return value[0]
        missing = self.nesting + 1 - (value.dim() - len(event) - 1)
        return value.reshape(value.shape[:1] + (1,) * missing + value.shape[1:])

    def _spread(self, value: Tensor, event: Sequence[int], rows: int) -> Tensor:
        """Repeat evidence for every row, without copying it."""
        if rows == 1:
            return value
        missing = self.nesting + 1 - (value.dim() - len(event))
        return value.reshape((1,) * (missing + 1) + value.shape).expand(
            (rows,) + (1,) * missing + value.shape
        )

    def _recorded(self, trace: Any, site: LatentSite, rows: int) -> Tensor:
        """Return a site's value in a trace, shape ``(rows, *batch, *event)``."""
        value = trace.nodes[site.name]["value"]
        return self._rows_first(value, site.batch_shape, site.event_shape, rows)

    def _rows_first(
        self, value: Tensor, batch: tuple[int, ...], event: tuple[int, ...], rows: int
    ) -> Tensor:
        """Bring a value of a run to the shape ``(rows, *batch, *event)``."""
        axes = (1,) * (self.nesting + 1 - len(batch))
        full = (rows, *axes, *batch, *event) if rows > 1 else (*batch, *event)
        if value.dim() > len(full):  # dimensions of size 1 that enumeration leaves behind
            value = value.reshape(value.shape[value.dim() - len(full) :])
        return value.expand(full).reshape((rows, *batch, *event))

    def _from_units_first(self, name: str, value: Tensor) -> Tensor:
        """Bring ``(units, *plates, *event)`` to the order of the program's plates."""
        site = self.structure.sites[name]
        target = self.units_dim - site.event_dim
        batch_dims = value.dim() - site.event_dim
        if batch_dims < -self.units_dim:
            inserted = -self.units_dim - batch_dims
            shape = value.shape[:1] + (1,) * inserted + value.shape[1:]
            return value.reshape(shape)
        return value.movedim(0, target) if batch_dims > 1 else value

    def _units_first(self, key: str, value: Tensor, rows: int) -> Tensor:
        """Bring a value of the twin run to the shape ``(rows, units, *plates, *event)``."""
        site = self.structure.sites[self._split(key)[0]]
        full = self.nesting + 2 + site.event_dim
        value = value.reshape((1,) * (full - value.dim()) + value.shape).squeeze(1)
        units = self.units_dim - site.event_dim
        shape = list(value.shape)
        shape[0], shape[units] = rows, self.problem.num_units
        value = value.expand(shape).movedim(units, 1)
        inner = [d for d in range(2, 1 + self.nesting) if len(site.plates) < self.nesting]
        return value.squeeze(inner) if inner else value

    def _event_shape(self, name: str) -> tuple[int, ...]:
        return self.structure.sites[name].event_shape

    # -- worlds ------------------------------------------------------------------------------

    def _split(self, name: str) -> tuple[str, str]:
        return self.problem.split(name)

    def _closure(self, worlds: Iterable[str]) -> tuple[str, ...]:
        """Add the worlds that some of these take values from; those come first."""
        found: dict[str, None] = {}

        def visit(world: str) -> None:
            if not world or world in found:
                return
            for intervention in self.problem.worlds[world].values():
                if isinstance(intervention, World):
                    visit(intervention.name)
            found[world] = None

        for world in worlds:
            visit(world)
        return tuple(found)


class FreeValues(Messenger):
    """Set continuous latents from unconstrained values, whatever their supports depend on.

    Attributes:
        log_jacobians: After a run: log Jacobian of each site's map, in the shape of its batch.
    """

    def __init__(self, free: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.free = free
        self.log_jacobians: dict[str, Tensor] = {}

    def _pyro_sample(self, msg: Any) -> None:
        free = self.free.get(msg["name"])
        if free is None:
            return
        transform = biject_to(msg["fn"].support)
        value = transform(free)
        jacobian = transform.log_abs_det_jacobian(free, value)
        extra = jacobian.dim() - (value.dim() - msg["fn"].event_dim)
        if extra > 0:
            jacobian = jacobian.flatten(-extra).sum(-1)
        self.log_jacobians[msg["name"]] = jacobian
        msg.update(value=value, is_observed=True)


class Enumerated(Messenger):
    """Mark discrete latents for enumeration in parallel."""

    def __init__(self, names: frozenset[str]) -> None:
        super().__init__()
        self._names = names

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self._names:
            msg["infer"]["enumerate"] = "parallel"


# -- what every engine refuses ---------------------------------------------------------------


def find_refusal(problem: Problem, *, is_enumerating: bool = True) -> str | None:
    """Say why no approximate engine can take the problem; None if one can.

    Args:
        problem: What is asked.
        is_enumerating: The engine sums out discrete latents, which must then be finite.
    """
    structure = problem.scm.structure
    for key in problem.evidence:
        name, _ = problem.split(key)
        site = structure.sites[name]
        if site.kind == "deterministic":
            return (
                f"the evidence {key!r} sits on a deterministic site, whose density is not "
                f"spread out; observe a parent of it ({', '.join(site.parents) or 'it has none'}), "
                f"or write {name!r} as a Normal with a small scale"
            )
    if is_enumerating:
        return _find_infinite(problem)
    return None


def latent_names(problem: Problem) -> tuple[str, ...]:
    """Return the sample sites that the evidence leaves open, by the structure alone."""
    structure = problem.scm.structure
    split = [problem.split(key) for key in problem.evidence]
    ancestors = structure.ancestors({name for name, _ in split})
    factual = {name for name, world in split if not world}
    return tuple(
        name
        for name, site in structure.sites.items()
        if name in ancestors
        and site.kind == "sample"
        and (site.is_unit or name in problem.free_parameters)
        and name not in factual
    )


def _find_infinite(problem: Problem) -> str | None:
    sites = problem.scm.structure.sites
    for name in latent_names(problem):
        family = getattr(dist, sites[name].family, None)
        if not sites[name].is_discrete:
            continue
        if family is not None and not getattr(family, "has_enumerate_support", True):
            return (
                f"the discrete latent {name!r} ({sites[name].family}) has infinitely many values "
                "and cannot be summed out; use Importance, or a law with finite support"
            )
        if not sites[name].is_unit:
            return (
                f"the parameter {name!r} is discrete, has no draws, and ties all units together; "
                "fit the model first, or use Importance"
            )
    return None


def progress_bar(total: int, description: str, *, progress: bool) -> Any:
    """Return a progress bar, silent unless in a terminal or a notebook."""
    from tqdm.auto import tqdm

    return tqdm(total=total, desc=description, disable=not is_shown(progress), leave=False)


def is_shown(progress: bool) -> bool:
    """Whether a progress bar is wanted and has somewhere to be shown."""
    return progress and (sys.stderr.isatty() or "ipykernel" in sys.modules)


# -- private ---------------------------------------------------------------------------------


def _concatenate(pieces: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    unit, shared = zip(*pieces, strict=True)
    return torch.cat(unit), torch.cat(shared)


def _without_axis(value: Tensor, nesting: int, site: LatentSite) -> Tensor:
    """Drop the axes of size 1 between rows and the site's own plates."""
    return value.reshape(value.shape[:1] + site.batch_shape + site.free_shape)


def _is_static(support: Any) -> bool:
    """Whether a support has no bounds that could come from other sites."""
    return all(_is_constant(value) for value in vars(support).values())


def _is_constant(value: Any) -> bool:
    if isinstance(value, constraints.Constraint):
        return _is_static(value)
    return value is None or isinstance(value, bool | int | float | str)
