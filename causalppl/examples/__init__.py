"""Programs with known answers, for tests, tutorials and the demonstration.

============================  ==========================================  =========================
name                          what it does                                paper
============================  ==========================================  =========================
`Example`                     a model, a question and its known answer    -
`back_door`, `front_door`,    textbook programs: kidney stones, smoking   Pearl (2009)
`bow`, `instrument`           and tar, a hidden cause, a trial
`smoking_cessation`           quitting smoking and weight gain, real      Hernán and Robins (2020)
                              data
`BanditProblem`               a program, a reward, and what may be set    -
`scm_mab_task_1`,             where to intervene: no confounding, an      Lee and Bareinboim (2018)
`scm_mab_task_2`,             instrument, six variables
`scm_mab_task_3`,
`scm_mab_xyzw`
`front_door_bandit`,          a mediator that cannot be set; a chain in   Lee and Bareinboim (2019)
`confounded_chain_bandit`     which observing is best
`greedy_casino`,              machines that punish those who are drawn    Bareinboim, Forney and
`paradoxical_switching`       to them                                     Pearl (2015)
`four_arm_casino`             the same with four machines                 Forney, Pearl and
                                                                          Bareinboim (2017)
`transfer_bandit`             logs that rank arms wrongly and rule one    Zhang and Bareinboim
                              out                                         (2017)
`parallel_bandit`             many causes, of which some are rare and     Lattimore, Lattimore and
                              one matters                                 Reid (2016)
`linear_gaussian_population`  linear mechanisms, rewards without bounds   -
`OptimisationProblem`         a program, an outcome to be made small,     -
                              and ranges of what may be set
`toy_graph`,                  causal Bayesian optimisation: a chain,      Aglietti et al. (2020)
`complete_graph`,             two hidden causes, aspirin and statin
`psa_health`
`SequentialProblem`,          several decisions about the same unit       -
`Stage`
`two_stage_dtr`               two treatments, logged by a physician who   Zhang and Bareinboim
                              sees more                                   (2019)
`confounded_dtr`              treatments that help and seem to harm       -
`confounded_gridworld`,       a walk in a hidden wind                     after Wang, Yang and
`Gridworld`                                                               Wang (2021)
============================  ==========================================  =========================
"""

from causalppl.examples.bandits import (
    BanditProblem,
    confounded_chain_bandit,
    front_door_bandit,
    greedy_casino,
    paradoxical_switching,
    scm_mab_task_1,
    scm_mab_task_2,
    scm_mab_task_3,
    scm_mab_xyzw,
)
from causalppl.examples.classics import back_door, bow, front_door, instrument
from causalppl.examples.example import Example
from causalppl.examples.gridworld import Gridworld, confounded_gridworld
from causalppl.examples.more_bandits import (
    four_arm_casino,
    linear_gaussian_population,
    parallel_bandit,
    transfer_bandit,
)
from causalppl.examples.nhefs import smoking_cessation
from causalppl.examples.optimisation import (
    OptimisationProblem,
    complete_graph,
    psa_health,
    toy_graph,
)
from causalppl.examples.sequential import (
    SequentialProblem,
    Stage,
    confounded_dtr,
    two_stage_dtr,
)

__all__ = [
    "BanditProblem",
    "Example",
    "Gridworld",
    "OptimisationProblem",
    "SequentialProblem",
    "Stage",
    "back_door",
    "bow",
    "complete_graph",
    "confounded_chain_bandit",
    "confounded_dtr",
    "confounded_gridworld",
    "four_arm_casino",
    "front_door",
    "front_door_bandit",
    "greedy_casino",
    "instrument",
    "linear_gaussian_population",
    "paradoxical_switching",
    "parallel_bandit",
    "psa_health",
    "scm_mab_task_1",
    "scm_mab_task_2",
    "scm_mab_task_3",
    "scm_mab_xyzw",
    "smoking_cessation",
    "toy_graph",
    "transfer_bandit",
    "two_stage_dtr",
]
