"""Whether a log can say something of a policy: two checks of the importance weights."""

import warnings

import numpy as np

from causalppl.estimation.policy_log import PolicyLog
from causalppl.exceptions import AssumptionError, OverlapWarning

__all__ = ["check_overlap"]

_LEAST_SHARE = 0.05  # of the rows that should be left in the effective sample size
_MOST_ERRORS = 5.0  # standard errors by which the weights may miss an average of 1
_LEAST_MISS = 0.01  # a smaller one is rounding


def check_overlap(log: PolicyLog, method: str, minimum_ess: float) -> tuple[str, ...]:
    """Warn where weights are few, or do not average 1; return what was found.

    Raises:
        AssumptionError: The effective sample size is below the minimum, or zero.
    """
    if not log.weight.any():
        raise AssumptionError(
            "the policy takes none of the logged actions, so the log says nothing of it; expected "
            "overlap; use PolicyDM, which extrapolates"
        )
    found = tuple(note for note in (_few(log, minimum_ess), _biased(log)) if note)
    for note in found:
        warnings.warn(note, OverlapWarning, stacklevel=3)
    if log.ess < minimum_ess:
        raise AssumptionError(
            f"the effective sample size is {log.ess:.3g} of {len(log.reward)} rows; {method} needs "
            f"at least {minimum_ess:g}; log with a policy that is nearer to this one, restrict the "
            "question, or force an answer with minimum_ess=0"
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
