"""Pictures.

Every function draws on the axes it is given, or on a new figure, and returns the axes.

| name | what it draws | paper |
|---|---|---|
| `graph` | a diagram or a program, with interventions marked | - |
| `worlds` | the factual world and others that share its noise | Balke and Pearl (1994) |
| `effects` | answers side by side: estimates, posteriors, bounds | - |
| `bounds` | what data leave open, with naive answers beside it | - |
| `overlap` | the chances of an arm, for those with and without it | - |
| `tipping` | how much hidden confounding overturns a conclusion | - |
| `against_naive` | the posterior of an effect, and naive answers | - |
| `unit_worlds` | one unit in several worlds | - |
| `regret` | mean cumulative regret of agents, with its interval | - |
| `khat` | which units' weights can be trusted | Vehtari et al. (2024) |
| `elbo` | how a fit converged | - |
| `loo` | which rows' weights can be trusted | Vehtari et al. (2024) |
| `compare` | models' elpd and differences | Vehtari, Gelman and Gabry (2017) |
"""

from causalppl.agents.regret_plot import regret
from causalppl.inference.loo_plots import compare, loo
from causalppl.plots.diagrams import graph, worlds
from causalppl.plots.effects import effects
from causalppl.plots.partial_answers import bounds, tipping
from causalppl.plots.posteriors import against_naive, elbo, khat, unit_worlds
from causalppl.plots.propensities import overlap

__all__ = [
    "against_naive",
    "bounds",
    "compare",
    "effects",
    "elbo",
    "graph",
    "khat",
    "loo",
    "overlap",
    "regret",
    "tipping",
    "unit_worlds",
    "worlds",
]
