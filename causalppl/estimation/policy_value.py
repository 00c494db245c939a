"""What a policy would have earned, from the log of another one.

A row of the log is one decision: a context, the action taken, the probability with which it was
taken (its propensity), and the reward. Its weight ``w`` is the new policy's probability of that
action over the propensity.

===================  ============================================  ============================
method               what a row contributes                        bias
===================  ============================================  ============================
`PolicyIPW`          ``w r``                                       none
`PolicySNIPW`        the same, weights scaled to average 1         of order 1 / rows
`PolicyDM`           ``q(context, policy)``                        that of the reward model q
`PolicyDR`           ``q(context, policy) + w (r - q)``            none (q is cross-fitted)
`PolicySwitchDR`     the same, the second part only for small w    that of q where w is large
===================  ============================================  ============================
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from causalppl.estimation.estimate import Estimate
from causalppl.estimation.policy_interval import (
    PolicyInterval,
    ScarceRewards,
    range_of_rewards,
)
from causalppl.estimation.policy_log import PolicyLog, Roles, read_log
from causalppl.estimation.policy_methods import (
    PolicyDM,
    PolicyDR,
    PolicyIPW,
    PolicyMethod,
    PolicySNIPW,
    PolicySwitchDR,
)
from causalppl.estimation.policy_overlap import check_overlap
from causalppl.exceptions import DataError
from causalppl.given import check_kind
from causalppl.queries import Event, Query, Term, Value
from causalppl.seeding import spawn_seeds

__all__ = [
    "PolicyDM",
    "PolicyDR",
    "PolicyIPW",
    "PolicyMethod",
    "PolicySNIPW",
    "PolicySwitchDR",
    "policy_value",
]


def policy_value(
    logged: Any,
    policy: Any,
    *,
    action: str = "action",
    reward: str = "reward",
    propensity: Any = "propensity",
    context: Iterable[str] | None = None,
    slate: str | None = None,
    actions: Sequence[Value] | None = None,
    method: PolicyMethod | None = None,
    reward_range: tuple[float, float] | None = None,
    minimum_ess: float = 30.0,
    allow_unlogged: bool = False,
    seed: int | None = None,
) -> Estimate:
    """Estimate the mean reward of a policy from logged decisions.

    Args:
        logged: The log, a table of any kind (see `Table.from_any`); incomplete rows are left out.
        policy: A table with a column named as ``action``, one named ``probability``, and those
            columns of the log that the policy looks at (a combination without a row has
            probability 0); or a function of a frame of contexts (those that occur, once each, in
            the order of the log) and the tuple of all actions that returns probabilities, shape
            ``(contexts, actions)``.
        action: The column of actions, of any type.
        reward: The column of rewards, numbers.
        propensity: The column of probabilities with which the logged actions were taken; or the
            names of one column for each of ``actions``, in their order; or the logging policy, a
            table or a function as for ``policy``. The last two are checked to sum to 1.
        context: The columns that policy and reward model look at, such as the position in a list.
            None: those of the policy's table; for a function all that have no other role. Rows of
            the same values there are one context.
        slate: The column that says which rows make up one list: rewards are summed over a list, a
            position's reward is taken to depend on its own action alone, and errors are between
            lists.
        actions: All actions; None: those in the log and in the policy's table.
        method: One of the table above; None takes `PolicyDR`.
        reward_range: The least and the largest reward that there can be; None: 0 and 1 where all
            rewards are one of these, else not known.
        minimum_ess: No answer below this effective sample size; 0 forces one. `PolicyDM`, which
            does not weigh, answers with a warning: its model extrapolates.
        allow_unlogged: Answer even where the policy takes actions that are never logged (or that
            the logging policy, where it is given, never takes in that context), so that the log
            does not identify its value: weighting leaves their reward out, a model guesses it.
        seed: Seed of folds and bootstrap.

    Returns:
        The value per row, or per slate. ``influence`` has one entry for each row, or each slate.
        Its interval allows for the skewness of rare rewards (Hall 1992) and stays in the range of
        the rewards; where all are the same, it is the exact one of Clopper and Pearson for as many
        rows as the effective sample size; and it is at least as wide where only light rows differ.
        See `PolicyInterval`.

    Raises:
        AssumptionError: The effective sample size is below ``minimum_ess``, or more than 1e-4 of
            the policy's choices are actions never logged, or all of them are.
        DataError: A column is missing or of the wrong kind, a propensity is not in (0, 1], the
            probabilities of a policy are below 0 or do not sum to 1 (to 1e-4) in some context, or
            a reward is not in ``reward_range``.

    Warns:
        OverlapWarning: The effective sample size is below ``minimum_ess`` or 5 % of the rows; or,
            for methods that weigh, the weights do not average 1, beyond 5 standard errors and 1 %,
            as they must where the propensities are those of the log and it could hold all that the
            policy does.

    References:
        Horvitz and Thompson (1952); Swaminathan and Joachims (2015), The self-normalized
        estimator; Dudík, Langford and Li (2011), Doubly robust policy evaluation and learning;
        Wang, Agarwal and Dudík (2017), Optimal and adaptive off-policy evaluation; Li et al.
        (2018) for lists; Hall (1992), On the removal of skewness by transformation, for intervals.

    Example:
        >>> log = {"action": ["a", "b"] * 50, "reward": [1, 0] * 50, "propensity": [0.5] * 100}
        >>> estimate = policy_value(
        ...     log, {"action": ["a", "b"], "probability": [0.8, 0.2]}, method=PolicyIPW())
        >>> round(float(estimate), 6), round(estimate.ess, 1)
        (0.8, 73.5)
    """
    way = PolicyDR() if method is None else method
    check_kind(way, PolicyMethod, "method", "a method such as PolicyDR(), or None")
    (used,) = spawn_seeds(seed, 1)
    columns = _columns(propensity, actions)
    roles = Roles(action, reward, columns, slate)
    log = read_log(logged, policy, roles, None if columns else propensity, context, actions)
    known = range_of_rewards(reward_range, log.reward)
    notes = check_overlap(log, way, minimum_ess, allow_unlogged=allow_unlogged)
    return _assemble(log, way, known, notes, used)


def _columns(propensity: Any, actions: Sequence[Value] | None) -> tuple[str, ...]:
    """List the columns of propensities; none where they come from a policy."""
    if isinstance(propensity, str):
        return (propensity,)
    if not isinstance(propensity, list | tuple):
        return ()
    if actions is None or len(actions) != len(propensity):
        raise DataError(
            f"propensity names {len(propensity)} columns, and actions is {actions!r}; expected one "
            "column for each of actions, in their order"
        )
    return tuple(propensity)


def _assemble(
    log: PolicyLog,
    way: PolicyMethod,
    known: tuple[float, float] | None,
    notes: tuple[str, ...],
    seed: int,
) -> Estimate:
    totals = log.per_slate(way.contributions(log, seed))
    draws = way.draws(log, seed)
    ends = PolicyInterval.of(log, totals, draws, known)
    influence = totals - totals.mean()
    roles = log.roles
    assumptions = [
        f"nothing but the context and chance decided the logged {roles.action}",
        "contexts are drawn as in the log, and no decision affects another row",
    ]
    if roles.slate:
        assumptions.append(f"a position's {roles.reward} depends on its own {roles.action} alone")
    if log.impossible > 0:
        never = f"{log.impossible:.2%} of the policy's choices are actions never logged"
        notes = (*notes, never)
    if ends.constant is not None:
        notes = (*notes, _of_equal_rewards(ends, roles.reward))
    if ends.scarce is not None and ends.scarce.is_scarce:
        notes = (*notes, _of_scarce_rewards(ends.scarce, roles.reward))
    return Estimate(
        Query("E", (Event(Term(roles.reward)),)),
        f"{way.name} of a policy for {roles.action}",
        np.array(totals.mean()),
        error=None if draws is not None else influence.std(ddof=1) / np.sqrt(len(totals)),
        draws=draws,
        ends=ends,
        num_rows=len(log.reward),
        num_dropped=log.num_dropped,
        ess=log.ess if way.is_weighted else None,
        influence=influence,
        assumptions=(*assumptions, *way.assumptions),
        notes=notes,
        diagnostics={
            "mean_weight": float(log.weight.mean()),
            "largest_weight": float(log.weight.max()),
            "least_propensity": float(log.propensity.min()),
            "unlogged_mass": log.impossible,
            **way.diagnostics(log),
        },
    )


def _of_equal_rewards(ends: PolicyInterval, reward: str) -> str:
    same = f"all values of {reward} are the same"
    if ends.bounds is None:
        return f"{same}, and no reward_range says what else they could be"
    return f"{same}; the interval is that of {ends.trials:.0f} rows without any other"


def _of_scarce_rewards(scarce: ScarceRewards, reward: str) -> str:
    one = "least" if scarce.above < scarce.below else "largest"
    return (
        f"next to no rows of weight have another {reward} than the {one}: the interval is at least "
        f"that of {scarce.trials:.0f} rows without any"
    )
