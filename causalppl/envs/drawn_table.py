"""Means of finitely many arms by many draws, where a program is not finite."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalppl.envs.arms import Arms
from causalppl.envs.oracle import TableOracle
from causalppl.envs.shown import Shown
from causalppl.envs.streams import OneStream
from causalppl.envs.units import ProgramUnits
from causalppl.exceptions import AssumptionError
from causalppl.programs import SCM

__all__ = ["draw_table"]


def draw_table(
    scm: SCM, arms: Arms, shown: Shown, outcome: str, sign: float, *, num_draws: int, seed: int
) -> TableOracle:
    """Estimate the mean reward of each arm, for each view, with standard errors.

    All arms act on the same units.

    Raises:
        AssumptionError: What is seen has infinitely many values.
    """
    units = ProgramUnits(scm, arms, shown)
    if missing := [key for key in shown.keys if key not in units.levels]:
        raise AssumptionError(
            f"{', '.join(missing)} is seen before acting and has infinitely many values, so that "
            "there is no table of means; give SCMEnv(..., truth=...)"
        )
    begun, seen = units.begin(num_draws, OneStream(np.random.default_rng(seed), num_draws))
    rows = np.stack([*seen.values(), np.zeros(num_draws, dtype=np.int64)])
    distinct, view = np.unique(rows, axis=1, return_inverse=True)
    size = distinct.shape[1]
    counts = np.bincount(view, minlength=size)
    columns = []
    for arm in range(len(arms)):
        actions = np.full(num_draws, arm)
        stream = OneStream(np.random.default_rng(seed + 1), num_draws)
        rewards = sign * units.finish(begun, actions, stream)[outcome].astype(np.float64)
        columns.append(_means(rewards, view, counts))
    means, errors = (np.stack(part, -1) for part in zip(*columns, strict=True))
    views: dict[str, NDArray[Any]] = dict(zip(seen, distinct, strict=False))
    return TableOracle(means, views, counts / num_draws, errors)


def _means(
    rewards: NDArray[np.float64], view: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the mean of each view, and its standard error."""
    mean = np.bincount(view, rewards, len(counts)) / counts
    squares = np.bincount(view, (rewards - mean[view]) ** 2, len(counts)) / counts
    return mean, np.sqrt(squares / counts)
