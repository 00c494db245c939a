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

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from causalppl.data import Table
from causalppl.estimation.estimate import Estimate
from causalppl.exceptions import AssumptionError, DataError, OverlapWarning
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

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]
_Columns: TypeAlias = dict[str, list[Any]]

_LEAST_SHARE = 0.05  # of the rows that should be left in the effective sample size
_PREDICTED_AT_ONCE = 100_000  # pairs of context and action
_MOST_CATEGORIES = 20  # of an integer column that is coded by indicators


def policy_value(
    logged: Any,
    policy: Any,
    *,
    action: str = "action",
    reward: str = "reward",
    propensity: str = "propensity",
    context: Iterable[str] | None = None,
    slate: str | None = None,
    actions: Sequence[Value] | None = None,
    method: "PolicyMethod | None" = None,
    minimum_ess: float = 30.0,
    seed: int | None = None,
) -> Estimate:
    """Estimate the mean reward of a policy from logged decisions.

    Args:
        logged: The log, a table of any kind (see `Table.from_any`); incomplete rows are left out.
        policy: A table with a column named as ``action``, one named ``probability``, and those
            columns of the log that the policy looks at (a combination without a row has
            probability 0); or a function of a frame of contexts and the tuple of all actions that
            returns probabilities, shape ``(rows, actions)``.
        action: The column of actions, of any type.
        reward: The column of rewards, numbers.
        propensity: The column of probabilities with which the logged actions were taken.
        context: The columns that policy and reward model look at, such as the position in a list.
            None: those of the policy's table; for a function all that have no other role.
        slate: The column that says which rows make up one list: rewards are summed over a list, a
            position's reward is taken to depend on its own action alone, and errors are between
            lists.
        actions: All actions; None: those in the log and in the policy's table.
        method: One of the table above; None takes `PolicyDR`.
        minimum_ess: No answer below this effective sample size; 0 forces one.
        seed: Seed of folds and bootstrap.

    Returns:
        The value per row, or per slate. ``influence`` has one entry for each row, or each slate.

    Raises:
        AssumptionError: The effective sample size is below ``minimum_ess``, or the policy takes
            none of the logged actions.
        DataError: A column is missing or of the wrong kind, a propensity is not in (0, 1], or the
            policy's probabilities are none.

    Warns:
        OverlapWarning: The effective sample size is below ``minimum_ess`` or 5 % of the rows.

    References:
        Horvitz and Thompson (1952); Swaminathan and Joachims (2015), The self-normalized
        estimator; Dudík, Langford and Li (2011), Doubly robust policy evaluation and learning;
        Wang, Agarwal and Dudík (2017), Optimal and adaptive off-policy evaluation; Li et al.
        (2018) for lists.

    Example:
        >>> log = {"action": ["a", "b"] * 50, "reward": [1, 0] * 50, "propensity": [0.5] * 100}
        >>> estimate = policy_value(
        ...     log, {"action": ["a", "b"], "probability": [0.8, 0.2]}, method=PolicyIPW())
        >>> round(float(estimate), 6), round(estimate.ess, 1)
        (0.8, 73.5)
    """
    way = PolicyDR() if method is None else method
    if not isinstance(way, PolicyMethod):
        raise DataError(f"method is {method!r}; expected a method such as PolicyDR()")
    (used,) = spawn_seeds(seed, 1)
    roles = _Roles(action, reward, propensity, slate)
    log = _read_log(logged, policy, roles, context, actions)
    notes = _check_overlap(log, way, minimum_ess) if way.is_weighted else ()
    return _assemble(log, way, notes, used)


@dataclass(frozen=True)
class _Roles:
    action: str
    reward: str
    propensity: str
    slate: str | None

    @property
    def names(self) -> list[str]:
        return [self.action, self.reward, self.propensity, *([self.slate] if self.slate else [])]


