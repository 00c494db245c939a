"""A unit counterfactual of a linear Gaussian program with latents: time, and error.

The query is ``E[Y_{X=0} | X, M, W]`` with two latent causes, ``Y`` itself being seen only through
``W``. The truth is conditioning a joint normal, written out with matrices. ChiRho has the same
program with the noise of each observed site as a transformation, so that its worlds can share it,
and fits a full normal guide by SVI.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from _harness import Benchmark, Measured, Row, Target, benchmark, compare, is_installed, spread
from pyro.distributions.transforms import AffineTransform

from causalppl import SCM, Gaussian, infer
from causalppl.inference.engine import Problem

RARITY = {"common evidence": 1.0, "evidence at six sigma": 6.0}
SEEN = ("X", "M", "W")
SVI_STEPS = 1_000
SVI_DRAWS = 1_000
NAMES = ("U", "V", "X", "M", "Y", "W")


@dataclass(frozen=True)
class Model:
    """``U -> X, Y``; ``V -> M, Y``; ``X -> M -> Y -> W``; ``X -> Y``; ``U, V, Y`` latent."""

    weights: dict[tuple[str, str], float]
    scales: dict[str, float]

    @classmethod
    def drawn(cls, seed: int) -> "Model":
        """One with random weights and scales."""
        rng = np.random.default_rng(seed)
        edges = ("UX", "UY", "VM", "VY", "XM", "MY", "XY", "YW")
        return cls(
            {(a, b): float(rng.normal()) for a, b in edges},
            {name: float(rng.uniform(0.5, 1.5)) for name in NAMES},
        )

    def loc(self, name: str, values: dict[str, Any]) -> Any:
        """Mean of a site given the values of its parents."""
        return sum((w * values[a] for (a, b), w in self.weights.items() if b == name), 0.0)

    def program(self) -> None:
        """The program as one writes it."""
        values: dict[str, Any] = {}
        for name in NAMES:
            law = dist.Normal(self.loc(name, values), self.scales[name])
            values[name] = pyro.sample(name, law)

    def transformed(self) -> Any:
        """The same with noise that ChiRho can share; returns ``Y``."""
        values: dict[str, Any] = {}
        for name in NAMES:
            loc, scale = torch.as_tensor(self.loc(name, values)), torch.tensor(self.scales[name])
            if name not in SEEN and name != "Y":
                values[name] = pyro.sample(name, dist.Normal(loc, scale))
                continue
            noise = dist.Normal(torch.zeros(()), torch.ones(()))
            law = dist.TransformedDistribution(noise, [AffineTransform(loc, scale)])
            values[name] = pyro.sample(name, law)
        return values["Y"]

    def evidence(self, sigmas: float) -> dict[str, float]:
        """Each observed site at ``sigmas`` standard deviations of its noise, signs in turn.

        Rounded to what a float32 tensor holds, so that all are asked the very same thing.
        """
        values = {"U": 0.0, "V": 0.0}
        for name, sign in (("X", 1), ("M", -1), ("Y", 0), ("W", 1)):
            values[name] = float(self.loc(name, values)) + sign * sigmas * self.scales[name]
        return {name: float(np.float32(values[name])) for name in SEEN}

    def truth(self, evidence: dict[str, float]) -> tuple[float, float]:
        """Mean and standard deviation of ``Y_{X=0}`` by conditioning the noise."""
        at = {name: i for i, name in enumerate(NAMES)}
        size = len(NAMES)
        b = np.zeros((size, size))
        for (cause, effect), weight in self.weights.items():
            b[at[effect], at[cause]] = weight
        d = np.diag([self.scales[name] for name in NAMES])
        factual = np.linalg.inv(np.eye(size) - b) @ d
        cut_b, cut_d = b.copy(), d.copy()
        cut_b[at["X"]] = 0.0
        cut_d[at["X"]] = 0.0
        other = (np.linalg.inv(np.eye(size) - cut_b) @ cut_d)[at["Y"]]
        rows = factual[[at[name] for name in evidence]]
        gain = np.linalg.solve(rows @ rows.T, rows @ other)
        variance = other @ other - gain @ rows @ other
        return float(gain @ np.array(list(evidence.values()))), math.sqrt(variance)


class Asked:
    """One model, one unit's evidence, and the ways to answer."""

    def __init__(self, seed: int, sigmas: float) -> None:
        self.model = Model.drawn(seed)
        self.scm = SCM(self.model.program, observed=SEEN)
        self.evidence = self.model.evidence(sigmas)
        self.mean, self.sd = self.model.truth(self.evidence)
        seen = ", ".join(f"{name}={value}" for name, value in self.evidence.items())
        self.query = f"E[Y_{{X=0}} | {seen}]"
        self.law_query = f"P(Y_{{X=0}} | {seen})"
        given = {name: torch.tensor([value]) for name, value in self.evidence.items()}
        self.problem = Problem(self.scm, 1, {"w": {"X": 0.0}}, given, ("Y@w",), num_draws=1)

    def solve(self) -> Any:
        """The engine alone."""
        return Gaussian().solve(self.problem, seed=0)

    def infer_with_engine(self) -> Any:
        """The whole call, engine named."""
        return infer(self.scm, self.query, engine=Gaussian(), seed=0)

    def infer(self) -> Any:
        """The whole call, as a user writes it."""
        return infer(self.scm, self.query, seed=0)

    def infer_law(self) -> Any:
        """The whole call for the law, with its draws."""
        return infer(self.scm, self.law_query, seed=0)

    def error(self) -> float:
        """Largest error of mean and standard deviation, in units of the true one."""
        law = self.solve().laws["Y@w"]
        found = float(law.mean().squeeze()), float(law.sd().squeeze())
        return max(abs(found[0] - self.mean), abs(found[1] - self.sd)) / self.sd

    def chirho(self, seed: int = 0) -> torch.Tensor:
        """Draws of ``Y_{X=0}`` by ChiRho with SVI."""
        from chirho.counterfactual.handlers import MultiWorldCounterfactual
        from chirho.indexed.ops import IndexSet, gather
        from chirho.interventional.handlers import do
        from chirho.observational.handlers import condition
        from pyro.infer import SVI, Trace_ELBO
        from pyro.infer.autoguide import AutoMultivariateNormal

        seen = {name: torch.tensor(value) for name, value in self.evidence.items()}
        conditioned = pyro.condition(self.model.transformed, data=seen)
        with pyro.get_param_store().scope(), torch.random.fork_rng():
            pyro.set_rng_seed(seed)
            guide = AutoMultivariateNormal(conditioned)
            svi = SVI(conditioned, guide, pyro.optim.Adam({"lr": 0.02}), Trace_ELBO())
            for _ in range(SVI_STEPS):
                svi.step()
            with torch.no_grad():
                plate = pyro.plate("draws", SVI_DRAWS, dim=-1)
                with plate:
                    latents = guide()
                worlds = MultiWorldCounterfactual(first_available_dim=-2)
                evidence = condition(data={**seen, **latents})
                with plate, worlds, do(actions={"X": torch.tensor(0.0)}), evidence:
                    y = self.model.transformed()
                    found: torch.Tensor = gather(y, IndexSet(X={1}), event_dim=0)
        return found.reshape(-1)


