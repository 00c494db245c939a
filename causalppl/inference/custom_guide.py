"""A guide that the user wrote or chose, fitted to the latents of all units."""

import warnings
from collections.abc import Callable
from typing import Any

import pyro
import torch
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO
from pyro.infer.autoguide import AutoGuide
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from causalppl.exceptions import ProgramError
from causalppl.inference.ascent import ascend
from causalppl.inference.enumerated import Enumerated
from causalppl.inference.latents import Latents
from causalppl.inference.unit_density import are_units_tied
from causalppl.programs.structure import units_program


class CustomGuide:
    """A user's guide for one parameter draw.

    Args:
        guide: A Pyro guide (a callable, without argument or of the number of units) or a subclass
            of `pyro.infer.autoguide.AutoGuide`.
        latents: What it is a guide to. Discrete latents that it leaves out are summed out.
        draw: The parameter draw.

    Raises:
        ProgramError: It lacks latents, or has sites that are none.
    """

    def __init__(self, guide: Callable[..., Any], latents: Latents, draw: int) -> None:
        self._latents, self._num_units = latents, latents.problem.num_units
        self._evidence_model = pyro.poutine.block(
            latents.program.model(torch.tensor([draw])), hide_types=["param"]
        )
        self._summed = frozenset(site.name for site in latents.discrete)
        self._guide: Any
        if isinstance(guide, type) and issubclass(guide, AutoGuide):
            self._guide = guide(pyro.poutine.block(self._model, hide=sorted(self._summed)))
        else:
            self._guide = units_program(guide)
            self._summed -= self._sites()
        self._check_covers()

    def _model(self, num_units: int) -> Any:
        with Enumerated(self._summed):
            return self._evidence_model()

    def _sites(self) -> frozenset[str]:
        with torch.no_grad():
            trace = pyro.poutine.trace(self._guide).get_trace(self._num_units)
        return frozenset(
            name
            for name, node in trace.nodes.items()
            if node["type"] == "sample"
            and not site_is_subsample(node)
            and not (node["infer"] or {}).get("is_auxiliary")
        )

    def _check_covers(self) -> None:
        found, wanted = self._sites(), {site.name for site in self._latents.sites}
        missing, unknown = wanted - found - self._summed, found - wanted
        if missing or unknown:
            raise ProgramError(
                f"the guide lacks the latents {sorted(missing)} and has the unknown sites "
                f"{sorted(unknown)}; given this evidence the latents are {sorted(wanted)}; mark "
                'auxiliary sites with infer={"is_auxiliary": True}'
            )

    def fit(
        self,
        num_steps: int,
        *,
        learning_rate: float,
        num_particles: int,
        least_rise: float,
        progress: bool,
    ) -> list[float]:
        """Maximise the ELBO; return it at each step. See `ascend`."""
        loss: Any = TraceEnum_ELBO if self._summed else Trace_ELBO
        elbo = loss(
            num_particles=num_particles, max_plate_nesting=self._latents.program.axis.nesting + 1
        )
        decay = 0.1 ** (1 / num_steps)
        optimiser = pyro.optim.ClippedAdam({"lr": learning_rate, "lrd": decay})
        svi = SVI(self._model, self._guide, optimiser, elbo)

        def step(_: int) -> float:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Encountered NaN")  # `ascend` raises
                return -float(svi.step(self._num_units))

        return ascend(
            step,
            num_steps,
            least_rise=least_rise,
            remedy="that the guide's support is that of the latents",
            progress=progress,
        )

    @torch.no_grad()
    def draws(self, count: int) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor], bool]:
        """Draw from the guide, one trace after the other.

        Returns:
            Latent to values, ``(count, *batch, *event)``; log densities of the units,
            ``(count, units)``, and of what they share, ``(count,)``; whether they share any site.
        """
        values: dict[str, list[Tensor]] = {}
        log_unit, log_shared, is_tied = [], [], False
        for _ in range(count):
            trace = pyro.poutine.trace(self._guide).get_trace(self._num_units)
            trace.compute_log_prob()
            by_unit, by_row = self._latents.by_unit(trace, 1)
            is_tied = is_tied or are_units_tied(trace)
            log_unit.append(by_unit)
            log_shared.append(by_row)
            for site in self._latents.sites:
                if site.name in trace.nodes:
                    value: Any = trace.nodes[site.name]["value"]
                    shape = site.batch_shape + site.event_shape
                    values.setdefault(site.name, []).append(value.expand(shape))
        drawn = {name: torch.stack(parts) for name, parts in values.items()}
        return drawn, (torch.cat(log_unit), torch.cat(log_shared)), is_tied
