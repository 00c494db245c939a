"""Variational inference with a guide that the user wrote or chose."""

from collections.abc import Callable
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO
from pyro.infer.autoguide import AutoGuide
from torch import Tensor

from causalppl.exceptions import FitError
from causalppl.inference.climb import batch
from causalppl.inference.fit_checks import check_finite, compare, drift, misfit, warn
from causalppl.inference.fit_method import FitTask, Fitted
from causalppl.programs.learned import Learned

_DECAY = 0.01  # of the rate, from first to last step


class GuidedFit:
    """One fit with a user's guide.

    Args:
        guide: A Pyro guide with the program's argument ``n``, or a class of
            `pyro.infer.autoguide`.
        task: What is to be fitted.
        num_steps: Gradient steps.
        learning_rate: Decays to 1 %.
        num_draws: Draws of the parameters to keep.

    Raises:
        FitError: The guide is something else, or values are missing that only the automatic guide
            can infer.
    """

    def __init__(
        self, guide: Any, task: FitTask, num_steps: int, learning_rate: float, num_draws: int
    ) -> None:
        self.task, self.density = task, task.density
        self.num_steps, self.learning_rate = num_steps, learning_rate
        self.num_draws = num_draws
        if task.data.gaps:
            raise FitError(
                f"values of {', '.join(task.data.gaps)} are missing, which a guide of one's own "
                "cannot infer; use missing='drop', or the automatic guide (guide=None)"
            )
        nesting = task.scm.structure.plate_nesting
        kind = TraceEnum_ELBO if self.density.enumerated else Trace_ELBO
        self.elbo = kind(max_plate_nesting=nesting)
        self.guide = self._made(guide)

    def _made(self, guide: Any) -> Any:
        if not isinstance(guide, type):
            return guide
        if not issubclass(guide, AutoGuide):
            raise FitError(
                f"guide is the class {guide.__name__}; expected a class of pyro.infer.autoguide, "
                "or a function of n"
            )
        return guide(poutine.block(self._model(None), hide=list(self.density.enumerated)))

    def _model(self, rows: Tensor | None) -> Callable[[int], None]:
        def model(n: int) -> None:
            with self.density.observed(rows):
                self.task.scm.program(n)

        return model

    def run(self) -> Fitted:
        """Fit, draw and compare the guide with the posterior."""
        density, steps = self.density, self.num_steps
        settings = {"lr": self.learning_rate, "lrd": _DECAY ** (1 / steps)}
        optimiser = pyro.optim.ClippedAdam({**settings, "clip_norm": 10.0 * density.num_rows})
        trace: list[float] = []
        with self.task.bar(steps, "fitting") as bar:
            for step in range(steps):
                rows = batch(density)
                count = density.num_rows if rows is None else len(rows)
                svi = SVI(self._model(rows), self.guide, optimiser, self.elbo)
                trace.append(check_finite(-svi.step(count), step))
                bar.update()
        draws, diagnostics = self._draws()
        for message in filter(None, [drift(trace, density.num_rows), *misfit(diagnostics)]):
            warn(message)
        names = self.task.scm.structure.learnable
        learned = Learned.capture(names) if names else None
        return Fitted(draws, learned, torch.tensor(trace), diagnostics)

    @torch.no_grad()
    def _draws(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        density, model = self.density, self._model(None)
        names = [
            name
            for name in self.task.scm.structure.parameters
            if name not in self.task.data.values
            and self.task.scm.structure.sites[name].kind == "sample"
            and not self.task.scm.structure.sites[name].is_observed
        ]
        found: dict[str, list[Tensor]] = {name: [] for name in names}
        ratios = []
        for _ in range(self.num_draws):
            drawn = poutine.trace(self.guide).get_trace(density.num_rows)
            missing = [name for name in names if name not in drawn.nodes]
            if missing:
                raise FitError(
                    f"the guide has no site for the parameters {', '.join(missing)}; give it one "
                    "pyro.sample statement for each"
                )
            for name in names:
                found[name].append(drawn.nodes[name]["value"])
            guide = poutine.replay(self.guide, trace=drawn)
            ratios.append(-self.elbo.loss(model, guide, density.num_rows))
        draws = {name: torch.stack(values) for name, values in found.items()}
        return draws, compare(torch.tensor(ratios, dtype=torch.float64))
