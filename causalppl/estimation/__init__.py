"""From estimand and data to number, and checks of one against the other.

=========================== ========================================== ============================
name                        what it does                               paper
=========================== ========================================== ============================
`estimate`, `Estimate`      a formula from data, with its uncertainty  -
`Dirichlet`                 any formula on discrete data, Bayesian     Heckerman et al. (1995) for
                                                                       the prior
`GFormula`                  adjustment by a model of the outcome       Robins (1986)
`IPW`                       adjustment by a model of the treatment     Horvitz, Thompson (1952);
                                                                       Robins et al. (2000)
`AIPW`, `TMLE`              by both, cross-fitted; right if one is     Robins et al. (1994);
                                                                       Chernozhukov et al. (2018);
                                                                       van der Laan, Rubin (2006)
`GEstimation`               structural nested mean models              Robins (1994)
`FrontDoor`                 front-door formulas, one-step corrected    Fulcher et al. (2020)
`NestedRegression`          any other formula of nested expectations,  Tchetgen Tchetgen, Shpitser
                            such as mediation                          (2012)
`PartiallyLinear`           a slope by double machine learning, also   Robinson (1988);
                            for continuous treatments                  Chernozhukov et al. (2018)
`balance`, `Balance`        are arms alike once weighted, and had      Austin (2009); Austin,
                            each row a chance of each arm?             Stuart (2015)
`unit_effects`,             the effect of each unit, given all that    Künzel et al. (2019);
`UnitEffects`               is adjusted for                            Nie, Wager (2021)
`estimate_iv`, `Wald`,      instruments                                Wald (1940); Angrist, Imbens
`TwoStageLeastSquares`,                                                (1995); Hansen (1982)
`LIML`, `GMM`,
`InstrumentMethod`
`one_step`                  a functional of a fitted program,          Kennedy (2022)
                            corrected to first order
`policy_value`,             the value of a policy, from logged data    Dudík et al. (2014); Wang et
`PolicyIPW`, `PolicySNIPW`,                                            al. (2017)
`PolicyDM`, `PolicyDR`,
`PolicySwitchDR`
`Estimator`, `Problem`      the contract of estimators
`falsify`, `Falsification`, does the data contradict the diagram?      Eulig et al. (2023)
`compare_graphs`,
`GraphComparison`
`ChiSquared`,               tests of independence                      Shah, Peters (2020) for
`PartialCorrelation`,                                                  residual covariance
`RankScores`,
`ResidualCovariance`,
`StratifiedPermutation`
`holm`,                     adjustments for many tests                 Holm (1979); Benjamini,
`benjamini_hochberg`                                                   Hochberg (1995)
`refute`, `Refutation`      known changes of the data, and whether     Sharma, Kiciman (2020)
                            the estimate reacts as it must
`Check`, `CheckResult`      the contract of these checks               -
`PlaceboTreatment`,         a treatment or an outcome without effect,  Sharma, Kiciman (2020)
`DummyOutcome`,             a cause that is noise, parts of the rows
`RandomCommonCause`,
`SubsetStability`
`BootstrapError`            the standard error, by rows weighed at     Rubin (1981)
                            random
`FunctionalForm`            models of another form, flexible ones          Hausman (1978)
`SimulatedConfounder`       a hidden cause of growing strength         -
`PriorSensitivity`,         weaker and stronger priors; whether the    Gelman et al. (1996)
`PosteriorPredictive`       data look like draws of the posterior
`verify`, `verify_all`,     a formula against the program: exactly     -
`Verification`,             for finite ones, else by samples
`VerificationReport`
`evaluate`, `ProgramLaw`    an estimand on exact tables; the exact law -
                            of a finite program
`Law`, `SourceKey`          how laws are given to `evaluate`           -
`counterexample`,           two models with equal data, unequal        Shpitser, Pearl (2006)
`Counterexample`,           answers
`Unidentified`, `Input`
=========================== ========================================== ============================
"""

