"""One guide for all units: a network from a unit's evidence to the posterior of its latents.

The network is trained on units that the program itself simulates, by maximising the log density of
the true latents given the evidence. That is the forward Kullback-Leibler divergence to the exact
posterior, averaged over evidence: its minimum is the posterior, and a network that is not quite
there is too wide rather than too narrow. After training a unit costs one forward pass.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from causalppl.exceptions import DataError, FitError, ProgramError
from causalppl.inference.engine import Answer, Engine, Problem
from causalppl.inference.importance import can_be_split, of_units
from causalppl.inference.latents import Latents, find_refusal, progress_bar
from causalppl.inference.variational import LEAST_DRAWS, judge, settled
from causalppl.programs.interventions import Interventions, Shift
from causalppl.programs.scm import SCM
from causalppl.programs.simulate import simulate
from causalppl.seeding import forked_rng
from causalppl.typing import Values

_MAX_CLASSES = 64  # combinations of discrete latents in one head
_MAX_CATEGORIES = 16  # distinct whole numbers that are one-hot coded
_TRAINING_ROWS = 256  # parameter draws among the simulations
_JUDGED = 256  # units by which k-hat is judged
_CHUNK = 2**18  # units in one forward pass
_FORMAT = 1


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
        correct: Weigh the draws by Pareto-smoothed importance weights, which costs the program's
            density for each draw.

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
    correct: bool = False

    def __post_init__(self) -> None:
        if min(self.num_steps, self.batch_size, self.num_simulations) < 1:
            raise DataError(
                f"num_steps={self.num_steps}, batch_size={self.batch_size}, num_simulations="
                f"{self.num_simulations}; expected positive numbers"
            )

    def refusal(self, problem: Problem) -> str | None:
        """See `Engine.refusal`."""
        return find_refusal(problem) or _find_tie(problem)

    def solve(self, problem: Problem, *, seed: int, progress: bool = False) -> Answer:
        """See `Engine.solve`."""
        if not problem.evidence:
            with forked_rng(seed):
                return Latents(problem).answer({}, problem.num_draws, is_exact=True)
        worlds = {world: problem.worlds[world] for world in _evidence_worlds(problem)}
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
    ) -> "TrainedAmortised":
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
            network.prepare(inputs)
            losses: list[float] = []
            if latents.sites:
                losses = self._fit(network, inputs, progress)
            return TrainedAmortised(network.eval(), self.correct, {"loss": losses})

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

    def _fit(self, network: "Network", inputs: "Inputs", progress: bool) -> list[float]:
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


@dataclass(frozen=True, eq=False)
class TrainedAmortised(Engine):
    """A trained `Amortised` guide, for problems with the evidence that it was trained for.

    Attributes:
        network: The guide.
        correct: See `Amortised`.
        history: ``loss``, the mean negative log density of each step's batch, in nats.

    Example:
        >>> trained = Amortised().train(scm, ["X", "Y"], seed=0)  # doctest: +SKIP
        >>> trained.save("guide.pt")  # doctest: +SKIP
    """

    name: ClassVar[str] = "Amortised"

    network: "Network"
    correct: bool = False
    history: Mapping[str, list[float]] = field(default_factory=dict)

    def refusal(self, problem: Problem) -> str | None:
        """See `Engine.refusal`."""
        spec = self.network.spec
        if set(problem.evidence) != set(spec.evidence):
            return (
                f"the guide was trained for evidence on {', '.join(spec.evidence)}, and the "
                f"evidence is on {', '.join(problem.evidence) or 'nothing'}; train one for it"
            )
        missing = [name for name in spec.parameters if name not in problem.scm.parameters]
        if missing:
            return f"the guide takes draws of {', '.join(missing)}, and the model has none"
        return find_refusal(problem) or _find_tie(problem)

    def solve(self, problem: Problem, *, seed: int, progress: bool = False) -> Answer:
        """See `Engine.solve`.

        Warns:
            ConvergenceWarning: k-hat is above 0.7 for some of the units that were judged.
        """
        num_draws = problem.num_draws
        with forked_rng(seed), torch.no_grad():
            latents = Latents(problem)
            self._check_latents(latents)
            if not latents.sites:
                return latents.answer({}, num_draws, is_exact=True)
            with latents.active():
                count = max(num_draws, LEAST_DRAWS) if self.correct else num_draws
                every = torch.arange(latents.num_parameter_draws)
                values, log_q, unit = self._draw(latents, every, count, progress)
                weights = None
                if self.correct:
                    ratios = self._ratios(latents, every, count, values, log_q, unit)
                    weights, diagnostics = judge(ratios, ratios, False)
                    values, weights = settled(latents, values, weights, num_draws)
                else:
                    diagnostics = self._judge(problem)
            return latents.answer(values, num_draws, weights, diagnostics=diagnostics)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the guide to a file; `load` reads it without executing code from it."""
        state = self.network.state_dict()
        torch.save(
            {
                "format": _FORMAT,
                "spec": self.network.spec.to_plain(),
                "state": dict(state),
                "tables": self.network.tables,
                "correct": self.correct,
                "history": {key: list(value) for key, value in self.history.items()},
            },
            path,
        )

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "TrainedAmortised":
        """Read a guide that `save` wrote.

        Raises:
            DataError: The file is not one of these.
        """
        try:
            found = torch.load(path, weights_only=True)
        except FileNotFoundError:
            raise
        except Exception as error:  # torch raises a different one for each kind of junk
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise DataError(
                f"{path!s} cannot be read as a trained guide ({reason}); expected a file that "
                "TrainedAmortised.save wrote"
            ) from error
        if not isinstance(found, dict) or found.get("format") != _FORMAT:
            raise DataError(
                f"{path!s} is not a trained guide of format {_FORMAT}; save it again with this "
                "version"
            )
        network = Network(Spec.from_plain(found["spec"]))
        state = found["state"]
        network.to(next(value for value in state.values() if value.is_floating_point()))
        network.shape_like(state)
        network.load_state_dict(state)
        network.tables = found["tables"]
        return cls(network.eval(), found["correct"], found["history"])

    def _check_latents(self, latents: Latents) -> None:
        found = tuple((s.name, s.size, s.is_discrete) for s in latents.sites)
        if found != self.network.spec.latents:
            raise DataError(
                f"the guide was trained for the latents {[s[0] for s in self.network.spec.latents]}"
                f", and the model's are {[s[0] for s in found]}; train it for this model"
            )

    def _draw(
        self, latents: Latents, rows: Tensor, count: int, progress: bool
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Draw all latents, for some parameter draws.

        Returns:
            Values of the latents with ``len(rows) * count`` rows, log densities ``(rows, units)``
            and the unconstrained latents.
        """
        n, spec = latents.problem.num_units, self.network.spec
        numbers = _numbers(latents, spec, latents.problem.evidence, rows)
        unit = numbers.new_empty(len(rows), count, n, spec.size)
        log_q = numbers.new_empty(len(rows), count, n)
        classes = torch.zeros(len(rows), count, n, dtype=torch.long, device=numbers.device)
        step = max(1, _CHUNK // count)
        pieces = [(r, slice(i, i + step)) for r in range(len(rows)) for i in range(0, n, step)]
        with progress_bar(len(pieces), "drawing latents", progress=progress) as bar:
            for r, piece in pieces:
                features = self.network.features(numbers[r, piece])
                drawn = self.network.sample(features, count)
                unit[r, :, piece], classes[r, :, piece], log_q[r, :, piece] = drawn
                bar.update()
        index = rows.repeat_interleave(count)
        flat = unit.flatten(0, 1)
        values = dict(latents.constrain(index, flat))
        values |= self._discrete(latents, classes.flatten(0, 1))
        return values, log_q.flatten(0, 1), flat

    def _discrete(self, latents: Latents, classes: Tensor) -> dict[str, Tensor]:
        """Turn combinations into values of each discrete latent."""
        values = {}
        for site in reversed(latents.discrete):
            table = self.network.tables[site.name].to(classes.device)
            code = classes % len(table)
            classes = classes // len(table)
            # (rows, units, *event) with one value per unit
            value = table[code]
            shape = (len(classes), *site.batch_shape, *site.event_shape)
            units_at = site.units_dim - len(site.event_shape)
            inner = len(site.batch_shape) - 1
            value = value.reshape(*value.shape[:2], *(1,) * inner, *value.shape[2:])
            values[site.name] = value.movedim(1, units_at).reshape(shape)
        return values

    def _ratios(
        self,
        latents: Latents,
        rows: Tensor,
        count: int,
        values: Values,
        log_q: Tensor,
        unit: Tensor,
    ) -> Tensor:
        index = rows.repeat_interleave(count)
        discrete = {site.name: values[site.name] for site in latents.discrete}
        log_p, _ = latents.log_density(index, unit, None, discrete or None)
        return (log_p - log_q).reshape(len(rows), count, -1)

    def _judge(self, problem: Problem) -> dict[str, Any]:
        """Judge the guide by more draws for some of the units."""
        n, count = problem.num_units, 2 * LEAST_DRAWS
        if n > _JUDGED and can_be_split(problem):
            at = torch.linspace(0, n - 1, _JUDGED).long()
            problem = of_units(problem, at)
        latents = Latents(problem)
        draws = latents.num_parameter_draws
        rows = torch.linspace(0, draws - 1, min(4, draws)).long()
        with latents.active():
            values, log_q, unit = self._draw(latents, rows, count, False)
            ratios = self._ratios(latents, rows, count, values, log_q, unit)
        _, diagnostics = judge(ratios, ratios, False)
        if problem.num_units < n:
            return {"khat": max(diagnostics["khat"])}
        return diagnostics


# -- what goes in --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spec:
    """What a network was built for.

    Attributes:
        flow: Whether its density is a flow.
        hidden: Widths of its layers.
        evidence: Keys of the evidence.
        latents: Name, unconstrained size and discreteness of each latent.
        parameters: Parameters whose draws are inputs.
        widths: Numbers that each input takes.
        size: Unconstrained numbers of a unit's continuous latents.
        num_classes: Combinations of the discrete latents; 1 where there are none.
    """

    flow: bool
    hidden: tuple[int, ...]
    evidence: tuple[str, ...]
    latents: tuple[tuple[str, int, bool], ...]
    parameters: tuple[str, ...]
    widths: tuple[tuple[str, int], ...]
    size: int
    num_classes: int

    def to_plain(self) -> dict[str, Any]:
        """Return the fields in plain types."""
        return {
            **vars(self),
            "latents": [list(latent) for latent in self.latents],
            "widths": [list(width) for width in self.widths],
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Spec":
        """Invert `to_plain`."""
        return cls(
            bool(plain["flow"]),
            tuple(plain["hidden"]),
            tuple(plain["evidence"]),
            tuple((str(a), int(b), bool(c)) for a, b, c in plain["latents"]),
            tuple(plain["parameters"]),
            tuple((str(a), int(b)) for a, b in plain["widths"]),
            int(plain["size"]),
            int(plain["num_classes"]),
        )


@dataclass(frozen=True)
class Inputs:
    """Simulated units.

    Attributes:
        numbers: Evidence and parameters, shape ``(simulations, numbers)``.
        unit: Unconstrained continuous latents, ``(simulations, size)``.
        classes: Combination of the discrete latents, ``(simulations,)``.
        tables: Discrete latent to its values, ``(values, *event)``.
        widths: Input to how many of the numbers it takes.
        parameters: The inputs that are parameters.
    """

    numbers: Tensor
    unit: Tensor
    classes: Tensor
    tables: dict[str, Tensor]
    widths: dict[str, int]
    parameters: tuple[str, ...]

    @classmethod
    def of(cls, latents: Latents, index: Tensor) -> "Inputs":
        """Simulate, and drop the units with a number that is not finite."""
        unit, discrete, seen = latents.joint_draws(index)
        parameters = _relevant_parameters(latents)
        numbers, widths = _flattened(latents, seen, parameters, index)
        tables = _tables(latents)
        classes = torch.zeros(unit.shape[:2], dtype=torch.long, device=unit.device)
        for site in latents.discrete:
            code = _codes(site.to_units(discrete[site.name]), tables[site.name])
            classes = classes * len(tables[site.name]) + code
        flat = unit.flatten(0, 1)
        numbers = numbers.flatten(0, 1).to(flat.dtype)
        keep = torch.isfinite(flat).all(1) & torch.isfinite(numbers).all(1)
        if not bool(keep.any()):
            raise FitError("no simulation of the program is finite; check its mechanisms")
        return cls(numbers[keep], flat[keep], classes.flatten()[keep], tables, widths, parameters)


def _flattened(
    latents: Latents, seen: Values, parameters: Sequence[str], index: Tensor
) -> tuple[Tensor, dict[str, int]]:
    """Put evidence ``(rows, units, ...)`` and parameters side by side."""
    rows, n = len(index), latents.problem.num_units
    dtype = latents.like.dtype
    parts, widths = [], {}
    for key, value in seen.items():
        flat = value.reshape(rows, n, -1).to(dtype)
        parts.append(flat)
        widths[key] = flat.shape[-1]
    for name in parameters:
        draws = latents.scm.parameters[name]
        flat = draws[index.to(draws.device)].reshape(rows, 1, -1).to(dtype).expand(rows, n, -1)
        parts.append(flat)
        widths[name] = flat.shape[-1]
    return torch.cat(parts, -1), widths


def _numbers(latents: Latents, spec: Spec, evidence: Values, rows: Tensor) -> Tensor:
    """Return the inputs of a problem's units, shape ``(rows, units, numbers)``."""
    n = latents.problem.num_units
    seen = {key: evidence[key].expand(len(rows), *evidence[key].shape) for key in spec.evidence}
    numbers, widths = _flattened(latents, seen, spec.parameters, rows)
    if tuple(widths.items()) != spec.widths:
        raise DataError(
            f"the evidence of {n} units has {widths} numbers for each unit; the guide was trained "
            f"for {dict(spec.widths)}"
        )
    return numbers


def _relevant_parameters(latents: Latents) -> tuple[str, ...]:
    """Parameters that the evidence depends on and that differ between draws."""
    if latents.num_parameter_draws == 1:
        return ()
    bases = {latents.problem.split(key)[0] for key in latents.evidence}
    ancestors = latents.structure.ancestors(bases)
    return tuple(name for name in latents.scm.parameters if name in ancestors)


def _tables(latents: Latents) -> dict[str, Tensor]:
    """Values of each discrete latent."""
    tables = {}
    for site in latents.discrete:
        if not site.law.has_enumerate_support:
            raise ProgramError(f"the discrete latent {site.name!r} has infinitely many values")
        if math.prod(site.batch_shape) != latents.problem.num_units:
            raise ProgramError(
                f"the discrete latent {site.name!r} has several values for each unit; use "
                "Variational"
            )
        support = site.law.enumerate_support(expand=False)
        tables[site.name] = support.reshape(len(support), *site.event_shape)
    combinations = math.prod(len(table) for table in tables.values())
    if combinations > _MAX_CLASSES:
        raise ProgramError(
            f"the discrete latents {', '.join(tables)} have {combinations} combinations, more than "
            f"the {_MAX_CLASSES} of one categorical head; use Variational or Enumeration"
        )
    return tables


def _codes(value: Tensor, table: Tensor) -> Tensor:
    """Position of each value, ``(rows, units, *event)``, in a table of values."""
    equal = value.unsqueeze(2) == table
    return (
        equal.flatten(3).all(-1).long().argmax(-1) if equal.dim() > 3 else equal.long().argmax(-1)
    )


def _find_tie(problem: Problem) -> str | None:
    """Say what keeps a problem's units from being answered one by one."""
    sites = problem.scm.structure.sites
    given = [name for name, site in sites.items() if site.is_observed]
    if given:
        return f"the program itself observes {', '.join(given)}, so no other units can be simulated"
    if problem.free_parameters:
        return (
            f"the parameters {', '.join(problem.free_parameters)} have no draws and tie the units "
            "together; fit the model to data first"
        )
    for world in _evidence_worlds(problem):
        for name, value in problem.worlds[world].items():
            value = value.by if isinstance(value, Shift) else value
            if isinstance(value, Tensor) and value.dim() and value.numel() > 1:
                return (
                    f"there is evidence in the world {world!r}, whose intervention on {name!r} "
                    "differs between units; use Variational"
                )
    return None


def _evidence_worlds(problem: Problem) -> tuple[str, ...]:
    found = {problem.split(key)[1] for key in problem.evidence} - {""}
    if not found:
        return ()
    return tuple(problem.worlds)  # worlds may take values from one another


# -- the network ---------------------------------------------------------------------------------


class Network(nn.Module):
    """From a unit's evidence to the law of its latents.

    Args:
        spec: What it is for.

    Attributes:
        tables: Discrete latent to its values.
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        self.tables: dict[str, Tensor] = {}
        numbers = sum(width for _, width in spec.widths)
        self.register_buffer("centre", torch.zeros(numbers))
        self.register_buffer("spread", torch.ones(numbers))
        self.register_buffer("is_heavy", torch.zeros(numbers, dtype=torch.bool))
        self.register_buffer("categories", torch.zeros(0))
        self.register_buffer("owner", torch.zeros(0, dtype=torch.long))
        self.register_buffer("regression", torch.zeros(0))
        self.register_buffer("residual", torch.eye(spec.size))
        self.head: nn.Module | None = None
        self.classifier: nn.Module | None = None

    def prepare(self, inputs: Inputs) -> None:
        """Fit what needs no gradient: scales, categories, and the linear regression."""
        numbers, spec = inputs.numbers, self.spec
        self.tables = dict(inputs.tables)
        middle = numbers.median(0).values
        self.centre = middle
        self.spread = _robust_spread(numbers)
        self.is_heavy = ((numbers - middle).abs() / self.spread).amax(0) > 10
        owner, categories = [], []
        for column in range(numbers.shape[1]):
            values = numbers[:4096, column].unique()
            if 2 < len(values) <= _MAX_CATEGORIES and bool((values == values.round()).all()):
                levels = numbers[:, column].unique()
                if len(levels) <= _MAX_CATEGORIES:
                    owner += [column] * len(levels)
                    categories.append(levels)
        self.owner = torch.tensor(owner, dtype=torch.long, device=numbers.device)
        self.categories = torch.cat(categories) if categories else numbers.new_zeros(0)
        self._build()
        self.to(inputs.unit)
        if not spec.size:
            return
        design = self._design(self.features(numbers), inputs.classes)
        some = slice(0, 65_536)
        x, y = design[some].double(), inputs.unit[some].double()
        ridge = 1e-6 * len(x) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        beta = torch.linalg.solve(x.mT @ x + ridge, x.mT @ y)
        left = y - x @ beta
        covariance = left.mT @ left / len(left)
        jitter = 1e-10 + 1e-8 * covariance.diagonal().mean()
        eye = torch.eye(spec.size, dtype=x.dtype, device=x.device)
        self.regression = beta.to(inputs.unit.dtype)
        self.residual = torch.linalg.cholesky(covariance + jitter * eye).to(inputs.unit.dtype)

    def shape_like(self, state: Mapping[str, Tensor]) -> None:
        """Give buffers and layers the shapes of a saved state."""
        for name, value in state.items():
            if "." not in name:
                setattr(self, name, torch.empty_like(value))
        self._build()
        self.to(state["centre"])

    def _build(self) -> None:
        spec = self.spec
        width = len(self.centre) + len(self.categories)
        if spec.num_classes > 1:
            self.classifier = _layers(width, spec.hidden, spec.num_classes)
        context = width + (spec.num_classes if spec.num_classes > 1 else 0)
        if spec.size and spec.flow:
            zuko = _zuko()
            self.head = zuko.flows.NSF(
                features=spec.size, context=context, transforms=3, hidden_features=spec.hidden
            )
        elif spec.size:
            self.head = _layers(context, spec.hidden, spec.size * (spec.size + 3) // 2)

    def features(self, numbers: Tensor) -> Tensor:
        """Standardise numbers, tame heavy tails, and add one-hot codes of categories."""
        scaled = (numbers - self.centre) / self.spread
        scaled = torch.where(self.is_heavy, torch.asinh(scaled), scaled)
        if not len(self.categories):
            return scaled
        codes = (numbers[..., self.owner] == self.categories).to(scaled.dtype)
        return torch.cat([scaled, codes], -1)

    def log_prob(self, features: Tensor, unit: Tensor, classes: Tensor) -> Tensor:
        """Log density of latents: ``(batch, size)`` and ``(batch,)`` to ``(batch,)``."""
        total = features.new_zeros(features.shape[:-1])
        if self.classifier is not None:
            logits = self.classifier(features)
            total = total + logits.log_softmax(-1).gather(-1, classes[..., None]).squeeze(-1)
        if self.head is None:
            return total
        white = self._whiten(unit, features, classes)
        log_scale = self.residual.diagonal().log().sum()
        return total + self._log_white(white, self._context(features, classes)) - log_scale

    def sample(self, features: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draw latents.

        Args:
            features: Shape ``(units, features)``.
            count: Draws for each unit.

        Returns:
            Continuous latents ``(count, units, size)``, combinations of the discrete ones and log
            densities, ``(count, units)``.
        """
        units = len(features)
        classes = torch.zeros(count, units, dtype=torch.long, device=features.device)
        log_q = features.new_zeros(count, units)
        if self.classifier is not None:
            log_classes = self.classifier(features).log_softmax(-1)
            classes = torch.multinomial(log_classes.exp(), count, replacement=True).mT
            log_q = log_classes.gather(1, classes.mT).mT
        if self.head is None:
            return features.new_zeros(count, units, 0), classes, log_q
        if self.classifier is None:  # one pass of the network serves all draws
            white, log_white = self._sample_white(self._context(features, classes[0]), (count,))
        else:
            context = self._context(features.expand(count, *features.shape), classes)
            white, log_white = self._sample_white(context, ())
        design = self._design(features.expand(count, *features.shape), classes)
        unit = design @ self.regression + white @ self.residual.mT
        return unit, classes, log_q + log_white - self.residual.diagonal().log().sum()

    def _context(self, features: Tensor, classes: Tensor) -> Tensor:
        if self.classifier is None:
            return features
        codes = nn.functional.one_hot(classes, self.spec.num_classes).to(features.dtype)
        return torch.cat([features, codes], -1)

    def _design(self, features: Tensor, classes: Tensor) -> Tensor:
        ones = torch.ones_like(features[..., :1])
        return torch.cat([self._context(features, classes), ones], -1)

    def _whiten(self, unit: Tensor, features: Tensor, classes: Tensor) -> Tensor:
        left = unit - self._design(features, classes) @ self.regression
        return torch.linalg.solve_triangular(self.residual, left.mT, upper=False).mT

    def _gaussian(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Location and factor, in the coordinates of the regression's residuals."""
        assert self.head is not None
        size = self.spec.size
        out = self.head(context)
        loc, log_diagonal, below = out.split([size, size, size * (size - 1) // 2], -1)
        factor = torch.diag_embed(log_diagonal.clamp(-12, 12).exp())
        rows, columns = torch.tril_indices(size, size, -1)
        factor[..., rows, columns] = below
        return loc, factor

    def _log_white(self, white: Tensor, context: Tensor) -> Tensor:
        if self.spec.flow:
            assert self.head is not None
            log_prob: Tensor = self.head(context).log_prob(white)
            return log_prob
        loc, factor = self._gaussian(context)
        noise = torch.linalg.solve_triangular(
            factor, (white - loc).unsqueeze(-1), upper=False
        ).squeeze(-1)
        return _log_standard(noise) - factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def _sample_white(self, context: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        if self.spec.flow:
            assert self.head is not None
            white, log_white = self.head(context).rsample_and_log_prob(shape)
            return white, log_white
        loc, factor = self._gaussian(context)
        noise = torch.randn(shape + loc.shape, dtype=loc.dtype, device=loc.device)
        white = loc + (factor @ noise.unsqueeze(-1)).squeeze(-1)
        log_scale = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return white, _log_standard(noise) - log_scale


def _layers(width: int, hidden: Sequence[int], out: int) -> nn.Sequential:
    """A perceptron whose output starts at zero."""
    layers: list[nn.Module] = []
    for size in hidden:
        layers += [nn.Linear(width, size), nn.SiLU()]
        width = size
    last = nn.Linear(width, out)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)


def _log_standard(noise: Tensor) -> Tensor:
    return -0.5 * (noise**2).sum(-1) - 0.5 * noise.shape[-1] * math.log(2 * math.pi)


def _robust_spread(numbers: Tensor) -> Tensor:
    """Scale of each column that outliers do not move; the plain one where most values tie."""
    some = numbers[:65_536]
    levels = torch.tensor([0.16, 0.84], dtype=some.dtype, device=some.device)
    low, high = torch.quantile(some, levels, 0)
    spread = (high - low) / 2
    spread = torch.where(spread > 0, spread, some.std(0).nan_to_num())
    return torch.where(spread > 0, spread, torch.ones_like(spread))


def _zuko() -> Any:
    try:
        import zuko
    except ImportError as error:
        raise ImportError(
            "Amortised(flow=True) needs zuko; install it with pip install 'causalppl[deep]'"
        ) from error
    return zuko
