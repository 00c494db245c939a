"""Rare evidence: rejection against exact answers.

Rejection draws 20,000 units from the program, keeps those that agree with the evidence, and
refuses if none does; its error is the root mean square over repeats that were not refused. An
exact answer has no such error, and its cost must not depend on how rare the evidence is.
"""

import itertools
import math
import time
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
from _harness import Benchmark, Measured, Row, Target, benchmark, compare
from scipy.optimize import brentq
from scipy.stats import norm

from causalppl import SCM, infer

RARITIES = (0.5, 1e-2, 1e-4)
DRAWS = 20_000
REPEATS = 1_000


@dataclass(frozen=True)
class Binary:
    """``U -> X, Y; X -> Y; U, Y -> E``, and ``P(Y_{X=1} = 1 | E = 1)`` with a chosen ``P(E = 1)``.

    ``Y`` is 1 where a uniform noise lies above ``1 - P(Y = 1 | X, U)``: the quantile coupling.
    """

    rarity: float

    @staticmethod
    def chance_y(x: Any, u: Any) -> Any:
        """``P(Y = 1 | X, U)``."""
        return 0.1 + 0.3 * x + 0.4 * u

    def chance_e(self, y: Any, u: Any) -> Any:
        """``P(E = 1 | Y, U)``; on average the rarity."""
        return self.rarity / 0.6125 * (0.25 + 0.25 * y + 0.5 * u)

    def program(self) -> None:
        """The Pyro program."""
        u = pyro.sample("U", dist.Bernoulli(0.5))
        x = pyro.sample("X", dist.Bernoulli(0.2 + 0.6 * u))
        y = pyro.sample("Y", dist.Bernoulli(self.chance_y(x, u)))
        pyro.sample("E", dist.Bernoulli(self.chance_e(y, u)))

    @property
    def query(self) -> str:
        """What is asked."""
        return "P(Y_{X=1}=1 | E=1)"

    def read(self, posterior: Any) -> float:
        """Take the probability from the answer."""
        return float(next(iter(posterior.mean().values())))

    def truth(self) -> float:
        """Sum over ``U`` and ``X``, and over the pieces of the noise of ``Y``."""
        hit = total = 0.0
        for u, x in itertools.product((0, 1), repeat=2):
            weight = 0.5 * abs(1 - x - (0.2 + 0.6 * u))
            p, p_1 = self.chance_y(x, u), self.chance_y(1, u)
            pieces = ((1, 1, p), (0, 1, p_1 - p), (0, 0, 1 - p_1))  # y, y_1, length; p_1 >= p
            for y, y_1, length in pieces:
                mass = weight * length * self.chance_e(y, u)
                total += mass
                hit += mass * y_1
        assert math.isclose(total, self.rarity, rel_tol=1e-9), total
        return hit / total

    def accepted(self, rng: np.random.Generator) -> np.ndarray:
        """``Y_{X=1}`` of the units that agree with the evidence."""
        u = rng.random(DRAWS) < 0.5
        x = rng.random(DRAWS) < 0.2 + 0.6 * u
        noise = 1 - rng.random(DRAWS)
        y = noise > 1 - self.chance_y(x, u)
        e = rng.random(DRAWS) < self.chance_e(y, u)
        return (noise > 1 - self.chance_y(1, u))[e].astype(float)


