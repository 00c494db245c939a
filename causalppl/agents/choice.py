"""The choice that an agent faces: arms, reward, and what is seen before acting."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from causalppl.agents.agent import Arm, Array, Integers
from causalppl.envs.arms import check_distinct
from causalppl.exceptions import DataError, QueryError
from causalppl.graphs import ADMG
from causalppl.graphs.checked import check_diagram
from causalppl.programs import SCM
from causalppl.programs.do import NATURAL

__all__ = ["Choice", "diagram_of"]

Levels = Mapping[str, Sequence[float]]


@dataclass(frozen=True, eq=False)
class Choice:
    """What may be done, what it is for, and what is seen beforehand.

    An intent, the natural value of a variable that is set, is a variable of its own here
    (``X@natural``), which ``X`` follows where nobody sets it.

    Attributes:
        graph: The diagram, with a node for the intent.
        arms: What may be set, to which values; ``{}`` to let be.
        reward: The variable that makes the reward.
        context: What is seen before acting.
        levels: The values that variables take, in increasing order; empty for a continuous model.

    Example:
        >>> bow = ADMG.parse("X -> Y; X <-> Y")
        >>> choice = Choice.of(bow, [{"X": 0}, {"X": 1}], "Y", intent="X")
        >>> print(choice.graph, choice.context)
        X -> Y; X@natural -> X; Y <-> X@natural ('X@natural',)
    """

    graph: ADMG
    arms: tuple[Arm, ...]
    reward: str
    context: tuple[str, ...]
    levels: dict[str, Array]

    @classmethod
    def of(
        cls,
        model: SCM | ADMG,
        arms: Sequence[Arm],
        reward: str,
        *,
        context: Sequence[str] = (),
        intent: str | None = None,
        levels: Levels | None = None,
        is_discrete: bool = True,
    ) -> Self:
        """Describe a choice.

        Args:
            model: The diagram, or a program with that diagram; its mechanisms are not looked at.
            arms: What may be set, to which values.
            reward: The variable that makes the reward.
            context: Observed variables that are seen before acting.
            intent: A variable whose natural value is seen before acting.
            levels: The values of variables that are not 0 and 1; those of a finite program are
                read from it.
            is_discrete: Whether variables take few values; else nothing is known of levels.

        Raises:
            GraphError: The model is neither a diagram nor a program.
            QueryError: A variable is not in the diagram, an arm sets the reward or is there twice,
                or what is seen depends on what is set.
            DataError: An arm sets a variable to a value that it does not take, or to no number.
        """
        graph = diagram_of(model)
        asked = {reward, *context, *(name for arm in arms for name in arm)}
        if unknown := sorted((asked | ({intent} if intent else set())) - set(graph.nodes)):
            raise QueryError(
                f"{', '.join(unknown)} is not in the diagram, which has {', '.join(graph.nodes)}"
            )
        if not arms:
            raise QueryError("there are no arms; expected at least one, such as {'X': 1}")
        check_distinct(arms)
        _check_values(arms, reward)
        known = _levels(model) if is_discrete else {}
        known |= {name: np.sort(np.asarray(v, float)) for name, v in (levels or {}).items()}
        found = cls(graph, tuple(dict(arm) for arm in arms), reward, tuple(context), known)
        found._check()
        return found if intent is None else found._with_intent(intent)

    def code(self, name: str, values: Any) -> Integers:
        """Turn values of a variable into their places among its levels.

        Raises:
            DataError: A value is not among them, or is missing.
        """
        known = self.levels[name]
        given = np.asarray(values, dtype=np.float64)
        place = np.minimum(np.searchsorted(known, given), len(known) - 1)
        if (wrong := known[place] != given).any():
            raise DataError(
                f"{name} is {given[wrong].flat[0]:g}; expected one of {known.tolist()}; give its "
                "values as levels"
            )
        return place

    def rows(
        self, values: Mapping[str, Any], observation: Any, do: Collection[str] = ()
    ) -> dict[str, Array]:
        """Put together what is known of units: what was seen before and after acting.

        Args:
            values: What was seen in the end, by name.
            observation: What was seen before acting, by name.
            do: Variables that were set from outside: these do not show what they naturally were.

        Raises:
            DataError: A variable is missing, or a value of one.
        """
        seen = observation if isinstance(observation, Mapping) else {}
        known = {**values, **seen}
        for name in self.graph.nodes:
            acted_on = name.removesuffix(NATURAL)
            if name not in known and name != acted_on and acted_on not in do:
                known[name] = known.get(acted_on)
        if missing := [n for n in self.graph.nodes if known.get(n) is None]:
            raise DataError(
                f"nothing is said of {', '.join(missing)}; expected the value of each variable in "
                f"the diagram, {', '.join(self.graph.nodes)}"
            )
        found = {name: np.asarray(known[name], dtype=np.float64) for name in self.graph.nodes}
        for name, column in found.items():
            if not np.isfinite(column).all():
                raise DataError(
                    f"{name} has a missing or infinite value; expected numbers: leave such rows out"
                )
        return found

    @cached_property
    def relevant(self) -> "Choice":
        """The same choice, without the variables that neither reward nor context depend on."""
        kept = self.graph.ancestors({self.reward, *self.context})
        return replace(self, graph=self.graph.subgraph(kept))

    def arm_values(self) -> list[dict[str, int]]:
        """The arms with values as their places among the levels, irrelevant variables left out."""
        inside = set(self.graph.nodes)
        return [
            {name: int(self.code(name, value)) for name, value in arm.items() if name in inside}
            for arm in self.arms
        ]

    def _check(self) -> None:
        for name in self.context:
            if causes := self.graph.ancestors(name) & {n for arm in self.arms for n in arm}:
                raise QueryError(
                    f"{name} is seen before acting, but {', '.join(sorted(causes))} may be set and "
                    "changes it; for the natural value of what is set, use intent"
                )
        for arm in self.arms:
            for name, value in arm.items():
                if self.levels:
                    self.code(name, value)

    def _with_intent(self, intent: str) -> Self:
        natural = intent + NATURAL
        graph = self.graph
        directed = [(a, natural if b == intent else b) for a, b in graph.directed_edges]
        bidirected = [
            (natural if a == intent else a, natural if b == intent else b)
            for a, b in graph.bidirected_edges
        ]
        split = ADMG([*graph.nodes, natural], [*directed, (natural, intent)], bidirected)
        levels = dict(self.levels)
        if levels:
            levels[natural] = levels[intent]
        return replace(self, graph=split, context=(*self.context, natural), levels=levels)


def diagram_of(model: SCM | ADMG) -> ADMG:
    """Return a diagram, or that of a program.

    Raises:
        GraphError: The model is neither.

    Example:
        >>> print(diagram_of(ADMG.parse("X -> Y")))
        X -> Y
    """
    graph = model.graph if isinstance(model, SCM) else model
    check_diagram(graph, "the model", "an SCM")
    return graph


def _check_values(arms: Sequence[Arm], reward: str) -> None:
    if any(reward in arm for arm in arms):
        raise QueryError(f"an arm sets {reward}, the reward itself; expected to set its causes")
    for name, value in (entry for arm in arms for entry in arm.items()):
        if np.ndim(value) or isinstance(value, str) or not np.isfinite(float(value)):
            raise DataError(
                f"an arm sets {name} to {value!r}; expected a number; for values that are left "
                "open there is CausalBayesianOptimisation"
            )


def _levels(model: SCM | ADMG) -> dict[str, Array]:
    from causalppl.estimation.program_law import ProgramLaw, why_infinite

    graph = diagram_of(model)
    if isinstance(model, SCM) and why_infinite(model) is None:
        states = ProgramLaw(model).states
        if all(isinstance(value, int | float) for known in states.values() for value in known):
            return {name: np.sort(np.array(known, float)) for name, known in states.items()}
        return {name: np.arange(float(len(known))) for name, known in states.items()}
    return {name: np.array([0.0, 1.0]) for name in graph.nodes}
