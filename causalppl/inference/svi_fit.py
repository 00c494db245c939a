"""Fit by stochastic variational inference, with an automatic guide."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro.optim.clipped_adam import ClippedAdam
from torch import Tensor

from causalppl.inference.climb import CLIMB_STEPS, BatchControl, batch, climb
from causalppl.inference.fit_checks import (
    check_finite,
    compare,
    displacement,
    drift,
    misfit,
    warn,
)
from causalppl.inference.fit_method import FitMethod, FitTask, Fitted
from causalppl.inference.guided_fit import GuidedFit
from causalppl.inference.laplace import laplace
from causalppl.inference.normal_guide import NormalGuide
from causalppl.inference.settings import check_counts, check_positive
from causalppl.programs.learned import Learned

_GUIDE_RATE = 0.01  # in posterior standard deviations
_DECAY = 0.01  # of the rate, from first to last step
_KHAT_DRAWS = 1000
_KHAT_NUMBERS = 200_000_000
_DRAWN_NUMBERS = 5_000_000


@dataclass(frozen=True)
class SVIFit(FitMethod):
    """Stochastic variational inference.

    The automatic guide is a normal law in unconstrained space, with full covariance up to 200
    parameters. It starts at the posterior mode, with the curvature found there, and is then
    improved by gradients of the evidence lower bound. Continuous latents of the units get a normal
    block each, discrete ones are summed out. ``pyro.param`` statements and modules are learned at
    the same time.

    Args:
        num_steps: Gradient steps in all.
        learning_rate: For ``pyro.param`` statements and users' guides; decays to 1 %.
        batch_size: Rows of each step, drawn at random; None for all.
        num_draws: Draws of the parameters to keep.
        guide: A Pyro guide with the program's argument ``n``, or a class of
            `pyro.infer.autoguide`; None for the automatic one.

    Raises:
        DataError: A setting is not positive.

    References:
        Kucukelbir et al. (2017), Automatic differentiation variational inference; Vehtari et al.
        (2024) for k-hat.

    Example:
        >>> SVIFit(num_steps=500).num_draws
        1000
    """

    num_steps: int = 1000
    learning_rate: float = 0.01
    batch_size: int | None = None
    num_draws: int = 1000
    guide: Any = None

    def __post_init__(self) -> None:
        check_counts(num_steps=self.num_steps, num_draws=self.num_draws)
        if self.batch_size is not None:
            check_counts(batch_size=self.batch_size)
        check_positive(learning_rate=self.learning_rate)

    def run(self, task: FitTask) -> Fitted:
        """Fit a prepared task; `fit` calls it, with the random streams seeded."""
        if self.guide is not None:
            guided = GuidedFit(self.guide, task, self.num_steps, self.learning_rate, self.num_draws)
            return guided.run()
        return _AutomaticFit(self, task).run()


class _AutomaticFit:
    """One fit with the automatic guide."""

    def __init__(self, method: SVIFit, task: FitTask) -> None:
        self.method, self.task, self.density = method, task, task.density
        store = pyro.get_param_store()
        names = task.scm.structure.learnable
        self.learnable = [p for name, p in store.named_parameters() if name in names]
        self.is_full = self.density.batch_size == self.density.num_rows
        self.trace: list[float] = []

    def run(self) -> Fitted:
        has_latents = self.density.num_shared + self.density.num_local > 0
        steps = self.method.num_steps
        climb = steps
        if has_latents:
            climb = steps // 2 if self.learnable else min(CLIMB_STEPS, steps // 2)
        with self.task.bar(steps, "fitting") as bar:
            shared, local = self._climb(climb, bar, decays=not has_latents)
            if not has_latents:
                return self._likelihood_fit()
            guide = NormalGuide(laplace(self.density, shared, local))
            self.trace.clear()
            gradients = self._improve(guide, steps - climb, bar)
        warnings_ = [drift(self.trace, self.density.num_rows), displacement(gradients)]
        return self._finish(guide, [w for w in warnings_ if w])

    def _climb(self, steps: int, bar: Any, *, decays: bool) -> tuple[Tensor, Tensor]:
        """Go towards the mode; ``pyro.param`` statements learn on the way."""
        return climb(
            self.density,
            self.learnable,
            steps,
            learning_rate=self.method.learning_rate,
            decay=_DECAY if decays else 1.0,
            tick=self._ticker(bar),
        )

    def _improve(self, guide: NormalGuide, steps: int, bar: Any) -> Tensor:
        """Maximise the evidence lower bound; return late gradients of the guide's mean."""
        tick = self._ticker(bar)
        noise = math.sqrt(self.density.num_rows / self.density.batch_size)
        lrd = _DECAY ** (1 / max(steps, 1))
        groups = [
            # eps: gradients far below a nat per standard deviation are rounding, not direction
            {"params": guide.parameters, "lr": _GUIDE_RATE, "clip_norm": 10 * noise, "eps": 1e-2},
        ]
        if self.learnable:
            rate = self.method.learning_rate
            limit = 10.0 * self.density.num_rows
            groups.append({"params": self.learnable, "lr": rate, "clip_norm": limit, "eps": 1e-8})
        optimiser = ClippedAdam([{**group, "lrd": lrd} for group in groups])
        control = None
        if not self.is_full and not self.learnable:
            control = BatchControl(self.density, guide.coordinates.center)
        gradients, average = [], [torch.zeros_like(p) for p in guide.parameters]
        late = 3 * steps // 4
        for step in range(steps):
            optimiser.zero_grad()
            shared, local, log_q = guide.draw(1)
            rows = batch(self.density)
            elbo = self.density(shared[0], local[0], rows) - log_q[0]
            if control is not None:
                elbo = elbo + control(shared[0], rows)
            (-elbo).backward()
            tick(elbo.item())
            if step >= late and guide.mean.grad is not None:
                gradients.append(guide.mean.grad.clone())
            optimiser.step()
            if step >= late:
                for mean, parameter in zip(average, guide.parameters, strict=True):
                    mean += parameter.detach() / (steps - late)
        with torch.no_grad():  # Polyak's average takes out what is left of the noise
            for mean, parameter in zip(average, guide.parameters, strict=True):
                parameter.copy_(mean)
        return torch.stack(gradients) if gradients else torch.zeros(0, 0)

    def _ticker(self, bar: Any) -> Callable[[float], None]:
        def tick(value: float) -> None:
            self.trace.append(check_finite(value, len(self.trace)))
            bar.update()
            if len(self.trace) % 25 == 0:
                bar.set_postfix(elbo=f"{value:.1f}", refresh=False)

        return tick

    def _likelihood_fit(self) -> Fitted:
        message = drift(self.trace, self.density.num_rows)
        if message:
            warn(message)
        note = (
            "pyro.param statements were fitted by maximum likelihood; their uncertainty is left out"
        )
        return Fitted({}, self._learned(), torch.tensor(self.trace), {}, (note,))

    def _finish(self, guide: NormalGuide, messages: list[str]) -> Fitted:
        with torch.no_grad():
            shared, diagnostics = self._draws(guide)
            draws = self.density.constrained(shared)
        for message in [*messages, *misfit(diagnostics)]:
            warn(message)
        notes = []
        if self.learnable:
            notes.append("the values of pyro.param statements carry no uncertainty")
        return Fitted(draws, self._learned(), torch.tensor(self.trace), diagnostics, tuple(notes))

    def _draws(self, guide: NormalGuide) -> tuple[Tensor, dict[str, float]]:
        """Draw parameters, and compare the guide with the density on all rows."""
        count, density = self.method.num_draws, self.density
        checked = min(count, _KHAT_DRAWS, max(200, _KHAT_NUMBERS // density.num_rows))
        size = density.num_shared + density.num_rows * density.num_local
        step = max(1, _DRAWN_NUMBERS // max(size, 1))
        ratios = []
        for start in range(0, checked, step):
            shared, local, log_q = guide.draw(min(step, checked - start))
            ratios.append(density.many(shared, local) - log_q.double().cpu())
        return guide.matched_draws(count), compare(torch.cat(ratios))

    def _learned(self) -> Learned | None:
        names = self.task.scm.structure.learnable
        return Learned.capture(names) if names else None
