"""Small programs from the books: each shows one idea, and its answer is known exactly."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from causalppl.examples.example import Example
from causalppl.programs.scm import SCM

__all__ = ["back_door", "bow", "front_door", "instrument"]

_PEARL = "Pearl (2009), Causality, section 3.3"


def _pick(condition: Tensor, yes: Tensor | float, no: Tensor | float) -> Tensor:
    """``torch.where`` in double precision."""
    first, second = (torch.as_tensor(value, dtype=torch.float64) for value in (yes, no))
    return torch.where(condition == 1, first, second)


def _coin(name: str, probability: Tensor | float) -> Tensor:
    chance = torch.as_tensor(probability, dtype=torch.float64)
    found: Tensor = pyro.sample(name, dist.Bernoulli(chance))
    return found


def back_door() -> Example:
    """Kidney stones: large stones get open surgery more often, and heal less often.

    Treatment ``X`` (1: open surgery), success ``Y``, large stones ``Z``; shares as published.

    References:
        Charig et al. (1986), for the shares.

    Example:
        >>> from causalppl import infer
        >>> example = back_door()
        >>> round(infer(example.scm, example.query).mean()["Y=1"], 5), round(example.answer, 5)
        (0.83255, 0.83255)
    """

    def program() -> None:
        z = _coin("Z", 343 / 700)
        x = _coin("X", _pick(z, 263 / 343, 87 / 357))
        large = _pick(x, 192 / 263, 55 / 80)
        small = _pick(x, 81 / 87, 234 / 270)
        _coin("Y", _pick(z, large, small))

    return Example(
        SCM(program, observed=["Z", "X", "Y"]),
        "P(Y=1 | do(X=1))",
        (357 * 81 / 87 + 343 * 192 / 263) / 700,
        "Charig et al. (1986)",
    )


def front_door() -> Example:
    """Smoking ``X``, tar ``Z``, cancer ``Y``, and a genotype that nobody sees.

    Smokers have cancer far more often (.8525 against .0975), and yet smoking prevents it in this
    invented population.

    References:
        Pearl (2009), Causality, section 3.3.3, for the story.

    Example:
        >>> from causalppl import identify
        >>> print(identify(front_door().scm.graph, "P(Y=1 | do(X=1))"))
        sum_Z P(Z | X=1) sum_X P(X) P(Y=1 | X, Z)
    """

    def program() -> None:
        genotype = _coin("U", 0.5)
        x = _coin("X", genotype)
        z = _coin("Z", _pick(x, 0.95, 0.05))
        _coin("Y", _pick(genotype, 0.90, 0.10) - 0.05 * z)

    return Example(SCM(program, observed=["X", "Z", "Y"]), "P(Y=1 | do(X=1))", 0.4525, _PEARL)


def bow() -> Example:
    """A treatment ``X`` and an outcome ``Y`` with a hidden common cause: not identifiable.

    Example:
        >>> from causalppl import infer
        >>> example = bow()
        >>> round(infer(example.scm, example.query).mean()["Y=1"], 5)
        0.6
    """

    def program() -> None:
        hidden = _coin("U", 0.5)
        x = _coin("X", 0.2 + 0.6 * hidden)
        _coin("Y", 0.1 + 0.3 * x + 0.4 * hidden)

    return Example(SCM(program, observed=["X", "Y"]), "P(Y=1 | do(X=1))", 0.6, _PEARL)


def instrument() -> Example:
    """A trial ``Z`` in which not all do as they are told: the effect of ``X`` can be bounded only.

    References:
        Balke and Pearl (1997), for the setting.

    Example:
        >>> instrument().scm.graph
        ADMG.parse('Z -> X -> Y; X <-> Y')
    """

    def program() -> None:
        hidden = _coin("U", 0.5)
        z = _coin("Z", 0.5)
        x = _coin("X", 0.1 + 0.6 * z + 0.2 * hidden)
        _coin("Y", 0.2 + 0.3 * x + 0.3 * hidden)

    return Example(
        SCM(program, observed=["Z", "X", "Y"]),
        "ATE(X -> Y)",
        0.3,
        "after Balke and Pearl (1997)",
    )
