"""Fresh random instances of the tasks of Lee and Bareinboim (2018): one for each run.

Equations are those of the tasks; chances are drawn anew, from the ranges of the paper's code. The
law of each instance is exact, from a sum over its independent hidden causes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.agents import Agent, Transition

Array: TypeAlias = NDArray[np.float64]
Bits: TypeAlias = Mapping[str, NDArray[np.int64]]
Arm: TypeAlias = Mapping[str, Any]

NOISE = {2: ("uZ", "uX", "uY"), 3: ("uS", "uT", "uW", "uZ", "uX", "uY")}
CONFOUNDERS = {2: ("U",), 3: ("A", "B")}


def task_2(u: Bits, arm: Arm) -> dict[str, NDArray[np.int64]]:
    """An instrument."""
    z = _set("Z", u["uZ"], arm)
    x = _set("X", u["uX"] ^ u["U"] ^ z, arm)
    return {"Z": z, "X": x, "Y": 1 ^ u["uY"] ^ u["U"] ^ x}


def task_3(u: Bits, arm: Arm) -> dict[str, NDArray[np.int64]]:
    """Six variables."""
    s, t = _set("S", u["uS"], arm), _set("T", u["uT"], arm)
    w = _set("W", u["uW"] ^ u["A"] ^ s, arm)
    z = _set("Z", u["uZ"] ^ u["B"], arm)
    x = _set("X", 1 ^ u["uX"] ^ z ^ u["A"] ^ t, arm)
    return {"S": s, "T": t, "W": w, "Z": z, "X": x, "Y": u["uY"] ^ u["B"] ^ x ^ w ^ t}


EQUATIONS: dict[int, Callable[[Bits, Arm], dict[str, NDArray[np.int64]]]] = {2: task_2, 3: task_3}


@dataclass(frozen=True)
class Instances:
    """Instances of one task, one for each run.

    Attributes:
        names: The observed variables.
        cumulative: The distribution function over their joint values, ``(runs, arms, cells)``.
        means: Mean rewards, ``(runs, arms)``.
    """

    names: tuple[str, ...]
    cumulative: Array
    means: Array

    @classmethod
    def drawn(cls, task: int, arms: tuple[Arm, ...], runs: int, *, wide: bool, seed: int) -> Any:
        """Draw instances.

        Args:
            task: 2 or 3.
            arms: The arms.
            runs: How many.
            wide: All chances between .01 and .99, rather than near those of the named task.
            seed: Of the draw.
        """
        rng = np.random.default_rng(seed)
        most = 0.2 if task == 2 else 0.1
        ranges = {
            **dict.fromkeys(NOISE[task], (0.01, most)),
            **dict.fromkeys(CONFOUNDERS[task], (0.4, 0.6)),
        }
        grid = np.array(list(product((0, 1), repeat=len(ranges))))
        bits = dict(zip(ranges, grid.T, strict=True))
        weights = np.ones((runs, len(grid)))
        for name, (low, high) in ranges.items():
            chance = rng.uniform(*((0.01, 0.99) if wide else (low, high)), runs)[:, None]
            weights *= np.where(bits[name] == 1, chance, 1 - chance)
        laws, means = [], []
        for arm in arms:
            values = EQUATIONS[task](bits, arm)
            cell = sum(v << k for k, v in enumerate(reversed(values.values())))
            laws.append(weights @ np.eye(2 ** len(values))[cell])
            means.append(weights @ values["Y"])
        cumulative = np.stack(laws, 1).cumsum(2)
        cumulative[:, :, -1] = 1.0
        return cls(tuple(values), cumulative, np.stack(means, 1))


def play(agent: Agent, instances: Instances, steps: int, *, seed: int) -> Array:
    """Let an agent play each instance once; returns cumulative regret, shape ``(runs,)``."""
    runs = len(instances.means)
    rng, every = np.random.default_rng(seed), np.arange(runs)
    player = agent.start(runs, seed=seed)
    best, total = instances.means.max(1), np.zeros(runs)
    for _ in range(steps):
        action = player.act()
        total += best - instances.means[every, action]
        cell = (instances.cumulative[every, action] < rng.random(runs)[:, None]).sum(1)
        values = {n: cell >> k & 1 for k, n in enumerate(reversed(instances.names))}
        player.update(Transition(action, values["Y"].astype(float), values))
    return total


def _set(name: str, natural: NDArray[np.int64], arm: Arm) -> NDArray[np.int64]:
    return np.full_like(natural, arm[name]) if name in arm else natural