@dataclass(frozen=True, eq=False)
class _Log:
    """The log, with what the policy would do in each row."""

    roles: _Roles
    reward: Array
    propensity: Array
    codes: Codes  # of the logged actions
    policy: Array  # (rows, actions)
    actions: tuple[Value, ...]
    contexts: Array  # those that occur, (contexts, features)
    places: Codes  # of each row's context among them
    groups: Codes  # the slate of each row; without slates the row itself
    num_dropped: int

    @cached_property
    def weight(self) -> Array:
        """The policy's probability of the logged action over its propensity."""
        chosen = self.policy[np.arange(len(self.codes)), self.codes]
        return np.asarray(chosen / self.propensity)

    @cached_property
    def ess(self) -> float:
        return float(self.weight.sum()) ** 2 / max(float((self.weight**2).sum()), 1e-300)

    def per_slate(self, contributions: Array) -> Array:
        """Sum over slates, shape ``(slates,)``."""
        return np.asarray(np.bincount(self.groups, weights=contributions), dtype=float)

    def rows(self, chosen: Codes, groups: Codes) -> "_Log":
        """Take some rows, with new slates."""
        names = ("reward", "propensity", "codes", "policy", "places")
        parts = {name: getattr(self, name)[chosen] for name in names}
        return replace(self, **parts, groups=groups)


def _read_log(
    logged: Any,
    policy: Any,
    roles: _Roles,
    context: Iterable[str] | None,
    actions: Sequence[Value] | None,
) -> _Log:
    table = Table.from_any(logged, dtype=torch.float64)
    target = None if callable(policy) else _read_policy(policy, roles.action)
    looked_at = _contexts(table, roles, target, context)
    table = table.select([*roles.names, *looked_at]).drop_missing()
    if not table.num_rows:
        raise DataError("the log has no rows; expected at least one")
    frame = table.to_pandas()
    known = _actions(frame[roles.action], target, roles.action, actions)
    codes = {value: code for code, value in enumerate(known)}
    if target is None:
        probabilities = np.asarray(policy(frame[looked_at], known), dtype=float)
    else:
        seen = {name: frame[name].tolist() for name in looked_at}
        probabilities = _looked_up(target, seen, codes, roles.action, len(frame))
    contexts, places = np.unique(_features(table, looked_at), axis=0, return_inverse=True)
    slates = frame[roles.slate].tolist() if roles.slate else range(len(frame))
    return _Log(
        roles,
        _numbers(table, roles.reward),
        _propensity(table, roles.propensity),
        np.array([codes[value] for value in frame[roles.action]]),
        _checked_policy(probabilities, (len(frame), len(known))),
        known,
        contexts,
        places.reshape(-1),
        np.unique(slates, return_inverse=True)[1],
        table.dropped,
    )


def _read_policy(policy: Any, action: str) -> _Columns:
    try:
        frame = Table.from_any(policy).drop_missing().to_pandas()
    except DataError as error:
        raise DataError(f"the policy cannot be read: {error}; pass a table or a function") from None
    if lacking := [name for name in (action, "probability") if name not in frame]:
        raise DataError(f"the policy has the columns {list(frame)}; expected {lacking[0]!r} too")
    return {str(name): frame[name].tolist() for name in frame}


def _contexts(
    table: Table, roles: _Roles, target: _Columns | None, context: Iterable[str] | None
) -> list[str]:
    """List the columns that policy and model look at."""
    taken = [*roles.names, "probability"] if target is not None else roles.names
    if context is not None:
        found = [context] if isinstance(context, str) else list(context)
    else:
        found = [name for name in (table if target is None else target) if name not in taken]
    if clash := [name for name in found if name in roles.names]:
        raise DataError(f"{clash[0]!r} is in context and has another role; expected one")
    for name in () if target is None else target:
        if name not in taken and name not in found:
            raise DataError(f"the policy looks at {name!r}, which context leaves out; add it")
    return found


def _actions(
    taken: Any, target: _Columns | None, action: str, actions: Sequence[Value] | None
) -> tuple[Value, ...]:
    seen = set(taken) | (set() if target is None else set(target[action]))
    if actions is not None and (unknown := sorted(map(repr, seen - set(actions)))):
        raise DataError(f"the action {unknown[0]} is not among actions; add it")
    if len({isinstance(value, str) for value in seen}) > 1:
        raise DataError(f"{action!r} is text in the log or the policy, and numbers in the other")
    return tuple(sorted(seen) if actions is None else actions)


