"""The log of decisions that `policy_value` reads, with what a policy would do in each row."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from causalppl.data import Table
from causalppl.data.column import Column, listed
from causalppl.estimation.policy_table import (
    Probabilities,
    check_probabilities,
    read_probabilities,
)
from causalppl.exceptions import DataError
from causalppl.queries import Value

__all__ = ["PolicyLog", "Roles", "read_log"]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]

_MOST_CATEGORIES = 20  # of an integer column that is coded by indicators


@dataclass(frozen=True)
class Roles:
    """The columns of the log; ``propensity`` has one, one for each action, or none."""

    action: str
    reward: str
    propensity: tuple[str, ...]
    slate: str | None

    @property
    def names(self) -> list[str]:
        """All of them."""
        slate = [self.slate] if self.slate else []
        return [self.action, self.reward, *self.propensity, *slate]


@dataclass(frozen=True, eq=False)
class PolicyLog:
    """The log, with what the policy would do in each context that occurs.

    Attributes:
        roles: The names of its columns.
        reward: Shape ``(rows,)``, as are ``propensity`` (of the logged actions), ``codes`` (of the
            logged actions), ``places`` (each row's context among ``contexts``) and ``groups`` (the
            slate of each row; without slates the row itself) and ``origins`` (its slate in the log
            as read, which differs after `rows`).
        policy: The policy's probabilities, shape ``(contexts, actions)``.
        actions: All actions.
        contexts: Those that occur, coded for a model, shape ``(contexts, features)``.
        impossible: The share of the policy's choices that the log cannot hold: actions never
            logged or, where the whole logging policy is known, those of propensity 0.
        num_dropped: How many incomplete rows were left out.
    """

    roles: Roles
    reward: Array
    propensity: Array
    codes: Codes
    places: Codes
    groups: Codes
    origins: Codes
    policy: Array
    actions: tuple[Value, ...]
    contexts: Array
    impossible: float
    num_dropped: int

    @cached_property
    def weight(self) -> Array:
        """The policy's probability of the logged action over its propensity."""
        return np.asarray(self.policy[self.places, self.codes] / self.propensity)

    @cached_property
    def ess(self) -> float:
        """The effective sample size."""
        return float(self.weight.sum()) ** 2 / max(float(self.weight @ self.weight), 1e-300)

    @cached_property
    def num_slates(self) -> int:
        """How many independent pieces the log has: lists, or rows."""
        return int(self.groups.max()) + 1

    def per_slate(self, contributions: Array) -> Array:
        """Sum over slates, shape ``(slates,)``."""
        if self.roles.slate is None:
            return contributions
        return np.asarray(np.bincount(self.groups, weights=contributions), dtype=float)

    def rows(self, chosen: Codes, groups: Codes) -> "PolicyLog":
        """Take some rows, with new slates."""
        names = ("reward", "propensity", "codes", "places", "origins")
        return replace(self, **{name: getattr(self, name)[chosen] for name in names}, groups=groups)


def read_log(
    logged: Any,
    policy: Any,
    roles: Roles,
    logging: Any,
    context: Iterable[str] | None,
    actions: Sequence[Value] | None,
) -> PolicyLog:
    """Read and check a log and the policies; ``logging`` is the logging policy, where it is known.

    Raises:
        DataError: They cannot be used; the message names the column or the context.
    """
    table = Table.from_any(logged, dtype=torch.float64)
    target = read_probabilities(policy, roles.action, "the policy")
    known = None if logging is None else read_probabilities(logging, roles.action, "propensity")
    targets = [target] if known is None else [target, known]
    looked_at = _looked_at(table, roles, targets, context)
    table = table.select([*roles.names, *looked_at]).drop_missing()
    if table.num_rows < 2:
        found = "one complete row" if table.num_rows else "no rows"
        raise DataError(f"the log has {found}; expected at least two")
    codes, names = _coded_actions(table, targets, roles.action, actions)
    places, first = _places(table, looked_at)
    frame = _frame(table, looked_at, first)
    chances = target.at(frame, names)
    full = None if known is None else known.at(frame, names)
    propensity, impossible = _propensity(table, roles, codes, places, chances, full)
    groups = _groups(table, roles.slate)
    return PolicyLog(
        roles=roles,
        reward=_numbers(table, roles.reward),
        propensity=propensity,
        codes=codes,
        places=places,
        groups=groups,
        origins=groups,
        policy=chances,
        actions=names,
        contexts=_features(table, looked_at, first),
        impossible=float(impossible.mean()),
        num_dropped=table.dropped,
    )


def _looked_at(
    table: Table, roles: Roles, targets: list[Probabilities], context: Iterable[str] | None
) -> list[str]:
    """List the columns that policies and model look at."""
    taken = [*roles.names, "probability"]
    needed = [name for target in targets for name in target.names if name not in taken]
    if context is not None:
        found = [context] if isinstance(context, str) else list(context)
    elif all(target.function is None for target in targets):
        found = list(dict.fromkeys(needed))
    else:
        found = [name for name in table if name not in roles.names]
    if clash := [name for name in found if name in roles.names]:
        raise DataError(f"{clash[0]!r} is in context and has another role; expected one")
    if lacking := [name for name in needed if name not in found]:
        raise DataError(f"the policy looks at {lacking[0]!r}, which context leaves out; add it")
    return found


