"""Does quitting smoking make people gain weight? A Bayesian causal model of real data."""

from typing import TYPE_CHECKING, Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from causalppl.data.datasets import load_nhefs
from causalppl.examples.example import Example
from causalppl.programs.scm import SCM

if TYPE_CHECKING:
    import pandas as pd

CONFOUNDERS = (
    "sex",
    "race",
    "age",
    "education",
    "exercise",
    "active",
    "smokeintensity",
    "smokeyrs",
    "wt71",
)

CATEGORIES = {
    "education": (
        "8th grade or less",
        "high school dropout",
        "high school",
        "some college",
        "college",
    ),
    "exercise": ("much", "moderate", "little or none"),
    "active": ("very", "moderately", "inactive"),
}

NUM_TERMS = 18


def program(n: int) -> None:
    """Confounders of 1971, then quitting (``qsmk``), then the weight gained by 1982 in kg.

    The two regressions have the book's terms: every confounder, squares of the continuous ones, and
    for the outcome the product of quitting and smoking intensity. Continuous confounders enter on
    standard scales, so that the priors mean the same for each.

    References:
        Hernán and Robins (2020), Causal Inference: What If, program 13.3.
    """
    # parameters: what all people share
    is_female = pyro.sample("is_female", dist.Beta(1.0, 1.0))
    is_nonwhite = pyro.sample("is_nonwhite", dist.Beta(1.0, 1.0))
    schooling = pyro.sample("schooling", dist.Dirichlet(torch.ones(5)))
    exercising = pyro.sample("exercising", dist.Dirichlet(torch.ones(3)))
    activity = pyro.sample("activity", dist.Dirichlet(torch.ones(3)))
    ages = pyro.sample("ages", _coefficients(1, scale=5.0))
    intensities = pyro.sample("intensities", _coefficients(3, scale=5.0))
    years = pyro.sample("years", _coefficients(3, scale=5.0))
    weights = pyro.sample("weights", _coefficients(3, scale=5.0))
    spreads = pyro.sample("spreads", dist.HalfNormal(torch.ones(4)).to_event(1))
    quitting = pyro.sample("quitting", _coefficients(1 + NUM_TERMS, scale=2.0))
    gaining = pyro.sample("gaining", _coefficients(3 + NUM_TERMS, scale=10.0))
    gain_spread = pyro.sample("gain_spread", dist.HalfNormal(20.0))

    with pyro.plate("units", n):
        sex = pyro.sample("sex", dist.Bernoulli(is_female))
        race = pyro.sample("race", dist.Bernoulli(is_nonwhite))
        education = pyro.sample("education", dist.Categorical(schooling))
        exercise = pyro.sample("exercise", dist.Categorical(exercising))
        active = pyro.sample("active", dist.Categorical(activity))
        age = pyro.sample("age", dist.LogNormal(ages[..., 0], spreads[..., 0]))
        one = torch.ones_like(age)
        early = [one, sex, _standard(age, 44, 12)]
        smokeintensity = pyro.sample(
            "smokeintensity", dist.LogNormal(_linear(early, intensities), spreads[..., 1])
        )
        smokeyrs = pyro.sample("smokeyrs", dist.LogNormal(_linear(early, years), spreads[..., 2]))
        wt71 = pyro.sample("wt71", dist.LogNormal(_linear(early, weights), spreads[..., 3]))

        smoking = _standard(smokeintensity, 20, 12)
        terms = [
            *(sex, race),
            *_squared(_standard(age, 44, 12)),
            *_squared(smoking),
            *_squared(_standard(smokeyrs, 25, 12)),
            *_squared(_standard(wt71, 71, 16)),
            *_indicators(education, 5),
            *_indicators(exercise, 3),
            *_indicators(active, 3),
        ]
        qsmk = pyro.sample("qsmk", dist.Bernoulli(logits=_linear([one, *terms], quitting)))
        gain = _linear([one, qsmk, qsmk * smoking, *terms], gaining)
        pyro.sample("wt82_71", dist.Normal(gain, gain_spread))


def load() -> "pd.DataFrame":
    """Return the 1,566 complete rows, with ``seqn`` and what the program names; codes from 0.

    Example:
        >>> load().shape
        (1566, 12)
    """
    data = load_nhefs().dropna(subset=["wt82_71"])
    data = data[["seqn", *CONFOUNDERS, "qsmk", "wt82_71"]].reset_index(drop=True)
    return data.assign(education=data["education"] - 1)


def smoking_cessation() -> Example:
    """Return model, data, question and published answer.

    References:
        Hernán and Robins (2020), Causal Inference: What If, section 13.3.

    Example:
        >>> example = smoking_cessation()
        >>> sorted(example.scm.graph.parents("qsmk")) == sorted(CONFOUNDERS)
        True
    """
    return Example(
        scm=SCM(program, categories=CATEGORIES),
        data=load(),
        query="ATE(qsmk: 1 vs 0 -> wt82_71)",
        answer=3.5,
        source="Hernán and Robins (2020), Causal Inference: What If, section 13.3",
    )


def _coefficients(size: int, scale: float) -> Any:
    return dist.Normal(torch.zeros(size), scale).to_event(1)


def _standard(x: Tensor, center: float, spread: float) -> Tensor:
    return (x - center) / spread


def _squared(x: Tensor) -> tuple[Tensor, Tensor]:
    return x, x**2


def _indicators(code: Tensor, size: int) -> list[Tensor]:
    """Return one 0/1 tensor for each category but the first."""
    return [(code == k) * 1.0 for k in range(1, size)]


def _linear(terms: list[Tensor], coefficients: Tensor) -> Tensor:
    """Return the sum of terms, each ``(..., n)``, times coefficients, ``(..., terms)``."""
    stacked = torch.stack(torch.broadcast_tensors(*terms), -1)
    return (stacked * coefficients).sum(-1)
