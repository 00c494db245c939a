"""From a query and a diagram to a formula, or to a witness that there is none.

All of ``P(... | do(...))``, conditional, nested and soft interventional queries, experiments and
several populations go through one function; what the literature treats as separate algorithms are
its special cases.

Where a function's first argument is a diagram, its text (``"X -> Y; X <-> Y"``) or an `SCM` will
do as well.

================================== ================================== ============== ==============
name                               algorithm                          paper          completeness
================================== ================================== ============== ==============
`identify`                         ID                                 Shpitser,      complete
                                                                      Pearl 2006
`identify`                         IDC: ``P(y | do(x), z)``           Shpitser,      complete
                                                                      Pearl 2006b
`identify`, ``experiments``        gID; zID as a case                 Lee et al.     complete
                                                                      2019
`identify`, `Domain`               transport: several sources, each   Lee et al.     complete
                                   with experiments; limited target   2020
                                   data
`identify`                         ID*, IDC*, ctfID: counterfactual,  Correa et al.  complete for
                                   conditional and nested             2021           symbols; fixed
                                                                                     values may
                                                                                     give more
`identify`, ``policies``           sigma-calculus: soft interventions Correa,        complete for
                                   and dynamic plans                  Bareinboim     plans that are
                                                                      2020           known
`identify`                         natural and controlled effects, as Shpitser 2013  complete
                                   nested counterfactuals
`recover_from_missing_data`,       recovery from incomplete data      Mohan, Pearl   complete for
`MaskingPath`                      (m-graphs)                         2021; Bhatta-  a class; see
                                                                      charya et al.  its docstring
                                                                      2019; Nabi et
                                                                      al. 2020
`recover_from_selection`,          recovery from selection bias, with Bareinboim,    sound; com-
`SelectionWitness`                 external data                      Tian, Pearl    plete as its
                                                                      2014; Correa   docstring
                                                                      et al. 2019    says
`path_specific_query`,             effects along some edges, as       Shpitser 2013  complete
`path_specific_effect`,            nested counterfactuals; the
`recanting_districts`,             reasons of failure
`recanting_witnesses`
`Hedge`, `Conflict`, `Witness`     why there is no formula            Shpitser,      checkable
                                                                      Pearl 2006
`Estimand`, `Step`, `Study`        the formula and its derivation
`is_adjustment_set`,               complete adjustment criterion; all Shpitser       complete
`is_back_door_set`,                and minimal sets with polynomial   et al. 2010;
`find_adjustment_set`,             delay                              van der Zander
`adjustment_sets`,                                                    et al. 2014
`all_adjustment_sets`,
`explain_adjustment`,
`AdjustmentFailure`
`find_minimum_cost_adjustment_set` cheapest set, by a minimum cut     v.d. Zander    complete
                                                                      et al. 2019
`optimal_adjustment_set`,          smallest asymptotic variance       Henckel et al. sufficient
`optimal_minimal_adjustment_set`                                      2022; Smucler, with latents
                                                                      Rotnitzky
                                                                      2022
`is_front_door_set`,               all front-door sets, polynomial    Jeong et al.   complete
`find_front_door_set`,             delay                              2022; Wienöbst
`front_door_sets`                                                     et al. 2023
`Instrument`, `is_instrument`,     conditional instruments            v.d. Zander    ancestral
`find_instruments`                                                    et al. 2015    instruments
`is_instrumental_set`,             instrumental sets, checked         Brito, Pearl   no search
`generic_rank`                                                        2002
`find_imitation_policy_set`,       imitation by back-door sets and by Zhang et al.   complete
`explain_imitability`,             surrogates                         2020           back-door;
`ImitationInstrument`,                                                               see docstrings
`imitation_instruments`,
`is_policy_effect_identifiable`
`minimal_intervention_sets`,       sets of variables that can be best Lee,           complete
`possibly_optimal_sets`,           to set (MIS, POMIS)                Bareinboim
`requires_experiment`                                                 2018, 2019
================================== ================================== ============== ==============

Not yet here: sequential imitation, cyclic graphs, linear models (half-trek).
"""

from causalppl.identification.adjustment import (
    AdjustmentFailure,
    adjustment_sets,
    all_adjustment_sets,
    explain_adjustment,
    find_adjustment_set,
    is_adjustment_set,
    is_back_door_set,
)
from causalppl.identification.estimand import Estimand, Step
from causalppl.identification.factorisation import Conflict
from causalppl.identification.front_door import (
    find_front_door_set,
    front_door_sets,
    is_front_door_set,
)
from causalppl.identification.hedges import Hedge, Witness
from causalppl.identification.identify import identify
from causalppl.identification.imitability import (
    ImitationInstrument,
    explain_imitability,
    find_imitation_policy_set,
    imitation_instruments,
    is_policy_effect_identifiable,
)
from causalppl.identification.instrumental_sets import generic_rank, is_instrumental_set
from causalppl.identification.instruments import Instrument, find_instruments, is_instrument
from causalppl.identification.intervention_sets import (
    minimal_intervention_sets,
    possibly_optimal_sets,
    requires_experiment,
)
from causalppl.identification.minimum_cost_adjustment import find_minimum_cost_adjustment_set
from causalppl.identification.missing_data import MaskingPath, recover_from_missing_data
from causalppl.identification.optimal_adjustment import (
    optimal_adjustment_set,
    optimal_minimal_adjustment_set,
)
from causalppl.identification.path_specific import (
    path_specific_effect,
    path_specific_query,
    recanting_districts,
    recanting_witnesses,
)
from causalppl.identification.selection_bias import SelectionWitness, recover_from_selection
from causalppl.identification.sources import Domain, Study

__all__ = [
    "AdjustmentFailure",
    "Conflict",
    "Domain",
    "Estimand",
    "Hedge",
    "ImitationInstrument",
    "Instrument",
    "MaskingPath",
    "SelectionWitness",
    "Step",
    "Study",
    "Witness",
    "adjustment_sets",
    "all_adjustment_sets",
    "explain_adjustment",
    "explain_imitability",
    "find_adjustment_set",
    "find_front_door_set",
    "find_imitation_policy_set",
    "find_instruments",
    "find_minimum_cost_adjustment_set",
    "front_door_sets",
    "generic_rank",
    "identify",
    "imitation_instruments",
    "is_adjustment_set",
    "is_back_door_set",
    "is_front_door_set",
    "is_instrument",
    "is_instrumental_set",
    "is_policy_effect_identifiable",
    "minimal_intervention_sets",
    "optimal_adjustment_set",
    "optimal_minimal_adjustment_set",
    "path_specific_effect",
    "path_specific_query",
    "possibly_optimal_sets",
    "recanting_districts",
    "recanting_witnesses",
    "recover_from_missing_data",
    "recover_from_selection",
    "requires_experiment",
]
