"""Episodes of several decisions: agents that plan once for each, and many runs of them."""

import warnings
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from causalppl.agents.agent import Agent, Array, Integers, Transition
from causalppl.agents.dtr_model import DTRModel, backward_induction, pooled
from causalppl.agents.log_uses import told_arms
from causalppl.agents.offline_baselines import LogTables, LogUse, StageBounds, log_uses
from causalppl.agents.play import Job, begin, check_lengths, check_players, play_blocks
from causalppl.agents.record import Record, Tally
from causalppl.envs import SequentialSCMEnv
from causalppl.estimation.settings import check_count
from causalppl.exceptions import DataError, HeuristicWarning
from causalppl.inference.progress import is_shown, progress_bar
from causalppl.seeding import checked_seed

__all__ = ["EpisodeAgent", "run_episodes"]


class EpisodeAgent(Agent):
    """One who counts what follows what, and makes a plan before each episode.

    Logs are counted where the diagram identifies a law from them, and else only bound it.

    Args:
        model: The stages.
        log_error: The chance that any bound from a log is wrong.

    Attributes:
        outcomes: How often each outcome followed, shape ``(runs, laws, outcomes)``, one for each
            stage; which laws there are, the model says.
        pulls: How often each mean reward was paid, shape ``(runs, laws)``.
        gains: Sums of scaled rewards, shape ``(runs, laws)``.
        bounds: What logs say that do not identify a law, in these shapes; empty without such logs.
        q: The plan: what each arm is taken to be worth, in scaled rewards.
        episode: The number of the present episode, from 1.

    Example:
        >>> from causalppl.agents import PosteriorSamplingDTR
        >>> issubclass(PosteriorSamplingDTR, EpisodeAgent)
        True
    """

    _state: ClassVar[tuple[str, ...]] = (
        "outcomes",
        "pulls",
        "gains",
        "bounds",
        "q",
        "episode",
        "num_logs",
    )

    def __init__(self, model: DTRModel, *, log_error: float = 0.05) -> None:
        self.model, self.log_error = model, log_error

    @abstractmethod
    def _plan(self) -> list[Array]:
        """What arms are taken to be worth in this episode, shape ``(runs, states, arms)`` each."""

    @abstractmethod
    def _mean_laws(self) -> tuple[list[Array], list[Array]]:
        """Laws of outcomes and mean rewards by which it would act for good."""

    def _values(self, laws: list[Array], rewards: list[Array]) -> list[Array]:
        """What arms are worth under given laws."""
        model, last = self.model, len(self.model) - 1
        spread = [
            law[:, cells] for law, cells in zip(laws, model.outcome_cells[:last], strict=True)
        ]
        paid = [mean[:, cells] for mean, cells in zip(rewards, model.reward_cells, strict=True)]
        return backward_induction(model, spread, paid)

    def _log_uses(self, do: tuple[str, ...]) -> list[tuple[LogUse, LogUse]]:
        return log_uses(self.model, do)

    def _begin(self, runs: int) -> None:
        model = self.model
        laws = [int(cells.max()) + 1 for cells in model.reward_cells]
        self.outcomes = [
            np.zeros((runs, int(cells.max()) + 1, size))
            for cells, size in zip(model.outcome_cells, model.num_outcomes, strict=True)
        ]
        self.pulls = [np.zeros((runs, size)) for size in laws]
        self.gains = [np.zeros((runs, size)) for size in laws]
        self.bounds: list[StageBounds] = []
        self.q: list[Array] = []
        self.episode = self.num_logs = 0

    def _choose(self, observation: Any) -> Integers:
        stage = self.model.stage_of(observation)
        if stage == 0 or not self.q:
            self.episode += 1
            self.q = self._plan()
        return self._greedy(self.q[stage], stage, observation)

    def _best(self, observation: Any) -> Integers:
        stage = self.model.stage_of(observation)
        q = self._values(*self._mean_laws())
        return self._greedy(q[stage], stage, observation)

    def _greedy(self, q: Array, stage: int, observation: Any) -> Integers:
        found = q[np.arange(len(q)), self.model.state(stage, observation)].argmax(-1)
        return np.asarray(found)

    def _learn(self, transition: Transition) -> None:
        seen = transition.observation
        stage = self.model.stage_of(seen)
        runs = np.arange(self.runs or 1)
        state = np.broadcast_to(self.model.state(stage, seen), runs.shape)
        action = np.asarray(transition.action)
        gain = self.model.scaled(stage, transition.reward)
        if self.model.pays[stage]:
            law = self.model.reward_cells[stage][state, action]
            self.pulls[stage][runs, law] += 1
            self.gains[stage][runs, law] += gain
        if stage < len(self.model) - 1:
            law = self.model.outcome_cells[stage][state, action]
            self.outcomes[stage][runs, law, self._outcome(stage, transition)] += 1

    def _outcome(self, stage: int, transition: Transition) -> Integers:
        """Number what followed; the last number is that of episodes that are over."""
        ended = np.broadcast_to(np.asarray(transition.terminated, dtype=bool), (self.runs or 1,))
        if ended.any() and not self.model.may_end:
            raise DataError(
                f"an episode is over after stage {stage} of {len(self.model)}; expected all "
                "stages; say may_end=True of the model if episodes may end early"
            )
        found = np.full(ended.shape, self.model.num_outcomes[stage] - 1)
        if not ended.all():
            seen = {k: np.asarray(v)[~ended] for k, v in transition.next_observation.items()}
            found[~ended] = self.model.outcome(stage, seen)
        return found

    def _read(self, log: Mapping[str, Any], do: tuple[str, ...]) -> None:
        tables, uses, model = LogTables(self.model, log), self._log_uses(do), self.model
        if len(tables.pulls[0]) not in (1, self.runs):
            raise DataError(
                f"the log has rows for {len(tables.pulls[0])} runs; expected {self.runs or 1}, or "
                "the same rows for all; columns have shape (rows,) or (runs, rows)"
            )
        told = told_arms(model, do) if do else []
        for stage, (outcomes, rewards) in enumerate(uses):
            if outcomes == "counts":
                self._count(tables, stage, outcomes=True)
            if rewards == "counts":
                self._count(tables, stage, outcomes=False)
            if told and "nothing" in (outcomes, rewards) and self._has_set(do, stage):
                self._count_some(tables, stage, (outcomes, rewards), told[stage], do)
        if any("bounds" in use for pair in uses for use in pair):
            self._bound(tables, uses)

    def _count(self, tables: LogTables, stage: int, *, outcomes: bool, arms: Any = True) -> None:
        """Add what a log shows of a stage, of all arms or of some."""
        model = self.model
        if outcomes:
            kept = tables.outcomes[stage] * np.asarray(arms)[..., None]
            self.outcomes[stage] += pooled(kept, model.outcome_cells[stage])
        elif model.pays[stage]:
            self.pulls[stage] += pooled(tables.pulls[stage] * arms, model.reward_cells[stage])
            self.gains[stage] += pooled(tables.gains[stage] * arms, model.reward_cells[stage])

    def _has_set(self, do: tuple[str, ...], stage: int) -> bool:
        return any(set(do) & set(actions) for actions in self.model.actions[: stage + 1])

    def _count_some(
        self,
        tables: LogTables,
        stage: int,
        uses: tuple[LogUse, LogUse],
        told: tuple[NDArray[np.bool_], NDArray[np.bool_]],
        do: tuple[str, ...],
    ) -> None:
        """Use a trial for the arms that it tells of, where others leave to nature what it set."""
        for use, arms, is_of_outcomes in zip(uses, told, (True, False), strict=True):
            if use == "nothing":
                self._count(tables, stage, outcomes=is_of_outcomes, arms=arms)
        if not any(arms.any() for use, arms in zip(uses, told, strict=True) if use == "nothing"):
            warnings.warn(
                f"the log, in which {', '.join(do)} was set, tells nothing of stage {stage}: some "
                "arms leave that to nature, and the diagram does not show of any arm that it makes "
                "no difference; give a diagram that does, or natural rows (do=())",
                HeuristicWarning,
                stacklevel=4,
            )

    def _bound(self, tables: LogTables, uses: list[tuple[LogUse, LogUse]]) -> None:
        self.num_logs += 1
        sizes = [o.size + p.size for o, p in zip(tables.outcomes, tables.pulls, strict=True)]
        limits = 2 * sum(sizes) / len(tables.pulls[0])
        # errors of several logs add up to no more than the one that is allowed
        level = np.log(limits * self.num_logs * (self.num_logs + 1) / self.log_error)
        found = [
            StageBounds(
                _joined(each.outcomes, self.model.outcome_cells[stage]),
                _joined(each.rewards, self.model.reward_cells[stage]),
            )
            for stage, each in enumerate(tables.bounds(uses, float(level)))
        ]
        self.bounds = list(map(_both, self.bounds, found)) if self.bounds else found


