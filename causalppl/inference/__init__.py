"""From a program and evidence to a posterior.

=========================  ===================================================  ====================
name                       what it does                                         paper
=========================  ===================================================  ====================
``infer``                  one query, one posterior                             Pearl 2009, ch. 7
``fit``                    parameters from data
``Posterior``              draws and exact laws, with summary and diagnostics
``map_units``,             counterfactuals of units streamed from Parquet to
``MappedUnits``            Parquet, resumable
``Engine``, ``Problem``,   the contract between questions and those who answer
``Answer``, ``Condition``
``ClosedForm``             abduct and predict, nothing to infer                 Pearl 2009, 7.1.7
``Enumeration``            finite sites, by variable elimination                Balke, Pearl 1994
``Gaussian``               linear Gaussian programs, by conditioning
``Variational``            stochastic variational inference, PSIS-corrected     Vehtari et al. 2024
``Amortised``              one network for all units, trained on simulations    Papamakarios 2016
``TrainedAmortised``       what it is once trained: a forward pass per unit
``NUTS``                   Hamiltonian Monte Carlo                              Hoffman, Gelman 2014
``Importance``             likelihood weighting, PSIS-smoothed                  Vehtari et al. 2024
``contrast``, ``ate``,     named effects as functions                           Pearl 2001, 2009
``cate``, ``ett``,
``nde``, ``nie``,
``cde``, ``pn``,
``ps``, ``pns``
``NUTSFit``, ``SVIFit``    how to fit
``loo``, ``LeaveOneOut``   how well a fit predicts a unit that it has not seen  Vehtari et al. 2017
``compare``,               models beside each other, by that                    Yao et al. 2018
``ModelComparison``
``log_likelihood``         of each row under each draw of the parameters
``fit_to_arviz``           these, and the draws, for ArviZ                      Kumar et al. 2019
=========================  ===================================================  ====================
"""

from causalppl.inference.amortised import Amortised, TrainedAmortised
from causalppl.inference.arviz import fit_to_arviz
from causalppl.inference.closed_form import ClosedForm
from causalppl.inference.compare import ModelComparison, compare
from causalppl.inference.contrasts import (
    ate,
    cate,
    cde,
    contrast,
    ett,
    nde,
    nie,
    pn,
    pns,
    ps,
)
from causalppl.inference.engine import Answer, Condition, Engine, Problem
from causalppl.inference.enumeration import Enumeration
from causalppl.inference.fit import fit
from causalppl.inference.gaussian import Gaussian
from causalppl.inference.importance import Importance
from causalppl.inference.infer import infer
from causalppl.inference.loo import LeaveOneOut, log_likelihood, loo
from causalppl.inference.map_units import MappedUnits, map_units
from causalppl.inference.mcmc import NUTS
from causalppl.inference.nuts_fit import NUTSFit
from causalppl.inference.posterior import Posterior
from causalppl.inference.svi_fit import SVIFit
from causalppl.inference.variational import Variational

__all__ = [
    "NUTS",
    "Amortised",
    "Answer",
    "ClosedForm",
    "Condition",
    "Engine",
    "Enumeration",
    "Gaussian",
    "Importance",
    "LeaveOneOut",
    "MappedUnits",
    "ModelComparison",
    "NUTSFit",
    "Posterior",
    "Problem",
    "SVIFit",
    "TrainedAmortised",
    "Variational",
    "ate",
    "cate",
    "cde",
    "compare",
    "contrast",
    "ett",
    "fit",
    "fit_to_arviz",
    "infer",
    "log_likelihood",
    "loo",
    "map_units",
    "nde",
    "nie",
    "pn",
    "pns",
    "ps",
]
