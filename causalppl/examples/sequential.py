"""Problems of several decisions about the same unit, with what is hidden from who decides."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from causalppl.programs.scm import SCM

__all__ = ["SequentialProblem", "Stage", "confounded_dtr", "two_stage_dtr"]

_NODES = 12


@dataclass(frozen=True)
class Stage:
    """One decision of an episode.

    Attributes:
        arms: What may be done: mappings from variable to value; ``{}`` lets nature, or whoever
            acted before, decide.
        seen: The variables that are seen before acting, beside those of earlier stages: names, or
            a mapping from entry of the observation to variable, so that several stages may show
            theirs under one name (``{"state": "S2"}``). Variables set earlier may be among them.
        reward: The variable that is paid after acting; None: nothing, except after the last stage.

    Example:
        >>> Stage([{"X1": 0}, {"X1": 1}], seen=["S1"]).seen
        ['S1']
    """

    arms: Sequence[Mapping[str, Any]]
    seen: Sequence[str] | Mapping[str, str] = ()
    reward: str | None = None


@dataclass(frozen=True, eq=False)
class SequentialProblem:
    """A program, its decisions, and the best that can be reached.

    Attributes:
        scm: The model; whoever decided before the agent came is part of it.
        stages: The decisions, in order.
        outcome: The variable to be made large; None: the stages have rewards.
        best: Mean sum of rewards of the best policy that sees what the stages show.
        source: Where the problem comes from.

    Example:
        >>> problem = two_stage_dtr()
        >>> [list(stage.seen) for stage in problem.stages], round(problem.best, 5)
        ([['S1'], ['X1', 'S2']], 0.72508)
    """

    scm: SCM
    stages: tuple[Stage, ...]
    outcome: str | None
    best: float
    source: str


def two_stage_dtr(*, confounding: float = 3.0) -> SequentialProblem:
    """A textbook regime of two treatments, logged by a physician who sees the patient's frailty.

    ``S1`` and ``S2`` are states, ``X1`` and ``X2`` treatments, ``Y`` the outcome, all binary. The
    frailty ``U`` is uniform on (0, 1) in the text. Here it has 12 values, the nodes of a
    Gauss-Legendre rule with its weights: no mechanism tells them from the uniform law (the law of
    the observed variables agrees to 1e-9), and the program is finite.

    Args:
        confounding: How much the physician's choices follow the frailty.

    References:
        Bareinboim, Causal Artificial Intelligence, equation 8.2; after Zhang and Bareinboim (2019).

    Example:
        >>> print(two_stage_dtr().scm.graph)
        S1 -> X1 -> S2 -> X2 -> Y; S1 -> S2 -> Y; S1 -> Y; X1 -> Y; X1 <-> X2; X1 <-> Y; X2 <-> Y
    """
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    frailties = torch.tensor((nodes + 1) / 2)
    shares = torch.tensor(weights / 2)

    def program() -> None:
        u = frailties[pyro.sample("U", dist.Categorical(shares))]
        s1 = _coin("S1", torch.zeros((), dtype=torch.float64))
        x1 = _coin("X1", 3 * s1 + confounding * u)
        s2 = _coin("S2", 0.1 + 0.1 * s1 + 0.1 * x1)
        x2 = _coin("X2", 3 * s2 + confounding * u)
        total = 3 * u - 3 * s1 - 3 * x1 - 3 * s1 * x1 + 3 * x2 - 3 * s2 * x2 + 3 * x1 * x2
        pyro.deterministic("Y", (total > 0).double())

    # after S1 = 0 success is certain; after S1 = 1 it takes S2 = 0, which X1 = 0 makes likeliest
    best = 0.5 + 0.5 / (1 + float(np.exp(0.2)))
    return _two_stages(program, best, "Causal Artificial Intelligence, equation 8.2")


def confounded_dtr() -> SequentialProblem:
    """Two treatments that help, given mostly to those whom nothing helps much.

    Frail patients (hidden) are treated more often and recover less, so that in the logs both
    treatments seem to harm: who trusts the logs never treats.

    Example:
        >>> confounded_dtr().best
        0.64
    """
    half = torch.tensor(0.5, dtype=torch.float64)

    def program() -> None:
        u, s1 = _chance("U", half), _chance("S1", half)
        x1 = _chance("X1", 0.15 + 0.1 * s1 + 0.6 * u)
        s2 = _chance("S2", 0.6 + 0.2 * s1 - 0.4 * x1)
        x2 = _chance("X2", 0.1 + 0.1 * s2 + 0.7 * u)
        _chance("Y", 0.75 - 0.5 * u + 0.2 * x2 - 0.2 * s2)

    # always treat: half of the patients are frail, and S2 = 1 has chance .3
    return _two_stages(program, 0.64, "two treatments that seem to harm, ours")


def _two_stages(program: Callable[[], None], best: float, source: str) -> SequentialProblem:
    scm = SCM(program, observed=["S1", "X1", "S2", "X2", "Y"])
    stages = (
        Stage([{"X1": 0}, {"X1": 1}], ["S1"]),
        Stage([{"X2": 0}, {"X2": 1}], ["X1", "S2"]),
    )
    return SequentialProblem(scm, stages, "Y", best, source)


def _coin(name: str, logit: Tensor) -> Tensor:
    return pyro.sample(name, dist.Bernoulli(logits=logit))


def _chance(name: str, probability: Tensor) -> Tensor:
    return pyro.sample(name, dist.Bernoulli(probability))
