"""Gymnasium environments that are programs.

=======================  ============================================  ===========================
name                     what it does                                  paper
=======================  ============================================  ===========================
`SCMEnv`                 an SCM in which an agent acts, once per unit  Lee and Bareinboim (2018)
`SCMVectorEnv`           many of them, with a vectorised step          -
`SequentialSCMEnv`       several decisions about the same unit, each   Zhang and Bareinboim (2019)
                         a `Stage` (see `causalppl.examples`)
`SequentialVectorEnv`    many of them, all at the same stage           -
`Oracle`                 true means, optimum and regret, for           -
                         evaluation
`SequentialOracle`,      the same for several decisions                Bellman (1957)
`StageLaw`
`CausalEnvWrapper`       causal questions to any environment that      -
                         carries a model; persistent interventions
`make_env`,              the named problems as environments            see `causalppl.examples`
`make_vector_env`,
`environment_names`
`register_environments`  make them known to ``gymnasium.make``         -
=======================  ============================================  ===========================
"""

from causalppl.envs.named import (
    environment_names,
    make_env,
    make_vector_env,
    register_environments,
)
from causalppl.envs.oracle import Oracle
from causalppl.envs.scm_env import SCMEnv
from causalppl.envs.sequential import SequentialSCMEnv
from causalppl.envs.sequential_oracle import SequentialOracle, StageLaw
from causalppl.envs.sequential_vector import SequentialVectorEnv
from causalppl.envs.vector import SCMVectorEnv
from causalppl.envs.wrapper import CausalEnvWrapper
from causalppl.examples.sequential import Stage as Stage

__all__ = [
    "CausalEnvWrapper",
    "Oracle",
    "SCMEnv",
    "SCMVectorEnv",
    "SequentialOracle",
    "SequentialSCMEnv",
    "SequentialVectorEnv",
    "StageLaw",
    "environment_names",
    "make_env",
    "make_vector_env",
    "register_environments",
]

register_environments()
