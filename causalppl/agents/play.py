"""Many runs of an agent in an environment, and what came of them."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.agents.agent import Agent, Integers, Transition
from causalppl.agents.env_checks import check_env
from causalppl.agents.record import Record, Tally
from causalppl.data import Table
from causalppl.envs import SCMEnv, SequentialSCMEnv
from causalppl.estimation.settings import check_count
from causalppl.exceptions import DataError
from causalppl.inference.progress import is_shown, progress_bar
from causalppl.parallel import parallel_map
from causalppl.seeding import checked_seed

__all__ = [
    "Job",
    "begin",
    "check_lengths",
    "check_players",
    "play_blocks",
    "run",
    "run_seeds",
    "stacked",
]

Job: TypeAlias = tuple[int, int]
"""The number of the first of some runs, and how many there are."""


def run(
    agent: Agent,
    env: SCMEnv,
    steps: int,
    runs: int = 100,
    *,
    seed: int | None = None,
    natural_rows: int = 0,
    num_workers: int = 1,
    progress: bool | None = None,
) -> Record:
    """Let an agent play, in many independent runs at once.

    Run k of a seed is the same however many runs there are, and on however many workers. Where
    units have no random streams of their own (``env.has_streams``), runs are played 64 at a time.

    Args:
        agent: Whom to let play; it is not changed.
        env: Where; its arms must hold those of the agent. `run_episodes` plays a
            `SequentialSCMEnv`.
        steps: How often each run acts.
        runs: How many runs.
        seed: Seed of all randomness.
        natural_rows: How many units each run sees beforehand on which nobody acts; the environment
            must allow ``"see"``.
        num_workers: Number of processes.
        progress: Whether to show a progress bar; None: at a terminal or in a notebook.

    Returns:
        Cumulative regret and reward of each run at up to 1,000 steps.

    Raises:
        DataError: ``steps``, ``runs`` or ``num_workers`` is no whole number from 1, the agent has
            an arm that the environment has not, or ``env`` is not an `SCMEnv`.
        AssumptionError: The agent cannot use what it sees.

    Example:
        >>> from causalppl.agents import ThompsonSampling
        >>> from causalppl.examples import scm_mab_task_2
        >>> problem = scm_mab_task_2()
        >>> env = SCMEnv(problem.scm, problem.arms("POMIS"), problem.reward)
        >>> record = run(ThompsonSampling.for_env(env), env, steps=300, runs=20, seed=0)
        >>> bool(record.regret.mean() < 30)
        True
    """
    check_players(agent, env, SCMEnv, "run_episodes plays a SequentialSCMEnv")
    check_lengths(steps=steps, runs=runs, num_workers=num_workers)
    check_count("natural_rows", natural_rows, 0, 100)
    used = checked_seed(seed)

    def play(job: Job, shown: bool | None) -> Tally:
        return _play(agent, env, steps, job, used, natural_rows, shown)

    tally = play_blocks(play, agent, env, runs, num_workers=num_workers, progress=progress)
    return tally.record(runs, name=agent.name, seed=used)


def play_blocks(
    play: Callable[[Job, bool | None], Tally],
    agent: Agent,
    env: SCMEnv | SequentialSCMEnv,
    runs: int,
    *,
    num_workers: int,
    progress: bool | None,
) -> Tally:
    """Play runs in whole blocks, in this process or in several.

    Args:
        play: Plays some runs: called with the first and their number, and whether to show progress.
        agent: Who plays; says how many runs share a random stream.
        env: Where; says whether each run has its own. If not, the units of a block of runs come
            from one seed, so that each block is played on its own, and whole.
        runs: How many runs.
        num_workers: Number of processes.
        progress: Whether to show a progress bar.

    Returns:
        What came of at least ``runs`` runs.

    Raises:
        DataError: ``num_workers`` is below 1.
    """
    block = agent.block if env.has_streams else -(-_UNITS_OF_A_SEED // agent.block) * agent.block
    blocks = -(-runs // block)
    at_once = -(-blocks // max(num_workers, 1)) if env.has_streams else 1
    jobs = [
        (first * block, min(at_once, blocks - first) * block) for first in range(0, blocks, at_once)
    ]
    if len(jobs) == num_workers == 1:
        return play(jobs[0], progress)
    tallies = parallel_map(
        lambda job: play(job, False), jobs, num_workers=num_workers, progress=progress
    )
    return Tally.joined(tallies)


def check_lengths(**counts: Any) -> None:
    """Refuse how often, in how many runs and on how many workers to play, by name.

    Raises:
        DataError: One is no whole number from 1.
    """
    for name, count in counts.items():
        check_count(name, count, 1, 1 if name == "num_workers" else 100)


def check_players(agent: Any, env: Any, kind: type, instead: str) -> None:
    """Refuse what cannot play, and where it cannot be played.

    Raises:
        DataError: ``agent`` is no agent, or ``env`` not of the kind.
    """
    if not isinstance(agent, Agent):
        raise DataError(f"agent is {agent!r}; expected an Agent, such as BetaThompson.for_env(env)")
    check_env(env, kind, instead)


def begin(
    agent: Agent,
    env: SCMEnv | SequentialSCMEnv,
    job: Job,
    seed: int,
    draw_log: Callable[[int], Table] | None,
) -> tuple[Agent, Any, Any]:
    """Start the runs of a job.

    Args:
        agent: Who plays.
        env: Where.
        job: Which runs.
        seed: Seed of all runs.
        draw_log: From a seed to the log that a run reads beforehand; None: no log.

    Returns:
        The agent that plays, the environments of the runs, and what is seen first.
    """
    first, runs = job
    seeds = run_seeds(seed, first, runs)
    player = agent.start(runs, seed=seed, first_run=first)
    if draw_log is not None:
        player.observe(stacked([draw_log(each % 2**63) for each in seeds]))
    envs = env.vector(runs)
    seen, _ = envs.reset(seed=seeds if env.has_streams else seeds[0])
    return player, envs, seen


def _play(
    agent: Agent,
    env: SCMEnv,
    steps: int,
    job: Job,
    seed: int,
    natural_rows: int,
    progress: bool | None,
) -> Tally:
    log = (lambda each: env.see(natural_rows, seed=each)) if natural_rows else None
    player, envs, observation = begin(agent, env, job, seed, log)
    places = _places(agent, env) if env.choices.is_finite else None
    tally, oracle = Tally(job[1], steps), env.oracle
    bar = progress_bar(steps, agent.name, progress=is_shown(progress))
    for _ in range(steps):
        chosen = player.act(observation)
        action = chosen if places is None else places[chosen]
        regret = oracle.regret(observation, action)
        following, reward, _, _, info = envs.step(action)
        player.update(Transition(chosen, reward, info["values"], observation, following))
        tally.add(regret, reward)
        observation = following
        bar.update()
    bar.close()
    return tally


_UNITS_OF_A_SEED = 64


def _places(agent: Agent, env: SCMEnv) -> Integers:
    """The arms of the agent, as numbers of the environment's arms."""
    arms: Sequence[Any] = getattr(agent, "arms", env.arms)
    known = {tuple(sorted(env.scm.encode(dict(arm)).items())): n for n, arm in enumerate(env.arms)}
    found = []
    for arm in arms:
        key = tuple(sorted(env.scm.encode(dict(arm)).items()))
        if key not in known:
            raise DataError(
                f"the agent has the arm {dict(arm)}, which the environment has not; expected arms "
                f"among its {len(known)}"
            )
        found.append(known[key])
    return np.array(found, dtype=np.int64)


def run_seeds(seed: int, first: int, runs: int) -> list[int]:
    """One seed for the environment of each run, by its number alone."""
    return [
        int(np.random.SeedSequence(seed, spawn_key=(0, number)).generate_state(1, np.uint64)[0])
        for number in range(first, first + runs)
    ]


def stacked(logs: Sequence[Table]) -> dict[str, NDArray[Any]]:
    """Put the logs of runs side by side: by name, shape ``(runs, rows)``."""
    return {name: np.stack([log[name].numpy() for log in logs]) for name in logs[0]}
