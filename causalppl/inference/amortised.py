"""One guide for all units: a network from a unit's evidence to the posterior of its latents.

The network is trained on units that the program itself simulates, by maximising the log density of
the true latents given the evidence. That is the forward Kullback-Leibler divergence to the exact
posterior, averaged over evidence: its minimum is the posterior, and a network that is not quite
there is too wide rather than too narrow. After training a unit costs one forward pass.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from causalppl.exceptions import DataError, FitError, ProgramError
from causalppl.inference.amortised_inputs import Inputs, evidence_worlds, find_tie
from causalppl.inference.amortised_network import Network, Spec
from causalppl.inference.engine import Answer, Engine, Problem
from causalppl.inference.fingerprint import Fingerprint
from causalppl.inference.latents import Latents
from causalppl.inference.progress import progress_bar
from causalppl.inference.refusals import find_refusal
from causalppl.inference.settings import check_counts, check_positive
from causalppl.inference.trained_guide import TrainedAmortised
from causalppl.programs.interventions import Interventions
from causalppl.programs.scm import SCM
from causalppl.programs.simulate import simulate
from causalppl.seeding import forked_rng

__all__ = ["Amortised", "TrainedAmortised"]

_TRAINING_ROWS = 256  # parameter draws among the simulations


@dataclass(frozen=True)
class Amortised(Engine):
    """Train one guide for all units on simulations from the program, then answer by a forward pass.

    The posterior of a unit's continuous latents is a full Gaussian in unconstrained space around a
    linear regression that the network corrects, or a neural spline flow around it; discrete
    latents come first, as one categorical over their combinations. Used as an engine it trains
    for each problem; `train` gives an engine that is trained once.

    Attributes:
        flow: Use a neural spline flow (needs ``zuko``) for posteriors that are far from Gaussian.
        hidden: Widths of the network's layers.
        num_steps: Steps of the optimiser.
        batch_size: Simulated units in each step.
        num_simulations: Simulated units in all.
        learning_rate: Of Adam; it falls to zero along a cosine.
        correct: Weigh each unit's draws by Pareto-smoothed importance weights, which costs the
            program's density for each draw; k-hat and the effective number of draws are then
            reported for each unit. None weighs where that is cheap: where units times parameter
            draws times draws (at least 100 for each) are at most two million, about a second.
            Draws that are not weighed are judged by 256 units, chosen at random, that are: their
            bias is counted in the Monte Carlo error, and warned of where it is twice as large.

    Raises:
        DataError: A setting is out of range.

    References:
        Papamakarios and Murray (2016), Fast epsilon-free inference of simulation models.
        Durkan et al. (2019), Neural spline flows.
        Le, Baydin and Wood (2017), Inference compilation.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def program():
        ...     u = pyro.sample("U", dist.Normal(0.0, 1.0))
        ...     return pyro.sample("X", dist.Normal(u, 1.0))
        >>> scm = SCM(program)
        >>> engine = Amortised(num_steps=50).train(scm, ["X"], seed=0)
        >>> problem = Problem(scm, 1, {}, {"X": torch.tensor([2.0])}, ("U",))
        >>> round(float(engine.solve(problem, seed=0).draws["U"].mean()))
        1
    """

    name: ClassVar[str] = "Amortised"

    flow: bool = False
    hidden: tuple[int, ...] = (64, 64)
    num_steps: int = 2000
    batch_size: int = 512
    num_simulations: int = 65_536
    learning_rate: float = 3e-3
    correct: bool | None = None

    def __post_init__(self) -> None:
        check_counts(
            num_steps=self.num_steps,
            batch_size=self.batch_size,
            num_simulations=self.num_simulations,
        )
        if not isinstance(self.hidden, tuple | list):
            raise DataError(f"hidden is {self.hidden!r}; expected a width for each layer, (64, 64)")
        if self.correct not in (None, True, False):
            raise DataError(f"correct is {self.correct!r}; expected True, False or None")
        for width in self.hidden:
            check_counts(hidden=width)
        check_positive(learning_rate=self.learning_rate)

    def refusal(self, problem: Problem) -> str | None:
        """See `Engine.refusal`."""
        return find_refusal(problem) or find_tie(problem)

    def solve(self, problem: Problem, *, seed: int, progress: bool = False) -> Answer:
        """See `Engine.solve`."""
        if not problem.evidence:
            with forked_rng(seed):
                return Latents(problem).answer({}, problem.num_draws, is_exact=True)
        worlds = {world: problem.worlds[world] for world in evidence_worlds(problem)}
        trained = self.train(
            problem.scm, tuple(problem.evidence), worlds=worlds, seed=seed, progress=progress
        )
        return trained.solve(problem, seed=seed, progress=progress)

    def train(
        self,
        scm: SCM,
        evidence: Sequence[str],
        *,
        worlds: Mapping[str, Interventions] | None = None,
        seed: int | None = None,
        progress: bool = False,
    ) -> TrainedAmortised:
        """Train the guide for one pattern of evidence.

        Args:
            scm: The model. With draws of its parameters the network takes them as input.
            evidence: Keys of the evidence, ``"Y"`` or ``"Y@x0"``.
            worlds: The worlds that the evidence names.
            seed: Seed of simulations, initial weights and batches.
            progress: Show a progress bar.

        Returns:
            An engine that answers problems with this evidence without training.

        Raises:
            ProgramError: The problem cannot be amortised; the message says why.
            FitError: The loss is not finite.
            DataError: ``evidence`` is empty or text.
        """
        if isinstance(evidence, str) or not evidence:
            raise DataError(f"evidence is {evidence!r}; expected a sequence of at least one key")
        with forked_rng(seed):
            latents, index = self._simulator(scm, tuple(evidence), dict(worlds or {}))
            with latents.active():
                inputs = Inputs.of(latents, index)
            spec = Spec(
                self.flow,
                tuple(self.hidden),
                tuple(evidence),
                tuple((s.name, s.size, s.is_discrete) for s in latents.sites),
                tuple(inputs.parameters),
                tuple((key, width) for key, width in inputs.widths.items()),
                inputs.unit.shape[1],
                math.prod(len(table) for table in inputs.tables.values()),
            )
            network = Network(spec).to(inputs.unit)
            network.prepare(inputs.numbers, inputs.unit, inputs.classes, inputs.tables)
            losses: list[float] = []
            if latents.sites:
                losses = self._fit(network, inputs, progress)
            mark = Fingerprint.of(latents.problem, tuple(inputs.parameters))
            return TrainedAmortised(network.eval(), mark, self.correct, {"loss": losses})

    def _simulator(
        self, scm: SCM, evidence: tuple[str, ...], worlds: dict[str, Interventions]
    ) -> tuple[Latents, Tensor]:
        """Return the evidence program for as many units as are simulated at once."""
        draws = max((len(value) for value in scm.parameters.values()), default=1)
        rows = min(draws, _TRAINING_ROWS)
        units = -(-self.num_simulations // rows)
        empty = Problem(scm, units, worlds, {}, ())
        unknown = [k for k in evidence if empty.split(k)[0] not in scm.structure.unit_sites]
        if unknown:
            raise DataError(
                f"evidence names {', '.join(map(repr, unknown))}; the sites are "
                f"{', '.join(scm.structure.unit_sites)}"
            )
        first = {name: value[:1] for name, value in scm.parameters.items()}
        likely = simulate(scm, units, evidence, worlds=worlds, given=first, num_draws=1)
        problem = replace(empty, evidence={key: likely[key][0] for key in evidence})
        reason = self.refusal(problem)
        if reason is not None:
            raise ProgramError(reason)
        return Latents(problem), torch.randperm(draws)[:rows]

    def _fit(self, network: Network, inputs: Inputs, progress: bool) -> list[float]:
        optimiser = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.num_steps)
        features = network.features(inputs.numbers)
        size = min(self.batch_size, len(features))
        losses = []
        with progress_bar(self.num_steps, "training the guide", progress=progress) as bar:
            for step in range(self.num_steps):
                batch = torch.randint(len(features), (size,), device=features.device)
                loss = -network.log_prob(
                    features[batch], inputs.unit[batch], inputs.classes[batch]
                ).mean()
                if not math.isfinite(float(loss.detach())):
                    raise FitError(
                        f"the loss became {float(loss.detach())} at step {step}; lower "
                        "learning_rate, or check the program's simulations for extreme values"
                    )
                optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), 10.0)
                optimiser.step()
                schedule.step()
                losses.append(float(loss.detach()))
                bar.update()
        return losses