def _coded(table: Table, name: str) -> tuple[Codes, Any]:
    """Code a column by what occurs in its tensor, in the order in which it does."""
    import pandas as pd

    values = table.column(name).values
    if values.dim() != 1:
        raise DataError(f"column {name!r} has several values in a row; expected one")
    return pd.factorize(values.numpy())


def _plain(column: Column, values: Any) -> list[Value]:
    """Turn what the tensor holds into what the column held."""
    if column.categories is not None:
        return [column.categories[code] for code in values]
    plain: Any = {"integer": int, "boolean": bool}.get(column.kind, float)
    return [plain(value) for value in values]


def _coded_actions(
    table: Table, targets: list[Probabilities], name: str, actions: Sequence[Value] | None
) -> tuple[Codes, tuple[Value, ...]]:
    """Code the logged actions by their place among all."""
    codes, found = _coded(table, name)
    taken = _plain(table.column(name), found)
    seen = set(taken).union(*(target.actions for target in targets))
    if actions is not None and len(set(actions)) < len(actions):
        raise DataError(f"actions are {listed(actions)}; expected each of them once")
    if actions is not None and (unknown := sorted(map(repr, seen - set(actions)))):
        raise DataError(f"the action {unknown[0]} is not among actions; add it")
    if len({isinstance(value, str) for value in seen}) > 1:
        raise DataError(f"{name!r} is text in the log or the policy, and numbers in the other")
    known = tuple(sorted(seen) if actions is None else actions)
    place = {value: code for code, value in enumerate(known)}
    return np.array([place[value] for value in taken])[codes], known


def _places(table: Table, names: list[str]) -> tuple[Codes, Codes]:
    """Number the contexts in order; return each row's, and the first row of each."""
    import pandas as pd

    places = np.zeros(table.num_rows, dtype=np.int64)
    for name in names:
        codes, levels = _coded(table, name)
        places = pd.factorize(places * len(levels) + codes)[0]
    return places, np.flatnonzero(~pd.Series(places).duplicated())


def _frame(table: Table, names: list[str], first: Codes) -> Any:
    import pandas as pd

    if not names:
        return pd.DataFrame(index=range(len(first)))
    return table.select(names).rows(torch.from_numpy(first)).to_pandas()


def _groups(table: Table, slate: str | None) -> Codes:
    if slate is None:
        return np.arange(table.num_rows)
    return np.unique(_coded(table, slate)[0], return_inverse=True)[1]


def _numbers(table: Table, name: str) -> Array:
    column = table.column(name)
    if column.categories is not None or column.values.dim() != 1:
        raise DataError(f"column {name!r} holds {column.kind} values; expected one number in each")
    return np.asarray(column.values.double().numpy())


def _propensity(
    table: Table, roles: Roles, codes: Codes, places: Codes, chances: Array, full: Array | None
) -> tuple[Array, Array]:
    """Return the logged actions' propensities, and how much of the policy could not be logged."""
    if full is not None:
        impossible = np.where(full > 0, 0.0, chances).sum(axis=1)[places]
        return _in_range(full[places, codes], "propensity"), impossible
    if len(roles.propensity) == 1:
        never = np.bincount(codes, minlength=chances.shape[1]) == 0
        (name,) = roles.propensity
        return _in_range(_numbers(table, name), name), (chances @ never)[places]
    each = np.column_stack([_numbers(table, name) for name in roles.propensity])
    label = f"propensity ({', '.join(roles.propensity)})"
    check_probabilities(each, label, (len(codes), chances.shape[1]))
    logged = _in_range(each[np.arange(len(codes)), codes], "propensity of the logged action")
    return logged, np.where(each > 0, 0.0, chances[places]).sum(axis=1)


def _in_range(values: Array, name: str) -> Array:
    wrong = np.flatnonzero((values <= 0) | (values > 1))
    if len(wrong):
        raise DataError(
            f"column {name!r} is {values[wrong[0]]:g} in row {wrong[0]} (and out of range in "
            f"{len(wrong)} rows); expected probabilities above 0, at most 1, of the logged actions"
        )
    return values


def _features(table: Table, names: list[str], first: Codes) -> Array:
    """Code contexts for reward models: indicators of categories, numbers standardised by row."""
    columns = [np.zeros((len(first), 0))]
    for name in names:
        column = table.column(name)
        values = column.values.double().numpy()
        levels = np.unique(values[first]) if column.kind != "number" else ()
        if column.categories or 0 < len(levels) <= _MOST_CATEGORIES:
            columns.append((values[first, None] == levels).astype(float))
        else:
            spread = values.std()
            columns.append(
                ((values - values.mean()) / (spread if spread > 0 else 1.0))[first, None]
            )
    return np.column_stack(columns)
