"""Thompson sampling's posterior for any program with parameters: approximate, refitted at times."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from pyro.poutine.messenger import Messenger

from causalppl.agents.agent import Array, Integers
from causalppl.agents.choice import Choice
from causalppl.agents.thompson import Belief, Engine
from causalppl.exceptions import AssumptionError, ConvergenceWarning, QueryError
from causalppl.inference.fit import fit
from causalppl.inference.fit_method import FitMethod
from causalppl.inference.svi_fit import SVIFit
from causalppl.programs import SCM
from causalppl.programs.do import DoMessenger
from causalppl.programs.scm import Given, Recorder
from causalppl.seeding import forked_rng
from causalppl.typing import Program

__all__ = ["ProgramPosterior"]


@dataclass(frozen=True)
class ProgramPosterior(Engine):
    """Draws of a program's parameters, the sites outside its plate ``units``, given the rows.

    This is approximate, and slower than engines for one kind of model: each refit runs
    `causalppl.fit` on all rows. Between refits draws are from the posterior of the last one. What
    arms earn is the mean of units that are drawn for all arms in one run of the program. The belief
    keeps what the fits say of themselves in ``diagnostics``, one entry for each run: among others
    ``khat``, above 0.7 where the guide does not cover the posterior, and ``elbo``.

    Rows in which a variable was set say nothing of its mechanism: their density leaves it out.

    Attributes:
        model: The program, or an SCM.
        method: How to fit: `SVIFit` or `NUTSFit`.
        every: After how many rows to refit; None: after 1, 2, 4, 8, ... rows, and after logs.
        num_units: Units that are drawn for each arm.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from causalppl.agents import ThompsonSampling
        >>> def program(n):
        ...     effect = pyro.sample("effect", dist.Normal(0.0, 1.0))
        ...     with pyro.plate("units", n):
        ...         x = pyro.sample("X", dist.Normal(0.0, 1.0))
        ...         pyro.sample("Y", dist.Normal(effect * x, 1.0))
        >>> scm = SCM(program)
        >>> engine, arms = ProgramPosterior(scm, SVIFit(num_steps=50)), [{"X": 0}, {"X": 1}]
        >>> agent = ThompsonSampling(scm.graph, arms, "Y", engine=engine).start(seed=0)
        >>> x = np.linspace(-1, 1, 50)
        >>> agent.observe({"X": x, "Y": -2 * x})
        >>> agent.recommend()
        0
    """

    is_discrete: ClassVar[bool] = False

    model: SCM | Program
    method: FitMethod = field(default_factory=lambda: SVIFit(num_steps=300))
    every: int | None = None
    num_units: int = 200

    def begin(self, choice: Choice, rngs: list[np.random.Generator], runs: int) -> "_ProgramBelief":
        """Return the belief of knowing nothing: the prior.

        Raises:
            AssumptionError: Something is seen before acting, or the program has no parameter.
            QueryError: The program does not observe the variables of the choice.
        """
        if choice.context:
            raise AssumptionError(
                f"{', '.join(choice.context)} is seen before acting, which ProgramPosterior does "
                "not use; expected no context, or finite variables and LatentClasses"
            )
        scm = self.model if isinstance(self.model, SCM) else SCM(self.model)
        if missing := [name for name in choice.graph.nodes if name not in scm.observed]:
            raise QueryError(
                f"{', '.join(missing)} is in the diagram, but not observed by the program, which "
                f"has {', '.join(scm.observed)}"
            )
        if not _parameters(scm):
            raise AssumptionError(
                "the program has no parameter to learn, that is no sample site outside the plate "
                "'units'; draw them before the plate"
            )
        return _ProgramBelief(self, scm, choice, rngs, runs)


class _ProgramBelief(Belief):
    """Rows, and draws of the parameters from the last fit, for each run.

    Attributes:
        diagnostics: What the last fit says of itself, one mapping for each run; empty before.
        draws: Parameter draws of each run.
    """

    def __init__(
        self,
        engine: ProgramPosterior,
        scm: SCM,
        choice: Choice,
        rngs: list[np.random.Generator],
        runs: int,
    ) -> None:
        self.engine, self.scm, self.choice, self.rngs, self.runs = engine, scm, choice, rngs, runs
        self.nodes = [name for name in choice.graph.nodes if name in scm.observed]
        self.rows: dict[str, Array] = {name: np.zeros((runs, 0)) for name in self.nodes}
        self.was_set = np.zeros((runs, 0, len(self.nodes)), dtype=bool)
        self.num_learned = 0
        self.diagnostics: list[dict[str, Any]] = [{} for _ in range(runs)]
        self.draws = [self._prior(run) for run in range(runs)]

    def learn(self, values: Mapping[str, Array], arms: Integers) -> None:
        chosen = [self.choice.arms[arm] if arm >= 0 else {} for arm in np.asarray(arms)]
        was_set = np.array([[name in arm for name in self.nodes] for arm in chosen])
        self._add({name: values[name][:, None] for name in self.nodes}, was_set[:, None])
        self.num_learned += 1
        count = self.num_learned
        if count % self.engine.every == 0 if self.engine.every else count & (count - 1) == 0:
            self._refit()

    def read(self, values: Mapping[str, Array], set_variables: frozenset[str]) -> None:
        was_set = np.array([name in set_variables for name in self.nodes])
        shape = (*values[self.nodes[0]].shape, len(self.nodes))
        self._add({n: values[n] for n in self.nodes}, np.broadcast_to(was_set, shape))
        self._refit()

    def draw(self) -> Array:
        found = []
        for run in range(self.runs):
            rng = self._rng(run)
            chosen = int(rng.integers(_count(self.draws[run])))
            found.append(self._means(self.draws[run], [chosen], _seed(rng)))
        return np.stack(found)[:, None]

    def average(self) -> Array:
        found = []
        for run in range(self.runs):
            count = _count(self.draws[run])
            chosen = np.linspace(0, count - 1, min(_TO_AVERAGE, count)).astype(int)
            found.append(self._means(self.draws[run], chosen.tolist(), _FIXED_SEED))
        return np.stack(found)[:, None]

    def view(self, observation: Any) -> Integers:
        return np.zeros(1, dtype=np.int64)

    def state(self) -> dict[str, Any]:
        names = ("rows", "was_set", "num_learned", "diagnostics", "draws")
        return {name: getattr(self, name) for name in names}

    def load(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)

    def _rng(self, run: int) -> np.random.Generator:
        return self.rngs[run // -(-self.runs // len(self.rngs))]

    def _add(self, values: Mapping[str, Array], was_set: Any) -> None:
        self.rows = {n: np.concatenate([self.rows[n], values[n]], 1) for n in self.nodes}
        self.was_set = np.concatenate([self.was_set, was_set], 1)

    def _refit(self) -> None:
        for run in range(self.runs):
            self._fit(run, _seed(self._rng(run)))

    def _fit(self, run: int, seed: int) -> None:
        masks = {n: torch.from_numpy(~self.was_set[run, :, k]) for k, n in enumerate(self.nodes)}
        data = {name: self._column(name, run) for name in self.nodes}
        with warnings.catch_warnings():
            # what is warned of is in the diagnostics
            warnings.simplefilter("ignore", ConvergenceWarning)
            fitted = fit(_masked(self.scm, masks), data, method=self.engine.method, seed=seed)
        record = fitted.fit_record
        elbo = float(record.elbo[-1]) if len(record.elbo) else math.nan
        self.diagnostics[run] = {**record.diagnostics, "elbo": elbo, "rows": record.num_rows}
        self.draws[run] = fitted.parameters

    def _column(self, name: str, run: int) -> torch.Tensor:
        found = torch.from_numpy(self.rows[name][run].copy())
        return found.to(self._dtypes[name])

    @property
    def _dtypes(self) -> dict[str, torch.dtype]:
        """The type of each variable's values, as the program has them."""
        known = self.__dict__.setdefault("_known_dtypes", {})
        if not known:
            known |= {n: v.dtype for n, v in self.scm.sample(2, seed=0).items()}
        return known

    def _prior(self, run: int) -> dict[str, torch.Tensor]:
        """Draw parameters from the prior."""
        drawn: dict[str, list[torch.Tensor]] = {name: [] for name in _parameters(self.scm)}
        with forked_rng(_seed(self._rng(run))), torch.no_grad():
            for _ in range(_PRIOR_DRAWS):
                recorder = Recorder(list(drawn))
                with self.scm.running(), recorder:
                    self.scm.program(1)
                for name in drawn:
                    drawn[name].append(recorder.values[name])
        return {name: torch.stack(values) for name, values in drawn.items()}

    def _means(self, draws: Mapping[str, torch.Tensor], chosen: list[int], seed: int) -> Array:
        """Mean reward of each arm under some draws: all arms in one run of the program each."""
        total = np.zeros(len(self.choice.arms))
        for turn, number in enumerate(chosen):
            given = {name: value[number] for name, value in draws.items()}
            total += self._run(given, seed + turn)
        return total / len(chosen)

    def _run(self, given: Mapping[str, torch.Tensor], seed: int) -> Array:
        """Draw the same number of units for each arm, side by side."""
        arms, count = self.choice.arms, self.engine.num_units
        recorder = Recorder([self.choice.reward])
        with forked_rng(seed), self.scm.running(), torch.no_grad(), recorder, Given(given):
            with DoMessenger(self._interventions(count)):
                self.scm.program(len(arms) * count)
        drawn = recorder.values[self.choice.reward].double().expand(len(arms) * count)
        return drawn.reshape(len(arms), count).mean(1).numpy()

    def _interventions(self, count: int) -> dict[str, Any]:
        arms = self.choice.arms
        found = {}
        for name in self.choice.graph.in_order({n for arm in arms for n in arm}):
            is_set = torch.tensor([name in arm for arm in arms]).repeat_interleave(count)
            to = [float(arm.get(name, 0.0)) for arm in arms]
            found[name] = _where(is_set, torch.tensor(to).repeat_interleave(count))
        return found


