"""The named problems as environments, made by name and known to ``gymnasium.make``."""

from collections.abc import Callable
from typing import Any, TypeAlias

import gymnasium
import numpy as np

from causalppl.envs.scm_env import SCMEnv
from causalppl.envs.sequential import SequentialSCMEnv
from causalppl.envs.sequential_oracle import StageLaw
from causalppl.envs.sequential_vector import SequentialVectorEnv
from causalppl.envs.vector import SCMVectorEnv
from causalppl.examples import bandits, gridworld, more_bandits, optimisation, sequential
from causalppl.examples.bandits import BanditProblem
from causalppl.examples.gridworld import Gridworld
from causalppl.examples.optimisation import OptimisationProblem
from causalppl.exceptions import QueryError

__all__ = ["environment_names", "make_env", "make_vector_env", "register_environments"]

Env: TypeAlias = SCMEnv | SequentialSCMEnv
_REGIMES = ("see", "do")
_ANY = (-np.inf, np.inf)


def make_env(name: str, **options: Any) -> Env:
    """Make a named environment.

    Args:
        name: One of `environment_names`, or its identifier in Gymnasium.
        **options: Passed on: ``arms`` (``"POMIS"``, ``"MIS"``, ``"all"``, ``"joint"`` or
            ``"single"``, for bandits) and the options of `SCMEnv` or `SequentialSCMEnv`.

    Raises:
        QueryError: There is none of that name.

    Example:
        >>> env = make_env("SCMMAB3", arms="MIS")
        >>> env.action_space, round(env.oracle.best, 4)
        (Discrete(75), 0.7997)
    """
    name = str(name).removeprefix("causalppl/").removesuffix("-v0")
    if name not in _MAKERS:
        raise QueryError(
            f"there is no environment {name!r}; expected one of {', '.join(environment_names())}"
        )
    return _MAKERS[name](options)


def make_vector_env(
    name: str, num_envs: int = 1, **options: Any
) -> SCMVectorEnv | SequentialVectorEnv:
    """Make many copies of a named environment as one.

    Args:
        name: One of `environment_names`, or its identifier in Gymnasium.
        num_envs: How many units are acted on at once.
        **options: As of `make_env`.

    Raises:
        QueryError: There is none of that name.
        DataError: ``num_envs`` is not a whole number from 1.

    Example:
        >>> make_vector_env("GreedyCasino", 10).num_envs
        10
    """
    return make_env(name, **options).vector(num_envs)


def environment_names() -> tuple[str, ...]:
    """List the named environments; the identifier of ``X`` in Gymnasium is ``causalppl/X-v0``.

    Example:
        >>> environment_names()[:3]
        ('SCMMAB1', 'SCMMAB2', 'SCMMAB3')
    """
    return tuple(_MAKERS)


def register_environments() -> None:
    """Make the named environments known to ``gymnasium.make``; done on import, once.

    Example:
        >>> register_environments()
        >>> gymnasium.make("causalppl/TwoStageDTR-v0").action_space
        Discrete(2)
    """
    for name in environment_names():
        identifier = f"causalppl/{name}-v0"
        if identifier not in gymnasium.registry:
            gymnasium.register(
                identifier,
                entry_point="causalppl.envs.named:make_env",
                vector_entry_point="causalppl.envs.named:make_vector_env",
                kwargs={"name": name},
            )


def _bandit(problem: Callable[[], BanditProblem], **defaults: Any) -> Callable[[Any], Env]:
    def make(options: dict[str, Any]) -> Env:
        found = problem()
        chosen = {"arms": "POMIS", "regimes": _REGIMES, **defaults, **options}
        arms = chosen.pop("arms")
        listed = found.arms(arms) if isinstance(arms, str) else arms
        known = None if found.truth is None else lambda done: _mean_of_arms(found, done)
        return SCMEnv(found.scm, listed, found.reward, **{"truth": known, **chosen})

    return make


def _mean_of_arms(problem: BanditProblem, done: Any) -> Any:
    """Compute the means of arms that set the same variables, shape ``(n,)``."""
    if not done:
        return problem.mean({})
    rows = np.stack(np.broadcast_arrays(*map(np.atleast_1d, done.values())), -1)
    return np.array([problem.mean(dict(zip(done, row.tolist(), strict=True))) for row in rows])


def _optimisation(problem: Callable[[], OptimisationProblem]) -> Callable[[Any], Env]:
    def make(options: dict[str, Any]) -> Env:
        found = problem()
        defaults = {
            "regimes": _REGIMES,
            "reward_range": _ANY,
            "maximise": False,
            "truth": found.mean,
        }
        return SCMEnv(found.scm, found.actions(), found.outcome, **{**defaults, **options})

    return make


def _sequential(problem: Callable[[], sequential.SequentialProblem]) -> Callable[[Any], Env]:
    def make(options: dict[str, Any]) -> Env:
        found = problem()
        return SequentialSCMEnv(found.scm, found.stages, found.outcome, **options)

    return make


def _gridworld(options: dict[str, Any]) -> Env:
    shape = {key: options.pop(key) for key in ("size", "horizon") if key in options}
    world = gridworld.confounded_gridworld(**shape)
    found = world.problem
    tables = (world.start, [_walk(world)] * len(found.stages))
    return SequentialSCMEnv(found.scm, found.stages, **{"stage_laws": tables, **options})


def _walk(world: Gridworld) -> StageLaw:
    cells, moves, _ = world.transitions.shape
    origin, move, target = np.nonzero(world.transitions)
    return StageLaw(
        views={"state": np.arange(cells)},
        source=origin * moves + move,
        target=target,
        weights=world.transitions[origin, move, target],
        rewards=(target == world.goal).astype(np.float64),
    )


_MAKERS: dict[str, Callable[[dict[str, Any]], Env]] = {
    "SCMMAB1": _bandit(bandits.scm_mab_task_1),
    "SCMMAB2": _bandit(bandits.scm_mab_task_2),
    "SCMMAB3": _bandit(bandits.scm_mab_task_3),
    "FrontDoorBandit": _bandit(bandits.front_door_bandit),
    "ConfoundedChain": _bandit(bandits.confounded_chain_bandit),
    "GreedyCasino": _bandit(bandits.greedy_casino, arms="joint", intent="X"),
    "ParadoxicalSwitching": _bandit(bandits.paradoxical_switching, arms="joint", intent="X"),
    "FourArmCasino": _bandit(more_bandits.four_arm_casino, arms="joint", intent="X"),
    "ParallelBandit": _bandit(more_bandits.parallel_bandit, arms="single"),
    "TransferBandit": _bandit(more_bandits.transfer_bandit, arms="joint"),
    "TwoStageDTR": _sequential(sequential.two_stage_dtr),
    "ConfoundedDTR": _sequential(sequential.confounded_dtr),
    "ConfoundedGridworld": _gridworld,
    "ToyGraph": _optimisation(optimisation.toy_graph),
    "CompleteGraph": _optimisation(optimisation.complete_graph),
    "PSA": _optimisation(optimisation.psa_health),
    "LinearGaussianPopulation": _bandit(
        more_bandits.linear_gaussian_population, arms="single", reward_range=_ANY
    ),
}
