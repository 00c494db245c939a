"""Whether a log can say something of a policy: two checks of the importance weights."""

import warnings

import numpy as np

from causalppl.estimation.policy_log import PolicyLog
from causalppl.estimation.policy_methods import PolicyMethod
from causalppl.exceptions import AssumptionError, OverlapWarning

__all__ = ["check_overlap"]

_LEAST_SHARE = 0.05  # of the rows that should be left in the effective sample size
_MOST_ERRORS = 5.0  # standard errors by which the weights may miss an average of 1
_MOST_UNLOGGED = 1e-4  # of the choices; less is rounding, or a softmax
_LEAST_MISS = 0.01  # a smaller one is rounding


def check_overlap(
    log: PolicyLog, method: PolicyMethod, minimum_ess: float, *, allow_unlogged: bool
) -> tuple[str, ...]:
    """Warn where weights are few, or do not average 1; return what was found.

    Raises:
        AssumptionError: The policy takes actions that the log cannot hold; or, for methods that
            weigh, the effective sample size is below the minimum, or zero.
    """
    if method.is_weighted and not log.weight.any():
        raise AssumptionError(
            "the policy takes none of the logged actions, so the log says nothing of it; expected "
            "overlap; log with a policy that takes them"
        )
    if log.impossible > _MOST_UNLOGGED and not allow_unlogged:
        raise AssumptionError(
            f"{log.impossible:.2%} of the policy's choices are actions never logged, so no log of "
            "this kind tells their reward; expected none; log with a policy that takes them, take "
            "them out of this one, or force an answer with allow_unlogged=True"
        )
    checks = (_few(log, minimum_ess), _biased(log) if method.is_weighted else "")
    found = tuple(note for note in checks if note)
    for note in found:
        warnings.warn(note, OverlapWarning, stacklevel=3)
    if method.is_weighted and log.ess < minimum_ess:
        raise AssumptionError(
            f"the effective sample size is {log.ess:.3g} of {len(log.reward)} rows; {method.name} "
            f"needs at least {minimum_ess:g}; log with a policy that is nearer to this one, "
            "restrict the question, or force an answer with minimum_ess=0"
        )
    return found


def _few(log: PolicyLog, minimum_ess: float) -> str:
    if log.ess >= max(minimum_ess, _LEAST_SHARE * len(log.reward)):
        return ""
    return (
        f"the effective sample size is {log.ess:.3g} of {len(log.reward)} rows: log and policy "
        "hardly overlap"
    )


def _biased(log: PolicyLog) -> str:
    """Test that the weights average 1; their spread is taken about 1, so it is never 0."""
    miss = log.weight - 1.0
    error = float(np.sqrt((log.per_slate(miss) ** 2).sum())) / len(miss)
    if abs(miss.mean()) <= max(_LEAST_MISS, _MOST_ERRORS * error):
        return ""
    never = f" ({log.impossible:.1%} of its choices never are)" if log.impossible else ""
    return (
        f"the importance weights average {log.weight.mean():.3g}, "
        f"{abs(miss.mean()) / error:.0f} standard errors from 1: either the propensities are not "
        "those with which the actions were taken, or the policy takes actions that are hardly ever "
        f"logged{never}; the estimate is off by about as much; check the propensities"
    )
