"""Variable elimination over tables of log probabilities, with marginals and exact draws.

Tables are kept as logarithms throughout: two pieces of evidence whose densities differ by
thousands of nats between the states of a variable still multiply to the right number.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Elimination", "LogTable", "Order", "elimination_order"]


_INF = float("inf")


class LogTable(NamedTuple):
    """Log of a non-negative table.

    Attributes:
        names: The variables, one for each axis after the batch.
        log: Shape ``(draws or 1, rows or 1, *sizes)``, float64.
    """

    names: tuple[Hashable, ...]
    log: Tensor


class Order(NamedTuple):
    """An order of elimination.

    Attributes:
        names: The variables, first eliminated first.
        largest: Entries of the largest table on the way.
    """

    names: tuple[Hashable, ...]
    largest: int


def elimination_order(scopes: Sequence[Sequence[Hashable]], sizes: Mapping[Any, int]) -> Order:
    """Choose an order by always eliminating the variable that makes the smallest table.

    Args:
        scopes: The variables of each table.
        sizes: Number of states of each variable.

    References:
        Koller and Friedman (2009), Probabilistic Graphical Models, section 9.4.3 (min-weight).

    Example:
        >>> elimination_order([("a", "b"), ("b", "c")], {"a": 2, "b": 2, "c": 3}).largest
        6
    """
    near: dict[Hashable, set[Hashable]] = {name: set() for scope in scopes for name in scope}
    for scope in scopes:
        for name in scope:
            near[name].update(scope)
    cost = {name: _entries(clique, sizes) for name, clique in near.items()}
    order, largest = [], 1
    while near:
        name = min(near, key=cost.__getitem__)
        largest = max(largest, cost[name])
        order.append(name)
        clique = near.pop(name) - {name}
        for other in clique:
            near[other].discard(name)
            near[other].update(clique)
            cost[other] = _entries(near[other], sizes)
    return Order(tuple(order), largest)


def _entries(names: set[Hashable], sizes: Mapping[Any, int]) -> int:
    product = 1
    for name in names:
        product *= sizes[name]
    return product


class _Bucket(NamedTuple):
    """What was known when a variable was eliminated.

    Attributes:
        scope: The other variables of the product, first eliminated first.
        law: The variable's law given the scope, ``(draws or 1, rows or 1, *scope, states)``.
    """

    scope: tuple[Hashable, ...]
    law: Tensor


class Elimination:
    """One run of bucket elimination.

    Args:
        tables: Tables whose product is summed.
        sizes: Number of states of each variable.
        order: All variables of the tables.

    Attributes:
        log_total: Log of the sum of the product over all variables,
            ``(draws or 1, rows or 1)``.

    References:
        Dechter (1999), Bucket elimination: a unifying framework for reasoning.

    Example:
        >>> prior = LogTable(("z",), torch.tensor([[[0.9, 0.1]]]).double().log())
        >>> seen = LogTable(("z",), torch.tensor([[[0.2, 0.8]]]).double().log())
        >>> run = Elimination([prior, seen], {"z": 2}, ("z",))
        >>> run.marginal("z")
        tensor([[[0.6923, 0.3077]]], dtype=torch.float64)
    """

    def __init__(
        self,
        tables: Sequence[LogTable],
        sizes: Mapping[Any, int],
        order: Sequence[Hashable],
    ) -> None:
        self._sizes = sizes
        self._position = {name: i for i, name in enumerate(order)}
        self._buckets: dict[Hashable, _Bucket] = {}
        self._beliefs: dict[Hashable, Tensor] = {}
        waiting: dict[Hashable, list[LogTable]] = {name: [] for name in order}
        self.log_total = torch.zeros((1, 1), dtype=torch.float64)
        for table in tables:
            self._put(table, waiting)
        for name in order:
            self._put(self._eliminate(name, waiting.pop(name)), waiting)

    def _put(self, table: LogTable, waiting: dict[Hashable, list[LogTable]]) -> None:
        if table.names:
            waiting[min(table.names, key=self._position.__getitem__)].append(table)
        else:
            self.log_total = self.log_total.to(table.log.device) + table.log

    def _eliminate(self, name: Hashable, tables: list[LogTable]) -> LogTable:
        found = {other for table in tables for other in table.names} - {name}
        scope = tuple(sorted(found, key=self._position.__getitem__))
        product: Tensor | None = None
        for table in tables:
            aligned = spread(table.log, table.names, (*scope, name))
            product = aligned if product is None else product + aligned
        assert product is not None, "every variable has a table"
        message = torch.logsumexp(product, -1)
        safe = torch.where(message == -_INF, 0.0, message)
        self._buckets[name] = _Bucket(scope, (product - safe.unsqueeze(-1)).exp())
        return LogTable(scope, message)

    def marginal(self, name: Hashable) -> Tensor:
        """Return the law of one variable, shape ``(draws or 1, rows or 1, states)``.

        Zero everywhere in the rows whose total is zero.
        """
        belief, scope = self._belief(name), self._buckets[name].scope
        # a sum over no axes would be a sum over all
        return belief.sum(tuple(range(2, 2 + len(scope)))) if scope else belief

    def _belief(self, name: Hashable) -> Tensor:
        """The joint law of a variable and the scope of its bucket."""
        path = [name]
        while path[-1] not in self._beliefs and self._buckets[path[-1]].scope:
            path.append(self._buckets[path[-1]].scope[0])
        for each in reversed(path):
            if each not in self._beliefs:
                self._beliefs[each] = self._belief_from_parent(each)
        return self._beliefs[name]

    def _belief_from_parent(self, name: Hashable) -> Tensor:
        scope, law = self._buckets[name]
        if not scope:
            return law
        parent = scope[0]
        names = (*self._buckets[parent].scope, parent)
        belief = self._beliefs[parent]
        gone = tuple(2 + i for i, other in enumerate(names) if other not in scope)
        kept = [other for other in names if other in scope]
        outer = belief.sum(gone) if gone else belief
        order = [0, 1, *(2 + kept.index(other) for other in scope)]
        return law * outer.permute(order).unsqueeze(-1)

    def sample(self, draw: Tensor, row: Tensor) -> dict[Hashable, Tensor]:
        """Draw all variables jointly, from torch's global generator.

        Args:
            draw: Position on the draws axis of each wanted sample, shape ``(n,)``.
            row: Position on the rows axis.

        Returns:
            Variable to codes, shape ``(n,)``.
        """
        codes: dict[Hashable, Tensor] = {}
        for name, (scope, law) in reversed(self._buckets.items()):
            draws, rows = law.shape[:2]
            place = (draw if draws > 1 else torch.zeros_like(draw)) * rows
            place = place + (row if rows > 1 else 0)
            for other in scope:
                place = place * self._sizes[other] + codes[other]
            above = law.reshape(-1, law.shape[-1]).cumsum(-1)[place]
            level = torch.rand(len(place), 1, dtype=law.dtype, device=law.device) * above[:, -1:]
            codes[name] = (above <= level).sum(-1).clamp(max=law.shape[-1] - 1)
        return codes


def spread(values: Tensor, names: Sequence[Hashable], onto: Sequence[Hashable]) -> Tensor:
    """Bring a table to more variables, in another order; the new axes have length one.

    Args:
        values: Shape ``(draws, rows, *names, ...)``; axes to the right of ``names`` stay.
        names: Its variables.
        onto: The variables of the result, among them all of ``names``.

    Returns:
        Shape ``(draws, rows, *onto, ...)``.
    """
    names = tuple(names)
    present = [name for name in onto if name in names]
    rest = range(2 + len(names), values.dim())
    values = values.permute(0, 1, *(2 + names.index(name) for name in present), *rest)
    shape = iter(values.shape[2 : 2 + len(names)])
    sizes = [next(shape) if name in names else 1 for name in onto]
    return values.reshape(*values.shape[:2], *sizes, *values.shape[2 + len(names) :])
