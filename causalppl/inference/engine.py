"""The contract between a question and those who can answer it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from causalppl.inference.laws import Law
from causalppl.programs.interventions import Interventions
from causalppl.programs.scm import SCM
from causalppl.programs.world_specs import split_world


@dataclass(frozen=True)
class Condition:
    """A comparison of a value, for example ``Y@x0 > 1``.

    Attributes:
        key: Site, or site and world (``"Y@x0"``).
        op: One of ``=``, ``>``, ``>=``, ``<``, ``<=``.
        value: A number (categories are encoded).

    Example:
        >>> Condition("Y@x0", ">", 1.0).holds(torch.tensor([0.5, 2.0]))
        tensor([False,  True])
    """

    key: str
    op: str
    value: float

    def holds(self, values: torch.Tensor) -> torch.Tensor:
        """Compare elementwise; shape as ``values``."""
        return {
            "=": torch.eq,
            ">": torch.gt,
            ">=": torch.ge,
            "<": torch.lt,
            "<=": torch.le,
        }[self.op](values, self.value)


@dataclass(frozen=True)
class Problem:
    """What an engine has to answer.

    Attributes:
        scm: The model. Its ``parameters`` hold draws (or are empty: then parameter sites are
            latents with their prior).
        num_units: Number of units; each has its own evidence, and noise of its own.
        worlds: World name to interventions (tensors of per-unit values have ``num_units`` rows).
        evidence: Key to values, shape ``(num_units, *event)``, none missing. A key is a site of
            the factual world (``"Y"``) or of another (``"Y@x0"``); sites may be deterministic.
        targets: Keys whose values are asked for.
        events: Conditions whose joint probability is asked for; empty if none is.
        num_draws: Draws for each unit and each parameter draw.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> scm = SCM(lambda: pyro.sample("X", dist.Normal(0.0, 1.0)))
        >>> Problem(scm, 1, {"x0": {"X": 0.0}}, {}, ("X@x0",)).split("X@x0")
        ('X', 'x0')
    """

    scm: SCM
    num_units: int
    worlds: Mapping[str, Interventions]
    evidence: Mapping[str, torch.Tensor]
    targets: tuple[str, ...]
    events: tuple[Condition, ...] = ()
    num_draws: int = 1000

    def split(self, key: str) -> tuple[str, str]:
        """Split a key into site and world (empty for the factual one)."""
        return split_world(key, self.scm.structure.sites)

    @property
    def num_parameter_draws(self) -> int:
        """Number of parameter draws; 1 where the model has none."""
        return max((len(draws) for draws in self.scm.parameters.values()), default=1)

    @property
    def free_parameters(self) -> tuple[str, ...]:
        """Parameter sites without draws: latents with their prior."""
        sites = self.scm.structure.sites
        return tuple(
            name
            for name in self.scm.structure.parameters
            if name not in self.scm.parameters
            and sites[name].kind == "sample"
            and not sites[name].is_observed
        )

    def reached(self, world: str) -> frozenset[str]:
        """Return the sites that differ from the factual world: the descendants of what is set."""
        structure = self.scm.structure
        return frozenset[str]().union(
            *(structure.descendants(name) for name in self.worlds[world]) if world else ()
        )


@dataclass(frozen=True)
class Answer:
    """What an engine returns.

    Attributes:
        draws: Target to draws, shape ``(parameter draws, draws, units, *event)``. May be empty if
            ``means`` (and ``probability``) say it all.
        means: Target to exact means, shape ``(parameter draws, units, *event)``.
        laws: Target to its exact law (vectorised over units), for a single parameter draw.
        probability: Exact probability of the problem's events, ``(parameter draws, units)``.
        log_weights: Log importance weights, shape ``(parameter draws, draws, units)``.
        is_exact: Draws come from the exact posterior, means and laws are exact.
        diagnostics: For example ``khat``, ``ess``, ``rhat``, ``elbo``.
        notes: Sentences for the reader.

    Example:
        >>> Answer(means={"Y": torch.zeros(1, 3)}, is_exact=True).means["Y"].shape
        torch.Size([1, 3])
    """

    draws: Mapping[str, torch.Tensor] = field(default_factory=dict)
    means: Mapping[str, torch.Tensor] = field(default_factory=dict)
    laws: Mapping[str, Law] = field(default_factory=dict)
    probability: torch.Tensor | None = None
    log_weights: torch.Tensor | None = None
    is_exact: bool = False
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Engine(ABC):
    """One way from program and evidence to the posterior.

    Subclasses are frozen dataclasses whose fields are the engine's settings.

    Attributes:
        name: Its name in results.

    Example:
        >>> class Nothing(Engine):
        ...     name = "Nothing"
        ...
        ...     def refusal(self, problem):
        ...         return "it never answers"
        ...
        ...     def solve(self, problem, *, seed, progress=False):
        ...         raise NotImplementedError
        >>> Nothing().refusal(None)
        'it never answers'
    """

    name: ClassVar[str]

    @abstractmethod
    def refusal(self, problem: Problem) -> str | None:
        """Say why the engine cannot answer; None if it can. Cheap, and without side effects."""

    @abstractmethod
    def solve(self, problem: Problem, *, seed: int, progress: bool = False) -> Answer:
        """Answer the problem.

        Args:
            problem: What is asked. Called only if `refusal` is None.
            seed: Seed of all draws.
            progress: Show a progress bar.

        Raises:
            ImpossibleEvidenceError: The evidence has probability zero.
        """
