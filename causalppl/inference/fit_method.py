"""The contract between `fit` and the ways of fitting."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from tqdm.auto import tqdm

from causalppl.inference.log_density import LogDensity
from causalppl.inference.training_data import TrainingData
from causalppl.programs.learned import Learned
from causalppl.programs.scm import SCM


@dataclass(frozen=True)
class FitTask:
    """What is to be fitted.

    Attributes:
        scm: The model.
        data: Its data.
        density: Log density of the two.
        progress: Show a progress bar.
    """

    scm: SCM
    data: TrainingData
    density: LogDensity
    progress: bool

    @property
    def num_learnable(self) -> int:
        """Number of ``pyro.param`` statements."""
        return len(self.scm.structure.learnable)

    def bar(self, total: int, description: str) -> Any:
        """Return a progress bar; silent unless it is to be shown."""
        return tqdm(total=total, desc=description, disable=not self.progress, leave=True)


@dataclass(frozen=True)
class Fitted:
    """What a way of fitting returns.

    Attributes:
        draws: Parameter to draws, shape ``(draws, *shape)``.
        learned: Values of the ``pyro.param`` statements; None without any.
        elbo: Evidence lower bound (or log likelihood) at each step, nats; empty for NUTS.
        diagnostics: For example ``khat``; ``rhat``, ``ess`` and ``divergences``.
        notes: Sentences for the reader.
    """

    draws: Mapping[str, torch.Tensor]
    learned: Learned | None = None
    elbo: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class FitMethod(ABC):
    """One way from program and data to draws of the parameters.

    Subclasses are frozen dataclasses whose fields are the method's settings.
    """

    @property
    def name(self) -> str:
        """What sentences call it."""
        return type(self).__name__

    @property
    def batch_size(self) -> int | None:
        """Rows used in one step; None for all."""
        return None

    @abstractmethod
    def run(self, task: FitTask) -> Fitted:
        """Fit. The caller has seeded the random streams and opened a parameter store."""


@dataclass(frozen=True)
class FitRecord:
    """How a model came to its parameters (``scm.fit_record``).

    Attributes:
        method: The way of fitting, with its settings.
        num_rows: Rows of data used.
        seed: The seed that was used.
        elbo: Evidence lower bound at each step, nats.
        diagnostics: Numbers such as ``khat``, or a mapping from parameter to ``rhat``.
        notes: What happened to the data, and what the reader must know.
        data: The rows that were fitted to, by which `infer` knows them again.
    """

    method: FitMethod
    num_rows: int
    seed: int
    elbo: torch.Tensor = field(repr=False)
    diagnostics: Mapping[str, Any]
    notes: tuple[str, ...]
    data: TrainingData | None = field(default=None, repr=False, compare=False)

    def interpret(self) -> str:
        """Say in one sentence how the fit was done and whether it can be trusted."""
        shown = [
            f"{name} {value:.3g}"
            for name, value in self.diagnostics.items()
            if isinstance(value, int | float)
        ]
        trust = f" ({', '.join(shown)})" if shown else ""
        notes = "".join(f"; {note}" for note in self.notes)
        return f"Fitted to {self.num_rows:,} rows by {self.method.name}{trust}{notes}."
