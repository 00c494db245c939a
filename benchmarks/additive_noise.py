"""Counterfactuals of a million units, additive noise, all sites observed: units per second.

The peer is the same arithmetic written by hand in torch: what no library can beat by much.
"""

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from _harness import Measured, Row, Target, benchmark, compare

from causalppl import SCM, infer

UNITS = 1_000_000
THREADS = 2
QUERY = "E[Y_{X=0}]"


def program() -> None:
    """Five sites, nonlinear mechanisms."""
    z = pyro.sample("Z", dist.Normal(0.0, 1.0))
    w = pyro.sample("W", dist.Normal(torch.sin(z), 0.5))
    x = pyro.sample("X", dist.Normal(torch.tanh(z) + 0.5 * w, 1.0))
    m = pyro.sample("M", dist.Normal(x * torch.sigmoid(w), 0.7))
    pyro.sample("Y", dist.Normal(torch.sin(m) + 0.3 * x * z, torch.exp(0.2 * w)))


def by_hand(data: dict[str, torch.Tensor]) -> torch.Tensor:
    """Abduct the noise of ``M`` and ``Y``, and predict with ``X`` at 0."""
    z, w, x, m, y = (data[name] for name in "ZWXMY")
    slope = torch.sigmoid(w)
    m_0 = m - x * slope
    return y - torch.sin(m) - 0.3 * x * z + torch.sin(m_0)


def main() -> None:
    with benchmark("additive_noise", threads=THREADS) as run:
        scm = SCM(program)
        data = scm.sample(UNITS, seed=0)

        def here() -> Any:
            return infer(scm, QUERY, evidence=data, seed=0)

        answer = torch.as_tensor(here().mean()["Y"])
        error = float((answer - by_hand(data)).abs().max())
        setting = f"1e6 units, 5 sites, {THREADS} threads"
        ways = {"here": here, "by hand": lambda: by_hand(data)}
        times = compare(ways, budget=run.budget(60), most=40)
        run.add(
            Row(
                f"`infer(scm, {QUERY!r}, evidence=...)`",
                setting,
                times.seconds("here").per_second(UNITS),
                Target("at least", 1e6),
                {"by hand": times.seconds("by hand").per_second(UNITS)},
                times.medians,
            )
        )
        target = Target("at most", 1e-5)
        run.add(Row("largest error", setting, Measured.exactly(error), target))


if __name__ == "__main__":
    main()