from causalppl.estimation.balance import Balance, balance
from causalppl.estimation.counterexample import Counterexample, Unidentified, counterexample
from causalppl.estimation.dirichlet import Dirichlet
from causalppl.estimation.doubly_robust import AIPW, TMLE
from causalppl.estimation.equivalent_models import Input
from causalppl.estimation.estimate import Estimate
from causalppl.estimation.estimator import Estimator, Problem
from causalppl.estimation.exact import Law, SourceKey, evaluate
from causalppl.estimation.falsify import (
    Falsification,
    GraphComparison,
    benjamini_hochberg,
    compare_graphs,
    falsify,
    holm,
)
from causalppl.estimation.from_data import estimate
from causalppl.estimation.front_door_estimator import FrontDoor
from causalppl.estimation.g_estimation import GEstimation
from causalppl.estimation.independence_tests import (
    ChiSquared,
    PartialCorrelation,
    RankScores,
    ResidualCovariance,
    StratifiedPermutation,
)
from causalppl.estimation.instrument_methods import (
    GMM,
    LIML,
    InstrumentMethod,
    TwoStageLeastSquares,
    Wald,
)
from causalppl.estimation.instrumental import estimate_iv
from causalppl.estimation.nested_regression import NestedRegression
from causalppl.estimation.one_step import one_step
from causalppl.estimation.outcome_regression import GFormula
from causalppl.estimation.partially_linear import PartiallyLinear
from causalppl.estimation.policy_value import (
    PolicyDM,
    PolicyDR,
    PolicyIPW,
    PolicySNIPW,
    PolicySwitchDR,
    policy_value,
)
from causalppl.estimation.program_law import ProgramLaw
from causalppl.estimation.refutation_check import Check, CheckResult
from causalppl.estimation.refutation_checks import (
    BootstrapError,
    DummyOutcome,
    PlaceboTreatment,
    RandomCommonCause,
    SimulatedConfounder,
    SubsetStability,
)
from causalppl.estimation.refutation_form import FunctionalForm
from causalppl.estimation.refutation_priors import PosteriorPredictive, PriorSensitivity
from causalppl.estimation.refute import Refutation, refute
from causalppl.estimation.unit_effects import UnitEffects, unit_effects
from causalppl.estimation.verification import Verification, VerificationReport
from causalppl.estimation.verify import verify, verify_all
from causalppl.estimation.weighting import IPW

__all__ = [
    "AIPW",
    "GMM",
    "IPW",
    "LIML",
    "TMLE",
    "Balance",
    "BootstrapError",
    "Check",
    "CheckResult",
    "ChiSquared",
    "Counterexample",
    "Dirichlet",
    "DummyOutcome",
    "Estimate",
    "Estimator",
    "Falsification",
    "FrontDoor",
    "FunctionalForm",
    "GEstimation",
    "GFormula",
    "GraphComparison",
    "Input",
    "InstrumentMethod",
    "Law",
    "NestedRegression",
    "PartialCorrelation",
    "PartiallyLinear",
    "PlaceboTreatment",
    "PolicyDM",
    "PolicyDR",
    "PolicyIPW",
    "PolicySNIPW",
    "PolicySwitchDR",
    "PosteriorPredictive",
    "PriorSensitivity",
    "Problem",
    "ProgramLaw",
    "RandomCommonCause",
    "RankScores",
    "Refutation",
    "ResidualCovariance",
    "SimulatedConfounder",
    "SourceKey",
    "StratifiedPermutation",
    "SubsetStability",
    "TwoStageLeastSquares",
    "Unidentified",
    "UnitEffects",
    "Verification",
    "VerificationReport",
    "Wald",
    "balance",
    "benjamini_hochberg",
    "compare_graphs",
    "counterexample",
    "estimate",
    "estimate_iv",
    "evaluate",
    "falsify",
    "holm",
    "one_step",
    "policy_value",
    "refute",
    "unit_effects",
    "verify",
    "verify_all",
]