def _looked_up(
    target: _Columns, contexts: _Columns, codes: dict[Value, int], action: str, num_rows: int
) -> Array:
    """Find the policy's probabilities in its table, shape ``(rows, actions)``."""
    names = [name for name in contexts if name in target]
    rows: dict[Any, Array] = {}
    keys = _keys(target, names, len(target[action]))
    for key, taken, chance in zip(keys, target[action], target["probability"], strict=True):
        row = rows.setdefault(key, np.full(len(codes), np.nan))
        if not np.isnan(row[codes[taken]]):
            raise DataError(f"the policy has two rows for {taken!r}{_where(names, key)}; keep one")
        row[codes[taken]] = chance
    found = _keys(contexts, names, num_rows)
    if missing := next((key for key in found if key not in rows), None):
        raise DataError(f"the policy has no row{_where(names, missing)}, which occurs; add it")
    return np.nan_to_num(np.stack([rows[key] for key in found]))


def _keys(columns: _Columns, names: list[str], length: int) -> list[tuple[Value, ...]]:
    return list(zip(*(columns[name] for name in names), strict=True)) if names else [()] * length


def _where(names: list[str], key: tuple[Value, ...]) -> str:
    pairs = ", ".join(f"{name}={value!r}" for name, value in zip(names, key, strict=True))
    return f" at {pairs}" if pairs else ""


def _checked_policy(probabilities: Array, shape: tuple[int, int]) -> Array:
    if probabilities.shape != shape:
        raise DataError(
            f"the policy gave an array of shape {probabilities.shape}; expected {shape}"
        )
    totals = probabilities.sum(axis=1)
    if not (probabilities.min() >= 0 and np.allclose(totals, 1, atol=1e-4)):
        worst = float(totals[np.abs(totals - 1).argmax()])
        raise DataError(
            f"the policy's probabilities start at {probabilities.min():.6g} and sum to {worst:.6g} "
            "in some context; expected none below 0, and a sum of 1 in each"
        )
    return probabilities


def _numbers(table: Table, name: str) -> Array:
    column = table.column(name)
    if column.categories is not None or column.values.dim() != 1:
        raise DataError(f"column {name!r} holds {column.kind} values; expected one number in each")
    return np.asarray(column.values.double().numpy())


def _propensity(table: Table, name: str) -> Array:
    values = _numbers(table, name)
    wrong = np.flatnonzero((values <= 0) | (values > 1))
    if len(wrong):
        raise DataError(
            f"column {name!r} is {values[wrong[0]]:g} in row {wrong[0]} (and out of range in "
            f"{len(wrong)} rows); expected probabilities above 0, at most 1, of the logged actions"
        )
    return values


def _features(table: Table, names: list[str]) -> Array:
    """Code contexts for reward models: indicators of categories, numbers standardised."""
    columns = [np.zeros((table.num_rows, 0))]
    for name in names:
        column = table.column(name)
        values = column.values.double().numpy().reshape(table.num_rows, -1)
        levels = np.unique(values)
        if column.kind != "number" and (column.categories or len(levels) <= _MOST_CATEGORIES):
            columns.append((values == levels[None]).astype(float))
        else:
            spread = values.std(axis=0)
            columns.append((values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0))
    return np.column_stack(columns)


def _check_overlap(log: _Log, way: "PolicyMethod", minimum_ess: float) -> tuple[str, ...]:
    if not log.weight.any():
        raise AssumptionError(
            "the policy takes none of the logged actions, so the log says nothing of it; expected "
            "overlap; use PolicyDM, which extrapolates"
        )
    if log.ess >= max(minimum_ess, _LEAST_SHARE * len(log.reward)):
        return ()
    found = f"the effective sample size is {log.ess:.3g} of {len(log.reward)} rows"
    warnings.warn(f"{found}: log and policy hardly overlap", OverlapWarning, stacklevel=3)
    if log.ess < minimum_ess:
        raise AssumptionError(
            f"{found}; {way.name} needs at least {minimum_ess:g}; log with a policy that is nearer "
            "to this one, restrict the question, or force an answer with minimum_ess=0"
        )
    return (f"{found}: log and policy hardly overlap",)


