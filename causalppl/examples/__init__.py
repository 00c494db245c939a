"""Programs with known answers, for tests, tutorials and the demonstration.

=========================  =============================================  =========================
name                       what it does                                   paper
=========================  =============================================  =========================
`Example`                  a model, a question and its known answer       -
`smoking_cessation`        quitting smoking and weight gain, real data    Hernán and Robins (2020)
`BanditProblem`            a program, a reward, and what may be set       -
`scm_mab_task_1`,          where to intervene: no confounding, an         Lee and Bareinboim (2018)
`scm_mab_task_2`,          instrument, six variables
`scm_mab_task_3`,
`scm_mab_xyzw`
`front_door_bandit`,       a mediator that cannot be set; a chain in      Lee and Bareinboim (2019)
`confounded_chain_bandit`  which observing is best
`greedy_casino`,           machines that punish those who are drawn to    Bareinboim, Forney and
`paradoxical_switching`    them                                           Pearl (2015)
=========================  =============================================  =========================
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
from causalppl.examples.example import Example
from causalppl.examples.nhefs import smoking_cessation

__all__ = [
    "BanditProblem",
    "Example",
    "confounded_chain_bandit",
    "front_door_bandit",
    "greedy_casino",
    "paradoxical_switching",
    "scm_mab_task_1",
    "scm_mab_task_2",
    "scm_mab_task_3",
    "scm_mab_xyzw",
    "smoking_cessation",
]
