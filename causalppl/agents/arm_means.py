"""What every arm would earn were the tables as drawn: all runs, arms and views at once."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import opt_einsum

from causalppl.agents.agent import Arm, Array, Integers
from causalppl.agents.latent_classes import LatentClassModel

__all__ = ["ArmMeans"]


class ArmMeans:
    """Expected rewards of arms under given tables, by contraction.

    Only what lies between an arm and the reward is contracted, once for all arms that set the same
    variables there: setting something that cannot matter is recognised for what it is.

    Args:
        model: The diagram with its hidden classes.
        reward: The variable that makes the reward.
        reward_values: What each of its states earns.
        arms: The arms.
        context: What is seen before acting; none of it may depend on what is set.

    Attributes:
        views: The number of states of each variable of the context.
    """

    def __init__(
        self,
        model: LatentClassModel,
        reward: str,
        reward_values: Array,
        arms: Sequence[Arm],
        context: Sequence[str] = (),
    ) -> None:
        self.model, self.reward, self.context = model, reward, tuple(context)
        self.reward_values = reward_values
        self.views = tuple(model.states[name] for name in self.context)
        self.num_arms = len(arms)
        self._ready: dict[tuple[str, int], Any] = {}
        groups: dict[tuple[str, ...], list[int]] = {}
        for number, arm in enumerate(arms):
            groups.setdefault(self._relevant(arm), []).append(number)
        self._groups = [self._group(names, numbers, arms) for names, numbers in groups.items()]
        self._chances = self._contraction((), (), reward=False) if self.context else None

    def __call__(self, flat: Array) -> Array:
        """Compute expected rewards, shape ``(runs, views, arms)``, one view without a context."""
        found = np.empty((len(flat), int(np.prod(self.views)), self.num_arms))
        for group in self._groups:
            table = self._contract(group.contraction, flat)
            table = table.reshape(len(flat), found.shape[1], -1)
            found[:, :, group.arms] = table[:, :, group.places]
        if self._chances is not None:
            chances = self._contract(self._chances, flat).reshape(len(flat), -1, 1)
            found /= np.maximum(chances, 1e-300)
        return found

    def view(self, observation: Mapping[str, Integers]) -> Integers:
        """Number what is seen, shape ``(runs,)``."""
        place = np.zeros(1, dtype=np.int64)
        for name, size in zip(self.context, self.views, strict=True):
            place = place * size + observation[name]
        return place

    def _relevant(self, arm: Arm) -> tuple[str, ...]:
        """Which of the variables that an arm sets still reach the reward."""
        _, parents = self._between(frozenset(arm), (self.reward, *self.context))
        return self.model.graph.in_order(parents)

    def _between(
        self, fixed: frozenset[str], targets: Sequence[str]
    ) -> tuple[list[str], frozenset[str]]:
        """The variables that the targets depend on when some are set, and which of those matter."""
        seen: set[str] = set()
        reached: set[str] = set()
        stack = list(targets)
        while stack:
            name = stack.pop()
            if name in seen:
                continue
            seen.add(name)
            parents = self.model.graph.parents(name)
            reached |= parents & fixed
            stack.extend(parents - fixed)
        return list(self.model.graph.in_order(seen)), frozenset(reached)

    def _group(self, names: tuple[str, ...], numbers: list[int], arms: Sequence[Arm]) -> "_Group":
        sizes = [self.model.states[name] for name in names]
        values = [[int(arms[number][name]) for name in names] for number in numbers]
        columns = np.array(values, dtype=np.int64).reshape(len(numbers), len(names)).T
        places = np.ravel_multi_index(tuple(columns), tuple(sizes)) if names else [0] * len(numbers)
        return _Group(
            self._contraction(names, names, reward=True),
            np.array(numbers),
            np.asarray(places, dtype=np.int64),
        )

    def _contraction(
        self, fixed: Sequence[str], axes: Sequence[str], *, reward: bool
    ) -> "_Contraction":
        targets = (self.reward, *self.context) if reward else self.context
        variables, _ = self._between(frozenset(fixed), targets)
        causes = [c for c, group in self.model.hidden.items() if set(group) & set(variables)]
        letters = {
            name: opt_einsum.get_symbol(number + 1)
            for number, name in enumerate([*self.model.hidden, *self.model.graph.nodes])
        }
        run = opt_einsum.get_symbol(0)
        terms, shapes = [], []
        for name in (*causes, *variables):
            scope, shape = self.model.scope(name), self.model.layout.shapes[name]
            if name == self.reward and reward:
                scope, shape = scope[:-1], shape[:-1]
            terms.append(run + "".join(letters[axis] for axis in scope))
            shapes.append((_TYPICAL_RUNS, *shape))
        output = run + "".join(letters[name] for name in (*self.context, *axes))
        path = opt_einsum.contract_path(",".join(terms) + "->" + output, *shapes, shapes=True)[0]
        return _Contraction((*causes, *variables), ",".join(terms) + "->" + output, path, reward)

    def _contract(self, contraction: "_Contraction", flat: Array) -> Array:
        operands = []
        for name in contraction.tables:
            table = self.model.layout.table(flat, name)
            if name == self.reward and contraction.rewarded:
                table = table @ self.reward_values
            operands.append(table)
        return np.asarray(self._expression(contraction, operands)(*operands))

    def _expression(self, contraction: "_Contraction", operands: list[Array]) -> Any:
        """The contraction made ready for a number of runs."""
        key = contraction.equation, len(operands[0])
        if key not in self._ready:
            shapes = [operand.shape for operand in operands]
            self._ready[key] = opt_einsum.contract_expression(
                contraction.equation, *shapes, optimize=contraction.path
            )
        return self._ready[key]


_TYPICAL_RUNS = 64


class _Contraction(NamedTuple):
    """Which tables are multiplied and summed, in which order."""

    tables: tuple[str, ...]
    equation: str
    path: Any
    rewarded: bool


class _Group(NamedTuple):
    """Arms that set the same variables as far as the reward can tell."""

    contraction: _Contraction
    arms: Integers
    places: Integers