@dataclass(frozen=True)
class Normal:
    """``U -> X, Y; X -> Y``, and ``E[Y_{X=0} | X = x]``, with ``x`` as far out as the rarity asks.

    Rejection keeps the units whose ``X`` is within a fixed window around ``x``.
    """

    rarity: float

    @cached_property
    def x(self) -> float:
        """Where the window, wide enough for probability .5 at 0, has the rarity."""
        window, sd = self.window, math.sqrt(2.0)

        def excess(x: float) -> float:
            return float(norm.cdf((x + window) / sd) - norm.cdf((x - window) / sd)) - self.rarity

        return 0.0 if self.rarity == RARITIES[0] else float(brentq(excess, 0.0, 12.0))

    @cached_property
    def window(self) -> float:
        """Half its width."""
        return math.sqrt(2.0) * float(norm.ppf(0.5 + RARITIES[0] / 2))

    def program(self) -> None:
        """The Pyro program."""
        u = pyro.sample("U", dist.Normal(0.0, 1.0))
        x = pyro.sample("X", dist.Normal(u, 1.0))
        pyro.sample("Y", dist.Normal(x + u, 1.0))

    @property
    def query(self) -> str:
        """What is asked."""
        return f"E[Y_{{X=0}} | X={self.x}]"

    def read(self, posterior: Any) -> float:
        """Take the mean from the answer."""
        return float(next(iter(posterior.mean().values())))

    def truth(self) -> float:
        """``Y_{X=0} = U + noise``, and the mean of ``U`` is half of ``x``."""
        return self.x / 2

    def accepted(self, rng: np.random.Generator) -> np.ndarray:
        """``Y_{X=0}`` of the units that agree with the evidence."""
        u = rng.normal(size=DRAWS)
        x = u + rng.normal(size=DRAWS)
        y_0 = u + rng.normal(size=DRAWS)
        return y_0[np.abs(x - self.x) < self.window]


@dataclass(frozen=True)
class Rejected:
    """What rejection makes of one question."""

    rms: float
    refused: float
    seconds: float

    @classmethod
    def of(cls, case: Binary | Normal, repeats: int) -> "Rejected":
        """Repeat it with one seed after the other."""
        start = time.process_time()
        kept = [case.accepted(np.random.default_rng(seed)) for seed in range(repeats)]
        seconds = (time.process_time() - start) / repeats
        off = [values.mean() - case.truth() for values in kept if len(values)]
        return cls(float(np.sqrt(np.mean(np.square(off)))), 1 - len(off) / repeats, seconds)


def compare_rarities(run: Benchmark, family: type[Binary] | type[Normal], name: str) -> None:
    """Exact answers at each rarity, their errors, and rejection's."""
    cases = {rarity: family(rarity) for rarity in RARITIES}
    models = {rarity: SCM(case.program) for rarity, case in cases.items()}
    queries = {rarity: case.query for rarity, case in cases.items()}

    def ask(rarity: float) -> Any:
        return infer(models[rarity], queries[rarity], seed=0)

    times = compare({str(r): partial(ask, r) for r in RARITIES}, budget=run.budget(15))
    for rarity, case in cases.items():
        posterior = ask(rarity)
        error = abs(case.read(posterior) - case.truth())
        other = Rejected.of(case, REPEATS // 20 if run.quick else REPEATS)
        setting = f"{name}, P(evidence) = {rarity:g}"
        peers = {
            f"rejection, {DRAWS} draws: rms": Measured.exactly(other.rms),
            "refused": Measured.exactly(100 * other.refused, " %"),
        }
        target = Target("at most", 1e-6)
        run.add(
            Row(f"error ({engine(posterior)})", setting, Measured.exactly(error), target, peers)
        )
        seconds = {"rejection": Measured.exactly(other.seconds, "s")}
        run.add(
            Row(
                "whole `infer` call",
                setting,
                times.seconds(str(rarity)),
                None,
                seconds,
                times.medians,
            )
        )
        if rarity != RARITIES[0]:
            cost = times.ratio(str(rarity), str(RARITIES[0]))
            run.add(Row("cost, over that at .5", setting, cost, Target("at most", 1.1)))


def engine(posterior: Any) -> str:
    """Name of the engine that answered."""
    return str(posterior.engine)


def main() -> None:
    with benchmark("rejection") as run:
        compare_rarities(run, Binary, "binary program")
        compare_rarities(run, Normal, "normal program")


if __name__ == "__main__":
    main()