_TO_AVERAGE = 50
_PRIOR_DRAWS = 200
_FIXED_SEED = 0


def _where(is_set: torch.Tensor, value: torch.Tensor) -> Any:
    def policy(natural: torch.Tensor) -> torch.Tensor:
        return torch.where(is_set, value.to(natural.dtype), natural)

    return policy


def _parameters(scm: SCM) -> list[str]:
    sites = scm.structure.sites
    return [
        name
        for name in scm.structure.parameters
        if sites[name].kind == "sample" and not sites[name].is_observed
    ]


def _masked(scm: SCM, masks: Mapping[str, torch.Tensor]) -> SCM:
    """The model in which some rows do not count for the density of some sites."""
    program = scm.program

    def masked(n: int) -> Any:
        with _Masks(masks, n):
            return program(n)

    found = scm._copy()
    found.program = masked
    return found


class _Masks(Messenger):
    """Leave the density of sites out in the rows in which they were set."""

    def __init__(self, masks: Mapping[str, torch.Tensor], count: int) -> None:
        super().__init__()
        # runs on fewer units, which look at the program's structure, have nothing to leave out
        self._masks = {n: mask for n, mask in masks.items() if len(mask) == count}

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self._masks:
            mask = self._masks[msg["name"]]
            msg["mask"] = mask if msg["mask"] is None else msg["mask"] & mask


def _count(draws: Mapping[str, torch.Tensor]) -> int:
    return len(next(iter(draws.values())))


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**63))
