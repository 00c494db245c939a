"""The command that lets agents play in an environment."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causalppl.cli.reply import Reply, save_picture
from causalppl.exceptions import DataError

if TYPE_CHECKING:
    from causalppl.agents import Record

__all__ = ["add_commands"]

# name on the command line to class: agents of single decisions, and of several
SINGLE = {
    "thompson": "ThompsonSampling",
    "per-arm": "BetaThompson",
    "gaussian": "GaussianThompson",
    "kl-ucb": "KLUCB",
    "counterfactual": "CounterfactualPolicy",
    "bayesian-optimisation": "CausalBayesianOptimisation",
    "uniform": "UniformAgent",
}
EPISODES = {
    "posterior-sampling": "PosteriorSamplingDTR",
    "uc-dtr": "UCDTR",
    "dovi": "DOVI",
}


def add_commands(command: Callable[..., ArgumentParser]) -> None:
    """Add ``run``."""
    run = command(
        "run",
        _run,
        "let agents play in an environment, and print their regret",
        "causalppl run SCMMAB3 --agent thompson --agent per-arm --steps 1000",
    )
    run.add_argument("env", help="a named environment, such as SCMMAB3 or GreedyCasino")
    run.add_argument(
        "--agent",
        action="append",
        required=True,
        metavar="NAME",
        help=f"one of {', '.join({**SINGLE, **EPISODES})}; give several to compare them",
    )
    run.add_argument("--steps", type=int, default=1000, help="steps or episodes (default: 1000)")
    run.add_argument("--runs", type=int, default=16, help="independent runs (default: 16)")
    run.add_argument("--natural-rows", type=int, default=0, help="rows seen before (default: 0)")
    run.add_argument(
        "--arms", dest="which", help="which arms of a bandit: POMIS, MIS, all, joint or single"
    )
    run.add_argument("--seed", type=int, default=0, help="seed of everything random (default: 0)")
    run.add_argument("--plot", type=Path, metavar="FILE", help="draw the regret to a file")


def _run(chosen: Namespace) -> Reply:
    import pandas as pd

    from causalppl.envs import SequentialSCMEnv, make_env

    name = chosen.env.removeprefix("causalppl/").removesuffix("-v0")
    try:
        env = make_env(name, **({} if chosen.which is None else {"arms": chosen.which}))
    except TypeError:
        raise DataError(
            f"{name} is no bandit, so that --arms has no meaning; leave it out"
        ) from None
    is_sequential = isinstance(env, SequentialSCMEnv)
    known = EPISODES if is_sequential else SINGLE
    for agent in chosen.agent:
        if agent not in known:
            raise DataError(
                f"{agent!r} does not play in {name}; expected one of {', '.join(known)}"
            )
    records = {agent: _play(agent, env, chosen, episodes=is_sequential) for agent in chosen.agent}
    table = pd.concat([record.summary() for record in records.values()])
    table.index = pd.Index(list(records), name="agent")
    if chosen.plot is not None:
        from causalppl.plots import regret

        save_picture(regret(records), chosen.plot)
    data = {"environment": name, "seed": chosen.seed, "agents": table.reset_index()}
    return Reply({**data, "agents": data["agents"].to_dict("records")}, table.to_string())


def _play(name: str, env: Any, chosen: Namespace, *, episodes: bool) -> "Record":
    from causalppl import agents

    options = {"seed": chosen.seed, "natural_rows": chosen.natural_rows}
    if episodes:
        made = getattr(agents, EPISODES[name])(agents.DTRModel.for_env(env))
        return agents.run_episodes(made, env, chosen.steps, chosen.runs, **options)
    made = getattr(agents, SINGLE[name]).for_env(env)
    return agents.run(made, env, chosen.steps, chosen.runs, **options)
