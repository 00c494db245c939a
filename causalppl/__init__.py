"""Causal modelling by probabilistic programming, on Pyro.

>>> import causalppl as cp

==========================  ============================================================
name                        what it does
==========================  ============================================================
``SCM``                     a structural causal model that is a Pyro program
``do``                      intervene, as an effect handler
``twin_worlds``             several worlds with shared noise, as one Pyro program
``Shift``, ``World``        interventions beside values, distributions and policies
``Quantile``, ``GumbelMax`` couplings: how discrete sites share noise between worlds
``Query``, ``Contrast``     causal questions, with a text form
``parse_query``             read either from text
``ADMG``                    causal diagrams
``identify``, ``Estimand``  answer a query with a diagram: a formula, or why there is none
``Domain``                  another population, for ``identify``
``estimate``                answer a formula with data
``verify``, ``verify_all``  check formulas against a program
``falsify``                 ask whether data contradict a diagram
``refute``                  try to refute an estimate
``estimate_iv``             an effect through instruments
``unit_effects``            the effect of each unit, given all that is known of it
``policy_value``            what a policy would have earned, from the log of another one
``bound``, ``Bounds``       an interval, where there is no formula
``infer``                   answer a query with a model
``map_units``               counterfactuals of each unit, for files of any size
``fit``                     infer a model's parameters from data
``Posterior``               the answer: draws, exact laws, summary, diagnostics
``ClosedForm``,             engines; without one, ``infer`` takes the first exact one
``Enumeration``,
``Gaussian``,
``Variational``,
``Amortised``, ``NUTS``,
``Importance``
``NUTSFit``, ``SVIFit``     ways to fit
``loo``, ``compare``        how well fitted models predict a unit that was left out
==========================  ============================================================
"""

from causalppl.bounds import Bounds, bound
from causalppl.estimation import (
    Estimate,
    estimate,
    estimate_iv,
    falsify,
    policy_value,
    refute,
    unit_effects,
    verify,
    verify_all,
)
from causalppl.graphs import ADMG
from causalppl.identification import Domain, Estimand, identify
from causalppl.inference import (
    NUTS,
    Amortised,
    ClosedForm,
    Enumeration,
    Gaussian,
    Importance,
    NUTSFit,
    Posterior,
    SVIFit,
    Variational,
    compare,
    fit,
    infer,
    loo,
    map_units,
)
from causalppl.programs import SCM, GumbelMax, Quantile, Shift, World, do, twin_worlds
from causalppl.queries import Contrast, Query, parse_query

__all__ = [
    "ADMG",
    "NUTS",
    "SCM",
    "Amortised",
    "Bounds",
    "ClosedForm",
    "Contrast",
    "Domain",
    "Enumeration",
    "Estimand",
    "Estimate",
    "Gaussian",
    "GumbelMax",
    "Importance",
    "NUTSFit",
    "Posterior",
    "Quantile",
    "Query",
    "SVIFit",
    "Shift",
    "Variational",
    "World",
    "bound",
    "compare",
    "do",
    "estimate",
    "estimate_iv",
    "falsify",
    "fit",
    "identify",
    "infer",
    "loo",
    "map_units",
    "parse_query",
    "policy_value",
    "refute",
    "twin_worlds",
    "unit_effects",
    "verify",
    "verify_all",
]

__version__ = "0.1.0"
