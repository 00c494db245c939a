"""The truth where actions are infinitely many: a function of what is set, and its maximum."""

import itertools
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from scipy.optimize import minimize

from causalppl.envs.arms import WHICH, Arms, Settings
from causalppl.envs.oracle import Oracle
from causalppl.envs.running import run_units
from causalppl.exceptions import AssumptionError
from causalppl.programs import SCM

__all__ = ["FunctionOracle", "MeanOutcome", "drawn_mean", "known_mean"]

MeanOutcome: TypeAlias = Callable[[Settings], NDArray[np.float64]]
"""From settings of ``n`` units to the mean outcome under each, shape ``(n,)``."""
_POINTS = {1: 401, 2: 41, 3: 17}
_FEWEST_POINTS = 7
_REFINED = 3


def known_mean(truth: Callable[[Mapping[str, Any]], Any], arms: Arms) -> MeanOutcome:
    """Read means from a function of the variables that are set.

    Args:
        truth: From the variables that are set, and to what (shape ``(n,)`` each), to means.
        arms: What may be set.
    """

    def mean(settings: Settings) -> NDArray[np.float64]:
        found = np.empty(len(settings))
        for pattern in np.unique(settings.mask, axis=0):
            rows = (settings.mask == pattern).all(1)
            names = [name for name, is_set in zip(arms.names, pattern, strict=True) if is_set]
            columns = settings.values[rows][:, pattern].T
            found[rows] = truth(dict(zip(names, columns, strict=True)))
        return found

    return mean


def drawn_mean(scm: SCM, outcome: str, num_draws: int, *, seed: int = 0) -> MeanOutcome:
    """Estimate means by draws that are the same for all settings.

    Args:
        scm: The model.
        outcome: The variable.
        num_draws: How many.
        seed: Seed of the draws.
    """

    def mean(settings: Settings) -> NDArray[np.float64]:
        return np.array(
            [
                float(draw_outcomes(scm, outcome, settings, row, num_draws, seed=seed).mean())
                for row in range(len(settings))
            ]
        )

    return mean


def draw_outcomes(
    scm: SCM, outcome: str, settings: Settings, row: int, num_draws: int, *, seed: int
) -> NDArray[np.float64]:
    """Draw the outcome of units that have the settings of one row, shape ``(num_draws,)``."""
    repeated = Settings(
        settings.names,
        np.repeat(settings.mask[row : row + 1], num_draws, 0),
        np.repeat(settings.values[row : row + 1], num_draws, 0),
    )
    values = run_units(scm, num_draws, repeated, chance=seed)[outcome]
    found: NDArray[np.float64] = values.double().cpu().numpy()
    return found


class FunctionOracle(Oracle):
    """The truth as a function of what is set; nothing is seen before acting.

    Args:
        mean: Mean outcome under settings.
        arms: What may be set.
        sign: 1, or -1 where the outcome is to be made small.
    """

    def __init__(self, mean: MeanOutcome, arms: Arms, sign: float) -> None:
        self._mean, self._arms, self._sign = mean, arms, sign

    @property
    def best(self) -> float:
        """Mean reward of the best action, found on a grid that is then refined."""
        return self._optimum[0]

    @property
    def means(self) -> NDArray[np.float64]:
        """Refuse: there are infinitely many actions.

        Raises:
            AssumptionError: Always.
        """
        raise AssumptionError(
            "values of some arms are open, so that there are infinitely many means; use "
            "mean(action)"
        )

    @cached_property
    def best_by_set(self) -> tuple[tuple[float, dict[str, float]], ...]:
        """Largest mean reward of each arm, and the values of its variables that reach it."""
        return tuple(self._best_of(arm) for arm in self._arms.arms)

    def mean(self, action: Any) -> Any:
        """Compute the mean reward of an action; batches too."""
        self._arms.check_entries(action)
        is_batch = any(np.ndim(value) for value in action.values())
        actions = action if is_batch else self._arms.batch(action)
        found = self._sign * self._mean(self._arms.settings(actions))
        return found if is_batch else float(found[0])

    def best_action(self, observation: Any = None) -> Any:
        """Find the best action; as many of them as there are observations."""
        action, shape = self._optimum[1], np.shape(observation)
        return {k: np.full(shape, v) for k, v in action.items()} if shape else dict(action)

    def regret(self, observation: Any, action: Any) -> Any:
        """Compute how much less than the best action an action earns on average."""
        return self._optimum[0] - self.mean(action)

    @cached_property
    def _optimum(self) -> tuple[float, dict[str, Any]]:
        which = max(range(len(self._arms)), key=lambda arm: self.best_by_set[arm][0])
        value, point = self.best_by_set[which]
        action: dict[str, Any] = {WHICH: np.int64(which)} if len(self._arms) > 1 else {}
        for name, space in self._arms.open.items():
            if isinstance(space, spaces.Discrete):
                action[name] = np.int64(point.get(name, float(space.start)))
            else:
                assert isinstance(space, spaces.Box)
                action[name] = np.array(point.get(name, space.low), dtype=space.dtype)
        return value, action

    def _best_of(self, arm: Mapping[str, Any]) -> tuple[float, dict[str, float]]:
        opened = {name: space for name, space in self._arms.open.items() if _is_open_in(arm, name)}
        given = {name: value for name, value in arm.items() if name not in opened}

        def reward(points: NDArray[np.float64]) -> NDArray[np.float64]:
            rows = [{**given, **dict(zip(opened, point, strict=True))} for point in points]
            return self._sign * self._mean(self._arms.fixed(rows))

        if not opened:
            return float(reward(np.zeros((1, 0)))[0]), {}
        grid = np.array(list(itertools.product(*_grid(opened))))
        values = reward(grid)
        tops = [grid[k] for k in np.argsort(-values)[:_REFINED]]
        value, point = max(
            (_refined(reward, top, opened) for top in tops), key=lambda found: found[0]
        )
        return value, dict(zip(opened, point.tolist(), strict=True))


def _is_open_in(arm: Mapping[str, Any], name: str) -> bool:
    return isinstance(arm.get(name), spaces.Space | tuple | list)


def _grid(opened: Mapping[str, spaces.Space[Any]]) -> list[NDArray[np.float64]]:
    continuous = sum(isinstance(space, spaces.Box) for space in opened.values())
    points = _POINTS.get(continuous, _FEWEST_POINTS)
    axes = []
    for space in opened.values():
        if isinstance(space, spaces.Discrete):
            axes.append(space.start + np.arange(space.n, dtype=np.float64))
        else:
            assert isinstance(space, spaces.Box)
            axes.append(np.linspace(float(space.low), float(space.high), points))
    return axes


def _refined(
    reward: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    start: NDArray[np.float64],
    opened: Mapping[str, spaces.Space[Any]],
) -> tuple[float, NDArray[np.float64]]:
    """Climb from a point of the grid; integers stay."""
    bounds = [
        (float(space.low), float(space.high)) if isinstance(space, spaces.Box) else (x, x)
        for space, x in zip(opened.values(), start, strict=True)
    ]
    found = minimize(
        lambda point: -float(reward(point[None])[0]),
        start,
        method="L-BFGS-B",
        bounds=bounds,
        options={"ftol": 1e-15, "gtol": 1e-10},
    )
    start_value = float(reward(start[None])[0])
    if -found.fun > start_value:
        return -float(found.fun), np.clip(found.x, *np.array(bounds).T)
    return start_value, start
