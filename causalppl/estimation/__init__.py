"""From estimand and data to number, and checks of one against the other.

==================  ============================================  ==========================
name                what it does                                  paper
==================  ============================================  ==========================
`Counterexample`    two models with equal data, unequal answers   Shpitser and Pearl (2006)
`Input`             what one study shows                          Lee et al. (2019)
`evaluate`          an estimand on exact tables                   -
`Law`, `SourceKey`  how laws are given to `evaluate`              -
`Unidentified`      a question that data are said not to answer   -
`counterexample`    build such a pair of models                   Shpitser and Pearl (2006)
==================  ============================================  ==========================
"""

from causalppl.estimation.counterexample import Counterexample, Unidentified, counterexample
from causalppl.estimation.equivalent_models import Input
from causalppl.estimation.exact import Law, SourceKey, evaluate

__all__ = [
    "Counterexample",
    "Input",
    "Law",
    "SourceKey",
    "Unidentified",
    "counterexample",
    "evaluate",
]
