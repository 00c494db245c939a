"""Decision problems with names: where to intervene, and what an agent should reach.

Variables are binary unless a problem says otherwise; a hidden cause is a site that is not
observed. Equations and parameters are those of the papers' code; the best arms and their means
follow from them exactly.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from causalppl.estimation.program_law import ProgramLaw
from causalppl.exceptions import QueryError
from causalppl.identification import minimal_intervention_sets, possibly_optimal_sets
from causalppl.programs.scm import SCM

__all__ = [
    "BanditProblem",
    "confounded_chain_bandit",
    "front_door_bandit",
    "greedy_casino",
    "paradoxical_switching",
    "scm_mab_task_1",
    "scm_mab_task_2",
    "scm_mab_task_3",
    "scm_mab_xyzw",
]

Arm = Mapping[str, int]


@dataclass(frozen=True, eq=False)
class BanditProblem:
    """A program, a reward, and what may be set.

    Attributes:
        scm: The model; its hidden causes are not observed.
        reward: The variable to be made large.
        manipulable: The variables that an agent may set.
        best: The mean reward of the best arm.
        source: Where the problem comes from.
        levels: The values to which variables may be set, where they are not 0 and 1.
        truth: The mean reward of an arm, where it is known without a sum over all values.

    Example:
        >>> problem = scm_mab_task_2()
        >>> print(problem.scm.graph)
        Z -> X -> Y; X <-> Y
        >>> round(problem.mean({"Z": 0}), 4), round(problem.best, 4)
        (0.773, 0.773)
    """

    scm: SCM
    reward: str
    manipulable: tuple[str, ...]
    best: float
    source: str
    levels: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    truth: Callable[[Arm], float] | None = None

    @cached_property
    def law(self) -> ProgramLaw:
        """The exact laws of the program, under any intervention."""
        return ProgramLaw(self.scm)

    def mean(self, arm: Arm) -> float:
        """Compute the mean reward of an arm exactly; the empty arm observes."""
        if self.truth is not None:
            return self.truth(arm)
        law = self.law.law(arm)
        given = law.condition(dict(arm)) if arm else law
        return float(given.probability({self.reward: 1}) / given.values.sum())

    def arms(self, which: str = "POMIS") -> tuple[dict[str, int], ...]:
        """List the arms: each value of each set.

        Args:
            which: ``"POMIS"``, ``"MIS"``, ``"all"`` (every set), ``"joint"`` (all variables) or
                ``"single"`` (observe, or set one variable).

        Raises:
            QueryError: ``which`` is none of these.
        """
        if which not in ("POMIS", "MIS", "all", "joint", "single"):
            raise QueryError(
                f"which is {which!r}; expected 'POMIS', 'MIS', 'all', 'joint' or 'single'"
            )
        names = self.manipulable
        if which in ("POMIS", "MIS"):
            find = possibly_optimal_sets if which == "POMIS" else minimal_intervention_sets
            sets = find(self.scm.graph, self.reward, manipulable=names)
        elif which == "joint":
            sets = (frozenset(names),)
        elif which == "single":
            sets = (frozenset(), *(frozenset({name}) for name in names))
        else:
            masks = product((False, True), repeat=len(names))
            sets = tuple(
                frozenset(n for n, kept in zip(names, mask, strict=True) if kept) for mask in masks
            )
        return tuple(
            dict(zip(ordered, values, strict=True))
            for ordered in (self.scm.graph.in_order(s) for s in sets)
            for values in product(*(self.levels.get(name, (0, 1)) for name in ordered))
        )


def scm_mab_task_1() -> BanditProblem:
    """Task 1: two causes of the reward that are not confounded.

    References:
        Lee and Bareinboim (2018), task 1.

    Example:
        >>> problem = scm_mab_task_1()
        >>> len(problem.arms("POMIS")), len(problem.arms("MIS")), len(problem.arms("all"))
        (4, 49, 81)
    """

    def program() -> None:
        z1, z2 = _set("Z1", _coin("U1", 0.54)), _set("Z2", _coin("U2", 0.44))
        x1 = _set("X1", _xor(_coin("E1", 0.54), z1, z2))
        x2 = _set("X2", _xor(1, _coin("E2", 0.67), z1, z2))
        _set("Y", torch.maximum(_coin("EY", 0.58), x1 * x2))

    return _problem(program, ("Z1", "Z2", "X1", "X2"), 1.0, "Lee and Bareinboim (2018), task 1")


def scm_mab_task_2() -> BanditProblem:
    """Task 2: an instrument.

    References:
        Lee and Bareinboim (2018), task 2.

    Example:
        >>> [sorted(arm.items()) for arm in scm_mab_task_2().arms("POMIS")]
        [[('Z', 0)], [('Z', 1)], [('X', 0)], [('X', 1)]]
    """

    def program() -> None:
        u = _coin("U", 0.51)
        z = _set("Z", _coin("UZ", 0.60))
        x = _set("X", _xor(_coin("UX", 0.11), u, z))
        _set("Y", _xor(1, _coin("UY", 0.15), u, x))

    return _problem(program, ("Z", "X"), 0.773, "Lee and Bareinboim (2018), task 2")


def scm_mab_task_3() -> BanditProblem:
    """Task 3: six variables, three possibly optimal sets.

    References:
        Lee and Bareinboim (2018), task 3.

    Example:
        >>> sorted({tuple(arm) for arm in scm_mab_task_3().arms("POMIS")})
        [('S', 'T'), ('T', 'W'), ('T', 'W', 'X')]
    """

    def program() -> None:
        a, b = _coin("A", 0.51), _coin("B", 0.54)
        s, t = _set("S", _coin("US", 0.45)), _set("T", _coin("UT", 0.81))
        w = _set("W", _xor(_coin("UW", 0.07), a, s))
        z = _set("Z", _xor(_coin("UZ", 0.05), b))
        x = _set("X", _xor(1, _coin("UX", 0.06), z, a, t))
        _set("Y", _xor(_coin("UY", 0.06), b, x, w, t))

    names = ("S", "T", "W", "Z", "X")
    return _problem(program, names, 0.7996928, "Lee and Bareinboim (2018), task 3")


def scm_mab_xyzw() -> BanditProblem:
    """The four-variable core of task 3, in which observing is best.

    References:
        Lee and Bareinboim (2018), figure 3.

    Example:
        >>> problem = scm_mab_xyzw()
        >>> round(problem.mean({}), 7) == round(problem.best, 7)
        True
    """

    def program() -> None:
        a, b = _coin("A", 0.51), _coin("B", 0.54)
        w = _set("W", _xor(_coin("UW", 0.07), a))
        z = _set("Z", _xor(_coin("UZ", 0.05), b))
        x = _set("X", _xor(1, _coin("UX", 0.06), z, a))
        _set("Y", _xor(_coin("UY", 0.06), b, x, w))

    return _problem(program, ("W", "Z", "X"), 0.7996928, "Lee and Bareinboim (2018), figure 3")


def front_door_bandit() -> BanditProblem:
    """A front door whose mediator cannot be set.

    References:
        Lee and Bareinboim (2019), for variables that cannot be set.

    Example:
        >>> problem = front_door_bandit()
        >>> [round(problem.mean(arm), 2) for arm in problem.arms("POMIS")]
        [0.5, 0.44, 0.56]
    """

    def program() -> None:
        u = _coin("U", 0.5)
        x = _set("X", _xor(_coin("EX", 0.5), u))
        z = _set("Z", _xor(_coin("EZ", 0.4), x))
        _set("Y", _xor(_coin("EY", 0.4) * u, z))

    return _problem(program, ("X",), 0.56, "after Lee and Bareinboim (2019)", seen=("Z",))


def confounded_chain_bandit() -> BanditProblem:
    """A chain that follows a hidden cause which the reward compares it with: observe.

    Example:
        >>> problem = confounded_chain_bandit()
        >>> problem.mean({}), problem.mean({"X2": 1})
        (1.0, 0.5)
    """

    def program() -> None:
        u = _coin("U", 0.5)
        x1 = _set("X1", u)
        x2 = _set("X2", x1)
        x3 = _set("X3", x2)
        _set("Y", _xor(1, x3, u))

    return _problem(program, ("X1", "X2", "X3"), 1.0, "a chain with a hidden common cause")


def greedy_casino() -> BanditProblem:
    """The casino whose machines pay least to those who are drawn to them.

    ``X`` is the machine that is played; what a player would play, the intent, is its natural value.

    References:
        Bareinboim, Forney and Pearl (2015), Bandits with unobserved confounders: a causal approach.

    Example:
        >>> problem = greedy_casino()
        >>> round(problem.mean({}), 3), round(problem.mean({"X": 0}), 3), problem.best
        (0.15, 0.3, 0.45)
    """
    return _casino([[0.1, 0.5, 0.4, 0.2], [0.5, 0.1, 0.2, 0.4]], 0.45)


def paradoxical_switching() -> BanditProblem:
    """The casino in which the machine that pays better on average is worse for who wants it.

    References:
        Bareinboim, Forney and Pearl (2015).

    Example:
        >>> problem = paradoxical_switching()
        >>> round(problem.mean({"X": 0}), 3), round(problem.mean({"X": 1}), 3)
        (0.35, 0.375)
    """
    return _casino([[0.4, 0.3, 0.3, 0.4], [0.6, 0.1, 0.2, 0.6]], 0.45)


def _casino(payoff: list[list[float]], best: float) -> BanditProblem:
    first, second = torch.tensor(payoff, dtype=torch.float64)

    def program() -> None:
        drunk, blinking = _coin("D", 0.5), _coin("B", 0.5)
        x = _set("X", _xor(drunk, blinking))
        mood = (2 * drunk + blinking).long()
        pyro.sample("Y", dist.Bernoulli(torch.where(x == 0, first[mood], second[mood])))

    return _problem(program, ("X",), best, "Bareinboim, Forney and Pearl (2015)")


def _problem(
    program: Callable[[], None],
    manipulable: tuple[str, ...],
    best: float,
    source: str,
    *,
    seen: tuple[str, ...] = (),
) -> BanditProblem:
    scm = SCM(program, observed=[*manipulable, *seen, "Y"])
    return BanditProblem(scm, "Y", manipulable, best, source)


def _coin(name: str, chance: float) -> Tensor:
    return pyro.sample(name, dist.Bernoulli(torch.tensor(chance, dtype=torch.float64)))


def _set(name: str, value: Tensor) -> Tensor:
    return pyro.deterministic(name, value)


def _xor(*values: Tensor | int) -> Tensor:
    total: Tensor = torch.as_tensor(sum(values))
    return total % 2