def _assemble(log: _Log, way: "PolicyMethod", notes: tuple[str, ...], seed: int) -> Estimate:
    totals = log.per_slate(way._contributions(log, seed))
    draws = way._draws(log, seed)
    influence = totals - totals.mean()
    roles = log.roles
    assumptions = [
        f"nothing but the context and chance decided the logged {roles.action}",
        "contexts are drawn as in the log, and no decision affects another row",
    ]
    if roles.slate:
        assumptions.append(f"a position's {roles.reward} depends on its own {roles.action} alone")
    seen = np.isin(np.arange(len(log.actions)), log.codes)
    unlogged = float(log.policy[:, ~seen].sum(axis=1).mean())
    if unlogged > 0:
        notes = (*notes, f"{unlogged:.2%} of the policy's choices are actions never logged")
    return Estimate(
        Query("E", (Event(Term(roles.reward)),)),
        f"{way.name} of a policy for {roles.action}",
        np.array(totals.mean()),
        error=None if draws is not None else influence.std(ddof=1) / np.sqrt(len(totals)),
        draws=draws,
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
            "unlogged_mass": unlogged,
            **way._diagnostics(log),
        },
    )


class PolicyMethod(ABC):
    """A way to estimate a policy's value; its fields are its settings.

    Attributes:
        name: Its name in results.
        is_weighted: Whether it rests on the weights, and so on overlap.
        assumptions: What it rests on beside what all methods do.
    """

    name: ClassVar[str]
    is_weighted: ClassVar[bool] = True
    assumptions: ClassVar[tuple[str, ...]] = (
        "the propensities are those with which the logged actions were taken",
        "every action that the policy takes in a context could be logged there",
    )

    @abstractmethod
    def _contributions(self, log: _Log, seed: int) -> Array:
        """Return what each row contributes to the mean, shape ``(rows,)``."""

    def _draws(self, log: _Log, seed: int) -> Array | None:
        """Return draws of a bootstrap, shape ``(draws,)``, where contributions do not vary."""
        return None

    def _diagnostics(self, log: _Log) -> dict[str, float]:
        """Return more numbers for the reader."""
        return {}


@dataclass(frozen=True)
class PolicyIPW(PolicyMethod):
    """Inverse propensity weighting: unbiased, and noisy where weights are large.

    Example:
        >>> PolicyIPW().name
        'IPW'
    """

    name = "IPW"

    def _contributions(self, log: _Log, seed: int) -> Array:
        return np.asarray(log.weight * log.reward)


@dataclass(frozen=True)
class PolicySNIPW(PolicyMethod):
    """Self-normalised weighting: stays within the range of the rewards; biased by 1 / rows.

    Example:
        >>> PolicySNIPW().name
        'SNIPW'
    """

    name = "SNIPW"

    def _contributions(self, log: _Log, seed: int) -> Array:
        value = float(log.weight @ log.reward / log.weight.sum())
        return np.asarray(value + log.weight * (log.reward - value) / log.weight.mean())


