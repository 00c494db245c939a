"""Those who act.

| name | what it does | paper |
|---|---|---|
| `Agent`, `Transition` | what every agent does, and what it learns from | - |
| `ThompsonSampling` | draws a causal model from its posterior, plays its best arm | Thompson 1933 |
| `Engine`, `Belief` | how such a posterior is held | - |
| `LatentClasses` | for discrete diagrams with hidden confounders | - |
| `LinearGaussian` | for linear models with normal noise | - |
| `ProgramPosterior` | for any program with random parameters, by SVI or NUTS | - |
| `CausalBayesianOptimisation` | continuous interventions, GP mechanisms | Aglietti et al. 2020 |
| `BetaThompson`, `GaussianThompson` | Thompson sampling for each arm on its own | Thompson 1933 |
| `KLUCB` | optimism for each arm on its own | Garivier and Cappé 2011 |
| `IntentFusion` | by intent, fused with trials that did not ask for it | Forney et al. 2017 |
| `UniformAgent` | plays at random | - |
| `filter_arms` | keeps the arms that can be worth it | Lee and Bareinboim 2018 |
| `CounterfactualPolicy` | the best arm for an intent, in a known model | Bareinboim et al. 2015 |
| `run`, `Record` | many runs at once, and what came of them | - |
| `DTRModel`, `EpisodeAgent` | stages of treatment, and who acts in them | Murphy 2003 |
| `PosteriorSamplingDTR` | draws laws of all stages, plays their best regime | Osband et al. 2013 |
| `UCDTR` | optimism, narrowed by confounded logs | Zhang and Bareinboim 2019 |
| `DOVI` | optimistic values with a certificate | Wang et al. 2021 |
| `naive_policy`, `backdoor_policy`, `FixedRegime` | regimes from logs alone | - |
| `run_episodes` | many runs of episodes | - |
"""

from causalppl.agents.agent import Agent, Transition
from causalppl.agents.arm_filters import filter_arms
from causalppl.agents.causal_bayesian_optimisation import CausalBayesianOptimisation
from causalppl.agents.counterfactual_policy import CounterfactualPolicy
from causalppl.agents.dovi import DOVI
from causalppl.agents.dtr_model import DTRModel
from causalppl.agents.episodes import EpisodeAgent, run_episodes
from causalppl.agents.intent_fusion import IntentFusion
from causalppl.agents.kl_ucb import KLUCB
from causalppl.agents.latent_class_engine import LatentClasses
from causalppl.agents.linear_gaussian_engine import LinearGaussian
from causalppl.agents.offline_baselines import FixedRegime, backdoor_policy, naive_policy
from causalppl.agents.per_arm import BetaThompson, GaussianThompson, UniformAgent
from causalppl.agents.play import run
from causalppl.agents.posterior_sampling_dtr import PosteriorSamplingDTR
from causalppl.agents.program_engine import ProgramPosterior
from causalppl.agents.record import Record
from causalppl.agents.thompson import Belief, Engine, ThompsonSampling
from causalppl.agents.uc_dtr import UCDTR

__all__ = [
    "DOVI",
    "KLUCB",
    "UCDTR",
    "Agent",
    "Belief",
    "BetaThompson",
    "CausalBayesianOptimisation",
    "CounterfactualPolicy",
    "DTRModel",
    "Engine",
    "EpisodeAgent",
    "FixedRegime",
    "GaussianThompson",
    "IntentFusion",
    "LatentClasses",
    "LinearGaussian",
    "PosteriorSamplingDTR",
    "ProgramPosterior",
    "Record",
    "ThompsonSampling",
    "Transition",
    "UniformAgent",
    "backdoor_policy",
    "filter_arms",
    "naive_policy",
    "run",
    "run_episodes",
]