def run_episodes(
    agent: Agent,
    env: SequentialSCMEnv,
    episodes: int,
    runs: int = 100,
    *,
    seed: int | None = None,
    natural_rows: int = 0,
    num_workers: int = 1,
    progress: bool | None = None,
) -> Record:
    """Let an agent play episodes, in many independent runs at once.

    Run k of a seed is the same however many runs there are, and on however many workers. Where
    units have no random streams of their own (``env.has_streams``), runs are played 64 at a time.

    Args:
        agent: Whom to let play; it is not changed. Its arms are those of the environment.
        env: Where; `run` plays an `SCMEnv`.
        episodes: How many units each run acts on.
        runs: How many runs.
        seed: Seed of all randomness.
        natural_rows: Units of a log that each run reads beforehand: those of the environment's
            ``logs``, on which somebody else acted.
        num_workers: Number of processes.
        progress: Whether to show a progress bar; None: at a terminal or in a notebook.

    Returns:
        Cumulative regret and reward of each run at up to 1,000 episodes: the regret of an episode
        is what its actions lose in mean reward, at the histories that were met.

    Raises:
        DataError: ``episodes``, ``runs`` or ``num_workers`` is no whole number from 1, the
            environment's stages are others, or ``env`` is not a `SequentialSCMEnv`.

    Example:
        >>> from causalppl.agents.posterior_sampling_dtr import PosteriorSamplingDTR
        >>> from causalppl.envs import make_env
        >>> env = make_env("TwoStageDTR")
        >>> agent = PosteriorSamplingDTR(DTRModel.for_env(env))
        >>> record = run_episodes(agent, env, episodes=300, runs=16, seed=0)
        >>> bool(record.regret.mean() < 25)
        True
    """
    check_players(agent, env, SequentialSCMEnv, "run plays an SCMEnv")
    check_lengths(episodes=episodes, runs=runs, num_workers=num_workers)
    check_count("natural_rows", natural_rows, 0, 100)
    used = checked_seed(seed)

    def play(job: Job, shown: bool | None) -> Tally:
        return _play(agent, env, episodes, job, used, natural_rows, shown)

    tally = play_blocks(play, agent, env, runs, num_workers=num_workers, progress=progress)
    return tally.record(runs, name=agent.name, seed=used)


