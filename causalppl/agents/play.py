"""Many runs of an agent in an environment, and what came of them."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.agents.agent import Agent, Integers, Transition
from causalppl.agents.record import Record, Tally
from causalppl.data import Table
from causalppl.envs import SCMEnv, SequentialSCMEnv
from causalppl.exceptions import DataError
from causalppl.inference.progress import is_shown, progress_bar
from causalppl.parallel import parallel_map
from causalppl.seeding import checked_seed

__all__ = ["Job", "play_blocks", "run", "run_seeds", "stacked"]

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

    Run k of a seed is the same however many runs there are, and on however many workers.

    Args:
        agent: Whom to let play; it is not changed.
        env: Where. The arms of the agent must be among those of the environment.
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
        DataError: ``steps`` or ``runs`` is below 1, or the agent has an arm that the environment
            has not.
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
    if steps < 1 or runs < 1:
        raise DataError(f"steps is {steps} and runs is {runs}; expected at least 1 of each")
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
        env: Where; says whether each run has its own.
        runs: How many runs.
        num_workers: Number of processes.
        progress: Whether to show a progress bar.

    Returns:
        What came of at least ``runs`` runs.
    """
    block = max(agent.block, 1 if env.has_streams else _ENVS_WITHOUT_STREAMS)
    padded = -(-runs // block) * block
    share = -(-padded // (block * num_workers)) * block
    jobs = [(first, min(share, padded - first)) for first in range(0, padded, share)]
    if num_workers == 1:
        return play(jobs[0], progress)
    tallies = parallel_map(
        lambda job: play(job, False), jobs, num_workers=num_workers, progress=progress
    )
    return Tally.joined(tallies)


def _play(
    agent: Agent,
    env: SCMEnv,
    steps: int,
    job: Job,
    seed: int,
    natural_rows: int,
    progress: bool | None,
) -> Tally:
    first, runs = job
    seeds = run_seeds(seed, first, runs)
    player = agent.start(runs, seed=seed, first_run=first)
    if natural_rows:
        player.observe(stacked([env.see(natural_rows, seed=each % 2**63) for each in seeds]))
    envs = env.vector(runs)
    observation, _ = envs.reset(seed=seeds if env.has_streams else seeds[0])
    places = _places(agent, env) if env.choices.is_finite else None
    tally = Tally(runs, steps)
    oracle = env.oracle
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


_ENVS_WITHOUT_STREAMS = 64


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
