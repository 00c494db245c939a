"""Those who act.

| name | what it does | paper |
|---|---|---|
| `Agent`, `Transition` | what every agent does, and what it learns from | - |
| `ThompsonSampling` | draws a causal model from its posterior, plays its best arm | Thompson 1933 |
| `LatentClasses` | that posterior for discrete diagrams with hidden confounders | - |
| `run`, `Record` | many runs at once, and what came of them | - |
"""

from causalppl.agents.agent import Agent, Transition
from causalppl.agents.latent_class_engine import LatentClasses
from causalppl.agents.play import run
from causalppl.agents.record import Record
from causalppl.agents.thompson import Belief, Engine, ThompsonSampling

__all__ = [
    "Agent",
    "Belief",
    "Engine",
    "LatentClasses",
    "Record",
    "ThompsonSampling",
    "Transition",
    "run",
]
