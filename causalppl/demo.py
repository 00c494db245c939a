"""The demonstration: what quitting smoking does to people's weight, from program to picture."""

import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from causalppl.examples.nhefs import CONFOUNDERS, smoking_cessation
from causalppl.graphs.drawing import draw, to_svg
from causalppl.identification import identify
from causalppl.inference.arviz import require
from causalppl.inference.fit import fit
from causalppl.inference.infer import infer
from causalppl.inference.posterior import Posterior
from causalppl.programs.scm import SCM

if TYPE_CHECKING:
    import pandas as pd

PEOPLE = (233, 428, 605)
"""Values of ``seqn`` whose other life is asked for."""


@dataclass(frozen=True)
class WeightGain:
    """A posterior in three numbers, kg.

    Attributes:
        mean: Posterior mean.
        low: Lower end of the 95 % interval.
        high: Upper end.
    """

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, posterior: Posterior) -> "WeightGain":
        """Summarise the only variable of a posterior."""
        (name,) = posterior.variables
        low, high = posterior.interval(0.95)[name]
        return cls(float(posterior.mean()[name]), float(low), float(high))

    def __str__(self) -> str:
        return f"{self.mean:.2f} kg  [{self.low:.2f}, {self.high:.2f}]"


def run_demo(
    output: Path,
    *,
    seed: int = 0,
    progress: bool | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Fit the NHEFS model, ask it causal questions, and write pictures.

    Args:
        output: Folder for ``graph.svg``, ``graph.png`` and ``effect.png``; made if need be.
        seed: Seed of everything random.
        progress: Show progress bars; None: at a terminal or in a notebook.
        say: Takes each line of the report.

    Returns:
        The numbers of the report; estimates as mappings with ``mean``, ``low`` and ``high``.
    """
    began = time.monotonic()
    output.mkdir(parents=True, exist_ok=True)  # before the work, which would be lost
    require("matplotlib.figure", "plots")
    example = smoking_cessation()
    data = example.data
    assert data is not None
    say(f"NHEFS: {len(data):,} people who smoked in 1971. {data['qsmk'].sum()} had quit by 1982.")
    say("What does quitting (qsmk) do to the weight gained (wt82_71)?\n")
    say("The causal graph, read from the Pyro program:\n")
    say(_edges_of(example.scm))
    estimand = identify(example.scm.graph, "E[wt82_71 | do(qsmk)]")
    say("\nBy the diagram, the mean weight gain under do(qsmk) is the back-door formula\n")
    say(textwrap.fill(str(estimand), 96, initial_indent="  ", subsequent_indent="    "))
    say("\nFitting the program's parameters ...")
    scm = fit(example.scm, data, seed=seed, progress=progress)
    say(scm.fit_record.interpret() + "\n")

    people = data[list(CONFOUNDERS)]
    treated = people[data["qsmk"] == 1]

    def ask(query: str, evidence: "pd.DataFrame") -> Posterior:
        return infer(scm, query, evidence=evidence, average=True, seed=seed)

    effect = ask(example.query, people)
    means = data.groupby("qsmk")["wt82_71"].mean()
    naive = float(means[1] - means[0])
    results: dict[str, Any] = {
        "rows": len(data),
        "naive": naive,
        "ate": WeightGain.of(effect),
        "all_quit": WeightGain.of(ask("E[wt82_71_{qsmk=1}]", people)),
        "none_quit": WeightGain.of(ask("E[wt82_71_{qsmk=0}]", people)),
        "ett": WeightGain.of(ask("ETT(qsmk: 1 vs 0 -> wt82_71)", treated)),
    }
    say("Averages over these people, posterior mean and 95 % interval:\n")
    say(f"  effect of quitting (ATE)        {results['ate']}   published 3.4 to 3.5")
    say(f"  effect on those who quit (ETT)  {results['ett']}")
    say(f"  mean gain, had all quit         {results['all_quit']}   published 5.27")
    say(f"  mean gain, had none quit        {results['none_quit']}   published 1.76")
    say(f"  quitters minus others, as seen  {naive:.2f} kg                 not causal\n")
    results["people"] = _other_lives(scm, data, seed, say)
    results["files"] = [str(path) for path in _pictures(scm, effect, naive, output)]
    say(f"\nWrote {', '.join(results['files'])} in {time.monotonic() - began:.0f} s in all.")
    return results


def _edges_of(scm: SCM) -> str:
    lines = []
    for node in scm.graph.nodes:
        parents = sorted(scm.graph.parents(node), key=scm.graph.nodes.index)
        if parents:
            lines.append(f"  {node:<15} <- {', '.join(parents)}")
    return "\n".join(lines)


def _other_lives(
    scm: SCM, data: "pd.DataFrame", seed: int, say: Callable[[str], None]
) -> dict[int, WeightGain]:
    """Ask what some people's weight had done, had they done otherwise."""
    rows = data.set_index("seqn").loc[list(PEOPLE)]
    otherwise = {"qsmk": 1.0 - torch.tensor(rows["qsmk"].to_numpy(), dtype=torch.float32)}
    posterior = infer(
        scm,
        ["wt82_71@otherwise"],
        worlds={"otherwise": otherwise},
        evidence=rows[[*CONFOUNDERS, "qsmk", "wt82_71"]],
        seed=seed,
    )
    (name,) = posterior.variables
    mean, (low, high) = posterior.mean()[name], posterior.interval(0.95)[name]
    lives = {}
    say("Had these people done otherwise (their own circumstances and luck held fixed):\n")
    for i, (seqn, row) in enumerate(rows.iterrows()):
        estimate = WeightGain(*(float(values[i]) for values in (mean, low, high)))  # type: ignore[index]
        lives[int(str(seqn))] = estimate
        who = "woman" if row["sex"] == 1 else "man"
        did, other = ("quit", "not quit") if row["qsmk"] == 1 else ("did not quit", "quit")
        say(
            f"  seqn {seqn}: a {who} of {row['age']:.0f} "
            f"smoking {row['smokeintensity']:.0f} a day, {did}: {row['wt82_71']:+.2f} kg"
        )
        say(f"    had {'she' if who == 'woman' else 'he'} {other}: {estimate}")
    return lives


def _pictures(scm: SCM, effect: Posterior, naive: float, output: Path) -> list[Path]:
    figure = require("matplotlib.figure", "plots").Figure
    marked = ["qsmk", "wt82_71"]
    paths = [output / name for name in ("graph.svg", "graph.png", "effect.png")]
    paths[0].write_text(to_svg(scm.graph, highlight=marked), encoding="utf-8")
    canvas = figure(figsize=(11, 7), layout="constrained")
    draw(scm.graph, canvas.subplots(), highlight=marked)
    canvas.savefig(paths[1], dpi=150)
    canvas = figure(figsize=(7, 4), layout="constrained")
    _draw_effect(canvas.subplots(), effect, naive)
    canvas.savefig(paths[2], dpi=150)
    return paths


def _draw_effect(ax: Any, effect: Posterior, naive: float) -> None:
    from scipy.stats import gaussian_kde

    (name,) = effect.variables
    draws = effect.draws[name].values.ravel()
    estimate = WeightGain.of(effect)
    grid = torch.linspace(float(draws.min()) - 0.3, float(draws.max()) + 0.3, 400).numpy()
    density = gaussian_kde(draws)(grid)
    inside = (grid >= estimate.low) & (grid <= estimate.high)
    ax.plot(grid, density, color="#4a74b0", linewidth=1.5)
    ax.fill_between(
        grid[inside], density[inside], color="#4a74b0", alpha=0.3, label="95 % interval"
    )
    ax.axvline(estimate.mean, color="#4a74b0", label=f"posterior mean {estimate.mean:.2f} kg")
    ax.axvline(naive, color="#b5482f", linestyle="--", label=f"difference as seen {naive:.2f} kg")
    ax.set_ylim(bottom=0)
    ax.set_yticks([])
    ax.set_xlabel("effect of quitting smoking on weight gained 1971 to 1982, kg")
    ax.set_ylabel("posterior density")
    ax.spines[["top", "left", "right"]].set_visible(False)
    ax.legend(frameon=False, loc="upper left", fontsize="small")
