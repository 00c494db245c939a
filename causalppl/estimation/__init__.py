"""From estimand and data to number, and checks of one against the other.

==================  ============================================  ==========================
name                what it does                                  paper
==================  ============================================  ==========================
`Counterexample`    two models with equal data, unequal answers   Shpitser and Pearl (2006)
`Input`             what one study shows                          Lee et al. (2019)
`ProgramLaw`        the exact law of a finite program             -
`Verification`,     what `verify` and `verify_all` find           -
`VerificationReport`
`evaluate`          an estimand on exact tables                   -
`Law`, `SourceKey`  how laws are given to `evaluate`              -
`Unidentified`      a question that data are said not to answer   -
`counterexample`    build such a pair of models                   Shpitser and Pearl (2006)
`verify`            a formula against the program, exactly        -
`verify_all`        all identifiable queries of a program         -
==================  ============================================  ==========================
"""

from causalppl.estimation.counterexample import Counterexample, Unidentified, counterexample
from causalppl.estimation.equivalent_models import Input
from causalppl.estimation.exact import Law, SourceKey, evaluate
from causalppl.estimation.program_law import ProgramLaw
from causalppl.estimation.verification import Verification, VerificationReport
from causalppl.estimation.verify import verify, verify_all

__all__ = [
    "Counterexample",
    "Input",
    "Law",
    "ProgramLaw",
    "SourceKey",
    "Unidentified",
    "Verification",
    "VerificationReport",
    "counterexample",
    "evaluate",
    "verify",
    "verify_all",
]
