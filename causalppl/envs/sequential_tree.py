"""A finite program that is acted on in stages, as the tree of all that can become known."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.envs.arms import Arms
from causalppl.envs.enumeration import Cells, count_cells, enumerate_cells, number_rows
from causalppl.envs.sampler import CellSampler
from causalppl.envs.sequential_oracle import StageLaw
from causalppl.envs.sequential_units import Columns, SequentialUnits
from causalppl.envs.shown import Shown
from causalppl.envs.stages import Plan
from causalppl.envs.streams import Stream
from causalppl.exceptions import AssumptionError
from causalppl.programs import SCM

__all__ = ["Level", "TreeUnits", "count_tree", "tree_laws"]

Index: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Level:
    """What can be known before acting at a stage, and how it comes from the stage before.

    Attributes:
        values: Variable to its value at each node, shape ``(nodes,)``.
        source: ``node * arms + arm`` of the stage before, increasing, shape ``(edges,)``; zeros
            at the first stage.
        target: The node that each edge leads to.
        weights: Probability of each edge within its source.
    """

    values: Mapping[str, NDArray[Any]]
    source: Index
    target: Index
    weights: NDArray[np.float64]


class TreeUnits(SequentialUnits):
    """Units of a finite program, by inversion of distribution functions along its tree.

    Args:
        scm: The model.
        plan: The stages.

    Attributes:
        levels: One for each stage, and one for the end; the nodes of that are rows of all observed
            variables.
    """

    has_streams = True

    def __init__(self, scm: SCM, plan: Plan) -> None:
        self._num_arms = plan.num_arms
        self.levels = _levels(_cells(scm, plan), plan, scm.observed)
        self._samplers = [CellSampler(level.source, level.weights) for level in self.levels]

    def begin(self, count: int, stream: Stream) -> tuple[Any, Columns]:
        """Draw what is known first."""
        return self._draw(0, np.zeros(count, dtype=np.int64), stream)

    def act(self, begun: Any, stage: int, actions: Index, stream: Stream) -> tuple[Any, Columns]:
        """Draw what is known next."""
        return self._draw(stage + 1, begun * self._num_arms + actions, stream)

    def _draw(self, stage: int, source: Index, stream: Stream) -> tuple[Any, Columns]:
        level = self.levels[stage]
        node = level.target[self._samplers[stage].draw(source, stream.uniforms())]
        return node, {name: values[node] for name, values in level.values.items()}


def _sequences(scm: SCM, plan: Plan) -> Arms:
    """List all sequences of arms, the last stage fastest, each as one arm."""
    sequences = itertools.product(*(arms.arms for arms in plan.arms))
    return Arms(scm, [{k: v for arm in each for k, v in arm.items()} for each in sequences])


def count_tree(scm: SCM, plan: Plan) -> int | None:
    """Count the combinations of a sequence of arms and values of all sample sites.

    None where they are infinitely many.
    """
    one = count_cells(scm, plan.arms[0])
    return None if one is None else one * plan.num_arms ** (len(plan) - 1)


def _cells(scm: SCM, plan: Plan) -> Cells:
    arms = _sequences(scm, plan)
    return enumerate_cells(scm, arms, Shown(scm, arms, (), None))


def _levels(cells: Cells, plan: Plan, observed: tuple[str, ...]) -> list[Level]:
    taken = np.unravel_index(cells.pair, [plan.num_arms] * len(plan))
    count, levels = len(cells.pair), []
    before: Index = np.zeros(count, dtype=np.int64)
    for stage in range(len(plan) + 1):
        known = plan.revealed(stage) if stage < len(plan) else observed
        rows = [*taken[:stage], *(cells.values[name] for name in known)]
        node, first = number_rows(rows, count)
        # what is known at a stage does not depend on later actions: take those that come first
        kept = np.logical_and.reduce([np.ones(count, dtype=bool), *(t == 0 for t in taken[stage:])])
        source = before * plan.num_arms + taken[stage - 1] if stage else before
        edges, place = np.unique(source[kept] * len(first) + node[kept], return_inverse=True)
        sums = np.bincount(place, cells.weights[kept])
        origin = edges // len(first)
        levels.append(
            Level(
                values={name: cells.values[name][first] for name in known},
                source=origin,
                target=edges % len(first),
                weights=sums / np.bincount(origin, sums)[origin],
            )
        )
        before = node
    return levels


def tree_laws(levels: list[Level], plan: Plan) -> tuple[NDArray[np.float64], list[StageLaw]]:
    """Read what an oracle needs off the tree: the law of the first view, and all stages.

    Raises:
        AssumptionError: An observation does not say all that is known.
    """
    found = []
    for stage, (level, after) in enumerate(itertools.pairwise(levels)):
        views: dict[str, NDArray[Any]] = {}
        for seen in plan.seen[: stage + 1]:
            views |= {key: level.values[name] for key, name in seen.items()}
        size = int(level.target.max()) + 1
        if len(number_rows(list(views.values()), size)[1]) < size:
            raise AssumptionError(
                f"the observation of stage {stage} ({', '.join(views) or 'nothing'}) does not say "
                "all that is known by then; expected earlier actions, rewards and values among "
                "what is seen, each in an entry of its own"
            )
        paid = plan.rewards[stage]
        rewards = after.values[paid][after.target] if paid else np.zeros(len(after.target))
        is_last = stage == len(plan) - 1
        target = np.zeros_like(after.target) if is_last else after.target
        found.append(StageLaw(views, after.source, target, after.weights, rewards))
    return levels[0].weights[np.argsort(levels[0].target)], found
