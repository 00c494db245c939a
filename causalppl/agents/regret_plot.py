"""Mean cumulative regret of agents over steps."""

from collections.abc import Iterable, Mapping
from typing import Any

from causalppl.agents.record import Record
from causalppl.estimation.estimate_plot import pyplot
from causalppl.exceptions import DataError
from causalppl.given import check_axes, check_kind

__all__ = ["regret"]


def regret(
    records: Mapping[str, Record] | Iterable[Record] | Record,
    *,
    ax: Any = None,
    log: bool = False,
) -> Any:
    """Draw mean cumulative regret, a line for each agent in a band of two standard errors.

    Args:
        records: One or several records, or a mapping from labels to them. Records of one name are
            numbered; agents that are alike are better told apart by `Agent.named`.
        ax: The axes to draw on; None makes a figure.
        log: Use a logarithmic scale for steps.

    Returns:
        The axes.

    Raises:
        DataError: There is no record, or one is none.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> from causalppl.agents import ThompsonSampling, run
        >>> from causalppl.envs import SCMEnv
        >>> from causalppl.examples import scm_mab_task_2
        >>> problem = scm_mab_task_2()
        >>> env = SCMEnv(problem.scm, problem.arms("POMIS"), problem.reward)
        >>> record = run(ThompsonSampling.for_env(env), env, steps=50, runs=8, seed=0)
        >>> regret(record).get_ylabel()
        'cumulative regret'
    """
    check_axes(ax)
    if isinstance(records, Record):
        records = [records]
    if not isinstance(records, Mapping):
        records = list(records) if isinstance(records, Iterable) else [records]
    for record in records.values() if isinstance(records, Mapping) else records:
        check_kind(record, Record, "a record", "what run() returned")
    if not isinstance(records, Mapping):
        records = _labelled(records)
    if not records:
        raise DataError("there is no record to draw; expected at least one")
    if ax is None:
        _, ax = pyplot().subplots(figsize=(6.4, 4))
    for label, record in records.items():
        found = record.mean_regret()
        steps, mean, error = found["step"].values, found["mean"].values, found["se"].values
        (line,) = ax.plot(steps, mean, label=f"{label} ({mean[-1]:.3g})")
        ax.fill_between(
            steps, mean - 2 * error, mean + 2 * error, color=line.get_color(), alpha=0.2
        )
    if log:
        ax.set_xscale("log")
    ax.set_xlabel("step")
    ax.set_ylabel("cumulative regret")
    ax.legend(frameon=False)
    return ax


def _labelled(records: list[Record]) -> dict[str, Record]:
    """Give records their names, numbered where they occur more than once."""
    names = [record.name for record in records]
    numbers = [names[:place].count(name) + 1 for place, name in enumerate(names)]
    return {
        f"{name}, {number}" if names.count(name) > 1 else name: record
        for name, number, record in zip(names, numbers, records, strict=True)
    }