def _play(
    agent: Agent,
    env: SequentialSCMEnv,
    episodes: int,
    job: Job,
    seed: int,
    natural_rows: int,
    progress: bool | None,
) -> Tally:
    log = (lambda each: env.logs(natural_rows, seed=each)) if natural_rows else None
    player, envs, seen = begin(agent, env, job, seed, log)
    runs, oracle = job[1], env.oracle
    tally = Tally(runs, episodes)
    bar = progress_bar(episodes, agent.name, progress=is_shown(progress))
    for _ in range(episodes):
        regret, total = np.zeros(runs), np.zeros(runs)
        for _ in env.stages:
            action = player.act(seen)
            regret += oracle.regret(seen, action)
            after, reward, ended, _, info = envs.step(action)
            player.update(Transition(action, reward, info["values"], seen, after, ended))
            total, seen = total + reward, after
        tally.add(regret, total)
        bar.update()
    bar.close()
    return tally


def _joined(bounds: tuple[Array, Array], cells: Integers) -> tuple[Array, Array]:
    """Let a law have all bounds that were found for it in several states."""
    low, high = pooled(bounds[0], cells, np.maximum), pooled(bounds[1], cells, np.minimum)
    return _uncrossed(low, high)


def _both(one: StageBounds, other: StageBounds) -> StageBounds:
    return StageBounds(
        _intersected(one.outcomes, other.outcomes), _intersected(one.rewards, other.rewards)
    )


def _intersected(one: tuple[Array, Array], other: tuple[Array, Array]) -> tuple[Array, Array]:
    return _uncrossed(np.maximum(one[0], other[0]), np.minimum(one[1], other[1]))


def _uncrossed(low: Array, high: Array) -> tuple[Array, Array]:
    # limits that cross, as rarely as they may be wrong, say no more than where they cross
    return np.minimum(low, high), np.maximum(low, high)
