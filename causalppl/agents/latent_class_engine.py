"""Thompson sampling's posterior for discrete diagrams with hidden confounders."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from causalppl.agents.agent import Array, Integers
from causalppl.agents.arm_means import ArmMeans
from causalppl.agents.choice import Choice
from causalppl.agents.latent_classes import LatentClassModel
from causalppl.agents.tabular_belief import TabularBelief
from causalppl.agents.thompson import Belief, Engine
from causalppl.exceptions import DataError, HeuristicWarning
from causalppl.user_warning import warn_user

__all__ = ["LatentClasses"]


@dataclass(frozen=True)
class LatentClasses(Engine):
    """Tables for all mechanisms, and hidden classes for what confounds them.

    The posterior is drawn by Gibbs sampling on counts: the cost of a decision does not grow with
    the number of rows. The default prior was chosen on fresh random instances (see
    ``benchmarks/README.md``), not on the problems that have a name.

    Attributes:
        num_classes: Values of each hidden cause. More than are needed costs little, and lets the
            sampler move where few classes would trap it.
        concentrations: The Dirichlet parameter of mechanisms is one of these, equally likely
            beforehand and learned from the data: small ones mean nearly deterministic mechanisms.
        class_concentration: The Dirichlet parameter of the weights of hidden classes.
        early_sweeps: Sweeps after each of the first 200 rows; later there is one after each.
        log_sweeps: Sweeps after reading a log.
        log_rows: As how many rows, in the same proportions, a longer log counts for the mechanisms
            that hidden causes join (told by a warning). With more rows to explain, a sampler hardly
            moves: it would not keep open what a confounded log leaves open.

    Raises:
        DataError: There is no class or no concentration, or one is not positive.

    Example:
        >>> from causalppl.agents import ThompsonSampling
        >>> from causalppl.graphs import bow
        >>> engine = LatentClasses(num_classes=2)
        >>> agent = ThompsonSampling(bow(), [{"X": 0}, {"X": 1}], "Y", engine=engine)
        >>> agent.prior_predictive(400, seed=0).mean("draw").values.round(1)
        array([0.5, 0.5])
    """

    num_classes: int = 4
    concentrations: tuple[float, ...] = (0.01, 0.15)
    class_concentration: float = 1.0
    early_sweeps: int = 8
    log_sweeps: int = 200
    log_rows: int = 2000

    def __post_init__(self) -> None:
        parameters = (*self.concentrations, self.class_concentration)
        is_proper = self.concentrations and all(0 < each < np.inf for each in parameters)
        numbers = (self.num_classes, self.early_sweeps, self.log_sweeps, self.log_rows)
        if not is_proper or min(numbers) < 1:
            raise DataError(
                f"the prior is {self}; expected at least one class, concentration, sweep and row, "
                "all positive"
            )

    def begin(self, choice: Choice, rngs: list[np.random.Generator], runs: int) -> "_ClassBelief":
        """Return the belief of knowing nothing."""
        return _ClassBelief(self, choice, rngs, runs)


class _ClassBelief(Belief):
    def __init__(
        self, engine: LatentClasses, choice: Choice, rngs: list[np.random.Generator], runs: int
    ) -> None:
        states = {name: len(choice.levels[name]) for name in choice.graph.nodes}
        model = LatentClassModel(choice.graph, states, engine.num_classes)
        arms = choice.arm_values()
        self.engine, self.choice, self.num_rows = engine, choice, 0
        self.means = ArmMeans(
            model, choice.reward, choice.levels[choice.reward], arms, choice.context
        )
        self.tables = TabularBelief(model, arms, engine, rngs, runs)
        self.is_fresh = True

    def learn(self, values: Mapping[str, Array], arms: Integers) -> None:
        self.tables.add(self._coded(values), arms)
        self.num_rows += 1
        for _ in range(self.engine.early_sweeps if self.num_rows <= _EARLY else 1):
            self.tables.sweep()
        self.is_fresh = True

    def read(self, values: Mapping[str, Array], set_variables: frozenset[str]) -> None:
        if all(column.strides[0] == 0 for column in values.values()):  # one log for all runs
            values = {name: column[:1] for name, column in values.items()}
        if thinned := self.tables.read(self._coded(values), set_variables):
            told = "; ".join(", ".join(members) for members in thinned)
            most = self.engine.log_rows
            warn_user(
                f"logs of more than {most:,} rows count as {most:,}, in the same proportions, for "
                f"variables that hidden causes join ({told}); LatentClasses(log_rows=...) allows "
                "more, but its sampler then hardly moves",
                HeuristicWarning,
            )
        for _ in range(self.engine.log_sweeps):
            self.tables.sweep()
        self.is_fresh = True

    def log_predictive(self, values: Mapping[str, Array], arms: Integers | frozenset[str]) -> Array:
        return self.tables.log_predictive(self._coded(values), arms)

    def draw(self) -> Array:
        if not self.is_fresh:
            self.tables.sweep()
        self.is_fresh = False
        return self.means(self.tables.flat)

    def average(self) -> Array:
        tables = copy.deepcopy(self.tables)
        total = self.means(tables.flat)
        for _ in range(_TO_AVERAGE - 1):
            tables.sweep()
            total += self.means(tables.flat)
        return total / _TO_AVERAGE

    def view(self, observation: Any) -> Integers:
        seen = {name: self.choice.code(name, observation[name]) for name in self.choice.context}
        return self.means.view(seen)

    def state(self) -> dict[str, Any]:
        rest = {"num_rows": self.num_rows, "is_fresh": self.is_fresh}
        return {"tables": self.tables.state(), **rest}

    def load(self, state: Mapping[str, Any]) -> None:
        self.tables.load(state["tables"])
        self.num_rows, self.is_fresh = state["num_rows"], state["is_fresh"]

    def _coded(self, values: Mapping[str, Array]) -> dict[str, Integers]:
        return {name: self.choice.code(name, values[name]) for name in self.choice.graph.nodes}


_EARLY = 200
_TO_AVERAGE = 50
