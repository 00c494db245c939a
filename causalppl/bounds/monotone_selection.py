"""Bounds where those who choose more treatment are those with the higher outcomes."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from causalppl.bounds.bounds import Bounds
from causalppl.bounds.manski import CONSISTENCY
from causalppl.bounds.method import BoundMethod, BoundProblem
from causalppl.bounds.monotone import (
    MonotoneResponse,
    checked_levels,
    levels_with,
    rank_of,
    treatment_of,
    why_no_levels,
    why_no_treatment,
    why_not_monotone,
)
from causalppl.bounds.question import Part, Question, list_parts
from causalppl.bounds.row_ends import resampled_means
from causalppl.bounds.row_method import allows_every_response, described, why_no_span
from causalppl.bounds.rows import Rows, check_values, find_missing, outcome_span
from causalppl.estimation.settings import check_count, check_flags
from causalppl.exceptions import AssumptionError, DataError
from causalppl.queries import Query, Value

__all__ = ["MonotoneSelection"]

Array: TypeAlias = NDArray[np.float64]
_LEVEL = 0.01  # at which means that fall with the treatment refute both assumptions together


@dataclass(frozen=True)
class MonotoneSelection(BoundMethod):
    """Monotone treatment selection: who is seen with more treatment has the higher mean outcomes.

    For every level t, the mean of ``Y_t`` among those with treatment s rises with s. So those
    with more than t have at least, under t, the mean that is seen at t. Together with a monotone
    response, the mean seen at s bounds theirs too, and the bounds are narrow. The two together
    can be refuted: means that are seen must then rise with the treatment. With a condition, both
    are assumed within it. Bounds of means, and of the probability of an outcome with two values.

    Attributes:
        increasing: Whether outcomes rise with the treatment that units have; else they fall.
        response: A monotone response, assumed as well; None: not.
        levels: The levels of the treatment, lowest first; None for numbers, in their order.
        num_draws: Draws of the ends for their sampling error, where there are data.

    Raises:
        DataError: A setting is out of range.

    References:
        Manski and Pepper (2000), Monotone instrumental variables: with an application to the
        returns to schooling, section 2 and proposition 2.

    Example:
        >>> from causalppl.bounds.method import OBSERVED
        >>> from causalppl.data import Table
        >>> from causalppl.graphs import ADMG
        >>> from causalppl.queries import Contrast
        >>> rows = Table.from_any({"X": [0] * 5 + [1] * 5, "Y": [0, 0, 0, 0, 1] + [1] * 5})
        >>> problem = BoundProblem(
        ...     ADMG.parse("X -> Y; X <-> Y"), Contrast.parse("ATE(X -> Y)"), {OBSERVED: rows}
        ... )
        >>> found = MonotoneSelection(response=MonotoneResponse()).solve(problem, seed=0)
        >>> round(float(found.lower), 3), round(float(found.upper), 3)
        (0.0, 0.8)
    """

    increasing: bool = True
    response: MonotoneResponse | None = None
    levels: Sequence[Value] | None = None
    num_draws: int = 1_000
    name: ClassVar[str] = "monotone selection"

    def __post_init__(self) -> None:
        check_flags(self, "increasing")
        check_count("num_draws", self.num_draws, 100, 1_000)
        if not isinstance(self.response, MonotoneResponse | None):
            raise DataError(
                f"response is {self.response!r}; expected MonotoneResponse() or None, as without "
                "a monotone response"
            )
        object.__setattr__(self, "levels", checked_levels(self.levels))
        if self.levels is None and self.response is not None:
            object.__setattr__(self, "levels", self.response.levels)

    def refusal(self, problem: BoundProblem) -> str | None:
        """Say why the method cannot answer; None if it can."""
        reason = find_missing(problem, problem.query.variables) or why_no_span(problem)
        if reason is not None:
            return reason
        queries = [query for _, query in list_parts(problem.graph, problem.query)]
        reason = why_no_treatment(queries)
        if reason is not None:
            return reason
        treatment = treatment_of(queries)
        return (
            why_no_levels(problem, self.levels, treatment)
            or why_not_monotone(problem, queries)
            or _why_not_means(problem, queries)
        )

    def solve(self, problem: BoundProblem, *, seed: int, progress: bool = False) -> Bounds:
        """Answer the problem; see `BoundMethod.solve`.

        Raises:
            AssumptionError: The means that are seen fall with the treatment, where a monotone
                response is assumed as well.
        """
        asked = Question.of(problem)
        queries = [query for _, query in asked.parts]
        check_values(problem, queries)
        rows = Rows.of(problem, problem.query.variables)
        rng = np.random.default_rng(seed)
        cells = [_Case.of(self, problem, rows, parts) for _, parts in asked.cells()]
        ends = [self._ends(cell, *(part[None] for part in cell.means()))[0] for cell in cells]
        lower, upper = np.array(ends).T.reshape(2, *asked.shape)
        draws = None
        if not rows.is_exact:
            drawn = [self._ends(cell, *cell.drawn(self.num_draws, rng)) for cell in cells]
            draws = np.stack(drawn, axis=-1).reshape(self.num_draws, 2, *asked.shape)
        return Bounds(
            problem.query,
            described(self),
            lower,
            upper,
            asked.axes,
            is_sharp=self._is_sharp(problem, asked.parts),
            draws=draws,
            num_rows=problem.num_rows,
            assumptions=self._assumptions(queries),
            diagnostics={"seed": seed},
        )

    def _is_sharp(self, problem: BoundProblem, parts: Sequence[Part]) -> bool:
        """Whether the ends are reached: by contrasts of two levels, in directions that agree."""
        agrees = self.response is None or self.response.increasing == self.increasing
        return len(parts) <= 2 and agrees and allows_every_response(problem.graph, parts)

    def _assumptions(self, queries: Sequence[Query]) -> tuple[str, ...]:
        name, outcome = treatment_of(queries), queries[0].outcomes[0].name
        word = "higher" if self.increasing else "lower"
        given = " (within the condition)" if any(query.given for query in queries) else ""
        selection = (
            f"those seen with more {name} would, at every level of {name}, have the {word} mean "
            f"{outcome}{given} (monotone selection)"
        )
        more = () if self.response is None else (self.response.sentence(queries),)
        return (CONSISTENCY, selection, *more)

    def _ends(self, case: "_Case", shares: Array, low: Array, high: Array) -> Array:
        """The ends for each draw of the shares and means of levels, shape ``(draws, 2)``."""
        least, most = self._worlds(case, shares, low, high)
        among = shares if case.among is None else np.broadcast_to(case.among, shares.shape)
        below, above = (np.einsum("bts,bs->bt", end, among) for end in (least, most))
        up, down = np.maximum(case.weights, 0), np.minimum(case.weights, 0)
        ends = np.stack([below @ up + above @ down, above @ up + below @ down], 1)
        used = np.flatnonzero(case.weights)
        if self.response is None or len(used) != 2 or abs(case.weights.sum()) > 1e-12:
            return ends + case.constant
        # the contrast of two levels has the sign of its direction
        is_gain = (case.weights[used[1]] > 0) == (self.response.increasing == case.follows)
        return np.maximum(ends, 0) if is_gain else np.minimum(ends, 0)

    def _worlds(self, case: "_Case", shares: Array, low: Array, high: Array) -> tuple[Array, Array]:
        """Ends of the mean of ``Y_t`` among those with treatment s, axes ``(draws, t, s)``."""
        selects = self.increasing == case.follows
        grows = self.response is not None and self.response.increasing == case.follows
        if self.response is not None and grows == selects:
            places = np.flatnonzero((low == high)[0])[:: 1 if grows else -1]
            fitted = _rising(low[:, places], shares[:, places])
            low, high = low.copy(), high.copy()
            low[:, places] = high[:, places] = fitted
        count = low.shape[-1]
        t, s = np.arange(count)[:, None], np.arange(count)[None]
        least = np.where(t == s, low[:, None], case.box[0])
        most = np.where(t == s, high[:, None], case.box[1])
        if self.response is not None:
            is_above = t > s if grows else t < s
            least = np.where(is_above, low[:, None], least)
            most = np.where(~is_above & (t != s), high[:, None], most)
        step = 1 if selects else -1
        least = np.maximum.accumulate(least[..., ::step], axis=-1)[..., ::step]
        most = np.minimum.accumulate(most[..., ::-step], axis=-1)[..., ::-step]
        return least, most


@dataclass(frozen=True, eq=False)
class _Case:
    """The rows within a condition, by level of the treatment.

    Attributes:
        weights: The weight of each level's world in the query.
        constant: What is added to it.
        follows: Whether what is averaged rises with the outcome.
        box: Its range.
        among: The shares of levels among the units asked about; None: as they are seen.
        groups: For each level, the values that are averaged and how often each counts.
    """

    weights: Array
    constant: float
    follows: bool
    box: tuple[float, float]
    among: Array | None
    groups: tuple[tuple[Array, Array], ...]

    @classmethod
    def of(
        cls, method: MonotoneSelection, problem: BoundProblem, rows: Rows, parts: Sequence[Part]
    ) -> "_Case":
        queries = [query for _, query in parts]
        treatment, outcome = treatment_of(queries), queries[0].outcomes[0]
        terms = [query.outcomes[0].term for query in queries]
        levels = levels_with(method.levels or rows.levels(treatment), terms)
        box, follows = (0.0, 1.0), True
        if queries[0].kind == "E":
            box, seen = outcome_span(problem, [outcome.name], rows), rows.numbers(outcome.name)
        else:
            seen = rows.satisfies(outcome).astype(float)
            follows = outcome.value == problem.states(outcome.name)[-1]
        weights, constant = np.zeros(len(levels)), 0.0
        for weight, query in parts:
            event = query.outcomes[0]
            place = levels.index(event.term.interventions[0].value)  # type: ignore[arg-type]
            is_same = query.kind == "E" or event.value == outcome.value
            weights[place] += weight if is_same else -weight
            constant += 0.0 if is_same else weight
        kept, among = np.ones(len(seen), dtype=bool), None
        for given in queries[0].given:
            if given.name == treatment:
                among = np.array([float(level == given.value) for level in levels])
            else:
                kept &= rows.satisfies(given)
        rank = np.where(kept, rank_of(rows, treatment, levels), -1)
        groups = tuple(
            (seen[rank == place], rows.weights[rank == place]) for place in range(len(levels))
        )
        case = cls(weights, constant, follows, box, among, groups)
        if method.response is not None and method.response.increasing == method.increasing:
            case.check_rising(method.increasing == follows, treatment, rows)
        return case

    @property
    def totals(self) -> Array:
        """How much each level counts."""
        return np.array([weights.sum() for _, weights in self.groups])

    def means(self) -> tuple[Array, Array, Array]:
        """The share of each level, and ends of the mean at it: apart where no row has it."""
        totals = self.totals
        shares = totals / totals.sum() if totals.sum() else np.full(len(totals), 1 / len(totals))
        low, high = (np.full(len(totals), end) for end in self.box)
        for place, (values, weights) in enumerate(self.groups):
            if totals[place] > 0:
                low[place] = high[place] = np.average(values, weights=weights)
        return shares, low, high

    def drawn(self, num_draws: int, rng: np.random.Generator) -> tuple[Array, Array, Array]:
        """Draw the same by rows weighed at random, and half a row at each end of the range."""
        totals = self.totals
        mass = rng.standard_gamma(
            np.broadcast_to(totals + 1 / len(totals), (num_draws, len(totals)))
        )
        low, high = (np.full((num_draws, len(totals)), end) for end in self.box)
        extra = np.array(self.box)[:, None]
        for place, (values, weights) in enumerate(self.groups):
            if totals[place] > 0:
                used = weights > 0
                found = resampled_means(values[used, None], weights[used], extra, num_draws, rng)
                low[:, place] = high[:, place] = found[:, 0]
        return mass / mass.sum(1, keepdims=True), low, high

    def check_rising(self, rises: bool, treatment: str, rows: Rows) -> None:
        """Refuse means that go against what both assumptions together imply.

        Raises:
            AssumptionError: The law is known and they do, or they do by more than chance.
        """
        _, means, _ = self.means()
        seen = np.flatnonzero(self.totals > 0)
        sign = 1 if rises else -1
        for a, b in _pairs(seen):
            fall = sign * (means[a] - means[b])
            error = 0.0 if rows.is_exact else np.hypot(self._error(a), self._error(b))
            if fall > ndtri(1 - _LEVEL / max(len(seen) - 1, 1)) * error + 1e-9:
                raise AssumptionError(
                    f"the means that are seen go from {means[a]:.4g} to {means[b]:.4g} between two "
                    f"levels of {treatment}, against the direction that a monotone response and a "
                    "monotone selection imply together; drop one of them, or turn it around"
                )

    def _error(self, place: int) -> float:
        values, weights = self.groups[place]
        total, centre = weights.sum() + 1.0, (weights @ values + sum(self.box) / 2)
        centre /= total
        spread = weights @ (values - centre) ** 2 + sum((e - centre) ** 2 for e in self.box) / 2
        return float(np.sqrt(spread) / total)


def _pairs(places: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    yield from itertools.pairwise(places.tolist())


def _rising(means: Array, weights: Array) -> Array:
    """The closest rising means, by the min-max formula; draws lead."""
    found = np.empty_like(means)
    count = means.shape[1]
    mass = np.concatenate([np.zeros((len(means), 1)), np.cumsum(weights, 1)], 1)
    total = np.concatenate([np.zeros((len(means), 1)), np.cumsum(weights * means, 1)], 1)
    for s in range(count):
        pooled = [
            np.min(
                [(total[:, b + 1] - total[:, a]) / (mass[:, b + 1] - mass[:, a])
                 for b in range(s, count)], axis=0,
            )
            for a in range(s + 1)
        ]  # fmt: skip
        found[:, s] = np.max(pooled, axis=0)
    return found


def _why_not_means(problem: BoundProblem, queries: Sequence[Query]) -> str | None:
    for query in queries:
        event = query.outcomes[0]
        if len(query.outcomes) > 1:
            return "the query has joint events; the assumption is about means"
        if not event.term.interventions:
            return "a part of the query sets no treatment; ask for what is seen by itself"
        if query.kind == "P" and (event.op != "=" or len(problem.states(event.name)) != 2):
            return (
                f"the assumption is about means, and {event} is an event of an outcome with "
                "several values; recode it as 0 and 1, to assume it for that"
            )
        if any(given.name == event.name for given in query.given):
            return "the query conditions on the outcome, and the assumption is about means"
    return None
