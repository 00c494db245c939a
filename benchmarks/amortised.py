"""Counterfactuals of a million units by a guide that is trained once: units per second.

The latent cause cannot be seen, and the effect of ``X`` differs with it, so each unit has a
posterior of its own. The error is told against quadrature over the latent.
"""

import math
import time
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from _harness import Row, Target, benchmark, compare, spread

from causalppl import SCM, infer
from causalppl.inference.amortised import Amortised

UNITS = 1_000_000
FEW = 300
DRAWS = 1_000
SEEDS = (0, 1, 2)
QUERY = "E[Y_{X=0}]"


def program() -> None:
    """``U`` moves ``X``, ``Y``, and the effect of one on the other."""
    u = pyro.sample("U", dist.Normal(0.0, 1.0))
    x = pyro.sample("X", dist.Normal(torch.tanh(u), 0.7))
    pyro.sample("Y", dist.Normal(u + u * x, 0.5))


def by_quadrature(data: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of ``Y_{X=0} = Y - U X`` for each unit."""
    u = torch.linspace(-6.0, 6.0, 4_001, dtype=torch.float64)[:, None]
    x, y = data["X"].double(), data["Y"].double()
    log_density = (
        dist.Normal(0.0, 1.0).log_prob(u)
        + dist.Normal(torch.tanh(u), 0.7).log_prob(x)
        + dist.Normal(u + u * x, 0.5).log_prob(y)
    )
    weights = log_density.softmax(0)
    value = y - u * x
    mean = (weights * value).sum(0)
    return mean, ((weights * value**2).sum(0) - mean**2).clamp_min(0).sqrt()


def main() -> None:
    with benchmark("amortised") as run:
        scm = SCM(program, observed=["X", "Y"])
        data = scm.sample(UNITS, seed=0)
        seen = {name: data[name] for name in ("X", "Y")}
        few = {name: value[:FEW] for name, value in seen.items()}
        mean, sd = by_quadrature(few)
        seconds, errors, engines = [], [], []
        for seed in SEEDS[: 1 if run.quick else None]:
            start = time.perf_counter()
            engines.append(Amortised().train(scm, ["X", "Y"], seed=seed))
            seconds.append(time.perf_counter() - start)
            posterior = infer(
                scm, QUERY, evidence=few, engine=engines[-1], num_draws=DRAWS, seed=seed
            )
            off = (torch.as_tensor(posterior.mean()["Y"]).double() - mean) / sd
            errors.append(math.sqrt(float((off**2).mean())))

        def counterfactuals(num_draws: int) -> Any:
            return infer(scm, QUERY, evidence=seen, engine=engines[0], num_draws=num_draws, seed=0)

        counts = (1, 10)
        ways = {str(count): lambda count=count: counterfactuals(count) for count in counts}
        times = compare(ways, budget=run.budget(90), least=3 if run.quick else 7, most=20)
        for count in counts:
            setting = f"1e6 units, {count} draw{'s'[: count - 1]} each, one thread"
            here = times.seconds(str(count)).per_second(UNITS)
            target = Target("at least", 1e5)
            run.add(Row("counterfactuals after training", setting, here, target, {}, times.medians))
        many = f"median and range over {len(seconds)} seeds"
        run.add(Row("training, once", many, spread(seconds, "s")))
        setting = f"{FEW} units, {many}"
        run.add(Row("rms error of the unit's mean, in its sd", setting, spread(errors)))


if __name__ == "__main__":
    main()
