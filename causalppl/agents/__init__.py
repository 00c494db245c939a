"""Those who act.

| name | what it does | paper |
|---|---|---|
| `Agent`, `Transition` | what every agent does, and what it learns from | - |
| `ThompsonSampling` | draws a causal model from its posterior, plays its best arm | Thompson 1933 |
| `Engine`, `Belief` | how such a posterior is held | - |
| `LatentClasses` | for discrete diagrams with hidden confounders | - |
| `BetaThompson`, `GaussianThompson` | Thompson sampling for each arm on its own | Thompson 1933 |
| `KLUCB` | optimism for each arm on its own | Garivier and Cappé 2011 |
| `UniformAgent` | plays at random | - |
| `filter_arms` | keeps the arms that can be worth it | Lee and Bareinboim 2018 |
| `CounterfactualPolicy` | the best arm for an intent, in a known model | Bareinboim et al. 2015 |
| `run`, `Record` | many runs at once, and what came of them | - |
"""

from causalppl.agents.agent import Agent, Transition
from causalppl.agents.arm_filters import filter_arms
from causalppl.agents.counterfactual_policy import CounterfactualPolicy
from causalppl.agents.kl_ucb import KLUCB
from causalppl.agents.latent_class_engine import LatentClasses
from causalppl.agents.per_arm import BetaThompson, GaussianThompson, UniformAgent
from causalppl.agents.play import run
from causalppl.agents.record import Record
from causalppl.agents.thompson import Belief, Engine, ThompsonSampling

__all__ = [
    "KLUCB",
    "Agent",
    "Belief",
    "BetaThompson",
    "CounterfactualPolicy",
    "Engine",
    "GaussianThompson",
    "LatentClasses",
    "Record",
    "ThompsonSampling",
    "Transition",
    "UniformAgent",
    "filter_arms",
    "run",
]
