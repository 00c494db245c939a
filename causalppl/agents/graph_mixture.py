"""A posterior over diagrams as well: each of several is believed by what it foretold."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from causalppl.agents.agent import Array, Integers
from causalppl.agents.thompson import Belief

__all__ = ["GraphMixture"]


class GraphMixture(Belief):
    """Beliefs under several diagrams, weighted by how well each foretold the rows so far.

    The weight of a diagram is its prior weight times the product of its predictions of each row
    from the rows before it, which is its marginal likelihood. Where a belief is a Monte Carlo draw,
    so is the prediction: the marginal likelihood is right on average over runs, but that of one run
    is a draw, which differs the more between runs the more rows there are. Average over runs to
    judge diagrams. How much the rows speak for hidden causes depends on the prior of mechanisms:
    one that expects nearly deterministic ones takes noise for confounding while rows are few.

    Args:
        beliefs: One for each diagram, all about the same variables and arms.
        weights: Prior weights of the diagrams, shape ``(diagrams,)``.
        rngs: One random stream for each group of equally many runs.
        runs: How many runs.

    Attributes:
        log_weights: Shape ``(runs, diagrams)``, not normalised.
    """

    def __init__(
        self,
        beliefs: Sequence[Belief],
        weights: Array,
        rngs: list[np.random.Generator],
        runs: int,
    ) -> None:
        self.beliefs, self.rngs, self.runs = list(beliefs), rngs, runs
        self.log_weights = np.tile(np.log(weights), (runs, 1))

    @property
    def weights(self) -> Array:
        """Posterior probabilities of the diagrams, shape ``(runs, diagrams)``."""
        shifted = np.exp(self.log_weights - self.log_weights.max(1, keepdims=True))
        return np.asarray(shifted / shifted.sum(1, keepdims=True))

    def learn(self, values: Mapping[str, Array], arms: Integers) -> None:
        """Take in one unit in each run, and what it says about the diagrams."""
        for number, belief in enumerate(self.beliefs):
            self.log_weights[:, number] += belief.log_predictive(values, arms)
            belief.learn(values, arms)

    def read(self, values: Mapping[str, Array], set_variables: frozenset[str]) -> None:
        """Take in a log, in growing parts, each foretold from those before it."""
        rows = next(iter(values.values())).shape[1]
        for number, belief in enumerate(self.beliefs):
            for start, stop in _growing(rows):
                part = {name: column[:, start:stop] for name, column in values.items()}
                for row in range(stop - start):
                    one = {name: column[:, row] for name, column in part.items()}
                    self.log_weights[:, number] += belief.log_predictive(one, set_variables)
                belief.read(part, set_variables)

    def draw(self) -> Array:
        """Draw a diagram and a model with it."""
        chosen = self._chosen()
        drawn = np.stack([belief.draw() for belief in self.beliefs])
        return np.asarray(drawn[chosen, np.arange(self.runs)])

    def average(self) -> Array:
        """Average over diagrams too."""
        means = np.stack([belief.average() for belief in self.beliefs], 1)
        return np.asarray((self.weights[:, :, None, None] * means).sum(1))

    def view(self, observation: Any) -> Integers:
        """Number what is seen before acting."""
        return self.beliefs[0].view(observation)

    def state(self) -> dict[str, Any]:
        """Return what a continuation depends on."""
        parts = [belief.state() for belief in self.beliefs]
        return {"log_weights": self.log_weights, "beliefs": parts}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.log_weights = state["log_weights"]
        for belief, part in zip(self.beliefs, state["beliefs"], strict=True):
            belief.load(part)

    def _chosen(self) -> Integers:
        group = -(-self.runs // len(self.rngs))
        uniforms = np.concatenate([rng.random(group) for rng in self.rngs])[: self.runs]
        reached = np.cumsum(self.weights, 1) <= uniforms[:, None]
        return np.minimum(reached.sum(1), len(self.beliefs) - 1)


def _growing(rows: int) -> list[tuple[int, int]]:
    """Cut a log into parts, each a tenth of what came before it, so that predictions keep up."""
    found, start = [], 0
    while start < rows:
        stop = min(rows, start + max(1, start // 10))
        found.append((start, stop))
        start = stop
    return found
