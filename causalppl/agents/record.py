"""What came of many runs: cumulative regret and reward, with their uncertainty."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from causalppl.agents.agent import Array, Integers
from causalppl.exceptions import DataError

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["Record", "Tally"]

_MOST_POINTS = 1000
_OPTIMAL = 1e-9
_SUMS = ("regret", "reward", "optimal")


@dataclass(frozen=True, eq=False)
class Record:
    """Runs of an agent.

    Regret is how much less the arm played earns on average than the best one would have, summed
    over steps; it is computed from true means and so has no noise of its own. Where it is negative,
    the environment's oracle has missed the optimum: its means are estimated, or its ``truth`` is
    not that of the program.

    Attributes:
        data: ``regret``, ``reward`` and ``optimal`` (how often a best arm was played), all
            cumulative, over ``run`` and ``step`` (1,000 points at most).
        name: The agent.
        seed: The seed of the runs.

    Example:
        >>> from causalppl.agents import ThompsonSampling, run
        >>> from causalppl.envs import SCMEnv
        >>> from causalppl.examples import scm_mab_task_2
        >>> problem = scm_mab_task_2()
        >>> env = SCMEnv(problem.scm, problem.arms("POMIS"), problem.reward)
        >>> record = run(ThompsonSampling.for_env(env), env, steps=50, runs=8, seed=0)
        >>> record.data["regret"].sizes
        Frozen({'run': 8, 'step': 50})
    """

    data: "xr.Dataset"
    name: str
    seed: int

    @property
    def regret(self) -> "xr.DataArray":
        """Cumulative regret at the end, one for each run."""
        return self.data["regret"].isel(step=-1)

    @property
    def optimal_share(self) -> "xr.DataArray":
        """How often a best arm was played since the point before, by ``run`` and ``step``."""
        steps = np.diff(self.data["step"].values, prepend=0)
        counts = np.diff(self.data["optimal"].values, axis=1, prepend=0)
        return self.data["optimal"].copy(data=counts / steps)

    def mean_regret(self) -> "xr.Dataset":
        """Mean cumulative regret over runs and its standard error, at each point."""
        regret = self.data["regret"]
        error = regret.std("run", ddof=1) / np.sqrt(regret.sizes["run"])
        import xarray as xr

        return xr.Dataset({"mean": regret.mean("run"), "se": error})

    def summary(self) -> "pd.DataFrame":
        """One line: mean regret, its standard error, the median, the worst run, optimal share."""
        import pandas as pd

        regret = self.regret.values
        counts, steps = self.data["optimal"].values, self.data["step"].values
        late = int(np.searchsorted(steps, 0.9 * steps[-1]))
        late = min(late, len(steps) - 2) if len(steps) > 1 else 0
        played = steps[-1] - (steps[late] if len(steps) > 1 else 0)
        since = counts[:, -1] - (counts[:, late] if len(steps) > 1 else 0)
        row = {
            "runs": len(regret),
            "steps": int(steps[-1]),
            "regret": regret.mean(),
            "se": regret.std(ddof=1) / np.sqrt(len(regret)) if len(regret) > 1 else np.nan,
            "median": np.median(regret),
            "worst": regret.max(),
            "optimal at the end": float((since / played).mean()),
        }
        return pd.DataFrame([row], index=pd.Index([self.name], name="agent"))

    def interpret(self) -> str:
        """Say what came of it in one sentence."""
        row = self.summary().iloc[0]
        error = f" ± {row['se']:.2g}" if np.isfinite(row["se"]) else ""
        return (
            f"Over {row['steps']:.0f} steps {self.name} lost {row['regret']:.4g}{error} in reward "
            f"to always playing the best arm (mean of {row['runs']:.0f} runs; the worst lost "
            f"{row['worst']:.4g}), and at the end played a best arm "
            f"{100 * row['optimal at the end']:.0f} % of the time."
        )

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.interpret())}</p>{self.summary().to_html()}"

    def plot(self, *, ax: Any = None) -> Any:
        """Draw mean cumulative regret with its 95 % interval; returns the axes.

        Args:
            ax: Axes to draw on; None: those of a new figure.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        from causalppl.agents.regret_plot import regret

        return regret({self.name: self}, ax=ax)

    def save(self, path: str | Path) -> None:
        """Write to a NumPy archive."""
        arrays: Any = {name: self.data[name].values for name in _SUMS}
        with open(path, "wb") as file:  # numpy would add a suffix to a bare name
            np.savez_compressed(
                file, **arrays, step=self.data["step"].values, name=self.name, seed=self.seed
            )

    @classmethod
    def load(cls, path: str | Path) -> "Record":
        """Read what `save` wrote.

        Raises:
            DataError: The file is none.
        """
        try:
            with np.load(path) as file:
                found = {name: file[name] for name in file.files}
            return _record(
                found["step"],
                {name: found[name] for name in _SUMS},
                str(found["name"]),
                int(found["seed"]),
            )
        except (KeyError, ValueError, OSError) as error:
            raise DataError(f"{path} is no record ({error}); expected a file of save") from None


class Tally:
    """Sums over steps, kept at up to 1,000 of them.

    Args:
        runs: How many runs.
        steps: How many steps.
    """

    def __init__(self, runs: int, steps: int) -> None:
        self._sums = {name: np.zeros(runs) for name in _SUMS}
        self._points: Integers = np.unique(
            np.ceil(np.arange(1, min(steps, _MOST_POINTS) + 1) * (steps / min(steps, _MOST_POINTS)))
        ).astype(np.int64)
        self._kept: dict[str, Array] = {
            name: np.zeros((runs, len(self._points))) for name in self._sums
        }
        self._step = self._place = 0

    def add(self, regret: Array, reward: Array) -> None:
        """Add one step of all runs.

        A negative regret is kept: it tells that what is taken to be the optimum is none.
        """
        self._step += 1
        is_optimal = np.abs(regret) < _OPTIMAL
        self._sums["regret"] += np.where(is_optimal, 0.0, regret)
        self._sums["reward"] += reward
        self._sums["optimal"] += is_optimal
        if self._step == self._points[self._place]:
            for name, total in self._sums.items():
                self._kept[name][:, self._place] = total
            self._place = min(self._place + 1, len(self._points) - 1)

    @staticmethod
    def joined(tallies: Sequence["Tally"]) -> "Tally":
        """Put the runs of several together."""
        first = tallies[0]
        for name in first._kept:
            first._kept[name] = np.concatenate([tally._kept[name] for tally in tallies])
        return first

    def record(self, runs: int, *, name: str, seed: int) -> Record:
        """Return the record of the first runs."""
        return _record(self._points, {k: v[:runs] for k, v in self._kept.items()}, name, seed)


def _record(points: Integers, arrays: dict[str, Array], name: str, seed: int) -> Record:
    import xarray as xr

    runs = len(arrays["regret"])
    data = xr.Dataset(
        {key: (("run", "step"), values) for key, values in arrays.items()},
        coords={"run": np.arange(runs), "step": points},
    )
    return Record(data, name, seed)
