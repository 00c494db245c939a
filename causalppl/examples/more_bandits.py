"""Decision problems beyond two values and few variables: machines, many causes, a population."""

from collections.abc import Mapping

import pyro
import pyro.distributions as dist
import torch

from causalppl.examples.bandits import BanditProblem
from causalppl.programs.scm import SCM

__all__ = [
    "four_arm_casino",
    "linear_gaussian_population",
    "parallel_bandit",
    "transfer_bandit",
]

_PAYOFF = (
    (0.2, 0.3, 0.5, 0.6),
    (0.6, 0.2, 0.3, 0.5),
    (0.5, 0.6, 0.2, 0.3),
    (0.3, 0.5, 0.6, 0.2),
)
"""Chance that a machine (row) pays to a player with an intent (column)."""


def four_arm_casino() -> BanditProblem:
    """The casino with four machines, each worst for who is drawn to it.

    References:
        Forney, Pearl and Bareinboim (2017), Counterfactual data-fusion for online reinforcement
        learners.

    Example:
        >>> problem = four_arm_casino()
        >>> round(problem.mean({}), 3), round(problem.mean({"X": 2}), 3), problem.best
        (0.2, 0.4, 0.6)
    """
    payoff = torch.tensor(_PAYOFF, dtype=torch.float64)

    def program() -> None:
        drunk = pyro.sample("D", dist.Bernoulli(torch.tensor(0.5, dtype=torch.float64)))
        blinking = pyro.sample("B", dist.Bernoulli(torch.tensor(0.5, dtype=torch.float64)))
        mood = (blinking + 2 * drunk).long()
        machine = pyro.deterministic("X", mood)
        pyro.sample("Y", dist.Bernoulli(payoff[machine, mood]))

    scm = SCM(program, observed=["X", "Y"])
    source = "Forney, Pearl and Bareinboim (2017)"
    return BanditProblem(scm, "Y", ("X",), 0.6, source, levels={"X": (0, 1, 2, 3)})


def parallel_bandit(num_causes: int = 50, *, num_rare: int = 2, gap: float = 0.3) -> BanditProblem:
    """Many independent possible causes, of which one matters and some are never seen at 1.

    Observing tells about all values that are common, so that only the rare ones need setting. The
    arms are those of ``arms("single")``.

    Args:
        num_causes: Number of variables ``X1``, ``X2``, ...; ``X1`` matters.
        num_rare: How many of them, the first ones, are never 1 by nature; the others are 1 with
            probability one half.
        gap: By how much the best arm, ``X1 = 1``, exceeds one half.

    References:
        Lattimore, Lattimore and Reid (2016), Causal bandits: learning good interventions via
        causal inference; section 5.

    Example:
        >>> problem = parallel_bandit()
        >>> len(problem.arms("single")), problem.mean({"X1": 1}), problem.mean({"X7": 1})
        (101, 0.8, 0.5)
    """
    names = tuple(f"X{k + 1}" for k in range(num_causes))
    chances = [0.0 if k < num_rare else 0.5 for k in range(num_causes)]
    low = 0.5 - gap * chances[0] / (1 - chances[0])
    weights = torch.zeros(num_causes, dtype=torch.float64)
    weights[0] = 0.5 + gap - low

    def program() -> None:
        causes = [
            pyro.sample(name, dist.Bernoulli(torch.tensor(chance, dtype=torch.float64)))
            for name, chance in zip(names, chances, strict=True)
        ]
        pyro.sample("Y", dist.Bernoulli(low + torch.stack(causes, -1) @ weights))

    def truth(arm: Mapping[str, int]) -> float:
        return low + float(weights[0]) * arm.get("X1", chances[0])

    source = "Lattimore, Lattimore and Reid (2016)"
    return BanditProblem(SCM(program), "Y", names, 0.5 + gap, source, truth=truth)


def transfer_bandit() -> BanditProblem:
    """Four arms whose logs rank them wrongly, and rule out that the first is best.

    What a hidden cause makes people choose, ``X``, also tells how they fare. The logged means are
    .664, .642, .554 and .348, the true ones .625, .79, .725 and .325. Most people choose the first
    arm, so that its true mean can be at most .756 = P(X=0, Y=1) + 1 - P(X=0), which is less than
    the second arm earns.

    References:
        After Zhang and Bareinboim (2017), Transfer learning in multi-armed bandits: a causal
        approach.

    Example:
        >>> problem = transfer_bandit()
        >>> [round(problem.mean({"X": x}), 3) for x in range(4)]
        [0.625, 0.79, 0.725, 0.325]
    """
    logged, true = (0.664, 0.642, 0.554, 0.348), (0.625, 0.79, 0.725, 0.325)
    first = (1 - 0.756) / (1 - logged[0])
    shares = torch.tensor([first, *[(1 - first) / 3] * 3], dtype=torch.float64)
    payoff = torch.empty(4, 4, dtype=torch.float64)  # arm, what one would have chosen
    for arm, (seen, mean) in enumerate(zip(logged, true, strict=True)):
        share = float(shares[arm])
        payoff[arm] = (mean - share * seen) / (1 - share)
        payoff[arm, arm] = seen

    def program() -> None:
        wish = pyro.sample("U", dist.Categorical(shares))
        arm = pyro.deterministic("X", wish)
        pyro.sample("Y", dist.Bernoulli(payoff[arm, wish]))

    scm = SCM(program, observed=["X", "Y"])
    source = "after Zhang and Bareinboim (2017)"
    return BanditProblem(scm, "Y", ("X",), 0.79, source, levels={"X": (0, 1, 2, 3)})


def linear_gaussian_population() -> BanditProblem:
    """Four linear mechanisms with Gaussian noise and a hidden cause of ``X`` and ``Y``.

    ``Z`` moves ``X``, ``X`` moves ``M``, both move ``Y``. Who has much of ``X`` by nature has much
    of ``Y`` because of the hidden cause, yet raising ``X`` lowers ``Y``. Each variable may be set
    to -1 or 1; rewards are not bounded.

    Example:
        >>> problem = linear_gaussian_population()
        >>> [round(problem.mean({"X": x}), 3) for x in (-1, 1)]
        [0.3, -0.3]
        >>> problem.mean({"X": -1, "M": 1}) == problem.best
        True
    """
    effects = {"Z": 0.8, "X": 0.5, "X on Y": -0.7, "M": 0.8}

    def program() -> None:
        one = torch.ones((), dtype=torch.float64)
        u = pyro.sample("U", dist.Normal(0 * one, one))
        z = pyro.sample("Z", dist.Normal(0 * one, one))
        x = pyro.sample("X", dist.Normal(effects["Z"] * z + u, 0.5 * one))
        m = pyro.sample("M", dist.Normal(effects["X"] * x, 0.5 * one))
        mean = effects["X on Y"] * x + effects["M"] * m + 1.5 * u
        pyro.sample("Y", dist.Normal(mean, 0.5 * one))

    def truth(arm: Mapping[str, int]) -> float:
        x = arm.get("X", effects["Z"] * arm.get("Z", 0))
        m = arm.get("M", effects["X"] * x)
        return effects["X on Y"] * x + effects["M"] * m

    scm = SCM(program, observed=["Z", "X", "M", "Y"])
    levels = {name: (-1, 1) for name in ("Z", "X", "M")}
    source = "four linear mechanisms, ours"
    return BanditProblem(scm, "Y", ("Z", "X", "M"), 1.5, source, levels=levels, truth=truth)
