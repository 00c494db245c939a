"""Thompson sampling's posterior for linear models with normal noise and hidden common causes."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from causalppl.agents.agent import Arm, Array, Integers
from causalppl.agents.choice import Choice
from causalppl.agents.thompson import Belief, Engine
from causalppl.exceptions import AssumptionError, DataError

__all__ = ["LinearGaussian"]


@dataclass(frozen=True)
class LinearGaussian(Engine):
    """Each variable is linear in its parents, with normal noise; hidden causes correlate the noise.

    Without hidden causes the posterior is conjugate. With them (bidirected edges) a variable is
    also regressed on the noise of earlier variables of its district where nobody set these, which
    is what their hidden causes have in common; draws then alternate with those of variances. Noise
    is that of drawn mechanisms, which are learned from their own rows only. Natural rows that
    cannot tell an effect from a hidden cause leave both open, and where an instrument tells them
    apart it is used.

    The prior is meant in units of the rows seen so far, or of the values that arms set: their mean
    is zero and their standard deviation one, for each variable. So neither the unit of a variable
    nor its origin matters, and given these units the posterior is the conjugate one.

    Only second moments are kept: the cost of a decision does not grow with the number of rows. Rows
    in which a variable was set say nothing of its own mechanism.

    Attributes:
        effect_scale: Prior standard deviation of effects, in that of the noise of what they move.
        level_scale: The same for constants.
        shape: Shape of the inverse gamma prior of the noise's variance.
        rate: Its rate.
        sweeps: With hidden causes, how often coefficients and variances take turns after each row.
        is_standardised: Whether the prior is in those units; else in the units of the variables.

    Raises:
        DataError: A parameter of the prior is not positive.

    References:
        Gelman et al. (2013), Bayesian data analysis, section 14.2, for the regressions; Wooldridge
        (2015), Control function methods in applied econometrics, for the noise as regressor.

    Example:
        >>> from causalppl.agents import ThompsonSampling
        >>> from causalppl.graphs import ADMG
        >>> graph, arms = ADMG.parse("X -> M -> Y"), [{"X": 0}, {"X": 1}]
        >>> agent = ThompsonSampling(graph, arms, "Y", engine=LinearGaussian()).start(seed=0)
        >>> x = np.repeat([0.0, 1.0], 50)
        >>> agent.observe({"X": x, "M": 2 * x, "Y": -2 * x})
        >>> agent.recommend()
        0
    """

    is_discrete: ClassVar[bool] = False

    effect_scale: float = 2.0
    level_scale: float = 5.0
    shape: float = 1.5
    rate: float = 0.5
    sweeps: int = 3
    is_standardised: bool = True

    def __post_init__(self) -> None:
        scales = (self.effect_scale, self.level_scale, self.shape, self.rate)
        if not all(0 < each < np.inf for each in scales) or self.sweeps < 1:
            raise DataError(
                f"the prior is {self}; expected positive scales, shape, rate and sweeps"
            )

    def begin(self, choice: Choice, rngs: list[np.random.Generator], runs: int) -> "_LinearBelief":
        """Return the belief of knowing nothing.

        Raises:
            AssumptionError: Something is seen before acting.
        """
        if choice.context:
            raise AssumptionError(
                f"{', '.join(choice.context)} is seen before acting, which LinearGaussian does not "
                "use; expected no context, or finite variables and LatentClasses"
            )
        return _LinearBelief(self, choice.relevant, rngs, runs)


class _LinearBelief(Belief):
    """Moments of rows by which variables were set, and coefficients drawn from what they say.

    Attributes:
        patterns: Sets of variables that were set together.
        origin: The values of the first row, ``(runs, k)``; large numbers would hide small ones.
        moments: Sums of ``x x'`` with ``x = (1, *values - origin)``, ``(runs, patterns, 1 + k, 1 +
            k)``.
        effects: Of the entries of ``x`` on each variable, all standardised, ``(runs, k, 1 + k)``.
        variances: Of what is left of a variable, by which others of its district were natural.
    """

    def __init__(
        self, engine: LinearGaussian, choice: Choice, rngs: list[np.random.Generator], runs: int
    ) -> None:
        self.engine, self.reward, self.rngs, self.runs = engine, choice.reward, rngs, runs
        self.nodes = choice.graph.topological_order()
        self._mechanisms = [
            _Mechanism.of(choice, self.nodes, place) for place in range(len(self.nodes))
        ]
        self._set, self._to = _arm_table(self.nodes, choice.arms)
        self.patterns = [frozenset[str]()]
        self._pattern_of_arm = np.array([*map(self._pattern, self._set), 0])
        size = 1 + len(self.nodes)
        self.origin = np.full((runs, size - 1), np.nan)
        self.moments = np.zeros((runs, len(self.patterns), size, size))
        self.effects = np.zeros((runs, size - 1, size))
        self.variances: dict[tuple[str, tuple[str, ...]], Array] = {}
        self._standardise()
        self._sweep()
        self.is_fresh = True

    def learn(self, values: Mapping[str, Array], arms: Integers) -> None:
        x = self._row(values)
        pattern = self._pattern_of_arm[np.asarray(arms)]
        self.moments[np.arange(len(x)), pattern] += x[:, :, None] * x[:, None, :]
        self._standardise()
        self._sweep()
        self.is_fresh = True

    def read(self, values: Mapping[str, Array], set_variables: frozenset[str]) -> None:
        x = self._row(values)
        pattern = self._pattern([name in set_variables for name in self.nodes])
        if pattern == self.moments.shape[1]:
            self.moments = np.concatenate([self.moments, np.zeros_like(self.moments[:, :1])], 1)
        self.moments[:, pattern] += np.swapaxes(x, 1, 2) @ x
        self._standardise()
        for _ in range(_SWEEPS_OF_A_LOG):
            self._sweep()
        self.is_fresh = True

    def draw(self) -> Array:
        if not self.is_fresh:
            self._sweep()
        self.is_fresh = False
        return self._means(self.effects)

    def average(self) -> Array:
        later = copy.deepcopy(self)
        if not any(mechanism.earlier for mechanism in self._mechanisms):
            # mechanisms are independent, and none enters a path twice: means multiply
            later._sweep(mean=True)
            return later._means(later.effects)
        return np.asarray(sum(later.draw() for _ in range(_TO_AVERAGE)) / _TO_AVERAGE)

    def view(self, observation: Any) -> Integers:
        return np.zeros(1, dtype=np.int64)

    def state(self) -> dict[str, Any]:
        names = ("patterns", "origin", "moments", "effects", "variances", "is_fresh")
        return {name: getattr(self, name) for name in names}

    def load(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._standardise()

    def _row(self, values: Mapping[str, Array]) -> Array:
        """Put values beside a one, as differences from the first row."""
        rows = np.stack([values[name] for name in self.nodes], -1)
        if not np.isfinite(rows).all():
            raise DataError("a value is not finite; expected a number for each variable")
        in_log = rows.reshape(self.runs, -1, len(self.nodes))
        if in_log.size:
            self.origin = np.where(np.isnan(self.origin), in_log[:, 0], self.origin)
        found = np.concatenate([np.ones_like(in_log[:, :, :1]), in_log - self.origin[:, None]], 2)
        return found.reshape(*rows.shape[:-1], -1)

    def _standardise(self) -> None:
        """Bring moments and arms to units in which variables have mean zero and variance one."""
        total, origin = self.moments.sum(1), np.nan_to_num(self.origin)
        count = total[:, 0, :1]
        zero = total[:, 0, 1:] / np.maximum(count, 1)
        squares = np.diagonal(total, axis1=1, axis2=2)[:, 1:]
        spread = np.maximum(squares - count * zero**2, 0) / np.maximum(count - 1, 1)
        # while a variable has shown one value only, no unit can be told
        one = np.sqrt(np.where(spread > 0, spread, 1.0))
        for place, (centre, width) in self._arm_units.items():
            zero[:, place], one[:, place] = centre - origin[:, place], width
        if not self.engine.is_standardised:
            zero, one = -origin, np.ones_like(one)
        to_units = np.zeros_like(total)
        to_units[:, 0, 0] = 1
        to_units[:, 1:, 0] = -zero / one
        places = np.arange(1, 1 + len(self.nodes))
        to_units[:, places, places] = 1 / one
        self._zero, self._one = zero + origin, one
        self._moments = to_units[:, None] @ self.moments @ np.swapaxes(to_units, 1, 2)[:, None]

    @cached_property
    def _arm_units(self) -> dict[int, tuple[float, float]]:
        """Mean and standard deviation of the values to which arms set a variable, by its place."""
        found = {}
        for place in range(len(self.nodes)):
            levels = np.unique(self._to[self._set[:, place], place])
            if len(levels) > 1:
                found[place] = (float(levels.mean()), float(levels.std()))
        return found

    def _pattern(self, is_set: Any) -> int:
        found = frozenset(name for name, known in zip(self.nodes, is_set, strict=True) if known)
        if found not in self.patterns:
            self.patterns.append(found)
        return self.patterns.index(found)

    def _means(self, effects: Array) -> Array:
        """Follow arms along the paths to the reward, shape ``(runs, 1, arms)``."""
        size, reward = len(self.nodes), self.nodes.index(self.reward)
        to = (self._to - self._zero[:, None]) / self._one[:, None]
        means = np.zeros((len(effects), len(self._set), 1 + size))
        means[:, :, 0] = 1
        for place in range(size):
            natural = np.einsum("rai,ri->ra", means, effects[:, place])
            means[:, :, 1 + place] = np.where(self._set[:, place], to[:, :, place], natural)
        found = self._zero[:, [reward]] + self._one[:, [reward]] * means[:, :, 1 + reward]
        return np.asarray(found)[:, None]

    def _sweep(self, *, mean: bool = False) -> None:
        """Draw all mechanisms, causes first; or take their means."""
        for place, mechanism in enumerate(self._mechanisms):
            groups = mechanism.groups(self.patterns)
            moments = [
                sum(self._regressors(place, groups, pattern) for pattern in patterns)
                for _, patterns in groups
            ]
            turns = self.engine.sweeps if mechanism.earlier else 1
            for _ in range(turns):
                found = self._regression(mechanism.name, groups, moments, mean)
            self.effects[:, place, mechanism.columns] = found[:, : len(mechanism.columns)]

    def _regressors(self, place: int, groups: "_Groups", pattern: int) -> Array:
        """Second moments of the regressors of a variable, and of itself, in rows of a pattern."""
        mechanism, rows = self._mechanisms[place], []
        unit = np.broadcast_to(np.eye(1 + len(self.nodes)), self._moments[:, 0].shape)
        rows += [unit[:, column] for column in mechanism.columns]
        for natural, patterns in groups:
            for name in natural:
                other = self.nodes.index(name)
                noise = unit[:, 1 + other] - self.effects[:, other]
                rows.append(noise if pattern in patterns else np.zeros_like(noise))
        maps = np.stack([*rows, unit[:, 1 + place]], 1)
        found: Array = maps @ self._moments[:, pattern] @ np.swapaxes(maps, 1, 2)
        return found

    def _regression(self, name: str, groups: "_Groups", moments: list[Any], mean: bool) -> Array:
        """Draw coefficients and variances of one regression, whose last variable is explained."""
        engine, size = self.engine, moments[0].shape[-1] - 1
        scales = np.array([engine.level_scale, *[engine.effect_scale] * (size - 1)])
        prior = np.zeros((1 + size, 1 + size))
        prior[:size, :size] = np.diag(scales**-2.0)
        weights = [self._weight(name, natural) for natural, _ in groups]
        # effects are measured by the noise of natural rows, which are the first group
        total = prior * weights[0] + sum(m * w for m, w in zip(moments, weights, strict=True))
        precision, with_y = total[:, :size, :size], total[:, :size, size]
        centre = np.linalg.solve(precision, with_y[:, :, None])[:, :, 0]
        if mean:
            return centre
        if len(groups) == 1:  # conjugate: the variance first, coefficients integrated out
            left = total[:, size, size] - (centre * with_y).sum(-1)
            self._draw_variance(name, groups[0][0], left / weights[0][:, 0, 0], moments[0][:, 0, 0])
            precision = precision * (self._weight(name, groups[0][0]) / weights[0])
        root = np.swapaxes(np.linalg.cholesky(precision), 1, 2)
        found: Array = centre + np.linalg.solve(root, self._normal(size)[:, :, None])[:, :, 0]
        if len(groups) > 1:
            self._draw_variances(name, groups, prior, moments, found)
        return found

    def _draw_variances(
        self, name: str, groups: "_Groups", prior: Array, moments: list[Any], found: Array
    ) -> None:
        contrast = np.concatenate([-found, np.ones((self.runs, 1))], 1)
        for number, (natural, _) in enumerate(groups):
            own, count = moments[number], moments[number][:, 0, 0]
            if number == 0:
                own, count = own + prior, count + found.shape[1]
            left = np.einsum("ri,rij,rj->r", contrast, own, contrast)
            self._draw_variance(name, natural, left, count)

    def _draw_variance(
        self, name: str, natural: tuple[str, ...], left: Array, count: Array
    ) -> None:
        rate = self.engine.rate + np.maximum(left, 0) / 2
        shape = self.engine.shape + count / 2
        gamma = self._by_stream(lambda rng, own: rng.standard_gamma(shape[own]))
        self.variances[name, natural] = rate / gamma

    def _weight(self, name: str, natural: tuple[str, ...]) -> Array:
        start = np.full(self.runs, self.engine.rate / self.engine.shape)
        return 1 / self.variances.setdefault((name, natural), start)[:, None, None]

    def _normal(self, size: int) -> Array:
        return self._by_stream(lambda rng, own: rng.standard_normal((len(own), size)))

    def _by_stream(self, draw: Callable[[np.random.Generator, Any], Array]) -> Array:
        group = -(-self.runs // len(self.rngs))
        runs = np.arange(self.runs)
        parts = [draw(rng, runs[n * group : (n + 1) * group]) for n, rng in enumerate(self.rngs)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


_Groups = list[tuple[tuple[str, ...], list[int]]]
"""Which earlier variables of a district are natural, and the patterns of which that is true."""
_TO_AVERAGE = 100
_SWEEPS_OF_A_LOG = 10


@dataclass(frozen=True)
class _Mechanism:
    """A variable, the places of its regressors in a row, and earlier variables of its district."""

    name: str
    columns: list[int]
    earlier: tuple[str, ...]

    @classmethod
    def of(cls, choice: Choice, nodes: Sequence[str], place: int) -> "_Mechanism":
        name, graph = nodes[place], choice.graph
        parents = [n for n, other in enumerate(nodes) if other in graph.parents(name)]
        (district,) = (found for found in graph.districts() if name in found)
        earlier = tuple(other for other in nodes[:place] if other in district)
        return cls(name, [0, *(1 + parent for parent in parents)], earlier)

    def groups(self, patterns: Sequence[frozenset[str]]) -> _Groups:
        """Put patterns together that leave the same earlier variables to nature."""
        found: dict[tuple[str, ...], list[int]] = {}
        for number, pattern in enumerate(patterns):
            if self.name not in pattern:
                natural = tuple(name for name in self.earlier if name not in pattern)
                found.setdefault(natural, []).append(number)
        return list(found.items())


def _arm_table(nodes: Sequence[str], arms: Sequence[Arm]) -> tuple[Any, Array]:
    """Whether arms set variables, and to what, shape ``(arms, variables)``."""
    is_set = np.array([[name in arm for name in nodes] for arm in arms], dtype=bool)
    values = np.array([[float(arm.get(name, 0.0)) for name in nodes] for arm in arms])
    return is_set.reshape(len(arms), -1), values.reshape(len(arms), -1)
