"""The latents of a program given evidence: what every approximate engine has to infer.

A counterfactual needs no rejection: infer the latents of the evidence program, then abduct each
site's noise from its factual value and predict (Pearl 2009, section 7.1). `Latents` gives the
density of that program in unconstrained space, one number per unit, with a *row* axis to the left
of all plates. A row is one draw of everything; each row knows which parameter draw it belongs to,
so one call serves all parameter draws.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

import pyro
import torch
from pyro.infer import infer_discrete
from pyro.poutine.enum_messenger import EnumMessenger
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import biject_to

from causalppl.exceptions import ProgramError
from causalppl.inference.engine import Answer, Problem
from causalppl.inference.enumerated import Enumerated, check_enumerable
from causalppl.inference.evidence_program import EvidenceProgram
from causalppl.inference.free_values import FreeValues, pack, unpack
from causalppl.inference.latent_site import LatentSite
from causalppl.inference.laws import CHUNK
from causalppl.inference.prediction import predict
from causalppl.inference.progress import untold
from causalppl.inference.unit_density import UnitDensity
from causalppl.programs.broadcasting import is_same_at_once
from causalppl.typing import Values


class Latents:
    """The latents of a problem, their density and their draws; see the module's text.

    Args:
        problem: What is asked; no evidence on deterministic sites.

    Attributes:
        program: The evidence program.
        sites: All latents, in the order in which they run.
        evidence: Key to values, in the order of the program's plates.
        like: A tensor with the dtype and device of the unconstrained numbers.
        by_unit: Splits the density of a trace in units and what they share.
        advance: Told the number of rows after each run of the program.

    Raises:
        ImpossibleEvidenceError: A value lies outside its site's support whatever the latents are,
            or has probability zero.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem, self.scm = problem, problem.scm
        self.num_parameter_draws = problem.num_parameter_draws
        self.program = EvidenceProgram(problem)
        self.sites, self.evidence = self.program.sites, self.program.evidence
        self.like = _like(self.sites)
        self.advance: Callable[[int], object] = untold
        self.by_unit = UnitDensity(self.program.axis, self.like)
        self._discrete_names = frozenset(site.name for site in self.discrete)

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

    def parameter_index(self, num_draws: int) -> Tensor:
        """Return the parameter draw of each row, for ``num_draws`` rows for each of them."""
        return torch.arange(self.num_parameter_draws).repeat_interleave(num_draws)

    def active(self) -> AbstractContextManager[None]:
        """Enter once around many calls: learned parameters in, checks of values off."""
        return self.program.active()

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
        if discrete is None and len(index) > 1 and not self.can_broadcast and self.can_map:
            return self._mapped(index, unit, shared)
        # with gradients all rows stay in memory in any case
        width = 1 if torch.is_grad_enabled() else self.problem.num_units * (1 + len(self.sites))
        return _concatenate(
            self._log_density(*_cut(rows, index, unit, shared, discrete))
            for rows in self._cuts(len(index), width)
        )

    def _mapped(self, index: Tensor, unit: Tensor, shared: Tensor | None) -> tuple[Tensor, Tensor]:
        """Evaluate rows by ``torch.vmap``: it runs programs that know nothing of other rows."""
        if shared is None:
            shared = unit.new_zeros(len(index), 0)

        def one(index: Tensor, unit: Tensor, shared: Tensor) -> tuple[Tensor, Tensor]:
            by_unit, by_row = self._log_density(index[None], unit[None], shared[None], None)
            return by_unit[0], by_row[0]

        chunk = None if torch.is_grad_enabled() else max(1, CHUNK // (1 + unit[0].numel()))
        by_unit, by_row = torch.vmap(one, chunk_size=chunk)(index, unit, shared)
        self.advance(len(index))
        return by_unit, by_row

    def _log_density(
        self, index: Tensor, unit: Tensor, shared: Tensor | None, discrete: Values | None
    ) -> tuple[Tensor, Tensor]:
        free = self._free(unit, shared)
        if discrete is None:
            trace = self._scored(index, free, self._discrete_names)
        else:
            with self.program.given(discrete):
                trace = self._scored(index, free, frozenset())
        return self.by_unit(trace, len(index), free.log_jacobians)

    def log_joint(self, index: Tensor, values: Values) -> tuple[Tensor, Tensor]:
        """Return the log joint density as `log_density` does, but of constrained values.

        Args:
            index: Parameter draw of each row.
            values: Latent to values, shape ``(rows, *batch, *event)``; discrete latents that are
                not among them are summed out.
        """
        summed = self._discrete_names - set(values)
        return _concatenate(
            self.by_unit(
                self._scored(index[rows], self.program.given(values, rows), summed),
                len(index[rows]),
            )
            for rows in self.pieces(len(index))
        )

    def _scored(self, index: Tensor, latents: Messenger, enumerated: frozenset[str]) -> Any:
        """Trace the evidence program at given latents, some discrete ones enumerated."""
        handlers = [latents]
        if enumerated:
            check_enumerable(self.program)
            first = self.program.axis.dim - 1
            handlers = [EnumMessenger(first), latents, Enumerated(enumerated)]
        trace = pyro.poutine.trace(self.program.model(index, handlers)).get_trace()
        trace.compute_log_prob()
        return trace

    def _free(self, unit: Tensor, shared: Tensor | None) -> FreeValues:
        free, place = unpack(self.sites, unit, shared), self.program.axis.place
        return FreeValues(
            {s.name: place(free[s.name], s.free_shape) for s in self.sites if s.name in free}
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

    # -- values ------------------------------------------------------------------------------

    def constrain(self, index: Tensor, unit: Tensor, shared: Tensor | None = None) -> Values:
        """Return the continuous latents' values, ``(rows, *batch, *event)``, from the free ones."""
        sites = [site for site in self.sites if not site.is_discrete]
        if all(site.is_static for site in sites):
            free = unpack(sites, unit, shared)
            return {site.name: biject_to(site.law.support)(free[site.name]) for site in sites}
        values = []
        for rows in self.pieces(len(index)):
            some, u, s, _ = _cut(rows, index, unit, shared, None)
            model = self.program.model(some, [self._free(u, s)])
            trace = pyro.poutine.trace(model).get_trace()
            values.append(self.program.recorded(trace, sites, len(some)))
        return joined(values)

    def discrete_given(self, index: Tensor, values: Values) -> dict[str, Tensor]:
        """Draw the discrete latents that are not among some values, exactly given these.

        Args:
            index: Parameter draw of each row.
            values: Latent to values, shape ``(rows, *batch, *event)``.

        References:
            Obermeyer et al. (2019), Tensor variable elimination for plated factor graphs.
        """
        names = self._discrete_names - set(values)
        sites = [site for site in self.discrete if site.name in names]
        check_enumerable(self.program)
        parts = []
        for rows in self.pieces(len(index)):
            handlers = [self.program.given(values, rows), Enumerated(names)]
            drawn = infer_discrete(
                self.program.model(index[rows], handlers),
                self.program.axis.dim - 1,
                temperature=1,
                strict_enumeration_warning=False,
            )
            with torch.no_grad():
                trace = pyro.poutine.trace(drawn).get_trace()
            parts.append(self.program.recorded(trace, sites, len(index[rows])))
        return joined(parts)

    def prior_draws(self, index: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Draw the latents from the evidence program, the evidence not weighed.

        Returns:
            Unconstrained unit latents, shared ones, and values of the discrete ones.
        """
        parts = []
        with torch.no_grad():
            for rows in self.pieces(len(index)):
                trace = pyro.poutine.trace(self.program.model(index[rows])).get_trace()
                parts.append(self._read(trace, len(index[rows])))
        unit, shared, discrete = zip(*parts, strict=True)
        return torch.cat(unit), torch.cat(shared), joined(discrete)

    def joint_draws(self, index: Tensor) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Draw latents and evidence together from the program, with no evidence put in.

        Returns:
            Unconstrained unit latents ``(rows, units, unit_size)``, values of the discrete ones,
            ``(rows, *batch, *event)``, and of the evidence, ``(rows, units, *event)``.
        """
        parts, seen = [], []
        with torch.no_grad():
            for rows in self.pieces(len(index)):
                size = len(index[rows])
                model = self.program.model(index[rows], is_hiding=False, is_conditioned=False)
                trace = pyro.poutine.trace(model).get_trace()
                parts.append(self._read(trace, size))
                seen.append({key: self._seen(trace, key, size) for key in self.evidence})
        unit, _, discrete = zip(*parts, strict=True)
        return torch.cat(unit), joined(discrete), joined(seen)

    def _read(self, trace: Any, rows: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        unit, shared = pack(self.sites, trace, self.program.axis, rows, self.like)
        return unit, shared, self.program.recorded(trace, self.discrete, rows)

    def _seen(self, trace: Any, key: str, rows: int) -> Tensor:
        value = trace.nodes[key]["value"]
        return self.program.axis.to_units(self.problem.split(key)[0], value, rows)

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
        draws = predict(self.program, index, values, lambda: self.can_broadcast)
        shape = (self.num_parameter_draws, num_draws)
        return Answer(
            draws={key: value.reshape(shape + value.shape[1:]) for key, value in draws.items()},
            log_weights=log_weights,
            **fields,
        )

    # -- rows --------------------------------------------------------------------------------

    @cached_property
    def can_broadcast(self) -> bool:
        """Whether the program gives the same density for two rows at once as one by one."""
        index = torch.arange(2) % self.num_parameter_draws
        with torch.no_grad(), self.active():
            singles = [self.prior_draws(index[i : i + 1]) for i in range(2)]
            units, shareds, discretes = zip(*singles, strict=True)
            unit, shared = torch.cat(units), torch.cat(shareds)
            discrete = joined(discretes) or None
            latents = (index, unit, shared, discrete)
            names = ("unit", "shared")
            slow = _concatenate(
                self._log_density(*_cut(slice(i, i + 1), *latents)) for i in range(2)
            )
            return is_same_at_once(
                dict(zip(names, slow, strict=True)),
                lambda: dict(zip(names, self._log_density(*latents), strict=True)),
                tolerance=1e-4,
            )

    @cached_property
    def can_map(self) -> bool:
        """Whether `torch.vmap` gives two rows the density that they have one by one."""
        index = torch.arange(2) % self.num_parameter_draws
        with torch.no_grad(), self.active():
            unit, shared, _ = self.prior_draws(index)
            slow = _concatenate(
                self._log_density(*_cut(slice(i, i + 1), index, unit, shared, None))
                for i in range(2)
            )
            names = ("unit", "shared")
            return is_same_at_once(
                dict(zip(names, slow, strict=True)),
                lambda: dict(zip(names, self._mapped(index, unit, shared), strict=True)),
                tolerance=1e-4,
            )

    def pieces(self, rows: int) -> Iterator[slice]:
        """Cut rows in pieces that fit in memory; one by one if the program does not broadcast."""
        combinations = math.prod(
            site.law.enumerate_support(expand=False).shape[0]
            for site in self.discrete
            if site.law.has_enumerate_support
        )
        width = self.problem.num_units * (1 + len(self.sites)) * min(combinations, 64)
        return self._cuts(rows, width)

    def _cuts(self, rows: int, width: int) -> Iterator[slice]:
        """Cut rows of some width."""
        step = max(1, CHUNK // max(1, width)) if rows > 1 and self.can_broadcast else 1
        for start in range(0, rows, step):
            yield slice(start, start + step)
            self.advance(min(step, rows - start))


def joined(pieces: Iterable[Values]) -> dict[str, Tensor]:
    """Join the rows of values that came in pieces."""
    pieces = list(pieces)
    return {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}


def _concatenate(pieces: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    unit, shared = zip(*pieces, strict=True)
    return torch.cat(unit), torch.cat(shared)


def _cut(
    rows: slice, index: Tensor, unit: Tensor, shared: Tensor | None, discrete: Values | None
) -> tuple[Tensor, Tensor, Tensor | None, Values | None]:
    return (
        index[rows],
        unit[rows],
        None if shared is None else shared[rows],
        None if discrete is None else {name: v[rows] for name, v in discrete.items()},
    )


def _like(sites: Iterable[LatentSite]) -> Tensor:
    """An empty tensor with the dtype and device of latents taken together."""
    examples = [site.like for site in sites]
    floats = [like.dtype for like in examples if like.is_floating_point()]
    dtype = floats[0] if floats else torch.get_default_dtype()
    for other in floats[1:]:
        dtype = torch.promote_types(dtype, other)
    return torch.empty(0, dtype=dtype, device=examples[0].device if examples else None)