def errors(run: Benchmark, label: str, sigmas: float, with_chirho: bool) -> None:
    """Errors over several programs."""
    asked = [Asked(seed, sigmas) for seed in range(5 if run.quick else 20)]
    found = spread([one.error() for one in asked])
    peers: dict[str, Measured] = {}
    if with_chirho:
        few = asked[: 1 if run.quick else 4]
        draws = [one.chirho(seed) for seed, one in enumerate(few)]
        off = [
            max(abs(float(y.mean()) - one.mean), abs(float(y.std()) - one.sd)) / one.sd
            for one, y in zip(few, draws, strict=True)
        ]
        peers["ChiRho with SVI"] = spread(off)
    setting = f"{label}, median and range over {len(asked)} programs"
    question = "error of mean and sd, in true sd"
    run.add(Row(question, setting, found, Target("at most", 1e-6), peers))


def times(run: Benchmark, label: str, sigmas: float, with_chirho: bool) -> None:
    """Seconds for one unit."""
    asked = Asked(0, sigmas)
    ways: dict[str, Callable[[], Any]] = {
        "`Gaussian().solve`": asked.solve,
        "`infer(..., engine=Gaussian())`": asked.infer_with_engine,
        "`infer` of the mean": asked.infer,
        "`infer` of the law": asked.infer_law,
    }
    found = compare(ways, budget=run.budget(10))
    peers: dict[str, Measured] = {}
    if with_chirho:
        both = compare(
            {"`infer`": asked.infer, "ChiRho": asked.chirho}, budget=run.budget(40), least=3
        )
        peers["ChiRho with SVI"] = both.seconds("ChiRho")
    for way in ways:
        setting = f"{label}, {way}"
        row = Row(
            "unit counterfactual with latents",
            setting,
            found.seconds(way),
            Target("at most", 0.020),
            peers,
            found.medians,
        )
        run.add(row)


def main() -> None:
    with benchmark("linear_gaussian") as run:
        with_chirho = is_installed("chirho")
        for label, sigmas in RARITY.items():
            times(run, label, sigmas, with_chirho)
            errors(run, label, sigmas, with_chirho)


if __name__ == "__main__":
    main()
