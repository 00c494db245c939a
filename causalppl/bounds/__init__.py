"""From query and data to an interval, and from an interval to a decision.

================================ ======================================== =========================
name                             what it does                             paper
================================ ======================================== =========================
`bound`, `Bounds`                the sharpest interval that data and      -
                                 diagram allow
`Canonical`                      all finite models on a diagram           Balke, Pearl (1997);
                                                                          Duarte et al. (2023)
`ResponseFunctionPosterior`      a posterior over these models            Chickering, Pearl (1996);
                                                                          Zhang et al. (2022)
`balke_pearl_ate_bounds`,        closed forms for an instrument           Balke, Pearl (1997);
`balke_pearl_do_bounds`,                                                  Pearl (1995)
`instrumental_inequality`
`tian_pearl_bounds`              closed forms for PN, PS, PNS             Tian, Pearl (2000)
`NoAssumptions`,                 nothing but the range of the outcome     Manski (1990)
`manski_bounds`
`causal_q_bounds`                the same for states and actions of a log Manski (1990)
`MonotoneResponse`               treatment harms nobody                   Manski (1997)
`MonotoneSelection`,             who takes more has more; means that      Manski, Pepper (2000)
`MonotoneInstrument`             rise with a variable
`NaturalBounds`                  instruments                              Robins (1989); Manski
                                                                          (1990)
`MarginalSensitivity`            hidden confounding of stated strength    Tan (2006)
`sharp_mean`, `sharp_effect`,    the same on rows, sharp given covariates Dorn, Guo (2022)
`sharp_policy_value`,
`Learners`
`msm_mean`, `msm_policy_value`,  the same from propensities alone         Zhao et al. (2019);
`msm_contribution`,                                                       Kallus, Zhou (2021)
`msm_per_step`, `msm_stratified`
`tipping_point`, `TippingPoint`, how strong confounding must be to undo a -
`msm_tipping_point`              conclusion
`MatchedPairs`                   tests of matched pairs under hidden bias Rosenbaum (2002)
`EValue`                         on the scale of risk ratios              VanderWeele, Ding (2017)
`OmittedVariable`, `Adjusted`,   on the scale of explained variance       Cinelli, Hazlett (2020)
`Benchmark`
`confounding_bias_bound`,        by the distance of a confounder's law    -
`mutual_information_to_flip`,    between arms, or its information
`least_information`,
`pivotality`, `Pivotality`
`certify_decision`,              a decision, and what it rests on         -
`Certificate`, `Layer`
`Violation`                      what in the data contradicts a diagram   -
`BoundMethod`, `BoundProblem`    the contract of bounding methods         -
================================ ======================================== =========================
"""

from causalppl.bounds.bayesian import ResponseFunctionPosterior
from causalppl.bounds.bound import bound
from causalppl.bounds.bounds import Bounds
from causalppl.bounds.canonical import Canonical
from causalppl.bounds.certificate import Certificate, Layer
from causalppl.bounds.certify_decision import certify_decision
from causalppl.bounds.closed_forms import (
    balke_pearl_ate_bounds,
    balke_pearl_do_bounds,
    instrumental_inequality,
    tian_pearl_bounds,
)
from causalppl.bounds.confounding_strength import (
    confounding_bias_bound,
    least_information,
    mutual_information_to_flip,
)
from causalppl.bounds.e_value import EValue
from causalppl.bounds.manski import NoAssumptions
from causalppl.bounds.manski_tables import causal_q_bounds, manski_bounds
from causalppl.bounds.marginal_sensitivity import (
    msm_contribution,
    msm_mean,
    msm_policy_value,
    msm_stratified,
)
from causalppl.bounds.marginal_sensitivity_method import MarginalSensitivity
from causalppl.bounds.method import BoundMethod, BoundProblem
from causalppl.bounds.monotone import MonotoneResponse
from causalppl.bounds.monotone_instrument import MonotoneInstrument
from causalppl.bounds.monotone_selection import MonotoneSelection
from causalppl.bounds.natural import NaturalBounds
from causalppl.bounds.omitted_variable import Adjusted, Benchmark, OmittedVariable
from causalppl.bounds.per_step_sensitivity import msm_per_step
from causalppl.bounds.pivotality import Pivotality, pivotality
from causalppl.bounds.quantile_balancing import sharp_effect, sharp_mean, sharp_policy_value
from causalppl.bounds.rosenbaum import MatchedPairs
from causalppl.bounds.tail_learners import Learners
from causalppl.bounds.tipping import TippingPoint, msm_tipping_point, tipping_point
from causalppl.bounds.violation import Violation

__all__ = [
    "Adjusted",
    "Benchmark",
    "BoundMethod",
    "BoundProblem",
    "Bounds",
    "Canonical",
    "Certificate",
    "EValue",
    "Layer",
    "Learners",
    "MarginalSensitivity",
    "MatchedPairs",
    "MonotoneInstrument",
    "MonotoneResponse",
    "MonotoneSelection",
    "NaturalBounds",
    "NoAssumptions",
    "OmittedVariable",
    "Pivotality",
    "ResponseFunctionPosterior",
    "TippingPoint",
    "Violation",
    "balke_pearl_ate_bounds",
    "balke_pearl_do_bounds",
    "bound",
    "causal_q_bounds",
    "certify_decision",
    "confounding_bias_bound",
    "instrumental_inequality",
    "least_information",
    "manski_bounds",
    "msm_contribution",
    "msm_mean",
    "msm_per_step",
    "msm_policy_value",
    "msm_stratified",
    "msm_tipping_point",
    "mutual_information_to_flip",
    "pivotality",
    "sharp_effect",
    "sharp_mean",
    "sharp_policy_value",
    "tian_pearl_bounds",
    "tipping_point",
]