@dataclass(frozen=True)
class _Modelled(PolicyMethod):
    """A method with a reward model: a scikit-learn regressor of context and action."""

    model: Any = None
    folds: int = 5

    def __post_init__(self) -> None:
        if self.model is not None and not hasattr(self.model, "fit"):
            raise DataError(f"model is {self.model!r}; expected a scikit-learn regressor")
        if isinstance(self.folds, bool) or not isinstance(self.folds, int) or self.folds < 2:
            raise DataError(f"folds is {self.folds!r}; expected an integer, at least 2")

    def _cross_fitted(self, log: _Log, seed: int) -> Array:
        """Predict every action's reward from the other folds, shape ``(rows, actions)``."""
        slates = int(log.groups.max()) + 1
        if slates < self.folds:
            raise DataError(f"the log has {slates} rows or lists; expected at least {self.folds}")
        fold = np.random.default_rng(seed).permutation(slates)[log.groups] % self.folds
        predicted = np.empty(log.policy.shape)
        for k in range(self.folds):
            predicted[fold == k] = self._fitted(log, fold != k)[log.places[fold == k]]
        return predicted

    def _fitted(self, log: _Log, rows: Any = slice(None)) -> Array:
        """Fit to some rows, predict in all contexts; shape ``(contexts, actions)``."""
        count = len(log.actions)
        cells = log.places[rows] * count + log.codes[rows]
        model = self._trained(log, cells, log.reward[rows])
        size = len(log.contexts)
        parts = np.array_split(np.arange(count), -(-count * size // _PREDICTED_AT_ONCE))
        each = [
            model.predict(
                _design(np.tile(log.contexts, (len(part), 1)), part.repeat(size), count)
            ).reshape(len(part), size)
            for part in parts
            if len(part)
        ]
        return np.concatenate(each).T

    def _trained(self, log: _Log, cells: Codes, reward: Array) -> Any:
        from sklearn.base import clone
        from sklearn.linear_model import Ridge

        count = len(log.actions)
        if self.model is not None:
            context = log.contexts[cells // count]
            return clone(self.model).fit(_design(context, cells % count, count), reward)
        # the mean of each cell, weighted by its rows, gives the same coefficients
        unique, place, sizes = np.unique(cells, return_inverse=True, return_counts=True)
        design = _design(log.contexts[unique // count], unique % count, count)
        return Ridge().fit(design, np.bincount(place, reward) / sizes, sample_weight=sizes)


def _design(context: Array, codes: Codes, num_actions: int) -> Array:
    """Indicators of the action, the context, and (if there are few) the products of both."""
    taken = np.eye(num_actions)[codes]
    parts = [taken, context]
    if context.shape[1] * num_actions <= 300:
        parts.append((taken[:, :, None] * context[:, None, :]).reshape(len(codes), -1))
    return np.column_stack(parts)


@dataclass(frozen=True)
class PolicyDM(_Modelled):
    """The direct method: the policy's mean reward under a model of rewards.

    Its interval is from a bootstrap with the model refitted, and leaves out the model's bias.

    Attributes:
        model: A scikit-learn regressor; None is ridge regression on indicators of the action, the
            context, and their products.
        num_bootstrap: Number of refits.

    Example:
        >>> PolicyDM(num_bootstrap=50).name
        'DM'
    """

    folds: int = 5
    num_bootstrap: int = 200
    name = "DM"
    is_weighted: ClassVar[bool] = False
    assumptions: ClassVar[tuple[str, ...]] = ("the model of rewards is right, or nearly so",)

    def _contributions(self, log: _Log, seed: int) -> Array:
        return np.asarray((self._fitted(log)[log.places] * log.policy).sum(axis=1))

    def _draws(self, log: _Log, seed: int) -> Array:
        rng = np.random.default_rng(seed)
        order = np.argsort(log.groups, kind="stable")
        sizes = np.bincount(log.groups)
        starts = np.cumsum(sizes) - sizes
        found = []
        for _ in range(self.num_bootstrap):
            chosen = rng.integers(0, len(sizes), len(sizes))
            groups = np.repeat(np.arange(len(sizes)), sizes[chosen])
            ends = np.cumsum(sizes[chosen])
            within = np.arange(len(groups)) - (ends - sizes[chosen])[groups]
            again = log.rows(order[starts[chosen][groups] + within], groups)
            found.append(again.per_slate(self._contributions(again, seed)).mean())
        return np.array(found)


@dataclass(frozen=True)
class PolicyDR(_Modelled):
    """Doubly robust: the direct method, corrected by the weighted errors of its model.

    With known propensities it is unbiased whatever the model, which is fitted on other folds.

    Attributes:
        model: As for `PolicyDM`.
        folds: Number of folds for the model.

    Example:
        >>> PolicyDR(folds=2).folds
        2
    """

    name = "DR"

    def _contributions(self, log: _Log, seed: int) -> Array:
        predicted = self._cross_fitted(log, seed)
        residual = log.reward - predicted[np.arange(len(log.codes)), log.codes]
        return np.asarray((predicted * log.policy).sum(axis=1) + self._kept(log) * residual)

    def _kept(self, log: _Log) -> Array:
        return log.weight


@dataclass(frozen=True)
class PolicySwitchDR(PolicyDR):
    """Doubly robust, but with the model alone where weights are above a threshold.

    Attributes:
        model: As for `PolicyDM`.
        folds: Number of folds for the model.
        threshold: The largest weight that is used. ``diagnostics["switched_mass"]`` estimates the
            share of the policy's choices that are left to the model, where its errors are bias.

    Example:
        >>> PolicySwitchDR(threshold=5).threshold
        5
    """

    threshold: float = 10.0
    name = "switch-DR"
    assumptions: ClassVar[tuple[str, ...]] = (
        *PolicyMethod.assumptions,
        "the model of rewards is right where weights are above the threshold",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.threshold > 0:
            raise DataError(f"threshold is {self.threshold!r}; expected a positive number")

    def _kept(self, log: _Log) -> Array:
        return np.where(log.weight <= self.threshold, log.weight, 0.0)

    def _diagnostics(self, log: _Log) -> dict[str, float]:
        return {"switched_mass": float((log.weight - self._kept(log)).mean())}
