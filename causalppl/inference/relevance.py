"""Which sites a question needs, and whether their values follow from the evidence directly.

The noise of a site is known from its value and its parents' values. It is untouched by evidence
that is not downstream of it. Where every noise that the targets need falls under one of the two,
the posterior needs no inference.
"""

from dataclasses import dataclass, field
from typing import Any

from causalppl.inference.engine import Problem
from causalppl.programs.interventions import World, policy_arguments


class UnknownValueError(Exception):
    """A needed value depends on evidence downstream of it, so that it must be inferred."""


@dataclass
class Relevance:
    """What the targets of a problem need.

    Attributes:
        is_random: Some needed noise is not fixed by the evidence and must be drawn.
    """

    problem: Problem
    known: frozenset[str]
    is_random: bool = False
    _done: set[tuple[str, str, str]] = field(default_factory=set)

    @classmethod
    def of(cls, problem: Problem, known: frozenset[str]) -> "Relevance":
        """Trace what the targets need.

        Args:
            problem: The problem; its evidence is in the factual world.
            known: Sites whose factual values are known, evidence included.

        Raises:
            UnknownValueError: Inference is needed; the message says for what.
        """
        relevance = cls(problem, known)
        keys = {*problem.targets, *(event.key for event in problem.events)}
        for key in sorted(keys):
            relevance._need_value(*problem.split(key))
        return relevance

    def _need_value(self, name: str, world: str) -> None:
        if not self._first("value", name, world):
            return
        site = self.problem.scm.structure.sites[name]
        if world and name in self.problem.worlds[world]:
            self._need_intervention(self.problem.worlds[world][name], name, world)
            return
        if world and name not in self.problem.reached(world):
            self._need_value(name, "")
            return
        if not world and name in self.known:
            return
        if not site.is_unit:
            self._need_parameter(name)
            return
        if site.kind == "sample":
            if world:
                self._need_noise(name)
            else:
                self._need_untouched(name)
        for parent in site.parents:
            self._need_value(parent, world if self._is_unit(parent) else "")

    def _need_intervention(self, intervention: Any, name: str, world: str) -> None:
        if isinstance(intervention, World):
            self._need_value(name, intervention.name)
        elif not isinstance(intervention, bool | int | float) and hasattr(intervention, "sample"):
            self.is_random = True
        elif callable(intervention):
            for argument in policy_arguments(intervention):
                if argument == "natural":
                    self._need_natural(name, world)
                else:
                    self._need_value(argument, world)
        elif hasattr(intervention, "by"):
            self._need_natural(name, world)

    def _need_natural(self, name: str, world: str) -> None:
        if name in self.known and not any(
            parent in self.problem.reached(world)
            for parent in self.problem.scm.structure.sites[name].parents
        ):
            return
        self._need_noise(name)
        for parent in self.problem.scm.structure.sites[name].parents:
            self._need_value(parent, world if self._is_unit(parent) else "")

    def _need_noise(self, name: str) -> None:
        if not self._first("noise", name, ""):
            return
        if name not in self.known:
            self._need_untouched(name)
            return
        site = self.problem.scm.structure.sites[name]
        if site.is_discrete:
            self.is_random = True  # the value leaves the noise an interval
        for parent in site.parents:
            self._need_value(parent, "")

    def _need_untouched(self, name: str) -> None:
        """The noise is drawn from its prior, so no evidence may lie downstream of the site."""
        structure = self.problem.scm.structure
        touched = sorted(structure.descendants(name) & self.known - {name})
        if touched:
            raise UnknownValueError(
                f"{name!r} is not observed, and the evidence on {', '.join(touched)} tells of it"
            )
        self.is_random = True

    def _need_parameter(self, name: str) -> None:
        if name in self.problem.scm.parameters:
            return
        site = self.problem.scm.structure.sites[name]
        if site.kind == "sample":
            self._need_untouched(name)
        for parent in site.parents:
            self._need_value(parent, "")

    def _is_unit(self, name: str) -> bool:
        return self.problem.scm.structure.sites[name].is_unit

    def _first(self, what: str, name: str, world: str) -> bool:
        key = (what, name, world)
        if key in self._done:
            return False
        self._done.add(key)
        return True
