"""The truth about bounds, by linear programs over the joint law of all potential outcomes."""

import itertools

import numpy as np
from scipy.optimize import linprog


class PotentialOutcomes:
    """Laws of ``(X, Y_0, ..., Y_k-1)`` that agree with a law of ``(X, Y)``.

    Args:
        law: Shape ``(treatments, values)``.
        values: The values of the outcome.
        allowed: Which vectors of potential outcomes are possible.
    """

    def __init__(self, law, values, allowed=lambda types: True):
        self.law, self.values = np.asarray(law), values
        count = len(law)
        types = [t for t in itertools.product(range(len(values)), repeat=count) if allowed(t)]
        self.x = np.repeat(np.arange(count), len(types))
        self.types = np.array(types * count)
        self.y = np.asarray(values, float)[self.types]  # potential outcomes, by treatment
        seen = self.types[np.arange(len(self.x)), self.x]
        self.seen = np.asarray(values, float)[seen]
        self.equal = np.array(
            [(self.x == i) & (seen == j) for i, j in np.ndindex(self.law.shape)], float
        )
        self.above = np.zeros((0, len(self.x)))

    def rises_with_selection(self):
        """Add that the mean of each potential outcome rises with the treatment that is had."""
        count, rows = len(self.law), []
        share = self.law.sum(1)
        for t in range(count):
            for s in range(count - 1):
                lower, upper = ((self.x == each) * self.y[:, t] for each in (s, s + 1))
                rows.append(lower / share[s] - upper / share[s + 1])
        self.above = np.array(rows)
        return self

    def ends(self, objective, given=None):
        """The least and the greatest mean of what is 1 for each type, over a factual condition."""
        given = np.ones(len(self.x)) if given is None else given
        total = float(given @ self._any())
        found = []
        for sign in (1, -1):
            result = linprog(
                sign * objective * given / total,
                A_ub=self.above if len(self.above) else None,
                b_ub=np.zeros(len(self.above)) if len(self.above) else None,
                A_eq=self.equal,
                b_eq=self.law.reshape(-1),
                bounds=(0, None),
                method="highs-ds",
                options={
                    "primal_feasibility_tolerance": 1e-10,
                    "dual_feasibility_tolerance": 1e-10,
                },
            )
            assert result.status == 0, result.message
            found.append(sign * result.fun)
        return found

    def _any(self):
        # factual conditions have the same probability in all laws
        first = np.zeros(len(self.x))
        for row, probability in zip(self.equal, self.law.reshape(-1), strict=True):
            first[np.flatnonzero(row)[0]] = probability if row.any() else 0
        return first


def random_joint(rng, *shape):
    law = rng.dirichlet(np.ones(int(np.prod(shape))) * rng.choice([0.3, 1.0, 5.0]))
    law = 0.999 * law + 0.001 / law.size
    return law.reshape(shape)
