"""Which engine answers when the user names none: the first that is exact."""

import warnings
from dataclasses import replace

from causalppl.exceptions import AssumptionError, ImpossibleEvidenceError
from causalppl.inference.closed_form import ClosedForm
from causalppl.inference.engine import Engine, Problem
from causalppl.inference.enumeration import Enumeration
from causalppl.inference.gaussian import Gaussian
from causalppl.inference.importance import Importance
from causalppl.inference.variational import Variational

_PILOT = 1_000  # draws that tell whether weighing will do
_PILOT_WIDTH = 5_000_000  # units times parameter draws times pilot draws that are worth a try
_GOOD_SHARE = 0.1  # of the pilot's draws must count
_WEIGHED = 100_000


def choose_engine(problem: Problem, engine: Engine | None) -> Engine:
    """Return the engine for a problem.

    Args:
        problem: What is asked.
        engine: The user's choice; None takes the first of: closed form where it leaves a point,
            enumeration, Gaussian conditioning, closed form with draws; then importance weighing
            if a pilot shows the evidence to be common enough, else variational, else importance
            weighing however rare the evidence is.

    Raises:
        AssumptionError: The engine that was chosen cannot answer, or none can.
    """
    if engine is not None:
        reason = engine.refusal(problem)
        if reason is not None:
            raise AssumptionError(
                f"the engine {engine.name} cannot answer: {reason}; leave engine= out to have one "
                "chosen"
            )
        return engine
    closed_form = ClosedForm()
    if closed_form.is_point(problem):
        return closed_form
    reasons = []
    for candidate in (Enumeration(), Gaussian(), closed_form):
        reason = candidate.refusal(problem)
        if reason is None:
            return candidate
        reasons.append(f"{candidate.name}: {reason}")
    weighing = Importance(num_samples=_WEIGHED)
    if weighing.refusal(problem) is None and _weighs_well(problem):
        return weighing
    for last in (Variational(), weighing):  # weights tell themselves whether they will do
        reason = last.refusal(problem)
        if reason is None:
            return last
        reasons.append(f"{last.name}: {reason}")
    raise AssumptionError("no engine can answer. " + "; ".join(reasons))


def _weighs_well(problem: Problem) -> bool:
    """Weigh a few draws: for evidence that is not rare, such as a treatment's value, most count."""
    if problem.num_units * problem.num_parameter_draws * _PILOT > _PILOT_WIDTH:
        return False
    few = replace(problem, num_draws=1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer = Importance(num_samples=_PILOT).solve(few, seed=0)
    except ImpossibleEvidenceError:  # too rare for the pilot
        return False
    return min(answer.diagnostics["ess"], default=0.0) > _GOOD_SHARE * _PILOT
