"""A walk in a hidden wind, logged by someone who feels it."""

from dataclasses import dataclass

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from numpy.typing import NDArray
from torch import Tensor

from causalppl.examples.sequential import SequentialProblem, Stage
from causalppl.programs.scm import SCM

__all__ = ["Gridworld", "confounded_gridworld"]

_MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))  # up, down, left, right
_WIND = 0.3
_NOTICED = 0.5
_ERRATIC = 0.08


@dataclass(frozen=True, eq=False)
class Gridworld:
    """The confounded gridworld, as a problem and as the tables that it is made of.

    Attributes:
        problem: Program and decisions.
        transitions: Chance of the next cell, shape ``(cells, moves, cells)``, for an agent who
            does not feel the wind.
        start: Chance of the first cell, shape ``(cells,)``.
        goal: The cell that pays 1 at each step that ends in it.

    Example:
        >>> world = confounded_gridworld(size=3, horizon=6)
        >>> world.transitions.shape, world.goal
        ((9, 4, 9), 8)
    """

    problem: SequentialProblem
    transitions: NDArray[np.float64]
    start: NDArray[np.float64]
    goal: int


def confounded_gridworld(*, size: int = 3, horizon: int = 6) -> Gridworld:
    """A square grid in which a hidden wind turns moves around.

    The walker starts anywhere but at the goal, in the last corner, where it stays once there.
    With probability .3 the wind blows, hidden, at a step and the move goes the opposite way. Who
    walked in the logs heads for the goal, and feels the wind half of the time when it blows: then
    it makes the opposite move, which the wind turns around. Eight of a hundred moves are erratic.
    So in the logs nine of ten moves away from the goal lead to it, and eight of ten moves towards
    it; for an agent who makes them they are three and seven of ten.

    Args:
        size: Cells on a side.
        horizon: Number of steps; each that ends at the goal pays 1.

    Returns:
        Sites ``S0``, ``A0``, ``R0``, ``S1``, ...: where the walker stands, its move (up, down,
        left, right), and what it is paid.

    References:
        The setting is that of Wang, Yang and Wang (2021), Provably efficient causal reinforcement
        learning with confounded observational data.

    Example:
        >>> world = confounded_gridworld()
        >>> len(world.problem.stages), sorted(world.problem.scm.graph.parents("R0"))
        (6, ['S1'])
    """
    cells, goal = size * size, size * size - 1
    landing = np.array([[_moved(cell, move, size) for move in range(4)] for cell in range(cells)])
    landing[goal] = goal
    opposite = np.array([1, 0, 3, 2])
    blown = np.stack([landing, landing[:, opposite]], -1)  # (cells, moves, wind)
    logged = _logged_moves(size, opposite)
    start = np.full(cells, 1 / (cells - 1))
    start[goal] = 0.0

    def program() -> None:
        where = torch.as_tensor(blown)
        habits, first = torch.as_tensor(logged), torch.as_tensor(start)
        state = pyro.sample("S0", dist.Categorical(first))
        for step in range(horizon):
            wind = pyro.sample(f"W{step}", dist.Bernoulli(torch.tensor(_WIND).double())).long()
            move = pyro.sample(f"A{step}", dist.Categorical(habits[state, wind]))
            state = _arrived(f"S{step + 1}", where[state, move, wind], cells)
            pyro.deterministic(f"R{step}", (state == goal).double())

    seen = [f"S{k}" for k in range(horizon + 1)]
    moves, paid = [f"A{k}" for k in range(horizon)], [f"R{k}" for k in range(horizon)]
    stages = tuple(
        Stage([{moves[k]: m} for m in range(4)], {"state": seen[k]}, paid[k])
        for k in range(horizon)
    )
    kernel = np.zeros((cells, 4, cells))
    for chance, wind in ((1 - _WIND, 0), (_WIND, 1)):
        for move in range(4):
            kernel[np.arange(cells), move, blown[:, move, wind]] += chance
    best = _optimum(kernel, start, goal, horizon)
    scm = SCM(program, observed=[*seen, *moves, *paid])
    problem = SequentialProblem(scm, stages, None, best, "a walk in a hidden wind, ours")
    return Gridworld(problem, kernel, start, goal)


def _moved(cell: int, move: int, size: int) -> int:
    row, column = divmod(cell, size)
    down, right = _MOVES[move]
    return min(max(row + down, 0), size - 1) * size + min(max(column + right, 0), size - 1)


def _logged_moves(size: int, opposite: NDArray[np.int64]) -> NDArray[np.float64]:
    """Chance of a logged move, given cell and wind, shape ``(cells, 2, moves)``."""
    cells = size * size
    found = np.full((cells, 2, 4), _ERRATIC / 4)
    for cell in range(cells):
        row, column = divmod(cell, size)
        wanted = [m for m, short in ((1, row < size - 1), (3, column < size - 1)) if short] or [1]
        for move in wanted:
            share = (1 - _ERRATIC) / len(wanted)
            found[cell, 0, move] += share
            found[cell, 1, move] += share * (1 - _NOTICED)
            found[cell, 1, opposite[move]] += share * _NOTICED
    return found


def _arrived(name: str, cell: Tensor, cells: int) -> Tensor:
    """Stand at a cell, as a site that tells which cells there are."""
    return pyro.sample(name, dist.Categorical(torch.eye(cells, dtype=torch.float64)[cell]))


def _optimum(
    kernel: NDArray[np.float64], start: NDArray[np.float64], goal: int, horizon: int
) -> float:
    value = np.zeros(len(start))
    for _ in range(horizon):
        value = (kernel @ (value + (np.arange(len(start)) == goal))).max(1)
    return float(start @ value)
