"""A causal model whose mechanisms are Gaussian processes: its fit, and what draws of it say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from causalppl.agents.agent import Array
from causalppl.agents.gp_mechanism import DrawnMechanism, GPMechanism, GPSettings, Rows
from causalppl.graphs import ADMG

__all__ = ["DrawnModel", "GPModel"]


class GPModel:
    """A Gaussian process for each variable between what may be set and the reward.

    Variables without parents follow the rows that were seen, by the Bayesian bootstrap.

    Args:
        graph: The causal diagram.
        reward: The variable that matters.
        bounds: Bounds of the variables that may be set.
        sets: Which variables are set together.
        settings: Beliefs about mechanisms before data.
        num_particles: Units that a drawn model is followed with, where something is left to chance.
    """

    def __init__(
        self,
        graph: ADMG,
        reward: str,
        bounds: Mapping[str, tuple[float, float]],
        sets: Sequence[frozenset[str]],
        settings: GPSettings,
        num_particles: int,
    ) -> None:
        self.reward, self.num_particles = reward, num_particles
        self._between = {found: _between(graph, reward, found) for found in sets}
        needed = {name for names in self._between.values() for name in names}
        self.order = [name for name in graph.topological_order() if name in needed]
        self.roots = [name for name in self.order if not graph.parents(name)]
        self.mechanisms = {
            name: _mechanism(graph, name, bounds, settings)
            for name in self.order
            if name not in self.roots
        }

    def fresh(self) -> dict[str, Any]:
        """Return hyperparameters before data, by variable."""
        return {name: mechanism.fresh() for name, mechanism in self.mechanisms.items()}

    def fit(self, rows: Rows, known: Mapping[str, Any]) -> dict[str, Any]:
        """Return hyperparameters of largest posterior density; start from those that are known."""
        return {
            name: mechanism.fit(rows, known[name]) if not rows.was_set[name].all() else known[name]
            for name, mechanism in self.mechanisms.items()
        }

    def draw(self, rows: Rows, known: Mapping[str, Any], rng: np.random.Generator) -> "DrawnModel":
        """Draw a model from its posterior."""
        mechanisms = {
            name: mechanism.draw(rows, known[name], rng)
            for name, mechanism in self.mechanisms.items()
        }
        noise = {name: rng.standard_normal(self.num_particles) for name in mechanisms}
        return DrawnModel(self, mechanisms, noise, self._resampled(rows, rng))

    def steps(self, names: frozenset[str]) -> list[str]:
        """List, in order, what the reward depends on when a set of variables is set."""
        return [name for name in self.order if name in self._between[names]]

    def _resampled(self, rows: Rows, rng: np.random.Generator) -> dict[str, Array]:
        """Draw rows in which no variable without parents was set, with weights drawn too."""
        free = np.ones(len(rows), dtype=bool)
        for name in self.roots:
            free &= ~rows.was_set[name]
        places = np.flatnonzero(free)
        if not len(places):
            return {name: np.zeros(self.num_particles) for name in self.roots}
        weights = rng.dirichlet(np.ones(len(places)))
        chosen = rng.choice(places, self.num_particles, p=weights)
        return {name: rows.values[name][chosen] for name in self.roots}


@dataclass(frozen=True, eq=False)
class DrawnModel:
    """One model: a function for each variable, and the same units for whatever is asked of it.

    Attributes:
        model: What it was drawn from.
        mechanisms: Functions.
        noise: Standard normal numbers of the units, shape ``(particles,)``.
        roots: Values of variables without parents, shape ``(particles,)``.
    """

    model: GPModel
    mechanisms: Mapping[str, DrawnMechanism]
    noise: Mapping[str, Array]
    roots: Mapping[str, Array]

    def mean(self, done: Mapping[str, Array]) -> Array:
        """Compute the mean reward under interventions.

        Args:
            done: Variable to what it is set to; the shapes broadcast to that of the points.

        Returns:
            In the shape of the points.
        """
        values: dict[str, Array] = {name: np.asarray(v)[..., None] for name, v in done.items()}
        for name in self.model.steps(frozenset(done)):
            if name in done:
                continue
            if name in self.roots:
                values[name] = self.roots[name]
                continue
            values[name] = self._follow(name, values, frozenset(done))
        found: Array = values[self.model.reward].mean(-1)
        return found

    def _follow(self, name: str, values: Mapping[str, Array], done: frozenset[str]) -> Array:
        drawn = self.mechanisms[name]
        # what hidden causes add to the reward is the same on average whatever is set
        off = {
            s: name == self.model.reward or s in done or s not in values
            for s in drawn.mechanism.siblings
        }
        found = drawn(values, off)
        return found if name == self.model.reward else found + drawn.noise(off) * self.noise[name]


def _between(graph: ADMG, reward: str, names: frozenset[str]) -> frozenset[str]:
    found: set[str] = set()
    stack = [reward]
    while stack:
        name = stack.pop()
        if name not in found:
            found.add(name)
            stack += [] if name in names else graph.parents(name)
    return frozenset(found)


def _mechanism(
    graph: ADMG, name: str, bounds: Mapping[str, tuple[float, float]], settings: GPSettings
) -> GPMechanism:
    order = graph.topological_order()
    earlier = [s for s in order[: order.index(name)] if s in graph.siblings(name)]
    siblings = {s: graph.in_order(graph.parents(s)) for s in earlier}
    return GPMechanism(name, graph.in_order(graph.parents(name)), siblings, bounds, settings)
